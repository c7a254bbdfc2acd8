//! 0-RTT: resumption, early data accepted, rejected and sent again.
use core::time::Duration;
use std::sync::Arc;

use super::super::{CloseReason, ConnectionConfig, EarlyData, Event, FlowConfig};
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls};
use crate::base::codes::transport;
use crate::base::{Dir, Side, SpaceId, Timestamp};
use crate::crypto::{ClientTls, ServerTls};
use crate::wire::{PacketType, TransportParameters, header};

const LIMIT: Duration = Duration::from_secs(10);

/// A first connection that leaves a ticket behind.
pub(super) fn ticket(client: &Arc<ClientTls>, server: &Arc<ServerTls>) {
    let mut p = Pair::with(config(), config(), client, server.clone()).connected();
    p.run_for(Duration::from_millis(200));
    let now = p.now;
    p.client.conn.close(0, b"", now);
    p.run_for(Duration::from_secs(2));
}

pub(super) fn second(client: &Arc<ClientTls>, server: Arc<ServerTls>, cfg: ConnectionConfig) -> Pair {
    Pair::starting(Arc::new(config()), Arc::new(cfg), client, server, Timestamp(9_000_000_000), 77)
}

#[test]
fn early_data_is_accepted_and_arrives_with_the_first_flight() {
    let (client, server) = (client_tls(), server_tls());
    ticket(&client, &server);
    let mut p = second(&client, server, config());
    assert_eq!(p.client.conn.early_data(), EarlyData::Pending);
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, b"early bird").unwrap();
    p.client.conn.finish(id).unwrap();
    // One way only: before anything came back.
    p.run_for(Duration::from_millis(15));
    let mut buf = [0; 64];
    let ok = p.server().conn.read(id, &mut buf).unwrap();
    assert_eq!(&buf[..ok.len], b"early bird");
    assert!(!p.server().conn.is_established());
    let mut p = p.connected();
    assert_eq!(p.client.conn.early_data(), EarlyData::Accepted);
    assert!(p.client.saw(|e| matches!(e, Event::Connected { zero_rtt_accepted: Some(true), resumed: true })));
    assert!(p.server().saw(|e| matches!(e, Event::Connected { resumed: true, .. })));
}

#[test]
fn streams_know_that_they_came_early() {
    let (client, server) = (client_tls(), server_tls());
    ticket(&client, &server);
    let mut p = second(&client, server, config());
    let [whole, begun] = [(); 2].map(|()| p.start(Side::Client, Dir::Bi));
    p.client.conn.write(whole, b"early").unwrap();
    p.client.conn.finish(whole).unwrap();
    p.client.conn.write(begun, b"begun").unwrap();
    p.run_for(Duration::from_millis(15));
    assert!(!p.server().conn.was_completed());
    for id in [whole, begun] {
        assert_eq!(p.server().conn.stream_is_early(id), Some(true));
    }
    let mut p = p.connected();
    p.client.conn.write(begun, b", and finished late").unwrap();
    p.client.conn.finish(begun).unwrap();
    let late = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(late, b"late").unwrap();
    p.run_for(Duration::from_millis(100));
    assert!(p.server().conn.was_completed());
    assert_eq!(p.server().conn.stream_is_early(begun), Some(true), "some of it was early");
    assert_eq!(p.server().conn.stream_is_early(late), Some(false));
    assert_eq!(p.client.conn.stream_is_early(whole), Some(false), "nothing came early to a client");
}

/// Data that the server refused come again after the handshake, and are early no more.
#[test]
fn refused_early_data_are_not_early_when_they_come() {
    let client = client_tls();
    ticket(&client, &server_tls());
    let mut p = second(&client, server_tls(), config());
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, b"once").unwrap();
    let mut p = p.connected();
    p.run_for(Duration::from_millis(200));
    assert_eq!(p.server().conn.stream_is_early(id), Some(false));
}

