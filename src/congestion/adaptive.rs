//! CUBIC that tells random loss from congestion: the default.
//!
//! A loss is congestion (and answered as RFC 9438 says) unless everything speaks against it. Tolerance has to be
//! earned: by five losses in a row, each at a smaller window than the one before although each was answered by a
//! reduction, or by eight in a row at windows well below one that was reached among them; all with an empty queue, and
//! none of them more than a few packets. On a path whose losses come from its queue a reduction makes them stop until the
//! window has grown back to where it was, and the queue shows in the round-trip time. Once
//! earned, it covers only losses at an empty queue and a rate of at most 2 %, BBR's threshold (draft-ietf-ccwg-bbr
//! section 2.8). It ends with the losses. RFC 8085 section 3.1 and RFC 9743 section 5 are what this has to answer to:
//! CE marks, persistent congestion, delay and higher loss get CUBIC's full answer always, so that on a path without
//! random loss this *is* CUBIC. Invariant: the judge only ever withholds a reduction, it never makes one.
use super::{AckSample, Cubic, MIN_DATAGRAM};
use crate::base::Timestamp;
use core::time::Duration;

/// Losses after the first one of a chain until loss counts as random.
const EVIDENCE: u8 = 4;
/// Losses in a row at windows below three quarters of one reached before them until loss counts as random. Where chance
/// keeps the window small from the start, it goes up and down without a chain: this is what shows it there.
const LOW_EVIDENCE: u8 = 8;
/// Loss rate (one part in so many) beyond which no loss is taken for random.
const MAX_RATE_INVERSE: u64 = 50;
/// The rate is taken over between so many datagrams and twice as many.
const RATE_DATAGRAMS: u64 = 1000;
/// Datagrams lost in one round beyond the rate that still may be chance (BBR's BBRStartupFullLossCnt).
const BURST_DATAGRAMS: u64 = 6;
/// The same while tolerance is being earned: an overflow rarely costs only one or two.
const BURST_DATAGRAMS_UNPROVEN: u64 = 2;
/// Datagrams without a loss that end the tolerance: rarer ones cost CUBIC little.
const QUIET_DATAGRAMS: u64 = 20_000;
/// A queue shows when the round's shortest RTT exceeds the path's by this part of it, within these bounds.
const QUEUE_DIVISOR: u32 = 32;
const QUEUE_MIN: Duration = Duration::from_micros(250);
const QUEUE_MAX: Duration = Duration::from_millis(4);
/// Samples before a round's minimum means anything.
const MIN_SAMPLES: u32 = 8;

/// State of the controller.
#[derive(Clone, Debug)]
pub struct Adaptive {
    pub(super) cubic: Cubic,
    max_datagram: u64,
    rounds: RoundRtt,
    /// Bytes of the last thousand datagrams or two.
    delivered: u64,
    lost: u64,
    lost_in_round: u64,
    since_loss: u64,
    /// Windows at the last reduction and at the first one of the chain.
    peak: u64,
    chain_start: u64,
    evidence: u8,
    /// The largest window that had a loss lately, and the losses in a row well below it.
    highest: u64,
    low: u8,
    random: bool,
    /// The last reduction answered a full queue: what that overflow lost says nothing about chance.
    overflowed: bool,
    /// A slow start that random loss cut short goes on.
    resumed: bool,
}

/// Shortest round-trip times of this round and the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundRtt {
    end: Timestamp,
    last: Duration,
    current: Duration,
    samples: u32,
}

impl RoundRtt {
    pub const fn new() -> Self {
        Self { end: Timestamp::ZERO, last: Duration::MAX, current: Duration::MAX, samples: 0 }
    }

    /// True when a round ended.
    pub fn on_ack(&mut self, rtt: Option<Duration>, newest_sent_at: Timestamp, now: Timestamp) -> bool {
        let ended = newest_sent_at >= self.end;
        if ended {
            self.end = now;
            if self.current != Duration::MAX {
                self.last = self.current;
            }
            self.current = Duration::MAX;
            self.samples = 0;
        }
        if let Some(rtt) = rtt {
            self.current = self.current.min(rtt);
            self.samples = self.samples.saturating_add(1);
        }
        ended
    }

    /// A packet sent at or after this time ends the round when it is acknowledged.
    pub const fn end(&self) -> Timestamp {
        self.end
    }

    /// What a packet at the head of the queue waited lately.
    pub fn queueing(&self, min_rtt: Duration) -> Duration {
        let shortest = if self.samples >= MIN_SAMPLES { self.current } else { self.last.min(self.current) };
        if shortest == Duration::MAX { Duration::ZERO } else { shortest.saturating_sub(min_rtt) }
    }

