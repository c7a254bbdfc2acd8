//! Paths in the life of a connection: validation, migration in both roles, MTU (RFC 9000 sections 8.2, 9 and 14,
//! RFC 8899).
//!
//! Decisions are made by the paths room; here they meet connection IDs, keys, streams and events.
use core::time::Duration;

use super::Connection;
use super::events::{CloseReason, EndpointEvent, Event, MoveReason};
use super::life::Phase;
use super::packet::Finish;
use super::receive::{Arrival, OpenedPacket};
use super::transmit::{MIN_DATAGRAM, PROBES_IN_VAIN, Transmit};
use crate::base::{ConnectionId, Ecn, FourTuple, Level, ResetToken, SpaceId, Timestamp, TransportError};
use crate::crypto::TAG_LEN;
use crate::paths::{Migration, PathEvent, preferred_address};
use crate::recovery::{FrameToken, SentPacket};
use crate::wire::{Frame, Writer};

/// First byte, longest packet number and tag of a 1-RTT packet, without the connection ID.
const SHORT_OVERHEAD: usize = 1 + 4 + TAG_LEN;
/// Lost packets of one call that are told to MTU discovery; more say nothing new.
const LOSSES_NOTED: usize = 8;

/// A path as the application sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInfo {
    pub path: u8,
    pub tuple: FourTuple,
    pub active: bool,
    pub validated: bool,
    pub mtu: u16,
    pub rtt: Duration,
    pub bytes_received: u64,
    pub bytes_sent: u64,
}

/// Why a migration cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrateError {
    /// Only clients migrate, only after the handshake is confirmed (RFC 9000 section 9).
    NotNow,
    /// The peer sent `disable_active_migration`.
    Forbidden,
    /// The peer gave no unused connection ID (RFC 9000 section 9.5).
    NoConnectionId,
    TooManyPaths,
}

impl core::fmt::Display for MigrateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotNow => "only a client migrates, and only after the handshake is confirmed",
            Self::Forbidden => "the peer forbids migration",
            Self::NoConnectionId => "the peer has given no spare connection ID",
            Self::TooManyPaths => "too many paths at a time",
        })
    }
}

impl std::error::Error for MigrateError {}

/// What MTU discovery wants to know of acknowledged and lost packets.
#[derive(Clone, Copy, Default)]
pub(super) struct MtuNews {
    /// The probe: path, size, acknowledged.
    pub(super) probe: Option<(u8, u16, bool)>,
    /// Newest acknowledged packet beyond 1200 bytes: path, number, size. Small ones say nothing.
    acked: Option<(u8, u64, u16)>,
    /// The first of them, and the newest in the last place.
    lost: [(u8, u64, u16, Timestamp); LOSSES_NOTED],
    lost_len: usize,
}

impl MtuNews {
    pub(super) fn on_acked(&mut self, pn: u64, packet: &SentPacket) {
        if usize::from(packet.size) > MIN_DATAGRAM && self.acked.is_none_or(|(_, newest, _)| pn > newest) {
            self.acked = Some((packet.path, pn, packet.size));
        }
    }

    pub(super) fn on_lost(&mut self, pn: u64, packet: &SentPacket) {
        let news = (packet.path, pn, packet.size, packet.sent_at);
        if let Some(slot) = self.lost.get_mut(self.lost_len) {
            *slot = news;
            self.lost_len += 1;
        } else if let Some(last) = self.lost.last_mut() {
            *last = news;
        }
    }
}

impl Connection {
    /// Destination Connection ID of what is sent on a path.
    pub(super) fn peer_cid_of(&self, path: u8) -> Option<ConnectionId> {
        self.paths.get(path)?.cid.map(|c| c.cid)
    }

    /// The peer's choice for sequence number 0, out of its first packet or a Retry (RFC 9000 section 7.2).
    pub(super) fn set_peer_cid(&mut self, cid: ConnectionId) {
        self.peer_cids.set_initial(cid);
        self.paths.active_mut().cid = self.peer_cids.initial();
    }

    /// Client: `stateless_reset_token` of the server's parameters.
    pub(super) fn learn_initial_reset_token(&mut self, token: ResetToken) {
        self.peer_cids.set_initial_token(token);
        self.announce_reset_token();
    }

