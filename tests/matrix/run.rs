//! Plays one row: the world, the events on the way, and what has to be true at the end.
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use whimbrel::base::Timestamp;
use whimbrel::connection::{CloseReason, Connection, Event};
use whimbrel::endpoint::EndpointConfig;
use whimbrel::sim::{
    App, Client, ConnId, Job, LinkCounts, LinkId, NodeConfig, NodeId, Plan, Rebind, Server, World, identity,
};

use super::row::{DIMENSIONS, Row, SIX_WEEKS};

/// Virtual steps before a world counts as one that will never end.
const MAX_STEPS: u64 = 3_000_000;
const DONE: u64 = 0x600d;
/// Datagrams in a row that have to be lost on the way before a storm may count as the reason of an end.
const TRIES_IN_A_STORM: u64 = 8;
/// Packets, more than half of all, that a client without a connection has to have lost for the same.
const LOST_IN_A_HANDSHAKE: u64 = 16;
const INVALID_TOKEN: u64 = 0x0b;

/// What a row came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub trace: u64,
    pub datagrams: u64,
    /// Virtual time.
    pub took: Duration,
    /// Why the first connection ended by silence before its work was done, if it did.
    pub silenced: Option<Cause>,
    /// A bit for each dimension whose value was not only set, but met something.
    pub happened: u32,
}

/// What may end a connection before its work is done; the next one then has to come through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// Nothing got through for longer than the idle timeout: that has to end it (RFC 9000 section 10.1).
    Outlasted,
    /// Nobody heard the client while its Retry token was valid (RFC 9000 section 8.1.3).
    TokenExpired,
    /// Where a third of all datagrams or more is lost, a probe and its answer seldom both arrive, and the time between
    /// probes doubles (RFC 9002 section 6.2.1). Tests of liveness near the end (RFC 9000 section 10.1.2) make it very rare
    /// that all of them are in vain. Whichever end waits longer may hear of it by a stateless reset.
    Storm,
}

struct Run<'a> {
    row: &'a Row,
    world: World,
    client: NodeId,
    server: NodeId,
    links: [LinkId; 2],
    /// Datagrams that a link had delivered when it did so last, and those that it had been given by then.
    delivered: [(u64, u64); 2],
    steps: u64,
    /// Packets sent at the last key update, by end.
    updated_at: [u64; 2],
    /// When the dead time ends.
    outage_ends: Timestamp,
    /// Why the last connection ended early.
    ended_by: Option<Cause>,
    /// Changes of address while there was work to do.
    rebinds: u64,
    /// The story of a connection that ended early is printed.
    tells: bool,
}

const V4: &str = "192.0.2.1:443";
const V6: &str = "[2001:db8:ffff::1]:443";

impl<'a> Run<'a> {
    fn new(row: &'a Row) -> Self {
        let mut world = World::new(row.seed);
        let mut endpoint = EndpointConfig { grease_quic_bit: row.is("peer", "greased"), ..EndpointConfig::default() };
        if row.is_large() {
            endpoint.cid_len = 20;
        }
        let nat_memory = row.nat_memory();
        let client = world.add_node(NodeConfig { endpoint: endpoint.clone(), nat_memory, ..NodeConfig::client() });
        let addresses = [V4, V6].map(|a| a.parse().unwrap());
        let endpoint = EndpointConfig { server: true, secret: [9; 32], retry: row.retry(), ..endpoint };
        let server = world.add_node(NodeConfig { endpoint, ..NodeConfig::server(&addresses) });
        let links = ["loss_up", "loss_down"].map(|name| world.add_link(row.link(name)));
        world.join(client, server, &links[..1], &links[1..]);
        Self {
            row,
            world,
            client,
            server,
            links,
            delivered: [(0, 0); 2],
            steps: 0,
            updated_at: [0; 2],
            outage_ends: Timestamp::ZERO,
            ended_by: None,
            rebinds: 0,
            tells: false,
        }
    }

    fn listen(&mut self, early: bool) {
        let seed = self.row.seed;
        let (portion, thinks) = (self.row.portion(), self.row.thinks());
        let app = move || {
            let mut server = Server::new(seed).in_portions(portion);
            server.thinks = thinks;
            Box::new(server) as Box<dyn App>
        };
        self.world.listen(self.server, identity::server_for(self.pems(), early), self.row.config(), Box::new(app));
    }

