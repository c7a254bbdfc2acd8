//! Round-trip time of one path (RFC 9002 section 5).
//!
//! Invariant: `min <= latest` for every sample taken; before the first one the estimator holds the initial RTT.
use crate::base::Timestamp;
use core::time::Duration;

/// Timer granularity (RFC 9002 section 6.1.2, kGranularity).
pub const GRANULARITY: Duration = Duration::from_millis(1);
/// RTT assumed before any sample (RFC 9002 section 6.2.2, kInitialRtt).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);
/// Acknowledgment delay of the peer beyond which a sample is nonsense (2^14 ms, the largest max_ack_delay of RFC 9000 section 18.2).
const MAX_PLAUSIBLE_DELAY: Duration = Duration::from_millis(1 << 14);

/// The estimator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtt {
    latest: Duration,
    smoothed: Duration,
    var: Duration,
    min: Duration,
    first_sample: Option<Timestamp>,
}

impl Rtt {
    /// No sample yet: everything derives from `initial`.
    #[must_use]
    pub fn new(initial: Duration) -> Self {
        Self { latest: Duration::ZERO, smoothed: initial, var: initial / 2, min: Duration::ZERO, first_sample: None }
    }

    /// Takes a sample whose `delay` the caller already limited by the peer's max_ack_delay (RFC 9002 section 5.3).
    //= https://www.rfc-editor.org/rfc/rfc9002#section-5.2
    //# min_rtt MUST be set to the latest_rtt on the first RTT sample. min_rtt MUST be set to the lesser of min_rtt and
    //# latest_rtt (Section 5.1) on all other samples.
    pub fn update(&mut self, latest: Duration, delay: Duration, now: Timestamp) {
        // A clock that stands still must not give a zero RTT: rates divide by it.
        let latest = latest.max(Duration::from_micros(1));
        self.latest = latest;
        if self.first_sample.is_none() {
            self.first_sample = Some(now);
            self.min = latest;
            self.smoothed = latest;
            self.var = latest / 2;
            return;
        }
        self.min = self.min.min(latest);
        let delay = delay.min(MAX_PLAUSIBLE_DELAY);
        // Never below the minimum: that bounds what a misreporting peer can do.
        //= https://www.rfc-editor.org/rfc/rfc9002#section-5.3
        //# MUST NOT subtract the acknowledgment delay from the RTT sample if the resulting value is smaller than the
        //# min_rtt.
        let adjusted = if latest >= self.min + delay { latest - delay } else { latest };
        let sample = self.smoothed.abs_diff(adjusted);
        self.var = (self.var * 3 + sample) / 4;
        self.smoothed = (self.smoothed * 7 + adjusted) / 8;
    }

    /// Newest sample, zero before the first.
    #[must_use]
    pub const fn latest(&self) -> Duration {
        self.latest
    }

    #[must_use]
    pub const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    #[must_use]
    pub const fn var(&self) -> Duration {
        self.var
    }

    /// Smallest sample, zero before the first.
    #[must_use]
    pub const fn min(&self) -> Duration {
        self.min
    }

    /// At least one sample was taken.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.first_sample.is_some()
    }

    /// When the first sample was taken.
    #[must_use]
    pub const fn first_sample(&self) -> Option<Timestamp> {
        self.first_sample
    }

    /// Probe timeout without backoff (RFC 9002 section 6.2.1).
    //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
    //# The PTO period MUST be at least kGranularity to avoid the timer expiring immediately.
    #[must_use]
    pub fn pto(&self, max_ack_delay: Duration) -> Duration {
        self.smoothed + (self.var * 4).max(GRANULARITY) + max_ack_delay
    }

    /// RFC 9002 section 5.2: after persistent congestion min_rtt becomes the newest sample.
    pub fn on_persistent_congestion(&mut self) {
        self.min = self.latest;
    }
}
