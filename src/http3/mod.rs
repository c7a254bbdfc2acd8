//! HTTP/3 (RFC 9114, 9218, 9220), both roles: a pure translation over a connection's stream verbs.
//!
//! The owner feeds every connection event to [`Http3::on_event`], takes [`H3Event`]s with
//! [`Http3::poll_event`] and calls the verbs; nothing here waits, reads a clock or starts anything.
//! Invariant: no allocation per field or per body byte; body bytes pass from and to the stream untouched.
pub mod config;
mod control;

pub mod error;
pub mod event;
mod fields;
mod frame;
pub mod priority;
mod receive;
mod send;
pub mod settings;
mod state;
mod stream;
#[cfg(test)]
mod tests;
pub mod transport;

pub use crate::qpack::{Field, FieldList};
pub use config::Http3Config;
pub use error::{Fatal, H3Error};
pub use event::{H3Event, SectionKind};
pub use settings::PeerSettings;
pub use transport::Transport;

use crate::base::codes::h3;
use crate::base::{Dir, Side, StreamId, Timestamp};
use crate::collections::Chunk;
use crate::connection::Event;
use crate::streams::{OpenError, StreamEvent};
use control::Control;
use send::Body;
use state::Core;
use stream::Table;

/// HTTP/3 state of one connection. Verbs take the connection that it sits beside.
pub struct Http3 {
    core: Core,
    table: Table,
    control: Control,
    /// A request was refused for want of stream credit.
    wants_request: bool,
}

impl Http3 {
    #[must_use]
    pub fn new(side: Side, config: Http3Config) -> Self {
        Self { core: Core::new(side, config), table: Table::default(), control: Control::new(), wants_request: false }
    }

    /// Opens the control and QPACK streams and sends SETTINGS. Call once, when 1-RTT (or 0-RTT) data can be
    /// sent: on `Event::Connected`, or right after `connect` with remembered parameters. Calling it again is
    /// harmless, and `on_event(Event::Connected)` does it too.
    pub fn on_connected<T: Transport>(&mut self, conn: &mut T, now: Timestamp) {
        self.core.now = now;
        let outcome = self.start(conn);
        self.check(conn, outcome);
    }

    /// Takes every event of the connection. Protocol errors of the peer close the connection with their code.
    pub fn on_event<T: Transport>(&mut self, conn: &mut T, event: &Event, now: Timestamp) {
        match event {
            Event::Stream(event) => self.on_stream_event(conn, event, now),
            Event::Connected { .. } => self.on_connected(conn, now),
            Event::Closed(_) | Event::Drained => self.core.dead = true,
            _ => {}
        }
    }

    /// The part of `on_event` that is about streams.
    pub fn on_stream_event<T: Transport>(&mut self, conn: &mut T, event: &StreamEvent, now: Timestamp) {
        self.core.now = now;
        if self.core.dead {
            return;
        }
        let outcome = match *event {
            StreamEvent::Opened { id } => self.on_opened(conn, id.dir()),
            StreamEvent::Readable { id } => self.on_readable(conn, id),
            StreamEvent::Writable { id } => self.on_writable(conn, id),
            StreamEvent::Finished { id } => {
                if self.table.contains(id) {
                    self.core.events.push_back(H3Event::Finished { stream: id });
                }
                Ok(())
            }
            StreamEvent::Stopped { id, code } | StreamEvent::Revoked { id, code } => self.on_stopped(id, code),
            StreamEvent::Reset { id, code } => self.on_reset(conn, id, code),
            StreamEvent::Available { dir } => {
                if dir == Dir::Bi && core::mem::take(&mut self.wants_request) {
                    self.core.events.push_back(H3Event::RequestsAvailable);
                }
                Ok(())
            }
            StreamEvent::Closed { id } => self.on_closed(id),
        };
        // Early data can bring requests before `Connected`: SETTINGS go out before the first answer.
        let outcome = outcome.and_then(|()| self.start(conn));
        self.check(conn, outcome);
    }

    fn check<T: Transport>(&mut self, conn: &mut T, outcome: Result<(), Fatal>) {
        if let Err(fatal) = outcome {
            self.core.fail(conn, fatal);
        }
    }

