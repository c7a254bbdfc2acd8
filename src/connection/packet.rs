//! One packet under construction: header, frames, padding, seal, and a record for recovery.
//!
//! The packet number is taken only when the packet is finished, so that an empty attempt leaves no trace.
//! Invariant: what is sealed has at least four bytes of packet number and payload (RFC 9001 section 5.4.2).
use super::Connection;
use crate::base::{Level, Timestamp};
use crate::crypto::TAG_LEN;
use crate::recovery::{FrameToken, SentPacket};
use crate::wire::header::{self, FIXED_BIT};
use crate::wire::{LongHeader, LongMark, PacketType, Writer, packet_number};

/// RFC 9001 section 5.4.2: packet number and payload together, so that a header sample exists.
const MIN_SAMPLE: usize = 4;

/// A header that was written.
#[derive(Clone, Copy)]
pub(super) struct Draft {
    level: Level,
    pub(super) pn: u64,
    pn_at: usize,
    pn_len: usize,
    mark: Option<LongMark>,
    /// Where frames begin.
    pub(super) payload_at: usize,
}

/// What recovery and the books need to know of a finished packet.
#[derive(Clone, Copy, Default)]
pub(super) struct Finish {
    pub(super) path: u8,
    pub(super) eliciting: bool,
    pub(super) mtu_probe: bool,
    pub(super) ect: bool,
    /// Pad to the end of the buffer.
    pub(super) fill: bool,
    /// A probe, padding that section 14.1 of RFC 9000 demands, or the end: the congestion window need not admit it.
    pub(super) beyond_window: bool,
}

impl Connection {
    /// Writes the header of the next packet of `level` on `path`.
    pub(super) fn write_header(&self, level: Level, path: u8, w: &mut Writer<'_>) -> Option<Draft> {
        let space = level.space();
        let pn = self.recovery.peek_packet_number(path, space);
        if pn >= packet_number::MAX {
            return None;
        }
        // Two bytes unless the window needs more: a fixed length leaves nothing to move.
        let short = packet_number::encoded_len(pn, self.recovery.largest_acked(path, space)) <= 2;
        let pn_len = if short { 2 } else { 4 };
        let dcid = self.peer_cid_of(path)?;
        if level == Level::OneRtt {
            let phase = self.data.keys.as_ref()?.phase();
            let pn_at = header::write_short(w, &dcid, self.spin.bit(), phase, pn, pn_len).ok()?;
            return Some(Draft { level, pn, pn_at, pn_len, mark: None, payload_at: w.position() });
        }
        let hs = self.hs.as_ref()?;
        let ty = match level {
            Level::Initial => PacketType::Initial,
            Level::ZeroRtt => PacketType::ZeroRtt,
            _ => PacketType::Handshake,
        };
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.2
        //# This token MUST be repeated by the client in all Initial packets it sends for that connection after it
        //# receives the Retry packet.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
        //# The client MUST include the token in all Initial packets it sends, unless a Retry replaces the token with a
        //# newer one.
        let token: &[u8] = if level == Level::Initial { &hs.token } else { &[] };
        //= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
        //# The client MUST NOT send 0-RTT packets using the negotiated version,
        //# even after processing a packet of that version from the server.
        let version = if level == Level::ZeroRtt { hs.original_version } else { self.version };
        //= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
        //# Both endpoints MUST send Handshake and 1-RTT packets using the negotiated version.
        let long = LongHeader { ty, version, dcid: &dcid, scid: &self.scid, token };
        let mark = header::write_long(w, &long, pn, pn_len).ok()?;
        Some(Draft { level, pn, pn_at: mark.pn_at, pn_len, mark: Some(mark), payload_at: w.position() })
    }

