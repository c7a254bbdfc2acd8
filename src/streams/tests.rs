//! Two tables of streams joined by a lossy exchange of frames, and the rules about frames that a peer must not send.
mod reliable_resets;
mod resets;

use std::collections::HashMap;

use super::*;
use crate::base::codes::transport as codes;
use crate::base::{Pcg, Rng};
use crate::collections::Chunk;
use crate::collections::chunk::lender::Lender;
use crate::recovery::FrameToken;
use crate::wire::frame::{Frame, Frames};
use crate::wire::writer::Writer;

fn parameters(c: &StreamsConfig) -> TransportParameters {
    TransportParameters {
        initial_max_data: c.connection_window,
        initial_max_stream_data_bidi_local: c.stream_window_bidi_local,
        initial_max_stream_data_bidi_remote: c.stream_window_bidi_remote,
        initial_max_stream_data_uni: c.stream_window_uni,
        initial_max_streams_bidi: c.max_streams_bidi,
        initial_max_streams_uni: c.max_streams_uni,
        reset_stream_at: true,
        ..TransportParameters::default()
    }
}

fn small() -> StreamsConfig {
    StreamsConfig {
        stream_window_bidi_local: 4000,
        stream_window_bidi_remote: 4000,
        stream_window_uni: 3000,
        stream_window_max: 20_000,
        connection_window: 6000,
        connection_window_max: 40_000,
        max_streams_bidi: 8,
        max_streams_uni: 4,
        send_buffer: 10_000,
        send_buffer_max: 0,
        send_buffer_connection: 30_000,
        revoked_code: 0x77,
        ..StreamsConfig::default()
    }
}

fn pair(config: &StreamsConfig) -> (Streams, Streams) {
    let (mut client, mut server) = (Streams::new(Side::Client, config), Streams::new(Side::Server, config));
    client.set_peer_limits(&parameters(config));
    server.set_peer_limits(&parameters(config));
    (client, server)
}

struct Packet {
    payload: Vec<u8>,
    tokens: Vec<FrameToken>,
}

fn packet(from: &mut Streams, room: usize) -> Option<Packet> {
    let mut payload = vec![0; room];
    let mut tokens = Vec::new();
    let mut w = Writer::new(&mut payload);
    from.write_control(&mut w, &mut tokens);
    from.write_stream_frames(&mut w, &mut tokens);
    let n = w.position();
    payload.truncate(n);
    assert_eq!(tokens.is_empty(), n == 0);
    (n > 0).then_some(Packet { payload, tokens })
}

fn receive(to: &mut Streams, payload: &[u8], now: Timestamp) -> Result<(), TransportError> {
    for frame in Frames::new(payload) {
        match frame.expect("we write valid frames").1 {
            Frame::Stream { id, offset, fin, data } => to.on_stream(id, offset, data, fin, now)?,
            Frame::ResetStream { id, code, final_size } => to.on_reset_stream(id, code, final_size)?,
            Frame::ResetStreamAt { id, code, final_size, reliable_size } => {
                to.on_reset_stream_at(id, code, final_size, reliable_size)?;
            }
            Frame::StopSending { id, code } => to.on_stop_sending(id, code)?,
            Frame::MaxData(max) => to.on_max_data(max),
            Frame::MaxStreamData { id, max } => to.on_max_stream_data(id, max)?,
            Frame::MaxStreams { dir, max } => to.on_max_streams(dir, max)?,
            Frame::DataBlocked(limit) => to.on_data_blocked(limit),
            Frame::StreamDataBlocked { id, limit } => to.on_stream_data_blocked(id, limit)?,
            Frame::StreamsBlocked { dir, limit } => to.on_streams_blocked(dir, limit)?,
            other => panic!("not ours: {other:?}"),
        }
    }
    Ok(())
}

/// Everything both have to say, without loss, until they fall silent.
fn settle(a: &mut Streams, b: &mut Streams) {
    loop {
        let mut quiet = true;
        for flip in [false, true] {
            let (from, to) = if flip { (&mut *b, &mut *a) } else { (&mut *a, &mut *b) };
            while let Some(p) = packet(from, 1200) {
                quiet = false;
                receive(to, &p.payload, Timestamp(1)).unwrap();
                p.tokens.iter().for_each(|t| from.on_token_acked(t));
            }
            assert!(!from.wants_to_send(), "wants to send, and has nothing");
        }
        if quiet {
            return;
        }
    }
}

