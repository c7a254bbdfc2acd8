//! The client's address changes before the handshake is confirmed, and somebody pretends that it does.
use core::time::Duration;
use std::net::SocketAddr;

use super::super::{ConnectionConfig, Event};
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls};
use crate::base::{Dir, Side};

const HOME: &str = "10.0.0.1:1000";
const NEW_PORT: &str = "10.0.0.1:7777";
const AWAY: &str = "10.7.7.7:7777";
const LIMIT: Duration = Duration::from_secs(20);
const MS: Duration = Duration::from_millis(1);

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The NAT forgets the client just before it sends its datagram number `before`; what the server sends to the old
/// address is lost.
fn rebinding(p: &mut Pair, before: u64, to: &str) {
    p.run_until(LIMIT, |p| p.client.sent >= before || p.client.conn.is_confirmed());
    p.nat[0].1 = addr(to);
}

#[track_caller]
fn works(p: &mut Pair) {
    p.run_until(LIMIT, |p| p.client.conn.is_confirmed() && p.server.as_ref().is_some_and(|s| s.conn.is_confirmed()));
    let data = pattern(100_000);
    for side in [Side::Client, Side::Server] {
        let id = p.start(side, Dir::Uni);
        assert!(p.transfer(side, id, &data, LIMIT) == data);
    }
}

