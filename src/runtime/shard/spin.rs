//! Watching the sockets for a moment before the worker sleeps, while what it waits for comes sooner than a sleep pays.
//!
//! With a request or two under way both ends sleep and wake each other in turn, and on a virtual machine that is half of
//! the CPU and three quarters of the time of a round trip: a halted core must be interrupted and brought back. So while
//! short waits follow each other the worker looks again and again, gives way to whoever else wants the core in between,
//! and sleeps when nothing has come in time. Invariant: a worker without traffic, one that moves bulk and one that waits
//! longer than the limit do not spin; each time that spinning did not pay, twice as many short waits must come before
//! it is tried again.
use core::time::Duration;

/// A sleep up to so many times the limit could become a wait within it: the sleep itself is most of it.
const SLEEP_FACTOR: u32 = 2;
/// Short waits in a row before the first try, and after failures at most.
const FIRST_ROW: u32 = 8;
const LONGEST_ROW: u32 = 1024;
/// What a hit adds, a miss takes away: below four hits for a miss the sleeps are cheaper.
const HIT: u32 = 1;
const MISS: u32 = 4;
/// Credit is not gathered beyond this.
const MOST: u32 = 32;
/// Hits in a row after which earlier failures are forgotten.
const FORGIVEN: u32 = 256;
/// A round that moved more bytes than this, both ways, is bulk: its datagrams are better read many at a time.
const LIGHT: usize = 16 << 10;

/// See the file comment.
pub(super) struct Spin {
    limit: Duration,
    /// Bytes in and out since the last wait.
    moved: usize,
    /// Short waits in a row while it sleeps, of `row` that are needed.
    short: u32,
    row: u32,
    /// Above zero: it spins.
    credit: u32,
    hits: u32,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// A datagram or the doorbell.
    Called,
    /// A timer.
    Timer,
    /// The worker spun and nothing came.
    InVain,
}

impl Spin {
    pub const fn new(limit: Duration) -> Self {
        Self { limit, moved: 0, short: 0, row: FIRST_ROW, credit: 0, hits: 0 }
    }

    /// Bytes came in or left.
    pub const fn note(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Nothing is left to do: how long to watch before sleeping, if at all.
    pub fn wanted(&mut self) -> Option<Duration> {
        let light = core::mem::take(&mut self.moved) <= LIGHT;
        if self.limit.is_zero() {
            return None;
        }
        if !light {
            (self.short, self.credit) = (0, 0);
        }
        (self.credit > 0).then_some(self.limit)
    }

    /// The worker slept for `time`.
    pub fn slept(&mut self, time: Duration, ended: Ended) {
        if ended != Ended::Called || time > self.limit.saturating_mul(SLEEP_FACTOR) {
            self.short = 0;
            return;
        }
        self.short = self.short.saturating_add(1);
        if self.short >= self.row {
            (self.short, self.hits) = (0, 0);
            self.credit = self.credit.max(MISS);
        }
    }

    /// The worker spun.
    pub fn spun(&mut self, ended: Ended) {
        match ended {
            Ended::Called => {
                self.credit = self.credit.saturating_add(HIT).min(MOST);
                self.hits = self.hits.saturating_add(1);
                if self.hits >= FORGIVEN {
                    self.row = FIRST_ROW;
                }
            }
            Ended::Timer => {}
            Ended::InVain => {
                self.hits = 0;
                self.credit = self.credit.saturating_sub(MISS);
                if self.credit == 0 {
                    self.row = self.row.saturating_mul(2).min(LONGEST_ROW);
                    self.short = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ended, FIRST_ROW, FORGIVEN, LIGHT, LONGEST_ROW, MOST, Spin};
    use core::time::Duration;

    const LIMIT: Duration = Duration::from_micros(50);

    /// Waits of `gap` each, by sleep or by spinning; how many of `waits` were spun, and how many of these in vain.
    fn wait(spin: &mut Spin, gap: Duration, bytes: usize, waits: u32) -> (u32, u32) {
        let (mut spun, mut in_vain) = (0, 0);
        for _ in 0..waits {
            spin.note(bytes);
            match spin.wanted() {
                Some(limit) if gap <= limit => {
                    spun += 1;
                    spin.spun(Ended::Called);
                }
                Some(limit) => {
                    spun += 1;
                    in_vain += 1;
                    spin.spun(Ended::InVain);
                    spin.slept(gap - limit, Ended::Called);
                }
                None => spin.slept(gap, Ended::Called),
            }
        }
        (spun, in_vain)
    }

    #[test]
    fn a_quick_exchange_is_watched_after_a_few_sleeps() {
        let mut spin = Spin::new(LIMIT);
        assert_eq!(wait(&mut spin, LIMIT / 2, 1200, 100), (100 - FIRST_ROW, 0));
    }

    #[test]
    fn long_waits_bulk_and_a_limit_of_zero_are_slept() {
        assert_eq!(wait(&mut Spin::new(LIMIT), LIMIT * 3, 1200, 1000), (0, 0));
        assert_eq!(wait(&mut Spin::new(LIMIT), LIMIT / 2, LIGHT + 1, 1000), (0, 0));
        assert_eq!(wait(&mut Spin::new(Duration::ZERO), Duration::ZERO, 1200, 1000), (0, 0));
    }

    #[test]
    fn waits_a_little_too_long_are_tried_ever_more_seldom() {
        let mut spin = Spin::new(LIMIT);
        let gap = LIMIT + LIMIT / 2;
        let (spun, in_vain) = wait(&mut spin, gap, 1200, 20_000);
        assert_eq!(spun, in_vain);
        assert!((10..40).contains(&spun), "{spun}");
        let (spun, _) = wait(&mut spin, gap, 1200, LONGEST_ROW * 10);
        assert!((5..=20).contains(&spun), "{spun}");
    }

    #[test]
    fn failures_are_forgotten_when_it_pays_again() {
        let mut spin = Spin::new(LIMIT);
        wait(&mut spin, LIMIT + LIMIT / 2, 1200, 20_000);
        wait(&mut spin, LIMIT / 2, 1200, LONGEST_ROW + FORGIVEN);
        assert_eq!(spin.row, FIRST_ROW);
        assert_eq!(wait(&mut spin, LIMIT * 3, 1200, MOST).1, MOST / 4, "what was gathered is spent, then it sleeps");
        assert_eq!(wait(&mut spin, LIMIT * 3, 1200, 100), (0, 0));
    }

    #[test]
    fn bulk_ends_it_and_timers_prove_nothing() {
        let mut spin = Spin::new(LIMIT);
        wait(&mut spin, LIMIT / 2, 1200, 100);
        let before = spin.credit;
        spin.spun(Ended::Timer);
        assert_eq!(spin.credit, before);
        spin.note(LIGHT + 1);
        assert_eq!(spin.wanted(), None);
        spin.slept(LIMIT / 2, Ended::Timer);
        assert_eq!(wait(&mut spin, LIMIT / 2, 1200, FIRST_ROW), (0, 0), "from the beginning");
        assert_eq!(wait(&mut spin, LIMIT / 2, 1200, 1), (1, 0));
    }
}
