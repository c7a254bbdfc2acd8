//! Tickets and 0-RTT (RFC 9001 sections 4.5 and 4.6).
use super::*;
use crate::crypto::tls::client_sessions::ClientSessions;
use crate::crypto::tls::tickets::{MAX_SESSIONS, SessionStore, digest};
use rustls::server::StoresServerSessions;
use rustls_pki_types::ServerName;

struct World {
    client: Arc<ClientTls>,
    server: Arc<ServerTls>,
}

fn world() -> World {
    let pki = pki("localhost");
    World {
        client: client_builder(&pki).early_data(true).build().unwrap(),
        server: server_builder(&pki).early_data(true).build().unwrap(),
    }
}

impl World {
    /// A handshake that leaves tickets behind.
    fn visit(&self, version: u32) {
        let (mut c, mut s) = ends(&self.client, &self.server, version);
        shake(&mut c, &mut s, usize::MAX).unwrap();
    }
}

#[test]
fn zero_rtt_accepted() {
    for version in [codes::VERSION_1, codes::VERSION_2] {
        let w = world();
        w.visit(version);
        let (mut c, mut s) = ends(&w.client, &w.server, version);
        assert_eq!(c.seen.log, ["zero-rtt keys", "initial"]);
        assert_eq!(c.session.remembered_parameters().as_deref(), Some(SERVER_PARAMETERS));
        assert_eq!(c.session.early_data_accepted(), None);
        s.hear(&mut c, usize::MAX).unwrap();
        assert_eq!(s.seen.log[..3], ["parameters", "zero-rtt keys", "initial"]);
        assert!(carries(c.seen.zero_rtt.as_ref().unwrap(), s.seen.zero_rtt.as_ref().unwrap()));
        shake(&mut c, &mut s, 5).unwrap();
        for end in [&c, &s] {
            assert!(end.session.is_done() && end.session.resumed());
            assert_eq!(end.session.early_data_accepted(), Some(true));
        }
        assert_eq!(c.session.peer_certificates().len(), 1, "those of the first visit");
        assert_eq!(c.session.remembered_parameters(), None, "the new ones count now");
    }
}

