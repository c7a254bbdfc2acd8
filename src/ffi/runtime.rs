//! The object behind `wb_runtime`, and the few threads that the C ABI needs beside the workers.
//!
//! Nothing that a caller asks for may block it, so names are resolved, and runtimes ended, on short-lived threads.
//! Invariant: RUNTIME_CLOSED is the last event: the closer waits for workers and helpers first.
use super::abi::{WB_EV_RUNTIME_CLOSED, WB_KIND_RUNTIME};
use super::config::Settings;
use super::conn::ConnObject;
use super::core::CorePart;
use super::endpoint::EndpointObject;
use super::error::Fail;
use super::events::{Record, Route};
use super::handle::Object;
use super::object::{Known, Meta};
use super::status::{WB_E_STATE, WB_E_WOULD_DEADLOCK};
use crate::base::Timestamp;
use crate::base::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};
use crate::runtime::counters::Counters;
use crate::runtime::{Driver, Runtime, RuntimeError};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Longest that the closer waits for the workers before it reports the end all the same. They need a fraction of this;
/// the bound is for a callback of the application that never returns.
const JOIN_LIMIT: Duration = Duration::from_secs(3600);

/// Added to the time that endpoints have for a graceful close.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// A runtime.
pub(crate) struct RuntimeObject {
    meta: Meta,
    pub route: Arc<Route>,
    /// Before `runtime`: a core must end before its runtime waits for that.
    core: Option<CorePart>,
    pub runtime: Runtime,
    closing: AtomicBool,
    /// What is under way is not waited for.
    at_once: AtomicBool,
    /// A core whose handle is gone.
    orphaned: AtomicBool,
    /// Objects that must end before the runtime does.
    children: Mutex<Children>,
    ledger: Mutex<Ledger>,
    /// A closing core: when it stops waiting for what is under way.
    ending: Mutex<Option<Timestamp>>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// Where the counts of endpoints come together. Taken before an endpoint's lock.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Those that have not ended.
    pub endpoints: Vec<Weak<EndpointObject>>,
    /// Sum of those that have.
    pub ended: Counters,
}

#[derive(Default)]
struct Children {
    endpoints: Vec<Weak<EndpointObject>>,
    /// Connections that no worker knew when they were made.
    embryos: Vec<Weak<ConnObject>>,
    /// So many are there when those that have gone are looked for next.
    crowd: usize,
}

/// Fewer connections are not worth a look for those that have gone.
const FEW_EMBRYOS: usize = 64;

#[derive(Default)]
struct Progress {
    helpers: usize,
    ended: bool,
}

impl Object for RuntimeObject {
    const KIND: u32 = WB_KIND_RUNTIME;

    fn abandoned(self: &Arc<Self>) {
        let Some(core) = &self.core else { return self.close(true) };
        // Nobody can drive it any more. In a callback of the core, the call that is under way sees to it.
        self.orphaned.store(true, Ordering::Release);
        self.close(false);
        if let Ok(mut driver) = core.lock() {
            self.go_on_ending(&mut driver, Timestamp::NEVER);
        }
    }
}

impl Known for RuntimeObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// A failed verb of the runtime as the application sees it.
pub(crate) fn runtime_fail(error: &RuntimeError) -> Fail {
    use super::status as s;
    use crate::connection::MigrateError;
    let status = match error {
        RuntimeError::AddressInUse(_) => s::WB_E_BUSY,
        RuntimeError::PermissionDenied(_) | RuntimeError::AddressNotAvailable(_) | RuntimeError::Io { .. } => {
            s::WB_E_OS
        }
        RuntimeError::Tls(_) => s::WB_E_TLS,
        RuntimeError::Migrate(MigrateError::Forbidden) => s::WB_E_UNSUPPORTED,
        RuntimeError::Migrate(MigrateError::NoConnectionId | MigrateError::TooManyPaths) => s::WB_E_LIMIT,
        RuntimeError::Migrate(_) | RuntimeError::Closed | RuntimeError::State(_) => s::WB_E_STATE,
        RuntimeError::Timeout => s::WB_E_TIMEOUT,
        RuntimeError::WouldDeadlock => s::WB_E_WOULD_DEADLOCK,
        RuntimeError::Refused(_) => s::WB_E_INVALID,
    };
    let mut fail = Fail::new(status, error.to_string());
    fail.os_error = error.os_error();
    if fail.os_error != 0 {
        fail.origin = super::abi::WB_ORIGIN_SYSTEM;
    }
    fail
}

impl RuntimeObject {
    pub fn open(settings: &Settings) -> Result<Arc<Self>, Fail> {
        let runtime = Runtime::open(settings.runtime.clone()).map_err(|e| runtime_fail(&e))?;
        Ok(Self::with(settings, runtime, None))
    }

