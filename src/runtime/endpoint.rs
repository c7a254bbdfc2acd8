//! An endpoint as threads share it: sockets, routing state per worker, the verbs of the application.
//!
//! An endpoint has one part per worker it runs on; each part holds the sans-IO endpoint of that
//! worker, its connections and a directory of its sockets behind one lock, which is taken before a
//! connection's lock, never after it. Sockets are made on the calling thread, so errors (port in
//! use, no permission) come back at once, and handed to the worker that will own them.
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::clock;
use super::conn::{Conn, ConnState, Names, next_id};
use super::counters::Sent;
use super::directory::{Directory, SocketEntry};
use super::error::RuntimeError;
use super::events::{EndpointNotice, IncomingDecision, Sink, Ticket};
use super::random::{SeededRng, SystemRng};
use super::shards::{Command, ShardShared};
use super::udp::{SocketOptions, UdpSocket, bind_group, connect_raw};
use crate::base::sync::{AtomicBool, AtomicU32, AtomicUsize, Mutex, Ordering, RwLock};
use crate::base::{FourTuple, Rng, Side, Timestamp};
use crate::connection::ConnectionConfig;
use crate::crypto::{ClientTls, ServerTls};
use crate::endpoint::{ConnectionKey, Endpoint, EndpointConfig, Incoming, Limits};
use crate::http3::{Http3, Http3Config};

/// Ports that a driven runtime gives to sockets that name none (RFC 6335 section 6: dynamic ports).
const FIRST_FREE_PORT: u16 = 49152;
const FREE_PORTS: u32 = 16384;

/// How an endpoint is set up.
#[derive(Clone, Default)]
pub struct EndpointOptions {
    /// Secrets and policies of the protocol part; the worker's byte is filled in here.
    pub endpoint: EndpointConfig,
    /// One socket per worker on the same port (servers). Otherwise the endpoint lives on one worker.
    pub spread: bool,
    /// Leave the choice of the worker to the kernel's hash of addresses; the hand-off queue corrects
    /// it. For systems that refuse the filter program, and for tests.
    pub no_kernel_steering: bool,
    /// Client: a connected socket for every connection. It stays on its local address when routes
    /// change, and learns of unreachable peers.
    pub connected_sockets: bool,
    /// Client: a network report that the peer is unreachable ends the handshake at once.
    pub fail_unreachable: bool,
    /// Every connection leaves a qlog in this folder, one file each.
    pub qlog_dir: Option<PathBuf>,
}

/// How incoming connections are answered.
#[derive(Clone)]
pub struct ListenConfig {
    pub connection: Arc<ConnectionConfig>,
    pub tls: Arc<ServerTls>,
    /// Attach HTTP/3 to connections that agree on `h3`.
    pub http3: Option<Arc<Http3Config>>,
}

/// Whom to connect to, and how.
#[derive(Clone)]
pub struct ConnectConfig {
    pub remote: SocketAddr,
    pub server_name: String,
    pub connection: Arc<ConnectionConfig>,
    pub tls: Arc<ClientTls>,
    /// Attach HTTP/3.
    pub http3: Option<Arc<Http3Config>>,
    /// From an earlier connection's NEW_TOKEN.
    pub token: Vec<u8>,
    /// First value of [`Conn::tag`].
    pub tag: u64,
    /// Bind a socket of its own to this address.
    pub local: Option<SocketAddr>,
}

/// A socket wanted for one connection.
pub(super) struct PrivateSocket {
    pub local: Option<SocketAddr>,
    pub path: FourTuple,
    pub conn: u64,
}

/// A connection attempt that waits for the application.
pub(super) struct Undecided {
    pub number: u64,
    pub since: Timestamp,
    pub incoming: Incoming,
}

/// What one worker has of an endpoint, under one lock.
pub(super) struct PartCore {
    pub endpoint: Endpoint,
    pub conns: FxHashMap<ConnectionKey, Arc<Conn>>,
    /// Attempts whose decision was put off, oldest first. The protocol part bounds and forgets them; so do we.
    pub undecided: VecDeque<Undecided>,
    pub sockets: Directory,
    /// No new connections; gone when the last one has gone.
    pub closing: bool,
    pub gone: bool,
}

