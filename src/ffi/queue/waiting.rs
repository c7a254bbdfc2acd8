//! What waits in a queue: parts, which a taker gets as they are.
//!
//! An event is large, so it is written once, where it was put in, and not moved again. Invariants: no part is empty; a part has as many
//! events as things kept; events keep their order; a stream that ends silently does so with a part that is returned no earlier than
//! those before it.
use super::super::abi::{WB_EV_DATAGRAM, WB_EV_H3_HEADERS, WB_EV_H3_MESSAGE, WB_EVF_FIN};
use super::super::events::{Kept, Merge, Record};
use super::super::object::Ends;
use super::super::stream::StreamObject;
use super::{MAX_BATCH, MAX_DATAGRAMS, wb_event};
use std::collections::VecDeque;
use std::sync::Arc;

/// Events for which there is room in lists that are kept for later.
const SPARE: usize = 2 * MAX_BATCH;

/// Events, and what each of them keeps: two lists, so that a taker can be shown the first.
#[derive(Default)]
pub(super) struct Part {
    pub events: Vec<wb_event>,
    pub kept: Vec<Kept>,
    /// Streams that end with these events, but of which none of them tells it.
    pub ends: Vec<Arc<StreamObject>>,
    /// Events that the application is likely to answer.
    pub asking: usize,
    /// There may be datagrams among them.
    pub datagrams: bool,
}

/// The application is likely to answer it: there is something to read or room to write, or all has come.
/// What `ConnEvent::asks` counts in a batch beforehand, to make parts of one size, is counted here as it is told.
fn asks(event: &wb_event, kept: &Kept) -> bool {
    match event.kind {
        WB_EV_H3_MESSAGE | WB_EV_DATAGRAM => true,
        WB_EV_H3_HEADERS => event.flags & WB_EVF_FIN != 0,
        _ => kept.merge != Merge::No,
    }
}

impl From<Record> for Part {
    fn from(Record { event, kept }: Record) -> Self {
        let mut part = Self::new();
        part.add(event.kind, || event, || kept);
        part
    }
}

impl Part {
    pub const fn new() -> Self {
        Self { events: Vec::new(), kept: Vec::new(), ends: Vec::new(), asking: 0, datagrams: false }
    }

    /// No event, but the end of a stream.
    pub fn of_end(stream: Arc<StreamObject>) -> Self {
        Self { ends: vec![stream], ..Self::new() }
    }

    /// After delivery, or instead of it. Runs code of the application: no lock may be held.
    pub fn end(&mut self) {
        self.asking = 0;
        self.events.clear();
        self.kept.drain(..).for_each(Kept::end);
        self.end_silent();
    }

    /// Ends what no event tells of. No lock may be held.
    pub fn end_silent(&mut self) {
        self.ends.drain(..).for_each(|stream| stream.ended());
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds one of `kind`, made where it is to be.
    #[inline]
    pub fn add(&mut self, kind: u16, event: impl FnOnce() -> wb_event, kept: impl FnOnce() -> Kept) {
        self.datagrams |= kind == WB_EV_DATAGRAM;
        self.events.extend(core::iter::once_with(event));
        self.kept.extend(core::iter::once_with(kept));
        let asking = self.events.last().zip(self.kept.last()).is_some_and(|(event, kept)| asks(event, kept));
        self.asking += usize::from(asking);
    }

    /// Together with these they are no more than that.
    fn fits(&self, other: &Self, max: usize, asking: usize) -> bool {
        self.len().saturating_add(other.len()) <= max && self.asking.saturating_add(other.asking) <= asking
    }

    fn append(&mut self, other: &mut Self) {
        self.events.append(&mut other.events);
        self.kept.append(&mut other.kept);
        self.ends.append(&mut other.ends);
        self.asking += core::mem::take(&mut other.asking);
        self.datagrams |= core::mem::take(&mut other.datagrams);
    }
}

#[derive(Default)]
pub(super) struct Waiting {
    parts: VecDeque<Part>,
    /// Empty, with room.
    spare: Vec<Part>,
    /// Events for which they have room.
    room: usize,
    datagrams: usize,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Puts events in, next to others as long as a part has at most `MAX_BATCH` and `most` that are likely to be answered; leaves a list with room for more. Without events, what
    /// ends joins those that came last, if there are any.
    pub fn put(&mut self, part: &mut Part, most: usize) {
        if part.is_empty() {
            if let Some(last) = self.parts.back_mut() {
                last.ends.append(&mut part.ends);
            }
            return;
        }
        let fits = self.parts.back().is_some_and(|last| last.fits(part, MAX_BATCH, most));
        // One alone is moved, so that the list with room for many stays.
        if !fits && part.len() > 1 {
            let empty = self.empty();
            return self.parts.push_back(core::mem::replace(part, empty));
        }
        if !fits {
            let empty = self.empty();
            self.parts.push_back(empty);
        }
        if let Some(last) = self.parts.back_mut() {
            last.append(part);
        }
    }

