//! Long-lived TLS configurations (RFC 9001 section 4): built once, shared by all connections.
//!
//! rustls uses a ticket only with the very verifier and resolver that it came with, so resumption works among
//! connections that share a `ClientTls`. Invariant: only TLS 1.3, at least one application protocol, and an
//! early data limit that QUIC allows (section 4.6.1).
use super::asking::{AskingClientVerifier, AskingServerVerifier, Asks, NoClientRoots};
use super::client_sessions::ClientSessions;
use super::identities::{Identities, add_roots, add_system_roots, external, identity};
use super::provider::{default_ciphers, provider};
use super::secrets::Sink;
use super::signatures::{Signatures, signatures_by};
use super::tape::taped;
use super::tickets::SessionStore;
use crate::crypto::Cipher;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, KeyLog, RootCertStore, ServerConfig, SignatureScheme, version::TLS13,
};
use std::fmt;
use std::sync::Arc;

/// Receives lines in the NSS key log format (SSLKEYLOGFILE), without a line end. It is called while a
/// connection is locked: it must not call back into the library.
pub type KeyLogLine = Arc<dyn Fn(&str) + Send + Sync>;

/// RFC 9001 section 4.6.1: the only value besides 0 that QUIC allows.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.1
//# Servers MUST NOT send the early_data extension with a max_early_data_size field set to any value other than
//# 0xffffffff.
const UNLIMITED_EARLY_DATA: u32 = 0xffff_ffff;
/// Tickets that a server sends after a handshake: a client over QUIC has one connection to a server as a rule, and gets
/// another ticket with each. One costs as much as two per cent of the handshake, and a place among the sessions kept.
const TICKETS: usize = 1;
/// The same where early data are taken: a client that is answered early may have closed before its new ticket is there,
/// and needs one that is left over (RFC 8446 appendix C.4: a ticket is used once).
const TICKETS_WITH_EARLY_DATA: usize = 2;

/// Why a TLS configuration or session could not be made: one clear sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSetupError(pub String);

impl fmt::Display for TlsSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsSetupError {}

fn problem(text: &str) -> TlsSetupError {
    TlsSetupError(text.to_owned())
}

/// What all client connections of one configuration share, its session cache included.
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) sessions: Arc<ClientSessions>,
    pub(super) asks: Asks,
    /// Our key is elsewhere.
    pub(super) external: bool,
}