    fn on_opened<T: Transport>(&mut self, conn: &mut T, dir: Dir) -> Result<(), Fatal> {
        while let Some(id) = conn.accept_stream(dir) {
            if dir == Dir::Uni {
                self.accept_uni(conn, id);
                continue;
            }
            if self.core.side.is_client() {
                // RFC 9114 section 6.1.
                return Err(Fatal::new(h3::STREAM_CREATION_ERROR, "request stream from a server"));
            }
            self.accept_request(conn, id);
        }
        Ok(())
    }

    fn accept_request<T: Transport>(&mut self, conn: &mut T, id: StreamId) {
        let refused = self.core.goaway_sent.is_some_and(|first| id.0 >= first)
            || self.table.len() >= self.core.config.max_concurrent as usize;
        if refused {
            // RFC 9114 section 4.1.1: not looked at, safe to send again.
            let _ = conn.stop(id, h3::REQUEST_REJECTED);
            let _ = conn.reset(id, h3::REQUEST_REJECTED);
            // RFC 9204 section 2.2.2.2: its section is never read.
            self.core.decoder.cancel(id.0);
            self.core.glitch(conn);
            return;
        }
        self.core.next_request = self.core.next_request.max(id.0.saturating_add(4));
        let early = self.control.take_early(id);
        if let (Some(slot), Some(p)) = (self.table.insert(id), early) {
            slot.prioritised = true;
            conn.set_priority(id, p.urgency, p.incremental);
        }
    }

    fn on_readable<T: Transport>(&mut self, conn: &mut T, id: StreamId) -> Result<(), Fatal> {
        if id.dir() == Dir::Uni {
            return self.read_uni(conn, id);
        }
        let Some(slot) = self.table.get_mut(id) else { return Ok(()) };
        if let Err(fault) = self.core.pump(conn, slot) {
            self.core.fault(conn, slot, fault);
        }
        Ok(())
    }

    fn on_writable<T: Transport>(&mut self, conn: &mut T, id: StreamId) -> Result<(), Fatal> {
        let Some(slot) = self.table.get_mut(id) else { return Ok(()) };
        // A stopped stream is told by its own event.
        if self.core.flush(conn, slot) == Ok(true) && core::mem::take(&mut slot.send.blocked) {
            self.core.events.push_back(H3Event::Writable { stream: id });
        }
        Ok(())
    }

    fn on_stopped(&mut self, id: StreamId, code: u64) -> Result<(), Fatal> {
        self.our_uni_ended(id)?;
        let Some(slot) = self.table.get_mut(id) else { return Ok(()) };
        self.core.stop_sending(slot);
        if slot.recv.known {
            self.core.events.push_back(H3Event::Stopped { stream: id, code });
        }
        Ok(())
    }

    fn on_reset<T: Transport>(&mut self, conn: &mut T, id: StreamId, code: u64) -> Result<(), Fatal> {
        if id.dir() == Dir::Uni {
            return self.uni_ended(id);
        }
        if let Some(slot) = self.table.get_mut(id) {
            self.core.on_reset(conn, slot, code);
        }
        Ok(())
    }

    fn on_closed(&mut self, id: StreamId) -> Result<(), Fatal> {
        self.our_uni_ended(id)?;
        if let Some(slot) = self.table.get_mut(id) {
            slot.closed = true;
            self.sweep(id);
        }
        Ok(())
    }

    /// Forgets a stream that is over on all sides.
    fn sweep(&mut self, id: StreamId) {
        let Some(known) = self.table.get_mut(id).filter(|slot| slot.is_over()).map(|slot| slot.recv.known) else {
            return;
        };
        self.table.remove(id);
        // A server tells nothing of a request that it never announced.
        if known || !self.core.side.is_server() {
            self.core.events.push_back(H3Event::Closed { stream: id });
        }
    }

    /// The next thing the application should know.
    pub fn poll_event(&mut self) -> Option<H3Event> {
        self.core.events.pop_front()
    }

