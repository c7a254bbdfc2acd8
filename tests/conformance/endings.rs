//! Ends of connections and what of them anybody on the path may see (RFC 9000 sections 10.2, 10.3 and 11).
use whimbrel::base::codes::transport::*;
use whimbrel::base::{Level, SpaceId};
use whimbrel::wire::stateless_reset;

use super::peer::{Close, Got, Peer, Shape, stream};
use super::world::{EVIL, SECOND, Setup, V1, World, addr, client_with, connected, until_done};

const PING: &[u8] = &[1, 0, 0, 0, 0];

fn closes(peer: &Peer) -> Vec<&Close> {
    let mut out = Vec::new();
    for got in &peer.log {
        if let Got::Close(c) = got {
            out.push(c);
        }
    }
    out
}

/// The application's code and words travel in 1-RTT packets only; what stands in for them elsewhere says nothing.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.3
//= type=test
//# A CONNECTION_CLOSE of type 0x1d MUST be replaced by a CONNECTION_CLOSE of type 0x1c when sending the frame in
//# Initial or Handshake packets.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.3
//= type=test
//# Endpoints MUST clear the value of the Reason Phrase field and SHOULD use the APPLICATION_ERROR code when converting
//# to a CONNECTION_CLOSE of type 0x1c.
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.5
//= type=test
//# CONNECTION_CLOSE frames signaling application errors (type 0x1d) MUST only appear in the application data packet
//# number space.
#[test]
fn application_close_in_the_handshake_section_10_2_3() {
    let (mut world, mut peer) = client_with(Setup { http3: false, ..Default::default() }, V1, |p| p);
    until_done(&mut world, &mut peer);
    let now = world.now;
    world.connection().close(0x55, b"secret", now);
    world.exchange(&mut peer);
    let all = closes(&peer);
    assert!(all.iter().any(|c| c.level == Level::Handshake), "{all:?}");
    for c in all {
        if c.level == Level::OneRtt {
            assert!(c.app && c.code == 0x55 && c.reason == "secret");
        } else {
            assert!(!c.app && c.code == APPLICATION_ERROR && c.reason.is_empty(), "{c:?}");
        }
    }
}

/// After confirmation nothing but a 1-RTT packet says it.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.3
//= type=test
//# After the handshake is confirmed (see Section 4.1.2 of [QUIC-TLS]), an endpoint MUST send any CONNECTION_CLOSE
//# frames in a 1-RTT packet.
#[test]
fn close_after_confirmation_section_10_2_3() {
    for app in [true, false] {
        let (mut world, mut peer) = connected();
        let now = world.now;
        if app {
            world.connection().close(7, b"bye", now);
            world.exchange(&mut peer);
        } else {
            world.frames(&mut peer, Level::OneRtt, &[0x20, 0, 0, 0]);
        }
        for _ in 0..20 {
            world.frames(&mut peer, Level::OneRtt, PING);
        }
        let all = closes(&peer);
        assert!(all.len() > 1 && all.iter().all(|c| c.level == Level::OneRtt && c.app == app), "{all:?}");
    }
}

/// Packets from somewhere else while the connection is closing: answers go to the address that was validated, if any.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.1
//= type=test
//# An endpoint in the closing state MUST either discard packets received from an unvalidated address or limit the
//# cumulative size of packets it sends to an unvalidated address to three times the size of packets it receives from
//# that address.
#[test]
fn closing_and_strange_addresses_section_10_2_1() {
    let (mut world, mut peer) = connected();
    let now = world.now;
    world.connection().close(7, b"bye", now);
    world.turn();
    world.out.clear();
    let stranger = addr("203.0.113.77:7777");
    for _ in 0..200 {
        let packet = peer.packet(Level::OneRtt, PING);
        world.deliver_from(stranger, &packet);
        world.turn();
    }
    assert!(world.out.iter().all(|(to, _)| *to == addr(EVIL)), "nothing goes where nobody was validated");
}

/// Draining: silent, whatever comes and whatever was queued.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.2
//= type=test
//# While otherwise identical to the closing state, an endpoint in the draining state MUST NOT send any packets.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.2
//= type=test
//# An endpoint MUST NOT send further packets.
#[test]
fn draining_is_silent_section_10_2_2() {
    let (mut world, mut peer) = connected();
    let close = [0x1c, 0x00, 0x00, 0x00];
    let packet = peer.packet(Level::OneRtt, &close);
    world.deliver(&packet);
    let before = world.bytes[1];
    for _ in 0..50 {
        world.frames(&mut peer, Level::OneRtt, &[PING, &stream(0, 0, b"answer me", false)].concat());
    }
    world.pass(&mut peer, 30 * SECOND);
    assert_eq!(world.bytes[1], before);
    assert!(world.connections.is_empty());
}

