//! A connection as threads share it: the sans-IO state behind one lock, and the way back to its worker.
//!
//! Any thread may act on a connection: lock, act, unlock, put the connection on its worker's ready
//! list, ring the doorbell once. Only the worker takes events out, so their order is the order of
//! the state changes, whichever thread caused them. Invariant: the lock is never held across a
//! system call nor while the application's code runs, except for the closure given to [`Conn::with`].
use std::net::SocketAddr;
use std::sync::Arc;

use super::ahead::Ahead;
use super::clock;
use super::endpoint::{EndpointInner, Part, PrivateSocket};
use super::error::RuntimeError;
use super::events::ConnEvent;
use super::shard::LogName;
use crate::base::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::base::{FourTuple, Side, Timestamp, codes};
use crate::connection::{Connection, EarlyData, EndpointEvent, Event};
use crate::endpoint::ConnectionKey;
use crate::http3::{Http3, Http3Config};
use crate::streams::StreamEvent;

/// No slot in the worker's timer table yet.
pub(super) const NO_SLOT: u32 = u32::MAX;

static NEXT_ID: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(1);

/// A number for a connection or endpoint, unique in the process.
pub(super) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// The protocol state of one connection.
pub struct ConnState {
    pub connection: Box<Connection>,
    /// Attached when the settings ask for it and the handshake agreed on it.
    pub http3: Option<Box<Http3>>,
    /// Server: what to attach once ALPN is known.
    http3_later: Option<Arc<Http3Config>>,
    /// The transport has told that it is over; nothing more will come.
    pub(super) drained: bool,
    /// The endpoint closes gracefully: the connection ends when it has nothing under way.
    pub(super) retiring: bool,
    /// A panic left the state in an unknown shape: never touched again by the worker.
    pub(super) poisoned: bool,
    /// The last event has been delivered.
    pub(super) gone: bool,
}

/// The numbers that a connection goes by.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub id: u64,
    pub tag: u64,
}

/// One connection; see the file comment.
pub struct Conn {
    id: u64,
    tag: AtomicU64,
    side: Side,
    pub(super) endpoint: Arc<EndpointInner>,
    pub(super) part: usize,
    pub(super) key: ConnectionKey,
    /// On a ready list. Set by whoever puts it there, cleared by the worker that takes it off.
    pub(super) queued: AtomicBool,
    /// Index in the worker's timer table.
    pub(super) slot: AtomicU32,
    /// Where its state lies.
    pub(super) ahead: Ahead,
    pub(super) state: Mutex<ConnState>,
}

/// What one look into a connection brought to light, in buffers that the worker reuses.
#[derive(Default)]
pub(super) struct Harvest {
    pub events: Vec<ConnEvent>,
    /// The events that are being delivered.
    pub part: Vec<ConnEvent>,
    pub endpoint: Vec<EndpointEvent>,
    /// Path changes that decide about sockets.
    pub paths: Vec<PathChange>,
    /// Records of the connection's log.
    pub log: Option<(LogName, Vec<u8>)>,
}

impl Harvest {
    /// Empties the buffers and keeps their room.
    pub fn clear(&mut self) {
        self.events.clear();
        self.part.clear();
        self.endpoint.clear();
        self.paths.clear();
        self.log = None;
    }
}

/// A path change that concerns sockets.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathChange {
    Moved(FourTuple),
    Failed(FourTuple),
}

impl ConnState {
    pub(super) fn new(
        connection: Box<Connection>,
        http3: Option<Box<Http3>>,
        http3_later: Option<Arc<Http3Config>>,
    ) -> Self {
        Self { connection, http3, http3_later, drained: false, retiring: false, poisoned: false, gone: false }
    }

