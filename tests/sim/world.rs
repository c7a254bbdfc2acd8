//! The world: virtual time, the event queue, the addresses between the two nodes, and the run of a scenario.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use whimbrel::base::{Ecn, FourTuple, Pcg, Side, Timestamp};
use whimbrel::connection::CloseReason;
use whimbrel::crypto::ClientTls;

use super::app::{App, DONE};
use super::checks::Amplification;
use super::identity;
use super::link::Link;
use super::node::{Node, Outgoing};
use super::scenario::{Mishap, Scenario};

/// What the event queue holds.
enum What {
    /// A datagram reaches the server from this address.
    ToServer {
        from: SocketAddr,
        ecn: Ecn,
        bytes: Vec<u8>,
        corrupted: bool,
        answers: bool,
    },
    /// A datagram reaches the NAT at this address.
    ToClient {
        to: SocketAddr,
        ecn: Ecn,
        bytes: Vec<u8>,
        corrupted: bool,
    },
    Mishap(Mishap),
    OutageEnds,
}

struct Entry {
    at: Timestamp,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A socket of the client and what its NAT makes of it.
struct Socket {
    local: SocketAddr,
    external: SocketAddr,
    dead: bool,
    /// Something of the server has arrived at this external address.
    reached: bool,
}

/// What a run came to, for comparisons.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Mixes time, direction and length of every datagram sent.
    pub trace: u64,
    pub datagrams: u64,
    pub bytes_read: [u64; 2],
    pub took: Duration,
    pub migrations: u64,
    pub zero_rtt_accepted: Option<bool>,
    pub resumed: bool,
    pub unroutable: u64,
    /// From the first packet of the last connection to its last byte.
    pub transfer: Duration,
    pub gave_up: bool,
}

pub struct World {
    pub now: Timestamp,
    pub scenario: Scenario,
    pub client: Node,
    pub server: Node,
    pub up: Link,
    pub down: Link,
    pub outcome: Outcome,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    rng: Pcg,
    sockets: Vec<Socket>,
    server_address: SocketAddr,
    amplification: Amplification,
    tls: Arc<ClientTls>,
    next_port: u16,
    last_mishap: Timestamp,
    connected_at: Timestamp,
    /// The ends have lost each other, as they may in a storm.
    gave_up: bool,
    /// `WB_TRACE`: every datagram is printed.
    tracing: bool,
}

impl World {
    pub fn new(scenario: Scenario) -> Self {
        let mut world = Self {
            // Not zero: code that mistakes zero for "never" shall show itself elsewhere.
            now: Timestamp(1_000_000_000),
            client: Node::new(Side::Client, &scenario),
            server: Node::new(Side::Server, &scenario),
            up: Link::new(scenario.up.clone()),
            down: Link::new(scenario.down.clone()),
            outcome: Outcome::default(),
            queue: BinaryHeap::new(),
            number: 0,
            rng: Pcg::new(scenario.seed),
            sockets: Vec::new(),
            server_address: "192.0.2.1:443".parse().unwrap(),
            amplification: Amplification::default(),
            tls: identity::client(scenario.early_data),
            next_port: 10_000,
            last_mishap: Timestamp::ZERO,
            connected_at: Timestamp::ZERO,
            gave_up: false,
            tracing: std::env::var_os("WB_TRACE").is_some(),
            scenario,
        };
        world.server.server_tls = Some(identity::server(world.scenario.early_data));
        world.new_socket();
        world
    }

    /// Plays the scenario to its end.
    ///
    /// # Panics
    /// When anything is not as it should be.
    pub fn run(&mut self) -> Outcome {
        let start = self.now;
        for (after, mishap) in self.scenario.mishaps.clone() {
            self.schedule(self.now + after, What::Mishap(mishap));
        }
        for round in 0..self.scenario.rounds {
            if round > 0 {
                self.next_round();
            }
            let tuple = self.client_tuple(self.sockets.len() - 1);
            self.client.connect(&Arc::clone(&self.tls), tuple, self.now);
            self.visit_both();
            self.connected_at = self.now;
            self.run_connection(round);
            if self.gave_up {
                break;
            }
        }
        for node in [&self.client, &self.server] {
            assert_eq!(node.endpoint.connection_count(), 0, "{:?}: a connection is left", node.side);
            assert_eq!(node.endpoint.route_count(), 0, "{:?}: a route is left", node.side);
        }
        self.outcome.took = self.now.since(start);
        self.outcome.gave_up = self.gave_up;
        self.outcome.clone()
    }

    fn next_round(&mut self) {
        let forgets = self.scenario.server_forgets;
        if forgets {
            self.server.server_tls = Some(identity::server(self.scenario.early_data));
        }
        for node in [&mut self.client, &mut self.server] {
            node.app = App::new(node.side, &self.scenario);
            node.closed = None;
        }
        self.amplification = Amplification::default();
    }

