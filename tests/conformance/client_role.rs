//! The same against our client: a malicious server (RFC 9000 sections 6, 7.3, 8.1, 10.3, 17.2.5, 18.2, 19).
use std::sync::{Arc, OnceLock};

use whimbrel::base::codes::{h3, transport::*};
use whimbrel::base::{ConnectionId, Dir, Level, ResetToken, StreamId};
use whimbrel::connection::{CloseReason, Event};
use whimbrel::crypto::{ClientTls, ServerTls, initial_keys, retry_tag};
use whimbrel::http3::Field;
use whimbrel::wire::header;
use whimbrel::wire::{Frame, Writer, retry, version_negotiation};

use super::http3::{codes, frame};
use super::peer::{Got, Params, Peer, Shape, crypto, frames, new_cid, stream, varint};
use super::world::{SECOND, V1, V2, World, client_tls, server_tls};

const PING: &[u8] = &[1, 0, 0, 0, 0];

pub fn tls() -> (Arc<ClientTls>, Arc<ServerTls>) {
    static SERVER: OnceLock<Arc<ServerTls>> = OnceLock::new();
    (client_tls(&["h3"], false), Arc::clone(SERVER.get_or_init(|| server_tls(false))))
}

/// Our client and the first datagram that it sent.
pub fn start(http3: bool) -> (World, Vec<u8>) {
    let mut world = World::client(&tls().0, http3);
    let first = world.out.remove(0).1;
    (world, first)
}

/// Our client and a server that has read its ClientHello and not answered.
pub fn facing(edit: impl FnOnce(Params) -> Params) -> (World, Peer) {
    let (world, first) = start(false);
    let peer = Peer::server(&tls().1, &first, edit);
    assert!(peer.tls_error.is_none());
    (world, peer)
}

pub fn established(http3: bool) -> (World, Peer) {
    let (mut world, first) = start(http3);
    let mut peer = Peer::server(&tls().1, &first, |p| p);
    world.exchange(&mut peer);
    assert!(peer.done && world.connection().is_established());
    world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::HandshakeDone, Frame::Padding(4)]));
    peer.expect_open("the handshake");
    assert!(world.connection().is_confirmed());
    (world, peer)
}

#[track_caller]
fn refused(section: &str, edit: impl FnOnce(Params) -> Params) {
    let (mut world, mut peer) = facing(edit);
    world.exchange(&mut peer);
    peer.expect_close(section, &[TRANSPORT_PARAMETER_ERROR], 0x06);
    assert!(!world.events.iter().any(|e| matches!(e, Event::Connected { .. })), "{section}");
}

