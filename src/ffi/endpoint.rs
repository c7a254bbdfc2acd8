//! The object behind `wb_endpoint`: sockets and the connections on them.
//!
//! The runtime's endpoint is made by the first verb that needs it, because a bound one is spread over all workers and
//! an unbound one (a client) has a connected socket per connection, which hears of unreachable peers.
use super::abi::{
    WB_EV_ENDPOINT_BUSY, WB_EV_ENDPOINT_CLOSED, WB_EV_SOCKET_ERROR, WB_KIND_ENDPOINT, WB_LIMIT_CONNECTIONS,
    WB_LIMIT_HANDSHAKES, WB_LIMIT_NONE, WB_LOG_ERROR,
};
use super::config::Settings;
use super::decision::DecisionObject;
use super::diagnostics::say;
use super::error::Fail;
use super::events::{Record, Route};
use super::handle::Object;
use super::object::{Known, Meta};
use super::qlog::LogSink;
use super::runtime::{RuntimeObject, runtime_fail};
use super::sink::EndpointSink;
use super::status::{WB_E_CLOSED_LOCAL, WB_E_STATE};
use super::tls::TlsObject;
use crate::base::codes;
use crate::base::sync::{AtomicBool, Mutex, Ordering};
use crate::endpoint::{Full, Limits, Load, LoadNews, RetryPolicy};
use crate::runtime::counters::Counters;
use crate::runtime::{EndpointHandle, EndpointOptions, IncomingDecision, IncomingInfo, ListenConfig, Ticket, clock};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// An endpoint.
pub(crate) struct EndpointObject {
    meta: Meta,
    pub route: Arc<Route>,
    pub runtime: Arc<RuntimeObject>,
    settings: Arc<Settings>,
    /// Made for one connection by `wb_client_connect`: it has no handle and no events.
    hidden: bool,
    state: Mutex<State>,
    finished: AtomicBool,
    /// Before the runtime's endpoint is made, and then its own.
    pub load: Arc<Load>,
}

#[derive(Default)]
struct State {
    handle: Option<EndpointHandle>,
    bound: Vec<SocketAddr>,
    closed: bool,
    listener: Option<Arc<Listener>>,
    /// A graceful close is under way.
    draining: bool,
    /// What it had counted when it ended.
    last: Counters,
    /// From the configuration that listens or connects.
    drain: Option<Duration>,
    retry: bool,
    /// Given before the runtime's endpoint was made.
    secrets: Option<([u8; 32], Vec<[u8; 32]>)>,
    admit: bool,
    /// For the logs of connections to come.
    log: Option<Arc<LogSink>>,
    /// Clients on which the application has not decided, oldest first.
    admissions: VecDeque<Arc<DecisionObject>>,
}

/// How incoming connections become objects.
pub(crate) struct Listener {
    pub settings: Arc<Settings>,
    pub tls: Arc<TlsObject>,
}

impl Object for EndpointObject {
    const KIND: u32 = WB_KIND_ENDPOINT;

    fn abandoned(self: &Arc<Self>) {
        self.close_gracefully();
    }
}

impl Known for EndpointObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

fn closed() -> Fail {
    Fail::new(WB_E_STATE, "the endpoint is closed")
}

impl EndpointObject {
    pub fn new(runtime: &Arc<RuntimeObject>, settings: Arc<Settings>, hidden: bool) -> Result<Arc<Self>, Fail> {
        runtime.check_open()?;
        let endpoint = Arc::new(Self {
            meta: Meta::default(),
            route: Route::below(&runtime.route, Some(&settings.callbacks)),
            runtime: Arc::clone(runtime),
            settings,
            hidden,
            state: Mutex::default(),
            finished: AtomicBool::new(false),
            load: Arc::default(),
        });
        runtime.adopt_endpoint(&endpoint);
        Ok(endpoint)
    }

