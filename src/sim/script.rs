//! The scripted application: both sides open streams, send patterned messages and check every byte that arrives.
//!
//! What a stream carries follows from the seed, its id and its direction, so the receiver knows what to expect without
//! being told. Invariant: a byte is only accepted at its own place, an end only where it belongs.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::{Dir, Side, StreamId, Timestamp};
use crate::collections::Chunk;
use crate::connection::{Connection, Event};
use crate::streams::{OpenError, ReadError, ReadOk, StreamEvent, WriteError};

use super::app::{App, Digests};
use super::pattern::{Pattern, mix};
use crate::crypto::Sha256;

/// How a message ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Whole,
    /// The sender gives up half-way.
    Reset,
    /// The receiver has had enough half-way.
    Stop,
}

/// One direction of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub len: u64,
    pub ending: Ending,
}

/// The script of both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptConfig {
    pub seed: u64,
    pub streams_each_side: u32,
    /// Longest message.
    pub longest: u64,
    /// Streams that are reset or stopped half-way are among them.
    pub with_resets: bool,
    pub datagrams: u32,
    /// The client begins before the handshake is over.
    pub early_data: bool,
}

/// What `sender` says on a stream.
#[must_use]
pub fn message(s: &ScriptConfig, id: StreamId, sender: Side) -> Message {
    let h = mix(s.seed, id.0 * 2 + u64::from(sender.is_server()));
    // Short ones are as frequent as long ones, and some are empty.
    let len = match h % 5 {
        0 => h / 5 % 3,
        1 => h / 5 % (s.longest / 10 + 1),
        _ => h / 5 % (s.longest + 1),
    };
    let ending = match mix(h, 7) % 8 {
        0 if s.with_resets => Ending::Reset,
        1 if s.with_resets => Ending::Stop,
        _ => Ending::Whole,
    };
    Message { len, ending }
}

/// Code of resets and stops in the script.
pub const GIVE_UP: u64 = 0x51;
/// Code of the final close.
pub const DONE: u64 = 0x600d;

/// One side's view of the transfer.
pub struct Script {
    side: Side,
    config: ScriptConfig,
    to_open: Vec<Dir>,
    /// Streams that we still write on, with the position.
    writing: BTreeMap<StreamId, u64>,
    /// Streams that we still read, with the position.
    reading: BTreeMap<StreamId, u64>,
    blocked: HashSet<StreamId>,
    seen: BTreeSet<StreamId>,
    closed: BTreeSet<StreamId>,
    /// Streams that the peer is going to open, by the script.
    expected: BTreeSet<StreamId>,
    datagrams_to_send: u32,
    pub datagrams_received: u32,
    pub bytes_read: u64,
    pub connected: bool,
    pub confirmed: bool,
    pub zero_rtt_accepted: Option<bool>,
    pub events: u64,
    hashing: BTreeMap<(StreamId, bool), Sha256>,
    digests: Digests,
    /// Alternates between the copying and the sharing calls.
    flip: bool,
}

impl Script {
    #[must_use]
    pub fn new(side: Side, config: &ScriptConfig) -> Self {
        let n = config.streams_each_side;
        let dir = |i: u32| if i % 3 == 2 { Dir::Uni } else { Dir::Bi };
        let mut expected = BTreeSet::new();
        let (mut bi, mut uni) = (0, 0);
        for i in 0..n {
            let index = if dir(i) == Dir::Bi { &mut bi } else { &mut uni };
            expected.insert(StreamId::new(side.peer(), dir(i), *index));
            *index += 1;
        }
        Self {
            side,
            config: config.clone(),
            to_open: (0..n).rev().map(dir).collect(),
            writing: BTreeMap::new(),
            reading: BTreeMap::new(),
            blocked: HashSet::new(),
            seen: BTreeSet::new(),
            closed: BTreeSet::new(),
            expected,
            datagrams_to_send: config.datagrams,
            datagrams_received: 0,
            bytes_read: 0,
            connected: false,
            confirmed: false,
            zero_rtt_accepted: None,
            events: 0,
            hashing: BTreeMap::new(),
            digests: Digests::default(),
            flip: false,
        }
    }

    /// Every stream of both sides has come and gone.
    fn all_over(&self) -> bool {
        self.connected
            && self.to_open.is_empty()
            && self.expected.is_empty()
            && self.writing.is_empty()
            && self.reading.is_empty()
            && self.seen == self.closed
    }

