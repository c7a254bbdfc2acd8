//! Connection IDs (RFC 9000 sections 5.1, 19.15 and 19.16): cases 25 and 26, floods and forgeries.
use whimbrel::base::codes::transport::*;
use whimbrel::base::{ConnectionId, Level, ResetToken};
use whimbrel::wire::Frame;

use super::peer::{Got, Peer, Shape, frames, new_cid, varint};
use super::world::{ORDERS, Setup, V1, V2, World, attack, connected, connected_with};

const EXACT: [u64; 2] = [PROTOCOL_VIOLATION, INTERNAL_ERROR];

#[track_caller]
fn own(section: &str, frame: &[u8], code: u64) {
    for version in [V1, V2] {
        for order in ORDERS {
            let peer = attack(version, order, |p| p.packet(Level::OneRtt, frame));
            peer.expect_close(section, &[&[code][..], &EXACT].concat(), 0x18);
        }
    }
}

/// Case 25: FRAME_ENCODING_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
//= type=test
//# Receiving a value in the Retire Prior To field that is greater than that in the Sequence Number field MUST be
//# treated as a connection error of type FRAME_ENCODING_ERROR.
#[test]
fn case_25_retire_prior_to_above_the_sequence_number_section_19_15() {
    own("19.15", &new_cid(1, 11), FRAME_ENCODING_ERROR);
    own("19.15", &new_cid(1, 2), FRAME_ENCODING_ERROR);
    own("19.15", &new_cid(1, (1 << 62) - 1), FRAME_ENCODING_ERROR);
}

fn sized(len: u8) -> Vec<u8> {
    let mut out = [varint(0x18), varint(1), varint(0), vec![len]].concat();
    out.extend(std::iter::repeat_n(7, usize::from(len) + 16));
    out
}

/// Case 26: FRAME_ENCODING_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
//= type=test
//# Values less than 1 and greater than 20 are invalid and MUST be treated as a connection error of type
//# FRAME_ENCODING_ERROR.
#[test]
fn case_26_connection_id_of_no_length_section_19_15() {
    own("19.15", &sized(0), FRAME_ENCODING_ERROR);
    own("19.15", &sized(21), FRAME_ENCODING_ERROR);
    own("19.15", &sized(255), FRAME_ENCODING_ERROR);
}

#[track_caller]
fn one_rtt(payload: &[u8]) -> (World, Peer) {
    let (mut world, mut peer) = connected_with(Setup { http3: false, ..Default::default() }, V1);
    world.frames(&mut peer, Level::OneRtt, payload);
    (world, peer)
}

fn issue(sequence: u64, cid: &[u8], token: u8) -> Vec<u8> {
    let cid = ConnectionId::new(cid).unwrap();
    frames(&[Frame::NewConnectionId { sequence, retire_prior_to: 0, cid, token: ResetToken([token; 16]) }])
}

/// RFC 9000 section 19.15: the same number with another ID or token, the same ID with another number.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
//= type=test
//# Receipt of the same frame multiple times MUST NOT be treated as a connection error.
#[test]
fn contradictions_section_19_15() {
    let first = issue(1, b"number 1", 1);
    for second in [issue(1, b"number 2", 1), issue(1, b"number 1", 2), issue(2, b"number 1", 1)] {
        let (_, peer) = one_rtt(&[first.clone(), second].concat());
        peer.expect_close("19.15", &[PROTOCOL_VIOLATION], 0x18);
    }
    // The ID of the handshake under a new number, and number 0 with another ID.
    let (_, peer) = one_rtt(&issue(1, b"evilpeer", 1));
    peer.expect_close("19.15", &[PROTOCOL_VIOLATION], 0x18);
    let (_, peer) = one_rtt(&issue(0, b"number 0", 1));
    peer.expect_close("19.15", &[PROTOCOL_VIOLATION], 0x18);
    // The very same frame again is no error.
    let (_, peer) = one_rtt(&[first.clone(), first.clone(), first].concat());
    peer.expect_open("19.15");
}

