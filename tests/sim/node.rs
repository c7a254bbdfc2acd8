//! One end: an endpoint, at most one connection at a time, and the application on top.
use std::sync::Arc;

use whimbrel::base::{Ecn, FourTuple, Pcg, Rng, Side, Timestamp};
use whimbrel::connection::{CloseReason, Connection, ConnectionConfig, Event};
use whimbrel::crypto::{ClientTls, ServerTls};
use whimbrel::endpoint::{ConnectionKey, Endpoint, EndpointConfig, RetryPolicy, Routed};

use super::app::App;
use super::checks;
use super::scenario::Scenario;

/// A datagram on its way out.
pub struct Outgoing {
    pub tuple: FourTuple,
    pub ecn: Ecn,
    pub bytes: Vec<u8>,
}

pub struct Node {
    pub side: Side,
    pub endpoint: Endpoint,
    pub conn: Option<(ConnectionKey, Connection)>,
    pub config: Arc<ConnectionConfig>,
    pub app: App,
    pub closed: Option<CloseReason>,
    /// Address validation token for the next connection.
    pub token: Vec<u8>,
    pub server_tls: Option<Arc<ServerTls>>,
    retry: RetryPolicy,
    max_segments: usize,
    out: Vec<u8>,
    /// Events worth a line in the trace.
    pub log: Vec<String>,
    pub resumed: bool,
    /// Paths that could not be validated, for the application to think about.
    pub failed_paths: Vec<FourTuple>,
}

/// More than this in one visit: the two loops feed each other.
const MAX_ROUNDS_PER_VISIT: usize = 20_000;

/// Timers that may fire one after another at the same moment.
const MAX_TIMERS_PER_VISIT: usize = 4;

impl Node {
    pub fn new(side: Side, scenario: &Scenario) -> Self {
        let seed = scenario.seed.wrapping_mul(4) + u64::from(side.is_server());
        let mut next = seed.wrapping_mul(0x1_0001);
        let rngs = Box::new(move || {
            next = next.wrapping_add(1);
            Box::new(Pcg::new(next)) as Box<dyn Rng>
        });
        let config = if side.is_client() { &scenario.client } else { &scenario.server };
        let endpoint = EndpointConfig {
            server: side.is_server(),
            secret: [side as u8 + 1; 32],
            retry: scenario.retry,
            ..EndpointConfig::default()
        };
        Self {
            side,
            endpoint: Endpoint::new(endpoint, rngs),
            conn: None,
            config: Arc::new(config.clone()),
            app: App::new(side, scenario),
            closed: None,
            token: Vec::new(),
            server_tls: None,
            retry: scenario.retry,
            max_segments: 1 + Pcg::new(seed).below(12) as usize,
            out: vec![0; 65536],
            log: Vec::new(),
            resumed: false,
            failed_paths: Vec::new(),
        }
    }

    pub fn connect(&mut self, tls: &Arc<ClientTls>, tuple: FourTuple, now: Timestamp) {
        let token = core::mem::take(&mut self.token);
        let made = self.endpoint.connect(Arc::clone(&self.config), tls, super::identity::NAME, tuple, token, now);
        self.conn = Some(made.expect("a client can always start"));
    }

    /// A datagram arrives; `reply` collects what the endpoint answers itself.
    pub fn receive(&mut self, tuple: FourTuple, ecn: Ecn, bytes: &mut [u8], now: Timestamp) -> Option<Vec<u8>> {
        let mut reply = Vec::new();
        match self.endpoint.receive(&tuple, ecn, bytes, now, &mut reply) {
            Routed::Connection(key) => {
                let (mine, conn) = self.conn.as_mut().expect("the endpoint routes to connections that exist");
                assert_eq!(*mine, key);
                conn.receive(&tuple, ecn, bytes, now);
            }
            Routed::Incoming(incoming) => {
                let undecided = match self.retry {
                    RetryPolicy::Always => self.endpoint.retry(incoming, now, &mut reply),
                    _ => Some(incoming),
                };
                let Some(incoming) = undecided else { return Some(reply) };
                if self.conn.is_some() || self.server_tls.is_none() {
                    self.endpoint.ignore(incoming);
                    return None;
                }
                let tls = self.server_tls.as_ref()?;
                let config = Arc::clone(&self.config);
                match self.endpoint.accept(incoming, config, tls, now) {
                    Ok(made) => self.conn = Some(made),
                    Err(e) => panic!("accept: {e:?}"),
                }
            }
            Routed::Reply => return Some(reply),
            Routed::Buffered | Routed::Dropped(_) => {}
            Routed::OtherShard(n) => panic!("there is no shard {n}"),
        }
        None
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        self.conn.as_ref().and_then(|(_, c)| c.deadline())
    }

    /// Lets the connection and the application do all that can be done now.
    pub fn visit(&mut self, now: Timestamp, mut send: impl FnMut(Outgoing)) {
        let Some((key, conn)) = self.conn.as_mut() else { return };
        let mut fired = 0;
        for round in 0.. {
            assert!(round < MAX_ROUNDS_PER_VISIT, "busy: {:?} never comes to rest", self.side);
            let mut changed = false;
            if fired < MAX_TIMERS_PER_VISIT && conn.deadline().is_some_and(|d| d <= now) {
                conn.on_deadline(now);
                (fired, changed) = (fired + 1, true);
            }
            while let Some(event) = conn.poll_event() {
                changed = true;
                assert!(self.closed.is_none() || matches!(event, Event::Drained), "{event:?} after Closed");
                match &event {
                    Event::Closed(reason) => self.closed = Some(reason.clone()),
                    Event::NewToken(token) => self.token = token.to_vec(),
                    Event::PathFailed { tuple, .. } => self.failed_paths.push(*tuple),
                    Event::Connected { resumed, .. } => self.resumed = *resumed,
                    _ => {}
                }
                if !matches!(event, Event::Stream(_) | Event::DatagramReceived) {
                    self.log.push(format!("{:>12.6} {:?} {event:?}", now.0 as f64 / 1e9, self.side));
                }
                self.app.on_event(conn, &event);
            }
            changed |= self.app.work(conn);
            if self.endpoint.serve(*key, conn, now) {
                self.conn = None;
                return;
            }
            while let Some(t) = conn.transmit(now, &mut self.out, self.max_segments) {
                changed = true;
                assert!(t.len > 0 && t.len <= self.out.len());
                for datagram in self.out[..t.len].chunks(t.segment.unwrap_or(t.len)) {
                    send(Outgoing { tuple: t.tuple, ecn: t.ecn, bytes: datagram.to_vec() });
                }
            }
            // An acknowledgement that shortens the RTT may move a timer into the past: it fires at once.
            let due = fired < MAX_TIMERS_PER_VISIT && conn.deadline().is_some_and(|d| d <= now);
            if !changed && !due {
                break;
            }
        }
        checks::at_rest(conn, &self.config, now);
    }
}
