//! Path validation and migration against a peer of raw packets that may be anywhere (RFC 9000 sections 8.2 and 9).
use std::net::SocketAddr;

use whimbrel::base::{Dir, Level};
use whimbrel::connection::Event;
use whimbrel::wire::Frame;

use super::peer::{Got, Peer, frames};
use super::world::{EVIL, SECOND, Setup, V1, World, addr, connected_with};

const ELSEWHERE: &str = "192.0.2.77:7777";
const PING: &[u8] = &[1, 0, 0, 0, 0];

/// A connection without HTTP/3. The peer has given three spare connection IDs and acknowledged everything.
fn ready(edit: impl FnOnce(&mut Setup)) -> (World, Peer) {
    let mut setup = Setup { http3: false, ..Default::default() };
    edit(&mut setup);
    let (mut world, mut peer) = connected_with(setup, V1);
    let ids: Vec<u8> = (1..4).flat_map(|n| super::peer::new_cid(n, 0)).collect();
    world.frames(&mut peer, Level::OneRtt, &ids);
    world.exchange(&mut peer);
    (world, peer)
}

/// One packet from an address; what goes out in answer without any time passing: destination and size. The peer reads
/// all of it, wherever it went.
fn from(world: &mut World, peer: &mut Peer, place: &str, payload: &[u8]) -> Vec<(SocketAddr, usize)> {
    let packet = peer.packet(Level::OneRtt, payload);
    world.deliver_from(addr(place), &packet);
    read_out(world, peer)
}

fn read_out(world: &mut World, peer: &mut Peer) -> Vec<(SocketAddr, usize)> {
    world.turn();
    let out = std::mem::take(&mut world.out);
    out.iter().for_each(|(_, datagram)| peer.receive(datagram));
    out.iter().map(|(to, datagram)| (*to, datagram.len())).collect()
}

fn challenges(peer: &Peer) -> Vec<[u8; 8]> {
    let data = |g: &Got| if let Got::PathChallenge(data) = g { Some(*data) } else { None };
    peer.log.iter().filter_map(data).collect()
}

fn responses(peer: &Peer, data: [u8; 8]) -> usize {
    peer.log.iter().filter(|g| **g == Got::PathResponse(data)).count()
}

fn challenge(data: &[u8; 8]) -> Vec<u8> {
    frames(&[Frame::PathChallenge(*data)])
}

fn validated(world: &World, place: &str) -> bool {
    world.events.iter().any(|e| matches!(e, Event::PathValidated { tuple, .. } if tuple.remote == addr(place)))
}

/// The answer to a challenge in a full datagram: at once, where it came from, in a full datagram, once.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# On receiving a PATH_CHALLENGE frame, an endpoint MUST respond by echoing the data contained in the PATH_CHALLENGE
//# frame in a PATH_RESPONSE frame.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# An endpoint MUST NOT delay transmission of a packet containing a PATH_RESPONSE frame unless constrained by
//# congestion control.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# A PATH_RESPONSE frame MUST be sent on the network path where the PATH_CHALLENGE frame was received.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# An endpoint MUST expand datagrams that contain a PATH_RESPONSE frame to at least the smallest allowed maximum
//# datagram size of 1200 bytes.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# An endpoint MUST NOT send more than one PATH_RESPONSE frame in response to one PATH_CHALLENGE frame; see Section
//# 13.3.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.17
//= type=test
//# The recipient of this frame MUST generate a PATH_RESPONSE frame (Section 19.18) containing the same Data value.
#[test]
fn a_challenge_is_answered_section_8_2_2() {
    let (mut world, mut peer) = ready(|_| {});
    let padded = [challenge(b"question"), vec![0; 1200]].concat();
    let out = from(&mut world, &mut peer, ELSEWHERE, &padded);
    let (to, len) = out[0];
    assert_eq!(to, addr(ELSEWHERE));
    assert!(len >= 1200, "{len}");
    assert_eq!(responses(&peer, *b"question"), 1);
    // Neither time nor the loss of the answer brings a second one.
    peer.mute = true;
    for _ in 0..50 {
        world.now = world.now + SECOND / 5;
        read_out(&mut world, &mut peer);
    }
    assert_eq!(responses(&peer, *b"question"), 1);
    assert!(out.iter().all(|(to, _)| *to == addr(ELSEWHERE) || *to == addr(EVIL)));
}