    /// What waits in the network is more than noise.
    pub fn queue_shows(&self, min_rtt: Duration) -> bool {
        self.queueing(min_rtt) > (min_rtt / QUEUE_DIVISOR).clamp(QUEUE_MIN, QUEUE_MAX)
    }
}

impl Adaptive {
    pub(super) fn new(max_datagram: u16, initial_packets: u32) -> Self {
        Self {
            cubic: Cubic::new(max_datagram, initial_packets),
            max_datagram: u64::from(max_datagram).max(MIN_DATAGRAM),
            rounds: RoundRtt::new(),
            delivered: 0,
            lost: 0,
            lost_in_round: 0,
            since_loss: 0,
            peak: 0,
            chain_start: 0,
            evidence: 0,
            highest: 0,
            low: 0,
            random: false,
            overflowed: false,
            resumed: false,
        }
    }

    /// Losses count as random at present.
    #[must_use]
    pub const fn is_tolerant(&self) -> bool {
        self.random
    }

    pub(super) fn on_delivered(&mut self, bytes: u64) {
        self.delivered = self.delivered.saturating_add(bytes);
        self.since_loss = self.since_loss.saturating_add(bytes);
        if self.delivered > 2 * RATE_DATAGRAMS * self.max_datagram {
            if self.random && self.since_loss > QUIET_DATAGRAMS * self.max_datagram {
                self.stop();
            }
            self.delivered /= 2;
            self.lost /= 2;
        }
    }

    pub(super) fn on_packet_lost(&mut self, size: u64) {
        self.lost = self.lost.saturating_add(size);
        self.lost_in_round = self.lost_in_round.saturating_add(size);
    }

    pub(super) fn on_ack(&mut self, sample: &AckSample) {
        if self.rounds.on_ack(sample.rtt_sample, sample.newest_sent_at, sample.now) {
            self.lost_in_round = 0;
        }
        if sample.in_recovery {
            if self.overflowed {
                (self.delivered, self.lost, self.lost_in_round) = (0, 0, 0);
            }
            return;
        }
        self.overflowed = false;
        if self.resumed && self.cubic.in_slow_start() && self.rounds.queue_shows(sample.min_rtt) {
            // This one knows what it is looking for: the first sign of a queue ends it.
            self.cubic.leave_slow_start();
        }
        self.resumed &= self.cubic.in_slow_start();
        self.cubic.on_ack(sample);
    }

    /// Packets were lost: may the window stay as it is? `min_rtt` is the path's shortest round trip.
    pub(super) fn tolerates_loss(&mut self, min_rtt: Duration) -> bool {
        self.since_loss = 0;
        let window = self.cubic.window();
        let all = self.delivered.saturating_add(self.lost);
        let rate_high = all >= RATE_DATAGRAMS * self.max_datagram && self.lost > all / MAX_RATE_INVERSE;
        let few = if self.random { BURST_DATAGRAMS } else { BURST_DATAGRAMS_UNPROVEN };
        let burst = self.lost_in_round > window / MAX_RATE_INVERSE + few * self.max_datagram;
        if rate_high || burst {
            self.stop();
        }
        let queue = self.rounds.queue_shows(min_rtt);
        if rate_high || burst || queue {
            self.overflowed = queue;
            (self.evidence, self.low, self.highest) = (0, 0, window);
            self.chain_start = window;
            self.peak = window;
            return false;
        }
        if self.random {
            return true;
        }
        if window < self.peak / 10 * 9 {
            self.evidence += 1;
        } else {
            self.evidence = 0;
            self.chain_start = window;
        }
        self.peak = window;
        if window < self.highest / 4 * 3 {
            self.low += 1;
        } else {
            self.low = 0;
            self.highest = self.highest.max(window);
        }
        if self.evidence < EVIDENCE && self.low < LOW_EVIDENCE {
            return false;
        }
        // The reductions of the chain were for nothing, and the slow start that they ended was cut short.
        self.chain_start = self.chain_start.max(self.highest);
        (self.evidence, self.low, self.highest) = (0, 0, 0);
        self.random = true;
        self.resumed = true;
        self.cubic.resume(self.chain_start);
        true
    }

    fn stop(&mut self) {
        self.random = false;
        (self.evidence, self.low, self.highest) = (0, 0, 0);
    }

    pub(super) fn on_persistent_congestion(&mut self) {
        self.stop();
        self.peak = 0;
        self.cubic.on_persistent_congestion();
    }

    pub(super) fn set_max_datagram(&mut self, max_datagram: u16) {
        self.max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        self.cubic.set_max_datagram(max_datagram);
    }
}
