//! What is routed to each connection, so that all of it can be taken back; and the keys of connections.
use std::net::SocketAddr;

use super::router::ResetSource;
use super::slab::Slab;
use crate::base::{ConnectionId, ResetToken, Side};

/// Connection IDs issued per connection, retired ones that are still routed included. The connection asks for no
/// more than its peer's active_connection_id_limit; this bounds what a peer's limit can make us hold.
const MAX_CIDS: usize = 16;
/// Retired connection IDs that stay routed, for packets that were under way (RFC 9000 section 5.1.2).
const RETIRED_KEPT: usize = 3;
/// Reset tokens watched per connection; the connection keeps few connection IDs of its peer.
const MAX_RESETS: usize = 8;
/// Address pairs of a connection without connection IDs.
const MAX_ADDRESSES: usize = 4;

/// Names a connection of one endpoint: a dense index, and a generation that tells reuse.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnectionKey {
    index: u32,
    generation: u32,
}

impl ConnectionKey {
    /// Small and dense: fit to index a table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Both parts in one number.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// The key that `to_u64` was taken of.
    #[must_use]
    pub const fn from_u64(v: u64) -> Self {
        Self { index: v as u32, generation: (v >> 32) as u32 }
    }

    const fn place(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

/// Everything routed to one connection.
pub(super) struct Routes {
    handshaking: bool,
    confirmed: bool,
    active: Vec<ConnectionId>,
    retired: Vec<ConnectionId>,
    initial: Option<ConnectionId>,
    addresses: Vec<(SocketAddr, u32)>,
    resets: Vec<ResetSource>,
}

impl Routes {
    pub(super) fn issued(&self) -> impl Iterator<Item = &ConnectionId> {
        self.active.iter().chain(&self.retired)
    }

    pub(super) const fn initial(&self) -> Option<&ConnectionId> {
        self.initial.as_ref()
    }

    /// It was accepted; the endpoint's load counts it.
    pub(super) const fn client_began(&self) -> bool {
        self.initial.is_some()
    }

    pub(super) const fn is_handshaking(&self) -> bool {
        self.handshaking
    }

    pub(super) fn addresses(&self) -> &[(SocketAddr, u32)] {
        &self.addresses
    }

    pub(super) fn resets(&self) -> &[ResetSource] {
        &self.resets
    }
}

/// All connections of an endpoint.
pub(super) struct Connections {
    slab: Slab<Routes>,
    handshaking: usize,
}

/// Makes room for one more in a list of at most `max`: the oldest goes.
fn push_bounded<T>(list: &mut Vec<T>, item: T, max: usize) -> Option<T> {
    let gone = (list.len() >= max && !list.is_empty()).then(|| list.remove(0));
    list.push(item);
    gone
}

impl Connections {
    pub(super) const fn new() -> Self {
        Self { slab: Slab::new(), handshaking: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Server connections whose handshake is not confirmed.
    pub(super) const fn handshaking(&self) -> usize {
        self.handshaking
    }

    pub(super) fn add(&mut self, side: Side) -> Option<ConnectionKey> {
        let (index, generation) = self.slab.insert(Routes {
            handshaking: side.is_server(),
            confirmed: false,
            active: Vec::new(),
            retired: Vec::new(),
            initial: None,
            addresses: Vec::new(),
            resets: Vec::new(),
        })?;
        self.handshaking = self.handshaking.saturating_add(usize::from(side.is_server()));
        Some(ConnectionKey { index, generation })
    }

    pub(super) fn remove(&mut self, key: ConnectionKey) -> Option<Routes> {
        let routes = self.slab.remove(key.place())?;
        self.handshaking = self.handshaking.saturating_sub(usize::from(routes.handshaking));
        Some(routes)
    }

    /// Whether a client began it; `None` when it was confirmed before.
    pub(super) fn on_handshake_done(&mut self, key: ConnectionKey) -> Option<bool> {
        let routes = self.slab.get_mut(key.place())?;
        let mut began = false;
        if core::mem::take(&mut routes.handshaking) {
            self.handshaking = self.handshaking.saturating_sub(1);
            began = routes.client_began();
        }
        (!core::mem::replace(&mut routes.confirmed, true)).then_some(began)
    }

    /// Its handshake was never confirmed.
    pub(super) fn is_unconfirmed(&self, key: ConnectionKey) -> bool {
        self.slab.get(key.place()).is_some_and(|r| !r.confirmed)
    }

    /// How many more connection IDs may be issued.
    pub(super) fn cid_room(&self, key: ConnectionKey) -> usize {
        self.slab.get(key.place()).map_or(0, |r| MAX_CIDS.saturating_sub(r.active.len()))
    }

    pub(super) fn note_cid(&mut self, key: ConnectionKey, cid: ConnectionId) {
        if let Some(routes) = self.slab.get_mut(key.place()) {
            routes.active.push(cid);
        }
    }

    /// The connection ID that stops being routed in exchange, if any.
    pub(super) fn retire_cid(&mut self, key: ConnectionKey, cid: ConnectionId) -> Option<ConnectionId> {
        let routes = self.slab.get_mut(key.place())?;
        let at = routes.active.iter().position(|c| *c == cid)?;
        routes.active.remove(at);
        push_bounded(&mut routes.retired, cid, RETIRED_KEPT)
    }

    pub(super) fn note_initial(&mut self, key: ConnectionKey, dcid: ConnectionId) {
        if let Some(routes) = self.slab.get_mut(key.place()) {
            routes.initial = Some(dcid);
        }
    }

    /// The address pair that stops being routed in exchange, if any.
    pub(super) fn note_address(&mut self, key: ConnectionKey, address: (SocketAddr, u32)) -> Option<(SocketAddr, u32)> {
        let routes = self.slab.get_mut(key.place())?;
        if routes.addresses.contains(&address) {
            return None;
        }
        push_bounded(&mut routes.addresses, address, MAX_ADDRESSES)
    }

    /// The reset token that stops being watched in exchange, if any.
    pub(super) fn note_reset(&mut self, key: ConnectionKey, source: ResetSource) -> Option<ResetSource> {
        let routes = self.slab.get_mut(key.place())?;
        if routes.resets.contains(&source) {
            return None;
        }
        push_bounded(&mut routes.resets, source, MAX_RESETS)
    }

    /// Stops watching a token, from whatever address.
    pub(super) fn take_resets(&mut self, key: ConnectionKey, token: &ResetToken) -> Vec<ResetSource> {
        let Some(routes) = self.slab.get_mut(key.place()) else { return Vec::new() };
        let (gone, kept) = routes.resets.iter().partition(|s| s.token == *token);
        routes.resets = kept;
        gone
    }
}
