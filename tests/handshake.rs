//! Client and server, endpoint and connection, from the first Initial to the last route: in memory, virtual time.
mod pair;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pair::{ALPN, Decision, Fate, Pair, Setup, pattern, read_all};
use whimbrel::base::codes::transport::CONNECTION_REFUSED;
use whimbrel::base::codes::{VERSION_1, VERSION_2};
use whimbrel::base::{Dir, Side, StreamId};
use whimbrel::connection::{CloseReason, ConnectionConfig, Event};
use whimbrel::endpoint::{Endpoint, EndpointConfig, RetryPolicy};
use whimbrel::streams::WriteError;

const SECOND: Duration = Duration::from_secs(1);

/// Sends `len` bytes from the client on a new stream, and the same number back; checks every byte.
#[track_caller]
fn echo(p: &mut Pair, len: usize) {
    let data = pattern(len);
    let id = p.client.only().open(Dir::Bi).expect("a stream");
    let (mut up, mut down) = (0, 0);
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    let (mut server_done, mut client_done) = (false, false);
    p.run(120 * SECOND, |p| {
        push(p.client.only(), id, &data, &mut up);
        if !p.server.connections.is_empty() {
            let server = p.server.only();
            server_done |= read_all(server, id, &mut at_server);
            if !at_server.is_empty() {
                push(server, id, &data, &mut down);
            }
        }
        client_done |= read_all(p.client.only(), id, &mut at_client);
        server_done && client_done
    });
    assert!(at_server == data, "the server got other bytes");
    assert!(at_client == data, "the client got other bytes");
}

/// Writes what the stream takes; finishes it after the last byte. `at` counts one more than there are bytes then.
fn push(c: &mut whimbrel::connection::Connection, id: StreamId, data: &[u8], at: &mut usize) {
    while *at < data.len() {
        match c.write(id, &data[*at..]) {
            Ok(n) => *at += n,
            Err(WriteError::Blocked) => return,
            Err(e) => panic!("{e:?}"),
        }
    }
    if *at == data.len() {
        c.finish(id).expect("finish");
        *at += 1;
    }
}

#[track_caller]
fn shut(p: &mut Pair) {
    let now = p.now;
    p.client.only().close(7, b"bye", now);
    p.run(20 * SECOND, |p| p.client.connections.is_empty() && p.server.connections.is_empty());
    let closed = |e: &(_, Event)| match &e.1 {
        Event::Closed(reason) => Some(reason.clone()),
        _ => None,
    };
    let reasons: Vec<_> = p.server.events.iter().filter_map(closed).collect();
    assert!(matches!(&reasons[..], [CloseReason::Peer { code: 7, app: true, .. }]), "{reasons:?}");
    // Nothing is left of it.
    assert_eq!((p.client.endpoint.route_count(), p.client.endpoint.connection_count()), (0, 0));
    assert_eq!((p.server.endpoint.route_count(), p.server.endpoint.connection_count()), (0, 0));
    assert_eq!(p.server.endpoint.pending_count(), 0);
}

