//! Frames that are not stream data, in the order in which they deserve room (RFC 9000 sections 13 and 19).
//!
//! Each is idempotent and kept as a wish until it is written; a loss makes the wish again.
use super::Connection;
use super::ack_frequency::AckFrequency;
use crate::recovery::FrameToken;
use crate::wire::{Frame, Writer};

/// Wishes of the connection itself.
#[derive(Default)]
pub(super) struct Control {
    pub(super) handshake_done: bool,
    /// Server: kept until acknowledged.
    pub(super) new_token: Option<Box<[u8]>>,
    pub(super) new_token_pending: bool,
    pub(super) ping: bool,
    /// The application wants a key update that could not start yet.
    pub(super) key_update: bool,
    /// Probe packets still to be sent per space (RFC 9002 section 6.2.4).
    pub(super) probes: [u8; 3],
    /// Those for Data are what an expired probe timer lets go, whatever the congestion window says (section 7).
    pub(super) expired: bool,
    /// Packets without anything ack-eliciting since the last one with (RFC 9000 section 13.2.4).
    pub(super) acks_unanswered: u8,
    /// Our requests to the peer.
    pub(super) ack_frequency: Option<Box<AckFrequency>>,
    /// Largest sequence number of the peer's.
    pub(super) ack_frequency_seen: Option<u64>,
}

impl Control {
    /// Something for a 1-RTT packet.
    pub(super) fn wants(&self) -> bool {
        let ack_frequency = self.ack_frequency.as_ref().is_some_and(|f| f.wants_to_send());
        self.handshake_done || self.ping || ack_frequency || (self.new_token_pending && self.new_token.is_some())
    }

    pub(super) fn has_probes(&self) -> bool {
        self.probes.iter().any(|n| *n > 0)
    }

    /// A probe timer has expired, and not all packets that may leave for it have left.
    pub(super) fn has_expired(&self) -> bool {
        self.expired && self.probes[2] > 0
    }
}

impl Connection {
    /// Control frames wait for a 1-RTT packet.
    pub(super) fn wants_control(&self) -> bool {
        self.control.wants() || self.local_cids.wants_to_send() || self.peer_cids.wants_to_send()
    }

    /// Writes what fits.
    pub(super) fn write_control_frames(&mut self, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) {
        if self.control.handshake_done && Frame::HandshakeDone.write(w).is_ok() {
            self.control.handshake_done = false;
            tokens.push(FrameToken::HandshakeDone);
        }
        while let Some(sequence) = self.peer_cids.pop_retire() {
            if Frame::RetireConnectionId(sequence).write(w).is_err() {
                self.peer_cids.on_retire_lost(sequence);
                break;
            }
            tokens.push(FrameToken::RetireConnectionId(sequence));
        }
        while let Some(new) = self.local_cids.pop_new() {
            let frame = Frame::NewConnectionId {
                sequence: new.sequence,
                retire_prior_to: new.retire_prior_to,
                cid: new.cid,
                token: new.token,
            };
            if frame.write(w).is_err() {
                self.local_cids.on_lost(new.sequence);
                break;
            }
            tokens.push(FrameToken::NewConnectionId(new.sequence));
        }
        if self.control.new_token_pending
            && let Some(token) = &self.control.new_token
            && Frame::NewToken(token).write(w).is_ok()
        {
            self.control.new_token_pending = false;
            tokens.push(FrameToken::NewToken);
        }
        self.write_ack_frequency(w, tokens);
        if self.control.ping && Frame::Ping.write(w).is_ok() {
            self.control.ping = false;
            tokens.push(FrameToken::Other);
        }
    }
}
