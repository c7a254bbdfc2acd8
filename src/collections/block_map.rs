//! Records keyed by ascending numbers (sent packets by packet number) in recycled blocks of up to 64 slots.
//!
//! A bitmap per block says which slots are alive; a block without a live slot leaves the queue wherever it stands,
//! so one stuck record over a million numbers costs one block. Each record has a slice of tokens, stored in its
//! block, so nothing is allocated per record. Invariant: blocks are in ascending order and none is empty.
use crate::base::span::Span;
use core::ops::RangeInclusive;
use std::collections::VecDeque;

/// Most slots of a block.
const SLOTS: u64 = 64;
/// Slots that the first block begins with: a handshake sends few packets per space.
const FIRST_SLOTS: usize = 8;
/// Empty blocks kept for reuse besides as many as are in use, until `release`: on a short path every window is
/// acknowledged at once and filled anew.
const SPARE: usize = 32;

/// What to do with a visited record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visit {
    Keep,
    Remove,
    /// Keep this one and end the walk.
    Stop,
}

#[derive(Clone, Copy, Default)]
struct Slot<R> {
    record: R,
    tokens_at: u32,
    tokens_len: u16,
}

struct Block<R, T> {
    present: u64,
    /// As many as were needed so far.
    slots: Vec<Slot<R>>,
    tokens: Vec<T>,
}

impl<R: Copy + Default, T: Copy> Block<R, T> {
    fn new(slots: usize, tokens: usize) -> Self {
        Self { present: 0, slots: Vec::with_capacity(slots), tokens: Vec::with_capacity(tokens) }
    }

    fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<R>>() + self.tokens.capacity() * size_of::<T>()
    }
}

/// The map. Empty and released, it holds no memory.
pub struct BlockMap<R, T> {
    blocks: VecDeque<(u64, Block<R, T>)>,
    spare: Vec<Block<R, T>>,
    len: usize,
}

