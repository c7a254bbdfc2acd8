//! The fault matrix: rows of a pairwise covering array over fourteen dimensions of trouble.
//!
//! The quick tier plays some hundred rows; `WB_MATRIX=3000` (what `make check` asks for) plays the full tier.
//! `WB_SEED=n cargo test --test matrix row -- --nocapture` plays row n alone. A failing row is shrunk to the smallest
//! one that still fails, and printed as the code of a regression.
mod pauses;
mod regressions;
mod row;
mod run;
mod table;

use std::collections::BTreeSet;

use row::{DIMENSIONS, Row, levels};
use run::{Cause, PLANTED, SILENCED, fails, judge, play, shrink};
use whimbrel::sim::cover;

const QUICK: usize = 240;
/// Of so many rows one has a dead time that ends every connection; the next one has to do the work then.
const OUTLASTED_EVERY: usize = 21;
/// Failures that are shrunk before the rest is only counted.
const SHRUNK: usize = 3;

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

fn all_rows(count: usize) -> Vec<Row> {
    let rows = cover::rows(&levels(), 1, count);
    let row = |(i, values): (usize, Vec<usize>)| {
        let row = Row { seed: i as u64, values };
        match (i % OUTLASTED_EVERY == OUTLASTED_EVERY - 1, i / OUTLASTED_EVERY % 2) {
            (false, _) => row,
            (true, 0) => row.with("outage", "longer than idle"),
            (true, _) => row.with("outage", "six weeks asleep"),
        }
    };
    rows.into_iter().enumerate().map(row).collect()
}

/// Every fourth row, so that the test runner can use the machine's cores.
fn part(part: usize) {
    if let Some(seed) = from_environment("WB_SEED") {
        if seed % 4 == part {
            let row = all_rows(seed + 1).pop().expect("so many rows");
            println!("{}\n{:?}", row.code(), play(&row, true));
        }
        return;
    }
    let mut failed = Vec::new();
    let mut played = 0;
    for row in all_rows(from_environment("WB_MATRIX").unwrap_or(QUICK)).iter().filter(|r| r.seed as usize % 4 == part) {
        played += 1;
        let why = match judge(row) {
            Ok(verdict) => {
                table::add(row, verdict.happened);
                continue;
            }
            Err(why) => why,
        };
        if failed.len() < SHRUNK {
            let small = shrink(row);
            eprintln!("row {} fails: {why}\n    {}\nsmallest: {}", row.seed, row.code(), small.code());
            let _ = std::panic::catch_unwind(|| play(&small, true));
        }
        failed.push((row.seed, why));
    }
    assert!(played > 0, "nothing was played");
    table::part_is_over();
    let silenced = SILENCED.take();
    let of = |cause| silenced.get(&cause).map_or(0, Vec::len);
    println!(
        "{played} rows. Another connection had to do the work because of: dead time beyond the idle timeout {}, an \
         expired Retry token {:?}, a storm {:?}",
        of(Cause::Outlasted),
        silenced.get(&Cause::TokenExpired),
        silenced.get(&Cause::Storm),
    );
    assert!(
        of(Cause::Outlasted) * OUTLASTED_EVERY <= played + OUTLASTED_EVERY,
        "{} were outlasted",
        of(Cause::Outlasted)
    );
    // One in a hundred, and one more, because in the quick tier a row is much.
    let expired = of(Cause::TokenExpired);
    assert!(expired * 100 <= played + 100, "{expired} Retry tokens expired in {played} rows");
    // One in a thousand, and one more.
    let storms = of(Cause::Storm);
    assert!(storms * 1000 <= played + 1000, "{storms} of {played} rows went silent");
    assert!(failed.is_empty(), "{} of {played} rows failed: {failed:#?}", failed.len());
}

#[test]
fn rows_0() {
    part(0);
}

#[test]
fn rows_1() {
    part(1);
}

#[test]
fn rows_2() {
    part(2);
}

#[test]
fn rows_3() {
    part(3);
}

#[test]
fn every_pair_of_values_is_in_the_quick_tier() {
    let rows = all_rows(QUICK);
    let levels = levels();
    for a in 0..levels.len() {
        for b in a + 1..levels.len() {
            let met: BTreeSet<_> = rows.iter().map(|r| (r.values[a], r.values[b])).collect();
            let met: Vec<_> = met.into_iter().filter(|(x, y)| *x < levels[a] && *y < levels[b]).collect();
            assert_eq!(met.len(), levels[a] * levels[b], "{} and {}", DIMENSIONS[a].0, DIMENSIONS[b].0);
        }
    }
}

#[test]
fn the_same_row_plays_the_same_world() {
    for row in all_rows(40).iter().step_by(9) {
        if fails(row).is_none() {
            assert_eq!(play(row, false), play(row, false), "{}", row.code());
        }
    }
}

#[test]
fn six_weeks_to_the_other_end() {
    for workload in ["GET", "ping-pong", "upload"] {
        let row = Row::benign(6).with("delay", "6 weeks").with("workload", workload);
        let verdict = play(&row, true);
        assert!(verdict.took > row.rtt() * 2, "{verdict:?}");
    }
}

#[test]
fn shrinking_leaves_what_matters() {
    let broken = |row: &Row| row.is("loss_up", "5 %") && !row.is("reorder", "none");
    let row = Row::benign(1).with("loss_up", "5 %").with("reorder", "25 %").with("ecn", "mangled");
    let small = run::shrink_by(&row, broken);
    assert_eq!(small.code(), Row::benign(1).with("loss_up", "5 %").with("reorder", "5 %").code());
}

/// The same with worlds: a fault that needs a duplicate and a corrupted datagram on the way down, in a row full of trouble.
#[test]
fn a_planted_failure_shrinks_to_a_regression() {
    let row = Row::benign(3)
        .with("loss_up", "5 %")
        .with("reorder", "25 %")
        .with("duplicate", "50 %")
        .with("corrupt", "10 %")
        .with("delay", "300±200 ms")
        .with("mtu", "1280")
        .with("ecn", "mangled")
        .with("peer", "chaos CRYPTO")
        .with("workload", "bulk")
        .with("keys", "Retry");
    assert_eq!(fails(&row), None, "nothing is wrong with it");
    PLANTED.set(Some(|down| down.duplicated > 0 && down.corrupted > 0));
    let small = shrink(&row);
    let why = fails(&small);
    PLANTED.set(None);
    assert_eq!(why.as_deref(), Some("planted"), "it still fails, and for the same reason: {}", small.code());
    let code = small.code();
    let left: Vec<&str> = DIMENSIONS.iter().zip(&small.values).filter(|(_, v)| **v > 0).map(|(d, _)| d.0).collect();
    assert_eq!(left, ["duplicate", "corrupt"], "{code}");
    assert!(code.starts_with("Row::benign(3).with(\"duplicate\", \"5 %\").with(\"corrupt\", "), "{code}");
    assert_eq!(fails(&small), None);
}

/// Chromium's way to write a ClientHello, and any other that RFC 9000 section 19.6 allows: every handshake comes through,
/// also the longest, and what is cut into pieces fills several Initial packets.
#[test]
fn crypto_frames_in_disorder_over_several_packets() {
    for seed in 0..60 {
        let keys = ["none", "Retry", "version 2", "resumption", "0-RTT"][seed as usize % 5];
        let row = Row::benign(seed).with("peer", "chaos CRYPTO").with("keys", keys).with("loss_down", "10 %");
        play(&row, true);
    }
}
