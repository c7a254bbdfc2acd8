//! A set of `u64` as sorted, disjoint, non-touching half-open ranges.
//!
//! Used for received packet numbers, acknowledged and lost stream ranges, holes in reassembly and stream counts.
//! The caller bounds the number of ranges (`len`), because only it knows what a peer may cause.
//! Invariant: ranges are non-empty, ascending, and at least one number apart. The common operations are at either
//! end and cost O(1); others cost a binary search and the shorter half's move. Memory is kept for reuse.
use crate::base::span::Span;
use core::ops::Range;
use std::collections::VecDeque;

/// Sorted disjoint ranges; empty sets hold no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: VecDeque<Range<u64>>,
}

impl RangeSet {
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: VecDeque::new() }
    }

    /// Number of ranges (not of numbers).
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Smallest number.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        self.ranges.front().map(|r| r.start)
    }

    /// Largest number.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.ranges.back().map(|r| r.end - 1)
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }

    /// Ranges, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + ExactSizeIterator + Clone + '_ {
        self.ranges.iter().cloned()
    }

    /// Ranges, highest first.
    pub fn iter_desc(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + ExactSizeIterator + Clone + '_ {
        self.ranges.iter().rev().cloned()
    }

    /// The lowest range.
    #[must_use]
    pub fn first(&self) -> Option<Range<u64>> {
        self.ranges.front().cloned()
    }

    /// The highest range.
    #[must_use]
    pub fn last(&self) -> Option<Range<u64>> {
        self.ranges.back().cloned()
    }

    /// Takes the lowest range out.
    pub fn pop_min(&mut self) -> Option<Range<u64>> {
        self.ranges.pop_front()
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Gives the memory back as well.
    pub fn shrink(&mut self) {
        self.ranges = VecDeque::new();
    }

    /// Index of the first range that ends after `value`.
    fn seek(&self, value: u64) -> usize {
        // Most lookups are at the top (new packet numbers) or at the bottom (data in order).
        match self.ranges.back() {
            None => return 0,
            Some(last) if last.end <= value => return self.ranges.len(),
            Some(last) if last.start <= value => return self.ranges.len() - 1,
            Some(_) => {}
        }
        if self.ranges.front().is_some_and(|first| first.end > value) {
            return 0;
        }
        self.ranges.partition_point(|r| r.end <= value)
    }

    #[must_use]
    pub fn contains(&self, value: u64) -> bool {
        self.range_at(value).is_some()
    }

    /// The range that holds `value`.
    #[must_use]
    pub fn range_at(&self, value: u64) -> Option<Range<u64>> {
        self.ranges.get(self.seek(value)).filter(|r| r.start <= value).cloned()
    }

    /// All of `range` is in the set (true for an empty one).
    #[must_use]
    pub fn covers(&self, range: Range<u64>) -> bool {
        range.is_empty() || self.range_at(range.start).is_some_and(|r| r.end >= range.end)
    }

    /// Where the first ranges lie.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        name(Span::front(self.ranges.as_slices().0));
    }

    /// Any of `range` is in the set.
    #[must_use]
    pub fn overlaps(&self, range: &Range<u64>) -> bool {
        !range.is_empty() && self.ranges.get(self.seek(range.start)).is_some_and(|r| r.start < range.end)
    }

    /// Adds `range`; true if any of it was missing.
    pub fn insert(&mut self, range: Range<u64>) -> bool {
        if range.is_empty() {
            return false;
        }
        // At the top: packet numbers in order.
        match self.ranges.back_mut() {
            Some(last) if last.end == range.start => {
                last.end = range.end;
                return true;
            }
            Some(last) if last.end > range.start => {}
            _ => {
                self.ranges.push_back(range);
                return true;
            }
        }
        // First range that touches or follows: one that ends exactly at our start merges.
        let from = if range.start == 0 { 0 } else { self.seek(range.start - 1) };
        let Some(found) = self.ranges.get_mut(from) else {
            self.ranges.push_back(range);
            return true;
        };
        if found.start > range.end {
            self.ranges.insert(from, range);
            return true;
        }
        if found.start <= range.start && range.end <= found.end {
            return false;
        }
        found.start = found.start.min(range.start);
        found.end = found.end.max(range.end);
        let end = found.end;
        // Swallow the ranges that the longer one now reaches.
        let mut upto = from + 1;
        let mut new_end = end;
        while let Some(next) = self.ranges.get(upto).filter(|next| next.start <= end) {
            new_end = new_end.max(next.end);
            upto += 1;
        }
        if let Some(found) = self.ranges.get_mut(from) {
            found.end = new_end;
        }
        self.erase(from + 1, upto);
        true
    }

    /// Removes `range`; true if any of it was there.
    pub fn remove(&mut self, range: Range<u64>) -> bool {
        if range.is_empty() {
            return false;
        }
        let from = self.seek(range.start);
        let Some(first) = self.ranges.get_mut(from).filter(|r| r.start < range.end) else { return false };
        if first.start < range.start {
            let tail = range.end..first.end;
            first.end = range.start;
            if !tail.is_empty() {
                self.ranges.insert(from + 1, tail);
                return true;
            }
            self.remove_from(from + 1, range.end);
        } else {
            self.remove_from(from, range.end);
        }
        true
    }

    /// Removes what lies below `end` from the ranges starting at index `from`.
    fn remove_from(&mut self, from: usize, end: u64) {
        let mut upto = from;
        while self.ranges.get(upto).is_some_and(|r| r.end <= end) {
            upto += 1;
        }
        if let Some(cut) = self.ranges.get_mut(upto).filter(|r| r.start < end) {
            cut.start = end;
        }
        self.erase(from, upto);
    }

    /// Drops the ranges with indexes `from..upto`.
    fn erase(&mut self, from: usize, upto: usize) {
        match upto.saturating_sub(from) {
            0 => {}
            1 => drop(self.ranges.remove(from)),
            _ if from == 0 => drop(self.ranges.drain(..upto)),
            _ => drop(self.ranges.drain(from..upto)),
        }
    }

    /// Removes every number below `bound`.
    pub fn remove_below(&mut self, bound: u64) {
        while self.ranges.front().is_some_and(|r| r.end <= bound) {
            self.ranges.pop_front();
        }
        if let Some(first) = self.ranges.front_mut().filter(|r| r.start < bound) {
            first.start = bound;
        }
    }

    /// Removes all numbers of `other`.
    pub fn subtract(&mut self, other: &Self) {
        for range in &other.ranges {
            self.remove(range.clone());
        }
    }

    /// Calls `f` with each part of `range` that is not in the set, lowest first.
    pub fn gaps(&self, range: Range<u64>, mut f: impl FnMut(Range<u64>)) {
        let mut at = range.start;
        for r in self.ranges.range(self.seek(range.start)..) {
            if r.start >= range.end {
                break;
            }
            if at < r.start {
                f(at..r.start);
            }
            at = r.end;
        }
        if at < range.end {
            f(at..range.end);
        }
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(iter: T) -> Self {
        let mut set = Self::new();
        for range in iter {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests;
