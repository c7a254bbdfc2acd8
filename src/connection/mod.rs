//! One QUIC connection, both roles: the composition root of the rooms below it.
//!
//! Sans-IO: datagrams, time and randomness come in as arguments, datagrams and events go out.
//! The owner's loop is: `receive` every datagram of a batch, `poll_event` until empty,
//! `transmit` until `None`, arm a timer with `deadline`, call `on_deadline` when it fires.
//! Invariant: only authenticated input changes the state; peer errors end in a close, never in a panic.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::{ConnectionId, Ecn, FourTuple, ResetToken, Rng, Side, SpaceId, Timestamp, TransportError};
use crate::crypto::{ClientInitial, ClientTls, LevelKeys, ServerTls, Session, Summary, TlsSetupError, initial_keys};
use crate::paths::{LocalCids, PathTable, PeerCids};
use crate::qlog::Qlog;
use crate::recovery::{FrameToken, Received, Recovery};
use crate::streams::{Datagrams, StreamEvent, Streams};
use crate::wire::PreferredAddress;

mod ack_frequency;
mod acks;
mod bulk;
mod close;
pub mod config;
mod control_frames;
mod crypto_stream;
mod dispatch;
mod early_moves;
pub mod events;
#[cfg(feature = "sim")]
pub mod frame_style;
mod handshake;
mod idle;
#[cfg(feature = "sim")]
pub mod inspect;
mod life;
mod live;
mod log;
mod migration;
mod packet;
mod parameters;
mod parts;
mod receive;
mod spaces;
mod spin;
pub mod stats;
mod timers;
mod transmit;
mod verbs;
mod version;
mod zero_rtt;

#[cfg(test)]
mod tests;

pub use config::{ConnectionConfig, FlowConfig};
pub use events::{CloseReason, EarlyData, EndpointEvent, Event, MoveReason};
pub use migration::{MigrateError, PathInfo};
pub use stats::Stats;
pub use transmit::Transmit;

use close::Closing;
use control_frames::Control;
use crypto_stream::CryptoStream;
use handshake::Handshake;
use idle::Idle;
use life::{Life, Phase};
use parameters::{OwnIds, Peer};
use spaces::DataSpace;
use spin::Spin;
use timers::{Timer, Timers};

/// Connection IDs that a client starts with.
#[derive(Clone, Copy, Debug)]
pub struct InitialCids {
    /// Ours, from the endpoint's source.
    pub local: ConnectionId,
    /// Random, at least 8 bytes: the first Destination Connection ID (RFC 9000 section 7.2).
    pub remote: ConnectionId,
}

/// What the endpoint knows about an accepted connection.
#[derive(Clone, Copy, Debug)]
pub struct AcceptParams {
    pub version: u32,
    pub tuple: FourTuple,
    /// Destination Connection ID of the client's very first Initial.
    pub odcid: ConnectionId,
    /// Destination Connection ID of the Initial at hand: equal to `odcid` without Retry.
    pub initial_dcid: ConnectionId,
    pub client_scid: ConnectionId,
    pub local_cid: ConnectionId,
    /// Source Connection ID of our Retry packet, when we sent one.
    pub retry_scid: Option<ConnectionId>,
    /// A valid token came with the Initial: no 3x limit (RFC 9000 section 8.1).
    pub address_validated: bool,
    /// Stateless reset token of `local_cid`.
    pub reset_token: ResetToken,
    /// Connection ID and reset token that go with the configured preferred address (RFC 9000 section 9.6).
    pub preferred: Option<(ConnectionId, ResetToken)>,
}

/// One connection.
pub struct Connection {
    cfg: Arc<ConnectionConfig>,
    rng: Box<dyn Rng>,
    tls: Option<Box<Session>>,
    /// Server: what is left of `tls` after confirmation.
    summary: Option<Box<Summary>>,
    hs: Option<Box<Handshake>>,
    closing: Option<Box<Closing>>,
    qlog: Option<Box<Qlog>>,
    close_reason: Option<Box<CloseReason>>,
    data: DataSpace,
    recovery: Recovery,
    paths: PathTable,
    local_cids: LocalCids,
    peer_cids: PeerCids,
    streams: Streams,
    datagrams: Datagrams,
    control: Control,
    peer: Peer,
    timers: Timers,
    idle: Idle,
    life: Life,
    stats: Stats,
    events: VecDeque<Event>,
    endpoint_events: VecDeque<EndpointEvent>,
    /// Scratch list of the packet under construction.
    tokens: Vec<FrameToken>,
    odcid: ConnectionId,
    /// Source Connection ID of our long headers.
    scid: ConnectionId,
    /// Destination of the newest packet: tells a rebinding from a migration (RFC 9000 section 9.5).
    peer_sends_to: ConnectionId,
    /// Client: becomes active once it is validated.
    migrating_to: Option<u8>,
    /// Client: where the server would rather be (RFC 9000 section 9.6), until the handshake is confirmed.
    preferred: Option<Box<PreferredAddress>>,
    last_migration: Option<FourTuple>,
    /// Server: no token was asked for yet.
    token_owed: bool,
    /// Client: it has gone where the server would rather be, and may move on from there in any case (section 9).
    at_preferred: bool,
    /// Paths that the application has heard of.
    told_paths: Vec<u8>,
    /// The reset token that the endpoint knows, and the sequence number that it belongs to.
    announced_token: Option<(u64, ResetToken)>,
    grease_bits: u64,
    version: u32,
    side: Side,
    early: EarlyData,
    spin: Spin,
    /// Timers and acknowledgement decisions wait for the end of the batch.
    dirty: bool,
    amplification_blocked: bool,
    datagram_arrived: bool,
    new_tokens: u8,
}

