//! Settings and limits of an endpoint.
use core::time::Duration;
use std::sync::Arc;

use super::cid_source::ShardMask;
use super::load::Load;
use super::used_tokens::UsedTokens;
use crate::base::codes::{VERSION_1, VERSION_2};
use crate::crypto::TokenKey;

/// When an Initial without a valid token is answered with Retry (RFC 9000 section 8.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RetryPolicy {
    /// Only when the application asks for it.
    Never,
    Always,
    /// When more than this many handshakes are pending: a flood from spoofed addresses then costs no state.
    #[default]
    UnderLoad,
    WhenPendingExceeds(usize),
}

impl RetryPolicy {
    /// Pending handshakes beyond which [`RetryPolicy::UnderLoad`] starts to ask for a round trip.
    pub const LOAD: usize = 1000;

    pub(super) const fn wants_retry(self, pending: usize) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::UnderLoad => pending > Self::LOAD,
            Self::WhenPendingExceeds(n) => pending > n,
        }
    }
}

/// Settings of one endpoint (one shard of a server, or a client).
#[derive(Clone)]
pub struct EndpointConfig {
    /// Whether Initials of unknown connections are looked at: false for a client.
    pub server: bool,
    /// This shard's number, which every connection ID that it issues names to those who have the secret.
    pub shard: u8,
    /// How many shards share the port; connection IDs of the others are answered with `OtherShard`.
    pub shards: u8,
    /// Length of the connection IDs that we issue: 0 (a client without migration), or 4 to 20.
    pub cid_len: usize,
    /// Secret of tokens and stateless resets. Shared by all shards, and by all servers that clients may reach
    /// under one address; kept over a restart.
    pub secret: [u8; 32],
    /// Older secrets whose tokens are still accepted.
    pub previous_secrets: Vec<[u8; 32]>,
    /// Time since the Unix epoch at `Timestamp::ZERO`: token lifetimes survive restarts.
    pub unix_at_zero: Duration,
    /// Versions that connections can speak; others are answered with Version Negotiation.
    pub versions: Vec<u32>,
    pub retry: RetryPolicy,
    /// Retry tokens come back at once (RFC 9000 section 8.1.4).
    pub retry_token_lifetime: Duration,
    /// Lifetime of NEW_TOKEN tokens.
    pub new_token_lifetime: Duration,
    /// NEW_TOKEN tokens that were used: the shards of one endpoint share it. A copy of the configuration shares it too.
    pub used_tokens: Arc<UsedTokens>,
    /// What clients have begun, and limits of it: the shards of one endpoint share it. A copy of the configuration shares it
    /// too.
    pub load: Arc<Load>,
    /// Accept a cleared fixed bit, because our connections send grease_quic_bit (RFC 9287).
    pub grease_quic_bit: bool,
    /// Connections of a shard at a time; beyond it new ones are refused. A limit in `load` stands in its place.
    pub max_connections: usize,
    /// Incoming connections that wait for the application's decision; beyond it Initials are dropped.
    pub max_incoming: usize,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            server: false,
            shard: 0,
            shards: 1,
            cid_len: 8,
            secret: [0; 32],
            previous_secrets: Vec::new(),
            unix_at_zero: Duration::ZERO,
            versions: vec![VERSION_1, VERSION_2],
            retry: RetryPolicy::default(),
            retry_token_lifetime: Duration::from_secs(15),
            new_token_lifetime: Duration::from_secs(7 * 24 * 3600),
            used_tokens: Arc::default(),
            load: Arc::default(),
            grease_quic_bit: true,
            max_connections: 100_000,
            max_incoming: 4096,
        }
    }
}

impl EndpointConfig {
    /// How connection IDs name their shards: for who steers datagrams in front of the endpoints.
    #[must_use]
    pub fn shard_mask(&self) -> ShardMask {
        ShardMask(TokenKey::new(&self.secret).shard_mask())
    }
}

impl core::fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Never the secrets.
        f.debug_struct("EndpointConfig")
            .field("server", &self.server)
            .field("shard", &self.shard)
            .field("shards", &self.shards)
            .field("cid_len", &self.cid_len)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
