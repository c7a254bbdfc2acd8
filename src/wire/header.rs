//! Long and short headers of QUIC versions 1 and 2 (RFC 9000 sections 17.2 and 17.3, RFC 9369 section 3.2).
//!
//! `parse` reads one packet of a possibly coalesced datagram while its header is still protected; the `write_*`
//! functions leave the Length field two bytes long so that it can be patched without moving the payload.
use super::packet_number;
use super::reader::{Reader, Truncated};
use super::writer::{NoRoom, Writer};
use crate::base::codes::{VERSION_1, VERSION_2};
use crate::base::{ConnectionId, Level};

/// Header form bit: set on long headers.
pub const LONG_BIT: u8 = 0x80;
/// Fixed bit (RFC 9000 section 17.2), the "QUIC bit" of RFC 9287.
pub const FIXED_BIT: u8 = 0x40;
/// Latency spin bit of a short header (RFC 9000 section 17.4).
pub const SPIN_BIT: u8 = 0x20;
/// Key phase bit of a short header (RFC 9001 section 6).
pub const KEY_PHASE_BIT: u8 = 0x04;
/// Reserved bits of a long header, zero once unmasked (RFC 9000 section 17.2).
pub const LONG_RESERVED_BITS: u8 = 0x0c;
/// Reserved bits of a short header, zero once unmasked (RFC 9000 section 17.3.1).
pub const SHORT_RESERVED_BITS: u8 = 0x18;

/// Kind of packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum PacketType {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
    VersionNegotiation,
    Short,
}

impl PacketType {
    /// Encryption level of the packet's keys, `None` for the kinds without packet protection.
    #[must_use]
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::Initial => Some(Level::Initial),
            Self::ZeroRtt => Some(Level::ZeroRtt),
            Self::Handshake => Some(Level::Handshake),
            Self::Short => Some(Level::OneRtt),
            Self::Retry | Self::VersionNegotiation => None,
        }
    }

    /// The two type bits of a long header in `version`; `None` when that version or kind has none.
    #[must_use]
    pub const fn bits(self, version: u32) -> Option<u8> {
        let v1 = match self {
            Self::Initial => 0,
            Self::ZeroRtt => 1,
            Self::Handshake => 2,
            Self::Retry => 3,
            Self::VersionNegotiation | Self::Short => return None,
        };
        match version {
            VERSION_1 => Some(v1),
            // RFC 9369 section 3.2: each type moves up by one, Retry wraps to 0.
            VERSION_2 => Some((v1 + 1) & 3),
            _ => None,
        }
    }

    /// The kind that two type bits mean in `version`.
    #[must_use]
    pub const fn from_bits(bits: u8, version: u32) -> Option<Self> {
        let v1 = match version {
            VERSION_1 => bits & 3,
            VERSION_2 => bits.wrapping_sub(1) & 3,
            _ => return None,
        };
        Some(match v1 {
            0 => Self::Initial,
            1 => Self::ZeroRtt,
            2 => Self::Handshake,
            _ => Self::Retry,
        })
    }
}

/// Why a header could not be read. None of these is a connection error: the packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    Truncated,
    /// The fixed bit is zero (RFC 9000 section 17.2).
    FixedBit,
    /// A connection ID longer than 20 bytes (RFC 9000 section 17.2).
    CidTooLong,
    /// A long header of a version whose type bits we cannot know.
    UnsupportedVersion,
}

impl From<Truncated> for HeaderError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// One packet's header, its first byte and packet number still masked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProtectedHeader<'a> {
    pub ty: PacketType,
    /// 0 for a short header.
    pub version: u32,
    pub dcid: ConnectionId,
    /// Empty for a short header.
    pub scid: ConnectionId,
    /// Initial packets only.
    pub token: &'a [u8],
    /// Where the packet number starts; for Retry and Version Negotiation where the type's own fields start.
    pub pn_offset: usize,
    /// The whole packet, `pn_offset` plus Length, or the rest of the datagram for kinds without Length.
    pub packet_len: usize,
    pub first_byte: u8,
}

/// Reads the first packet in `bytes`, refusing a cleared fixed bit.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
//# Packets containing a zero value for this bit are not valid packets in this version and MUST be discarded.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.3.1
//# Packets containing a zero value for this bit are not valid packets in this version and MUST be discarded.
#[inline]
pub fn parse(bytes: &[u8], short_cid_len: usize) -> Result<ProtectedHeader<'_>, HeaderError> {
    let header = parse_greased(bytes, short_cid_len)?;
    if header.first_byte & FIXED_BIT == 0 && header.ty != PacketType::VersionNegotiation {
        return Err(HeaderError::FixedBit);
    }
    Ok(header)
}

/// As [`parse`], for an endpoint that sent grease_quic_bit: the fixed bit may have any value (RFC 9287 section 3).
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
//# Endpoints MUST discard packets that are too small to be valid QUIC packets.
#[inline]
pub fn parse_greased(bytes: &[u8], short_cid_len: usize) -> Result<ProtectedHeader<'_>, HeaderError> {
    let mut r = Reader::new(bytes);
    let first_byte = r.u8()?;
    if first_byte & LONG_BIT == 0 {
        let dcid = ConnectionId::new(r.bytes(short_cid_len)?).ok_or(HeaderError::CidTooLong)?;
        return Ok(ProtectedHeader {
            ty: PacketType::Short,
            version: 0,
            dcid,
            scid: ConnectionId::EMPTY,
            token: &[],
            pn_offset: r.position(),
            packet_len: bytes.len(),
            first_byte,
        });
    }
    let version = r.u32()?;
    let ty = if version == 0 {
        PacketType::VersionNegotiation
    } else {
        PacketType::from_bits(first_byte >> 4, version).ok_or(HeaderError::UnsupportedVersion)?
    };
    let dcid = cid(&mut r)?;
    let scid = cid(&mut r)?;
    let token = if ty == PacketType::Initial { r.varint_bytes()? } else { &[] };
    let (pn_offset, packet_len) = match ty {
        PacketType::Retry | PacketType::VersionNegotiation | PacketType::Short => (r.position(), bytes.len()),
        PacketType::Initial | PacketType::ZeroRtt | PacketType::Handshake => {
            // RFC 9000 section 12.2: Length is what lets packets share a datagram.
            let length = usize::try_from(r.varint()?).map_err(|_| HeaderError::Truncated)?;
            let at = r.position();
            r.bytes(length)?;
            (at, r.position())
        }
    };
    Ok(ProtectedHeader { ty, version, dcid, scid, token, pn_offset, packet_len, first_byte })
}

