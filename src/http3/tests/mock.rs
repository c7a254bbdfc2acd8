//! Streams in memory: one end for a peer played by the test, or two ends joined.
use crate::base::{Dir, Side, StreamId, Timestamp};
use crate::collections::Chunk;
use crate::http3::frame::{put_header, put_varint};
use crate::http3::{Field, FieldList, H3Event, Http3, Http3Config, SectionKind, Transport};
use crate::qpack::Encoder;
use crate::streams::{OpenError, ReadError, ReadOk, StreamEvent, WriteError};
use std::collections::{BTreeMap, VecDeque};

pub const NOW: Timestamp = Timestamp(1_000_000);

#[derive(Default)]
pub struct Stream {
    inbox: VecDeque<u8>,
    in_fin: bool,
    in_reset: Option<u64>,
    in_over: bool,
    /// All that was written, and how much of it the other end has.
    pub out: Vec<u8>,
    moved: usize,
    pub out_fin: bool,
    fin_moved: bool,
    pub out_reset: Option<u64>,
    reset_moved: bool,
    pub stopped: Option<u64>,
    stop_moved: bool,
    peer_stopped: Option<u64>,
    starved: bool,
    pub priority: Option<(u8, bool)>,
}

pub struct Mock {
    side: Side,
    pub streams: BTreeMap<StreamId, Stream>,
    opened: [u64; 2],
    pub allowed: [u64; 2],
    accepts: VecDeque<StreamId>,
    /// Bytes that a stream holds unsent.
    pub buffer: usize,
    /// Largest piece that a read gives out.
    pub piece: usize,
    pub closed: Option<(u64, String)>,
    pub events: VecDeque<StreamEvent>,
    /// What was said to follow, and where.
    pub expected: Vec<(StreamId, usize)>,
}

impl Mock {
    pub fn new(side: Side) -> Self {
        Self {
            side,
            streams: BTreeMap::new(),
            opened: [0; 2],
            allowed: [1000, 3],
            accepts: VecDeque::new(),
            buffer: 1 << 20,
            piece: usize::MAX,
            closed: None,
            events: VecDeque::new(),
            expected: Vec::new(),
        }
    }

    /// Bytes of the peer.
    pub fn arrive(&mut self, id: StreamId, bytes: &[u8], fin: bool) {
        if id.initiator() != self.side && !self.streams.contains_key(&id) {
            self.accepts.push_back(id);
            self.events.push_back(StreamEvent::Opened { id });
        }
        let s = self.streams.entry(id).or_default();
        s.inbox.extend(bytes);
        s.in_fin |= fin;
        self.events.push_back(StreamEvent::Readable { id });
    }

    pub fn arrive_reset(&mut self, id: StreamId, code: u64) {
        let s = self.streams.entry(id).or_default();
        if !s.in_over {
            s.inbox.clear();
            s.in_reset = Some(code);
            self.events.push_back(StreamEvent::Reset { id, code });
        }
    }

    pub fn arrive_stop(&mut self, id: StreamId, code: u64) {
        self.streams.entry(id).or_default().peer_stopped = Some(code);
        self.events.push_back(StreamEvent::Stopped { id, code });
    }

    fn is_over(&self, id: StreamId) -> bool {
        let Some(s) = self.streams.get(&id) else { return false };
        let sent = s.out_fin || s.out_reset.is_some() || s.peer_stopped.is_some();
        let received = s.in_over || s.stopped.is_some() || s.in_reset.is_some();
        match (id.dir(), id.initiator() == self.side) {
            (Dir::Bi, _) => sent && received,
            (Dir::Uni, true) => sent,
            (Dir::Uni, false) => received,
        }
    }
}

impl Transport for Mock {
    fn open(&mut self, dir: Dir) -> Result<StreamId, OpenError> {
        let n = &mut self.opened[dir as usize];
        if *n >= self.allowed[dir as usize] {
            return Err(OpenError::LimitReached);
        }
        let id = StreamId::new(self.side, dir, *n);
        *n += 1;
        self.streams.insert(id, Stream::default());
        Ok(id)
    }