fn events(s: &mut Streams) -> Vec<StreamEvent> {
    core::iter::from_fn(|| s.poll_event()).collect()
}

fn read_all(s: &mut Streams, id: StreamId) -> (Vec<u8>, bool) {
    let (mut all, mut buf) = (Vec::new(), [0; 777]);
    loop {
        match s.read(id, &mut buf) {
            Ok(ReadOk { len, fin }) => {
                all.extend_from_slice(&buf[..len]);
                if fin {
                    return (all, true);
                }
            }
            Err(_) => return (all, false),
        }
    }
}

fn byte(id: StreamId, offset: u64) -> u8 {
    (offset.wrapping_mul(31).wrapping_add(id.0 * 7) >> 3) as u8
}

/// One side of the random exchange.
struct Node {
    streams: Streams,
    /// Bytes still to write per stream that we send on.
    to_write: HashMap<StreamId, (u64, u64)>,
    /// Bytes read per stream, and the end.
    read: HashMap<StreamId, (u64, bool)>,
    flight: Vec<Packet>,
    to_open: u32,
    finished: usize,
    closed: usize,
}

impl Node {
    fn new(streams: Streams) -> Self {
        Self {
            streams,
            to_write: HashMap::new(),
            read: HashMap::new(),
            flight: Vec::new(),
            to_open: 25,
            finished: 0,
            closed: 0,
        }
    }

    fn work(&mut self, rng: &mut Pcg) {
        while self.to_open > 0 {
            let dir = if rng.below(2) == 0 { Dir::Bi } else { Dir::Uni };
            let Ok(id) = self.streams.open(dir) else { break };
            self.to_open -= 1;
            self.to_write.insert(id, (0, rng.below(20_000)));
            self.streams.set_priority(id, rng.below(8) as u8, rng.below(2) == 0);
        }
        while let Some(event) = self.streams.poll_event() {
            match event {
                StreamEvent::Opened { id } if id.dir() == Dir::Bi => {
                    self.to_write.insert(id, (0, rng.below(20_000)));
                }
                StreamEvent::Finished { .. } => self.finished += 1,
                StreamEvent::Closed { .. } => self.closed += 1,
                _ => {}
            }
        }
        let mut ids: Vec<StreamId> = self.to_write.keys().copied().collect();
        ids.sort();
        for id in ids {
            let (at, end) = self.to_write[&id];
            let n = (end - at).min(rng.below(5000));
            let data: Vec<u8> = (at..at + n).map(|o| byte(id, o)).collect();
            let mut ended = false;
            let taken = match rng.below(3) {
                0 => self.streams.write(id, &data),
                1 if at + n == end => {
                    let taken = self.streams.write_last(id, &data);
                    ended = taken == Ok(data.len());
                    taken
                }
                _ => self.streams.write_chunk(id, Chunk::from_vec(data)),
            };
            let at = at + taken.unwrap_or(0) as u64;
            if at == end {
                assert_eq!(self.streams.finish(id).is_err(), ended);
                self.to_write.remove(&id);
            } else {
                self.to_write.insert(id, (at, end));
            }
        }
        let mut known: Vec<StreamId> =
            self.streams.table.slots().map(|s| self.streams.table.get(s).unwrap().id).collect();
        known.sort();
        for id in known {
            if rng.below(3) == 0 {
                continue; // a slow reader
            }
            let (at, _) = *self.read.get(&id).unwrap_or(&(0, false));
            let (got, fin) = match rng.below(2) {
                0 => {
                    let mut buf = vec![0; rng.below(3000) as usize + 1];
                    match self.streams.read(id, &mut buf) {
                        Ok(ok) => (buf[..ok.len].to_vec(), ok.fin),
                        Err(_) => continue,
                    }
                }
                _ => match self.streams.read_chunk(id, rng.below(3000) as usize + 1) {
                    Ok((chunk, fin)) => (chunk.to_vec().unwrap(), fin),
                    Err(_) => continue,
                },
            };
            for (i, b) in got.iter().enumerate() {
                assert_eq!(*b, byte(id, at + i as u64), "{id:?} at {}", at + i as u64);
            }
            self.read.insert(id, (at + got.len() as u64, fin));
        }
    }

