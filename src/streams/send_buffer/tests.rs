use super::*;
use crate::collections::chunk::lender::Lender;
use proptest::prelude::*;

fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 11) as u8
}

fn bytes(from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(byte).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize),
    Chunk(usize),
    Lend(usize),
    Send(usize),
    Ack(usize),
    Lose(usize),
    /// Reports a packet lost that stays in flight (a probe): its data may be acknowledged twice.
    Probe(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => (1usize..3000).prop_map(Op::Write),
        1 => (1usize..20_000).prop_map(Op::Chunk),
        1 => (1usize..20_000).prop_map(Op::Lend),
        6 => (1usize..4000).prop_map(Op::Send),
        4 => any::<usize>().prop_map(Op::Ack),
        2 => any::<usize>().prop_map(Op::Lose),
        1 => any::<usize>().prop_map(Op::Probe),
    ]
}

/// Runs the buffer against the plainest model: every byte has one of three states.
#[derive(Default)]
struct World {
    buffer: SendBuffer,
    pool: SlabPool,
    lenders: Vec<(Lender, Range<u64>)>,
    flight: Vec<Range<u64>>,
    acked: RangeSet,
    /// Bytes that must be on their way or queued again: sent, not acknowledged.
    written: u64,
    held: u64,
}

impl World {
    fn send(&mut self, max: usize) -> bool {
        let Some(range) = self.buffer.next_range(max, u64::MAX) else { return false };
        assert!(range.end - range.start <= max as u64 && range.end <= self.written);
        assert!(!self.acked.overlaps(&range), "acknowledged bytes are not sent again");
        let mut out = vec![0; (range.end - range.start) as usize];
        self.buffer.copy_to(range.start, &mut out).unwrap();
        assert_eq!(out, bytes(range.start, out.len()));
        self.buffer.on_sent(range.clone());
        self.flight.push(range);
        true
    }

    fn ack(&mut self, pick: usize) {
        if self.flight.is_empty() {
            return;
        }
        let range = self.flight.swap_remove(pick % self.flight.len());
        self.acked.insert(range.clone());
        self.held -= self.buffer.on_acked(range, &mut self.pool);
    }