    fn tell(&self) -> String {
        format!(
            "{:?}: connected {}, to open {}, writing {:?}, reading {:?}, expected {:?}, not closed {:?}",
            self.side,
            self.connected,
            self.to_open.len(),
            self.writing,
            self.reading,
            self.expected,
            self.seen.difference(&self.closed).collect::<Vec<_>>(),
        )
    }

    /// Takes one event of the connection.
    fn take_event(&mut self, conn: &mut Connection, event: &Event) {
        self.events += 1;
        match event {
            Event::Connected { zero_rtt_accepted, .. } => {
                assert!(!self.connected, "connected twice");
                self.connected = true;
                self.zero_rtt_accepted = *zero_rtt_accepted;
            }
            Event::HandshakeConfirmed => self.confirmed = true,
            Event::Stream(e) => self.on_stream_event(conn, *e),
            Event::DatagramReceived => {
                while let Some(d) = conn.datagram_recv() {
                    self.datagrams_received += 1;
                    let n = u64::from(d[0]);
                    let expected = Pattern::new(self.config.seed, n, self.side.peer());
                    assert!(expected.matches(0, &d[1..]), "a datagram changed on the way");
                }
            }
            _ => {}
        }
    }

    fn on_stream_event(&mut self, conn: &mut Connection, event: StreamEvent) {
        match event {
            StreamEvent::Opened { id } => {
                assert!(self.expected.remove(&id), "{id:?} was never opened by the peer, or twice");
                assert_eq!(conn.accept_stream(id.dir()), Some(id));
                self.begin(id, id.dir() == Dir::Bi, true);
            }
            StreamEvent::Writable { id } => {
                assert!(self.blocked.remove(&id), "{id:?}: Writable without having been blocked");
            }
            StreamEvent::Stopped { id, code } => {
                assert_eq!(code, GIVE_UP);
                assert_eq!(message(&self.config, id, self.side).ending, Ending::Stop, "{id:?} stopped");
                self.writing.remove(&id);
                self.blocked.remove(&id);
            }
            StreamEvent::Reset { id, code } => {
                assert_eq!(code, GIVE_UP);
                let ending = message(&self.config, id, self.side.peer()).ending;
                assert_eq!(ending, Ending::Reset, "{id:?} reset");
                self.reading.remove(&id);
            }
            StreamEvent::Closed { id } => {
                assert!(self.closed.insert(id), "{id:?} closed twice");
                assert!(!self.writing.contains_key(&id) && !self.reading.contains_key(&id), "{id:?} closed early");
            }
            StreamEvent::Finished { id } => assert!(!self.writing.contains_key(&id), "{id:?} finished early"),
            StreamEvent::Revoked { .. } => panic!("nobody revoked anything"),
            StreamEvent::Readable { .. } | StreamEvent::Available { .. } => {}
        }
    }

    fn begin(&mut self, id: StreamId, sends: bool, receives: bool) {
        self.seen.insert(id);
        if sends {
            self.writing.insert(id, 0);
        }
        if receives {
            self.reading.insert(id, 0);
        }
    }

    /// Does what can be done now; true if anything changed.
    fn turn(&mut self, conn: &mut Connection) -> bool {
        let early = self.side.is_client() && self.config.early_data && conn.is_handshaking();
        if !(self.connected || early) || conn.is_closed() {
            return false;
        }
        let mut changed = false;
        while let Some(dir) = self.to_open.last().copied() {
            match conn.open(dir) {
                Ok(id) => {
                    self.to_open.pop();
                    self.begin(id, true, id.dir() == Dir::Bi);
                    conn.set_priority(id, (id.index() % 8) as u8, id.index() % 3 != 0);
                    changed = true;
                }
                Err(OpenError::LimitReached) => break,
            }
        }
        changed |= self.write_all(conn);
        changed |= self.read_all(conn);
        changed |= self.send_datagrams(conn);
        changed
    }