#[test]
fn handshake_echo_and_close() {
    let mut p = Setup::default().build();
    p.connect(Vec::new());
    p.establish();
    for c in [p.client.only(), p.server.only()] {
        assert_eq!((c.alpn(), c.version()), (Some(ALPN), VERSION_1));
        assert!(c.is_established() && !c.is_handshaking());
    }
    assert_eq!((p.client.only().side(), p.server.only().side()), (Side::Client, Side::Server));
    assert_eq!(p.server.only().server_name(), Some("localhost"));
    assert_eq!(p.server.endpoint.pending_count(), 0);
    echo(&mut p, 10);
    echo(&mut p, 1 << 20);
    // Both sides derive the same from the handshake.
    let (mut a, mut b) = ([0; 32], [1; 32]);
    assert!(
        p.client.only().export(b"label", b"context", &mut a) && p.server.only().export(b"label", b"context", &mut b)
    );
    assert_eq!(a, b);
    shut(&mut p);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.2
//= type=test
//# The server MUST send a HANDSHAKE_DONE frame as soon as the handshake is complete.
#[test]
fn handshake_takes_one_round_trip() {
    let mut p = Setup::default().build();
    p.connect(Vec::new());
    let start = p.now;
    p.run(SECOND, |p| p.client.only().is_established());
    assert_eq!(p.now.since(start), Duration::from_millis(20));
    p.run(SECOND, |p| p.client.only().is_confirmed());
    assert_eq!(p.now.since(start), Duration::from_millis(40));
}

//= https://www.rfc-editor.org/rfc/rfc9369#section-3
//= type=test
//# Except for a few differences, QUIC version 2 endpoints MUST implement the QUIC version 1 specification as
//# described in [QUIC], [QUIC-TLS], and [QUIC-RECOVERY].
#[test]
fn version_2() {
    let only_v2 = ConnectionConfig { versions: vec![VERSION_2], ..Default::default() };
    let mut p = Setup { client: only_v2.clone(), server: only_v2, ..Default::default() }.build();
    p.connect(Vec::new());
    p.establish();
    assert_eq!((p.client.only().version(), p.server.only().version()), (VERSION_2, VERSION_2));
    echo(&mut p, 50_000);
    shut(&mut p);
}

/// RFC 9368 section 2.1: another attempt in a version that the server offers, with 0-RTT or without, and the checks of
/// section 4 that it was no downgrade.
#[test]
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
//= type=test
//# Otherwise, it SHALL select a mutually supported version and send a
//# new first flight with that version -- this version is now the
//# Negotiated Version.
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
//= type=test
//# Upon receiving the Version Negotiation packet, the client SHALL search for a version it supports in the list
//# provided by the server.
fn version_negotiation_leads_to_another_attempt() {
    for (first, only) in [(VERSION_2, VERSION_1), (VERSION_1, VERSION_2)] {
        for lossy in [false, true] {
            let client = ConnectionConfig {
                versions: vec![VERSION_1, VERSION_2],
                initial_version: Some(first),
                handshake_timeout: 60 * SECOND,
                ..Default::default()
            };
            let server = ConnectionConfig { versions: vec![only], ..Default::default() };
            let mut setup = Setup { client, server, ..Default::default() };
            setup.server_endpoint.versions = vec![only];
            setup.server_endpoint.retry = if lossy { RetryPolicy::Always } else { RetryPolicy::Never };
            let mut p = setup.build();
            if lossy {
                // Every second datagram of the beginning is lost, either way; and then there is a Retry too.
                p.filter = Box::new(|_, n, _| if n < 6 && n % 2 == 1 { Fate::Drop } else { Fate::Pass });
            }
            p.connect(Vec::new());
            p.establish();
            assert_eq!((p.client.only().version(), p.server.only().version()), (only, only));
            assert_eq!(p.client.only().stats().version_negotiations, 1);
            assert!(p.server.endpoint.stats().version_negotiations_sent >= 1);
            echo(&mut p, 50_000);
            shut(&mut p);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
//= type=test
//# If it doesn't find one, it SHALL abort the connection attempt.
#[test]
fn no_common_version() {
    let client = ConnectionConfig { versions: vec![VERSION_2], ..Default::default() };
    let mut setup = Setup { client, ..Default::default() };
    setup.server_endpoint.versions = vec![VERSION_1];
    let mut p = setup.build();
    p.connect(Vec::new());
    p.run(20 * SECOND, |p| p.client.connections.is_empty());
    let told = p.client.events.iter().any(|(_, e)| match e {
        Event::Closed(CloseReason::VersionMismatch(theirs)) => theirs.contains(&VERSION_1),
        _ => false,
    });
    assert!(told, "{}", p.describe());
    assert_eq!((p.server.endpoint.stats().version_negotiations_sent, p.server.endpoint.route_count()), (1, 0));
}

#[test]
fn retry() {
    let mut setup = Setup::default();
    setup.server_endpoint.retry = RetryPolicy::Always;
    let mut p = setup.build();
    p.connect(Vec::new());
    p.establish();
    assert_eq!(p.server.endpoint.stats().retries_sent, 1);
    echo(&mut p, 100_000);
    shut(&mut p);
}

/// Seeds of the lossy tests: all of a range, or the one in WHIMBREL_SEED.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    match number("WHIMBREL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WHIMBREL_SEEDS").unwrap_or(count),
    }
}

/// A wire that loses every fifth datagram and brings others late, with timeouts long enough for bad luck.
fn lossy(seed: u64) -> Pair {
    println!("seed {seed}");
    let patient =
        ConnectionConfig { handshake_timeout: 600 * SECOND, idle_timeout: 600 * SECOND, ..Default::default() };
    let mut p =
        Setup { seed, client: patient.clone(), server: patient, early_data: true, ..Default::default() }.build();
    let mut state = seed;
    p.filter = Box::new(move |_, _, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (state >> 33) % 10 {
            0 | 1 => Fate::Drop,
            2 => Fate::Delay(Duration::from_millis(30)),
            _ => Fate::Pass,
        }
    });
    p
}

#[test]
fn lossy_wire() {
    for seed in seeds(40) {
        let mut p = lossy(seed);
        p.connect(Vec::new());
        p.establish();
        echo(&mut p, 20_000);
        assert_eq!(p.server.connections.len(), 1, "a repeated Initial is not a second connection");
        let now = p.now;
        p.client.only().close(1, b"", now);
        p.run(1000 * SECOND, |p| p.client.connections.is_empty() && p.server.connections.is_empty());
        // All over, and again with what is remembered: early data on the same wire.
        p.connect(Vec::new());
        echo(&mut p, 20_000);
    }
}

#[test]
fn lossy_wire_with_retry() {
    for seed in seeds(40) {
        let mut p = lossy(seed);
        p.server.endpoint.set_retry(RetryPolicy::Always);
        p.connect(Vec::new());
        p.establish();
        echo(&mut p, 20_000);
    }
}

/// Loss, reordering, duplication, corruption and a NAT that changes its mind, while bytes go both ways.
#[test]
fn hostile_wire() {
    for seed in seeds(40) {
        let mut p = lossy(seed);
        let mut state = seed ^ 0x5555;
        p.filter = Box::new(move |_, _, bytes| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = (state >> 33) as usize;
            match n % 20 {
                0 => Fate::Drop,
                1 | 2 => Fate::Delay(Duration::from_millis((n / 20 % 40) as u64)),
                3 => Fate::Twice(Duration::from_millis((n / 20 % 100) as u64)),
                4 => {
                    let mut other = bytes.to_vec();
                    let at = n / 20 % other.len();
                    other[at] ^= 1 << (n % 8);
                    Fate::Change(other)
                }
                _ => Fate::Pass,
            }
        });
        p.connect(Vec::new());
        p.establish();
        for port in 2000..2004u16 {
            echo(&mut p, 100_000);
            p.nat = Some(format!("198.51.100.1:{port}").parse().unwrap());
        }
        echo(&mut p, 300_000);
        let now = p.now;
        p.client.only().close(1, b"", now);
        p.run(1000 * SECOND, |p| p.client.connections.is_empty() && p.server.connections.is_empty());
        assert_eq!(p.client.endpoint.route_count() + p.server.endpoint.route_count(), 0);
    }
}

