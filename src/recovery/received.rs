//! Received packet numbers of one space and when to acknowledge them (RFC 9000 sections 13.2 and 13.4.1).
//!
//! Ranges are pruned by ACK-of-ACK and capped; the decision to send an ACK falls once per received batch, so one
//! GRO batch costs one ACK frame. Invariant: the largest received number never leaves the set, because a smaller
//! Largest Acknowledged would upset the peer's ECN validation (section 13.2.3).
use crate::base::span::Span;
use crate::base::{Ecn, SpaceId, Timestamp};
use crate::collections::{PnWindow, RangeSet, Seen};
use crate::wire::EcnCounts;
use core::ops::RangeInclusive;
use core::time::Duration;

/// Most ranges remembered (RFC 9000 section 13.2.3: a receiver limits them against resource exhaustion).
pub const MAX_RANGES: usize = 64;
/// Packets with ACK frames and nothing ack-eliciting after which one should carry a PING (section 13.2.4).
const ELICIT_AFTER_PACKETS: u64 = 64;
/// Fewer ranges than this are not worth eliciting an ACK for.
const ELICIT_MIN_RANGES: usize = 4;
/// Ack-eliciting packets until an ACK is due (section 13.2.2: "at least two").
const ELICITING_THRESHOLD: u32 = 2;

/// A gap among so many of the newest packet numbers, and packets are acknowledged one by one (section 13.2.1 asks for that
/// at the gap itself, section 13.2.2 leaves it open to be more frequent).
const GAP_NEARBY: u64 = 16;

/// When ACK frames are sent; the peer may change it with ACK_FREQUENCY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckPolicy {
    /// Ack-eliciting packets received until an ACK is sent at once.
    pub eliciting_threshold: u32,
    /// Longest intentional delay: what our max_ack_delay transport parameter promised.
    pub max_ack_delay: Duration,
    /// Reordering of so many packets is reported at once: 1 is any (RFC 9000 section 13.2.1), 0 none
    /// (draft-ietf-quic-ack-frequency section 6.2).
    pub reordering_threshold: u64,
}

impl AckPolicy {
    /// RFC 9000 section 13.2: Initial and Handshake at once, Data every second packet or after the delay.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
    //# Every packet SHOULD be acknowledged at least once, and ack-eliciting packets MUST be acknowledged at least once
    //# within the maximum delay an endpoint communicated using the max_ack_delay transport parameter; see Section 18.2.
    //# max_ack_delay declares an explicit contract: an endpoint promises to never intentionally delay acknowledgments
    //# of an ack-eliciting packet by more than the indicated value.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
    //# An endpoint MUST acknowledge all ack-eliciting Initial and Handshake packets immediately and all ack-eliciting
    //# 0-RTT and 1-RTT packets within its advertised max_ack_delay, with the following exception.
    #[must_use]
    pub const fn new(space: SpaceId, max_ack_delay: Duration) -> Self {
        match space {
            SpaceId::Initial | SpaceId::Handshake => {
                Self { eliciting_threshold: 1, max_ack_delay: Duration::ZERO, reordering_threshold: 1 }
            }
            SpaceId::Data => Self { eliciting_threshold: ELICITING_THRESHOLD, max_ack_delay, reordering_threshold: 1 },
        }
    }
}

/// What was received in one packet number space.
#[derive(Clone, Debug)]
pub struct Received {
    ranges: RangeSet,
    window: PnWindow,
    /// Numbers below this count as duplicates when the window cannot tell: their ranges were given up.
    floor: u64,
    largest: Option<u64>,
    largest_at: Timestamp,
    largest_eliciting: Option<u64>,
    /// Largest Acknowledged of the newest ACK frame.
    reported: Option<u64>,
    /// The newest packet had met congestion.
    after_ce: bool,
    ecn: EcnCounts,
    policy: AckPolicy,
    /// Ack-eliciting packets since the last ACK frame.
    pending: u32,
    /// Something in this batch wants an ACK at once.
    immediate: bool,
    /// The last batch ended with the decision to send one.
    due: bool,
    deadline: Option<Timestamp>,
    /// Number of the packet after which an ACK frame may elicit an acknowledgment.
    elicit_after: u64,
}

