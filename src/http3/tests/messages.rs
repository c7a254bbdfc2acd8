//! Requests and responses between two ends.
use super::mock::{
    End, GET, OK, POST, data, exchange, frame, headers, headers_event, pair, pair_with, request_stream, with,
};
use crate::base::codes::h3;
use crate::base::{Side, StreamId};
use crate::http3::{Field, H3Error, H3Event, Http3Config, SectionKind};

const ID: StreamId = request_stream_0();

const fn request_stream_0() -> StreamId {
    StreamId(0)
}

#[test]
fn get() {
    let (mut client, mut server) = pair();
    assert_eq!(client.h3.request(&mut client.io, &GET, true), Ok(ID));
    exchange(&mut client, &mut server);
    assert_eq!(server.events(), [headers_event(ID, SectionKind::Request, &GET, true)]);
    let fields = with(&OK, &[("content-length", "5")]);
    server.h3.respond(&mut server.io, ID, &fields, false).unwrap();
    assert_eq!(server.h3.send_body(&mut server.io, ID, b"hello", true), Ok(5));
    exchange(&mut client, &mut server);
    let data = H3Event::Data { stream: ID };
    assert_eq!(client.events(), [headers_event(ID, SectionKind::Response, &fields, false), data]);
    assert_eq!(client.body(ID), (b"hello".to_vec(), true));
    assert_eq!((client.h3.active_requests(), server.h3.active_requests()), (0, 0));
    assert_eq!(client.h3.recv_body(&mut client.io, ID, &mut [0; 8]), Err(H3Error::UnknownStream));
}

#[test]
fn post_with_trailers_both_ways() {
    let (mut client, mut server) = pair();
    let sum = [Field::new(b"x-sum", b"1234"), Field::new(b"x-more", b"")];
    client.h3.request(&mut client.io, &POST, false).unwrap();
    let body = vec![b'a'; 100_000];
    assert_eq!(client.h3.send_body(&mut client.io, ID, &body, false), Ok(body.len()));
    client.h3.trailers(&mut client.io, ID, &sum).unwrap();
    assert_eq!(client.h3.send_body(&mut client.io, ID, b"late", false), Err(H3Error::WrongState));
    assert_eq!(client.h3.trailers(&mut client.io, ID, &sum), Err(H3Error::WrongState));
    exchange(&mut client, &mut server);
    assert_eq!(server.events().len(), 2);
    assert_eq!(server.body(ID), (body, true));
    assert_eq!(server.events(), [headers_event(ID, SectionKind::Trailers, &sum, true)]);
    server.h3.respond(&mut server.io, ID, &OK, false).unwrap();
    server.h3.trailers(&mut server.io, ID, &sum).unwrap();
    exchange(&mut client, &mut server);
    let told =
        [headers_event(ID, SectionKind::Response, &OK, false), headers_event(ID, SectionKind::Trailers, &sum, true)];
    assert_eq!(client.events(), told);
    assert_eq!(client.h3.active_requests(), 0);
}

#[test]
fn interim_responses() {
    let (mut client, mut server) = pair();
    client.h3.request(&mut client.io, &GET, true).unwrap();
    exchange(&mut client, &mut server);
    let early = [Field::new(b":status", b"103"), Field::new(b"link", b"</a.css>; rel=preload")];
    for _ in 0..2 {
        server.h3.respond(&mut server.io, ID, &early, false).unwrap();
    }
    assert!(matches!(server.h3.respond(&mut server.io, ID, &early, true), Err(H3Error::Malformed(_))));
    assert_eq!(server.h3.send_body(&mut server.io, ID, b"x", false), Err(H3Error::WrongState));
    server.h3.respond(&mut server.io, ID, &OK, true).unwrap();
    assert_eq!(server.h3.respond(&mut server.io, ID, &OK, true), Err(H3Error::WrongState));
    exchange(&mut client, &mut server);
    let interim = headers_event(ID, SectionKind::Informational, &early, false);
    let interim_too = headers_event(ID, SectionKind::Informational, &early, false);
    assert_eq!(client.events(), [interim, interim_too, headers_event(ID, SectionKind::Response, &OK, true)]);
    // A flood of them ends the stream, and only it.
    let mut end = End::ready(Side::Client);
    end.h3.request(&mut end.io, &GET, true).unwrap();
    for _ in 0..17 {
        end.get(ID, &headers(&early), false);
    }
    let told = end.events();
    assert_eq!(told.len(), 17);
    assert_eq!(told[16], H3Event::Reset { stream: ID, code: h3::EXCESSIVE_LOAD, by_peer: false });
    assert_eq!(end.code(), None);
}

