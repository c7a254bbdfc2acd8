//! What is acknowledged, where, how often, and what never is (RFC 9000 sections 12.2, 13.1, 13.2 and 13.3).
use whimbrel::base::codes::transport::*;
use whimbrel::base::{Level, SpaceId};
use whimbrel::wire::Frame;

use super::peer::{Got, Peer, Shape, crypto, frames, stream};
use super::world::{SECOND, Setup, V1, World, client, connected, connected_with, until_done};

const PING: &[u8] = &[1, 0, 0, 0, 0];

/// Numbers of ours that were acknowledged in a space.
fn acked(peer: &Peer, space: SpaceId, pn: u64) -> bool {
    peer.acked[space.index()].contains(&pn)
}

/// A server with a client after the handshake, everything said and acknowledged.
fn quiet() -> (World, Peer) {
    let (mut world, mut peer) = connected_with(Setup { http3: false, ..Default::default() }, V1);
    world.pass(&mut peer, SECOND);
    (world, peer)
}

/// Three packets of three spaces in one datagram: all are read, each is acknowledged in its own space (`Peer` checks
/// every acknowledgement against the numbers that it used there).
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.2
//= type=test
//# Receivers MUST be able to process coalesced packets.
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.2
//= type=test
//# The receiver of coalesced QUIC packets MUST individually process each QUIC packet and separately acknowledge them,
//# as if they were received as the payload of different UDP datagrams.
#[test]
fn coalesced_packets_are_acknowledged_each_section_12_2() {
    let (mut world, mut peer) = client();
    let hello = peer.crypto_piece(Level::Initial);
    let first = peer.padded(&hello, 1200);
    world.deliver(&first);
    world.turn();
    for (_, datagram) in std::mem::take(&mut world.out) {
        peer.receive(&datagram);
    }
    assert!(peer.done);
    assert!(acked(&peer, SpaceId::Initial, 0));
    let finished = peer.crypto_piece(Level::Handshake);
    let initial_pn = peer.next_pn;
    let mut datagram = peer.packet(Level::Initial, &[PING, &[0; 300]].concat());
    // In the middle one that cannot be opened.
    let mut forged = peer.packet(Level::Handshake, PING);
    *forged.last_mut().unwrap() ^= 1;
    datagram.extend(forged);
    let handshake_pn = peer.next_pn;
    datagram.extend(peer.packet(Level::Handshake, &[PING, &[0; 700]].concat()));
    world.send(&mut peer, &datagram);
    assert!(acked(&peer, SpaceId::Initial, initial_pn) || datagram.len() < 1200);
    assert!(acked(&peer, SpaceId::Handshake, handshake_pn), "{:?}", peer.acked);
    assert!(!acked(&peer, SpaceId::Handshake, handshake_pn - 1));
    let mut datagram = peer.packet(Level::Handshake, &finished);
    let data_pn = peer.next_pn;
    datagram.extend(peer.packet(Level::OneRtt, PING));
    world.send(&mut peer, &datagram);
    world.pass(&mut peer, SECOND);
    assert!(acked(&peer, SpaceId::Data, data_pn));
    peer.expect_open("12.2");
}

/// A packet whose last frame is wrong is never acknowledged, nor is one that cannot be opened.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.1
//= type=test
//# A packet MUST NOT be acknowledged until packet protection has been successfully removed and all frames contained in
//# the packet have been processed.
#[test]
fn what_was_not_processed_is_not_acknowledged_section_13_1() {
    let (mut world, mut peer) = quiet();
    let pn = peer.next_pn;
    world.frames(&mut peer, Level::OneRtt, &[PING, &[0x20]].concat());
    peer.expect_close("12.4", &[FRAME_ENCODING_ERROR], 0x20);
    world.pass(&mut peer, SECOND);
    assert!(!acked(&peer, SpaceId::Data, pn));
    let (mut world, mut peer) = quiet();
    let pn = peer.next_pn;
    let mut forged = peer.packet(Level::OneRtt, PING);
    *forged.last_mut().unwrap() ^= 1;
    world.send(&mut peer, &forged);
    let next = peer.next_pn;
    world.frames(&mut peer, Level::OneRtt, PING);
    world.pass(&mut peer, SECOND);
    assert!(!acked(&peer, SpaceId::Data, pn) && acked(&peer, SpaceId::Data, next));
}

