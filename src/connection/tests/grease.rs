//! The QUIC bit with any value (RFC 9287), and datagrams under their keys (RFC 9221), read off the wire.
use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use super::super::ConnectionConfig;
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls};
use super::zero_rtt::{second, ticket};
use crate::base::{Dir, Side};
use crate::collections::Chunk;
use crate::wire::PacketType;
use crate::wire::header::{FIXED_BIT, parse_greased};

const LIMIT: Duration = Duration::from_secs(10);

/// Who sent a packet, of which type, and whether its QUIC bit was set.
type Packets = Rc<RefCell<Vec<(Side, PacketType, bool)>>>;

fn record(p: &mut Pair) -> Packets {
    let packets = Packets::default();
    let log = Rc::clone(&packets);
    p.hook = Box::new(move |from, _, bytes| {
        let mut rest = &bytes[..];
        while let Ok(head) = parse_greased(rest, 8) {
            log.borrow_mut().push((from, head.ty, head.first_byte & FIXED_BIT != 0));
            rest = &rest[head.packet_len..];
        }
        Fate::Deliver
    });
    packets
}

/// What both sides sent during a handshake and a transfer each way.
fn exchange(mut p: Pair) -> Packets {
    let packets = record(&mut p);
    let mut p = p.connected();
    for side in [Side::Client, Side::Server] {
        let id = p.start(side, Dir::Uni);
        let data = pattern(100_000);
        assert!(p.transfer(side, id, &data, LIMIT) == data);
    }
    assert_eq!(p.client.conn.stats().packets_lost + p.server().conn.stats().packets_lost, 0);
    packets
}

fn cleared(packets: &Packets, side: Side) -> usize {
    packets.borrow().iter().filter(|(from, _, set)| *from == side && !set).count()
}

fn grease(on: bool) -> ConnectionConfig {
    ConnectionConfig { grease_quic_bit: on, ..config() }
}

//= https://www.rfc-editor.org/rfc/rfc9287#section-3
//= type=test
//# An endpoint that advertises the grease_quic_bit transport parameter MUST accept packets with the QUIC Bit set to a
//# value of 0.
//= https://www.rfc-editor.org/rfc/rfc9287#section-3.1
//= type=test
//# However, a client MUST NOT set the QUIC Bit to 0 unless the Initial packets it sends include a token provided by the
//# server in a NEW_TOKEN frame (Section 19.7 of [QUIC]), received less than 604800 seconds (7 days) prior on a
//# connection where the server also included the grease_quic_bit transport parameter.
//= https://www.rfc-editor.org/rfc/rfc9287#section-3.1
//= type=test
//# A server MUST set the QUIC Bit to 0 only after processing transport parameters from a client.
#[test]
fn the_bit_varies_once_both_know_and_every_packet_is_taken() {
    let packets = exchange(Pair::new());
    for side in [Side::Client, Side::Server] {
        let short = packets.borrow().iter().filter(|(from, ty, _)| *from == side && *ty == PacketType::Short).count();
        let zeros = cleared(&packets, side);
        assert!(zeros > short / 5 && zeros < short * 4 / 5, "{zeros} of {short} at random");
    }
    let long = packets.borrow().iter().all(|(_, ty, set)| *set || *ty == PacketType::Short);
    assert!(long, "before the peer's parameters are there, and in long headers, it is set");
}

//= https://www.rfc-editor.org/rfc/rfc9287#section-3.1
//= type=test
//# An endpoint MUST NOT set the QUIC Bit to 0 without knowing whether the peer supports the extension.
#[test]
fn the_bit_is_set_for_a_peer_that_did_not_ask() {
    for asks in [Side::Client, Side::Server] {
        let (client, server) = (grease(asks.is_client()), grease(asks.is_server()));
        let packets = exchange(Pair::with(client, server, &client_tls(), server_tls()));
        // One that does not grease announces nothing: neither may the other clear the bit.
        assert_eq!((cleared(&packets, Side::Client), cleared(&packets, Side::Server)), (0, 0), "{asks:?}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc9287#section-3.1
//= type=test
//# A server MUST NOT remember that a client negotiated the extension in a previous connection and set the QUIC Bit to 0
//# based on that information.
#[test]
fn what_an_earlier_connection_negotiated_does_not_count() {
    let (client, server) = (client_tls(), server_tls());
    ticket(&client, &server);
    // The client resumes and sends early data, but takes no cleared bit this time.
    let now = crate::base::Timestamp(9_000_000_000);
    let (quiet, loud) = (std::sync::Arc::new(grease(false)), std::sync::Arc::new(grease(true)));
    let packets = exchange(Pair::starting(quiet, loud, &client, server.clone(), now, 77));
    assert!(packets.borrow().iter().any(|(_, ty, _)| *ty == PacketType::Initial));
    assert_eq!(cleared(&packets, Side::Server), 0);
    // A client that does: not before the server has said so again, also with a ticket.
    ticket(&client, &server);
    let mut p = second(&client, server, config());
    let packets = record(&mut p);
    let id = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(id, &pattern(20_000)).unwrap();
    p.run_until(LIMIT, |p| p.client.conn.is_established());
    assert!(packets.borrow().iter().any(|(_, ty, _)| *ty == PacketType::ZeroRtt));
    assert!(packets.borrow().iter().all(|(from, ty, set)| from.is_server() || *set || *ty == PacketType::Short));
}

//= https://www.rfc-editor.org/rfc/rfc9221#section-5
//= type=test
//# Like STREAM frames, DATAGRAM frames contain application data and MUST be protected with either 0-RTT or 1-RTT keys.
//= https://www.rfc-editor.org/rfc/rfc9221#section-6
//= type=test
//# All application data transmitted with the DATAGRAM frame, like the STREAM frame, MUST be protected either by 0-RTT
//# or 1-RTT keys.
#[test]
fn datagrams_leave_under_early_or_final_keys_only() {
    let (client, server) = (client_tls(), server_tls());
    ticket(&client, &server);
    let mut p = second(&client, server, config());
    let packets = record(&mut p);
    p.client.conn.datagram_send(Chunk::from_vec(vec![5; 300]), 1).unwrap();
    p.run_for(Duration::from_millis(15));
    assert_eq!(p.server().conn.datagram_recv().as_deref(), Some(&[5; 300][..]));
    assert!(packets.borrow().iter().any(|(from, ty, _)| from.is_client() && *ty == PacketType::ZeroRtt));
    // Without early keys there is nothing to say yet, and a server answers under 1-RTT keys.
    let mut p = Pair::new();
    assert!(p.client.conn.datagram_send(Chunk::from_vec(vec![5; 300]), 1).is_err());
    let packets = record(&mut p);
    p.run_until(LIMIT, |p| p.server.is_some());
    p.flush();
    p.server().conn.datagram_send(Chunk::from_vec(vec![6; 300]), 1).unwrap();
    let before = packets.borrow().len();
    p.flush();
    let sent: Vec<_> = packets.borrow()[before..].iter().map(|(_, ty, _)| *ty).collect();
    assert_eq!(sent, [PacketType::Short]);
    p.run_until(LIMIT, |p| p.client.conn.datagram_recv().is_some());
}
