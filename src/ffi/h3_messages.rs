//! `wb_h3_submit`: whole requests and responses, many with one call.
use super::abi::*;
use super::args;
use super::conn::ConnObject;
use super::error::{Fail, fence};
use super::handle;
use super::message::Outgoing;
use super::status::*;
use super::stream::StreamObject;

/// Messages of one call at most.
const MAX_MESSAGES: usize = 1024;

/// The caller's array; its elements may be longer than ours.
struct Messages {
    first: *mut u8,
    count: usize,
    size: usize,
}

impl Messages {
    fn at(&self, n: usize) -> *mut wb_h3_message {
        self.first.wrapping_add(n.saturating_mul(self.size)).cast()
    }

    /// What an element asks for.
    ///
    /// # Safety
    /// `n` is below `count`; the array, the element's fields and its body are readable during the call.
    unsafe fn get<'a>(&self, n: usize) -> Result<Outgoing<'a>, Fail> {
        // SAFETY: inside the array, whose elements are at least as long as ours (checked by the caller).
        let message = unsafe { self.at(n).read_unaligned() };
        if message.flags & !WB_H3_DONE != 0 {
            return Err(Fail::invalid("unknown flags"));
        }
        let stream = if message.stream == 0 { None } else { Some(handle::get::<StreamObject>(message.stream)?) };
        // SAFETY: passed on.
        unsafe {
            Ok(Outgoing {
                stream,
                fields: args::bytes(message.fields.cast(), message.fields_len, "fields")?,
                body: args::bytes(message.body, message.body_len, "body")?,
                done: message.flags & WB_H3_DONE != 0,
            })
        }
    }

    /// Fills in what became of an element; `stream` only where it is new.
    ///
    /// # Safety
    /// `n` is below `count`, and the array writable.
    unsafe fn tell(&self, n: usize, status: wb_status, stream: Option<wb_stream>, accepted: usize) {
        let at = self.at(n);
        // SAFETY: as for `get`.
        unsafe {
            (&raw mut (*at).status).write_unaligned(status);
            (&raw mut (*at).accepted).write_unaligned(accepted);
            if let Some(stream) = stream {
                (&raw mut (*at).stream).write_unaligned(stream);
            }
        }
    }
}

/// Sends whole messages of one connection, each with its fields, its body and the end: requests (as `wb_h3_request`), or
/// responses to requests (as `wb_h3_headers`). All of them cost one lock and one wake-up of the worker. `size` is
/// `sizeof(wb_h3_message)`. Each element gets its own `status`: `WB_OK` when it was taken whole; `WB_PARTIAL` when only its fields
/// and `accepted` bytes of its body were (WRITABLE follows; the rest, and `WB_FIN`, go by the stream calls); else an error of
/// that message, of which nothing was taken. The result is `WB_OK` when all were taken whole, else `WB_PARTIAL`; with one
/// message it is that message's status, with the detail of its error.
///
/// Ownership: fields and bodies stay the caller's. The stream of a request is the caller's; with `WB_H3_DONE` it is the
/// library's and lives until its STREAM_CLOSED, or, where that is not told, its H3_MESSAGE was delivered. Threads: any.
/// Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE` (more than 1024 messages, or `size` is too small),
/// `WB_E_STATE` (not connected); of a message: handle errors, `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_H3` (a field is not allowed, or
/// not now), `WB_E_WOULD_BLOCK` (the peer allows no more requests now; STREAMS_AVAILABLE follows), `WB_E_STOPPED`, `WB_E_RESET` (by us),
/// `WB_E_FINISHED`, `WB_E_STATE` (not HTTP/3, or the peer goes away), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_h3_submit(
    conn: wb_conn,
    messages: *mut wb_h3_message,
    count: usize,
    size: usize,
) -> wb_status {
    fence(|| {
        let conn = handle::get::<ConnObject>(conn)?.arc();
        if size < size_of::<wb_h3_message>() || count > MAX_MESSAGES {
            return Err(Fail::new(WB_E_RANGE, format!("{count} messages of {size} bytes")));
        }
        if count == 0 {
            return Ok(WB_OK);
        }
        // SAFETY: writable by contract; only the bounds are looked at here.
        let bytes = unsafe { args::slice_mut(messages.cast::<u8>(), count.saturating_mul(size), "messages")? };
        let all = Messages { first: bytes.as_mut_ptr(), count, size };
        // SAFETY: readable by contract.
        let given: Vec<_> = (0..all.count).map(|n| unsafe { all.get(n) }).collect();
        let sent = conn.submit(&given)?;
        let mut result = WB_OK;
        let mut failure = None;
        for (n, (asked, sent)) in given.iter().zip(sent).enumerate() {
            let is_new = asked.as_ref().is_ok_and(|message| message.stream.is_none());
            let (status, stream, accepted) = match sent {
                Ok(sent) if sent.moved.fin => (WB_OK, sent.stream, sent.moved.bytes),
                Ok(sent) => (WB_PARTIAL, sent.stream, sent.moved.bytes),
                Err(fail) => (failure.insert(fail).status, 0, 0),
            };
            // SAFETY: writable by contract.
            unsafe { all.tell(n, status, is_new.then_some(stream), accepted) };
            if status != WB_OK {
                result = WB_PARTIAL;
            }
        }
        match failure {
            Some(fail) if count == 1 => Err(fail),
            _ => Ok(result),
        }
    })
}