/// Initial and Handshake packets at once; 1-RTT packets within max_ack_delay, 25 ms here, each of them.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
//= type=test
//# Every packet SHOULD be acknowledged at least once, and ack-eliciting packets MUST be acknowledged at least once
//# within the maximum delay an endpoint communicated using the max_ack_delay transport parameter; see Section 18.2.
//# max_ack_delay declares an explicit contract: an endpoint promises to never intentionally delay acknowledgments of an
//# ack-eliciting packet by more than the indicated value.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
//= type=test
//# An endpoint MUST acknowledge all ack-eliciting Initial and Handshake packets immediately and all ack-eliciting 0-RTT
//# and 1-RTT packets within its advertised max_ack_delay, with the following exception.
#[test]
fn in_time_section_13_2_1() {
    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    let pn = peer.next_pn;
    let packet = peer.packet(Level::Handshake, PING);
    world.deliver(&packet);
    world.turn();
    for (_, datagram) in std::mem::take(&mut world.out) {
        peer.receive(&datagram);
    }
    assert!(acked(&peer, SpaceId::Handshake, pn), "without any time passing");
    let (mut world, mut peer) = quiet();
    for n in 0..20 {
        let (pn, at) = (peer.next_pn, world.now);
        world.frames(&mut peer, Level::OneRtt, PING);
        let spent = world.now.since(at);
        world.pass(&mut peer, Setup::default().config.max_ack_delay - spent);
        assert!(acked(&peer, SpaceId::Data, pn), "packet {n} after {:?}", world.now.since(at));
    }
}

/// One packet that only acknowledges per packet that asks for it, and none for a packet that does not, not even when
/// there are gaps before it.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
//= type=test
//# Since packets containing only ACK frames are not congestion controlled, an endpoint MUST NOT send more than one such
//# packet in response to receiving an ack-eliciting packet.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
//= type=test
//# An endpoint MUST NOT send a non-ack-eliciting packet in response to a non-ack-eliciting packet, even if there are
//# packet gaps that precede the received packet.
#[test]
fn no_more_than_was_asked_for_section_13_2_1() {
    let (mut world, mut peer) = quiet();
    peer.mute = true;
    for _ in 0..10 {
        let before = (peer.silent_packets, peer.received[2].len());
        world.frames(&mut peer, Level::OneRtt, PING);
        world.pass(&mut peer, SECOND);
        assert_eq!((peer.silent_packets, peer.received[2].len()), (before.0 + 1, before.1 + 1));
    }
    let before = world.bytes[1];
    let ack = [&[0x02][..], &[0x40, 1, 0, 0, 0]].concat();
    for gap in [0, 1, 7, 100] {
        let pn = Some(peer.next_pn + gap);
        let shape = Shape { pn, ..Default::default() };
        world.frames_as(&mut peer, Level::OneRtt, &[0; 8], shape);
        world.frames(&mut peer, Level::OneRtt, &[&ack[..], &[0; 4]].concat());
        world.pass(&mut peer, SECOND);
    }
    assert_eq!(world.bytes[1], before, "padding and acknowledgements are not answered");
    peer.expect_open("13.2.1");
}

/// Somebody who only sends is asked for an acknowledgement now and then, not by every packet that acknowledges him.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.1
//= type=test
//# In that case, an endpoint MUST NOT send an ack-eliciting frame in all packets that would otherwise be
//# non-ack-eliciting, to avoid an infinite feedback loop of acknowledgments.
#[test]
fn few_acknowledgements_ask_for_one_section_13_2_1() {
    let (mut world, mut peer) = quiet();
    let before = (peer.silent_packets, peer.received[2].len());
    for _ in 0..400 {
        world.frames(&mut peer, Level::OneRtt, PING);
        world.pass(&mut peer, SECOND / 20);
    }
    let silent = peer.silent_packets - before.0;
    let asking = peer.received[2].len() - before.1 - silent;
    assert!(silent >= 300 && (1..=30).contains(&asking), "{silent} packets only acknowledge, {asking} ask");
}

/// Far more gaps than are remembered: an old number does not count a second time.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.3
//= type=test
//# A receiver MUST retain an ACK Range unless it can ensure that it will not subsequently accept packets with numbers
//# in that range.
#[test]
fn forgotten_ranges_are_not_accepted_again_section_13_2_3() {
    let (mut world, mut peer) = quiet();
    let first = peer.next_pn;
    let old = peer.packet(Level::OneRtt, &stream(0, 0, b"once", false));
    world.send(&mut peer, &old);
    for n in 1..300 {
        let shape = Shape { pn: Some(first + 2 * n), ..Default::default() };
        world.frames_as(&mut peer, Level::OneRtt, PING, shape);
    }
    let before = world.connection().stats();
    for _ in 0..5 {
        world.send(&mut peer, &old);
    }
    let after = world.connection().stats();
    assert_eq!(after.packets_duplicate - before.packets_duplicate, 5);
    assert_eq!(after.packets_received, before.packets_received);
}

