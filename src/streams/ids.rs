//! Which streams exist, by count (RFC 9000 sections 2.1, 3 and 4.6): ours, and the peer's.
//!
//! A frame for stream n opens every lower-numbered stream of its kind. Those are only noted as a range here and get
//! memory when something arrives for them, so opening the highest allowed stream costs the same as the first.
//! Invariant: `dormant` lies below `next`; a stream below `next` that is neither dormant nor in the table is closed.
//! The peer has at most `concurrent` streams that we have not let go of.
use crate::base::codes::transport::STREAM_LIMIT_ERROR;
use crate::base::{StreamId, TransportError};
use crate::collections::RangeSet;
use crate::wire::frame::MAX_STREAM_COUNT;

/// Streams of one kind that a peer may have open at a time, whatever the configuration says: each costs some
/// hundred bytes as soon as it is used.
pub const MAX_CONCURRENT: u64 = 1 << 20;

/// Streams of one direction that we open.
#[derive(Debug, Default)]
pub struct LocalIds {
    next: u64,
    limit: u64,
    /// The limit at which STREAMS_BLOCKED was queued, plus one.
    reported: u64,
    /// The application was refused a stream and wants to hear about more.
    pub refused: bool,
}

impl LocalIds {
    /// Index of the next stream, if the peer allows it.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.11
    //# An endpoint MUST NOT open more streams than permitted by the current stream limit set by its peer.
    pub fn open(&mut self) -> Option<u64> {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-2.1
        //# A QUIC endpoint MUST NOT reuse a stream ID within a connection.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
        //# Endpoints MUST NOT exceed the limit set by their peer.
        (self.next < self.limit).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// `index` was opened.
    #[must_use]
    pub const fn exists(&self, index: u64) -> bool {
        index < self.next
    }

    /// True if the limit grew; smaller values are ignored (RFC 9000 section 4.6).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.11
    //# MAX_STREAMS frames that do not increase the stream limit MUST be ignored.
    pub fn raise(&mut self, limit: u64) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
        //# MAX_STREAMS frames that do not increase the stream limit MUST be ignored.
        let more = limit > self.limit;
        self.limit = self.limit.max(limit.min(MAX_STREAM_COUNT));
        more
    }

    /// True once per limit: STREAMS_BLOCKED is due.
    #[must_use]
    pub fn report_blocked(&mut self) -> bool {
        let fresh = self.reported != self.limit.saturating_add(1);
        self.reported = self.limit.saturating_add(1);
        fresh
    }

    /// A lost STREAMS_BLOCKED is still true.
    #[must_use]
    pub const fn still_blocked(&self) -> bool {
        self.next >= self.limit && self.reported == self.limit.saturating_add(1)
    }

    /// 0-RTT was rejected: the remembered limit is void.
    pub fn restart(&mut self) {
        (self.limit, self.reported) = (0, 0);
    }
}

/// What is known of a stream that the peer opened or would open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemoteState {
    /// Exists from now on, and has no memory yet: make it.
    Fresh,
    /// Look it up; if it is not in the table it is closed.
    Known,
}

/// Streams of one direction that the peer opens.
#[derive(Debug)]
pub struct RemoteIds {
    next: u64,
    /// What the last MAX_STREAMS said or will say.
    limit: u64,
    concurrent: u64,
    closed: u64,
    /// Opened by a higher-numbered stream, not used so far. At most `concurrent` numbers.
    dormant: RangeSet,
}

impl RemoteIds {
    #[must_use]
    pub fn new(concurrent: u64) -> Self {
        let concurrent = concurrent.min(MAX_CONCURRENT);
        Self { next: 0, limit: concurrent, concurrent, closed: 0, dormant: RangeSet::new() }
    }

    /// A frame names this stream.
    ///
    /// # Errors
    /// RFC 9000 section 4.6: a stream beyond the limit is a STREAM_LIMIT_ERROR.
    pub fn touch(&mut self, id: StreamId) -> Result<RemoteState, TransportError> {
        let index = id.index();
        if index < self.next {
            let fresh = !self.dormant.is_empty() && self.dormant.remove(index..index + 1);
            return Ok(if fresh { RemoteState::Fresh } else { RemoteState::Known });
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
        //# An endpoint that receives a frame with a stream ID exceeding the limit it has sent MUST treat this as a
        //# connection error of type STREAM_LIMIT_ERROR; see Section 11 for details on error handling.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.11
        //# An endpoint MUST terminate a connection with an error of type STREAM_LIMIT_ERROR if a peer opens more
        //# streams than was permitted.
        if index >= self.limit {
            return Err(TransportError::new(STREAM_LIMIT_ERROR, "peer opened more streams than allowed"));
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-3.2
        //# Before a stream is created, all streams of the same type with lower- numbered stream IDs MUST be created.
        self.dormant.insert(self.next..index);
        self.next = index + 1;
        Ok(RemoteState::Fresh)
    }

    /// We have forgotten one of them; true if it is time to allow more. An eighth of the count is saved up first, so
    /// that short streams do not cost a frame each.
    #[must_use]
    pub fn on_closed(&mut self) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
        //# An endpoint MUST NOT wait to receive this signal before advertising additional credit, since doing so will
        //# mean that the peer will be blocked for at least an entire round trip, and potentially indefinitely if the
        //# peer chooses not to send STREAMS_BLOCKED frames.
        self.closed = self.closed.saturating_add(1);
        self.closed.saturating_add(self.concurrent).saturating_sub(self.limit) >= (self.concurrent / 8).max(1)
    }

    /// More could be allowed now.
    #[must_use]
    pub const fn could_renew(&self) -> bool {
        self.closed.saturating_add(self.concurrent) > self.limit
    }

    /// Raises how many may be open at a time; false if that is fewer than before.
    #[must_use]
    pub fn allow(&mut self, concurrent: u64) -> bool {
        let concurrent = concurrent.min(MAX_CONCURRENT);
        let grows = concurrent >= self.concurrent;
        self.concurrent = self.concurrent.max(concurrent);
        grows
    }

    /// The new limit for a MAX_STREAMS frame.
    pub fn renew(&mut self) -> u64 {
        self.limit = self.limit.max(self.closed.saturating_add(self.concurrent).min(MAX_STREAM_COUNT));
        self.limit
    }
}

#[cfg(test)]
mod tests;
