//! Unidirectional streams: control and QPACK streams of both sides (RFC 9114 section 6.2, RFC 9204 section 4.2).
//!
//! Invariants: one stream of each critical type per side and the end of any of them ends the connection; a
//! stream of unknown type is stopped at once; nothing but a bounded frame payload or instruction is stored.
use super::Http3;
use super::error::{Fatal, Fault};
use super::event::H3Event;
use super::frame::{
    HeaderReader, Phase, Verdict, get_varint, judge, kind, only_varint, put_header, put_varint, stream_type,
};
use super::priority::{self, Priority};
use super::receive::READ_MAX;
use super::settings;
use super::stream::{Receiving, Sending};
use super::transport::Transport;
use crate::base::codes::h3;
use crate::base::{Dir, Side, StreamId};
use crate::streams::{ReadError, WriteError};

/// Unidirectional streams of the peer whose type is not known yet; each holds up to 7 bytes (section 6.2).
const MAX_UNTYPED: usize = 16;
/// Priorities kept for requests that have not arrived (RFC 9218 section 7).
const MAX_EARLY_PRIORITIES: usize = 64;
/// Longest PRIORITY_UPDATE payload that is read.
const MAX_PRIORITY_UPDATE: u64 = 1024;
/// Decoder instructions or control frames that the peer's flow control may make us hold.
const MAX_UNSENT: usize = 64 * 1024;
/// Largest identifier in a GOAWAY of a server and of a client (section 5.2).
const LARGEST_REQUEST: u64 = (1 << 62) - 4;
const LARGEST_PUSH: u64 = (1 << 62) - 1;

/// What a unidirectional stream of the peer turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UniKind {
    Untyped,
    Control,
    Encoder,
    Decoder,
}

struct Uni {
    id: StreamId,
    kind: UniKind,
    /// Start of the stream type.
    header: [u8; 8],
    have: u8,
}

/// One of our critical streams.
#[derive(Default)]
struct Outgoing {
    id: Option<StreamId>,
    unsent: Vec<u8>,
}

impl Outgoing {
    /// Opens the stream if need be and writes what waits. `false`: the stream could not be opened yet.
    fn flush<T: Transport>(&mut self, conn: &mut T) -> Result<bool, Fatal> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        let id = match self.id {
            Some(id) => id,
            None => match conn.open(Dir::Uni) {
                Ok(id) => *self.id.insert(id),
                Err(_) => return Ok(false),
            },
        };
        while !self.unsent.is_empty() {
            match conn.write(id, &self.unsent) {
                Ok(0) | Err(WriteError::Blocked) => break,
                Ok(n) => drop(self.unsent.drain(..n.min(self.unsent.len()))),
                // Section 6.2.1: nobody may end a critical stream.
                Err(WriteError::Stopped(_)) => return Err(CLOSED_CRITICAL),
                // We never end one ourselves: the whole connection is over.
                Err(WriteError::Closed | WriteError::Unknown) => break,
            }
        }
        if self.unsent.len() > MAX_UNSENT {
            return Err(Fatal::new(h3::EXCESSIVE_LOAD, "critical stream blocked for too long"));
        }
        Ok(true)
    }
}

const CLOSED_CRITICAL: Fatal = Fatal::new(h3::CLOSED_CRITICAL_STREAM, "critical stream closed");

