//! Congestion control in the virtual world: utilisation, random loss, fairness, marks. docs/congestion.md tells what
//! the figures mean; `cargo test --test congestion -- --nocapture` prints them.
#[path = "congestion/bulk.rs"]
mod bulk;
#[path = "congestion/seeds.rs"]
mod seeds;

use std::time::Duration;

use bulk::{Dumbbell, Flow, bottleneck};
use whimbrel::congestion::Algorithm;
use whimbrel::sim::{Aqm, LinkConfig, Policer};

/// What a connection runs that was not told otherwise.
const DEFAULT: Algorithm = Algorithm::Adaptive;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Rates in Mbit/s after `warm_up`, told to whoever wants to see them.
fn rates(name: &str, link: LinkConfig, flows: &[Flow], warm_up: u64, length: u64) -> (Vec<f64>, Dumbbell) {
    let mut world = Dumbbell::new(1, link, flows);
    world.run(secs(warm_up));
    let rates = world.run(secs(length));
    let c = world.link();
    let wait = c.total_wait / (c.delivered.max(1) as u32);
    println!("{name}: {rates:.1?} Mbit/s, mean wait {wait:.1?}, {} overflowed, {} marked", c.overflowed, c.marked);
    (rates, world)
}

/// One flow alone: the part of the bottleneck that it uses.
fn alone(algorithm: Algorithm, mbit: u64, ms: u64, loss: u64) -> f64 {
    let link = LinkConfig { loss, ..bottleneck(mbit, ms, 100) };
    let name = format!("{algorithm:?} alone, {mbit} Mbit/s, {ms} ms, loss {loss}/10000");
    rates(&name, link, &[Flow::new(algorithm)], 3, 12).0[0] / mbit as f64
}

/// Two flows on 50 Mbit/s and 20 ms with a queue of `queue` percent of their product: the part of the first in what
/// both get.
fn share(first: Flow, second: Flow, queue: u64) -> f64 {
    let name = format!("{:?} and {:?}, queue {queue} %", first.config.congestion, second.config.congestion);
    let (rates, _) = rates(&name, bottleneck(50, 20, queue), &[first, second], 5, 35);
    assert!(rates[0] + rates[1] > 40.0, "{name}: the link is used: {rates:?}");
    rates[0] / (rates[0] + rates[1])
}

#[test]
fn the_default_is_what_the_tests_think() {
    assert_eq!(Algorithm::default(), DEFAULT);
    assert_eq!(whimbrel::connection::ConnectionConfig::default().congestion, DEFAULT);
}

#[test]
fn a_clean_path_is_used() {
    for algorithm in [Algorithm::Cubic, Algorithm::Bbr, DEFAULT, Algorithm::Prague] {
        let used = alone(algorithm, 100, 50, 0);
        assert!(used > 0.9, "{algorithm:?} used {used:.2}");
    }
}

#[test]
fn bbr_does_not_mind_one_percent_of_random_loss() {
    let used = alone(Algorithm::Bbr, 100, 50, 100);
    assert!(used > 0.8, "100 Mbit/s, 50 ms: {used:.2}");
    let used = alone(Algorithm::Bbr, 200, 20, 100);
    assert!(used > 0.825, "200 Mbit/s, 20 ms: {used:.2}");
}

#[test]
fn the_default_does_not_take_random_loss_for_congestion() {
    let used = alone(DEFAULT, 200, 20, 100);
    assert!(used > 0.7, "1 %: {used:.2} where 0.5 is asked for");
    let used = alone(DEFAULT, 100, 50, 100);
    assert!(used > 0.8, "1 %, 50 ms: {used:.2}");
    let used = alone(DEFAULT, 200, 20, 10);
    assert!(used > 0.7, "0.1 %: {used:.2}");
    // What CUBIC makes of it, so that the figure above means something.
    let cubic = alone(Algorithm::Cubic, 200, 20, 100);
    assert!(cubic < 0.1, "{cubic:.2}");
}

