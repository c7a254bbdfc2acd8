//! Two of our endpoints in a virtual network: 500 seeds in the quick tier, more with `WB_SEEDS=n`.
//! `WB_SEED=n cargo test --test sim` plays one seed and tells what happened.
use std::time::Duration;

use whimbrel::congestion::Algorithm;
use whimbrel::endpoint::RetryPolicy;
use whimbrel::sim::{LinkConfig, Mishap, Rebind, Scenario, play};

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Every fourth seed, so that the test runner can use the machine's cores.
fn seeds(part: u64, quick: u64, world: fn(u64) -> Scenario) {
    if let Some(seed) = from_environment("WB_SEED") {
        if seed % 4 == part {
            let outcome = play(world(seed));
            println!("seed {seed}: {outcome:?}");
        }
        return;
    }
    let count = from_environment("WB_SEEDS").unwrap_or(quick);
    let (mut failed, mut lost) = (Vec::new(), Vec::new());
    for seed in (0..count).filter(|s| s % 4 == part) {
        match std::panic::catch_unwind(|| play(world(seed))) {
            Ok(outcome) if outcome.gave_up => lost.push(seed),
            Ok(_) => {}
            Err(_) => failed.push(seed),
        }
    }
    println!("{} played, lost {lost:?}", count / 4);
    // In a storm two ends may lose each other: the client's network changes again before the server could replace the
    // connection ID of the last time, and no other path that works is open (RFC 9000 section 9.5). `play` asserts for each
    // that this was the reason. One in a hundred, and one more because fifty seeds are few.
    let bound = count / 4 + 100;
    assert!(lost.len() as u64 * 100 <= bound, "seeds {lost:?} of {}: lost in the storm", count / 4);
    assert!(failed.is_empty(), "seeds {failed:?} failed; replay one with WB_SEED=n cargo test --test sim");
}

#[test]
fn seeds_0() {
    seeds(0, 500, Scenario::from_seed);
}

#[test]
fn seeds_1() {
    seeds(1, 500, Scenario::from_seed);
}

#[test]
fn seeds_2() {
    seeds(2, 500, Scenario::from_seed);
}

#[test]
fn seeds_3() {
    seeds(3, 500, Scenario::from_seed);
}

#[test]
fn storms_0() {
    seeds(0, 200, Scenario::storm);
}

#[test]
fn storms_1() {
    seeds(1, 200, Scenario::storm);
}

#[test]
fn storms_2() {
    seeds(2, 200, Scenario::storm);
}

#[test]
fn storms_3() {
    seeds(3, 200, Scenario::storm);
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
        Mishap::Rebind(Rebind::Port),
        Mishap::Migrate { old_path_dies: true },
        Mishap::Moved,
        Mishap::Rebind(Rebind::Address),
        Mishap::Migrate { old_path_dies: false },
    ];
    scenario.mishaps = (0..10).map(|i| (Duration::from_millis(500 + 900 * i as u64), kinds[i % kinds.len()])).collect();
    let outcome = play(scenario);
    assert!(outcome.migrations >= 10, "{outcome:?}");
}

#[test]
fn a_bad_path_is_only_slow() {
    let bad = LinkConfig {
        loss: 1000,
        reorder: 2000,
        duplicate: 500,
        corrupt: 300,
        reorder_time: Duration::from_millis(30),
        ..LinkConfig::clean()
    };
    let _ = play(Scenario { up: bad.clone(), down: bad, ..Scenario::clean(6) });
}

/// Time that the bytes take at full rate, and how long they took.
fn utilisation(scenario: Scenario) -> f64 {
    let rate = scenario.down.rate;
    let outcome = play(scenario);
    let bytes = *outcome.bytes_read.iter().max().unwrap();
    bytes as f64 / rate as f64 / outcome.transfer.as_secs_f64()
}

#[test]
fn one_connection_fills_a_pipe() {
    // 12.5 MB/s and 40 ms there and back: half a megabyte in flight, a queue of the same size.
    let mut scenario = Scenario { longest: 60_000_000, streams_each_side: 1, ..Scenario::clean(9) };
    for link in [&mut scenario.up, &mut scenario.down] {
        link.rate = 12_500_000;
        link.delay = Duration::from_millis(20);
        link.queue = 500_000;
    }
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno] {
        scenario.client.congestion = algorithm;
        scenario.server.congestion = algorithm;
        let used = utilisation(scenario.clone());
        assert!(used > 0.8, "{algorithm:?} used {used:.2} of the pipe");
    }
}

#[test]
fn a_little_random_loss_does_not_stop_a_transfer() {
    let mut scenario = Scenario { longest: 20_000_000, streams_each_side: 1, ..Scenario::clean(9) };
    for link in [&mut scenario.up, &mut scenario.down] {
        link.rate = 2_500_000;
        link.delay = Duration::from_millis(10);
        link.queue = 100_000;
        link.loss = 10;
    }
    let used = utilisation(scenario);
    assert!(used > 0.5, "used {used:.2} of the pipe");
}
