use super::*;
use std::collections::HashSet;

#[test]
fn every_size_fits_its_class_and_wastes_little() {
    for size in 1..=LARGEST {
        let class = class(size).unwrap();
        assert!(class < CLASSES && class_size(class) >= size, "{size}");
        assert!(class == 0 || class_size(class - 1) < size, "{size} fits a smaller class");
        assert!(class_size(class) - size < if size <= SMALL { 24 } else { 128 }, "{size}");
    }
    assert_eq!(class(LARGEST + 1), None);
    assert_eq!(class_of(&Layout::from_size_align(64, 32).unwrap()), None);
    assert_eq!(class_size(CLASSES - 1), LARGEST);
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// On a thread of its own: what it keeps is nobody else's.
fn on_a_worker(act: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        // Whatever this process preloads.
        let keeping = Keeping::new_unless(false);
        keeping.enter();
        act();
        drop(keeping);
        assert!(kept().is_none());
    })
    .join()
    .unwrap();
}

fn kept_bytes() -> usize {
    kept().map_or(0, |kept| kept.bytes.get())
}

#[test]
fn nothing_is_kept_where_somebody_watches() {
    let keeping = Keeping::new_unless(true);
    keeping.enter();
    assert!(kept().is_none());
    drop(keeping);
}

#[test]
fn the_newest_piece_of_a_size_comes_back_first() {
    on_a_worker(|| {
        // SAFETY: layouts are not empty, and each piece is released once with the layout that it was taken with.
        unsafe {
            let pieces: Vec<*mut u8> = (0..3).map(|_| WorkerHeap.alloc(layout(1500))).collect();
            for piece in &pieces {
                piece.write_bytes(0xa5, 1500);
                WorkerHeap.dealloc(*piece, layout(1500));
            }
            assert_eq!(kept_bytes(), 3 * class_size(class(1500).unwrap()));
            // Another size of the same class.
            let again = WorkerHeap.alloc_zeroed(layout(1480));
            assert_eq!(again, pieces[2]);
            assert!(core::slice::from_raw_parts(again, 1480).iter().all(|b| *b == 0));
            assert_eq!(WorkerHeap.alloc(layout(1500)), pieces[1]);
            WorkerHeap.dealloc(again, layout(1480));
            WorkerHeap.dealloc(pieces[1], layout(1500));
        }
    });
}

#[test]
fn what_is_kept_is_bounded_by_size_and_in_all() {
    on_a_worker(|| {
        // SAFETY: as above.
        unsafe {
            for size in [24, 700, 1032, 1033, 2000, 3168, LARGEST, 3000, 4000, 2500, 900, 1800] {
                let pieces: Vec<*mut u8> = (0..400).map(|_| WorkerHeap.alloc(layout(size))).collect();
                assert_eq!(pieces.iter().collect::<HashSet<_>>().len(), pieces.len());
                for piece in pieces {
                    WorkerHeap.dealloc(piece, layout(size));
                }
                let class = class(size).unwrap();
                let held: Vec<u32> = kept().unwrap().held.iter().map(Cell::get).collect();
                assert!(held[class] as usize <= MAX_OF_A_SIZE && kept_bytes() <= MAX_KEPT);
                assert_eq!(held.iter().map(|h| *h as usize).sum::<usize>(), kept_bytes());
            }
            assert!(kept_bytes() > MAX_KEPT - 8 * LARGEST, "the bound was met");
        }
    });
}

#[test]
fn a_piece_keeps_its_bytes_as_it_grows_and_shrinks() {
    let resize = |worker: bool| {
        // SAFETY: as above; each piece is read as far as it was written.
        unsafe {
            let sizes = [1, 24, 25, 40, 100, 1032, 1033, 1100, LARGEST, LARGEST + 1, 70_000, 9000, 5000, 800, 30, 3];
            let mut size = 10;
            let mut piece = WorkerHeap.alloc(layout(size));
            piece.write_bytes(1, size);
            for (round, next) in (2u8..).zip(sizes) {
                let moved = WorkerHeap.realloc(piece, layout(size), next);
                let same = class(size).is_some() && class(size) == class(next);
                assert!(!same || moved == piece, "{size} to {next}");
                assert!(same || !worker || class(size).or(class(next)).is_none() || moved != piece, "{size} to {next}");
                let kept = core::slice::from_raw_parts(moved, size.min(next));
                assert!(kept.iter().all(|b| *b == round - 1));
                moved.write_bytes(round, next);
                (piece, size) = (moved, next);
            }
            WorkerHeap.dealloc(piece, layout(size));
        }
    };
    // A worker's pieces of another size come from another list.
    on_a_worker(move || resize(true));
    resize(false);
}

#[test]
fn pieces_wander_between_threads() {
    let made: Vec<usize> = std::thread::spawn(|| {
        // SAFETY: as above.
        (1..300).map(|n| unsafe { WorkerHeap.alloc(layout(n * 17)) } as usize).collect()
    })
    .join()
    .unwrap();
    assert!(kept().is_none(), "this thread is no worker");
    on_a_worker(move || {
        for (n, piece) in (1..300).zip(made) {
            // SAFETY: the other thread took it with this layout and is gone.
            unsafe { WorkerHeap.dealloc(piece as *mut u8, layout(n * 17)) };
        }
        assert!(kept_bytes() > 0);
    });
}

#[test]
fn a_taker_keeps_from_its_first_round_until_its_thread_ends() {
    std::thread::spawn(|| {
        assert!(kept().is_none());
        Keeping::begin_for_taker();
        let first = kept().map(core::ptr::from_ref);
        // None where the tests themselves run under a preloaded checker.
        let watched = std::env::var_os("LD_PRELOAD").is_some_and(|libraries| !libraries.is_empty());
        assert_eq!(first.is_some(), !watched);
        Keeping::begin_for_taker();
        assert_eq!(kept().map(core::ptr::from_ref), first, "one for all its rounds");
        // SAFETY: released once, as it was taken.
        unsafe {
            let piece = WorkerHeap.alloc(layout(700));
            WorkerHeap.dealloc(piece, layout(700));
            assert_eq!(kept_bytes() > 0, !watched);
        }
    })
    .join()
    .unwrap();
}