#[test]
fn refused() {
    let mut p = Setup::default().build();
    p.server.decision = Decision::Refuse;
    p.connect(Vec::new());
    p.run(20 * SECOND, |p| p.client.connections.is_empty());
    let refused =
        |e: &Event| matches!(e, Event::Closed(CloseReason::Peer { code: CONNECTION_REFUSED, app: false, .. }));
    assert!(p.client.events.iter().any(|(_, e)| refused(e)), "{}", p.describe());
    assert_eq!((p.server.endpoint.stats().refused, p.server.endpoint.route_count()), (1, 0));
}

#[test]
fn accepted_late() {
    let mut p = Setup::default().build();
    p.server.decision = Decision::Late;
    p.connect(Vec::new());
    p.establish();
    echo(&mut p, 1000);
    shut(&mut p);
}

#[test]
fn token_of_an_earlier_connection() {
    let mut setup = Setup::default();
    setup.server_endpoint.retry = RetryPolicy::Always;
    let mut p = setup.build();
    p.connect(Vec::new());
    p.establish();
    p.run(SECOND, |p| p.client.events.iter().any(|(_, e)| matches!(e, Event::NewToken(_))));
    let token = p.client.events.iter().find_map(|(_, e)| match e {
        Event::NewToken(t) => Some(t.to_vec()),
        _ => None,
    });
    shut(&mut p);
    let token = token.unwrap();
    p.connect(token.clone());
    p.establish();
    let stats = *p.server.endpoint.stats();
    assert_eq!((stats.retries_sent, stats.validated_by_token), (1, 1), "no second Retry");
    p.server.events.clear();
    shut(&mut p);
    // A second use counts as none.
    p.connect(token);
    p.establish();
    let stats = *p.server.endpoint.stats();
    assert_eq!((stats.retries_sent, stats.validated_by_token), (2, 1));
}

