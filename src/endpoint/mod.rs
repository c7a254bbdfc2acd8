//! One endpoint (a client, or one shard of a server): finds the connection a datagram belongs to, and deals with
//! those that belong to none (RFC 9000 sections 5.2, 6, 8.1, 10.3, 14.1).
//!
//! Sans-IO: the owner gives datagrams and time, sends `reply` back to where the datagram came from, and keeps the
//! connections. Invariant: what a peer without a connection can make the endpoint hold is bounded by named limits.
mod accept;
mod address_token;
pub mod cid_source;
mod config;
mod connections;
mod load;
mod receive;
mod replies;
mod router;
mod slab;
mod used_tokens;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::base::codes::transport::CONNECTION_REFUSED;
use crate::base::{FourTuple, Rng, Side, Timestamp};
use crate::connection::{AcceptParams, Connection, ConnectionConfig, EndpointEvent, InitialCids};
use crate::crypto::{ClientTls, ServerTls, TlsSetupError, TokenKey, initial_keys};

use accept::{EarlyPackets, FirstInitial, IncomingTable};
use address_token::AddressTokens;
use connections::Connections;
use replies::{ReplyLimiter, RetryReply};
use router::{Initial, Router};

pub use accept::{INCOMING_LIFETIME, Incoming};
pub use config::{EndpointConfig, RetryPolicy};
pub use connections::ConnectionKey;
pub use load::{Full, Limits, Load, LoadNews};
pub use used_tokens::UsedTokens;

/// Makes a source of randomness for each connection, and one for the endpoint.
pub type RngSource = Box<dyn FnMut() -> Box<dyn Rng> + Send>;

/// Where a datagram went.
#[derive(Debug)]
pub enum Routed {
    /// Give it to this connection.
    Connection(ConnectionKey),
    /// A client wants a connection: accept, refuse, retry or ignore it. The datagram is kept.
    Incoming(Incoming),
    /// Kept for an undecided connection.
    Buffered,
    /// Send `reply` to where the datagram came from.
    Reply,
    /// Give it to the endpoint of that shard.
    OtherShard(u8),
    /// Nothing to do.
    Dropped(DropReason),
}

/// Why a datagram was dropped: a counter, never an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum DropReason {
    /// Not QUIC, or of a version that we do not speak in a datagram too small to answer.
    Malformed,
    /// An Initial in a datagram below 1200 bytes (RFC 9000 section 14.1).
    SmallInitial,
    /// A client's first Destination Connection ID has at least 8 bytes (RFC 9000 section 7.2).
    ShortDcid,
    /// Its protection does not hold.
    NotAuthentic,
    /// Belongs to no connection of ours.
    Unknown,
    /// A bound of the buffers for undecided connections.
    Full,
    /// Would have been answered, but for the rate limit.
    RateLimited,
}

/// How many there are.
pub const DROP_REASONS: usize = DropReason::RateLimited as usize + 1;

/// Why an incoming connection could not be accepted.
#[derive(Debug)]
pub enum AcceptError {
    /// It waited too long or was decided already.
    Expired,
    /// `max_connections` are there.
    TooMany,
    Tls(TlsSetupError),
}

/// Why a connection could not be started.
#[derive(Debug)]
pub enum ConnectError {
    /// `max_connections` are there.
    TooMany,
    /// Without connection IDs there can be only one connection per pair of addresses.
    AddressInUse,
    Tls(TlsSetupError),
}

/// What an [`EndpointEvent`] is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    None,
    /// For `Connection::on_new_cids`.
    Cids(Vec<(crate::base::ConnectionId, crate::base::ResetToken)>),
    /// For `Connection::send_new_token`.
    Token(Vec<u8>),
    /// The connection is gone; its key is no longer valid.
    Forgotten,
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EndpointStats {
    pub datagrams_received: u64,
    pub bytes_received: u64,
    pub accepted: u64,
    pub started: u64,
    /// Confirmed, of both sides.
    pub handshakes_done: u64,
    /// Connections that ended before that.
    pub handshakes_failed: u64,
    /// In the order of [`DropReason`].
    pub dropped: [u64; DROP_REASONS],
    pub refused: u64,
    pub retries_sent: u64,
    pub version_negotiations_sent: u64,
    pub resets_sent: u64,
    pub invalid_tokens: u64,
    pub validated_by_token: u64,
}

/// One endpoint.
pub struct Endpoint {
    cfg: EndpointConfig,
    cids: cid_source::CidSource,
    /// The current key first, then those that are only accepted; never empty.
    keys: Vec<TokenKey>,
    tokens: AddressTokens,
    router: Router,
    connections: Connections,
    incoming: IncomingTable,
    early: EarlyPackets,
    limiter: ReplyLimiter,
    rng: Box<dyn Rng>,
    make_rng: RngSource,
    stats: EndpointStats,
    /// Scratch for checking a first Initial without touching the datagram.
    scratch: Vec<u8>,
}

