//! Loss by packet and time threshold, persistent congestion, spurious losses (RFC 9002 sections 6.1 and 7.6).
//!
//! Each sweep starts at the oldest outstanding packet and ends at the first that is not lost yet, so its work is
//! proportional to the losses. Invariant: after a sweep `loss_time` is set exactly when a packet older than the
//! largest acknowledged one is still in flight.
use super::path::{PathLookup, PathRecovery};
use super::space::{Record, Space};
use super::token::SentSink;
use crate::base::Timestamp;
use crate::collections::Visit;
use core::ops::RangeInclusive;
use core::time::Duration;

/// Lost packets remembered to notice spurious losses; beyond it the oldest count as truly lost.
const MAX_REMEMBERED: usize = 64;
/// RFC 9002 section 7.6.1, kPersistentCongestionThreshold.
const PERSISTENT_CONGESTION_THRESHOLD: u32 = 3;
/// Paths that one sweep reports losses of to their controllers; further ones only lose bytes in flight.
const PATHS_PER_SWEEP: usize = 4;

/// A packet recently declared lost.
#[derive(Clone, Copy)]
pub(super) struct LostPacket {
    pub pn: u64,
    sent_at: Timestamp,
    forget_at: Timestamp,
    path: u8,
    by_time: bool,
}

/// Consecutive losses with nothing acknowledged in between (RFC 9002 section 7.6.2).
#[derive(Clone, Copy)]
pub(super) struct CongestedRun {
    path: u8,
    first_sent_at: Timestamp,
    /// The number that continues the run.
    next: u64,
}

/// What a sweep found.
#[derive(Clone, Copy, Default)]
pub(super) struct Losses {
    pub packets: u32,
    pub congestion_event: bool,
    pub persistent_congestion: bool,
    pub ecn_failed: bool,
}

/// Thresholds of one path, read once per run of packets.
#[derive(Clone, Copy)]
struct Limits {
    path: u8,
    packet_threshold: u64,
    loss_delay: Duration,
    congested_after: Duration,
    remember_for: Duration,
    first_sample: Option<Timestamp>,
}

impl Limits {
    fn of(index: u8, path: Option<&mut PathRecovery>, max_ack_delay: Duration) -> Self {
        let Some(path) = path else {
            // The path is gone: nothing on it can still arrive.
            return Self {
                path: index,
                packet_threshold: 0,
                loss_delay: Duration::ZERO,
                congested_after: Duration::MAX,
                remember_for: Duration::ZERO,
                first_sample: None,
            };
        };
        let pto = path.rtt.pto(max_ack_delay);
        Self {
            path: index,
            packet_threshold: path.packet_threshold(),
            loss_delay: path.loss_delay(),
            congested_after: pto.saturating_mul(PERSISTENT_CONGESTION_THRESHOLD),
            remember_for: pto,
            first_sample: path.rtt.first_sample(),
        }
    }
}

/// Losses of one path in one sweep.
#[derive(Clone, Copy)]
struct PathLoss {
    path: u8,
    bytes: u64,
    /// Packets whose loss speaks of congestion, and when the newest of them was sent.
    packets: u32,
    newest_sent_at: Timestamp,
    persistent: bool,
}

#[derive(Default)]
struct Report {
    paths: [Option<PathLoss>; PATHS_PER_SWEEP],
}

impl Report {
    /// The entry of `path`; `None` when too many paths lost packets at once.
    fn entry(&mut self, path: u8) -> Option<&mut PathLoss> {
        let slot = self.paths.iter_mut().find(|s| s.as_ref().is_none_or(|loss| loss.path == path))?;
        let fresh = PathLoss { path, bytes: 0, packets: 0, newest_sent_at: Timestamp::ZERO, persistent: false };
        Some(slot.get_or_insert(fresh))
    }
}

