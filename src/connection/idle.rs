//! Idle timeout and keep-alive (RFC 9000 section 10.1).
use core::time::Duration;

use super::Connection;
use super::timers::Timer;
use crate::base::Timestamp;

/// RFC 9000 section 10.1: the idle timeout is at least three PTOs.
const IDLE_PTOS: u32 = 3;

/// What restarts the idle timer.
#[derive(Default)]
pub(super) struct Idle {
    /// A packet was processed since the timer was set.
    received: bool,
    /// An ack-eliciting packet was sent since the last packet was processed.
    sent_since_received: bool,
    /// Such a packet was the first and the timer has not been set for it yet.
    sent: bool,
}

impl Idle {
    pub(super) fn on_received(&mut self) {
        self.received = true;
        self.sent_since_received = false;
    }

    /// An ack-eliciting packet was sent: the first one after a reception restarts the timer.
    pub(super) fn on_sent(&mut self) {
        if !self.sent_since_received {
            self.sent_since_received = true;
            self.sent = true;
        }
    }
}

impl Connection {
    /// Both sides' values count; the smaller one that is not zero.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        let (ours, theirs) = (self.cfg.idle_timeout, self.peer.idle_timeout);
        match (ours.is_zero(), theirs.is_zero()) {
            (true, true) => None,
            (true, false) => Some(theirs),
            (false, true) => Some(ours),
            (false, false) => Some(ours.min(theirs)),
        }
    }

    /// Once per batch.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.1
    //# To avoid excessively small idle timeout periods, endpoints MUST increase the idle timeout period to be at least
    //# three times the current Probe Timeout (PTO).
    pub(super) fn settle_idle(&mut self, now: Timestamp) {
        if !(self.idle.received || self.idle.sent) {
            return;
        }
        let received = self.idle.received;
        self.idle.received = false;
        self.idle.sent = false;
        let at = self.idle_timeout().map(|t| now + t.max(self.pto().saturating_mul(IDLE_PTOS)));
        self.timers.set(Timer::Idle, at);
        if received && !self.cfg.keep_alive.is_zero() && self.life.is_complete() {
            self.timers.set(Timer::KeepAlive, Some(now + self.cfg.keep_alive));
        }
    }
}
