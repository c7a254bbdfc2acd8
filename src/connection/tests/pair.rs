//! Two connections and a network between them, in virtual time.
//!
//! The network delays every datagram by the same time and asks a closure about its fate. It knows the client's
//! public address per local address, so that a test can rebind it as a NAT does.
use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::super::{
    AcceptParams, CloseReason, Connection, ConnectionConfig, EndpointEvent, Event, InitialCids, Transmit,
};
use crate::base::{ConnectionId, Dir, Ecn, FourTuple, Pcg, ResetToken, Rng, Side, StreamId, Timestamp};
use crate::crypto::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};
use crate::streams::{ReadError, StreamEvent, WriteError};
use crate::wire::header;

/// What happens to a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Deliver,
    Drop,
    /// Delivered that much later than others.
    Late(Duration),
    Twice,
}

pub type Hook = Box<dyn FnMut(Side, u64, &mut Vec<u8>) -> Fate>;

pub struct Flight {
    at: Timestamp,
    order: u64,
    to: Side,
    tuple: FourTuple,
    ecn: Ecn,
    bytes: Vec<u8>,
}

pub struct Peer {
    pub conn: Box<Connection>,
    pub events: Vec<Event>,
    pub retired: Vec<ConnectionId>,
    pub sent: u64,
    pub drained: bool,
}

impl Peer {
    pub fn saw(&self, f: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(f)
    }

    pub fn closed(&self) -> Option<&CloseReason> {
        self.events.iter().find_map(|e| match e {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }
}

pub struct Pair {
    pub now: Timestamp,
    pub client: Peer,
    pub server: Option<Peer>,
    pub server_cfg: Arc<ConnectionConfig>,
    pub server_tls: Arc<ServerTls>,
    pub delay: Duration,
    pub hook: Hook,
    pub flights: Vec<Flight>,
    pub accept: fn(&mut AcceptParams),
    /// What goes with the server's preferred address.
    pub preferred: Option<(ConnectionId, ResetToken)>,
    /// Local address of the client and the address that the server sees.
    pub nat: Vec<(FourTuple, SocketAddr)>,
    pub segments: usize,
    order: u64,
    rng: Pcg,
    /// Every datagram of the client also reaches the server that much earlier, from this address.
    pub copier: Option<(SocketAddr, Duration)>,
    /// Bytes that the server received from an address and sent there.
    pub traffic: BTreeMap<SocketAddr, [u64; 2]>,
    /// Tokens that the server asked for.
    pub tokens_for: Vec<SocketAddr>,
    /// Bytes that reached the server, and that it sent, while its peer's address was not validated.
    pub unvalidated_in: u64,
    pub unvalidated_out: u64,
}

pub const SERVER: &str = "10.0.0.2:4433";

pub fn tuple(local: &str, socket: u32) -> FourTuple {
    FourTuple { local: Some(local.parse().unwrap()), remote: SERVER.parse().unwrap(), socket }
}

pub fn certificate() -> &'static (Vec<u8>, Vec<u8>) {
    static CERT: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    CERT.get_or_init(|| {
        // Ed25519 signatures have one size, so that datagram boundaries do not move between runs.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        (cert.pem().into_bytes(), key.serialize_pem().into_bytes())
    })
}

pub fn server_tls() -> Arc<ServerTls> {
    let (cert, key) = certificate();
    ServerTlsBuilder::new().identity_pem(cert, key).alpn(vec![b"test".to_vec()]).early_data(true).build().unwrap()
}

pub fn client_tls() -> Arc<ClientTls> {
    let (cert, _) = certificate();
    ClientTlsBuilder::new().roots_pem(cert).alpn(vec![b"test".to_vec()]).early_data(true).build().unwrap()
}

/// A configuration with events on.
pub fn config() -> ConnectionConfig {
    ConnectionConfig { key_events: true, ..ConnectionConfig::default() }
}

impl Pair {
    pub fn new() -> Self {
        Self::with(config(), config(), &client_tls(), server_tls())
    }

