//! Paths, their proofs and their connection IDs, with time and randomness in the test's hand.
mod cids;
mod migration;
mod mtu;
mod validation;

use super::*;
use crate::base::{ConnectionId, FourTuple, Pcg, ResetToken, Side, Timestamp};
use crate::recovery::RecoveryConfig;
use core::time::Duration;
use std::net::SocketAddr;

pub(super) const START: Timestamp = Timestamp(10_000_000_000);
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn tuple(remote: &str) -> FourTuple {
    FourTuple {
        local: Some("192.0.2.1:443".parse::<SocketAddr>().unwrap()),
        remote: remote.parse().unwrap(),
        socket: 0,
    }
}

pub(super) fn from_local(local: &str, socket: u32) -> FourTuple {
    FourTuple { local: Some(local.parse().unwrap()), remote: "192.0.2.1:443".parse().unwrap(), socket }
}

pub(super) fn cid(n: u8) -> ConnectionId {
    ConnectionId::new(&[n; 8]).unwrap()
}

pub(super) fn token(n: u8) -> ResetToken {
    ResetToken([n; 16])
}

/// A confirmed connection on the path of its handshake, with three spare connection IDs of the peer.
pub(super) struct World {
    pub paths: PathTable,
    pub cids: PeerCids,
    pub rng: Pcg,
    pub now: Timestamp,
}

pub(super) fn world(side: Side, first: FourTuple) -> World {
    let mut paths = PathTable::new(side, first, true, &RecoveryConfig::default(), &MtuConfig::default(), START);
    let mut cids = PeerCids::new(cid(0), 4);
    assert_eq!(paths.cid_for(0, &mut cids).unwrap().sequence, 0);
    for n in 1..4 {
        cids.on_new(u64::from(n), 0, cid(n), token(n)).unwrap();
    }
    paths.on_handshake_confirmed(START);
    World { paths, cids, rng: Pcg::new(7), now: START }
}

impl World {
    pub(super) fn arrive(&mut self, t: &FourTuple, len: usize) -> Option<u8> {
        self.paths.on_datagram_received(t, len, self.now)
    }

    /// A non-probing packet with the highest number.
    pub(super) fn speak(&mut self, t: &FourTuple, len: usize) -> Option<Migration> {
        let id = self.arrive(t, len).unwrap();
        let m = self.paths.on_non_probing(id, true, self.now)?;
        self.paths.bind_cid(&m, true, &mut self.cids);
        for (wanted, id) in [(m.validate_new, m.to), (m.validate_old, m.from)] {
            if wanted {
                self.paths.start_validation(id, &mut self.rng, self.now);
            }
        }
        Some(m)
    }

    pub(super) fn wait(&mut self, d: Duration) -> Vec<PathEvent> {
        self.now = self.now + d;
        self.paths.on_deadline(self.now, &mut self.rng, None)
    }
}
