//! What remains of a finished handshake for a server: answers to questions, and the exporter (RFC 8446 section 7.5).
//!
//! A server needs nothing of TLS after the handshake: clients send no post-handshake messages that QUIC allows
//! (RFC 9001 sections 4.4 and 6). Keeping the whole session would be most of an idle connection's memory.
use super::secrets::Logged;
use crate::crypto::Cipher;
use crate::crypto::schedule::expand_with_context;
use ring::{digest, hkdf};

/// Longest label of an exporter: one byte holds its length together with the prefix of TLS 1.3.
const MAX_LABEL: usize = 255 - 6;

/// Facts of a finished handshake.
pub struct Summary {
    pub(super) alpn: Option<Box<[u8]>>,
    pub(super) server_name: Option<Box<str>>,
    pub(super) certificates: Box<[Vec<u8>]>,
    pub(super) cipher: Option<Cipher>,
    pub(super) resumed: bool,
    pub(super) exporter: Option<Logged>,
}

impl Summary {
    /// The application protocol.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The name that the client asked for.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The peer's certificates in DER, its own first.
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.certificates.to_vec()
    }

    /// The session of an earlier connection was taken up.
    #[must_use]
    pub const fn resumed(&self) -> bool {
        self.resumed
    }

    /// Exported keying material, the same as the session would have given; false when it cannot be that long.
    #[must_use]
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> bool {
        let (Some(cipher), Some(secret)) = (self.cipher, &self.exporter) else { return false };
        let hash = match cipher {
            Cipher::Aes256Gcm => &digest::SHA384,
            Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => &digest::SHA256,
        };
        let len = cipher.secret_len();
        if label.len() > MAX_LABEL || out.is_empty() || out.len() > 255 * len {
            return false;
        }
        let mut derived = [0; digest::MAX_OUTPUT_LEN];
        let Some(derived) = derived.get_mut(..len) else { return false };
        let exporter = hkdf::Prk::new_less_safe(cipher.hkdf(), secret.secret());
        expand_with_context(&exporter, label, digest::digest(hash, b"").as_ref(), derived);
        let derived = hkdf::Prk::new_less_safe(cipher.hkdf(), derived);
        expand_with_context(&derived, b"exporter", digest::digest(hash, context).as_ref(), out);
        true
    }
}
