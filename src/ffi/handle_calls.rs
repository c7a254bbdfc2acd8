//! `wb_handle_*`: the verbs that every kind of object has.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;
use core::ffi::c_void;

/// Gives up one reference. With the last one the handle goes stale, and what still lives is closed in the
/// default way: a connection with code 0, an unfinished stream by reset, an endpoint and a runtime gracefully.
/// Queued data of a finished stream are still delivered.
///
/// Ownership: ends the caller's. Threads: any, also callbacks, destructors and finalisers. Blocks: never.
/// Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_handle_release(handle: wb_handle) -> wb_status {
    fence(|| {
        let _ = handle;
        todo!()
    })
}

/// Releases `count` handles of any kinds; zero handles are skipped. All are tried; the first failure is reported.
///
/// Ownership: ends the caller's. Threads: any. Blocks: never. Errors: as `wb_handle_release`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_handle_release_many(handles: *const wb_handle, count: usize) -> wb_status {
    fence(|| {
        let _ = (handles, count);
        todo!()
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
        let _ = handle;
        todo!()
    })
}

/// Attaches a pointer of the application, which events carry. `destroy` (may be null) is called with it exactly
/// once: after the CLOSED event was delivered, or when the object goes, or when another pointer replaces it.
///
/// Ownership: `user` belongs to the object until `destroy`. On failure it stays the caller's. Threads: any.
/// Blocks: never. Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_handle_set_user(handle: wb_handle, user: *mut c_void, destroy: wb_destroy_fn) -> wb_status {
    fence(|| {
        let _ = (handle, user, destroy);
        todo!()
    })
}

/// Tells the kind, references and user pointer of a handle.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never.
/// Errors: `WB_E_HANDLE`, `WB_E_STALE`, `WB_E_FORKED`, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_handle_info(handle: wb_handle, out: *mut wb_handle_desc) -> wb_status {
    fence(|| {
        let _ = (handle, out);
        todo!()
    })
}
