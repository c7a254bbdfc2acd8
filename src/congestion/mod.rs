//! Congestion controllers and the pacer of one path (RFC 9002 section 7, RFC 9438, RFC 9406).
//!
//! Called by `recovery` only, once per ACK and not per packet; a closed set, so an enum and no trait object.
//! Invariant: the window is never below two datagrams (RFC 9002 section 7.2).
mod cubic;
mod hystart;
mod newreno;
mod pacer;
#[cfg(test)]
mod tests;

pub use cubic::Cubic;
pub use newreno::NewReno;
pub use pacer::Pacer;

use crate::base::Timestamp;
use core::time::Duration;

/// Which controller a path runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    NewReno,
    #[default]
    Cubic,
}

/// The smallest datagram a QUIC path carries (RFC 9000 section 14).
const MIN_DATAGRAM: u64 = 1200;

/// What one ACK frame did for a path.
#[derive(Clone, Copy, Debug)]
pub struct AckSample {
    /// In-flight bytes newly acknowledged and sent after the last congestion event.
    pub bytes: u64,
    /// When the newest of those packets was sent.
    pub newest_sent_at: Timestamp,
    pub now: Timestamp,
    pub smoothed_rtt: Duration,
    /// The RTT sample this ACK gave, if it gave one.
    pub rtt_sample: Option<Duration>,
    /// The window was not the limit (RFC 9002 section 7.8): no growth.
    pub app_limited: bool,
}

/// A congestion controller.
#[derive(Clone, Debug)]
pub enum Controller {
    NewReno(NewReno),
    Cubic(Cubic),
}

impl Controller {
    /// `initial_packets` datagrams to begin with, limited as RFC 9002 section 7.2 says when it is the default ten.
    #[must_use]
    pub fn new(algorithm: Algorithm, max_datagram: u16, initial_packets: u32) -> Self {
        match algorithm {
            Algorithm::NewReno => Self::NewReno(NewReno::new(max_datagram, initial_packets)),
            Algorithm::Cubic => Self::Cubic(Cubic::new(max_datagram, initial_packets)),
        }
    }

    /// Bytes that may be in flight.
    #[must_use]
    pub fn window(&self) -> u64 {
        match self {
            Self::NewReno(c) => c.window,
            Self::Cubic(c) => c.window(),
        }
    }

    /// Slow start threshold, `u64::MAX` until the first congestion event.
    #[must_use]
    pub fn ssthresh(&self) -> u64 {
        match self {
            Self::NewReno(c) => c.ssthresh,
            Self::Cubic(c) => c.ssthresh(),
        }
    }

    /// Below the threshold: the window doubles per round trip.
    #[must_use]
    pub fn in_slow_start(&self) -> bool {
        self.window() < self.ssthresh()
    }

    pub fn on_ack(&mut self, sample: &AckSample) {
        match self {
            Self::NewReno(c) => c.on_ack(sample),
            Self::Cubic(c) => c.on_ack(sample),
        }
    }

    /// Sending starts again with nothing in flight; `idle_since` is when the path last did anything.
    pub fn on_restart(&mut self, idle_since: Timestamp, now: Timestamp) {
        if let Self::Cubic(c) = self {
            c.on_restart(idle_since, now);
        }
    }

    /// First loss or CE mark of a round trip (the caller keeps the recovery period, RFC 9002 section 7.3.2).
    pub fn on_congestion_event(&mut self) {
        match self {
            Self::NewReno(c) => c.on_congestion_event(),
            Self::Cubic(c) => c.on_congestion_event(),
        }
    }

    /// RFC 9002 section 7.6.2: down to the minimum window.
    pub fn on_persistent_congestion(&mut self) {
        match self {
            Self::NewReno(c) => c.on_persistent_congestion(),
            Self::Cubic(c) => c.on_persistent_congestion(),
        }
    }

    /// Every loss of the last congestion event proved spurious: back to what was before it (RFC 9438 section 4.9.2).
    pub fn on_spurious_event(&mut self) {
        match self {
            Self::NewReno(c) => c.on_spurious_event(),
            Self::Cubic(c) => c.on_spurious_event(),
        }
    }

    /// The datagram size of the path changed (RFC 9002 section 7.2).
    pub fn set_max_datagram(&mut self, max_datagram: u16) {
        match self {
            Self::NewReno(c) => c.set_max_datagram(max_datagram),
            Self::Cubic(c) => c.set_max_datagram(max_datagram),
        }
    }
}

/// RFC 9002 section 7.2: ten datagrams, but not above the larger of 14720 bytes and two datagrams.
/// A configuration that asks for another number of packets gets exactly that number.
fn initial_window(max_datagram: u64, packets: u32) -> u64 {
    let asked = max_datagram.saturating_mul(u64::from(packets.max(2)));
    if packets == 10 { asked.min((max_datagram * 2).max(14_720)) } else { asked }
}
