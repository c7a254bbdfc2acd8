//! Processing of one ACK frame (RFC 9002 appendix A.7): work is proportional to the newly acknowledged packets.
//!
//! Paths are charged once per frame and not per packet, and consecutive packets that carry one stream in order
//! reach the stream as one token.
use super::AckOutcome;
use super::path::PathLookup;
use super::space::{Record, Space};
use super::token::{FrameToken, SentPacket, SentSink};
use crate::base::codes::transport::PROTOCOL_VIOLATION;
use crate::base::{SpaceId, Timestamp, TransportError};
use crate::collections::Visit;
use crate::wire::EcnCounts;
use core::ops::RangeInclusive;
use core::time::Duration;

/// Paths that one ACK frame settles in one go; packets of further paths only leave flight.
const PATHS_PER_ACK: usize = 4;
/// Frame type to blame.
const ACK_FRAME: u64 = 0x02;

/// What an ACK frame acknowledges of one path.
#[derive(Clone, Copy)]
struct PathShare {
    path: u8,
    /// In-flight bytes, and those of them sent after the last congestion event.
    removed: u64,
    grow: u64,
    recovery_start: Option<Timestamp>,
    newest_sent_at: Timestamp,
    ect: u64,
}

/// Newly acknowledged packets of one frame.
struct Sweep {
    id: SpaceId,
    shares: [Option<PathShare>; PATHS_PER_ACK],
    packets: u32,
    eliciting: u32,
    ack_only: u32,
    /// Those that were given up.
    late: u32,
    ect: u64,
    largest: Option<(u64, Record)>,
    /// STREAM tokens of consecutive packets, not yet reported.
    pending: Option<(u64, SentPacket, FrameToken)>,
}

impl Sweep {
    fn take(
        &mut self,
        pn: u64,
        record: &Record,
        tokens: &[FrameToken],
        paths: &mut impl PathLookup,
        sink: &mut impl SentSink,
    ) {
        self.packets += 1;
        self.eliciting += u32::from(record.ack_eliciting());
        self.ack_only += u32::from(!record.in_flight());
        self.ect += u64::from(record.ect());
        if self.largest.is_none_or(|(largest, _)| pn > largest) {
            self.largest = Some((pn, *record));
        }
        if record.in_flight() || record.ect() {
            self.charge(record, paths);
        }
        if record.given_up() {
            self.take_late(pn, record, tokens, sink);
            return;
        }
        match *tokens {
            [token @ FrameToken::Stream { .. }] => {
                let packet = record.packet();
                if let Some(pending) = &mut self.pending {
                    if let Some(merged) = continued(&pending.2, &token) {
                        *pending = (pn, packet, merged);
                        return;
                    }
                    sink.acked(self.id, pending.0, &pending.1, &[pending.2]);
                }
                self.pending = Some((pn, packet, token));
            }
            _ => sink.acked(self.id, pn, &record.packet(), tokens),
        }
    }

    /// A packet that was given up arrived after all. What it carried of streams and handshake need not be sent again where
    /// that has not happened yet; other frames are told their fate once, and were lost. It takes part in the RTT sample
    /// (RFC 9002 section 5.1: it is newly acknowledged, and numbers are never used twice) and ends the backoff (section
    /// 6.2.1), so that a path which is far and not dead is measured. The window stays where persistent congestion put it:
    /// that this was no congestion a late answer does not prove (section 7.6.2), and slow start takes it back soon.
    fn take_late(&mut self, pn: u64, record: &Record, tokens: &[FrameToken], sink: &mut impl SentSink) {
        self.late += 1;
        let packet = record.packet();
        sink.acked(self.id, pn, &packet, &[]);
        for token in tokens {
            if matches!(token, FrameToken::Stream { .. } | FrameToken::Crypto { .. } | FrameToken::Ack { .. }) {
                sink.acked(self.id, pn, &packet, core::slice::from_ref(token));
            }
        }
    }

