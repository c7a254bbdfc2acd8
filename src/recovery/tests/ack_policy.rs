//! What is acknowledged and when (RFC 9000 section 13.2).
use super::*;
use crate::base::Pcg;
use crate::base::Rng;
use std::collections::BTreeSet;

fn data() -> Received {
    Received::new(SpaceId::Data, ms(25))
}

fn take(r: &mut Received, pns: &[u64], now: u64) {
    for pn in pns {
        assert!(r.on_packet(*pn, true, Ecn::NotEct, at(now)), "{pn} is new");
    }
    r.on_batch_end(at(now));
}

fn sent(r: &mut Received) {
    r.on_ack_sent(0);
    assert!(!r.ack_due() && !r.has_pending() && r.deadline().is_none());
}

#[test]
fn every_second_packet_or_after_the_delay() {
    let mut r = data();
    take(&mut r, &[0], 0);
    assert!(!r.ack_due() && r.has_pending());
    assert_eq!(r.deadline(), Some(at(25)));
    r.on_deadline(at(24));
    assert!(!r.ack_due());
    r.on_deadline(at(25));
    assert!(r.ack_due());
    sent(&mut r);
    take(&mut r, &[1], 30);
    take(&mut r, &[2], 40);
    assert!(r.ack_due());
    assert_eq!(r.deadline(), None);
}

#[test]
fn one_batch_gives_one_decision() {
    let mut r = data();
    for pn in 0..44 {
        r.on_packet(pn, true, Ecn::NotEct, at(0));
        assert!(!r.ack_due(), "not before the batch is over");
    }
    r.on_batch_end(at(0));
    assert!(r.ack_due());
}

#[test]
fn handshake_packets_are_acknowledged_at_once() {
    for space in [SpaceId::Initial, SpaceId::Handshake] {
        let mut r = Received::new(space, ms(25));
        take(&mut r, &[0], 0);
        assert!(r.ack_due());
    }
}

#[test]
fn what_elicits_nothing_never_makes_an_ack_due() {
    let mut r = data();
    for pn in [0, 1, 2, 7, 5, 100] {
        assert!(r.on_packet(pn, false, Ecn::Ce, at(0)));
    }
    r.on_batch_end(at(1000));
    assert!(!r.ack_due() && !r.has_pending() && r.deadline().is_none());
    let mut initial = Received::new(SpaceId::Initial, ms(25));
    initial.on_packet(0, false, Ecn::NotEct, at(0));
    initial.on_batch_end(at(0));
    assert!(!initial.ack_due());
}

#[test]
fn gaps_and_late_packets_are_reported_at_once() {
    let mut r = data();
    take(&mut r, &[0, 1], 0);
    sent(&mut r);
    take(&mut r, &[3], 10);
    assert!(r.ack_due(), "2 is missing");
    sent(&mut r);
    take(&mut r, &[4], 20);
    assert!(r.ack_due(), "one was lost just now: so may be the acknowledgement that said it");
    sent(&mut r);
    take(&mut r, &[2], 30);
    assert!(r.ack_due(), "late");
    sent(&mut r);
    // A number that was used by a packet that elicits nothing is no gap.
    r.on_packet(5, false, Ecn::NotEct, at(40));
    take(&mut r, &[6], 40);
    assert!(!r.ack_due());
    sent(&mut r);
    // Nor is what an ACK-of-ACK let us forget.
    r.on_packet(7, false, Ecn::NotEct, at(50));
    r.on_packet(8, false, Ecn::NotEct, at(50));
    r.on_ack_of_ack(8);
    take(&mut r, &[9], 50);
    assert!(!r.ack_due());
}

