//! Bytes of one stream from the application's write to the peer's acknowledgement (RFC 9000 sections 2.2, 13.3).
//!
//! A deque of chunks in stream order. Small writes are merged into slabs, large chunks stay where they are and are
//! copied only into the packet. Acknowledged chunks go early, also in the middle, so that lent memory returns to
//! its owner as soon as possible. Two cursors remember the chunk of the last new and the last repeated byte, so
//! that the next frame finds its data without a search.
//! Invariants: `acked_to <= next <= end`; `acked` lies above `acked_to`; `lost` holds sent, unacknowledged ranges
//! only; chunks cover `acked_to..end` (a hole in place of a chunk means that all of it is acknowledged).
use core::ops::Range;

use super::pool::{LARGE, MEDIUM, SHORT, SMALL, SlabPool, TINY};
use crate::base::span::Span;
use crate::collections::{Chunk, RangeSet, Revoked, ShortQueue, Slab};

/// Shorter chunks are merged like plain writes: a piece's bookkeeping and its release cost more than the copy.
pub const ZERO_COPY_MIN: usize = 2048;

/// Consecutive bytes with one owner.
#[derive(Debug)]
pub(super) struct Piece {
    start: u64,
    len: usize,
    /// `None` once all of it is acknowledged.
    chunk: Option<Chunk>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.len as u64
    }
}

/// Send side storage of one stream.
#[derive(Debug, Default)]
pub struct SendBuffer {
    pieces: ShortQueue<Piece>,
    /// The slab that the last piece is a view of, with free room behind it.
    tail: Option<Slab>,
    /// Free room starts here.
    tail_used: usize,
    acked_to: u64,
    next: u64,
    end: u64,
    acked: RangeSet,
    lost: RangeSet,
    /// Piece of the last new byte that was sent.
    cursor_new: usize,
    /// Piece of the last byte that was sent again.
    cursor_lost: usize,
}