/// Both sides' critical streams.
pub(super) struct Control {
    control: Outgoing,
    encoder: Outgoing,
    decoder: Outgoing,
    started: bool,
    /// Streams of the peer that are read.
    uni: Vec<Uni>,
    phase: Phase,
    reader: HeaderReader,
    /// Frame being read from the peer's control stream: type and bytes still missing.
    frame: Option<(u64, u64)>,
    payload: Vec<u8>,
    max_push_id: Option<u64>,
    early: Vec<(u64, Priority)>,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            control: Outgoing::default(),
            encoder: Outgoing::default(),
            decoder: Outgoing::default(),
            started: false,
            uni: Vec::new(),
            phase: Phase::ControlStart,
            reader: HeaderReader::default(),
            frame: None,
            payload: Vec::new(),
            max_push_id: None,
            early: Vec::new(),
        }
    }

    /// One of the streams that must never end.
    fn is_ours(&self, id: StreamId) -> bool {
        [&self.control, &self.encoder, &self.decoder].iter().any(|o| o.id == Some(id))
    }

    /// A priority that came before its request.
    pub(super) fn take_early(&mut self, id: StreamId) -> Option<Priority> {
        let n = self.early.iter().position(|(i, _)| *i == id.0)?;
        Some(self.early.swap_remove(n).1)
    }
}

impl Http3 {
    /// SETTINGS first, then the QPACK streams (section 6.2: critical streams before all others).
    pub(super) fn start<T: Transport>(&mut self, conn: &mut T) -> Result<(), Fatal> {
        let c = &mut self.control;
        if !c.started {
            c.started = true;
            let n = self.core.now.as_nanos();
            put_varint(&mut c.control.unsent, stream_type::CONTROL);
            settings::write(&mut c.control.unsent, &self.core.config, self.core.side, n);
            if self.core.config.grease {
                put_header(&mut c.control.unsent, settings::reserved(n >> 3), 0);
            }
            put_varint(&mut c.encoder.unsent, stream_type::QPACK_ENCODER);
            put_varint(&mut c.decoder.unsent, stream_type::QPACK_DECODER);
        }
        self.flush_control(conn)
    }

    /// Writes what waits for our critical streams.
    pub(super) fn flush_control<T: Transport>(&mut self, conn: &mut T) -> Result<(), Fatal> {
        let c = &mut self.control;
        if !c.started {
            return Ok(());
        }
        let instructions = self.core.decoder.output();
        if !instructions.is_empty() {
            c.decoder.unsent.append(instructions);
        }
        if c.control.unsent.is_empty() && c.encoder.unsent.is_empty() && c.decoder.unsent.is_empty() {
            return Ok(());
        }
        let _ = c.control.flush(conn)? && c.encoder.flush(conn)? && c.decoder.flush(conn)?;
        Ok(())
    }

    /// Takes a new unidirectional stream of the peer.
    pub(super) fn accept_uni<T: Transport>(&mut self, conn: &mut T, id: StreamId) {
        let untyped = self.control.uni.iter().filter(|u| u.kind == UniKind::Untyped).count();
        if untyped >= MAX_UNTYPED {
            let _ = conn.stop(id, h3::STREAM_CREATION_ERROR);
            return;
        }
        self.control.uni.push(Uni { id, kind: UniKind::Untyped, header: [0; 8], have: 0 });
    }

    /// Reads a unidirectional stream of the peer as far as it goes.
    pub(super) fn read_uni<T: Transport>(&mut self, conn: &mut T, id: StreamId) -> Result<(), Fatal> {
        while self.control.uni.iter().any(|u| u.id == id) {
            match conn.read_chunk(id, READ_MAX) {
                Ok((chunk, fin)) => {
                    let bytes = chunk.as_slice().unwrap_or(&[]);
                    self.uni_bytes(conn, id, bytes)?;
                    if fin {
                        return self.uni_ended(id);
                    }
                    if bytes.is_empty() {
                        return Ok(());
                    }
                }
                Err(ReadError::Reset(_)) => return self.uni_ended(id),
                Err(ReadError::Blocked | ReadError::Finished | ReadError::Unknown) => return Ok(()),
            }
        }
        Ok(())
    }

    /// A unidirectional stream of the peer has ended, cleanly or not.
    pub(super) fn uni_ended(&mut self, id: StreamId) -> Result<(), Fatal> {
        let Some(n) = self.control.uni.iter().position(|u| u.id == id) else { return Ok(()) };
        // Section 6.2: before its type is known a stream may end as it likes.
        if self.control.uni.swap_remove(n).kind == UniKind::Untyped { Ok(()) } else { Err(CLOSED_CRITICAL) }
    }

