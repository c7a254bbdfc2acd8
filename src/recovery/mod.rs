//! Loss detection and recovery (RFC 9002), and what to acknowledge (RFC 9000 section 13.2).
//!
//! One [`Recovery`] holds the loss state of the three packet number spaces; what belongs to a path (RTT, congestion
//! control, pacing, ECN) is in [`PathRecovery`], reached through [`PathLookup`]. The owner of frames is told their
//! fate through [`SentSink`]. Invariant: every token recorded by `on_sent` is reported at most once as acknowledged
//! or lost, unless its space is discarded; the stream data of a packet given up may be lost first and acknowledged then.
mod acked;
mod ecn;
mod loss;
mod path;
mod received;
mod rtt;
mod space;
#[cfg(test)]
mod tests;
mod timer;
mod token;

pub use ecn::EcnState;
pub use path::{PathLookup, PathRecovery, RecoveryConfig};
pub use received::{AckPolicy, MAX_RANGES, Received};
pub use rtt::{GRANULARITY, INITIAL_RTT, Rtt};
pub use timer::{PtoContext, TimeoutAction};
pub use token::{FrameToken, SentPacket, SentSink};

use crate::base::span::Span;
use crate::base::{Side, SpaceId, Timestamp, TransportError};
use crate::wire::Ack;
use core::time::Duration;
use space::Space;
use timer::Timer;

/// What an ACK frame changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AckOutcome {
    /// At least one packet was acknowledged for the first time.
    pub newly_acked: bool,
    pub acked_packets: u32,
    pub lost_packets: u32,
    /// Largest packet number newly acknowledged.
    pub largest_newly_acked: Option<u64>,
    /// An RTT sample was taken.
    pub rtt_updated: bool,
    /// A path lost the right to mark its packets (RFC 9000 section 13.4.2).
    pub ecn_failed: bool,
    /// The congestion window was reduced.
    pub congestion_event: bool,
    pub persistent_congestion: bool,
    /// Packets declared lost earlier that this frame acknowledges.
    pub spurious_losses: u32,
}

/// Loss state of the packet number spaces of one connection.
pub struct Recovery {
    /// Initial and Handshake, until the handshake is over and done with.
    early: Option<Box<[Space; 2]>>,
    data: Space,
    context: PtoContext,
    /// A Handshake or 1-RTT packet of ours was acknowledged: the peer knows our address is real.
    peer_validated: bool,
    pto_count: u32,
    timer: Timer,
    /// Since when the client has nothing in flight but must keep the handshake alive (RFC 9002 section 6.2.2.1).
    deadlock_since: Option<Timestamp>,
    last_path: u8,
    /// Data: the probe timer counts from here, whatever was sent since (see [`Self::on_keep_alive`]).
    counts_from: Option<Timestamp>,
    /// When it fired last for Data: should no probe have been possible then, the next time still counts from there.
    fired_at: Timestamp,
}

