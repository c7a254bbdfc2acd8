//! The only clock of the library: monotonic time as nanoseconds since a process epoch.
//!
//! Everything below the runtime takes a [`Timestamp`] as an argument. A worker reads the clock once
//! per batch; application threads read it once per verb.
use crate::base::sync::thread_local;
use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant;

use crate::base::Timestamp;

/// Time zero is a little before the first reading, so that no live timestamp is `Timestamp::ZERO`.
const HEAD_START_NANOS: u64 = 1_000_000_000;

static EPOCH: OnceLock<Instant> = OnceLock::new();

/// The present moment; inside of [`pinned`], the caller's.
#[must_use]
pub fn now() -> Timestamp {
    let pinned = PINNED.with(Cell::get);
    if pinned != 0 {
        return Timestamp(pinned);
    }
    let epoch = EPOCH.get_or_init(Instant::now);
    let elapsed = u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Timestamp(elapsed.saturating_add(HEAD_START_NANOS))
}

thread_local! {
    /// Time of a driven runtime's call; zero outside of such calls.
    static PINNED: Cell<u64> = const { Cell::new(0) };
    /// A worker's reading for the events it delivers, and how often it was used; zero outside of deliveries.
    static HELD: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// One reading of the clock serves so many events and verbs of a batch.
const USES_PER_READING: u32 = 32;

/// The present moment, or while a worker delivers a batch of events ([`hold`]) one just past.
#[must_use]
pub fn recent() -> Timestamp {
    HELD.with(|held| match held.get() {
        (0, _) => now(),
        (at, uses) if uses < USES_PER_READING => {
            held.set((at, uses + 1));
            Timestamp(at)
        }
        _ => {
            let fresh = now();
            held.set((fresh.as_nanos(), 0));
            fresh
        }
    })
}

/// Runs `deliver` with a clock that is read once in a while: events of one batch happened together.
pub(super) fn hold<R>(deliver: impl FnOnce() -> R) -> R {
    struct Restore((u64, u32));
    impl Drop for Restore {
        fn drop(&mut self) {
            HELD.with(|held| held.set(self.0));
        }
    }
    let _restore = HELD.with(|held| Restore(held.replace((now().as_nanos(), 0))));
    deliver()
}

/// Runs `act` at the time `at` of somebody else's clock.
pub fn pinned<R>(at: Timestamp, act: impl FnOnce() -> R) -> R {
    struct Restore(u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            PINNED.with(|pinned| pinned.set(self.0));
        }
    }
    let _restore = Restore(PINNED.with(|pinned| pinned.replace(at.as_nanos())));
    act()
}

/// The instant `timeout` from now, for waits on condition variables; `None` when it is out of range.
#[must_use]
pub(super) fn deadline_in(timeout: std::time::Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// The same in milliseconds, for logs.
#[must_use]
pub(super) fn unix_ms_at_zero() -> Option<u64> {
    u64::try_from(unix_at_zero().as_millis()).ok()
}

/// Wall-clock time since 1970 at `Timestamp::ZERO`: what token lifetimes and log files are dated by.
#[must_use]
pub fn unix_at_zero() -> std::time::Duration {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    unix.saturating_sub(std::time::Duration::from_nanos(now().as_nanos()))
}
