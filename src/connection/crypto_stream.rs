//! The CRYPTO stream of one encryption level, both directions (RFC 9000 sections 7.5 and 19.6).
//!
//! Sending keeps the bytes until they are acknowledged and knows which ranges wait for a packet.
//! Receiving puts frames in order within a bound. No flow control: the bounds here stand in for it.
//! Invariant: bytes are handed out in order, each exactly once.
use std::collections::VecDeque;

use crate::base::{TransportError, codes::transport};
use crate::collections::RangeSet;

/// Bytes beyond the read position that may wait (RFC 9000 section 7.5 asks for 4096 at least);
/// a long certificate chain fits, an attacker's gaps do not.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.5
//# Implementations MUST support buffering at least 4096 bytes of data received in out-of-order CRYPTO frames.
const RECEIVE_LIMIT: u64 = 64 * 1024;

/// Separate pieces that may wait: a gap behind every byte of the 4096 that section 7.5 asks for. Bounds the cost of
/// one-byte CRYPTO frames; bytes that touch a piece are added to it.
const PIECES_LIMIT: usize = 2048;

/// Bytes are put in front of a piece only up to this length: each time moves the whole piece.
const MAX_MOVED: usize = 4096;

/// Sending half.
#[derive(Default)]
pub(super) struct CryptoSend {
    /// Bytes from `base` on.
    bytes: VecDeque<u8>,
    base: u64,
    /// Acknowledged ranges above `base`.
    acked: RangeSet,
    /// Ranges to be written into packets.
    pending: RangeSet,
}

impl CryptoSend {
    /// One past the last byte that TLS gave us.
    pub(super) fn end(&self) -> u64 {
        self.base.saturating_add(self.bytes.len() as u64)
    }

    /// More handshake bytes from TLS.
    pub(super) fn push(&mut self, data: Vec<u8>) {
        let start = self.end();
        if self.bytes.is_empty() {
            self.bytes = data.into();
        } else {
            self.bytes.extend(data);
        }
        if self.end() > start {
            self.pending.insert(start..self.end());
        }
    }

    pub(super) fn wants_to_send(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next piece to send, at most `room` bytes, and its offset.
    pub(super) fn take(&mut self, room: usize) -> Option<(u64, &[u8])> {
        let range = self.pending.iter().next()?;
        let start = range.start.max(self.base);
        let end = range.end.min(start.saturating_add(room as u64));
        if end <= start {
            self.pending.remove(range.start..range.end.min(self.base));
            return None;
        }
        let skip = usize::try_from(start - self.base).unwrap_or(usize::MAX);
        let count = usize::try_from(end - start).unwrap_or(0);
        self.pending.remove(range.start..end);
        let piece = self.bytes.make_contiguous().get(skip..skip.saturating_add(count))?;
        Some((start, piece))
    }

    /// Everything that the peer has not acknowledged, if that is at most `max` bytes and not nothing; its offset.
    pub(super) fn unacknowledged(&self, max: usize) -> Option<(u64, Vec<u8>)> {
        let some = !self.bytes.is_empty() && self.bytes.len() <= max;
        some.then(|| (self.base, self.bytes.iter().copied().collect()))
    }

    pub(super) fn on_acked(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.end());
        let start = offset.max(self.base);
        if start >= end {
            return;
        }
        self.acked.insert(start..end);
        self.pending.remove(start..end);
        loop {
            let Some(first) = self.acked.iter().next().filter(|r| r.start <= self.base) else { break };
            let count = usize::try_from(first.end.saturating_sub(self.base)).unwrap_or(0).min(self.bytes.len());
            self.bytes.drain(..count);
            self.base = self.base.max(first.end);
            self.acked.remove(first);
        }
        if self.bytes.is_empty() {
            // Nothing is under way: the room goes too, a connection keeps its streams for life.
            *self = Self { base: self.base, ..Self::default() };
        }
    }

    pub(super) fn on_lost(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.end());
        let start = offset.max(self.base);
        if start >= end {
            return;
        }
        self.pending.insert(start..end);
        for done in self.acked.iter() {
            self.pending.remove(done);
        }
    }
}

/// Receiving half.
#[derive(Default)]
pub(super) struct CryptoReceive {
    /// Everything below was handed to TLS.
    next: u64,
    /// Waiting pieces, sorted, not overlapping.
    pieces: VecDeque<(u64, Vec<u8>)>,
}

