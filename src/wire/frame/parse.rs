//! From payload bytes to frames. Errors name the frame type (RFC 9000 section 19.19) and are FRAME_ENCODING_ERROR
//! unless the RFC asks for another.
use super::ack::{Ack, AckError};
use super::types::*;
use super::{Frame, MAX_STREAM_COUNT};
use crate::base::codes::transport::{FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION};
use crate::base::{ConnectionId, Dir, ResetToken, StreamId, TransportError};
use crate::wire::reader::{Reader, Truncated};
use crate::wire::varint;

/// Iterator over the frames of one payload; ends after the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    failed: bool,
}

impl<'a> Frames<'a> {
    /// `payload` is a whole decrypted packet payload.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { reader: Reader::new(payload), failed: false }
    }

    /// Bytes consumed so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.reader.position()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(u64, Frame<'a>), TransportError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.is_empty() {
            return None;
        }
        let result = parse_one(&mut self.reader);
        self.failed = result.is_err();
        Some(result)
    }
}

/// Why one frame was refused, before the frame type is known to the error.
enum Refused {
    Truncated,
    Invalid(&'static str),
}

impl From<Truncated> for Refused {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl From<AckError> for Refused {
    fn from(e: AckError) -> Self {
        match e {
            AckError::Truncated => Self::Truncated,
            AckError::Negative => Self::Invalid("ACK range below packet number 0"),
        }
    }
}

fn parse_one<'a>(r: &mut Reader<'a>) -> Result<(u64, Frame<'a>), TransportError> {
    let start = r.position();
    let ty = r.varint().map_err(|_| TransportError::new(FRAME_ENCODING_ERROR, "frame type is truncated"))?;
    // RFC 9000 section 12.4: a frame type must use the shortest encoding.
    if r.position().saturating_sub(start) != varint::len(ty) {
        return Err(TransportError::new(PROTOCOL_VIOLATION, "frame type not in its shortest form").in_frame(ty));
    }
    let result = if matches!(ty, STREAM..=STREAM_LAST) { stream(r, ty) } else { body(r, ty) };
    match result {
        Ok(frame) => Ok((ty, frame)),
        Err(Refused::Truncated) => Err(TransportError::new(FRAME_ENCODING_ERROR, "frame is truncated").in_frame(ty)),
        Err(Refused::Invalid(reason)) => Err(TransportError::new(FRAME_ENCODING_ERROR, reason).in_frame(ty)),
    }
}

#[inline]
fn stream<'a>(r: &mut Reader<'a>, ty: u64) -> Result<Frame<'a>, Refused> {
    let id = StreamId(r.varint()?);
    let offset = if ty & STREAM_OFF != 0 { r.varint()? } else { 0 };
    let data = if ty & STREAM_LEN != 0 { r.varint_bytes()? } else { r.rest() };
    check_end(offset, data)?;
    Ok(Frame::Stream { id, offset, fin: ty & STREAM_FIN != 0, data })
}

/// RFC 9000 sections 19.6 and 19.8: the last byte's offset plus one cannot exceed 2^62 - 1.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.6
//# Receipt of a frame that exceeds this limit MUST be treated as a connection error of type FRAME_ENCODING_ERROR or
//# CRYPTO_BUFFER_EXCEEDED.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.8
//# Receipt of a frame that exceeds this limit MUST be treated as a connection error of type FRAME_ENCODING_ERROR or
//# FLOW_CONTROL_ERROR.
fn check_end(offset: u64, data: &[u8]) -> Result<(), Refused> {
    if offset.saturating_add(data.len() as u64) > varint::MAX {
        return Err(Refused::Invalid("offset plus length exceeds 2^62 - 1"));
    }
    Ok(())
}

