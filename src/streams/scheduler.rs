//! Whose turn it is to send (RFC 9218 section 10), in constant time.
//!
//! Streams stand in intrusive lists over slot numbers: per urgency one list for streams that are sent one after
//! another and one for incremental streams, which take turns. Streams that wait for connection credit or for the
//! stream limit stand in lists of their own, so that nobody looks at them until that changes.
//! Invariant: a slot is in at most one list; `occupied` has a bit per non-empty list.

use crate::base::span::Span;

/// No slot.
const NONE: u32 = u32::MAX;

/// Links of `N` lists over one range of slot numbers.
#[derive(Debug)]
pub struct Queues<const N: usize> {
    links: Vec<Link>,
    ends: [(u32, u32); N],
    occupied: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// Number of the list plus one; 0: in none.
    list: u8,
}

impl<const N: usize> Default for Queues<N> {
    fn default() -> Self {
        Self { links: Vec::new(), ends: [(NONE, NONE); N], occupied: 0 }
    }
}

impl<const N: usize> Queues<N> {
    fn link(&mut self, slot: u32) -> Option<&mut Link> {
        self.links.get_mut(slot as usize)
    }

    /// The list that `slot` is in.
    #[must_use]
    pub fn list_of(&self, slot: u32) -> Option<usize> {
        self.links.get(slot as usize).and_then(|l| usize::from(l.list).checked_sub(1))
    }

    #[must_use]
    pub fn is_empty(&self, list: usize) -> bool {
        self.occupied & (1 << list) == 0
    }

    /// First of a list.
    #[must_use]
    pub fn front(&self, list: usize) -> Option<u32> {
        self.ends.get(list).map(|e| e.0).filter(|s| *s != NONE)
    }

    /// Puts `slot` at the end of `list`; no effect if it is in a list already.
    pub fn push_back(&mut self, list: usize, slot: u32) {
        let at = slot as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, Link { previous: NONE, next: NONE, list: 0 });
        }
        let Some(&(head, tail)) = self.ends.get(list) else { return };
        let Some(link) = self.link(slot).filter(|l| l.list == 0) else { return };
        *link = Link { previous: tail, next: NONE, list: u8::try_from(list + 1).unwrap_or(0) };
        if let Some(last) = self.link(tail) {
            last.next = slot;
        }
        if let Some(ends) = self.ends.get_mut(list) {
            *ends = (if head == NONE { slot } else { head }, slot);
        }
        self.occupied |= 1 << list;
    }

    /// Takes `slot` out of its list; false if it was in none.
    pub fn remove(&mut self, slot: u32) -> bool {
        let Some(list) = self.list_of(slot) else { return false };
        let Some(link) = self.link(slot) else { return false };
        let Link { previous, next, .. } = *link;
        *link = Link { previous: NONE, next: NONE, list: 0 };
        if let Some(before) = self.link(previous) {
            before.next = next;
        }
        if let Some(after) = self.link(next) {
            after.previous = previous;
        }
        if let Some(ends) = self.ends.get_mut(list) {
            if previous == NONE {
                ends.0 = next;
            }
            if next == NONE {
                ends.1 = previous;
            }
            if ends.0 == NONE {
                self.occupied &= !(1 << list);
            }
        }
        true
    }

    /// Takes the first of a list.
    pub fn pop_front(&mut self, list: usize) -> Option<u32> {
        let slot = self.front(list)?;
        self.remove(slot);
        Some(slot)
    }
}

/// Urgencies of RFC 9218 section 4.1, 0 first.
pub const URGENCIES: u8 = 8;
/// Its default.
pub const DEFAULT_URGENCY: u8 = 3;

const INCREMENTAL: usize = URGENCIES as usize;
/// Waits for MAX_DATA.
const CREDIT: usize = 2 * URGENCIES as usize;
/// Waits for MAX_STREAMS (only after 0-RTT was rejected).
const LIMIT: usize = CREDIT + 1;
const LISTS: usize = LIMIT + 1;

/// Bytes that an incremental stream sends at least before the next one has its turn: a few packets, so that a batch
/// does not touch a different stream for each packet.
pub const INCREMENTAL_QUANTUM: usize = 4096;
/// And at most, on a path that carries much: what one receive call brings then belongs to few streams.
const LARGEST_QUANTUM: usize = 32 * 1024;
/// Turns in what a round trip carries: a turn takes that much of the time.
const TURNS_PER_ROUND_TRIP: u64 = 16;

