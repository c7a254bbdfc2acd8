//! A worker without a thread, sockets or clock: the application brings datagrams and time, and takes datagrams away.
//!
//! Everything but the edges is the worker's own code, so a driven runtime behaves like a threaded one. Turns run only while
//! nothing waits to be taken: what is not sent stays in the connections, within their bounds. Invariant: the time of the
//! call holds for all that happens in it, and between calls nothing happens.
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Shard;
use super::receive::Run;
use super::send::Fate;
use crate::base::{Ecn, FourTuple, Timestamp};
use crate::connection::Transmit;
use crate::runtime::clock;
use crate::runtime::shards::Finish;
use crate::runtime::udp::RECV_SLOT;

/// Turns of one call: a connection that always has more must not keep the caller for ever.
const TURNS_PER_CALL: usize = 4096;

/// What waits to be taken.
pub(super) struct Outbox {
    packets: VecDeque<(FourTuple, Ecn, Option<usize>, Vec<u8>)>,
    /// Datagrams of one batch at most.
    pub max_segments: usize,
}

/// Datagrams of one path to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// Where to send from; its port names the endpoint's (imagined) socket.
    pub local: Option<SocketAddr>,
    pub remote: SocketAddr,
    pub ecn: Ecn,
    /// Length of each datagram when there are several.
    pub segment: Option<usize>,
    pub len: usize,
}

/// Datagrams of one path that have arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub ecn: Ecn,
    /// Length of each datagram when there are several.
    pub segment: Option<usize>,
    pub bytes: &'a [u8],
}

/// No room for what is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooSmall(pub usize);

/// The hands of a driven runtime.
pub struct Driver {
    shard: Shard,
    finish: Arc<Finish>,
    finished: bool,
}

impl Shard {
    /// Makes this worker a driven one.
    pub(in crate::runtime) fn detach(&mut self) {
        self.outbox = Some(Outbox { packets: VecDeque::new(), max_segments: 1 });
        self.batches_per_turn = 1;
    }

    /// Keeps a batch for the application; `None`: this worker has sockets.
    pub(super) fn post(&mut self, transmit: &Transmit) -> Option<Fate> {
        let outbox = self.outbox.as_mut()?;
        let bytes = self.send_arena.get(..transmit.len).unwrap_or(&[]).to_vec();
        outbox.packets.push_back((transmit.tuple, transmit.ecn, transmit.segment, bytes));
        Some(Fate::Done)
    }

    /// The same for an answer that belongs to no connection.
    pub(super) fn post_reply(&mut self, tuple: &FourTuple, bytes: &[u8]) -> bool {
        let Some(outbox) = self.outbox.as_mut() else { return false };
        outbox.packets.push_back((*tuple, Ecn::NotEct, None, bytes.to_vec()));
        true
    }

    /// Nothing waits to be taken.
    pub(super) fn outbox_is_empty(&self) -> bool {
        self.outbox.as_ref().is_none_or(|o| o.packets.is_empty())
    }
}

impl Driver {
    pub(in crate::runtime) fn new(shard: Shard, finish: Arc<Finish>) -> Self {
        Self { shard, finish, finished: false }
    }

    /// Runs the worker's loop at `now` until something waits to be taken or nothing is left to do.
    fn step(&mut self, now: Timestamp) {
        let shard = &mut self.shard;
        shard.now = now;
        shard.shared.drive(now);
        for _ in 0..TURNS_PER_CALL {
            shard.take_commands();
            shard.collect_ready();
            shard.run_timers();
            shard.run_drains();
            if shard.shared.must_stop() && !self.finished && shard.winding_down() {
                self.finished = true;
                shard.finish();
                self.finish.one_less();
            }
            if !shard.outbox_is_empty() {
                return;
            }
            let Some(conn) = shard.ready.pop_front() else { return };
            shard.turn(&conn);
        }
    }

