//! The detail of an error through the C ABI, each part for a real case: wire code, frame type, alert, system error, and which
//! side. (What lifecycle.rs has: application codes, ECONNREFUSED.) For frame types a peer that breaks rules is needed: the
//! conformance tests' own, against a server that runs in a core.
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
mod abi_world;
#[path = "conformance/peer.rs"]
#[allow(dead_code, reason = "one part of it is used here")]
mod peer;

use abi_world::*;
use core::ptr::{null, null_mut};
use peer::{Peer, frames, stream};
use whimbrel::base::codes::VERSION_1;
use whimbrel::base::{Level, StreamId};
use whimbrel::crypto::ClientTlsBuilder;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{
    conn_calls, core as core_calls, endpoint_calls, error, handle_calls, queue, runtime_calls, stream_calls,
};
use whimbrel::wire::Frame;

fn blank_error() -> wb_error_info {
    let mut info: wb_error_info = unsafe { core::mem::zeroed() };
    info.struct_size = size_of::<wb_error_info>() as u32;
    info
}

fn last() -> wb_error_info {
    let mut info = blank_error();
    assert_eq!(unsafe { error::wb_last_error(&raw mut info) }, WB_OK);
    info
}

fn address(last: u8, port: u16) -> wb_addr {
    let mut addr = wb_addr { family: 4, port, ..wb_addr::default() };
    addr.ip[..4].copy_from_slice(&[10, 0, 0, last]);
    addr
}

/// A server in a core, and a client that does what its test says. Datagrams are handed over in one thread.
struct Broken {
    core: wb_runtime,
    queue: wb_queue,
    endpoint: wb_endpoint,
    conn: wb_conn,
    now: i64,
    peer: Peer,
}

impl Broken {
    /// Up to the end of the handshake.
    fn new(pair: &Pair) -> Self {
        let (mut core, mut queue_handle, mut endpoint) = (0, 0, 0);
        let (conf, tls) = (conn_config(&[]), server_tls(pair));
        unsafe {
            ok(core_calls::wb_core_open(0, pointer(&[9; 32]), 32, 1, &raw mut core));
            ok(queue::wb_queue_open(core, &raw mut queue_handle));
            let host = c"10.0.0.1".as_ptr();
            ok(endpoint_calls::wb_server_listen(core, conf, tls, host, usize::MAX, 443, &raw mut endpoint));
        }
        ok(handle_calls::wb_handle_release(conf));
        ok(handle_calls::wb_handle_release(tls));
        let tls = ClientTlsBuilder::new().alpn(vec![b"echo".to_vec()]).roots_pem(pair.pem.as_bytes());
        let peer = Peer::client(&tls.build().expect("a configuration"), VERSION_1, |p| p);
        let mut broken = Self { core, queue: queue_handle, endpoint, conn: 0, now: 1, peer };
        for _ in 0..20 {
            broken.turn();
        }
        assert!(broken.peer.done && broken.conn != 0, "the handshake stands still: {:?}", broken.peer.log);
        broken
    }

    fn deliver(&mut self, datagram: &[u8]) {
        let mut packet: wb_packet = unsafe { core::mem::zeroed() };
        packet.struct_size = size_of::<wb_packet>() as u32;
        (packet.local, packet.remote) = (address(1, 443), address(2, 5555));
        (packet.data, packet.len) = (pointer(datagram), datagram.len());
        self.now += 1_000_000;
        ok(unsafe { core_calls::wb_core_recv(self.core, &raw const packet, self.now) });
    }

    /// What the peer has to say goes over, and the answers come back.
    fn turn(&mut self) {
        for datagram in self.peer.flush() {
            self.deliver(&datagram);
        }
        let mut room = vec![0u8; 65536];
        loop {
            let mut packet: wb_packet = unsafe { core::mem::zeroed() };
            packet.struct_size = size_of::<wb_packet>() as u32;
            (packet.data, packet.len) = (room.as_mut_ptr().cast(), room.len());
            self.now += 1_000_000;
            match unsafe { core_calls::wb_core_transmit(self.core, &raw mut packet, 1, self.now) } {
                WB_E_WOULD_BLOCK => break,
                status => ok(status),
            }
            self.peer.receive(&room[..packet.len]);
        }
        self.events();
    }

    fn events(&mut self) {
        loop {
            let mut batch: wb_batch = unsafe { core::mem::zeroed() };
            batch.struct_size = size_of::<wb_batch>() as u32;
            if unsafe { queue::wb_queue_take(self.queue, &raw mut batch, 1, 0) } != WB_OK {
                return;
            }
            let event = unsafe { &*batch.events.cast::<wb_event>() };
            if event.kind == WB_EV_CONN_INCOMING {
                self.conn = event.conn;
                ok(handle_calls::wb_handle_retain(self.conn));
            }
            ok(unsafe { queue::wb_queue_return(self.queue, &raw mut batch) });
        }
    }

