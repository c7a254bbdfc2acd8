//! The way of an event from a worker to the application: callback of its group, else nearest queue, else nowhere.
//!
//! Invariants: no lock is held while the application's code runs; a record that ends an object runs that end exactly
//! once, whether it was delivered, muted or dropped.
use super::abi::{
    WB_EV_STREAM_READABLE, WB_EV_STREAM_WRITABLE, WB_GROUP_ALL, WB_GROUP_DECISION, wb_event, wb_event_fn,
};
use super::conn::ConnObject;
use super::hardened::{self, Shown, ShownEvents};
use super::object::{Context, Ends};
use super::queue::QueueObject;
use super::stream::StreamObject;
use crate::base::sync::{AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, RwLock, thread_local};
use core::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// Groups and ALL.
pub(crate) const GROUPS: usize = WB_GROUP_DECISION as usize + 1;

thread_local! {
    /// Depth of application code called by the library on this thread.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Runs code of the application: waiting calls made from it are refused. It may wait for another thread of the application all
/// the same, so takers are told first of what a batch has brought until now.
pub(crate) fn user_code<R>(call: impl FnOnce() -> R) -> R {
    super::queue::enter_staged();
    let _ = INSIDE.try_with(|d| d.set(d.get().saturating_add(1)));
    let result = call();
    let _ = INSIDE.try_with(|d| d.set(d.get().saturating_sub(1)));
    result
}

/// This thread runs application code that the library called.
pub(crate) fn in_user_code() -> bool {
    INSIDE.try_with(|d| d.get() > 0).unwrap_or(false)
}

/// A registered callback; its context ends with the last object that uses it.
pub(crate) struct Callback {
    function: unsafe extern "C" fn(*mut core::ffi::c_void, *const wb_event),
    context: Context,
}

impl Callback {
    /// `None` when the function is null; then the context is left to the caller.
    pub fn new(function: wb_event_fn, context: Context) -> Option<Arc<Self>> {
        match function {
            Some(function) => Some(Arc::new(Self { function, context })),
            None => {
                context.forget();
                None
            }
        }
    }
}

pub(crate) type Callbacks = [Option<Arc<Callback>>; GROUPS];

/// Counts running callbacks of a runtime, and shuts them out (`wb_runtime_mute`).
#[derive(Default)]
pub(crate) struct Gate {
    /// Callbacks that run now, and `MUTED`. Two atomic steps per event, no lock unless somebody waits.
    running: AtomicUsize,
    /// Threads in `wait_quiet`; whoever ends the last callback looks here after it has counted itself out.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    quiet: Condvar,
    /// Callbacks may run: workers stay on threads of their own.
    calls_back: AtomicBool,
    /// Counts queues that were attached or detached anywhere in the runtime.
    attachments: AtomicU64,
}

/// No callback may start.
const MUTED: usize = 1 << (usize::BITS - 1);

impl Gate {
    /// A callback may start; `leave` must follow.
    pub fn enter(&self) -> bool {
        if self.running.fetch_add(1, Ordering::SeqCst) & MUTED == 0 {
            return true;
        }
        self.leave();
        false
    }

    pub fn leave(&self) {
        let last = self.running.fetch_sub(1, Ordering::SeqCst) & !MUTED == 1;
        if last && self.waiting.load(Ordering::SeqCst) > 0 {
            // Taken so that the notice cannot fall between a waiter's look and its sleep.
            let _lock = self.lock.lock();
            self.quiet.notify_all();
        }
    }

    /// From now on callbacks may run. Before the object with them is known to a worker.
    pub fn note_callbacks(&self) {
        self.calls_back.store(true, Ordering::SeqCst);
    }

    /// No object of the runtime has had a callback until now.
    pub fn has_none(&self) -> bool {
        !self.calls_back.load(Ordering::SeqCst)
    }

    fn busy(&self) -> bool {
        self.running.load(Ordering::SeqCst) & !MUTED != 0
    }

    /// No callback starts after this.
    pub fn mute(&self) {
        self.running.fetch_or(MUTED, Ordering::SeqCst);
    }

    /// Waits until no callback runs; `None` waits without limit. False when the time has passed.
    pub fn wait_quiet(&self, timeout: Option<Duration>) -> bool {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut lock = self.lock.lock();
        let mut in_time = true;
        // One look decides: a callback that is being turned away counts as running for a moment.
        let quiet = loop {
            let quiet = !self.busy();
            if quiet || !in_time {
                break quiet;
            }
            match timeout {
                None => self.quiet.wait(&mut lock),
                Some(t) => in_time = !self.quiet.wait_for(&mut lock, t).timed_out(),
            }
        };
        drop(lock);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        quiet
    }
}

/// Where the events of an object go. Callbacks are inherited when it is made, queues when an event happens.
pub(crate) struct Route {
    parent: Option<Arc<Route>>,
    callbacks: Callbacks,
    queue: RwLock<Option<Arc<QueueObject>>>,
    /// There is a queue here: spares a lock on the way up.
    attached: AtomicBool,
    gate: Arc<Gate>,
}

impl Route {
    /// The route of a runtime.
    pub fn root(callbacks: &Callbacks) -> Arc<Self> {
        let gate = Arc::new(Gate::default());
        if callbacks.iter().any(Option::is_some) {
            gate.note_callbacks();
        }
        Arc::new(Self {
            parent: None,
            callbacks: spread(callbacks),
            queue: RwLock::new(None),
            attached: AtomicBool::new(false),
            gate,
        })
    }

    /// The route of an object below.
    pub fn below(parent: &Arc<Self>, callbacks: Option<&Callbacks>) -> Arc<Self> {
        let mut own = callbacks.map(spread).unwrap_or_default();
        for (mine, inherited) in own.iter_mut().zip(&parent.callbacks) {
            if mine.is_none() {
                mine.clone_from(inherited);
            }
        }
        let gate = Arc::clone(&parent.gate);
        if own.iter().any(Option::is_some) {
            gate.note_callbacks();
        }
        Arc::new(Self {
            parent: Some(Arc::clone(parent)),
            callbacks: own,
            queue: RwLock::new(None),
            attached: AtomicBool::new(false),
            gate,
        })
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Attaches or detaches a queue here.
    pub fn attach(&self, queue: Option<Arc<QueueObject>>) {
        let old = {
            let mut here = self.queue.write();
            self.attached.store(queue.is_some(), Ordering::Release);
            std::mem::replace(&mut *here, queue)
        };
        self.gate.attachments.fetch_add(1, Ordering::Release);
        // A queue's end may run the application's code: not under our lock.
        drop(old);
    }

    /// As long as this is the same, so is the queue.
    #[inline]
    pub fn attachments(&self) -> u64 {
        self.gate.attachments.load(Ordering::Acquire)
    }

    pub fn queue(&self) -> Option<Arc<QueueObject>> {
        self.with_queue(Arc::clone)
    }

    /// Calls `look` with the nearest queue. It may take that queue's lock and no other, and runs no code of the application.
    pub fn with_queue<R>(&self, look: impl FnOnce(&Arc<QueueObject>) -> R) -> Option<R> {
        let mut here = Some(self);
        while let Some(route) = here {
            if route.attached.load(Ordering::Acquire)
                && let Some(queue) = route.queue.read().as_ref()
            {
                return Some(look(queue));
            }
            here = route.parent.as_deref();
        }
        None
    }

    fn callback(&self, kind: u16) -> Option<&Callback> {
        self.callbacks.get(usize::from(kind >> 8))?.as_deref()
    }

    /// A callback takes events of this kind: they need no record.
    pub fn calls_back(&self, kind: u16) -> bool {
        self.callback(kind).is_some()
    }

    /// Gives an event to its callback, unless muted. What it points to lives until this returns.
    pub fn call(&self, event: &wb_event) {
        let Some(callback) = self.callback(event.kind) else { return };
        if self.gate.enter() {
            // Hardened: an event that is kept beyond its callback faults when it is looked at.
            let guarded = hardened::is_on().then(|| ShownEvents::new(Box::new([*event])));
            let shown = guarded.as_ref().map_or(core::ptr::from_ref(event), ShownEvents::as_ptr);
            // SAFETY: the application registered the function for events with this context; `event` and what it points
            // to live until the call returns.
            user_code(|| unsafe { (callback.function)(callback.context.pointer(), shown) });
            self.gate.leave();
        }
    }

    /// Delivers one event.
    pub fn emit(&self, record: Record) {
        if self.calls_back(record.event.kind) {
            self.call(&record.view());
            record.kept.end();
            return;
        }
        super::queue::deliver(self, record);
    }
}

/// Fills the groups without a callback of their own from ALL.
fn spread(callbacks: &Callbacks) -> Callbacks {
    let mut out = callbacks.clone();
    let all = out.get(WB_GROUP_ALL as usize).cloned().flatten();
    for slot in out.iter_mut().skip(1) {
        if slot.is_none() {
            slot.clone_from(&all);
        }
    }
    out
}

/// Notices of a stream of which one at a time is in a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    No,
    Readable,
    Writable,
}

impl Merge {
    /// How notices of a kind merge.
    pub fn of(kind: u16) -> Self {
        match kind {
            WB_EV_STREAM_READABLE => Self::Readable,
            WB_EV_STREAM_WRITABLE => Self::Writable,
            _ => Self::No,
        }
    }
}

/// An event on its way.
pub(crate) struct Record {
    pub event: wb_event,
    pub kept: Kept,
}

/// What an event keeps alive. Small, because most events are of streams.
pub(crate) struct Kept {
    pub stream: Option<Arc<StreamObject>>,
    pub rest: Option<Box<Rest>>,
    pub merge: Merge,
    /// It tells a whole message, and the stream may not end before.
    pub message: bool,
    /// It is the last event of the stream.
    pub last: bool,
}

/// What only some events keep.
#[derive(Default)]
pub(crate) struct Rest {
    data: Option<Shown>,
    /// Not for events of a stream, which knows its connection.
    conn: Option<Arc<ConnObject>>,
    ends: Option<Arc<dyn Ends>>,
}

// SAFETY: the raw pointers of `event` are null while a record travels; they are filled in by `view`.
unsafe impl Send for Record {}

/// An event of `kind` that happens now.
#[inline]
pub(crate) fn blank(kind: u16) -> wb_event {
    wb_event {
        struct_size: size_of::<wb_event>() as u32,
        kind,
        flags: 0,
        conn: 0,
        stream: 0,
        path: 0,
        source: 0,
        a: 0,
        b: 0,
        time_ns: i64::try_from(crate::runtime::clock::recent().as_nanos()).unwrap_or(i64::MAX),
        user_conn: core::ptr::null_mut(),
        user_stream: core::ptr::null_mut(),
        data: core::ptr::null(),
        data_len: 0,
    }
}

impl Record {
    /// An event without objects.
    pub fn new(kind: u16) -> Self {
        let kept = Kept { stream: None, rest: None, merge: Merge::No, message: false, last: false };
        Self { event: blank(kind), kept }
    }

    pub fn numbers(mut self, a: u64, b: u64) -> Self {
        self.event.a = a;
        self.event.b = b;
        self
    }

    pub fn bytes(mut self, data: impl Into<Box<[u8]>>) -> Self {
        self.rest().data = Some(Shown::new(data.into()));
        self
    }

    pub fn ends(mut self, object: Arc<dyn Ends>) -> Self {
        self.rest().ends = Some(object);
        self
    }

    /// An event of a connection.
    pub fn of(mut self, conn: Arc<ConnObject>) -> Self {
        self.rest().conn = Some(conn);
        self
    }

    fn rest(&mut self) -> &mut Rest {
        self.kept.rest.get_or_insert_default()
    }

    /// The event as the application sees it; valid while the record is neither moved into oblivion nor ended.
    pub fn view(&self) -> wb_event {
        let mut event = self.event;
        self.kept.point(&mut event);
        event
    }
}

impl Kept {
    /// What an event of a stream keeps.
    #[inline]
    pub fn of(stream: Arc<StreamObject>, merge: Merge) -> Self {
        Self { stream: Some(stream), rest: None, merge, message: false, last: false }
    }

    /// An object ends with the event.
    pub fn is_end(&self) -> bool {
        self.last || self.rest.as_ref().is_some_and(|rest| rest.ends.is_some())
    }

    /// The connection that the event is of.
    pub fn owner(&self) -> Option<&Arc<ConnObject>> {
        match (&self.stream, &self.rest) {
            (Some(stream), _) => Some(&stream.conn),
            (None, Some(rest)) => rest.conn.as_ref(),
            (None, None) => None,
        }
    }

    /// Fills in the event's pointers, as they are now; what they point to lives until `end`.
    pub fn point(&self, event: &mut wb_event) {
        if let Some(conn) = self.owner() {
            event.user_conn = super::object::Known::meta(conn.as_ref()).user();
        }
        if let Some(stream) = &self.stream {
            event.user_stream = super::object::Known::meta(stream.as_ref()).user();
        }
        if let Some(data) = self.rest.as_ref().and_then(|rest| rest.data.as_ref()) {
            event.data = data.as_ptr();
            event.data_len = data.len();
        }
    }

    /// After delivery, or instead of it.
    pub fn end(self) {
        if self.message
            && let Some(stream) = &self.stream
        {
            stream.note_seen();
        }
        if self.last
            && let Some(stream) = &self.stream
        {
            stream.ended();
        }
        if let Some(object) = self.rest.and_then(|rest| rest.ends) {
            object.ended();
        }
    }
}
