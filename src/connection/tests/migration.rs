//! Paths: the client moves, a NAT rebinds, addresses fail, connection IDs are issued and retired.
use core::time::Duration;

use super::super::{CloseReason, ConnectionConfig, Event, MigrateError, MoveReason};
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls, tuple};
use crate::base::{Dir, Side};
use crate::paths::PathEvent;

const LIMIT: Duration = Duration::from_secs(60);

fn add_address(p: &mut Pair, local: &str, socket: u32) -> crate::base::FourTuple {
    let t = tuple(local, socket);
    p.nat.push((t, local.parse().unwrap()));
    t
}

#[test]
fn the_client_moves_to_another_address() {
    let mut p = Pair::new().connected();
    let cid_before = p.client.conn.peer_cid_of(p.client.conn.paths.active_index()).unwrap();
    let new = add_address(&mut p, "10.9.9.9:5000", 1);
    let now = p.now;
    p.client.conn.migrate(new, now).unwrap();
    let data = pattern(300_000);
    let id = p.start(Side::Client, Dir::Bi);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
    assert!(p.client.saw(|e| matches!(e, Event::PathValidated { tuple, .. } if *tuple == new)));
    assert!(p.client.saw(|e| matches!(e, Event::Migrated { tuple, by_peer: false, .. } if *tuple == new)));
    assert_eq!(p.client.conn.path(), new);
    let seen = "10.9.9.9:5000".parse().unwrap();
    assert!(p.server().saw(
        |e| matches!(e, Event::Migrated { tuple, by_peer: true, why: MoveReason::Moved, .. } if tuple.remote == seen)
    ));
    p.run_for(Duration::from_secs(2));
    assert!(p.server().saw(|e| matches!(e, Event::PathValidated { tuple, .. } if tuple.remote == seen)));
    assert_eq!(p.server().conn.path().remote, seen);
    // RFC 9000 section 9.5: another connection ID, and the old one is retired.
    let cid_after = p.client.conn.peer_cid_of(p.client.conn.paths.active_index()).unwrap();
    assert_ne!(cid_before, cid_after);
    let back = p.start(Side::Server, Dir::Uni);
    assert!(p.transfer(Side::Server, back, &data, LIMIT) == data);
}

#[test]
fn many_moves_during_one_download() {
    let mut p = Pair::new().connected();
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, b"get").unwrap();
    p.run_for(Duration::from_millis(50));
    let data = pattern(3 << 20);
    let mut next = 0;
    let (mut written, mut got) = (0, Vec::new());
    let mut buf = vec![0; 65536];
    let mut next_move = p.now + Duration::from_millis(40);
    p.run_until(LIMIT, |p| {
        if p.now >= next_move && next < 10 {
            next += 1;
            next_move = p.now + Duration::from_millis(150);
            let new = add_address(p, &format!("10.1.{next}.1:{}", 2000 + next), next);
            let now = p.now;
            p.client.conn.migrate(new, now).unwrap();
        }
        while written < data.len() {
            match p.server().conn.write(id, &data[written..]) {
                Ok(0) | Err(_) => break,
                Ok(n) => written += n,
            }
        }
        while let Ok(ok) = p.client.conn.read(id, &mut buf) {
            got.extend_from_slice(&buf[..ok.len]);
        }
        p.flush();
        got.len() == data.len() && next == 10
    });
    assert!(got == data);
    p.run_for(Duration::from_secs(1));
    let moves = p.client.events.iter().filter(|e| matches!(e, Event::Migrated { by_peer: false, .. })).count();
    assert_eq!(moves, 10);
    assert!(p.client.closed().is_none() && p.server().closed().is_none());
}

