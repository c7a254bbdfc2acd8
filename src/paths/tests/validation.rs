//! RFC 9000 sections 8.1 and 8.2.
use super::*;
use crate::paths::validation::{Answer, MAX_RESPONSES};

#[test]
fn three_times_what_came_and_no_byte_more() {
    let mut b = Budget::new(false);
    assert_eq!(b.sendable(), 0);
    b.on_received(100);
    assert_eq!(b.sendable(), 300);
    b.on_sent(250);
    assert_eq!(b.sendable(), 50);
    b.on_sent(100);
    assert_eq!(b.sendable(), 0, "more than allowed is never negative room");
    b.on_received(17);
    assert_eq!(b.sendable(), 1);
    b.on_validated();
    assert_eq!(b.sendable(), u64::MAX);
    assert_eq!(Budget::new(true).sendable(), u64::MAX);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.1
//= type=test
//# The endpoint MUST use unpredictable data in every PATH_CHALLENGE frame so that it can associate the peer's response
//# with the corresponding PATH_CHALLENGE.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.4
//= type=test
//# This timer SHOULD be set as described in Section 6.2.1 of [QUIC-RECOVERY] and MUST NOT be more aggressive.
#[test]
fn a_challenge_is_answered_or_repeated_or_given_up() {
    let mut rng = Pcg::new(1);
    let mut v = Validation::new();
    assert_eq!(v.next_challenge(START, true, SECOND), None);
    v.start(&mut rng, START, SECOND);
    let first = v.next_challenge(START, true, SECOND).unwrap();
    assert_eq!(v.next_challenge(START, true, SECOND), None, "one at a time");
    assert_eq!(v.on_response([0; 8]), Answer::Unknown);
    assert_eq!(v.deadline(), Some(START + SECOND));
    assert!(!v.on_deadline(START + SECOND, &mut rng));
    let second = v.next_challenge(START + SECOND, true, SECOND).unwrap();
    assert_ne!(first, second, "fresh data every time");
    assert_eq!(v.deadline(), Some(START + SECOND * 3), "the second one waits twice as long");
    let mut answered = v.clone();
    assert_eq!(answered.on_response(first), Answer::Complete, "a late answer to the first counts");
    assert!(answered.is_validated() && answered.deadline().is_none());
    assert_eq!(answered.on_response(second), Answer::Unknown);
    assert!(v.on_deadline(START + SECOND * 3, &mut rng), "three PTOs");
    assert!(v.is_failed());
    assert_eq!(v.on_response(second), Answer::Unknown, "too late");
}

#[test]
fn a_small_challenge_proves_the_address_and_asks_again() {
    let mut rng = Pcg::new(1);
    let mut v = Validation::new();
    v.start(&mut rng, START, SECOND);
    let small = v.next_challenge(START, false, SECOND).unwrap();
    assert_eq!(v.on_response(small), Answer::AddressOnly);
    assert!(!v.is_validated());
    let big = v.next_challenge(START, true, SECOND).unwrap();
    assert_ne!(big, small);
    assert_eq!(v.on_response(small), Answer::Unknown);
    assert_eq!(v.on_response(big), Answer::Complete);
}

#[test]
fn few_challenges_go_to_an_address_that_never_answers() {
    let mut rng = Pcg::new(1);
    let mut v = Validation::new();
    v.start(&mut rng, START, SECOND * 1000);
    let (mut now, mut sent) = (START, 0);
    while !v.is_failed() {
        if v.next_challenge(now, true, Duration::from_millis(1)).is_some() {
            sent += 1;
        }
        now = v.deadline().unwrap();
        v.on_deadline(now, &mut rng);
    }
    assert_eq!(sent, 6);
}

#[test]
fn a_peer_that_goes_on_speaking_is_asked_again() {
    let mut rng = Pcg::new(1);
    let mut v = Validation::new();
    v.on_heard(START, SECOND);
    assert_eq!(v.deadline(), None, "nothing was asked");
    v.start(&mut rng, START, SECOND);
    let (mut now, mut sent) = (START, 0);
    // It speaks for a hundred seconds and answers nothing.
    while now < START + SECOND * 100 {
        sent += u32::from(v.next_challenge(now, true, SECOND).is_some());
        v.on_heard(now, SECOND);
        now = v.deadline().unwrap().min(now + SECOND);
        assert!(!v.on_deadline(now, &mut rng), "not while it is heard");
    }
    assert!((10..=100).contains(&sent), "{sent} challenges, never more than one in a PTO");
    let last = now;
    while !v.is_failed() {
        now = v.deadline().unwrap();
        v.on_deadline(now, &mut rng);
        v.next_challenge(now, true, SECOND);
    }
    assert!(now.since(last) <= SECOND * 3);
}

#[test]
fn a_flood_of_challenges_owes_few_answers() {
    let mut v = Validation::new();
    for n in 0..1_000_000u64 {
        v.on_challenge(n.to_be_bytes());
    }
    let mut answers = Vec::new();
    while let Some(data) = v.take_response() {
        answers.push(u64::from_be_bytes(data));
    }
    let newest: Vec<u64> = (1_000_000 - MAX_RESPONSES as u64..1_000_000).collect();
    assert_eq!(answers, newest, "the newest, oldest first, each once");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.5
//= type=test
//# Similarly, an endpoint MUST NOT reuse a connection ID when sending to more than one destination address.
#[test]
fn the_answer_goes_where_the_question_came_from() {
    let mut w = world(Side::Server, tuple("198.51.100.7:1000"));
    let other = tuple("203.0.113.9:2000");
    let id = w.arrive(&other, 1200).unwrap();
    assert!(w.paths.on_path_challenge(id, [5; 8]), "worth a challenge of our own");
    w.paths.start_validation(id, &mut w.rng, w.now);
    assert_eq!(w.paths.wants_to_send(true, false), Some(id));
    assert_eq!(w.paths.wants_to_send(false, false), None, "no connection ID for it");
    assert_eq!(w.paths.cid_for(id, &mut w.cids).unwrap().sequence, 1, "a fresh ID for a new path");
    assert_eq!(w.paths.wants_to_send(false, false), Some(id));
    assert_eq!(w.paths.take_response(id), Some([5; 8]));
    assert_eq!(w.paths.take_response(id), None);
    let challenge = w.paths.next_challenge(id, w.now).unwrap();
    assert_eq!(w.paths.active_index(), 0, "probing moves nothing");
    // RFC 9000 section 8.2.3: the response may come by another path.
    let event = w.paths.on_path_response(0, challenge, w.now);
    assert_eq!(event, PathEvent::Validated { path: id, tuple: other });
    assert_eq!(w.paths.sendable(id), u64::MAX);
    assert!(!w.paths.on_path_challenge(id, [6; 8]), "already validated");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8
//= type=test
//# Therefore, after receiving packets from an address that is not yet validated, an endpoint MUST limit the amount of
//# data it sends to the unvalidated address to three times the amount of data received from that address.
#[test]
fn nothing_is_sent_without_budget() {
    let mut w = world(Side::Server, tuple("198.51.100.7:1000"));
    let id = w.arrive(&tuple("203.0.113.9:2000"), 20).unwrap();
    w.paths.on_path_challenge(id, [5; 8]);
    assert_eq!(w.paths.sendable(id), 60);
    assert_eq!(w.paths.wants_to_send(true, false), None);
    w.arrive(&tuple("203.0.113.9:2000"), 30);
    assert_eq!(w.paths.wants_to_send(true, false), Some(id));
    w.paths.start_validation(id, &mut w.rng, w.now);
    let small = w.paths.next_challenge(id, w.now).unwrap();
    w.paths.on_bytes_sent(id, 150);
    assert_eq!(w.paths.sendable(id), 0);
    assert_eq!(w.paths.on_path_response(id, small, w.now), PathEvent::None, "the MTU is not proved");
    assert_eq!(w.paths.sendable(id), u64::MAX, "but the address is");
    let big = w.paths.next_challenge(id, w.now).unwrap();
    assert!(matches!(w.paths.on_path_response(id, big, w.now), PathEvent::Validated { .. }));
}

/// A server keeps answering a client at an address that has not been proved in time, with the connection ID that it took for
/// it, until nothing is heard from there any more; a client forgets what it gave up.
#[test]
fn a_failed_path_stays_while_the_client_is_heard_there() {
    let mut w = world(Side::Server, tuple("198.51.100.7:1000"));
    let other = tuple("203.0.113.9:2000");
    let id = w.arrive(&other, 1200).unwrap();
    w.paths.on_path_challenge(id, [5; 8]);
    assert!(w.paths.take_response(id).is_some());
    w.paths.start_validation(id, &mut w.rng, w.now);
    let cid = w.paths.cid_for(id, &mut w.cids).unwrap();
    let mut failed = false;
    for _ in 0..20 {
        failed |= w.wait(SECOND / 2).iter().any(|e| matches!(e, PathEvent::Failed { path, .. } if *path == id));
        assert_eq!(w.arrive(&other, 1200), Some(id), "the same path");
        w.paths.on_path_challenge(id, [6; 8]);
        assert_eq!(w.paths.cid_for(id, &mut w.cids).unwrap().sequence, cid.sequence);
        assert!(w.paths.take_response(id).is_some());
    }
    assert!(failed);
    w.wait(SECOND * 20);
    assert!(w.paths.get(id).is_none(), "nothing is heard there");
    let mut w = world(Side::Client, from_local("10.0.0.1:1", 0));
    let id = w.paths.open(from_local("10.0.0.2:1", 1), w.now).unwrap();
    w.paths.start_validation(id, &mut w.rng, w.now);
    assert!(matches!(w.wait(SECOND * 20)[..], [PathEvent::Failed { path, .. }] if path == id));
    assert!(w.paths.get(id).is_none());
}
