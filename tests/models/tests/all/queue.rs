//! The event queue: WOULD_BLOCK is followed by one WRITABLE, and who waits is woken.
use super::explore::explore;
use super::world::{CLIENT, Events, World, ok, take};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;
use std::sync::Arc;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::handle_calls::wb_handle_release;
use whimbrel::ffi::queue::wb_queue_wake;
use whimbrel::ffi::status::*;
use whimbrel::ffi::stream_calls::{wb_stream_open, wb_stream_send_copy};

/// A stream's send buffer has 1 MiB: more than one refusal.
const BYTES: usize = (2 << 20) + (400 << 10);

/// A sender who waits for WRITABLE whenever it is refused room, while another thread carries what makes room.
fn writable() {
    static BLOCK: [u8; BYTES] = [7; BYTES];
    let world = World::connected(Events::Queue);
    let queue = world.queues[CLIENT];
    let done = Arc::new(AtomicBool::new(false));
    let carrier = world.carrier({
        let done = Arc::clone(&done);
        move || done.load(Ordering::SeqCst)
    });
    let conn = world.conn;
    let sender = thread::spawn(move || {
        let (mut stream, mut sent, mut refused, mut writable) = (0, 0, 0, 0);
        // SAFETY: an out parameter of ours.
        ok(unsafe { wb_stream_open(conn, WB_STREAM_UNI, &raw mut stream) });
        while sent < BYTES {
            let mut taken = 0;
            let rest = &BLOCK[sent..];
            // SAFETY: live bytes, an out parameter of ours.
            let s = unsafe { wb_stream_send_copy(stream, rest.as_ptr().cast(), rest.len(), WB_FIN, &raw mut taken) };
            sent += taken;
            if s == WB_OK {
                break;
            }
            assert!(matches!(s, WB_PARTIAL | WB_E_WOULD_BLOCK), "send gives {s}");
            refused += 1;
            while writable < refused {
                let events = take(queue, -1).expect("somebody wakes us");
                writable += events.iter().filter(|e| e.kind == WB_EV_STREAM_WRITABLE).count();
            }
            assert_eq!(writable, refused, "one WRITABLE for each refusal");
        }
        assert!(refused > 1);
        // To the stream's end: no WRITABLE that nobody waits for, and one CLOSED.
        loop {
            let events = take(queue, -1).expect("somebody wakes us");
            assert!(events.iter().all(|e| e.kind != WB_EV_STREAM_WRITABLE), "a WRITABLE too many");
            if events.iter().any(|e| e.kind == WB_EV_STREAM_CLOSED && e.stream == stream) {
                break;
            }
        }
        let _ = wb_handle_release(stream);
    });
    sender.join().expect("no panic");
    done.store(true, Ordering::SeqCst);
    carrier.join().expect("no panic");
    world.end();
}

/// A wake, events, and a taker who waits without limit: the wake reaches it.
fn wake() {
    let world = World::connected(Events::Queue);
    let queue = world.queues[CLIENT];
    let waker = thread::spawn(move || ok(wb_queue_wake(queue)));
    let taker = thread::spawn(move || {
        let mut wakes = 0;
        while wakes == 0 {
            let events = take(queue, -1).expect("somebody wakes us");
            wakes += events.iter().filter(|e| e.kind == WB_EV_WAKE).count();
        }
        assert_eq!(wakes, 1);
    });
    let sender = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            let (mut stream, mut taken) = (0, 0);
            // SAFETY: bytes and out parameters of ours.
            unsafe {
                ok(wb_stream_open(world.conn, WB_STREAM_UNI, &raw mut stream));
                ok(wb_stream_send_copy(stream, b"text".as_ptr().cast(), 4, WB_FIN, &raw mut taken));
            }
            world.settle();
            let _ = wb_handle_release(stream);
        })
    };
    [taker, waker, sender].into_iter().for_each(|t| t.join().expect("no panic"));
    assert!(world.drain(CLIENT).iter().all(|e| e.kind != WB_EV_WAKE), "one wake, one event");
    world.end();
}

#[test]
fn would_block_is_followed_by_one_writable() {
    explore("queue, one WRITABLE", 400, writable);
}

/// Nothing but a wake, so that no event makes up for a wake that is lost.
fn wake_alone() {
    let world = World::connected(Events::Queue);
    let queue = world.queues[CLIENT];
    let waker = thread::spawn(move || ok(wb_queue_wake(queue)));
    let events = take(queue, -1).expect("somebody wakes us");
    assert_eq!(events.iter().map(|e| e.kind).collect::<Vec<_>>(), [WB_EV_WAKE]);
    waker.join().expect("no panic");
    world.end();
}

#[test]
fn a_taker_is_woken() {
    explore("queue, a wake alone", 1000, wake_alone);
    explore("queue, a wake among events", 800, wake);
}
