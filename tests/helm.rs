//! A taker that keeps coming back runs its runtime's only worker itself (`src/runtime/helm.rs`), and what must hold then: the
//! worker's thread goes on when the taker stays away, others wake it, callbacks never run on it, and the end comes.
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
mod abi_world;

use abi_world::*;
use core::ffi::c_void;
use core::ptr::null_mut;
use std::sync::Mutex;
use std::thread::ThreadId;
use std::time::Duration;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{buf, config, endpoint_calls, handle_calls, qlog, queue, runtime_calls, stream_calls};

/// Threads on which something ended or was called, in order.
struct Threads(Mutex<Vec<ThreadId>>);

impl Threads {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self(Mutex::default())))
    }

    fn pointer(&'static self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    fn note(ctx: *mut c_void) {
        let this = unsafe { &*ctx.cast::<Self>() };
        this.0.lock().expect("a lock").push(std::thread::current().id());
    }

    fn all(&self) -> Vec<ThreadId> {
        self.0.lock().expect("a lock").clone()
    }

    /// Nothing was called on this thread.
    fn assert_elsewhere(&self) {
        let threads = self.all();
        assert!(!threads.contains(&std::thread::current().id()), "{} calls", threads.len());
    }

    /// Waits for one more than the `known`; nobody takes events meanwhile.
    fn next(&self, known: usize) {
        while self.all().len() <= known {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

unsafe extern "C" fn released(ctx: *mut c_void) {
    Threads::note(ctx);
}

unsafe extern "C" fn called(ctx: *mut c_void, _event: *const wb_event) {
    Threads::note(ctx);
}

unsafe extern "C" fn logged(ctx: *mut c_void, _conn: wb_conn, _data: *const c_void, _len: usize, _end: u32) {
    Threads::note(ctx);
}

/// Sends lent memory, too much to be copied: its end tells who received its acknowledgment.
fn send_lent(stream: wb_stream, threads: &'static Threads) {
    static BYTES: [u8; 16384] = [7; 16384];
    let (mut lent, mut taken) = (0, 0usize);
    let data = BYTES.as_ptr().cast_mut().cast();
    ok(unsafe { buf::wb_buf_wrap(data, BYTES.len(), Some(released), threads.pointer(), &raw mut lent) });
    ok(unsafe { stream_calls::wb_stream_send(stream, &raw const lent, 1, 0, &raw mut taken) });
    assert_eq!(taken, BYTES.len());
    ok(handle_calls::wb_handle_release(lent));
}

fn drain(stream: wb_stream) {
    let mut room = [0u8; 4096];
    let (mut got, mut fin) = (0usize, 0u8);
    let read = |got: *mut usize, fin: *mut u8, room: &mut [u8]| unsafe {
        stream_calls::wb_stream_recv_copy(stream, room.as_mut_ptr().cast(), room.len(), got, fin)
    };
    while read(&raw mut got, &raw mut fin, &mut room) == WB_OK {}
}

struct Exchange {
    world: World,
    conn: wb_conn,
    /// Client's and server's end.
    ends: [wb_stream; 2],
    threads: &'static Threads,
    tls: wb_tls,
}

impl Exchange {
    fn new() -> Self {
        let pair = Pair::new();
        let tls = client_tls(&pair);
        let mut world = World::new(server_tls(&pair), &[]);
        let conn = world.connect(tls, &[]);
        world.connected(conn);
        let (mut client, threads) = (0, Threads::new());
        ok(unsafe { stream_calls::wb_stream_open(conn, WB_STREAM_BIDI, &raw mut client) });
        send_lent(client, threads);
        let server = world.wait("a stream", |e| e.kind == WB_EV_STREAM_INCOMING).stream;
        ok(handle_calls::wb_handle_retain(server));
        drain(server);
        Self { world, conn, ends: [client, server], threads, tls }
    }

    /// Something to and fro.
    fn exchange(&mut self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to) = (self.ends[from], self.ends[to]);
            send_lent(from, self.threads);
            self.world.wait("something", |e| e.kind == WB_EV_STREAM_READABLE && e.stream == to);
            drain(to);
        }
        self.world.events.clear();
    }

    fn exchanges(&mut self, times: u32) {
        for _ in 0..times {
            self.exchange();
        }
    }

    /// Until something was called `least` times, and on.
    fn until_called(&mut self, calls: &Threads, least: usize) {
        while calls.all().len() < least {
            self.exchange();
        }
        self.exchanges(200);
    }

    /// Until this thread received an acknowledgment.
    fn steer(&mut self) {
        let me = std::thread::current().id();
        let known = self.threads.all().len();
        while !self.threads.all().iter().skip(known).any(|t| *t == me) {
            self.exchange();
        }
    }

    fn end(self) {
        for stream in self.ends {
            ok(handle_calls::wb_handle_release(stream));
        }
        self.world.end();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_comes_back_steers_and_who_stays_away_is_stood_in_for() {
    let mut pair = Exchange::new();
    for _ in 0..20 {
        pair.steer();
        // What was sent before may end now; then comes what nobody but the worker's thread can see to.
        std::thread::sleep(Duration::from_millis(5));
        let known = pair.threads.all().len();
        send_lent(pair.ends[0], pair.threads);
        pair.threads.next(known);
    }
    pair.end();
}

#[cfg(target_os = "linux")]
#[test]
fn what_another_thread_leaves_while_the_taker_is_away_is_done() {
    let mut pair = Exchange::new();
    for _ in 0..20 {
        pair.steer();
        let (stream, threads, known) = (pair.ends[0], pair.threads, pair.threads.all().len());
        let other = std::thread::spawn(move || {
            send_lent(stream, threads);
            threads.next(known);
        });
        other.join().expect("the other thread");
    }
    pair.end();
}

#[test]
fn a_wake_reaches_a_taker_that_steers() {
    let mut pair = Exchange::new();
    let handle = pair.world.queue;
    for round in 0..20u64 {
        pair.exchanges(20);
        let waker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(round * 150));
            ok(queue::wb_queue_wake(handle));
        });
        pair.world.wait("the wake", |e| e.kind == WB_EV_WAKE);
        waker.join().expect("the waker");
    }
    pair.end();
}

