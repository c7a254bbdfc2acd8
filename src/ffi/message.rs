//! Whole HTTP/3 messages: a received one in one event, one to be sent in one step under the connection's lock.
//!
//! Invariants: a message is told whole or in parts, never both; of a message that cannot be sent at all nothing was taken.
use super::abi::*;
use super::conn::ConnObject;
use super::error::Fail;
use super::handle::Held;
use super::object::Known;
use super::status::*;
use super::stream::{Moved, StreamObject, h3_fail};
use crate::base::StreamId;
use crate::base::codes;
use crate::base::sync::Ordering;
use crate::collections::ReleaseScope;
use crate::http3::{Field, H3Error};
use crate::runtime::{Conn, ConnState};
use std::sync::Arc;

/// Fields of one section that need no memory of their own.
const FEW_FIELDS: usize = 16;

/// Lets `act` have the fields of a text: names and values, each with a zero behind it.
fn with_text<R>(text: &[u8], act: impl FnOnce(&[Field<'_>]) -> Result<R, Fail>) -> Result<R, Fail> {
    let cut = || Fail::invalid("a text of fields has a zero behind each name and each value");
    let (last, text) = text.split_last().ok_or_else(cut)?;
    let mut parts = text.split(|b| *b == 0);
    if *last != 0 {
        return Err(cut());
    }
    let mut few = [Field::new(b"", b""); FEW_FIELDS];
    let mut count = 0usize;
    let mut many = Vec::new();
    while let Some(name) = parts.next() {
        let field = Field::new(name, parts.next().ok_or_else(cut)?);
        if let Some(slot) = few.get_mut(count) {
            *slot = field;
        } else {
            if many.is_empty() {
                many.extend_from_slice(&few);
            }
            many.push(field);
        }
        count = count.saturating_add(1);
    }
    if many.is_empty() { act(few.get(..count).unwrap_or(&[])) } else { act(&many) }
}

/// A message of the application that waits to be sent.
pub(super) struct Outgoing<'a> {
    /// What it is the response to; `None`: it is a request.
    pub stream: Option<Held<StreamObject>>,
    pub fields: &'a [u8],
    pub body: &'a [u8],
    pub done: bool,
}

/// What became of it.
pub(super) struct Sent {
    pub stream: u64,
    pub moved: Moved,
}

/// The stream on which a message went, and how much of it.
type Taken = (StreamId, Moved);

/// Sends the body behind fields that were taken. Failures are told by the next call on the stream.
fn send_body(state: &mut ConnState, id: StreamId, body: &[u8]) -> Moved {
    let mut bytes = 0usize;
    while let Some(rest) = body.get(bytes..).filter(|rest| !rest.is_empty()) {
        let taken = match state.http3.as_mut() {
            Some(http3) => http3.send_body(&mut *state.connection, id, rest, true).unwrap_or(0),
            None => 0,
        };
        if taken == 0 {
            return Moved { bytes, fin: false };
        }
        bytes = bytes.saturating_add(taken);
    }
    Moved { bytes, fin: true }
}

impl StreamObject {
    /// What the peer sent was told by one event.
    pub(super) fn was_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Nothing more is wanted of it, and what we send was taken whole.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Both messages are over as far as the application is concerned: its end is no event.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_done() && self.was_whole()
    }

    fn note_sent(&self, moved: &Moved, done: bool) {
        self.sent.fetch_add(moved.bytes as u64, Ordering::Relaxed);
        if moved.fin {
            self.send_ended.store(true, Ordering::Release);
            if done {
                self.done.store(true, Ordering::Release);
            }
        }
    }

    /// Sends a response. Under the connection's lock.
    fn answer(&self, state: &mut ConnState, message: &Outgoing<'_>) -> Result<Taken, Fail> {
        if !self.http3 {
            return Err(Fail::new(WB_E_STATE, "not a stream of HTTP/3"));
        }
        self.conn.check_state(state)?;
        with_text(message.fields, |fields| {
            let http3 = state.http3.as_mut().ok_or_else(|| self.conn.gone())?;
            http3
                .respond(&mut *state.connection, self.id, fields, message.body.is_empty())
                .map_err(|e| self.message_fail(&e, true))
        })?;
        let moved = send_body(state, self.id, message.body);
        // Before the lock goes: a worker that sends it now may be told of its end before this thread runs again.
        self.note_sent(&moved, message.done);
        Ok((self.id, moved))
    }
}

