use super::*;
use SendState::*;
use proptest::prelude::*;

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
    assert_eq!(s.on_acked(3..5, true, &mut pool), Acked { freed: 0, ..Acked::default() });
    assert_eq!(s.on_acked(0..3, false, &mut pool), Acked { freed: 5, complete: true, reset: false });
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

#[derive(Clone, Copy, Debug)]
enum Op {
    Write(usize),
    Finish,
    Send(usize),
    Ack(usize),
    Lose(usize),
    Credit(u64),
    Reset,
    Stop,
    AckReset,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1..400usize).prop_map(Op::Write),
        Just(Op::Finish),
        (0..300usize).prop_map(Op::Send),
        any::<usize>().prop_map(Op::Ack),
        any::<usize>().prop_map(Op::Lose),
        (0..2000u64).prop_map(Op::Credit),
        Just(Op::Reset),
        Just(Op::Stop),
        Just(Op::AckReset),
    ]
}

proptest! {
    /// RFC 9000 figure 2: only its arrows are followed, and what the peer is told never contradicts itself.
    #[test]
    fn the_states_of_figure_2(ops in prop::collection::vec(op(), 1..120)) {
        let (mut s, mut pool) = half(500);
        let mut in_flight = Vec::new();
        let (mut limit, mut final_size, mut resets) = (500u64, None, None);
        for op in ops {
            let before = s.state();
            match op {
                Op::Write(n) => {
                    let allowed = s.check_writable().is_ok();
                    prop_assert!(!allowed || matches!(before, Ready | Send));
                    if allowed {
                        s.buffer.write(&vec![7; n], &mut pool);
                    }
                }
                Op::Finish => prop_assert_eq!(s.check_writable().is_ok(), s.finish().is_ok()),
                Op::Send(room) => {
                    if let Some((range, fin)) = s.next_frame(room, u64::MAX >> 2) {
                        prop_assert!(matches!(before, Ready | Send | DataSent), "a frame in {:?}", before);
                        prop_assert!(range.end <= limit, "beyond the credit");
                        prop_assert!(final_size.is_none_or(|size| range.end <= size && (!fin || range.end == size)));
                        if fin {
                            final_size = Some(range.end);
                        }
                        s.on_sent(range.clone(), fin);
                        in_flight.push((range, fin));
                    }
                }
                Op::Ack(pick) | Op::Lose(pick) if !in_flight.is_empty() => {
                    let (range, fin) = in_flight.swap_remove(pick % in_flight.len());
                    if matches!(op, Op::Ack(_)) {
                        s.on_acked(range, fin, &mut pool);
                    } else {
                        s.on_lost(range, fin);
                    }
                }
                Op::Ack(_) | Op::Lose(_) => {}
                Op::Credit(max) => {
                    limit = limit.max(max);
                    s.credit.raise(max);
                }
                Op::Reset => {
                    let freed = s.reset(1, &mut pool);
                    prop_assert_eq!(freed.is_some(), matches!(before, Ready | Send | DataSent));
                }
                Op::Stop => {
                    s.stop(2, &mut pool);
                }
                Op::AckReset => s.on_reset_acked(),
            }
            let after = s.state();
            let arrow = before == after
                || matches!(
                    (before, after),
                    (Ready, Send | DataSent | ResetSent)
                        | (Send, DataSent | ResetSent)
                        | (DataSent, DataRecvd | ResetSent)
                        | (ResetSent, ResetRecvd)
                );
            prop_assert!(arrow, "{:?} to {:?} by {:?}", before, after, op);
            prop_assert_eq!(s.is_over(), matches!(after, DataRecvd | ResetRecvd));
            if let Some(said) = s.reset_frame() {
                prop_assert_eq!(*resets.get_or_insert(said), said, "RESET_STREAM changed");
                prop_assert!(final_size.is_none_or(|size| size == said.1));
            }
        }
    }
}
