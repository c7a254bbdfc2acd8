//! What must not succeed, and with which error.
use super::*;

fn error(c: &mut End, s: &mut End) -> TransportError {
    shake(c, s, usize::MAX).unwrap_err()
}

fn code(alert: u64) -> u64 {
    codes::transport::CRYPTO_ERROR + alert
}

#[test]
fn no_common_protocol() {
    let pki = pki("localhost");
    let client = ClientTlsBuilder::new().alpn(alpn(&["other"])).roots_pem(pki.ca.as_bytes()).build().unwrap();
    let (mut c, mut s) = ends(&client, &server_builder(&pki).build().unwrap(), 1);
    assert_eq!(error(&mut c, &mut s).code, 0x0178);
    // The error is final.
    assert_eq!(s.session.receive(Level::Initial, b"x", &mut s.seen).unwrap_err().code, 0x0178);
}

/// The ClientHello of `c` with one extension renamed.
fn rename_extension(c: &mut End, from: u16, to: u16) {
    let bytes = &mut c.seen.out[0].1;
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(bytes[at]);
    at += 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    at += 1 + usize::from(bytes[at]);
    at += 2;
    while at < bytes.len() {
        let kind = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if kind == from {
            bytes[at..at + 2].copy_from_slice(&to.to_be_bytes());
            return;
        }
        at += 4 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
    }
    panic!("no extension {from}");
}

