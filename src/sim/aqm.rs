//! Queue management at a bottleneck: CoDel (RFC 8289), PIE (RFC 8033, without its bursts allowance), a step marker for
//! L4S senders (RFC 9332 section 5.2, one queue instead of two).
//!
//! Every decision is taken for the moment at which a datagram leaves the queue, from the time that it waited there.
//! Invariant: only ECN-capable datagrams are marked (RFC 3168 section 6.1), others are dropped.
use std::time::Duration;

use crate::base::time::nanos;
use crate::base::{Ecn, Pcg, Rng, Timestamp};

/// Which manager a queue has.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Aqm {
    /// None: a full queue drops.
    #[default]
    DropTail,
    /// Marks (`ecn`) or drops when the wait stays above `target` for `interval`, more and more often.
    CoDel { target: Duration, interval: Duration, ecn: bool },
    /// Marks (`ecn`) or drops with a chance that follows the wait and its change.
    Pie { target: Duration, ecn: bool },
    /// Marks everything ECN-capable that waited longer, drops nothing.
    Step { threshold: Duration },
    /// ECT(1) is marked above `step`; everything else meets CoDel with these values.
    L4s { step: Duration, target: Duration, interval: Duration },
}

impl Aqm {
    /// CoDel as RFC 8289 section 4.2 and 4.3 recommend it for the Internet, with marks.
    #[must_use]
    pub const fn codel() -> Self {
        Self::CoDel { target: Duration::from_millis(5), interval: Duration::from_millis(100), ecn: true }
    }

    /// PIE with the reference delay of RFC 8033 section 4.2.
    #[must_use]
    pub const fn pie() -> Self {
        Self::Pie { target: Duration::from_millis(15), ecn: true }
    }

    /// The shallow marking threshold of RFC 9332 appendix A.1 for ECT(1), CoDel for the rest.
    #[must_use]
    pub const fn l4s() -> Self {
        Self::L4s {
            step: Duration::from_millis(1),
            target: Duration::from_millis(15),
            interval: Duration::from_millis(100),
        }
    }
}

/// What becomes of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Pass,
    Mark,
    Drop,
}

/// What a manager remembers.
#[derive(Clone, Debug, Default)]
pub struct AqmState {
    codel: CoDel,
    pie: Pie,
}

#[derive(Clone, Debug, Default)]
struct CoDel {
    /// When the wait will have been too long for an interval.
    first_above: Option<Timestamp>,
    dropping: bool,
    next: Timestamp,
    count: u32,
    last_count: u32,
}

#[derive(Clone, Debug, Default)]
struct Pie {
    chance: f64,
    old_wait: Duration,
    updated: Timestamp,
}

fn is_capable(ecn: Ecn) -> bool {
    ecn != Ecn::NotEct
}

fn congested(capable: bool) -> Verdict {
    if capable { Verdict::Mark } else { Verdict::Drop }
}

impl AqmState {
    /// A datagram that waited `wait` leaves the queue at `at`.
    pub fn decide(&mut self, aqm: &Aqm, at: Timestamp, wait: Duration, ecn: Ecn, rng: &mut Pcg) -> Verdict {
        match *aqm {
            Aqm::DropTail => Verdict::Pass,
            Aqm::CoDel { target, interval, ecn: mark } => {
                let hit = self.codel.hits(at, wait, target, interval);
                if hit { congested(mark && is_capable(ecn)) } else { Verdict::Pass }
            }
            Aqm::Pie { target, ecn: mark } => {
                // RFC 8033 section 4.1: nothing happens while the queue is nearly empty.
                let chance = self.pie.chance(at, wait, target);
                let hit = wait * 2 >= target && (rng.next_u64() >> 11) as f64 / ((1u64 << 53) as f64) < chance;
                // Section 5.1: marks only while the chance is below one tenth.
                if hit { congested(mark && is_capable(ecn) && chance < 0.1) } else { Verdict::Pass }
            }
            Aqm::Step { threshold } => {
                if wait > threshold && is_capable(ecn) {
                    Verdict::Mark
                } else {
                    Verdict::Pass
                }
            }
            Aqm::L4s { step, target, interval } => match ecn {
                Ecn::Ect1 if wait > step => Verdict::Mark,
                Ecn::Ect1 => Verdict::Pass,
                _ if self.codel.hits(at, wait, target, interval) => congested(is_capable(ecn)),
                _ => Verdict::Pass,
            },
        }
    }
}

impl CoDel {
    /// RFC 8289 section 5.5: the dequeue routine, for one datagram.
    fn hits(&mut self, at: Timestamp, wait: Duration, target: Duration, interval: Duration) -> bool {
        let long_enough = if wait < target {
            self.first_above = None;
            false
        } else {
            let above = *self.first_above.get_or_insert(at + interval);
            at >= above
        };
        if !long_enough {
            self.dropping = false;
            return false;
        }
        if self.dropping {
            if at < self.next {
                return false;
            }
            self.count += 1;
            self.next = self.next + spacing(interval, self.count);
            return true;
        }
        self.dropping = true;
        // Section 5.4: soon after the last time, go on where it was.
        let since = self.count.saturating_sub(self.last_count);
        let recent = at < self.next + interval * 16;
        self.count = if since > 1 && recent { since } else { 1 };
        self.last_count = self.count;
        self.next = at + spacing(interval, self.count);
        true
    }
}

/// The interval over the square root of the count.
fn spacing(interval: Duration, count: u32) -> Duration {
    Duration::from_nanos((nanos(interval) as f64 / f64::from(count.max(1)).sqrt()) as u64)
}

impl Pie {
    /// RFC 8033 section 4.2: the chance, recomputed every 15 ms.
    fn chance(&mut self, at: Timestamp, wait: Duration, target: Duration) -> f64 {
        const UPDATE: Duration = Duration::from_millis(15);
        if at.since(self.updated) < UPDATE {
            return self.chance;
        }
        let (alpha, beta) = (0.125, 1.25);
        let difference = |a: Duration, b: Duration| a.as_secs_f64() - b.as_secs_f64();
        let mut change = alpha * difference(wait, target) + beta * difference(wait, self.old_wait);
        // Gentle steps while the chance is small.
        change /= match self.chance {
            p if p < 0.000_001 => 2048.0,
            p if p < 0.000_01 => 512.0,
            p if p < 0.000_1 => 128.0,
            p if p < 0.001 => 32.0,
            p if p < 0.01 => 8.0,
            p if p < 0.1 => 2.0,
            _ => 1.0,
        };
        self.chance = (self.chance + change).clamp(0.0, 1.0);
        if wait.is_zero() && self.old_wait.is_zero() {
            self.chance *= 0.98;
        }
        (self.old_wait, self.updated) = (wait, at);
        self.chance
    }
}
