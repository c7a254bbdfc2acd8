//! Congestion controllers and the pacer of one path (RFC 9002 section 7, RFC 9438, RFC 9406, draft-ietf-ccwg-bbr).
//!
//! Called by `recovery` only, once per ACK and not per packet; a closed set, so an enum and no trait object.
//! Invariant: the window is never below two datagrams (RFC 9002 section 7.2).
mod adaptive;
mod bbr;
mod cubic;
mod delivery;
mod hystart;
mod newreno;
mod pacer;
mod prague;
#[cfg(test)]
mod tests;

pub use adaptive::Adaptive;
pub use bbr::Bbr;
pub use cubic::Cubic;
pub use newreno::NewReno;
pub use pacer::Pacer;
pub use prague::Prague;

use crate::base::Timestamp;
use core::time::Duration;

/// Which controller a path runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    NewReno,
    Cubic,
    /// Version 3, which sends at the rate that the path delivers.
    Bbr,
    /// Scalable reaction to L4S marks; packets leave as ECT(1).
    Prague,
    /// CUBIC that does not take random loss for congestion.
    #[default]
    Adaptive,
}

impl Algorithm {
    /// Packets may be marked ECT(1) (RFC 9331 section 4.3), others ECT(0).
    #[must_use]
    pub const fn is_scalable(self) -> bool {
        matches!(self, Self::Prague)
    }
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
    /// Shortest round trip of the path.
    pub min_rtt: Duration,
    /// The window was not the limit (RFC 9002 section 7.8): no growth.
    pub app_limited: bool,
    /// The window was full at some time since the newest of those packets was sent.
    pub window_limited: bool,
    /// Nothing newer than the last congestion event was acknowledged yet (RFC 9002 section 7.3.2).
    pub in_recovery: bool,
    /// Bytes in flight after this ACK and the losses that it showed.
    pub in_flight: u64,
}

/// A congestion controller.
//= https://www.rfc-editor.org/rfc/rfc9002#section-7
//# If a sender uses a different controller than that specified in this document, the chosen controller MUST conform to
//# the congestion control guidelines specified in Section 3.1 of [RFC8085].
#[derive(Clone, Debug)]
pub enum Controller {
    NewReno(NewReno),
    Cubic(Cubic),
    Adaptive(Adaptive),
    Prague(Prague),
    /// Apart, because it is large.
    Bbr(Box<Bbr>),
}

impl Controller {
    /// `initial_packets` datagrams to begin with, limited as RFC 9002 section 7.2 says when it is the default ten.
    #[must_use]
    pub fn new(algorithm: Algorithm, max_datagram: u16, initial_packets: u32, now: Timestamp) -> Self {
        match algorithm {
            Algorithm::NewReno => Self::NewReno(NewReno::new(max_datagram, initial_packets)),
            Algorithm::Cubic => Self::Cubic(Cubic::new(max_datagram, initial_packets)),
            Algorithm::Adaptive => Self::Adaptive(Adaptive::new(max_datagram, initial_packets)),
            Algorithm::Prague => Self::Prague(Prague::new(max_datagram, initial_packets)),
            Algorithm::Bbr => Self::Bbr(Box::new(Bbr::new(max_datagram, initial_packets, now))),
        }
    }

    /// Bytes that may be in flight.
    #[must_use]
    pub fn window(&self) -> u64 {
        match self {
            Self::NewReno(c) => c.window,
            Self::Cubic(c) => c.window(),
            Self::Adaptive(c) => c.cubic.window(),
            Self::Prague(c) => c.cubic.window(),
            Self::Bbr(c) => c.window(),
        }
    }

    /// Slow start threshold, `u64::MAX` until the first congestion event.
    #[must_use]
    pub fn ssthresh(&self) -> u64 {
        match self {
            Self::NewReno(c) => c.ssthresh,
            Self::Cubic(c) => c.ssthresh(),
            Self::Adaptive(c) => c.cubic.ssthresh(),
            Self::Prague(c) => c.cubic.ssthresh(),
            Self::Bbr(c) => c.ssthresh(),
        }
    }

    /// Below the threshold: the window doubles per round trip.
    #[must_use]
    pub fn in_slow_start(&self) -> bool {
        self.window() < self.ssthresh()
    }

    /// Bytes per second that the pacer may let go.
    #[must_use]
    pub fn pacing_rate(&self, smoothed_rtt: Duration) -> u64 {
        match self {
            Self::Bbr(c) => c.pacing_rate(),
            _ => pacer::window_rate(self.window(), self.in_slow_start(), smoothed_rtt),
        }
    }

    /// A packet leaves; `in_flight` is without it.
    pub fn on_sent(&mut self, size: u64, in_flight: u64, smoothed_rtt: Duration, now: Timestamp) {
        if let Self::Bbr(c) = self {
            c.on_sent(size, in_flight, smoothed_rtt, now);
        }
    }

    /// Packets were delivered; losses that the same ACK shows and [`Self::on_ack`] follow.
    pub fn on_delivered(&mut self, bytes: u64, newest_sent_at: Timestamp, min_rtt: Duration, now: Timestamp) {
        match self {
            Self::Bbr(c) => c.on_delivered(bytes, newest_sent_at, min_rtt, now),
            Self::Adaptive(c) => c.on_delivered(bytes),
            _ => {}
        }
    }

