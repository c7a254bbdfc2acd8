//! Early data through the C ABI on real sockets: a store that several servers share tells replays from offers that are new
//! (RFC 8446 section 8.2, RFC 9001 section 9.2).
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
mod abi_world;

use abi_world::*;
use core::ptr::null;
use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{buf, conn_calls, decision, h3_calls, handle_calls, stream_calls, tls, tls_calls};

/// A server of the fleet: it shares ticket keys, and asks about early data.
fn fleet_tls(pair: &Pair) -> wb_tls {
    fleet_tls_for(pair, "echo")
}

fn fleet_tls_for(pair: &Pair, protocol: &str) -> wb_tls {
    let server = new_tls_for(WB_ROLE_SERVER, protocol);
    add_identity(server, &pair.der, &pair.key_der);
    ok(unsafe { tls_calls::wb_tls_ticket_keys(server, pointer(&[5; 32]), 1) });
    ok(tls::wb_tls_early_data(server, 1));
    ok(tls_calls::wb_tls_decisions(server, WB_DECIDE_EARLY));
    server
}

fn early_client(pair: &Pair) -> wb_tls {
    early_client_for(pair, "echo")
}

fn early_client_for(pair: &Pair, protocol: &str) -> wb_tls {
    let client = new_tls_for(WB_ROLE_CLIENT, protocol);
    ok(unsafe { tls::wb_tls_trust_add(client, pointer(&pair.der), pair.der.len()) });
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
fn visit(world: &mut World, client: wb_tls, http3: u64) {
    let conn = world.connect(client, &[(WB_KEY_HTTP3, http3)]);
    world.connected(conn);
    // The server's NEW_TOKEN and tickets leave in its first flight after the handshake.
    world.wait("a token", |e| e.conn == conn && e.kind == WB_EV_NEW_TOKEN);
    ok(unsafe { conn_calls::wb_conn_close(conn, 0, null(), 0) });
    world.closed_status(conn);
}

/// Connects with the ticket at hand.
fn connect_early(world: &mut World, client: wb_tls, http3: u64, through: Option<u16>) -> wb_conn {
    let own = world.port;
    world.port = through.unwrap_or(own);
    let conn = loop {
        let conn = world.connect(client, &[(WB_KEY_HTTP3, http3)]);
        let early = u64::from(WB_LEVEL_EARLY);
        let first = world.wait("keys for early data, or the whole handshake", |e| {
            e.conn == conn && (e.kind == WB_EV_CONNECTED || (e.kind == WB_EV_KEYS_INSTALLED && e.a == early))
        });
        if first.kind == WB_EV_KEYS_INSTALLED {
            assert_eq!(first.flags, WB_EVF_WRITE, "a client's early data go one way");
            break conn;
        }
        // No ticket was there yet: they follow the handshake.
        world.wait("a token", |e| e.conn == conn && e.kind == WB_EV_NEW_TOKEN);
        ok(unsafe { conn_calls::wb_conn_close(conn, 0, null(), 0) });
        world.closed_status(conn);
    };
    world.port = own;
    conn
}

fn send(stream: wb_stream, bytes: &[u8], flags: u32) {
    let mut sent = 0usize;
    ok(unsafe { stream_calls::wb_stream_send_copy(stream, pointer(bytes), bytes.len(), flags, &raw mut sent) });
    assert_eq!(sent, bytes.len());
}

fn open(conn: wb_conn) -> wb_stream {
    let mut stream = 0;
    ok(unsafe { stream_calls::wb_stream_open(conn, WB_STREAM_BIDI, &raw mut stream) });
    stream
}

/// Opens a stream with the ticket at hand and sends on it before there is an answer.
fn send_early(world: &mut World, client: wb_tls, through: Option<u16>) -> (wb_conn, wb_stream) {
    let conn = connect_early(world, client, 0, through);
    let stream = open(conn);
    send(stream, b"pay 5 crowns", WB_FIN);
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
    visit(&mut one, client, 0);
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
    visit(&mut world, client, 0);
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
    visit(&mut world, client, 0);
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

/// RFC 9114 section 7.2.4.2: a client remembers the settings of the server that gave it the ticket. One with others takes the
/// session and no early data; nobody is asked whether they are new.
#[test]
fn early_data_are_not_taken_under_other_http3_settings() {
    let pair = Pair::new();
    let h3 = |more: &[(u32, u64)]| World::new(fleet_tls_for(&pair, "h3"), &[&[(WB_KEY_HTTP3, 1)], more].concat());
    let (mut one, mut same, mut other) = (h3(&[]), h3(&[]), h3(&[(WB_KEY_MAX_FIELD_SECTION, 1000)]));
    let client = early_client_for(&pair, "h3");
    for (world, taken) in [(&mut same, true), (&mut other, false)] {
        visit(&mut one, client, 1);
        let conn = connect_early(world, client, 1, None);
        if taken {
            let asked = world.decision(WB_EV_DECIDE_EARLY);
            ok(decision::wb_decision_accept(asked.a));
            world.wait("acceptance", |e| e.conn == conn && e.kind == WB_EV_ZERO_RTT_ACCEPTED);
        } else {
            world.wait("refusal", |e| e.conn == conn && e.kind == WB_EV_ZERO_RTT_REJECTED);
            assert!(!world.events.iter().any(|e| e.kind == WB_EV_DECIDE_EARLY), "nothing to decide");
        }
        let up = world.wait("the handshake", |e| e.conn == conn && e.kind == WB_EV_CONNECTED);
        assert_eq!(up.a, 1, "resumed");
    }
    for world in [one, same, other] {
        world.end();
    }
}

/// Without shared keys: the workers of one server keep sessions together, so that a ticket is used once among them all.
#[test]
fn a_server_of_several_workers_takes_a_ticket_once() {
    let pair = Pair::new();
    let server = server_tls(&pair);
    ok(tls::wb_tls_early_data(server, 1));
    let mut world = World::with_workers(server, 4, &[]);
    let client = early_client(&pair);
    visit(&mut world, client, 0);
    let relay = Relay::new(world.port);
    let (conn, _) = send_early(&mut world, client, Some(relay.port));
    world.wait("acceptance", |e| e.conn == conn && e.kind == WB_EV_ZERO_RTT_ACCEPTED);
    world.wait("the stream", |e| e.conn != conn && e.kind == WB_EV_STREAM_INCOMING);
    world.events.clear();
    let flight = relay.recorded();
    // Addresses spread the copies over the workers, also where the connection is unknown.
    for _ in 0..16 {
        let attacker = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for packet in &flight {
            attacker.send_to(packet, ("127.0.0.1", world.port)).expect("sent");
        }
    }
    ok(unsafe { conn_calls::wb_conn_close(conn, 0, null(), 0) });
    world.closed_status(conn);
    for _ in 0..16 {
        let check = world.connect(client_tls(&pair), &[]);
        world.connected(check);
    }
    let early = world.events.iter().filter(|e| e.kind == WB_EV_STREAM_INCOMING).count();
    assert_eq!(early, 0, "a replay reached the application");
    world.end();
}

/// Flag of the event, and what the stream says of itself.
fn earliness(event: &Seen) -> (bool, u32) {
    let mut desc: wb_stream_desc = unsafe { core::mem::zeroed() };
    desc.struct_size = size_of::<wb_stream_desc>() as u32;
    ok(unsafe { stream_calls::wb_stream_info(event.stream, &raw mut desc) });
    (event.flags & WB_EVF_EARLY != 0, desc.early)
}

#[test]
fn a_stream_says_that_it_came_early_and_when_that_is_no_danger_any_more() {
    let pair = Pair::new();
    let mut world = World::new(fleet_tls(&pair), &[(WB_KEY_EARLY_DECISION_MS, 20_000)]);
    let client = early_client(&pair);
    visit(&mut world, client, 0);
    world.events.clear();
    let relay = Relay::new(world.port);
    let conn = connect_early(&mut world, client, 0, Some(relay.port));
    let stream = open(conn);
    send(stream, &[7; 4000], 0);
    let asked = world.decision(WB_EV_DECIDE_EARLY);
    // From now on the client's Finished cannot pass.
    relay.hold_after(4500);
    ok(decision::wb_decision_accept(asked.a));
    let early = world.wait("the stream", |e| e.conn == asked.conn && e.kind == WB_EV_STREAM_INCOMING);
    assert_eq!(earliness(&early), (true, WB_EARLY_UNPROVEN));
    relay.release();
    world.connected(asked.conn);
    assert_eq!(earliness(&early).1, WB_EARLY_PROVEN);
    // What follows does not change where it began; a later stream is not early at all.
    send(stream, b"the rest", WB_FIN);
    world.connected(conn);
    let next = open(conn);
    send(next, b"later", WB_FIN);
    let late = world.wait("the next stream", |e| e.conn == asked.conn && e.kind == WB_EV_STREAM_INCOMING);
    assert_eq!(earliness(&late), (false, WB_EARLY_NO));
    assert_eq!(earliness(&early).1, WB_EARLY_PROVEN);
    world.end();
}

#[test]
fn what_a_stream_begins_with_goes_as_early_data_and_again_when_they_are_refused() {
    let pair = Pair::new();
    let mut world = World::new(fleet_tls(&pair), &[]);
    let client = early_client(&pair);
    visit(&mut world, client, 0);
    for accept in [true, false] {
        world.events.clear();
        let conn = connect_early(&mut world, client, 0, None);
        let mut first: wb_stream_first = unsafe { core::mem::zeroed() };
        first.struct_size = size_of::<wb_stream_first>() as u32;
        (first.flags, first.data, first.len) = (WB_FIN, pointer(b"pay 5 crowns"), 12);
        let mut stream = 0;
        ok(unsafe { stream_calls::wb_stream_begin(conn, WB_STREAM_BIDI, &raw mut first, &raw mut stream) });
        assert_eq!(first.accepted, 12);
        let asked = world.decision(WB_EV_DECIDE_EARLY);
        ok(if accept { decision::wb_decision_accept(asked.a) } else { decision::wb_decision_refuse(asked.a, 0) });
        let told = if accept { WB_EV_ZERO_RTT_ACCEPTED } else { WB_EV_ZERO_RTT_REJECTED };
        world.wait("the answer", |e| e.conn == conn && e.kind == told);
        let theirs = world.wait("the stream", |e| e.conn == asked.conn && e.kind == WB_EV_STREAM_INCOMING).stream;
        let (mut room, mut got, mut fin) = ([0u8; 16], 0usize, 0u8);
        ok(unsafe {
            stream_calls::wb_stream_recv_copy(theirs, room.as_mut_ptr().cast(), 16, &raw mut got, &raw mut fin)
        });
        assert_eq!((&room[..got], fin), (&b"pay 5 crowns"[..], 1));
        ok(handle_calls::wb_handle_release(stream));
    }
    world.end();
}

fn field(name: &'static str, value: &str) -> wb_field {
    wb_field { name: name.as_ptr().cast(), name_len: name.len(), value: value.as_ptr().cast(), value_len: value.len() }
}

/// A request whose fields need `window` bytes of credit more than once come to their end after the handshake only.
#[test]
fn a_request_says_whether_its_fields_may_be_a_replay() {
    for window in [None, Some(1000)] {
        let pair = Pair::new();
        let mut settings = vec![(WB_KEY_HTTP3, 1), (WB_KEY_EARLY_DECISION_MS, 20_000)];
        settings.extend(window.map(|w| (WB_KEY_STREAM_WINDOW, w)));
        let mut world = World::new(fleet_tls_for(&pair, "h3"), &settings);
        let client = early_client_for(&pair, "h3");
        visit(&mut world, client, 1);
        world.events.clear();
        let relay = Relay::new(world.port);
        let conn = connect_early(&mut world, client, 1, Some(relay.port));
        let pad = "x".repeat(4000);
        let fields = [
            field(":method", "POST"),
            field(":scheme", "https"),
            field(":authority", "localhost"),
            field(":path", "/pay"),
            field("x-pad", &pad),
        ];
        let mut stream = 0;
        ok(unsafe { h3_calls::wb_h3_request(conn, fields.as_ptr(), fields.len(), 0, &raw mut stream) });
        let asked = world.decision(WB_EV_DECIDE_EARLY);
        relay.hold_after(if window.is_some() { 1500 } else { 4500 });
        ok(decision::wb_decision_accept(asked.a));
        let is_request = |e: &Seen| e.conn == asked.conn && e.kind == WB_EV_H3_HEADERS;
        if window.is_none() {
            let request = world.wait("the request", is_request);
            assert_eq!(earliness(&request), (true, WB_EARLY_UNPROVEN));
            relay.release();
            world.connected(asked.conn);
            send(stream, b"body", WB_FIN);
            world.wait("the body", |e| e.stream == request.stream && e.kind == WB_EV_STREAM_READABLE);
            assert_eq!(earliness(&request).1, WB_EARLY_PROVEN);
        } else {
            // The server has the beginning and cannot have the rest.
            world.wait("early keys at the server", |e| {
                e.conn == asked.conn && e.kind == WB_EV_KEYS_INSTALLED && e.a == u64::from(WB_LEVEL_EARLY)
            });
            assert!(!world.events.iter().any(is_request));
            relay.release();
            world.connected(asked.conn);
            let request = world.wait("the request", is_request);
            assert_eq!(earliness(&request), (false, WB_EARLY_PROVEN), "begun early, finished after the handshake");
        }
        world.end();
    }
}

/// Stands between a client and a server and keeps what the client sends.
struct Relay {
    port: u16,
    inner: Arc<Inner>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Inner {
    packets: Mutex<Vec<Vec<u8>>>,
    /// Datagrams of the client wait, but for those that begin with a 0-RTT packet.
    hold: AtomicBool,
    stop: AtomicBool,
}

impl Relay {
    fn new(server: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
        let port = socket.local_addr().expect("an address").port();
        let inner: Arc<Inner> = Arc::default();
        let shared = Arc::clone(&inner);
        let thread = std::thread::spawn(move || {
            let (mut buffer, mut client) = ([0; 2048], 0);
            let mut held: Vec<Vec<u8>> = Vec::new();
            while !shared.stop.load(Ordering::Acquire) {
                if !shared.hold.load(Ordering::Acquire) {
                    for packet in held.drain(..) {
                        let _ = socket.send_to(&packet, ("127.0.0.1", server));
                    }
                }
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                let packet = &buffer[..len];
                if from.port() == server {
                    let _ = socket.send_to(packet, ("127.0.0.1", client));
                    continue;
                }
                client = from.port();
                shared.packets.lock().expect("no poison").push(packet.to_vec());
                let zero_rtt = packet[0] & 0xb0 == 0x90;
                if shared.hold.load(Ordering::Acquire) && !zero_rtt {
                    held.push(packet.to_vec());
                } else {
                    let _ = socket.send_to(packet, ("127.0.0.1", server));
                }
            }
        });
        Self { port, inner, thread: Some(thread) }
    }

    fn recorded(&self) -> Vec<Vec<u8>> {
        self.inner.packets.lock().expect("no poison").clone()
    }

    /// Holds the client's datagrams once it has sent `bytes`: its ClientHello and early data.
    fn hold_after(&self, bytes: usize) {
        while self.recorded().iter().map(Vec::len).sum::<usize>() < bytes {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.inner.hold.store(true, Ordering::Release);
    }

    fn release(&self) {
        self.inner.hold.store(false, Ordering::Release);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
