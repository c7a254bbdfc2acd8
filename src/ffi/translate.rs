//! From events of connection and HTTP/3 to events of the C ABI, one by one, in order, on a worker with no lock held.
use super::abi::*;
use super::conn::{ConnObject, path_text};
use super::events::Record;
use super::object::{Ends, Known};
use super::stream::{StreamObject, is_request, number_of};
use crate::base::{FourTuple, Level, Side, StreamId};
use crate::connection::{Event, MoveReason};
use crate::http3::{H3Event, SectionKind};
use crate::runtime::{Conn, ConnEvent};
use crate::streams::{DatagramState, StreamEvent};
use std::collections::hash_map::Entry;
use std::sync::Arc;

fn level_number(level: Level) -> u64 {
    u64::from(match level {
        Level::Initial => WB_LEVEL_INITIAL,
        Level::ZeroRtt => WB_LEVEL_EARLY,
        Level::Handshake => WB_LEVEL_HANDSHAKE,
        Level::OneRtt => WB_LEVEL_ONE_RTT,
    })
}

const fn move_number(why: MoveReason) -> u32 {
    match why {
        MoveReason::Moved => WB_MOVE_ADDRESS,
        MoveReason::Rebinding => WB_MOVE_REBINDING,
        MoveReason::Preferred => WB_MOVE_PREFERRED,
        MoveReason::Returned => WB_MOVE_BACK,
    }
}

/// The stream of the last event of a batch: the next one is often of the same, and finds it without a lock. It is forgotten with
/// its stream's end and with every event of the connection itself, so that none is found here that the table has lost.
#[derive(Default)]
pub(crate) struct Recent {
    stream: Option<Arc<StreamObject>>,
    /// The event that told of it stands for its first READABLE too, which would come next.
    stands: bool,
}

impl Recent {
    /// The first READABLE of this stream needs not be told.
    fn stood_for(&mut self, id: StreamId) -> bool {
        core::mem::take(&mut self.stands) && self.stream.as_ref().is_some_and(|stream| stream.id == id)
    }
}

impl ConnObject {
    /// Takes one event of the runtime.
    pub fn on_event(self: &Arc<Self>, conn: &Arc<Conn>, event: ConnEvent, recent: &mut Recent) {
        match event {
            // An attempt at another address has nothing to say, unless it is the one that counts from now on.
            event if !self.is_current(conn) && !self.on_rival(conn, &event) => {}
            ConnEvent::Quic(Event::Stream(event)) => self.on_stream(conn, event, recent),
            ConnEvent::Http3(event) => self.on_http3(conn, event, recent),
            event => {
                *recent = Recent::default();
                self.on_other(conn, event);
            }
        }
    }

    fn on_other(self: &Arc<Self>, conn: &Arc<Conn>, event: ConnEvent) {
        match event {
            ConnEvent::Unreachable { os_error } => self.note_unreachable(os_error),
            ConnEvent::Quic(event) => self.on_quic(conn, event),
            ConnEvent::Poisoned => {
                self.finish(super::error::Fail::new(
                    super::status::WB_E_PANIC,
                    "the library failed inside; please report",
                ));
            }
            // Streams' events were dealt with; the caller deals with the end, because it gives the tag back.
            ConnEvent::Http3(_) | ConnEvent::Drained => {}
        }
    }

