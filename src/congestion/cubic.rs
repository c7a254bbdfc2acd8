//! CUBIC (RFC 9438) with HyStart++ (RFC 9406) in its first slow start.
//!
//! Integer arithmetic throughout, so that every platform and every replay of a seed grows the same window.
//! Units: bytes and microseconds; windows carry ten fractional bits so that small ACKs are not rounded away.
use super::hystart::{Growth, HyStart};
use super::{AckSample, MIN_DATAGRAM, MINIMUM_WINDOW_DATAGRAMS, initial_window};
use crate::base::Timestamp;
use core::time::Duration;

/// Fractional bits of a window.
const FRACTION: u32 = 10;
/// Largest time from the inflection point that the cubic is evaluated at: its cube must fit 128 bits.
const MAX_DISTANCE_US: u64 = 1 << 40;

/// What a congestion event overwrites (RFC 9438 section 4.9.2).
#[derive(Clone, Copy, Debug)]
struct Undo {
    window: u64,
    prior: u64,
    ssthresh: u64,
    w_max: u64,
    epoch: Option<Epoch>,
}

/// A congestion avoidance stage.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// Start, moved later by periods without growth (RFC 9438 section 5.8).
    start: Timestamp,
    k_us: u64,
    /// Reno-friendly estimate, with fraction.
    estimate: u64,
}

/// State of the controller.
#[derive(Clone, Debug)]
pub struct Cubic {
    /// With fraction.
    window: u64,
    ssthresh: u64,
    max_datagram: u64,
    initial_packets: u32,
    /// Window before the last reduction (cwnd_prior).
    prior: u64,
    w_max: u64,
    epoch: Option<Epoch>,
    last_ack: Timestamp,
    hystart: HyStart,
    undo: Option<Undo>,
}

impl Cubic {
    pub(super) fn new(max_datagram: u16, initial_packets: u32) -> Self {
        let max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        Self {
            window: initial_window(max_datagram, initial_packets) << FRACTION,
            ssthresh: u64::MAX,
            max_datagram,
            initial_packets,
            prior: 0,
            w_max: 0,
            epoch: None,
            last_ack: Timestamp::ZERO,
            hystart: HyStart::new(),
            undo: None,
        }
    }

    pub(super) const fn window(&self) -> u64 {
        self.window >> FRACTION
    }

    pub(super) const fn ssthresh(&self) -> u64 {
        self.ssthresh
    }

    /// True while HyStart++ grows conservatively.
    #[must_use]
    pub const fn in_conservative_slow_start(&self) -> bool {
        self.hystart.in_css()
    }

    pub(super) const fn in_slow_start(&self) -> bool {
        self.window() < self.ssthresh
    }

    /// The reductions since `window` were wrong: slow start goes on from there, if it had not come farther meanwhile.
    pub(super) fn resume(&mut self, window: u64) {
        self.window = self.window.max(window << FRACTION);
        self.ssthresh = u64::MAX;
        self.w_max = 0;
        self.epoch = None;
        self.undo = None;
        self.hystart = HyStart::new();
    }

    /// The window is large enough (RFC 9438 section 4.10: the next stage begins with K = 0).
    pub(super) fn leave_slow_start(&mut self) {
        self.ssthresh = self.window();
        self.prior = self.window();
        self.w_max = 0;
        self.epoch = None;
    }

    /// A reduction that somebody else computed; growth begins anew from the window before it. Marks come before losses:
    /// they may go down to the two datagrams of RFC 9002 section 7.2.
    pub(super) fn reduce_to(&mut self, window: u64) {
        self.w_max = self.window();
        self.prior = self.window();
        self.ssthresh = window.max(self.max_datagram * 2);
        self.window = self.ssthresh << FRACTION;
        self.epoch = None;
        self.undo = None;
    }

    /// Growth that somebody else computed.
    pub(super) fn grow_by(&mut self, bytes: u64) {
        self.window = self.window.saturating_add(bytes << FRACTION);
    }

    fn minimum(&self) -> u64 {
        self.max_datagram * MINIMUM_WINDOW_DATAGRAMS
    }

    pub(super) fn on_ack(&mut self, sample: &AckSample) {
        let last_ack = core::mem::replace(&mut self.last_ack, sample.now);
        if sample.app_limited || sample.bytes == 0 {
            // RFC 9438 section 4.2: t MUST NOT include periods during which cwnd has not been updated.
            if let Some(epoch) = self.epoch.as_mut().filter(|_| sample.app_limited) {
                epoch.start = epoch.start + sample.now.since(last_ack);
            }
            return;
        }
        if self.window() < self.ssthresh {
            self.slow_start(sample);
        } else {
            self.avoid(sample);
        }
    }

    fn slow_start(&mut self, sample: &AckSample) {
        if self.ssthresh != u64::MAX {
            let window = self.window().saturating_add(sample.bytes).min(self.ssthresh);
            self.window = window << FRACTION;
            return;
        }
        let growth = self.hystart.on_ack(sample.bytes, sample.newest_sent_at, sample.rtt_sample, sample.now);
        let (Growth::By(bytes) | Growth::ByAndLeave(bytes)) = growth;
        self.window = self.window.saturating_add(bytes << FRACTION);
        if matches!(growth, Growth::ByAndLeave(_)) {
            // W_max is undefined here.
            self.leave_slow_start();
        }
    }

