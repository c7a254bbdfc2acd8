//! Frames as such (RFC 9000 sections 12.4 and 19): cases 11, 12, 14, 18, 27 and their relatives.
use whimbrel::base::codes::transport::*;
use whimbrel::base::{ConnectionId, Dir, Level, ResetToken, StreamId};
use whimbrel::wire::Frame;

use super::peer::{Got, Peer, Shape, crypto, frames, stream, varint};
use super::world::{ORDERS, SECOND, Setup, V1, V2, World, attack, client_with, connected, injected, until_done};

const GENERIC: [u64; 2] = [PROTOCOL_VIOLATION, INTERNAL_ERROR];

fn exact(code: u64) -> Vec<u64> {
    [&[code][..], &GENERIC].concat()
}

/// Case 11: FRAME_ENCODING_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
//= type=test
//# An endpoint that wishes to communicate a fatal connection error MUST use a CONNECTION_CLOSE frame if it is able.
//= https://www.rfc-editor.org/rfc/rfc9000#section-11.1
//= type=test
//# Errors that result in the connection being unusable, such as an obvious violation of protocol semantics or
//# corruption of state that affects an entire connection, MUST be signaled using a CONNECTION_CLOSE frame (Section
//# 19.19).
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
//= type=test
//# An endpoint MUST treat the receipt of a frame of unknown type as a connection error of type FRAME_ENCODING_ERROR.
#[test]
fn case_11_unknown_frame_type_section_12_4() {
    injected("12.4", &[0x20], &exact(FRAME_ENCODING_ERROR), 0x20);
    for ty in [0x21u64, 0x2f, 0x32, 0x3f, 0x40, 0xff, 0x4000, 0x1234_5678, (1 << 62) - 1] {
        let (mut world, mut peer) = connected();
        world.frames(&mut peer, Level::OneRtt, &[varint(ty), vec![0; 4]].concat());
        peer.expect_close("12.4", &[FRAME_ENCODING_ERROR], ty);
    }
}

/// Case 12: PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
//= type=test
//# An endpoint MUST treat receipt of a packet containing no frames as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn case_12_packet_without_frames_section_12_4() {
    let bare = Shape { pn_len: Some(4), bare: true, ..Default::default() };
    for version in [V1, V2] {
        for order in ORDERS {
            let peer = attack(version, order, |p| p.packet_as(Level::OneRtt, &[], bare));
            peer.expect_close("12.4", &GENERIC, 0);
        }
        let (mut world, mut peer) = client_with(Setup::default(), version, |p| p);
        until_done(&mut world, &mut peer);
        world.frames_as(&mut peer, Level::Handshake, &[], bare);
        peer.expect_close("12.4", &GENERIC, 0);
    }
}

/// Case 14: PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.4
//= type=test
//# Endpoints MUST treat receipt of Handshake packets with other frames as a connection error of type
//# PROTOCOL_VIOLATION.
#[test]
fn case_14_path_challenge_in_handshake_section_17_2_4() {
    for version in [V1, V2] {
        let (mut world, mut peer) = client_with(Setup::default(), version, |p| p);
        peer.inject.push((Level::Handshake, frames(&[Frame::PathChallenge(*b"01234567")])));
        world.exchange(&mut peer);
        peer.expect_close("17.2.4", &GENERIC, 0x1a);
    }
}

/// Case 18: PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.7
//= type=test
//# A server MUST treat receipt of a NEW_TOKEN frame as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn case_18_new_token_from_a_client_section_19_7() {
    injected("19.7", &frames(&[Frame::NewToken(b"DUMMY")]), &GENERIC, 0x07);
}

/// Case 27: PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.20
//= type=test
//# A server MUST treat receipt of a HANDSHAKE_DONE frame as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn case_27_handshake_done_from_a_client_section_19_20() {
    injected("19.20", &frames(&[Frame::HandshakeDone]), &GENERIC, 0x1e);
}

