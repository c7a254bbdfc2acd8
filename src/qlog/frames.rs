//! Frames as qlog shows them (draft-ietf-quic-qlog-quic-events section 8.13).
use super::json::{Array, Object};
use crate::base::{Dir, codes::transport};
use crate::wire::frame::{Frame, Frames};
use std::borrow::Cow;

/// Writes every frame of a decrypted payload; a malformed rest is shown as one unknown frame.
pub(super) fn write_all(array: &mut Array<'_>, payload: &[u8]) {
    for item in Frames::new(payload) {
        match item {
            Ok((_, frame)) => array.object(|o| write(o, &frame)),
            Err(e) => {
                array.object(|o| {
                    o.text("frame_type", "unknown");
                    o.number("frame_type_bytes", e.frame_type);
                });
                break;
            }
        }
    }
}

fn length(o: &mut Object<'_>, len: usize) {
    o.object("raw", |r| r.number("length", u64::try_from(len).unwrap_or(u64::MAX)));
}

fn stream_type(dir: Dir) -> &'static str {
    match dir {
        Dir::Bi => "bidirectional",
        Dir::Uni => "unidirectional",
    }
}

fn write(o: &mut Object<'_>, frame: &Frame<'_>) {
    o.text("frame_type", name(frame));
    match frame {
        Frame::Padding(n) => o.object("raw", |r| r.number("payload_length", u64::try_from(*n).unwrap_or(u64::MAX))),
        Frame::Ping | Frame::HandshakeDone | Frame::ImmediateAck => {}
        Frame::Ack(ack) => {
            o.number("ack_delay_raw", ack.delay);
            o.ranges("acked_ranges", ack.ranges());
            if let Some(ecn) = ack.ecn {
                o.number("ect1", ecn.ect1);
                o.number("ect0", ecn.ect0);
                o.number("ce", ecn.ce);
            }
        }
        Frame::ResetStream { id, code, final_size } => {
            o.number("stream_id", id.0);
            o.text("error", "unknown");
            o.number("error_code", *code);
            o.number("final_size", *final_size);
        }
        Frame::ResetStreamAt { id, code, final_size, reliable_size } => {
            o.number("stream_id", id.0);
            o.text("error", "unknown");
            o.number("error_code", *code);
            o.number("final_size", *final_size);
            o.number("reliable_size", *reliable_size);
        }
        Frame::StopSending { id, code } => {
            o.number("stream_id", id.0);
            o.text("error", "unknown");
            o.number("error_code", *code);
        }
        Frame::Crypto { offset, data } => {
            o.number("offset", *offset);
            length(o, data.len());
        }
        Frame::NewToken(token) => o.object("token", |t| length(t, token.len())),
        Frame::Stream { id, offset, fin, data } => {
            o.number("stream_id", id.0);
            o.number("offset", *offset);
            o.flag("fin", *fin);
            length(o, data.len());
        }
        Frame::MaxData(max) => o.number("maximum", *max),
        Frame::MaxStreamData { id, max } => {
            o.number("stream_id", id.0);
            o.number("maximum", *max);
        }
        Frame::MaxStreams { dir, max } => {
            o.text("stream_type", stream_type(*dir));
            o.number("maximum", *max);
        }
        Frame::DataBlocked(limit) => o.number("limit", *limit),
        Frame::StreamDataBlocked { id, limit } => {
            o.number("stream_id", id.0);
            o.number("limit", *limit);
        }
        Frame::StreamsBlocked { dir, limit } => {
            o.text("stream_type", stream_type(*dir));
            o.number("limit", *limit);
        }
        Frame::NewConnectionId { sequence, retire_prior_to, cid, .. } => {
            o.number("sequence_number", *sequence);
            o.number("retire_prior_to", *retire_prior_to);
            o.display("connection_id", cid);
        }
        Frame::RetireConnectionId(sequence) => o.number("sequence_number", *sequence),
        Frame::PathChallenge(data) | Frame::PathResponse(data) => o.hex("data", data),
        Frame::ConnectionClose { code, frame_type, reason } => {
            o.text("error_space", if frame_type.is_some() { "transport" } else { "application" });
            match frame_type {
                Some(t) => {
                    o.text("error", &transport_error(*code));
                    o.number("trigger_frame_type", *t);
                }
                None => o.text("error", "unknown"),
            }
            o.number("error_code", *code);
            o.text("reason", &String::from_utf8_lossy(reason));
        }
        Frame::Datagram(data) => length(o, data.len()),
        Frame::AckFrequency { sequence, threshold, max_ack_delay_us, reordering_threshold } => {
            o.number("sequence_number", *sequence);
            o.number("ack_eliciting_threshold", *threshold);
            o.number("request_max_ack_delay_us", *max_ack_delay_us);
            o.number("reordering_threshold", *reordering_threshold);
        }
    }
}

