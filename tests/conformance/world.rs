//! The side under test: an endpoint with its connections and HTTP/3, fed by hand.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use whimbrel::base::codes::{VERSION_1, VERSION_2};
use whimbrel::base::{Ecn, FourTuple, Level, Pcg, Side, Timestamp};
use whimbrel::connection::{CloseReason, Connection, ConnectionConfig, Event};
use whimbrel::crypto::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};
use whimbrel::endpoint::{ConnectionKey, DropReason, Endpoint, EndpointConfig, RetryPolicy, Routed};
use whimbrel::http3::{Field, H3Event, Http3, Http3Config};

use super::peer::{Got, Params, Peer, Shape, new_cid};

pub const V1: u32 = VERSION_1;
pub const V2: u32 = VERSION_2;
pub const SECOND: Duration = Duration::from_secs(1);
/// Time that one datagram takes.
const HOP: Duration = Duration::from_millis(1);
const VICTIM: &str = "203.0.113.1:443";
pub const EVIL: &str = "198.51.100.9:6666";

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn certificate() -> &'static (String, String) {
    static CERT: OnceLock<(String, String)> = OnceLock::new();
    CERT.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        (cert.pem(), key.serialize_pem())
    })
}

pub fn server_tls(early_data: bool) -> Arc<ServerTls> {
    let (cert, key) = certificate();
    let builder = ServerTlsBuilder::new().identity_pem(cert.as_bytes(), key.as_bytes());
    builder.alpn(vec![b"h3".to_vec()]).early_data(early_data).build().unwrap()
}

pub fn client_tls(alpn: &[&str], early_data: bool) -> Arc<ClientTls> {
    let alpn = alpn.iter().map(|a| a.as_bytes().to_vec()).collect();
    let builder = ClientTlsBuilder::new().alpn(alpn).roots_pem(certificate().0.as_bytes());
    builder.early_data(early_data).build().unwrap()
}

pub const ALPN: [&str; 4] = ["h3", "h3-29", "hq-interop", "hq-29"];

pub struct World {
    pub now: Timestamp,
    pub endpoint: Endpoint,
    pub connections: BTreeMap<u64, Box<Connection>>,
    http3: Option<Http3>,
    config: Arc<ConnectionConfig>,
    tls: Option<Arc<ServerTls>>,
    pub events: Vec<Event>,
    pub dropped: Vec<DropReason>,
    /// Streams that our HTTP/3 reported as ended early: id, code, and whether the peer did it.
    pub resets: Vec<(u64, u64, bool)>,
    /// What it sent and nobody took yet.
    pub out: Vec<(SocketAddr, Vec<u8>)>,
    /// Datagrams that came and went, in bytes.
    pub bytes: [usize; 2],
    buf: Vec<u8>,
}

pub struct Setup {
    pub config: ConnectionConfig,
    pub http3: bool,
    pub retry: RetryPolicy,
    pub tls: Arc<ServerTls>,
}

impl Default for Setup {
    fn default() -> Self {
        static TLS: OnceLock<Arc<ServerTls>> = OnceLock::new();
        let tls = Arc::clone(TLS.get_or_init(|| server_tls(true)));
        Self { config: ConnectionConfig::default(), http3: true, retry: RetryPolicy::Never, tls }
    }
}

fn endpoint(server: bool, retry: RetryPolicy) -> Endpoint {
    let cfg = EndpointConfig { server, secret: [7; 32], retry, ..Default::default() };
    let mut seed = 5u64;
    Endpoint::new(
        cfg,
        Box::new(move || {
            seed += 1;
            Box::new(Pcg::new(seed))
        }),
    )
}

impl World {
    fn new(endpoint: Endpoint, config: ConnectionConfig, tls: Option<Arc<ServerTls>>) -> Self {
        Self {
            now: Timestamp(1_000_000_000),
            endpoint,
            connections: BTreeMap::new(),
            http3: None,
            config: Arc::new(config),
            tls,
            events: Vec::new(),
            dropped: Vec::new(),
            resets: Vec::new(),
            out: Vec::new(),
            bytes: [0; 2],
            buf: vec![0; 65536],
        }
    }

    /// Our server.
    pub fn server() -> Self {
        Self::server_with(Setup::default())
    }

    pub fn server_with(setup: Setup) -> Self {
        let mut world = Self::new(endpoint(true, setup.retry), setup.config, Some(setup.tls));
        world.http3 = setup.http3.then(|| Http3::new(Side::Server, Http3Config::default()));
        world
    }

    /// Our client, its first datagram on the way to a malicious server.
    pub fn client(tls: &Arc<ClientTls>, http3: bool) -> Self {
        Self::client_with(tls, http3, ConnectionConfig::default())
    }

    pub fn client_with(tls: &Arc<ClientTls>, http3: bool, config: ConnectionConfig) -> Self {
        let mut world = Self::new(endpoint(false, RetryPolicy::Never), config, None);
        world.http3 = http3.then(|| Http3::new(Side::Client, Http3Config::default()));
        world.connect(tls);
        world
    }