    fn on_quic(self: &Arc<Self>, conn: &Arc<Conn>, event: Event) {
        match event {
            Event::Decision(question) => self.on_question(conn, question),
            Event::HandshakeData | Event::Secret { .. } | Event::Drained | Event::Stream(_) => {}
            Event::KeysInstalled { level, cipher } => {
                if level == Level::Handshake {
                    self.settle(conn);
                }
                self.note_cipher(cipher.wire_id());
                self.note_early_keys(level);
                let mut record = self.record(WB_EV_KEYS_INSTALLED);
                record.event.flags = match (level, self.side()) {
                    (Level::ZeroRtt, Side::Client) => WB_EVF_WRITE,
                    (Level::ZeroRtt, Side::Server) => WB_EVF_READ,
                    _ => WB_EVF_READ | WB_EVF_WRITE,
                };
                self.emit(record.numbers(level_number(level), u64::from(cipher.wire_id())));
            }
            Event::KeyUpdated { by_peer, phase } => {
                let by = if by_peer { "the peer" } else { "us" };
                self.say(WB_LOG_DEBUG, c"keys", || format!("key update {phase}, begun by {by}"));
                self.emit(self.record(WB_EV_KEY_UPDATED).numbers(phase, u64::from(by_peer)));
            }
            Event::Connected { zero_rtt_accepted, resumed } => self.on_connected(conn, zero_rtt_accepted, resumed),
            Event::HandshakeConfirmed => self.emit(self.record(WB_EV_CONFIRMED)),
            Event::DatagramReceived => self.on_datagrams(conn),
            Event::DatagramState { tag, state } => {
                let fate = match state {
                    DatagramState::Sent => WB_DATAGRAM_SENT,
                    DatagramState::Acknowledged => WB_DATAGRAM_ACKED,
                    DatagramState::Lost => WB_DATAGRAM_LOST,
                    DatagramState::Dropped => WB_DATAGRAM_DROPPED,
                };
                self.emit(self.record(WB_EV_DATAGRAM_STATE).numbers(tag, u64::from(fate)));
            }
            Event::PathNew { path, tuple } => {
                self.on_path(conn, WB_EV_PATH_NEW, path, &tuple, WB_PATH_VALIDATING);
            }
            Event::PathValidated { path, tuple } => {
                self.on_path(conn, WB_EV_PATH_VALIDATED, path, &tuple, WB_PATH_VALID);
            }
            Event::PathFailed { path, tuple } => {
                self.say(WB_LOG_INFO, c"path", || {
                    format!("no answer on {}", String::from_utf8_lossy(&path_text(&tuple, conn.local_addr())))
                });
                self.on_path(conn, WB_EV_PATH_FAILED, path, &tuple, WB_PATH_FAILED);
            }
            Event::Migrated { path, tuple, by_peer, why } => {
                self.say(WB_LOG_INFO, c"path", || {
                    let by = if by_peer { "the peer" } else { "us" };
                    format!(
                        "moved by {by} ({why:?}) to {}",
                        String::from_utf8_lossy(&path_text(&tuple, conn.local_addr()))
                    )
                });
                let record = self.path_record(conn, WB_EV_PATH_MIGRATED, path, &tuple, None);
                self.emit(record.numbers(u64::from(by_peer), u64::from(move_number(why))));
            }
            Event::NewToken(token) => self.emit(self.record(WB_EV_NEW_TOKEN).bytes(token)),
            Event::Closed(reason) => {
                self.on_closed(conn, &reason);
            }
        }
    }

    fn on_connected(self: &Arc<Self>, conn: &Arc<Conn>, zero_rtt_accepted: Option<bool>, resumed: bool) {
        self.note_connected();
        match zero_rtt_accepted {
            Some(true) => self.emit(self.record(WB_EV_ZERO_RTT_ACCEPTED)),
            Some(false) => self.emit(self.record(WB_EV_ZERO_RTT_REJECTED)),
            None => {}
        }
        let alpn = conn.inspect(|s| s.connection.alpn().map(<[u8]>::to_vec)).unwrap_or_default();
        self.emit(self.record(WB_EV_CONNECTED).numbers(u64::from(resumed), 0).bytes(alpn));
    }

    fn on_datagrams(self: &Arc<Self>, conn: &Arc<Conn>) {
        while let Some(bytes) = conn.with_hint(|s| (s.connection.datagram_recv(), false)) {
            let mut record = self.record(WB_EV_DATAGRAM).bytes(bytes);
            if self.is_unproven(conn) {
                record.event.flags |= WB_EVF_EARLY;
            }
            self.emit(record);
        }
    }