impl Received {
    /// Where the newest numbers are kept.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        self.ranges.parts(name);
    }

    /// `max_ack_delay` is ours, as the transport parameter told the peer.
    #[must_use]
    pub fn new(space: SpaceId, max_ack_delay: Duration) -> Self {
        Self {
            ranges: RangeSet::new(),
            window: PnWindow::new(),
            floor: 0,
            largest: None,
            largest_at: Timestamp::ZERO,
            largest_eliciting: None,
            reported: None,
            after_ce: false,
            ecn: EcnCounts::default(),
            policy: AckPolicy::new(space, max_ack_delay),
            pending: 0,
            immediate: false,
            due: false,
            deadline: None,
            elicit_after: ELICIT_AFTER_PACKETS,
        }
    }

    /// The packet was processed before, or might have been (RFC 9000 section 12.3). To be asked before its frames
    /// are read and only for packets that were authenticated.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
    //# A receiver MUST discard a newly unprotected packet unless it is certain that it has not processed another packet
    //# with the same packet number from the same packet number space.
    #[must_use]
    pub fn is_duplicate(&self, pn: u64) -> bool {
        match self.window.check(pn) {
            Seen::Fresh => false,
            Seen::Duplicate => true,
            Seen::Below => pn < self.floor || self.ranges.contains(pn),
        }
    }

    /// Records an authenticated packet; false for a duplicate, which must not be processed and counts for nothing.
    pub fn on_packet(&mut self, pn: u64, ack_eliciting: bool, ecn: Ecn, now: Timestamp) -> bool {
        if self.is_duplicate(pn) {
            return false;
        }
        self.window.insert(pn);
        self.ranges.insert(pn..pn.saturating_add(1));
        //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.3
        //# A receiver MUST retain an ACK Range unless it can ensure that it will not subsequently accept packets with
        //# numbers in that range.
        while self.ranges.len() > MAX_RANGES {
            if let Some(oldest) = self.ranges.pop_min() {
                self.floor = self.floor.max(oldest.end);
            }
        }
        match ecn {
            Ecn::NotEct => {}
            Ecn::Ect0 => self.ecn.ect0 += 1,
            Ecn::Ect1 => self.ecn.ect1 += 1,
            Ecn::Ce => self.ecn.ce += 1,
        }
        if ack_eliciting {
            self.on_eliciting(pn, ecn, now);
        }
        self.after_ce = ecn == Ecn::Ce;
        if self.largest.is_none_or(|largest| pn > largest) {
            self.largest = Some(pn);
            self.largest_at = now;
        }
        true
    }

    fn on_eliciting(&mut self, pn: u64, ecn: Ecn, now: Timestamp) {
        // RFC 9000 section 13.2.1: below an ack-eliciting packet already received, or above it with a gap between.
        let range = self.ranges.range_at(pn);
        let in_order = match self.largest_eliciting {
            Some(largest) if pn < largest => false,
            // What lies below the floor was acknowledged and forgotten, it is not missing.
            Some(largest) => {
                let known = largest.saturating_add(1).max(self.floor);
                range.as_ref().is_some_and(|r| r.start <= known)
            }
            None => true,
        };
        self.largest_eliciting = Some(self.largest_eliciting.map_or(pn, |largest| largest.max(pn)));
        // RFC 9000 section 13.2.1; with few acknowledgements only the first of a row (draft section 6.3).
        let marked = ecn == Ecn::Ce && (self.policy.eliciting_threshold <= ELICITING_THRESHOLD || !self.after_ce);
        let reordered = match self.policy.reordering_threshold {
            0 => false,
            1 => !in_order,
            threshold => self.is_beyond(pn, in_order, threshold),
        };
        // Every acknowledgement counts where packets are being lost: one may be the only one to arrive. A peer that asked
        // for fewer gets fewer.
        let after_gap = self.policy.eliciting_threshold <= ELICITING_THRESHOLD
            && self.policy.reordering_threshold == 1
            && range.is_some_and(|r| r.start > self.floor && pn - r.start < GAP_NEARBY);
        self.immediate |= marked || reordered || after_gap;
        self.pending = self.pending.saturating_add(1);
        if self.deadline.is_none() {
            self.deadline = Some(now + self.policy.max_ack_delay);
        }
    }

    /// draft-ietf-quic-ack-frequency section 6.2: the peer can declare a loss that it has not heard of, or has
    /// declared one that `pn` refutes.
    fn is_beyond(&self, pn: u64, in_order: bool, threshold: u64) -> bool {
        // Largest Reported Missing.
        let missing = self.reported.and_then(|reported| reported.checked_sub(threshold));
        if !in_order && missing.is_some_and(|missing| pn <= missing) {
            return true;
        }
        let Some(largest) = self.largest_eliciting else { return false };
        let from = missing.map_or(0, |m| m.saturating_add(1)).max(self.floor);
        let first_missing = self.ranges.range_at(from).map_or(from, |r| r.end);
        first_missing < largest && largest - first_missing >= threshold
    }

    /// The batch of received datagrams is over: decides whether an ACK is due now.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
    //# An endpoint MUST NOT send a non-ack-eliciting packet in response to a non-ack-eliciting packet, even if there
    //# are packet gaps that precede the received packet.
    pub fn on_batch_end(&mut self, now: Timestamp) {
        self.due |= self.pending > 0
            && (self.immediate
                || self.pending >= self.policy.eliciting_threshold
                || self.deadline.is_some_and(|deadline| deadline <= now));
    }

    /// The delayed-ACK timer may have fired: makes the ACK due if so.
    pub fn on_deadline(&mut self, now: Timestamp) {
        self.on_batch_end(now);
    }

    /// An ACK frame should be sent even if nothing else is.
    #[must_use]
    pub const fn ack_due(&self) -> bool {
        self.due
    }

    /// When a delayed ACK becomes due; `None` when nothing waits or it is due already.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        if self.due { None } else { self.deadline }
    }

    /// Ack-eliciting packets wait for an ACK: bundle one with whatever is sent next (RFC 9000 section 13.2.1).
    #[must_use]
    pub const fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// The peer asked for an ACK at once (IMMEDIATE_ACK).
    pub fn request_immediate(&mut self) {
        self.immediate = true;
    }

    /// The peer (or the transport parameters) changed the policy.
    pub fn set_policy(&mut self, policy: AckPolicy) {
        self.policy = policy;
    }

    #[must_use]
    pub const fn policy(&self) -> AckPolicy {
        self.policy
    }

    /// Largest number received.
    #[must_use]
    pub const fn largest(&self) -> Option<u64> {
        self.largest
    }

    /// Ranges to report, largest first.
    pub fn ranges_desc(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.ranges.iter_desc().map(|r| r.start..=r.end.saturating_sub(1))
    }

    /// Ranges remembered.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// What goes into ACK Delay, unscaled (RFC 9000 section 13.2.5).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.5
    //# An endpoint MUST NOT include delays that it does not control when populating the ACK Delay field in an ACK
    //# frame.
    #[must_use]
    pub const fn ack_delay(&self, now: Timestamp) -> Duration {
        now.since(self.largest_at)
    }

    /// Counts for an ACK frame of type 0x03, `None` while no mark was ever seen (RFC 9000 section 13.4.1).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.4.1
    //# Even if an endpoint does not set an ECT field in packets it sends, the endpoint MUST provide feedback about ECN
    //# markings it receives, if these are accessible.
    #[must_use]
    pub fn ecn_counts(&self) -> Option<EcnCounts> {
        (self.ecn != EcnCounts::default()).then_some(self.ecn)
    }

    /// An ACK frame with all ranges left in packet `carrier`.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
    //# Since packets containing only ACK frames are not congestion controlled, an endpoint MUST NOT send more than one
    //# such packet in response to receiving an ack-eliciting packet.
    pub fn on_ack_sent(&mut self, _carrier: u64) {
        self.reported = self.largest;
        self.pending = 0;
        self.immediate = false;
        self.due = false;
        self.deadline = None;
    }

    /// RFC 9000 section 13.2.4: the peer keeps sending, nothing of ours elicits an ACK, and ranges pile up. True at
    /// most once per so many packets: then packet `carrier` should hold a PING besides its ACK frame.
    pub fn should_elicit(&mut self, carrier: u64) -> bool {
        if carrier < self.elicit_after || self.ranges.len() < ELICIT_MIN_RANGES {
            return false;
        }
        self.elicit_after = carrier.saturating_add(ELICIT_AFTER_PACKETS);
        true
    }

    /// The peer acknowledged a packet with an ACK frame whose Largest Acknowledged was `largest`: everything up to
    /// it is known there (RFC 9000 section 13.2.4).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.3
    //# Receivers can discard all ACK Ranges, but they MUST retain the largest packet number that has been successfully
    //# processed, as that is used to recover packet numbers from subsequent packets; see Section 17.1.
    pub fn on_ack_of_ack(&mut self, largest: u64) {
        let Some(newest) = self.largest else { return };
        let bound = largest.saturating_add(1).min(newest);
        // What the window no longer tells apart must count as received from now on.
        self.floor = self.floor.max(bound);
        self.ranges.remove_below(bound);
    }
}