#[test]
fn loss_beyond_two_percent_is_congestion_for_everybody() {
    let used = alone(DEFAULT, 200, 20, 400);
    assert!(used < 0.2, "{used:.2}");
}

#[test]
fn the_default_is_fair_to_cubic_with_deep_and_shallow_queues() {
    for queue in [10, 20, 50, 100, 200, 400] {
        let part = share(Flow::new(DEFAULT), Flow::new(Algorithm::Cubic), queue);
        assert!((0.35..0.6).contains(&part), "queue {queue} %: {part:.2}");
    }
}

#[test]
fn the_default_is_fair_whoever_comes_first() {
    let late = |algorithm| Flow::new(algorithm).after(secs(5));
    let part = share(Flow::new(DEFAULT), late(Algorithm::Cubic), 100);
    assert!(part < 0.6, "first: {part:.2}");
    let part = share(Flow::new(Algorithm::Cubic), late(DEFAULT), 100);
    assert!(1.0 - part < 0.6, "second: {:.2}", 1.0 - part);
}

#[test]
fn equals_share_equally() {
    for algorithm in [Algorithm::Cubic, DEFAULT, Algorithm::Bbr] {
        let part = share(Flow::new(algorithm), Flow::new(algorithm), 100);
        assert!((0.4..0.6).contains(&part), "{algorithm:?}: {part:.2}");
    }
}

#[test]
fn many_flows_with_almost_no_queue_keep_their_parts() {
    let flows = [DEFAULT, Algorithm::Cubic, Algorithm::Cubic, Algorithm::Cubic].map(Flow::new);
    let (rates, _) = rates("the default among three CUBIC, queue 10 %", bottleneck(50, 20, 10), &flows, 5, 35);
    let part = rates[0] / rates.iter().sum::<f64>();
    assert!(part < 0.35, "{part:.2} of four: {rates:?}");
}

#[test]
fn a_queue_of_four_packets_starves_nobody() {
    // Delay tells nothing here: the bound of what the default can know.
    let link = bottleneck(50, 20, 5);
    let (rates, _) =
        rates("the default and CUBIC, queue 5 %", link, &[DEFAULT, Algorithm::Cubic].map(Flow::new), 5, 35);
    assert!(rates[0] / (rates[0] + rates[1]) < 0.75, "{rates:?}");
}

#[test]
fn bbr_and_cubic_live_beside_each_other() {
    // Not the default, because it takes more than that allows where the queue is short, and less where it is long.
    for queue in [20, 100, 400] {
        let part = share(Flow::new(Algorithm::Bbr), Flow::new(Algorithm::Cubic), queue);
        assert!((0.2..0.8).contains(&part), "queue {queue} %: {part:.2}");
    }
}

#[test]
fn a_policer_is_no_random_loss() {
    // Drops without any queue, and only when the rate is too high: giving way is what cures it.
    let mut lost = Vec::new();
    for algorithm in [Algorithm::Cubic, DEFAULT] {
        let policer = Some(Policer { rate: 5_000_000, burst: 60_000 });
        let link = LinkConfig { policer, ..bottleneck(200, 20, 100) };
        let (rates, world) = rates(&format!("{algorithm:?} and a policer"), link, &[Flow::new(algorithm)], 3, 20);
        assert!(rates[0] > 25.0, "{rates:?}");
        let stats = world.sender(0);
        lost.push(stats.packets_lost as f64 / stats.packets_sent as f64);
    }
    assert!(lost[1] < 0.02 && lost[1] < lost[0] * 3.0, "{lost:.4?}");
}

#[test]
fn less_and_more_bandwidth_are_found() {
    for algorithm in [DEFAULT, Algorithm::Bbr] {
        let mut world = Dumbbell::new(1, bottleneck(100, 20, 100), &[Flow::new(algorithm)]);
        world.run(secs(4));
        world.link_config().rate = 2_500_000;
        world.run(secs(4));
        let slow = world.run(secs(4))[0];
        // What was held back behind a hole before these four seconds counts in them: at most a window, 300 kB or 0.6.
        assert!((17.0..20.6).contains(&slow), "{algorithm:?}: {slow:.1} of 20");
        world.link_config().rate = 12_500_000;
        world.run(secs(8));
        let fast = world.run(secs(4))[0];
        assert!(fast > 80.0, "{algorithm:?}: {fast:.1} of 100");
    }
}