    /// The first events, up to `max`; not always as many as there are, and together as long as at most `asking` are likely to be
    /// answered.
    pub fn take(&mut self, max: usize, asking: usize) -> Part {
        let Some(mut part) = self.parts.pop_front() else { return self.empty() };
        // Cut once, for all who come with as little room.
        while part.len() > max {
            let rest = part.len() - 1 - (part.len() - 1) % max;
            let (events, kept) = (part.events.split_off(rest), part.kept.split_off(rest));
            let ends = core::mem::take(&mut part.ends);
            let asking = events.iter().zip(&kept).filter(|(event, kept)| asks(event, kept)).count();
            part.asking = part.asking.saturating_sub(asking);
            self.parts.push_front(Part { events, kept, ends, asking, datagrams: part.datagrams });
        }
        while self.parts.front().is_some_and(|next| part.fits(next, max, asking)) {
            let mut next = self.parts.pop_front().unwrap_or_default();
            part.append(&mut next);
            self.save(next);
        }
        self.note_taken(&part);
        part
    }

    fn note_taken(&mut self, part: &Part) {
        if part.datagrams {
            let gone = part.events.iter().filter(|event| event.kind == WB_EV_DATAGRAM).count();
            self.datagrams = self.datagrams.saturating_sub(gone);
        }
    }

    /// Counts a part's datagrams, and takes out those for which there is no room; without an object that needs their end, but
    /// their bytes are freed by the caller, without the lock.
    pub fn limit_datagrams(&mut self, part: &mut Part) -> Vec<Kept> {
        let mut refused = Vec::new();
        if !part.datagrams {
            return refused;
        }
        let more = part.events.iter().filter(|event| event.kind == WB_EV_DATAGRAM).count();
        let room = MAX_DATAGRAMS.saturating_sub(self.datagrams);
        self.datagrams = self.datagrams.saturating_add(more.min(room));
        if more > room {
            let (events, kept) = (core::mem::take(&mut part.events), core::mem::take(&mut part.kept));
            part.asking = 0;
            let mut seen = 0usize;
            for (event, kept) in events.into_iter().zip(kept) {
                seen = seen.saturating_add(usize::from(event.kind == WB_EV_DATAGRAM));
                if event.kind == WB_EV_DATAGRAM && seen > room {
                    refused.push(kept);
                } else {
                    part.add(event.kind, || event, || kept);
                }
            }
        }
        refused
    }

    fn empty(&mut self) -> Part {
        let part = self.spare.pop().unwrap_or_default();
        self.room = self.room.saturating_sub(part.events.capacity());
        part
    }

    /// Keeps an empty list with room for later.
    pub fn save(&mut self, mut part: Part) {
        part.datagrams = false;
        part.asking = 0;
        let more = part.events.capacity();
        let room = self.room.saturating_add(more);
        if part.is_empty() && more > 0 && room <= SPARE {
            self.room = room;
            self.spare.push(part);
        }
    }

