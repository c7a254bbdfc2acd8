//! Packet number truncation and expansion (RFC 9000 section 17.1, appendices A.2 and A.3).
use super::writer::{NoRoom, Writer};

/// Largest packet number (RFC 9000 section 12.3).
pub const MAX: u64 = super::varint::MAX;

/// Bytes (1 to 4) that the receiver needs to expand `pn` when it may know nothing newer than `largest_acked`
/// (RFC 9000 appendix A.2). Distances beyond 2^31 are clamped to 4; a sender never has that many in flight.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.1
//# Prior to receiving an acknowledgment for a packet number space, the full packet number MUST be included; it is not
//# to be truncated, as described below.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.1
//# After an acknowledgment is received for a packet number space, the sender MUST use a packet number size able to
//# represent more than twice as large a range as the difference between the largest acknowledged packet number and the
//# packet number being sent.
#[must_use]
#[inline]
pub const fn encoded_len(pn: u64, largest_acked: Option<u64>) -> usize {
    let unacked = match largest_acked {
        Some(largest) => pn.saturating_sub(largest),
        None => pn.saturating_add(1),
    };
    // Twice the distance must be representable: RFC 9000 section 17.1.
    match unacked {
        0..=0x7f => 1,
        0x80..=0x7fff => 2,
        0x8000..=0x7f_ffff => 3,
        _ => 4,
    }
}

/// The full number closest to `expected` (largest received + 1, or 0) whose low `len` bytes are `truncated`
/// (RFC 9000 appendix A.3).
#[must_use]
#[inline]
pub const fn expand(truncated: u32, len: usize, expected: u64) -> u64 {
    let bits = match len {
        0 | 1 => 8,
        2 => 16,
        3 => 24,
        _ => 32,
    };
    let win = 1u64 << bits;
    let half = win / 2;
    let candidate = (expected & !(win - 1)) | (truncated as u64 & (win - 1));
    if candidate.saturating_add(half) <= expected && candidate < (MAX + 1) - win {
        candidate + win
    } else if candidate > expected.saturating_add(half) && candidate >= win {
        candidate - win
    } else {
        candidate
    }
}

/// Writes the low `len` bytes (1 to 4) of `pn`.
#[inline]
pub fn write(w: &mut Writer<'_>, pn: u64, len: usize) -> Result<(), NoRoom> {
    let bytes = (pn as u32).to_be_bytes();
    w.bytes(bytes.get(4usize.saturating_sub(len)..).unwrap_or(&bytes))
}
