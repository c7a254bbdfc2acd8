//! A server that checks the pattern of every stream and echoes some of what it received without a copy, and a client
//! whose connections, endpoints and runtime are replaced while other threads use them.
use super::loan::pattern;
use super::rng::Rng;
use core::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use whimbrel::ffi::abi::{
    WB_CLOSE_GRACEFUL, WB_CLOSE_NOW, WB_CONFIG_CONN, WB_CONFIG_RUNTIME, WB_CONN_ESTABLISHED, WB_EV_STREAM_INCOMING,
    WB_EV_STREAM_READABLE, WB_GROUP_ALL, WB_KEY_HTTP3, WB_KEY_WORKERS, WB_ROLE_CLIENT, WB_ROLE_SERVER, wb_addr,
    wb_conn, wb_conn_desc, wb_event, wb_handle, wb_text,
};
use whimbrel::ffi::buf::wb_buf_view;
use whimbrel::ffi::config::{wb_config_new, wb_config_on, wb_config_set_u64};
use whimbrel::ffi::conn_calls::{wb_conn_close, wb_conn_info};
use whimbrel::ffi::endpoint_calls::{wb_client_connect, wb_endpoint_address, wb_server_listen};
use whimbrel::ffi::handle_calls::{wb_handle_release, wb_handle_set_user};
use whimbrel::ffi::runtime_calls::{wb_runtime_close, wb_runtime_open, wb_runtime_wait};
use whimbrel::ffi::status::{WB_OK, WB_PARTIAL};
use whimbrel::ffi::stream_calls::{wb_stream_recv, wb_stream_send};
use whimbrel::ffi::tls::{wb_tls_alpn, wb_tls_identity_pem, wb_tls_new, wb_tls_trust_add};

const CONNECTIONS: usize = 6;
const SECOND: i64 = 1_000_000_000;

struct Seen {
    streams: AtomicU64,
    verified: AtomicU64,
}

/// What the server knows of a stream: its seed, once eight bytes came, and how far it was checked.
struct Stream {
    head: Vec<u8>,
    at: u64,
}

unsafe extern "C" fn forget(ctx: *mut c_void) {
    // SAFETY: the box of `on_event`, handed back once.
    drop(unsafe { Box::from_raw(ctx.cast::<Stream>()) });
}

unsafe extern "C" fn on_event(ctx: *mut c_void, event: *const wb_event) {
    // SAFETY: the library's event, valid during the call; `ctx` lives longer than the runtime.
    let (seen, event) = unsafe { (&*ctx.cast::<Seen>(), &*event) };
    match event.kind {
        WB_EV_STREAM_INCOMING => {
            seen.streams.fetch_add(1, Ordering::Relaxed);
            let state = Box::into_raw(Box::new(Stream { head: Vec::new(), at: 0 })).cast();
            // SAFETY: `forget` takes the box back.
            let s = unsafe { wb_handle_set_user(event.stream, state, Some(forget)) };
            assert_eq!(s, WB_OK);
        }
        WB_EV_STREAM_READABLE if !event.user_stream.is_null() => {
            // SAFETY: events of one connection are serial, so nobody else has it.
            let state = unsafe { &mut *event.user_stream.cast::<Stream>() };
            while read(event.stream, state, seen) {}
        }
        _ => {}
    }
}

