//! `wb_config_*`: settings with stable numeric keys, a text form, and callbacks per event group.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;
use core::ffi::{c_char, c_void};

/// Makes a configuration with defaults. `kind` is `WB_CONFIG_RUNTIME`, `_ENDPOINT` or `_CONN`.
///
/// Ownership: `*out` is the caller's; objects made with it keep what they need. Threads: any. Blocks: never.
/// Errors: `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_config_new(kind: u32, out: *mut wb_config) -> wb_status {
    fence(|| {
        let _ = (kind, out);
        todo!()
    })
}

/// Sets a number (`WB_KEY_*`; units are in the key's comment).
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_UNKNOWN_KEY`, `WB_E_RANGE`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_config_set_u64(config: wb_config, key: u32, value: u64) -> wb_status {
    fence(|| {
        let _ = (config, key, value);
        todo!()
    })
}

/// Sets a text or binary value, which is copied.
///
/// Ownership: `data` stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UNKNOWN_KEY`, `WB_E_UTF8`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_config_set_bytes(
    config: wb_config,
    key: u32,
    data: *const c_void,
    len: usize,
) -> wb_status {
    fence(|| {
        let _ = (config, key, data, len);
        todo!()
    })
}

/// Sets one value from text such as "transport.max_idle_ms=30000". Space around name and value is ignored.
/// `len` may be `WB_TEXT_Z` for terminated text.
///
/// Ownership: `line` stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_UTF8`, `WB_E_UNKNOWN_KEY`, `WB_E_RANGE`, `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_config_parse(config: wb_config, line: *const c_char, len: usize) -> wb_status {
    fence(|| {
        let _ = (config, line, len);
        todo!()
    })
}

/// Registers the callback of one event group (`WB_GROUP_*`) for the objects made with this configuration and those
/// below them. An event goes to the callback of its group at the nearest object that has one (connection, endpoint,
/// runtime), else to the nearest queue, else it is dropped. A second registration replaces the first; a null
/// function removes it.
///
/// Ownership: `ctx` belongs to the registration until `destroy` (may be null) is called once, when configuration and
/// objects no longer need it. On failure it stays the caller's. Threads: any; the callback runs on library threads.
/// Blocks: never. Errors: handle errors, `WB_E_INVALID` (group), `WB_E_FROZEN`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_config_on(
    config: wb_config,
    group: u32,
    function: wb_event_fn,
    ctx: *mut c_void,
    destroy: wb_destroy_fn,
) -> wb_status {
    fence(|| {
        let _ = (config, group, function, ctx, destroy);
        todo!()
    })
}

/// Checks that the values go together. The detail of `wb_last_error` names the first that does not.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_RANGE`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_config_check(config: wb_config) -> wb_status {
    fence(|| {
        let _ = config;
        todo!()
    })
}
