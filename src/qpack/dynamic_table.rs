//! The dynamic table (RFC 9204 section 3.2), as encoder and decoder both need it.
//!
//! Entries lie one behind the other in one buffer and leave at its front, so a warm table allocates
//! nothing. Indices are absolute: the n-th insertion of the connection has index n. Invariant: the sum of
//! the entries' sizes never exceeds the capacity, the buffer never exceeds about twice that.
use std::collections::VecDeque;

/// What an entry costs beyond its bytes (RFC 9204 section 3.2.1).
pub const ENTRY_OVERHEAD: usize = 32;

#[derive(Clone, Copy)]
struct Entry {
    /// Position in the stream of all bytes ever inserted.
    at: u64,
    name: u32,
    value: u32,
}

impl Entry {
    const fn len(&self) -> usize {
        self.name as usize + self.value as usize
    }
}

/// The entry is larger than the table, or does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// A table; starts with capacity 0.
#[derive(Default)]
pub struct DynamicTable {
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    /// Stream position of `bytes[0]`.
    origin: u64,
    inserted: u64,
    size: usize,
    capacity: usize,
}

impl DynamicTable {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Insertions so far; the next entry has this absolute index.
    #[must_use]
    pub const fn insert_count(&self) -> u64 {
        self.inserted
    }

    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sum of the entries' sizes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Absolute index of the oldest entry that is still there.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.inserted.saturating_sub(self.entries.len() as u64)
    }

    /// Name and value of the entry with this absolute index.
    #[must_use]
    pub fn get(&self, absolute: u64) -> Option<(&[u8], &[u8])> {
        let n = usize::try_from(absolute.checked_sub(self.oldest())?).ok()?;
        let e = self.entries.get(n)?;
        let at = usize::try_from(e.at.checked_sub(self.origin)?).ok()?;
        let line = self.bytes.get(at..at.checked_add(e.len())?)?;
        line.split_at_checked(e.name as usize)
    }

    /// Changes the capacity, evicting what does not fit any more.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.evict_to(capacity);
        self.compact();
    }

    /// How many of the oldest entries an insertion of this many bytes would evict; `None`: it can never fit.
    #[must_use]
    pub fn evictions_for(&self, name: usize, value: usize) -> Option<usize> {
        let needed = entry_size(name, value).filter(|s| *s <= self.capacity)?;
        let mut free = self.capacity.saturating_sub(self.size);
        let mut n = 0;
        for e in &self.entries {
            if free >= needed {
                break;
            }
            free = free.saturating_add(e.len()).saturating_add(ENTRY_OVERHEAD);
            n += 1;
        }
        Some(n)
    }

    /// Adds an entry; the oldest ones make room (RFC 9204 section 3.2.2).
    pub fn insert(&mut self, name: &[u8], value: &[u8]) -> Result<u64, Refused> {
        let needed = entry_size(name.len(), value.len()).filter(|s| *s <= self.capacity).ok_or(Refused)?;
        let (Ok(n), Ok(v)) = (u32::try_from(name.len()), u32::try_from(value.len())) else {
            return Err(Refused);
        };
        self.evict_to(self.capacity.saturating_sub(needed));
        self.compact();
        let at = self.origin.saturating_add(self.bytes.len() as u64);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_back(Entry { at, name: n, value: v });
        self.size = self.size.saturating_add(needed);
        let index = self.inserted;
        self.inserted = self.inserted.saturating_add(1);
        Ok(index)
    }

    fn evict_to(&mut self, target: usize) {
        while self.size > target {
            let Some(e) = self.entries.pop_front() else { break };
            self.size = self.size.saturating_sub(e.len()).saturating_sub(ENTRY_OVERHEAD);
        }
    }

    /// Moves the live bytes to the front once as many dead ones lie before them: constant cost per byte.
    fn compact(&mut self) {
        let end = self.origin.saturating_add(self.bytes.len() as u64);
        let live_from = self.entries.front().map_or(end, |e| e.at);
        let dead = usize::try_from(live_from.saturating_sub(self.origin)).unwrap_or(0).min(self.bytes.len());
        if dead > 0 && dead >= self.bytes.len() / 2 {
            self.bytes.drain(..dead);
            self.origin = live_from;
        }
    }
}

fn entry_size(name: usize, value: usize) -> Option<usize> {
    name.checked_add(value)?.checked_add(ENTRY_OVERHEAD)
}
