//! Figures that have to hold under heavy loss, in virtual time: how long handshakes and transfers take.
use std::time::Duration;

use whimbrel::congestion::Algorithm;
use whimbrel::connection::ConnectionConfig;
use whimbrel::sim::{App, Client, LinkConfig, NodeConfig, Plan, Server, World, identity};

/// How long a download takes, its handshake and all of it.
fn download(seed: u64, up: &LinkConfig, down: &LinkConfig, bytes: u64, congestion: Algorithm) -> (Duration, Duration) {
    let mut world = World::new(seed);
    let client = world.add_node(NodeConfig::client());
    let server = world.add_node(NodeConfig::server(&["192.0.2.1:443".parse().unwrap()]));
    let links = [up.clone(), down.clone()].map(|l| world.add_link(l));
    world.join(client, server, &links[..1], &links[1..]);
    let config = ConnectionConfig {
        idle_timeout: Duration::from_secs(300),
        handshake_timeout: Duration::ZERO,
        congestion,
        ..ConnectionConfig::default()
    };
    let app = move || Box::new(Server::new(seed)) as Box<dyn App>;
    world.listen(server, identity::server(false), config.clone(), Box::new(app));
    let start = world.now;
    let app = Box::new(Client::new(Plan::download(seed, bytes)));
    let id = world.connect(client, server, &identity::client(false), config, app);
    assert!(world.run_jobs(&[id], Duration::from_secs(600)), "seed {seed} stalls\n{}", world.story());
    let connected = world.app::<Client>(id).connected_at.expect("it is done");
    (connected.since(start), world.now.since(start))
}

#[test]
fn handshakes_survive_the_loss_of_half_of_all_datagrams() {
    let link = LinkConfig { loss: 5000, delay: Duration::from_millis(25), ..LinkConfig::clean() };
    let mut times: Vec<Duration> =
        (0..400).map(|seed| download(seed, &link, &link, 100, Algorithm::default()).0).collect();
    times.sort();
    let [median, worst] = [times[times.len() / 2], times[times.len() * 99 / 100]];
    println!("handshake at 50 % loss each way: median {median:?}, 99th percentile {worst:?}");
    assert!(worst < Duration::from_secs(30), "99th percentile {worst:?}");
}

#[test]
fn a_megabyte_gets_through_where_a_third_is_lost() {
    let link = LinkConfig { loss: 3000, delay: Duration::from_millis(25), ..LinkConfig::clean() };
    let clean = LinkConfig { loss: 0, ..link.clone() };
    for algorithm in [Algorithm::Adaptive, Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr, Algorithm::Prague] {
        for up in [&clean, &link] {
            let mut times: Vec<Duration> =
                (0..60).map(|seed| download(seed, up, &link, 1 << 20, algorithm).1).collect();
            times.sort();
            let [least, median, most] = [times[0], times[times.len() / 2], times[times.len() - 1]];
            println!(
                "1 MiB at 30 % loss, acknowledgements {} %, 50 ms, {algorithm:?}: {least:.1?}, median {median:.1?}, {most:.1?}",
                up.loss / 100
            );
            assert!(median < Duration::from_secs(30), "{algorithm:?}: {times:.1?}");
            assert!(most < Duration::from_secs(60), "{algorithm:?}: {times:.1?}");
        }
    }
}

/// Plays a download over a queue of one round trip; the smallest MTU that the server ever used after its search, and how
/// long it took. Beyond `hole_after` nothing larger than 1240 bytes gets through.
fn smallest_mtu(seed: u64, bytes: u64, algorithm: Algorithm, hole_after: Option<Duration>) -> (u64, Duration) {
    let mut world = World::new(seed);
    let client = world.add_node(NodeConfig::client());
    let server = world.add_node(NodeConfig::server(&["192.0.2.1:443".parse().unwrap()]));
    let link = LinkConfig::pipe(100_000_000, Duration::from_millis(10), 250_000);
    let [up, down] = [link.clone(), link].map(|l| world.add_link(l));
    world.join(client, server, &[up], &[down]);
    let config = ConnectionConfig { congestion: algorithm, ..ConnectionConfig::default() };
    world.listen(
        server,
        identity::server(false),
        config.clone(),
        Box::new(move || Box::new(Server::new(seed)) as Box<dyn App>),
    );
    let start = world.now;
    let app = Box::new(Client::new(Plan::download(seed, bytes)));
    let id = world.connect(client, server, &identity::client(false), config, app);
    if let Some(after) = hole_after {
        world.after(after, move |w| {
            for l in [up, down] {
                w.links[l.0].config.mtu = 1240;
            }
        });
    }
    let (mut smallest, mut searched) = (u64::MAX, false);
    let done = world.run_while(Duration::from_secs(60), |w| {
        if let Some(conn) = w.connections(server).first().and_then(|c| w.conn(*c)) {
            let mtu = conn.stats().mtu;
            searched |= mtu > 1200;
            smallest = if searched { smallest.min(mtu) } else { smallest };
        }
        !w.app::<Client>(id).is_done()
    });
    assert!(done, "{}", world.story());
    (smallest, world.now.since(start))
}

#[test]
fn a_full_queue_is_no_mtu_black_hole_and_a_hole_is_found() {
    for algorithm in [Algorithm::Cubic, Algorithm::Adaptive, Algorithm::NewReno] {
        for seed in 0..4 {
            let (mtu, clean) = smallest_mtu(seed, 10_000_000, algorithm, None);
            assert!(mtu > 1400, "{algorithm:?}, seed {seed}: down to {mtu} without a hole");
            let (mtu, took) = smallest_mtu(seed, 10_000_000, algorithm, Some(Duration::from_millis(400)));
            assert_eq!(mtu, 1200, "{algorithm:?}, seed {seed}: the hole");
            assert!(took < clean + Duration::from_secs(2), "{algorithm:?}, seed {seed}: {took:?} instead of {clean:?}");
        }
    }
}