    /// A defect has stopped the connection: verbs leave it alone.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        self.poisoned
    }

    /// The connection records what happens from now on, if it did not before; what comes before the first records. `None`: it
    /// has ended.
    #[must_use]
    pub fn record_log(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        if self.gone || self.poisoned || self.connection.is_closed() {
            return None;
        }
        Some(self.connection.attach_qlog(now, clock::unix_ms_at_zero()))
    }

    /// Begins a graceful end: GOAWAY, then close when nothing is under way (RFC 9114 section 5.2).
    pub(super) fn retire(&mut self, now: Timestamp) {
        if self.poisoned || self.connection.is_closed() || self.retiring {
            return;
        }
        self.retiring = true;
        if self.connection.is_established()
            && let Some(http3) = self.http3.as_mut()
        {
            // A failure closes the connection itself.
            let _ = http3.goaway(&mut *self.connection, false);
        }
        self.end_if_retired(now);
    }

    /// Closes a retiring connection that has nothing under way. True: it was closed now.
    pub(super) fn end_if_retired(&mut self, now: Timestamp) -> bool {
        if !self.retiring || self.connection.is_closed() {
            return false;
        }
        let idle = !self.connection.is_established()
            || self.http3.as_ref().is_none_or(|h| h.is_drained()) && self.connection.is_flushed();
        if idle {
            let code = if self.http3.is_some() { codes::h3::NO_ERROR } else { 0 };
            self.connection.close(code, b"", now);
        }
        idle
    }

    /// Client with remembered parameters: HTTP/3 may use early data (RFC 9114 section 7.2.4.2).
    pub(super) fn start_early_http3(&mut self, now: Timestamp) {
        if self.connection.early_data() == EarlyData::Pending
            && let Some(http3) = self.http3.as_mut()
        {
            http3.on_connected(&mut *self.connection, now);
        }
    }

    /// Moves all events into `out`, feeding HTTP/3 on the way.
    pub(super) fn harvest(&mut self, now: Timestamp, out: &mut Harvest) {
        if self.poisoned {
            return;
        }
        while let Some(event) = self.connection.poll_event() {
            self.take(event, now, out);
            if self.http3.is_none() {
                self.connection.take_stream_events(|event| out.events.push(ConnEvent::Quic(Event::Stream(event))));
            }
        }
        self.harvest_http3(out);
        while let Some(event) = self.connection.poll_endpoint_event() {
            if matches!(event, EndpointEvent::Drained) {
                self.drained = true;
            }
            out.endpoint.push(event);
        }
        if let Some(records) = self.connection.take_qlog() {
            match &mut out.log {
                Some((_, earlier)) => earlier.extend_from_slice(&records),
                none => {
                    let name = LogName { odcid: self.connection.odcid(), side: self.connection.side() };
                    *none = Some((name, records));
                }
            }
        }
    }

    fn take(&mut self, event: Event, now: Timestamp, out: &mut Harvest) {
        match &event {
            Event::HandshakeData => self.settle_http3(),
            Event::Migrated { tuple, by_peer: false, .. } => out.paths.push(PathChange::Moved(*tuple)),
            Event::PathFailed { tuple, .. } => out.paths.push(PathChange::Failed(*tuple)),
            // Told once, as the last event of all, when the worker has let go of the connection.
            Event::Drained => {
                self.drained = true;
                return;
            }
            _ => {}
        }
        let Some(http3) = self.http3.as_mut() else {
            out.events.push(ConnEvent::Quic(event));
            return;
        };
        http3.on_event(&mut *self.connection, &event, now);
        match event {
            Event::Stream(e) if !matches!(e, StreamEvent::Available { .. } | StreamEvent::Closed { .. }) => {}
            // What HTTP/3 makes of the end, of a stream or of all, comes before the end.
            Event::Closed(_) | Event::Stream(StreamEvent::Closed { .. }) => {
                self.harvest_http3(out);
                out.events.push(ConnEvent::Quic(event));
            }
            _ => out.events.push(ConnEvent::Quic(event)),
        }
        self.harvest_http3(out);
    }

    fn harvest_http3(&mut self, out: &mut Harvest) {
        if let Some(http3) = self.http3.as_mut() {
            while let Some(event) = http3.poll_event() {
                out.events.push(ConnEvent::Http3(event));
            }
        }
    }

    /// ALPN is known: HTTP/3 is attached if that is what was agreed on (RFC 9114 section 3.1).
    fn settle_http3(&mut self) {
        let agreed = self.connection.alpn() == Some(b"h3");
        if let Some(config) = self.http3_later.take() {
            if agreed {
                self.http3 = Some(Box::new(Http3::new(self.connection.side(), (*config).clone())));
            }
        } else if !agreed && self.connection.alpn().is_some() {
            self.http3 = None;
        }
    }
}

impl Conn {
    pub(super) fn new(
        endpoint: Arc<EndpointInner>,
        part: usize,
        key: ConnectionKey,
        names: Names,
        state: ConnState,
    ) -> Self {
        Self {
            id: names.id,
            tag: AtomicU64::new(names.tag),
            side: state.connection.side(),
            endpoint,
            part,
            key,
            queued: AtomicBool::new(false),
            slot: AtomicU32::new(NO_SLOT),
            ahead: Ahead::new(),
            state: Mutex::new(state),
        }
    }

    /// Notes where that lies by now which a turn reads.
    pub(super) fn note_parts(&self, state: &ConnState) {
        self.ahead.note(|mut name| {
            name(self.endpoint.sink.part(self));
            state.connection.parts(&mut name);
        });
    }

