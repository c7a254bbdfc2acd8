//! The state machine of BBR: Startup, Drain, ProbeBW and ProbeRTT (draft-ietf-ccwg-bbr section 5.3).
use super::{
    AckPhase, Bbr, DEFAULT_CWND_GAIN, DOWN_PACING_GAIN, DRAIN_PACING_GAIN, HEADROOM, INFINITE, MIN_RTT_FILTER_LEN,
    PROBE_RTT_CWND_GAIN, PROBE_RTT_DURATION, PROBE_RTT_INTERVAL, STARTUP_PACING_GAIN, State, UNITY_GAIN, UP_CWND_GAIN,
    UP_PACING_GAIN, percent,
};
use crate::base::Timestamp;
use core::time::Duration;

/// Section 5.3.1.2: growth below this (percent) is no growth, and rounds without growth until the pipe counts as full.
const FULL_BW_GROWTH: u64 = 125;
const FULL_BW_ROUNDS: u32 = 3;
/// Section 5.3.1.3, BBRStartupFullLossCnt.
const STARTUP_LOSS_RANGES: u32 = 6;
/// Section 5.3.2: Drain lasts at most so many rounds.
const DRAIN_ROUNDS: u64 = 3;
/// Section 5.3.3.8: bound of the Reno-conscious wait.
const MAX_RENO_ROUNDS: u64 = 63;
const MIN_PROBE_WAIT: Duration = Duration::from_secs(2);
/// Section 5.3.3.9: cap of the growth of the slope.
const MAX_UP_ROUNDS: u32 = 30;

impl Bbr {
    /// Gains of a state (table in section 5.6.1).
    fn enter(&mut self, state: State) {
        let (pacing, cwnd) = match state {
            State::Startup => (STARTUP_PACING_GAIN, DEFAULT_CWND_GAIN),
            State::Drain => (DRAIN_PACING_GAIN, DEFAULT_CWND_GAIN),
            State::ProbeDown => (DOWN_PACING_GAIN, DEFAULT_CWND_GAIN),
            State::ProbeCruise | State::ProbeRefill => (UNITY_GAIN, DEFAULT_CWND_GAIN),
            State::ProbeUp => (UP_PACING_GAIN, UP_CWND_GAIN),
            State::ProbeRtt => (UNITY_GAIN, PROBE_RTT_CWND_GAIN),
        };
        self.state = state;
        self.pacing_gain = pacing;
        self.cwnd_gain = cwnd;
    }

    /// IsInAProbeBWState.
    pub(super) const fn is_probing_states(&self) -> bool {
        matches!(self.state, State::ProbeDown | State::ProbeCruise | State::ProbeRefill | State::ProbeUp)
    }

    /// IsProbingBW.
    pub(super) const fn is_accelerating(&self) -> bool {
        matches!(self.state, State::Startup | State::ProbeRefill | State::ProbeUp)
    }

    /// ResetFullBW (section 5.3.1.2).
    pub(super) fn reset_full_bw(&mut self) {
        self.full_bw = 0;
        self.full_bw_count = 0;
        self.full_bw_now = false;
    }

    pub(super) fn check_full_bw_reached(&mut self) {
        if self.full_bw_now || !self.round_start || self.rs.app_limited {
            return;
        }
        if self.rs.rate >= percent(self.full_bw, FULL_BW_GROWTH) {
            self.reset_full_bw();
            self.full_bw = self.rs.rate;
            return;
        }
        self.full_bw_count += 1;
        self.full_bw_now = self.full_bw_count >= FULL_BW_ROUNDS;
        self.full_bw_reached |= self.full_bw_now;
    }

    /// CheckStartupDone (section 5.3.1.1).
    pub(super) fn check_startup_done(&mut self) {
        self.check_startup_high_loss();
        if self.state == State::Startup && self.full_bw_reached {
            self.enter_drain();
        }
    }

    fn enter_drain(&mut self) {
        self.enter(State::Drain);
        self.drain_start_round = self.round_count;
    }

    /// CheckStartupHighLoss (section 5.3.1.3): more than 2 % of a round lost, in six pieces, and the round before was
    /// lossy too (a recovery period of RFC 9002 lasts one round trip, so that is what "in recovery for a full round
    /// trip" comes to).
    fn check_startup_high_loss(&mut self) {
        if self.state != State::Startup || !self.loss_round_start {
            return;
        }
        let high =
            self.lossy_round_before && self.loss_ranges >= STARTUP_LOSS_RANGES && self.is_inflight_too_high(&self.rs);
        if high {
            self.leave_startup_for_loss();
        }
        self.lossy_round_before = self.loss_ranges > 0;
        self.loss_ranges = 0;
    }

    /// The losses (or a mark) say that the pipe is full.
    pub(super) fn leave_startup_for_loss(&mut self) {
        self.undo.state = Some(State::Startup);
        self.full_bw_reached = true;
        self.inflight_longterm = self.bdp_multiple(self.bw, UNITY_GAIN).max(self.inflight_latest);
        self.enter_drain();
    }