#[test]
fn more_early_data_than_one_flight() {
    let (client, server) = (client_tls(), server_tls());
    ticket(&client, &server);
    let mut p = second(&client, server, config());
    let id = p.start(Side::Client, Dir::Bi);
    let data = pattern(100_000);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
    assert_eq!(p.client.conn.early_data(), EarlyData::Accepted);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.2
//= type=test
//# The client therefore MUST reset the state of all streams, including application state bound to those streams.
#[test]
fn rejected_early_data_is_sent_again() {
    let client = client_tls();
    ticket(&client, &server_tls());
    // Another server with the same certificate knows nothing of the ticket.
    let mut p = second(&client, server_tls(), config());
    assert_eq!(p.client.conn.early_data(), EarlyData::Pending);
    let id = p.start(Side::Client, Dir::Bi);
    let data = pattern(20_000);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
    assert_eq!(p.client.conn.early_data(), EarlyData::Rejected);
    assert!(p.client.saw(|e| matches!(e, Event::Connected { zero_rtt_accepted: Some(false), .. })));
    assert_eq!(p.client.conn.stats().packets_duplicate, 0);
}

#[test]
fn without_a_ticket_there_is_no_early_data() {
    let p = Pair::new();
    assert_eq!(p.client.conn.early_data(), EarlyData::None);
}

#[test]
fn early_data_survives_loss() {
    for index in 0..4 {
        let (client, server) = (client_tls(), server_tls());
        ticket(&client, &server);
        let mut p = second(&client, server, config());
        p.hook = Box::new(move |from, i, _| if from.is_client() && i == index { Fate::Drop } else { Fate::Deliver });
        let id = p.start(Side::Client, Dir::Bi);
        let data = pattern(5_000);
        assert!(p.transfer(Side::Client, id, &data, LIMIT) == data, "{index}");
        let mut p = p.connected();
        let back = p.start(Side::Server, Dir::Uni);
        assert_eq!(p.transfer(Side::Server, back, b"x", LIMIT), b"x");
    }
}

/// What is remembered of a server that asks for uncommon things, and what is not.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
//= type=test
//# A client MUST NOT use remembered values for the following parameters: ack_delay_exponent, max_ack_delay,
//# initial_source_connection_id, original_destination_connection_id, preferred_address, retry_source_connection_id, and
//# stateless_reset_token.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
//= type=test
//# The client MUST use the server's new values in the handshake instead; if the server does not provide new values, the
//# default values are used.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
//= type=test
//# A client that attempts to send 0-RTT data MUST remember all other transport parameters used by the server that it is
//# able to process.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
//= type=test
//# A client MUST NOT use these for other connections, including connections that are resumed from the current
//# connection.
#[test]
fn parameters_of_the_connection_are_not_remembered_but_limits_are() {
    let (client, server) = (client_tls(), server_tls());
    let uncommon = || ConnectionConfig {
        ack_delay_exponent: 7,
        max_ack_delay: Duration::from_millis(80),
        disable_migration: true,
        preferred_ipv4: "10.0.0.9:4433".parse().ok(),
        active_cid_limit: 5,
        max_datagram_frame: 1000,
        max_streams_bidi: 3,
        max_streams_uni: 2,
        flow: FlowConfig { stream_window: 3000, connection_window: 5000, ..FlowConfig::default() },
        ..config()
    };
    let mut p = Pair::with(config(), uncommon(), &client, server.clone());
    p.accept = |params| {
        let cid = crate::base::ConnectionId::new(b"pref cid").unwrap();
        params.preferred = Some((cid, crate::base::ResetToken([5; 16])));
    };
    let mut p = p.connected();
    assert_eq!((p.client.conn.peer.ack_delay_exponent, p.client.conn.peer.max_ack_delay.as_millis()), (7, 80));
    p.run_for(Duration::from_millis(200));
    let other = ConnectionConfig { ack_delay_exponent: 9, max_ack_delay: Duration::from_millis(40), ..uncommon() };
    let mut p = second(&client, server, other);
    let peer = p.client.conn.peer;
    assert_eq!((peer.ack_delay_exponent, peer.max_ack_delay.as_millis()), (3, 25), "defaults, not what was seen");
    assert!(p.client.conn.preferred.is_none() && p.client.conn.announced_token.is_none());
    assert_eq!(p.client.conn.peer_cids.unused(), 0, "the ID of the preferred address is for that connection only");
    assert!(!peer.known && peer.disable_migration);
    assert_eq!((peer.active_cid_limit, peer.max_datagram_frame), (5, 1000));
    assert!(p.client.conn.datagram_max_len().is_some_and(|n| n < 1000));
    // Three streams, 3000 bytes on one and 5000 on all of them before the server's answer.
    let ids: Vec<_> = (0..3).map(|_| p.start(Side::Client, Dir::Bi)).collect();
    assert!(p.client.conn.open(Dir::Bi).is_err());
    for id in &ids {
        p.client.conn.write(*id, &[1; 4000]).unwrap();
    }
    p.run_for(Duration::from_millis(15));
    let mut got = Vec::new();
    for id in ids {
        let n = p.server().conn.readable_len(id).unwrap_or(0);
        got.push(n);
    }
    assert!(got.iter().all(|n| *n <= 3000) && got.iter().sum::<u64>() == 5000, "{got:?}");
    let p = p.connected();
    assert_eq!(p.client.conn.early_data(), EarlyData::Accepted);
    let peer = p.client.conn.peer;
    assert_eq!((peer.ack_delay_exponent, peer.max_ack_delay.as_millis()), (9, 40), "of this handshake");
}

/// 0-RTT ends where 1-RTT begins, and numbers go on.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.3
//= type=test
//# New packet numbers MUST be used for any new packets that are sent; as described in Section 17.2.5.3, reusing packet
//# numbers could compromise packet protection.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.3
//= type=test
//# A client MUST NOT send 0-RTT packets once it starts processing 1-RTT packets from the server.
#[test]
fn no_early_packets_after_the_keys_changed_and_no_number_twice() {
    for accepted in [true, false] {
        let (client, server) = (client_tls(), server_tls());
        ticket(&client, &server);
        let mut p = second(&client, if accepted { server } else { server_tls() }, config());
        let id = p.start(Side::Client, Dir::Bi);
        let data = pattern(60_000);
        p.client.conn.write(id, &data[..40_000]).unwrap();
        p.flush();
        let early = p.client.conn.recovery.peek_packet_number(0, SpaceId::Data);
        assert!(early > 2, "0-RTT packets were sent");
        for _ in 0..400 {
            let had_keys = p.client.conn.data.keys.is_some();
            let sent = p.client.sent;
            p.hook = Box::new(move |from, _, bytes| {
                let mut at = 0;
                while from.is_client() && at < bytes.len() && bytes[at] & 0x80 != 0 {
                    let head = header::parse_greased(&bytes[at..], 8).unwrap();
                    assert!(!had_keys || head.ty != PacketType::ZeroRtt, "0-RTT after 1-RTT keys");
                    at += head.packet_len;
                }
                Fate::Deliver
            });
            if !p.step() || (p.client.conn.is_confirmed() && p.client.sent == sent) {
                break;
            }
        }
        assert!(p.client.conn.is_confirmed());
        assert_eq!(p.client.conn.early_data() == EarlyData::Accepted, accepted);
        p.client.conn.write(id, &data[40_000..]).unwrap();
        p.run_for(Duration::from_secs(2));
        assert!(p.client.conn.recovery.peek_packet_number(0, SpaceId::Data) > early);
        let lowest = p.server().conn.data.received.ranges_desc().last().map(|r| *r.start());
        // Rejected packets were never received: what was, has numbers behind theirs.
        assert!(accepted || lowest >= Some(early), "{lowest:?} {early}");
        assert_eq!(p.server().conn.stats().packets_duplicate, 0);
    }
}

/// A server that accepts early data and takes back a limit under which it was sent.
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# If a client stores the value of the max_datagram_frame_size transport parameter with their 0-RTT state, they MUST
//# validate that the new value of the max_datagram_frame_size transport parameter sent by the server in the handshake
//# is greater than or equal to the stored value; if not, the client MUST terminate the connection with error
//# PROTOCOL_VIOLATION.
#[test]
fn limits_that_shrink_although_early_data_is_accepted() {
    let changes: [fn(&mut TransportParameters); 9] = [
        |_| {},
        |p| p.active_connection_id_limit += 1,
        |p| p.initial_max_data += 1,
        |p| p.initial_max_stream_data_bidi_local += 1,
        |p| p.initial_max_stream_data_bidi_remote += 1,
        |p| p.initial_max_stream_data_uni += 1,
        |p| p.initial_max_streams_bidi += 1,
        |p| p.initial_max_streams_uni += 1,
        |p| p.max_datagram_frame_size += 1,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let (client, server) = (client_tls(), server_tls());
        ticket(&client, &server);
        let mut p = second(&client, server, config());
        // As if the server had promised more the last time.
        change(p.client.conn.hs.as_mut().unwrap().remembered.as_mut().unwrap());
        p.run_until(LIMIT, |p| p.client.conn.is_confirmed() || p.client.closed().is_some());
        let closed = p.client.closed();
        let violation = matches!(closed, Some(CloseReason::Transport(e)) if e.code == transport::PROTOCOL_VIOLATION);
        assert_eq!(violation, n > 0, "change {n}: {closed:?}");
    }
}
