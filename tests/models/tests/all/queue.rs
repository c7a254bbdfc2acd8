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

/// A stream's send buffer has 1 MiB, and half of it must be free for a WRITABLE: more than one refusal.
const BYTES: usize = (1 << 20) + (800 << 10);

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
        assert!(refused > 0);
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

/// Wakes, events and two takers who wait without limit: each wake reaches one of them.
fn wake() {
    let world = World::connected(Events::Queue);
    let queue = world.queues[CLIENT];
    let wakers: Vec<_> = (0..2).map(|_| thread::spawn(move || ok(wb_queue_wake(queue)))).collect();
    let taker = thread::spawn(move || {
        let mut wakes = 0;
        while wakes == 0 {
            let events = take(queue, -1).expect("somebody wakes us");
            wakes += events.iter().filter(|e| e.kind == WB_EV_WAKE).count();
        }
        wakes
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
    let wakes = taker.join().expect("no panic");
    wakers.into_iter().chain([sender]).for_each(|t| t.join().expect("no panic"));
    let rest = world.drain(CLIENT).iter().filter(|e| e.kind == WB_EV_WAKE).count();
    assert!(wakes + rest <= 2, "{wakes} and {rest} wakes of 2");
    world.end();
}

#[test]
fn would_block_is_followed_by_one_writable() {
    explore("queue, one WRITABLE", 400, writable);
}

#[test]
fn a_taker_is_woken() {
    explore("queue, wakes", 1500, wake);
}
