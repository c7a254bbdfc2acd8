//! How often the peer acknowledges, and how often we do for it (draft-ietf-quic-ack-frequency-14).
//!
//! A sender with a large window needs no acknowledgement of every second packet: it asks for at least 32 in a round
//! trip, and again when window or round trip have changed by half. Off unless asked for (docs/congestion.md says why). Invariant: one ACK_FREQUENCY frame is in flight at most, and the delay that timers reckon with
//! is never below what the peer may still be using (section 7).
use core::time::Duration;

use super::Connection;
use crate::base::{Timestamp, TransportError, codes::transport};
use crate::recovery::{AckPolicy, FrameToken};
use crate::wire::frame::types;
use crate::wire::{Frame, Writer};

/// What we advertise: our timers do not tell shorter times apart.
pub(super) const MIN_ACK_DELAY: Duration = Duration::from_millis(1);
/// Section 4: requested delays of 2^14 ms and more are invalid.
const MAX_ACK_DELAY_US: u64 = (1 << 14) * 1000;
/// Acknowledgements per round trip that we ask for at least: RFC 9406 wants eight samples, BBR's Startup four, and with
/// eight the window stalls between them where losses are answered (measured, docs/congestion.md).
const PER_ROUND: u64 = 32;
/// The requested delay is this part of the round trip (section 8.1 allows a whole one).
const DELAY_DIVISOR: u32 = 8;
/// Windows below so many datagrams are left to the default.
const MIN_WINDOW: u64 = 64;
/// Largest threshold that we ask for: beyond it there is little left to save.
const MAX_THRESHOLD: u64 = 10;
/// Largest threshold that we obey.
const MAX_OBEYED: u64 = 1 << 16;

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Request {
    threshold: u64,
    delay: Duration,
    reordering: u64,
}

impl Request {
    /// Worth a frame: something changed by half, or loss detection looks at another distance.
    fn differs(&self, other: &Self) -> bool {
        let far =
            |a: u64, b: u64| a > b.saturating_mul(2).saturating_sub(1) || b > a.saturating_mul(2).saturating_sub(1);
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX).max(1);
        far(self.threshold.max(1), other.threshold.max(1))
            || far(micros(self.delay), micros(other.delay))
            || self.reordering != other.reordering
    }
}

/// Our requests; made when the window first gets large.
#[derive(Debug)]
pub(super) struct AckFrequency {
    next_sequence: u64,
    /// Newest request, written or about to be.
    asked: Request,
    pending: bool,
    /// Sequence number and delay of the frame that the peer may have got.
    in_flight: Option<(u64, Duration)>,
    /// What the peer has acknowledged.
    confirmed_delay: Duration,
    not_before: Timestamp,
}

impl AckFrequency {
    pub(super) const fn wants_to_send(&self) -> bool {
        self.pending
    }

    pub(super) fn on_acked(&mut self, sequence: u64) {
        if let Some((newest, delay)) = self.in_flight
            && newest == sequence
        {
            self.confirmed_delay = delay;
            self.in_flight = None;
        }
    }

    pub(super) fn on_lost(&mut self, sequence: u64) {
        if self.in_flight.is_some_and(|(newest, _)| newest == sequence) {
            // The peer may have got it all the same: what is asked next decides.
            self.in_flight = None;
            self.pending = true;
        }
    }

    /// Section 7: the greater of the current delay and the one in flight.
    fn max_delay(&self) -> Duration {
        self.in_flight.map_or(self.confirmed_delay, |(_, delay)| delay.max(self.confirmed_delay))
    }
}

impl Connection {
    /// The peer's max_ack_delay as timers have to reckon with it.
    pub(super) fn peer_max_ack_delay(&self) -> Duration {
        self.control.ack_frequency.as_ref().map_or(self.peer.max_ack_delay, |f| f.max_delay())
    }

