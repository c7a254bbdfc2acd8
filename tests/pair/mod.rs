//! Two endpoints and a virtual wire between them: virtual time, seeded randomness, a filter per datagram.
#![allow(dead_code, reason = "each test file uses its own part")]
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use whimbrel::base::{Ecn, FourTuple, Pcg, StreamId, Timestamp};
use whimbrel::connection::{Connection, ConnectionConfig, Event};
use whimbrel::crypto::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};
use whimbrel::endpoint::{ConnectionKey, DropReason, Endpoint, EndpointConfig, Routed};
use whimbrel::streams::ReadError;

pub const ALPN: &[u8] = b"pair";

/// What a server does with incoming connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    Accept,
    Refuse,
    /// The first Initial of every client is kept for a while before it is accepted.
    Late,
}

pub struct Node {
    pub endpoint: Endpoint,
    pub addr: SocketAddr,
    pub connections: BTreeMap<u64, Box<Connection>>,
    pub events: Vec<(ConnectionKey, Event)>,
    pub dropped: Vec<DropReason>,
    pub decision: Decision,
    pub listen: Option<(Arc<ConnectionConfig>, Arc<ServerTls>)>,
    waiting: Vec<(Timestamp, whimbrel::endpoint::Incoming)>,
    buf: Vec<u8>,
}

pub fn rng_source(mut seed: u64) -> whimbrel::endpoint::RngSource {
    Box::new(move || {
        seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        Box::new(Pcg::new(seed))
    })
}

impl Node {
    pub fn new(addr: &str, cfg: EndpointConfig, seed: u64) -> Self {
        Self {
            endpoint: Endpoint::new(cfg, rng_source(seed)),
            addr: addr.parse().unwrap(),
            connections: BTreeMap::new(),
            events: Vec::new(),
            dropped: Vec::new(),
            decision: Decision::Accept,
            listen: None,
            waiting: Vec::new(),
            buf: vec![0; 65536],
        }
    }

    fn tuple(&self, remote: SocketAddr) -> FourTuple {
        FourTuple { local: Some(self.addr), remote, socket: 0 }
    }

    pub fn only(&mut self) -> &mut Connection {
        assert_eq!(self.connections.len(), 1, "one connection");
        self.connections.values_mut().next().unwrap()
    }

    fn accept(&mut self, incoming: whimbrel::endpoint::Incoming, now: Timestamp) {
        let (cfg, tls) = self.listen.clone().expect("a server");
        let (key, connection) = self.endpoint.accept(incoming, cfg, &tls, now).expect("accepted");
        self.connections.insert(key.to_u64(), connection);
    }

    /// One datagram in; answers without a connection out.
    fn receive(&mut self, from: SocketAddr, ecn: Ecn, mut datagram: Vec<u8>, now: Timestamp) -> Option<Vec<u8>> {
        let tuple = self.tuple(from);
        let mut reply = Vec::new();
        match self.endpoint.receive(&tuple, ecn, &mut datagram, now, &mut reply) {
            Routed::Connection(key) => {
                if let Some(c) = self.connections.get_mut(&key.to_u64()) {
                    c.receive(&tuple, ecn, &mut datagram, now);
                }
                None
            }
            Routed::Incoming(incoming) => match self.decision {
                Decision::Accept => {
                    self.accept(incoming, now);
                    None
                }
                Decision::Late => {
                    self.waiting.push((now + Duration::from_millis(200), incoming));
                    None
                }
                Decision::Refuse => self.endpoint.refuse(incoming, now, &mut reply).then_some(reply),
            },
            Routed::Reply => Some(reply),
            Routed::Buffered => None,
            Routed::OtherShard(_) => panic!("there is one shard"),
            Routed::Dropped(reason) => {
                self.dropped.push(reason);
                None
            }
        }
    }

