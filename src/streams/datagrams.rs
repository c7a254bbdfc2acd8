//! DATAGRAM frames (RFC 9221): bounded queues in both directions, nothing is ever sent twice.
//!
//! A receiver that does not keep up loses the oldest datagrams, which are the least useful ones; a sender that is
//! too fast is told so. Payloads that arrive are copied into shared slabs. Invariant: at most `limit` bytes and
//! `MAX_QUEUED` datagrams wait per direction; that a datagram was sent, and its fate, is reported at most once each.
use std::collections::VecDeque;

use super::event::{DatagramError, DatagramState};
use super::pool::{MEDIUM, SlabPool};
use crate::base::TransportError;
use crate::base::codes::transport::PROTOCOL_VIOLATION;
use crate::collections::{Chunk, Slab};
use crate::recovery::FrameToken;
use crate::wire::frame::Frame;
use crate::wire::varint;
use crate::wire::writer::Writer;

/// Datagrams that wait per direction, whatever their size (flood of empty datagrams).
pub const MAX_QUEUED: usize = 4096;
/// Bookkeeping charged for each waiting datagram, so that tiny ones count.
const OVERHEAD: usize = 32;
/// Reports that wait to be taken; the oldest are dropped. Two for each datagram: sent, and its fate.
const MAX_STATES: usize = 2 * MAX_QUEUED;

/// Datagrams of one connection.
#[derive(Debug)]
pub struct Datagrams {
    local_max: u64,
    peer_max: u64,
    packet_room: usize,
    limit: usize,
    /// Apart, and only of connections that have used datagrams: most never do, and it is a tenth of a connection.
    queues: Option<Box<Queues>>,
}

#[derive(Debug, Default)]
struct Queues {
    outgoing: VecDeque<(Chunk, u64)>,
    outgoing_bytes: usize,
    incoming: VecDeque<Chunk>,
    incoming_bytes: usize,
    slab: Option<(Slab, usize)>,
    pool: SlabPool,
    states: VecDeque<(u64, DatagramState)>,
    dropped: u64,
}

/// Most payload bytes in a frame of `room` bytes with a length field (of 1, 2 or 4 bytes).
fn payload_room(room: usize) -> usize {
    let longest = |(field, most): (usize, usize)| room.saturating_sub(1 + field).min(most);
    [(1, 0x3f), (2, 0x3fff), (4, 0x3fff_ffff)].into_iter().map(longest).max().unwrap_or(0)
}

impl Datagrams {
    /// `local_max`: our `max_datagram_frame_size` (0: none accepted); `queue`: bytes held per direction.
    #[must_use]
    pub fn new(local_max: u64, queue: usize) -> Self {
        Self { local_max, peer_max: 0, packet_room: 1000, limit: queue, queues: None }
    }

    /// The peer's `max_datagram_frame_size`.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.21
    //# An extension to QUIC that wishes to use a new type of frame MUST first ensure that a peer is able to understand
    //# the frame.
    pub fn set_peer_max(&mut self, max: u64) {
        self.peer_max = max;
    }

    /// Room for frames in the largest packet of the path (changes with the MTU).
    pub fn set_packet_room(&mut self, room: usize) {
        self.packet_room = room;
    }

    /// Largest payload that `send` takes now; `None`: the peer takes no datagrams.
    //= https://www.rfc-editor.org/rfc/rfc9221#section-3
    //# An endpoint MUST NOT send DATAGRAM frames until it has received the max_datagram_frame_size transport parameter
    //# with a non-zero value during the handshake (or during a previous handshake if 0-RTT is used).
    //= https://www.rfc-editor.org/rfc/rfc9221#section-3
    //# An endpoint MUST NOT send DATAGRAM frames that are larger than the max_datagram_frame_size value it has received
    //# from its peer.
    #[must_use]
    pub fn max_len(&self) -> Option<usize> {
        let frame = usize::try_from(self.peer_max).unwrap_or(usize::MAX).min(self.packet_room);
        (self.peer_max > 0).then(|| payload_room(frame))
    }

    /// Queues a datagram. Fates are reported for tags other than 0.
    ///
    /// # Errors
    /// Too large, too many, or unwanted by the peer; nothing was taken.
    pub fn send(&mut self, data: Chunk, tag: u64) -> Result<(), DatagramError> {
        let max = self.max_len().ok_or(DatagramError::Unsupported)?;
        if data.len() > max {
            return Err(DatagramError::TooLarge { max });
        }
        let limit = self.limit;
        let queues = self.queues();
        if queues.outgoing.len() >= MAX_QUEUED || queues.outgoing_bytes + data.len() + OVERHEAD > limit {
            return Err(DatagramError::Blocked);
        }
        queues.outgoing_bytes += data.len() + OVERHEAD;
        queues.outgoing.push_back((data, tag));
        Ok(())
    }