/// One worker's share of an endpoint.
pub(super) struct Part {
    pub shard: Arc<ShardShared>,
    pub core: Mutex<PartCore>,
    pub sent: Sent,
}

/// The shared body of an endpoint.
pub(super) struct EndpointInner {
    pub id: u64,
    pub options: EndpointOptions,
    pub sockets: SocketOptions,
    pub sink: Arc<dyn Sink>,
    pub listen: RwLock<Option<Arc<ListenConfig>>>,
    pub parts: Vec<Part>,
    /// Has listened at some time.
    pub server: AtomicBool,
    /// Connections that begin record what happens, whatever their settings say.
    pub logs: AtomicBool,
    pub closed: AtomicBool,
    /// Parts that have not gone yet.
    pub open_parts: AtomicUsize,
    next_part: AtomicUsize,
    next_socket: Arc<AtomicU32>,
    /// Randomness of a driven runtime, where sockets are numbers only.
    seed: Option<SeededRng>,
}

/// An endpoint's owner: when the last clone goes, the endpoint closes.
#[derive(Clone)]
pub struct EndpointHandle {
    guard: Arc<Guard>,
}

struct Guard(Arc<EndpointInner>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close(0, b"");
    }
}

const fn wildcard(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

const fn any_port(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip(), 0)
}

/// What an endpoint is made from.
pub(super) struct EndpointParts {
    pub options: EndpointOptions,
    pub sockets: SocketOptions,
    pub sink: Arc<dyn Sink>,
    pub shards: Vec<Arc<ShardShared>>,
    pub seed: Option<SeededRng>,
    pub next_socket: Arc<AtomicU32>,
}

impl EndpointInner {
    pub(super) fn new(parts: EndpointParts) -> Option<Arc<Self>> {
        let EndpointParts { mut options, mut sockets, sink, shards, seed, next_socket } = parts;
        complete(&mut options.endpoint, seed.as_ref());
        sockets.steer = sockets.steer.map(|_| options.endpoint.shard_mask());
        let count = shards.len();
        let make = |(i, shard): (usize, Arc<ShardShared>)| Part {
            shard,
            core: Mutex::new(PartCore {
                endpoint: new_endpoint(&options.endpoint, i, count, seed.as_ref()),
                conns: FxHashMap::default(),
                undecided: VecDeque::new(),
                sockets: Directory::default(),
                closing: false,
                gone: false,
            }),
            sent: Sent::default(),
        };
        let parts: Vec<Part> = shards.into_iter().enumerate().map(make).collect();
        let inner = Arc::new(Self {
            id: next_id(),
            options,
            sockets,
            sink,
            listen: RwLock::new(None),
            open_parts: AtomicUsize::new(parts.len()),
            parts,
            server: AtomicBool::new(false),
            logs: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            next_part: AtomicUsize::new(0),
            next_socket,
            seed,
        });
        for (i, part) in inner.parts.iter().enumerate() {
            if !part.shard.send(Command::AddEndpoint { endpoint: Arc::clone(&inner), part: i }) {
                // The runtime has ended meanwhile. Nobody has the endpoint yet, so nobody waits for its end.
                return None;
            }
        }
        Some(inner)
    }

