//! Moving a connection to another path (RFC 9000 section 9).
//!
//! A server follows the client's highest-numbered non-probing packet; a client moves because its application
//! says so. When only ports changed, recovery state stays with the traffic: the addresses change places under
//! the path's number, so that packets in flight remain accounted for where they were sent (section 9.4).
use super::path::same_local;
use super::peer_cids::PeerCids;
use super::table::PathTable;
use crate::base::{FourTuple, Timestamp};

/// What changed, and what the connection has to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migration {
    /// Number of the path that is active now: use it instead of the one that the packet arrived on.
    pub to: u8,
    /// Number of the path that was active.
    pub from: u8,
    /// New addresses.
    pub tuple: FourTuple,
    /// Only a port changed: congestion state and RTT were kept.
    pub rebinding: bool,
    /// Call `start_validation(to)` (RFC 9000 section 9.3).
    pub validate_new: bool,
    /// Call `start_validation(from)`: RFC 9000 section 9.3.3 wants the old path checked too.
    pub validate_old: bool,
}

impl PathTable {
    /// An authentic packet with a non-probing frame arrived. `highest`: its number is the highest so far. A
    /// server then sends to where it came from (RFC 9000 section 9.3). `None`: nothing changes for now; if
    /// `wants_proof` says so, call `start_validation`.
    pub fn on_non_probing(&mut self, id: u8, highest: bool, now: Timestamp) -> Option<Migration> {
        self.on_authenticated(id);
        if id == self.active || !highest || self.side.is_client() || !self.confirmed {
            return None;
        }
        self.asked_to = None;
        let path = self.get(id)?;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
        //# The server MUST send non- probing packets from its original address until it receives a non- probing packet
        //# from the client at its preferred address and until the server has validated the new path.
        // Nor will it follow any more without a proof once datagrams were copied (RFC 9000 section 9.3.2): each copy would
        // lead away and its original back, and the challenges of both moves fill the window.
        if !path.is_validated() && (self.copied || !same_local(&path.tuple, &self.active().tuple)) {
            self.asked_to = Some(id);
            return None;
        }
        self.switch(id, true, now)
    }

    /// Server, before the handshake is confirmed: a packet authenticated that has the highest number of its space. The
    /// answers go to where it came from; whether the client is there, only a challenge can find out, later.
    pub fn on_early_packet(&mut self, id: u8, now: Timestamp) -> Option<Migration> {
        if id == self.active || self.side.is_client() || self.confirmed {
            return None;
        }
        self.on_authenticated(id);
        let migration = self.switch(id, true, now)?;
        Some(Migration { validate_new: false, validate_old: false, ..migration })
    }

    /// The newest packet once more, now from the address that was left for one that has proved nothing: it was copied on the
    /// way (RFC 9000 section 9.3.2), and the client is where it was. Back there; should the other be the client's all the
    /// same, then its answer to our challenge still counts, and nobody can call a proved address into question like this.
    pub fn on_copied(&mut self, id: u8, now: Timestamp) -> Option<Migration> {
        let before = self.fallback.or(self.left) == Some(id);
        if id == self.active || self.side.is_client() || !before || self.active().is_validated() {
            return None;
        }
        self.copied = true;
        self.switch(id, false, now)
    }

    /// The address that the connection would go back to, while the active one is not proved.
    #[must_use]
    pub const fn fallback(&self) -> Option<u8> {
        self.fallback
    }

    /// The peer speaks on the active path, and nowhere else later: whatever it wanted before, and as long as it is
    /// heard there an unanswered challenge is no reason to go back.
    pub fn on_spoken_at_home(&mut self, now: Timestamp) {
        self.asked_to = None;
        if self.active().validation.is_pending() {
            let pto = self.validation_pto();
            self.active_mut().validation.on_heard(now, pto);
        }
    }

    /// The client waits at another address of ours, and nobody has asked it for a proof yet.
    #[must_use]
    pub fn wants_proof(&self, id: u8) -> bool {
        self.asked_to == Some(id) && self.get(id).is_some_and(|p| !p.validation.is_pending())
    }

    /// A path was validated: the move that waited for it.
    pub fn on_proof(&mut self, id: u8, now: Timestamp) -> Option<Migration> {
        self.asked_to.take_if(|asked| *asked == id)?;
        self.switch(id, true, now)
    }

    /// Our application moves the connection to a path (RFC 9000 section 9.2). `None`: no such path, or it is
    /// active already.
    pub fn migrate(&mut self, id: u8, now: Timestamp) -> Option<Migration> {
        if id == self.active || !self.confirmed {
            return None;
        }
        let migration = self.switch(id, true, now)?;
        // The application has left the old path on purpose, and its socket may be closed.
        if let Some(old) = self.get_mut(migration.from) {
            old.pinned = false;
        }
        self.get_mut(migration.to)?.pinned = true;
        Some(Migration { validate_old: false, ..migration })
    }

