//! The objects behind `wb_conn` and `wb_path`: from idle through connecting to the one CONN_CLOSED.
//!
//! A client may try several addresses (`attempts`); each try is a connection of the runtime, the application sees one. Locks here are
//! taken before a connection's lock, never inside it, and never while the application's code runs.
use super::abi::*;
use super::address;
use super::close_reason::{Circumstances, fail_of};
use super::config::Settings;
use super::decision::DecisionObject;
use super::endpoint::{EndpointObject, Listener};
use super::error::Fail;
use super::events::{Record, Route};
use super::handle::{self, Object};
use super::object::{Ends, Known, Meta, publish};
use super::qlog::LogSlot;
use super::runtime::RuntimeObject;
use super::status::*;
use super::stream::StreamObject;
use super::tls::{KeyLog, TlsObject};
use crate::base::sync::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::base::{FourTuple, Side, StreamId, Timestamp, codes};
use crate::connection::CloseReason;
use crate::crypto::{Answer, Question};
use crate::runtime::{Conn, ConnState, clock};
use rustc_hash::FxHashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

mod attempts;
mod live;
mod log;
use attempts::Attempts;
pub(crate) use attempts::MAX_TARGETS;

/// internal_error (RFC 8446 section 6.2).
const NO_HANDLES_ALERT: u8 = 80;

/// A connection.
pub(crate) struct ConnObject {
    meta: Meta,
    pub route: Arc<Route>,
    endpoint: Arc<EndpointObject>,
    settings: Arc<Settings>,
    tls: Arc<TlsObject>,
    key_log: Option<Arc<KeyLog>>,
    /// That of the TLS object which a decision chose.
    other_key_log: OnceLock<Arc<KeyLog>>,
    /// Open questions.
    decisions: Mutex<Vec<Arc<DecisionObject>>>,
    side: Side,
    phase: Mutex<Phase>,
    /// The connection that counts, once no other can: every event asks. Compared, never looked through.
    settled: AtomicPtr<Conn>,
    pub streams: Mutex<FxHashMap<StreamId, Arc<StreamObject>>>,
    paths: Mutex<FxHashMap<u8, Arc<PathObject>>>,
    end: Mutex<Option<Fail>>,
    /// The application holds no reference any more: it hears of the end only.
    abandoned: AtomicBool,
    /// System error of the last report that the peer cannot be reached.
    unreachable: AtomicI32,
    started: AtomicU64,
    /// Nanoseconds from start to CONNECTED, 0 before.
    handshake: AtomicU64,
    /// Cipher suite of the newest keys.
    cipher: AtomicU32,
    /// Events in a queue.
    waiting: AtomicU32,
    /// Where records of its log go. Taken after the phase.
    log: Mutex<Option<Box<LogSlot>>>,
    /// Server: early data are taken, so streams may be early.
    pub(super) takes_early: AtomicBool,
}

/// How far a connection has come.
enum Phase {
    Idle,
    Resolving,
    /// `attempts`: other addresses that are tried, or could be, as long as none has answered.
    Running {
        conn: Arc<Conn>,
        attempts: Option<Box<Attempts>>,
    },
    /// Ended before a worker knew it.
    Over,
}

impl Object for ConnObject {
    const KIND: u32 = WB_KIND_CONN;

    fn abandoned(self: &Arc<Self>) {
        self.abandoned.store(true, Ordering::Release);
        self.close(0, b"");
    }
}

impl Known for ConnObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn show_user(&self, user: *mut core::ffi::c_void) {
        if let Some(queue) = self.route.queue() {
            queue.show_conn_user(self.meta.handle(), user);
        }
    }
}

