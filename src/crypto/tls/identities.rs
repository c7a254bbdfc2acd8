//! Certificates and keys from PEM, and a server's choice among several by name (RFC 6066 section 3).
use super::config::TlsSetupError;
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

/// All certificates of a PEM text.
pub(super) fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
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
#[derive(Debug)]
pub(super) struct Identities(pub Vec<Arc<CertifiedKey>>);

impl Identities {
    fn matches(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
        let Ok(end_entity) = key.end_entity_cert() else { return false };
        ParsedCertificate::try_from(end_entity).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = self.0.as_slice() {
            return Some(Arc::clone(only));
        }
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let by_name = name.and_then(|name| self.0.iter().filter(usable).find(|key| Self::matches(key, &name)));
        by_name.or_else(|| self.0.iter().find(usable)).or_else(|| self.0.first()).cloned()
    }
}
