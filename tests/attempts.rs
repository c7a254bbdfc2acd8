//! A host with several addresses (RFC 8305): one that is silent or unreachable does not keep a client from the others.
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
mod abi_world;

use abi_world::*;
use core::ptr::null;
use std::net::UdpSocket;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{conn_calls, endpoint_calls, handle_calls};

/// The handshake's own timeout does not help: no test would wait for it.
const PATIENT: &[(u32, u64)] = &[(WB_KEY_HANDSHAKE_MS, 600_000), (WB_KEY_MAX_IDLE_MS, 600_000)];

/// A host that answers nothing.
fn silent() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    let port = socket.local_addr().expect("an address").port();
    (socket, port)
}

/// It was asked.
fn was_tried(socket: &UdpSocket) -> bool {
    socket.recv(&mut [0; 2000]).is_ok()
}

/// A port of this machine on which nobody listens: the system says so.
fn closed() -> u16 {
    silent().1
}

struct Client {
    endpoint: wb_endpoint,
    conn: wb_conn,
}

fn client(world: &World, tls: wb_tls) -> Client {
    let (mut endpoint, mut conn) = (0, 0);
    let conf = conn_config(PATIENT);
    unsafe {
        ok(endpoint_calls::wb_endpoint_open(world.runtime, 0, &raw mut endpoint));
        ok(conn_calls::wb_conn_open(endpoint, conf, tls, &raw mut conn));
    }
    ok(handle_calls::wb_handle_release(conf));
    Client { endpoint, conn }
}

impl Client {
    fn start(&self, ports: &[u16]) -> wb_status {
        let mut ip = [0; 16];
        ip[..4].copy_from_slice(&[127, 0, 0, 1]);
        let addresses: Vec<_> = ports.iter().map(|port| wb_addr { family: 4, port: *port, scope: 0, ip }).collect();
        let name = c"localhost".as_ptr();
        unsafe { conn_calls::wb_conn_start_addresses(self.conn, addresses.as_ptr(), addresses.len(), name, usize::MAX) }
    }

    fn remote_port(&self) -> u16 {
        let mut desc: wb_conn_desc = unsafe { core::mem::zeroed() };
        desc.struct_size = size_of::<wb_conn_desc>() as u32;
        ok(unsafe { conn_calls::wb_conn_info(self.conn, &raw mut desc) });
        desc.remote.port
    }

    /// The end, which is told once, as the last of all.
    fn end(self, world: &mut World) -> wb_status {
        ok(unsafe { conn_calls::wb_conn_close(self.conn, 0, null(), 0) });
        let status = world.closed_status(self.conn);
        ok(handle_calls::wb_handle_release(self.endpoint));
        world.wait("the endpoint's end", |e| e.kind == WB_EV_ENDPOINT_CLOSED && e.source == self.endpoint);
        assert!(!world.events.iter().any(|e| e.conn == self.conn && e.kind == WB_EV_CONN_CLOSED), "{:?}", world.events);
        ok(handle_calls::wb_handle_release(self.conn));
        status
    }
}

fn world() -> (World, wb_tls) {
    let pair = Pair::new();
    (World::with_workers(server_tls(&pair), 2, &[]), client_tls(&pair))
}

