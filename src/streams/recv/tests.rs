use super::*;
use crate::base::codes::transport::{FINAL_SIZE_ERROR, FLOW_CONTROL_ERROR};
use RecvState::*;
use proptest::prelude::*;

struct Half {
    recv: RecvHalf,
    connection: ReceiveWindow,
    pool: SlabPool,
}

const NOW: Timestamp = Timestamp(1);

impl Half {
    fn new(stream: u64, connection: u64) -> Self {
        Self {
            recv: RecvHalf::new(ReceiveWindow::new(stream, stream)),
            connection: ReceiveWindow::new(connection, connection),
            pool: SlabPool::default(),
        }
    }

    fn data(&mut self, offset: u64, len: usize, fin: bool) -> Result<Received, u64> {
        self.recv.on_stream(offset, &vec![1; len], fin, &mut self.connection, &mut self.pool, NOW).map_err(|e| e.code)
    }

    fn reset(&mut self, size: u64) -> Result<Received, u64> {
        self.recv.on_reset(5, size, &mut self.connection, &mut self.pool, NOW).map_err(|e| e.code)
    }

    fn read(&mut self, n: usize) -> Result<(usize, bool), ReadError> {
        self.recv.check_readable()?;
        let n = self.recv.data.read(&mut vec![0; n], &mut self.pool);
        Ok((n, self.recv.on_read(n as u64, &mut self.connection, &mut self.pool).fin))
    }
}

#[test]
fn from_recv_to_data_read() {
    let mut h = Half::new(100, 100);
    assert_eq!(h.read(1), Err(ReadError::Blocked));
    assert!(!h.data(5, 5, true).unwrap().readable);
    assert_eq!(h.recv.state(), SizeKnown);
    assert!(h.data(0, 5, false).unwrap().readable);
    assert_eq!(h.recv.state(), DataRecvd);
    assert_eq!(h.read(4), Ok((4, false)));
    assert_eq!(h.read(99), Ok((6, true)));
    assert_eq!(h.recv.state(), DataRead);
    assert!(h.recv.is_over());
    assert_eq!(h.read(1), Err(ReadError::Finished));
}

#[test]
fn a_bare_fin_is_news() {
    let mut h = Half::new(100, 100);
    h.data(0, 3, false).unwrap();
    assert_eq!(h.read(9), Ok((3, false)));
    assert!(h.data(3, 0, true).unwrap().readable);
    assert_eq!(h.read(9), Ok((0, true)));
    // Repetitions after the end are harmless.
    assert_eq!(h.data(0, 3, true), Ok(Received::default()));
}

/// Offset, length, fin of a received frame.
type Piece = (u64, usize, bool);

#[test]
fn the_final_size_is_final() {
    // RFC 9000 section 4.5.
    let cases: [(&[Piece], Piece); 5] = [
        (&[(0, 10, true)], (10, 1, false)),
        (&[(0, 10, true)], (0, 9, true)),
        (&[(0, 10, true)], (5, 6, true)),
        (&[(0, 10, false)], (0, 9, true)),
        (&[(0, 10, false)], (3, 0, true)),
    ];
    for (before, bad) in cases {
        let mut h = Half::new(100, 100);
        for (o, n, f) in before {
            h.data(*o, *n, *f).unwrap();
        }
        assert_eq!(h.data(bad.0, bad.1, bad.2), Err(FINAL_SIZE_ERROR), "{before:?} {bad:?}");
    }
    for size in [9, 11] {
        let mut h = Half::new(100, 100);
        h.data(0, 10, true).unwrap();
        assert_eq!(h.reset(size), Err(FINAL_SIZE_ERROR));
        let mut h = Half::new(100, 100);
        h.reset(10).unwrap();
        assert_eq!(h.reset(size), Err(FINAL_SIZE_ERROR));
        assert_eq!(h.data(0, size as usize, true), Err(FINAL_SIZE_ERROR));
    }
    let mut h = Half::new(100, 100);
    h.data(0, 10, false).unwrap();
    assert_eq!(h.reset(9), Err(FINAL_SIZE_ERROR));
}

