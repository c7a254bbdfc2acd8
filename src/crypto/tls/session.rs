//! One TLS handshake and what follows it on a connection (RFC 9001 section 4), on rustls' QUIC interface.
//!
//! rustls is used in this file only. It is fed whole messages, tells when keys change through the order of
//! `write_hs`, and tells traffic secrets through its key log; the keys are made here. Invariant: bytes of a
//! level are taken only while that level is the one that TLS reads (section 4.1.3).
use super::alerts::{alert, from_rustls};
use super::asking::{Answer, Asking, Question};
use super::client_hello;
use super::client_sessions::ClientSessions;
use super::config::{ClientTls, ServerTls, TlsSetupError};
use super::framing::{CERTIFICATE_REQUEST, CLIENT_HELLO, ENCRYPTED_EXTENSIONS, KEY_UPDATE, Messages};
use super::secrets::{
    CLIENT_APPLICATION, CLIENT_HANDSHAKE, Captured, EARLY, EXPORTER, Logged, SERVER_APPLICATION, SERVER_HANDSHAKE,
    capture,
};
use super::summary::Summary;
use super::tape::Tape;
use super::tickets;
use crate::base::{Level, Side, TransportError, codes};
use crate::crypto::{Cipher, DirectionKeys, LevelKeys, OneRttKeys};
use rustls::quic::{ClientConnection, Connection, KeyChange, ServerConnection, Version};
use rustls::{AlertDescription, ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use std::sync::Arc;

mod early_data;
mod versions;

/// Bytes held for levels that TLS does not read yet; the limit of RFC 9000 section 7.5 is the caller's.
const MAX_EARLY_BYTES: usize = 1 << 16;

/// Bytes held while a question is open: a whole flight with a long chain fits.
const MAX_HELD_BYTES: usize = 1 << 17;
/// Messages kept to be read again when a signature comes.
const MAX_HISTORY_BYTES: usize = 1 << 18;

/// Keys that the handshake produced.
pub enum InstalledKeys {
    /// A client seals with them, a server opens with them.
    ZeroRtt(Box<DirectionKeys>),
    /// Both directions of the Handshake level.
    Handshake(LevelKeys),
    /// Both directions of the 1-RTT level. A server may seal with them at once, but must not open packets
    /// before `TlsEvents::done` (RFC 9001 section 5.7).
    OneRtt(Box<OneRttKeys>),
}

/// What a handshake reports, in the order in which it happens.
pub trait TlsEvents {
    /// Bytes to send in CRYPTO frames of `level`.
    fn send(&mut self, level: Level, bytes: Vec<u8>);
    /// Keys to use from now on.
    fn install_keys(&mut self, keys: InstalledKeys, cipher: Cipher);
    /// The peer's transport parameters; authenticated once `done` is called.
    fn notify_extensions(&mut self, peer_parameters: &[u8]);
    /// The handshake is complete (RFC 9001 section 4.1.1).
    fn done(&mut self);
    /// The handshake waits for [`Session::answer`].
    fn ask(&mut self, question: Question) {
        let _ = question;
    }
    /// Server: the version that was chosen for the client's first flight (RFC 9368 section 2.3), before anything is
    /// sent; not called when that is the version which the client started with.
    fn version(&mut self, version: u32) {
        let _ = version;
    }
    /// A secret with its NSS label, for those who asked for secrets.
    fn secret(&mut self, label: &str, secret: &[u8]) {
        let _ = (label, secret);
    }
}

/// An open question, with the message that TLS has not seen yet.
enum Parked {
    Identity(Vec<u8>),
    EarlyData(Vec<u8>),
    Verify,
    Sign { message: Vec<u8>, signed: Vec<u8> },
}

/// What a client's TLS connection is made from, to make it again.
struct ClientStart {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    parameters: Vec<u8>,
}

/// One TLS handshake and what follows it on the connection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7
//# The cryptographic handshake MUST provide the following properties:
pub struct Session {
    tls: Connection,
    side: Side,
    /// Version in use; keys made from now on have its labels.
    version: u32,
    /// Version that the connection started with: 0-RTT keys and tickets are its own (RFC 9369 sections 4.1 and 5).
    original: u32,
    /// Server: versions to move a client to, most wanted first; empty: the client's choice stands.
    preferred: Vec<u32>,
    /// Server: a ClientHello came, so the version is chosen.
    hello_seen: bool,
    read_level: Level,
    write_level: Level,
    messages: Messages,
    /// Bytes of levels that TLS does not read yet.
    early: Vec<(Level, Vec<u8>)>,
    captured: Captured,
    /// So many of the captured secrets were told.
    told: usize,
    /// What the digest of `Captured` is made of, for another version.
    server: Option<(Arc<ServerTls>, Vec<u8>)>,
    /// Server: what else 0-RTT data depends on ([`Session::early_data_context`]).
    early_data_context: Vec<u8>,
    /// Client: where tokens are kept.
    tokens: Option<Arc<ClientSessions>>,
    server_name: Option<String>,
    early_offered: bool,
    parameters_told: bool,
    done: bool,
    failed: Option<TransportError>,
    exporter: Option<Logged>,
    parked: Option<Box<Parked>>,
    /// The application has chosen the configuration.
    identity_settled: bool,
    /// What the application has said about the client's early data.
    early_data: Option<bool>,
    /// With an external key: the messages that TLS has read.
    history: Vec<Vec<u8>>,
    client: Option<Box<ClientStart>>,
}

impl Session {
    /// A client's session. `server_name` is a DNS name or an IP address; `parameters` are our encoded
    /// transport parameters.
    pub fn client(
        tls: &Arc<ClientTls>,
        version: u32,
        server_name: &str,
        parameters: Vec<u8>,
    ) -> Result<Box<Self>, TlsSetupError> {
        let name = name_of(server_name)?;
        let config = Arc::clone(&tls.config);
        let asking = asking(tls.asks.verify, tls.external);
        // RFC 9369 section 5: the store looks for tickets of this version only.
        let mut captured = Captured { asking, version, ..Captured::default() };
        let again = tls.external.then(|| {
            Box::new(ClientStart { config: Arc::clone(&config), name: name.clone(), parameters: parameters.clone() })
        });
        // rustls writes the ClientHello here, and with a ticket tells the early secret.
        let connection = capture(&mut captured, || ClientConnection::new(config, Version::V1, name, parameters))
            //= https://www.rfc-editor.org/rfc/rfc9001#section-8.3
            //# Clients MUST NOT send the EndOfEarlyData message.
            //= https://www.rfc-editor.org/rfc/rfc9001#section-8.4
            //# A client MUST NOT request the use of the TLS 1.3 compatibility mode.
            .map_err(|e| TlsSetupError(format!("the TLS client cannot start: {e}")))?;
        let name = Some(bare(server_name).to_owned());
        let mut session = Self::new(Connection::Client(connection), Side::Client, version, captured, name);
        session.client = again;
        session.tokens = Some(Arc::clone(&tls.sessions));
        Ok(session)
    }

    /// A server's session for one client.
    pub fn server(tls: &Arc<ServerTls>, version: u32, parameters: Vec<u8>) -> Result<Box<Self>, TlsSetupError> {
        let config = Arc::clone(&tls.config);
        let connection = ServerConnection::new(config, Version::V1, parameters.clone())
            .map_err(|e| TlsSetupError(format!("the TLS server cannot start: {e}")))?;
        let captured = Captured { asking: asking(tls.asks.verify, tls.external), ..Captured::default() };
        let mut session = Self::new(Connection::Server(connection), Side::Server, version, captured, None);
        session.identity_settled = !tls.asks.identity;
        session.server = Some((Arc::clone(tls), parameters));
        session.update_digest();
        Ok(session)
    }

    /// Boxed where it is made: it has one and a half kilobytes, and its way to the connection is long.
    #[inline]
    fn new(tls: Connection, side: Side, version: u32, captured: Captured, server_name: Option<String>) -> Box<Self> {
        Box::new(Self {
            tls,
            side,
            version,
            original: version,
            preferred: Vec::new(),
            hello_seen: false,
            read_level: Level::Initial,
            write_level: Level::Initial,
            messages: Messages::default(),
            early: Vec::new(),
            captured,
            told: 0,
            server: None,
            early_data_context: Vec::new(),
            tokens: None,
            server_name,
            early_offered: false,
            parameters_told: false,
            done: false,
            failed: None,
            exporter: None,
            parked: None,
            identity_settled: true,
            early_data: None,
            history: Vec::new(),
            client: None,
        })
    }

    /// Begins: a client's ClientHello and, with a usable ticket, its 0-RTT keys. A server waits.
    pub fn start(&mut self, ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        if self.side.is_server() {
            return Ok(());
        }
        self.take_secrets(ev);
        // The suite is that of the ticket until the server chooses (RFC 8446 section 4.2.10).
        if let (Some(secret), Some(cipher)) = (self.secret(EARLY), self.cipher()) {
            self.early_offered = true;
            let keys = self.early_direction(cipher, &secret)?;
            ev.install_keys(InstalledKeys::ZeroRtt(keys), cipher);
        }
        self.drain(ev)
    }

    /// The next bytes of the CRYPTO stream of `level`: in order, each byte once. An error is final.
    pub fn receive(&mut self, level: Level, bytes: &[u8], ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.take(level, bytes, ev);
        if let Err(error) = result {
            self.failed = Some(error);
        }
        result
    }

    fn take(&mut self, level: Level, bytes: &[u8], ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        if bytes.is_empty() {
            return Ok(());
        }
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
        //# Implementations MUST treat any violations of this requirement as a connection error of type
        //# PROTOCOL_VIOLATION.
        if level == Level::ZeroRtt || level < self.read_level {
            return Err(late_data(bytes));
        }
        if level > self.read_level {
            let held: usize = self.early.iter().map(|(_, b)| b.len()).sum();
            if held.saturating_add(bytes.len()) > MAX_EARLY_BYTES {
                return Err(TransportError::new(
                    codes::transport::CRYPTO_BUFFER_EXCEEDED,
                    "too much early CRYPTO data",
                ));
            }
            self.early.push((level, bytes.to_vec()));
            return Ok(());
        }
        if self.parked.is_some() && self.messages.len().saturating_add(bytes.len()) > MAX_HELD_BYTES {
            return Err(TransportError::new(codes::transport::CRYPTO_BUFFER_EXCEEDED, "too much CRYPTO data held"));
        }
        self.messages.push(bytes);
        self.read_messages(ev)
    }

    fn read_messages(&mut self, ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        loop {
            if self.parked.is_some() {
                return Ok(());
            }
            let level = self.read_level;
            let mut messages = core::mem::take(&mut self.messages);
            let fed = match messages.next() {
                Ok(Some(message)) => self.feed(message, ev).map(|()| true),
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            };
            self.messages = messages;
            if !fed? {
                if self.messages.is_empty() {
                    self.messages.clear();
                }
                return Ok(());
            }
            self.after_message(level)?;
        }
    }

    /// RFC 9001 section 4.1.3: when TLS moves on from `level`, nothing of it may be left unread.
    fn after_message(&mut self, level: Level) -> Result<(), TransportError> {
        let read_level = self.read_level;
        if read_level == level {
            return Ok(());
        }
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
        //# When TLS provides keys for a higher encryption level, if there is data from a previous encryption level that
        //# TLS has not consumed, this MUST be treated as a connection error of type PROTOCOL_VIOLATION.
        if let Some(kind) = self.messages.peek() {
            return Err(late_data(&[kind]));
        }
        self.messages.clear();
        for (_, bytes) in self.early.extract_if(.., |(l, _)| *l == read_level) {
            self.messages.push(&bytes);
        }
        if self.early.iter().any(|(l, _)| *l < read_level) {
            return Err(violation("CRYPTO data at a level that is over"));
        }
        Ok(())
    }

    fn feed(&mut self, message: &[u8], ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        let kind = message.first().copied().unwrap_or(0);
        if self.side.is_server() && kind == CLIENT_HELLO && self.read_level == Level::Initial {
            let body = message.get(4..).unwrap_or(&[]);
            if !self.identity_settled {
                return self.ask_identity(message, ev);
            }
            self.choose_version(body, ev)?;
            if let Some(question) = self.check_client_hello(body)? {
                self.parked = Some(Box::new(Parked::EarlyData(message.to_vec())));
                ev.ask(question);
                return Ok(());
            }
        }
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
        //# clients MUST treat receipt of such messages as a connection error of type PROTOCOL_VIOLATION
        if self.done && kind == CERTIFICATE_REQUEST {
            return Err(violation("CertificateRequest after the handshake"));
        }
        if self.side.is_server() && self.read_level == Level::Handshake {
            // The message may be the last, which tickets follow.
            self.digest();
        }
        let tls = &mut self.tls;
        let result = capture(&mut self.captured, || tls.read_hs(message));
        let question = self.captured.asking.as_deref_mut().and_then(|a| a.question.take());
        match (result, question) {
            (Err(_), Some(question @ Question::Sign { .. })) => {
                return self.ask_signature(message, question, ev);
            }
            (Err(e), _) => return Err(from_rustls(&e, self.tls.alert())),
            (Ok(()), Some(question)) => {
                self.parked = Some(Box::new(Parked::Verify));
                ev.ask(question);
            }
            (Ok(()), None) => {}
        }
        self.keep(message)?;
        self.take_secrets(ev);
        match self.side {
            Side::Client if kind == ENCRYPTED_EXTENSIONS => self.tell_parameters(ev),
            Side::Server if !self.parameters_told => {
                self.tell_parameters(ev);
                self.accept_early_data(ev)?;
                if self.parameters_told {
                    // RFC 9369 section 5: the old ticket was looked at; new ones are of the negotiated version.
                    if self.captured.version != self.version {
                        self.update_digest();
                    }
                }
            }
            _ => {}
        }
        self.drain(ev)
    }

    /// Keeps a message that may have to be read again.
    fn keep(&mut self, message: &[u8]) -> Result<(), TransportError> {
        if self.captured.asking.as_ref().is_none_or(|a| a.tape.is_none()) {
            return Ok(());
        }
        let held: usize = self.history.iter().map(Vec::len).sum();
        if held.saturating_add(message.len()) > MAX_HISTORY_BYTES {
            return Err(TransportError::new(codes::transport::CRYPTO_BUFFER_EXCEEDED, "handshake is too long"));
        }
        self.history.push(message.to_vec());
        Ok(())
    }

    fn ask_identity(&mut self, message: &[u8], ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        let malformed = |_| alert(AlertDescription::DecodeError, "malformed ClientHello");
        let hello = client_hello::parse(message.get(4..).unwrap_or(&[])).map_err(malformed)?;
        let name = hello.server_name.and_then(|n| core::str::from_utf8(n).ok());
        let question = Question::Identity {
            server_name: name.map(str::to_owned),
            alpn: hello.protocols().map(<[u8]>::to_vec).collect(),
            client_hello: message.to_vec(),
        };
        self.parked = Some(Box::new(Parked::Identity(message.to_vec())));
        ev.ask(question);
        Ok(())
    }

    /// The call stopped at the signature: it left nothing behind but the question.
    fn ask_signature(
        &mut self,
        message: &[u8],
        question: Question,
        ev: &mut dyn TlsEvents,
    ) -> Result<(), TransportError> {
        self.captured.secrets.truncate(self.told);
        let Question::Sign { message: signed, .. } = &question else { return Err(no_secret()) };
        self.parked = Some(Box::new(Parked::Sign { message: message.to_vec(), signed: signed.clone() }));
        ev.ask(question);
        Ok(())
    }

    /// Answers the question that is open; `Ok(false)`: none is, or it cannot be answered so. An error is final.
    pub fn answer(&mut self, answer: Answer, ev: &mut dyn TlsEvents) -> Result<bool, TransportError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.take_answer(answer, ev);
        if let Err(error) = result {
            self.failed = Some(error);
        }
        result
    }

    fn take_answer(&mut self, answer: Answer, ev: &mut dyn TlsEvents) -> Result<bool, TransportError> {
        let Some(parked) = self.parked.take() else { return Ok(false) };
        let level = self.read_level;
        match (*parked, answer) {
            (Parked::EarlyData(message), Answer::EarlyData(fresh)) => {
                self.early_data = Some(fresh);
                self.feed(&message, ev)?;
            }
            (parked @ Parked::EarlyData(_), _) | (parked, Answer::EarlyData(_)) => {
                self.parked = Some(Box::new(parked));
                return Ok(false);
            }
            (_, Answer::Refuse(code)) => {
                return Err(alert(AlertDescription::from(code), "refused by the application"));
            }
            (Parked::Identity(message), answer @ (Answer::Proceed | Answer::Identity(_))) => {
                if let Answer::Identity(tls) = answer {
                    self.serve_as(&tls)?;
                }
                self.identity_settled = true;
                self.feed(&message, ev)?;
            }
            (Parked::Verify, Answer::Proceed) => {
                if let Some(asking) = self.captured.asking.as_deref_mut() {
                    asking.accepted = true;
                }
            }
            (Parked::Sign { message, signed }, Answer::Signature(signature)) => {
                self.begin_again()?;
                if let Some(asking) = self.captured.asking.as_deref_mut() {
                    asking.signature = Some((signed, signature));
                }
                self.feed(&message, ev)?;
            }
            (parked, _) => {
                self.parked = Some(Box::new(parked));
                return Ok(false);
            }
        }
        self.after_message(level)?;
        self.read_messages(ev)?;
        Ok(true)
    }

    /// Server, nothing read yet: another configuration serves this client.
    fn serve_as(&mut self, tls: &Arc<ServerTls>) -> Result<(), TransportError> {
        let Some((_, parameters)) = self.server.take() else { return Err(no_secret()) };
        let connection = ServerConnection::new(Arc::clone(&tls.config), Version::V1, parameters.clone());
        self.tls = Connection::Server(connection.map_err(|e| from_rustls(&e, None))?);
        self.server = Some((Arc::clone(tls), parameters));
        self.captured.asking = asking(tls.asks.verify, tls.external);
        self.update_digest();
        Ok(())
    }

    /// Leads a new TLS connection to where the old one stopped: same messages, same random choices. What it says on
    /// the way has been said.
    fn begin_again(&mut self) -> Result<(), TransportError> {
        if let Some(tape) = self.captured.asking.as_deref_mut().and_then(|a| a.tape.as_mut()) {
            tape.rewind();
        }
        let captured = &mut self.captured;
        let made = match (&self.client, &self.server) {
            (Some(start), _) => capture(captured, || {
                let (config, name) = (Arc::clone(&start.config), start.name.clone());
                ClientConnection::new(config, Version::V1, name, start.parameters.clone()).map(Connection::Client)
            }),
            (None, Some((tls, parameters))) => capture(captured, || {
                let config = Arc::clone(&tls.config);
                ServerConnection::new(config, Version::V1, parameters.clone()).map(Connection::Server)
            }),
            (None, None) => return Err(no_secret()),
        };
        let mut tls = made.map_err(|e| from_rustls(&e, None))?;
        let mut said = Vec::new();
        // The ClientHello, then what each message led to.
        for message in core::iter::once(None).chain(self.history.iter().map(Some)) {
            if let Some(message) = message {
                capture(captured, || tls.read_hs(message)).map_err(|e| from_rustls(&e, tls.alert()))?;
            }
            loop {
                said.clear();
                let change = capture(captured, || tls.write_hs(&mut said));
                if change.is_none() && said.is_empty() {
                    break;
                }
            }
        }
        self.captured.secrets.truncate(self.told);
        self.tls = tls;
        Ok(())
    }

    /// What rustls does not check itself. A question: TLS reads the message after its answer.
    fn check_client_hello(&mut self, body: &[u8]) -> Result<Option<Question>, TransportError> {
        let hello =
            client_hello::parse(body).map_err(|_| alert(AlertDescription::DecodeError, "malformed ClientHello"))?;
        // RFC 9001 section 8.2: the extension of the RFC, not that of drafts.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-8.2
        //# Endpoints MUST send the quic_transport_parameters extension; endpoints that receive ClientHello or
        //# EncryptedExtensions messages without the quic_transport_parameters extension MUST close the connection with
        //# an error of type 0x016d (equivalent to a fatal TLS missing_extension alert, see Section 4.8).
        if hello.transport_parameters.is_none() {
            return Err(alert(AlertDescription::MissingExtension, "no quic_transport_parameters extension"));
        }
        // RFC 9001 section 8.4: middlebox compatibility mode has no place in QUIC.
        if hello.legacy_session_id {
            return Err(violation("legacy_session_id is not empty"));
        }
        if !hello.early_data {
            return Ok(None);
        }
        self.early_offered = true;
        let digest = self.digest();
        // RFC 9000 section 7.4.1: 0-RTT data was sent under the settings that the ticket was issued with.
        let (Some((tls, _)), Connection::Server(server)) = (&self.server, &mut self.tls) else { return Ok(None) };
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
        //# If 0-RTT data is accepted by the server, the server MUST NOT reduce any limits or alter any values that
        //# might be violated by the client with its 0-RTT data.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
        //# In particular, a server that accepts 0-RTT data MUST NOT set values for the following parameters (Section
        //# 18.2) that are smaller than the remembered values of the parameters.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
        //# A server MUST reject 0-RTT data if the restored values for transport parameters cannot be supported.
        let known = hello.ticket.and_then(|ticket| tls.store.issued(ticket, self.captured.version));
        // A ticket that nobody knows is for TLS to refuse.
        let Some(issued) = known.filter(|_| tls.config.max_early_data_size > 0) else { return Ok(None) };
        let refused = match self.early_data {
            _ if Some(issued.digest) != digest => true,
            //= https://www.rfc-editor.org/rfc/rfc9001#section-9.2
            //# Endpoints MUST implement and use the replay protections described in [TLS13], however it is recognized
            //# that these protections are imperfect.
            Some(fresh) => !fresh,
            None if tls.asks.early_data => {
                let key = tickets::offer_key(hello.ticket.unwrap_or(&[]), hello.binder.unwrap_or(&[]));
                return Ok(Some(Question::EarlyData { key, window: tickets::EARLY_DATA_WINDOW }));
            }
            // RFC 8446 section 8: nobody remembers who has used it.
            None => issued.sealed,
        };
        if refused {
            server.reject_early_data();
        }
        Ok(None)
    }

    fn tell_parameters(&mut self, ev: &mut dyn TlsEvents) {
        if let Some(parameters) = self.tls.quic_transport_parameters() {
            self.parameters_told = true;
            ev.notify_extensions(parameters);
        }
    }

    /// Sends what rustls has to say; keys change between its answers.
    fn drain(&mut self, ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        loop {
            let mut bytes = Vec::new();
            let tls = &mut self.tls;
            let change = capture(&mut self.captured, || tls.write_hs(&mut bytes));
            self.take_secrets(ev);
            if !self.captured.tickets.is_empty() && self.write_level == Level::OneRtt {
                let made = core::mem::take(&mut self.captured.tickets);
                let early = self.server.as_ref().is_some_and(|(tls, _)| tls.asks.early_data);
                bytes = tickets::replace_tickets(&bytes, &made, early).ok_or_else(no_secret)?;
            }
            let wrote = !bytes.is_empty();
            if wrote {
                ev.send(self.write_level, bytes);
            }
            match change {
                Some(KeyChange::Handshake { .. }) => self.install_handshake(ev)?,
                Some(KeyChange::OneRtt { .. }) => self.install_one_rtt(ev)?,
                None if !wrote => break,
                None => {}
            }
        }
        if !self.done && !self.tls.is_handshaking() {
            self.done = true;
            self.read_level = Level::OneRtt;
            self.history = Vec::new();
            self.client = None;
            self.captured.asking = None;
            self.exporter = self.secret(EXPORTER);
            self.captured.secrets = Vec::new();
            self.told = 0;
            ev.done();
        }
        Ok(())
    }

    fn install_handshake(&mut self, ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        let cipher = self.cipher().ok_or_else(no_secret)?;
        let client = self.secret(CLIENT_HANDSHAKE).ok_or_else(no_secret)?;
        let server = self.secret(SERVER_HANDSHAKE).ok_or_else(no_secret)?;
        let (local, remote) = self.local_remote(&client, &server);
        let keys = LevelKeys { local: self.direction(cipher, local)?, remote: self.direction(cipher, remote)? };
        self.write_level = Level::Handshake;
        self.read_level = Level::Handshake;
        ev.install_keys(InstalledKeys::Handshake(keys), cipher);
        Ok(())
    }

    fn install_one_rtt(&mut self, ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        let cipher = self.cipher().ok_or_else(no_secret)?;
        let client = self.secret(CLIENT_APPLICATION).ok_or_else(no_secret)?;
        let server = self.secret(SERVER_APPLICATION).ok_or_else(no_secret)?;
        let (local, remote) = self.local_remote(&client, &server);
        if local.secret().len() != cipher.secret_len() || remote.secret().len() != cipher.secret_len() {
            return Err(no_secret());
        }
        let keys = OneRttKeys::new(self.version, cipher, local.secret(), remote.secret());
        self.write_level = Level::OneRtt;
        ev.install_keys(InstalledKeys::OneRtt(Box::new(keys)), cipher);
        Ok(())
    }

    fn local_remote<'a>(&self, client: &'a Logged, server: &'a Logged) -> (&'a Logged, &'a Logged) {
        if self.side.is_client() { (client, server) } else { (server, client) }
    }

    fn direction(&self, cipher: Cipher, secret: &Logged) -> Result<Box<DirectionKeys>, TransportError> {
        DirectionKeys::from_secret(cipher, self.version, secret.secret()).ok_or_else(no_secret)
    }

    /// RFC 9369 section 4.1: 0-RTT packets are always of the original version.
    fn early_direction(&self, cipher: Cipher, secret: &Logged) -> Result<Box<DirectionKeys>, TransportError> {
        DirectionKeys::from_secret(cipher, self.original, secret.secret()).ok_or_else(no_secret)
    }

    fn take_secrets(&mut self, ev: &mut dyn TlsEvents) {
        for logged in self.captured.secrets.iter().skip(self.told) {
            ev.secret(logged.label, logged.secret());
        }
        self.told = self.captured.secrets.len();
    }

    /// A captured secret.
    fn secret(&self, label: &str) -> Option<Logged> {
        self.captured.secrets.iter().find(|s| s.label == label).cloned()
    }

    /// The application protocol, once chosen.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The name that the client asked for.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match &self.tls {
            Connection::Client(_) => self.server_name.as_deref(),
            Connection::Server(server) => server.server_name(),
        }
    }

    /// The peer's certificates in DER, its own first; also those of a resumed session.
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.tls.peer_certificates().unwrap_or(&[]).iter().map(|c| c.as_ref().to_vec()).collect()
    }

    /// The negotiated cipher; before that, the one of the ticket.
    #[must_use]
    pub fn cipher(&self) -> Option<Cipher> {
        Cipher::from_wire_id(self.tls.negotiated_cipher_suite()?.suite().into())
    }

    /// The session of an earlier connection was taken up.
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The handshake is complete.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Ends a finished session; what can still be asked about it.
    #[must_use]
    pub fn into_summary(mut self) -> Summary {
        Summary {
            alpn: self.alpn().map(Into::into),
            server_name: self.server_name().map(Into::into),
            certificates: self.peer_certificates().into_boxed_slice(),
            cipher: self.cipher(),
            resumed: self.resumed(),
            exporter: self.exporter.take().filter(|_| self.done),
        }
    }

    /// Exported keying material (RFC 8446 section 7.5); false before the handshake is complete.
    #[must_use]
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> bool {
        self.done && self.tls.export_keying_material(out, label, Some(context)).is_ok()
    }
}