/// A small datagram is good enough to ask, and its answer does not go beyond three times its size; the challenge that
/// goes with it proves the address only, and a second one in a full datagram the path's MTU.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.1
//= type=test
//# To ensure that the path MTU is large enough, the endpoint MUST perform a second path validation by sending a
//# PATH_CHALLENGE frame in a datagram of at least 1200 bytes.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.1
//= type=test
//# Unlike other cases where datagrams are expanded, endpoints MUST NOT discard datagrams that appear to be too small
//# when they contain PATH_CHALLENGE or PATH_RESPONSE.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# However, an endpoint MUST NOT expand the datagram containing the PATH_RESPONSE if the resulting data exceeds the
//# anti-amplification limit.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.3
//= type=test
//# However, the endpoint MUST initiate another path validation with an expanded datagram to verify that the path
//# supports the required MTU.
#[test]
fn small_challenges_section_8_2_1() {
    let (mut world, mut peer) = ready(|_| {});
    let before = world.bytes[0];
    let out = from(&mut world, &mut peer, ELSEWHERE, &challenge(b"question"));
    let came = world.bytes[0] - before;
    let to_there = |out: &[(SocketAddr, usize)]| -> Vec<usize> {
        out.iter().filter(|(to, _)| *to == addr(ELSEWHERE)).map(|(_, len)| *len).collect()
    };
    let sizes = to_there(&out);
    assert!(came < 100 && !sizes.is_empty() && sizes.iter().sum::<usize>() <= 3 * came, "{sizes:?} for {came}");
    assert_eq!(responses(&peer, *b"question"), 1);
    let first = challenges(&peer);
    assert_eq!(first.len(), 1, "our own question goes with the answer");
    let out = from(&mut world, &mut peer, ELSEWHERE, &frames(&[Frame::PathResponse(first[0])]));
    assert!(!validated(&world, ELSEWHERE), "the size is not proved");
    let second = challenges(&peer);
    assert_eq!(second.len(), 2);
    assert_ne!(second[0], second[1]);
    assert!(to_there(&out)[0] >= 1200, "{out:?}");
    from(&mut world, &mut peer, ELSEWHERE, &frames(&[Frame::PathResponse(second[1])]));
    assert!(validated(&world, ELSEWHERE));
}

/// The answer to our challenge may come by any path.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# This requirement MUST NOT be enforced by the endpoint that initiates path validation, as that would enable an attack
//# on migration; see Section 9.3.3.
#[test]
fn a_response_by_another_path_section_8_2_2() {
    let (mut world, mut peer) = ready(|_| {});
    from(&mut world, &mut peer, ELSEWHERE, &[challenge(b"question"), vec![0; 1200]].concat());
    let asked = challenges(&peer);
    assert_eq!(asked.len(), 1);
    assert!(!validated(&world, ELSEWHERE));
    from(&mut world, &mut peer, EVIL, &frames(&[Frame::PathResponse(asked[0])]));
    assert!(validated(&world, ELSEWHERE));
}

