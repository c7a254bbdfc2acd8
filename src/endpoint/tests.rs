//! An endpoint against hand-made datagrams: routing, tokens, replies, bounds.
mod load;
mod unlinkable;
mod used_tokens;

use core::time::Duration;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::replies::ReplyLimiter;
use super::*;
use crate::base::codes::transport::INVALID_TOKEN;
use crate::base::codes::{VERSION_1, VERSION_2};
use crate::base::{ConnectionId, Ecn, Pcg, ResetToken};
use crate::crypto::{TAG_LEN, retry_tag};
use crate::wire::header::{self, LongHeader, PacketType};
use crate::wire::{Frame, Frames, Writer, retry, stateless_reset, version_negotiation};

const T0: Timestamp = Timestamp(1_000_000_000);

fn endpoint(cfg: EndpointConfig) -> Endpoint {
    let mut seed = 7;
    Endpoint::new(
        cfg,
        Box::new(move || {
            seed += 1;
            Box::new(Pcg::new(seed))
        }),
    )
}

fn server() -> EndpointConfig {
    EndpointConfig { server: true, secret: [3; 32], retry: RetryPolicy::Never, ..Default::default() }
}

fn from(remote: &str) -> FourTuple {
    FourTuple { local: Some("192.0.2.1:443".parse().unwrap()), remote: remote.parse().unwrap(), socket: 1 }
}

fn tuple() -> FourTuple {
    from("198.51.100.7:5000")
}

