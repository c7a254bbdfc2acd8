//! What tests of the C ABI from Rust share: certificates, a runtime with a queue and a listening server, events in order.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
use core::ffi::{c_char, c_void};
use core::ptr::null;
use rcgen::{CertificateParams, KeyPair};
use ring::signature::Ed25519KeyPair;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{config, conn_calls, endpoint_calls, error, handle_calls, queue, runtime_calls, tls, tls_calls};

pub const SECOND: i64 = 1_000_000_000;

pub fn ok(status: wb_status) {
    assert_eq!(status, WB_OK, "{}", last_error());
}

pub fn last_error() -> String {
    let mut info: wb_error_info = unsafe { core::mem::zeroed() };
    info.struct_size = size_of::<wb_error_info>() as u32;
    unsafe { error::wb_last_error(&raw mut info) };
    text(&info.text)
}

pub fn text(field: &[c_char]) -> String {
    field.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect()
}

/// A self-signed certificate for "localhost" with an Ed25519 key.
pub struct Pair {
    pub pem: String,
    pub key_pem: String,
    pub der: Vec<u8>,
    pub key_der: Vec<u8>,
}

impl Pair {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.key_der).expect("a key");
        key.sign(message).as_ref().to_vec()
    }
}

pub fn pointer(bytes: &[u8]) -> *const c_void {
    bytes.as_ptr().cast()
}

pub fn new_tls(role: u32) -> wb_tls {
    new_tls_for(role, "echo")
}

pub fn new_tls_for(role: u32, protocol: &str) -> wb_tls {
    let mut out = 0;
    ok(unsafe { tls::wb_tls_new(role, &raw mut out) });
    let name = wb_text { data: protocol.as_ptr().cast(), len: protocol.len() };
    ok(unsafe { tls::wb_tls_alpn(out, &raw const name, 1) });
    out
}

/// `key`: PEM or DER, or empty when it is elsewhere.
pub fn add_identity(tls: wb_tls, chain: &[u8], key: &[u8]) -> u32 {
    let mut id = u32::MAX;
    let key_pointer = if key.is_empty() { null() } else { pointer(key) };
    ok(unsafe {
        tls_calls::wb_tls_identity_add(tls, pointer(chain), chain.len(), key_pointer, key.len(), &raw mut id)
    });
    id
}

pub fn server_tls(pair: &Pair) -> wb_tls {
    let tls = new_tls(WB_ROLE_SERVER);
    add_identity(tls, &pair.der, &pair.key_der);
    tls
}

pub fn client_tls(trusted: &Pair) -> wb_tls {
    let tls = new_tls(WB_ROLE_CLIENT);
    ok(unsafe { tls::wb_tls_trust_add(tls, pointer(&trusted.der), trusted.der.len()) });
    tls
}

#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub kind: u16,
    pub flags: u16,
    pub conn: wb_conn,
    pub stream: wb_stream,
    pub source: wb_handle,
    pub a: u64,
    pub b: u64,
}

/// A runtime with a queue, a listening server, and what has happened so far.
pub struct World {
    pub runtime: wb_runtime,
    pub queue: wb_queue,
    pub endpoint: wb_endpoint,
    pub port: u16,
    pub events: Vec<Seen>,
}

impl World {
    pub fn new(server: wb_tls, settings: &[(u32, u64)]) -> Self {
        Self::with_workers(server, 1, settings)
    }

    pub fn with_workers(server: wb_tls, workers: u64, settings: &[(u32, u64)]) -> Self {
        let (mut runtime, mut queue_handle, mut conf, mut endpoint) = (0, 0, 0, 0);
        let mut address = wb_addr::default();
        unsafe {
            ok(config::wb_config_new(WB_CONFIG_RUNTIME, &raw mut conf));
            ok(config::wb_config_set_u64(conf, WB_KEY_WORKERS, workers));
            ok(runtime_calls::wb_runtime_open(conf, &raw mut runtime));
            ok(handle_calls::wb_handle_release(conf));
            ok(queue::wb_queue_open(runtime, &raw mut queue_handle));
            let conf = conn_config(settings);
            let host = c"127.0.0.1".as_ptr();
            ok(endpoint_calls::wb_server_listen(runtime, conf, server, host, usize::MAX, 0, &raw mut endpoint));
            ok(handle_calls::wb_handle_release(conf));
            ok(endpoint_calls::wb_endpoint_address(endpoint, &raw mut address));
        }
        Self { runtime, queue: queue_handle, endpoint, port: address.port, events: Vec::new() }
    }

