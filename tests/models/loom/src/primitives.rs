//! The names of `src/base/sync.rs` on loom's primitives, with parking_lot's faces.
use core::ops::{Deref, DerefMut};
pub(crate) use loom::sync::Arc;
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

pub(crate) fn wait_a_little(_round: u32) {
    loom::thread::yield_now();
}

/// loom's macro is of an edition that knows no `const` blocks.
macro_rules! thread_locals {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = const { $value:expr };)+) => {
        loom::thread_local! {
            $($(#[$attribute])* static $name: $type = $value;)+
        }
    };
}
pub(crate) use thread_locals as thread_local;

/// Made anew for every schedule.
macro_rules! global {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::lazy_static! {
            $(#[$attribute])*
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use global;

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T>(loom::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().expect("no thread panics with it"))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