/// RFC 9000 section 8.1.3: the client keeps what it is given and uses each token once, without being told to.
#[test]
fn tokens_are_kept_and_used_once() {
    let mut setup = Setup::default();
    setup.server_endpoint.retry = RetryPolicy::Always;
    let mut p = setup.build();
    for visit in 0..4 {
        p.client.events.clear();
        p.server.events.clear();
        p.connect(Vec::new());
        p.establish();
        p.run(SECOND, |p| p.client.events.iter().any(|(_, e)| matches!(e, Event::NewToken(_))));
        shut(&mut p);
        let stats = *p.server.endpoint.stats();
        // Only the first visit has to be asked; a token that came twice would have been refused.
        assert_eq!((stats.retries_sent, stats.validated_by_token), (1, visit));
    }
}

#[test]
fn corrupted_and_duplicated_first_datagram() {
    let mut p = Setup::default().build();
    p.filter = Box::new(|up, n, bytes| {
        if up && n == 0 {
            let mut other = bytes.to_vec();
            other[600] ^= 0x40;
            return Fate::Change(other);
        }
        Fate::Pass
    });
    p.connect(Vec::new());
    p.establish();
    assert_eq!(p.server.connections.len(), 1);
    echo(&mut p, 1000);
    shut(&mut p);
}

/// The server never sends more than three times what it got before it knows the address (RFC 9000 section 8.1).
#[test]
fn amplification() {
    let mut p = Setup::default().build();
    let up = Rc::new(Cell::new(0));
    let seen = Rc::clone(&up);
    p.filter = Box::new(move |to_server, n, bytes| {
        // Only the first datagram arrives: as if its sender did not exist.
        if to_server && n == 0 {
            seen.set(bytes.len());
            return Fate::Pass;
        }
        Fate::Drop
    });
    p.connect(Vec::new());
    p.run(120 * SECOND, |p| p.server.connections.is_empty() && p.client.connections.is_empty());
    assert!(p.bytes[0] > 0 && p.bytes[0] <= 3 * up.get(), "{} for {}", p.bytes[0], up.get());
    assert_eq!(p.server.endpoint.route_count() + p.client.endpoint.route_count(), 0);
}

#[test]
fn resumption_with_early_data() {
    let mut p = Setup { early_data: true, ..Default::default() }.build();
    p.connect(Vec::new());
    p.establish();
    echo(&mut p, 1000);
    p.run(SECOND, |p| p.client.events.iter().any(|(_, e)| matches!(e, Event::NewToken(_))));
    shut(&mut p);
    p.client.events.clear();
    p.server.events.clear();
    // Second time: data in the first flight; the wire lets 0-RTT overtake the Initial where they are apart.
    let sent_before = p.sent[1];
    p.filter = Box::new(
        move |up, n, _| {
            if up && n == sent_before { Fate::Delay(Duration::from_millis(3)) } else { Fate::Pass }
        },
    );
    p.connect(Vec::new());
    // Before the server's answer could have come back.
    send_early(&mut p, Duration::from_millis(20));
    shut(&mut p);
}

