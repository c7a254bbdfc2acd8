//! `wb_runtime_*`.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;

/// Starts a runtime: its worker threads own sockets, timers and connections. `config` is of kind
/// `WB_CONFIG_RUNTIME`, or 0 for defaults; it is frozen by this call.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: `WB_E_INVALID`, handle errors of `config`, `WB_E_OS`, `WB_E_NO_MEMORY`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_runtime_open(config: wb_config, out: *mut wb_runtime) -> wb_status {
    fence(|| {
        let _ = (config, out);
        todo!()
    })
}

/// Begins the end: endpoints and connections are closed, then RUNTIME_CLOSED is reported. Idempotent.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID` (mode). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_runtime_close(runtime: wb_runtime, mode: u32) -> wb_status {
    fence(|| {
        let _ = (runtime, mode);
        todo!()
    })
}

/// Waits until a closed runtime has ended, at most `timeout_ns` nanoseconds (negative: without limit).
///
/// Ownership: unchanged. Threads: not library threads (no callbacks). Blocks: up to the time given.
/// Errors: handle errors, `WB_E_TIMEOUT`, `WB_E_WOULD_DEADLOCK`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_runtime_wait(runtime: wb_runtime, timeout_ns: i64) -> wb_status {
    fence(|| {
        let _ = (runtime, timeout_ns);
        todo!()
    })
}

/// Stops callbacks: after success none is running and none will start. For use before unloading code or ending an
/// interpreter. Queues are not touched. Inside a callback it mutes, does not wait and says `WB_E_WOULD_DEADLOCK`.
///
/// Ownership: unchanged. Threads: any. Blocks: until running callbacks have returned, at most `timeout_ns`
/// nanoseconds (negative: without limit). Errors: handle errors, `WB_E_TIMEOUT`, `WB_E_WOULD_DEADLOCK`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_runtime_mute(runtime: wb_runtime, timeout_ns: i64) -> wb_status {
    fence(|| {
        let _ = (runtime, timeout_ns);
        todo!()
    })
}
