//! Hierarchical timer wheel over small integer keys: the deadlines of a worker's connections.
//!
//! Lazy by contract: moving a deadline later does not touch the wheel; the owner compares on
//! expiry and inserts again. So an entry is not removed but outlived, and every operation is
//! O(1) plus the slots that time really passed; only before a sleep the few entries that would end it are
//! looked at. Invariant: an entry expires at or after its deadline, never before, and less than one tick plus
//! one cascade late.
use crate::base::Timestamp;

/// 2^17 ns = 131 microseconds: finer than the timers of loss recovery (RFC 9002 section 6.1.2: 1 ms
/// granularity) and fine enough for pacing at a millisecond per batch.
const TICK_SHIFT: u32 = 17;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_MASK: u64 = (SLOTS as u64) - 1;
/// Five levels span 2^30 ticks, about 39 hours; later deadlines wait in the last level and are
/// looked at again when it comes round.
const LEVELS: usize = 5;

/// A sleeper looks at so many slots per level, and at none with more entries than [`CROWD`]: getting up in vain costs less.
const LOOKS: usize = 4;
const CROWD: usize = 16;

/// When an entry expires: which of a key's entries it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(u64);

impl Expiry {
    /// No entry's.
    pub const NEVER: Self = Self(u64::MAX);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    key: u32,
    tick: u64,
}

struct Level {
    occupied: u64,
    slots: [Vec<Entry>; SLOTS],
}

/// The wheel; see the file comment.
pub struct Wheel {
    /// Every tick up to and including this one has been expired.
    now_tick: u64,
    levels: [Level; LEVELS],
    len: usize,
}

/// First tick that lies wholly at or after `at`.
const fn tick_up(at: Timestamp) -> u64 {
    let down = at.0 >> TICK_SHIFT;
    if down << TICK_SHIFT == at.0 { down } else { down + 1 }
}