#[test]
fn the_end_comes_to_a_taker_that_steers() {
    let mut pair = Exchange::new();
    pair.exchanges(50);
    let runtime = pair.world.runtime;
    let closer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(3));
        ok(runtime_calls::wb_runtime_close(runtime, WB_CLOSE_NOW));
    });
    pair.world.wait("the end", |e| e.kind == WB_EV_RUNTIME_CLOSED);
    closer.join().expect("the closer");
    pair.end();
}

#[test]
fn callbacks_never_run_on_a_taker() {
    let mut pair = Exchange::new();
    let calls = Threads::new();
    pair.exchanges(50);
    // From now on one connection has a callback.
    let mut conn = 0;
    let conf = conn_config(&[]);
    ok(unsafe { config::wb_config_on(conf, WB_GROUP_ALL, Some(called), calls.pointer(), None) });
    let host = c"127.0.0.1".as_ptr();
    let World { runtime, port, .. } = pair.world;
    ok(unsafe { endpoint_calls::wb_client_connect(runtime, conf, pair.tls, host, usize::MAX, port, &raw mut conn) });
    ok(handle_calls::wb_handle_release(conf));
    pair.until_called(calls, 1);
    ok(unsafe { whimbrel::ffi::conn_calls::wb_conn_close(conn, 0, null_mut(), 0) });
    calls.assert_elsewhere();
    pair.end();
}

/// Nor do functions for logs.
#[test]
fn logs_never_are_written_on_a_taker() {
    let mut pair = Exchange::new();
    let calls = Threads::new();
    pair.exchanges(50);
    ok(unsafe { qlog::wb_qlog(pair.conn, Some(logged), calls.pointer(), None) });
    pair.until_called(calls, 3);
    calls.assert_elsewhere();
    pair.end();
}

/// Takers that do not know of each other: none of them is left asleep.
#[test]
fn several_takers_share_a_queue_with_a_worker() {
    let pair = Exchange::new();
    let (handle, [client, server], threads) = (pair.world.queue, pair.ends, pair.threads);
    let takers: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(move || {
                let mut got = 0u32;
                loop {
                    let mut batch: wb_batch = unsafe { core::mem::zeroed() };
                    batch.struct_size = size_of::<wb_batch>() as u32;
                    ok(unsafe { queue::wb_queue_take(handle, &raw mut batch, 1, 20 * SECOND) });
                    let event = unsafe { *batch.events.cast::<wb_event>() };
                    ok(unsafe { queue::wb_queue_return(handle, &raw mut batch) });
                    match event.kind {
                        WB_EV_STREAM_READABLE if event.stream == server || event.stream == client => {
                            got += 1;
                            drain(event.stream);
                            send_lent(event.stream, threads);
                        }
                        WB_EV_WAKE => return got,
                        _ => {}
                    }
                }
            })
        })
        .collect();
    for stream in pair.ends {
        send_lent(stream, threads);
    }
    while threads.all().len() < 2000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let got: u32 = takers
        .into_iter()
        .map(|taker| {
            while !taker.is_finished() {
                ok(queue::wb_queue_wake(handle));
                std::thread::sleep(Duration::from_millis(1));
            }
            taker.join().expect("a taker")
        })
        .sum();
    assert!(got >= 500, "{got}");
    pair.end();
}