fn cid(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

const DCID: [u8; 8] = [0xd1, 2, 3, 4, 5, 6, 7, 8];
const SCID: [u8; 5] = [0x51, 2, 3, 4, 5];

/// A protected client packet of `total` bytes with a PING and padding in it.
fn packet(ty: PacketType, version: u32, dcid: &ConnectionId, scid: &[u8], token: &[u8], total: usize) -> Vec<u8> {
    let mut buf = vec![0; total];
    let mut w = Writer::new(&mut buf);
    let h = LongHeader { ty, version, dcid, scid: &cid(scid), token };
    let mark = header::write_long(&mut w, &h, 0, 2).unwrap();
    Frame::Ping.write(&mut w).unwrap();
    header::finish_long(&mut buf, mark, total - mark.pn_at - 2);
    initial_keys(version, dcid, Side::Client).local.protect(&mut buf, mark.pn_at, 2, 0);
    buf
}

fn initial(token: &[u8]) -> Vec<u8> {
    packet(PacketType::Initial, VERSION_1, &cid(&DCID), &SCID, token, 1200)
}

fn receive(e: &mut Endpoint, t: &FourTuple, datagram: &[u8], now: Timestamp) -> (Routed, Vec<u8>) {
    let mut reply = Vec::new();
    let routed = e.receive(t, Ecn::NotEct, &mut datagram.to_vec(), now, &mut reply);
    (routed, reply)
}

fn incoming(e: &mut Endpoint, t: &FourTuple, datagram: &[u8], now: Timestamp) -> Incoming {
    match receive(e, t, datagram, now).0 {
        Routed::Incoming(i) => i,
        other => panic!("{other:?}"),
    }
}

fn dropped(e: &mut Endpoint, t: &FourTuple, datagram: &[u8], now: Timestamp) -> DropReason {
    match receive(e, t, datagram, now) {
        (Routed::Dropped(reason), _) => reason,
        other => panic!("{other:?}"),
    }
}

fn replied(e: &mut Endpoint, t: &FourTuple, datagram: &[u8], now: Timestamp) -> Vec<u8> {
    match receive(e, t, datagram, now) {
        (Routed::Reply, reply) => {
            assert!(reply.len() < datagram.len(), "never more than it cost");
            reply
        }
        other => panic!("{other:?}"),
    }
}

/// The error code in an Initial that only closes, opened with the client's keys.
fn close_code(mut packet: Vec<u8>, dcid: &ConnectionId) -> u64 {
    let h = header::parse(&packet, 8).unwrap();
    assert_eq!((h.ty, h.dcid, h.packet_len), (PacketType::Initial, cid(&SCID), packet.len()));
    let (at, keys) = (h.pn_offset, initial_keys(h.version, dcid, Side::Client));
    let (pn_len, pn) = keys.remote.unmask(&mut packet, at).unwrap();
    let len = keys.remote.open(&mut packet, at + pn_len, u64::from(pn)).unwrap();
    let payload = &packet[at + pn_len..at + pn_len + len];
    match Frames::new(payload).next().unwrap().unwrap().1 {
        Frame::ConnectionClose { code, frame_type: Some(0), reason: &[] } => code,
        other => panic!("{other:?}"),
    }
}

/// A connection without a `Connection`: what the endpoint itself holds of it.
fn connection(e: &mut Endpoint, side: Side) -> (ConnectionKey, ConnectionId) {
    let key = e.connections.add(side).unwrap();
    let cid = e.issue(key);
    (key, cid)
}

fn short(cid: &ConnectionId, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x40];
    bytes.extend_from_slice(cid.as_slice());
    bytes.resize(len, 0xaa);
    bytes
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//= type=test
//# The Version field of a Version Negotiation packet MUST be set to 0x00000000.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//= type=test
//# The server MUST include the value from the Source Connection ID field of the packet it receives in the Destination
//# Connection ID field.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//= type=test
//# The value for Source Connection ID MUST be copied from the Destination Connection ID of the received packet, which
//# is initially randomly selected by a client.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//= type=test
//# Version- specific rules for the connection ID therefore MUST NOT influence a decision about whether to send a
//# Version Negotiation packet.
//= https://www.rfc-editor.org/rfc/rfc8999#section-6
//= type=test
//# An endpoint MUST include the value from the Source Connection ID field of the packet it receives in the
//# Destination Connection ID field.
//= https://www.rfc-editor.org/rfc/rfc8999#section-6
//= type=test
//# The value for the Source Connection ID field MUST be copied from the Destination Connection ID field of the
//# received packet, which is initially randomly selected by a client.
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
//= type=test
//# This packet SHALL include each entry from the server's set of Offered Versions (see Section 5) in a
//# Supported Version field.
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
//= type=test
//# Clients MUST NOT send Version Negotiation packets and servers MUST ignore all received Version Negotiation
//# packets.
#[test]
fn unknown_versions_are_answered_with_ours() {
    let mut e = endpoint(server());
    let mut datagram = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 200];
    datagram.extend([7; 200]);
    datagram.extend([3, 9, 9, 9]);
    datagram.resize(1200, 0);
    let reply = replied(&mut e, &tuple(), &datagram, T0);
    let vn = version_negotiation::parse(&reply).unwrap();
    assert_eq!((vn.dcid, vn.scid), (&[9u8; 3][..], &[7u8; 200][..]));
    let versions: Vec<u32> = vn.versions().collect();
    assert_eq!(versions[..2], [VERSION_1, VERSION_2]);
    assert_eq!((versions.len(), versions[2] & 0x0f0f_0f0f), (3, 0x0a0a_0a0a));
    // Too small to have been a first Initial; and never in answer to Version Negotiation.
    assert_eq!(dropped(&mut e, &tuple(), &datagram[..1199], T0), DropReason::Malformed);
    let mut padded = reply.clone();
    padded.resize(1200, 0);
    assert_eq!(dropped(&mut e, &tuple(), &padded, T0), DropReason::Unknown);
    // A client answers nobody.
    let mut client = endpoint(EndpointConfig::default());
    assert_eq!(dropped(&mut client, &tuple(), &datagram, T0), DropReason::Unknown);
    assert_eq!(dropped(&mut client, &tuple(), &initial(&[]), T0), DropReason::Unknown);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-5.2.2
//= type=test
//# Servers MUST drop incoming packets under all other circumstances.
#[test]
fn initials_that_start_nothing() {
    let mut e = endpoint(server());
    let small = packet(PacketType::Initial, VERSION_1, &cid(&DCID), &SCID, &[], 1199);
    assert_eq!(dropped(&mut e, &tuple(), &small, T0), DropReason::SmallInitial);
    let short_dcid = packet(PacketType::Initial, VERSION_1, &cid(&[1; 7]), &SCID, &[], 1200);
    assert_eq!(dropped(&mut e, &tuple(), &short_dcid, T0), DropReason::ShortDcid);
    let mut corrupt = initial(&[]);
    corrupt[700] ^= 1;
    assert_eq!(dropped(&mut e, &tuple(), &corrupt, T0), DropReason::NotAuthentic);
    let handshake = packet(PacketType::Handshake, VERSION_1, &cid(&DCID), &SCID, &[], 1200);
    assert_eq!(dropped(&mut e, &tuple(), &handshake, T0), DropReason::Unknown);
    assert_eq!(dropped(&mut e, &tuple(), &[], T0), DropReason::Malformed);
    assert_eq!((e.route_count(), e.pending_count()), (0, 0));
    // The same goes through when it is whole, in both versions.
    let i = incoming(&mut e, &tuple(), &initial(&[]), T0);
    assert_eq!((i.address_validated(), i.was_retried(), i.version()), (false, false, VERSION_1));
    let v2 = packet(PacketType::Initial, VERSION_2, &cid(&[2; 8]), &SCID, &[], 1200);
    assert_eq!(incoming(&mut e, &tuple(), &v2, T0).version(), VERSION_2);
}

/// Sends a first Initial, returns the Retry's connection ID and token.
fn get_retry(e: &mut Endpoint, now: Timestamp) -> (ConnectionId, Vec<u8>) {
    let reply = replied(e, &tuple(), &initial(&[]), now);
    let r = retry::parse_retry(&reply).unwrap();
    assert_eq!((r.dcid, r.version), (cid(&SCID), VERSION_1));
    assert_ne!(r.scid, cid(&DCID));
    assert_eq!(r.tag, retry_tag(VERSION_1, &cid(&DCID), r.without_tag));
    (r.scid, r.token.to_vec())
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.1
//= type=test
//# A token sent in a NEW_TOKEN frame or a Retry packet MUST be constructed in a way that allows the server to identify
//# how it was provided to a client.
#[test]
fn retry_and_its_token() {
    let mut e = endpoint(EndpointConfig { retry: RetryPolicy::Always, ..server() });
    let (scid, token) = get_retry(&mut e, T0);
    assert_eq!((e.route_count(), e.pending_count()), (0, 0), "a Retry leaves nothing behind");
    let second = packet(PacketType::Initial, VERSION_1, &scid, &SCID, &token, 1200);
    let close = |e: &mut Endpoint, t: &FourTuple, datagram: &[u8], dcid: &ConnectionId, now| {
        assert_eq!(close_code(replied(e, t, datagram, now), dcid), INVALID_TOKEN);
    };
    // Bound to port, address, version, both connection IDs, and time.
    close(&mut e, &from("198.51.100.7:5001"), &second, &scid, T0);
    close(&mut e, &from("198.51.100.8:5000"), &second, &scid, T0);
    let v2 = packet(PacketType::Initial, VERSION_2, &scid, &SCID, &token, 1200);
    close(&mut e, &tuple(), &v2, &scid, T0);
    let other_dcid = packet(PacketType::Initial, VERSION_1, &cid(&DCID), &SCID, &token, 1200);
    close(&mut e, &tuple(), &other_dcid, &cid(&DCID), T0);
    close(&mut e, &tuple(), &second, &scid, T0 + Duration::from_secs(16));
    let cut = packet(PacketType::Initial, VERSION_1, &scid, &SCID, &token[..token.len() - 1], 1200);
    close(&mut e, &tuple(), &cut, &scid, T0);
    assert_eq!(e.stats().invalid_tokens, 6);
    // A close is only for packets that open.
    let mut corrupt = cut.clone();
    corrupt[1000] ^= 1;
    assert_eq!(dropped(&mut e, &tuple(), &corrupt, T0), DropReason::NotAuthentic);
    // Right in time.
    let i = incoming(&mut e, &tuple(), &second, T0 + Duration::from_secs(15));
    assert!(i.address_validated() && i.was_retried());
    assert_eq!((i.first.odcid, i.first.retry_scid), (cid(&DCID), Some(scid)));
    // It cannot be asked twice.
    let mut reply = Vec::new();
    let i = e.retry(i, T0, &mut reply).unwrap();
    assert!(e.refuse(i, T0, &mut reply));
    assert_eq!(close_code(reply, &scid), CONNECTION_REFUSED);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.1
//= type=test
//# A token sent in a NEW_TOKEN frame or a Retry packet MUST be constructed in a way that allows the server to identify
//# how it was provided to a client.
#[test]
fn foreign_tokens_count_as_none() {
    let mut e = endpoint(EndpointConfig { retry: RetryPolicy::Always, ..server() });
    for token in [&[1u8][..], &[0xff; 60], b"WbN1", b"WbN1 and something not sealed by us, at all"] {
        let reply = replied(&mut e, &tuple(), &initial(token), T0);
        assert!(retry::parse_retry(&reply).is_ok());
    }
}

#[test]
fn retry_tokens_outlive_a_restart_with_the_same_secret() {
    let mut old = endpoint(EndpointConfig { retry: RetryPolicy::Always, ..server() });
    let (scid, token) = get_retry(&mut old, T0);
    let second = packet(PacketType::Initial, VERSION_1, &scid, &SCID, &token, 1200);
    // The new process counts time from another zero.
    let cfg = EndpointConfig { unix_at_zero: Duration::from_secs(1), ..server() };
    assert!(incoming(&mut endpoint(cfg.clone()), &tuple(), &second, Timestamp(0)).was_retried());
    let rotated = EndpointConfig { secret: [9; 32], previous_secrets: vec![[3; 32]], ..cfg.clone() };
    assert!(incoming(&mut endpoint(rotated), &tuple(), &second, Timestamp(0)).was_retried());
    let other = EndpointConfig { secret: [9; 32], ..cfg };
    let reply = replied(&mut endpoint(other), &tuple(), &second, Timestamp(0));
    assert_eq!(close_code(reply, &scid), INVALID_TOKEN);
}

fn new_token(e: &mut Endpoint, now: Timestamp) -> Vec<u8> {
    let (key, _) = connection(e, Side::Server);
    let Answer::Token(token) = e.on_event(key, EndpointEvent::NeedToken(tuple(), VERSION_1), now) else { panic!() };
    assert_eq!(e.on_event(key, EndpointEvent::Drained, now), Answer::Forgotten);
    token
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
//= type=test
//# When a server receives an Initial packet with an address validation token, it MUST attempt to validate the token,
//# unless it has already completed address validation.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//= type=test
//# If the client IP address has changed, the server MUST adhere to the anti-amplification limit; see Section 8.
#[test]
fn new_token_tokens_work_once_from_the_same_ip() {
    let mut e = endpoint(server());
    let token = new_token(&mut e, T0);
    assert_ne!(token, new_token(&mut e, T0), "each is unique");
    let week = Duration::from_secs(7 * 24 * 3600);
    let late = T0 + week + Duration::from_secs(1);
    let i = incoming(&mut e, &tuple(), &initial(&token), late);
    assert!(!i.address_validated(), "expired");
    e.ignore(i);
    let i = incoming(&mut e, &from("198.51.100.8:5000"), &initial(&token), T0);
    assert!(!i.address_validated(), "another address");
    e.ignore(i);
    let v2 = packet(PacketType::Initial, VERSION_2, &cid(&DCID), &SCID, &token, 1200);
    let i = incoming(&mut e, &tuple(), &v2, T0);
    assert!(!i.address_validated(), "another version (RFC 9369 section 5)");
    e.ignore(i);
    let i = incoming(&mut e, &from("198.51.100.7:9"), &initial(&token), T0 + week);
    assert!(i.address_validated() && !i.was_retried());
    assert_eq!(i.first.odcid, cid(&DCID));
    e.ignore(i);
    let i = incoming(&mut e, &tuple(), &initial(&token), T0 + week);
    assert!(!i.address_validated(), "used");
    e.ignore(i);
    // A fresh one saves the round trip that the policy would ask for.
    let token = new_token(&mut e, T0 + week);
    e.cfg.retry = RetryPolicy::Always;
    assert!(incoming(&mut e, &tuple(), &initial(&token), T0 + week).address_validated());
    assert_eq!(e.stats().validated_by_token, 2);
    // An IPv4 address is the same when a dual-stack socket shows it mapped.
    let token = new_token(&mut e, T0);
    let datagram = packet(PacketType::Initial, VERSION_1, &cid(&[4; 8]), &SCID, &token, 1200);
    assert!(incoming(&mut e, &from("[::ffff:198.51.100.7]:1"), &datagram, T0).address_validated());
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.4
//= type=test
//# To protect against such attacks, servers MUST ensure that replay of tokens is prevented or limited.
#[test]
fn used_tokens_are_remembered_until_they_expire() {
    let cfg = EndpointConfig { new_token_lifetime: Duration::from_secs(100), ..server() };
    let mut e = endpoint(cfg);
    let at = |s: u64| Timestamp(s * 1_000_000_000);
    let mut issued: Vec<(u64, Vec<u8>)> = Vec::new();
    for s in (100..700).step_by(10) {
        issued.push((s, new_token(&mut e, at(s))));
        let i = incoming(&mut e, &tuple(), &initial(&issued.last().unwrap().1), at(s));
        assert!(i.address_validated());
        e.ignore(i);
        for (_, token) in &issued {
            let i = incoming(&mut e, &tuple(), &initial(token), at(s));
            assert!(!i.address_validated(), "second use at {s}");
            e.ignore(i);
        }
    }
}

#[test]
fn retry_policy_by_load() {
    let mut e = endpoint(EndpointConfig { retry: RetryPolicy::WhenPendingExceeds(2), ..server() });
    let mut keys: Vec<_> = (0..2).map(|_| connection(&mut e, Side::Server).0).collect();
    connection(&mut e, Side::Client);
    let i = incoming(&mut e, &tuple(), &initial(&[]), T0);
    assert_eq!(e.pending_count(), 3);
    e.ignore(i);
    keys.push(connection(&mut e, Side::Server).0);
    assert!(retry::parse_retry(&replied(&mut e, &tuple(), &initial(&[]), T0)).is_ok());
    // A confirmed handshake is not pending any more.
    e.on_event(keys[0], EndpointEvent::HandshakeDone, T0);
    assert_eq!(e.pending_count(), 2);
    let i = incoming(&mut e, &tuple(), &initial(&[]), T0);
    let mut reply = Vec::new();
    assert!(e.retry(i, T0, &mut reply).is_none());
    assert!(retry::parse_retry(&reply).is_ok());
    e.forget(keys[0]);
    e.forget(keys[1]);
    assert_eq!(e.pending_count(), 1);
}

#[test]
fn undecided_connections_keep_a_bounded_lot() {
    let mut e = endpoint(EndpointConfig { max_incoming: 2, ..server() });
    let i = incoming(&mut e, &tuple(), &initial(&[]), T0);
    assert_eq!(dropped(&mut e, &from("203.0.113.9:5000"), &initial(&[]), T0), DropReason::Full);
    let kept = (0..100).filter(|_| matches!(receive(&mut e, &tuple(), &initial(&[]), T0).0, Routed::Buffered)).count();
    assert_eq!(kept, 15);
    let datagrams = |n: u8| packet(PacketType::Initial, VERSION_1, &cid(&[n; 8]), &SCID, &[], 1200);
    let _second = incoming(&mut e, &tuple(), &datagrams(1), T0);
    assert_eq!(dropped(&mut e, &tuple(), &datagrams(2), T0), DropReason::Full);
    // Nobody decided in time: the places are free again, and the late decision finds nothing.
    let later = T0 + Duration::from_secs(10);
    let third = incoming(&mut e, &tuple(), &datagrams(2), later);
    assert_eq!((e.pending_count(), e.route_count()), (1, 1));
    e.ignore(i);
    assert_eq!((e.pending_count(), e.route_count()), (1, 1));
    e.ignore(third);
    assert_eq!((e.pending_count(), e.route_count()), (0, 0));
    // Decided ones leave no trace, however many.
    for n in 0..50 {
        let i = incoming(&mut e, &tuple(), &datagrams(n), later);
        let mut reply = Vec::new();
        assert!(e.refuse(i, later, &mut reply));
        assert_eq!(close_code(reply, &cid(&[n; 8])), CONNECTION_REFUSED);
    }
    assert_eq!((e.pending_count(), e.route_count(), e.stats().refused), (0, 0, 50));
}

#[test]
fn too_many_connections() {
    let mut e = endpoint(EndpointConfig { max_connections: 1, ..server() });
    connection(&mut e, Side::Server);
    assert_eq!(close_code(replied(&mut e, &tuple(), &initial(&[]), T0), &cid(&DCID)), CONNECTION_REFUSED);
}

#[test]
fn zero_rtt_before_the_initial() {
    let mut e = endpoint(server());
    let early = packet(PacketType::ZeroRtt, VERSION_1, &cid(&DCID), &SCID, &[], 300);
    for n in 0..6 {
        let kept = matches!(receive(&mut e, &tuple(), &early, T0).0, Routed::Buffered);
        assert_eq!(kept, n < 4);
    }
    let i = incoming(&mut e, &tuple(), &initial(&[]), T0);
    let kept = e.incoming.take(i.key).unwrap().into_parts().1;
    assert_eq!(kept.iter().map(|k| k.bytes.len()).collect::<Vec<_>>(), [1200, 300, 300, 300, 300]);
    // The oldest connection ID makes room; those of another address are not mixed in.
    for n in 0..40 {
        let early = packet(PacketType::ZeroRtt, VERSION_1, &cid(&[n; 8]), &SCID, &[], 300);
        assert!(matches!(receive(&mut e, &from("203.0.113.9:1"), &early, T0).0, Routed::Buffered));
    }
    for n in [0, 39] {
        let first = packet(PacketType::Initial, VERSION_1, &cid(&[n; 8]), &SCID, &[], 1200);
        let i = incoming(&mut e, &if n == 0 { tuple() } else { from("203.0.113.9:1") }, &first, T0);
        assert_eq!(e.incoming.take(i.key).unwrap().into_parts().1.len(), if n == 0 { 1 } else { 2 });
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-11
//= type=test
//# A stateless reset MUST NOT be used by an endpoint that has the state necessary to send a frame on the connection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
//= type=test
//# An endpoint that uses this design MUST either use the same connection ID length for all connections or encode the
//# length of the connection ID such that it can be recovered without state.
#[test]
fn connection_ids_route_and_end() {
    let mut e = endpoint(server());
    let (key, first) = connection(&mut e, Side::Server);
    let routed = |e: &mut Endpoint, c: &ConnectionId| match receive(e, &tuple(), &short(c, 50), T0).0 {
        Routed::Connection(k) => Some(k),
        _ => None,
    };
    assert_eq!(routed(&mut e, &first), Some(key));
    let Answer::Cids(more) = e.on_event(key, EndpointEvent::NeedCids(3), T0) else { panic!() };
    assert_eq!(more.len(), 3);
    for (c, token) in &more {
        assert_eq!(routed(&mut e, c), Some(key));
        assert_eq!(*token, e.key().reset_token(c));
    }
    // However many are asked for, there is a bound.
    let Answer::Cids(rest) = e.on_event(key, EndpointEvent::NeedCids(u64::MAX), T0) else { panic!() };
    assert_eq!(rest.len(), 12);
    assert_eq!(e.on_event(key, EndpointEvent::NeedCids(1), T0), Answer::None);
    // Retired ones stay for a while, the fourth to go takes the first with it.
    for (n, (c, _)) in rest.iter().take(4).enumerate() {
        e.on_event(key, EndpointEvent::RetireCid(*c), T0);
        assert_eq!(routed(&mut e, c), Some(key));
        assert_eq!(routed(&mut e, &rest[0].0).is_some(), n < 3);
    }
    let (other, _) = connection(&mut e, Side::Server);
    assert_eq!(e.on_event(key, EndpointEvent::Drained, T0), Answer::Forgotten);
    assert_eq!((routed(&mut e, &first), e.route_count(), e.connection_count()), (None, 1, 1));
    // Its place is used again, under another key.
    let (again, _) = connection(&mut e, Side::Client);
    assert_eq!(again.index(), key.index());
    assert_ne!(again, key);
    assert_eq!(ConnectionKey::from_u64(again.to_u64()), again);
    e.forget(key);
    assert_eq!(e.connection_count(), 2);
    e.forget(again);
    e.forget(other);
    assert_eq!((e.route_count(), e.connection_count()), (0, 0));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-5.2.3
//= type=test
//# Server deployments that use this simple form of load balancing MUST avoid the creation of a stateless reset oracle;
//# see Section 21.11.
//= https://www.rfc-editor.org/rfc/rfc9000#section-21.11
//= type=test
//# To defend against this style of denial of service, endpoints that share a static key for stateless resets (see
//# Section 10.3.2) MUST be arranged so that packets with a given connection ID always arrive at an instance that has
//# connection state, unless that connection is no longer active.
//= https://www.rfc-editor.org/rfc/rfc9000#section-21.11
//= type=test
//# More generally, servers MUST NOT generate a stateless reset if a connection with the corresponding connection ID
//# could be active on any endpoint using the same static key.
#[test]
fn shards() {
    let mut e = endpoint(EndpointConfig { shard: 2, shards: 4, ..server() });
    let (key, ours) = connection(&mut e, Side::Server);
    assert!(matches!(receive(&mut e, &tuple(), &short(&ours, 60), T0).0, Routed::Connection(k) if k == key));
    for (shard, expected) in [(0, Some(0)), (3, Some(3)), (4, None), (255, None)] {
        let issued = cid_source::CidSource::new(shard, 8, e.key()).next(&mut Pcg::new(u64::from(shard)));
        let bytes: [u8; 8] = issued.as_slice().try_into().unwrap();
        let there = match receive(&mut e, &tuple(), &short(&cid(&bytes), 60), T0).0 {
            Routed::OtherShard(n) => Some(n),
            Routed::Dropped(DropReason::Unknown) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(there, expected);
        let handshake = packet(PacketType::Handshake, VERSION_1, &cid(&bytes), &SCID, &[], 200);
        let there = matches!(receive(&mut e, &tuple(), &handshake, T0).0, Routed::OtherShard(n) if n == shard);
        assert_eq!(there, expected.is_some());
        // A client's own choice names no shard.
        let first = packet(PacketType::Initial, VERSION_1, &cid(&bytes), &SCID, &[], 1200);
        let _ = incoming(&mut e, &tuple(), &first, T0);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
//= type=test
//# An endpoint MUST NOT send a Stateless Reset that is three times or more larger than the packet it receives to avoid
//# being used for amplification.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.3
//= type=test
//# An endpoint MUST ensure that every Stateless Reset that it sends is smaller than the packet that triggered it,
//# unless it maintains state sufficient to prevent looping.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
//= type=test
//# Endpoints MUST send Stateless Resets formatted as a packet with a short header.
#[test]
fn stateless_resets_we_send() {
    let mut e = endpoint(server());
    let lost = cid_source::CidSource::new(0, 8, &TokenKey::new(&[3; 32])).next(&mut Pcg::new(5));
    // After a restart with the same secret the token is the one that the peer was told.
    let token = TokenKey::new(&[3; 32]).reset_token(&lost);
    for len in [22, 30, 43, 44, 100, 1200] {
        let reply = replied(&mut e, &tuple(), &short(&lost, len), T0);
        assert_eq!(stateless_reset::token_at_end(&reply), Some(token));
        assert_eq!(reply[0] & 0xc0, 0x40);
        assert!(reply.len() <= 52);
    }
    assert_eq!(dropped(&mut e, &tuple(), &short(&lost, 21), T0), DropReason::Unknown);
    // In a flood only so many, then some per second.
    let sent = |e: &mut Endpoint, now| {
        (0..4000).filter(|_| matches!(receive(e, &tuple(), &short(&lost, 99), now).0, Routed::Reply)).count()
    };
    assert_eq!(sent(&mut e, T0), 250);
    assert_eq!(sent(&mut e, T0), 0);
    assert_eq!(sent(&mut e, T0 + Duration::from_millis(100)), 204);
    assert_eq!(sent(&mut e, T0 + Duration::from_secs(900)), 256);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
//= type=test
//# An endpoint that uses this design MUST either use the same connection ID length for all connections or encode the
//# length of the connection ID such that it can be recovered without state.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
//= type=test
//# This method for choosing the stateless reset token means that the combination of connection ID and static key MUST
//# NOT be used for another connection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
//= type=test
//# A connection ID from a connection that is reset by revealing the stateless reset token MUST NOT be reused for new
//# connections at nodes that share a static key.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
//= type=test
//# The same stateless reset token MUST NOT be used for multiple connection IDs.
#[test]
fn no_connection_id_and_no_reset_token_comes_twice() {
    let (mut ids, mut tokens) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    // Two processes with one secret, one after the other, and configurations that ask for too short IDs.
    for (seed, cid_len) in [(1, 8), (2, 8), (3, 1), (4, 20)] {
        let mut e = Endpoint::new(EndpointConfig { cid_len, ..server() }, Box::new(move || Box::new(Pcg::new(seed))));
        for _ in 0..500 {
            let (key, first) = connection(&mut e, Side::Server);
            let Answer::Cids(more) = e.on_event(key, EndpointEvent::NeedCids(3), T0) else { panic!() };
            for (id, token) in more.into_iter().chain([(first, e.key().reset_token(&first))]) {
                assert_eq!(id.len(), cid_len.max(8), "one length per endpoint");
                assert!(ids.insert(id) && tokens.insert(token.0));
            }
            e.forget(key);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.1
//= type=test
//# This value MUST NOT be equal to the Destination Connection ID field of the packet sent by the client.
#[test]
fn a_retry_never_names_the_clients_own_choice() {
    let retry_scid = |dcid: &ConnectionId| {
        let mut e = endpoint(EndpointConfig { retry: RetryPolicy::Always, ..server() });
        let first = packet(PacketType::Initial, VERSION_1, dcid, &SCID, &[], 1200);
        retry::parse_retry(&replied(&mut e, &tuple(), &first, T0)).unwrap().scid
    };
    // The same randomness draws the same ID, and now the client has chosen just that one.
    let drawn = retry_scid(&cid(&DCID));
    assert_eq!(drawn, retry_scid(&cid(&[0xee; 8])));
    assert_ne!(retry_scid(&drawn), drawn);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//= type=test
//# A server MUST NOT send more than one Version Negotiation packet in response to a single UDP datagram.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.5.1
//= type=test
//# A server MUST NOT send more than one Retry packet in response to a single UDP datagram.
#[test]
fn one_answer_per_datagram() {
    // Two Initials in one datagram, each of which would be worth a Retry; and two packets of an unknown version.
    let half = |version| packet(PacketType::Initial, version, &cid(&DCID), &SCID, &[], 700);
    let mut e = endpoint(EndpointConfig { retry: RetryPolicy::Always, ..server() });
    let reply = replied(&mut e, &tuple(), &[half(VERSION_1), half(VERSION_1)].concat(), T0);
    let alone = retry::parse_retry(&reply).unwrap();
    assert_eq!(reply.len(), alone.without_tag.len() + 16);
    assert_eq!(e.stats().retries_sent, 1);
    let mut unknown = half(VERSION_1);
    unknown[1..5].copy_from_slice(&[9; 4]);
    let reply = replied(&mut e, &tuple(), &unknown.repeat(2), T0);
    assert_eq!(version_negotiation::parse(&reply).unwrap().versions().count(), 3);
    assert_eq!(e.stats().version_negotiations_sent, 1);
}

#[test]
fn slow_ticks_still_refill_the_limiter() {
    let mut limiter = ReplyLimiter::new();
    while limiter.allow(Timestamp::ZERO) {}
    let mut allowed = 0;
    for us in 0..1_000_000u64 {
        allowed += usize::from(limiter.allow(Timestamp(us * 1000)));
    }
    assert!((2000..=2048).contains(&allowed), "{allowed}");
}

#[test]
fn stateless_resets_we_receive() {
    let mut e = endpoint(EndpointConfig::default());
    let (key, _) = connection(&mut e, Side::Client);
    let token = ResetToken([0x77; 16]);
    let mut reset = vec![0x55; 30];
    assert!(stateless_reset::write(&mut reset, &mut Pcg::new(3), &token));
    let routed =
        |e: &mut Endpoint, t: &FourTuple| matches!(receive(e, t, &reset, T0).0, Routed::Connection(k) if k == key);
    assert!(!routed(&mut e, &tuple()));
    e.on_event(key, EndpointEvent::ResetTokenLearned(tuple(), token), T0);
    assert!(routed(&mut e, &tuple()));
    assert!(!routed(&mut e, &from("203.0.113.9:5000")), "only from where the token came");
    e.on_event(key, EndpointEvent::ResetTokenForgotten(token), T0);
    assert!(!routed(&mut e, &tuple()));
    assert_eq!(e.route_count(), 1);
    // Tokens are bounded, too.
    for n in 0..100 {
        e.on_event(key, EndpointEvent::ResetTokenLearned(tuple(), ResetToken([n; 16])), T0);
    }
    assert_eq!(e.route_count(), 9);
    e.forget(key);
    assert_eq!(e.route_count(), 0);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-5.1
//= type=test
//# An endpoint MUST NOT use the same IP address and port for multiple concurrent connections with zero-length
//# connection IDs, unless it is certain that those protocol features are not in use.
#[test]
fn connections_without_ids_are_found_by_address() {
    let mut e = endpoint(EndpointConfig { cid_len: 0, ..Default::default() });
    let key = e.connections.add(Side::Client).unwrap();
    assert!(e.add_address(key, &tuple()));
    let datagram = short(&ConnectionId::EMPTY, 60);
    assert!(matches!(receive(&mut e, &tuple(), &datagram, T0).0, Routed::Connection(k) if k == key));
    let handshake = packet(PacketType::Handshake, VERSION_1, &ConnectionId::EMPTY, &SCID, &[], 200);
    assert!(matches!(receive(&mut e, &tuple(), &handshake, T0).0, Routed::Connection(k) if k == key));
    assert_eq!(dropped(&mut e, &from("203.0.113.9:5000"), &datagram, T0), DropReason::Unknown);
    let other = e.connections.add(Side::Client).unwrap();
    assert!(!e.add_address(other, &tuple()), "taken");
    assert_eq!(e.on_event(key, EndpointEvent::NeedCids(4), T0), Answer::None);
    e.forget(key);
    assert_eq!(e.route_count(), 0);
}

#[test]
fn the_close_leaves_room_for_the_tag_only() {
    let keys = initial_keys(VERSION_1, &cid(&DCID), Side::Server);
    let mut reply = Vec::new();
    replies::initial_close(&mut reply, &keys, VERSION_1, &cid(&SCID), &cid(&[1; 8]), INVALID_TOKEN).unwrap();
    // Header 7 + 5 + 8 + 1 + 2, number 1, frame 4, tag.
    assert_eq!(reply.len(), 28 + TAG_LEN);
    assert_eq!(close_code(reply, &cid(&DCID)), INVALID_TOKEN);
}

proptest! {
    #[test]
    fn arbitrary_datagrams(
        datagrams in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..80), 0..1300usize, 0..4u8), 1..20),
        cid_len in prop_oneof![Just(0usize), Just(8), Just(20)],
    ) {
        let mut e = endpoint(EndpointConfig { cid_len, shards: 3, retry: RetryPolicy::UnderLoad, ..server() });
        let (_, known) = connection(&mut e, Side::Server);
        for (mut bytes, len, kind) in datagrams {
            match kind {
                1 if bytes.len() > 5 => {
                    bytes[0] |= 0xc0;
                    bytes[1..5].copy_from_slice(&VERSION_1.to_be_bytes());
                    bytes[5] &= 0x1f;
                }
                2 if bytes.len() > 30 => {
                    bytes[0] &= 0x7f;
                    bytes[1..=known.len()].copy_from_slice(known.as_slice());
                }
                _ => {}
            }
            bytes.resize(bytes.len().max(len), 0);
            let (routed, reply) = receive(&mut e, &tuple(), &bytes, T0);
            if let Routed::Reply = routed {
                prop_assert!(!reply.is_empty() && reply.len() < bytes.len());
            }
        }
    }

    #[test]
    fn changed_tokens_never_validate(at in 4..53usize, bit in 0..8u8) {
        let mut e = endpoint(EndpointConfig { retry: RetryPolicy::Always, ..server() });
        let (scid, mut token) = get_retry(&mut e, T0);
        let at = at % token.len();
        token[at] ^= 1 << bit;
        let datagram = packet(PacketType::Initial, VERSION_1, &scid, &SCID, &token, 1200);
        prop_assert!(matches!(receive(&mut e, &tuple(), &datagram, T0).0, Routed::Reply));
    }
}

#[test]
fn addresses_have_the_documented_form() {
    // The four-tuple's socket number tells connections without IDs apart.
    let mut e = endpoint(EndpointConfig { cid_len: 0, ..Default::default() });
    let (a, b) = (e.connections.add(Side::Client).unwrap(), e.connections.add(Side::Client).unwrap());
    let remote: SocketAddr = "198.51.100.7:443".parse().unwrap();
    let t = |socket| FourTuple { local: None, remote, socket };
    assert!(e.add_address(a, &t(1)) && e.add_address(b, &t(2)));
    let datagram = short(&ConnectionId::EMPTY, 60);
    assert!(matches!(receive(&mut e, &t(2), &datagram, T0).0, Routed::Connection(k) if k == b));
    // A connection moves to another socket: only its last few addresses stay.
    for socket in 10..20 {
        assert!(e.add_address(a, &t(socket)));
    }
    assert_eq!(e.route_count(), 5);
}