impl Recovery {
    /// Where the oldest packets in flight are kept.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        self.data.sent.parts(name);
    }

    /// `seed` makes the choice of skipped packet numbers unpredictable to the peer.
    #[must_use]
    pub fn new(side: Side, seed: u64) -> Self {
        Self {
            early: Some(Box::new([Space::new(SpaceId::Initial, seed), Space::new(SpaceId::Handshake, seed)])),
            data: Space::new(SpaceId::Data, seed),
            context: PtoContext::default(),
            peer_validated: side.is_server(),
            pto_count: 0,
            timer: Timer::Off,
            deadlock_since: None,
            last_path: 0,
            counts_from: None,
            fired_at: Timestamp::ZERO,
        }
    }

    /// The space that `path` uses for `id`: today all paths share one set (multipath would give each its own Data).
    /// `None`: the handshake is long over.
    fn space(&self, _path: u8, id: SpaceId) -> Option<&Space> {
        match id {
            SpaceId::Data => Some(&self.data),
            SpaceId::Initial => self.early.as_deref().map(|[initial, _]| initial),
            SpaceId::Handshake => self.early.as_deref().map(|[_, handshake]| handshake),
        }
    }

    fn space_mut(&mut self, _path: u8, id: SpaceId) -> Option<&mut Space> {
        match id {
            SpaceId::Data => Some(&mut self.data),
            SpaceId::Initial => self.early.as_deref_mut().map(|[initial, _]| initial),
            SpaceId::Handshake => self.early.as_deref_mut().map(|[_, handshake]| handshake),
        }
    }

    fn spaces(&self) -> impl Iterator<Item = &Space> {
        self.early.as_deref().into_iter().flatten().chain(core::iter::once(&self.data))
    }

    /// Nothing will be sent or acknowledged in the Initial and Handshake spaces any more.
    pub fn forget_handshake(&mut self) {
        self.early = None;
    }

    /// Consumes the next packet number. In the Data space some are skipped: a peer that acknowledges one of those
    /// did not receive what it acknowledges (RFC 9000 section 21.4).
    pub fn next_packet_number(&mut self, path: u8, space: SpaceId) -> u64 {
        self.space_mut(path, space).map_or(0, Space::next_packet_number)
    }

    /// What [`Self::next_packet_number`] would give.
    #[must_use]
    pub fn peek_packet_number(&self, path: u8, space: SpaceId) -> u64 {
        self.space(path, space).map_or(0, Space::peek_packet_number)
    }

    /// Largest packet number that the peer acknowledged.
    #[must_use]
    pub fn largest_acked(&self, path: u8, space: SpaceId) -> Option<u64> {
        self.space(path, space)?.largest_acked
    }

    /// Records a packet that was handed over for sending.
    pub fn on_sent(
        &mut self,
        space: SpaceId,
        pn: u64,
        packet: SentPacket,
        tokens: &[FrameToken],
        paths: &mut impl PathLookup,
    ) {
        if packet.in_flight {
            self.last_path = packet.path;
            if let Some(path) = paths.recovery(packet.path) {
                path.on_sent(packet.size, packet.ack_eliciting, packet.ect, packet.sent_at);
            }
        }
        if let Some(space) = self.space_mut(packet.path, space) {
            space.on_sent(pn, packet, tokens);
        }
    }

    /// Takes an ACK frame that arrived in `space`. `ack_delay` is the field decoded with the peer's exponent.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION when the frame acknowledges a packet that was never sent.
    pub fn on_ack(
        &mut self,
        space: SpaceId,
        ack: &Ack<'_>,
        ack_delay: Duration,
        now: Timestamp,
        paths: &mut impl PathLookup,
        sink: &mut impl SentSink,
    ) -> Result<AckOutcome, TransportError> {
        // RFC 9002 section 5.3: Initial acknowledgments are not delayed; max_ack_delay binds once confirmed.
        //= https://www.rfc-editor.org/rfc/rfc9002#section-5.3
        //# MUST use the lesser of the acknowledgment delay and the peer's max_ack_delay after the handshake is
        //# confirmed; and
        let delay = match space {
            SpaceId::Initial => Duration::ZERO,
            _ if self.context.handshake_confirmed => ack_delay.min(self.context.max_ack_delay),
            _ => ack_delay,
        };
        let max_ack_delay = self.context.max_ack_delay;
        let Some(state) = self.space_mut(0, space) else { return Ok(AckOutcome::default()) };
        let outcome = state.on_ack(ack.largest, ack.ranges(), ack.ecn, delay, max_ack_delay, now, paths, sink)?;
        if outcome.newly_acked {
            self.peer_validated |= space != SpaceId::Initial;
            self.deadlock_since = None;
            self.counts_from = None;
            // RFC 9002 section 6.2.1: not at a client that may still be unvalidated at the server.
            if self.peer_completed_validation() {
                self.pto_count = 0;
            }
        }
        Ok(outcome)
    }

    fn peer_completed_validation(&self) -> bool {
        self.peer_validated || self.context.peer_completed_validation || self.context.handshake_confirmed
    }

    /// Keys of `space` are gone (RFC 9002 section 6.4): its packets leave flight and nobody hears of them again.
    //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2
    //# When Initial or Handshake keys are discarded, the PTO and loss detection timers MUST be reset, because
    //# discarding keys indicates forward progress and the loss detection timer might have been set for a now- discarded
    //# packet number space.
    //= https://www.rfc-editor.org/rfc/rfc9002#section-6.4
    //# The sender MUST discard all recovery state associated with those packets and MUST remove them from the count of
    //# bytes in flight.
    pub fn discard_space(&mut self, space: SpaceId, paths: &mut impl PathLookup) {
        if let Some(space) = self.space_mut(0, space) {
            space.drain(paths, &mut Unheard);
        }
        // RFC 9002 section 6.2.2: discarding keys indicates forward progress.
        self.pto_count = 0;
        self.timer = Timer::Off;
        self.deadlock_since = None;
    }

    /// Every outstanding packet of `space` is reported lost without blaming the network: after Retry, Version
    /// Negotiation, or rejected 0-RTT (RFC 9002 sections 6.3 and 6.4).
    pub fn requeue_all(&mut self, space: SpaceId, paths: &mut impl PathLookup, sink: &mut impl SentSink) {
        if let Some(space) = self.space_mut(0, space) {
            space.drain(paths, sink);
        }
        self.pto_count = 0;
        self.timer = Timer::Off;
        self.deadlock_since = None;
    }

    /// The connection goes on at another address. The backoff tells of a path that is left (RFC 9002 section 6.2.1: it
    /// grows with expirations of the timer and speaks of one network path, as RTT and window do, RFC 9000 section 9.4).
    pub fn on_migrated(&mut self) {
        self.pto_count = 0;
    }

    /// A PING is about to be sent because nothing was heard for a while. Unlike other packets (RFC 9002 section 6.2.1,
    /// "SHOULD restart") it does not put off the probe timer: PINGs that come faster than the timer fires would keep what
    /// is unacknowledged from ever being repeated.
    pub fn on_keep_alive(&mut self) {
        let data = &self.data;
        if data.eliciting > 0 {
            self.counts_from = self.counts_from.or(Some(data.last_eliciting_at));
        }
    }

    /// Probe after probe was in vain, or nothing was heard for very long: what was sent before `before` counts as lost, in
    /// every space, and the windows of its paths fall. RFC 9002 section 6.2.4: a sender "MAY mark any packets still in
    /// flight as lost". Else what was in flight when the network died fills the window until something is acknowledged,
    /// and no keep-alive may leave.
    pub fn give_up(
        &mut self,
        before: Timestamp,
        now: Timestamp,
        paths: &mut impl PathLookup,
        sink: &mut impl SentSink,
    ) {
        for space in self.early.as_deref_mut().into_iter().flatten() {
            space.give_up(before, now, paths, sink);
        }
        self.data.give_up(before, now, paths, sink);
    }

    /// Reports the oldest `max_packets` ack-eliciting packets of `space` to `sink.lost` but keeps them outstanding:
    /// their data goes into probe packets (RFC 9002 section 6.2.4). Returns how many there were.
    pub fn for_probe(&mut self, space: SpaceId, max_packets: usize, sink: &mut impl SentSink) -> usize {
        self.space_mut(0, space).map_or(0, |s| s.for_probe(max_packets, sink))
    }

    /// Probe timeouts since the last acknowledgment.
    #[must_use]
    pub const fn pto_count(&self) -> u32 {
        self.pto_count
    }

    /// Ack-eliciting packets of `space` await acknowledgment.
    #[must_use]
    pub fn has_eliciting_in_flight(&self, space: SpaceId) -> bool {
        self.space(0, space).is_some_and(|s| s.eliciting > 0)
    }

    /// Packets whose fate is open, oldest first in each space.
    #[cfg(feature = "sim")]
    pub fn outstanding(&self) -> impl Iterator<Item = SentPacket> + '_ {
        self.spaces().flat_map(|s| s.sent.iter().map(|(_, record)| record.packet()))
    }

    /// Heap memory held, for the idle-connection budget.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.spaces().map(Space::heap_bytes).sum()
    }
}

/// A sink for packets whose space is gone.
struct Unheard;

impl SentSink for Unheard {
    fn acked(&mut self, _: SpaceId, _: u64, _: &SentPacket, _: &[FrameToken]) {}
    fn lost(&mut self, _: SpaceId, _: u64, _: &SentPacket, _: &[FrameToken]) {}
}
