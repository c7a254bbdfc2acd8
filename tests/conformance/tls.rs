//! TLS in QUIC (RFC 9001 sections 4, 6 and 8): cases 28 to 33. The codes are alerts; a plain PROTOCOL_VIOLATION
//! does not do where an alert is asked for.
use whimbrel::base::Level;
use whimbrel::base::codes::transport::*;

use super::peer::{Got, Peer, crypto, frames, varint};
use super::world::{ALPN, Setup, V1, V2, World, client_tls, client_with, connected, until_done};
use whimbrel::wire::Frame;

const UNEXPECTED_MESSAGE: u64 = CRYPTO_ERROR + 10;
const DECODE_ERROR: u64 = CRYPTO_ERROR + 50;
const PROTOCOL_VERSION: u64 = CRYPTO_ERROR + 70;
const MISSING_EXTENSION: u64 = CRYPTO_ERROR + 109;
const NO_APPLICATION_PROTOCOL: u64 = CRYPTO_ERROR + 120;
/// handshake_failure and internal_error are taken for any alert.
const ANY: [u64; 2] = [CRYPTO_ERROR + 40, CRYPTO_ERROR + 80];
const KEY_UPDATE: [u8; 5] = [0x18, 0, 0, 1, 1];

fn alert(code: u64) -> [u64; 3] {
    [code, ANY[0], ANY[1]]
}