    fn charge(&mut self, record: &Record, paths: &mut impl PathLookup) {
        let bytes = if record.in_flight() { u64::from(record.size) } else { 0 };
        // Used slots come first; nearly always the first one matches.
        let slot = self.shares.iter_mut().find(|s| s.as_ref().is_none_or(|share| share.path == record.path));
        match slot {
            Some(slot) => {
                let share = slot.get_or_insert_with(|| PathShare {
                    path: record.path,
                    removed: 0,
                    grow: 0,
                    recovery_start: paths.recovery(record.path).and_then(|p| p.recovery_start()),
                    newest_sent_at: Timestamp::ZERO,
                    ect: 0,
                });
                share.removed += bytes;
                if share.recovery_start.is_none_or(|start| record.sent_at > start) {
                    share.grow += bytes;
                }
                share.newest_sent_at = share.newest_sent_at.max(record.sent_at);
                share.ect += u64::from(record.ect());
            }
            None => {
                if let Some(path) = paths.recovery(record.path) {
                    path.on_removed(bytes);
                }
            }
        }
    }

    fn flush(&mut self, sink: &mut impl SentSink) {
        if let Some((pn, packet, token)) = self.pending.take() {
            sink.acked(self.id, pn, &packet, &[token]);
        }
    }
}

/// Both tokens as one, when the second continues the first.
fn continued(first: &FrameToken, second: &FrameToken) -> Option<FrameToken> {
    match (*first, *second) {
        (
            FrameToken::Stream { id, offset, len, fin: false },
            FrameToken::Stream { id: next_id, offset: next_offset, len: next_len, fin },
        ) if id == next_id && offset.checked_add(u64::from(len)) == Some(next_offset) => {
            Some(FrameToken::Stream { id, offset, len: len.checked_add(next_len)?, fin })
        }
        _ => None,
    }
}

impl Space {
    /// Takes an ACK frame: `ranges` descend and were validated, `delay` is what may be subtracted from the RTT.
    #[expect(clippy::too_many_arguments, reason = "one frame with its surroundings, called from one place")]
    pub(super) fn on_ack(
        &mut self,
        largest: u64,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        ecn: Option<EcnCounts>,
        delay: Duration,
        max_ack_delay: Duration,
        now: Timestamp,
        paths: &mut impl PathLookup,
        sink: &mut impl SentSink,
    ) -> Result<AckOutcome, TransportError> {
        if largest >= self.next {
            return Err(NEVER_SENT);
        }
        let advances = self.largest_acked.is_none_or(|before| largest > before);
        let mut outcome = AckOutcome::default();
        let sweep = self.sweep(ranges, &mut outcome, now, paths, sink)?;
        if advances {
            self.largest_acked = Some(largest);
        }
        let Some((newest, newest_record)) = sweep.largest else { return Ok(outcome) };
        outcome.newly_acked = true;
        outcome.acked_packets = sweep.packets;
        outcome.spurious_losses += sweep.late;
        outcome.largest_newly_acked = Some(newest);

        // RFC 9002 section 5.1: a sample only from the largest, and only with something ack-eliciting among the new.
        let mut sample = None;
        //= https://www.rfc-editor.org/rfc/rfc9002#section-5.1
        //# An RTT sample MUST NOT be generated on receiving an ACK frame that does not newly acknowledge at least one
        //# ack-eliciting packet.
        if newest == largest
            && sweep.eliciting + sweep.late > 0
            && let Some(path) = paths.recovery(newest_record.path)
        {
            let latest = now.since(newest_record.sent_at);
            path.rtt.update(latest, delay, now);
            sample = Some(latest);
            outcome.rtt_updated = true;
        }
        for share in sweep.shares.iter().flatten() {
            if let Some(path) = paths.recovery(share.path) {
                path.on_delivered(share.removed, share.newest_sent_at, now);
            }
        }
        // RFC 9000 section 13.4.2.1: an ACK that does not raise the largest proves nothing about ECN.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-13.4.2.1
        //# An endpoint MUST NOT fail ECN validation as a result of processing an ACK frame that does not increase the
        //# largest acknowledged packet number.
        if advances {
            self.on_ecn(ecn, &sweep, newest_record, now, paths, &mut outcome);
        }
        let losses = self.detect_losses(now, max_ack_delay, paths, sink);
        outcome.lost_packets = losses.packets;
        outcome.congestion_event |= losses.congestion_event;
        outcome.persistent_congestion = losses.persistent_congestion;
        outcome.ecn_failed |= losses.ecn_failed;

        for share in sweep.shares.iter().flatten() {
            //= https://www.rfc-editor.org/rfc/rfc9000#section-9.4
            //# Packets sent on the old path MUST NOT contribute to congestion control or RTT estimation for the new
            //# path.
            if let Some(path) = paths.recovery(share.path) {
                let sample = sample.filter(|_| share.path == newest_record.path);
                path.on_acked(share.removed, share.grow, share.newest_sent_at, sample, now);
            }
        }
        Ok(outcome)
    }