impl Endpoint {
    /// An endpoint without connections.
    #[must_use]
    pub fn new(cfg: EndpointConfig, mut make_rng: RngSource) -> Self {
        let mut rng = make_rng();
        let current = TokenKey::new(&cfg.secret);
        Self {
            cids: cid_source::CidSource::new(cfg.shard, cfg.cid_len, &current),
            keys: core::iter::once(current).chain(cfg.previous_secrets.iter().map(TokenKey::new)).collect(),
            tokens: AddressTokens::new(cfg.retry_token_lifetime, cfg.new_token_lifetime, Arc::clone(&cfg.used_tokens)),
            router: Router::new(&mut *rng),
            connections: Connections::new(),
            incoming: IncomingTable::new(cfg.max_incoming),
            early: EarlyPackets::new(),
            limiter: ReplyLimiter::new(),
            stats: EndpointStats::default(),
            scratch: Vec::new(),
            rng,
            make_rng,
            cfg,
        }
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &EndpointStats {
        &self.stats
    }

    /// So many datagrams came, of which the first was given to [`Self::receive`] and fared like that. What belongs to another
    /// shard is counted there.
    pub fn count(&mut self, routed: &Routed, datagrams: u64, bytes: u64) {
        if let Routed::OtherShard(_) = routed {
            return;
        }
        self.stats.datagrams_received = self.stats.datagrams_received.wrapping_add(datagrams);
        self.stats.bytes_received = self.stats.bytes_received.wrapping_add(bytes);
        if let Routed::Dropped(reason) = routed
            && let Some(count) = self.stats.dropped.get_mut(*reason as usize)
        {
            *count = count.wrapping_add(datagrams);
        }
    }

    /// Length of the connection IDs that this endpoint issues.
    #[must_use]
    pub const fn cid_len(&self) -> usize {
        self.cids.cid_len()
    }

    /// Connections that have not been forgotten.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Connections that have not completed their handshake, and undecided ones.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.connections.handshaking().saturating_add(self.incoming.len())
    }

