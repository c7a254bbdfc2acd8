use super::*;
use SendState::*;

fn half(limit: u64) -> (SendHalf, SlabPool) {
    (SendHalf::new(limit), SlabPool::default())
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-4.5
//= type=test
//# An endpoint MUST NOT send data on a stream at or beyond the final size.
#[test]
fn from_ready_to_data_recvd() {
    let (mut s, mut pool) = half(100);
    assert_eq!(s.state(), Ready);
    s.buffer.write(b"hello", &mut pool);
    assert_eq!(s.next_frame(3, 100), Some((0..3, false)));
    assert_eq!(s.on_sent(0..3, false), 3);
    assert_eq!(s.state(), Send);
    s.finish().unwrap();
    assert_eq!(s.finish(), Err(WriteError::Closed));
    assert_eq!(s.next_frame(99, 100), Some((3..5, true)));
    s.on_sent(3..5, true);
    assert_eq!(s.state(), DataSent);
    assert_eq!(s.next_frame(99, 100), None);
    assert_eq!(s.check_writable(), Err(WriteError::Closed), "nothing comes behind the final size");
    assert_eq!(s.on_acked(3..5, true, &mut pool), Acked { freed: 0, complete: false });
    assert_eq!(s.on_acked(0..3, false, &mut pool), Acked { freed: 5, complete: true });
    assert!(s.is_over());
    assert_eq!(s.reset(1, &mut pool), None, "nothing left to abandon");
}

#[test]
fn a_bare_fin_needs_no_credit_and_is_repeated_when_lost() {
    let (mut s, mut pool) = half(0);
    s.finish().unwrap();
    assert!(s.has_free_data());
    assert_eq!(s.next_frame(10, 0), Some((0..0, true)));
    s.on_sent(0..0, true);
    assert_eq!(s.next_frame(10, 0), None);
    assert!(s.on_lost(0..0, true));
    assert_eq!(s.next_frame(10, 0), Some((0..0, true)));
    s.on_sent(0..0, true);
    assert!(s.on_acked(0..0, true, &mut pool).complete);
    assert!(!s.on_lost(0..0, true), "a late loss changes nothing");
}

#[test]
fn a_lost_end_carries_its_fin_again() {
    let (mut s, mut pool) = half(100);
    s.buffer.write(b"hello", &mut pool);
    s.finish().unwrap();
    s.on_sent(0..5, true);
    assert!(s.on_lost(0..5, true));
    assert_eq!(s.next_frame(2, 0), Some((0..2, false)));
    s.on_sent(0..2, false);
    assert_eq!(s.next_frame(9, 0), Some((2..5, true)));
    s.on_sent(2..5, true);
    assert_eq!(s.next_frame(9, 0), None);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-19.10
//= type=test
//# The data sent on a stream MUST NOT exceed the largest maximum stream data value advertised by the receiver.
#[test]
fn credit_stops_new_data_only() {
    let (mut s, mut pool) = half(3);
    s.buffer.write(b"hello", &mut pool);
    assert_eq!(s.next_frame(99, 2), Some((0..2, false)));
    s.on_sent(0..2, false);
    assert_eq!(s.next_frame(99, 99), Some((2..3, false)));
    s.on_sent(2..3, false);
    assert!(s.is_blocked() && !s.has_new_data());
    s.finish().unwrap();
    assert_eq!(s.next_frame(99, 99), None, "the FIN waits behind the data");
    s.credit.raise(5);
    assert_eq!(s.next_frame(99, 99), Some((3..5, true)));
}

#[test]
fn reset_from_every_sending_state() {
    for (written, sent, finish) in [(0, 0, false), (5, 0, false), (5, 3, false), (5, 5, true)] {
        let (mut s, mut pool) = half(100);
        s.buffer.write(&b"hello"[..written], &mut pool);
        if finish {
            s.finish().unwrap();
        }
        s.on_sent(0..sent, finish);
        assert_eq!(s.reset(7, &mut pool), Some(written as u64));
        assert_eq!(s.state(), ResetSent);
        assert_eq!(s.reset_frame(), Some((7, sent)), "the final size is what was sent");
        assert_eq!(s.check_writable(), Err(WriteError::Closed));
        assert_eq!(s.next_frame(99, 99), None);
        assert!(!s.on_lost(0..sent, finish));
        s.on_reset_acked();
        assert_eq!(s.state(), ResetRecvd);
        assert!(s.is_over() && s.reset_frame().is_none());
    }
}

#[test]
fn stop_sending_is_remembered() {
    let (mut s, mut pool) = half(100);
    assert_eq!(s.stop(9, &mut pool), Some(0));
    assert_eq!(s.check_writable(), Err(WriteError::Stopped(9)));
    assert_eq!(s.stop(10, &mut pool), None);
    assert_eq!(s.reset_frame(), Some((9, 0)));
}
