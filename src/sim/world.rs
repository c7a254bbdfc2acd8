//! The world: virtual time, hosts, links, routes over links, NATs, and what is going to happen.
//!
//! Time jumps from one event to the next. Everything that looks like chance comes from the seed, and nothing depends on
//! the order of a hash table, so the same seed plays the same world everywhere. After every step the invariants of
//! `checks` are held against everything that moved.
use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::checks::{self, Amplification, Checked};
use super::identity;
use super::link::{Link, LinkConfig};
use super::node::{Listener, Live, NewApp, Node, NodeConfig, Outgoing, Socket};
use super::pattern::mix;
use crate::base::{Ecn, FourTuple, Timestamp};
use crate::connection::inspect::Inspection;
use crate::connection::{Connection, ConnectionConfig, MigrateError};
use crate::crypto::{ClientTls, ServerTls};

/// A host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(pub usize);

/// One direction of a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LinkId(pub usize);

/// A connection of a host, also after its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnId {
    pub node: NodeId,
    pub index: usize,
}

/// How a NAT changes its mind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rebind {
    /// The same address, another port.
    Port,
    /// Another address of the same family.
    Address,
    /// An address of the other family: the peer sees IPv6 instead of IPv4, or the reverse.
    Family,
}

/// With more than so many datagrams under way the ends are compared less often.
const BUSY: usize = 100;

type Act = Box<dyn FnOnce(&mut World) + Send>;

/// A datagram between two hosts.
struct Flying {
    from_node: usize,
    to_node: usize,
    hop: usize,
    from: SocketAddr,
    to: SocketAddr,
    ecn: Ecn,
    bytes: Vec<u8>,
    corrupted: bool,
    /// It left after something had reached its sender's external address.
    answers: bool,
}

enum What {
    Datagram(Flying),
    Act(Act),
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

/// A datagram as an observer beside a host sees it leave (see [`World::watch`]).
pub struct Seen<'a> {
    pub at: Timestamp,
    pub node: NodeId,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ecn: Ecn,
    pub bytes: &'a [u8],
}

