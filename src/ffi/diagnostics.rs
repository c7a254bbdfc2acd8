//! `wb_log_set`: what operators want to know, as lines of text for one function of the process.
//!
//! Lines arise on workers, between events, with no lock held and never inside other code of the application. Off, as it is by
//! default, a place that could say something costs one relaxed load, and none of them is on a packet's way. Invariant: when
//! `wb_log_set` returns outside a callback, the former function runs no more and its context was destroyed.
use super::abi::*;
use super::error::{Fail, fence};
use super::events::{Gate, in_user_code, user_code};
use super::handle;
use super::object::Context;
use super::status::*;
use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use parking_lot::Mutex;
use std::sync::Arc;

struct Lines {
    level: u32,
    function: unsafe extern "C" fn(*mut c_void, u32, *const c_char, *const c_char, usize),
    pointer: *mut c_void,
    /// Ends with the registration, or when its last call has returned.
    context: Mutex<Option<Context>>,
    gate: Gate,
}

// SAFETY: the pointer is the context's, which may go to any thread.
unsafe impl Send for Lines {}
// SAFETY: as above; we never look through the pointer.
unsafe impl Sync for Lines {}

type Registered = Mutex<Option<Arc<Lines>>>;

/// The level of what is registered; `WB_LOG_OFF` when nothing is.
static LEVEL: AtomicU32 = AtomicU32::new(WB_LOG_OFF);
/// What is registered: made by the first registration, never freed.
static REGISTERED: AtomicPtr<Registered> = AtomicPtr::new(core::ptr::null_mut());

/// In the child of a fork: what the parent registered is abandoned, its lock may be held by a thread that is not here.
pub(crate) fn forget() {
    LEVEL.store(WB_LOG_OFF, Ordering::SeqCst);
    REGISTERED.store(core::ptr::null_mut(), Ordering::SeqCst);
}

fn registered() -> Option<&'static Registered> {
    // SAFETY: published by `make`, never freed.
    unsafe { REGISTERED.load(Ordering::Acquire).as_ref() }
}

fn make() -> &'static Registered {
    // The fork handler has to be there first.
    handle::prepare();
    if let Some(there) = registered() {
        return there;
    }
    let fresh = Box::into_raw(Box::<Registered>::default());
    let put = REGISTERED.compare_exchange(core::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
    // SAFETY: either of them is published and never freed; ours was not shared if it lost.
    unsafe {
        match put {
            Ok(_) => &*fresh,
            Err(winner) => {
                drop(Box::from_raw(fresh));
                &*winner
            }
        }
    }
}

/// Says something, if anybody wants to hear it. No lock may be held. `gate`: of the runtime that says it.
pub(crate) fn say(gate: &Gate, level: u32, room: &'static CStr, text: impl FnOnce() -> String) {
    if LEVEL.load(Ordering::Relaxed) >= level {
        say_it(gate, level, room, text());
    }
}

/// Somebody hears what is said.
pub(crate) fn is_heard() -> bool {
    LEVEL.load(Ordering::Relaxed) != WB_LOG_OFF
}

#[cold]
fn say_it(gate: &Gate, level: u32, room: &'static CStr, mut text: String) {
    let lines = registered().and_then(|r| r.lock().clone());
    let Some(lines) = lines.filter(|l| l.level >= level) else { return };
    // Callbacks are not nested.
    if in_user_code() || !gate.enter() {
        return;
    }
    if lines.gate.enter() {
        let len = text.len();
        text.push('\0');
        // SAFETY: registered by the application for this context, which lives while the gate is entered.
        user_code(|| unsafe { (lines.function)(lines.pointer, level, room.as_ptr(), text.as_ptr().cast(), len) });
        lines.gate.leave();
    }
    gate.leave();
}

/// Hands lines about what operators want to know to a function, for this process: failures of sockets (`WB_LOG_ERROR`), of
/// handshakes with reason and peer, connections that broke (`WB_LOG_WARN`), stateless resets, paths that changed or failed
/// (`WB_LOG_INFO`), key updates, clients that are asked to prove their address, ordinary ends (`WB_LOG_DEBUG`). Off by default, and
/// then free. Replaces what was registered before; null, or `WB_LOG_OFF`, ends it. The text is for people and may change.
///
/// Lines come from runtimes that are not muted. In the child of a fork nothing is registered. Peers can cause lines: a function
/// that stores them limits how many.
///
/// Ownership: `ctx` belongs to the registration until `destroy` (may be null) is called once; with a null function or
/// `WB_LOG_OFF`, and on failure, it stays the caller's. Threads: any; the function runs on library threads, on several at a time.
/// Blocks: until running calls of the former function have returned, so that its code may be unloaded then; not inside callbacks.
/// Errors: `WB_E_INVALID` (level). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_log_set(
    level: u32,
    function: wb_log_fn,
    ctx: *mut c_void,
    destroy: wb_destroy_fn,
) -> wb_status {
    fence(|| {
        if level > WB_LOG_DEBUG {
            return Err(Fail::invalid("unknown level"));
        }
        let place = make();
        let fresh = function.filter(|_| level != WB_LOG_OFF).map(|function| {
            let context = Mutex::new(Some(Context::new(ctx, destroy)));
            Arc::new(Lines { level, function, pointer: ctx, context, gate: Gate::default() })
        });
        let old = {
            let mut slot = place.lock();
            LEVEL.store(fresh.as_ref().map_or(WB_LOG_OFF, |l| l.level), Ordering::Relaxed);
            std::mem::replace(&mut *slot, fresh)
        };
        if let Some(old) = old {
            old.gate.mute();
            if !in_user_code() && old.gate.wait_quiet(None) {
                let context = old.context.lock().take();
                drop(context);
            }
        }
        Ok(WB_OK)
    })
}
