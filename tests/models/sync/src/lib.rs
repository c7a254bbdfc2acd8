//! The names of `src/base/sync.rs` on shuttle's primitives: every use of one is a place where another thread may come in.
//!
//! Locks have parking_lot's faces, because that is what the library is written against. Reference counts are std's with
//! a switch before each change, so that the order of clone, drop and count is explored too.
use core::ops::{Deref, DerefMut};
use core::time::Duration;
pub use shuttle::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use shuttle::thread_local;

/// A place where another thread may come in.
pub fn step() {
    // Between schedules (a static's end, a test's own code) there are no threads to switch between.
    if shuttle::current::get_current_task().is_some() {
        AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

/// Shuttle orders everything.
pub fn full_fence() {
    step();
}

pub fn wait_a_little(_round: u32) {
    shuttle::thread::yield_now();
}

/// Made anew for every schedule.
#[macro_export]
macro_rules! global {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $crate::shuttle::lazy_static! {
            $(#[$attribute])*
            static ref $name: $type = $value;
        }
    };
}
#[doc(hidden)]
pub use shuttle;

#[derive(Default)]
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

/// `None` only while it is unlocked for a moment.
pub struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>, &'a Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("no thread panics with it")), self)
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        Some(MutexGuard(Some(self.0.try_lock().ok()?), self))
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("no thread panics with it")
    }

    pub fn into_inner(self) -> T {
        self.0.into_inner().expect("no thread panics with it")
    }
}

impl<T> MutexGuard<'_, T> {
    /// Opens the lock while `act` runs.
    pub fn unlocked<R>(guard: &mut Self, act: impl FnOnce() -> R) -> R {
        guard.0 = None;
        let result = act();
        guard.0 = guard.1.lock().0;
        result
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_deref().expect("it is locked")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_deref_mut().expect("it is locked")
    }
}

#[derive(Default)]
pub struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub fn new(value: T) -> Self {
        Self(shuttle::sync::RwLock::new(value))
    }

    pub fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
        self.0.read().expect("no thread panics with it")
    }

    pub fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
        self.0.write().expect("no thread panics with it")
    }
}

#[derive(Default)]
pub struct Condvar(shuttle::sync::Condvar);

pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub const fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub const fn new() -> Self {
        Self(shuttle::sync::Condvar::new())
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let inner = guard.0.take().expect("it is locked");
        guard.0 = Some(self.0.wait(inner).expect("no thread panics with it"));
    }

    /// Time does not pass here: a notice must come.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _limit: Duration) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult(false)
    }

    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _end: std::time::Instant) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult(false)
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// std's, with a switch before whatever depends on the count.
pub struct Arc<T>(std::sync::Arc<T>);

impl<T> Arc<T> {
    pub fn new(value: T) -> Self {
        Self(std::sync::Arc::new(value))
    }

    pub fn strong_count(this: &Self) -> usize {
        step();
        std::sync::Arc::strong_count(&this.0)
    }

    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        std::sync::Arc::ptr_eq(&a.0, &b.0)
    }

    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        step();
        std::sync::Arc::get_mut(&mut this.0)
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        step();
        Self(std::sync::Arc::clone(&self.0))
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        step();
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
