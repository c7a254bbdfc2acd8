use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn priority(urgency: u8, incremental: bool) -> Priority {
    Priority { urgency, incremental }
}

proptest! {
    #[test]
    fn lists_behave_like_deques(ops in prop::collection::vec((0u8..4, 0usize..3, 0u32..12), 1..200)) {
        let mut q = Queues::<3>::default();
        let mut model: [VecDeque<u32>; 3] = Default::default();
        for (kind, list, slot) in ops {
            match kind {
                0 | 1 => {
                    q.push_back(list, slot);
                    if !model.iter().any(|m| m.contains(&slot)) {
                        model[list].push_back(slot);
                    }
                }
                2 => {
                    let there = model.iter().any(|m| m.contains(&slot));
                    prop_assert_eq!(q.remove(slot), there);
                    model.iter_mut().for_each(|m| m.retain(|s| *s != slot));
                }
                _ => prop_assert_eq!(q.pop_front(list), model[list].pop_front()),
            }
            for (i, m) in model.iter().enumerate() {
                prop_assert_eq!(q.front(i), m.front().copied());
                prop_assert_eq!(q.is_empty(i), m.is_empty());
                for s in m {
                    prop_assert_eq!(q.list_of(*s), Some(i));
                }
            }
        }
        // Whatever happened, the links give everything back in order.
        for (i, m) in model.iter_mut().enumerate() {
            while let Some(slot) = q.pop_front(i) {
                prop_assert_eq!(Some(slot), m.pop_front());
            }
            prop_assert!(m.is_empty());
        }
    }
}

#[test]
fn urgent_streams_go_first() {
    let mut s = Scheduler::default();
    s.add(1, priority(5, false));
    s.add(2, priority(0, true));
    s.add(3, priority(5, false));
    assert_eq!(s.next(), Some(2));
    s.remove(2);
    assert_eq!(s.next(), Some(1));
    s.on_sent(1, 100_000);
    assert_eq!(s.next(), Some(1), "one after another");
    s.change(3, priority(1, false));
    assert_eq!(s.next(), Some(3));
    s.change(3, priority(200, false));
    assert_eq!(s.next(), Some(1));
    s.remove(1);
    s.remove(3);
    assert!(!s.is_ready() && s.next().is_none());
}

#[test]
fn incremental_streams_share_equally() {
    let mut s = Scheduler::default();
    let mut sent = [0usize; 10];
    for slot in 0..10 {
        s.add(slot, priority(3, true));
    }
    for _ in 0..10_000 {
        let slot = s.next().unwrap();
        sent[slot as usize] += 1200;
        s.on_sent(slot, 1200);
    }
    let (min, max) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(max - min <= 2 * INCREMENTAL_QUANTUM, "{sent:?}");
}

#[test]
fn both_kinds_of_one_urgency_progress() {
    let mut s = Scheduler::default();
    s.add(1, priority(3, false));
    s.add(2, priority(3, true));
    let mut sent = [0; 3];
    for _ in 0..100 {
        let slot = s.next().unwrap();
        sent[slot as usize] += 1;
        s.on_sent(slot, 1200);
    }
    assert_eq!(sent, [0, 50, 50]);
}

#[test]
fn waiting_streams_are_not_looked_at() {
    let mut s = Scheduler::default();
    s.add(1, priority(3, true));
    s.wait_for_credit(1);
    assert!(!s.is_ready());
    s.add(1, priority(3, true));
    assert!(!s.is_ready(), "new data does not help");
    s.add_now(1, priority(3, true));
    assert_eq!(s.next(), Some(1), "a repetition does");
    s.wait_for_credit(1);
    assert_eq!(s.pop_waiting_for_credit(), Some(1));
    assert_eq!(s.pop_waiting_for_credit(), None);
}
