//! Packets and datagrams (RFC 9000 sections 5.2, 10.3, 12.2, 14.1 and 17): cases 13 and 15, and everything that
//! is only to be dropped.
use whimbrel::base::codes::transport::*;
use whimbrel::base::{ConnectionId, Level};
use whimbrel::connection::Event;
use whimbrel::wire::{Frame, version_negotiation};

use super::peer::{Got, Peer, Shape, crypto, frames};
use super::world::{
    ALPN, EVIL, ORDERS, Setup, V1, V2, World, addr, attack, client, client_tls, client_with, connected, until_done,
};

const GENERIC: [u64; 2] = [PROTOCOL_VIOLATION, INTERNAL_ERROR];
const PING: &[u8] = &[1, 0, 0, 0, 0];

/// Case 13: PROTOCOL_VIOLATION. Both reserved bits, alone and together; in Initial packets as well.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
//= type=test
//# An endpoint MUST treat receipt of a packet that has a non-zero value for these bits after removing both packet and
//# header protection as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn case_13_reserved_bits_of_a_long_header_section_17_2() {
    for version in [V1, V2] {
        for bits in [0x08, 0x04, 0x0c] {
            let shape = Shape { flip: bits, ..Default::default() };
            let (mut world, mut peer) = client_with(Setup::default(), version, |p| p);
            until_done(&mut world, &mut peer);
            let finished = peer.crypto_piece(Level::Handshake);
            assert!(peer.next_pn > 0);
            world.frames_as(&mut peer, Level::Handshake, &finished, shape);
            peer.expect_close("17.2, Handshake", &GENERIC, 0);
            assert!(!peer.saw(|g| *g == Got::HandshakeDone));
            let (mut world, mut peer) = client_with(Setup::default(), version, |p| p);
            let mut hello = peer.crypto_piece(Level::Initial);
            hello.resize(1200, 0);
            world.frames_as(&mut peer, Level::Initial, &hello, shape);
            peer.expect_close("17.2, Initial", &GENERIC, 0);
        }
    }
}

/// Case 15: PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.3.1
//= type=test
//# An endpoint MUST treat receipt of a packet that has a non-zero value for these bits, after removing both packet and
//# header protection, as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn case_15_reserved_bits_of_a_short_header_section_17_3_1() {
    for version in [V1, V2] {
        for order in ORDERS {
            for bits in [0x08, 0x10, 0x18] {
                let shape = Shape { flip: bits, ..Default::default() };
                let peer = attack(version, order, |p| p.packet_as(Level::OneRtt, PING, shape));
                peer.expect_close("17.3.1", &GENERIC, 0);
            }
        }
    }
}

/// RFC 9000 section 12.2 and RFC 9001 section 5.4.2: every way to cut the first flight and the last one. A cut
/// datagram is dropped as far as it is cut; the handshake goes on with the whole one.
#[test]
fn truncated_datagrams_section_12_2() {
    let (_, mut peer) = client();
    let initial = peer.flush().remove(0);
    let mut world = World::server();
    for len in 0..initial.len() {
        world.deliver(&initial[..len]);
    }
    world.turn();
    assert_eq!((world.connections.len(), world.out.len()), (0, 0));
    world.send(&mut peer, &initial);
    assert!(peer.saw(|g| *g == Got::HandshakeDone));

    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    let finished = peer.crypto_piece(Level::Handshake);
    let mut datagram = peer.packet(Level::Handshake, &finished);
    let first = datagram.len();
    datagram.extend(peer.packet(Level::OneRtt, PING));
    for len in (0..first).chain(first + 1..datagram.len()) {
        world.deliver(&datagram[..len]);
        world.turn();
    }
    world.send(&mut peer, &datagram);
    peer.expect_open("12.2");
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
    for len in 0..datagram.len() {
        world.deliver(&datagram[first..][..len.min(datagram.len() - first)]);
    }
    world.exchange(&mut peer);
    peer.expect_open("12.2");
}