#[test]
fn a_hundred_at_once_in_mixed_order() {
    let (mut client, mut server) = pair();
    for n in 0..100 {
        let path = format!("/{n}");
        let fields = with(&GET[..3], &[(":path", &path)]);
        assert_eq!(client.h3.request(&mut client.io, &fields, true), Ok(request_stream(n)));
    }
    exchange(&mut client, &mut server);
    let mut asked = Vec::new();
    for event in server.events() {
        let H3Event::Headers { stream, fields, end: true, .. } = event else { panic!() };
        asked.push((stream, fields.value(b":path").unwrap().to_vec()));
        server.h3.recycle(fields);
    }
    assert_eq!(asked.len(), 100);
    for (stream, path) in asked.iter().rev() {
        server.h3.respond(&mut server.io, *stream, &OK, false).unwrap();
        server.h3.send_body(&mut server.io, *stream, path, true).unwrap();
    }
    exchange(&mut client, &mut server);
    client.events();
    for (stream, path) in &asked {
        assert_eq!(client.body(*stream), (path.clone(), true));
    }
    assert_eq!((client.h3.active_requests(), server.h3.active_requests()), (0, 0));
}

#[test]
fn messages_may_be_cut_anywhere() {
    let body = b"0123456789abcdef";
    let trailers = [Field::new(b"x-t", b"v")];
    let bytes = [
        frame(0x21, b"before"),
        headers(&with(&POST, &[("content-length", "16")])),
        frame(0x21, b""),
        data(&body[..5]),
        data(b""),
        frame(0x40, b"between"),
        data(&body[5..]),
        headers(&trailers),
        frame(0x21, b"after"),
    ]
    .concat();
    for piece in 1..=bytes.len() {
        for own_fin in [false, true] {
            let mut end = End::ready(Side::Server);
            let mut all = Vec::new();
            let mut told = Vec::new();
            let parts: Vec<&[u8]> = bytes.chunks(piece).collect();
            for (n, part) in parts.iter().enumerate() {
                end.get(ID, part, n + 1 == parts.len() && !own_fin);
                let new = end.events();
                if new.contains(&H3Event::Data { stream: ID }) {
                    all.extend(end.body(ID).0);
                }
                told.extend(new);
                told.extend(end.events());
            }
            if own_fin {
                end.get(ID, &[], true);
                told.extend(end.events());
            }
            if end.h3.active_requests() > 0 {
                assert_eq!(end.body(ID), (vec![], true), "pieces of {piece}");
            }
            assert_eq!(all, body, "pieces of {piece}");
            let kinds: Vec<SectionKind> = told
                .iter()
                .filter_map(|e| if let H3Event::Headers { kind, .. } = e { Some(*kind) } else { None })
                .collect();
            assert_eq!(kinds, [SectionKind::Request, SectionKind::Trailers]);
            assert_eq!(end.code(), None);
        }
    }
}

#[test]
fn bodies_as_chunks() {
    let (mut client, mut server) = pair();
    client.h3.request(&mut client.io, &POST, false).unwrap();
    let body: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
    let chunk = crate::collections::Chunk::from_vec(body.clone());
    assert_eq!(client.h3.send_body_chunk(&mut client.io, ID, chunk, true), Ok(body.len()));
    // One frame header for the whole write.
    let sent = client.wrote(ID);
    assert_eq!(sent.len(), headers_len(&POST) + 5 + body.len());
    server.io.piece = 7_000;
    exchange(&mut client, &mut server);
    let mut all = Vec::new();
    loop {
        let (part, end) = server.h3.recv_body_chunk(&mut server.io, ID, 3_000).unwrap();
        assert!(part.len() <= 3_000 && (end || !part.is_empty()));
        all.extend(part.to_vec().unwrap());
        if end {
            break;
        }
    }
    assert_eq!(all, body);
}