    fn accept_stream(&mut self, dir: Dir) -> Option<StreamId> {
        let n = self.accepts.iter().position(|id| id.dir() == dir)?;
        self.accepts.remove(n)
    }

    fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        let room = self.writable_len(id)? as usize;
        let s = self.streams.get_mut(&id).unwrap();
        s.starved |= room < data.len();
        if room == 0 && !data.is_empty() {
            return Err(WriteError::Blocked);
        }
        let n = room.min(data.len());
        s.out.extend_from_slice(&data[..n]);
        Ok(n)
    }

    fn write_expecting(&mut self, id: StreamId, data: &[u8], more: usize) -> Result<usize, WriteError> {
        self.expected.push((id, more));
        self.write(id, data)
    }

    fn write_chunk(&mut self, id: StreamId, chunk: Chunk) -> Result<usize, WriteError> {
        self.write(id, &chunk.to_vec().unwrap())
    }

    fn writable_len(&self, id: StreamId) -> Result<u64, WriteError> {
        let s = self.streams.get(&id).ok_or(WriteError::Unknown)?;
        if let Some(code) = s.peer_stopped {
            return Err(WriteError::Stopped(code));
        }
        if s.out_fin || s.out_reset.is_some() {
            return Err(WriteError::Closed);
        }
        Ok(self.buffer.saturating_sub(s.out.len() - s.moved) as u64)
    }

    fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        self.writable_len(id)?;
        self.streams.get_mut(&id).unwrap().out_fin = true;
        Ok(())
    }

    fn reset(&mut self, id: StreamId, code: u64) -> Result<(), WriteError> {
        let s = self.streams.get_mut(&id).ok_or(WriteError::Unknown)?;
        if s.fin_moved || s.out_reset.is_some() {
            return Err(WriteError::Closed);
        }
        s.out_reset = Some(code);
        Ok(())
    }

    fn stop(&mut self, id: StreamId, code: u64) -> Result<(), ReadError> {
        let s = self.streams.get_mut(&id).ok_or(ReadError::Unknown)?;
        if s.in_over || s.in_reset.is_some() || s.stopped.is_some() {
            return Err(ReadError::Finished);
        }
        s.stopped = Some(code);
        Ok(())
    }

    fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<ReadOk, ReadError> {
        let (chunk, fin) = self.read_chunk(id, out.len())?;
        chunk.copy_to(0, &mut out[..chunk.len()]).unwrap();
        Ok(ReadOk { len: chunk.len(), fin })
    }

    fn read_chunk(&mut self, id: StreamId, max: usize) -> Result<(Chunk, bool), ReadError> {
        let piece = self.piece;
        let s = self.streams.get_mut(&id).ok_or(ReadError::Unknown)?;
        if let Some(code) = s.in_reset {
            return Err(ReadError::Reset(code));
        }
        if s.in_over || s.stopped.is_some() {
            return Err(ReadError::Finished);
        }
        if s.inbox.is_empty() && !s.in_fin {
            return Err(ReadError::Blocked);
        }
        let n = s.inbox.len().min(max).min(piece);
        let bytes: Vec<u8> = s.inbox.drain(..n).collect();
        let fin = s.in_fin && s.inbox.is_empty();
        s.in_over = fin;
        Ok((Chunk::from_vec(bytes), fin))
    }

    fn set_priority(&mut self, id: StreamId, urgency: u8, incremental: bool) {
        self.streams.get_mut(&id).unwrap().priority = Some((urgency, incremental));
    }

    fn close(&mut self, code: u64, reason: &[u8], _: Timestamp) {
        assert!(self.closed.is_none(), "closed twice");
        self.closed = Some((code, String::from_utf8(reason.to_vec()).unwrap()));
    }
}