/// RFC 9000 section 12.2: what cannot be read in a coalesced datagram does not spoil the rest.
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.2
//= type=test
//# For example, if decryption fails (because the keys are not available or for any other reason), the receiver MAY
//# either discard or buffer the packet for later processing and MUST attempt to process the remaining packets.
#[test]
fn coalesced_garbage_section_12_2() {
    let other = ConnectionId::new(b"not yours").unwrap();
    let wrong_cid = Shape { dcid: Some(other), ..Default::default() };
    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    let finished = peer.crypto_piece(Level::Handshake);
    // A forged Handshake packet, one of an unknown version, one for another connection, then the real one, then junk.
    let mut forged = peer.packet(Level::Handshake, PING);
    *forged.last_mut().unwrap() ^= 1;
    let stranger = peer.packet_as(Level::Handshake, PING, wrong_cid);
    let real = peer.packet(Level::Handshake, &finished);
    let datagram = [forged.clone(), stranger, real, vec![0xff; 40]].concat();
    world.send(&mut peer, &datagram);
    peer.expect_open("12.2");
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
    // Many tiny packets in one datagram.
    let mut tiny = Vec::new();
    for _ in 0..60 {
        tiny.extend(&forged);
    }
    world.send(&mut peer, &tiny);
    peer.expect_open("12.2");
    // Junk of every first byte.
    for first in 0..=255u8 {
        let mut junk = vec![first; 1300];
        junk[1..9].copy_from_slice(peer.dcid.as_slice());
        world.send(&mut peer, &junk);
    }
    peer.expect_open("12.2");
    assert!(world.connection().is_established());
}

/// One bit of a real packet is wrong, each in turn: nothing happens; then the real one is taken.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.5
//= type=test
//# Once an endpoint successfully receives a packet with a given packet number, it MUST discard all packets in the same
//# packet number space with higher packet numbers if they cannot be successfully unprotected with either the same key,
//# or -- if there is a key update -- a subsequent packet protection key; see Section 6.
#[test]
fn every_wrong_bit_rfc_9001_section_5_3() {
    let (mut world, mut peer) = connected();
    let packet = peer.packet(Level::OneRtt, &frames(&[Frame::HandshakeDone, Frame::Padding(4)]));
    for bit in 0..packet.len() * 8 {
        let mut forged = packet.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        // The fixed bit may have any value here (RFC 9287), but it is authenticated all the same.
        world.send(&mut peer, &forged);
        peer.expect_open("RFC 9001 5.3");
    }
    world.send(&mut peer, &packet);
    peer.expect_close("19.20", &[PROTOCOL_VIOLATION], 0x1e);
}

/// RFC 9000 section 12.3: a packet number counts once.
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
//= type=test
//# A receiver MUST discard a newly unprotected packet unless it is certain that it has not processed another packet
//# with the same packet number from the same packet number space.
#[test]
fn replayed_datagrams_section_12_3() {
    let (mut world, mut peer) = client();
    let mut all = Vec::new();
    until_done_keeping(&mut world, &mut peer, &mut all);
    for datagram in peer.flush() {
        all.push(datagram.clone());
        world.deliver(&datagram);
    }
    world.exchange(&mut peer);
    let request = peer.packet(Level::OneRtt, &super::peer::stream(2, 0, &[0, 4, 0], false));
    world.send(&mut peer, &request);
    all.push(request);
    let before = (world.bytes[1], peer.log.len());
    for _ in 0..20 {
        for datagram in &all {
            world.deliver(datagram);
        }
    }
    world.exchange(&mut peer);
    peer.expect_open("12.3");
    assert_eq!(world.connections.len(), 1);
    assert!(world.bytes[1] - before.0 < 3 * 1300, "replays are answered: {} bytes", world.bytes[1] - before.0);
    // The other way round on a server that has never seen them: it makes one connection of it at most.
    let mut fresh = World::server();
    for datagram in all.iter().rev() {
        fresh.deliver(datagram);
    }
    fresh.turn();
    assert_eq!(fresh.connections.len(), 1);
}

fn until_done_keeping(world: &mut World, peer: &mut Peer, all: &mut Vec<Vec<u8>>) {
    while !peer.done {
        for datagram in peer.flush() {
            all.push(datagram.clone());
            world.deliver(&datagram);
        }
        world.turn();
        for (_, datagram) in std::mem::take(&mut world.out) {
            peer.receive(&datagram);
        }
    }
}

