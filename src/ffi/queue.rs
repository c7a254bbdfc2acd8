//! `wb_queue_*`: events in batches for an application with its own loop.
//!
//! Bounded: readable and writable notices of a stream merge, datagrams beyond `MAX_DATAGRAMS` are dropped, and a
//! connection of which `MAX_WAITING` events wait is closed. The descriptor is raised only for somebody: a taker who sleeps or
//! whoever has asked for it; what a worker hands over at once is told at once, after it. Invariant: nobody sleeps while the queue is
//! not empty or a wake is due, longer than the worker needs to hand over a batch. Raised without the lock, so it may be up too long
//! (whoever finds the queue empty then lowers it), but lowered only under the lock. A taker that keeps coming back at once runs the
//! worker itself (`runtime/helm.rs`): what it puts in it finds itself, and nobody is told unless others wait as well.
mod staging;

use super::abi::*;
use super::args;
use super::conn::ConnObject;
use super::diagnostics;
use super::endpoint::EndpointObject;
use super::error::{Fail, fence};
use super::events::{Gate, Kept, Merge, Record, Route, in_user_code};
use super::handle::{self, Object};
use super::hardened::{self, ShownEvents};
use super::object::{Known, Meta, publish};
use super::runtime::RuntimeObject;
use super::status::*;
use super::wake_fd::WakeFd;
use crate::base::sync::{AtomicBool, AtomicU64, Mutex, Ordering, thread_local};
use crate::base::{Timestamp, codes};
use crate::runtime::events::EVENTS_AT_A_TIME;
use crate::runtime::{Helm, Pace, Wakeup, clock};
use core::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use staging::{at_once, enter_staged};

/// Events of one batch at most.
pub(crate) const MAX_BATCH: usize = 1024;
/// Lists kept for the next batches.
const SPARE: usize = 2;
/// Datagram events that wait at most: datagrams may get lost, memory may not (RFC 9221 section 5.4).
const MAX_DATAGRAMS: usize = 4096;

/// Events of one connection that wait at most. A peer that opens and resets streams makes events without needing the
/// application to do anything (CVE-2023-44487's pattern); an application that stands still must not collect them for
/// ever.
const MAX_WAITING: u32 = 1 << 16;

/// A queue.
pub(crate) struct QueueObject {
    meta: Meta,
    state: Mutex<State>,
    fd: Arc<WakeFd>,
    /// The runtime's worker, when takers may run it, and what forbids it.
    helm: Option<(Helm, Arc<Gate>)>,
    /// A taker that steers was given a part of what waits.
    parted: AtomicBool,
    /// `wb_queue_wake` was called; a flag because signal handlers cannot lock.
    wake: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Events that wait, and what each of them keeps: two lists of one length, so that a taker who takes all gets the first
    /// as it is.
    events: VecDeque<wb_event>,
    kept: VecDeque<Kept>,
    /// Empty lists of returned batches.
    spare: Vec<(VecDeque<wb_event>, VecDeque<Kept>)>,
    datagrams: usize,
    /// The descriptor was raised for `events`, or is about to be.
    raised: bool,
    /// Takers that sleep, or are about to. Counted under the lock, after a look that found nothing.
    sleepers: usize,
    /// The application has asked for the descriptor: it may wait for it at any time.
    watched: bool,
    /// The application has released the queue: nobody will take events any more.
    closed: bool,
    batches: HashMap<u64, Batch>,
    next_token: u64,
    pace: Pace,
}

/// Events out with the application, and what they point to.
struct Batch {
    events: VecDeque<wb_event>,
    kept: VecDeque<Kept>,
    /// Hardened: the copy that is shown.
    shown: Option<ShownEvents>,
}

impl Batch {
    /// Changes events that the application has in hand.
    fn rewrite(&mut self, which: core::ops::Range<usize>, change: impl Fn(&mut wb_event)) {
        let count = self.events.len();
        let events = match &mut self.shown {
            Some(shown) => shown.as_mut_ptr(),
            None => self.events.as_mut_slices().0.as_mut_ptr(),
        };
        for at in which.start..which.end.min(count) {
            // SAFETY: there are as many, in one piece. The application was told that its batch changes in the calls that bring us
            // here, and reads it between its calls.
            change(unsafe { &mut *events.add(at) });
        }
    }