#[track_caller]
fn fine(section: &str, edit: impl FnOnce(Params) -> Params) {
    let (mut world, mut peer) = facing(edit);
    world.exchange(&mut peer);
    peer.expect_open(section);
    assert!(peer.done, "{section}");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
//= type=test
//# Endpoints MUST validate that received transport parameters match received connection ID values.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
//= type=test
//# An endpoint MUST treat the absence of the initial_source_connection_id transport parameter from either endpoint or
//# the absence of the original_destination_connection_id transport parameter from the server as a connection error of
//# type TRANSPORT_PARAMETER_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
//= type=test
//# An endpoint MUST treat the following as a connection error of type TRANSPORT_PARAMETER_ERROR or PROTOCOL_VIOLATION:
#[test]
fn connection_ids_in_transport_parameters_section_7_3() {
    fine("7.3", |p| p);
    refused("7.3", |p| p.without(0x00));
    refused("7.3", |p| p.without(0x0f));
    refused("7.3", |p| p.set(0x00, b"other"));
    refused("7.3", |p| p.set(0x0f, b"other"));
    refused("7.3", |p| p.set(0x10, b"no Retry was sent"));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4
//= type=test
//# An endpoint MUST treat receipt of a transport parameter with an invalid value as a connection error of type
//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# A client MUST treat a violation of these requirements as a connection error of type TRANSPORT_PARAMETER_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# An endpoint that receives a value less than 2 MUST close the connection with an error of type
//# TRANSPORT_PARAMETER_ERROR.
#[test]
fn bounds_of_transport_parameters_section_18_2() {
    refused("18.2", |p| p.number(0x03, 1199));
    refused("18.2", |p| p.number(0x0a, 21));
    refused("18.2", |p| p.number(0x0b, 1 << 14));
    refused("18.2", |p| p.number(0x0e, 1));
    refused("18.2", |p| p.number(0x08, (1 << 60) + 1));
    refused("18.2", |p| p.number(0x09, (1 << 60) + 1));
    refused("18.2", |p| p.set(0x02, &[1; 15]));
    refused("18.2", |p| p.set(0x02, &[1; 17]));
    refused("7.4", |p| p.also(0x02, &[0xcc; 16]));
    refused("18", |p| p.tail(&[0x3f, 9, 1]));
    fine("18.2", |p| p.without(0x02));
    // preferred_address: cut, a connection ID of no length, one that is too long, bytes behind it.
    let preferred = |len: u8, cid: usize, more: usize| {
        let mut v = vec![192, 0, 2, 9, 1, 187];
        v.extend([0; 18]);
        v.push(len);
        v.extend(std::iter::repeat_n(0x11, cid));
        v.extend([0x22; 16]);
        v.extend(std::iter::repeat_n(0, more));
        v
    };
    fine("18.2", |p| p.set(0x0d, &preferred(8, 8, 0)));
    for bad in [preferred(0, 0, 0), preferred(21, 21, 0), preferred(8, 8, 1), preferred(8, 7, 0), vec![1; 24], vec![]] {
        refused("18.2", |p| p.set(0x0d, &bad));
    }
}

/// RFC 9368 section 4.
#[test]
fn version_information_rfc_9368_section_4() {
    let both = |a: u32, b: u32| [a.to_be_bytes(), b.to_be_bytes()].concat();
    fine("RFC 9368 4", |p| p.set(0x11, &both(V1, V1)));
    refused("RFC 9368 3", |p| p.set(0x11, &[0, 0, 0]));
    let (mut world, mut peer) = facing(|p| p.set(0x11, &both(V2, V1)));
    world.exchange(&mut peer);
    peer.expect_close("RFC 9368 4", &[VERSION_NEGOTIATION_ERROR], 0x06);
}

/// RFC 9001 section 8: what the server's TLS leaves out. EncryptedExtensions is changed after the fact; the client
/// reads it before it can find out that the transcript is another one.
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//= type=test
//# While [ALPN] only specifies that servers use this alert, QUIC clients MUST use error 0x0178 to terminate a
//# connection when ALPN negotiation fails.
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.2
//= type=test
//# Endpoints MUST send the quic_transport_parameters extension; endpoints that receive ClientHello or
//# EncryptedExtensions messages without the quic_transport_parameters extension MUST close the connection with an error
//# of type 0x016d (equivalent to a fatal TLS missing_extension alert, see Section 4.8).
#[test]
fn encrypted_extensions_rfc_9001_section_8() {
    for (leave_out, code) in [(0x39u16, CRYPTO_ERROR + 109), (16, CRYPTO_ERROR + 120)] {
        let (mut world, mut peer) = facing(|p| p);
        let at = peer.pending.iter().position(|(l, _)| *l == Level::Handshake).unwrap();
        let flight = &mut peer.pending[at].1;
        assert_eq!(flight[0], 8);
        let len = usize::from(flight[2]) << 8 | usize::from(flight[3]);
        let rest = flight.split_off(4 + len);
        let mut kept = Vec::new();
        let mut list = &flight[6..];
        while !list.is_empty() {
            let n = 4 + usize::from(u16::from_be_bytes([list[2], list[3]]));
            if u16::from_be_bytes([list[0], list[1]]) != leave_out {
                kept.extend(&list[..n]);
            }
            list = &list[n..];
        }
        let body = [&(kept.len() as u16).to_be_bytes()[..], &kept].concat();
        *flight = [&[8, 0][..], &(body.len() as u16).to_be_bytes(), &body, &rest].concat();
        world.exchange(&mut peer);
        peer.expect_close("RFC 9001 8", &[code], 0x06);
    }
}

/// RFC 9001 sections 4.6.1 and 6: messages behind the handshake.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
//= type=test
//# clients MUST treat receipt of such messages as a connection error of type PROTOCOL_VIOLATION
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.1
//= type=test
//# A client MUST treat receipt of a NewSessionTicket that contains an early_data extension with any other value as a
//# connection error of type PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6
//= type=test
//# Endpoints MUST treat the receipt of a TLS KeyUpdate message as a connection error of type 0x010a, equivalent to a
//# fatal TLS alert of unexpected_message; see Section 4.8.
#[test]
fn tls_messages_after_the_handshake_rfc_9001() {
    // KeyUpdate; a CertificateRequest (section 4.4); a Finished.
    for message in [&[24u8, 0, 0, 1, 1][..], &[13, 0, 0, 3, 0, 0, 0], &[20, 0, 0, 0]] {
        let (mut world, mut peer) = established(false);
        let at = peer.sent_crypto[2];
        world.frames(&mut peer, Level::OneRtt, &crypto(at, message));
        let accepted = [CRYPTO_ERROR + 10, CRYPTO_ERROR + 50, PROTOCOL_VIOLATION];
        let accepted = match message[0] {
            24 => &accepted[..1],
            13 => &accepted[2..],
            _ => &accepted[..],
        };
        peer.expect_close("RFC 9001 4.4, 6", accepted, 0x06);
    }
    // A ticket whose max_early_data_size is neither 0xffffffff nor absent.
    let (mut world, mut peer) = established(false);
    let mut ticket = vec![4, 0, 0, 0, 0, 0, 14, 16, 1, 2, 3, 4, 1, 9, 0, 4, 5, 6, 7, 8];
    ticket.extend([0, 8, 0, 42, 0, 4, 0, 0, 0x40, 0]);
    ticket[3] = (ticket.len() - 4) as u8;
    let at = peer.sent_crypto[2];
    world.frames(&mut peer, Level::OneRtt, &crypto(at, &ticket));
    peer.expect_close("RFC 9001 4.6.1", &[PROTOCOL_VIOLATION], 0x06);
}

#[track_caller]
fn one_rtt(section: &str, payload: &[u8], accepted: &[u64], frame_type: u64) {
    let (mut world, mut peer) = established(false);
    world.frames(&mut peer, Level::OneRtt, &[payload, &[0; 4]].concat());
    peer.expect_close(section, accepted, frame_type);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
//= type=test
//# If either is received, the connection MUST be closed immediately with a connection error of type
//# TRANSPORT_PARAMETER_ERROR if the offending value was received in a transport parameter or of type
//# FRAME_ENCODING_ERROR if it was received in a frame; see Section 10.2.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.7
//= type=test
//# A client MUST treat receipt of a NEW_TOKEN frame with an empty Token field as a connection error of type
//# FRAME_ENCODING_ERROR.
#[test]
fn frames_of_a_server_sections_12_4_and_19() {
    let id = StreamId;
    one_rtt("12.4", &[0x20], &[FRAME_ENCODING_ERROR], 0x20);
    one_rtt("19.7", &[0x07, 0], &[FRAME_ENCODING_ERROR], 0x07);
    one_rtt("4.1", &stream(3, 100_000_000, b"x", true), &[FLOW_CONTROL_ERROR], 0x0f);
    one_rtt("4.6", &stream(1_000_000_001, 0, b"x", true), &[STREAM_LIMIT_ERROR], 0x0b);
    one_rtt("19.8", &stream(0, 0, b"", false), &[STREAM_STATE_ERROR], 0x0a);
    one_rtt("19.8", &stream(2, 0, b"", false), &[STREAM_STATE_ERROR], 0x0a);
    let reset = frames(&[Frame::ResetStream { id: id(2), code: 0, final_size: 0 }]);
    one_rtt("19.4", &reset, &[STREAM_STATE_ERROR], 0x04);
    one_rtt("19.5", &frames(&[Frame::StopSending { id: id(0), code: 0 }]), &[STREAM_STATE_ERROR], 0x05);
    one_rtt("19.5", &frames(&[Frame::StopSending { id: id(3), code: 0 }]), &[STREAM_STATE_ERROR], 0x05);
    one_rtt("19.10", &frames(&[Frame::MaxStreamData { id: id(3), max: 9 }]), &[STREAM_STATE_ERROR], 0x11);
    one_rtt("19.11", &frames(&[Frame::MaxStreams { dir: Dir::Bi, max: (1 << 60) + 1 }]), &[FRAME_ENCODING_ERROR], 0x12);
    one_rtt("19.15", &new_cid(1, 2), &[FRAME_ENCODING_ERROR], 0x18);
    one_rtt("19.16", &frames(&[Frame::RetireConnectionId(0)]), &[PROTOCOL_VIOLATION], 0x19);
    one_rtt("19.16", &frames(&[Frame::RetireConnectionId(99)]), &[PROTOCOL_VIOLATION], 0x19);
    let floods: Vec<u8> = (1..9).flat_map(|s| new_cid(s, 0)).collect();
    one_rtt("5.1.1", &floods, &[CONNECTION_ID_LIMIT_ERROR], 0x18);
    one_rtt("13.1", &[&[0x02][..], &varint(9999), &[0, 0, 0]].concat(), &[PROTOCOL_VIOLATION], 0x02);
}

/// RFC 9000 sections 12.4, 17.2 and 19.20: before the handshake is complete.
#[test]
fn handshake_packets_of_a_server() {
    for (payload, ty) in [
        (frames(&[Frame::HandshakeDone]), 0x1e),
        (frames(&[Frame::NewToken(b"token")]), 0x07),
        (stream(3, 0, b"x", false), 0x0a),
        (frames(&[Frame::PathChallenge([1; 8])]), 0x1a),
    ] {
        for level in [Level::Initial, Level::Handshake] {
            let (mut world, mut peer) = facing(|p| p);
            peer.inject.push((level, payload.clone()));
            world.exchange(&mut peer);
            peer.expect_close("12.4", &[PROTOCOL_VIOLATION], ty);
        }
    }
    for (level, bits) in [(Level::Initial, 0x0c), (Level::Handshake, 0x08), (Level::OneRtt, 0x10)] {
        let (mut world, mut peer) = if level == Level::OneRtt { established(false) } else { facing(|p| p) };
        if level != Level::OneRtt {
            let hello = [peer.crypto_piece(Level::Initial), vec![0; 1100]].concat();
            if level == Level::Handshake {
                // The ServerHello first, so that our client has keys.
                let packet = peer.packet(Level::Initial, &hello);
                world.deliver(&packet);
            }
        }
        let payload = [PING, &[0; 1100]].concat();
        let bad = peer.packet_as(level, &payload, Shape { flip: bits, ..Default::default() });
        peer.mute = true;
        world.send(&mut peer, &bad);
        peer.expect_close("17.2", &[PROTOCOL_VIOLATION], 0);
    }
}

/// RFC 9000 section 17.2.2: a server's Initial has no token; with one it is dropped.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.2
//= type=test
//# clients that receive an Initial packet with a non-zero Token Length field MUST either discard the packet or generate
//# a connection error of type PROTOCOL_VIOLATION.
#[test]
fn initial_with_a_token_section_17_2_2() {
    let (mut world, mut peer) = facing(|p| p);
    let payload = [&[0x20][..], &[0; 1100]].concat();
    let packet = peer.packet_as(Level::Initial, &payload, Shape { token: Some(b"token"), ..Default::default() });
    world.deliver(&packet);
    world.exchange(&mut peer);
    peer.expect_open("17.2.2");
    assert!(peer.done);
}

/// RFC 9000 sections 6.2 and 6.3, RFC 8999 section 6.
//= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
//= type=test
//# A client that supports only this version of QUIC MUST abandon the current connection attempt if it receives a
//# Version Negotiation packet, with the following two exceptions.
//= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
//= type=test
//# A client MUST discard any Version Negotiation packet if it has received and successfully processed any other packet,
//# including an earlier Version Negotiation packet.
//= https://www.rfc-editor.org/rfc/rfc9000#section-6.2
//= type=test
//# A client MUST discard a Version Negotiation packet that lists the QUIC version selected by the client.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//= type=test
//# Clients MUST ignore the value of this field.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# Clients MUST ignore any received Version Negotiation packets that contain the Original Version.
#[test]
fn version_negotiation_section_6_2() {
    let vn = |first: &[u8], scid: &[u8], versions: &[u32]| {
        let head = header::parse(first, 0).unwrap();
        let mut buf = [0; 200];
        let mut w = Writer::new(&mut buf);
        let from = if scid.is_empty() { head.dcid.as_slice() } else { scid };
        version_negotiation::write(&mut w, 5, head.scid.as_slice(), from, versions.iter().copied()).unwrap();
        w.written().to_vec()
    };
    // Ours is in the list; the IDs are not echoed; no version at all; a cut list: ignored.
    let (mut world, first) = start(false);
    let mut cut = vn(&first, b"", &[0x0a0a_0a0a]);
    cut.pop();
    for bad in
        [vn(&first, b"", &[V1]), vn(&first, b"", &[7, V1]), vn(&first, b"forged", &[7]), vn(&first, b"", &[]), cut]
    {
        world.deliver(&bad);
    }
    world.turn();
    assert!(world.close_reason().is_none());
    // The real thing ends the attempt, without a word to the server.
    let mut gone = start(false).0;
    gone.deliver(&vn(&first, b"", &[0x0a0a_0a0a]));
    gone.turn();
    assert!(matches!(gone.close_reason(), Some(CloseReason::VersionMismatch(v)) if v[..] == [0x0a0a_0a0a]));
    assert!(gone.out.is_empty());
    // Another one changes nothing any more.
    gone.deliver(&vn(&first, b"", &[0x1a1a_1a1a]));
    gone.turn();
    assert_eq!(gone.events.iter().filter(|e| matches!(e, Event::Closed(_))).count(), 1);
    assert!(gone.out.is_empty());
    // Whatever is in the seven bits that have no meaning.
    for unused in 0..128u8 {
        let (mut world, first) = start(false);
        let mut packet = vn(&first, b"", &[0x0a0a_0a0a]);
        packet[0] = 0x80 | unused;
        world.deliver(&packet);
        assert!(world.connection().is_closed(), "unused bits {unused:x}");
    }
    // Too late once the server has answered.
    let mut peer = Peer::server(&tls().1, &first, |p| p);
    let mut flight = peer.flush();
    world.deliver(&flight.remove(0));
    world.deliver(&vn(&first, b"", &[0x0a0a_0a0a]));
    flight.iter().for_each(|d| world.deliver(d));
    world.exchange(&mut peer);
    assert!(world.close_reason().is_none() && peer.done);
}

/// A Retry for the client's first datagram.
pub fn retry_for(first: &[u8], scid: &ConnectionId, token: &[u8]) -> Vec<u8> {
    retry_with(first, scid, token, 0)
}

/// The same with these unused bits.
fn retry_with(first: &[u8], scid: &ConnectionId, token: &[u8], unused: u8) -> Vec<u8> {
    let head = header::parse(first, 0).unwrap();
    let mut buf = vec![0; 400];
    let mut w = Writer::new(&mut buf);
    retry::write_retry(&mut w, V1, &head.scid, scid, token, unused).unwrap();
    let mut packet = w.written().to_vec();
    let tag = retry_tag(V1, &head.dcid, &packet);
    packet.extend(tag);
    packet
}

/// RFC 9000 section 17.2.5.2 and RFC 9001 section 5.8.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//= type=test
//# A client MUST change the Destination Connection ID it uses for sending packets in response to only the first
//# received Initial or Retry packet.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5
//= type=test
//# The value in the Unused field is set to an arbitrary value by the server; a client MUST ignore these bits.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.1
//= type=test
//# A client MUST discard a Retry packet that contains a Source Connection ID field that is identical to the Destination
//# Connection ID field of its Initial packet.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.1
//= type=test
//# The client MUST use the value from the Source Connection ID field of the Retry packet in the Destination Connection
//# ID field of subsequent packets that it sends.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
//= type=test
//# A client MUST accept and process at most one Retry packet for each connection attempt.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
//= type=test
//# After the client has received and processed an Initial or Retry packet from the server, it MUST discard any
//# subsequent Retry packets that it receives.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
//= type=test
//# Clients MUST discard Retry packets that have a Retry Integrity Tag that cannot be validated; see Section 5.8 of
//# [QUIC-TLS].
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
//= type=test
//# A client MUST discard a Retry packet with a zero-length Retry Token field.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.2
//= type=test
//# The client MUST NOT change the Source Connection ID because the server could include the connection ID as part of
//# its token validation logic; see Section 8.1.4.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.3
//= type=test
//# A client MUST use the same cryptographic handshake message it included in this packet.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.3
//= type=test
//# A client MUST NOT reset the packet number for any packet number space after processing a Retry packet.
#[test]
fn retry_section_17_2_5() {
    let scid = ConnectionId::new(b"evilpeer").unwrap();
    let good = |first: &[u8]| retry_for(first, &scid, b"token");
    let (mut world, first) = start(false);
    let odcid = header::parse(&first, 0).unwrap().dcid;
    // A wrong bit anywhere, no token, our own connection ID: dropped.
    for at in 0..good(&first).len() {
        let mut bad = good(&first);
        bad[at] ^= 0x20;
        if at > 0 {
            // The unused bits of the first byte are covered by the tag as well, but the type is not Retry any more.
            world.deliver(&bad);
        }
    }
    world.deliver(&retry_for(&first, &scid, b""));
    world.deliver(&retry_for(&first, &odcid, b"token"));
    world.turn();
    assert!(world.out.is_empty() && world.close_reason().is_none());
    // The good one is followed, once.
    world.deliver(&good(&first));
    world.turn();
    let again = world.out.remove(0).1;
    let head = header::parse(&again, 0).unwrap();
    assert_eq!((head.token, head.dcid), (&b"token"[..], scid));
    assert_eq!(head.scid, header::parse(&first, 0).unwrap().scid, "our own connection ID stays");
    // The same ClientHello again, in a packet with a new number.
    let (before, after) = (Peer::server(&tls().1, &first, |p| p), Peer::server(&tls().1, &again, |p| p));
    assert!(!before.tls_bytes[0].is_empty() && before.tls_bytes[0] == after.tls_bytes[0]);
    assert!(before.received[0].last() < after.received[0].first());
    let second = ConnectionId::new(b"2nd evil").unwrap();
    world.deliver(&retry_for(&first, &second, b"more"));
    world.turn();
    assert!(world.out.is_empty(), "a second Retry");
    // Whatever the unused bits are.
    for unused in 0..16 {
        let (mut world, first) = start(false);
        world.deliver(&retry_with(&first, &scid, b"token", unused));
        world.turn();
        assert_eq!(world.out.len(), 1, "unused bits {unused:x}");
    }
    // RFC 9000 section 7.3: the server must own up to it.
    for (own_up, ok) in [(true, true), (false, false)] {
        let (mut world, first) = start(false);
        let odcid = header::parse(&first, 0).unwrap().dcid;
        world.deliver(&good(&first));
        world.turn();
        let again = world.out.remove(0).1;
        let mut peer = Peer::server(&tls().1, &again, |p| {
            let p = p.set(0x00, odcid.as_slice());
            if own_up { p.set(0x10, scid.as_slice()) } else { p }
        });
        world.exchange(&mut peer);
        if ok {
            peer.expect_open("7.3");
            assert!(peer.done);
        } else {
            peer.expect_close("7.3", &[TRANSPORT_PARAMETER_ERROR], 0x06);
        }
    }
    // Too late after the first packet of the server.
    let (mut world, first) = start(false);
    let mut peer = Peer::server(&tls().1, &first, |p| p);
    let mut flight = peer.flush();
    world.deliver(&flight.remove(0));
    world.deliver(&good(&first));
    flight.iter().for_each(|d| world.deliver(d));
    world.exchange(&mut peer);
    assert!(peer.done && world.connection().is_established());
}

/// RFC 9000 section 7.2: one choice of connection ID by the server.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//= type=test
//# Once a client has received a valid Initial packet from the server, it MUST discard any subsequent packet it receives
//# on that connection with a different Source Connection ID.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//= type=test
//# A client MUST change the Destination Connection ID it uses for sending packets in response to only the first
//# received Initial or Retry packet.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.2
//= type=test
//# Any further changes to the Destination Connection ID are only permitted if the values are taken from
//# NEW_CONNECTION_ID frames; if subsequent Initial packets include a different Source Connection ID, they MUST be
//# discarded.
#[test]
fn the_server_changes_its_connection_id_section_7_2() {
    let (mut world, mut peer) = facing(|p| p);
    let mut flight = peer.flush();
    world.deliver(&flight.remove(0));
    let other = Shape { scid: ConnectionId::new(b"other id"), ..Default::default() };
    let payload = [&[0x20][..], &[0; 1100]].concat();
    let bad = peer.packet_as(Level::Initial, &payload, other);
    world.deliver(&bad);
    let bad = peer.packet_as(Level::Handshake, &payload, other);
    world.deliver(&bad);
    flight.iter().for_each(|d| world.deliver(d));
    world.turn();
    for (_, datagram) in &world.out {
        assert_eq!(header::parse(datagram, 8).unwrap().dcid, peer.scid, "the first choice stays");
    }
    world.exchange(&mut peer);
    peer.expect_open("7.2");
    assert!(peer.done);
}

/// RFC 9000 section 10.3.1: only with the token that was told, and then in silence.
#[test]
fn stateless_reset_section_10_3_1() {
    let (mut world, mut peer) = established(false);
    let reset = |token: u8| [&[0x41][..], &[0x5c; 40], &[token; 16]].concat();
    let mut own = reset(0xcd);
    let dcid = peer.dcid;
    own[1..=dcid.len()].copy_from_slice(dcid.as_slice());
    world.send(&mut peer, &own);
    assert!(world.close_reason().is_none());
    world.send(&mut peer, &reset(0xcc));
    assert!(matches!(world.close_reason(), Some(CloseReason::StatelessReset)), "{:?}", world.close_reason());
    peer.expect_open("10.3.1");
    world.pass(&mut peer, 30 * SECOND);
    assert!(world.connections.is_empty());
}

/// RFC 9000 section 8.1: junk from the wrong server, or at the wrong time, does not end an attempt.
#[test]
fn junk_before_the_server_answers() {
    let (mut world, first) = start(false);
    let head = header::parse(&first, 0).unwrap();
    let mut stranger = Peer::server(&tls().1, &first, |p| p);
    // Initial keys from a guess.
    stranger.initial = Some(initial_keys(V1, &ConnectionId::new(b"guessed!").unwrap(), whimbrel::base::Side::Server));
    let forged = stranger.packet(Level::Initial, &[&[0x20][..], &[0; 1100]].concat());
    world.deliver(&forged);
    for byte in 0..=255u8 {
        let mut junk = vec![byte; 200];
        junk[1..1 + head.scid.len()].copy_from_slice(head.scid.as_slice());
        world.deliver(&junk);
    }
    for len in 0..forged.len() {
        world.deliver(&forged[..len]);
    }
    world.turn();
    assert!(world.close_reason().is_none());
    let mut peer = Peer::server(&tls().1, &first, |p| p);
    world.exchange(&mut peer);
    assert!(peer.done && world.connection().is_established());
}

/// RFC 9000 section 19.7: tokens are passed on, within bounds.
#[test]
fn new_token_flood_section_19_7() {
    let (mut world, mut peer) = established(false);
    for i in 0..100u8 {
        world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::NewToken(&[i; 100])]));
    }
    world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::NewToken(&[1; 1100])]));
    peer.expect_open("19.7");
    let told = world.events.iter().filter(|e| matches!(e, Event::NewToken(_))).count();
    assert!((1..=16).contains(&told), "{told}");
}

