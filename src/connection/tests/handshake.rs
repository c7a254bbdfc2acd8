//! Handshakes: the plain one, with loss, Retry, Version Negotiation, forged packets, limits of amplification.
use core::time::Duration;

use super::super::{CloseReason, Connection, ConnectionConfig, EarlyData, Event};
use super::pair::{Fate, Pair, certificate, cid, client_tls, config, pattern, server_tls, tuple};
use crate::base::codes::{VERSION_1, VERSION_2, transport};
use crate::base::{ConnectionId, Dir, Ecn, Level, Pcg, Side};
use crate::crypto::retry_tag;
use crate::wire::{Writer, retry, version_negotiation};

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
//= type=test
//# A server MUST NOT use post-handshake client authentication (as defined in Section 4.6.2 of [TLS13]) because the
//# multiplexing offered by QUIC prevents clients from correlating the certificate request with the application-level
//# event that triggered it (see [HTTP2-TLS13]).
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.9.2
//= type=test
//# An endpoint MUST discard its Handshake keys when the TLS handshake is confirmed (Section 4.1.2).
//= https://www.rfc-editor.org/rfc/rfc9001#section-9.2
//= type=test
//# clients MUST treat them as opaque values
#[test]
fn completes_and_is_confirmed_on_both_sides() {
    let mut p = Pair::new().connected();
    for side in [Side::Client, Side::Server] {
        let peer = p.peer(side);
        assert_eq!(peer.conn.alpn(), Some(&b"test"[..]));
        assert!(peer.saw(|e| matches!(e, Event::HandshakeData)));
        assert!(peer.saw(|e| matches!(e, Event::Connected { zero_rtt_accepted: None, resumed: false })));
        assert!(peer.saw(|e| matches!(e, Event::HandshakeConfirmed)));
        assert!(peer.saw(|e| matches!(e, Event::KeysInstalled { level: Level::OneRtt, .. })));
        assert!(peer.closed().is_none());
        assert!(peer.conn.hs.is_none(), "handshake state is dropped");
        assert_eq!(peer.conn.early_data(), EarlyData::None);
    }
    assert_eq!(p.server().conn.server_name(), Some("localhost"));
    assert!(p.client.saw(|e| matches!(e, Event::NewToken(t) if **t == *b"a token")));
    assert!(!p.client.conn.peer_certificates().is_empty());
    // The client asks TLS, the server what it kept of it.
    for (label, context) in [(&b"EXPORTER-x"[..], &b""[..]), (b"label", b"context"), (b"", b"y")] {
        let mut keys = [[0; 77]; 2];
        assert!(p.client.conn.export(label, context, &mut keys[0]));
        assert!(p.server().conn.export(label, context, &mut keys[1]));
        assert_eq!(keys[0], keys[1]);
        assert_ne!(keys[0], [0; 77]);
    }
    assert!(p.server().conn.tls.is_none(), "a server lets go of TLS");
}