    pub fn with(
        client: ConnectionConfig,
        server: ConnectionConfig,
        tls: &Arc<ClientTls>,
        server_tls: Arc<ServerTls>,
    ) -> Self {
        Self::starting(Arc::new(client), Arc::new(server), tls, server_tls, Timestamp(1_000_000_000), 7)
    }

    pub fn starting(
        client: Arc<ConnectionConfig>,
        server: Arc<ConnectionConfig>,
        tls: &Arc<ClientTls>,
        server_tls: Arc<ServerTls>,
        now: Timestamp,
        seed: u64,
    ) -> Self {
        let mut rng = Pcg::new(seed);
        let cids = InitialCids { local: cid(&mut rng), remote: cid(&mut rng) };
        let at = tuple("10.0.0.1:1000", 0);
        let source = Box::new(Pcg::new(seed ^ 1));
        let conn = Connection::connect(client, tls, "localhost", at, cids, Vec::new(), now, source).unwrap();
        Self {
            now,
            client: Peer { conn, events: Vec::new(), retired: Vec::new(), sent: 0, drained: false },
            server: None,
            server_cfg: server,
            server_tls,
            delay: Duration::from_millis(10),
            hook: Box::new(|_, _, _| Fate::Deliver),
            flights: Vec::new(),
            accept: |_| {},
            preferred: None,
            nat: vec![(at, "10.0.0.1:1000".parse().unwrap())],
            segments: 16,
            order: 0,
            rng,
            copier: None,
            traffic: BTreeMap::new(),
            tokens_for: Vec::new(),
            unvalidated_in: 0,
            unvalidated_out: 0,
        }
    }

    pub fn server(&mut self) -> &mut Peer {
        self.server.as_mut().expect("the server has accepted")
    }

    pub fn peer(&mut self, side: Side) -> &mut Peer {
        if side.is_client() { &mut self.client } else { self.server() }
    }

    /// Sends everything that both want to send and takes their events.
    pub fn flush(&mut self) {
        self.flush_side(Side::Client);
        if self.server.is_some() {
            self.flush_side(Side::Server);
        }
    }

    fn flush_side(&mut self, side: Side) {
        // A first RTT sample may move a probe timeout into the past; after that there is nothing left to do now.
        for _ in 0..4 {
            self.transmit_all(side);
            let now = self.now;
            let conn = &mut self.peer(side).conn;
            if conn.deadline().is_none_or(|at| at > now) {
                return;
            }
            conn.on_deadline(now);
        }
        let now = self.now;
        let conn = &self.peer(side).conn;
        let state = (&conn.timers, &conn.control.probes, conn.amplification_blocked, conn.paths.sendable(0));
        panic!("{side:?} at {now:?}: a deadline that stays in the past: {state:?}");
    }

    fn transmit_all(&mut self, side: Side) {
        self.take_events(side);
        let mut out = vec![0; 65536];
        let (now, segments) = (self.now, self.segments);
        while let Some(t) = self.peer(side).conn.transmit(now, &mut out, segments) {
            let bytes = out[..t.len].to_vec();
            for datagram in bytes.chunks(t.segment.unwrap_or(t.len)) {
                self.send(side, &t, datagram);
            }
        }
        self.take_events(side);
    }

