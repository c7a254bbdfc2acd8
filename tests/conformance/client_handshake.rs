//! What our client sends until its handshake is confirmed, and what it takes (RFC 9000 sections 5.2.1, 7.2 to 7.4, 8.1).
use whimbrel::base::{ConnectionId, Level, Side};
use whimbrel::connection::EarlyData;
use whimbrel::crypto::initial_keys;
use whimbrel::wire::frame::write_ack;
use whimbrel::wire::{Frame, PacketType, TransportParameters, Writer, header};

use super::client_role::{established, facing, retry_for, start, tls};
use super::peer::{Got, Peer, Shape, frames};
use super::world::{SECOND, V1, V2, World, addr, client_tls, server_tls};

/// The first packet of a datagram: type, destination, token.
fn head(datagram: &[u8]) -> (PacketType, ConnectionId, Vec<u8>) {
    let head = header::parse(datagram, 8).unwrap();
    (head.ty, head.dcid, head.token.to_vec())
}

/// The packets of a datagram.
fn kinds(datagram: &[u8]) -> Vec<PacketType> {
    let (mut out, mut at) = (Vec::new(), 0);
    while let Ok(head) = header::parse(&datagram[at..], 8) {
        out.push(head.ty);
        at += head.packet_len;
    }
    out
}

/// What the client sends while nothing comes back.
fn alone(world: &mut World, seconds: u32) -> Vec<Vec<u8>> {
    let end = world.now + seconds * SECOND;
    let mut out = Vec::new();
    loop {
        world.turn();
        out.extend(std::mem::take(&mut world.out).into_iter().map(|(_, datagram)| datagram));
        match world.connection().deadline().filter(|at| *at < end) {
            Some(at) => world.now = world.now.max(at),
            None => return out,
        }
    }
}

/// One random ID of at least 8 bytes until the server answers; the parameters name what the headers do.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//= type=test
//# This Destination Connection ID MUST be at least 8 bytes in length.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//= type=test
//# Until a packet is received from the server, the client MUST use the same Destination Connection ID value on all
//# packets in this connection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
//= type=test
//# The values provided by a peer for these transport parameters MUST match the values that an endpoint used in the
//# Destination and Source Connection ID fields of Initial packets that it sent (and received, for servers).
#[test]
fn first_connection_id_section_7_2() {
    let (mut world, first) = start(false);
    let (_, dcid, _) = head(&first);
    assert!(dcid.len() >= 8);
    let more = alone(&mut world, 8);
    assert!(more.len() >= 2, "probes");
    for datagram in &more {
        let (ty, to, _) = head(datagram);
        assert_eq!((ty, to), (PacketType::Initial, dcid));
        assert!(datagram.len() >= 1200);
    }
    let peer = Peer::server(&tls().1, &first, |p| p);
    let told = TransportParameters::decode(peer.peer_parameters.as_ref().unwrap(), Side::Client).unwrap();
    assert_eq!(told.initial_source_connection_id, Some(header::parse(&first, 0).unwrap().scid));
    // Another connection goes to another ID.
    let mut world = World::client(&tls().0, false);
    world.connect(&tls().0);
    assert_ne!(head(&world.out[0].1).1, head(&world.out[1].1).1);
}

/// A packet of another version is dropped, whatever is in it.
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.2.1
//= type=test
//# If a client receives a packet that uses a different version than it initially selected, it MUST discard that packet.
#[test]
fn another_version_section_5_2_1() {
    let (mut world, mut peer) = facing(|p| p);
    let payload = [&[0x20][..], &[0; 1100]].concat();
    let mut flight = peer.flush();
    for level in [Level::Initial, Level::Handshake] {
        let bad = peer.packet_as(level, &payload, Shape { version: Some(V2), ..Default::default() });
        world.deliver(&bad);
        if level == Level::Initial {
            world.deliver(&flight.remove(0));
        }
    }
    flight.iter().for_each(|d| world.deliver(d));
    world.exchange(&mut peer);
    peer.expect_open("5.2.1");
    assert!(peer.done);
}

/// The token of NEW_TOKEN goes into every Initial packet; that of a Retry takes its place, at once.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.2
//= type=test
//# This token MUST be repeated by the client in all Initial packets it sends for that connection after it receives the
//# Retry packet.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
//= type=test
//# The client MUST include the token in all Initial packets it sends, unless a Retry replaces the token with a newer
//# one.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
//= type=test
//# The client MUST NOT use the token provided in a Retry for future connections.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
//= type=test
//# In comparison, a token obtained in a Retry packet MUST be used immediately during the connection attempt and cannot
//# be used in subsequent connection attempts.
#[test]
fn tokens_in_initial_packets_section_8_1() {
    let mut world = World::client(&client_tls(&["h3"], false), false);
    world.connections.clear();
    world.out.clear();
    world.connect_with(&tls().0, b"of another day".to_vec());
    let sent = alone(&mut world, 4);
    assert!(sent.len() > 2 && sent.iter().all(|d| head(d).2 == b"of another day"));
    let scid = ConnectionId::new(b"evilpeer").unwrap();
    world.deliver(&retry_for(&sent[0], &scid, b"of the Retry"));
    world.turn();
    assert_eq!(world.out.len(), 1, "without waiting");
    let sent = alone(&mut world, 4);
    assert!(sent.len() > 1 && sent.iter().all(|d| head(d).2 == b"of the Retry" && head(d).1 == scid));
    // A new connection knows nothing of it.
    world.connections.clear();
    world.connect(&tls().0);
    assert!(alone(&mut world, 4).iter().all(|d| head(d).2.is_empty()));
}