/// Our Handshake flight is the Finished and what `edit` makes of it, in as many CRYPTO frames of one packet as
/// there are pieces.
fn finished(version: u32, edit: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) -> Peer {
    let (mut world, mut peer) = client_with(Setup::default(), version, |p| p);
    until_done(&mut world, &mut peer);
    let at = peer.pending.iter().position(|(l, _)| *l == Level::Handshake).unwrap();
    let message = peer.pending.remove(at).unwrap().1;
    let mut payload = Vec::new();
    let mut offset = 0;
    for piece in edit(&message) {
        payload.extend(crypto(offset, &piece));
        offset += piece.len() as u64;
    }
    world.frames(&mut peer, Level::Handshake, &payload);
    peer
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-6
//= type=test
//# Endpoints MUST treat the receipt of a TLS KeyUpdate message as a connection error of type 0x010a, equivalent to a
//# fatal TLS alert of unexpected_message; see Section 4.8.
#[test]
fn case_28_key_update_in_handshake_section_6() {
    for version in [V1, V2] {
        // In one CRYPTO frame with Finished; in one of its own; torn.
        let codes = alert(UNEXPECTED_MESSAGE);
        finished(version, |f| vec![[f, &KEY_UPDATE].concat()]).expect_close("RFC 9001 6", &codes, 0x06);
        finished(version, |f| vec![f.to_vec(), KEY_UPDATE.to_vec()]).expect_close("RFC 9001 6", &codes, 0x06);
        finished(version, |f| vec![[f, &KEY_UPDATE[..1]].concat(), KEY_UPDATE[1..].to_vec()]).expect_close(
            "RFC 9001 6",
            &codes,
            0x06,
        );
        // Before Finished.
        finished(version, |f| vec![[&KEY_UPDATE, f].concat()]).expect_close("RFC 9001 6", &codes, 0x06);
    }
}

#[test]
fn case_29_key_update_in_1_rtt_section_6() {
    super::world::injected("RFC 9001 6", &crypto(0, &KEY_UPDATE), &alert(UNEXPECTED_MESSAGE), 0x06);
}

#[test]
fn any_tls_message_of_a_client_after_the_handshake_rfc_8446_section_4_6() {
    // NewSessionTicket, CertificateRequest, Finished, an unknown type; none of them makes sense as it is here.
    for message in [&[4u8, 0, 0, 1, 0][..], &[13, 0, 0, 1, 0], &[20, 0, 0, 0], &[99, 0, 0, 0]] {
        let (mut world, mut peer) = connected();
        world.frames(&mut peer, Level::OneRtt, &crypto(0, message));
        peer.expect_close("RFC 8446 4.6", &[UNEXPECTED_MESSAGE, DECODE_ERROR], 0x06);
    }
}

fn hello_with(tls: &[&str], version: u32, edit: impl FnOnce(&[u8]) -> Vec<u8>) -> (World, Peer) {
    let mut world = World::server();
    let mut peer = Peer::client(&client_tls(tls, false), version, |p| p);
    let hello = peer.pending.pop_front().unwrap().1;
    peer.pending.push_back((Level::Initial, edit(&hello)));
    world.exchange(&mut peer);
    (world, peer)
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//= type=test
//# When using ALPN, endpoints MUST immediately close a connection (see Section 10.2 of [QUIC-TRANSPORT]) with a
//# no_application_protocol TLS alert (QUIC error code 0x0178; see Section 4.8) if an application protocol is not
//# negotiated.
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//= type=test
//# The server MUST treat the inability to select a compatible application protocol as a connection error of type 0x0178
//# (no_application_protocol).
#[test]
fn case_30_no_common_application_protocol_section_8_1() {
    for version in [V1, V2] {
        let (_, peer) = hello_with(&["dummy"], version, <[u8]>::to_vec);
        peer.expect_close("RFC 9001 8.1", &alert(NO_APPLICATION_PROTOCOL), 0x06);
    }
    // No ALPN at all.
    let (_, peer) = hello_with(&ALPN, V1, |h| extensions(h, |id| (id != 16).then_some(id)));
    peer.expect_close("RFC 9001 8.1", &alert(NO_APPLICATION_PROTOCOL), 0x06);
}

/// The ClientHello with its extensions renamed, or left out where `f` says `None`.
fn extensions(hello: &[u8], f: impl Fn(u16) -> Option<u16>) -> Vec<u8> {
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    at += 1 + usize::from(hello[at]);
    let mut out = hello[..at + 2].to_vec();
    let mut rest = &hello[at + 2..];
    while !rest.is_empty() {
        let len = 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if let Some(id) = f(u16::from_be_bytes([rest[0], rest[1]])) {
            out.extend(id.to_be_bytes());
            out.extend(&rest[2..len]);
        }
        rest = &rest[len..];
    }
    let len = (out.len() - at - 2) as u16;
    out[at..at + 2].copy_from_slice(&len.to_be_bytes());
    sized(out)
}

/// Corrects the length of a handshake message.
fn sized(mut message: Vec<u8>) -> Vec<u8> {
    let len = (message.len() - 4) as u32;
    message[1..4].copy_from_slice(&len.to_be_bytes()[1..]);
    message
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-8.2
//= type=test
//# Endpoints MUST send the quic_transport_parameters extension; endpoints that receive ClientHello or
//# EncryptedExtensions messages without the quic_transport_parameters extension MUST close the connection with an error
//# of type 0x016d (equivalent to a fatal TLS missing_extension alert, see Section 4.8).
#[test]
fn case_31_no_transport_parameters_section_8_2() {
    for version in [V1, V2] {
        let (_, peer) = hello_with(&ALPN, version, |h| extensions(h, |id| (id != 0x39).then_some(id)));
        peer.expect_close("RFC 9001 8.2", &alert(MISSING_EXTENSION), 0x06);
        assert!(peer.saw(|g| matches!(g, Got::Close(c) if c.level == Level::Initial)));
    }
}

/// Trap C.
#[test]
fn case_32_transport_parameters_under_the_draft_number_section_8_2() {
    for version in [V1, V2] {
        let (_, peer) = hello_with(&ALPN, version, |h| extensions(h, |id| Some(if id == 0x39 { 0xffa5 } else { id })));
        peer.expect_close("RFC 9001 8.2", &alert(MISSING_EXTENSION), 0x06);
    }
}

#[test]
fn case_33_end_of_early_data_section_8_3() {
    for version in [V1, V2] {
        let codes = alert(UNEXPECTED_MESSAGE);
        finished(version, |f| vec![[&[5, 0, 0, 0], f].concat()]).expect_close("RFC 9001 8.3", &codes, 0x06);
        finished(version, |f| vec![vec![5, 0, 0, 0], f.to_vec()]).expect_close("RFC 9001 8.3", &codes, 0x06);
    }
}

/// RFC 9001 section 4.1.3: data of a level that TLS has left.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
//= type=test
//# If the packet is from a previously installed encryption level, it MUST NOT contain data that extends past the end of
//# previously received data in that flow.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
//= type=test
//# Implementations MUST treat any violations of this requirement as a connection error of type PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
//= type=test
//# When TLS provides keys for a higher encryption level, if there is data from a previous encryption level that TLS has
//# not consumed, this MUST be treated as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn crypto_data_across_a_change_of_keys_section_4_1_3() {
    let (_, peer) = hello_with(&ALPN, V1, |h| [h, &[11, 0, 0, 0]].concat());
    peer.expect_close("RFC 9001 4.1.3", &[PROTOCOL_VIOLATION, UNEXPECTED_MESSAGE], 0x06);
    let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
    until_done(&mut world, &mut peer);
    let late = crypto(peer.sent_crypto[0], b"late");
    let packet = peer.padded(&late, 1200);
    world.send(&mut peer, &packet);
    peer.expect_close("RFC 9001 4.1.3", &[PROTOCOL_VIOLATION], 0x06);
    // Old data again is no error, not even in the packet that ends the handshake.
    let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
    until_done(&mut world, &mut peer);
    let finished = peer.crypto_piece(Level::Handshake);
    world.frames(&mut peer, Level::Handshake, &[&finished[..], &finished].concat());
    peer.expect_open("RFC 9000 19.6");
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
    let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
    let hello = peer.pending[0].1.clone();
    until_done(&mut world, &mut peer);
    let packet = peer.padded(&crypto(0, &hello), 1200);
    world.send(&mut peer, &packet);
    peer.expect_open("RFC 9000 19.6");
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
}

/// Bad ClientHellos, each with the alert of RFC 8446 section 6.2.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.2
//= type=test
//# An endpoint MUST terminate the connection if a version of TLS older than 1.3 is negotiated.
#[test]
fn malformed_client_hello() {
    let (_, peer) = hello_with(&ALPN, V1, |h| sized([h, &[0]].concat()));
    peer.expect_close("RFC 8446 4", &alert(DECODE_ERROR), 0x06);
    let (_, peer) = hello_with(&ALPN, V1, |h| sized(h[..60].to_vec()));
    peer.expect_close("RFC 8446 4", &alert(DECODE_ERROR), 0x06);
    // RFC 9001 section 4.2: TLS 1.3 or nothing.
    let (_, peer) = hello_with(&ALPN, V1, |h| extensions(h, |id| (id != 43).then_some(id)));
    peer.expect_close("RFC 9001 4.2", &alert(PROTOCOL_VERSION), 0x06);
    // No ClientHello at all; a message longer than any.
    for first in [2, 11, 20, 24, 0xff] {
        let (_, peer) = hello_with(&ALPN, V1, |h| [&[first], &h[1..]].concat());
        peer.expect_close("RFC 8446 6.2", &[UNEXPECTED_MESSAGE, DECODE_ERROR, ANY[0], ANY[1]], 0x06);
    }
    let (_, peer) = hello_with(&ALPN, V1, |h| [&[1, 0xff, 0xff, 0xff], &h[4..]].concat());
    peer.expect_close("RFC 8446 6.2", &alert(DECODE_ERROR), 0x06);
}

/// RFC 9001 section 8.4: no compatibility mode.
#[test]
fn legacy_session_id_section_8_4() {
    let (_, peer) = hello_with(&ALPN, V1, |h| {
        assert_eq!(h[38], 0, "our own client leaves it empty");
        sized([&h[..38], &[32], &[9; 32], &h[39..]].concat())
    });
    peer.expect_close("RFC 9001 8.4", &[PROTOCOL_VIOLATION], 0x06);
}

/// A ClientHello whose every byte is wrong in turn: an error or a handshake, never anything else.
#[test]
fn client_hello_with_one_wrong_byte() {
    let len = Peer::client(&client_tls(&ALPN, false), V1, |p| p).pending[0].1.len();
    for at in 0..len {
        let (world, peer) = hello_with(&ALPN, V1, |h| {
            let mut h = h.to_vec();
            h[at] ^= 0x55;
            h
        });
        let ended = peer.close().is_some() || peer.tls_error.is_some() || peer.done;
        let waiting = world.connections.values().all(|c| !c.is_closed());
        assert!(ended || waiting, "byte {at}");
    }
}

/// A Finished that does not verify: decrypt_error, and no 1-RTT data is taken.
#[test]
fn wrong_finished_rfc_8446_section_4_4_4() {
    let peer = finished(V1, |f| {
        let mut f = f.to_vec();
        *f.last_mut().unwrap() ^= 1;
        vec![f]
    });
    peer.expect_close("RFC 8446 4.4.4", &alert(CRYPTO_ERROR + 51), 0x06);
}

/// RFC 9001 section 6.1 and 6.4: the header's key phase, not a TLS message, updates keys.
#[test]
fn key_update_by_header_is_no_error_section_6() {
    let (mut world, mut peer) = connected();
    world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::Ping, Frame::Padding(3)]));
    peer.expect_open("RFC 9001 6.1");
    let last = peer.next_pn - 1;
    peer.one_rtt.as_mut().unwrap().on_packet_acked(last);
    assert!(peer.one_rtt.as_mut().unwrap().initiate_update(world.now));
    world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::Ping, Frame::Padding(3)]));
    peer.expect_open("RFC 9001 6.1");
    assert_eq!(world.connection().stats().key_updates, 1);
    // New keys on a lower packet number than old ones had.
    let pn = Some(last - 1);
    let shape = super::peer::Shape { pn, ..Default::default() };
    world.frames_as(&mut peer, Level::OneRtt, &frames(&[Frame::Ping, Frame::Padding(3)]), shape);
    peer.expect_close("RFC 9001 6.4", &[KEY_UPDATE_ERROR], 0);
}

