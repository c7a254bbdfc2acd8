//! Handshakes that wait for the application: identity, certificates, signatures.
use super::*;
use ring::signature::Ed25519KeyPair;

const ASK_VERIFY: Asks = Asks { identity: false, verify: true, early_data: false };
const ASK_IDENTITY: Asks = Asks { identity: true, verify: false, early_data: false };
const ASK_EARLY: Asks = Asks { identity: false, verify: false, early_data: true };

fn sign(pki: &Pki, message: &[u8]) -> Vec<u8> {
    let der: Vec<u8> = KeyPair::from_pem(&pki.key).unwrap().serialize_der();
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap().sign(message).as_ref().to_vec()
}

fn question(end: &mut End) -> Question {
    end.seen.questions.pop().expect("a question is open")
}

fn quiet(c: &End, s: &End) -> bool {
    c.seen.out.is_empty() && s.seen.out.is_empty()
}

fn check_done(c: &mut End, s: &mut End) {
    check_done_with(c, s, 4);
}

/// `secrets`: how many traffic secrets each end was told.
fn check_done_with(c: &mut End, s: &mut End, secrets: usize) {
    assert!(c.session.is_done() && s.session.is_done());
    let (mut co, mut so) = (c.seen.one_rtt.take().unwrap(), s.seen.one_rtt.take().unwrap());
    carries_one_rtt(&mut co, &mut so);
    carries_one_rtt(&mut so, &mut co);
    let (ck, sk) = (c.seen.handshake.as_ref().unwrap(), s.seen.handshake.as_ref().unwrap());
    assert!(carries(&ck.local, &sk.remote) && carries(&sk.local, &ck.remote));
    let (mut x, mut y) = ([0; 32], [1; 32]);
    assert!(c.session.export(b"label", b"", &mut x) && s.session.export(b"label", b"", &mut y));
    assert_eq!(x, y);
    // Each secret was told once, whatever ran twice.
    for end in [c, s] {
        assert_eq!(end.seen.secrets.iter().filter(|l| l.contains("TRAFFIC")).count(), secrets);
    }
}

#[test]
fn a_server_signs_with_a_key_that_is_elsewhere() {
    let pki = pki("localhost");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let server = ServerTlsBuilder::new()
        .alpn(alpn(&["h3"]))
        .identity_external(pki.chain.as_bytes())
        .key_log(Arc::new(move |l| sink.lock().unwrap().push(l.to_owned())))
        .build()
        .unwrap();
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server, 1);
    s.hear(&mut c, 100).unwrap();
    assert!(s.seen.log.is_empty(), "nothing is said before the signature: {:?}", s.seen.log);
    let Question::Sign { scheme, message, certificate } = question(&mut s) else { panic!("a signature is asked for") };
    assert_eq!(scheme, 0x0807, "ed25519");
    assert!(pki.chain.contains(&pem_line(&certificate)));
    assert!(!s.session.answer(Answer::Proceed, &mut s.seen).unwrap(), "not an answer to this");
    assert!(s.session.answer(Answer::Signature(sign(&pki, &message)), &mut s.seen).unwrap());
    assert!(!s.session.answer(Answer::Signature(Vec::new()), &mut s.seen).unwrap(), "answered already");
    shake(&mut c, &mut s, 100).unwrap();
    check_done(&mut c, &mut s);
    let lines = lines.lock().unwrap();
    let mut unique = lines.clone();
    unique.sort();
    unique.dedup();
    assert_eq!((lines.len(), unique.len()), (5, 5), "{lines:?}");
}

fn pem_line(der: &[u8]) -> String {
    // The first line of base64 of a certificate is told by its first bytes.
    const TABLE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in der[..48].chunks(3) {
        let n = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        for shift in [18, 12, 6, 0] {
            out.push(char::from(TABLE[(n >> shift & 63) as usize]));
        }
    }
    out
}

