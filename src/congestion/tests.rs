//! Controllers against the formulas of their RFCs, and the pacer against a stop watch.
use super::hystart::{Growth, HyStart};
use super::pacer::window_rate;
use super::*;

const MS: u64 = 1_000_000;
const SEGMENT: u64 = 1200;

fn at(ms: u64) -> Timestamp {
    Timestamp(ms * MS)
}

fn ack(bytes: u64, now: Timestamp, rtt: Duration) -> AckSample {
    AckSample {
        bytes,
        newest_sent_at: now - rtt,
        now,
        smoothed_rtt: rtt,
        rtt_sample: Some(rtt),
        min_rtt: rtt,
        app_limited: false,
        window_limited: true,
        in_recovery: false,
        in_flight: bytes,
    }
}

#[test]
fn initial_window_follows_section_7_2() {
    for (datagram, expected) in [(1200, 12_000), (1472, 14_720), (1500, 14_720), (9000, 18_000)] {
        for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
            assert_eq!(Controller::new(algorithm, datagram, 10, Timestamp::ZERO).window(), expected, "{datagram}");
        }
    }
    assert_eq!(Controller::new(Algorithm::Cubic, 1200, 32, Timestamp::ZERO).window(), 38_400);
}

#[test]
fn a_larger_datagram_recomputes_an_untouched_window_only() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let mut fresh = Controller::new(algorithm, 1200, 10, Timestamp::ZERO);
        fresh.set_max_datagram(1472);
        assert_eq!(fresh.window(), 14_720);
        let mut used = Controller::new(algorithm, 1200, 10, Timestamp::ZERO);
        used.on_ack(&ack(1200, at(10), Duration::from_millis(10)));
        used.set_max_datagram(1472);
        assert_eq!(used.window(), 13_200);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.2
//= type=test
//# On entering a recovery period, a sender MUST set the slow start threshold to half the value of the congestion window
//# when loss is detected.
//= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.2
//= type=test
//# The congestion window MUST be set to the reduced value of the slow start threshold before exiting the recovery
//# period.
//= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.3
//= type=test
//# A sender in congestion avoidance uses an Additive Increase Multiplicative Decrease (AIMD) approach that MUST limit
//# the increase to the congestion window to at most one maximum datagram size for each congestion window that is
//# acknowledged.
#[test]
fn newreno_grows_and_halves() {
    let mut c = Controller::new(Algorithm::NewReno, 1200, 10, Timestamp::ZERO);
    let rtt = Duration::from_millis(50);
    c.on_ack(&ack(12_000, at(50), rtt));
    assert_eq!(c.window(), 24_000, "slow start: by the bytes acknowledged");
    c.on_ack(&AckSample { app_limited: true, ..ack(12_000, at(60), rtt) });
    assert_eq!(c.window(), 24_000, "section 7.8");
    c.on_congestion_event(false, Timestamp::ZERO);
    assert_eq!((c.window(), c.ssthresh()), (12_000, 12_000));
    c.on_ack(&ack(11_999, at(100), rtt));
    assert_eq!(c.window(), 12_000);
    c.on_ack(&ack(1, at(100), rtt));
    assert_eq!(c.window(), 13_200, "one datagram per window");
    c.on_spurious_event();
    assert_eq!((c.window(), c.ssthresh()), (24_000, u64::MAX));
    for _ in 0..10 {
        c.on_congestion_event(false, Timestamp::ZERO);
    }
    assert_eq!(c.window(), 4800, "never below four datagrams");
    let mut c = Controller::new(Algorithm::NewReno, 1200, 10, Timestamp::ZERO);
    c.on_congestion_event(false, Timestamp::ZERO);
    c.on_persistent_congestion();
    assert_eq!((c.window(), c.ssthresh()), (4800, 6000));
    c.on_ack(&ack(12_000, at(200), rtt));
    assert_eq!(c.window(), 6000, "slow start ends at the threshold");
}

/// A cubic controller with `segments` of window and no slow start left.
fn reduced(segments: u32) -> Controller {
    let mut c = Controller::new(Algorithm::Cubic, 1200, segments, Timestamp::ZERO);
    c.on_congestion_event(false, Timestamp::ZERO);
    c
}

