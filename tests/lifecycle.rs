//! Credit, back-pressure, graceful ends and sockets handed over, through the C ABI on real connections.
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
mod abi_world;

use abi_world::*;
use core::ptr::{null, null_mut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{conn_calls, endpoint_calls, h3_calls, handle_calls, runtime_calls, stream_calls, tls};

fn open_stream(conn: wb_conn) -> wb_stream {
    let mut stream = 0;
    ok(unsafe { stream_calls::wb_stream_open(conn, WB_STREAM_BIDI, &raw mut stream) });
    stream
}

fn send(stream: wb_stream, bytes: &[u8], flags: u32) -> (wb_status, usize) {
    let mut accepted = 0usize;
    let status =
        unsafe { stream_calls::wb_stream_send_copy(stream, pointer(bytes), bytes.len(), flags, &raw mut accepted) };
    (status, if status < 0 { 0 } else { accepted })
}

/// What can be read now: bytes and whether the stream ended.
fn drain(stream: wb_stream) -> (usize, bool) {
    let mut room = vec![0u8; 1 << 16];
    let mut total = 0;
    loop {
        let (mut got, mut fin) = (0usize, 0u8);
        let (room, len) = (room.as_mut_ptr().cast(), room.len());
        match unsafe { stream_calls::wb_stream_recv_copy(stream, room, len, &raw mut got, &raw mut fin) } {
            WB_OK => {
                total += got;
                if fin == 1 {
                    return (total, true);
                }
            }
            WB_E_WOULD_BLOCK => return (total, false),
            other => panic!("receiving gives {other}: {}", last_error()),
        }
    }
}

/// Reads until `wanted` bytes or the end have come.
fn read_until(world: &mut World, stream: wb_stream, wanted: usize) -> usize {
    let mut total = 0;
    loop {
        let (got, fin) = drain(stream);
        total += got;
        if fin || total >= wanted {
            return total;
        }
        world.wait("data", |e| e.kind == WB_EV_STREAM_READABLE && e.stream == stream);
    }
}

fn incoming(world: &mut World) -> wb_stream {
    let stream = world.wait("a stream", |e| e.kind == WB_EV_STREAM_INCOMING).stream;
    // The queue's batch was returned: without a reference of our own the handle could end before it is used.
    ok(handle_calls::wb_handle_retain(stream));
    stream
}

const WINDOW: usize = 1 << 16;
const SMALL_WINDOWS: [(u32, u64); 2] = [(WB_KEY_STREAM_WINDOW, WINDOW as u64), (WB_KEY_CONN_WINDOW, 4 * WINDOW as u64)];

#[test]
fn the_peer_gets_credit_for_what_is_consumed_only() {
    let pair = Pair::new();
    let settings = [SMALL_WINDOWS[0], SMALL_WINDOWS[1], (WB_KEY_MANUAL_CREDIT, 1)];
    let mut world = World::new(server_tls(&pair), &settings);
    let conn = world.connect(client_tls(&pair), &[]);
    world.connected(conn);
    let stream = open_stream(conn);
    let all = vec![7u8; 10 * WINDOW];
    assert_eq!(send(stream, &all, WB_FIN), (WB_OK, all.len()));
    let theirs = incoming(&mut world);
    // All of the window can be read, and not a byte more comes however often it is tried.
    assert_eq!(read_until(&mut world, theirs, WINDOW), WINDOW);
    assert_eq!(drain(theirs), (0, false));
    assert_eq!(stream_calls::wb_stream_consume(theirs, WINDOW as u64 + 1), WB_E_RANGE);
    assert_eq!(stream_calls::wb_stream_consume(stream, 1), WB_E_STATE, "the client's credit is given by reading");
    let mut total = WINDOW;
    let mut owed = WINDOW;
    while total < all.len() {
        ok(stream_calls::wb_stream_consume(theirs, owed as u64));
        owed = read_until(&mut world, theirs, 1);
        total += owed;
    }
    assert_eq!(total, all.len());
    // What is still owed when a stream goes is given back: later streams are not starved of the connection's credit.
    ok(stream_calls::wb_stream_consume(theirs, owed as u64));
    for _ in 0..12 {
        let stream = open_stream(conn);
        assert_eq!(send(stream, &all[..WINDOW], WB_FIN), (WB_OK, WINDOW));
        let theirs = incoming(&mut world);
        assert_eq!(read_until(&mut world, theirs, usize::MAX), WINDOW);
        assert_eq!(send(theirs, b"", WB_FIN).0, WB_OK);
        let closed = world.wait("its end", |e| e.kind == WB_EV_STREAM_CLOSED && e.stream == theirs);
        ok(handle_calls::wb_handle_release(closed.stream));
        assert_eq!(stream_calls::wb_stream_consume(closed.stream, 1), WB_E_STALE);
        ok(handle_calls::wb_handle_release(stream));
    }
    world.end();
}

/// draft-ietf-quic-reliable-stream-reset through the C ABI: what was promised arrives, then the code.
#[test]
fn a_reliable_reset_delivers_what_it_promised() {
    let pair = Pair::new();
    let mut world = World::new(server_tls(&pair), &SMALL_WINDOWS);
    let conn = world.connect(client_tls(&pair), &[]);
    world.connected(conn);
    let stream = open_stream(conn);
    let all = vec![9u8; 6 * WINDOW];
    assert_eq!(send(stream, &all, 0), (WB_OK, all.len()));
    // Far more than the peer allows now, and less than was written.
    ok(stream_calls::wb_stream_reset_at(stream, 77, 3 * WINDOW as u64));
    assert_eq!(send(stream, b"more", 0).0, WB_E_RESET);
    let theirs = incoming(&mut world);
    let (mut total, mut told, mut room) = (0, false, vec![0u8; 1 << 14]);
    let end = loop {
        let (mut got, mut fin) = (0usize, 0u8);
        let (room, len) = (room.as_mut_ptr().cast(), room.len());
        match unsafe { stream_calls::wb_stream_recv_copy(theirs, room, len, &raw mut got, &raw mut fin) } {
            WB_OK => total += got,
            WB_E_WOULD_BLOCK => {
                let seen = world.wait("more", |e| e.stream == theirs && e.kind != WB_EV_STREAM_WRITABLE);
                told |= seen.kind == WB_EV_STREAM_RESET && seen.a == 77;
            }
            end => break end,
        }
        assert_eq!(fin, 0, "a reset has no clean end");
    };
    // The reset is told once: by the event, or by the call that comes before it.
    assert!(end == WB_E_RESET || (told && end == WB_E_FINISHED), "{end}");
    assert!(total >= 3 * WINDOW && total < all.len(), "{total}");
    assert_eq!(stream_calls::wb_stream_reset_at(theirs, 1 << 62, 0), WB_E_RANGE);
    for handle in [stream, theirs] {
        ok(handle_calls::wb_handle_release(handle));
    }
    world.end();
}

#[test]
fn would_block_is_followed_by_one_writable() {
    let pair = Pair::new();
    let mut world = World::new(server_tls(&pair), &SMALL_WINDOWS);
    let conn = world.connect(client_tls(&pair), &[]);
    world.connected(conn);
    let stream = open_stream(conn);
    let piece = vec![1u8; 100_000];
    let (mut sent, mut theirs) = (0, 0);
    for round in 0..3 {
        loop {
            let (status, accepted) = send(stream, &piece, 0);
            sent += accepted;
            match status {
                WB_OK => assert_eq!(accepted, piece.len()),
                WB_PARTIAL => assert!(accepted < piece.len()),
                other => {
                    assert_eq!(other, WB_E_WOULD_BLOCK);
                    break;
                }
            }
        }
        let writable = |e: &Seen| e.kind == WB_EV_STREAM_WRITABLE && e.stream == stream;
        assert!(!world.events.iter().any(writable), "nobody has read anything");
        if round == 0 {
            theirs = incoming(&mut world);
        }
        assert_eq!(read_until(&mut world, theirs, sent), sent, "all that was accepted arrives");
        sent = 0;
        world.wait("the notice", writable);
        // A round trip later there is still just the one.
        let other = open_stream(conn);
        assert_eq!(send(other, b"x", WB_FIN), (WB_OK, 1));
        world.wait("its arrival", |e| e.kind == WB_EV_STREAM_SEND_DONE && e.stream == other);
        let at = incoming(&mut world);
        assert_eq!(drain(at), (1, true));
        assert!(!world.events.iter().any(writable), "a second notice");
        ok(handle_calls::wb_handle_release(other));
    }
    world.end();
}

#[test]
fn a_graceful_close_delivers_what_was_sent() {
    let pair = Pair::new();
    let mut server = World::new(server_tls(&pair), &SMALL_WINDOWS);
    let mut client = World::new(server_tls(&pair), &[]);
    client.port = server.port;
    let conn = client.connect(client_tls(&pair), &[(WB_KEY_DRAIN_MS, 20_000)]);
    client.connected(conn);
    let stream = open_stream(conn);
    let all = vec![3u8; 12 * WINDOW];
    assert_eq!(send(stream, &all, WB_FIN), (WB_OK, all.len()));
    ok(runtime_calls::wb_runtime_close(client.runtime, WB_CLOSE_GRACEFUL));
    let theirs = incoming(&mut server);
    assert_eq!(read_until(&mut server, theirs, usize::MAX), all.len());
    ok(runtime_calls::wb_runtime_wait(client.runtime, 20 * SECOND));
    let end = server.wait("the client's goodbye", |e| e.kind == WB_EV_CONN_CLOSED);
    assert_eq!((end.a, (end.b as u32).cast_signed()), (0, WB_E_CLOSED_PEER));
    server.end();
}

#[test]
fn a_graceful_close_ends_at_its_limit_or_when_told_so() {
    let pair = Pair::new();
    let all = vec![3u8; 12 * WINDOW];
    for limit in [100, 3_600_000] {
        let mut server = World::new(server_tls(&pair), &SMALL_WINDOWS);
        let mut client = World::new(server_tls(&pair), &[]);
        client.port = server.port;
        let conn = client.connect(client_tls(&pair), &[(WB_KEY_DRAIN_MS, limit)]);
        client.connected(conn);
        // Nobody reads it: it can never be delivered.
        assert_eq!(send(open_stream(conn), &all, WB_FIN).0, WB_OK);
        incoming(&mut server);
        ok(runtime_calls::wb_runtime_close(client.runtime, WB_CLOSE_GRACEFUL));
        if limit > 1000 {
            assert_eq!(runtime_calls::wb_runtime_wait(client.runtime, SECOND / 10), WB_E_TIMEOUT);
            ok(runtime_calls::wb_runtime_close(client.runtime, WB_CLOSE_NOW));
        }
        ok(runtime_calls::wb_runtime_wait(client.runtime, 20 * SECOND));
        server.wait("the client's goodbye", |e| e.kind == WB_EV_CONN_CLOSED);
        server.end();
    }
}

fn fields<const N: usize>(list: [(&'static str, &'static str); N]) -> [wb_field; N] {
    list.map(|(name, value)| wb_field {
        name: name.as_ptr().cast(),
        name_len: name.len(),
        value: value.as_ptr().cast(),
        value_len: value.len(),
    })
}

#[test]
fn a_server_finishes_its_requests_before_it_goes() {
    let pair = Pair::new();
    let server = new_tls_for(WB_ROLE_SERVER, "h3");
    add_identity(server, &pair.der, &pair.key_der);
    let client = new_tls_for(WB_ROLE_CLIENT, "h3");
    ok(unsafe { tls::wb_tls_trust_add(client, pointer(&pair.der), pair.der.len()) });
    let mut world = World::new(server, &[(WB_KEY_HTTP3, 1), (WB_KEY_DRAIN_MS, 20_000)]);
    let conn = world.connect(client, &[(WB_KEY_HTTP3, 1)]);
    world.connected(conn);
    let get = fields([(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]);
    let mut ours = 0;
    ok(unsafe { h3_calls::wb_h3_request(conn, get.as_ptr(), get.len(), WB_FIN, &raw mut ours) });
    let theirs = world.wait("the request", |e| e.kind == WB_EV_H3_HEADERS && e.conn != conn).stream;
    ok(endpoint_calls::wb_endpoint_close(world.endpoint, WB_CLOSE_GRACEFUL));
    world.wait("GOAWAY", |e| e.kind == WB_EV_H3_GOAWAY && e.conn == conn);
    // No new request is taken, the one under way gets its answer.
    let mut late = 0;
    let status = unsafe { h3_calls::wb_h3_request(conn, get.as_ptr(), get.len(), WB_FIN, &raw mut late) };
    assert_eq!(status, WB_E_STATE, "{}", last_error());
    let ok_fields = fields([(":status", "200")]);
    ok(unsafe { h3_calls::wb_h3_headers(theirs, ok_fields.as_ptr(), 1, 0) });
    let body = vec![9u8; 200_000];
    assert_eq!(send(theirs, &body, WB_FIN), (WB_OK, body.len()));
    world.wait("the response", |e| e.kind == WB_EV_H3_HEADERS && e.stream == ours);
    assert_eq!(read_until(&mut world, ours, usize::MAX), body.len());
    let info = world.closed(conn);
    assert_eq!((info.status, info.wire_code), (WB_E_CLOSED_PEER, 0x100), "H3_NO_ERROR");
    let endpoint = world.endpoint;
    world.wait("the endpoint's end", |e| e.kind == WB_EV_ENDPOINT_CLOSED && e.source == endpoint);
    world.end();
}

#[test]
fn sockets_are_handed_to_a_successor() {
    let pair = Pair::new();
    let old = World::new(server_tls(&pair), &[]);
    let mut fds = [-1isize; 8];
    let mut count = 0usize;
    ok(unsafe { endpoint_calls::wb_endpoint_export(old.endpoint, fds.as_mut_ptr(), fds.len(), &raw mut count) });
    assert_eq!(count, 1, "one worker, one socket");
    assert_eq!(unsafe { endpoint_calls::wb_endpoint_export(old.endpoint, null_mut(), 0, &raw mut count) }, WB_PARTIAL);

    let mut new = World::new(server_tls(&pair), &[]);
    let mut endpoint = 0;
    ok(unsafe { endpoint_calls::wb_endpoint_open(new.runtime, 0, &raw mut endpoint) });
    // What is no bound UDP socket stays the caller's.
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    assert_eq!(endpoint_calls::wb_endpoint_adopt(endpoint, tcp.as_raw_fd() as isize), WB_E_INVALID);
    assert_eq!(endpoint_calls::wb_endpoint_adopt(endpoint, -1), WB_E_INVALID);
    assert!(tcp.local_addr().is_ok());
    ok(endpoint_calls::wb_endpoint_adopt(endpoint, fds[0]));
    // It has been taken: the number is free or somebody else's.
    let conf = conn_config(&[]);
    ok(endpoint_calls::wb_endpoint_listen(endpoint, conf, server_tls(&pair)));
    let port = old.port;
    old.end();
    new.port = port;
    let conn = new.connect(client_tls(&pair), &[]);
    new.connected(conn);
    ok(handle_calls::wb_handle_release(endpoint));
    // A descriptor that was exported and not adopted is the caller's to close.
    let again = World::new(server_tls(&pair), &[]);
    ok(unsafe { endpoint_calls::wb_endpoint_export(again.endpoint, fds.as_mut_ptr(), 8, &raw mut count) });
    drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(fds[0]).expect("a descriptor")) });
    let other = again.connect(client_tls(&pair), &[]);
    let mut again = again;
    again.connected(other);
    again.end();
    new.end();
}