#[test]
fn a_signature_after_a_hello_retry_request() {
    let pki = pki("localhost");
    let plain = ServerTlsBuilder::new().alpn(alpn(&["h3"])).identity_external(pki.chain.as_bytes()).build().unwrap();
    let mut config = (*plain.config).clone();
    let mut provider = (**config.crypto_provider()).clone();
    // Not the group that clients try first.
    provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::secp256r1);
    let mut builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&config.cert_resolver));
    builder.alpn_protocols = config.alpn_protocols.clone();
    builder.key_log = Arc::clone(&config.key_log);
    builder.session_storage = Arc::clone(&config.session_storage);
    config = builder;
    let server = Arc::new(ServerTls {
        config: Arc::new(config),
        store: Arc::clone(&plain.store),
        asks: plain.asks,
        external: true,
        identities: Arc::clone(&plain.identities),
        provider: Arc::clone(&plain.provider),
    });
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server, 1);
    s.hear(&mut c, usize::MAX).unwrap();
    assert_eq!(s.seen.log, ["initial"], "HelloRetryRequest");
    c.hear(&mut s, usize::MAX).unwrap();
    s.hear(&mut c, usize::MAX).unwrap();
    let Question::Sign { message, .. } = question(&mut s) else { panic!("a signature is asked for") };
    assert!(s.session.answer(Answer::Signature(sign(&pki, &message)), &mut s.seen).unwrap());
    shake(&mut c, &mut s, usize::MAX).unwrap();
    check_done(&mut c, &mut s);
}

#[test]
fn a_wrong_signature_is_refused_by_the_peer() {
    let pki = pki("localhost");
    let server = ServerTlsBuilder::new().alpn(alpn(&["h3"])).identity_external(pki.chain.as_bytes()).build().unwrap();
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server, 1);
    s.hear(&mut c, usize::MAX).unwrap();
    question(&mut s);
    assert!(s.session.answer(Answer::Signature(vec![7; 64]), &mut s.seen).unwrap());
    let error = shake(&mut c, &mut s, usize::MAX).unwrap_err();
    assert_eq!(error.code, codes::transport::CRYPTO_ERROR + 51, "decrypt_error");
}

#[test]
fn a_client_signs_with_a_key_that_is_elsewhere() {
    let pki = pki("localhost");
    let client = client_builder(&pki).identity_external(pki.chain.as_bytes()).build().unwrap();
    let server = server_builder(&pki).client_roots_pem(pki.ca.as_bytes(), true).build().unwrap();
    let (mut c, mut s) = ends(&client, &server, 1);
    s.hear(&mut c, usize::MAX).unwrap();
    c.hear(&mut s, 50).unwrap();
    assert!(!c.session.is_done() && quiet(&c, &s), "the client waits");
    let Question::Sign { message, .. } = question(&mut c) else { panic!("a signature is asked for") };
    assert!(c.session.answer(Answer::Signature(sign(&pki, &message)), &mut c.seen).unwrap());
    shake(&mut c, &mut s, usize::MAX).unwrap();
    check_done(&mut c, &mut s);
    assert_eq!(s.session.peer_certificates().len(), 1);
}

#[test]
fn a_client_waits_for_the_verdict_on_its_server() {
    let pki = pki("localhost");
    let other = super::pki("elsewhere");
    for (trusted, alert) in [(&pki, None), (&other, Some(51))] {
        let client = client_builder(trusted).asks(ASK_VERIFY).build().unwrap();
        let server = server_builder(&pki).build().unwrap();
        let (mut c, mut s) = ends(&client, &server, 1);
        s.hear(&mut c, usize::MAX).unwrap();
        c.hear(&mut s, 1000).unwrap();
        assert!(!c.session.is_done() && quiet(&c, &s));
        assert!(c.seen.one_rtt.is_none(), "no keys before the verdict");
        let Question::Verify { chain, server_name, verdict, .. } = question(&mut c) else { panic!("a chain is shown") };
        assert_eq!((chain.len(), server_name.as_deref(), verdict), (1, Some("localhost"), alert));
        // The application has the last word, whatever the configured check said.
        assert!(c.session.answer(Answer::Proceed, &mut c.seen).unwrap());
        shake(&mut c, &mut s, usize::MAX).unwrap();
        check_done(&mut c, &mut s);
    }
    let client = client_builder(&pki).asks(ASK_VERIFY).build().unwrap();
    let (mut c, mut s) = ends(&client, &server_builder(&pki).build().unwrap(), 1);
    s.hear(&mut c, usize::MAX).unwrap();
    c.hear(&mut s, usize::MAX).unwrap();
    let error = c.session.answer(Answer::Refuse(44), &mut c.seen).unwrap_err();
    assert_eq!(error.code, codes::transport::CRYPTO_ERROR + 44);
    assert_eq!(c.session.answer(Answer::Proceed, &mut c.seen).unwrap_err().code, error.code, "an error is final");
}

