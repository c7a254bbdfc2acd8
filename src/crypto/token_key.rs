//! One secret of the endpoint, four uses: address validation tokens (RFC 9000 section 8.1.3), stateless
//! reset tokens (section 10.3.2), a keyed hash for tables whose keys the peer chooses, and what hides the shard's
//! number in connection IDs (section 5.1).
//!
//! Invariant: the keys are independent, so that no use reveals anything about another.
use crate::base::{ConnectionId, ResetToken};
use ring::{aead, hkdf, hmac};

/// Keys that outlive connections; servers behind one address share the secret.
pub struct TokenKey {
    aead: aead::LessSafeKey,
    reset: hmac::Key,
    hash: hmac::Key,
    shard_mask: [u32; 3],
}

impl TokenKey {
    /// All keys from one secret of 32 random bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"whimbrel token key").extract(secret);
        let derive = |label: &[u8]| {
            let mut out = [0; 32];
            prk.expand(&[label], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(&mut out))
                .expect("one block of the hash is asked for");
            out
        };
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, &derive(b"token")).expect("an AES-256 key has 32 bytes");
        Self {
            aead: aead::LessSafeKey::new(key),
            reset: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"stateless reset")),
            hash: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"hash")),
            shard_mask: words(&derive(b"shard")),
        }
    }

    /// Nonce, sealed `plain`, tag. The nonce must be random or otherwise never used twice with this key.
    #[must_use]
    pub fn seal(&self, nonce: [u8; 12], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + plain.len() + 16);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let tag = self
            .aead
            .seal_in_place_separate_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(aad),
                out.get_mut(12..).unwrap_or(&mut []),
            )
            .expect("tokens are far below the length limit of the AEAD");
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// The plain text of a token that `seal` made with the same `aad`; `None` for anything else.
    #[must_use]
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<12>()?;
        let mut body = body.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let len = self.aead.open_in_place(nonce, aead::Aad::from(aad), &mut body).ok()?.len();
        body.truncate(len);
        Some(body)
    }

    /// The stateless reset token of a connection ID that we issued (RFC 9000 section 10.3.2).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
    //# The stateless reset token MUST be difficult to guess.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
    //# The same stateless reset token MUST NOT be used for multiple connection IDs.
    #[must_use]
    pub fn reset_token(&self, cid: &ConnectionId) -> ResetToken {
        ResetToken(first_bytes(&hmac::sign(&self.reset, cid.as_slice())))
    }

    /// Three secret numbers that hide a shard's number in connection IDs.
    #[must_use]
    pub const fn shard_mask(&self) -> [u32; 3] {
        self.shard_mask
    }

    /// A keyed hash, unpredictable to peers.
    #[must_use]
    pub fn hash64(&self, bytes: &[u8]) -> u64 {
        u64::from_le_bytes(first_bytes(&hmac::sign(&self.hash, bytes)))
    }
}

fn first_bytes<const N: usize>(tag: &hmac::Tag) -> [u8; N] {
    *tag.as_ref().first_chunk().expect("SHA-256 yields 32 bytes")
}

fn words<const N: usize>(bytes: &[u8; 32]) -> [u32; N] {
    core::array::from_fn(|i| {
        bytes.chunks_exact(4).nth(i).and_then(|c| c.first_chunk().copied()).map_or(0, u32::from_be_bytes)
    })
}
