//! Which frame may come where: the whole matrix of type, stream, role and phase (RFC 9114 section 7).
use super::mock::{End, GET, OK, data, frame, headers, request_stream, varint};
use crate::base::Side;
use crate::base::codes::h3;
use crate::http3::H3Event;

/// What the matrix says.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Is {
    Fine,
    Error(u64),
}
use Is::{Error, Fine};

const UNEXPECTED: Is = Error(h3::FRAME_UNEXPECTED);
const ID: Is = Error(h3::ID_ERROR);
const MISSING: Is = Error(h3::MISSING_SETTINGS);

/// Every frame type with a payload that is valid for it.
fn frames() -> Vec<(u64, Vec<u8>)> {
    let section = headers(&[]);
    vec![
        (0x00, b"x".to_vec()),
        (0x01, section[2..].to_vec()),
        (0x02, vec![0; 5]),
        (0x03, varint(0)),
        (0x04, vec![]),
        (0x05, [varint(0), vec![0, 0]].concat()),
        (0x06, vec![0; 8]),
        (0x07, varint(0)),
        (0x08, vec![0; 4]),
        (0x09, vec![]),
        (0x0d, varint(7)),
        (0xf0700, [varint(0), b"u=1".to_vec()].concat()),
        (0xf0701, [varint(0), b"u=1".to_vec()].concat()),
        (0x21, b"grease".to_vec()),
        (0x40, vec![]),
        (0x1f * 1_000_000 + 0x21, vec![1; 300]),
    ]
}

#[test]
fn control_stream() {
    let row = |side: Side, started: bool, frame_type: u64| match (frame_type, side) {
        (0x04, _) if !started => Fine,
        _ if !started => MISSING,
        (0x07 | 0x21 | 0x40, _) => Fine,
        (0x0d | 0xf0700, Side::Server) => Fine,
        (0x03, _) | (0xf0701, Side::Server) => ID,
        (t, _) if t > 0xf0701 => Fine,
        _ => UNEXPECTED,
    };
    for side in [Side::Client, Side::Server] {
        for started in [false, true] {
            for (t, payload) in frames() {
                let mut end = if started { End::ready(side) } else { End::new(side) };
                end.peer_control(&frame(t, &payload));
                let code = end.code().map_or(Fine, Error);
                assert_eq!(code, row(side, started, t), "{side:?}, started {started}, type {t:#x}");
            }
        }
    }
}

/// A request stream in one of its phases, as its receiver sees it.
fn in_phase(side: Side, phase: usize) -> End {
    let mut end = End::ready(side);
    let id = request_stream(0);
    if side == Side::Client {
        assert_eq!(end.h3.request(&mut end.io, &GET, true), Ok(id));
    }
    let fields = if side == Side::Client { OK.as_slice() } else { GET.as_slice() };
    for part in [headers(fields), headers(&[])].iter().take(phase) {
        end.get(id, part, false);
    }
    end.events();
    assert_eq!(end.code(), None);
    end
}

#[test]
fn request_stream_in_every_phase() {
    let row = |side: Side, phase: usize, frame_type: u64| match frame_type {
        0x00 if phase == 1 => Fine,
        0x01 if phase < 2 => Fine,
        0x05 if side == Side::Client => ID,
        0x21 | 0x40 => Fine,
        t if t > 0xf0701 => Fine,
        _ => UNEXPECTED,
    };
    for side in [Side::Client, Side::Server] {
        for phase in 0..3 {
            for (t, payload) in frames() {
                let mut end = in_phase(side, phase);
                end.get(request_stream(0), &frame(t, &payload), false);
                let code = end.code().map_or(Fine, Error);
                assert_eq!(code, row(side, phase, t), "{side:?}, phase {phase}, type {t:#x}");
            }
        }
    }
}

/// The type decides before the length does: an empty CANCEL_PUSH is still unexpected (h3spec).
#[test]
fn type_is_judged_before_payload() {
    let mut end = End::ready(Side::Server);
    end.get(request_stream(0), &[0x03, 0x00], false);
    assert_eq!(end.code(), Some(h3::FRAME_UNEXPECTED));
    let mut end = End::ready(Side::Server);
    end.get(request_stream(0), &[0x00, 0x00], false);
    assert_eq!(end.code(), Some(h3::FRAME_UNEXPECTED));
}

/// An interim response does not allow a body yet.
#[test]
fn data_after_an_interim_response() {
    let mut end = in_phase(Side::Client, 0);
    let early = [crate::http3::Field::new(b":status", b"103")];
    end.get(request_stream(0), &[headers(&early), data(b"x")].concat(), false);
    assert_eq!(end.code(), Some(h3::FRAME_UNEXPECTED));
}

/// After an error nothing more is looked at, whatever follows in the same bytes.
#[test]
fn nothing_after_an_error() {
    let mut end = End::ready(Side::Server);
    end.get(request_stream(0), &[data(b"x"), headers(&GET)].concat(), true);
    end.get(request_stream(1), &headers(&GET), true);
    end.peer_control(&frame(0x0d, &varint(1)));
    assert_eq!(end.code(), Some(h3::FRAME_UNEXPECTED));
    assert_eq!(end.events(), []);
}

#[test]
fn giant_unknown_frames_are_skipped_as_they_come() {
    let mut end = End::ready(Side::Server);
    let id = request_stream(0);
    let mut bytes = varint(0x21);
    bytes.extend(varint((1 << 62) - 1));
    end.get(id, &bytes, false);
    for _ in 0..100 {
        end.get(id, &[0; 10_000], false);
    }
    assert_eq!((end.code(), end.events().len()), (None, 0));
    // The end inside a frame is an error of the connection (section 7.1).
    end.get(id, &[], true);
    assert_eq!(end.code(), Some(h3::FRAME_ERROR));
}

#[test]
fn a_stream_may_not_end_inside_a_frame() {
    let whole = [headers(&GET), data(b"0123456789")].concat();
    for cut in 1..whole.len() {
        let mut end = End::ready(Side::Server);
        let id = request_stream(0);
        end.get(id, &whole[..cut], true);
        let told = end.events();
        if cut == headers(&GET).len() {
            assert!(matches!(told.as_slice(), [H3Event::Headers { end: true, .. }]));
            assert_eq!(end.code(), None);
            continue;
        }
        if cut > headers(&GET).len() && end.code().is_none() {
            let mut buf = [0; 20];
            while end.h3.recv_body(&mut end.io, id, &mut buf).is_ok() {}
        }
        assert_eq!(end.code(), Some(h3::FRAME_ERROR), "cut at {cut}");
    }
}
