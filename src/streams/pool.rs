//! Recycled buffers, so that a bulk transfer allocates nothing per packet.
//!
//! Streams take slabs when bytes arrive or are written and give them back when the bytes are gone; an idle stream
//! holds none. A stream starts small and reaches 64 KiB when it proves busy; a request's few bytes have a size of their
//! own, since a hundred cold requests at once pay for every page that they touch. Single-threaded: the
//! connection's lock covers it. Slabs that the application still reads (shared chunks) wait until it is done.
//! The larger ones belong to the worker (`SharedSlabs`): with many connections the buffer that one has just emptied,
//! still in the cache, serves the next, and none keeps what its largest burst needed.
//! Invariant: at most `KEEP_*` slabs of each size wait here and at a worker, and `KEEP_LENT` shared ones here.
use std::collections::VecDeque;
use std::sync::Arc;

use super::reassembly::Segment;
use super::send_buffer::Piece;
use crate::base::sync::Mutex;
use crate::collections::{Chunk, Rest, ShortQueue, Slab};

/// A whole message of a few bytes.
pub const TINY: usize = 256;
/// A message of a kibibyte with what goes before it; the first that a stream receives into.
pub const SHORT: usize = 1280;
/// A stream's first buffer when it is not known how much it will send, and its second to receive into.
pub const SMALL: usize = 4 << 10;
/// The next, and the size in which small writes are merged.
pub const MEDIUM: usize = 16 << 10;
/// Buffers of a busy stream.
pub const LARGE: usize = 64 << 10;

/// A hundred requests at a time, as browsers and proxies make them: half a megabyte while streams are open.
const KEEP_SMALL: usize = 128;
const KEEP_MEDIUM: usize = 16;
/// One megabyte: what a fast sender's send buffer turns over.
const KEEP_LARGE: usize = 16;

/// Of each size at a worker, five megabytes in all: as many connections as one round of received bytes may belong to.
const KEEP_SHARED: usize = 64;

/// Slabs that were full when the application still had chunks of them.
const KEEP_LENT: usize = 8;
/// Empty lists: a stream of more than one piece needs one for its direction.
const KEEP_LISTS: usize = 128;
/// A longer list belongs to a busy stream and stays there.
const LONG_LIST: usize = 64;

/// Free slabs of the larger sizes that all connections of a worker share, the last used first. Its lock is held for a
/// push or a pop.
#[derive(Default)]
pub struct SharedSlabs {
    free: Mutex<Free>,
}

impl std::fmt::Debug for SharedSlabs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSlabs")
    }
}

#[derive(Debug, Default)]
struct Free {
    medium: Vec<Slab>,
    large: Vec<Slab>,
}

impl Free {
    fn shelf(&mut self, capacity: usize) -> Option<&mut Vec<Slab>> {
        match capacity {
            MEDIUM => Some(&mut self.medium),
            LARGE => Some(&mut self.large),
            _ => None,
        }
    }
}

impl SharedSlabs {
    fn take(&self, capacity: usize) -> Option<Slab> {
        self.free.lock().shelf(capacity)?.pop()
    }

    /// `slab` is open for writing; freed when there are enough.
    fn give(&self, slab: Slab) {
        let capacity = slab.capacity();
        let mut free = self.free.lock();
        if let Some(shelf) = free.shelf(capacity)
            && shelf.len() < KEEP_SHARED
        {
            shelf.push(slab);
        }
    }
}

/// Free slabs by size, and the empty lists that referred to them.
#[derive(Debug, Default)]
pub struct SlabPool {
    /// Where the larger slabs wait instead of here; nowhere without a worker.
    shared: Option<Arc<SharedSlabs>>,
    pieces: Vec<Rest<Piece>>,
    segments: Vec<Rest<Segment>>,
    tiny: Vec<Slab>,
    short: Vec<Slab>,
    small: Vec<Slab>,
    medium: Vec<Slab>,
    large: Vec<Slab>,
    /// Given back while chunks of them are alive; oldest first.
    lent: VecDeque<Slab>,
}

