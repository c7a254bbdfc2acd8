//! Delivery rate samples of one path (draft-ietf-ccwg-bbr section 4.1).
//!
//! What the draft keeps per packet is kept per batch (section 4.1.3.1 recommends it): all packets of a batch left at the
//! same time, so their records find the snapshot by that time and grow by nothing. Invariant: at most [`MAX_SNAPSHOTS`]
//! snapshots, in the order of sending; a batch that gets none of its own shares the one before, which makes its sample
//! longer but not wrong.
use crate::base::Timestamp;
use core::time::Duration;
use std::collections::VecDeque;

/// Snapshots held: four round trips of them at [`PER_ROUND`] per round trip.
const MAX_SNAPSHOTS: usize = 128;
/// Batches closer together than this fraction of a round trip share a snapshot.
const PER_ROUND: u32 = 32;

/// P.* of section 4.1.2.1.2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    sent_at: Timestamp,
    first_sent_at: Timestamp,
    delivered_at: Timestamp,
    delivered: u64,
    lost: u64,
    tx_in_flight: u64,
    app_limited: bool,
}

/// RS of section 4.1.2.1.3; `Default` is a sample without anything in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateSample {
    /// Bytes per second, 0 when this ACK gave no reliable rate.
    pub rate: u64,
    /// Delivered over the sampled interval.
    pub delivered: u64,
    /// C.delivered when the newest acknowledged packet was sent.
    pub prior_delivered: u64,
    pub app_limited: bool,
    /// C.inflight when it was sent, and what was lost since.
    pub tx_in_flight: u64,
    pub lost: u64,
    pub newly_acked: u64,
}

/// C.* of section 4.1.2.1.1.
#[derive(Clone, Debug, Default)]
pub(super) struct Delivery {
    pub delivered: u64,
    pub lost: u64,
    delivered_at: Timestamp,
    first_sent_at: Timestamp,
    /// C.app_limited: the amount delivered at which the bubble has left the pipe.
    app_limited_until: u64,
    snapshots: VecDeque<Snapshot>,
}

impl Delivery {
    /// OnPacketSent (section 4.1.2.2); `in_flight` is what was in flight before.
    pub fn on_sent(&mut self, size: u64, in_flight: u64, smoothed_rtt: Duration, now: Timestamp) {
        let tx_in_flight = in_flight.saturating_add(size);
        if in_flight == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
            self.snapshots.clear();
        }
        let app_limited = self.app_limited_until != 0;
        if let Some(last) = self.snapshots.back_mut() {
            let same = last.sent_at == now || now < last.sent_at + smoothed_rtt / PER_ROUND;
            if same && last.app_limited == app_limited {
                last.tx_in_flight = tx_in_flight;
                return;
            }
        }
        if self.snapshots.len() >= MAX_SNAPSHOTS {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(Snapshot {
            sent_at: now,
            first_sent_at: self.first_sent_at,
            delivered_at: self.delivered_at,
            delivered: self.delivered,
            lost: self.lost,
            tx_in_flight,
            app_limited,
        });
    }

    /// The newest snapshot that is not younger than a packet sent at `sent_at`.
    fn find(&self, sent_at: Timestamp) -> Option<&Snapshot> {
        let after = self.snapshots.partition_point(|s| s.sent_at <= sent_at);
        self.snapshots.get(after.checked_sub(1)?)
    }

    /// UpdateRateSample and GenerateRateSample (section 4.1.2.3) for one ACK frame: `bytes` of packets of which the
    /// newest was sent at `newest_sent_at`.
    pub fn on_acked(&mut self, bytes: u64, newest_sent_at: Timestamp, min_rtt: Duration, now: Timestamp) -> RateSample {
        self.delivered = self.delivered.saturating_add(bytes);
        self.delivered_at = now;
        if self.app_limited_until != 0 && self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let mut sample = RateSample { newly_acked: bytes, ..RateSample::default() };
        let Some(snapshot) = self.find(newest_sent_at).copied() else { return sample };
        self.first_sent_at = self.first_sent_at.max(newest_sent_at);
        sample.prior_delivered = snapshot.delivered;
        sample.app_limited = snapshot.app_limited;
        sample.tx_in_flight = snapshot.tx_in_flight;
        sample.lost = self.lost.saturating_sub(snapshot.lost);
        sample.delivered = self.delivered.saturating_sub(snapshot.delivered);
        // The longer of the two: neither ACK compression nor a burst of ours may look like bandwidth.
        let send_elapsed = newest_sent_at.since(snapshot.first_sent_at);
        let interval = now.since(snapshot.delivered_at).max(send_elapsed);
        if interval >= min_rtt && !interval.is_zero() {
            sample.rate = rate(sample.delivered, interval);
        }
        sample
    }

    /// A packet sent at `sent_at` counts as lost: C.inflight when it left, what was lost since, and whether it was
    /// application-limited. `None` when it is too old for us to know.
    pub fn on_lost(&mut self, size: u64, sent_at: Timestamp) -> Option<RateSample> {
        self.lost = self.lost.saturating_add(size);
        let lost = self.lost;
        let snapshot = self.find(sent_at)?;
        Some(RateSample {
            tx_in_flight: snapshot.tx_in_flight,
            lost: lost.saturating_sub(snapshot.lost),
            app_limited: snapshot.app_limited,
            ..RateSample::default()
        })
    }

    /// MarkConnectionAppLimited (section 4.1.2.4).
    pub fn mark_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = self.delivered.saturating_add(in_flight).max(1);
    }

    pub const fn is_app_limited(&self) -> bool {
        self.app_limited_until != 0
    }

    #[cfg(test)]
    pub fn snapshot_count(&self) -> usize {
        self.snapshots.len()
    }

    /// Nothing is in flight and nothing was for a while: memory goes back.
    pub fn release(&mut self) {
        self.snapshots = VecDeque::new();
    }
}

/// Bytes per second.
pub(super) fn rate(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// Bytes that `rate` gives in `time`.
pub(super) fn volume(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}
