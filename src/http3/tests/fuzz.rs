//! Arbitrary bytes never panic, never hang, and cutting input differently never changes what it means.
use super::mock::{End, GET, OK, POST, data, frame, headers, request_stream, varint, with};
use crate::base::Side;
use crate::http3::frame::HeaderReader;
use crate::http3::settings;
use crate::http3::{Field, H3Event};
use proptest::prelude::*;

/// Pieces that often make sense, so that arbitrary sequences reach deep.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let sections: Vec<Vec<u8>> = vec![
        headers(&GET),
        headers(&POST),
        headers(&OK),
        headers(&with(&POST, &[("content-length", "3")])),
        headers(&[Field::new(b"x-t", b"1")]),
        headers(&[Field::new(b":status", b"103")]),
        frame(0x01, &[0x02, 0x00, 0x80]),
    ];
    prop_oneof![
        4 => proptest::sample::select(sections),
        2 => any::<Vec<u8>>().prop_map(|b| data(&b)),
        1 => (0u64..16, any::<Vec<u8>>()).prop_map(|(t, b)| frame(t, &b)),
        1 => (any::<u32>(), any::<Vec<u8>>()).prop_map(|(t, b)| frame(u64::from(t), &b)),
        1 => any::<Vec<u8>>(),
        1 => Just(data(b"abc")),
    ]
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

/// All that came of a stream: events without the pacing ones, body bytes, end, fate.
fn play(side: Side, bytes: &[u8], piece: usize, fin: bool) -> (Vec<String>, Vec<u8>, bool, Option<u64>) {
    let mut end = End::ready(side);
    let id = request_stream(0);
    if side == Side::Client {
        end.h3.request(&mut end.io, &GET, true).unwrap();
    }
    let (mut told, mut body, mut complete) = (Vec::new(), Vec::new(), false);
    let parts: Vec<&[u8]> = bytes.chunks(piece.max(1)).collect();
    for n in 0..parts.len().max(1) {
        let last = n + 1 >= parts.len();
        end.get(id, parts.get(n).unwrap_or(&&[][..]), last && fin);
        let mut buf = [0; 97];
        while let Ok((n, done)) = end.h3.recv_body(&mut end.io, id, &mut buf) {
            body.extend_from_slice(&buf[..n]);
            complete |= done;
            if done {
                break;
            }
        }
        for event in end.events() {
            match event {
                H3Event::Headers { kind, fields, end, .. } => {
                    complete |= end;
                    told.push(format!("{kind:?} {fields:?}"));
                }
                H3Event::Reset { code, .. } => told.push(format!("reset {code:#x}")),
                _ => {}
            }
        }
    }
    (told, body, complete, end.code())
}

proptest! {
    #[test]
    fn request_streams(side in side(), pieces in proptest::collection::vec(piece(), 0..8), cut in 1usize..40, fin in any::<bool>()) {
        let bytes = pieces.concat();
        let whole = play(side, &bytes, usize::MAX, fin);
        let parts = play(side, &bytes, cut, fin);
        // A stream that ends in an error may give up sooner or later by a piece of body, never differently.
        prop_assert_eq!(&whole.0, &parts.0);
        prop_assert_eq!((whole.2, whole.3), (parts.2, parts.3));
        if whole.2 {
            prop_assert_eq!(whole.1, parts.1);
        }
    }

    #[test]
    fn unidirectional_streams(side in side(), kind in 0u64..5, pieces in proptest::collection::vec(piece(), 0..6), cut in 1usize..20) {
        let bytes = [varint(kind), frame(0x04, &[]), pieces.concat()].concat();
        let run = |cut: usize| {
            let mut end = End::new(side);
            for part in bytes.chunks(cut) {
                end.peer_stream(0, part, false);
            }
            (end.events().len(), end.code())
        };
        prop_assert_eq!(run(usize::MAX), run(cut));
    }

    #[test]
    fn settings_payloads(payload in any::<Vec<u8>>()) {
        let _ = settings::parse(&payload);
    }

    #[test]
    fn frame_headers(frame_type in 0u64..1 << 62, length in 0u64..1 << 62, cut in 1usize..17, tail in any::<Vec<u8>>()) {
        let mut bytes = varint(frame_type);
        bytes.extend(varint(length));
        let header = bytes.len();
        bytes.extend(&tail);
        let mut reader = HeaderReader::default();
        let mut used = 0;
        let mut found = None;
        while found.is_none() {
            let part = &bytes[used..bytes.len().min(used + cut)];
            let (n, frame) = reader.feed(part);
            used += n;
            found = frame;
        }
        prop_assert_eq!((used, found), (header, Some((frame_type, length))));
        prop_assert!(reader.is_idle());
    }

    #[test]
    fn priority_texts(text in any::<Vec<u8>>()) {
        prop_assert!(crate::http3::priority::parse(&text).urgency <= 7);
    }
}
