//! Packet and time threshold (RFC 9002 section 6.1), spurious losses, never-sent numbers, merged tokens, bounds.
use super::*;

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
//= type=test
//# The PTO timer MUST NOT be set if a timer is set for time threshold loss detection; see Section 6.1.2.
//= https://www.rfc-editor.org/rfc/rfc9002#section-7.4
//= type=test
//# Endpoints MUST NOT ignore the loss of packets that were sent after the earliest acknowledged packet in a given
//# packet number space.
#[test]
fn three_packets_behind_is_lost_and_the_rest_waits_for_the_time() {
    let mut w = World::sampled();
    let p = w.send_many(4, 200);
    let outcome = w.ack(&[p[3]..=p[3]], 300);
    assert_eq!(w.log.lost(), p[..1]);
    assert_eq!((outcome.acked_packets, outcome.lost_packets), (1, 1));
    assert!(outcome.congestion_event);
    // Sent at 200, 9/8 of max(smoothed, latest) = 112.5 ms later.
    assert_eq!(w.deadline_us(), Some(312_500));
    assert_eq!(w.fire(), TimeoutAction::Lost);
    assert_eq!(w.log.lost(), p[..3]);
    assert_eq!(w.paths[0].in_flight(), 0);
    assert_eq!(w.paths[0].congestion_events(), 1, "one event per round trip");
}

