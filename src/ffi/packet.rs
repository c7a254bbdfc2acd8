//! `wb_packet_peek`: what a router can know about a datagram; no object, no memory of earlier ones.
//!
//! Translation of `wire::facts` (RFC 8999 section 5, RFC 9000 section 17). Invariant: reads the bytes that it is given and no
//! other.
use super::abi::*;
use super::args;
use super::error::{Fail, fence};
use super::status::*;
use crate::wire::PacketType;
use crate::wire::facts::{Facts, facts};
use core::ffi::c_void;

const fn kind(ty: Option<PacketType>) -> u32 {
    match ty {
        None => WB_PACKET_UNKNOWN,
        Some(PacketType::Initial) => WB_PACKET_INITIAL,
        Some(PacketType::ZeroRtt) => WB_PACKET_EARLY,
        Some(PacketType::Handshake) => WB_PACKET_HANDSHAKE,
        Some(PacketType::Retry) => WB_PACKET_RETRY,
        Some(PacketType::VersionNegotiation) => WB_PACKET_VERSIONS,
        Some(PacketType::Short) => WB_PACKET_SHORT,
    }
}

/// A pointer into the datagram, null for what is not there.
const fn pointer(part: &[u8]) -> *const u8 {
    if part.is_empty() { core::ptr::null() } else { part.as_ptr() }
}

fn desc(f: &Facts<'_>) -> wb_packet_desc {
    wb_packet_desc {
        struct_size: size_of::<wb_packet_desc>() as u32,
        kind: kind(f.ty),
        version: f.version,
        long_header: u32::from(f.ty != Some(PacketType::Short)),
        fixed_bit: u32::from(f.fixed_bit),
        reserved: 0,
        dcid: pointer(f.dcid),
        dcid_len: f.dcid.len(),
        scid: pointer(f.scid),
        scid_len: f.scid.len(),
        token: pointer(f.token),
        token_len: f.token.len(),
        packet_len: f.packet_len,
    }
}

/// Tells what anybody can know about a datagram's first packet, without keys: form, version and connection IDs of any QUIC
/// version (RFC 8999), and of versions 1 and 2 also the type, the token and where the packet ends. For routers and load
/// balancers, which need no object of this library. A short header does not tell how long its destination connection ID is:
/// `short_cid_len` does, which is `WB_CID_LEN` for servers of this library. Look at further packets of a datagram with the
/// bytes from `packet_len` on.
///
/// A clear fixed bit is no error (RFC 9287), so half of all datagrams of other protocols look like short headers.
///
/// Ownership: the datagram stays the caller's; pointers in `*out` point into it. Threads: any. Blocks: never.
/// Errors: `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_NOT_QUIC` (too short, or its lengths lead out of it). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_packet_peek(
    datagram: *const c_void,
    len: usize,
    short_cid_len: usize,
    out: *mut wb_packet_desc,
) -> wb_status {
    fence(|| {
        args::non_null(out, "packet description")?;
        // SAFETY: readable by contract.
        let datagram = unsafe { args::bytes(datagram, len, "datagram")? };
        let facts = facts(datagram, short_cid_len)
            .map_err(|why| Fail::new(WB_E_NOT_QUIC, format!("no packet that QUIC knows: {why:?}")))?;
        // SAFETY: checked above; writable for its size by contract.
        unsafe { args::fill(out, desc(&facts))? };
        Ok(WB_OK)
    })
}