/// A reset may look like anything: with a long header, as a packet of this connection, of another, of another version.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
//= type=test
//# However, endpoints MUST treat any packet ending in a valid stateless reset token as a Stateless Reset, as other QUIC
//# versions might allow the use of a long header.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
//= type=test
//# However, the comparison MUST be performed when the first packet in an incoming datagram either cannot be associated
//# with a connection or cannot be decrypted.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
//= type=test
//# If the last 16 bytes of the datagram are identical in value to a stateless reset token, the endpoint MUST enter the
//# draining period and not send any further packets on this connection.
#[test]
fn any_datagram_that_ends_in_the_token_section_10_3() {
    let token = [0xcc; 16];
    let (world, peer) = super::client_role::established(false);
    let cid = peer.dcid;
    drop(world);
    let mut long = vec![0xe5, 0, 0, 0, 1, cid.len() as u8];
    long.extend(cid.as_slice());
    long.extend(b"\x08evilpeer\x20");
    long.extend([0x5a; 16]);
    let mut short = vec![0x41];
    short.extend(cid.as_slice());
    short.extend([0x5a; 20]);
    let stranger = vec![0x55; 30];
    let other_version = [&[0xc0, 9, 9, 9, 9, 3, 1, 2, 3, 0][..], &[7; 30]].concat();
    for (n, head) in [long, short, stranger, other_version].into_iter().enumerate() {
        let (mut world, mut peer) = super::client_role::established(false);
        let before = world.bytes[1];
        let mut wrong = [head.clone(), token.to_vec()].concat();
        *wrong.last_mut().unwrap() ^= 1;
        world.send(&mut peer, &wrong);
        assert!(world.close_reason().is_none(), "form {n}");
        world.send(&mut peer, &[head, token.to_vec()].concat());
        let reason = world.close_reason();
        assert!(matches!(reason, Some(whimbrel::connection::CloseReason::StatelessReset)), "form {n}: {reason:?}");
        // And then nothing is sent, whatever comes.
        for _ in 0..20 {
            world.frames(&mut peer, Level::OneRtt, PING);
        }
        world.pass(&mut peer, 30 * SECOND);
        assert_eq!(world.bytes[1], before, "form {n}");
    }
}

/// Small packets cannot be read, by anyone: no length below that of a reset provokes anything.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
//= type=test
//# Endpoints MUST discard packets that are too small to be valid QUIC packets.
#[test]
fn too_small_for_a_packet_section_10_3() {
    let mut world = World::server();
    for len in 0..=stateless_reset::MIN_LEN {
        for first in [0x40u8, 0x5f, 0xc0, 0xff] {
            world.deliver(&vec![first; len]);
        }
    }
    assert!(world.out.is_empty() && world.connections.is_empty());
    // The same to a connection: a packet without enough bytes for a sample is dropped.
    let (mut world, mut peer) = connected();
    let whole = peer.packet(Level::OneRtt, PING);
    let dropped = world.connection().stats().packets_dropped;
    for len in 1 + peer.dcid.len()..1 + peer.dcid.len() + 4 + 16 {
        world.deliver(&whole[..len]);
    }
    world.exchange(&mut peer);
    assert!(world.connection().stats().packets_dropped >= dropped + 19);
    peer.expect_open("10.3");
}

/// Packet protection comes off before a number counts as used: a forgery with an old number is a forgery.
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
//= type=test
//# Duplicate suppression MUST happen after removing packet protection for the reasons described in Section 9.5 of
//# [QUIC-TLS].
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
//= type=test
//# A receiver MUST discard a newly unprotected packet unless it is certain that it has not processed another packet
//# with the same packet number from the same packet number space.
#[test]
fn duplicates_are_judged_after_decryption_section_12_3() {
    let (mut world, mut peer) = connected();
    let packet = peer.packet(Level::OneRtt, PING);
    let before = world.connection().stats();
    world.send(&mut peer, &packet);
    world.send(&mut peer, &packet);
    let after = world.connection().stats();
    assert_eq!((after.packets_received, after.packets_duplicate), (before.packets_received + 1, 1));
    let mut forged = packet.clone();
    *forged.last_mut().unwrap() ^= 1;
    world.send(&mut peer, &forged);
    let last = world.connection().stats();
    assert_eq!((last.packets_dropped, last.packets_duplicate), (after.packets_dropped + 1, 1));
    // So reserved bits under protection are an error even with a used number, and a used number is never read again.
    let shape = Shape { pn: Some(peer.next_pn - 1), ..Default::default() };
    world.frames_as(&mut peer, Level::OneRtt, &[0x20, 0, 0, 0], shape);
    peer.expect_open("12.3");
    assert!(peer.acked[SpaceId::Data.index()].contains(&(peer.next_pn - 2)) || peer.close().is_none());
}

/// NEW_TOKEN is a server's frame, and never empty.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.7
//= type=test
//# The token MUST NOT be empty.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.7
//= type=test
//# Clients MUST NOT send NEW_TOKEN frames.
#[test]
fn new_token_from_the_right_side_section_19_7() {
    let (mut world, mut peer) = super::client_role::established(false);
    world.connection().send_new_token(b"a client has none to give".to_vec());
    world.exchange(&mut peer);
    assert!(!peer.saw(|g| matches!(g, Got::NewToken(_))));
    let (mut world, mut peer) = connected();
    let tokens = |peer: &Peer| peer.log.iter().filter(|g| matches!(g, Got::NewToken(_))).count();
    let before = tokens(&peer);
    world.connection().send_new_token(Vec::new());
    world.exchange(&mut peer);
    assert_eq!(tokens(&peer), before);
    world.connection().send_new_token(b"one".to_vec());
    world.exchange(&mut peer);
    assert!(peer.saw(|g| *g == Got::NewToken(b"one".to_vec())));
}
