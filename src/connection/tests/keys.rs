//! Which keys are used when (RFC 9001 sections 4.9, 5.6, 5.7, 6 and 9.5), read off the datagrams.
use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

use super::super::{CloseReason, EarlyData};
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls, tuple};
use super::zero_rtt::{second, ticket};
use crate::base::codes::{VERSION_1, transport};
use crate::base::{ConnectionId, Dir, Ecn, Side};
use crate::crypto::{Cipher, DirectionKeys, TAG_LEN};
use crate::wire::header::{finish_long, parse_greased, write_long};
use crate::wire::{LongHeader, PacketType, Writer};

const LIMIT: Duration = Duration::from_secs(10);

/// Types of the packets in a datagram.
fn types(datagram: &[u8]) -> Vec<PacketType> {
    let (mut rest, mut out) = (datagram, Vec::new());
    while let Ok(head) = parse_greased(rest, 8) {
        out.push(head.ty);
        rest = &rest[head.packet_len..];
    }
    out
}

type Sent = Rc<RefCell<Vec<(Side, Vec<PacketType>)>>>;

/// Writes down what both sides send.
fn record(p: &mut Pair) -> Sent {
    let sent = Sent::default();
    let log = Rc::clone(&sent);
    p.hook = Box::new(move |from, _, bytes| {
        log.borrow_mut().push((from, types(bytes)));
        Fate::Deliver
    });
    sent
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.1
//= type=test
//# Thus, a client MUST discard Initial keys when it first sends a Handshake packet and a server MUST discard Initial
//# keys when it first successfully processes a Handshake packet.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.1
//= type=test
//# Endpoints MUST NOT send Initial packets after this point.
#[test]
fn a_client_sends_no_initial_packet_after_its_first_handshake_packet() {
    let mut p = Pair::new();
    let sent = record(&mut p);
    let _p = p.connected();
    let sent = sent.borrow();
    let ours: Vec<_> = sent.iter().filter(|(from, _)| from.is_client()).map(|(_, types)| types).collect();
    let first = ours.iter().position(|types| types.contains(&PacketType::Handshake)).expect("it sent one");
    assert!(ours[..first].iter().any(|types| types.contains(&PacketType::Initial)));
    assert!(ours[first + 1..].iter().all(|types| !types.contains(&PacketType::Initial)));
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.2
//= type=test
//# An endpoint MUST discard its Handshake keys when the TLS handshake is confirmed (Section 4.1.2).
#[test]
fn both_drop_initial_and_handshake_keys_in_time() {
    let mut p = Pair::new();
    let mut server_left_initial = false;
    p.run_until(LIMIT, |p| {
        if let Some(hs) = p.client.conn.hs.as_ref().filter(|h| h.initial.discarded) {
            assert!(hs.initial.keys.is_none());
        }
        if let Some(server) = p.server.as_ref() {
            let complete = server.conn.is_established();
            let gone = server.conn.hs.as_ref().is_none_or(|h| h.initial.keys.is_none() && h.initial.discarded);
            assert!(gone || !complete, "a Handshake packet has been processed");
            server_left_initial |= gone;
        }
        for conn in [Some(&p.client.conn), p.server.as_ref().map(|s| &s.conn)].into_iter().flatten() {
            let handshake = conn.hs.as_ref().is_some_and(|h| h.handshake.keys.is_some());
            assert!(!(conn.is_confirmed() && handshake), "confirmed: the Handshake keys are gone");
        }
        p.client.conn.is_confirmed() && server_left_initial
    });
    let sent = record(&mut p);
    let id = p.start(Side::Client, Dir::Bi);
    p.transfer(Side::Client, id, &pattern(20_000), LIMIT);
    p.run_for(Duration::from_secs(1));
    assert!(sent.borrow().iter().all(|(_, types)| *types == [PacketType::Short]));
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.9
//= type=test
//# Though an endpoint might retain older keys, new data MUST be sent at the highest currently available encryption
//# level.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.3
//= type=test
//# After receiving a 1-RTT packet, servers MUST discard 0-RTT keys within a short time; the RECOMMENDED time period is
//# three times the Probe Timeout (PTO, see [QUIC-RECOVERY]).
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.6
//= type=test
//# A server MUST NOT use 0-RTT keys to protect packets; it uses 1-RTT keys to protect acknowledgments of 0-RTT packets.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.6
//= type=test
//# Once a client has installed 1-RTT keys, it MUST NOT send any more 0-RTT packets.
#[test]
fn early_keys_protect_only_what_a_client_sends_before_it_has_others() {
    let (client, server) = (client_tls(), server_tls());
    ticket(&client, &server);
    let mut p = second(&client, server, config());
    let sent = record(&mut p);
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, &pattern(10_000)).unwrap();
    p.run_until(LIMIT, |p| p.client.conn.data.keys.is_some());
    assert!(p.client.conn.hs.as_ref().is_none_or(|h| h.zero_rtt.is_none()));
    let early = |types: &[PacketType]| types.contains(&PacketType::ZeroRtt);
    assert!(sent.borrow().iter().any(|(from, types)| from.is_client() && early(types)));
    assert!(sent.borrow().iter().all(|(from, types)| from.is_client() || !early(types)));
    sent.borrow_mut().clear();
    p.client.conn.write(id, &pattern(30_000)).unwrap();
    p.run_until(LIMIT, |p| p.server().conn.is_confirmed());
    // New data goes out under the newest keys at once, and a server keeps the old ones a little only.
    assert!(sent.borrow().iter().any(|(from, types)| from.is_client() && types.contains(&PacketType::Short)));
    assert!(p.server().conn.hs.as_ref().is_some_and(|h| h.zero_rtt.is_some()));
    let (confirmed, patience) = (p.now, p.server().conn.pto() * 4);
    p.run_until(LIMIT, |p| p.server().conn.hs.is_none());
    let kept = p.now.since(confirmed);
    assert!(kept <= patience, "about three probe timeouts after the first 1-RTT packet: {kept:?} of {patience:?}");
    assert!(sent.borrow().iter().all(|(_, types)| !early(types)));
    assert_eq!(p.client.conn.early_data(), EarlyData::Accepted);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-5.6
//= type=test
//# A client MUST NOT attempt to decrypt 0-RTT packets it receives and instead MUST discard them.
#[test]
fn a_client_does_not_even_try_to_open_early_packets() {
    let mut p = Pair::new();
    p.flush();
    let (dcid, scid) = (p.client.conn.local_cid(), ConnectionId::new(b"somebody").unwrap());
    let keys = DirectionKeys::from_secret(Cipher::Aes128Gcm, VERSION_1, &[7; 32]).unwrap();
    let mut buf = [0; 100];
    let mut w = Writer::new(&mut buf);
    let long = LongHeader { ty: PacketType::ZeroRtt, version: VERSION_1, dcid: &dcid, scid: &scid, token: &[] };
    let mark = write_long(&mut w, &long, 0, 2).unwrap();
    let (pn_at, payload_at) = (mark.pn_at, w.position());
    let end = payload_at + 4 + TAG_LEN;
    finish_long(&mut buf[..end], mark, end - payload_at);
    buf[payload_at] = 1;
    keys.protect(&mut buf[..end], pn_at, 2, 0);
    p.client.conn.hs.as_mut().unwrap().zero_rtt = Some(keys);
    let (at, now) = (tuple("10.0.0.1:1000", 0), p.now);
    p.client.conn.receive(&at, Ecn::NotEct, &mut buf[..end], now);
    let stats = p.client.conn.stats();
    assert_eq!((stats.packets_received, stats.packets_dropped), (0, 1));
    let hs = p.client.conn.hs.as_ref().unwrap();
    assert!(hs.forged == 0 && hs.buffered.is_empty() && !hs.heard_peer);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-6.1
//= type=test
//# An endpoint MUST NOT initiate a key update prior to having confirmed the handshake (Section 4.1.2).
#[test]
fn no_key_update_before_the_handshake_is_confirmed() {
    let mut p = Pair::new();
    p.run_until(LIMIT, |p| p.client.conn.is_established());
    assert!(!p.client.conn.is_confirmed());
    let now = p.now;
    // As if everything had been acknowledged: that is not what is missing.
    p.client.conn.data.keys.as_mut().unwrap().on_packet_acked(u64::MAX);
    assert!(!p.client.conn.key_update(now));
    p.flush();
    assert_eq!(p.client.conn.stats().key_updates, 0);
    p.run_until(LIMIT, |p| p.client.conn.is_confirmed());
    p.run_for(Duration::from_millis(100));
    assert_eq!(p.client.conn.stats().key_updates, 1, "asked for before");
}

/// The same for an update that the limits of the keys want.
#[test]
fn keys_used_up_in_the_handshake_are_changed_once_it_is_confirmed() {
    let mut p = Pair::new();
    p.run_until(LIMIT, |p| p.client.conn.is_established());
    assert!(!p.client.conn.is_confirmed());
    p.client.conn.data.keys.as_mut().unwrap().set_limits(u64::MAX, u64::MAX, 0);
    p.flush();
    assert_eq!(p.client.conn.stats().key_updates, 0);
    p.run_until(LIMIT, |p| p.client.conn.is_confirmed());
    p.client.conn.ping();
    p.run_for(Duration::from_millis(100));
    assert!(p.client.conn.stats().key_updates > 0, "wanted all the time");
}

/// RFC 9001 section 6.1: one after the other; what comes too early waits, and is not asked for with one PING after another.
#[test]
fn a_key_update_that_is_too_early_waits() {
    let mut p = Pair::new().connected();
    // Whoever only acknowledged has nothing acknowledged in this phase: a PING asks.
    let now = p.now;
    p.client.conn.key_update(now);
    p.run_for(Duration::from_millis(100));
    assert_eq!(p.client.conn.stats().key_updates, 1);
    // At once again: the old keys are kept for three probe timeouts.
    let now = p.now;
    assert!(!p.client.conn.key_update(now) && !p.client.conn.key_update(now));
    let sent = p.client.conn.stats().packets_sent;
    p.run_for(Duration::from_secs(2));
    assert!(p.client.conn.stats().packets_sent <= sent + 2);
    p.client.conn.ping();
    p.run_for(Duration::from_millis(100));
    assert_eq!(p.client.conn.stats().key_updates, 2, "two wishes at once are one");
    assert_eq!(p.peer(Side::Server).conn.stats().key_updates, 2);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
//= type=test
//# If the total number of encrypted packets with the same key exceeds the confidentiality limit for the selected AEAD,
//# the endpoint MUST stop using those keys.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
//= type=test
//# If a key update is not possible or integrity limits are reached, the endpoint MUST stop using the connection and
//# only send stateless resets in response to receiving packets.
#[test]
fn a_key_that_is_used_up_ends_the_connection_in_silence() {
    let mut p = Pair::new().connected();
    p.hook = Box::new(|from, _, _| if from.is_server() { Fate::Drop } else { Fate::Deliver });
    p.client.conn.data.keys.as_mut().unwrap().set_limits(6, u64::MAX, 6);
    let id = p.start(Side::Client, Dir::Uni);
    // Keys that are over their new limit are changed at once; those that follow are never acknowledged.
    p.client.conn.write(id, &pattern(30_000)).unwrap();
    p.run_until(LIMIT, |p| p.client.closed().is_some());
    assert_eq!(p.client.conn.stats().key_updates, 1);
    assert!(
        matches!(p.client.closed(), Some(CloseReason::Transport(e)) if e.code == transport::AEAD_LIMIT_REACHED),
        "{:?}",
        p.client.closed()
    );
    let sent = p.client.sent;
    p.hook = Box::new(|_, _, _| Fate::Deliver);
    p.server().conn.ping();
    p.run_for(Duration::from_millis(100));
    assert_eq!(p.client.sent, sent, "not even a CONNECTION_CLOSE");
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
//= type=test
//# In addition to counting packets sent, endpoints MUST count the number of received packets that fail authentication
//# during the lifetime of a connection.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
//= type=test
//# If the total number of received packets that fail authentication within the connection, across all keys, exceeds the
//# integrity limit for the selected AEAD, the endpoint MUST immediately close the connection with a connection error of
//# type AEAD_LIMIT_REACHED and not process any more packets.
#[test]
fn forged_packets_of_all_levels_count_together() {
    let mut p = Pair::new();
    p.flush();
    // The answer of the server, damaged a few times before the real one.
    let damaged = Rc::new(Cell::new(0));
    let count = Rc::clone(&damaged);
    p.hook = Box::new(move |from, _, bytes| {
        if from.is_server() && types(bytes).first() == Some(&PacketType::Initial) && count.get() < 3 {
            bytes[60] ^= 1;
            count.set(count.get() + 1);
        }
        Fate::Deliver
    });
    let mut p = p.connected();
    let early = damaged.get();
    assert_eq!(early, 3);
    p.client.conn.data.keys.as_mut().unwrap().set_limits(u64::MAX, early + 2, u64::MAX);
    let (at, now) = (tuple("10.0.0.1:1000", 0), p.now);
    let junk = [&[0x40][..], p.client.conn.local_cid().as_slice(), &[7; 40]].concat();
    p.client.conn.receive(&at, Ecn::NotEct, &mut junk.clone(), now);
    assert!(!p.client.conn.is_closed());
    p.client.conn.receive(&at, Ecn::NotEct, &mut junk.clone(), now);
    p.flush();
    let closed = p.client.closed();
    assert!(matches!(closed, Some(CloseReason::Transport(e)) if e.code == transport::AEAD_LIMIT_REACHED));
}

/// A packet number that is known already is no reason to look away earlier: an observer could measure that.
//= https://www.rfc-editor.org/rfc/rfc9001#section-9.5
//= type=test
//# For authentication to be free from side channels, the entire process of header protection removal, packet number
//# recovery, and packet protection removal MUST be applied together without timing and other side channels.
#[test]
fn a_forged_duplicate_is_a_forgery_first() {
    let mut p = Pair::new().connected();
    let kept = Rc::new(RefCell::new(Vec::new()));
    let copy = Rc::clone(&kept);
    p.hook = Box::new(move |from, _, bytes| {
        if from.is_client() {
            *copy.borrow_mut() = bytes.clone();
        }
        Fate::Deliver
    });
    p.client.conn.ping();
    p.run_for(Duration::from_millis(15));
    let genuine = kept.borrow().clone();
    let mut forged = genuine.clone();
    *forged.last_mut().unwrap() ^= 1;
    let (from, now) = (p.server().conn.paths.active().tuple, p.now);
    let before = p.server().conn.stats();
    p.server().conn.receive(&from, Ecn::NotEct, &mut forged, now);
    let stats = p.server().conn.stats();
    assert_eq!(stats.packets_duplicate, before.packets_duplicate);
    assert_eq!(stats.packets_dropped, before.packets_dropped + 1);
    p.server().conn.receive(&from, Ecn::NotEct, &mut genuine.clone(), now);
    assert_eq!(p.server().conn.stats().packets_duplicate, before.packets_duplicate + 1);
}
