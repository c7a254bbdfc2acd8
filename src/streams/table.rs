//! Where the streams live: dense slots, found by id through a hash map with a memory of the last hit.
//!
//! Slots are small numbers for the intrusive lists of the other files; a freed slot is used again. Ids come from
//! counters that we bound, so the map uses a fast hash. Invariant: `map` and `slots` agree; `last` may be stale and
//! is checked against the slot's own id.
use rustc_hash::FxHashMap;

use super::recv::RecvHalf;
use super::scheduler::Priority;
use super::send::SendHalf;
use crate::base::StreamId;
use crate::base::span::Span;

/// Number of a stream in its connection's table.
pub type Slot = u32;

/// Kinds of waiting events, lowest first out.
pub mod pending {
    pub const OPENED: u8 = 1;
    pub const READABLE: u8 = 1 << 1;
    pub const WRITABLE: u8 = 1 << 2;
    pub const FINISHED: u8 = 1 << 3;
    pub const STOPPED: u8 = 1 << 4;
    pub const REVOKED: u8 = 1 << 5;
    pub const RESET: u8 = 1 << 6;
    pub const CLOSED: u8 = 1 << 7;
}

/// Kinds of waiting control frames.
pub mod control {
    pub const RESET_STREAM: u8 = 1;
    pub const STOP_SENDING: u8 = 1 << 1;
    pub const MAX_STREAM_DATA: u8 = 1 << 2;
    pub const STREAM_DATA_BLOCKED: u8 = 1 << 3;
}

/// One stream. A half that does not exist for its kind is `None`.
#[derive(Debug)]
pub struct Stream {
    pub id: StreamId,
    pub send: Option<SendHalf>,
    pub recv: Option<RecvHalf>,
    pub priority: Priority,
    /// Bits of [`pending`].
    pub events: u8,
    /// Bits of [`control`].
    pub control: u8,
    /// Some of it came in 0-RTT packets.
    pub early: bool,
}

impl Stream {
    /// An end or a reset of ours has not arrived yet.
    #[must_use]
    pub fn sends_still(&self) -> bool {
        self.send.as_ref().is_some_and(SendHalf::is_ending)
    }

    /// Both directions are in a terminal state and the application knows (RFC 9000 section 3.4).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-4.4
    //# Both endpoints MUST maintain flow control state for the stream in the unterminated direction until that
    //# direction enters a terminal state.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.send.as_ref().is_none_or(SendHalf::is_over) && self.recv.as_ref().is_none_or(RecvHalf::is_over)
    }
}

/// All streams of a connection that are not closed.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Option<Stream>>,
    free: Vec<Slot>,
    map: FxHashMap<u64, Slot>,
    last: Slot,
}

impl Table {
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The slot of a stream.
    #[must_use]
    pub fn find(&mut self, id: StreamId) -> Option<Slot> {
        if self.get(self.last).is_some_and(|s| s.id == id) {
            return Some(self.last);
        }
        let slot = self.map.get(&id.0).copied()?;
        self.last = slot;
        Some(slot)
    }

    /// Where the stream lies that was asked for last.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        let Some(stream) = self.get(self.last) else { return };
        name(Span::of(stream));
        if let Some(send) = &stream.send {
            send.buffer.parts(name);
        }
        if let Some(recv) = &stream.recv {
            recv.data.parts(name);
        }
    }

    /// The same without remembering it.
    #[must_use]
    pub fn peek(&self, id: StreamId) -> Option<&Stream> {
        self.get(*self.map.get(&id.0)?)
    }

    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Stream> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Stream> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Adds a stream and returns its slot.
    pub fn insert(&mut self, stream: Stream) -> Slot {
        let id = stream.id;
        let slot = if let Some(slot) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(slot as usize) {
                *place = Some(stream);
            }
            slot
        } else {
            self.slots.push(Some(stream));
            Slot::try_from(self.slots.len() - 1).expect("stream limits keep the table far below 2^32")
        };
        self.map.insert(id.0, slot);
        self.last = slot;
        slot
    }

    /// Forgets a stream.
    pub fn remove(&mut self, slot: Slot) -> Option<StreamId> {
        let place = self.slots.get_mut(slot as usize)?;
        let id = place.as_ref()?.id;
        // Dropped where it lies: it is large.
        *place = None;
        self.map.remove(&id.0);
        self.free.push(slot);
        if self.map.is_empty() {
            // A burst of streams should not leave its table behind for the connection's life.
            self.slots.truncate(SLOTS_KEPT);
            self.free.clear();
            self.free.extend((0..self.slots.len()).filter_map(|s| Slot::try_from(s).ok()));
            self.slots.shrink_to(SLOTS_KEPT);
            self.map.shrink_to(SLOTS_KEPT);
        }
        Some(id)
    }

    /// All slots in use.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().enumerate().filter(|(_, s)| s.is_some()).filter_map(|(i, _)| Slot::try_from(i).ok())
    }

    /// All streams.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut Stream)> {
        self.slots.iter_mut().enumerate().filter_map(|(i, s)| Some((Slot::try_from(i).ok()?, s.as_mut()?)))
    }
}

/// Slots that an empty table keeps.
const SLOTS_KEPT: usize = 16;