#[test]
fn early_keys_have_the_cipher_of_the_ticket() {
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let pki = pki("localhost");
        let client = client_builder(&pki).early_data(true).build().unwrap();
        let server = server_builder(&pki).early_data(true).ciphers(vec![cipher]).build().unwrap();
        let w = World { client, server };
        w.visit(1);
        let (mut c, mut s) = ends(&w.client, &w.server, 1);
        assert_eq!(c.seen.cipher, Some(cipher));
        s.hear(&mut c, usize::MAX).unwrap();
        assert!(carries(c.seen.zero_rtt.as_ref().unwrap(), s.seen.zero_rtt.as_ref().unwrap()));
    }
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-9.2
//= type=test
//# Endpoints MUST implement and use the replay protections described in [TLS13], however it is recognized that these
//# protections are imperfect.
#[test]
fn a_ticket_is_used_once() {
    let w = world();
    w.visit(1);
    let (mut c, mut s) = ends(&w.client, &w.server, 1);
    let hello = c.seen.out[0].clone();
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(s.session.resumed());
    // The same ClientHello again: a replay. The server takes no early data from it.
    let mut replay = Session::server(&w.server, 1, SERVER_PARAMETERS.to_vec()).unwrap();
    let mut seen = Seen::default();
    replay.receive(hello.0, &hello.1, &mut seen).unwrap();
    assert!(seen.zero_rtt.is_none());
    assert_eq!(replay.early_data_accepted(), Some(false));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
//= type=test
//# If 0-RTT data is accepted by the server, the server MUST NOT reduce any limits or alter any values that might be
//# violated by the client with its 0-RTT data.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
//= type=test
//# In particular, a server that accepts 0-RTT data MUST NOT set values for the following parameters (Section 18.2) that
//# are smaller than the remembered values of the parameters.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
//= type=test
//# A server MUST reject 0-RTT data if the restored values for transport parameters cannot be supported.
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# When servers decide to accept 0-RTT data, they MUST send a max_datagram_frame_size transport parameter greater than
//# or equal to the value they sent to the client in the connection where they sent them the NewSessionTicket message.
#[test]
fn zero_rtt_rejected_when_limits_changed_but_the_session_resumes() {
    let w = world();
    w.visit(1);
    let (mut c, _) = ends(&w.client, &w.server, 1);
    let fewer = [0x04, 0x01, 0x30, 0x08, 0x01, 0x01];
    let mut s = End { session: Session::server(&w.server, 1, fewer.to_vec()).unwrap(), seen: Seen::default() };
    shake(&mut c, &mut s, usize::MAX).unwrap();
    for end in [&c, &s] {
        assert!(end.session.is_done() && end.session.resumed());
        assert_eq!(end.session.early_data_accepted(), Some(false));
    }
    assert!(s.seen.zero_rtt.is_none());
}

/// RFC 9114 section 7.2.4.2: a server that cannot tell whether the settings that the client remembers suit its own takes no
/// early data.
#[test]
fn zero_rtt_rejected_when_the_applications_settings_changed_but_the_session_resumes() {
    for (issued, now, accepted) in
        [(&b"a"[..], &b"a"[..], true), (b"a", b"b", false), (b"a", b"", false), (b"", b"a", false)]
    {
        let w = world();
        let server = |context: &[u8]| {
            let mut session = Session::server(&w.server, 1, SERVER_PARAMETERS.to_vec()).unwrap();
            session.early_data_context(context);
            End { session, seen: Seen::default() }
        };
        let (mut c, _) = ends(&w.client, &w.server, 1);
        shake(&mut c, &mut server(issued), usize::MAX).unwrap();
        let (mut c, _) = ends(&w.client, &w.server, 1);
        let mut s = server(now);
        shake(&mut c, &mut s, usize::MAX).unwrap();
        assert!(c.session.resumed() && s.session.resumed());
        assert_eq!(c.session.early_data_accepted(), Some(accepted), "{issued:?} then {now:?}");
        assert_eq!(s.seen.zero_rtt.is_some(), accepted);
    }
}

#[test]
fn zero_rtt_rejected_when_the_server_does_not_take_it() {
    let pki = pki("localhost");
    let client = client_builder(&pki).early_data(true).build().unwrap();
    let w = World { client, server: server_builder(&pki).early_data(true).build().unwrap() };
    w.visit(1);
    // Another process of the same service, without the store: a full handshake.
    let fresh = server_builder(&pki).early_data(true).build().unwrap();
    let (mut c, mut s) = ends(&w.client, &fresh, 1);
    assert!(c.seen.zero_rtt.is_some());
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert_eq!(c.session.early_data_accepted(), Some(false));
    assert!(!c.session.resumed() && c.session.is_done());
}

#[test]
fn a_server_without_early_data_still_resumes() {
    let pki = pki("localhost");
    let client = client_builder(&pki).early_data(true).build().unwrap();
    let w = World { client, server: server_builder(&pki).build().unwrap() };
    w.visit(1);
    let (mut c, mut s) = ends(&w.client, &w.server, 1);
    assert!(c.seen.zero_rtt.is_none());
    assert_eq!(c.session.remembered_parameters(), None);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(c.session.resumed());
    assert_eq!(c.session.early_data_accepted(), None);
}

#[test]
fn tickets_do_not_cross_versions() {
    let w = world();
    w.visit(codes::VERSION_1);
    let (c, _) = ends(&w.client, &w.server, codes::VERSION_2);
    assert!(c.seen.zero_rtt.is_none());
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9369#section-5
//= type=test
//# Servers MUST validate the originating version of any session ticket
//# or token and not accept one issued from a different version.
fn a_server_takes_no_ticket_of_another_version() {
    let w = world();
    w.visit(codes::VERSION_1);
    // A client that ignores the rule: its ClientHello shows the ticket of version 1 in a connection of version 2.
    let (mut c, _) = ends(&w.client, &w.server, codes::VERSION_1);
    assert!(c.seen.zero_rtt.is_some());
    let server = Session::server(&w.server, codes::VERSION_2, SERVER_PARAMETERS.to_vec()).unwrap();
    let mut s = End { session: server, seen: Seen::default() };
    shake(&mut c, &mut s, usize::MAX).unwrap();
    for end in [&c, &s] {
        assert!(end.session.is_done() && !end.session.resumed(), "a full handshake");
        assert_eq!(end.session.early_data_accepted(), Some(false));
    }
}

#[test]
fn no_tickets_no_resumption() {
    let pki = pki("localhost");
    let w = World {
        client: client_builder(&pki).early_data(true).build().unwrap(),
        server: server_builder(&pki).tickets(0).build().unwrap(),
    };
    w.visit(1);
    let (mut c, mut s) = ends(&w.client, &w.server, 1);
    shake(&mut c, &mut s, usize::MAX).unwrap();
    assert!(!c.session.resumed() && !s.seen.log.contains(&"1rtt"));
}

#[test]
fn the_store_is_bounded_and_only_sessions_fill_it() {
    let store = SessionStore::default();
    let number = |n: usize| [n.to_be_bytes(); 4].concat();
    assert!(!store.put(vec![1], vec![1]), "no session runs");
    let mut captured = super::super::secrets::Captured::default();
    super::super::secrets::capture(&mut captured, || {
        assert!(!store.put(vec![1], vec![1]), "nobody knows what early data depend on");
    });
    captured.digest = Some([3; 32]);
    super::super::secrets::capture(&mut captured, || {
        for n in 0..MAX_SESSIONS + 100 {
            assert!(store.put(number(n), vec![7]));
        }
        assert!(!store.put(vec![1], vec![1]), "no ticket has such a number");
    });
    assert_eq!(store.len(), MAX_SESSIONS);
    assert_eq!(store.take(&number(0)), None);
    let newest = number(MAX_SESSIONS + 99);
    assert_eq!(store.take(&newest), Some(vec![7]));
    assert_eq!(store.take(&newest), None);
}

//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# When servers decide to accept 0-RTT data, they MUST send a max_datagram_frame_size transport parameter greater than
//# or equal to the value they sent to the client in the connection where they sent them the NewSessionTicket message.
#[test]
fn the_digest_sees_what_matters_and_nothing_else() {
    let protocols = alpn(&["h3"]);
    let base = digest(1, &protocols, &[0x04, 1, 5, 0x08, 1, 9], b"");
    // Order, connection IDs and unknown parameters do not matter.
    assert_eq!(digest(1, &protocols, &[0x08, 1, 9, 0x0f, 2, 1, 2, 0x1b, 0, 0x04, 1, 5], b""), base);
    assert_ne!(digest(1, &protocols, &[0x04, 1, 6, 0x08, 1, 9], b""), base);
    assert_ne!(digest(1, &protocols, &[0x04, 1, 5], b""), base);
    let datagrams = |max: u8| digest(1, &protocols, &[0x04, 1, 5, 0x08, 1, 9, 0x20, 1, max], b"");
    assert_ne!(datagrams(9), datagrams(10));
    assert_ne!(datagrams(9), base, "no datagrams at all");
    assert_ne!(digest(2, &protocols, &[0x04, 1, 5, 0x08, 1, 9], b""), base);
    assert_ne!(digest(1, &alpn(&["hq"]), &[0x04, 1, 5, 0x08, 1, 9], b""), base);
    assert_ne!(digest(1, &protocols, &[0x04, 1, 5, 0x08, 1, 9], b"settings"), base);
}

/// The server of `w` with only a key exchange group that clients do not try first.
fn with_other_group(pki: &Pki, store: &Arc<ServerTls>) -> Arc<ServerTls> {
    let mut provider = rustls::crypto::CryptoProvider::clone(&provider::provider(&[Cipher::Aes128Gcm]));
    provider.kx_groups = vec![rustls::crypto::ring::kx_group::SECP256R1];
    let provider = Arc::new(provider);
    let ids = Arc::new(identities::Identities::default());
    ids.put(0, Some(identities::identity(pki.chain.as_bytes(), pki.key.as_bytes(), &provider).unwrap()));
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&ids) as _);
    config.alpn_protocols = store.alpn().to_vec();
    config.max_early_data_size = u32::MAX;
    config.session_storage = Arc::clone(&store.store) as Arc<dyn StoresServerSessions>;
    config.key_log = Arc::new(secrets::Sink::new(None));
    Arc::new(ServerTls {
        config: Arc::new(config),
        store: Arc::clone(&store.store),
        asks: Asks::default(),
        external: false,
        identities: ids,
        provider,
    })
}

