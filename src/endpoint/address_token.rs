//! Address validation tokens (RFC 9000 sections 8.1.2 to 8.1.4), sealed: the server keeps nothing per client.
//!
//! Retry tokens are bound to address and port, version and both connection IDs, and live for seconds. NEW_TOKEN
//! tokens are bound to IP address and version, live for days, and are accepted once (`used_tokens`).
//! A marker in clear tells the two kinds apart (section 8.1.1), because they fail differently.
use core::time::Duration;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::used_tokens::UsedTokens;
use crate::base::{ConnectionId, Rng};
use crate::crypto::TokenKey;
use crate::wire::Reader;

/// Starts every Retry token. Long enough that a foreign token hardly ever looks like one.
const RETRY_MARKER: [u8; 4] = *b"WbR1";
/// Starts every NEW_TOKEN token.
const NEW_TOKEN_MARKER: [u8; 4] = *b"WbN1";
/// Clocks of servers that share a secret may differ by this much.
const CLOCK_SKEW_MS: u64 = 10_000;
/// Longest token worth opening; longer ones were not made here.
const MAX_TOKEN_LEN: usize = 128;

/// What a Retry token is bound to, as seen in the packet that brings it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryBinding<'a> {
    pub(super) remote: SocketAddr,
    pub(super) version: u32,
    pub(super) client_scid: &'a ConnectionId,
    /// Source Connection ID of the Retry, Destination Connection ID of the Initial that answers it.
    pub(super) retry_scid: &'a ConnectionId,
}

/// What a token in an Initial turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TokenVerdict {
    /// None, or one that counts as none (RFC 9000 section 8.1.3).
    Absent,
    /// Our Retry token, for this client; the first Destination Connection ID comes out of it.
    Retry { odcid: ConnectionId },
    /// A Retry token that is not (any more) valid: INVALID_TOKEN (RFC 9000 section 8.1.2).
    InvalidRetry,
    /// A NEW_TOKEN token of this IP address, used for the first time.
    Validated,
}

/// Makes and checks tokens.
//= https://www.rfc-editor.org/rfc/rfc9001#section-9.2
//# These MUST NOT be used to communicate application semantics between endpoints
pub(super) struct AddressTokens {
    retry_lifetime_ms: u64,
    new_token_lifetime_ms: u64,
    used: Arc<UsedTokens>,
}

impl AddressTokens {
    pub(super) fn new(retry_lifetime: Duration, new_token_lifetime: Duration, used: Arc<UsedTokens>) -> Self {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Self { retry_lifetime_ms: ms(retry_lifetime), new_token_lifetime_ms: ms(new_token_lifetime), used }
    }

    /// A token for a Retry packet.
    pub(super) fn retry(
        key: &TokenKey,
        rng: &mut dyn Rng,
        binding: &RetryBinding<'_>,
        odcid: &ConnectionId,
        unix_ms: u64,
    ) -> Vec<u8> {
        let mut plain = Vec::with_capacity(28);
        plain.extend_from_slice(&unix_ms.to_be_bytes());
        plain.extend_from_slice(odcid.as_slice());
        seal(key, rng, RETRY_MARKER, &retry_aad(binding), &plain)
    }

    /// A token for a NEW_TOKEN frame. The random nonce makes each unique (RFC 9000 section 8.1.3).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
    //# A token issued with NEW_TOKEN MUST NOT include information that would allow values to be linked by an observer
    //# to the connection on which it was issued.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
    //# A server MUST ensure that every NEW_TOKEN frame it sends is unique across all clients, with the exception of
    //# those sent to repair losses of previously sent NEW_TOKEN frames.
    pub(super) fn new_token(key: &TokenKey, rng: &mut dyn Rng, remote: IpAddr, version: u32, unix_ms: u64) -> Vec<u8> {
        seal(key, rng, NEW_TOKEN_MARKER, &new_token_aad(remote, version), &unix_ms.to_be_bytes())
    }

