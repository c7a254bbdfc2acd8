//! From a decrypted payload to the rooms that its frames belong to (RFC 9000 sections 12.4 and 13.1).
//!
//! Invariant: a frame is acted upon only at a level that permits it, and every error carries its frame type.
use core::time::Duration;

use super::Connection;
use super::events::Event;
use super::receive::{Arrival, OpenedPacket};
use crate::base::{Level, SpaceId, Timestamp, TransportError, codes::transport};
use crate::wire::frame::{self, types};
use crate::wire::{Ack, Frame, Frames};

fn violation(reason: &'static str) -> TransportError {
    TransportError::new(transport::PROTOCOL_VIOLATION, reason)
}

impl Connection {
    /// All frames of one packet.
    pub(super) fn on_payload(
        &mut self,
        arrival: &Arrival,
        packet: &OpenedPacket,
        payload: &[u8],
    ) -> Result<(), TransportError> {
        // RFC 9000 section 12.4: a packet without frames.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
        //# An endpoint MUST treat receipt of a packet containing no frames as a connection error of type
        //# PROTOCOL_VIOLATION.
        if payload.is_empty() {
            return Err(violation("packet without frames"));
        }
        let mut eliciting = false;
        let mut non_probing = false;
        let mut frames = Frames::new(payload);
        let mut before = frames.position();
        while let Some(next) = frames.next() {
            let (ty, frame) = next?;
            //= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
            //# An endpoint MUST treat receipt of a frame in a packet type that is not permitted as a connection error
            //# of type PROTOCOL_VIOLATION.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.4
            //# Endpoints MUST treat receipt of Handshake packets with other frames as a connection error of type
            //= https://www.rfc-editor.org/rfc/rfc9001#section-8.3
            //# A server MUST treat receipt of a CRYPTO frame in a 0-RTT packet as a connection error of type
            //# PROTOCOL_VIOLATION.
            if !frame::permitted(ty, packet.level) {
                return Err(violation("frame not permitted at this level").in_frame(ty));
            }
            eliciting |= frame::is_ack_eliciting(ty);
            non_probing |= !frame::is_probing(ty);
            let len = frames.position().saturating_sub(before);
            before = frames.position();
            self.on_frame(arrival, packet, &frame, len).map_err(|e| blame(e, ty))?;
            if !self.life.is_open() {
                return Ok(());
            }
        }
        let space = packet.level.space();
        let highest =
            self.received(arrival.path, space).is_some_and(|r| r.largest().is_none_or(|largest| packet.pn > largest));
        //= https://www.rfc-editor.org/rfc/rfc9000#section-13.1
        //# A packet MUST NOT be acknowledged until packet protection has been successfully removed and all frames
        //# contained in the packet have been processed.
        if let Some(received) = self.received(arrival.path, space) {
            // RFC 9000 section 13.2.5: the ACK Delay of a packet that had to wait for its keys has the wait in it.
            received.on_packet(packet.pn, eliciting, arrival.ecn, arrival.at);
        }
        if packet.level == Level::OneRtt && non_probing {
            self.on_non_probing(arrival, packet, highest);
        }
        Ok(())
    }

