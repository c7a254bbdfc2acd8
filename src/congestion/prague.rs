//! A scalable reaction to L4S marks (RFC 9331 section 4.3, RFC 9330 section 4.1) around CUBIC.
//!
//! Packets leave as ECT(1). Per round trip the fraction of marked packets enters a moving average, alpha, and the
//! first mark of a round shrinks the window by half of alpha; while marks come, the window grows by a datagram per
//! (reference) round trip. Loss gets CUBIC's answer, and a path without marks CUBIC's growth, so that this competes
//! where nobody marks. A queue that marks only when it is long is a classic AQM that may be shared: then marks are
//! answered like losses until the delay is gone. Invariant: alpha lies between 0 and 1.
use super::adaptive::RoundRtt;
use super::{AckSample, Cubic, MIN_DATAGRAM};
use core::time::Duration;

/// Alpha's one, and its gain of a sixteenth per round (DCTCP and its descendants).
const ONE: u64 = 1 << 20;
const GAIN_SHIFT: u32 = 4;
/// Rounds without a mark after which growth is CUBIC's again.
const L4S_ROUNDS: u8 = 16;
/// Below this round-trip time growth slows down, so that short paths do not crowd out long ones (item 4 of the section).
const REFERENCE_RTT: Duration = Duration::from_millis(25);
/// Item 3: a mark with a queue beyond this (or an eighth of the round trip) comes from a classic AQM.
const CLASSIC_QUEUE: Duration = Duration::from_millis(5);
/// Rounds of such evidence, less those against it, until it is believed, and the most that are counted.
const CLASSIC_ROUNDS: u8 = 4;
const CLASSIC_MAX: u8 = 12;

/// State of the controller.
#[derive(Clone, Debug)]
pub struct Prague {
    pub(super) cubic: Cubic,
    max_datagram: u64,
    alpha: u64,
    rounds: RoundRtt,
    /// Packets acknowledged and marked in this round.
    acked: u64,
    marked: u64,
    /// The window was reduced for a mark in this round.
    reduced: bool,
    /// Rounds until marks count as history; 0: no L4S bottleneck seen.
    l4s: u8,
    classic: u8,
    /// Growth below a byte, in millionths.
    fraction: u64,
}

impl Prague {
    pub(super) fn new(max_datagram: u16, initial_packets: u32) -> Self {
        Self {
            cubic: Cubic::new(max_datagram, initial_packets),
            max_datagram: u64::from(max_datagram).max(MIN_DATAGRAM),
            alpha: ONE,
            rounds: RoundRtt::new(),
            acked: 0,
            marked: 0,
            reduced: false,
            l4s: 0,
            classic: 0,
            fraction: 0,
        }
    }

    /// The moving average of the marked fraction, in 2^-20.
    #[must_use]
    pub const fn alpha(&self) -> u64 {
        self.alpha
    }

    /// Marks are taken for those of a classic AQM.
    #[must_use]
    pub const fn is_classic(&self) -> bool {
        self.classic >= CLASSIC_ROUNDS
    }

    /// One ACK: `acked` packets of ours, `marked` of them with CE. True when the caller shall treat it as a
    /// congestion event of the classic kind.
    pub(super) fn on_marks(&mut self, acked: u64, marked: u64, min_rtt: Duration) -> bool {
        self.acked = self.acked.saturating_add(acked);
        self.marked = self.marked.saturating_add(marked);
        if marked == 0 {
            return false;
        }
        self.l4s = L4S_ROUNDS;
        if self.is_classic() {
            return true;
        }
        if !self.reduced {
            self.reduced = true;
            if self.cubic.in_slow_start() {
                // The first marks: alpha is still 1, which would halve; the queue is as young as they are.
                self.note_delay(min_rtt);
            }
            let window = self.cubic.window();
            let cut = u64::try_from(u128::from(window) * u128::from(self.alpha) / u128::from(2 * ONE)).unwrap_or(0);
            self.cubic.reduce_to(window - cut);
        }
        false
    }

    fn note_delay(&mut self, min_rtt: Duration) {
        if self.rounds.queueing(min_rtt) > CLASSIC_QUEUE.max(min_rtt / 8) {
            self.classic = (self.classic + 1).min(CLASSIC_MAX);
        } else {
            self.classic = self.classic.saturating_sub(1);
        }
    }

    pub(super) fn on_ack(&mut self, sample: &AckSample, min_rtt: Duration) {
        if self.marked > 0 && sample.newest_sent_at >= self.rounds.end() {
            self.note_delay(min_rtt);
        }
        if self.rounds.on_ack(sample.rtt_sample, sample.newest_sent_at, sample.now) {
            self.end_round();
        }
        if sample.in_recovery {
            return;
        }
        if self.l4s == 0 || self.is_classic() || self.cubic.in_slow_start() {
            self.cubic.on_ack(sample);
            return;
        }
        if sample.app_limited {
            return;
        }
        // One datagram per round trip; shorter ones count by the square of their length.
        let rtt = sample.smoothed_rtt.min(REFERENCE_RTT).as_micros();
        let reference = REFERENCE_RTT.as_micros();
        let scaled = u128::from(sample.bytes) * u128::from(self.max_datagram) * 1_000_000 * rtt * rtt
            / (reference * reference * u128::from(self.cubic.window().max(1)));
        self.fraction = self.fraction.saturating_add(u64::try_from(scaled).unwrap_or(0));
        self.cubic.grow_by(self.fraction / 1_000_000);
        self.fraction %= 1_000_000;
    }

    fn end_round(&mut self) {
        if self.acked > 0 {
            let share = (self.marked.min(self.acked) * ONE).checked_div(self.acked).unwrap_or(0);
            if self.l4s > 0 {
                self.alpha = self.alpha - (self.alpha >> GAIN_SHIFT) + (share >> GAIN_SHIFT);
            }
        }
        self.l4s = self.l4s.saturating_sub(1);
        self.acked = 0;
        self.marked = 0;
        self.reduced = false;
    }

    pub(super) fn set_max_datagram(&mut self, max_datagram: u16) {
        self.max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        self.cubic.set_max_datagram(max_datagram);
    }
}
