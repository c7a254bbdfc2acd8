//! Frames (RFC 9000 section 19, RFC 9221, draft-ietf-quic-ack-frequency): one borrowed enum for all of them.
//!
//! `Frames` walks a decrypted payload; every frame it yields is well formed on its own (bounds, ranges, lengths).
//! Whether a frame is allowed in its packet is [`permitted`]; whether it fits the connection's state is for
//! upper rooms. A payload without any frame is the connection's to refuse (RFC 9000 section 12.4).
mod ack;
mod parse;
pub mod types;
mod write;

#[cfg(test)]
mod tests;

use crate::base::{ConnectionId, Dir, ResetToken, StreamId};

pub use ack::{Ack, AckRanges, EcnCounts, MAX_ACK_RANGES, write_ack};
pub use parse::Frames;
pub use types::{is_ack_eliciting, is_probing, permitted};
pub use write::{stream_header_len, write_stream_header};

/// Largest value of a stream count, 2^60 (RFC 9000 section 4.6).
pub const MAX_STREAM_COUNT: u64 = 1 << 60;

/// One frame; byte strings borrow from the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// That many consecutive PADDING frames.
    Padding(usize),
    Ping,
    Ack(Ack<'a>),
    ResetStream {
        id: StreamId,
        code: u64,
        final_size: u64,
    },
    /// As `ResetStream`, but the first `reliable_size` bytes are delivered (draft-ietf-quic-reliable-stream-reset).
    ResetStreamAt {
        id: StreamId,
        code: u64,
        final_size: u64,
        reliable_size: u64,
    },
    StopSending {
        id: StreamId,
        code: u64,
    },
    Crypto {
        offset: u64,
        data: &'a [u8],
    },
    /// Never empty.
    NewToken(&'a [u8]),
    Stream {
        id: StreamId,
        offset: u64,
        fin: bool,
        data: &'a [u8],
    },
    MaxData(u64),
    MaxStreamData {
        id: StreamId,
        max: u64,
    },
    /// At most 2^60.
    MaxStreams {
        dir: Dir,
        max: u64,
    },
    DataBlocked(u64),
    StreamDataBlocked {
        id: StreamId,
        limit: u64,
    },
    /// At most 2^60.
    StreamsBlocked {
        dir: Dir,
        limit: u64,
    },
    /// The ID has 1 to 20 bytes, and `retire_prior_to <= sequence`.
    NewConnectionId {
        sequence: u64,
        retire_prior_to: u64,
        cid: ConnectionId,
        token: ResetToken,
    },
    RetireConnectionId(u64),
    PathChallenge([u8; 8]),
    PathResponse([u8; 8]),
    ConnectionClose {
        code: u64,
        /// `Some` for type 0x1c (transport), `None` for 0x1d (application).
        frame_type: Option<u64>,
        reason: &'a [u8],
    },
    HandshakeDone,
    Datagram(&'a [u8]),
    ImmediateAck,
    AckFrequency {
        sequence: u64,
        /// Ack-eliciting packets that may go unacknowledged.
        threshold: u64,
        /// Requested Max Ack Delay in microseconds.
        max_ack_delay_us: u64,
        reordering_threshold: u64,
    },
}
