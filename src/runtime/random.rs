//! The operating system as a source of randomness ([`crate::base::Rng`]).
//!
//! The bytes are those of `crypto::random`, which fetches many at a time. The source itself has no size, so a boxed one
//! allocates nothing and an idle connection carries none of it.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::Rng;
use crate::crypto::{TokenKey, random};

/// Cryptographically strong bytes from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

/// Bytes that follow from a seed: for runtimes whose caller brings the randomness. Clones draw from one sequence.
#[derive(Clone)]
pub struct SeededRng(Arc<(TokenKey, AtomicU64)>);

impl SeededRng {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(Arc::new((TokenKey::new(seed), AtomicU64::new(0))))
    }
}

impl Rng for SeededRng {
    fn fill(&mut self, out: &mut [u8]) {
        // A keyed hash of a counter.
        for part in out.chunks_mut(8) {
            let at = self.0.1.fetch_add(1, Ordering::Relaxed);
            let bytes = self.0.0.hash64(&at.to_be_bytes()).to_be_bytes();
            for (o, b) in part.iter_mut().zip(bytes) {
                *o = b;
            }
        }
    }
}

impl Rng for SystemRng {
    fn fill(&mut self, out: &mut [u8]) {
        // Going on with predictable bytes would give away keys; there is nothing to fall back to.
        assert!(random::fill(out).is_ok(), "no randomness from the system");
    }
}