    /// One packet counts as lost.
    pub fn on_packet_lost(&mut self, pn: u64, size: u64, sent_at: Timestamp, now: Timestamp) {
        match self {
            Self::Bbr(c) => c.on_packet_lost(pn, size, sent_at, now),
            Self::Adaptive(c) => c.on_packet_lost(size),
            _ => {}
        }
    }

    /// Packets were lost: this is no congestion event, the window stays.
    pub fn tolerates_loss(&mut self, min_rtt: Duration) -> bool {
        match self {
            Self::Adaptive(c) => c.tolerates_loss(min_rtt),
            _ => false,
        }
    }

    /// An ACK covered `acked` packets of which `marked` had met congestion (CE). True when that is to be treated like
    /// a loss: always, unless the reaction is a scalable one.
    pub fn on_marks(&mut self, acked: u64, marked: u64, min_rtt: Duration) -> bool {
        match self {
            Self::Prague(c) => c.on_marks(acked, marked, min_rtt),
            _ => marked > 0,
        }
    }

    /// There was nothing to send although the pacer had nothing against it.
    pub fn on_app_limited(&mut self, in_flight: u64) {
        if let Self::Bbr(c) = self {
            c.on_app_limited(in_flight);
        }
    }

    pub fn on_ack(&mut self, sample: &AckSample) {
        match self {
            Self::Bbr(c) => c.on_ack(sample),
            Self::Adaptive(c) => c.on_ack(sample),
            Self::Prague(c) => c.on_ack(sample, sample.min_rtt),
            // RFC 9002 section 7.3.2: no growth during recovery.
            _ if sample.in_recovery => {}
            Self::NewReno(c) => c.on_ack(sample),
            Self::Cubic(c) => c.on_ack(sample),
        }
    }

    /// Sending starts again with nothing in flight; `idle_since` is when the path last did anything.
    pub fn on_restart(&mut self, idle_since: Timestamp, now: Timestamp) {
        match self {
            Self::Cubic(c) => c.on_restart(idle_since, now),
            Self::Adaptive(c) => c.cubic.on_restart(idle_since, now),
            Self::Prague(c) => c.cubic.on_restart(idle_since, now),
            Self::NewReno(_) | Self::Bbr(_) => {}
        }
    }

    /// First loss or CE mark of a round trip (the caller keeps the recovery period, RFC 9002 section 7.3.2).
    pub fn on_congestion_event(&mut self, by_mark: bool, now: Timestamp) {
        match self {
            Self::NewReno(c) => c.on_congestion_event(),
            Self::Cubic(c) => c.on_congestion_event(),
            Self::Adaptive(c) => c.cubic.on_congestion_event(),
            Self::Prague(c) => c.cubic.on_congestion_event(),
            Self::Bbr(c) => c.on_enter_recovery(by_mark, now),
        }
    }

    /// RFC 9002 section 7.6.2: down to the minimum window.
    pub fn on_persistent_congestion(&mut self) {
        match self {
            Self::NewReno(c) => c.on_persistent_congestion(),
            Self::Cubic(c) => c.on_persistent_congestion(),
            Self::Adaptive(c) => c.on_persistent_congestion(),
            Self::Prague(c) => c.cubic.on_persistent_congestion(),
            Self::Bbr(c) => c.on_persistent_congestion(),
        }
    }

    /// Every loss of the last congestion event proved spurious: back to what was before it (RFC 9438 section 4.9.2).
    pub fn on_spurious_event(&mut self) {
        match self {
            Self::NewReno(c) => c.on_spurious_event(),
            Self::Cubic(c) => c.on_spurious_event(),
            Self::Adaptive(c) => c.cubic.on_spurious_event(),
            Self::Prague(c) => c.cubic.on_spurious_event(),
            Self::Bbr(c) => c.on_spurious_event(),
        }
    }

    /// The datagram size of the path changed (RFC 9002 section 7.2).
    pub fn set_max_datagram(&mut self, max_datagram: u16) {
        match self {
            Self::NewReno(c) => c.set_max_datagram(max_datagram),
            Self::Cubic(c) => c.set_max_datagram(max_datagram),
            Self::Adaptive(c) => c.set_max_datagram(max_datagram),
            Self::Prague(c) => c.set_max_datagram(max_datagram),
            Self::Bbr(c) => c.set_max_datagram(max_datagram),
        }
    }

    /// The path went quiet: spare memory goes back.
    pub fn release(&mut self) {
        if let Self::Bbr(c) = self {
            c.release();
        }
    }
}

/// kMinimumWindow of NewReno and CUBIC. RFC 9002 section 7.2 recommends two datagrams; of these, none shows by the packet
/// threshold that the other is lost, and where much is lost both are, or the one acknowledgement that they cause: then
/// only a timer goes on, which doubles. With four, as BBR has it (BBR.MinPipeCwnd), rounds without an answer are rare.
const MINIMUM_WINDOW_DATAGRAMS: u64 = 4;

/// RFC 9002 section 7.2: ten datagrams, but not above the larger of 14720 bytes and two datagrams.
/// A configuration that asks for another number of packets gets exactly that number.
fn initial_window(max_datagram: u64, packets: u32) -> u64 {
    let asked = max_datagram.saturating_mul(u64::from(packets.max(2)));
    if packets == 10 { asked.min((max_datagram * 2).max(14_720)) } else { asked }
}