    fn pems(&self) -> &'static identity::Pems {
        static LONG: OnceLock<identity::Pems> = OnceLock::new();
        if self.row.is_large() { LONG.get_or_init(|| identity::chain(4, 1500)) } else { identity::pems() }
    }

    /// Changes of address, counted from the confirmed handshake; those before it are in `plan_start`.
    fn plan_rebinds(&mut self) {
        let row = self.row;
        let rtt = row.rtt();
        let client = self.client;
        let rebinds = |every: Duration, how: Rebind, count: u32| (1..=count).map(move |i| (every * i, how));
        // A path is only proved in a round trip: what changes faster for ever can never be followed, so it ends.
        let events: Vec<(Duration, Rebind)> = match row.get("address") {
            "port every 10 s" => rebinds(Duration::from_secs(10), Rebind::Port, 6).collect(),
            "port every 1 s" => rebinds(Duration::from_secs(1), Rebind::Port, 20).collect(),
            "port every 100 ms" => rebinds(Duration::from_millis(100), Rebind::Port, 50).collect(),
            "family" => rebinds(rtt * 3 + Duration::from_millis(200), Rebind::Family, 2).collect(),
            _ => Vec::new(),
        };
        if row.is("address", "in key update") {
            // Of either end in turn: the first packets under new keys come from, and go to, a new address.
            for (n, from) in [self.client, self.server].into_iter().enumerate() {
                self.world.after(rtt * n as u32, move |w| {
                    if let Some(id) = w.connections(from).pop() {
                        w.act(id, Connection::key_update);
                    }
                    w.rebind(client, Rebind::Port);
                });
            }
        }
        for (after, how) in events {
            self.world.after(after, move |w| w.rebind(client, how));
        }
    }

    /// What is wrong from the start of a connection.
    fn plan_start(&mut self) {
        let row = self.row;
        let [up, down] = self.links;
        let (rtt, client) = (row.rtt(), self.client);
        if row.is("address", "in handshake") {
            self.world.after(rtt * 6 / 10, move |w| w.rebind(client, Rebind::Port));
        }
        let begins = rtt * 2 + Duration::from_millis(100);
        if row.is("outage", "six weeks asleep") {
            let ends = [vec![self.client], vec![self.server], vec![self.client, self.server]];
            let sleepers = ends[(row.seed % 3) as usize].clone();
            self.outage_ends = self.world.now + begins + SIX_WEEKS;
            self.world.after(begins, move |w| w.sleep(&sleepers, SIX_WEEKS));
        }
        let outage = match row.get("outage") {
            "1 s" => Duration::from_secs(1),
            "10 s" => Duration::from_secs(10),
            "a sixth of idle" => row.idle() / 6,
            "longer than idle" => row.idle() + Duration::from_secs(10),
            _ => Duration::ZERO,
        };
        if !outage.is_zero() {
            self.outage_ends = self.world.now + begins + outage;
            self.world.after(begins, move |w| w.outage(&[up, down], outage));
        }
        if row.is("mtu", "black hole") {
            // After the search for the MTU is over.
            self.world.after(rtt * 4 + Duration::from_millis(100), move |w| {
                for link in [up, down] {
                    w.links[link.0].config.mtu = 1240;
                }
            });
        }
    }

    fn step(&mut self, give_up: Timestamp) {
        self.steps += 1;
        assert!(self.steps < MAX_STEPS, "so many steps and no end");
        assert!(self.world.now < give_up, "stalled");
        assert!(self.world.step(), "nothing will ever happen again");
        for (link, seen) in self.links.into_iter().zip(&mut self.delivered) {
            let counts = &self.world.links[link.0].counts;
            if counts.delivered != seen.0 {
                *seen = (counts.delivered, counts.sent);
            }
        }
        if self.row.is("keys", "update") {
            self.update_keys();
        }
    }

    fn update_keys(&mut self) {
        for (end, node) in [self.client, self.server].into_iter().enumerate() {
            let Some(id) = self.world.connections(node).last().copied() else { continue };
            let Some(conn) = self.world.conn(id) else { continue };
            let sent = conn.stats().packets_sent;
            if conn.is_confirmed() && sent >= self.updated_at[end] + 100 {
                self.updated_at[end] = sent;
                self.world.act(id, Connection::key_update);
            }
        }
    }

    /// Plays one connection; `true` when it did its work.
    fn connection(&mut self, tls: &std::sync::Arc<whimbrel::crypto::ClientTls>, plan: Plan, events: bool) -> bool {
        let before = self.world.connections(self.server).len();
        let datagrams = plan.datagrams;
        // However bad it is, a datagram comes through in every second round trip.
        let total: u64 = plan.jobs.iter().map(|j| j.download + j.upload).sum();
        let transfer = self.row.rtt() * 2 * u32::try_from(total / 1000).unwrap_or(u32::MAX);
        let client = self.world.connect(self.client, self.server, tls, self.row.config(), Box::new(Client::new(plan)));
        if events {
            self.plan_start();
        }
        let mut planned = !events;
        let asleep = if self.row.is("outage", "six weeks asleep") { SIX_WEEKS } else { Duration::ZERO };
        let patience = (self.row.idle() * 40).max(Duration::from_secs(6 * 3600)) + asleep + transfer;
        let give_up = self.world.now + patience;
        while !self.world.live(client).app.is_done() && self.world.live(client).closed.is_none() {
            self.step(give_up);
            let ends = [Some(client), self.world.connections(self.server).get(before).copied()];
            let confirmed =
                |c: Option<ConnId>| c.and_then(|c| self.world.conn(c)).is_some_and(Connection::is_confirmed);
            if !planned && ends.into_iter().all(confirmed) {
                planned = true;
                self.plan_rebinds();
            }
        }
        let done = self.world.live(client).app.is_done();
        self.ended_by = if done { None } else { self.cause_of_silence(client) };
        if self.ended_by.is_some() && self.tells {
            eprintln!("silenced: {:?} after {:?} tries\n{}", self.ended_by, self.tries_in_vain(), self.world.story());
        }
        assert!(done || self.ended_by.is_some(), "ended early: {:?}", self.world.live(client).closed);
        self.rebinds = self.rebinds.max(self.world.rebinds);
        match self.row.get("address") {
            "at close" => self.world.rebind(self.client, Rebind::Port),
            "family at close" => self.world.rebind(self.client, Rebind::Family),
            _ => {}
        }
        self.world.act(client, |c, now| c.close(DONE, b"done", now));
        // A replayed first datagram may make the server begin another connection, which nobody speaks to.
        let server = self.server;
        let others = |w: &World| w.connections(server)[before..].to_vec();
        while self.world.conn(client).is_some() || others(&self.world).iter().any(|c| self.world.conn(*c).is_some()) {
            self.step(give_up + patience);
        }
        if done {
            self.check_end(client, &others(&self.world), datagrams);
        }
        done
    }

    /// What ended the connection, if anything may have.
    fn cause_of_silence(&self, client: ConnId) -> Option<Cause> {
        let live = self.world.live(client);
        if matches!(live.closed, Some(CloseReason::Peer { code: INVALID_TOKEN, app: false, .. })) {
            return (self.row.is("keys", "Retry") && self.row.is_troubled()).then_some(Cause::TokenExpired);
        }
        let silent = matches!(live.closed, Some(CloseReason::IdleTimeout | CloseReason::NoPath));
        let forgotten = matches!(live.closed, Some(CloseReason::StatelessReset));
        // The last datagram may have been under way when the dead time began, and keep-alive may have spoken after it:
        // the idle timeout counts from there. A later end has another cause.
        let late = self.row.rtt() * 2 + Duration::from_secs(30);
        let long = matches!(self.row.get("outage"), "longer than idle" | "six weeks asleep");
        // An end that begins to speak again late, after doubled probe timeouts, is patient from there: then the other's end
        // tells.
        let in_time = |at: Timestamp| at < self.outage_ends + late;
        let server_gave_up = |id: &ConnId| {
            let silent = |e: &Event| matches!(e, Event::Closed(CloseReason::IdleTimeout));
            self.world.live(*id).events.iter().any(|(at, e)| silent(e) && in_time(*at))
        };
        let servers = self.world.connections(self.server);
        let dead = long && (in_time(self.world.now) || servers.iter().any(server_gave_up));
        match () {
            () if silent && dead => Some(Cause::Outlasted),
            () if (silent || forgotten) && self.row.is_stormy() => {
                let most = self.tries_in_vain().into_iter().max().unwrap_or(0);
                let storm = most >= TRIES_IN_A_STORM || self.backed_off(client);
                assert!(storm, "silent after {most} datagrams, which is no storm");
                Some(Cause::Storm)
            }
            () => None,
        }
    }

    /// A client that has not connected keeps its backoff although acknowledgements of Initial packets come, because it cannot
    /// know that the server has proved its address (RFC 9002 section 6.2.1). When most of a long ClientHello is lost
    /// again and again, two or three probe timeouts fill the idle timeout, and each may lose the one packet that is missing.
    fn backed_off(&self, client: ConnId) -> bool {
        let live = self.world.live(client);
        let connected = live.events.iter().any(|(_, e)| matches!(e, Event::Connected { .. }));
        !connected
            && live.stats.packets_lost >= LOST_IN_A_HANDSHAKE
            && live.stats.packets_lost * 2 > live.stats.packets_sent
    }

    /// What was given to each link since it delivered anything: the attempts of that end which came to nothing.
    fn tries_in_vain(&self) -> [u64; 2] {
        let sent = self.links.map(|link| self.world.links[link.0].counts.sent);
        [sent[0].saturating_sub(self.delivered[0].1), sent[1].saturating_sub(self.delivered[1].1)]
    }

    fn check_end(&self, client: ConnId, servers: &[ConnId], datagrams: u32) {
        let digests = self.world.live(client).app.digests();
        let served =
            servers.iter().map(|s| self.world.live(*s)).max_by_key(|s| s.app.digests().received.len()).expect("one");
        let theirs = served.app.digests();
        for (mine, other) in [(&digests.sent, &theirs.received), (&theirs.sent, &digests.received)] {
            assert!(other.iter().all(|(id, sha)| mine.get(id) == Some(sha)), "SHA-256 of a stream differs");
        }
        let resets = self.row.is("workload", "resets");
        assert!(resets || digests.received.len() == theirs.sent.len(), "a stream did not arrive");
        assert!(resets || digests.sent.len() == theirs.received.len(), "a stream did not arrive");
        if let Some(planted) = PLANTED.get() {
            assert!(!planted(&self.world.links[self.links[1].0].counts), "planted");
        }
        let app: &Client = self.world.app(client);
        assert!(app.datagrams_back <= datagrams, "datagrams multiply: a replay got through");
        assert_eq!(self.world.live(client).closed, Some(CloseReason::Local { code: DONE }));
    }

    /// Whether the trouble of a dimension has met the row's connections: a NAT that would have forgotten after the last
    /// byte proves nothing. Benign values, and those that are there from the first datagram to the last, always do.
    fn happened(&self, dim: usize) -> bool {
        let (name, value) = (DIMENSIONS[dim].0, self.row.get(DIMENSIONS[dim].0));
        let counts = self.links.map(|l| &self.world.links[l.0].counts);
        let any = |of: fn(&LinkCounts) -> u64| counts.iter().any(|c| of(c) > 0);
        let lives = || self.world.nodes.iter().flat_map(|n| &n.conns);
        let app = |id: &ConnId| self.world.app::<Client>(*id);
        let clients = self.world.connections(self.client);
        if self.row.values[dim] == 0 {
            return true;
        }
        match (name, value) {
            ("loss_up", _) => counts[0].lost > counts[0].cut,
            ("loss_down", _) => counts[1].lost > counts[1].cut,
            ("reorder", _) => any(|c| c.reordered),
            ("duplicate", _) => any(|c| c.duplicated),
            ("corrupt", _) => any(|c| c.corrupted),
            ("bandwidth", "policer") => any(|c| c.policed),
            ("bandwidth", "64 kbit/s, 5") => any(|c| c.overflowed),
            ("mtu", "black hole") => any(|c| c.too_long),
            ("mtu", "9000") => lives().any(|l| l.stats.mtu > 1500),
            ("address", "at close" | "family at close") => true,
            ("address", _) => self.rebinds > 0,
            ("outage", "six weeks asleep") => self.world.unroutable > 0,
            ("outage", _) => any(|c| c.cut),
            ("ecn", "CoDel" | "L4S") => any(|c| c.managed + c.marked),
            ("workload", _) => self.row.reduced().is_none(),
            ("keys", "update") => lives().any(|l| l.stats.key_updates > 0),
            ("keys", "resumption") => clients.iter().any(|c| app(c).resumed),
            ("keys", "0-RTT") => clients.iter().any(|c| app(c).zero_rtt_accepted == Some(true)),
            ("keys", "0-RTT rejected") => clients.iter().any(|c| app(c).zero_rtt_accepted == Some(false)),
            ("keys", "Retry") => lives().any(|l| l.stats.retries > 0),
            _ => true,
        }
    }

    fn play(&mut self) -> Option<Cause> {
        let keys = self.row.get("keys");
        let early = keys.starts_with("0-RTT");
        self.listen(early);
        let tls = identity::client_for(self.pems(), early);
        let first = matches!(keys, "resumption" | "0-RTT" | "0-RTT rejected");
        if first {
            let plan = Plan { seed: self.row.seed, jobs: vec![Job::get(100)], patient: true, ..Plan::default() };
            let comes = (0..6).any(|_| self.connection(&tls, plan.clone(), false));
            assert!(comes, "no first connection comes through");
        }
        let (mut silenced, mut first_cause) = (0, None);
        // Again is what an application tries then; now nothing is in the way but the network itself.
        if keys == "0-RTT rejected" {
            // Tickets of the first server mean nothing to the second.
            self.listen(early);
        }
        while !self.connection(&tls, self.row.plan(), silenced == 0) {
            silenced += 1;
            first_cause = first_cause.or(self.ended_by);
            assert!(silenced < 6, "no connection comes through");
            // Nobody tries again before the other end is awake.
            self.world.run_until(self.outage_ends);
        }
        let last = self.world.connections(self.client).pop().expect("there was one");
        let app: &Client = self.world.app(last);
        if keys == "0-RTT rejected" && silenced == 0 {
            assert_ne!(app.zero_rtt_accepted, Some(true), "nobody can accept it");
        }
        self.world.checked().assert_all();
        for node in &self.world.nodes {
            assert_eq!(node.endpoint.connection_count(), 0, "a connection is left");
            assert_eq!(node.endpoint.route_count(), 0, "a route is left");
        }
        first_cause
    }
}

