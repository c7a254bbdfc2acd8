//! The paths of a connection: the active one, the one to fall back to, and candidates.
//!
//! Invariant: there is always an active path. Up to `MAX_PATHS` paths are known to carry authentic packets,
//! and one more slot is for an address that so far only sent datagrams; a newer such address replaces it, so
//! that forged datagrams cannot push out anything that was proved.
use super::mtu::MtuConfig;
use super::path::{Path, same_hosts, same_local};
use super::peer_cids::{PeerCid, PeerCids};
use super::validation::Answer;
use crate::base::span::Span;
use crate::base::{FourTuple, Rng, Side, Timestamp};
use crate::recovery::{PathLookup, PathRecovery, RecoveryConfig};
use core::time::Duration;

/// Paths with authentic packets.
pub const MAX_PATHS: usize = 4;
/// RFC 9000 section 8.2.1: datagrams with PATH_CHALLENGE or PATH_RESPONSE have at least this size.
pub const PROBE_SIZE: u64 = 1200;
/// Below this no packet with a challenge fits; waiting for more budget is better.
pub(super) const SMALLEST_PROBE: u64 = 64;

/// What happened to a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathEvent {
    /// Nothing to tell.
    None,
    /// The peer answered our challenge.
    Validated { path: u8, tuple: FourTuple },
    /// No answer in time; the path is gone, unless it is the only one.
    Failed { path: u8, tuple: FourTuple },
    /// The active path failed and the last validated one is active again (RFC 9000 section 9.3.2).
    Reverted { from: u8, to: u8, tuple: FourTuple },
    /// The active path failed and there is no other: RFC 9000 section 9.3.2 lets a server discard the
    /// connection; a client may have another network.
    NoPath { path: u8, tuple: FourTuple },
}

/// All paths of one connection.
pub struct PathTable {
    pub(super) side: Side,
    pub(super) paths: Vec<Path>,
    pub(super) active: u8,
    /// The last validated path that was active, while the active one is not validated.
    pub(super) fallback: Option<u8>,
    /// Server: the path that the last switch left.
    pub(super) left: Option<u8>,
    /// Server: somebody copies the client's datagrams to other source addresses.
    pub(super) copied: bool,
    /// Server: the client speaks at another address of ours, which it has not been asked about or has not answered yet.
    pub(super) asked_to: Option<u8>,
    next_id: u8,
    pub(super) confirmed: bool,
    /// Before confirmation: something went to an address that is not among `paths` any more.
    spoke_elsewhere: bool,
    recovery: RecoveryConfig,
    mtu: MtuConfig,
    peer_max_payload: u64,
    max_ack_delay: Duration,
    /// Connection IDs whose last path is gone.
    freed: Vec<u64>,
    /// The longest PTO of the paths that had an RTT sample when a validation began last.
    measured_pto: Duration,
}

impl PathTable {
    /// The path of the handshake. `validated`: a client, or a server whose peer brought a good token.
    #[must_use]
    pub fn new(
        side: Side,
        tuple: FourTuple,
        validated: bool,
        recovery: &RecoveryConfig,
        mtu: &MtuConfig,
        now: Timestamp,
    ) -> Self {
        let mut path = Path::new(0, tuple, validated, recovery, mtu, now);
        path.authenticated = true;
        path.proven = validated;
        path.pinned = side.is_client();
        Self {
            side,
            paths: vec![path],
            active: 0,
            fallback: None,
            left: None,
            copied: false,
            asked_to: None,
            next_id: 1,
            confirmed: false,
            spoke_elsewhere: false,
            recovery: *recovery,
            mtu: *mtu,
            peer_max_payload: u64::from(u16::MAX),
            max_ack_delay: Duration::ZERO,
            freed: Vec::new(),
            measured_pto: Duration::ZERO,
        }
    }

