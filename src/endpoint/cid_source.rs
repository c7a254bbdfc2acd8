//! Connection IDs that find their own way: the first byte names the shard, so that the kernel, or another shard,
//! can route without a table (RFC 9000 section 5.1). To an observer it is one more random byte: it is masked with a
//! keyed hash of the three behind it, so simple that a program in the kernel can undo it. The rest is random; the reset
//! token is a keyed hash of the ID, so that it outlives a restart (section 10.3.2).
use crate::base::cid::MAX_CID_LEN;
use crate::base::{ConnectionId, ResetToken, Rng};
use crate::crypto::TokenKey;

/// Shortest non-empty connection ID we issue: the shard byte and 7 random bytes, so that none comes twice under one key.
pub const MIN_CID_LEN: usize = 8;

/// Hides a shard's number in the first byte of a connection ID: secret numbers, the same in all shards of an endpoint.
#[derive(Clone, Copy)]
pub struct ShardMask(pub [u32; 3]);

impl ShardMask {
    /// What the first byte is masked with, by the first four bytes (of which the lower three count).
    #[must_use]
    pub const fn of(self, first_word: u32) -> u8 {
        let [a, b, c] = self.0;
        let mixed = ((first_word & 0x00ff_ffff) ^ a).wrapping_mul(b | 1);
        ((mixed ^ (mixed >> 15)).wrapping_mul(c | 1) >> 24) as u8
    }

    /// The shard that a connection ID names.
    #[must_use]
    pub fn shard(self, cid: &[u8]) -> Option<u8> {
        let word = u32::from_be_bytes(*cid.first_chunk()?);
        Some((word >> 24) as u8 ^ self.of(word))
    }
}

/// Source of an endpoint's connection IDs.
#[derive(Clone, Copy)]
pub struct CidSource {
    shard: u8,
    len: usize,
    mask: ShardMask,
}

impl CidSource {
    /// `len` is 0 or clamped to 8..=20.
    #[must_use]
    pub fn new(shard: u8, len: usize, key: &TokenKey) -> Self {
        let len = if len == 0 { 0 } else { len.clamp(MIN_CID_LEN, MAX_CID_LEN) };
        Self { shard, len, mask: ShardMask(key.shard_mask()) }
    }

    /// Length of every ID from this source.
    #[must_use]
    pub const fn cid_len(&self) -> usize {
        self.len
    }

    /// A fresh ID.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
    //# An endpoint that uses this design MUST either use the same connection ID length for all connections or encode
    //# the length of the connection ID such that it can be recovered without state.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
    //# This method for choosing the stateless reset token means that the combination of connection ID and static key
    //# MUST NOT be used for another connection.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
    //# A connection ID from a connection that is reset by revealing the stateless reset token MUST NOT be reused for
    //# new connections at nodes that share a static key.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1
    //# Connection IDs MUST NOT contain any information that can be used by an external observer (that is, one that does
    //# not cooperate with the issuer) to correlate them with other connection IDs for the same connection.
    pub fn next(&self, rng: &mut dyn Rng) -> ConnectionId {
        let mut bytes = [0; MAX_CID_LEN];
        let out = bytes.get_mut(..self.len).unwrap_or(&mut []);
        rng.fill(out);
        if let Some(word) = out.first_chunk().map(|w| u32::from_be_bytes(*w))
            && let Some(first) = out.first_mut()
        {
            *first = self.shard ^ self.mask.of(word);
        }
        ConnectionId::new(out).unwrap_or(ConnectionId::EMPTY)
    }

    /// A fresh ID and its stateless reset token.
    pub fn next_with_token(&self, rng: &mut dyn Rng, key: &TokenKey) -> (ConnectionId, ResetToken) {
        let cid = self.next(rng);
        (cid, key.reset_token(&cid))
    }

    /// The shard that a connection ID of our length names.
    #[must_use]
    pub fn shard_of(&self, cid: &[u8]) -> Option<u8> {
        if self.len != 0 && cid.len() == self.len { self.mask.shard(cid) } else { None }
    }
}

/// A client's first Destination Connection ID: unpredictable, at least 8 bytes (RFC 9000 section 7.2).
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//# This Destination Connection ID MUST be at least 8 bytes in length.
pub fn random_initial_dcid(rng: &mut dyn Rng) -> ConnectionId {
    let mut bytes = [0; 8];
    rng.fill(&mut bytes);
    ConnectionId::new(&bytes).unwrap_or(ConnectionId::EMPTY)
}