    fn path_record(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        kind: u16,
        number: u8,
        tuple: &FourTuple,
        state: Option<u32>,
    ) -> Record {
        let local = conn.local_addr();
        let mut record = self.record(kind).bytes(path_text(tuple, local));
        if let Some(path) = self.path(number, kind == WB_EV_PATH_NEW) {
            path.note(state.unwrap_or(WB_PATH_VALID), tuple, local);
            record.event.path = path.meta().handle();
        }
        record
    }

    fn on_path(self: &Arc<Self>, conn: &Arc<Conn>, kind: u16, number: u8, tuple: &FourTuple, state: u32) {
        let mut record = self.path_record(conn, kind, number, tuple, Some(state));
        if state == WB_PATH_FAILED
            && let Some(path) = self.forget_path(number)
        {
            record = record.ends(path as Arc<dyn Ends>);
        }
        self.emit(record);
    }

    // ------------------------------------------------------------------------------------------ streams

    fn known_stream<'a>(&self, id: StreamId, recent: &'a mut Recent) -> Option<&'a Arc<StreamObject>> {
        if recent.stream.as_ref().is_none_or(|stream| stream.id != id) {
            let found = self.streams.lock().get(&id).cloned();
            // Not under the lock: the one before may end here, and its destructors are the application's.
            *recent = Recent { stream: found, stands: false };
        }
        recent.stream.as_ref()
    }

    /// The object of a stream that the peer opened; refused when there is no handle for it.
    fn peer_stream<'a>(
        self: &Arc<Self>,
        conn: &Arc<Conn>,
        id: StreamId,
        http3: bool,
        recent: &'a mut Recent,
    ) -> Option<&'a Arc<StreamObject>> {
        let found = match self.streams.lock().entry(id) {
            Entry::Occupied(known) => Ok(Arc::clone(known.get())),
            Entry::Vacant(place) => StreamObject::new(self, Arc::clone(conn), id, http3, true).inspect(|stream| {
                place.insert(Arc::clone(stream));
            }),
        };
        *recent = Recent { stream: found.ok(), stands: false };
        if recent.stream.is_none() {
            conn.with(|s, _| {
                let _ = s.connection.reset(id, crate::base::codes::h3::REQUEST_REJECTED);
                let _ = s.connection.stop(id, crate::base::codes::h3::REQUEST_REJECTED);
            });
        }
        recent.stream.as_ref()
    }

    fn notice(&self, id: StreamId, kind: u16, recent: &mut Recent) {
        if let Some(stream) = self.known_stream(id, recent) {
            stream.tell(kind, 0);
        }
    }

    fn notice_unless(&self, id: StreamId, kind: u16, unwanted: fn(&StreamObject) -> bool, recent: &mut Recent) {
        if let Some(stream) = self.known_stream(id, recent).filter(|stream| !unwanted(stream)) {
            stream.tell(kind, 0);
        }
    }

    fn on_stream(self: &Arc<Self>, conn: &Arc<Conn>, event: StreamEvent, recent: &mut Recent) {
        match event {
            StreamEvent::Opened { id } => {
                if let Some(stream) = self.peer_stream(conn, id, false, recent) {
                    stream.tell(WB_EV_STREAM_INCOMING, 0);
                    recent.stands = self.spares(WB_SPARE_FIRST_READABLE);
                }
            }
            StreamEvent::Readable { id } if recent.stood_for(id) => {}
            StreamEvent::Readable { id } => self.notice(id, WB_EV_STREAM_READABLE, recent),
            StreamEvent::Writable { id } => self.notice(id, WB_EV_STREAM_WRITABLE, recent),
            StreamEvent::Finished { .. } if self.spares(WB_SPARE_SEND_DONE) => {}
            StreamEvent::Finished { id } => self.notice(id, WB_EV_STREAM_SEND_DONE, recent),
            StreamEvent::Stopped { id, code } => self.on_stopped(id, code, recent),
            StreamEvent::Reset { id, code } => self.on_reset(id, code, recent),
            // The application revoked the memory itself and needs no event; STREAM_CLOSED follows in its time.
            StreamEvent::Revoked { .. } => {}
            StreamEvent::Available { dir } => {
                // With HTTP/3 the request limit is told by HTTP/3.
                if !conn.inspect(|s| s.http3.is_some()) {
                    self.emit(self.record(WB_EV_STREAMS_AVAILABLE).numbers(number_of(dir), 0));
                }
            }
            // A request is over when HTTP/3 says so: its fields may still wait for the encoder stream.
            StreamEvent::Closed { id } => {
                if self.known_stream(id, recent).is_some_and(|stream| !stream.is_http3()) {
                    self.finish_stream(id, recent);
                }
            }
        }
    }

    fn finish_stream(&self, id: StreamId, recent: &mut Recent) {
        *recent = Recent::default();
        let stream = self.streams.lock().remove(&id);
        if let Some(stream) = stream {
            stream.finish();
        }
    }

    fn on_stopped(&self, id: StreamId, code: u64, recent: &mut Recent) {
        if let Some(stream) = self.known_stream(id, recent) {
            stream.note_stopped(code);
            stream.tell(WB_EV_STREAM_STOPPED, code);
        }
    }

    fn on_reset(&self, id: StreamId, code: u64, recent: &mut Recent) {
        if let Some(stream) = self.known_stream(id, recent) {
            stream.note_reset(code);
            stream.tell(WB_EV_STREAM_RESET, code);
        }
    }

    fn on_http3(self: &Arc<Self>, conn: &Arc<Conn>, event: H3Event, recent: &mut Recent) {
        match event {
            H3Event::Settings { .. } => self.emit(self.record(WB_EV_H3_SETTINGS)),
            H3Event::Headers { stream: id, kind, fields, end } => {
                let stream = match kind {
                    _ if !is_request(id) => None,
                    SectionKind::Request => self.peer_stream(conn, id, true, recent),
                    _ => self.known_stream(id, recent),
                };
                let Some(stream) = stream else { return };
                let status = stream.note_fields(kind, fields, end);
                if matches!(kind, SectionKind::Request | SectionKind::Response)
                    && self.tell_message(conn, stream, status, end)
                {
                    return;
                }
                let event = match kind {
                    SectionKind::Request | SectionKind::Response => WB_EV_H3_HEADERS,
                    SectionKind::Informational => WB_EV_H3_INFO,
                    SectionKind::Trailers => WB_EV_H3_TRAILERS,
                };
                let mut record = stream.record(event).numbers(status, 0);
                if end {
                    record.event.flags |= WB_EVF_FIN;
                }
                self.emit(record);
                if end && kind == SectionKind::Trailers {
                    // A receive call that found nothing was promised this.
                    stream.tell(WB_EV_STREAM_READABLE, 0);
                }
            }
            H3Event::Data { stream } => {
                self.notice_unless(stream, WB_EV_STREAM_READABLE, StreamObject::was_whole, recent)
            }
            H3Event::Finished { .. } if self.spares(WB_SPARE_SEND_DONE) => {}
            H3Event::Finished { stream } => {
                self.notice_unless(stream, WB_EV_STREAM_SEND_DONE, StreamObject::is_done, recent)
            }
            H3Event::Writable { stream } => self.notice(stream, WB_EV_STREAM_WRITABLE, recent),
            H3Event::Reset { stream, code, .. } => self.on_reset(stream, code, recent),
            H3Event::Stopped { stream, code } => self.on_stopped(stream, code, recent),
            H3Event::Closed { stream } => self.finish_stream(stream, recent),
            H3Event::Priority { .. } => {}
            H3Event::Goaway { id } => self.emit(self.record(WB_EV_H3_GOAWAY).numbers(id, 0)),
            H3Event::RequestsAvailable => {
                self.emit(self.record(WB_EV_STREAMS_AVAILABLE).numbers(u64::from(WB_STREAM_BIDI), 0));
            }
        }
    }
}