    pub fn connect(&mut self, tls: &Arc<ClientTls>) {
        self.connect_with(tls, Vec::new());
    }

    /// The same with a token of an earlier connection.
    pub fn connect_with(&mut self, tls: &Arc<ClientTls>, token: Vec<u8>) {
        let tuple = self.tuple(addr(EVIL));
        let config = Arc::clone(&self.config);
        let (key, connection) =
            self.endpoint.connect(config, tls, "localhost", tuple, token, self.now).expect("a connection");
        self.connections.insert(key.to_u64(), connection);
        self.turn();
    }

    fn tuple(&self, remote: SocketAddr) -> FourTuple {
        FourTuple { local: Some(addr(VICTIM)), remote, socket: 0 }
    }

    pub fn connection(&mut self) -> &mut Connection {
        self.connections.values_mut().next().expect("a connection")
    }

    pub fn http3(&mut self) -> (&mut Http3, &mut Connection) {
        let connection = self.connections.values_mut().next().expect("a connection");
        (self.http3.as_mut().expect("HTTP/3"), connection)
    }

    /// One datagram in, without the answers.
    pub fn deliver_from(&mut self, from: SocketAddr, datagram: &[u8]) {
        let tuple = self.tuple(from);
        let mut bytes = datagram.to_vec();
        let mut reply = Vec::new();
        self.bytes[0] += bytes.len();
        match self.endpoint.receive(&tuple, Ecn::NotEct, &mut bytes, self.now, &mut reply) {
            Routed::Connection(key) => {
                if let Some(c) = self.connections.get_mut(&key.to_u64()) {
                    c.receive(&tuple, Ecn::NotEct, &mut bytes, self.now);
                }
            }
            Routed::Incoming(incoming) => {
                let tls = self.tls.clone().expect("a server");
                let accepted = self.endpoint.accept(incoming, Arc::clone(&self.config), &tls, self.now);
                let (key, connection) = accepted.expect("accepted");
                self.connections.insert(key.to_u64(), connection);
            }
            Routed::Reply => self.out.push((from, reply)),
            Routed::Buffered => {}
            Routed::OtherShard(_) => panic!("there is one shard"),
            Routed::Dropped(reason) => self.dropped.push(reason),
        }
    }

    pub fn deliver(&mut self, datagram: &[u8]) {
        self.deliver_from(addr(EVIL), datagram);
    }

    /// Events, the application and datagrams of all connections.
    pub fn turn(&mut self) {
        let mut gone = Vec::new();
        for (&id, c) in &mut self.connections {
            if c.deadline().is_some_and(|d| d <= self.now) {
                c.on_deadline(self.now);
            }
            for _ in 0..3 {
                while let Some(event) = c.poll_event() {
                    if let Some(h3) = &mut self.http3 {
                        h3.on_event(&mut **c, &event, self.now);
                    }
                    self.events.push(event);
                }
                if let Some(h3) = &mut self.http3 {
                    serve(h3, c, &mut self.resets);
                }
                while let Some(t) = c.transmit(self.now, &mut self.buf, 10) {
                    for part in self.buf[..t.len].chunks(t.segment.unwrap_or(t.len)) {
                        self.bytes[1] += part.len();
                        self.out.push((t.tuple.remote, part.to_vec()));
                    }
                }
                if self.endpoint.serve(ConnectionKey::from_u64(id), c, self.now) {
                    gone.push(id);
                    break;
                }
            }
        }
        for id in gone {
            self.connections.remove(&id);
        }
    }

    /// Delivers and answers until both sides are silent. Virtual time moves by a millisecond per exchange.
    pub fn exchange(&mut self, peer: &mut Peer) {
        for _ in 0..60 {
            self.turn();
            peer.now = self.now;
            let out = std::mem::take(&mut self.out);
            let quiet = out.is_empty();
            for (to, datagram) in out {
                if to == addr(EVIL) {
                    peer.receive(&datagram);
                }
            }
            let answers = peer.flush();
            if quiet && answers.is_empty() {
                return;
            }
            self.now = self.now + HOP;
            for datagram in answers {
                self.deliver(&datagram);
            }
        }
        panic!("two peers that never fall silent: {:?}", peer.log);
    }

    /// Lets `time` pass: timers fire, both sides go on.
    pub fn pass(&mut self, peer: &mut Peer, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange(peer);
            let next = self.connections.values().filter_map(|c| c.deadline()).min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
        }
        self.now = self.now.max(end);
    }

    /// One datagram, and all that follows from it.
    pub fn send(&mut self, peer: &mut Peer, datagram: &[u8]) {
        self.deliver(datagram);
        self.exchange(peer);
    }

    /// Frames in one packet, and all that follows from them.
    pub fn frames(&mut self, peer: &mut Peer, level: Level, payload: &[u8]) {
        let packet = peer.packet(level, payload);
        self.send(peer, &packet);
    }

    pub fn frames_as(&mut self, peer: &mut Peer, level: Level, payload: &[u8], shape: Shape<'_>) {
        let packet = peer.packet_as(level, payload, shape);
        self.send(peer, &packet);
    }

    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.events.iter().find_map(|e| match e {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }
}

