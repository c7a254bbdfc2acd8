//! `wb_runtime_*`.
use super::abi::*;
use super::args;
use super::config;
use super::error::{Fail, fence};
use super::events::in_user_code;
use super::handle;
use super::object::publish;
use super::runtime::RuntimeObject;
use super::status::*;
use core::time::Duration;

/// A time limit of the header: negative is "without".
fn limit(timeout_ns: i64) -> Option<Duration> {
    u64::try_from(timeout_ns).ok().map(Duration::from_nanos)
}

/// Starts a runtime: its worker threads own sockets, timers and connections. `config` is of kind
/// `WB_CONFIG_RUNTIME`, or 0 for defaults; it is frozen by this call.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: `WB_E_INVALID`, handle errors of `config`, `WB_E_OS`, `WB_E_NO_MEMORY`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_runtime_open(config: wb_config, out: *mut wb_runtime) -> wb_status {
    fence(|| {
        args::non_null(out, "runtime")?;
        let settings = config::settings(config, WB_CONFIG_RUNTIME)?;
        let runtime = RuntimeObject::open(&settings)?;
        let handle = publish(&runtime, false).inspect_err(|_| runtime.close(false))?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "runtime")? };
        Ok(WB_OK)
    })
}

/// Begins the end: endpoints and connections are closed (see `WB_CLOSE_GRACEFUL`), then RUNTIME_CLOSED is reported.
/// Idempotent; `WB_CLOSE_NOW` also ends a graceful close that is under way.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID` (mode). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_runtime_close(runtime: wb_runtime, mode: u32) -> wb_status {
    fence(|| {
        let runtime = handle::get::<RuntimeObject>(runtime)?;
        if !matches!(mode, WB_CLOSE_GRACEFUL | WB_CLOSE_NOW) {
            return Err(Fail::invalid("unknown close mode"));
        }
        runtime.arc().close(mode == WB_CLOSE_GRACEFUL);
        Ok(WB_OK)
    })
}

/// Waits until a closed runtime has ended, at most `timeout_ns` nanoseconds (negative: without limit).
///
/// Ownership: unchanged. Threads: not library threads (no callbacks). Blocks: up to the time given.
/// Errors: handle errors, `WB_E_TIMEOUT`, `WB_E_WOULD_DEADLOCK`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_runtime_wait(runtime: wb_runtime, timeout_ns: i64) -> wb_status {
    fence(|| {
        let runtime = handle::get::<RuntimeObject>(runtime)?;
        if runtime.wait(limit(timeout_ns))? {
            Ok(WB_OK)
        } else {
            Err(Fail::new(WB_E_TIMEOUT, "the runtime has not ended yet"))
        }
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
        let runtime = handle::get::<RuntimeObject>(runtime)?;
        let gate = runtime.route.gate();
        gate.mute();
        if in_user_code() {
            return Err(Fail::new(WB_E_WOULD_DEADLOCK, "muted, but a callback cannot wait for itself"));
        }
        if gate.wait_quiet(limit(timeout_ns)) {
            Ok(WB_OK)
        } else {
            Err(Fail::new(WB_E_TIMEOUT, "muted, but a callback has not returned yet"))
        }
    })
}
