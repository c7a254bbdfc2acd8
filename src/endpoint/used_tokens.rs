//! Which NEW_TOKEN tokens were used (RFC 9000 section 8.1.4): one filter for all shards of an endpoint, so that a token which
//! comes back at another shard is known there too. Shards share it without waiting for each other.
//!
//! Invariant: a nonce is one word and a few bits of it, set by one atomic step, so of two shards that look at the same token
//! at the same time exactly one sees it first. Memory is fixed, and taken only once a token has been used.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Words of one generation (128 KiB). A nonce has 4 bits of one word: 2 % false alarms at about 100 000 tokens. A false alarm
/// only means that the address counts as not validated.
const WORDS: usize = 1 << 14;

/// Two generations of a Bloom filter, chosen in turn. A generation takes tokens for one window and is asked for another, so
/// a token is remembered until it has expired.
#[derive(Debug, Default)]
pub struct UsedTokens {
    tables: [OnceLock<Box<[AtomicU64]>>; 2],
    /// Number of the newer one, counted in windows since 1970.
    generation: AtomicU64,
    /// Held by who begins a generation, about once in the lifetime of a token; by nobody else.
    turning: Mutex<()>,
}

fn table() -> Box<[AtomicU64]> {
    core::iter::repeat_with(|| AtomicU64::new(0)).take(WORDS).collect()
}

/// Place in a table and bits there. The nonce was drawn at random by us: it is its own hash.
fn place(nonce: &[u8; 12]) -> (usize, u64) {
    let [a, b, bits @ .., _, _, _, _, _, _] = nonce;
    let word = usize::from(u16::from_be_bytes([*a, *b])) % WORDS;
    (word, bits.iter().fold(0, |mask, bit| mask | 1 << (bit % 64)))
}

impl UsedTokens {
    /// Remembers `nonce` for at least `window_ms`; false when it (or, rarely, others that cover its bits) was seen before.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
    //# To protect against such attacks, servers MUST ensure that replay of tokens is prevented or limited.
    pub(super) fn first_use(&self, nonce: &[u8; 12], now_ms: u64, window_ms: u64) -> bool {
        let generation = self.turn(now_ms / window_ms.max(1));
        let (word, mask) = place(nonce);
        let [even, odd] = &self.tables;
        let (current, previous) = if generation.is_multiple_of(2) { (even, odd) } else { (odd, even) };
        let covers = |word: u64| word & mask == mask;
        if previous.get().and_then(|t| t.get(word)).is_some_and(|w| covers(w.load(Ordering::Acquire))) {
            return false;
        }
        let word = current.get_or_init(table).get(word);
        word.is_some_and(|w| !covers(w.fetch_or(mask, Ordering::AcqRel)))
    }

    /// Begins the generation `wanted` if it is newer; tells the newest. What the older tables held has expired by then.
    fn turn(&self, wanted: u64) -> u64 {
        let known = self.generation.load(Ordering::Acquire);
        if wanted <= known {
            return known;
        }
        let _turning = self.turning.lock();
        let known = self.generation.load(Ordering::Acquire);
        if wanted > known {
            let oldest = usize::from(!wanted.is_multiple_of(2));
            for (at, table) in self.tables.iter().enumerate() {
                // After two windows without use even the newer table has expired.
                if at == oldest || wanted - known > 1 {
                    table.get().into_iter().flatten().for_each(|w| w.store(0, Ordering::Release));
                }
            }
            self.generation.store(wanted, Ordering::Release);
        }
        wanted.max(known)
    }
}