    fn run_connection(&mut self, round: u32) {
        let give_up = self.now + self.scenario.patience;
        let mut told_to_close = false;
        while !(told_to_close && self.client.conn.is_none() && self.server.conn.is_none()) {
            assert!(self.now < give_up, "stuck");
            self.step();
            if !told_to_close {
                for node in [&self.client, &self.server] {
                    let lonely = matches!(
                        node.closed,
                        Some(CloseReason::IdleTimeout | CloseReason::NoPath | CloseReason::HandshakeTimeout)
                    );
                    // In a storm both may lose sight of each other; nothing else may go wrong.
                    if self.scenario.storm && lonely {
                        (self.gave_up, told_to_close) = (true, true);
                    } else {
                        assert!(node.closed.is_none(), "{:?} closed early: {:?}", node.side, node.closed);
                    }
                }
                if !told_to_close && self.client.app.is_done() && self.server.app.is_done() {
                    told_to_close = true;
                    self.note_results();
                    let (_, conn) = self.client.conn.as_mut().expect("not closed yet");
                    conn.close(DONE, b"done", self.now);
                    self.visit_both();
                }
            }
        }
        if self.gave_up {
            return;
        }
        assert_eq!(self.client.closed, Some(CloseReason::Local { code: DONE }), "round {round}");
        match &self.server.closed {
            Some(CloseReason::Peer { code: DONE, app: true, .. }) => {}
            // Nobody hears a CONNECTION_CLOSE that is lost, or sent behind a NAT that has just changed.
            Some(CloseReason::IdleTimeout) if !(self.up.is_clean() && self.scenario.mishaps.is_empty()) => {}
            Some(CloseReason::StatelessReset) if !self.scenario.mishaps.is_empty() => {}
            other => panic!("round {round}: the server ended with {other:?}"),
        }
        if self.scenario.with_resets {
            return;
        }
        let done = [self.client.app.bytes_read, self.server.app.bytes_read];
        assert_eq!(self.expected_bytes(), done, "bytes are conserved");
    }

    /// What both sides should have read by the script.
    fn expected_bytes(&self) -> [u64; 2] {
        [Side::Client, Side::Server].map(|reader| {
            let sent = |id| super::app::message(&self.scenario, id, reader.peer()).len;
            let dir = |i: u32| i % 3 == 2;
            let mut sum = 0;
            for opener in [Side::Client, Side::Server] {
                let (mut bi, mut uni) = (0, 0);
                for i in 0..self.scenario.streams_each_side {
                    use whimbrel::base::{Dir, StreamId};
                    if dir(i) {
                        sum += if opener == reader { 0 } else { sent(StreamId::new(opener, Dir::Uni, uni)) };
                        uni += 1;
                    } else {
                        sum += sent(StreamId::new(opener, Dir::Bi, bi));
                        bi += 1;
                    }
                }
            }
            sum
        })
    }

    fn note_results(&mut self) {
        let o = &mut self.outcome;
        o.transfer = self.now.since(self.connected_at);
        o.bytes_read[0] += self.client.app.bytes_read;
        o.bytes_read[1] += self.server.app.bytes_read;
        o.zero_rtt_accepted = self.client.app.zero_rtt_accepted;
        o.resumed = self.client.resumed;
        o.migrations += self.server.conn.as_ref().map_or(0, |(_, c)| c.stats().migrations);
        for (me, other) in [(&self.client, &self.server), (&self.server, &self.client)] {
            assert!(me.app.datagrams_received <= self.scenario.datagrams * 3, "datagrams multiply");
            let _ = other;
        }
    }

    /// On to the next thing that happens.
    pub fn step(&mut self) {
        let due = self.queue.peek().map(|e| e.0.at);
        let next = [due, self.client.deadline(), self.server.deadline()].into_iter().flatten().min();
        let next = next.unwrap_or_else(|| panic!("nothing will ever happen again"));
        self.now = self.now.max(next);
        while let Some(entry) = self.queue.peek() {
            if entry.0.at > self.now {
                break;
            }
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            self.happen(entry.what);
        }
        self.visit_both();
        if self.tracing {
            self.tell_log();
        }
    }

    fn tell_log(&mut self) {
        for node in [&mut self.client, &mut self.server] {
            for line in node.log.drain(..) {
                eprintln!("{line}");
            }
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::ToServer { from, ecn, mut bytes, corrupted, answers } => {
                self.amplification.on_received(from, &bytes, !corrupted, answers);
                let tuple = FourTuple { local: Some(self.server_address), remote: from, socket: 0 };
                if let Some(reply) = self.server.receive(tuple, ecn, &mut bytes, self.now) {
    fn server_sends(&mut self, o: Outgoing) {
