//! A bulk transfer in its steady state allocates nothing: no memory per packet, per acknowledgement, per frame.
//!
//! The allocator counts what is asked for inside calls into the library while both ends move data over a virtual link
//! of constant speed and delay. The first megabytes warm the pools up; after that the count has to stay at zero.
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use whimbrel::base::{Dir, Ecn, FourTuple, Pcg, StreamId, Timestamp};
use whimbrel::collections::Chunk;
use whimbrel::connection::{Connection, Event, Transmit};
use whimbrel::endpoint::{Endpoint, EndpointConfig, Routed};
use whimbrel::sim::{Scenario, identity};
use whimbrel::streams::{ReadError, WriteError};

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static TRAP: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn note() {
    let armed = ARMED.try_with(Cell::get).unwrap_or(false);
    if armed {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        if TRAP.try_with(Cell::get).unwrap_or(false) {
            // `WB_TRAP=1`: where does it come from? (The report allocates, so it is not counted.)
            ARMED.with(|a| a.set(false));
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
            ARMED.with(|a| a.set(true));
        }
    }
}

// SAFETY: everything is handed on to the system's allocator; counting touches thread-local cells without destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs library code with the counter on.
fn counted<R>(f: impl FnOnce() -> R) -> R {
    ARMED.with(|a| a.set(true));
    let result = f();
    ARMED.with(|a| a.set(false));
    result
}

/// How the application hands bytes over and takes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    Copy,
    Share,
}

const DELAY: Duration = Duration::from_millis(5);
/// Bytes per second.
const RATE: u64 = 50_000_000;

/// One end, its datagrams on the way, and the memory for them, used again and again.
struct End {
    conn: Box<Connection>,
    tuple: FourTuple,
    inbox: VecDeque<(Timestamp, Ecn, Vec<u8>)>,
    busy_until: Timestamp,
    sent: u64,
}

struct Bulk {
    ends: [End; 2],
    spare: Vec<Vec<u8>>,
    now: Timestamp,
    out: Vec<u8>,
    streams: Vec<StreamId>,
    read: u64,
    style: Style,
    block: Chunk,
    drop_every: u64,
    /// Blocked until `Writable`.
    blocked: Vec<StreamId>,
}