impl ConnObject {
    /// Sends messages with one lock and one wake-up, and makes the streams of requests.
    pub(super) fn submit(
        self: &Arc<Self>,
        messages: &[Result<Outgoing<'_>, Fail>],
    ) -> Result<Vec<Result<Sent, Fail>>, Fail> {
        let scope = ReleaseScope::new();
        let asks = messages.iter().flatten().any(|message| message.stream.is_none());
        // Locked before the connection: events of the new streams wait until they are in the table.
        let mut streams = asks.then(|| self.streams.lock());
        let wire = self.wire()?;
        let moved: Vec<Result<Taken, Fail>> = wire.with_hint(|state| {
            let one = |message: &Result<Outgoing<'_>, Fail>| {
                let message = message.as_ref().map_err(Clone::clone)?;
                match &message.stream {
                    None => self.ask(state, message),
                    Some(stream) if Arc::ptr_eq(&stream.wire, &wire) => stream.answer(state, message),
                    Some(_) => Err(Fail::invalid("a stream of another connection")),
                }
            };
            let moved: Vec<_> = messages.iter().map(one).collect();
            let any = moved.iter().any(Result::is_ok);
            (moved, any)
        });
        let mut publish = |message: &Result<Outgoing<'_>, Fail>, (id, moved): Taken| {
            let message = message.as_ref().map_err(Clone::clone)?;
            let stream = match (&message.stream, streams.as_mut()) {
                (None, Some(table)) => {
                    let stream = self.asked(&wire, id, message.done)?;
                    stream.note_sent(&moved, message.done);
                    table.insert(id, Arc::clone(&stream));
                    stream
                }
                (Some(stream), _) => stream.arc(),
                (None, None) => return Err(Fail::new(WB_E_INTERNAL, "the table of streams is not locked")),
            };
            Ok(Sent { stream: stream.meta().handle(), moved })
        };
        let sent = messages.iter().zip(moved).map(|(message, taken)| publish(message, taken?)).collect();
        drop(streams);
        drop(scope);
        Ok(sent)
    }

    /// The stream of a request that was sent. With `done` it ends by itself: its handle is the library's.
    fn asked(self: &Arc<Self>, wire: &Arc<Conn>, id: StreamId, done: bool) -> Result<Arc<StreamObject>, Fail> {
        StreamObject::new(self, Arc::clone(wire), id, true, done).inspect_err(|_| {
            wire.with(|state, _| {
                if let Some(http3) = state.http3.as_mut() {
                    let _ = http3.reset(&mut *state.connection, id, codes::h3::REQUEST_CANCELLED);
                }
            });
        })
    }

    /// Sends a request. Under the connection's lock.
    fn ask(&self, state: &mut ConnState, message: &Outgoing<'_>) -> Result<Taken, Fail> {
        self.check_state(state)?;
        let id = with_text(message.fields, |fields| {
            let Some(http3) = state.http3.as_mut() else {
                return Err(Fail::new(WB_E_STATE, "the connection does not speak HTTP/3"));
            };
            http3
                .request(&mut *state.connection, fields, message.body.is_empty())
                .map_err(|e: H3Error| h3_fail(&e, self))
        })?;
        Ok((id, send_body(state, id, message.body)))
    }

    /// Tells a message whose fields have just come by one event, if all of it is here and the application wants that.
    pub(super) fn tell_message(
        self: &Arc<Self>,
        wire: &Arc<Conn>,
        stream: &Arc<StreamObject>,
        status: u64,
        end: bool,
    ) -> bool {
        let Some(most) = self.whole_messages() else { return false };
        let whole = stream.section(WB_SECTION_HEADERS, |block| {
            let text = block.text();
            let data = if end { Some(text.to_vec()) } else { read_whole(wire, stream.id, text, most) };
            data.map(|data| (data, text.len()))
        });
        let Ok(Some((data, text))) = whole else { return false };
        stream.received.fetch_add(data.len().saturating_sub(text) as u64, Ordering::Relaxed);
        stream.recv_ended.store(true, Ordering::Release);
        stream.whole.store(true, Ordering::Release);
        let mut record = stream.record(WB_EV_H3_MESSAGE).numbers(status, text as u64).bytes(data);
        record.event.flags |= WB_EVF_FIN;
        record.kept.message = true;
        self.emit(record);
        true
    }
}

/// The text and behind it the rest of a message, when it is all here and its body is not longer than `most`.
fn read_whole(wire: &Arc<Conn>, id: StreamId, text: &[u8], most: usize) -> Option<Vec<u8>> {
    wire.with_hint(|state| {
        let data = state.http3.as_mut().and_then(|http3| {
            let body = http3.whole_body(id).filter(|body| *body <= most)?;
            let mut data = Vec::with_capacity(text.len().saturating_add(body));
            data.extend_from_slice(text);
            data.resize(text.len().saturating_add(body), 0);
            let room = data.get_mut(text.len()..)?;
            // A malformed message ends here without its end: its reset is the next event.
            let read = http3.recv_body(&mut *state.connection, id, room);
            matches!(read, Ok((got, true)) if got == body).then_some(data)
        });
        (data, state.connection.wants_transmit())
    })
}