/// What both roles start with.
struct Start {
    side: Side,
    version: u32,
    tuple: FourTuple,
    address_validated: bool,
    /// Sequence number 0 of our connection IDs.
    scid: ConnectionId,
    /// Where our first packets go.
    dcid: ConnectionId,
    /// What the Initial keys come from.
    key_cid: ConnectionId,
    odcid: ConnectionId,
    retry_scid: Option<ConnectionId>,
    peer_scid: Option<ConnectionId>,
    token: Vec<u8>,
}

impl Connection {
    /// A client's connection; the first `transmit` carries the ClientHello.
    #[expect(clippy::too_many_arguments, reason = "each is a different kind of thing, all needed once")]
    pub fn connect(
        cfg: Arc<ConnectionConfig>,
        tls: &Arc<ClientTls>,
        server_name: &str,
        tuple: FourTuple,
        cids: InitialCids,
        token: Vec<u8>,
        now: Timestamp,
        mut rng: Box<dyn Rng>,
    ) -> Result<Box<Self>, TlsSetupError> {
        let version = version::first_version(&cfg, tls, server_name);
        let port = tuple.remote.port();
        let token = if token.is_empty() { Session::take_token(tls, server_name, port, version) } else { token };
        let ids = OwnIds { scid: cids.local, odcid: None, retry_scid: None, reset_token: None, preferred: None };
        let own = parameters::own(&cfg, Side::Client, version, &ids, rng.as_mut());
        let session = Session::client(tls, version, server_name, own)?;
        let start = Start {
            side: Side::Client,
            version,
            tuple,
            address_validated: true,
            scid: cids.local,
            //= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
            //# Until a packet is received from the server, the client MUST use the same Destination Connection ID value
            //# on all packets in this connection.
            dcid: cids.remote,
            key_cid: cids.remote,
            odcid: cids.remote,
            retry_scid: None,
            peer_scid: None,
            token,
        };
        let keys = initial_keys(version, &cids.remote, Side::Client);
        let mut conn = Self::new(cfg, session, start, keys, now, rng);
        if let Some(hs) = conn.hs.as_mut() {
            hs.attempt = Some(Box::new(version::Attempt { tls: Arc::clone(tls), server_name: server_name.into() }));
        }
        if let Some(remembered) = conn.tls.as_ref().and_then(|t| t.remembered_parameters()) {
            conn.remember_parameters(&remembered);
        }
        conn.start_tls(now).map_err(|e| TlsSetupError(e.to_string()))?;
        Ok(conn)
    }

    /// A server's connection; give it the Initial datagram with `receive`.
    pub fn accept(
        cfg: Arc<ConnectionConfig>,
        tls: &Arc<ServerTls>,
        params: AcceptParams,
        now: Timestamp,
        rng: Box<dyn Rng>,
    ) -> Result<Box<Self>, TlsSetupError> {
        let initial = ClientInitial::new(params.version, &params.initial_dcid);
        Self::accept_opened(cfg, tls, params, initial, now, rng)
    }