impl SendBuffer {
    /// Everything written so far ends here.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Everything below was sent at least once.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.next
    }

    /// Bytes not yet acknowledged in order: what counts against send buffer limits.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.end - self.acked_to
    }

    /// Bytes never sent.
    #[must_use]
    pub const fn unsent(&self) -> u64 {
        self.end - self.next
    }

    /// Something must be sent again.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Everything written is acknowledged.
    #[must_use]
    pub const fn all_acked(&self) -> bool {
        self.acked_to == self.end
    }

    /// Copies `data` to the end.
    pub fn write(&mut self, data: &[u8], pool: &mut SlabPool) {
        self.put(data, usize::MAX, pool);
    }

    /// Copies `data` to the end; `more` bytes will follow, and then the end.
    pub fn write_expecting(&mut self, data: &[u8], more: usize, pool: &mut SlabPool) {
        self.put(data, more, pool);
    }

    fn put(&mut self, mut data: &[u8], more: usize, pool: &mut SlabPool) {
        while !data.is_empty() {
            let room = self.tail.as_ref().map_or(0, |t| t.capacity() - self.tail_used);
            if room == 0 {
                // The first bytes of a stream are often all it ever sends.
                let size = match data.len() {
                    n if n.saturating_add(more) <= TINY => TINY,
                    n if n.saturating_add(more) <= SHORT => SHORT,
                    n if n >= MEDIUM => LARGE,
                    n if n > SMALL || self.end > 0 => MEDIUM,
                    _ => SMALL,
                };
                self.retire_tail(pool);
                self.tail = Some(pool.take(size));
                continue;
            }
            let (now, rest) = data.split_at(room.min(data.len()));
            self.append_to_tail(now, pool);
            data = rest;
        }
    }

    /// `data` fits into the tail slab.
    fn append_to_tail(&mut self, data: &[u8], pool: &mut SlabPool) {
        let Some(tail) = self.tail.as_mut() else { return };
        let n = data.len();
        tail.write_at(self.tail_used, data);
        let grown = self.pieces.back_mut().is_some_and(|last| {
            let grown = last.chunk.as_mut().is_some_and(|chunk| tail.extend(chunk, n));
            if grown {
                last.len += n;
            }
            grown
        });
        if !grown {
            let chunk = tail.share(self.tail_used, self.tail_used + n);
            pool.push_piece(&mut self.pieces, Piece { start: self.end, len: n, chunk: Some(chunk) });
        }
        self.tail_used += n;
        self.end += n as u64;
    }

    fn retire_tail(&mut self, pool: &mut SlabPool) {
        if let Some(mut slab) = self.tail.take()
            && slab.reset()
        {
            // Otherwise pieces still refer to it: the last of them gives it back.
            pool.put_by(slab);
        }
        self.tail_used = 0;
    }

    /// Appends a chunk: shared if it is long, merged if it is short.
    ///
    /// # Errors
    /// A short chunk was already revoked; nothing was taken.
    pub fn write_chunk(&mut self, chunk: Chunk, pool: &mut SlabPool) -> Result<(), Revoked> {
        let len = chunk.len();
        if len < ZERO_COPY_MIN {
            return chunk.with(|bytes| self.write(bytes, pool));
        }
        if chunk.is_revoked() {
            return Err(Revoked);
        }
        pool.push_piece(&mut self.pieces, Piece { start: self.end, len, chunk: Some(chunk) });
        self.end += len as u64;
        Ok(())
    }

    /// The next range to send: what was lost first, then new bytes up to `new_limit` (a stream offset).
    /// At most `max` bytes; `None` when there is nothing to send or credit is out.
    #[must_use]
    pub fn next_range(&self, max: usize, new_limit: u64) -> Option<Range<u64>> {
        if let Some(lost) = self.lost.first() {
            return Some(lost.start..lost.end.min(lost.start.saturating_add(max as u64)));
        }
        let end = self.end.min(new_limit).min(self.next.saturating_add(max as u64));
        (end > self.next).then_some(self.next..end)
    }

    /// Copies the bytes from `offset` on into a packet.
    ///
    /// # Errors
    /// The lender took the bytes back.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-2.2
    //# The data at a given offset MUST NOT change if it is sent multiple times; an endpoint MAY treat receipt of
    //# different data at the same offset within a stream as a connection error of type PROTOCOL_VIOLATION.
    pub fn copy_to(&mut self, offset: u64, dst: &mut [u8]) -> Result<(), Revoked> {
        let repeated = offset < self.next;
        let hint = if repeated { self.cursor_lost } else { self.cursor_new };
        let mut index = self.piece_of(offset, hint);
        let (mut at, mut done) = (offset, 0);
        while done < dst.len() {
            // A range to send always lies within pieces that are kept; if that were ever wrong, resetting the
            // stream (as for a revoked chunk) is better than stopping the process.
            let piece = self.pieces.get(index).ok_or(Revoked)?;
            let chunk = piece.chunk.as_ref().ok_or(Revoked)?;
            let from = usize::try_from(at.checked_sub(piece.start).ok_or(Revoked)?).map_err(|_| Revoked)?;
            let n = piece.len.saturating_sub(from).min(dst.len() - done);
            let out = dst.get_mut(done..done + n).filter(|out| !out.is_empty()).ok_or(Revoked)?;
            chunk.copy_to(from, out)?;
            done += n;
            at += n as u64;
            if done < dst.len() {
                index += 1;
            }
        }
        if repeated {
            self.cursor_lost = index;
        } else {
            self.cursor_new = index;
        }
        Ok(())
    }

    /// Where the first pieces are described.
    pub(super) fn parts(&self, name: &mut impl FnMut(Span)) {
        name(self.pieces.span());
    }

    /// Index of the piece that holds `offset`, tried at `hint` and behind it first.
    fn piece_of(&self, offset: u64, hint: usize) -> usize {
        for index in [hint, hint + 1] {
            if self.pieces.get(index).is_some_and(|p| p.start <= offset && offset < p.end()) {
                return index;
            }
        }
        self.pieces.partition_point(|p| p.end() <= offset)
    }

    /// `range` (from `next_range`, possibly shortened) has been put into a packet.
    pub fn on_sent(&mut self, range: Range<u64>) {
        if range.start >= self.next {
            self.next = self.next.max(range.end);
        } else {
            self.lost.remove(range);
        }
    }

    /// The peer has `range`; returns how many bytes left `held`.
    pub fn on_acked(&mut self, range: Range<u64>, pool: &mut SlabPool) -> u64 {
        let range = range.start.max(self.acked_to)..range.end.min(self.next);
        if range.is_empty() {
            return 0;
        }
        if !self.lost.is_empty() {
            self.lost.remove(range.clone());
        }
        if range.start > self.acked_to {
            self.acked.insert(range.clone());
            self.release_covered(range, pool);
            return 0;
        }
        let before = self.acked_to;
        self.acked_to = range.end;
        while let Some(next) = self.acked.first().filter(|next| next.start <= self.acked_to) {
            self.acked_to = self.acked_to.max(next.end);
            self.acked.pop_min();
        }
        self.release_front(pool);
        self.acked_to - before
    }

    /// Drops pieces that lie wholly below `acked_to`.
    fn release_front(&mut self, pool: &mut SlabPool) {
        while self.pieces.front().is_some_and(|p| p.end() <= self.acked_to) {
            let piece = self.pieces.pop_front();
            self.cursor_new = self.cursor_new.saturating_sub(1);
            self.cursor_lost = self.cursor_lost.saturating_sub(1);
            if let Some(chunk) = piece.and_then(|p| p.chunk) {
                pool.give_chunk(chunk);
            }
        }
        if self.pieces.is_empty() {
            // Nothing refers to the tail slab any more: an idle stream keeps no memory.
            self.retire_tail(pool);
            pool.take_pieces(&mut self.pieces);
        }
    }

    /// Drops the memory of pieces in the middle that are acknowledged as a whole.
    fn release_covered(&mut self, range: Range<u64>, pool: &mut SlabPool) {
        let mut index = self.piece_of(range.start, self.cursor_new);
        while let Some(piece) = self.pieces.get_mut(index).filter(|p| p.start < range.end) {
            if piece.chunk.is_some()
                && self.acked.covers(piece.start.max(self.acked_to)..piece.end())
                && let Some(chunk) = piece.chunk.take()
            {
                pool.give_chunk(chunk);
            }
            index += 1;
        }
    }

    /// Packets with `range` were lost: what is still unacknowledged of it will be sent again.
    pub fn on_lost(&mut self, range: Range<u64>) {
        let range = range.start.max(self.acked_to)..range.end.min(self.next);
        if range.is_empty() {
            return;
        }
        let Self { acked, lost, .. } = self;
        acked.gaps(range, |gap| {
            lost.insert(gap);
        });
    }

    /// Everything below was acknowledged.
    #[must_use]
    pub const fn acked_to(&self) -> u64 {
        self.acked_to
    }

    /// Bytes from `offset` on need not arrive any more: those never sent are forgotten, those lost are not repeated.
    /// Nothing may be written afterwards. Returns how many bytes left `held`.
    pub fn give_up_from(&mut self, offset: u64, pool: &mut SlabPool) -> u64 {
        let end = offset.max(self.next);
        let freed = self.end.saturating_sub(end);
        while self.pieces.back().is_some_and(|p| p.start >= end) {
            if let Some(chunk) = self.pieces.pop_back().and_then(|p| p.chunk) {
                pool.give_chunk(chunk);
            }
        }
        if let Some(last) = self.pieces.back_mut() {
            last.len = last.len.min(usize::try_from(end.saturating_sub(last.start)).unwrap_or(usize::MAX));
        }
        self.end = self.end.min(end);
        self.lost.remove(offset..u64::MAX);
        if self.pieces.is_empty() {
            self.retire_tail(pool);
        }
        freed
    }

    /// 0-RTT was rejected (RFC 9001 section 4.6.2): nothing was ever sent (and so nothing acknowledged).
    pub fn rewind(&mut self) {
        self.next = self.acked_to;
        self.lost.clear();
        (self.cursor_new, self.cursor_lost) = (0, 0);
    }

    /// Forgets all bytes (the stream was reset); returns how many were held.
    pub fn discard(&mut self, pool: &mut SlabPool) -> u64 {
        let held = self.held();
        let mut pieces = core::mem::take(&mut self.pieces);
        while let Some(piece) = pieces.pop_front() {
            if let Some(chunk) = piece.chunk {
                pool.give_chunk(chunk);
            }
        }
        self.retire_tail(pool);
        self.acked.shrink();
        self.lost.shrink();
        self.acked_to = self.next;
        self.end = self.next;
        held
    }
}

#[cfg(test)]
mod tests;
