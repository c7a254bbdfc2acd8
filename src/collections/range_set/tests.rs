use super::RangeSet;
use core::ops::Range;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn set(ranges: &[Range<u64>]) -> RangeSet {
    ranges.iter().cloned().collect()
}

#[test]
fn touching_ranges_merge_and_holes_split() {
    let mut s = set(&[0..5, 10..15]);
    assert!(s.insert(5..10));
    assert_eq!(s, set(std::slice::from_ref(&(0..15))));
    assert!(!s.insert(3..9));
    assert!(s.remove(4..6));
    assert_eq!(s.iter().collect::<Vec<_>>(), [0..4, 6..15]);
    assert!(!s.remove(4..6));
    assert_eq!((s.min(), s.max(), s.len(), s.total()), (Some(0), Some(14), 2, 13));
    assert!(!s.insert(7..7));
    assert_eq!(s.pop_min(), Some(0..4));
    s.remove_below(8);
    assert_eq!(s, set(std::slice::from_ref(&(8..15))));
}

#[test]
fn extremes_do_not_overflow() {
    let mut s = RangeSet::new();
    assert!(s.insert(u64::MAX - 1..u64::MAX));
    assert!(s.insert(0..1));
    assert!(s.insert(0..u64::MAX));
    assert_eq!(s.len(), 1);
    assert!(s.remove(0..u64::MAX));
    assert!(s.is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Range<u64>),
    Remove(Range<u64>),
    Below(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let range = (0..80u64, 0..20u64).prop_map(|(a, n)| a..a + n);
    prop_oneof![
        4 => range.clone().prop_map(Op::Insert),
        2 => range.prop_map(Op::Remove),
        1 => (0..40u64).prop_map(Op::Below),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_set_of_numbers(ops in prop::collection::vec(op(), 1..60)) {
        let (mut s, mut model) = (RangeSet::new(), BTreeSet::new());
        for op in ops {
            match op {
                Op::Insert(r) => {
                    let fresh = r.clone().any(|v| !model.contains(&v));
                    model.extend(r.clone());
                    prop_assert_eq!(s.insert(r), fresh);
                }
                Op::Remove(r) => {
                    let there = r.clone().any(|v| model.contains(&v));
                    model.retain(|v| !r.contains(v));
                    prop_assert_eq!(s.remove(r), there);
                }
                Op::Below(b) => {
                    model.retain(|v| *v >= b);
                    s.remove_below(b);
                }
            }
            let all: Vec<Range<u64>> = s.iter().collect();
            prop_assert!(all.windows(2).all(|w| w[0].end < w[1].start), "touching or unsorted: {:?}", all);
            prop_assert!(all.iter().all(|r| !r.is_empty()));
            prop_assert_eq!(s.iter().flatten().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            let mut missing = Vec::new();
            s.gaps(10..60, |g| missing.extend(g));
            prop_assert_eq!(missing, (10..60).filter(|v| !model.contains(v)).collect::<Vec<_>>());
            for v in 0..100 {
                prop_assert_eq!(s.contains(v), model.contains(&v));
                prop_assert_eq!(s.covers(v..v + 3), (v..v + 3).all(|x| model.contains(&x)));
                prop_assert_eq!(s.overlaps(&(v..v + 3)), (v..v + 3).any(|x| model.contains(&x)));
            }
        }
    }
}
