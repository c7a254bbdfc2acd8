//! Applications in the world: the trait, and a client and a server that exchange checked bytes.
//!
//! The protocol of the two: on a bidirectional stream the client sends how many bytes it wants and uploads, then the
//! upload; the server answers with the bytes. Every byte is compared with the pattern, and every stream has a SHA-256
//! at both ends, which the world compares when both are there.
use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::pattern::Pattern;
use crate::base::{Dir, Side, StreamId, Timestamp};
use crate::collections::Chunk;
use crate::connection::{Connection, Event};
use crate::crypto::Sha256;
use crate::streams::{ReadError, ReadOk, StreamEvent, WriteError};

/// What runs on top of one connection. The world calls it until nothing changes any more.
pub trait App: Any + Send {
    /// Takes one event of the connection.
    fn on_event(&mut self, conn: &mut Connection, event: &Event, now: Timestamp);
    /// Does what can be done now; true if anything changed.
    fn work(&mut self, conn: &mut Connection, now: Timestamp) -> bool;
    /// When `work` wants to be called although nothing happened.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }
    /// Everything that it meant to do has been done.
    fn is_done(&self) -> bool;
    /// Whether the app can wait for ever without anything being wrong (see `World::check_progress`).
    fn is_waiting(&self) -> bool {
        self.is_done()
    }
    /// A line for the report of a failure.
    fn progress(&self) -> String {
        String::new()
    }
    /// SHA-256 of every stream direction that ended whole: what this side sent and what it received.
    fn digests(&self) -> Digests {
        Digests::default()
    }
    /// Bytes of streams and datagrams read so far.
    fn bytes_read(&self) -> u64 {
        0
    }
}

/// Digests by stream; a stream direction is whole when its sender finished and its reader saw the end.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Digests {
    pub sent: BTreeMap<StreamId, [u8; 32]>,
    pub received: BTreeMap<StreamId, [u8; 32]>,
}

/// An application that neither speaks nor objects.
#[derive(Debug, Default)]
pub struct Quiet;

impl App for Quiet {
    fn on_event(&mut self, _: &mut Connection, _: &Event, _: Timestamp) {}
    fn work(&mut self, _: &mut Connection, _: Timestamp) -> bool {
        false
    }
    fn is_done(&self) -> bool {
        true
    }
}

/// The code of resets and stops.
pub const GIVE_UP: u64 = 0x51;
/// Bytes of a request before the upload.
const HEADER: usize = 24;
/// How much one write or read call moves.
const PORTION: usize = 32 * 1024;

/// One exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Job {
    /// Bytes that the client wants.
    pub download: u64,
    /// Bytes that it sends.
    pub upload: u64,
    /// It gives up half-way: resets its upload, or stops its download.
    pub abandon: bool,
}

impl Job {
    /// Only a download.
    #[must_use]
    pub const fn get(download: u64) -> Self {
        Self { download, upload: 0, abandon: false }
    }

    /// Only an upload.
    #[must_use]
    pub const fn put(upload: u64) -> Self {
        Self { download: 0, upload, abandon: false }
    }
}

/// What a client is to do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Both ends derive the bytes from it: use the same for client and server.
    pub seed: u64,
    pub jobs: Vec<Job>,
    /// Jobs at a time; 0: as many as the peer allows streams.
    pub parallel: usize,
    /// Datagrams that the client sends and the server returns; losses are no failure.
    pub datagrams: u32,
    pub datagram_len: usize,
    /// Begins before the handshake is over.
    pub early: bool,
    /// Waits for the handshake to be confirmed.
    pub patient: bool,
    /// Most bytes in one write; 0: as many as there is room for.
    pub portion: usize,
}

impl Plan {
    /// One download.
    #[must_use]
    pub fn download(seed: u64, bytes: u64) -> Self {
        Self { seed, jobs: vec![Job::get(bytes)], ..Self::default() }
    }

    /// One upload.
    #[must_use]
    pub fn upload(seed: u64, bytes: u64) -> Self {
        Self { seed, jobs: vec![Job::put(bytes)], ..Self::default() }
    }
}

/// One direction being sent.
struct Out {
    pattern: Pattern,
    head: Vec<u8>,
    at: u64,
    len: u64,
    /// Reset instead of going on here.
    reset_at: Option<u64>,
    /// The end waits for something else.
    hold: bool,
    sha: Sha256,
}

