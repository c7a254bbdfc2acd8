//! A client's address that changes before the handshake is confirmed (RFC 9000 sections 8.1, 9 and 21.1).
//!
//! A client does not move so early on purpose (section 9), but NATs ask nobody, and a server that goes on answering the
//! old address loses the client. So a server follows the packet with the highest number of its space: answers go to where
//! it came from. What keeps that from being worse than what RFC 9000 accepts:
//!
//! - **Amplification.** Each address has a budget of its own, three times what came from it (section 8), and no packet
//!   lifts it: keys are no proof of an address, for a datagram may be copied to another source. A Handshake packet proves
//!   the address that alone was sent our first Initial packets, whose ServerHello nobody can guess, and not the address
//!   that it seems to come from. An acknowledgment proves nothing either: a client may claim to have received what it
//!   guesses was sent (section 8.2.3). Any other address is proved by PATH_RESPONSE, asked for as soon as the handshake
//!   is complete; no token for the future is made before.
//! - **Spoofing.** Whoever copies a client's datagrams to another source address (section 9.3.2) wins nothing when the
//!   original arrives as well: the newest packet once more, from the address that was left for one that has proved
//!   nothing, shows that it was copied, and the server goes back at once; a copy that comes second is a duplicate from
//!   elsewhere. If the original is lost, the client's next packet leads back. Who can forge Initial packets, or stop
//!   datagrams, can end any handshake without this (section 21.2).
//! - **No way back.** An address that was proved stays the one to return to when the newer does not answer (section
//!   9.3.2). Where none was, the server asks until the idle timeout ends the connection, silently.
use super::Connection;
use super::events::EndpointEvent;
use super::receive::{Arrival, OpenedPacket};
use crate::base::{Level, SpaceId, Timestamp};
use crate::paths::Migration;

/// The smallest budget worth a datagram of its own.
const MIN_TIGHT: u64 = 128;

impl Connection {
    /// An authentic packet of a server's client. Updates `arrival.path`, for paths may change places.
    pub(super) fn follow_early(&mut self, arrival: &mut Arrival, packet: &OpenedPacket) {
        if !self.side.is_server() || packet.level == Level::OneRtt || self.is_confirmed() || !self.life.is_open() {
            return;
        }
        let space = packet.level.space();
        let newest = self.received(arrival.path, space).is_some_and(|r| r.largest().is_none_or(|l| packet.pn > l));
        let Some(hs) = self.hs.as_ref() else { return };
        // Early data may have been sent long before the Handshake packets that it arrives behind.
        if !newest || (packet.level == Level::ZeroRtt && hs.initial.discarded) {
            return;
        }
        if self
            .paths
            .on_early_packet(arrival.path, arrival.now)
            .is_some_and(|moved| self.move_early(&moved, arrival.now))
        {
            arrival.path = self.paths.active_index();
        }
    }

    /// A packet that was there before. When it is the newest, and comes from the address that the connection has left for
    /// an unproved one, it was copied.
    pub(super) fn on_duplicate(&mut self, arrival: &Arrival, level: Level, pn: u64) {
        let newest = self.received(arrival.path, level.space()).is_some_and(|r| r.largest() == Some(pn));
        if !newest || self.side.is_client() || !self.life.is_open() {
            return;
        }
        let Some(moved) = self.paths.on_copied(arrival.path, arrival.now) else { return };
        if self.is_confirmed() {
            self.on_migration(moved, true, true, arrival.now);
        } else {
            self.move_early(&moved, arrival.now);
        }
    }

    /// Answers go to another address from now on, also those that were sent to the old one.
    fn move_early(&mut self, moved: &Migration, now: Timestamp) -> bool {
        // RFC 9000 section 9.5: the client did not move on purpose, and has no other connection ID to give yet.
        self.paths.cid_for(moved.to, &mut self.peer_cids);
        self.recovery.on_migrated();
        self.log_migration(now, "migration_complete", &moved.tuple);
        self.stats.migrations = self.stats.migrations.saturating_add(1);
        self.last_migration = Some(moved.tuple);
        for space in [SpaceId::Initial, SpaceId::Handshake] {
            if self.recovery.has_eliciting_in_flight(space) {
                self.probe(space, 2, now);
            }
        }
        self.after_path_change();
        true
    }

    /// The handshake is confirmed: an address that the client came to on the way has to be proved now, and what the
    /// connection would go back to must not be stale (RFC 9000 section 9.3.3).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-9
    //# An endpoint MUST perform path validation (Section 8.2) if it detects any change to a peer's address, unless it
    //# has previously validated that address.
    pub(super) fn prove_early_moves(&mut self, now: Timestamp) {
        if self.side.is_client() {
            self.endpoint_events.push_back(EndpointEvent::HandshakeDone);
            return;
        }
        if !self.paths.active().is_validated() {
            self.paths.start_validation(self.paths.active_index(), self.rng.as_mut(), now);
            if let Some(fallback) = self.paths.fallback() {
                self.paths.start_validation(fallback, self.rng.as_mut(), now);
            }
        }
        self.endpoint_events.push_back(EndpointEvent::HandshakeDone);
        self.token_owed = true;
        self.ask_for_token();
    }

    /// A token vouches for an address (RFC 9000 section 8.1.3): none is made for one that has proved nothing, or a client
    /// that seemed to be elsewhere for a moment could make a later server believe that it is there.
    pub(super) fn ask_for_token(&mut self) {
        let active = self.paths.active();
        if self.token_owed && active.is_validated() {
            self.token_owed = false;
            self.endpoint_events.push_back(EndpointEvent::NeedToken(active.tuple, self.version));
        }
    }

    /// In the middle of the handshake the client went to an address that has not proved anything: its Handshake packets
    /// are small, and so is what they let a server send. Smaller datagrams then, or the two would wait for each other.
    pub(super) fn tight_segment(&self, path: u8, segment: usize) -> Option<usize> {
        let handshaking = self.hs.as_ref().is_some_and(|hs| hs.initial.discarded) && !self.is_confirmed();
        if !handshaking || self.side.is_client() || self.paths.active().is_validated() {
            return None;
        }
        let sendable = self.paths.sendable(path);
        (sendable >= MIN_TIGHT).then(|| segment.min(usize::try_from(sendable).unwrap_or(usize::MAX)))
    }
}