#[test]
fn a_silent_address_is_left_for_the_next_one() {
    let (mut world, tls) = world();
    let (dead, dead_port) = silent();
    let (other, other_port) = silent();
    let c = client(&world, tls);
    ok(c.start(&[dead_port, other_port, world.port]));
    world.connected(c.conn);
    assert_eq!(c.remote_port(), world.port);
    assert!(was_tried(&dead) && was_tried(&other), "in their order");
    let keys: Vec<_> = world.events.iter().filter(|e| e.conn == c.conn && e.kind == WB_EV_KEYS_INSTALLED).collect();
    assert_eq!(keys.iter().map(|e| e.a as u32).collect::<Vec<_>>(), [WB_LEVEL_HANDSHAKE, WB_LEVEL_ONE_RTT]);
    // It is the connection in every respect.
    let mut stream = 0;
    ok(unsafe { whimbrel::ffi::stream_calls::wb_stream_open(c.conn, WB_STREAM_BIDI, &raw mut stream) });
    let (text, mut taken) = (b"hello", 0);
    ok(unsafe { whimbrel::ffi::stream_calls::wb_stream_send_copy(stream, pointer(text), 5, WB_FIN, &raw mut taken) });
    world.wait("the stream at the server", |e| e.kind == WB_EV_STREAM_INCOMING);
    ok(handle_calls::wb_handle_release(stream));
    assert_eq!(c.end(&mut world), WB_E_CLOSED_LOCAL);
    world.end();
}

#[test]
fn an_address_that_cannot_be_reached_is_left_at_once() {
    let (mut world, tls) = world();
    let c = client(&world, tls);
    ok(c.start(&[closed(), closed(), world.port]));
    world.connected(c.conn);
    assert_eq!(c.remote_port(), world.port);
    assert_eq!(c.end(&mut world), WB_E_CLOSED_LOCAL);
    world.end();
}

#[test]
fn the_end_comes_when_every_address_has_failed() {
    let (mut world, tls) = world();
    let c = client(&world, tls);
    ok(c.start(&[closed(), closed(), closed()]));
    let why = world.closed(c.conn);
    assert_eq!(why.status, WB_E_UNREACHABLE, "{}", text(&why.text));
    assert_eq!((why.origin, why.os_error), (WB_ORIGIN_SYSTEM, libc::ECONNREFUSED));
    ok(handle_calls::wb_handle_release(c.conn));
    ok(handle_calls::wb_handle_release(c.endpoint));
    world.end();
}

/// In the middle of the race, at any of its moments; afterwards nothing of it is left, or the runtime would not end.
#[test]
fn a_race_can_be_given_up() {
    for tried in [1, 2, 3] {
        let (mut world, tls) = world();
        let silent: Vec<_> = (0..4).map(|_| silent()).collect();
        let c = client(&world, tls);
        ok(c.start(&silent.iter().map(|(_, port)| *port).collect::<Vec<_>>()));
        assert_eq!(c.start(&[world.port]), WB_E_STATE, "started already");
        while !was_tried(&silent[tried - 1].0) {
            std::thread::yield_now();
        }
        assert_eq!(c.end(&mut world), WB_E_CLOSED_LOCAL);
        world.end();
    }
}

#[test]
fn a_race_ends_with_its_runtime_and_with_its_handle() {
    let (world, tls) = world();
    let dead: Vec<_> = (0..8).map(|_| silent()).collect();
    let ports: Vec<_> = dead.iter().map(|(_, port)| *port).collect();
    let (a, b) = (client(&world, tls), client(&world, tls));
    ok(a.start(&ports));
    ok(b.start(&ports));
    ok(handle_calls::wb_handle_release(a.conn));
    ok(handle_calls::wb_handle_release(a.endpoint));
    world.end();
}

#[test]
fn addresses_that_make_no_sense_are_refused() {
    let (mut world, tls) = world();
    let c = client(&world, tls);
    assert_eq!(c.start(&[]), WB_E_RANGE);
    assert_eq!(c.start(&[1; 9]), WB_E_RANGE);
    assert_eq!(c.start(&[0]), WB_E_INVALID, "no port");
    let none = wb_addr::default();
    let start = |at| unsafe { conn_calls::wb_conn_start_addresses(c.conn, at, 1, c"localhost".as_ptr(), usize::MAX) };
    assert_eq!((start(&raw const none), start(null())), (WB_E_INVALID, WB_E_INVALID));
    // After all this it is idle, and can be started.
    ok(c.start(&[0, world.port]));
    world.connected(c.conn);
    assert_eq!(c.end(&mut world), WB_E_CLOSED_LOCAL);
    world.end();
}
