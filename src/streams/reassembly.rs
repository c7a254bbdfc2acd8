//! Puts received stream bytes in order (RFC 9000 section 2.2).
//!
//! Bytes are copied once, straight to their place in a slab; the datagram can be reused at once. Data in order
//! touches no search structure and allocates nothing. What arrives early goes to its place as well and is
//! remembered as a range; the flow-control window bounds its bytes, `MAX_FRAGMENTS` the number of ranges (a peer
//! that sends single bytes at odd offsets would otherwise make us keep more bookkeeping than data).
//! Invariant: everything below `ready` has arrived; `ahead` lies strictly above it; slabs are only written at or
//! above `ready` and only shared below it.

use super::pool::{LARGE, MEDIUM, SHORT, SMALL, SlabPool};
use crate::base::span::Span;
use crate::collections::{Chunk, RangeSet, ShortQueue, Slab};

/// Separate ranges that one stream may have waiting. Thirty percent random loss over ten thousand packets in flight
/// leaves about two thousand; more than twice that is an attack (tiny-fragment reassembly).
pub const MAX_FRAGMENTS: usize = 4096;

/// The peer's data is in more pieces than we are willing to track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyFragments;

/// A stretch of the stream and the memory for it, absent while nothing of it has arrived.
#[derive(Debug)]
pub(super) struct Segment {
    start: u64,
    capacity: usize,
    slab: Option<Slab>,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.capacity as u64
    }
}

/// Received bytes of one stream or one CRYPTO level.
#[derive(Debug, Default)]
pub struct Reassembly {
    /// Adjacent, ascending; the first one holds `read` unless all is read.
    segments: ShortQueue<Segment>,
    /// The application has taken everything below.
    read: u64,
    /// Everything below has arrived.
    ready: u64,
    /// What has arrived above `ready`.
    ahead: RangeSet,
    /// How often a segment was filled: busy streams get larger ones.
    growth: u8,
}

impl Reassembly {
    /// End of the bytes that arrived without a gap.
    #[must_use]
    pub const fn ready(&self) -> u64 {
        self.ready
    }

