//! Unidirectional streams, SETTINGS, GOAWAY, push IDs, PRIORITY_UPDATE.
use super::mock::{End, GET, NOW, OK, exchange, frame, headers, pair, pair_with, request_stream, varint};
use crate::base::codes::{h3, qpack};
use crate::base::{Dir, Side, StreamId};
use crate::http3::{H3Error, H3Event, Http3Config};
use crate::streams::StreamEvent;

fn both() -> [Side; 2] {
    [Side::Client, Side::Server]
}

#[test]
fn settings_come_first_and_tell_our_limits() {
    let config = Http3Config {
        max_field_section_size: 5000,
        qpack_table_capacity: 256,
        qpack_blocked_streams: 7,
        extended_connect: true,
        grease: false,
        ..Http3Config::default()
    };
    let end = End::with(Side::Server, config);
    let expected = [&[0x00, 0x04, 10, 0x06, 0x53, 0x88, 0x01, 0x41, 0x00, 0x07, 0x07, 0x08, 0x01][..]].concat();
    assert_eq!(end.wrote(StreamId(3)), expected);
    assert_eq!((end.wrote(StreamId(7)), end.wrote(StreamId(11))), (&[0x02][..], &[0x03][..]));
    // A client does not announce extended CONNECT.
    let end = End::with(Side::Client, Http3Config { extended_connect: true, grease: false, ..Http3Config::default() });
    assert!(!end.wrote(StreamId(2)).ends_with(&[0x08, 0x01]));
}

#[test]
fn critical_streams_wait_for_credit() {
    let mut end = End::new(Side::Client);
    let mut late = End { h3: crate::http3::Http3::new(Side::Client, Http3Config::default()), ..End::new(Side::Client) };
    late.io = super::mock::Mock::new(Side::Client);
    late.io.allowed[1] = 1;
    late.h3.on_connected(&mut late.io, NOW);
    assert_eq!(late.io.streams.len(), 1);
    late.io.allowed[1] = 3;
    late.io.events.push_back(StreamEvent::Available { dir: Dir::Uni });
    late.run();
    assert_eq!(late.io.streams.len(), 3);
    // Starting twice changes nothing.
    end.h3.on_connected(&mut end.io, NOW);
    assert_eq!((end.io.streams.len(), end.wrote(StreamId(2))), (3, late.wrote(StreamId(2))));
}

#[test]
fn settings_are_read() {
    let mut end = End::new(Side::Client);
    let mut payload = [0x06, 0x40, 0x64, 0x08, 0x01, 0x33, 0x01].to_vec();
    payload.extend(varint(0x1f * 5 + 0x21));
    payload.extend(varint((1 << 62) - 1));
    end.peer_control(&frame(0x04, &payload));
    let told = H3Event::Settings { max_field_section_size: 100, extended_connect: true, h3_datagram: true };
    assert_eq!(end.events(), [told]);
    assert_eq!(end.h3.peer_settings().max_field_section_size, 100);
    // Requests above the peer's limit are not sent.
    let big = super::mock::with(&GET, &[("x", "0123456789012345678901234567890123456789")]);
    assert_eq!(end.h3.request(&mut end.io, &big, true), Err(H3Error::FieldsTooLarge));
}

#[test]
fn settings_errors() {
    let code = |payload: &[u8]| {
        let mut end = End::new(Side::Server);
        end.peer_control(&frame(0x04, payload));
        end.code()
    };
    for id in [0x00, 0x02, 0x03, 0x04, 0x05] {
        assert_eq!(code(&[id, 0x00]), Some(h3::SETTINGS_ERROR), "HTTP/2 setting {id}");
    }
    // The same twice: known, unknown, apart from each other.
    assert_eq!(code(&[0x01, 0x00, 0x01, 0x00]), Some(h3::SETTINGS_ERROR));
    assert_eq!(code(&[0x21, 0x00, 0x06, 0x05, 0x21, 0x01]), Some(h3::SETTINGS_ERROR));
    assert_eq!(code(&[0x08, 0x02]), Some(h3::SETTINGS_ERROR));
    assert_eq!(code(&[0x33, 0x02]), Some(h3::SETTINGS_ERROR));
    assert_eq!(code(&[0x06]), Some(h3::FRAME_ERROR));
    assert_eq!(code(&[0x06, 0x40]), Some(h3::FRAME_ERROR));
    assert_eq!(code(&[]), None);
    // Too long to be honest: refused from the length alone.
    let mut end = End::new(Side::Server);
    end.peer_control(&[0x04, 0x44, 0x01]);
    assert_eq!(end.code(), Some(h3::EXCESSIVE_LOAD));
}