/// Acknowledges a full window per round trip in ten ACKs each; returns (seconds since start, segments) per ACK.
fn run(c: &mut Controller, start_ms: u64, rtt_ms: u64, rounds: u64) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let rtt = Duration::from_millis(rtt_ms);
    for round in 0..rounds {
        let window = c.window();
        for part in 0..10 {
            let now = at(start_ms + round * rtt_ms) + rtt * part / 10;
            c.on_ack(&ack(window / 10, now, rtt));
            let t = now.since(at(start_ms)).as_secs_f64();
            points.push((t, c.window() as f64 / SEGMENT as f64));
        }
    }
    points
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-7
//= type=test
//# If a sender uses a different controller than that specified in this document, the chosen controller MUST conform to
//# the congestion control guidelines specified in Section 3.1 of [RFC8085].
#[test]
fn cubic_follows_its_curve() {
    // 1000 segments, 200 ms: far outside the Reno-friendly region.
    let mut c = reduced(1000);
    assert_eq!(c.window(), 700 * SEGMENT, "RFC 9438 section 4.6: beta is 0.7");
    let k = (300.0f64 / 0.4).cbrt();
    let points = run(&mut c, 1000, 200, 100);
    let curve = |t: f64| 0.4 * (t - k).powi(3) + 1000.0;
    for (t, segments) in points.iter().skip(10) {
        // The window moves toward W_cubic(t + RTT) within the round trip.
        let (low, high) = (curve(t - 0.2), curve(t + 0.2));
        let slack = 0.01 * segments;
        assert!(
            (low - slack..=high + slack).contains(segments),
            "at {t:.1} s: {segments:.1} not in {low:.1}..{high:.1}"
        );
    }
    let at_k = points.iter().find(|(t, _)| *t >= k).map(|(_, s)| *s).expect("ran past K");
    assert!((at_k - 1000.0).abs() < 5.0, "plateau at W_max: {at_k}");
    assert!(points.last().is_some_and(|(_, s)| *s > 1300.0), "convex region");
}

#[test]
fn cubic_growth_is_bounded_by_half_a_window_per_round() {
    let mut c = reduced(100);
    run(&mut c, 0, 100, 1);
    // A long stall: the curve is far above, the window may only follow by half per round.
    let before = c.window();
    run(&mut c, 60_000, 100, 1);
    assert!(c.window() <= before * 17 / 10, "{before} -> {}", c.window());
    assert!(c.window() > before * 13 / 10, "{before} -> {}", c.window());
}

#[test]
fn cubic_is_reno_friendly_on_short_paths() {
    // 20 segments at 2 ms: K is 2.5 s, Reno's line is far steeper. alpha = 9/17 per round below the old window.
    let mut c = reduced(20);
    let points = run(&mut c, 0, 2, 11);
    let end = points.last().map_or(0.0, |p| p.1);
    let expected = 14.0 + 11.0 * 9.0 / 17.0;
    assert!((end - expected).abs() < 0.5, "{end} against {expected}");
    // Past the old window of 20 segments alpha is 1.
    let points = run(&mut c, 22, 2, 10);
    let growth = points.last().map_or(0.0, |p| p.1) - end;
    assert!((7.0..=10.5).contains(&growth), "{growth}");
}

#[test]
fn cubic_converges_fast_and_undoes_spurious_events() {
    let mut c = reduced(1000);
    // Reduced again below W_max: section 4.7 forgets part of it, so the plateau is at 700 * 0.85.
    c.on_congestion_event(false, Timestamp::ZERO);
    assert_eq!(c.window(), 490 * SEGMENT);
    let k = ((595.0f64 - 490.0) / 0.4).cbrt();
    let points = run(&mut c, 0, 200, 60);
    let at_k = points.iter().find(|(t, _)| *t >= k).map(|(_, s)| *s).expect("ran past K");
    assert!((at_k - 595.0).abs() < 4.0, "{at_k}");

    let mut c = reduced(1000);
    run(&mut c, 0, 200, 5);
    let (window, threshold) = (c.window(), c.ssthresh());
    c.on_congestion_event(false, Timestamp::ZERO);
    assert!(c.window() < window);
    c.on_spurious_event();
    assert_eq!((c.window(), c.ssthresh()), (window, threshold));
    c.on_spurious_event();
    assert_eq!(c.window(), window, "undone once");
}

