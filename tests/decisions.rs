//! Decisions of the application through the C ABI: admission, identity, certificates, signatures, on real connections.
//!
//! Every answer is given from a thread of this program, some later than the question, none from a callback.
#![allow(unsafe_code, reason = "the C ABI is called as C calls it")]
mod abi_world;

use abi_world::*;
use core::ptr::{null, null_mut};
use whimbrel::ffi::abi::*;
use whimbrel::ffi::status::*;
use whimbrel::ffi::{buf, conn_calls, decision, handle_calls, tls, tls_calls};

fn describe(decision: wb_decision) -> wb_decision_desc {
    let mut desc: wb_decision_desc = unsafe { core::mem::zeroed() };
    desc.struct_size = size_of::<wb_decision_desc>() as u32;
    ok(unsafe { decision::wb_decision_info(decision, &raw mut desc) });
    desc
}

fn data(decision: wb_decision, what: u32, index: usize) -> Vec<u8> {
    let mut handle = 0;
    ok(unsafe { decision::wb_decision_data(decision, what, index, &raw mut handle) });
    let (mut at, mut len) = (null(), 0usize);
    ok(unsafe { buf::wb_buf_view(handle, &raw mut at, &raw mut len) });
    let bytes =
        if len == 0 { Vec::new() } else { unsafe { core::slice::from_raw_parts(at.cast::<u8>(), len) }.to_vec() };
    ok(handle_calls::wb_handle_release(handle));
    bytes
}

#[test]
fn clients_are_admitted_refused_and_asked_for_their_address() {
    let pair = Pair::new();
    let mut world = World::new(server_tls(&pair), &[(WB_KEY_ADMIT, 1)]);
    let tls = client_tls(&pair);

    let conn = world.connect(tls, &[]);
    let asked = world.decision(WB_EV_DECIDE_ADMIT);
    assert_eq!((asked.conn, asked.source), (0, world.endpoint));
    let desc = describe(asked.a);
    assert_eq!((desc.kind, desc.endpoint, desc.address_validated), (WB_DECIDE_ADMIT, world.endpoint, 0));
    assert_eq!((desc.remote.family, desc.conn), (4, 0));
    assert!(!world.events.iter().any(|e| e.kind == WB_EV_CONN_INCOMING), "no connection before the answer");
    assert_eq!(decision::wb_decision_refuse(asked.a, 77), WB_E_INVALID);
    assert_eq!(unsafe { decision::wb_decision_sign(asked.a, pointer(b"x"), 1) }, WB_E_INVALID);
    assert_eq!(unsafe { decision::wb_decision_data(asked.a, WB_DATA_MESSAGE, 0, null_mut()) }, WB_E_INVALID);
    ok(decision::wb_decision_accept(asked.a));
    // One answer counts; then the token is stale, and so it stays.
    assert_eq!(decision::wb_decision_accept(asked.a), WB_E_STALE);
    assert_eq!(decision::wb_decision_refuse(asked.a, 0), WB_E_STALE);
    assert_eq!(decision::wb_decision_accept(asked.a ^ 0x0f00_0000), WB_E_HANDLE);
    assert_eq!(decision::wb_decision_accept(world.queue), WB_E_KIND);
    world.connected(conn);

    let conn = world.connect(tls, &[]);
    let asked = world.decision(WB_EV_DECIDE_ADMIT);
    ok(decision::wb_decision_refuse(asked.a, WB_REFUSE_CLOSE));
    let info = world.closed(conn);
    assert_eq!((info.status, info.wire_code, info.origin), (WB_E_TRANSPORT, 2, WB_ORIGIN_PEER), "CONNECTION_REFUSED");

    // Retry: the client proves its address and is asked about again.
    let conn = world.connect(tls, &[]);
    let asked = world.decision(WB_EV_DECIDE_ADMIT);
    ok(decision::wb_decision_refuse(asked.a, WB_REFUSE_RETRY));
    let asked = world.decision(WB_EV_DECIDE_ADMIT);
    let desc = describe(asked.a);
    assert_eq!((desc.address_validated, desc.retried), (1, 1));
    assert_eq!(decision::wb_decision_refuse(asked.a, WB_REFUSE_RETRY), WB_E_STATE);
    ok(decision::wb_decision_accept(asked.a));
    world.connected(conn);

    // No answer at all to the client; releasing the decision says no.
    let conn = world.connect(tls, &[(WB_KEY_HANDSHAKE_MS, 300)]);
    let asked = world.decision(WB_EV_DECIDE_ADMIT);
    ok(decision::wb_decision_refuse(asked.a, WB_REFUSE_SILENT));
    assert_eq!(world.closed(conn).status, WB_E_TIMEOUT);
    let conn = world.connect(tls, &[]);
    let asked = loop {
        // The silent client's later packets may have been asked about too.
        let asked = world.decision(WB_EV_DECIDE_ADMIT);
        ok(handle_calls::wb_handle_release(asked.a));
        if world.events.iter().any(|e| e.conn == conn && e.kind == WB_EV_CONN_CLOSED) || asked.conn == 0 {
            break asked;
        }
    };
    assert_eq!(decision::wb_decision_accept(asked.a), WB_E_STALE);
    world.end();
}