fn name(frame: &Frame<'_>) -> &'static str {
    match frame {
        Frame::Padding(_) => "padding",
        Frame::Ping => "ping",
        Frame::Ack(_) => "ack",
        Frame::ResetStream { .. } => "reset_stream",
        Frame::ResetStreamAt { .. } => "reset_stream_at",
        Frame::StopSending { .. } => "stop_sending",
        Frame::Crypto { .. } => "crypto",
        Frame::NewToken(_) => "new_token",
        Frame::Stream { .. } => "stream",
        Frame::MaxData(_) => "max_data",
        Frame::MaxStreamData { .. } => "max_stream_data",
        Frame::MaxStreams { .. } => "max_streams",
        Frame::DataBlocked(_) => "data_blocked",
        Frame::StreamDataBlocked { .. } => "stream_data_blocked",
        Frame::StreamsBlocked { .. } => "streams_blocked",
        Frame::NewConnectionId { .. } => "new_connection_id",
        Frame::RetireConnectionId(_) => "retire_connection_id",
        Frame::PathChallenge(_) => "path_challenge",
        Frame::PathResponse(_) => "path_response",
        Frame::ConnectionClose { .. } => "connection_close",
        Frame::HandshakeDone => "handshake_done",
        Frame::Datagram(_) => "datagram",
        Frame::ImmediateAck => "immediate_ack",
        Frame::AckFrequency { .. } => "ack_frequency",
    }
}

/// Name of a transport error code (sections 8.13.24 and 8.13.26).
pub(super) fn transport_error(code: u64) -> Cow<'static, str> {
    let known = match code {
        transport::NO_ERROR => "no_error",
        transport::INTERNAL_ERROR => "internal_error",
        transport::CONNECTION_REFUSED => "connection_refused",
        transport::FLOW_CONTROL_ERROR => "flow_control_error",
        transport::STREAM_LIMIT_ERROR => "stream_limit_error",
        transport::STREAM_STATE_ERROR => "stream_state_error",
        transport::FINAL_SIZE_ERROR => "final_size_error",
        transport::FRAME_ENCODING_ERROR => "frame_encoding_error",
        transport::TRANSPORT_PARAMETER_ERROR => "transport_parameter_error",
        transport::CONNECTION_ID_LIMIT_ERROR => "connection_id_limit_error",
        transport::PROTOCOL_VIOLATION => "protocol_violation",
        transport::INVALID_TOKEN => "invalid_token",
        transport::APPLICATION_ERROR => "application_error",
        transport::CRYPTO_BUFFER_EXCEEDED => "crypto_buffer_exceeded",
        transport::KEY_UPDATE_ERROR => "key_update_error",
        transport::AEAD_LIMIT_REACHED => "aead_limit_reached",
        transport::NO_VIABLE_PATH => "no_viable_path",
        0x100..=0x1ff => return Cow::Owned(format!("crypto_error_{code:#05x}")),
        _ => "unknown",
    };
    Cow::Borrowed(known)
}
