use super::{Expiry, Wheel};
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
fn a_near_deadline_is_kept_where_the_wheel_begins_again() {
    // The process has run for a whole span but a second: 39 hours.
    let span = TICK << 30;
    let mut wheel = Wheel::new(at(span - 1000 * MS));
    wheel.insert(5, at(span + 1000 * MS));
    let next = wheel.next().expect("one entry");
    assert!(next <= at(span + 1000 * MS + TICK), "{next:?}");
    assert!(due(&mut wheel, span + 999 * MS).is_empty());
    assert_eq!(due(&mut wheel, span + 1000 * MS + TICK), [5]);
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

/// A table like a worker's: when each key shall expire, and which entry is its own.
struct Table(Vec<(Timestamp, Expiry)>);

impl Table {
    fn set(&mut self, wheel: &mut Wheel, key: u32, when: Timestamp) {
        let (wanted, expiry) = &mut self.0[key as usize];
        if *expiry == Expiry::NEVER || when < *wanted {
            *expiry = wheel.insert(key, when);
        }
        *wanted = when;
    }

    fn next(&mut self, wheel: &mut Wheel) -> Option<Timestamp> {
        let table = core::cell::RefCell::new(&mut self.0);
        wheel.next_live(
            |key, expiry| Some(table.borrow()[key as usize]).filter(|e| e.1 == expiry).map(|e| e.0),
            |key, expiry| table.borrow_mut()[key as usize].1 = expiry,
        )
    }
}

#[test]
fn a_sleeper_is_not_woken_for_what_was_outlived() {
    let mut wheel = Wheel::new(at(1000 * MS));
    let mut table = Table(vec![(Timestamp::NEVER, Expiry::NEVER); 2]);
    table.set(&mut wheel, 0, at(1001 * MS));
    // Later, far later, and earlier again: one deadline counts.
    for ms in [1003, 1050, 1900, 1030] {
        table.set(&mut wheel, 0, at(ms * MS));
        let next = table.next(&mut wheel).expect("a deadline");
        assert!(next >= at(ms * MS) && next <= at(ms * MS + TICK), "{next:?} for {ms}");
    }
    table.set(&mut wheel, 1, at(1020 * MS));
    let next = table.next(&mut wheel).expect("a deadline");
    assert!(next >= at(1020 * MS) && next <= at(1020 * MS + TICK));
    assert_eq!(wheel.len(), 2, "outlived entries are gone");
    assert_eq!(due(&mut wheel, 1020 * MS + TICK), [1]);
    table.0[1].1 = Expiry::NEVER;
    // Nobody's entries.
    table.0[0].1 = Expiry::NEVER;
    assert_eq!(table.next(&mut wheel), None);
    assert!(wheel.is_empty());
}

#[test]
fn a_sleeper_comes_in_time_whatever_moves() {
    let mut rng = Pcg::new(7);
    let mut wheel = Wheel::new(at(0));
    let mut table = Table(vec![(Timestamp::NEVER, Expiry::NEVER); 40]);
    let (mut now, mut vain, mut came) = (0u64, 0u32, 0u32);
    for _ in 0..20_000 {
        for _ in 0..rng.below(4) {
            let key = u32::try_from(rng.below(40)).expect("small");
            // From the past to beyond the span.
            let distance = 1u64 << rng.below(60);
            let when = (now + rng.below(distance.max(1))).saturating_sub(MS);
            table.set(&mut wheel, key, at(when));
        }
        let Some(next) = table.next(&mut wheel) else { continue };
        let due_first = table.0.iter().filter(|e| e.1 != Expiry::NEVER).map(|e| e.0.0).min().expect("somebody waits");
        let latest = due_first.max(now) + 2 * TICK;
        assert!(next.0 <= latest, "asleep until {next:?}, due at {due_first}");
        // Up to an hour, so that far slots are spread as well.
        now = next.0.min(now + 3_600_000 * MS).max(now);
        let mut fired = 0;
        for key in due(&mut wheel, now) {
            let (wanted, expiry) = table.0[key as usize];
            if expiry != Expiry::NEVER && wanted.0 <= now {
                table.0[key as usize].1 = Expiry::NEVER;
                fired += 1;
            }
        }
        (vain, came) = if fired == 0 { (vain + 1, came) } else { (vain, came + 1) };
        let late = table.0.iter().filter(|e| e.1 != Expiry::NEVER && e.0.0 + TICK < now).count();
        assert_eq!(late, 0, "nobody is forgotten");
    }
    assert!(came > 1000 && vain < came / 2, "{came} came, {vain} in vain");
}
