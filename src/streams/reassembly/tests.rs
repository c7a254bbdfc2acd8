use super::*;
use crate::base::sync::Arc;
use crate::streams::pool::SharedSlabs;
use proptest::prelude::*;

fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 9) as u8
}

fn bytes(from: u64, len: u64) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

#[derive(Clone, Debug)]
enum Op {
    /// Relative to what is contiguous: start moved by the first number (may lie before), length.
    Insert(i64, u64),
    Next(u64),
    Read(usize),
    Chunk(usize),
    DropChunks,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (-2000i64..100_000, 0u64..3000).prop_map(|(a, n)| Op::Insert(a, n)),
        4 => (1u64..3000).prop_map(Op::Next),
        2 => (1usize..100_000).prop_map(Op::Read),
        2 => (1usize..5000).prop_map(Op::Chunk),
        1 => Just(Op::DropChunks),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    //= https://www.rfc-editor.org/rfc/rfc9000#section-2.2
    //= type=test
    //# Endpoints MUST be able to deliver stream data to an application as an ordered byte stream.
    #[test]
    fn reads_what_was_sent_in_order(ops in prop::collection::vec(op(), 1..150)) {
        let (mut r, mut pool) = (Reassembly::default(), SlabPool::default());
        let (mut arrived, mut read) = (RangeSet::new(), 0u64);
        let mut kept: Vec<(u64, Chunk)> = Vec::new();
        for op in ops {
            let before = r.ready();
            match op {
                Op::Insert(..) | Op::Next(_) => {
                    let (start, len) = match op {
                        Op::Insert(delta, len) => (before.saturating_add_signed(delta), len),
                        Op::Next(len) => (before, len),
                        _ => unreachable!(),
                    };
                    let progress = r.insert(start, &bytes(start, len), &mut pool).unwrap();
                    arrived.insert(start..start + len);
                    prop_assert_eq!(progress, r.ready() > before);
                }
                Op::Read(n) => {
                    let mut out = vec![0; n];
                    let got = r.read(&mut out, &mut pool) as u64;
                    prop_assert_eq!(got, (n as u64).min(before - read));
                    prop_assert_eq!(&out[..got as usize], &bytes(read, got)[..]);
                    read += got;
                }
                Op::Chunk(n) => {
                    let chunk = r.read_chunk(n, &mut pool);
                    prop_assert!(chunk.len() <= n && (before == read || !chunk.is_empty()));
                    let at = read;
                    read += chunk.len() as u64;
                    kept.push((at, chunk));
                }
                Op::DropChunks => kept.clear(),
            }
            let ready = arrived.range_at(0).map_or(0, |r| r.end);
            prop_assert_eq!((r.ready(), r.position(), r.available()), (ready, read, ready - read));
            // What was handed out stays as it was, whatever arrives later.
            for (at, chunk) in &kept {
                prop_assert_eq!(chunk.as_slice().unwrap(), &bytes(*at, chunk.len() as u64)[..]);
            }
        }
    }
}

#[test]
fn bytes_that_arrived_are_never_overwritten() {
    let (mut r, mut pool) = (Reassembly::default(), SlabPool::default());
    r.insert(0, b"hello", &mut pool).unwrap();
    let chunk = r.read_chunk(5, &mut pool);
    r.insert(0, b"HELLO world", &mut pool).unwrap();
    assert_eq!(chunk.as_slice(), Some(&b"hello"[..]));
    assert_eq!(r.read_chunk(99, &mut pool).as_slice(), Some(&b" world"[..]));
}

#[test]
fn a_drained_stream_holds_no_memory() {
    let (mut r, mut pool) = (Reassembly::default(), SlabPool::default());
    for round in 0..1000u64 {
        r.insert(round * 100, &bytes(round * 100, 100), &mut pool).unwrap();
        let mut out = [0; 200];
        assert_eq!(r.read(&mut out, &mut pool), 100);
        assert_eq!(r.allocated(), 0);
    }
    assert!(pool.held() <= SMALL, "short messages never reach the large buffers: {}", pool.held());
}

#[test]
fn a_busy_stream_gets_larger_buffers() {
    let (mut r, mut pool) = (Reassembly::default(), SlabPool::default());
    r.insert(0, &vec![1; 200_000], &mut pool).unwrap();
    assert!(r.allocated() < 200_000 + LARGE);
    assert!(r.segments.len() <= 6, "{} segments", r.segments.len());
}

#[test]
fn tiny_fragments_are_bounded() {
    let (mut r, mut pool) = (Reassembly::default(), SlabPool::default());
    let mut at = 1;
    let refused = loop {
        match r.insert(at, b"x", &mut pool) {
            Ok(_) => at += 2,
            Err(e) => break e,
        }
        assert!(at < 1 << 20);
    };
    assert_eq!(refused, TooManyFragments);
    assert_eq!(at, 2 * MAX_FRAGMENTS as u64 + 1);
    assert!(r.allocated() as u64 <= at + LARGE as u64, "memory follows the offsets that the window allows");
}

#[test]
fn a_far_offset_costs_its_own_memory_only() {
    let (mut r, mut pool) = (Reassembly::default(), SlabPool::default());
    r.insert((16 << 20) - 1, b"x", &mut pool).unwrap();
    assert!(r.allocated() <= LARGE);
    r.discard(&mut pool);
    assert_eq!((r.allocated(), r.fragments(), r.available()), (0, 0, 0));
}

#[test]
fn larger_buffers_of_one_connection_serve_the_next() {
    let shared = Arc::new(SharedSlabs::default());
    let mut pools: [SlabPool; 2] = Default::default();
    for pool in &mut pools {
        pool.share(Arc::clone(&shared));
    }
    let [one, other] = &mut pools;
    let mut slab = one.take(LARGE);
    slab.write_at(0, b"mark");
    one.give(slab);
    one.trim();
    assert_eq!(one.held(), 0, "nothing large stays with a connection");
    let slab = other.take(LARGE);
    let mut found = [0; 4];
    slab.read_at(0, &mut found);
    assert_eq!(&found, b"mark", "the same memory");
    // What the application still reads is not handed on.
    let mut busy = other.take(LARGE);
    busy.write_at(0, b"kept");
    let chunk = busy.share(0, 4);
    other.give(busy);
    let mut fresh = one.take(LARGE);
    fresh.write_at(0, b"over");
    assert_eq!(chunk.as_slice(), Some(&b"kept"[..]));
}