    /// Sends frames in a packet of 1-RTT and tells why the connection ended over it.
    fn killed_by(&mut self, payload: &[u8]) -> wb_error_info {
        // A packet has to be long enough for its header's protection (RFC 9001 section 5.4.2).
        let packet = self.peer.packet(Level::OneRtt, &[payload, &[0; 8]].concat());
        self.deliver(&packet);
        self.turn();
        let mut info = blank_error();
        ok(unsafe { conn_calls::wb_conn_error(self.conn, &raw mut info) });
        info
    }

    fn end(mut self) {
        ok(runtime_calls::wb_runtime_close(self.core, WB_CLOSE_NOW));
        self.turn();
        for handle in [self.conn, self.endpoint, self.queue, self.core] {
            ok(handle_calls::wb_handle_release(handle));
        }
    }
}

/// The frames that are to blame are told to the application as they are told to the peer.
#[test]
fn our_transport_errors_name_code_and_frame() {
    let pair = Pair::new();
    // RFC 9000: HANDSHAKE_DONE from a client (19.20), data on a stream that only we open (19.8), a limit over 2^60 (19.11).
    let cases: [(&str, Vec<u8>, u64, u64); 3] = [
        ("HANDSHAKE_DONE", frames(&[Frame::HandshakeDone]), 0x0a, 0x1e),
        ("a stream of ours", stream(1, 0, b"x", false), 0x05, 0x08),
        ("MAX_STREAMS", [&[0x12u8][..], &[0xff; 8]].concat(), 0x07, 0x12),
    ];
    for (what, payload, code, frame_type) in cases {
        let mut broken = Broken::new(&pair);
        let info = broken.killed_by(&payload);
        let close = broken.peer.close().cloned().unwrap_or_else(|| panic!("{what}: the peer was not told"));
        assert_eq!((info.status, info.origin, info.wire_code), (WB_E_TRANSPORT, WB_ORIGIN_LOCAL, code), "{what}");
        assert_eq!((info.application, info.tls_alert, info.os_error), (0, 0, 0), "{what}");
        assert_eq!((close.code, close.frame_type), (info.wire_code, Some(info.frame_type)), "{what}");
        // The bits of a STREAM frame's type say which fields it has.
        assert_eq!(if frame_type == 8 { info.frame_type & !7 } else { info.frame_type }, frame_type, "{what}");
        assert!(info.text_len > 0, "{what}");
        // What later calls say, they say with the same detail.
        let mut stream = 0;
        let status = unsafe { stream_calls::wb_stream_open(broken.conn, WB_STREAM_BIDI, &raw mut stream) };
        let why = last();
        assert_eq!((status, why.status), (WB_E_CLOSED_LOCAL, WB_E_CLOSED_LOCAL), "{what}");
        assert_eq!((why.wire_code, why.frame_type), (info.wire_code, info.frame_type), "{what}");
        broken.end();
    }
}

#[test]
fn the_peers_transport_errors_name_code_and_frame() {
    let pair = Pair::new();
    let close = |code, frame_type| frames(&[Frame::ConnectionClose { code, frame_type, reason: b"bad frame" }]);
    let mut broken = Broken::new(&pair);
    let info = broken.killed_by(&close(0x07, Some(0x12)));
    assert_eq!((info.status, info.origin, info.application), (WB_E_TRANSPORT, WB_ORIGIN_PEER, 0));
    assert_eq!((info.wire_code, info.frame_type, info.tls_alert, info.os_error), (0x07, 0x12, 0, 0));
    assert!(text(&info.text).contains("bad frame"), "{}", text(&info.text));
    let mut stream = 0;
    let status = unsafe { stream_calls::wb_stream_open(broken.conn, WB_STREAM_BIDI, &raw mut stream) };
    let why = last();
    assert_eq!((status, why.origin, why.frame_type), (WB_E_CLOSED_PEER, WB_ORIGIN_PEER, 0x12));
    broken.end();

    // An alert: its number, beside the code that carries it, blamed on CRYPTO.
    let mut broken = Broken::new(&pair);
    let info = broken.killed_by(&close(0x12a, Some(0x06)));
    assert_eq!((info.status, info.origin, info.tls_alert), (WB_E_TLS, WB_ORIGIN_PEER, 0x2a));
    assert_eq!((info.wire_code, info.frame_type, info.application), (0x12a, 0x06, 0));
    broken.end();

    // An application's close has no frame to blame.
    let mut broken = Broken::new(&pair);
    let info = broken.killed_by(&close(0x77, None));
    assert_eq!((info.status, info.origin, info.application), (WB_E_APPLICATION, WB_ORIGIN_PEER, 1));
    assert_eq!((info.wire_code, info.frame_type), (0x77, 0));
    broken.end();
}