    fn sweep(
        &mut self,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        outcome: &mut AckOutcome,
        now: Timestamp,
        paths: &mut impl PathLookup,
        sink: &mut impl SentSink,
    ) -> Result<Sweep, TransportError> {
        let mut sweep = Sweep {
            id: self.id,
            shares: [None; PATHS_PER_ACK],
            packets: 0,
            eliciting: 0,
            ack_only: 0,
            late: 0,
            ect: 0,
            largest: None,
            pending: None,
        };
        // A peer may send hundreds of ranges; those below everything we remember cost nothing.
        let oldest = self.oldest_of_interest();
        let mut lied = false;
        for range in ranges {
            if *range.end() < oldest {
                break;
            }
            // RFC 9000 section 13.1 and 21.4: acknowledging what was never sent.
            lied = self.skipped_any(*range.start(), *range.end());
            if lied {
                break;
            }
            if !self.lost.is_empty() {
                outcome.spurious_losses += self.on_lost_acked(&range, now, paths);
            }
            self.sent.visit(range, |pn, record, tokens| {
                sweep.take(pn, record, tokens, paths, sink);
                Visit::Remove
            });
        }
        sweep.flush(sink);
        self.eliciting -= sweep.eliciting;
        self.ack_only -= sweep.ack_only;
        if lied { Err(NEVER_SENT) } else { Ok(sweep) }
    }

    /// RFC 9000 section 13.4.2.1: checks the counts against what was marked, then reacts to CE.
    fn on_ecn(
        &mut self,
        counts: Option<EcnCounts>,
        sweep: &Sweep,
        newest: Record,
        now: Timestamp,
        paths: &mut impl PathLookup,
        outcome: &mut AckOutcome,
    ) {
        let before = self.ecn;
        // All paths of a connection run one algorithm and so use one codepoint.
        let scalable =
            sweep.shares.iter().flatten().any(|s| paths.recovery(s.path).is_some_and(|path| path.ecn.is_scalable()));
        let ours = |c: &EcnCounts| if scalable { c.ect1 } else { c.ect0 };
        let other = |c: &EcnCounts| if scalable { c.ect0 } else { c.ect1 };
        let valid = match counts {
            None => sweep.ect == 0,
            Some(c) => {
                let grown = ours(&c).checked_sub(ours(&before)).zip(c.ce.checked_sub(before.ce));
                // We never send the other codepoint, and not more of ours than that.
                grown.is_some_and(|(ect, ce)| ect.saturating_add(ce) >= sweep.ect)
                    && other(&c) == 0
                    && ours(&c).saturating_add(c.ce) <= self.ect_sent
            }
        };
        if !valid {
            for share in sweep.shares.iter().flatten().filter(|s| s.ect > 0 || s.path == newest.path) {
                if let Some(path) = paths.recovery(share.path)
                    && !path.ecn.is_failed()
                {
                    path.ecn.fail();
                    outcome.ecn_failed = true;
                }
            }
            return;
        }
        let Some(counts) = counts else { return };
        self.ecn = counts;
        for share in sweep.shares.iter().flatten().filter(|s| s.ect > 0) {
            if let Some(path) = paths.recovery(share.path) {
                path.ecn.on_validated();
            }
        }
        // RFC 9002 section 7.1 and appendix B.7.
        if let Some(path) = paths.recovery(newest.path)
            && !path.ecn.is_failed()
            && path.on_marks(sweep.ect, counts.ce - before.ce)
        {
            outcome.congestion_event |= path.on_congestion(newest.sent_at, true, now);
        }
    }
}

const NEVER_SENT: TransportError =
    TransportError::new(PROTOCOL_VIOLATION, "ACK of a packet that was never sent").in_frame(ACK_FRAME);
