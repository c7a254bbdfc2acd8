//! Retry integrity tag (RFC 9001 section 5.8, RFC 9369 section 3.3.3): keeps accidents and off-path attackers
//! from forging a Retry; the keys are public.
use crate::base::ConnectionId;
use crate::base::codes::VERSION_2;
use ring::aead;
use std::sync::LazyLock;

struct RetryKey {
    key: aead::LessSafeKey,
    nonce: [u8; 12],
}

impl RetryKey {
    fn new(key: &[u8; 16], nonce: [u8; 12]) -> Self {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, key).expect("an AES-128 key has 16 bytes");
        Self { key: aead::LessSafeKey::new(key), nonce }
    }
}

/// RFC 9001 section 5.8.
static KEY_V1: LazyLock<RetryKey> = LazyLock::new(|| {
    RetryKey::new(
        &[0xbe, 0x0c, 0x69, 0x0b, 0x9f, 0x66, 0x57, 0x5a, 0x1d, 0x76, 0x6b, 0x54, 0xe3, 0x68, 0xc8, 0x4e],
        [0x46, 0x15, 0x99, 0xd3, 0x5d, 0x63, 0x2b, 0xf2, 0x23, 0x98, 0x25, 0xbb],
    )
});

/// RFC 9369 section 3.3.3.
static KEY_V2: LazyLock<RetryKey> = LazyLock::new(|| {
    RetryKey::new(
        &[0x8f, 0xb4, 0xb0, 0x1b, 0x56, 0xac, 0x48, 0xe2, 0x60, 0xfb, 0xcb, 0xce, 0xad, 0x7c, 0xcc, 0x92],
        [0xd8, 0x69, 0x69, 0xbc, 0x2d, 0x7c, 0x6d, 0x99, 0x90, 0xef, 0xb0, 0x4a],
    )
});

/// The tag of a Retry packet: `odcid` is the Destination Connection ID of the Initial that it answers,
/// `retry_without_tag` the packet up to its last 16 bytes. A receiver compares with its own computation.
#[must_use]
pub fn retry_tag(version: u32, odcid: &ConnectionId, retry_without_tag: &[u8]) -> [u8; 16] {
    let key = if version == VERSION_2 { &*KEY_V2 } else { &*KEY_V1 };
    // RFC 9001 figure 8: length-prefixed original connection ID, then the packet.
    let mut pseudo = Vec::with_capacity(1 + odcid.len() + retry_without_tag.len());
    pseudo.push(u8::try_from(odcid.len()).unwrap_or(u8::MAX));
    pseudo.extend_from_slice(odcid.as_slice());
    pseudo.extend_from_slice(retry_without_tag);
    let nonce = aead::Nonce::assume_unique_for_key(key.nonce);
    let tag = key
        .key
        .seal_in_place_separate_tag(nonce, aead::Aad::from(&pseudo), &mut [])
        .expect("an empty plain text is below every limit");
    let mut out = [0; 16];
    out.copy_from_slice(tag.as_ref());
    out
}