#[test]
fn the_identity_is_chosen_by_name_and_protocol() {
    let (listener, tenant) = (Pair::new(), Pair::new());
    let server = server_tls(&listener);
    ok(tls_calls::wb_tls_decisions(server, WB_DECIDE_IDENTITY));
    let other = server_tls(&tenant);
    let mut world = World::new(server, &[]);
    let conn = world.connect(client_tls(&tenant), &[]);
    let asked = world.decision(WB_EV_DECIDE_IDENTITY);
    let desc = describe(asked.a);
    assert_eq!((desc.kind, desc.conn, desc.count), (WB_DECIDE_IDENTITY, asked.conn, 1));
    assert_eq!(data(asked.a, WB_DATA_PROTOCOL, 0), b"echo");
    assert_eq!(data(asked.a, WB_DATA_MESSAGE, 0)[0], 1, "a ClientHello");
    assert_eq!(
        unsafe { decision::wb_decision_data(asked.a, WB_DATA_PROTOCOL, 1, (&raw mut world.events).cast()) },
        WB_E_RANGE
    );
    assert_eq!(decision::wb_decision_identity(asked.a, client_tls(&tenant)), WB_E_INVALID);
    // From another thread, later.
    let token = asked.a;
    std::thread::spawn(move || ok(decision::wb_decision_identity(token, other))).join().expect("it ends");
    assert_eq!(decision::wb_decision_identity(token, other), WB_E_STALE);
    world.connected(conn);
    world.connected(asked.conn);

    let conn = world.connect(client_tls(&listener), &[]);
    let asked = world.decision(WB_EV_DECIDE_IDENTITY);
    ok(decision::wb_decision_accept(asked.a));
    world.connected(conn);

    let conn = world.connect(client_tls(&listener), &[]);
    let asked = world.decision(WB_EV_DECIDE_IDENTITY);
    ok(decision::wb_decision_refuse(asked.a, 0));
    let info = world.closed(conn);
    assert_eq!((info.status, info.tls_alert, info.origin), (WB_E_TLS, 112, WB_ORIGIN_PEER), "unrecognized_name");
    world.end();
}