    /// Timers, events and datagrams of all connections.
    fn turn(&mut self, now: Timestamp, out: &mut Vec<(SocketAddr, SocketAddr, Ecn, Vec<u8>)>) {
        while self.waiting.first().is_some_and(|w| w.0 <= now) {
            let (_, incoming) = self.waiting.remove(0);
            self.accept(incoming, now);
        }
        let mut gone = Vec::new();
        for (&id, c) in &mut self.connections {
            let key = ConnectionKey::from_u64(id);
            if c.deadline().is_some_and(|d| d <= now) {
                c.on_deadline(now);
            }
            while let Some(event) = c.poll_event() {
                self.events.push((key, event));
            }
            while let Some(t) = c.transmit(now, &mut self.buf, 10) {
                let local = t.tuple.local.unwrap_or(self.addr);
                for part in self.buf[..t.len].chunks(t.segment.unwrap_or(t.len)) {
                    out.push((local, t.tuple.remote, t.ecn, part.to_vec()));
                }
            }
            while let Some(event) = c.poll_event() {
                self.events.push((key, event));
            }
            if self.endpoint.serve(key, c, now) {
                gone.push(id);
            }
        }
        for id in gone {
            self.connections.remove(&id);
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let waiting = self.waiting.iter().map(|w| w.0);
        self.connections.values().filter_map(|c| c.deadline()).chain(waiting).min()
    }
}

struct Flying {
    at: Timestamp,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    ecn: Ecn,
    bytes: Vec<u8>,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Flying {}
impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The earliest on top of the heap.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What happens to a datagram on the wire.
pub enum Fate {
    Pass,
    Drop,
    Delay(Duration),
    Change(Vec<u8>),
    Twice(Duration),
}

pub type Filter = Box<dyn FnMut(bool, usize, &[u8]) -> Fate>;

pub struct Pair {
    pub now: Timestamp,
    pub client: Node,
    pub server: Node,
    pub client_cfg: Arc<ConnectionConfig>,
    pub client_tls: Arc<ClientTls>,
    pub delay: Duration,
    /// `(to the server?, how many went that way before, bytes)`.
    pub filter: Filter,
    /// The client's address as the server sees it: a NAT in between.
    pub nat: Option<SocketAddr>,
    /// Print every datagram: set by the environment variable WHIMBREL_TRACE.
    pub trace: bool,
    pub sent: [usize; 2],
    pub bytes: [usize; 2],
    flying: BinaryHeap<Flying>,
    order: u64,
}

pub struct Setup {
    pub client: ConnectionConfig,
    pub server: ConnectionConfig,
    pub client_endpoint: EndpointConfig,
    pub server_endpoint: EndpointConfig,
    pub early_data: bool,
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            client: ConnectionConfig::default(),
            server: ConnectionConfig::default(),
            client_endpoint: EndpointConfig { secret: [1; 32], ..Default::default() },
            server_endpoint: EndpointConfig { server: true, secret: [2; 32], ..Default::default() },
            early_data: false,
            seed: 1,
        }
    }
}

impl Setup {
    pub fn build(self) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec!["localhost".to_string()]).unwrap().self_signed(&key).unwrap();
        let server_tls = ServerTlsBuilder::new()
            .alpn(vec![ALPN.to_vec()])
            .identity_pem(cert.pem().as_bytes(), key.serialize_pem().as_bytes())
            .early_data(self.early_data)
            .build()
            .unwrap();
        let client_tls = ClientTlsBuilder::new()
            .alpn(vec![ALPN.to_vec()])
            .roots_pem(cert.pem().as_bytes())
            .early_data(self.early_data)
            .build()
            .unwrap();
        let mut server = Node::new("203.0.113.1:443", self.server_endpoint, self.seed * 2);
        server.listen = Some((Arc::new(self.server), server_tls));
        Pair {
            now: Timestamp(1_000_000_000),
            client: Node::new("198.51.100.1:1111", self.client_endpoint, self.seed * 2 + 1),
            server,
            client_cfg: Arc::new(self.client),
            client_tls,
            delay: Duration::from_millis(10),
            filter: Box::new(|_, _, _| Fate::Pass),
            nat: None,
            trace: std::env::var_os("WHIMBREL_TRACE").is_some(),
            sent: [0; 2],
            bytes: [0; 2],
            flying: BinaryHeap::new(),
            order: 0,
        }
    }
}

impl Pair {
    pub fn connect(&mut self, token: Vec<u8>) -> ConnectionKey {
        let tuple = self.client.tuple(self.server.addr);
        let cfg = Arc::clone(&self.client_cfg);
        let started = self.client.endpoint.connect(cfg, &self.client_tls, "localhost", tuple, token, self.now);
        let (key, connection) = started.expect("connection starts");
        self.client.connections.insert(key.to_u64(), connection);
        key
    }

