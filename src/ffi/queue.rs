//! `wb_queue_*`: events in batches for an application with its own loop.
//!
//! Bounded: readable and writable notices of a stream merge, datagrams beyond `MAX_DATAGRAMS` are dropped, and a
//! connection of which `MAX_WAITING` events wait is closed. The descriptor is raised only for somebody: a taker who sleeps or
//! whoever has asked for it; what a worker hands over at once is told at once, after it. Invariant: nobody sleeps while the queue is
//! not empty or a wake is due, longer than the worker needs to hand over a batch. Raised without the lock, so it may be up too long
//! (whoever finds the queue empty then lowers it), but lowered only under the lock. A taker that keeps coming back at once runs the
//! worker itself (`runtime/helm.rs`): what it puts in it finds itself, and nobody is told unless others wait as well.
mod staging;
mod waiting;

use super::abi::*;
use super::args;
use super::conn::ConnObject;
use super::diagnostics;
use super::endpoint::EndpointObject;
use super::error::{Fail, fence};
use super::events::{Gate, Kept, Merge, Record, Route, in_user_code};
use super::handle::{self, Object};
use super::hardened::{self, ShownEvents};
use super::object::{Ends, Known, Meta, publish};
use super::runtime::RuntimeObject;
use super::status::*;
use super::stream::StreamObject;
use super::wake_fd::WakeFd;
use crate::base::sync::{AtomicBool, AtomicU64, Mutex, Ordering, thread_local};
use crate::base::{Timestamp, codes};
use crate::runtime::events::part_of;
use crate::runtime::{Helm, Pace, Wakeup, clock};
use core::cell::Cell;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use staging::{at_once, enter_staged};
use waiting::{Part, Waiting};

/// Events of one batch at most.
pub(crate) const MAX_BATCH: usize = 1024;
/// So many events that are likely to be answered are handed to a taker at the helm at a time, about. Fewer cost more calls; with
/// more, the peer waits for the first answers until the last are made: of a hundred requests under way, halves take a third longer
/// than thirds.
const ASKING_AT_A_TIME: usize = 32;
/// The same at most (`part_of`).
const LARGEST_PART: usize = ASKING_AT_A_TIME * 3 / 2;
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
    waiting: Waiting,
    /// The descriptor was raised for what waits, or is about to be.
    raised: bool,
    /// Takers that sleep, or are about to. Counted under the lock, after a look that found nothing.
    sleepers: usize,
    /// The application has asked for the descriptor: it may wait for it at any time.
    watched: bool,
    /// The application has released the queue: nobody will take events any more.
    closed: bool,
    /// Out with the application, by token.
    batches: FxHashMap<u64, Batch>,
    /// What ended silently with a batch that was returned before an older one, by token: the older one may show it too.
    ending: Vec<(u64, Vec<Arc<StreamObject>>)>,
    next_token: u64,
    pace: Pace,
}

/// Events out with the application, and what they point to.
struct Batch {
    part: Part,
    /// Hardened: the copy that is shown.
    shown: Option<ShownEvents>,
}

impl Batch {
    /// Changes events that the application has in hand.
    fn rewrite(&mut self, which: core::ops::Range<usize>, change: impl Fn(&mut wb_event)) {
        let count = self.part.len();
        let events = match &mut self.shown {
            Some(shown) => shown.as_mut_ptr(),
            None => self.part.events.as_mut_ptr(),
        };
        for at in which.start..which.end.min(count) {
            // SAFETY: there are as many, in one piece. The application was told that its batch changes in the calls that bring us
            // here, and reads it between its calls.
            change(unsafe { &mut *events.add(at) });
        }
    }

    /// Where the application reads the events.
    fn pointer(&self) -> *const wb_event {
        self.shown.as_ref().map_or(self.part.events.as_ptr(), ShownEvents::as_ptr)
    }
}

// SAFETY: pointers of events that wait are null; those of a batch point into what is kept beside them, which stays where it is
// while the batch is out.
unsafe impl Send for State {}

impl State {
    /// A batch was returned, and what ends with it: what can end now.
    fn due(&mut self, token: u64, ends: &mut Vec<Arc<StreamObject>>) -> Vec<(u64, Vec<Arc<StreamObject>>)> {
        let oldest = self.batches.keys().min().copied().unwrap_or(u64::MAX);
        if oldest < token && !ends.is_empty() {
            self.ending.push((token, core::mem::take(ends)));
        }
        self.ending.extract_if(.., |(token, _)| *token < oldest).collect()
    }