/// The server's three streams, SETTINGS sent; the client has asked for something on stream 0.
fn asked() -> (World, Peer) {
    let (mut world, mut peer) = established(true);
    let open = [stream(3, 0, &[0, 4, 0], false), stream(7, 0, &[2], false), stream(11, 0, &[3], false)].concat();
    world.frames(&mut peer, Level::OneRtt, &open);
    let request = [
        Field::new(b":method", b"GET"),
        Field::new(b":scheme", b"https"),
        Field::new(b":authority", b"localhost"),
        Field::new(b":path", b"/"),
    ];
    let (h3, conn) = world.http3();
    let id = h3.request(conn, &request, true).expect("a request");
    assert_eq!(id, StreamId(0));
    world.exchange(&mut peer);
    assert!(peer.saw(|g| matches!(g, Got::Stream { id: 0, .. })));
    (world, peer)
}

#[track_caller]
fn answers(section: &str, id: u64, offset: u64, bytes: &[u8], code: u64) {
    let (mut world, mut peer) = asked();
    world.frames(&mut peer, Level::OneRtt, &stream(id, offset, bytes, false));
    peer.expect_app_close(section, &codes(code));
}

/// RFC 9114: what only a server can do wrong.
#[test]
fn http3_of_a_server_rfc_9114() {
    const OK: &[u8] = &[0, 0, 0xd9];
    asked();
    // DATA before HEADERS, SETTINGS and others on a request stream, a push that was never allowed.
    answers("4.1", 0, 0, &frame(0, b"x"), h3::FRAME_UNEXPECTED);
    answers("7.2.4", 0, 0, &frame(4, b""), h3::FRAME_UNEXPECTED);
    answers("7.2.3", 0, 0, &frame(3, b""), h3::FRAME_UNEXPECTED);
    answers("7.2.7", 0, 0, &frame(0x0d, b"\0"), h3::FRAME_UNEXPECTED);
    answers("7.2.5", 0, 0, &frame(5, &[0, 0, 0, 0xd1]), h3::ID_ERROR);
    answers("4.1", 0, 0, &[frame(1, OK), frame(1, &[0, 0]), frame(0, b"x")].concat(), h3::FRAME_UNEXPECTED);
    // Control stream: a second SETTINGS, MAX_PUSH_ID of a server, GOAWAY that names no request, or a larger one.
    answers("7.2.4", 3, 3, &frame(4, b""), h3::FRAME_UNEXPECTED);
    answers("7.2.7", 3, 3, &frame(0x0d, b"\0"), h3::FRAME_UNEXPECTED);
    answers("7.2.6", 3, 3, &frame(7, &[1]), h3::ID_ERROR);
    answers("5.2", 3, 3, &[frame(7, &[4]), frame(7, &[8])].concat(), h3::ID_ERROR);
    answers("7.2.3", 3, 3, &frame(3, &[0]), h3::ID_ERROR);
    // Streams: a push stream, a second control stream, a bidirectional one.
    answers("4.6", 15, 0, &[1, 0], h3::ID_ERROR);
    answers("6.2.1", 15, 0, &[0], h3::STREAM_CREATION_ERROR);
    answers("6.1", 1, 0, b"x", h3::STREAM_CREATION_ERROR);
    answers("RFC 9204 4.3.1", 7, 1, &[0x3f, 0xe1, 0xc7, 0xaf, 0xa0, 0x25], 0x201);
    answers("RFC 9204 4.4.3", 11, 1, &[0], 0x202);
    answers("RFC 9204 3.1", 0, 0, &frame(1, &[0, 0, 0xff, 0x24]), 0x200);
    // Malformed responses: no :status, a pseudo-header of requests, status 101, uppercase.
    for section in [&[0, 0][..], &[0, 0, 0xd9, 0xd1], b"\0\0\x5f\x09\x03101", b"\0\0\xd9\x21A\x01b"] {
        let (mut world, mut peer) = asked();
        world.frames(&mut peer, Level::OneRtt, &stream(0, 0, &frame(1, section), true));
        // The server has ended the stream, so it is the application that is told, or the connection is closed.
        let closed = peer.close().is_some_and(|c| c.app && c.code == h3::MESSAGE_ERROR);
        let told = world.resets.contains(&(0, h3::MESSAGE_ERROR, false));
        assert!(closed || told, "{section:x?}: {:?} {:?}", world.resets, peer.log);
    }
}

/// A connection ID of no length on the server's side: none of its rules may be mixed up with the others.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
//= type=test
//# An endpoint that is sending packets with a zero-length Destination Connection ID MUST treat receipt of a
//# NEW_CONNECTION_ID frame as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn server_without_connection_id_section_5_1() {
    let setup = || {
        let (world, first) = start(false);
        let mut peer = Peer::server(&tls().1, &first, |p| p.set(0x0f, b""));
        peer.scid = ConnectionId::EMPTY;
        (world, peer)
    };
    let (mut world, mut peer) = setup();
    world.exchange(&mut peer);
    assert!(peer.done);
    peer.expect_open("5.1");
    // RFC 9000 section 19.15: such a server issues none.
    let cid = ConnectionId::new(b"a new id").unwrap();
    let new = Frame::NewConnectionId { sequence: 1, retire_prior_to: 0, cid, token: ResetToken([1; 16]) };
    world.frames(&mut peer, Level::OneRtt, &frames(&[new]));
    peer.expect_close("19.15", &[PROTOCOL_VIOLATION], 0x18);
}
