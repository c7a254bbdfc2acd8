//! `wb_qlog`: the log of a connection on its way to a function of the application.
//!
//! Records collect in the connection; its worker takes them once a turn and hands them over with no lock held. Invariants:
//! chunks of one connection come in order, after the last one the end comes once, and the context ends behind it.
use super::abi::*;
use super::conn::ConnObject;
use super::endpoint::EndpointObject;
use super::error::{Fail, fence};
use super::events::{Gate, user_code};
use super::handle;
use super::hardened::Shown;
use super::object::Context;
use super::status::*;
use crate::qlog::MAX_BUFFERED;
use core::ffi::c_void;
use std::sync::Arc;

/// A registered function; its context ends with the last connection that it serves.
pub(crate) struct LogSink {
    function: unsafe extern "C" fn(*mut c_void, wb_conn, *const c_void, usize, u32),
    context: Context,
}

impl LogSink {
    fn call(&self, gate: &Gate, conn: wb_conn, bytes: Vec<u8>, end: bool) {
        if !gate.enter() {
            return;
        }
        let shown = Shown::new(bytes.into());
        let data = if shown.is_empty() { core::ptr::null() } else { shown.as_ptr() };
        // SAFETY: registered by the application for this context; the bytes live until the call returns.
        user_code(|| unsafe {
            (self.function)(self.context.pointer(), conn, data.cast(), shown.len(), u32::from(end));
        });
        gate.leave();
    }
}

/// Where a connection's records go.
pub(crate) struct LogSlot {
    sink: Arc<LogSink>,
    /// Comes before the next records.
    head: Vec<u8>,
    /// Records of attempts at other addresses, which may become the connection.
    rivals: Vec<(u64, Vec<u8>)>,
}

impl LogSlot {
    pub fn new(sink: Arc<LogSink>, head: Vec<u8>) -> Box<Self> {
        Box::new(Self { sink, head, rivals: Vec::new() })
    }

    /// Keeps what an attempt has recorded, as much as a log may hold.
    pub fn keep(&mut self, attempt: u64, records: &[u8]) {
        match self.rivals.iter_mut().find(|(id, _)| *id == attempt) {
            Some((_, kept)) if kept.len() >= MAX_BUFFERED => {}
            Some((_, kept)) => kept.extend_from_slice(records),
            None => self.rivals.push((attempt, records.to_vec())),
        }
    }

    /// What is to be said before the connection's next records. It counts from now on, and no other.
    fn earlier(&mut self, attempt: u64) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.head);
        if let Some(at) = self.rivals.iter().position(|(id, _)| *id == attempt) {
            bytes.extend(self.rivals.swap_remove(at).1);
        }
        bytes
    }

    /// Gives away what is to be called, so that no lock is held then.
    pub fn take(&mut self, attempt: u64, records: &[u8]) -> Chunk {
        let mut bytes = self.earlier(attempt);
        bytes.extend_from_slice(records);
        Chunk { sink: Arc::clone(&self.sink), bytes, end: false }
    }

    /// The last one; the slot is not needed any more.
    pub fn end(mut self, attempt: u64) -> Chunk {
        let bytes = self.earlier(attempt);
        Chunk { sink: self.sink, bytes, end: true }
    }
}

/// Records on their way.
pub(crate) struct Chunk {
    sink: Arc<LogSink>,
    bytes: Vec<u8>,
    end: bool,
}

impl Chunk {
    /// Hands it over. No lock may be held.
    pub fn deliver(self, gate: &Gate, conn: wb_conn) {
        self.sink.call(gate, conn, self.bytes, self.end);
    }
}

/// Hands the qlog of a connection to a function: of this one from now on, or of an endpoint's later connections from their
/// beginning. To have all of a client's connection, register before it is started. What comes is a qlog file in pieces: JSON text
/// records (RFC 7464), each of them whole, the first being the file's head; connections are told apart by their handle, which may
/// be stale when its last records come. A client that tries several addresses brings the log of each that failed and then the
/// next one's, each with its head. The last call for a connection has `end` = 1, and maybe no data; it comes after CONN_CLOSED,
/// when the connection is drained. `qlog.dir` works beside it.
///
/// For an endpoint another registration replaces the function, and null stops it, for connections that come then; those that
/// have it keep it. A connection has one function for good, its endpoint's if it had one.
///
/// Logging costs the connections that do it time; those without a log nothing. `wb_runtime_mute` ends the calls, and then the
/// end is not told.
///
/// Ownership: `ctx` belongs to the registration until `destroy` (may be null) is called once, after the last end. On failure it
/// stays the caller's. Threads: any; the function runs on library threads, serial per connection. Blocks: never.
/// Errors: handle errors (`WB_E_KIND`: neither connection nor endpoint), `WB_E_INVALID` (null for a connection), `WB_E_BUSY`
/// (the connection has a function), `WB_E_CLOSED_LOCAL`, `WB_E_CLOSED_PEER`, `WB_E_STATE` (it is closed). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_qlog(
    object: wb_handle,
    function: wb_sink_fn,
    ctx: *mut c_void,
    destroy: wb_destroy_fn,
) -> wb_status {
    fence(|| {
        // Made once nothing can fail any more: a context that was taken is destroyed.
        let sink = |function| Arc::new(LogSink { function, context: Context::new(ctx, destroy) });
        if handle::claimed_kind(object) == WB_KIND_ENDPOINT {
            let endpoint = handle::get::<EndpointObject>(object)?;
            let old = endpoint.set_log(|| function.map(sink))?;
            // Outside the lock: this may run a destructor.
            drop(old);
        } else {
            let conn = handle::get::<ConnObject>(object)?;
            let function = function.ok_or_else(|| Fail::invalid("the function is null"))?;
            conn.set_log(|| sink(function))?;
        }
        Ok(WB_OK)
    })
}