    fn with(settings: &Settings, runtime: Runtime, core: Option<CorePart>) -> Arc<Self> {
        if settings.hardened {
            super::hardened::switch_on();
        }
        Arc::new(Self {
            meta: Meta::default(),
            route: Route::root(&settings.callbacks),
            core,
            ending: Mutex::default(),
            runtime,
            closing: AtomicBool::new(false),
            at_once: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            children: Mutex::default(),
            ledger: Mutex::default(),
            progress: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// A runtime that the application drives.
    pub fn open_core(settings: &Settings, seed: &[u8; 32], now: Timestamp) -> Result<Arc<Self>, Fail> {
        let (runtime, driver) = Runtime::driven(settings.runtime.clone(), seed, now).map_err(|e| runtime_fail(&e))?;
        Ok(Self::with(settings, runtime, Some(CorePart::new(driver))))
    }

    pub fn core(&self) -> Option<&CorePart> {
        self.core.as_ref()
    }

    /// A closed core has something to do for its end.
    pub fn wants_to_end(&self) -> bool {
        self.closing.load(Ordering::Acquire) && !self.runtime.is_closed() && self.ending.lock().is_none()
    }

    /// A core's way to its end, one step per call: what `run_down` does on a thread.
    pub fn go_on_ending(self: &Arc<Self>, driver: &mut Driver, now: Timestamp) {
        if !self.closing.load(Ordering::Acquire) || self.progress.lock().ended {
            return;
        }
        let gracefully = !self.at_once.load(Ordering::Acquire);
        let endpoints: Vec<Arc<EndpointObject>> = {
            let children = self.children.lock();
            children.endpoints.iter().filter_map(Weak::upgrade).collect()
        };
        let until = *self.ending.lock().get_or_insert_with(|| {
            let longest = endpoints.iter().map(|e| e.drain()).max().unwrap_or_default();
            now + longest + DRAIN_SLACK
        });
        if !self.runtime.is_closed() {
            for endpoint in &endpoints {
                if gracefully { endpoint.close_gracefully() } else { endpoint.close() }
            }
            if gracefully && now < until && !endpoints.iter().all(|e| e.is_finished()) {
                return;
            }
            self.runtime.close();
            if !self.orphaned.load(Ordering::Acquire) {
                driver.advance(now);
            }
        }
        if self.orphaned.load(Ordering::Acquire) {
            driver.cut();
        }
        if !driver.is_finished() {
            return;
        }
        let embryos: Vec<_> = self.children.lock().embryos.drain(..).collect();
        for conn in embryos.iter().filter_map(Weak::upgrade) {
            conn.finish(Fail::new(super::status::WB_E_CLOSED_LOCAL, "the runtime was closed"));
        }
        for endpoint in &endpoints {
            endpoint.finish();
        }
        self.report_end();
    }

    fn report_end(self: &Arc<Self>) {
        let mut record = Record::new(WB_EV_RUNTIME_CLOSED).ends(Arc::clone(self) as _);
        record.event.source = self.meta.handle();
        self.route.emit(record);
        self.set_ended();
    }

    pub fn check_open(&self) -> Result<(), Fail> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Fail::new(WB_E_STATE, "the runtime is closed"));
        }
        Ok(())
    }

