//! The primitives by which threads meet, in one place, so that a model checker's can stand in for them.
//!
//! Normally plain re-exports: nothing is added to a build. With `--cfg model`, which only `tests/models` sets, the same names
//! come from a checker that tries out schedules on the very code that is shipped. Invariant: a lock that is held
//! while other names of this module are used is itself of this module, for a checker's threads share one real thread.
#[cfg(model)]
pub(crate) use model_sync::*;

#[cfg(not(model))]
pub(crate) use {
    core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    parking_lot::{Condvar, Mutex, MutexGuard, RwLock},
    std::sync::Arc,
    std::thread_local,
};

/// A place where another thread may come in between although no primitive is used: around system calls.
#[cfg(not(model))]
#[inline]
pub(crate) const fn step() {}

/// Orders everything before it against everything after it, on all threads that have such a fence.
#[cfg(not(model))]
#[inline]
pub(crate) fn full_fence() {
    core::sync::atomic::fence(Ordering::SeqCst);
}

/// Backs off in a wait that is normally shorter than one packet's copy.
#[cfg(not(model))]
pub(crate) fn wait_a_little(round: u32) {
    if round < 64 {
        core::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// A static that a checker makes anew for every schedule.
#[cfg(not(model))]
macro_rules! global {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$attribute])*
        static $name: $type = $value;
    };
}
#[cfg(not(model))]
pub(crate) use global;