    /// Time has passed.
    pub fn advance(&mut self, now: Timestamp) {
        clock::pinned(now, || self.step(now));
    }

    /// Datagrams have come. False: no endpoint has that local address.
    pub fn receive(&mut self, arrived: &Arrived<'_>, now: Timestamp) -> bool {
        clock::pinned(now, || {
            self.shard.now = now;
            self.shard.shared.drive(now);
            self.shard.take_commands();
            let known = self.deal(arrived);
            self.step(now);
            known
        })
    }

    fn deal(&mut self, arrived: &Arrived<'_>) -> bool {
        let here = self.shard.homes.iter().find_map(|home| {
            let core = home.endpoint.parts.get(home.part)?.core.lock();
            let fits = |bound: SocketAddr| {
                bound.port() == arrived.local.port()
                    && bound.is_ipv4() == arrived.local.is_ipv4()
                    && (bound.ip().is_unspecified() || bound.ip() == arrived.local.ip())
            };
            let entry = core.sockets.iter().find(|s| fits(s.bound)).copied()?;
            Some((Arc::clone(&home.endpoint), home.part, entry))
        });
        let Some((endpoint, part, entry)) = here else { return false };
        let local = if endpoint.tells_packet_addresses() { arrived.local } else { entry.told };
        let tuple = FourTuple { local: Some(local), remote: arrived.remote, socket: entry.number };
        let stride = arrived.segment.unwrap_or(RECV_SLOT).clamp(1, RECV_SLOT);
        // Decryption is in place, and the caller's bytes stay as they are. Whole datagrams fit into a slot.
        let mut arena = core::mem::take(&mut self.shard.recv_arena);
        let per_run = (RECV_SLOT / stride).max(1).saturating_mul(stride);
        for piece in arrived.bytes.chunks(per_run) {
            let Some(slot) = arena.get_mut(..piece.len()) else { break };
            slot.copy_from_slice(piece);
            let run = Run { endpoint: &endpoint, part, tuple, ecn: arrived.ecn, stride };
            self.shard.take_run(&run, slot);
        }
        self.shard.recv_arena = arena;
        true
    }

    /// The next datagrams to send, up to `max_segments` of them; `Ok(None)`: nothing now.
    ///
    /// # Errors
    /// `out` is too small; nothing was taken.
    pub fn transmit(
        &mut self,
        out: &mut [u8],
        max_segments: usize,
        now: Timestamp,
    ) -> Result<Option<Outgoing>, TooSmall> {
        if let Some(outbox) = self.shard.outbox.as_mut() {
            outbox.max_segments = max_segments.max(1);
        }
        self.advance(now);
        let Some(outbox) = self.shard.outbox.as_mut() else { return Ok(None) };
        let Some((tuple, ecn, segment, bytes)) = outbox.packets.front() else { return Ok(None) };
        let Some(room) = out.get_mut(..bytes.len()) else { return Err(TooSmall(bytes.len())) };
        room.copy_from_slice(bytes);
        let what =
            Outgoing { local: tuple.local, remote: tuple.remote, ecn: *ecn, segment: *segment, len: bytes.len() };
        outbox.packets.pop_front();
        Ok(Some(what))
    }

    /// When [`Self::advance`] has something to do; `now` when there is something to send.
    #[must_use]
    pub fn deadline(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.shard.collect_ready();
        if !self.shard.ready.is_empty() || !self.shard.outbox_is_empty() || self.shard.shared.has_commands() {
            return Some(now);
        }
        let drain = self.shard.drains.iter().map(|d| d.1).min();
        [self.shard.timers.next(), self.shard.leave_at, drain].into_iter().flatten().min()
    }

    /// Nobody will drive it any more: everything ends here and now, without a word to peers.
    pub fn cut(&mut self) {
        if !core::mem::replace(&mut self.finished, true) {
            self.shard.finish();
            self.finish.one_less();
        }
    }

    /// The runtime was closed and everything has ended.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.cut();
    }
}