impl Out {
    fn new(pattern: Pattern, head: Vec<u8>, body: u64) -> Self {
        let len = head.len() as u64 + body;
        Self { pattern, head, at: 0, len, reset_at: None, hold: false, sha: Sha256::default() }
    }

    /// What comes next, about as much as there is room for.
    fn portion(&self, room: u64, most: usize) -> Vec<u8> {
        let end = self.reset_at.unwrap_or(self.len);
        let n = (end - self.at).min(most as u64).min(room.max(1)) as usize;
        let head = self.head.len() as u64;
        if self.at < head {
            let rest = &self.head[self.at as usize..];
            return rest[..rest.len().min(most)].to_vec();
        }
        self.pattern.bytes(self.at - head, n)
    }
}

/// Every stream that this side sends on.
#[derive(Default)]
struct Sender {
    streams: BTreeMap<StreamId, Out>,
    blocked: HashSet<StreamId>,
    digests: BTreeMap<StreamId, [u8; 32]>,
    sent: u64,
    /// Most bytes in one write; 0: as many as there is room for.
    portion: usize,
}

impl Sender {
    fn work(&mut self, conn: &mut Connection) -> bool {
        let mut changed = false;
        let mut over = Vec::new();
        let most = if self.portion == 0 { PORTION } else { self.portion };
        for (&id, out) in &mut self.streams {
            if self.blocked.contains(&id) {
                continue;
            }
            let end = out.reset_at.unwrap_or(out.len);
            while out.at < end {
                let portion = out.portion(conn.writable_len(id).unwrap_or(0), most);
                match conn.write_chunk(id, Chunk::from_vec(portion.clone())) {
                    Ok(n) => {
                        changed = true;
                        out.sha.update(&portion[..n]);
                        out.at += n as u64;
                        self.sent += n as u64;
                        if n < portion.len() {
                            self.blocked.insert(id);
                            break;
                        }
                    }
                    Err(WriteError::Blocked) => {
                        self.blocked.insert(id);
                        break;
                    }
                    Err(WriteError::Stopped(GIVE_UP) | WriteError::Unknown | WriteError::Closed) => break,
                    Err(e) => panic!("{id:?} write at {}: {e}", out.at),
                }
            }
            if out.at < end || out.hold {
                continue;
            }
            changed = true;
            over.push(id);
            let ended = if out.reset_at.is_some() { conn.reset(id, GIVE_UP) } else { conn.finish(id) };
            if ended.is_ok() && out.reset_at.is_none() {
                self.digests.insert(id, out.sha.clone().finish());
            }
        }
        for id in over {
            self.streams.remove(&id);
        }
        changed
    }

    fn on_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Writable { id } => {
                self.blocked.remove(&id);
            }
            StreamEvent::Stopped { id, code } => {
                assert_eq!(code, GIVE_UP, "{id:?} stopped");
                self.streams.remove(&id);
                self.blocked.remove(&id);
                self.digests.remove(&id);
            }
            _ => {}
        }
    }
}

/// What one read gave.
enum Piece {
    Bytes(Vec<u8>, bool),
    Nothing,
    Reset,
}

fn read(conn: &mut Connection, id: StreamId, copying: bool) -> Piece {
    let got = if copying {
        let mut buf = vec![0; PORTION];
        conn.read(id, &mut buf).map(|ReadOk { len, fin }| {
            buf.truncate(len);
            (buf, fin)
        })
    } else {
        conn.read_chunk(id, PORTION).map(|(c, fin)| (c.to_vec().expect("library memory"), fin))
    };
    match got {
        Ok((data, fin)) if data.is_empty() && !fin => Piece::Nothing,
        Ok((data, fin)) => Piece::Bytes(data, fin),
        Err(ReadError::Blocked) => Piece::Nothing,
        Err(ReadError::Reset(GIVE_UP)) => Piece::Reset,
        Err(e) => panic!("{id:?} read: {e}"),
    }
}

struct Download {
    pattern: Pattern,
    at: u64,
    len: u64,
    stop_at: Option<u64>,
    sha: Sha256,
}