impl ConnObject {
    fn new(
        endpoint: &Arc<EndpointObject>,
        settings: Arc<Settings>,
        tls: Arc<TlsObject>,
        side: Side,
        phase: Phase,
    ) -> Arc<Self> {
        let (route, key_log) = (Route::below(&endpoint.route, Some(&settings.callbacks)), tls.key_log());
        if key_log.is_some() {
            route.gate().note_callbacks();
        }
        Arc::new(Self {
            meta: Meta::default(),
            route,
            endpoint: Arc::clone(endpoint),
            settings,
            key_log,
            tls,
            other_key_log: OnceLock::new(),
            decisions: Mutex::default(),
            side,
            phase: Mutex::new(phase),
            settled: AtomicPtr::new(core::ptr::null_mut()),
            streams: Mutex::default(),
            paths: Mutex::default(),
            end: Mutex::default(),
            abandoned: AtomicBool::new(false),
            unreachable: AtomicI32::new(0),
            started: AtomicU64::new(clock::now().as_nanos()),
            handshake: AtomicU64::new(0),
            cipher: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            log: Mutex::new(endpoint.log().map(|sink| LogSlot::new(sink, Vec::new()))),
            takes_early: AtomicBool::new(false),
        })
    }

    /// A client connection that waits for its start.
    pub fn outgoing(
        endpoint: &Arc<EndpointObject>,
        settings: Arc<Settings>,
        tls: Arc<TlsObject>,
    ) -> Result<Arc<Self>, Fail> {
        endpoint.check_open()?;
        tls.client()?;
        let conn = Self::new(endpoint, settings, tls, Side::Client, Phase::Idle);
        endpoint.runtime.adopt_embryo(&conn);
        Ok(conn)
    }

    /// A connection that a client opened.
    pub fn incoming(endpoint: &Arc<EndpointObject>, listener: &Listener, conn: &Arc<Conn>) -> Arc<Self> {
        let phase = Phase::Running { conn: Arc::clone(conn), attempts: None };
        Self::new(endpoint, Arc::clone(&listener.settings), Arc::clone(&listener.tls), Side::Server, phase)
    }

    /// Credit is given by `wb_stream_consume`.
    pub fn manual_credit(&self) -> bool {
        self.settings.manual_credit
    }

    /// Longest body of a message that is told in one event, if any is.
    pub fn whole_messages(&self) -> Option<usize> {
        self.settings.whole_messages
    }

    /// The application does without these events of streams (`WB_SPARE_*`).
    pub fn spares(&self, what: u64) -> bool {
        self.settings.spare & what != 0
    }

    pub fn side(&self) -> Side {
        self.side
    }

    fn runtime(&self) -> &Arc<RuntimeObject> {
        &self.endpoint.runtime
    }

    pub fn flush_key_log(&self) {
        for log in self.key_log.iter().chain(self.other_key_log.get()) {
            log.flush();
        }
    }

    // ------------------------------------------------------------------------------------------ deciding

    /// TLS has a question: it becomes a decision of the application.
    pub fn on_question(self: &Arc<Self>, wire: &Arc<Conn>, question: Box<Question>) {
        let no = match *question {
            Question::EarlyData { .. } => Answer::EarlyData(false),
            _ => Answer::Refuse(NO_HANDLES_ALERT),
        };
        let Ok(decision) = DecisionObject::tls(self, wire, question) else {
            // No handle to be had: nobody can answer.
            let _ = wire.with(|state, now| state.connection.decide(no, now));
            return;
        };
        self.decisions.lock().push(Arc::clone(&decision));
        let (kind, b) = decision.event();
        let record = self.record(kind).numbers(decision.meta().handle(), b);
        self.emit(match decision.early_key() {
            Some(key) => record.bytes(*key),
            None => record,
        });
    }

    /// It is answered.
    pub fn forget_decision(&self, decision: &Arc<DecisionObject>) {
        self.decisions.lock().retain(|d| !Arc::ptr_eq(d, decision));
    }

    /// A decision has chosen another TLS object than the listener's.
    pub fn serve_as(&self, tls: &TlsObject) {
        if let Some(log) = tls.key_log() {
            self.route.gate().note_callbacks();
            let _ = self.other_key_log.set(log);
        }
    }

    fn expire_decisions(&self) {
        let open = std::mem::take(&mut *self.decisions.lock());
        for decision in open {
            decision.expire();
        }
    }

    // ------------------------------------------------------------------------------------------ using

