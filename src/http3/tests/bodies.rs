//! Content-length against what comes, messages without a body, and writes that the stream cuts short.
use super::mock::{End, GET, OK, POST, data, exchange, frame, headers, pair, request_stream, with};
use crate::base::codes::h3;
use crate::base::{Side, StreamId};
use crate::collections::Chunk;
use crate::http3::{Field, H3Error, H3Event};

const ID: StreamId = StreamId(0);

/// Every way a message can end, with `n` bytes of body.
fn shapes(n: usize) -> Vec<(Vec<Vec<u8>>, &'static str)> {
    let body = vec![b'x'; n];
    let (a, b) = body.split_at(n / 2);
    let trailers = headers(&[Field::new(b"x-t", b"1")]);
    vec![
        (vec![data(&body)], "end with the DATA frame"),
        (vec![data(&body), vec![]], "end alone"),
        (vec![[data(a), data(b)].concat()], "two frames"),
        (vec![data(a), data(b), vec![]], "two frames apart, end alone"),
        (vec![[data(&body), data(b"")].concat()], "an empty frame last"),
        (vec![[data(&body), trailers.clone()].concat()], "trailers"),
        (vec![data(&body), trailers.clone(), vec![]], "trailers, end alone"),
        (vec![[data(&body), frame(0x21, b"grease")].concat()], "an unknown frame last"),
        (vec![[data(&body), trailers, frame(0x21, b"grease")].concat(), vec![]], "all of it"),
    ]
}

/// Codes with which the stream was reset and stopped.
type Cut = (Option<u64>, Option<u64>);

/// Lets a message come in; gives whether the application was told that it is complete.
fn outcome(side: Side, first: &[u8], parts: &[Vec<u8>]) -> (bool, Option<Cut>) {
    let mut end = End::ready(side);
    if side == Side::Client {
        end.h3.request(&mut end.io, &GET, true).unwrap();
    }
    end.get(ID, first, parts.is_empty());
    let mut complete = false;
    for (n, part) in parts.iter().enumerate() {
        end.get(ID, part, n + 1 == parts.len());
        let mut buf = [0; 64];
        while let Ok((_, done)) = end.h3.recv_body(&mut end.io, ID, &mut buf) {
            if done {
                complete = true;
                break;
            }
        }
    }
    complete |= end.events().iter().any(|e| matches!(e, H3Event::Headers { end: true, .. }));
    assert_eq!(end.code(), None);
    (complete, end.io.streams.get(&ID).map(|s| (s.out_reset, s.stopped)))
}

#[test]
fn content_length_must_be_the_body() {
    for side in [Side::Client, Side::Server] {
        let base = if side == Side::Client { OK.to_vec() } else { POST.to_vec() };
        for (parts, shape) in shapes(10) {
            for (length, good) in [("10", true), ("010", true), ("9", false), ("11", false), ("0", false)] {
                let first = headers(&with(&base, &[("content-length", length)]));
                let (complete, cut) = outcome(side, &first, &parts);
                assert_eq!(complete, good, "{side:?}: {shape}, content-length {length}");
                let (reset, stopped) = cut.unwrap();
                let code = if good { None } else { Some(h3::MESSAGE_ERROR) };
                if side == Side::Server {
                    assert_eq!(reset, code, "{shape}, content-length {length}");
                }
                assert!(good || stopped.is_none() || stopped == code);
            }
            let (complete, _) = outcome(side, &headers(&base), &parts);
            assert!(complete, "{shape}, no content-length");
        }
        // No body at all.
        let (complete, _) = outcome(side, &headers(&with(&base, &[("content-length", "5")])), &[]);
        assert!(!complete);
        let (complete, _) = outcome(side, &headers(&with(&base, &[("content-length", "0")])), &[]);
        assert!(complete);
    }
}

#[test]
fn bad_content_lengths() {
    for bad in ["", "+5", "-5", "5,5", "5 5", "0x5", "5.0", "18446744073709551616", "99999999999999999999999"] {
        let (complete, cut) = outcome(Side::Server, &headers(&with(&POST, &[("content-length", bad)])), &[]);
        assert!(!complete);
        assert_eq!(cut, Some((Some(h3::MESSAGE_ERROR), None)), "{bad:?}");
    }
    for twice in [["5", "5"], ["5", "6"]] {
        let fields = with(&POST, &[("content-length", twice[0]), ("content-length", twice[1])]);
        let (complete, _) = outcome(Side::Server, &headers(&fields), &[data(b"12345")]);
        assert!(!complete);
    }
}

