//! Calls about the library itself.
use super::abi::*;
use core::ffi::{CStr, c_char};

/// ABI of the running library: major << 16 | minor. A program works when the major part equals that of its header
/// and the minor part is not smaller; `wb_check_abi` of the header does the comparison.
///
/// Ownership: none. Threads: any. Blocks: never. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_abi_version() -> u32 {
    WB_ABI_VERSION
}

/// Name and version of the library for people, for instance "whimbrel 0.1.0 (rustls, ring)".
///
/// Ownership: static text, never freed. Threads: any. Blocks: never. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_version_text() -> *const c_char {
    const TEXT: &str = concat!("whimbrel ", env!("CARGO_PKG_VERSION"), " (rustls, ring)\0");
    TEXT.as_ptr().cast()
}

/// Features that `wb_feature` knows, with their standing.
const FEATURES: &[(&CStr, i32)] = &[
    (c"quic-v1", 1),
    (c"quic-v2", 1),
    (c"http3", 1),
    (c"datagram", 1),
    (c"migration", 1),
    (c"early-data", 1),
    (c"queue", 1),
    (c"revoke", 1),
    (c"keylog", 1),
    (c"conformance", cfg!(feature = "conformance") as i32 * 2),
];

/// Tells whether this build has a feature, such as "http3", "migration" or "early-data":
/// 0 absent or unknown, 1 stable, 2 experimental. `name` is terminated; null gives 0.
///
/// Ownership: the text stays the caller's. Threads: any. Blocks: never. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_feature(name: *const c_char) -> i32 {
    if name.is_null() {
        return 0;
    }
    // SAFETY: not null, terminated by contract.
    let name = unsafe { CStr::from_ptr(name) };
    FEATURES.iter().find(|(n, _)| *n == name).map_or(0, |(_, standing)| *standing)
}

/// The symbolic name of an event kind, such as "CONNECTED"; "?" for a kind that this library does not know.
///
/// Ownership: static text, never freed. Threads: any. Blocks: never. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_event_name(kind: u16) -> *const c_char {
    event_name(kind).as_ptr()
}

fn event_name(kind: u16) -> &'static CStr {
    match kind {
        WB_EV_WAKE => c"WAKE",
        WB_EV_RUNTIME_CLOSED => c"RUNTIME_CLOSED",
        WB_EV_ENDPOINT_CLOSED => c"ENDPOINT_CLOSED",
        WB_EV_SOCKET_ERROR => c"SOCKET_ERROR",
        WB_EV_ENDPOINT_BUSY => c"ENDPOINT_BUSY",
        WB_EV_CONN_INCOMING => c"CONN_INCOMING",
        WB_EV_CONNECTED => c"CONNECTED",
        WB_EV_ZERO_RTT_ACCEPTED => c"ZERO_RTT_ACCEPTED",
        WB_EV_ZERO_RTT_REJECTED => c"ZERO_RTT_REJECTED",
        WB_EV_NEW_TOKEN => c"NEW_TOKEN",
        WB_EV_CONFIRMED => c"CONFIRMED",
        WB_EV_STREAMS_AVAILABLE => c"STREAMS_AVAILABLE",
        WB_EV_CONN_CLOSED => c"CONN_CLOSED",
        WB_EV_PEER_CLOSING => c"PEER_CLOSING",
        WB_EV_KEYS_INSTALLED => c"KEYS_INSTALLED",
        WB_EV_KEY_UPDATED => c"KEY_UPDATED",
        WB_EV_PATH_NEW => c"PATH_NEW",
        WB_EV_PATH_VALIDATED => c"PATH_VALIDATED",
        WB_EV_PATH_FAILED => c"PATH_FAILED",
        WB_EV_PATH_MIGRATED => c"PATH_MIGRATED",
        WB_EV_STREAM_INCOMING => c"STREAM_INCOMING",
        WB_EV_STREAM_READABLE => c"STREAM_READABLE",
        WB_EV_STREAM_WRITABLE => c"STREAM_WRITABLE",
        WB_EV_STREAM_RESET => c"STREAM_RESET",
        WB_EV_STREAM_STOPPED => c"STREAM_STOPPED",
        WB_EV_STREAM_SEND_DONE => c"STREAM_SEND_DONE",
        WB_EV_STREAM_CLOSED => c"STREAM_CLOSED",
        WB_EV_DATAGRAM => c"DATAGRAM",
        WB_EV_DATAGRAM_STATE => c"DATAGRAM_STATE",
        WB_EV_H3_SETTINGS => c"H3_SETTINGS",
        WB_EV_H3_HEADERS => c"H3_HEADERS",
        WB_EV_H3_INFO => c"H3_INFO",
        WB_EV_H3_TRAILERS => c"H3_TRAILERS",
        WB_EV_H3_GOAWAY => c"H3_GOAWAY",
        WB_EV_H3_MESSAGE => c"H3_MESSAGE",
        WB_EV_DECIDE_ADMIT => c"DECIDE_ADMIT",
        WB_EV_DECIDE_IDENTITY => c"DECIDE_IDENTITY",
        WB_EV_DECIDE_VERIFY => c"DECIDE_VERIFY",
        WB_EV_DECIDE_SIGN => c"DECIDE_SIGN",
        WB_EV_DECIDE_EARLY => c"DECIDE_EARLY",
        _ => c"?",
    }
}