    /// Position of the reader.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.read
    }

    /// Bytes that can be read now.
    #[must_use]
    pub const fn available(&self) -> u64 {
        self.ready - self.read
    }

    /// Ranges waiting for a gap to be filled.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.ahead.len()
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.segments.iter().filter(|s| s.slab.is_some()).map(|s| s.capacity).sum()
    }

    /// Takes in `data` at `offset`; true if more can be read than before. The caller has checked flow control and
    /// that `offset + data.len()` is at most 2^62 - 1.
    ///
    /// # Errors
    /// Too many gaps; the caller closes the connection.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-2.2
    //# Endpoints MUST be able to deliver stream data to an application as an ordered byte stream.
    pub fn insert(&mut self, offset: u64, data: &[u8], pool: &mut SlabPool) -> Result<bool, TooManyFragments> {
        let end = offset.saturating_add(data.len() as u64);
        // Never write where a reader may already look: what has arrived is skipped, even if it differs.
        let start = offset.max(self.ready);
        if start >= end {
            return Ok(false);
        }
        let skip = usize::try_from(start - offset).unwrap_or(usize::MAX);
        let fresh = data.get(skip..).unwrap_or(&[]);
        self.place(start, fresh, pool);
        if start > self.ready {
            self.ahead.insert(start..end);
            return if self.ahead.len() > MAX_FRAGMENTS { Err(TooManyFragments) } else { Ok(false) };
        }
        self.ready = end;
        while let Some(next) = self.ahead.first().filter(|next| next.start <= self.ready) {
            self.ready = self.ready.max(next.end);
            self.ahead.pop_min();
        }
        Ok(true)
    }

    /// Where the first segments are described.
    pub(super) fn parts(&self, name: &mut impl FnMut(Span)) {
        name(self.segments.span());
    }

    fn segment_size(&self) -> usize {
        match self.growth {
            0 => SHORT,
            1 => SMALL,
            2 => MEDIUM,
            _ => LARGE,
        }
    }

    /// Copies `data` to where it belongs.
    fn place(&mut self, start: u64, mut data: &[u8], pool: &mut SlabPool) {
        let mut at = start;
        let mut index = self.segment_of(at);
        while !data.is_empty() {
            let Some(segment) = self.segments.get_mut(index) else {
                let start = self.segments.back().map_or(self.ready, Segment::end);
                if !self.segments.is_empty() {
                    self.growth = self.growth.saturating_add(1);
                }
                let capacity = self.segment_size();
                pool.push_segment(&mut self.segments, Segment { start, capacity, slab: None });
                continue;
            };
            let from = usize::try_from(at.saturating_sub(segment.start)).unwrap_or(usize::MAX);
            if from >= segment.capacity {
                index += 1;
                continue;
            }
            let n = data.len().min(segment.capacity - from);
            let (now, rest) = data.split_at(n);
            segment.slab.get_or_insert_with(|| pool.take(segment.capacity)).write_at(from, now);
            data = rest;
            at += n as u64;
            index += 1;
        }
    }

    /// Index of the segment that holds `at`, or of the last one before it.
    fn segment_of(&self, at: u64) -> usize {
        match self.segments.back() {
            Some(last) if at >= last.start => self.segments.len() - 1,
            _ => self.segments.partition_point(|s| s.end() <= at),
        }
    }

    /// Copies bytes in order into `out`; returns how many.
    pub fn read(&mut self, out: &mut [u8], pool: &mut SlabPool) -> usize {
        let mut done = 0;
        while let Some((from, n)) = self.next_run(out.len() - done) {
            if let (Some(dst), Some(slab)) = (out.get_mut(done..done + n), self.front_slab()) {
                slab.read_at(from, dst);
            }
            done += n;
            self.consume(n, pool);
        }
        done
    }

    /// Shares up to `max` bytes in order without copying; empty when there are none.
    pub fn read_chunk(&mut self, max: usize, pool: &mut SlabPool) -> Chunk {
        let Some((from, n)) = self.next_run(max) else { return Chunk::empty() };
        let Some(slab) = self.front_slab() else { return Chunk::empty() };
        let chunk = slab.share(from, from + n);
        self.consume(n, pool);
        chunk
    }

    fn front_slab(&mut self) -> Option<&mut Slab> {
        self.segments.front_mut()?.slab.as_mut()
    }

    /// Position in the first segment and length of the next readable piece of at most `max` bytes.
    fn next_run(&self, max: usize) -> Option<(usize, usize)> {
        let segment = self.segments.front()?;
        let until = self.ready.min(segment.end());
        let n = usize::try_from(until.saturating_sub(self.read)).unwrap_or(usize::MAX).min(max);
        let from = usize::try_from(self.read.saturating_sub(segment.start)).ok()?;
        (n > 0).then_some((from, n))
    }

    /// Moves the reader on and lets go of memory that is done with.
    fn consume(&mut self, n: usize, pool: &mut SlabPool) {
        self.read += n as u64;
        let Some(front) = self.segments.front_mut() else { return };
        if self.read >= front.end() {
            self.growth = self.growth.saturating_add(1);
            if let Some(slab) = self.segments.pop_front().and_then(|s| s.slab) {
                pool.give(slab);
            }
        } else if self.read == self.ready && self.ahead.is_empty() {
            // Drained in the middle of a segment: an idle stream keeps no memory. If the application still holds
            // chunks of the slab, its free rest goes on being used instead.
            if front.slab.as_mut().is_none_or(Slab::reset) {
                if let Some(slab) = front.slab.take() {
                    pool.put_by(slab);
                }
                self.give_all(pool);
            }
        }
        if self.segments.is_empty() {
            pool.take_segments(&mut self.segments);
            // An idle stream keeps no longer list than others would take.
            drop(self.segments.take_rest());
        }
    }

    fn give_all(&mut self, pool: &mut SlabPool) {
        while let Some(segment) = self.segments.pop_front() {
            if let Some(slab) = segment.slab {
                pool.give(slab);
            }
        }
    }

    /// The stream is over: its buffers go back, also those that the application still reads.
    pub fn recycle(&mut self, pool: &mut SlabPool) {
        self.give_all(pool);
        pool.take_segments(&mut self.segments);
    }

    /// Forgets all bytes (reset or stopped stream): nothing can be read any more.
    pub fn discard(&mut self, pool: &mut SlabPool) {
        self.give_all(pool);
        self.segments = ShortQueue::default();
        self.ahead.shrink();
        self.read = self.ready;
    }
}

#[cfg(test)]
mod tests;