/// RFC 9001 section 6.2: whoever acknowledges a packet under new keys has those keys, and uses them.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.2
//= type=test
//# An endpoint that receives an acknowledgment that is carried in a packet protected with old keys where any acknowledged
//# packet was protected with newer keys MAY treat that as a connection error of type KEY_UPDATE_ERROR.
#[test]
fn acknowledgement_of_newer_keys_under_old_ones_section_6_2() {
    let (mut world, mut peer) = connected();
    world.frames(&mut peer, Level::OneRtt, &[1, 0, 0, 0, 0]);
    let next = peer.largest(Level::OneRtt) + 1;
    let now = world.now;
    assert!(world.connection().key_update(now));
    world.turn();
    // Sealed before the peer looks at what was sent with the new keys.
    let mut ack = vec![0x02];
    ack.extend(varint(next));
    ack.extend([0, 0, 0, 0, 0, 0]);
    let packet = peer.packet(Level::OneRtt, &ack);
    world.deliver(&packet);
    world.exchange(&mut peer);
    peer.expect_close("RFC 9001 6.2", &[KEY_UPDATE_ERROR], 0x02);
}

/// A server that has the keys for 1-RTT packets waits for the client's Finished all the same.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.7
//= type=test
//# Endpoints in either role MUST NOT decrypt 1-RTT packets from their peer prior to completing the handshake.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.7
//= type=test
//# A server MUST NOT process incoming 1-RTT protected packets before the TLS handshake is complete.
#[test]
fn one_rtt_packets_before_finished_rfc_9001_section_5_7() {
    let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
    until_done(&mut world, &mut peer);
    let early = peer.packet(Level::OneRtt, &frames(&[Frame::PathChallenge(*b"question"), Frame::Padding(8)]));
    peer.mute = true;
    let before = world.connection().stats().packets_received;
    world.send(&mut peer, &early);
    assert_eq!(world.connection().stats().packets_received, before);
    assert!(!peer.saw(|g| matches!(g, Got::PathResponse(_))));
    peer.mute = false;
    world.exchange(&mut peer);
    peer.expect_open("RFC 9001 5.7");
    assert!(peer.saw(|g| *g == Got::PathResponse(*b"question")), "it was kept");
}

/// The first Handshake packet that opens ends the Initial level, whatever is in it.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.1
//= type=test
//# Thus, a client MUST discard Initial keys when it first sends a Handshake packet and a server MUST discard Initial
//# keys when it first successfully processes a Handshake packet.
#[test]
fn initial_packets_after_a_handshake_packet_rfc_9001_section_4_9_1() {
    let (mut world, mut peer) = client_with(Setup::default(), V1, |p| p);
    until_done(&mut world, &mut peer);
    peer.mute = true;
    let ping = frames(&[Frame::Ping, Frame::Padding(3)]);
    for (after, opens) in [(false, 1), (true, 0)] {
        if after {
            world.frames(&mut peer, Level::Handshake, &ping);
        }
        let initial = peer.padded(&ping, 1200);
        let before = world.connection().stats();
        world.send(&mut peer, &initial);
        let stats = world.connection().stats();
        assert_eq!(stats.packets_received - before.packets_received, opens);
    }
    peer.mute = false;
    world.exchange(&mut peer);
    assert!(peer.saw(|g| *g == Got::HandshakeDone));
}
