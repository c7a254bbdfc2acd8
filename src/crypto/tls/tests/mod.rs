//! Whole handshakes between a client and a server session, their failures, resumption and 0-RTT.
mod failures;
mod questions;
mod resumption;
mod rules;
mod setup;

use super::*;
use crate::base::{Level, TransportError, codes};
use crate::crypto::{Cipher, DirectionKeys, LevelKeys, OneRttKeys, TAG_LEN};
use rcgen::{CertificateParams, Issuer, KeyPair, KeyUsagePurpose};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

pub(super) const CLIENT_PARAMETERS: &[u8] = &[0x04, 0x01, 0x20, 0x05, 0x01, 0x10];
pub(super) const SERVER_PARAMETERS: &[u8] = &[0x04, 0x01, 0x30, 0x08, 0x01, 0x05];

pub(super) struct Pki {
    pub ca: String,
    pub chain: String,
    pub key: String,
}

/// A throw-away authority and a certificate for `name`.
pub(super) fn pki(name: &str) -> Pki {
    let ca_key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    Pki { ca: ca_certificate.pem(), chain: leaf.pem(), key: key.serialize_pem() }
}

pub(super) fn alpn(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|n| n.as_bytes().to_vec()).collect()
}

pub(super) fn client_builder(pki: &Pki) -> ClientTlsBuilder {
    ClientTlsBuilder::new().alpn(alpn(&["h3"])).roots_pem(pki.ca.as_bytes())
}

pub(super) fn server_builder(pki: &Pki) -> ServerTlsBuilder {
    ServerTlsBuilder::new().alpn(alpn(&["hq", "h3"])).identity_pem(pki.chain.as_bytes(), pki.key.as_bytes())
}

/// Everything that a session reported.
#[derive(Default)]
pub(super) struct Seen {
    pub out: VecDeque<(Level, Vec<u8>)>,
    pub log: Vec<&'static str>,
    pub zero_rtt: Option<Box<DirectionKeys>>,
    pub handshake: Option<LevelKeys>,
    pub one_rtt: Option<Box<OneRttKeys>>,
    pub parameters: Option<Vec<u8>>,
    pub secrets: Vec<String>,
    pub cipher: Option<Cipher>,
    pub questions: Vec<Question>,
}

impl TlsEvents for Seen {
    fn send(&mut self, level: Level, bytes: Vec<u8>) {
        self.log.push(match level {
            Level::Initial => "initial",
            Level::ZeroRtt => "0rtt",
            Level::Handshake => "handshake",
            Level::OneRtt => "1rtt",
        });
        self.out.push_back((level, bytes));
    }

    fn install_keys(&mut self, keys: InstalledKeys, cipher: Cipher) {
        self.cipher = Some(cipher);
        match keys {
            InstalledKeys::ZeroRtt(keys) => {
                self.log.push("zero-rtt keys");
                self.zero_rtt = Some(keys);
            }
            InstalledKeys::Handshake(keys) => {
                self.log.push("handshake keys");
                self.handshake = Some(keys);
            }
            InstalledKeys::OneRtt(keys) => {
                self.log.push("1-rtt keys");
                self.one_rtt = Some(keys);
            }
        }
    }

    fn notify_extensions(&mut self, peer_parameters: &[u8]) {
        self.log.push("parameters");
        self.parameters = Some(peer_parameters.to_vec());
    }

    fn done(&mut self) {
        self.log.push("done");
    }

    fn ask(&mut self, question: Question) {
        self.questions.push(question);
    }

    fn secret(&mut self, label: &str, secret: &[u8]) {
        assert!(!secret.is_empty());
        self.secrets.push(label.to_owned());
    }
}

/// One end.
pub(super) struct End {
    pub session: Box<Session>,
    pub seen: Seen,
}

impl End {
    /// Hands over what `other` said, `step` bytes at a time.
    pub(super) fn hear(&mut self, other: &mut End, step: usize) -> Result<(), TransportError> {
        while let Some((level, bytes)) = other.seen.out.pop_front() {
            for part in bytes.chunks(step) {
                self.session.receive(level, part, &mut self.seen)?;
            }
        }
        Ok(())
    }
}

pub(super) fn ends(client: &Arc<ClientTls>, server: &Arc<ServerTls>, version: u32) -> (End, End) {
    let mut c = End {
        session: Session::client(client, version, "localhost", CLIENT_PARAMETERS.to_vec()).unwrap(),
        seen: Seen::default(),
    };
    let s =
        End { session: Session::server(server, version, SERVER_PARAMETERS.to_vec()).unwrap(), seen: Seen::default() };
    c.session.start(&mut c.seen).unwrap();
    (c, s)
}

pub(super) fn shake(c: &mut End, s: &mut End, step: usize) -> Result<(), TransportError> {
    while !(c.seen.out.is_empty() && s.seen.out.is_empty()) {
        s.hear(c, step)?;
        c.hear(s, step)?;
    }
    Ok(())
}

/// Seals with one end's keys, opens with the other's.
pub(super) fn carries(seal: &DirectionKeys, open: &DirectionKeys) -> bool {
    let mut packet = [&[0x40, 0, 1, 2, 3][..], b"payload", &[0; TAG_LEN]].concat();
    seal.protect(&mut packet, 1, 1, 0);
    let Some((pn_len, _)) = open.unmask(&mut packet, 1) else { return false };
    open.open(&mut packet, 1 + pn_len, 0).is_ok()
}

fn carries_one_rtt(seal: &mut OneRttKeys, open: &mut OneRttKeys) {
    let mut packet = [&[0x40, 0, 1, 2, 3][..], b"payload", &[0; TAG_LEN]].concat();
    seal.protect(&mut packet, 1, 1, 0);
    let (pn_len, _) = open.unmask(&mut packet, 1).unwrap();
    let now = crate::base::Timestamp(1);
    open.open(&mut packet, 1 + pn_len, 0, now, core::time::Duration::from_secs(1)).unwrap();
}