    /// The peer stopped, or the transport lost, a stream of ours.
    pub(super) fn our_uni_ended(&self, id: StreamId) -> Result<(), Fatal> {
        if self.control.is_ours(id) { Err(CLOSED_CRITICAL) } else { Ok(()) }
    }

    fn uni_bytes<T: Transport>(&mut self, conn: &mut T, id: StreamId, mut bytes: &[u8]) -> Result<(), Fatal> {
        let Some(n) = self.control.uni.iter().position(|u| u.id == id) else { return Ok(()) };
        if self.control.uni.get(n).is_some_and(|u| u.kind == UniKind::Untyped) {
            let Some((known, used)) = self.control.uni.get_mut(n).and_then(|u| type_of(u, bytes)) else {
                return Ok(());
            };
            bytes = bytes.get(used..).unwrap_or(&[]);
            self.uni_typed(conn, n, id, known)?;
        }
        match self.control.uni.get(n).filter(|u| u.id == id).map(|u| u.kind) {
            Some(UniKind::Control) => self.control_bytes(conn, bytes),
            Some(UniKind::Encoder) => {
                self.core.decoder.on_encoder_stream(bytes).map_err(fatal)?;
                self.unblock(conn);
                Ok(())
            }
            Some(UniKind::Decoder) => self.core.encoder.on_decoder_stream(bytes).map_err(fatal),
            Some(UniKind::Untyped) | None => Ok(()),
        }
    }

    /// The type of the `n`-th stream is known now.
    fn uni_typed<T: Transport>(&mut self, conn: &mut T, n: usize, id: StreamId, known: u64) -> Result<(), Fatal> {
        let found = match known {
            stream_type::CONTROL => UniKind::Control,
            stream_type::QPACK_ENCODER => UniKind::Encoder,
            stream_type::QPACK_DECODER => UniKind::Decoder,
            // Section 6.2.2: clients cannot push, and we never allowed servers to.
            stream_type::PUSH if self.core.side == Side::Server => {
                return Err(Fatal::new(h3::STREAM_CREATION_ERROR, "push stream from a client"));
            }
            stream_type::PUSH => return Err(Fatal::new(h3::ID_ERROR, "push was never allowed")),
            _ => {
                // Section 6.2: unknown types are not an error.
                let _ = conn.stop(id, h3::STREAM_CREATION_ERROR);
                self.control.uni.swap_remove(n);
                return Ok(());
            }
        };
        if self.control.uni.iter().any(|u| u.kind == found) {
            return Err(Fatal::new(h3::STREAM_CREATION_ERROR, "second critical stream of one type"));
        }
        if let Some(uni) = self.control.uni.get_mut(n) {
            uni.kind = found;
        }
        Ok(())
    }

    fn unblock<T: Transport>(&mut self, conn: &mut T) {
        while let Some(id) = self.core.decoder.next_unblocked() {
            let id = StreamId(id);
            let Some(slot) = self.table.get_mut(id) else { continue };
            if let Err(fault) = self.core.unblock(conn, slot) {
                self.core.fault(conn, slot, fault);
            }
            self.sweep(id);
        }
    }

    fn control_bytes<T: Transport>(&mut self, conn: &mut T, mut bytes: &[u8]) -> Result<(), Fatal> {
        while !bytes.is_empty() {
            let Some((frame_type, left)) = self.control.frame else {
                let (used, frame) = self.control.reader.feed(bytes);
                bytes = bytes.get(used..).unwrap_or(&[]);
                if let Some((frame_type, length)) = frame {
                    self.begin_control_frame(frame_type, length)?;
                    if length == 0 {
                        self.end_control_frame(conn, frame_type)?;
                    }
                }
                continue;
            };
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
            bytes = rest;
            if is_known(frame_type) {
                self.control.payload.extend_from_slice(part);
            }
            let left = left.saturating_sub(n as u64);
            self.control.frame = Some((frame_type, left));
            if left == 0 {
                self.end_control_frame(conn, frame_type)?;
            }
        }
        Ok(())
    }

