//! `wb_h3_*`: requests, responses and fields; bodies use the stream calls.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;
use core::ffi::c_char;

/// Client: sends a request: pseudo-fields (":method", ":scheme", ":authority", ":path") first, then fields with lower-case
/// names. `WB_FIN`: no body follows; else send it with the stream calls. After CONNECTED, or with early data before.
///
/// Ownership: `*out` is the caller's, the fields stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_H3` (a field is not allowed), `WB_E_WOULD_BLOCK` (the peer allows no more
/// requests now; STREAMS_AVAILABLE follows), `WB_E_STATE` (not connected, or not HTTP/3), `WB_E_CLOSED_LOCAL`,
/// `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_request(
    conn: wb_conn,
    fields: *const wb_field,
    count: usize,
    flags: u32,
    out: *mut wb_stream,
) -> wb_status {
    fence(|| {
        let _ = (conn, fields, count, flags, out);
        todo!()
    })
}

/// Sends a response (":status" first; 1xx is an interim one), or with `WB_H3_TRAILERS` the trailers of either side.
///
/// Ownership: the fields stay the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_H3` (a field is not allowed, or not now), `WB_E_STOPPED`, `WB_E_FINISHED`,
/// `WB_E_STATE` (not an HTTP/3 stream), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_headers(
    stream: wb_stream,
    fields: *const wb_field,
    count: usize,
    flags: u32,
) -> wb_status {
    fence(|| {
        let _ = (stream, fields, count, flags);
        todo!()
    })
}

/// Received fields of a section (`WB_SECTION_*`) in their order. Fills up to `capacity`; `*count` gets how many there are.
/// `WB_PARTIAL` when there are more. Names and values are terminated as a courtesy.
///
/// Ownership: names and values are the library's, valid until the stream's handle goes stale. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_STATE` (not an HTTP/3 stream), `WB_E_WOULD_BLOCK` (not received yet). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_fields(
    stream: wb_stream,
    section: u32,
    out: *mut wb_field,
    capacity: usize,
    count: *mut usize,
) -> wb_status {
    fence(|| {
        let _ = (stream, section, out, capacity, count);
        todo!()
    })
}

/// The value of the first received field with a (lower-case) name; `name_len` may be `WB_TEXT_Z`. A field that is not
/// there gives a null value, length 0 and `WB_OK`.
///
/// Ownership: as `wb_h3_fields`. Threads: any. Blocks: never. Errors: as `wb_h3_fields`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_field(
    stream: wb_stream,
    section: u32,
    name: *const c_char,
    name_len: usize,
    value: *mut *const c_char,
    value_len: *mut usize,
) -> wb_status {
    fence(|| {
        let _ = (stream, section, name, name_len, value, value_len);
        todo!()
    })
}

/// Announces the end: the peer is told to begin nothing new; what runs goes on.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_STATE` (not HTTP/3), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_h3_goaway(conn: wb_conn) -> wb_status {
    fence(|| {
        let _ = conn;
        todo!()
    })
}
