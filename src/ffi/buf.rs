//! `wb_buf_*`: bytes with reference counts in both directions.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;
use core::ffi::c_void;

/// Makes a buffer of library memory, zeroed. `*data` (may be null if not wanted) gets the memory, writable until
/// the buffer is first sent or sliced.
///
/// Ownership: `*out` is the caller's; `*data` is valid until its last release. Threads: any. Blocks: never.
/// Errors: `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_NO_MEMORY`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_buf_alloc(size: usize, data: *mut *mut c_void, out: *mut wb_buf) -> wb_status {
    fence(|| {
        let _ = (size, data, out);
        todo!()
    })
}

/// Lends memory to the library. `release(ctx)` (may be null for memory that lives for ever) is called exactly once,
/// when the last reference is gone: after delivery, reset, loss of the connection or close of the runtime. On failure
/// it is not called.
///
/// Ownership: `*out` is the caller's; the memory stays the caller's, who keeps it unchanged until `release` or
/// `wb_buf_revoke`. Threads: any. Blocks: never. Errors: `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_NO_MEMORY`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_buf_wrap(
    data: *const c_void,
    len: usize,
    release: wb_release_fn,
    ctx: *mut c_void,
    out: *mut wb_buf,
) -> wb_status {
    fence(|| {
        let _ = (data, len, release, ctx, out);
        todo!()
    })
}

/// Makes a buffer that shares a part of another's memory.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_REVOKED`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_buf_slice(buf: wb_buf, offset: usize, len: usize, out: *mut wb_buf) -> wb_status {
    fence(|| {
        let _ = (buf, offset, len, out);
        todo!()
    })
}

/// Gives pointer and length of a buffer's bytes.
///
/// Ownership: the memory is readable until the last release (or, lent, as long as its owner keeps it). Threads: any.
/// Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_REVOKED`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_buf_view(buf: wb_buf, data: *mut *const c_void, len: *mut usize) -> wb_status {
    fence(|| {
        let _ = (buf, data, len);
        todo!()
    })
}

/// Ends a loan now: when it returns success, no library thread will read the lent memory again, and it may be freed or
/// unmapped. What is still to be sent is copied first (`WB_REVOKE_COPY`), or its streams are reset
/// (`WB_REVOKE_RESET`). All slices share the loan. The release callback is still called once, later.
///
/// Ownership: the memory is the caller's alone again. Threads: any, also finalisers. Blocks: for the time in which
/// running readers finish one packet (microseconds). Errors: handle errors, `WB_E_INVALID` (mode), `WB_E_STATE` (not
/// lent memory), `WB_E_NO_MEMORY`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_buf_revoke(buf: wb_buf, mode: u32) -> wb_status {
    fence(|| {
        let _ = (buf, mode);
        todo!()
    })
}