    /// Where the application reads the events.
    fn pointer(&self) -> *const wb_event {
        self.shown.as_ref().map_or(self.events.as_slices().0.as_ptr(), ShownEvents::as_ptr)
    }
}

// SAFETY: pointers of events that wait are null; those of a batch point into what is kept beside them, which stays where it is
// while the batch is out.
unsafe impl Send for State {}

impl State {
    /// The first `n` events, in lists that may be used up.
    fn take_first(&mut self, n: usize) -> (VecDeque<wb_event>, VecDeque<Kept>) {
        let (mut events, mut kept) = self.spare.pop().unwrap_or_default();
        if n == self.events.len() {
            core::mem::swap(&mut events, &mut self.events);
            core::mem::swap(&mut kept, &mut self.kept);
            self.datagrams = 0;
            return (events, kept);
        }
        events.extend(self.events.drain(..n));
        kept.extend(self.kept.drain(..n));
        if self.datagrams > 0 {
            let gone = events.iter().filter(|e| e.kind == WB_EV_DATAGRAM).count();
            self.datagrams = self.datagrams.saturating_sub(gone);
        }
        (events, kept)
    }

    /// Takes out datagrams for which there is no room; without an object that needs their end, but their bytes are freed by the
    /// caller, without the lock.
    fn limit_datagrams(&mut self, events: &mut VecDeque<wb_event>, kept: &mut VecDeque<Kept>) -> Vec<Kept> {
        let mut refused = Vec::new();
        let mut at = 0;
        while let Some(event) = events.get(at) {
            if event.kind == WB_EV_DATAGRAM {
                if self.datagrams >= MAX_DATAGRAMS {
                    events.remove(at);
                    refused.extend(kept.remove(at));
                    continue;
                }
                self.datagrams += 1;
            }
            at += 1;
        }
        refused
    }

    /// Keeps empty lists for the next taker.
    fn save(&mut self, events: VecDeque<wb_event>, kept: VecDeque<Kept>) {
        if self.spare.len() < SPARE && events.capacity() <= MAX_BATCH && kept.capacity() <= MAX_BATCH {
            self.spare.push((events, kept));
        }
    }

    /// Somebody has to be told of what waits, by raising the descriptor.
    fn owes_raise(&mut self) -> bool {
        let owes = !self.raised && !self.events.is_empty() && (self.watched || self.sleepers > 0);
        self.raised |= owes;
        owes
    }
}

thread_local! {
    /// The queue whose taker this thread is while it runs the worker.
    static STEERS_FOR: Cell<*const QueueObject> = const { Cell::new(core::ptr::null()) };
}

/// Nothing is called back: functions of the application run on workers.
fn may_steer(gate: &Gate) -> bool {
    gate.has_none() && !diagnostics::is_heard()
}

/// The thread steers no longer.
struct Done;

impl Drop for Done {
    fn drop(&mut self) {
        let _ = STEERS_FOR.try_with(|q| q.set(core::ptr::null()));
    }
}

/// Puts an event into the nearest queue, or drops it when there is none or when an equal notice waits already.
pub(crate) fn deliver(route: &Route, record: Record) {
    if let Some(stream) = &record.kept.stream
        && !stream.notices.enter(record.kept.merge)
    {
        return;
    }
    match route.with_queue(|queue| (!staging::gathers_for(queue)).then(|| Arc::clone(queue))) {
        Some(None) => staging::add(record),
        Some(Some(queue)) => staging::push(queue, record),
        None => leave_unread(record.kept),
    }
}

impl Object for QueueObject {
    const KIND: u32 = WB_KIND_QUEUE;

    fn abandoned(self: &Arc<Self>) {
        let kept = {
            let mut state = self.state.lock();
            state.closed = true;
            state.events.clear();
            std::mem::take(&mut state.kept)
        };
        // What waited keeps objects alive that keep routes alive that keep this queue: cut here.
        leave_queue(&kept);
        kept.into_iter().for_each(Kept::end);
    }
}

impl Known for QueueObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl QueueObject {
    fn new(runtime: &RuntimeObject) -> std::io::Result<Self> {
        let fd = Arc::new(WakeFd::new()?);
        let helm = runtime.runtime.helm().map(|helm| (helm, Arc::clone(runtime.route.gate())));
        Ok(Self {
            meta: Meta::default(),
            state: Mutex::default(),
            fd,
            helm,
            parted: AtomicBool::new(false),
            wake: AtomicBool::new(false),
        })
    }