#[test]
fn errors_tell_side_code_and_alert() {
    let pair = Pair::new();
    let mut world = World::new(server_tls(&pair), &[]);
    let conn = world.connect(client_tls(&pair), &[]);
    world.connected(conn);
    let server = world.wait("the server", |e| e.kind == WB_EV_CONNECTED && e.conn != conn).conn;
    ok(handle_calls::wb_handle_retain(server));
    ok(unsafe { conn_calls::wb_conn_close(conn, 77, c"enough".as_ptr(), 6) });
    let (here, there) = (world.closed(conn), world.closed(server));
    assert_eq!(
        (here.status, here.origin, here.wire_code, here.application),
        (WB_E_CLOSED_LOCAL, WB_ORIGIN_LOCAL, 77, 1)
    );
    assert_eq!(
        (there.status, there.origin, there.wire_code, there.application),
        (WB_E_APPLICATION, WB_ORIGIN_PEER, 77, 1)
    );
    assert!(text(&there.text).contains("enough"), "{}", text(&there.text));
    // A certificate that is not trusted: the alert, on both sides, each with its origin.
    let stranger = client_tls(&Pair::new());
    let conn = world.connect(stranger, &[]);
    let info = world.closed(conn);
    assert_eq!((info.status, info.origin), (WB_E_VERIFY, WB_ORIGIN_LOCAL));
    assert!(info.tls_alert != 0 && info.wire_code == 0x100 + u64::from(info.tls_alert) && info.application == 0);
    // Nobody listens there: the system's number.
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    world.port = free.local_addr().expect("it is bound").port();
    drop(free);
    let conn = world.connect(stranger, &[]);
    let info = world.closed(conn);
    assert_eq!((info.status, info.origin, info.os_error), (WB_E_UNREACHABLE, WB_ORIGIN_SYSTEM, libc::ECONNREFUSED));
    assert_eq!(unsafe { conn_calls::wb_conn_close(conn, 0, null(), 0) }, WB_OK, "idempotent");
    world.end();
}

