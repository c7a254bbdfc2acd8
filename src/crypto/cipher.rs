//! The three AEADs of TLS 1.3 that QUIC can use, with their limits (RFC 9001 sections 5.3 and 6.6).
//!
//! `TLS_AES_128_CCM_8_SHA256` cannot be used with QUIC and `TLS_AES_128_CCM_SHA256` is not offered.
use ring::{aead, hkdf};

/// A cipher suite of TLS 1.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Cipher {
    /// `TLS_AES_128_GCM_SHA256`, also the cipher of Initial packets.
    Aes128Gcm,
    /// `TLS_AES_256_GCM_SHA384`.
    Aes256Gcm,
    /// `TLS_CHACHA20_POLY1305_SHA256`.
    ChaCha20Poly1305,
}

impl Cipher {
    /// The TLS code point.
    #[must_use]
    pub const fn wire_id(self) -> u16 {
        match self {
            Self::Aes128Gcm => 0x1301,
            Self::Aes256Gcm => 0x1302,
            Self::ChaCha20Poly1305 => 0x1303,
        }
    }

    /// From the TLS code point; `None` for suites that QUIC does not use here.
    #[must_use]
    pub const fn from_wire_id(id: u16) -> Option<Self> {
        match id {
            0x1301 => Some(Self::Aes128Gcm),
            0x1302 => Some(Self::Aes256Gcm),
            0x1303 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The name that the TLS registry gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            Self::Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Self::ChaCha20Poly1305 => "TLS_CHACHA20_POLY1305_SHA256",
        }
    }

    /// Bytes of a traffic secret: the output of the suite's hash.
    #[must_use]
    pub const fn secret_len(self) -> usize {
        match self {
            Self::Aes256Gcm => 48,
            _ => 32,
        }
    }

    /// Packets that one key may seal (RFC 9001 section 6.6: 2^23 for AES-GCM; for ChaCha20 more than the
    /// 2^62 packet numbers that exist).
    #[must_use]
    pub const fn confidentiality_limit(self) -> u64 {
        match self {
            Self::ChaCha20Poly1305 => 1 << 62,
            _ => 1 << 23,
        }
    }

    /// Packets that may fail authentication within one connection (RFC 9001 section 6.6).
    #[must_use]
    pub const fn integrity_limit(self) -> u64 {
        match self {
            Self::ChaCha20Poly1305 => 1 << 36,
            _ => 1 << 52,
        }
    }

    pub(super) fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    pub(super) fn header(self) -> &'static aead::quic::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::quic::AES_128,
            Self::Aes256Gcm => &aead::quic::AES_256,
            Self::ChaCha20Poly1305 => &aead::quic::CHACHA20,
        }
    }

    pub(super) fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Aes256Gcm => hkdf::HKDF_SHA384,
            _ => hkdf::HKDF_SHA256,
        }
    }
}