    /// The batch that was taken last, if the application has not returned it.
    fn newest(&mut self) -> Option<&mut Batch> {
        self.batches.iter_mut().max_by_key(|(token, _)| **token).map(|(_, batch)| batch)
    }

    /// Somebody has to be told of what waits, by raising the descriptor.
    fn owes_raise(&mut self) -> bool {
        let owes = !self.raised && !self.waiting.is_empty() && (self.watched || self.sleepers > 0);
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
    let Record { event, kept } = record;
    put(route, event.kind, || event, || kept);
}

/// The same for an event of a stream, made where it is to be.
#[inline]
pub(crate) fn deliver_of(
    stream: &StreamObject,
    kind: u16,
    merge: Merge,
    event: impl FnOnce() -> wb_event,
    kept: impl FnOnce() -> Kept,
) {
    if stream.notices.enter(merge) {
        put(&stream.conn.route, kind, event, kept);
    }
}

/// A stream ends without an event of its own: with what the application has, or is about to get, of the queue in which its events
/// were; else now.
pub(crate) fn end_silently(stream: Arc<StreamObject>) {
    let route = &stream.conn.route;
    if staging::gathers_for(route) {
        return staging::add_end(stream);
    }
    let attachments = route.attachments();
    let Some(queue) = route.queue() else { return stream.ended() };
    match staging::aim_for(route, attachments, queue) {
        Ok(()) => staging::add_end(stream),
        Err(queue) => drop(queue.put_in(&mut Part::of_end(stream))),
    }
}

/// Its notice has entered.
#[inline]
fn put(route: &Route, kind: u16, event: impl FnOnce() -> wb_event, kept: impl FnOnce() -> Kept) {
    if !staging::gathers_for(route) {
        // Before the look for the queue: one that is attached meanwhile is found with the next event.
        let attachments = route.attachments();
        let Some(queue) = route.queue() else { return leave_unread(kept()) };
        if let Err(queue) = staging::aim_for(route, attachments, queue) {
            queue.put_in(&mut Part::from(Record { event: event(), kept: kept() }));
            return;
        }
    }
    staging::add(kind, event, kept);
}

impl Object for QueueObject {
    const KIND: u32 = WB_KIND_QUEUE;

    fn abandoned(self: &Arc<Self>) {
        let parts = {
            let mut state = self.state.lock();
            state.closed = true;
            state.waiting.give_up()
        };
        // What waited keeps objects alive that keep routes alive that keep this queue: cut here.
        for mut part in parts {
            leave_queue(&part.kept);
            part.end();
        }
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
    fn put_in(&self, part: &mut Part) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            part.events.clear();
            part.kept.drain(..).for_each(leave_unread);
            part.end_silent();
            return false;
        }
        let refused = state.waiting.limit_datagrams(part);
        let flooded = count_in(&part.kept);
        let steered = self.is_steered_here();
        state.waiting.put(part, if steered { LARGEST_PART } else { MAX_BATCH });
        // With the events that were taken last, when none is to come: they may be of the same streams.
        if !part.ends.is_empty()
            && let Some(batch) = state.newest()
        {
            batch.part.ends.append(&mut part.ends);
        }
        // A taker that runs this very worker looks itself; are there others?
        let own = steered && !state.watched && state.sleepers <= 1;
        let raise = !own && state.owes_raise();
        drop(state);
        if raise {
            self.fd.raise();
        }
        refused.into_iter().for_each(Kept::end);
        part.end_silent();
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
        if !steering.answer(|| may_steer(gate)) {
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
        self.wake.load(Ordering::Acquire) || !self.state.lock().waiting.is_empty()
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
        let asking = if state.pace.steers() { LARGEST_PART } else { MAX_BATCH };
        let mut part = state.waiting.take(max, asking);
        let n = part.len();
        // Up without need: a raise that came after what it told of was taken, or a wake that another taker took.
        let vain = n == 0 && (slept || state.watched);
        let lower = state.waiting.is_empty() && (state.raised || vain);
        if lower {
            state.raised = false;
            self.fd.lower();
        }
        // After `lower`: a wake that comes in between raises the descriptor again.
        if n < max {
            if self.wake.swap(false, Ordering::AcqRel) {
                let Record { event, kept: nothing } = Record::new(WB_EV_WAKE);
                part.add(WB_EV_WAKE, || event, || nothing);
            }
        } else if lower && self.wake.load(Ordering::Acquire) {
            self.fd.raise();
        }
        if part.is_empty() {
            state.sleepers += usize::from(patient);
            state.waiting.save(part);
            return None;
        }
        // For another taker, who was not told because this one was to look.
        let raise = state.owes_raise();
        state.next_token += 1;
        let token = state.next_token;
        leave_queue(&part.kept);
        for (at, (event, kept)) in part.events.iter_mut().zip(&part.kept).enumerate() {
            if let Some(stream) = &kept.stream {
                stream.notices.note_place(token, at);
            }
            kept.point(event);
        }
        let shown = hardened::is_on().then(|| ShownEvents::new(part.events.as_slice().into()));
        let pointer = shown.as_ref().map_or(part.events.as_ptr(), ShownEvents::as_ptr);
        let count = part.len();
        state.batches.insert(token, Batch { part, shown });
        if self.helm.is_some() {
            self.parted.store(state.pace.steers() && !state.waiting.is_empty(), Ordering::Relaxed);
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
            let all = 0..batch.part.len();
            batch.rewrite(all, |event| {
                if event.conn == conn {
                    event.user_conn = user;
                }
            });
        }
    }