    fn fly(&mut self, from: SocketAddr, to: SocketAddr, ecn: Ecn, bytes: Vec<u8>) {
        let up = to == self.server.addr;
        let from = if up { self.nat.unwrap_or(from) } else { from };
        let n = self.sent[usize::from(up)];
        self.sent[usize::from(up)] += 1;
        self.bytes[usize::from(up)] += bytes.len();
        let mut at = self.now + self.delay;
        let fate = (self.filter)(up, n, &bytes);
        if self.trace {
            let kind = match &fate {
                Fate::Pass => "pass",
                Fate::Drop => "DROP",
                Fate::Delay(_) => "delay",
                Fate::Change(_) => "change",
                Fate::Twice(_) => "twice",
            };
            let dir = if up { "c->s" } else { "s->c" };
            let head: Vec<_> = bytes.iter().take(40).map(|b| format!("{b:02x}")).collect();
            eprintln!(
                "{:>9.3} ms {dir} #{n} {} bytes {kind} {}",
                self.now.as_nanos() as f64 / 1e6,
                bytes.len(),
                head.join("")
            );
        }
        let bytes = match fate {
            Fate::Pass => bytes,
            Fate::Drop => return,
            Fate::Delay(more) => {
                at = at + more;
                bytes
            }
            Fate::Change(other) => other,
            Fate::Twice(later) => {
                self.order += 1;
                self.flying.push(Flying { at: at + later, order: self.order, from, to, ecn, bytes: bytes.clone() });
                bytes
            }
        };
        self.order += 1;
        self.flying.push(Flying { at, order: self.order, from, to, ecn, bytes });
    }

    /// Everything that happens at the present time; then time moves to the next thing. False: nothing is left.
    pub fn step(&mut self) -> bool {
        let mut out = Vec::new();
        self.client.turn(self.now, &mut out);
        self.server.turn(self.now, &mut out);
        for (from, to, ecn, bytes) in out.drain(..) {
            assert!(!bytes.is_empty());
            self.fly(from, to, ecn, bytes);
        }
        let next = self.flying.peek().map(|f| f.at);
        let next = [next, self.client.deadline(), self.server.deadline()].into_iter().flatten().min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        while self.flying.peek().is_some_and(|f| f.at <= self.now) {
            let f = self.flying.pop().unwrap();
            let (node, back) = if f.to == self.server.addr {
                (&mut self.server, f.from)
            } else if f.to == self.nat.unwrap_or(self.client.addr) || f.to == self.client.addr {
                (&mut self.client, f.from)
            } else {
                continue;
            };
            let here = node.addr;
            if let Some(reply) = node.receive(f.from, f.ecn, f.bytes, self.now) {
                self.fly(here, back, Ecn::NotEct, reply);
            }
        }
        true
    }

    /// Runs until `done`, at most `limit` of virtual time.
    #[track_caller]
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        let mut idle_steps = 0;
        let mut last = self.now;
        loop {
            if done(self) {
                return;
            }
            if !self.step() {
                assert!(done(self), "nothing left to do; {}", self.describe());
                return;
            }
            idle_steps = if self.now == last { idle_steps + 1 } else { 0 };
            last = self.now;
            assert!(idle_steps < 1000, "time stands still: a deadline that is not served; {}", self.describe());
            assert!(self.now <= end, "not done in {limit:?}; {}", self.describe());
        }
    }

    pub fn describe(&self) -> String {
        let side = |n: &Node| {
            let states: Vec<_> = n
                .connections
                .values()
                .map(|c| format!("established {} closed {:?}", c.is_established(), c.close_reason()))
                .collect();
            format!("{states:?} dropped {:?} events {:?}", n.dropped, n.events.iter().map(|e| &e.1).collect::<Vec<_>>())
        };
        format!("client: {}; server: {}; sent {:?}", side(&self.client), side(&self.server), self.sent)
    }

    /// Runs until both sides have confirmed the handshake.
    #[track_caller]
    pub fn establish(&mut self) {
        self.run(Duration::from_secs(600), |p| {
            !p.server.connections.is_empty()
                && p.client.connections.values().all(|c| c.is_confirmed())
                && p.server.connections.values().all(|c| c.is_confirmed())
        });
    }
}

/// Reads what is there; true at the end of the stream.
pub fn read_all(c: &mut Connection, id: StreamId, into: &mut Vec<u8>) -> bool {
    let mut buf = [0; 8192];
    loop {
        match c.read(id, &mut buf) {
            Ok(ok) => {
                into.extend_from_slice(&buf[..ok.len]);
                if ok.fin {
                    return true;
                }
            }
            Err(ReadError::Blocked | ReadError::Unknown) => return false,
            Err(ReadError::Finished) => return true,
            Err(e) => panic!("{e:?}"),
        }
    }
}

/// Bytes whose value depends on their place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
