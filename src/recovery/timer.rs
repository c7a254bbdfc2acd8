//! The loss detection timer (RFC 9002 sections 6.1.2 and 6.2, appendix A.8 and A.9).
use super::space::Space;
use super::{PathLookup, Recovery, SentSink};
use crate::base::time::nanos;
use crate::base::{SpaceId, Timestamp};
use core::time::Duration;

/// Doublings of the PTO after which it stays: the idle timeout ends the connection long before.
const MAX_BACKOFF: u32 = 20;
/// Quiet time after which spare memory goes back (the budget of an idle connection). Not longer: in a rush of new
/// connections all of the last QUIET hold it at once, and the holes that they leave stay with the process.
const QUIET: Duration = Duration::from_millis(250);

/// Probe timeouts in a row after which an unproven path is no longer marked: three PTOs with backoff.
const ECN_PATIENCE: u32 = 2;

/// What the connection knows and the timer needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PtoContext {
    pub handshake_confirmed: bool,
    /// The peer is known to have validated our address (always true at a server).
    pub peer_completed_validation: bool,
    pub has_handshake_keys: bool,
    /// The server may not send until more bytes arrive (RFC 9000 section 8.1).
    pub amplification_blocked: bool,
    /// The peer's max_ack_delay.
    pub max_ack_delay: Duration,
    /// The owner holds memory that a quiet connection does not need.
    pub has_spare: bool,
}

impl Default for PtoContext {
    fn default() -> Self {
        Self {
            handshake_confirmed: false,
            peer_completed_validation: false,
            has_handshake_keys: false,
            amplification_blocked: false,
            max_ack_delay: Duration::from_millis(25),
            has_spare: false,
        }
    }
}

/// What the armed timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    Off,
    Loss(SpaceId, Timestamp),
    Probe(SpaceId, Timestamp),
    /// Nothing in flight at an unvalidated client, or only data that no timer guards before confirmation.
    Deadlock(SpaceId, Timestamp),
    /// Nothing in flight at all: spare memory can go.
    Quiet(Timestamp),
}

/// What the connection must do after [`Recovery::on_deadline`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeoutAction {
    /// Packets were declared lost; their frames are back with their owners.
    Lost,
    /// Send `packets` ack-eliciting packets in `space`, congestion window or not (RFC 9002 section 7.5).
    Probe {
        space: SpaceId,
        packets: u8,
    },
    Nothing,
}

