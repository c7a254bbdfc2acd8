//! Many connections, large transfers, ends of every kind.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use whimbrel::connection::CloseReason;
use whimbrel::runtime::{EndpointOptions, Runtime, RuntimeConfig, RuntimeError};

use crate::app::{PATIENCE, World, runtime};

#[test]
fn one_request_over_both_families() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let world = World::new(bind, 1);
        let conn = world.connect(1);
        world.ask(&conn, 100_000);
        let seen = world.client_app.wait(1, "answer", |s| s.fins == 1);
        assert_eq!((seen.bytes, seen.wrong), (100_000, None));
        world.end();
    }
}

#[test]
fn a_large_transfer_arrives_byte_for_byte() {
    let world = World::new("127.0.0.1:0", 1);
    let conn = world.connect(1);
    let begun = Instant::now();
    world.ask(&conn, 64 << 20);
    let seen = world.client_app.wait(1, "answer", |s| s.fins == 1);
    eprintln!("64 MiB in {:?}, {:?}", begun.elapsed(), conn.inspect(|s| s.connection.stats()));
    assert_eq!((seen.bytes, seen.wrong), (64 << 20, None));
    world.end();
}

#[test]
fn a_hundred_connections_to_two_workers() {
    let world = World::new("127.0.0.1:0", 2);
    let conns: Vec<_> = (1..=100).map(|tag| world.connect(tag)).collect();
    for conn in &conns {
        world.ask(conn, 50_000 + conn.tag());
        world.ask(conn, 1);
    }
    for conn in &conns {
        let seen = world.client_app.wait(conn.tag(), "answers", |s| s.fins == 2);
        assert_eq!(seen.bytes, 50_001 + conn.tag());
        assert!(seen.closed.is_none());
    }
    assert_eq!(world.server_app.accepted.load(Ordering::SeqCst), 100);
    assert_eq!(world.server.connection_count(), 100);
    let workers = world.server_app.workers.lock().unwrap().clone();
    assert!(workers.contains(&0) && workers.contains(&1), "both workers have a share: {workers:?}");
    for conn in &conns {
        conn.close(7, b"enough");
        let seen = world.client_app.wait(conn.tag(), "end", |s| s.closed.is_some());
        assert_eq!(seen.closed, Some(CloseReason::Local { code: 7 }));
    }
    world.end();
}

#[test]
fn shutdown_under_load_ends_every_thread_and_every_connection() {
    let world = World::new("127.0.0.1:0", 2);
    let conns: Vec<_> = (1..=20).map(|tag| world.connect(tag)).collect();
    for conn in &conns {
        world.ask(conn, 1 << 30);
    }
    for conn in &conns {
        world.client_app.wait(conn.tag(), "some bytes", |s| s.bytes > 100_000);
    }
    let begun = Instant::now();
    world.server_runtime.close();
    world.server_runtime.close();
    world.server_runtime.join(PATIENCE).expect("server threads end");
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
    // The clients hear of it from the server, not by a timer.
    for conn in &conns {
        let seen = world.client_app.wait(conn.tag(), "end", |s| s.closed.is_some());
        assert!(matches!(seen.closed, Some(CloseReason::Peer { code: 0, app: true, .. })), "{:?}", seen.closed);
    }
    world.end();
}

#[test]
fn an_endpoint_closes_alone_and_says_so_last() {
    let world = World::new("127.0.0.1:0", 2);
    let conn = world.connect(1);
    world.client_app.wait(1, "confirmation", |s| s.confirmed);
    world.server.close(42, b"going");
    let seen = world.client_app.wait(1, "end", |s| s.drained);
    assert!(matches!(seen.closed, Some(CloseReason::Peer { code: 42, app: true, .. })), "{:?}", seen.closed);
    let end = Instant::now() + PATIENCE;
    while world.server_app.closed_notices.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < end, "no last notice");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(world.server.bind(world.addr), Err(RuntimeError::Closed)));
    // Verbs on what has gone are harmless.
    conn.close(1, b"");
    assert!(conn.migrate(None).is_err());
    world.end();
}

#[test]
fn an_unreachable_peer_is_noticed_at_once() {
    for connected_sockets in [false, true] {
        let options = EndpointOptions { fail_unreachable: true, connected_sockets, ..EndpointOptions::default() };
        let world = World::with_options("127.0.0.1:0", 1, options);
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
        let begun = Instant::now();
        let _conn = world.connect_to(1, nobody);
        let seen = world.client_app.wait(1, "verdict", |s| s.closed.is_some());
        assert_eq!(seen.unreachable, Some(libc::ECONNREFUSED));
        assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
        world.end();
    }
}