    pub fn connect(&self, tls: wb_tls, settings: &[(u32, u64)]) -> wb_conn {
        let mut conn = 0;
        let conf = conn_config(settings);
        let host = c"127.0.0.1".as_ptr();
        ok(unsafe {
            endpoint_calls::wb_client_connect(self.runtime, conf, tls, host, usize::MAX, self.port, &raw mut conn)
        });
        ok(handle_calls::wb_handle_release(conf));
        conn
    }

    /// The next event that fits; those before it are kept for later questions.
    pub fn wait(&mut self, what: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        loop {
            if let Some(at) = self.events.iter().position(&fits) {
                return self.events.remove(at);
            }
            let mut batch: wb_batch = unsafe { core::mem::zeroed() };
            batch.struct_size = size_of::<wb_batch>() as u32;
            let status = unsafe { queue::wb_queue_take(self.queue, &raw mut batch, 64, 20 * SECOND) };
            assert_eq!(status, WB_OK, "waiting for {what}: {:?}", self.events);
            for i in 0..batch.count {
                let event = unsafe { &*batch.events.cast::<u8>().add(i * batch.stride as usize).cast::<wb_event>() };
                let wb_event { kind, flags, conn, stream, source, a, b, .. } = *event;
                self.events.push(Seen { kind, flags, conn, stream, source, a, b });
            }
            ok(unsafe { queue::wb_queue_return(self.queue, &raw mut batch) });
        }
    }

    pub fn decision(&mut self, kind: u16) -> Seen {
        self.wait("a decision", |e| e.kind == kind)
    }

    pub fn connected(&mut self, conn: wb_conn) {
        let end =
            self.wait("the handshake", |e| e.conn == conn && matches!(e.kind, WB_EV_CONNECTED | WB_EV_CONN_CLOSED));
        assert_eq!(end.kind, WB_EV_CONNECTED, "the connection ended: {end:?}");
    }

    /// Why the connection ended.
    pub fn closed(&mut self, conn: wb_conn) -> wb_error_info {
        self.wait("the end", |e| e.conn == conn && e.kind == WB_EV_CONN_CLOSED);
        let mut info: wb_error_info = unsafe { core::mem::zeroed() };
        info.struct_size = size_of::<wb_error_info>() as u32;
        ok(unsafe { conn_calls::wb_conn_error(conn, &raw mut info) });
        info
    }

    pub fn end(self) {
        ok(runtime_calls::wb_runtime_close(self.runtime, WB_CLOSE_NOW));
        ok(runtime_calls::wb_runtime_wait(self.runtime, 20 * SECOND));
        ok(handle_calls::wb_handle_release(self.endpoint));
        ok(handle_calls::wb_handle_release(self.queue));
        ok(handle_calls::wb_handle_release(self.runtime));
    }
}

pub fn conn_config(settings: &[(u32, u64)]) -> wb_config {
    let mut conf = 0;
    ok(unsafe { config::wb_config_new(WB_CONFIG_CONN, &raw mut conf) });
    ok(config::wb_config_set_u64(conf, WB_KEY_HTTP3, 0));
    for (key, value) in settings {
        ok(config::wb_config_set_u64(conf, *key, *value));
    }
    conf
}

impl World {
    pub fn closed_status(&mut self, conn: wb_conn) -> wb_status {
        let end = self.wait("the end", |e| e.conn == conn && e.kind == WB_EV_CONN_CLOSED);
        (end.b as u32).cast_signed()
    }
}
