//! RFC 9000 sections 5.1, 19.15 and 19.16.
use super::*;
use crate::base::codes::transport::{CONNECTION_ID_LIMIT_ERROR, FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION};

fn peer() -> PeerCids {
    PeerCids::new(cid(0), 4)
}

fn wide(n: u64) -> ConnectionId {
    ConnectionId::new(&n.to_be_bytes()).unwrap()
}

#[test]
fn each_is_taken_once_in_order() {
    let mut p = peer();
    for n in [3, 1, 2] {
        assert!(!p.on_new(n, 0, cid(n as u8), token(n as u8)).unwrap());
    }
    let taken: Vec<u64> = core::iter::from_fn(|| p.take_unused()).map(|c| c.sequence).collect();
    assert_eq!(taken, [1, 2, 3]);
    assert!(p.is_reset_token(&token(2)));
    assert!(!p.is_reset_token(&token(9)));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
//= type=test
//# An endpoint MUST NOT check for any stateless reset tokens associated with connection IDs it has not used or for
//# connection IDs that have been retired.
#[test]
fn tokens_of_unused_ids_reset_nothing() {
    let mut p = peer();
    p.on_new(1, 0, cid(1), token(1)).unwrap();
    assert!(!p.is_reset_token(&token(1)));
    assert_eq!(p.take(1).unwrap().sequence, 1);
    assert_eq!(p.take(1), None);
    assert!(p.is_reset_token(&token(1)));
    p.set_initial_token(token(8));
    assert!(p.is_reset_token(&token(8)));
}

#[test]
fn repeated_frames_do_nothing_and_contradictions_are_errors() {
    let mut p = peer();
    for _ in 0..100_000 {
        p.on_new(1, 0, cid(1), token(1)).unwrap();
    }
    assert_eq!(p.unused(), 1);
    let code = |r: Result<bool, crate::base::TransportError>| r.unwrap_err().code;
    assert_eq!(code(p.on_new(1, 0, cid(2), token(1))), PROTOCOL_VIOLATION, "one number, two IDs");
    assert_eq!(code(peer().on_new(2, 0, cid(0), token(1))), PROTOCOL_VIOLATION, "one ID, two numbers");
    assert_eq!(code(p.on_new(1, 0, cid(1), token(2))), PROTOCOL_VIOLATION, "one ID, two tokens");
    assert_eq!(code(p.on_new(3, 4, cid(3), token(3))), FRAME_ENCODING_ERROR);
    let mut zero = PeerCids::new(ConnectionId::EMPTY, 4);
    assert_eq!(code(zero.on_new(1, 0, cid(1), token(1))), PROTOCOL_VIOLATION);
    assert!(zero.take_unused().is_some() && zero.take_unused().is_some(), "the empty one serves every path");
    zero.retire(0);
    assert!(!zero.wants_to_send());
    assert!(zero.on_preferred_address(cid(1), token(1)).is_err());
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.2
//= type=test
//# Upon receipt of an increased Retire Prior To field, the peer MUST stop using the corresponding connection IDs and
//# retire them with RETIRE_CONNECTION_ID frames before adding the newly provided connection ID to the set of active
//# connection IDs.
#[test]
fn the_limit_counts_after_retirement() {
    let mut p = peer();
    for n in 1..4 {
        p.on_new(n, 0, cid(n as u8), token(n as u8)).unwrap();
    }
    assert!(p.on_new(4, 1, cid(4), token(4)).unwrap(), "one in use is retired, one comes");
    assert_eq!(p.pop_retire(), Some(0));
    assert_eq!(p.on_new(5, 1, cid(5), token(5)).unwrap_err().code, CONNECTION_ID_LIMIT_ERROR);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
//= type=test
//# An endpoint that receives a NEW_CONNECTION_ID frame with a sequence number smaller than the Retire Prior To field of
//# a previously received NEW_CONNECTION_ID frame MUST send a corresponding RETIRE_CONNECTION_ID frame that retires the
//# newly received connection ID, unless it has already done so for that sequence number.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
//= type=test
//# A receiver MUST ignore any Retire Prior To fields that do not increase the largest received Retire Prior To value.
#[test]
fn late_frames_below_retire_prior_to_are_retired_at_once() {
    let mut p = peer();
    p.on_new(3, 2, cid(3), token(3)).unwrap();
    assert_eq!(p.pop_retire(), Some(0));
    p.on_new(1, 0, cid(1), token(1)).unwrap();
    assert_eq!(p.pop_retire(), Some(1));
    p.on_new(1, 0, cid(1), token(1)).unwrap();
    assert_eq!(p.pop_retire(), None, "once is enough");
    assert_eq!(p.take_unused().unwrap().sequence, 3);
    // One that we retired ourselves does not come back by a repeated frame.
    p.retire(3);
    p.on_new(3, 2, cid(3), token(3)).unwrap();
    assert_eq!(p.take_unused(), None);
}

#[test]
fn retirement_floods_are_cut_off() {
    // The peer forces retirements and never acknowledges our frames.
    let mut p = peer();
    let mut n = 1u64;
    let error = loop {
        match p.on_new(n, n, wide(n), token(1)) {
            Ok(_) => n += 1,
            Err(e) => break e,
        }
        p.pop_retire();
        assert!(n < 100);
    };
    assert_eq!(error.code, CONNECTION_ID_LIMIT_ERROR);
    // One that acknowledges may go on for ever.
    let mut p = peer();
    for n in 1..100_000 {
        p.on_new(n, n, wide(n), token(1)).unwrap();
        while let Some(sequence) = p.pop_retire() {
            p.on_retire_acked(sequence);
        }
    }
    // Gaps in the numbers are bounded too.
    let mut p = peer();
    let mut n = 2u64;
    while p.on_new(n, n, wide(n), token(1)).is_ok() {
        while let Some(sequence) = p.pop_retire() {
            p.on_retire_acked(sequence);
        }
        n += 2;
        assert!(n < 1000);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.2
//= type=test
//# An endpoint MUST NOT forget a connection ID without retiring it, though it MAY choose to treat having connection IDs
//# in need of retirement that exceed this limit as a connection error of type CONNECTION_ID_LIMIT_ERROR.
#[test]
fn lost_retirements_are_sent_again() {
    let mut p = peer();
    p.on_new(1, 1, cid(1), token(1)).unwrap();
    assert_eq!(p.pop_retire(), Some(0));
    assert!(!p.wants_to_send());
    p.on_retire_lost(0);
    p.on_retire_lost(0);
    assert_eq!(p.pop_retire(), Some(0));
    assert_eq!(p.pop_retire(), None);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.2
//= type=test
//# Upon receipt of an increased Retire Prior To field, the peer MUST stop using the corresponding connection IDs and
//# retire them with RETIRE_CONNECTION_ID frames before adding the newly provided connection ID to the set of active
//# connection IDs.
#[test]
fn paths_get_other_ids_when_theirs_are_retired() {
    let mut w = world(Side::Server, tuple("198.51.100.7:1"));
    assert!(w.cids.on_new(4, 2, cid(4), token(4)).unwrap());
    w.paths.refresh_cids(&mut w.cids);
    assert_eq!(w.paths.active().cid.unwrap().sequence, 2);
    assert!(w.cids.on_new(9, 9, cid(9), token(9)).unwrap());
    w.paths.refresh_cids(&mut w.cids);
    assert_eq!(w.paths.active().cid.unwrap().sequence, 9);
}

#[test]
fn we_issue_up_to_the_peers_limit_and_replace_what_it_retires() {
    let mut l = LocalCids::new(cid(0));
    assert_eq!(l.wanted(4), 3);
    assert_eq!(l.wanted(4), 0, "asked for already");
    for n in 1..4 {
        assert_eq!(l.issue(cid(n), token(n)), u64::from(n));
    }
    assert_eq!(l.wanted(4), 0);
    let frames: Vec<NewCid> = core::iter::from_fn(|| l.pop_new()).collect();
    assert_eq!(frames.len(), 3);
    assert_eq!((frames[1].sequence, frames[1].cid), (2, cid(2)));
    l.on_lost(2);
    l.on_lost(2);
    assert_eq!(l.pop_new().unwrap().sequence, 2);
    assert!(!l.wants_to_send());
    assert_eq!(l.on_retire(2, &cid(1)).unwrap(), Some(cid(2)));
    assert_eq!(l.on_retire(2, &cid(1)).unwrap(), None, "again: nothing");
    l.on_lost(2);
    assert_eq!(l.pop_new(), None, "retired, so not sent again");
    assert!(!l.contains(&cid(2)) && l.contains(&cid(1)));
    assert_eq!(l.wanted(4), 1);
    assert_eq!(l.wanted(u64::MAX), 4, "we keep no more than eight");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
//= type=test
//# An endpoint MUST NOT send this frame if it currently requires that its peer send packets with a zero-length
//# Destination Connection ID.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.16
//= type=test
//# An endpoint that provides a zero- length connection ID MUST treat receipt of a RETIRE_CONNECTION_ID frame as a
//# connection error of type PROTOCOL_VIOLATION.
#[test]
fn retirements_that_break_the_rules() {
    let mut l = LocalCids::new(cid(0));
    l.issue(cid(1), token(1));
    assert_eq!(l.on_retire(2, &cid(0)).unwrap_err().code, PROTOCOL_VIOLATION, "never issued");
    assert_eq!(l.on_retire(1, &cid(1)).unwrap_err().code, PROTOCOL_VIOLATION, "the one it was sent to");
    let mut empty = LocalCids::new(ConnectionId::EMPTY);
    assert_eq!(empty.wanted(8), 0);
    assert_eq!(empty.on_retire(0, &ConnectionId::EMPTY).unwrap_err().code, PROTOCOL_VIOLATION);
}

#[test]
fn the_preferred_address_has_number_one() {
    let mut l = LocalCids::new(cid(0));
    l.issue_preferred(cid(1), token(1));
    assert_eq!(l.pop_new(), None, "it travels as a transport parameter");
    assert_eq!(l.issue(cid(2), token(2)), 2);
    assert_eq!(l.sequence_of(&cid(1)), Some(1));
    let mut p = peer();
    p.on_preferred_address(cid(1), token(1)).unwrap();
    assert_eq!(p.take(1).unwrap().cid, cid(1));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
//= type=test
//# The value in the Retire Prior To field MUST be less than or equal to the value in the Sequence Number field.
#[test]
fn a_peer_without_spare_ids_gets_one_for_giving_up_the_oldest() {
    let (mut ours, mut theirs) = (LocalCids::new(cid(0)), PeerCids::new(cid(0), 2));
    let pass = |ours: &mut LocalCids, theirs: &mut PeerCids| {
        while let Some(n) = ours.pop_new() {
            theirs.on_new(n.sequence, n.retire_prior_to, n.cid, n.token).unwrap();
        }
    };
    assert_eq!(ours.wanted(2), 1);
    ours.issue(cid(1), token(1));
    pass(&mut ours, &mut theirs);
    assert_eq!(theirs.take_unused().map(|c| c.sequence), Some(1));
    assert_eq!((theirs.take_unused(), ours.wanted(2), ours.again()), (None, 0, None));

    assert!(ours.rotate(2));
    assert_eq!(ours.wanted(2), 1);
    assert!(!ours.rotate(2), "one at a time");
    ours.issue(cid(2), token(2));
    // The frame travels twice: queued, and with the challenge; it is within the peer's limit both times.
    let again = ours.again().unwrap();
    assert_eq!((again.sequence, again.retire_prior_to), (2, 1));
    pass(&mut ours, &mut theirs);
    theirs.on_new(again.sequence, again.retire_prior_to, again.cid, again.token).unwrap();
    assert_eq!(theirs.take_unused().map(|c| c.sequence), Some(2));
    assert!(ours.contains(&cid(0)), "routed until the peer says that it is done");
    assert_eq!(theirs.pop_retire(), Some(0));
    assert_eq!(ours.on_retire(0, &cid(2)).unwrap(), Some(cid(0)));
    assert_eq!((ours.again(), ours.wanted(2)), (None, 0));

    // An older frame that is lost is repeated without asking for its own retirement.
    let mut late = LocalCids::new(cid(0));
    late.issue(cid(1), token(1));
    late.issue(cid(2), token(2));
    while late.pop_new().is_some() {}
    assert!(late.rotate(2) && late.rotate(2));
    late.on_lost(1);
    late.on_lost(2);
    while let Some(n) = late.pop_new() {
        assert!(n.retire_prior_to <= n.sequence, "{n:?}");
    }

    // A peer that never answers cannot make us issue without end.
    let mut issued = 0;
    for n in 3..50 {
        if ours.rotate(2) {
            issued += ours.wanted(2);
            ours.issue(cid(n), token(n));
        }
    }
    assert_eq!(issued, 2);
    assert!(!LocalCids::new(cid(0)).rotate(2), "the only one stays");
}

#[test]
fn scarce_ids_go_where_the_peer_was_heard_last() {
    let mut w = world(Side::Server, tuple("198.51.100.7:1"));
    w.wait(Duration::from_millis(10));
    // The client asks from another address, and all that we have are IDs which it now wants back.
    let asked = w.arrive(&tuple("203.0.113.5:1"), 1200).unwrap();
    w.paths.on_path_challenge(asked, [1; 8]);
    while w.cids.take_unused().is_some() {}
    assert!(w.cids.on_new(9, 9, cid(9), token(9)).unwrap());
    w.paths.refresh_cids(&mut w.cids);
    assert_eq!(w.paths.get(asked).unwrap().cid.map(|c| c.sequence), Some(9));
    assert_eq!(w.paths.active().cid, None);
}