impl SlabPool {
    fn shelf(&mut self, capacity: usize) -> Option<(&mut Vec<Slab>, usize)> {
        match capacity {
            TINY => Some((&mut self.tiny, KEEP_SMALL)),
            SHORT => Some((&mut self.short, KEEP_SMALL)),
            SMALL => Some((&mut self.small, KEEP_SMALL)),
            MEDIUM => Some((&mut self.medium, KEEP_MEDIUM)),
            LARGE => Some((&mut self.large, KEEP_LARGE)),
            _ => None,
        }
    }

    /// An empty slab of one of the sizes above.
    pub fn take(&mut self, capacity: usize) -> Slab {
        let free = match self.shared_for(capacity) {
            Some(shared) => shared.take(capacity),
            None => self.shelf(capacity).and_then(|(shelf, _)| shelf.pop()),
        };
        free.or_else(|| self.take_lent(capacity)).unwrap_or_else(|| Slab::new(capacity))
    }

    /// From now on the larger slabs are the worker's.
    pub fn share(&mut self, shared: Arc<SharedSlabs>) {
        self.shared = Some(shared);
    }

    fn shared_for(&self, capacity: usize) -> Option<&SharedSlabs> {
        self.shared.as_deref().filter(|_| capacity > SMALL)
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
        } else {
            self.put_by(slab);
        }
    }

    /// Keeps a slab that nobody refers to.
    pub(super) fn put_by(&mut self, slab: Slab) {
        if let Some(shared) = self.shared_for(slab.capacity()) {
            shared.give(slab);
        } else if let Some((shelf, keep)) = self.shelf(slab.capacity())
            && shelf.len() < keep
        {
            shelf.push(slab);
        }
    }

    /// Puts `piece` at the end; a list that has no memory yet and needs some gets that of one that is done with.
    pub(super) fn push_piece(&mut self, list: &mut ShortQueue<Piece>, piece: Piece) {
        lend(&mut self.pieces, list);
        list.push_back(piece);
    }

    /// Takes the memory of an empty list back.
    pub(super) fn take_pieces(&mut self, list: &mut ShortQueue<Piece>) {
        take_back(&mut self.pieces, list);
    }

    /// As [`Self::push_piece`].
    pub(super) fn push_segment(&mut self, list: &mut ShortQueue<Segment>, segment: Segment) {
        lend(&mut self.segments, list);
        list.push_back(segment);
    }

    /// As [`Self::take_pieces`].
    pub(super) fn take_segments(&mut self, list: &mut ShortQueue<Segment>) {
        take_back(&mut self.segments, list);
    }

    /// Takes back what a chunk referred to, if it was the last reference to a slab.
    pub fn give_chunk(&mut self, chunk: Chunk) {
        if let Some(slab) = chunk.into_slab() {
            self.put_by(slab);
        }
    }

    /// Frees everything that is the connection's own.
    pub fn trim(&mut self) {
        *self = Self { shared: self.shared.take(), ..Self::default() };
    }

    /// Frees all but a few of the smallest: the last stream has gone, the next may come soon.
    pub fn trim_to_small(&mut self) {
        self.tiny.truncate(2);
        self.short.truncate(2);
        self.small.truncate(1);
        self.medium = Vec::new();
        self.large = Vec::new();
        self.lent = VecDeque::new();
        self.pieces.truncate(2);
        self.segments.truncate(2);
    }

    /// Bytes waiting here, those that the application still reads not counted.
    #[must_use]
    pub fn held(&self) -> usize {
        let few = self.tiny.len() * TINY + self.short.len() * SHORT;
        few + self.small.len() * SMALL + self.medium.len() * MEDIUM + self.large.len() * LARGE
    }
}

fn lend<T>(shelf: &mut Vec<Rest<T>>, list: &mut ShortQueue<T>) {
    if list.wants_rest()
        && let Some(spare) = shelf.pop()
    {
        list.lend_rest(spare);
    }
}

fn take_back<T>(shelf: &mut Vec<Rest<T>>, list: &mut ShortQueue<T>) {
    let Some(rest) = list.take_rest() else { return };
    if rest.capacity() > LONG_LIST {
        list.lend_rest(rest);
    } else if shelf.len() < KEEP_LISTS {
        shelf.push(rest);
    }
}
