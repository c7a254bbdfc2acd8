//! From frames to bytes. A frame that does not fit leaves the writer where it was.
use super::Frame;
use super::types::*;
use crate::base::{Dir, StreamId};
use crate::wire::varint;
use crate::wire::writer::{NoRoom, Writer};

/// Adds up lengths of variable-length integers.
fn sum(values: &[u64]) -> usize {
    values.iter().fold(0usize, |acc, v| acc.saturating_add(varint::len(*v)))
}

/// A byte string behind its length.
fn prefixed(bytes: &[u8]) -> usize {
    varint::len(bytes.len() as u64).saturating_add(bytes.len())
}

/// Bytes of a STREAM frame before its data, the length field for `len` bytes included.
#[must_use]
#[inline]
pub const fn stream_header_len(id: StreamId, offset: u64, len: usize) -> usize {
    let off = if offset == 0 { 0 } else { varint::len(offset) };
    1 + varint::len(id.0) + off + varint::len(len as u64)
}

/// Writes a STREAM frame up to its data. `len` is `None` for the last frame of a packet, whose data runs to the
/// packet's end (RFC 9000 section 19.8).
#[inline]
pub fn write_stream_header(
    w: &mut Writer<'_>,
    id: StreamId,
    offset: u64,
    len: Option<usize>,
    fin: bool,
) -> Result<(), NoRoom> {
    let start = w.position();
    let mut ty = STREAM;
    if fin {
        ty |= STREAM_FIN;
    }
    if len.is_some() {
        ty |= STREAM_LEN;
    }
    if offset != 0 {
        ty |= STREAM_OFF;
    }
    let mut put = || {
        w.u8(ty as u8)?;
        w.varint(id.0)?;
        if offset != 0 {
            w.varint(offset)?;
        }
        match len {
            Some(len) => w.varint(len as u64),
            None => Ok(()),
        }
    };
    put().inspect_err(|_| w.rewind(start))
}

