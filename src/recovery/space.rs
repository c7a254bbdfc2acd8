//! Sent packets of one packet number space (RFC 9002 appendix A.1) in recycled 64-slot blocks.
//!
//! Packets that only carry ACK frames are kept while something ack-eliciting is outstanding (only then can the peer
//! be expected to acknowledge them) and never more than a bound, because a peer that acknowledges nothing makes us
//! send them for ever. Packets given up are kept in the same way and under the same bound. Invariant: `eliciting` and
//! `ack_only` count the live records of their kind.
use super::token::{FrameToken, SentPacket, SentSink};
use super::{PathLookup, loss};
use crate::base::{SpaceId, Timestamp};
use crate::collections::{BlockMap, Visit};
use crate::wire::EcnCounts;
use std::collections::VecDeque;

/// Most ACK-only packets remembered (defence against a peer that sends and never acknowledges).
const MAX_ACK_ONLY: u32 = 256;
/// How many of them go at once when there are too many.
const ACK_ONLY_BATCH: u32 = 64;
/// Skipped packet numbers remembered.
const SKIPS: usize = 4;
/// The first number skipped in the Data space lies between this and twice this.
const FIRST_SKIP_GAP: u64 = 128;
/// The gap doubles up to this: an optimistic peer is caught within so many packets, others pay one range for it.
const MAX_SKIP_GAP: u64 = 8192;

const ACK_ELICITING: u8 = 1;
const IN_FLIGHT: u8 = 2;
const MTU_PROBE: u8 = 4;
const ECT: u8 = 8;
const GIVEN_UP: u8 = 16;

/// A sent packet in 16 bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Record {
    pub sent_at: Timestamp,
    pub size: u16,
    pub path: u8,
    flags: u8,
}

impl Record {
    fn new(p: &SentPacket) -> Self {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let flags = flag(p.ack_eliciting, ACK_ELICITING)
            | flag(p.in_flight, IN_FLIGHT)
            | flag(p.mtu_probe, MTU_PROBE)
            | flag(p.ect, ECT);
        Self { sent_at: p.sent_at, size: p.size, path: p.path, flags }
    }

    pub const fn ack_eliciting(&self) -> bool {
        self.flags & ACK_ELICITING != 0
    }

    pub const fn in_flight(&self) -> bool {
        self.flags & IN_FLIGHT != 0
    }

    pub const fn mtu_probe(&self) -> bool {
        self.flags & MTU_PROBE != 0
    }

    pub const fn ect(&self) -> bool {
        self.flags & ECT != 0
    }

    /// It was ack-eliciting, counts as lost, and is remembered for an acknowledgement that comes late.
    pub const fn given_up(&self) -> bool {
        self.flags & GIVEN_UP != 0
    }

    const fn give_up(&mut self) {
        self.flags = (self.flags & !(ACK_ELICITING | IN_FLIGHT)) | GIVEN_UP;
    }

    pub const fn packet(&self) -> SentPacket {
        SentPacket {
            sent_at: self.sent_at,
            size: self.size,
            path: self.path,
            ack_eliciting: self.ack_eliciting(),
            in_flight: self.in_flight(),
            mtu_probe: self.mtu_probe(),
            ect: self.ect(),
        }
    }
}

/// Loss state of one packet number space.
pub(super) struct Space {
    pub id: SpaceId,
    pub sent: BlockMap<Record, FrameToken>,
    /// Live ack-eliciting packets.
    pub eliciting: u32,
    /// Live packets that do not count as in flight: those that only acknowledge, and those given up.
    pub ack_only: u32,
    pub next: u64,
    skips: Skips,
    pub largest_acked: Option<u64>,
    pub last_eliciting_at: Timestamp,
    pub last_eliciting_path: u8,
    /// First packet number since which everything in flight left on one path.
    pub one_path_since: u64,
    pub loss_time: Option<Timestamp>,
    /// Counts of the last ACK frame that passed ECN validation.
    pub ecn: EcnCounts,
    /// Packets sent with ECT(0) or ECT(1).
    pub ect_sent: u64,
    /// Packets recently declared lost, to notice when that was wrong.
    pub lost: VecDeque<loss::LostPacket>,
    pub congested: Option<loss::CongestedRun>,
}

