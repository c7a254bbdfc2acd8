//! ACK frames (RFC 9000 section 19.3). Ranges stay encoded in the packet: parsing checks every one of them, so
//! that iterating later cannot fail.
use core::ops::RangeInclusive;

use super::types;
use crate::wire::reader::{Reader, Truncated};
use crate::wire::varint;
use crate::wire::writer::{NoRoom, Writer};

/// Most ranges that [`write_ack`] puts into one frame: the count then fits one byte, and the peer's work per
/// packet stays bounded (RFC 9000 section 13.2.3 lets a receiver limit what it reports).
pub const MAX_ACK_RANGES: usize = 64;

/// ECN counts of an ACK frame of type 0x03 (RFC 9000 section 19.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EcnCounts {
    pub ect0: u64,
    pub ect1: u64,
    pub ce: u64,
}

/// A validated ACK frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// Largest acknowledged packet number.
    pub largest: u64,
    /// ACK Delay as it stands in the frame, before ack_delay_exponent.
    pub delay: u64,
    pub ecn: Option<EcnCounts>,
    first_range: u64,
    count: u64,
    blocks: &'a [u8],
}

/// Why an ACK frame was refused.
pub(super) enum AckError {
    Truncated,
    /// A range reaches below packet number 0.
    Negative,
}

impl From<Truncated> for AckError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl<'a> Ack<'a> {
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.3
    //# QUIC implementations MUST properly handle both types, and, if they have enabled ECN for packets they send, they
    //# SHOULD use the information in the ECN section to manage their congestion state.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.3.1
    //# If any computed packet number is negative, an endpoint MUST generate a connection error of type
    //# FRAME_ENCODING_ERROR.
    pub(super) fn parse(r: &mut Reader<'a>, with_ecn: bool) -> Result<Self, AckError> {
        let largest = r.varint()?;
        let delay = r.varint()?;
        let count = r.varint()?;
        let first_range = r.varint()?;
        let mut smallest = largest.checked_sub(first_range).ok_or(AckError::Negative)?;
        // Two cursors: one walks the ranges, the other then takes them as one slice. Each range takes at
        // least two bytes, so a huge count ends in `Truncated` after at most the datagram's length.
        let mut walk = r.clone();
        for _ in 0..count {
            let gap = walk.varint()?;
            let len = walk.varint()?;
            smallest = next_range(smallest, gap, len).ok_or(AckError::Negative)?.0;
        }
        let blocks = r.bytes(walk.position().saturating_sub(r.position()))?;
        let ecn =
            if with_ecn { Some(EcnCounts { ect0: r.varint()?, ect1: r.varint()?, ce: r.varint()? }) } else { None };
        Ok(Self { largest, delay, ecn, first_range, count, blocks })
    }

    /// Acknowledged ranges, largest first, never touching each other.
    #[must_use]
    #[inline]
    pub fn ranges(&self) -> AckRanges<'a> {
        AckRanges {
            blocks: Reader::new(self.blocks),
            next: Some((self.largest.saturating_sub(self.first_range), self.largest)),
        }
    }

    /// How many ranges there are, at least 1.
    #[must_use]
    pub const fn range_count(&self) -> u64 {
        self.count.saturating_add(1)
    }

    pub(super) const fn type_id(&self) -> u64 {
        if self.ecn.is_some() { types::ACK_ECN } else { types::ACK }
    }

    pub(super) fn encoded_len(&self) -> usize {
        1usize
            .saturating_add(varint::len(self.largest))
            .saturating_add(varint::len(self.delay))
            .saturating_add(varint::len(self.count))
            .saturating_add(varint::len(self.first_range))
            .saturating_add(self.blocks.len())
            .saturating_add(ecn_len(self.ecn.as_ref()))
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) -> Result<(), NoRoom> {
        w.varint(self.type_id())?;
        w.varint(self.largest)?;
        w.varint(self.delay)?;
        w.varint(self.count)?;
        w.varint(self.first_range)?;
        w.bytes(self.blocks)?;
        write_ecn(w, self.ecn.as_ref())
    }
}

