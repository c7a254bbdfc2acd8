//! Streams that end early: cancelled, rejected, stopped, malformed, too large, and floods of all that.
use super::mock::{
    End, GET, OK, POST, data, exchange, frame, headers, headers_event, pair, pair_with, request_stream, with,
};
use crate::base::codes::{h3, qpack};
use crate::base::{Side, StreamId};
use crate::http3::{Field, H3Error, H3Event, Http3Config, SectionKind};

const ID: StreamId = StreamId(0);

#[test]
fn a_client_cancels() {
    let (mut client, mut server) = pair();
    client.h3.request(&mut client.io, &POST, false).unwrap();
    client.h3.send_body(&mut client.io, ID, b"half of", false).unwrap();
    exchange(&mut client, &mut server);
    server.events();
    client.h3.reset(&mut client.io, ID, h3::REQUEST_CANCELLED).unwrap();
    exchange(&mut client, &mut server);
    let told = server.events();
    assert!(told.contains(&H3Event::Reset { stream: ID, code: h3::REQUEST_CANCELLED, by_peer: true }));
    assert!(told.contains(&H3Event::Stopped { stream: ID, code: h3::REQUEST_CANCELLED }));
    // QPACK is told that nothing more of the stream will be decoded.
    assert!(server.wrote(StreamId(11)).ends_with(&[0x40]));
    assert_eq!((client.h3.active_requests(), server.h3.active_requests()), (0, 0));
}

#[test]
fn cancelled_before_the_request_was_seen() {
    let mut end = End::ready(Side::Server);
    end.get(ID, &headers(&GET)[..5], false);
    end.io.arrive_reset(ID, h3::REQUEST_CANCELLED);
    end.run();
    assert_eq!((end.events(), end.cut(ID).0), (vec![], Some(h3::REQUEST_REJECTED)));
    assert_eq!(end.h3.active_requests(), 0);
}

#[test]
fn a_server_rejects() {
    let (mut client, mut server) = pair();
    client.h3.request(&mut client.io, &GET, true).unwrap();
    exchange(&mut client, &mut server);
    server.h3.reset(&mut server.io, ID, h3::REQUEST_REJECTED).unwrap();
    exchange(&mut client, &mut server);
    assert_eq!(client.events(), [H3Event::Reset { stream: ID, code: h3::REQUEST_REJECTED, by_peer: true }]);
    assert_eq!(client.h3.recv_body(&mut client.io, ID, &mut [0]), Err(H3Error::UnknownStream));
}

#[test]
fn a_server_answers_early() {
    let (mut client, mut server) = pair();
    client.h3.request(&mut client.io, &POST, false).unwrap();
    client.h3.send_body(&mut client.io, ID, b"part", false).unwrap();
    exchange(&mut client, &mut server);
    server.h3.respond(&mut server.io, ID, &OK, true).unwrap();
    server.h3.stop(&mut server.io, ID, h3::NO_ERROR).unwrap();
    exchange(&mut client, &mut server);
    let told = client.events();
    // The response is complete and kept; the upload is not wanted any more.
    assert!(told.contains(&headers_event(ID, SectionKind::Response, &OK, true)));
    assert!(told.contains(&H3Event::Stopped { stream: ID, code: h3::NO_ERROR }));
    let late = client.h3.send_body(&mut client.io, ID, b"more", false);
    assert!(matches!(late, Err(H3Error::Stopped(_) | H3Error::UnknownStream)));
}

#[test]
fn incomplete_messages() {
    // Half a request section is cut inside a frame; no request at all is an incomplete request.
    for bytes in [vec![], frame(0x21, b"only grease")] {
        let mut end = End::ready(Side::Server);
        end.get(ID, &bytes, true);
        assert_eq!((end.code(), end.cut(ID).0), (None, Some(h3::REQUEST_INCOMPLETE)));
        assert_eq!(end.events(), []);
    }
    // A response that never comes, or only interim ones.
    for bytes in [vec![], headers(&[Field::new(b":status", b"100")])] {
        let mut end = End::ready(Side::Client);
        end.h3.request(&mut end.io, &GET, true).unwrap();
        end.get(ID, &bytes, true);
        let last = end.events().pop();
        assert_eq!(last, Some(H3Event::Reset { stream: ID, code: h3::MESSAGE_ERROR, by_peer: false }));
    }
}

#[test]
fn malformed_messages_end_their_stream_only() {
    let mut end = End::ready(Side::Server);
    end.get(ID, &headers(&with(&GET, &[("Upper", "x")])), false);
    assert_eq!(end.cut(ID), (Some(h3::MESSAGE_ERROR), Some(h3::MESSAGE_ERROR)));
    // The application never heard of it.
    assert_eq!((end.events(), end.code()), (vec![], None));
    end.get(request_stream(1), &headers(&GET), true);
    assert_eq!(end.events().len(), 1);
    // In trailers it did.
    end.get(request_stream(2), &[headers(&POST), headers(&[Field::new(b":path", b"/")])].concat(), true);
    let last = end.events().pop();
    let reset = H3Event::Reset { stream: request_stream(2), code: h3::MESSAGE_ERROR, by_peer: false };
    assert_eq!(last, Some(reset));
}

#[test]
fn undecodable_sections_end_the_connection() {
    let mut end = End::ready(Side::Server);
    let mut section = headers(&GET)[2..].to_vec();
    section.extend([0xff, 0x24]);
    end.get(ID, &frame(0x01, &section), true);
    assert_eq!(end.code(), Some(qpack::DECOMPRESSION_FAILED));
    let mut end = End::ready(Side::Server);
    end.get(ID, &frame(0x01, &[]), true);
    assert_eq!(end.code(), Some(qpack::DECOMPRESSION_FAILED));
}

