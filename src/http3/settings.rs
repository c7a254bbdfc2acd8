//! The SETTINGS frame (RFC 9114 section 7.2.4, RFC 9204 section 5, RFC 9220, RFC 9297).
use super::config::Http3Config;
use super::error::Fatal;
use super::frame::{get_varint, kind, put_header, put_varint};
use crate::base::Side;
use crate::base::codes::h3;

const QPACK_MAX_TABLE_CAPACITY: u64 = 0x01;
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const QPACK_BLOCKED_STREAMS: u64 = 0x07;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const H3_DATAGRAM: u64 = 0x33;

/// Longest SETTINGS payload that we read: about 60 settings; more is an attempt to spend our memory.
pub(super) const MAX_PAYLOAD: u64 = 1024;

/// What the peer told, or the defaults before it did (section 7.2.4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerSettings {
    pub max_field_section_size: u64,
    pub qpack_max_table_capacity: u64,
    pub qpack_blocked_streams: u64,
    pub extended_connect: bool,
    pub h3_datagram: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            max_field_section_size: u64::MAX,
            qpack_max_table_capacity: 0,
            qpack_blocked_streams: 0,
            extended_connect: false,
            h3_datagram: false,
        }
    }
}

/// Parses a whole payload.
pub(super) fn parse(mut payload: &[u8]) -> Result<PeerSettings, Fatal> {
    let mut settings = PeerSettings::default();
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let (id, value, used) = setting(payload).ok_or(Fatal::new(h3::FRAME_ERROR, "SETTINGS cut off"))?;
        payload = payload.get(used..).unwrap_or(&[]);
        seen.push(id);
        match id {
            // Section 7.2.4.1: settings of HTTP/2 without a counterpart.
            0x00 | 0x02..=0x05 => return Err(Fatal::new(h3::SETTINGS_ERROR, "reserved HTTP/2 setting")),
            QPACK_MAX_TABLE_CAPACITY => settings.qpack_max_table_capacity = value,
            MAX_FIELD_SECTION_SIZE => settings.max_field_section_size = value,
            QPACK_BLOCKED_STREAMS => settings.qpack_blocked_streams = value,
            ENABLE_CONNECT_PROTOCOL => settings.extended_connect = flag(value)?,
            H3_DATAGRAM => settings.h3_datagram = flag(value)?,
            _ => {}
        }
    }
    // Section 7.2.4: the same identifier twice, known or not. Sorting keeps a full frame cheap.
    seen.sort_unstable();
    if seen.windows(2).any(|w| w.first() == w.get(1)) {
        return Err(Fatal::new(h3::SETTINGS_ERROR, "setting repeated"));
    }
    Ok(settings)
}

fn setting(payload: &[u8]) -> Option<(u64, u64, usize)> {
    let (id, a) = get_varint(payload)?;
    let (value, b) = get_varint(payload.get(a..)?)?;
    Some((id, value, a.saturating_add(b)))
}

/// RFC 8441 section 3 and RFC 9297 section 2.1.1: 0 or 1.
fn flag(value: u64) -> Result<bool, Fatal> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Fatal::new(h3::SETTINGS_ERROR, "flag is neither 0 nor 1")),
    }
}

/// The settings that we announce, as they are encoded, without the reserved one: what a client remembers with a ticket.
pub(super) fn announced(config: &Http3Config, side: Side) -> Vec<u8> {
    let mut payload = Vec::with_capacity(32);
    let mut put = |id, value| {
        put_varint(&mut payload, id);
        put_varint(&mut payload, value);
    };
    put(MAX_FIELD_SECTION_SIZE, u64::from(config.max_field_section_size));
    put(QPACK_MAX_TABLE_CAPACITY, u64::from(config.qpack_table_capacity));
    put(QPACK_BLOCKED_STREAMS, u64::from(config.qpack_blocked_streams));
    if side.is_server() && config.extended_connect {
        put(ENABLE_CONNECT_PROTOCOL, 1);
    }
    payload
}

/// Appends our SETTINGS frame. `n` varies the reserved setting that keeps peers tolerant.
pub(super) fn write(out: &mut Vec<u8>, config: &Http3Config, side: Side, n: u64) {
    let mut payload = announced(config, side);
    if config.grease {
        put_varint(&mut payload, reserved(n));
        put_varint(&mut payload, n & 0x3fff);
    }
    put_header(out, kind::SETTINGS, payload.len() as u64);
    out.extend_from_slice(&payload);
}

/// The n-th reserved code point (sections 6.2.3, 7.2.4.1, 7.2.8), within four bytes.
pub(super) const fn reserved(n: u64) -> u64 {
    0x1f * (n % 0x0100_0000) + 0x21
}
