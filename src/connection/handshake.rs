//! The TLS handshake inside a connection (RFC 9001 section 4): CRYPTO bytes in and out, keys as they
//! appear and go, completion and confirmation.
//!
//! TLS speaks only through `TlsEvents`; what it says is collected and then applied, so that no
//! callback ever sees a half-changed connection. Invariant: bytes reach TLS in order, at the level it reads.
use super::Connection;
use super::config::ConnectionConfig;
use super::crypto_stream::CryptoSend;
use super::events::{EarlyData, Event};
use super::life::Phase;
use super::receive::Arrival;
use super::spaces::EarlySpace;
use super::timers::Timer;
use super::version::{Attempt, OtherInitial};
use crate::base::{ConnectionId, Ecn, FourTuple, Level, Side, SpaceId, Timestamp, TransportError, codes::transport};
use crate::crypto::tls::late_data;
use crate::crypto::{Answer, Cipher, DirectionKeys, InstalledKeys, LevelKeys, Question, Session, TlsEvents};
use crate::recovery::Received;
use crate::wire::TransportParameters;

/// Datagrams kept until their keys appear (RFC 9001 section 5.7): an initial window of 1-RTT or 0-RTT packets.
const BUFFERED_PACKETS: usize = 16;
/// Bytes of the same: a server must not be made to hold much for an address it has not validated.
const BUFFERED_BYTES: usize = 24 * 1024;

/// How often per connection a flight is repeated early (RFC 9002 section 6.2.3: a limited number of times).
const MAX_SPEED_UPS: u8 = 8;

/// A packet that came before its keys.
pub(super) struct Buffered {
    pub(super) tuple: FourTuple,
    pub(super) ecn: Ecn,
    /// When it came.
    pub(super) at: Timestamp,
    pub(super) bytes: Vec<u8>,
}

/// State that is dropped when the handshake is confirmed.
pub(super) struct Handshake {
    pub(super) initial: EarlySpace,
    pub(super) handshake: EarlySpace,
    /// Client: to seal. Server: to open.
    pub(super) zero_rtt: Option<Box<DirectionKeys>>,
    /// Destination of the client's first Initial.
    pub(super) odcid: ConnectionId,
    /// What Initial keys come from. Server: destination of the Initial that was accepted; Initial and 0-RTT packets may
    /// still carry it.
    pub(super) initial_dcid: ConnectionId,
    /// Server: source of our Retry. Client: source of the Retry that was accepted.
    pub(super) retry_scid: Option<ConnectionId>,
    /// Source of the peer's first Initial (RFC 9000 section 7.2).
    pub(super) peer_scid: Option<ConnectionId>,
    /// Client: token for our Initial packets.
    pub(super) token: Vec<u8>,
    /// Something authentic came from the peer: Version Negotiation and Retry are too late.
    pub(super) heard_peer: bool,
    /// Flights repeated because the peer repeated itself.
    pub(super) speed_ups: u8,
    /// Client: parameters of the session that is being resumed.
    pub(super) remembered: Option<Box<TransportParameters>>,
    pub(super) buffered: Vec<Buffered>,
    /// New keys came: look at `buffered` again.
    pub(super) replay: bool,
    /// Fresh parameters of the server, to be compared with the remembered ones.
    pub(super) new_parameters: Option<Box<TransportParameters>>,
    pub(super) handshake_data_told: bool,
    /// Version of the client's first packet: that of 0-RTT packets and Retry (RFC 9369 section 4.1).
    pub(super) original_version: u32,
    /// Client: the server's choice of version is known.
    pub(super) version_settled: bool,
    /// Client: this attempt follows a Version Negotiation packet (RFC 9368 section 4).
    pub(super) after_version_negotiation: bool,
    pub(super) other_initial: Option<Box<OtherInitial>>,
    /// Client: until the server is heard.
    pub(super) attempt: Option<Box<Attempt>>,
    /// Packets that did not open before there were 1-RTT keys (RFC 9001 section 6.6).
    pub(super) forged: u64,
}

impl Handshake {
    /// Before the first packet. Initial keys came from `key_cid`; `odcid` is where the client's first Initial goes.
    pub(super) fn new(
        cfg: &ConnectionConfig,
        side: Side,
        version: u32,
        keys: LevelKeys,
        key_cid: ConnectionId,
        odcid: ConnectionId,
    ) -> Self {
        let received = |space| Received::new(space, cfg.max_ack_delay);
        Self {
            initial: EarlySpace::new(Some(keys), received(SpaceId::Initial)),
            handshake: EarlySpace::new(None, received(SpaceId::Handshake)),
            zero_rtt: None,
            odcid,
            initial_dcid: key_cid,
            retry_scid: None,
            peer_scid: None,
            token: Vec::new(),
            heard_peer: false,
            remembered: None,
            buffered: Vec::new(),
            replay: false,
            new_parameters: None,
            handshake_data_told: false,
            forged: 0,
            speed_ups: 0,
            original_version: version,
            version_settled: side.is_server(),
            after_version_negotiation: false,
            other_initial: None,
            attempt: None,
        }
    }

