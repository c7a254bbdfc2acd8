//! Status codes of the C ABI: the same numbers on every platform, a number is never reused.
//!
//! 0 is success, positive values inform, negative values are failures. A failing call takes nothing:
//! whatever its arguments owned before, they own after.
use core::ffi::c_char;

/// Result of almost every call: 0 success, positive informational, negative failure.
pub type wb_status = i32;

/// Success.
pub const WB_OK: i32 = 0;
/// Success for a part of what was asked; the out parameter says how much.
pub const WB_PARTIAL: i32 = 1;
/// Accepted, the outcome comes as an event.
pub const WB_PENDING: i32 = 2;

/// An argument is null, misaligned or makes no sense.
pub const WB_E_INVALID: i32 = -1;
/// The handle is zero or was never given out by this library in this process.
pub const WB_E_HANDLE: i32 = -2;
/// The handle was valid once; its object is gone.
pub const WB_E_STALE: i32 = -3;
/// The handle belongs to an object of another kind.
pub const WB_E_KIND: i32 = -4;
/// The process forked after the handle was made.
pub const WB_E_FORKED: i32 = -5;
/// Called on a thread on which it is not allowed.
pub const WB_E_THREAD: i32 = -6;
/// The object is in a state in which the call means nothing.
pub const WB_E_STATE: i32 = -7;
/// The configuration is in use and can no longer be changed.
pub const WB_E_FROZEN: i32 = -8;
/// No such configuration key for this kind of configuration.
pub const WB_E_UNKNOWN_KEY: i32 = -9;
/// A number is outside its range.
pub const WB_E_RANGE: i32 = -10;
/// Text is not valid UTF-8.
pub const WB_E_UTF8: i32 = -11;
/// Memory could not be had.
pub const WB_E_NO_MEMORY: i32 = -12;
/// A limit of the library or of the peer is reached.
pub const WB_E_LIMIT: i32 = -13;
/// Nothing could be done now; an event tells when to try again.
pub const WB_E_WOULD_BLOCK: i32 = -14;
/// Waiting here could never end, because this is a library thread.
pub const WB_E_WOULD_DEADLOCK: i32 = -15;
/// The time given has passed.
pub const WB_E_TIMEOUT: i32 = -16;
/// Closed by this side.
pub const WB_E_CLOSED_LOCAL: i32 = -17;
/// Closed by the peer.
pub const WB_E_CLOSED_PEER: i32 = -18;
/// The peer reset the stream.
pub const WB_E_RESET: i32 = -19;
/// The peer asked to stop sending on the stream.
pub const WB_E_STOPPED: i32 = -20;
/// The stream has been read, or written, to its end.
pub const WB_E_FINISHED: i32 = -21;
/// The TLS handshake or the TLS configuration failed.
pub const WB_E_TLS: i32 = -22;
/// The peer's certificate was not accepted.
pub const WB_E_VERIFY: i32 = -23;
/// No QUIC version in common.
pub const WB_E_VERSION: i32 = -24;
/// A QUIC transport error ended the connection.
pub const WB_E_TRANSPORT: i32 = -25;
/// An application error code ended the connection.
pub const WB_E_APPLICATION: i32 = -26;
/// An HTTP/3 rule was broken.
pub const WB_E_H3: i32 = -27;
/// A QPACK rule was broken.
pub const WB_E_QPACK: i32 = -28;
/// The operating system refused; `os_error` of the detail has its number.
pub const WB_E_OS: i32 = -29;
/// Not supported by this build, platform or peer.
pub const WB_E_UNSUPPORTED: i32 = -30;
/// Named in the header, absent from this build.
pub const WB_E_NOT_BUILT: i32 = -31;
/// In use elsewhere, for instance a port.
pub const WB_E_BUSY: i32 = -32;
/// Events of the runtime are muted.
pub const WB_E_MUTED: i32 = -33;
/// Given up before it was done.
pub const WB_E_CANCELLED: i32 = -34;
/// The library failed inside; the object concerned is no longer usable.
pub const WB_E_PANIC: i32 = -35;
/// The library contradicts itself: please report.
pub const WB_E_INTERNAL: i32 = -36;
/// The host name could not be resolved.
pub const WB_E_RESOLVE: i32 = -37;
/// No answer from the peer's address.
pub const WB_E_UNREACHABLE: i32 = -38;
/// The connection was idle, or the peer silent, for too long.
pub const WB_E_IDLE: i32 = -39;
/// The memory was revoked.
pub const WB_E_REVOKED: i32 = -40;
/// The bytes are no packet of QUIC.
pub const WB_E_NOT_QUIC: i32 = -41;

