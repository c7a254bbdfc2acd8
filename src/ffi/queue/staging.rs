//! What a worker hands over at once goes into its queue at once.
//!
//! While a worker delivers a batch, events for a queue gather on its own thread and enter it together: one lock, one count per
//! connection and one look at who has to be told, instead of one per event. Woken at the first event, a taker would fight with
//! the worker for every further one. Invariants: what is staged enters before the application's code runs on this thread and before the
//! delivery ends; events of one thread keep their order, also across queues.
use super::super::events::{Kept, Record};
use super::QueueObject;
use super::wb_event;
use crate::base::sync::thread_local;
use crate::runtime::Runtime;
use core::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

thread_local! {
    /// This thread delivers a batch.
    static IN_BATCH: Cell<bool> = const { Cell::new(false) };
    /// Something is staged.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
    static STAGED: RefCell<Staged> = const { RefCell::new(Staged::new()) };
}

/// Events for one queue, whose notices have entered already.
struct Staged {
    queue: Option<Arc<QueueObject>>,
    events: VecDeque<wb_event>,
    kept: VecDeque<Kept>,
}

impl Staged {
    const fn new() -> Self {
        Self { queue: None, events: VecDeque::new(), kept: VecDeque::new() }
    }

    fn add(&mut self, record: Record) {
        let Record { event, kept } = record;
        self.events.push_back(event);
        self.kept.push_back(kept);
        let _ = HOLDS.try_with(|h| h.set(true));
    }
}

fn in_batch() -> bool {
    IN_BATCH.try_with(Cell::get).unwrap_or(false)
}

/// Adds an event to what is staged for `queue`. The record comes back when that is not possible: outside of a batch, or when
/// another queue's events are staged; see `push`. May be called with locks held.
pub(super) fn stage(queue: &Arc<QueueObject>, record: Record) -> Option<Record> {
    if !in_batch() {
        return Some(record);
    }
    let mut record = Some(record);
    let _ = STAGED.try_with(|staged| {
        if let Ok(mut staged) = staged.try_borrow_mut()
            && staged.queue.as_ref().is_some_and(|known| Arc::ptr_eq(known, queue))
            && let Some(record) = record.take()
        {
            staged.add(record);
        }
    });
    record
}

/// Puts an event into `queue`, with a batch's others or alone. No lock may be held.
pub(super) fn push(queue: Arc<QueueObject>, record: Record) {
    if !in_batch() {
        let Record { event, kept } = record;
        queue.put_in(&mut VecDeque::from([event]), &mut VecDeque::from([kept]));
        return;
    }
    enter_staged();
    let _ = STAGED.try_with(|staged| {
        if let Ok(mut staged) = staged.try_borrow_mut() {
            staged.queue = Some(queue);
            staged.add(record);
        }
    });
}

/// Runs `deliver`, on a worker with no lock held: what it emits enters its queue afterwards.
pub(crate) fn at_once<R>(deliver: impl FnOnce() -> R) -> R {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            let told = enter_staged();
            let _ = IN_BATCH.try_with(|b| b.set(false));
            // A queue must not live on because a worker used it last.
            let queue = STAGED.try_with(|s| s.try_borrow_mut().ok().and_then(|mut s| s.queue.take())).ok().flatten();
            drop(queue);
            if told && Runtime::on_worker_thread() {
                // A taker on the same core answers now, and its answers leave in this very turn.
                std::thread::yield_now();
            }
        }
    }
    if in_batch() || IN_BATCH.try_with(|b| b.set(true)).is_err() {
        return deliver();
    }
    let _done = Done;
    deliver()
}

/// Before the application's code runs in between, which may wait for a taker, and at the end. True: somebody was woken.
#[inline]
pub(crate) fn enter_staged() -> bool {
    HOLDS.try_with(Cell::get).unwrap_or(false) && enter_all()
}

#[cold]
fn enter_all() -> bool {
    let taken = STAGED.try_with(|staged| {
        let mut staged = staged.try_borrow_mut().ok()?;
        HOLDS.set(false);
        let queue = staged.queue.clone()?;
        Some((queue, core::mem::take(&mut staged.events), core::mem::take(&mut staged.kept)))
    });
    let Some((queue, mut events, mut kept)) = taken.ok().flatten() else { return false };
    let told = queue.put_in(&mut events, &mut kept);
    // Their room serves the next batch.
    let _ = STAGED.try_with(|staged| {
        if let Ok(mut staged) = staged.try_borrow_mut()
            && staged.events.is_empty()
        {
            (staged.events, staged.kept) = (events, kept);
        }
    });
    told
}