#[test]
fn a_server_waits_for_the_verdict_on_its_client() {
    let pki = pki("localhost");
    let client = || client_builder(&pki).identity_pem(pki.chain.as_bytes(), pki.key.as_bytes()).build().unwrap();
    // Nobody is trusted by configuration: only the application decides.
    let server = server_builder(&pki).client_certificates(true).asks(ASK_VERIFY).build().unwrap();
    for yes in [true, false] {
        let (mut c, mut s) = ends(&client(), &server, 1);
        s.hear(&mut c, usize::MAX).unwrap();
        c.hear(&mut s, usize::MAX).unwrap();
        s.hear(&mut c, 10).unwrap();
        assert!(!s.session.is_done());
        let Question::Verify { chain, verdict, .. } = question(&mut s) else { panic!("a chain is shown") };
        assert_eq!((chain.len(), verdict), (1, Some(48)));
        if yes {
            assert!(s.session.answer(Answer::Proceed, &mut s.seen).unwrap());
            shake(&mut c, &mut s, usize::MAX).unwrap();
            check_done(&mut c, &mut s);
        } else {
            let error = s.session.answer(Answer::Refuse(45), &mut s.seen).unwrap_err();
            assert_eq!(error.code, codes::transport::CRYPTO_ERROR + 45);
        }
    }
    assert!(server_builder(&pki).client_certificates(true).build().is_err(), "nobody would judge them");
}

#[test]
fn a_servers_identity_is_chosen_while_the_client_waits() {
    let (first, second) = (pki("localhost"), pki("localhost"));
    let listener = ServerTlsBuilder::new().alpn(alpn(&["h3"])).asks(ASK_IDENTITY).build().unwrap();
    let chosen = ServerTlsBuilder::new().alpn(alpn(&["h3"])).identity_external(second.chain.as_bytes());
    let chosen = chosen.build().unwrap();
    let (mut c, mut s) = ends(&client_builder(&second).build().unwrap(), &listener, 1);
    s.hear(&mut c, 33).unwrap();
    assert!(s.seen.log.is_empty());
    let Question::Identity { server_name, alpn: offered, client_hello } = question(&mut s) else {
        panic!("the identity is asked for")
    };
    assert_eq!((server_name.as_deref(), offered), (Some("localhost"), alpn(&["h3"])));
    assert_eq!(client_hello[0], 1);
    assert!(s.session.answer(Answer::Identity(chosen), &mut s.seen).unwrap());
    // One question leads to the next.
    let Question::Sign { message, .. } = question(&mut s) else { panic!("a signature is asked for") };
    assert!(s.session.answer(Answer::Signature(sign(&second, &message)), &mut s.seen).unwrap());
    shake(&mut c, &mut s, usize::MAX).unwrap();
    check_done(&mut c, &mut s);

    // Without another choice, the listener's own.
    let own = server_builder(&first).asks(ASK_IDENTITY).build().unwrap();
    let (mut c, mut s) = ends(&client_builder(&first).build().unwrap(), &own, 1);
    s.hear(&mut c, usize::MAX).unwrap();
    question(&mut s);
    assert!(s.session.answer(Answer::Proceed, &mut s.seen).unwrap());
    shake(&mut c, &mut s, usize::MAX).unwrap();
    check_done(&mut c, &mut s);
}