#[test]
fn a_pause_costs_no_bandwidth() {
    for algorithm in [DEFAULT, Algorithm::Bbr, Algorithm::Prague] {
        let mut world = Dumbbell::new(1, bottleneck(100, 20, 100), &[Flow::new(algorithm)]);
        world.run(secs(4));
        world.source(0, |source| source.silent = true);
        world.run(secs(3));
        world.source(0, |source| source.silent = false);
        let rate = world.run(secs(3))[0];
        assert!(rate > 80.0, "{algorithm:?}: {rate:.1} of 100 right after a pause");
    }
}

#[test]
fn l4s_marks_keep_the_queue_short_and_the_path_full() {
    let link = LinkConfig { aqm: Aqm::l4s(), ..bottleneck(50, 20, 100) };
    let (one, world) = rates("prague alone, L4S queue", link.clone(), &[Flow::new(Algorithm::Prague)], 3, 12);
    assert!(one[0] > 45.0, "{one:?}");
    let counts = world.link();
    let wait = counts.total_wait / counts.delivered as u32;
    assert!(counts.marked > 0 && wait < Duration::from_millis(2), "{wait:?}");
    let flows = [Flow::new(Algorithm::Prague), Flow::new(Algorithm::Prague)];
    let (two, _) = rates("two prague, L4S queue", link, &flows, 5, 20);
    let part = two[0] / (two[0] + two[1]);
    assert!((0.4..0.6).contains(&part) && two[0] + two[1] > 45.0, "{two:?}");
}

#[test]
fn prague_gives_way_where_l4s_is_unknown() {
    // RFC 9331 section 4.3, items 2 and 3: drops, and marks of a queue that classic flows share.
    let part = share(Flow::new(Algorithm::Prague), Flow::new(Algorithm::Cubic), 100);
    assert!(part < 0.6, "drop-tail: {part:.2}");
    let link = LinkConfig { aqm: Aqm::codel(), ..bottleneck(50, 20, 200) };
    let flows = [Flow::new(Algorithm::Prague), Flow::new(Algorithm::Cubic)];
    let (rates, _) = rates("prague and CUBIC through CoDel", link, &flows, 5, 35);
    let part = rates[0] / (rates[0] + rates[1]);
    assert!(part < 0.65, "CoDel: {part:.2}");
}

#[test]
fn fewer_acknowledgements_cost_little() {
    // draft-ietf-quic-ack-frequency: a clean path, random loss, a shallow queue.
    for (queue, loss, algorithm) in
        [(100, 0, DEFAULT), (100, 100, DEFAULT), (20, 0, Algorithm::Cubic), (100, 100, Algorithm::Bbr)]
    {
        let mut seen = Vec::new();
        for ack_frequency in [false, true] {
            let mut flow = Flow::new(algorithm);
            flow.config.ack_frequency = ack_frequency;
            let link = LinkConfig { loss, ..bottleneck(100, 30, queue) };
            let name = format!("{algorithm:?}, queue {queue} %, loss {loss}/10000, asking {ack_frequency}");
            let (rates, world) = rates(&name, link, &[flow], 3, 10);
            println!("    {} acknowledgements", world.sender(0).acks_received);
            seen.push((rates[0], world.sender(0).acks_received as f64));
        }
        let ((before, plain), (after, fewer)) = (seen[0], seen[1]);
        assert!(after > before * 0.9, "{algorithm:?}: {after:.1} instead of {before:.1} Mbit/s");
        assert!(fewer < plain * 0.5, "{algorithm:?}: {fewer} instead of {plain}");
    }
}
