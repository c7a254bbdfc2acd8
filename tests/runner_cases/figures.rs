//! Figures that have to hold under heavy loss, in virtual time: how long handshakes and transfers take.
use std::time::Duration;

use whimbrel::connection::ConnectionConfig;
use whimbrel::sim::{App, Client, LinkConfig, NodeConfig, Plan, Server, World, identity};

/// How long a download takes, its handshake and all of it.
fn download(seed: u64, up: &LinkConfig, down: &LinkConfig, bytes: u64) -> (Duration, Duration) {
    let mut world = World::new(seed);
    let client = world.add_node(NodeConfig::client());
    let server = world.add_node(NodeConfig::server(&["192.0.2.1:443".parse().unwrap()]));
    let links = [up.clone(), down.clone()].map(|l| world.add_link(l));
    world.join(client, server, &links[..1], &links[1..]);
    let config = ConnectionConfig {
        idle_timeout: Duration::from_secs(300),
        handshake_timeout: Duration::ZERO,
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
    let mut times: Vec<Duration> = (0..400).map(|seed| download(seed, &link, &link, 100).0).collect();
    times.sort();
    let [median, worst] = [times[times.len() / 2], times[times.len() * 99 / 100]];
    println!("handshake at 50 % loss each way: median {median:?}, 99th percentile {worst:?}");
    assert!(worst < Duration::from_secs(30), "99th percentile {worst:?}");
}

#[test]
fn a_megabyte_gets_through_where_a_third_is_lost() {
    let link = LinkConfig { loss: 3000, delay: Duration::from_millis(25), ..LinkConfig::clean() };
    let clean = LinkConfig { loss: 0, ..link.clone() };
    let times = |up: &LinkConfig| {
        let mut times: Vec<Duration> = (0..10).map(|seed| download(seed, up, &link, 1 << 20).1).collect();
        times.sort();
        println!("1 MiB at 30 % loss, acknowledgements {} %, 50 ms: {times:?}", up.loss / 100);
        times
    };
    let (one_way, both_ways) = (times(&clean), times(&link));
    assert!(one_way[one_way.len() - 1] < Duration::from_secs(60), "{one_way:?}");
    // With a third of the acknowledgements lost as well.
    assert!(both_ways[both_ways.len() / 2] < Duration::from_secs(60), "{both_ways:?}");
    assert!(both_ways[both_ways.len() - 1] < Duration::from_secs(90), "{both_ways:?}");
}
