//! Frames, stream types and which frame may come where (RFC 9114 sections 6.2 and 7).
//!
//! One function holds the whole table of frame type, stream kind, receiver and phase; everything that reads
//! frames asks it before it looks at a payload.
use super::error::Fatal;
use crate::base::Side;
use crate::base::codes::h3;
use crate::wire::varint;

/// Frame types (RFC 9114 section 11.2.1, RFC 9218 section 11.3).
pub(super) mod kind {
    pub const DATA: u64 = 0x00;
    pub const HEADERS: u64 = 0x01;
    pub const CANCEL_PUSH: u64 = 0x03;
    pub const SETTINGS: u64 = 0x04;
    pub const PUSH_PROMISE: u64 = 0x05;
    pub const GOAWAY: u64 = 0x07;
    pub const MAX_PUSH_ID: u64 = 0x0d;
    pub const PRIORITY_UPDATE_REQUEST: u64 = 0xf0700;
    pub const PRIORITY_UPDATE_PUSH: u64 = 0xf0701;
}

/// Unidirectional stream types (RFC 9114 section 11.2.4, RFC 9204 section 8.2).
pub(super) mod stream_type {
    pub const CONTROL: u64 = 0x00;
    pub const PUSH: u64 = 0x01;
    pub const QPACK_ENCODER: u64 = 0x02;
    pub const QPACK_DECODER: u64 = 0x03;
}

/// Where in its life a stream that carries frames is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Control stream, nothing read yet.
    ControlStart,
    /// Control stream after SETTINGS.
    Control,
    /// Request stream before the request or the final response.
    Start,
    /// Request stream, after that section.
    Body,
    /// Request stream after trailers.
    Trailed,
    /// Request stream that has become a tunnel (section 4.4).
    Tunnel,
}

/// What to do with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// A type that we know, where it belongs.
    Accept,
    /// An unknown type: its payload is dropped (section 9).
    Skip,
    Refuse(Fatal),
}

/// The table: may `receiver` get a frame of this type in this phase?
pub(super) const fn judge(frame_type: u64, receiver: Side, phase: Phase) -> Verdict {
    const UNEXPECTED: Verdict = Verdict::Refuse(Fatal::new(h3::FRAME_UNEXPECTED, "frame not allowed here"));
    const NO_PUSH: Verdict = Verdict::Refuse(Fatal::new(h3::ID_ERROR, "push was never allowed"));
    let control = matches!(phase, Phase::ControlStart | Phase::Control);
    if matches!(phase, Phase::ControlStart) && frame_type != kind::SETTINGS {
        // Section 6.2.1: whatever else comes first.
        return Verdict::Refuse(Fatal::new(h3::MISSING_SETTINGS, "control stream must start with SETTINGS"));
    }
    match frame_type {
        // Section 7.2.8: types of HTTP/2 that have no place here.
        0x02 | 0x06 | 0x08 | 0x09 => UNEXPECTED,
        kind::DATA => match phase {
            Phase::Body | Phase::Tunnel => Verdict::Accept,
            _ => UNEXPECTED,
        },
        kind::HEADERS => match phase {
            Phase::Start | Phase::Body => Verdict::Accept,
            _ => UNEXPECTED,
        },
        kind::SETTINGS => match phase {
            Phase::ControlStart => Verdict::Accept,
            _ => UNEXPECTED,
        },
        // Section 7.2.5: only to clients, on request streams; we never sent MAX_PUSH_ID, so every ID is too large.
        kind::PUSH_PROMISE => match (receiver, phase) {
            (Side::Client, Phase::Start | Phase::Body | Phase::Trailed) => NO_PUSH,
            _ => UNEXPECTED,
        },
        // Section 7.2.3: nothing was promised in either direction.
        kind::CANCEL_PUSH => {
            if control {
                NO_PUSH
            } else {
                UNEXPECTED
            }
        }
        kind::GOAWAY => {
            if control {
                Verdict::Accept
            } else {
                UNEXPECTED
            }
        }
        // Section 7.2.7 and RFC 9218 section 7.2: from clients only.
        kind::MAX_PUSH_ID | kind::PRIORITY_UPDATE_REQUEST => match (receiver, control) {
            (Side::Server, true) => Verdict::Accept,
            _ => UNEXPECTED,
        },
        kind::PRIORITY_UPDATE_PUSH => match (receiver, control) {
            (Side::Server, true) => NO_PUSH,
            _ => UNEXPECTED,
        },
        _ => Verdict::Skip,
    }
}

/// Longest frame header: two 8-byte integers.
pub(super) const MAX_HEADER: usize = 16;

/// Reads frame headers out of a stream that may be cut anywhere.
#[derive(Default)]
pub(super) struct HeaderReader {
    partial: [u8; MAX_HEADER],
    have: u8,
}

impl HeaderReader {
    /// Takes bytes up to the end of the header; gives how many, and type and length once it is whole.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, Option<(u64, u64)>) {
        if self.have == 0
            && let Some((frame_type, length, used)) = header(bytes)
        {
            return (used, Some((frame_type, length)));
        }
        for (i, b) in bytes.iter().enumerate() {
            if let Some(slot) = self.partial.get_mut(usize::from(self.have)) {
                *slot = *b;
                self.have = self.have.saturating_add(1);
            }
            let known = self.partial.get(..usize::from(self.have)).unwrap_or(&[]);
            if let Some((frame_type, length, _)) = header(known) {
                self.have = 0;
                return (i.saturating_add(1), Some((frame_type, length)));
            }
        }
        (bytes.len(), None)
    }

    /// No header has been begun.
    pub(super) const fn is_idle(&self) -> bool {
        self.have == 0
    }
}

fn header(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (frame_type, a) = get_varint(bytes)?;
    let (length, b) = get_varint(bytes.get(a..)?)?;
    Some((frame_type, length, a.saturating_add(b)))
}

/// A variable-length integer at the start of `bytes` and its length (RFC 9000 section 16).
pub(super) fn get_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1usize << (first >> 6);
    let rest = bytes.get(1..len)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |v, b| v << 8 | u64::from(*b));
    Some((value, len))
}

/// The one integer that is the whole payload of GOAWAY, MAX_PUSH_ID and CANCEL_PUSH (section 7.1).
pub(super) fn only_varint(payload: &[u8]) -> Result<u64, Fatal> {
    match get_varint(payload) {
        Some((v, n)) if n == payload.len() => Ok(v),
        _ => Err(Fatal::new(h3::FRAME_ERROR, "frame length does not fit its payload")),
    }
}

/// Appends a variable-length integer.
pub(super) fn put_varint(out: &mut Vec<u8>, v: u64) {
    let len = varint::len(v);
    let bytes = v.to_be_bytes();
    let at = out.len();
    out.extend_from_slice(bytes.get(8 - len..).unwrap_or(&[]));
    if let Some(first) = out.get_mut(at) {
        // The two top bits are the logarithm of the length.
        *first |= (len.trailing_zeros() as u8) << 6;
    }
}

/// Appends a frame header.
pub(super) fn put_header(out: &mut Vec<u8>, frame_type: u64, length: u64) {
    put_varint(out, frame_type);
    put_varint(out, length);
}

/// Bytes of a DATA frame's header.
pub(super) const fn data_header_len(length: u64) -> usize {
    1 + varint::len(length)
}
