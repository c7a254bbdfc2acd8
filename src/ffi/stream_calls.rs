//! `wb_stream_*`. On an HTTP/3 connection the same calls carry the bodies of requests and responses.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;
use core::ffi::c_void;

/// Opens a raw stream: `WB_STREAM_BIDI` or `WB_STREAM_UNI`. On an HTTP/3 connection use `wb_h3_request`.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (STREAMS_AVAILABLE follows when the peer allows more),
/// `WB_E_STATE` (not started, or HTTP/3), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_open(conn: wb_conn, kind: u32, out: *mut wb_stream) -> wb_status {
    fence(|| {
        let _ = (conn, kind, out);
        todo!()
    })
}

/// Sends buffers in order without copying them. `*accepted` (may be null only if `WB_FIN` alone is sent) gets the bytes
/// taken; with fewer than offered the result is `WB_PARTIAL` and one WRITABLE event follows; the rest, and `WB_FIN`, are
/// to be offered again (`wb_buf_slice` cuts). Buffers of length 0 are fine; count 0 with `WB_FIN` ends the stream.
///
/// Ownership: the library takes references of its own to what it accepted, none on failure; the caller keeps and
/// releases its handles. Lent memory must stay unchanged until its release. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (nothing taken; WRITABLE follows), `WB_E_FINISHED` (after
/// `WB_FIN`), `WB_E_STOPPED`, `WB_E_RESET` (by us), `WB_E_REVOKED`, `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_send(
    stream: wb_stream,
    buffers: *const wb_buf,
    count: usize,
    flags: u32,
    accepted: *mut usize,
) -> wb_status {
    fence(|| {
        let _ = (stream, buffers, count, flags, accepted);
        todo!()
    })
}

/// Sends bytes by copying them; otherwise as `wb_stream_send`.
///
/// Ownership: the bytes stay the caller's. Threads: any. Blocks: never. Errors: as `wb_stream_send`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_send_copy(
    stream: wb_stream,
    data: *const c_void,
    len: usize,
    flags: u32,
    accepted: *mut usize,
) -> wb_status {
    fence(|| {
        let _ = (stream, data, len, flags, accepted);
        todo!()
    })
}

/// Receives up to `capacity` buffers without copying. `*count` gets how many, `*fin` 1 with the last bytes of the stream.
/// The buffers stay valid after stream, connection and runtime are gone.
///
/// Ownership: the buffers are the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (READABLE follows), `WB_E_FINISHED` (the end was read),
/// `WB_E_RESET`, `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_recv(
    stream: wb_stream,
    out: *mut wb_buf,
    capacity: usize,
    count: *mut usize,
    fin: *mut u8,
) -> wb_status {
    fence(|| {
        let _ = (stream, out, capacity, count, fin);
        todo!()
    })
}

/// Receives into the caller's memory. `*got` gets the bytes, `*fin` 1 with the last bytes of the stream. Reading is what
/// gives the peer credit for more: not reading pauses the stream.
///
/// Ownership: the memory is the caller's. Threads: any. Blocks: never. Errors: as `wb_stream_recv`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_recv_copy(
    stream: wb_stream,
    out: *mut c_void,
    capacity: usize,
    got: *mut usize,
    fin: *mut u8,
) -> wb_status {
    fence(|| {
        let _ = (stream, out, capacity, got, fin);
        todo!()
    })
}

/// Gives up sending: the peer gets the code, unsent data are dropped and lent memory is released.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_RANGE` (code over 2^62 - 1), `WB_E_STATE` (nothing to send on this stream). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_stream_reset(stream: wb_stream, code: u64) -> wb_status {
    fence(|| {
        let _ = (stream, code);
        todo!()
    })
}

/// Asks the peer to stop sending; received data are dropped.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_RANGE`, `WB_E_STATE` (nothing to receive on this stream). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_stream_stop(stream: wb_stream, code: u64) -> wb_status {
    fence(|| {
        let _ = (stream, code);
        todo!()
    })
}

/// Sets the order in which streams of the connection send (RFC 9218): urgency 0 (first) to 7, default 3; incremental
/// streams of one urgency share the connection, others go one after the other.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_RANGE`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_stream_priority(stream: wb_stream, urgency: u32, incremental: u8) -> wb_status {
    fence(|| {
        let _ = (stream, urgency, incremental);
        todo!()
    })
}

/// Number, direction, states and byte counts.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_info(stream: wb_stream, out: *mut wb_stream_desc) -> wb_status {
    fence(|| {
        let _ = (stream, out);
        todo!()
    })
}
