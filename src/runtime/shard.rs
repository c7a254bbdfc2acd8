//! One worker: poll, receive in batches, run timers, give every ready connection its turn.
//!
//! The loop reads the clock once per batch, never holds a connection's lock across a system call or
//! in user code, and gives every connection a bounded number of batches per turn. Between two polls
//! nothing blocks. Invariant: a connection that has work is on the ready list, waits at a blocked
//! socket, or has a deadline in the wheel; no other thread takes events out of it.
mod driven;
mod log_files;
mod nap;
mod receive;
mod send;
mod sockets;
mod spin;
mod timers;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use self::driven::Outbox;
pub use self::driven::{Arrived, Driver, Outgoing, TooSmall};
use self::log_files::LogFiles;
pub(super) use self::log_files::LogName;
use self::nap::Nap;
use self::sockets::Sockets;
use self::spin::{Ended, Spin};
use self::timers::Timers;
use super::ahead;
use super::clock;
use super::config::RuntimeConfig;
use super::conn::{Conn, ConnState, Harvest};
use super::endpoint::EndpointInner;
use super::events::{ConnEvent, EndpointNotice};
use super::heap::Keeping;
use super::helm::Wakeup;
use super::shards::{Command, ShardShared};
use super::udp::{OffloadKeepers, RECV_SLOT, RECV_SLOTS};
use super::wake::Doorbell;
use crate::base::Timestamp;
use crate::base::codes::h3;
use crate::base::span::Span;

/// Poll token of the doorbell; sockets use their number.
const BELL: Token = Token(usize::MAX);
/// What a taker at the helm waits for besides.
const TAKER: Token = Token(usize::MAX - 1);
/// Poll events taken per round.
const POLL_EVENTS: usize = 256;
/// One send call: the largest UDP payload over IPv4, which is also within what GSO takes.
const SEND_ARENA: usize = 65_507;
/// Turns per round before the sockets are looked at again.
const TURNS_PER_ROUND: usize = 256;
/// Connections whose state the second-level cache holds beside what passes through it.
const CROWD: usize = 32;
/// So many that had datagrams in this round are still at hand.
const AT_HAND: usize = 8;
/// Longest sleep, so that a defect in a timer heals.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The endpoint parts that live on a worker.
struct Home {
    endpoint: Arc<EndpointInner>,
    part: usize,
}

/// One worker's body; see the file comment.
pub(super) struct Shard {
    shared: Arc<ShardShared>,
    peers: Vec<Arc<ShardShared>>,
    poll: Poll,
    poll_events: Events,
    now: Timestamp,
    homes: Vec<Home>,
    sockets: Sockets,
    timers: Timers,
    ready: VecDeque<Arc<Conn>>,
    harvest: Harvest,
    log_files: LogFiles,
    nap: Nap,
    spin: Spin,
    recv_arena: Box<[u8]>,
    send_arena: Box<[u8]>,
    /// One worker keeps them for all.
    _offload: Option<OffloadKeepers>,
    /// A driven worker: what it would send.
    outbox: Option<Outbox>,
    /// Answers of the protocol part that belong to no connection.
    reply: Vec<u8>,
    /// Spare vectors whose capacity is used again.
    spare_ready: Vec<Arc<Conn>>,
    /// Taken over and not obeyed yet.
    commands: Vec<Command>,
    spare_numbers: Vec<u32>,
    batches_per_turn: usize,
    linger: Duration,
    grace: Duration,
    /// Endpoints that close gracefully, with the time at which they close all the same.
    drains: Vec<(u64, Timestamp)>,
    /// Set when asked to stop: leave at this time at the latest.
    leave_at: Option<Timestamp>,
    /// A taker runs this: what is delivered to its queue it answers at once.
    for_taker: bool,
    /// Connections whose acknowledgements wait for such an answer.
    owing: Vec<Arc<Conn>>,
    /// What wakes the taker that had the helm last; in the poller until the worker's thread is back.
    wakeup: Option<Wakeup>,
}