#[test]
fn both_sides_judge_certificates() {
    let (pair, visitor) = (Pair::new(), Pair::new());
    let server = server_tls(&pair);
    ok(tls::wb_tls_verify_mode(server, WB_VERIFY_REQUIRED));
    ok(tls_calls::wb_tls_decisions(server, WB_DECIDE_VERIFY));
    let mut world = World::new(server, &[]);
    // The client trusts somebody else: the check says no, the application yes.
    // A TLS object for each connection: a resumed session would not be asked about.
    let client = || {
        let client = client_tls(&visitor);
        add_identity(client, visitor.pem.as_bytes(), visitor.key_pem.as_bytes());
        ok(tls_calls::wb_tls_decisions(client, WB_DECIDE_VERIFY));
        client
    };

    let conn = world.connect(client(), &[]);
    let asked = world.decision(WB_EV_DECIDE_VERIFY);
    assert_eq!(asked.conn, conn);
    let desc = describe(asked.a);
    assert_eq!((desc.count, text(&desc.server_name).as_str()), (1, "127.0.0.1"));
    assert!(desc.alert != 0 && u64::from(desc.alert) == asked.b);
    assert_eq!(data(asked.a, WB_DATA_CERTIFICATE, 0), pair.der);
    assert_eq!(data(asked.a, WB_DATA_OCSP, 0), b"");
    ok(decision::wb_decision_accept(asked.a));
    let asked = world.decision(WB_EV_DECIDE_VERIFY);
    assert_ne!(asked.conn, conn);
    assert_eq!(data(asked.a, WB_DATA_CERTIFICATE, 0), visitor.der);
    ok(decision::wb_decision_accept(asked.a));
    world.connected(asked.conn);

    // The server says no with an alert of its choice.
    let conn = world.connect(client(), &[]);
    let asked = world.decision(WB_EV_DECIDE_VERIFY);
    if asked.conn == conn {
        ok(decision::wb_decision_accept(asked.a));
    }
    let asked = world.wait("the server's question", |e| e.kind == WB_EV_DECIDE_VERIFY && e.conn != conn);
    assert_eq!(decision::wb_decision_refuse(asked.a, 256), WB_E_RANGE);
    ok(decision::wb_decision_refuse(asked.a, 44));
    let info = world.closed(conn);
    assert_eq!((info.tls_alert, info.origin), (44, WB_ORIGIN_PEER));

    // The client says no with what its check says.
    let conn = world.connect(client(), &[]);
    let asked = world.wait("the client's question", |e| e.kind == WB_EV_DECIDE_VERIFY && e.conn == conn);
    ok(decision::wb_decision_refuse(asked.a, 0));
    let info = world.closed(conn);
    assert_eq!((info.status, u64::from(info.tls_alert), info.origin), (WB_E_VERIFY, asked.b, WB_ORIGIN_LOCAL));
    world.end();
}

#[test]
fn signatures_are_made_elsewhere_on_both_sides() {
    let (pair, visitor) = (Pair::new(), Pair::new());
    let server = new_tls(WB_ROLE_SERVER);
    add_identity(server, &pair.der, &[]);
    ok(tls::wb_tls_verify_mode(server, WB_VERIFY_REQUIRED));
    ok(unsafe { tls::wb_tls_trust_add(server, pointer(visitor.pem.as_bytes()), visitor.pem.len()) });
    let client = client_tls(&pair);
    add_identity(client, visitor.pem.as_bytes(), &[]);
    let mut world = World::new(server, &[]);
    let conn = world.connect(client, &[]);
    for signer in [&pair, &visitor] {
        let asked = world.decision(WB_EV_DECIDE_SIGN);
        assert_eq!(describe(asked.a).scheme, 0x0807, "ed25519");
        assert_eq!(data(asked.a, WB_DATA_CERTIFICATE, 0), signer.der);
        let signature = signer.sign(&data(asked.a, WB_DATA_MESSAGE, 0));
        assert_eq!(decision::wb_decision_accept(asked.a), WB_E_INVALID, "a signature is wanted");
        assert_eq!(unsafe { decision::wb_decision_sign(asked.a, null(), 0) }, WB_E_RANGE);
        ok(unsafe { decision::wb_decision_sign(asked.a, pointer(&signature), signature.len()) });
    }
    world.connected(conn);
    world.wait("the server", |e| e.kind == WB_EV_CONNECTED && e.conn != conn);
    world.end();
}

