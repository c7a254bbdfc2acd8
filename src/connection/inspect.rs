//! A look inside for checkers (feature `sim`): numbers that must agree with each other, copied out.
//!
//! Nothing here decides anything or is used by the connection itself; a checker compares what two rooms keep
//! independently of each other (the records of packets and a path's counter, one end's credit and the other's).
use super::Connection;
use crate::base::{ConnectionId, FourTuple};
use crate::paths::Path;

/// One path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathView {
    pub id: u8,
    pub tuple: FourTuple,
    pub validated: bool,
    /// What the path counts as in flight.
    pub in_flight: u64,
    /// What the records of its packets that count as in flight add up to.
    pub recorded: u64,
    pub congestion_window: u64,
    pub mtu: u16,
    /// The size of an MTU probe on its way.
    pub probing: Option<u16>,
    /// Bytes that may be sent before the address is proved; `u64::MAX`: no limit.
    pub sendable: u64,
}

/// Flow control of the whole connection (RFC 9000 section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreditView {
    /// The largest sum that the peer may reach.
    pub advertised: u64,
    /// The sum that it has reached.
    pub received: u64,
    /// What the application took or gave up.
    pub consumed: u64,
    pub window: u64,
    /// The largest sum that we may reach, and the one that we have.
    pub send_limit: u64,
    pub sent: u64,
}

/// Memory that grows with live data, counted in its own units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryView {
    /// Packets whose fate is open.
    pub records: usize,
    /// Heap of the loss records.
    pub recovery_bytes: usize,
    pub streams: usize,
    /// Bytes written and not acknowledged.
    pub unsent: u64,
    /// Bytes received and not read.
    pub unread: u64,
    /// Events that nobody has taken.
    pub events: usize,
    pub paths: usize,
    pub local_cids: usize,
}

/// Everything at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    pub odcid: ConnectionId,
    pub paths: Vec<PathView>,
    pub credit: CreditView,
    pub memory: MemoryView,
}

fn view(p: &Path, recorded: u64) -> PathView {
    PathView {
        id: p.id,
        tuple: p.tuple,
        validated: p.is_validated(),
        in_flight: p.recovery.in_flight(),
        recorded,
        congestion_window: p.recovery.cc.window(),
        mtu: p.mtu(),
        probing: p.mtu.probing(),
        sendable: p.budget.sendable(),
    }
}

impl Connection {
    /// The path with these addresses, without the sum of its records.
    #[must_use]
    pub fn inspect_path(&self, tuple: &FourTuple) -> Option<PathView> {
        self.paths.all().iter().find(|p| p.tuple.same_path(tuple)).map(|p| view(p, 0))
    }

    /// Connection IDs of the peer that no path has used, and the addresses that have one: what a client can still move or
    /// speak by (RFC 9000 section 9.5).
    #[must_use]
    pub fn ways(&self) -> (usize, Vec<FourTuple>) {
        let with_id = self.paths.iter().filter(|p| p.cid.is_some());
        (self.peer_cids.unused(), with_id.map(|p| p.tuple).collect())
    }

    /// Numbers for a checker; proportional to what is in flight, so not for production.
    #[must_use]
    pub fn inspect(&self) -> Inspection {
        let mut records = 0;
        let mut recorded = [0u64; 256];
        for packet in self.recovery.outstanding() {
            records += 1;
            if packet.in_flight
                && let Some(sum) = recorded.get_mut(usize::from(packet.path))
            {
                *sum = sum.saturating_add(u64::from(packet.size));
            }
        }
        let sum = |p: &Path| recorded.get(usize::from(p.id)).copied().unwrap_or(0);
        let paths = self.paths.all().iter().map(|p| view(p, sum(p))).collect();
        let (window, credit) = self.streams.credit();
        let counts = self.streams.counts();
        Inspection {
            odcid: self.odcid,
            paths,
            credit: CreditView {
                advertised: window.advertised(),
                received: window.received(),
                consumed: window.consumed(),
                window: window.size(),
                send_limit: credit.limit(),
                sent: credit.used(),
            },
            memory: MemoryView {
                records,
                recovery_bytes: self.recovery.heap_bytes(),
                streams: counts.open,
                unsent: counts.buffered_to_send,
                unread: counts.buffered_received,
                events: self.events.len(),
                paths: self.paths.all().len(),
                local_cids: self.local_cids().count(),
            },
        }
    }
}
