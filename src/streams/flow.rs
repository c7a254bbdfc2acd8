//! Flow-control credit in both directions (RFC 9000 sections 4.1, 4.2), for one stream or the whole connection.
//!
//! Receiving: credit is renewed when half of the window is consumed; a window that is used up within two round
//! trips doubles, up to its ceiling, so that memory follows demand and nobody can inflate it without consuming
//! (the reader's pace, not the peer's offsets, drives growth). Sending: credit never shrinks.
//! Invariant: `consumed <= received <= advertised`, and `advertised - consumed <= size`, which is the memory bound.
use core::time::Duration;

use crate::base::Timestamp;

/// Until the connection has an RTT sample (RFC 9002 section 6.2.2).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);

/// What the peer may send us.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveWindow {
    /// Largest offset or sum that the peer may reach; what the last MAX_* frame said or will say.
    advertised: u64,
    /// Highest offset, or sum of them, that the peer has reached.
    received: u64,
    /// Taken by the application or thrown away.
    consumed: u64,
    size: u64,
    ceiling: u64,
    /// When credit was last renewed; `ZERO` before the first byte.
    renewed: Timestamp,
}

/// The peer went beyond its credit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded;

impl ReceiveWindow {
    #[must_use]
    pub const fn new(size: u64, ceiling: u64) -> Self {
        let ceiling = if ceiling < size { size } else { ceiling };
        Self { advertised: size, received: 0, consumed: 0, size, ceiling, renewed: Timestamp::ZERO }
    }

    #[must_use]
    pub const fn advertised(&self) -> u64 {
        self.advertised
    }

    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    #[must_use]
    pub const fn consumed(&self) -> u64 {
        self.consumed
    }

    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether `more` bytes are within the credit.
    ///
    /// # Errors
    /// They are not (RFC 9000 section 4.1: FLOW_CONTROL_ERROR).
    pub fn check(&self, more: u64) -> Result<(), Exceeded> {
        match self.received.checked_add(more) {
            Some(sum) if sum <= self.advertised => Ok(()),
            _ => Err(Exceeded),
        }
    }

    /// `more` bytes were received; the caller has checked them.
    pub fn on_received(&mut self, more: u64, now: Timestamp) {
        self.received = self.received.saturating_add(more);
        if self.renewed == Timestamp::ZERO {
            self.renewed = now;
        }
    }

    /// `n` bytes were consumed; true if credit should be renewed now.
    #[must_use]
    pub fn on_consumed(&mut self, n: u64) -> bool {
        self.consumed = self.consumed.saturating_add(n);
        self.wants_renewal()
    }

    /// Credit of `n` bytes that were consumed is not given back yet: the application will say when.
    pub fn withhold(&mut self, n: u64) {
        self.consumed = self.consumed.saturating_sub(n);
    }

    /// Gives withheld credit back, never more than there is; true if credit should be renewed now.
    #[must_use]
    pub fn give_back(&mut self, n: u64) -> bool {
        self.on_consumed(n.min(self.received.saturating_sub(self.consumed)))
    }

    /// Half of the window is used up (RFC 9000 section 4.2: often enough to never stall the sender, not more).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-4.2
    //# Therefore, a receiver MUST NOT wait for a STREAM_DATA_BLOCKED or DATA_BLOCKED frame before sending a
    //# MAX_STREAM_DATA or MAX_DATA frame; doing so could result in the sender being blocked for the rest of the
    //# connection.
    #[must_use]
    pub const fn wants_renewal(&self) -> bool {
        self.advertised.saturating_sub(self.consumed) <= self.size / 2
    }

    /// Any renewal would help a peer that says it is blocked.
    #[must_use]
    pub const fn could_renew(&self) -> bool {
        self.consumed.saturating_add(self.size) > self.advertised
    }

    /// Decides the next limit; grows the window when the last one was used up within two round trips.
    pub fn renew(&mut self, now: Timestamp, rtt: Duration) -> u64 {
        let quick = self.renewed != Timestamp::ZERO && now.since(self.renewed) < rtt.saturating_mul(2);
        if quick && self.wants_renewal() {
            self.size = self.size.saturating_mul(2).min(self.ceiling);
        }
        self.renewed = now;
        self.advertised = self.advertised.max(self.consumed.saturating_add(self.size)).min(crate::wire::varint::MAX);
        self.advertised
    }

    /// Makes the window at least so large, whatever its ceiling was; the next renewal says so to the peer.
    pub fn grow(&mut self, size: u64) {
        self.ceiling = self.ceiling.max(size);
        self.size = self.size.max(size);
    }

    /// Keeps the connection's window ahead of its largest stream's, so that one stream cannot starve the others.
    pub fn at_least(&mut self, size: u64) {
        self.size = self.size.max(size.min(self.ceiling));
    }
}

/// What the peer allows us to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendCredit {
    limit: u64,
    used: u64,
    /// The limit at which we said that we are blocked, plus one (0: never).
    reported: u64,
}

impl SendCredit {
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    #[must_use]
    pub const fn available(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// True if that is more than before; a smaller limit is ignored (RFC 9000 section 4.1).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.3
    //# A receiver MUST accept packets containing an outdated frame, such as a MAX_DATA frame carrying a smaller maximum
    //# data value than one found in an older packet.
    pub fn raise(&mut self, limit: u64) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-4.1
        //# A sender MUST ignore any MAX_STREAM_DATA or MAX_DATA frames that do not increase flow control limits.
        let more = limit > self.limit;
        self.limit = self.limit.max(limit);
        more
    }

    pub fn spend(&mut self, n: u64) {
        self.used = self.used.saturating_add(n);
    }

    /// True once per limit: time for a *_BLOCKED frame (RFC 9000 section 4.1).
    #[must_use]
    pub fn report_blocked(&mut self) -> bool {
        let fresh = self.available() == 0 && self.reported != self.limit.saturating_add(1);
        if fresh {
            self.reported = self.limit.saturating_add(1);
        }
        fresh
    }

    /// The frame that said so was lost, or is still unsent: is it still true?
    #[must_use]
    pub const fn still_blocked(&self) -> bool {
        self.available() == 0 && self.reported == self.limit.saturating_add(1)
    }

    /// Back to nothing sent and nothing allowed (0-RTT rejected).
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
