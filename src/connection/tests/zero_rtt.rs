//! 0-RTT: resumption, early data accepted, rejected and sent again.
use core::time::Duration;
use std::sync::Arc;

use super::super::{ConnectionConfig, EarlyData, Event};
use super::pair::{Pair, client_tls, config, pattern, server_tls};
use crate::base::{Dir, Side, Timestamp};
use crate::crypto::{ClientTls, ServerTls};

const LIMIT: Duration = Duration::from_secs(10);

/// A first connection that leaves a ticket behind.
fn ticket(client: &Arc<ClientTls>, server: &Arc<ServerTls>) {
    let mut p = Pair::with(config(), config(), client, server.clone()).connected();
    p.run_for(Duration::from_millis(200));
    let now = p.now;
    p.client.conn.close(0, b"", now);
    p.run_for(Duration::from_secs(2));
}

fn second(client: &Arc<ClientTls>, server: Arc<ServerTls>, cfg: ConnectionConfig) -> Pair {
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
fn more_early_data_than_one_flight() {
    let (client, server) = (client_tls(), server_tls());
    ticket(&client, &server);
    let mut p = second(&client, server, config());
    let id = p.start(Side::Client, Dir::Bi);
    let data = pattern(100_000);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
    assert_eq!(p.client.conn.early_data(), EarlyData::Accepted);
}

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
    use super::pair::Fate;
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
