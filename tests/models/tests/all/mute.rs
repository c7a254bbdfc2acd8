//! `wb_runtime_mute`: after it returns no callback runs or begins; inside a callback it does not wait for itself.
use super::explore::{exhaust, explore};
use super::world::{CLIENT, Events, World, ok};
use core::ffi::c_void;
use shuttle::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shuttle::thread;
use std::sync::Arc;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::handle_calls::wb_handle_release;
use whimbrel::ffi::inside;
use whimbrel::ffi::runtime_calls::wb_runtime_mute;
use whimbrel::ffi::status::*;
use whimbrel::ffi::stream_calls::{wb_stream_open, wb_stream_send_copy};

#[derive(Default)]
struct State {
    core: std::sync::atomic::AtomicU64,
    /// Mute from inside the next callback of a stream.
    inside: AtomicBool,
    running: AtomicU32,
    muted: AtomicBool,
    calls: AtomicU32,
}

unsafe extern "C" fn on_event(ctx: *mut c_void, event: *const wb_event) {
    // SAFETY: the state outlives the schedule; the event is valid during the call.
    let (state, event) = unsafe { (&*ctx.cast::<State>(), &*event) };
    state.running.fetch_add(1, Ordering::SeqCst);
    assert!(!state.muted.load(Ordering::SeqCst), "a callback began after mute had returned");
    state.calls.fetch_add(1, Ordering::SeqCst);
    if event.kind >> 8 == WB_GROUP_STREAM as u16 && state.inside.load(Ordering::SeqCst) {
        let core = state.core.load(Ordering::SeqCst);
        assert_eq!(wb_runtime_mute(core, -1), WB_E_WOULD_DEADLOCK);
        state.muted.store(true, Ordering::SeqCst);
        // The running callback goes on.
        assert_eq!(wb_runtime_mute(core, 0), WB_E_WOULD_DEADLOCK);
    } else {
        assert!(!state.muted.load(Ordering::SeqCst), "mute did not wait for a callback");
    }
    state.running.fetch_sub(1, Ordering::SeqCst);
}

fn mute(inside: bool) {
    let state = Arc::new(State::default());
    let world = World::connected(Events::Callback(on_event, Arc::as_ptr(&state) as usize));
    let core = world.cores[CLIENT];
    state.core.store(core, Ordering::SeqCst);
    state.inside.store(inside, Ordering::SeqCst);
    let before = state.calls.load(Ordering::SeqCst);
    let (mut stream, mut taken) = (0, 0);
    // SAFETY: bytes and out parameters of ours.
    unsafe {
        ok(wb_stream_open(world.conn, WB_STREAM_UNI, &raw mut stream));
        ok(wb_stream_send_copy(stream, b"text".as_ptr().cast(), 4, WB_FIN, &raw mut taken));
    }
    let done = Arc::new(AtomicBool::new(false));
    let carrier = world.carrier({
        let done = Arc::clone(&done);
        move || done.load(Ordering::SeqCst)
    });
    if !inside {
        let state = Arc::clone(&state);
        let muter = thread::spawn(move || {
            ok(wb_runtime_mute(core, -1));
            assert_eq!(state.running.load(Ordering::SeqCst), 0, "mute did not wait for a callback");
            state.muted.store(true, Ordering::SeqCst);
        });
        muter.join().expect("no panic");
    }
    done.store(true, Ordering::SeqCst);
    carrier.join().expect("no panic");
    world.settle();
    if inside {
        assert_eq!(state.calls.load(Ordering::SeqCst), before + 1, "callbacks began after one had muted");
    }
    let _ = wb_handle_release(stream);
    world.end();
}

#[test]
fn the_gate_shuts_for_all_callers() {
    exhaust("mute, gate, 1 caller", || inside::gate(1, 1, 1));
    explore("mute, gate, 3 callers", 40_000, || inside::gate(3, 2, 1));
    explore("mute, gate, 2 callers and 2 muters", 20_000, || inside::gate(2, 2, 2));
    explore("mute, gate muted inside a callback", 20_000, || inside::gate_muted_inside(3));
}

#[test]
fn nothing_calls_back_after_mute() {
    explore("mute, from another thread", 1000, || mute(false));
}

#[test]
fn mute_inside_a_callback_does_not_wait_for_itself() {
    explore("mute, inside a callback", 600, || mute(true));
}