/// An HTTP/3 endpoint and its streams.
pub struct End {
    pub h3: Http3,
    pub io: Mock,
}

/// Client-initiated request stream number `n`.
pub fn request_stream(n: u64) -> StreamId {
    StreamId::new(Side::Client, Dir::Bi, n)
}

impl End {
    pub fn with(side: Side, config: Http3Config) -> Self {
        let mut end = Self { h3: Http3::new(side, config), io: Mock::new(side) };
        end.h3.on_connected(&mut end.io, NOW);
        end
    }

    pub fn new(side: Side) -> Self {
        Self::with(side, Http3Config::default())
    }

    /// With the peer's control stream (the peer's first unidirectional stream) and SETTINGS there already.
    pub fn ready(side: Side) -> Self {
        let mut end = Self::new(side);
        end.peer_control(&[0x04, 0x00]);
        assert!(matches!(end.events().as_slice(), [H3Event::Settings { .. }]));
        end
    }

    fn peer_uni(&self, n: u64) -> StreamId {
        StreamId::new(self.io.side.peer(), Dir::Uni, n)
    }

    /// Bytes on the peer's control stream; the first call begins it.
    pub fn peer_control(&mut self, bytes: &[u8]) {
        let id = self.peer_uni(0);
        let new = !self.io.streams.contains_key(&id);
        let bytes = if new { [&[0x00], bytes].concat() } else { bytes.to_vec() };
        self.get(id, &bytes, false);
    }

    /// Bytes on the `n`-th unidirectional stream of the peer.
    pub fn peer_stream(&mut self, n: u64, bytes: &[u8], fin: bool) {
        let id = self.peer_uni(n);
        self.get(id, bytes, fin);
    }

    /// Bytes arrive and are acted on.
    pub fn get(&mut self, id: StreamId, bytes: &[u8], fin: bool) {
        self.io.arrive(id, bytes, fin);
        self.run();
    }

    /// Lets HTTP/3 see all events of the streams.
    pub fn run(&mut self) {
        while let Some(event) = self.io.events.pop_front() {
            self.h3.on_stream_event(&mut self.io, &event, NOW);
        }
        let over: Vec<StreamId> = self.io.streams.keys().copied().filter(|id| self.io.is_over(*id)).collect();
        for id in over {
            self.h3.on_stream_event(&mut self.io, &StreamEvent::Closed { id }, NOW);
        }
    }

    pub fn events(&mut self) -> Vec<H3Event> {
        self.events_and_closings().0
    }

    /// Events, and apart from them the streams that are over: each must be told once, after all else of it.
    pub fn events_and_closings(&mut self) -> (Vec<H3Event>, Vec<StreamId>) {
        let (mut events, mut closings) = (Vec::new(), Vec::new());
        while let Some(event) = self.h3.poll_event() {
            match event {
                H3Event::Closed { stream } => {
                    assert!(!closings.contains(&stream), "closed twice");
                    closings.push(stream);
                }
                H3Event::Headers { stream, .. } | H3Event::Data { stream } | H3Event::Finished { stream } => {
                    assert!(!closings.contains(&stream), "an event after the last one");
                    events.push(event);
                }
                _ => events.push(event),
            }
        }
        (events, closings)
    }

    /// Code with which the connection was closed.
    pub fn code(&self) -> Option<u64> {
        let code = self.io.closed.as_ref().map(|(code, _)| *code);
        assert_eq!(code, self.h3.failure().map(|f| f.code));
        code
    }

    /// Codes with which a stream was reset and stopped.
    pub fn cut(&self, id: StreamId) -> (Option<u64>, Option<u64>) {
        let s = &self.io.streams[&id];
        (s.out_reset, s.stopped)
    }

    /// What was written to a stream.
    pub fn wrote(&self, id: StreamId) -> &[u8] {
        &self.io.streams[&id].out
    }