#[test]
fn the_time_threshold_counts_from_each_packet() {
    let mut w = World::sampled();
    let a = w.send(200);
    let b = w.send(210);
    let c = w.send(220);
    w.ack(&[c..=c], 320);
    assert_eq!(w.deadline_us(), Some(312_500 + 10_000), "a was lost by time at once, b waits");
    assert_eq!(w.log.lost(), [a]);
    w.ack(&[b..=c], 321);
    assert_eq!(w.log.lost(), [a]);
    assert_eq!(w.paths[0].in_flight(), 0);
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.1.2
//= type=test
//# To avoid declaring packets as lost too early, this time threshold MUST be set to at least the local timer
//# granularity, as indicated by the kGranularity constant.
#[test]
fn the_time_threshold_is_never_below_the_granularity() {
    let mut w = World::new();
    let p = w.send(0);
    w.paths[0].rtt.update(Duration::from_micros(50), Duration::ZERO, at(0));
    assert_eq!(w.paths[0].loss_delay(), ms(1));
    w.ack(&[p..=p], 0);
}

#[test]
fn packets_above_the_largest_acknowledged_are_never_lost() {
    let mut w = World::sampled();
    let p = w.send_many(10, 200);
    w.ack(&[p[0]..=p[0]], 5000);
    assert!(w.log.lost.is_empty());
    assert_eq!(w.paths[0].in_flight(), 9 * u64::from(SIZE));
}

#[test]
fn never_sent_and_skipped_numbers_are_a_violation() {
    let mut w = World::new();
    let p = w.send(0);
    let e = w.try_ack(SpaceId::Data, &[p + 1..=p + 1], None, Duration::ZERO, 10).expect_err("never sent");
    assert_eq!(e.code, crate::base::codes::transport::PROTOCOL_VIOLATION);
    let e = w.try_ack(SpaceId::Initial, &[0..=0], None, Duration::ZERO, 10).expect_err("another space");
    assert_eq!(e.code, crate::base::codes::transport::PROTOCOL_VIOLATION);

    // Skips come by themselves, at numbers that depend on the seed.
    let mut places = Vec::new();
    for seed in 0..4 {
        let mut r = Recovery::new(Side::Server, seed);
        let mut last = None;
        let mut skipped = Vec::new();
        for _ in 0..60_000 {
            let peeked = r.peek_packet_number(0, SpaceId::Data);
            let pn = r.next_packet_number(0, SpaceId::Data);
            assert_eq!(peeked, pn);
            if last.is_some_and(|l| pn != l + 1) {
                skipped.push(pn - 1);
            }
            last = Some(pn);
        }
        assert!((5..=12).contains(&skipped.len()), "{skipped:?}");
        assert!((128..256).contains(&skipped[0]));
        places.push(skipped[0]);
    }
    places.dedup();
    assert!(places.len() > 1, "predictable: {places:?}");

    let mut w = World::sampled();
    let sent = w.send_many(400, 200);
    let gap = sent.windows(2).find(|p| p[1] != p[0] + 1).map(|p| p[0] + 1).expect("one is skipped");
    let e = w.try_ack(SpaceId::Data, &[gap - 1..=gap + 1], None, Duration::ZERO, 300).expect_err("optimistic");
    assert_eq!(e.code, crate::base::codes::transport::PROTOCOL_VIOLATION);
}

#[test]
fn a_skipped_number_does_not_count_as_reordering() {
    let mut w = World::sampled();
    let sent = w.send_many(400, 200);
    let at_gap = sent.windows(2).position(|p| p[1] != p[0] + 1).expect("one is skipped");
    let (before, after) = (sent[at_gap], sent[at_gap + 2]);
    assert_eq!(after - before, 3);
    w.ack(&[after..=after], 300);
    assert!(!w.log.lost().contains(&before), "only two packets later arrived");
    assert!(w.log.lost().contains(&(before - 1)));
}

#[test]
fn consecutive_stream_frames_are_reported_as_one() {
    let mut w = World::sampled();
    let mut pns = Vec::new();
    for i in 0..100u64 {
        pns.push(w.send_packet(SpaceId::Data, eliciting(200), &[stream(i * 1000, 1000)]));
    }
    let other = w.send_packet(SpaceId::Data, eliciting(200), &[FrameToken::MaxData, stream(100_000, 10)]);
    let far = w.send_packet(SpaceId::Data, eliciting(200), &[stream(500_000, 10)]);
    w.log = Log::default();
    w.ack(&[pns[0]..=far], 300);
    assert_eq!(
        w.log.acked,
        [
            (other, vec![FrameToken::MaxData, stream(100_000, 10)]),
            (pns[99], vec![stream(0, 100_000)]),
            (far, vec![stream(500_000, 10)]),
        ]
    );
}

#[test]
fn a_final_frame_ends_a_merged_token() {
    let fin = |offset| FrameToken::Stream { id: StreamId(4), offset, len: 5, fin: true };
    let mut w = World::sampled();
    let a = w.send_packet(SpaceId::Data, eliciting(200), &[fin(0)]);
    let b = w.send_packet(SpaceId::Data, eliciting(200), &[fin(5)]);
    w.log = Log::default();
    w.ack(&[a..=b], 300);
    assert_eq!(w.log.acked, [(a, vec![fin(0)]), (b, vec![fin(5)])]);
}

#[test]
fn spurious_losses_raise_the_threshold_and_give_the_window_back() {
    let mut w = World::sampled();
    let p = w.send_many(8, 200);
    let before = w.paths[0].cc.window();
    w.ack(&[p[5]..=p[5]], 290);
    assert_eq!(w.log.lost(), p[..3]);
    assert!(w.paths[0].cc.window() < before);
    // They were only late.
    let outcome = w.ack(&[p[0]..=p[7]], 292);
    assert_eq!(outcome.spurious_losses, 3);
    assert!(w.paths[0].cc.window() >= before, "{} < {before}", w.paths[0].cc.window());
    assert_eq!(w.paths[0].packet_threshold(), 6, "five packets overtook the first");
    // The next reordering of the same extent is tolerated.
    w.log = Log::default();
    let q = w.send_many(6, 400);
    w.ack(&[q[5]..=q[5]], 500);
    assert!(w.log.lost.is_empty());
}

#[test]
fn one_true_loss_keeps_the_reduction() {
    let mut w = World::sampled();
    let p = w.send_many(8, 200);
    w.ack(&[p[5]..=p[5]], 290);
    let reduced = w.paths[0].cc.window();
    let outcome = w.ack(&[p[1]..=p[5]], 292);
    assert_eq!(outcome.spurious_losses, 2);
    assert_eq!(w.paths[0].cc.window(), reduced);
}

#[test]
fn spurious_losses_by_time_stretch_the_time_threshold() {
    let mut w = World::sampled();
    let a = w.send(200);
    let b = w.send(200);
    w.ack(&[b..=b], 300);
    w.fire();
    assert_eq!(w.log.lost(), [a]);
    let before = w.paths[0].loss_delay();
    let outcome = w.ack(&[a..=b], 320);
    assert_eq!(outcome.spurious_losses, 1);
    assert!(w.paths[0].loss_delay() > before);
    // Lost packets are not remembered for ever.
    assert_eq!(w.ack(&[a..=b], 330).spurious_losses, 0);
}

#[test]
fn ack_only_packets_are_bounded_and_never_lost() {
    let mut w = World::sampled();
    w.send_ack_only(150);
    assert_eq!(w.recovery.data.ack_only, 0, "nothing outstanding: nobody will acknowledge it");
    let first = w.send(200);
    for i in 0..10_000 {
        w.send_ack_only(201 + i / 100);
    }
    let space = &w.recovery.data;
    assert!(space.ack_only <= 256);
    assert!(w.recovery.heap_bytes() < 32 * 1024, "{}", w.recovery.heap_bytes());
    let last = w.send(310);
    w.log = Log::default();
    w.ack(&[last..=last], 400);
    assert_eq!(w.log.lost(), [first]);
    let space = &w.recovery.data;
    assert_eq!((space.eliciting, space.ack_only, space.sent.len()), (0, 0, 0));
}

#[test]
fn ack_only_packets_report_their_ack_of_ack() {
    let mut w = World::sampled();
    w.send(200);
    let token = FrameToken::Ack { largest: 41 };
    let packet = SentPacket { ack_eliciting: false, in_flight: false, ..eliciting(200) };
    let pn = w.send_packet(SpaceId::Data, packet, &[token]);
    w.ack(&[0..=pn], 300);
    assert!(w.log.acked.contains(&(pn, vec![token])));
    assert_eq!(w.paths[0].in_flight(), 0);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.4
//= type=test
//# Packets sent on the old path MUST NOT contribute to congestion control or RTT estimation for the new path.
#[test]
fn paths_keep_their_own_books() {
    let mut w = World::sampled();
    let old = w.send_many(4, 200);
    let on_new = SentPacket { path: 1, ..eliciting(210) };
    let new: Vec<u64> = (0..4).map(|_| w.send_packet(SpaceId::Data, on_new, &[FrameToken::Other])).collect();
    assert_eq!((w.paths[0].in_flight(), w.paths[1].in_flight()), (4800, 4800));
    let outcome = w.ack(&[new[3]..=new[3]], 250);
    assert_eq!(w.paths[1].rtt.latest(), ms(40));
    assert_eq!(w.paths[0].rtt.latest(), ms(100), "RFC 9000 section 9.4: no sample for the other path");
    // Packet threshold: all of the old ones, and the first of the new.
    assert_eq!(outcome.lost_packets, 5);
    assert_eq!(w.log.lost().len(), 5);
    assert_eq!((w.paths[0].congestion_events(), w.paths[1].congestion_events()), (1, 1));
    assert_eq!((w.paths[0].in_flight(), w.paths[1].in_flight()), (0, 2 * 1200));
    assert_eq!(old.len(), 4);
}

#[test]
fn a_path_that_is_gone_does_no_harm() {
    let mut w = World::sampled();
    let on_gone = SentPacket { path: 9, ..eliciting(200) };
    let a = w.send_packet(SpaceId::Data, on_gone, &[FrameToken::Other]);
    let b = w.send(201);
    assert!(w.deadline_us().is_some());
    w.ack(&[b..=b], 300);
    assert_eq!(w.log.lost(), [a]);
    w.recovery.discard_space(SpaceId::Data, &mut w.paths);
}

#[test]
fn many_ranges_cost_little_and_acknowledge_exactly_what_they_name() {
    let mut w = World::new();
    w.paths[0] = PathRecovery::new(&RecoveryConfig { initial_window_packets: 10_000, ..Default::default() }, at(0));
    let sent = w.send_many(120, 0);
    let ranges: Vec<_> = sent.iter().rev().step_by(2).map(|p| *p..=*p).collect();
    let outcome = w.ack(&ranges, 10);
    assert_eq!(outcome.acked_packets, 60);
    // All but the last odd ones are three behind.
    assert_eq!(outcome.lost_packets, 59);
}

/// Everything sent so far is given up at `now`.
fn give_up(w: &mut World, now: u64) {
    w.recovery.give_up(at(now), at(now), &mut w.paths, &mut w.log);
    w.rearm(now);
}

/// A path that has become far and is not dead: what was given up is acknowledged in the end (RFC 9002 section 6.2.4 lets us
/// mark it as lost; section 5.1 lets us measure it).
#[test]
fn packets_given_up_are_acknowledged_late() {
    let mut w = World::sampled();
    let pns: Vec<u64> = (0..3)
        .map(|i| {
            let tokens = [stream(i * 1000, 1000), FrameToken::Datagram { tag: i }, FrameToken::RetireConnectionId(i)];
            w.send_packet(SpaceId::Data, eliciting(200), &tokens)
        })
        .collect();
    while w.recovery.pto_count() < 3 {
        w.fire();
    }
    w.log = Log::default();
    give_up(&mut w, 5000);
    assert_eq!(w.log.lost(), pns);
    assert_eq!(w.paths[0].in_flight(), 0);
    w.log = Log::default();
    let outcome = w.ack(&[pns[0]..=pns[1]], 6200);
    assert!(outcome.newly_acked && outcome.rtt_updated);
    assert_eq!((outcome.spurious_losses, outcome.acked_packets), (2, 2));
    assert_eq!(w.paths[0].rtt.latest(), ms(6000));
    assert_eq!(w.recovery.pto_count(), 0, "an acknowledgement: the backoff ends");
    assert_eq!(w.paths[0].in_flight(), 0, "they left flight when they were given up");
    // Their data of streams need not be sent again; what else was told its fate already hears nothing new.
    let told: Vec<FrameToken> = w.log.acked.iter().flat_map(|(_, tokens)| tokens.clone()).collect();
    assert_eq!(told, [stream(0, 1000), stream(1000, 1000)]);
    w.log = Log::default();
    let again = w.ack(&[pns[0]..=pns[1]], 6300);
    assert!(!again.newly_acked && w.log.acked.is_empty(), "once");
    assert!(w.log.lost.is_empty(), "and not lost a second time");
}

/// Nor does what was given up cost memory without bound, or outlive the first answer by much.
#[test]
fn packets_given_up_are_bounded_and_forgotten() {
    let mut w = World::sampled();
    for round in 1..=10 {
        w.send_many(100, round * 1000);
        give_up(&mut w, round * 1000 + 500);
    }
    let kept = w.recovery.data.sent.iter().count();
    assert_eq!(w.log.lost.len(), 1000);
    assert_eq!(kept, 256, "the newest");
    assert_eq!(w.recovery.data.ack_only, 256);
    assert!(!w.recovery.has_eliciting_in_flight(SpaceId::Data));
    let probe = w.send(20_000);
    w.ack(&[probe..=probe], 20_100);
    assert_eq!(w.recovery.data.sent.iter().count(), 0, "nothing of it is left");
    assert_eq!(w.log.lost.len(), 1000, "each was lost once");
    // Their acknowledgement is no error then either.
    assert!(!w.ack(&[1..=100], 20_200).newly_acked);
}
