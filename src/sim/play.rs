//! Plays a [`Scenario`]: two hosts, one connection at a time, mishaps, and everything that has to be true at the end.
use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::identity;
use super::node::NodeConfig;
use super::scenario::{Mishap, Scenario};
use super::script::{DONE, Script, message};
use super::world::{ConnId, LinkId, NodeId, World};
use crate::base::{Dir, Pcg, Rng, Side, StreamId, Timestamp};
use crate::connection::{CloseReason, Connection};
use crate::crypto::ClientTls;
use crate::endpoint::EndpointConfig;

/// What a run came to, for comparisons.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Mixes time, direction and length of every datagram sent.
    pub trace: u64,
    pub datagrams: u64,
    /// By client and by server.
    pub bytes_read: [u64; 2],
    pub took: Duration,
    pub migrations: u64,
    pub zero_rtt_accepted: Option<bool>,
    pub resumed: bool,
    pub unroutable: u64,
    /// From the first packet of the last connection to its last byte.
    pub transfer: Duration,
    /// The ends have lost each other, as they may in a storm.
    pub gave_up: bool,
}

/// The state of a scenario under way.
pub struct Play {
    pub world: World,
    pub scenario: Scenario,
    client: NodeId,
    server: NodeId,
    up: LinkId,
    down: LinkId,
    tls: Arc<ClientTls>,
    outcome: Outcome,
    current: [Option<ConnId>; 2],
    last_mishap: Timestamp,
    /// Mishaps that wait for their moment.
    pending: Vec<(Timestamp, Mishap)>,
    connected_at: Timestamp,
    /// The client could still go on, as far as itself and its network are concerned, when it was looked at last.
    has_way: bool,
    /// The last move under the client's feet left it neither a spare connection ID nor a path that has one.
    cornered: bool,
}

/// Where the server listens.
const SERVER: &str = "192.0.2.1:443";

fn endpoint(s: &Scenario, side: Side) -> EndpointConfig {
    let server = side.is_server();
    EndpointConfig { server, secret: [side as u8 + 1; 32], retry: s.retry, ..EndpointConfig::default() }
}