#[test]
fn identities_are_replaced_while_the_server_lives() {
    let (first, second) = (pki("localhost"), pki("localhost"));
    let server = server_builder(&first).build().unwrap();
    let connect = |trusted: &Pki| {
        let (mut c, mut s) = ends(&client_builder(trusted).build().unwrap(), &server, 1);
        shake(&mut c, &mut s, usize::MAX)
    };
    connect(&first).unwrap();
    server.replace_identity(0, Some((second.chain.as_bytes(), Some(second.key.as_bytes())))).unwrap();
    connect(&second).unwrap();
    connect(&first).unwrap_err();
    let mismatch = server.replace_identity(0, Some((first.chain.as_bytes(), Some(second.key.as_bytes()))));
    mismatch.unwrap_err();
    connect(&second).unwrap();
    server.replace_identity(0, None).unwrap();
    connect(&second).unwrap_err();
}

#[test]
fn servers_with_the_same_ticket_keys_resume_each_others_sessions() {
    let pki = pki("localhost");
    let client = client_builder(&pki).early_data(true).build().unwrap();
    let (one, two) = (server_builder(&pki).build().unwrap(), server_builder(&pki).early_data(true).build().unwrap());
    let connect = |server: &Arc<ServerTls>| {
        let (mut c, mut s) = ends(&client, server, 1);
        shake(&mut c, &mut s, usize::MAX).unwrap();
        assert_eq!(c.session.resumed(), s.session.resumed());
        assert_ne!(s.session.early_data_accepted(), Some(true));
        s.session.resumed()
    };
    one.set_ticket_keys(&[[1; 32]]);
    two.set_ticket_keys(&[[2; 32], [1; 32]]);
    assert!(!connect(&one), "there is no session yet");
    assert!(connect(&two), "sealed with the key that only opens here");
    // The client's tickets are of both by now: drop them by a server that knows neither key, and which issues its own.
    two.set_ticket_keys(&[[3; 32]]);
    while connect(&two) {}
    assert!(connect(&two));
}