impl Frame<'_> {
    /// The frame's type number as [`Frame::write`] encodes it.
    #[must_use]
    pub const fn type_id(&self) -> u64 {
        match self {
            Self::Padding(_) => PADDING,
            Self::Ping => PING,
            Self::Ack(ack) => ack.type_id(),
            Self::ResetStream { .. } => RESET_STREAM,
            Self::ResetStreamAt { .. } => RESET_STREAM_AT,
            Self::StopSending { .. } => STOP_SENDING,
            Self::Crypto { .. } => CRYPTO,
            Self::NewToken(_) => NEW_TOKEN,
            Self::Stream { offset, fin, .. } => {
                STREAM | STREAM_LEN | if *offset == 0 { 0 } else { STREAM_OFF } | if *fin { STREAM_FIN } else { 0 }
            }
            Self::MaxData(_) => MAX_DATA,
            Self::MaxStreamData { .. } => MAX_STREAM_DATA,
            Self::MaxStreams { dir: Dir::Bi, .. } => MAX_STREAMS_BIDI,
            Self::MaxStreams { dir: Dir::Uni, .. } => MAX_STREAMS_UNI,
            Self::DataBlocked(_) => DATA_BLOCKED,
            Self::StreamDataBlocked { .. } => STREAM_DATA_BLOCKED,
            Self::StreamsBlocked { dir: Dir::Bi, .. } => STREAMS_BLOCKED_BIDI,
            Self::StreamsBlocked { dir: Dir::Uni, .. } => STREAMS_BLOCKED_UNI,
            Self::NewConnectionId { .. } => NEW_CONNECTION_ID,
            Self::RetireConnectionId(_) => RETIRE_CONNECTION_ID,
            Self::PathChallenge(_) => PATH_CHALLENGE,
            Self::PathResponse(_) => PATH_RESPONSE,
            Self::ConnectionClose { frame_type: Some(_), .. } => CONNECTION_CLOSE,
            Self::ConnectionClose { frame_type: None, .. } => APPLICATION_CLOSE,
            Self::HandshakeDone => HANDSHAKE_DONE,
            Self::Datagram(_) => DATAGRAM_LEN,
            Self::ImmediateAck => IMMEDIATE_ACK,
            Self::AckFrequency { .. } => ACK_FREQUENCY,
        }
    }

    /// Bytes that [`Frame::write`] takes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let body = match *self {
            Self::Padding(n) => return n,
            Self::Ack(ack) => return ack.encoded_len(),
            Self::Stream { id, offset, data, .. } => {
                return stream_header_len(id, offset, data.len()).saturating_add(data.len());
            }
            Self::Ping | Self::HandshakeDone | Self::ImmediateAck => 0,
            Self::ResetStream { id, code, final_size } => sum(&[id.0, code, final_size]),
            Self::ResetStreamAt { id, code, final_size, reliable_size } => {
                sum(&[id.0, code, final_size, reliable_size])
            }
            Self::StopSending { id, code } => sum(&[id.0, code]),
            Self::Crypto { offset, data } => varint::len(offset).saturating_add(prefixed(data)),
            Self::NewToken(bytes) | Self::Datagram(bytes) => prefixed(bytes),
            Self::MaxData(v)
            | Self::MaxStreams { max: v, .. }
            | Self::DataBlocked(v)
            | Self::StreamsBlocked { limit: v, .. }
            | Self::RetireConnectionId(v) => varint::len(v),
            Self::MaxStreamData { id, max: v } | Self::StreamDataBlocked { id, limit: v } => sum(&[id.0, v]),
            Self::NewConnectionId { sequence, retire_prior_to, cid, .. } => {
                sum(&[sequence, retire_prior_to]).saturating_add(17).saturating_add(cid.len())
            }
            Self::PathChallenge(_) | Self::PathResponse(_) => 8,
            Self::ConnectionClose { code, frame_type, reason } => {
                sum(&[code]).saturating_add(frame_type.map_or(0, varint::len)).saturating_add(prefixed(reason))
            }
            Self::AckFrequency { sequence, threshold, max_ack_delay_us, reordering_threshold } => {
                sum(&[sequence, threshold, max_ack_delay_us, reordering_threshold])
            }
        };
        varint::len(self.type_id()).saturating_add(body)
    }

    /// Appends the frame. STREAM and DATAGRAM always carry their length.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
    //# To ensure simple and efficient implementations of frame parsing, a frame type MUST use the shortest possible
    //# encoding.
    pub fn write(&self, w: &mut Writer<'_>) -> Result<(), NoRoom> {
        let start = w.position();
        self.put(w).inspect_err(|_| w.rewind(start))
    }

    fn put(&self, w: &mut Writer<'_>) -> Result<(), NoRoom> {
        match *self {
            Self::Padding(n) => {
                w.reserve(n)?.fill(0);
                return Ok(());
            }
            Self::Ack(ack) => return ack.write(w),
            Self::Stream { id, offset, fin, data } => {
                write_stream_header(w, id, offset, Some(data.len()), fin)?;
                return w.bytes(data);
            }
            _ => w.varint(self.type_id())?,
        }
        match *self {
            Self::Padding(_) | Self::Ack(_) | Self::Stream { .. } => Ok(()),
            Self::Ping | Self::HandshakeDone | Self::ImmediateAck => Ok(()),
            Self::ResetStream { id, code, final_size } => all(w, &[id.0, code, final_size]),
            Self::ResetStreamAt { id, code, final_size, reliable_size } => {
                all(w, &[id.0, code, final_size, reliable_size])
            }
            Self::StopSending { id, code } => all(w, &[id.0, code]),
            Self::Crypto { offset, data } => {
                w.varint(offset)?;
                w.varint_bytes(data)
            }
            Self::NewToken(bytes) | Self::Datagram(bytes) => w.varint_bytes(bytes),
            Self::MaxData(v)
            | Self::MaxStreams { max: v, .. }
            | Self::DataBlocked(v)
            | Self::StreamsBlocked { limit: v, .. }
            | Self::RetireConnectionId(v) => w.varint(v),
            Self::MaxStreamData { id, max: v } | Self::StreamDataBlocked { id, limit: v } => all(w, &[id.0, v]),
            Self::NewConnectionId { sequence, retire_prior_to, cid, token } => {
                all(w, &[sequence, retire_prior_to])?;
                w.u8(cid.len() as u8)?;
                w.bytes(cid.as_slice())?;
                w.bytes(&token.0)
            }
            Self::PathChallenge(data) | Self::PathResponse(data) => w.bytes(&data),
            Self::ConnectionClose { code, frame_type, reason } => {
                w.varint(code)?;
                if let Some(ty) = frame_type {
                    w.varint(ty)?;
                }
                w.varint_bytes(reason)
            }
            Self::AckFrequency { sequence, threshold, max_ack_delay_us, reordering_threshold } => {
                all(w, &[sequence, threshold, max_ack_delay_us, reordering_threshold])
            }
        }
    }
}

fn all(w: &mut Writer<'_>, values: &[u64]) -> Result<(), NoRoom> {
    values.iter().try_for_each(|v| w.varint(*v))
}
