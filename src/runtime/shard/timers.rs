//! Deadlines of a worker's connections: the lazy wheel and the table of what it points to.
//!
//! A deadline that moves later touches nothing; one that moves earlier adds an entry. An entry
//! whose connection has moved on is skipped, so a slot may be reused at once. A worker that is about to sleep
//! looks at those which would wake it: with a batch per pacing deadline, every second wake-up was for one that was outlived.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::Timestamp;
use crate::runtime::conn::{Conn, NO_SLOT};
use crate::runtime::wheel::{Expiry, Wheel};

struct Entry {
    conn: Arc<Conn>,
    /// The earliest entry of this connection in the wheel, and which one that is.
    scheduled: Timestamp,
    expiry: Expiry,
    /// When the connection wants to be looked at; not before `scheduled`.
    wanted: Timestamp,
}

/// See the file comment.
pub(super) struct Timers {
    wheel: Wheel,
    table: Vec<Option<Entry>>,
    free: Vec<u32>,
    due: Vec<u32>,
}

impl Timers {
    pub fn new(now: Timestamp) -> Self {
        Self { wheel: Wheel::new(now), table: Vec::new(), free: Vec::new(), due: Vec::new() }
    }

    /// Those that have or had a deadline: all that live, but for the newest.
    pub fn connections(&self) -> usize {
        self.table.len().saturating_sub(self.free.len())
    }

    /// When [`Self::expire`] has something to do next.
    pub fn next(&self) -> Option<Timestamp> {
        self.wheel.next()
    }

    /// The same for a worker that is about to sleep: deadlines that have moved are found out.
    pub fn next_live(&mut self) -> Option<Timestamp> {
        let table = core::cell::RefCell::new(&mut self.table);
        self.wheel.next_live(
            |slot, expiry| {
                let mut table = table.borrow_mut();
                let entry = table.get_mut(slot as usize)?.as_mut().filter(|e| e.expiry == expiry)?;
                entry.scheduled = entry.wanted;
                if entry.wanted == Timestamp::NEVER {
                    entry.expiry = Expiry::NEVER;
                    return None;
                }
                Some(entry.wanted)
            },
            |slot, expiry| {
                if let Some(Some(entry)) = table.borrow_mut().get_mut(slot as usize) {
                    entry.expiry = expiry;
                }
            },
        )
    }

    /// `conn` wants to be looked at when `at` has passed.
    pub fn set(&mut self, conn: &Arc<Conn>, at: Option<Timestamp>) {
        if at.is_none() && conn.slot.load(Ordering::Relaxed) == NO_SLOT {
            return;
        }
        let slot = self.slot_of(conn);
        let Some(Some(entry)) = self.table.get_mut(slot as usize) else { return };
        let at = at.unwrap_or(Timestamp::NEVER);
        entry.wanted = at;
        if at < entry.scheduled {
            entry.scheduled = at;
            entry.expiry = self.wheel.insert(slot, at);
        }
    }

    fn slot_of(&mut self, conn: &Arc<Conn>) -> u32 {
        let slot = conn.slot.load(Ordering::Relaxed);
        if slot != NO_SLOT {
            return slot;
        }
        let (scheduled, wanted) = (Timestamp::NEVER, Timestamp::NEVER);
        let entry = Some(Entry { conn: Arc::clone(conn), scheduled, expiry: Expiry::NEVER, wanted });
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.table.push(None);
                u32::try_from(self.table.len().saturating_sub(1)).unwrap_or(NO_SLOT)
            }
        };
        if let Some(place) = self.table.get_mut(slot as usize) {
            *place = entry;
            conn.slot.store(slot, Ordering::Relaxed);
        }
        slot
    }

    /// `conn` has gone.
    pub fn forget(&mut self, conn: &Conn) {
        let slot = conn.slot.swap(NO_SLOT, Ordering::Relaxed);
        if let Some(place) = self.table.get_mut(slot as usize)
            && place.take().is_some()
        {
            self.free.push(slot);
        }
    }

    /// Calls `ready` for every connection whose time has come. One that has moved on waits again: its turn would find
    /// nothing to do, and its state gone from the caches.
    pub fn expire(&mut self, now: Timestamp, mut ready: impl FnMut(&Arc<Conn>)) {
        let mut due = core::mem::take(&mut self.due);
        self.wheel.expire(now, &mut due);
        for slot in due.drain(..) {
            if let Some(Some(entry)) = self.table.get_mut(slot as usize)
                && entry.scheduled <= now
            {
                if entry.wanted > now {
                    entry.scheduled = entry.wanted;
                    entry.expiry = self.wheel.insert(slot, entry.wanted);
                    continue;
                }
                (entry.scheduled, entry.expiry) = (Timestamp::NEVER, Expiry::NEVER);
                ready(&entry.conn);
            }
        }
        self.due = due;
    }
}
