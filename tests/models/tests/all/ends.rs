//! Ends: one CLOSED per object, after all its other events, then its destructor once, whoever closes and releases meanwhile.
use super::explore::explore;
use super::world::{CLIENT, Events, Seen, World, ok, take};
use core::ffi::c_void;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::conn_calls::wb_conn_close;
use whimbrel::ffi::handle_calls::{wb_handle_release, wb_handle_set_user};
use whimbrel::ffi::runtime_calls::wb_runtime_close;
use whimbrel::ffi::status::*;
use whimbrel::ffi::stream_calls::{wb_stream_open, wb_stream_reset, wb_stream_send_copy};

unsafe extern "C" fn destroy(count: *mut c_void) {
    // SAFETY: the counter outlives the schedule.
    let before = unsafe { &*count.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
    assert_eq!(before, 0, "a destructor ran twice");
}

fn attach(handle: wb_handle, count: &AtomicU32) -> bool {
    // SAFETY: the counter outlives the schedule.
    unsafe { wb_handle_set_user(handle, core::ptr::from_ref(count).cast_mut().cast(), Some(destroy)) == WB_OK }
}

/// The order of events of one object, and that its CLOSED is the last and the only one.
fn check(events: &[Seen]) {
    let mut closed: HashSet<u64> = HashSet::new();
    for e in events {
        assert!(e.stream == 0 || !closed.contains(&e.stream), "{e:x?} after its stream's CLOSED");
        assert!(e.conn == 0 || !closed.contains(&e.conn), "{e:x?} after its connection's CLOSED");
        match e.kind {
            WB_EV_STREAM_CLOSED => assert!(closed.insert(e.stream)),
            WB_EV_CONN_CLOSED => assert!(closed.insert(e.conn)),
            _ => {}
        }
    }
    let count = |kind| events.iter().filter(|e| e.kind == kind).count();
    assert_eq!(count(WB_EV_CONN_CLOSED), 1);
    assert_eq!(count(WB_EV_RUNTIME_CLOSED), 1);
    assert_eq!(events.last().map(|e| e.kind), Some(WB_EV_RUNTIME_CLOSED), "RUNTIME_CLOSED is the last of all");
}

/// One thread uses streams and releases them in every state, one closes the connection, then the core, one carries, one takes.
fn ends() {
    let world = World::connected(Events::Queue);
    let (queue, conn, core) = (world.queues[CLIENT], world.conn, world.cores[CLIENT]);
    let counts: Arc<[AtomicU32; 3]> = Arc::default();
    let streams: [u64; 2] = [WB_STREAM_BIDI, WB_STREAM_UNI].map(|kind| {
        let mut stream = 0;
        // SAFETY: an out parameter of ours.
        ok(unsafe { wb_stream_open(conn, kind, &raw mut stream) });
        stream
    });
    let mut attached: u32 = u32::from(attach(conn, &counts[2]));
    for (stream, count) in streams.iter().zip(counts.iter()) {
        attached += u32::from(attach(*stream, count));
    }
    let done = Arc::new(AtomicBool::new(false));
    let carrier = world.carrier({
        let done = Arc::clone(&done);
        move || done.load(Ordering::SeqCst)
    });
    let user = thread::spawn(move || {
        for (i, stream) in streams.into_iter().enumerate() {
            let mut taken = 0;
            // SAFETY: bytes and out parameters of ours.
            let s = unsafe { wb_stream_send_copy(stream, b"text".as_ptr().cast(), 4, WB_FIN, &raw mut taken) };
            assert!(s == WB_OK || s < 0);
            if i == 0 {
                let s = wb_stream_reset(stream, 3);
                assert!(s <= 0);
            }
            ok(wb_handle_release(stream));
        }
    });
    let closer = thread::spawn(move || {
        // SAFETY: no text.
        let s = unsafe { wb_conn_close(conn, 5, core::ptr::null(), 0) };
        assert!(matches!(s, WB_OK | WB_E_STALE));
        ok(wb_runtime_close(core, WB_CLOSE_NOW));
    });
    let taker = thread::spawn(move || {
        let mut all: Vec<Seen> = Vec::new();
        while all.iter().all(|e| e.kind != WB_EV_RUNTIME_CLOSED) {
            all.extend(take(queue, -1).expect("the queue is ours"));
        }
        all
    });
    for thread in [user, closer] {
        thread.join().expect("no panic");
    }
    let mut events = taker.join().expect("no panic");
    done.store(true, Ordering::SeqCst);
    carrier.join().expect("no panic");
    events.extend(world.drain(CLIENT));
    check(&events);
    world.end();
    let ended: u32 = counts.iter().map(|c| c.load(Ordering::SeqCst)).sum();
    assert_eq!(ended, attached, "each destructor runs once");
}

/// Two threads attach pointers to a stream that ends: each pointer's destructor runs once.
fn pointers() {
    let world = World::connected(Events::Queue);
    let counts: Arc<[AtomicU32; 3]> = Arc::default();
    let mut stream = 0;
    // SAFETY: an out parameter of ours.
    ok(unsafe { wb_stream_open(world.conn, WB_STREAM_UNI, &raw mut stream) });
    let mut attached = u32::from(attach(stream, &counts[0]));
    let threads: Vec<_> = (1..3)
        .map(|n| {
            let counts = Arc::clone(&counts);
            thread::spawn(move || u32::from(attach(stream, &counts[n])))
        })
        .collect();
    let ender = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let _ = wb_stream_reset(stream, 1);
            world.settle();
            world.drain(CLIENT);
            let _ = wb_handle_release(stream);
        })
    };
    attached += threads.into_iter().map(|t| t.join().expect("no panic")).sum::<u32>();
    ender.join().expect("no panic");
    world.end();
    let ended: u32 = counts.iter().map(|c| c.load(Ordering::SeqCst)).sum();
    assert_eq!(ended, attached, "each destructor runs once");
}

#[test]
fn one_closed_after_all_others() {
    explore("ends, one CLOSED after all others", 1500, ends);
}

#[test]
fn each_destructor_runs_once() {
    explore("ends, destructors", 1000, pointers);
}
