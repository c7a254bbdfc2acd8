//! The sockets of a worker: registration with the poller, readiness, what waits for writability.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustc_hash::FxHashMap;

use crate::base::{Ecn, FourTuple, Timestamp};
use crate::runtime::ahead::Notes;
use crate::runtime::conn::Conn;
use crate::runtime::endpoint::EndpointInner;
use crate::runtime::udp::{Received, UdpSocket};

/// Batches kept for a blocked socket; more are lost, as in a full network interface.
const MAX_PENDING: usize = 16;

/// An application hears of a socket that cannot be read so often at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// A batch that the socket did not take.
pub(super) struct Pending {
    pub remote: SocketAddr,
    pub source: Option<IpAddr>,
    pub ecn: Ecn,
    pub segment: Option<usize>,
    pub bytes: Vec<u8>,
}

/// One socket and its surroundings.
pub(super) struct SocketState {
    pub socket: UdpSocket,
    pub endpoint: Arc<EndpointInner>,
    pub part: usize,
    /// What connections are told as the local address.
    told: SocketAddr,
    /// Bound to all addresses: replies must name their source.
    wildcard: bool,
    pending: Vec<Pending>,
    blocked: bool,
    /// Among those to be read.
    listed: bool,
    /// When the application was told that it cannot be read.
    complained: Option<Timestamp>,
    waiting: Vec<Arc<Conn>>,
    /// Where the state of its only connection lies.
    pub ahead: Notes,
}

impl SocketState {
    /// What the paths of received runs have in common.
    pub fn here(&self) -> Here {
        Here { told: self.told, by_packet: self.endpoint.tells_packet_addresses() }
    }

    /// It cannot be read; true when that is worth telling once more.
    pub fn complain(&mut self, now: Timestamp) -> bool {
        let fresh = self.complained.is_none_or(|last| now.since(last) >= COMPLAIN_EVERY);
        if fresh {
            self.complained = Some(now);
        }
        fresh
    }

    /// The source address to ask the system for.
    pub fn source(&self, tuple: &FourTuple) -> Option<IpAddr> {
        if !(self.wildcard && self.endpoint.tells_packet_addresses()) {
            return None;
        }
        tuple.local.map(|l| l.ip()).filter(|ip| !ip.is_unspecified())
    }

    /// A send call did not go through and writability has not come back.
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Keeps a batch until the socket is writable.
    pub fn keep(&mut self, batch: Pending) {
        self.blocked = true;
        if self.pending.len() < MAX_PENDING {
            self.pending.push(batch);
        }
    }

    /// `conn` wants its turn when the socket is writable.
    pub fn wait(&mut self, conn: &Arc<Conn>) {
        if !self.waiting.iter().any(|c| Arc::ptr_eq(c, conn)) {
            self.waiting.push(Arc::clone(conn));
        }
    }

    /// The socket has given itself another descriptor; the poller forgot the old one when that was closed. What came in
    /// before is told at once.
    pub fn watch_again(&self, registry: &Registry, number: u32) {
        // Fails only when the system is out of memory; the connection then ends by its timers.
        let _ = registry.register(&mut SourceFd(&self.socket.fd()), token(number), Interest::READABLE);
    }

    /// Writability came back: what to send first.
    pub fn unblock(&mut self) -> Vec<Pending> {
        self.blocked = false;
        core::mem::take(&mut self.pending)
    }
}

/// See [`SocketState::here`].
#[derive(Clone, Copy)]
pub(super) struct Here {
    told: SocketAddr,
    by_packet: bool,
}

impl Here {
    /// The path that a received run came on.
    pub fn tuple(&self, number: u32, run: &Received) -> FourTuple {
        let local =
            if self.by_packet { run.local_ip.map(|ip| SocketAddr::new(ip, self.told.port())) } else { Some(self.told) };
        FourTuple { local, remote: run.remote, socket: number }
    }
}

/// All sockets of a worker.
#[derive(Default)]
pub(super) struct Sockets {
    map: FxHashMap<u32, SocketState>,
    /// Sockets that may hold datagrams: the poller tells only changes.
    readable: Vec<u32>,
    writable: Vec<u32>,
    failed: Vec<u32>,
    retiring: Vec<(Timestamp, u32)>,
}

fn token(number: u32) -> Token {
    Token(number as usize)
}

