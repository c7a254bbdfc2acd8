use super::*;
use crate::base::{Dir, Side};
use proptest::prelude::*;

fn id(index: u64) -> StreamId {
    StreamId::new(Side::Client, Dir::Bi, index)
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-3.2
//= type=test
//# Before a stream is created, all streams of the same type with lower- numbered stream IDs MUST be created.
#[test]
fn a_high_stream_opens_the_lower_ones_for_nothing() {
    let mut ids = RemoteIds::new(1_000_000);
    assert_eq!(ids.touch(id(999_999)), Ok(RemoteState::Fresh));
    assert_eq!(ids.dormant.len(), 1);
    assert_eq!(ids.touch(id(5)), Ok(RemoteState::Fresh));
    assert_eq!(ids.touch(id(5)), Ok(RemoteState::Known));
    assert_eq!(ids.touch(id(999_999)), Ok(RemoteState::Known));
    assert_eq!(ids.touch(id(1_000_000)).unwrap_err().code, STREAM_LIMIT_ERROR);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
//= type=test
//# An endpoint MUST NOT wait to receive this signal before advertising additional credit, since doing so will mean that
//# the peer will be blocked for at least an entire round trip, and potentially indefinitely if the peer chooses not to
//# send STREAMS_BLOCKED frames.
#[test]
fn closing_returns_credit_in_steps() {
    let mut ids = RemoteIds::new(100);
    for i in 0..100 {
        ids.touch(id(i)).unwrap();
    }
    assert!(ids.touch(id(100)).is_err());
    let mut updates = Vec::new();
    for i in 1..=50 {
        if ids.on_closed() {
            updates.push((i, ids.renew()));
        }
    }
    assert_eq!(updates, [(12, 112), (24, 124), (36, 136), (48, 148)]);
    assert!(ids.could_renew());
    assert_eq!(ids.renew(), 150);
    assert!(ids.touch(id(149)).is_ok() && ids.touch(id(150)).is_err());
}

#[test]
fn one_allowed_stream_is_renewed_at_once() {
    let mut ids = RemoteIds::new(1);
    ids.touch(id(0)).unwrap();
    assert!(ids.on_closed());
    assert_eq!(ids.renew(), 2);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-2.1
//= type=test
//# A QUIC endpoint MUST NOT reuse a stream ID within a connection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
//= type=test
//# Endpoints MUST NOT exceed the limit set by their peer.
//= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
//= type=test
//# MAX_STREAMS frames that do not increase the stream limit MUST be ignored.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.11
//= type=test
//# MAX_STREAMS frames that do not increase the stream limit MUST be ignored.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.11
//= type=test
//# An endpoint MUST NOT open more streams than permitted by the current stream limit set by its peer.
#[test]
fn our_own_streams_obey_the_peer() {
    let mut ids = LocalIds::default();
    assert_eq!(ids.open(), None);
    assert!(ids.report_blocked() && !ids.report_blocked());
    assert!(ids.raise(2) && !ids.raise(1));
    assert_eq!((ids.open(), ids.open(), ids.open()), (Some(0), Some(1), None));
    assert!(ids.exists(1) && !ids.exists(2));
    assert!(ids.report_blocked());
    assert!(ids.still_blocked());
    ids.raise(3);
    assert!(!ids.still_blocked());
    // A rejected 0-RTT voids the limit, not what was opened: no number comes twice.
    ids.restart();
    assert_eq!(ids.open(), None);
    ids.raise(5);
    assert_eq!((ids.open(), ids.open(), ids.open(), ids.open()), (Some(2), Some(3), Some(4), None));
}

proptest! {
    /// Against a plain list of every stream: what is new, what is known, what is too many.
    #[test]
    fn the_peers_streams_are_counted_right(ops in prop::collection::vec((0..40u64, any::<bool>()), 1..120)) {
        let mut ids = RemoteIds::new(10);
        let (mut limit, mut opened) = (10u64, std::collections::BTreeMap::new());
        let mut next = 0;
        for (n, close) in ops {
            let index = n.min(next + 12);
            if close {
                // Streams end in any order; each of them once.
                let live = opened.iter().find(|(_, state)| **state == 1).map(|(i, _)| *i);
                if let Some(i) = live {
                    opened.insert(i, 2);
                    if ids.on_closed() {
                        limit = ids.renew();
                    }
                }
                continue;
            }
            let got = ids.touch(id(index));
            if index >= limit {
                prop_assert_eq!(got.unwrap_err().code, STREAM_LIMIT_ERROR);
                continue;
            }
            let fresh = opened.insert(index, opened.get(&index).map_or(1, |s: &i32| (*s).max(1))).is_none();
            prop_assert_eq!(got, Ok(if fresh { RemoteState::Fresh } else { RemoteState::Known }));
            next = next.max(index + 1);
            let alive = opened.values().filter(|s| **s == 1).count() as u64;
            prop_assert!(alive <= 10 && limit <= 10 + opened.values().filter(|s| **s == 2).count() as u64);
        }
    }
}