    /// Client: sends a request. `fields` start with the pseudo-header fields (`:method`, `:scheme`,
    /// `:authority`, `:path`; `:protocol` for extended CONNECT). `fin`: there is no body.
    pub fn request<T: Transport>(
        &mut self,
        conn: &mut T,
        fields: &[Field<'_>],
        fin: bool,
    ) -> Result<StreamId, H3Error> {
        self.open()?;
        if self.core.side.is_server() {
            return Err(H3Error::WrongState);
        }
        if self.core.goaway_received.is_some() || self.core.goaway_sent.is_some() {
            return Err(H3Error::GoingAway);
        }
        let summary = self.core.check_request(fields, fin)?;
        let id = match conn.open(Dir::Bi) {
            Ok(id) => id,
            Err(OpenError::LimitReached) => {
                self.wants_request = true;
                return Err(H3Error::TooManyRequests);
            }
        };
        let slot = self.table.insert(id).ok_or(H3Error::TooManyRequests)?;
        slot.recv.known = true;
        match self.core.send_request(conn, slot, fields, &summary, fin) {
            Ok(()) => Ok(id),
            Err(e) => {
                self.core.cancel(conn, slot, h3::REQUEST_CANCELLED);
                Err(e)
            }
        }
    }

    /// Nothing can be sent once the connection is over.
    const fn open(&self) -> Result<(), H3Error> {
        if self.core.dead { Err(H3Error::Closed) } else { Ok(()) }
    }

    /// Server: sends a response section; `:status` 1xx is an interim one and more must follow.
    pub fn respond<T: Transport>(
        &mut self,
        conn: &mut T,
        id: StreamId,
        fields: &[Field<'_>],
        fin: bool,
    ) -> Result<(), H3Error> {
        self.open()?;
        let slot = self.table.get_mut(id).filter(|_| self.core.side.is_server()).ok_or(H3Error::UnknownStream)?;
        self.core.respond(conn, slot, fields, fin)
    }

    /// Sends the trailer section and ends the message.
    pub fn trailers<T: Transport>(&mut self, conn: &mut T, id: StreamId, fields: &[Field<'_>]) -> Result<(), H3Error> {
        self.open()?;
        let slot = self.table.get_mut(id).ok_or(H3Error::UnknownStream)?;
        self.core.trailers(conn, slot, fields)
    }

    /// Sends body bytes; returns how many were taken. `fin` takes effect when all were taken; an empty
    /// `data` with `fin` ends the message. `Blocked`, or fewer than all: `H3Event::Writable` will follow.
    pub fn send_body<T: Transport>(
        &mut self,
        conn: &mut T,
        id: StreamId,
        data: &[u8],
        fin: bool,
    ) -> Result<usize, H3Error> {
        self.open()?;
        let slot = self.table.get_mut(id).ok_or(H3Error::UnknownStream)?;
        self.core.send_body(conn, slot, &Body::Bytes(data), fin)
    }

    /// Like `send_body` without a copy: the stream keeps a reference to the memory until it is acknowledged.
    /// Short chunks are copied all the same.
    pub fn send_body_chunk<T: Transport>(
        &mut self,
        conn: &mut T,
        id: StreamId,
        chunk: Chunk,
        fin: bool,
    ) -> Result<usize, H3Error> {
        self.open()?;
        let slot = self.table.get_mut(id).ok_or(H3Error::UnknownStream)?;
        self.core.send_body(conn, slot, &Body::Chunk(chunk), fin)
    }

    /// Reads body bytes: how many, and whether the message is complete. When it has trailers, their event is
    /// in the queue before `true` is told. After `true` the receiving part is over.
    pub fn recv_body<T: Transport>(
        &mut self,
        conn: &mut T,
        id: StreamId,
        out: &mut [u8],
    ) -> Result<(usize, bool), H3Error> {
        let slot = self.table.get_mut(id).ok_or(H3Error::UnknownStream)?;
        let outcome = self.core.recv_body(conn, slot, out);
        self.after_read(conn, id);
        outcome
    }

    /// Length of the body when all that is missing of a received message lies here in one piece, its end included: one
    /// `recv_body` with so much room then comes to the end, unless the message is malformed.
    #[must_use]
    pub fn whole_body(&mut self, id: StreamId) -> Option<usize> {
        self.table.get_mut(id)?.recv.whole_body()
    }

    /// Like `recv_body` without a copy: a slice of the stream's data of at most `max` bytes, empty only
    /// together with `true`.
    pub fn recv_body_chunk<T: Transport>(
        &mut self,
        conn: &mut T,
        id: StreamId,
        max: usize,
    ) -> Result<(Chunk, bool), H3Error> {
        let slot = self.table.get_mut(id).ok_or(H3Error::UnknownStream)?;
        let outcome = self.core.recv_body_chunk(conn, slot, max);
        self.after_read(conn, id);
        outcome
    }

    /// Trailers of a stream whose event has not been taken yet. A reader on another thread that has seen the end
    /// finds them here before the event reaches it.
    #[must_use]
    pub fn pending_trailers(&self, id: StreamId) -> Option<&FieldList> {
        self.core.events.iter().find_map(|event| match event {
            H3Event::Headers { stream, kind: SectionKind::Trailers, fields, .. } if *stream == id => Some(fields),
            _ => None,
        })
    }

    /// Reading can decode trailers, which may have to be acknowledged, and can end the stream.
    fn after_read<T: Transport>(&mut self, conn: &mut T, id: StreamId) {
        let outcome = self.flush_control(conn);
        self.check(conn, outcome);
        self.sweep(id);
    }

    /// Gives a field list back so that its memory serves the next section.
    pub fn recycle(&mut self, fields: FieldList) {
        self.core.recycle(fields);
    }

    /// Stops taking new requests. Server: with `announce`, only warns (RFC 9114 section 5.2: the largest id, so
    /// that requests on their way still count); without, names the first request it will not process.
    /// The connection stays open until closed.
    pub fn goaway<T: Transport>(&mut self, conn: &mut T, announce: bool) -> Result<(), H3Error> {
        self.open()?;
        let outcome = self.send_goaway(conn, announce);
        self.check(conn, outcome);
        Ok(())
    }

    /// One side is going away and no request is in progress any more: time to close with `NO_ERROR`.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        (self.core.goaway_sent.is_some() || self.core.goaway_received.is_some()) && self.table.len() == 0
    }

    /// Ends both parts of a stream with an HTTP/3 error code (RFC 9114 section 4.1.1), e.g.
    /// `codes::h3::REQUEST_CANCELLED`, or `REQUEST_REJECTED` on a server that has not looked at it.
    pub fn reset<T: Transport>(&mut self, conn: &mut T, id: StreamId, code: u64) -> Result<(), H3Error> {
        let slot = self.table.get_mut(id).ok_or(H3Error::UnknownStream)?;
        self.core.cancel(conn, slot, code);
        self.after_read(conn, id);
        Ok(())
    }

    /// Asks the peer to stop sending on a stream; a server whose response is complete uses `NO_ERROR`.
    pub fn stop<T: Transport>(&mut self, conn: &mut T, id: StreamId, code: u64) -> Result<(), H3Error> {
        let slot = self.table.get_mut(id).ok_or(H3Error::UnknownStream)?;
        self.core.stop_receiving(conn, slot, code);
        self.after_read(conn, id);
        Ok(())
    }

    /// Sending order of a stream against the others (RFC 9218: urgency 0 first to 7 last).
    pub fn set_priority<T: Transport>(
        &mut self,
        conn: &mut T,
        id: StreamId,
        urgency: u8,
        incremental: bool,
    ) -> Result<(), H3Error> {
        let slot = self.table.get_mut(id).ok_or(H3Error::UnknownStream)?;
        slot.prioritised = true;
        conn.set_priority(id, urgency.min(7), incremental);
        Ok(())
    }

    /// The error that closed the connection, if HTTP/3 found one.
    #[must_use]
    pub const fn failure(&self) -> Option<Fatal> {
        self.core.failure
    }

    /// What the peer's SETTINGS said, or the defaults before they came.
    #[must_use]
    pub const fn peer_settings(&self) -> &PeerSettings {
        &self.core.peer
    }

    /// Requests in progress.
    #[must_use]
    pub fn active_requests(&self) -> usize {
        self.table.len()
    }
}