    /// Judges the token of an Initial packet. `keys`: the current one first, then older ones.
    pub(super) fn check(
        &self,
        keys: &[TokenKey],
        token: &[u8],
        binding: &RetryBinding<'_>,
        unix_ms: u64,
    ) -> TokenVerdict {
        let Some((marker, sealed)) = token.split_first_chunk::<4>() else { return TokenVerdict::Absent };
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.1
        //# A token sent in a NEW_TOKEN frame or a Retry packet MUST be constructed in a way that allows the server to
        //# identify how it was provided to a client.
        match *marker {
            RETRY_MARKER => match self.open_retry(keys, sealed, binding, unix_ms) {
                Some(odcid) => TokenVerdict::Retry { odcid },
                None => TokenVerdict::InvalidRetry,
            },
            NEW_TOKEN_MARKER if self.open_new_token(keys, sealed, binding, unix_ms) => TokenVerdict::Validated,
            _ => TokenVerdict::Absent,
        }
    }

    fn open_retry(
        &self,
        keys: &[TokenKey],
        sealed: &[u8],
        binding: &RetryBinding<'_>,
        unix_ms: u64,
    ) -> Option<ConnectionId> {
        let plain = open(keys, &retry_aad(binding), sealed)?;
        let mut r = Reader::new(&plain);
        let issued = r.u64().ok()?;
        fresh(issued, unix_ms, self.retry_lifetime_ms).then_some(())?;
        ConnectionId::new(r.rest())
    }

    fn open_new_token(&self, keys: &[TokenKey], sealed: &[u8], binding: &RetryBinding<'_>, unix_ms: u64) -> bool {
        let Some(plain) = open(keys, &new_token_aad(binding.remote.ip(), binding.version), sealed) else {
            return false;
        };
        let mut r = Reader::new(&plain);
        let Ok(issued) = r.u64() else { return false };
        if !r.is_empty() || !fresh(issued, unix_ms, self.new_token_lifetime_ms) {
            return false;
        }
        match sealed.first_chunk::<12>() {
            Some(nonce) => {
                self.used.first_use(nonce, unix_ms, self.new_token_lifetime_ms.saturating_add(CLOCK_SKEW_MS))
            }
            None => false,
        }
    }
}

fn fresh(issued_ms: u64, now_ms: u64, lifetime_ms: u64) -> bool {
    issued_ms <= now_ms.saturating_add(CLOCK_SKEW_MS) && now_ms.saturating_sub(issued_ms) <= lifetime_ms
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//# An address validation token MUST be difficult to guess.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//# For this design to work, the token MUST be covered by integrity protection against modification or falsification by
//# clients.
fn seal(key: &TokenKey, rng: &mut dyn Rng, marker: [u8; 4], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut nonce = [0; 12];
    rng.fill(&mut nonce);
    let mut out = marker.to_vec();
    out.extend_from_slice(&key.seal(nonce, aad, plain));
    out
}

fn open(keys: &[TokenKey], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    if sealed.len() > MAX_TOKEN_LEN {
        return None;
    }
    keys.iter().find_map(|key| key.open(aad, sealed))
}

/// IPv4 addresses count the same whether a socket shows them mapped into IPv6 or not.
fn ip_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn retry_aad(b: &RetryBinding<'_>) -> Vec<u8> {
    let mut aad = Vec::with_capacity(72);
    aad.extend_from_slice(&RETRY_MARKER);
    aad.extend_from_slice(&ip_bytes(b.remote.ip()));
    aad.extend_from_slice(&b.remote.port().to_be_bytes());
    aad.extend_from_slice(&b.version.to_be_bytes());
    for cid in [b.client_scid, b.retry_scid] {
        aad.push(cid.len() as u8);
        aad.extend_from_slice(cid.as_slice());
    }
    aad
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//# Tokens sent in NEW_TOKEN frames MUST include information that allows the server to verify that the client IP address
//# has not changed from when the token was issued.
//= https://www.rfc-editor.org/rfc/rfc9369#section-5
//# Servers MUST validate the originating version of any session ticket
//# or token and not accept one issued from a different version.
fn new_token_aad(remote: IpAddr, version: u32) -> Vec<u8> {
    let mut aad = NEW_TOKEN_MARKER.to_vec();
    aad.extend_from_slice(&ip_bytes(remote));
    aad.extend_from_slice(&version.to_be_bytes());
    aad
}