#[test]
fn unidirectional_streams() {
    for side in both() {
        // A second critical stream of each type.
        for kind in [0x00, 0x02, 0x03] {
            let mut end = End::ready(side);
            end.peer_stream(1, &[0x02], false);
            end.peer_stream(2, &[0x03], false);
            assert_eq!(end.code(), None);
            end.peer_stream(3, &[kind], false);
            assert_eq!(end.code(), Some(h3::STREAM_CREATION_ERROR));
        }
        // The end of one, clean or not.
        for (n, kind) in [(1, 0x00), (2, 0x02), (3, 0x03)] {
            let mut end = End::new(side);
            end.peer_stream(n, &[kind, 0x04, 0x00][..if kind == 0 { 3 } else { 1 }], true);
            assert_eq!(end.code(), Some(h3::CLOSED_CRITICAL_STREAM));
            let mut end = End::new(side);
            end.peer_stream(n, &[kind], false);
            let id = StreamId::new(side.peer(), Dir::Uni, n);
            end.io.arrive_reset(id, 0);
            end.run();
            assert_eq!(end.code(), Some(h3::CLOSED_CRITICAL_STREAM));
        }
        // Ours stopped by the peer.
        for n in 0..3 {
            let mut end = End::ready(side);
            end.io.arrive_stop(StreamId::new(side, Dir::Uni, n), 0);
            end.run();
            assert_eq!(end.code(), Some(h3::CLOSED_CRITICAL_STREAM));
        }
        // Ended before the type was known: tolerated (section 6.2).
        let mut end = End::ready(side);
        end.peer_stream(1, &[], true);
        end.peer_stream(2, &[0x40], true);
        end.peer_stream(3, &[0xc0, 0, 0], false);
        end.io.arrive_reset(StreamId::new(side.peer(), Dir::Uni, 3), 5);
        end.run();
        // Unknown and reserved types: stopped, no error; one in pieces.
        end.peer_stream(4, &[0x21, 1, 2, 3], false);
        end.peer_stream(5, &[0x80, 0, 1], false);
        end.peer_stream(5, &[0, 9, 9], false);
        let stopped = |n| end.io.streams[&StreamId::new(side.peer(), Dir::Uni, n)].stopped;
        assert_eq!((stopped(4), stopped(5)), (Some(h3::STREAM_CREATION_ERROR), Some(h3::STREAM_CREATION_ERROR)));
        assert_eq!(end.code(), None);
    }
}

#[test]
fn streams_without_type_are_bounded() {
    let mut end = End::ready(Side::Server);
    for n in 1..=1000 {
        end.peer_stream(n, &[0x40], false);
    }
    let stopped = end.io.streams.values().filter(|s| s.stopped.is_some()).count();
    assert_eq!((end.code(), stopped), (None, 984));
}

#[test]
fn pushes_are_refused() {
    let mut end = End::ready(Side::Client);
    end.peer_stream(1, &[0x01, 0x00], false);
    assert_eq!(end.code(), Some(h3::ID_ERROR));
    let mut end = End::ready(Side::Server);
    end.peer_stream(1, &[0x01, 0x00], false);
    assert_eq!(end.code(), Some(h3::STREAM_CREATION_ERROR));
    // MAX_PUSH_ID may grow, not shrink.
    let mut end = End::ready(Side::Server);
    end.peer_control(&[0x0d, 0x01, 0x05, 0x0d, 0x01, 0x05, 0x0d, 0x01, 0x06]);
    assert_eq!(end.code(), None);
    end.peer_control(&[0x0d, 0x01, 0x04]);
    assert_eq!(end.code(), Some(h3::ID_ERROR));
}