    fn on_frame(
        &mut self,
        arrival: &Arrival,
        packet: &OpenedPacket,
        frame: &Frame<'_>,
        frame_len: usize,
    ) -> Result<(), TransportError> {
        let now = arrival.now;
        match *frame {
            Frame::Stream { id, offset, fin, data } => {
                self.streams.on_stream(id, offset, data, fin, now)?;
                if packet.level == Level::ZeroRtt {
                    self.streams.on_early(id);
                }
            }
            Frame::Ack(ref ack) => {
                //= https://www.rfc-editor.org/rfc/rfc9001#section-6.2
                //# An endpoint that receives an acknowledgment that is carried in a packet protected with old keys
                //# where any acknowledged packet was protected with newer keys MAY treat that as a connection error of
                //# type KEY_UPDATE_ERROR.
                let keys = self.data.keys.as_ref().filter(|_| packet.old_keys);
                if keys.is_some_and(|k| k.is_of_this_phase(ack.largest)) {
                    let text = "acknowledgement of newer keys under old ones";
                    return Err(TransportError::new(transport::KEY_UPDATE_ERROR, text));
                }
                self.on_ack(packet.level.space(), ack, now)?;
            }
            Frame::Padding(_) | Frame::Ping => {}
            Frame::MaxData(max) => self.streams.on_max_data(max),
            Frame::MaxStreamData { id, max } => self.streams.on_max_stream_data(id, max)?,
            Frame::MaxStreams { dir, max } => self.streams.on_max_streams(dir, max)?,
            Frame::ResetStream { id, code, final_size } => self.streams.on_reset_stream(id, code, final_size)?,
            Frame::ResetStreamAt { id, code, final_size, reliable_size } => {
                self.streams.on_reset_stream_at(id, code, final_size, reliable_size)?;
            }
            Frame::StopSending { id, code } => self.streams.on_stop_sending(id, code)?,
            Frame::DataBlocked(limit) => self.streams.on_data_blocked(limit),
            Frame::StreamDataBlocked { id, limit } => self.streams.on_stream_data_blocked(id, limit)?,
            Frame::StreamsBlocked { dir, limit } => self.streams.on_streams_blocked(dir, limit)?,
            Frame::Datagram(data) => {
                self.datagrams.on_datagram(data, frame_len)?;
                self.datagram_arrived = true;
            }
            Frame::Crypto { offset, data } => self.on_crypto(packet.level, offset, data, now)?,
            Frame::HandshakeDone => self.on_handshake_done(now)?,
            Frame::NewToken(token) => self.on_new_token(token)?,
            Frame::NewConnectionId { sequence, retire_prior_to, cid, token } => {
                self.on_new_connection_id(sequence, retire_prior_to, cid, token)?;
            }
            Frame::RetireConnectionId(sequence) => self.on_retire_connection_id(sequence, packet)?,
            Frame::PathChallenge(data) => self.on_path_challenge(arrival, data),
            Frame::PathResponse(data) => self.on_path_response(arrival, data),
            Frame::ConnectionClose { code, frame_type, reason } => self.on_peer_close(code, frame_type, reason, now),
            Frame::ImmediateAck => self.on_immediate_ack()?,
            Frame::AckFrequency { sequence, threshold, max_ack_delay_us, reordering_threshold } => {
                self.on_ack_frequency(sequence, threshold, max_ack_delay_us, reordering_threshold)?;
            }
        }
        Ok(())
    }

    fn on_ack(&mut self, space: SpaceId, ack: &Ack<'_>, now: Timestamp) -> Result<(), TransportError> {
        self.stats.acks_received = self.stats.acks_received.saturating_add(1);
        let delay = if space == SpaceId::Data {
            let scale = 1u64.checked_shl(u32::from(self.peer.ack_delay_exponent)).unwrap_or(u64::MAX);
            Duration::from_micros(ack.delay.saturating_mul(scale).min(MAX_ACK_DELAY_US))
        } else {
            Duration::ZERO
        };
        self.with_sink(now, |recovery, paths, sink| recovery.on_ack(space, ack, delay, now, paths, sink))?;
        self.dirty = true;
        Ok(())
    }

    /// While closing only one thing counts: that the peer closes too (RFC 9000 section 10.2.1).
    pub(super) fn on_packet_while_closing(&mut self, packet: &OpenedPacket, payload: &[u8], now: Timestamp) {
        let mut frames = Frames::new(payload);
        while let Some(Ok((ty, frame))) = frames.next() {
            if matches!(frame, Frame::ConnectionClose { .. }) && frame::permitted(ty, packet.level) {
                self.drain(now);
                return;
            }
        }
        self.answer_while_closing();
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.7
    //# A server MUST treat receipt of a NEW_TOKEN frame as a connection error of type PROTOCOL_VIOLATION.
    fn on_new_token(&mut self, token: &[u8]) -> Result<(), TransportError> {
        // RFC 9000 section 19.7.
        if self.side.is_server() {
            return Err(violation("NEW_TOKEN from a client"));
        }
        //= https://www.rfc-editor.org/rfc/rfc9001#section-9.2
        //# clients MUST treat them as opaque values
        if token.len() <= MAX_TOKEN_LEN && self.new_tokens < MAX_NEW_TOKENS {
            self.new_tokens = self.new_tokens.saturating_add(1);
            if let Some(tls) = self.tls.as_ref() {
                tls.keep_token(self.paths.active().tuple.remote.port(), token);
            }
            self.events.push_back(Event::NewToken(token.into()));
        }
        Ok(())
    }
}

/// Longest token that is passed on: it must fit into a first Initial packet beside a ClientHello.
const MAX_TOKEN_LEN: usize = 512;
/// Tokens passed on per connection: more would only fill the application's queue.
const MAX_NEW_TOKENS: u8 = 8;
/// An ACK Delay beyond a minute means nothing; keeps arithmetic small.
const MAX_ACK_DELAY_US: u64 = 60_000_000;

/// RFC 9000 section 19.19: the error names the frame that caused it, unless a room already did.
fn blame(error: TransportError, ty: u64) -> TransportError {
    let tls = error.code >= transport::CRYPTO_ERROR;
    if error.frame_type != 0 || (tls && ty != types::CRYPTO) { error } else { error.in_frame(ty) }
}
