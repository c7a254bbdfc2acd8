//! Handshakes that wait for the application: identity, certificates, signatures.
use super::*;
use ring::signature::Ed25519KeyPair;

const ASK_VERIFY: Asks = Asks { identity: false, verify: true };
const ASK_IDENTITY: Asks = Asks { identity: true, verify: false };

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
        assert_eq!(end.seen.secrets.iter().filter(|l| l.contains("TRAFFIC")).count(), 4);
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
        early_data_context: Vec::new(),
        asks: plain.asks,
        external: true,
        identities: Arc::clone(&plain.identities),
        tickets: Arc::clone(&plain.tickets),
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
