//! The rustls cryptography provider: ring with a faster X25519 (`exchange`) and faster signatures (`signing`), with fewer
//! system calls for randomness, and without what QUIC never uses (`unused`): packet keys are derived in this room from the
//! traffic secrets.
use super::exchange::groups;
use super::signing::Keys;
use super::unused::{LeanHkdf, NoKeys};
use crate::crypto::{Cipher, random};
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom, ring as suites};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls13CipherSuite};
use std::sync::{Arc, LazyLock};

static SUITES: LazyLock<Vec<Tls13CipherSuite>> = LazyLock::new(|| {
    let all = [
        suites::cipher_suite::TLS13_AES_128_GCM_SHA256,
        suites::cipher_suite::TLS13_AES_256_GCM_SHA384,
        suites::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    all.iter()
        .filter_map(SupportedCipherSuite::tls13)
        .map(|suite| Tls13CipherSuite {
            common: CipherSuiteCommon {
                suite: suite.common.suite,
                hash_provider: suite.common.hash_provider,
                confidentiality_limit: suite.common.confidentiality_limit,
            },
            // Once per suite and process.
            hkdf_provider: Box::leak(Box::new(LeanHkdf::new(suite.hkdf_provider))),
            aead_alg: &NoKeys,
            quic: Some(&NoKeys),
        })
        .collect()
});

/// The system's random bytes, for TLS.
#[derive(Debug)]
pub(super) struct Randomness;

impl SecureRandom for Randomness {
    fn fill(&self, out: &mut [u8]) -> Result<(), GetRandomFailed> {
        random::fill(out).map_err(|random::NoRandomness| GetRandomFailed)
    }
}

/// The ciphers in the order of their speed on this machine: without AES instructions ChaCha20 is faster.
pub(super) fn default_ciphers() -> Vec<Cipher> {
    if has_aes() {
        vec![Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305]
    } else {
        vec![Cipher::ChaCha20Poly1305, Cipher::Aes128Gcm, Cipher::Aes256Gcm]
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// A provider that offers these ciphers, most wanted first.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.3
//# A cipher suite MUST NOT be negotiated unless a header protection scheme is defined for the cipher suite.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.3
//# An endpoint MUST NOT reject a ClientHello that offers a cipher suite that it does not support, or it would be
//# impossible to deploy a new cipher suite.
pub(super) fn provider(ciphers: &[Cipher]) -> Arc<CryptoProvider> {
    let mut provider = suites::default_provider();
    provider.kx_groups = groups();
    provider.key_provider = &Keys;
    provider.secure_random = &Randomness;
    provider.cipher_suites = ciphers
        .iter()
        .filter_map(|cipher| SUITES.iter().find(|s| u16::from(s.common.suite) == cipher.wire_id()))
        .map(SupportedCipherSuite::Tls13)
        .collect();
    Arc::new(provider)
}
