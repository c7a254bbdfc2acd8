//! `wb_stream_*`. On an HTTP/3 connection the same calls carry the bodies of requests and responses.
use super::abi::*;
use super::args;
use super::buf::BufObject;
use super::conn::ConnObject;
use super::conn_calls::MAX_CODE;
use super::error::{Fail, Outcome, fence};
use super::handle;
use super::status::*;
use super::stream::{First, Moved, StreamObject, dir_of};
use core::ffi::c_void;

/// Buffers of one receive call at most.
const MAX_BUFFERS: usize = 1024;

/// Reports what a send came to.
///
/// # Safety
/// `accepted` is null or writable.
unsafe fn report(moved: &Moved, offered: usize, fin: bool, accepted: *mut usize) -> Outcome {
    if !accepted.is_null() {
        // SAFETY: writable by contract.
        unsafe { args::put(accepted, moved.bytes, "accepted")? };
    }
    Ok(result_of(moved, offered, fin))
}

fn result_of(moved: &Moved, offered: usize, fin: bool) -> wb_status {
    if moved.bytes < offered || fin && !moved.fin { WB_PARTIAL } else { WB_OK }
}

fn check_send(offered: usize, flags: u32, accepted: *mut usize) -> Result<bool, Fail> {
    let fin = check_flags(flags)?;
    if offered > 0 {
        args::non_null(accepted, "accepted")?;
    }
    Ok(fin)
}

/// Whether the end is to be sent.
fn check_flags(flags: u32) -> Result<bool, Fail> {
    if flags & !WB_FIN != 0 {
        return Err(Fail::invalid("unknown send flags"));
    }
    Ok(flags & WB_FIN != 0)
}

fn check_code(code: u64) -> Result<(), Fail> {
    if code > MAX_CODE {
        return Err(Fail::new(WB_E_RANGE, "an error code has 62 bits"));
    }
    Ok(())
}

/// Opens a raw stream: `WB_STREAM_BIDI` or `WB_STREAM_UNI`. On an HTTP/3 connection use `wb_h3_request`.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (STREAMS_AVAILABLE follows when the peer allows more),
/// `WB_E_STATE` (not started, or HTTP/3), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_open(conn: wb_conn, kind: u32, out: *mut wb_stream) -> wb_status {
    fence(|| {
        args::non_null(out, "stream")?;
        let conn = handle::get::<ConnObject>(conn)?;
        let dir = dir_of(kind)?;
        let stream = conn.with_arc(|conn| StreamObject::open(conn, dir))?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, stream, "stream")? };
        Ok(WB_OK)
    })
}

/// Opens a raw stream together with the application's pointer and its first bytes: `wb_stream_open`, `wb_handle_set_user` and
/// `wb_stream_send_copy` in one step, with one look-up and one lock, and nobody sees the stream in between. The first
/// event of the stream has the pointer already, and comes after `*out` and `accepted` were written: both may lie in what `user`
/// points to, which another thread may have ended when this returns.
///
/// With `WB_PARTIAL` the stream is open, but not all bytes, or not the end, were taken: WRITABLE follows, and the rest goes by
/// the send calls. An error means that there is no stream: nothing was taken and nothing written, and `destroy` does not run.
///
/// Ownership: `*out` is the caller's, the bytes stay the caller's; `user` belongs to the stream until `destroy`, on failure it
/// stays the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (`struct_size` is not set, or a length that no memory has),
/// `WB_E_WOULD_BLOCK` (no stream now; STREAMS_AVAILABLE follows when the peer allows more), `WB_E_STATE` (not started, or
/// HTTP/3), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_begin(
    conn: wb_conn,
    kind: u32,
    first: *mut wb_stream_first,
    out: *mut wb_stream,
) -> wb_status {
    fence(|| {
        let out = args::non_null(out, "stream")?;
        // SAFETY: struct_size bytes are readable by contract.
        unsafe { args::check_whole(first)? };
        // SAFETY: not null, aligned and large enough, checked above; any bytes are a valid struct.
        let given = unsafe { first.read() };
        // SAFETY: readable by contract.
        let bytes = unsafe { args::bytes(given.data, given.len, "data")? };
        let fin = check_flags(given.flags)?;
        let dir = dir_of(kind)?;
        let conn = handle::get::<ConnObject>(conn)?;
        let asked = First { user: given.user, destroy: given.destroy, bytes, fin };
        let tell = |handle: u64, moved: &Moved| {
            // SAFETY: checked above; writable by contract, and nobody can have ended what they lie in: nobody knows the stream.
            unsafe {
                (&raw mut (*first).accepted).write(moved.bytes);
                out.write(handle);
            }
        };
        let moved = conn.with_arc(|conn| StreamObject::begin(conn, dir, &asked, tell))?;
        Ok(result_of(&moved, bytes.len(), fin))
    })
}