    /// Flow control as an outsider sees it.
    fn check(&self) {
        let s = &self.streams;
        let (mut received, mut held, mut sent) = (0, 0, 0);
        for slot in s.table.slots() {
            let stream = s.table.get(slot).unwrap();
            if let Some(recv) = &stream.recv {
                received += recv.window.received() - recv.window.consumed();
                assert!(recv.data.allocated() as u64 <= 2 * recv.window.size() + pool::LARGE as u64);
            }
            if let Some(send) = &stream.send {
                held += send.buffer.held();
                sent += send.buffer.sent();
                assert!(send.buffer.sent() <= send.credit.limit() && send.credit.used() == send.buffer.sent());
            }
        }
        assert_eq!(received, s.window.received() - s.window.consumed(), "connection credit is the streams' sum");
        assert_eq!(held, s.held, "held bytes are the streams' sum");
        assert!(sent <= s.credit.used() && s.credit.used() <= s.credit.limit());
    }
}

fn exchange(seed: u64) {
    let mut rng = Pcg::new(seed);
    let (a, b) = pair(&small());
    let mut nodes = [Node::new(a), Node::new(b)];
    let mut wire: Vec<(usize, Vec<u8>)> = Vec::new();
    for step in 0..20_000u64 {
        let now = Timestamp((step + 1) * 1_000_000);
        let me = rng.below(2) as usize;
        nodes[me].work(&mut rng);
        for _ in 0..3 {
            let room = 50 + rng.below(1300) as usize;
            if let Some(p) = packet(&mut nodes[me].streams, room) {
                let lost = rng.below(10) == 0;
                if !lost {
                    wire.push((1 - me, p.payload.clone()));
                }
                nodes[me].flight.push(Packet { payload: if lost { Vec::new() } else { vec![1] }, tokens: p.tokens });
            }
        }
        // Out of order, sometimes twice.
        for _ in 0..4 {
            if wire.is_empty() {
                break;
            }
            let pick = rng.below(wire.len() as u64) as usize;
            let (to, payload) = if rng.below(20) == 0 { wire[pick].clone() } else { wire.swap_remove(pick) };
            receive(&mut nodes[to].streams, &payload, now).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
        // Fates: an acknowledgement only for what was not lost; a loss also for what did arrive (spurious).
        let flight = &mut nodes[me].flight;
        if (wire.is_empty() || flight.len() > 30) && !flight.is_empty() {
            let p = flight.swap_remove(rng.below(flight.len() as u64) as usize);
            let arrived = !p.payload.is_empty() && !wire.iter().any(|(to, _)| *to == 1 - me);
            for t in &p.tokens {
                if arrived && rng.below(8) != 0 {
                    nodes[me].streams.on_token_acked(t);
                } else {
                    nodes[me].streams.on_token_lost(t);
                }
            }
        }
        nodes.iter().for_each(Node::check);
        let idle =
            |n: &Node| n.to_open == 0 && n.to_write.is_empty() && n.streams.table.is_empty() && n.flight.is_empty();
        if wire.is_empty() && nodes.iter().all(idle) {
            for n in &nodes {
                assert_eq!(n.closed, 50, "seed {seed}: every stream of both sides is closed");
                assert!(n.read.values().all(|(_, fin)| *fin));
                assert_eq!((n.streams.held, n.streams.counts().buffered_received), (0, 0));
            }
            return;
        }
    }
    panic!("seed {seed}: stuck");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-2.2
//= type=test
//# An endpoint MUST NOT send data on any stream without ensuring that it is within the flow control limits set by its
//# peer.
//= https://www.rfc-editor.org/rfc/rfc9000#section-4.1
//= type=test
//# Senders MUST NOT send data in excess of either limit.
#[test]
fn random_exchanges_complete_and_conserve_credit() {
    for seed in 0..60 {
        exchange(seed);
    }
}

#[test]
fn a_stream_opens_carries_data_and_closes_with_one_event_of_each_kind() {
    let (mut c, mut s) = pair(&StreamsConfig::default());
    let id = c.open(Dir::Bi).unwrap();
    assert!(!c.wants_to_send(), "an unused stream says nothing");
    assert_eq!(c.write(id, b"question"), Ok(8));
    c.finish(id).unwrap();
    settle(&mut c, &mut s);
    assert_eq!(events(&mut c), [StreamEvent::Finished { id }]);
    assert_eq!(events(&mut s), [StreamEvent::Opened { id }, StreamEvent::Readable { id }]);
    assert_eq!(s.accept(Dir::Bi), Some(id));
    assert_eq!(s.accept(Dir::Bi), None);
    assert_eq!(read_all(&mut s, id), (b"question".to_vec(), true));
    assert_eq!(s.read(id, &mut [0; 1]), Err(ReadError::Finished));
    s.write(id, b"answer").unwrap();
    s.finish(id).unwrap();
    settle(&mut c, &mut s);
    assert_eq!(events(&mut s), [StreamEvent::Finished { id }, StreamEvent::Closed { id }]);
    assert_eq!(read_all(&mut c, id), (b"answer".to_vec(), true));
    assert_eq!(events(&mut c), [StreamEvent::Closed { id }], "Readable was overtaken by the read");
    assert_eq!(c.write(id, b"x"), Err(WriteError::Unknown));
    assert_eq!((c.counts().open, s.counts().open), (0, 0));
    // A frame that comes late for a closed stream is ignored.
    s.on_stream(id, 0, b"question", true, Timestamp(2)).unwrap();
    s.on_max_stream_data(id, 1 << 40).unwrap();
    assert_eq!(s.counts().open, 0);
}

type Try = fn(&mut Streams, StreamId) -> Result<(), TransportError>;

//= https://www.rfc-editor.org/rfc/rfc9000#section-19.4
//= type=test
//# An endpoint that receives a RESET_STREAM frame for a send-only stream MUST terminate the connection with error
//# STREAM_STATE_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.5
//= type=test
//# Receiving a STOP_SENDING frame for a locally initiated stream that has not yet been created MUST be treated as a
//# connection error of type STREAM_STATE_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.5
//= type=test
//# An endpoint that receives a STOP_SENDING frame for a receive-only stream MUST terminate the connection with error
//# STREAM_STATE_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.8
//= type=test
//# An endpoint MUST terminate the connection with error STREAM_STATE_ERROR if it receives a STREAM frame for a locally
//# initiated stream that has not yet been created, or for a send-only stream.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.10
//= type=test
//# Receiving a MAX_STREAM_DATA frame for a locally initiated stream that has not yet been created MUST be treated as a
//# connection error of type STREAM_STATE_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.10
//= type=test
//# An endpoint that receives a MAX_STREAM_DATA frame for a receive-only stream MUST terminate the connection with error
//# STREAM_STATE_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.13
//= type=test
//# An endpoint that receives a STREAM_DATA_BLOCKED frame for a send-only stream MUST terminate the connection with
//# error STREAM_STATE_ERROR.
#[test]
fn frames_for_impossible_streams_are_refused() {
    let receiving: [(&str, Try); 3] = [
        ("STREAM", |s, id| s.on_stream(id, 0, b"", false, Timestamp(1))),
        ("RESET_STREAM", |s, id| s.on_reset_stream(id, 0, 0)),
        ("STREAM_DATA_BLOCKED", |s, id| s.on_stream_data_blocked(id, 0)),
    ];
    let sending: [(&str, Try); 2] =
        [("STOP_SENDING", |s, id| s.on_stop_sending(id, 0)), ("MAX_STREAM_DATA", |s, id| s.on_max_stream_data(id, 0))];
    let ours = |dir, i| StreamId::new(Side::Server, dir, i);
    let theirs = |dir, i| StreamId::new(Side::Client, dir, i);
    for (all, wrong) in [(&receiving[..], ours(Dir::Uni, 0)), (&sending[..], theirs(Dir::Uni, 0))] {
        for (name, frame) in all {
            let mut s = pair(&small()).1;
            s.open(Dir::Uni).unwrap();
            assert_eq!(frame(&mut s, wrong).unwrap_err().code, codes::STREAM_STATE_ERROR, "{name}: direction");
            let mut s = pair(&small()).1;
            let e = frame(&mut s, ours(Dir::Bi, 0)).unwrap_err();
            assert_eq!(e.code, codes::STREAM_STATE_ERROR, "{name}: a stream that we did not open");
            let mut s = pair(&small()).1;
            let e = frame(&mut s, theirs(Dir::Bi, 8)).unwrap_err();
            assert_eq!(e.code, codes::STREAM_LIMIT_ERROR, "{name}: beyond the limit");
            assert_eq!(s.counts().open, 0);
            assert!(frame(&mut s, theirs(Dir::Bi, 7)).is_ok(), "{name}: at the limit");
            assert_eq!(s.counts().open, 1, "{name}: lower streams take no memory");
        }
    }
    for (name, frame) in receiving {
        let mut s = pair(&small()).1;
        assert_eq!(frame(&mut s, theirs(Dir::Uni, 4)).unwrap_err().code, codes::STREAM_LIMIT_ERROR, "{name}");
    }
    let mut s = pair(&small()).1;
    s.open(Dir::Uni).unwrap();
    assert!(s.on_stop_sending(ours(Dir::Uni, 0), 1).is_ok());
    assert_eq!(s.on_max_stream_data(ours(Dir::Uni, 1), 1).unwrap_err().code, codes::STREAM_STATE_ERROR);
}

#[test]
fn lower_streams_open_with_a_higher_one_and_work() {
    let (_, mut s) = pair(&small());
    let id = |i| StreamId::new(Side::Client, Dir::Bi, i);
    s.on_stream(id(5), 0, b"five", false, Timestamp(1)).unwrap();
    s.on_stream(id(2), 0, b"two", true, Timestamp(1)).unwrap();
    assert_eq!((s.accept(Dir::Bi), s.accept(Dir::Bi), s.accept(Dir::Bi)), (Some(id(5)), Some(id(2)), None));
    assert_eq!(read_all(&mut s, id(2)), (b"two".to_vec(), true));
}

#[test]
fn blocked_writers_get_one_event_when_there_is_room() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Bi).unwrap();
    assert_eq!(c.writable_len(id), Ok(10_000));
    assert_eq!(c.write(id, &[1; 15_000]), Ok(10_000));
    assert_eq!(c.write(id, b"x"), Err(WriteError::Blocked));
    assert_eq!(events(&mut c), []);
    let mut got = 0;
    while got < 10_000 {
        settle(&mut c, &mut s);
        got += read_all(&mut s, id).0.len();
    }
    settle(&mut c, &mut s);
    assert_eq!(events(&mut c), [StreamEvent::Writable { id }]);
    assert_eq!(c.counts().buffered_to_send, 0);
    assert_eq!(c.write(id, b"x"), Ok(1));
    settle(&mut c, &mut s);
    assert_eq!(events(&mut c), []);
}

