//! Connections that clients want and nobody has decided on: first datagrams are kept, all within bounds.
use std::collections::VecDeque;

use super::slab::Slab;
use crate::base::{ConnectionId, Ecn, FourTuple, Timestamp};
use crate::crypto::ClientInitial;
use core::time::Duration;

/// Datagrams kept per undecided connection: a large ClientHello and some 0-RTT.
const MAX_DATAGRAMS: usize = 16;
/// Bytes kept per undecided connection, so that a flood of Initials costs known memory.
const MAX_BYTES: usize = 32 * 1024;
/// An undecided connection is forgotten after this: the client has given up or asks again.
pub const INCOMING_LIFETIME: Duration = Duration::from_secs(10);
/// 0-RTT packets can overtake their Initial (RFC 9000 section 5.2.2): connection IDs for which some are kept.
const MAX_EARLY_CIDS: usize = 32;
/// Datagrams kept per such connection ID.
const MAX_EARLY_DATAGRAMS: usize = 4;

/// Key of an undecided connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IncomingKey(pub(super) (u32, u32));

/// A connection that a client wants. The application accepts, refuses, retries or ignores it; dropping it is the
/// same as ignoring it, only that its memory is freed later.
#[derive(Debug)]
#[must_use]
pub struct Incoming {
    pub(super) key: IncomingKey,
    pub(super) first: FirstInitial,
}

impl Incoming {
    /// Where it comes from.
    #[must_use]
    pub const fn tuple(&self) -> &FourTuple {
        &self.first.tuple
    }

    /// The client proved that it receives at its address.
    #[must_use]
    pub const fn address_validated(&self) -> bool {
        self.first.address_validated
    }

    /// It answers a Retry already and cannot get another (RFC 9000 section 8.1.2).
    #[must_use]
    pub const fn was_retried(&self) -> bool {
        self.first.retry_scid.is_some()
    }

    /// QUIC version of its first packet.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.first.version
    }

    /// The client's very first Destination Connection ID; qlog and key logs name connections by it.
    #[must_use]
    pub const fn original_dcid(&self) -> &ConnectionId {
        &self.first.odcid
    }
}

/// What the first Initial says.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstInitial {
    pub(super) tuple: FourTuple,
    pub(super) version: u32,
    pub(super) odcid: ConnectionId,
    /// Destination Connection ID of the packet at hand.
    pub(super) dcid: ConnectionId,
    pub(super) client_scid: ConnectionId,
    pub(super) retry_scid: Option<ConnectionId>,
    pub(super) address_validated: bool,
}

/// A datagram to be given to the connection once there is one.
pub(super) struct Kept {
    pub(super) tuple: FourTuple,
    pub(super) ecn: Ecn,
    pub(super) bytes: Vec<u8>,
}

impl Kept {
    fn new(tuple: &FourTuple, ecn: Ecn, datagram: &[u8]) -> Self {
        Self { tuple: *tuple, ecn, bytes: datagram.to_vec() }
    }
}

/// One undecided connection.
pub(super) struct Waiting {
    pub(super) dcid: ConnectionId,
    since: Timestamp,
    /// Keys that opened the first packet.
    initial: ClientInitial,
    kept: Vec<Kept>,
    bytes: usize,
}

impl Waiting {
    fn keep(&mut self, kept: Kept) -> bool {
        let bytes = self.bytes.saturating_add(kept.bytes.len());
        if self.kept.len() >= MAX_DATAGRAMS || bytes > MAX_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.kept.push(kept);
        true
    }

    /// The keys, and the datagrams in the order in which they came.
    pub(super) fn into_parts(self) -> (ClientInitial, Vec<Kept>) {
        (self.initial, self.kept)
    }
}

/// All undecided connections.
pub(super) struct IncomingTable {
    waiting: Slab<Waiting>,
    /// Keys in order of arrival; decided ones are skipped when they come up.
    order: VecDeque<IncomingKey>,
    max: usize,
}

