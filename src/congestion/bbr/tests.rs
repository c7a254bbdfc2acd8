//! BBR against a modelled path: one bottleneck with a queue, packets one by one, every figure known exactly.
use super::*;
use std::collections::{BTreeMap, VecDeque};

const SIZE: u64 = 1200;
const MS: u64 = 1_000_000;

fn at(ms: u64) -> Timestamp {
    Timestamp(1_000 * MS + ms * MS)
}

struct Packet {
    pn: u64,
    sent_at: Timestamp,
    arrives: Timestamp,
    lost: bool,
}

/// A sender that always has data (unless told otherwise) on a path of `rate` bytes per second.
struct Path {
    bbr: Bbr,
    rate: u64,
    rtt: Duration,
    queue: u64,
    /// Every so many packets one is lost; 0: none.
    lose_every: u64,
    now: Timestamp,
    busy_until: Timestamp,
    next_send: Timestamp,
    flying: VecDeque<Packet>,
    in_flight: u64,
    pn: u64,
    recovery_start: Option<Timestamp>,
    full_at: Option<Timestamp>,
    has_data: bool,
    delivered: u64,
    /// Milliseconds spent in each state, and the largest volume in flight seen in it.
    seen: BTreeMap<&'static str, (u64, u64)>,
}

const fn name(state: State) -> &'static str {
    match state {
        State::Startup => "startup",
        State::Drain => "drain",
        State::ProbeDown => "down",
        State::ProbeCruise => "cruise",
        State::ProbeRefill => "refill",
        State::ProbeUp => "up",
        State::ProbeRtt => "rtt",
    }
}

impl Path {
    /// 12 MB/s and 20 ms: a product of 240 kB, and a queue as large.
    fn new() -> Self {
        Self {
            bbr: Bbr::new(SIZE as u16, 10, at(0)),
            rate: 12_000_000,
            rtt: Duration::from_millis(20),
            queue: 240_000,
            lose_every: 0,
            now: at(0),
            busy_until: at(0),
            next_send: at(0),
            flying: VecDeque::new(),
            in_flight: 0,
            pn: 0,
            recovery_start: None,
            full_at: None,
            has_data: true,
            delivered: 0,
            seen: BTreeMap::new(),
        }
    }

    fn bdp(&self) -> u64 {
        volume(self.rate, self.rtt)
    }

    fn send(&mut self) {
        if !self.has_data {
            self.bbr.on_app_limited(self.in_flight);
            return;
        }
        while self.next_send <= self.now {
            if self.in_flight + SIZE > self.bbr.window() {
                self.full_at = Some(self.now);
                return;
            }
            self.bbr.on_sent(SIZE, self.in_flight, self.rtt, self.now);
            self.in_flight += SIZE;
            let waiting = volume(self.rate, self.busy_until.since(self.now));
            let overflow = waiting + SIZE > self.queue;
            if !overflow {
                self.busy_until =
                    self.busy_until.max(self.now) + Duration::from_nanos(SIZE * 1_000_000_000 / self.rate);
            }
            let unlucky = self.lose_every > 0 && self.pn % self.lose_every == self.lose_every - 1;
            let arrives = self.busy_until.max(self.now) + self.rtt;
            self.flying.push_back(Packet { pn: self.pn, sent_at: self.now, arrives, lost: overflow || unlucky });
            self.pn += 1;
            let gap = Duration::from_nanos(SIZE * 1_000_000_000 / self.bbr.pacing_rate().max(1));
            self.next_send = self.next_send.max(self.now - Duration::from_millis(1)) + gap;
        }
    }

    /// So many packets sent ten milliseconds ago count as lost.
    fn lose_some(&mut self, count: u64) {
        let (pn, sent) = (self.pn, self.now - Duration::from_millis(10));
        for i in 0..count {
            self.bbr.on_packet_lost(pn + 2 * i, SIZE, sent, self.now);
        }
        self.bbr.on_enter_recovery(false, self.now);
    }