/// RFC 9000 section 5.1.1: CONNECTION_ID_LIMIT_ERROR beyond active_connection_id_limit.
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.1
//= type=test
//# After processing a NEW_CONNECTION_ID frame and adding and retiring active connection IDs, if the number of active
//# connection IDs exceeds the value advertised in its active_connection_id_limit transport parameter, an endpoint MUST
//# close the connection with an error of type CONNECTION_ID_LIMIT_ERROR.
#[test]
fn more_ids_than_the_limit_section_5_1_1() {
    let limit = Setup::default().config.active_cid_limit;
    let upto = |n: u64| -> Vec<u8> { (1..n).flat_map(|s| new_cid(s, 0)).collect() };
    let (_, peer) = one_rtt(&upto(limit));
    peer.expect_open("5.1.1");
    let (_, peer) = one_rtt(&upto(limit + 1));
    peer.expect_close("5.1.1", &[CONNECTION_ID_LIMIT_ERROR], 0x18);
}

/// RFC 9000 section 5.1.2: endless retirement while acknowledgements are withheld is cut off.
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.2
//= type=test
//# An endpoint MUST NOT forget a connection ID without retiring it, though it MAY choose to treat having connection IDs
//# in need of retirement that exceed this limit as a connection error of type CONNECTION_ID_LIMIT_ERROR.
#[test]
fn retirement_flood_section_5_1_2() {
    let (mut world, mut peer) = connected();
    peer.mute = true;
    let mut sent = 0;
    while peer.close().is_none() && sent < 1000 {
        sent += 1;
        world.frames(&mut peer, Level::OneRtt, &new_cid(sent, sent));
    }
    peer.expect_close("5.1.2", &[CONNECTION_ID_LIMIT_ERROR, PROTOCOL_VIOLATION], 0x18);
    // With acknowledgements the same goes on as long as the peer likes.
    let (mut world, mut peer) = connected();
    for sequence in 1..200 {
        let payload = new_cid(sequence, sequence);
        let packet = peer.packet_as(Level::OneRtt, &payload, Shape::default());
        world.send(&mut peer, &packet);
        peer.expect_open("5.1.2");
    }
    assert!(peer.log.iter().filter(|g| matches!(g, Got::Retire(_))).count() >= 190);
}

/// Sequence numbers with holes cost memory: bounded.
#[test]
fn gaps_in_sequence_numbers_section_19_15() {
    let (mut world, mut peer) = connected();
    let mut sequence = 2;
    while peer.close().is_none() && sequence < 2000 {
        world.frames(&mut peer, Level::OneRtt, &new_cid(sequence, sequence));
        sequence += 2;
    }
    peer.expect_close("19.15", &[CONNECTION_ID_LIMIT_ERROR, PROTOCOL_VIOLATION], 0x18);
    let (_, peer) = one_rtt(&new_cid((1 << 62) - 1, (1 << 62) - 1));
    peer.expect_open("19.15: a huge step is allowed");
}

/// RFC 9000 section 19.16: PROTOCOL_VIOLATION for an ID that was never issued, and for the one in use.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.16
//= type=test
//# Receipt of a RETIRE_CONNECTION_ID frame containing a sequence number greater than any previously sent to the peer
//# MUST be treated as a connection error of type PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.16
//= type=test
//# The sequence number specified in a RETIRE_CONNECTION_ID frame MUST NOT refer to the Destination Connection ID field
//# of the packet in which the frame is contained.
#[test]
fn retire_connection_id_of_unknown_or_current_ids_section_19_16() {
    for sequence in [5, 6, 100, (1 << 62) - 1] {
        let (_, peer) = one_rtt(&frames(&[Frame::RetireConnectionId(sequence)]));
        peer.expect_close("19.16", &[PROTOCOL_VIOLATION], 0x19);
    }
    let (_, peer) = one_rtt(&frames(&[Frame::RetireConnectionId(0)]));
    peer.expect_close("19.16", &[PROTOCOL_VIOLATION], 0x19);
    // Another one is replaced, and its loss told a second time changes nothing.
    let (mut world, mut peer) = one_rtt(&frames(&[Frame::RetireConnectionId(2)]));
    peer.expect_open("19.16");
    assert!(peer.saw(|g| matches!(g, Got::NewCid { sequence: 5, .. })), "{:?}", peer.log);
    world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::RetireConnectionId(2), Frame::Padding(2)]));
    peer.expect_open("19.16");
    assert!(!peer.saw(|g| matches!(g, Got::NewCid { sequence: 6, .. })));
    // The packet's own ID is what counts, not the first one.
    let cid = peer.log.iter().find_map(|g| match g {
        Got::NewCid { sequence: 1, cid } => Some(*cid),
        _ => None,
    });
    let shape = Shape { dcid: cid, ..Default::default() };
    world.frames_as(&mut peer, Level::OneRtt, &frames(&[Frame::RetireConnectionId(0), Frame::Padding(2)]), shape);
    peer.expect_open("19.16");
    world.frames_as(&mut peer, Level::OneRtt, &frames(&[Frame::RetireConnectionId(1), Frame::Padding(2)]), shape);
    peer.expect_close("19.16", &[PROTOCOL_VIOLATION], 0x19);
}