#[track_caller]
fn within_limits(p: &Pair, address: &str) {
    let [came, went] = p.traffic.get(&addr(address)).copied().unwrap_or_default();
    assert!(went <= came * 3, "{address}: {went} for {came}");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# An endpoint MUST perform path validation (Section 8.2) if it detects any change to a peer's address, unless it has
//# previously validated that address.
#[test]
fn the_server_follows_at_any_moment_of_the_handshake() {
    for to in [NEW_PORT, AWAY] {
        for before in 1..6 {
            let mut p = Pair::new();
            rebinding(&mut p, before, to);
            p.run_until(LIMIT, |p| p.server.as_ref().is_some_and(|s| s.conn.is_confirmed()));
            let then = p.server().conn.path().remote;
            works(&mut p);
            assert_eq!(p.server().conn.path().remote, addr(to), "before datagram {before}");
            p.run_for(Duration::from_secs(2));
            assert!(p.server().conn.paths.active().is_validated(), "before datagram {before}");
            assert_eq!(p.tokens_for, [then], "only for a proved address");
        }
    }
}

/// The first flight of the server goes to the old address, and nothing comes from the client any more by itself.
#[test]
fn a_lost_first_flight_is_sent_again_to_the_new_address() {
    let mut p = Pair::new();
    p.flush();
    p.nat[0].1 = addr(AWAY);
    works(&mut p);
    assert_eq!(p.server().conn.path().remote, addr(AWAY));
    let proof = |e: &Event| matches!(e, Event::PathValidated { tuple, .. } if tuple.remote == addr(AWAY));
    assert!(p.server().saw(proof), "two addresses were sent the flight: neither was proved by the handshake");
    within_limits(&p, HOME);
}

/// The client has Handshake keys, moves, and waits for the rest of a long flight: all it sends is small.
#[test]
fn a_flight_goes_on_although_the_client_only_sends_little() {
    for (seed, padded) in [(1, true), (2, true), (3, false)] {
        let mut p = Pair::new();
        let mut seen = 0;
        p.hook = Box::new(move |side, _, bytes| {
            if side.is_server() && bytes.len() > 600 {
                // Of the first flight only the head arrives: ServerHello, and the beginning of the certificate.
                seen += 1;
                return if seen == 1 || seen > 3 + seed { Fate::Deliver } else { Fate::Drop };
            }
            // A client of another make, which does not pad its probes.
            if side.is_client() && !padded && bytes[0] & 0xb0 == 0xa0 && bytes.len() >= 1200 {
                return Fate::Drop;
            }
            Fate::Deliver
        });
        p.run_until(LIMIT, |p| p.client.conn.has_keys(crate::base::SpaceId::Handshake));
        p.nat[0].1 = addr(AWAY);
        works(&mut p);
        assert_eq!(p.server().conn.path().remote, addr(AWAY));
    }
}

/// Somebody copies each datagram of the client to a source address of its own, and is faster.
#[test]
fn copies_from_elsewhere_do_not_lead_astray() {
    for lead in [MS, MS * 9] {
        for address in [NEW_PORT, AWAY] {
            let mut p = Pair::new();
            // The very first datagram decides where a connection begins, and that is nothing new.
            p.flush();
            p.copier = Some((addr(address), lead));
            p.run_until(LIMIT, |p| p.client.conn.is_confirmed());
            assert!(p.now.0 < 1_000_000_000 + 500_000_000, "a probe timeout or two: {:?}", p.now);
            within_limits(&p, address);
            works(&mut p);
            p.run_for(Duration::from_secs(2));
            assert_eq!(p.server().conn.path().remote, addr(HOME));
            within_limits(&p, address);
            assert!(p.server().conn.stats().migrations < 12, "{}", p.server().conn.stats().migrations);
            assert!(p.tokens_for.iter().all(|a| *a == addr(HOME)), "{:?}", p.tokens_for);
        }
    }
}

/// The same when the copied datagram itself never arrives: the client's next one leads back.
#[test]
fn an_original_that_is_lost_costs_time_only() {
    for lost in 1..5 {
        let mut p = Pair::new();
        p.run_until(LIMIT, |p| p.client.sent >= lost || p.client.conn.is_confirmed());
        p.copier = Some((addr(AWAY), MS));
        let from = p.client.sent;
        p.hook = Box::new(move |side, n, _| if side.is_client() && n < from + 2 { Fate::Drop } else { Fate::Deliver });
        p.run_until(LIMIT, |p| p.client.sent >= from + 2 || p.client.conn.is_confirmed());
        p.copier = None;
        works(&mut p);
        p.run_for(Duration::from_secs(3));
        assert_eq!(p.server().conn.path().remote, addr(HOME));
        within_limits(&p, AWAY);
    }
}

/// From the very first datagram on: the server begins where the copy came from, and still ends at the client.
#[test]
fn a_copied_first_datagram_ends_at_the_client() {
    let mut p = Pair::new();
    p.copier = Some((addr(AWAY), MS));
    p.flush();
    p.copier = None;
    works(&mut p);
    p.run_for(Duration::from_secs(2));
    assert_eq!(p.server().conn.path().remote, addr(HOME));
    assert!(p.server().conn.paths.active().is_validated());
    within_limits(&p, AWAY);
}

/// The address that the server's first packets went to is the one to go back to.
#[test]
fn a_spoofed_move_at_the_end_is_taken_back() {
    let mut p = Pair::new();
    p.run_until(LIMIT, |p| p.client.sent >= 1);
    // Finished reaches the server from elsewhere only, and the client waits for something to be said.
    p.nat[0].1 = addr(AWAY);
    p.run_until(LIMIT, |p| p.client.conn.is_established());
    p.nat[0].1 = addr(HOME);
    p.run_until(LIMIT, |p| p.server().conn.is_confirmed());
    assert_eq!(p.server().conn.path().remote, addr(AWAY));
    assert!(!p.server().conn.paths.active().is_validated());
    assert_eq!(p.tokens_for, [], "nobody has proved to be there");
    works(&mut p);
    assert_eq!(p.server().conn.path().remote, addr(HOME));
    p.run_for(Duration::from_secs(1));
    assert_eq!(p.tokens_for, [addr(HOME)]);
    within_limits(&p, AWAY);
}

/// A client that cannot be heard at any address: the connection ends in silence, and by the idle timeout.
#[test]
fn nobody_anywhere() {
    let server = ConnectionConfig { idle_timeout: Duration::from_secs(20), ..config() };
    let mut p = Pair::with(config(), server, &client_tls(), server_tls());
    p.flush();
    p.nat[0].1 = addr(AWAY);
    p.run_until(LIMIT, |p| p.server.as_ref().is_some_and(|s| s.conn.is_confirmed()));
    p.hook = Box::new(|_, _, _| Fate::Drop);
    let sent = p.server().sent;
    p.run_for(Duration::from_secs(40));
    assert!(p.server().conn.is_drained());
    assert!(p.server().sent - sent < 40);
    within_limits(&p, AWAY);
}
