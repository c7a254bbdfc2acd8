//! The version-independent part of a packet (RFC 8999 section 5): all that routing and version negotiation need.
use super::reader::{Reader, Truncated};

/// Fields that every QUIC version has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peek<'a> {
    /// Header form: long when true.
    pub long: bool,
    /// Version of a long header; 0 for short ones (and for Version Negotiation).
    pub version: u32,
    /// Destination connection ID, up to 255 bytes in a long header.
    pub dcid: &'a [u8],
    /// Source connection ID, up to 255 bytes; empty for short headers.
    pub scid: &'a [u8],
}

/// Reads the first packet's invariant fields. `short_cid_len` is the length of the connection IDs that
/// this endpoint issues: a short header does not tell it (RFC 8999 section 5.2).
#[inline]
pub fn peek(datagram: &[u8], short_cid_len: usize) -> Result<Peek<'_>, Truncated> {
    let mut r = Reader::new(datagram);
    let first = r.u8()?;
    if first & 0x80 == 0 {
        return Ok(Peek { long: false, version: 0, dcid: r.bytes(short_cid_len)?, scid: &[] });
    }
    let version = r.u32()?;
    let dcid_len = usize::from(r.u8()?);
    let dcid = r.bytes(dcid_len)?;
    let scid_len = usize::from(r.u8()?);
    let scid = r.bytes(scid_len)?;
    Ok(Peek { long: true, version, dcid, scid })
}