#[test]
fn cubic_time_stands_still_without_growth() {
    let (mut steady, mut paused, mut idle) = (reduced(1000), reduced(1000), reduced(1000));
    run(&mut steady, 0, 200, 10);
    run(&mut paused, 0, 200, 10);
    run(&mut idle, 0, 200, 10);
    let rtt = Duration::from_millis(200);
    // Ten seconds of application-limited ACKs, or of silence, must not move the curve.
    for i in 0..100 {
        paused.on_ack(&AckSample { app_limited: true, ..ack(1200, at(2000 + i * 100), rtt) });
    }
    idle.on_restart(at(1980), at(11_980));
    let reference = run(&mut steady, 2000, 200, 5).last().map_or(0.0, |p| p.1);
    for c in [&mut paused, &mut idle] {
        let end = run(c, 12_000, 200, 5).last().map_or(0.0, |p| p.1);
        assert!((end - reference).abs() < 0.02 * reference, "{end} against {reference}");
    }
}

#[test]
fn cubic_after_persistent_congestion_starts_small() {
    let mut c = reduced(100);
    c.on_persistent_congestion();
    assert_eq!((c.window(), c.ssthresh()), (4 * SEGMENT, 70 * SEGMENT));
    let rtt = Duration::from_millis(20);
    c.on_ack(&ack(4 * SEGMENT, at(20), rtt));
    assert_eq!(c.window(), 8 * SEGMENT, "standard slow start, no HyStart++ (RFC 9406 section 4.3)");
}

/// One round of slow start with `samples` ACKs of the given RTT; returns whether slow start ended.
fn round(h: &mut HyStart, start: &mut u64, rtt_ms: u64, samples: u64, grown: &mut u64) -> bool {
    let mut over = false;
    let begin = *start;
    for i in 0..samples {
        // Sent within the last round, acknowledged one RTT later.
        let sent = at(begin) + Duration::from_micros(i * 10);
        let now = at(begin + rtt_ms) + Duration::from_micros(i * 10);
        match h.on_ack(1000, sent, Some(Duration::from_millis(rtt_ms)), now) {
            Growth::By(b) => *grown += b,
            Growth::ByAndLeave(b) => {
                *grown += b;
                over = true;
            }
        }
        *start = begin + rtt_ms;
    }
    *start += 1;
    over
}

#[test]
fn hystart_leaves_when_the_delay_grows() {
    let (mut h, mut start, mut grown) = (HyStart::new(), 1, 0);
    for _ in 0..3 {
        assert!(!round(&mut h, &mut start, 40, 10, &mut grown));
    }
    assert_eq!(grown, 30_000, "no growth is lost while the delay is flat");
    assert!(!h.in_css());
    // 40 ms / 8 = 5 ms of tolerance.
    assert!(!round(&mut h, &mut start, 44, 10, &mut grown));
    assert!(!h.in_css());
    assert!(!round(&mut h, &mut start, 50, 10, &mut grown));
    assert!(h.in_css());
    grown = 0;
    let mut rounds = 0;
    while !round(&mut h, &mut start, 52, 10, &mut grown) {
        rounds += 1;
        assert!(rounds < 10, "CSS ends");
    }
    assert_eq!(rounds, 4, "the fifth round boundary ends it");
    assert!(grown <= 5 * 10 * 250, "a quarter of the growth: {grown}");
}

#[test]
fn hystart_resumes_when_the_delay_falls() {
    let (mut h, mut start, mut grown) = (HyStart::new(), 1, 0);
    round(&mut h, &mut start, 40, 10, &mut grown);
    round(&mut h, &mut start, 60, 10, &mut grown);
    assert!(h.in_css());
    round(&mut h, &mut start, 45, 10, &mut grown);
    assert!(!h.in_css());
}

#[test]
fn hystart_needs_eight_samples() {
    let (mut h, mut start, mut grown) = (HyStart::new(), 1, 0);
    round(&mut h, &mut start, 40, 10, &mut grown);
    round(&mut h, &mut start, 100, 7, &mut grown);
    assert!(!h.in_css());
}

