//! A host in the world: one endpoint, its sockets, its connections and the applications on top of them.
//!
//! Invariant: after a visit every connection is at rest: nothing to send, nothing to tell, its deadline in the future.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::checks::{self, Checked};
use crate::base::{Ecn, FourTuple, Pcg, Rng, Side, Timestamp};
use crate::connection::{CloseReason, Connection, ConnectionConfig, Event, Stats};
use crate::crypto::ServerTls;
use crate::endpoint::{DropReason, Endpoint, EndpointConfig, Routed};

/// Makes the application of each accepted connection.
pub type NewApp = Box<dyn FnMut() -> Box<dyn App> + Send>;

/// How a host is made.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub endpoint: EndpointConfig,
    /// Where it can be reached; a client gets its own addresses when it connects.
    pub addresses: Vec<SocketAddr>,
    /// Datagrams in one `transmit`.
    pub max_segments: usize,
    /// The NAT before this host forgets an address after so long without a datagram from inside.
    pub nat_memory: Option<Duration>,
}

impl NodeConfig {
    /// A host that only connects.
    #[must_use]
    pub fn client() -> Self {
        Self { endpoint: EndpointConfig::default(), addresses: Vec::new(), max_segments: 10, nat_memory: None }
    }

    /// A host that can listen at `addresses`.
    #[must_use]
    pub fn server(addresses: &[SocketAddr]) -> Self {
        let endpoint = EndpointConfig { server: true, secret: [2; 32], ..EndpointConfig::default() };
        Self { endpoint, addresses: addresses.to_vec(), max_segments: 10, nat_memory: None }
    }
}

/// What a server does with newcomers.
pub struct Listener {
    pub config: Arc<ConnectionConfig>,
    pub tls: Arc<ServerTls>,
    pub app: NewApp,
}

/// A socket and what a NAT makes of it.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    pub local: SocketAddr,
    pub external: SocketAddr,
    /// Its network is gone: nothing leaves.
    pub dead: bool,
    /// A datagram of a peer has arrived at this external address.
    pub reached: bool,
    /// An earlier address of which the same is true: an answer to what came there may leave from here.
    pub left: Option<SocketAddr>,
    /// When it sent last.
    pub last_sent: Timestamp,
}

/// A datagram on its way out.
pub struct Outgoing {
    pub tuple: FourTuple,
    pub ecn: Ecn,
    pub bytes: Vec<u8>,
}

/// One connection, there or gone.
pub struct Live {
    /// `None` once it is drained.
    pub conn: Option<Box<Connection>>,
    pub config: Arc<ConnectionConfig>,
    pub app: Box<dyn App>,
    pub closed: Option<CloseReason>,
    /// The last counters before it was forgotten.
    pub stats: Stats,
    /// When it was made.
    pub started: Timestamp,
    /// Its qlog, when the configuration asks for one.
    pub qlog: Vec<u8>,
    /// Every event but those of streams and datagrams.
    pub events: Vec<(Timestamp, Event)>,
    /// Paths that could not be validated, until the world has looked at them.
    pub(super) failed_paths: Vec<FourTuple>,
    key: u64,
}

/// One host.
pub struct Node {
    pub endpoint: Endpoint,
    pub sockets: Vec<Socket>,
    pub conns: Vec<Live>,
    pub listener: Option<Listener>,
    /// Address validation token for the next connection, as the last server gave it.
    pub token: Vec<u8>,
    /// Why datagrams were dropped before they reached a connection.
    pub dropped: Vec<DropReason>,
    /// The newest lines of what happened.
    pub log: VecDeque<String>,
    pub(super) nat_memory: Option<Duration>,
    pub(super) asleep: bool,
    pub(super) name: usize,
    max_segments: usize,
    by_key: BTreeMap<u64, usize>,
    touched: BTreeSet<usize>,
    visits: u64,
    pub(super) checked: Checked,
    out: Vec<u8>,
}

