//! Mistakes in configurations are told in clear sentences, and several identities are told apart.
use super::*;

fn says<T>(result: Result<T, TlsSetupError>, words: &str) {
    let error = result.err().expect("this must fail");
    assert!(error.to_string().contains(words), "\"{error}\" does not say \"{words}\"");
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//= type=test
//# Unless another mechanism is used for agreeing on an application protocol, endpoints MUST use ALPN for this purpose.
#[test]
fn mistakes_are_told() {
    let (a, b) = (pki("localhost"), pki("localhost"));
    let (chain, key) = (a.chain.as_bytes(), a.key.as_bytes());
    let server = || ServerTlsBuilder::new().alpn(alpn(&["h3"]));
    says(server().build(), "needs a certificate");
    says(server().identity_pem(b"", key).build(), "no certificate in the certificate chain");
    says(server().identity_pem(chain, b"hello").build(), "no private key");
    says(server().identity_pem(chain, chain).build(), "no private key");
    says(server().identity_pem(chain, b.key.as_bytes()).build(), "does not match");
    let broken = a.key.replacen("\nM", "\n!", 1);
    says(server().identity_pem(chain, broken.as_bytes()).build(), "not readable PEM");
    let nonsense = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    says(server().identity_pem(chain, nonsense).build(), "neither RSA");
    let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    says(server().identity_pem(nonsense, key).build(), "malformed");
    says(ServerTlsBuilder::new().identity_pem(chain, key).build(), "no application protocol");
    says(server().identity_pem(chain, key).ciphers(Vec::new()).build(), "cipher");
    says(server().identity_pem(chain, key).client_roots_pem(b"", true).build(), "no certificate in the root");

    let client = || ClientTlsBuilder::new().alpn(alpn(&["h3"]));
    says(client().build(), "no root certificates are set");
    says(client().roots_pem(b"x").build(), "no certificate in the root certificates");
    says(client().no_verify().alpn(vec![Vec::new()]).build(), "1 to 255 bytes");
    says(client().no_verify().identity_pem(chain, b.key.as_bytes()).build(), "does not match");
    let client = client().no_verify().build().unwrap();
    says(Session::client(&client, 1, "not a name", Vec::new()).map(|_| ()), "not a valid server name");
    for name in ["localhost", "127.0.0.1", "::1", "[::1]"] {
        Session::client(&client, 1, name, Vec::new()).unwrap();
    }
}

#[test]
fn the_name_chooses_the_identity() {
    let (first, second) = (pki("first.example"), pki("localhost"));
    let server = server_builder(&first).identity_pem(second.chain.as_bytes(), second.key.as_bytes()).build().unwrap();
    let (mut c, mut s) = ends(&client_builder(&second).build().unwrap(), &server, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(c.session.is_done());
    // A name that none has: the first.
    let client = ClientTlsBuilder::new().alpn(alpn(&["h3"])).roots_pem(first.ca.as_bytes()).build().unwrap();
    let mut c =
        End { session: Session::client(&client, 1, "third.example", Vec::new()).unwrap(), seen: Seen::default() };
    c.session.start(&mut c.seen).unwrap();
    let mut s = End { session: Session::server(&server, 1, Vec::new()).unwrap(), seen: Seen::default() };
    let e = shake(&mut c, &mut s, usize::MAX).unwrap_err();
    assert_eq!(e.reason, "certificate is not valid for this name", "signed by the first authority");
}
