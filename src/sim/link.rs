//! One direction of a link: a bottleneck with a queue, then a wire with every misfortune.
//!
//! Several routes may share one link, so several connections share its bottleneck. The queue is exact without events of
//! its own: in a FIFO of a known rate the moment at which a datagram leaves is known when it enters, and so is
//! everything that a queue manager would decide at that moment. Chances are per ten thousand datagrams.
use std::collections::VecDeque;
use std::time::Duration;

use super::aqm::{Aqm, AqmState, Verdict};
use crate::base::time::nanos;
use crate::base::{Ecn, Pcg, Rng, Timestamp};

/// Certainty, in the unit of all chances.
pub const ALWAYS: u64 = 10_000;

/// What the path does to the two ECN bits on its way (RFC 9000 section 13.4.2 lists what happens to them in real life).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EcnPath {
    #[default]
    Faithful,
    /// The bits are cleared.
    Bleach,
    /// Every ECN-capable datagram arrives marked.
    AllCe,
    /// ECT(0) and ECT(1) change places, and every fourth datagram without marks gets some.
    Mangle,
    /// Datagrams with marks vanish.
    Drop,
}

/// Loss in bursts (Gilbert and Elliott): a good and a bad state, left per datagram with these chances.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GilbertElliott {
    /// From good to bad; 0 switches bursts off.
    pub enter: u64,
    /// From bad to good.
    pub leave: u64,
    /// Loss in the bad state.
    pub loss: u64,
}

/// One datagram that somebody on the path sends again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replay {
    /// Which datagram, counted from 0.
    pub nth: u64,
    pub copies: u32,
    /// The copies arrive with this distance.
    pub every: Duration,
}

/// A token bucket without a queue: what exceeds it is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policer {
    /// Bytes per second.
    pub rate: u64,
    /// Bytes that may come at once.
    pub burst: u64,
}

/// Everything about one direction.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkConfig {
    /// Bytes per second of the bottleneck.
    pub rate: u64,
    /// Bytes that wait for the bottleneck; more are dropped.
    pub queue: u64,
    /// Datagrams that wait; more are dropped.
    pub queue_packets: usize,
    pub aqm: Aqm,
    pub policer: Option<Policer>,
    pub delay: Duration,
    /// Up to this much more, without changing the order.
    pub jitter: Duration,
    pub loss: u64,
    pub bursts: GilbertElliott,
    /// Longest row of datagrams that chance may drop or damage; 0: no such limit.
    pub burst_limit: u32,
    /// Held back, so that later ones overtake.
    pub reorder: u64,
    /// By up to the time of so many full datagrams at the link's rate...
    pub reorder_packets: u32,
    /// ...and up to this long in addition.
    pub reorder_time: Duration,
    pub duplicate: u64,
    pub replay: Option<Replay>,
    /// One bit flips.
    pub corrupt: u64,
    /// The end is cut off.
    pub truncate: u64,
    /// Longer datagrams vanish.
    pub mtu: usize,
    pub ecn: EcnPath,
}

impl LinkConfig {
    /// A fast and faithful path: 1 Gbit/s, 10 ms.
    #[must_use]
    pub fn clean() -> Self {
        Self {
            rate: 125_000_000,
            queue: 1 << 20,
            queue_packets: usize::MAX,
            aqm: Aqm::DropTail,
            policer: None,
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            bursts: GilbertElliott::default(),
            burst_limit: 0,
            reorder: 0,
            reorder_packets: 0,
            reorder_time: Duration::ZERO,
            duplicate: 0,
            replay: None,
            corrupt: 0,
            truncate: 0,
            mtu: 1500,
            ecn: EcnPath::Faithful,
        }
    }

    /// A faithful path of this rate (bits per second), one-way delay and queue (bytes).
    #[must_use]
    pub fn pipe(bits_per_second: u64, delay: Duration, queue: u64) -> Self {
        Self { rate: bits_per_second / 8, delay, queue, ..Self::clean() }
    }

    /// Nothing that can be lost, delayed or changed by chance.
    #[must_use]
    pub fn is_faithful(&self) -> bool {
        self.loss + self.bursts.enter + self.reorder + self.duplicate + self.corrupt + self.truncate == 0
            && self.replay.is_none()
    }

    /// Time that `bytes` take on the bottleneck.
    #[must_use]
    pub fn serialise(&self, bytes: usize) -> Duration {
        Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / self.rate.max(1))
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self::clean()
    }
}