impl ClientTls {
    /// The application protocols on offer.
    #[must_use]
    pub fn alpn(&self) -> &[Vec<u8>] {
        &self.config.alpn_protocols
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// What all server connections of one configuration share, its session store included.
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) store: Arc<SessionStore>,
    pub(super) asks: Asks,
    /// One of our keys is, or was, elsewhere.
    pub(super) external: bool,
    pub(super) identities: Arc<Identities>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerTls {
    /// Replaces the identity with number `id` (as counted by the builder, from 0) for handshakes that begin from now
    /// on; without a pair it is removed.
    pub fn replace_identity(&self, id: u32, pair: Option<(&[u8], Option<&[u8]>)>) -> Result<(), TlsSetupError> {
        let made = match pair {
            None => None,
            Some((chain, Some(key))) => Some(identity(chain, key, &self.provider)?),
            Some((chain, None)) if self.external => Some(external(chain)?),
            Some((_, None)) => return Err(problem("no key of this server was elsewhere when it began")),
        };
        self.identities.put(id, made);
        Ok(())
    }

    /// Replaces the ticket keys: the first seals, all open. None: sessions are kept in this process.
    pub fn set_ticket_keys(&self, keys: &[[u8; 32]]) {
        self.store.set_keys(keys);
    }

    /// The application protocols that are accepted, most wanted first.
    #[must_use]
    pub fn alpn(&self) -> &[Vec<u8>] {
        &self.config.alpn_protocols
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-7
//# Endpoints MUST explicitly negotiate an application protocol.
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//# Unless another mechanism is used for agreeing on an application protocol, endpoints MUST use ALPN for this purpose.
fn check_alpn(protocols: &[Vec<u8>]) -> Result<(), TlsSetupError> {
    // RFC 9001 section 8.1: QUIC needs an application protocol.
    if protocols.is_empty() {
        return Err(problem("no application protocol is set: QUIC needs at least one, such as \"h3\""));
    }
    if protocols.iter().any(|p| p.is_empty() || p.len() > 255) {
        return Err(problem("an application protocol must have 1 to 255 bytes"));
    }
    Ok(())
}

fn check_ciphers(ciphers: Vec<Cipher>) -> Result<Vec<Cipher>, TlsSetupError> {
    if ciphers.is_empty() { Err(problem("no cipher suite is set")) } else { Ok(ciphers) }
}

/// A certificate chain and its key, unless that is elsewhere.
type Pair = (Vec<u8>, Option<Vec<u8>>);

/// Makes a `ClientTls`. Mistakes in what is given are reported by `build`.
pub struct ClientTlsBuilder {
    alpn: Vec<Vec<u8>>,
    roots: Vec<Vec<u8>>,
    system_roots: bool,
    verify: bool,
    identity: Option<Pair>,
    early_data: bool,
    key_log: Option<KeyLogLine>,
    ciphers: Vec<Cipher>,
    asks: Asks,
}

impl ClientTlsBuilder {
    /// Verifies servers, trusts nobody yet, offers no protocol yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            alpn: Vec::new(),
            roots: Vec::new(),
            system_roots: false,
            verify: true,
            identity: None,
            early_data: false,
            key_log: None,
            ciphers: default_ciphers(),
            asks: Asks::default(),
        }
    }

    /// Which decisions the application takes.
    #[must_use]
    pub fn asks(mut self, asks: Asks) -> Self {
        self.asks = asks;
        self
    }

    /// As `identity_pem`, with a key that is elsewhere: each handshake that needs it asks for a signature. Such a
    /// configuration does not resume sessions.
    #[must_use]
    pub fn identity_external(mut self, chain: &[u8]) -> Self {
        self.identity = Some((chain.to_vec(), None));
        self
    }

    /// Application protocols to offer, most wanted first.
    #[must_use]
    pub fn alpn(mut self, protocols: Vec<Vec<u8>>) -> Self {
        self.alpn = protocols;
        self
    }

    /// Trusts the certificates of this PEM text, besides others.
    #[must_use]
    pub fn roots_pem(mut self, pem: &[u8]) -> Self {
        self.roots.push(pem.to_vec());
        self
    }

    /// Trusts what the system trusts, besides others.
    #[must_use]
    pub fn system_roots(mut self) -> Self {
        self.system_roots = true;
        self
    }

    /// Accepts any certificate: for tests only. The server must still own the key of what it shows.
    #[must_use]
    pub fn no_verify(mut self) -> Self {
        self.verify = false;
        self
    }

    /// Certificate chain and key to show to servers that ask for them.
    #[must_use]
    pub fn identity_pem(mut self, chain: &[u8], key: &[u8]) -> Self {
        self.identity = Some((chain.to_vec(), Some(key.to_vec())));
        self
    }

    /// Sends 0-RTT data when a session allows it. Such data can be replayed (RFC 9001 section 9.2).
    //= https://www.rfc-editor.org/rfc/rfc9001#section-5.6
    //# A client therefore MUST NOT use 0-RTT for application data unless specifically requested by the application that
    //# is in use.
    #[must_use]
    pub fn early_data(mut self, on: bool) -> Self {
        self.early_data = on;
        self
    }

    /// Where the lines of SSLKEYLOGFILE go.
    #[must_use]
    pub fn key_log(mut self, line: KeyLogLine) -> Self {
        self.key_log = Some(line);
        self
    }

    /// Cipher suites to offer, most wanted first, instead of all.
    #[must_use]
    pub fn ciphers(mut self, ciphers: Vec<Cipher>) -> Self {
        self.ciphers = ciphers;
        self
    }

    /// Checks everything.
    pub fn build(self) -> Result<Arc<ClientTls>, TlsSetupError> {
        check_alpn(&self.alpn)?;
        let external_key = matches!(&self.identity, Some((_, None)));
        let provider = provider(&check_ciphers(self.ciphers)?);
        let provider = if external_key { taped(&provider) } else { provider };
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
        //# A client MUST authenticate the identity of the server.
        let verifier: Arc<dyn ServerCertVerifier> = if self.verify {
            let mut roots = RootCertStore::empty();
            for pem in &self.roots {
                add_roots(&mut roots, pem)?;
            }
            if self.system_roots {
                add_system_roots(&mut roots)?;
            }
            if roots.is_empty() {
                return Err(problem("no root certificates are set, so no server could be trusted"));
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| TlsSetupError(format!("the root certificates cannot be used: {e}")))?
        } else {
            Arc::new(NoVerifier(Signatures(Arc::clone(&provider))))
        };
        let verifier = if self.asks.verify { Arc::new(AskingServerVerifier(verifier)) } else { verifier };
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.2
        //# Clients MUST NOT offer TLS versions older than 1.3.
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.2
        //# An endpoint MUST terminate the connection if a version of TLS older than 1.3 is negotiated.
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|e| TlsSetupError(format!("the cipher suites cannot be used: {e}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let identity = match key {
                    Some(key) => identity(&chain, &key, &provider)?,
                    None => external(&chain)?,
                };
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)))
            }
        };
        config.alpn_protocols = self.alpn;
        config.enable_early_data = self.early_data;
        config.key_log = Arc::new(Sink::new(self.key_log)) as Arc<dyn KeyLog>;
        let sessions = Arc::new(ClientSessions::default());
        // A handshake that runs twice must not depend on what others have learned meanwhile.
        config.resumption = if external_key {
            Resumption::disabled()
        } else {
            Resumption::store(Arc::clone(&sessions) as Arc<dyn rustls::client::ClientSessionStore>)
        };
        Ok(Arc::new(ClientTls { config: Arc::new(config), sessions, asks: self.asks, external: external_key }))
    }
}

