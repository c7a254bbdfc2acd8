//! The batch loop (RFC 9000 sections 13 and 14): one call fills a region with equal datagrams of one path.
//!
//! The first packet of a batch is the slow one (acknowledgements, control frames, handshake levels, path
//! frames); the rest go through `bulk`. Invariant: no datagram leaves beyond the amplification budget
//! (section 8.1), none that counts in flight beyond the window except probes (RFC 9002 section 7).
use super::Connection;
use super::life::Phase;
use super::packet::Finish;
use super::timers::Timer;
use crate::base::{Ecn, FourTuple, Level, SpaceId, Timestamp};
use crate::crypto::TAG_LEN;
use crate::recovery::FrameToken;
use crate::wire::frame::write_ack;
use crate::wire::{Frame, Writer};

/// Below this a second packet in a datagram is not worth its header.
const MIN_COALESCED: usize = 64;
/// After that many packets that only acknowledge, a PING asks to be acknowledged (RFC 9000 section 13.2.4).
const ACKS_BEFORE_PING: u8 = 32;
/// A packet with a PING, and an acknowledgement if it is short.
pub(super) const SMALL_PACKET: usize = 160;
/// What data leave of the window for keep-alives while nobody answers.
const RESERVED_IN_VAIN: u64 = 2 * MIN_DATAGRAM as u64;
/// Probe timeouts in a row after which a path may have changed.
pub(super) const PROBES_IN_VAIN: u32 = 3;
/// RFC 9000 section 14: datagrams with Initial packets or path frames are padded to this.
pub(super) const MIN_DATAGRAM: usize = 1200;

/// One call's worth of datagrams for one path: `len` bytes of equal segments (the last may be shorter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub tuple: FourTuple,
    pub ecn: Ecn,
    pub len: usize,
    /// Segment size when there is more than one datagram.
    pub segment: Option<usize>,
}

/// What holds for a whole batch.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub(super) path: u8,
    pub(super) now: Timestamp,
    pub(super) ect: bool,
    /// Bytes of window and pacer that are left.
    pub(super) budget: u64,
    /// A full datagram of the path.
    pub(super) segment: usize,
    /// Another datagram of this batch may follow: fill this one up.
    pub(super) more: bool,
}

/// How a packet was built.
#[derive(Clone, Copy, Default)]
pub(super) struct Built {
    pub(super) len: usize,
    pub(super) eliciting: bool,
}

/// What a packet of the head path has to satisfy.
#[derive(Clone, Copy)]
struct Shape {
    /// The datagram needs its minimum size whatever is in this packet.
    pad: bool,
    /// No other packet follows in the datagram.
    last: bool,
}

impl Connection {
    pub(super) fn transmit_next(&mut self, now: Timestamp, out: &mut [u8], max_segments: usize) -> Option<Transmit> {
        self.settle(now);
        if self.control.key_update {
            self.start_wanted_key_update(now);
        }
        let active = self.paths.active();
        let sequence = active.cid.map_or(0, |c| c.sequence);
        self.spin.at(self.paths.active_index(), sequence, self.cfg.spin_bit, || self.rng.next_u64());
        let sent = match self.life.phase() {
            _ if self.out_of_numbers(now) => None,
            Phase::Closing if self.packets_left() == 0 => None,
            Phase::Closing => self.transmit_close(now, out),
            //= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.2
            //# While otherwise identical to the closing state, an endpoint in the draining state MUST NOT send any
            //# packets.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.2
            //# An endpoint MUST NOT send further packets.
            Phase::Draining | Phase::Drained => None,
            _ if self.out_of_keys(now) => None,
            _ => self
                //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
                //# An endpoint MUST NOT delay transmission of a packet containing a PATH_RESPONSE frame unless
                //# constrained by congestion control.
                .transmit_path_frames(now, out)
                .or_else(|| self.transmit_mtu_probe(now, out))
                .or_else(|| self.transmit_active(now, out, max_segments)),
        };
        self.settle(now);
        sent
    }