/// Every frame that only 0-RTT and 1-RTT packets may carry.
fn not_before_1_rtt() -> Vec<Vec<u8>> {
    let id = StreamId(0);
    let cid = ConnectionId::new(b"12345678").unwrap();
    let list = [
        Frame::ResetStream { id, code: 0, final_size: 0 },
        Frame::StopSending { id, code: 0 },
        Frame::NewToken(b"token"),
        Frame::Stream { id, offset: 0, fin: true, data: b"x" },
        Frame::MaxData(1),
        Frame::MaxStreamData { id, max: 1 },
        Frame::MaxStreams { dir: Dir::Bi, max: 1 },
        Frame::MaxStreams { dir: Dir::Uni, max: 1 },
        Frame::ResetStreamAt { id, code: 1, final_size: 1, reliable_size: 1 },
        Frame::DataBlocked(1),
        Frame::StreamDataBlocked { id, limit: 1 },
        Frame::StreamsBlocked { dir: Dir::Bi, limit: 1 },
        Frame::StreamsBlocked { dir: Dir::Uni, limit: 1 },
        Frame::NewConnectionId { sequence: 1, retire_prior_to: 0, cid, token: ResetToken([1; 16]) },
        Frame::RetireConnectionId(0),
        Frame::PathChallenge([1; 8]),
        Frame::PathResponse([1; 8]),
        Frame::ConnectionClose { code: 1, frame_type: None, reason: b"" },
        Frame::HandshakeDone,
        Frame::Datagram(b"data"),
        Frame::ImmediateAck,
        Frame::AckFrequency { sequence: 1, threshold: 1, max_ack_delay_us: 1, reordering_threshold: 1 },
    ];
    list.iter().map(|f| frames(&[*f])).collect()
}

/// RFC 9000 section 12.4, table 3: PROTOCOL_VIOLATION, in the first Initial already, and in Handshake packets.
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
//= type=test
//# An endpoint MUST treat receipt of a frame in a packet type that is not permitted as a connection error of type
//# PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9221#section-5
//= type=test
//# Like STREAM frames, DATAGRAM frames contain application data and MUST be protected with either 0-RTT or 1-RTT keys.
#[test]
fn frames_at_the_wrong_level_section_12_4() {
    for payload in not_before_1_rtt() {
        let mut r = whimbrel::wire::Reader::new(&payload);
        let ty = r.varint().unwrap();
        for version in [V1, V2] {
            let (mut world, mut peer) = client_with(Setup::default(), version, |p| p);
            let first = peer.padded(&payload, 1200);
            world.send(&mut peer, &first);
            peer.expect_close("12.4, Initial", &[PROTOCOL_VIOLATION], ty);
        }
        let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
        until_done(&mut world, &mut peer);
        world.frames(&mut peer, Level::Handshake, &[&payload[..], &[0; 4]].concat());
        peer.expect_close("12.4, Handshake", &[PROTOCOL_VIOLATION], ty);
    }
}

/// RFC 9000 section 12.4: the shortest form of a frame type is the only one.
#[test]
fn frame_type_in_a_longer_form_section_12_4() {
    for long in [&[0x40u8, 0x01][..], &[0x80, 0, 0, 1], &[0xc0, 0, 0, 0, 0, 0, 0, 1], &[0x40, 0x06, 0, 1, 1]] {
        let (mut world, mut peer) = connected();
        world.frames(&mut peer, Level::OneRtt, &[long, &[0; 4]].concat());
        let ty = u64::from(*long.iter().find(|b| **b != 0x40 && **b != 0x80 && **b != 0xc0 && **b != 0).unwrap());
        peer.expect_close("12.4", &[PROTOCOL_VIOLATION], ty);
    }
}

/// RFC 9000 section 12.4: every frame that ends too early, at every byte.
#[test]
fn truncated_frames_section_12_4() {
    let mut whole = not_before_1_rtt();
    whole.push(frames(&[Frame::ConnectionClose { code: 1, frame_type: Some(6), reason: b"why" }]));
    whole.push(crypto(0, b"data"));
    whole.push(vec![0x02, 0x05, 0x00, 0x01, 0x00, 0x00, 0x00]);
    whole.push(vec![0x03, 0x05, 0x00, 0x00, 0x00, 1, 1, 1]);
    for payload in whole {
        let mut r = whimbrel::wire::Reader::new(&payload);
        let ty = r.varint().unwrap();
        for len in r.position()..payload.len() {
            let (mut world, mut peer) = connected();
            let mut cut = vec![0; 4];
            cut.extend(&payload[..len]);
            world.frames(&mut peer, Level::OneRtt, &cut);
            peer.expect_close(&format!("12.4, {payload:x?} cut to {len}"), &[FRAME_ENCODING_ERROR], ty);
        }
    }
}