impl Shard {
    /// A worker's body, before its thread exists.
    pub(super) fn new(index: usize, config: &RuntimeConfig) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Doorbell::new(poll.registry(), BELL)?;
        let now = clock::now();
        Ok(Self {
            shared: Arc::new(ShardShared::new(index, bell)),
            peers: Vec::new(),
            poll,
            poll_events: Events::with_capacity(POLL_EVENTS),
            now,
            homes: Vec::new(),
            sockets: Sockets::default(),
            timers: Timers::new(now),
            ready: VecDeque::new(),
            harvest: Harvest::default(),
            log_files: LogFiles::default(),
            nap: Nap::new(now),
            spin: Spin::new(config.busy_poll),
            recv_arena: vec![0; RECV_SLOT * RECV_SLOTS].into_boxed_slice(),
            send_arena: vec![0; SEND_ARENA].into_boxed_slice(),
            _offload: (index == 0).then(OffloadKeepers::open),
            outbox: None,
            reply: Vec::new(),
            spare_ready: Vec::new(),
            commands: Vec::new(),
            spare_numbers: Vec::new(),
            batches_per_turn: config.batches_per_turn.max(1),
            linger: config.shutdown_linger,
            grace: config.old_socket_grace,
            drains: Vec::new(),
            leave_at: None,
            for_taker: false,
            owing: Vec::new(),
            wakeup: None,
        })
    }

    pub(super) const fn shared(&self) -> &Arc<ShardShared> {
        &self.shared
    }

    pub(super) fn set_peers(&mut self, peers: Vec<Arc<ShardShared>>) {
        self.peers = peers;
    }

    /// The thread's life.
    pub(super) fn run(self: Box<Self>) {
        // Ends after the body, whose end frees much.
        let _keeping = Keeping::begin();
        let mut body = self;
        let shared = Arc::clone(&body.shared);
        loop {
            if shared.post.is_wanted() {
                body = shared.post.lend(&shared, body);
                body.dismiss();
            }
            body.wait(None);
            body.gather();
            body.act();
            if shared.must_stop() && body.winding_down() {
                break;
            }
        }
        body.finish();
    }

    /// Takes in what other threads have left.
    fn gather(&mut self) {
        self.shared.bell.get_up();
        self.now = clock::now();
        self.shared.take_commands(&mut self.commands);
        self.collect_ready();
        self.collect_owing();
    }

    /// A round's work.
    fn act(&mut self) {
        self.obey_all();
        self.receive_all();
        self.take_handoffs();
        self.run_timers();
        self.run_drains();
        self.take_turns();
    }

    /// A round on a taker's thread, see `Steering::round`.
    pub(super) fn round_for_taker(&mut self, until: Timestamp, may: impl FnOnce() -> bool) -> bool {
        self.wait(Some(until));
        self.gather();
        // Objects with callbacks become known by what was just gathered.
        if !may() {
            return false;
        }
        self.for_taker = true;
        self.act();
        self.for_taker = false;
        true
    }

    /// Turns alone, see `Helm::answer`.
    pub(super) fn turns_for_taker(&mut self, may: impl FnOnce() -> bool) -> bool {
        self.gather();
        if !may() {
            return false;
        }
        self.for_taker = true;
        self.obey_all();
        self.take_turns();
        self.for_taker = false;
        true
    }

    /// A taker comes to the helm: what wakes it goes into the poller.
    pub(super) fn welcome(&mut self, wakeup: &Wakeup) -> bool {
        if self.wakeup.as_ref().is_some_and(|known| Arc::ptr_eq(known, wakeup)) {
            return true;
        }
        self.dismiss();
        let fd = wakeup.as_raw_fd();
        let added = self.poll.registry().register(&mut SourceFd(&fd), TAKER, Interest::READABLE).is_ok();
        self.wakeup = added.then(|| Arc::clone(wakeup));
        added
    }

    /// The worker's thread is back.
    fn dismiss(&mut self) {
        if let Some(wakeup) = self.wakeup.take() {
            // Registered by `welcome` and open, for we have kept it.
            let _ = self.poll.registry().deregister(&mut SourceFd(&wakeup.as_raw_fd()));
        }
    }

    /// Sleeps until something happens or it is `until`, or only looks when there is work already.
    fn wait(&mut self, until: Option<Timestamp>) {
        if !self.ready.is_empty() || !self.owing.is_empty() || self.sockets.has_readable() {
            return self.look(Duration::ZERO);
        }
        let (since, next) = (clock::now(), [self.next_deadline(), until].into_iter().flatten().min());
        let napped = self.nap.wanted(since, next);
        if let Some(time) = napped
            && !self.shared.bell.nap(time)
        {
            self.nap.cut_short();
        }
        let spin = self.spin.wanted().filter(|_| napped.is_none());
        if let Some(limit) = spin
            && self.watch(since, limit, next)
        {
            return;
        }
        let since = if napped.is_some() || spin.is_some() { clock::now() } else { since };
        if !self.shared.bell.lie_down() {
            return self.look(Duration::ZERO);
        }
        self.look(next.map_or(LONGEST_SLEEP, |at| at.since(since)).min(LONGEST_SLEEP));
        let ended = if self.poll_events.is_empty() { Ended::Timer } else { Ended::Called };
        self.spin.slept(clock::now().since(since), ended);
    }

    /// Looks again and again for up to `limit`; whether there is something to do.
    fn watch(&mut self, since: Timestamp, limit: Duration, next: Option<Timestamp>) -> bool {
        let until = since + limit;
        let ended = loop {
            self.look(Duration::ZERO);
            if !self.poll_events.is_empty() || self.shared.bell.has_rung() {
                break Ended::Called;
            }
            let now = clock::now();
            if next.is_some_and(|at| at <= now) {
                break Ended::Timer;
            }
            if now >= until {
                break Ended::InVain;
            }
            // Whoever shares the core may be the one who is waited for.
            std::thread::yield_now();
        };
        self.spin.spun(ended);
        ended != Ended::InVain
    }

    /// Polls, and takes note of which sockets have something.
    fn look(&mut self, timeout: Duration) {
        if let Err(e) = poll_precisely(&mut self.poll, &mut self.poll_events, timeout) {
            // By signals, which a worker blocks and a taker at the helm does not; the next round looks again.
            debug_assert!(e.kind() == io::ErrorKind::Interrupted, "poll failed: {e}");
        }
        for event in &self.poll_events {
            if event.token() != BELL && event.token() != TAKER {
                self.sockets.note(event);
            }
        }
    }

    /// When there is something to do even if nothing happens.
    fn next_deadline(&mut self) -> Option<Timestamp> {
        let drain = self.drains.iter().map(|d| d.1).min();
        [self.timers.next_live(), self.sockets.next_retirement(), self.leave_at, drain].into_iter().flatten().min()
    }

    fn take_commands(&mut self) {
        self.shared.take_commands(&mut self.commands);
        self.obey_all();
    }

    fn obey_all(&mut self) {
        let mut commands = core::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            self.obey(command);
        }
        self.commands = commands;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::AddEndpoint { endpoint, part } => self.homes.push(Home { endpoint, part }),
            Command::AddSocket { endpoint, part, number, socket } => {
                let local = socket.local();
                let id = endpoint.id;
                let sink = Arc::clone(&endpoint.sink);
                if let Err(e) = self.sockets.add(self.poll.registry(), number, socket, endpoint, part) {
                    sink.endpoint(id, EndpointNotice::SocketError { local, os_error: e.raw_os_error().unwrap_or(0) });
                }
            }
            Command::ReplaceSocket { number, socket } => {
                // A failed registration leaves the old socket in place, which is no worse than before.
                let _ = self.sockets.replace(self.poll.registry(), number, socket);
                self.wake_waiting(number);
            }
            Command::CloseSocket { number } => {
                self.wake_waiting(number);
                self.sockets.remove(self.poll.registry(), number);
            }
            Command::CloseEndpoint { id, code, reason } => self.close_endpoint(id, code, &reason),
            Command::DrainEndpoint { id, until } => self.drain_endpoint(id, until),
            Command::Decide { endpoint, ticket, decision } => self.decide(&endpoint, ticket, decision),
            Command::TellLoad { id } => {
                // An endpoint whose part here has gone may have told its end.
                let endpoint = self.homes.iter().find(|h| h.endpoint.id == id).map(|h| Arc::clone(&h.endpoint));
                if let Some(endpoint) = endpoint {
                    endpoint.tell_load();
                }
            }
        }
    }

    /// Connections that waited for a socket get their turn.
    fn wake_waiting(&mut self, number: u32) {
        for conn in self.sockets.take_waiting(number) {
            self.touch(&conn);
        }
    }

    /// Puts a connection on the ready list unless it is on one.
    fn touch(&mut self, conn: &Arc<Conn>) {
        if !conn.queued.swap(true, core::sync::atomic::Ordering::AcqRel) {
            self.ready.push_back(Arc::clone(conn));
        }
    }

    /// Takes over what application threads have made ready.
    fn collect_ready(&mut self) {
        let mut list = core::mem::take(&mut self.spare_ready);
        core::mem::swap(&mut *self.shared.ready.lock(), &mut list);
        self.ready.extend(list.drain(..));
        self.spare_ready = list;
    }

    /// The taker has come back, or the worker's thread goes on: what waited for answers leaves, with or without them.
    fn collect_owing(&mut self) {
        let mut owing = core::mem::take(&mut self.owing);
        for conn in owing.drain(..) {
            self.touch(&conn);
        }
        self.owing = owing;
    }

    fn run_timers(&mut self) {
        let now = self.now;
        let ready = &mut self.ready;
        self.timers.expire(now, |conn| {
            if !conn.queued.swap(true, core::sync::atomic::Ordering::AcqRel) {
                ready.push_back(Arc::clone(conn));
            }
        });
        self.sockets.retire_due(self.poll.registry(), now);
    }

    fn take_turns(&mut self) {
        // Those that come back to the list in this round wait for the next: sockets first.
        let count = self.ready.len().min(TURNS_PER_ROUND);
        for _ in 0..count {
            let Some(conn) = self.ready.pop_front() else { return };
            if count > AT_HAND {
                self.look_ahead();
            }
            self.turn(&conn);
        }
    }

    /// While one connection has its turn the state of the next is fetched, and where that lies of the one after the next.
    fn look_ahead(&self) {
        if let Some(conn) = self.ready.get(2) {
            ahead::fetch(Span::of(&**conn));
        }
        if let Some(conn) = self.ready.front() {
            conn.ahead.fetch();
        }
    }

    /// There are more connections than the second-level cache holds the state of: their parts are worth noting.
    fn is_crowded(&self) -> bool {
        self.timers.connections() > CROWD
    }

    /// Starts a graceful end of an endpoint's part on this worker.
    fn drain_endpoint(&mut self, id: u64, until: Timestamp) {
        let Some(home) = self.homes.iter().find(|h| h.endpoint.id == id) else { return };
        let (endpoint, part) = (Arc::clone(&home.endpoint), home.part);
        for conn in end_of_part(&endpoint, part) {
            conn.state.lock().retire(self.now);
            self.touch(&conn);
        }
        self.drains.push((id, until));
        self.settle_endpoint(&endpoint, part);
    }

    /// Closes what did not finish in time.
    fn run_drains(&mut self) {
        while let Some(at) = self.drains.iter().position(|(_, until)| *until <= self.now) {
            let (id, _) = self.drains.swap_remove(at);
            let Some(home) = self.homes.iter().find(|h| h.endpoint.id == id) else { continue };
            let (endpoint, part) = (Arc::clone(&home.endpoint), home.part);
            self.close_part(&endpoint, part, no_error, b"");
        }
    }

    /// Starts the end of an endpoint's part on this worker.
    fn close_endpoint(&mut self, id: u64, code: u64, reason: &[u8]) {
        let Some(home) = self.homes.iter().find(|h| h.endpoint.id == id) else { return };
        let (endpoint, part) = (Arc::clone(&home.endpoint), home.part);
        self.close_part(&endpoint, part, |_| code, reason);
        self.settle_endpoint(&endpoint, part);
    }

    /// Closes every connection of an endpoint's part, each with the code that fits it.
    fn close_part(
        &mut self,
        endpoint: &Arc<EndpointInner>,
        part: usize,
        code: impl Fn(&ConnState) -> u64,
        reason: &[u8],
    ) {
        for conn in end_of_part(endpoint, part) {
            {
                let mut state = conn.state.lock();
                if !state.poisoned && !state.connection.is_closed() {
                    let code = code(&state);
                    state.connection.close(code, reason, self.now);
                }
            }
            self.touch(&conn);
        }
    }

    /// Closes the sockets of a closing part once its last connection has gone.
    fn settle_endpoint(&mut self, endpoint: &Arc<EndpointInner>, part: usize) {
        let Some(p) = endpoint.parts.get(part) else { return };
        let sockets = {
            let mut core = p.core.lock();
            if !core.closing || core.gone || !core.conns.is_empty() {
                return;
            }
            core.gone = true;
            core::mem::take(&mut core.sockets)
        };
        for s in sockets.iter() {
            self.sockets.remove(self.poll.registry(), s.number);
        }
        self.homes.retain(|h| h.endpoint.id != endpoint.id);
        self.drains.retain(|(id, _)| *id != endpoint.id);
        if endpoint.open_parts.fetch_sub(1, core::sync::atomic::Ordering::AcqRel) == 1 {
            endpoint.sink.endpoint(endpoint.id, EndpointNotice::Closed);
        }
    }

    /// After a stop request: `true` when the thread may leave.
    fn winding_down(&mut self) -> bool {
        let leave_at = match self.leave_at {
            Some(at) => at,
            None => {
                let at = self.now + self.linger;
                self.leave_at = Some(at);
                let ids: Vec<u64> = self.homes.iter().map(|h| h.endpoint.id).collect();
                for id in ids {
                    self.say_goodbye(id);
                }
                at
            }
        };
        let quiet = self.ready.is_empty() && !self.sockets.any_blocked() && self.outbox_is_empty();
        quiet || self.now >= leave_at
    }

    /// Closes every connection of an endpoint with its protocol's "no error".
    fn say_goodbye(&mut self, id: u64) {
        let Some(home) = self.homes.iter().find(|h| h.endpoint.id == id) else { return };
        let (endpoint, part) = (Arc::clone(&home.endpoint), home.part);
        endpoint.closed.store(true, core::sync::atomic::Ordering::Release);
        *endpoint.listen.write() = None;
        self.close_part(&endpoint, part, no_error, b"");
    }

    /// The thread's last act: every connection and endpoint gets its last event.
    fn finish(&mut self) {
        loop {
            self.take_commands();
            for home in core::mem::take(&mut self.homes) {
                self.finish_home(&home);
            }
            self.ready.clear();
            self.timers = Timers::new(self.now);
            self.sockets.clear(self.poll.registry());
            if self.shared.end() {
                return;
            }
        }
    }

    fn finish_home(&mut self, home: &Home) {
        let Some(part) = home.endpoint.parts.get(home.part) else { return };
        home.endpoint.closed.store(true, core::sync::atomic::Ordering::Release);
        let conns: Vec<Arc<Conn>> = {
            let mut core = part.core.lock();
            core.closing = true;
            core.sockets.clear();
            core.conns.drain().map(|(_, conn)| conn).collect()
        };
        for conn in conns {
            // A defect of one connection must not keep the others from their end.
            let _ = catch_unwind(AssertUnwindSafe(|| self.last_events(&conn)));
        }
        let was_gone = core::mem::replace(&mut part.core.lock().gone, true);
        if !was_gone && home.endpoint.open_parts.fetch_sub(1, core::sync::atomic::Ordering::AcqRel) == 1 {
            home.endpoint.sink.endpoint(home.endpoint.id, EndpointNotice::Closed);
        }
    }

    /// What is left of a connection's events, then the end.
    fn last_events(&mut self, conn: &Arc<Conn>) {
        let mut harvest = core::mem::take(&mut self.harvest);
        let told = {
            let mut state = conn.state.lock();
            state.harvest(self.now, &mut harvest);
            core::mem::replace(&mut state.gone, true)
        };
        self.write_log(conn, &mut harvest);
        self.log_files.close(conn.id());
        if !told {
            harvest.events.push(ConnEvent::Drained);
            conn.endpoint.sink.deliver(conn, &mut harvest.events);
        }
        harvest.clear();
        self.harvest = harvest;
    }
}

