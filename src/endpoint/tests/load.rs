//! Limits of what clients begin: they bite, hold across shards, and can be lifted while they bite.
use super::*;

fn first(n: u8) -> Vec<u8> {
    packet(PacketType::Initial, VERSION_1, &cid(&[n; 8]), &SCID, &[], 1200)
}

/// Two shards of one endpoint.
fn shards() -> (Arc<Load>, [Endpoint; 2]) {
    let cfg = EndpointConfig { shards: 2, ..server() };
    let load = Arc::clone(&cfg.load);
    (load, [endpoint(cfg.clone()), endpoint(EndpointConfig { shard: 1, ..cfg })])
}

fn refused(e: &mut Endpoint, n: u8) {
    assert_eq!(close_code(replied(e, &tuple(), &first(n), T0), &cid(&[n; 8])), CONNECTION_REFUSED);
}

fn news(load: &Load) -> Option<LoadNews> {
    let news = load.next_news();
    load.told();
    news
}

#[test]
fn a_pause_refuses_with_or_without_retry() {
    let (load, [mut e, _]) = shards();
    e.set_retry(RetryPolicy::WhenPendingExceeds(0));
    let waiting = incoming(&mut e, &tuple(), &first(1), T0);
    load.pause(true);
    refused(&mut e, 2);
    assert_eq!(e.pending_count(), 1, "the one before the pause goes on");
    e.ignore(waiting);
    load.pause(false);
    let i = incoming(&mut e, &tuple(), &first(3), T0);
    e.ignore(i);
    assert!(news(&load).is_none(), "a pause is no limit");
}

#[test]
fn connections_are_counted_over_all_shards() {
    let (load, [mut a, mut b]) = shards();
    load.limit(Limits { connections: Some(2), ..Limits::default() });
    let one = incoming(&mut a, &tuple(), &first(1), T0);
    let two = incoming(&mut b, &tuple(), &first(2), T0);
    refused(&mut a, 3);
    refused(&mut b, 4);
    assert_eq!(news(&load), Some(LoadNews { full: Some(Full::Connections), count: 2 }));
    assert_eq!(news(&load), None, "told once");
    b.ignore(two);
    assert_eq!(news(&load), Some(LoadNews { full: None, count: 1 }));
    let again = incoming(&mut a, &tuple(), &first(5), T0);
    refused(&mut b, 6);
    assert!(news(&load).is_some());
    load.limit(Limits::default());
    assert_eq!(news(&load), Some(LoadNews { full: None, count: 2 }));
    let more = incoming(&mut b, &tuple(), &first(7), T0);
    for (e, i) in [(&mut a, one), (&mut b, more)] {
        e.ignore(i);
    }
    a.ignore(again);
    assert_eq!((a.pending_count(), b.pending_count()), (0, 0));
}

#[test]
fn a_limit_stands_for_the_one_of_the_shards() {
    let mut e = endpoint(EndpointConfig { max_connections: 0, ..server() });
    refused(&mut e, 1);
    e.cfg.load.limit(Limits { connections: Some(1), ..Limits::default() });
    let i = incoming(&mut e, &tuple(), &first(2), T0);
    e.ignore(i);
}

#[test]
fn handshakes_end_by_confirmation_and_by_time() {
    let (load, [mut e, _]) = shards();
    load.limit(Limits { handshakes: Some(1), ..Limits::default() });
    let i = incoming(&mut e, &tuple(), &first(1), T0);
    refused(&mut e, 2);
    // Decided: it is still half open, and then it is not.
    assert!(e.incoming.take(i.key).is_some());
    let (key, _) = connection(&mut e, Side::Server);
    e.connections.note_initial(key, cid(&[1; 8]));
    refused(&mut e, 3);
    assert_eq!(news(&load), Some(LoadNews { full: Some(Full::Handshakes), count: 1 }));
    e.on_event(key, EndpointEvent::HandshakeDone, T0);
    e.on_event(key, EndpointEvent::HandshakeDone, T0);
    assert_eq!(news(&load), Some(LoadNews { full: None, count: 0 }));
    let _late = incoming(&mut e, &tuple(), &first(4), T0);
    refused(&mut e, 5);
    // Nobody decided on it in time.
    let later = T0 + INCOMING_LIFETIME;
    let i = incoming(&mut e, &tuple(), &first(6), later);
    e.ignore(i);
    e.forget(key);
    e.forget(key);
    load.limit(Limits { connections: Some(1), ..Limits::default() });
    let i = incoming(&mut e, &tuple(), &first(7), later);
    e.ignore(i);
    assert!(matches!(receive(&mut e, &tuple(), &first(8), later).0, Routed::Incoming(_)), "every place came back");
}

#[test]
fn what_finds_no_room_in_the_table_gives_its_place_back() {
    let cfg = EndpointConfig { max_incoming: 1, ..server() };
    let mut e = endpoint(cfg);
    e.cfg.load.limit(Limits { connections: Some(2), handshakes: Some(2), retry_from: None });
    let i = incoming(&mut e, &tuple(), &first(1), T0);
    for n in 2..9 {
        assert_eq!(dropped(&mut e, &tuple(), &first(n), T0), DropReason::Full);
    }
    e.ignore(i);
    let i = incoming(&mut e, &tuple(), &first(9), T0);
    e.ignore(i);
}

#[test]
fn retry_from_a_number_of_half_open_handshakes_on() {
    let (load, [mut a, mut b]) = shards();
    load.limit(Limits { retry_from: Some(1), ..Limits::default() });
    let i = incoming(&mut a, &tuple(), &first(1), T0);
    assert!(retry::parse_retry(&replied(&mut b, &tuple(), &first(2), T0)).is_ok(), "the other shard knows");
    load.limit(Limits { retry_from: Some(usize::MAX), ..Limits::default() });
    b.set_retry(RetryPolicy::WhenPendingExceeds(0));
    let two = incoming(&mut b, &tuple(), &first(3), T0);
    let never = incoming(&mut b, &tuple(), &first(4), T0);
    load.limit(Limits::default());
    assert!(retry::parse_retry(&replied(&mut b, &tuple(), &first(5), T0)).is_ok(), "the configured policy again");
    for i in [two, never] {
        b.ignore(i);
    }
    a.ignore(i);
    load.limit(Limits { retry_from: Some(usize::MAX), ..Limits::default() });
    a.set_retry(RetryPolicy::Always);
    assert!(retry::parse_retry(&replied(&mut a, &tuple(), &first(6), T0)).is_ok(), "who asks all goes on to");
}

#[test]
fn busy_ends_with_an_eighth_free() {
    let (load, [mut e, _]) = shards();
    load.limit(Limits { connections: Some(16), ..Limits::default() });
    let mut there: Vec<Incoming> = (0..16).map(|n| incoming(&mut e, &tuple(), &first(n), T0)).collect();
    refused(&mut e, 20);
    assert!(news(&load).is_some());
    e.ignore(there.pop().unwrap());
    assert_eq!(news(&load), None, "one place more is not worth a word");
    e.ignore(there.pop().unwrap());
    assert_eq!(news(&load), Some(LoadNews { full: None, count: 14 }));
    for i in there {
        e.ignore(i);
    }
}
