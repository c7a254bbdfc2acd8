//! Private keys that sign handshakes (RFC 8446 section 4.4.3): ring's, ECDSA on P-256 by faster code.
//!
//! graviola signs with s2n-bignum's arithmetic, and its nonces follow from key and message (RFC 6979) with fresh randomness
//! added. Invariant: ring has loaded and checked every key first, and keeps those that graviola cannot have or whose
//! processor it does not run on.
use rustls::Error;
use rustls::crypto::{KeyProvider, ring as suites};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use std::sync::Arc;

/// Loads keys.
#[derive(Debug)]
pub(super) struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let copy = der.clone_key();
        let checked = suites::default_provider().key_provider.load_private_key(der)?;
        Ok(fastest(checked, &copy))
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn fastest(checked: Arc<dyn SigningKey>, der: &PrivateKeyDer<'_>) -> Arc<dyn SigningKey> {
    match fast::P256Key::new(&checked, der) {
        Some(key) => Arc::new(key),
        None => checked,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn fastest(checked: Arc<dyn SigningKey>, _: &PrivateKeyDer<'_>) -> Arc<dyn SigningKey> {
    checked
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod fast {
    use super::super::exchange::usable;
    use graviola::hashing::Sha256;
    use graviola::signing::ecdsa::{P256, SigningKey as GraviolaKey};
    use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
    use rustls::sign::{Signer, SigningKey};
    use rustls::{Error, SignatureAlgorithm, SignatureScheme};
    use std::fmt;
    use std::sync::Arc;

    const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
    /// Two INTEGERs of at most 33 bytes in a SEQUENCE (RFC 3279 section 2.2.3).
    const MAX_SIGNATURE: usize = 2 + 2 * (2 + 33);

    /// A key of both.
    pub(super) struct P256Key {
        checked: Arc<dyn SigningKey>,
        key: Arc<GraviolaKey<P256>>,
    }

    impl P256Key {
        /// `None`: it stays with who has checked it.
        pub(super) fn new(checked: &Arc<dyn SigningKey>, der: &PrivateKeyDer<'_>) -> Option<Self> {
            if !usable() || checked.choose_scheme(&[SCHEME]).is_none() {
                return None;
            }
            let key = match der {
                PrivateKeyDer::Pkcs8(der) => GraviolaKey::from_pkcs8_der(der.secret_pkcs8_der()),
                PrivateKeyDer::Sec1(der) => GraviolaKey::from_sec1_der(der.secret_sec1_der()),
                _ => return None,
            };
            Some(Self { checked: Arc::clone(checked), key: Arc::new(key.ok()?) })
        }
    }

    impl fmt::Debug for P256Key {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("P256Key")
        }
    }

    impl SigningKey for P256Key {
        fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            let key = offered.contains(&SCHEME).then(|| Arc::clone(&self.key))?;
            Some(Box::new(P256Signer(key)))
        }

        fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
            self.checked.public_key()
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            SignatureAlgorithm::ECDSA
        }
    }

    struct P256Signer(Arc<GraviolaKey<P256>>);

    impl fmt::Debug for P256Signer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("P256Signer")
        }
    }

    impl Signer for P256Signer {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
            let mut room = [0; MAX_SIGNATURE];
            let signature = self.0.sign_asn1::<Sha256>(&[message], &mut room);
            signature.map(<[u8]>::to_vec).map_err(|_| Error::General("signing failed".to_owned()))
        }

        fn scheme(&self) -> SignatureScheme {
            SCHEME
        }
    }
}

#[cfg(test)]
mod tests;