/// What happened to the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    pub sent: u64,
    pub sent_bytes: u64,
    pub delivered: u64,
    /// Bytes that passed the bottleneck.
    pub carried_bytes: u64,
    pub lost: u64,
    pub overflowed: u64,
    pub policed: u64,
    /// Dropped by the queue manager.
    pub managed: u64,
    /// Marked CE by the queue manager.
    pub marked: u64,
    pub too_long: u64,
    /// Sent while the link was dead; `lost` counts them too.
    pub cut: u64,
    /// Held back, so that later ones may have overtaken.
    pub reordered: u64,
    pub duplicated: u64,
    pub corrupted: u64,
    /// Longest wait in the queue.
    pub longest_wait: Duration,
    /// Sum of all waits; divide by `delivered` for the mean.
    pub total_wait: Duration,
}

/// A datagram at the far end of a link.
pub struct Arrival {
    pub at: Timestamp,
    pub ecn: Ecn,
    pub bytes: Vec<u8>,
    /// Damaged on the way: nobody may believe it.
    pub corrupted: bool,
}

/// A link at work. Its configuration may be changed while it works.
#[derive(Debug)]
pub struct Link {
    pub config: LinkConfig,
    pub counts: LinkCounts,
    /// Nothing gets through for now.
    pub dead: bool,
    rng: Pcg,
    aqm: AqmState,
    /// When the bottleneck has sent all that it accepted.
    busy_until: Timestamp,
    /// What waits: when it will have left, and its bytes.
    waiting: VecDeque<(Timestamp, u64)>,
    waiting_bytes: u64,
    /// Jitter keeps the order: nothing arrives before this.
    last_arrival: Timestamp,
    in_burst: bool,
    row: u32,
    /// Policer: tokens in billionths of a byte, and when they were counted.
    tokens: u128,
    tokens_at: Timestamp,
}