    /// Nothing waits any more: what did.
    pub fn give_up(&mut self) -> VecDeque<Part> {
        self.datagrams = 0;
        core::mem::take(&mut self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::abi::WB_EV_WAKE;
    use super::*;

    /// A part with events of these kinds, numbered in `a` from `first`.
    fn part(first: u64, kinds: &[u16]) -> Part {
        let mut part = Part::default();
        for (kind, a) in kinds.iter().zip(first..) {
            let Record { event, kept } = Record::new(*kind).numbers(a, 0);
            part.add(*kind, || event, || kept);
        }
        part
    }

    fn numbers(part: &Part) -> Vec<u64> {
        assert_eq!(part.events.len(), part.kept.len());
        part.events.iter().map(|event| event.a).collect()
    }

    #[test]
    fn events_come_out_in_order_however_they_were_put_in_and_taken() {
        for most in [1, 2, 3, 64] {
            for max in [1, 2, 3, 64] {
                let mut waiting = Waiting::default();
                let mut next = 0;
                for n in [1, 2, 1, 3, 5, 1, 1] {
                    let mut more = part(next, &vec![WB_EV_WAKE; n]);
                    waiting.put(&mut more, most);
                    assert!(more.is_empty());
                    next += n as u64;
                }
                let mut out = Vec::new();
                while !waiting.is_empty() {
                    let taken = waiting.take(max, MAX_BATCH);
                    assert!((1..=max).contains(&taken.len()), "{} of {max}", taken.len());
                    out.extend(numbers(&taken));
                }
                assert_eq!(out, (0..next).collect::<Vec<_>>(), "{most} {max}");
                assert!(waiting.take(max, MAX_BATCH).is_empty());
            }
        }
    }

    #[test]
    fn a_part_that_fits_is_handed_out_as_it_is() {
        let mut waiting = Waiting::default();
        let mut first = part(0, &[WB_EV_H3_MESSAGE; 3]);
        let place = first.events.as_ptr();
        waiting.put(&mut first, 3);
        waiting.put(&mut part(3, &[WB_EV_H3_MESSAGE; 3]), 3);
        let taken = waiting.take(5, MAX_BATCH);
        assert_eq!((taken.events.as_ptr(), numbers(&taken)), (place, vec![0, 1, 2]));
        assert_eq!(numbers(&waiting.take(5, MAX_BATCH)), [3, 4, 5]);
    }

    #[test]
    fn no_more_that_are_likely_to_be_answered_go_together_than_was_said() {
        let mut waiting = Waiting::default();
        for first in [0, 3, 6] {
            waiting.put(&mut part(first, &[WB_EV_WAKE, WB_EV_H3_MESSAGE, WB_EV_WAKE]), 2);
        }
        assert_eq!(waiting.parts.iter().map(|part| (part.len(), part.asking)).collect::<Vec<_>>(), [(6, 2), (3, 1)]);
        // Cut, and put together again, they are counted as what they are.
        assert_eq!(numbers(&waiting.take(1, 2)), [0]);
        assert_eq!(waiting.parts.iter().map(|part| part.asking).sum::<usize>(), 3);
        assert_eq!(numbers(&waiting.take(MAX_BATCH, 1)), [1, 2, 3]);
        let rest = waiting.take(MAX_BATCH, 2);
        assert_eq!((numbers(&rest), rest.asking), ((4..9).collect(), 2));
    }

    #[test]
    fn datagrams_that_wait_are_bounded_and_what_goes_makes_room() {
        let mut waiting = Waiting::default();
        let flood = [WB_EV_DATAGRAM; MAX_DATAGRAMS];
        let mut many = part(0, &flood);
        assert!(waiting.limit_datagrams(&mut many).is_empty());
        waiting.put(&mut many, MAX_BATCH);
        let mut more = part(0, &[WB_EV_WAKE, WB_EV_DATAGRAM, WB_EV_WAKE]);
        assert_eq!(waiting.limit_datagrams(&mut more).len(), 1);
        assert_eq!(numbers(&more), [0, 2]);
        waiting.put(&mut more, MAX_BATCH);
        assert_eq!(waiting.take(2, MAX_BATCH).len(), 2);
        let mut more = part(0, &[WB_EV_DATAGRAM; 3]);
        assert_eq!(waiting.limit_datagrams(&mut more).len(), 1);
        waiting.put(&mut more, MAX_BATCH);
        assert_eq!(waiting.give_up().iter().map(Part::len).sum::<usize>(), MAX_DATAGRAMS + 2);
        assert!(waiting.is_empty() && waiting.limit_datagrams(&mut part(0, &flood)).is_empty());
    }

    #[test]
    fn lists_that_are_kept_for_later_are_bounded() {
        let mut waiting = Waiting::default();
        for _ in 0..10_000 {
            // A look that finds nothing gives back what it was given.
            let empty = waiting.take(1, MAX_BATCH);
            waiting.save(empty);
            waiting.save(Part { events: Vec::with_capacity(100), ..Part::default() });
            let room = waiting.spare.iter().map(|part| part.events.capacity()).sum::<usize>();
            assert_eq!(waiting.room, room);
            assert!(room <= SPARE, "{room}");
        }
        while !waiting.spare.is_empty() {
            assert!(waiting.empty().events.capacity() >= 100);
        }
        assert_eq!(waiting.room, 0);
        for _ in 0..10_000 {
            let empty = waiting.take(1, MAX_BATCH);
            waiting.save(empty);
        }
        assert_eq!(waiting.room, 0, "no room is counted where there is none");
    }
}