/// The client's side: opens streams by its plan and checks what comes back.
pub struct Client {
    plan: Plan,
    next: usize,
    sender: Sender,
    downloads: BTreeMap<StreamId, Download>,
    digests: BTreeMap<StreamId, [u8; 32]>,
    connected: bool,
    confirmed: bool,
    datagrams_sent: u32,
    /// Datagrams that came back.
    pub datagrams_back: u32,
    /// Bytes of downloads so far.
    pub received: u64,
    /// Jobs that ended as planned.
    pub finished: usize,
    pub connected_at: Option<Timestamp>,
    pub done_at: Option<Timestamp>,
    pub zero_rtt_accepted: Option<bool>,
    pub resumed: bool,
    flip: bool,
}

impl Client {
    /// A client with a plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            next: 0,
            sender: Sender { portion: plan.portion, ..Sender::default() },
            plan,
            downloads: BTreeMap::new(),
            digests: BTreeMap::new(),
            connected: false,
            confirmed: false,
            datagrams_sent: 0,
            datagrams_back: 0,
            received: 0,
            finished: 0,
            connected_at: None,
            done_at: None,
            zero_rtt_accepted: None,
            resumed: false,
            flip: false,
        }
    }

    /// Adds an exchange to the plan.
    pub fn add(&mut self, job: Job) {
        self.plan.jobs.push(job);
        self.done_at = None;
    }

    /// Bytes given to the connection for sending.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sender.sent
    }

    fn open_more(&mut self, conn: &mut Connection) -> bool {
        let mut changed = false;
        while self.next < self.plan.jobs.len() {
            if self.plan.parallel > 0 && self.downloads.len() >= self.plan.parallel {
                break;
            }
            let Ok(id) = conn.open(Dir::Bi) else { break };
            let job = self.plan.jobs[self.next];
            let name = self.next as u64;
            let mut head = Vec::with_capacity(HEADER);
            for number in [name, job.download, job.upload] {
                head.extend_from_slice(&number.to_be_bytes());
            }
            let mut out = Out::new(Pattern::new(self.plan.seed, name, Side::Client), head, job.upload);
            let reset = job.abandon && job.upload > job.download;
            out.reset_at = reset.then_some(HEADER as u64 + job.upload / 2);
            let stop_at = (job.abandon && !reset).then_some(job.download / 2);
            let pattern = Pattern::new(self.plan.seed, name, Side::Server);
            let download = Download { pattern, at: 0, len: job.download, stop_at, sha: Sha256::default() };
            self.sender.streams.insert(id, out);
            self.downloads.insert(id, download);
            self.next += 1;
            changed = true;
        }
        changed
    }

    fn read_all(&mut self, conn: &mut Connection) -> bool {
        let mut changed = false;
        let mut over = Vec::new();
        for (&id, d) in &mut self.downloads {
            loop {
                if d.stop_at.is_some_and(|stop| d.at >= stop) {
                    // The server may have ended meanwhile.
                    let _ = conn.stop(id, GIVE_UP);
                    over.push(id);
                    break;
                }
                self.flip = !self.flip;
                match read(conn, id, self.flip) {
                    Piece::Bytes(data, fin) => {
                        changed = true;
                        assert!(d.pattern.matches(d.at, &data), "{id:?} at {}: not what was sent", d.at);
                        d.sha.update(&data);
                        d.at += data.len() as u64;
                        self.received += data.len() as u64;
                        assert!(d.at <= d.len, "{id:?}: more than was asked for");
                        if fin {
                            assert_eq!(d.at, d.len, "{id:?}: the end is early");
                            self.digests.insert(id, d.sha.clone().finish());
                            over.push(id);
                            break;
                        }
                    }
                    Piece::Nothing => break,
                    Piece::Reset => break, // the event follows
                }
            }
        }
        for id in over {
            self.downloads.remove(&id);
            self.finished += 1;
            changed = true;
        }
        changed
    }

    fn send_datagrams(&mut self, conn: &mut Connection) -> bool {
        let mut changed = false;
        while self.connected && self.datagrams_sent < self.plan.datagrams {
            let mut data = self.datagrams_sent.to_be_bytes().to_vec();
            let name = u64::from(self.datagrams_sent);
            data.extend(Pattern::new(self.plan.seed, name, Side::Client).bytes(0, self.plan.datagram_len));
            if conn.datagram_send(Chunk::from_vec(data), 0).is_err() {
                break;
            }
            self.datagrams_sent += 1;
            changed = true;
        }
        changed
    }
}