    /// Where a client can go on whose address is gone and which has no connection ID for the next: another path of its own
    /// from another address, with the ID it has. Rather one that the application opened and has not left, of those the
    /// one that was heard or opened last.
    #[must_use]
    pub fn refuge(&self) -> Option<u8> {
        let lost = &self.active().tuple;
        let open = self.paths.iter().filter(|p| p.id != self.active && p.cid.is_some() && !same_local(&p.tuple, lost));
        open.max_by_key(|p| (p.pinned, p.last_received)).map(|p| p.id)
    }

    /// Client: another path that once was proved, with a connection ID. Nobody knows whether it still works.
    #[must_use]
    pub fn proven_refuge(&self) -> Option<u8> {
        let open = self.paths.iter().filter(|p| p.id != self.active && p.proven && p.cid.is_some());
        open.max_by_key(|p| (p.pinned, p.last_received)).map(|p| p.id)
    }

    /// `abandon`: what was asked at an unproved address that is left matters no more.
    fn switch(&mut self, id: u8, abandon: bool, now: Timestamp) -> Option<Migration> {
        let old = self.active;
        let tuple = self.get(id)?.tuple;
        let rebinding = self.is_rebinding(&tuple);
        let old_at = self.position(old)?;
        let new_at = self.position(id)?;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9.4
        //# On confirming a peer's ownership of its new address, an endpoint MUST immediately reset the congestion
        //# controller and round-trip time estimator for the new path to initial values (see Appendices A.3 and B.3 of
        //# [QUIC-RECOVERY]) unless the only change in the peer's address is its port number.
        let (to, from) = if rebinding {
            let [a, b] = self.paths.get_disjoint_mut([old_at, new_at]).ok()?;
            a.swap_addresses(b);
            // What was outstanding under the candidate's number stays there; its estimates are stale.
            b.recovery.on_migrated(false, now);
            if let Some(fallback) = self.fallback {
                self.fallback = Some(if fallback == old {
                    id
                } else if fallback == id {
                    old
                } else {
                    fallback
                });
            }
            (old, id)
        } else {
            (id, old)
        };
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9.3
        //# If the recipient permits the migration, it MUST send subsequent packets to the new peer address and MUST
        //# initiate path validation (Section 8.2) to verify the peer's ownership of the address if validation is not
        //# already underway.
        self.active = to;
        let at = self.position(from)?;
        let old_path = self.paths.get_mut(at)?;
        let old_validated = old_path.is_validated();
        if old_validated {
            self.fallback = Some(from);
        } else if abandon || old_path.validation.is_patient() {
            // RFC 9000 section 9.3: the validation of an address that is left may be abandoned.
            old_path.validation.abandon();
        }
        self.left = Some(from);
        let new = self.get(to)?;
        let new_validated = new.is_validated();
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9
        //# An endpoint MUST perform path validation (Section 8.2) if it detects any change to a peer's address, unless
        //# it has previously validated that address.
        let validate_new = !new_validated && !new.validation.is_pending();
        if new_validated {
            self.fallback = None;
        }
        self.leave_others(from);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9.3.3
        //# In response to an apparent migration, endpoints MUST validate the previously active path using a
        //# PATH_CHALLENGE frame.
        Some(Migration { to, from, tuple, rebinding, validate_new, validate_old: old_validated })
    }

    /// RFC 9000 section 9.3: validation of other addresses may be abandoned. Paths that are neither the new
    /// one, nor the one just left, nor the fallback go at once: each holds a connection ID, and a peer that
    /// moves often must not run us out of them.
    fn leave_others(&mut self, from: u8) {
        let (active, fallback) = (self.active, self.fallback);
        let needless = |p: &super::Path| p.id != active && p.id != from && Some(p.id) != fallback && !p.pinned;
        while let Some(at) = self.paths.iter().position(needless) {
            self.remove_at(at);
        }
    }

    /// The new active path's connection ID (RFC 9000 section 9.5). `kept`: the peer still sends to the same
    /// connection ID of ours, so its change of address was not on purpose and we may go on with the ID in
    /// use; otherwise a fresh one is taken. False: the peer must provide one before we can send.
    pub fn bind_cid(&mut self, migration: &Migration, kept: bool, cids: &mut PeerCids) -> bool {
        let old = self.get(migration.from).and_then(|p| p.cid);
        let Some(path) = self.get_mut(migration.to) else { return false };
        if path.cid.is_none() {
            //= https://www.rfc-editor.org/rfc/rfc9000#section-9.5
            //# An endpoint MUST NOT reuse a connection ID when sending from more than one local address -- for example,
            //# when initiating connection migration as described in Section 9.2 or when probing a new network path as
            //# described in Section 9.1.
            let same_local = if kept { old } else { None };
            path.cid = if migration.rebinding {
                same_local.or_else(|| cids.take_unused())
            } else {
                cids.take_unused().or(same_local)
            };
        }
        path.cid.is_some()
    }
}
