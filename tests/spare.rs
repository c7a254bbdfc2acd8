//! Events that an application does without (`events.spare`): they are not told, and streams end all the same, no earlier than the
//! application is through with their events.
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
mod abi_world;

use abi_world::*;
use core::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{config, endpoint_calls, handle_calls, queue, stream_calls};

const ALL: u64 = WB_SPARE_SEND_DONE | WB_SPARE_CLOSED | WB_SPARE_FIRST_READABLE;
const EACH: [u64; 5] = [0, WB_SPARE_SEND_DONE, WB_SPARE_CLOSED, WB_SPARE_FIRST_READABLE, ALL];
const REQUESTS: usize = 100;

/// Counts runs of the destructor.
type Count = AtomicUsize;

extern "C" fn count(ctx: *mut c_void) {
    unsafe { &*ctx.cast::<Count>() }.fetch_add(1, Ordering::SeqCst);
}

fn new_count() -> &'static Count {
    Box::leak(Box::default())
}

fn counted(stream: wb_stream, counter: &'static Count) {
    let pointer = core::ptr::from_ref(counter).cast_mut().cast();
    ok(unsafe { handle_calls::wb_handle_set_user(stream, pointer, Some(count)) });
}

fn send(stream: wb_stream, bytes: &[u8]) {
    let mut taken = 0usize;
    let (data, len) = (pointer(bytes), bytes.len());
    ok(unsafe { stream_calls::wb_stream_send_copy(stream, data, len, WB_FIN, &raw mut taken) });
}

/// Reads what is there; whether the end was.
fn read(stream: wb_stream) -> bool {
    let mut room = [0u8; 4096];
    let (mut got, mut fin) = (0usize, 0u8);
    loop {
        let (at, len) = (room.as_mut_ptr().cast(), room.len());
        match unsafe { stream_calls::wb_stream_recv_copy(stream, at, len, &raw mut got, &raw mut fin) } {
            WB_OK if fin == 1 => return true,
            WB_OK => {}
            other => {
                // The end was read when the stream was told.
                assert!(matches!(other, WB_E_WOULD_BLOCK | WB_E_FINISHED), "{other}");
                return false;
            }
        }
    }
}