impl App for Client {
    fn on_event(&mut self, conn: &mut Connection, event: &Event, now: Timestamp) {
        match event {
            Event::Connected { zero_rtt_accepted, resumed } => {
                assert!(!self.connected, "connected twice");
                self.connected = true;
                self.connected_at = Some(now);
                (self.zero_rtt_accepted, self.resumed) = (*zero_rtt_accepted, *resumed);
            }
            Event::HandshakeConfirmed => self.confirmed = true,
            Event::Stream(e) => {
                self.sender.on_event(*e);
                // The server resets the answer to a request that was reset.
                if let StreamEvent::Reset { id, code } = e {
                    assert_eq!(*code, GIVE_UP, "{id:?} reset");
                    self.finished += usize::from(self.downloads.remove(id).is_some());
                }
            }
            Event::DatagramReceived => {
                while let Some(d) = conn.datagram_recv() {
                    let name = u32::from_be_bytes([d[0], d[1], d[2], d[3]]);
                    let pattern = Pattern::new(self.plan.seed, u64::from(name), Side::Client);
                    assert!(pattern.matches(0, &d[4..]), "a datagram changed on the way");
                    self.datagrams_back += 1;
                }
            }
            _ => {}
        }
    }

    fn work(&mut self, conn: &mut Connection, now: Timestamp) -> bool {
        let may = if self.plan.patient { self.confirmed } else { self.connected || self.plan.early };
        if !may || conn.is_closed() {
            return false;
        }
        let mut changed = self.open_more(conn);
        changed |= self.sender.work(conn);
        changed |= self.read_all(conn);
        changed |= self.send_datagrams(conn);
        if self.is_done() && self.done_at.is_none() {
            self.done_at = Some(now);
        }
        changed
    }

    fn is_done(&self) -> bool {
        self.connected
            && self.next == self.plan.jobs.len()
            && self.sender.streams.is_empty()
            && self.downloads.is_empty()
            && self.datagrams_sent == self.plan.datagrams
    }

    fn progress(&self) -> String {
        let (jobs, next, done) = (self.plan.jobs.len(), self.next, self.finished);
        let open: Vec<_> = self.downloads.iter().take(5).map(|(id, d)| (id, d.at, d.len)).collect();
        format!("client: {done} of {jobs} jobs done, {next} begun, reading {open:?}, connected {}", self.connected)
    }

    fn digests(&self) -> Digests {
        Digests { sent: self.sender.digests.clone(), received: self.digests.clone() }
    }

    fn bytes_read(&self) -> u64 {
        self.received
    }
}

#[derive(Default)]
struct Request {
    head: Vec<u8>,
    at: u64,
    sha: Sha256,
}

/// The server's side: answers what [`Client`] asks.
pub struct Server {
    seed: u64,
    sender: Sender,
    requests: BTreeMap<StreamId, Request>,
    digests: BTreeMap<StreamId, [u8; 32]>,
    flip: bool,
    /// Bytes of uploads so far.
    pub received: u64,
    /// Waits before each answer.
    pub thinks: Duration,
    thinking: BTreeMap<(Timestamp, StreamId), Out>,
}

