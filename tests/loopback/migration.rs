//! Sockets that change under a running download.
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use whimbrel::connection::ConnectionConfig;
use whimbrel::runtime::{EndpointOptions, ListenConfig};

use crate::app::{ALPN, PATIENCE, World, tls_for};

const BYTES: u64 = 64 << 20;

/// Downloads while `disturb` is called at every `step` of progress, `times` times.
fn download_with(world: &World, times: u64, mut disturb: impl FnMut(&std::sync::Arc<whimbrel::runtime::Conn>)) {
    let conn = world.connect(1);
    let accepted = || world.server_app.accepted.load(std::sync::atomic::Ordering::SeqCst);
    world.client_app.wait(1, "confirmation", |s| s.confirmed);
    let before = accepted();
    world.ask(&conn, BYTES);
    for i in 1..=times {
        let at = BYTES / (times + 2) * i;
        world.client_app.wait(1, "progress", |s| s.bytes >= at || s.closed.is_some());
        disturb(&conn);
    }
    let seen = world.client_app.wait(1, "answer", |s| s.fins == 1 || s.closed.is_some());
    assert_eq!(seen.closed, None);
    assert_eq!((seen.bytes, seen.wrong), (BYTES, None));
    assert_eq!(accepted(), before, "the same connection all along");
}

#[test]
fn migration_during_a_transfer() {
    for connected_sockets in [false, true] {
        let options = EndpointOptions { connected_sockets, ..EndpointOptions::default() };
        let world = World::with_options("127.0.0.1:0", 2, options);
        let mut addresses = Vec::new();
        download_with(&world, 5, |conn| {
            // A spare connection ID of the server may still be on its way.
            let end = Instant::now() + PATIENCE;
            let local = loop {
                match conn.migrate(None) {
                    Ok(local) => break local,
                    Err(e) => assert!(Instant::now() < end, "{e}"),
                }
                std::thread::sleep(Duration::from_millis(2));
            };
            addresses.push(local);
            let count = addresses.len();
            world.client_app.wait(1, "migration", |s| s.migrated >= count || s.closed.is_some());
        });
        let seen = world.client_app.seen(1);
        assert_eq!(seen.migrated, 5, "{seen:?}");
        assert_eq!(seen.path_failed, 0);
        // The sockets left behind are closed after their grace; the endpoint's own one stays.
        let kept = if connected_sockets { 1 } else { 2 };
        let end = Instant::now() + PATIENCE;
        while world.client.socket_count() != kept {
            assert!(Instant::now() < end, "{} sockets are open", world.client.socket_count());
            std::thread::sleep(Duration::from_millis(20));
        }
        let moved = world.server_app.paths.lock().unwrap().clone();
        for a in &addresses {
            assert!(moved.iter().any(|(to, _)| to.port() == a.port()), "the server saw {a}: {moved:?}");
        }
        world.end();
    }
}

#[test]
fn a_nat_rebinding_that_the_client_does_not_know_of() {
    let world = World::new("127.0.0.1:0", 1);
    let mut ports = Vec::new();
    download_with(&world, 4, |conn| ports.push(conn.rebind_silently().expect("rebind").port()));
    let end = Instant::now() + PATIENCE;
    loop {
        let moved = world.server_app.paths.lock().unwrap().clone();
        if moved.iter().any(|(to, rebinding)| Some(&to.port()) == ports.last() && *rebinding) {
            break;
        }
        assert!(Instant::now() < end, "ports {ports:?}, the server saw {moved:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(world.client_app.seen(1).migrated, 0, "the client was not told");
    world.end();
}

/// The same while the handshake is under way, with a socket of the endpoint and with one of the connection's own: the client
/// just goes on, and the server follows it.
#[test]
fn a_nat_rebinding_during_the_handshake() {
    for connected_sockets in [false, true] {
        let options = EndpointOptions { connected_sockets, ..EndpointOptions::default() };
        let world = World::with_options("127.0.0.1:0", 2, options);
        for tag in 1..=30 {
            let conn = world.connect(tag);
            // Somewhere between the first datagram and the confirmation: each connection another moment.
            for _ in 0..tag * 40 {
                std::hint::spin_loop();
                std::thread::yield_now();
            }
            conn.rebind_silently().expect("rebind");
            world.client_app.wait(tag, "confirmation", |s| s.confirmed || s.closed.is_some());
            world.ask(&conn, 10_000);
            let seen = world.client_app.wait(tag, "answer", |s| s.fins == 1 || s.closed.is_some());
            assert_eq!((seen.closed, seen.migrated), (None, 0), "connection {tag}");
        }
        world.end();
    }
}

/// RFC 9000 section 9.6: the server names another of its addresses, the client goes there with the connection ID that
/// came with it, and the transfer goes on.
#[test]
fn the_server_prefers_another_of_its_addresses() {
    for connected_sockets in [false, true] {
        let options = EndpointOptions { connected_sockets, ..EndpointOptions::default() };
        let mut world = World::with_options("0.0.0.0:0", 2, options);
        let port = world.addr.port();
        let preferred = SocketAddrV4::new([127, 0, 0, 2].into(), port);
        let connection = ConnectionConfig { preferred_ipv4: Some(preferred), ..(*world.config).clone() };
        let (client_tls, server_tls) = tls_for(ALPN);
        world
            .server
            .listen(ListenConfig { connection: Arc::new(connection), tls: server_tls, http3: None })
            .expect("listen");
        world.client_tls = client_tls;
        world.addr = ([127, 0, 0, 1], port).into();
        download_with(&world, 0, |_| {});
        let seen = world.client_app.wait(1, "migration", |s| s.migrated == 1 || s.closed.is_some());
        assert_eq!((seen.migrated, seen.path_failed), (1, 0), "{seen:?}");
        let conn = world.connect(2);
        let moved = world.client_app.wait(2, "migration", |s| s.migrated == 1 || s.closed.is_some());
        assert_eq!(moved.closed, None);
        world.ask(&conn, 1000);
        world.client_app.wait(2, "answer from the new address", |s| s.fins == 1);
        world.end();
    }
}

#[test]
fn the_network_changes_under_all_connections() {
    let world = World::new("127.0.0.1:0", 2);
    let others: Vec<_> = (2..=4).map(|tag| world.connect(tag)).collect();
    for conn in &others {
        world.client_app.wait(conn.tag(), "confirmation", |s| s.confirmed);
    }
    download_with(&world, 3, |_| {
        world.client.rebind(None).expect("rebind");
    });
    for conn in &others {
        world.ask(conn, 1000);
        world.client_app.wait(conn.tag(), "answer", |s| s.fins == 1);
    }
    world.end();
}

#[test]
fn workers_hand_over_what_the_kernel_gave_to_the_wrong_one() {
    let options = EndpointOptions { no_kernel_steering: true, ..EndpointOptions::default() };
    let world = World::with_options("127.0.0.1:0", 2, options);
    // Every move changes the kernel's hash: half of them land at the other worker, and with eight none does one time in 256.
    download_with(&world, 24, |conn| {
        let end = Instant::now() + PATIENCE;
        while let Err(e) = conn.migrate(None) {
            assert!(Instant::now() < end, "{e}");
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let (taken, dropped) = world.server_runtime.handoffs();
    assert!(taken > 0, "nothing was handed over");
    assert_eq!(dropped, 0);
    world.end();
}
