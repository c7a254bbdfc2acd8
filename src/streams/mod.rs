//! Streams, flow control and datagrams of one connection (RFC 9000 sections 2 to 4, 19.4 to 19.14; RFC 9221).
//!
//! The connection hands in frames of the peer (`frames.rs`) and fates of our own as tokens, and asks for frames to
//! send (`transmit.rs`); the application opens, writes and reads (`api.rs`). Streams never see packets.
//! Invariants: work is proportional to streams that have something to do, never to all that are open; no
//! allocation per frame in the steady state; what the peer can make us hold is bounded by windows that we gave
//! it and by named constants.
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::codes::transport::PROTOCOL_VIOLATION;
use crate::base::span::Span;
use crate::base::{Dir, Side, StreamId, Timestamp, TransportError};
use crate::wire::TransportParameters;

mod api;
pub mod config;
pub mod datagrams;
pub mod event;
pub mod flow;
mod frames;
mod grow;
mod ids;
pub mod pool;
pub mod reassembly;
mod recv;
mod scheduler;
mod send;
pub mod send_buffer;
mod table;
mod transmit;

#[cfg(test)]
mod tests;

pub use config::StreamsConfig;
pub use datagrams::Datagrams;
pub use event::{DatagramError, DatagramState, OpenError, ReadError, ReadOk, StreamEvent, WriteError};

use flow::{INITIAL_RTT, ReceiveWindow, SendCredit};
use ids::{LocalIds, RemoteIds};
use pool::{SharedSlabs, SlabPool};
use recv::RecvHalf;
use scheduler::{Priority, Queues, Scheduler};
use send::SendHalf;
use table::{Slot, Stream, Table, pending};

/// Connection-level control frames that wait to be sent.
mod due {
    pub const MAX_DATA: u8 = 1;
    pub const DATA_BLOCKED: u8 = 1 << 1;
    pub const MAX_STREAMS_BIDI: u8 = 1 << 2;
    pub const MAX_STREAMS_UNI: u8 = 1 << 3;
    pub const STREAMS_BLOCKED_BIDI: u8 = 1 << 4;
    pub const STREAMS_BLOCKED_UNI: u8 = 1 << 5;

    use crate::base::Dir;

    pub const fn max_streams(dir: Dir) -> u8 {
        if matches!(dir, Dir::Bi) { MAX_STREAMS_BIDI } else { MAX_STREAMS_UNI }
    }

    pub const fn streams_blocked(dir: Dir) -> u8 {
        if matches!(dir, Dir::Bi) { STREAMS_BLOCKED_BIDI } else { STREAMS_BLOCKED_UNI }
    }
}

/// What the peer's transport parameters say about streams (RFC 9000 section 18.2), in its own terms.
#[derive(Clone, Copy, Debug, Default)]
struct PeerLimits {
    data: u64,
    bidi_local: u64,
    bidi_remote: u64,
    uni: u64,
    streams_bidi: u64,
    streams_uni: u64,
    /// It understands RESET_STREAM_AT.
    reset_at: bool,
}

impl PeerLimits {
    const fn new(p: &TransportParameters) -> Self {
        Self {
            data: p.initial_max_data,
            bidi_local: p.initial_max_stream_data_bidi_local,
            bidi_remote: p.initial_max_stream_data_bidi_remote,
            uni: p.initial_max_stream_data_uni,
            streams_bidi: p.initial_max_streams_bidi,
            streams_uni: p.initial_max_streams_uni,
            reset_at: p.reset_stream_at,
        }
    }

    /// Initial credit of a stream that we send on: "remote" and "local" are the peer's view.
    const fn for_stream(&self, id: StreamId, ours: bool) -> u64 {
        match (id.dir(), ours) {
            (Dir::Uni, _) => self.uni,
            (Dir::Bi, true) => self.bidi_remote,
            (Dir::Bi, false) => self.bidi_local,
        }
    }

    const fn any_below(&self, other: &Self) -> bool {
        self.data < other.data
            || self.bidi_local < other.bidi_local
            || self.bidi_remote < other.bidi_remote
            || self.uni < other.uni
            || self.streams_bidi < other.streams_bidi
            || self.streams_uni < other.streams_uni
            // draft-ietf-quic-reliable-stream-reset section 3: nor is the extension taken back.
            || (other.reset_at && !self.reset_at)
    }
}

/// How many streams are alive and what they hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamCounts {
    /// Known streams of both sides, including those whose `Closed` event was not taken yet.
    pub open: usize,
    /// Bytes written and not yet acknowledged.
    pub buffered_to_send: u64,
    /// Bytes that the peer has sent (or skipped) and nobody has read.
    pub buffered_received: u64,
}

/// A pair of values, one per direction of streams.
#[derive(Debug)]
struct ByDir<T> {
    bi: T,
    uni: T,
}