fn body<'a>(r: &mut Reader<'a>, ty: u64) -> Result<Frame<'a>, Refused> {
    Ok(match ty {
        PADDING => padding(r),
        PING => Frame::Ping,
        ACK => Frame::Ack(Ack::parse(r, false)?),
        ACK_ECN => Frame::Ack(Ack::parse(r, true)?),
        RESET_STREAM => Frame::ResetStream { id: StreamId(r.varint()?), code: r.varint()?, final_size: r.varint()? },
        RESET_STREAM_AT => Frame::ResetStreamAt {
            id: StreamId(r.varint()?),
            code: r.varint()?,
            final_size: r.varint()?,
            reliable_size: r.varint()?,
        },
        STOP_SENDING => Frame::StopSending { id: StreamId(r.varint()?), code: r.varint()? },
        CRYPTO => {
            let offset = r.varint()?;
            let data = r.varint_bytes()?;
            check_end(offset, data)?;
            Frame::Crypto { offset, data }
        }
        NEW_TOKEN => {
            let token = r.varint_bytes()?;
            // RFC 9000 section 19.7: an empty token is a FRAME_ENCODING_ERROR.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-19.7
            //# A client MUST treat receipt of a NEW_TOKEN frame with an empty Token field as a connection error of type
            //# FRAME_ENCODING_ERROR.
            if token.is_empty() {
                return Err(Refused::Invalid("empty NEW_TOKEN"));
            }
            Frame::NewToken(token)
        }
        MAX_DATA => Frame::MaxData(r.varint()?),
        MAX_STREAM_DATA => Frame::MaxStreamData { id: StreamId(r.varint()?), max: r.varint()? },
        MAX_STREAMS_BIDI => Frame::MaxStreams { dir: Dir::Bi, max: stream_count(r)? },
        MAX_STREAMS_UNI => Frame::MaxStreams { dir: Dir::Uni, max: stream_count(r)? },
        DATA_BLOCKED => Frame::DataBlocked(r.varint()?),
        STREAM_DATA_BLOCKED => Frame::StreamDataBlocked { id: StreamId(r.varint()?), limit: r.varint()? },
        STREAMS_BLOCKED_BIDI => Frame::StreamsBlocked { dir: Dir::Bi, limit: stream_count(r)? },
        STREAMS_BLOCKED_UNI => Frame::StreamsBlocked { dir: Dir::Uni, limit: stream_count(r)? },
        NEW_CONNECTION_ID => new_connection_id(r)?,
        RETIRE_CONNECTION_ID => Frame::RetireConnectionId(r.varint()?),
        PATH_CHALLENGE => Frame::PathChallenge(r.fixed()?),
        PATH_RESPONSE => Frame::PathResponse(r.fixed()?),
        CONNECTION_CLOSE => {
            Frame::ConnectionClose { code: r.varint()?, frame_type: Some(r.varint()?), reason: r.varint_bytes()? }
        }
        APPLICATION_CLOSE => Frame::ConnectionClose { code: r.varint()?, frame_type: None, reason: r.varint_bytes()? },
        HANDSHAKE_DONE => Frame::HandshakeDone,
        IMMEDIATE_ACK => Frame::ImmediateAck,
        DATAGRAM => Frame::Datagram(r.rest()),
        DATAGRAM_LEN => Frame::Datagram(r.varint_bytes()?),
        ACK_FREQUENCY => Frame::AckFrequency {
            sequence: r.varint()?,
            threshold: r.varint()?,
            max_ack_delay_us: r.varint()?,
            reordering_threshold: r.varint()?,
        },
        // RFC 9000 section 12.4: a frame of unknown type is a FRAME_ENCODING_ERROR.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
        //# An endpoint MUST treat the receipt of a frame of unknown type as a connection error of type
        //# FRAME_ENCODING_ERROR.
        _ => return Err(Refused::Invalid("unknown frame type")),
    })
}

/// A run of PADDING frames; the first byte has been consumed as the type.
fn padding<'a>(r: &mut Reader<'a>) -> Frame<'a> {
    let mut ahead = r.clone();
    let rest = ahead.rest();
    // A client's first packet is mostly this: eight at a time.
    let (words, _) = rest.as_chunks::<8>();
    let whole = words.iter().take_while(|word| **word == [0; 8]).count().saturating_mul(8);
    let tail = rest.get(whole..).unwrap_or(&[]).iter().take_while(|b| **b == 0).count();
    let run = whole.saturating_add(tail);
    // Cannot fail: the run was counted in the bytes that remain.
    let _ = r.bytes(run);
    Frame::Padding(run.saturating_add(1))
}

/// RFC 9000 sections 19.11 and 19.14: a count above 2^60 cannot be a stream ID any more.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.11
//# Receipt of a frame that permits opening of a stream larger than this limit MUST be treated as a connection error of
//# type FRAME_ENCODING_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.14
//# Receipt of a frame that encodes a larger stream ID MUST be treated as a connection error of type STREAM_LIMIT_ERROR
//# or FRAME_ENCODING_ERROR.
fn stream_count(r: &mut Reader<'_>) -> Result<u64, Refused> {
    let count = r.varint()?;
    //= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
    //# If either is received, the connection MUST be closed immediately with a connection error of type
    //# TRANSPORT_PARAMETER_ERROR if the offending value was received in a transport parameter or of type
    //# FRAME_ENCODING_ERROR if it was received in a frame; see Section 10.2.
    if count > MAX_STREAM_COUNT {
        return Err(Refused::Invalid("stream count above 2^60"));
    }
    Ok(count)
}

/// RFC 9000 section 19.15.
fn new_connection_id<'a>(r: &mut Reader<'_>) -> Result<Frame<'a>, Refused> {
    let sequence = r.varint()?;
    let retire_prior_to = r.varint()?;
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
    //# Receiving a value in the Retire Prior To field that is greater than that in the Sequence Number field MUST be
    //# treated as a connection error of type FRAME_ENCODING_ERROR.
    if retire_prior_to > sequence {
        return Err(Refused::Invalid("retire_prior_to above the sequence number"));
    }
    let len = usize::from(r.u8()?);
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
    //# Values less than 1 and greater than 20 are invalid and MUST be treated as a connection error of type
    //# FRAME_ENCODING_ERROR.
    if len == 0 || len > crate::base::cid::MAX_CID_LEN {
        return Err(Refused::Invalid("connection ID length not in 1 to 20"));
    }
    let cid = ConnectionId::new(r.bytes(len)?).ok_or(Refused::Invalid("connection ID length not in 1 to 20"))?;
    Ok(Frame::NewConnectionId { sequence, retire_prior_to, cid, token: ResetToken(r.fixed()?) })
}