/// Sends buffers in order without copying them. `*accepted` (may be null only if `WB_FIN` alone is sent) gets the bytes
/// taken; with fewer than offered the result is `WB_PARTIAL` and one WRITABLE event follows; the rest, and `WB_FIN`, are
/// to be offered again (`wb_buf_slice` cuts). Buffers of length 0 are fine; count 0 with `WB_FIN` ends the stream.
///
/// Ownership: the library takes references of its own to what it accepted, none on failure; the caller keeps and
/// releases its handles. Lent memory must stay unchanged until its release. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (nothing taken; WRITABLE follows), `WB_E_FINISHED` (after
/// `WB_FIN`), `WB_E_STOPPED`, `WB_E_RESET` (by us), `WB_E_STATE` (the stream only receives), `WB_E_REVOKED`,
/// `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_send(
    stream: wb_stream,
    buffers: *const wb_buf,
    count: usize,
    flags: u32,
    accepted: *mut usize,
) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        // SAFETY: readable by contract.
        let handles = unsafe { args::slice(buffers, count, "buffers")? };
        let mut chunks = Vec::with_capacity(handles.len());
        for handle in handles {
            chunks.push(handle::get::<BufObject>(*handle)?.chunk()?);
        }
        let offered = chunks.iter().map(crate::collections::Chunk::len).sum();
        let fin = check_send(offered, flags, accepted)?;
        let moved = stream.send(chunks, fin)?;
        // SAFETY: checked; writable by contract.
        unsafe { report(&moved, offered, fin, accepted) }
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
        let stream = handle::get::<StreamObject>(stream)?;
        // SAFETY: readable by contract.
        let bytes = unsafe { args::bytes(data, len, "data")? };
        let fin = check_send(bytes.len(), flags, accepted)?;
        let moved = stream.send_copy(bytes, fin)?;
        // SAFETY: checked; writable by contract.
        unsafe { report(&moved, bytes.len(), fin, accepted) }
    })
}

/// Receives up to `capacity` buffers without copying. `*count` gets how many, `*fin` 1 with the last bytes of the stream
/// (there may be none: count 0). The buffers stay valid after stream, connection and runtime are gone.
///
/// Ownership: the buffers are the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (READABLE follows), `WB_E_FINISHED` (the end was
/// read, we have stopped the stream, or nothing is received on it),
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
        let stream = handle::get::<StreamObject>(stream)?;
        args::non_null(count, "count")?;
        args::non_null(fin, "fin")?;
        if capacity == 0 {
            return Err(Fail::invalid("no room for buffers"));
        }
        // SAFETY: writable by contract.
        let room = unsafe { args::slice_mut(out, capacity.min(MAX_BUFFERS), "buffers")? };
        let (chunks, end) = stream.recv(room.len())?;
        let mut given = 0usize;
        for (slot, chunk) in room.iter_mut().zip(chunks) {
            match BufObject::publish(chunk) {
                Ok(handle) => *slot = handle,
                Err(fail) => {
                    // Bytes would be missing in the middle: the stream is given up rather than silently torn.
                    for handle in room.iter().take(given) {
                        let _ = handle::release::<BufObject>(*handle);
                    }
                    let _ = stream.stop(0);
                    return Err(fail);
                }
            }
            given += 1;
        }
        // SAFETY: checked above; writable by contract.
        unsafe {
            args::put(count, given, "count")?;
            args::put(fin, u8::from(end), "fin")?;
        }
        Ok(WB_OK)
    })
}

