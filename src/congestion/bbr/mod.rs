//! BBR version 3 (draft-ietf-ccwg-bbr; section numbers below are that draft's).
//!
//! Here: the state, what recovery tells it, and the control parameters (section 5.6). `states` holds the state machine
//! (5.3), `model` the path model (5.5). All of it runs once per ACK frame and per lost packet, never per packet
//! acknowledged. Invariant: the window is at least two datagrams, and four outside persistent congestion.
mod model;
mod states;
#[cfg(test)]
mod tests;

use super::adaptive::RoundRtt;
use super::delivery::{Delivery, RateSample, rate, volume};
use super::{AckSample, MIN_DATAGRAM, initial_window};
use crate::base::Timestamp;
use core::time::Duration;

/// Section 2.8: per-round-trip loss tolerated while probing, in percent.
const LOSS_THRESH: u64 = 2;
/// BBR.Beta, in tenths.
const BETA: u64 = 7;
/// BBR.Headroom in percent.
const HEADROOM: u64 = 15;
/// Gains in percent (sections 2.5, 2.6, 2.16 and the table of 5.6.1).
const STARTUP_PACING_GAIN: u64 = 277;
const DRAIN_PACING_GAIN: u64 = 50;
const DOWN_PACING_GAIN: u64 = 90;
const UP_PACING_GAIN: u64 = 125;
const UNITY_GAIN: u64 = 100;
const DEFAULT_CWND_GAIN: u64 = 200;
const UP_CWND_GAIN: u64 = 225;
const PROBE_RTT_CWND_GAIN: u64 = 50;
/// BBR.PacingMarginPercent.
const PACING_MARGIN: u64 = 1;
/// BBR.MinPipeCwnd in datagrams.
const MIN_PIPE_DATAGRAMS: u64 = 4;
/// Section 5.6.3: largest send quantum.
const MAX_QUANTUM: u64 = 65_535;
const MIN_RTT_FILTER_LEN: Duration = Duration::from_secs(10);
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
/// Before any RTT sample the initial window counts as one of these (InitPacingRate).
const NOMINAL_RTT: Duration = Duration::from_millis(1);
/// "Infinity" of the draft.
const INFINITE: u64 = u64::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Startup,
    Drain,
    ProbeDown,
    ProbeCruise,
    ProbeRefill,
    ProbeUp,
    ProbeRtt,
}

/// BBR.ack_phase (section 2.14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// What to restore when a loss episode proves spurious (section 5.5.11.1).
#[derive(Clone, Copy, Debug)]
struct Undo {
    state: Option<State>,
    bw_shortterm: u64,
    inflight_shortterm: u64,
    inflight_longterm: u64,
}