/// Plays a row.
///
/// # Panics
/// When something is wrong; `report` prints the story.
pub fn play(row: &Row, report: bool) -> Verdict {
    let mut run = Run::new(row);
    run.tells = report;
    let start = run.world.now;
    match catch_unwind(AssertUnwindSafe(|| run.play())) {
        Ok(silenced) => {
            let w = &run.world;
            let happened = (0..DIMENSIONS.len()).map(|d| u32::from(run.happened(d)) << d).sum();
            Verdict { trace: w.trace, datagrams: w.datagrams, took: w.now.since(start), silenced, happened }
        }
        Err(panic) => {
            if report {
                eprintln!("{}\n{}", row.code(), run.world.story());
            }
            std::panic::resume_unwind(panic);
        }
    }
}

/// What went wrong, in one line.
pub fn fails(row: &Row) -> Option<String> {
    judge(row).err()
}

/// The verdict, or what went wrong in one line.
pub fn judge(row: &Row) -> Result<Verdict, String> {
    let panic = match catch_unwind(AssertUnwindSafe(|| play(row, false))) {
        Ok(verdict) => {
            if let Some(cause) = verdict.silenced {
                SILENCED.with_borrow_mut(|s| s.entry(cause).or_default().push(row.seed));
            }
            return Ok(verdict);
        }
        Err(panic) => panic,
    };
    let text = panic.downcast_ref::<String>().cloned();
    Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
}

/// Says that the planted fault has happened.
type Planted = fn(&LinkCounts) -> bool;

thread_local! {
    /// A fault for the test of the shrinker: what must not have happened on the way down.
    pub static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
    /// Rows that this thread played in which a connection went silent before its work was done.
    pub static SILENCED: RefCell<BTreeMap<Cause, Vec<u64>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The same failure with as little as possible around it: one dimension after the other becomes benign.
pub fn shrink(row: &Row) -> Row {
    let kind = |why: String| why.split(['(', ':']).next().map(str::to_owned);
    let wanted = fails(row).map(kind);
    shrink_by(row, |r| fails(r).map(kind) == wanted)
}

/// The smallest row that still is `bad`.
pub fn shrink_by(row: &Row, bad: impl Fn(&Row) -> bool) -> Row {
    let mut smallest = row.clone();
    loop {
        let before = smallest.clone();
        for dim in 0..smallest.values.len() {
            let simpler = (0..smallest.values[dim]).map(|value| {
                let mut candidate = smallest.clone();
                candidate.values[dim] = value;
                candidate
            });
            if let Some(found) = simpler.into_iter().find(|c| bad(c)) {
                smallest = found;
            }
        }
        if smallest == before {
            return smallest;
        }
    }
}