/// Smallest and largest of the range after one that began at `smallest` (RFC 9000 section 19.3.1).
#[inline]
fn next_range(smallest: u64, gap: u64, len: u64) -> Option<(u64, u64)> {
    let largest = smallest.checked_sub(gap)?.checked_sub(2)?;
    Some((largest.checked_sub(len)?, largest))
}

/// Iterator over an ACK frame's ranges, largest first.
#[derive(Clone, Debug)]
pub struct AckRanges<'a> {
    blocks: Reader<'a>,
    next: Option<(u64, u64)>,
}

impl Iterator for AckRanges<'_> {
    type Item = RangeInclusive<u64>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (smallest, largest) = self.next.take()?;
        if let (Ok(gap), Ok(len)) = (self.blocks.varint(), self.blocks.varint()) {
            self.next = next_range(smallest, gap, len);
        }
        Some(smallest..=largest)
    }
}

fn ecn_len(ecn: Option<&EcnCounts>) -> usize {
    ecn.map_or(0, |e| varint::len(e.ect0).saturating_add(varint::len(e.ect1)).saturating_add(varint::len(e.ce)))
}

fn write_ecn(w: &mut Writer<'_>, ecn: Option<&EcnCounts>) -> Result<(), NoRoom> {
    if let Some(e) = ecn {
        w.varint(e.ect0)?;
        w.varint(e.ect1)?;
        w.varint(e.ce)?;
    }
    Ok(())
}

/// Writes an ACK frame with as many of `ranges` (largest first, not touching) as fit, at most
/// [`MAX_ACK_RANGES`]; returns how many. Nothing is written, and `NoRoom` returned, when not even one fits.
pub fn write_ack(
    w: &mut Writer<'_>,
    ranges: impl IntoIterator<Item = RangeInclusive<u64>>,
    delay_raw: u64,
    ecn: Option<EcnCounts>,
) -> Result<usize, NoRoom> {
    let start = w.position();
    let result = write_ack_ranges(w, ranges.into_iter(), delay_raw, ecn.as_ref());
    if result.is_err() {
        w.rewind(start);
    }
    result
}

fn write_ack_ranges(
    w: &mut Writer<'_>,
    mut ranges: impl Iterator<Item = RangeInclusive<u64>>,
    delay_raw: u64,
    ecn: Option<&EcnCounts>,
) -> Result<usize, NoRoom> {
    let first = ranges.next().ok_or(NoRoom)?;
    let ecn_len = ecn_len(ecn);
    w.varint(if ecn.is_some() { types::ACK_ECN } else { types::ACK })?;
    w.varint(*first.end())?;
    w.varint(delay_raw.min(varint::MAX))?;
    let count_at = w.position();
    w.u8(0)?;
    w.varint(first.end().saturating_sub(*first.start()))?;
    if w.remaining() < ecn_len {
        return Err(NoRoom);
    }
    let mut smallest = *first.start();
    let mut count = 0u8;
    for range in ranges.take(MAX_ACK_RANGES.saturating_sub(1)) {
        // A caller whose ranges touch or ascend would make a frame that the peer must refuse: stop there.
        let Some(gap) = smallest.checked_sub(*range.end()).and_then(|d| d.checked_sub(2)) else { break };
        let len = range.end().saturating_sub(*range.start());
        let need = varint::len(gap).saturating_add(varint::len(len)).saturating_add(ecn_len);
        if w.remaining() < need {
            break;
        }
        w.varint(gap)?;
        w.varint(len)?;
        smallest = *range.start();
        count = count.saturating_add(1);
    }
    if let Some(slot) = w.written_mut().get_mut(count_at) {
        *slot = count;
    }
    write_ecn(w, ecn)?;
    Ok(usize::from(count).saturating_add(1))
}
