//! BBR's model of the path: bandwidth, aggregation, and what losses say (draft-ietf-ccwg-bbr section 5.5).
use super::super::delivery::RateSample;
use super::{BETA, Bbr, INFINITE, LOSS_THRESH, State, Undo, volume};
use crate::base::Timestamp;

/// Section 5.5.9: rounds that the aggregation filter looks back, in two halves; one round in Startup.
const EXTRA_ACKED_HALF: u64 = 5;

impl Bbr {
    /// StartRound (section 5.5.1).
    pub(super) fn start_round(&mut self) {
        self.next_round_delivered = self.delivery.delivered;
    }

    fn update_round(&mut self) {
        self.round_start = self.rs.newly_acked > 0 && self.rs.prior_delivered >= self.next_round_delivered;
        if self.round_start {
            self.start_round();
            self.round_count += 1;
            self.rounds_since_probe_up += 1;
        }
    }

    /// UpdateMaxBw (section 5.5.5); the filter spans two ProbeBW cycles.
    fn update_max_bw(&mut self) {
        self.update_round();
        if self.rs.rate > 0 && (self.rs.rate >= self.max_bw || !self.rs.app_limited) {
            let [_, current] = &mut self.bw_filter;
            *current = (*current).max(self.rs.rate);
            self.max_bw = self.bw_filter.iter().copied().max().unwrap_or(0);
        }
    }

    /// AdvanceMaxBwFilter (section 5.5.6). A cycle without a sample does not push the old ones out.
    pub(super) fn advance_max_bw_filter(&mut self) {
        let [previous, current] = &mut self.bw_filter;
        if *current > 0 {
            *previous = core::mem::take(current);
            self.max_bw = *previous;
        }
    }

    /// UpdateLatestDeliverySignals (section 5.5.10.3).
    pub(super) fn update_latest_delivery_signals(&mut self) {
        self.bw_latest = self.bw_latest.max(self.rs.rate);
        self.inflight_latest = self.inflight_latest.max(self.rs.delivered);
        self.loss_round_start = self.rs.newly_acked > 0 && self.rs.prior_delivered >= self.loss_round_delivered;
        if self.loss_round_start {
            self.loss_round_delivered = self.delivery.delivered;
        }
    }

    pub(super) fn advance_latest_delivery_signals(&mut self) {
        if self.loss_round_start {
            self.bw_latest = self.rs.rate;
            self.inflight_latest = self.rs.delivered;
        }
    }

    /// A round is judged, or what it met no longer counts.
    pub(super) fn forget_losses(&mut self) {
        self.loss_in_round = false;
        self.lost_in_round = 0;
        self.mark_in_round = false;
    }

    pub(super) fn reset_congestion_signals(&mut self) {
        self.forget_losses();
        self.bw_latest = 0;
        self.inflight_latest = 0;
    }

    pub(super) fn update_congestion_signals(&mut self) {
        self.update_max_bw();
        if !self.loss_round_start {
            return;
        }
        self.adapt_lower_bounds();
        self.forget_losses();
    }

    /// AdaptLowerBoundsFromCongestion, InitLowerBounds and LossLowerBounds. Unlike the draft's, they leave a round alone
    /// whose losses stay within LossThresh while no queue shows: every round of a path with random loss has some, and
    /// each took the bounds down by that and the pacing margin for seconds, until the next probe.
    fn adapt_lower_bounds(&mut self) {
        if self.is_accelerating() || !self.loss_in_round {
            return;
        }
        let may_be_chance = !self.queue_shows && !self.mark_in_round;
        if may_be_chance && self.lost_in_round <= self.tolerated_loss(self.rs.tx_in_flight) {
            return;
        }
        if self.bw_shortterm == INFINITE {
            self.bw_shortterm = self.max_bw;
        }
        if self.inflight_shortterm == INFINITE {
            self.inflight_shortterm = self.cwnd;
        }
        self.bw_shortterm = self.bw_latest.max(self.bw_shortterm / 10 * BETA);
        self.inflight_shortterm = self.inflight_latest.max(self.inflight_shortterm / 10 * BETA);
    }

    pub(super) fn reset_short_term_model(&mut self) {
        self.bw_shortterm = INFINITE;
        self.inflight_shortterm = INFINITE;
    }