impl Bulk {
    fn new(style: Style, streams: usize, drop_every: u64) -> Self {
        let mut scenario = Scenario::clean(77);
        scenario.client.max_streams_uni = 1000;
        scenario.server.max_streams_uni = 1000;
        let endpoint = |server: bool| {
            let mut seed = 77 + u64::from(server) * 1000;
            let config = EndpointConfig { server, secret: [1 + server as u8; 32], ..EndpointConfig::default() };
            let rng = move || {
                seed += 1;
                Box::new(Pcg::new(seed)) as Box<dyn whimbrel::base::Rng>
            };
            Endpoint::new(config, Box::new(rng))
        };
        let addresses = ["10.0.0.1:5000", "192.0.2.1:443"].map(|a| a.parse().unwrap());
        let tuple = |me: usize| FourTuple { local: Some(addresses[me]), remote: addresses[1 - me], socket: 0 };
        let tls = (identity::client(false), identity::server(false));
        let mut now = Timestamp(1_000_000_000);
        let mut endpoints = [endpoint(false), endpoint(true)];
        let config = std::sync::Arc::new(scenario.client.clone());
        let client = endpoints[0].connect(config, &tls.0, identity::NAME, tuple(0), Vec::new(), now).unwrap();
        let mut keys = [Some(client.0), None];
        let mut conns = [Some(client.1), None];
        // The handshake, over a perfect wire.
        let mut out = vec![0; 65536];
        for _ in 0..200 {
            now = now + Duration::from_millis(1);
            for me in 0..2 {
                let Some(conn) = conns[me].as_mut() else { continue };
                if conn.deadline().is_some_and(|d| d <= now) {
                    conn.on_deadline(now);
                }
                endpoints[me].serve(keys[me].unwrap(), conn, now);
                let mut wire = Vec::new();
                while let Some(t) = conn.transmit(now, &mut out, 8) {
                    wire.extend(out[..t.len].chunks(t.segment.unwrap_or(t.len)).map(<[u8]>::to_vec));
                }
                for mut d in wire {
                    let to = tuple(1 - me);
                    match endpoints[1 - me].receive(&to, Ecn::NotEct, &mut d, now, &mut Vec::new()) {
                        Routed::Connection(_) => conns[1 - me].as_mut().unwrap().receive(&to, Ecn::NotEct, &mut d, now),
                        Routed::Incoming(i) => {
                            let config = std::sync::Arc::new(scenario.server.clone());
                            let (key, conn) = endpoints[1].accept(i, config, &tls.1, now).unwrap();
                            (keys[1], conns[1]) = (Some(key), Some(conn));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        let mut ends = [0, 1].map(|me| End {
            conn: conns[me].take().unwrap(),
            tuple: tuple(me),
            inbox: VecDeque::with_capacity(4096),
            busy_until: now,
            sent: 0,
        });
        assert!(ends.iter().all(|e| e.conn.is_confirmed()));
        let streams: Vec<_> = (0..streams).map(|_| ends[1].conn.open(Dir::Uni).unwrap()).collect();
        let block = Chunk::from_vec((0..256 << 10).map(|i: u32| (i % 251) as u8).collect());
        Self { ends, spare: Vec::new(), now, out, streams, read: 0, style, block, drop_every, blocked: Vec::new() }
    }

    /// Server writes, client reads.
    fn applications(&mut self) {
        let [client, server] = &mut self.ends;
        while let Some(event) = counted(|| server.conn.poll_event()) {
            if let Event::Stream(whimbrel::streams::StreamEvent::Writable { id }) = event {
                self.blocked.retain(|b| *b != id);
            }
        }
        for id in &self.streams {
            while !self.blocked.contains(id) {
                let taken = match self.style {
                    Style::Copy => {
                        let bytes = self.block.as_slice().unwrap();
                        counted(|| server.conn.write(*id, &bytes[..32 << 10]))
                    }
                    Style::Share => {
                        let chunk = self.block.clone();
                        counted(|| server.conn.write_chunk(*id, chunk))
                    }
                };
                let whole = if self.style == Style::Copy { 32 << 10 } else { self.block.len() };
                match taken {
                    Ok(n) if n == whole => {}
                    Ok(_) | Err(WriteError::Blocked) => self.blocked.push(*id),
                    Err(e) => panic!("{e}"),
                }
            }
        }
        while counted(|| client.conn.poll_event()).is_some() {}
        let mut buf = [0u8; 16 << 10];
        for id in &self.streams {
            loop {
                let got = match self.style {
                    Style::Copy => counted(|| client.conn.read(*id, &mut buf).map(|r| r.len)),
                    Style::Share => counted(|| client.conn.read_chunk(*id, 1 << 20).map(|(c, _)| c.len())),
                };
                match got {
                    Ok(n) => self.read += n as u64,
                    Err(ReadError::Blocked | ReadError::Unknown) => break,
                    Err(e) => panic!("{e}"),
                }
            }
        }
    }

    fn transmit(&mut self, me: usize) {
        let now = self.now;
        loop {
            let (end, out) = (&mut self.ends[me], &mut self.out);
            let Some(t): Option<Transmit> = counted(|| end.conn.transmit(now, out, 16)) else { break };
            for datagram in self.out[..t.len].chunks(t.segment.unwrap_or(t.len)) {
                let end = &mut self.ends[me];
                end.sent += 1;
                end.busy_until =
                    end.busy_until.max(now) + Duration::from_nanos(datagram.len() as u64 * 1_000_000_000 / RATE);
                let at = end.busy_until + DELAY;
                if self.drop_every > 0 && end.sent.is_multiple_of(self.drop_every) {
                    continue;
                }
                let mut bytes = self.spare.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(datagram);
                self.ends[1 - me].inbox.push_back((at, t.ecn, bytes));
            }
        }
    }

    /// One moment of virtual time.
    fn step(&mut self) {
        let next = self
            .ends
            .iter()
            .flat_map(|e| [e.conn.deadline(), e.inbox.front().map(|d| d.0)])
            .flatten()
            .min()
            .expect("something always happens");
        self.now = self.now.max(next);
        let now = self.now;
        for end in &mut self.ends {
            if end.conn.deadline().is_some_and(|d| d <= now) {
                counted(|| end.conn.on_deadline(now));
            }
            while end.inbox.front().is_some_and(|d| d.0 <= now) {
                let Some((_, ecn, mut bytes)) = end.inbox.pop_front() else { break };
                let tuple = end.tuple;
                counted(|| end.conn.receive(&tuple, ecn, &mut bytes, now));
                self.spare.push(bytes);
            }
            while end.conn.poll_endpoint_event().is_some() {}
        }
        self.applications();
        self.transmit(0);
        self.transmit(1);
    }

    fn run_until(&mut self, bytes: u64) {
        let mut steps = 0;
        while self.read < bytes {
            self.step();
            steps += 1;
            assert!(steps < 3_000_000, "stuck at {} bytes", self.read);
        }
    }
}

/// `per_mille`: allocations admitted per thousand packets.
fn measure(style: Style, streams: usize, drop_every: u64, per_mille: u64) {
    let mut bulk = Bulk::new(style, streams, drop_every);
    bulk.run_until(24 << 20);
    COUNT.with(|c| c.set(0));
    TRAP.with(|t| t.set(std::env::var_os("WB_TRAP").is_some()));
    let before = bulk.ends[1].sent + bulk.ends[0].sent;
    bulk.run_until(48 << 20);
    let count = COUNT.with(Cell::get);
    let packets = bulk.ends[1].sent + bulk.ends[0].sent - before;
    println!("{style:?}, {streams} streams: {count} allocations in {packets} packets");
    assert!(packets > 15_000);
    assert!(
        count * 1000 <= per_mille * packets,
        "{count} allocations in {packets} packets ({style:?}, {streams} streams)"
    );
}

#[test]
fn copying_application() {
    measure(Style::Copy, 1, 0, 0);
}

#[test]
fn sharing_application() {
    // Read chunks hold their slab until they are dropped, which happens at once here. A write that is cut down to a
    // few bytes is copied: the first one to meet that takes a slab.
    measure(Style::Share, 1, 0, 1);
}

#[test]
fn a_hundred_streams() {
    // A hundred full send buffers are more than the pool keeps; slabs of 64 KiB come and go.
    measure(Style::Copy, 100, 0, 40);
}

#[test]
fn losses_now_and_then() {
    // The window breathes, and with it the blocks of 64 packet records.
    measure(Style::Copy, 1, 997, 20);
}
