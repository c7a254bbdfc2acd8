//! What recovery keeps per path: RTT, congestion control, pacing, ECN (RFC 9002 sections 5 and 7, RFC 9000 section 9.4).
//!
//! Lives inside `paths::Path`; packets of every packet number space that left on the path count here.
//! Invariant: `in_flight` is the sum of the sizes of outstanding in-flight packets recorded for this path.
use super::ecn::EcnState;
use super::rtt::{INITIAL_RTT, Rtt};
use crate::base::Timestamp;
use crate::base::time::nanos;
use crate::congestion::{AckSample, Algorithm, Controller, Pacer};
use core::time::Duration;

/// Packets behind the largest acknowledged one before loss (RFC 9002 section 6.1.1, kPacketThreshold).
const PACKET_THRESHOLD: u64 = 3;
/// How far spurious losses may raise it: reordering beyond this is left to the time threshold.
const MAX_PACKET_THRESHOLD: u64 = 128;
/// Eighths of an RTT added to the RTT (section 6.1.2, kTimeThreshold = 9/8), and how far spurious losses may raise them.
const TIME_THRESHOLD_EIGHTHS: u32 = 1;
const MAX_TIME_THRESHOLD_EIGHTHS: u32 = 8;

/// Settings of recovery and congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryConfig {
    pub algorithm: Algorithm,
    /// UDP payload that a path is assumed to carry at first (RFC 9000 section 14).
    pub max_datagram: u16,
    /// Initial congestion window in datagrams (RFC 9002 section 7.2).
    pub initial_window_packets: u32,
    /// RTT before any sample (section 6.2.2).
    pub initial_rtt: Duration,
    /// Mark outgoing datagrams ECT(0), or ECT(1) when the algorithm is a scalable one, while the path proves capable of it.
    pub ecn: bool,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            max_datagram: 1200,
            initial_window_packets: 10,
            initial_rtt: INITIAL_RTT,
            ecn: true,
        }
    }
}

/// Finds the recovery state of a path by its index; `None` once the path is gone.
pub trait PathLookup {
    fn recovery(&mut self, path: u8) -> Option<&mut PathRecovery>;
}

/// Recovery state of one path.
#[derive(Clone, Debug)]
pub struct PathRecovery {
    pub rtt: Rtt,
    pub cc: Controller,
    pub pacer: Pacer,
    pub ecn: EcnState,
    config: RecoveryConfig,
    max_datagram: u16,
    in_flight: u64,
    /// congestion_recovery_start_time (RFC 9002 appendix B.2).
    recovery_start: Option<Timestamp>,
    /// Packets of the current recovery period counted as lost and not yet proved spurious.
    period_losses: u32,
    /// One packet may leave despite a full window (section 7.3.2).
    extra_packet: bool,
    /// Last time that the window left no room for a datagram.
    window_full_at: Option<Timestamp>,
    last_activity: Timestamp,
    packet_threshold: u64,
    time_threshold_eighths: u32,
    congestion_events: u64,
}

impl PathRecovery {
    #[must_use]
    pub fn new(config: &RecoveryConfig, now: Timestamp) -> Self {
        Self {
            rtt: Rtt::new(config.initial_rtt),
            cc: Controller::new(config.algorithm, config.max_datagram, config.initial_window_packets, now),
            pacer: Pacer::new(config.max_datagram, now),
            ecn: EcnState::new(config.ecn, config.algorithm.is_scalable()),
            config: *config,
            max_datagram: config.max_datagram,
            in_flight: 0,
            recovery_start: None,
            period_losses: 0,
            extra_packet: false,
            window_full_at: None,
            last_activity: now,
            packet_threshold: PACKET_THRESHOLD,
            time_threshold_eighths: TIME_THRESHOLD_EIGHTHS,
            congestion_events: 0,
        }
    }

    /// Back to the initial state: another path behind the same index, or Retry (RFC 9000 section 9.4, RFC 9002
    /// section 6.3). Packets already in flight stay counted until they are acknowledged, lost or requeued.
    pub fn reset(&mut self, now: Timestamp) {
        let in_flight = self.in_flight;
        *self = Self::new(&self.config, now);
        self.in_flight = in_flight;
    }

    /// RFC 9000 section 9.4: the peer's address changed. `rebinding`: only the port did, the path is kept.
    pub fn on_migrated(&mut self, rebinding: bool, now: Timestamp) {
        if !rebinding {
            self.reset(now);
        }
    }

    /// Bytes in flight on this path.
    #[must_use]
    pub const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes that the congestion window still admits; one datagram beyond it right after a congestion event.
    //= https://www.rfc-editor.org/rfc/rfc9002#section-7
    //# An endpoint MUST NOT send a packet if it would cause bytes_in_flight (see Appendix B.2) to be larger than the
    //# congestion window, unless the packet is sent on a PTO timer expiration (see Section 6.2) or when entering
    //# recovery (see Section 7.3.2).
    #[must_use]
    pub fn congestion_room(&self) -> u64 {
        let room = self.cc.window().saturating_sub(self.in_flight);
        if self.extra_packet { room.max(u64::from(self.max_datagram)) } else { room }
    }

