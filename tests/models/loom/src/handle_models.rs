//! The handle table: insert, look up, retain, release, a slot's next generation.
//!
//! An object here has a cell that loom watches: a look-up reads it, the object's end writes it. So a read that is not
//! ordered before the end, or that meets the memory of another object, fails the model.
use crate::explore;
use crate::ffi::handle::{self, Object};
use crate::ffi::status::{WB_E_HANDLE, WB_E_KIND, WB_E_STALE};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What became of an object; std's atomics, so that watching it orders nothing.
#[derive(Default)]
struct Fate {
    abandoned: AtomicU32,
    ended: AtomicU32,
}

/// An object that knows its name.
struct Probe<const KIND: u32> {
    name: UnsafeCell<u32>,
    fate: Arc<Fate>,
}

// SAFETY: loom watches the cell.
unsafe impl<const KIND: u32> Send for Probe<KIND> {}
// SAFETY: as above.
unsafe impl<const KIND: u32> Sync for Probe<KIND> {}

impl<const KIND: u32> Object for Probe<KIND> {
    const KIND: u32 = KIND;
    fn abandoned(self: &Arc<Self>) {
        self.fate.abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

impl<const KIND: u32> Drop for Probe<KIND> {
    fn drop(&mut self) {
        // SAFETY: the only reference; loom checks that it is.
        self.name.with_mut(|name| unsafe { *name = u32::MAX });
        self.fate.ended.fetch_add(1, Ordering::SeqCst);
    }
}

type Stream = Probe<7>;
type Buf = Probe<8>;

fn insert<const KIND: u32>(name: u32, fate: &Arc<Fate>) -> u64 {
    handle::insert(Arc::new(Probe::<KIND> { name: UnsafeCell::new(name), fate: Arc::clone(fate) }))
        .unwrap_or_else(|_| panic!("there is room"))
}

/// The name of what a handle stands for; a stale one is told as such.
fn look_up<const KIND: u32>(handle: u64) -> Option<u32> {
    match handle::get::<Probe<KIND>>(handle) {
        // SAFETY: pinned; loom checks that nobody writes.
        Ok(held) => Some(held.name.with(|name| unsafe { *name })),
        Err(fail) => {
            assert_eq!(fail.status, WB_E_STALE);
            None
        }
    }
}

fn released_once(fate: &Fate) {
    assert_eq!(fate.abandoned.load(Ordering::SeqCst), 1, "abandoned once");
    assert_eq!(fate.ended.load(Ordering::SeqCst), 1, "dropped once");
}

/// Two threads look up while a third releases: each sees the object whole or is told that it is gone.
pub fn look_up_against_release() {
    explore("handles, look up against release", 4, || {
        let fate = Arc::new(Fate::default());
        let handle = insert::<8>(1, &fate);
        let readers = [(); 2].map(|()| {
            thread::spawn(move || {
                let seen = look_up::<8>(handle);
                assert!(matches!(seen, None | Some(1)), "{seen:?}");
            })
        });
        assert!(handle::release::<Buf>(handle).is_ok());
        assert_eq!(look_up::<8>(handle), None, "a released handle is stale at once");
        readers.into_iter().for_each(|t| t.join().expect("it does not panic"));
        released_once(&fate);
        handle::clear();
    });
}

/// Two threads release one reference: one succeeds, the other is told that the handle is stale.
pub fn release_against_release() {
    explore("handles, release against release", 5, || {
        let fate = Arc::new(Fate::default());
        let handle = insert::<8>(1, &fate);
        let other = thread::spawn(move || u32::from(handle::release::<Buf>(handle).is_ok()));
        let mine = u32::from(handle::release::<Buf>(handle).is_ok());
        assert_eq!(mine + other.join().expect("it does not panic"), 1);
        released_once(&fate);
        handle::clear();
    });
}

/// Retain against the last release: either it comes first, and the object lives until its own release, or it fails.
pub fn retain_against_release() {
    explore("handles, retain against release", 5, || {
        let fate = Arc::new(Fate::default());
        let handle = insert::<8>(1, &fate);
        let other = thread::spawn(move || {
            if handle::retain::<Buf>(handle).is_ok() {
                assert_eq!(look_up::<8>(handle), Some(1), "a retained handle lives");
                assert!(handle::release::<Buf>(handle).is_ok());
            }
        });
        assert!(handle::release::<Buf>(handle).is_ok());
        other.join().expect("it does not panic");
        assert_eq!(look_up::<8>(handle), None);
        released_once(&fate);
        handle::clear();
    });
}

/// While one thread holds an old handle, the slot gets a new object: the old handle never reaches it.
pub fn a_stale_handle_never_reaches_a_new_object() {
    explore("handles, the slot's next generation", 4, || {
        let (old, new) = (Arc::new(Fate::default()), Arc::new(Fate::default()));
        let first = insert::<8>(1, &old);
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                let seen = look_up::<8>(first);
                assert!(matches!(seen, None | Some(1)), "the old handle reached {seen:?}");
            }
        });
        assert!(handle::release::<Buf>(first).is_ok());
        let second = insert::<8>(2, &new);
        assert_ne!(first, second);
        assert_eq!(look_up::<8>(second), Some(2));
        reader.join().expect("it does not panic");
        // A slot that rests is used again, with another generation.
        let third = insert::<8>(3, &new);
        assert_ne!(first, third);
        assert_eq!(look_up::<8>(first), None);
        assert_eq!(look_up::<8>(third), Some(3));
        assert!(handle::release::<Buf>(third).is_ok());
        assert!(handle::release::<Buf>(second).is_ok());
        released_once(&old);
        assert_eq!(new.ended.load(Ordering::SeqCst), 2);
        handle::clear();
    });
}

