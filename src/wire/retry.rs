//! Retry packets (RFC 9000 section 17.2.5): long header, token to the end, 16 bytes of integrity tag.
//! The tag itself is crypto's (RFC 9001 section 5.8).
use super::header::{self, FIXED_BIT, HeaderError, LONG_BIT, PacketType};
use super::reader::Reader;
use super::writer::{NoRoom, Writer};
use crate::base::ConnectionId;
use crate::base::codes::VERSION_1;

/// Bytes of a Retry Integrity Tag (RFC 9001 section 5.8).
pub const TAG_LEN: usize = 16;

/// A received Retry packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry<'a> {
    pub version: u32,
    pub dcid: ConnectionId,
    /// The connection ID that the client must use as destination from now on.
    pub scid: ConnectionId,
    /// To be repeated in the next Initial; a client drops a Retry in which it is empty (section 17.2.5.2).
    pub token: &'a [u8],
    pub tag: [u8; TAG_LEN],
    /// What the tag is computed over, after the original destination connection ID.
    pub without_tag: &'a [u8],
}

/// Reads a whole datagram (or its last packet) as a Retry packet.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5
//# The value in the Unused field is set to an arbitrary value by the server; a client MUST ignore these bits.
pub fn parse_retry(packet: &[u8]) -> Result<Retry<'_>, HeaderError> {
    let mut r = Reader::new(packet);
    let first = r.u8()?;
    let version = r.u32()?;
    match PacketType::from_bits(first >> 4, version) {
        Some(PacketType::Retry) if first & LONG_BIT != 0 => {}
        _ => return Err(HeaderError::UnsupportedVersion),
    }
    let dcid = header::cid(&mut r)?;
    let scid = header::cid(&mut r)?;
    let token_len = r.remaining().checked_sub(TAG_LEN).ok_or(HeaderError::Truncated)?;
    let token = r.bytes(token_len)?;
    let without_tag = packet.get(..r.position()).ok_or(HeaderError::Truncated)?;
    let tag = r.fixed::<TAG_LEN>()?;
    Ok(Retry { version, dcid, scid, token, tag, without_tag })
}

/// Writes a Retry packet up to its tag. `unused` gives the four low bits, which receivers ignore.
pub fn write_retry(
    w: &mut Writer<'_>,
    version: u32,
    dcid: &ConnectionId,
    scid: &ConnectionId,
    token: &[u8],
    unused: u8,
) -> Result<(), NoRoom> {
    let bits = PacketType::Retry.bits(version).or(PacketType::Retry.bits(VERSION_1)).unwrap_or(3);
    w.u8(LONG_BIT | FIXED_BIT | (bits << 4) | (unused & 0x0f))?;
    w.u32(version)?;
    header::write_cid(w, dcid)?;
    header::write_cid(w, scid)?;
    w.bytes(token)
}