#[test]
fn request_streams_of_a_server_are_refused() {
    let mut end = End::ready(Side::Client);
    end.get(StreamId::new(Side::Server, Dir::Bi, 0), &headers(&GET), false);
    assert_eq!(end.code(), Some(h3::STREAM_CREATION_ERROR));
}

#[test]
fn one_integer_frames_have_its_length() {
    for t in [0x07, 0x0d] {
        for payload in [vec![], vec![0x00, 0x00], vec![0x40], vec![0x00; 9]] {
            let mut end = End::ready(Side::Server);
            end.peer_control(&frame(t, &payload));
            assert_eq!(end.code(), Some(h3::FRAME_ERROR), "{t:#x} {payload:?}");
        }
    }
}

#[test]
fn frames_on_the_control_stream_may_be_cut_anywhere() {
    let mut bytes = vec![0x00];
    bytes.extend(frame(0x04, &[0x06, 0x40, 0x64]));
    bytes.extend(frame(0x21, b"skip me"));
    bytes.extend(frame(0x07, &varint(4)));
    for piece in 1..bytes.len() {
        let mut end = End::new(Side::Client);
        for part in bytes.chunks(piece) {
            end.peer_stream(0, part, false);
        }
        let [H3Event::Settings { max_field_section_size: 100, .. }, H3Event::Goaway { id: 4 }] = end.events()[..]
        else {
            panic!("in pieces of {piece}")
        };
    }
}

#[test]
fn goaway_of_a_server() {
    let (mut client, mut server) = pair();
    for n in 0..3 {
        assert_eq!(client.h3.request(&mut client.io, &GET, true), Ok(request_stream(n)));
    }
    exchange(&mut client, &mut server);
    server.events();
    // Announced: nothing is cut, new requests are refused at the client.
    server.h3.goaway(&mut server.io, true).unwrap();
    exchange(&mut client, &mut server);
    assert_eq!(client.events(), [H3Event::Goaway { id: (1 << 62) - 4 }]);
    assert_eq!(client.h3.request(&mut client.io, &GET, true), Err(H3Error::GoingAway));
    // Final: everything below 12 is still answered; saying it again sends nothing.
    server.h3.goaway(&mut server.io, false).unwrap();
    let said = server.wrote(StreamId(3)).len();
    server.h3.goaway(&mut server.io, false).unwrap();
    server.h3.goaway(&mut server.io, true).unwrap();
    assert_eq!(server.wrote(StreamId(3)).len(), said);
    exchange(&mut client, &mut server);
    assert_eq!(client.events(), [H3Event::Goaway { id: 12 }]);
    for n in 0..3 {
        server.h3.respond(&mut server.io, request_stream(n), &OK, true).unwrap();
    }
    assert!(!client.h3.is_drained());
    exchange(&mut client, &mut server);
    assert_eq!(client.events().len(), 3);
    assert!(client.h3.is_drained() && server.h3.is_drained());
    // A request that was on its way all the same is rejected.
    server.get(request_stream(3), &headers(&GET), true);
    assert_eq!(server.cut(request_stream(3)), (Some(h3::REQUEST_REJECTED), Some(h3::REQUEST_REJECTED)));
    assert_eq!((server.events().len(), server.code()), (0, None));
}

#[test]
fn goaway_at_a_client() {
    let mut end = End::ready(Side::Client);
    for _ in 0..3 {
        end.h3.request(&mut end.io, &GET, true).unwrap();
    }
    end.peer_control(&frame(0x07, &varint(4)));
    let rejected = |n| H3Event::Reset { stream: request_stream(n), code: h3::REQUEST_REJECTED, by_peer: true };
    assert_eq!(end.events(), [H3Event::Goaway { id: 4 }, rejected(1), rejected(2)]);
    assert_eq!(end.cut(request_stream(0)), (None, None));
    assert_eq!(end.cut(request_stream(1)), (Some(h3::REQUEST_CANCELLED), Some(h3::REQUEST_CANCELLED)));
    // The same again is fine, a larger one is not, nor one that names no request.
    end.peer_control(&frame(0x07, &varint(4)));
    assert_eq!(end.code(), None);
    end.peer_control(&frame(0x07, &varint(8)));
    assert_eq!(end.code(), Some(h3::ID_ERROR));
    for id in [1, 2, 3, 5] {
        let mut end = End::ready(Side::Client);
        end.peer_control(&frame(0x07, &varint(id)));
        assert_eq!(end.code(), Some(h3::ID_ERROR));
    }
}