    fn queues(&mut self) -> &mut Queues {
        self.queues.get_or_insert_default()
    }

    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.queues.as_ref().is_some_and(|q| !q.outgoing.is_empty())
    }

    /// Writes datagrams that fit; true if any was written. Those that no packet of this path can carry any more are
    /// dropped and reported.
    pub fn write(&mut self, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) -> bool {
        let mut wrote = false;
        let longest = self.max_len();
        let Some(queues) = self.queues.as_mut() else { return false };
        while let Some((data, tag)) = queues.outgoing.front() {
            let (len, tag) = (data.len(), *tag);
            if longest.is_none_or(|max| len > max) {
                queues.take_front();
                queues.report(tag, DatagramState::Dropped);
                continue;
            }
            let header = 1 + varint::len(len as u64);
            if header + len > w.remaining() {
                break;
            }
            let start = w.position();
            // RFC 9221 section 4: type 0x31 has a length, so anything may follow.
            let written = data.with(|bytes| Frame::Datagram(bytes).write(w).is_ok());
            queues.take_front();
            if written == Ok(true) {
                tokens.push(FrameToken::Datagram { tag });
                queues.report(tag, DatagramState::Sent);
                wrote = true;
            } else {
                w.rewind(start);
                queues.report(tag, DatagramState::Dropped);
            }
        }
        wrote
    }

    /// A DATAGRAM frame of the peer, `frame_len` bytes long with its header.
    ///
    /// # Errors
    /// RFC 9221 section 3: longer than we said we take is a PROTOCOL_VIOLATION.
    pub fn on_datagram(&mut self, data: &[u8], frame_len: usize) -> Result<(), TransportError> {
        //= https://www.rfc-editor.org/rfc/rfc9221#section-3
        //# An endpoint that receives a DATAGRAM frame when it has not indicated support via the transport parameter
        //# MUST terminate the connection with an error of type PROTOCOL_VIOLATION.
        //= https://www.rfc-editor.org/rfc/rfc9221#section-3
        //# Similarly, an endpoint that receives a DATAGRAM frame that is larger than the value it sent in its
        //# max_datagram_frame_size transport parameter MUST terminate the connection with an error of type
        //# PROTOCOL_VIOLATION.
        if frame_len as u64 > self.local_max {
            return Err(TransportError::new(PROTOCOL_VIOLATION, "datagram longer than allowed"));
        }
        let limit = self.limit;
        let queues = self.queues();
        let chunk = queues.store(data);
        queues.incoming_bytes += chunk.len() + OVERHEAD;
        queues.incoming.push_back(chunk);
        while queues.incoming.len() > MAX_QUEUED || (queues.incoming_bytes > limit && queues.incoming.len() > 1) {
            queues.dropped = queues.dropped.saturating_add(1);
            queues.next_incoming();
        }
        Ok(())
    }

    /// The oldest datagram that waits.
    pub fn recv(&mut self) -> Option<Vec<u8>> {
        let chunk = self.recv_chunk()?;
        let bytes = chunk.to_vec().ok();
        if let Some(queues) = self.queues.as_mut() {
            queues.recycle(chunk);
        }
        bytes
    }

    /// The oldest datagram that waits, without copying it; it shares its memory with its neighbours.
    pub fn recv_chunk(&mut self) -> Option<Chunk> {
        self.queues.as_mut()?.next_incoming()
    }

    /// Datagrams that were thrown away because nobody took them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queues.as_ref().map_or(0, |q| q.dropped)
    }

    /// Tokens of other rooms are ignored.
    pub fn on_token_acked(&mut self, token: &FrameToken) {
        if let FrameToken::Datagram { tag } = *token {
            self.queues().report(tag, DatagramState::Acknowledged);
        }
    }

    /// Tokens of other rooms are ignored.
    pub fn on_token_lost(&mut self, token: &FrameToken) {
        if let FrameToken::Datagram { tag } = *token {
            self.queues().report(tag, DatagramState::Lost);
        }
    }

    /// Fates of datagrams sent with a tag other than 0.
    pub fn poll_state(&mut self) -> Option<(u64, DatagramState)> {
        self.queues.as_mut()?.states.pop_front()
    }

    /// Any datagram can be taken.
    #[must_use]
    pub fn has_incoming(&self) -> bool {
        self.queues.as_ref().is_some_and(|q| !q.incoming.is_empty())
    }
}

impl Queues {
    fn take_front(&mut self) {
        if let Some((data, _)) = self.outgoing.pop_front() {
            self.outgoing_bytes = self.outgoing_bytes.saturating_sub(data.len() + OVERHEAD);
        }
    }

    /// Copies into the shared slab; a datagram longer than a slab gets memory of its own.
    fn store(&mut self, data: &[u8]) -> Chunk {
        if data.len() > MEDIUM / 4 {
            return Chunk::copy_from(data);
        }
        if self.slab.as_ref().is_some_and(|(slab, used)| slab.capacity() - used < data.len())
            && let Some((slab, _)) = self.slab.take()
        {
            self.pool.give(slab);
        }
        let (slab, used) = self.slab.get_or_insert_with(|| (self.pool.take(MEDIUM), 0));
        slab.write_at(*used, data);
        let chunk = slab.share(*used, *used + data.len());
        *used += data.len();
        chunk
    }

    fn next_incoming(&mut self) -> Option<Chunk> {
        let chunk = self.incoming.pop_front()?;
        self.incoming_bytes = self.incoming_bytes.saturating_sub(chunk.len() + OVERHEAD);
        Some(chunk)
    }

    fn recycle(&mut self, chunk: Chunk) {
        self.pool.give_chunk(chunk);
        if self.incoming.is_empty()
            && let Some((slab, used)) = self.slab.as_mut()
            && slab.reset()
        {
            *used = 0;
        }
    }

    fn report(&mut self, tag: u64, state: DatagramState) {
        if tag == 0 {
            return;
        }
        if self.states.len() >= MAX_STATES {
            self.states.pop_front();
        }
        self.states.push_back((tag, state));
    }
}

#[cfg(test)]
mod tests;