    /// Keeps a packet for later, within bounds.
    pub(super) fn buffer(&mut self, arrival: &Arrival, bytes: &[u8]) -> bool {
        let held: usize = self.buffered.iter().map(|b| b.bytes.len()).sum();
        if self.buffered.len() >= BUFFERED_PACKETS || held.saturating_add(bytes.len()) > BUFFERED_BYTES {
            return false;
        }
        let Arrival { tuple, ecn, at, .. } = *arrival;
        self.buffered.push(Buffered { tuple, ecn, at, bytes: bytes.to_vec() });
        true
    }
}

/// What TLS said during one call.
#[derive(Default)]
pub(super) struct TlsOutput {
    /// Somebody asked for secrets.
    tells_secrets: bool,
    sends: Vec<(Level, Vec<u8>)>,
    keys: Vec<(InstalledKeys, Cipher)>,
    parameters: Option<Vec<u8>>,
    secrets: Vec<(Box<str>, Box<[u8]>)>,
    question: Option<Question>,
    version: Option<u32>,
    done: bool,
}

impl TlsEvents for TlsOutput {
    fn send(&mut self, level: Level, bytes: Vec<u8>) {
        self.sends.push((level, bytes));
    }

    fn install_keys(&mut self, keys: InstalledKeys, cipher: Cipher) {
        self.keys.push((keys, cipher));
    }

    fn notify_extensions(&mut self, peer_parameters: &[u8]) {
        self.parameters = Some(peer_parameters.to_vec());
    }

    fn done(&mut self) {
        self.done = true;
    }

    fn ask(&mut self, question: Question) {
        self.question = Some(question);
    }

    fn version(&mut self, version: u32) {
        self.version = Some(version);
    }

    fn secret(&mut self, label: &str, secret: &[u8]) {
        if self.tells_secrets {
            self.secrets.push((label.into(), secret.into()));
        }
    }
}

impl Connection {
    /// Level at which TLS takes bytes now.
    fn tls_read_level(&self) -> Level {
        if self.life.is_complete() {
            Level::OneRtt
        } else if self.hs.as_ref().is_some_and(|h| h.handshake.keys.is_some() || h.handshake.discarded) {
            Level::Handshake
        } else {
            Level::Initial
        }
    }

    /// A CRYPTO frame.
    pub(super) fn on_crypto(
        &mut self,
        level: Level,
        offset: u64,
        data: &[u8],
        now: Timestamp,
    ) -> Result<(), TransportError> {
        if level == Level::Initial
            && let Some(hs) = self.hs.as_mut()
        {
            // RFC 9369 section 4.1: a CRYPTO frame tells a client the version, whichever it came in.
            hs.version_settled = true;
        }
        let reading = self.tls_read_level();
        let Some(stream) = self.crypto_stream(level.space()) else { return Ok(()) };
        // RFC 9001 section 4.1.3: nothing new at a level that TLS has left.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
        //# If the packet is from a previously installed encryption level, it MUST NOT contain data that extends past
        //# the end of previously received data in that flow.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
        //# Implementations MUST treat any violations of this requirement as a connection error of type
        //# PROTOCOL_VIOLATION.
        if level < reading && offset.saturating_add(data.len() as u64) > stream.receive.highest() {
            return Err(late_data(data));
        }
        let known = !data.is_empty() && offset.saturating_add(data.len() as u64) <= stream.receive.highest();
        let fresh = stream.receive.on_frame(offset, data)?;
        if !fresh.is_empty() {
            self.feed_tls(level, fresh, now)?;
        }
        while let Some(piece) = self.crypto_stream(level.space()).and_then(|s| s.receive.pop()) {
            self.feed_tls(level, &piece, now)?;
        }
        if known {
            self.speed_up_handshake(now);
        }
        Ok(())
    }

    /// The peer repeats what we have: it does not have what we sent. Our flight goes out again before its timer, a few
    /// times per connection and within the limits of address validation (RFC 9002 section 6.2.3).
    fn speed_up_handshake(&mut self, now: Timestamp) {
        let Some(hs) = self.hs.as_mut().filter(|hs| hs.speed_ups < MAX_SPEED_UPS) else { return };
        hs.speed_ups += 1;
        for space in [SpaceId::Initial, SpaceId::Handshake] {
            if self.recovery.has_eliciting_in_flight(space) {
                self.probe(space, 2, now);
            }
        }
    }

