//! From the runtime's events to those of the C ABI. Runs on workers, with no lock held.
//!
//! A connection's tag is a counted pointer to its `ConnObject`: made before the runtime can deliver anything, given back
//! with `Drained`, the last event, which comes exactly once. Events of one connection come serially.
use super::abi::{WB_EV_STREAM_READABLE, WB_LOG_DEBUG, WB_LOG_WARN};
use super::conn::ConnObject;
use super::diagnostics::say;
use super::endpoint::EndpointObject;
use super::object::publish;
use super::queue::{MAX_BATCH, at_once};
use super::translate::Recent;
use crate::base::codes;
use crate::base::span::Span;
use crate::runtime::{Conn, ConnEvent, EndpointNotice, IncomingDecision, IncomingInfo, Sink, events::EVENTS_AT_A_TIME};
use std::sync::Arc;

/// What stands before an object that is counted.
const COUNTS: usize = 2 * size_of::<usize>();

/// Where the runtime's endpoint reports.
pub(crate) struct EndpointSink {
    /// A cycle on purpose (object, runtime's endpoint, sink), cut by `EndpointObject::finish`.
    endpoint: Arc<EndpointObject>,
}

impl EndpointSink {
    pub fn new(endpoint: Arc<EndpointObject>) -> Self {
        Self { endpoint }
    }
}

/// The reference that a connection's tag stands for.
pub(crate) fn tag_of(object: &Arc<ConnObject>) -> u64 {
    Arc::into_raw(Arc::clone(object)) as usize as u64
}

/// Gives the tag's reference back.
///
/// # Safety
/// `tag` came from `tag_of` and is used no more.
pub(crate) unsafe fn drop_tag(tag: u64) {
    // SAFETY: the reference was made by Arc::into_raw and is given back once by contract.
    drop(unsafe { Arc::from_raw(tag as usize as *const ConnObject) });
}

fn object_of(conn: &Conn) -> Option<Arc<ConnObject>> {
    let pointer = conn.tag() as usize as *const ConnObject;
    if pointer.is_null() {
        return None;
    }
    // SAFETY: a non-zero tag holds a reference, which only `Drained` gives back, and events come serially.
    unsafe {
        Arc::increment_strong_count(pointer);
        Some(Arc::from_raw(pointer))
    }
}

impl Sink for EndpointSink {
    fn incoming(&self, _endpoint: u64, info: &IncomingInfo) -> IncomingDecision {
        if self.endpoint.wants_retry() && !info.address_validated {
            let remote = info.remote;
            say(self.endpoint.route.gate(), WB_LOG_DEBUG, c"retry", || format!("{remote} is to prove its address"));
            return IncomingDecision::Retry;
        }
        if self.endpoint.ask_admission(info) { IncomingDecision::Later } else { IncomingDecision::Accept }
    }

    fn accepted(&self, conn: &Arc<Conn>) {
        let Some(listener) = self.endpoint.listener() else {
            conn.close(codes::h3::NO_ERROR, b"");
            return;
        };
        let object = ConnObject::incoming(&self.endpoint, &listener, conn);
        if publish(&object, true).is_err() {
            // No handle to be had: the application cannot know of it.
            conn.close(codes::h3::EXCESSIVE_LOAD, b"too many handles");
            return;
        }
        conn.set_tag(tag_of(&object));
        object.announce_incoming();
    }

    fn events_at_a_time(&self, conn: &Arc<Conn>) -> usize {
        // A hand-over to a taker costs two changes of threads, so it gets all that a batch brought.
        let queued = object_of(conn).is_some_and(|object| !object.route.calls_back(WB_EV_STREAM_READABLE));
        if queued { MAX_BATCH } else { EVENTS_AT_A_TIME }
    }

    fn part(&self, conn: &Conn) -> Span {
        // Its count, which comes first, is touched as well.
        Span { at: (conn.tag() as usize).saturating_sub(COUNTS), len: COUNTS + size_of::<ConnObject>() }
    }

    fn deliver(&self, conn: &Arc<Conn>, events: &mut Vec<ConnEvent>) {
        let Some(object) = object_of(conn) else { return };
        object.flush_key_log();
        at_once(events.iter().filter(|event| event.asks()).count(), || {
            let mut recent = Recent::default();
            for event in events.drain(..) {
                if matches!(event, ConnEvent::Drained) {
                    let tag = conn.tag();
                    conn.set_tag(0);
                    object.on_drained(conn);
                    // SAFETY: the last event of the connection; the tag was just forgotten.
                    unsafe { drop_tag(tag) };
                } else {
                    object.on_event(conn, event, &mut recent);
                }
            }
        });
    }

    fn log(&self, conn: &Arc<Conn>, records: &[u8]) {
        if let Some(object) = object_of(conn) {
            object.on_log(conn, records);
        }
    }

    fn endpoint(&self, _endpoint: u64, notice: EndpointNotice) {
        match notice {
            EndpointNotice::SocketError { local, os_error } => self.endpoint.socket_error(local, os_error),
            EndpointNotice::Load(news) => self.endpoint.tell_load(news),
            // The connection goes on; the missing file speaks for itself.
            EndpointNotice::LogError { os_error } => say(self.endpoint.route.gate(), WB_LOG_WARN, c"qlog", || {
                format!("cannot write a log: {}", std::io::Error::from_raw_os_error(os_error))
            }),
            EndpointNotice::Closed => self.endpoint.finish(),
        }
    }
}