/// A handle may travel without any ordering: who finds its object finds it whole.
pub fn a_handle_brings_its_object_along() {
    explore("handles, passed on without an ordering", 4, || {
        let fate = Arc::new(Fate::default());
        // A page and a slot that were used before, so that nothing else orders the two threads.
        let old = insert::<8>(1, &fate);
        assert!(handle::release::<Buf>(old).is_ok());
        let passed = Arc::new(AtomicU64::new(0));
        let reader = {
            let passed = Arc::clone(&passed);
            thread::spawn(move || {
                let handle = passed.load(Relaxed);
                // It may not be known here yet, and then it is no handle at all.
                if let Ok(held) = handle::get::<Buf>(handle) {
                    // SAFETY: pinned; loom checks that the object was made before.
                    assert_eq!(held.name.with(|name| unsafe { *name }), 2);
                }
            })
        };
        let new = insert::<8>(2, &fate);
        passed.store(new, Relaxed);
        reader.join().expect("it does not panic");
        assert!(handle::release::<Buf>(new).is_ok());
        handle::clear();
    });
}

/// Two threads insert at once, the first of a page too: different slots, and each handle reaches its own.
pub fn insert_against_insert() {
    explore("handles, insert against insert", 4, || {
        let fate = Arc::new(Fate::default());
        let theirs = Arc::clone(&fate);
        let other = thread::spawn(move || insert::<8>(2, &theirs));
        let mine = insert::<8>(1, &fate);
        let other = other.join().expect("it does not panic");
        assert_ne!(mine, other);
        assert_eq!((look_up::<8>(mine), look_up::<8>(other)), (Some(1), Some(2)));
        for handle in [mine, other] {
            assert!(handle::release::<Buf>(handle).is_ok());
        }
        assert_eq!(fate.ended.load(Ordering::SeqCst), 2);
        handle::clear();
    });
}

/// A handle of one kind is no handle of another, whatever happens to it meanwhile.
pub fn kinds_are_told_apart() {
    explore("handles, kinds", 4, || {
        let fate = Arc::new(Fate::default());
        let buf = insert::<8>(1, &fate);
        let stream = insert::<7>(2, &fate);
        let other = thread::spawn(move || {
            let Err(fail) = handle::get::<Stream>(buf) else { panic!("a buffer passed as a stream") };
            assert!(matches!(fail.status, WB_E_KIND | WB_E_HANDLE), "{}", fail.status);
        });
        assert!(handle::release::<Buf>(buf).is_ok());
        let Err(fail) = handle::get::<Buf>(stream) else { panic!("a stream passed as a buffer") };
        assert_eq!(fail.status, WB_E_KIND);
        other.join().expect("it does not panic");
        assert!(handle::release::<Stream>(stream).is_ok());
        handle::clear();
    });
}