/// RFC 9000 section 14.1: an Initial in a small datagram starts nothing, and is not answered.
//= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
//= type=test
//# A server MUST discard an Initial packet that is carried in a UDP datagram with a payload that is smaller than the
//# smallest allowed maximum datagram size of 1200 bytes.
//= https://www.rfc-editor.org/rfc/rfc9000#section-14
//= type=test
//# Therefore, an endpoint MUST NOT close a connection when it receives a datagram that does not meet size constraints;
//# the endpoint MAY discard such datagrams.
#[test]
fn small_initial_section_14_1() {
    let (mut world, mut peer) = client();
    let hello = peer.crypto_piece(Level::Initial);
    let packet = peer.packet(Level::Initial, &hello);
    assert!(packet.len() < 1200);
    for filler in [0, 1199 - packet.len()] {
        world.send(&mut peer, &[packet.clone(), vec![0; filler]].concat());
    }
    assert_eq!((world.connections.len(), world.bytes[1], world.out.len()), (0, 0, 0));
    // Filled up behind the packet, it counts.
    world.send(&mut peer, &[packet.clone(), vec![0; 1200 - packet.len()]].concat());
    assert_eq!(world.connections.len(), 1);
    // And on a connection that is there: not even the ACK is.
    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    let small = peer.packet(Level::Initial, &[0x20, 0, 0, 0]);
    world.send(&mut peer, &small);
    peer.expect_open("14.1");
}

/// RFC 9000 sections 5.2.2 and 6.1: Version Negotiation for a whole first datagram, silence for less.
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.2.2
//= type=test
//# Servers MUST drop smaller packets that specify unsupported versions.
//= https://www.rfc-editor.org/rfc/rfc9000#section-6.1
//= type=test
//# An endpoint MUST NOT send a Version Negotiation packet in response to receiving a Version Negotiation packet.
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
//= type=test
//# This packet SHALL include each entry from the server's set of Offered Versions (see Section 5) in a
//# Supported Version field.
#[test]
fn wrong_versions_section_6_1() {
    for version in [0x0a0a_0a0au32, 2, 0xff00_001d, 0x5130_3530, u32::MAX] {
        let mut world = World::server();
        let mut datagram = vec![0xc0];
        datagram.extend(version.to_be_bytes());
        datagram.extend(b"\x08firstcid\x04mine");
        world.deliver(&datagram);
        assert!(world.out.is_empty(), "5.2.2: too small for an answer");
        datagram.resize(1200, 0);
        world.deliver(&datagram);
        let (to, answer) = world.out.pop().expect("6.1");
        assert_eq!(to, addr(EVIL));
        let vn = version_negotiation::parse(&answer).unwrap();
        assert_eq!((vn.dcid, vn.scid), (&b"mine"[..], &b"firstcid"[..]));
        let versions: Vec<u32> = vn.versions().collect();
        assert!(versions.contains(&V1) && versions.contains(&V2) && !versions.contains(&version), "{versions:x?}");
        assert_eq!(world.connections.len(), 0);
        // Never an answer to Version Negotiation itself.
        world.deliver(&answer);
        let mut long = answer.clone();
        long.resize(1200, 0);
        world.deliver(&long);
        assert!(world.out.is_empty());
    }
    // On a connection, packets of another version are dropped.
    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    let shape = Shape { version: Some(V2), ..Default::default() };
    world.frames_as(&mut peer, Level::Handshake, &[0x20, 0, 0, 0], shape);
    peer.expect_open("17.2");
    world.exchange(&mut peer);
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
}

/// RFC 9000 section 7.2: at least 8 bytes of first Destination Connection ID.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//= type=test
//# This Destination Connection ID MUST be at least 8 bytes in length.
#[test]
fn short_first_connection_id_section_7_2() {
    let tls = client_tls(&ALPN, false);
    let mut peer = Peer::client(&tls, V1, |p| p);
    let short = ConnectionId::new(b"seven77").unwrap();
    peer.initial = Some(whimbrel::crypto::initial_keys(V1, &short, whimbrel::base::Side::Client));
    peer.dcid = short;
    let mut world = World::server();
    let first = peer.flush().remove(0);
    world.send(&mut peer, &first);
    assert_eq!((world.connections.len(), world.bytes[1]), (0, 0));
}