    /// UpdateACKAggregation (section 5.5.9).
    pub(super) fn update_ack_aggregation(&mut self, now: Timestamp) {
        let mut expected = volume(self.bw, now.since(self.extra_acked_since));
        if self.extra_acked_delivered <= expected {
            self.extra_acked_delivered = 0;
            self.extra_acked_since = now;
            expected = 0;
        }
        self.extra_acked_delivered = self.extra_acked_delivered.saturating_add(self.rs.newly_acked);
        let extra = self.extra_acked_delivered.saturating_sub(expected).min(self.cwnd);
        if self.round_start {
            self.extra_acked_rounds += 1;
            let half = if self.full_bw_reached { EXTRA_ACKED_HALF } else { 1 };
            if self.extra_acked_rounds >= half {
                self.extra_acked_rounds = 0;
                let [previous, current] = &mut self.extra_acked;
                *previous = core::mem::take(current);
            }
        }
        let [_, current] = &mut self.extra_acked;
        *current = (*current).max(extra);
    }

    /// TargetInflight (section 5.3.3.8).
    pub(super) fn target_inflight(&self) -> u64 {
        self.bdp_multiple(self.bw, super::UNITY_GAIN).min(self.cwnd)
    }

    /// IsInflightTooHigh (section 5.5.10.2); a QUIC sender always has selective acknowledgements.
    pub(super) fn is_inflight_too_high(&self, rs: &RateSample) -> bool {
        rs.lost > self.tolerated_loss(rs.tx_in_flight)
    }

    /// LossThresh of `in_flight`. The draft's rate means little in a round of some hundred packets: at half of it one
    /// round in thirty is above. So as long as no queue shows, two standard deviations of that many losses come on top.
    pub(super) fn tolerated_loss(&self, in_flight: u64) -> u64 {
        let expected = super::percent(in_flight, LOSS_THRESH);
        let chance = if self.queue_shows { 0 } else { 2 * expected.saturating_mul(self.max_datagram).isqrt() };
        expected.saturating_add(chance)
    }

    /// SaveStateUponLoss (section 5.5.11.1).
    pub(super) fn save_state_upon_loss(&mut self) {
        self.save_cwnd();
        self.undo = Undo {
            state: None,
            bw_shortterm: self.bw_shortterm,
            inflight_shortterm: self.inflight_shortterm,
            inflight_longterm: self.inflight_longterm,
        };
    }

    /// NoteLoss.
    fn note_loss(&mut self) {
        if !self.loss_in_round {
            self.loss_round_delivered = self.delivery.delivered;
        }
        // Once per episode: the reaction to its first losses may clear `loss_in_round`, and what was saved must be
        // the state before that reaction.
        if !self.undo_saved {
            self.save_state_upon_loss();
            self.undo_saved = true;
        }
        self.loss_in_round = true;
    }

    /// HandleLostPacket (section 5.5.10.2).
    pub(in crate::congestion) fn on_packet_lost(&mut self, pn: u64, size: u64, sent_at: Timestamp, now: Timestamp) {
        self.note_loss();
        self.lost_in_round = self.lost_in_round.saturating_add(size);
        // Losses that are neighbours count as one piece (section 5.3.1.3).
        if self.last_lost_pn.wrapping_add(1) != pn {
            self.loss_ranges = self.loss_ranges.saturating_add(1);
        }
        self.last_lost_pn = pn;
        let Some(mut rs) = self.delivery.on_lost(size, sent_at) else { return };
        if !self.is_bw_probe_sample || !self.is_inflight_too_high(&rs) {
            return;
        }
        rs.tx_in_flight = inflight_at_loss(&rs, size);
        self.handle_inflight_too_high(&rs, now);
    }

    /// Section 3.7: CE marks MUST be treated as congestion. They come once per round trip to here.
    pub(super) fn on_mark(&mut self, now: Timestamp) {
        self.note_loss();
        self.mark_in_round = true;
        if self.state == State::Startup {
            self.leave_startup_for_loss();
        } else if self.is_bw_probe_sample {
            let rs = self.rs;
            self.handle_inflight_too_high(&rs, now);
        }
    }

    fn handle_inflight_too_high(&mut self, rs: &RateSample, now: Timestamp) {
        self.prev_probe_too_high = true;
        self.is_bw_probe_sample = false;
        if !rs.app_limited {
            self.inflight_longterm = rs.tx_in_flight.max(self.target_inflight() / 10 * BETA);
        }
        if self.state == State::ProbeUp {
            self.undo.state = Some(State::ProbeUp);
            self.start_down(now);
        }
    }
}

/// InflightAtLoss: at what volume in flight losses crossed the threshold.
fn inflight_at_loss(rs: &RateSample, size: u64) -> u64 {
    let before = rs.tx_in_flight.saturating_sub(size);
    let lost_before = rs.lost.saturating_sub(size);
    let prefix = super::percent(before, LOSS_THRESH).saturating_sub(lost_before) * 100 / (100 - LOSS_THRESH);
    before.saturating_add(prefix)
}
