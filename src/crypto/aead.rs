//! The AEAD of packets: ring's, or for AES-GCM on a processor with AVX-512 AWS-LC's.
//!
//! Two fifths of what bulk costs is AES-GCM. ring has it for registers of 256 bits, AWS-LC also for those of 512: half of the time for
//! a datagram of 8,952 bytes, three quarters for one of 1,472, and the same for short ones. Both compute the same function (NIST
//! SP 800-38D). Invariant: AWS-LC is used only where its faster code was found to run; all others have one implementation less.
use super::cipher::Cipher;
use super::keys::OpenFailed;
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Bytes that protection adds to a payload; the same for all ciphers.
pub const TAG_LEN: usize = 16;

/// A key that seals and opens.
#[allow(
    clippy::large_enum_variant,
    reason = "ring's keys lie beside the rest of a direction's, where packets find them at once"
)]
pub(super) enum AeadKey {
    Ring(LessSafeKey),
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(model)))]
    Wide(wide::Key),
}

impl AeadKey {
    /// A key for many packets.
    ///
    /// # Panics
    /// If `key` is not as long as the cipher's keys are.
    pub(super) fn new(cipher: Cipher, key: &[u8]) -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux", not(model)))]
        if wide::is_usable()
            && let Some(key) = wide::key(cipher, key)
        {
            return Self::Wide(key);
        }
        Self::brief(cipher, key)
    }

    /// A key for a few packets, such as those of a handshake: ring's, which is made sooner.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub(super) fn brief(cipher: Cipher, key: &[u8]) -> Self {
        let key = UnboundKey::new(cipher.aead(), key).expect("the length is the algorithm's own");
        Self::Ring(LessSafeKey::new(key))
    }

    /// Seals `payload` in place; the tag.
    #[inline]
    pub(super) fn seal(&self, nonce: [u8; NONCE_LEN], header: &[u8], payload: &mut [u8]) -> [u8; TAG_LEN] {
        let mut out = [0; TAG_LEN];
        match self {
            Self::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), payload);
                out.copy_from_slice(tag.expect("a datagram is far below the length limit of the AEAD").as_ref());
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux", not(model)))]
            Self::Wide(key) => {
                let nonce = wide::Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, wide::Aad::from(header), payload);
                out.copy_from_slice(tag.expect("a datagram is far below the length limit of the AEAD").as_ref());
            }
        }
        out
    }

    /// Opens `body`, which ends with the tag, in place; the plain text's length.
    #[inline]
    pub(super) fn open(&self, nonce: [u8; NONCE_LEN], header: &[u8], body: &mut [u8]) -> Result<usize, OpenFailed> {
        match self {
            Self::Ring(key) => key
                .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), body)
                .map(|plain| plain.len())
                .map_err(|ring::error::Unspecified| OpenFailed),
            #[cfg(all(target_arch = "x86_64", target_os = "linux", not(model)))]
            Self::Wide(key) => key
                .open_in_place(wide::Nonce::assume_unique_for_key(nonce), wide::Aad::from(header), body)
                .map(|plain| plain.len())
                .map_err(|aws_lc_rs::error::Unspecified| OpenFailed),
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(model)))]
mod wide {
    use super::Cipher;
    use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, UnboundKey};
    pub(super) use aws_lc_rs::aead::{Aad, LessSafeKey as Key, Nonce};

    /// What AWS-LC's faster code asks for.
    pub(super) fn is_usable() -> bool {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f")
            && has!("avx512bw")
            && has!("avx512dq")
            && has!("avx512vl")
            && has!("vaes")
            && has!("vpclmulqdq")
    }

    /// `None` for a cipher that ring has as fast, and without memory.
    pub(super) fn key(cipher: Cipher, key: &[u8]) -> Option<Key> {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => return None,
        };
        UnboundKey::new(algorithm, key).ok().map(Key::new)
    }
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux", not(model)))]
mod tests {
    use super::*;

    /// On every processor: AWS-LC has code for each.
    #[test]
    fn both_implementations_compute_the_same() {
        for (cipher, len) in [(Cipher::Aes128Gcm, 16), (Cipher::Aes256Gcm, 32)] {
            let secret: Vec<u8> = (0..len).collect();
            let ring = AeadKey::brief(cipher, &secret);
            let wide = AeadKey::Wide(wide::key(cipher, &secret).expect("a key"));
            for size in (0..300).chain([1024, 1183, 1435, 4096, 8915, 65000]) {
                let plain: Vec<u8> = (0..size).map(|i| (i * 31 + size) as u8).collect();
                let nonce: [u8; NONCE_LEN] = core::array::from_fn(|i| (size >> i) as u8);
                let header = &plain[..plain.len().min(size % 23)];
                let sealed = |key: &AeadKey| {
                    let mut body = plain.clone();
                    let tag = key.seal(nonce, header, &mut body);
                    body.extend_from_slice(&tag);
                    body
                };
                let body = sealed(&ring);
                assert_eq!(body, sealed(&wide), "{cipher:?}, {size} bytes");
                for key in [&ring, &wide] {
                    let mut opened = body.clone();
                    assert_eq!(key.open(nonce, header, &mut opened), Ok(size));
                    assert_eq!(opened[..size], plain);
                    for wrong in [0, size / 2, size + TAG_LEN - 1] {
                        let mut forged = body.clone();
                        forged[wrong] ^= 1;
                        assert_eq!(key.open(nonce, header, &mut forged), Err(OpenFailed));
                    }
                    assert_eq!(key.open(nonce, b"another", &mut body.clone()), Err(OpenFailed));
                    assert_eq!(key.open(nonce, header, &mut body[..TAG_LEN - 1].to_vec()), Err(OpenFailed));
                }
            }
        }
    }

    #[test]
    fn many_packets_take_the_faster_one() {
        assert_eq!(matches!(AeadKey::new(Cipher::Aes128Gcm, &[1; 16]), AeadKey::Wide(_)), wide::is_usable());
        assert!(matches!(AeadKey::new(Cipher::ChaCha20Poly1305, &[1; 32]), AeadKey::Ring(_)));
        assert!(matches!(AeadKey::brief(Cipher::Aes128Gcm, &[1; 16]), AeadKey::Ring(_)));
    }
}