    fn feed_tls(&mut self, level: Level, bytes: &[u8], now: Timestamp) -> Result<(), TransportError> {
        self.with_tls(now, |tls, out| tls.receive(level, bytes, out))
    }

    /// Client: the ClientHello.
    pub(super) fn start_tls(&mut self, now: Timestamp) -> Result<(), TransportError> {
        self.with_tls(now, |tls, out| tls.start(out))
    }

    /// Answers `Event::Decision`; the handshake goes on, or ends. False: nothing waits for such an answer.
    pub fn decide(&mut self, answer: Answer, now: Timestamp) -> bool {
        if !self.life.is_open() || self.tls.is_none() {
            return false;
        }
        let early_data = matches!(answer, Answer::EarlyData(_));
        match self.with_tls(now, |tls, out| tls.answer(answer, out)) {
            Ok(taken) => {
                if early_data && taken {
                    self.timers.set(Timer::EarlyData, None);
                }
                self.dirty |= taken;
                self.replay_buffered(now);
                self.shrink_after_handshake();
                self.settle(now);
                taken
            }
            Err(error) => {
                self.fail(error, now);
                true
            }
        }
    }

    fn with_tls<R>(
        &mut self,
        now: Timestamp,
        f: impl FnOnce(&mut Session, &mut TlsOutput) -> Result<R, TransportError>,
    ) -> Result<R, TransportError> {
        let Some(tls) = self.tls.as_mut() else {
            // Only a server lets go of TLS, and a client has nothing to say after its Finished (RFC 8446
            // section 4.6 with RFC 9001 sections 4.4 and 6): the alert is unexpected_message.
            //= https://www.rfc-editor.org/rfc/rfc9001#section-6
            //# Endpoints MUST treat the receipt of a TLS KeyUpdate message as a connection error of type 0x010a,
            //# equivalent to a fatal TLS alert of unexpected_message; see Section 4.8.
            return Err(TransportError::new(transport::CRYPTO_ERROR + 10, "unexpected TLS message"));
        };
        let mut out = TlsOutput { tells_secrets: self.cfg.secret_events, ..TlsOutput::default() };
        let result = f(tls, &mut out);
        for (label, secret) in out.secrets.drain(..) {
            self.events.push_back(Event::Secret { label, secret });
        }
        let result = result?;
        self.apply_tls_output(out, now)?;
        Ok(result)
    }

    fn apply_tls_output(&mut self, out: TlsOutput, now: Timestamp) -> Result<(), TransportError> {
        if let Some(version) = out.version {
            self.on_version_chosen(version);
        }
        for (level, bytes) in out.sends {
            if let Some(stream) = self.crypto_stream(level.space()) {
                stream.send.push(bytes);
            }
        }
        if let Some(parameters) = out.parameters {
            self.on_peer_parameters(&parameters, now)?;
        }
        for (keys, cipher) in out.keys {
            self.install_keys(keys, cipher, now);
        }
        let known = self.tls.as_ref().is_some_and(|t| t.alpn().is_some()) || out.done;
        if let Some(hs) = self.hs.as_mut().filter(|h| known && !h.handshake_data_told) {
            hs.handshake_data_told = true;
            self.events.push_back(Event::HandshakeData);
        }
        if let Some(question) = out.question {
            if matches!(question, Question::EarlyData { .. }) {
                self.timers.set(Timer::EarlyData, Some(now + self.cfg.early_data_patience));
            }
            self.events.push_back(Event::Decision(Box::new(question)));
        }
        if out.done {
            self.on_handshake_complete(now)?;
        }
        Ok(())
    }

    fn install_keys(&mut self, keys: InstalledKeys, cipher: Cipher, now: Timestamp) {
        let Some(hs) = self.hs.as_mut() else { return };
        let level = match keys {
            InstalledKeys::ZeroRtt(keys) => {
                hs.zero_rtt = Some(keys);
                if self.side.is_client() {
                    self.early = EarlyData::Pending;
                } else {
                    self.early = EarlyData::Accepted;
                }
                Level::ZeroRtt
            }
            InstalledKeys::Handshake(keys) => {
                hs.handshake.keys = Some(keys);
                Level::Handshake
            }
            InstalledKeys::OneRtt(mut keys) => {
                keys.on_forged(hs.forged);
                self.data.keys = Some(keys);
                if self.side.is_client() {
                    // RFC 9001 section 4.9.3: a client drops 0-RTT keys when it has 1-RTT keys.
                    hs.zero_rtt = None;
                }
                Level::OneRtt
            }
        };
        hs.replay = true;
        self.log_keys(now, level, None, false);
        if self.cfg.key_events {
            self.events.push_back(Event::KeysInstalled { level, cipher });
        }
    }