/// Checks one buffer, and sends every fourth back as it is.
fn read(stream: wb_handle, state: &mut Stream, seen: &Seen) -> bool {
    let (mut buf, mut count, mut fin) = (0, 0, 0);
    // SAFETY: out parameters of ours.
    if unsafe { wb_stream_recv(stream, &raw mut buf, 1, &raw mut count, &raw mut fin) } != WB_OK || count == 0 {
        return false;
    }
    let (mut data, mut len) = (core::ptr::null(), 0);
    // SAFETY: out parameters of ours; the bytes are valid while the handle is held.
    let bytes = unsafe {
        assert_eq!(wb_buf_view(buf, &raw mut data, &raw mut len), WB_OK);
        if len == 0 { &[][..] } else { core::slice::from_raw_parts(data.cast::<u8>(), len) }
    };
    for b in bytes {
        if state.at < 8 {
            state.head.push(*b);
        } else {
            let seed = u64::from_le_bytes(state.head.as_slice().try_into().expect("eight bytes"));
            assert_eq!(*b, pattern(seed, state.at), "byte {} of a stream is wrong", state.at);
            seen.verified.fetch_add(1, Ordering::Relaxed);
        }
        state.at += 1;
    }
    if len % 4 == 0 {
        let mut taken = 0;
        // SAFETY: one handle, an out parameter of ours.
        let s = unsafe { wb_stream_send(stream, &raw const buf, 1, 0, &raw mut taken) };
        assert!(s < 0 || s == WB_OK || s == WB_PARTIAL);
    }
    assert_eq!(wb_handle_release(buf), WB_OK);
    true
}

fn identity() -> &'static (String, String) {
    static MADE: std::sync::OnceLock<(String, String)> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

fn tls(role: u32) -> wb_handle {
    let (cert, key) = identity();
    let mut tls = 0;
    let name = wb_text { data: c"reaper".as_ptr(), len: 6 };
    // SAFETY: live texts with their lengths, out parameters of ours.
    unsafe {
        assert_eq!(wb_tls_new(role, &raw mut tls), WB_OK);
        assert_eq!(wb_tls_alpn(tls, &raw const name, 1), WB_OK);
        let s = if role == WB_ROLE_SERVER {
            wb_tls_identity_pem(tls, cert.as_ptr().cast(), cert.len(), key.as_ptr().cast(), key.len())
        } else {
            wb_tls_trust_add(tls, cert.as_ptr().cast(), cert.len())
        };
        assert_eq!(s, WB_OK);
    }
    tls
}

fn config(kind: u32, key: u32, value: u64) -> wb_handle {
    let mut config = 0;
    // SAFETY: an out parameter of ours.
    unsafe { assert_eq!(wb_config_new(kind, &raw mut config), WB_OK) };
    assert_eq!(wb_config_set_u64(config, key, value), WB_OK);
    config
}

fn runtime() -> wb_handle {
    let config = config(WB_CONFIG_RUNTIME, WB_KEY_WORKERS, 2);
    let mut runtime = 0;
    // SAFETY: an out parameter of ours.
    unsafe { assert_eq!(wb_runtime_open(config, &raw mut runtime), WB_OK) };
    assert_eq!(wb_handle_release(config), WB_OK);
    runtime
}

pub struct Server {
    runtime: wb_handle,
    endpoint: wb_handle,
    port: u16,
    seen: &'static Seen,
}

impl Server {
    pub fn start() -> Self {
        // Callbacks hold it until the process ends.
        static SEEN: Seen = Seen { streams: AtomicU64::new(0), verified: AtomicU64::new(0) };
        let seen = &SEEN;
        let (runtime, tls, config) = (runtime(), tls(WB_ROLE_SERVER), config(WB_CONFIG_CONN, WB_KEY_HTTP3, 0));
        let mut endpoint = 0;
        let mut addr = wb_addr::default();
        // SAFETY: live arguments, out parameters of ours.
        unsafe {
            let ctx = core::ptr::from_ref(seen).cast_mut().cast();
            assert_eq!(wb_config_on(config, WB_GROUP_ALL, Some(on_event), ctx, None), WB_OK);
            let at = c"127.0.0.1";
            assert_eq!(wb_server_listen(runtime, config, tls, at.as_ptr(), 9, 0, &raw mut endpoint), WB_OK);
            assert_eq!(wb_endpoint_address(endpoint, &raw mut addr), WB_OK);
        }
        for handle in [tls, config] {
            assert_eq!(wb_handle_release(handle), WB_OK);
        }
        Self { runtime, endpoint, port: addr.port, seen }
    }