    fn fresh_number(&self) -> u32 {
        self.next_socket.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts `socket` into the directory of a part and hands it to its worker.
    fn install(
        self: &Arc<Self>,
        part: usize,
        socket: UdpSocket,
        owner: Option<(u64, SocketAddr)>,
    ) -> Option<SocketEntry> {
        let p = self.parts.get(part)?;
        let bound = socket.local();
        let entry = SocketEntry { number: self.fresh_number(), fd: socket.fd(), bound, told: bound, owner };
        p.core.lock().sockets.add(entry);
        let taken = p.shard.send(Command::AddSocket { endpoint: Arc::clone(self), part, number: entry.number, socket });
        taken.then_some(entry)
    }

    /// A socket of a driven runtime: an address under which datagrams come and go. Port 0 gets one that is free here.
    fn imagine(&self, part: usize, addr: SocketAddr, owner: Option<(u64, SocketAddr)>) -> Option<SocketEntry> {
        let number = self.fresh_number();
        let mut bound = addr;
        if addr.port() == 0 {
            bound.set_port(FIRST_FREE_PORT + u16::try_from(number % FREE_PORTS).unwrap_or(0));
        }
        let entry = SocketEntry { number, fd: -1, bound, told: bound, owner };
        self.parts.get(part)?.core.lock().sockets.add(entry);
        Some(entry)
    }

    /// A shared socket on `local`, of whichever sort the runtime has.
    fn open_shared(self: &Arc<Self>, part: usize, local: SocketAddr) -> Result<SocketEntry, RuntimeError> {
        if self.seed.is_some() {
            return self.imagine(part, local, None).ok_or(RuntimeError::Closed);
        }
        let socket = bind_group(local, 1, &self.sockets)
            .map_err(|e| RuntimeError::bind(local, e))?
            .pop()
            .ok_or(RuntimeError::State("no socket"))?;
        self.install(part, socket, None).ok_or(RuntimeError::Closed)
    }

    /// Fails for verbs that need real sockets.
    fn needs_sockets(&self) -> Result<(), RuntimeError> {
        if self.seed.is_some() { Err(RuntimeError::State("a core has no sockets")) } else { Ok(()) }
    }

    /// A socket for one connection; not yet known to the connection.
    pub(super) fn open_private(
        self: &Arc<Self>,
        part: usize,
        wanted: PrivateSocket,
    ) -> Result<SocketEntry, RuntimeError> {
        let PrivateSocket { local, path, conn } = wanted;
        let local = match local {
            Some(a) if a.is_ipv4() != path.remote.is_ipv4() => {
                return Err(RuntimeError::State("the new local address is of another family than the peer's"));
            }
            Some(a) => a,
            // An endpoint bound to one address moves to another port of it.
            None => self.home(part, path).map_or_else(|| wildcard(path.remote), any_port),
        };
        if self.seed.is_some() {
            return self.imagine(part, local, Some((conn, path.remote))).ok_or(RuntimeError::Closed);
        }
        let socket = self.open_one(local, path.remote)?;
        self.install(part, socket, Some((conn, path.remote))).ok_or(RuntimeError::Closed)
    }

    fn home(&self, part: usize, path: FourTuple) -> Option<SocketAddr> {
        let core = self.parts.get(part)?.core.lock();
        core.sockets.get(path.socket).map(|s| s.bound)
    }

    fn open_one(&self, local: SocketAddr, remote: SocketAddr) -> Result<UdpSocket, RuntimeError> {
        if self.options.connected_sockets {
            return connect_raw(local, remote, &self.sockets).map_err(|e| RuntimeError::bind(local, e));
        }
        let mut group = bind_group(local, 1, &self.sockets).map_err(|e| RuntimeError::bind(local, e))?;
        group.pop().ok_or(RuntimeError::State("no socket"))
    }

    /// Forgets a socket at once; the worker closes it.
    pub(super) fn retire_now(&self, part: usize, number: u32) {
        if let Some(p) = self.parts.get(part) {
            p.core.lock().sockets.remove(number);
            p.shard.send(Command::CloseSocket { number });
        }
    }

    /// Gives socket `number` a new port under the connections' feet.
    pub(super) fn replace_silently(&self, part: usize, number: u32) -> Result<SocketAddr, RuntimeError> {
        let p = self.parts.get(part).ok_or(RuntimeError::Closed)?;
        let entry = p.core.lock().sockets.get(number).copied().ok_or(RuntimeError::Closed)?;
        let local = any_port(entry.bound);
        let socket = match entry.owner {
            Some((_, remote)) => self.open_one(local, remote)?,
            None => bind_group(local, 1, &self.sockets)
                .map_err(|e| RuntimeError::bind(local, e))?
                .pop()
                .ok_or(RuntimeError::State("no socket"))?,
        };
        let bound = socket.local();
        if let Some(s) = p.core.lock().sockets.get_mut(number) {
            s.bound = bound;
            s.fd = socket.fd();
        }
        p.shard.send(Command::ReplaceSocket { number, socket });
        Ok(bound)
    }

    fn close(&self, code: u64, reason: &[u8]) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        *self.listen.write() = None;
        for part in &self.parts {
            part.shard.send(Command::CloseEndpoint { id: self.id, code, reason: reason.to_vec() });
        }
    }
}

