use super::*;
use proptest::prelude::*;

const RTT: Duration = Duration::from_millis(50);

fn at(ms: u64) -> Timestamp {
    Timestamp(ms * 1_000_000)
}

#[test]
fn credit_is_renewed_at_half() {
    let mut w = ReceiveWindow::new(1000, 1000);
    w.on_received(600, at(1));
    assert!(!w.on_consumed(499));
    assert!(w.on_consumed(1));
    assert_eq!(w.renew(at(2), RTT), 1500);
    assert!(!w.wants_renewal());
    assert_eq!(w.check(901), Err(Exceeded));
    assert_eq!(w.check(900), Ok(()));
    assert_eq!(w.check(u64::MAX), Err(Exceeded));
}

#[test]
fn a_window_grows_with_consumption_not_with_offsets() {
    // Consumed within two round trips: doubles up to the ceiling.
    let mut quick = ReceiveWindow::new(1000, 6000);
    let mut now = 1;
    for _ in 0..10 {
        let n = quick.advertised() - quick.received();
        quick.on_received(n, at(now));
        now += 20;
        assert!(quick.on_consumed(n));
        quick.renew(at(now), RTT);
    }
    assert_eq!(quick.size(), 6000);
    // The same bytes at leisure: stays.
    let mut slow = ReceiveWindow::new(1000, 6000);
    for round in 1..10u64 {
        let n = slow.advertised() - slow.received();
        slow.on_received(n, at(round * 1000));
        assert!(slow.on_consumed(n));
        slow.renew(at(round * 1000 + 500), RTT);
    }
    assert_eq!(slow.size(), 1000);
    // A peer that fills the window but is not read gains nothing.
    let mut unread = ReceiveWindow::new(1000, 6000);
    unread.on_received(1000, at(1));
    assert!(!unread.wants_renewal());
    assert_eq!(unread.renew(at(2), RTT), 1000);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-4.1
//= type=test
//# A sender MUST ignore any MAX_STREAM_DATA or MAX_DATA frames that do not increase flow control limits.
#[test]
fn blocked_is_said_once_per_limit() {
    let mut c = SendCredit::default();
    assert!(c.report_blocked());
    assert!(!c.report_blocked() && c.still_blocked());
    assert!(c.raise(10) && !c.raise(10) && !c.raise(3));
    assert_eq!(c.limit(), 10);
    assert!(!c.report_blocked() && !c.still_blocked());
    c.spend(10);
    assert!(c.report_blocked());
    assert!(!c.report_blocked());
}

proptest! {
    #[test]
    fn the_peer_can_never_make_us_hold_more_than_the_window(
        steps in prop::collection::vec((0u64..5000, 0u64..5000, 0u64..200), 1..200),
    ) {
        let mut w = ReceiveWindow::new(2000, 32_000);
        let mut now = 1;
        for (send, read, wait) in steps {
            now += wait;
            if w.check(send).is_ok() {
                w.on_received(send, at(now));
            } else {
                prop_assert!(w.received() + send > w.advertised());
            }
            if w.on_consumed(read.min(w.received() - w.consumed())) {
                let before = w.advertised();
                prop_assert!(w.renew(at(now), RTT) >= before);
            }
            prop_assert!(w.consumed() <= w.received() && w.received() <= w.advertised());
            prop_assert!(w.advertised() - w.consumed() <= w.size() && w.size() <= 32_000);
            prop_assert!(w.advertised() > w.received() || w.received() > w.consumed(), "a peer is never stuck for good");
        }
    }
}