#[test]
fn a_nat_rebinding_is_followed_and_keeps_the_window() {
    let mut p = Pair::new().connected();
    let data = pattern(300_000);
    let id = p.start(Side::Server, Dir::Uni);
    assert!(p.transfer(Side::Server, id, &data, LIMIT) == data);
    let window = p.server().conn.stats().congestion_window;
    p.nat[0].1 = "10.0.0.1:7777".parse().unwrap();
    let id = p.start(Side::Client, Dir::Bi);
    assert!(p.transfer(Side::Client, id, b"from elsewhere", LIMIT) == b"from elsewhere");
    let seen = "10.0.0.1:7777".parse().unwrap();
    assert!(
        p.server().saw(
            |e| matches!(e, Event::Migrated { tuple, by_peer: true, why: MoveReason::Rebinding, .. } if tuple.remote == seen)
        )
    );
    assert_eq!(p.server().conn.path().remote, seen);
    p.run_for(Duration::from_secs(1));
    assert!(p.server().saw(|e| matches!(e, Event::PathValidated { tuple, .. } if tuple.remote == seen)));
    assert!(p.server().conn.stats().congestion_window >= window / 2);
    let id = p.start(Side::Server, Dir::Uni);
    assert!(p.transfer(Side::Server, id, &data, LIMIT) == data);
    assert!(!p.client.saw(|e| matches!(e, Event::Migrated { .. })), "the client knows nothing of it");
}

#[test]
fn a_rebinding_in_the_middle_of_a_download() {
    let mut p = Pair::new().connected();
    let data = pattern(2 << 20);
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, b"get").unwrap();
    p.run_for(Duration::from_millis(50));
    let (mut written, mut got, mut rebound) = (0, Vec::new(), false);
    let mut buf = vec![0; 65536];
    p.run_until(LIMIT, |p| {
        while written < data.len() {
            match p.server().conn.write(id, &data[written..]) {
                Ok(0) | Err(_) => break,
                Ok(n) => written += n,
            }
        }
        while let Ok(ok) = p.client.conn.read(id, &mut buf) {
            got.extend_from_slice(&buf[..ok.len]);
        }
        if got.len() > 400_000 && !rebound {
            rebound = true;
            p.nat[0].1 = "10.0.0.1:9999".parse().unwrap();
            // Only something from the client tells the server: without it both wait for the client's PTO.
            p.client.conn.ping();
        }
        p.flush();
        got.len() == data.len()
    });
    assert!(rebound && got == data);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.5
//= type=test
//# An endpoint MUST NOT reuse a connection ID when sending from more than one local address -- for example, when
//# initiating connection migration as described in Section 9.2 or when probing a new network path as described in
//# Section 9.1.
#[test]
fn a_socket_replaced_under_the_client_moves_at_once() {
    let mut p = Pair::new().connected();
    let new = add_address(&mut p, "10.0.0.1:1001", 1);
    p.nat.remove(0);
    let now = p.now;
    let cid_before = p.client.conn.peer_cid_of(p.client.conn.paths.active_index());
    p.client.conn.on_local_address_changed(new, now);
    assert_ne!(p.client.conn.peer_cid_of(p.client.conn.paths.active_index()), cid_before, "only the port is another");
    let data = pattern(100_000);
    let id = p.start(Side::Client, Dir::Bi);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
    assert_eq!(p.client.conn.path(), new);
    assert_eq!(p.server().conn.path().remote, "10.0.0.1:1001".parse().unwrap());
}