    fn write_all(&mut self, conn: &mut Connection) -> bool {
        let mut changed = false;
        for (id, mut at) in self.writing.clone() {
            let m = message(&self.config, id, self.side);
            let end = if m.ending == Ending::Reset { m.len / 2 } else { m.len };
            while at < end && !self.blocked.contains(&id) {
                let n = ((end - at) as usize).min(if self.flip { 700 } else { 9000 });
                self.flip = !self.flip;
                let data = Pattern::new(self.config.seed, id.0, self.side).bytes(at, n);
                let sent = data.clone();
                let taken = if self.flip { conn.write(id, &data) } else { conn.write_chunk(id, Chunk::from_vec(data)) };
                match taken {
                    Ok(taken) => {
                        changed = true;
                        self.hashing.entry((id, true)).or_default().update(&sent[..taken]);
                        at += taken as u64;
                        if taken < n {
                            self.blocked.insert(id);
                        }
                    }
                    Err(WriteError::Blocked) => {
                        self.blocked.insert(id);
                    }
                    Err(WriteError::Stopped(GIVE_UP)) => break, // the event follows
                    Err(e) => panic!("{id:?} write at {at}: {e}"),
                }
            }
            if at < end {
                self.writing.insert(id, at);
                continue;
            }
            let ended = if m.ending == Ending::Reset { conn.reset(id, GIVE_UP) } else { conn.finish(id) };
            let hash = self.hashing.remove(&(id, true)).unwrap_or_default();
            match ended {
                Ok(()) if m.ending != Ending::Reset => {
                    self.digests.sent.insert(id, hash.finish());
                }
                Ok(()) | Err(WriteError::Stopped(GIVE_UP)) => {}
                Err(e) => panic!("{id:?} end: {e}"),
            }
            self.blocked.remove(&id);
            self.writing.remove(&id);
            changed = true;
        }
        changed
    }

    fn read_all(&mut self, conn: &mut Connection) -> bool {
        let mut changed = false;
        for (id, mut at) in self.reading.clone() {
            let m = message(&self.config, id, self.side.peer());
            if m.ending == Ending::Stop && at >= m.len / 2 {
                match conn.stop(id, GIVE_UP) {
                    Ok(()) => {}
                    Err(e) => panic!("{id:?} stop: {e}"),
                }
                self.reading.remove(&id);
                changed = true;
                continue;
            }
            let mut buf = [0u8; 3000];
            loop {
                self.flip = !self.flip;
                let got = if self.flip {
                    conn.read(id, &mut buf).map(|ReadOk { len, fin }| (buf[..len].to_vec(), fin))
                } else {
                    conn.read_chunk(id, 5000).map(|(c, fin)| (c.to_vec().unwrap(), fin))
                };
                match got {
                    Ok((data, fin)) => {
                        changed = true;
                        let expected = Pattern::new(self.config.seed, id.0, self.side.peer());
                        assert!(
                            expected.matches(at, &data),
                            "{id:?} at {at}: {} bytes are not what was sent",
                            data.len()
                        );
                        self.hashing.entry((id, false)).or_default().update(&data);
                        at += data.len() as u64;
                        self.bytes_read += data.len() as u64;
                        self.reading.insert(id, at);
                        assert!(at <= m.len, "{id:?}: more than was sent");
                        if fin {
                            assert_eq!(at, m.len, "{id:?}: the end is early");
                            let hash = self.hashing.remove(&(id, false)).unwrap_or_default();
                            self.digests.received.insert(id, hash.finish());
                            self.reading.remove(&id);
                            break;
                        }
                        if data.is_empty() {
                            break;
                        }
                    }
                    Err(ReadError::Blocked) => break,
                    Err(ReadError::Reset(GIVE_UP)) if m.ending == Ending::Reset => {
                        self.reading.remove(&id);
                        break;
                    }
                    Err(e) => panic!("{id:?} read at {at}: {e}"),
                }
            }
        }
        changed
    }

    fn send_datagrams(&mut self, conn: &mut Connection) -> bool {
        let mut changed = false;
        while self.connected && self.datagrams_to_send > 0 {
            let n = self.datagrams_to_send % 256;
            let len = (n as usize * 37) % 1000;
            let mut d = vec![n as u8];
            d.extend(Pattern::new(self.config.seed, n as u64, self.side).bytes(0, len));
            if conn.datagram_send(Chunk::from_vec(d), 0).is_err() {
                break;
            }
            self.datagrams_to_send -= 1;
            changed = true;
        }
        changed
    }
}

impl App for Script {
    fn on_event(&mut self, conn: &mut Connection, event: &Event, _: Timestamp) {
        self.take_event(conn, event);
    }

    fn work(&mut self, conn: &mut Connection, _: Timestamp) -> bool {
        self.turn(conn)
    }

    fn is_done(&self) -> bool {
        self.all_over()
    }

    fn progress(&self) -> String {
        self.tell()
    }

    fn digests(&self) -> Digests {
        self.digests.clone()
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read
    }
}