    /// The runtime's connection.
    pub fn wire(&self) -> Result<Arc<Conn>, Fail> {
        match &*self.phase.lock() {
            Phase::Running { conn, .. } => Ok(Arc::clone(conn)),
            Phase::Idle | Phase::Resolving => Err(Fail::new(WB_E_STATE, "the connection is not connected yet")),
            Phase::Over => Err(self.gone()),
        }
    }

    /// The runtime's connection, if there is one.
    fn any_wire(&self) -> Option<Arc<Conn>> {
        match &*self.phase.lock() {
            Phase::Running { conn, .. } => Some(Arc::clone(conn)),
            _ => None,
        }
    }

    /// This is the try that counts.
    pub fn is_current(&self, conn: &Arc<Conn>) -> bool {
        if core::ptr::eq(self.settled.load(Ordering::Acquire), Arc::as_ptr(conn)) {
            return true;
        }
        match &*self.phase.lock() {
            Phase::Running { conn: current, attempts } if Arc::ptr_eq(current, conn) => {
                if attempts.is_none() {
                    // Without other attempts it stays the one, and the phase keeps it alive.
                    self.settled.store(Arc::as_ptr(conn).cast_mut(), Ordering::Release);
                }
                true
            }
            _ => false,
        }
    }

    /// What calls answer after the end.
    pub fn gone(&self) -> Fail {
        let end = self.end.lock().clone();
        let Some(mut fail) = end else { return Fail::new(WB_E_CLOSED_LOCAL, "the connection is closing") };
        fail.status = if fail.origin == WB_ORIGIN_PEER { WB_E_CLOSED_PEER } else { WB_E_CLOSED_LOCAL };
        fail
    }

    /// Fails when the connection can no longer be used.
    pub fn check_state(&self, state: &ConnState) -> Result<(), Fail> {
        if state.connection.is_closed() { Err(self.gone()) } else { Ok(()) }
    }

    /// Ends the connection from our side. Idempotent.
    pub fn close(self: &Arc<Self>, code: u64, reason: &[u8]) {
        let conn = {
            let mut phase = self.phase.lock();
            match &*phase {
                Phase::Running { conn, .. } => Some(Arc::clone(conn)),
                Phase::Over => return,
                Phase::Idle | Phase::Resolving => {
                    *phase = Phase::Over;
                    None
                }
            }
        };
        self.give_up_attempts();
        match conn {
            Some(conn) => {
                let http3 = conn.inspect(|s| s.http3.is_some());
                conn.close(if http3 && code == 0 { codes::h3::NO_ERROR } else { code }, reason);
            }
            None => {
                // No worker knows it, and callbacks do not run inside calls: a helper reports the end.
                let this = Arc::clone(self);
                let mut fail = Fail::new(WB_E_CLOSED_LOCAL, "closed before it was connected");
                fail.wire_code = code;
                let _ = self.runtime().helper("wb-event", move || this.finish(fail));
            }
        }
    }

    /// The call that made it failed: it ends without an event.
    pub fn cancel_silently(&self) {
        *self.phase.lock() = Phase::Over;
        self.settled.store(core::ptr::null_mut(), Ordering::Release);
        self.end.lock().get_or_insert_with(|| Fail::new(WB_E_CANCELLED, "never started"));
    }

    pub fn error_info(&self) -> wb_error_info {
        let end = self.end.lock().clone();
        end.unwrap_or_else(|| {
            let mut none = Fail::new(WB_OK, "");
            none.origin = WB_ORIGIN_NONE;
            none
        })
        .info()
    }

    // ------------------------------------------------------------------------------------------ events

    /// An event of this connection, to be filled in.
    pub fn record(self: &Arc<Self>, kind: u16) -> Record {
        let mut record = Record::new(kind).of(Arc::clone(self));
        record.event.conn = self.meta.handle();
        record.event.source = self.meta.handle();
        record
    }

    /// The application has lost interest: it hears of the end only.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Delivers an event, unless the application has lost interest.
    #[inline]
    pub fn emit(&self, record: Record) {
        if !record.kept.is_end() && self.abandoned.load(Ordering::Acquire) {
            return record.kept.end();
        }
        self.route.emit(record);
    }