#[test]
fn a_dead_new_path_fails_and_the_old_one_goes_on() {
    let mut p = Pair::new().connected();
    let new = tuple("10.9.9.9:5000", 1);
    let now = p.now;
    p.client.conn.migrate(new, now).unwrap();
    p.run_for(Duration::from_secs(5));
    assert!(p.client.saw(|e| matches!(e, Event::PathFailed { tuple, .. } if *tuple == new)));
    assert!(!p.client.saw(|e| matches!(e, Event::Migrated { .. })));
    let id = p.start(Side::Client, Dir::Bi);
    assert_eq!(p.transfer(Side::Client, id, b"still here", LIMIT), b"still here");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# An endpoint MUST NOT initiate connection migration before the handshake is confirmed, as defined in Section 4.1.2 of
//# [QUIC-TLS].
//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# If the peer sent the disable_active_migration transport parameter, an endpoint also MUST NOT send packets (including
//# probing packets; see Section 9.1) from a different local address to the address the peer used during the handshake,
//# unless the endpoint has acted on a preferred_address transport parameter from the peer.
//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# An endpoint that receives this transport parameter MUST NOT use a new local address when sending to the address that
//# the peer used during the handshake.
#[test]
fn migration_is_refused_when_it_must_be() {
    let mut p = Pair::new();
    let now = p.now;
    assert_eq!(p.client.conn.migrate(tuple("10.9.9.9:1", 1), now), Err(MigrateError::NotNow));
    let no = ConnectionConfig { disable_migration: true, ..config() };
    let mut p = Pair::with(config(), no, &client_tls(), server_tls()).connected();
    let now = p.now;
    assert_eq!(p.client.conn.migrate(tuple("10.9.9.9:1", 1), now), Err(MigrateError::Forbidden));
    assert_eq!(p.server().conn.migrate(tuple("10.9.9.9:1", 1), now), Err(MigrateError::NotNow));
}

#[test]
fn a_spoofed_address_gets_little_and_loses() {
    let mut p = Pair::new().connected();
    // An attacker forwards one datagram of the client from an address where nobody answers.
    p.nat[0].1 = "66.66.66.66:66".parse().unwrap();
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, b"hijacked").unwrap();
    p.flush();
    p.nat[0].1 = "10.0.0.1:1000".parse().unwrap();
    let server = p.server().conn.open(Dir::Uni).unwrap();
    p.server().conn.write(server, &pattern(200_000)).unwrap();
    p.hook = Box::new(|_, _, _| Fate::Deliver);
    p.run_for(Duration::from_secs(8));
    assert_eq!(p.server().conn.path().remote, "10.0.0.1:1000".parse().unwrap(), "back at the real client");
    assert!(p.client.closed().is_none() && p.server().closed().is_none());
}

#[test]
fn probing_a_path_does_not_move() {
    let mut p = Pair::new().connected();
    let new = add_address(&mut p, "10.9.9.9:5000", 1);
    let old = p.client.conn.path();
    let now = p.now;
    p.client.conn.probe_path(new, now).unwrap();
    p.run_for(Duration::from_secs(1));
    assert!(p.client.saw(|e| matches!(e, Event::PathValidated { tuple, .. } if *tuple == new)));
    assert_eq!(p.client.conn.path(), old);
    assert_eq!(p.server().conn.path().remote, "10.0.0.1:1000".parse().unwrap());
    assert!(p.server().saw(|e| matches!(e, Event::PathNew { .. })));
}