impl Sockets {
    pub fn get(&self, number: u32) -> Option<&SocketState> {
        self.map.get(&number)
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut SocketState> {
        self.map.get_mut(&number)
    }

    /// Takes over a socket.
    pub fn add(
        &mut self,
        registry: &Registry,
        number: u32,
        socket: UdpSocket,
        endpoint: Arc<EndpointInner>,
        part: usize,
    ) -> io::Result<()> {
        registry.register(&mut SourceFd(&socket.fd()), token(number), Interest::READABLE)?;
        let told = socket.local();
        let state = SocketState {
            wildcard: told.ip().is_unspecified(),
            told,
            socket,
            endpoint,
            part,
            pending: Vec::new(),
            blocked: false,
            listed: false,
            complained: None,
            waiting: Vec::new(),
            ahead: Notes::default(),
        };
        self.map.insert(number, state);
        // Datagrams may have come in before the registration.
        self.mark_readable(number);
        Ok(())
    }

    /// The poller tells when a blocked socket is writable, and of others it does not: every datagram that leaves makes
    /// its socket "writable" once more, which would wake the worker for each send call.
    pub fn watch_writable(&self, registry: &Registry, number: u32) {
        let Some(state) = self.map.get(&number) else { return };
        let interest = if state.blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        // Fails only for a descriptor that was never registered. A socket that is writable by now is told at once.
        let _ = registry.reregister(&mut SourceFd(&state.socket.fd()), token(number), interest);
    }

    /// Another descriptor under the same number and the same told address.
    pub fn replace(&mut self, registry: &Registry, number: u32, socket: UdpSocket) -> io::Result<()> {
        let Some(state) = self.map.get_mut(&number) else { return Ok(()) };
        registry.register(&mut SourceFd(&socket.fd()), token(number), Interest::READABLE)?;
        let old = core::mem::replace(&mut state.socket, socket);
        let _ = registry.deregister(&mut SourceFd(&old.fd()));
        state.unblock();
        state.complained = None;
        self.mark_readable(number);
        Ok(())
    }

    /// Closes a socket.
    pub fn remove(&mut self, registry: &Registry, number: u32) {
        if let Some(state) = self.map.remove(&number) {
            // Fails only for a descriptor that was never registered.
            let _ = registry.deregister(&mut SourceFd(&state.socket.fd()));
        }
    }

    pub fn clear(&mut self, registry: &Registry) {
        let numbers: Vec<u32> = self.map.keys().copied().collect();
        for n in numbers {
            self.remove(registry, n);
        }
    }

    /// Closes the socket at `at`.
    pub fn retire(&mut self, number: u32, at: Timestamp) {
        if self.map.contains_key(&number) && !self.retiring.iter().any(|(_, n)| *n == number) {
            self.retiring.push((at, number));
        }
    }

    pub fn next_retirement(&self) -> Option<Timestamp> {
        self.retiring.iter().map(|(at, _)| *at).min()
    }

    /// Closes what is due.
    pub fn retire_due(&mut self, registry: &Registry, now: Timestamp) {
        if self.retiring.is_empty() {
            return;
        }
        let due: Vec<u32> = self.retiring.iter().filter(|(at, _)| *at <= now).map(|(_, n)| *n).collect();
        self.retiring.retain(|(at, _)| *at > now);
        for number in due {
            if let Some(part) = self.map.get(&number).and_then(|s| s.endpoint.parts.get(s.part)) {
                part.core.lock().sockets.remove(number);
            }
            self.remove(registry, number);
        }
    }

    /// Takes note of a poll event.
    pub fn note(&mut self, event: &Event) {
        let Ok(number) = u32::try_from(event.token().0) else { return };
        if event.is_readable() || event.is_error() {
            self.mark_readable(number);
        }
        if event.is_error() && !self.failed.contains(&number) {
            self.failed.push(number);
        }
        if event.is_writable() && self.map.get(&number).is_some_and(SocketState::is_blocked) {
            self.writable.push(number);
        }
    }

    /// `conn` was the last to receive on a socket; noted if no other does.
    pub fn note_parts(&mut self, number: u32, conn: &Conn) {
        if let Some(state) = self.map.get_mut(&number)
            && state.socket.is_connected()
        {
            state.ahead = conn.ahead.notes();
        }
    }

    pub fn mark_readable(&mut self, number: u32) {
        let Some(state) = self.map.get_mut(&number) else { return };
        if !core::mem::replace(&mut state.listed, true) {
            self.readable.push(number);
        }
    }

    pub const fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// The sockets to read, in order. Each is to be read, after [`Self::unlist`], or [`Self::put_back`].
    pub fn take_readable(&mut self, out: &mut Vec<u32>) {
        out.append(&mut self.readable);
    }

    /// `number` is read now; what comes in later marks it again.
    pub fn unlist(&mut self, number: u32) {
        if let Some(state) = self.map.get_mut(&number) {
            state.listed = false;
        }
    }

    /// Puts sockets that were not read before the others; gives a spare vector for the next time.
    pub fn put_back(&mut self, mut unread: Vec<u32>) -> Vec<u32> {
        unread.append(&mut self.readable);
        core::mem::replace(&mut self.readable, unread)
    }

    pub fn take_writable(&mut self) -> Vec<u32> {
        core::mem::take(&mut self.writable)
    }

    pub fn take_failed(&mut self) -> Vec<u32> {
        core::mem::take(&mut self.failed)
    }

    pub fn take_waiting(&mut self, number: u32) -> Vec<Arc<Conn>> {
        self.map.get_mut(&number).map(|s| core::mem::take(&mut s.waiting)).unwrap_or_default()
    }

    pub fn any_blocked(&self) -> bool {
        self.map.values().any(SocketState::is_blocked)
    }
}