#[test]
fn oversized_sections() {
    let small = Http3Config { max_field_section_size: 300, max_fields: 8, ..Http3Config::default() };
    let long = "v".repeat(200);
    let many: Vec<(&str, &str)> = vec![("x", ""); 8];
    for fields in [with(&GET, &[("x", &long)]), with(&GET, &many)] {
        // The request is answered with 431 and not read any further.
        let mut end = End::with(Side::Server, small.clone());
        end.peer_control(&[0x04, 0x00]);
        end.get(ID, &headers(&fields), false);
        assert_eq!(end.cut(ID), (None, Some(h3::NO_ERROR)));
        let mut client = End::ready(Side::Client);
        client.h3.request(&mut client.io, &GET, true).unwrap();
        client.get(ID, end.wrote(ID), end.io.streams[&ID].out_fin);
        let H3Event::Headers { fields, end: true, .. } = &client.events()[0] else { panic!() };
        assert_eq!(fields.value(b":status"), Some(&b"431"[..]));
        assert_eq!((end.events().len(), end.code()), (1, None));
    }
    // Trailers and responses: the stream is reset.
    let mut end = End::with(Side::Server, small.clone());
    end.get(ID, &[headers(&POST), headers(&with(&[], &[("x", &"v".repeat(280))]))].concat(), false);
    assert_eq!(end.cut(ID), (Some(h3::EXCESSIVE_LOAD), Some(h3::EXCESSIVE_LOAD)));
    let mut end = End::with(Side::Client, small);
    end.h3.request(&mut end.io, &GET, true).unwrap();
    // A giant length is refused before a byte of it has come.
    end.get(ID, &[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false);
    assert_eq!(end.events(), [H3Event::Reset { stream: ID, code: h3::EXCESSIVE_LOAD, by_peer: false }]);
    assert_eq!(end.code(), None);
}

/// CVE-2023-44487: open and reset; and the mirror image, messages made so that we reset.
#[test]
fn rapid_resets_end_the_connection() {
    let mut end = End::ready(Side::Server);
    let mut n = 0;
    while end.code().is_none() {
        end.get(request_stream(n), &headers(&GET), false);
        end.io.arrive_reset(request_stream(n), h3::REQUEST_CANCELLED);
        end.run();
        n += 1;
        assert!(n < 1100);
    }
    assert_eq!(end.code(), Some(h3::EXCESSIVE_LOAD));
    let mut end = End::ready(Side::Server);
    let mut n = 0;
    while end.code().is_none() {
        end.get(request_stream(n), &headers(&with(&GET, &[("Upper", "x")])), false);
        n += 1;
        assert!(n < 1100);
    }
    assert_eq!(end.code(), Some(h3::EXCESSIVE_LOAD));
    // Every complete message pays for one early end: this can go on for ever.
    let mut end = End::ready(Side::Server);
    for n in 0..3000 {
        end.get(request_stream(2 * n), &headers(&GET), true);
        end.get(request_stream(2 * n + 1), &headers(&GET), false);
        end.h3.respond(&mut end.io, request_stream(2 * n), &OK, true).unwrap();
        end.io.arrive_reset(request_stream(2 * n + 1), h3::REQUEST_CANCELLED);
        end.run();
        end.h3.reset(&mut end.io, request_stream(2 * n + 1), h3::REQUEST_CANCELLED).unwrap();
        end.run();
        end.events();
        end.io.streams.retain(|id, _| id.0 % 4 != 0);
    }
    assert_eq!((end.code(), end.h3.active_requests()), (None, 0));
}

#[test]
fn a_reset_after_the_message_changes_nothing() {
    let mut end = End::ready(Side::Client);
    end.h3.request(&mut end.io, &POST, false).unwrap();
    end.get(ID, &[headers(&OK), data(b"all")].concat(), true);
    assert_eq!(end.body(ID), (b"all".to_vec(), true));
    end.events();
    end.io.arrive_reset(ID, h3::NO_ERROR);
    end.run();
    assert_eq!((end.events(), end.code()), (vec![], None));
}

#[test]
fn a_closed_connection_says_so() {
    let (mut client, _) = pair();
    client.peer_control(&frame(0x04, &[]));
    assert_eq!(client.code(), Some(h3::FRAME_UNEXPECTED));
    assert_eq!(client.h3.request(&mut client.io, &GET, true), Err(H3Error::Closed));
    assert_eq!(client.h3.goaway(&mut client.io, false), Err(H3Error::Closed));
}

#[test]
fn blocked_responses_are_not_piled_up() {
    let (mut client, mut server) = pair_with(Http3Config::default(), Http3Config::default());
    client.h3.request(&mut client.io, &GET, true).unwrap();
    exchange(&mut client, &mut server);
    server.io.buffer = 4;
    let early = [Field::new(b":status", b"103"), Field::new(b"x-long", b"0123456789")];
    server.h3.respond(&mut server.io, ID, &early, false).unwrap();
    assert_eq!(server.h3.respond(&mut server.io, ID, &early, false), Err(H3Error::Blocked));
    exchange(&mut client, &mut server);
    assert!(server.events().contains(&H3Event::Writable { stream: ID }));
    server.h3.respond(&mut server.io, ID, &OK, true).unwrap();
    exchange(&mut client, &mut server);
    assert_eq!(client.events().len(), 2);
}