#[test]
fn both_sides_leave_a_log_in_the_folder() {
    let dir = std::env::temp_dir().join(format!("wb-qlog-{}", std::process::id()));
    let options = EndpointOptions { qlog_dir: Some(dir.clone()), ..EndpointOptions::default() };
    let world = World::with_options("127.0.0.1:0", 1, options);
    let conn = world.connect(1);
    world.ask(&conn, 100_000);
    world.client_app.wait(1, "answer", |s| s.fins == 1);
    let odcid = conn.inspect(|s| s.connection.odcid());
    world.end();
    for side in ["client", "server"] {
        let path = dir.join(format!("{odcid}_{side}.sqlog"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let records: Vec<&str> = text.split('\u{1e}').skip(1).collect();
        assert!(records.iter().all(|r| r.starts_with('{') && r.ends_with("}\n")), "whole records only");
        for wanted in ["packet_sent", "packet_received", "connection_closed"] {
            assert!(records.iter().any(|r| r.contains(wanted)), "{side}: no {wanted} in {} records", records.len());
        }
    }
    std::fs::remove_dir_all(dir).expect("clean");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let world = World::new("127.0.0.1:0", 2);
    let other = runtime(1);
    let endpoint = other
        .endpoint(EndpointOptions { spread: true, ..EndpointOptions::default() }, Arc::clone(&world.server_app) as _)
        .expect("endpoint");
    let error = endpoint.bind(world.addr).expect_err("in use");
    assert!(matches!(error, RuntimeError::AddressInUse(a) if a == world.addr));
    assert_eq!(error.to_string(), format!("cannot listen on {}: the port is in use", world.addr));
    drop(endpoint);
    other.close();
    other.join(PATIENCE).expect("threads end");
    // That endpoint's last notice went to the same application.
    world.server_app.closed_notices.store(0, Ordering::SeqCst);
    world.end();
}

#[test]
fn connections_on_connected_sockets_work_too() {
    let options = EndpointOptions { connected_sockets: true, ..EndpointOptions::default() };
    let world = World::with_options("127.0.0.1:0", 1, options);
    for tag in 1..=5 {
        let conn = world.connect(tag);
        world.ask(&conn, 300_000);
        let seen = world.client_app.wait(tag, "answer", |s| s.fins == 1);
        assert_eq!((seen.bytes, seen.wrong), (300_000, None));
    }
    world.end();
}

#[test]
fn a_runtime_dropped_without_a_word_leaves_no_thread() {
    {
        let world = World::new("127.0.0.1:0", 2);
        let conn = world.connect(1);
        world.ask(&conn, 1 << 30);
        world.client_app.wait(1, "some bytes", |s| s.bytes > 0);
        // Handles and connections die before their runtime and after it.
        let other =
            Runtime::open(RuntimeConfig { workers: 3, thread_name: "wb-drop".to_owned(), ..RuntimeConfig::default() });
        wait_for_threads("wb-drop", 3);
        drop(other);
        assert_eq!(threads_named("wb-drop"), 0);
        let World { server, client, server_runtime, client_runtime, .. } = world;
        drop((server_runtime, server, client, client_runtime));
        assert!(!conn.inspect(|s| s.connection.is_established()));
    }
}

#[test]
fn workers_block_every_signal() {
    let runtime =
        Runtime::open(RuntimeConfig { workers: 1, thread_name: "wb-mask".to_owned(), ..RuntimeConfig::default() });
    wait_for_threads("wb-mask", 1);
    let status = task_files("wb-mask", "status").pop().expect("the worker");
    let mask = status.lines().find_map(|l| l.strip_prefix("SigBlk:")).expect("mask").trim();
    let mask = u64::from_str_radix(mask, 16).expect("hexadecimal");
    // SIGINT, SIGTERM, SIGUSR1, SIGCHLD (KILL and STOP cannot be blocked).
    for signal in [2, 15, 10, 17] {
        assert_ne!(mask & (1 << (signal - 1)), 0, "signal {signal} is not blocked: {mask:x}");
    }
    drop(runtime);
}

#[test]
fn idle_connections_cost_no_processor_time() {
    let world = World::new("127.0.0.1:0", 1);
    let runtime =
        Runtime::open(RuntimeConfig { workers: 1, thread_name: "wb-idle".to_owned(), ..RuntimeConfig::default() })
            .expect("runtime");
    let client = runtime.endpoint(EndpointOptions::default(), Arc::clone(&world.client_app) as _).expect("endpoint");
    for tag in 1..=50 {
        client.connect(world.connect_config(tag, world.addr)).expect("connect");
        world.client_app.wait(tag, "confirmation", |s| s.confirmed);
    }
    // Delayed acknowledgements, path MTU probes and tickets come to rest.
    std::thread::sleep(Duration::from_millis(700));
    let spent = || -> u64 {
        let stat = task_files("wb-idle", "schedstat").pop().expect("the worker");
        stat.split(' ').next().expect("nanoseconds").parse().expect("a number")
    };
    let before = spent();
    std::thread::sleep(Duration::from_secs(1));
    let spent = Duration::from_nanos(spent() - before);
    // Fifty connections, four keep-alives each: 200 small exchanges, far below this.
    assert!(spent < Duration::from_millis(100), "an idle second took {spent:?}");
    drop(client);
    runtime.close();
    runtime.join(PATIENCE).expect("threads end");
    world.client_app.closed_notices.store(0, Ordering::SeqCst);
    world.end();
}

/// One file of every thread of this process with a name.
fn task_files(name: &str, file: &str) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    tasks
        .filter(|t| std::fs::read_to_string(t.path().join("comm")).is_ok_and(|n| n.starts_with(name)))
        .filter_map(|t| std::fs::read_to_string(t.path().join(file)).ok())
        .collect()
}

fn threads_named(name: &str) -> usize {
    task_files(name, "comm").len()
}

/// A thread takes its name after it has started.
fn wait_for_threads(name: &str, count: usize) {
    let end = Instant::now() + PATIENCE;
    while threads_named(name) != count {
        assert!(Instant::now() < end, "{} threads are called {name}", threads_named(name));
        std::thread::sleep(Duration::from_millis(1));
    }
}
