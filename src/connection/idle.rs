//! Idle timeout and keep-alive (RFC 9000 section 10.1).
use core::time::Duration;

use super::Connection;
use super::timers::Timer;
use super::transmit::SMALL_PACKET;
use crate::base::time::nanos;
use crate::base::{SpaceId, Timestamp};

/// RFC 9000 section 10.1: the idle timeout is at least three PTOs.
const IDLE_PTOS: u32 = 3;
/// Tests whether the peer is alive in the second half of the idle timeout.
const TESTS: u32 = 16;
/// What was sent so long ago is given up then: the last four of them keep their place in the least window.
const TESTS_IN_FLIGHT: u32 = 4;

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

    /// The timeout has changed: silence counts from now.
    pub(super) fn restart(&mut self) {
        self.sent = true;
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

    /// The same, but not less than some probe timeouts.
    fn patience(&self) -> Option<Duration> {
        let timeout = if self.ends_early() { Some(self.cfg.end_after_silence) } else { self.idle_timeout() };
        timeout.map(|t| t.max(self.pto().saturating_mul(IDLE_PTOS)))
    }

    /// Something of ours is unacknowledged, or a handshake goes on.
    fn waits_for_peer(&self) -> bool {
        !self.is_confirmed() || self.recovery.has_eliciting_in_flight(SpaceId::Data)
    }

    /// RFC 9000 section 10.1.2: a packet tests "the connection for liveness if the peer could time out soon". Probe
    /// timeouts double (RFC 9002 section 6.2.1): with loss in both directions, the few that fit into the idle timeout may
    /// all be in vain although the network works. A test keeps to the congestion window, for which the oldest packets are
    /// given up, and is as far from the next one as a probe timeout at least.
    pub(super) fn test_liveness(&mut self, now: Timestamp) {
        let Some(patience) = self.patience().filter(|_| self.waits_for_peer()) else { return };
        let gap = (patience / (2 * TESTS)).max(self.pto());
        self.timers.set(Timer::Liveness, Some(now + gap));
        self.give_up(Timestamp(now.0.saturating_sub(nanos(gap.saturating_mul(TESTS_IN_FLIGHT)))), now);
        let active = self.paths.active();
        let size = if self.in_vain() { SMALL_PACKET } else { usize::from(active.mtu()) } as u64;
        let mut room = active.recovery.congestion_room();
        self.show_address();
        self.control.expired = false;
        for space in [SpaceId::Initial, SpaceId::Handshake, SpaceId::Data] {
            if room >= size && self.owes_probe(space) {
                room -= size;
                self.probe(space, 1, now);
            }
        }
    }

    /// We end the connection before the timeout that both sides agreed on; the peer has to be told then.
    pub(super) fn ends_early(&self) -> bool {
        let limit = self.cfg.end_after_silence;
        !limit.is_zero() && self.idle_timeout().is_none_or(|agreed| limit < agreed)
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
        let patience = self.patience();
        self.timers.set(Timer::Idle, patience.map(|t| now + t));
        let test = if self.waits_for_peer() { patience.map(|t| now + t / 2) } else { None };
        self.timers.set(Timer::Liveness, test);
        if received && !self.cfg.keep_alive.is_zero() && self.life.is_complete() {
            self.timers.set(Timer::KeepAlive, Some(now + self.cfg.keep_alive));
        }
    }
}