impl Space {
    pub fn new(id: SpaceId, seed: u64) -> Self {
        Self {
            id,
            sent: BlockMap::new(),
            eliciting: 0,
            ack_only: 0,
            next: 0,
            skips: Skips::new(seed, id == SpaceId::Data),
            largest_acked: None,
            last_eliciting_at: Timestamp::ZERO,
            last_eliciting_path: 0,
            one_path_since: 0,
            loss_time: None,
            ecn: EcnCounts::default(),
            ect_sent: 0,
            lost: VecDeque::new(),
            congested: None,
        }
    }

    pub fn peek_packet_number(&self) -> u64 {
        if self.next == self.skips.next { self.next + 1 } else { self.next }
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
    //# Subsequent packets sent in the same packet number space MUST increase the packet number by at least one.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
    //# A QUIC endpoint MUST NOT reuse a packet number within the same packet number space in one connection.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.3
    //# New packet numbers MUST be used for any new packets that are sent; as described in Section 17.2.5.3, reusing
    //# packet numbers could compromise packet protection.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.3
    //# A client MUST NOT reset the packet number for any packet number space after processing a Retry packet.
    pub fn next_packet_number(&mut self) -> u64 {
        if self.next == self.skips.next {
            self.skips.take();
            self.next += 1;
        }
        let pn = self.next;
        self.next += 1;
        pn
    }

    /// `pn` was left out on purpose.
    pub fn was_skipped(&self, pn: u64) -> bool {
        self.skips.recent.contains(&pn)
    }

    /// Skipped numbers above `pn`: at most `SKIPS`, those that matter for the packet threshold.
    pub fn skipped_in(&self, low: u64, high: u64) -> u64 {
        self.skips.recent.iter().filter(|&&s| s > low && s <= high).count() as u64
    }

    /// Whether any remembered skipped number lies in `low..=high`.
    pub fn skipped_any(&self, low: u64, high: u64) -> bool {
        self.skips.recent.iter().any(|&s| s >= low && s <= high)
    }

    /// Smallest number an ACK range can concern.
    pub fn oldest_of_interest(&self) -> u64 {
        let skip = self.skips.recent.iter().copied().min().unwrap_or(u64::MAX);
        let lost = self.lost.iter().map(|l| l.pn).min().unwrap_or(u64::MAX);
        self.sent.first_key().unwrap_or(u64::MAX).min(skip).min(lost)
    }

    pub fn on_sent(&mut self, pn: u64, packet: SentPacket, tokens: &[FrameToken]) {
        // A number that nobody drew would make an honest peer look like a liar.
        self.next = self.next.max(pn.saturating_add(1));
        if packet.ect {
            self.ect_sent += 1;
        }
        if !packet.in_flight {
            if self.eliciting == 0 {
                return;
            }
            if self.ack_only >= MAX_ACK_ONLY {
                self.forget_ack_only(ACK_ONLY_BATCH);
            }
        }
        let inserted = self.sent.insert(pn, Record::new(&packet), tokens);
        debug_assert!(inserted, "packet numbers ascend");
        if !inserted {
            return;
        }
        if packet.ack_eliciting {
            self.eliciting += 1;
            if packet.path != self.last_eliciting_path {
                self.one_path_since = pn;
            }
            self.last_eliciting_at = packet.sent_at;
            self.last_eliciting_path = packet.path;
        }
        if !packet.in_flight {
            self.ack_only += 1;
        }
    }

    /// Drops the oldest `count` records of ACK-only packets.
    fn forget_ack_only(&mut self, count: u32) {
        let mut left = count.min(self.ack_only);
        if left == 0 {
            return;
        }
        self.ack_only -= left;
        self.sent.visit(0..=u64::MAX, |_, record, _| {
            if left == 0 {
                return Visit::Stop;
            }
            if record.in_flight() {
                return Visit::Keep;
            }
            left -= 1;
            Visit::Remove
        });
    }

    /// After packets left the books: what was kept only for their sake goes too.
    pub fn settle(&mut self) {
        if self.eliciting == 0 {
            self.forget_ack_only(u32::MAX);
        }
    }

    /// Everything outstanding is reported lost, off the books of its path, without blame.
    pub fn drain(&mut self, paths: &mut impl PathLookup, sink: &mut impl SentSink) {
        let id = self.id;
        self.sent.visit(0..=u64::MAX, |pn, record, tokens| {
            if record.in_flight() {
                if let Some(path) = paths.recovery(record.path) {
                    path.on_removed(u64::from(record.size));
                }
                sink.lost(id, pn, &record.packet(), tokens);
            }
            Visit::Remove
        });
        self.eliciting = 0;
        self.ack_only = 0;
        self.loss_time = None;
        self.congested = None;
        self.release();
    }

    /// Packets sent before `before` are lost. That nothing came back for so long is persistent congestion (RFC 9002
    /// section 7.6), or just congestion as long as the path has no RTT sample.
    ///
    /// What was ack-eliciting stays on record among the packets that only acknowledge: a network that was slow and not dead
    /// acknowledges it yet, and then its streams' data need not be sent again.
    pub fn give_up(
        &mut self,
        before: Timestamp,
        now: Timestamp,
        paths: &mut impl PathLookup,
        sink: &mut impl SentSink,
    ) {
        let (id, mut blamed) = (self.id, None);
        let (mut eliciting, mut ack_only) = (0, 0);
        self.sent.visit(0..=u64::MAX, |pn, record, tokens| {
            if record.sent_at >= before {
                return Visit::Stop;
            }
            if record.given_up() {
                return Visit::Keep;
            }
            if !record.in_flight() {
                ack_only += 1;
                return Visit::Remove;
            }
            if let Some(path) = paths.recovery(record.path) {
                path.on_removed(u64::from(record.size));
                // RFC 9000 section 14.4: the loss of an MTU probe is no sign of congestion.
                if !record.mtu_probe() && blamed.replace(record.path) != Some(record.path) {
                    path.on_given_up(record.sent_at, now);
                }
            }
            sink.lost(id, pn, &record.packet(), tokens);
            if !record.ack_eliciting() {
                return Visit::Remove;
            }
            eliciting += 1;
            record.give_up();
            Visit::Keep
        });
        self.eliciting = self.eliciting.saturating_sub(eliciting);
        self.ack_only = self.ack_only.saturating_sub(ack_only).saturating_add(eliciting);
        self.forget_ack_only(self.ack_only.saturating_sub(MAX_ACK_ONLY));
    }

    pub fn for_probe(&mut self, max_packets: usize, sink: &mut impl SentSink) -> usize {
        let (id, mut found) = (self.id, 0);
        self.sent.visit(0..=u64::MAX, |pn, record, tokens| {
            if found >= max_packets {
                return Visit::Stop;
            }
            if record.ack_eliciting() && !record.mtu_probe() {
                found += 1;
                sink.lost(id, pn, &record.packet(), tokens);
            }
            Visit::Keep
        });
        found
    }

    pub fn has_spare(&self) -> bool {
        self.sent.has_spare() || (self.sent.is_empty() && self.lost.capacity() > 0)
    }

    pub fn release(&mut self) {
        self.sent.release();
        self.lost = VecDeque::new();
    }

    pub fn heap_bytes(&self) -> usize {
        self.sent.heap_bytes() + self.lost.capacity() * size_of::<loss::LostPacket>()
    }
}

/// Packet numbers left out on purpose.
struct Skips {
    next: u64,
    gap: u64,
    recent: [u64; SKIPS],
    at: usize,
    state: u64,
}

impl Skips {
    fn new(seed: u64, enabled: bool) -> Self {
        let mut skips = Self { next: u64::MAX, gap: FIRST_SKIP_GAP, recent: [u64::MAX; SKIPS], at: 0, state: seed };
        if enabled {
            skips.next = FIRST_SKIP_GAP + skips.draw(FIRST_SKIP_GAP);
        }
        skips
    }

    /// The number `next` is being skipped: remembers it and chooses the one after.
    fn take(&mut self) {
        if let Some(slot) = self.recent.get_mut(self.at % SKIPS) {
            *slot = self.next;
        }
        self.at = (self.at + 1) % SKIPS;
        self.gap = (self.gap * 2).min(MAX_SKIP_GAP);
        let gap = self.gap + self.draw(self.gap);
        self.next = self.next.saturating_add(gap);
    }

    /// A number below `bound` (a power of two) that cannot be told from outside without the seed.
    fn draw(&mut self, bound: u64) -> u64 {
        // SplitMix64: one addition and a finaliser.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & (bound - 1)
    }
}
