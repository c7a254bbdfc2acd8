//! The version changes within the handshake, both ways: with Retry, loss, tickets, 0-RTT (RFC 9368, RFC 9369).
use core::time::Duration;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::super::{ConnectionConfig, EarlyData, Event};
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls};
use crate::base::codes::{VERSION_1, VERSION_2};
use crate::base::{ConnectionId, Dir, Side, Timestamp};
use crate::crypto::{ClientTls, ServerTls};
use crate::wire::{PacketType, header};

const LIMIT: Duration = Duration::from_secs(20);

/// A client that speaks both and starts with `first`.
fn client(first: u32) -> ConnectionConfig {
    ConnectionConfig { versions: vec![VERSION_1, VERSION_2], initial_version: Some(first), ..config() }
}

/// A server that wants `best` most.
fn server(best: u32) -> ConnectionConfig {
    ConnectionConfig { versions: vec![best, other(best)], choose_version: true, ..config() }
}

fn other(version: u32) -> u32 {
    if version == VERSION_1 { VERSION_2 } else { VERSION_1 }
}

/// Kind and version of every long header that went over the wire, and from whom.
type Seen = Rc<RefCell<BTreeSet<(bool, u8, u32)>>>;

fn long_headers(mut bytes: &[u8], from: Side, seen: &Seen) {
    while let Ok(head) = header::parse_greased(bytes, 8) {
        if head.ty == PacketType::Short {
            break;
        }
        seen.borrow_mut().insert((from.is_client(), head.ty as u8, head.version));
        let Some(rest) = bytes.get(head.packet_len..).filter(|r| !r.is_empty()) else { break };
        bytes = rest;
    }
}

fn watched(p: &mut Pair, lose: Option<(Side, u64)>) -> Seen {
    let seen = Seen::default();
    let sink = seen.clone();
    p.hook = Box::new(move |from, i, bytes| {
        long_headers(bytes, from, &sink);
        if lose == Some((from, i)) { Fate::Drop } else { Fate::Deliver }
    });
    seen
}

fn pair(first: u32, best: u32, tls: &Arc<ClientTls>, server_tls: &Arc<ServerTls>, seed: u64) -> Pair {
    let at = Timestamp(1_000_000_000 * (1 + seed));
    Pair::starting(Arc::new(client(first)), Arc::new(server(best)), tls, server_tls.clone(), at, seed)
}

#[track_caller]
fn check(p: &mut Pair, version: u32) {
    assert_eq!((p.client.conn.version(), p.server().conn.version()), (version, version));
    for side in [Side::Client, Side::Server] {
        let id = p.start(side, Dir::Bi);
        let data = pattern(30_000);
        assert!(p.transfer(side, id, &data, LIMIT) == data);
    }
}

