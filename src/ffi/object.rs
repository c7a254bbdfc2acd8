//! What every object has: its handle, the application's pointer with its destructor, and its end.
use super::abi::wb_destroy_fn;
use super::events::user_code;
use super::handle::{self, Object};
use crate::base::sync::{AtomicBool, AtomicPtr, AtomicU64, Mutex, Ordering};
use core::ffi::c_void;
use std::sync::Arc;

/// Pointer of the application with the function that ends it.
pub(crate) struct Context {
    pointer: *mut c_void,
    destroy: wb_destroy_fn,
}

// SAFETY: the header tells the application that its pointers are handed to its functions on any thread.
unsafe impl Send for Context {}
// SAFETY: as above; we never look through the pointer.
unsafe impl Sync for Context {}

impl Context {
    pub fn new(pointer: *mut c_void, destroy: wb_destroy_fn) -> Self {
        Self { pointer, destroy }
    }

    pub fn pointer(&self) -> *mut c_void {
        self.pointer
    }

    /// Gives the pointer back without its destructor: the call that took it failed.
    pub fn forget(mut self) {
        self.destroy = None;
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy.take() {
            let pointer = self.pointer;
            // SAFETY: registered by the application for this pointer; runs once because it was taken.
            user_code(|| unsafe { destroy(pointer) });
        }
    }
}

/// Part of every object that C can hold.
#[derive(Default)]
pub(crate) struct Meta {
    handle: AtomicU64,
    /// Fast copy of the pointer in `context`.
    user: AtomicPtr<c_void>,
    context: Mutex<Option<Context>>,
    closed: AtomicBool,
    /// The library holds one reference to the handle, which ends with the CLOSED event. Changed under the context's lock.
    borrowed: AtomicBool,
}

impl Meta {
    pub fn handle(&self) -> u64 {
        self.handle.load(Ordering::Acquire)
    }

    pub fn user(&self) -> *mut c_void {
        self.user.load(Ordering::Acquire)
    }

    pub fn set_user(&self, context: Context) {
        let old = {
            let mut slot = self.context.lock();
            self.user.store(context.pointer(), Ordering::Release);
            slot.replace(context)
        };
        // Outside the lock: this runs the application's destructor.
        drop(old);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The CLOSED event was delivered, or will never be: runs the destructor, once.
    /// True: the library's reference is to be given up.
    fn close(&self) -> bool {
        self.closed.store(true, Ordering::Release);
        let (old, borrowed) = {
            let mut slot = self.context.lock();
            self.user.store(core::ptr::null_mut(), Ordering::Release);
            let borrowed = self.borrowed.load(Ordering::Acquire);
            self.borrowed.store(false, Ordering::Release);
            (slot.take(), borrowed)
        };
        drop(old);
        borrowed
    }
}

/// Objects with a `Meta`.
pub(crate) trait Known: Object {
    fn meta(&self) -> &Meta;

    /// The application attaches another pointer: events that it has in hand show it.
    fn show_user(&self, _user: *mut c_void) {}
}

/// Makes the handle of an object for the application, or for events (`borrowed`).
pub(crate) fn publish<T: Known>(object: &Arc<T>, borrowed: bool) -> Result<u64, super::error::Fail> {
    let handle = handle::insert(Arc::clone(object))?;
    object.meta().borrowed.store(borrowed, Ordering::Release);
    object.meta().handle.store(handle, Ordering::Release);
    Ok(handle)
}

/// The end of an object, after its CLOSED event was delivered.
pub(crate) trait Ends: Send + Sync {
    fn ended(&self);
}

impl<T: Known> Ends for T {
    fn ended(&self) {
        if self.meta().close() {
            // The application may have released it before: then there is nothing left to give up.
            let _ = handle::release::<T>(self.meta().handle());
        }
    }
}
