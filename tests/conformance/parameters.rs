//! Transport parameters (RFC 9000 sections 7.3, 7.4 and 18.2; RFC 9221, 9287, 9368): cases 3 to 10.
//!
//! The error is known when the ClientHello is read, so it must be told in an Initial packet (trap H).
use whimbrel::base::Level;
use whimbrel::base::codes::transport::*;

use super::peer::{Params, Peer};
use super::world::{SECOND, Setup, V1, V2, World, client_with};

const CODES: [u64; 3] = [TRANSPORT_PARAMETER_ERROR, PROTOCOL_VIOLATION, INTERNAL_ERROR];

fn hello(version: u32, edit: impl FnOnce(Params) -> Params) -> (World, Peer) {
    let (mut world, mut peer) = client_with(Setup::default(), version, edit);
    world.exchange(&mut peer);
    (world, peer)
}

/// The server closes at once, in an Initial packet.
#[track_caller]
fn refused(section: &str, edit: impl Fn(Params) -> Params) {
    for version in [V1, V2] {
        let (mut world, mut peer) = hello(version, &edit);
        peer.expect_close(section, &CODES, 0x06);
        assert_eq!(peer.close().unwrap().code, TRANSPORT_PARAMETER_ERROR);
        assert!(peer.saw(|g| matches!(g, super::peer::Got::Close(c) if c.level == Level::Initial)), "{section}");
        // And it goes away.
        world.pass(&mut peer, 20 * SECOND);
        assert_eq!((world.connections.len(), world.endpoint.route_count()), (0, 0), "{section}");
    }
}

