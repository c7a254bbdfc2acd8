//! The object behind `wb_stream`: a raw stream, or a request with its body on an HTTP/3 connection.
//!
//! Each verb locks the connection once. Application memory may be given back by what a verb drops, so a `ReleaseScope`
//! spans the lock. Invariant: STREAM_CLOSED is emitted once, after every other event of the stream.
use super::abi::*;
use super::conn::ConnObject;
use super::error::Fail;
use super::events::{Kept, Merge, Record, blank};
use super::handle::Object;
use super::object::{Ends, Known, Meta, publish};
use super::queue::{Notices, deliver_of, end_silently};
use super::section::Block;
use super::status::*;
use crate::base::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::base::{Dir, Side, StreamId, codes};
use crate::collections::{Chunk, ReleaseScope};
use crate::http3::{Field, FieldList, H3Error, SectionKind};
use crate::runtime::{Conn, ConnState};
use crate::streams::{ReadError, WriteError};
use std::sync::{Arc, OnceLock};

mod open;
pub(crate) use open::First;

/// Interim responses whose fields are kept; HTTP/3 itself refuses more than it allows.
const MAX_INFO: usize = 32;

/// The transport has done with the stream.
const CLOSED: u32 = 1;
/// The event that told the peer's message was delivered.
const SEEN: u32 = 2;

/// A stream.
pub(crate) struct StreamObject {
    meta: Meta,
    pub conn: Arc<ConnObject>,
    pub(super) wire: Arc<Conn>,
    pub id: StreamId,
    pub http3: bool,
    pub notices: Notices,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    /// Bytes received whose credit is withheld until they are consumed.
    owed: AtomicU64,
    /// Our side has ended: end accepted, reset, or stopped by the peer.
    pub(super) send_ended: AtomicBool,
    /// It ended by our reset.
    gave_up: AtomicBool,
    /// The peer's side has ended: read to the end, reset, or stopped by us.
    pub(super) recv_ended: AtomicBool,
    /// Trailers have ended the message; no receive call has told so yet.
    end_waiting: AtomicBool,
    /// Some of it was seen to come as early data.
    pub(super) early: AtomicBool,
    /// What the peer sent was told by one event.
    pub(super) whole: AtomicBool,
    /// Nothing more is wanted of it (`WB_H3_DONE`), and what we send was taken whole.
    pub(super) done: AtomicBool,
    /// Of a stream whose end is no event: `CLOSED` and `SEEN`. It ends with the second of them.
    over: AtomicU32,
    /// Code of the peer's reset, plus 1; 0 for none.
    reset_by_peer: AtomicU64,
    /// Code of the peer's stop, plus 1; 0 for none.
    stopped_by_peer: AtomicU64,
    headers: OnceLock<Block>,
    trailers: OnceLock<Block>,
    /// Boxed, because the application holds pointers into earlier ones while later ones come.
    info: OnceLock<Box<Mutex<Vec<Arc<Block>>>>>,
}

impl Object for StreamObject {
    const KIND: u32 = WB_KIND_STREAM;

    fn abandoned(self: &Arc<Self>) {
        // Nobody can consume any more.
        if self.owed.load(Ordering::Acquire) > 0 {
            self.give_back(self.owed.swap(0, Ordering::AcqRel));
        }
        if self.meta.is_closed() {
            return;
        }
        let code = if self.http3 { codes::h3::REQUEST_CANCELLED } else { 0 };
        // Sent to its end and read to its end: nothing to give up.
        if self.send_ended.load(Ordering::Acquire) && self.recv_ended.load(Ordering::Acquire) {
            return;
        }
        let _ = self.reset(code);
        let _ = self.stop(code);
    }

    /// Fields were promised as long as the handle is good, though the stream may live on.
    fn out_of_reach(&self) {
        for block in [self.headers.get(), self.trailers.get()].into_iter().flatten() {
            block.expire();
        }
        if let Some(info) = self.info.get() {
            let blocks = info.lock().clone();
            blocks.iter().for_each(|block| block.expire());
        }
    }
}

impl Known for StreamObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn show_user(&self, user: *mut core::ffi::c_void) {
        if let Some(place) = self.notices.place() {
            self.conn.route.with_queue(|queue| queue.show_stream_user(place, self.meta.handle(), user));
        }
    }
}