    /// The runtime's endpoint, made when needed. `qlog` is the wish of the connection settings at hand.
    fn ensure(self: &Arc<Self>, spread: bool, qlog: Option<&String>) -> Result<EndpointHandle, Fail> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed());
        }
        if let Some(handle) = &state.handle {
            return Ok(handle.clone());
        }
        let mut options = EndpointOptions {
            spread,
            connected_sockets: !spread,
            fail_unreachable: !spread,
            ..EndpointOptions::default()
        };
        if self.settings.retry {
            options.endpoint.retry = RetryPolicy::Always;
        }
        if let Some((current, previous)) = &state.secrets {
            options.endpoint.secret = *current;
            options.endpoint.previous_secrets.clone_from(previous);
        }
        options.endpoint.load = Arc::clone(&self.load);
        options.qlog_dir = qlog.or(self.settings.qlog_dir.as_ref()).map(Into::into);
        let sink = Arc::new(EndpointSink::new(Arc::clone(self)));
        let handle = self.runtime.runtime.endpoint(options, sink).map_err(|e| runtime_fail(&e))?;
        if state.log.is_some() {
            handle.set_logs(true);
        }
        state.handle = Some(handle.clone());
        Ok(handle)
    }

    /// The runtime's endpoint for connecting.
    pub fn for_client(self: &Arc<Self>, settings: &Settings) -> Result<EndpointHandle, Fail> {
        self.state.lock().drain.get_or_insert(settings.drain);
        self.ensure(false, settings.qlog_dir.as_ref())
    }

    pub fn bind(self: &Arc<Self>, address: SocketAddr, qlog: Option<&String>) -> Result<(), Fail> {
        let handle = self.ensure(true, qlog)?;
        // "::" means every address of both families, whatever the system's default for such sockets.
        let dual = address.ip().is_unspecified() && address.is_ipv6();
        let bound = if dual { handle.bind_dual_stack(address.port()) } else { handle.bind(address) };
        let bound = bound.map_err(|e| runtime_fail(&e))?;
        self.state.lock().bound.push(bound);
        Ok(())
    }

    /// Takes over a bound socket.
    pub fn adopt(self: &Arc<Self>, fd: i32) -> Result<(), Fail> {
        let mut kind = 0i32;
        let mut len = size_of::<i32>() as libc::socklen_t;
        // SAFETY: both out parameters are live locals of the right size; a bad descriptor gives an error.
        let known =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut len) };
        if known != 0 || kind != libc::SOCK_DGRAM {
            return Err(Fail::invalid("the descriptor is no UDP socket"));
        }
        if self.runtime.core().is_some() {
            return Err(Fail::new(WB_E_STATE, "a core has no sockets"));
        }
        let handle = self.ensure(true, None)?;
        // A duplicate, so that a failure takes nothing: the caller's is closed when all is done.
        // SAFETY: the descriptor is open (checked above) and duplicated, not taken.
        let copy = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
        let copy = copy.map_err(|e| Fail::os("cannot take the descriptor", &e))?;
        let bound = handle.adopt(copy.into()).map_err(|e| runtime_fail(&e))?;
        self.state.lock().bound.push(bound);
        // SAFETY: the caller gives the descriptor away with this successful call.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(())
    }

    /// Duplicates of the endpoint's sockets.
    pub fn export(&self) -> Result<Vec<OwnedFd>, Fail> {
        let handle = self.state.lock().handle.clone();
        let handle = handle.ok_or_else(|| Fail::new(WB_E_STATE, "the endpoint is not bound"))?;
        handle.export().map_err(|e| runtime_fail(&e))
    }

    pub fn listen(&self, settings: Arc<Settings>, tls: Arc<TlsObject>) -> Result<(), Fail> {
        let server = tls.server()?;
        let Some(handle) = self.state.lock().handle.clone() else {
            return Err(Fail::new(WB_E_STATE, "cannot listen: the endpoint is not bound"));
        };
        let config =
            ListenConfig { connection: Arc::clone(&settings.connection), tls: server, http3: settings.http3.clone() };
        if tls.key_log().is_some() || settings.callbacks.iter().any(Option::is_some) {
            // Connections inherit them that a worker will know before their objects are made.
            self.route.gate().note_callbacks();
        }
        let retry = settings.retry;
        let admit = settings.admit || self.settings.admit;
        let before = {
            let mut state = self.state.lock();
            state.retry = retry;
            state.drain = Some(settings.drain);
            state.admit = admit;
            state.listener.replace(Arc::new(Listener { settings, tls }))
        };
        // The old listener may own the last reference to a callback's context: dropped outside the lock.
        drop(before);
        handle.listen(config).map_err(|e| runtime_fail(&e))
    }

    pub fn stop_listening(&self) {
        if let Some(handle) = self.state.lock().handle.clone() {
            handle.stop_listening();
        }
    }

    pub fn listener(&self) -> Option<Arc<Listener>> {
        self.state.lock().listener.clone()
    }

    /// A client wants to connect: the application is asked if it wants to be. False when it is not.
    pub fn ask_admission(self: &Arc<Self>, info: &IncomingInfo) -> bool {
        let now = clock::recent();
        let mut over = Vec::new();
        {
            let mut state = self.state.lock();
            if !state.admit {
                return false;
            }
            while state.admissions.front().is_some_and(|d| d.is_over(now)) {
                over.extend(state.admissions.pop_front());
            }
        }
        for decision in over {
            decision.expire();
        }
        // Without a handle nobody could answer: the attempt is forgotten, as if the datagram had been lost.
        let Ok(decision) = DecisionObject::admit(self, *info) else { return true };
        self.state.lock().admissions.push_back(Arc::clone(&decision));
        let (kind, b) = decision.event();
        let mut record = Record::new(kind).numbers(decision.meta().handle(), b);
        record.event.source = self.meta.handle();
        self.route.emit(record);
        true
    }

    /// It is answered.
    pub fn forget_admission(&self, decision: &Arc<DecisionObject>) {
        self.state.lock().admissions.retain(|d| !Arc::ptr_eq(d, decision));
    }

    /// The application has decided on a client.
    pub fn decide(&self, ticket: Ticket, decision: IncomingDecision) -> Result<(), Fail> {
        let handle = self.state.lock().handle.clone();
        handle.ok_or_else(closed)?.decide(ticket, decision);
        Ok(())
    }

    /// Replaces the secrets of tokens and stateless resets.
    pub fn set_secrets(self: &Arc<Self>, current: &[u8; 32], previous: &[[u8; 32]]) -> Result<(), Fail> {
        self.check_open()?;
        let handle = {
            let mut state = self.state.lock();
            state.secrets = Some((*current, previous.to_vec()));
            state.handle.clone()
        };
        if let Some(handle) = handle {
            handle.set_secrets(current, previous);
        }
        Ok(())
    }

    /// Replaces the function for the logs of connections to come; gives back the one that was there.
    pub fn set_log(&self, sink: impl FnOnce() -> Option<Arc<LogSink>>) -> Result<Option<Arc<LogSink>>, Fail> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed());
        }
        let sink = sink();
        if sink.is_some() {
            self.route.gate().note_callbacks();
        }
        if let Some(handle) = &state.handle {
            handle.set_logs(sink.is_some());
        }
        Ok(std::mem::replace(&mut state.log, sink))
    }

    /// The function for the log of a connection that begins.
    pub fn log(&self) -> Option<Arc<LogSink>> {
        self.state.lock().log.clone()
    }

    /// The listening configuration asks every client to prove its address.
    pub fn wants_retry(&self) -> bool {
        self.state.lock().retry
    }

    pub fn address(&self) -> Result<SocketAddr, Fail> {
        let state = self.state.lock();
        let live = state.handle.as_ref().and_then(|h| h.local_addrs().first().copied());
        live.or_else(|| state.bound.first().copied()).ok_or_else(|| Fail::new(WB_E_STATE, "the endpoint is not bound"))
    }

    pub fn rebind(&self, address: Option<SocketAddr>) -> Result<(), Fail> {
        let Some(handle) = self.state.lock().handle.clone() else {
            return Err(Fail::new(WB_E_STATE, "the endpoint has no socket yet"));
        };
        handle.rebind(address).map_err(|e| runtime_fail(&e))?;
        Ok(())
    }

    /// Closes connections and sockets at once; ENDPOINT_CLOSED comes when they are gone. Idempotent, also after a
    /// graceful close that is under way.
    pub fn close(self: &Arc<Self>) {
        self.begin_end(false);
    }

    /// As `close`, after what is under way has finished.
    pub fn close_gracefully(self: &Arc<Self>) {
        self.begin_end(true);
    }

    /// Longest time that a graceful close takes.
    pub fn drain(&self) -> Duration {
        self.state.lock().drain.unwrap_or(self.settings.drain)
    }

    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    fn begin_end(self: &Arc<Self>, gracefully: bool) {
        let drain = self.drain();
        let handle = {
            let mut state = self.state.lock();
            if state.closed && (gracefully || !std::mem::take(&mut state.draining)) {
                return;
            }
            state.closed = true;
            state.draining = gracefully;
            state.handle.clone()
        };
        match handle {
            Some(handle) if gracefully => handle.close_gracefully(drain),
            // Mostly HTTP/3: its word for "no error" (RFC 9114 section 8.1). Raw applications choose by closing
            // connections themselves.
            Some(handle) => handle.close(codes::h3::NO_ERROR, b""),
            None => {
                // No worker knows it: nobody else would report the end.
                let this = Arc::clone(self);
                let _ = self.runtime.helper("wb-event", move || this.finish());
            }
        }
    }

    /// The call that made it failed: it ends without an event.
    pub fn cancel_silently(self: &Arc<Self>) {
        self.finished.store(true, Ordering::Release);
        let handle = {
            let mut state = self.state.lock();
            state.closed = true;
            state.handle.take()
        };
        // Dropping the last handle closes the runtime's endpoint.
        drop(handle);
    }

    /// Reports the end, once.
    pub fn finish(self: &Arc<Self>) {
        if self.finished.swap(true, Ordering::AcqRel) {
            return;
        }
        let (handle, listener, log, admissions) = {
            let mut ledger = self.runtime.ledger();
            let mut state = self.state.lock();
            state.closed = true;
            if let Some(handle) = &state.handle {
                state.last = handle.counters().ended();
            }
            ledger.ended.add(&state.last);
            ledger.endpoints.retain(|e| !std::ptr::eq(e.as_ptr(), Arc::as_ptr(self)));
            drop(ledger);
            (state.handle.take(), state.listener.take(), state.log.take(), std::mem::take(&mut state.admissions))
        };
        for decision in admissions {
            decision.expire();
        }
        // Outside the lock: their ends may be long.
        drop((handle, listener, log));
        self.runtime.note_change();
        let mut record = Record::new(WB_EV_ENDPOINT_CLOSED).ends(Arc::clone(self) as _);
        record.event.source = self.meta.handle();
        if self.hidden {
            record.kept.end();
        } else {
            self.route.emit(record);
        }
    }

    /// Limits of what clients may begin, live.
    pub fn set_limits(&self, limits: Limits) {
        let handle = self.state.lock().handle.clone();
        match handle {
            Some(handle) => handle.set_limits(limits),
            None => self.load.limit(limits),
        }
    }

    /// A limit turns clients away, or does so no more.
    pub fn tell_load(&self, news: LoadNews) {
        let which = match news.full {
            None => WB_LIMIT_NONE,
            Some(Full::Connections) => WB_LIMIT_CONNECTIONS,
            Some(Full::Handshakes) => WB_LIMIT_HANDSHAKES,
        };
        let count = u64::try_from(news.count).unwrap_or(u64::MAX);
        let mut record = Record::new(WB_EV_ENDPOINT_BUSY).numbers(count, u64::from(which));
        record.event.source = self.meta.handle();
        self.route.emit(record);
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        let state = self.state.lock();
        state.handle.as_ref().map_or(state.last, EndpointHandle::counters)
    }

    /// A socket failed.
    pub fn socket_error(&self, local: SocketAddr, os_error: i32) {
        let what = std::io::Error::from_raw_os_error(os_error);
        say(self.route.gate(), WB_LOG_ERROR, c"socket", || format!("{local}: {what}"));
        let mut record = Record::new(WB_EV_SOCKET_ERROR)
            .numbers(u64::try_from(os_error).unwrap_or(0), 0)
            .bytes(format!("{local}: {what}").into_bytes());
        record.event.source = self.meta.handle();
        self.route.emit(record);
    }

    /// Ends with its only connection.
    pub fn close_if_hidden(self: &Arc<Self>) {
        if self.hidden {
            self.close();
        }
    }

    pub fn check_open(&self) -> Result<(), Fail> {
        self.runtime.check_open()?;
        if self.state.lock().closed {
            return Err(Fail::new(WB_E_CLOSED_LOCAL, "the endpoint is closed"));
        }
        Ok(())
    }
}