#[track_caller]
fn accepted(section: &str, edit: impl FnOnce(Params) -> Params) {
    let (_, peer) = hello(V1, edit);
    peer.expect_open(section);
    assert!(peer.done, "{section}: {:?}", peer.log);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
//= type=test
//# An endpoint MUST treat the absence of the initial_source_connection_id transport parameter from either endpoint or
//# the absence of the original_destination_connection_id transport parameter from the server as a connection error of
//# type TRANSPORT_PARAMETER_ERROR.
#[test]
fn case_03_initial_source_connection_id_is_missing_section_7_3() {
    refused("7.3", |p| p.without(0x0f));
}

#[test]
fn case_04_original_destination_connection_id_from_a_client_section_18_2() {
    refused("18.2", |p| p.set(0x00, b"DUMMY"));
}

#[test]
fn case_05_preferred_address_from_a_client_section_18_2() {
    let mut value = vec![127, 0, 0, 1, 1, 187];
    value.extend([0; 18]);
    value.push(8);
    value.extend(0..8);
    value.extend(0..16);
    refused("18.2", |p| p.set(0x0d, &value));
}

#[test]
fn case_06_retry_source_connection_id_from_a_client_section_18_2() {
    refused("18.2", |p| p.set(0x10, b"DUMMY"));
}

#[test]
fn case_07_stateless_reset_token_from_a_client_section_18_2() {
    refused("18.2", |p| p.set(0x02, b"DUMMY"));
    refused("18.2", |p| p.set(0x02, &[5; 16]));
}

#[test]
fn case_08_max_udp_payload_size_below_1200_section_18_2() {
    for size in [0, 1090, 1199] {
        refused("18.2", |p| p.number(0x03, size));
    }
    accepted("18.2", |p| p.number(0x03, 1200));
    accepted("18.2", |p| p.number(0x03, (1 << 62) - 1));
}

#[test]
fn case_09_ack_delay_exponent_above_20_section_18_2() {
    for exponent in [21, 30, 255, 256, (1 << 62) - 1] {
        refused("18.2", |p| p.number(0x0a, exponent));
    }
    accepted("18.2", |p| p.number(0x0a, 20));
}

#[test]
fn case_10_max_ack_delay_of_2_14_and_more_section_18_2() {
    for delay in [1 << 14, 32768, (1 << 62) - 1] {
        refused("18.2", |p| p.number(0x0b, delay));
    }
    accepted("18.2", |p| p.number(0x0b, (1 << 14) - 1));
}

/// RFC 9000 section 7.3: it must be the very ID of the packets.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
//= type=test
//# Endpoints MUST validate that received transport parameters match received connection ID values.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
//= type=test
//# An endpoint MUST treat the following as a connection error of type TRANSPORT_PARAMETER_ERROR or PROTOCOL_VIOLATION:
#[test]
fn initial_source_connection_id_differs_section_7_3() {
    refused("7.3", |p| p.set(0x0f, b"evilpeer2"));
    refused("7.3", |p| p.set(0x0f, b""));
    refused("18", |p| p.set(0x0f, &[1; 21]));
}

/// RFC 9000 section 7.4: each once, known or unknown.
#[test]
fn duplicates_section_7_4() {
    for id in [0x01, 0x03, 0x0f, 0x11, 0x2ab2, 31 * 7 + 27] {
        refused("7.4", |p| {
            let value = p.0.iter().find(|x| x.0 == id).map_or_else(Vec::new, |x| x.1.clone());
            p.set(id, &value).also(id, &value)
        });
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
//= type=test
//# If either is received, the connection MUST be closed immediately with a connection error of type
//# TRANSPORT_PARAMETER_ERROR if the offending value was received in a transport parameter or of type
//# FRAME_ENCODING_ERROR if it was received in a frame; see Section 10.2.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4
//= type=test
//# An endpoint MUST treat receipt of a transport parameter with an invalid value as a connection error of type
//# TRANSPORT_PARAMETER_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.2
//= type=test
//# An endpoint MUST ignore transport parameters that it does not support.
#[test]
fn other_bounds_section_18_2() {
    refused("18.2", |p| p.number(0x0e, 1));
    refused("18.2", |p| p.number(0x0e, 0));
    accepted("18.2", |p| p.number(0x0e, (1 << 62) - 1));
    for id in [0x08, 0x09] {
        refused("4.6", |p| p.number(id, (1 << 60) + 1));
        accepted("4.6", |p| p.number(id, 1 << 60));
    }
    // Flags have no value.
    refused("18.2", |p| p.set(0x0c, &[0]));
    refused("RFC 9287 3", |p| p.set(0x2ab2, &[1]));
    accepted("18.2", |p| p.set(0x0c, &[]));
    // Numbers are numbers and nothing else.
    for id in [0x01, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0e, 0x20] {
        refused("18", |p| p.set(id, &[]));
        refused("18", |p| p.set(id, &[0x40]));
        refused("18", |p| p.set(id, &[0x45, 0x39, 0]));
    }
    // Reserved and unknown ones are ignored.
    accepted("18.1", |p| p.set(27, &[1, 2, 3]).set(58, &[]).set(0x1234_5678, &[0; 300]));
}

/// RFC 9000 section 18: a list that ends in the middle.
#[test]
fn truncated_list_section_18() {
    for tail in [&[0x40][..], &[0x3f], &[0x3f, 5], &[0x3f, 5, 1, 2, 3, 4], &[0x3f, 0x40], &[0xc0, 0, 0]] {
        refused("18", |p| p.tail(tail));
    }
}

/// RFC 9368 section 4: version_information must be well formed and name the version of the connection.
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.3
//= type=test
//# if the server is unable to convert the first flight, it MUST abort the handshake.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# Both endpoints MUST parse their peer's Version Information during the handshake.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# If that leads to a parsing failure (for example, if it is too short or if its length is not divisible by
//# four), then the endpoint MUST close the connection; if the connection was using QUIC version 1, that
//# connection closure MUST use a transport error of type TRANSPORT_PARAMETER_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# If an endpoint receives a Chosen Version equal to zero, or any Available Version equal to zero, it MUST
//# treat it as a parsing failure.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# If a server receives Version Information where the Chosen Version is not included in Available Versions, it
//# MUST treat it as a parsing failure.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# When the server then processes the client's Version Information, the server MUST validate that the client's
//# Chosen Version matches the version in use for the connection.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# If the two differ, the server MUST close the connection with a version negotiation error.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# Every QUIC version that supports version negotiation MUST define a method for closing the connection with a
//# version negotiation error.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//= type=test
//# Subsequently, if the server receives the client's Version Information over QUIC version 1 (as indicated by
//# the Version field of the Long Header packets that carried the transport parameters) and the client's Chosen
//# Version is not set to 0x00000001, the server MUST close the connection with a version negotiation error.
#[test]
fn version_information_rfc_9368_section_4() {
    for bad in [&b""[..], &[0, 0, 0], &[0, 0, 0, 1, 0], &[0; 4], &[0; 8], &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]] {
        refused("RFC 9368 3", |p| p.set(0x11, bad));
    }
    let (_, peer) = hello(V1, |p| p.set(0x11, &[V2.to_be_bytes(), V2.to_be_bytes(), V1.to_be_bytes()].concat()));
    peer.expect_close("RFC 9368 4", &[VERSION_NEGOTIATION_ERROR], 0x06);
    let (_, peer) = hello(V1, |p| p.set(0x11, &[V1.to_be_bytes(), V2.to_be_bytes()].concat()));
    peer.expect_close("RFC 9368 3: chosen is not available", &[TRANSPORT_PARAMETER_ERROR, 0x11], 0x06);
}

/// RFC 9000 section 18.2: two connection IDs at least, whatever the configuration says.
//= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
//= type=test
//# The value of the active_connection_id_limit parameter MUST be at least 2.
#[test]
fn we_take_two_connection_ids_at_least_section_18_2() {
    for limit in [0, 1, 2, 5] {
        let mut setup = Setup::default();
        setup.config.active_cid_limit = limit;
        let (_, peer) = super::world::connected_with(setup, V1);
        let bytes = peer.peer_parameters.as_ref().unwrap();
        let told = whimbrel::wire::TransportParameters::decode(bytes, whimbrel::base::Side::Server).unwrap();
        assert_eq!(told.active_connection_id_limit, limit.max(2));
    }
}
