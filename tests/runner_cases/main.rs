//! The QUIC interop runner's cases against ourselves in the virtual world, one test each, judged as the runner judges:
//! by what was transferred and by what the wire and both ends' logs show. The default link is the runner's.
mod case;
mod figures;
mod migration;

use std::time::Duration;

use case::{Case, KB, MB, SEED, Setup};
use whimbrel::base::Ecn;
use whimbrel::base::codes::{VERSION_1, VERSION_2};
use whimbrel::connection::{CloseReason, Event};
use whimbrel::crypto::{Cipher, ClientTlsBuilder};
use whimbrel::endpoint::RetryPolicy;
use whimbrel::sim::{Client, Job, LinkConfig, Plan, identity};
use whimbrel::wire::header::PacketType;

const MINUTE: Duration = Duration::from_secs(60);

fn files(sizes: &[u64]) -> Plan {
    Plan { jobs: sizes.iter().map(|s| Job::get(*s)).collect(), ..Plan::default() }
}

fn only_version_1(case: &Case) {
    for by_client in [true, false] {
        for ty in [PacketType::Initial, PacketType::Handshake] {
            assert!(case.long(by_client, ty).iter().all(|p| p.version == VERSION_1));
        }
    }
    assert!(case.long(false, PacketType::VersionNegotiation).is_empty());
}

#[test]
fn handshake() {
    let mut case = Case::plain();
    case.fetch(files(&[KB]), MINUTE);
    only_version_1(&case);
    assert_eq!(case.handshakes(), 1);
    assert!(case.long(false, PacketType::Retry).is_empty());
}

#[test]
fn transfer() {
    let mut setup = Setup::default();
    setup.client.flow.stream_window = 64 * KB;
    setup.client.flow.connection_window = 128 * KB;
    let mut case = Case::new(setup);
    let id = case.fetch(files(&[2 * MB, 3 * MB, 5 * MB]), MINUTE);
    assert_eq!(case.handshakes(), 1);
    assert!(!case.sent_frames(id, "max_data").is_empty() && !case.sent_frames(id, "max_stream_data").is_empty());
}

#[test]
fn longrtt() {
    let mut setup = Setup::default();
    setup.link.delay = Duration::from_millis(750);
    let mut case = Case::new(setup);
    let id = case.fetch(files(&[KB]), MINUTE);
    assert_eq!(case.handshakes(), 1);
    let hellos = case.sent_frames(id, "crypto").into_iter().filter(|(_, ty, f)| ty == "initial" && f["offset"] == 0);
    assert!(hellos.count() >= 2, "the first flight was not sent again");
}

#[test]
fn chacha20() {
    let mut setup = Setup::default();
    let builder = ClientTlsBuilder::new().alpn(vec![identity::ALPN.to_vec()]).ciphers(vec![Cipher::ChaCha20Poly1305]);
    setup.client_tls = builder.roots_pem(identity::pems().root.as_bytes()).build().unwrap();
    let mut case = Case::new(setup);
    let id = case.fetch(files(&[3 * MB]), MINUTE);
    assert_eq!(case.handshakes(), 1);
    for id in [id, case.served()[0]] {
        let live = case.world.live(id);
        let installed = live.events.iter().filter_map(|(_, e)| match e {
            Event::KeysInstalled { level, cipher } if *level != whimbrel::base::Level::Initial => Some(*cipher),
            _ => None,
        });
        let ciphers: Vec<Cipher> = installed.collect();
        assert!(!ciphers.is_empty() && ciphers.iter().all(|c| *c == Cipher::ChaCha20Poly1305), "{ciphers:?}");
    }
}

#[test]
fn multiplexing() {
    let mut case = Case::plain();
    assert!(case.config.max_streams_bidi <= 1000);
    let id = case.fetch(files(&vec![32; 1999]), MINUTE);
    assert_eq!(case.world.app::<Client>(id).finished, 1999);
    assert_eq!(case.handshakes(), 1);
    assert!(!case.sent_frames(case.served()[0], "max_streams").is_empty());
}

#[test]
fn retry() {
    let mut case = Case::new(Setup { retry: RetryPolicy::Always, ..Setup::default() });
    let id = case.fetch(files(&[10 * KB]), MINUTE);
    let retries = case.long(false, PacketType::Retry);
    assert!(!retries.is_empty() && !retries[0].token.is_empty());
    let initials = case.long(true, PacketType::Initial);
    assert!(initials.iter().any(|p| p.token == retries[0].token), "no Initial carries the token");
    assert_eq!(case.handshakes(), 1);
    // Packet numbers go on (RFC 9000 section 17.2.5.3).
    let numbers: Vec<u64> = case
        .qlog(id)
        .iter()
        .filter(|(_, name, d)| name == "quic:packet_sent" && d["header"]["packet_type"] == "initial")
        .map(|(_, _, d)| d["header"]["packet_number"].as_u64().unwrap())
        .collect();
    assert!(numbers.len() > 1 && numbers.windows(2).all(|w| w[0] < w[1]), "{numbers:?}");
}