impl<T> ByDir<T> {
    const fn of(&self, dir: Dir) -> &T {
        match dir {
            Dir::Bi => &self.bi,
            Dir::Uni => &self.uni,
        }
    }

    const fn of_mut(&mut self, dir: Dir) -> &mut T {
        match dir {
            Dir::Bi => &mut self.bi,
            Dir::Uni => &mut self.uni,
        }
    }
}

/// All streams of a connection and its flow control.
#[derive(Debug)]
pub struct Streams {
    side: Side,
    config: StreamsConfig,
    peer: PeerLimits,
    table: Table,
    local: ByDir<LocalIds>,
    remote: ByDir<RemoteIds>,
    /// Connection flow control, receiving and sending.
    window: ReceiveWindow,
    credit: SendCredit,
    scheduler: Scheduler,
    /// Streams with control frames to send.
    control: Queues<1>,
    /// Streams with events to report.
    events: Queues<1>,
    /// Streams that are owed a `Writable`.
    starved: Queues<1>,
    /// What one stream may hold for sending now; grows with the path.
    send_limit: u64,
    /// Bits of [`due`].
    due: u8,
    /// `Available` is to be reported.
    available: ByDir<bool>,
    /// Streams of the peer that `accept` has not returned yet (may name closed ones).
    incoming: ByDir<VecDeque<StreamId>>,
    pool: SlabPool,
    /// Bytes in all send buffers.
    held: u64,
    /// A write was cut short by the limit on `held`.
    full: bool,
    rtt: Duration,
    now: Timestamp,
}

impl Streams {
    /// Some are open.
    #[must_use]
    pub fn has_any(&self) -> bool {
        !self.table.is_empty()
    }

