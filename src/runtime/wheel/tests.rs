use super::Wheel;
use crate::base::{Pcg, Rng, Timestamp};

const MS: u64 = 1_000_000;
/// One tick of the wheel.
const TICK: u64 = 1 << 17;

fn at(ns: u64) -> Timestamp {
    Timestamp(ns)
}

fn due(wheel: &mut Wheel, now: u64) -> Vec<u32> {
    let mut out = Vec::new();
    wheel.expire(at(now), &mut out);
    out
}

#[test]
fn nothing_fires_early_and_everything_fires_within_a_tick() {
    let mut wheel = Wheel::new(at(5 * MS));
    wheel.insert(1, at(7 * MS));
    wheel.insert(2, at(900 * MS));
    wheel.insert(3, at(3_600_000 * MS));
    assert!(due(&mut wheel, 7 * MS - 1).is_empty());
    assert_eq!(due(&mut wheel, 7 * MS + TICK), [1]);
    assert!(due(&mut wheel, 900 * MS - 1).is_empty());
    assert_eq!(due(&mut wheel, 900 * MS + TICK), [2]);
    assert!(due(&mut wheel, 3_600_000 * MS - 1).is_empty());
    assert_eq!(due(&mut wheel, 3_600_000 * MS + TICK), [3]);
    assert!(wheel.is_empty());
    assert_eq!(wheel.next(), None);
}

#[test]
fn a_deadline_in_the_past_fires_at_the_next_tick() {
    let mut wheel = Wheel::new(at(1000 * MS));
    wheel.insert(9, at(3 * MS));
    let next = wheel.next().expect("one entry");
    assert!(next > at(1000 * MS) && next <= at(1000 * MS + TICK));
    assert_eq!(due(&mut wheel, next.0), [9]);
}

#[test]
fn never_is_not_stored() {
    let mut wheel = Wheel::new(at(0));
    wheel.insert(1, Timestamp::NEVER);
    assert!(wheel.is_empty());
}

#[test]
fn deadlines_beyond_the_span_still_come() {
    // 39 hours is the span; a hundred days is far beyond.
    let far = 100 * 86_400_000 * MS;
    let mut wheel = Wheel::new(at(123 * MS));
    wheel.insert(4, at(far));
    let mut looks = 0;
    let mut now = 0;
    let mut fired = Vec::new();
    while fired.is_empty() {
        now = wheel.next().expect("still there").0;
        wheel.expire(at(now), &mut fired);
        looks += 1;
        assert!(looks < 10_000, "the wheel never gets there");
    }
    assert_eq!(fired, [4]);
    assert!(now >= far && now < far + 2 * TICK);
}

#[test]
fn next_leads_to_every_expiry_without_polling() {
    let mut rng = Pcg::new(7);
    let mut wheel = Wheel::new(at(0));
    let mut wanted: Vec<(u64, u32)> = Vec::new();
    for key in 0..2000 {
        let shift = 10 + rng.below(30);
        let when = rng.below(1 << shift) + 1;
        wheel.insert(key, at(when));
        wanted.push((when, key));
    }
    let mut seen = vec![None; wanted.len()];
    while let Some(next) = wheel.next() {
        for key in due(&mut wheel, next.0) {
            assert!(seen[key as usize].replace(next.0).is_none(), "key {key} fired twice");
        }
    }
    for (when, key) in wanted {
        let fired = seen[key as usize].expect("fired");
        assert!(fired >= when, "key {key} fired {} ns early", when - fired);
        assert!(fired < when + 2 * TICK, "key {key} fired {} ns late", fired - when);
    }
}

/// A span whose magnitude is as random as its value.
fn random_span(rng: &mut Pcg) -> u64 {
    let bits = 8 + rng.below(34);
    rng.below(1 << bits)
}

#[test]
fn random_walk_agrees_with_a_sorted_list() {
    for seed in 0..40 {
        let mut rng = Pcg::new(seed);
        let mut now = rng.below(1 << 40);
        let mut wheel = Wheel::new(at(now));
        let mut model: Vec<(u64, u32)> = Vec::new();
        let mut key = 0;
        for _ in 0..500 {
            if rng.below(3) > 0 {
                let when = now + random_span(&mut rng);
                wheel.insert(key, at(when));
                model.push((when, key));
                key += 1;
            } else {
                now += random_span(&mut rng);
                for k in due(&mut wheel, now) {
                    let i = model.iter().position(|(_, m)| *m == k).expect("known and not fired before");
                    let (when, _) = model.swap_remove(i);
                    assert!(when <= now, "seed {seed}: early");
                }
                let late = model.iter().find(|(when, _)| when + 2 * TICK <= now);
                assert_eq!(late, None, "seed {seed}: overdue at {now}");
            }
            assert_eq!(wheel.len(), model.len());
        }
    }
}
