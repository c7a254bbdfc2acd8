//! From a datagram to decrypted packets (RFC 9000 sections 5.2 and 12.2, RFC 9001 sections 5.3 to 5.7).
//!
//! Invariant: until a packet has been opened with our keys it can only be dropped, with three exceptions that
//! have checks of their own: Version Negotiation, Retry, stateless reset.
use super::Connection;
use super::events::CloseReason;
use super::life::Phase;
use super::timers::Timer;
use crate::base::{ConnectionId, Ecn, FourTuple, Level, Side, SpaceId, Timestamp, TransportError, codes::transport};
use crate::crypto::{OneRttOpenError, OpenFailed};
use crate::qlog::DropTrigger;
use crate::wire::header::{self, LONG_RESERVED_BITS, SHORT_RESERVED_BITS, SPIN_BIT};
use crate::wire::{PacketType, packet_number, stateless_reset};

/// RFC 9000 section 14.1: smallest datagram that may carry an Initial packet.
pub(super) const MIN_INITIAL_DATAGRAM: usize = 1200;

/// Coalesced packets looked at per datagram: real ones have at most four; keeps tiny junk packets cheap.
const PACKETS_PER_DATAGRAM: usize = 16;

/// A parsed header without the borrow.
#[derive(Clone, Copy)]
pub(super) struct Header {
    ty: PacketType,
    pub(super) version: u32,
    dcid: ConnectionId,
    scid: ConnectionId,
    pn_offset: usize,
    len: usize,
    has_token: bool,
}

/// Where a packet came from.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) path: u8,
    pub(super) tuple: FourTuple,
    pub(super) ecn: Ecn,
    pub(super) datagram_len: usize,
    /// When it came: before `now` if it has waited for keys since.
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
}

/// An opened packet.
#[derive(Clone, Copy)]
pub(super) struct OpenedPacket {
    pub(super) level: Level,
    pub(super) pn: u64,
    pub(super) dcid: ConnectionId,
    /// 1-RTT: protected with keys that were replaced.
    pub(super) old_keys: bool,
    /// 1-RTT: the spin bit (RFC 9000 section 17.4).
    pub(super) spin: bool,
    payload_at: usize,
    payload_len: usize,
}

/// Why a packet was not opened.
enum NotOpened {
    /// Keys may come later.
    NoKeys,
    Drop,
    Duplicate(u64),
    Fatal(TransportError),
}

