//! Sliding window over the newest packet numbers, for duplicate detection (RFC 9000 section 12.3).
//!
//! 256 bits addressed by packet number modulo 256, so that advancing by one clears one bit and shifts nothing.
//! Invariant: bits stand for the numbers `next - 256 .. next` only.

/// Numbers that the window distinguishes; wide enough for reordering between receive batches.
pub const WINDOW: u64 = 256;

/// What the window knows of a packet number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    Fresh,
    Duplicate,
    /// Older than the window: it cannot tell.
    Below,
}

/// The window.
#[derive(Clone, Copy, Debug, Default)]
pub struct PnWindow {
    bits: [u64; 4],
    /// Highest number inserted, plus one.
    next: u64,
}

impl PnWindow {
    #[must_use]
    pub const fn new() -> Self {
        Self { bits: [0; 4], next: 0 }
    }

    /// Looks without inserting.
    #[must_use]
    pub fn check(&self, pn: u64) -> Seen {
        if pn >= self.next {
            return Seen::Fresh;
        }
        if self.next - pn > WINDOW {
            return Seen::Below;
        }
        let word = self.bits.get(Self::word(pn)).copied().unwrap_or(u64::MAX);
        if word & Self::bit(pn) == 0 { Seen::Fresh } else { Seen::Duplicate }
    }

    /// Inserts; false for a duplicate and for anything below the window.
    pub fn insert(&mut self, pn: u64) -> bool {
        if self.check(pn) != Seen::Fresh {
            return false;
        }
        if pn >= self.next {
            if pn - self.next >= WINDOW {
                self.bits = [0; 4];
            } else {
                for skipped in self.next..pn {
                    if let Some(word) = self.bits.get_mut(Self::word(skipped)) {
                        *word &= !Self::bit(skipped);
                    }
                }
            }
            self.next = pn.saturating_add(1);
        }
        if let Some(word) = self.bits.get_mut(Self::word(pn)) {
            *word |= Self::bit(pn);
        }
        true
    }

    const fn word(pn: u64) -> usize {
        ((pn % WINDOW) / 64) as usize
    }

    const fn bit(pn: u64) -> u64 {
        1 << (pn % 64)
    }
}

#[cfg(test)]
mod tests;