/// 5000 bytes of early data on the client's new connection: all there within `limit`, and accepted.
fn send_early(p: &mut Pair, limit: Duration) {
    let data = pattern(5000);
    let id = p.client.only().open(Dir::Bi).expect("a stream before the handshake");
    let mut at = 0;
    push(p.client.only(), id, &data, &mut at);
    let start = p.now;
    let mut got = Vec::new();
    p.run(SECOND, |p| !p.server.connections.is_empty() && read_all(p.server.only(), id, &mut got));
    assert!(got == data);
    assert!(p.now.since(start) < limit, "{}", p.describe());
    p.establish();
    let accepted = |e: &Event| matches!(e, Event::Connected { zero_rtt_accepted: Some(true), resumed: true });
    assert!(p.client.events.iter().any(|(_, e)| accepted(e)), "{}", p.describe());
}

/// RFC 9000 section 17.2.5.3: after a Retry, 0-RTT packets are sent again and taken.
#[test]
fn early_data_with_a_retry() {
    let mut p = Setup { early_data: true, ..Default::default() }.build();
    p.connect(Vec::new());
    p.establish();
    echo(&mut p, 1000);
    p.run(SECOND, |p| p.client.events.iter().any(|(_, e)| matches!(e, Event::NewToken(_))));
    shut(&mut p);
    p.client.events.clear();
    p.server.events.clear();
    p.server.endpoint.set_retry(RetryPolicy::Always);
    // With a token that means nothing to this server, or it would not ask.
    p.connect(b"of another server".to_vec());
    // One round trip later, not two.
    send_early(&mut p, Duration::from_millis(40));
    assert_eq!(p.server.endpoint.stats().retries_sent, 1);
    shut(&mut p);
}

#[test]
fn server_restart_ends_in_a_stateless_reset() {
    let mut p = Setup::default().build();
    p.connect(Vec::new());
    p.establish();
    echo(&mut p, 1000);
    // A new process with the same secret knows nothing of the connection.
    let cfg = EndpointConfig { server: true, secret: [2; 32], ..Default::default() };
    p.server.endpoint = Endpoint::new(cfg, pair::rng_source(99));
    p.server.connections.clear();
    p.client.only().ping();
    p.run(5 * SECOND, |p| p.client.connections.is_empty());
    let reset = |e: &Event| matches!(e, Event::Closed(CloseReason::StatelessReset));
    assert!(p.client.events.iter().any(|(_, e)| reset(e)), "{}", p.describe());
    assert_eq!(p.server.endpoint.stats().resets_sent, 1);
    assert_eq!(p.client.endpoint.route_count(), 0);
}

#[test]
fn rebinding_by_a_nat() {
    let mut p = Setup::default().build();
    p.connect(Vec::new());
    p.establish();
    for port in 2000..2010u16 {
        p.nat = Some(format!("198.51.100.1:{port}").parse().unwrap());
        echo(&mut p, 30_000);
        let seen = p.server.only().path().remote;
        assert_eq!(seen.port(), port, "{}", p.describe());
    }
    shut(&mut p);
}

#[test]
fn many_connections() {
    let mut p = Setup::default().build();
    for _ in 0..50 {
        p.connect(Vec::new());
    }
    p.run(10 * SECOND, |p| {
        p.server.connections.len() == 50
            && p.client.connections.values().chain(p.server.connections.values()).all(|c| c.is_confirmed())
    });
    let now = p.now;
    for c in p.client.connections.values_mut() {
        c.close(0, b"", now);
    }
    p.run(20 * SECOND, |p| p.client.connections.is_empty() && p.server.connections.is_empty());
    assert_eq!(p.client.endpoint.route_count() + p.server.endpoint.route_count(), 0);
}
