use super::lender::Lender;
use super::*;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn slices_share_and_clip() {
    let c = Chunk::from_vec((0..100u8).collect());
    let s = c.slice(10, 20);
    assert_eq!(s.as_slice(), Some(&(10..30u8).collect::<Vec<_>>()[..]));
    assert!(s.same_owner(&c));
    assert_eq!(c.slice(95, 50).len(), 5);
    assert_eq!(c.slice(200, 1).len(), 0);
    let mut rest = c.clone();
    let head = rest.split_to(40);
    assert_eq!((head.len(), rest.len()), (40, 60));
    let mut two = [0; 2];
    rest.copy_to(1, &mut two).unwrap();
    assert_eq!(two, [41, 42]);
    rest.advance(10);
    rest.truncate(3);
    assert_eq!(rest.to_vec().unwrap(), vec![50, 51, 52]);
    assert_eq!(Chunk::from_static(b"abc").as_slice(), Some(&b"abc"[..]));
    assert!(Chunk::empty().is_empty());
}

#[test]
fn release_runs_once_after_the_last_reference() {
    let lender = Lender::new(b"hello");
    let chunk = lender.lend();
    let part = chunk.slice(1, 3);
    assert!(chunk.as_slice().is_none());
    drop(chunk);
    assert_eq!(lender.released(), 0);
    assert_eq!(part.to_vec().unwrap(), b"ell");
    drop(part);
    assert_eq!(lender.released(), 1);
}

#[test]
fn release_waits_for_the_outermost_scope() {
    let lender = Lender::new(b"x");
    {
        let _outer = ReleaseScope::new();
        {
            let _inner = ReleaseScope::new();
            drop(lender.lend());
        }
        assert_eq!(lender.released(), 0);
    }
    assert_eq!(lender.released(), 1);
    drop(lender.lend());
    assert_eq!(lender.released(), 2);
}

#[test]
fn a_panicking_release_does_not_skip_the_others() {
    let lender = Lender::new(b"x");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    {
        let _scope = ReleaseScope::new();
        drop(Lender::lend_nothing(Box::new(|| panic!("application bug"))));
        drop(lender.lend());
    }
    std::panic::set_hook(hook);
    assert_eq!(lender.released(), 1);
}

#[test]
fn revoked_memory_is_refused_and_still_released_once() {
    let lender = Lender::new(b"hello");
    let chunk = lender.lend();
    let part = chunk.slice(0, 2);
    chunk.revoke();
    lender.scribble();
    assert!(part.is_revoked());
    assert_eq!(part.to_vec(), Err(Revoked));
    let mut untouched = [7; 2];
    assert_eq!(part.copy_to(0, &mut untouched), Err(Revoked));
    assert_eq!(untouched, [7; 2]);
    chunk.revoke(); // again is harmless
    drop((chunk, part));
    assert_eq!(lender.released(), 1);
}

#[test]
fn revoking_with_a_copy_keeps_the_data() {
    let lender = Lender::new(b"hello");
    let chunk = lender.lend();
    let part = chunk.slice(1, 4);
    assert!(chunk.revoke_keeping_copy());
    lender.scribble();
    assert_eq!(part.to_vec().unwrap(), b"ello");
    assert!(!part.is_revoked());

    let other = lender.lend();
    let other_part = other.clone();
    other.revoke();
    assert!(!other.revoke_keeping_copy());
    assert_eq!(other_part.to_vec(), Err(Revoked));
}

#[test]
fn no_thread_reads_after_revoke_returns() {
    for round in 0..200 {
        let lender = Lender::new(&[0xaa; 4096]);
        let chunk = lender.lend();
        let stop = AtomicBool::new(false);
        let reads = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for t in 0..3 {
                let mine = chunk.slice(t * 100, 2000);
                let (stop, reads) = (&stop, &reads);
                s.spawn(move || {
                    let mut buf = [0u8; 2000];
                    while !stop.load(Ordering::Relaxed) {
                        match mine.copy_to(0, &mut buf) {
                            Ok(()) => {
                                reads.fetch_add(1, Ordering::Relaxed);
                                assert!(buf.iter().all(|&b| b == 0xaa), "read after the revocation");
                            }
                            Err(Revoked) => return,
                        }
                    }
                });
            }
            // Let the readers get going, not always equally far.
            while reads.load(Ordering::Relaxed) < round % 7 {
                std::thread::yield_now();
            }
            chunk.revoke();
            lender.scribble();
            std::thread::yield_now();
            stop.store(true, Ordering::Relaxed);
        });
        drop(chunk);
        assert_eq!(lender.released(), 1);
    }
}

#[test]
fn revoke_waits_for_a_reader_that_holds_a_pin() {
    let lender = Lender::new(&[1; 16]);
    let chunk = lender.lend();
    let (inside, returned) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|s| {
        let reader = chunk.clone();
        let (inside, returned) = (&inside, &returned);
        s.spawn(move || {
            reader
                .with(|bytes| {
                    inside.store(true, Ordering::SeqCst);
                    for _ in 0..2000 {
                        std::thread::yield_now();
                        assert!(!returned.load(Ordering::SeqCst), "revoke returned while a reader was inside");
                    }
                    assert!(bytes.iter().all(|&b| b == 1));
                })
                .unwrap();
        });
        while !inside.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        chunk.revoke();
        returned.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_slab_is_shared_while_its_rest_is_written() {
    let mut slab = Slab::new(64);
    slab.write_at(0, b"hello ");
    slab.write_at(10, b"later");
    let mut first = slab.share(0, 6);
    assert_eq!(first.as_slice(), Some(&b"hello "[..]));
    slab.write_at(6, b"wide");
    assert!(slab.extend(&mut first, 4));
    assert_eq!(first.as_slice(), Some(&b"hello wide"[..]));
    assert!(!slab.reset());
    assert!(!slab.extend(&mut Chunk::from_static(b"x"), 1));
    let back = slab.share(10, 15);
    assert_eq!(back.as_slice(), Some(&b"later"[..]));
    drop((first, back));
    assert!(slab.reset());
    slab.write_at(0, b"again");
}

#[test]
#[should_panic(expected = "write outside the open part")]
fn a_slab_never_writes_below_its_seal() {
    let mut slab = Slab::new(64);
    let _shared = slab.share(0, 8);
    slab.write_at(7, b"x");
}

#[test]
fn the_last_chunk_gives_the_slab_back() {
    let mut slab = Slab::new(64);
    slab.write_at(0, b"abc");
    let a = slab.share(0, 2);
    let b = slab.share(2, 3);
    drop(slab);
    assert!(a.into_slab().is_none(), "another chunk is alive");
    let again = b.into_slab().expect("the last one");
    assert_eq!((again.capacity(), again.sealed()), (64, 0));
    assert!(Chunk::from_static(b"x").into_slab().is_none());
}

#[test]
fn chunks_of_one_slab_are_read_by_other_threads_while_it_grows() {
    let mut slab = Slab::new(4096);
    std::thread::scope(|s| {
        for i in 0..64usize {
            let byte = u8::try_from(i).unwrap();
            slab.write_at(i * 64, &[byte; 64]);
            let view = slab.share(i * 64, i * 64 + 64);
            s.spawn(move || assert!(view.as_slice().unwrap().iter().all(|&b| b == byte)));
        }
    });
    assert!(slab.reset());
}