#[test]
fn resumption() {
    let mut case = Case::plain();
    let first = case.fetch(files(&[5 * KB]), MINUTE);
    let second = case.fetch(files(&[10 * KB]), MINUTE);
    let end = |id| {
        let crypto = case.sent_frames(id, "crypto").into_iter().filter(|(_, ty, _)| ty == "handshake");
        crypto.filter_map(|(_, _, f)| Some(f["offset"].as_u64()? + f["raw"]["length"].as_u64()?)).max().unwrap()
    };
    let (before, after) = (end(case.served()[0]), end(case.served()[1]));
    assert_eq!(case.handshakes(), 2);
    assert!(!case.world.app::<Client>(first).resumed && case.world.app::<Client>(second).resumed);
    // EncryptedExtensions and Finished are left: no certificate, no signature.
    assert!(after + 300 < before, "{after} bytes of handshake after {before}");
}

#[test]
fn zerortt() {
    let mut case = Case::plain();
    // As long as a name of 250 characters.
    let requests = |n: usize| vec![Job { download: 32, upload: 250, abandon: false }; n];
    case.fetch(Plan { jobs: requests(1), ..Plan::default() }, MINUTE);
    let start = case.capture().len();
    let id = case.fetch(Plan { jobs: requests(39), early: true, ..Plan::default() }, MINUTE);
    assert_eq!(case.handshakes(), 2);
    assert_eq!(case.world.app::<Client>(id).zero_rtt_accepted, Some(true));
    let early: usize = case.long(true, PacketType::ZeroRtt).iter().map(|p| p.len).sum();
    assert!(early > 39 * 250, "{early} bytes in 0-RTT packets");
    let late: usize = case.capture()[start..].iter().filter(|d| d.by_client).map(|d| d.short.len()).sum();
    assert!(late <= 40 * 250 / 2, "{late} bytes after the handshake");
}

#[test]
fn blackhole() {
    let mut case = Case::plain();
    let links = [case.up, case.down];
    for i in 0..40u64 {
        case.world.after(Duration::from_secs(5 * i + 3), move |w| w.outage(&links, Duration::from_secs(2)));
    }
    case.fetch(files(&[10 * MB]), MINUTE);
    assert_eq!(case.handshakes(), 1);
}

#[test]
fn keyupdate() {
    for by_client in [true, false] {
        let mut case = Case::plain();
        let id = case.connect(files(&[3 * MB]));
        let busy = |w: &mut whimbrel::sim::World| w.app::<Client>(id).received < MB / 2;
        assert!(case.world.run_while(MINUTE, busy));
        let who = if by_client { id } else { case.served()[0] };
        assert_eq!(case.world.act(who, |c, now| c.key_update(now)), Some(true));
        case.finish(id, MINUTE);
        for end in [id, case.served()[0]] {
            let phases = case.world.live(end).events.iter().filter(|(_, e)| matches!(e, Event::KeyUpdated { .. }));
            assert_eq!(phases.count(), 1, "both directions change to phase 1, once");
        }
        assert_eq!(case.handshakes(), 1);
    }
}

#[test]
fn ecn() {
    let mut case = Case::plain();
    let id = case.fetch(files(&[100 * KB]), MINUTE);
    let capture = case.capture();
    for by_client in [true, false] {
        let marks: Vec<Ecn> = capture.iter().filter(|d| d.by_client == by_client).map(|d| d.ecn).collect();
        assert!(marks.contains(&Ecn::Ect0) || marks.contains(&Ecn::Ect1));
        assert!(!marks.contains(&Ecn::Ce));
    }
    for end in [id, case.served()[0]] {
        let acks = case.sent_frames(end, "ack");
        assert!(acks.iter().any(|(_, _, f)| f.get("ect0").is_some() || f.get("ect1").is_some()), "no ACK_ECN");
    }
    only_version_1(&case);
    assert_eq!(case.handshakes(), 1);
}

#[test]
fn amplificationlimit() {
    // Verifiers follow no more than six authorities, so two of the nine belong to somebody else.
    let mut chain = identity::chain(7, 1000);
    chain.chain += &identity::chain(2, 1000).chain;
    let setup = Setup {
        client_tls: identity::client_for(&chain, false),
        server_tls: identity::server_for(&chain, false),
        ..Setup::default()
    };
    let mut case = Case::new(setup);
    let (client, mut number) = (case.client, 0);
    case.world.watch(move |d| {
        number += usize::from(d.node == client);
        d.node != client || !(2..=7).contains(&number)
    });
    case.fetch(files(&[5 * KB]), MINUTE);
    let capture = case.capture();
    let server = case.served()[0];
    let crypto = case.sent_frames(server, "crypto").into_iter().filter(|(_, ty, _)| ty == "handshake");
    let end = crypto.map(|(_, _, f)| f["offset"].as_u64().unwrap() + f["raw"]["length"].as_u64().unwrap_or(0)).max();
    assert!(end >= Some(7500), "the chain was not long: {end:?}");
    let (mut received, mut sent, mut client_number) = (0, 0, 0);
    for d in &capture {
        if !d.by_client {
            sent += d.len;
            assert!(sent <= 3 * received, "{sent} bytes for {received}");
            continue;
        }
        client_number += 1;
        if (2..=7).contains(&client_number) {
            continue;
        }
        received += d.len;
        // The first Handshake packet that arrives proves the address.
        if d.packets.iter().any(|p| p.ty == PacketType::Handshake) {
            break;
        }
    }
    assert!(client_number > 7, "the drops hit nothing");
    only_version_1(&case);
    assert_eq!(case.handshakes(), 1);
}