    fn acknowledge(&mut self) {
        let (mut bytes, mut newest, mut losses) = (0, None, Vec::new());
        while self.flying.front().is_some_and(|p| p.arrives <= self.now) {
            let Some(p) = self.flying.pop_front() else { break };
            self.in_flight -= SIZE;
            if p.lost {
                losses.push(p);
            } else {
                bytes += SIZE;
                newest = Some(p.sent_at);
            }
        }
        let Some(newest) = newest else {
            for p in losses {
                self.bbr.on_packet_lost(p.pn, SIZE, p.sent_at, self.now);
            }
            return;
        };
        self.delivered += bytes;
        self.bbr.on_delivered(bytes, newest, self.rtt, self.now);
        for p in losses {
            self.bbr.on_packet_lost(p.pn, SIZE, p.sent_at, self.now);
            if self.recovery_start.is_none_or(|start| p.sent_at > start) {
                self.recovery_start = Some(self.now);
                self.bbr.on_enter_recovery(false, self.now);
            }
        }
        let limited = self.full_at.is_some_and(|full| full >= newest);
        self.bbr.on_ack(&AckSample {
            bytes,
            newest_sent_at: newest,
            now: self.now,
            smoothed_rtt: self.rtt,
            rtt_sample: Some(self.now.since(newest)),
            min_rtt: self.rtt,
            app_limited: !limited,
            window_limited: limited,
            in_recovery: self.recovery_start.is_some_and(|start| newest <= start),
            in_flight: self.in_flight,
        });
    }

    /// In steps of a quarter of a millisecond.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms * 4 {
            self.now = self.now + Duration::from_micros(250);
            self.acknowledge();
            self.send();
            let seen = self.seen.entry(name(self.bbr.state)).or_default();
            *seen = (seen.0 + 1, seen.1.max(self.in_flight));
        }
    }

    /// Until the state is `wanted`.
    fn reach(&mut self, wanted: State) {
        for _ in 0..20_000 {
            if self.bbr.state == wanted {
                return;
            }
            self.run(1);
        }
        panic!("never in {wanted:?}");
    }

    fn throughput(&mut self, ms: u64) -> f64 {
        let before = self.delivered;
        self.run(ms);
        (self.delivered - before) as f64 / (self.rate * ms / 1000) as f64
    }
}

#[test]
fn startup_finds_the_bandwidth_and_drain_empties_the_queue() {
    let mut p = Path::new();
    p.reach(State::Drain);
    assert!(p.now < at(400), "exponential search: {:?}", p.now);
    assert!(p.bbr.full_bw_reached);
    p.reach(State::ProbeCruise);
    assert!(p.bbr.max_bw.abs_diff(p.rate) < p.rate / 25, "{} of {}", p.bbr.max_bw, p.rate);
    assert!(p.bbr.min_rtt.unwrap() < Duration::from_micros(20_700));
    assert!(p.in_flight <= p.bdp() * 11 / 10, "{} in flight, product {}", p.in_flight, p.bdp());
    assert!(p.throughput(1000) > 0.95);
}

#[test]
fn the_cycle_visits_every_state_and_probe_rtt_keeps_its_appointments() {
    let mut p = Path::new();
    p.run(11_000);
    for state in ["startup", "drain", "down", "cruise", "refill", "up", "rtt"] {
        assert!(p.seen.contains_key(state), "never in {state}: {:?}", p.seen);
    }
    // Section 5.3.4.2: two visits in eleven seconds, about 200 ms each.
    let in_probe_rtt = p.seen["rtt"].0 / 4;
    assert!((380..700).contains(&in_probe_rtt), "{in_probe_rtt} ms in ProbeRTT");
    // Section 5.3.3.5: probing raises what is in flight by a quarter.
    assert!(p.seen["up"].1 >= p.bdp() * 115 / 100, "{:?}", p.seen);
    assert!(p.throughput(4000) > 0.93);
}

