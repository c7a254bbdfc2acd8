//! Machines that are suspended for six weeks: every timer is late at once, nothing overflows, and the idle timeout ends
//! what it should end (RFC 9000 section 10.1).
use std::time::Duration;

use whimbrel::connection::{CloseReason, Connection, ConnectionConfig};
use whimbrel::sim::{App, Client, ConnId, LinkConfig, NodeConfig, NodeId, Plan, Rebind, Server, World, identity};

use super::row::SIX_WEEKS;

const BYTES: u64 = 2_000_000;

struct Paused {
    world: World,
    nodes: [NodeId; 2],
    client: ConnId,
}

/// A download over 10 Mbit/s and 50 ms, about to begin.
fn download(seed: u64, idle_timeout: Duration) -> Paused {
    let mut world = World::new(seed);
    let client = world.add_node(NodeConfig::client());
    let server = world.add_node(NodeConfig::server(&["192.0.2.1:443".parse().unwrap()]));
    let links = [0, 1].map(|_| world.add_link(LinkConfig::pipe(10_000_000, Duration::from_millis(25), 100_000)));
    world.join(client, server, &links[..1], &links[1..]);
    let config = ConnectionConfig { idle_timeout, handshake_timeout: Duration::ZERO, ..ConnectionConfig::default() };
    let app = move || Box::new(Server::new(seed)) as Box<dyn App>;
    world.listen(server, identity::server(false), config.clone(), Box::new(app));
    let app = Box::new(Client::new(Plan::download(seed, BYTES)));
    let id = world.connect(client, server, &identity::client(false), config, app);
    Paused { world, nodes: [client, server], client: id }
}

/// Who sleeps.
fn sleepers(nodes: [NodeId; 2]) -> [Vec<NodeId>; 3] {
    [vec![nodes[0]], vec![nodes[1]], nodes.to_vec()]
}

/// In the handshake, in slow start, in full swing.
const MOMENTS: [u64; 6] = [0, 30, 60, 130, 400, 1000];

#[test]
fn without_an_idle_timeout_a_transfer_goes_on_after_six_weeks() {
    for (seed, after) in MOMENTS.into_iter().enumerate() {
        for who in 0..3 {
            let mut p = download(seed as u64, Duration::ZERO);
            let (start, asleep) = (p.world.now, sleepers(p.nodes)[who].clone());
            let client = p.client;
            p.world.after(Duration::from_millis(after), move |w| {
                // Keys and address change just before it, so that their timers are under way too.
                if w.conn(client).is_some_and(Connection::is_confirmed) {
                    w.act(client, Connection::key_update);
                    w.rebind(client.node, Rebind::Port);
                }
                w.sleep(&asleep, SIX_WEEKS);
            });
            let done = p.world.run_jobs(&[p.client], SIX_WEEKS * 3);
            assert!(done, "after {after} ms, sleeper {who}\n{}", p.world.story());
            assert_eq!(p.world.app::<Client>(p.client).received, BYTES);
            assert!(p.world.now.since(start) >= SIX_WEEKS);
        }
    }
}

#[test]
fn the_idle_timeout_ends_what_slept_for_six_weeks() {
    for (seed, after) in MOMENTS.into_iter().enumerate() {
        for who in 0..3 {
            let mut p = download(seed as u64, Duration::from_secs(30));
            let asleep = sleepers(p.nodes)[who].clone();
            p.world.after(Duration::from_millis(after), move |w| w.sleep(&asleep, SIX_WEEKS));
            p.world.run_for(SIX_WEEKS + Duration::from_secs(3600));
            let silent = |reason: &Option<CloseReason>| matches!(reason, Some(CloseReason::IdleTimeout));
            assert!(silent(&p.world.live(p.client).closed), "after {after} ms, sleeper {who}\n{}", p.world.story());
            for id in p.world.connections(p.nodes[1]) {
                assert!(silent(&p.world.live(id).closed), "after {after} ms, sleeper {who}\n{}", p.world.story());
            }
            for node in &p.world.nodes {
                assert_eq!((node.endpoint.connection_count(), node.endpoint.route_count()), (0, 0));
            }
        }
    }
}

#[test]
fn a_closing_connection_that_sleeps_is_gone_afterwards() {
    for who in 0..3 {
        let mut p = download(1, Duration::from_secs(30));
        p.world.run_for(Duration::from_millis(300));
        p.world.act(p.client, |c, now| c.close(7, b"", now));
        p.world.sleep(&sleepers(p.nodes)[who].clone(), SIX_WEEKS);
        p.world.run_for(SIX_WEEKS + Duration::from_secs(3600));
        assert!(p.world.conn(p.client).is_none(), "{}", p.world.story());
        for node in &p.world.nodes {
            assert_eq!((node.endpoint.connection_count(), node.endpoint.route_count()), (0, 0));
        }
    }
}
