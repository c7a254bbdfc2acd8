//! A queue whose first element needs no memory of its own.
//!
//! Most messages are one piece: their streams' queues never hold more than one element, and neither ask for memory nor give
//! any back. What follows the first element stands in an ordinary queue, whose memory the owner may recycle.
//! Invariant: without a first element there is no other.
use std::collections::VecDeque;

/// See the file comment.
#[derive(Debug)]
pub struct ShortQueue<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for ShortQueue<T> {
    fn default() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }
}

impl<T> ShortQueue<T> {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.rest.len() + usize::from(self.first.is_some())
    }

    #[must_use]
    pub const fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub const fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    #[must_use]
    pub fn back(&self) -> Option<&T> {
        if self.rest.is_empty() { self.first.as_ref() } else { self.rest.back() }
    }

    pub fn back_mut(&mut self) -> Option<&mut T> {
        if self.rest.is_empty() { self.first.as_mut() } else { self.rest.back_mut() }
    }

    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(index) => self.rest.get(index),
        }
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(index) => self.rest.get_mut(index),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    /// Index of the first element that `before` says no to; those that it says yes to come first.
    pub fn partition_point(&self, mut before: impl FnMut(&T) -> bool) -> usize {
        if self.first.as_ref().is_none_or(|first| !before(first)) { 0 } else { 1 + self.rest.partition_point(before) }
    }

    pub fn push_back(&mut self, value: T) {
        if self.first.is_none() {
            self.first = Some(value);
        } else {
            self.rest.push_back(value);
        }
    }

    pub fn pop_front(&mut self) -> Option<T> {
        let first = self.first.take();
        if !self.rest.is_empty() {
            self.first = self.rest.pop_front();
        }
        first
    }

    pub fn pop_back(&mut self) -> Option<T> {
        if self.rest.is_empty() { self.first.take() } else { self.rest.pop_back() }
    }

    /// The memory of all elements but the first, for who recycles it: may be exchanged while it is empty.
    pub const fn rest_mut(&mut self) -> &mut VecDeque<T> {
        &mut self.rest
    }

    /// As [`Self::rest_mut`].
    #[must_use]
    pub const fn rest(&self) -> &VecDeque<T> {
        &self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::ShortQueue;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn behaves_as_an_ordinary_queue(acts in prop::collection::vec(0u8..5, 0..200)) {
            let (mut ours, mut model) = (ShortQueue::default(), VecDeque::new());
            for (n, act) in acts.into_iter().enumerate() {
                match act {
                    0..=2 => {
                        ours.push_back(n);
                        model.push_back(n);
                    }
                    3 => prop_assert_eq!(ours.pop_front(), model.pop_front()),
                    _ => prop_assert_eq!(ours.pop_back(), model.pop_back()),
                }
                prop_assert_eq!((ours.len(), ours.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!((ours.front(), ours.back()), (model.front(), model.back()));
                prop_assert_eq!(ours.front_mut().copied(), model.front().copied());
                prop_assert_eq!(ours.back_mut().copied(), model.back().copied());
                prop_assert!(ours.iter().eq(&model));
                for index in 0..=model.len() {
                    prop_assert_eq!(ours.get(index), model.get(index));
                    prop_assert_eq!(ours.get_mut(index).copied(), model.get(index).copied());
                }
                for bound in 0..=n + 1 {
                    prop_assert_eq!(ours.partition_point(|v| *v < bound), model.partition_point(|v| *v < bound));
                }
            }
        }
    }

    #[test]
    fn one_element_needs_no_memory() {
        let mut queue = ShortQueue::default();
        for n in 0..1000 {
            queue.push_back(n);
            assert_eq!(queue.pop_front(), Some(n));
        }
        assert_eq!(queue.rest().capacity(), 0);
    }
}
