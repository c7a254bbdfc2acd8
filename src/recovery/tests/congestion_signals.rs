//! Recovery period (RFC 9002 section 7.3.2), persistent congestion (7.6), underuse (7.8), ECN (RFC 9000 section 13.4.2).
use super::*;

//= https://www.rfc-editor.org/rfc/rfc9000#section-13.3
//= type=test
//# Upon detecting losses, a sender MUST take appropriate congestion control action.
//= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.1
//= type=test
//# The sender MUST exit slow start and enter a recovery period when a packet is lost or when the ECN-CE count reported
//# by its peer increases.
#[test]
fn one_reduction_per_round_trip() {
    let mut w = World::sampled();
    let p = w.send_many(10, 200);
    let window = w.paths[0].cc.window();
    w.ack(&[p[4]..=p[4]], 300);
    let reduced = w.paths[0].cc.window();
    assert_eq!(reduced, window / 10 * 7);
    // Another loss of the same flight: no further reduction, and no growth during recovery.
    w.ack(&[p[9]..=p[9]], 305);
    assert_eq!(w.paths[0].cc.window(), reduced);
    assert_eq!(w.paths[0].congestion_events(), 1);
    // A loss among packets sent after the reduction is a new event.
    let q = w.send_many(5, 400);
    w.ack(&[q[4]..=q[4]], 500);
    assert_eq!(w.paths[0].congestion_events(), 2);
    assert!(w.paths[0].cc.window() < reduced);
}

#[test]
fn a_full_window_lets_one_packet_out_after_a_loss() {
    let mut w = World::sampled();
    let fits = (w.paths[0].cc.window() / u64::from(SIZE)) as usize;
    let p = w.send_many(fits, 200);
    assert!(w.paths[0].congestion_room() < u64::from(SIZE));
    assert!(w.paths[0].send_grant(at(200), 65_535) < u64::from(SIZE));
    w.ack(&[p[3]..=p[3]], 290);
    assert!(w.paths[0].in_flight() > w.paths[0].cc.window());
    assert!(w.paths[0].congestion_room() >= u64::from(SIZE), "section 7.3.2: one packet before the reduction bites");
    w.send(291);
    assert_eq!(w.paths[0].congestion_room(), 0);
}

#[test]
fn an_mtu_probe_lost_is_no_congestion() {
    let mut w = World::sampled();
    let probe = SentPacket { mtu_probe: true, size: 1452, ..eliciting(200) };
    let pn = w.send_packet(SpaceId::Data, probe, &[FrameToken::MtuProbe]);
    let p = w.send_many(3, 200);
    let outcome = w.ack(&[p[0]..=p[2]], 300);
    assert_eq!(w.log.lost, [(pn, vec![FrameToken::MtuProbe])]);
    assert!(!outcome.congestion_event);
    assert_eq!(w.paths[0].in_flight(), 0);
}