/// Sockets, pollers, and the descriptors of queues: a program that the application starts gets none of them.
#[test]
#[cfg(target_os = "linux")]
fn descriptors_do_not_leak_into_child_processes() {
    let pair = Pair::new();
    let mut world = World::with_workers(server_tls(&pair), 2, &[]);
    let conn = world.connect(client_tls(&pair), &[]);
    world.connected(conn);
    let (mut exported, mut count, mut queue_fd) = ([0isize; 8], 0, 0);
    unsafe {
        ok(endpoint_calls::wb_endpoint_export(world.endpoint, exported.as_mut_ptr(), 8, &raw mut count));
        ok(whimbrel::ffi::queue::wb_queue_fd(world.queue, &raw mut queue_fd));
    }
    let keeps = |fd: i32| unsafe { libc::fcntl(fd, libc::F_GETFD) } & libc::FD_CLOEXEC == 0;
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten() {
        let Ok(fd) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(what) = std::fs::read_link(entry.path()) else { continue };
        let what = what.to_string_lossy().into_owned();
        if fd > 2 && (what.starts_with("socket:") || what.starts_with("anon_inode:")) {
            assert!(!keeps(fd), "{fd} is {what}");
            seen += 1;
        }
    }
    // Two workers with a poller and a waker each, the sockets and their copies, the queue.
    assert!(seen > 2 * 2 + 2 * count, "{seen} descriptors with {count} sockets");
    assert!(!keeps(i32::try_from(queue_fd).expect("a descriptor")));
    for fd in &exported[..count] {
        unsafe { libc::close(i32::try_from(*fd).expect("a descriptor")) };
    }
    ok(handle_calls::wb_handle_release(conn));
    world.end();
}