    fn check(&self) {
        assert_eq!(self.buffer.held(), self.held);
        let prefix = self.acked.range_at(0).map_or(0, |r| r.end);
        assert_eq!(self.buffer.held(), self.written - prefix);
        for (lender, range) in &self.lenders {
            let expected = usize::from(self.acked.covers(range.clone()));
            assert_eq!(lender.released(), expected, "lent {range:?}, acknowledged {:?}", self.acked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    //= https://www.rfc-editor.org/rfc/rfc9000#section-2.2
    //= type=test
    //# The data at a given offset MUST NOT change if it is sent multiple times; an endpoint MAY treat receipt of
    //# different data at the same offset within a stream as a connection error of type PROTOCOL_VIOLATION.
    #[test]
    fn every_byte_is_sent_right_until_it_is_acknowledged(ops in prop::collection::vec(op(), 1..120)) {
        let mut w = World::default();
        for op in ops {
            match op {
                Op::Write(n) => {
                    w.buffer.write(&bytes(w.written, n), &mut w.pool);
                    w.written += n as u64;
                    w.held += n as u64;
                }
                Op::Chunk(n) => {
                    w.buffer.write_chunk(Chunk::from_vec(bytes(w.written, n)), &mut w.pool).unwrap();
                    w.written += n as u64;
                    w.held += n as u64;
                }
                Op::Lend(n) => {
                    let lender = Lender::new(&bytes(w.written, n));
                    w.buffer.write_chunk(lender.lend(), &mut w.pool).unwrap();
                    let range = w.written..w.written + n as u64;
                    if n < ZERO_COPY_MIN {
                        prop_assert_eq!(lender.released(), 1, "short chunks are copied and returned at once");
                    } else {
                        w.lenders.push((lender, range));
                    }
                    w.written += n as u64;
                    w.held += n as u64;
                }
                Op::Send(max) => { w.send(max); }
                Op::Ack(pick) => w.ack(pick),
                Op::Lose(pick) if !w.flight.is_empty() => {
                    let range = w.flight.swap_remove(pick % w.flight.len());
                    w.buffer.on_lost(range);
                }
                Op::Probe(pick) if !w.flight.is_empty() => {
                    let range = w.flight[pick % w.flight.len()].clone();
                    w.buffer.on_lost(range);
                }
                _ => {}
            }
            w.check();
        }
        // From any state the transfer can be completed.
        while w.send(1200) {}
        while !w.flight.is_empty() {
            w.ack(0);
        }
        w.check();
        prop_assert!(w.buffer.all_acked() && w.buffer.held() == 0 && !w.buffer.has_lost());
        prop_assert!(w.buffer.pieces.is_empty() && w.buffer.tail.is_none(), "an idle stream keeps no memory");
    }
}

#[test]
fn small_writes_are_merged() {
    let (mut b, mut pool) = (SendBuffer::default(), SlabPool::default());
    for i in 0..1000u64 {
        b.write(&bytes(i * 10, 10), &mut pool);
    }
    assert!(b.pieces.len() <= 2, "{} pieces", b.pieces.len());
    let mut out = vec![0; 10_000];
    b.copy_to(0, &mut out).unwrap();
    assert_eq!(out, bytes(0, 10_000));
}

#[test]
fn a_revoked_chunk_is_refused_or_reported() {
    let (mut b, mut pool) = (SendBuffer::default(), SlabPool::default());
    let lender = Lender::new(&[1; 5000]);
    let chunk = lender.lend();
    b.write_chunk(chunk.clone(), &mut pool).unwrap();
    chunk.revoke();
    assert_eq!(b.copy_to(0, &mut [0; 100]), Err(Revoked));
    assert_eq!(b.write_chunk(chunk.slice(0, 4000), &mut pool), Err(Revoked));
    assert_eq!(b.write_chunk(chunk.slice(0, 40), &mut pool), Err(Revoked));
    assert_eq!(b.end(), 5000);
    assert_eq!(b.discard(&mut pool), 5000);
    drop(chunk);
    assert_eq!(lender.released(), 1);
}

#[test]
fn rejected_early_data_is_sent_from_the_start() {
    let (mut b, mut pool) = (SendBuffer::default(), SlabPool::default());
    b.write(&bytes(0, 3000), &mut pool);
    b.on_sent(0..1000);
    b.on_sent(1000..2000);
    b.on_lost(0..1000);
    b.rewind();
    assert_eq!(b.next_range(500, u64::MAX), Some(0..500));
    assert!(!b.has_lost());
    b.on_lost(1000..2000); // the recovery room reports late: not sent any more
    assert!(!b.has_lost());
}

#[test]
fn credit_limits_new_bytes_only() {
    let (mut b, mut pool) = (SendBuffer::default(), SlabPool::default());
    b.write(&bytes(0, 3000), &mut pool);
    assert_eq!(b.next_range(5000, 1000), Some(0..1000));
    b.on_sent(0..1000);
    assert_eq!(b.next_range(5000, 1000), None);
    b.on_lost(200..300);
    assert_eq!(b.next_range(5000, 1000), Some(200..300));
}

#[test]
fn a_bulk_sender_reuses_its_slabs() {
    let (mut b, mut pool) = (SendBuffer::default(), SlabPool::default());
    let data = vec![7; 64 << 10];
    let mut seen = std::collections::HashSet::new();
    for round in 0..100u64 {
        b.write(&data, &mut pool);
        let chunk = b.pieces.back().unwrap().chunk.clone().unwrap();
        seen.insert(chunk.as_slice().unwrap().as_ptr() as usize);
        drop(chunk);
        let start = round * data.len() as u64;
        b.on_sent(start..start + data.len() as u64);
        b.on_acked(start..start + data.len() as u64, &mut pool);
    }
    assert!(seen.len() <= 2, "{} different slabs", seen.len());
}

#[test]
fn a_message_that_is_known_to_end_gets_no_more_room_than_it_needs() {
    for (len, size) in [(8, TINY), (TINY, TINY), (TINY + 1, SHORT), (1024, SHORT), (SHORT + 1, SMALL)] {
        let (mut buffer, mut pool) = (SendBuffer::default(), SlabPool::default());
        buffer.write_expecting(&bytes(0, len), 0, &mut pool);
        buffer.on_sent(0..len as u64);
        buffer.on_acked(0..len as u64, &mut pool);
        assert_eq!(pool.held(), size, "{len} bytes");
    }
    for (more, size) in [(TINY - 8, TINY), (1024, SHORT), (SHORT - 8, SHORT), (SHORT, SMALL), (usize::MAX, SMALL)] {
        let (mut buffer, mut pool) = (SendBuffer::default(), SlabPool::default());
        buffer.write_expecting(&bytes(0, 8), more, &mut pool);
        let rest = more.min(2048);
        buffer.write(&bytes(8, rest), &mut pool);
        let len = (8 + rest) as u64;
        buffer.on_sent(0..len);
        buffer.on_acked(0..len, &mut pool);
        assert_eq!(pool.held(), size, "8 bytes and {more}");
    }
    let (mut buffer, mut pool) = (SendBuffer::default(), SlabPool::default());
    buffer.write(&bytes(0, 8), &mut pool);
    buffer.on_sent(0..8);
    buffer.on_acked(0..8, &mut pool);
    assert_eq!(pool.held(), SMALL, "more may follow");
}