    /// Reads a body to its end, or to where it is blocked.
    pub fn body(&mut self, id: StreamId) -> (Vec<u8>, bool) {
        let (mut all, mut buf) = (Vec::new(), [0; 700]);
        loop {
            match self.h3.recv_body(&mut self.io, id, &mut buf) {
                Ok((n, end)) => {
                    all.extend_from_slice(&buf[..n]);
                    if end {
                        return (all, true);
                    }
                }
                Err(crate::http3::H3Error::Blocked) => return (all, false),
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// Moves everything between two ends until nothing is left to move.
pub fn exchange(a: &mut End, b: &mut End) {
    loop {
        let moved = carry(a, b) | carry(b, a);
        a.run();
        b.run();
        if !moved {
            return;
        }
    }
}

fn carry(from: &mut End, to: &mut End) -> bool {
    let mut moved = false;
    for (id, s) in &mut from.io.streams {
        let dead = to.io.streams.get(id).is_some_and(|t| t.in_over || t.stopped.is_some());
        let fin = s.out_fin && !s.fin_moved && s.out_reset.is_none();
        if s.moved < s.out.len() || fin {
            let bytes = s.out[s.moved..].to_vec();
            s.moved = s.out.len();
            s.fin_moved |= fin;
            moved = true;
            if !dead {
                to.io.arrive(*id, &bytes, fin);
            }
            if core::mem::take(&mut s.starved) {
                from.io.events.push_back(StreamEvent::Writable { id: *id });
            }
        }
        if let (Some(code), false) = (s.out_reset, s.reset_moved) {
            s.reset_moved = true;
            moved = true;
            if !dead {
                to.io.arrive_reset(*id, code);
            }
        }
        if let (Some(code), false) = (s.stopped, s.stop_moved) {
            s.stop_moved = true;
            moved = true;
            to.io.arrive_stop(*id, code);
        }
    }
    moved
}

/// Client and server that have each other's SETTINGS.
pub fn pair() -> (End, End) {
    pair_with(Http3Config::default(), Http3Config::default())
}

pub fn pair_with(client: Http3Config, server: Http3Config) -> (End, End) {
    let (mut a, mut b) = (End::with(Side::Client, client), End::with(Side::Server, server));
    exchange(&mut a, &mut b);
    assert!(matches!(a.events().as_slice(), [H3Event::Settings { .. }]));
    assert!(matches!(b.events().as_slice(), [H3Event::Settings { .. }]));
    (a, b)
}

pub const GET: [Field<'static>; 4] = [
    Field::new(b":method", b"GET"),
    Field::new(b":scheme", b"https"),
    Field::new(b":authority", b"example.org"),
    Field::new(b":path", b"/"),
];

pub const POST: [Field<'static>; 4] = [
    Field::new(b":method", b"POST"),
    Field::new(b":scheme", b"https"),
    Field::new(b":authority", b"example.org"),
    Field::new(b":path", b"/upload"),
];

pub const OK: [Field<'static>; 1] = [Field::new(b":status", b"200")];

pub fn with<'a>(base: &[Field<'a>], more: &[(&'a str, &'a str)]) -> Vec<Field<'a>> {
    let more = more.iter().map(|(n, v)| Field::new(n.as_bytes(), v.as_bytes()));
    base.iter().copied().chain(more).collect()
}

pub fn frame(frame_type: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, frame_type, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

pub fn varint(v: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, v);
    out
}

pub fn headers(fields: &[Field<'_>]) -> Vec<u8> {
    let mut section = Vec::new();
    Encoder::new(false).encode(fields, &mut section);
    frame(0x01, &section)
}

pub fn data(bytes: &[u8]) -> Vec<u8> {
    frame(0x00, bytes)
}

pub fn list(fields: &[Field<'_>]) -> FieldList {
    fields.iter().copied().collect()
}

pub fn headers_event(stream: StreamId, kind: SectionKind, fields: &[Field<'_>], end: bool) -> H3Event {
    H3Event::Headers { stream, kind, fields: list(fields), end }
}
