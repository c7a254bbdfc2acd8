//! Certificates and keys from PEM or DER, and a server's choice among several by name (RFC 6066 section 3).
//!
//! DER is told by its first byte, that of a SEQUENCE, which no PEM text begins with. Invariant: a live server's
//! identities change under one lock, and a handshake under way keeps the one it began with.
use super::asking::ExternalKey;
use super::config::TlsSetupError;
use parking_lot::RwLock;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;

fn problem(text: impl Into<String>) -> TlsSetupError {
    TlsSetupError(text.into())
}

/// Tag of an ASN.1 SEQUENCE: certificates and private keys in DER begin with it.
const SEQUENCE: u8 = 0x30;

/// The DER values that follow each other in `bytes` (X.690 section 8.1.3: definite lengths).
fn split_der(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (&[tag, first], after) = rest.split_first_chunk::<2>()?;
        let (header, len) = match first {
            0..=0x7f => (2usize, usize::from(first)),
            0x81..=0x83 => {
                let count = usize::from(first & 0x7f);
                let len = after.get(..count)?.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
                (2 + count, len)
            }
            _ => return None,
        };
        let end = header.checked_add(len)?;
        if tag != SEQUENCE || end > rest.len() {
            return None;
        }
        let (value, next) = rest.split_at(end);
        out.push(value);
        rest = next;
    }
    Some(out)
}

/// All certificates of a PEM text, or of DER values one after the other.
pub(super) fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    if pem.first() == Some(&SEQUENCE) {
        let values = split_der(pem).ok_or_else(|| problem(format!("the {what} is not readable DER")))?;
        return Ok(values.into_iter().map(|v| CertificateDer::from(v.to_vec())).collect());
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(problem(format!("there is no certificate in the {what}"))),
        Ok(certificates) => Ok(certificates),
        Err(e) => Err(problem(format!("the {what} is not readable PEM: {e}"))),
    }
}

/// A chain with its private key, checked against each other.
pub(super) fn identity(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, TlsSetupError> {
    let chain = certificates(chain, "certificate chain")?;
    let key = match PrivateKeyDer::from_pem_slice(key) {
        _ if key.first() == Some(&SEQUENCE) => PrivateKeyDer::try_from(key.to_vec())
            .map_err(|e| problem(format!("the private key is not readable DER: {e}")))?,
        Ok(key) => key,
        Err(PemError::NoItemsFound) => return Err(problem("there is no private key in the key file")),
        Err(e) => return Err(problem(format!("the private key is not readable PEM: {e}"))),
    };
    CertifiedKey::from_der(chain, key, provider).map_err(|e| match e {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            problem("the private key does not match the certificate")
        }
        Error::InvalidCertificate(_) => problem("the first certificate of the chain is malformed"),
        Error::General(_) => problem("the private key is neither RSA, nor ECDSA on P-256 or P-384, nor Ed25519"),
        e => problem(format!("the certificate and key cannot be used: {e}")),
    })
}

/// A chain whose private key is elsewhere.
pub(super) fn external(chain: &[u8]) -> Result<CertifiedKey, TlsSetupError> {
    let chain = certificates(chain, "certificate chain")?;
    let malformed = || problem("the first certificate of the chain is malformed");
    let first = chain.first().ok_or_else(malformed)?;
    let spki = ParsedCertificate::try_from(first).map_err(|_| malformed())?.subject_public_key_info();
    let key = ExternalKey::of(first, &spki)
        .ok_or_else(|| problem("the certificate's key is neither RSA, nor ECDSA on P-256 or P-384, nor Ed25519"))?;
    Ok(CertifiedKey::new(chain, Arc::new(key)))
}

/// Adds the certificates of a PEM text to `roots`.
pub(super) fn add_roots(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TlsSetupError> {
    for certificate in certificates(pem, "root certificates")? {
        roots.add(certificate).map_err(|_| problem("a root certificate is malformed"))?;
    }
    Ok(())
}

/// Adds what the system trusts.
pub(super) fn add_system_roots(roots: &mut RootCertStore) -> Result<(), TlsSetupError> {
    let found = rustls_native_certs::load_native_certs();
    let (added, _malformed) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(());
    }
    match found.errors.first() {
        Some(e) => Err(problem(format!("the system's root certificates cannot be read: {e}"))),
        None => Err(problem("the system has no root certificates")),
    }
}

/// Identities of a server: the first whose certificate is valid for the name that the client asks for and
/// whose key the client can verify; without such a name, the first usable one.
#[derive(Debug, Default)]
pub(super) struct Identities(RwLock<Vec<(u32, Arc<CertifiedKey>)>>);

impl Identities {
    /// Puts an identity under a number in place of what was there; `None` removes that.
    pub(super) fn put(&self, id: u32, identity: Option<CertifiedKey>) {
        let mut all = self.0.write();
        match (all.iter().position(|(i, _)| *i == id), identity) {
            (Some(at), Some(identity)) => {
                if let Some(slot) = all.get_mut(at) {
                    slot.1 = Arc::new(identity);
                }
            }
            (Some(at), None) => drop(all.remove(at)),
            (None, Some(identity)) => all.push((id, Arc::new(identity))),
            (None, None) => {}
        }
    }

    fn matches(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
        let Ok(end_entity) = key.end_entity_cert() else { return false };
        ParsedCertificate::try_from(end_entity).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let all = self.0.read();
        if let [(_, only)] = all.as_slice() {
            return Some(Arc::clone(only));
        }
        let keys = || all.iter().map(|(_, key)| key);
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let by_name = name.and_then(|name| keys().filter(usable).find(|key| Self::matches(key, &name)));
        by_name.or_else(|| keys().find(usable)).or_else(|| keys().next()).cloned()
    }
}
