//! Layout of a stateless reset (RFC 9000 section 10.3): looks like a short header packet, ends in the token.
use super::header::FIXED_BIT;
use crate::base::{ResetToken, Rng};

/// Smallest datagram that can be a stateless reset: 5 unpredictable bytes and the token (RFC 9000 section 10.3).
pub const MIN_LEN: usize = 21;

/// Fills `buf` with a stateless reset. False, and nothing written, when `buf` is shorter than [`MIN_LEN`].
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
//# Endpoints MUST send Stateless Resets formatted as a packet with a short header.
#[must_use]
pub fn write(buf: &mut [u8], rng: &mut dyn Rng, token: &ResetToken) -> bool {
    if buf.len() < MIN_LEN {
        return false;
    }
    let Some((head, tail)) = buf.split_last_chunk_mut::<16>() else { return false };
    rng.fill(head);
    if let Some(first) = head.first_mut() {
        // Short header with the fixed bit; the other six bits stay random.
        *first = FIXED_BIT | (*first & 0x3f);
    }
    *tail = token.0;
    true
}

/// The last 16 bytes of a datagram that is long enough to be a stateless reset (RFC 9000 section 10.3.1).
#[must_use]
#[inline]
pub fn token_at_end(datagram: &[u8]) -> Option<ResetToken> {
    if datagram.len() < MIN_LEN {
        return None;
    }
    datagram.last_chunk::<16>().copied().map(ResetToken)
}