    /// TLS is complete (RFC 9001 section 4.1.1).
    fn on_handshake_complete(&mut self, now: Timestamp) -> Result<(), TransportError> {
        if !self.life.advance(Phase::Complete) {
            return Ok(());
        }
        //= https://www.rfc-editor.org/rfc/rfc9001#section-8.2
        //# endpoints that receive ClientHello or EncryptedExtensions messages without the quic_transport_parameters
        //# extension MUST close the connection
        if !self.peer.known {
            return Err(TransportError::new(transport::CRYPTO_ERROR + 109, "no transport parameters"));
        }
        self.settle_early_data(now)?;
        self.timers.set(Timer::Handshake, None);
        let resumed = self.tls.as_ref().is_some_and(|t| t.resumed());
        let zero_rtt_accepted = match self.early {
            EarlyData::None => None,
            EarlyData::Accepted => Some(true),
            EarlyData::Pending | EarlyData::Rejected => Some(false),
        };
        if let Some(hs) = self.hs.as_mut() {
            hs.replay = true;
        }
        self.events.push_back(Event::Connected { zero_rtt_accepted, resumed });
        self.want_cids();
        if self.side.is_server() {
            // RFC 9001 section 4.1.2: for a server, complete is confirmed.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-19.20
            //# Servers MUST NOT send a HANDSHAKE_DONE frame before completing the handshake.
            //= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.2
            //# The server MUST send a HANDSHAKE_DONE frame as soon as the handshake is complete.
            self.control.handshake_done = true;
            self.on_handshake_confirmed(now);
        }
        Ok(())
    }

    /// HANDSHAKE_DONE (RFC 9000 section 19.20).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.20
    //# A server MUST treat receipt of a HANDSHAKE_DONE frame as a connection error of type PROTOCOL_VIOLATION.
    pub(super) fn on_handshake_done(&mut self, now: Timestamp) -> Result<(), TransportError> {
        if self.side.is_server() {
            return Err(TransportError::new(transport::PROTOCOL_VIOLATION, "HANDSHAKE_DONE from a client"));
        }
        if !self.life.is_complete() {
            return Err(TransportError::new(transport::PROTOCOL_VIOLATION, "HANDSHAKE_DONE before the end"));
        }
        self.on_handshake_confirmed(now);
        Ok(())
    }

    fn on_handshake_confirmed(&mut self, now: Timestamp) {
        if !self.life.advance(Phase::Confirmed) {
            return;
        }
        // RFC 9001 section 4.9.2.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.2
        //# An endpoint MUST discard its Handshake keys when the TLS handshake is confirmed (Section 4.1.2).
        self.discard_space(SpaceId::Initial);
        self.discard_space(SpaceId::Handshake);
        self.events.push_back(Event::HandshakeConfirmed);
        self.paths.on_handshake_confirmed(now);
        self.prove_early_moves(now);
        self.follow_preferred_address(now);
    }

    /// Frees what only the handshake needed, as soon as nothing can ask for it any more.
    pub(super) fn shrink_after_handshake(&mut self) {
        let Some(hs) = self.hs.as_ref() else { return };
        let late_zero_rtt = self.side.is_server() && hs.zero_rtt.is_some();
        if !self.life.is_confirmed() || late_zero_rtt || !hs.buffered.is_empty() {
            return;
        }
        self.hs = None;
        self.recovery.forget_handshake();
        if self.side.is_server() {
            //= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
            //# A server MUST NOT use post-handshake client authentication (as defined in Section 4.6.2 of [TLS13])
            //# because the multiplexing offered by QUIC prevents clients from correlating the certificate request with
            //# the application-level event that triggered it (see [HTTP2-TLS13]).
            //= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
            //# servers MUST NOT send post- handshake TLS CertificateRequest messages
            self.summary = self.tls.take().map(|tls| Box::new(tls.into_summary()));
        }
        self.events.shrink_to(8);
    }

    /// Drops the keys of a space and everything that was waiting there (RFC 9001 section 4.9).
    pub(super) fn discard_space(&mut self, space: SpaceId) {
        let Some(hs) = self.hs.as_mut() else { return };
        let early = match space {
            SpaceId::Initial => &mut hs.initial,
            SpaceId::Handshake => &mut hs.handshake,
            SpaceId::Data => return,
        };
        if early.discarded {
            return;
        }
        early.keys = None;
        early.discarded = true;
        if space == SpaceId::Initial {
            hs.other_initial = None;
        }
        let early = if space == SpaceId::Initial { &mut hs.initial } else { &mut hs.handshake };
        // What was received stays known until the datagram is done: more frames of its last packet may follow.
        early.crypto.send = CryptoSend::default();
        self.control.probes[space.index()] = 0;
        self.recovery.discard_space(space, &mut self.paths);
        self.dirty = true;
    }
}
