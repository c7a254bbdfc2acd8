//! RTT (RFC 9002 section 5), PTO (6.2), anti-deadlock (6.2.2.1), discarding (6.4), memory when quiet.
use super::*;

//= https://www.rfc-editor.org/rfc/rfc9002#section-5.2
//= type=test
//# min_rtt MUST be set to the latest_rtt on the first RTT sample. min_rtt MUST be set to the lesser of min_rtt and
//# latest_rtt (Section 5.1) on all other samples.
//= https://www.rfc-editor.org/rfc/rfc9002#section-5.3
//= type=test
//# MUST NOT subtract the acknowledgment delay from the RTT sample if the resulting value is smaller than the min_rtt.
#[test]
fn rtt_follows_section_5_3() {
    let mut rtt = Rtt::new(ms(333));
    assert_eq!(rtt.pto(ms(25)), ms(333) + ms(666) + ms(25));
    rtt.update(ms(100), ms(20), at(1));
    assert_eq!((rtt.smoothed(), rtt.var(), rtt.min(), rtt.latest()), (ms(100), ms(50), ms(100), ms(100)));
    // 120 - 10 is not below the minimum: the delay counts.
    rtt.update(ms(120), ms(10), at(2));
    assert_eq!(rtt.var(), ms(40), "3/4 * 50 + 1/4 * |100 - 110|, with the old smoothed value (erratum 7539)");
    assert_eq!(rtt.smoothed(), Duration::from_micros(101_250));
    // 120 - 30 is: it does not.
    rtt.update(ms(120), ms(30), at(3));
    assert_eq!(rtt.smoothed(), Duration::from_nanos((101_250_000 * 7 + 120_000_000) / 8));
    rtt.update(ms(80), ms(30), at(4));
    assert_eq!(rtt.min(), ms(80));
    rtt.update(ms(200), Duration::ZERO, at(5));
    rtt.on_persistent_congestion();
    assert_eq!(rtt.min(), ms(200));
}