/// A server that answers every request at once; a client that asks nothing by itself.
fn serve(h3: &mut Http3, conn: &mut Connection, resets: &mut Vec<(u64, u64, bool)>) {
    while let Some(event) = h3.poll_event() {
        match event {
            H3Event::Headers { stream, .. } if conn.side().is_server() => {
                let length = [Field::new(b":status", b"200"), Field::new(b"content-length", b"5")];
                if h3.respond(conn, stream, &length, false).is_ok() {
                    let _ = h3.send_body(conn, stream, b"hello", true);
                }
            }
            H3Event::Reset { stream, code, by_peer } => resets.push((stream.0, code, by_peer)),
            H3Event::Data { stream } => {
                let mut buf = [0; 1000];
                while let Ok((_, false)) = h3.recv_body(conn, stream, &mut buf) {}
            }
            _ => {}
        }
    }
}

/// A malicious client beside our server, nothing sent yet.
pub fn client() -> (World, Peer) {
    client_with(Setup::default(), V1, |p| p)
}

pub fn client_with(setup: Setup, version: u32, edit: impl FnOnce(Params) -> Params) -> (World, Peer) {
    static TLS: OnceLock<Arc<ClientTls>> = OnceLock::new();
    let tls = TLS.get_or_init(|| client_tls(&ALPN, false));
    (World::server_with(setup), Peer::client(tls, version, edit))
}

/// The same after the handshake.
pub fn connected() -> (World, Peer) {
    connected_with(Setup::default(), V1)
}

pub fn connected_with(setup: Setup, version: u32) -> (World, Peer) {
    let (mut world, mut peer) = client_with(setup, version, |p| p);
    world.exchange(&mut peer);
    assert!(peer.done && peer.saw(|g| *g == Got::HandshakeDone), "{:?}", peer.log);
    peer.expect_open("the handshake");
    (world, peer)
}

/// When the first 1-RTT packets of a client come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// In the datagram that ends the handshake.
    With,
    /// Before the server can read them: it must keep them, or wait for them to be sent again.
    Before,
    /// After HANDSHAKE_DONE.
    After,
}

pub const ORDERS: [Order; 3] = [Order::With, Order::Before, Order::After];

/// A whole connection of a client whose first 1-RTT packet is the one that `make` builds.
pub fn attack(version: u32, order: Order, make: impl FnOnce(&mut Peer) -> Vec<u8>) -> Peer {
    let (mut world, mut peer) = client_with(Setup::default(), version, |p| p);
    until_done(&mut world, &mut peer);
    match order {
        Order::With => {
            let finished = peer.crypto_piece(Level::Handshake);
            let mut datagram = peer.packet(Level::Handshake, &finished);
            datagram.extend(make(&mut peer));
            world.send(&mut peer, &datagram);
        }
        Order::Before => {
            let early = make(&mut peer);
            world.deliver(&early);
            world.turn();
            let finished = peer.crypto_piece(Level::Handshake);
            world.frames(&mut peer, Level::Handshake, &finished);
        }
        Order::After => {
            let finished = peer.crypto_piece(Level::Handshake);
            peer.mute = true;
            world.frames(&mut peer, Level::Handshake, &finished);
            assert!(peer.saw(|g| *g == Got::HandshakeDone), "{:?}", peer.log);
            peer.mute = false;
            let late = make(&mut peer);
            world.send(&mut peer, &late);
        }
    }
    let what = (order, world.close_reason());
    assert!(matches!(what.1, Some(CloseReason::Transport(_))), "{what:?}");
    peer
}

/// As far as our TLS says that it is complete, its Finished not yet sent.
pub fn until_done(world: &mut World, peer: &mut Peer) {
    while !peer.done {
        for datagram in peer.flush() {
            world.deliver(&datagram);
        }
        world.turn();
        assert!(!world.out.is_empty(), "the handshake stands still: {:?}", peer.log);
        for (_, datagram) in std::mem::take(&mut world.out) {
            peer.receive(&datagram);
        }
    }
}

/// A client that puts these frames first into every 1-RTT packet, of which the first carries NEW_CONNECTION_ID:
/// in both versions, with every order of arrival, each seen through to its CONNECTION_CLOSE.
#[track_caller]
pub fn injected(section: &str, inject: &[u8], codes: &[u64], frame_type: u64) {
    for version in [V1, V2] {
        for order in ORDERS {
            let peer = attack(version, order, |peer| {
                peer.inject.push((Level::OneRtt, inject.to_vec()));
                peer.packet(Level::OneRtt, &new_cid(1, 0))
            });
            peer.expect_close(&format!("{section}, {order:?}, version {version:x}"), codes, frame_type);
        }
    }
}