impl Wheel {
    /// An empty wheel that starts at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            now_tick: now.0 >> TICK_SHIFT,
            levels: core::array::from_fn(|_| Level { occupied: 0, slots: core::array::from_fn(|_| Vec::new()) }),
            len: 0,
        }
    }

    /// Entries, outlived ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// No entry at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `key` will come out of [`Self::expire`] once `at` has passed. [`Timestamp::NEVER`] is not stored.
    pub fn insert(&mut self, key: u32, at: Timestamp) -> Expiry {
        if at == Timestamp::NEVER {
            return Expiry::NEVER;
        }
        self.len = self.len.saturating_add(1);
        self.place(Entry { key, tick: tick_up(at) })
    }

    fn place(&mut self, entry: Entry) -> Expiry {
        // A deadline in the past fires at the next tick.
        let tick = entry.tick.max(self.now_tick.saturating_add(1));
        let (level, slot) = self.locate(tick);
        if let Some(l) = self.levels.get_mut(level) {
            l.occupied |= 1 << slot;
            if let Some(s) = l.slots.get_mut(slot) {
                s.push(Entry { key: entry.key, tick });
            }
        }
        Expiry(tick)
    }

    /// Level and slot of a tick that is still to come.
    fn locate(&self, tick: u64) -> (usize, usize) {
        let distance = tick ^ self.now_tick;
        let highest = 63 - (distance | 1).leading_zeros();
        let level = ((highest / SLOT_BITS) as usize).min(LEVELS - 1);
        let shift = SLOT_BITS * level as u32;
        // No more than one turn of the last level ahead: what lies beyond the span waits in the slot just behind the hand.
        // A deadline may be near and yet differ above all levels, once in a span.
        let hand = self.now_tick >> shift;
        let ahead = (tick >> shift).saturating_sub(hand).min(SLOT_MASK);
        let slot = (hand.wrapping_add(ahead) & SLOT_MASK) as usize;
        (level, slot)
    }

    /// When to call [`Self::expire`] next: never later than the earliest entry, possibly earlier
    /// (a slot of a coarse level has to be spread first).
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        let tick = self.next_tick()?;
        Some(Timestamp(tick.saturating_mul(1 << TICK_SHIFT)))
    }

    /// The next tick at which some slot has to be opened.
    fn next_tick(&self) -> Option<u64> {
        (0..LEVELS).filter_map(|i| self.next_slot(i)).map(|(_, tick)| tick).min()
    }

    /// The slot of a level that the hand will reach first, and when.
    fn next_slot(&self, i: usize) -> Option<(usize, u64)> {
        let level = self.levels.get(i).filter(|l| l.occupied != 0)?;
        let shift = SLOT_BITS * i as u32;
        let hand = self.now_tick >> shift;
        let from = ((hand + 1) & SLOT_MASK) as u32;
        let ahead = u64::from(level.occupied.rotate_right(from).trailing_zeros());
        let reached = hand.saturating_add(1).saturating_add(ahead);
        Some(((reached & SLOT_MASK) as usize, reached << shift))
    }

    /// The same more exactly, for a worker that is about to sleep: entries that nobody waits for are dropped, and those
    /// that would expire before their time has come are moved, so that it does not get up for them. `live` tells of
    /// a key's entry, which is the one that expires at `Expiry`, when it shall expire by now; `None`: it does not count.
    /// What moves is told to `moved`.
    pub fn next_live(
        &mut self,
        mut live: impl FnMut(u32, Expiry) -> Option<Timestamp>,
        mut moved: impl FnMut(u32, Expiry),
    ) -> Option<Timestamp> {
        // What moves comes to a later slot of its level or to a higher one. The last level is left as it is: there,
        // what lies beyond the span waits in slots that come before its time.
        let mut first = |w: &mut Self, i: usize| {
            for _ in 0..if i < LEVELS - 1 { LOOKS } else { 0 } {
                let (slot, tick) = w.next_slot(i)?;
                let first = w.weed(i, slot, tick, &mut live, &mut moved);
                if first.is_some() {
                    return first;
                }
            }
            w.next_slot(i).map(|(_, tick)| tick)
        };
        let tick = (0..LEVELS).filter_map(|i| first(self, i)).min()?;
        Some(Timestamp(tick.saturating_mul(1 << TICK_SHIFT)))
    }

    /// Looks at a slot's entries, unless they are many; when the first of them expires, `None` when none is left.
    fn weed(
        &mut self,
        i: usize,
        slot: usize,
        tick: u64,
        live: &mut impl FnMut(u32, Expiry) -> Option<Timestamp>,
        moved: &mut impl FnMut(u32, Expiry),
    ) -> Option<u64> {
        let entries = self.levels.get_mut(i).and_then(|l| l.slots.get_mut(slot))?;
        if entries.len() > CROWD {
            return Some(tick);
        }
        let mut entries = core::mem::take(entries);
        let mut first = None;
        entries.retain_mut(|entry| {
            let Some(at) = live(entry.key, Expiry(entry.tick)) else {
                self.len = self.len.saturating_sub(1);
                return false;
            };
            let wanted = tick_up(at);
            if wanted > entry.tick {
                if self.locate(wanted) != (i, slot) {
                    moved(entry.key, self.place(Entry { key: entry.key, tick: wanted }));
                    return false;
                }
                entry.tick = wanted;
                moved(entry.key, Expiry(wanted));
            }
            first = Some(first.map_or(entry.tick, |f: u64| f.min(entry.tick)));
            true
        });
        let level = self.levels.get_mut(i)?;
        if entries.is_empty() {
            level.occupied &= !(1 << slot);
        }
        *level.slots.get_mut(slot)? = entries;
        first
    }

    /// Appends the keys whose deadline is at or before `now`.
    pub fn expire(&mut self, now: Timestamp, due: &mut Vec<u32>) {
        let target = now.0 >> TICK_SHIFT;
        while self.now_tick < target {
            match self.next_tick() {
                Some(tick) if tick <= target => {
                    self.now_tick = tick;
                    self.open(due);
                }
                _ => self.now_tick = target,
            }
        }
    }

    /// Opens every slot that the hand has just reached: coarse levels spread, level 0 expires.
    fn open(&mut self, due: &mut Vec<u32>) {
        let now = self.now_tick;
        for i in (0..LEVELS).rev() {
            let shift = SLOT_BITS * i as u32;
            if now & ((1u64 << shift) - 1) != 0 {
                continue;
            }
            let slot = ((now >> shift) & SLOT_MASK) as usize;
            let Some(level) = self.levels.get_mut(i) else { continue };
            if level.occupied & (1 << slot) == 0 {
                continue;
            }
            level.occupied &= !(1 << slot);
            let Some(entries) = level.slots.get_mut(slot) else { continue };
            let mut entries = core::mem::take(entries);
            for entry in entries.drain(..) {
                if entry.tick <= now {
                    self.len = self.len.saturating_sub(1);
                    due.push(entry.key);
                } else {
                    self.place(entry);
                }
            }
            // Give the capacity back to the slot, unless spreading has put something there.
            if let Some(s) = self.levels.get_mut(i).and_then(|l| l.slots.get_mut(slot))
                && s.is_empty()
                && entries.capacity() <= KEPT_CAPACITY
            {
                *s = entries;
            }
        }
    }
}

/// A slot keeps room for this many entries; a crowd's room is given back.
const KEPT_CAPACITY: usize = 256;

#[cfg(test)]
mod tests;