/// A client that speaks from a new address: it is answered there, within three times what came from there, and asked
/// to prove itself, and the old address is asked as well.
fn moves(edit: impl FnOnce(&mut Setup)) {
    let (mut world, mut peer) = ready(edit);
    let id = world.connection().open(Dir::Uni).unwrap();
    let out = from(&mut world, &mut peer, ELSEWHERE, PING);
    assert_eq!(challenges(&peer).len(), 2, "{out:?}");
    for place in [ELSEWHERE, EVIL] {
        assert!(out.iter().any(|(to, _)| *to == addr(place)), "{place}: {out:?}");
    }
    let came = world.bytes[0];
    world.connection().write(id, &[7; 100_000]).unwrap();
    let mut there = out.iter().filter(|(to, _)| *to == addr(ELSEWHERE)).map(|o| o.1).sum::<usize>();
    for _ in 0..20 {
        let out = read_out(&mut world, &mut peer);
        assert!(out.iter().all(|(to, len)| *to == addr(ELSEWHERE) || *len <= 1200), "data goes to the new address");
        there += out.iter().filter(|(to, _)| *to == addr(ELSEWHERE)).map(|o| o.1).sum::<usize>();
        world.now = world.now + SECOND / 100;
    }
    assert_eq!(world.bytes[0], came);
    assert!(there <= 3 * 60, "{there} bytes to an address that is not proved");
    // It proves itself, and gets the rest.
    for _ in 0..3 {
        let all: Vec<u8> = challenges(&peer).into_iter().flat_map(|d| frames(&[Frame::PathResponse(d)])).collect();
        from(&mut world, &mut peer, ELSEWHERE, &all);
    }
    assert!(validated(&world, ELSEWHERE));
    assert!(peer.stream_bytes(id.0).len() > 5000);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8
//= type=test
//# Therefore, after receiving packets from an address that is not yet validated, an endpoint MUST limit the amount of
//# data it sends to the unvalidated address to three times the amount of data received from that address.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# An endpoint MUST perform path validation (Section 8.2) if it detects any change to a peer's address, unless it has
//# previously validated that address.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.3
//= type=test
//# If the recipient permits the migration, it MUST send subsequent packets to the new peer address and MUST initiate
//# path validation (Section 8.2) to verify the peer's ownership of the address if validation is not already underway.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.3
//= type=test
//# An endpoint MAY send data to an unvalidated peer address, but it MUST protect against potential attacks as described
//# in Sections 9.3.1 and 9.3.2.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.3.3
//= type=test
//# In response to an apparent migration, endpoints MUST validate the previously active path using a PATH_CHALLENGE
//# frame.
#[test]
fn the_client_moves_section_9_3() {
    moves(|_| {});
}

/// A client that was told not to move is let move: it cannot be told from one whose NAT did it.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# If the peer violates this requirement, the endpoint MUST either drop the incoming packets on that path without
//# generating a Stateless Reset or proceed with path validation and allow the peer to migrate.
#[test]
fn the_client_moves_all_the_same_section_9() {
    moves(|setup| setup.config.disable_migration = true);
}

/// Nobody answers at the new address: back to the old one, without a word to the peer.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.3.2
//= type=test
//# To protect the connection from failing due to such a spurious migration, an endpoint MUST revert to using the last
//# validated peer address when validation of a new peer address fails.
#[test]
fn an_address_that_never_answers_section_9_3_2() {
    let (mut world, mut peer) = ready(|_| {});
    from(&mut world, &mut peer, ELSEWHERE, PING);
    assert_eq!(world.connection().path().remote, addr(ELSEWHERE));
    peer.mute = true;
    for _ in 0..100 {
        world.now = world.now + SECOND / 10;
        read_out(&mut world, &mut peer);
    }
    assert_eq!(world.connection().path().remote, addr(EVIL));
    peer.expect_open("9.3.2");
    let id = world.connection().open(Dir::Uni).unwrap();
    world.connection().write(id, b"still here").unwrap();
    let out = read_out(&mut world, &mut peer);
    assert!(!out.is_empty() && out.iter().all(|(to, _)| *to == addr(EVIL)), "{out:?}");
}

/// The server names another address of its own: it is asked first whether it is there, with frames for that purpose
/// only; everything else follows its answer.
//= https://www.rfc-editor.org/rfc/rfc9000#section-21.5.3
//= type=test
//# A client MUST NOT send non-probing frames to a preferred address prior to validating that address; see Section
//# 8.
#[test]
fn preferred_address_section_21_5_3() {
    const PREFERRED: &str = "192.0.2.9:443";
    let mut value = vec![192, 0, 2, 9, 1, 187];
    value.extend([0; 18]);
    value.push(8);
    value.extend([0x11; 8]);
    value.extend([0x22; 16]);
    let (mut world, mut peer) = super::client_role::facing(|p| p.set(0x0d, &value));
    world.exchange(&mut peer);
    let id = world.connection().open(Dir::Uni).unwrap();
    world.connection().write(id, b"wait for it").unwrap();
    let done = peer.packet(Level::OneRtt, &frames(&[Frame::HandshakeDone, Frame::Padding(4)]));
    world.deliver(&done);
    let mut asked = Vec::new();
    for _ in 0..30 {
        world.turn();
        for (to, datagram) in std::mem::take(&mut world.out) {
            let before = peer.log.len();
            peer.receive(&datagram);
            if to == addr(PREFERRED) {
                for got in &peer.log[before..] {
                    match got {
                        Got::PathChallenge(data) => asked.push(*data),
                        Got::NewCid { .. } | Got::PathResponse(_) => {}
                        other => panic!("{other:?} to an address that was not validated"),
                    }
                }
            }
        }
        for datagram in peer.flush() {
            world.deliver(&datagram);
        }
        world.connection().write(id, b"more").unwrap();
        world.now = world.now + SECOND / 20;
    }
    assert!(asked.len() > 1, "asked again for want of an answer");
    let answer = frames(&[Frame::PathResponse(*asked.last().unwrap())]);
    from(&mut world, &mut peer, PREFERRED, &answer);
    assert!(validated(&world, PREFERRED));
    world.connection().write(id, b"now").unwrap();
    let to: Vec<_> = read_out(&mut world, &mut peer).into_iter().map(|(to, _)| to).collect();
    assert!(to.contains(&addr(PREFERRED)) && !to.contains(&addr(EVIL)), "{to:?}");
}