    /// Books a batch that was built.
    pub(super) fn sent_datagrams(&mut self, path: u8, len: usize, segment: Option<usize>, ecn: Ecn) -> Transmit {
        let segments = segment.map_or(1, |s| len.div_ceil(s.max(1))) as u64;
        self.stats.datagrams_sent = self.stats.datagrams_sent.saturating_add(segments);
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(len as u64);
        self.stats.largest_batch = self.stats.largest_batch.max(segments);
        self.paths.on_bytes_sent(path, len);
        if self.life.is_open() {
            self.dirty = true;
        }
        let tuple = self.paths.get(path).map_or_else(|| self.paths.active().tuple, |p| p.tuple);
        Transmit { tuple, ecn, len, segment: segment.filter(|s| *s < len) }
    }

    /// Data and acknowledgements on the active path.
    fn transmit_active(&mut self, now: Timestamp, out: &mut [u8], max_segments: usize) -> Option<Transmit> {
        let path = self.paths.active_index();
        let mtu = usize::from(self.paths.active().mtu());
        let segment = mtu.min(out.len());
        //= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
        //# The server MUST also limit the number of bytes it sends before validating the address of the client; see
        //# Section 8.
        let tight = self.tight_segment(path, segment);
        let blocked = self.paths.sendable(path) < tight.unwrap_or(segment) as u64;
        if blocked != self.amplification_blocked {
            // RFC 9002 section 6.2.2.1: a blocked server arms no timer.
            self.amplification_blocked = blocked;
            self.dirty = true;
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-14
        //# QUIC MUST NOT be used if the network path cannot support a maximum datagram size of at least 1200 bytes.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-14.2
        //# If a QUIC endpoint determines that the PMTU between any pair of local and remote IP addresses cannot support
        //# the smallest allowed maximum datagram size of 1200 bytes, it MUST immediately cease sending QUIC packets,
        //# except for those in PMTU probes or those containing CONNECTION_CLOSE frames, on the affected path.
        if segment < MIN_DATAGRAM {
            return None;
        }
        if self.amplification_blocked {
            return self.transmit_tight(path, now, out);
        }
        let segment = tight.unwrap_or(segment);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
        //# Prior to validating the client address, servers MUST NOT send more than three times as many bytes as the
        //# number of bytes they have received.
        let allowed = (self.paths.sendable(path) / segment as u64).min(self.packets_left());
        let max_segments = max_segments.min(usize::try_from(allowed).unwrap_or(usize::MAX)).min(out.len() / segment);
        let ecn = self.ecn_mark(path);
        let budget = self.send_budget(path, segment.saturating_mul(max_segments), now);
        let mut batch = Batch { path, now, ect: ecn != Ecn::NotEct, budget, segment, more: true };
        let mut len = 0usize;
        let mut charged = 0u64;
        for index in 0..max_segments {
            let end = len.saturating_add(segment);
            let Some(buf) = out.get_mut(len..end) else { break };
            batch.more = index + 1 < max_segments;
            let built = if self.hs.is_some() {
                self.build_coalesced(&batch, buf)
            } else if index == 0 {
                self.build_packet(Level::OneRtt, &batch, buf, Shape { pad: false, last: true })
            } else {
                self.build_bulk(&batch, buf)
            };
            len = len.saturating_add(built.len);
            if built.eliciting {
                batch.budget = batch.budget.saturating_sub(built.len as u64);
                charged = charged.saturating_add(built.len as u64);
            }
            // Only the last of equal segments may be shorter.
            if built.len < segment {
                break;
            }
        }
        if len == 0 {
            return None;
        }
        if charged > 0
            && self.cfg.pacing
            && let Some(p) = self.paths.get_mut(path)
        {
            p.recovery.pacer.charge(charged, now);
        }
        Some(self.sent_datagrams(path, len, Some(segment), ecn))
    }

    /// An acknowledgement out of the little that may be sent to a new address that has proved nothing yet: a client whose
    /// packets are small would hear nothing else for long.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8
    //# Therefore, after receiving packets from an address that is not yet validated, an endpoint MUST limit the amount
    //# of data it sends to the unvalidated address to three times the amount of data received from that address.
    fn transmit_tight(&mut self, path: u8, now: Timestamp, out: &mut [u8]) -> Option<Transmit> {
        let sendable = usize::try_from(self.paths.sendable(path)).unwrap_or(usize::MAX);
        if !self.is_confirmed() || sendable < MIN_COALESCED || !self.ack_due(SpaceId::Data) {
            return None;
        }
        let buf = out.get_mut(..sendable.min(MIN_DATAGRAM))?;
        let ecn = self.ecn_mark(path);
        let batch = Batch { path, now, ect: ecn != Ecn::NotEct, budget: 0, segment: buf.len(), more: false };
        let built = self.build_packet(Level::OneRtt, &batch, buf, Shape { pad: false, last: true });
        (built.len > 0).then(|| self.sent_datagrams(path, built.len, None, ecn))
    }

    pub(super) fn ecn_mark(&self, path: u8) -> Ecn {
        self.paths.get(path).map_or(Ecn::NotEct, |p| p.recovery.ecn.mark())
    }

    /// Bytes that window and pacer let go now.
    //= https://www.rfc-editor.org/rfc/rfc9221#section-5.4
    //# The sender MUST either delay sending the frame until the controller allows it or drop the frame without sending
    //# it (at which point it MAY notify the application).
    fn send_budget(&mut self, path: u8, max: usize, now: Timestamp) -> u64 {
        self.timers.set(Timer::Pacing, None);
        if !self.wants_eliciting() {
            let throttled = self.streams.is_throttled();
            if let Some(p) = self.paths.get_mut(path) {
                p.recovery.pacer.rest();
                if !throttled {
                    p.recovery.on_app_limited();
                }
            }
            return 0;
        }
        let reserve = if self.in_vain() { RESERVED_IN_VAIN } else { 0 };
        let pacing = self.cfg.pacing;
        let Some(p) = self.paths.get_mut(path) else { return 0 };
        let max = if reserve > 0 {
            // The other half of the least window is for keep-alives. What is new may be what is answered, though.
            let room = p.recovery.congestion_room().saturating_sub(reserve);
            if room < u64::from(p.mtu()) {
                return 0;
            }
            max.min(usize::try_from(room).unwrap_or(usize::MAX))
        } else {
            max
        };
        if !pacing {
            return p.recovery.congestion_room().min(max as u64);
        }
        let grant = p.recovery.send_grant(now, max as u64);
        let at = if grant == 0 && p.recovery.congestion_room() > 0 { p.recovery.pacer.deadline() } else { None };
        self.timers.set(Timer::Pacing, at);
        grant
    }

    /// Anything but acknowledgements waits.
    pub(super) fn wants_eliciting(&self) -> bool {
        let early = self.hs.as_ref().is_some_and(|h| {
            (h.initial.keys.is_some() && h.initial.crypto.send.wants_to_send())
                || (h.handshake.keys.is_some() && h.handshake.crypto.send.wants_to_send())
        });
        early || self.wants_data()
    }

    /// Anything but acknowledgements waits for a 0-RTT or 1-RTT packet.
    pub(super) fn wants_data(&self) -> bool {
        let zero_rtt = self.side.is_client() && self.hs.as_ref().is_some_and(|h| h.zero_rtt.is_some());
        if !(self.data.keys.is_some() || zero_rtt) {
            return false;
        }
        self.streams.wants_to_send()
            || self.datagrams.wants_to_send()
            || (self.data.keys.is_some() && (self.data.crypto.send.wants_to_send() || self.wants_control()))
    }

    /// The level can be written and has something to say.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-4.9
    //# Though an endpoint might retain older keys, new data MUST be sent at the highest currently available encryption
    //# level.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-5.6
    //# A server MUST NOT use 0-RTT keys to protect packets; it uses 1-RTT keys to protect acknowledgments of 0-RTT
    //# packets.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-5.6
    //# Once a client has installed 1-RTT keys, it MUST NOT send any more 0-RTT packets.
    fn level_wants(&mut self, level: Level, batch: &Batch) -> bool {
        let space = level.space();
        let probing = self.control.probes.get(space.index()).is_some_and(|n| *n > 0);
        //= https://www.rfc-editor.org/rfc/rfc9002#section-7.5
        //# Probe packets MUST NOT be blocked by the congestion controller.
        let may_elicit = probing || batch.budget >= batch.segment as u64;
        match level {
            Level::ZeroRtt => {
                let usable = self.side.is_client() && self.hs.as_ref().is_some_and(|h| h.zero_rtt.is_some());
                //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.3
                //# A client MUST NOT send 0-RTT packets once it starts processing 1-RTT packets from the server.
                usable && self.data.keys.is_none() && (probing || (may_elicit && self.wants_data()))
            }
            Level::OneRtt => {
                let ping = self.may_ping(batch.path);
                self.data.keys.is_some()
                    && (probing || ping || self.ack_due(space) || (may_elicit && self.wants_data()))
            }
            Level::Initial | Level::Handshake => {
                let crypto = self.crypto_stream(space).is_some_and(|c| c.send.wants_to_send());
                self.has_keys(space) && (probing || self.ack_due(space) || (may_elicit && crypto))
            }
        }
    }

    pub(super) fn ack_due(&mut self, space: SpaceId) -> bool {
        let path = self.paths.active_index();
        self.received(path, space).is_some_and(|r| r.ack_due())
    }

    /// A datagram of the handshake: every level that has something to say (RFC 9000 section 12.2).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.2
    //# Senders MUST NOT coalesce QUIC packets with different connection IDs into a single UDP datagram.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
    //# A client MUST expand the payload of all UDP datagrams carrying Initial packets to at least the smallest allowed
    //# maximum datagram size of 1200 bytes by adding PADDING frames to the Initial packet or by coalescing the Initial
    //# packet; see Section 12.2.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
    //# Similarly, a server MUST expand the payload of all UDP datagrams carrying ack-eliciting Initial packets to at
    //# least the smallest allowed maximum datagram size of 1200 bytes.
    fn build_coalesced(&mut self, batch: &Batch, buf: &mut [u8]) -> Built {
        const LEVELS: [Level; 4] = [Level::Initial, Level::ZeroRtt, Level::Handshake, Level::OneRtt];
        let wants = LEVELS.map(|level| self.level_wants(level, batch));
        let mut total = Built::default();
        let mut pad = false;
        let mut wrote_handshake = false;
        for (index, level) in LEVELS.into_iter().enumerate() {
            let more = wants.iter().skip(index + 1).any(|w| *w);
            if !wants.get(index).is_some_and(|w| *w) {
                continue;
            }
            let Some(room) = buf.get_mut(total.len..).filter(|r| r.len() >= MIN_COALESCED) else { break };
            // RFC 9000 section 14.1: every datagram of a client that has an Initial packet.
            let initial = level == Level::Initial;
            //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
            //# Clients MUST ensure that UDP datagrams containing Initial packets have UDP payloads of at least 1200
            //# bytes, adding PADDING frames as necessary.
            //= https://www.rfc-editor.org/rfc/rfc9001#section-9.3
            //# First, the packet containing a ClientHello MUST be padded to a minimum size.
            pad |= initial && self.side.is_client();
            pad |= level == Level::Handshake && self.gives_server_room();
            let built = self.build_packet(level, batch, room, Shape { pad, last: !more });
            // The same for a server's ack-eliciting ones.
            pad |= initial && built.eliciting;
            wrote_handshake |= level == Level::Handshake && built.len > 0;
            total.len = total.len.saturating_add(built.len);
            total.eliciting |= built.eliciting;
        }
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.1
        //# Thus, a client MUST discard Initial keys when it first sends a Handshake packet and a server MUST discard
        //# Initial keys when it first successfully processes a Handshake packet.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.1
        //# Endpoints MUST NOT send Initial packets after this point.
        if wrote_handshake && self.side.is_client() {
            // RFC 9001 section 4.9.1.
            self.discard_space(SpaceId::Initial);
        }
        total
    }

    /// One packet with everything that may be in it.
    fn build_packet(&mut self, level: Level, batch: &Batch, buf: &mut [u8], shape: Shape) -> Built {
        let space = level.space();
        let desperate = level == Level::OneRtt && self.probes_in_vain();
        let buf = if desperate { buf.get_mut(..self.probe_size(batch)).unwrap_or_default() } else { buf };
        let probing = self.control.probes.get(space.index()).is_some_and(|n| *n > 0);
        // A PING that the window admits although it does not admit a full datagram.
        let ping =
            level == Level::OneRtt && !probing && batch.budget < batch.segment as u64 && self.may_ping(batch.path);
        let buf = if ping { buf.get_mut(..SMALL_PACKET.min(batch.segment)).unwrap_or_default() } else { buf };
        let limit = buf.len().saturating_sub(TAG_LEN);
        let Some(body) = buf.get_mut(..limit) else { return Built::default() };
        let mut w = Writer::new(body);
        let Some(draft) = self.write_header(level, batch.path, &mut w) else { return Built::default() };
        self.repeat_for_probe(level, batch.now);
        let mut tokens = core::mem::take(&mut self.tokens);
        tokens.clear();
        // A datagram that must be padded counts in flight in any case: frames instead of PING and padding.
        let force = shape.pad && shape.last;
        let may_elicit = probing || force || batch.budget >= batch.segment as u64;
        if level != Level::ZeroRtt {
            let company = may_elicit && self.wants_eliciting();
            self.write_ack_frame(space, company, batch.path, batch.now, &mut w, &mut tokens);
        }
        let after_ack = w.position();
        if may_elicit {
            self.write_frames(level, &mut w, &mut tokens);
        }
        // draft-ietf-quic-ack-frequency section 7: the answer to a probe shall not wait.
        if probing
            && level == Level::OneRtt
            && self.peer.min_ack_delay.is_some()
            && Frame::ImmediateAck.write(&mut w).is_ok()
        {
            tokens.push(FrameToken::Other);
        }
        let mut eliciting = w.position() > after_ack;
        let ack_only = after_ack > draft.payload_at && !eliciting;
        let ask = ack_only
            && self.asks_for_ack(batch.path, space, draft.pn)
            && self.window_admits(batch.path, w.position().saturating_add(1 + TAG_LEN));
        //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.4
        //# All probe packets sent on a PTO MUST be ack-eliciting.
        if !eliciting && (probing || force || ask || ping) && Frame::Ping.write(&mut w).is_ok() {
            tokens.push(FrameToken::Other);
            self.control.ping &= !ping;
            eliciting = true;
        }
        let end = w.position();
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
        //# The payload of a packet that contains frames MUST contain at least one frame, and MAY contain multiple
        //# frames and multiple frame types.
        if end == draft.payload_at {
            self.tokens = tokens;
            return Built::default();
        }
        if probing && let Some(n) = self.control.probes.get_mut(space.index()) {
            *n = n.saturating_sub(1);
            // RFC 9002 section 6.2.4: a probe rather carries data than a PING. When one packet holds everything that
            // is outstanding, the second probe repeats it.
            let left = usize::from(*n);
            if left > 0 && matches!(level, Level::Initial | Level::Handshake) {
                self.with_sink(batch.now, |recovery, _, sink| recovery.for_probe(space, left, sink));
            }
        }
        self.control.acks_unanswered = if eliciting { 0 } else { self.control.acks_unanswered.saturating_add(1) };
        let server_initial = level == Level::Initial && eliciting;
        let left = limit.saturating_sub(end);
        let must_pad = (shape.pad || server_initial) && (shape.last || left < MIN_COALESCED);
        // A packet that is as full as it gets is made a whole segment, so that the batch can go on.
        let fill = must_pad
            || (desperate && self.has_to_be_answered_in_full())
            || (eliciting && shape.last && batch.more && self.fills_up(batch, end));
        let beyond_window = probing || shape.pad;
        let how = Finish { path: batch.path, eliciting, mtu_probe: false, ect: batch.ect, fill, beyond_window };
        let len = self.finish_packet(&draft, buf, end, &tokens, how, batch.now);
        self.tokens = tokens;
        Built { len, eliciting }
    }

    /// A client's second probe of its first flight repeats what the first one carried: either may be lost, and an Initial
    /// packet is to have CRYPTO frames or an acknowledgement, not a PING alone (RFC 9000 section 17.2.2), which servers
    /// refuse when it is the first that they see. A server has better use for the bytes that it may send.
    fn repeat_for_probe(&mut self, level: Level, now: Timestamp) {
        let space = level.space();
        let probing = self.control.probes.get(space.index()).is_some_and(|n| *n > 0);
        if !probing || level != Level::Initial || self.side.is_server() {
            return;
        }
        if self.crypto_stream(space).is_some_and(|c| !c.send.wants_to_send()) {
            self.with_sink(now, |recovery, _, sink| recovery.for_probe(space, 1, sink));
        }
    }

    /// A probe after others that nobody answered has at most 1200 bytes: what every path carries, should larger datagrams
    /// be what is lost (RFC 8899 section 4.3).
    fn probes_in_vain(&self) -> bool {
        let probing = self.control.probes.get(SpaceId::Data.index()).is_some_and(|n| *n > 0);
        probing && self.is_confirmed() && self.recovery.pto_count() >= PROBES_IN_VAIN
    }

    /// Most of them are small: the least window holds those of two timeouts and what keeps the connection alive between.
    fn probe_size(&self, batch: &Batch) -> usize {
        let second = self.control.probes.get(SpaceId::Data.index()).is_some_and(|n| *n == 1);
        let full = !self.in_vain() || (!second && self.recovery.pto_count().is_multiple_of(PROBES_IN_VAIN));
        if full { MIN_DATAGRAM.min(batch.segment) } else { SMALL_PACKET.min(batch.segment) }
    }

    /// A PING waits, and the congestion window has room for a small packet.
    fn may_ping(&self, path: u8) -> bool {
        let room = || self.paths.get(path).map_or(0, |p| p.recovery.congestion_room());
        self.control.ping && self.is_confirmed() && room() >= SMALL_PACKET as u64
    }

    /// A client's address may have changed without its knowledge, and until the new one is proved the server may answer
    /// with three times what it gets (RFC 9000 section 9.3.1). Now and then only: padding fills the window.
    fn has_to_be_answered_in_full(&self) -> bool {
        let first = self.control.probes.get(SpaceId::Data.index()).is_some_and(|n| *n > 0);
        self.side.is_client() && first && self.recovery.pto_count().is_multiple_of(PROBES_IN_VAIN)
    }

    /// The same before confirmation: a server that sees the client at another address has little to send its flight with
    /// while all that comes from there is small. Padding counts as in flight, so not every time.
    fn gives_server_room(&self) -> bool {
        let first = self.control.probes.get(SpaceId::Handshake.index()).is_some_and(|n| *n > 0);
        let count = self.recovery.pto_count();
        self.side.is_client()
            && first
            && (matches!(count, 1 | 2) || (count > 0 && count.is_multiple_of(PROBES_IN_VAIN)))
    }

    /// RFC 9000 section 13.2.4: a PING now and then keeps the ranges to report few; and a side that only receives
    /// learns from the answer that the path still works, and forgets its own old packets.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
    //# In that case, an endpoint MUST NOT send an ack-eliciting frame in all packets that would otherwise be
    //# non-ack-eliciting, to avoid an infinite feedback loop of acknowledgments.
    fn asks_for_ack(&mut self, path: u8, space: SpaceId, pn: u64) -> bool {
        let many_ranges = self.received(path, space).is_some_and(|r| r.should_elicit(pn));
        many_ranges || self.control.acks_unanswered >= ACKS_BEFORE_PING
    }

    /// More is waiting than fitted, and the next datagram may go as well.
    pub(super) fn fills_up(&self, batch: &Batch, used: usize) -> bool {
        batch.budget >= (batch.segment as u64).saturating_mul(2) && used > 0 && self.wants_data()
    }

    /// An ACK when one is due, or when it can ride along in `company`.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.6
    //# ACK frames MUST only be carried in a packet that has the same packet number space as the packet being
    //# acknowledged; see Section 12.1.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.6
    //# For instance, packets that are protected with 1-RTT keys MUST be acknowledged in packets that are also protected
    //# with 1-RTT keys.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.6
    //# Packets that a client sends with 0-RTT packet protection MUST be acknowledged by the server in packets protected
    //# by 1-RTT keys.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.3
    //# An acknowledgment for a 1-RTT packet MUST be carried in a 1-RTT packet.
    pub(super) fn write_ack_frame(
        &mut self,
        space: SpaceId,
        company: bool,
        path: u8,
        now: Timestamp,
        w: &mut Writer<'_>,
        tokens: &mut Vec<FrameToken>,
    ) {
        // RFC 9000 section 18.2: packets before the parameters are known use the default.
        let exponent = if space == SpaceId::Data { self.cfg.ack_delay_exponent.min(20) } else { 3 };
        let pn = self.recovery.peek_packet_number(path, space);
        let Some(received) = self.received(path, space) else { return };
        if !(received.ack_due() || (company && received.has_pending())) {
            return;
        }
        let Some(largest) = received.largest() else { return };
        let delay = u64::try_from(received.ack_delay(now).as_micros()).unwrap_or(0) >> exponent;
        let start = w.position();
        let ecn = received.ecn_counts();
        if write_ack(w, received.ranges_desc(), delay, ecn).is_ok() && w.position() > start {
            received.on_ack_sent(pn);
            tokens.push(FrameToken::Ack { largest });
            self.stats.acks_sent = self.stats.acks_sent.saturating_add(1);
        }
    }

    /// Ack-eliciting frames in the order in which they deserve room.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.5
    //# All other frame types MUST only be sent in the application data packet number space.
    fn write_frames(&mut self, level: Level, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) {
        if level != Level::ZeroRtt {
            self.write_crypto(level.space(), w, tokens);
        }
        if level == Level::OneRtt {
            self.write_control_frames(w, tokens);
        }
        //= https://www.rfc-editor.org/rfc/rfc9221#section-5
        //# Like STREAM frames, DATAGRAM frames contain application data and MUST be protected with either 0-RTT or
        //# 1-RTT keys.
        //= https://www.rfc-editor.org/rfc/rfc9221#section-6
        //# All application data transmitted with the DATAGRAM frame, like the STREAM frame, MUST be protected either by
        //# 0-RTT or 1-RTT keys.
        if matches!(level, Level::OneRtt | Level::ZeroRtt) {
            if self.streams.wants_control() {
                self.streams.write_control(w, tokens);
            }
            if self.datagrams.wants_to_send() {
                self.datagrams.write(w, tokens);
            }
            self.streams.write_stream_frames(w, tokens);
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9001#section-4
    //# If QUIC needs to retransmit that data, it MUST use the same keys even if TLS has already updated to newer keys.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-4.9
    //# If packets from a lower encryption level contain CRYPTO frames, frames that retransmit that data MUST be sent at
    //# the same encryption level.
    fn write_crypto(&mut self, space: SpaceId, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) {
        /// Type, offset and length at their longest.
        const OVERHEAD: usize = 1 + 8 + 4;
        #[cfg(feature = "sim")]
        if self.cfg.frame_style == super::frame_style::FrameStyle::ChaosCrypto {
            self.write_crypto_in_disorder(space, w, tokens);
            return;
        }
        while self.crypto_stream(space).is_some_and(|c| c.send.wants_to_send()) && w.remaining() > OVERHEAD {
            let room = w.remaining() - OVERHEAD;
            let Some(stream) = self.crypto_stream(space) else { return };
            let Some((offset, data)) = stream.send.take(room) else { continue };
            let len = data.len();
            if (Frame::Crypto { offset, data }).write(w).is_err() {
                stream.send.on_lost(offset, len as u64);
                return;
            }
            tokens.push(FrameToken::Crypto { offset, len: u32::try_from(len).unwrap_or(u32::MAX) });
        }
    }

    /// A packet whose only frames are those that `f` writes, not ack-eliciting: for CONNECTION_CLOSE.
    pub(super) fn build_plain(
        &mut self,
        level: Level,
        path: u8,
        buf: &mut [u8],
        fill: bool,
        now: Timestamp,
        f: impl FnOnce(&mut Writer<'_>),
    ) -> usize {
        let limit = buf.len().saturating_sub(TAG_LEN);
        let Some(body) = buf.get_mut(..limit) else { return 0 };
        let mut w = Writer::new(body);
        let Some(draft) = self.write_header(level, path, &mut w) else { return 0 };
        f(&mut w);
        let end = w.position();
        if end == draft.payload_at {
            return 0;
        }
        let how = Finish { path, fill, beyond_window: true, ..Finish::default() };
        self.finish_packet(&draft, buf, end, &[], how, now)
    }
}