fn ack_up_to(of: u64) -> Vec<u8> {
    let mut buf = [0; 20];
    let mut w = Writer::new(&mut buf);
    write_ack(&mut w, [0..=of], 0, None).unwrap();
    w.written().to_vec()
}

/// Everything of the client's is acknowledged and the server, out of budget, sends nothing: the client goes on probing,
/// with whole Initial datagrams and, once it has keys, with Handshake packets.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
//= type=test
//# To prevent this deadlock, clients MUST send a packet on a Probe Timeout (PTO); see Section 6.2 of [QUIC-RECOVERY].
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
//= type=test
//# Specifically, the client MUST send an Initial packet in a UDP datagram that contains at least 1200 bytes if it does
//# not have Handshake keys, and otherwise send a Handshake packet.
#[test]
fn probes_against_deadlock_section_8_1() {
    let (mut world, mut peer) = facing(|p| p);
    peer.mute = true;
    let only_ack = peer.packet(Level::Initial, &[ack_up_to(0), vec![0; 1100]].concat());
    world.deliver(&only_ack);
    let probes = alone(&mut world, 4);
    assert!(probes.len() >= 2, "{}", probes.len());
    assert!(probes.iter().all(|d| head(d).0 == PacketType::Initial && d.len() >= 1200));
    probes.iter().for_each(|d| peer.receive(d));
    peer.mute = false;
    // ServerHello and acknowledgements, and nothing of the Handshake level.
    world.deliver(&peer.flush().remove(0));
    // What it answers at once is an acknowledgement; then only the probe timeout makes it speak.
    world.turn();
    world.out.clear();
    let probes = alone(&mut world, 3);
    assert!(!probes.is_empty());
    assert!(probes.iter().all(|d| kinds(d).contains(&PacketType::Handshake)), "{:?}", kinds(&probes[0]));
}

/// Packets from an address that is not the server's are nobody's.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# If a client receives packets from an unknown server address, the client MUST discard these packets.
#[test]
fn unknown_server_address_section_9() {
    let (mut world, mut peer) = established(false);
    let bad = peer.packet(Level::OneRtt, &[0x20, 0, 0, 0]);
    world.deliver_from(addr("192.0.2.77:443"), &bad);
    world.exchange(&mut peer);
    peer.expect_open("9");
    // From the right one it counts.
    world.send(&mut peer, &bad);
    peer.expect_close("12.4", &[7], 0x20);
}

/// The server's new parameters are known before it has proved itself, and 0-RTT packets still go by the old ones.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
//= type=test
//# When sending frames in 0-RTT packets, a client MUST only use remembered transport parameters; importantly, it MUST
//# NOT use updated values that it learns from the server's updated transport parameters or from frames received in
//# 1-RTT packets.
#[test]
fn early_packets_obey_remembered_limits_section_7_4_1() {
    let (client, server) = (client_tls(&["h3"], true), server_tls(true));
    let mut world = World::client(&client, false);
    let first = world.out.remove(0).1;
    let mut peer = Peer::server(&server, &first, |p| p.number(0x04, 5000));
    world.exchange(&mut peer);
    world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::HandshakeDone, Frame::Padding(4)]));
    peer.expect_open("the first connection");

    world.connections.clear();
    world.connect(&client);
    assert_eq!(world.connection().early_data(), EarlyData::Pending);
    let first = world.out.remove(0).1;
    let mut peer = Peer::server(&server, &first, |p| p.number(0x04, 1 << 20).number(0x20, 65_535));
    peer.mute = true;
    // ServerHello and EncryptedExtensions only.
    let at = peer.pending.iter().position(|(l, _)| *l == Level::Handshake).unwrap();
    let flight = &mut peer.pending[at].1;
    let len = 4 + (usize::from(flight[2]) << 8 | usize::from(flight[3]));
    let rest = flight.split_off(len);
    peer.pending.insert(at + 1, (Level::Handshake, rest));
    let hello = [peer.crypto_piece(Level::Initial), vec![0; 900]].concat();
    let hello = peer.packet(Level::Initial, &hello);
    let extensions = peer.crypto_piece(Level::Handshake);
    let extensions = peer.packet(Level::Handshake, &extensions);
    let id = world.connection().open(whimbrel::base::Dir::Bi).unwrap();
    world.deliver(&hello);
    world.deliver(&extensions);
    world.connection().write(id, &[7; 20_000]).unwrap();
    world.turn();
    assert!(!world.connection().is_established());
    assert_eq!(world.connection().datagram_max_len(), None, "none were allowed when the ticket was issued");
    for (_, datagram) in std::mem::take(&mut world.out) {
        peer.receive(&datagram);
    }
    assert!(peer.stream_bytes(id.0).len() <= 5000);
    peer.mute = false;
    world.exchange(&mut peer);
    assert!(world.connection().is_established());
    assert!(world.connection().datagram_max_len().is_some());
    assert!(peer.saw(|g| matches!(g, Got::Stream { offset, .. } if *offset > 5000)), "and now the new ones hold");
}

/// A guess at the keys of a first Initial is no more than a guess.
#[test]
fn keys_of_the_wrong_connection_id_section_7_2() {
    let (mut world, first) = start(false);
    let mut stranger = Peer::server(&tls().1, &first, |p| p);
    stranger.initial = Some(initial_keys(V1, &ConnectionId::new(b"guessed!").unwrap(), Side::Server));
    let forged = stranger.packet_as(
        Level::Initial,
        &[&[0x20][..], &[0; 1100]].concat(),
        Shape { scid: ConnectionId::new(b"takeover"), ..Default::default() },
    );
    world.deliver(&forged);
    let dcid = head(&first).1;
    assert!(alone(&mut world, 5).iter().all(|d| head(d).1 == dcid), "only an authentic packet changes it");
}