/// RFC 9000 section 7.2: the client's Source Connection ID does not change.
#[test]
fn another_source_connection_id_section_7_2() {
    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    let scid = ConnectionId::new(b"changed!").unwrap();
    let shape = Shape { scid: Some(scid), ..Default::default() };
    let mut bad = vec![0x20, 0, 0, 0];
    bad.resize(1200, 0);
    world.frames_as(&mut peer, Level::Initial, &bad, shape);
    world.frames_as(&mut peer, Level::Handshake, &bad, shape);
    peer.expect_open("7.2");
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
}

/// RFC 9000 section 8.1: three times what came, until the address is validated, whatever is sent.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
//= type=test
//# Prior to validating the client address, servers MUST NOT send more than three times as many bytes as the number of
//# bytes they have received.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.1
//= type=test
//# To avoid being used for an amplification attack, such endpoints MUST limit the cumulative size of packets it sends
//# to three times the cumulative size of the packets that are received and attributed to the connection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
//= type=test
//# The server MUST also limit the number of bytes it sends before validating the address of the client; see Section 8.
#[test]
fn amplification_limit_section_8_1() {
    let (mut world, mut peer) = client();
    let first = peer.flush().remove(0);
    world.deliver(&first);
    peer.mute = true;
    world.pass(&mut peer, super::world::SECOND * 9);
    assert!(world.bytes[1] <= 3 * first.len() && world.bytes[1] > 1000, "{:?}", world.bytes);
    // An error is told within it, too.
    let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p.without(0x0f));
    let first = peer.flush().remove(0);
    world.deliver(&first);
    peer.mute = true;
    for _ in 0..50 {
        world.exchange(&mut peer);
    }
    peer.expect_close("7.3", &[TRANSPORT_PARAMETER_ERROR], 0x06);
    assert!(world.bytes[1] <= 3 * first.len());
}

/// RFC 9000 section 10.3: a packet for a connection that we do not know gets a stateless reset, a smaller one.
#[test]
fn unknown_connections_section_10_3() {
    let (mut world, mut peer) = connected();
    let cid = peer.dcid;
    let mut unknown = [&[0x40][..], cid.as_slice(), &[0x5a; 100]].concat();
    unknown[8] ^= 0x5a;
    world.deliver(&unknown);
    let (_, reset) = world.out.pop().expect("a stateless reset");
    assert!(reset.len() < unknown.len() && reset[0] & 0xc0 == 0x40);
    // A ball that nobody can keep in the air: resets get smaller and stop.
    let mut size = reset.len();
    let mut ball = reset;
    for round in 0.. {
        assert!(round < 200, "resets answer resets for ever");
        ball[1..9].copy_from_slice(&unknown[1..9]);
        world.deliver(&ball);
        let Some((_, next)) = world.out.pop() else { break };
        assert!(next.len() < size);
        size = next.len();
        ball = next;
    }
    // Our connection does not mind.
    world.frames(&mut peer, Level::OneRtt, PING);
    peer.expect_open("10.3");
}