impl IncomingTable {
    pub(super) const fn new(max: usize) -> Self {
        Self { waiting: Slab::new(), order: VecDeque::new(), max }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Room for one more?
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < self.max
    }

    /// Forgets what waited too long; returns the connection IDs that are no longer routed.
    pub(super) fn expire(&mut self, now: Timestamp, mut gone: impl FnMut(&ConnectionId)) {
        while let Some(key) = self.order.front().copied() {
            match self.waiting.get(key.0) {
                Some(w) if now.since(w.since) < INCOMING_LIFETIME => break,
                Some(_) => {
                    if let Some(w) = self.waiting.remove(key.0) {
                        gone(&w.dcid);
                    }
                }
                None => {}
            }
            self.order.pop_front();
        }
    }

    /// Starts one with its first datagram.
    pub(super) fn start(
        &mut self,
        first: &FirstInitial,
        initial: ClientInitial,
        ecn: Ecn,
        datagram: &[u8],
        now: Timestamp,
    ) -> Option<IncomingKey> {
        if !self.has_room() {
            return None;
        }
        let kept = vec![Kept::new(&first.tuple, ecn, datagram)];
        let (dcid, bytes) = (first.dcid, datagram.len());
        let key = IncomingKey(self.waiting.insert(Waiting { dcid, since: now, initial, kept, bytes })?);
        // Decided ones at the front would otherwise stay until their time is over.
        while self.order.front().is_some_and(|k| self.waiting.get(k.0).is_none()) {
            self.order.pop_front();
        }
        if self.order.len() >= self.max.saturating_mul(2) {
            let waiting = &self.waiting;
            self.order.retain(|k| waiting.get(k.0).is_some());
        }
        self.order.push_back(key);
        Some(key)
    }

    /// Keeps a further datagram; false when it has to be dropped. Only the first sender can add some: others
    /// cannot use up its room.
    pub(super) fn add(&mut self, key: IncomingKey, tuple: &FourTuple, ecn: Ecn, datagram: &[u8]) -> bool {
        let Some(waiting) = self.waiting.get_mut(key.0) else { return false };
        if waiting.kept.first().is_some_and(|k| k.tuple.remote != tuple.remote) {
            return false;
        }
        waiting.keep(Kept::new(tuple, ecn, datagram))
    }

    pub(super) fn add_kept(&mut self, key: IncomingKey, kept: Kept) {
        if let Some(waiting) = self.waiting.get_mut(key.0)
            && waiting.kept.first().is_some_and(|k| k.tuple.remote == kept.tuple.remote)
        {
            waiting.keep(kept);
        }
    }

    pub(super) fn take(&mut self, key: IncomingKey) -> Option<Waiting> {
        self.waiting.remove(key.0)
    }
}

/// 0-RTT datagrams that came before their Initial. The oldest connection ID makes room for the newest.
pub(super) struct EarlyPackets {
    by_cid: VecDeque<(ConnectionId, Vec<Kept>)>,
}

impl EarlyPackets {
    pub(super) const fn new() -> Self {
        Self { by_cid: VecDeque::new() }
    }

    pub(super) fn keep(&mut self, dcid: &ConnectionId, tuple: &FourTuple, ecn: Ecn, datagram: &[u8]) -> bool {
        let kept = Kept::new(tuple, ecn, datagram);
        // At most 32 entries: a walk is cheaper than a table.
        if let Some((_, list)) = self.by_cid.iter_mut().find(|(cid, _)| cid == dcid) {
            if list.len() >= MAX_EARLY_DATAGRAMS {
                return false;
            }
            list.push(kept);
            return true;
        }
        if self.by_cid.len() >= MAX_EARLY_CIDS {
            self.by_cid.pop_front();
        }
        self.by_cid.push_back((*dcid, vec![kept]));
        true
    }

    pub(super) fn take(&mut self, dcid: &ConnectionId) -> Vec<Kept> {
        let at = self.by_cid.iter().position(|(cid, _)| cid == dcid);
        at.and_then(|i| self.by_cid.remove(i)).map_or_else(Vec::new, |(_, kept)| kept)
    }
}