#[test]
fn the_last_bytes_end_their_stream_when_all_are_taken() {
    let (mut c, mut s) = pair(&StreamsConfig { send_buffer: 10_000, send_buffer_max: 0, ..StreamsConfig::default() });
    let id = c.open(Dir::Uni).unwrap();
    assert_eq!(c.write_last(id, &[7; 10_001]), Ok(10_000));
    assert_eq!(c.write_last(id, b"x"), Err(WriteError::Blocked), "it goes on");
    settle(&mut c, &mut s);
    let (got, end) = read_all(&mut s, id);
    assert_eq!((got.len(), end), (10_000, false));
    settle(&mut c, &mut s);
    assert_eq!(events(&mut c), [StreamEvent::Writable { id }]);
    assert_eq!(c.write_last(id, b"the end"), Ok(7));
    assert_eq!(c.write_last(id, b"more"), Err(WriteError::Closed));
    assert_eq!(c.finish(id), Err(WriteError::Closed));
    settle(&mut c, &mut s);
    assert_eq!(read_all(&mut s, id), (b"the end".to_vec(), true));
    let id = c.open(Dir::Uni).unwrap();
    assert_eq!(c.write_last(id, b""), Ok(0), "the bare end");
    settle(&mut c, &mut s);
    assert_eq!(read_all(&mut s, id), (Vec::new(), true));
}