#[test]
fn probe_rtt_halves_what_is_in_flight_and_gives_the_window_back() {
    let mut p = Path::new();
    p.run(3000);
    p.reach(State::ProbeRtt);
    p.run(150);
    assert!(p.in_flight <= p.bdp() * 55 / 100, "{} of {}", p.in_flight, p.bdp());
    p.reach(State::ProbeCruise);
    p.run(1);
    assert!(p.bbr.window() >= p.bdp() * 17 / 10, "{} of {}", p.bbr.window(), p.bdp());
}

#[test]
fn one_percent_of_random_loss_is_survived_and_five_percent_set_a_ceiling() {
    let mut p = Path::new();
    p.lose_every = 100;
    p.run(2000);
    let share = p.throughput(6000);
    assert!(share > 0.75, "{share:.2} of the path at 1 %");
    let mut p = Path::new();
    p.lose_every = 20;
    p.run(8000);
    assert!(p.bbr.inflight_longterm < p.bdp() * 3, "the losses of a probe bound it: {}", p.bbr.inflight_longterm);
    assert!(p.bbr.prev_probe_too_high || p.bbr.prev_probe_precautionary);
}

#[test]
fn high_loss_ends_startup() {
    // So much bandwidth that no plateau is near: a tenth is lost.
    let mut p = Path::new();
    (p.rate, p.queue, p.lose_every) = (1_200_000_000, 24_000_000, 10);
    p.reach(State::Drain);
    assert_ne!(p.bbr.inflight_longterm, INFINITE, "section 5.3.1.3: the safe volume is remembered");
    assert!(p.bbr.max_bw < p.rate / 2);
}

#[test]
fn a_shallow_queue_is_filled_without_much_loss() {
    let mut p = Path::new();
    p.queue = 30_000;
    p.run(1000);
    let lost_until_now = p.bbr.delivery.lost;
    p.run(3000);
    let share = (p.bbr.delivery.lost - lost_until_now) as f64 / p.delivered as f64;
    assert!(share < 0.02, "{share:.3} lost in the steady state");
    assert!(p.throughput(3000) > 0.85);
}

#[test]
fn an_idle_application_neither_ends_startup_nor_lowers_the_model() {
    let mut p = Path::new();
    // A burst, then nothing: the pipe was never full.
    for _ in 0..20 {
        p.has_data = true;
        p.run(1);
        p.has_data = false;
        p.run(60);
    }
    assert_eq!(p.bbr.state, State::Startup);
    let mut p = Path::new();
    p.run(1500);
    let (bw, window) = (p.bbr.max_bw, p.bbr.window());
    for _ in 0..30 {
        p.has_data = true;
        p.run(1);
        p.has_data = false;
        p.run(99);
    }
    assert!(p.bbr.max_bw >= bw * 9 / 10, "{} was {bw}", p.bbr.max_bw);
    // Section 5.4.1: the window stays, and sending begins again at the estimated bandwidth.
    assert!(p.bbr.window() >= window / 2);
    p.has_data = true;
    p.send();
    assert!(p.bbr.idle_restart);
    assert!(p.bbr.pacing_rate().abs_diff(p.bbr.bw) <= p.bbr.bw / 50);
}

#[test]
fn less_bandwidth_is_noticed_within_two_cycles_and_more_within_a_few_probes() {
    let mut p = Path::new();
    p.run(2000);
    p.rate = 6_000_000;
    p.run(8000);
    assert!(p.bbr.max_bw < 7_000_000, "{}", p.bbr.max_bw);
    p.rate = 24_000_000;
    p.queue = 480_000;
    p.run(8000);
    assert!(p.bbr.max_bw > 20_000_000, "{}", p.bbr.max_bw);
}

#[test]
fn losses_outside_a_probe_lower_the_short_term_model_by_what_was_delivered() {
    let mut p = Path::new();
    // The second cycle: Startup's losses are behind.
    p.reach(State::ProbeUp);
    p.reach(State::ProbeCruise);
    p.run(50);
    assert_eq!(p.bbr.bw_shortterm, INFINITE);
    // One loss at an empty queue may be chance.
    p.lose_some(1);
    p.run(50);
    assert_eq!(p.bbr.bw_shortterm, INFINITE);
    // A round with many of them: down to what is delivered, not to a fixed part.
    p.lose_some(12);
    p.run(50);
    assert!(p.bbr.bw_shortterm >= p.rate * 9 / 10, "{}", p.bbr.bw_shortterm);
    assert!(p.bbr.bw_shortterm <= p.bbr.max_bw);
    // Section 5.3.3.3: the next refill forgets it.
    p.reach(State::ProbeRefill);
    assert_eq!(p.bbr.bw_shortterm, INFINITE);
}