    /// Bytes that the next batch may hold by congestion window and pacing: 0 when either is exhausted
    /// (then [`Pacer::deadline`] tells when to ask again, or an ACK will). Call it only with data to send.
    pub fn send_grant(&mut self, now: Timestamp, max: u64) -> u64 {
        let room = self.congestion_room();
        if room < u64::from(self.max_datagram) {
            self.window_full_at = Some(now);
        }
        let max = max.min(room);
        if max == 0 {
            return 0;
        }
        let smoothed = self.rtt.smoothed();
        self.pacer.set_queue(smoothed.saturating_sub(self.rtt.min()));
        self.pacer.grant(now, self.cc.pacing_rate(smoothed), max)
    }

    /// The part of the window that the path holds without any queue: window times shortest over smoothed RTT.
    #[must_use]
    pub fn round_trip_bytes(&self) -> u64 {
        let (min, smoothed) = (nanos(self.rtt.min()), nanos(self.rtt.smoothed()).max(1));
        // Thousandths are enough, and nothing overflows.
        (self.cc.window() / 1000).saturating_mul(min.saturating_mul(1000) / smoothed)
    }

    /// Asked for data to send, the connection had none (or none that the peer's flow control lets go): what is
    /// measured in the next round trip says nothing about the path's limits.
    pub fn on_app_limited(&mut self) {
        self.cc.on_app_limited(self.in_flight);
    }

    /// The path went quiet: spare memory goes back.
    pub(super) fn release(&mut self) {
        self.cc.release();
    }

    /// The UDP payload that the path carries now (RFC 9002 section 7.2).
    pub fn set_max_datagram(&mut self, max_datagram: u16) {
        self.max_datagram = max_datagram;
        self.cc.set_max_datagram(max_datagram);
        self.pacer.set_max_datagram(max_datagram);
    }

    /// Congestion events so far.
    #[must_use]
    pub const fn congestion_events(&self) -> u64 {
        self.congestion_events
    }

    /// When a packet sent earlier than the newest acknowledged one counts as lost (RFC 9002 section 6.1.2).
    //= https://www.rfc-editor.org/rfc/rfc9002#section-6.1.2
    //# To avoid declaring packets as lost too early, this time threshold MUST be set to at least the local timer
    //# granularity, as indicated by the kGranularity constant.
    #[must_use]
    pub fn loss_delay(&self) -> Duration {
        let rtt = self.rtt.smoothed().max(self.rtt.latest());
        (rtt + rtt / 8 * self.time_threshold_eighths).max(super::rtt::GRANULARITY)
    }

    /// What the peer should know of the next one (draft-ietf-quic-ack-frequency section 9).
    #[must_use]
    pub const fn reordering_threshold(&self) -> u64 {
        self.packet_threshold
    }

    /// Distance to the largest acknowledged packet at which a packet counts as lost (section 6.1.1).
    pub(super) const fn packet_threshold(&self) -> u64 {
        self.packet_threshold
    }

    pub(super) fn on_sent(&mut self, size: u16, ack_eliciting: bool, ect: bool, now: Timestamp) {
        if ect {
            self.ecn.on_sent();
        }
        if self.in_flight == 0 && ack_eliciting {
            self.cc.on_restart(self.last_activity, now);
        }
        self.cc.on_sent(u64::from(size), self.in_flight, self.rtt.smoothed(), now);
        self.last_activity = now;
        self.extra_packet = false;
        self.in_flight = self.in_flight.saturating_add(u64::from(size));
        if self.in_flight.saturating_add(u64::from(self.max_datagram)) > self.cc.window() {
            self.window_full_at = Some(now);
        }
    }

    /// Bytes leave flight with no verdict about the network.
    pub(super) fn on_removed(&mut self, size: u64) {
        self.in_flight = self.in_flight.saturating_sub(size);
    }

    pub(super) const fn recovery_start(&self) -> Option<Timestamp> {
        self.recovery_start
    }

    /// RFC 9002 appendix B.5: sent before or at the start of the recovery period.
    pub(super) fn in_recovery(&self, sent_at: Timestamp) -> bool {
        self.recovery_start.is_some_and(|start| sent_at <= start)
    }

    /// One ACK frame's worth of packets, before losses are looked for.
    pub(super) fn on_delivered(&mut self, bytes: u64, newest_sent_at: Timestamp, now: Timestamp) {
        self.cc.on_delivered(bytes, newest_sent_at, self.rtt.min(), now);
    }