    /// Puts events in whose notices have entered, and tells a taker, unless this thread is the one. True: somebody was woken.
    fn put_in(&self, events: &mut VecDeque<wb_event>, kept: &mut VecDeque<Kept>) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            kept.drain(..).for_each(leave_unread);
            events.clear();
            return false;
        }
        let refused = state.limit_datagrams(events, kept);
        let flooded = count_in(kept);
        // One alone is moved, so that the list with room for many stays.
        if state.events.is_empty() && events.len() > 1 {
            core::mem::swap(&mut state.events, events);
            core::mem::swap(&mut state.kept, kept);
        } else {
            state.events.append(events);
            state.kept.append(kept);
        }
        // A taker that runs this very worker looks itself; are there others?
        let own = self.is_steered_here() && !state.watched && state.sleepers <= 1;
        let raise = !own && state.owes_raise();
        drop(state);
        if raise {
            self.fd.raise();
        }
        refused.into_iter().for_each(Kept::end);
        for conn in flooded {
            conn.close(codes::h3::EXCESSIVE_LOAD, b"events are not taken");
        }
        raise
    }

    fn is_steered_here(&self) -> bool {
        STEERS_FOR.try_with(|q| core::ptr::eq(q.get(), self)).unwrap_or(false)
    }

    /// For a taker that counts as asleep: runs the worker until there is something to take or the time is over. False: it must
    /// sleep in another way.
    fn steer(&self, left: Option<Duration>) -> bool {
        let Some((helm, gate)) = &self.helm else { return false };
        let until = left.map_or(Timestamp::NEVER, |t| clock::now() + t);
        let wakeup: Wakeup = Arc::clone(&self.fd) as _;
        let Some(mut steering) = helm.steer(&wakeup) else { return false };
        let _done = Done;
        if STEERS_FOR.try_with(|q| q.set(core::ptr::from_ref(self))).is_err() {
            return false;
        }
        while !self.has_something() && clock::now() < until {
            if !steering.round(until, || may_steer(gate)) {
                return false;
            }
        }
        true
    }

    /// A taker comes for more.
    fn answer(&self) {
        if let Some((helm, gate)) = &self.helm
            && self.parted.swap(false, Ordering::Relaxed)
        {
            let _done = Done;
            if STEERS_FOR.try_with(|q| q.set(core::ptr::from_ref(self))).is_ok() {
                helm.answer(|| may_steer(gate));
            }
        }
    }

    fn has_something(&self) -> bool {
        self.wake.load(Ordering::Acquire) || !self.state.lock().events.is_empty()
    }

    /// A taker found nothing and is to sleep; whether it had better run the worker.
    fn should_steer(&self) -> bool {
        let Some((helm, gate)) = &self.helm else { return false };
        let (quick, alone) = {
            let mut state = self.state.lock();
            (state.pace.returns(clock::now()), !state.watched && state.sleepers == 1)
        };
        let should = quick && alone && may_steer(gate);
        if !should {
            helm.leave();
        }
        should
    }

    /// Takes what is there, with a token. `None` when nothing is: then the caller, if it is `patient`, counts as asleep until
    /// it comes again, having `slept`.
    fn take(&self, max: usize, patient: bool, slept: bool) -> Option<(u64, *const wb_event, usize)> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if slept {
            state.sleepers = state.sleepers.saturating_sub(1);
        }
        let max = if state.pace.steers() { max.min(EVENTS_AT_A_TIME) } else { max };
        let n = state.events.len().min(max);
        let (mut events, mut kept) = state.take_first(n);
        // Up without need: a raise that came after what it told of was taken, or a wake that another taker took.
        let vain = n == 0 && (slept || state.watched);
        let lower = state.events.is_empty() && (state.raised || vain);
        if lower {
            state.raised = false;
            self.fd.lower();
        }
        // After `lower`: a wake that comes in between raises the descriptor again.
        if n < max {
            if self.wake.swap(false, Ordering::AcqRel) {
                let Record { event, kept: nothing } = Record::new(WB_EV_WAKE);
                events.push_back(event);
                kept.push_back(nothing);
            }
        } else if lower && self.wake.load(Ordering::Acquire) {
            self.fd.raise();
        }
        if events.is_empty() {
            state.sleepers += usize::from(patient);
            state.save(events, kept);
            return None;
        }
        // For another taker, who was not told because this one was to look.
        let raise = state.owes_raise();
        state.next_token += 1;
        let token = state.next_token;
        leave_queue(&kept);
        let slice = events.make_contiguous();
        for (at, (event, kept)) in slice.iter_mut().zip(&kept).enumerate() {
            if let Some(stream) = &kept.stream {
                stream.notices.note_place(token, at);
            }
            kept.point(event);
        }
        let shown = hardened::is_on().then(|| ShownEvents::new((&*slice).into()));
        let pointer = shown.as_ref().map_or(slice.as_ptr(), ShownEvents::as_ptr);
        let count = slice.len();
        state.batches.insert(token, Batch { events, kept, shown });
        if self.helm.is_some() {
            self.parted.store(state.pace.steers() && !state.events.is_empty(), Ordering::Relaxed);
            state.pace.leaves(clock::now());
        }
        drop(guard);
        if raise {
            self.fd.raise();
        }
        Some((token, pointer, count))
    }

    /// The stream's events of the batch that was taken last show this pointer.
    pub fn show_stream_user(&self, place: Place, stream: wb_stream, user: *mut core::ffi::c_void) {
        let mut state = self.state.lock();
        let Some(batch) = state.batches.iter_mut().find(|(token, _)| Place::short(**token) == place.token) else {
            return;
        };
        batch.1.rewrite(place.first..place.last.saturating_add(1), |event| {
            if event.stream == stream {
                event.user_stream = user;
            }
        });
    }

    /// The connection's events of all batches that are out show this pointer.
    pub fn show_conn_user(&self, conn: wb_conn, user: *mut core::ffi::c_void) {
        for batch in self.state.lock().batches.values_mut() {
            let all = 0..batch.events.len();
            batch.rewrite(all, |event| {
                if event.conn == conn {
                    event.user_conn = user;
                }
            });
        }
    }

    fn give_back(&self, token: u64, events: *const core::ffi::c_void) -> Result<(), Fail> {
        let batch = {
            let mut state = self.state.lock();
            match state.batches.get(&token) {
                Some(b) if core::ptr::eq(b.pointer().cast(), events) => state.batches.remove(&token),
                _ => None,
            }
        };
        let batch = batch.ok_or_else(|| Fail::invalid("not a batch of this queue, or returned already"))?;
        let Batch { mut events, mut kept, shown } = batch;
        drop(shown);
        events.clear();
        // No lock: destructors of the application may run here.
        kept.drain(..).for_each(Kept::end);
        self.state.lock().save(events, kept);
        Ok(())
    }
}

