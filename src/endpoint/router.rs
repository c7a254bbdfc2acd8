//! From datagrams to connections (RFC 9000 section 5.2): by connection ID, by the client's first Destination
//! Connection ID, by address for zero-length IDs, by stateless reset token.
//!
//! IDs that we issued are random and get a fast hash. Whatever a peer chooses gets a keyed hash, so that nobody
//! can fill one bucket. Reset tokens are compared in constant time after the keyed hash (section 10.3.1).
use core::hash::{BuildHasher, Hash, Hasher};
use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::ConnectionKey;
use super::accept::IncomingKey;
use crate::base::{ConnectionId, FourTuple, ResetToken, Rng};

/// SipHash behind a secret prefix: as `RandomState`, but seeded by the endpoint's own randomness.
#[derive(Clone, Copy)]
pub(super) struct KeyedHash {
    key: (u64, u64),
}

impl KeyedHash {
    pub(super) fn new(rng: &mut dyn Rng) -> Self {
        Self { key: (rng.next_u64(), rng.next_u64()) }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key.0);
        hasher.write_u64(self.key.1);
        hasher
    }
}

/// Who a client's first Destination Connection ID belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Initial {
    Connection(ConnectionKey),
    /// Still waiting for the application's decision.
    Incoming(IncomingKey),
}

/// A reset token and the address it may come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ResetSource {
    pub(super) remote: SocketAddr,
    pub(super) token: ResetToken,
}

impl Hash for ResetSource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.remote.hash(state);
        state.write(&self.token.0);
    }
}

/// The four tables.
pub(super) struct Router {
    issued: FxHashMap<ConnectionId, ConnectionKey>,
    initial: HashMap<ConnectionId, Initial, KeyedHash>,
    addresses: HashMap<(SocketAddr, u32), ConnectionKey, KeyedHash>,
    resets: HashMap<ResetSource, ConnectionKey, KeyedHash>,
}

impl Router {
    pub(super) fn new(rng: &mut dyn Rng) -> Self {
        let keyed = KeyedHash::new(rng);
        Self {
            issued: FxHashMap::default(),
            initial: HashMap::with_hasher(keyed),
            addresses: HashMap::with_hasher(keyed),
            resets: HashMap::with_hasher(keyed),
        }
    }

    /// The connection that we issued `cid` for.
    pub(super) fn issued(&self, cid: &ConnectionId) -> Option<ConnectionKey> {
        self.issued.get(cid).copied()
    }

    /// False when the ID is taken: the caller draws another.
    pub(super) fn add_issued(&mut self, cid: ConnectionId, key: ConnectionKey) -> bool {
        match self.issued.entry(cid) {
            Entry::Vacant(place) => {
                place.insert(key);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    pub(super) fn remove_issued(&mut self, cid: &ConnectionId) {
        self.issued.remove(cid);
    }

    pub(super) fn initial(&self, dcid: &ConnectionId) -> Option<Initial> {
        self.initial.get(dcid).copied()
    }

    pub(super) fn set_initial(&mut self, dcid: ConnectionId, target: Initial) {
        self.initial.insert(dcid, target);
    }

    pub(super) fn remove_initial(&mut self, dcid: &ConnectionId) {
        self.initial.remove(dcid);
    }

    pub(super) fn address(&self, tuple: &FourTuple) -> Option<ConnectionKey> {
        self.addresses.get(&(tuple.remote, tuple.socket)).copied()
    }

    /// False when another connection without connection IDs already uses this address pair.
    pub(super) fn add_address(&mut self, tuple: &FourTuple, key: ConnectionKey) -> bool {
        *self.addresses.entry((tuple.remote, tuple.socket)).or_insert(key) == key
    }

    pub(super) fn remove_address(&mut self, address: &(SocketAddr, u32)) {
        self.addresses.remove(address);
    }

    /// The connection whose peer announced the token that ends this datagram.
    pub(super) fn reset(&self, source: &ResetSource) -> Option<ConnectionKey> {
        if self.resets.is_empty() {
            return None;
        }
        self.resets.get(source).copied()
    }

    pub(super) fn add_reset(&mut self, source: ResetSource, key: ConnectionKey) {
        self.resets.insert(source, key);
    }

    /// Only the owner removes: a peer that announces another's token takes nothing away from it for good.
    pub(super) fn remove_reset(&mut self, source: &ResetSource, owner: ConnectionKey) {
        if let Entry::Occupied(place) = self.resets_entry(*source)
            && *place.get() == owner
        {
            place.remove();
        }
    }

    fn resets_entry(&mut self, source: ResetSource) -> Entry<'_, ResetSource, ConnectionKey> {
        self.resets.entry(source)
    }

    /// Entries in all tables, for tests and counters.
    pub(super) fn len(&self) -> usize {
        self.issued.len() + self.initial.len() + self.addresses.len() + self.resets.len()
    }
}