#[test]
fn rtt_survives_absurd_input() {
    let mut rtt = Rtt::new(ms(333));
    rtt.update(Duration::ZERO, Duration::MAX, at(1));
    rtt.update(Duration::from_secs(u64::from(u32::MAX)), Duration::MAX, at(2));
    assert!(rtt.pto(ms(16_384)) > ms(0));
    assert!(rtt.smoothed() > Duration::ZERO);
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
//= type=test
//# The PTO period MUST be at least kGranularity to avoid the timer expiring immediately.
#[test]
fn the_pto_is_never_below_the_granularity() {
    let mut rtt = Rtt::new(ms(333));
    for n in 0..200 {
        rtt.update(Duration::from_micros(3), Duration::ZERO, at(n));
    }
    assert!(rtt.var() * 4 < GRANULARITY);
    assert_eq!(rtt.pto(Duration::ZERO), rtt.smoothed() + GRANULARITY);
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-5.3
//= type=test
//# MUST use the lesser of the acknowledgment delay and the peer's max_ack_delay after the handshake is confirmed; and
#[test]
fn ack_delay_is_limited_only_after_confirmation() {
    for (confirmed, expected) in [(true, ms(100) + ms(75) / 8), (false, ms(100))] {
        let mut w = World::sampled();
        w.context.handshake_confirmed = confirmed;
        w.rearm(1000);
        let pn = w.send(1000);
        // 200 ms of which the peer says it waited 100: limited to max_ack_delay, 175 remain.
        w.try_ack(SpaceId::Data, &[pn..=pn], None, ms(100), 1200).expect("valid");
        assert_eq!(w.paths[0].rtt.smoothed(), expected);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-5.1
//= type=test
//# An RTT sample MUST NOT be generated on receiving an ACK frame that does not newly acknowledge at least one
//# ack-eliciting packet.
#[test]
fn no_sample_without_the_largest_or_without_ack_eliciting() {
    let mut w = World::new();
    let first = w.send(0);
    let only = w.send_ack_only(10);
    assert!(!w.ack(&[only..=only], 50).rtt_updated, "nothing ack-eliciting among the new");
    assert!(!w.ack(&[first..=only], 90).rtt_updated, "the largest was acknowledged before");
    let next = w.send(100);
    assert!(w.ack(&[next..=next], 140).rtt_updated);
    assert_eq!(w.paths[0].rtt.latest(), ms(40));
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2
//= type=test
//# A PTO timer expiration event does not indicate packet loss and MUST NOT cause prior unacknowledged packets to be
//# marked as lost.
//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
//= type=test
//# When a PTO timer expires, the PTO backoff MUST be increased, resulting in the PTO period being set to twice its
//# current value.
#[test]
fn first_pto_is_999_ms_and_doubles() {
    let mut w = World::connecting(Side::Client);
    w.send_in(SpaceId::Initial, 0);
    assert_eq!(w.deadline_us(), Some(999_000));
    assert_eq!(w.recovery.on_deadline(at(998), &mut w.paths, &mut w.log), TimeoutAction::Nothing);
    assert_eq!(w.fire(), TimeoutAction::Probe { space: SpaceId::Initial, packets: 2 });
    assert!(w.log.lost.is_empty(), "a PTO declares nothing lost");
    w.send_in(SpaceId::Initial, 999);
    assert_eq!(w.deadline_us(), Some((999 + 2 * 999) * 1000));
    w.fire();
    w.send_in(SpaceId::Initial, 2997);
    assert_eq!(w.deadline_us(), Some((2997 + 4 * 999) * 1000));
    assert_eq!(w.recovery.pto_count(), 2);
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
//= type=test
//# An endpoint MUST NOT set its PTO timer for the Application Data packet number space until the handshake is
//# confirmed.
#[test]
fn data_pto_waits_for_confirmation_and_includes_max_ack_delay() {
    let mut w = World::connecting(Side::Server);
    w.context.has_handshake_keys = true;
    w.send(0);
    // Only the handshake is kept going meanwhile: no probe of the Data space, and no max_ack_delay.
    assert_eq!(w.deadline_us(), Some(999_000));
    assert_eq!(w.fire(), TimeoutAction::Probe { space: SpaceId::Handshake, packets: 1 });
    let mut w = World::connecting(Side::Server);
    w.send(0);
    w.context.handshake_confirmed = true;
    w.rearm(5);
    assert_eq!(w.deadline_us(), Some(1_024_000));
    let mut w = World::sampled();
    w.send(200);
    assert_eq!(w.deadline_us(), Some((200 + 100 + 200 + 25) * 1000));
    w.fire();
    w.send(525);
    assert_eq!(w.deadline_us(), Some((525 + 2 * 325) * 1000), "max_ack_delay is backed off too");
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
//= type=test
//# When ack-eliciting packets in multiple packet number spaces are in flight, the timer MUST be set to the earlier
//# value of the Initial and Handshake packet number spaces.
//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2
//= type=test
//# When Initial or Handshake keys are discarded, the PTO and loss detection timers MUST be reset, because discarding
//# keys indicates forward progress and the loss detection timer might have been set for a now- discarded packet number
//# space.
//= https://www.rfc-editor.org/rfc/rfc9002#section-6.4
//= type=test
//# The sender MUST discard all recovery state associated with those packets and MUST remove them from the count of
//# bytes in flight.
#[test]
fn the_earlier_of_two_spaces_fires() {
    let mut w = World::connecting(Side::Server);
    w.send_in(SpaceId::Initial, 0);
    w.send_in(SpaceId::Handshake, 10);
    assert_eq!(w.deadline_us(), Some(999_000));
    assert_eq!(w.fire(), TimeoutAction::Probe { space: SpaceId::Initial, packets: 2 });
    w.recovery.discard_space(SpaceId::Initial, &mut w.paths);
    w.rearm(1000);
    assert_eq!(w.recovery.pto_count(), 0, "section 6.2.2: discarding keys is progress");
    assert_eq!(w.deadline_us(), Some((10 + 999) * 1000));
    assert_eq!(w.paths[0].in_flight(), u64::from(SIZE));
}

#[test]
fn an_acknowledgment_resets_the_backoff_but_not_at_an_unvalidated_client() {
    for (side, expected) in [(Side::Client, 1), (Side::Server, 0)] {
        let mut w = World::connecting(side);
        w.send_in(SpaceId::Initial, 0);
        w.fire();
        let pn = w.send_in(SpaceId::Initial, 999);
        w.try_ack(SpaceId::Initial, &[pn..=pn], None, Duration::ZERO, 1050).expect("valid");
        assert_eq!(w.recovery.pto_count(), expected, "{side:?}");
    }
    let mut w = World::connecting(Side::Client);
    w.send_in(SpaceId::Handshake, 0);
    w.fire();
    let pn = w.send_in(SpaceId::Handshake, 999);
    w.try_ack(SpaceId::Handshake, &[pn..=pn], None, Duration::ZERO, 1050).expect("valid");
    assert_eq!(w.recovery.pto_count(), 0, "a Handshake ACK proves validation");
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2.1
//= type=test
//# That is, the client MUST set the PTO timer if the client has not received an acknowledgment for any of its Handshake
//# packets and the handshake is not confirmed (see Section 4.1.2 of [QUIC-TLS]), even if there are no packets in
//# flight.
//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2.1
//= type=test
//# When the PTO fires, the client MUST send a Handshake packet if it has Handshake keys, otherwise it MUST send an
//# Initial packet in a UDP datagram with a payload of at least 1200 bytes.
#[test]
fn a_client_with_nothing_in_flight_keeps_the_handshake_alive() {
    let mut w = World::connecting(Side::Client);
    let pn = w.send_in(SpaceId::Initial, 0);
    w.try_ack(SpaceId::Initial, &[pn..=pn], None, Duration::ZERO, 100).expect("valid");
    // smoothed 100, variation 50: 300 ms from now, and later calls do not push it away.
    assert_eq!(w.deadline_us(), Some(400_000));
    w.rearm(350);
    assert_eq!(w.deadline_us(), Some(400_000));
    assert_eq!(w.fire(), TimeoutAction::Probe { space: SpaceId::Initial, packets: 1 });
    assert_eq!(w.deadline_us(), Some((400 + 600) * 1000));
    w.context.has_handshake_keys = true;
    w.rearm(450);
    assert_eq!(w.fire(), TimeoutAction::Probe { space: SpaceId::Handshake, packets: 1 });
    // 0-RTT data alone does not stop it either.
    w.send(1100);
    assert!(w.deadline_us().is_some());
    w.context.handshake_confirmed = true;
    w.rearm(1200);
    assert_eq!(w.fire(), TimeoutAction::Probe { space: SpaceId::Data, packets: 2 });
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2.1
//= type=test
//# If no additional data can be sent, the server's PTO timer MUST NOT be armed until datagrams have been received from
//# the client because packets sent on PTO count against the anti-amplification limit.
#[test]
fn a_server_at_its_amplification_limit_has_no_timer() {
    let mut w = World::connecting(Side::Server);
    w.send_in(SpaceId::Initial, 0);
    w.context.amplification_blocked = true;
    w.rearm(1);
    assert_eq!(w.deadline_us(), None);
    // A datagram arrives after the PTO would have expired: it fires at once (appendix A.6).
    w.context.amplification_blocked = false;
    w.rearm(5000);
    assert_eq!(
        w.recovery.on_deadline(at(5000), &mut w.paths, &mut w.log),
        TimeoutAction::Probe { space: SpaceId::Initial, packets: 2 }
    );
}

#[test]
fn probes_repeat_the_oldest_and_keep_them_outstanding() {
    let mut w = World::sampled();
    let sent = w.send_many(5, 200);
    assert_eq!(w.recovery.for_probe(SpaceId::Data, 2, &mut w.log), 2);
    assert_eq!(w.log.lost(), sent[..2]);
    assert_eq!(w.paths[0].in_flight(), 5 * u64::from(SIZE));
    w.log = Log::default();
    let outcome = w.ack(&[sent[0]..=sent[4]], 300);
    assert_eq!((outcome.acked_packets, outcome.lost_packets), (5, 0));
}

#[test]
fn requeue_reports_everything_once() {
    let mut w = World::connecting(Side::Client);
    let sent = w.send_many(3, 0);
    w.recovery.requeue_all(SpaceId::Data, &mut w.paths, &mut w.log);
    assert_eq!(w.log.lost(), sent);
    assert_eq!(w.paths[0].in_flight(), 0);
    assert_eq!(w.paths[0].congestion_events(), 0, "nobody is to blame");
    assert_eq!(w.recovery.next_packet_number(0, SpaceId::Data), 3, "RFC 9000 section 17.2.5.3: numbers go on");
}

#[test]
fn quiet_connections_give_their_memory_back() {
    let mut w = World::sampled();
    let sent = w.send_many(100, 200);
    w.send_ack_only(210);
    assert!(w.recovery.heap_bytes() > 3000);
    w.ack(&[50..=sent[99], sent[0]..=10], 300);
    w.ack(&[sent[0]..=49], 310);
    assert_eq!(w.paths[0].in_flight(), 0);
    // The timer's last job.
    assert_eq!(w.deadline_us(), Some(560_000));
    assert_eq!(w.fire(), TimeoutAction::Nothing);
    assert_eq!(w.recovery.heap_bytes(), 0);
    assert_eq!(w.deadline_us(), None);
    // Struct plus heap: a small part of the 8 KB that an idle connection may cost.
    assert!(size_of::<Recovery>() + size_of::<PathRecovery>() < 2048);
}

#[test]
fn steady_state_does_not_grow() {
    let mut w = World::sampled();
    let mut peak = 0;
    let mut oldest = w.send(100);
    for round in 0..2000u64 {
        let now = 200 + round;
        let mut newest = 0;
        for i in 0..20u64 {
            newest = w.send_packet(SpaceId::Data, eliciting(now), &[stream((round * 20 + i) * 1000, 1000)]);
        }
        if round >= 20 {
            // Twenty rounds behind; skipped numbers are nobody's to acknowledge.
            let upto = newest - 400;
            let mut ranges = Vec::new();
            let mut end = upto;
            for pn in (oldest..=upto).rev() {
                if w.recovery.data.was_skipped(pn) {
                    if end > pn {
                        ranges.push(pn + 1..=end);
                    }
                    end = pn - 1;
                }
            }
            ranges.push(oldest..=end);
            assert_eq!(w.ack(&ranges, now).lost_packets, 0);
            oldest = upto + 1;
        }
        w.log = Log::default();
        if round == 100 {
            peak = w.recovery.heap_bytes();
        }
        assert!(round <= 100 || w.recovery.heap_bytes() <= peak, "grew in round {round}");
    }
}