/// Fifty connections, one file each.
fn multiconnect(link: LinkConfig) {
    let mut setup = Setup { link, ..Setup::default() };
    for config in [&mut setup.client, &mut setup.server] {
        config.handshake_timeout = Duration::from_secs(60);
    }
    let mut case = Case::new(setup);
    let start = case.world.now;
    for _ in 0..50 {
        let id = case.connect(files(&[KB]));
        assert!(case.world.run_jobs(&[id], 5 * MINUTE), "{}", case.world.story());
        case.world.act(id, |c, now| c.close(0, b"", now));
    }
    let took = case.world.now.since(start);
    assert!(took < 5 * MINUTE, "took {took:?}");
    assert_eq!(case.handshakes(), 50);
}

fn runner_link() -> LinkConfig {
    Setup::default().link
}

#[test]
fn multiconnect_plain() {
    multiconnect(runner_link());
}

#[test]
fn handshakeloss() {
    multiconnect(LinkConfig { loss: 3000, burst_limit: 3, ..runner_link() });
}

#[test]
fn handshakecorruption() {
    multiconnect(LinkConfig { corrupt: 3000, burst_limit: 3, ..runner_link() });
}

#[test]
fn transferloss() {
    let link = LinkConfig { loss: 200, burst_limit: 3, ..runner_link() };
    let mut case = Case::new(Setup { link, ..Setup::default() });
    case.fetch(files(&[2 * MB]), MINUTE);
    assert_eq!(case.handshakes(), 1);
}

#[test]
fn transfercorruption() {
    let link = LinkConfig { corrupt: 200, burst_limit: 3, ..runner_link() };
    let mut case = Case::new(Setup { link, ..Setup::default() });
    case.fetch(files(&[2 * MB]), MINUTE);
    assert_eq!(case.handshakes(), 1);
}

#[test]
fn ipv6() {
    let mut case = Case::new(Setup { addresses: vec!["[2001:db8::1]:443"], ..Setup::default() });
    case.fetch(files(&[5 * KB, 10 * KB]), MINUTE);
    assert!(case.capture().iter().all(|d| d.from.is_ipv6() && d.to.is_ipv6()));
    assert_eq!(case.handshakes(), 1);
}

#[test]
fn version_2_from_the_start() {
    let mut setup = Setup::default();
    setup.client.versions = vec![VERSION_2, VERSION_1];
    let mut case = Case::new(setup);
    case.fetch(files(&[KB]), MINUTE);
    for by_client in [true, false] {
        let handshake = case.long(by_client, PacketType::Handshake);
        assert!(!handshake.is_empty() && handshake.iter().all(|p| p.version == VERSION_2));
    }
    assert_eq!(case.handshakes(), 1);
}

/// The runner's case: the client begins with v1 and the server takes it to v2 within the handshake (RFC 9368 section 2.3).
#[test]
fn v2() {
    let mut setup = Setup::default();
    let both = vec![VERSION_2, VERSION_1];
    (setup.client.versions, setup.client.initial_version) = (both.clone(), Some(VERSION_1));
    setup.server.versions = both;
    setup.server.choose_version = true;
    let mut case = Case::new(setup);
    case.fetch(files(&[KB]), MINUTE);
    let first = case.long(true, PacketType::Initial).first().map(|p| p.version);
    assert_eq!(first, Some(VERSION_1));
    assert!(case.long(false, PacketType::Initial).iter().any(|p| p.version == VERSION_2));
    for by_client in [true, false] {
        let handshake = case.long(by_client, PacketType::Handshake);
        assert!(!handshake.is_empty() && handshake.iter().all(|p| p.version == VERSION_2));
    }
    assert!(case.long(false, PacketType::VersionNegotiation).is_empty());
    assert_eq!(case.handshakes(), 1);
}

#[test]
fn versionnegotiation() {
    let mut setup = Setup::default();
    // The client's version is unknown to the server.
    (setup.client.versions, setup.versions) = (vec![VERSION_1], vec![VERSION_2]);
    let mut case = Case::new(setup);
    let id = case.connect(files(&[KB]));
    assert!(case.world.run_while(MINUTE, |w| w.live(id).closed.is_none()));
    let Some(CloseReason::VersionMismatch(offered)) = &case.world.live(id).closed else {
        panic!("{:?}", case.world.live(id).closed)
    };
    assert!(offered.contains(&VERSION_2) && !offered.contains(&VERSION_1));
    let answers = case.long(false, PacketType::VersionNegotiation);
    let asked = case.capture()[0].packets.first().map(|p| p.dcid.clone());
    assert!(!answers.is_empty() && asked == Some(answers[0].scid.clone()), "{answers:?}");
    assert!(case.served().is_empty(), "seed {SEED}");
}