#[test]
fn every_packet_near_a_gap_is_acknowledged_unless_the_peer_wants_fewer() {
    let fewer = AckPolicy { eliciting_threshold: 10, max_ack_delay: ms(25), reordering_threshold: 1 };
    for asked in [None, Some(fewer)] {
        let mut r = data();
        r.set_policy(asked.unwrap_or(r.policy()));
        take(&mut r, &[0, 2], 0);
        sent(&mut r);
        for pn in 3..40 {
            take(&mut r, &[pn], pn);
            let near = pn < 18 && asked.is_none();
            // Far from it every second one, as ever.
            assert_eq!(
                r.ack_due(),
                near || (asked.is_none() && pn % 2 == 1) || (asked.is_some() && (pn - 2) % 10 == 0)
            );
            if r.ack_due() {
                sent(&mut r);
            }
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-13.4.1
//= type=test
//# Even if an endpoint does not set an ECT field in packets it sends, the endpoint MUST provide feedback about ECN
//# markings it receives, if these are accessible.
#[test]
fn marks_are_counted_and_reported_at_once() {
    let mut r = data();
    assert_eq!(r.ecn_counts(), None);
    assert!(r.on_packet(0, true, Ecn::Ect0, at(0)));
    assert!(!r.on_packet(0, true, Ecn::Ect0, at(0)), "duplicates count for nothing");
    r.on_batch_end(at(0));
    assert!(!r.ack_due());
    assert!(r.on_packet(1, true, Ecn::Ce, at(1)));
    sent(&mut r);
    assert!(r.on_packet(2, true, Ecn::Ce, at(1)));
    r.on_batch_end(at(1));
    assert!(r.ack_due());
    assert_eq!(r.ecn_counts(), Some(EcnCounts { ect0: 1, ect1: 0, ce: 2 }));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.5
//= type=test
//# An endpoint MUST NOT include delays that it does not control when populating the ACK Delay field in an ACK frame.
#[test]
fn ack_delay_counts_from_the_largest() {
    let mut r = data();
    take(&mut r, &[5], 10);
    take(&mut r, &[3], 30);
    assert_eq!(r.largest(), Some(5));
    assert_eq!(r.ack_delay(at(35)), ms(25));
}

#[test]
fn ranges_are_capped_and_the_dropped_ones_count_as_seen() {
    let mut r = data();
    for pn in (0..1000).step_by(2) {
        assert!(r.on_packet(pn, true, Ecn::NotEct, at(0)));
    }
    assert_eq!(r.range_count(), MAX_RANGES);
    let first = r.ranges_desc().next();
    assert_eq!(first, Some(998..=998));
    assert!(r.ranges_desc().zip(r.ranges_desc().skip(1)).all(|(a, b)| a.start() > b.end()));
    // 1 was never received, but below what is remembered nothing may be accepted.
    assert!(r.is_duplicate(1));
    assert!(!r.is_duplicate(999));
    assert!(!r.is_duplicate(997));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.3
//= type=test
//# Receivers can discard all ACK Ranges, but they MUST retain the largest packet number that has been successfully
//# processed, as that is used to recover packet numbers from subsequent packets; see Section 17.1.
#[test]
fn ack_of_ack_prunes_but_keeps_the_largest() {
    let mut r = data();
    take(&mut r, &[0, 1, 2, 5, 6, 9], 0);
    r.on_ack_of_ack(6);
    assert_eq!(r.ranges_desc().collect::<Vec<_>>(), [9..=9]);
    r.on_ack_of_ack(9);
    assert_eq!(r.ranges_desc().collect::<Vec<_>>(), [9..=9]);
    assert!(r.is_duplicate(9) && r.is_duplicate(2) && r.is_duplicate(6));
    assert!(!r.is_duplicate(3), "inside the window the bits know better");
    assert!(r.on_packet(3, true, Ecn::NotEct, at(1)));
    assert_eq!(r.ranges_desc().collect::<Vec<_>>(), [9..=9, 3..=3]);
}

#[test]
fn a_one_sided_flow_elicits_an_acknowledgment_now_and_then() {
    let mut r = data();
    for pn in (0..40).step_by(4) {
        r.on_packet(pn, true, Ecn::NotEct, at(0));
    }
    let asked = (0..640).filter(|carrier| r.should_elicit(*carrier)).count();
    assert_eq!(asked, 9);
    let mut in_order = data();
    take(&mut in_order, &(0..100).collect::<Vec<_>>(), 0);
    assert!((0..640).all(|carrier| !in_order.should_elicit(carrier)), "one range is not worth it");
}

#[test]
fn duplicates_are_never_accepted_and_loss_is_never_invented() {
    for seed in 0..20 {
        let mut rng = Pcg::new(seed);
        let mut r = data();
        let mut seen = BTreeSet::new();
        let mut next = 0u64;
        for i in 0..4000 {
            let pn = match rng.below(4) {
                0 => next + rng.below(5),
                1 => next.saturating_sub(rng.below(600)),
                _ => next,
            };
            next = next.max(pn + 1);
            let fresh = r.on_packet(pn, true, Ecn::NotEct, at(i));
            assert!(!fresh || seen.insert(pn), "seed {seed}: {pn} accepted twice");
            // Within the window nothing new may be refused.
            assert!(fresh || seen.contains(&pn) || next - pn > 256, "seed {seed}: {pn} refused");
            if rng.below(50) == 0 {
                r.on_ack_of_ack(next.saturating_sub(rng.below(300)));
            }
            assert!(r.range_count() <= MAX_RANGES);
            assert!(r.ranges_desc().next().is_some_and(|top| Some(*top.end()) == r.largest()));
        }
    }
}

#[test]
fn a_changed_policy_is_obeyed() {
    let mut r = data();
    r.set_policy(AckPolicy { eliciting_threshold: 10, max_ack_delay: ms(100), reordering_threshold: 0 });
    take(&mut r, &[0, 1, 2, 3, 4, 5, 6, 7, 9], 0);
    assert!(!r.ack_due());
    assert_eq!(r.deadline(), Some(at(100)));
    take(&mut r, &[10], 1);
    assert!(r.ack_due());
    sent(&mut r);
    r.on_packet(11, true, Ecn::NotEct, at(2));
    r.request_immediate();
    r.on_batch_end(at(2));
    assert!(r.ack_due());
}

/// What the peer asked for: few acknowledgements and this reordering threshold.
fn reordering(threshold: u64) -> Received {
    let mut r = data();
    r.set_policy(AckPolicy { eliciting_threshold: 1000, max_ack_delay: ms(100), reordering_threshold: threshold });
    r
}

#[test]
fn reordering_is_reported_as_the_draft_s_tables_say() {
    // draft-ietf-quic-ack-frequency section 6.2.1, tables 1 and 2.
    let tables: [(u64, &[(u64, bool)]); 2] = [
        (3, &[(0, false), (1, false), (3, false), (4, false), (5, true), (8, false), (9, true), (10, true)]),
        (5, &[(0, false), (1, false), (3, false), (5, false), (6, false), (7, true), (8, false), (9, true)]),
    ];
    for (threshold, rows) in tables {
        let mut r = reordering(threshold);
        for (pn, due) in rows {
            take(&mut r, &[*pn], 0);
            assert_eq!(r.ack_due(), *due, "threshold {threshold}, packet {pn}");
            if *due {
                sent(&mut r);
            }
        }
    }
}

#[test]
fn a_packet_that_the_peer_has_given_up_is_reported_at_once() {
    let mut r = reordering(3);
    take(&mut r, &[0, 1, 3, 4, 5], 0);
    sent(&mut r);
    take(&mut r, &[6], 1);
    assert!(!r.ack_due());
    take(&mut r, &[2], 1);
    assert!(r.ack_due(), "2 <= 5 - 3: declared lost there");
    // With 0 nothing of that counts, with 1 everything.
    let mut none = reordering(0);
    take(&mut none, &[0, 9, 3], 0);
    assert!(!none.ack_due());
    let mut any = reordering(1);
    take(&mut any, &[0, 2], 0);
    assert!(any.ack_due());
}

#[test]
fn of_a_row_of_marks_only_the_first_is_urgent_when_acknowledgements_are_few() {
    let mut r = reordering(3);
    let mut arrive = |pn, ecn| {
        r.on_packet(pn, true, ecn, at(0));
        r.on_batch_end(at(0));
        let due = r.ack_due();
        if due {
            sent(&mut r);
        }
        due
    };
    assert!(!arrive(0, Ecn::Ect1));
    assert!(arrive(1, Ecn::Ce), "section 6.3");
    assert!(!arrive(2, Ecn::Ce));
    assert!(!arrive(3, Ecn::Ect1));
    assert!(arrive(4, Ecn::Ce));
}