/// RFC 9369 section 4.1: who says what in which version.
#[test]
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.3
//= type=test
//# In order to perform compatible version negotiation, the server MUST
//# select one of these versions that it (1) supports and (2) knows the
//# client's Chosen Version is compatible with.
//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//= type=test
//# The server MUST send all CRYPTO
//# frames using the negotiated version.
//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//= type=test
//# Both endpoints MUST send Handshake and 1-RTT packets using the
//# negotiated version.
//= https://www.rfc-editor.org/rfc/rfc9368#section-3
//= type=test
//# Any version of QUIC that supports this mechanism MUST provide a mechanism to exchange Version Information in
//# both directions during the handshake, such that this data is authenticated.
fn the_server_chooses_within_the_handshake() {
    for first in [VERSION_1, VERSION_2] {
        let best = other(first);
        let mut p = pair(first, best, &client_tls(), &server_tls(), 3);
        let seen = watched(&mut p, None);
        let mut p = p.connected();
        check(&mut p, best);
        let (initial, handshake) = (PacketType::Initial as u8, PacketType::Handshake as u8);
        let seen = seen.borrow();
        assert!(seen.contains(&(true, initial, first)), "the client starts with its own choice");
        assert!(seen.contains(&(true, initial, best)), "and goes on with that of the server");
        let wrong: Vec<_> = seen.iter().filter(|s| s.2 == first && (!s.0 || s.1 == handshake)).collect();
        assert!(wrong.is_empty(), "only the client's Initial packets have the original version: {wrong:?}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc9368#section-2.2
//= type=test
//# Implementations MUST NOT assume compatibility between versions unless explicitly specified.
#[test]
fn without_a_wish_of_the_server_the_clients_choice_stands() {
    for first in [VERSION_1, VERSION_2] {
        let mut p = Pair::with(client(first), config(), &client_tls(), server_tls()).connected();
        check(&mut p, first);
        let same = ConnectionConfig { choose_version: true, versions: vec![first, other(first)], ..config() };
        let mut p = Pair::with(client(first), same, &client_tls(), server_tls()).connected();
        check(&mut p, first);
        // A client that offers one version only is not moved.
        let only = ConnectionConfig { versions: vec![first], ..config() };
        let mut p = Pair::with(only, server(other(first)), &client_tls(), server_tls()).connected();
        check(&mut p, first);
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//= type=test
//# After switching to a negotiated version after a Retry, the
//# server MUST include the relevant transport parameters to validate that
//# the server sent the Retry and the connection IDs used in the exchange
//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//= type=test
//# The
//# client MUST NOT use a different version in the subsequent Initial packet
//# that contains the Retry token.
fn after_a_retry() {
    use crate::crypto::retry_tag;
    use crate::wire::{Writer, retry};
    for first in [VERSION_1, VERSION_2] {
        let mut p = pair(first, other(first), &client_tls(), &server_tls(), 4);
        p.flush();
        let hs = p.client.conn.hs.as_ref().unwrap();
        let (odcid, scid) = (hs.odcid, ConnectionId::new(b"retry-id").unwrap());
        let write = |version: u32| {
            let mut buf = [0; 300];
            let mut w = Writer::new(&mut buf);
            retry::write_retry(&mut w, version, &p.client.conn.local_cid(), &scid, b"token", 0).unwrap();
            let tag = retry_tag(version, &odcid, w.written());
            w.bytes(&tag).unwrap();
            w.written().to_vec()
        };
        // One of another version is not ours, whatever its tag.
        let (mut wrong, mut right) = (write(other(first)), write(first));
        let (at, now) = (super::pair::tuple("10.0.0.1:1000", 0), p.now);
        p.flights.clear();
        p.client.conn.receive(&at, crate::base::Ecn::NotEct, &mut wrong, now);
        assert_eq!(p.client.conn.stats().retries, 0);
        p.client.conn.receive(&at, crate::base::Ecn::NotEct, &mut right, now);
        assert_eq!(p.client.conn.stats().retries, 1);
        // What the server took out of the token.
        ODCID.with(|o| o.set(Some(odcid)));
        p.accept = |params| {
            params.odcid = ODCID.with(std::cell::Cell::get).unwrap();
            params.retry_scid = Some(params.initial_dcid);
            params.address_validated = true;
        };
        let seen = watched(&mut p, None);
        let token_version = Rc::new(RefCell::new(BTreeSet::new()));
        let (sink, versions) = (seen, token_version.clone());
        p.hook = Box::new(move |from, _, bytes| {
            long_headers(bytes, from, &sink);
            if let Ok(head) = header::parse_greased(bytes, 8)
                && head.ty == PacketType::Initial
                && !head.token.is_empty()
                && head.dcid.as_slice() == b"retry-id"
            {
                versions.borrow_mut().insert(head.version);
            }
            Fate::Deliver
        });
        let mut p = p.connected();
        check(&mut p, other(first));
        assert_eq!(*token_version.borrow(), BTreeSet::from([first]));
    }
}

thread_local! {
    static ODCID: std::cell::Cell<Option<ConnectionId>> = const { std::cell::Cell::new(None) };
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//= type=test
//# The server MUST NOT
//# discard its original version Initial receive keys until it
//# successfully processes a Handshake packet with the negotiated
//# version.
fn any_datagram_may_be_lost() {
    for side in [Side::Client, Side::Server] {
        for index in 0..6 {
            let mut p = pair(VERSION_1, VERSION_2, &client_tls(), &server_tls(), 5);
            watched(&mut p, Some((side, index)));
            let mut p = p.connected();
            check(&mut p, VERSION_2);
        }
        // The server's first answers are all lost: the client repeats its ClientHello in the original version, and the
        // server, which has moved on, still reads it.
        let mut p = pair(VERSION_1, VERSION_2, &client_tls(), &server_tls(), 6);
        p.hook = Box::new(|from, i, _| if from.is_server() && i < 4 { Fate::Drop } else { Fate::Deliver });
        let mut p = p.connected();
        check(&mut p, VERSION_2);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9368#section-2.3
//= type=test
//# In particular, if the Negotiated Version mandates that endpoints perform validations on Handshake packets,
//# endpoints MUST also perform such validations on the converted first flight.
#[test]
fn a_bad_wire() {
    use crate::base::{Pcg, Rng};
    for seed in 0..60 {
        let mut p =
            pair(VERSION_1 + u32::from(seed % 2 == 1) * (VERSION_2 - 1), VERSION_2, &client_tls(), &server_tls(), seed);
        let mut rng = Pcg::new(seed);
        p.hook = Box::new(move |_, _, _| match rng.below(10) {
            0..=2 => Fate::Drop,
            3 => Fate::Twice,
            4 | 5 => Fate::Late(Duration::from_millis(rng.below(60))),
            _ => Fate::Deliver,
        });
        p.run_until(Duration::from_secs(9), |p| {
            p.client.conn.is_established() && p.server.as_ref().is_some_and(|s| s.conn.is_confirmed())
        });
        assert_eq!((p.client.conn.version(), p.server().conn.version()), (VERSION_2, VERSION_2), "seed {seed}");
    }
}

/// Leaves a ticket behind; closes.
fn visit(first: u32, best: u32, tls: &Arc<ClientTls>, server_tls: &Arc<ServerTls>) {
    let mut p = pair(first, best, tls, server_tls, 8).connected();
    assert_eq!(p.client.conn.version(), best);
    p.run_for(Duration::from_millis(200));
    let now = p.now;
    p.client.conn.close(0, b"", now);
    p.run_for(Duration::from_secs(2));
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9369#section-5
//= type=test
//# Clients MUST NOT use a session ticket or token from a QUIC version 1
//# connection to initiate a QUIC version 2 connection, and vice versa.
fn a_ticket_belongs_to_the_negotiated_version() {
    let (tls, stls) = (client_tls(), server_tls());
    visit(VERSION_1, VERSION_2, &tls, &stls);
    // The client would start with version 1, but its ticket is for version 2.
    let mut p = pair(VERSION_1, VERSION_2, &tls, &stls, 9);
    assert_eq!((p.client.conn.version(), p.client.conn.early_data()), (VERSION_2, EarlyData::Pending));
    let id = p.start(Side::Client, Dir::Bi);
    let data = pattern(4_000);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
    let p = p.connected();
    assert!(p.client.saw(|e| matches!(e, Event::Connected { zero_rtt_accepted: Some(true), resumed: true })));
    // A client that speaks version 1 only has no ticket to show.
    let only = ConnectionConfig { versions: vec![VERSION_1], ..config() };
    let p = Pair::with(only, config(), &tls, stls).connected();
    assert_eq!(p.client.conn.early_data(), EarlyData::None);
    assert!(p.client.saw(|e| matches!(e, Event::Connected { resumed: false, .. })));
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//= type=test
//# The client MUST NOT send 0-RTT packets using the negotiated version,
//# even after processing a packet of that version from the server.
fn early_data_stays_in_the_original_version() {
    for lose in [None, Some((Side::Client, 0)), Some((Side::Client, 1)), Some((Side::Server, 0))] {
        for first in [VERSION_1, VERSION_2] {
            let (tls, stls) = (client_tls(), server_tls());
            visit(first, first, &tls, &stls);
            let mut p = pair(first, other(first), &tls, &stls, 10);
            let seen = watched(&mut p, lose);
            assert_eq!(p.client.conn.early_data(), EarlyData::Pending);
            let id = p.start(Side::Client, Dir::Bi);
            let data = pattern(60_000);
            assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
            let mut p = p.connected();
            assert_eq!(p.client.conn.early_data(), EarlyData::Accepted, "{lose:?}");
            check(&mut p, other(first));
            let early: BTreeSet<u32> =
                seen.borrow().iter().filter(|s| s.1 == PacketType::ZeroRtt as u8).map(|s| s.2).collect();
            assert_eq!(early, BTreeSet::from([first]));
        }
    }
}
