//! What anybody can know about a datagram without keys or state, for routers in front of servers.
//!
//! Every version has the invariants (RFC 8999 section 5); versions 1 and 2 also a type, a token and a length (RFC 9000
//! section 17, RFC 9369 section 3.2). Invariant: says the same as the parsers that receive packets, because it asks them.
use super::header::{self, FIXED_BIT, HeaderError, PacketType};
use super::{invariants, retry, version_negotiation};

/// Facts of a datagram's first packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// `None` for a long header of a version that we do not know.
    pub ty: Option<PacketType>,
    /// 0 for short headers and Version Negotiation.
    pub version: u32,
    /// Up to 255 bytes in a version that we do not know.
    pub dcid: &'a [u8],
    pub scid: &'a [u8],
    /// Of Initial and Retry packets.
    pub token: &'a [u8],
    /// Bytes of the packet: another one may follow in the datagram. All of it where no Length says so.
    pub packet_len: usize,
    /// As the sender set it (RFC 9287 lets it be 0).
    pub fixed_bit: bool,
}

/// Reads the first packet's header; a short header has a destination connection ID of `short_cid_len` bytes.
pub fn facts(datagram: &[u8], short_cid_len: usize) -> Result<Facts<'_>, HeaderError> {
    let seen = invariants::peek(datagram, short_cid_len)?;
    let first = datagram.first().copied().unwrap_or(0);
    let mut facts = Facts {
        ty: None,
        version: seen.version,
        dcid: seen.dcid,
        scid: seen.scid,
        token: &[],
        packet_len: datagram.len(),
        fixed_bit: first & FIXED_BIT != 0,
    };
    if !seen.long {
        facts.ty = Some(PacketType::Short);
        return Ok(facts);
    }
    if seen.version == 0 {
        version_negotiation::parse(datagram)?;
        facts.ty = Some(PacketType::VersionNegotiation);
        return Ok(facts);
    }
    // RFC 8999 section 5.1: of other versions nothing more is known.
    facts.ty = PacketType::from_bits(first >> 4, seen.version);
    match facts.ty {
        None => {}
        Some(PacketType::Retry) => facts.token = retry::parse_retry(datagram)?.token,
        Some(_) => {
            let header = header::parse_greased(datagram, short_cid_len)?;
            (facts.token, facts.packet_len) = (header.token, header.packet_len);
        }
    }
    Ok(facts)
}