/// A one-byte length and a connection ID of at most 20 bytes.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
//# Endpoints that receive a version 1 long header with a value larger than 20 MUST drop the packet.
pub(super) fn cid(r: &mut Reader<'_>) -> Result<ConnectionId, HeaderError> {
    let len = usize::from(r.u8()?);
    if len > crate::base::cid::MAX_CID_LEN {
        return Err(HeaderError::CidTooLong);
    }
    ConnectionId::new(r.bytes(len)?).ok_or(HeaderError::CidTooLong)
}

/// What goes into a long header besides the packet number.
#[derive(Clone, Copy, Debug)]
pub struct LongHeader<'a> {
    /// Initial, 0-RTT or Handshake.
    pub ty: PacketType,
    /// A version whose type bits are known; others are written with version 1 bits.
    pub version: u32,
    pub dcid: &'a ConnectionId,
    pub scid: &'a ConnectionId,
    /// Initial packets only.
    pub token: &'a [u8],
}

/// Positions in the writer of a long header's Length and packet number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongMark {
    pub length_at: usize,
    pub pn_at: usize,
}

impl LongMark {
    /// The same positions counted from the packet's first byte.
    #[must_use]
    pub const fn relative_to(self, packet_start: usize) -> Self {
        Self { length_at: self.length_at.saturating_sub(packet_start), pn_at: self.pn_at.saturating_sub(packet_start) }
    }
}

/// Writes a long header with `pn_len` (1 to 4) bytes of packet number; Length is left for [`finish_long`].
pub fn write_long(w: &mut Writer<'_>, h: &LongHeader<'_>, pn: u64, pn_len: usize) -> Result<LongMark, NoRoom> {
    let start = w.position();
    let result = write_long_fields(w, h, pn, pn_len);
    if result.is_err() {
        w.rewind(start);
    }
    result
}

fn write_long_fields(w: &mut Writer<'_>, h: &LongHeader<'_>, pn: u64, pn_len: usize) -> Result<LongMark, NoRoom> {
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
    //# The value included prior to protection MUST be set to 0.
    let bits = h.ty.bits(h.version).or(h.ty.bits(VERSION_1)).unwrap_or(0);
    w.u8(LONG_BIT | FIXED_BIT | (bits << 4) | pn_len_bits(pn_len))?;
    w.u32(h.version)?;
    write_cid(w, h.dcid)?;
    write_cid(w, h.scid)?;
    if h.ty == PacketType::Initial {
        w.varint_bytes(h.token)?;
    }
    let length_at = w.position();
    w.varint2(0)?;
    let pn_at = w.position();
    packet_number::write(w, pn, pn_len)?;
    Ok(LongMark { length_at, pn_at })
}

/// A connection ID with its one-byte length.
pub(super) fn write_cid(w: &mut Writer<'_>, cid: &ConnectionId) -> Result<(), NoRoom> {
    w.u8(cid.len() as u8)?;
    w.bytes(cid.as_slice())
}

/// Fills in Length: the packet number (its size is in the first byte), the payload and the tag.
/// `packet` starts at the packet's first byte, and so does `mark`.
pub fn finish_long(packet: &mut [u8], mark: LongMark, payload_and_tag_len: usize) {
    let pn_len = usize::from(packet.first().copied().unwrap_or(0) & 3).saturating_add(1);
    let length = pn_len.saturating_add(payload_and_tag_len);
    debug_assert!(length <= 0x3fff);
    let bytes = (0x4000 | (length & 0x3fff) as u16).to_be_bytes();
    if let Some(slot) = packet.get_mut(mark.length_at..mark.length_at.saturating_add(2)) {
        slot.copy_from_slice(&bytes);
    }
}

/// Writes a short header; returns where the packet number starts in the writer.
#[inline]
pub fn write_short(
    w: &mut Writer<'_>,
    dcid: &ConnectionId,
    spin: bool,
    key_phase: bool,
    pn: u64,
    pn_len: usize,
) -> Result<usize, NoRoom> {
    if w.remaining() < 1usize.saturating_add(dcid.len()).saturating_add(pn_len) {
        return Err(NoRoom);
    }
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.3.1
    //# The value included prior to protection MUST be set to 0.
    let mut first = FIXED_BIT | pn_len_bits(pn_len);
    if spin {
        first |= SPIN_BIT;
    }
    if key_phase {
        first |= KEY_PHASE_BIT;
    }
    w.u8(first)?;
    w.bytes(dcid.as_slice())?;
    let pn_at = w.position();
    packet_number::write(w, pn, pn_len)?;
    Ok(pn_at)
}

/// The two low bits of the first byte: packet number length less one.
const fn pn_len_bits(pn_len: usize) -> u8 {
    (pn_len.saturating_sub(1) & 3) as u8
}
