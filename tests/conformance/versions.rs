//! What a malicious server, or somebody on the path, can try with versions against our client (RFC 9368 section 4, RFC
//! 9369 section 4.1).
use std::sync::{Arc, OnceLock};

use whimbrel::base::Side;
use whimbrel::base::codes::transport::VERSION_NEGOTIATION_ERROR;
use whimbrel::connection::ConnectionConfig;
use whimbrel::crypto::{ClientTls, ServerTls};
use whimbrel::wire::{TransportParameters, Writer, header, version_negotiation};

use super::peer::{Params, Peer};
use super::world::{V1, V2, World, client_tls, server_tls};

fn tls() -> (Arc<ClientTls>, Arc<ServerTls>) {
    static SERVER: OnceLock<Arc<ServerTls>> = OnceLock::new();
    (client_tls(&["h3"], false), Arc::clone(SERVER.get_or_init(|| server_tls(false))))
}

/// Our client with these versions, most wanted first, and the first datagram that it sent.
fn start_with(versions: &[u32]) -> (World, Vec<u8>) {
    let config = ConnectionConfig { versions: versions.to_vec(), ..ConnectionConfig::default() };
    let mut world = World::client_with(&tls().0, false, config);
    let first = world.out.remove(0).1;
    (world, first)
}

/// A server that has read the ClientHello and not answered.
fn facing(edit: impl FnOnce(Params) -> Params) -> (World, Peer) {
    let (world, first) = start_with(&[V1, V2]);
    let peer = Peer::server(&tls().1, &first, edit);
    (world, peer)
}

fn list(versions: &[u32]) -> Vec<u8> {
    versions.iter().flat_map(|v| v.to_be_bytes()).collect()
}

/// A Version Negotiation packet that answers a client's first datagram.
fn vn_for(first: &[u8], versions: &[u32]) -> Vec<u8> {
    let head = header::parse(first, 0).unwrap();
    let mut buf = [0; 200];
    let mut w = Writer::new(&mut buf);
    let (to, from) = (head.scid.as_slice(), head.dcid.as_slice());
    version_negotiation::write(&mut w, 5, to, from, versions.iter().copied()).unwrap();
    w.written().to_vec()
}

