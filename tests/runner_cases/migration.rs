//! The runner's cases in which addresses change: rebind-port, rebind-addr, connectionmigration.
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::case::{Case, MB, Setup};
use super::{MINUTE, files};
use whimbrel::base::Timestamp;
use whimbrel::sim::{ConnId, Rebind};

/// The first packet that the server sends to each new address of the client carries PATH_CHALLENGE, and every
/// challenge is answered.
fn paths_are_challenged(case: &Case, client: ConnId) -> Vec<SocketAddr> {
    let server = case.served()[0];
    let started = case.world.live(server).started;
    let millis = |at: Timestamp| at.since(started).as_secs_f64() * 1000.0;
    let challenges = case.sent_frames(server, "path_challenge");
    let capture = case.capture();
    let mut paths: Vec<SocketAddr> = Vec::new();
    for d in capture.iter().filter(|d| !d.by_client) {
        if paths.contains(&d.to) {
            continue;
        }
        paths.push(d.to);
        if paths.len() > 1 {
            let found = challenges.iter().any(|(time, _, _)| (time - millis(d.at)).abs() < 0.01);
            assert!(found, "the first packet to {} is no challenge: {:.3} {challenges:?}", d.to, millis(d.at));
        }
    }
    assert!(paths.len() > 1, "no second path was seen");
    let responses = case.sent_frames(client, "path_response");
    assert!(responses.len() >= paths.len() - 1, "{} responses on {} paths", responses.len(), paths.len());
    assert_eq!(case.handshakes(), 1);
    paths
}

fn rebinding(how: Rebind) -> Vec<SocketAddr> {
    let mut case = Case::plain();
    let client = case.client;
    for i in 0..12u64 {
        case.world.after(Duration::from_secs(1 + 5 * i), move |w| w.rebind(client, how));
    }
    let id = case.fetch(files(&[10 * MB]), MINUTE);
    paths_are_challenged(&case, id)
}

#[test]
fn rebind_port() {
    let paths = rebinding(Rebind::Port);
    assert_eq!(paths.iter().map(SocketAddr::ip).collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn rebind_addr() {
    let paths = rebinding(Rebind::Address);
    assert!(paths.iter().map(SocketAddr::ip).collect::<BTreeSet<_>>().len() > 1);
}

#[test]
fn connectionmigration() {
    let mut setup = Setup { addresses: vec!["192.0.2.1:443", "192.0.2.2:8443"], ..Setup::default() };
    setup.server.preferred_ipv4 = Some("192.0.2.2:8443".parse().unwrap());
    let mut case = Case::new(setup);
    let id = case.fetch(files(&[2 * MB]), MINUTE);
    let preferred: SocketAddr = "192.0.2.2:8443".parse().unwrap();
    let capture = case.capture();
    let (old, new): (Vec<_>, Vec<_>) =
        capture.iter().filter(|d| d.by_client && d.short.len() > 9).partition(|d| d.to != preferred);
    let id_of = |d: &&super::case::Captured| d.short[1..9].to_vec();
    let first = new.first().expect("the client never moved");
    assert!(old.iter().all(|d| id_of(d) != id_of(first)), "the first packet on the new path has an old ID");
    // Nothing goes to the old address once the new one is proved.
    assert!(new.len() > old.len(), "{} and {} datagrams", old.len(), new.len());
    assert!(!case.sent_frames(id, "path_challenge").is_empty());
    assert!(!case.sent_frames(case.served()[0], "path_response").is_empty());
    assert_eq!(case.handshakes(), 1);
}
