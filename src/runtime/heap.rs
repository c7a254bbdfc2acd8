//! Memory that a worker frees and will soon want again: kept by size on the worker's thread.
//!
//! A connection's handshake takes some 150 pieces of memory of all sizes and gives nearly all of them back a few
//! milliseconds later, while twenty others do the same. The system's allocator keeps seven of a kind within reach, and
//! none above a kilobyte; the rest it merges and cuts again, through memory that has gone cold. Here the newest piece that
//! was freed is the next one handed out. Everything comes from the system's allocator and may go back to it on any thread:
//! what differs is that small sizes are rounded up alike, on all threads.
//!
//! The library's own allocations only, in the shipped library only (the feature `worker-heap`, which tests leave out: their
//! tools want to see every piece), on workers only and on takers that have done a worker's work, at most `MAX_KEPT` bytes each, and
//! none when the process preloads something, an allocator or a checker, that wants to see every piece too.
//! Invariant: a piece in list `i` has room for `class_size(i)` bytes, and nobody else knows it.
use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, OnceCell};
use core::ptr;
use std::alloc::System;

/// Sizes up to here come in steps of 16, less the word that malloc puts before each piece.
const SMALL: usize = 1032;
const SMALL_CLASSES: usize = 64;
/// Sizes up to here come in steps of 128; larger ones are the system's business.
const LARGEST: usize = SMALL + 32 * 128;
const CLASSES: usize = SMALL_CLASSES + 32;
/// The largest alignment that every piece has.
const ALIGN: usize = 16;
/// Bytes that a worker keeps: what the handshakes of a rush give back between two batches.
const MAX_KEPT: usize = 1 << 20;
/// Bytes of one size, so that none takes all the room.
const MAX_OF_A_SIZE: usize = 128 << 10;

/// The list for a size; `None`: not kept.
const fn class(size: usize) -> Option<usize> {
    if size <= SMALL {
        // 1 to 24 bytes are list 0.
        Some(if size <= 24 { 0 } else { (size + 7) / 16 - 1 })
    } else if size <= LARGEST {
        Some(SMALL_CLASSES + (size - SMALL).div_ceil(128) - 1)
    } else {
        None
    }
}

const fn class_size(class: usize) -> usize {
    if class < SMALL_CLASSES { class * 16 + 24 } else { SMALL + (class - SMALL_CLASSES + 1) * 128 }
}

/// What a thread keeps. Each list is threaded through its pieces.
struct Kept {
    bytes: Cell<usize>,
    lists: [Cell<*mut u8>; CLASSES],
    /// Bytes in each list.
    held: [Cell<u32>; CLASSES],
}

std::thread_local! {
    /// Null where nothing is kept, so that other threads pay for one look. Without a destructor: they may unload the library.
    static KEPT: Cell<*const Kept> = const { Cell::new(ptr::null()) };
    /// A taker's, until its thread ends.
    static OWN: OnceCell<Keeping> = const { OnceCell::new() };
}

/// What the calling thread keeps, if it does.
#[inline]
fn kept<'a>() -> Option<&'a Kept> {
    // SAFETY: `Keeping` put it there for this thread alone, and it is taken away before it is freed; the callers below do not
    // hold on to it.
    unsafe { KEPT.get().as_ref() }
}

impl Kept {
    const fn new() -> Self {
        Self {
            bytes: Cell::new(0),
            lists: [const { Cell::new(ptr::null_mut()) }; CLASSES],
            held: [const { Cell::new(0) }; CLASSES],
        }
    }

    #[inline]
    fn take(&self, class: usize) -> Option<*mut u8> {
        let list = self.lists.get(class)?;
        let piece = list.get();
        if piece.is_null() {
            return None;
        }
        // SAFETY: pieces in a list are ours alone, aligned for a pointer, and `give` wrote the next one's address into it.
        list.set(unsafe { piece.cast::<*mut u8>().read() });
        let size = class_size(class);
        self.bytes.set(self.bytes.get() - size);
        if let Some(held) = self.held.get(class) {
            held.set(held.get() - size as u32);
        }
        Some(piece)
    }

    /// False: no room for it.
    ///
    /// # Safety
    /// `piece` was allocated with the class's size, and its owner is done with it.
    #[inline]
    unsafe fn give(&self, class: usize, piece: *mut u8) -> bool {
        let (Some(list), Some(held)) = (self.lists.get(class), self.held.get(class)) else { return false };
        let size = class_size(class);
        if self.bytes.get() + size > MAX_KEPT || held.get() as usize + size > MAX_OF_A_SIZE {
            return false;
        }
        // SAFETY: the caller's promise: nobody uses it, and every class has room for a pointer.
        unsafe { piece.cast::<*mut u8>().write(list.get()) };
        list.set(piece);
        self.bytes.set(self.bytes.get() + size);
        held.set(held.get() + size as u32);
        true
    }

