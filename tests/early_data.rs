//! Early data through the C ABI on real sockets: a store that several servers share tells replays from offers that are new
//! (RFC 8446 section 8.2, RFC 9001 section 9.2).
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
mod abi_world;

use abi_world::*;
use core::ptr::null;
use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{buf, conn_calls, decision, handle_calls, stream_calls, tls, tls_calls};

/// A server of the fleet: it shares ticket keys, and asks about early data.
fn fleet_tls(pair: &Pair) -> wb_tls {
    let server = server_tls(pair);
    ok(unsafe { tls_calls::wb_tls_ticket_keys(server, pointer(&[5; 32]), 1) });
    ok(tls::wb_tls_early_data(server, 1));
    ok(tls_calls::wb_tls_decisions(server, WB_DECIDE_EARLY));
    server
}

fn early_client(pair: &Pair) -> wb_tls {
    let client = client_tls(pair);
    ok(tls::wb_tls_early_data(client, 1));
    client
}

/// The key of an offer, from its decision.
fn key_of(decision: wb_decision) -> Vec<u8> {
    let (mut handle, mut at, mut len) = (0, null(), 0usize);
    ok(unsafe { decision::wb_decision_data(decision, WB_DATA_EARLY_KEY, 0, &raw mut handle) });
    ok(unsafe { buf::wb_buf_view(handle, &raw mut at, &raw mut len) });
    let bytes = unsafe { core::slice::from_raw_parts(at.cast::<u8>(), len) }.to_vec();
    ok(handle_calls::wb_handle_release(handle));
    bytes
}

fn conn_info(conn: wb_conn) -> wb_conn_desc {
    let mut desc: wb_conn_desc = unsafe { core::mem::zeroed() };
    desc.struct_size = size_of::<wb_conn_desc>() as u32;
    ok(unsafe { conn_calls::wb_conn_info(conn, &raw mut desc) });
    desc
}

/// Connects until the client has a ticket of this server: tickets follow the handshake.
fn visit(world: &mut World, client: wb_tls) {
    let conn = world.connect(client, &[]);
    world.connected(conn);
    // The server's NEW_TOKEN and tickets leave in its first flight after the handshake.
    world.wait("a token", |e| e.conn == conn && e.kind == WB_EV_NEW_TOKEN);
    ok(unsafe { conn_calls::wb_conn_close(conn, 0, null(), 0) });
    world.closed_status(conn);
}

/// Opens a stream with the ticket at hand and sends on it before there is an answer.
fn send_early(world: &mut World, client: wb_tls, through: Option<u16>) -> (wb_conn, wb_stream) {
    let own = world.port;
    world.port = through.unwrap_or(own);
    let conn = loop {
        let conn = world.connect(client, &[]);
        let early = u64::from(WB_LEVEL_EARLY);
        let first = world.wait("keys for early data, or the whole handshake", |e| {
            e.conn == conn && (e.kind == WB_EV_CONNECTED || (e.kind == WB_EV_KEYS_INSTALLED && e.a == early))
        });
        if first.kind == WB_EV_KEYS_INSTALLED {
            break conn;
        }
        // No ticket was there yet: they follow the handshake.
        world.wait("a token", |e| e.conn == conn && e.kind == WB_EV_NEW_TOKEN);
        ok(unsafe { conn_calls::wb_conn_close(conn, 0, null(), 0) });
        world.closed_status(conn);
    };
    world.port = own;
    let mut stream = 0;
    ok(unsafe { stream_calls::wb_stream_open(conn, WB_STREAM_BIDI, &raw mut stream) });
    let mut sent = 0usize;
    ok(unsafe { stream_calls::wb_stream_send_copy(stream, pointer(b"pay 5 crowns"), 12, WB_FIN, &raw mut sent) });
    assert_eq!(sent, 12);
    (conn, stream)
}

/// A store as a fleet would keep it in a service of its own.
#[derive(Default)]
struct Store(Mutex<HashSet<Vec<u8>>>);

