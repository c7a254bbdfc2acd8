//! Asking the processor for what a turn will read, before it reads it.
//!
//! Where a thousand connections are active each finds its state gone from the caches: a hundred lines, many behind a pointer in
//! another one, and each a wait for memory. So a connection notes where its parts lie, and whoever sees it come up asks for
//! all of them at once while something else is done. A note may be out of date by then: to ask for memory that belongs to
//! others, or to nobody, does nothing but waste a line. Invariant: nothing here is read through.
use core::sync::atomic::{AtomicU64, Ordering};

use crate::base::span::Span;

/// Parts that are noted at most.
const PARTS: usize = 18;
/// Bytes that the processor fetches at a time.
const LINE: usize = 64;
/// A note's lowest bits say how many lines.
const COUNT_BITS: u32 = 7;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Where parts lie: the number of the first line and how many there are; zero: nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Notes([u64; PARTS]);

/// The notes of a connection. Only its worker writes them.
pub(super) struct Ahead([AtomicU64; PARTS]);

impl Ahead {
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; PARTS])
    }

    /// Notes what `parts` names.
    pub fn note(&self, parts: impl FnOnce(&mut dyn FnMut(Span))) {
        let mut places = self.0.iter();
        parts(&mut |span| {
            if let Some(place) = places.next() {
                let note = note(span);
                if place.load(Ordering::Relaxed) != note {
                    place.store(note, Ordering::Relaxed);
                }
            }
        });
    }

    pub fn notes(&self) -> Notes {
        let mut notes = Notes::default();
        for (note, place) in notes.0.iter_mut().zip(&self.0) {
            *note = place.load(Ordering::Relaxed);
        }
        notes
    }

    /// Asks for all that is noted.
    pub fn fetch(&self) {
        for place in &self.0 {
            fetch_noted(place.load(Ordering::Relaxed));
        }
    }
}

impl Notes {
    /// Asks for all that is noted.
    pub fn fetch(&self) {
        for note in &self.0 {
            fetch_noted(*note);
        }
    }
}

/// Asks for one thing.
pub(super) fn fetch(span: Span) {
    fetch_noted(note(span));
}

const fn note(span: Span) -> u64 {
    let first = (span.at / LINE) as u64;
    let count = (span.at % LINE).saturating_add(span.len).div_ceil(LINE) as u64;
    first << COUNT_BITS | if count < COUNT_MASK { count } else { COUNT_MASK }
}

fn fetch_noted(note: u64) {
    let first = (note >> COUNT_BITS) as usize * LINE;
    for line in 0..(note & COUNT_MASK) as usize {
        fetch_line(first + line * LINE);
    }
}

/// Into the second level: a whole batch passes through the first one until the turn comes.
#[cfg(target_arch = "x86_64")]
#[inline]
fn fetch_line(at: usize) {
    use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: a hint for the caches: the program cannot tell it from nothing, and it never faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(core::ptr::without_provenance(at)) };
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn fetch_line(at: usize) {
    // SAFETY: as above.
    unsafe { core::arch::asm!("prfm pldl2keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn fetch_line(_at: usize) {}

#[cfg(test)]
mod tests {
    use super::{Ahead, COUNT_BITS, COUNT_MASK, LINE, PARTS, note};
    use crate::base::span::Span;

    /// First and last address that a note covers.
    fn covered(note: u64) -> (usize, usize) {
        let first = (note >> COUNT_BITS) as usize * LINE;
        (first, first + (note & COUNT_MASK) as usize * LINE)
    }

    #[test]
    fn a_note_covers_every_line_of_its_span() {
        for at in [0x7fff_0000_1000_usize, 0x7fff_0000_103f, 0xffff_ffff_f000] {
            for len in [1, 63, 64, 65, 448, 3168] {
                let (first, end) = covered(note(Span { at, len }));
                assert!(first <= at && at + len <= end, "{at:#x} {len}: {first:#x} to {end:#x}");
                assert!(at - first < LINE && end - (at + len) < LINE, "{at:#x} {len}: no line more");
            }
        }
        let (first, end) = covered(note(Span { at: 4096, len: 1 << 20 }));
        assert_eq!((first, end), (4096, 4096 + COUNT_MASK as usize * LINE), "not without bound");
        assert_eq!(note(Span::NONE), 0);
    }

    #[test]
    fn notes_follow_what_has_moved_and_have_their_bound() {
        let ahead = Ahead::new();
        let (one, two) = (vec![1u8; 300], vec![2u8; 300]);
        for list in [&one, &two] {
            ahead.note(|name| name(Span::of(list.as_slice())));
            let (first, end) = covered(ahead.notes().0[0]);
            assert!(first <= list.as_ptr().addr() && list.as_ptr().addr() + 300 <= end);
        }
        ahead.note(|name| (0..PARTS + 3).for_each(|_| name(Span::of(&one[0]))));
        assert!(ahead.notes().0.iter().all(|n| n & COUNT_MASK == 1));
        // Memory that is gone is asked for like any other.
        drop((one, two));
        ahead.fetch();
        ahead.notes().fetch();
        super::fetch(Span { at: usize::MAX - 5, len: 5 });
    }
}