impl Recovery {
    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        match self.timer {
            Timer::Off => None,
            Timer::Loss(_, at) | Timer::Probe(_, at) | Timer::Deadlock(_, at) | Timer::Quiet(at) => Some(at),
        }
    }

    /// Sets the timer anew: after every batch received or sent, and when the context changed.
    pub fn rearm(&mut self, now: Timestamp, context: PtoContext, paths: &mut impl PathLookup) {
        self.context = context;
        self.timer = self.next_timer(now, paths);
    }

    fn next_timer(&mut self, now: Timestamp, paths: &mut impl PathLookup) -> Timer {
        //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
        //# The PTO timer MUST NOT be set if a timer is set for time threshold loss detection; see Section 6.1.2.
        if let Some((at, space)) = self.spaces().filter_map(|s| Some((s.loss_time?, s.id))).min() {
            return Timer::Loss(space, at);
        }
        //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2.1
        //# If no additional data can be sent, the server's PTO timer MUST NOT be armed until datagrams have been
        //# received from the client because packets sent on PTO count against the anti-amplification limit.
        if self.context.amplification_blocked {
            return Timer::Off;
        }
        let mut best: Option<(Timestamp, SpaceId)> = None;
        for space in self.spaces().filter(|s| s.eliciting > 0) {
            // RFC 9002 section 6.2.1: MUST NOT be set for Application Data until the handshake is confirmed.
            let delay = match space.id {
                //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
                //# An endpoint MUST NOT set its PTO timer for the Application Data packet number space until the
                //# handshake is confirmed.
                SpaceId::Data if !self.context.handshake_confirmed => continue,
                SpaceId::Data => self.context.max_ack_delay,
                SpaceId::Initial | SpaceId::Handshake => Duration::ZERO,
            };
            let since = match self.counts_from {
                _ if space.id != SpaceId::Data => space.last_eliciting_at,
                from => from.unwrap_or(space.last_eliciting_at).max(self.fired_at),
            };
            let at = since + self.backed_off(pto(space.last_eliciting_path, delay, paths));
            //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
            //# When ack-eliciting packets in multiple packet number spaces are in flight, the timer MUST be set to the
            //# earlier value of the Initial and Handshake packet number spaces.
            if best.is_none_or(|(earliest, _)| at < earliest) {
                best = Some((at, space.id));
            }
        }
        if let Some((at, space)) = best {
            self.deadlock_since = None;
            return Timer::Probe(space, at);
        }
        // Data sent before confirmation has no timer of its own, may fill the window, and is acknowledged only once
        // the handshake is complete at the peer: a CRYPTO frame that waits for window would wait for ever.
        let data_waits = !self.context.handshake_confirmed && self.data.eliciting > 0;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
        //# To prevent this deadlock, clients MUST send a packet on a Probe Timeout (PTO); see Section 6.2 of
        //# [QUIC-RECOVERY].
        //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2.1
        //# That is, the client MUST set the PTO timer if the client has not received an acknowledgment for any of its
        //# Handshake packets and the handshake is not confirmed (see Section 4.1.2 of [QUIC-TLS]), even if there are no
        //# packets in flight.
        // Until it is confirmed, and not only until one is acknowledged: a server that has seen us at another address since
        // then may wait for bytes of ours again.
        let client_waits = !(self.context.peer_completed_validation || self.context.handshake_confirmed);
        if client_waits || !self.peer_completed_validation() || data_waits {
            // RFC 9002 section 6.2.2.1: the server may wait for bytes of ours before it can send at all.
            let since = *self.deadlock_since.get_or_insert(now);
            //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
            //# Specifically, the client MUST send an Initial packet in a UDP datagram that contains at least 1200 bytes
            //# if it does not have Handshake keys, and otherwise send a Handshake packet.
            //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2.1
            //# When the PTO fires, the client MUST send a Handshake packet if it has Handshake keys, otherwise it MUST
            //# send an Initial packet in a UDP datagram with a payload of at least 1200 bytes.
            let space = if self.context.has_handshake_keys { SpaceId::Handshake } else { SpaceId::Initial };
            return Timer::Deadlock(space, since + self.backed_off(pto(self.last_path, Duration::ZERO, paths)));
        }
        self.deadlock_since = None;
        if self.context.has_spare || self.spaces().any(Space::has_spare) {
            Timer::Quiet(now + QUIET)
        } else {
            Timer::Off
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.1
    //# When a PTO timer expires, the PTO backoff MUST be increased, resulting in the PTO period being set to twice its
    //# current value.
    fn count_timeout(&mut self, path: u8, paths: &mut impl PathLookup) {
        self.pto_count = self.pto_count.saturating_add(1);
        if self.pto_count >= ECN_PATIENCE
            && let Some(path) = paths.recovery(path)
        {
            path.ecn.on_repeated_timeout();
        }
    }

    fn backed_off(&self, pto: Duration) -> Duration {
        Duration::from_nanos(nanos(pto).saturating_mul(1 << self.pto_count.min(MAX_BACKOFF)))
    }

    /// The current probe timeout of a path without backoff; the unit of many of RFC 9000's timers.
    pub fn pto(&self, path: u8, paths: &mut impl PathLookup) -> Duration {
        pto(path, self.context.max_ack_delay, paths)
    }

    /// The timer fired (or not yet: then nothing happens).
    pub fn on_deadline(
        &mut self,
        now: Timestamp,
        paths: &mut impl PathLookup,
        sink: &mut impl SentSink,
    ) -> TimeoutAction {
        if self.deadline().is_none_or(|at| now < at) {
            return TimeoutAction::Nothing;
        }
        let action = match self.timer {
            Timer::Off => TimeoutAction::Nothing,
            Timer::Loss(space, _) => {
                let max_ack_delay = self.context.max_ack_delay;
                if let Some(space) = self.space_mut(0, space) {
                    space.detect_losses(now, max_ack_delay, paths, sink);
                }
                TimeoutAction::Lost
            }
            //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2
            //# A PTO timer expiration event does not indicate packet loss and MUST NOT cause prior unacknowledged
            //# packets to be marked as lost.
            Timer::Probe(space, _) => {
                let path = self.space(0, space).map_or(self.last_path, |s| s.last_eliciting_path);
                self.count_timeout(path, paths);
                self.counts_from = None;
                if space == SpaceId::Data {
                    self.fired_at = now;
                }
                // RFC 9002 section 6.2.4: two, against the loss of one.
                TimeoutAction::Probe { space, packets: 2 }
            }
            Timer::Deadlock(space, _) => {
                self.count_timeout(self.last_path, paths);
                self.deadlock_since = Some(now);
                TimeoutAction::Probe { space, packets: 1 }
            }
            Timer::Quiet(_) => {
                for space in self.early.as_deref_mut().into_iter().flatten() {
                    space.release();
                }
                self.data.release();
                self.context.has_spare = false;
                if let Some(path) = paths.recovery(self.last_path) {
                    path.release();
                }
                TimeoutAction::Nothing
            }
        };
        self.timer = self.next_timer(now, paths);
        action
    }
}

fn pto(path: u8, max_ack_delay: Duration, paths: &mut impl PathLookup) -> Duration {
    // A path that is gone gave its packets up; the default keeps the timer alive.
    paths
        .recovery(path)
        .map_or_else(|| super::Rtt::new(super::INITIAL_RTT).pto(max_ack_delay), |p| p.rtt.pto(max_ack_delay))
}