    /// One packet counts as lost, and its loss speaks of the network.
    pub(super) fn on_packet_lost(&mut self, pn: u64, size: u16, sent_at: Timestamp, now: Timestamp) {
        self.cc.on_packet_lost(pn, u64::from(size), sent_at, now);
    }

    /// One ACK frame's worth of packets; `grow` counts the bytes of those sent after the last congestion event.
    pub(super) fn on_acked(
        &mut self,
        removed: u64,
        grow: u64,
        newest_sent_at: Timestamp,
        rtt: Option<Duration>,
        now: Timestamp,
    ) {
        let before = self.in_flight;
        self.in_flight = self.in_flight.saturating_sub(removed);
        self.last_activity = now;
        let sample = AckSample {
            bytes: grow,
            newest_sent_at,
            now,
            smoothed_rtt: self.rtt.smoothed(),
            rtt_sample: rtt,
            min_rtt: self.rtt.min(),
            app_limited: self.underused(before, newest_sent_at),
            window_limited: self.window_limited(newest_sent_at),
            in_recovery: self.in_recovery(newest_sent_at),
            in_flight: self.in_flight,
        };
        self.cc.on_ack(&sample);
    }

    /// RFC 9002 section 7.8: neither the window nor (with a window at least half used) the pacer held the sender
    /// back since the packet that is now acknowledged was sent.
    fn underused(&self, in_flight: u64, sent_at: Timestamp) -> bool {
        let pacing_limited =
            self.pacer.last_refusal().is_some_and(|at| at >= sent_at) && in_flight >= self.cc.window() / 2;
        !self.window_limited(sent_at) && !pacing_limited
    }

    fn window_limited(&self, sent_at: Timestamp) -> bool {
        self.window_full_at.is_some_and(|at| at >= sent_at)
    }

    /// An ACK covered `acked` packets marked as ECN-capable, `marked` of which had met congestion. True when that is
    /// a congestion event (RFC 9002 section 7.1).
    pub(super) fn on_marks(&mut self, acked: u64, marked: u64) -> bool {
        self.cc.on_marks(acked, marked, self.rtt.min())
    }

    /// A loss or a CE mark of a packet sent at `sent_at`; at most one reaction per round trip. True when it reacted.
    //= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.1
    //# The sender MUST exit slow start and enter a recovery period when a packet is lost or when the ECN-CE count
    //# reported by its peer increases.
    pub(super) fn on_congestion(&mut self, sent_at: Timestamp, by_mark: bool, now: Timestamp) -> bool {
        if self.in_recovery(sent_at) || (!by_mark && self.cc.tolerates_loss(self.rtt.min())) {
            return false;
        }
        self.recovery_start = Some(now);
        // A mark never turns out to be spurious: it counts as one loss that nothing takes back.
        self.period_losses = u32::from(by_mark);
        self.extra_packet = true;
        self.congestion_events = self.congestion_events.saturating_add(1);
        self.cc.on_congestion_event(by_mark, now);
        true
    }

    /// Counts losses that belong to the current recovery period, for [`Self::on_spurious`].
    pub(super) fn count_losses(&mut self, packets: u32) {
        self.period_losses = self.period_losses.saturating_add(packets);
    }

    /// RFC 9002 section 7.6.2.
    pub(super) fn on_persistent_congestion(&mut self) {
        self.cc.on_persistent_congestion();
        self.rtt.on_persistent_congestion();
        self.recovery_start = None;
        self.period_losses = 0;
    }

    /// Nothing came back for so long that packets sent at `sent_at` and later are given up.
    //= https://www.rfc-editor.org/rfc/rfc9002#section-7.6.2
    //# The persistent congestion period SHOULD NOT start until there is at least one RTT sample.
    pub(super) fn on_given_up(&mut self, sent_at: Timestamp, now: Timestamp) {
        if self.rtt.first_sample().is_some() {
            self.on_persistent_congestion();
        } else {
            self.on_congestion(sent_at, false, now);
        }
    }

    /// A packet declared lost was acknowledged after all, `distance` packets behind the largest acknowledged at the
    /// time of the verdict. Section 6.1: raise the thresholds; undo the reduction when no real loss was in it.
    pub(super) fn on_spurious(&mut self, sent_at: Timestamp, distance: u64, by_time: bool) {
        if by_time {
            self.time_threshold_eighths = (self.time_threshold_eighths + 1).min(MAX_TIME_THRESHOLD_EIGHTHS);
        } else {
            let raised = distance.saturating_add(1).min(MAX_PACKET_THRESHOLD);
            self.packet_threshold = self.packet_threshold.max(raised);
        }
        if self.in_recovery(sent_at) && self.period_losses > 0 {
            self.period_losses -= 1;
            if self.period_losses == 0 {
                self.cc.on_spurious_event();
                self.recovery_start = None;
            }
        }
    }
}