/// RFC 9000 sections 7.5 and 19.6: CRYPTO data beyond the buffer, in every space; at least 4096 bytes are taken.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.5
//= type=test
//# If an endpoint does not expand its buffer, it MUST close the connection with a CRYPTO_BUFFER_EXCEEDED error code.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.6
//= type=test
//# Receipt of a frame that exceeds this limit MUST be treated as a connection error of type FRAME_ENCODING_ERROR or
//# CRYPTO_BUFFER_EXCEEDED.
#[test]
fn crypto_buffer_section_7_5() {
    for gap in [4096u64, 1 << 20, (1 << 62) - 10] {
        let wrong = gap > 65_536;
        let payload = crypto(gap - 4, b"late");
        let (mut world, mut peer) = client();
        let first = peer.padded(&payload, 1200);
        peer.mute = true;
        world.send(&mut peer, &first);
        let (mut second_world, mut second) = client();
        until_done(&mut second_world, &mut second);
        second.mute = true;
        second_world.frames(&mut second, Level::Handshake, &payload);
        let (mut third_world, mut third) = connected();
        third_world.frames(&mut third, Level::OneRtt, &payload);
        for peer in [peer, second, third] {
            if wrong {
                peer.expect_close("7.5", &[CRYPTO_BUFFER_EXCEEDED], 0x06);
            } else {
                peer.expect_open("7.5");
            }
        }
    }
    // Beyond 2^62 it is no offset any more.
    let (mut world, mut peer) = connected();
    let bad = [&[0x06][..], &[0xff; 8], &[4, 1, 2, 3, 4]].concat();
    world.frames(&mut peer, Level::OneRtt, &bad);
    peer.expect_close("19.6", &[FRAME_ENCODING_ERROR, CRYPTO_BUFFER_EXCEEDED], 0x06);
    // Single bytes with gaps.
    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    peer.mute = true;
    for part in 0..30 {
        let payload: Vec<u8> = (0..100u64).flat_map(|i| crypto(1000 + (part * 100 + i) * 2, b"x")).collect();
        world.frames(&mut peer, Level::Handshake, &payload);
    }
    peer.expect_close("7.5", &[CRYPTO_BUFFER_EXCEEDED], 0x06);
}

/// RFC 9000 section 5.2: an Initial packet that is good at first and bad at the end is not half taken: the connection
/// that its first half started is closed.
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.2
//= type=test
//# An endpoint MUST generate a connection error if processing the contents of these packets prior to discovering an
//# error, or fully revert any changes made during that processing.
#[test]
fn half_an_initial_section_5_2() {
    let (mut world, mut peer) = client();
    let hello = peer.crypto_piece(Level::Initial);
    let bad = [&hello[..], &[0x20, 0, 0, 0]].concat();
    let first = peer.padded(&bad, 1250);
    world.send(&mut peer, &first);
    peer.expect_close("5.2", &[FRAME_ENCODING_ERROR], 0x20);
    assert!(world.events.iter().any(|e| matches!(e, Event::HandshakeData)), "the first half was acted upon");
    assert!(!world.connection().is_established() && world.connection().is_closed());
}

/// RFC 9000 section 8.1: what cannot be opened counts as well, when it can belong to one connection only.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
//= type=test
//# For the purposes of avoiding amplification prior to address validation, servers MUST count all of the payload bytes
//# received in datagrams that are uniquely attributed to a single connection.
#[test]
fn bytes_that_count_section_8_1() {
    let (mut world, mut peer) = client();
    let first = peer.flush().remove(0);
    world.deliver(&first);
    peer.mute = true;
    world.pass(&mut peer, super::world::SECOND * 4);
    let (came, went) = (world.bytes[0], world.bytes[1]);
    assert!(went <= 3 * came && went + 1200 > 3 * came, "the budget is used up: {went} of 3 * {came}");
    let junk = [&[0x40][..], peer.dcid.as_slice(), &[0x5a; 791]].concat();
    world.deliver(&junk);
    world.pass(&mut peer, super::world::SECOND * 4);
    assert!(world.bytes[1] >= went + 1200, "{} after {went}", world.bytes[1]);
    assert!(world.bytes[1] <= 3 * (came + junk.len()));
}

/// RFC 9000 section 7.2: the server sends to the Source Connection ID of the client's first Initial.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//= type=test
//# A server MUST set the Destination Connection ID it uses for sending packets based on the first received Initial
//# packet.
#[test]
fn answers_go_to_the_clients_choice_section_7_2() {
    let (mut world, mut peer) = client();
    let first = peer.flush().remove(0);
    world.deliver(&first);
    let scid = Shape { scid: ConnectionId::new(b"changed!"), ..Default::default() };
    let other = peer.packet_as(Level::Initial, &[0x20; 1200], scid);
    world.deliver(&other);
    world.turn();
    assert!(!world.out.is_empty());
    for (_, datagram) in &world.out {
        let mut at = 0;
        while let Ok(head) = whimbrel::wire::header::parse(&datagram[at..], 8) {
            assert_eq!(head.dcid, peer.scid);
            at += head.packet_len;
        }
    }
}
