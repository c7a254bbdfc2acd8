//! Two of our endpoints in a virtual network: 500 seeds in the quick tier, more with `WB_SEEDS=n`.
//! `WB_SEED=n cargo test --test sim` plays one seed and tells what happened.
#[path = "sim/mod.rs"]
mod sim;

use std::time::Duration;

use sim::link::LinkConfig;
use sim::scenario::{Mishap, Scenario};
use sim::world::play;
use whimbrel::endpoint::RetryPolicy;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Seeds of one of four threads' worth of tests, so that the test runner can use the machine's cores.
fn seeds(part: u64) {
    if let Some(seed) = from_environment("WB_SEED") {
        if seed % 4 == part {
            let outcome = play(Scenario::from_seed(seed));
            println!("seed {seed}: {outcome:?}");
        }
        return;
    }
    let count = from_environment("WB_SEEDS").unwrap_or(500);
    let mut failed = Vec::new();
    for seed in (0..count).filter(|s| s % 4 == part) {
        if std::panic::catch_unwind(|| play(Scenario::from_seed(seed))).is_err() {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed; replay one with WB_SEED=n cargo test --test sim");
}

#[test]
fn seeds_0() {
    seeds(0);
}

#[test]
fn seeds_1() {
    seeds(1);
}

#[test]
fn seeds_2() {
    seeds(2);
}

#[test]
fn seeds_3() {
    seeds(3);
}

#[test]
fn the_same_seed_plays_the_same_world() {
    for seed in [1, 7, 12, 33, 80] {
        let (first, second) = (play(Scenario::from_seed(seed)), play(Scenario::from_seed(seed)));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn a_clean_path_loses_nothing_and_is_quick() {
    let outcome = play(Scenario { longest: 200_000, ..Scenario::clean(1) });
    assert!(outcome.took < Duration::from_secs(3), "{outcome:?}");
    assert_eq!(outcome.unroutable, 0);
}

#[test]
fn retry_adds_a_round_trip_and_nothing_else() {
    let plain = play(Scenario { streams_each_side: 1, longest: 100, ..Scenario::clean(3) });
    let retry = play(Scenario { retry: RetryPolicy::Always, streams_each_side: 1, longest: 100, ..Scenario::clean(3) });
    assert!(retry.took > plain.took, "{plain:?} {retry:?}");
}

#[test]
fn early_data_is_accepted_with_the_right_tickets_and_sent_again_with_the_wrong_ones() {
    let scenario = Scenario { rounds: 2, early_data: true, ..Scenario::clean(4) };
    let accepted = play(scenario.clone());
    assert_eq!((accepted.zero_rtt_accepted, accepted.resumed), (Some(true), true));
    let rejected = play(Scenario { server_forgets: true, ..scenario });
    assert_eq!((rejected.zero_rtt_accepted, rejected.resumed), (Some(false), false));
}

#[test]
fn a_download_survives_ten_changes_of_network() {
    let mut scenario = Scenario { longest: 8_000_000, streams_each_side: 3, ..Scenario::clean(5) };
    scenario.down.rate = 1_000_000;
    scenario.client.keep_alive = Duration::from_millis(250);
    scenario.mishap_gap = Duration::from_millis(600);
    let kinds = [
        Mishap::Rebind { new_address: false },
        Mishap::Migrate { old_path_dies: true },
        Mishap::Moved,
        Mishap::Rebind { new_address: true },
        Mishap::Migrate { old_path_dies: false },
    ];
    scenario.mishaps = (0..10).map(|i| (Duration::from_millis(500 + 900 * i as u64), kinds[i % kinds.len()])).collect();
    let outcome = play(scenario);
    assert!(outcome.migrations >= 10, "{outcome:?}");
}

#[test]
fn a_bad_path_is_only_slow() {
    let bad = LinkConfig { loss: 1000, reorder: 2000, duplicate: 500, corrupt: 300, ..LinkConfig::clean() };
    play(Scenario { up: bad.clone(), down: bad, ..Scenario::clean(6) });
}
