//! What recovery remembers of a sent packet, and how it tells the owners of its frames.
//!
//! Recovery never sees a frame's contents (RFC 9000 section 13.3 makes re-sending the owner's business):
//! it keeps one compact token per frame and hands it back once, as acknowledged or as lost.
use crate::base::{Dir, SpaceId, StreamId, Timestamp};

/// Names one frame of a sent packet to the room that owns its contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameToken {
    Crypto {
        offset: u64,
        len: u32,
    },
    Stream {
        id: StreamId,
        offset: u64,
        len: u32,
        fin: bool,
    },
    ResetStream(StreamId),
    /// RESET_STREAM_AT with its Reliable Size.
    ResetStreamAt {
        id: StreamId,
        reliable: u64,
    },
    StopSending(StreamId),
    MaxData,
    MaxStreamData(StreamId),
    MaxStreams(Dir),
    DataBlocked,
    StreamDataBlocked(StreamId),
    StreamsBlocked(Dir),
    NewConnectionId(u64),
    RetireConnectionId(u64),
    NewToken,
    HandshakeDone,
    /// An ACK frame and its Largest Acknowledged (RFC 9000 section 13.2.4).
    Ack {
        largest: u64,
    },
    Datagram {
        tag: u64,
    },
    MtuProbe,
    /// An ACK_FREQUENCY frame.
    AckFrequency {
        sequence: u64,
    },
    Other,
}

/// A sent packet as recovery needs it (RFC 9002 appendix A.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SentPacket {
    /// When the batch was handed over: never a paced release time, which would poison the RTT.
    pub sent_at: Timestamp,
    /// Bytes of the QUIC packet, header and tag included.
    pub size: u16,
    /// The path it left on.
    pub path: u8,
    pub ack_eliciting: bool,
    /// Ack-eliciting or holding PADDING: counts toward bytes in flight (RFC 9002 section 2).
    pub in_flight: bool,
    /// A path MTU probe: its loss says nothing about congestion (RFC 9000 section 14.4).
    pub mtu_probe: bool,
    /// Left in a datagram marked ECT(0) or ECT(1) (RFC 9000 section 13.4.2).
    pub ect: bool,
}

/// Receives the fate of sent packets, in no particular order of packet numbers.
pub trait SentSink {
    /// `tokens` were acknowledged. Consecutive packets whose only frame is a STREAM frame continuing the one
    /// before are reported in one call: a merged token, with the number and record of the newest packet.
    fn acked(&mut self, space: SpaceId, pn: u64, packet: &SentPacket, tokens: &[FrameToken]);
    /// `tokens` were lost (or should be sent again as a probe); one call per packet.
    fn lost(&mut self, space: SpaceId, pn: u64, packet: &SentPacket, tokens: &[FrameToken]);
}