impl Store {
    fn answer(&self, asked: &Seen) {
        assert!(asked.b >= 120_000, "to be remembered for as long as TLS takes the offer: {} ms", asked.b);
        let key = key_of(asked.a);
        assert_eq!(key.len(), 32);
        if self.0.lock().expect("no poison").insert(key) {
            ok(decision::wb_decision_accept(asked.a));
        } else {
            ok(decision::wb_decision_refuse(asked.a, 0));
        }
        assert_eq!(decision::wb_decision_accept(asked.a), WB_E_STALE);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-9.2
//= type=test
//# Endpoints MUST implement and use the replay protections described in [TLS13], however it is recognized that these
//# protections are imperfect.
#[test]
fn two_servers_with_one_store_take_early_data_once() {
    let pair = Pair::new();
    let store = Store::default();
    let (mut one, mut two) = (World::new(fleet_tls(&pair), &[]), World::new(fleet_tls(&pair), &[]));
    let client = early_client(&pair);
    visit(&mut one, client);
    one.events.clear();
    // A relay between them keeps what the client sends, to play it again.
    let relay = Relay::new(two.port);
    let (conn, _) = send_early(&mut two, client, Some(relay.port));
    let asked = two.decision(WB_EV_DECIDE_EARLY);
    let mut desc: wb_decision_desc = unsafe { core::mem::zeroed() };
    desc.struct_size = size_of::<wb_decision_desc>() as u32;
    ok(unsafe { decision::wb_decision_info(asked.a, &raw mut desc) });
    assert_eq!((desc.kind, desc.conn), (WB_DECIDE_EARLY, asked.conn));
    assert_eq!(decision::wb_decision_refuse(asked.a, 40), WB_E_RANGE);
    assert_eq!(unsafe { decision::wb_decision_sign(asked.a, pointer(b"x"), 1) }, WB_E_INVALID);
    assert!(!two.events.iter().any(|e| e.kind == WB_EV_STREAM_INCOMING), "nothing before the answer");
    store.answer(&asked);
    two.wait("acceptance", |e| e.conn == conn && e.kind == WB_EV_ZERO_RTT_ACCEPTED);
    let incoming = two.wait("the stream", |e| e.conn == asked.conn && e.kind == WB_EV_STREAM_INCOMING);
    assert_eq!(incoming.conn, asked.conn);
    two.wait("the server", |e| e.conn == asked.conn && e.kind == WB_EV_CONNECTED);

    // The same packets again, at the other server and at the same one, from elsewhere: no application sees them.
    let flight = relay.recorded();
    assert!(flight.len() >= 2, "the first flight and more");
    let mut three = World::new(fleet_tls(&pair), &[]);
    // Where the first connection lives, they are repetitions; a server that was started since knows nothing but the store.
    for (world, asks) in [(&mut one, true), (&mut two, false), (&mut three, true)] {
        world.events.clear();
        let attacker = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for packet in &flight {
            attacker.send_to(packet, ("127.0.0.1", world.port)).expect("sent");
        }
        if asks {
            let asked = world.decision(WB_EV_DECIDE_EARLY);
            store.answer(&asked);
        }
        // What follows on the same worker shows that the packets have been dealt with.
        let check = world.connect(client_tls(&pair), &[]);
        world.connected(check);
        let streams: Vec<_> = world.events.iter().filter(|e| e.kind == WB_EV_STREAM_INCOMING).collect();
        assert!(streams.is_empty(), "a replay reached the application: {streams:?}");
    }
    // An honest client is not shut out: the handshake goes on, the data come late, once.
    let (conn, _) = send_early(&mut one, client, None);
    let asked = one.wait("a question of the new connection", |e| e.kind == WB_EV_DECIDE_EARLY);
    ok(decision::wb_decision_refuse(asked.a, 0));
    one.wait("refusal", |e| e.conn == conn && e.kind == WB_EV_ZERO_RTT_REJECTED);
    one.wait("the stream", |e| e.conn == asked.conn && e.kind == WB_EV_STREAM_INCOMING);
    assert_eq!(conn_info(asked.conn).early_data, 0);
    one.end();
    two.end();
    three.end();
}

#[test]
fn a_store_that_fails_means_no_early_data() {
    let pair = Pair::new();
    let mut world = World::new(fleet_tls(&pair), &[(WB_KEY_EARLY_DECISION_MS, 50)]);
    let client = early_client(&pair);
    visit(&mut world, client);
    // It never answers.
    let (conn, _) = send_early(&mut world, client, None);
    let asked = world.decision(WB_EV_DECIDE_EARLY);
    world.connected(conn);
    world.wait("refusal", |e| e.conn == conn && e.kind == WB_EV_ZERO_RTT_REJECTED);
    world.wait("the stream, after all", |e| e.conn == asked.conn && e.kind == WB_EV_STREAM_INCOMING);
    assert_eq!(conn_info(asked.conn).early_data, 0);
    assert_eq!(decision::wb_decision_accept(asked.a), WB_E_TIMEOUT, "too late");
    assert_eq!(decision::wb_decision_accept(asked.a), WB_E_STALE);
    // It gives the question up.
    let (conn, _) = send_early(&mut world, client, None);
    let asked = world.decision(WB_EV_DECIDE_EARLY);
    ok(handle_calls::wb_handle_release(asked.a));
    world.wait("refusal", |e| e.conn == conn && e.kind == WB_EV_ZERO_RTT_REJECTED);
    world.connected(conn);
    world.end();
}

#[test]
fn without_a_store_shared_tickets_carry_no_early_data() {
    let pair = Pair::new();
    let server = server_tls(&pair);
    ok(unsafe { tls_calls::wb_tls_ticket_keys(server, pointer(&[5; 32]), 1) });
    ok(tls::wb_tls_early_data(server, 1));
    assert_eq!(tls_calls::wb_tls_decisions(client_tls(&pair), WB_DECIDE_EARLY), WB_E_UNSUPPORTED);
    let mut world = World::new(server, &[]);
    let client = early_client(&pair);
    visit(&mut world, client);
    let conn = world.connect(client, &[]);
    let up = world.wait("the handshake", |e| e.conn == conn && e.kind == WB_EV_CONNECTED);
    assert_eq!(up.a, 1, "resumed");
    assert!(!world.events.iter().any(|e| e.conn == conn && e.kind == WB_EV_ZERO_RTT_ACCEPTED));
    assert!(
        !world
            .events
            .iter()
            .any(|e| { e.conn == conn && e.kind == WB_EV_KEYS_INSTALLED && e.a == u64::from(WB_LEVEL_EARLY) })
    );
    world.end();
}

/// Stands between a client and a server and keeps what the client sends.
struct Relay {
    port: u16,
    packets: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    fn new(server: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let port = socket.local_addr().expect("an address").port();
        let packets: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (stop, kept) = (Arc::new(AtomicBool::new(false)), Arc::clone(&packets));
        let end = Arc::clone(&stop);
        let client = AtomicU16::new(0);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !end.load(Ordering::Acquire) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                let packet = &buffer[..len];
                let to = if from.port() == server {
                    client.load(Ordering::Relaxed)
                } else {
                    client.store(from.port(), Ordering::Relaxed);
                    kept.lock().expect("no poison").push(packet.to_vec());
                    server
                };
                let _ = socket.send_to(packet, ("127.0.0.1", to));
            }
        });
        Self { port, packets, stop, thread: Some(thread) }
    }

    fn recorded(&self) -> Vec<Vec<u8>> {
        self.packets.lock().expect("no poison").clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
