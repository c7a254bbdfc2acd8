//! The operating system as a source of randomness ([`crate::base::Rng`]).
//!
//! The bytes are those of `crypto::random`, which fetches many at a time. The source itself has no size, so a boxed one
//! allocates nothing and an idle connection carries none of it.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

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

/// From now on the child of a fork uses none of the random bytes that its parent holds. Runtimes ask for it, the first bytes from
/// here, and the C boundary with its first handle.
pub(crate) fn watch_forks() {
    static ONCE: Once = Once::new();
    extern "C" fn in_child() {
        random::forget();
    }
    ONCE.call_once(|| {
        // SAFETY: the handler only stores to an atomic; the library cannot be unloaded (nodelete).
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

impl Rng for SystemRng {
    fn fill(&mut self, out: &mut [u8]) {
        watch_forks();
        // Going on with predictable bytes would give away keys; there is nothing to fall back to.
        assert!(random::fill(out).is_ok(), "no randomness from the system");
    }
}

#[cfg(test)]
mod tests {
    use super::{Rng, SystemRng};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// RFC 9000 section 21 rests on values that cannot be foreseen, and a forked process has its parent's memory.
    #[test]
    fn a_forked_process_draws_other_bytes() {
        let mut first = [0; 32];
        SystemRng.fill(&mut first);
        let (mut parent, mut child) = UnixStream::pair().unwrap();
        // SAFETY: the child draws, writes and ends; nothing in it allocates or takes a lock that another thread may hold.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        let mut mine = [0; 32];
        SystemRng.fill(&mut mine);
        if pid == 0 {
            let sent = child.write_all(&mine).is_ok();
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(!sent)) };
        }
        let mut theirs = [0; 32];
        parent.read_exact(&mut theirs).unwrap();
        let mut status = 0;
        // SAFETY: waits for our own child.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(status == 0 && theirs != mine);
    }
}
