//! Covering arrays: rows of settings in which every pair of values of two dimensions meets.
//!
//! Faults hide in pairs of circumstances far more often than in triples, and all pairs need some hundred rows where all
//! combinations would need billions. Greedy and deterministic: the same seed gives the same array.
use crate::base::{Pcg, Rng};

/// How many values each dimension has; value 0 is the benign one.
pub type Levels<'a> = &'a [usize];

/// Candidates per row; the best one is taken.
const CANDIDATES: usize = 12;

struct Pairs {
    /// Where the pairs of two dimensions begin, by `first * dimensions + second`.
    start: Vec<usize>,
    seen: Vec<bool>,
    left: usize,
}

impl Pairs {
    fn new(levels: Levels<'_>) -> Self {
        let n = levels.len();
        let (mut start, mut total) = (vec![0; n * n], 0);
        for a in 0..n {
            for b in a + 1..n {
                start[a * n + b] = total;
                total += levels[a] * levels[b];
            }
        }
        Self { start, seen: vec![false; total], left: total }
    }

    fn index(&self, levels: Levels<'_>, (a, x): (usize, usize), (b, y): (usize, usize)) -> usize {
        let ((a, x), (b, y)) = if a < b { ((a, x), (b, y)) } else { ((b, y), (a, x)) };
        self.start[a * levels.len() + b] + x * levels[b] + y
    }

    /// New pairs that `value` of `dim` makes with what is set already.
    fn gain(&self, levels: Levels<'_>, row: &[Option<usize>], dim: usize, value: usize) -> usize {
        let fresh = |(other, set): (usize, &Option<usize>)| {
            set.filter(|_| other != dim).is_some_and(|y| !self.seen[self.index(levels, (dim, value), (other, y))])
        };
        row.iter().enumerate().filter(|pair| fresh(*pair)).count()
    }

    fn take(&mut self, levels: Levels<'_>, row: &[usize]) {
        for a in 0..row.len() {
            for b in a + 1..row.len() {
                let i = self.index(levels, (a, row[a]), (b, row[b]));
                self.left -= usize::from(!std::mem::replace(&mut self.seen[i], true));
            }
        }
    }

    /// A pair that no row has, chosen by `pick`.
    fn open_pair(&self, levels: Levels<'_>, pick: usize) -> Option<[(usize, usize); 2]> {
        let n = levels.len();
        let wanted = self.seen.iter().enumerate().filter(|(_, s)| !**s).nth(pick)?.0;
        for a in 0..n {
            for b in a + 1..n {
                let offset = wanted.checked_sub(self.start[a * n + b]);
                if let Some(offset) = offset.filter(|o| *o < levels[a] * levels[b]) {
                    return Some([(a, offset / levels[b]), (b, offset % levels[b])]);
                }
            }
        }
        None
    }
}

/// One array: every pair of values of every two dimensions is in some row.
#[must_use]
pub fn pairwise(levels: Levels<'_>, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = Pcg::new(seed ^ 0xc0_7e41);
    let mut pairs = Pairs::new(levels);
    let mut rows = Vec::new();
    while pairs.left > 0 {
        let mut best: Option<(usize, Vec<usize>)> = None;
        for _ in 0..CANDIDATES {
            let pick = rng.below(pairs.left as u64) as usize;
            let Some(open) = pairs.open_pair(levels, pick) else { break };
            let mut row = vec![None; levels.len()];
            let mut gained = 1;
            for (dim, value) in open {
                row[dim] = Some(value);
            }
            let mut order: Vec<usize> = (0..levels.len()).filter(|d| row[*d].is_none()).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, rng.below(i as u64 + 1) as usize);
            }
            for dim in order {
                let first = rng.below(levels[dim] as u64) as usize;
                let values = (0..levels[dim]).map(|v| (first + v) % levels[dim]);
                // The first of the best: chance breaks ties.
                let (gain, value) = values
                    .map(|v| (pairs.gain(levels, &row, dim, v), v))
                    .reduce(|best, next| if next.0 > best.0 { next } else { best })
                    .expect("a dimension has values");
                row[dim] = Some(value);
                gained += gain;
            }
            let row: Vec<usize> = row.into_iter().flatten().collect();
            if best.as_ref().is_none_or(|b| gained > b.0) {
                best = Some((gained, row));
            }
        }
        let (_, row) = best.expect("an open pair makes a row");
        pairs.take(levels, &row);
        rows.push(row);
    }
    rows
}

/// `count` rows: one array after another, each of another seed, so that every pair meets in many companies.
#[must_use]
pub fn rows(levels: Levels<'_>, seed: u64, count: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut next = seed;
    while all.len() < count {
        all.extend(pairwise(levels, next));
        next += 1;
    }
    all.truncate(count);
    all
}