/// Streams with something to send.
#[derive(Debug, Default)]
pub struct Scheduler {
    queues: Queues<LISTS>,
    /// Bytes that the incremental stream at the front has sent in this turn, by urgency.
    spent: [u32; URGENCIES as usize],
    /// Length of a turn beyond `INCREMENTAL_QUANTUM`.
    longer: u32,
    /// Alternates between one-by-one and incremental streams of the same urgency.
    turn: bool,
}

/// The two priority parameters of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priority {
    pub urgency: u8,
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        // Fair shares for streams that nobody gave a priority; HTTP sets its own default.
        Self { urgency: DEFAULT_URGENCY, incremental: true }
    }
}

impl Priority {
    fn list(self) -> usize {
        usize::from(self.urgency.min(URGENCIES - 1)) + if self.incremental { INCREMENTAL } else { 0 }
    }
}

impl Scheduler {
    /// Where the first streams' links lie.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        name(Span::front(&self.queues.links));
    }

    /// Something can be sent.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.queues.occupied & ((1 << CREDIT) - 1) != 0
    }

    /// `slot` has something to send (no effect while it waits for credit; see `release_credit`).
    pub fn add(&mut self, slot: u32, priority: Priority) {
        self.queues.push_back(priority.list(), slot);
    }

    /// `slot` may have something to send although it waits for connection credit: a repetition, say.
    pub fn add_now(&mut self, slot: u32, priority: Priority) {
        if self.queues.list_of(slot) == Some(CREDIT) {
            self.queues.remove(slot);
        }
        self.queues.push_back(priority.list(), slot);
    }

    /// `slot` has nothing to send.
    pub fn remove(&mut self, slot: u32) {
        if let Some(list) = self.queues.list_of(slot) {
            self.end_turn(list, slot);
            self.queues.remove(slot);
        }
    }

    fn end_turn(&mut self, list: usize, slot: u32) {
        if self.queues.front(list) == Some(slot)
            && let Some(spent) = list.checked_sub(INCREMENTAL).and_then(|u| self.spent.get_mut(u))
        {
            *spent = 0;
        }
    }

    /// The priority of a waiting stream changed.
    pub fn change(&mut self, slot: u32, priority: Priority) {
        if self.queues.list_of(slot).is_some_and(|list| list < CREDIT && list != priority.list()) {
            self.remove(slot);
            self.add(slot, priority);
        }
    }

    /// Whose turn it is.
    #[must_use]
    pub fn next(&mut self) -> Option<u32> {
        let bits = self.queues.occupied & ((1 << CREDIT) - 1);
        let merged = (bits | (bits >> INCREMENTAL)) & 0xff;
        if merged == 0 {
            return None;
        }
        let urgency = merged.trailing_zeros() as usize;
        let (one, many) = (!self.queues.is_empty(urgency), !self.queues.is_empty(urgency + INCREMENTAL));
        let incremental = many && (!one || self.turn);
        self.queues.front(if incremental { urgency + INCREMENTAL } else { urgency })
    }

    /// The path carries so many bytes in a round trip.
    pub fn on_window(&mut self, round_trip: u64) {
        let turn = usize::try_from(round_trip / TURNS_PER_ROUND_TRIP).unwrap_or(usize::MAX).min(LARGEST_QUANTUM);
        self.longer = turn.saturating_sub(INCREMENTAL_QUANTUM) as u32;
    }

    /// The stream returned by `next` sent `bytes` and has more.
    pub fn on_sent(&mut self, slot: u32, bytes: usize) {
        self.turn = !self.turn;
        let Some(list) = self.queues.list_of(slot) else { return };
        let Some(spent) = list.checked_sub(INCREMENTAL).and_then(|u| self.spent.get_mut(u)) else { return };
        *spent = spent.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if *spent >= (INCREMENTAL_QUANTUM as u32).saturating_add(self.longer) {
            *spent = 0;
            self.queues.remove(slot);
            self.queues.push_back(list, slot);
        }
    }

    /// `slot` has only new data and the connection's credit is used up.
    pub fn wait_for_credit(&mut self, slot: u32) {
        self.remove(slot);
        self.queues.push_back(CREDIT, slot);
    }

    /// The next stream that waited for connection credit.
    pub fn pop_waiting_for_credit(&mut self) -> Option<u32> {
        self.queues.pop_front(CREDIT)
    }

    /// `slot` lies beyond the number of streams that the peer allows.
    pub fn wait_for_limit(&mut self, slot: u32) {
        self.remove(slot);
        self.queues.push_back(LIMIT, slot);
    }

    /// The next stream that waited for a higher stream limit.
    pub fn pop_waiting_for_limit(&mut self) -> Option<u32> {
        self.queues.pop_front(LIMIT)
    }
}

#[cfg(test)]
mod tests;