#[test]
fn the_connection_limit_on_unsent_bytes_holds_and_wakes_everybody() {
    let (mut c, mut s) = pair(&small());
    let ids: Vec<StreamId> = (0..5).map(|_| c.open(Dir::Bi).unwrap()).collect();
    let taken: Vec<_> = ids.iter().map(|id| c.write(*id, &[1; 9000])).collect();
    assert_eq!(taken, [Ok(9000), Ok(9000), Ok(9000), Ok(3000), Err(WriteError::Blocked)]);
    let mut got = 0;
    let mut woken = Vec::new();
    while got < 30_000 {
        settle(&mut c, &mut s);
        got += ids.iter().map(|id| read_all(&mut s, *id).0.len()).sum::<usize>();
        woken.extend(events(&mut c));
    }
    woken.sort_by_key(|e| format!("{e:?}"));
    assert_eq!(woken, [StreamEvent::Writable { id: ids[3] }, StreamEvent::Writable { id: ids[4] }]);
}

#[test]
fn stream_limits_are_announced_renewed_and_waited_for() {
    let (mut c, mut s) = pair(&small());
    let ids: Vec<StreamId> = (0..4).map(|_| c.open(Dir::Uni).unwrap()).collect();
    assert_eq!(c.open(Dir::Uni), Err(OpenError::LimitReached));
    settle(&mut c, &mut s);
    assert_eq!(events(&mut c), []);
    c.finish(ids[2]).unwrap();
    settle(&mut c, &mut s);
    read_all(&mut s, ids[2]);
    settle(&mut c, &mut s);
    assert_eq!(c.open(Dir::Uni), Err(OpenError::LimitReached), "the event was not taken: still open for us");
    events(&mut s);
    settle(&mut c, &mut s);
    assert!(events(&mut c).contains(&StreamEvent::Available { dir: Dir::Uni }));
    assert_eq!(c.open(Dir::Uni), Ok(StreamId::new(Side::Client, Dir::Uni, 4)));
}

