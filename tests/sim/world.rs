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
                    self.server_sends(Outgoing { tuple, ecn: Ecn::NotEct, bytes: reply });
                }
            }
            What::ToClient { to, ecn, mut bytes, corrupted } => {
                let Some(index) = self.sockets.iter().position(|s| s.external == to && !s.dead) else {
                    self.outcome.unroutable += 1;
                    return;
                };
                self.sockets[index].reached |= !corrupted;
                let tuple = self.client_tuple(index);
                if let Some(reply) = self.client.receive(tuple, ecn, &mut bytes, self.now) {
                    self.client_sends(Outgoing { tuple, ecn: Ecn::NotEct, bytes: reply });
                }
            }
            What::Mishap(mishap) => self.mishap(mishap),
            What::OutageEnds => (self.up.dead, self.down.dead) = (false, false),
        }
    }

    fn mishap(&mut self, mishap: Mishap) {
        let both =
            |w: &Self| [&w.client, &w.server].iter().all(|n| n.conn.as_ref().is_some_and(|c| c.1.is_confirmed()));
        if self.client.conn.is_none() && self.server.conn.is_none() {
            return; // over already
        }
        // RFC 9000 section 9: an endpoint must not migrate before the handshake is confirmed. One thing at a time:
        // a second change during a path's validation may legitimately lose both addresses.
        let quiet = self.now > self.last_mishap + self.scenario.mishap_gap;
        if !both(self) || !quiet {
            self.schedule(self.now + Duration::from_millis(50), What::Mishap(mishap));
            return;
        }
        self.last_mishap = self.now;
        self.client.log.push(format!("{:>12.6} -- {mishap:?}", self.now.0 as f64 / 1e9));
        let current = self.sockets.len() - 1;
        match mishap {
            Mishap::Rebind { new_address } => {
                let external = self.fresh_external(new_address);
                self.sockets[current].external = external;
                self.sockets[current].reached = false;
            }
            Mishap::Migrate { old_path_dies } => {
                let index = self.new_socket();
                let tuple = self.client_tuple(index);
                let now = self.now;
                let (_, conn) = self.client.conn.as_mut().expect("checked above");
                if conn.migrate(tuple, now).is_ok() {
                    self.sockets[index - 1].dead = old_path_dies;
                } else {
                    self.sockets.pop();
                }
            }
            Mishap::Moved => {
                let index = self.new_socket();
                self.sockets[index - 1].dead = true;
                let tuple = self.client_tuple(index);
                let now = self.now;
                let (_, conn) = self.client.conn.as_mut().expect("checked above");
                conn.on_local_address_changed(tuple, now);
            }
            Mishap::Outage(length) => {
                (self.up.dead, self.down.dead) = (true, true);
                self.last_mishap = self.now + length;
                self.schedule(self.now + length, What::OutageEnds);
            }
            Mishap::KeyUpdate { by_client } => {
                let now = self.now;
                let node = if by_client { &mut self.client } else { &mut self.server };
                let (_, conn) = node.conn.as_mut().expect("checked above");
                conn.key_update(now);
            }
        }
    }

    fn schedule(&mut self, at: Timestamp, what: What) {
        self.number += 1;
        self.queue.push(Reverse(Entry { at, number: self.number, what }));
    }

    fn fresh_external(&mut self, new_address: bool) -> SocketAddr {
        self.next_port += 1;
        let ip = if new_address { [198, 51, 100, (self.next_port % 250) as u8 + 1] } else { [198, 51, 100, 1] };
        SocketAddr::from((ip, self.next_port))
    }

    fn new_socket(&mut self) -> usize {
        let n = self.sockets.len() as u16;
        let external = self.fresh_external(n > 0);
        let local = SocketAddr::from(([10, 0, n as u8, 1], 5000 + n));
        self.sockets.push(Socket { local, external, dead: false, reached: false });
        self.sockets.len() - 1
    }

    fn client_tuple(&self, index: usize) -> FourTuple {
        FourTuple { local: Some(self.sockets[index].local), remote: self.server_address, socket: index as u32 }
    }

    fn visit_both(&mut self) {
        let now = self.now;
        let mut outgoing = Vec::new();
        self.client.visit(now, |o| outgoing.push(o));
        for failed in core::mem::take(&mut self.client.failed_paths) {
            // What a sensible application does whose old network is gone: it tries again.
            let newest = failed.socket as usize == self.sockets.len() - 1;
            if let Some((_, conn)) = self.client.conn.as_mut().filter(|_| newest) {
                let _ = conn.migrate(failed, now);
                self.client.visit(now, |o| outgoing.push(o));
            }
        }
        for o in outgoing.drain(..) {
            self.client_sends(o);
        }
        self.server.visit(now, |o| outgoing.push(o));
        for o in outgoing.drain(..) {
            self.server_sends(o);
        }
    }

    fn note(&mut self, o: &Outgoing, side: u64) {
        if self.tracing {
            let arrow = if side == 0 { "client ->" } else { "-> client" };
            let (at, len) = (self.now.0 as f64 / 1e9, o.bytes.len());
            eprintln!("{at:>12.6} {arrow} {len} bytes, first {:#04x}, {:?}", o.bytes[0], o.tuple);
        }
        let mut x = self.outcome.trace ^ self.now.0 ^ (o.bytes.len() as u64) << 48 ^ side << 40;
        x = (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.outcome.trace = x ^ (x >> 27);
        self.outcome.datagrams += 1;
        let limit = if side == 0 { self.scenario.client.mtu_ceiling } else { self.scenario.server.mtu_ceiling };
        assert!(o.bytes.len() <= usize::from(limit.max(1200)), "a datagram of {} bytes", o.bytes.len());
    }

    fn client_sends(&mut self, o: Outgoing) {
        self.note(&o, 0);
        let socket = &self.sockets[o.tuple.socket as usize];
        assert_eq!(o.tuple.remote, self.server_address);
        if socket.dead {
            return;
        }
        let (from, answers) = (socket.external, socket.reached);
        let (queue, number) = (&mut self.queue, &mut self.number);
        self.up.send(self.now, o.bytes, o.ecn, &mut self.rng, |a| {
            *number += 1;
            let what = What::ToServer { from, ecn: a.ecn, bytes: a.bytes, corrupted: a.corrupted, answers };
            queue.push(Reverse(Entry { at: a.at, number: *number, what }));
        });
    }

    fn server_sends(&mut self, o: Outgoing) {
        self.note(&o, 1);
        let to = o.tuple.remote;
        self.amplification.on_sent(to, o.bytes.len());
        let (queue, number) = (&mut self.queue, &mut self.number);
        self.down.send(self.now, o.bytes, o.ecn, &mut self.rng, |a| {
            *number += 1;
            let what = What::ToClient { to, ecn: a.ecn, bytes: a.bytes, corrupted: a.corrupted };
            queue.push(Reverse(Entry { at: a.at, number: *number, what }));
        });
    }

    /// What was going on, for the report of a failure.
    pub fn story(&self) -> String {
        let mut lines: Vec<&String> = self.client.log.iter().chain(&self.server.log).collect();
        lines.sort();
        let skip = lines.len().saturating_sub(60);
        let log: Vec<&str> = lines.iter().skip(skip).map(|l| l.as_str()).collect();
        let stats = |n: &Node| n.conn.as_ref().map(|(_, c)| c.stats());
        format!(
            "at {:.6} s\n{}\n{}\nup {:?}\ndown {:?}\nclient {:?}\nserver {:?}\n{}\n{:#?}",
            self.now.0 as f64 / 1e9,
            self.client.app.progress(),
            self.server.app.progress(),
            self.up.counts,
            self.down.counts,
            stats(&self.client),
            stats(&self.server),
            log.join("\n"),
            self.scenario,
        )
    }
}

/// Plays a scenario; a failure tells its story and how to see it again.
///
/// # Panics
/// With the original message, after the report.
pub fn play(scenario: Scenario) -> Outcome {
    let seed = scenario.seed;
    let mut world = World::new(scenario);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    match result {
        Ok(outcome) => outcome,
        Err(panic) => {
            eprintln!(
                "---- seed {seed} failed; replay: WB_SEED={seed} cargo test --test sim -- --nocapture\n{}",
                world.story()
            );
            std::panic::resume_unwind(panic);
        }
    }
}