    /// The path that carries everything but probes.
    #[must_use]
    pub fn active(&self) -> &Path {
        let found = self.paths.iter().find(|p| p.id == self.active).or_else(|| self.paths.first());
        found.expect("the table is never empty: the active path is never removed")
    }

    /// The same, to change.
    pub fn active_mut(&mut self) -> &mut Path {
        let at = self.position(self.active).unwrap_or(0);
        self.paths.get_mut(at).expect("the table is never empty: the active path is never removed")
    }

    /// Where the active path lies.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        name(Span::of(self.active()));
    }

    /// Number of the active path.
    #[must_use]
    pub const fn active_index(&self) -> u8 {
        self.active
    }

    /// A path by number.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<&Path> {
        self.paths.iter().find(|p| p.id == id)
    }

    /// A path by number, to change.
    pub fn get_mut(&mut self, id: u8) -> Option<&mut Path> {
        self.paths.iter_mut().find(|p| p.id == id)
    }

    /// Every path, also those on which nothing was authenticated yet.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn all(&self) -> &[Path] {
        &self.paths
    }

    /// Every path that authentic packets came by, or that we opened.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(|p| p.authenticated)
    }

    pub(super) fn position(&self, id: u8) -> Option<usize> {
        self.paths.iter().position(|p| p.id == id)
    }

    /// The path with these addresses.
    #[must_use]
    pub fn find(&self, tuple: &FourTuple) -> Option<u8> {
        if self.active().tuple.same_path(tuple) {
            return Some(self.active);
        }
        self.paths.iter().find(|p| p.tuple.same_path(tuple)).map(|p| p.id)
    }

    /// A datagram of the connection arrived. `None`: drop it. An address that is new to a server becomes a
    /// candidate, before the handshake is confirmed only one that speaks to the same address of ours; a client
    /// takes packets only from addresses that it has sent to.
    pub fn on_datagram_received(&mut self, tuple: &FourTuple, len: usize, now: Timestamp) -> Option<u8> {
        let id = match self.find(tuple) {
            Some(id) => id,
            //= https://www.rfc-editor.org/rfc/rfc9000#section-9
            //# If a client receives packets from an unknown server address, the client MUST discard these packets.
            None if self.side.is_client() => self.find_moved_client(tuple)?,
            None if self.confirmed || same_local(&self.active().tuple, tuple) => self.add_candidate(tuple, now),
            None => return None,
        };
        let path = self.get_mut(id)?;
        if path.tuple.local.is_none() {
            path.tuple.local = tuple.local;
        }
        path.budget.on_received(len);
        path.last_received = now;
        path.datagrams_received = path.datagrams_received.saturating_add(1);
        path.bytes_received = path.bytes_received.saturating_add(len as u64);
        Some(id)
    }

    /// The system gave a client's unbound socket another local address: still the same path to us.
    fn find_moved_client(&mut self, tuple: &FourTuple) -> Option<u8> {
        let same = |p: &&mut Path| p.tuple.remote == tuple.remote && p.tuple.socket == tuple.socket;
        let path = self.paths.iter_mut().find(same)?;
        path.tuple.local = tuple.local;
        Some(path.id)
    }

    fn add_candidate(&mut self, tuple: &FourTuple, now: Timestamp) -> u8 {
        if let Some(at) = self.paths.iter().position(|p| !p.authenticated && p.id != self.active) {
            self.remove_at(at);
        }
        self.insert(*tuple, false, now)
    }

    fn insert(&mut self, tuple: FourTuple, validated: bool, now: Timestamp) -> u8 {
        while self.get(self.next_id).is_some() {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let mut path = Path::new(id, tuple, validated, &self.recovery, &self.mtu, now);
        path.mtu.set_peer_limit(self.peer_max_payload);
        path.recovery.set_max_datagram(path.mtu.current());
        self.paths.push(path);
        id
    }

    /// Our own application wants to use or probe these addresses (client, RFC 9000 section 9.1 and 9.2). The
    /// server proved itself at its address, so a client has no amplification limit there. `None`: too many
    /// paths, or the handshake is not confirmed.
    pub fn open(&mut self, tuple: FourTuple, now: Timestamp) -> Option<u8> {
        if let Some(id) = self.find(&tuple) {
            return Some(id);
        }
        // RFC 9000 section 9: not before the handshake is confirmed.
        if !self.confirmed {
            return None;
        }
        self.make_room(1);
        if self.paths.iter().filter(|p| p.authenticated).count() >= MAX_PATHS {
            return None;
        }
        let id = self.insert(tuple, self.side.is_client(), now);
        let path = self.get_mut(id)?;
        path.pinned = true;
        path.authenticated = true;
        Some(id)
    }

    /// Closes a path that is not active.
    pub fn close(&mut self, id: u8) -> bool {
        let Some(at) = self.position(id).filter(|_| id != self.active) else { return false };
        self.remove_at(at);
        true
    }

    /// A packet that came by this path authenticated.
    pub fn on_authenticated(&mut self, id: u8) {
        if self.get(id).is_some_and(|p| !p.authenticated) {
            self.make_room(1);
            if let Some(path) = self.get_mut(id) {
                path.authenticated = true;
            }
        }
    }

    /// Removes the paths that were silent longest until `extra` more authenticated ones have room.
    fn make_room(&mut self, extra: usize) {
        while self.paths.iter().filter(|p| p.authenticated).count().saturating_add(extra) > MAX_PATHS {
            let (active, fallback) = (self.active, self.fallback);
            let victims = self.paths.iter().enumerate().filter(|(_, p)| {
                p.authenticated && p.id != active && Some(p.id) != fallback && !(p.pinned && p.validation.is_pending())
            });
            let Some((at, _)) = victims.min_by_key(|(_, p)| p.last_received) else { return };
            self.remove_at(at);
        }
    }

    pub(super) fn remove_at(&mut self, at: usize) {
        let path = self.paths.remove(at);
        self.spoke_elsewhere |= !self.confirmed && path.bytes_sent > 0;
        if self.fallback == Some(path.id) {
            self.fallback = None;
        }
        if self.left == Some(path.id) {
            self.left = None;
        }
        if self.asked_to == Some(path.id) {
            self.asked_to = None;
        }
        if let Some(cid) = path.cid {
            self.free_cid(cid);
        }
    }

    pub(super) fn free_cid(&mut self, cid: PeerCid) {
        let shared = self.paths.iter().any(|p| p.cid.is_some_and(|c| c.sequence == cid.sequence));
        if !shared && !self.freed.contains(&cid.sequence) {
            self.freed.push(cid.sequence);
        }
    }

    /// Retires the connection IDs of paths that are gone. Call it after every batch that may remove paths.
    pub fn retire_freed(&mut self, cids: &mut PeerCids) {
        for sequence in self.freed.drain(..) {
            cids.retire(sequence);
        }
    }

    /// Gives paths whose connection ID the peer retired another one (RFC 9000 section 5.1.2), and the active
    /// path one if it has none. A path for which none is left cannot send. Where the peer was heard last comes first:
    /// when IDs are scarce, the active path may be one that the peer has left. Paths with nothing to say wait until
    /// they have.
    pub fn refresh_cids(&mut self, cids: &mut PeerCids) {
        let active = self.active;
        self.paths.sort_by_key(|p| (core::cmp::Reverse(p.last_received), p.id != active));
        for path in &mut self.paths {
            let gone = path.cid.is_none_or(|c| !cids.is_active(c.sequence) && !cids.is_zero_length());
            let busy = path.validation.wants_response() || path.validation.is_pending();
            if gone {
                path.cid = if path.id == active || path.pinned || busy { cids.take_unused() } else { None };
            }
        }
    }

    /// The connection ID to send with on a path; takes an unused one if the path has none (RFC 9000 section
    /// 9.5). `None`: the peer must provide one first.
    pub fn cid_for(&mut self, id: u8, cids: &mut PeerCids) -> Option<PeerCid> {
        let confirmed = self.confirmed;
        let path = self.get_mut(id)?;
        if !confirmed {
            // A client's choice of ID changes with the server's first packet and with Retry (section 7.2).
            path.cid = cids.initial().or(path.cid);
        }
        if path.cid.is_none() {
            //= https://www.rfc-editor.org/rfc/rfc9000#section-9.5
            //# An endpoint MUST NOT reuse a connection ID when sending from more than one local address -- for example,
            //# when initiating connection migration as described in Section 9.2 or when probing a new network path as
            //# described in Section 9.1.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-9.5
            //# Similarly, an endpoint MUST NOT reuse a connection ID when sending to more than one destination address.
            path.cid = cids.take_unused();
        }
        path.cid
    }

    /// UDP payload was sent.
    pub fn on_bytes_sent(&mut self, id: u8, len: usize) {
        if let Some(path) = self.get_mut(id) {
            path.budget.on_sent(len);
            path.datagrams_sent = path.datagrams_sent.saturating_add(1);
            path.bytes_sent = path.bytes_sent.saturating_add(len as u64);
        }
    }

    /// Bytes that the anti-amplification limit admits; `u64::MAX` when it does not apply.
    #[must_use]
    pub fn sendable(&self, id: u8) -> u64 {
        self.get(id).map_or(0, |p| p.budget.sendable())
    }

    /// A Handshake packet shows that the client has read our first Initial packets (RFC 9000 section 8.1): that proves
    /// the address they went to, wherever the packet itself seems to come from. When several addresses were sent to, it
    /// is not known which of them the client reads, and none is proved.
    pub fn on_handshake_packet(&mut self) {
        let mut heard_us = self.paths.iter_mut().filter(|p| p.bytes_sent > 0);
        if let (Some(only), None, false) = (heard_us.next(), heard_us.next(), self.spoke_elsewhere) {
            only.on_proven();
        }
    }

    /// Migration is possible from now on (RFC 9000 section 9).
    pub fn on_handshake_confirmed(&mut self, _now: Timestamp) {
        self.confirmed = true;
    }

    /// The peer's max_udp_payload_size.
    pub fn set_peer_max_payload(&mut self, limit: u64) {
        self.peer_max_payload = limit;
        for path in &mut self.paths {
            path.mtu.set_peer_limit(limit);
            path.recovery.set_max_datagram(path.mtu.current());
        }
    }

    /// The peer's max_ack_delay, part of every PTO (RFC 9002 section 6.2.1).
    pub fn set_max_ack_delay(&mut self, delay: Duration) {
        self.max_ack_delay = delay;
    }

    /// PATH_CHALLENGE arrived on a path: we owe the answer on the same one (RFC 9000 section 8.2.2). True: the
    /// path is not validated by us, and `start_validation` now saves the peer a round trip at the
    /// amplification limit when it migrates (section 8.2: our challenge may go with the answer).
    pub fn on_path_challenge(&mut self, id: u8, data: [u8; 8]) -> bool {
        self.on_authenticated(id);
        let Some(path) = self.get_mut(id) else { return false };
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
        //# A PATH_RESPONSE frame MUST be sent on the network path where the PATH_CHALLENGE frame was received.
        path.validation.on_challenge(data);
        !path.is_validated() && !path.validation.is_pending() && !path.validation.is_failed()
    }

    /// PATH_RESPONSE arrived on any path (RFC 9000 section 8.2.3).
    pub fn on_path_response(&mut self, arrived_on: u8, data: [u8; 8], _now: Timestamp) -> PathEvent {
        self.on_authenticated(arrived_on);
        for path in &mut self.paths {
            //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
            //# This requirement MUST NOT be enforced by the endpoint that initiates path validation, as that would
            //# enable an attack on migration; see Section 9.3.3.
            match path.validation.on_response(data) {
                Answer::Unknown => {}
                Answer::AddressOnly => {
                    path.budget.on_validated();
                    return PathEvent::None;
                }
                Answer::Complete => {
                    path.on_proven();
                    let (id, tuple) = (path.id, path.tuple);
                    self.on_validated(id);
                    return PathEvent::Validated { path: id, tuple };
                }
            }
        }
        PathEvent::None
    }

    fn on_validated(&mut self, id: u8) {
        if id == self.active {
            self.fallback = None;
        }
    }

    /// Begins to validate a path.
    pub fn start_validation(&mut self, id: u8, rng: &mut dyn Rng, now: Timestamp) {
        let measured = self.paths.iter().filter(|p| !p.recovery.rtt.latest().is_zero());
        if let Some(pto) = measured.map(|p| p.recovery.rtt.pto(self.max_ack_delay)).max() {
            self.measured_pto = pto;
        }
        let pto = self.validation_pto();
        // A server that has no proved address to go back to (the client moved during the handshake) asks until there is an
        // answer or the idle timeout ends the connection.
        let patient = self.side.is_server() && id == self.active && self.fallback.is_none();
        if let Some(path) = self.get_mut(id) {
            path.validation.start(rng, now, pto);
            if patient && !path.proven {
                path.validation.be_patient();
            }
        }
    }

    /// RFC 9000 section 8.2.4: the larger of the current PTO and that of a path that we know nothing of. A server that
    /// follows its client has switched already and knows nothing of the active path: what was measured last still tells
    /// how far away the client is, or the validation of a far client's new address would never end well.
    #[must_use]
    pub fn validation_pto(&self) -> Duration {
        let unknown = self.recovery.initial_rtt.saturating_mul(3).saturating_add(self.max_ack_delay);
        self.active().recovery.rtt.pto(self.max_ack_delay).max(unknown).max(self.measured_pto)
    }

    /// The PATH_CHALLENGE to write on this path now, into a datagram of at least 1200 bytes if `sendable`
    /// admits it.
    pub fn next_challenge(&mut self, id: u8, now: Timestamp) -> Option<[u8; 8]> {
        let max_ack_delay = self.max_ack_delay;
        let path = self.get_mut(id)?;
        let expanded = path.budget.sendable() >= PROBE_SIZE;
        let pto = path.recovery.rtt.pto(max_ack_delay);
        path.validation.next_challenge(now, expanded, pto)
    }

    /// The PATH_RESPONSE to write on this path now.
    pub fn take_response(&mut self, id: u8) -> Option<[u8; 8]> {
        self.get_mut(id)?.validation.take_response()
    }

    /// A path that has a challenge or an answer to send and may: it has a connection ID or `unused` ones are
    /// left (`PeerCids::unused`), and the anti-amplification limit and the path's own congestion window admit a packet.
    /// `expired`: a probe timer has, and what leaves may exceed the window (RFC 9002 section 7).
    #[must_use]
    pub fn wants_to_send(&self, unused_cids: bool, expired: bool) -> Option<u8> {
        let wants = |p: &&Path| {
            (p.validation.wants_challenge() || p.validation.wants_response())
                && (p.cid.is_some() || unused_cids)
                && p.budget.sendable() >= SMALLEST_PROBE
                && (expired || p.has_window_for_probe())
        };
        self.paths.iter().find(wants).map(|p| p.id)
    }

    /// A challenge or an answer on the active path waits for nothing but its window.
    #[must_use]
    pub fn is_held_by_window(&self) -> bool {
        self.active().is_held()
    }

    /// The same on any path.
    #[must_use]
    pub fn holds_path_frames(&self) -> bool {
        self.paths.iter().any(Path::is_held)
    }

    /// When `on_deadline` has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let validations = self.paths.iter().filter_map(|p| p.validation.deadline()).min();
        let standby = self.standby_deadline();
        [validations, standby].into_iter().flatten().min()
    }

    /// When the first path that nobody needs any more is to go.
    fn standby_deadline(&self) -> Option<Timestamp> {
        let after = self.standby_time();
        self.paths.iter().filter(|p| self.is_standby(p)).map(|p| p.last_received + after).min()
    }

    /// Long enough for what the peer had in flight towards a path that was left.
    fn standby_time(&self) -> Duration {
        self.active().recovery.rtt.pto(self.max_ack_delay).saturating_mul(super::validation::TIMEOUT_PTOS)
    }

    fn is_standby(&self, path: &Path) -> bool {
        path.id != self.active
            && Some(path.id) != self.fallback
            && !path.pinned
            && !path.validation.is_pending()
            && !path.validation.wants_response()
    }

    /// Repeats challenges, gives up on paths, forgets those that nobody needs. `last_hope` is not given up but asked anew
    /// (RFC 9000 section 8.2.4 leaves the time to us): no other path is known to work.
    pub fn on_deadline(&mut self, now: Timestamp, rng: &mut dyn Rng, last_hope: Option<u8>) -> Vec<PathEvent> {
        let mut events = Vec::new();
        let mut failed = Vec::new();
        let pto = self.validation_pto();
        for path in &mut self.paths {
            if path.is_held() {
                path.validation.on_held(now, pto);
            }
            if path.validation.on_deadline(now, rng) {
                failed.push((path.id, path.tuple));
            }
        }
        for (id, tuple) in failed {
            if last_hope == Some(id) {
                self.start_validation(id, rng, now);
            } else {
                events.push(self.on_failed(id, tuple));
            }
        }
        let after = self.standby_time();
        while let Some(at) = self.paths.iter().position(|p| self.is_standby(p) && p.last_received + after <= now) {
            self.remove_at(at);
        }
        events
    }

    fn on_failed(&mut self, id: u8, tuple: FourTuple) -> PathEvent {
        if Some(id) == self.fallback {
            // It stays the last validated address, however silent it is now: the newer one may prove worse.
            return PathEvent::None;
        }
        if id != self.active {
            // A server goes on answering a client that is heard there: a path that began anew would need another
            // connection ID, which a client without any other path cannot replace. Silence ends it (`is_standby`).
            if let Some(at) = self.position(id).filter(|_| self.side.is_client()) {
                self.remove_at(at);
            }
            return PathEvent::Failed { path: id, tuple };
        }
        // RFC 9000 section 9.3.2: back to the last validated address.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9.3.2
        //# To protect the connection from failing due to such a spurious migration, an endpoint MUST revert to using
        //# the last validated peer address when validation of a new peer address fails.
        match self.fallback.take().filter(|&to| self.get(to).is_some()) {
            Some(to) => {
                self.active = to;
                let tuple = self.active().tuple;
                if let Some(at) = self.position(id) {
                    self.remove_at(at);
                }
                PathEvent::Reverted { from: id, to, tuple }
            }
            // It is itself the last validated address (asked again after the peer seemed to leave it, section 9.3.3):
            // no answer may be a burst of loss, or the peer is elsewhere and will be heard from there. Waiting costs
            // nothing that the idle timeout does not bound (section 8.2.4).
            None if self.get(id).is_some_and(|p| p.proven) => PathEvent::Failed { path: id, tuple },
            None => PathEvent::NoPath { path: id, tuple },
        }
    }

    /// Same hosts as the active path, another port: what a NAT rebinding looks like.
    pub(super) fn is_rebinding(&self, tuple: &FourTuple) -> bool {
        same_hosts(&self.active().tuple, tuple)
    }
}

impl PathLookup for PathTable {
    fn recovery(&mut self, path: u8) -> Option<&mut PathRecovery> {
        self.get_mut(path).map(|p| &mut p.recovery)
    }
}
