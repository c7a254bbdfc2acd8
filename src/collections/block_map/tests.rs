//! The block map against a BTreeMap, and its memory promises.
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    /// Skip some numbers, then insert with so many tokens.
    Insert(u64, usize),
    /// Remove a range given as distances from the top.
    Remove(u64, u64),
    /// Walk from the bottom, remove every n-th, stop after so many.
    Walk(u64, usize),
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop_oneof![6 => Just(0u64), 1 => 1u64..300], 0usize..4).prop_map(|(gap, tokens)| Step::Insert(gap, tokens)),
        2 => (0u64..200, 0u64..200).prop_map(|(a, b)| Step::Remove(a, b)),
        1 => (1u64..4, 1usize..40).prop_map(|(n, stop)| Step::Walk(n, stop)),
        1 => Just(Step::Release),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_tree(steps in prop::collection::vec(step(), 1..400)) {
        let mut map: BlockMap<u64, u32> = BlockMap::new();
        let mut model: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut next = 0u64;
        for step in steps {
            match step {
                Step::Insert(gap, tokens) => {
                    let key = next + gap;
                    let tokens: Vec<u32> = (0..tokens as u32).map(|i| key as u32 * 10 + i).collect();
                    prop_assert!(map.insert(key, key * 3, &tokens));
                    model.insert(key, tokens);
                    next = key + 1;
                }
                Step::Remove(a, b) => {
                    let (low, high) = (next.saturating_sub(a.max(b)), next.saturating_sub(a.min(b)));
                    let mut gone = Vec::new();
                    map.visit(low..=high, |key, record, tokens| {
                        assert_eq!(*record, key * 3);
                        gone.push((key, tokens.to_vec()));
                        Visit::Remove
                    });
                    let expected: Vec<_> = model.range(low..=high).map(|(k, v)| (*k, v.clone())).collect();
                    model.retain(|k, _| !(low..=high).contains(k));
                    prop_assert_eq!(gone, expected);
                }
                Step::Walk(n, stop) => {
                    let mut seen = 0;
                    map.visit(0..=u64::MAX, |key, _, _| {
                        seen += 1;
                        if seen > stop { Visit::Stop } else if key % n == 0 { Visit::Remove } else { Visit::Keep }
                    });
                    let gone: Vec<u64> = model.keys().copied().take(stop).filter(|k| k % n == 0).collect();
                    for key in gone {
                        model.remove(&key);
                    }
                }
                Step::Release => map.release(),
            }
            prop_assert_eq!(map.len(), model.len());
            prop_assert_eq!(map.is_empty(), model.is_empty());
            prop_assert_eq!(map.first_key(), model.keys().next().copied());
        }
    }
}

#[test]
fn refuses_keys_that_do_not_ascend() {
    let mut map: BlockMap<u8, u8> = BlockMap::new();
    assert!(map.insert(70, 1, &[]));
    assert!(!map.insert(70, 2, &[]));
    assert!(!map.insert(69, 2, &[]));
    assert!(!map.insert(3, 2, &[]));
    assert!(map.insert(71, 2, &[]));
    assert_eq!(map.len(), 2);
}

#[test]
fn empty_and_reversed_ranges_visit_nothing() {
    let mut map: BlockMap<u8, u8> = BlockMap::new();
    map.insert(5, 1, &[]);
    let (low, high) = (6, 5);
    map.visit(low..=high, |_, _, _| panic!("nothing is in a reversed range"));
    map.visit(6..=u64::MAX, |_, _, _| panic!("nothing above"));
    map.visit(0..=4, |_, _, _| panic!("nothing below"));
}

#[test]
fn one_stuck_record_costs_one_block() {
    let mut map: BlockMap<u64, u64> = BlockMap::new();
    map.insert(0, 0, &[7]);
    for key in 1..1_000_000 {
        map.insert(key, key, &[key]);
        map.visit(key..=key, |_, _, _| Visit::Remove);
    }
    assert_eq!(map.first_key(), Some(0));
    assert!(map.heap_bytes() < 16 * 1024, "{} bytes", map.heap_bytes());
}

#[test]
fn steady_state_reuses_its_blocks_and_quiet_gives_them_back() {
    let mut map: BlockMap<u64, u64> = BlockMap::new();
    let mut most = 0;
    for key in 0..50_000u64 {
        map.insert(key, key, &[key, key]);
        if key >= 500 {
            map.visit(key - 500..=key - 500, |_, _, _| Visit::Remove);
        }
        if key == 2_000 {
            most = map.heap_bytes();
        }
        assert!(key < 2_000 || map.heap_bytes() <= most, "grew at {key}");
    }
    map.visit(0..=u64::MAX, |_, _, _| Visit::Remove);
    assert!(map.has_spare());
    map.release();
    assert_eq!(map.heap_bytes(), 0);
}
