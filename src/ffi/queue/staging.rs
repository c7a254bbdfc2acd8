//! What a worker hands over at once goes into its queue at once.
//!
//! While a worker delivers a batch, events for a queue gather on its own thread and enter it together: one lock, one count per
//! connection and one look at who has to be told, instead of one per event. Woken at the first event, a taker would fight with
//! the worker for every further one. Invariants: what is staged enters before the application's code runs on this thread and before the
//! delivery ends; events of one thread keep their order, also across queues.
use super::super::events::{Kept, Route};
use super::super::object::Ends;
use super::super::stream::StreamObject;
use super::waiting::Part;
use super::{ASKING_AT_A_TIME, QueueObject, part_of, wb_event};
use crate::base::sync::thread_local;
use crate::runtime::Runtime;
use core::cell::{Cell, RefCell};
use std::sync::Arc;

thread_local! {
    static STAGED: Staged = const { Staged::new() };
}

/// Events for one queue, whose notices have entered already.
struct Staged {
    /// This thread delivers a batch.
    in_batch: Cell<bool>,
    /// Events of the runtime in it that are likely to be answered.
    count: Cell<usize>,
    /// Something is staged.
    holds: Cell<bool>,
    /// The route of the last event, if its queue is the one for which events gather, and what its runtime's `attachments` were when
    /// that was so. Compared, never looked through.
    route: Cell<(*const Route, u64)>,
    lists: RefCell<Lists>,
}

struct Lists {
    queue: Option<Arc<QueueObject>>,
    part: Part,
    /// This many that are likely to be answered at a time: a taker at the helm is given no more.
    most: usize,
}

const NOWHERE: (*const Route, u64) = (core::ptr::null(), 0);

impl Staged {
    const fn new() -> Self {
        let lists = Lists { queue: None, part: Part::new(), most: usize::MAX };
        Self {
            in_batch: Cell::new(false),
            count: Cell::new(0),
            holds: Cell::new(false),
            route: Cell::new(NOWHERE),
            lists: RefCell::new(lists),
        }
    }
}

/// Whether events of `route` gather on this thread now.
#[inline]
pub(super) fn gathers_for(route: &Route) -> bool {
    let here = (core::ptr::from_ref(route), route.attachments());
    STAGED.try_with(|staged| staged.route.get() == here).unwrap_or(false)
}

/// Within a batch, events of `route` gather from now on for `queue`, which was its own when there were so many `attachments`.
/// Elsewhere the queue is given back. No lock may be held.
#[cold]
pub(super) fn aim_for(route: &Route, attachments: u64, queue: Arc<QueueObject>) -> Result<(), Arc<QueueObject>> {
    if !STAGED.try_with(|staged| staged.in_batch.get()).unwrap_or(false) {
        return Err(queue);
    }
    let same = STAGED.try_with(|staged| {
        let lists = staged.lists.try_borrow().ok()?;
        Some(lists.queue.as_ref().is_some_and(|known| Arc::ptr_eq(known, &queue)))
    });
    if same.ok().flatten() != Some(true) {
        enter_staged();
        aim(Some(queue));
    }
    let _ = STAGED.try_with(|staged| staged.route.set((core::ptr::from_ref(route), attachments)));
    Ok(())
}

/// Adds an event of `kind` to those that gather.
#[inline]
pub(super) fn add(kind: u16, event: impl FnOnce() -> wb_event, kept: impl FnOnce() -> Kept) {
    let full = STAGED.try_with(|staged| {
        let Ok(mut lists) = staged.lists.try_borrow_mut() else { return false };
        lists.part.add(kind, event, kept);
        staged.holds.set(true);
        lists.part.asking >= lists.most
    });
    if full == Ok(true) {
        enter_all();
    }
}

/// A stream ends with those that gather, or with what its queue gave out before.
pub(super) fn add_end(stream: Arc<StreamObject>) {
    let refused = STAGED.try_with(|staged| match staged.lists.try_borrow_mut() {
        Ok(mut lists) => {
            lists.part.ends.push(stream);
            staged.holds.set(true);
            None
        }
        Err(_) => Some(stream),
    });
    // Never so: this thread is not at the lists.
    if let Ok(Some(stream)) = refused {
        stream.ended();
    }
}

/// From now on events for this queue gather.
fn aim(queue: Option<Arc<QueueObject>>) {
    let steered = queue.as_ref().is_some_and(|queue| queue.is_steered_here());
    let before = STAGED.try_with(|staged| {
        staged.route.set(NOWHERE);
        let mut lists = staged.lists.try_borrow_mut().ok()?;
        lists.most = if steered { part_of(staged.count.get(), ASKING_AT_A_TIME).max(1) } else { usize::MAX };
        core::mem::replace(&mut lists.queue, queue)
    });
    // Its end may run the application's code: nothing is borrowed.
    drop(before);
}

/// Runs `deliver`, on a worker with no lock held: what it makes of events enters its queue afterwards. `count` of these are likely to
/// be answered.
pub(crate) fn at_once<R>(count: usize, deliver: impl FnOnce() -> R) -> R {
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
    let begin = |staged: &Staged| {
        staged.count.set(count);
        staged.in_batch.replace(true)
    };
    if STAGED.try_with(begin).unwrap_or(true) {
        return deliver();
    }
    let _done = Done;
    deliver()
}

/// Before the application's code runs in between, which may wait for a taker, and at the end. True: somebody was woken.
#[inline]
pub(crate) fn enter_staged() -> bool {
    STAGED.try_with(|staged| staged.holds.get()).unwrap_or(false) && enter_all()
}

fn enter_all() -> bool {
    let taken = STAGED.try_with(|staged| {
        let mut lists = staged.lists.try_borrow_mut().ok()?;
        staged.holds.set(false);
        let queue = lists.queue.clone()?;
        Some((queue, core::mem::take(&mut lists.part)))
    });
    let Some((queue, mut part)) = taken.ok().flatten() else { return false };
    let told = queue.put_in(&mut part);
    // Its room serves the next batch.
    let _ = STAGED.try_with(|staged| {
        if let Ok(mut lists) = staged.lists.try_borrow_mut()
            && lists.part.is_empty()
            && lists.part.ends.is_empty()
        {
            lists.part = part;
        }
    });
    told
}
