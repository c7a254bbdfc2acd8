//! Fewer acknowledgements by agreement (draft-ietf-quic-ack-frequency-14).
use core::time::Duration;

use super::super::ConnectionConfig;
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls};
use crate::base::{Dir, Side};

const LIMIT: Duration = Duration::from_secs(60);

fn pair(client: bool, server: bool) -> Pair {
    let with = |ack_frequency| ConnectionConfig { ack_frequency, ..config() };
    Pair::with(with(client), with(server), &client_tls(), server_tls()).connected()
}

/// Acknowledgements that the server received for two megabytes.
fn acks(p: &mut Pair) -> u64 {
    let before = p.server().conn.stats().acks_received;
    let data = pattern(2 << 20);
    let id = p.start(Side::Server, Dir::Uni);
    assert!(p.transfer(Side::Server, id, &data, LIMIT) == data);
    p.server().conn.stats().acks_received - before
}

#[test]
fn a_large_window_asks_for_fewer_acknowledgements() {
    // Only the receiver has to offer it (section 3), and nothing is asked of one that does not.
    let mut p = pair(false, true);
    acks(&mut p);
    assert!(p.server().conn.control.ack_frequency.is_none());
    let mut p = pair(true, true);
    acks(&mut p);
    assert_eq!(p.server().conn.stats().packets_lost, 0);
    let asked = p.server().conn.control.ack_frequency.as_ref().expect("a request was made");
    assert!(!asked.wants_to_send());
    assert!(p.client.conn.control.ack_frequency_seen.is_some());
    assert!(p.client.conn.control.ack_frequency.is_none(), "the client sent nothing worth a request");
}

#[test]
fn a_lost_request_is_made_again() {
    let mut p = pair(true, true);
    // Everything of the server is lost now and then while its window grows.
    let mut n = 0;
    p.hook = Box::new(move |_, _, datagram| {
        n += 1;
        if n % 11 == 0 && datagram.len() > 200 { Fate::Drop } else { Fate::Deliver }
    });
    acks(&mut p);
    let asked = p.server().conn.control.ack_frequency.is_some();
    let seen = p.client.conn.control.ack_frequency_seen.is_some();
    assert_eq!(asked, seen, "what was asked arrived");
}

#[test]
fn a_probe_asks_for_an_answer_at_once() {
    let mut p = pair(true, true);
    let id = p.start(Side::Client, Dir::Uni);
    // The first transmission is lost: the probe timeout brings it, with IMMEDIATE_ACK.
    let mut dropped = false;
    p.hook = Box::new(move |from, _, _| {
        let drop = from == Side::Client && !dropped;
        dropped |= drop;
        if drop { Fate::Drop } else { Fate::Deliver }
    });
    assert_eq!(p.transfer(Side::Client, id, b"once more", LIMIT), b"once more");
    assert!(p.client.conn.stats().pto_count > 0);
    p.run_for(Duration::from_millis(5) + p.delay * 2);
    assert_eq!(p.client.conn.stats().bytes_in_flight, 0, "acknowledged without the delay of 25 ms");
}