/// Receives into the caller's memory. `*got` gets the bytes, `*fin` 1 with the last bytes of the stream. Reading is what
/// gives the peer credit for more (unless `WB_KEY_MANUAL_CREDIT` says otherwise): not reading pauses the stream.
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
        let stream = handle::get::<StreamObject>(stream)?;
        args::non_null(got, "got")?;
        args::non_null(fin, "fin")?;
        if capacity == 0 {
            return Err(Fail::invalid("no room for data"));
        }
        // SAFETY: writable by contract.
        let room = unsafe { args::slice_mut(out.cast::<u8>(), capacity, "data")? };
        let moved = stream.recv_copy(room)?;
        // SAFETY: checked above; writable by contract.
        unsafe {
            args::put(got, moved.bytes, "got")?;
            args::put(fin, u8::from(moved.fin), "fin")?;
        }
        Ok(WB_OK)
    })
}

/// With `WB_KEY_MANUAL_CREDIT`: gives the peer credit for `bytes` received bytes that the application is done with.
/// Withholding it pauses the stream, and bounds what is under way in all streams of the connection. What a stream still
/// owes is given back when its handle ends.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_STATE` (credit is given by reading),
/// `WB_E_RANGE` (more than was received and not consumed). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_stream_consume(stream: wb_stream, bytes: u64) -> wb_status {
    fence(|| {
        handle::get::<StreamObject>(stream)?.consume(bytes)?;
        Ok(WB_OK)
    })
}

/// Gives up sending: the peer gets the code, unsent data are dropped and lent memory is released. An HTTP/3 stream ends
/// in both directions; there 0 stands for H3_REQUEST_CANCELLED.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_RANGE` (code over 2^62 - 1), `WB_E_STATE` (nothing to send on this stream),
/// `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_stream_reset(stream: wb_stream, code: u64) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        check_code(code)?;
        stream.reset(code)?;
        Ok(WB_OK)
    })
}

/// Gives up sending, but what was sent up to `reliable_size` (a number of bytes) is delivered before the peer hears of the
/// reset. A later call may only lower the size. Needs a peer that knows reliable resets
/// (draft-ietf-quic-reliable-stream-reset); without, nothing is done. Raw QUIC streams only.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_RANGE` (code over 2^62 - 1), `WB_E_STATE` (nothing to send on this stream, or an HTTP/3
/// stream), `WB_E_UNSUPPORTED` (by the peer), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_stream_reset_at(stream: wb_stream, code: u64, reliable_size: u64) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        check_code(code)?;
        stream.reset_at(code, reliable_size)?;
        Ok(WB_OK)
    })
}

/// Asks the peer to stop sending; received data are dropped.
///
/// Ownership: unchanged. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_RANGE`, `WB_E_STATE` (nothing to receive on this stream),
/// `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_stream_stop(stream: wb_stream, code: u64) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        check_code(code)?;
        stream.stop(code)?;
        Ok(WB_OK)
    })
}

/// Sets the order in which streams of the connection send (RFC 9218): urgency 0 (first) to 7, default 3; incremental
/// streams of one urgency share the connection, others go one after the other.
///
/// Ownership: unchanged. Threads: any. Blocks: never. Errors: handle errors, `WB_E_RANGE`, `WB_E_CLOSED_LOCAL`,
/// `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_stream_priority(stream: wb_stream, urgency: u32, incremental: u8) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        let urgency = u8::try_from(urgency).ok().filter(|u| *u <= 7);
        let urgency = urgency.ok_or_else(|| Fail::new(WB_E_RANGE, "urgency is 0 to 7"))?;
        stream.set_priority(urgency, incremental != 0)?;
        Ok(WB_OK)
    })
}

/// Number, direction, states, byte counts, and whether it came as early data.
///
/// Ownership: the caller's struct is filled. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_stream_info(stream: wb_stream, out: *mut wb_stream_desc) -> wb_status {
    fence(|| {
        let stream = handle::get::<StreamObject>(stream)?;
        // SAFETY: struct_size bytes are writable by contract.
        unsafe { args::fill(out, stream.describe())? };
        Ok(WB_OK)
    })
}