#[test]
fn draft_transport_parameters_are_not_enough() {
    let pki = pki("localhost");
    for to in [0xffa5, 0x0a0a] {
        let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
        rename_extension(&mut c, 0x39, to);
        assert_eq!(error(&mut c, &mut s).code, 0x016d);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-7
//= type=test
//# Endpoints MUST explicitly negotiate an application protocol.
#[test]
fn a_client_without_alpn_is_refused() {
    let pki = pki("localhost");
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    rename_extension(&mut c, 16, 0x0a0a);
    assert_eq!(error(&mut c, &mut s).code, 0x0178);
}

/// Gives up the server's flight with ALPN cut out of its EncryptedExtensions: the client must notice.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7
//= type=test
//# Endpoints MUST explicitly negotiate an application protocol.
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//= type=test
//# When using ALPN, endpoints MUST immediately close a connection (see Section 10.2 of [QUIC-TRANSPORT]) with a
//# no_application_protocol TLS alert (QUIC error code 0x0178; see Section 4.8) if an application protocol is not
//# negotiated.
//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//= type=test
//# While [ALPN] only specifies that servers use this alert, QUIC clients MUST use error 0x0178 to terminate a
//# connection when ALPN negotiation fails.
#[test]
fn a_server_without_alpn_is_refused() {
    let pki = pki("localhost");
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    s.hear(&mut c, usize::MAX).unwrap();
    let flight = s.seen.out.iter_mut().find(|(level, _)| *level == Level::Handshake).unwrap();
    let alpn = alpn_within(&flight.1);
    flight.1.drain(alpn.clone());
    flight.1[3] -= alpn.len() as u8;
    let extensions = u16::from_be_bytes([flight.1[4], flight.1[5]]) - alpn.len() as u16;
    flight.1[4..6].copy_from_slice(&extensions.to_be_bytes());
    assert_eq!(c.hear(&mut s, usize::MAX).unwrap_err().code, 0x0178);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-7
//= type=test
//# The cryptographic handshake MUST provide the following properties:
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.4
//= type=test
//# A client MUST authenticate the identity of the server.
#[test]
fn certificates_that_do_not_hold() {
    let good = pki("localhost");
    let stranger = pki("localhost");
    let client = client_builder(&stranger).build().unwrap();
    let (mut c, mut s) = ends(&client, &server_builder(&good).build().unwrap(), 1);
    let e = error(&mut c, &mut s);
    // rcgen's authorities share a name, so that the signature is what fails.
    assert!(e.code == code(48) || e.code == code(51) || e.code == code(42), "{e}");

    let other = pki("elsewhere.example");
    let (mut c, mut s) = ends(&client_builder(&other).build().unwrap(), &server_builder(&other).build().unwrap(), 1);
    let e = error(&mut c, &mut s);
    assert_eq!(e.code, code(42));
    assert_eq!(e.reason, "certificate is not valid for this name");

    let client = ClientTlsBuilder::new().alpn(alpn(&["h3"])).no_verify().build().unwrap();
    let (mut c, mut s) = ends(&client, &server_builder(&other).build().unwrap(), 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(c.session.is_done());
}

#[test]
fn client_certificates() {
    let (server_pki, client_pki) = (pki("localhost"), pki("user"));
    let server = server_builder(&server_pki).client_roots_pem(client_pki.ca.as_bytes(), true).build().unwrap();
    let plain = client_builder(&server_pki).build().unwrap();
    let (mut c, mut s) = ends(&plain, &server, 1);
    assert_eq!(error(&mut c, &mut s).code, code(116));
    let with = client_builder(&server_pki).identity_pem(client_pki.chain.as_bytes(), client_pki.key.as_bytes());
    let (mut c, mut s) = ends(&with.build().unwrap(), &server, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert_eq!(s.session.peer_certificates().len(), 1);
    let optional = server_builder(&server_pki).client_roots_pem(client_pki.ca.as_bytes(), false).build().unwrap();
    let (mut c, mut s) = ends(&plain, &optional, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(s.session.is_done() && s.session.peer_certificates().is_empty());
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
//= type=test
//# If the packet is from a previously installed encryption level, it MUST NOT contain data that extends past the end of
//# previously received data in that flow.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
//= type=test
//# Implementations MUST treat any violations of this requirement as a connection error of type PROTOCOL_VIOLATION.
//= https://www.rfc-editor.org/rfc/rfc9001#section-4.1.3
//= type=test
//# When TLS provides keys for a higher encryption level, if there is data from a previous encryption level that TLS has
//# not consumed, this MUST be treated as a connection error of type PROTOCOL_VIOLATION.
#[test]
fn levels_are_kept_apart() {
    let pki = pki("localhost");
    let (client, server) = (client_builder(&pki).build().unwrap(), server_builder(&pki).build().unwrap());
    // RFC 9001 section 4.1.3: more data at a level that is over.
    let (mut c, mut s) = ends(&client, &server, 1);
    s.hear(&mut c, usize::MAX).unwrap();
    let e = s.session.receive(Level::Initial, &[1], &mut s.seen).unwrap_err();
    assert_eq!(e.code, codes::transport::PROTOCOL_VIOLATION);
    // Bytes behind the message that changes keys.
    let (mut c, mut s) = ends(&client, &server, 1);
    c.seen.out[0].1.extend_from_slice(&[20, 0]);
    assert_eq!(error(&mut c, &mut s).code, codes::transport::PROTOCOL_VIOLATION);
    // 0-RTT packets carry no CRYPTO frames.
    let (_, mut s) = ends(&client, &server, 1);
    let e = s.session.receive(Level::ZeroRtt, &[1], &mut s.seen).unwrap_err();
    assert_eq!(e.code, codes::transport::PROTOCOL_VIOLATION);
    // Data of later levels waits, within bounds.
    let (_, mut s) = ends(&client, &server, 1);
    let chunk = vec![0; 1 << 15];
    s.session.receive(Level::Handshake, &chunk, &mut s.seen).unwrap();
    s.session.receive(Level::OneRtt, &chunk, &mut s.seen).unwrap();
    let e = s.session.receive(Level::Handshake, &[0], &mut s.seen).unwrap_err();
    assert_eq!(e.code, codes::transport::CRYPTO_BUFFER_EXCEEDED);
}

#[test]
fn flights_in_any_order_of_levels() {
    let pki = pki("localhost");
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    s.hear(&mut c, usize::MAX).unwrap();
    let (initial, handshake) = (s.seen.out.pop_front().unwrap(), s.seen.out.pop_front().unwrap());
    c.session.receive(handshake.0, &handshake.1, &mut c.seen).unwrap();
    assert!(!c.session.is_done());
    c.session.receive(initial.0, &initial.1, &mut c.seen).unwrap();
    assert!(c.session.is_done());
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-6
//= type=test
//# Endpoints MUST treat the receipt of a TLS KeyUpdate message as a connection error of type 0x010a, equivalent to a
//# fatal TLS alert of unexpected_message; see Section 4.8.
#[test]
fn messages_that_quic_forbids() {
    let pki = pki("localhost");
    let (client, server) = (client_builder(&pki).build().unwrap(), server_builder(&pki).build().unwrap());
    // RFC 9001 section 6: KeyUpdate, in the handshake and after.
    let key_update = [24, 0, 0, 1, 0];
    let end_of_early_data = [5, 0, 0, 0];
    for message in [&key_update[..], &end_of_early_data] {
        let (mut c, mut s) = ends(&client, &server, 1);
        s.hear(&mut c, usize::MAX).unwrap();
        let e = s.session.receive(Level::Handshake, message, &mut s.seen).unwrap_err();
        assert_eq!(e.code, code(10), "{e}");
    }
    let (mut c, mut s) = ends(&client, &server, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert_eq!(s.session.receive(Level::OneRtt, &key_update, &mut s.seen).unwrap_err().code, code(10));
    assert_eq!(c.session.receive(Level::OneRtt, &key_update, &mut c.seen).unwrap_err().code, code(10));
    // A message longer than any.
    let (_, mut s) = ends(&client, &server, 1);
    assert_eq!(s.session.receive(Level::Initial, &[1, 1, 0, 0], &mut s.seen).unwrap_err().code, code(50));
}

#[test]
fn any_damage_to_a_client_hello_is_an_error_and_no_panic() {
    let pki = pki("localhost");
    let (client, server) = (client_builder(&pki).build().unwrap(), server_builder(&pki).build().unwrap());
    let (c, _) = ends(&client, &server, 1);
    let bytes = c.seen.out[0].1.clone();
    for at in 0..bytes.len() {
        for value in [0, 0xff, bytes[at] ^ 1] {
            let mut bad = bytes.clone();
            bad[at] = value;
            let mut s = Session::server(&server, 1, SERVER_PARAMETERS.to_vec()).unwrap();
            let _ = s.receive(Level::Initial, &bad, &mut Seen::default());
        }
    }
}