/// What a look at the stream's state says.
fn with_code(status: wb_status, text: &'static str, code: u64) -> Fail {
    let mut fail = Fail::new(status, text);
    fail.wire_code = code;
    fail.origin = WB_ORIGIN_PEER;
    fail.application = 1;
    fail
}

/// Adds to a counter that only holders of the connection's lock write: no locked instruction.
fn count(bytes: &AtomicU64, more: usize) {
    bytes.store(bytes.load(Ordering::Relaxed).wrapping_add(more as u64), Ordering::Relaxed);
}

/// What a send or receive came to.
pub(crate) struct Moved {
    pub bytes: usize,
    pub fin: bool,
}

impl StreamObject {
    /// Makes the object of a stream. The caller puts it into the connection's table.
    pub fn new(
        conn: &Arc<ConnObject>,
        wire: Arc<Conn>,
        id: StreamId,
        http3: bool,
        borrowed: bool,
    ) -> Result<Arc<Self>, Fail> {
        let ours = id.initiator() == conn.side();
        let uni = id.dir() == Dir::Uni;
        let stream = Arc::new(Self {
            meta: Meta::default(),
            conn: Arc::clone(conn),
            wire,
            id,
            http3,
            notices: Notices::default(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            send_ended: AtomicBool::new(uni && !ours),
            gave_up: AtomicBool::new(false),
            recv_ended: AtomicBool::new(uni && ours),
            end_waiting: AtomicBool::new(false),
            early: AtomicBool::new(false),
            whole: AtomicBool::new(false),
            done: AtomicBool::new(false),
            over: AtomicU32::new(0),
            reset_by_peer: AtomicU64::new(0),
            stopped_by_peer: AtomicU64::new(0),
            headers: OnceLock::new(),
            trailers: OnceLock::new(),
            info: OnceLock::new(),
        });
        publish(&stream, borrowed)?;
        Ok(stream)
    }

    /// Sends a response, an interim one, or trailers.
    pub fn headers(&self, fields: &[Field<'_>], trailers: bool, fin: bool) -> Result<(), Fail> {
        if !self.http3 {
            return Err(Fail::new(WB_E_STATE, "not a stream of HTTP/3"));
        }
        self.wire.act(|state| {
            self.conn.check_state(state)?;
            let http3 = state.http3.as_mut().ok_or_else(|| self.conn.gone())?;
            if trailers {
                http3.trailers(&mut *state.connection, self.id, fields)
            } else {
                http3.respond(&mut *state.connection, self.id, fields, fin)
            }
            .map_err(|e| self.message_fail(&e, true))
        })?;
        if trailers || fin {
            self.send_ended.store(true, Ordering::Release);
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------ sending

    /// Sends chunks in order; takes references to what it accepts.
    pub fn send(&self, chunks: Vec<Chunk>, fin: bool) -> Result<Moved, Fail> {
        if chunks.iter().any(Chunk::is_revoked) {
            return Err(Fail::new(WB_E_REVOKED, "the memory of a buffer was revoked"));
        }
        self.send_with(|state| {
            let mut taken = 0usize;
            for mut chunk in chunks {
                while !chunk.is_empty() {
                    match self.put_chunk(state, chunk.clone()) {
                        Ok(n) => {
                            chunk.advance(n);
                            taken = taken.saturating_add(n);
                        }
                        Err(fail) => return (Moved { bytes: taken, fin: false }, Some(fail)),
                    }
                }
            }
            if fin { self.put_end(state, taken) } else { (Moved { bytes: taken, fin }, None) }
        })
    }

    /// Sends bytes by copying them.
    pub fn send_copy(&self, bytes: &[u8], fin: bool) -> Result<Moved, Fail> {
        self.send_with(|state| self.put_all(state, bytes, fin))
    }

    /// Copies bytes, and with `fin` sends the end: what was taken, and why not more.
    fn put_all(&self, state: &mut ConnState, bytes: &[u8], fin: bool) -> (Moved, Option<Fail>) {
        let mut taken = 0usize;
        while let Some(rest) = bytes.get(taken..).filter(|r| !r.is_empty()) {
            match self.put_bytes(state, rest, fin) {
                Ok(n) => taken = taken.saturating_add(n),
                Err(fail) => return (Moved { bytes: taken, fin: false }, Some(fail)),
            }
        }
        // The end of a raw stream went with its last bytes.
        let over = !fin || (taken > 0 && !self.http3);
        if over { (Moved { bytes: taken, fin }, None) } else { self.put_end(state, taken) }
    }

    /// `put`: what was taken, and what stopped the rest.
    fn send_with(&self, put: impl FnOnce(&mut ConnState) -> (Moved, Option<Fail>)) -> Result<Moved, Fail> {
        let scope = ReleaseScope::new();
        let result = self.wire.with_hint(|state| {
            if let Err(fail) = self.conn.check_state(state) {
                return (Err(fail), false);
            }
            let (moved, fail) = put(state);
            count(&self.sent, moved.bytes);
            match fail {
                Some(fail) if moved.bytes == 0 => (Err(fail), false),
                // Some was taken: what stopped the rest is told by the next call.
                _ => {
                    let any = moved.bytes > 0 || moved.fin;
                    (Ok(moved), any)
                }
            }
        });
        drop(scope);
        let moved = result?;
        if moved.fin {
            self.send_ended.store(true, Ordering::Release);
        }
        Ok(moved)
    }

    fn put_chunk(&self, state: &mut ConnState, chunk: Chunk) -> Result<usize, Fail> {
        let result = if self.http3 {
            let http3 = state.http3.as_mut().ok_or_else(|| self.conn.gone())?;
            http3
                .send_body_chunk(&mut *state.connection, self.id, chunk, false)
                .map_err(|e| self.message_fail(&e, true))
        } else {
            state.connection.write_chunk(self.id, chunk).map_err(|e| self.write_fail(e))
        };
        self.refuse_nothing(result)
    }

    /// With `last` a raw stream ends when all is taken.
    fn put_bytes(&self, state: &mut ConnState, bytes: &[u8], last: bool) -> Result<usize, Fail> {
        let result = if self.http3 {
            let http3 = state.http3.as_mut().ok_or_else(|| self.conn.gone())?;
            http3.send_body(&mut *state.connection, self.id, bytes, false).map_err(|e| self.message_fail(&e, true))
        } else if last {
            state.connection.write_last(self.id, bytes).map_err(|e| self.write_fail(e))
        } else {
            state.connection.write(self.id, bytes).map_err(|e| self.write_fail(e))
        };
        self.refuse_nothing(result)
    }

    /// No progress without an error would make the caller's loop endless.
    fn refuse_nothing(&self, result: Result<usize, Fail>) -> Result<usize, Fail> {
        match result {
            Ok(0) => Err(Fail::new(WB_E_WOULD_BLOCK, "no room to send")),
            other => other,
        }
    }

    /// Sends the end behind so many bytes of this call.
    fn put_end(&self, state: &mut ConnState, taken: usize) -> (Moved, Option<Fail>) {
        let result = match state.http3.as_mut() {
            Some(http3) if self.http3 => {
                let sent = http3.send_body(&mut *state.connection, self.id, &[], true);
                sent.map(drop).map_err(|e| self.message_fail(&e, true))
            }
            _ if self.http3 => Err(self.conn.gone()),
            _ => state.connection.finish(self.id).map_err(|e| self.write_fail(e)),
        };
        (Moved { bytes: taken, fin: result.is_ok() }, result.err())
    }

    // ------------------------------------------------------------------------------------------ receiving

    /// Receives up to `max` chunks.
    pub fn recv(&self, max: usize) -> Result<(Vec<Chunk>, bool), Fail> {
        if self.check_unread()? {
            return Ok((Vec::new(), true));
        }
        let mut chunks = Vec::new();
        let fin = self.recv_with(|state| {
            let fin = self.take_chunks(state, &mut chunks, max);
            self.note_taken(state, chunks.iter().map(Chunk::len).sum());
            fin
        })?;
        Ok((chunks, fin))
    }

    fn take_chunks(&self, state: &mut ConnState, chunks: &mut Vec<Chunk>, max: usize) -> Result<bool, Fail> {
        while chunks.len() < max {
            let (chunk, fin) = if self.http3 {
                let http3 = state.http3.as_mut().ok_or_else(|| self.conn.gone())?;
                http3
                    .recv_body_chunk(&mut *state.connection, self.id, usize::MAX)
                    .map_err(|e| self.message_fail(&e, false))
            } else {
                state.connection.read_chunk(self.id, usize::MAX).map_err(|e| self.read_fail(e))
            }
            .or_else(|fail| if chunks.is_empty() { Err(fail) } else { Ok((Chunk::empty(), false)) })?;
            let end = chunk.is_empty();
            if !end {
                chunks.push(chunk);
            }
            if fin || end {
                return Ok(fin);
            }
        }
        Ok(false)
    }

    /// Receives into memory.
    pub fn recv_copy(&self, out: &mut [u8]) -> Result<Moved, Fail> {
        if self.check_unread()? {
            return Ok(Moved { bytes: 0, fin: true });
        }
        let mut filled = 0usize;
        let fin = self.recv_with(|state| {
            let fin = self.take_bytes(state, out, &mut filled);
            self.note_taken(state, filled);
            fin
        })?;
        Ok(Moved { bytes: filled, fin })
    }

    fn take_bytes(&self, state: &mut ConnState, out: &mut [u8], filled: &mut usize) -> Result<bool, Fail> {
        while let Some(room) = out.get_mut(*filled..).filter(|r| !r.is_empty()) {
            let (n, fin) = if self.http3 {
                let http3 = state.http3.as_mut().ok_or_else(|| self.conn.gone())?;
                http3.recv_body(&mut *state.connection, self.id, room).map_err(|e| self.message_fail(&e, false))
            } else {
                state.connection.read(self.id, room).map(|r| (r.len, r.fin)).map_err(|e| self.read_fail(e))
            }
            .or_else(|fail| if *filled == 0 { Err(fail) } else { Ok((0, false)) })?;
            *filled = filled.saturating_add(n);
            if fin || n == 0 {
                return Ok(fin);
            }
        }
        Ok(false)
    }

    /// So much was just read; with manual credit it waits for `consume`. Under the connection's lock.
    fn note_taken(&self, state: &mut ConnState, bytes: usize) {
        count(&self.received, bytes);
        if bytes > 0 && self.conn.manual_credit() {
            state.connection.withhold(self.id, bytes as u64);
            self.owed.fetch_add(bytes as u64, Ordering::AcqRel);
        }
    }

    /// Gives the peer credit for bytes that the application is done with.
    pub fn consume(&self, bytes: u64) -> Result<(), Fail> {
        if !self.conn.manual_credit() {
            return Err(Fail::new(WB_E_STATE, "credit is given by reading: transport.manual_credit is off"));
        }
        let claim = self.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, |owed| owed.checked_sub(bytes));
        claim.map_err(|owed| Fail::new(WB_E_RANGE, format!("only {owed} bytes are not consumed yet")))?;
        self.give_back(bytes);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.wire.with_hint(|state| {
                state.connection.give_back(self.id, bytes);
                ((), state.connection.wants_transmit())
            });
        }
    }

    /// Whether anything can come; true when it is the bare end.
    fn check_unread(&self) -> Result<bool, Fail> {
        match self.reset_by_peer.load(Ordering::Acquire) {
            0 => {}
            code => return Err(with_code(WB_E_RESET, "the peer reset the stream", code.saturating_sub(1))),
        }
        if self.recv_ended.load(Ordering::Acquire) {
            return Err(Fail::new(WB_E_FINISHED, "the stream was read to its end"));
        }
        let end = self.end_waiting.load(Ordering::Acquire) && self.end_waiting.swap(false, Ordering::AcqRel);
        if end {
            self.recv_ended.store(true, Ordering::Release);
        }
        Ok(end)
    }

    fn recv_with(&self, take: impl FnOnce(&mut ConnState) -> Result<bool, Fail>) -> Result<bool, Fail> {
        let fin = self.wire.with_hint(|state| {
            // What had arrived in order before the end can still be read (RFC 9000 section 10.2).
            let result = take(state).map_err(|fail| self.conn.check_state(state).err().unwrap_or(fail));
            // The end tells the caller that trailers, if any, can be read: their event may still be on its way.
            if let (Ok(true), Some(http3)) = (&result, &state.http3)
                && let Some(fields) = http3.pending_trailers(self.id)
            {
                self.note_fields(SectionKind::Trailers, fields.clone(), false);
            }
            // Reading may have made room that the peer must hear of, and the end is an event for the application.
            let ended = matches!(result, Ok(true));
            (result, ended || state.connection.wants_transmit())
        })?;
        if fin {
            self.recv_ended.store(true, Ordering::Release);
        }
        Ok(fin)
    }

    // ------------------------------------------------------------------------------------------ ending

    /// Gives up sending; with HTTP/3 the whole request (RFC 9114 section 4.1.1).
    pub fn reset(&self, code: u64) -> Result<(), Fail> {
        let nothing = || Fail::new(WB_E_STATE, "nothing to send on this stream");
        if self.send_ended.load(Ordering::Acquire) && !self.http3 && self.is_receive_only() {
            return Err(nothing());
        }
        let scope = ReleaseScope::new();
        let result = self.wire.act(|state| {
            self.conn.check_state(state)?;
            if !self.http3 {
                return state.connection.reset(self.id, code).map_err(|_| nothing());
            }
            let http3 = state.http3.as_mut().ok_or_else(|| self.conn.gone())?;
            let code = if code == 0 { codes::h3::REQUEST_CANCELLED } else { code };
            http3.reset(&mut *state.connection, self.id, code).map_err(|e| self.message_fail(&e, true))
        });
        drop(scope);
        result?;
        self.note_reset_by_us();
        if self.http3 {
            self.recv_ended.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Gives up sending, but delivers the first `reliable` bytes.
    pub fn reset_at(&self, code: u64, reliable: u64) -> Result<(), Fail> {
        if self.http3 {
            return Err(Fail::new(WB_E_STATE, "reliable resets are for raw QUIC streams"));
        }
        let nothing = || Fail::new(WB_E_STATE, "nothing to send on this stream");
        if self.is_receive_only() {
            return Err(nothing());
        }
        let scope = ReleaseScope::new();
        let result = self.wire.act(|state| {
            self.conn.check_state(state)?;
            state.connection.reset_at(self.id, code, reliable).map_err(|_| nothing())
        });
        drop(scope);
        if !result? {
            return Err(Fail::new(WB_E_UNSUPPORTED, "the peer does not know reliable resets"));
        }
        self.note_reset_by_us();
        Ok(())
    }

    fn note_reset_by_us(&self) {
        if !self.send_ended.swap(true, Ordering::AcqRel) {
            self.gave_up.store(true, Ordering::Release);
        }
    }

    /// Asks the peer to stop.
    pub fn stop(&self, code: u64) -> Result<(), Fail> {
        let nothing = || Fail::new(WB_E_STATE, "nothing to receive on this stream");
        self.wire.act(|state| {
            self.conn.check_state(state)?;
            if !self.http3 {
                return state.connection.stop(self.id, code).map_err(|_| nothing());
            }
            let http3 = state.http3.as_mut().ok_or_else(|| self.conn.gone())?;
            let code = if code == 0 { codes::h3::REQUEST_CANCELLED } else { code };
            http3.stop(&mut *state.connection, self.id, code).map_err(|e| self.message_fail(&e, false))
        })?;
        self.recv_ended.store(true, Ordering::Release);
        // The transport has given back what nobody will read, and what was withheld with it.
        self.owed.store(0, Ordering::Release);
        Ok(())
    }

    pub fn set_priority(&self, urgency: u8, incremental: bool) -> Result<(), Fail> {
        self.wire.act(|state| {
            self.conn.check_state(state)?;
            match state.http3.as_mut().filter(|_| self.http3) {
                Some(http3) => http3
                    .set_priority(&mut *state.connection, self.id, urgency, incremental)
                    .map_err(|e| self.message_fail(&e, true)),
                None => {
                    state.connection.set_priority(self.id, urgency, incremental);
                    Ok(())
                }
            }
        })
    }

    fn is_receive_only(&self) -> bool {
        self.id.dir() == Dir::Uni && self.id.initiator() != self.conn.side()
    }

    // ------------------------------------------------------------------------------------------ events

    /// An event of this stream, to be filled in. Put together where it is to be: it is large to move.
    #[inline]
    pub fn record(self: &Arc<Self>, kind: u16) -> Record {
        Record { event: self.event(kind, 0), kept: Kept::of(Arc::clone(self), Merge::of(kind)) }
    }

    /// An event as it waits: whoever takes it fills in pointers.
    #[inline]
    fn event(&self, kind: u16, a: u64) -> wb_event {
        let conn = self.conn.meta().handle();
        let stream = self.meta.handle();
        wb_event { conn, source: conn, stream, flags: self.early_flag(kind), a, ..blank(kind) }
    }

    /// Whether HTTP/3 carries the stream, so that its end is HTTP/3's to tell.
    pub fn is_http3(&self) -> bool {
        self.http3
    }

    /// An event as a callback gets it; valid while the stream is held.
    #[inline]
    fn view(&self, kind: u16, a: u64) -> wb_event {
        let mut event = self.event(kind, a);
        event.user_conn = self.conn.meta().user();
        event.user_stream = self.meta.user();
        event
    }

    /// Tells the application something: straight to a callback, or as a record to a queue.
    pub fn tell(self: &Arc<Self>, kind: u16, a: u64) {
        if self.conn.is_abandoned() {
            return;
        }
        if self.conn.route.calls_back(kind) {
            return self.conn.route.call(&self.view(kind, a));
        }
        let merge = match kind {
            WB_EV_STREAM_INCOMING if self.conn.spares(WB_SPARE_FIRST_READABLE) => Merge::Readable,
            kind => Merge::of(kind),
        };
        deliver_of(self, kind, merge, || self.event(kind, a), || Kept::of(Arc::clone(self), merge));
    }

    /// Emits STREAM_CLOSED, the last event.
    pub fn finish(self: Arc<Self>) {
        if self.is_quiet() {
            return self.is_over(CLOSED);
        }
        let spared = self.conn.spares(WB_SPARE_CLOSED);
        if self.conn.route.calls_back(WB_EV_STREAM_CLOSED) {
            if !spared {
                self.conn.route.call(&self.view(WB_EV_STREAM_CLOSED, 0));
            }
            self.ended();
            return;
        }
        if spared {
            return end_silently(self);
        }
        let event = self.event(WB_EV_STREAM_CLOSED, 0);
        let conn = Arc::clone(&self.conn);
        let kept = Kept { last: true, ..Kept::of(self, Merge::No) };
        conn.route.emit(Record { event, kept });
    }

    /// The application is through with the message that came whole: what it learned by it is no longer looked at.
    pub fn note_seen(&self) {
        self.is_over(SEEN);
    }

    fn is_over(&self, what: u32) {
        if self.over.fetch_or(what, Ordering::AcqRel) | what == CLOSED | SEEN && self.is_quiet() {
            self.ended();
        }
    }

    pub fn note_reset(&self, code: u64) {
        self.owed.store(0, Ordering::Release);
        self.reset_by_peer.store(code.saturating_add(1), Ordering::Release);
        self.recv_ended.store(true, Ordering::Release);
    }

    pub fn note_stopped(&self, code: u64) {
        self.stopped_by_peer.store(code.saturating_add(1), Ordering::Release);
        self.send_ended.store(true, Ordering::Release);
    }

    /// Keeps a received section; gives the status code in it, or 0.
    pub fn note_fields(&self, kind: SectionKind, fields: FieldList, end: bool) -> u64 {
        let block = Block::new(fields);
        let status = if kind == SectionKind::Request { 0 } else { block.status() };
        match kind {
            SectionKind::Request | SectionKind::Response => drop(self.headers.set(block)),
            SectionKind::Trailers => drop(self.trailers.set(block)),
            SectionKind::Informational => {
                let mut info = self.info.get_or_init(Box::default).lock();
                if info.len() < MAX_INFO {
                    info.push(Arc::new(block));
                }
            }
        }
        if end && kind == SectionKind::Trailers {
            self.end_waiting.store(true, Ordering::Release);
        } else if end {
            self.recv_ended.store(true, Ordering::Release);
        }
        status
    }

    /// Lets a caller look at a received section.
    pub fn section<R>(&self, section: u32, look: impl FnOnce(&Block) -> R) -> Result<R, Fail> {
        if !self.http3 {
            return Err(Fail::new(WB_E_STATE, "not a stream of HTTP/3"));
        }
        let missing = || Fail::new(WB_E_WOULD_BLOCK, "this section was not received yet");
        match section {
            WB_SECTION_HEADERS => self.headers.get().map(look).ok_or_else(missing),
            WB_SECTION_TRAILERS => self.trailers.get().map(look).ok_or_else(missing),
            WB_SECTION_INFO => {
                let last = self.info.get().and_then(|info| info.lock().last().cloned());
                last.map(|block| look(&block)).ok_or_else(missing)
            }
            _ => Err(Fail::invalid("unknown section")),
        }
    }

    pub fn describe(&self) -> wb_stream_desc {
        wb_stream_desc {
            struct_size: size_of::<wb_stream_desc>() as u32,
            uni: u32::from(self.id.dir() == Dir::Uni),
            incoming: u32::from(self.id.initiator() != self.conn.side()),
            send_ended: u32::from(self.send_ended.load(Ordering::Acquire)),
            recv_ended: u32::from(self.recv_ended.load(Ordering::Acquire)),
            http3: u32::from(self.http3),
            id: self.id.0,
            bytes_sent: self.sent.load(Ordering::Relaxed),
            bytes_received: self.received.load(Ordering::Relaxed),
            conn: self.conn.meta().handle(),
            early: self.earliness(),
            reserved: 0,
        }
    }

    // ------------------------------------------------------------------------------------------ failures

    fn write_fail(&self, error: WriteError) -> Fail {
        match error {
            WriteError::Blocked => Fail::new(WB_E_WOULD_BLOCK, "no room to send now"),
            WriteError::Stopped(code) => with_code(WB_E_STOPPED, "the peer reads no more of this stream", code),
            WriteError::Closed | WriteError::Unknown => self.send_over(),
        }
    }

    fn send_over(&self) -> Fail {
        match self.stopped_by_peer.load(Ordering::Acquire) {
            0 if self.is_receive_only() => Fail::new(WB_E_STATE, "the stream only receives"),
            0 if self.gave_up.load(Ordering::Acquire) => Fail::new(WB_E_RESET, "we have reset the stream"),
            0 => Fail::new(WB_E_FINISHED, "our side of the stream has ended"),
            code => with_code(WB_E_STOPPED, "the peer reads no more of this stream", code.saturating_sub(1)),
        }
    }

    fn read_fail(&self, error: ReadError) -> Fail {
        match error {
            ReadError::Blocked => Fail::new(WB_E_WOULD_BLOCK, "nothing to read now"),
            ReadError::Reset(code) => with_code(WB_E_RESET, "the peer reset the stream", code),
            ReadError::Finished | ReadError::Unknown => Fail::new(WB_E_FINISHED, "the stream was read to its end"),
        }
    }

    pub(super) fn message_fail(&self, error: &H3Error, sending: bool) -> Fail {
        match error {
            H3Error::UnknownStream | H3Error::WrongState if sending && self.send_ended.load(Ordering::Acquire) => {
                self.send_over()
            }
            H3Error::UnknownStream if !sending => Fail::new(WB_E_FINISHED, "the message was read to its end"),
            other => h3_fail(other, &self.conn),
        }
    }
}

/// A failed verb of HTTP/3.
pub(crate) fn h3_fail(error: &H3Error, conn: &ConnObject) -> Fail {
    match error {
        H3Error::Blocked => Fail::new(WB_E_WOULD_BLOCK, "not now; an event tells when"),
        H3Error::TooManyRequests => Fail::new(WB_E_WOULD_BLOCK, "the peer allows no more requests now"),
        H3Error::GoingAway => Fail::new(WB_E_STATE, "the connection is going away: no new requests"),
        H3Error::Closed => conn.gone(),
        H3Error::UnknownStream => Fail::new(WB_E_STATE, "the stream has ended"),
        H3Error::WrongState => Fail::new(WB_E_STATE, "not at this point of the exchange"),
        H3Error::Malformed(why) => Fail::new(WB_E_H3, *why),
        H3Error::FieldsTooLarge => Fail::new(WB_E_H3, "the fields are larger than the peer takes"),
        H3Error::BodyLength => Fail::new(WB_E_H3, "the body does not fit the content-length that was sent"),
        H3Error::Reset(code) => with_code(WB_E_RESET, "the peer reset the stream", *code),
        H3Error::Stopped(code) => with_code(WB_E_STOPPED, "the peer reads no more of this stream", *code),
        H3Error::Revoked => Fail::new(WB_E_REVOKED, "the memory of a buffer was revoked"),
    }
}

/// A stream kind of the header.
pub(crate) fn dir_of(kind: u32) -> Result<Dir, Fail> {
    match kind {
        WB_STREAM_BIDI => Ok(Dir::Bi),
        WB_STREAM_UNI => Ok(Dir::Uni),
        _ => Err(Fail::invalid("unknown stream kind")),
    }
}

/// The number of a direction in events.
pub(crate) fn number_of(dir: Dir) -> u64 {
    u64::from(if dir == Dir::Uni { WB_STREAM_UNI } else { WB_STREAM_BIDI })
}

/// Which side opens streams that a client cannot: used to tell requests apart.
pub(crate) fn is_request(id: StreamId) -> bool {
    id.dir() == Dir::Bi && id.initiator() == Side::Client
}