#[test]
fn a_revoked_buffer_resets_its_stream_and_nothing_else() {
    let (mut c, mut s) = pair(&StreamsConfig { revoked_code: 0x77, ..StreamsConfig::default() });
    let (bad, good) = (c.open(Dir::Bi).unwrap(), c.open(Dir::Bi).unwrap());
    let lender = Lender::new(&[5; 30_000]);
    let chunk = lender.lend();
    assert_eq!(c.write_chunk(bad, chunk.clone()), Ok(30_000));
    c.write(good, b"fine").unwrap();
    let p = packet(&mut c, 1200).unwrap();
    receive(&mut s, &p.payload, Timestamp(1)).unwrap();
    chunk.revoke();
    lender.scribble();
    settle(&mut c, &mut s);
    assert_eq!(events(&mut c), [StreamEvent::Revoked { id: bad, code: 0x77 }]);
    assert_eq!(c.write(bad, b"x"), Err(WriteError::Closed));
    assert_eq!(s.read(bad, &mut [0; 9]), Err(ReadError::Reset(0x77)));
    assert_eq!(read_all(&mut s, good).0, b"fine");
    drop(chunk);
    assert_eq!(lender.released(), 1);
}

#[test]
fn a_buffer_revoked_before_its_first_packet_resets_its_stream_at_once() {
    let (mut c, mut s) = pair(&StreamsConfig { revoked_code: 0x77, ..StreamsConfig::default() });
    let id = c.open(Dir::Uni).unwrap();
    let lender = Lender::new(&[5; 3000]);
    let chunk = lender.lend();
    assert_eq!(c.write_chunk(id, chunk.clone()), Ok(3000));
    chunk.revoke();
    // Nothing else is to be sent, so nothing else would take the reset along.
    let p = packet(&mut c, 1200).unwrap();
    receive(&mut s, &p.payload, Timestamp(1)).unwrap();
    assert_eq!(s.read(id, &mut [0; 9]), Err(ReadError::Reset(0x77)));
}

