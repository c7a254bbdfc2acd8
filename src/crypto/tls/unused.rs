//! What rustls derives and nobody uses: record keys, and packet keys, which this library derives by itself.
//!
//! rustls derives them for every handshake, at the cost of a fifth of its hashing. Here they come to nothing: hollow keys
//! that refuse to work, and a key derivation that skips what only they ask for. Invariant: every other label is ring's
//! business, byte for byte; a hollow key never seals and never opens.
use rustls::crypto::ActiveKeyExchange;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::hmac::Tag as HmacTag;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::quic::{Algorithm, HeaderProtectionKey, PacketKey, Tag};
use rustls::{ConnectionTrafficSecrets, Error};
use std::sync::{Arc, OnceLock};

/// Labels of record keys (RFC 8446 section 7.3) and of packet keys (RFC 9001 sections 5.1 and 6.1); rustls is always told
/// that the version is 1.
const SKIPPED: [&[u8]; 6] = [b"key", b"iv", b"quic key", b"quic iv", b"quic hp", b"quic ku"];

/// The label's place in the parts of HKDF-Expand-Label's `info` as rustls hands them over: length, length of the label,
/// "tls13 ", label, length of the context, context. Were they ever handed over otherwise, nothing would be skipped.
const LABEL_AT: usize = 3;

fn is_skipped(info: &[&[u8]]) -> bool {
    info.get(LABEL_AT).is_some_and(|label| SKIPPED.contains(label))
}

/// A suite's key derivation, less what nobody uses.
pub(super) struct LeanHkdf {
    hkdf: &'static dyn Hkdf,
    /// The early secret of handshakes without a ticket: always the same (RFC 8446 section 7.1), and no secret.
    early: OnceLock<Arc<dyn HkdfExpander>>,
}

impl LeanHkdf {
    pub(super) const fn new(hkdf: &'static dyn Hkdf) -> Self {
        Self { hkdf, early: OnceLock::new() }
    }
}

/// An expander that many handshakes share.
struct Shared(Arc<dyn HkdfExpander>);

impl HkdfExpander for Shared {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.0.expand_slice(info, output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        self.0.expand_block(info)
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }
}

impl Hkdf for LeanHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        if salt.is_some() {
            return self.hkdf.extract_from_zero_ikm(salt);
        }
        Box::new(Shared(Arc::clone(self.early.get_or_init(|| Arc::from(self.hkdf.extract_from_zero_ikm(None))))))
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        self.hkdf.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, Error> {
        self.hkdf.extract_from_kx_shared_secret(salt, kx, peer_pub_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        let (okm, hash_len) = (OkmBlock::new(okm.as_ref()), okm.as_ref().len());
        Box::new(LazyExpander { hkdf: self.hkdf, okm, hash_len, made: OnceLock::new() })
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> HmacTag {
        self.hkdf.hmac_sign(key, message)
    }

    fn fips(&self) -> bool {
        self.hkdf.fips()
    }
}

/// Prepares its key when something is asked of it that counts.
struct LazyExpander {
    hkdf: &'static dyn Hkdf,
    okm: OkmBlock,
    hash_len: usize,
    made: OnceLock<Box<dyn HkdfExpander>>,
}

impl LazyExpander {
    fn made(&self) -> &dyn HkdfExpander {
        self.made.get_or_init(|| self.hkdf.expander_for_okm(&self.okm)).as_ref()
    }
}

impl HkdfExpander for LazyExpander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        if is_skipped(info) {
            output.fill(0);
            return Ok(());
        }
        self.made().expand_slice(info, output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        if is_skipped(info) {
            let zeros = [0; OkmBlock::MAX_LEN];
            return OkmBlock::new(zeros.get(..self.hash_len).unwrap_or(&zeros));
        }
        self.made().expand_block(info)
    }

    fn hash_len(&self) -> usize {
        self.hash_len
    }
}

/// Makes keys that do nothing.
pub(super) struct NoKeys;
struct NoKey;

impl Tls13AeadAlgorithm for NoKeys {
    fn encrypter(&self, _: AeadKey, _: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(NoKey)
    }

    fn decrypter(&self, _: AeadKey, _: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(NoKey)
    }

    fn key_len(&self) -> usize {
        16
    }

    fn extract_keys(&self, _: AeadKey, _: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

impl MessageEncrypter for NoKey {
    fn encrypt(&mut self, _: OutboundPlainMessage<'_>, _: u64) -> Result<OutboundOpaqueMessage, Error> {
        Err(Error::EncryptError)
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len
    }
}

impl MessageDecrypter for NoKey {
    fn decrypt<'a>(&mut self, _: InboundOpaqueMessage<'a>, _: u64) -> Result<InboundPlainMessage<'a>, Error> {
        Err(Error::DecryptError)
    }
}

impl Algorithm for NoKeys {
    fn packet_key(&self, _: AeadKey, _: Iv) -> Box<dyn PacketKey> {
        Box::new(NoKey)
    }

    fn header_protection_key(&self, _: AeadKey) -> Box<dyn HeaderProtectionKey> {
        Box::new(NoKey)
    }

    fn aead_key_len(&self) -> usize {
        16
    }
}

impl HeaderProtectionKey for NoKey {
    fn encrypt_in_place(&self, _: &[u8], _: &mut u8, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::EncryptError)
    }

    fn decrypt_in_place(&self, _: &[u8], _: &mut u8, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::DecryptError)
    }

    fn sample_len(&self) -> usize {
        16
    }
}

impl PacketKey for NoKey {
    fn encrypt_in_place(&self, _: u64, _: &[u8], _: &mut [u8]) -> Result<Tag, Error> {
        Err(Error::EncryptError)
    }

    fn decrypt_in_place<'a>(&self, _: u64, _: &[u8], _: &'a mut [u8]) -> Result<&'a [u8], Error> {
        Err(Error::DecryptError)
    }

    fn tag_len(&self) -> usize {
        16
    }

    fn confidentiality_limit(&self) -> u64 {
        0
    }

    fn integrity_limit(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests;
