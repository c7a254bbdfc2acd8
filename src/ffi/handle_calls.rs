//! `wb_handle_*`: the verbs that every kind of object has.
use super::abi::*;
use super::args;
use super::buf::BufObject;
use super::config::ConfigObject;
use super::conn::{ConnObject, PathObject};
use super::decision::DecisionObject;
use super::endpoint::EndpointObject;
use super::error::{Fail, fence};
use super::handle;
use super::object::{Context, Known};
use super::queue::QueueObject;
use super::runtime::RuntimeObject;
use super::status::*;
use super::stream::StreamObject;
use super::tls::TlsObject;
use core::ffi::c_void;

/// Calls a generic function with the type that a handle's kind stands for.
macro_rules! by_kind {
    ($handle:expr, $call:ident $arguments:tt) => {
        match handle::claimed_kind($handle) {
            WB_KIND_RUNTIME => $call::<RuntimeObject> $arguments,
            WB_KIND_CONFIG => $call::<ConfigObject> $arguments,
            WB_KIND_TLS => $call::<TlsObject> $arguments,
            WB_KIND_ENDPOINT => $call::<EndpointObject> $arguments,
            WB_KIND_CONN => $call::<ConnObject> $arguments,
            WB_KIND_PATH => $call::<PathObject> $arguments,
            WB_KIND_STREAM => $call::<StreamObject> $arguments,
            WB_KIND_QUEUE => $call::<QueueObject> $arguments,
            WB_KIND_DECISION => $call::<DecisionObject> $arguments,
            // Anything that is no kind at all gets its complaint from the look-up.
            _ => $call::<BufObject> $arguments,
        }
    };
}

fn release<T: Known>(handle: u64) -> Result<(), Fail> {
    handle::release::<T>(handle)
}

fn retain<T: Known>(handle: u64) -> Result<(), Fail> {
    handle::retain::<T>(handle)
}

fn set_user<T: Known>(handle: u64, user: *mut c_void, destroy: wb_destroy_fn) -> Result<(), Fail> {
    let held = handle::get::<T>(handle)?;
    // First: the destructor of the old pointer runs in the next line.
    held.show_user(user);
    held.meta().set_user(Context::new(user, destroy));
    Ok(())
}

fn describe<T: Known>(handle: u64) -> Result<wb_handle_desc, Fail> {
    let held = handle::get::<T>(handle)?;
    Ok(wb_handle_desc {
        struct_size: size_of::<wb_handle_desc>() as u32,
        kind: T::KIND,
        references: handle::references(&held),
        closed: u32::from(held.meta().is_closed()),
        user: held.meta().user(),
    })
}

/// Gives up one reference. With the last one the handle goes stale, and what still lives is closed in the
/// default way: a connection with code 0, an unfinished stream by reset, an endpoint and a runtime gracefully.
/// Queued data of a finished stream are still delivered.
///
/// Ownership: ends the caller's. Threads: any, also callbacks, destructors and finalisers. Blocks: never.
/// Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_handle_release(handle: wb_handle) -> wb_status {
    fence(|| {
        by_kind!(handle, release(handle))?;
        Ok(WB_OK)
    })
}

/// Releases `count` handles of any kinds; zero handles are skipped. All are tried; the first failure is reported.
///
/// Ownership: ends the caller's. Threads: any. Blocks: never. Errors: as `wb_handle_release`, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_handle_release_many(handles: *const wb_handle, count: usize) -> wb_status {
    fence(|| {
        let mut first = None;
        // SAFETY: readable by contract.
        for &handle in unsafe { args::slice(handles, count, "handles")? } {
            if handle != 0
                && let Err(fail) = by_kind!(handle, release(handle))
            {
                first.get_or_insert(fail);
            }
        }
        first.map_or(Ok(WB_OK), Err)
    })
}

/// Takes one more reference, which needs one more release. Keeps the handle of an event's object usable after its
/// CLOSED event.
///
/// Ownership: one reference to the caller. Threads: any. Blocks: never.
/// Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`, `WB_E_LIMIT`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_handle_retain(handle: wb_handle) -> wb_status {
    fence(|| {
        by_kind!(handle, retain(handle))?;
        Ok(WB_OK)
    })
}

/// Attaches a pointer of the application, which events carry, also those of a batch that is out: attach it at a new stream's or
/// connection's first event, and the ones behind it have it. `destroy` (may be null) is called with it exactly
/// once: after the CLOSED event was delivered, or when the object goes, or when another pointer replaces it.
///
/// Ownership: `user` belongs to the object until `destroy`. On failure it stays the caller's. Threads: any.
/// Blocks: never. Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_handle_set_user(handle: wb_handle, user: *mut c_void, destroy: wb_destroy_fn) -> wb_status {
    fence(|| {
        by_kind!(handle, set_user(handle, user, destroy))?;
        Ok(WB_OK)
    })
}

/// Tells the kind, references and user pointer of a handle.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never.
/// Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_handle_info(handle: wb_handle, out: *mut wb_handle_desc) -> wb_status {
    fence(|| {
        args::non_null(out, "output struct")?;
        let desc = by_kind!(handle, describe(handle))?;
        // SAFETY: struct_size bytes are writable by contract.
        unsafe { args::fill(out, desc)? };
        Ok(WB_OK)
    })
}