    /// Entries of all routing tables.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.router.len()
    }

    /// A client no longer answers Initials, a server starts to.
    pub fn set_server(&mut self, server: bool) {
        self.cfg.server = server;
    }

    /// Replaces the secrets of tokens and stateless resets: the first makes, all are accepted. Connection IDs that are
    /// out keep the reset tokens that they were issued with.
    pub fn set_secrets(&mut self, current: &[u8; 32], previous: &[[u8; 32]]) {
        self.keys = core::iter::once(current).chain(previous).map(TokenKey::new).collect();
    }

    /// Changes when Retry is asked for; connections under way are not concerned.
    pub fn set_retry(&mut self, policy: RetryPolicy) {
        self.cfg.retry = policy;
    }

    fn unix_ms(&self, now: Timestamp) -> u64 {
        let at_zero = u64::try_from(self.cfg.unix_at_zero.as_millis()).unwrap_or(u64::MAX);
        at_zero.saturating_add(now.as_nanos() / 1_000_000)
    }

    fn key(&self) -> &TokenKey {
        self.keys.first().expect("made from at least the current secret")
    }

    /// Starts a client's connection.
    pub fn connect(
        &mut self,
        cfg: Arc<ConnectionConfig>,
        tls: &Arc<ClientTls>,
        server_name: &str,
        tuple: FourTuple,
        token: Vec<u8>,
        now: Timestamp,
    ) -> Result<(ConnectionKey, Box<Connection>), ConnectError> {
        if self.connections.len() >= self.cfg.max_connections {
            return Err(ConnectError::TooMany);
        }
        let key = self.connections.add(Side::Client).ok_or(ConnectError::TooMany)?;
        let local = if self.cids.cid_len() == 0 {
            //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1
            //# An endpoint MUST NOT use the same IP address and port for multiple concurrent connections with
            //# zero-length connection IDs, unless it is certain that those protocol features are not in use.
            if !self.router.add_address(&tuple, key) {
                self.connections.remove(key);
                return Err(ConnectError::AddressInUse);
            }
            self.connections.note_address(key, (tuple.remote, tuple.socket));
            crate::base::ConnectionId::EMPTY
        } else {
            self.issue(key)
        };
        let cids = InitialCids { local, remote: cid_source::random_initial_dcid(&mut *self.rng) };
        let rng = (self.make_rng)();
        match Connection::connect(cfg, tls, server_name, tuple, cids, token, now, rng) {
            Ok(connection) => {
                self.stats.started = self.stats.started.saturating_add(1);
                Ok((key, connection))
            }
            Err(e) => {
                self.forget(key);
                Err(ConnectError::Tls(e))
            }
        }
    }

    /// Lets an incoming connection in; the datagrams kept for it have been given to it on return.
    pub fn accept(
        &mut self,
        incoming: Incoming,
        cfg: Arc<ConnectionConfig>,
        tls: &Arc<ServerTls>,
        now: Timestamp,
    ) -> Result<(ConnectionKey, Box<Connection>), AcceptError> {
        let first = incoming.first;
        let waiting = self.incoming.take(incoming.key).ok_or(AcceptError::Expired)?;
        self.router.remove_initial(&first.dcid);
        let full = self.connections.len() >= self.cfg.max_connections && !self.cfg.load.limits_connections();
        let Some(key) = (if full { None } else { self.connections.add(Side::Server) }) else {
            self.cfg.load.gone(true);
            return Err(AcceptError::TooMany);
        };
        let local_cid = self.issue(key);
        // The client uses its own choice until our ID reaches it; 0-RTT packets carry it all along (section 7.2).
        self.router.set_initial(first.dcid, Initial::Connection(key));
        self.connections.note_initial(key, first.dcid);
        let preferred = (cfg.has_preferred_address() && self.cids.cid_len() != 0).then(|| {
            let cid = self.issue(key);
            (cid, self.key().reset_token(&cid))
        });
        let params = AcceptParams {
            version: first.version,
            tuple: first.tuple,
            odcid: first.odcid,
            initial_dcid: first.dcid,
            client_scid: first.client_scid,
            local_cid,
            retry_scid: first.retry_scid,
            address_validated: first.address_validated,
            reset_token: self.key().reset_token(&local_cid),
            preferred,
        };
        let rng = (self.make_rng)();
        let (initial, kept) = waiting.into_parts();
        let mut connection = Connection::accept_opened(cfg, tls, params, initial, now, rng).map_err(|e| {
            self.forget(key);
            AcceptError::Tls(e)
        })?;
        for mut kept in kept {
            connection.receive(&kept.tuple, kept.ecn, &mut kept.bytes, now);
        }
        self.stats.accepted = self.stats.accepted.saturating_add(1);
        Ok((key, connection))
    }

    /// Says no with CONNECTION_REFUSED. False: nothing to send.
    pub fn refuse(&mut self, incoming: Incoming, now: Timestamp, reply: &mut Vec<u8>) -> bool {
        let first = incoming.first;
        self.ignore(incoming);
        self.stats.refused = self.stats.refused.saturating_add(1);
        self.close_initial(&first, CONNECTION_REFUSED, now, reply)
    }

    /// Asks for a proof of address. `Some` gives the connection back: it answers a Retry already and can only be
    /// accepted or refused (RFC 9000 section 8.1.2).
    pub fn retry(&mut self, incoming: Incoming, now: Timestamp, reply: &mut Vec<u8>) -> Option<Incoming> {
        if incoming.was_retried() {
            return Some(incoming);
        }
        let first = incoming.first;
        self.ignore(incoming);
        self.write_retry(&first, now, reply);
        None
    }

    /// Forgets an incoming connection without an answer.
    pub fn ignore(&mut self, incoming: Incoming) {
        if self.incoming.take(incoming.key).is_some() {
            self.router.remove_initial(&incoming.first.dcid);
            self.cfg.load.gone(true);
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.1
    //# A server MUST NOT send more than one Retry packet in response to a single UDP datagram.
    fn write_retry(&mut self, first: &FirstInitial, now: Timestamp, reply: &mut Vec<u8>) -> bool {
        let mut retry_scid = self.cids.next(&mut *self.rng);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.1
        //# This value MUST NOT be equal to the Destination Connection ID field of the packet sent by the client.
        while retry_scid == first.dcid {
            retry_scid = self.cids.next(&mut *self.rng);
        }
        let what = RetryReply {
            tuple: &first.tuple,
            version: first.version,
            odcid: &first.dcid,
            client_scid: &first.client_scid,
            retry_scid: &retry_scid,
            unix_ms: self.unix_ms(now),
        };
        let Some(key) = self.keys.first() else { return false };
        let written = what.write(reply, &mut *self.rng, key).is_ok();
        self.stats.retries_sent = self.stats.retries_sent.saturating_add(u64::from(written));
        written
    }

    fn close_initial(&mut self, first: &FirstInitial, code: u64, now: Timestamp, reply: &mut Vec<u8>) -> bool {
        reply.clear();
        if !self.limiter.allow(now) {
            return false;
        }
        let keys = initial_keys(first.version, &first.dcid, Side::Server);
        let scid = self.cids.next(&mut *self.rng);
        replies::initial_close(reply, &keys, first.version, &first.client_scid, &scid, code).is_ok()
    }

    /// A fresh connection ID, routed to `key`.
    fn issue(&mut self, key: ConnectionKey) -> crate::base::ConnectionId {
        // With at least 56 random bits and far fewer connections this ends soon; a full table of short IDs
        // would be a configuration error, and then the newest connection takes the ID over.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1
        //# As a trivial example, this means the same connection ID MUST NOT be issued more than once on the same
        //# connection.
        let mut cid = self.cids.next(&mut *self.rng);
        for _ in 0..64 {
            if self.router.add_issued(cid, key) {
                break;
            }
            cid = self.cids.next(&mut *self.rng);
        }
        self.connections.note_cid(key, cid);
        cid
    }

    /// Takes what a connection tells its endpoint.
    pub fn on_event(&mut self, key: ConnectionKey, event: EndpointEvent, now: Timestamp) -> Answer {
        match event {
            EndpointEvent::NeedCids(wanted) => {
                let room = self.connections.cid_room(key);
                let count = usize::try_from(wanted).unwrap_or(usize::MAX).min(room);
                if count == 0 || self.cids.cid_len() == 0 {
                    return Answer::None;
                }
                let fresh = (0..count).map(|_| {
                    let cid = self.issue(key);
                    (cid, self.key().reset_token(&cid))
                });
                Answer::Cids(fresh.collect())
            }
            EndpointEvent::RetireCid(cid) => {
                // Packets that carry it may still be under way: the last few stay routed.
                if let Some(gone) = self.connections.retire_cid(key, cid) {
                    self.router.remove_issued(&gone);
                }
                Answer::None
            }
            EndpointEvent::ResetTokenLearned(tuple, token) => {
                let source = router::ResetSource { remote: tuple.remote, token };
                if let Some(gone) = self.connections.note_reset(key, source) {
                    self.router.remove_reset(&gone, key);
                }
                self.router.add_reset(source, key);
                Answer::None
            }
            EndpointEvent::ResetTokenForgotten(token) => {
                for gone in self.connections.take_resets(key, &token) {
                    self.router.remove_reset(&gone, key);
                }
                Answer::None
            }
            EndpointEvent::HandshakeDone => {
                if let Some(began) = self.connections.on_handshake_done(key) {
                    self.stats.handshakes_done = self.stats.handshakes_done.saturating_add(1);
                    if began {
                        self.cfg.load.confirmed();
                    }
                }
                Answer::None
            }
            EndpointEvent::NeedToken(tuple, version) => {
                let unix_ms = self.unix_ms(now);
                let Some(seal) = self.keys.first() else { return Answer::None };
                Answer::Token(AddressTokens::new_token(seal, &mut *self.rng, tuple.remote.ip(), version, unix_ms))
            }
            EndpointEvent::Drained => {
                let failed = self.connections.is_unconfirmed(key);
                self.stats.handshakes_failed = self.stats.handshakes_failed.saturating_add(u64::from(failed));
                self.forget(key);
                Answer::Forgotten
            }
        }
    }

    /// Takes and answers everything `connection` wants of its endpoint. True: it is drained and forgotten.
    pub fn serve(&mut self, key: ConnectionKey, connection: &mut Connection, now: Timestamp) -> bool {
        while let Some(event) = connection.poll_endpoint_event() {
            match self.on_event(key, event, now) {
                Answer::None => {}
                Answer::Cids(cids) => connection.on_new_cids(cids),
                Answer::Token(token) => connection.send_new_token(token),
                Answer::Forgotten => return true,
            }
        }
        false
    }

    /// Routes an address pair to a connection without connection IDs (its socket was replaced).
    pub fn add_address(&mut self, key: ConnectionKey, tuple: &FourTuple) -> bool {
        let routed = self.router.add_address(tuple, key);
        if routed && let Some(gone) = self.connections.note_address(key, (tuple.remote, tuple.socket)) {
            self.router.remove_address(&gone);
        }
        routed
    }

    /// Removes every route to a connection. Its key is never valid again.
    pub fn forget(&mut self, key: ConnectionKey) {
        let Some(routes) = self.connections.remove(key) else { return };
        if routes.client_began() {
            self.cfg.load.gone(routes.is_handshaking());
        }
        for cid in routes.issued() {
            self.router.remove_issued(cid);
        }
        if let Some(dcid) = routes.initial() {
            self.router.remove_initial(dcid);
        }
        for address in routes.addresses() {
            self.router.remove_address(address);
        }
        for source in routes.resets() {
            self.router.remove_reset(source, key);
        }
    }
}