impl CryptoReceive {
    /// One past the highest byte that was received.
    pub(super) fn highest(&self) -> u64 {
        self.pieces.back().map_or(self.next, |(at, piece)| at.saturating_add(piece.len() as u64))
    }

    /// Takes a frame. Returns what can go to TLS at once from this frame; waiting pieces follow with `pop`.
    pub(super) fn on_frame<'a>(&mut self, offset: u64, data: &'a [u8]) -> Result<&'a [u8], TransportError> {
        let end = offset.saturating_add(data.len() as u64);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.5
        //# If an endpoint does not expand its buffer, it MUST close the connection with a CRYPTO_BUFFER_EXCEEDED error
        //# code.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.5
        //= type=exception
        //= reason=no CRYPTO frame is discarded: one that cannot be buffered closes the connection
        //# Packets containing discarded CRYPTO frames MUST be acknowledged because the packet has been received and
        //# processed by the transport even though the CRYPTO frame was discarded.
        if end.saturating_sub(self.next) > RECEIVE_LIMIT && end > self.next {
            return Err(TransportError::new(transport::CRYPTO_BUFFER_EXCEEDED, "too much CRYPTO data ahead"));
        }
        if end <= self.next {
            return Ok(&[]);
        }
        if offset <= self.next {
            let skip = usize::try_from(self.next - offset).unwrap_or(usize::MAX);
            let fresh = data.get(skip..).unwrap_or(&[]);
            self.next = end;
            return Ok(fresh);
        }
        self.keep(offset, data)?;
        Ok(&[])
    }

    /// A waiting piece that has become next in line.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        loop {
            let (at, _) = self.pieces.front()?;
            if *at > self.next {
                return None;
            }
            let skip = usize::try_from(self.next - at).unwrap_or(usize::MAX);
            let (_, mut fresh) = self.pieces.pop_front()?;
            fresh.drain(..skip.min(fresh.len()));
            if !fresh.is_empty() {
                self.next = self.next.saturating_add(fresh.len() as u64);
                return Some(fresh);
            }
        }
    }

    fn keep(&mut self, offset: u64, data: &[u8]) -> Result<(), TransportError> {
        let mut at = offset;
        let end = offset.saturating_add(data.len() as u64);
        let mut index = self.pieces.partition_point(|(start, piece)| start.saturating_add(piece.len() as u64) <= at);
        while at < end {
            let (gap_end, resume) = match self.pieces.get(index) {
                Some((start, piece)) if *start < end => (*start, start.saturating_add(piece.len() as u64)),
                _ => (end, end),
            };
            if at < gap_end {
                let from = usize::try_from(at - offset).unwrap_or(usize::MAX);
                let to = usize::try_from(gap_end - offset).unwrap_or(0);
                let Some(bytes) = data.get(from..to) else { break };
                index = self.put(index, at, bytes)?;
            }
            index += 1;
            at = resume.max(gap_end);
        }
        Ok(())
    }

    /// Puts bytes that no piece has before the piece at `index`; where the piece behind them stands now.
    fn put(&mut self, index: usize, at: u64, bytes: &[u8]) -> Result<usize, TransportError> {
        let before = index.checked_sub(1).and_then(|i| self.pieces.get_mut(i));
        if let Some((_, piece)) = before.filter(|(start, piece)| start.saturating_add(piece.len() as u64) == at) {
            piece.extend_from_slice(bytes);
            return Ok(index);
        }
        let end = at.saturating_add(bytes.len() as u64);
        let behind = self.pieces.get_mut(index).filter(|(_, piece)| piece.len() <= MAX_MOVED);
        if let Some((start, piece)) = behind.filter(|(start, _)| *start == end) {
            piece.splice(..0, bytes.iter().copied());
            *start = at;
            return Ok(index);
        }
        if self.pieces.len() >= PIECES_LIMIT {
            return Err(TransportError::new(transport::CRYPTO_BUFFER_EXCEEDED, "too many CRYPTO pieces"));
        }
        self.pieces.insert(index, (at, bytes.to_vec()));
        Ok(index.saturating_add(1))
    }
}

/// Both halves.
#[derive(Default)]
pub(super) struct CryptoStream {
    pub(super) send: CryptoSend,
    pub(super) receive: CryptoReceive,
}

#[cfg(test)]
mod tests;