    /// Streams seen and bytes found right.
    pub fn end(self) -> (u64, u64) {
        assert_eq!(wb_runtime_close(self.runtime, WB_CLOSE_GRACEFUL), WB_OK);
        assert_eq!(wb_runtime_wait(self.runtime, 60 * SECOND), WB_OK);
        for handle in [self.endpoint, self.runtime] {
            assert_eq!(wb_handle_release(handle), WB_OK);
        }
        (self.seen.streams.load(Ordering::Relaxed), self.seen.verified.load(Ordering::Relaxed))
    }
}

/// Handles that any thread may use at any time, also after another thread has replaced them.
pub struct Client {
    runtime: AtomicU64,
    conns: [AtomicU64; CONNECTIONS],
    tls: wb_handle,
    config: wb_handle,
    port: u16,
}

impl Client {
    pub fn start(server: &Server) -> Self {
        let client = Self {
            runtime: AtomicU64::new(runtime()),
            conns: Default::default(),
            tls: tls(WB_ROLE_CLIENT),
            config: config(WB_CONFIG_CONN, WB_KEY_HTTP3, 0),
            port: server.port,
        };
        for slot in &client.conns {
            slot.store(client.connect(), Ordering::Release);
        }
        client
    }

    /// A connection, waited for unless its runtime is replaced meanwhile.
    fn connect(&self) -> wb_conn {
        let mut conn = 0;
        let runtime = self.runtime.load(Ordering::Acquire);
        let host = c"localhost";
        // SAFETY: live arguments, an out parameter of ours.
        let s =
            unsafe { wb_client_connect(runtime, self.config, self.tls, host.as_ptr(), 9, self.port, &raw mut conn) };
        if s != WB_OK {
            return 0;
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        // SAFETY: numbers and bytes, for which zero is valid.
        let mut desc: wb_conn_desc = unsafe { core::mem::zeroed() };
        desc.struct_size = size_of::<wb_conn_desc>() as u32;
        // SAFETY: a sized struct of ours.
        while unsafe { wb_conn_info(conn, &raw mut desc) } == WB_OK
            && desc.state < WB_CONN_ESTABLISHED
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        conn
    }

    /// The handle of some connection, in whatever state it is.
    pub fn conn(&self, rng: &mut Rng) -> wb_conn {
        self.conns[rng.below(CONNECTIONS as u64) as usize].load(Ordering::Acquire)
    }

    fn put(&self, slot: &AtomicU64, rng: &mut Rng) {
        let fresh = self.connect();
        let old = slot.swap(fresh, Ordering::AcqRel);
        if rng.below(2) == 0 {
            // SAFETY: no text.
            let _ = unsafe { wb_conn_close(old, 9, core::ptr::null(), 0) };
        }
        let _ = wb_handle_release(old);
    }

    pub fn replace_one(&self, rng: &mut Rng) {
        let slot = &self.conns[rng.below(CONNECTIONS as u64) as usize];
        self.put(slot, rng);
    }

    /// The whole runtime goes under the others' feet: closed or simply released, waited for or not.
    pub fn replace_all(&self, rng: &mut Rng) {
        let old = self.runtime.swap(runtime(), Ordering::AcqRel);
        if rng.below(2) == 0 {
            let _ = wb_runtime_close(old, WB_CLOSE_NOW);
            if rng.below(2) == 0 {
                let _ = wb_runtime_wait(old, 60 * SECOND);
            }
        }
        let _ = wb_handle_release(old);
        for slot in &self.conns {
            self.put(slot, rng);
        }
    }

    pub fn end(self) {
        let runtime = self.runtime.load(Ordering::Acquire);
        assert_eq!(wb_runtime_close(runtime, WB_CLOSE_NOW), WB_OK);
        assert_eq!(wb_runtime_wait(runtime, 60 * SECOND), WB_OK);
        for slot in &self.conns {
            let _ = wb_handle_release(slot.load(Ordering::Acquire));
        }
        for handle in [self.tls, self.config, runtime] {
            assert_eq!(wb_handle_release(handle), WB_OK);
        }
    }
}