/// Sends at the given times, loses everything but a last packet sent and acknowledged 100 ms before `end`.
fn persistent(times: &[u64], end: u64, acked_between: Option<usize>) -> (World, AckOutcome) {
    let mut w = World::sampled();
    let p: Vec<u64> = times.iter().map(|t| w.send(*t)).collect();
    let last = w.send(end - 100);
    let outcome = match acked_between {
        Some(i) => w.ack(&[last..=last, p[i]..=p[i]], end),
        None => w.ack(&[last..=last], end),
    };
    (w, outcome)
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-7.6.2
//= type=test
//# When persistent congestion is declared, the sender's congestion window MUST be reduced to the minimum congestion
//# window (kMinimumWindow), similar to a TCP sender's response on an RTO [RFC5681].
#[test]
fn persistent_congestion_needs_three_pto_and_nothing_between() {
    // The ACK's own sample: smoothed 100, variation 37.5, so PTO with max_ack_delay is 275 ms, three times 825 ms.
    let (w, outcome) = persistent(&[1000, 1400, 1826], 3000, None);
    assert!(outcome.persistent_congestion);
    assert_eq!(w.paths[0].cc.window(), 4800, "down to the minimum window");
    let (w, outcome) = persistent(&[1000, 1400, 1825], 3000, None);
    assert!(!outcome.persistent_congestion, "the period must exceed the duration");
    assert!(outcome.congestion_event);
    assert!(w.paths[0].cc.window() > 4800);
    let (_, outcome) = persistent(&[1000, 1400, 1826], 3000, Some(1));
    assert!(!outcome.persistent_congestion, "one in between was acknowledged");
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-7.6.2
//= type=test
//# These two packets MUST be ack-eliciting, since a receiver is required to acknowledge only ack-eliciting packets
//# within its maximum acknowledgment delay; see Section 13.2 of [QUIC-TRANSPORT].
#[test]
fn persistent_congestion_lies_between_ack_eliciting_packets() {
    for ends in [true, false] {
        let mut w = World::sampled();
        for (time, ack_eliciting) in [(1000, ends), (1400, true), (1826, ends)] {
            w.send_packet(SpaceId::Data, SentPacket { ack_eliciting, ..eliciting(time) }, &[FrameToken::Other]);
        }
        let last = w.send(2900);
        let outcome = w.ack(&[last..=last], 3000);
        assert_eq!((outcome.lost_packets, outcome.persistent_congestion), (3, ends), "padding alone proves nothing");
    }
}

#[test]
fn persistent_congestion_is_seen_across_sweeps_of_one_period() {
    let mut w = World::sampled();
    let a = w.send(1000);
    let b = w.send(1000);
    let c = w.send(1900);
    let d = w.send(1900);
    let e = w.send(1900);
    // b + 3 = e: the first sweep takes a and b, the others wait for the time threshold.
    let outcome = w.ack(&[e..=e], 2000);
    assert_eq!((w.log.lost(), outcome.persistent_congestion), (vec![a, b], false));
    assert_eq!(w.fire(), TimeoutAction::Lost);
    assert_eq!(w.log.lost(), [a, b, c, d]);
    assert_eq!(w.paths[0].cc.window(), 4800);
}

#[test]
fn persistent_congestion_needs_a_sample_before() {
    let mut w = World::new();
    for t in [0, 2000, 4000] {
        w.send(t);
    }
    let last = w.send(8000);
    let outcome = w.ack(&[last..=last], 8100);
    assert_eq!(outcome.lost_packets, 3);
    assert!(!outcome.persistent_congestion, "section 7.6.2: a prior RTT sample");
}

#[test]
fn an_idle_sender_does_not_grow_its_window() {
    let mut w = World::sampled();
    let before = w.paths[0].cc.window();
    for i in 0..50 {
        let p = w.send(1000 + i * 200);
        w.ack(&[p..=p], 1100 + i * 200);
    }
    assert_eq!(w.paths[0].cc.window(), before, "section 7.8");
    // Full windows do grow.
    let fits = (before / u64::from(SIZE)) as usize;
    let p = w.send_many(fits, 20_000);
    let (first, last) = (p[0], p[fits - 1]);
    w.ack(&[first..=last], 20_100);
    assert_eq!(w.paths[0].cc.window(), before + fits as u64 * u64::from(SIZE));
}

#[test]
fn pacing_is_not_underuse_but_small_bursts_are() {
    let mut w = World::new();
    w.paths[0] =
        PathRecovery::new(&RecoveryConfig { initial_window_packets: 100, ecn: false, ..Default::default() }, at(0));
    let p = w.send(0);
    w.ack(&[p..=p], 100);
    let window = w.paths[0].cc.window();
    // Sixty of a hundred packets, then the pacer says no.
    let p = w.send_many(60, 200);
    w.paths[0].pacer.charge(72_000, at(200));
    assert_eq!(w.paths[0].send_grant(at(200), 65_535), 0);
    w.ack(&[p[0]..=p[59]], 300);
    assert_eq!(w.paths[0].cc.window(), window + 60 * 1200);
    // Ten of them and a refusal: the window was not what held the sender back.
    let window = w.paths[0].cc.window();
    let p = w.send_many(10, 1000);
    w.paths[0].pacer.charge(65_000, at(1000));
    assert_eq!(w.paths[0].send_grant(at(1000), 65_535), 0);
    w.ack(&[p[0]..=p[9]], 1100);
    assert_eq!(w.paths[0].cc.window(), window);
}

#[test]
fn migration_resets_and_rebinding_does_not() {
    let mut w = World::sampled();
    w.send_many(3, 200);
    w.paths[0].on_migrated(true, at(300));
    assert_eq!(w.paths[0].rtt.latest(), ms(100));
    w.paths[0].on_migrated(false, at(300));
    assert_eq!(w.paths[0].rtt.smoothed(), INITIAL_RTT);
    assert_eq!(w.paths[0].in_flight(), 3600, "what is outstanding stays on the books");
}

// --- ECN ---

fn marking() -> World {
    World::with(Side::Server, &RecoveryConfig::default())
}

fn send_marked(w: &mut World, now: u64) -> u64 {
    let ect = w.paths[0].ecn.mark() == Ecn::Ect0;
    w.send_packet(SpaceId::Data, SentPacket { ect, ..eliciting(now) }, &[FrameToken::Other])
}

fn ack_ecn(w: &mut World, ranges: &[RangeInclusive<u64>], ect0: u64, ce: u64, now: u64) -> AckOutcome {
    let counts = EcnCounts { ect0, ect1: 0, ce };
    w.try_ack(SpaceId::Data, ranges, Some(counts), Duration::ZERO, now).expect("valid ACK")
}

#[test]
fn ten_packets_are_marked_until_counts_come_back() {
    let mut w = marking();
    for i in 0..10 {
        assert_eq!(w.paths[0].ecn.mark(), Ecn::Ect0, "{i}");
        send_marked(&mut w, 0);
    }
    assert_eq!(w.paths[0].ecn.mark(), Ecn::NotEct);
    assert!(!ack_ecn(&mut w, &[0..=9], 10, 0, 100).ecn_failed);
    assert!(w.paths[0].ecn.is_capable());
    assert_eq!(w.paths[0].ecn.mark(), Ecn::Ect0);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-13.4.2.2
//= type=test
//# If validation fails, then the endpoint MUST disable ECN.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.4.2.2
//= type=test
//# Network routing and path elements can change mid-connection; an endpoint MUST disable ECN if validation later fails.
#[test]
fn bleaching_and_lying_counts_disable_marking() {
    // No counts, too few, an ECT(1) nobody sent, more than was sent.
    let cases: [Option<EcnCounts>; 4] = [
        None,
        Some(EcnCounts { ect0: 1, ect1: 0, ce: 0 }),
        Some(EcnCounts { ect0: 2, ect1: 1, ce: 0 }),
        Some(EcnCounts { ect0: 2, ect1: 0, ce: 1 }),
    ];
    for counts in cases {
        let mut w = marking();
        send_marked(&mut w, 0);
        send_marked(&mut w, 0);
        let outcome = w.try_ack(SpaceId::Data, &[0..=1], counts, Duration::ZERO, 100).expect("no violation");
        assert!(outcome.ecn_failed, "{counts:?}");
        assert_eq!(w.paths[0].ecn.mark(), Ecn::NotEct);
        assert!(!outcome.congestion_event, "counts that fail validation are not used: {counts:?}");
        // The path was fine for a while, then it is not.
        let mut w = marking();
        send_marked(&mut w, 0);
        ack_ecn(&mut w, &[0..=0], 1, 0, 100);
        assert!(w.paths[0].ecn.is_capable());
        send_marked(&mut w, 200);
        let counts = counts.map(|c| EcnCounts { ect0: c.ect0.min(1), ..c });
        let outcome = w.try_ack(SpaceId::Data, &[0..=1], counts, Duration::ZERO, 300).expect("no violation");
        let plausible = counts.is_some_and(|c| c.ect0 + c.ce == 2 && c.ect1 == 0);
        assert_eq!(outcome.ecn_failed, !plausible, "{counts:?}");
        assert!(plausible || w.paths[0].ecn.mark() == Ecn::NotEct);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-13.4.2.1
//= type=test
//# An endpoint MUST NOT fail ECN validation as a result of processing an ACK frame that does not increase the largest
//# acknowledged packet number.
#[test]
fn a_reordered_ack_cannot_fail_validation() {
    let mut w = marking();
    for _ in 0..4 {
        send_marked(&mut w, 0);
    }
    ack_ecn(&mut w, &[2..=3], 2, 0, 100);
    // Older frame, smaller counts, newly acknowledges two marked packets.
    assert!(!ack_ecn(&mut w, &[0..=1], 1, 0, 101).ecn_failed);
    assert!(w.paths[0].ecn.is_capable());
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.1
//= type=test
//# The sender MUST exit slow start and enter a recovery period when a packet is lost or when the ECN-CE count reported
//# by its peer increases.
#[test]
fn a_mark_is_a_congestion_event_once_per_round_trip() {
    let mut w = marking();
    for _ in 0..6 {
        send_marked(&mut w, 0);
    }
    let window = w.paths[0].cc.window();
    assert!(ack_ecn(&mut w, &[0..=1], 1, 1, 100).congestion_event);
    assert_eq!(w.paths[0].cc.window(), window / 10 * 7);
    assert!(!ack_ecn(&mut w, &[0..=3], 2, 2, 101).congestion_event);
    // A loss of that period that proves spurious does not take the mark's reduction back.
    let reduced = w.paths[0].cc.window();
    let p: Vec<u64> = (0..5).map(|_| send_marked(&mut w, 100)).collect();
    ack_ecn(&mut w, &[p[4]..=p[4]], 3, 2, 180);
    assert_eq!(ack_ecn(&mut w, &[0..=p[4]], 9, 2, 181).spurious_losses, 4);
    assert!(w.paths[0].cc.window() <= reduced);
}

#[test]
fn marks_that_never_arrive_are_given_up() {
    let mut w = marking();
    for _ in 0..10 {
        send_marked(&mut w, 0);
    }
    let p: Vec<u64> = (0..3).map(|_| send_marked(&mut w, 10)).collect();
    let outcome = w.ack(&[p[0]..=p[2]], 100);
    assert_eq!(outcome.lost_packets, 10);
    assert!(outcome.ecn_failed && w.paths[0].ecn.is_failed());

    // Two timeouts in a row before any verdict: unmarked from then on.
    let mut w = marking();
    send_marked(&mut w, 0);
    w.fire();
    send_marked(&mut w, 1100);
    assert_eq!(w.paths[0].ecn.mark(), Ecn::Ect0);
    w.fire();
    assert_eq!(w.paths[0].ecn.mark(), Ecn::NotEct);
}