/// Makes a stream and brings it into a state; a connection of its own each time, because one of the states is its end.
fn stream_in(state: &str, pair: &Pair) -> (World, wb_conn, wb_stream) {
    let mut world = World::new(server_tls(pair), &[]);
    let conn = world.connect(client_tls(pair), &[]);
    world.connected(conn);
    let stream = open_stream(conn);
    let told = |world: &mut World, kind| {
        world.wait(state, |e| e.kind == kind && e.stream == stream);
    };
    let theirs = |world: &mut World| {
        assert_eq!(send(stream, b"hello", 0), (WB_OK, 5));
        incoming(world)
    };
    match state {
        "fresh" => {}
        "end sent" => assert_eq!(send(stream, b"", WB_FIN).0, WB_OK),
        "reset" => ok(stream_calls::wb_stream_reset(stream, 1)),
        "stopped" => ok(stream_calls::wb_stream_stop(stream, 1)),
        "stopped by the peer" => {
            ok(stream_calls::wb_stream_stop(theirs(&mut world), 2));
            told(&mut world, WB_EV_STREAM_STOPPED);
        }
        "reset by the peer" => {
            ok(stream_calls::wb_stream_reset(theirs(&mut world), 2));
            told(&mut world, WB_EV_STREAM_RESET);
        }
        "read to the end" => {
            let other = theirs(&mut world);
            assert_eq!(send(other, b"", WB_FIN).0, WB_OK);
            told(&mut world, WB_EV_STREAM_READABLE);
            assert_eq!(drain(stream), (0, true));
        }
        _ => {
            ok(unsafe { conn_calls::wb_conn_close(conn, 0, null(), 0) });
            world.closed(conn);
        }
    }
    (world, conn, stream)
}