    /// `n` more events in a queue: how many now.
    pub fn count_waiting(&self, n: u32) -> u32 {
        self.waiting.fetch_add(n, Ordering::Relaxed).saturating_add(n)
    }

    /// So many events wait no longer.
    pub fn discount_waiting(&self, n: u32) {
        self.waiting.fetch_sub(n, Ordering::Relaxed);
    }

    pub fn announce_incoming(self: &Arc<Self>) {
        let endpoint = self.endpoint.meta().handle();
        self.emit(self.record(WB_EV_CONN_INCOMING).numbers(0, endpoint));
    }

    pub fn note_connected(&self) {
        let since = clock::now().since(Timestamp(self.started.load(Ordering::Acquire)));
        self.handshake.store(crate::base::time::nanos(since).max(1), Ordering::Release);
    }

    pub fn note_cipher(&self, wire_id: u16) {
        self.cipher.store(u32::from(wire_id), Ordering::Release);
    }

    pub fn note_unreachable(&self, os_error: i32) {
        self.unreachable.store(os_error, Ordering::Release);
    }

    /// The transport has ended; true when the object has ended with it, false when another address is tried.
    pub fn on_closed(self: &Arc<Self>, conn: &Arc<Conn>, reason: &CloseReason) -> bool {
        if self.try_next(reason) {
            return false;
        }
        let (http3_failure, http3) = conn.inspect(|s| {
            let failure = s.http3.as_ref().and_then(|h| h.failure());
            (failure.map(|f| (f.code, f.reason)), s.http3.is_some())
        });
        let around = Circumstances {
            remote: conn.remote_addr(),
            established: self.handshake.load(Ordering::Acquire) != 0,
            unreachable: self.unreachable.load(Ordering::Acquire),
            http3_failure,
            http3,
        };
        if let CloseReason::Peer { code, app, reason, .. } = reason
            && self.end.lock().is_none()
        {
            // Before the ends of the streams, which look like those of our own doing.
            self.emit(self.record(WB_EV_PEER_CLOSING).numbers(*code, u64::from(*app)).bytes(reason.clone()));
        }
        if matches!(reason, CloseReason::StatelessReset) {
            self.say(WB_LOG_INFO, c"connection", || "stateless reset by the peer".to_owned());
        }
        self.finish(fail_of(reason, &around));
        true
    }

    /// The runtime's connection has gone for good.
    pub fn on_drained(self: &Arc<Self>, conn: &Arc<Conn>) {
        if self.is_current(conn) {
            self.finish(Fail::new(WB_E_INTERNAL, "the connection ended without a reason"));
        }
        self.end_log(Some(conn));
    }

    /// Reports the end of the streams, then that of the connection. Once.
    pub fn finish(self: &Arc<Self>, fail: Fail) {
        {
            let mut end = self.end.lock();
            if end.is_some() {
                return;
            }
            *end = Some(fail.clone());
        }
        self.say_end(&fail);
        self.give_up_attempts();
        {
            let mut phase = self.phase.lock();
            if matches!(*phase, Phase::Idle | Phase::Resolving) {
                *phase = Phase::Over;
            }
        }
        self.expire_decisions();
        let streams: Vec<_> = std::mem::take(&mut *self.streams.lock()).into_values().collect();
        for stream in streams {
            stream.finish();
        }
        let paths: Vec<_> = std::mem::take(&mut *self.paths.lock()).into_values().collect();
        for path in paths {
            path.ended();
        }
        let record = self
            .record(WB_EV_CONN_CLOSED)
            .numbers(fail.wire_code, u64::from(fail.status.cast_unsigned()))
            .bytes(fail.text.as_bytes())
            .ends(Arc::clone(self) as _);
        self.emit(record);
        if self.any_wire().is_none() {
            self.end_log(None);
        }
        self.endpoint.close_if_hidden();
    }

    // ------------------------------------------------------------------------------------------ paths