impl EndpointInner {
    /// Takes no new connections and lets the present ones finish what is under way, for at most `limit`.
    fn drain(&self, limit: Duration) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        *self.listen.write() = None;
        for part in &self.parts {
            let until = part.shard.driven_at().unwrap_or_else(clock::now) + limit;
            part.shard.send(Command::DrainEndpoint { id: self.id, until });
        }
    }
}

impl EndpointHandle {
    pub(super) fn new(inner: Arc<EndpointInner>) -> Self {
        Self { guard: Arc::new(Guard(inner)) }
    }

    pub(super) fn inner(&self) -> &Arc<EndpointInner> {
        &self.guard.0
    }

    fn open_check(&self) -> Result<(), RuntimeError> {
        if self.inner().closed.load(Ordering::Acquire) { Err(RuntimeError::Closed) } else { Ok(()) }
    }

    /// Unique in the process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner().id
    }

    /// Opens the endpoint's sockets on `addr`; may be called for several addresses. The sockets
    /// exist when this returns.
    ///
    /// # Errors
    /// Those of the system, sorted.
    pub fn bind(&self, addr: SocketAddr) -> Result<SocketAddr, RuntimeError> {
        self.open_check()?;
        let inner = self.inner();
        if inner.seed.is_some() {
            return inner.imagine(0, addr, None).map(|s| s.bound).ok_or(RuntimeError::Closed);
        }
        let group = bind_group(addr, inner.parts.len(), &inner.sockets).map_err(|e| RuntimeError::bind(addr, e))?;
        let mut bound = addr;
        for (part, socket) in group.into_iter().enumerate() {
            bound = socket.local();
            inner.install(part, socket, None);
        }
        Ok(bound)
    }

    /// Binds `port` of all addresses of both families (0: any port, the same for both). IPv4 only
    /// where the system has no IPv6.
    ///
    /// # Errors
    /// Those of [`Self::bind`].
    pub fn bind_dual_stack(&self, port: u16) -> Result<SocketAddr, RuntimeError> {
        let v4 = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        match self.bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)) {
            Ok(bound) => {
                self.bind(v4(bound.port()))?;
                Ok(bound)
            }
            Err(e) if matches!(e.os_error(), libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => self.bind(v4(port)),
            Err(e) => Err(e),
        }
    }

    /// Takes over a bound socket; several go to the workers in turn.
    ///
    /// # Errors
    /// When it is not a bound IP socket.
    pub fn adopt(&self, socket: std::net::UdpSocket) -> Result<SocketAddr, RuntimeError> {
        self.open_check()?;
        self.inner().needs_sockets()?;
        let socket = UdpSocket::adopt(socket, &self.inner().sockets)
            .map_err(|source| RuntimeError::Io { what: "cannot use the given socket", source })?;
        let bound = socket.local();
        let inner = self.inner();
        let part = self.socket_count().checked_rem(inner.parts.len()).unwrap_or(0);
        inner.install(part, socket, None).ok_or(RuntimeError::Closed)?;
        Ok(bound)
    }

    /// Addresses of the endpoint's own sockets, without those of single connections.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let mut out: Vec<SocketAddr> = Vec::new();
        for part in &self.inner().parts {
            for s in part.core.lock().sockets.shared() {
                if !out.contains(&s.bound) {
                    out.push(s.bound);
                }
            }
        }
        out
    }

    /// Accepts connections from now on.
    ///
    /// # Errors
    /// When the endpoint is closed or has no socket.
    pub fn listen(&self, mut config: ListenConfig) -> Result<(), RuntimeError> {
        self.open_check()?;
        self.inner().ask_for_log(&mut config.connection);
        if self.inner().parts.iter().all(|p| p.core.lock().sockets.is_empty()) {
            return Err(RuntimeError::State("cannot listen: the endpoint is not bound to an address"));
        }
        self.inner().server.store(true, Ordering::Release);
        for part in &self.inner().parts {
            part.core.lock().endpoint.set_server(true);
        }
        *self.inner().listen.write() = Some(Arc::new(config));
        Ok(())
    }

    /// Decides on an attempt that was put off; too late an answer does nothing. Any thread, never waits.
    pub fn decide(&self, ticket: Ticket, decision: IncomingDecision) {
        let inner = self.inner();
        if let Some(part) = inner.parts.get(ticket.part) {
            part.shard.send(Command::Decide { endpoint: Arc::clone(inner), ticket, decision });
        }
    }

    /// Replaces the secrets of tokens and stateless resets: the first makes, all are accepted.
    pub fn set_secrets(&self, current: &[u8; 32], previous: &[[u8; 32]]) {
        for part in &self.inner().parts {
            part.core.lock().endpoint.set_secrets(current, previous);
        }
    }

    /// Replaces the limits of what clients may begin; what is there already goes on.
    pub fn set_limits(&self, limits: Limits) {
        let inner = self.inner();
        inner.options.endpoint.load.limit(limits);
        if inner.options.endpoint.load.has_news()
            && let Some(part) = inner.parts.first()
        {
            // Told where all events are: on a worker.
            part.shard.send(Command::TellLoad { id: inner.id });
        }
    }

    /// Connections that begin from now on record what happens, for [`super::events::Sink::log`], or do not any more.
    pub fn set_logs(&self, on: bool) {
        let inner = self.inner();
        inner.logs.store(on, Ordering::Release);
        let mut listen = inner.listen.write();
        if let Some(current) = listen.as_deref() {
            let mut config = current.clone();
            Arc::make_mut(&mut config.connection).qlog = on;
            inner.ask_for_log(&mut config.connection);
            *listen = Some(Arc::new(config));
        }
    }

    /// Refuses new connections; the present ones go on.
    pub fn stop_listening(&self) {
        *self.inner().listen.write() = None;
    }

    /// Starts a connection. Its events come through the sink, the first one after this has returned
    /// or at the same time on a worker.
    ///
    /// # Errors
    /// When no socket can be had, or TLS refuses the settings.
    pub fn connect(&self, mut config: ConnectConfig) -> Result<Arc<Conn>, RuntimeError> {
        self.open_check()?;
        let inner = self.inner();
        inner.ask_for_log(&mut config.connection);
        if config.remote.port() == 0 || config.remote.ip().is_unspecified() {
            return Err(RuntimeError::Refused("cannot connect: the peer's address is not complete"));
        }
        let part = inner.next_part.fetch_add(1, Ordering::Relaxed).checked_rem(inner.parts.len()).unwrap_or(0);
        let id = next_id();
        let own = config.local.is_some() || inner.options.connected_sockets;
        let socket = if own {
            let path = FourTuple { local: None, remote: config.remote, socket: u32::MAX };
            let local = config.local.or_else(|| self.shared_socket(part, config.remote).map(|s| any_port(s.bound)));
            inner.open_private(part, PrivateSocket { local, path, conn: id })?
        } else {
            match self.shared_socket(part, config.remote) {
                Some(s) => s,
                None => inner.open_shared(part, wildcard(config.remote))?,
            }
        };
        let result = self.start(part, &socket, id, config);
        if result.is_err() && own {
            inner.retire_now(part, socket.number);
        }
        result
    }

    fn shared_socket(&self, part: usize, remote: SocketAddr) -> Option<SocketEntry> {
        let core = self.inner().parts.get(part)?.core.lock();
        core.sockets.shared().find(|s| s.bound.is_ipv4() == remote.is_ipv4()).copied()
    }

    fn start(
        &self,
        part: usize,
        socket: &SocketEntry,
        id: u64,
        config: ConnectConfig,
    ) -> Result<Arc<Conn>, RuntimeError> {
        let inner = self.inner();
        let p = inner.parts.get(part).ok_or(RuntimeError::Closed)?;
        // An endpoint that also listens learns local addresses from packets; an unknown one matches any.
        let local = if inner.tells_packet_addresses() { None } else { Some(socket.told) };
        let tuple = FourTuple { local, remote: config.remote, socket: socket.number };
        let now = p.shard.driven_at().unwrap_or_else(clock::now);
        let mut core = p.core.lock();
        if core.closing {
            return Err(RuntimeError::Closed);
        }
        let (key, mut connection) = core
            .endpoint
            .connect(config.connection, &config.tls, &config.server_name, tuple, config.token, now)
            .map_err(RuntimeError::from)?;
        connection.share_slabs(Arc::clone(&p.shard.slabs));
        let http3 = config.http3.map(|c| Box::new(Http3::new(Side::Client, (*c).clone())));
        let mut state = ConnState::new(connection, http3, None);
        state.start_early_http3(now);
        let conn = Arc::new(Conn::new(Arc::clone(inner), part, key, Names { id, tag: config.tag }, state));
        core.conns.insert(key, Arc::clone(&conn));
        drop(core);
        conn.wake();
        Ok(conn)
    }

    /// The network below has changed: every socket is replaced by a new one and the connections are
    /// told, without a say of the old path. `local`: address for the new ones, otherwise as before
    /// with another port.
    ///
    /// # Errors
    /// When a socket cannot be had; what was replaced until then stays so.
    pub fn rebind(&self, local: Option<SocketAddr>) -> Result<Vec<SocketAddr>, RuntimeError> {
        self.open_check()?;
        self.inner().needs_sockets()?;
        let inner = self.inner();
        if inner.listen.read().is_some() {
            return Err(RuntimeError::State("a listening endpoint cannot move: clients would not find it"));
        }
        let mut moved = Vec::new();
        for (i, part) in inner.parts.iter().enumerate() {
            let old: Vec<SocketEntry> = part.core.lock().sockets.iter().copied().collect();
            for entry in old {
                let to = match local {
                    Some(a) if a.is_ipv4() == entry.bound.is_ipv4() => a,
                    _ => any_port(entry.bound),
                };
                let socket = match entry.owner {
                    Some((_, remote)) => inner.open_one(to, remote)?,
                    None => bind_group(to, 1, &inner.sockets)
                        .map_err(|e| RuntimeError::bind(to, e))?
                        .pop()
                        .ok_or(RuntimeError::State("no socket"))?,
                };
                let fresh = inner.install(i, socket, entry.owner).ok_or(RuntimeError::Closed)?;
                moved.push(fresh.bound);
                let conns: Vec<Arc<Conn>> = part.core.lock().conns.values().cloned().collect();
                for conn in conns {
                    conn.with(|state, now| {
                        let path = state.connection.path();
                        if path.socket == entry.number && !state.poisoned && !state.connection.is_closed() {
                            let tuple =
                                FourTuple { local: Some(fresh.told), remote: path.remote, socket: fresh.number };
                            state.connection.on_local_address_changed(tuple, now);
                        }
                    });
                }
                inner.retire_now(i, entry.number);
            }
        }
        Ok(moved)
    }

    /// Every socket of the endpoint gets a new port and no connection is told: what a NAT does when
    /// it forgets its mappings. For tests and demonstrations.
    ///
    /// # Errors
    /// When a socket cannot be had.
    pub fn rebind_silently(&self) -> Result<Vec<SocketAddr>, RuntimeError> {
        self.open_check()?;
        self.inner().needs_sockets()?;
        let inner = self.inner();
        let mut moved = Vec::new();
        for (i, part) in inner.parts.iter().enumerate() {
            let numbers: Vec<u32> = part.core.lock().sockets.iter().map(|s| s.number).collect();
            for number in numbers {
                moved.push(inner.replace_silently(i, number)?);
            }
        }
        Ok(moved)
    }

    /// Open sockets, those of single connections included.
    #[must_use]
    pub fn socket_count(&self) -> usize {
        self.inner().parts.iter().map(|p| p.core.lock().sockets.len()).sum()
    }

    /// Live connections.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.inner().parts.iter().map(|p| p.core.lock().conns.len()).sum()
    }

    /// The live connections.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Conn>> {
        self.inner().parts.iter().flat_map(|p| p.core.lock().conns.values().cloned().collect::<Vec<_>>()).collect()
    }

    /// As [`Self::close`], but connections end when they have nothing under way: HTTP/3 says GOAWAY and finishes its
    /// requests, streams deliver what was written. After `limit` they are closed all the same.
    pub fn close_gracefully(&self, limit: Duration) {
        self.inner().drain(limit);
    }

    /// Sockets of the endpoint's own, duplicated: for a process that takes over the port.
    ///
    /// # Errors
    /// When the system has no descriptor left; none is given then.
    pub fn export(&self) -> Result<Vec<OwnedFd>, RuntimeError> {
        self.inner().needs_sockets()?;
        let mut out = Vec::new();
        for part in &self.inner().parts {
            let core = part.core.lock();
            for entry in core.sockets.shared() {
                // SAFETY: a socket leaves the directory, under this lock, before its worker closes it: it is open.
                let fd = unsafe { BorrowedFd::borrow_raw(entry.fd) };
                let io = |source| RuntimeError::Io { what: "cannot duplicate a socket", source };
                out.push(fd.try_clone_to_owned().map_err(io)?);
            }
        }
        Ok(out)
    }

    /// Closes all connections with an application error code, then the sockets. Idempotent, never
    /// waits; [`super::EndpointNotice::Closed`] tells when all has gone.
    pub fn close(&self, code: u64, reason: &[u8]) {
        self.inner().close(code, reason);
    }
}