    /// CheckDrainDone (section 5.3.2).
    pub(super) fn check_drain_done(&mut self, now: Timestamp) {
        if self.state == State::Drain
            && (self.in_flight <= self.inflight_for(self.bw, UNITY_GAIN)
                || self.round_count > self.drain_start_round + DRAIN_ROUNDS)
        {
            self.start_down(now);
        }
    }

    /// StartProbeBW_DOWN (section 5.3.3.9).
    pub(super) fn start_down(&mut self, now: Timestamp) {
        self.reset_congestion_signals();
        self.probe_up_acked_per_inc = INFINITE;
        self.pick_probe_wait();
        self.cycle_stamp = now;
        self.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.enter(State::ProbeDown);
    }

    /// StartProbeBW_REFILL.
    pub(super) fn start_refill(&mut self) {
        self.reset_short_term_model();
        self.bw_probe_up_rounds = 0;
        self.bw_probe_up_acked = 0;
        self.prev_probe_precautionary = false;
        self.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.enter(State::ProbeRefill);
    }

    /// StartProbeBW_UP.
    fn start_up(&mut self) {
        self.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.reset_full_bw();
        self.full_bw = self.rs.rate;
        self.enter(State::ProbeUp);
        self.raise_inflight_longterm_slope();
    }

    /// UpdateProbeBWCyclePhase.
    pub(super) fn update_probe_bw_cycle_phase(&mut self, now: Timestamp) {
        if !self.full_bw_reached || self.adapt_long_term_model() {
            return;
        }
        match self.state {
            State::ProbeDown | State::ProbeCruise => {
                let probes = self.probe_if_time(now);
                if !probes && self.state == State::ProbeDown && self.is_time_to_cruise() {
                    self.enter(State::ProbeCruise);
                }
            }
            State::ProbeRefill if self.round_start => {
                self.is_bw_probe_sample = true;
                self.start_up();
            }
            State::ProbeUp => self.go_down_if_time(now),
            _ => {}
        }
    }

    fn go_down_if_time(&mut self, now: Timestamp) {
        if self.is_time_to_go_down() {
            self.prev_probe_too_high = false;
            self.start_down(now);
        }
    }

    /// IsTimeToProbeBW (section 5.3.3.8): the clock, or as often as Reno would.
    fn probe_if_time(&mut self, now: Timestamp) -> bool {
        let target = self.target_inflight() / self.max_datagram;
        let time =
            now > self.cycle_stamp + self.bw_probe_wait || self.rounds_since_probe_up >= target.min(MAX_RENO_ROUNDS);
        if time {
            self.start_refill();
        }
        time
    }

    /// PickProbeWait.
    fn pick_probe_wait(&mut self) {
        // SplitMix64's finaliser over what differs between flows.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        self.rounds_since_probe_up = z & 1;
        self.bw_probe_wait = MIN_PROBE_WAIT + Duration::from_micros((z >> 1) % 1_000_000);
    }

    /// IsTimeToCruise.
    fn is_time_to_cruise(&self) -> bool {
        self.in_flight <= self.inflight_with_headroom() && self.in_flight <= self.inflight_for(self.max_bw, UNITY_GAIN)
    }

    /// IsTimeToGoDown (sections 5.3.3.6 and 5.3.3.7).
    fn is_time_to_go_down(&mut self) -> bool {
        if self.prev_probe_too_high && self.in_flight >= self.inflight_longterm {
            self.prev_probe_precautionary = true;
            return true;
        }
        if self.cwnd_limited && self.cwnd >= self.inflight_longterm {
            self.reset_full_bw();
            self.full_bw = self.rs.rate;
            return false;
        }
        self.full_bw_now
    }

    /// InflightWithHeadroom.
    pub(super) fn inflight_with_headroom(&self) -> u64 {
        if self.inflight_longterm == INFINITE {
            return INFINITE;
        }
        let headroom = percent(self.inflight_longterm, HEADROOM).max(self.max_datagram);
        self.inflight_longterm.saturating_sub(headroom).max(self.min_pipe_cwnd())
    }

    /// RaiseInflightLongtermSlope.
    fn raise_inflight_longterm_slope(&mut self) {
        let growth = 1u64 << self.bw_probe_up_rounds.min(MAX_UP_ROUNDS);
        self.bw_probe_up_rounds = (self.bw_probe_up_rounds + 1).min(MAX_UP_ROUNDS);
        self.probe_up_acked_per_inc = (self.cwnd / growth).max(self.max_datagram);
    }