impl Space {
    /// RFC 9002 appendix A.10 and B.8.
    //= https://www.rfc-editor.org/rfc/rfc9002#section-7.4
    //# Endpoints MUST NOT ignore the loss of packets that were sent after the earliest acknowledged packet in a given
    //# packet number space.
    pub(super) fn detect_losses(
        &mut self,
        now: Timestamp,
        max_ack_delay: Duration,
        paths: &mut impl PathLookup,
        sink: &mut impl SentSink,
    ) -> Losses {
        self.loss_time = None;
        let mut losses = Losses::default();
        let Some(largest) = self.largest_acked else { return losses };
        if self.sent.first_key().is_none_or(|first| first > largest) {
            self.settle();
            return losses;
        }
        let mut report = Report::default();
        // The map is taken out while its records are judged against the rest of the space.
        let mut sent = core::mem::take(&mut self.sent);
        let mut limits: Option<Limits> = None;
        sent.visit(0..=largest, |pn, record, tokens| {
            let limits = match limits {
                Some(l) if l.path == record.path => l,
                _ => *limits.insert(Limits::of(record.path, paths.recovery(record.path), max_ack_delay)),
            };
            // Numbers left out on purpose are no sign of reordering.
            let distance = (largest - pn).saturating_sub(self.skipped_in(pn, largest));
            let by_distance = distance >= limits.packet_threshold;
            let lost_at = record.sent_at + limits.loss_delay;
            if !by_distance && lost_at > now {
                if !record.in_flight() {
                    return Visit::Keep;
                }
                self.loss_time = Some(self.loss_time.map_or(lost_at, |t| t.min(lost_at)));
                // Whatever follows on the same path is younger and nearer.
                return if pn >= self.one_path_since { Visit::Stop } else { Visit::Keep };
            }
            self.on_run(pn, record, &limits, &mut report);
            if record.in_flight() {
                losses.packets += 1;
                self.eliciting -= u32::from(record.ack_eliciting());
                self.remember(pn, record, &limits, !by_distance, now);
                match report.entry(record.path) {
                    Some(loss) => loss.add(record),
                    None => {
                        if let Some(path) = paths.recovery(record.path) {
                            path.on_removed(u64::from(record.size));
                        }
                    }
                }
                if !record.mtu_probe()
                    && let Some(path) = paths.recovery(record.path)
                {
                    path.on_packet_lost(pn, record.size, record.sent_at, now);
                }
                if record.ect() {
                    losses.ecn_failed |= paths.recovery(record.path).is_some_and(|p| p.ecn.on_lost());
                }
                sink.lost(self.id, pn, &record.packet(), tokens);
            } else {
                self.ack_only -= 1;
            }
            Visit::Remove
        });
        self.sent = sent;
        self.settle();
        for loss in report.paths.iter().flatten() {
            if let Some(path) = paths.recovery(loss.path) {
                loss.tell(path, &mut losses, now);
            }
        }
        losses
    }

    /// Follows runs of losses without an acknowledged packet between them.
    fn on_run(&mut self, pn: u64, record: &Record, limits: &Limits, report: &mut Report) {
        let mut run = self.congested.take();
        if let Some(run) = &mut run {
            while run.next < pn && self.was_skipped(run.next) {
                run.next += 1;
            }
        }
        let mut run = run.filter(|run| run.next == pn);
        // Only ack-eliciting packets mark the ends, sent after the first RTT sample; MTU probes prove nothing.
        //= https://www.rfc-editor.org/rfc/rfc9002#section-7.6.2
        //# These two packets MUST be ack-eliciting, since a receiver is required to acknowledge only ack-eliciting
        //# packets within its maximum acknowledgment delay; see Section 13.2 of [QUIC-TRANSPORT].
        if record.ack_eliciting()
            && !record.mtu_probe()
            && limits.first_sample.is_some_and(|sample| record.sent_at > sample)
        {
            match run {
                Some(run) if run.path == record.path => {
                    if record.sent_at.since(run.first_sent_at) > limits.congested_after
                        && let Some(loss) = report.entry(record.path)
                    {
                        loss.persistent = true;
                    }
                }
                _ => run = Some(CongestedRun { path: record.path, first_sent_at: record.sent_at, next: pn }),
            }
        }
        self.congested = run.map(|run| CongestedRun { next: pn + 1, ..run });
    }

    fn remember(&mut self, pn: u64, record: &Record, limits: &Limits, by_time: bool, now: Timestamp) {
        while self.lost.front().is_some_and(|l| l.forget_at <= now) || self.lost.len() >= MAX_REMEMBERED {
            self.lost.pop_front();
        }
        self.lost.push_back(LostPacket {
            pn,
            sent_at: record.sent_at,
            forget_at: now + limits.remember_for,
            path: record.path,
            by_time,
        });
    }

    /// Packets of `range` that were declared lost arrived after all. Returns how many.
    pub(super) fn on_lost_acked(
        &mut self,
        range: &RangeInclusive<u64>,
        now: Timestamp,
        paths: &mut impl PathLookup,
    ) -> u32 {
        let largest = self.largest_acked.unwrap_or(0);
        let mut found = 0;
        self.lost.retain(|lost| {
            if lost.forget_at <= now {
                return false;
            }
            if !range.contains(&lost.pn) {
                return true;
            }
            found += 1;
            if let Some(path) = paths.recovery(lost.path) {
                path.on_spurious(lost.sent_at, largest.saturating_sub(lost.pn), lost.by_time);
            }
            false
        });
        found
    }
}

impl PathLoss {
    fn add(&mut self, record: &Record) {
        self.bytes += u64::from(record.size);
        // RFC 9000 section 14.4: the loss of an MTU probe is no sign of congestion.
        if !record.mtu_probe() {
            self.packets += 1;
            self.newest_sent_at = self.newest_sent_at.max(record.sent_at);
        }
    }

    fn tell(&self, path: &mut PathRecovery, losses: &mut Losses, now: Timestamp) {
        path.on_removed(self.bytes);
        if self.packets > 0 {
            //= https://www.rfc-editor.org/rfc/rfc9000#section-13.3
            //# Upon detecting losses, a sender MUST take appropriate congestion control action.
            losses.congestion_event |= path.on_congestion(self.newest_sent_at, false, now);
            path.count_losses(self.packets);
        }
        if self.persistent {
            path.on_persistent_congestion();
            losses.persistent_congestion = true;
        }
    }
}
