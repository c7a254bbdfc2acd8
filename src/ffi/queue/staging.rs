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
    static STAGED: Staged = const { Staged::new() };
    /// Something is staged.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// Events for one queue, whose notices have entered already.
struct Staged {
    /// This thread delivers a batch.
    in_batch: Cell<bool>,
    /// Whose events they are; alive while `lists` holds it.
    target: Cell<*const QueueObject>,
    lists: RefCell<Lists>,
}

struct Lists {
    queue: Option<Arc<QueueObject>>,
    events: VecDeque<wb_event>,
    kept: VecDeque<Kept>,
}

impl Staged {
    const fn new() -> Self {
        let lists = Lists { queue: None, events: VecDeque::new(), kept: VecDeque::new() };
        Self { in_batch: Cell::new(false), target: Cell::new(core::ptr::null()), lists: RefCell::new(lists) }
    }
}

/// Whether events for `queue` gather on this thread now. May be asked with locks held.
pub(super) fn gathers_for(queue: &Arc<QueueObject>) -> bool {
    STAGED.try_with(|staged| core::ptr::eq(staged.target.get(), Arc::as_ptr(queue))).unwrap_or(false)
}

/// Adds an event to those that gather.
#[inline]
pub(super) fn add(record: Record) {
    let _ = STAGED.try_with(|staged| {
        if let Ok(mut lists) = staged.lists.try_borrow_mut() {
            let Record { event, kept } = record;
            lists.events.push_back(event);
            lists.kept.push_back(kept);
            let _ = HOLDS.try_with(|h| h.set(true));
        }
    });
}

/// Puts an event into `queue`, for which none gather: within a batch they do from now on. No lock may be held.
#[cold]
pub(super) fn push(queue: Arc<QueueObject>, record: Record) {
    if !STAGED.try_with(|staged| staged.in_batch.get()).unwrap_or(false) {
        let Record { event, kept } = record;
        queue.put_in(&mut VecDeque::from([event]), &mut VecDeque::from([kept]));
        return;
    }
    enter_staged();
    aim(Some(queue));
    add(record);
}

/// From now on events for this queue gather.
fn aim(queue: Option<Arc<QueueObject>>) {
    let before = STAGED.try_with(|staged| {
        let mut lists = staged.lists.try_borrow_mut().ok()?;
        staged.target.set(queue.as_ref().map_or(core::ptr::null(), Arc::as_ptr));
        core::mem::replace(&mut lists.queue, queue)
    });
    // Its end may run the application's code: nothing is borrowed.
    drop(before);
}

/// Runs `deliver`, on a worker with no lock held: what it emits enters its queue afterwards.
pub(crate) fn at_once<R>(deliver: impl FnOnce() -> R) -> R {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            let told = enter_staged();
            let _ = STAGED.try_with(|staged| staged.in_batch.set(false));
            // A queue must not live on because a worker used it last.
            aim(None);
            if told && Runtime::on_worker_thread() {
                // A taker on the same core answers now, and its answers leave in this very turn.
                std::thread::yield_now();
            }
        }
    }
    if STAGED.try_with(|staged| staged.in_batch.replace(true)).unwrap_or(true) {
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

fn enter_all() -> bool {
    let taken = STAGED.try_with(|staged| {
        let mut lists = staged.lists.try_borrow_mut().ok()?;
        let _ = HOLDS.try_with(|h| h.set(false));
        let queue = lists.queue.clone()?;
        Some((queue, core::mem::take(&mut lists.events), core::mem::take(&mut lists.kept)))
    });
    let Some((queue, mut events, mut kept)) = taken.ok().flatten() else { return false };
    let told = queue.put_in(&mut events, &mut kept);
    // Their room serves the next batch.
    let _ = STAGED.try_with(|staged| {
        if let Ok(mut lists) = staged.lists.try_borrow_mut()
            && lists.events.is_empty()
        {
            (lists.events, lists.kept) = (events, kept);
        }
    });
    told
}