#[test]
fn goaway_of_a_client() {
    let (mut client, mut server) = pair();
    client.h3.goaway(&mut client.io, false).unwrap();
    exchange(&mut client, &mut server);
    assert_eq!(server.events(), [H3Event::Goaway { id: 0 }]);
    assert_eq!(client.h3.request(&mut client.io, &GET, true), Err(H3Error::GoingAway));
    // Any push ID, never larger than before.
    let mut end = End::ready(Side::Server);
    end.peer_control(&frame(0x07, &varint(7)));
    end.peer_control(&frame(0x07, &varint(5)));
    assert_eq!(end.code(), None);
    end.peer_control(&frame(0x07, &varint(6)));
    assert_eq!(end.code(), Some(h3::ID_ERROR));
}

#[test]
fn priorities() {
    let update = |id: u64, text: &str| frame(0xf0700, &[varint(id), text.as_bytes().to_vec()].concat());
    let mut end = End::ready(Side::Server);
    // Before the request, the header field then does not count.
    end.peer_control(&update(0, "u=1, i"));
    end.get(request_stream(0), &headers(&super::mock::with(&GET, &[("priority", "u=6")])), true);
    assert_eq!(end.io.streams[&request_stream(0)].priority, Some((1, true)));
    end.get(request_stream(1), &headers(&super::mock::with(&GET, &[("priority", "u=6")])), true);
    assert_eq!(end.io.streams[&request_stream(1)].priority, Some((6, false)));
    end.events();
    // While it is answered.
    end.peer_control(&update(4, "u=0"));
    assert_eq!(end.events(), [H3Event::Priority { stream: request_stream(1), urgency: 0, incremental: false }]);
    assert_eq!(end.io.streams[&request_stream(1)].priority, Some((0, false)));
    // A flood for requests to come is bounded; then something that is no request, then one beyond every limit.
    for n in 2..500 {
        end.peer_control(&update(n * 4, "u=2"));
    }
    assert_eq!(end.code(), None);
    let mut other = End::ready(Side::Server);
    other.peer_control(&update(2, "u=2"));
    assert_eq!(other.code(), Some(h3::ID_ERROR));
    end.peer_control(&update(1 << 40, "u=2"));
    assert_eq!(end.code(), Some(h3::ID_ERROR));
    let mut end = End::ready(Side::Server);
    end.peer_control(&frame(0xf0700, &[]));
    assert_eq!(end.code(), Some(h3::FRAME_ERROR));
    let mut end = End::ready(Side::Server);
    end.peer_control(&frame(0xf0700, &[b'x'; 2000]));
    assert_eq!(end.code(), Some(h3::EXCESSIVE_LOAD));
}

#[test]
fn qpack_streams() {
    let with = |n: u64, bytes: &[u8]| {
        let mut end = End::ready(Side::Server);
        end.peer_stream(n, bytes, false);
        end.code()
    };
    // Capacity 10,000,000,000 (h3spec), and the largest that we announced.
    assert_eq!(with(1, &[0x02, 0x3f, 0xe1, 0xc7, 0xaf, 0xa0, 0x25]), Some(qpack::ENCODER_STREAM_ERROR));
    assert_eq!(with(1, &[0x02, 0x3f, 0xe1, 0x1f]), None);
    assert_eq!(with(1, &[0x03, 0x00]), Some(qpack::DECODER_STREAM_ERROR));
    assert_eq!(with(1, &[0x03, 0x80]), Some(qpack::DECODER_STREAM_ERROR));
    assert_eq!(with(1, &[0x03, 0x40]), None);
}