/// The socket is gone, and nothing may be sent from another: the application is told at once.
#[track_caller]
fn ends_without_its_socket(p: &mut Pair) {
    let (sent, now) = (p.client.sent, p.now);
    p.client.conn.on_local_address_changed(tuple("10.9.9.9:5000", 1), now);
    p.run_for(Duration::from_secs(2));
    assert_eq!(p.client.closed(), Some(&CloseReason::NoPath));
    assert_eq!(p.client.sent, sent, "silently");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# An endpoint MUST NOT initiate connection migration before the handshake is confirmed, as defined in Section 4.1.2 of
//# [QUIC-TLS].
//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# If the peer sent the disable_active_migration transport parameter, an endpoint also MUST NOT send packets (including
//# probing packets; see Section 9.1) from a different local address to the address the peer used during the handshake,
//# unless the endpoint has acted on a preferred_address transport parameter from the peer.
#[test]
fn a_replaced_socket_ends_what_may_not_move() {
    let mut early = Pair::new();
    early.run_until(Duration::from_secs(1), |p| p.client.conn.is_established());
    assert!(!early.client.conn.is_confirmed());
    ends_without_its_socket(&mut early);
    let no = ConnectionConfig { disable_migration: true, ..config() };
    ends_without_its_socket(&mut Pair::with(config(), no, &client_tls(), server_tls()).connected());
    // Without a connection ID that was not used from the old address the move could be followed.
    let mut poor = Pair::new().connected();
    while poor.client.conn.peer_cids.take_unused().is_some() {}
    ends_without_its_socket(&mut poor);
}

/// No ID is left for the new address, but another path has one: traffic goes on there until the server has replaced
/// the ID of the lost path.
#[test]
fn a_replaced_socket_without_connection_id_takes_the_way_that_is_open() {
    let mut p = Pair::new().connected();
    let open = add_address(&mut p, "10.9.9.9:5000", 1);
    let new = add_address(&mut p, "10.8.8.8:5000", 2);
    let now = p.now;
    p.client.conn.probe_path(open, now).unwrap();
    p.run_for(Duration::from_secs(1));
    let lost = p.client.conn.peer_cid_of(p.client.conn.paths.active_index());
    while p.client.conn.peer_cids.take_unused().is_some() {}
    p.nat.remove(0);
    let now = p.now;
    p.client.conn.on_local_address_changed(new, now);
    assert_eq!(p.client.conn.path(), open);
    let between = p.client.conn.peer_cid_of(p.client.conn.paths.active_index());
    let data = pattern(100_000);
    let id = p.start(Side::Client, Dir::Bi);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
    p.run_for(Duration::from_secs(1));
    assert_eq!(p.client.conn.path(), new);
    let last = p.client.conn.peer_cid_of(p.client.conn.paths.active_index());
    assert!(between != lost && last != lost && last != between, "one for each address (RFC 9000 section 9.5)");
    assert_eq!(p.server().conn.path().remote, "10.8.8.8:5000".parse().unwrap());
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.1
//= type=test
//# An endpoint MUST expand datagrams that contain a PATH_CHALLENGE frame to at least the smallest allowed maximum
//# datagram size of 1200 bytes, unless the anti-amplification limit for the path does not permit sending a datagram of
//# this size.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# An endpoint MUST expand datagrams that contain a PATH_RESPONSE frame to at least the smallest allowed maximum
//# datagram size of 1200 bytes.
#[test]
fn path_frames_travel_in_full_datagrams() {
    let mut p = Pair::new().connected();
    let new = add_address(&mut p, "10.9.9.9:5000", 1);
    let (now, mut out) = (p.now, vec![0; 65536]);
    p.client.conn.migrate(new, now).unwrap();
    let challenge = p.client.conn.transmit(now, &mut out, 16).unwrap();
    assert_eq!((challenge.tuple, challenge.len), (new, 1200));
    let seen = crate::base::FourTuple { remote: "10.9.9.9:5000".parse().unwrap(), ..p.server().conn.path() };
    p.server().conn.receive(&seen, challenge.ecn, &mut out[..1200], now);
    // The answer goes first, at once, and where the question came from.
    let mut out = vec![0; 65536];
    let answer = p.server().conn.transmit(now, &mut out, 16).unwrap();
    assert_eq!((answer.tuple.remote, answer.len), (seen.remote, 1200));
    p.client.conn.receive(&new, answer.ecn, &mut out[..1200], now);
    p.run_for(Duration::from_millis(50));
    assert!(p.client.saw(|e| matches!(e, Event::PathValidated { tuple, .. } if *tuple == new)));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.3.2
//= type=test
//# If an endpoint has no state about the last validated peer address, it MUST close the connection silently by
//# discarding all connection state.
#[test]
fn a_server_that_knows_no_address_falls_silent() {
    let mut p = Pair::new().connected();
    let (now, tuple) = (p.now, p.server().conn.path());
    let id = p.start(Side::Server, Dir::Uni);
    p.server().conn.write(id, b"never sent").unwrap();
    p.server().conn.on_path_event(PathEvent::NoPath { path: 0, tuple }, now);
    assert!(p.server().conn.transmit(now, &mut vec![0; 65536], 16).is_none());
    assert!(p.server().conn.is_drained());
    p.run_for(Duration::from_secs(1));
    assert_eq!(p.server().closed(), Some(&CloseReason::NoPath));
}

/// A new path that carries less than 1200 bytes: nothing moves there.
//= https://www.rfc-editor.org/rfc/rfc9000#section-14.2
//= type=test
//# If a QUIC endpoint determines that the PMTU between any pair of local and remote IP addresses cannot support the
//# smallest allowed maximum datagram size of 1200 bytes, it MUST immediately cease sending QUIC packets, except for
//# those in PMTU probes or those containing CONNECTION_CLOSE frames, on the affected path.
#[test]
fn a_path_below_1200_bytes_is_not_used() {
    let mut p = Pair::new().connected();
    let new = add_address(&mut p, "10.9.9.9:5000", 1);
    p.hook = Box::new(|_, _, bytes| if bytes.len() >= 1200 { Fate::Drop } else { Fate::Deliver });
    let (now, old) = (p.now, p.client.conn.path());
    p.client.conn.migrate(new, now).unwrap();
    p.run_for(Duration::from_secs(5));
    assert!(p.client.saw(|e| matches!(e, Event::PathFailed { tuple, .. } if *tuple == new)));
    assert_eq!(p.client.conn.path(), old);
    let on_new = p.client.conn.paths().iter().find(|i| i.tuple == new).map_or(0, |i| i.bytes_sent);
    let id = p.start(Side::Client, Dir::Bi);
    assert_eq!(p.transfer(Side::Client, id, b"small", LIMIT), b"small");
    assert_eq!(p.client.conn.paths().iter().find(|i| i.tuple == new).map_or(on_new, |i| i.bytes_sent), on_new);
}

const PREFERRED: &str = "10.0.0.9:4433";

/// A connection to a server that would rather be elsewhere, just confirmed.
fn preferring(reachable: bool) -> Pair {
    let address = PREFERRED.parse().ok();
    let server = ConnectionConfig { preferred_ipv4: address, disable_migration: true, ..config() };
    let mut p = Pair::with(config(), server, &client_tls(), server_tls());
    p.accept = |params| params.preferred = Some((preferred_cid(), crate::base::ResetToken([5; 16])));
    if reachable {
        let home = tuple("10.0.0.1:1000", 0);
        let there = crate::base::FourTuple { remote: PREFERRED.parse().unwrap(), ..home };
        p.nat.push((there, "10.0.0.1:1000".parse().unwrap()));
    }
    p.run_until(Duration::from_secs(5), |p| p.client.conn.is_confirmed());
    p
}

fn preferred_cid() -> crate::base::ConnectionId {
    crate::base::ConnectionId::new(b"pref cid").unwrap()
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
//= type=test
//# A client that migrates to a preferred address MUST validate the address it chooses before migrating; see Section
//# 21.5.3.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.3
//= type=test
//# If path validation of the server's preferred address succeeds, the client MUST abandon validation of the original
//# address and migrate to using the server's preferred address.
#[test]
fn the_client_goes_where_the_server_would_rather_be() {
    let mut p = preferring(true);
    let preferred = PREFERRED.parse().unwrap();
    assert_ne!(p.client.conn.path().remote, preferred, "not before it is validated");
    p.run_for(Duration::from_millis(100));
    let validated = p.client.events.iter().position(|e| matches!(e, Event::PathValidated { .. }));
    let migrated = p.client.events.iter().position(|e| matches!(e, Event::Migrated { .. }));
    assert!(validated.is_some() && validated < migrated);
    let why = |e: &Event| matches!(e, Event::Migrated { why: MoveReason::Preferred, .. });
    assert!(p.client.saw(why) && p.server().saw(why), "both know why");
    assert_eq!(p.client.conn.path().remote, preferred);
    assert_eq!(p.client.conn.peer_cid_of(p.client.conn.paths.active_index()), Some(preferred_cid()));
    assert!(!p.client.conn.paths.iter().any(|p| p.validation.is_pending()), "the old address is not asked");
    assert_eq!(p.server().conn.path().local, Some(preferred));
    assert!(p.server().saw(|e| matches!(e, Event::PathValidated { tuple, .. } if tuple.local == Some(preferred))));
    let data = pattern(100_000);
    let id = p.start(Side::Server, Dir::Uni);
    assert!(p.transfer(Side::Server, id, &data, LIMIT) == data);
    // From here it may move although the server forbids it at its first address.
    let new = add_address(&mut p, "10.9.9.9:5000", 1);
    p.nat.last_mut().unwrap().0.remote = preferred;
    let now = p.now;
    p.client.conn.migrate(crate::base::FourTuple { remote: preferred, ..new }, now).unwrap();
    p.run_for(Duration::from_millis(200));
    assert_eq!(p.server().conn.path().remote, "10.9.9.9:5000".parse().unwrap());
    let last = |events: &[Event]| {
        events.iter().rev().find_map(|e| if let Event::Migrated { why, .. } = e { Some(*why) } else { None })
    };
    assert_eq!(last(&p.client.events), Some(MoveReason::Moved), "this one was not the server's wish");
    assert_eq!(last(&p.server().events), Some(MoveReason::Moved));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.1
//= type=test
//# If path validation fails, the client MUST continue sending all future packets to the server's original IP address.
#[test]
fn a_preferred_address_that_does_not_answer_is_left_alone() {
    let mut p = preferring(false);
    p.run_for(Duration::from_secs(5));
    assert!(p.client.saw(|e| matches!(e, Event::PathFailed { .. })));
    assert!(!p.client.saw(|e| matches!(e, Event::Migrated { .. })));
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, &pattern(5000)).unwrap();
    let (now, mut out, mut sent) = (p.now, vec![0; 65536], 0);
    while let Some(t) = p.client.conn.transmit(now, &mut out, 1) {
        assert_eq!(t.tuple.remote, super::pair::SERVER.parse().unwrap());
        sent += 1;
    }
    assert!(sent > 3);
    p.run_for(Duration::from_secs(2));
    let id = p.start(Side::Client, Dir::Bi);
    assert_eq!(p.transfer(Side::Client, id, b"still here", LIMIT), b"still here");
}

/// A packet of the client at another address of the server's, before that path is validated in the server's eyes.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
//= type=test
//# The server MUST send non- probing packets from its original address until it receives a non- probing packet from the
//# client at its preferred address and until the server has validated the new path.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
//= type=test
//# The server MUST probe on the path toward the client from its preferred address.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.3
//= type=test
//# If packets received at the server's preferred address have a different source address than observed from the client
//# during the handshake, the server MUST protect against potential attacks as described in Sections 9.3.1 and 9.3.2.
#[test]
fn a_server_stays_where_it_is_until_the_new_path_is_validated() {
    let mut p = preferring(false);
    p.run_for(Duration::from_millis(50));
    let (now, mut out) = (p.now, vec![0; 65536]);
    p.client.conn.ping();
    let mut packets = Vec::new();
    while let Some(t) = p.client.conn.transmit(now, &mut out, 1) {
        packets.push((t.tuple.remote, out[..t.len].to_vec()));
    }
    let home = p.server().conn.path();
    let preferred = PREFERRED.parse().unwrap();
    let elsewhere = "10.77.7.7:7".parse().unwrap();
    let there = crate::base::FourTuple { local: Some(preferred), remote: elsewhere, ..home };
    let (_, mut ping) = packets.into_iter().rfind(|(to, _)| *to != preferred).expect("a packet that is no probe");
    p.server().conn.receive(&there, crate::base::Ecn::NotEct, &mut ping, now);
    let id = p.start(Side::Server, Dir::Uni);
    p.server().conn.write(id, &pattern(20_000)).unwrap();
    let (mut probes, mut data) = (0, 0);
    while let Some(t) = p.server().conn.transmit(now, &mut out, 1) {
        if t.tuple.local == Some(preferred) {
            probes += t.len;
        } else {
            data += t.len;
        }
    }
    assert!(probes > 0, "it asks from its preferred address");
    assert!(probes <= 3 * ping.len(), "no more than an unproved address gets: {probes}");
    assert!(data > 5000, "and goes on from the first one: {data}");
    assert_eq!(p.server().conn.path(), home);
}