/// The table of docs/c-api.md, cell by cell.
#[test]
fn each_call_answers_in_each_state_of_a_stream() {
    let pair = Pair::new();
    let text = include_str!("../docs/c-api.md");
    let table = text.split("## A stream, call by call").nth(1).expect("the section");
    let mut rows = table
        .lines()
        .filter(|l| l.starts_with('|'))
        .map(|l| l.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>());
    let states = rows.next().expect("a head");
    let mut wrong = Vec::new();
    let mut cells = 0;
    for row in rows.skip(1).take_while(|row| row.len() == states.len()) {
        for (state, wanted) in states.iter().zip(&row).skip(1) {
            let (world, conn, stream) = stream_in(state, &pair);
            let mut room = [0u8; 8];
            let (mut n, mut fin) = (0usize, 0u8);
            let status = match row[0].as_str() {
                "send bytes" => send(stream, b"x", 0).0,
                "send nothing" => send(stream, b"", 0).0,
                "send the end" => send(stream, b"", WB_FIN).0,
                "receive" => unsafe {
                    stream_calls::wb_stream_recv_copy(stream, room.as_mut_ptr().cast(), 8, &raw mut n, &raw mut fin)
                },
                "reset" => stream_calls::wb_stream_reset(stream, 3),
                "stop" => stream_calls::wb_stream_stop(stream, 3),
                other => panic!("no such call: {other}"),
            };
            let name = unsafe { std::ffi::CStr::from_ptr(whimbrel::ffi::status::wb_status_name(status)) };
            let name = name.to_string_lossy();
            let name = name.strip_prefix("WB_E_").or(name.strip_prefix("WB_")).unwrap_or(&name);
            if name != wanted {
                wrong.push(format!("{} when {state}: {name}, not {wanted}", row[0]));
            }
            cells += 1;
            ok(handle_calls::wb_handle_release(stream));
            ok(handle_calls::wb_handle_release(conn));
            world.end();
        }
    }
    assert_eq!((wrong, cells), (Vec::<String>::new(), 48));
}