/// RFC 9000 section 13.1: acknowledgements of what was never sent, in every space.
#[test]
fn ack_of_unsent_packets_section_13_1() {
    let ack = |largest: u64, first: u64| [vec![0x02], varint(largest), varint(0), varint(0), varint(first)].concat();
    for largest in [500, 1 << 30, (1 << 62) - 1] {
        let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
        let first = peer.padded(&ack(largest, 0), 1200);
        world.send(&mut peer, &first);
        peer.expect_close("13.1, Initial", &[PROTOCOL_VIOLATION], 0x02);
        let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
        until_done(&mut world, &mut peer);
        world.frames(&mut peer, Level::Handshake, &ack(largest, 0));
        peer.expect_close("13.1, Handshake", &[PROTOCOL_VIOLATION], 0x02);
        let (mut world, mut peer) = connected();
        world.frames(&mut peer, Level::OneRtt, &ack(largest, largest));
        peer.expect_close("13.1, 1-RTT", &[PROTOCOL_VIOLATION], 0x02);
    }
}

/// RFC 9000 section 19.3.1: ranges that go below zero.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.3.1
//= type=test
//# If any computed packet number is negative, an endpoint MUST generate a connection error of type
//# FRAME_ENCODING_ERROR.
#[test]
fn ack_ranges_below_zero_section_19_3_1() {
    let bad: [&[u8]; 5] = [
        &[0x02, 0, 0, 0, 1],
        &[0x02, 5, 0, 1, 2, 2, 0],
        &[0x02, 5, 0, 1, 0, 0, 10],
        &[0x03, 5, 0, 0, 6, 0, 0, 0],
        &[0x02, 5, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
    ];
    for payload in bad {
        let (mut world, mut peer) = connected();
        world.frames(&mut peer, Level::OneRtt, payload);
        peer.expect_close("19.3.1", &[FRAME_ENCODING_ERROR], u64::from(payload[0]));
    }
}

/// RFC 9000 section 19.7: from a client it is an error even before its emptiness is.
#[test]
fn empty_new_token_section_19_7() {
    injected("19.7", &[0x07, 0], &[FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION], 0x07);
}

/// RFC 9221 section 3: larger than announced; and none at all was announced.
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# An endpoint that receives a DATAGRAM frame when it has not indicated support via the transport parameter MUST
//# terminate the connection with an error of type PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# Similarly, an endpoint that receives a DATAGRAM frame that is larger than the value it sent in its
//# max_datagram_frame_size transport parameter MUST terminate the connection with an error of type PROTOCOL_VIOLATION.
#[test]
fn datagrams_rfc_9221_section_3() {
    let mut setup = Setup { http3: false, ..Default::default() };
    setup.config.max_datagram_frame = 0;
    let attempt = |setup: Setup, payload: &[u8]| -> (World, Peer) {
        let (mut world, mut peer) = super::world::connected_with(setup, V1);
        world.frames(&mut peer, Level::OneRtt, payload);
        (world, peer)
    };
    let (_, peer) = attempt(setup, &frames(&[Frame::Datagram(b"data")]));
    peer.expect_close("RFC 9221 3", &[PROTOCOL_VIOLATION], 0x31);
    let small = || {
        let mut setup = Setup { http3: false, ..Default::default() };
        setup.config.max_datagram_frame = 100;
        setup
    };
    // The limit counts the whole frame: type and length are two or three bytes here.
    let (_, peer) = attempt(small(), &frames(&[Frame::Datagram(&[1; 97])]));
    peer.expect_open("RFC 9221 3");
    let (_, peer) = attempt(small(), &frames(&[Frame::Datagram(&[1; 99])]));
    peer.expect_close("RFC 9221 3", &[PROTOCOL_VIOLATION], 0x31);
    let (_, peer) = attempt(small(), &[&[0x30][..], &[1; 100]].concat());
    peer.expect_close("RFC 9221 3", &[PROTOCOL_VIOLATION], 0x30);
    let (_, peer) = attempt(small(), &[&[0x30][..], &[1; 99]].concat());
    peer.expect_open("RFC 9221 3");
}

/// draft-ietf-quic-ack-frequency sections 3 to 5: not announced, and out of bounds; the rest is obeyed.
#[test]
fn ack_frequency_draft_sections_3_to_5() {
    let asks = |sequence, max_ack_delay_us| Frame::AckFrequency {
        sequence,
        threshold: 10,
        max_ack_delay_us,
        reordering_threshold: 3,
    };
    let attempt = |offered: bool, payload: &[Frame<'_>]| -> Peer {
        let mut setup = Setup { http3: false, ..Default::default() };
        setup.config.ack_frequency = offered;
        let (mut world, mut peer) = super::world::connected_with(setup, V1);
        world.frames(&mut peer, Level::OneRtt, &frames(payload));
        peer
    };
    attempt(false, &[asks(0, 25_000)]).expect_close("4, not offered", &[PROTOCOL_VIOLATION], 0xaf);
    let room = Frame::Ping;
    attempt(false, &[Frame::ImmediateAck, room, room, room]).expect_close(
        "5, not offered",
        &[PROTOCOL_VIOLATION],
        0x1f,
    );
    attempt(true, &[asks(0, 999)]).expect_close("4, below min_ack_delay", &[PROTOCOL_VIOLATION], 0xaf);
    attempt(true, &[asks(0, (1 << 14) * 1000)]).expect_close("4, 2^14 ms", &[PROTOCOL_VIOLATION], 0xaf);
    // Invalid is invalid in an obsolete frame too.
    attempt(true, &[asks(7, 25_000), asks(6, 0)]).expect_close("4, obsolete", &[PROTOCOL_VIOLATION], 0xaf);
    attempt(true, &[asks(0, 1000), asks(0, 1000), asks(9, (1 << 14) * 1000 - 1)]).expect_open("4");
    attempt(true, &[Frame::ImmediateAck, room, room, Frame::ImmediateAck]).expect_open("5");
}

/// RFC 9000 section 10.2: CONNECTION_CLOSE ends it without an answer, with any code and reason.
#[test]
fn close_of_the_peer_section_10_2() {
    for (level, frame) in [
        (Level::Initial, Frame::ConnectionClose { code: 0x10a, frame_type: Some(6), reason: b"" }),
        (Level::Handshake, Frame::ConnectionClose { code: 0, frame_type: Some(0), reason: &[0xff; 300] }),
        (Level::OneRtt, Frame::ConnectionClose { code: (1 << 62) - 1, frame_type: None, reason: b"\xff\xfe" }),
    ] {
        let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
        match level {
            Level::Initial => {}
            Level::Handshake => until_done(&mut world, &mut peer),
            _ => world.exchange(&mut peer),
        }
        let payload = [frames(&[frame]), stream(0, 100_000_000, b"never read", true)].concat();
        let datagram = if level == Level::Initial { peer.padded(&payload, 1200) } else { peer.packet(level, &payload) };
        let before = world.bytes[1];
        world.send(&mut peer, &datagram);
        peer.expect_open("10.2.2: draining is silent");
        if level != Level::Initial {
            assert_eq!(world.bytes[1], before, "{level:?}");
        }
        world.pass(&mut peer, 30 * SECOND);
        assert_eq!((world.connections.len(), world.endpoint.route_count()), (0, 0), "{level:?}");
    }
}

/// RFC 9000 section 10.2.1: after our CONNECTION_CLOSE packets are answered, ever more rarely, and nothing else.
#[test]
fn closing_answers_are_limited_section_10_2_1() {
    let (mut world, mut peer) = connected();
    world.frames(&mut peer, Level::OneRtt, &[0x20, 0, 0, 0]);
    peer.expect_close("12.4", &[FRAME_ENCODING_ERROR], 0x20);
    let closes = |peer: &Peer| peer.log.iter().filter(|g| matches!(g, Got::Close(_))).count();
    let first = closes(&peer);
    for _ in 0..200 {
        world.frames(&mut peer, Level::OneRtt, &[1, 0, 0, 0]);
    }
    let more = closes(&peer) - first;
    assert!((1..=10).contains(&more), "{more} answers to 200 packets");
    assert!(!peer.log.iter().rev().take(more).any(|g| !matches!(g, Got::Close(_))));
}
