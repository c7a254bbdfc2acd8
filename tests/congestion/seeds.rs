//! The figures that docs/congestion.md promises, from several seeds each. `WB_CONGESTION_SEEDS` says how many; the quick tier plays two,
//! `make matrix` and so `make check` five.
use crate::bulk::{Dumbbell, Flow, bottleneck};
use crate::{DEFAULT, secs};
use whimbrel::congestion::Algorithm;
use whimbrel::sim::LinkConfig;

/// Seeds of this run, without that of the other tests.
fn seeds() -> impl Iterator<Item = u64> {
    let count = std::env::var("WB_CONGESTION_SEEDS").ok().map_or(2, |n| n.parse().expect("a number of seeds"));
    2..2 + count
}

/// What `measure` says of each seed, smallest first.
fn sorted(name: &str, measure: impl Fn(u64) -> f64) -> Vec<f64> {
    let mut all: Vec<f64> = seeds().map(measure).collect();
    println!("{name}: {all:.1?}");
    all.sort_by(f64::total_cmp);
    all
}

/// Smallest and largest.
fn range(name: &str, measure: impl Fn(u64) -> f64) -> (f64, f64) {
    let all = sorted(name, measure);
    (all[0], all[all.len() - 1])
}

/// One flow alone: its rate in Mbit/s.
fn alone(algorithm: Algorithm, mbit: u64, ms: u64, loss: u64) -> Vec<f64> {
    let name = format!("{algorithm:?} alone, {mbit} Mbit/s, {ms} ms, loss {loss}/10000");
    sorted(&name, |seed| {
        let link = LinkConfig { loss, ..bottleneck(mbit, ms, 100) };
        let mut world = Dumbbell::new(seed, link, &[Flow::new(algorithm)]);
        world.run(secs(3));
        world.run(secs(12))[0]
    })
}

/// The part of the first flow, in percent of what both get.
fn share(first: Algorithm, second: Algorithm) -> (f64, f64) {
    range(&format!("{first:?} beside {second:?}, percent"), |seed| {
        let mut world = Dumbbell::new(seed, bottleneck(50, 20, 100), &[Flow::new(first), Flow::new(second)]);
        world.run(secs(5));
        let rates = world.run(secs(75));
        assert!(rates[0] + rates[1] > 40.0, "seed {seed}: the link is used: {rates:?}");
        100.0 * rates[0] / (rates[0] + rates[1])
    })
}

#[test]
fn cubic_and_bbr_use_a_clean_path_whatever_the_seed() {
    for algorithm in [Algorithm::Cubic, Algorithm::Bbr] {
        let rates = alone(algorithm, 100, 50, 0);
        assert!(rates[0] >= 90.0, "{algorithm:?}: {rates:.1?}");
    }
}

#[test]
fn bbr_reaches_its_rate_under_loss_whatever_the_seed() {
    let rates = alone(Algorithm::Bbr, 100, 50, 100);
    assert!(rates[0] >= 80.0 && rates[rates.len() / 2] >= 85.0, "100 Mbit/s, 50 ms: {rates:.1?}");
    let rates = alone(Algorithm::Bbr, 200, 20, 100);
    assert!(rates[0] >= 165.0, "200 Mbit/s, 20 ms: {rates:.1?}");
}

#[test]
fn the_default_reaches_its_rate_under_loss_whatever_the_seed() {
    let rates = alone(DEFAULT, 200, 20, 100);
    assert!(rates[0] >= 100.0, "{rates:.1?}");
}

#[test]
fn flows_are_fair_whatever_the_seed() {
    let (_, most) = share(DEFAULT, Algorithm::Cubic);
    let (least, highest) = share(Algorithm::Cubic, Algorithm::Cubic);
    assert!(most <= 60.0, "the default beside CUBIC: {most:.1} %");
    // Within 20 % of an equal part.
    assert!(least >= 40.0 && highest <= 60.0, "two CUBIC: {least:.1} to {highest:.1} %");
}