/// The application never gets a byte more than was announced, and hears of the error where it reads.
#[test]
fn an_error_inside_a_body_reaches_its_reader() {
    let mut end = End::ready(Side::Server);
    let bytes = [headers(&with(&POST, &[("content-length", "5")])), data(b"123"), data(b"456")].concat();
    end.get(ID, &bytes, true);
    assert_eq!(end.events().len(), 2);
    let mut buf = [0; 10];
    assert_eq!(end.h3.recv_body(&mut end.io, ID, &mut buf[..3]), Ok((3, false)));
    assert_eq!(end.h3.recv_body(&mut end.io, ID, &mut buf), Err(H3Error::Reset(h3::MESSAGE_ERROR)));
    assert_eq!(end.events(), [H3Event::Reset { stream: ID, code: h3::MESSAGE_ERROR, by_peer: false }]);
    assert_eq!((end.cut(ID).0, end.code()), (Some(h3::MESSAGE_ERROR), None));
}

#[test]
fn responses_without_a_body() {
    let response = |method: &[u8], status: &str, parts: &[Vec<u8>]| {
        let mut end = End::ready(Side::Client);
        let request = [Field::new(b":method", method), GET[1], GET[2], GET[3]];
        end.h3.request(&mut end.io, &request, true).unwrap();
        end.get(ID, &headers(&with(&[Field::new(b":status", status.as_bytes())], &[("content-length", "10")])), false);
        for part in parts {
            end.get(ID, part, false);
        }
        end.get(ID, &[], true);
        let malformed = H3Event::Reset { stream: ID, code: h3::MESSAGE_ERROR, by_peer: false };
        !end.events().contains(&malformed)
    };
    for (method, status) in [(b"HEAD".as_slice(), "200"), (b"GET", "204"), (b"GET", "304")] {
        assert!(response(method, status, &[]));
        assert!(response(method, status, &[data(b"")]));
        assert!(!response(method, status, &[data(b"0123456789")]));
    }
    // The same length is missed where a body belongs.
    assert!(!response(b"GET", "200", &[]));
}

#[test]
fn our_own_bodies_are_held_to_their_length() {
    let (mut client, mut server) = pair();
    let five = with(&POST, &[("content-length", "5")]);
    assert_eq!(client.h3.request(&mut client.io, &five, true), Err(H3Error::BodyLength));
    let id = client.h3.request(&mut client.io, &five, false).unwrap();
    assert_eq!(client.h3.send_body(&mut client.io, id, b"123456", false), Err(H3Error::BodyLength));
    assert_eq!(client.h3.send_body(&mut client.io, id, b"123", true), Err(H3Error::BodyLength));
    assert_eq!(client.h3.send_body(&mut client.io, id, b"123", false), Ok(3));
    assert_eq!(client.h3.trailers(&mut client.io, id, &[]), Err(H3Error::BodyLength));
    assert_eq!(client.h3.send_body(&mut client.io, id, b"", true), Err(H3Error::BodyLength));
    assert_eq!(client.h3.send_body(&mut client.io, id, b"45", true), Ok(2));
    let head = [Field::new(b":method", b"HEAD"), GET[1], GET[2], GET[3]];
    let head = client.h3.request(&mut client.io, &head, true).unwrap();
    exchange(&mut client, &mut server);
    // A response to HEAD tells a length and has no body.
    let ok = with(&OK, &[("content-length", "5")]);
    assert_eq!(server.h3.respond(&mut server.io, id, &ok, true), Err(H3Error::BodyLength));
    server.h3.respond(&mut server.io, head, &ok, false).unwrap();
    assert_eq!(server.h3.send_body(&mut server.io, head, b"12345", true), Err(H3Error::BodyLength));
    assert_eq!(server.h3.send_body(&mut server.io, head, b"", true), Ok(0));
    server.h3.respond(&mut server.io, id, &[Field::new(b":status", b"204")], false).unwrap();
    assert_eq!(server.h3.send_body(&mut server.io, id, b"x", true), Err(H3Error::BodyLength));
}