impl<R: Copy + Default, T: Copy> Default for BlockMap<R, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Copy + Default, T: Copy> BlockMap<R, T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { blocks: VecDeque::new(), spare: Vec::new(), len: 0 }
    }

    /// Live records.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a record with its tokens. `key` must be above every key inserted since the map was last empty;
    /// false (and nothing done) when it is not above the last live block's newest slot.
    pub fn insert(&mut self, key: u64, record: R, tokens: &[T]) -> bool {
        let base = key & !(SLOTS - 1);
        match self.blocks.back() {
            Some((last, _)) if *last > base => return false,
            Some((last, block)) if *last == base && block.present >> (key - base) != 0 => return false,
            Some((last, _)) if *last == base => {}
            _ => {
                let mut block = self.spare.pop().unwrap_or_else(|| {
                    // A second block means a transfer: all slots and two tokens per packet. The first one grows as needed.
                    let first = self.blocks.is_empty();
                    if first { Block::new(FIRST_SLOTS, 0) } else { Block::new(SLOTS as usize, SLOTS as usize * 2) }
                });
                block.present = 0;
                block.tokens.clear();
                self.blocks.push_back((base, block));
            }
        }
        let Some((_, block)) = self.blocks.back_mut() else { return false };
        let tokens = tokens.get(..usize::from(u16::MAX).min(tokens.len())).unwrap_or(tokens);
        let tokens_at = u32::try_from(block.tokens.len()).unwrap_or(u32::MAX);
        block.tokens.extend_from_slice(tokens);
        let index = (key - base) as usize;
        if block.slots.len() <= index {
            block.slots.resize(index + 1, Slot::default());
        }
        if let Some(slot) = block.slots.get_mut(index) {
            *slot = Slot { record, tokens_at, tokens_len: tokens.len() as u16 };
            block.present |= 1 << (key - base);
            self.len += 1;
        }
        true
    }

    /// Visits live records with keys in `keys`, ascending. Work is proportional to the blocks that hold a live
    /// record of the range, plus one search.
    pub fn visit(&mut self, keys: RangeInclusive<u64>, mut f: impl FnMut(u64, &mut R, &[T]) -> Visit) {
        let (low, high) = (*keys.start(), *keys.end());
        if low > high {
            return;
        }
        let mut index = self.first_block(low);
        while let Some((base, block)) = self.blocks.get_mut(index) {
            let base = *base;
            if base > high {
                return;
            }
            let mut alive = block.present & mask(base, low, high);
            let mut stop = false;
            while alive != 0 {
                let bit = alive.trailing_zeros();
                alive &= alive - 1;
                let Some(slot) = block.slots.get_mut(bit as usize) else { break };
                let at = slot.tokens_at as usize;
                let tokens = block.tokens.get(at..at + usize::from(slot.tokens_len)).unwrap_or(&[]);
                match f(base + u64::from(bit), &mut slot.record, tokens) {
                    Visit::Keep => {}
                    Visit::Remove => {
                        block.present &= !(1 << bit);
                        self.len -= 1;
                    }
                    Visit::Stop => {
                        stop = true;
                        break;
                    }
                }
            }
            if block.present == 0 {
                self.recycle(index);
            } else {
                index += 1;
            }
            if stop {
                return;
            }
        }
    }

    /// Where the oldest block lies.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        let (blocks, _) = self.blocks.as_slices();
        name(Span::front(blocks));
        if let Some((_, block)) = blocks.first() {
            name(Span::of(&*block.slots));
            name(Span::of(&*block.tokens));
        }
    }

    /// Live records with their keys, ascending.
    #[cfg(feature = "sim")]
    pub fn iter(&self) -> impl Iterator<Item = (u64, &R)> {
        self.blocks.iter().flat_map(|(base, block)| {
            let alive = |(i, _): &(usize, &Slot<R>)| block.present & (1 << i) != 0;
            block.slots.iter().enumerate().filter(alive).map(move |(i, slot)| (base + i as u64, &slot.record))
        })
    }

    /// Key of the oldest live record.
    #[must_use]
    pub fn first_key(&self) -> Option<u64> {
        self.blocks.front().map(|(base, block)| base + u64::from(block.present.trailing_zeros()))
    }

    /// Bytes of heap memory held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|(_, b)| b).chain(&self.spare).map(Block::heap_bytes).sum();
        blocks
            + self.blocks.capacity() * size_of::<(u64, Block<R, T>)>()
            + self.spare.capacity() * size_of::<Block<R, T>>()
    }

    /// Index of the first block that may hold a key at or above `low`.
    fn first_block(&self, low: u64) -> usize {
        let base = low & !(SLOTS - 1);
        if let Some((front, _)) = self.blocks.front() {
            if base <= *front {
                return 0;
            }
            // Without holes in the queue the position follows from the number.
            let guess = usize::try_from((base - front) / SLOTS).unwrap_or(usize::MAX);
            if self.blocks.get(guess).is_some_and(|(b, _)| *b == base) {
                return guess;
            }
        }
        self.blocks.partition_point(|(b, _)| *b < base)
    }

    fn recycle(&mut self, index: usize) {
        if let Some((_, block)) = self.blocks.remove(index)
            && self.spare.len() < self.blocks.len() + SPARE
        {
            self.spare.push(block);
        }
    }

    /// Gives spare memory back; the map is quiet.
    pub fn release(&mut self) {
        self.spare = Vec::new();
        self.blocks.shrink_to_fit();
    }

    /// Whether [`Self::release`] would give something back.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        !self.spare.is_empty()
    }
}

/// Bits of the block at `base` whose keys are in `low..=high`; the block must not lie above `high`.
fn mask(base: u64, low: u64, high: u64) -> u64 {
    let from = low.saturating_sub(base);
    if from >= SLOTS {
        return 0;
    }
    let to = high.saturating_sub(base).min(SLOTS - 1);
    (u64::MAX << from) & (u64::MAX >> (SLOTS - 1 - to))
}

#[cfg(test)]
mod tests;