impl Link {
    /// An idle link with its own stream of chance.
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        let tokens = config.policer.map_or(0, |p| u128::from(p.burst) * 1_000_000_000);
        Self {
            config,
            counts: LinkCounts::default(),
            dead: false,
            rng: Pcg::new(seed ^ 0x11_4b),
            aqm: AqmState::default(),
            busy_until: Timestamp::ZERO,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last_arrival: Timestamp::ZERO,
            in_burst: false,
            row: 0,
            tokens,
            tokens_at: Timestamp::ZERO,
        }
    }

    /// Bytes that wait for the bottleneck.
    pub fn waiting(&mut self, now: Timestamp) -> u64 {
        while self.waiting.front().is_some_and(|(left, _)| *left <= now) {
            let (_, bytes) = self.waiting.pop_front().expect("looked at");
            self.waiting_bytes -= bytes;
        }
        self.waiting_bytes
    }

    /// Sends one datagram; calls `arrive` for each copy that comes out at the other end.
    pub fn send(&mut self, now: Timestamp, bytes: Vec<u8>, ecn: Ecn, mut arrive: impl FnMut(Arrival)) {
        let nth = self.counts.sent;
        self.counts.sent += 1;
        self.counts.sent_bytes += bytes.len() as u64;
        let Some((left, ecn)) = self.pass_bottleneck(now, &bytes, ecn) else { return };
        let Some(ecn) = self.pass_ecn(ecn) else {
            self.counts.lost += 1;
            return;
        };
        let unlucky = self.is_lost();
        if self.harms(unlucky) || self.dead {
            self.counts.lost += 1;
            self.counts.cut += u64::from(self.dead);
            return;
        }
        let copies = if self.chance(self.config.duplicate) { 2 } else { 1 };
        self.counts.duplicated += copies - 1;
        for _ in 0..copies {
            let (bytes, corrupted) = self.damage(bytes.clone());
            let at = self.arrival_time(left);
            self.counts.delivered += 1;
            arrive(Arrival { at, ecn, bytes, corrupted });
        }
        if let Some(replay) = self.config.replay.filter(|r| r.nth == nth) {
            self.counts.duplicated += u64::from(replay.copies);
            for i in 1..=replay.copies {
                let at = left + self.config.delay + replay.every * i;
                self.counts.delivered += 1;
                arrive(Arrival { at, ecn, bytes: bytes.clone(), corrupted: false });
            }
        }
    }

    /// Policer, MTU, queue and its manager: when the last bit has left, and the marks.
    fn pass_bottleneck(&mut self, now: Timestamp, bytes: &[u8], ecn: Ecn) -> Option<(Timestamp, Ecn)> {
        let len = bytes.len() as u64;
        if bytes.len() > self.config.mtu {
            self.counts.too_long += 1;
            return None;
        }
        if !self.police(now, len) {
            self.counts.policed += 1;
            return None;
        }
        let waiting = self.waiting(now);
        if waiting + len > self.config.queue.max(len) || self.waiting.len() >= self.config.queue_packets {
            self.counts.overflowed += 1;
            return None;
        }
        let leaves_queue = self.busy_until.max(now);
        let wait = leaves_queue.since(now);
        let ecn = match self.aqm.decide(&self.config.aqm, leaves_queue, wait, ecn, &mut self.rng) {
            Verdict::Pass => ecn,
            Verdict::Mark => {
                self.counts.marked += 1;
                Ecn::Ce
            }
            Verdict::Drop => {
                self.counts.managed += 1;
                return None;
            }
        };
        self.counts.longest_wait = self.counts.longest_wait.max(wait);
        self.counts.total_wait += wait;
        self.counts.carried_bytes += len;
        self.busy_until = leaves_queue + self.config.serialise(bytes.len());
        self.waiting.push_back((self.busy_until, len));
        self.waiting_bytes += len;
        Some((self.busy_until, ecn))
    }

    fn police(&mut self, now: Timestamp, len: u64) -> bool {
        const UNIT: u128 = 1_000_000_000;
        let Some(p) = self.config.policer else { return true };
        let earned = u128::from(nanos(now.since(self.tokens_at))) * u128::from(p.rate);
        self.tokens = (self.tokens + earned).min(u128::from(p.burst) * UNIT);
        self.tokens_at = now;
        let price = u128::from(len) * UNIT;
        if self.tokens < price {
            return false;
        }
        self.tokens -= price;
        true
    }

    fn pass_ecn(&mut self, ecn: Ecn) -> Option<Ecn> {
        Some(match (self.config.ecn, ecn) {
            (EcnPath::Bleach, _) => Ecn::NotEct,
            (EcnPath::AllCe, Ecn::Ect0 | Ecn::Ect1) => Ecn::Ce,
            (EcnPath::Mangle, Ecn::Ect0) => Ecn::Ect1,
            (EcnPath::Mangle, Ecn::Ect1) => Ecn::Ect0,
            (EcnPath::Mangle, Ecn::NotEct) if self.counts.sent.is_multiple_of(4) => Ecn::Ce,
            (EcnPath::Drop, Ecn::Ect0 | Ecn::Ect1 | Ecn::Ce) => return None,
            (_, other) => other,
        })
    }

    fn chance(&mut self, per_10k: u64) -> bool {
        per_10k > 0 && self.rng.below(ALWAYS) < per_10k
    }

    fn is_lost(&mut self) -> bool {
        let b = self.config.bursts;
        let turn = if self.in_burst { b.leave } else { b.enter };
        if self.chance(turn) {
            self.in_burst = !self.in_burst;
        }
        let loss = if self.in_burst { b.loss } else { self.config.loss };
        self.chance(loss)
    }

    /// Whether chance may have its way with a datagram: not too often in a row.
    fn harms(&mut self, wanted: bool) -> bool {
        let limit = self.config.burst_limit;
        let harms = wanted && (limit == 0 || self.row < limit);
        self.row = if harms { self.row + 1 } else { 0 };
        harms
    }

    fn damage(&mut self, mut bytes: Vec<u8>) -> (Vec<u8>, bool) {
        let (flip, cut) = (self.chance(self.config.corrupt), self.chance(self.config.truncate));
        if self.config.corrupt + self.config.truncate == 0 || !self.harms((flip || cut) && !bytes.is_empty()) {
            return (bytes, false);
        }
        self.counts.corrupted += 1;
        let at = self.rng.below(bytes.len() as u64) as usize;
        if flip {
            bytes[at] ^= 1 << self.rng.below(8);
        }
        if cut {
            bytes.truncate(at);
        }
        (bytes, true)
    }

    fn arrival_time(&mut self, left: Timestamp) -> Timestamp {
        let jitter = Duration::from_nanos(self.rng.below(nanos(self.config.jitter) + 1));
        let at = left + self.config.delay + jitter;
        if self.chance(self.config.reorder) {
            self.counts.reordered += 1;
            let packets = self.rng.below(u64::from(self.config.reorder_packets) + 1) as u32;
            let time = Duration::from_nanos(self.rng.below(nanos(self.config.reorder_time) + 1));
            return at + self.config.serialise(1200) * packets + time;
        }
        self.last_arrival = at.max(self.last_arrival);
        self.last_arrival
    }
}