#[test]
fn lent_memory_returns_with_the_acknowledgement() {
    let (mut c, mut s) = pair(&StreamsConfig::default());
    let id = c.open(Dir::Uni).unwrap();
    let lender = Lender::new(&[5; 30_000]);
    c.write_chunk(id, lender.lend()).unwrap();
    let mut flight = Vec::new();
    while let Some(p) = packet(&mut c, 1200) {
        receive(&mut s, &p.payload, Timestamp(1)).unwrap();
        flight.push(p);
    }
    for p in flight {
        assert_eq!(lender.released(), 0);
        p.tokens.iter().for_each(|t| c.on_token_acked(t));
    }
    assert_eq!(lender.released(), 1);
    assert_eq!(read_all(&mut s, id).0, [5; 30_000]);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.2
//= type=test
//# The client therefore MUST reset the state of all streams, including application state bound to those streams.
#[test]
fn rejected_early_data_is_sent_again_within_the_new_limits() {
    let remembered = StreamsConfig { max_streams_uni: 3, ..StreamsConfig::default() };
    let real = StreamsConfig { max_streams_uni: 1, stream_window_uni: 1000, ..small() };
    let mut c = Streams::new(Side::Client, &real);
    c.set_peer_limits(&parameters(&remembered));
    let ids: Vec<StreamId> = (0..3).map(|_| c.open(Dir::Uni).unwrap()).collect();
    for id in &ids {
        c.write(*id, &[id.0 as u8; 2500]).unwrap();
        c.finish(*id).unwrap();
    }
    let mut early = Vec::new();
    while let Some(p) = packet(&mut c, 1200) {
        early.push(p);
    }
    assert_eq!(c.confirm_peer_limits(&parameters(&real)).unwrap_err().code, codes::PROTOCOL_VIOLATION);
    // The server never saw any of it.
    c.on_zero_rtt_rejected();
    early.iter().flat_map(|p| &p.tokens).for_each(|t| c.on_token_lost(t));
    let mut s = Streams::new(Side::Server, &real);
    s.set_peer_limits(&parameters(&real));
    assert!(packet(&mut c, 1200).is_none(), "no limits, nothing to say");
    c.set_peer_limits(&parameters(&real));
    let mut got: HashMap<StreamId, Vec<u8>> = HashMap::new();
    for _ in 0..40 {
        settle(&mut c, &mut s);
        for id in &ids {
            got.entry(*id).or_default().extend(read_all(&mut s, *id).0);
        }
        events(&mut s);
        events(&mut c);
    }
    for id in ids {
        assert_eq!(got[&id], vec![id.0 as u8; 2500], "{id:?}");
    }
    assert_eq!((c.counts().open, s.counts().open), (0, 0));
}

#[test]
fn packets_are_filled_to_the_last_byte() {
    let (mut c, mut s) = pair(&StreamsConfig::default());
    let id = c.open(Dir::Uni).unwrap();
    c.write(id, &[3; 200_000]).unwrap();
    let mut total = 0;
    for room in (100..1500).step_by(7) {
        let Some(p) = packet(&mut c, room) else { break };
        assert!(p.payload.len() == room || total > 190_000, "{} of {room}", p.payload.len());
        total += room;
        receive(&mut s, &p.payload, Timestamp(1)).unwrap();
    }
}

#[test]
fn work_follows_active_streams_only() {
    // Ten thousand open streams, one of which sends: the others are not looked at.
    let config = StreamsConfig { max_streams_bidi: 10_000, ..StreamsConfig::default() };
    let (mut c, mut s) = pair(&config);
    let ids: Vec<StreamId> = (0..10_000).map(|_| c.open(Dir::Bi).unwrap()).collect();
    for id in &ids {
        c.write(*id, b"x").unwrap();
    }
    settle(&mut c, &mut s);
    assert_eq!(s.counts().open, 10_000);
    assert!(!c.wants_to_send());
    c.write(ids[7777], &[1; 1000]).unwrap();
    let p = packet(&mut c, 1200).unwrap();
    assert_eq!(p.tokens.len(), 1);
    assert!(packet(&mut c, 1200).is_none());
}

#[test]
fn fairness_among_incremental_streams() {
    let config = StreamsConfig { connection_window: 1 << 30, ..StreamsConfig::default() };
    let (mut c, _) = pair(&config);
    let ids: Vec<StreamId> = (0..10).map(|_| c.open(Dir::Bi).unwrap()).collect();
    for id in &ids {
        c.write(*id, &[1; 400_000]).unwrap();
    }
    let mut sent: HashMap<StreamId, u64> = HashMap::new();
    for _ in 0..800 {
        for t in packet(&mut c, 1200).unwrap().tokens {
            let FrameToken::Stream { id, len, .. } = t else { continue };
            *sent.entry(id).or_default() += u64::from(len);
        }
    }
    let (min, max) = (sent.values().min().unwrap(), sent.values().max().unwrap());
    assert_eq!(sent.len(), 10);
    assert!(max - min <= 10_000, "{sent:?}");
}

/// The frames of one packet, by name.
fn names(payload: &[u8]) -> Vec<String> {
    let name = |f: &Frame<'_>| format!("{f:?}").split([' ', '(', '{']).next().unwrap_or("").to_owned();
    Frames::new(payload).map(|f| name(&f.unwrap().1)).collect()
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-3.3
//= type=test
//# A sender MUST NOT send any of these frames from a terminal state ("Data Recvd" or "Reset Recvd").
//= https://www.rfc-editor.org/rfc/rfc9000#section-3.3
//= type=test
//# A sender MUST NOT send a STREAM or STREAM_DATA_BLOCKED frame for a stream in the "Reset Sent" state or any terminal
//# state -- that is, after sending a RESET_STREAM frame.
#[test]
fn an_abandoned_stream_sends_its_reset_and_nothing_else() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Bi).unwrap();
    c.write(id, &[1; 9000]).unwrap();
    let mut flight = Vec::new();
    while let Some(p) = packet(&mut c, 1200) {
        flight.push(p);
    }
    assert!(flight.iter().any(|p| names(&p.payload).contains(&"StreamDataBlocked".to_owned())));
    c.reset(id, 7).unwrap();
    // Data, its repetition and word of being blocked are all due, and none of them goes out any more.
    flight.iter().flat_map(|p| &p.tokens).for_each(|t| c.on_token_lost(t));
    let reset = packet(&mut c, 1200).unwrap();
    assert_eq!(names(&reset.payload), ["ResetStream"]);
    assert!(packet(&mut c, 1200).is_none());
    reset.tokens.iter().for_each(|t| c.on_token_lost(t));
    let again = packet(&mut c, 1200).unwrap();
    assert_eq!(names(&again.payload), ["ResetStream"], "repeated until it is acknowledged");
    receive(&mut s, &again.payload, Timestamp(1)).unwrap();
    again.tokens.iter().for_each(|t| c.on_token_acked(t));
    // Terminal: losses that are reported late bring nothing back, nor does what the peer says.
    flight.iter().flat_map(|p| &p.tokens).chain(&reset.tokens).for_each(|t| c.on_token_lost(t));
    c.on_max_stream_data(id, 1 << 20).unwrap();
    c.on_stop_sending(id, 1).unwrap();
    assert!(packet(&mut c, 1200).is_none());
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-3.3
//= type=test
//# A sender MUST NOT send any of these frames from a terminal state ("Data Recvd" or "Reset Recvd").
#[test]
fn a_completed_stream_sends_nothing_more() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Bi).unwrap();
    c.write(id, b"all of it").unwrap();
    c.finish(id).unwrap();
    let p = packet(&mut c, 1200).unwrap();
    receive(&mut s, &p.payload, Timestamp(1)).unwrap();
    p.tokens.iter().for_each(|t| c.on_token_acked(t));
    p.tokens.iter().for_each(|t| c.on_token_lost(t));
    for token in [FrameToken::ResetStream(id), FrameToken::StreamDataBlocked(id)] {
        c.on_token_lost(&token);
    }
    c.on_stop_sending(id, 5).unwrap();
    c.reset(id, 6).unwrap();
    assert!(packet(&mut c, 1200).is_none(), "everything is acknowledged: no STREAM, no RESET_STREAM");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-4.2
//= type=test
//# Therefore, a receiver MUST NOT wait for a STREAM_DATA_BLOCKED or DATA_BLOCKED frame before sending a MAX_STREAM_DATA
//# or MAX_DATA frame; doing so could result in the sender being blocked for the rest of the connection.
#[test]
fn credit_goes_out_without_being_asked_for() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Uni).unwrap();
    c.write(id, &[1; 2000]).unwrap();
    while let Some(p) = packet(&mut c, 1200) {
        assert_eq!(names(&p.payload), ["Stream"], "the sender is not blocked and does not say so");
        receive(&mut s, &p.payload, Timestamp(1)).unwrap();
    }
    assert!(packet(&mut s, 1200).is_none());
    assert_eq!(read_all(&mut s, id).0.len(), 2000);
    let credit = packet(&mut s, 1200).unwrap();
    assert_eq!(names(&credit.payload), ["MaxStreamData"]);
    // The connection's window of 6000 needs a little more.
    let other = c.open(Dir::Uni).unwrap();
    c.write(other, &[1; 1500]).unwrap();
    while let Some(p) = packet(&mut c, 1200) {
        assert_eq!(names(&p.payload), ["Stream"]);
        receive(&mut s, &p.payload, Timestamp(1)).unwrap();
    }
    assert_eq!(read_all(&mut s, other).0.len(), 1500);
    assert!(names(&packet(&mut s, 1200).unwrap().payload).contains(&"MaxData".to_owned()));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-4.4
//= type=test
//# Both endpoints MUST maintain flow control state for the stream in the unterminated direction until that direction
//# enters a terminal state.
#[test]
fn the_other_direction_keeps_its_flow_control() {
    let (mut c, mut s) = pair(&small());
    let id = c.open(Dir::Bi).unwrap();
    c.write(id, b"x").unwrap();
    settle(&mut c, &mut s);
    c.reset(id, 1).unwrap();
    settle(&mut c, &mut s);
    events(&mut s);
    // More than one window goes the other way, with credit renewed as it is read.
    let mut got = 0;
    assert_eq!(s.write(id, &[2; 10_000]), Ok(10_000));
    while got < 10_000 {
        let before = got;
        settle(&mut c, &mut s);
        got += read_all(&mut c, id).0.len();
        assert!(got > before, "stuck at {got}");
    }
    // And its limit is still a limit.
    let error = c.on_stream(id, 1 << 20, b"too far", false, Timestamp(1)).unwrap_err();
    assert_eq!(error.code, codes::FLOW_CONTROL_ERROR);
}