    /// The same with the keys that have opened the Initial: those of `params.version` and `params.initial_dcid`.
    pub fn accept_opened(
        cfg: Arc<ConnectionConfig>,
        tls: &Arc<ServerTls>,
        params: AcceptParams,
        initial: ClientInitial,
        now: Timestamp,
        mut rng: Box<dyn Rng>,
    ) -> Result<Box<Self>, TlsSetupError> {
        let ids = OwnIds {
            scid: params.local_cid,
            odcid: Some(params.odcid),
            retry_scid: params.retry_scid,
            reset_token: (!params.local_cid.is_empty()).then_some(params.reset_token),
            //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
            //# A server that chooses a zero-length connection ID MUST NOT provide a preferred address.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
            //# Similarly, a server MUST NOT include a zero- length connection ID in this transport parameter.
            preferred: params.preferred.filter(|(cid, _)| !params.local_cid.is_empty() && !cid.is_empty()),
        };
        let own = parameters::own(&cfg, Side::Server, params.version, &ids, rng.as_mut());
        let mut session = Session::server(tls, params.version, own)?;
        session.early_data_context(&cfg.early_data_context);
        if cfg.choose_version {
            session.prefer_versions(&cfg.versions);
        }
        let start = Start {
            side: Side::Server,
            version: params.version,
            tuple: params.tuple,
            address_validated: params.address_validated,
            scid: params.local_cid,
            //= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
            //# A server MUST set the Destination Connection ID it uses for sending packets based on the first received
            //# Initial packet.
            dcid: params.client_scid,
            key_cid: params.initial_dcid,
            odcid: params.odcid,
            retry_scid: params.retry_scid,
            peer_scid: Some(params.client_scid),
            token: Vec::new(),
        };
        let mut conn = Self::new(cfg, session, start, initial.into_server(), now, rng);
        if let Some((cid, token)) = ids.preferred {
            conn.local_cids.issue_preferred(cid, token);
        }
        Ok(conn)
    }

    /// Boxed where it is made: it has three kilobytes, and passes through several hands before it rests.
    fn new(
        cfg: Arc<ConnectionConfig>,
        session: Box<Session>,
        s: Start,
        keys: LevelKeys,
        now: Timestamp,
        mut rng: Box<dyn Rng>,
    ) -> Box<Self> {
        let received = |space| Received::new(space, cfg.max_ack_delay);
        let mut hs = Handshake::new(&cfg, s.side, s.version, keys, s.key_cid, s.odcid);
        hs.retry_scid = s.retry_scid;
        hs.peer_scid = s.peer_scid;
        hs.token = s.token;
        let data = DataSpace { keys: None, received: received(SpaceId::Data), crypto: CryptoStream::default() };
        let peer_cids = PeerCids::new(s.dcid, cfg.active_cid_limit);
        let validated = s.address_validated || s.side.is_client();
        let mut paths = PathTable::new(s.side, s.tuple, validated, &cfg.recovery(), &cfg.mtu(), now);
        paths.active_mut().cid = peer_cids.initial();
        let seed = rng.next_u64();
        let bits = rng.next_u64();
        let mut conn = Box::new(Self {
            streams: Streams::new(s.side, &cfg.streams()),
            datagrams: Datagrams::new(cfg.max_datagram_frame, cfg.datagram_queue),
            recovery: Recovery::new(s.side, seed),
            tls: Some(session),
            summary: None,
            hs: Some(Box::new(hs)),
            closing: None,
            qlog: None,
            close_reason: None,
            data,
            paths,
            local_cids: LocalCids::new(s.scid),
            peer_cids,
            control: Control::default(),
            peer: Peer::default(),
            timers: Timers::new(),
            idle: Idle::default(),
            life: Life::new(),
            stats: Stats::default(),
            events: VecDeque::new(),
            endpoint_events: VecDeque::new(),
            tokens: Vec::new(),
            odcid: s.odcid,
            scid: s.scid,
            peer_sends_to: s.scid,
            migrating_to: None,
            preferred: None,
            last_migration: None,
            token_owed: false,
            at_preferred: false,
            told_paths: Vec::new(),
            announced_token: None,
            grease_bits: bits,
            version: s.version,
            side: s.side,
            early: EarlyData::None,
            spin: Spin::default(),
            dirty: true,
            amplification_blocked: false,
            datagram_arrived: false,
            new_tokens: 0,
            rng,
            cfg,
        });
        if !conn.cfg.handshake_timeout.is_zero() {
            conn.timers.set(Timer::Handshake, Some(now + conn.cfg.handshake_timeout));
        }
        conn.start_qlog(now);
        conn.idle.on_received();
        conn.settle(now);
        conn
    }

    /// Takes one whole UDP payload. Never fails: bad packets are dropped, peer errors close the connection.
    pub fn receive(&mut self, tuple: &FourTuple, ecn: Ecn, datagram: &mut [u8], now: Timestamp) {
        let open = self.life.phase() < Phase::Draining;
        self.receive_datagram(tuple, ecn, datagram, now);
        if open && self.life.phase() >= Phase::Draining {
            self.shed();
        }
    }

    /// Writes up to `max_segments` datagrams of one path into `out`; `None`: nothing to send now.
    /// `out` should hold at least 1500 bytes, better 64 KiB.
    pub fn transmit(&mut self, now: Timestamp, out: &mut [u8], max_segments: usize) -> Option<Transmit> {
        self.transmit_next(now, out, max_segments.max(1))
    }