    fn send(&mut self, from: Side, t: &Transmit, datagram: &[u8]) {
        self.peer(from).sent += 1;
        let index = self.peer(from).sent - 1;
        if from.is_server() {
            self.unvalidated_out += datagram.len() as u64;
            self.traffic.entry(t.tuple.remote).or_default()[1] += datagram.len() as u64;
        }
        let mut bytes = datagram.to_vec();
        let fate = (self.hook)(from, index, &mut bytes);
        let tuple = match from {
            Side::Client => {
                let Some((_, public)) = self.nat.iter().find(|(local, _)| local.same_path(&t.tuple)) else { return };
                FourTuple { local: Some(t.tuple.remote), remote: *public, socket: 0 }
            }
            Side::Server => {
                let known = |(local, public): &&(FourTuple, SocketAddr)| {
                    *public == t.tuple.remote && Some(local.remote) == t.tuple.local
                };
                let Some((local, _)) = self.nat.iter().find(known) else { return };
                *local
            }
        };
        if let Some((remote, lead)) = self.copier.filter(|_| from.is_client()) {
            self.order += 1;
            let (at, tuple) = (self.now + self.delay.saturating_sub(lead), FourTuple { remote, ..tuple });
            self.flights.push(Flight {
                at,
                order: self.order,
                to: Side::Server,
                tuple,
                ecn: t.ecn,
                bytes: bytes.clone(),
            });
        }
        let late = match fate {
            Fate::Drop => return,
            Fate::Late(by) => by,
            Fate::Deliver | Fate::Twice => Duration::ZERO,
        };
        for _ in 0..if fate == Fate::Twice { 2 } else { 1 } {
            let at = self.now + self.delay + late;
            self.order += 1;
            let flight = Flight { at, order: self.order, to: from.peer(), tuple, ecn: t.ecn, bytes: bytes.clone() };
            self.flights.push(flight);
        }
    }

    fn take_events(&mut self, side: Side) {
        while let Some(event) = self.peer(side).conn.poll_endpoint_event() {
            match event {
                EndpointEvent::NeedCids(n) => {
                    let fresh = (0..n).map(|_| (cid(&mut self.rng), token(&mut self.rng))).collect();
                    self.peer(side).conn.on_new_cids(fresh);
                }
                EndpointEvent::NeedToken(tuple, _) => {
                    self.tokens_for.push(tuple.remote);
                    self.peer(side).conn.send_new_token(b"a token".to_vec());
                }
                EndpointEvent::RetireCid(cid) => self.peer(side).retired.push(cid),
                EndpointEvent::Drained => self.peer(side).drained = true,
                EndpointEvent::HandshakeDone
                | EndpointEvent::ResetTokenLearned(..)
                | EndpointEvent::ResetTokenForgotten(_) => {}
            }
        }
        let peer = self.peer(side);
        while let Some(event) = peer.conn.poll_event() {
            peer.events.push(event);
        }
    }

    /// The next thing that happens; `false`: nothing ever will.
    pub fn step(&mut self) -> bool {
        self.flush();
        let arrival = self.flights.iter().map(|f| f.at).min();
        let timers = [self.client.conn.deadline(), self.server.as_ref().and_then(|s| s.conn.deadline())];
        let Some(next) = timers.into_iter().flatten().chain(arrival).min() else { return false };
        self.now = self.now.max(next);
        self.deliver();
        for side in [Side::Client, Side::Server] {
            if side.is_server() && self.server.is_none() {
                continue;
            }
            let now = self.now;
            let conn = &mut self.peer(side).conn;
            if conn.deadline().is_some_and(|at| at <= now) {
                conn.on_deadline(now);
            }
        }
        true
    }

    fn deliver(&mut self) {
        loop {
            let now = self.now;
            let due = self.flights.iter().enumerate().filter(|(_, f)| f.at <= now).min_by_key(|(_, f)| (f.at, f.order));
            let Some((index, _)) = due else { return };
            let mut flight = self.flights.swap_remove(index);
            if flight.to.is_server() {
                self.unvalidated_in += flight.bytes.len() as u64;
                self.traffic.entry(flight.tuple.remote).or_default()[0] += flight.bytes.len() as u64;
                if self.server.is_none() && !self.accept(&flight) {
                    continue;
                }
            }
            self.peer(flight.to).conn.receive(&flight.tuple, flight.ecn, &mut flight.bytes, now);
        }
    }

