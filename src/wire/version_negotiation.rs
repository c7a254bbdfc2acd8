//! Version Negotiation packets (RFC 8999 section 6, RFC 9000 section 17.2.1). Connection IDs may have 255 bytes.
use super::header::LONG_BIT;
use super::invariants;
use super::reader::Truncated;
use super::writer::{NoRoom, Writer};

/// A received Version Negotiation packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VersionNegotiation<'a> {
    pub dcid: &'a [u8],
    pub scid: &'a [u8],
    list: &'a [u8],
}

impl<'a> VersionNegotiation<'a> {
    /// Versions that the server offers, in its order.
    pub fn versions(&self) -> impl Iterator<Item = u32> + Clone + 'a {
        self.list.chunks_exact(4).filter_map(|c| c.first_chunk().copied().map(u32::from_be_bytes))
    }
}

/// Reads a datagram as a Version Negotiation packet: long header, version 0, at least one whole version
/// (RFC 8999 section 6: a packet with none, or with a truncated one, is ignored).
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//# Clients MUST ignore the value of this field.
//= https://www.rfc-editor.org/rfc/rfc8999#section-6
//# MUST be ignored on receipt
//= https://www.rfc-editor.org/rfc/rfc8999#section-6
//# An endpoint MUST ignore a packet that contains no Supported Version fields or contains a truncated Supported
//# Version value.
pub fn parse(packet: &[u8]) -> Result<VersionNegotiation<'_>, Truncated> {
    let peek = invariants::peek(packet, 0)?;
    if !peek.long || peek.version != 0 {
        return Err(Truncated);
    }
    // First byte, version and two lengths are 7 bytes.
    let at = 7usize.saturating_add(peek.dcid.len()).saturating_add(peek.scid.len());
    let list = packet.get(at..).ok_or(Truncated)?;
    if list.is_empty() || list.len() % 4 != 0 {
        return Err(Truncated);
    }
    Ok(VersionNegotiation { dcid: peek.dcid, scid: peek.scid, list })
}

/// Writes a Version Negotiation packet. `unused` gives the seven low bits of the first byte; the fixed bit is
/// set in any case, because middleboxes that demultiplex look at it (RFC 9000 section 17.2.1).
/// `dcid` and `scid` are the received packet's source and destination, at most 255 bytes each.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//# The Version field of a Version Negotiation packet MUST be set to 0x00000000.
pub fn write(
    w: &mut Writer<'_>,
    unused: u8,
    dcid: &[u8],
    scid: &[u8],
    versions: impl IntoIterator<Item = u32>,
) -> Result<(), NoRoom> {
    w.u8(LONG_BIT | 0x40 | (unused & 0x3f))?;
    w.u32(0)?;
    for cid in [dcid, scid] {
        w.u8(u8::try_from(cid.len()).map_err(|_| NoRoom)?)?;
        w.bytes(cid)?;
    }
    for v in versions {
        w.u32(v)?;
    }
    Ok(())
}