fn ask(conn: wb_conn, counter: &'static Count) -> wb_stream {
    let mut stream = 0;
    ok(unsafe { stream_calls::wb_stream_open(conn, WB_STREAM_BIDI, &raw mut stream) });
    counted(stream, counter);
    send(stream, b"request");
    stream
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What one event makes a server and a client in one do.
struct Peers {
    of_server: &'static Count,
    of_client: &'static Count,
    answers: AtomicUsize,
    kinds: Mutex<Vec<u16>>,
    /// Streams that the server was told of.
    asked: Mutex<Vec<wb_stream>>,
}

impl Peers {
    fn new() -> Self {
        Self {
            of_server: new_count(),
            of_client: new_count(),
            answers: AtomicUsize::new(0),
            kinds: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    fn on(&self, kind: u16, stream: wb_stream) {
        self.kinds.lock().unwrap().push(kind);
        if kind == WB_EV_STREAM_INCOMING {
            counted(stream, self.of_server);
            self.asked.lock().unwrap().push(stream);
        } else if kind != WB_EV_STREAM_READABLE {
            return;
        }
        // What is told is read: nothing else may come of it.
        if !read(stream) {
            return;
        }
        if self.asked.lock().unwrap().contains(&stream) {
            send(stream, b"answer");
        } else {
            ok(handle_calls::wb_handle_release(stream));
            self.answers.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn is_through(&self) -> bool {
        self.answers.load(Ordering::SeqCst) == REQUESTS
    }

    fn count(&self, kind: u16) -> usize {
        self.kinds.lock().unwrap().iter().filter(|k| **k == kind).count()
    }

    fn check(&self, spared: u64) {
        let told = |bit| if spared & bit == 0 { 2 * REQUESTS } else { 0 };
        assert_eq!(self.count(WB_EV_STREAM_INCOMING), REQUESTS);
        assert_eq!(self.count(WB_EV_STREAM_SEND_DONE), told(WB_SPARE_SEND_DONE), "of {spared}");
        assert_eq!(self.count(WB_EV_STREAM_CLOSED), told(WB_SPARE_CLOSED), "of {spared}");
        let readable = self.count(WB_EV_STREAM_READABLE);
        if spared & WB_SPARE_FIRST_READABLE == 0 {
            assert!(readable >= 2 * REQUESTS, "{readable}");
        } else {
            // Each answer is told; a request again only if a packet ends within it.
            assert!((REQUESTS..REQUESTS + REQUESTS / 4).contains(&readable), "{readable}");
        }
        // Handles that came with an event have gone with their streams.
        for stream in self.asked.lock().unwrap().iter() {
            assert_eq!(handle_calls::wb_handle_retain(*stream), WB_E_STALE);
        }
    }
}

fn by_queue(workers: u64, spared: u64) {
    let pair = Pair::new();
    let settings = [(WB_KEY_SPARE, spared)];
    let mut world = World::with_workers(server_tls(&pair), workers, &settings);
    let conn = world.connect(client_tls(&pair), &settings);
    world.connected(conn);
    world.events.clear();
    let peers = Peers::new();
    let ended = || (peers.of_client.load(Ordering::SeqCst), peers.of_server.load(Ordering::SeqCst));
    for _ in 0..REQUESTS {
        ask(conn, peers.of_client);
    }
    let begin = Instant::now();
    while !peers.is_through() || ended() != (REQUESTS, REQUESTS) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?} of {spared}: {:?}", ended(), peers.kinds);
        take(&world, 10_000_000, |kind, stream| peers.on(kind, stream));
    }
    peers.check(spared);
    world.end();
    assert_eq!(ended(), (REQUESTS, REQUESTS), "once each");
}

/// Takes a batch, shows its events of streams, and gives it back.
fn take(world: &World, timeout: i64, mut show: impl FnMut(u16, wb_stream)) {
    let Some(mut batch) = taken(world, timeout) else { return };
    for (kind, stream) in events(&batch) {
        show(kind, stream);
    }
    ok(unsafe { queue::wb_queue_return(world.queue, &raw mut batch) });
}

fn taken(world: &World, timeout: i64) -> Option<wb_batch> {
    let mut batch: wb_batch = unsafe { core::mem::zeroed() };
    batch.struct_size = size_of::<wb_batch>() as u32;
    let status = unsafe { queue::wb_queue_take(world.queue, &raw mut batch, 64, timeout) };
    assert!(status == WB_OK || status == WB_E_TIMEOUT, "{status}");
    (status == WB_OK).then_some(batch)
}

fn events(batch: &wb_batch) -> Vec<(u16, wb_stream)> {
    let at = |i: usize| unsafe { &*batch.events.cast::<u8>().add(i * batch.stride as usize).cast::<wb_event>() };
    (0..batch.count).map(at).map(|event| (event.kind, event.stream)).filter(|(kind, _)| kind >> 8 == 6).collect()
}

#[test]
fn from_a_queue_whose_taker_runs_the_worker() {
    EACH.iter().for_each(|spared| by_queue(1, *spared));
}

#[test]
fn from_a_queue_that_other_threads_fill() {
    EACH.iter().for_each(|spared| by_queue(2, *spared));
}

#[test]
fn by_callbacks() {
    extern "C" fn on_event(ctx: *mut c_void, event: *const wb_event) {
        let event = unsafe { &*event };
        if event.kind >> 8 == 6 {
            unsafe { &*ctx.cast::<Peers>() }.on(event.kind, event.stream);
        }
    }
    for spared in EACH {
        let pair = Pair::new();
        let peers: &'static Peers = Box::leak(Box::new(Peers::new()));
        let mut world = World::new(server_tls(&pair), &[]);
        let conf = conn_config(&[(WB_KEY_SPARE, spared)]);
        let (ctx, group) = (core::ptr::from_ref(peers).cast_mut().cast(), WB_GROUP_STREAM);
        ok(unsafe { config::wb_config_on(conf, group, Some(on_event), ctx, None) });
        let (mut endpoint, mut conn, mut address) = (0, 0, wb_addr::default());
        let host = c"127.0.0.1".as_ptr();
        unsafe {
            let (runtime, tls) = (world.runtime, server_tls(&pair));
            ok(endpoint_calls::wb_server_listen(runtime, conf, tls, host, usize::MAX, 0, &raw mut endpoint));
            ok(endpoint_calls::wb_endpoint_address(endpoint, &raw mut address));
            let (tls, port) = (client_tls(&pair), address.port);
            ok(endpoint_calls::wb_client_connect(runtime, conf, tls, host, usize::MAX, port, &raw mut conn));
        }
        world.connected(conn);
        for _ in 0..REQUESTS {
            ask(conn, peers.of_client);
        }
        let ended = || (peers.of_client.load(Ordering::SeqCst), peers.of_server.load(Ordering::SeqCst));
        until("all are answered and have ended", || peers.is_through() && ended() == (REQUESTS, REQUESTS));
        peers.check(spared);
        world.end();
        assert_eq!(ended(), (REQUESTS, REQUESTS), "once each");
    }
}

/// A request of which the answer is in a batch in hand.
fn answered(world: &mut World, conn: wb_conn, counter: &'static Count) -> (wb_stream, wb_batch) {
    let stream = ask(conn, counter);
    let asked = world.wait("the request", |e| e.kind == WB_EV_STREAM_INCOMING).stream;
    assert!(read(asked));
    send(asked, b"answer");
    loop {
        let mut batch = taken(world, 20 * SECOND).expect("an answer");
        if events(&batch).contains(&(WB_EV_STREAM_READABLE, stream)) {
            return (stream, batch);
        }
        ok(unsafe { queue::wb_queue_return(world.queue, &raw mut batch) });
    }
}

/// The end of a stream is not told, so the application cannot know that a pointer in an event that it has in hand is no good any
/// more: it has to be good.
#[test]
fn a_stream_outlives_its_events_in_hand_whatever_is_returned_first() {
    let pair = Pair::new();
    let settings = [(WB_KEY_SPARE, ALL)];
    let mut world = World::with_workers(server_tls(&pair), 2, &settings);
    let conn = world.connect(client_tls(&pair), &settings);
    world.connected(conn);
    let counter = new_count();
    let (first, mut held) = answered(&mut world, conn, counter);
    let (second, mut later) = answered(&mut world, conn, counter);
    for stream in [first, second] {
        assert!(read(stream));
        ok(handle_calls::wb_handle_release(stream));
    }
    // Whole exchanges later, whose batches are returned, the transport has long done with the stream.
    let peers = Peers::new();
    for round in 1..=20 {
        ask(conn, peers.of_client);
        let begin = Instant::now();
        while peers.answers.load(Ordering::SeqCst) < round {
            assert!(begin.elapsed() < Duration::from_secs(20), "round {round}");
            take(&world, 10_000_000, |kind, stream| peers.on(kind, stream));
        }
    }
    assert_eq!(counter.load(Ordering::SeqCst), 0, "events that show their pointers are in hand");
    ok(unsafe { queue::wb_queue_return(world.queue, &raw mut later) });
    assert_eq!(counter.load(Ordering::SeqCst), 0, "an older batch is still in hand");
    ok(unsafe { queue::wb_queue_return(world.queue, &raw mut held) });
    assert_eq!(counter.load(Ordering::SeqCst), 2);
    world.end();
    assert_eq!(counter.load(Ordering::SeqCst), 2);
}
