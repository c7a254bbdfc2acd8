//! 0-RTT (RFC 9001 sections 4.6 and 8.3, RFC 9000 sections 12.4 and 12.5): case 34.
use std::sync::Arc;

use whimbrel::base::codes::transport::*;
use whimbrel::base::{ConnectionId, Dir, Level, ResetToken, StreamId};
use whimbrel::connection::CloseReason;
use whimbrel::crypto::{ClientTls, ServerTls};
use whimbrel::endpoint::RetryPolicy;
use whimbrel::wire::Frame;

use super::peer::{Got, Peer, crypto, frames, stream};
use super::world::{ALPN, Setup, V1, V2, World, client_tls, server_tls};

/// Both sides after a connection that brought a ticket.
fn ticket(version: u32) -> (Arc<ClientTls>, Arc<ServerTls>) {
    let (client, server) = (client_tls(&ALPN, true), server_tls(true));
    let mut world = setup(&server);
    let mut peer = Peer::client(&client, version, |p| p);
    world.exchange(&mut peer);
    assert!(peer.done && peer.zero_rtt.is_none());
    (client, server)
}

fn setup(server: &Arc<ServerTls>) -> World {
    World::server_with(Setup { tls: Arc::clone(server), ..Default::default() })
}

/// A resumed connection up to its first Initial datagram, which is not sent.
pub fn resumed(version: u32) -> (World, Peer, Vec<u8>) {
    let (client, server) = ticket(version);
    let mut peer = Peer::client(&client, version, |p| p);
    assert!(peer.zero_rtt.is_some(), "the server gave a ticket for 0-RTT");
    let hello = peer.crypto_piece(Level::Initial);
    let initial = peer.padded(&hello, 1250);
    (setup(&server), peer, initial)
}

#[track_caller]
fn forbidden(payload: &[u8], codes: &[u64], frame_type: u64) {
    for version in [V1, V2] {
        // Behind the Initial, in the same datagram, and before it.
        for order in 0..3 {
            let (mut world, mut peer, mut initial) = resumed(version);
            let early = peer.packet(Level::ZeroRtt, payload);
            match order {
                0 => {
                    world.deliver(&initial);
                    world.deliver(&early);
                }
                1 => {
                    initial.extend(early);
                    world.deliver(&initial);
                }
                _ => {
                    world.deliver(&early);
                    world.deliver(&initial);
                }
            }
            world.exchange(&mut peer);
            peer.expect_close(&format!("12.4, order {order}"), codes, frame_type);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-8.3
//= type=test
//# A server MUST treat receipt of a CRYPTO frame in a 0-RTT packet as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn case_34_crypto_in_0_rtt_rfc_9001_section_8_3() {
    forbidden(&crypto(0, &[8, 0, 0, 2, 0, 0]), &[PROTOCOL_VIOLATION, INTERNAL_ERROR], 0x06);
}

#[test]
fn other_frames_that_0_rtt_may_not_carry_section_12_5() {
    let ack = [0x02, 0, 0, 0, 0];
    forbidden(&ack, &[PROTOCOL_VIOLATION], 0x02);
    forbidden(&frames(&[Frame::NewToken(b"token")]), &[PROTOCOL_VIOLATION], 0x07);
    forbidden(&frames(&[Frame::PathResponse(*b"12345678")]), &[PROTOCOL_VIOLATION], 0x1b);
    forbidden(&frames(&[Frame::RetireConnectionId(0)]), &[PROTOCOL_VIOLATION], 0x19);
    forbidden(&frames(&[Frame::HandshakeDone, Frame::Padding(4)]), &[PROTOCOL_VIOLATION], 0x1e);
    // And what no packet may carry.
    forbidden(&[0x20, 0, 0, 0], &[FRAME_ENCODING_ERROR], 0x20);
    forbidden(&stream(3, 0, b"", false), &[STREAM_STATE_ERROR], 0x0a);
    forbidden(&stream(0, 100_000_000, b"x", false), &[FLOW_CONTROL_ERROR], 0x0e);
}

/// What it may carry is taken.
#[test]
fn frames_that_0_rtt_may_carry_section_12_4() {
    let (mut world, mut peer, initial) = resumed(V1);
    let cid = ConnectionId::new(b"another!").unwrap();
    let payload = frames(&[
        Frame::Ping,
        Frame::Padding(2),
        Frame::MaxData(1 << 30),
        Frame::MaxStreams { dir: Dir::Bi, max: 200 },
        Frame::NewConnectionId { sequence: 1, retire_prior_to: 0, cid, token: ResetToken([1; 16]) },
        Frame::PathChallenge(*b"12345678"),
        Frame::ResetStream { id: StreamId(4), code: 1, final_size: 0 },
        Frame::Stream { id: StreamId(0), offset: 0, fin: false, data: b"" },
        Frame::Datagram(b"datagram"),
    ]);
    let early = peer.packet(Level::ZeroRtt, &payload);
    world.deliver(&initial);
    world.send(&mut peer, &early);
    peer.expect_open("12.4");
    assert!(peer.resumed() && peer.saw(|g| *g == Got::HandshakeDone));
    assert!(peer.saw(|g| *g == Got::PathResponse(*b"12345678")));
}

/// A server that does not take early data drops the packets, whatever is in them.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.2
//= type=test
//# When rejecting 0-RTT, a server MUST NOT process any 0-RTT packets, even if it could.
#[test]
fn early_data_is_not_accepted_rfc_9001_section_4_6_2() {
    let (client, _) = ticket(V1);
    let mut world = setup(&server_tls(false));
    let mut peer = Peer::client(&client, V1, |p| p);
    let hello = peer.crypto_piece(Level::Initial);
    let mut initial = peer.padded(&hello, 1250);
    initial.extend(peer.packet(Level::ZeroRtt, &crypto(0, &[8, 0, 0, 2, 0, 0])));
    world.send(&mut peer, &initial);
    peer.expect_open("RFC 9001 4.6.2");
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
}

/// The same 0-RTT datagram again and again, on its own connection and as a new one.
#[test]
fn replayed_early_data_rfc_9001_section_9_2() {
    let (mut world, mut peer, mut initial) = resumed(V1);
    initial.extend(peer.packet(Level::ZeroRtt, &stream(0, 0, b"", false)));
    for _ in 0..10 {
        world.deliver(&initial);
    }
    world.exchange(&mut peer);
    peer.expect_open("9.2");
    assert_eq!(world.connections.len(), 1);
    // The ticket was used: a second connection with it gets no 0-RTT, and with that no answer to its data.
    let mut again = World::server_with(Setup { retry: RetryPolicy::Never, ..Default::default() });
    again.deliver(&initial);
    again.turn();
    assert!(!matches!(again.close_reason(), Some(CloseReason::Transport(_))));
}