    /// Decides once per batch whether the peer should acknowledge at another pace.
    pub(super) fn settle_ack_frequency(&mut self, now: Timestamp) {
        let Some(min_delay) = self.peer.min_ack_delay.filter(|_| self.cfg.ack_frequency) else { return };
        let active = self.paths.active();
        let recovery = &active.recovery;
        let mtu = u64::from(active.mtu()).max(1);
        let packets = recovery.cc.window() / mtu;
        match &self.control.ack_frequency {
            None if packets < MIN_WINDOW || !self.life.is_confirmed() || !recovery.rtt.is_sampled() => return,
            Some(f) if f.pending || f.in_flight.is_some() || now < f.not_before => return,
            _ => {}
        }
        let threshold = if packets < MIN_WINDOW { 1 } else { (packets / PER_ROUND).clamp(1, MAX_THRESHOLD) };
        let smoothed = recovery.rtt.smoothed();
        // Never beyond what the peer promised by itself: timers stay as they are.
        let delay = (smoothed / DELAY_DIVISOR).max(min_delay).min(self.peer.max_ack_delay);
        // Section 9: the distance at which we declare losses.
        let wanted = Request { threshold, delay, reordering: recovery.reordering_threshold() };
        let default = Request { threshold: 1, delay: self.peer.max_ack_delay, reordering: 1 };
        let asked = self.control.ack_frequency.as_ref().map_or(default, |f| f.asked);
        if !wanted.differs(&asked) {
            return;
        }
        let delay = self.peer.max_ack_delay;
        let f = self.control.ack_frequency.get_or_insert_with(|| {
            Box::new(AckFrequency {
                next_sequence: 0,
                asked: default,
                pending: false,
                in_flight: None,
                confirmed_delay: delay,
                not_before: now,
            })
        });
        f.asked = wanted;
        f.pending = true;
        // Section 8.1: not more than once per round trip.
        f.not_before = now + smoothed;
    }

    /// Writes the request, if it fits.
    pub(super) fn write_ack_frequency(&mut self, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) {
        let Some(f) = self.control.ack_frequency.as_mut().filter(|f| f.pending) else { return };
        let sequence = f.next_sequence;
        let frame = Frame::AckFrequency {
            sequence,
            threshold: f.asked.threshold,
            max_ack_delay_us: u64::try_from(f.asked.delay.as_micros()).unwrap_or(0),
            reordering_threshold: f.asked.reordering,
        };
        if frame.write(w).is_ok() {
            f.pending = false;
            f.next_sequence = sequence.saturating_add(1);
            f.in_flight = Some((sequence, f.asked.delay));
            tokens.push(FrameToken::AckFrequency { sequence });
        }
    }

    /// We said that we understand these frames.
    fn offers_ack_frequency(&self, ty: u64) -> Result<(), TransportError> {
        if self.cfg.ack_frequency {
            return Ok(());
        }
        Err(TransportError::new(transport::PROTOCOL_VIOLATION, "extension was not negotiated").in_frame(ty))
    }

    /// Section 5.
    pub(super) fn on_immediate_ack(&mut self) -> Result<(), TransportError> {
        self.offers_ack_frequency(types::IMMEDIATE_ACK)?;
        self.data.received.request_immediate();
        Ok(())
    }

    /// Section 4.
    pub(super) fn on_ack_frequency(
        &mut self,
        sequence: u64,
        threshold: u64,
        max_ack_delay_us: u64,
        reordering_threshold: u64,
    ) -> Result<(), TransportError> {
        self.offers_ack_frequency(types::ACK_FREQUENCY)?;
        let min = u64::try_from(self.cfg.min_ack_delay().as_micros()).unwrap_or(u64::MAX);
        if max_ack_delay_us >= MAX_ACK_DELAY_US || max_ack_delay_us < min {
            let error = TransportError::new(transport::PROTOCOL_VIOLATION, "Requested Max Ack Delay out of bounds");
            return Err(error.in_frame(types::ACK_FREQUENCY));
        }
        // An endpoint MUST ignore a frame whose number is not above the largest processed.
        if self.control.ack_frequency_seen.is_some_and(|seen| sequence <= seen) {
            return Ok(());
        }
        self.control.ack_frequency_seen = Some(sequence);
        // The wire counts packets without an acknowledgement, the policy those until one.
        let threshold = threshold.min(MAX_OBEYED).saturating_add(1);
        self.data.received.set_policy(AckPolicy {
            eliciting_threshold: u32::try_from(threshold).unwrap_or(u32::MAX),
            max_ack_delay: Duration::from_micros(max_ack_delay_us),
            reordering_threshold,
        });
        Ok(())
    }
}