/// The stream's own ends: the code of a reset and of a stop, with the side that sent them.
#[test]
fn a_streams_end_names_the_peers_code() {
    let pair = Pair::new();
    let mut broken = Broken::new(&pair);
    let (mut stream, mut n, mut fin) = (0, 0usize, 0u8);
    unsafe {
        ok(stream_calls::wb_stream_open(broken.conn, WB_STREAM_BIDI, &raw mut stream));
        ok(stream_calls::wb_stream_send_copy(stream, pointer(b"x"), 1, 0, &raw mut n));
    }
    broken.turn();
    let stop = frames(&[Frame::StopSending { id: StreamId(1), code: 0x51 }]);
    let reset = frames(&[Frame::ResetStream { id: StreamId(1), code: 0x52, final_size: 0 }]);
    let packet = broken.peer.packet(Level::OneRtt, &[stop, reset].concat());
    broken.deliver(&packet);
    broken.turn();
    let status = unsafe { stream_calls::wb_stream_send_copy(stream, pointer(b"x"), 1, 0, &raw mut n) };
    let why = last();
    assert_eq!((status, why.status, why.origin), (WB_E_STOPPED, WB_E_STOPPED, WB_ORIGIN_PEER));
    assert_eq!((why.wire_code, why.application), (0x51, 1));
    let mut room = [0u8; 8];
    let room = room.as_mut_ptr().cast();
    let status = unsafe { stream_calls::wb_stream_recv_copy(stream, room, 8, &raw mut n, &raw mut fin) };
    let why = last();
    assert_eq!((status, why.status, why.origin), (WB_E_RESET, WB_E_RESET, WB_ORIGIN_PEER));
    assert_eq!((why.wire_code, why.application), (0x52, 1));
    ok(handle_calls::wb_handle_release(stream));
    broken.end();
}

/// A refused certificate: the alert here, and what the other side's last event says.
#[test]
fn an_alert_is_told_on_both_sides() {
    let pair = Pair::new();
    let mut world = World::new(server_tls(&pair), &[]);
    let conn = world.connect(client_tls(&Pair::new()), &[]);
    let here = world.closed(conn);
    assert_eq!((here.status, here.origin), (WB_E_VERIFY, WB_ORIGIN_LOCAL));
    assert!(here.tls_alert != 0 && here.wire_code == 0x100 + u64::from(here.tls_alert));
    assert_eq!((here.application, here.os_error), (0, 0));
    let there = world.wait("the server's end", |e| e.kind == WB_EV_CONN_CLOSED && e.conn != conn);
    assert_eq!((there.a, there.b), (here.wire_code, u64::from(WB_E_TLS as u32)));
    world.end();
}

/// What the system refuses to a call comes with its number.
#[test]
fn a_call_names_the_systems_error() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    let world = World::new(server_tls(&Pair::new()), &[]);
    let (mut endpoint, tls) = (0, server_tls(&Pair::new()));
    let host = c"127.0.0.1".as_ptr();
    let status =
        unsafe { endpoint_calls::wb_server_listen(world.runtime, 0, tls, host, usize::MAX, port, &raw mut endpoint) };
    let why = last();
    assert_eq!((status, why.status, why.origin), (WB_E_BUSY, WB_E_BUSY, WB_ORIGIN_SYSTEM));
    assert_eq!((why.os_error, why.wire_code, why.frame_type), (libc::EADDRINUSE, 0, 0));
    // An address of somebody else.
    let host = c"192.0.2.1".as_ptr();
    let status =
        unsafe { endpoint_calls::wb_server_listen(world.runtime, 0, tls, host, usize::MAX, 0, &raw mut endpoint) };
    let why = last();
    assert_eq!((status, why.origin, why.os_error), (WB_E_OS, WB_ORIGIN_SYSTEM, libc::EADDRNOTAVAIL));
    // Our own mistakes have no number and are ours.
    assert_eq!(unsafe { conn_calls::wb_conn_close(0, 0, null(), 0) }, WB_E_HANDLE);
    assert_eq!((last().origin, last().os_error), (WB_ORIGIN_LOCAL, 0));
    assert_eq!(unsafe { error::wb_last_error(null_mut()) }, WB_E_INVALID);
    assert_eq!(last().status, WB_E_HANDLE, "asking does not replace what is asked for");
    ok(handle_calls::wb_handle_release(tls));
    world.end();
}