    /// Whether the frame may be here at all, and is short enough to be stored, before any of it is.
    fn begin_control_frame(&mut self, frame_type: u64, length: u64) -> Result<(), Fatal> {
        match judge(frame_type, self.core.side, self.control.phase) {
            Verdict::Refuse(fatal) => return Err(fatal),
            Verdict::Skip => {}
            Verdict::Accept => {
                let most = match frame_type {
                    kind::SETTINGS => settings::MAX_PAYLOAD,
                    kind::PRIORITY_UPDATE_REQUEST => MAX_PRIORITY_UPDATE,
                    // Section 7.1: one integer.
                    _ if length > 8 => {
                        return Err(Fatal::new(h3::FRAME_ERROR, "frame length does not fit its payload"));
                    }
                    _ => 8,
                };
                if length > most {
                    return Err(Fatal::new(h3::EXCESSIVE_LOAD, "control frame too long"));
                }
            }
        }
        self.control.payload.clear();
        self.control.frame = Some((frame_type, length));
        Ok(())
    }

    fn end_control_frame<T: Transport>(&mut self, conn: &mut T, frame_type: u64) -> Result<(), Fatal> {
        self.control.frame = None;
        let payload = core::mem::take(&mut self.control.payload);
        let outcome = match frame_type {
            kind::SETTINGS => self.on_settings(&payload),
            kind::GOAWAY => only_varint(&payload).and_then(|id| self.on_goaway(conn, id)),
            kind::MAX_PUSH_ID => only_varint(&payload).and_then(|id| self.on_max_push_id(id)),
            kind::PRIORITY_UPDATE_REQUEST => self.on_priority_update(conn, &payload),
            _ => Ok(()),
        };
        self.control.payload = payload;
        outcome
    }

    fn on_settings(&mut self, payload: &[u8]) -> Result<(), Fatal> {
        let peer = settings::parse(payload)?;
        self.control.phase = Phase::Control;
        self.core.peer = peer;
        self.core.events.push_back(H3Event::Settings {
            max_field_section_size: peer.max_field_section_size,
            extended_connect: peer.extended_connect,
            h3_datagram: peer.h3_datagram,
        });
        Ok(())
    }

    /// Section 5.2.
    fn on_goaway<T: Transport>(&mut self, conn: &mut T, id: u64) -> Result<(), Fatal> {
        if self.core.side.is_client() && !id.is_multiple_of(4) {
            // Section 7.2.6.
            return Err(Fatal::new(h3::ID_ERROR, "GOAWAY does not name a request stream"));
        }
        if self.core.goaway_received.is_some_and(|before| id > before) {
            return Err(Fatal::new(h3::ID_ERROR, "GOAWAY with a larger identifier"));
        }
        self.core.goaway_received = Some(id);
        self.core.events.push_back(H3Event::Goaway { id });
        if self.core.side.is_server() {
            return Ok(());
        }
        for stream in self.table.ids_from(id) {
            let Some(slot) = self.table.get_mut(stream) else { continue };
            if matches!(slot.recv.state, Receiving::Open) {
                // Not processed by the server: safe to send again, which the code tells the application.
                self.core.cancel(conn, slot, h3::REQUEST_CANCELLED);
                slot.recv.state = Receiving::Reset(h3::REQUEST_REJECTED);
                let code = h3::REQUEST_REJECTED;
                self.core.events.push_back(H3Event::Reset { stream, code, by_peer: true });
            }
            self.sweep(stream);
        }
        Ok(())
    }

    /// Section 7.2.7: we never push, but the rule holds.
    fn on_max_push_id(&mut self, id: u64) -> Result<(), Fatal> {
        if self.control.max_push_id.is_some_and(|before| id < before) {
            return Err(Fatal::new(h3::ID_ERROR, "MAX_PUSH_ID reduced"));
        }
        self.control.max_push_id = Some(id);
        Ok(())
    }