    /// When `on_deadline` wants to be called; ask after `transmit` said `None`.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Time has come.
    pub fn on_deadline(&mut self, now: Timestamp) {
        self.on_timers(now);
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        // What came before the end is told before it: a peer may send its last words and close at once.
        let (ends, last_words) = match self.events.front() {
            Some(Event::Closed(reason)) => (true, matches!(reason, CloseReason::Peer { .. })),
            other => (matches!(other, Some(Event::Drained)), false),
        };
        if !ends && let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.life.is_open() || last_words {
            if let Some(event) = self.streams.poll_event() {
                return Some(Event::Stream(event));
            }
            if core::mem::take(&mut self.datagram_arrived) {
                return Some(Event::DatagramReceived);
            }
        }
        match self.datagrams.poll_state() {
            Some((tag, state)) => Some(Event::DatagramState { tag, state }),
            None => self.events.pop_front(),
        }
    }

    /// The events of streams that `poll_event` would return next, all at once: with many short streams they are nearly all
    /// there is. An owner that acts on the connection between two events has to poll.
    pub fn take_stream_events(&mut self, tell: impl FnMut(StreamEvent)) {
        let turn = match self.events.front() {
            None => self.life.is_open(),
            Some(Event::Closed(reason)) => self.life.is_open() || matches!(reason, CloseReason::Peer { .. }),
            // Is told before them.
            Some(_) => false,
        };
        if turn {
            self.streams.take_events(tell);
        }
    }

    /// The next event for the endpoint.
    pub fn poll_endpoint_event(&mut self) -> Option<EndpointEvent> {
        self.endpoint_events.pop_front()
    }

    /// The probe timeout of the active path, without backoff (RFC 9002 section 6.2.1).
    fn pto(&self) -> core::time::Duration {
        let delay = if self.life.is_confirmed() { self.peer_max_ack_delay() } else { core::time::Duration::ZERO };
        self.paths.active().recovery.rtt.pto(delay)
    }

    /// 1-RTT keys changed.
    fn on_keys_updated(&mut self, by_peer: bool, phase: u64, now: Timestamp) {
        self.log_keys(now, crate::base::Level::OneRtt, Some(phase), by_peer);
        self.stats.key_updates = self.stats.key_updates.saturating_add(1);
        // A packet that is decrypted only to notice a peer's close changes nothing for the application any more.
        if self.cfg.key_events && self.life.is_open() {
            self.events.push_back(Event::KeyUpdated { by_peer, phase });
        }
        self.dirty = true;
    }

    /// No packet number is left on the active path: nothing may be sent any more, not even that the connection ends.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
    //# If the packet number for sending reaches 2^62-1, the sender MUST close the connection without sending a
    //# CONNECTION_CLOSE frame or any further packets; an endpoint MAY send a Stateless Reset (Section 10.3) in response
    //# to further packets that it receives.
    fn out_of_numbers(&mut self, now: Timestamp) -> bool {
        let next = self.recovery.peek_packet_number(self.paths.active_index(), crate::base::SpaceId::Data);
        if next < crate::wire::packet_number::MAX {
            return false;
        }
        let error = TransportError::new(crate::base::codes::transport::INTERNAL_ERROR, "packet numbers are used up");
        self.end(CloseReason::Transport(error), Phase::Draining, now);
        true
    }

    /// 1-RTT packets that the keys may still seal.
    fn packets_left(&self) -> u64 {
        self.data.keys.as_ref().map_or(u64::MAX, |keys| keys.packets_left())
    }

    /// RFC 9001 section 6.6: updates keys in time; `true` when no packet may be sealed any more.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-5.3
    //# An endpoint MUST initiate a key update (Section 6) prior to exceeding any limit set for the AEAD that is in use.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
    //# If the total number of encrypted packets with the same key exceeds the confidentiality limit for the selected
    //# AEAD, the endpoint MUST stop using those keys.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
    //# Endpoints MUST initiate a key update before sending more protected packets than the confidentiality limit for
    //# the selected AEAD permits.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
    //# If a key update is not possible or integrity limits are reached, the endpoint MUST stop using the connection and
    //# only send stateless resets in response to receiving packets.
    fn out_of_keys(&mut self, now: Timestamp) -> bool {
        let confirmed = self.life.is_confirmed();
        let Some(keys) = self.data.keys.as_mut() else { return false };
        //= https://www.rfc-editor.org/rfc/rfc9001#section-6.1
        //# An endpoint MUST NOT initiate a key update prior to having confirmed the handshake (Section 4.1.2).
        if confirmed && keys.wants_update() && keys.initiate_update(now) {
            let generation = keys.generation();
            self.on_keys_updated(false, generation, now);
            return false;
        }
        if !keys.exhausted() {
            return false;
        }
        let error = TransportError::new(crate::base::codes::transport::AEAD_LIMIT_REACHED, "key is used up");
        // Nothing can be sealed for the peer: it finds out by its idle timeout or a stateless reset.
        self.end(CloseReason::Transport(error), Phase::Draining, now);
        true
    }
}
