//! Questions of a handshake that the application answers: which identity, is this chain good, sign this, was this offer of
//! early data seen before.
//!
//! rustls decides at once, so it is never let into a decision that is open: a ClientHello waits before TLS sees it; a
//! certificate is let through provisionally and nothing that follows it is read until the answer; a signature stops the
//! call that needs it, which runs again when it is there (`tape`). Invariant: between question and answer TLS reads
//! nothing, so no handshake completes and no 1-RTT packet is opened on an unanswered question.
use super::secrets::with_asking;
use super::signatures::{Signatures, signatures_by};
use super::tape::Tape;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{Signer, SigningKey};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureAlgorithm, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;

/// What a handshake waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// Server: a ClientHello came; which configuration serves it?
    Identity {
        server_name: Option<String>,
        /// What the client offers, in its order.
        alpn: Vec<Vec<u8>>,
        /// The whole message with its header.
        client_hello: Vec<u8>,
    },
    /// The peer showed certificates. On a client it has proved that it has the key; on a server the proof comes next.
    Verify {
        /// DER, the peer's own first.
        chain: Vec<Vec<u8>>,
        /// Client: whom we wanted.
        server_name: Option<String>,
        /// Stapled OCSP response, or empty.
        ocsp: Vec<u8>,
        /// The alert with which the configured check would refuse.
        verdict: Option<u8>,
    },
    /// The key of our certificate is elsewhere: sign `message` with TLS signature scheme `scheme`.
    Sign { scheme: u16, message: Vec<u8>, certificate: Vec<u8> },
    /// Server: early data are offered with a good ticket. Has any server of the fleet seen `key` before?
    EarlyData {
        /// Stands for this ClientHello.
        key: [u8; 32],
        /// To be remembered for so long.
        window: Duration,
    },
}

/// What the application says to a [`Question`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// Identity: the configuration that listens. Verify: the chain is good.
    Proceed,
    /// End the handshake with this alert.
    Refuse(u8),
    /// Identity: this configuration instead.
    Identity(Arc<super::config::ServerTls>),
    Signature(Vec<u8>),
    /// Early data: whether they are taken. No other question is answered by this, nor this one by `Proceed`, so that a late
    /// answer cannot meet a later question.
    EarlyData(bool),
}

/// Which questions a configuration asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asks {
    pub identity: bool,
    pub verify: bool,
    /// Server: about every offer of early data that could be taken.
    pub early_data: bool,
}

/// What a session with questions carries into rustls and out of it.
#[derive(Default)]
pub(super) struct Asking {
    /// Kept only when a key is external.
    pub tape: Option<Tape>,
    /// Raised during the last call.
    pub question: Option<Question>,
    /// The application has accepted the peer's chain.
    pub accepted: bool,
    /// What was to be signed, and the signature.
    pub signature: Option<(Vec<u8>, Vec<u8>)>,
    /// Labels of secrets whose key log line was written, by their place in the list of labels.
    pub logged: u8,
}

/// The certificate check of a client that asks its application too.
#[derive(Debug)]
pub(super) struct AskingServerVerifier(pub Arc<dyn ServerCertVerifier>);

/// The certificate check of a server that asks its application too.
#[derive(Debug)]
pub(super) struct AskingClientVerifier(pub Arc<dyn ClientCertVerifier>);

/// Raises the question, or is past it.
fn ask<T>(
    chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
    name: Option<String>,
    ocsp: &[u8],
    verdict: Result<T, Error>,
    yes: T,
) -> Result<T, Error> {
    let verdict_alert = verdict.as_ref().err().map(super::alerts::alert_of);
    let asked = with_asking(|asking| {
        if !asking.accepted {
            let all = core::iter::once(chain.0).chain(chain.1).map(|c| c.as_ref().to_vec()).collect();
            let ocsp = ocsp.to_vec();
            asking.question = Some(Question::Verify { chain: all, server_name: name, ocsp, verdict: verdict_alert });
        }
    });
    // Outside of a session nobody could answer.
    if asked.is_some() { Ok(yes) } else { verdict }
}

impl ServerCertVerifier for AskingServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        let name = Some(server_name.to_str().into_owned());
        ask((end_entity, intermediates), name, ocsp, verdict, ServerCertVerified::assertion())
    }

    signatures_by!(0);

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.0.root_hint_subjects()
    }
}

impl ClientCertVerifier for AskingClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = self.0.verify_client_cert(end_entity, intermediates, now);
        ask((end_entity, intermediates), None, &[], verdict, ClientCertVerified::assertion())
    }

    signatures_by!(0);
}

/// Trusts no client by itself: the application alone decides.
#[derive(Debug)]
pub(super) struct NoClientRoots {
    pub signatures: Signatures,
    pub mandatory: bool,
}

impl ClientCertVerifier for NoClientRoots {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    signatures_by!(signatures);
}

/// A private key that is not here.
#[derive(Debug)]
pub(super) struct ExternalKey {
    certificate: Vec<u8>,
    algorithm: SignatureAlgorithm,
    schemes: &'static [SignatureScheme],
}

/// Object identifiers in DER that tell kinds of public keys apart (RFC 5480, RFC 8017, RFC 8410).
const KEY_KINDS: [(&[u8], SignatureAlgorithm, &[SignatureScheme]); 4] = [
    (
        &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        SignatureAlgorithm::ECDSA,
        &[SignatureScheme::ECDSA_NISTP256_SHA256],
    ),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], SignatureAlgorithm::ECDSA, &[SignatureScheme::ECDSA_NISTP384_SHA384]),
    (&[0x06, 0x03, 0x2b, 0x65, 0x70], SignatureAlgorithm::ED25519, &[SignatureScheme::ED25519]),
    (
        &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01],
        SignatureAlgorithm::RSA,
        // RFC 8446 section 4.2.3: TLS 1.3 signs with PSS only.
        &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PSS_SHA384, SignatureScheme::RSA_PSS_SHA512],
    ),
];

/// The key's algorithm stands at the front of SubjectPublicKeyInfo.
const ALGORITHM_WITHIN: usize = 40;

impl ExternalKey {
    /// The key of a certificate; `None` when it is of no kind that TLS 1.3 signs with here.
    pub(super) fn of(certificate: &[u8], spki: &[u8]) -> Option<Self> {
        let head = spki.get(..spki.len().min(ALGORITHM_WITHIN))?;
        let (_, algorithm, schemes) = KEY_KINDS.iter().find(|(oid, ..)| head.windows(oid.len()).any(|w| w == *oid))?;
        Some(Self { certificate: certificate.to_vec(), algorithm: *algorithm, schemes })
    }
}

impl SigningKey for ExternalKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|s| offered.contains(s))?;
        Some(Box::new(ExternalSigner { scheme, certificate: self.certificate.clone() }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

#[derive(Debug)]
struct ExternalSigner {
    scheme: SignatureScheme,
    certificate: Vec<u8>,
}

impl Signer for ExternalSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let given = with_asking(|asking| match asking.signature.take() {
            // Both runs must have led to the same transcript: a signature for another is of no use, and a defect here.
            Some((signed, signature)) if signed == message => Some(signature),
            Some(_) => None,
            None => {
                let (scheme, certificate) = (u16::from(self.scheme), self.certificate.clone());
                asking.question = Some(Question::Sign { scheme, message: message.to_vec(), certificate });
                None
            }
        });
        given.flatten().ok_or_else(|| Error::General("the signature is made elsewhere".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
