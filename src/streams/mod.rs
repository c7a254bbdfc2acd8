//! Streams, flow control and datagrams of one connection (RFC 9000 sections 2 to 4, 19.4 to 19.14; RFC 9221).
//!
//! The connection hands in frames of the peer and fates of our own (as tokens), and asks for frames to send;
//! the application opens, writes and reads. Streams never see packets.
//! Invariants: work is proportional to streams that have something to do, never to all that are open; no
//! allocation per frame in the steady state; what the peer can make us hold is bounded by windows that we gave
//! it and by named constants.
use core::time::Duration;

use crate::base::{Dir, Side, StreamId, Timestamp, TransportError};
use crate::collections::Chunk;
use crate::recovery::FrameToken;
use crate::wire::{TransportParameters, Writer};

pub mod config;
pub mod event;

pub use config::StreamsConfig;
pub use event::{DatagramError, DatagramState, OpenError, ReadError, ReadOk, StreamEvent, WriteError};

/// All streams of a connection and its flow control.
pub struct Streams;

/// How many streams are alive and what they hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamCounts {
    pub open: usize,
    pub buffered_to_send: u64,
    pub buffered_received: u64,
}

#[rustfmt::skip]
#[allow(unused_variables)]
impl Streams {
    #[must_use] pub fn new(side: Side, config: &StreamsConfig) -> Self { todo!() }
    /// The peer's parameters, or the remembered ones for 0-RTT.
    pub fn set_peer_limits(&mut self, parameters: &TransportParameters) { todo!() }
    /// 0-RTT accepted: limits may only have grown (RFC 9000 section 7.4.1).
    pub fn confirm_peer_limits(&mut self, parameters: &TransportParameters) -> Result<(), TransportError> { todo!() }
    /// Everything sent so far counts as never sent; call `set_peer_limits` with the real ones next.
    pub fn on_zero_rtt_rejected(&mut self) { todo!() }
    /// Once per received batch: for window auto-tuning.
    pub fn on_rtt(&mut self, smoothed: Duration, now: Timestamp) { todo!() }

    pub fn on_stream(&mut self, id: StreamId, offset: u64, data: &[u8], fin: bool, now: Timestamp) -> Result<(), TransportError> { todo!() }
    pub fn on_reset_stream(&mut self, id: StreamId, code: u64, final_size: u64) -> Result<(), TransportError> { todo!() }
    pub fn on_stop_sending(&mut self, id: StreamId, code: u64) -> Result<(), TransportError> { todo!() }
    pub fn on_max_data(&mut self, max: u64) { todo!() }
    pub fn on_max_stream_data(&mut self, id: StreamId, max: u64) -> Result<(), TransportError> { todo!() }
    pub fn on_max_streams(&mut self, dir: Dir, max: u64) -> Result<(), TransportError> { todo!() }
    pub fn on_data_blocked(&mut self, limit: u64) { todo!() }
    pub fn on_stream_data_blocked(&mut self, id: StreamId, limit: u64) -> Result<(), TransportError> { todo!() }
    pub fn on_streams_blocked(&mut self, dir: Dir, limit: u64) -> Result<(), TransportError> { todo!() }

    /// Tokens of other rooms are ignored.
    pub fn on_token_acked(&mut self, token: &FrameToken) { todo!() }
    pub fn on_token_lost(&mut self, token: &FrameToken) { todo!() }

    /// Any data that credit allows, or any control frame.
    #[must_use] pub fn wants_to_send(&self) -> bool { todo!() }
    #[must_use] pub fn wants_control(&self) -> bool { todo!() }
    pub fn write_control(&mut self, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) { todo!() }
    /// Fills the packet: call it last. The last frame has no length field when it ends at the writer's end.
    pub fn write_stream_frames(&mut self, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) -> bool { todo!() }

    pub fn open(&mut self, dir: Dir) -> Result<StreamId, OpenError> { todo!() }
    pub fn accept(&mut self, dir: Dir) -> Option<StreamId> { todo!() }
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> { todo!() }
    pub fn write_chunk(&mut self, id: StreamId, chunk: Chunk) -> Result<usize, WriteError> { todo!() }
    /// What one write would take now.
    pub fn writable_len(&self, id: StreamId) -> Result<u64, WriteError> { todo!() }
    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> { todo!() }
    pub fn reset(&mut self, id: StreamId, code: u64) -> Result<(), WriteError> { todo!() }
    pub fn stop(&mut self, id: StreamId, code: u64) -> Result<(), ReadError> { todo!() }
    pub fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<ReadOk, ReadError> { todo!() }
    /// Without a copy; `true` with the last bytes.
    pub fn read_chunk(&mut self, id: StreamId, max: usize) -> Result<(Chunk, bool), ReadError> { todo!() }
    pub fn readable_len(&self, id: StreamId) -> Result<u64, ReadError> { todo!() }
    /// RFC 9218 section 4: urgency 0 (first) to 7; default 3, incremental.
    pub fn set_priority(&mut self, id: StreamId, urgency: u8, incremental: bool) { todo!() }
    /// Must be polled: a stream is forgotten (and its credit returned) when its `Closed` is taken.
    pub fn poll_event(&mut self) -> Option<StreamEvent> { todo!() }
    #[must_use] pub fn counts(&self) -> StreamCounts { todo!() }
    /// Gives pooled buffers back; for connections that go idle.
    pub fn trim(&mut self) { todo!() }
}

/// DATAGRAM queues (RFC 9221), bounded in bytes in both directions.
pub struct Datagrams;

#[rustfmt::skip]
#[allow(unused_variables)]
impl Datagrams {
    /// `local_max`: our `max_datagram_frame_size` (0: none accepted); `queue`: bytes held per direction.
    #[must_use] pub fn new(local_max: u64, queue: usize) -> Self { todo!() }
    /// The peer's `max_datagram_frame_size`.
    pub fn set_peer_max(&mut self, max: u64) { todo!() }
    /// Room for frames in the largest packet of the path (changes with the MTU).
    pub fn set_packet_room(&mut self, room: usize) { todo!() }
    /// Largest payload that `send` takes now; `None`: the peer takes no datagrams.
    #[must_use] pub fn max_len(&self) -> Option<usize> { todo!() }
    pub fn send(&mut self, data: Chunk, tag: u64) -> Result<(), DatagramError> { todo!() }
    #[must_use] pub fn wants_to_send(&self) -> bool { todo!() }
    /// Writes datagrams that fit; true if any was written.
    pub fn write(&mut self, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) -> bool { todo!() }
    /// `frame_len`: whole frame as received; longer than what we allowed is a PROTOCOL_VIOLATION.
    pub fn on_datagram(&mut self, data: &[u8], frame_len: usize) -> Result<(), TransportError> { todo!() }
    pub fn recv(&mut self) -> Option<Vec<u8>> { todo!() }
    pub fn on_token_acked(&mut self, token: &FrameToken) { todo!() }
    pub fn on_token_lost(&mut self, token: &FrameToken) { todo!() }
    /// Fates of datagrams sent with a tag other than 0.
    pub fn poll_state(&mut self) -> Option<(u64, DatagramState)> { todo!() }
}