    /// The endpoint must end before the runtime does.
    pub fn adopt_endpoint(&self, endpoint: &Arc<EndpointObject>) {
        let mut children = self.children.lock();
        children.endpoints.retain(|e| e.strong_count() > 0);
        children.endpoints.push(Arc::downgrade(endpoint));
        drop(children);
        let mut ledger = self.ledger.lock();
        ledger.endpoints.retain(|e| e.strong_count() > 0);
        ledger.endpoints.push(Arc::downgrade(endpoint));
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// What all endpoints have done so far, also those that have ended.
    pub fn counters(&self) -> Counters {
        let (sum, counted) = {
            let ledger = self.ledger.lock();
            let mut sum = ledger.ended;
            let counted: Vec<_> = ledger.endpoints.iter().filter_map(Weak::upgrade).collect();
            for endpoint in &counted {
                sum.add(&endpoint.counters());
            }
            (sum, counted)
        };
        // Outside the lock: one of them may end with this.
        drop(counted);
        sum
    }

    /// The connection, not started yet, must end before the runtime does.
    pub fn adopt_embryo(&self, conn: &Arc<ConnObject>) {
        let mut children = self.children.lock();
        // A look at all of them for each would be dear with thousands: only when they have become twice as many.
        if children.embryos.len() >= children.crowd {
            children.embryos.retain(|c| c.strong_count() > 0);
            children.crowd = children.embryos.len().saturating_mul(2).max(FEW_EMBRYOS);
        }
        children.embryos.push(Arc::downgrade(conn));
    }

    /// Begins the end. Idempotent, never waits. Closing at once also ends a graceful close under way.
    pub fn close(self: &Arc<Self>, gracefully: bool) {
        if !gracefully && !self.at_once.swap(true, Ordering::AcqRel) {
            self.note_change();
        }
        if self.closing.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.core.is_some() {
            // The next call on the core sees to it.
            return;
        }
        let this = Arc::clone(self);
        let closer = move || this.run_down(gracefully);
        if spawn("wb-closer", closer).is_err() {
            // No thread to be had: the workers end all the same, only nobody reports it.
            self.runtime.close();
            self.set_ended();
        }
    }

    /// Lets the endpoints finish what is under way.
    fn drain(&self, endpoints: &[Weak<EndpointObject>]) {
        let mut longest = Duration::ZERO;
        for endpoint in endpoints.iter().filter_map(Weak::upgrade) {
            endpoint.close_gracefully();
            longest = longest.max(endpoint.drain());
        }
        // The workers keep the limit; a little more is for their last datagrams.
        let until = crate::runtime::clock::now() + longest + DRAIN_SLACK;
        let mut progress = self.progress.lock();
        loop {
            let done = endpoints.iter().filter_map(Weak::upgrade).all(|e| e.is_finished());
            let left = until.since(crate::runtime::clock::now());
            if done || left.is_zero() || self.at_once.load(Ordering::Acquire) {
                return;
            }
            self.changed.wait_for(&mut progress, left);
        }
    }

    /// Something has ended, or nobody shall wait for it.
    pub fn note_change(&self) {
        let _progress = self.progress.lock();
        self.changed.notify_all();
    }

    /// Waits until `until`; false as soon as `goes_on` is when something has changed.
    pub fn pause(&self, until: Timestamp, goes_on: impl Fn() -> bool) -> bool {
        let mut progress = self.progress.lock();
        while goes_on() {
            let left = until.since(crate::runtime::clock::now());
            if left.is_zero() {
                return true;
            }
            self.changed.wait_for(&mut progress, left);
        }
        false
    }

    fn run_down(self: &Arc<Self>, gracefully: bool) {
        let endpoints: Vec<_> = self.children.lock().endpoints.drain(..).collect();
        if gracefully {
            self.drain(&endpoints);
        }
        for endpoint in endpoints.iter().filter_map(Weak::upgrade) {
            endpoint.close();
        }
        self.runtime.close();
        let _ = self.runtime.join(JOIN_LIMIT);
        let embryos: Vec<_> = self.children.lock().embryos.drain(..).collect();
        for conn in embryos.iter().filter_map(Weak::upgrade) {
            conn.finish(Fail::new(super::status::WB_E_CLOSED_LOCAL, "the runtime was closed"));
        }
        for endpoint in endpoints.iter().filter_map(Weak::upgrade) {
            endpoint.finish();
        }
        {
            let mut progress = self.progress.lock();
            while progress.helpers > 0 {
                self.changed.wait(&mut progress);
            }
        }
        self.report_end();
    }

    fn set_ended(&self) {
        self.progress.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for the end; false when the time has passed.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, Fail> {
        if super::events::in_user_code() || Runtime::on_worker_thread() {
            return Err(Fail::new(WB_E_WOULD_DEADLOCK, "a library thread cannot wait for the runtime's end"));
        }
        if self.core.is_some() && !self.progress.lock().ended {
            return Err(Fail::new(WB_E_WOULD_DEADLOCK, "a core ends by calls on it, not by waiting"));
        }
        let mut progress = self.progress.lock();
        let until = timeout.map(|t| crate::runtime::clock::now() + t);
        while !progress.ended {
            match until {
                None => self.changed.wait(&mut progress),
                Some(until) => {
                    let left = until.since(crate::runtime::clock::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    self.changed.wait_for(&mut progress, left);
                }
            }
        }
        Ok(true)
    }

    /// Runs something that may block, or that must not run on the caller's thread, on a thread of its own.
    pub fn helper(self: &Arc<Self>, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Fail> {
        if let Some(core) = &self.core {
            core.defer(work);
            return Ok(());
        }
        self.progress.lock().helpers += 1;
        let this = Arc::clone(self);
        let result = spawn(name, move || {
            let done = HelperDone(this);
            work();
            drop(done);
        });
        result.map_err(|e| {
            // The closure was dropped unrun, and with it nothing that counts.
            self.helper_done();
            Fail::os("cannot start a helper thread", &e)
        })
    }

    fn helper_done(&self) {
        let mut progress = self.progress.lock();
        progress.helpers = progress.helpers.saturating_sub(1);
        self.changed.notify_all();
    }
}

/// Counts a helper off even when it panics.
struct HelperDone(Arc<RuntimeObject>);

impl Drop for HelperDone {
    fn drop(&mut self) {
        self.0.helper_done();
    }
}

/// A named thread that leaves all signals to the application's threads.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    // SAFETY: both sets are live locals; a zeroed set is a valid argument to `sigfillset`, and `before` is filled by
    // the call that reads it back.
    unsafe {
        let mut all: libc::sigset_t = core::mem::zeroed();
        let mut before: libc::sigset_t = core::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let result = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, core::ptr::null_mut());
        result.map(drop)
    }
}