fn check_handshake(version: u32, cipher: Cipher, step: usize) {
    let pki = pki("localhost");
    let client = client_builder(&pki).ciphers(vec![cipher]).build().unwrap();
    let server = server_builder(&pki).build().unwrap();
    let (mut c, mut s) = ends(&client, &server, version);
    shake(&mut c, &mut s, step).unwrap();
    assert!(c.session.is_done() && s.session.is_done());
    assert!(!c.session.resumed() && !s.session.resumed());
    assert_eq!(c.seen.parameters.as_deref(), Some(SERVER_PARAMETERS));
    assert_eq!(s.seen.parameters.as_deref(), Some(CLIENT_PARAMETERS));
    for end in [&c, &s] {
        assert_eq!(end.session.alpn(), Some(&b"h3"[..]));
        assert_eq!(end.session.server_name(), Some("localhost"));
        assert_eq!(end.session.cipher(), Some(cipher));
        assert_eq!(end.seen.cipher, Some(cipher));
        assert_eq!(end.session.early_data_accepted(), None);
        assert_eq!(end.seen.secrets.iter().filter(|l| l.contains("TRAFFIC")).count(), 4);
    }
    assert_eq!(c.session.peer_certificates().len(), 1);
    assert!(s.session.peer_certificates().is_empty());
    let (ck, sk) = (c.seen.handshake.as_ref().unwrap(), s.seen.handshake.as_ref().unwrap());
    assert!(carries(&ck.local, &sk.remote) && carries(&sk.local, &ck.remote));
    assert!(!carries(&ck.local, &ck.remote));
    let (mut co, mut so) = (c.seen.one_rtt.take().unwrap(), s.seen.one_rtt.take().unwrap());
    carries_one_rtt(&mut co, &mut so);
    carries_one_rtt(&mut so, &mut co);
    let (mut x, mut y) = ([0; 32], [0; 32]);
    assert!(c.session.export(b"label", b"context", &mut x) && s.session.export(b"label", b"context", &mut y));
    assert_eq!(x, y);
    assert!(c.session.export(b"label", b"other", &mut y));
    assert_ne!(x, y);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-8.1
//= type=test
//# Servers MUST select an application protocol compatible with the QUIC version that the client has selected.
#[test]
fn full_handshakes_of_both_versions_and_all_ciphers() {
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        check_handshake(codes::VERSION_1, cipher, usize::MAX);
    }
    check_handshake(codes::VERSION_2, Cipher::Aes128Gcm, usize::MAX);
}

#[test]
fn bytes_may_come_one_by_one() {
    check_handshake(codes::VERSION_1, Cipher::Aes128Gcm, 1);
    check_handshake(codes::VERSION_1, Cipher::Aes128Gcm, 7);
}

#[test]
fn events_come_in_order() {
    let pki = pki("localhost");
    let (mut c, mut s) = ends(&client_builder(&pki).build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    assert_eq!(c.seen.log, ["initial"]);
    s.hear(&mut c, usize::MAX).unwrap();
    assert_eq!(s.seen.log, ["parameters", "initial", "handshake keys", "handshake", "1-rtt keys"]);
    let mut out = [0; 8];
    assert!(!s.session.export(b"x", b"", &mut out), "not before the handshake is complete");
    c.hear(&mut s, usize::MAX).unwrap();
    assert_eq!(c.seen.log[1..], ["handshake keys", "parameters", "handshake", "1-rtt keys", "done"]);
    s.seen.log.clear();
    s.hear(&mut c, usize::MAX).unwrap();
    assert_eq!(s.seen.log, ["1rtt", "done"]);
}

#[test]
fn key_log_lines_have_the_nss_format() {
    let pki = pki("localhost");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let client = client_builder(&pki).key_log(Arc::new(move |l| sink.lock().unwrap().push(l.to_owned())));
    let (mut c, mut s) = ends(&client.build().unwrap(), &server_builder(&pki).build().unwrap(), 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 5);
    for line in lines.iter() {
        let parts: Vec<_> = line.split(' ').collect();
        let [label, random, secret] = parts[..] else { panic!("three fields: {line}") };
        assert!(label.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit()));
        assert_eq!(random.len(), 64);
        assert_eq!(secret.len(), 64);
    }
}

#[test]
fn the_client_hello_is_readable() {
    let pki = pki("localhost");
    let client = client_builder(&pki).build().unwrap();
    let (c, _) = ends(&client, &server_builder(&pki).build().unwrap(), 1);
    let bytes = &c.seen.out[0].1;
    let hello = peek_client_hello(bytes).unwrap().unwrap();
    assert_eq!(hello.server_name, Some(&b"localhost"[..]));
    assert_eq!(hello.alpn, Some(&b"\x02h3"[..]));
    assert_eq!(hello.transport_parameters, Some(CLIENT_PARAMETERS));
    assert!(!hello.early_data && hello.ticket.is_none());
    for len in 0..bytes.len() {
        assert_eq!(peek_client_hello(&bytes[..len]), Ok(None));
        let _ = client_hello::parse(&bytes[4.min(len)..len]);
    }
    assert!(peek_client_hello(b"\x02\0\0\0").is_err());
}

/// Where the ALPN extension for "h3" stands in a server's flight.
fn alpn_within(flight: &[u8]) -> core::ops::Range<usize> {
    let alpn = [0, 16, 0, 5, 0, 3, 2, b'h', b'3'];
    let at = flight.windows(alpn.len()).position(|w| w == alpn).expect("the server chose h3");
    at..at + alpn.len()
}