/// HANDSHAKE_DONE comes again until it is acknowledged, and then no more.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.3
//= type=test
//# The HANDSHAKE_DONE frame MUST be retransmitted until it is acknowledged.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.20
//= type=test
//# Servers MUST NOT send a HANDSHAKE_DONE frame before completing the handshake.
#[test]
fn handshake_done_is_repeated_section_13_3() {
    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    assert!(!peer.saw(|g| *g == Got::HandshakeDone), "19.20: not before the end of the handshake");
    let finished = peer.crypto_piece(Level::Handshake);
    peer.mute = true;
    let packet = peer.packet(Level::Handshake, &finished);
    let count = |peer: &Peer| peer.log.iter().filter(|g| **g == Got::HandshakeDone).count();
    world.deliver(&packet);
    world.turn();
    // All that carried it is lost, for some probe timeouts.
    for _ in 0..2 {
        assert!(!std::mem::take(&mut world.out).is_empty(), "it is sent again");
        world.now = world.connection().deadline().expect("a probe timeout");
        world.turn();
    }
    world.exchange(&mut peer);
    let seen = count(&peer);
    assert!(seen >= 1);
    world.pass(&mut peer, 10 * SECOND);
    assert!(count(&peer) > seen, "nothing was acknowledged yet");
    peer.mute = false;
    world.pass(&mut peer, SECOND);
    let seen = count(&peer);
    world.pass(&mut peer, 20 * SECOND);
    assert_eq!(count(&peer), seen);
    assert!(world.connection().is_confirmed());
}

/// 0-RTT packets are acknowledged in 1-RTT packets, which `Peer` reads with those keys only.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.6
//= type=test
//# Packets that a client sends with 0-RTT packet protection MUST be acknowledged by the server in packets protected by
//# 1-RTT keys.
#[test]
fn early_packets_are_acknowledged_later_section_13_2_6() {
    let (mut world, mut peer, initial) = super::zero_rtt::resumed(V1);
    let pn = peer.next_pn;
    let early = peer.packet(Level::ZeroRtt, &[&stream(2, 0, &[0, 4, 0], false)[..], &[0; 20]].concat());
    world.deliver(&initial);
    world.send(&mut peer, &early);
    world.pass(&mut peer, SECOND);
    assert!(peer.resumed() && peer.saw(|g| *g == Got::HandshakeDone));
    assert!(acked(&peer, SpaceId::Data, pn), "{:?}", peer.acked);
}

/// Both forms of ACK, with counts that are believed or not: neither is an error, and data is acknowledged by both.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.3
//= type=test
//# QUIC implementations MUST properly handle both types, and, if they have enabled ECN for packets they send, they
//# SHOULD use the information in the ECN section to manage their congestion state.
#[test]
fn both_types_of_ack_section_19_3() {
    for ty in [0x02u8, 0x03] {
        let (mut world, mut peer) = quiet();
        peer.mute = true;
        world.connection().ping();
        world.exchange(&mut peer);
        let newest = *peer.received[2].last().unwrap();
        assert!(world.connection().stats().bytes_in_flight > 0);
        let mut ack = vec![ty];
        for v in [newest, 0, 0, 0] {
            ack.extend(super::peer::varint(v));
        }
        if ty == 0x03 {
            ack.extend([0x40, 9, 0, 1]);
        }
        world.frames(&mut peer, Level::OneRtt, &ack);
        peer.expect_open("19.3");
        assert_eq!(world.connection().stats().bytes_in_flight, 0, "type {ty}");
    }
}

/// Frames that newer ones have overtaken, and CRYPTO data that was read long ago.
//= https://www.rfc-editor.org/rfc/rfc9000#section-13.3
//= type=test
//# A receiver MUST accept packets containing an outdated frame, such as a MAX_DATA frame carrying a smaller maximum
//# data value than one found in an older packet.
#[test]
fn outdated_frames_section_13_3() {
    let (mut world, mut peer) = connected();
    let old = [Frame::MaxData(1 << 30), Frame::MaxData(5), Frame::MaxData(0), Frame::DataBlocked(1)];
    let id = whimbrel::base::StreamId(0);
    for frame in old {
        world.frames(&mut peer, Level::OneRtt, &[frames(&[frame]), vec![0; 4]].concat());
    }
    world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::MaxStreamData { id, max: 1 << 20 }]));
    world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::MaxStreamData { id, max: 1 }]));
    peer.expect_open("13.3");
    let (mut world, mut peer) = client();
    until_done(&mut world, &mut peer);
    let hello = peer.padded(&crypto(0, &[1]), 1200);
    world.send(&mut peer, &hello);
    peer.expect_open("13.3");
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
}
