//! What endpoints have done so far, in numbers.
//!
//! What comes in and what the protocol part does is counted under the part's lock, which is taken for it anyway; what goes out is
//! added once per turn of a connection. Invariant: reading them takes each part's lock for some loads only, and counts are
//! never taken back but for those that say how many there are now.
use super::endpoint::{EndpointHandle, Part};
use crate::base::sync::{AtomicU64, Ordering};

/// What is counted; the number of each is its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Counter {
    DatagramsReceived,
    BytesReceived,
    DatagramsSent,
    BytesSent,
    SendBlocked,
    SendFailed,
    ConnsNow,
    ConnsAccepted,
    ConnsStarted,
    HandshakesNow,
    HandshakesDone,
    HandshakesFailed,
    ConnsRefused,
    RetriesSent,
    VersionNegotiationsSent,
    ResetsSent,
    TokensInvalid,
    TokensAccepted,
    DroppedMalformed,
    DroppedSmallInitial,
    DroppedShortDcid,
    DroppedNotAuthentic,
    DroppedUnknown,
    DroppedFull,
    DroppedRateLimited,
}

/// How many there are.
pub const COUNTERS: usize = Counter::DroppedRateLimited as usize + 1;

/// All of them, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; COUNTERS]);

impl Counters {
    /// In the order of [`Counter`].
    #[must_use]
    pub const fn all(&self) -> &[u64; COUNTERS] {
        &self.0
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, more) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(more);
        }
    }

    /// What remains of an endpoint that has ended: nothing exists any more.
    #[must_use]
    pub fn ended(mut self) -> Self {
        self.set(Counter::ConnsNow, 0);
        self.set(Counter::HandshakesNow, 0);
        self
    }

    fn set(&mut self, counter: Counter, value: u64) {
        if let Some(place) = self.0.get_mut(counter as usize) {
            *place = value;
        }
    }
}

/// What a worker has sent for its part of an endpoint. Written by that worker only.
#[derive(Default)]
pub(super) struct Sent {
    datagrams: AtomicU64,
    bytes: AtomicU64,
    blocked: AtomicU64,
    failed: AtomicU64,
}

/// What one turn of a connection, or one answer, adds to it.
#[derive(Clone, Copy, Default)]
pub(super) struct SentNow {
    pub datagrams: u64,
    pub bytes: u64,
    pub blocked: u64,
    pub failed: u64,
}

impl SentNow {
    /// A batch of equal datagrams.
    pub fn batch(&mut self, len: usize, segment: Option<usize>) {
        let datagrams = segment.map_or(1, |s| len.div_ceil(s.max(1)));
        self.datagrams = self.datagrams.saturating_add(datagrams as u64);
        self.bytes = self.bytes.saturating_add(len as u64);
    }
}

impl Sent {
    pub fn add(&self, now: &SentNow) {
        for (total, more) in [
            (&self.datagrams, now.datagrams),
            (&self.bytes, now.bytes),
            (&self.blocked, now.blocked),
            (&self.failed, now.failed),
        ] {
            if more > 0 {
                total.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

fn of_part(part: &Part) -> Counters {
    let mut out = Counters::default();
    let (stats, here, handshaking) = {
        let core = part.core.lock();
        (*core.endpoint.stats(), core.endpoint.connection_count(), core.endpoint.pending_count())
    };
    let sent = &part.sent;
    out.set(Counter::DatagramsReceived, stats.datagrams_received);
    out.set(Counter::BytesReceived, stats.bytes_received);
    out.set(Counter::DatagramsSent, sent.datagrams.load(Ordering::Relaxed));
    out.set(Counter::BytesSent, sent.bytes.load(Ordering::Relaxed));
    out.set(Counter::SendBlocked, sent.blocked.load(Ordering::Relaxed));
    out.set(Counter::SendFailed, sent.failed.load(Ordering::Relaxed));
    out.set(Counter::ConnsNow, here as u64);
    out.set(Counter::ConnsAccepted, stats.accepted);
    out.set(Counter::ConnsStarted, stats.started);
    out.set(Counter::HandshakesNow, handshaking as u64);
    out.set(Counter::HandshakesDone, stats.handshakes_done);
    out.set(Counter::HandshakesFailed, stats.handshakes_failed);
    out.set(Counter::ConnsRefused, stats.refused);
    out.set(Counter::RetriesSent, stats.retries_sent);
    out.set(Counter::VersionNegotiationsSent, stats.version_negotiations_sent);
    out.set(Counter::ResetsSent, stats.resets_sent);
    out.set(Counter::TokensInvalid, stats.invalid_tokens);
    out.set(Counter::TokensAccepted, stats.validated_by_token);
    for (place, dropped) in out.0.iter_mut().skip(Counter::DroppedMalformed as usize).zip(stats.dropped) {
        *place = dropped;
    }
    out
}

impl EndpointHandle {
    /// What the endpoint has done so far, on all of its workers. Also after its end.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for part in &self.inner().parts {
            sum.add(&of_part(part));
        }
        sum
    }
}
