//! One direction of a network path: a bottleneck with a queue, then a wire with every misfortune.
use std::time::Duration;

use whimbrel::base::{Ecn, Pcg, Rng, Timestamp};

/// Chances are per ten thousand datagrams.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Bytes per second of the bottleneck.
    pub rate: u64,
    /// Bytes that wait for the bottleneck; more are dropped.
    pub queue: u64,
    pub delay: Duration,
    /// Up to this much more, without changing the order.
    pub jitter: Duration,
    pub loss: u64,
    /// Bursts: chance to enter per datagram, longest duration, loss inside.
    pub burst_enter: u64,
    pub burst_length: Duration,
    pub burst_loss: u64,
    /// Held back by up to three delays, so that later ones overtake.
    pub reorder: u64,
    pub duplicate: u64,
    pub corrupt: u64,
    /// Longer datagrams vanish.
    pub mtu: usize,
    /// ECN: marks above half of the queue; or the marks are bleached.
    pub ecn_mark: bool,
    pub ecn_bleach: bool,
}

impl LinkConfig {
    /// A fast and faithful path.
    pub fn clean() -> Self {
        Self {
            rate: 125_000_000,
            queue: 1 << 20,
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            burst_enter: 0,
            burst_length: Duration::ZERO,
            burst_loss: 0,
            reorder: 0,
            duplicate: 0,
            corrupt: 0,
            mtu: 1500,
            ecn_mark: false,
            ecn_bleach: false,
        }
    }
}

/// What happened to the datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    pub sent: u64,
    pub delivered: u64,
    pub lost: u64,
    pub overflowed: u64,
    pub too_long: u64,
    pub duplicated: u64,
    pub corrupted: u64,
}

/// A link at work.
#[derive(Debug)]
pub struct Link {
    pub config: LinkConfig,
    pub counts: LinkCounts,
    /// When the bottleneck has sent all that it accepted.
    busy_until: Timestamp,
    /// Jitter keeps the order: nothing arrives before this.
    last_arrival: Timestamp,
    burst_until: Timestamp,
    /// Nothing gets through for now.
    pub dead: bool,
}

/// A datagram on the way.
pub struct Arrival {
    pub at: Timestamp,
    pub ecn: Ecn,
    pub bytes: Vec<u8>,
    /// Damaged on the way: nobody may believe it.
    pub corrupted: bool,
}

impl Link {
    pub fn new(config: LinkConfig) -> Self {
        Self {
            config,
            counts: LinkCounts::default(),
            busy_until: Timestamp::ZERO,
            last_arrival: Timestamp::ZERO,
            burst_until: Timestamp::ZERO,
            dead: false,
        }
    }

    /// Nothing that can be lost, delayed or changed by chance.
    pub fn is_clean(&self) -> bool {
        let c = &self.config;
        c.loss + c.burst_enter + c.reorder + c.duplicate + c.corrupt == 0
    }

    fn waiting(&self, now: Timestamp) -> u64 {
        let nanos = self.busy_until.since(now).as_nanos() as u64;
        (u128::from(nanos) * u128::from(self.config.rate) / 1_000_000_000) as u64
    }

    /// Sends one datagram; calls `arrive` for each copy that comes out at the other end.
    pub fn send(&mut self, now: Timestamp, bytes: Vec<u8>, ecn: Ecn, rng: &mut Pcg, mut arrive: impl FnMut(Arrival)) {
        let c = &self.config;
        self.counts.sent += 1;
        if bytes.len() > c.mtu {
            self.counts.too_long += 1;
            return;
        }
        let waiting = self.waiting(now);
        if waiting + bytes.len() as u64 > c.queue {
            self.counts.overflowed += 1;
            return;
        }
        let ecn = match ecn {
            _ if c.ecn_bleach => Ecn::NotEct,
            Ecn::Ect0 | Ecn::Ect1 if c.ecn_mark && waiting > c.queue / 2 => Ecn::Ce,
            other => other,
        };
        let serialise = Duration::from_nanos(bytes.len() as u64 * 1_000_000_000 / c.rate.max(1));
        self.busy_until = self.busy_until.max(now) + serialise;
        if c.burst_enter > 0 && rng.below(10_000) < c.burst_enter && now >= self.burst_until {
            self.burst_until = now + Duration::from_nanos(rng.below(c.burst_length.as_nanos() as u64 + 1));
        }
        let mut chance = |per_10k: u64| per_10k > 0 && rng.below(10_000) < per_10k;
        let loss = if now < self.burst_until { c.burst_loss } else { c.loss };
        if chance(loss) || self.dead {
            self.counts.lost += 1;
            return;
        }
        let copies = if chance(c.duplicate) { 2 } else { 1 };
        let reorder = chance(c.reorder);
        self.counts.duplicated += copies - 1;
        for _ in 0..copies {
            let mut bytes = bytes.clone();
            let corrupted = c.corrupt > 0 && rng.below(10_000) < c.corrupt && !bytes.is_empty();
            if corrupted {
                self.counts.corrupted += 1;
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
                if rng.below(8) == 0 {
                    bytes.truncate(at);
                }
            }
            let jitter = Duration::from_nanos(rng.below(c.jitter.as_nanos() as u64 + 1));
            let mut at = self.busy_until + c.delay + jitter;
            if reorder {
                at = at + Duration::from_nanos(rng.below(3 * c.delay.as_nanos() as u64 + 1));
            } else {
                at = at.max(self.last_arrival);
                self.last_arrival = at;
            }
            self.counts.delivered += 1;
            arrive(Arrival { at, ecn, bytes, corrupted });
        }
    }
}