    /// Unique in the process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// A number that the application may keep here.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.tag.load(Ordering::Acquire)
    }

    /// See [`Self::tag`].
    pub fn set_tag(&self, tag: u64) {
        self.tag.store(tag, Ordering::Release);
    }

    /// Our role.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// The endpoint that it belongs to.
    #[must_use]
    pub fn endpoint_id(&self) -> u64 {
        self.endpoint.id
    }

    /// Number of the worker that drives it.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.part().map_or(0, |p| p.shard.index)
    }

    pub(super) fn part(&self) -> Option<&Part> {
        self.endpoint.parts.get(self.part)
    }

    /// The present moment on the clock of the connection's worker.
    fn now(&self) -> Timestamp {
        self.part().and_then(|p| p.shard.driven_at()).unwrap_or_else(clock::recent)
    }

    /// Lock, act, unlock, and let the worker see to the consequences. The closure must not wait and
    /// must not call verbs of this connection or its endpoint.
    pub fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut ConnState, Timestamp) -> R) -> R {
        let now = self.now();
        let result = act(&mut self.state.lock(), now);
        self.wake();
        result
    }

    /// Lock, look, unlock.
    pub fn inspect<R>(&self, look: impl FnOnce(&ConnState) -> R) -> R {
        look(&self.state.lock())
    }

    /// As [`Self::with`], for what needs no clock: reading it costs as much as a small write.
    pub fn act<R>(self: &Arc<Self>, act: impl FnOnce(&mut ConnState) -> R) -> R {
        self.with_hint(|state| (act(state), true))
    }

    /// As [`Self::act`], but wakes the worker only if the closure's second value says that it has to (a read that freed no
    /// window, say, has no consequence).
    pub fn with_hint<R>(self: &Arc<Self>, act: impl FnOnce(&mut ConnState) -> (R, bool)) -> R {
        let (result, wake) = act(&mut self.state.lock());
        if wake {
            self.wake();
        }
        result
    }

    /// Puts the connection on its worker's ready list and rings the doorbell, once.
    #[inline]
    pub fn wake(self: &Arc<Self>) {
        // Looked at first: whoever is on the list stays there at least until the worker has had the state's lock, and
        // what woke us was done under it.
        if !self.queued.load(Ordering::Acquire) {
            self.enlist();
        }
    }

    #[inline(never)]
    fn enlist(self: &Arc<Self>) {
        if let Some(part) = self.part()
            && !self.queued.swap(true, Ordering::AcqRel)
        {
            part.shard.push_ready(Arc::clone(self));
        }
    }

    /// Ends the connection with an application error code. Idempotent, never waits.
    pub fn close(self: &Arc<Self>, code: u64, reason: &[u8]) {
        self.with(|state, now| {
            if !state.poisoned && !state.connection.is_closed() {
                state.connection.close(code, reason, now);
            }
        });
    }

    /// The path in use.
    #[must_use]
    pub fn path(&self) -> FourTuple {
        self.inspect(|state| state.connection.path())
    }

    /// The peer's address on the path in use.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.path().remote
    }

    /// Our address on the path in use, as its socket is bound.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        let path = self.path();
        let part = self.part()?;
        let core = part.core.lock();
        core.sockets.get(path.socket).map(|s| s.bound)
    }

    /// Client: moves the connection to a new socket bound to `local` (or to any address, any port).
    /// The old one stays open until the new path has proved itself, and a grace longer.
    ///
    /// # Errors
    /// When the socket cannot be had or the connection cannot move now.
    pub fn migrate(self: &Arc<Self>, local: Option<SocketAddr>) -> Result<SocketAddr, RuntimeError> {
        self.change_path(local, |state, tuple, now| state.connection.migrate(tuple, now))
    }

    /// Client: tests a path from a new socket without moving to it.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub fn probe(self: &Arc<Self>, local: Option<SocketAddr>) -> Result<SocketAddr, RuntimeError> {
        self.change_path(local, |state, tuple, now| state.connection.probe_path(tuple, now))
    }

    fn change_path(
        self: &Arc<Self>,
        local: Option<SocketAddr>,
        start: impl FnOnce(&mut ConnState, FourTuple, Timestamp) -> Result<(), crate::connection::MigrateError>,
    ) -> Result<SocketAddr, RuntimeError> {
        if !self.side.is_client() {
            return Err(RuntimeError::State("only a client migrates"));
        }
        let path = self.path();
        let socket = self.endpoint.open_private(self.part, PrivateSocket { local, path, conn: self.id })?;
        let tuple = FourTuple { local: Some(socket.bound), remote: path.remote, socket: socket.number };
        match self.with(|state, now| start(state, tuple, now)) {
            Ok(()) => Ok(socket.bound),
            Err(e) => {
                self.endpoint.retire_now(self.part, socket.number);
                Err(RuntimeError::Migrate(e))
            }
        }
    }

    /// Exchanges the socket of the path in use for one with a new port and tells nobody: what a NAT
    /// does when it forgets a mapping. For tests and demonstrations.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn rebind_silently(self: &Arc<Self>) -> Result<SocketAddr, RuntimeError> {
        self.endpoint.replace_silently(self.part, self.path().socket)
    }
}