#[test]
fn both_windows_are_enforced() {
    let mut h = Half::new(10, 100);
    assert_eq!(h.data(0, 11, false), Err(FLOW_CONTROL_ERROR));
    assert_eq!(h.data(10, 1, false), Err(FLOW_CONTROL_ERROR));
    assert_eq!(h.reset(11), Err(FLOW_CONTROL_ERROR));
    assert_eq!(h.reset(varint::MAX), Err(FLOW_CONTROL_ERROR));
    assert!(h.data(0, 10, false).is_ok());
    let mut h = Half::new(100, 10);
    assert_eq!(h.data(0, 11, false), Err(FLOW_CONTROL_ERROR));
    assert_eq!(h.data(varint::MAX, 1, false), Err(FRAME_ENCODING_ERROR));
    assert_eq!(h.data(u64::MAX, 1, false), Err(FRAME_ENCODING_ERROR));
    // A gap counts: the highest offset is charged.
    assert!(h.data(9, 1, false).is_ok());
    assert_eq!(h.connection.received(), 10);
    assert!(h.data(0, 9, false).is_ok());
    assert_eq!(h.connection.received(), 10);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-4.5
//= type=test
//# The receiver MUST use the final size of the stream to account for all bytes sent on the stream in its
//# connection-level flow controller.
#[test]
fn reset_returns_the_credit_of_unread_data_once() {
    let mut h = Half::new(100, 100);
    h.data(0, 10, false).unwrap();
    h.read(4).unwrap();
    let r = h.reset(60).unwrap();
    assert!(r.reset && r.renew_connection);
    assert_eq!((h.connection.received(), h.connection.consumed()), (60, 60));
    assert_eq!(h.recv.state(), ResetRecvd);
    assert_eq!(h.reset(60), Ok(Received::default()));
    assert_eq!(h.data(10, 50, true), Ok(Received::default()));
    assert_eq!((h.connection.received(), h.connection.consumed()), (60, 60));
    assert_eq!(h.read(1), Err(ReadError::Reset(5)));
    assert!(h.recv.is_over());
    assert_eq!(h.read(1), Err(ReadError::Reset(5)));
}

#[test]
fn a_reset_after_all_data_is_no_news() {
    let mut h = Half::new(100, 100);
    h.data(0, 10, true).unwrap();
    assert_eq!(h.reset(10), Ok(Received::default()));
    assert_eq!(h.read(99), Ok((10, true)));
}

#[test]
fn a_stopped_stream_throws_away_and_ends_with_its_size() {
    let mut h = Half::new(100, 100);
    h.data(0, 10, false).unwrap();
    assert_eq!(h.recv.stop(7, &mut h.connection, &mut h.pool), Ok((true, false)));
    assert_eq!(h.recv.stop_frame(), Some(7));
    assert_eq!(h.recv.stop(7, &mut h.connection, &mut h.pool), Err(ReadError::Finished));
    assert_eq!(h.connection.consumed(), 10);
    assert_eq!(h.read(1), Err(ReadError::Finished));
    assert!(!h.data(20, 30, false).unwrap().readable);
    assert_eq!((h.connection.received(), h.connection.consumed()), (50, 50));
    assert!(!h.recv.is_over());
    h.data(50, 1, true).unwrap();
    assert!(h.recv.is_over() && h.recv.stop_frame().is_none());
    assert_eq!((h.connection.received(), h.connection.consumed()), (51, 51));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Data { offset: u64, len: usize, fin: bool },
    Reset(u64),
    Read(usize),
    Stop,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..60u64, 0..20usize, prop::bool::weighted(0.2)).prop_map(|(offset, len, fin)| Op::Data { offset, len, fin }),
        (0..60u64).prop_map(Op::Reset),
        (1..30usize).prop_map(Op::Read),
        Just(Op::Stop),
    ]
}

proptest! {
    /// RFC 9000 figure 3 and section 4.5: only its arrows are followed, errors are those of a simple model of final
    /// sizes and limits, and the credit of both windows is conserved.
    #[test]
    fn the_states_of_figure_3(ops in prop::collection::vec(op(), 1..60)) {
        let mut h = Half::new(50, 45);
        let (mut highest, mut size, mut limits) = (0u64, None::<u64>, (50u64, 45u64));
        for op in ops {
            let before = h.recv.state();
            // What the model says about a claim that the stream reaches `end`, or ends there.
            let judge = |end: u64, fin: bool| -> Option<u64> {
                let wrong_size = size.is_some_and(|size| end > size || (fin && end != size)) || (fin && end < highest);
                if wrong_size {
                    Some(FINAL_SIZE_ERROR)
                } else if end > limits.0 || end > limits.1 {
                    Some(FLOW_CONTROL_ERROR)
                } else {
                    None
                }
            };
            match op {
                Op::Data { offset, len, fin } => {
                    let end = offset + len as u64;
                    let expected = judge(end, fin);
                    prop_assert_eq!(h.data(offset, len, fin).err(), expected);
                    if expected.is_some() {
                        return Ok(());
                    }
                    highest = highest.max(end);
                    size = size.or(fin.then_some(end));
                }
                Op::Reset(end) => {
                    let expected = judge(end, true);
                    prop_assert_eq!(h.reset(end).err(), expected);
                    if expected.is_some() {
                        return Ok(());
                    }
                    (highest, size) = (end, Some(end));
                }
                Op::Read(n) => {
                    let _ = h.read(n);
                }
                Op::Stop => {
                    let _ = h.recv.stop(3, &mut h.connection, &mut h.pool);
                }
            }
            let after = h.recv.state();
            let arrow = before == after
                || matches!(
                    (before, after),
                    (Recv, SizeKnown | DataRecvd | ResetRecvd | ResetRead)
                        | (SizeKnown, DataRecvd | ResetRecvd | ResetRead)
                        | (DataRecvd, DataRead | ResetRecvd)
                        | (ResetRecvd, ResetRead)
                );
            prop_assert!(arrow, "{:?} to {:?} by {:?}", before, after, op);
            prop_assert_eq!(h.recv.window.received(), highest);
            prop_assert_eq!(h.connection.received(), highest);
            prop_assert!(h.connection.consumed() <= highest && h.recv.window.consumed() <= highest);
            if matches!(after, DataRead | ResetRecvd | ResetRead) {
                prop_assert_eq!(h.connection.consumed(), highest, "all credit is given back at the end");
            }
            limits = (h.recv.window.advertised(), h.connection.advertised());
        }
    }
}