    /// Where that lies which moving data needs.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        self.scheduler.parts(name);
        self.table.parts(name);
    }

    /// No streams; nothing may be sent until `set_peer_limits`.
    #[must_use]
    pub fn new(side: Side, config: &StreamsConfig) -> Self {
        Self {
            side,
            config: *config,
            peer: PeerLimits::default(),
            table: Table::default(),
            local: ByDir { bi: LocalIds::default(), uni: LocalIds::default() },
            remote: ByDir { bi: RemoteIds::new(config.max_streams_bidi), uni: RemoteIds::new(config.max_streams_uni) },
            window: ReceiveWindow::new(config.connection_window, config.connection_window_max),
            credit: SendCredit::default(),
            scheduler: Scheduler::default(),
            control: Queues::default(),
            events: Queues::default(),
            starved: Queues::default(),
            send_limit: config.send_buffer,
            due: 0,
            available: ByDir { bi: false, uni: false },
            incoming: ByDir { bi: VecDeque::new(), uni: VecDeque::new() },
            pool: SlabPool::default(),
            held: 0,
            full: false,
            rtt: INITIAL_RTT,
            now: Timestamp::ZERO,
        }
    }

    /// The connection's flow control: what the peer may send us, and what we may send.
    #[cfg(feature = "sim")]
    #[must_use]
    pub const fn credit(&self) -> (ReceiveWindow, SendCredit) {
        (self.window, self.credit)
    }

    /// The peer's parameters, or the remembered ones for 0-RTT.
    pub fn set_peer_limits(&mut self, parameters: &TransportParameters) {
        self.peer = PeerLimits::new(parameters);
        let peer = self.peer;
        self.raise_stream_limit(Dir::Bi, peer.streams_bidi);
        self.raise_stream_limit(Dir::Uni, peer.streams_uni);
        let side = self.side;
        for (_, stream) in self.table.iter_mut() {
            if let Some(send) = stream.send.as_mut() {
                send.credit.raise(peer.for_stream(stream.id, stream.id.initiator() == side));
            }
        }
        self.on_max_data(peer.data);
        self.activate_all();
    }

    /// 0-RTT was accepted and these are the real parameters.
    ///
    /// # Errors
    /// RFC 9000 section 7.4.1: a server that accepts 0-RTT must not lower any limit (PROTOCOL_VIOLATION).
    pub fn confirm_peer_limits(&mut self, parameters: &TransportParameters) -> Result<(), TransportError> {
        if PeerLimits::new(parameters).any_below(&self.peer) {
            return Err(TransportError::new(PROTOCOL_VIOLATION, "limits lowered after accepting 0-RTT"));
        }
        self.set_peer_limits(parameters);
        Ok(())
    }

    /// Everything sent so far counts as never sent and all limits are void (RFC 9001 section 4.6.2); call
    /// `set_peer_limits` with the real parameters next.
    pub fn on_zero_rtt_rejected(&mut self) {
        self.local.bi.restart();
        self.local.uni.restart();
        self.credit.restart();
        self.due &= !(due::DATA_BLOCKED | due::STREAMS_BLOCKED_BIDI | due::STREAMS_BLOCKED_UNI);
        for (slot, stream) in self.table.iter_mut() {
            self.scheduler.remove(slot);
            stream.control &= !table::control::STREAM_DATA_BLOCKED;
            if let Some(send) = stream.send.as_mut() {
                send.restart();
            }
        }
    }

    /// Once per received batch: feeds window auto-tuning.
    pub fn on_rtt(&mut self, smoothed: Duration, now: Timestamp) {
        self.rtt = smoothed;
        self.now = self.now.max(now);
    }

    /// The congestion window and what the path needs of it (`round_trip`: the window in bytes times the shortest over
    /// the smoothed round trip). A stream holds what is in flight until it is acknowledged and is filled again at half
    /// of its limit, so the limit is four of those; a short path never needs more than it has from the start.
    pub fn on_window(&mut self, round_trip: u64) {
        let wanted = round_trip.saturating_mul(4).min(self.config.send_buffer_max);
        self.send_limit = self.send_limit.max(wanted);
        self.scheduler.on_window(round_trip);
    }

    /// A writer waits for room, or everything for the peer's credit: having nothing to send now does not mean that the
    /// application has nothing to say.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        !self.starved.is_empty(0) || self.credit.available() == 0
    }

    /// A stream with the halves of its kind.
    fn make(&self, id: StreamId) -> Stream {
        let ours = id.initiator() == self.side;
        let (sends, receives) = (id.dir() == Dir::Bi || ours, id.dir() == Dir::Bi || !ours);
        let window = match (id.dir(), ours) {
            (Dir::Uni, _) => self.config.stream_window_uni,
            (Dir::Bi, true) => self.config.stream_window_bidi_local,
            (Dir::Bi, false) => self.config.stream_window_bidi_remote,
        };
        Stream {
            id,
            send: sends.then(|| SendHalf::new(self.peer.for_stream(id, ours))),
            recv: receives.then(|| RecvHalf::new(ReceiveWindow::new(window, self.config.stream_window_max))),
            priority: Priority::default(),
            events: 0,
            control: 0,
            early: false,
        }
    }

    /// Queues an event; merged with one of the same kind that still waits.
    fn raise(&mut self, slot: Slot, event: u8) {
        if let Some(stream) = self.table.get_mut(slot) {
            // With one that waits it stands in the list already.
            let first = stream.events == 0;
            stream.events |= event;
            if first {
                self.events.push_back(0, slot);
            }
        }
    }

    /// Queues a control frame.
    fn want(&mut self, slot: Slot, frame: u8) {
        if let Some(stream) = self.table.get_mut(slot) {
            stream.control |= frame;
            self.control.push_back(0, slot);
        }
    }

    /// After a change of state: a stream that is over is reported, and forgotten when the report is taken.
    fn settle(&mut self, slot: Slot) {
        let Some(stream) = self.table.get_mut(slot) else { return };
        if stream.send.as_ref().is_some_and(SendHalf::is_sending) {
            // Not over, then, whatever the other half says.
            return;
        }
        self.scheduler.remove(slot);
        self.starved.remove(slot);
        stream.events &= !pending::WRITABLE;
        if stream.events & pending::CLOSED == 0 && stream.is_over() {
            self.raise(slot, pending::CLOSED);
        }
    }

    /// Gives the stream its place among those that send, or wait for credit.
    fn activate(&mut self, slot: Slot) {
        let Some(stream) = self.table.get_mut(slot) else { return };
        let priority = stream.priority;
        let Some(send) = stream.send.as_mut() else { return };
        if send.has_free_data() {
            self.scheduler.add_now(slot, priority);
        } else if send.has_new_data() {
            if self.credit.available() > 0 {
                self.scheduler.add(slot, priority);
            } else {
                self.scheduler.wait_for_credit(slot);
                self.report_blocked();
            }
        } else {
            self.rest(slot);
        }
    }

    /// The stream has nothing that it may send now.
    fn rest(&mut self, slot: Slot) {
        self.scheduler.remove(slot);
        let Some(send) = self.table.get_mut(slot).and_then(|s| s.send.as_mut()) else { return };
        if send.is_blocked() && send.credit.report_blocked() {
            self.want(slot, table::control::STREAM_DATA_BLOCKED);
        }
    }

    fn activate_all(&mut self) {
        let slots: Vec<Slot> = self.table.slots().collect();
        for slot in slots {
            self.activate(slot);
            if self.table.get(slot).is_some_and(|s| s.control != 0) {
                self.control.push_back(0, slot);
            }
        }
    }

    /// RFC 9000 section 4.1: a sender that is blocked says so, once per limit.
    fn report_blocked(&mut self) {
        if self.credit.report_blocked() {
            self.due |= due::DATA_BLOCKED;
        }
    }

    fn raise_stream_limit(&mut self, dir: Dir, limit: u64) {
        let ids = self.local.of_mut(dir);
        if !ids.raise(limit) {
            return;
        }
        self.due &= !due::streams_blocked(dir);
        if core::mem::take(&mut ids.refused) {
            *self.available.of_mut(dir) = true;
        }
        if let Some(first) = self.scheduler.pop_waiting_for_limit() {
            // Only after a rejected 0-RTT; rare enough to look at all streams.
            self.activate(first);
            while let Some(slot) = self.scheduler.pop_waiting_for_limit() {
                self.activate(slot);
            }
            self.activate_all();
        }
    }

    /// A stream of ours that the peer's current limit does not cover (only after a rejected 0-RTT).
    fn beyond_limit(&self, id: StreamId) -> bool {
        id.initiator() == self.side && id.index() >= self.local.of(id.dir()).limit()
    }

    /// Must be called until it returns `None`: a stream is forgotten, and the peer's credit for it returned, when its
    /// `Closed` event is taken.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        for dir in [Dir::Bi, Dir::Uni] {
            if core::mem::take(self.available.of_mut(dir)) {
                return Some(StreamEvent::Available { dir });
            }
        }
        loop {
            let slot = self.events.front(0)?;
            let event = self.next_event(slot);
            if event.is_none() || self.table.get(slot).is_none_or(|s| s.events == 0) {
                self.events.remove(slot);
            }
            if event.is_some() {
                return event;
            }
        }
    }

    /// All that `poll_event` would return one by one.
    pub fn take_events(&mut self, mut tell: impl FnMut(StreamEvent)) {
        for dir in [Dir::Bi, Dir::Uni] {
            if core::mem::take(self.available.of_mut(dir)) {
                tell(StreamEvent::Available { dir });
            }
        }
        while let Some(slot) = self.events.front(0) {
            while let Some(event) = self.next_event(slot) {
                tell(event);
            }
            self.events.remove(slot);
        }
    }

    /// The next event of a stream; its last one forgets it.
    #[inline]
    fn next_event(&mut self, slot: Slot) -> Option<StreamEvent> {
        let stream = self.table.get_mut(slot)?;
        let bit = stream.events & stream.events.wrapping_neg();
        stream.events &= !bit;
        let id = stream.id;
        Some(match bit {
            pending::OPENED => StreamEvent::Opened { id },
            pending::READABLE => StreamEvent::Readable { id },
            pending::WRITABLE => StreamEvent::Writable { id },
            pending::FINISHED => StreamEvent::Finished { id },
            pending::STOPPED => {
                StreamEvent::Stopped { id, code: stream.send.as_ref().and_then(SendHalf::stop_code).unwrap_or(0) }
            }
            pending::REVOKED => StreamEvent::Revoked { id, code: stream.send.as_ref().map_or(0, SendHalf::reset_code) },
            pending::RESET => {
                let code = stream.recv.as_mut().map_or(0, |recv| {
                    recv.on_reset_reported();
                    recv.reset_code()
                });
                self.settle(slot);
                StreamEvent::Reset { id, code }
            }
            pending::CLOSED => {
                self.forget(slot);
                StreamEvent::Closed { id }
            }
            _ => return None,
        })
    }

    /// The stream's last event was taken.
    fn forget(&mut self, slot: Slot) {
        self.scheduler.remove(slot);
        self.control.remove(slot);
        self.starved.remove(slot);
        self.events.remove(slot);
        // Chunks that were handed out may have kept buffers here to the end.
        if let Some(recv) = self.table.get_mut(slot).and_then(|stream| stream.recv.as_mut()) {
            recv.data.recycle(&mut self.pool);
        }
        let Some(id) = self.table.remove(slot) else { return };
        if id.initiator() != self.side {
            if self.remote.of_mut(id.dir()).on_closed() {
                self.due |= due::max_streams(id.dir());
            }
            // Nobody asked for it; streams mostly end in the order in which they began.
            let incoming = self.incoming.of_mut(id.dir());
            if incoming.front() == Some(&id) {
                incoming.pop_front();
            }
        }
        if self.table.is_empty() {
            self.pool.trim_to_small();
        }
    }

    /// How many streams there are and what they hold.
    #[must_use]
    pub fn counts(&self) -> StreamCounts {
        StreamCounts {
            open: self.table.len(),
            buffered_to_send: self.held,
            buffered_received: self.window.received() - self.window.consumed(),
        }
    }

    /// Larger buffers are the worker's from now on.
    pub fn share_slabs(&mut self, shared: Arc<SharedSlabs>) {
        self.pool.share(shared);
    }

    /// Gives pooled buffers back; for connections that go idle.
    pub fn trim(&mut self) {
        self.pool.trim();
    }
}
