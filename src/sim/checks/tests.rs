//! The checker itself: true numbers of a connection at work pass, and each invariant objects to numbers that are wrong.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::*;
use crate::sim::{App, Client, ConnId, LinkConfig, NodeConfig, Plan, Server, World, identity};

/// A download in full swing.
fn at_work() -> (World, [ConnId; 2]) {
    let mut world = World::new(11);
    let client = world.add_node(NodeConfig::client());
    let server = world.add_node(NodeConfig::server(&["192.0.2.1:443".parse().unwrap()]));
    let links = [0, 1].map(|_| world.add_link(LinkConfig::pipe(20_000_000, Duration::from_millis(20), 100_000)));
    world.join(client, server, &links[..1], &links[1..]);
    let app = || Box::new(Server::new(11)) as Box<dyn App>;
    world.listen(server, identity::server(false), ConnectionConfig::default(), Box::new(app));
    let app = Box::new(Client::new(Plan::download(11, 3_000_000)));
    let id = world.connect(client, server, &identity::client(false), ConnectionConfig::default(), app);
    world.run_for(Duration::from_millis(400));
    let other = world.connections(server)[0];
    (world, [id, other])
}

fn seen() -> [Inspection; 2] {
    let (world, ends) = at_work();
    ends.map(|id| world.conn(id).expect("alive").inspect())
}

fn objects(to: &str, check: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(check)).expect_err(to);
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
    assert!(text.contains(to), "objected to something else: {text}");
}

#[test]
fn bytes_in_flight() {
    let [_, server] = seen();
    assert!(server.paths[0].in_flight > 0, "nothing is in flight");
    in_flight(&server.paths);
    for by in [-1, 1, 1200] {
        let mut wrong = server.paths.clone();
        wrong[0].in_flight = wrong[0].in_flight.wrapping_add_signed(by);
        objects("bytes in flight and the records", || in_flight(&wrong));
    }
}

#[test]
fn credit_is_conserved() {
    let [client, server] = seen();
    let c = client.credit;
    assert!(c.received > 0 && c.consumed > 0 && server.credit.sent >= c.received);
    credit(&c);
    credit(&server.credit);
    objects("credit received", || credit(&CreditView { received: c.advertised + 1, ..c }));
    objects("credit received", || credit(&CreditView { consumed: c.received + 1, ..c }));
    objects("more credit given", || credit(&CreditView { window: c.advertised - c.consumed - 1, ..c }));
    objects("sent beyond the credit", || credit(&CreditView { sent: c.send_limit + 1, ..c }));
    agree(&client, &server);
    let with = |credit| Inspection { credit, ..server.clone() };
    let generous = with(CreditView { send_limit: c.advertised + 1, ..server.credit });
    objects("credit out of nothing", || agree(&client, &generous));
    objects("credit out of nothing", || agree(&generous, &client));
    let silent = with(CreditView { sent: c.received - 1, ..server.credit });
    objects("received more than was sent", || agree(&client, &silent));
}

#[test]
fn no_packet_over_the_mtu() {
    let [_, server] = seen();
    let config = ConnectionConfig::default();
    let path = PathView { mtu: 1200, probing: Some(1400), ..server.paths[0] };
    mtu(&config, Some(path), 1200, 12_000);
    mtu(&config, Some(path), 1400, 1400);
    objects("a datagram of 1201 bytes", || mtu(&config, Some(path), 1201, 1201));
    // A probe travels alone.
    objects("a datagram of 1400 bytes", || mtu(&config, Some(path), 1400, 2800));
    let ceiling = usize::from(config.mtu_ceiling);
    objects("the ceiling is", || mtu(&config, None, ceiling + 1, ceiling + 1));
    objects("a datagram of 0 bytes", || mtu(&config, None, 0, 0));
}

#[test]
fn no_deadline_in_the_past() {
    let now = Timestamp(5_000_000_000);
    deadline(Some(Timestamp(now.0 + 1)), now, false);
    deadline(None, now, true);
    objects("a deadline in the past", || deadline(Some(now), now, true));
    objects("a deadline in the past", || deadline(Some(Timestamp(now.0 - 1)), now, false));
    objects("without any deadline", || deadline(None, now, false));
}

#[test]
fn three_times_what_was_received() {
    let address: SocketAddr = "198.18.0.1:10001".parse().unwrap();
    let heard = |answers| {
        let mut a = Amplification::default();
        // A short header; only an answer to something proves the address.
        a.on_received(address, &[0x40; 1200], true, answers);
        a.on_sent(address, 1200);
        a.on_sent(address, 2400);
        a
    };
    objects("amplification: 3601 bytes", || heard(false).on_sent(address, 1));
    heard(true).on_sent(address, 100_000);
    objects("amplification: 1 bytes", || {
        Amplification::default().on_sent(address, 1);
    });
    let mut trusted = Amplification::default();
    trusted.trust(address);
    trusted.on_sent(address, 100_000);
}

#[test]
fn memory_follows_live_data() {
    let [client, server] = seen();
    let config = ConnectionConfig::default();
    for i in [&client, &server] {
        memory(&i.memory, &i.credit, &config);
    }
    let (m, c) = (server.memory, server.credit);
    assert!(m.unsent > 0 && m.records > 0, "nothing is kept");
    let refuses = |to, m: MemoryView| objects(to, || memory(&m, &c, &config));
    refuses("unacknowledged bytes", MemoryView { unsent: 1 << 40, ..m });
    refuses("unread bytes", MemoryView { unread: c.window + 1, ..m });
    refuses("records of packets", MemoryView { records: 0, recovery_bytes: RECORDS_AT_REST + 1, ..m });
    refuses("more than live data", MemoryView { events: 17, ..m });
    refuses("more than live data", MemoryView { paths: MAX_PATHS + 2, ..m });
    refuses("more than live data", MemoryView { local_cids: 2 * MAX_ACTIVE as usize + 3, ..m });
}

/// The world asks by itself: a checker that expects another connection than the one at work objects in the next steps,
/// and every count grows.
#[test]
fn the_world_asks_after_every_step() {
    let (mut world, [id, other]) = at_work();
    let before = world.checked();
    before.assert_all();
    assert!(before.credit_between > 0, "{before:?}");
    world.run_for(Duration::from_millis(20));
    let after = world.checked();
    assert!(after.deadlines > before.deadlines && after.credit > before.credit, "{before:?} {after:?}");
    let config = ConnectionConfig { mtu_ceiling: 1200, ..ConnectionConfig::default() };
    world.nodes[other.node.0].conns[other.index].config = std::sync::Arc::new(config);
    assert!(world.conn(other).expect("alive").stats().mtu > 1200);
    objects("ceiling", || world.run_for(Duration::from_millis(100)));
    assert!(world.conn(id).is_some());
}
