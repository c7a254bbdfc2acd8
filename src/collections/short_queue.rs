//! A queue whose first element needs no memory of its own.
//!
//! Most messages are one piece: their streams' queues never hold more than one element, and neither ask for memory nor give
//! any back. What follows the first element stands in an ordinary queue behind a pointer, which the owner may recycle.
//! Invariant: without a first element there is no other.
use crate::base::span::Span;
use std::collections::VecDeque;

/// Room for all elements but the first.
#[derive(Debug)]
pub struct Rest<T>(Box<Others<T>>);

#[derive(Debug)]
struct Others<T> {
    list: VecDeque<T>,
}

impl<T> Rest<T> {
    fn new() -> Self {
        Self(Box::new(Others { list: VecDeque::new() }))
    }

    /// Elements that it has memory for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.list.capacity()
    }
}

/// See the file comment.
#[derive(Debug)]
pub struct ShortQueue<T> {
    first: Option<T>,
    rest: Option<Rest<T>>,
}

impl<T> Default for ShortQueue<T> {
    fn default() -> Self {
        Self { first: None, rest: None }
    }
}

impl<T> ShortQueue<T> {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.others().map_or(0, VecDeque::len) + usize::from(self.first.is_some())
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
        self.others().and_then(VecDeque::back).or(self.first.as_ref())
    }

    pub fn back_mut(&mut self) -> Option<&mut T> {
        match &mut self.rest {
            Some(rest) if !rest.0.list.is_empty() => rest.0.list.back_mut(),
            _ => self.first.as_mut(),
        }
    }

    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(index) => self.others()?.get(index),
        }
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(index) => self.rest.as_mut()?.0.list.get_mut(index),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.others().into_iter().flatten())
    }

    /// Index of the first element that `before` says no to; those that it says yes to come first.
    pub fn partition_point(&self, mut before: impl FnMut(&T) -> bool) -> usize {
        match &self.first {
            Some(first) if before(first) => 1 + self.others().map_or(0, |others| others.partition_point(before)),
            _ => 0,
        }
    }

    pub fn push_back(&mut self, value: T) {
        if self.first.is_none() {
            self.first = Some(value);
        } else {
            self.rest.get_or_insert_with(Rest::new).0.list.push_back(value);
        }
    }

    pub fn pop_front(&mut self) -> Option<T> {
        let first = self.first.take();
        if let Some(rest) = &mut self.rest {
            self.first = rest.0.list.pop_front();
        }
        first
    }

    pub fn pop_back(&mut self) -> Option<T> {
        self.rest.as_mut().and_then(|rest| rest.0.list.pop_back()).or_else(|| self.first.take())
    }

    /// All but the first.
    fn others(&self) -> Option<&VecDeque<T>> {
        self.rest.as_ref().map(|rest| &rest.0.list)
    }

    /// The next element needs memory that is not there yet.
    #[must_use]
    pub const fn wants_rest(&self) -> bool {
        self.first.is_some() && self.rest.is_none()
    }

    /// The memory of an empty queue's elements, for others.
    #[must_use]
    pub fn take_rest(&mut self) -> Option<Rest<T>> {
        if self.is_empty() { self.rest.take() } else { None }
    }

    /// Memory that another queue had.
    pub fn lend_rest(&mut self, rest: Rest<T>) {
        if self.rest.is_none() {
            self.rest = Some(rest);
        }
    }

    /// Where the first elements lie that do not lie here.
    #[must_use]
    pub fn span(&self) -> Span {
        self.others().map_or(Span::NONE, |others| Span::front(others.as_slices().0))
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
        assert!(queue.take_rest().is_none());
        queue.push_back(1);
        queue.push_back(2);
        assert!(queue.take_rest().is_none(), "in use");
        assert_eq!((queue.pop_front(), queue.pop_front()), (Some(1), Some(2)));
        let rest = queue.take_rest().unwrap();
        queue.push_back(3);
        assert!(queue.wants_rest());
        queue.lend_rest(rest);
        assert!(!queue.wants_rest());
    }
}
