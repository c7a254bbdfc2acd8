//! `wb_counters`: numbers for whoever watches over a server.
use super::abi::*;
use super::args;
use super::counter_keys::*;
use super::endpoint::EndpointObject;
use super::error::fence;
use super::handle;
use super::runtime::RuntimeObject;
use super::status::*;
use crate::runtime::counters::Counter;

/// The keys of the header are places in the runtime's list.
macro_rules! same {
    ($($key:ident = $counter:ident),+ $(,)?) => {
        $(const _: () = assert!($key as usize == Counter::$counter as usize);)+
    };
}
same!(
    WB_COUNTER_DATAGRAMS_RECEIVED = DatagramsReceived,
    WB_COUNTER_BYTES_RECEIVED = BytesReceived,
    WB_COUNTER_DATAGRAMS_SENT = DatagramsSent,
    WB_COUNTER_BYTES_SENT = BytesSent,
    WB_COUNTER_SEND_BLOCKED = SendBlocked,
    WB_COUNTER_SEND_FAILED = SendFailed,
    WB_COUNTER_CONNS_NOW = ConnsNow,
    WB_COUNTER_CONNS_ACCEPTED = ConnsAccepted,
    WB_COUNTER_CONNS_STARTED = ConnsStarted,
    WB_COUNTER_HANDSHAKES_NOW = HandshakesNow,
    WB_COUNTER_HANDSHAKES_DONE = HandshakesDone,
    WB_COUNTER_HANDSHAKES_FAILED = HandshakesFailed,
    WB_COUNTER_CONNS_REFUSED = ConnsRefused,
    WB_COUNTER_RETRIES_SENT = RetriesSent,
    WB_COUNTER_VERSION_NEGOTIATIONS_SENT = VersionNegotiationsSent,
    WB_COUNTER_RESETS_SENT = ResetsSent,
    WB_COUNTER_TOKENS_INVALID = TokensInvalid,
    WB_COUNTER_TOKENS_ACCEPTED = TokensAccepted,
    WB_COUNTER_DROPPED_MALFORMED = DroppedMalformed,
    WB_COUNTER_DROPPED_SMALL_INITIAL = DroppedSmallInitial,
    WB_COUNTER_DROPPED_SHORT_DCID = DroppedShortDcid,
    WB_COUNTER_DROPPED_NOT_AUTHENTIC = DroppedNotAuthentic,
    WB_COUNTER_DROPPED_UNKNOWN = DroppedUnknown,
    WB_COUNTER_DROPPED_FULL = DroppedFull,
    WB_COUNTER_DROPPED_RATE_LIMITED = DroppedRateLimited,
);

/// Counters of an endpoint, or of a runtime: the sum of its endpoints, also of those that have ended and of those that
/// `wb_client_connect` makes. `out[i]` gets that of the key `first_key + i` (`WB_COUNTER_*`); keys that this library does not
/// know give 0, so that a program of a newer header works. They stay readable after the end. Those of one worker are of one
/// moment; what a connection sends is added when its turn ends.
///
/// Ownership: the caller's memory is filled. Threads: any. Blocks: never, and waits for no code of the application.
/// Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_counters(handle: wb_handle, first_key: u32, out: *mut u64, n: usize) -> wb_status {
    fence(|| {
        let counters = match handle::claimed_kind(handle) {
            WB_KIND_RUNTIME => handle::get::<RuntimeObject>(handle)?.counters(),
            // Any other kind gets its complaint from the look-up.
            _ => handle::get::<EndpointObject>(handle)?.counters(),
        };
        // SAFETY: writable by contract.
        let out = unsafe { args::slice_mut(out, n, "counters")? };
        let known = counters.all().get(first_key as usize..).unwrap_or(&[]);
        for (place, value) in out.iter_mut().zip(known.iter().copied().chain(core::iter::repeat(0))) {
            *place = value;
        }
        Ok(WB_OK)
    })
}