/// Name and number of every status, in the order of the numbers.
const NAMES: &[(wb_status, &core::ffi::CStr)] = &[
    (WB_OK, c"WB_OK"),
    (WB_PARTIAL, c"WB_PARTIAL"),
    (WB_PENDING, c"WB_PENDING"),
    (WB_E_INVALID, c"WB_E_INVALID"),
    (WB_E_HANDLE, c"WB_E_HANDLE"),
    (WB_E_STALE, c"WB_E_STALE"),
    (WB_E_KIND, c"WB_E_KIND"),
    (WB_E_FORKED, c"WB_E_FORKED"),
    (WB_E_THREAD, c"WB_E_THREAD"),
    (WB_E_STATE, c"WB_E_STATE"),
    (WB_E_FROZEN, c"WB_E_FROZEN"),
    (WB_E_UNKNOWN_KEY, c"WB_E_UNKNOWN_KEY"),
    (WB_E_RANGE, c"WB_E_RANGE"),
    (WB_E_UTF8, c"WB_E_UTF8"),
    (WB_E_NO_MEMORY, c"WB_E_NO_MEMORY"),
    (WB_E_LIMIT, c"WB_E_LIMIT"),
    (WB_E_WOULD_BLOCK, c"WB_E_WOULD_BLOCK"),
    (WB_E_WOULD_DEADLOCK, c"WB_E_WOULD_DEADLOCK"),
    (WB_E_TIMEOUT, c"WB_E_TIMEOUT"),
    (WB_E_CLOSED_LOCAL, c"WB_E_CLOSED_LOCAL"),
    (WB_E_CLOSED_PEER, c"WB_E_CLOSED_PEER"),
    (WB_E_RESET, c"WB_E_RESET"),
    (WB_E_STOPPED, c"WB_E_STOPPED"),
    (WB_E_FINISHED, c"WB_E_FINISHED"),
    (WB_E_TLS, c"WB_E_TLS"),
    (WB_E_VERIFY, c"WB_E_VERIFY"),
    (WB_E_VERSION, c"WB_E_VERSION"),
    (WB_E_TRANSPORT, c"WB_E_TRANSPORT"),
    (WB_E_APPLICATION, c"WB_E_APPLICATION"),
    (WB_E_H3, c"WB_E_H3"),
    (WB_E_QPACK, c"WB_E_QPACK"),
    (WB_E_OS, c"WB_E_OS"),
    (WB_E_UNSUPPORTED, c"WB_E_UNSUPPORTED"),
    (WB_E_NOT_BUILT, c"WB_E_NOT_BUILT"),
    (WB_E_BUSY, c"WB_E_BUSY"),
    (WB_E_MUTED, c"WB_E_MUTED"),
    (WB_E_CANCELLED, c"WB_E_CANCELLED"),
    (WB_E_PANIC, c"WB_E_PANIC"),
    (WB_E_INTERNAL, c"WB_E_INTERNAL"),
    (WB_E_RESOLVE, c"WB_E_RESOLVE"),
    (WB_E_UNREACHABLE, c"WB_E_UNREACHABLE"),
    (WB_E_IDLE, c"WB_E_IDLE"),
    (WB_E_REVOKED, c"WB_E_REVOKED"),
    (WB_E_NOT_QUIC, c"WB_E_NOT_QUIC"),
];

/// Static name of a status.
pub(crate) fn name(status: wb_status) -> &'static core::ffi::CStr {
    NAMES.iter().find(|(n, _)| *n == status).map_or(c"WB_E_?", |(_, text)| *text)
}

/// The symbolic name of a status code, such as "WB_E_STALE"; "WB_E_?" for a number that this library does not know.
///
/// Ownership: static text, never freed. Threads: any. Blocks: never. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_status_name(status: wb_status) -> *const c_char {
    name(status).as_ptr()
}
