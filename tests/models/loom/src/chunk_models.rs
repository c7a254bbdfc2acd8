//! Lent memory: references, revoking, copies that are kept.
//!
//! The lent memory has a cell beside it that loom watches: readers read it while they hold their pin, the lender writes it as
//! soon as the loan has ended. A read that may come after the end, or is not ordered before it, fails the model.
use crate::collections::chunk::{Chunk, ReleaseScope, Slab};
use crate::explore;
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const BYTES: [u8; 8] = *b"the loan";

/// Memory that is lent.
struct Lender {
    memory: *mut [u8; 8],
    watched: UnsafeCell<()>,
    released: AtomicU32,
}

// SAFETY: loom watches the cell that stands for the memory.
unsafe impl Send for Lender {}
// SAFETY: as above.
unsafe impl Sync for Lender {}

impl Lender {
    fn new() -> Arc<Self> {
        let memory = Box::into_raw(Box::new(BYTES));
        Arc::new(Self { memory, watched: UnsafeCell::new(()), released: AtomicU32::new(0) })
    }

    fn lend(self: &Arc<Self>) -> Chunk {
        let this = Arc::clone(self);
        let release = Box::new(move || {
            this.released.fetch_add(1, Ordering::SeqCst);
            this.take_back();
        });
        // SAFETY: the memory lives until `self` goes, after the last chunk.
        unsafe { Chunk::from_foreign(self.memory.cast(), BYTES.len(), release) }
    }

    /// The loan is over: the memory gets another content.
    fn take_back(&self) {
        // SAFETY: by the chunk's promise nobody reads any more; loom checks it.
        self.watched.with_mut(|_| unsafe { *self.memory = [0xdd; 8] });
    }

    /// What a reader does: `None` when the loan had been revoked.
    fn read(&self, chunk: &Chunk) -> Option<Vec<u8>> {
        chunk.with(|bytes| self.watched.with(|_| bytes.to_vec())).ok()
    }

    fn released(&self) -> u32 {
        self.released.load(Ordering::SeqCst)
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`.
        drop(unsafe { Box::from_raw(self.memory) });
    }
}

/// Two readers, and a lender who changes the memory as soon as `revoke` has returned.
pub fn nobody_reads_after_revoke() {
    explore("buffers, revoke against readers", 4, || {
        let lender = Lender::new();
        let chunk = lender.lend();
        let readers = [chunk.clone(), chunk.slice(2, 4)].map(|chunk| {
            let lender = Arc::clone(&lender);
            thread::spawn(move || {
                let wanted = if chunk.len() == 8 { &BYTES[..] } else { &BYTES[2..6] };
                if let Some(bytes) = lender.read(&chunk) {
                    assert_eq!(bytes, wanted);
                }
            })
        });
        chunk.revoke();
        lender.take_back();
        assert!(lender.read(&chunk).is_none());
        readers.into_iter().for_each(|t| t.join().expect("it does not panic"));
        assert_eq!(lender.released(), 0);
        drop(chunk);
        assert_eq!(lender.released(), 1);
    });
}

/// Two threads revoke at once, one of which has read before: for each the loan is over when its call returns.
pub fn revoke_against_revoke() {
    explore("buffers, revoke against revoke", 5, || {
        let lender = Lender::new();
        let chunk = lender.lend();
        let other = {
            let (lender, chunk) = (Arc::clone(&lender), chunk.clone());
            thread::spawn(move || {
                assert!(lender.read(&chunk).is_none_or(|bytes| bytes == BYTES));
                chunk.revoke();
                assert!(chunk.is_revoked());
                assert!(lender.read(&chunk).is_none());
            })
        };
        chunk.revoke();
        lender.take_back();
        other.join().expect("it does not panic");
    });
}

/// The copy that a revocation keeps is whole, and readers never notice.
pub fn a_kept_copy_is_whole() {
    explore("buffers, revoke with a copy against a reader", 4, || {
        let lender = Lender::new();
        let chunk = lender.lend();
        let reader = {
            let (chunk, lender) = (chunk.clone(), Arc::clone(&lender));
            thread::spawn(move || {
                for _ in 0..2 {
                    let bytes = chunk.to_vec().expect("a copy was promised");
                    assert_eq!(bytes, BYTES);
                }
                drop(lender);
            })
        };
        assert!(chunk.revoke_keeping_copy());
        lender.take_back();
        reader.join().expect("it does not panic");
    });
}

/// A revocation with a copy and one without: what readers get is either whole or refused.
pub fn copy_against_no_copy() {
    explore("buffers, revoke with against without a copy", 4, || {
        let lender = Lender::new();
        let chunk = lender.lend();
        let other = {
            let (chunk, lender) = (chunk.clone(), Arc::clone(&lender));
            thread::spawn(move || {
                let kept = chunk.revoke_keeping_copy();
                match chunk.to_vec() {
                    Ok(bytes) => assert_eq!(bytes, BYTES),
                    Err(_) => assert!(!kept, "a copy was promised"),
                }
                drop(lender);
            })
        };
        chunk.revoke();
        lender.take_back();
        other.join().expect("it does not panic");
    });
}

/// Clones, slices and drops on three threads: the release function runs once, after the last, and after all reads.
pub fn released_once_after_the_last_reference() {
    explore("buffers, references on three threads", 4, || {
        let lender = Lender::new();
        let chunk = lender.lend();
        let threads = [chunk.clone(), chunk.slice(0, 4)].map(|mut chunk| {
            let lender = Arc::clone(&lender);
            thread::spawn(move || {
                let head = chunk.split_to(2);
                drop(chunk);
                let bytes = lender.read(&head).expect("nobody revokes");
                assert_eq!(bytes, BYTES[..2]);
                assert_eq!(lender.released(), 0);
            })
        });
        drop(chunk);
        threads.into_iter().for_each(|t| t.join().expect("it does not panic"));
        assert_eq!(lender.released(), 1);
    });
}

/// A scope keeps the release function out of it, whichever thread drops last.
pub fn no_release_inside_a_scope() {
    explore("buffers, release scopes", 4, || {
        let lender = Lender::new();
        let chunk = lender.lend();
        let other = {
            let chunk = chunk.clone();
            thread::spawn(move || drop(chunk))
        };
        let scope = ReleaseScope::new();
        let before = lender.released();
        drop(chunk);
        let inside = lender.released();
        // Only the other thread's drop may have been the last one.
        assert!(inside == before || inside == 1);
        drop(scope);
        other.join().expect("it does not panic");
        assert_eq!(lender.released(), 1);
    });
}

/// A slab opens for writing again only when no reader is left.
pub fn a_slab_waits_for_its_readers() {
    explore("buffers, slab reuse", 4, || {
        let mut slab = Slab::new(4);
        slab.write_at(0, b"abcd");
        let chunk = slab.share(0, 4);
        let watched = Arc::new(Watched(UnsafeCell::new(())));
        let reader = {
            let watched = Arc::clone(&watched);
            thread::spawn(move || {
                let same = watched.0.with(|_| chunk.as_slice() == Some(b"abcd"));
                assert!(same);
            })
        };
        if slab.reset() {
            watched.0.with_mut(|_| slab.write_at(0, b"wxyz"));
        }
        reader.join().expect("it does not panic");
        assert!(slab.reset());
    });
}

/// Stands for the slab's bytes.
struct Watched(UnsafeCell<()>);

// SAFETY: loom watches the cell.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}