/// What a session carries into rustls when its configuration has questions.
fn asking(verify: bool, external: bool) -> Option<Box<Asking>> {
    let tape = external.then(Tape::default);
    (verify || external).then(|| Box::new(Asking { tape, ..Asking::default() }))
}

/// New CRYPTO data at a level whose keys were followed by newer ones: a PROTOCOL_VIOLATION (RFC 9001 section
/// 4.1.3), unless it is a KeyUpdate message, for which section 6 asks for unexpected_message.
#[must_use]
pub fn late_data(bytes: &[u8]) -> TransportError {
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6
    //# Endpoints MUST treat the receipt of a TLS KeyUpdate message as a connection error of type 0x010a, equivalent to
    //# a fatal TLS alert of unexpected_message; see Section 4.8.
    if bytes.first() == Some(&KEY_UPDATE) {
        return alert(AlertDescription::UnexpectedMessage, "KeyUpdate message");
    }
    violation("CRYPTO data at a level that is over")
}

/// The name without the brackets of an IPv6 literal.
fn name_of(server_name: &str) -> Result<ServerName<'static>, TlsSetupError> {
    ServerName::try_from(bare(server_name).to_owned())
        .map_err(|_| TlsSetupError(format!("\"{server_name}\" is not a valid server name")))
}

fn bare(server_name: &str) -> &str {
    server_name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(server_name)
}

fn violation(reason: &'static str) -> TransportError {
    TransportError::new(codes::transport::PROTOCOL_VIOLATION, reason)
}

fn no_secret() -> TransportError {
    TransportError::new(codes::transport::INTERNAL_ERROR, "TLS changed keys without telling secrets")
}
