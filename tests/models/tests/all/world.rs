//! Two cores of the C ABI, a client and a server, and the thread that carries their datagrams to and fro.
//!
//! Everything is the library's own: handles, objects, queues, the connection, its packets. Only the sockets and the clock
//! are this file's. Handshakes run before the other threads start, so that the schedules are about what comes after.
use core::ffi::c_void;
use core::mem::zeroed;
use shuttle::sync::Mutex;
use shuttle::thread;
use std::sync::{Arc, OnceLock};
use whimbrel::ffi::abi::*;
use whimbrel::ffi::config::{wb_config_new, wb_config_on, wb_config_set_u64};
use whimbrel::ffi::conn_calls::{wb_conn_open, wb_conn_start_address};
use whimbrel::ffi::core::{wb_core_deadline, wb_core_open, wb_core_recv, wb_core_transmit};
use whimbrel::ffi::endpoint_calls::{wb_endpoint_bind, wb_endpoint_listen, wb_endpoint_open};
use whimbrel::ffi::handle_calls::wb_handle_release;
use whimbrel::ffi::queue::{wb_queue_open, wb_queue_return, wb_queue_take};
use whimbrel::ffi::runtime_calls::wb_runtime_close;
use whimbrel::ffi::status::*;
use whimbrel::ffi::tls::{wb_tls_alpn, wb_tls_identity_pem, wb_tls_new, wb_tls_trust_add};

pub const CLIENT: usize = 0;
pub const SERVER: usize = 1;
const MILLISECOND: i64 = 1_000_000;

pub type Callback = unsafe extern "C" fn(*mut c_void, *const wb_event);

/// Where the events of a side go.
#[derive(Clone, Copy)]
pub enum Events {
    Queue,
    Callback(Callback, usize),
}

#[track_caller]
pub fn ok(status: wb_status) {
    assert_eq!(status, WB_OK, "a call failed");
}

fn identity() -> &'static (String, String) {
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

fn tls(role: u32) -> wb_tls {
    let (cert, key) = identity();
    let mut tls = 0;
    let name = wb_text { data: c"model".as_ptr(), len: 5 };
    // SAFETY: live texts with their lengths, out parameters of ours.
    unsafe {
        ok(wb_tls_new(role, &raw mut tls));
        ok(wb_tls_alpn(tls, &raw const name, 1));
        ok(if role == WB_ROLE_SERVER {
            wb_tls_identity_pem(tls, cert.as_ptr().cast(), cert.len(), key.as_ptr().cast(), key.len())
        } else {
            wb_tls_trust_add(tls, cert.as_ptr().cast(), cert.len())
        });
    }
    tls
}

fn address(last: u8) -> libc::sockaddr_in {
    // SAFETY: numbers, for which zero is valid.
    let mut out: libc::sockaddr_in = unsafe { zeroed() };
    out.sin_family = libc::AF_INET as libc::sa_family_t;
    out.sin_port = 4433u16.to_be();
    out.sin_addr.s_addr = u32::from_ne_bytes([10, 0, 0, last]);
    out
}

/// The sides and their time.
struct Link {
    cores: [wb_runtime; 2],
    now: i64,
    room: Vec<u8>,
}

/// A client connected to a server.
pub struct World {
    link: Mutex<Link>,
    pub queues: [wb_queue; 2],
    pub endpoints: [wb_endpoint; 2],
    pub cores: [wb_runtime; 2],
    /// The client's connection.
    pub conn: wb_conn,
}

impl World {
    /// Connects. The events of the handshake have been taken, the client's callbacks have been called.
    pub fn connected(events: Events) -> Arc<Self> {
        let (mut cores, mut queues, mut endpoints, mut conn) = ([0; 2], [0; 2], [0; 2], 0);
        let now = MILLISECOND;
        for side in [CLIENT, SERVER] {
            let config = if side == CLIENT { config(WB_CONFIG_RUNTIME, events) } else { 0 };
            // SAFETY: a seed of 32 bytes, out parameters of ours.
            unsafe {
                ok(wb_core_open(config, [side as u8 + 1; 32].as_ptr().cast(), 32, now, &raw mut cores[side]));
                ok(wb_queue_open(cores[side], &raw mut queues[side]));
                ok(wb_endpoint_open(cores[side], 0, &raw mut endpoints[side]));
            }
            if config != 0 {
                ok(wb_handle_release(config));
            }
        }
        let size = size_of::<libc::sockaddr_in>() as u32;
        let to = address(2);
        let at = (&raw const to).cast();
        let settings = config(WB_CONFIG_CONN, Events::Queue);
        for (key, value) in [(WB_KEY_HTTP3, 0), (WB_KEY_STREAM_WINDOW, 4 << 20), (WB_KEY_CONN_WINDOW, 4 << 20)] {
            ok(wb_config_set_u64(settings, key, value));
        }
        let tls = [tls(WB_ROLE_CLIENT), tls(WB_ROLE_SERVER)];
        // SAFETY: live addresses and names, out parameters of ours.
        unsafe {
            ok(wb_endpoint_bind(endpoints[SERVER], at, size));
            ok(wb_endpoint_listen(endpoints[SERVER], settings, tls[SERVER]));
            ok(wb_conn_open(endpoints[CLIENT], settings, tls[CLIENT], &raw mut conn));
            ok(wb_conn_start_address(conn, at, size, c"localhost".as_ptr(), 9));
        }
        for handle in [settings, tls[0], tls[1]] {
            ok(wb_handle_release(handle));
        }
        let link = Mutex::new(Link { cores, now, room: vec![0; 1 << 16] });
        let world = Arc::new(Self { link, queues, endpoints, cores, conn });
        world.settle();
        world.drain(CLIENT);
        world.drain(SERVER);
        world
    }