impl Connection {
    pub(super) fn receive_datagram(&mut self, tuple: &FourTuple, ecn: Ecn, datagram: &mut [u8], now: Timestamp) {
        self.stats.datagrams_received = self.stats.datagrams_received.saturating_add(1);
        self.stats.bytes_received = self.stats.bytes_received.saturating_add(datagram.len() as u64);
        if self.life.phase() >= Phase::Draining {
            return;
        }
        let Some(path) = self.paths.on_datagram_received(tuple, datagram.len(), now) else {
            self.count_drop();
            return;
        };
        let mut arrival = Arrival { path, tuple: *tuple, ecn, datagram_len: datagram.len(), at: now, now };
        // RFC 9000 section 10.3.1: read before anything is decrypted in place.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
        //# However, endpoints MUST treat any packet ending in a valid stateless reset token as a Stateless Reset, as
        //# other QUIC versions might allow the use of a long header.
        let reset = stateless_reset::token_at_end(datagram);
        let mut at = 0usize;
        let mut first_dcid = None;
        let mut opened_any = false;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.2
        //# Receivers MUST be able to process coalesced packets.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.2
        //# The receiver of coalesced QUIC packets MUST individually process each QUIC packet and separately acknowledge
        //# them, as if they were received as the payload of different UDP datagrams.
        for _ in 0..PACKETS_PER_DATAGRAM {
            let Some(rest) = datagram.get_mut(at..).filter(|r| !r.is_empty()) else { break };
            let Some(head) = self.parse(rest) else {
                self.count_drop();
                break;
            };
            at = at.saturating_add(head.len);
            let Some(packet) = rest.get_mut(..head.len) else { break };
            // RFC 9000 section 12.2: coalesced packets share their Destination Connection ID.
            if *first_dcid.get_or_insert(head.dcid) != head.dcid {
                self.count_drop();
                continue;
            }
            opened_any |= self.receive_packet(&mut arrival, head, packet);
            if self.life.phase() >= Phase::Draining {
                return;
            }
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
        //# However, the comparison MUST be performed when the first packet in an incoming datagram either cannot be
        //# associated with a connection or cannot be decrypted.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
        //# If the last 16 bytes of the datagram are identical in value to a stateless reset token, the endpoint MUST
        //# enter the draining period and not send any further packets on this connection.
        if !opened_any && reset.is_some_and(|t| self.peer_cids.is_reset_token(&t)) {
            self.end(CloseReason::StatelessReset, Phase::Draining, now);
            return;
        }
        self.replay_buffered(now);
        self.shrink_after_handshake();
    }

    fn parse(&self, bytes: &[u8]) -> Option<Header> {
        let short_len = self.scid.len();
        //= https://www.rfc-editor.org/rfc/rfc9287#section-3
        //# An endpoint that advertises the grease_quic_bit transport parameter MUST accept packets with the QUIC Bit
        //# set to a value of 0.
        let parsed = if self.cfg.grease_quic_bit {
            header::parse_greased(bytes, short_len)
        } else {
            header::parse(bytes, short_len)
        };
        let h = parsed.ok()?;
        Some(Header {
            ty: h.ty,
            version: h.version,
            dcid: h.dcid,
            scid: h.scid,
            pn_offset: h.pn_offset,
            len: h.packet_len,
            has_token: !h.token.is_empty(),
        })
    }

    pub(super) fn count_drop(&mut self) {
        self.stats.packets_dropped = self.stats.packets_dropped.saturating_add(1);
    }

    /// Handles one packet; `true` when it was the peer's, which no stateless reset can be.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.2
    //# For example, if decryption fails (because the keys are not available or for any other reason), the receiver MAY
    //# either discard or buffer the packet for later processing and MUST attempt to process the remaining packets.
    fn receive_packet(&mut self, arrival: &mut Arrival, head: Header, packet: &mut [u8]) -> bool {
        let Some(level) = head.ty.level() else {
            match head.ty {
                PacketType::Retry => self.on_retry(packet, arrival.now),
                _ => self.on_version_negotiation(packet, arrival.now),
            }
            return false;
        };
        if level == Level::Initial && head.version != self.version {
            self.prepare_version(&head);
        }
        if !self.acceptable(&head, level, arrival) {
            self.count_drop();
            return false;
        }
        match self.open_packet(&head, level, packet, arrival.now) {
            Ok(opened) => {
                self.stats.packets_received = self.stats.packets_received.saturating_add(1);
                let end = opened.payload_at.saturating_add(opened.payload_len);
                let payload = packet.get(opened.payload_at..end).unwrap_or(&[]);
                self.log_received(arrival.now, &opened, packet.len(), payload);
                self.on_authentic(arrival, &head, &opened, payload);
                true
            }
            Err(NotOpened::Duplicate(pn)) => {
                self.log_dropped(arrival.now, packet.len(), DropTrigger::Duplicate);
                self.stats.packets_duplicate = self.stats.packets_duplicate.saturating_add(1);
                self.on_duplicate(arrival, level, pn);
                true
            }
            Err(NotOpened::NoKeys) => {
                self.log_dropped(arrival.now, packet.len(), DropTrigger::KeyUnavailable);
                let kept = self.hs.as_mut().is_some_and(|h| h.buffer(arrival, packet));
                if !kept {
                    self.count_drop();
                }
                false
            }
            Err(NotOpened::Drop) => {
                self.log_dropped(arrival.now, packet.len(), DropTrigger::DecryptionFailure);
                self.count_drop();
                false
            }
            Err(NotOpened::Fatal(error)) => {
                self.fail(error, arrival.now);
                true
            }
        }
    }

    /// Checks of the clear part of the header.
    fn acceptable(&self, head: &Header, level: Level, arrival: &Arrival) -> bool {
        let Some(hs) = self.hs.as_ref() else {
            return level == Level::OneRtt && self.local_cids.contains(&head.dcid);
        };
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.2.1
        //# If a client receives a packet that uses a different version than it initially selected, it MUST discard that
        //# packet.
        if !self.version_fits(hs, head.version, level) {
            return false;
        }
        let original = self.side.is_server()
            && matches!(level, Level::Initial | Level::ZeroRtt)
            && (head.dcid == hs.initial_dcid || head.dcid == hs.odcid);
        if !original && !self.local_cids.contains(&head.dcid) {
            return false;
        }
        // RFC 9000 section 7.2: the peer's Source Connection ID does not change after the first packet.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
        //# Once a client has received a valid Initial packet from the server, it MUST discard any subsequent packet it
        //# receives on that connection with a different Source Connection ID.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
        //# Any further changes to the Destination Connection ID are only permitted if the values are taken from
        //# NEW_CONNECTION_ID frames; if subsequent Initial packets include a different Source Connection ID, they MUST
        //# be discarded.
        if level != Level::OneRtt && hs.peer_scid.is_some_and(|scid| scid != head.scid) {
            return false;
        }
        match (self.side, level) {
            // RFC 9000 section 17.2.2: a server sends no token; section 17.2.3: nor 0-RTT.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.2
            //# Initial packets sent by the server MUST set the Token Length field to 0; clients that receive an Initial
            //# packet with a non-zero Token Length field MUST either discard the packet or generate a connection error
            //# of type PROTOCOL_VIOLATION.
            (Side::Client, Level::Initial) => !head.has_token,
            //= https://www.rfc-editor.org/rfc/rfc9001#section-5.6
            //# A client MUST NOT attempt to decrypt 0-RTT packets it receives and instead MUST discard them.
            (Side::Client, Level::ZeroRtt) => false,
            // RFC 9000 section 14.1.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.1
            //# Unlike other cases where datagrams are expanded, endpoints MUST NOT discard datagrams that appear to be
            //# too small when they contain PATH_CHALLENGE or PATH_RESPONSE.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
            //# A server MUST discard an Initial packet that is carried in a UDP datagram with a payload that is smaller
            //# than the smallest allowed maximum datagram size of 1200 bytes.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-14
            //# Therefore, an endpoint MUST NOT close a connection when it receives a datagram that does not meet size
            //# constraints; the endpoint MAY discard such datagrams.
            //= https://www.rfc-editor.org/rfc/rfc9368#section-2.3
            //# In particular, if the Negotiated Version mandates that endpoints perform validations on
            //# Handshake packets, endpoints MUST also perform such validations on the converted first flight.
            (Side::Server, Level::Initial) => arrival.datagram_len >= MIN_INITIAL_DATAGRAM,
            _ => true,
        }
    }

    fn open_packet(
        &mut self,
        head: &Header,
        level: Level,
        packet: &mut [u8],
        now: Timestamp,
    ) -> Result<OpenedPacket, NotOpened> {
        let space = level.space();
        let expected = self.received(0, space).ok_or(NotOpened::Drop)?.largest().map_or(0, |l| l.saturating_add(1));
        let unmasked = match level {
            Level::OneRtt => {
                // RFC 9001 section 5.7: a server reads no 1-RTT packet before the handshake is complete.
                //= https://www.rfc-editor.org/rfc/rfc9001#section-5.7
                //# Endpoints in either role MUST NOT decrypt 1-RTT packets from their peer prior to completing the
                //# handshake.
                //= https://www.rfc-editor.org/rfc/rfc9001#section-5.7
                //# A server MUST NOT process incoming 1-RTT protected packets before the TLS handshake is complete.
                //= https://www.rfc-editor.org/rfc/rfc9001#section-5.7
                //# Even if it has 1-RTT secrets, a client MUST NOT process incoming 1-RTT protected packets before the
                //# TLS handshake is complete.
                if !self.life.is_complete() {
                    return Err(NotOpened::NoKeys);
                }
                let keys = self.data.keys.as_mut().ok_or(NotOpened::NoKeys)?;
                keys.unmask(packet, head.pn_offset)
            }
            _ => self.early_keys(level, head.version)?.unmask(packet, head.pn_offset),
        };
        let (pn_len, truncated) = unmasked.ok_or(NotOpened::Drop)?;
        let pn = packet_number::expand(truncated, pn_len, expected);
        let payload_at = head.pn_offset.saturating_add(pn_len);
        let (payload_len, old_keys) = match level {
            Level::OneRtt => self.open_one_rtt(packet, payload_at, pn, now)?,
            _ => match self.early_keys(level, head.version)?.open(packet, payload_at, pn) {
                Ok(len) => (len, false),
                Err(OpenFailed) => return Err(self.on_forged_early()),
            },
        };
        let spin = level == Level::OneRtt && packet.first().is_some_and(|b| b & SPIN_BIT != 0);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
        //# Duplicate suppression MUST happen after removing packet protection for the reasons described in Section 9.5
        //# of [QUIC-TLS].
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
        //# A receiver MUST discard a newly unprotected packet unless it is certain that it has not processed another
        //# packet with the same packet number from the same packet number space.
        // Only now: a duplicate takes as long as any other packet.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-9.5
        //# For authentication to be free from side channels, the entire process of header protection removal, packet
        //# number recovery, and packet protection removal MUST be applied together without timing and other side
        //# channels.
        if self.received(0, space).is_none_or(|r| r.is_duplicate(pn)) {
            return Err(NotOpened::Duplicate(pn));
        }
        // RFC 9000 sections 17.2 and 17.3.1: checked only now that the header is authenticated too.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
        //# An endpoint MUST treat receipt of a packet that has a non-zero value for these bits after removing both
        //# packet and header protection as a connection error of type PROTOCOL_VIOLATION.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.3.1
        //# An endpoint MUST treat receipt of a packet that has a non-zero value for these bits, after removing both
        //# packet and header protection, as a connection error of type PROTOCOL_VIOLATION.
        let reserved = if level == Level::OneRtt { SHORT_RESERVED_BITS } else { LONG_RESERVED_BITS };
        if packet.first().is_some_and(|b| b & reserved != 0) {
            let error = TransportError::new(transport::PROTOCOL_VIOLATION, "reserved bits are not zero");
            return Err(NotOpened::Fatal(error));
        }
        Ok(OpenedPacket { level, pn, dcid: head.dcid, old_keys, spin, payload_at, payload_len })
    }

    fn early_keys(&self, level: Level, version: u32) -> Result<&crate::crypto::DirectionKeys, NotOpened> {
        let hs = self.hs.as_ref().ok_or(NotOpened::Drop)?;
        match level {
            Level::Initial if version != self.version => hs
                .other_initial
                .as_ref()
                .filter(|o| o.version == version)
                .map(|o| &*o.keys.remote)
                .ok_or(NotOpened::Drop),
            Level::Initial => hs.initial.keys.as_ref().map(|k| &*k.remote).ok_or(NotOpened::Drop),
            Level::Handshake if hs.handshake.discarded => Err(NotOpened::Drop),
            Level::Handshake => hs.handshake.keys.as_ref().map(|k| &*k.remote).ok_or(NotOpened::NoKeys),
            // Once TLS is complete no 0-RTT keys will come any more.
            //= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.2
            //# When rejecting 0-RTT, a server MUST NOT process any 0-RTT packets, even if it could.
            Level::ZeroRtt if self.life.is_complete() => hs.zero_rtt.as_deref().ok_or(NotOpened::Drop),
            Level::ZeroRtt => hs.zero_rtt.as_deref().ok_or(NotOpened::NoKeys),
            Level::OneRtt => Err(NotOpened::Drop),
        }
    }

    /// Failures at all levels count together, also those before the 1-RTT keys.
    fn on_forged_early(&mut self) -> NotOpened {
        if let Some(keys) = self.data.keys.as_mut() {
            return match keys.on_forged(1) {
                OneRttOpenError::Failed => NotOpened::Drop,
                OneRttOpenError::Fatal(error) => NotOpened::Fatal(error),
            };
        }
        if let Some(hs) = self.hs.as_mut() {
            hs.forged = hs.forged.saturating_add(1);
        }
        NotOpened::Drop
    }

    fn open_one_rtt(
        &mut self,
        packet: &mut [u8],
        payload_at: usize,
        pn: u64,
        now: Timestamp,
    ) -> Result<(usize, bool), NotOpened> {
        let first = packet.first().copied().unwrap_or(0);
        let steady = self.data.keys.as_ref().is_some_and(|keys| keys.is_steady(first));
        let pto = if steady { core::time::Duration::ZERO } else { self.pto() };
        let keys = self.data.keys.as_mut().ok_or(NotOpened::NoKeys)?;
        match keys.open(packet, payload_at, pn, now, pto) {
            Ok(opened) => {
                if opened.peer_updated {
                    let generation = keys.generation();
                    self.on_keys_updated(true, generation, now);
                }
                Ok((opened.len, opened.old_keys))
            }
            Err(OneRttOpenError::Failed) => Err(NotOpened::Drop),
            Err(OneRttOpenError::Fatal(error)) => Err(NotOpened::Fatal(error)),
        }
    }

    /// The packet is the peer's: everything that follows from its header alone, then its frames.
    fn on_authentic(&mut self, arrival: &mut Arrival, head: &Header, opened: &OpenedPacket, payload: &[u8]) {
        let now = arrival.now;
        if self.hs.is_some() {
            self.on_handshake_header(arrival, head, opened);
            self.follow_early(arrival, opened);
        }
        if self.life.phase() == Phase::Closing {
            self.on_packet_while_closing(opened, payload, now);
            return;
        }
        self.idle.on_received();
        if opened.level == Level::OneRtt && arrival.path == self.paths.active_index() {
            self.spin.on_received(self.side, opened.pn, opened.spin);
        }
        self.tell_new_path(arrival.path);
        match self.on_payload(arrival, opened, payload) {
            Ok(()) => {
                //= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.1
                //# Thus, a client MUST discard Initial keys when it first sends a Handshake packet and a server MUST
                //# discard Initial keys when it first successfully processes a Handshake packet.
                if opened.level == Level::Handshake && self.side.is_server() && self.life.is_open() {
                    // RFC 9001 section 4.9.1.
                    self.discard_space(SpaceId::Initial);
                }
            }
            //= https://www.rfc-editor.org/rfc/rfc9000#section-5.2
            //# An endpoint MUST generate a connection error if processing the contents of these packets prior to
            //# discovering an error, or fully revert any changes made during that processing.
            Err(error) => self.fail(error, now),
        }
        self.dirty = true;
    }

    fn on_handshake_header(&mut self, arrival: &Arrival, head: &Header, opened: &OpenedPacket) {
        if opened.level == Level::Initial && self.side.is_client() && head.version != self.version {
            self.follow_version(head.version);
        }
        let Some(hs) = self.hs.as_mut() else { return };
        hs.heard_peer = true;
        hs.attempt = None;
        let late_zero_rtt = hs.zero_rtt.is_some();
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
        //# A client MUST change the Destination Connection ID it uses for sending packets in response to only the first
        //# received Initial or Retry packet.
        if opened.level != Level::OneRtt && hs.peer_scid.is_none() {
            // RFC 9000 section 7.2: the client switches to the server's choice.
            hs.peer_scid = Some(head.scid);
            self.set_peer_cid(head.scid);
        }
        match (self.side, opened.level) {
            // RFC 9000 section 8.1: only a client that saw our Initial has Handshake keys.
            (Side::Server, Level::Handshake) => self.paths.on_handshake_packet(),
            //= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.3
            //# After receiving a 1-RTT packet, servers MUST discard 0-RTT keys within a short time; the RECOMMENDED
            //# time period is three times the Probe Timeout (PTO, see [QUIC-RECOVERY]).
            (Side::Server, Level::OneRtt)
                if late_zero_rtt
                // RFC 9001 section 4.9.3: keep 0-RTT keys a little for packets that were reordered.
                && self.timers.get(Timer::Keys) == Timestamp::NEVER =>
            {
                let at = arrival.now + self.pto().saturating_mul(3);
                self.timers.set(Timer::Keys, Some(at));
            }
            _ => {}
        }
    }

    /// Packets that were waiting for keys.
    pub(super) fn replay_buffered(&mut self, now: Timestamp) {
        let Some(hs) = self.hs.as_mut().filter(|h| h.replay) else { return };
        hs.replay = false;
        let waiting = core::mem::take(&mut hs.buffered);
        for mut old in waiting {
            if self.life.phase() >= Phase::Draining {
                return;
            }
            let Some(path) = self.paths.find(&old.tuple) else { continue };
            let Some(head) = self.parse(&old.bytes) else { continue };
            let (at, datagram_len) = (old.at, MIN_INITIAL_DATAGRAM);
            let mut arrival = Arrival { path, tuple: old.tuple, ecn: old.ecn, datagram_len, at, now };
            self.receive_packet(&mut arrival, head, &mut old.bytes);
        }
    }
}
