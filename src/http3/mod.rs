//! HTTP/3 (RFC 9114, 9218, 9220), both roles: a pure translation over a connection's stream verbs.
//!
//! The owner feeds every connection event to [`Http3::on_event`], takes [`H3Event`]s with
//! [`Http3::poll_event`] and calls the verbs; nothing here waits, reads a clock or starts anything.
//! Invariant: no allocation per field or per body byte; body bytes pass from and to the stream untouched.
pub mod config;
pub mod error;
pub mod event;

pub use crate::qpack::{Field, FieldList};
pub use config::Http3Config;
pub use error::{Fatal, H3Error};
pub use event::{H3Event, SectionKind};

use crate::base::{Side, StreamId, Timestamp};
use crate::collections::Chunk;
use crate::connection::{Connection, Event};

/// HTTP/3 state of one connection. Verbs take the connection that it sits beside.
pub struct Http3 {}

impl Http3 {
    #[must_use]
    pub fn new(side: Side, config: Http3Config) -> Self {
        todo!()
    }

    /// Opens the control and QPACK streams and sends SETTINGS. Call once, when 1-RTT (or 0-RTT) data can be
    /// sent: on `Event::Connected`, or right after `connect` with remembered parameters. Calling it again is
    /// harmless, and `on_event(Event::Connected)` does it too.
    pub fn on_connected(&mut self, conn: &mut Connection, now: Timestamp) {
        todo!()
    }

    /// Takes every event of the connection. Protocol errors of the peer close the connection with their code.
    pub fn on_event(&mut self, conn: &mut Connection, event: &Event, now: Timestamp) {
        todo!()
    }

    /// The next thing the application should know.
    pub fn poll_event(&mut self) -> Option<H3Event> {
        todo!()
    }

    /// Client: sends a request. `fields` start with the pseudo-header fields (`:method`, `:scheme`,
    /// `:authority`, `:path`; `:protocol` for extended CONNECT). `fin`: there is no body.
    pub fn request(&mut self, conn: &mut Connection, fields: &[Field<'_>], fin: bool) -> Result<StreamId, H3Error> {
        todo!()
    }

    /// Server: sends a response section; `:status` 1xx is an interim one and more must follow.
    pub fn respond(
        &mut self,
        conn: &mut Connection,
        id: StreamId,
        fields: &[Field<'_>],
        fin: bool,
    ) -> Result<(), H3Error> {
        todo!()
    }

    /// Sends the trailer section and ends the message.
    pub fn trailers(&mut self, conn: &mut Connection, id: StreamId, fields: &[Field<'_>]) -> Result<(), H3Error> {
        todo!()
    }

    /// Sends body bytes; returns how many were taken. `fin` takes effect when all were taken; an empty
    /// `data` with `fin` ends the message. `Blocked`: `H3Event::Writable` will follow.
    pub fn send_body(
        &mut self,
        conn: &mut Connection,
        id: StreamId,
        data: &[u8],
        fin: bool,
    ) -> Result<usize, H3Error> {
        todo!()
    }

    /// Like `send_body` without a copy: the stream keeps a reference to the memory until it is acknowledged.
    pub fn send_body_chunk(
        &mut self,
        conn: &mut Connection,
        id: StreamId,
        chunk: Chunk,
        fin: bool,
    ) -> Result<usize, H3Error> {
        todo!()
    }

    /// Reads body bytes: how many, and whether the message (trailers included) is complete. After `true` the
    /// receiving part is over.
    pub fn recv_body(
        &mut self,
        conn: &mut Connection,
        id: StreamId,
        out: &mut [u8],
    ) -> Result<(usize, bool), H3Error> {
        todo!()
    }

    /// Like `recv_body` without a copy: a slice of the stream's data of at most `max` bytes, empty only
    /// together with `true`.
    pub fn recv_body_chunk(
        &mut self,
        conn: &mut Connection,
        id: StreamId,
        max: usize,
    ) -> Result<(Chunk, bool), H3Error> {
        todo!()
    }

    /// Gives a field list back so that its memory serves the next section.
    pub fn recycle(&mut self, fields: FieldList) {
        todo!()
    }

    /// Stops taking new requests. Server: with `announce`, only warns (RFC 9114 section 5.2: the largest id, so
    /// that requests on their way still count); without, names the first request it will not process.
    /// The connection stays open until closed.
    pub fn goaway(&mut self, conn: &mut Connection, announce: bool) -> Result<(), H3Error> {
        todo!()
    }

    /// Both of our sides of this connection are going away and no request is in progress any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        todo!()
    }

    /// Ends both parts of a stream with an HTTP/3 error code (RFC 9114 section 4.1.1), e.g.
    /// `codes::h3::REQUEST_CANCELLED`, or `REQUEST_REJECTED` on a server that has not looked at it.
    pub fn reset(&mut self, conn: &mut Connection, id: StreamId, code: u64) -> Result<(), H3Error> {
        todo!()
    }

    /// Asks the peer to stop sending on a stream; a server whose response is complete uses `NO_ERROR`.
    pub fn stop(&mut self, conn: &mut Connection, id: StreamId, code: u64) -> Result<(), H3Error> {
        todo!()
    }

    /// Sending order of a stream against the others (RFC 9218: urgency 0 first to 7 last).
    pub fn set_priority(
        &mut self,
        conn: &mut Connection,
        id: StreamId,
        urgency: u8,
        incremental: bool,
    ) -> Result<(), H3Error> {
        todo!()
    }

    /// The error that closed the connection, if HTTP/3 found one.
    #[must_use]
    pub fn failure(&self) -> Option<Fatal> {
        todo!()
    }

    /// Requests in progress.
    #[must_use]
    pub fn active_requests(&self) -> usize {
        todo!()
    }
}
