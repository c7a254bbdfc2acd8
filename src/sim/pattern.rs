//! What streams carry: bytes that follow from a seed, a stream and a direction, so that a receiver knows what to expect.
//!
//! Invariant: a byte depends on its own place only, so any part can be made and checked alone.
use crate::base::Side;

/// Mixes two numbers into one that looks random.
#[must_use]
pub fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b;
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}

/// One endless message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern(u64);

impl Pattern {
    /// What `sender` says under `name` (a stream ID, a number in a request) in the world of `seed`.
    #[must_use]
    pub fn new(seed: u64, name: u64, sender: Side) -> Self {
        Self(mix(mix(seed, name), 2 + u64::from(sender.is_server())))
    }

    fn word(self, index: u64) -> [u8; 8] {
        mix(self.0, index).to_le_bytes()
    }

    /// Fills `out` with the bytes from `offset` on.
    pub fn fill(self, offset: u64, out: &mut [u8]) {
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let skip = (at % 8) as usize;
            let n = rest.len().min(8 - skip);
            let (now, later) = rest.split_at_mut(n);
            now.copy_from_slice(&self.word(at / 8)[skip..skip + n]);
            at += n as u64;
            rest = later;
        }
    }

    /// `len` bytes from `offset` on.
    #[must_use]
    pub fn bytes(self, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.fill(offset, &mut out);
        out
    }

    /// Whether `data` is what stands at `offset`.
    #[must_use]
    pub fn matches(self, offset: u64, data: &[u8]) -> bool {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let skip = (at % 8) as usize;
            let n = rest.len().min(8 - skip);
            if rest[..n] != self.word(at / 8)[skip..skip + n] {
                return false;
            }
            at += n as u64;
            rest = &rest[n..];
        }
        true
    }
}
