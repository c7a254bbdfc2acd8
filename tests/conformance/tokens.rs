//! Retry and address validation tokens (RFC 9000 sections 8.1 and 17.2.5).
use whimbrel::base::codes::transport::*;
use whimbrel::base::{ConnectionId, Level, Side};
use whimbrel::crypto::initial_keys;
use whimbrel::endpoint::RetryPolicy;
use whimbrel::wire::{TransportParameters, retry};

use super::peer::{Got, Peer, Shape};
use super::world::{ALPN, Setup, V1, V2, World, addr, client_tls, connected};

const ELSEWHERE: &str = "192.0.2.77:7777";

fn retrying() -> World {
    World::server_with(Setup { retry: RetryPolicy::Always, ..Default::default() })
}

fn hello(version: u32) -> Peer {
    Peer::client(&client_tls(&ALPN, false), version, |p| p)
}

/// Gets a Retry and follows it: the next Initial has its token and goes to its connection ID.
fn follow_retry(world: &mut World, version: u32) -> Peer {
    let first = hello(version).flush().remove(0);
    world.deliver(&first);
    let (_, answer) = world.out.pop().expect("a Retry");
    assert_eq!((world.connections.len(), world.endpoint.stats().retries_sent), (0, 1));
    let answer = retry::parse_retry(&answer).unwrap();
    // The ClientHello again, from its beginning.
    let mut peer = hello(version);
    peer.token = answer.token.to_vec();
    peer.dcid = answer.scid;
    peer.initial = Some(initial_keys(version, &answer.scid, Side::Client));
    peer.next_pn = 1;
    peer
}

fn initial(peer: &mut Peer) -> Vec<u8> {
    let hello = peer.crypto_piece(Level::Initial);
    peer.padded(&hello, 1250)
}

/// Also the baseline: with the token from the right place there is a connection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
//= type=test
//# The values provided by a peer for these transport parameters MUST match the values that an endpoint used in the
//# Destination and Source Connection ID fields of Initial packets that it sent (and received, for servers).
//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//= type=test
//# If the server sends a Retry packet, it MUST use the original version.
#[test]
fn retry_is_followed_section_8_1_2() {
    for version in [V1, V2] {
        let mut world = retrying();
        let mut peer = follow_retry(&mut world, version);
        let retry_scid = peer.dcid;
        world.exchange(&mut peer);
        peer.expect_open("8.1.2");
        assert!(peer.saw(|g| *g == Got::HandshakeDone));
        // RFC 9000 section 7.3: the server names the connection IDs of all its packets, and the client's first choice.
        let told = TransportParameters::decode(peer.peer_parameters.as_ref().unwrap(), Side::Server).unwrap();
        assert_eq!(told.original_destination_connection_id, ConnectionId::new(b"firstdcid"));
        assert_eq!(told.retry_source_connection_id, Some(retry_scid));
        assert_eq!(told.initial_source_connection_id, Some(peer.dcid));
    }
}

/// RFC 9000 section 8.1.2: INVALID_TOKEN for a Retry token from another address, port, connection ID or version.
#[test]
fn retry_token_from_elsewhere_section_8_1_2() {
    for place in [ELSEWHERE, "198.51.100.10:6666"] {
        let mut world = retrying();
        let mut peer = follow_retry(&mut world, V1);
        let datagram = initial(&mut peer);
        world.deliver_from(addr(place), &datagram);
        for (to, answer) in std::mem::take(&mut world.out) {
            assert_eq!(to, addr(place));
            peer.receive(&answer);
        }
        let close = peer.close().expect("8.1.2").clone();
        assert_eq!((close.code, close.app, close.level), (INVALID_TOKEN, false, Level::Initial));
        assert_eq!(world.connections.len(), 0);
        assert_eq!(world.endpoint.stats().invalid_tokens, 1);
    }
    // The connection ID is part of what the token is for.
    let mut world = retrying();
    let mut peer = follow_retry(&mut world, V1);
    peer.dcid = ConnectionId::new(b"another8").unwrap();
    peer.initial = Some(initial_keys(V1, &peer.dcid, Side::Client));
    let datagram = initial(&mut peer);
    world.send(&mut peer, &datagram);
    assert_eq!(peer.close().map(|c| c.code), Some(INVALID_TOKEN));
    assert_eq!(world.connections.len(), 0);
}