    /// The object of a path; `fresh`: its number may have been used before for another one.
    pub fn path(self: &Arc<Self>, number: u8, fresh: bool) -> Option<Arc<PathObject>> {
        let old = {
            let mut paths = self.paths.lock();
            match paths.get(&number) {
                Some(path) if !fresh => return Some(Arc::clone(path)),
                _ => paths.remove(&number),
            }
        };
        if let Some(old) = old {
            old.ended();
        }
        let path = Arc::new(PathObject {
            meta: Meta::default(),
            conn: Arc::clone(self),
            number,
            last: Mutex::new(PathObject::unknown(number)),
        });
        publish(&path, true).ok()?;
        self.paths.lock().insert(number, Arc::clone(&path));
        Some(path)
    }

    /// The path is gone; its handle ends with the event that `Ends` is given to.
    pub fn forget_path(&self, number: u8) -> Option<Arc<PathObject>> {
        self.paths.lock().remove(&number)
    }

    /// Handles of all paths, one reference each for the caller.
    pub fn path_handles(self: &Arc<Self>) -> Result<Vec<u64>, Fail> {
        let conn = self.wire()?;
        let numbers: Vec<u8> = conn.inspect(|s| s.connection.paths().iter().map(|p| p.path).collect());
        let mut out = Vec::new();
        for number in numbers {
            if let Some(path) = self.path(number, false) {
                handle::retain::<PathObject>(path.meta.handle())?;
                out.push(path.meta.handle());
            }
        }
        Ok(out)
    }

    // ------------------------------------------------------------------------------------------ looking

    pub fn describe(&self) -> wb_conn_desc {
        let (state, conn) = match &*self.phase.lock() {
            Phase::Idle => (WB_CONN_IDLE, None),
            Phase::Resolving => (WB_CONN_HANDSHAKE, None),
            Phase::Running { conn, .. } => (WB_CONN_HANDSHAKE, Some(Arc::clone(conn))),
            Phase::Over => (WB_CONN_CLOSED, None),
        };
        let mut desc = wb_conn_desc {
            struct_size: size_of::<wb_conn_desc>() as u32,
            state,
            side: if self.side.is_client() { WB_SIDE_CLIENT } else { WB_SIDE_SERVER },
            version: 0,
            cipher: self.cipher.load(Ordering::Acquire),
            resumed: 0,
            early_data: 0,
            http3: 0,
            retried: 0,
            reserved: 0,
            max_datagram: 0,
            local: wb_addr::default(),
            remote: wb_addr::default(),
            alpn_len: 0,
            server_name_len: 0,
            alpn: [0; 32],
            server_name: [0; 256],
        };
        let Some(conn) = conn else { return desc };
        let local = conn.local_addr();
        conn.inspect(|s| fill_desc(&mut desc, s, local));
        desc
    }

    pub fn counters(&self) -> wb_conn_counters {
        let mut out =
            wb_conn_counters { struct_size: size_of::<wb_conn_counters>() as u32, ..wb_conn_counters::default() };
        let Some(conn) = self.any_wire() else { return out };
        let s = conn.inspect(|s| s.connection.stats());
        out.bytes_sent = s.bytes_sent;
        out.bytes_received = s.bytes_received;
        out.packets_sent = s.packets_sent;
        out.packets_received = s.packets_received;
        out.packets_lost = s.packets_lost;
        out.datagrams_sent = s.datagrams_sent;
        out.datagrams_received = s.datagrams_received;
        out.handshake_ns = self.handshake.load(Ordering::Acquire);
        out.rtt_ns = crate::base::time::nanos(s.rtt_smoothed);
        out.rtt_min_ns = crate::base::time::nanos(s.rtt_min);
        out.rtt_latest_ns = crate::base::time::nanos(s.rtt_latest);
        out.congestion_window = s.congestion_window;
        out.bytes_in_flight = s.bytes_in_flight;
        out.mtu = s.mtu;
        out.migrations = s.migrations;
        out.key_updates = s.key_updates;
        out
    }
}