/// Looks at every datagram that a host sends; may say that it is to be dropped (`false`).
pub type Watcher = Box<dyn FnMut(&Seen<'_>) -> bool + Send>;

/// Virtual time and everything in it.
pub struct World {
    pub now: Timestamp,
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
    /// Datagrams to addresses that nobody has (any more).
    pub unroutable: u64,
    /// Times that a NAT has given a socket another address.
    pub rebinds: u64,
    /// Datagrams sent by hosts.
    pub datagrams: u64,
    /// Mixes time, sender and length of every datagram sent.
    pub trace: u64,
    routes: BTreeMap<(usize, usize), Vec<LinkId>>,
    /// Which socket an external address belongs to.
    addresses: BTreeMap<SocketAddr, (usize, usize)>,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    steps: u64,
    seed: u64,
    next_port: u16,
    amplification: BTreeMap<usize, Amplification>,
    checked: Checked,
    watchers: Vec<Watcher>,
    /// `WB_TRACE`: every datagram is printed.
    tracing: bool,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            // Not zero: code that mistakes zero for "never" shall show itself elsewhere.
            now: Timestamp(1_000_000_000),
            nodes: Vec::new(),
            links: Vec::new(),
            unroutable: 0,
            rebinds: 0,
            datagrams: 0,
            trace: 0,
            routes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            queue: BinaryHeap::new(),
            number: 0,
            steps: 0,
            seed,
            next_port: 10_000,
            amplification: BTreeMap::new(),
            checked: Checked::default(),
            watchers: Vec::new(),
            tracing: std::env::var_os("WB_TRACE").is_some(),
        }
    }

    /// A host with its addresses.
    pub fn add_node(&mut self, config: NodeConfig) -> NodeId {
        let index = self.nodes.len();
        let addresses = config.addresses.clone();
        self.nodes.push(Node::new(index, config, mix(self.seed, index as u64)));
        for address in addresses {
            self.add_socket(NodeId(index), address, address);
        }
        NodeId(index)
    }

    /// One direction of a link; put it on as many routes as you like.
    pub fn add_link(&mut self, config: LinkConfig) -> LinkId {
        let id = LinkId(self.links.len());
        self.links.push(Link::new(config, mix(self.seed, 0x1000 + id.0 as u64)));
        id
    }

    /// What a datagram from `a` to `b` passes, and what one back passes. Without a route nothing arrives.
    pub fn join(&mut self, a: NodeId, b: NodeId, there: &[LinkId], back: &[LinkId]) {
        self.routes.insert((a.0, b.0), there.to_vec());
        self.routes.insert((b.0, a.0), back.to_vec());
    }

    /// A server at work.
    pub fn listen(&mut self, node: NodeId, tls: Arc<ServerTls>, config: ConnectionConfig, app: NewApp) {
        let node = &mut self.nodes[node.0];
        node.listener = Some(Listener { config: Arc::new(config), tls, app });
        node.endpoint.set_server(true);
    }

    /// A connection to the first address of `server`, from a socket of its own.
    ///
    /// # Panics
    /// When the configuration is impossible or the server has no address.
    pub fn connect(
        &mut self,
        client: NodeId,
        server: NodeId,
        tls: &Arc<ClientTls>,
        config: ConnectionConfig,
        app: Box<dyn App>,
    ) -> ConnId {
        let remote = self.nodes[server.0].sockets.first().expect("a server has an address").external;
        self.connect_to(client, remote, tls, config, app)
    }

    /// As `connect`, to this address.
    ///
    /// # Panics
    /// When the configuration is impossible.
    pub fn connect_to(
        &mut self,
        client: NodeId,
        remote: SocketAddr,
        tls: &Arc<ClientTls>,
        config: ConnectionConfig,
        app: Box<dyn App>,
    ) -> ConnId {
        let socket = self.open_socket(client, remote.is_ipv6());
        let now = self.now;
        let node = &mut self.nodes[client.0];
        let tuple = FourTuple { local: Some(node.sockets[socket].local), remote, socket: socket as u32 };
        let token = std::mem::take(&mut node.token);
        let config = Arc::new(config);
        let made = node.endpoint.connect(Arc::clone(&config), tls, identity::NAME, tuple, token, now);
        let (key, conn) = made.expect("a client can always start");
        let index = node.add(key.to_u64(), conn, config, app, now);
        self.amplification.entry(client.0).or_default().trust(remote);
        self.visit(client.0);
        ConnId { node: client, index }
    }

    fn add_socket(&mut self, node: NodeId, local: SocketAddr, external: SocketAddr) -> usize {
        let sockets = &mut self.nodes[node.0].sockets;
        sockets.push(Socket { local, external, dead: false, reached: false, left: None, last_sent: self.now });
        self.addresses.insert(external, (node.0, sockets.len() - 1));
        sockets.len() - 1
    }

    /// A new socket of a client behind its NAT.
    pub fn open_socket(&mut self, node: NodeId, v6: bool) -> usize {
        let n = self.nodes[node.0].sockets.len() as u16;
        let external = self.fresh_external(node.0, n > 0, v6);
        let port = 5000 + n;
        let local = if v6 {
            SocketAddr::from(([0xfd00, 0, 0, 0, 0, node.0 as u16, n, 1], port))
        } else {
            SocketAddr::from(([10, node.0 as u8, n as u8, 1], port))
        };
        self.add_socket(node, local, external)
    }

    fn fresh_external(&mut self, node: usize, other_address: bool, v6: bool) -> SocketAddr {
        self.next_port = self.next_port.wrapping_add(1).max(1024);
        let port = self.next_port;
        let last = if other_address { port % 250 + 2 } else { 1 };
        if v6 {
            SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, node as u16, last], port))
        } else {
            SocketAddr::from(([198, 18 + (node / 250) as u8, (node % 250) as u8, last as u8], port))
        }
    }

    /// The connections that this host has accepted or started, in order, with those that are over.
    #[must_use]
    pub fn connections(&self, node: NodeId) -> Vec<ConnId> {
        (0..self.nodes[node.0].conns.len()).map(|index| ConnId { node, index }).collect()
    }

    /// Everything known about a connection.
    #[must_use]
    pub fn live(&self, id: ConnId) -> &Live {
        &self.nodes[id.node.0].conns[id.index]
    }

    /// The connection, unless it is forgotten.
    #[must_use]
    pub fn conn(&self, id: ConnId) -> Option<&Connection> {
        self.live(id).conn.as_deref()
    }

    /// Acts on a connection and lets it do what follows; `None` when it is forgotten.
    pub fn act<R>(&mut self, id: ConnId, act: impl FnOnce(&mut Connection, Timestamp) -> R) -> Option<R> {
        let now = self.now;
        let node = &mut self.nodes[id.node.0];
        let result = act(node.conns[id.index].conn.as_mut()?, now);
        node.touch(id.index);
        self.visit(id.node.0);
        Some(result)
    }

    /// The application of a connection.
    ///
    /// # Panics
    /// When it is of another type.
    #[must_use]
    pub fn app<T: App>(&self, id: ConnId) -> &T {
        let app: &dyn Any = self.live(id).app.as_ref();
        app.downcast_ref().expect("the application has this type")
    }

    /// Changes the application of a connection; it is asked for work afterwards.
    ///
    /// # Panics
    /// When it is of another type.
    pub fn with_app<T: App, R>(&mut self, id: ConnId, change: impl FnOnce(&mut T) -> R) -> R {
        let node = &mut self.nodes[id.node.0];
        let app: &mut dyn Any = node.conns[id.index].app.as_mut();
        let result = change(app.downcast_mut().expect("the application has this type"));
        node.touch(id.index);
        self.visit(id.node.0);
        result
    }

    /// Calls `act` at a time (now, if that is over).
    pub fn at(&mut self, at: Timestamp, act: impl FnOnce(&mut Self) + Send + 'static) {
        self.schedule(at.max(self.now), What::Act(Box::new(act)));
    }

    /// Calls `act` after a time.
    pub fn after(&mut self, delay: Duration, act: impl FnOnce(&mut Self) + Send + 'static) {
        self.at(self.now + delay, act);
    }

    /// Somebody who sees every datagram that a host sends.
    pub fn watch(&mut self, watcher: impl FnMut(&Seen<'_>) -> bool + Send + 'static) {
        self.watchers.push(Box::new(watcher));
    }

    /// Nothing gets through these links for this long.
    pub fn outage(&mut self, links: &[LinkId], length: Duration) {
        let links = links.to_vec();
        for l in &links {
            self.links[l.0].dead = true;
        }
        self.after(length, move |w| {
            for l in links {
                w.links[l.0].dead = false;
            }
        });
    }

    /// The NAT of a client's newest socket gives it another address; nobody is told.
    pub fn rebind(&mut self, node: NodeId, how: Rebind) {
        if let Some(newest) = self.nodes[node.0].sockets.len().checked_sub(1) {
            self.rebind_socket(node, newest, how);
        }
    }

    /// The same for a socket of a host.
    pub fn rebind_socket(&mut self, node: NodeId, socket: usize, how: Rebind) {
        let old = self.nodes[node.0].sockets[socket].external;
        let v6 = old.is_ipv6() != (how == Rebind::Family);
        let external = self.fresh_external(node.0, how != Rebind::Port, v6);
        self.addresses.remove(&old);
        self.addresses.insert(external, (node.0, socket));
        let s = &mut self.nodes[node.0].sockets[socket];
        if std::mem::take(&mut s.reached) {
            s.left = Some(s.external);
        }
        s.external = external;
        self.rebinds += 1;
        let now = self.now;
        self.nodes[node.0].say(now, &format!("socket {socket} is now {external}"));
    }

    /// The client moves to a new socket on purpose.
    ///
    /// # Errors
    /// As `Connection::migrate` says.
    pub fn migrate(&mut self, id: ConnId, old_path_dies: bool) -> Result<(), MigrateError> {
        let Some(old) = self.conn(id).map(Connection::path) else { return Ok(()) };
        let socket = self.open_socket(id.node, old.remote.is_ipv6());
        let tuple = self.client_tuple(id.node, socket, old.remote);
        let done = self.act(id, |c, now| c.migrate(tuple, now)).unwrap_or(Ok(()));
        if done.is_ok() {
            self.nodes[id.node.0].sockets[old.socket as usize].dead = old_path_dies;
        } else if let Some(unused) = self.nodes[id.node.0].sockets.pop() {
            self.addresses.remove(&unused.external);
        }
        done
    }

    /// These hosts sleep: a suspended machine. Nothing leaves them, what arrives is lost, and when they wake up all their
    /// timers are late at once.
    pub fn sleep(&mut self, nodes: &[NodeId], length: Duration) {
        let nodes = nodes.to_vec();
        for n in &nodes {
            self.nodes[n.0].asleep = true;
        }
        self.after(length, move |w| {
            for n in nodes {
                w.nodes[n.0].asleep = false;
            }
        });
    }

    /// The client's network changes under it and it is told.
    pub fn moved(&mut self, id: ConnId) {
        let Some(old) = self.conn(id).map(Connection::path) else { return };
        let socket = self.open_socket(id.node, old.remote.is_ipv6());
        self.nodes[id.node.0].sockets[old.socket as usize].dead = true;
        let tuple = self.client_tuple(id.node, socket, old.remote);
        self.act(id, |c, now| c.on_local_address_changed(tuple, now));
    }

    fn client_tuple(&self, node: NodeId, socket: usize, remote: SocketAddr) -> FourTuple {
        FourTuple { local: Some(self.nodes[node.0].sockets[socket].local), remote, socket: socket as u32 }
    }

    fn schedule(&mut self, at: Timestamp, what: What) {
        self.number += 1;
        self.queue.push(Reverse(Entry { at, number: self.number, what }));
    }

    /// When something happens next; `None`: never.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        let due = self.queue.peek().map(|e| e.0.at);
        let awake = self.nodes.iter().filter(|n| !n.asleep);
        awake.map(Node::deadline).chain([due]).flatten().min().map(|t| t.max(self.now))
    }

    /// On to the next thing that happens; `false`: nothing ever will.
    pub fn step(&mut self) -> bool {
        let Some(next) = self.next_event() else { return false };
        self.now = next;
        while let Some(entry) = self.queue.peek() {
            if entry.0.at > self.now {
                break;
            }
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            match entry.what {
                What::Datagram(d) => self.fly(d),
                What::Act(act) => act(self),
            }
        }
        for node in 0..self.nodes.len() {
            self.visit(node);
        }
        self.steps += 1;
        let busy = self.queue.len() > BUSY;
        if self.steps.is_multiple_of(if busy { 64 } else { 8 }) {
            self.compare_ends();
        }
        true
    }

    /// Both ends of a connection have the same first Destination Connection ID.
    fn compare_ends(&mut self) {
        let mut ends: BTreeMap<Vec<u8>, Inspection> = BTreeMap::new();
        let mut compared = 0;
        for conn in self.nodes.iter().flat_map(|n| &n.conns).filter_map(|l| l.conn.as_ref()) {
            if !conn.is_confirmed() || conn.is_closed() {
                continue;
            }
            let seen = conn.inspect();
            match ends.remove(seen.odcid.as_slice()) {
                Some(other) => {
                    checks::agree(&seen, &other);
                    compared += 1;
                }
                None => {
                    ends.insert(seen.odcid.as_slice().to_vec(), seen);
                }
            }
        }
        self.checked.credit_between += compared;
    }

    /// How often each invariant was looked at.
    #[must_use]
    pub fn checked(&self) -> Checked {
        self.nodes.iter().fold(self.checked, |sum, n| sum.and(n.checked))
    }

    /// Plays until a time.
    pub fn run_until(&mut self, end: Timestamp) {
        while self.next_event().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = self.now.max(end);
    }

    /// Plays for so long.
    pub fn run_for(&mut self, length: Duration) {
        self.run_until(self.now + length);
    }

    /// Plays until `done` says so; `false` when `limit` is over or nothing will ever happen again.
    pub fn run_while(&mut self, limit: Duration, mut busy: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        while busy(self) {
            if self.next_event().is_none_or(|at| at > end) {
                return false;
            }
            self.step();
        }
        true
    }

    /// Plays until these connections' applications are done and none of them has closed; `false` after `limit`.
    pub fn run_jobs(&mut self, conns: &[ConnId], limit: Duration) -> bool {
        self.run_while(limit, |w| conns.iter().any(|c| !w.live(*c).app.is_done() && w.live(*c).closed.is_none()))
            && conns.iter().all(|c| self.live(*c).app.is_done())
    }

    fn visit(&mut self, node: usize) {
        let now = self.now;
        let mut out = Vec::new();
        if self.nodes[node].asleep {
            return;
        }
        let due = self.nodes[node].take_due(now);
        for index in due {
            self.nodes[node].visit(index, now, &mut out);
            let failed = std::mem::take(&mut self.nodes[node].conns[index].failed_paths);
            for tuple in failed {
                // What a sensible application does whose old network is gone: it tries again.
                let newest = tuple.socket as usize + 1 == self.nodes[node].sockets.len();
                if let Some(conn) = self.nodes[node].conns[index].conn.as_mut().filter(|_| newest) {
                    let _ = conn.migrate(tuple, now);
                    self.nodes[node].visit(index, now, &mut out);
                }
            }
            for o in out.drain(..) {
                self.send(node, o);
            }
        }
    }

    fn note(&mut self, node: usize, len: usize) {
        let mut x = self.trace ^ self.now.0 ^ (len as u64) << 48 ^ (node as u64) << 40;
        x = (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace = x ^ (x >> 27);
        self.datagrams += 1;
    }

    /// A host sends.
    fn send(&mut self, node: usize, o: Outgoing) {
        self.note(node, o.bytes.len());
        let index = o.tuple.socket as usize;
        let expired = {
            let n = &self.nodes[node];
            n.nat_memory.is_some_and(|m| self.now.since(n.sockets[index].last_sent) > m)
        };
        if expired {
            self.rebind_socket(NodeId(node), index, Rebind::Port);
        }
        let socket = &mut self.nodes[node].sockets[index];
        socket.last_sent = self.now;
        let (from, answers, dead) = (socket.external, socket.reached, socket.dead);
        if self.tracing {
            let (at, len) = (self.now.0 as f64 / 1e9, o.bytes.len());
            eprintln!("{at:>12.6} node {node}: {len} bytes, first {:#04x}, {:?} from {from}", o.bytes[0], o.tuple);
        }
        if self.nodes[node].listener.is_some() {
            self.amplification.entry(node).or_default().on_sent(o.tuple.remote, o.bytes.len());
            self.checked.amplification += 1;
        }
        // A NAT that changed the family speaks to the server's other address.
        let Some(to) = self.in_family(o.tuple.remote, from.is_ipv6()) else {
            self.unroutable += 1;
            return;
        };
        let seen = Seen { at: self.now, node: NodeId(node), from, to: o.tuple.remote, ecn: o.ecn, bytes: &o.bytes };
        let mut passes = true;
        for watcher in &mut self.watchers {
            passes &= watcher(&seen);
        }
        let Some(&(to_node, _)) = self.addresses.get(&to).filter(|_| passes && !dead) else {
            self.unroutable += u64::from(passes && !dead);
            return;
        };
        let (ecn, bytes) = (o.ecn, o.bytes);
        self.fly(Flying { from_node: node, to_node, hop: 0, from, to, ecn, bytes, corrupted: false, answers });
    }

    /// The address of the same host in this family.
    fn in_family(&self, address: SocketAddr, v6: bool) -> Option<SocketAddr> {
        if address.is_ipv6() == v6 {
            return Some(address);
        }
        let &(node, _) = self.addresses.get(&address)?;
        self.nodes[node].sockets.iter().map(|s| s.external).find(|a| a.is_ipv6() == v6)
    }

    /// Onto the next link of the route, or into the host.
    fn fly(&mut self, mut d: Flying) {
        let Some(route) = self.routes.get(&(d.from_node, d.to_node)) else {
            self.unroutable += 1;
            return;
        };
        let Some(&link) = route.get(d.hop) else {
            self.arrive(d);
            return;
        };
        d.hop += 1;
        let (queue, number) = (&mut self.queue, &mut self.number);
        let bytes = std::mem::take(&mut d.bytes);
        self.links[link.0].send(self.now, bytes, d.ecn, |a| {
            *number += 1;
            let copy = Flying { ecn: a.ecn, bytes: a.bytes, corrupted: d.corrupted || a.corrupted, ..d };
            queue.push(Reverse(Entry { at: a.at, number: *number, what: What::Datagram(copy) }));
        });
    }

    fn arrive(&mut self, mut d: Flying) {
        let Some(&(node, index)) = self.addresses.get(&d.to) else {
            self.unroutable += 1;
            return;
        };
        let socket = &self.nodes[node].sockets[index];
        let forgotten = self.nodes[node].nat_memory.is_some_and(|m| self.now.since(socket.last_sent) > m);
        if socket.dead || forgotten || self.nodes[node].asleep {
            self.unroutable += 1;
            return;
        }
        let Some(remote) = self.in_family(d.from, socket.local.is_ipv6()).or(Some(d.from)) else { return };
        // Damage hits one byte: another packet of the datagram may be whole.
        self.nodes[node].sockets[index].reached = true;
        let tuple = self.client_tuple(NodeId(node), index, remote);
        if self.tracing {
            let (at, len) = (self.now.0 as f64 / 1e9, d.bytes.len());
            let damaged = if d.corrupted { " damaged" } else { "" };
            eprintln!("{at:>12.6} node {node} hears {len} bytes from {}{damaged}", d.from);
        }
        if self.nodes[node].listener.is_some() {
            if !d.corrupted {
                // RFC 9000 section 8.2.2: a PATH_RESPONSE may come from another address than it was asked for at.
                for i in 0..self.nodes[d.from_node].sockets.len() {
                    if let Some(left) = self.nodes[d.from_node].sockets[i].left.take() {
                        self.amplification.entry(node).or_default().trust(left);
                    }
                }
            }
            self.amplification.entry(node).or_default().on_received(remote, &d.bytes, !d.corrupted, d.answers);
        }
        let now = self.now;
        if let Some(reply) = self.nodes[node].receive(tuple, d.ecn, &mut d.bytes, now) {
            self.send(node, Outgoing { tuple, ecn: Ecn::NotEct, bytes: reply });
        }
    }

    /// What was going on, for the report of a failure.
    #[must_use]
    pub fn story(&self) -> String {
        let mut text = format!("at {:.6} s\n", self.now.0 as f64 / 1e9);
        let mut lines: Vec<&String> = Vec::new();
        for (i, node) in self.nodes.iter().enumerate() {
            for (c, live) in node.conns.iter().enumerate() {
                let stats = live.conn.as_ref().map_or(live.stats, |conn| conn.stats());
                let deadline = live.conn.as_ref().and_then(|conn| conn.deadline());
                text += &format!(
                    "node {i} connection {c}: closed {:?}, deadline {deadline:?}, {}\n  {stats:?}\n",
                    live.closed,
                    live.app.progress()
                );
            }
            lines.extend(&node.log);
        }
        for (i, link) in self.links.iter().enumerate() {
            text += &format!("link {i}: {:?}\n", link.counts);
        }
        lines.sort();
        for line in lines.iter().skip(lines.len().saturating_sub(60)) {
            text += line;
            text.push('\n');
        }
        text
    }
}