/// Counts neighbours with the same owner: neighbours are mostly of one connection.
#[derive(Default)]
struct Runs<'a>(Option<(&'a Arc<ConnObject>, u32)>);

impl<'a> Runs<'a> {
    /// A run that ends before `one`.
    fn add(&mut self, one: &'a Kept) -> Option<(&'a Arc<ConnObject>, u32)> {
        let owner = one.owner()?;
        match &mut self.0 {
            Some((conn, n)) if Arc::ptr_eq(conn, owner) => {
                *n = n.saturating_add(1);
                None
            }
            run => run.replace((owner, 1)),
        }
    }
}

/// They begin to wait; the connections of which too many do.
fn count_in(kept: &VecDeque<Kept>) -> Vec<Arc<ConnObject>> {
    let mut flooded = Vec::new();
    let mut count = |(conn, n): (&Arc<ConnObject>, u32)| {
        let now = conn.count_waiting(n);
        if now >= MAX_WAITING && now.saturating_sub(n) < MAX_WAITING {
            flooded.push(Arc::clone(conn));
        }
    };
    let mut runs = Runs::default();
    kept.iter().filter_map(|one| runs.add(one)).for_each(&mut count);
    runs.0.into_iter().for_each(count);
    flooded
}

/// They wait no longer: the next notices of their kinds may come in.
fn leave_queue(kept: &VecDeque<Kept>) {
    let mut runs = Runs::default();
    for one in kept {
        if let Some(stream) = &one.stream {
            stream.notices.leave(one.merge);
        }
        if let Some((conn, n)) = runs.add(one) {
            conn.discount_waiting(n);
        }
    }
    if let Some((conn, n)) = runs.0 {
        conn.discount_waiting(n);
    }
}

/// Nobody will read it.
fn leave_unread(kept: Kept) {
    if let Some(stream) = &kept.stream {
        stream.notices.leave(kept.merge);
    }
    kept.end();
}