fn fill_desc(desc: &mut wb_conn_desc, state: &ConnState, local: Option<SocketAddr>) {
    use crate::connection::EarlyData;
    let c = &state.connection;
    if c.is_closed() {
        desc.state = WB_CONN_CLOSED;
    } else if c.is_established() {
        desc.state = WB_CONN_ESTABLISHED;
    }
    desc.version = c.version();
    desc.resumed = u32::from(c.resumed());
    desc.early_data = match c.early_data() {
        EarlyData::None => 0,
        EarlyData::Accepted => 1,
        EarlyData::Rejected => 2,
        EarlyData::Pending => 3,
    };
    desc.http3 = u32::from(state.http3.is_some());
    desc.retried = u32::from(c.stats().retries > 0);
    desc.max_datagram = c.datagram_max_len().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let path = c.path();
    desc.local = path.local.or(local).map(address::public).unwrap_or_default();
    desc.remote = address::public(path.remote);
    if let Some(Ok(alpn)) = c.alpn().map(core::str::from_utf8) {
        desc.alpn_len = super::error::copy_text(&mut desc.alpn, alpn);
    }
    if let Some(name) = c.server_name() {
        desc.server_name_len = super::error::copy_text(&mut desc.server_name, name);
    }
}

/// "local -> remote" of a path, for people.
pub(crate) fn path_text(tuple: &FourTuple, socket: Option<SocketAddr>) -> Vec<u8> {
    match tuple.local.or(socket) {
        Some(local) => format!("{local} -> {}", tuple.remote).into_bytes(),
        None => format!("-> {}", tuple.remote).into_bytes(),
    }
}

/// A path of a connection.
pub(crate) struct PathObject {
    meta: Meta,
    conn: Arc<ConnObject>,
    number: u8,
    /// Last picture: a path that is gone keeps it.
    last: Mutex<wb_path_desc>,
}

impl Object for PathObject {
    const KIND: u32 = WB_KIND_PATH;
}

impl Known for PathObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl PathObject {
    fn unknown(number: u8) -> wb_path_desc {
        wb_path_desc {
            struct_size: size_of::<wb_path_desc>() as u32,
            state: WB_PATH_NEW,
            number: u32::from(number),
            active: 0,
            local: wb_addr::default(),
            remote: wb_addr::default(),
            rtt_ns: 0,
            rtt_min_ns: 0,
            congestion_window: 0,
            bytes_in_flight: 0,
            mtu: 0,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// Remembers what an event said.
    pub fn note(&self, state: u32, tuple: &FourTuple, local: Option<SocketAddr>) {
        let mut last = self.last.lock();
        last.state = state;
        last.local = tuple.local.or(local).map(address::public).unwrap_or_default();
        last.remote = address::public(tuple.remote);
    }

    pub fn describe(&self) -> wb_path_desc {
        let mut last = self.last.lock();
        let Some(conn) = self.conn.any_wire() else { return *last };
        // A path that failed may have left its number to another one.
        if last.state == WB_PATH_FAILED || self.meta.is_closed() {
            last.active = 0;
            return *last;
        }
        let local = conn.local_addr();
        conn.inspect(|s| {
            let Some(now) = s.connection.paths().into_iter().find(|p| p.path == self.number) else { return };
            last.state = if now.validated { WB_PATH_VALID } else { WB_PATH_VALIDATING };
            last.active = u32::from(now.active);
            let bound = if now.active { local } else { None };
            if let Some(local) = now.tuple.local.or(bound) {
                last.local = address::public(local);
            }
            last.remote = address::public(now.tuple.remote);
            last.rtt_ns = crate::base::time::nanos(now.rtt);
            last.mtu = u64::from(now.mtu);
            last.bytes_sent = now.bytes_sent;
            last.bytes_received = now.bytes_received;
            if now.active {
                let stats = s.connection.stats();
                last.rtt_min_ns = crate::base::time::nanos(stats.rtt_min);
                last.congestion_window = stats.congestion_window;
                last.bytes_in_flight = stats.bytes_in_flight;
            }
        });
        *last
    }
}
