//! HKDF-Expand-Label with the labels of QUIC versions 1 and 2 (RFC 9001 section 5.1, RFC 9369 section 3.3.1).
//!
//! Invariant: every output length is that of a key, an IV or a secret of one of our three ciphers.
use super::cipher::Cipher;
use crate::base::codes::VERSION_2;
use ring::hkdf;

/// Longest traffic secret: SHA-384.
const MAX_SECRET: usize = 48;

/// Labels of a version; every version that is not 2 uses those of version 1.
pub(super) struct Labels {
    pub key: &'static [u8],
    pub iv: &'static [u8],
    pub hp: &'static [u8],
    pub ku: &'static [u8],
}

/// RFC 9001 section 5.1 and 6.1.
const LABELS_V1: Labels = Labels { key: b"quic key", iv: b"quic iv", hp: b"quic hp", ku: b"quic ku" };
/// RFC 9369 section 3.3.1.
const LABELS_V2: Labels = Labels { key: b"quicv2 key", iv: b"quicv2 iv", hp: b"quicv2 hp", ku: b"quicv2 ku" };

//= https://www.rfc-editor.org/rfc/rfc9369#section-3
//# Except for a few differences, QUIC version 2 endpoints MUST implement the QUIC version 1 specification as
//# described in [QUIC], [QUIC-TLS], and [QUIC-RECOVERY].
pub(super) const fn labels(version: u32) -> &'static Labels {
    if version == VERSION_2 { &LABELS_V2 } else { &LABELS_V1 }
}

#[cfg(test)]
std::thread_local! {
    /// Key updates derived by this thread: a test asks when that work is done.
    pub(super) static UPDATES: core::cell::Cell<u32> = const { core::cell::Cell::new(0) };
}

/// A traffic secret, wiped when dropped.
#[derive(Clone)]
pub(super) struct Secret {
    bytes: [u8; MAX_SECRET],
    len: usize,
}

impl Secret {
    /// `None` when the length is not that of the cipher's hash.
    pub(super) fn new(cipher: Cipher, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != cipher.secret_len() {
            return None;
        }
        let mut secret = Self { bytes: [0; MAX_SECRET], len: bytes.len() };
        secret.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(secret)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    pub(super) fn prk(&self, cipher: Cipher) -> hkdf::Prk {
        hkdf::Prk::new_less_safe(cipher.hkdf(), self.as_slice())
    }

    /// The secret of the next key phase (RFC 9001 section 6.1).
    pub(super) fn next(&self, cipher: Cipher, version: u32) -> Self {
        Self::next_of(&self.prk(cipher), cipher, version)
    }

    /// The same for a secret that is prepared already.
    pub(super) fn next_of(prk: &hkdf::Prk, cipher: Cipher, version: u32) -> Self {
        #[cfg(test)]
        UPDATES.set(UPDATES.get() + 1);
        let mut next = Self { bytes: [0; MAX_SECRET], len: cipher.secret_len() };
        if let Some(out) = next.bytes.get_mut(..cipher.secret_len()) {
            expand(prk, labels(version).ku, out);
        }
        next
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes = [0; MAX_SECRET];
        core::hint::black_box(&self.bytes);
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
pub(super) fn expand(prk: &hkdf::Prk, label: &[u8], out: &mut [u8]) {
    expand_with_context(prk, label, &[], out);
}

/// HKDF-Expand-Label (RFC 8446 section 7.1). The label has at most 249 bytes, the context is a hash.
pub(super) fn expand_with_context(prk: &hkdf::Prk, label: &[u8], context: &[u8], out: &mut [u8]) {
    const PREFIX: &[u8] = b"tls13 ";
    let out_len = u16::try_from(out.len()).expect("outputs are at most 255 hashes long").to_be_bytes();
    let label_len = [u8::try_from(PREFIX.len() + label.len()).expect("callers bound the label")];
    let context_len = [u8::try_from(context.len()).expect("a context is a hash")];
    let info: [&[u8]; 6] = [&out_len, &label_len, PREFIX, label, &context_len, context];
    prk.expand(&info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("HKDF yields up to 255 blocks, and no caller asks for more");
}