/// State of the controller; rates in bytes per second, volumes in bytes, gains in percent.
#[derive(Clone, Debug)]
pub struct Bbr {
    delivery: Delivery,
    /// The sample of the ACK that is being processed.
    rs: RateSample,
    // Control parameters (section 2.4).
    cwnd: u64,
    pacing_rate: u64,
    prior_cwnd: u64,
    pacing_gain: u64,
    cwnd_gain: u64,
    max_datagram: u64,
    initial_packets: u32,
    in_flight: u64,
    cwnd_limited: bool,
    has_rtt: bool,
    in_recovery: bool,
    // State machine (sections 2.7 and 2.14).
    state: State,
    round_count: u64,
    round_start: bool,
    next_round_delivered: u64,
    idle_restart: bool,
    drain_start_round: u64,
    ack_phase: AckPhase,
    is_bw_probe_sample: bool,
    prev_probe_too_high: bool,
    prev_probe_precautionary: bool,
    bw_probe_up_acked: u64,
    probe_up_acked_per_inc: u64,
    bw_probe_up_rounds: u32,
    rounds_since_probe_up: u64,
    bw_probe_wait: Duration,
    cycle_stamp: Timestamp,
    // Startup (section 2.13).
    full_bw_reached: bool,
    full_bw_now: bool,
    full_bw: u64,
    full_bw_count: u32,
    // Model: rates (sections 2.9.1 and 2.11).
    bw_filter: [u64; 2],
    max_bw: u64,
    bw: u64,
    bw_shortterm: u64,
    bw_latest: u64,
    // Model: volumes (sections 2.9.2 and 2.12).
    inflight_longterm: u64,
    inflight_shortterm: u64,
    inflight_latest: u64,
    extra_acked: [u64; 2],
    extra_acked_rounds: u64,
    extra_acked_since: Timestamp,
    extra_acked_delivered: u64,
    // Whether losses may be chance (model.rs).
    rounds: RoundRtt,
    queue_shows: bool,
    // Loss (section 2.10).
    loss_in_round: bool,
    /// Bytes of those losses, and whether a mark was among them.
    lost_in_round: u64,
    mark_in_round: bool,
    loss_round_start: bool,
    loss_round_delivered: u64,
    loss_ranges: u32,
    last_lost_pn: u64,
    /// The round before this one lost packets too.
    lossy_round_before: bool,
    undo: Undo,
    undo_saved: bool,
    // Round-trip time (section 2.16).
    min_rtt: Option<Duration>,
    min_rtt_stamp: Timestamp,
    probe_rtt_min_delay: Option<Duration>,
    probe_rtt_min_stamp: Timestamp,
    probe_rtt_expired: bool,
    probe_rtt_done_stamp: Option<Timestamp>,
    probe_rtt_round_done: bool,
    /// For PickProbeWait; flows only have to differ, nobody must be unable to guess.
    random: u64,
}

impl Bbr {
    /// OnInit (section 5.2.1).
    pub(super) fn new(max_datagram: u16, initial_packets: u32, now: Timestamp) -> Self {
        let max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        let cwnd = initial_window(max_datagram, initial_packets);
        Self {
            delivery: Delivery::default(),
            rs: RateSample::default(),
            cwnd,
            pacing_rate: rate(cwnd, NOMINAL_RTT) * STARTUP_PACING_GAIN / 100,
            prior_cwnd: 0,
            pacing_gain: STARTUP_PACING_GAIN,
            cwnd_gain: DEFAULT_CWND_GAIN,
            max_datagram,
            initial_packets,
            in_flight: 0,
            cwnd_limited: false,
            has_rtt: false,
            in_recovery: false,
            state: State::Startup,
            round_count: 0,
            round_start: false,
            next_round_delivered: 0,
            idle_restart: false,
            drain_start_round: 0,
            ack_phase: AckPhase::Init,
            is_bw_probe_sample: false,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            bw_probe_up_acked: 0,
            probe_up_acked_per_inc: INFINITE,
            bw_probe_up_rounds: 0,
            rounds_since_probe_up: 0,
            bw_probe_wait: Duration::ZERO,
            cycle_stamp: now,
            full_bw_reached: false,
            full_bw_now: false,
            full_bw: 0,
            full_bw_count: 0,
            bw_filter: [0; 2],
            max_bw: 0,
            bw: 0,
            bw_shortterm: INFINITE,
            bw_latest: 0,
            inflight_longterm: INFINITE,
            inflight_shortterm: INFINITE,
            inflight_latest: 0,
            extra_acked: [0; 2],
            extra_acked_rounds: 0,
            extra_acked_since: now,
            extra_acked_delivered: 0,
            rounds: RoundRtt::new(),
            queue_shows: false,
            loss_in_round: false,
            lost_in_round: 0,
            mark_in_round: false,
            loss_round_start: false,
            loss_round_delivered: 0,
            loss_ranges: 0,
            last_lost_pn: u64::MAX,
            lossy_round_before: false,
            undo: Undo { state: None, bw_shortterm: 0, inflight_shortterm: 0, inflight_longterm: 0 },
            undo_saved: false,
            min_rtt: None,
            min_rtt_stamp: now,
            probe_rtt_min_delay: None,
            probe_rtt_min_stamp: now,
            probe_rtt_expired: false,
            probe_rtt_done_stamp: None,
            probe_rtt_round_done: false,
            random: now.as_nanos() | 1,
        }
    }

    pub(super) const fn window(&self) -> u64 {
        self.cwnd
    }