/// Our client started with version 2, was told that there is only version 1, and made another attempt. A server with
/// this Version Information answers it.
fn after_negotiation(edit: impl FnOnce(Params) -> Params) -> (World, Peer) {
    let (mut world, first) = start_with(&[V2, V1]);
    assert_eq!(header::parse(&first, 0).unwrap().version, V2);
    world.deliver(&vn_for(&first, &[V1]));
    world.turn();
    assert!(world.close_reason().is_none());
    let second = world.out.remove(0).1;
    let (a, b) = (header::parse(&first, 0).unwrap(), header::parse(&second, 0).unwrap());
    assert_eq!(b.version, V1);
    assert_ne!(a.dcid, b.dcid, "a new first flight");
    // What comes in answer to this attempt is ignored.
    world.deliver(&vn_for(&second, &[V2]));
    world.turn();
    assert!(world.close_reason().is_none());
    let mut peer = Peer::server(&tls().1, &second, edit);
    world.exchange(&mut peer);
    (world, peer)
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# A client that makes a connection
//# attempt based on information received from a Version Negotiation
//# packet MUST ignore any Version Negotiation packets it receives in
//# response to that connection attempt.
//= https://www.rfc-editor.org/rfc/rfc9368#section-8
//= type=test
//# if a client is starting a QUIC version 1 connection in
//# response to a received Version Negotiation packet and the
//# version_information transport parameter is missing from the server's
//# transport parameters, then the client SHALL proceed as if the
//# server's transport parameters contained a version_information
//# transport parameter with a Chosen Version set to 0x00000001 and an
//# Available Version list containing exactly one version set to
//# 0x00000001.
//= https://www.rfc-editor.org/rfc/rfc9368#section-6
//= type=test
//# When incompatible version negotiation is in use, the second connection that is created in response to the
//# received Version Negotiation packet MUST restart its application-layer protocol negotiation process without
//# taking into account the Original Version.
fn a_version_negotiation_that_is_true_rfc_9368() {
    for edit in [None, Some(list(&[V1, V1])), Some(list(&[V1, 0x7a8a_9aaa]))] {
        let (mut world, peer) = after_negotiation(|p| match &edit {
            Some(value) => p.set(0x11, value),
            None => p.without(0x11),
        });
        peer.expect_open("RFC 9368 4");
        assert!(peer.done && world.connection().version() == V1);
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# If the client received and acted on a Version Negotiation packet, the
//# client MUST validate the server's Available Versions field.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# If the client would have selected a different
//# version, the client MUST close the connection with a version
//# negotiation error.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# if the client reacted to a Version
//# Negotiation packet and the server's Available Versions field is
//# empty, the client MUST close the connection with a version
//# negotiation error.
//= https://www.rfc-editor.org/rfc/rfc8999#section-7
//= type=test
//# An endpoint MUST authenticate the semantic
//# content of a Version Negotiation packet if it attempts a different
//# QUIC version as a result.
fn a_version_negotiation_that_is_forged_rfc_9368() {
    for versions in [&[V1, V1, V2][..], &[V1, V2], &[V1], &[V2, V1, V2]] {
        let (_, peer) = after_negotiation(|p| p.set(0x11, &list(versions)));
        peer.expect_close("RFC 9368 4", &[VERSION_NEGOTIATION_ERROR], 0x06);
    }
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# If a client has reacted to a Version Negotiation packet and
//# the server's Version Information was missing, the client MUST close
//# the connection with a version negotiation error.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# Clients MUST NOT complete the handshake if they are reacting to a Version Negotiation packet and the Version
//# Information is missing
fn a_version_negotiation_without_proof_rfc_9368() {
    // Towards version 2 nothing can be assumed.
    let (mut world, first) = start_with(&[V1, V2]);
    world.deliver(&vn_for(&first, &[V2]));
    world.turn();
    let second = world.out.remove(0).1;
    assert_eq!(header::parse(&second, 0).unwrap().version, V2);
    let mut peer = Peer::server(&tls().1, &second, |p| p.without(0x11));
    world.exchange(&mut peer);
    peer.expect_close("RFC 9368 4", &[VERSION_NEGOTIATION_ERROR], 0x06);
}

#[test]
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# clients MUST validate that the
//# server's Chosen Version is equal to the Negotiated Version; if they
//# do not match, the client MUST close the connection with a version
//# negotiation error.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# If a client receives Version Information where the server's Chosen
//# Version was not sent by the client as part of its Available Versions,
//# the client MUST close the connection with a version negotiation
//# error.
//= https://www.rfc-editor.org/rfc/rfc9369#section-4
//= type=test
//# Any QUIC endpoint that supports QUIC version 2 MUST send, process, and validate the version_information
//# transport parameter specified in [QUIC-VN] to prevent version downgrade attacks.
//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//= type=test
//# An endpoint MUST drop packets using any other version.
fn the_long_header_says_one_version_and_the_parameters_another_rfc_9368() {
    let moved = |ours: &[u32], said: Option<&[u32]>| {
        let (mut world, first) = start_with(ours);
        let mut peer = Peer::server_in(&tls().1, &first, V2, |p| match said {
            Some(versions) => p.set(0x11, &list(versions)),
            None => p.without(0x11),
        });
        world.exchange(&mut peer);
        (world, peer)
    };
    let (mut world, peer) = moved(&[V1, V2], Some(&[V2, V1, V2]));
    peer.expect_open("RFC 9369 4.1");
    assert!(peer.done && world.connection().version() == V2);
    for said in [None, Some(&[V1, V1, V2][..]), Some(&[0x0a0a_0a0a, V1, V2])] {
        let (_, peer) = moved(&[V1, V2], said);
        peer.expect_close("RFC 9368 4", &[VERSION_NEGOTIATION_ERROR], 0x06);
    }
    // A version that was not offered: such packets are dropped.
    let (mut world, peer) = moved(&[V1], Some(&[V2, V1, V2]));
    assert!(peer.log.is_empty() && !world.connection().is_established());
    // In the version of the first packet all the same, but the parameters claim another one.
    for said in [&[V2, V1, V2][..], &[0x0a0a_0a0a, V1], &[7, V1]] {
        let (mut world, mut peer) = facing(|p| p.set(0x11, &list(said)));
        world.exchange(&mut peer);
        peer.expect_close("RFC 9368 4", &[VERSION_NEGOTIATION_ERROR], 0x06);
    }
}

//= https://www.rfc-editor.org/rfc/rfc9368#section-3
//= type=test
//# Note that the version in the Chosen Version field MUST be included in this list to allow the client to
//# communicate the Chosen Version's preference.
#[test]
fn a_client_names_what_it_speaks_rfc_9368_section_3() {
    for (versions, first) in [(&[V1, V2][..], V1), (&[V2, V1], V2), (&[V1], V1), (&[V2], V2)] {
        let (_, datagram) = start_with(versions);
        assert_eq!(header::parse(&datagram, 0).unwrap().version, first);
        let peer = Peer::server(&tls().1, &datagram, |p| p);
        let told = TransportParameters::decode(peer.peer_parameters.as_ref().unwrap(), Side::Client).unwrap();
        let information = told.version_information.expect("Version Information");
        assert_eq!(information.chosen, first);
        let known: Vec<u32> =
            information.available.iter().copied().filter(|v| v & 0x0f0f_0f0f != 0x0a0a_0a0a).collect();
        assert_eq!((known, information.available.len()), (versions.to_vec(), versions.len() + 1), "and a reserved one");
    }
}