/// More than this in one visit: the two loops feed each other.
const MAX_ROUNDS_PER_VISIT: usize = 20_000;
/// Timers that may fire one after another at the same moment.
const MAX_TIMERS_PER_VISIT: usize = 4;
/// Bytes in flight from which on their records are added up only now and then.
const MUCH: u64 = 200_000;
/// Lines that the log keeps.
const MAX_LOG: usize = 200;

impl Node {
    pub(super) fn new(name: usize, config: NodeConfig, seed: u64) -> Self {
        let mut next = seed.wrapping_mul(0x1_0001);
        let rngs = Box::new(move || {
            next = next.wrapping_add(1);
            Box::new(Pcg::new(next)) as Box<dyn Rng>
        });
        Self {
            endpoint: Endpoint::new(config.endpoint, rngs),
            sockets: Vec::new(),
            conns: Vec::new(),
            listener: None,
            token: Vec::new(),
            dropped: Vec::new(),
            log: VecDeque::new(),
            nat_memory: config.nat_memory,
            asleep: false,
            name,
            max_segments: config.max_segments.max(1),
            by_key: BTreeMap::new(),
            touched: BTreeSet::new(),
            visits: 0,
            checked: Checked::default(),
            out: vec![0; 65536],
        }
    }

    pub(super) fn say(&mut self, now: Timestamp, what: &str) {
        if self.log.len() == MAX_LOG {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:>12.6} node {} {what}", now.0 as f64 / 1e9, self.name));
    }

    pub(super) fn add(
        &mut self,
        key: u64,
        conn: Box<Connection>,
        config: Arc<ConnectionConfig>,
        app: Box<dyn App>,
        started: Timestamp,
    ) -> usize {
        let index = self.conns.len();
        self.conns.push(Live {
            conn: Some(conn),
            config,
            app,
            closed: None,
            stats: Stats::default(),
            started,
            qlog: Vec::new(),
            events: Vec::new(),
            failed_paths: Vec::new(),
            key,
        });
        self.by_key.insert(key, index);
        self.touched.insert(index);
        index
    }

    /// The next visit looks at this connection.
    pub(super) fn touch(&mut self, index: usize) {
        self.touched.insert(index);
    }

    /// A datagram arrives; the answer is what the endpoint says itself.
    pub(super) fn receive(&mut self, tuple: FourTuple, ecn: Ecn, bytes: &mut [u8], now: Timestamp) -> Option<Vec<u8>> {
        let mut reply = Vec::new();
        match self.endpoint.receive(&tuple, ecn, bytes, now, &mut reply) {
            Routed::Connection(key) => {
                let index = *self.by_key.get(&key.to_u64()).expect("the endpoint routes to connections that exist");
                let conn = self.conns[index].conn.as_mut().expect("a routed connection is not forgotten");
                conn.receive(&tuple, ecn, bytes, now);
                self.touched.insert(index);
            }
            Routed::Incoming(incoming) => {
                let Some(listener) = self.listener.as_mut() else {
                    self.endpoint.ignore(incoming);
                    return None;
                };
                let (config, app) = (Arc::clone(&listener.config), (listener.app)());
                match self.endpoint.accept(incoming, Arc::clone(&config), &listener.tls, now) {
                    Ok((key, conn)) => {
                        self.add(key.to_u64(), conn, config, app, now);
                    }
                    Err(e) => self.say(now, &format!("accept: {e:?}")),
                }
            }
            Routed::Reply => return Some(reply),
            Routed::Buffered => {}
            Routed::Dropped(reason) => self.dropped.push(reason),
            Routed::OtherShard(n) => panic!("there is no shard {n}"),
        }
        None
    }