    fn avoid(&mut self, sample: &AckSample) {
        let window = self.window();
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.begin_epoch(sample.now),
        };
        let t = micros(sample.now.since(epoch.start));
        // Reno-friendly region (section 4.3): alpha is 3 (1 - 0.7) / (1 + 0.7) = 9/17 until the old window is reached.
        let (num, den) = if (epoch.estimate >> FRACTION) >= self.prior { (1, 1) } else { (9, 17) };
        let growth = u128::from(sample.bytes) * u128::from(self.max_datagram << FRACTION) * num
            / (den * u128::from(window.max(1)));
        let estimate = epoch.estimate.saturating_add(narrow(growth));
        self.epoch = Some(Epoch { estimate, ..epoch });
        if self.cubic_at(t, epoch.k_us) < (estimate >> FRACTION) {
            self.window = self.window.max(estimate);
            return;
        }
        let target = self.cubic_at(t.saturating_add(micros(sample.smoothed_rtt)), epoch.k_us);
        let target = target.clamp(window, window + window / 2);
        let growth = u128::from(target - window) * u128::from(sample.bytes.min(window)) * (1 << FRACTION)
            / u128::from(window.max(1));
        self.window = self.window.saturating_add(narrow(growth));
    }

    fn begin_epoch(&mut self, now: Timestamp) -> Epoch {
        let window = self.window();
        let k_us = if self.w_max > window {
            // K = cbrt((W_max - cwnd) / C) with C = 0.4 segments per second cubed.
            cube_root(u128::from(self.w_max - window) * 2_500_000_000_000_000_000 / u128::from(self.max_datagram))
        } else {
            self.w_max = window;
            0
        };
        let epoch = Epoch { start: now, k_us, estimate: self.window };
        self.epoch = Some(epoch);
        epoch
    }

    /// W_cubic(t) in bytes (RFC 9438 figure 1).
    fn cubic_at(&self, t_us: u64, k_us: u64) -> u64 {
        let distance = u128::from(t_us.abs_diff(k_us).min(MAX_DISTANCE_US));
        // 2^120 * 1500 does not fit: take the segment size in after the division by 10^18 and its factor 0.4.
        let cube = distance * distance * distance / 2_500_000_000;
        let bytes = narrow(cube.saturating_mul(u128::from(self.max_datagram)) / 1_000_000_000);
        if t_us >= k_us { self.w_max.saturating_add(bytes) } else { self.w_max.saturating_sub(bytes) }
    }

    pub(super) fn on_restart(&mut self, idle_since: Timestamp, now: Timestamp) {
        if let Some(epoch) = &mut self.epoch {
            epoch.start = epoch.start + now.since(idle_since.max(self.last_ack));
            self.last_ack = now;
        }
    }

    pub(super) fn on_congestion_event(&mut self) {
        let window = self.window();
        self.undo = Some(Undo {
            window: self.window,
            prior: self.prior,
            ssthresh: self.ssthresh,
            w_max: self.w_max,
            epoch: self.epoch,
        });
        // Fast convergence (section 4.7): (1 + 0.7) / 2.
        self.w_max = if window < self.w_max { window / 20 * 17 } else { window };
        self.prior = window;
        // Section 4.6. The window stands for flight_size: it does not grow while underused.
        self.ssthresh = (window / 10 * 7).max(self.minimum());
        self.window = self.ssthresh << FRACTION;
        self.epoch = None;
    }

    //= https://www.rfc-editor.org/rfc/rfc9002#section-7.6.2
    //# When persistent congestion is declared, the sender's congestion window MUST be reduced to the minimum congestion
    //# window (kMinimumWindow), similar to a TCP sender's response on an RTO [RFC5681].
    pub(super) fn on_persistent_congestion(&mut self) {
        self.undo = None;
        self.window = self.minimum() << FRACTION;
        // Section 4.8: the stage after a timeout has K = 0 and W_max = cwnd.
        self.w_max = 0;
        self.epoch = None;
    }

    pub(super) fn on_spurious_event(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        if self.window() < self.prior {
            self.window = undo.window;
            self.prior = undo.prior;
            self.ssthresh = undo.ssthresh;
            self.w_max = undo.w_max;
            self.epoch = undo.epoch;
        }
    }

    pub(super) fn set_max_datagram(&mut self, max_datagram: u16) {
        let untouched = self.window() == initial_window(self.max_datagram, self.initial_packets);
        self.max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        if untouched && self.ssthresh == u64::MAX {
            self.window = initial_window(self.max_datagram, self.initial_packets) << FRACTION;
        }
        self.window = self.window.max(self.minimum() << FRACTION);
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

fn narrow(v: u128) -> u64 {
    // Windows stay far below 2^53 bytes; the limit keeps the fraction from overflowing.
    u64::try_from(v).unwrap_or(u64::MAX).min(1 << 53)
}

/// Integer cube root, rounded down; once per congestion event.
fn cube_root(v: u128) -> u64 {
    let (mut low, mut high) = (0u128, 1u128 << 42);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if middle * middle * middle <= v { low = middle } else { high = middle - 1 }
    }
    narrow(low)
}