/// A part takes no new connections from now on; those that it has.
fn end_of_part(endpoint: &EndpointInner, part: usize) -> Vec<Arc<Conn>> {
    let Some(p) = endpoint.parts.get(part) else { return Vec::new() };
    let mut core = p.core.lock();
    core.closing = true;
    core.conns.values().cloned().collect()
}

/// What a connection's protocol says when nothing went wrong.
fn no_error(state: &ConnState) -> u64 {
    if state.http3.is_some() { h3::NO_ERROR } else { 0 }
}

/// Below this, milliseconds are too coarse: epoll rounds up to the next one.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FINE_SLEEP: Duration = Duration::from_millis(3);

/// Polls with the precision of the timer wheel. On Linux short sleeps are spent in `ppoll` on the
/// epoll descriptor, which takes nanoseconds.
fn poll_precisely(poll: &mut Poll, events: &mut Events, timeout: Duration) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if !timeout.is_zero() && timeout < FINE_SLEEP {
        use std::os::fd::AsRawFd;
        let mut fd = libc::pollfd { fd: poll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let ts = libc::timespec { tv_sec: 0, tv_nsec: libc::c_long::try_from(timeout.as_nanos()).unwrap_or(0) };
        // SAFETY: one live pollfd, a live timespec, no signal mask.
        let rc = unsafe { libc::ppoll(&raw mut fd, 1, &raw const ts, core::ptr::null()) };
        if rc == 0 {
            events.clear();
            return Ok(());
        }
        return poll.poll(events, Some(Duration::ZERO));
    }
    poll.poll(events, Some(timeout))
}