fn headers_len(fields: &[Field<'_>]) -> usize {
    let mut out = Vec::new();
    crate::qpack::Encoder::new(true).encode(fields, &mut out);
    frame(0x01, &out).len()
}

#[test]
fn connect_is_a_tunnel() {
    let connect = [Field::new(b":method", b"CONNECT"), Field::new(b":authority", b"example.org:443")];
    let (mut client, mut server) = pair();
    client.h3.request(&mut client.io, &connect, false).unwrap();
    client.h3.send_body(&mut client.io, ID, b"ping", false).unwrap();
    assert_eq!(client.h3.trailers(&mut client.io, ID, &[]), Err(H3Error::WrongState));
    exchange(&mut client, &mut server);
    server.h3.respond(&mut server.io, ID, &with(&OK, &[("content-length", "3")]), false).unwrap();
    server.h3.send_body(&mut server.io, ID, b"pong pong", false).unwrap();
    assert_eq!(server.h3.trailers(&mut server.io, ID, &[]), Err(H3Error::WrongState));
    assert_eq!(server.body(ID), (b"ping".to_vec(), false));
    exchange(&mut client, &mut server);
    client.events();
    assert_eq!(client.body(ID), (b"pong pong".to_vec(), false));
    // Trailers in a tunnel.
    server.io.arrive(ID, &headers(&[]), false);
    server.run();
    assert_eq!(server.code(), Some(h3::FRAME_UNEXPECTED));
    // A refused CONNECT is an ordinary response.
    let (mut client, mut server) = pair();
    client.h3.request(&mut client.io, &connect, false).unwrap();
    exchange(&mut client, &mut server);
    server.h3.respond(&mut server.io, ID, &[Field::new(b":status", b"502")], false).unwrap();
    server.h3.trailers(&mut server.io, ID, &[]).unwrap();
    exchange(&mut client, &mut server);
    assert_eq!((client.code(), client.events().len()), (None, 2));
}

#[test]
fn extended_connect() {
    let fields = with(&[Field::new(b":method", b"CONNECT"), GET[1], GET[2], GET[3]], &[(":protocol", "websocket")]);
    let (mut client, _) = pair();
    assert!(matches!(client.h3.request(&mut client.io, &fields, false), Err(H3Error::Malformed(_))));
    let config = Http3Config { extended_connect: true, ..Http3Config::default() };
    let (mut client, mut server) = pair_with(Http3Config::default(), config);
    client.h3.request(&mut client.io, &fields, false).unwrap();
    exchange(&mut client, &mut server);
    assert_eq!(server.events(), [headers_event(ID, SectionKind::Request, &fields, false)]);
    // A server that did not announce it.
    let mut end = End::ready(Side::Server);
    end.get(ID, &headers(&fields), false);
    assert_eq!(end.cut(ID), (Some(h3::MESSAGE_ERROR), Some(h3::MESSAGE_ERROR)));
}

#[test]
fn requests_wait_for_stream_credit() {
    let (mut client, _) = pair();
    client.io.allowed[0] = 1;
    client.h3.request(&mut client.io, &GET, true).unwrap();
    assert_eq!(client.h3.request(&mut client.io, &GET, true), Err(H3Error::TooManyRequests));
    let event = crate::streams::StreamEvent::Available { dir: crate::base::Dir::Bi };
    client.io.events.push_back(event);
    client.io.events.push_back(event);
    client.run();
    assert_eq!(client.events(), [H3Event::RequestsAvailable]);
}

#[test]
fn verbs_know_their_side_and_streams() {
    let (mut client, mut server) = pair();
    assert_eq!(server.h3.request(&mut server.io, &GET, true), Err(H3Error::WrongState));
    client.h3.request(&mut client.io, &GET, true).unwrap();
    assert_eq!(client.h3.respond(&mut client.io, ID, &OK, true), Err(H3Error::UnknownStream));
    assert_eq!(server.h3.respond(&mut server.io, StreamId(40), &OK, true), Err(H3Error::UnknownStream));
    assert_eq!(server.h3.send_body(&mut server.io, StreamId(40), b"", true), Err(H3Error::UnknownStream));
    assert_eq!(server.h3.reset(&mut server.io, StreamId(40), 0), Err(H3Error::UnknownStream));
}

#[test]
fn a_warm_connection_keeps_its_lists() {
    let (mut client, mut server) = pair();
    for n in 0..300 {
        let id = client.h3.request(&mut client.io, &GET, true).unwrap();
        assert_eq!(id, request_stream(n));
        exchange(&mut client, &mut server);
        let mut told = server.events();
        let Some(H3Event::Headers { fields, .. }) = told.pop() else { panic!() };
        let held = fields.capacity();
        assert!(n < 2 || held > 0);
        server.h3.recycle(fields);
        server.h3.respond(&mut server.io, id, &OK, true).unwrap();
        exchange(&mut client, &mut server);
        assert_eq!(client.events().len(), 1);
    }
    assert_eq!((client.h3.active_requests(), server.h3.active_requests()), (0, 0));
}