    /// Asks the endpoint for as many connection IDs as the peer wants to hold.
    pub(super) fn want_cids(&mut self) {
        let wanted = self.local_cids.wanted(self.peer.active_cid_limit);
        if wanted > 0 {
            self.endpoint_events.push_back(EndpointEvent::NeedCids(wanted));
        }
    }

    pub(super) fn on_new_connection_id(
        &mut self,
        sequence: u64,
        retire_prior_to: u64,
        cid: ConnectionId,
        token: ResetToken,
    ) -> Result<(), TransportError> {
        if self.peer_cids.on_new(sequence, retire_prior_to, cid, token)? {
            self.paths.refresh_cids(&mut self.peer_cids);
        } else if self.paths.active().cid.is_none() {
            // RFC 9000 section 9.5: a path was waiting for this.
            self.paths.refresh_cids(&mut self.peer_cids);
        }
        self.announce_reset_token();
        Ok(())
    }

    /// The endpoint matches the token of the connection ID in use against datagrams that it cannot route.
    fn announce_reset_token(&mut self) {
        let active = self.paths.active();
        let Some(cid) = active.cid else { return };
        if self.announced_token.is_some_and(|(sequence, _)| sequence == cid.sequence) {
            return;
        }
        let Some(token) = self.peer_cids.token(cid.sequence) else { return };
        self.endpoint_events.push_back(EndpointEvent::ResetTokenLearned(active.tuple, token));
        if let Some((_, old)) = self.announced_token.replace((cid.sequence, token)) {
            self.endpoint_events.push_back(EndpointEvent::ResetTokenForgotten(old));
        }
    }