impl EndpointInner {
    /// Settings of a connection that is to have a log.
    fn ask_for_log(&self, config: &mut Arc<ConnectionConfig>) {
        if config.qlog || self.options.qlog_dir.is_some() || self.logs.load(Ordering::Acquire) {
            let config = Arc::make_mut(config);
            config.qlog = true;
            config.wall_clock_ms_at_zero = clock::unix_ms_at_zero();
        }
    }

    /// Tells whether a limit turns clients away, when that has changed. Called by a worker whose part has not gone, with no
    /// lock held: so it comes before the endpoint's end.
    pub(super) fn tell_load(&self) {
        let load = &self.options.endpoint.load;
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        while let Some(news) = load.next_news() {
            self.sink.endpoint(self.id, EndpointNotice::Load(news));
            load.told();
        }
    }

    /// Received packets tell our address by packet information (servers); clients know their socket's.
    pub(super) fn tells_packet_addresses(&self) -> bool {
        self.options.spread || self.server.load(Ordering::Acquire)
    }
}

/// The protocol part of worker `part` out of `count`.
fn new_endpoint(config: &EndpointConfig, part: usize, count: usize, seed: Option<&SeededRng>) -> Endpoint {
    let mut config = config.clone();
    // Both fit: there are at most MAX_WORKERS workers.
    config.shard = u8::try_from(part).unwrap_or(0);
    config.shards = u8::try_from(count).unwrap_or(u8::MAX);
    match seed.cloned() {
        Some(rng) => Endpoint::new(config, Box::new(move || Box::new(rng.clone()))),
        None => Endpoint::new(config, Box::new(|| Box::new(SystemRng))),
    }
}

/// Fills in what the application left open: a secret of this process, and the wall clock.
fn complete(config: &mut EndpointConfig, seed: Option<&SeededRng>) {
    if config.secret == [0; 32] {
        match seed.cloned() {
            Some(mut rng) => rng.fill(&mut config.secret),
            None => SystemRng.fill(&mut config.secret),
        }
    }
    // Tokens of a driven endpoint live by its caller's clock alone.
    if config.unix_at_zero.is_zero() && seed.is_none() {
        config.unix_at_zero = clock::unix_at_zero();
    }
}
