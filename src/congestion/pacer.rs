//! Leaky-bucket pacing in batches (RFC 9002 section 7.7).
//!
//! The bucket holds at most ten datagrams or two milliseconds of the rate, whichever is more; a grant is about one
//! millisecond of the rate, at least two datagrams and at most one GSO batch. A wait too short for a timer to serve
//! is not waited for: the batch goes out on credit and the next one pays.
//!
//! A refused sender whose turn comes late, because its worker has a thousand others, catches up on more where the path is
//! known to take it: round trips that are longer than the shortest by `queue` mean that `queue` times the rate of ours
//! stands in line somewhere. Coming late has drained that line, so a burst of half of it makes it no longer than it was.
use super::MIN_DATAGRAM;
use crate::base::Timestamp;
use crate::base::time::nanos;
use core::time::Duration;

/// Datagrams that may leave back to back after a pause (RFC 9002 section 7.7: the initial window).
const BURST_PACKETS: u64 = 10;
/// Largest grant: what one GSO send carries.
const MAX_GRANT: u64 = 65_535;
/// A grant aims at this much time of the rate.
const QUANTUM: Duration = Duration::from_millis(1);
/// Time of the rate that a late timer may catch up on.
const CATCH_UP: Duration = Duration::from_millis(2);
/// Waits shorter than this are not served by any timer we use (wheel tick 128 us, and the wake-up itself).
const SHORTEST_WAIT: Duration = Duration::from_micros(200);
const NANOS_PER_SEC: u128 = 1_000_000_000;

/// Spreads batches over the round trip.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Bytes that may leave now; below zero after a batch on credit.
    tokens: i64,
    refilled_at: Timestamp,
    max_datagram: u64,
    /// Bytes per second at the last grant.
    rate: u64,
    /// Set by a refused grant, cleared by a given one.
    blocked_until: Option<Timestamp>,
    /// How much longer than the shortest the round trips are.
    queue: Duration,
    /// Last time a batch was refused: the sender is then limited by pacing, not by the application (section 7.8).
    last_refusal: Option<Timestamp>,
}

impl Pacer {
    #[must_use]
    pub fn new(max_datagram: u16, now: Timestamp) -> Self {
        let max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        Self {
            tokens: signed(max_datagram * BURST_PACKETS),
            refilled_at: now,
            max_datagram,
            rate: 0,
            blocked_until: None,
            queue: Duration::ZERO,
            last_refusal: None,
        }
    }

    /// Bytes that the next batch may hold, 0 when it must wait until [`Self::deadline`].
    ///
    /// `rate` is the controller's, in bytes per second; `max` is what the caller could send at most. A grant may end
    /// below `max`; ask again for the next batch.
    //= https://www.rfc-editor.org/rfc/rfc9002#section-7.7
    //# Senders MUST either use pacing or limit such bursts.
    pub fn grant(&mut self, now: Timestamp, rate: u64, max: u64) -> u64 {
        // The initial burst is filled by packets, not by time: it must not wait for a millisecond's worth.
        let fresh = self.rate == 0;
        self.rate = rate;
        let quantum = self.over(QUANTUM).clamp(self.max_datagram * 2, MAX_GRANT);
        self.refill(now);
        let wanted = quantum.min(max.max(1));
        let wanted = if fresh { wanted.min(u64::try_from(self.tokens).unwrap_or(0).max(1)) } else { wanted };
        let missing = signed(wanted).saturating_sub(self.tokens);
        if missing > 0 {
            let wait = self.time_for(missing.unsigned_abs());
            if wait >= SHORTEST_WAIT {
                self.blocked_until = Some(now + wait);
                self.last_refusal = Some(now);
                return 0;
            }
        }
        self.blocked_until = None;
        let available = u64::try_from(self.tokens).unwrap_or(0).max(wanted);
        available.min(MAX_GRANT).min(max)
    }

    /// When a refused batch may go.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        self.blocked_until
    }

    /// Accounts for bytes that left (ACK-only packets and probes need not be charged).
    pub fn charge(&mut self, bytes: u64, now: Timestamp) {
        self.refill(now);
        // Debt beyond this is not remembered; it must exceed what SHORTEST_WAIT earns, or nothing would ever wait.
        let debt = MAX_GRANT.max(self.over(CATCH_UP));
        self.tokens = self.tokens.saturating_sub(signed(bytes)).max(-signed(debt));
    }

    /// Last time that a batch was refused.
    #[must_use]
    pub const fn last_refusal(&self) -> Option<Timestamp> {
        self.last_refusal
    }

    /// Bytes per second at the last grant, 0 before any.
    #[must_use]
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// How much longer than the shortest the round trips are by now.
    pub const fn set_queue(&mut self, queue: Duration) {
        self.queue = queue;
    }

    /// There is nothing to send: what comes later was not held up by us.
    pub const fn rest(&mut self) {
        self.blocked_until = None;
    }

    pub fn set_max_datagram(&mut self, max_datagram: u16) {
        self.max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
    }

    /// What may leave back to back (RFC 9002 section 7.7: more, where the path is known to absorb it).
    fn capacity(&self, now: Timestamp) -> u64 {
        let usual = (self.max_datagram * BURST_PACKETS).max(self.over(CATCH_UP));
        match self.blocked_until.map(|at| now.since(at).min(self.queue / 2)) {
            Some(late) if !late.is_zero() => usual.max(usual.saturating_add(self.over(late)).min(MAX_GRANT)),
            _ => usual,
        }
    }

    fn refill(&mut self, now: Timestamp) {
        let elapsed = now.since(self.refilled_at);
        if elapsed.is_zero() {
            return;
        }
        let capacity = signed(self.capacity(now));
        if self.tokens >= capacity {
            self.tokens = capacity;
            self.refilled_at = self.refilled_at.max(now);
            return;
        }
        let earned = self.over(elapsed);
        if earned == 0 {
            // Too early for a byte: keep the time, so that many small steps add up.
            return;
        }
        self.tokens = self.tokens.saturating_add(signed(earned)).min(capacity);
        self.refilled_at = now;
    }

    /// Bytes of the rate in `time`.
    fn over(&self, time: Duration) -> u64 {
        let bytes = u128::from(self.rate) * u128::from(nanos(time)) / NANOS_PER_SEC;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Time in which the rate gives `bytes`, rounded up.
    fn time_for(&self, bytes: u64) -> Duration {
        let time = (u128::from(bytes) * NANOS_PER_SEC).div_ceil(u128::from(self.rate.max(1)));
        Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX))
    }
}

/// N * congestion_window / smoothed_rtt with N = 1.25 (RFC 9002 section 7.7), 2 in slow start, where the window itself
/// doubles per round trip.
pub(super) fn window_rate(window: u64, slow_start: bool, smoothed_rtt: Duration) -> u64 {
    let quarters: u128 = if slow_start { 8 } else { 5 };
    let rtt = u128::from(nanos(smoothed_rtt).max(1));
    u64::try_from(u128::from(window) * quarters * NANOS_PER_SEC / (4 * rtt)).unwrap_or(u64::MAX)
}

fn signed(v: u64) -> i64 {
    i64::try_from(v).unwrap_or(i64::MAX)
}