/// Sends as fast as the pacer lets; returns bytes, the shortest wait and the largest grant.
fn drive(p: &mut Pacer, window: u64, slow_start: bool, rtt: Duration, time: Duration) -> (u64, Duration, u64) {
    let (mut now, mut sent, mut shortest, mut largest) = (Timestamp::ZERO, 0u64, Duration::MAX, 0);
    while now.0 < time.as_nanos() as u64 {
        let grant = p.grant(now, window_rate(window, slow_start, rtt), u64::MAX);
        if grant == 0 {
            let deadline = p.deadline().expect("a refusal comes with a time");
            assert!(deadline > now);
            shortest = shortest.min(deadline.since(now));
            now = deadline;
        } else {
            largest = largest.max(grant);
            // Whole datagrams, as a sender would.
            let bytes = (grant / SEGMENT).max(1) * SEGMENT;
            p.charge(bytes, now);
            sent += bytes;
        }
    }
    (sent, shortest, largest)
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-7.7
//= type=test
//# Senders MUST either use pacing or limit such bursts.
#[test]
fn pacer_keeps_the_rate_at_every_scale() {
    // (window in segments, RTT in us)
    for (segments, rtt_us) in [(10u64, 100_000u64), (100, 20_000), (1000, 50_000), (4000, 20_000), (40_000, 10_000)] {
        for slow_start in [false, true] {
            let (window, rtt) = (segments * SEGMENT, Duration::from_micros(rtt_us));
            let mut p = Pacer::new(1200, Timestamp::ZERO);
            let (sent, shortest, largest) = drive(&mut p, window, slow_start, rtt, Duration::from_secs(2));
            let gain = if slow_start { 2.0 } else { 1.25 };
            let expected = 2.0 * gain * window as f64 / rtt.as_secs_f64();
            let burst = (10 * SEGMENT) as f64 + 0.004 * expected;
            assert!((sent as f64) >= expected * 0.98, "{segments}/{rtt_us}: {sent} of {expected}");
            assert!((sent as f64) <= expected + burst + 65_536.0, "{segments}/{rtt_us}: {sent} of {expected}");
            assert!(shortest >= Duration::from_micros(200), "{segments}/{rtt_us}: waits {shortest:?}");
            assert!(largest <= 65_535);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-7.7
//= type=test
//# Senders MUST either use pacing or limit such bursts.
#[test]
fn pacer_limits_the_first_burst_and_the_one_after_a_pause() {
    let rtt = Duration::from_millis(100);
    let window = 1000 * SEGMENT;
    let mut p = Pacer::new(1200, Timestamp::ZERO);
    for start in [Timestamp::ZERO, at(60_000)] {
        let mut burst = 0;
        loop {
            let grant = p.grant(start, window_rate(window, false, rtt), u64::MAX);
            if grant == 0 {
                break;
            }
            p.charge(grant, start);
            burst += grant;
        }
        // Ten datagrams, or two milliseconds of 15 MB/s, and at most one quantum on credit.
        assert!((10 * SEGMENT..=2 * 15_000 + 15_000).contains(&burst), "{burst}");
    }
}

#[test]
fn pacer_does_not_delay_a_small_sender_and_serves_late_timers() {
    let rtt = Duration::from_millis(30);
    let mut p = Pacer::new(1200, Timestamp::ZERO);
    for i in 0..100 {
        let now = at(i * 10);
        assert!(
            p.grant(now, window_rate(12_000, false, rtt), 1200) >= 1200,
            "one datagram per 10 ms is below the rate"
        );
        p.charge(1200, now);
    }
    // A timer that always comes a millisecond late loses no throughput.
    let (window, rtt) = (1000 * SEGMENT, Duration::from_millis(20));
    let mut p = Pacer::new(1200, Timestamp::ZERO);
    let (mut now, mut sent) = (Timestamp::ZERO, 0);
    while now < at(1000) {
        let grant = p.grant(now, window_rate(window, false, rtt), u64::MAX);
        if grant == 0 {
            now = p.deadline().expect("refused") + Duration::from_millis(1);
        } else {
            p.charge(grant, now);
            sent += grant;
        }
    }
    assert!(sent > 73_000_000, "{sent} of 75 MB");
}

/// Bytes that leave back to back, at 1 MB/s with a queue of 60 ms, when a refused sender's turn comes `late` ms late.
fn burst_after(late: u64, rests: bool) -> u64 {
    let rate = window_rate(80_000, false, Duration::from_millis(100));
    let mut p = Pacer::new(1200, Timestamp::ZERO);
    p.set_queue(Duration::from_millis(60));
    let burst = |p: &mut Pacer, now| {
        let mut burst = 0;
        loop {
            let grant = p.grant(now, rate, u64::MAX);
            if grant == 0 {
                return burst;
            }
            p.charge(grant, now);
            burst += grant;
        }
    };
    burst(&mut p, Timestamp::ZERO);
    let refused_until = p.deadline().expect("refused");
    if rests {
        p.rest();
    }
    burst(&mut p, refused_until + Duration::from_millis(late))
}

#[test]
fn pacer_catches_up_on_half_of_the_queue_that_a_late_turn_let_drain() {
    let usual = 10 * SEGMENT;
    let near = |bytes: u64, burst: u64| (bytes..=bytes + 2 * SEGMENT).contains(&burst);
    assert!(near(2 * SEGMENT, burst_after(0, false)), "in time: {}", burst_after(0, false));
    assert!(near(20_000, burst_after(18, false)), "what 18 ms have earned: {}", burst_after(18, false));
    assert!(near(usual + 30_000, burst_after(90, false)), "and half of 60 kB: {}", burst_after(90, false));
    assert!(near(usual, burst_after(90, true)), "nothing was to be sent: {}", burst_after(90, true));
}

#[test]
fn pacer_small_steps_of_time_add_up() {
    let rtt = Duration::from_secs(1);
    let mut p = Pacer::new(1200, Timestamp::ZERO);
    p.grant(Timestamp::ZERO, window_rate(12_000, false, rtt), u64::MAX);
    p.charge(12_000, Timestamp::ZERO);
    // 15 kB/s is a byte per 67 us: steps of 10 us must not round to nothing.
    for us in (0..200_000u64).step_by(10) {
        p.charge(0, Timestamp(us * 1000));
    }
    assert!(p.grant(Timestamp(200 * MS), window_rate(12_000, false, rtt), 2400) >= 2400);
}

/// An adaptive controller whose path is told in loss events.
struct Judged {
    c: Controller,
    now: u64,
    min_rtt: Duration,
}

impl Judged {
    fn new() -> Self {
        let mut judged = Self {
            c: Controller::new(Algorithm::Adaptive, 1200, 200, at(0)),
            now: 0,
            min_rtt: Duration::from_millis(20),
        };
        // Slow start is over, at 200 datagrams.
        judged.round(Duration::ZERO);
        judged
    }

    /// A round trip in which ten ACKs tell of this queue.
    fn round(&mut self, queue: Duration) {
        self.now += 30;
        for _ in 0..10 {
            let rtt = self.min_rtt + queue;
            self.c.on_delivered(12_000, at(self.now) - rtt, self.min_rtt, at(self.now));
            let sample = AckSample { min_rtt: self.min_rtt, app_limited: true, ..ack(12_000, at(self.now), rtt) };
            self.c.on_ack(&sample);
        }
    }

    /// `count` datagrams are lost; true when that was tolerated.
    fn lose(&mut self, count: u64) -> bool {
        for pn in 0..count {
            self.c.on_packet_lost(pn, 1200, at(self.now), at(self.now));
        }
        let tolerated = self.c.tolerates_loss(self.min_rtt);
        if !tolerated {
            self.c.on_congestion_event(false, at(self.now));
        }
        tolerated
    }

    fn earn(&mut self) {
        for n in 0..4 {
            self.round(Duration::ZERO);
            assert!(!self.lose(1), "loss {n} is answered");
        }
        self.round(Duration::ZERO);
        assert!(self.lose(1), "the fifth at an empty queue, each at a smaller window");
    }
}

#[test]
fn tolerance_is_earned_by_losses_that_giving_way_does_not_cure() {
    let mut j = Judged::new();
    let before = j.c.window();
    j.earn();
    assert_eq!(j.c.window(), before, "the reductions were for nothing");
    assert!(j.c.in_slow_start(), "and the slow start goes on");
    for _ in 0..20 {
        j.round(Duration::ZERO);
        assert!(j.lose(1));
    }
    assert_eq!(j.c.window(), before);
}

#[test]
fn a_queue_a_burst_or_a_high_rate_is_congestion_to_the_tolerant_too() {
    let mut j = Judged::new();
    j.earn();
    let before = j.c.window();
    j.round(Duration::from_millis(2));
    assert!(!j.lose(1), "the queue shows");
    assert!(j.c.window() <= before / 10 * 7);
    j.round(Duration::ZERO);
    j.round(Duration::ZERO);
    assert!(j.lose(1), "an empty queue again");
    j.round(Duration::ZERO);
    assert!(!j.lose(20), "a burst");
    assert!(!matches!(&j.c, Controller::Adaptive(a) if a.is_tolerant()));

    let mut j = Judged::new();
    j.earn();
    // Three of a hundred, too few at a time for a burst.
    let refused = (0..60).find(|_| {
        j.round(Duration::ZERO);
        !j.lose(3)
    });
    assert!(refused.is_some_and(|n| n >= 5), "{refused:?}");
}

#[test]
fn losses_at_a_regrown_window_or_with_a_queue_earn_nothing() {
    let mut j = Judged::new();
    for _ in 0..10 {
        j.round(Duration::from_millis(5));
        assert!(!j.lose(1), "with a queue");
    }
    let mut j = Judged::new();
    for _ in 0..5 {
        j.round(Duration::ZERO);
        assert!(!j.lose(1));
        // What CUBIC does on a path of its own: back to where it was before it loses again.
        let Controller::Adaptive(a) = &mut j.c else { unreachable!() };
        a.cubic.grow_by(200 * 1200);
    }
}

#[test]
fn tolerance_ends_with_the_losses_and_with_persistent_congestion() {
    let mut j = Judged::new();
    j.earn();
    for _ in 0..230 {
        j.round(Duration::ZERO);
    }
    assert!(!j.lose(1), "long quiet: the next loss counts again");
    let mut j = Judged::new();
    j.earn();
    j.c.on_persistent_congestion();
    assert_eq!(j.c.window(), 4800);
    assert!(!matches!(&j.c, Controller::Adaptive(a) if a.is_tolerant()));
}

/// A round of `acked` packets, `marked` of them with CE, at a queue of so many milliseconds.
fn marked_round(c: &mut Controller, now: u64, acked: u64, marked: u64, queue: u64) -> bool {
    let (min_rtt, rtt) = (Duration::from_millis(30), Duration::from_millis(30 + queue));
    let mut classic = false;
    for part in 0..10 {
        classic |= c.on_marks(acked / 10, marked / 10, min_rtt);
        let sample = AckSample { min_rtt, ..ack(1200 * acked / 10, at(now + part), rtt) };
        c.on_ack(&sample);
    }
    classic
}

#[test]
fn prague_follows_the_marked_fraction() {
    let mut c = Controller::new(Algorithm::Prague, 1200, 100, at(0));
    c.on_congestion_event(false, at(0));
    let before = c.window();
    assert!(before <= 84_000, "loss is answered as by CUBIC: {before}");
    // A tenth marked, round after round: alpha goes there, and so the reduction becomes a twentieth.
    for round in 1..100 {
        assert!(!marked_round(&mut c, round * 50, 100, 10, 0), "no classic event");
    }
    let Controller::Prague(p) = &c else { unreachable!() };
    let alpha = p.alpha() as f64 / f64::from(1 << 20);
    assert!((0.08..0.12).contains(&alpha), "{alpha}");
    let window = c.window();
    marked_round(&mut c, 100 * 50, 100, 10, 0);
    let after = c.window() as f64 / window as f64;
    assert!((0.94..1.02).contains(&after), "{after}");
}

#[test]
fn prague_takes_marks_from_a_long_queue_for_classic_ones() {
    let mut c = Controller::new(Algorithm::Prague, 1200, 100, at(0));
    let classic = (1..20).find(|round| marked_round(&mut c, round * 50, 100, 10, 20));
    assert!(classic.is_some_and(|round| (2..12).contains(&round)), "{classic:?}");
    // And believes in L4S again when marks come early.
    let scalable = (20..60).find(|round| !marked_round(&mut c, round * 50, 100, 10, 0));
    assert!(scalable.is_some(), "never again");
}
