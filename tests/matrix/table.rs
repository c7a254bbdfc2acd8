//! How often each value was played, and in how many of these rows it met something: printed after the full tier.
//!
//! A value that never meets anything is not covered, however many rows carry its name; so that fails.
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;

use super::from_environment;
use super::row::{DIMENSIONS, Row};

/// Rows from which on every value has to have met something.
const FULL: usize = 1000;
/// Tests that play rows.
const PARTS: usize = 4;

#[derive(Default)]
struct Tally {
    rows: usize,
    /// By dimension and value: rows, and those in which it happened.
    values: BTreeMap<(usize, usize), (usize, usize)>,
    parts: usize,
}

static TALLY: Mutex<Option<Tally>> = Mutex::new(None);

fn with(change: impl FnOnce(&mut Tally)) {
    let mut tally = TALLY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    change(tally.get_or_insert_default());
}

/// A row came through; `happened` has a bit per dimension.
pub fn add(row: &Row, happened: u32) {
    with(|t| {
        t.rows += 1;
        for (dim, value) in row.values.iter().enumerate() {
            let (rows, met) = t.values.entry((dim, *value)).or_default();
            *rows += 1;
            *met += usize::from(happened >> dim & 1 == 1);
        }
    });
}

/// The last of the parts judges; it prints in the full tier, past the capture of the test runner.
pub fn part_is_over() {
    with(|t| {
        t.parts += 1;
        if t.parts < PARTS {
            return;
        }
        let mut text = format!("\n{} rows of the fault matrix: value, rows, rows in which it met something\n", t.rows);
        let mut idle = Vec::new();
        for (dim, (name, values)) in DIMENSIONS.iter().enumerate() {
            for (value, label) in values.iter().enumerate() {
                let (rows, met) = t.values.get(&(dim, value)).copied().unwrap_or_default();
                text += &format!("{name:<10} {label:<24} {rows:>6} {met:>6}\n");
                // Six weeks of delay have a test of their own.
                if met == 0 && *label != "6 weeks" {
                    idle.push(format!("{name}: {label}"));
                }
            }
        }
        if from_environment("WB_MATRIX").is_some() {
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
        // Of some hundred rows too few have room for the largest workload.
        assert!(t.rows < FULL || idle.is_empty(), "values that met nothing: {idle:?}");
    });
}
