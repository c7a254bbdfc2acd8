//! Recycled buffers of one connection, so that a bulk transfer allocates nothing per packet.
//!
//! Streams take slabs when bytes arrive or are written and give them back when the bytes are gone; an idle stream
//! holds none. Three sizes let a stream start at 4 KiB and reach 64 KiB when it proves busy. Single-threaded: the
//! connection's lock covers it. Slabs that the application still reads (shared chunks) wait until it is done.
//! Invariant: at most `KEEP_*` slabs of each size and `KEEP_LENT` shared ones wait here.
use std::collections::VecDeque;

use crate::collections::{Chunk, Slab};

/// A stream's first buffer.
pub const SMALL: usize = 4 << 10;
/// The second, and the size in which small writes are merged.
pub const MEDIUM: usize = 16 << 10;
/// Buffers of a busy stream.
pub const LARGE: usize = 64 << 10;

const KEEP_SMALL: usize = 16;
const KEEP_MEDIUM: usize = 16;
/// One megabyte: what a fast sender's send buffer turns over.
const KEEP_LARGE: usize = 16;

/// Slabs that were full when the application still had chunks of them.
const KEEP_LENT: usize = 8;

/// Free slabs by size.
#[derive(Debug, Default)]
pub struct SlabPool {
    small: Vec<Slab>,
    medium: Vec<Slab>,
    large: Vec<Slab>,
    /// Given back while chunks of them are alive; oldest first.
    lent: VecDeque<Slab>,
}

impl SlabPool {
    fn shelf(&mut self, capacity: usize) -> Option<(&mut Vec<Slab>, usize)> {
        match capacity {
            SMALL => Some((&mut self.small, KEEP_SMALL)),
            MEDIUM => Some((&mut self.medium, KEEP_MEDIUM)),
            LARGE => Some((&mut self.large, KEEP_LARGE)),
            _ => None,
        }
    }

    /// An empty slab of one of the three sizes.
    pub fn take(&mut self, capacity: usize) -> Slab {
        let free = self.shelf(capacity).and_then(|(shelf, _)| shelf.pop());
        free.or_else(|| self.take_lent(capacity)).unwrap_or_else(|| Slab::new(capacity))
    }

    /// A slab that the application has let go of in the meantime.
    fn take_lent(&mut self, capacity: usize) -> Option<Slab> {
        let at = self.lent.iter_mut().position(|slab| slab.capacity() == capacity && slab.reset())?;
        self.lent.remove(at)
    }

    /// Takes a slab back; if somebody still reads from it, it is used again when they are done.
    pub fn give(&mut self, mut slab: Slab) {
        if !slab.reset() {
            if self.lent.len() >= KEEP_LENT {
                self.lent.pop_front();
            }
            self.lent.push_back(slab);
        } else if let Some((shelf, keep)) = self.shelf(slab.capacity())
            && shelf.len() < keep
        {
            shelf.push(slab);
        }
    }

    /// Takes back what a chunk referred to, if it was the last reference to a slab.
    pub fn give_chunk(&mut self, chunk: Chunk) {
        if let Some(slab) = chunk.into_slab() {
            self.give(slab);
        }
    }

    /// Frees everything.
    pub fn trim(&mut self) {
        *self = Self::default();
    }

    /// Frees all but a few of the smallest: the last stream has gone, the next may come soon.
    pub fn trim_to_small(&mut self) {
        self.small.truncate(2);
        self.medium = Vec::new();
        self.large = Vec::new();
        self.lent = VecDeque::new();
    }

    /// Bytes waiting here, those that the application still reads not counted.
    #[must_use]
    pub fn held(&self) -> usize {
        self.small.len() * SMALL + self.medium.len() * MEDIUM + self.large.len() * LARGE
    }
}