    /// ProbeInflightLongtermUpward.
    fn probe_inflight_longterm_upward(&mut self) {
        if !self.cwnd_limited || self.cwnd < self.inflight_longterm {
            return;
        }
        self.bw_probe_up_acked = self.bw_probe_up_acked.saturating_add(self.rs.newly_acked);
        if self.bw_probe_up_acked >= self.probe_up_acked_per_inc {
            let delta = self.bw_probe_up_acked / self.probe_up_acked_per_inc.max(1);
            self.bw_probe_up_acked -= delta * self.probe_up_acked_per_inc;
            self.inflight_longterm = self.inflight_longterm.saturating_add(delta.saturating_mul(self.max_datagram));
        }
        if self.round_start {
            self.raise_inflight_longterm_slope();
        }
    }

    /// AdaptLongTermModel; true when it decided a transition.
    fn adapt_long_term_model(&mut self) -> bool {
        if self.ack_phase == AckPhase::ProbeStarting && self.round_start {
            self.ack_phase = AckPhase::ProbeFeedback;
        }
        if self.ack_phase == AckPhase::ProbeStopping && self.round_start {
            self.is_bw_probe_sample = false;
            self.ack_phase = AckPhase::Init;
            if self.is_probing_states() && !self.rs.app_limited {
                self.advance_max_bw_filter();
            }
            if self.is_probing_states() && self.prev_probe_precautionary && !self.prev_probe_too_high {
                self.start_refill();
                return true;
            }
        }
        if self.inflight_longterm != INFINITE && !self.is_inflight_too_high(&self.rs) {
            self.inflight_longterm = self.inflight_longterm.max(self.rs.tx_in_flight);
            if self.state == State::ProbeUp {
                self.probe_inflight_longterm_upward();
            }
        }
        false
    }

    /// UpdateMinRTT (section 5.3.4.3).
    pub(super) fn update_min_rtt(&mut self, rtt: Option<Duration>, now: Timestamp) {
        self.probe_rtt_expired = now > self.probe_rtt_min_stamp + PROBE_RTT_INTERVAL;
        if let Some(rtt) = rtt
            && (self.probe_rtt_expired || self.probe_rtt_min_delay.is_none_or(|min| rtt < min))
        {
            self.probe_rtt_min_delay = Some(rtt);
            self.probe_rtt_min_stamp = now;
        }
        let expired = now > self.min_rtt_stamp + MIN_RTT_FILTER_LEN;
        if let Some(delay) = self.probe_rtt_min_delay
            && (expired || self.min_rtt.is_none_or(|min| delay < min))
        {
            self.min_rtt = Some(delay);
            self.min_rtt_stamp = self.probe_rtt_min_stamp;
        }
    }

    /// CheckProbeRTT.
    pub(super) fn check_probe_rtt(&mut self, now: Timestamp) {
        if self.state != State::ProbeRtt && self.probe_rtt_expired && !self.idle_restart {
            self.save_cwnd();
            self.enter(State::ProbeRtt);
            self.probe_rtt_done_stamp = None;
            self.ack_phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(now);
        }
        if self.rs.delivered > 0 {
            self.idle_restart = false;
        }
    }

    fn handle_probe_rtt(&mut self, now: Timestamp) {
        self.delivery.mark_app_limited(self.in_flight);
        if self.probe_rtt_done_stamp.is_some() {
            self.probe_rtt_round_done |= self.round_start;
            if self.probe_rtt_round_done {
                self.check_probe_rtt_done(now);
            }
        } else if self.in_flight <= self.probe_rtt_cwnd() {
            self.probe_rtt_done_stamp = Some(now + PROBE_RTT_DURATION);
            self.probe_rtt_round_done = false;
            self.start_round();
        }
    }

    pub(super) fn check_probe_rtt_done(&mut self, now: Timestamp) {
        if self.probe_rtt_done_stamp.is_some_and(|done| now > done) {
            self.probe_rtt_min_stamp = now;
            self.restore_cwnd();
            self.exit_probe_rtt(now);
        }
    }

    /// ExitProbeRTT (section 5.3.4.4).
    fn exit_probe_rtt(&mut self, now: Timestamp) {
        self.reset_short_term_model();
        if self.full_bw_reached {
            self.start_down(now);
            self.enter(State::ProbeCruise);
        } else {
            self.enter(State::Startup);
        }
    }

    /// HandleSpuriousLossDetection (section 5.5.11.2).
    pub(in crate::congestion) fn on_spurious_event(&mut self) {
        self.restore_cwnd();
        self.in_recovery = false;
        self.forget_losses();
        self.reset_full_bw();
        self.bw_shortterm = self.bw_shortterm.max(self.undo.bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(self.undo.inflight_shortterm);
        self.inflight_longterm = self.inflight_longterm.max(self.undo.inflight_longterm);
        match self.undo.state.take() {
            Some(State::Startup) if self.state != State::Startup => {
                self.full_bw_reached = false;
                if self.state != State::ProbeRtt {
                    self.enter(State::Startup);
                }
            }
            Some(State::ProbeUp) if !matches!(self.state, State::ProbeUp | State::ProbeRtt) => self.start_refill(),
            _ => {}
        }
    }
}