    /// RFC 9218 section 7.2.
    fn on_priority_update<T: Transport>(&mut self, conn: &mut T, payload: &[u8]) -> Result<(), Fatal> {
        let Some((id, used)) = get_varint(payload) else {
            return Err(Fatal::new(h3::FRAME_ERROR, "PRIORITY_UPDATE cut off"));
        };
        let stream = StreamId(id);
        if stream.dir() != Dir::Bi || stream.initiator() != Side::Client {
            return Err(Fatal::new(h3::ID_ERROR, "PRIORITY_UPDATE for something that is not a request"));
        }
        let p = priority::parse(payload.get(used..).unwrap_or(&[]));
        if let Some(slot) = self.table.get_mut(stream) {
            slot.prioritised = true;
            if slot.send.state != Sending::Dead {
                conn.set_priority(stream, p.urgency, p.incremental);
                self.core.events.push_back(H3Event::Priority {
                    stream,
                    urgency: p.urgency,
                    incremental: p.incremental,
                });
            }
            return Ok(());
        }
        if id < self.core.next_request {
            // Over already.
            return Ok(());
        }
        // Beyond any limit that we can have given: each open stream moves it by one.
        let limit = self.core.next_request.saturating_add(u64::from(self.core.config.max_concurrent).saturating_mul(4));
        if id >= limit {
            return Err(Fatal::new(h3::ID_ERROR, "PRIORITY_UPDATE beyond the stream limit"));
        }
        let _ = self.control.take_early(stream);
        if self.control.early.len() < MAX_EARLY_PRIORITIES {
            self.control.early.push((id, p));
        }
        Ok(())
    }

    /// Sends GOAWAY (section 5.2).
    pub(super) fn send_goaway<T: Transport>(&mut self, conn: &mut T, announce: bool) -> Result<(), Fatal> {
        let id = match (self.core.side, announce) {
            (Side::Server, true) => LARGEST_REQUEST,
            (Side::Server, false) => self.core.next_request,
            (Side::Client, true) => LARGEST_PUSH,
            // No push was ever allowed, so none is accepted.
            (Side::Client, false) => 0,
        };
        // Never larger than before; the same one again says nothing new.
        if self.core.goaway_sent.is_some_and(|before| id >= before) {
            return Ok(());
        }
        self.core.goaway_sent = Some(id);
        let mut payload = Vec::with_capacity(8);
        put_varint(&mut payload, id);
        put_header(&mut self.control.control.unsent, kind::GOAWAY, payload.len() as u64);
        self.control.control.unsent.extend_from_slice(&payload);
        self.start(conn)
    }
}

/// Whether the payload of this frame is wanted.
const fn is_known(frame_type: u64) -> bool {
    matches!(frame_type, kind::SETTINGS | kind::GOAWAY | kind::MAX_PUSH_ID | kind::PRIORITY_UPDATE_REQUEST)
}

fn fatal(e: crate::qpack::QpackError) -> Fatal {
    match Fault::from(e) {
        Fault::Connection(fatal) => fatal,
        // Only sections can be too large, and they are not read here.
        Fault::Stream(code, reason) => Fatal::new(code, reason),
    }
}

/// Collects the stream type; gives it and how many of these bytes it took.
fn type_of(uni: &mut Uni, bytes: &[u8]) -> Option<(u64, usize)> {
    for (i, b) in bytes.iter().enumerate() {
        if let Some(slot) = uni.header.get_mut(usize::from(uni.have)) {
            *slot = *b;
            uni.have = uni.have.saturating_add(1);
        }
        let known = uni.header.get(..usize::from(uni.have)).unwrap_or(&[]);
        if let Some((found, _)) = get_varint(known) {
            return Some((found, i.saturating_add(1)));
        }
    }
    None
}