#[test]
fn what_is_left_undecided_ends_and_makes_the_token_stale() {
    let pair = Pair::new();
    let server = server_tls(&pair);
    ok(tls_calls::wb_tls_decisions(server, WB_DECIDE_IDENTITY));
    let client = client_tls(&pair);
    let mut world = World::new(server, &[(WB_KEY_HANDSHAKE_MS, 300)]);

    // The server's handshake timeout.
    world.connect(client, &[]);
    let asked = world.decision(WB_EV_DECIDE_IDENTITY);
    let held = asked.a;
    ok(handle_calls::wb_handle_retain(held));
    assert_eq!(world.closed_status(asked.conn), WB_E_TIMEOUT);
    // A reference of our own keeps the handle, not the question.
    assert_eq!(decision::wb_decision_accept(held), WB_E_STATE);
    ok(handle_calls::wb_handle_release(held));
    assert_eq!(decision::wb_decision_accept(held), WB_E_STALE);

    // The connection is closed while the question is open.
    world.connect(client, &[]);
    let asked = world.decision(WB_EV_DECIDE_IDENTITY);
    ok(unsafe { conn_calls::wb_conn_close(asked.conn, 7, null(), 0) });
    world.wait("the end", |e| e.conn == asked.conn && e.kind == WB_EV_CONN_CLOSED);
    assert_eq!(decision::wb_decision_accept(asked.a), WB_E_STALE);

    // The runtime ends while a question is open.
    world.connect(client, &[]);
    let asked = world.decision(WB_EV_DECIDE_IDENTITY);
    world.end();
    assert_eq!(decision::wb_decision_accept(asked.a), WB_E_STALE);
}

#[test]
fn identities_and_shared_keys_change_under_a_live_server() {
    let (first, second) = (Pair::new(), Pair::new());
    let server = new_tls(WB_ROLE_SERVER);
    let id = add_identity(server, first.pem.as_bytes(), first.key_pem.as_bytes());
    let mut world = World::new(server, &[]);
    let conn = world.connect(client_tls(&first), &[]);
    world.connected(conn);
    let (chain, key) = (pointer(&second.der), pointer(&second.key_der));
    let (chain_len, key_len) = (second.der.len(), second.key_der.len());
    unsafe {
        ok(tls_calls::wb_tls_identity_replace(server, id, chain, chain_len, key, key_len));
        assert_eq!(tls_calls::wb_tls_identity_replace(server, id + 1, chain, chain_len, key, key_len), WB_E_RANGE);
        assert_eq!(tls_calls::wb_tls_identity_replace(server, id, chain, chain_len, chain, chain_len), WB_E_TLS);
        ok(tls_calls::wb_tls_ticket_keys(server, pointer(&[5; 64]), 2));
        assert_eq!(tls_calls::wb_tls_ticket_keys(server, pointer(&[0; 32]), 1), WB_E_INVALID);
        assert_eq!(tls_calls::wb_tls_ticket_keys(server, pointer(&[1; 32]), 17), WB_E_RANGE);
        ok(tls_calls::wb_endpoint_secrets(world.endpoint, pointer(&[6; 64]), 2));
        assert_eq!(tls_calls::wb_endpoint_secrets(world.endpoint, null(), 0), WB_E_RANGE);
    }
    let client = client_tls(&second);
    let fresh = world.connect(client, &[]);
    world.connected(fresh);
    // The old connection was not disturbed.
    assert!(!world.events.iter().any(|e| e.conn == conn && e.kind == WB_EV_CONN_CLOSED));
    // Another server with the same keys takes up the session.
    let twin = server_tls(&second);
    ok(unsafe { tls_calls::wb_tls_ticket_keys(twin, pointer(&[5; 32]), 1) });
    let mut other = World::new(twin, &[]);
    // The ticket follows the handshake: until it has come, connections begin anew.
    for _ in 0..100 {
        let conn = other.connect(client, &[]);
        let up = other.wait("the handshake", |e| e.conn == conn && e.kind == WB_EV_CONNECTED);
        if up.a == 1 {
            world.end();
            return other.end();
        }
        ok(handle_calls::wb_handle_release(conn));
    }
    panic!("the session was never resumed");
}
