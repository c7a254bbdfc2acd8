//! Initial keys (RFC 9001 section 5.2, RFC 9369 section 3.3.1): derived from the client's first destination
//! connection ID, so they prove nothing but that the peer saw the packet.
use super::cipher::Cipher;
use super::keys::{DirectionKeys, LevelKeys};
use super::schedule::expand;
use crate::base::codes::VERSION_2;
use crate::base::{ConnectionId, Side};
use ring::hkdf;
use std::sync::LazyLock;

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
    let prk = initial_secret(version, dcid);
    let client = direction(&prk, version, CLIENT);
    let server = direction(&prk, version, SERVER);
    match side {
        Side::Client => LevelKeys { local: client, remote: server },
        Side::Server => LevelKeys { local: server, remote: client },
    }
}

/// The half of [`initial_keys`] that opens a client's first packet: all that is needed to drop what does not open. With
/// the secret, from which the other half comes should there be a connection.
pub struct ClientInitial {
    secret: hkdf::Prk,
    version: u32,
    keys: Box<DirectionKeys>,
}

impl ClientInitial {
    /// Of the Destination Connection ID of a client's first Initial packet.
    #[must_use]
    pub fn new(version: u32, dcid: &ConnectionId) -> Self {
        let secret = initial_secret(version, dcid);
        let keys = direction(&secret, version, CLIENT);
        Self { secret, version, keys }
    }

    /// They open what the client sends.
    #[must_use]
    pub fn keys(&self) -> &DirectionKeys {
        &self.keys
    }

    /// What [`initial_keys`] gives a server.
    #[must_use]
    pub fn into_server(self) -> LevelKeys {
        LevelKeys { local: direction(&self.secret, self.version, SERVER), remote: self.keys }
    }
}

const CLIENT: &[u8] = b"client in";
const SERVER: &[u8] = b"server in";

/// Salts as keys of the hash: that is a third of what the secret costs.
static SALTS: LazyLock<[hkdf::Salt; 2]> =
    LazyLock::new(|| [SALT_V1, SALT_V2].map(|salt| hkdf::Salt::new(hkdf::HKDF_SHA256, &salt)));

fn initial_secret(version: u32, dcid: &ConnectionId) -> hkdf::Prk {
    let [v1, v2] = &*SALTS;
    let salt = if version == VERSION_2 { v2 } else { v1 };
    salt.extract(dcid.as_slice())
}

fn direction(prk: &hkdf::Prk, version: u32, label: &[u8]) -> Box<DirectionKeys> {
    let mut bytes = [0; 32];
    expand(prk, label, &mut bytes);
    DirectionKeys::new(Cipher::Aes128Gcm, version, &hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &bytes))
}
