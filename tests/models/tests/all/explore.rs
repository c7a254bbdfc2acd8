//! Runs one model under two schedulers: uniformly random ones, and few preemptions at random places (PCT), which
//! finds what needs one rare switch in a long run.
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};
use std::time::Instant;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name} is not a number: {v}")))
}

/// Tries out `schedules` schedules of `model`.
pub fn explore(name: &str, schedules: usize, model: fn()) {
    let seed = number("WB_SEED", 1);
    let schedules = schedules * usize::try_from(number("WB_SCHEDULES", 1)).expect("a small number");
    let begun = Instant::now();
    run(RandomScheduler::new_from_seed(seed, schedules / 2), model);
    run(PctScheduler::new_from_seed(seed, 3, schedules / 2), model);
    println!("{name}: {schedules} schedules, {:.1} s", begun.elapsed().as_secs_f64());
}

fn run(scheduler: impl Scheduler + 'static, model: fn()) {
    let mut config = Config::new();
    // TLS needs more than the default; untouched pages cost nothing.
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(3_000_000);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        model();
        whimbrel::ffi::inside::clear();
    });
}

/// Tries out every schedule of `model`, which must be small.
pub fn exhaust(name: &str, model: fn()) {
    let begun = Instant::now();
    let schedules = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&schedules);
    shuttle::check_dfs(
        move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        },
        None,
    );
    let schedules = schedules.load(std::sync::atomic::Ordering::Relaxed);
    println!("{name}: all {schedules} schedules, {:.1} s", begun.elapsed().as_secs_f64());
}
