//! Inside the library (under `ffi`, only with `--cfg model`): models of what the C ABI does not show by itself.
//!
//! The gate that callbacks pass and `wb_runtime_mute` shuts. Through the C ABI one core has one thread that calls back; the
//! workers of a threaded runtime are many, and so are the callers here.
use super::events::Gate;
use model_sync::shuttle::thread;
use model_sync::{AtomicBool, AtomicUsize, Ordering, step};
use std::sync::Arc;

/// The end of one schedule.
pub fn clear() {
    super::handle::clear();
}

#[derive(Default)]
struct Scene {
    gate: Gate,
    running: AtomicUsize,
    /// A mute has returned.
    muted: AtomicBool,
}

impl Scene {
    /// A worker with an event.
    fn call_back(&self) {
        if self.gate.enter() {
            self.running.fetch_add(1, Ordering::SeqCst);
            assert!(!self.muted.load(Ordering::SeqCst), "a callback runs after mute has returned");
            step();
            assert!(!self.muted.load(Ordering::SeqCst), "mute did not wait for a callback");
            self.running.fetch_sub(1, Ordering::SeqCst);
            self.gate.leave();
        }
    }

    /// What `wb_runtime_mute` does outside of callbacks.
    fn mute(&self) {
        self.gate.mute();
        assert!(self.gate.wait_quiet(None));
        assert_eq!(self.running.load(Ordering::SeqCst), 0, "mute did not wait for a callback");
        self.muted.store(true, Ordering::SeqCst);
    }
}

/// `callers` threads with `events` events each, and `muters` who mute at once.
pub fn gate(callers: usize, events: usize, muters: usize) {
    let scene = Arc::new(Scene::default());
    let callers = (0..callers).map(|_| {
        let scene = Arc::clone(&scene);
        thread::spawn(move || (0..events).for_each(|_| scene.call_back()))
    });
    let mut threads: Vec<_> = callers.collect();
    threads.extend((0..muters).map(|_| {
        let scene = Arc::clone(&scene);
        thread::spawn(move || scene.mute())
    }));
    threads.into_iter().for_each(|t| t.join().expect("no panic"));
    assert!(!scene.gate.enter(), "a muted gate lets nobody in");
}

/// A callback mutes: it does not wait for itself, and no other begins from then on.
pub fn gate_muted_inside(callers: usize) {
    let scene = Arc::new(Scene::default());
    let threads: Vec<_> = (0..callers)
        .map(|_| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || {
                let before = scene.muted.load(Ordering::SeqCst);
                if scene.gate.enter() {
                    assert!(!before, "a callback began after another one had muted");
                    scene.gate.mute();
                    scene.muted.store(true, Ordering::SeqCst);
                    scene.gate.leave();
                }
            })
        })
        .collect();
    let waiter = Arc::clone(&scene);
    let waiter = thread::spawn(move || assert!(waiter.gate.wait_quiet(None)));
    threads.into_iter().chain([waiter]).for_each(|t| t.join().expect("no panic"));
    assert!(!scene.gate.enter());
}
