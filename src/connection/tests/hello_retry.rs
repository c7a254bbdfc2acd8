//! HelloRetryRequest (RFC 8446 section 4.1.4): the server lacks the key exchange group that the client guessed. Without
//! and with 0-RTT, which it ends (section 4.2.10), under loss, and together with a change of version.
use core::time::Duration;
use std::sync::Arc;

use super::super::{ConnectionConfig, EarlyData, Event};
use super::pair::{Fate, Pair, certificate, client_tls, config, pattern, server_tls};
use crate::base::codes::{VERSION_1, VERSION_2};
use crate::base::{Dir, Side, Timestamp};
use crate::crypto::{ClientTls, ServerTls, ServerTlsBuilder};

const LIMIT: Duration = Duration::from_secs(20);
/// secp256r1; clients begin with x25519.
const P256: u16 = 23;

fn other_group() -> Arc<ServerTls> {
    let (cert, key) = certificate();
    let builder = ServerTlsBuilder::new().identity_pem(cert, key).alpn(vec![b"test".to_vec()]).early_data(true);
    builder.groups(vec![P256]).build().unwrap()
}

/// When the client's handshake was complete, from its start.
fn complete(p: &mut Pair) -> Duration {
    let start = p.now;
    p.run_until(LIMIT, |p| p.client.conn.is_established());
    p.now.since(start)
}

#[test]
fn one_more_round_trip() {
    assert_eq!(complete(&mut Pair::new()), Duration::from_millis(20));
    let mut p = Pair::with(config(), config(), &client_tls(), other_group());
    assert_eq!(complete(&mut p), Duration::from_millis(40));
    let mut p = p.connected();
    let id = p.start(Side::Client, Dir::Bi);
    let data = pattern(50_000);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
}

#[test]
fn the_group_is_remembered() {
    let (client, server) = (client_tls(), other_group());
    drop(Pair::with(config(), config(), &client, server.clone()).connected());
    let mut p = Pair::with(config(), config(), &client, server);
    assert_eq!(complete(&mut p), Duration::from_millis(20));
}

fn ticket(client: &Arc<ClientTls>) {
    let mut p = Pair::with(config(), config(), client, server_tls()).connected();
    p.run_for(Duration::from_millis(200));
    let now = p.now;
    p.client.conn.close(0, b"", now);
    p.run_for(Duration::from_secs(2));
}

fn early(cfg: ConnectionConfig, lose: Option<(Side, u64)>) -> Pair {
    let client = client_tls();
    ticket(&client);
    let at = Timestamp(9_000_000_000);
    let mut p = Pair::starting(Arc::new(config()), Arc::new(cfg), &client, other_group(), at, 5);
    p.hook = Box::new(move |from, i, _| if lose == Some((from, i)) { Fate::Drop } else { Fate::Deliver });
    assert_eq!(p.client.conn.early_data(), EarlyData::Pending);
    p
}

/// Writes before the handshake on two streams; all of it arrives, once, though none of it as early data.
fn replayed(mut p: Pair) -> Pair {
    let (first, second) = (p.start(Side::Client, Dir::Bi), p.start(Side::Client, Dir::Uni));
    p.client.conn.write(second, b"a request of its own").unwrap();
    p.client.conn.finish(second).unwrap();
    let data = pattern(30_000);
    assert!(p.transfer(Side::Client, first, &data, LIMIT) == data);
    let mut p = p.connected();
    let mut buf = [0; 64];
    let got = p.server().conn.read(second, &mut buf).unwrap();
    assert_eq!((&buf[..got.len], got.fin), (&b"a request of its own"[..], true));
    assert_eq!(p.client.conn.early_data(), EarlyData::Rejected);
    assert!(p.client.saw(|e| matches!(e, Event::Connected { zero_rtt_accepted: Some(false), .. })));
    p
}

#[test]
fn early_data_is_rejected_and_sent_again() {
    replayed(early(config(), None));
}

#[test]
fn early_data_is_sent_again_whatever_is_lost() {
    for side in [Side::Client, Side::Server] {
        for index in 0..6 {
            replayed(early(config(), Some((side, index))));
        }
    }
}

#[test]
fn with_a_change_of_version() {
    let cfg = ConnectionConfig { versions: vec![VERSION_2, VERSION_1], choose_version: true, ..config() };
    for index in 0..5 {
        let mut p = replayed(early(cfg.clone(), Some((Side::Client, index))));
        assert_eq!((p.client.conn.version(), p.server().conn.version()), (VERSION_2, VERSION_2));
    }
}
