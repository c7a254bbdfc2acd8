use super::random::SystemRng;
use super::shards::{HANDOFF_BYTES, Handoff, HandoffQueue};
use super::{clock, wake};
use crate::base::{Ecn, Rng};

#[test]
fn system_randomness_fills_every_length_and_does_not_repeat() {
    let mut rng = SystemRng;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let mut id = [0; 8];
        rng.fill(&mut id);
        assert!(seen.insert(id), "the same eight bytes twice");
    }
    for len in [0, 1, 127, 128, 129, 256, 257, 1000] {
        let mut bytes = vec![0; len];
        rng.fill(&mut bytes);
        // 64 zero bytes in a row do not happen.
        assert!(len < 64 || bytes.chunks_exact(64).all(|c| c.iter().any(|b| *b != 0)));
    }
}

#[test]
fn the_clock_goes_forward_from_a_positive_start() {
    let a = clock::now();
    std::thread::sleep(std::time::Duration::from_millis(2));
    let b = clock::now();
    assert!(a.0 > 0 && b.since(a) >= std::time::Duration::from_millis(2));
}

#[test]
fn the_doorbell_wakes_a_sleeper_and_stops_one_about_to_sleep() {
    let mut poll = mio::Poll::new().expect("poll");
    let bell = std::sync::Arc::new(wake::Doorbell::new(poll.registry(), mio::Token(0)).expect("bell"));
    bell.ring();
    assert!(!bell.lie_down(), "work was waiting");
    bell.get_up();
    assert!(bell.lie_down());
    let ringer = std::sync::Arc::clone(&bell);
    let thread = std::thread::spawn(move || ringer.ring());
    let mut events = mio::Events::with_capacity(4);
    poll.poll(&mut events, Some(std::time::Duration::from_secs(10))).expect("poll");
    thread.join().expect("ringer");
    assert!(!events.is_empty(), "the sleeper was not woken");
}

#[test]
fn the_doorbell_ends_a_nap() {
    let poll = mio::Poll::new().expect("poll");
    let bell = std::sync::Arc::new(wake::Doorbell::new(poll.registry(), mio::Token(0)).expect("bell"));
    assert!(bell.nap(std::time::Duration::from_millis(1)), "nobody rang");
    bell.ring();
    assert!(!bell.nap(std::time::Duration::from_secs(600)), "work was waiting");
    bell.get_up();
    let ringer = std::sync::Arc::clone(&bell);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(5));
        ringer.ring();
    });
    assert!(!bell.nap(std::time::Duration::from_secs(600)), "the sleeper was not woken");
    thread.join().expect("ringer");
    assert!(!bell.lie_down(), "the work is still to be looked for");
}

fn run_of(bytes: usize, endpoint: u64) -> Handoff {
    let remote = "127.0.0.1:9".parse().expect("address");
    Handoff { endpoint, bound: remote, local: None, remote, ecn: Ecn::Ect0, stride: 1200, bytes: vec![0; bytes] }
}

#[test]
fn the_hand_off_queue_keeps_order_and_its_bound() {
    let mut queue = HandoffQueue::default();
    for i in 0..4 {
        assert!(queue.push(run_of(HANDOFF_BYTES / 4, i)));
    }
    assert!(!queue.push(run_of(1, 99)), "beyond the bound");
    assert_eq!((queue.taken, queue.dropped), (4, 1));
    assert_eq!(queue.pop().map(|r| r.endpoint), Some(0));
    assert!(queue.push(run_of(1, 4)), "room again");
    let order: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(|r| r.endpoint).collect();
    assert_eq!(order, [1, 2, 3, 4]);
    assert!(queue.push(run_of(HANDOFF_BYTES, 5)), "empty means empty");
}
