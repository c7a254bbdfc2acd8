//! What QUIC wants of TLS and rustls does for us (RFC 9001 sections 4, 5.3 and 8): read off the messages themselves.
use super::*;

const SUPPORTED_VERSIONS: u16 = 43;
const EARLY_DATA: u16 = 42;
const TRANSPORT_PARAMETERS: u16 = 0x39;
const NEW_SESSION_TICKET: u8 = 4;

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

/// Where the list of cipher suites of a ClientHello begins, and how long it is.
fn suites_of(hello: &[u8]) -> (usize, usize) {
    let at = 4 + 2 + 32 + 1 + usize::from(hello[38]);
    (at + 2, u16_at(hello, at))
}

/// Code points and bodies of a list of extensions that starts at `at` with its length.
fn extensions(message: &[u8], at: usize) -> Vec<(u16, Vec<u8>)> {
    let end = at + 2 + u16_at(message, at);
    let (mut at, mut out) = (at + 2, Vec::new());
    while at < end {
        let len = u16_at(message, at + 2);
        out.push((u16_at(message, at) as u16, message[at + 4..at + 4 + len].to_vec()));
        at += 4 + len;
    }
    out
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.2
//= type=test
//# Clients MUST NOT offer TLS versions older than 1.3.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.3
//= type=test
//# A cipher suite MUST NOT be negotiated unless a header protection scheme is defined for the cipher suite.
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.2
//= type=test
//# Endpoints MUST send the quic_transport_parameters extension;
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.4
//= type=test
//# A client MUST NOT request the use of the TLS 1.3 compatibility mode.
#[test]
fn a_client_hello_offers_only_what_quic_allows() {
    let pki = pki("localhost");
    let (c, _) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    let hello = &c.seen.out[0].1;
    assert_eq!(hello[38], 0, "no session ID of the compatibility mode");
    let (at, len) = suites_of(hello);
    assert_eq!(len, 6);
    for suite in hello[at..at + len].chunks(2) {
        assert!(Cipher::from_wire_id(u16_at(suite, 0) as u16).is_some(), "{suite:x?} has no header protection");
    }
    let compressions = at + len;
    assert_eq!(hello[compressions..compressions + 2], [1, 0]);
    let list = extensions(hello, compressions + 2);
    let body = |id: u16| list.iter().find(|(kind, _)| *kind == id).map(|(_, body)| body.as_slice());
    assert_eq!(body(SUPPORTED_VERSIONS), Some(&[2, 3, 4][..]), "TLS 1.3 and nothing else");
    assert_eq!(body(TRANSPORT_PARAMETERS), Some(CLIENT_PARAMETERS));
}

#[test]
fn the_server_sends_its_transport_parameters() {
    let pki = pki("localhost");
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    s.hear(&mut c, usize::MAX).unwrap();
    let flight = s.seen.out.iter().find(|(level, _)| *level == Level::Handshake).unwrap();
    let sent = extensions(&flight.1, 4);
    assert!(sent.contains(&(TRANSPORT_PARAMETERS, SERVER_PARAMETERS.to_vec())));
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-5.3
//= type=test
//# An endpoint MUST NOT reject a ClientHello that offers a cipher suite that it does not support, or it would be
//# impossible to deploy a new cipher suite.
#[test]
fn unknown_cipher_suites_are_passed_over() {
    let pki = pki("localhost");
    let (client, server) = (client_builder(&pki).build().unwrap(), server_builder(&pki).build().unwrap());
    for unknown in [0x1304u16, 0x1305, 0x1a1a, 0xffff] {
        let (mut c, mut s) = ends(&client, &server, 1);
        let hello = &mut c.seen.out[0].1;
        let (at, _) = suites_of(hello);
        let first = hello[at + 2..at + 4].to_vec();
        hello[at..at + 2].copy_from_slice(&unknown.to_be_bytes());
        s.hear(&mut c, usize::MAX).unwrap();
        assert_eq!(s.seen.cipher.unwrap().wire_id() as usize, u16_at(&first, 0), "the next of the client's list");
        assert_eq!(s.seen.out[0].1[0], 2, "a ServerHello");
    }
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
//= type=test
//# A server MUST NOT use post-handshake client authentication (as defined in Section 4.6.2 of [TLS13]) because the
//# multiplexing offered by QUIC prevents clients from correlating the certificate request with the application-level
//# event that triggered it (see [HTTP2-TLS13]).
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
//= type=test
//# servers MUST NOT send post- handshake TLS CertificateRequest messages
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.6.1
//= type=test
//# Servers MUST NOT send the early_data extension with a max_early_data_size field set to any value other than
//# 0xffffffff.
#[test]
fn tickets_allow_all_early_data_or_none() {
    for early in [true, false] {
        let pki = pki("localhost");
        let client = client_builder(&pki).build().unwrap();
        let (mut c, mut s) = ends(&client, &server_builder(&pki).early_data(early).build().unwrap(), 1);
        s.hear(&mut c, usize::MAX).unwrap();
        c.hear(&mut s, usize::MAX).unwrap();
        s.hear(&mut c, usize::MAX).unwrap();
        let mut tickets = 0;
        for (level, bytes) in &s.seen.out {
            assert_eq!(*level, Level::OneRtt);
            let mut at = 0;
            while at < bytes.len() {
                let len = u16_at(bytes, at + 2);
                let message = &bytes[at..at + 4 + len];
                assert_eq!(message[0], NEW_SESSION_TICKET, "a server asks for nothing after the handshake");
                // Lifetime, age, nonce, ticket.
                let nonce = 4 + 4 + 4;
                let ticket = nonce + 1 + usize::from(message[nonce]);
                let list = extensions(message, ticket + 2 + u16_at(message, ticket));
                let limit = list.iter().find(|(kind, _)| *kind == EARLY_DATA).map(|(_, body)| body.as_slice());
                assert_eq!(limit, early.then_some(&[0xff; 4][..]));
                tickets += 1;
                at += 4 + len;
            }
        }
        assert!(tickets > 0);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-5.6
//= type=test
//# A client therefore MUST NOT use 0-RTT for application data unless specifically requested by the application that is
//# in use.
#[test]
fn early_data_waits_for_an_application_that_asks() {
    let pki = pki("localhost");
    let server = server_builder(&pki).early_data(true).build().unwrap();
    for asked in [false, true] {
        let client = client_builder(&pki);
        let client = if asked { client.early_data(true) } else { client };
        let client = client.build().unwrap();
        let (mut c, mut s) = ends(&client, &server, 1);
        shake(&mut c, &mut s, usize::MAX).unwrap();
        let (c, _) = ends(&client, &server, 1);
        assert_eq!(c.seen.zero_rtt.is_some(), asked);
        let hello = peek_client_hello(&c.seen.out[0].1).unwrap().unwrap();
        assert!(hello.ticket.is_some());
        assert_eq!(hello.early_data, asked);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-8.3
//= type=test
//# Clients MUST NOT send the EndOfEarlyData message.
#[test]
fn no_end_of_early_data_is_sent() {
    const FINISHED: u8 = 20;
    let pki = pki("localhost");
    let client = client_builder(&pki).early_data(true).build().unwrap();
    let server = server_builder(&pki).early_data(true).build().unwrap();
    let (mut c, mut s) = ends(&client, &server, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    let (mut c, mut s) = ends(&client, &server, 1);
    s.hear(&mut c, usize::MAX).unwrap();
    c.hear(&mut s, usize::MAX).unwrap();
    assert_eq!(c.session.early_data_accepted(), Some(true));
    let kinds: Vec<_> = c.seen.out.iter().map(|(level, bytes)| (*level, bytes[0])).collect();
    assert_eq!(kinds, [(Level::Handshake, FINISHED)]);
    assert_eq!(u16_at(&c.seen.out[0].1, 2) + 4, c.seen.out[0].1.len(), "and nothing behind it");
}

/// A server that chooses a protocol that the client did not offer.
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//= type=test
//# Similarly, a client MUST treat the selection of an incompatible application protocol by a server as a connection
//# error of type 0x0178.
#[test]
fn a_foreign_protocol_is_refused() {
    let pki = pki("localhost");
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    s.hear(&mut c, usize::MAX).unwrap();
    let flight = s.seen.out.iter_mut().find(|(level, _)| *level == Level::Handshake).unwrap();
    let alpn = alpn_within(&flight.1);
    flight.1[alpn.end - 1] = b'4';
    assert_eq!(c.hear(&mut s, usize::MAX).unwrap_err().code, 0x0178);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
//= type=test
//# clients MUST treat receipt of such messages as a connection error of type PROTOCOL_VIOLATION
#[test]
fn a_certificate_request_after_the_handshake_is_a_violation() {
    let pki = pki("localhost");
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    let request = [13, 0, 0, 3, 0, 0, 0];
    let error = c.session.receive(Level::OneRtt, &request, &mut c.seen).unwrap_err();
    assert_eq!(error.code, codes::transport::PROTOCOL_VIOLATION);
}