    pub(super) fn on_retire_connection_id(
        &mut self,
        sequence: u64,
        packet: &OpenedPacket,
    ) -> Result<(), TransportError> {
        if let Some(cid) = self.local_cids.on_retire(sequence, &packet.dcid)? {
            self.endpoint_events.push_back(EndpointEvent::RetireCid(cid));
            self.want_cids();
        }
        Ok(())
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.17
    //# The recipient of this frame MUST generate a PATH_RESPONSE frame (Section 19.18) containing the same Data value.
    pub(super) fn on_path_challenge(&mut self, arrival: &Arrival, data: [u8; 8]) {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
        //# The server MUST probe on the path toward the client from its preferred address.
        if self.paths.on_path_challenge(arrival.path, data) {
            self.paths.start_validation(arrival.path, self.rng.as_mut(), arrival.now);
        }
        if arrival.path == self.paths.active_index() {
            // RFC 9000 section 9.3.3: a non-probing packet shows that we are still here.
            self.control.ping = true;
        }
    }

    pub(super) fn on_path_response(&mut self, arrival: &Arrival, data: [u8; 8]) {
        let event = self.paths.on_path_response(arrival.path, data, arrival.now);
        self.on_path_event(event, arrival.now);
    }

    pub(super) fn on_path_event(&mut self, event: PathEvent, now: Timestamp) {
        match event {
            PathEvent::None => {}
            PathEvent::Validated { path, tuple } => {
                self.log_migration(now, "probing_successful", &tuple);
                self.events.push_back(Event::PathValidated { path, tuple });
                self.ask_for_token();
                if self.migrating_to == Some(path) {
                    self.migrating_to = None;
                    //= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.3
                    //# If path validation of the server's preferred address succeeds, the client MUST abandon
                    //# validation of the original address and migrate to using the server's preferred address.
                    let moved = tuple.remote != self.paths.active().tuple.remote;
                    if let Some(migration) = self.paths.migrate(path, now) {
                        // Only a preferred address changes the server's side of a client's path.
                        self.at_preferred |= moved;
                        self.on_migration(migration, false, false, now);
                    }
                }
                if let Some(migration) = self.paths.on_proof(path, now) {
                    self.on_migration(migration, true, false, now);
                }
            }
            //= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.1
            //# If path validation fails, the client MUST continue sending all future packets to the server's original
            //# IP address.
            PathEvent::Failed { path, tuple } => {
                if self.migrating_to == Some(path) {
                    self.migrating_to = None;
                }
                self.log_migration(now, "probing_abandoned", &tuple);
                self.events.push_back(Event::PathFailed { path, tuple });
                if path == self.paths.active_index() {
                    self.seek_refuge(now);
                }
            }
            PathEvent::Reverted { from, to, tuple } => {
                let failed = self.last_migration.unwrap_or(tuple);
                self.events.push_back(Event::PathFailed { path: from, tuple: failed });
                self.events.push_back(Event::Migrated { path: to, tuple, by_peer: false, why: MoveReason::Returned });
                self.ask_for_token();
                self.after_path_change();
            }
            PathEvent::NoPath { path, tuple } => {
                self.events.push_back(Event::PathFailed { path, tuple });
                //= https://www.rfc-editor.org/rfc/rfc9000#section-9.3.2
                //# If an endpoint has no state about the last validated peer address, it MUST close the connection
                //# silently by discarding all connection state.
                if self.side.is_server() {
                    // RFC 9000 section 9.3.2: no address is known to work; the connection is silently discarded.
                    self.end(CloseReason::NoPath, Phase::Drained, now);
                } else if !self.seek_refuge(now) {
                    // A client may wait for its network to come back (RFC 9000 section 8.2.4); the idle timeout ends it.
                    self.paths.start_validation(path, self.rng.as_mut(), now);
                }
            }
        }
        self.dirty = true;
    }

    /// Client: the path in use does not answer. Another one that once was proved may: the connection goes on there. True:
    /// there was one.
    fn seek_refuge(&mut self, now: Timestamp) -> bool {
        if self.side.is_server() || self.recovery.pto_count() == 0 {
            return false;
        }
        let refuge = self.paths.proven_refuge();
        let Some(migration) = refuge.and_then(|to| self.paths.migrate(to, now)) else { return false };
        self.on_migration(migration, false, false, now);
        self.paths.start_validation(migration.to, self.rng.as_mut(), now);
        // The peer learns of it by the first non-probing packet.
        self.control.ping = true;
        true
    }

    /// Client: the path that it wants to move to while the one in use does not answer. (A server's preferred address is
    /// none: RFC 9000 section 9.6.1.)
    pub(super) fn last_hope(&self) -> Option<u8> {
        let active = self.paths.active();
        let silent = !active.is_validated() || self.recovery.pto_count() >= PROBES_IN_VAIN;
        let same_server = |to: &u8| self.paths.get(*to).is_some_and(|p| p.tuple.remote == active.tuple.remote);
        self.migrating_to.filter(|to| silent && self.side.is_client() && same_server(to))
    }

    /// A non-probing packet: where it came from may be where the peer is now (RFC 9000 section 9.3).
    pub(super) fn on_non_probing(&mut self, arrival: &Arrival, packet: &OpenedPacket, highest: bool) {
        if !highest {
            return;
        }
        let kept = self.peer_sends_to == packet.dcid;
        self.peer_sends_to = packet.dcid;
        if arrival.path == self.paths.active_index() {
            self.paths.on_spoken_at_home(arrival.now);
            return;
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9
        //# If the peer violates this requirement, the endpoint MUST either drop the incoming packets on that path
        //# without generating a Stateless Reset or proceed with path validation and allow the peer to migrate.
        if let Some(migration) = self.paths.on_non_probing(arrival.path, true, arrival.now) {
            self.on_migration(migration, true, kept, arrival.now);
        } else if self.paths.wants_proof(arrival.path) {
            self.paths.start_validation(arrival.path, self.rng.as_mut(), arrival.now);
        }
    }

    /// The first authentic packet of a path.
    pub(super) fn tell_new_path(&mut self, path: u8) {
        if path == self.paths.active_index() || !self.is_confirmed() || self.told_paths.contains(&path) {
            return;
        }
        let Some(tuple) = self.paths.get(path).map(|p| p.tuple) else { return };
        let paths = &self.paths;
        self.told_paths.retain(|p| paths.get(*p).is_some());
        self.told_paths.push(path);
        self.events.push_back(Event::PathNew { path, tuple });
    }

    pub(super) fn on_migration(&mut self, migration: Migration, by_peer: bool, kept: bool, now: Timestamp) {
        self.paths.bind_cid(&migration, kept, &mut self.peer_cids);
        if migration.validate_new {
            self.paths.start_validation(migration.to, self.rng.as_mut(), now);
        }
        if migration.validate_old {
            self.paths.start_validation(migration.from, self.rng.as_mut(), now);
        }
        // What the timer has waited for was lost elsewhere; what is unacknowledged goes to the new address soon.
        self.recovery.on_migrated();
        self.log_migration(now, "migration_complete", &migration.tuple);
        self.stats.migrations = self.stats.migrations.saturating_add(1);
        self.last_migration = Some(migration.tuple);
        self.told_paths.retain(|p| *p != migration.to);
        self.events.push_back(Event::Migrated {
            path: migration.to,
            tuple: migration.tuple,
            by_peer,
            why: self.reason_of(&migration, by_peer),
        });
        self.after_path_change();
    }

    /// What a move is for. A server's address changes under a connection for one reason only: it is the one that the
    /// server named (RFC 9000 section 9.6).
    fn reason_of(&self, migration: &Migration, by_peer: bool) -> MoveReason {
        if by_peer && migration.rebinding {
            return MoveReason::Rebinding;
        }
        let (Some(from), to) = (self.paths.get(migration.from).map(|p| p.tuple), migration.tuple) else {
            return MoveReason::Moved;
        };
        let other_server_address = if self.side.is_client() {
            from.remote != to.remote
        } else {
            self.cfg.has_preferred_address() && from.local.is_some() && from.local != to.local
        };
        if other_server_address { MoveReason::Preferred } else { MoveReason::Moved }
    }

    /// The active path is another one, or carries other datagrams.
    pub(super) fn after_path_change(&mut self) {
        self.paths.refresh_cids(&mut self.peer_cids);
        self.announce_reset_token();
        self.update_packet_room();
        self.dirty = true;
    }

    pub(super) fn update_packet_room(&mut self) {
        let active = self.paths.active();
        let cid = active.cid.map_or(0, |c| c.cid.len());
        self.datagrams.set_packet_room(usize::from(active.mtu()).saturating_sub(SHORT_OVERHEAD + cid));
    }

    /// Client: it is where the server would rather be, and `new` leads there as well.
    fn left_first_address(&self, new: &FourTuple) -> bool {
        self.at_preferred && new.remote == self.paths.active().tuple.remote
    }

    /// Client: moves to another local address; data flows there once the path is validated.
    pub fn migrate(&mut self, new: FourTuple, now: Timestamp) -> Result<(), MigrateError> {
        let path = self.open_path(new, now)?;
        self.migrating_to = Some(path);
        Ok(())
    }

    /// Client: tests a path without moving to it (RFC 9000 section 9.1).
    pub fn probe_path(&mut self, new: FourTuple, now: Timestamp) -> Result<(), MigrateError> {
        self.open_path(new, now).map(|_| ())
    }

    fn open_path(&mut self, new: FourTuple, now: Timestamp) -> Result<u8, MigrateError> {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9
        //# An endpoint MUST NOT initiate connection migration before the handshake is confirmed, as defined in Section
        //# 4.1.2 of [QUIC-TLS].
        if !self.side.is_client() || !self.is_confirmed() {
            return Err(MigrateError::NotNow);
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9
        //# If the peer sent the disable_active_migration transport parameter, an endpoint also MUST NOT send packets
        //# (including probing packets; see Section 9.1) from a different local address to the address the peer used
        //# during the handshake, unless the endpoint has acted on a preferred_address transport parameter from the
        //# peer.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
        //# An endpoint that receives this transport parameter MUST NOT use a new local address when sending to the
        //# address that the peer used during the handshake.
        if self.peer.disable_migration && !self.left_first_address(&new) {
            return Err(MigrateError::Forbidden);
        }
        let known = self.paths.find(&new);
        if known.is_none() {
            self.spare_connection_id();
        }
        let path = self.paths.open(new, now).ok_or(MigrateError::TooManyPaths)?;
        if self.paths.cid_for(path, &mut self.peer_cids).is_none() {
            if known.is_none() {
                self.paths.close(path);
            }
            return Err(MigrateError::NoConnectionId);
        }
        if known.is_none() {
            self.told_paths.push(path);
            self.events.push_back(Event::PathNew { path, tuple: new });
            self.log_migration(now, "probing_started", &new);
        }
        self.paths.start_validation(path, self.rng.as_mut(), now);
        self.dirty = true;
        Ok(path)
    }

    /// Client: tries the address that the server would rather use (RFC 9000 section 9.6.1), and moves there
    /// when it is validated. Nothing is lost when it does not answer.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-21.5.3
    //# A client MUST NOT send non-probing frames to a preferred address prior to validating that address; see Section
    //# 8.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
    //# A client that migrates to a preferred address MUST validate the address it chooses before migrating; see Section
    //# 21.5.3.
    pub(super) fn follow_preferred_address(&mut self, now: Timestamp) {
        let Some(preferred) = self.preferred.take() else { return };
        let current = self.paths.active().tuple;
        let Some(remote) = preferred_address::choose(&preferred, &current) else { return };
        let Some(path) = self.paths.open(FourTuple { remote, ..current }, now) else { return };
        let Some(cid) = self.peer_cids.take(1) else {
            self.paths.close(path);
            return;
        };
        if let Some(p) = self.paths.get_mut(path) {
            p.cid = Some(cid);
        }
        self.paths.start_validation(path, self.rng.as_mut(), now);
        self.migrating_to = Some(path);
        self.dirty = true;
    }

    /// The last unused connection ID is about to go: closes the path that was silent longest, so that the peer
    /// replaces the retired one before the next move (RFC 9000 section 5.1.2).
    fn spare_connection_id(&mut self) {
        if self.peer_cids.is_zero_length() || self.peer_cids.unused() > 1 {
            return;
        }
        let active = self.paths.active_index();
        let idle = self.paths.iter().filter(|p| p.id != active && !p.validation.is_pending());
        if let Some(id) = idle.min_by_key(|p| p.last_received).map(|p| p.id) {
            self.paths.close(id);
            self.paths.retire_freed(&mut self.peer_cids);
        }
    }

    /// The socket below us was replaced or its address changed without our asking: moves at once, because the
    /// old path is gone. Without a connection ID that was never sent from elsewhere (section 9.5) it takes the way
    /// that the application opened before, if there is one, and the new address as soon as the peer has provided an ID.
    /// Where a move is not allowed, or would show which connection moved, the connection is over: nothing could be sent
    /// for it any more, so nothing would ever arrive. Harmless on a server.
    pub fn on_local_address_changed(&mut self, new: FourTuple, now: Timestamp) {
        if !self.side.is_client() || !self.life.is_open() {
            return;
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9
        //# An endpoint MUST NOT initiate connection migration before the handshake is confirmed, as defined in Section
        //# 4.1.2 of [QUIC-TLS].
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9
        //# If the peer sent the disable_active_migration transport parameter, an endpoint also MUST NOT send packets
        //# (including probing packets; see Section 9.1) from a different local address to the address the peer used
        //# during the handshake, unless the endpoint has acted on a preferred_address transport parameter from the
        //# peer.
        if !self.is_confirmed() || (self.peer.disable_migration && !self.left_first_address(&new)) {
            self.end(CloseReason::NoPath, Phase::Drained, now);
            return;
        }
        if self.peer_cids.unused() > 0 {
            self.spare_connection_id();
        }
        let lost = self.paths.active_index();
        let Some(path) = self.paths.open(new, now).filter(|path| *path != lost) else { return };
        let mut target = path;
        if self.paths.cid_for(path, &mut self.peer_cids).is_none() {
            let Some(refuge) = self.paths.refuge() else {
                self.end(CloseReason::NoPath, Phase::Drained, now);
                return;
            };
            target = refuge;
            if self.migrating_to.is_none_or(|to| to == refuge) {
                self.migrating_to = Some(path);
            }
            self.paths.start_validation(path, self.rng.as_mut(), now);
        }
        if let Some(migration) = self.paths.migrate(target, now) {
            self.on_migration(migration, false, false, now);
            self.paths.start_validation(migration.to, self.rng.as_mut(), now);
            self.paths.close(migration.from);
            // The peer learns of it by the first non-probing packet.
            self.control.ping = true;
        }
    }

    /// All paths.
    #[must_use]
    pub fn paths(&self) -> Vec<PathInfo> {
        let active = self.paths.active_index();
        let info = |p: &crate::paths::Path| PathInfo {
            path: p.id,
            tuple: p.tuple,
            active: p.id == active,
            validated: p.is_validated(),
            mtu: p.mtu(),
            rtt: p.recovery.rtt.smoothed(),
            bytes_received: p.bytes_received,
            bytes_sent: p.bytes_sent,
        };
        self.paths.iter().map(info).collect()
    }

    /// The path in use.
    #[must_use]
    pub fn path(&self) -> FourTuple {
        self.paths.active().tuple
    }

    /// A datagram with PATH_CHALLENGE or PATH_RESPONSE (RFC 9000 section 8.2), on whatever path needs one.
    pub(super) fn transmit_path_frames(&mut self, now: Timestamp, out: &mut [u8]) -> Option<Transmit> {
        // A server has 1-RTT keys before the client does: what a 0-RTT packet asks for is answered when it can be
        // read, and not out of the amplification budget of the handshake.
        if !self.life.is_complete() {
            return None;
        }
        self.make_room_for_path_frames(now);
        //= https://www.rfc-editor.org/rfc/rfc9002#section-7
        //# An endpoint MUST NOT send a packet if it would cause bytes_in_flight (see Appendix B.2) to be larger than the
        //# congestion window, unless the packet is sent on a PTO timer expiration (see Section 6.2) or when entering
        //# recovery (see Section 7.3.2).
        let path = self.paths.wants_to_send(self.peer_cids.unused() > 0, self.control.has_expired())?;
        self.paths.cid_for(path, &mut self.peer_cids)?;
        let beyond_window = self.paths.get(path).is_some_and(|p| !p.has_window_for_probe());
        let sendable = usize::try_from(self.paths.sendable(path)).unwrap_or(usize::MAX);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.1
        //# An endpoint MUST expand datagrams that contain a PATH_CHALLENGE frame to at least the smallest allowed
        //# maximum datagram size of 1200 bytes, unless the anti-amplification limit for the path does not permit
        //# sending a datagram of this size.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
        //# An endpoint MUST expand datagrams that contain a PATH_RESPONSE frame to at least the smallest allowed
        //# maximum datagram size of 1200 bytes.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
        //# However, an endpoint MUST NOT expand the datagram containing the PATH_RESPONSE if the resulting data exceeds
        //# the anti-amplification limit.
        let buf = out.get_mut(..MIN_DATAGRAM)?.get_mut(..MIN_DATAGRAM.min(sendable))?;
        let limit = buf.len().checked_sub(TAG_LEN)?;
        let ecn = self.ecn_mark(path);
        let mut w = Writer::new(buf.get_mut(..limit)?);
        let draft = self.write_header(Level::OneRtt, path, &mut w)?;
        while w.remaining() > 2 * 9 {
            let Some(data) = self.paths.take_response(path) else { break };
            let _ = Frame::PathResponse(data).write(&mut w);
        }
        if let Some(data) = self.paths.next_challenge(path, now) {
            let _ = Frame::PathChallenge(data).write(&mut w);
        }
        let end = w.position();
        if end == draft.payload_at {
            return None;
        }
        let mut tokens = core::mem::take(&mut self.tokens);
        tokens.clear();
        tokens.push(self.help_to_answer(path, &mut w));
        if path == self.paths.active_index() {
            // The address that nobody has proved yet may admit no other packet for now, and a peer that hears no
            // acknowledgement repeats itself ever more seldom. Elsewhere an ACK would be no probing frame (section 9.1).
            self.write_ack_frame(SpaceId::Data, true, path, now, &mut w, &mut tokens);
        }
        let end = w.position();
        let ect = ecn != Ecn::NotEct;
        let how = Finish { path, eliciting: true, mtu_probe: false, ect, fill: true, beyond_window };
        let len = self.finish_packet(&draft, buf, end, &tokens, how, now);
        self.tokens = tokens;
        if beyond_window {
            // It is one of the packets that the expired timer lets go.
            self.control.probes[2] = self.control.probes[2].saturating_sub(1);
        }
        Some(self.sent_datagrams(path, len, None, ecn))
    }

    /// A challenge of ours goes unanswered: the server may have no connection ID left for this path, and no way to
    /// tell (RFC 9000 section 9.5). Each repetition brings one; NEW_CONNECTION_ID is a probing frame (section 9.1).
    fn help_to_answer(&mut self, path: u8, w: &mut Writer<'_>) -> FrameToken {
        let repeated = self.paths.get(path).is_some_and(|p| p.validation.tries() > 1);
        if self.side.is_client() && repeated && self.local_cids.rotate(self.peer.active_cid_limit) {
            self.want_cids();
        }
        let Some(new) = self.local_cids.again() else { return FrameToken::Other };
        let (sequence, retire_prior_to, cid, token) = (new.sequence, new.retire_prior_to, new.cid, new.token);
        let frame = Frame::NewConnectionId { sequence, retire_prior_to, cid, token };
        if frame.write(w).is_ok() { FrameToken::NewConnectionId(sequence) } else { FrameToken::Other }
    }

    /// Probes of ours go unanswered: perhaps the server would answer and has no connection ID for the address that it
    /// sees us at, as above, while the path needs no challenge of ours.
    pub(super) fn offer_connection_id(&mut self) {
        if self.local_cids.rotate(self.peer.active_cid_limit) {
            self.want_cids();
        }
        self.local_cids.repeat();
    }

    /// A datagram larger than those that the path is known to carry (RFC 8899). It "consumes congestion window" (RFC 9000
    /// section 14.4) as other packets do, and waits for it.
    pub(super) fn transmit_mtu_probe(&mut self, now: Timestamp, out: &mut [u8]) -> Option<Transmit> {
        if !self.is_confirmed() {
            return None;
        }
        let ceiling = out.len();
        let active = self.paths.active_mut();
        let room = active.recovery.congestion_room();
        if !active.mtu.wants_probe(now) || !active.is_validated() || room < MIN_DATAGRAM as u64 {
            return None;
        }
        let size = active.mtu.next_probe(now).filter(|s| usize::from(*s) <= ceiling && u64::from(*s) <= room)?;
        let path = self.paths.active_index();
        let ecn = self.ecn_mark(path);
        let buf = out.get_mut(..usize::from(size))?;
        let limit = buf.len().checked_sub(TAG_LEN)?;
        let mut w = Writer::new(buf.get_mut(..limit)?);
        let draft = self.write_header(Level::OneRtt, path, &mut w)?;
        Frame::Ping.write(&mut w).ok()?;
        let end = w.position();
        let ect = ecn != Ecn::NotEct;
        let how = Finish { path, eliciting: true, mtu_probe: true, ect, fill: true, beyond_window: false };
        let len = self.finish_packet(&draft, buf, end, &[FrameToken::MtuProbe], how, now);
        self.paths.active_mut().mtu.on_probe_sent(size);
        Some(self.sent_datagrams(path, len, None, ecn))
    }

    /// Acknowledgements and losses as MTU discovery sees them.
    pub(super) fn note_mtu_news(&mut self, news: &MtuNews, now: Timestamp) {
        let mut changed = None;
        if let Some((path, size, acked)) = news.probe
            && let Some(p) = self.paths.get_mut(path)
        {
            if !acked {
                p.mtu.on_probe_lost(size);
            } else if p.mtu.on_probe_acked(size) {
                changed = Some(path);
            }
        }
        if let Some((path, pn, size)) = news.acked
            && let Some(p) = self.paths.get_mut(path)
        {
            p.mtu.on_packet_acked(pn, size);
        }
        for (path, pn, size, sent_at) in news.lost.iter().take(news.lost_len) {
            if let Some(p) = self.paths.get_mut(*path)
                && p.on_packet_lost(*pn, *size, false, *sent_at, now)
            {
                changed = Some(*path);
            }
        }
        if let Some(p) = changed.and_then(|path| self.paths.get_mut(path)) {
            let mtu = p.mtu();
            p.recovery.set_max_datagram(mtu);
            self.update_packet_room();
        }
    }
}