#[test]
fn version_2_works() {
    let cfg = ConnectionConfig { versions: vec![VERSION_2, VERSION_1], ..config() };
    let mut p = Pair::with(cfg.clone(), cfg, &client_tls(), server_tls()).connected();
    assert_eq!(p.client.conn.version(), VERSION_2);
    let id = p.start(Side::Client, Dir::Bi);
    assert_eq!(p.transfer(Side::Client, id, b"hello", Duration::from_secs(5)), b"hello");
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4
//= type=test
//# If QUIC needs to retransmit that data, it MUST use the same keys even if TLS has already updated to newer keys.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.9
//= type=test
//# If packets from a lower encryption level contain CRYPTO frames, frames that retransmit that data MUST be sent at the
//# same encryption level.
#[test]
fn survives_any_single_loss_duplicate_or_delay() {
    for side in [Side::Client, Side::Server] {
        for index in 0..6 {
            for fate in [Fate::Drop, Fate::Twice, Fate::Late(Duration::from_millis(35))] {
                let mut p = Pair::new();
                p.hook = Box::new(move |from, i, _| if from == side && i == index { fate } else { Fate::Deliver });
                let mut p = p.connected();
                let id = p.start(Side::Client, Dir::Bi);
                let got = p.transfer(Side::Client, id, b"after trouble", Duration::from_secs(5));
                assert_eq!(got, b"after trouble", "{side:?} {index} {fate:?}");
            }
        }
    }
}

#[test]
fn survives_heavy_random_loss() {
    for seed in 0..20 {
        let mut rng = Pcg::new(seed);
        let mut p = Pair::new();
        p.hook = Box::new(move |_, _, _| {
            use crate::base::Rng;
            if rng.below(100) < 30 { Fate::Drop } else { Fate::Deliver }
        });
        p.run_until(Duration::from_secs(10), |p| {
            p.client.conn.is_confirmed() && p.server.as_ref().is_some_and(|s| s.conn.is_confirmed())
        });
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
//= type=test
//# Clients MUST ensure that UDP datagrams containing Initial packets have UDP payloads of at least 1200 bytes, adding
//# PADDING frames as necessary.
//= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
//= type=test
//# A client MUST expand the payload of all UDP datagrams carrying Initial packets to at least the smallest allowed
//# maximum datagram size of 1200 bytes by adding PADDING frames to the Initial packet or by coalescing the Initial
//# packet; see Section 12.2.
//= https://www.rfc-editor.org/rfc/rfc9001#section-9.3
//= type=test
//# First, the packet containing a ClientHello MUST be padded to a minimum size.
#[test]
fn client_datagrams_with_initial_packets_are_padded() {
    let mut p = Pair::new();
    p.hook = Box::new(|from, _, bytes| {
        let initial = bytes[0] & 0xf0 == 0xc0;
        assert!(!(initial && from.is_client()) || bytes.len() >= 1200, "{}", bytes.len());
        Fate::Deliver
    });
    p.flush();
    assert_eq!(p.flights.len() as u64, p.client.sent);
    p.connected();
}

/// RFC 9000 section 17.2.2: an Initial packet is not a PING alone. Of two probes the second is as good as the first.
#[test]
fn each_probe_of_a_first_flight_carries_the_client_hello() {
    let mut p = Pair::new();
    // The first flight and the first of the two probes are lost.
    p.hook = Box::new(|from, index, _| if from.is_client() && index < 2 { Fate::Drop } else { Fate::Deliver });
    p.run_until(Duration::from_millis(1500), |p| p.server.as_ref().is_some_and(|s| s.conn.is_established()));
}

#[test]
fn server_stays_below_three_times_until_validated() {
    let mut p = Pair::new();
    // Only the first datagram of the client arrives; the server may repeat itself but not exceed its budget.
    p.hook = Box::new(|from, index, _| if from.is_client() && index > 0 { Fate::Drop } else { Fate::Deliver });
    p.run_for(Duration::from_secs(5));
    assert!(p.server.is_some());
    assert!(p.unvalidated_out <= 3 * p.unvalidated_in, "{} > 3 * {}", p.unvalidated_out, p.unvalidated_in);
    assert!(p.unvalidated_out > p.unvalidated_in, "it did answer");
    assert!(!p.server().conn.is_established());
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.2.1
//= type=test
//# When the PTO fires, the client MUST send a Handshake packet if it has Handshake keys, otherwise it MUST send an
//# Initial packet in a UDP datagram with a payload of at least 1200 bytes.
#[test]
fn client_breaks_the_amplification_deadlock() {
    let mut p = Pair::new();
    // The server's first flight is lost entirely; the client must go on probing.
    p.hook = Box::new(|from, index, _| if from.is_server() && index < 3 { Fate::Drop } else { Fate::Deliver });
    p.connected();
}

#[test]
fn handshake_times_out() {
    let mut p = Pair::new();
    p.hook = Box::new(|_, _, _| Fate::Drop);
    p.run_for(Duration::from_secs(11));
    assert_eq!(p.client.closed(), Some(&CloseReason::HandshakeTimeout));
    assert!(p.client.drained);
}

#[test]
fn retry_is_followed_once() {
    let mut p = Pair::new();
    p.flush();
    let first = p.client.conn.hs.as_ref().unwrap().odcid;
    p.flights.clear();
    let chosen = ConnectionId::new(b"retrycid").unwrap();
    let mut buf = [0; 256];
    let packet = retry_packet(&mut buf, &p, first, chosen);
    let mut bad = packet.clone();
    *bad.last_mut().unwrap() ^= 1;
    let at = tuple("10.0.0.1:1000", 0);
    let now = p.now;
    p.client.conn.receive(&at, Ecn::NotEct, &mut bad, now);
    assert_eq!(p.client.conn.stats().retries, 0, "a wrong tag is ignored");
    p.client.conn.receive(&at, Ecn::NotEct, &mut packet.clone(), now);
    assert_eq!(p.client.conn.stats().retries, 1);
    let other = ConnectionId::new(b"secondone").unwrap();
    let mut second = retry_packet(&mut buf, &p, first, other);
    p.client.conn.receive(&at, Ecn::NotEct, &mut second, now);
    assert_eq!(p.client.conn.stats().retries, 1, "only one Retry is followed");
    p.accept = |params| {
        assert_eq!(params.initial_dcid, ConnectionId::new(b"retrycid").unwrap());
        params.retry_scid = Some(params.initial_dcid);
        params.address_validated = true;
        // The server knows the first ID from its token; the test knows it from the fixed seed.
        params.odcid = first_dcid();
    };
    assert_eq!(first, first_dcid());
    p.connected();
}

fn first_dcid() -> ConnectionId {
    let mut rng = Pcg::new(7);
    let _ = cid(&mut rng);
    cid(&mut rng)
}

fn retry_packet(buf: &mut [u8; 256], p: &Pair, odcid: ConnectionId, scid: ConnectionId) -> Vec<u8> {
    let mut w = Writer::new(buf);
    retry::write_retry(&mut w, VERSION_1, &p.client.conn.local_cid(), &scid, b"retry token", 0).unwrap();
    let mut packet = w.written().to_vec();
    let tag = retry_tag(VERSION_1, &odcid, &packet);
    packet.extend_from_slice(&tag);
    packet
}

#[test]
fn retry_without_the_parameter_is_refused() {
    let mut p = Pair::new();
    p.flush();
    p.flights.clear();
    let first = first_dcid();
    let mut buf = [0; 256];
    let mut packet = retry_packet(&mut buf, &p, first, ConnectionId::new(b"retrycid").unwrap());
    let now = p.now;
    p.client.conn.receive(&tuple("10.0.0.1:1000", 0), Ecn::NotEct, &mut packet, now);
    // A server that did not send the Retry knows neither ID (RFC 9000 section 7.3).
    p.run_until(Duration::from_secs(5), |p| p.client.closed().is_some());
    assert!(
        matches!(p.client.closed(), Some(CloseReason::Transport(e)) if e.code == transport::TRANSPORT_PARAMETER_ERROR)
    );
}

fn vn_packet(p: &Pair, versions: &[u32]) -> Vec<u8> {
    let mut buf = [0; 256];
    let mut w = Writer::new(&mut buf);
    let hs = p.client.conn.hs.as_ref().unwrap();
    let (dcid, scid) = (p.client.conn.local_cid(), hs.odcid);
    version_negotiation::write(&mut w, 0, dcid.as_slice(), scid.as_slice(), versions.iter().copied()).unwrap();
    w.written().to_vec()
}

#[test]
fn version_negotiation_closes_with_the_versions() {
    let mut p = Pair::new();
    p.flush();
    let (at, now) = (tuple("10.0.0.1:1000", 0), p.now);
    let mut ours = vn_packet(&p, &[0xff00_0000, VERSION_1]);
    p.client.conn.receive(&at, Ecn::NotEct, &mut ours, now);
    assert!(!p.client.conn.is_closed(), "a list with our version is ignored");
    let mut foreign = vn_packet(&p, &[0x1a2a_3a4a, 0xff00_0000]);
    foreign[8] ^= 1;
    p.client.conn.receive(&at, Ecn::NotEct, &mut foreign, now);
    assert!(!p.client.conn.is_closed(), "connection IDs that are not ours are ignored");
    let mut good = vn_packet(&p, &[0x1a2a_3a4a, 0xff00_0000]);
    p.client.conn.receive(&at, Ecn::NotEct, &mut good, now);
    p.flush();
    assert_eq!(p.client.closed(), Some(&CloseReason::VersionMismatch([0x1a2a_3a4a, 0xff00_0000].into())));
    assert!(p.client.drained);
}

#[test]
fn version_negotiation_is_too_late_after_an_answer() {
    let mut p = Pair::new();
    p.run_until(Duration::from_secs(1), |p| p.client.conn.hs.as_ref().is_some_and(|h| h.heard_peer));
    let mut vn = vn_packet(&p, &[0x1a2a_3a4a]);
    let now = p.now;
    p.client.conn.receive(&tuple("10.0.0.1:1000", 0), Ecn::NotEct, &mut vn, now);
    p.connected();
}

#[test]
fn forged_and_damaged_packets_change_nothing() {
    let mut p = Pair::new();
    let mut n = 0u64;
    p.hook = Box::new(move |_, _, bytes| {
        n += 1;
        // Every third datagram is damaged somewhere.
        if n.is_multiple_of(3) {
            let at = (n as usize * 7919) % bytes.len();
            bytes[at] ^= 0x55;
        }
        Fate::Deliver
    });
    p.run_until(Duration::from_secs(9), |p| {
        p.client.conn.is_confirmed() && p.server.as_ref().is_some_and(|s| s.conn.is_confirmed())
    });
    p.hook = Box::new(|_, _, _| Fate::Deliver);
    let id = p.start(Side::Client, Dir::Bi);
    let data = pattern(50_000);
    assert_eq!(p.transfer(Side::Client, id, &data, Duration::from_secs(5)), data);
}

#[test]
fn random_datagrams_never_panic() {
    use crate::base::Rng;
    let mut p = Pair::new().connected();
    let mut rng = Pcg::new(3);
    let (at, now) = (tuple("10.0.0.1:1000", 0), p.now);
    let local = p.client.conn.local_cid();
    for round in 0..5000 {
        let mut bytes = vec![0; rng.below(200) as usize];
        rng.fill(&mut bytes);
        if round % 2 == 0 && bytes.len() > 9 {
            bytes[0] = 0x40 | (bytes[0] & 0x3f);
            bytes[1..9].copy_from_slice(local.as_slice());
        }
        p.client.conn.receive(&at, Ecn::NotEct, &mut bytes, now);
    }
    assert!(!p.client.conn.is_closed());
    let id = p.start(Side::Client, Dir::Bi);
    assert_eq!(p.transfer(Side::Client, id, b"fine", Duration::from_secs(5)), b"fine");
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.8
//= type=test
//# As QUIC provides alternative mechanisms for connection termination and the TLS connection is only closed if an error
//# is encountered, a QUIC endpoint MUST treat any alert from TLS as if it were at the "fatal" level.
#[test]
fn wrong_certificate_closes_with_a_tls_alert_on_both_sides() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let other = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let tls = crate::crypto::ClientTlsBuilder::new()
        .roots_pem(other.pem().as_bytes())
        .alpn(vec![b"test".to_vec()])
        .build()
        .unwrap();
    let mut p = Pair::with(config(), config(), &tls, server_tls());
    p.run_until(Duration::from_secs(5), |p| {
        p.client.closed().is_some() && p.server.as_ref().is_some_and(|s| s.closed().is_some())
    });
    let is_alert = |code: u64| (0x100..0x200).contains(&code);
    assert!(matches!(p.client.closed(), Some(CloseReason::Transport(e)) if is_alert(e.code)));
    assert!(matches!(p.server().closed(), Some(CloseReason::Peer { code, app: false, .. }) if is_alert(*code)));
}

#[test]
fn alpn_mismatch_is_no_application_protocol() {
    let (cert, _) = certificate();
    let tls = crate::crypto::ClientTlsBuilder::new().roots_pem(cert).alpn(vec![b"other".to_vec()]).build().unwrap();
    let mut p = Pair::with(config(), config(), &tls, server_tls());
    p.run_until(Duration::from_secs(5), |p| p.client.closed().is_some());
    assert!(matches!(p.client.closed(), Some(CloseReason::Peer { code: 0x178, app: false, .. })));
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-5.7
//= type=test
//# Even if it has 1-RTT secrets, a client MUST NOT process incoming 1-RTT protected packets before the TLS handshake is
//# complete.
#[test]
fn undecryptable_packets_wait_for_their_keys() {
    // The server's Initial is late: its Handshake and 1-RTT packets come first and are kept.
    let mut p = Pair::new();
    p.hook =
        Box::new(
            |from, index, _| {
                if from.is_server() && index == 0 { Fate::Late(Duration::from_millis(5)) } else { Fate::Deliver }
            },
        );
    p.run_until(Duration::from_millis(200), |p| p.client.conn.is_confirmed());
    assert_eq!(p.client.conn.stats().packets_lost, 0);
}

/// RFC 9000 section 13.2.5: an ACK Delay includes the time that a packet waited for its keys. The client's Finished is late
/// on the way, what it sends after it is not, and is answered when the Finished is there.
#[test]
fn a_wait_for_keys_is_no_part_of_the_round_trip() {
    let mut p = Pair::new();
    let late = Duration::from_millis(300);
    p.hook = Box::new(move |from, index, bytes| {
        let long = bytes.first().is_some_and(|b| b & 0x80 != 0);
        if !from.is_server() && index > 0 && long { Fate::Late(late) } else { Fate::Deliver }
    });
    p.run_until(Duration::from_secs(1), |p| p.client.saw(|e| matches!(e, Event::Connected { .. })));
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, &pattern(3000)).unwrap();
    p.run_until(Duration::from_secs(2), |p| p.client.conn.is_confirmed());
    let stats = p.client.conn.stats();
    assert!(stats.rtt_latest > Duration::from_millis(60), "nothing has waited: {:?}", stats.rtt_latest);
    assert!(stats.rtt_smoothed < Duration::from_millis(25), "{:?}", stats.rtt_smoothed);
}

#[test]
fn a_connection_is_small_when_idle() {
    let p = Pair::new().connected();
    let size = size_of::<Connection>();
    assert!(size < 6 * 1024, "struct is {size} bytes");
    assert!(p.client.conn.events.capacity() < 64);
}

#[test]
fn client_without_a_server_keeps_the_backoff() {
    let mut p = Pair::new();
    p.hook = Box::new(|_, _, _| Fate::Drop);
    p.run_for(Duration::from_secs(8));
    // 1 first flight and PTOs at 1, 3, 7 seconds (333 ms start): never a storm.
    assert!(p.client.sent <= 14, "{}", p.client.sent);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4
//= type=test
//# An endpoint MUST NOT send a parameter more than once in a given transport parameters extension.
#[test]
fn no_parameter_is_sent_twice() {
    use super::super::parameters::{OwnIds, own};
    use crate::wire::TransportParameters;
    for seed in 0..500 {
        let mut rng = Pcg::new(seed);
        for side in [Side::Client, Side::Server] {
            let cfg = ConnectionConfig { ack_delay_exponent: 5, disable_migration: true, ..config() };
            let of_server = side.is_server().then(|| cid(&mut rng));
            let token = side.is_server().then_some(crate::base::ResetToken([1; 16]));
            let ids = OwnIds {
                scid: cid(&mut rng),
                odcid: of_server,
                retry_scid: of_server,
                reset_token: token,
                preferred: None,
            };
            let bytes = own(&cfg, side, VERSION_1, &ids, &mut rng);
            let mut r = crate::wire::Reader::new(&bytes);
            let mut numbers = Vec::new();
            while !r.is_empty() {
                numbers.push(r.varint().unwrap());
                r.varint_bytes().unwrap();
            }
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "seed {seed}");
            // And the IDs in it are those of the packets.
            let p = TransportParameters::decode(&bytes, side).unwrap();
            assert_eq!(p.initial_source_connection_id, Some(ids.scid));
            assert_eq!((p.original_destination_connection_id, p.retry_source_connection_id), (of_server, of_server));
        }
    }
}

/// A path that carries 1199 bytes is none: there is no connection on it.
//= https://www.rfc-editor.org/rfc/rfc9000#section-14
//= type=test
//# QUIC MUST NOT be used if the network path cannot support a maximum datagram size of at least 1200 bytes.
#[test]
fn no_connection_on_a_path_below_1200_bytes() {
    for from in [Side::Client, Side::Server] {
        let mut p = Pair::new();
        p.hook = Box::new(move |side, _, b| if side == from && b.len() >= 1200 { Fate::Drop } else { Fate::Deliver });
        p.run_for(Duration::from_secs(11));
        assert!(!p.client.conn.is_established() && p.client.closed().is_some());
    }
    // Nor does a caller get packets into less room.
    let mut p = Pair::new();
    let now = p.now;
    assert!(p.client.conn.transmit(now, &mut [0; 1199], 16).is_none());
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# A server that chooses a zero-length connection ID MUST NOT provide a preferred address.
//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# Similarly, a server MUST NOT include a zero- length connection ID in this transport parameter.
#[test]
fn a_server_without_connection_id_names_no_preferred_address() {
    use crate::base::{ConnectionId, ResetToken};
    let cfg = ConnectionConfig { preferred_ipv4: Some("10.0.0.9:4433".parse().unwrap()), ..config() };
    let other = Some((ConnectionId::new(b"another!").unwrap(), ResetToken([4; 16])));
    for (empty, preferred) in [(true, other), (false, Some((ConnectionId::EMPTY, ResetToken([4; 16]))))] {
        let mut p = Pair::with(config(), cfg.clone(), &client_tls(), server_tls());
        p.accept = if empty { |params| params.local_cid = ConnectionId::EMPTY } else { |_| {} };
        p.preferred = preferred;
        // The client would close with TRANSPORT_PARAMETER_ERROR.
        let mut p = p.connected();
        p.run_for(Duration::from_secs(5));
        assert!(p.client.closed().is_none() && !p.client.saw(|e| matches!(e, Event::PathFailed { .. })));
    }
    let mut p = Pair::with(config(), cfg, &client_tls(), server_tls());
    p.preferred = other;
    let mut p = p.connected();
    p.run_for(Duration::from_secs(5));
    let tried = |e: &Event| matches!(e, Event::PathFailed { tuple, .. } if tuple.remote.port() == 4433);
    assert!(p.client.saw(tried), "with both it does, and nobody answers there");
}

/// Disabled, the bit is one random value of the connection's own, and the peer's is not looked at; else it spins.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
//= type=test
//# An endpoint that does not support this feature MUST disable it, as defined below.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
//= type=test
//# Implementations MUST allow administrators of clients and servers to disable the spin bit either globally or on a
//# per-connection basis.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
//= type=test
//# Even when the spin bit is not disabled by the administrator, endpoints MUST disable their use of the spin bit for a
//# random selection of at least one in every 16 network paths, or for one in every 16 connection IDs, in order to
//# ensure that QUIC connections that disable the spin bit are commonly observed on the network.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
//= type=test
//# When the spin bit is disabled, endpoints MAY set the spin bit to any value and MUST ignore any incoming value.
#[test]
fn the_spin_bit_spins_unless_it_is_disabled() {
    let (mut seen, mut spinning) = ([false; 2], 0);
    for (seed, allowed) in (0..32).map(|n| (n, n % 2 == 0)) {
        let cfg = std::sync::Arc::new(ConnectionConfig { spin_bit: allowed, ..config() });
        let now = crate::base::Timestamp(1_000_000_000);
        let mut p = Pair::starting(cfg.clone(), cfg, &client_tls(), server_tls(), now, seed);
        let bits = std::rc::Rc::new(std::cell::RefCell::new([[false; 2]; 2]));
        let told = bits.clone();
        p.hook = Box::new(move |side, _, bytes| {
            if bytes[0] & 0x80 == 0 {
                told.borrow_mut()[usize::from(side.is_server())][usize::from(bytes[0] & 0x20 != 0)] = true;
            }
            Fate::Deliver
        });
        let mut p = p.connected();
        let id = p.start(Side::Client, Dir::Bi);
        p.transfer(Side::Client, id, &pattern(50_000), Duration::from_secs(5));
        for side in *bits.borrow() {
            if allowed {
                spinning += u32::from(side[0] && side[1]);
            } else {
                assert!(side[0] != side[1], "one value all along");
                seen[usize::from(side[1])] = true;
            }
        }
    }
    assert!(spinning > 16, "{spinning} of 32 ends showed both values");
    assert_eq!(seen, [true; 2], "connections differ");
}