#[test]
fn streams_hear_how_much_follows_a_section() {
    let (mut client, mut server) = pair();
    let get = client.h3.request(&mut client.io, &GET, true).unwrap();
    let post = client.h3.request(&mut client.io, &with(&POST, &[("content-length", "70")]), false).unwrap();
    let open = client.h3.request(&mut client.io, &POST, false).unwrap();
    let told = |end: &End, id| end.io.expected.iter().filter(|(at, _)| *at == id).map(|(_, n)| *n).collect::<Vec<_>>();
    assert_eq!(told(&client, get), [0]);
    assert_eq!(told(&client, post), [70 + 1 + 2], "with the header of a DATA frame");
    assert_eq!(told(&client, open), [usize::MAX]);
    exchange(&mut client, &mut server);
    server.h3.respond(&mut server.io, get, &[Field::new(b":status", b"103")], false).unwrap();
    server.h3.respond(&mut server.io, get, &with(&OK, &[("content-length", "5")]), false).unwrap();
    assert_eq!(told(&server, get), [usize::MAX, 5 + 1 + 1], "a response follows the interim one");
    server.h3.respond(&mut server.io, post, &OK, true).unwrap();
    assert_eq!(told(&server, post), [0]);
}

/// Streams of every buffer size, from less than a frame header on; bytes and chunks.
#[test]
fn writes_may_be_cut_anywhere() {
    let body: Vec<u8> = (0..5_000u32).map(|n| (n * 7) as u8).collect();
    for buffer in [1, 2, 3, 4, 5, 7, 64, 1030, 4_999, 5_003, 9_000] {
        for as_chunk in [false, true] {
            let (mut client, mut server) = pair();
            client.io.buffer = buffer;
            client.h3.request(&mut client.io, &POST, false).unwrap();
            let (mut sent, mut got, mut ended) = (0, Vec::new(), false);
            let mut rounds = 0;
            while !ended {
                rounds += 1;
                assert!(rounds < 20_000, "no progress with {buffer}");
                while sent < body.len() {
                    let outcome = if as_chunk {
                        let chunk = Chunk::copy_from(&body[sent..]);
                        client.h3.send_body_chunk(&mut client.io, ID, chunk, true)
                    } else {
                        client.h3.send_body(&mut client.io, ID, &body[sent..], true)
                    };
                    match outcome {
                        Ok(n) => sent += n,
                        Err(H3Error::Blocked) => break,
                        Err(e) => panic!("{e}"),
                    }
                }
                let owed = sent < body.len();
                exchange(&mut client, &mut server);
                let told = client.events();
                assert_eq!(told.contains(&H3Event::Writable { stream: ID }), owed, "with {buffer}");
                if server.events().contains(&H3Event::Data { stream: ID }) {
                    let (part, end) = server.body(ID);
                    got.extend(part);
                    ended = end;
                }
            }
            assert!(got == body, "with {buffer}");
            assert_eq!(server.code(), None);
        }
    }
}

/// Two halves of one frame from two writes of different kinds and sizes never disturb the framing.
#[test]
fn uneven_writes_after_a_cut_one() {
    let (mut client, mut server) = pair();
    client.io.buffer = 3_000;
    client.h3.request(&mut client.io, &POST, false).unwrap();
    let mut all = Vec::new();
    for n in 0..200usize {
        let part = vec![n as u8; (n * 37) % 4_000];
        let mut at = 0;
        while at < part.len() {
            match client.h3.send_body(&mut client.io, ID, &part[at..], false) {
                Ok(n) => at += n,
                Err(H3Error::Blocked) => exchange(&mut client, &mut server),
                Err(e) => panic!("{e}"),
            }
        }
        all.extend(part);
    }
    client.h3.send_body(&mut client.io, ID, b"", true).unwrap_or_else(|e| {
        assert_eq!(e, H3Error::Blocked);
        0
    });
    exchange(&mut client, &mut server);
    if client.io.streams.get(&ID).is_some_and(|s| !s.out_fin) {
        client.h3.send_body(&mut client.io, ID, b"", true).unwrap();
    }
    exchange(&mut client, &mut server);
    let (got, end) = server.body(request_stream(0));
    assert!(end && got == all);
}