#[test]
fn losses_at_a_queue_and_marks_lower_the_short_term_model() {
    for mark in [false, true] {
        let mut p = Path::new();
        p.reach(State::ProbeUp);
        p.reach(State::ProbeCruise);
        p.run(50);
        if mark {
            p.bbr.on_enter_recovery(true, p.now);
        } else {
            // Somebody else keeps the queue filled.
            for ms in 0..120 {
                p.busy_until = p.busy_until.max(p.now + Duration::from_millis(12));
                p.run(1);
                if ms == 70 {
                    assert!(p.bbr.queue_shows);
                    p.lose_some(1);
                }
            }
        }
        p.run(25);
        assert!(p.bbr.bw_shortterm < INFINITE, "mark {mark}");
    }
}

#[test]
fn a_mark_is_congestion() {
    let mut p = Path::new();
    p.run(60);
    assert_eq!(p.bbr.state, State::Startup);
    p.bbr.on_enter_recovery(true, p.now);
    assert_eq!(p.bbr.state, State::Drain, "section 3.7");
    let mut p = Path::new();
    p.reach(State::ProbeUp);
    p.run(30);
    p.bbr.on_enter_recovery(true, p.now);
    assert_eq!(p.bbr.state, State::ProbeDown);
    assert!(p.bbr.prev_probe_too_high);
}

#[test]
fn persistent_congestion_takes_the_window_and_does_not_give_it_back() {
    let mut p = Path::new();
    p.run(2000);
    p.bbr.on_enter_recovery(false, p.now);
    p.bbr.on_persistent_congestion();
    assert_eq!(p.bbr.window(), 2 * SIZE, "RFC 9002 section 7.6.2");
    let window = p.bbr.window();
    p.bbr.on_delivered(SIZE, p.now - p.rtt, p.rtt, p.now);
    let (newest, now) = (p.now - p.rtt, p.now);
    p.bbr.on_ack(&AckSample {
        bytes: SIZE,
        newest_sent_at: newest,
        now,
        smoothed_rtt: p.rtt,
        rtt_sample: None,
        min_rtt: p.rtt,
        app_limited: false,
        window_limited: true,
        in_recovery: false,
        in_flight: SIZE,
    });
    assert!(p.bbr.window() <= (window + SIZE).max(4 * SIZE), "{}", p.bbr.window());
}

#[test]
fn a_spurious_episode_is_undone() {
    let mut p = Path::new();
    p.reach(State::ProbeUp);
    p.run(30);
    let before = (p.bbr.inflight_longterm, p.bbr.bw_shortterm);
    // Enough losses to end the probe.
    for i in 0..40 {
        p.bbr.on_packet_lost(p.pn + i, SIZE, p.now - Duration::from_millis(5), p.now);
    }
    p.bbr.on_enter_recovery(false, p.now);
    assert_eq!(p.bbr.state, State::ProbeDown);
    assert_ne!(p.bbr.inflight_longterm, before.0);
    p.bbr.on_spurious_event();
    assert_eq!(p.bbr.state, State::ProbeRefill, "section 5.5.11.2: the probe begins again");
    assert_eq!((p.bbr.inflight_longterm, p.bbr.bw_shortterm), before);
}

#[test]
fn snapshots_stay_few_whatever_is_sent() {
    let mut p = Path::new();
    p.rate = 1_250_000_000;
    p.queue = 25_000_000;
    p.run(300);
    assert!(p.pn > 5000);
    assert!(p.bbr.delivery.snapshot_count() <= 128);
    p.has_data = false;
    p.run(200);
    p.bbr.release();
    assert_eq!(p.bbr.delivery.snapshot_count(), 0);
}
