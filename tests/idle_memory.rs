//! How little memory a connection holds when it is idle.
//!
//! A counting allocator watches two connections in virtual time; dropping one tells what it held.
use core::alloc::{GlobalAlloc, Layout};
use std::alloc::System;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use whimbrel::base::{ConnectionId, Ecn, FourTuple, Pcg, ResetToken, Timestamp};
use whimbrel::connection::{AcceptParams, Connection, ConnectionConfig, EndpointEvent, InitialCids};
use whimbrel::crypto::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};

struct Counting;

thread_local! {
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    let _ = BYTES.try_with(|b| b.set(b.get() + bytes));
}

// SAFETY: everything is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        count(new as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DELAY: Duration = Duration::from_millis(5);

struct Datagram {
    at: Timestamp,
    to_server: bool,
    ecn: Ecn,
    len: usize,
    bytes: Box<[u8]>,
}

struct Wire {
    now: Timestamp,
    client: Box<Connection>,
    server: Box<Connection>,
    to_client: FourTuple,
    to_server: FourTuple,
    flight: VecDeque<Datagram>,
    spare: Vec<Box<[u8]>>,
    out: Vec<u8>,
}

fn cid(n: u8) -> ConnectionId {
    ConnectionId::new(&[n; 8]).unwrap()
}

fn tls() -> (Arc<ClientTls>, Arc<ServerTls>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let client = ClientTlsBuilder::new().roots_pem(cert.pem().as_bytes()).alpn(vec![b"t".to_vec()]).build().unwrap();
    let server = ServerTlsBuilder::new()
        .identity_pem(cert.pem().as_bytes(), key.serialize_pem().as_bytes())
        .alpn(vec![b"t".to_vec()])
        .build()
        .unwrap();
    (client, server)
}

fn accept(tls: &Arc<ServerTls>, cfg: &Arc<ConnectionConfig>, tuple: FourTuple, now: Timestamp) -> Box<Connection> {
    let params = AcceptParams {
        version: 1,
        tuple,
        odcid: cid(2),
        initial_dcid: cid(2),
        client_scid: cid(1),
        local_cid: cid(3),
        retry_scid: None,
        address_validated: true,
        reset_token: ResetToken([7; 16]),
        preferred: None,
    };
    Connection::accept(cfg.clone(), tls, params, now, Box::new(Pcg::new(4))).unwrap()
}

impl Wire {
    fn new() -> Self {
        let (client_tls, server_tls) = tls();
        let cfg = Arc::new(ConnectionConfig { idle_timeout: Duration::from_secs(3600), ..Default::default() });
        let now = Timestamp(1_000_000_000);
        let at_client =
            FourTuple { local: Some("10.0.0.1:1".parse().unwrap()), remote: "10.0.0.2:2".parse().unwrap(), socket: 0 };
        let at_server =
            FourTuple { local: Some("10.0.0.2:2".parse().unwrap()), remote: "10.0.0.1:1".parse().unwrap(), socket: 0 };
        let cids = InitialCids { local: cid(1), remote: cid(2) };
        let source = Box::new(Pcg::new(3));
        let client =
            Connection::connect(cfg.clone(), &client_tls, "localhost", at_client, cids, Vec::new(), now, source)
                .unwrap();
        let server = accept(&server_tls, &cfg, at_server, now);
        Self {
            now,
            client,
            server,
            to_client: at_client,
            to_server: at_server,
            flight: VecDeque::with_capacity(1 << 16),
            spare: Vec::with_capacity(1 << 16),
            out: vec![0; 1 << 16],
        }
    }

    fn flush(&mut self) {
        for to_server in [true, false] {
            let conn = if to_server { &mut self.client } else { &mut self.server };
            while let Some(event) = conn.poll_endpoint_event() {
                if let EndpointEvent::NeedCids(n) = event {
                    let base = if to_server { 100 } else { 200 };
                    conn.on_new_cids((0..n).map(|i| (cid(base + i as u8), ResetToken([base + i as u8; 16]))).collect());
                }
            }
            while conn.poll_event().is_some() {}
            while let Some(t) = conn.transmit(self.now, &mut self.out, 44) {
                for bytes in self.out[..t.len].chunks(t.segment.unwrap_or(t.len)) {
                    let mut buffer = self.spare.pop().unwrap_or_else(|| vec![0; 1500].into());
                    buffer[..bytes.len()].copy_from_slice(bytes);
                    let at = self.now + DELAY;
                    self.flight.push_back(Datagram { at, to_server, ecn: t.ecn, len: bytes.len(), bytes: buffer });
                }
            }
        }
    }

    fn step(&mut self) {
        self.flush();
        let timers = [self.client.deadline(), self.server.deadline()];
        let next = timers.into_iter().flatten().chain(self.flight.front().map(|d| d.at)).min().unwrap();
        self.now = self.now.max(next);
        while self.flight.front().is_some_and(|d| d.at <= self.now) {
            let mut d = self.flight.pop_front().unwrap();
            let (conn, tuple) =
                if d.to_server { (&mut self.server, &self.to_server) } else { (&mut self.client, &self.to_client) };
            conn.receive(tuple, d.ecn, &mut d.bytes[..d.len], self.now);
            self.spare.push(d.bytes);
        }
        for conn in [&mut self.client, &mut self.server] {
            if conn.deadline().is_some_and(|at| at <= self.now) {
                conn.on_deadline(self.now);
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.flush();
            let timers = [self.client.deadline(), self.server.deadline()];
            let next = timers.into_iter().flatten().chain(self.flight.front().map(|d| d.at)).min();
            if next.is_none_or(|at| at > end) {
                return;
            }
            self.step();
        }
    }
}

#[test]
fn an_idle_connection_is_small() {
    // What the allocator holds for one server connection: everything but the shared configuration.
    let mut wire = Wire::new();
    let (client_tls, server_tls) = tls();
    let cfg = Arc::new(ConnectionConfig { idle_timeout: Duration::from_secs(3600), ..Default::default() });
    let tuple = wire.to_server;
    drop(accept(&server_tls, &cfg, tuple, wire.now));
    wire.run_for(Duration::from_secs(5));
    assert!(wire.server.is_confirmed());
    let held = BYTES.with(Cell::get);
    let fresh = accept(&server_tls, &cfg, tuple, wire.now);
    let at_start = BYTES.with(Cell::get) - held;
    drop(fresh);
    let other = core::mem::replace(&mut wire.server, accept(&server_tls, &cfg, tuple, wire.now));
    let before = BYTES.with(Cell::get);
    drop(other);
    let total = before - BYTES.with(Cell::get);
    eprintln!("server connection: {total} bytes idle, {at_start} when new");
    assert!(total <= 5500, "{total}");
    let cids = InitialCids { local: cid(1), remote: cid(2) };
    let spare = Box::new(Pcg::new(3));
    let now = wire.now;
    let new = Connection::connect(cfg, &client_tls, "localhost", wire.to_client, cids, Vec::new(), now, spare).unwrap();
    let other = core::mem::replace(&mut wire.client, new);
    let before = BYTES.with(Cell::get);
    drop(other);
    let total = before - BYTES.with(Cell::get);
    eprintln!("client connection: {total} bytes idle");
    assert!(total <= 14 * 1024, "{total}");
}