/// A token that is changed in one bit is none: it is answered with another Retry, not with a connection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//= type=test
//# For this design to work, the token MUST be covered by integrity protection against modification or falsification by
//# clients.
#[test]
fn damaged_token_section_8_1_3() {
    let mut world = retrying();
    let mut peer = follow_retry(&mut world, V1);
    let good = peer.token.clone();
    let hello = peer.crypto_piece(Level::Initial);
    let mut payload = hello.clone();
    payload.resize(1200, 0);
    for at in 0..good.len() {
        let mut token = good.clone();
        token[at] ^= 0x10;
        let shape = Shape { token: Some(&token), ..Default::default() };
        let datagram = peer.packet_as(Level::Initial, &payload, shape);
        world.deliver(&datagram);
        world.turn();
        world.out.clear();
        assert_eq!(world.connections.len(), 0, "byte {at}");
    }
    for token in [&good[..good.len() - 1], &[good[0]], &[0; 1], &[0xff; 600]] {
        let shape = Shape { token: Some(token), ..Default::default() };
        let datagram = peer.packet_as(Level::Initial, &payload, shape);
        world.deliver(&datagram);
        world.out.clear();
        assert_eq!(world.connections.len(), 0);
    }
    // The whole one still works.
    let datagram = peer.packet(Level::Initial, &payload);
    world.send(&mut peer, &datagram);
    peer.expect_open("8.1.3");
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
}

/// RFC 9000 section 8.1.4: a Retry token lives for seconds.
#[test]
fn old_retry_token_section_8_1_4() {
    let mut world = retrying();
    let mut peer = follow_retry(&mut world, V1);
    world.now = world.now + std::time::Duration::from_secs(60);
    let datagram = initial(&mut peer);
    world.send(&mut peer, &datagram);
    assert!(!peer.saw(|g| *g == Got::HandshakeDone));
    assert!(matches!(peer.close(), None | Some(super::peer::Close { code: INVALID_TOKEN, .. })));
    assert_eq!(world.connections.len(), 0);
}

/// RFC 9000 section 8.1.3: a NEW_TOKEN token validates the address that it was given to and no other; from
/// another one it is as if there were none.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//= type=test
//# Tokens sent in NEW_TOKEN frames MUST include information that allows the server to verify that the client IP address
//# has not changed from when the token was issued.
#[test]
fn new_token_from_another_address_section_8_1_3() {
    let (mut world, peer) = connected();
    let token = peer.log.iter().find_map(|g| match g {
        Got::NewToken(token) => Some(token.clone()),
        _ => None,
    });
    let token = token.expect("a token");
    // As many bytes as the address is worth, before anything comes back from there.
    let mut start = |place: &str, token: &[u8], dcid: &[u8]| -> u64 {
        let mut next = hello(V1);
        next.token = token.to_vec();
        next.dcid = ConnectionId::new(dcid).unwrap();
        next.initial = Some(initial_keys(V1, &next.dcid, Side::Client));
        let datagram = initial(&mut next);
        world.deliver_from(addr(place), &datagram);
        world.turn();
        world.out.clear();
        world.endpoint.stats().validated_by_token
    };
    assert_eq!(start(ELSEWHERE, &token, b"elsewhere"), 0);
    assert_eq!(start(super::world::EVIL, b"no token at all", b"junk token"), 0);
    assert_eq!(start(super::world::EVIL, &token, b"the same"), 1);
    assert_eq!(world.connections.len(), 4, "none of them is refused");
}