impl Server {
    /// A server; `seed` as in the client's plan.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            sender: Sender::default(),
            requests: BTreeMap::new(),
            digests: BTreeMap::new(),
            flip: false,
            received: 0,
            thinks: Duration::ZERO,
            thinking: BTreeMap::new(),
        }
    }

    /// Writes at most so many bytes at a time.
    #[must_use]
    pub fn in_portions(mut self, portion: usize) -> Self {
        self.sender.portion = portion;
        self
    }

    fn number(head: &[u8], index: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&head[index * 8..index * 8 + 8]);
        u64::from_be_bytes(bytes)
    }

    /// The client gave up its request.
    fn abandon(&mut self, conn: &mut Connection, id: StreamId) {
        // The answer may be over already; if not, nobody waits for it.
        let _ = conn.reset(id, GIVE_UP);
        self.sender.streams.remove(&id);
        self.thinking.retain(|(_, other), _| *other != id);
    }

    fn read_all(&mut self, conn: &mut Connection, now: Timestamp) -> bool {
        let mut changed = false;
        let mut over = Vec::new();
        for (&id, r) in &mut self.requests {
            loop {
                self.flip = !self.flip;
                match read(conn, id, self.flip) {
                    Piece::Bytes(data, fin) => {
                        changed = true;
                        r.sha.update(&data);
                        let n = data.len().min(HEADER - r.head.len());
                        let had = r.head.len();
                        r.head.extend_from_slice(&data[..n]);
                        if had < HEADER && r.head.len() == HEADER {
                            let [name, len] = [0, 1].map(|i| Self::number(&r.head, i));
                            let mut out = Out::new(Pattern::new(self.seed, name, Side::Server), Vec::new(), len);
                            out.hold = true;
                            self.thinking.insert((now + self.thinks, id), out);
                        }
                        let body = &data[n..];
                        if !body.is_empty() {
                            let pattern = Pattern::new(self.seed, Self::number(&r.head, 0), Side::Client);
                            assert!(pattern.matches(r.at, body), "{id:?} at {}: not what was sent", r.at);
                            r.at += body.len() as u64;
                            self.received += body.len() as u64;
                        }
                        if fin {
                            assert_eq!(r.at, Self::number(&r.head, 2), "{id:?}: the end is early");
                            // Only now: a client that has seen the answer's end knows that its upload arrived.
                            let waiting = self.thinking.iter_mut().filter(|((_, other), _)| *other == id);
                            for out in waiting.map(|(_, out)| out).chain(self.sender.streams.get_mut(&id)) {
                                out.hold = false;
                            }
                            self.digests.insert(id, r.sha.clone().finish());
                            over.push(id);
                            break;
                        }
                    }
                    Piece::Nothing => break,
                    Piece::Reset => break, // the event follows
                }
            }
        }
        for id in over {
            self.requests.remove(&id);
        }
        changed
    }
}

impl App for Server {
    fn on_event(&mut self, conn: &mut Connection, event: &Event, _: Timestamp) {
        match event {
            Event::Stream(StreamEvent::Opened { id }) => {
                assert_eq!(conn.accept_stream(id.dir()), Some(*id));
                self.requests.insert(*id, Request::default());
            }
            Event::Stream(e) => {
                self.sender.on_event(*e);
                match e {
                    StreamEvent::Stopped { id, .. } => self.thinking.retain(|(_, other), _| other != id),
                    StreamEvent::Reset { id, code } => {
                        assert_eq!(*code, GIVE_UP, "{id:?} reset");
                        self.abandon(conn, *id);
                        self.requests.remove(id);
                    }
                    _ => {}
                }
            }
            Event::DatagramReceived => {
                while let Some(d) = conn.datagram_recv() {
                    // The queue may be full, as a network's may.
                    let _ = conn.datagram_send(Chunk::from_vec(d), 0);
                }
            }
            _ => {}
        }
    }

    fn work(&mut self, conn: &mut Connection, now: Timestamp) -> bool {
        if conn.is_closed() {
            return false;
        }
        let mut changed = self.read_all(conn, now);
        while self.thinking.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let Some(((_, id), out)) = self.thinking.pop_first() else { break };
            self.sender.streams.insert(id, out);
            changed = true;
        }
        changed | self.sender.work(conn)
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.thinking.first_key_value().map(|((at, _), _)| *at)
    }

    fn is_done(&self) -> bool {
        self.requests.is_empty() && self.sender.streams.is_empty() && self.thinking.is_empty()
    }

    fn is_waiting(&self) -> bool {
        true
    }

    fn progress(&self) -> String {
        let reading: Vec<_> = self.requests.iter().take(5).map(|(id, r)| (id, r.at)).collect();
        let writing: Vec<_> = self.sender.streams.iter().take(5).map(|(id, o)| (id, o.at, o.len)).collect();
        format!("server: reading {reading:?}, writing {writing:?}, blocked {:?}", self.sender.blocked)
    }

    fn digests(&self) -> Digests {
        Digests { sent: self.sender.digests.clone(), received: self.digests.clone() }
    }

    fn bytes_read(&self) -> u64 {
        self.received
    }
}
