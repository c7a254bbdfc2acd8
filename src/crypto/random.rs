//! Random bytes of the operating system, fetched by the half kilobyte.
//!
//! A handshake draws six times (key share, hello, ticket), a connection eight bytes here and there; a system call for each
//! costs more than what the bytes are for. They wait in a buffer of the calling thread and are wiped as they leave it. The
//! system stays the only source: nothing is stretched or mixed. Invariant: no byte is handed out twice, not even to the two
//! sides of a fork (`forget`, which `runtime/random.rs` sees to).
use ring::rand::{SecureRandom, SystemRandom};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

const BUFFER: usize = 512;
/// Longer requests go to the system themselves.
const SMALL: usize = BUFFER / 4;

struct Pool {
    bytes: [u8; BUFFER],
    used: usize,
    epoch: u32,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; BUFFER], used: BUFFER, epoch: 0 }) };
}

static EPOCH: AtomicU32 = AtomicU32::new(0);

/// The system has no randomness to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRandomness;

fn fetch(out: &mut [u8]) -> Result<(), NoRandomness> {
    SystemRandom::new().fill(out).map_err(|_| NoRandomness)
}

/// Fills all of `out` with cryptographically strong bytes.
pub fn fill(out: &mut [u8]) -> Result<(), NoRandomness> {
    if out.len() > SMALL {
        return fetch(out);
    }
    POOL.with_borrow_mut(|pool| {
        let epoch = EPOCH.load(Ordering::Relaxed);
        if pool.epoch != epoch || BUFFER.saturating_sub(pool.used) < out.len() {
            pool.used = BUFFER;
            fetch(&mut pool.bytes)?;
            pool.used = 0;
            pool.epoch = epoch;
        }
        let end = pool.used.saturating_add(out.len());
        let from = pool.bytes.get_mut(pool.used..end).ok_or(NoRandomness)?;
        out.copy_from_slice(from);
        from.fill(0);
        pool.used = end;
        Ok(())
    })
}

/// What every thread holds is not used any more: for the child of a fork, whose parent has the same bytes. Only stores to an
/// atomic, as such a moment demands.
pub fn forget() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::{BUFFER, SMALL, fill, forget};
    use std::collections::HashSet;

    #[test]
    fn bytes_of_all_lengths_differ() {
        let mut seen = HashSet::new();
        for round in 0..64 {
            for len in [16, 31, 32, 33, SMALL - 1, SMALL, SMALL + 1, BUFFER, 3 * BUFFER] {
                let mut out = vec![0; len];
                fill(&mut out).unwrap();
                assert!(seen.insert(out), "{len} bytes came twice by round {round}");
            }
        }
    }

    #[test]
    fn nothing_is_left_of_what_was_handed_out_or_forgotten() {
        let held = || super::POOL.with_borrow(|pool| (pool.bytes.to_vec(), pool.used));
        let mut out = [0; 16];
        fill(&mut out).unwrap();
        let (bytes, used) = held();
        assert!(bytes[..used].iter().all(|b| *b == 0));
        forget();
        let mut next = [0; 16];
        fill(&mut next).unwrap();
        let mut waiting = bytes[used..].windows(16);
        assert!(waiting.all(|w| w != next), "a byte from before the fork was used after it");
    }
}