    /// Pads, seals and records a packet whose frames end at `end`; its whole length.
    pub(super) fn finish_packet(
        &mut self,
        draft: &Draft,
        buf: &mut [u8],
        end: usize,
        tokens: &[FrameToken],
        how: Finish,
        now: Timestamp,
    ) -> usize {
        let room = buf.len().saturating_sub(TAG_LEN);
        let least = draft.payload_at.saturating_add(MIN_SAMPLE.saturating_sub(draft.pn_len));
        let padded = if how.fill { room } else { end.max(least).min(room) };
        if let Some(padding) = buf.get_mut(end..padded) {
            padding.fill(0);
        }
        let len = padded.saturating_add(TAG_LEN);
        let Some(packet) = buf.get_mut(..len) else { return 0 };
        //= https://www.rfc-editor.org/rfc/rfc9287#section-3.1
        //# However, a client MUST NOT set the QUIC Bit to 0 unless the Initial packets it sends include a token
        //# provided by the server in a NEW_TOKEN frame (Section 19.7 of [QUIC]), received less than 604800 seconds (7
        //# days) prior on a connection where the server also included the grease_quic_bit transport parameter.
        if let Some(mark) = draft.mark {
            header::finish_long(packet, mark, len.saturating_sub(draft.payload_at));
        } else {
            self.grease(packet);
        }
        if self.qlog.is_some() {
            let payload = buf.get(draft.payload_at..end).unwrap_or(&[]);
            self.log_sent(now, draft.level, draft.pn, len, payload);
        }
        let Some(packet) = buf.get_mut(..len) else { return 0 };
        let space = draft.level.space();
        let pn = self.recovery.next_packet_number(how.path, space);
        debug_assert_eq!(pn, draft.pn, "nothing takes a number between header and seal");
        if !self.seal(draft, packet) {
            return 0;
        }
        //= https://www.rfc-editor.org/rfc/rfc9002#section-7.5
        //# A sender MUST however count these packets as being additionally in flight, since these packets add network
        //# load without establishing packet loss.
        let sent = SentPacket {
            sent_at: now,
            size: u16::try_from(len).unwrap_or(u16::MAX),
            path: how.path,
            ack_eliciting: how.eliciting,
            // RFC 9002 section 2: padding counts as well.
            in_flight: how.eliciting || padded > end,
            mtu_probe: how.mtu_probe,
            ect: how.ect,
        };
        debug_assert!(
            how.beyond_window || !sent.in_flight || self.hs.is_some() || self.window_admits(how.path, len),
            "a packet of {len} bytes beyond the congestion window"
        );
        self.recovery.on_sent(space, pn, sent, tokens, &mut self.paths);
        self.stats.packets_sent = self.stats.packets_sent.saturating_add(1);
        if how.eliciting {
            self.idle.on_sent();
        }
        len
    }

    /// A packet of `len` bytes may leave as far as the congestion window of its path is concerned.
    pub(super) fn window_admits(&self, path: u8, len: usize) -> bool {
        self.paths.get(path).is_none_or(|p| p.recovery.congestion_room() >= len as u64)
    }

    fn seal(&mut self, draft: &Draft, packet: &mut [u8]) -> bool {
        let (pn_at, pn_len, pn) = (draft.pn_at, draft.pn_len, draft.pn);
        if draft.level == Level::OneRtt {
            let Some(keys) = self.data.keys.as_mut() else { return false };
            keys.protect(packet, pn_at, pn_len, pn);
            return true;
        }
        let Some(hs) = self.hs.as_ref() else { return false };
        let keys = match draft.level {
            Level::Initial => hs.initial.keys.as_ref().map(|k| &*k.local),
            Level::Handshake => hs.handshake.keys.as_ref().map(|k| &*k.local),
            _ => hs.zero_rtt.as_deref(),
        };
        let Some(keys) = keys else { return false };
        keys.protect(packet, pn_at, pn_len, pn);
        true
    }

    /// RFC 9287 section 3.1: an unpredictable QUIC bit once the peer said that it does not mind.
    //= https://www.rfc-editor.org/rfc/rfc9287#section-3.1
    //# A server MUST set the QUIC Bit to 0 only after processing transport parameters from a client.
    //= https://www.rfc-editor.org/rfc/rfc9287#section-3.1
    //# A server MUST NOT remember that a client negotiated the extension in a previous connection and set the QUIC Bit
    //# to 0 based on that information.
    //= https://www.rfc-editor.org/rfc/rfc9287#section-3.1
    //# An endpoint MUST NOT set the QUIC Bit to 0 without knowing whether the peer supports the extension.
    fn grease(&mut self, packet: &mut [u8]) {
        if !(self.peer.known && self.peer.grease_quic_bit && self.cfg.grease_quic_bit) {
            return;
        }
        self.grease_bits = self.grease_bits.rotate_left(1);
        if self.grease_bits & 1 == 0
            && let Some(first) = packet.first_mut()
        {
            *first &= !FIXED_BIT;
        }
    }
}