    fn give_back(&self, token: u64, events: *const core::ffi::c_void) -> Result<(), Fail> {
        let (batch, due) = {
            let mut state = self.state.lock();
            let batch = match state.batches.get(&token) {
                Some(b) if core::ptr::eq(b.pointer().cast(), events) => state.batches.remove(&token),
                _ => None,
            };
            let mut batch = batch.ok_or_else(|| Fail::invalid("not a batch of this queue, or returned already"))?;
            let due = state.due(token, &mut batch.part.ends);
            (batch, due)
        };
        let Batch { mut part, shown } = batch;
        drop(shown);
        // No lock: destructors of the application may run here.
        part.end();
        due.into_iter().flat_map(|(_, ends)| ends).for_each(|stream| stream.ended());
        self.state.lock().waiting.save(part);
        Ok(())
    }
}

/// Calls `on_run` for each run of neighbours with the same owner: neighbours are mostly of one connection.
fn for_runs<'a>(kept: impl Iterator<Item = &'a Kept>, mut on_run: impl FnMut(&'a Arc<ConnObject>, u32)) {
    let mut run: Option<(&Arc<ConnObject>, u32)> = None;
    for one in kept {
        let Some(owner) = one.owner() else { continue };
        if let Some((conn, n)) = &mut run {
            if Arc::ptr_eq(conn, owner) {
                *n = n.saturating_add(1);
                continue;
            }
            on_run(conn, *n);
        }
        run = Some((owner, 1));
    }
    if let Some((conn, n)) = run {
        on_run(conn, n);
    }
}

/// They begin to wait; the connections of which too many do.
fn count_in(kept: &[Kept]) -> Vec<Arc<ConnObject>> {
    let mut flooded = Vec::new();
    for_runs(kept.iter(), |conn, n| {
        let now = conn.count_waiting(n);
        if now >= MAX_WAITING && now.saturating_sub(n) < MAX_WAITING {
            flooded.push(Arc::clone(conn));
        }
    });
    flooded
}

/// They wait no longer: the next notices of their kinds may come in.
fn leave_queue(kept: &[Kept]) {
    for_runs(
        kept.iter().inspect(|one| {
            if let Some(stream) = &one.stream {
                stream.notices.leave(one.merge);
            }
        }),
        |conn, n| conn.discount_waiting(n),
    );
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
        let waiting = state.waiting.give_up();
        let batches = std::mem::take(&mut state.batches);
        let ending = std::mem::take(&mut state.ending);
        ending.into_iter().flat_map(|(_, ends)| ends).for_each(|stream| stream.ended());
        waiting.into_iter().chain(batches.into_values().map(|b| b.part)).for_each(|mut part| part.end());
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

    /// False when such a notice waits already. Events of a stream come one after the other, so nobody else enters meanwhile; and
    /// what leaves meanwhile leaves before the application looks at what this one tells.
    fn enter(&self, merge: Merge) -> bool {
        match self.flag(merge) {
            Some(flag) if flag.load(Ordering::Acquire) => false,
            Some(flag) => {
                flag.store(true, Ordering::Release);
                true
            }
            None => true,
        }
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