/// gtlsserver's case: the response, end included, comes before the entries that it refers to, and the transport is
/// done with the stream before HTTP/3 is.
#[test]
fn a_blocked_response_is_told_before_its_stream_is_over() {
    let mut end = End::ready(Side::Client);
    let id = end.h3.request(&mut end.io, &GET, true).unwrap();
    // :status 200 from the static table, a field from the dynamic one.
    end.get(id, &frame(0x01, &[0x02, 0x00, 0xd9, 0x80]), true);
    end.h3.on_stream_event(&mut end.io, &StreamEvent::Closed { id }, NOW);
    assert_eq!(end.events_and_closings(), (vec![], vec![]));
    end.peer_stream(1, &[0x02, 0x3f, 0xe1, 0x1f, 0xc2, 0x02, b'4', b'2'], false); // age: 42
    let (events, closings) = end.events_and_closings();
    let [H3Event::Headers { fields, end: true, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((fields.value(b":status"), fields.value(b"age")), (Some(&b"200"[..]), Some(&b"42"[..])));
    assert_eq!(closings, [id]);
}

#[test]
fn a_blocked_section_waits_for_its_entries() {
    let mut end = End::ready(Side::Server);
    let id = request_stream(0);
    // GET https example.org, the path from the dynamic table, then a body and the end.
    let mut section = vec![0x02, 0x00, 0xd1, 0xd7, 0x50, 0x03, b'a', b'.', b'b', 0x80];
    let bytes = [frame(0x01, &section), frame(0x00, b"body")].concat();
    end.get(id, &bytes, true);
    assert_eq!(end.events(), []);
    // The encoder stream in two pieces: capacity 4096, :path /late.
    end.peer_stream(1, &[0x02, 0x3f, 0xe1, 0x1f, 0xc1, 0x05, b'/', b'l'], false);
    assert_eq!(end.events(), []);
    end.peer_stream(1, b"ate", false);
    let [H3Event::Headers { fields, end: false, .. }, H3Event::Data { .. }] = &end.events()[..] else { panic!() };
    assert_eq!(fields.value(b":path"), Some(&b"/late"[..]));
    // Acknowledged on our decoder stream.
    assert_eq!(end.wrote(StreamId(11)), [0x03, 0x80]);
    assert_eq!(end.body(id), (b"body".to_vec(), true));
    // The announced number of blocked streams, and one more.
    section[0] = 0x03;
    for n in 1..=16 {
        end.get(request_stream(n), &frame(0x01, &section), false);
    }
    assert_eq!(end.code(), None);
    // One is reset: it counts no more and is cancelled.
    end.io.arrive_reset(request_stream(16), h3::REQUEST_CANCELLED);
    end.run();
    assert!(end.wrote(StreamId(11)).ends_with(&[0x7f, 0x01]));
    end.get(request_stream(17), &frame(0x01, &section), true);
    assert_eq!(end.code(), None);
    end.get(request_stream(18), &frame(0x01, &section), true);
    assert_eq!(end.code(), Some(qpack::DECOMPRESSION_FAILED));
}

#[test]
fn blocked_bytes_are_bounded() {
    let mut end = End::ready(Side::Server);
    let mut section = vec![0x02, 0x00];
    section.resize(30_000, 0xd1);
    for n in 0..3 {
        end.get(request_stream(n), &frame(0x01, &section), false);
    }
    assert_eq!(end.code(), Some(h3::EXCESSIVE_LOAD));
}

#[test]
fn concurrent_requests_are_bounded() {
    let small = Http3Config { max_concurrent: 2, ..Http3Config::default() };
    let (mut client, mut server) = pair_with(Http3Config::default(), small);
    for _ in 0..3 {
        client.h3.request(&mut client.io, &GET, true).unwrap();
    }
    exchange(&mut client, &mut server);
    assert_eq!(server.events().len(), 2);
    let rejected = H3Event::Reset { stream: request_stream(2), code: h3::REQUEST_REJECTED, by_peer: true };
    assert!(client.events().contains(&rejected));
}