impl Default for ClientTlsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes a `ServerTls`. Mistakes in what is given are reported by `build`.
pub struct ServerTlsBuilder {
    alpn: Vec<Vec<u8>>,
    identities: Vec<Option<Pair>>,
    early_data: bool,
    client_roots: Vec<Vec<u8>>,
    client_required: bool,
    client_wanted: bool,
    asks: Asks,
    key_log: Option<KeyLogLine>,
    ciphers: Vec<Cipher>,
    groups: Vec<u16>,
    /// `None`: what suits the use of early data.
    tickets: Option<usize>,
}

impl ServerTlsBuilder {
    /// No identity and no protocol yet; sends session tickets; asks for no client certificate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            alpn: Vec::new(),
            identities: Vec::new(),
            early_data: false,
            client_roots: Vec::new(),
            client_required: false,
            client_wanted: false,
            asks: Asks::default(),
            key_log: None,
            ciphers: default_ciphers(),
            groups: Vec::new(),
            tickets: None,
        }
    }

    /// Application protocols to accept, most wanted first.
    #[must_use]
    pub fn alpn(mut self, protocols: Vec<Vec<u8>>) -> Self {
        self.alpn = protocols;
        self
    }

    /// Adds a certificate chain with its key. With several, the client's name chooses; the first is the default.
    #[must_use]
    pub fn identity_pem(mut self, chain: &[u8], key: &[u8]) -> Self {
        self.identities.push(Some((chain.to_vec(), Some(key.to_vec()))));
        self
    }

    /// As `identity_pem`, with a key that is elsewhere: each handshake that uses it asks for a signature.
    #[must_use]
    pub fn identity_external(mut self, chain: &[u8]) -> Self {
        self.identities.push(Some((chain.to_vec(), None)));
        self
    }

    /// Leaves a number without an identity.
    #[must_use]
    pub fn skip_identity(mut self) -> Self {
        self.identities.push(None);
        self
    }

    /// Which decisions the application takes.
    #[must_use]
    pub fn asks(mut self, asks: Asks) -> Self {
        self.asks = asks;
        self
    }

    /// Asks clients for certificates that the application alone judges; `require`: and refuses those who have none.
    #[must_use]
    pub fn client_certificates(mut self, require: bool) -> Self {
        self.client_wanted = true;
        self.client_required = require;
        self
    }

    /// Accepts 0-RTT data, once per session that is kept in this process; of sessions whose tickets are sealed with shared
    /// keys only when the application says that the offer is new ([`Asks::early_data`]; RFC 9001 section 9.2).
    #[must_use]
    pub fn early_data(mut self, on: bool) -> Self {
        self.early_data = on;
        self
    }

    /// Asks clients for certificates signed by these; `require`: and refuses those who have none.
    #[must_use]
    pub fn client_roots_pem(mut self, pem: &[u8], require: bool) -> Self {
        self.client_roots.push(pem.to_vec());
        self.client_required = require;
        self
    }

    /// Where the lines of SSLKEYLOGFILE go.
    #[must_use]
    pub fn key_log(mut self, line: KeyLogLine) -> Self {
        self.key_log = Some(line);
        self
    }

    /// Cipher suites to accept instead of all; the client's order decides.
    #[must_use]
    pub fn ciphers(mut self, ciphers: Vec<Cipher>) -> Self {
        self.ciphers = ciphers;
        self
    }

    /// Key exchange groups to accept, by their TLS numbers (RFC 8446 section 4.2.7), instead of all. A client that
    /// begins with another one is asked to try again (HelloRetryRequest).
    #[must_use]
    pub fn groups(mut self, groups: Vec<u16>) -> Self {
        self.groups = groups;
        self
    }

    /// Session tickets to send after each handshake; 0 switches resumption off.
    #[must_use]
    pub fn tickets(mut self, count: usize) -> Self {
        self.tickets = Some(count);
        self
    }

    /// Checks everything.
    pub fn build(self) -> Result<Arc<ServerTls>, TlsSetupError> {
        check_alpn(&self.alpn)?;
        let external_key = self.identities.iter().flatten().any(|(_, key)| key.is_none());
        let mut provider = provider(&check_ciphers(self.ciphers)?);
        if !self.groups.is_empty() {
            let all = Arc::make_mut(&mut provider);
            all.kx_groups.retain(|g| self.groups.contains(&u16::from(g.name())));
            if all.kx_groups.is_empty() {
                return Err(problem("none of the key exchange groups is known"));
            }
        }
        let provider = if external_key { taped(&provider) } else { provider };
        // Who is asked for each identity may have none at hand.
        if self.identities.iter().all(Option::is_none) && !self.asks.identity {
            return Err(problem("a server needs a certificate and its private key"));
        }
        let identities = Arc::new(Identities::default());
        for (id, pair) in (0..).zip(&self.identities) {
            let Some((chain, key)) = pair else { continue };
            let identity = match key {
                Some(key) => identity(chain, key, &provider)?,
                None => external(chain)?,
            };
            identities.put(id, Some(identity));
        }
        //= https://www.rfc-editor.org/rfc/rfc9001#section-4.2
        //# An endpoint MUST terminate the connection if a version of TLS older than 1.3 is negotiated.
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|e| TlsSetupError(format!("the cipher suites cannot be used: {e}")))?;
        let builder = if self.client_roots.is_empty() && !self.client_wanted {
            builder.with_no_client_auth()
        } else if self.client_roots.is_empty() {
            if !self.asks.verify {
                return Err(problem("client certificates need trusted roots, or an application that judges them"));
            }
            let signatures = Signatures(Arc::clone(&provider));
            let nobody = NoClientRoots { signatures, mandatory: self.client_required };
            builder.with_client_cert_verifier(Arc::new(AskingClientVerifier(Arc::new(nobody))))
        } else {
            let mut roots = RootCertStore::empty();
            for pem in &self.client_roots {
                add_roots(&mut roots, pem)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = if self.client_required { verifier } else { verifier.allow_unauthenticated() };
            let verifier =
                verifier.build().map_err(|e| TlsSetupError(format!("the client roots cannot be used: {e}")))?;
            builder.with_client_cert_verifier(if self.asks.verify {
                Arc::new(AskingClientVerifier(verifier))
            } else {
                verifier
            })
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&identities) as _);
        let store = Arc::new(SessionStore::default());
        //= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
        //# Servers MUST select an application protocol compatible with the QUIC version that the client has selected.
        config.alpn_protocols = self.alpn;
        config.max_early_data_size = if self.early_data { UNLIMITED_EARLY_DATA } else { 0 };
        let usual = if self.early_data { TICKETS_WITH_EARLY_DATA } else { TICKETS };
        config.send_tls13_tickets = self.tickets.unwrap_or(usual);
        config.session_storage = Arc::clone(&store) as Arc<dyn rustls::server::StoresServerSessions>;
        config.key_log = Arc::new(Sink::new(self.key_log)) as Arc<dyn KeyLog>;
        Ok(Arc::new(ServerTls {
            config: Arc::new(config),
            store,
            asks: self.asks,
            external: external_key,
            identities,
            provider,
        }))
    }
}

impl Default for ServerTlsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Accepts every chain, but checks that the server owns the key.
#[derive(Debug)]
struct NoVerifier(Signatures);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by!(0);
}
