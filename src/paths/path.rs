//! One network path: addresses, proofs, budget, recovery state, MTU, connection ID and counters.
use super::amplification::Budget;
use super::mtu::{Mtu, MtuConfig};
use super::peer_cids::PeerCid;
use super::validation::Validation;
use crate::base::{FourTuple, Timestamp};
use crate::recovery::{PathRecovery, RecoveryConfig};
use core::time::Duration;

/// A path. Its `id` stays the same for the life of its recovery state, and is not used again soon.
pub struct Path {
    /// Number of the path: what `SentPacket::path` holds.
    pub id: u8,
    /// Addresses and socket.
    pub tuple: FourTuple,
    /// RTT, congestion control, pacing, ECN.
    pub recovery: PathRecovery,
    /// Path MTU discovery.
    pub mtu: Mtu,
    /// Challenges and responses.
    pub validation: Validation,
    /// RFC 9000 section 8.1.
    pub budget: Budget,
    /// Destination Connection ID of what we send here; `None`: nothing can be sent yet (RFC 9000 section 9.5).
    pub cid: Option<PeerCid>,
    /// Datagrams and bytes of UDP payload.
    pub datagrams_received: u64,
    pub bytes_received: u64,
    pub datagrams_sent: u64,
    pub bytes_sent: u64,
    /// When the last datagram arrived.
    pub last_received: Timestamp,
    /// The peer answered from here: the handshake did, or a challenge (RFC 9000 section 8.2).
    pub(super) proven: bool,
    /// A packet that came by this path authenticated.
    pub(super) authenticated: bool,
    /// Opened by our own application: stays until it is closed.
    pub(super) pinned: bool,
}

impl Path {
    pub(super) fn new(
        id: u8,
        tuple: FourTuple,
        validated: bool,
        recovery: &RecoveryConfig,
        mtu: &MtuConfig,
        now: Timestamp,
    ) -> Self {
        let mtu = Mtu::new(mtu, tuple.remote.is_ipv6());
        let mut recovery = PathRecovery::new(recovery, now);
        recovery.set_max_datagram(mtu.current());
        Self {
            id,
            tuple,
            recovery,
            mtu,
            validation: Validation::new(),
            //= https://www.rfc-editor.org/rfc/rfc9000#section-9.3
            //# An endpoint MAY send data to an unvalidated peer address, but it MUST protect against potential attacks
            //# as described in Sections 9.3.1 and 9.3.2.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.3
            //# If packets received at the server's preferred address have a different source address than observed from
            //# the client during the handshake, the server MUST protect against potential attacks as described in
            //# Sections 9.3.1 and 9.3.2.
            budget: Budget::new(validated),
            cid: None,
            datagrams_received: 0,
            bytes_received: 0,
            datagrams_sent: 0,
            bytes_sent: 0,
            last_received: now,
            proven: false,
            authenticated: false,
            pinned: false,
        }
    }

    /// UDP payload that this path carries now.
    #[must_use]
    pub const fn mtu(&self) -> u16 {
        self.mtu.current()
    }

    /// The peer proved that it receives here: it did in the handshake, or answered a challenge.
    #[must_use]
    pub const fn is_validated(&self) -> bool {
        self.proven
    }

    /// The congestion window admits a datagram with path frames, which is as large as address validation lets it be.
    #[must_use]
    pub fn has_window_for_probe(&self) -> bool {
        self.recovery.congestion_room() >= self.budget.sendable().min(super::table::PROBE_SIZE)
    }

    /// A challenge or an answer waits for nothing but the congestion window.
    pub(super) fn is_held(&self) -> bool {
        let waits = self.validation.wants_challenge() || self.validation.wants_response();
        waits && self.budget.sendable() >= super::table::SMALLEST_PROBE && !self.has_window_for_probe()
    }

    pub(super) fn on_proven(&mut self) {
        self.proven = true;
        self.budget.on_validated();
    }

    /// A 1-RTT packet sent on this path was acknowledged: path MTU discovery learns.
    pub fn on_packet_acked(&mut self, pn: u64, size: u16, mtu_probe: bool) {
        if !mtu_probe {
            self.mtu.on_packet_acked(pn, size);
        } else if self.mtu.on_probe_acked(size) {
            self.recovery.set_max_datagram(self.mtu.current());
        }
    }

    /// A 1-RTT packet sent on this path is lost; true when the MTU fell (RFC 8899 section 4.3).
    pub fn on_packet_lost(&mut self, pn: u64, size: u16, mtu_probe: bool, sent_at: Timestamp, now: Timestamp) -> bool {
        if mtu_probe {
            self.mtu.on_probe_lost(size);
            return false;
        }
        let pto = self.recovery.rtt.pto(Duration::ZERO);
        let fell = self.mtu.on_packet_lost(pn, size, sent_at, pto, now);
        if fell {
            self.recovery.set_max_datagram(self.mtu.current());
        }
        fell
    }

    /// The same peer and the same network as `other`; only a port differs, as NATs do (RFC 9000 section 9.4).
    #[must_use]
    pub fn same_hosts(&self, other: &FourTuple) -> bool {
        same_hosts(&self.tuple, other)
    }

    /// Everything that goes with the addresses changes places; recovery, MTU and number stay.
    pub(super) fn swap_addresses(&mut self, other: &mut Self) {
        use core::mem::swap;
        swap(&mut self.tuple, &mut other.tuple);
        swap(&mut self.validation, &mut other.validation);
        swap(&mut self.budget, &mut other.budget);
        swap(&mut self.cid, &mut other.cid);
        swap(&mut self.datagrams_received, &mut other.datagrams_received);
        swap(&mut self.bytes_received, &mut other.bytes_received);
        swap(&mut self.datagrams_sent, &mut other.datagrams_sent);
        swap(&mut self.bytes_sent, &mut other.bytes_sent);
        swap(&mut self.last_received, &mut other.last_received);
        swap(&mut self.proven, &mut other.proven);
        swap(&mut self.authenticated, &mut other.authenticated);
        swap(&mut self.pinned, &mut other.pinned);
    }
}

/// The same address of ours; when the system does not tell addresses, the same socket.
pub(super) fn same_local(a: &FourTuple, b: &FourTuple) -> bool {
    match (a.local, b.local) {
        (Some(x), Some(y)) => x == y,
        _ => a.socket == b.socket,
    }
}

pub(super) fn same_hosts(a: &FourTuple, b: &FourTuple) -> bool {
    let local = match (a.local, b.local) {
        (Some(x), Some(y)) => x.ip() == y.ip(),
        // Unknown on either side: the same only if it is the same socket.
        _ => a.socket == b.socket,
    };
    a.remote.ip() == b.remote.ip() && local
}