    fn accept(&mut self, flight: &Flight) -> bool {
        let Ok(head) = header::parse(&flight.bytes, 8) else { return false };
        if head.ty != crate::wire::PacketType::Initial {
            return false;
        }
        let mut params = AcceptParams {
            version: head.version,
            tuple: flight.tuple,
            odcid: head.dcid,
            initial_dcid: head.dcid,
            client_scid: head.scid,
            local_cid: cid(&mut self.rng),
            retry_scid: None,
            address_validated: false,
            reset_token: ResetToken([9; 16]),
            preferred: self.preferred,
        };
        (self.accept)(&mut params);
        let source = Box::new(Pcg::new(99));
        let conn = Connection::accept(self.server_cfg.clone(), &self.server_tls, params, self.now, source).unwrap();
        self.server = Some(Peer { conn, events: Vec::new(), retired: Vec::new(), sent: 0, drained: false });
        true
    }

    /// Runs until `done` or for `limit` of virtual time; panics when the limit comes first.
    #[track_caller]
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        for _ in 0..1_000_000 {
            self.flush();
            if done(self) {
                return;
            }
            assert!(self.now <= end, "not done in {limit:?}; client {:?}", self.client.conn.close_reason());
            assert!(self.step(), "nothing left to happen");
        }
        panic!("too many steps");
    }

    /// Runs for a time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.flush();
            let arrival = self.flights.iter().map(|f| f.at).min();
            let timers = [self.client.conn.deadline(), self.server.as_ref().and_then(|s| s.conn.deadline())];
            let next = timers.into_iter().flatten().chain(arrival).min();
            if next.is_none_or(|at| at > end) {
                self.now = end;
                return;
            }
            self.step();
        }
    }

    #[track_caller]
    pub fn connected(mut self) -> Self {
        self.run_until(Duration::from_secs(5), |p| {
            p.client.conn.is_confirmed() && p.server.as_ref().is_some_and(|s| s.conn.is_confirmed())
        });
        self.run_for(Duration::from_millis(100));
        self
    }

    /// Sends `data` from `side` on a new stream, then the end; the stream.
    pub fn start(&mut self, side: Side, dir: Dir) -> StreamId {
        self.peer(side).conn.open(dir).unwrap()
    }

    /// Writes and reads until `data` is through and finished; what arrived.
    #[track_caller]
    pub fn transfer(&mut self, from: Side, id: StreamId, data: &[u8], limit: Duration) -> Vec<u8> {
        let (mut written, mut finished, mut got, mut ended) = (0, false, Vec::new(), false);
        let mut buffer = vec![0; 32 * 1024];
        self.run_until(limit, |p| {
            let sender = &mut p.peer(from).conn;
            while written < data.len() {
                match sender.write(id, &data[written..]) {
                    Ok(0) | Err(WriteError::Blocked) => break,
                    Ok(n) => written += n,
                    Err(other) => panic!("write: {other:?} {:?}", sender.close_reason()),
                }
            }
            if written == data.len() && !finished {
                sender.finish(id).unwrap();
                finished = true;
            }
            if p.server.is_some() {
                let reader = &mut p.peer(from.peer()).conn;
                loop {
                    match reader.read(id, &mut buffer) {
                        Ok(ok) => {
                            got.extend_from_slice(&buffer[..ok.len]);
                            ended |= ok.fin;
                            if ok.fin {
                                break;
                            }
                        }
                        Err(ReadError::Blocked | ReadError::Unknown | ReadError::Finished) => break,
                        Err(other) => panic!("read: {other:?}"),
                    }
                }
            }
            p.flush();
            ended
        });
        got
    }
}

pub fn stream_event(event: &Event) -> Option<StreamEvent> {
    match event {
        Event::Stream(e) => Some(*e),
        _ => None,
    }
}

pub fn cid(rng: &mut Pcg) -> ConnectionId {
    let mut bytes = [0; 8];
    rng.fill(&mut bytes);
    ConnectionId::new(&bytes).unwrap()
}

pub fn token(rng: &mut Pcg) -> ResetToken {
    let mut bytes = [0; 16];
    rng.fill(&mut bytes);
    ResetToken(bytes)
}

pub fn pattern(len: usize) -> Vec<u8> {
    let mut rng = Pcg::new(len as u64);
    let mut data = vec![0; len];
    rng.fill(&mut data);
    data
}
