//! Frame type numbers and what the RFC's tables say about each: where it may appear, whether it elicits an
//! acknowledgement, whether it is a probing frame (RFC 9000 section 12.4, table 3; section 9.1).
use crate::base::Level;

pub const PADDING: u64 = 0x00;
pub const PING: u64 = 0x01;
pub const ACK: u64 = 0x02;
pub const ACK_ECN: u64 = 0x03;
pub const RESET_STREAM: u64 = 0x04;
pub const STOP_SENDING: u64 = 0x05;
pub const CRYPTO: u64 = 0x06;
pub const NEW_TOKEN: u64 = 0x07;
/// First of the eight STREAM types; the low bits are OFF, LEN and FIN.
pub const STREAM: u64 = 0x08;
pub const STREAM_LAST: u64 = 0x0f;
/// STREAM type bits (RFC 9000 section 19.8).
pub const STREAM_FIN: u64 = 0x01;
pub const STREAM_LEN: u64 = 0x02;
pub const STREAM_OFF: u64 = 0x04;
pub const MAX_DATA: u64 = 0x10;
pub const MAX_STREAM_DATA: u64 = 0x11;
pub const MAX_STREAMS_BIDI: u64 = 0x12;
pub const MAX_STREAMS_UNI: u64 = 0x13;
pub const DATA_BLOCKED: u64 = 0x14;
pub const STREAM_DATA_BLOCKED: u64 = 0x15;
pub const STREAMS_BLOCKED_BIDI: u64 = 0x16;
pub const STREAMS_BLOCKED_UNI: u64 = 0x17;
pub const NEW_CONNECTION_ID: u64 = 0x18;
pub const RETIRE_CONNECTION_ID: u64 = 0x19;
pub const PATH_CHALLENGE: u64 = 0x1a;
pub const PATH_RESPONSE: u64 = 0x1b;
/// CONNECTION_CLOSE by the transport.
pub const CONNECTION_CLOSE: u64 = 0x1c;
/// CONNECTION_CLOSE by the application.
pub const APPLICATION_CLOSE: u64 = 0x1d;
pub const HANDSHAKE_DONE: u64 = 0x1e;
/// draft-ietf-quic-ack-frequency section 5.
pub const IMMEDIATE_ACK: u64 = 0x1f;
/// DATAGRAM without a length (RFC 9221 section 4).
pub const DATAGRAM: u64 = 0x30;
pub const DATAGRAM_LEN: u64 = 0x31;
/// draft-ietf-quic-reliable-stream-reset section 4.
pub const RESET_STREAM_AT: u64 = 0x24;
/// draft-ietf-quic-ack-frequency section 4.
pub const ACK_FREQUENCY: u64 = 0xaf;

/// May a frame of this type stand in a packet of this level? A frame elsewhere is a PROTOCOL_VIOLATION
/// (RFC 9000 section 12.4). Unknown types are permitted nowhere; [`super::Frames`] refuses them before.
#[must_use]
#[inline]
pub const fn permitted(frame_type: u64, level: Level) -> bool {
    match frame_type {
        PADDING | PING | CONNECTION_CLOSE => true,
        ACK | ACK_ECN | CRYPTO => !matches!(level, Level::ZeroRtt),
        // RFC 9000 section 12.5: these cannot be sent in 0-RTT, because the client has received nothing yet
        // that they could answer. ack-frequency section 3: min_ack_delay is never remembered for 0-RTT.
        NEW_TOKEN | HANDSHAKE_DONE | PATH_RESPONSE | RETIRE_CONNECTION_ID | ACK_FREQUENCY | IMMEDIATE_ACK => {
            matches!(level, Level::OneRtt)
        }
        RESET_STREAM
        | RESET_STREAM_AT
        | STOP_SENDING
        | STREAM..=STREAM_LAST
        | MAX_DATA..=NEW_CONNECTION_ID
        | PATH_CHALLENGE
        | APPLICATION_CLOSE
        | DATAGRAM
        | DATAGRAM_LEN => matches!(level, Level::OneRtt | Level::ZeroRtt),
        _ => false,
    }
}

/// All frames except PADDING, ACK and CONNECTION_CLOSE elicit acknowledgements (RFC 9000 section 13.2).
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.21
//# Extension frames MUST be congestion controlled and MUST cause an ACK frame to be sent.
#[must_use]
#[inline]
pub const fn is_ack_eliciting(frame_type: u64) -> bool {
    !matches!(frame_type, PADDING | ACK | ACK_ECN | CONNECTION_CLOSE | APPLICATION_CLOSE)
}

/// Probing frames do not make a peer migrate (RFC 9000 section 9.1).
#[must_use]
#[inline]
pub const fn is_probing(frame_type: u64) -> bool {
    matches!(frame_type, PADDING | NEW_CONNECTION_ID | PATH_CHALLENGE | PATH_RESPONSE)
}