impl Play {
    /// A world in which nothing has happened yet.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let mut world = World::new(scenario.seed);
        let segments = |n: u64| 1 + Pcg::new(scenario.seed.wrapping_mul(4) + n).below(12) as usize;
        let node = NodeConfig { endpoint: endpoint(&scenario, Side::Client), ..NodeConfig::client() };
        let client = world.add_node(NodeConfig { max_segments: segments(0), ..node });
        let node = NodeConfig {
            endpoint: endpoint(&scenario, Side::Server),
            ..NodeConfig::server(&[SERVER.parse().expect("an address")])
        };
        let server = world.add_node(NodeConfig { max_segments: segments(1), ..node });
        let (up, down) = (world.add_link(scenario.up.clone()), world.add_link(scenario.down.clone()));
        world.join(client, server, &[up], &[down]);
        Self {
            client,
            server,
            up,
            down,
            tls: identity::client(scenario.early_data),
            outcome: Outcome::default(),
            current: [None; 2],
            last_mishap: Timestamp::ZERO,
            pending: Vec::new(),
            connected_at: Timestamp::ZERO,
            has_way: true,
            cornered: false,
            world,
            scenario,
        }
    }

    fn listen(&mut self) {
        let script = self.scenario.script();
        let app = move || Box::new(Script::new(Side::Server, &script)) as Box<dyn App>;
        let tls = identity::server(self.scenario.early_data);
        self.world.listen(self.server, tls, self.scenario.server.clone(), Box::new(app));
    }

    fn run(&mut self) {
        let start = self.world.now;
        self.listen();
        self.pending = self.scenario.mishaps.iter().map(|(after, what)| (start + *after, *what)).collect();
        for round in 0..self.scenario.rounds {
            if round > 0 && self.scenario.server_forgets {
                self.listen();
            }
            let app = Box::new(Script::new(Side::Client, &self.scenario.script()));
            let config = self.scenario.client.clone();
            self.current = [Some(self.world.connect(self.client, self.server, &self.tls, config, app)), None];
            self.connected_at = self.world.now;
            self.run_connection(round);
            if self.outcome.gave_up {
                break;
            }
        }
        self.world.checked().assert_all();
        for node in &self.world.nodes {
            assert_eq!(node.endpoint.connection_count(), 0, "a connection is left");
            assert_eq!(node.endpoint.route_count(), 0, "a route is left");
        }
        let o = &mut self.outcome;
        o.took = self.world.now.since(start);
        (o.trace, o.datagrams, o.unroutable) = (self.world.trace, self.world.datagrams, self.world.unroutable);
    }

    fn conn(&self, side: Side) -> Option<&Connection> {
        self.world.conn(self.current[side as usize]?)
    }

    fn closed(&self, side: Side) -> Option<&CloseReason> {
        self.world.live(self.current[side as usize]?).closed.as_ref()
    }

    fn app(&self, side: Side) -> Option<&Script> {
        Some(self.world.app(self.current[side as usize]?))
    }

    /// Whether the client has a connection ID to spare, or a path with one through a socket that still works.
    fn look_for_ways(&mut self) {
        let Some((spare, tuples)) = self.conn(Side::Client).map(Connection::ways) else { return };
        let sockets = &self.world.nodes[self.client.0].sockets;
        self.has_way = spare > 0 || tuples.iter().any(|t| !sockets[t.socket as usize].dead);
    }

    /// A connection ended although its work is not done. In a storm the ends may lose each other, but only where the client
    /// cannot go on: no path that it has a connection ID for leads anywhere, and none is left for another (RFC 9000 section
    /// 9.5 forbids to take one twice).
    fn check_loss(&self, side: Side, closed: &CloseReason) {
        let lonely = matches!(closed, CloseReason::IdleTimeout | CloseReason::NoPath);
        assert!(self.scenario.storm && lonely, "{side:?} closed early: {closed:?}");
        let lost = if *closed == CloseReason::NoPath { self.cornered } else { !self.has_way };
        assert!(lost, "{side:?} closed early, and the client had a way: {closed:?}");
    }

    fn run_connection(&mut self, round: u32) {
        let give_up = self.world.now + self.scenario.patience;
        let accepted = self.world.connections(self.server).len();
        let mut told_to_close = false;
        let here = |p: &Self, side| p.conn(side).is_some();
        while !(told_to_close && !here(self, Side::Client) && !here(self, Side::Server)) {
            assert!(self.world.now < give_up, "stuck");
            if self.scenario.storm {
                self.look_for_ways();
            }
            self.step();
            self.current[1] = self.world.connections(self.server).get(accepted).copied();
            if told_to_close {
                continue;
            }
            for side in [Side::Client, Side::Server] {
                let Some(closed) = self.closed(side).cloned() else { continue };
                self.check_loss(side, &closed);
                (self.outcome.gave_up, told_to_close) = (true, true);
            }
            let done = |p: &Self, side| p.app(side).is_some_and(Script::is_done);
            if !told_to_close && done(self, Side::Client) && done(self, Side::Server) {
                told_to_close = true;
                self.note_results();
                let id = self.current[0].expect("set at the start");
                self.world.act(id, |c, now| c.close(DONE, b"done", now)).expect("not closed yet");
            }
        }
        if self.outcome.gave_up && std::env::var_os("WB_TRACE").is_some() {
            eprintln!("{}", self.world.story());
        }
        if !self.outcome.gave_up {
            self.check_end(round);
        }
    }

    fn check_end(&self, round: u32) {
        assert_eq!(self.closed(Side::Client), Some(&CloseReason::Local { code: DONE }), "round {round}");
        let faithful = self.scenario.up.is_faithful();
        match self.closed(Side::Server) {
            Some(CloseReason::Peer { code: DONE, app: true, .. }) => {}
            // Nobody hears a CONNECTION_CLOSE that is lost, or sent behind a NAT that has just changed.
            Some(CloseReason::IdleTimeout) if !(faithful && self.scenario.mishaps.is_empty()) => {}
            Some(CloseReason::StatelessReset) if !self.scenario.mishaps.is_empty() => {}
            other => panic!("round {round}: the server ended with {other:?}"),
        }
        let [client, server] = [Side::Client, Side::Server].map(|s| self.app(s).expect("there was one"));
        for (sender, reader) in [(client, server), (server, client)] {
            let (sent, received) = (sender.digests().sent, reader.digests().received);
            assert!(received.iter().all(|(id, sha)| sent.get(id) == Some(sha)), "SHA-256 of a stream differs");
            assert!(self.scenario.with_resets || sent.len() == received.len(), "a stream did not arrive");
        }
        if !self.scenario.with_resets {
            let done = [client.bytes_read, server.bytes_read];
            assert_eq!(self.expected_bytes(), done, "bytes are conserved");
        }
    }

    /// What both sides should have read by the script.
    fn expected_bytes(&self) -> [u64; 2] {
        let script = self.scenario.script();
        [Side::Client, Side::Server].map(|reader| {
            let sent = |id| message(&script, id, reader.peer()).len;
            let mut sum = 0;
            for opener in [Side::Client, Side::Server] {
                let (mut bi, mut uni) = (0, 0);
                for i in 0..self.scenario.streams_each_side {
                    if i % 3 == 2 {
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
        let apps = [Side::Client, Side::Server].map(|s| self.app(s).expect("both are done"));
        for app in apps {
            assert!(app.datagrams_received <= self.scenario.datagrams * 3, "datagrams multiply");
        }
        let read = apps.map(|a| a.bytes_read);
        let accepted = apps[0].zero_rtt_accepted;
        let resumed = self.conn(Side::Client).is_some_and(Connection::resumed);
        let migrations = self.conn(Side::Server).map_or(0, |c| c.stats().migrations);
        let o = &mut self.outcome;
        o.transfer = self.world.now.since(self.connected_at);
        (o.bytes_read[0], o.bytes_read[1]) = (o.bytes_read[0] + read[0], o.bytes_read[1] + read[1]);
        (o.zero_rtt_accepted, o.resumed) = (accepted, resumed);
        o.migrations += migrations;
    }

    fn step(&mut self) {
        let due = self.pending.iter().map(|p| p.0).min();
        if let Some(at) = due.filter(|at| self.world.next_event().is_none_or(|next| *at <= next)) {
            self.world.run_until(at);
            let now = self.world.now;
            let (ready, later) = std::mem::take(&mut self.pending).into_iter().partition(|(at, _)| *at <= now);
            self.pending = later;
            for (_, mishap) in Vec::from_iter::<Vec<_>>(ready) {
                self.mishap(mishap);
            }
            return;
        }
        assert!(self.world.step(), "nothing will ever happen again");
    }

    fn mishap(&mut self, mishap: Mishap) {
        let [client, server] = [Side::Client, Side::Server].map(|s| self.conn(s).map(Connection::is_confirmed));
        let over = client.is_none() && self.current[1].is_some() && server.is_none();
        if over && self.current[0].is_some_and(|c| self.world.live(c).closed.is_some()) {
            return;
        }
        // RFC 9000 section 9: an endpoint must not migrate before the handshake is confirmed. One thing at a time:
        // a second change during a path's validation may legitimately lose both addresses.
        let now = self.world.now;
        let quiet = now > self.last_mishap + self.scenario.mishap_gap;
        if client != Some(true) || server != Some(true) || !quiet {
            self.pending.push((now + Duration::from_millis(50), mishap));
            return;
        }
        self.last_mishap = now;
        let id = self.current[0].expect("it is confirmed");
        self.world.nodes[0].say(now, &format!("-- {mishap:?}"));
        match mishap {
            Mishap::Rebind(how) => self.world.rebind(id.node, how),
            Mishap::Migrate { old_path_dies } => {
                let _ = self.world.migrate(id, old_path_dies);
            }
            Mishap::Moved => {
                let here = self.conn(Side::Client).map(|c| c.path().socket);
                let ways = self.conn(Side::Client).map(Connection::ways);
                self.cornered =
                    ways.is_some_and(|(spare, paths)| spare == 0 && paths.iter().all(|t| Some(t.socket) == here));
                self.world.moved(id);
            }
            Mishap::Outage(length) => {
                self.last_mishap = now + length;
                self.world.outage(&[self.up, self.down], length);
            }
            Mishap::KeyUpdate { by_client } => {
                let id = if by_client { self.current[0] } else { self.current[1] };
                self.world.act(id.expect("it is confirmed"), Connection::key_update);
            }
        }
    }
}

/// Plays a scenario; a failure tells its story and how to see it again.
///
/// # Panics
/// With the original message, after the report.
#[must_use]
pub fn play(scenario: Scenario) -> Outcome {
    let seed = scenario.seed;
    let mut play = Play::new(scenario);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play.run()));
    match result {
        Ok(()) => play.outcome,
        Err(panic) => {
            eprintln!(
                "---- seed {seed} failed; replay: WB_SEED={seed} cargo test --test sim -- --nocapture\n{}\n{:#?}",
                play.world.story(),
                play.scenario,
            );
            std::panic::resume_unwind(panic);
        }
    }
}