/// Two servers that share ticket keys and ask about early data, and a client that has a ticket.
fn fleet() -> (Arc<ClientTls>, [Arc<ServerTls>; 2]) {
    let pki = pki("localhost");
    let client = client_builder(&pki).early_data(true).build().unwrap();
    let servers = [(); 2].map(|()| server_builder(&pki).early_data(true).asks(ASK_EARLY).build().unwrap());
    servers.iter().for_each(|s| s.set_ticket_keys(&[[1; 32]]));
    let (mut c, mut s) = ends(&client, &servers[0], 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(s.seen.questions.is_empty(), "nothing early was offered");
    (client, servers)
}

fn asked(s: &mut End) -> [u8; 32] {
    let Question::EarlyData { key, window } = question(s) else { panic!("a question about early data") };
    assert!(window.as_secs() >= 120, "TLS allows for a minute of error in the ticket's age, either way");
    key
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-9.2
//= type=test
//# Endpoints MUST implement and use the replay protections described in [TLS13], however it is recognized that these
//# protections are imperfect.
#[test]
fn a_fleet_is_asked_once_for_each_offer_of_early_data() {
    for (fresh, in_pieces) in [(true, usize::MAX), (false, usize::MAX), (true, 50), (false, 50)] {
        let (client, servers) = fleet();
        // The other server than the one that gave the ticket.
        let (mut c, mut s) = ends(&client, &servers[1], 1);
        assert!(c.seen.zero_rtt.is_some());
        let hello = c.seen.out[0].clone();
        s.hear(&mut c, in_pieces).unwrap();
        let key = asked(&mut s);
        assert!(s.seen.log.is_empty() && s.seen.zero_rtt.is_none(), "nothing happens before the answer");
        for other in [Answer::Proceed, Answer::Refuse(0), Answer::Signature(vec![1])] {
            assert!(!s.session.answer(other, &mut s.seen).unwrap(), "no answer to this question");
        }
        assert!(s.session.answer(Answer::EarlyData(fresh), &mut s.seen).unwrap());
        assert!(!s.session.answer(Answer::EarlyData(true), &mut s.seen).unwrap(), "answered already");
        assert_eq!(s.seen.zero_rtt.is_some(), fresh);
        shake(&mut c, &mut s, in_pieces).unwrap();
        // rustls tells a server the early secret of every resumption, taken or not.
        check_done_with(&mut c, &mut s, 5);
        for end in [&c, &s] {
            assert!(end.session.resumed());
            assert_eq!(end.session.early_data_accepted(), Some(fresh));
            assert!(end.seen.questions.is_empty());
        }
        // The same ClientHello to each server: the same key, so the store can tell.
        for server in &servers {
            let session = Session::server(server, 1, SERVER_PARAMETERS.to_vec()).unwrap();
            let mut replay = End { session, seen: Seen::default() };
            replay.session.receive(hello.0, &hello.1, &mut replay.seen).unwrap();
            assert_eq!(asked(&mut replay), key);
            assert!(replay.session.answer(Answer::EarlyData(false), &mut replay.seen).unwrap());
            assert!(replay.seen.zero_rtt.is_none());
            assert_eq!(replay.session.early_data_accepted(), Some(false));
        }
    }
}

#[test]
fn every_client_hello_has_a_key_of_its_own() {
    let (client, servers) = fleet();
    let mut keys = Vec::new();
    for _ in 0..4 {
        let (mut c, mut s) = ends(&client, &servers[0], 1);
        s.hear(&mut c, usize::MAX).unwrap();
        keys.push(asked(&mut s));
        assert!(s.session.answer(Answer::EarlyData(true), &mut s.seen).unwrap());
        shake(&mut c, &mut s, usize::MAX).unwrap();
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4);
}

#[test]
fn nobody_is_asked_about_early_data_that_are_refused_anyway() {
    let (client, servers) = fleet();
    let (mut c, _) = ends(&client, &servers[0], 1);
    // Limits have shrunk since the ticket was given.
    let fewer = [0x04, 0x01, 0x30, 0x08, 0x01, 0x01];
    let mut s = End { session: Session::server(&servers[1], 1, fewer.to_vec()).unwrap(), seen: Seen::default() };
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(s.seen.questions.is_empty() && s.session.resumed());
    assert_eq!(c.session.early_data_accepted(), Some(false));
    // A ticket of keys that are gone: no session at all.
    servers[1].set_ticket_keys(&[[2; 32]]);
    let (mut c, mut s) = ends(&client, &servers[1], 1);
    assert!(c.seen.zero_rtt.is_some());
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(s.seen.questions.is_empty() && s.session.is_done() && !s.session.resumed());
}

#[test]
fn shared_tickets_without_a_store_are_good_for_no_early_data() {
    let pki = pki("localhost");
    let client = client_builder(&pki).early_data(true).build().unwrap();
    let server = server_builder(&pki).early_data(true).build().unwrap();
    server.set_ticket_keys(&[[1; 32]]);
    let (mut c, mut s) = ends(&client, &server, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    let (mut c, mut s) = ends(&client, &server, 1);
    assert!(c.seen.zero_rtt.is_none(), "the ticket does not offer it");
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(s.session.resumed());
    // A ticket from a time when somebody was asked.
    let asking = server_builder(&pki).early_data(true).asks(ASK_EARLY).build().unwrap();
    asking.set_ticket_keys(&[[1; 32]]);
    let client = client_builder(&pki).early_data(true).build().unwrap();
    let (mut c, mut s) = ends(&client, &asking, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    let (mut c, mut s) = ends(&client, &server, 1);
    assert!(c.seen.zero_rtt.is_some());
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(s.session.resumed() && s.seen.zero_rtt.is_none());
    assert_eq!(c.session.early_data_accepted(), Some(false));
}

#[test]
fn sessions_kept_here_are_asked_about_too() {
    let pki = pki("localhost");
    let client = client_builder(&pki).early_data(true).build().unwrap();
    let server = server_builder(&pki).early_data(true).asks(ASK_EARLY).build().unwrap();
    let (mut c, mut s) = ends(&client, &server, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    let (mut c, mut s) = ends(&client, &server, 1);
    let hello = c.seen.out[0].clone();
    s.hear(&mut c, usize::MAX).unwrap();
    asked(&mut s);
    // Another server takes the ticket while the question is open: it is used once all the same.
    let mut twin =
        End { session: Session::server(&server, 1, SERVER_PARAMETERS.to_vec()).unwrap(), seen: Seen::default() };
    twin.session.receive(hello.0, &hello.1, &mut twin.seen).unwrap();
    asked(&mut twin);
    assert!(twin.session.answer(Answer::EarlyData(true), &mut twin.seen).unwrap());
    assert!(twin.seen.zero_rtt.is_some());
    assert!(s.session.answer(Answer::EarlyData(true), &mut s.seen).unwrap());
    assert!(s.seen.zero_rtt.is_none());
}

#[test]
fn tickets_that_are_not_ours_pass_unchanged() {
    use crate::crypto::tls::tickets::replace_tickets;
    let ticket = |number: &[u8]| {
        let mut body = [0, 1, 0x51, 0x80, 1, 2, 3, 4, 2, 8, 9].to_vec();
        body.extend_from_slice(&[0, number.len() as u8]);
        body.extend_from_slice(number);
        // early_data with 2^32-1, then an extension that is not known.
        body.extend_from_slice(&[0, 13, 0, 42, 0, 4, 255, 255, 255, 255, 0x7a, 0x7a, 0, 1, 5]);
        [&[4, 0, 0, body.len() as u8][..], &body].concat()
    };
    let made = [(b"one".to_vec(), vec![7; 300])];
    let flight = [ticket(b"two"), ticket(b"one")].concat();
    let with = replace_tickets(&flight, &made, true).unwrap();
    let without = replace_tickets(&flight, &made, false).unwrap();
    let first = ticket(b"two").len();
    for (new, extensions) in [(&with, 13), (&without, 5)] {
        assert_eq!(new[..first], flight[..first]);
        let body = &new[first + 4..];
        assert_eq!(body[..4], (12u32 * 3600).to_be_bytes(), "the lifetime of sealed tickets");
        assert_eq!(body[4..11], flight[first + 8..first + 15]);
        assert_eq!((&body[11..13], &body[13..313]), (&[1, 44][..], &[7; 300][..]));
        assert_eq!(body[313..315], [0, extensions]);
        assert_eq!(body.len(), 315 + usize::from(extensions));
        assert_eq!(new[first..first + 4], [4, 0, (body.len() >> 8) as u8, body.len() as u8]);
    }
    for cut in 1..flight.len() {
        let whole = cut == first;
        assert_eq!(replace_tickets(&flight[..cut], &made, true).is_some(), whole, "{cut}");
    }
}

#[test]
fn certificates_and_keys_come_in_der_too() {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let pki = pki("localhost");
    let chain = CertificateDer::from_pem_slice(pki.chain.as_bytes()).unwrap().to_vec();
    let ca = CertificateDer::from_pem_slice(pki.ca.as_bytes()).unwrap().to_vec();
    let key = KeyPair::from_pem(&pki.key).unwrap().serialize_der();
    let both = [chain.as_slice(), ca.as_slice()].concat();
    let server = ServerTlsBuilder::new().alpn(alpn(&["h3"])).identity_pem(&both, &key).build().unwrap();
    let client = ClientTlsBuilder::new().alpn(alpn(&["h3"])).roots_pem(&ca).build().unwrap();
    let (mut c, mut s) = ends(&client, &server, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert_eq!(c.session.peer_certificates(), [chain.clone(), ca.clone()]);
    for bad in [&chain[..chain.len() - 1], &[0x30, 0x80], &[0x30], &[0x30, 0x84, 0, 0, 0, 1, 0]] {
        let built = ServerTlsBuilder::new().alpn(alpn(&["h3"])).identity_pem(bad, &key).build();
        assert!(built.is_err(), "{:x?}", &bad[..2.min(bad.len())]);
    }
}