/// A flood of retirements is answered with as many new IDs and no more, each as long as the old ones are gone.
#[test]
fn retire_flood_is_bounded_section_5_1_1() {
    let (mut world, mut peer) = connected();
    let mut next = 1;
    for _ in 0..100 {
        let known: Vec<u64> = peer
            .log
            .iter()
            .filter_map(|g| match g {
                Got::NewCid { sequence, .. } if *sequence >= next => Some(*sequence),
                _ => None,
            })
            .collect();
        let all: Vec<u8> = known.iter().flat_map(|s| frames(&[Frame::RetireConnectionId(*s)])).collect();
        next = known.iter().max().map_or(next, |m| m + 1);
        if !all.is_empty() {
            world.frames(&mut peer, Level::OneRtt, &[all, vec![0; 4]].concat());
        }
        peer.expect_open("5.1.1");
    }
    // One connection, its initial ID and four others: routes do not pile up.
    assert!(world.endpoint.route_count() <= 10, "{}", world.endpoint.route_count());
}

/// A packet to this ID is taken and answered.
fn works(world: &mut World, peer: &mut Peer, cid: ConnectionId, name: u64) -> bool {
    let shape = Shape { dcid: Some(cid), ..Default::default() };
    let data = name.to_be_bytes();
    world.frames_as(peer, Level::OneRtt, &frames(&[Frame::PathChallenge(data), Frame::Padding(4)]), shape);
    peer.saw(|g| *g == Got::PathResponse(data))
}

/// As many as the peer will hold, numbered without gaps, all different, and each works until it is retired.
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.1
//= type=test
//# The sequence number on each newly issued connection ID MUST increase by 1.
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.1
//= type=test
//# When an endpoint issues a connection ID, it MUST accept packets that carry this connection ID for the duration of
//# the connection or until its peer invalidates the connection ID via a RETIRE_CONNECTION_ID frame (Section 19.16).
//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.1
//= type=test
//# An endpoint MUST NOT provide more connection IDs than the peer's limit.
#[test]
fn every_issued_id_works_section_5_1_1() {
    let (mut world, mut peer) = connected_with(Setup { http3: false, ..Default::default() }, V1);
    let issued = |peer: &Peer| -> Vec<(u64, ConnectionId)> {
        let id = |g: &Got| if let Got::NewCid { sequence, cid } = g { Some((*sequence, *cid)) } else { None };
        peer.log.iter().filter_map(id).collect()
    };
    let (first, all) = (peer.dcid, issued(&peer));
    // Its limit is 5, and the ID of the handshake is one of them.
    assert_eq!(all.iter().map(|i| i.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(works(&mut world, &mut peer, first, 100));
    for (sequence, cid) in &all {
        assert!(works(&mut world, &mut peer, *cid, *sequence), "{sequence}");
    }
    let retire = frames(&[Frame::RetireConnectionId(2), Frame::RetireConnectionId(3), Frame::Padding(4)]);
    world.frames(&mut peer, Level::OneRtt, &retire);
    let all = issued(&peer);
    assert_eq!(all.iter().map(|i| i.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6], "two gone, two new");
    let mut different: Vec<ConnectionId> = all.iter().map(|i| i.1).chain([first]).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 7);
    for (sequence, cid) in all.iter().filter(|i| i.0 != 2 && i.0 != 3) {
        assert!(works(&mut world, &mut peer, *cid, 200 + sequence), "{sequence}");
    }
}