impl Drop for QueueObject {
    fn drop(&mut self) {
        // What was never taken, or never returned, still ends its objects.
        let state = self.state.get_mut();
        let waiting = std::mem::take(&mut state.kept);
        let batches = std::mem::take(&mut state.batches);
        waiting.into_iter().chain(batches.into_values().flat_map(|b| b.kept)).for_each(Kept::end);
    }
}

/// Where the events of a stream stand in the batch in which they were last.
pub(crate) struct Place {
    token: u64,
    first: usize,
    last: usize,
}

impl Place {
    /// Enough of a token to tell apart the batches that are out.
    fn short(token: u64) -> u64 {
        token & u64::from(u32::MAX)
    }
}

/// Merged notices of one stream: which kinds wait in a queue now.
#[derive(Default)]
pub(crate) struct Notices {
    readable: AtomicBool,
    writable: AtomicBool,
    /// A `Place`: 32 bits of token, 16 each of first and last (there are at most `MAX_BATCH`).
    place: AtomicU64,
}

impl Notices {
    /// An event is the one with number `at` of a batch. Under the queue's lock.
    fn note_place(&self, token: u64, at: usize) {
        let token = Place::short(token);
        let at = at as u64 & 0xffff;
        let old = self.place.load(Ordering::Relaxed);
        let first = if old >> 32 == token { (old >> 16) & 0xffff } else { at };
        self.place.store(token << 32 | first << 16 | at, Ordering::Relaxed);
    }

    /// Where several events stand; one alone is the one that the application looks at.
    pub fn place(&self) -> Option<Place> {
        let packed = self.place.load(Ordering::Relaxed);
        let place =
            Place { token: packed >> 32, first: (packed >> 16 & 0xffff) as usize, last: (packed & 0xffff) as usize };
        (place.last > place.first).then_some(place)
    }

    fn flag(&self, merge: Merge) -> Option<&AtomicBool> {
        match merge {
            Merge::No => None,
            Merge::Readable => Some(&self.readable),
            Merge::Writable => Some(&self.writable),
        }
    }

    /// False when such a notice waits already.
    fn enter(&self, merge: Merge) -> bool {
        self.flag(merge).is_none_or(|f| !f.swap(true, Ordering::AcqRel))
    }

    fn leave(&self, merge: Merge) {
        if let Some(flag) = self.flag(merge) {
            flag.store(false, Ordering::Release);
        }
    }
}

/// Makes a queue and attaches it to a runtime: events of the runtime and everything below it for which no callback
/// is registered come here. Its length is bounded because notices of one object merge.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_OS`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_queue_open(runtime: wb_runtime, out: *mut wb_queue) -> wb_status {
    fence(|| {
        args::non_null(out, "queue")?;
        let runtime = handle::get::<RuntimeObject>(runtime)?;
        let queue =
            Arc::new(QueueObject::new(&runtime).map_err(|e| Fail::os("cannot make the queue's descriptor", &e))?);
        let handle = publish(&queue, false)?;
        runtime.route.attach(Some(queue));
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "queue")? };
        Ok(WB_OK)
    })
}

/// Attaches the queue to a runtime, endpoint or connection in place of what was attached there: events of the object
/// and those below it (unless they have a queue of their own) come here from now on. Queue 0 detaches.
///
/// Ownership: the object keeps the queue. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_KIND` (an object without events of its own). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_queue_attach(queue: wb_queue, object: wb_handle) -> wb_status {
    fence(|| {
        let queue = handle::get_optional::<QueueObject>(queue)?.map(|q| q.arc());
        match handle::claimed_kind(object) {
            WB_KIND_ENDPOINT => handle::get::<EndpointObject>(object)?.route.attach(queue),
            WB_KIND_CONN => handle::get::<ConnObject>(object)?.route.attach(queue),
            // Anything else is a runtime or gets the right complaint.
            _ => handle::get::<RuntimeObject>(object)?.route.attach(queue),
        }
        Ok(WB_OK)
    })
}

/// A descriptor that is readable while the queue is not empty, for poll, epoll, kqueue, select or asyncio. It must only
/// be waited for: `wb_queue_take` reads it.
///
/// Ownership: the descriptor belongs to the queue and is closed with it. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_queue_fd(queue: wb_queue, fd: *mut isize) -> wb_status {
    fence(|| {
        let queue = handle::get::<QueueObject>(queue)?;
        let raise = {
            let mut state = queue.state.lock();
            state.watched = true;
            state.owes_raise()
        };
        if raise {
            queue.fd.raise();
        }
        // SAFETY: writable by contract.
        unsafe { args::put(fd, queue.fd.raw() as isize, "descriptor")? };
        Ok(WB_OK)
    })
}

