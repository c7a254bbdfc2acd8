//! The operating system as a source of randomness ([`crate::base::Rng`]).
//!
//! A connection draws eight bytes here and there (connection IDs, challenges, skipped packet
//! numbers); one system call for each would cost more than the packet. Bytes are taken from a
//! buffer of the calling thread and wiped as they leave it. The source itself has no size, so
//! a boxed one allocates nothing and an idle connection carries none of it.
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::Rng;
use crate::crypto::TokenKey;

/// `getentropy` gives at most 256 bytes per call (POSIX.1-2024).
const BUFFER: usize = 256;

struct Pool {
    bytes: [u8; BUFFER],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; BUFFER], used: BUFFER }) };
}

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

fn fill_from_system(out: &mut [u8]) {
    for part in out.chunks_mut(BUFFER) {
        loop {
            // SAFETY: the pointer and length describe `part`, which we hold exclusively.
            let rc = unsafe { libc::getentropy(part.as_mut_ptr().cast(), part.len()) };
            if rc == 0 {
                break;
            }
            let error = std::io::Error::last_os_error();
            // Going on with predictable bytes would give away keys; there is nothing to fall back to.
            assert!(error.kind() == std::io::ErrorKind::Interrupted, "no randomness from the system: {error}");
        }
    }
}

impl Rng for SystemRng {
    fn fill(&mut self, out: &mut [u8]) {
        if out.len() > BUFFER / 2 {
            fill_from_system(out);
            return;
        }
        POOL.with_borrow_mut(|pool| {
            if pool.bytes.len().saturating_sub(pool.used) < out.len() {
                fill_from_system(&mut pool.bytes);
                pool.used = 0;
            }
            let end = pool.used.saturating_add(out.len());
            if let Some(from) = pool.bytes.get_mut(pool.used..end) {
                out.copy_from_slice(from);
                from.fill(0);
            }
            pool.used = end;
        });
    }
}
