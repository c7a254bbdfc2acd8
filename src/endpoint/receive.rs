//! One received datagram: to its connection, to another shard, answered, kept, or dropped (RFC 9000 section 5.2).
use super::accept::FirstInitial;
use super::address_token::{RetryBinding, TokenVerdict};
use super::router::{Initial, ResetSource};
use super::{ConnectionKey, DropReason, Endpoint, Incoming, RetryPolicy, Routed, replies};
use crate::base::codes::transport::{CONNECTION_REFUSED, INVALID_TOKEN};
use crate::base::{ConnectionId, Ecn, FourTuple, Timestamp};
use crate::crypto::{ClientInitial, DirectionKeys};
use crate::wire::header::{self, FIXED_BIT, PacketType, ProtectedHeader};
use crate::wire::invariants::{self, Peek};
use crate::wire::{packet_number, stateless_reset};

/// Smallest datagram that may carry an Initial (RFC 9000 section 14.1).
const MIN_INITIAL_DATAGRAM: usize = 1200;
/// Shortest Destination Connection ID that a client may choose (RFC 9000 section 7.2).
const MIN_INITIAL_DCID: usize = 8;

impl Endpoint {
    /// The connection that a datagram with a short header is probably for.
    #[must_use]
    pub fn foresee(&self, datagram: &[u8]) -> Option<ConnectionKey> {
        let peek = invariants::peek(datagram, self.cids.cid_len()).ok().filter(|peek| !peek.long)?;
        self.router.issued(&ConnectionId::new(peek.dcid)?)
    }