/// Takes up to `max` events (at most 1024 at a time). Waits up to `timeout_ns` nanoseconds for the first one (0: not at
/// all, negative: without limit). On success `batch->count` is at least 1; give the batch back with `wb_queue_return`.
/// Where a runtime has one worker and no callbacks, a thread that waits here again and again does the worker's work meanwhile:
/// destructors and release functions, which run on any thread, may run in this call.
///
/// Ownership: the events and what they point to are the library's, readable until the batch is returned.
/// Threads: any but, unless the timeout is 0, not library threads. Blocks: up to the time given.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (empty, timeout 0), `WB_E_TIMEOUT`,
/// `WB_E_WOULD_DEADLOCK`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_queue_take(
    queue: wb_queue,
    batch: *mut wb_batch,
    max: usize,
    timeout_ns: i64,
) -> wb_status {
    fence(|| {
        let queue = handle::get::<QueueObject>(queue)?;
        // SAFETY: struct_size is readable by contract.
        unsafe { args::check_whole(batch)? };
        if max == 0 {
            return Err(Fail::invalid("max is 0"));
        }
        let deadline = match timeout_ns {
            0 => None,
            _ if in_user_code() => {
                return Err(Fail::new(WB_E_WOULD_DEADLOCK, "a callback cannot wait for events"));
            }
            t => Some(u64::try_from(t).map_or(Timestamp::NEVER, |t| clock::now() + Duration::from_nanos(t))),
        };
        let (mut slept, mut steered) = (false, false);
        queue.answer();
        loop {
            let left = match deadline {
                None => Some(Duration::ZERO),
                Some(Timestamp::NEVER) => None,
                Some(deadline) => Some(deadline.since(clock::now())),
            };
            let patient = left.is_none_or(|t| !t.is_zero());
            if let Some((token, events, count)) = queue.take(max.min(MAX_BATCH), patient, slept) {
                let filled = wb_batch {
                    struct_size: size_of::<wb_batch>() as u32,
                    stride: size_of::<wb_event>() as u32,
                    count,
                    events: events.cast(),
                    token,
                };
                // SAFETY: checked above; struct_size bytes are writable by contract.
                unsafe { args::fill(batch, filled)? };
                return Ok(WB_OK);
            }
            if !patient {
                if slept && queue.helm.is_some() {
                    queue.state.lock().pace.leaves(clock::now());
                }
                return Err(match deadline {
                    None => Fail::new(WB_E_WOULD_BLOCK, "no events"),
                    Some(_) => Fail::new(WB_E_TIMEOUT, "no event came in time"),
                });
            }
            let steer = if slept { steered } else { queue.should_steer() };
            steered = steer && queue.steer(left);
            if !steered {
                queue.fd.wait(left);
            }
            slept = true;
        }
    })
}

/// Gives a batch back. Objects of the library whose CLOSED event was in it end here.
///
/// Ownership: ends the view of the events. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (not a batch of this queue, or returned already). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_queue_return(queue: wb_queue, batch: *mut wb_batch) -> wb_status {
    fence(|| {
        let queue = handle::get::<QueueObject>(queue)?;
        let batch = args::non_null(batch, "batch")?;
        // SAFETY: a whole batch by contract (the header's struct is the smallest there is).
        let (token, events) = unsafe { ((*batch).token, (*batch).events) };
        queue.give_back(token, events)?;
        // SAFETY: as above; an empty batch cannot be mistaken for a full one.
        unsafe {
            (*batch).count = 0;
            (*batch).events = core::ptr::null();
            (*batch).token = 0;
        }
        Ok(WB_OK)
    })
}

/// Makes a taker return with a WAKE event. Several wakes merge.
///
/// Ownership: unchanged. Threads: any, also signal handlers. Blocks: never. Errors: handle errors. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_queue_wake(queue: wb_queue) -> wb_status {
    // No fence body that allocates on success: signal handlers call this.
    fence(|| {
        let queue = handle::get::<QueueObject>(queue)?;
        queue.wake.store(true, Ordering::Release);
        queue.fd.raise();
        Ok(WB_OK)
    })
}