    /// BBR has no threshold; "never reached" until the pipe was full once, for logs and statistics.
    pub(super) const fn ssthresh(&self) -> u64 {
        if self.full_bw_reached { 0 } else { INFINITE }
    }

    pub(super) const fn pacing_rate(&self) -> u64 {
        self.pacing_rate
    }

    /// A packet leaves; `in_flight` is without it (sections 4.1.2.2 and 5.2.2).
    pub(super) fn on_sent(&mut self, size: u64, in_flight: u64, smoothed_rtt: Duration, now: Timestamp) {
        if in_flight == 0 && self.delivery.is_app_limited() {
            self.restart_from_idle(now);
        }
        self.in_flight = in_flight.saturating_add(size);
        self.delivery.on_sent(size, in_flight, smoothed_rtt, now);
    }

    /// HandleRestartFromIdle (section 5.4.1).
    fn restart_from_idle(&mut self, now: Timestamp) {
        self.idle_restart = true;
        self.extra_acked_since = now;
        if self.is_probing_states() {
            self.set_pacing_rate_with(UNITY_GAIN);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }

    /// The application (or its peer's flow control) left room in the window unused (section 4.1.2.4).
    pub(super) fn on_app_limited(&mut self, in_flight: u64) {
        if in_flight < self.cwnd {
            self.delivery.mark_app_limited(in_flight);
        }
    }

    /// First step of an ACK: what was delivered, before losses are looked for.
    pub(super) fn on_delivered(&mut self, bytes: u64, newest_sent_at: Timestamp, min_rtt: Duration, now: Timestamp) {
        self.rs = self.delivery.on_acked(bytes, newest_sent_at, min_rtt, now);
    }

    /// Last step of an ACK: UpdateModelAndState and UpdateControlParameters (section 5.2.3).
    pub(super) fn on_ack(&mut self, sample: &AckSample) {
        self.in_flight = sample.in_flight;
        self.cwnd_limited = sample.window_limited;
        self.random ^= sample.now.as_nanos().rotate_left(17) ^ self.delivery.delivered;
        if !sample.in_recovery {
            self.undo_saved = false;
            if core::mem::take(&mut self.in_recovery) {
                // Section 5.6.4.4: the last known good window; the model bounds it below.
                self.restore_cwnd();
            }
        }
        if let Some(rtt) = sample.rtt_sample.filter(|_| !self.has_rtt) {
            self.has_rtt = true;
            // Section 5.6.2: the initial rate, now that there is a round-trip time.
            self.pacing_rate = rate(self.cwnd, rtt.max(Duration::from_micros(1))) / 100 * STARTUP_PACING_GAIN;
        }
        self.rounds.on_ack(sample.rtt_sample, sample.newest_sent_at, sample.now);
        self.queue_shows = self.rounds.queue_shows(sample.min_rtt);
        self.update_model_and_state(sample.rtt_sample, sample.now);
        self.set_pacing_rate_with(self.pacing_gain);
        self.set_cwnd();
        self.rs = RateSample::default();
    }

    fn update_model_and_state(&mut self, rtt: Option<Duration>, now: Timestamp) {
        self.update_latest_delivery_signals();
        self.update_congestion_signals();
        self.update_ack_aggregation(now);
        self.check_full_bw_reached();
        self.check_startup_done();
        self.check_drain_done(now);
        self.update_probe_bw_cycle_phase(now);
        self.update_min_rtt(rtt, now);
        self.check_probe_rtt(now);
        self.advance_latest_delivery_signals();
        // BoundBWForModel.
        self.bw = self.max_bw.min(self.bw_shortterm);
    }

    /// A loss episode begins (section 5.6.4.4, OnEnterFastRecovery), by loss or by a CE mark.
    pub(super) fn on_enter_recovery(&mut self, by_mark: bool, now: Timestamp) {
        self.save_cwnd();
        self.in_recovery = true;
        if by_mark {
            self.on_mark(now);
        }
    }

    /// Section 5.6.4.4, OnEnterRTO, with the minimum of RFC 9002 section 7.6.2. What the path carried before says
    /// nothing now: the old window does not come back.
    pub(super) fn on_persistent_congestion(&mut self) {
        self.save_state_upon_loss();
        self.cwnd = self.max_datagram * 2;
        self.prior_cwnd = 0;
        self.in_recovery = false;
        self.reset_full_bw();
    }

    /// Spare memory goes back.
    pub(super) fn release(&mut self) {
        self.delivery.release();
    }

    pub(super) fn set_max_datagram(&mut self, max_datagram: u16) {
        let untouched = self.cwnd == initial_window(self.max_datagram, self.initial_packets) && !self.has_rtt;
        self.max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        if untouched {
            self.cwnd = initial_window(self.max_datagram, self.initial_packets);
        }
        self.cwnd = self.cwnd.max(self.max_datagram * 2);
    }

    fn min_pipe_cwnd(&self) -> u64 {
        self.max_datagram * MIN_PIPE_DATAGRAMS
    }

    /// SetPacingRateWithGain (section 5.6.2).
    fn set_pacing_rate_with(&mut self, gain: u64) {
        let rate = percent(percent(self.bw, gain), 100 - PACING_MARGIN);
        if rate > 0 && (self.full_bw_reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// Sections 5.6.3 and 5.5.8.2: what the pacer grants at a time, and so what waits in sender and receiver.
    fn offload_budget(&self) -> u64 {
        volume(self.pacing_rate, Duration::from_millis(1)).min(MAX_QUANTUM).max(2 * self.max_datagram)
    }

    /// BDPMultiple (section 5.6.4.2).
    fn bdp_multiple(&self, bw: u64, gain: u64) -> u64 {
        match self.min_rtt {
            None => initial_window(self.max_datagram, self.initial_packets),
            Some(min_rtt) => percent(volume(bw, min_rtt), gain),
        }
    }

    /// QuantizationBudget.
    fn quantized(&self, cap: u64) -> u64 {
        let cap = cap.max(self.offload_budget()).max(self.min_pipe_cwnd());
        if self.state == State::ProbeUp { cap.saturating_add(2 * self.max_datagram) } else { cap }
    }

    /// Inflight.
    fn inflight_for(&self, bw: u64, gain: u64) -> u64 {
        self.quantized(self.bdp_multiple(bw, gain))
    }

    /// SetCwnd (section 5.6.4.6).
    fn set_cwnd(&mut self) {
        let extra = self.extra_acked.iter().copied().max().unwrap_or(0);
        let max_inflight = self.quantized(self.bdp_multiple(self.bw, self.cwnd_gain).saturating_add(extra));
        let grown = self.cwnd.saturating_add(self.rs.newly_acked);
        let initial = initial_window(self.max_datagram, self.initial_packets);
        if self.full_bw_reached {
            self.cwnd = grown.min(max_inflight);
        } else if self.cwnd < max_inflight || self.delivery.delivered < initial {
            self.cwnd = grown;
        }
        self.cwnd = self.cwnd.max(self.min_pipe_cwnd());
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        // BoundCwndForModel (section 5.6.4.7).
        let cap = match self.state {
            State::ProbeDown | State::ProbeRefill | State::ProbeUp => self.inflight_longterm,
            State::ProbeRtt | State::ProbeCruise => self.inflight_with_headroom(),
            State::Startup | State::Drain => INFINITE,
        };
        self.cwnd = self.cwnd.min(cap.min(self.inflight_shortterm).max(self.min_pipe_cwnd()));
    }

    fn probe_rtt_cwnd(&self) -> u64 {
        self.bdp_multiple(self.bw, PROBE_RTT_CWND_GAIN).max(self.min_pipe_cwnd())
    }

    /// SaveCwnd (section 5.6.4.4).
    fn save_cwnd(&mut self) {
        let keep = if self.in_recovery || self.state == State::ProbeRtt { self.prior_cwnd } else { 0 };
        self.prior_cwnd = self.cwnd.max(keep);
    }

    fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }
}

fn percent(value: u64, of_hundred: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(of_hundred) / 100).unwrap_or(u64::MAX)
}