    /// Carries datagrams and time until nothing more happens for a while.
    pub fn settle(&self) {
        let mut quiet = 0;
        while quiet < 60 {
            quiet = if self.carry() { 0 } else { quiet + 1 };
        }
    }

    /// Carries what both sides have to say; false when it was nothing, and only time has passed.
    pub fn carry(&self) -> bool {
        self.link.lock().expect("no panic").carry()
    }

    /// Takes all events that a side's queue has.
    pub fn drain(&self, side: usize) -> Vec<Seen> {
        let mut all = Vec::new();
        while let Some(some) = take(self.queues[side], 0) {
            all.extend(some);
        }
        all
    }

    /// A thread that carries until `done` says so.
    pub fn carrier(self: &Arc<Self>, done: impl Fn() -> bool + Send + 'static) -> thread::JoinHandle<()> {
        let world = Arc::clone(self);
        thread::spawn(move || {
            while !done() {
                if !world.carry() {
                    thread::yield_now();
                }
            }
        })
    }

    /// Ends both sides and gives back what the world holds.
    pub fn end(&self) {
        for core in self.cores {
            let s = wb_runtime_close(core, WB_CLOSE_NOW);
            assert!(matches!(s, WB_OK | WB_E_STALE));
        }
        self.settle();
        for handle in self.cores.into_iter().chain(self.endpoints).chain([self.conn]).chain(self.queues) {
            let s = wb_handle_release(handle);
            assert!(matches!(s, WB_OK | WB_E_STALE), "release gives {s}");
        }
    }
}

impl Link {
    fn carry(&mut self) -> bool {
        let mut any = false;
        for side in [CLIENT, SERVER] {
            loop {
                // SAFETY: numbers and pointers, for which zero is valid.
                let mut packet: wb_packet = unsafe { zeroed() };
                packet.struct_size = size_of::<wb_packet>() as u32;
                packet.data = self.room.as_ptr().cast();
                packet.len = self.room.len();
                // SAFETY: room of ours.
                match unsafe { wb_core_transmit(self.cores[side], &raw mut packet, 8, self.now) } {
                    WB_OK => {}
                    WB_E_WOULD_BLOCK | WB_E_STATE | WB_E_STALE => break,
                    s => panic!("transmit gives {s}"),
                }
                any = true;
                let (from, to) = (packet.local, packet.remote);
                packet.local = seen_from(to, 1 - side);
                packet.remote = seen_from(from, side);
                self.now += MILLISECOND / 50;
                // SAFETY: the bytes just written.
                let s = unsafe { wb_core_recv(self.cores[1 - side], &raw const packet, self.now) };
                assert!(matches!(s, WB_OK | WB_E_UNREACHABLE | WB_E_STATE | WB_E_STALE), "recv gives {s}");
            }
        }
        if !any {
            self.pass_time();
        }
        any
    }

    /// To the next deadline, in steps, so that waiting application threads do not make the connection idle.
    fn pass_time(&mut self) {
        let mut next = self.now + 5 * MILLISECOND;
        for core in self.cores {
            let mut at = i64::MAX;
            // SAFETY: an out parameter of ours.
            if unsafe { wb_core_deadline(core, &raw mut at) } == WB_OK {
                next = next.min(at.max(self.now));
            }
        }
        self.now = next;
        for core in self.cores {
            // SAFETY: no packet.
            let s = unsafe { wb_core_recv(core, core::ptr::null(), self.now) };
            assert!(matches!(s, WB_OK | WB_E_STATE | WB_E_STALE), "recv gives {s}");
        }
    }
}

/// An address as the link shows it: the client is 10.0.0.1, the server 10.0.0.2.
fn seen_from(mut addr: wb_addr, side: usize) -> wb_addr {
    addr.family = 4;
    addr.ip[..4].copy_from_slice(&[10, 0, 0, side as u8 + 1]);
    addr
}

fn config(kind: u32, events: Events) -> wb_config {
    let mut config = 0;
    // SAFETY: an out parameter of ours; the context lives longer than the schedule.
    unsafe {
        ok(wb_config_new(kind, &raw mut config));
        if let Events::Callback(function, context) = events {
            ok(wb_config_on(config, WB_GROUP_ALL, Some(function), context as *mut c_void, None));
        }
    }
    config
}

/// An event as it was in its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub kind: u16,
    pub conn: u64,
    pub stream: u64,
}

/// One batch of a queue: `None` when there was nothing (with no waiting), or the queue is gone.
pub fn take(queue: wb_queue, timeout_ns: i64) -> Option<Vec<Seen>> {
    // SAFETY: numbers and pointers, for which zero is valid.
    let mut batch: wb_batch = unsafe { zeroed() };
    batch.struct_size = size_of::<wb_batch>() as u32;
    // SAFETY: a sized struct of ours; events are valid until it is returned.
    unsafe {
        match wb_queue_take(queue, &raw mut batch, 8, timeout_ns) {
            WB_OK => {}
            WB_E_WOULD_BLOCK | WB_E_STALE => return None,
            s => panic!("take gives {s}"),
        }
        let events = core::slice::from_raw_parts(batch.events.cast::<wb_event>(), batch.count);
        let seen = events.iter().map(|e| Seen { kind: e.kind, conn: e.conn, stream: e.stream }).collect();
        ok(wb_queue_return(queue, &raw mut batch));
        Some(seen)
    }
}
