//! Initial keys (RFC 9001 section 5.2, RFC 9369 section 3.3.1): derived from the client's first destination
//! connection ID, so they prove nothing but that the peer saw the packet.
use super::cipher::Cipher;
use super::keys::{DirectionKeys, LevelKeys};
use super::schedule::{Secret, expand};
use crate::base::codes::VERSION_2;
use crate::base::{ConnectionId, Side};
use ring::hkdf;

/// RFC 9001 section 5.2.
const SALT_V1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];
/// RFC 9369 section 3.3.1.
const SALT_V2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e,
    0xd9,
];

/// Keys of Initial packets for `side`. `dcid` is the Destination Connection ID of the client's first Initial
/// packet, or after a Retry the Source Connection ID of the Retry.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.2
//# The HKDF-Expand-Label function defined in TLS 1.3 MUST be used for Initial packets even where the TLS versions
//# offered do not include TLS 1.3.
#[must_use]
pub fn initial_keys(version: u32, dcid: &ConnectionId, side: Side) -> LevelKeys {
    let salt = if version == VERSION_2 { &SALT_V2 } else { &SALT_V1 };
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(dcid.as_slice());
    let direction = |label: &[u8]| {
        let mut bytes = [0; 32];
        expand(&prk, label, &mut bytes);
        let secret = Secret::new(Cipher::Aes128Gcm, &bytes).expect("SHA-256 secrets have 32 bytes");
        DirectionKeys::new(Cipher::Aes128Gcm, version, &secret)
    };
    let client = direction(b"client in");
    let server = direction(b"server in");
    match side {
        Side::Client => LevelKeys { local: client, remote: server },
        Side::Server => LevelKeys { local: server, remote: client },
    }
}