#[test]
fn hello_retry_request_ends_zero_rtt_but_not_the_handshake() {
    let pki = pki("localhost");
    for early in [false, true] {
        let client = client_builder(&pki).early_data(true).build().unwrap();
        let w = World { client, server: server_builder(&pki).early_data(true).build().unwrap() };
        if early {
            w.visit(1);
        }
        let (mut c, mut s) = ends(&w.client, &with_other_group(&pki, &w.server), 1);
        assert_eq!(c.seen.zero_rtt.is_some(), early);
        s.hear(&mut c, 11).unwrap();
        assert_eq!(s.seen.log, ["initial"], "a HelloRetryRequest and nothing else");
        shake(&mut c, &mut s, usize::MAX).unwrap();
        for end in [&c, &s] {
            assert!(end.session.is_done());
            assert_eq!(end.session.early_data_accepted(), early.then_some(false));
            assert_eq!(end.seen.log.iter().filter(|l| **l == "parameters").count(), 1);
        }
        assert!(s.seen.zero_rtt.is_none());
    }
}

/// A token goes back to the server that gave it, under the same name, port and version, and once.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
//= type=test
//# A client MUST NOT include a token that is not applicable to the server that it is connecting to, unless the client
//# has the knowledge that the server that issued the token and the server the client is connecting to are jointly
//# managing the tokens.
#[test]
fn tokens_go_back_to_their_server() {
    let store = ClientSessions::default();
    let name = |n: &'static str| ServerName::try_from(n).unwrap();
    store.keep_token(1, &name("a.example"), 443, b"token");
    assert!(store.take_token(1, &name("b.example"), 443).is_none());
    assert!(store.take_token(1, &name("a.example"), 444).is_none());
    assert!(store.take_token(codes::VERSION_2, &name("a.example"), 443).is_none());
    assert_eq!(store.take_token(1, &name("a.example"), 443).as_deref(), Some(&b"token"[..]));
    assert!(store.take_token(1, &name("a.example"), 443).is_none());
}