    /// When the next of its timers fires.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let of = |l: &Live| {
            let conn = l.conn.as_ref()?;
            [conn.deadline(), l.app.deadline()].into_iter().flatten().min()
        };
        self.conns.iter().filter_map(of).min()
    }

    /// Connections with something to do now.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<usize> {
        for (i, l) in self.conns.iter().enumerate() {
            let Some(conn) = &l.conn else { continue };
            if [conn.deadline(), l.app.deadline()].into_iter().flatten().any(|d| d <= now) {
                self.touched.insert(i);
            }
        }
        std::mem::take(&mut self.touched).into_iter().collect()
    }

    /// Lets a connection and its application do all that can be done now.
    pub(super) fn visit(&mut self, index: usize, now: Timestamp, out: &mut Vec<Outgoing>) {
        let mut fired = 0;
        for round in 0.. {
            assert!(round < MAX_ROUNDS_PER_VISIT, "busy: node {} never comes to rest", self.name);
            let live = &mut self.conns[index];
            let Some(conn) = live.conn.as_mut() else { return };
            let mut changed = false;
            if fired < MAX_TIMERS_PER_VISIT && conn.deadline().is_some_and(|d| d <= now) {
                conn.on_deadline(now);
                (fired, changed) = (fired + 1, true);
            }
            let mut lines = Vec::new();
            while let Some(event) = conn.poll_event() {
                changed = true;
                assert!(live.closed.is_none() || matches!(event, Event::Drained), "{event:?} after Closed");
                live.app.on_event(conn, &event, now);
                match &event {
                    Event::Closed(reason) => live.closed = Some(reason.clone()),
                    Event::NewToken(token) => self.token = token.to_vec(),
                    Event::PathFailed { tuple, .. } => live.failed_paths.push(*tuple),
                    _ => {}
                }
                if !matches!(event, Event::Stream(_) | Event::DatagramReceived | Event::DatagramState { .. }) {
                    lines.push(format!("{event:?}"));
                    live.events.push((now, event));
                }
            }
            changed |= live.app.work(conn, now);
            live.stats = conn.stats();
            live.qlog.extend(conn.take_qlog().unwrap_or_default());
            let key = crate::endpoint::ConnectionKey::from_u64(live.key);
            let drained = self.endpoint.serve(key, conn, now);
            if drained {
                live.conn = None;
                self.by_key.remove(&live.key);
            } else {
                let (most, checked) = (self.max_segments, &mut self.checked);
                changed |= Self::transmit(conn, &live.config, most, &mut self.out, now, out, checked);
            }
            for line in lines {
                self.say(now, &line);
            }
            let live = &self.conns[index];
            let Some(conn) = live.conn.as_ref() else { return };
            // An acknowledgement that shortens the RTT may move a timer into the past: it fires at once.
            let due = fired < MAX_TIMERS_PER_VISIT && conn.deadline().is_some_and(|d| d <= now);
            if !changed && !due {
                checks::at_rest(conn, &live.config, now, &mut self.checked);
                // Proportional to what is in flight: every time, but now and then when it is very much.
                self.visits += 1;
                if live.stats.bytes_in_flight < MUCH || self.visits.is_multiple_of(16) {
                    checks::consistent(conn, &live.config, &mut self.checked);
                }
                return;
            }
        }
    }

    fn transmit(
        conn: &mut Connection,
        config: &ConnectionConfig,
        max_segments: usize,
        buffer: &mut [u8],
        now: Timestamp,
        out: &mut Vec<Outgoing>,
        checked: &mut Checked,
    ) -> bool {
        let mut changed = false;
        while let Some(t) = conn.transmit(now, buffer, max_segments) {
            changed = true;
            assert!(t.len > 0 && t.len <= buffer.len(), "transmit says {} bytes", t.len);
            let segment = t.segment.unwrap_or(t.len);
            checks::on_transmit(conn, config, &t, checked);
            for datagram in buffer[..t.len].chunks(segment) {
                out.push(Outgoing { tuple: t.tuple, ecn: t.ecn, bytes: datagram.to_vec() });
            }
        }
        changed
    }

    /// Which role its connections have by their addresses: a host with sockets of its own listens.
    #[must_use]
    pub fn side(&self) -> Side {
        if self.listener.is_some() { Side::Server } else { Side::Client }
    }
}