    fn empty(&self) {
        for class in 0..CLASSES {
            while let Some(piece) = self.take(class) {
                // SAFETY: it came from the system's allocator with this layout.
                unsafe { System.dealloc(piece, layout_of(class)) };
            }
        }
    }
}

const fn layout_of(class: usize) -> Layout {
    const { assert!(ALIGN.is_power_of_two() && LARGEST < isize::MAX as usize - ALIGN) };
    // SAFETY: the alignment is a power of two, and no class is larger than the largest: asserted where this is compiled.
    unsafe { Layout::from_size_align_unchecked(class_size(class), ALIGN) }
}

/// The list for a layout; `None`: not kept.
#[inline]
const fn class_of(layout: &Layout) -> Option<usize> {
    if layout.align() <= ALIGN { class(layout.size()) } else { None }
}

/// The library's allocator.
pub struct WorkerHeap;

// SAFETY: every piece is the system allocator's, of the layout that its size and alignment stand for (`class_of` for small
// ones, their own otherwise), on allocation and release alike; a kept piece has no other owner.
unsafe impl GlobalAlloc for WorkerHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout, or a larger one that is never empty.
        unsafe {
            match class_of(&layout) {
                None => System.alloc(layout),
                Some(class) => match kept().and_then(|kept| kept.take(class)) {
                    Some(piece) => piece,
                    None => System.alloc(layout_of(class)),
                },
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: the caller says that `alloc` returned it for this layout, so it has its class's size.
        unsafe {
            match class_of(&layout) {
                None => System.dealloc(piece, layout),
                Some(class) => {
                    if !kept().is_some_and(|kept| kept.give(class, piece)) {
                        System.dealloc(piece, layout_of(class));
                    }
                }
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`, which gives at least as many bytes as are cleared.
        unsafe {
            if class_of(&layout).is_none() {
                return System.alloc_zeroed(layout);
            }
            let piece = self.alloc(layout);
            if !piece.is_null() {
                piece.write_bytes(0, layout.size());
            }
            piece
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        // SAFETY: as in the other three, small sizes standing for their class's; the copy is as long as the shorter of two pieces that do not overlap.
        unsafe {
            match (class_of(&layout), class_of(&wanted)) {
                (Some(before), Some(after)) if before == after => piece,
                (None, None) => System.realloc(piece, layout, size),
                // No worker: the system may let it grow where it is.
                (Some(before), Some(after)) if kept().is_none() => {
                    System.realloc(piece, layout_of(before), layout_of(after).size())
                }
                _ => {
                    let new = self.alloc(wanted);
                    if !new.is_null() {
                        new.copy_from_nonoverlapping(piece, layout.size().min(size));
                        self.dealloc(piece, layout);
                    }
                    new
                }
            }
        }
    }
}

/// What a thread keeps, while it keeps anything. It is that thread's alone.
pub(super) struct Keeping(*const Kept);

impl Keeping {
    /// A worker begins to keep; until this is dropped.
    pub(super) fn begin() -> Self {
        let keeping = Self::new();
        keeping.enter();
        keeping
    }

    /// A taker does a worker's work: it keeps from now on, also between its takes, for what it is given there comes from here
    /// and goes back here.
    pub(super) fn begin_for_taker() {
        if kept().is_none() {
            // On a thread that is just ending nothing is kept.
            let _ = OWN.try_with(|own| own.get_or_init(Self::new).enter());
        }
    }

    fn new() -> Self {
        let preloads = std::env::var_os("LD_PRELOAD").is_some_and(|libraries| !libraries.is_empty());
        Self::new_unless(preloads)
    }

    fn new_unless(watched: bool) -> Self {
        Self(if watched { ptr::null() } else { Box::into_raw(Box::new(Kept::new())).cast_const() })
    }

    /// From now on the calling thread keeps here what it frees.
    fn enter(&self) {
        KEPT.set(self.0);
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if !self.0.is_null() {
            if core::ptr::eq(KEPT.get(), self.0) {
                KEPT.set(ptr::null());
            }
            // SAFETY: it came out of a box in `new_unless`, and nobody finds it any more: it stays on the thread that made it
            // (a raw pointer is not `Send`), which has just left it.
            unsafe { Box::from_raw(self.0.cast_mut()) }.empty();
        }
    }
}

#[cfg(test)]
mod tests;