    /// Finds out what to do with one datagram (one GRO segment). `reply` holds the answer after `Routed::Reply`;
    /// it goes from `tuple.local` to `tuple.remote`.
    pub fn receive(
        &mut self,
        tuple: &FourTuple,
        ecn: Ecn,
        datagram: &mut [u8],
        now: Timestamp,
        reply: &mut Vec<u8>,
    ) -> Routed {
        let datagram = &*datagram;
        let Ok(peek) = invariants::peek(datagram, self.cids.cid_len()) else {
            return self.unroutable(tuple, datagram).unwrap_or(Routed::Dropped(DropReason::Malformed));
        };
        let dcid = ConnectionId::new(peek.dcid);
        if let Some(cid) = &dcid
            && let Some(routed) = self.by_connection_id(tuple, ecn, datagram, cid)
        {
            return routed;
        }
        if let Some(routed) = self.unroutable(tuple, datagram) {
            return routed;
        }
        if peek.long {
            self.long(tuple, ecn, datagram, &peek, now, reply)
        } else {
            self.short(datagram, &peek, now, reply)
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-11
    //# A stateless reset MUST NOT be used by an endpoint that has the state necessary to send a frame on the
    //# connection.
    fn by_connection_id(&mut self, tuple: &FourTuple, ecn: Ecn, datagram: &[u8], cid: &ConnectionId) -> Option<Routed> {
        if cid.is_empty() {
            return self.router.address(tuple).map(Routed::Connection);
        }
        if cid.len() == self.cids.cid_len()
            && let Some(key) = self.router.issued(cid)
        {
            return Some(Routed::Connection(key));
        }
        match self.router.initial(cid)? {
            Initial::Connection(key) => Some(Routed::Connection(key)),
            Initial::Incoming(key) => Some(if self.incoming.add(key, tuple, ecn, datagram) {
                Routed::Buffered
            } else {
                Routed::Dropped(DropReason::Full)
            }),
        }
    }

    /// RFC 9000 section 10.3.1: a datagram that fits no connection may be a stateless reset for one of them.
    /// The connection itself checks the token again.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
    //# However, the comparison MUST be performed when the first packet in an incoming datagram either cannot be
    //# associated with a connection or cannot be decrypted.
    fn unroutable(&self, tuple: &FourTuple, datagram: &[u8]) -> Option<Routed> {
        let token = stateless_reset::token_at_end(datagram)?;
        self.router.reset(&ResetSource { remote: tuple.remote, token }).map(Routed::Connection)
    }

    fn short(&mut self, datagram: &[u8], peek: &Peek<'_>, now: Timestamp, reply: &mut Vec<u8>) -> Routed {
        if let Some(routed) = self.elsewhere(peek.dcid) {
            return routed;
        }
        let fixed_bit = datagram.first().is_some_and(|b| b & FIXED_BIT != 0);
        let Some(cid) = ConnectionId::new(peek.dcid).filter(|c| !c.is_empty()) else {
            return Routed::Dropped(DropReason::Unknown);
        };
        // RFC 9000 section 10.3: tell the peer that we know nothing of this connection any more. An ID of another
        // shard number was never ours.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.2.3
        //# Server deployments that use this simple form of load balancing MUST avoid the creation of a stateless reset
        //# oracle; see Section 21.11.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-21.11
        //# More generally, servers MUST NOT generate a stateless reset if a connection with the corresponding
        //# connection ID could be active on any endpoint using the same static key.
        let ours = self.cids.shard_of(peek.dcid) == Some(self.cfg.shard);
        if !ours || !(fixed_bit || self.cfg.grease_quic_bit) || datagram.len() <= stateless_reset::MIN_LEN {
            return Routed::Dropped(DropReason::Unknown);
        }
        if !self.limiter.allow(now) {
            return Routed::Dropped(DropReason::RateLimited);
        }
        let token = self.key().reset_token(&cid);
        if !replies::stateless_reset(reply, &mut *self.rng, &token, datagram.len()) {
            return Routed::Dropped(DropReason::Unknown);
        }
        self.stats.resets_sent = self.stats.resets_sent.saturating_add(1);
        Routed::Reply
    }

    /// The connection ID names another shard.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-21.11
    //# To defend against this style of denial of service, endpoints that share a static key for stateless resets (see
    //# Section 10.3.2) MUST be arranged so that packets with a given connection ID always arrive at an instance that
    //# has connection state, unless that connection is no longer active.
    fn elsewhere(&self, dcid: &[u8]) -> Option<Routed> {
        let shard = self.cids.shard_of(dcid)?;
        (shard != self.cfg.shard && shard < self.cfg.shards).then_some(Routed::OtherShard(shard))
    }

    fn long(
        &mut self,
        tuple: &FourTuple,
        ecn: Ecn,
        datagram: &[u8],
        peek: &Peek<'_>,
        now: Timestamp,
        reply: &mut Vec<u8>,
    ) -> Routed {
        // RFC 9000 section 6.1: Version Negotiation is never answered, and a client answers nothing.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-6.1
        //# An endpoint MUST NOT send a Version Negotiation packet in response to receiving a Version Negotiation
        //# packet.
        if peek.version == 0 || !self.cfg.server {
            return Routed::Dropped(DropReason::Unknown);
        }
        if !self.cfg.versions.contains(&peek.version) {
            return self.other_version(datagram, peek, now, reply);
        }
        let parsed = if self.cfg.grease_quic_bit {
            header::parse_greased(datagram, self.cids.cid_len())
        } else {
            header::parse(datagram, self.cids.cid_len())
        };
        let Ok(head) = parsed else { return Routed::Dropped(DropReason::Malformed) };
        match head.ty {
            PacketType::Initial => self.initial(tuple, ecn, datagram, &head, now, reply),
            PacketType::ZeroRtt => {
                // RFC 9000 section 5.2.2: a server may keep some of them until the Initial comes.
                if head.dcid.len() >= MIN_INITIAL_DCID && self.early.keep(&head.dcid, tuple, ecn, datagram) {
                    Routed::Buffered
                } else {
                    Routed::Dropped(DropReason::Full)
                }
            }
            //= https://www.rfc-editor.org/rfc/rfc9000#section-5.2.2
            //# Servers MUST drop incoming packets under all other circumstances.
            PacketType::Handshake => self.elsewhere(peek.dcid).unwrap_or(Routed::Dropped(DropReason::Unknown)),
            PacketType::Retry | PacketType::VersionNegotiation | PacketType::Short => {
                Routed::Dropped(DropReason::Unknown)
            }
        }
    }

    /// RFC 9000 sections 5.2.2 and 6.1: only a datagram as large as a first one of ours is answered.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
    //# Version- specific rules for the connection ID therefore MUST NOT influence a decision about whether to send a
    //# Version Negotiation packet.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
    //# A server MUST NOT send more than one Version Negotiation packet in response to a single UDP datagram.
    fn other_version(&mut self, datagram: &[u8], peek: &Peek<'_>, now: Timestamp, reply: &mut Vec<u8>) -> Routed {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.2.2
        //# Servers MUST drop smaller packets that specify unsupported versions.
        if datagram.len() < MIN_INITIAL_DATAGRAM {
            return Routed::Dropped(DropReason::Malformed);
        }
        if !self.limiter.allow(now) {
            return Routed::Dropped(DropReason::RateLimited);
        }
        let versions = &self.cfg.versions;
        if replies::version_negotiation(reply, &mut *self.rng, peek.dcid, peek.scid, versions).is_err() {
            return Routed::Dropped(DropReason::Malformed);
        }
        self.stats.version_negotiations_sent = self.stats.version_negotiations_sent.saturating_add(1);
        Routed::Reply
    }

    /// An Initial of no known connection.
    fn initial(
        &mut self,
        tuple: &FourTuple,
        ecn: Ecn,
        datagram: &[u8],
        head: &ProtectedHeader<'_>,
        now: Timestamp,
        reply: &mut Vec<u8>,
    ) -> Routed {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
        //# A server MUST discard an Initial packet that is carried in a UDP datagram with a payload that is smaller
        //# than the smallest allowed maximum datagram size of 1200 bytes.
        if datagram.len() < MIN_INITIAL_DATAGRAM {
            return Routed::Dropped(DropReason::SmallInitial);
        }
        let binding = RetryBinding {
            remote: tuple.remote,
            version: head.version,
            client_scid: &head.scid,
            retry_scid: &head.dcid,
        };
        let unix_ms = self.unix_ms(now);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
        //# When a server receives an Initial packet with an address validation token, it MUST attempt to validate the
        //# token, unless it has already completed address validation.
        let verdict = self.tokens.check(&self.keys, head.token, &binding, unix_ms);
        let after_retry = matches!(verdict, TokenVerdict::Retry { .. } | TokenVerdict::InvalidRetry);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
        //# This Destination Connection ID MUST be at least 8 bytes in length.
        if !after_retry && head.dcid.len() < MIN_INITIAL_DCID {
            return Routed::Dropped(DropReason::ShortDcid);
        }
        let mut first = FirstInitial {
            tuple: *tuple,
            version: head.version,
            odcid: head.dcid,
            dcid: head.dcid,
            client_scid: head.scid,
            retry_scid: None,
            //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
            //# If the client IP address has changed, the server MUST adhere to the anti-amplification limit; see
            //# Section 8.
            address_validated: false,
        };
        match verdict {
            TokenVerdict::Retry { odcid } => {
                first.odcid = odcid;
                first.retry_scid = Some(head.dcid);
                first.address_validated = true;
            }
            TokenVerdict::Validated => {
                self.stats.validated_by_token = self.stats.validated_by_token.saturating_add(1);
                first.address_validated = true;
            }
            TokenVerdict::Absent if !self.cfg.load.is_paused() && self.wants_retry() => {
                // Nothing has been decrypted and nothing is kept: this is what makes Retry cheap.
                return if self.write_retry(&first, now, reply) {
                    Routed::Reply
                } else {
                    Routed::Dropped(DropReason::Malformed)
                };
            }
            TokenVerdict::Absent | TokenVerdict::InvalidRetry => {}
        }
        // Only a packet that opens may start a connection or be answered with a close.
        let initial = ClientInitial::new(head.version, &head.dcid);
        if !self.opens(initial.keys(), datagram, head) {
            return Routed::Dropped(DropReason::NotAuthentic);
        }
        if verdict == TokenVerdict::InvalidRetry {
            self.stats.invalid_tokens = self.stats.invalid_tokens.saturating_add(1);
            return self.answer_close(&first, INVALID_TOKEN, now, reply);
        }
        // RFC 9000 section 5.2.2: a server that takes no connections now says CONNECTION_REFUSED.
        let router = &mut self.router;
        let load = &self.cfg.load;
        self.incoming.expire(now, |dcid| {
            router.remove_initial(dcid);
            load.gone(true);
        });
        let here = self.connections.len().saturating_add(self.incoming.len());
        let full = here >= self.cfg.max_connections && !load.limits_connections();
        if full || load.is_paused() || !load.begin() {
            self.stats.refused = self.stats.refused.saturating_add(1);
            return self.answer_close(&first, CONNECTION_REFUSED, now, reply);
        }
        let routed = self.start_incoming(first, initial, ecn, datagram, now);
        if !matches!(routed, Routed::Incoming(_)) {
            self.cfg.load.gone(true);
        }
        routed
    }

    fn wants_retry(&self) -> bool {
        // Who asks every client for a proof goes on to.
        self.cfg.retry == RetryPolicy::Always
            || self.cfg.load.wants_retry().unwrap_or_else(|| self.cfg.retry.wants_retry(self.pending_count()))
    }

    fn answer_close(&mut self, first: &FirstInitial, code: u64, now: Timestamp, reply: &mut Vec<u8>) -> Routed {
        if self.close_initial(first, code, now, reply) {
            Routed::Reply
        } else {
            Routed::Dropped(DropReason::RateLimited)
        }
    }

    fn start_incoming(
        &mut self,
        first: FirstInitial,
        initial: ClientInitial,
        ecn: Ecn,
        datagram: &[u8],
        now: Timestamp,
    ) -> Routed {
        let Some(key) = self.incoming.start(&first, initial, ecn, datagram, now) else {
            return Routed::Dropped(DropReason::Full);
        };
        self.router.set_initial(first.dcid, Initial::Incoming(key));
        for kept in self.early.take(&first.dcid) {
            self.incoming.add_kept(key, kept);
        }
        Routed::Incoming(Incoming { key, first })
    }

    /// Does the packet open with the keys that its connection ID gives? Works on a copy: the connection opens the
    /// datagram itself.
    fn opens(&mut self, keys: &DirectionKeys, datagram: &[u8], head: &ProtectedHeader<'_>) -> bool {
        let Some(packet) = datagram.get(..head.packet_len) else { return false };
        self.scratch.clear();
        self.scratch.extend_from_slice(packet);
        let Some((pn_len, truncated)) = keys.unmask(&mut self.scratch, head.pn_offset) else { return false };
        // A client's first packets have small numbers: 0 is expected.
        let pn = packet_number::expand(truncated, pn_len, 0);
        keys.open(&mut self.scratch, head.pn_offset.saturating_add(pn_len), pn).is_ok()
    }
}
