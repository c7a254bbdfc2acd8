//! Every frame round-trips, malformed ones give the error that section 19 asks for, nothing panics.
use core::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;
use crate::base::Level;
use crate::base::codes::transport::{FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION};
use crate::wire::varint;
use crate::wire::writer::{NoRoom, Writer};

fn number() -> impl Strategy<Value = u64> {
    (0..=varint::MAX, 0..62u32).prop_map(|(v, s)| v >> s)
}

fn id() -> impl Strategy<Value = StreamId> {
    number().prop_map(StreamId)
}

fn dir() -> impl Strategy<Value = Dir> {
    any::<bool>().prop_map(|b| if b { Dir::Bi } else { Dir::Uni })
}

static BYTES: [u8; 64] = [0x5a; 64];

fn data(min: usize) -> impl Strategy<Value = &'static [u8]> {
    (min..BYTES.len()).prop_map(|n| &BYTES[..n])
}

fn any_frame() -> impl Strategy<Value = Frame<'static>> {
    let cid = (1..=20usize, any::<[u8; 20]>()).prop_map(|(n, b)| ConnectionId::new(&b[..n]).unwrap());
    let a = prop_oneof![
        (1..40usize).prop_map(Frame::Padding),
        Just(Frame::Ping),
        (id(), number(), number()).prop_map(|(id, code, final_size)| Frame::ResetStream { id, code, final_size }),
        (id(), number()).prop_map(|(id, code)| Frame::StopSending { id, code }),
        (0..varint::MAX - 64, data(0)).prop_map(|(offset, data)| Frame::Crypto { offset, data }),
        data(1).prop_map(Frame::NewToken),
        (id(), 0..varint::MAX - 64, any::<bool>(), data(0)).prop_map(|(id, offset, fin, data)| Frame::Stream {
            id,
            offset,
            fin,
            data
        }),
        number().prop_map(Frame::MaxData),
        (id(), number()).prop_map(|(id, max)| Frame::MaxStreamData { id, max }),
        (dir(), 0..=1u64 << 60).prop_map(|(dir, max)| Frame::MaxStreams { dir, max }),
    ];
    let b = prop_oneof![
        number().prop_map(Frame::DataBlocked),
        (id(), number()).prop_map(|(id, limit)| Frame::StreamDataBlocked { id, limit }),
        (dir(), 0..=1u64 << 60).prop_map(|(dir, limit)| Frame::StreamsBlocked { dir, limit }),
        (number(), number(), cid, any::<[u8; 16]>()).prop_map(|(a, b, cid, t)| Frame::NewConnectionId {
            sequence: a.max(b),
            retire_prior_to: a.min(b),
            cid,
            token: ResetToken(t)
        }),
        number().prop_map(Frame::RetireConnectionId),
        any::<[u8; 8]>().prop_map(Frame::PathChallenge),
        any::<[u8; 8]>().prop_map(Frame::PathResponse),
        (number(), proptest::option::of(number()), data(0))
            .prop_map(|(code, frame_type, reason)| Frame::ConnectionClose { code, frame_type, reason }),
    ];
    let c = prop_oneof![
        Just(Frame::HandshakeDone),
        (number(), number(), number(), number()).prop_map(|(id, code, final_size, reliable_size)| {
            Frame::ResetStreamAt { id: StreamId(id), code, final_size, reliable_size }
        }),
        data(0).prop_map(Frame::Datagram),
        Just(Frame::ImmediateAck),
        (number(), number(), number(), number()).prop_map(|(sequence, threshold, max_ack_delay_us, r)| {
            Frame::AckFrequency { sequence, threshold, max_ack_delay_us, reordering_threshold: r }
        }),
    ];
    prop_oneof![a, b, c]
}

/// Descending ranges that do not touch.
fn any_ranges() -> impl Strategy<Value = Vec<RangeInclusive<u64>>> {
    (proptest::collection::vec((0..5000u64, 0..100u64), 1..90), 1u64 << 20..1 << 50).prop_map(|(steps, top)| {
        let mut next = top;
        let mut out = Vec::new();
        for (gap, len) in steps {
            let end = next - gap;
            out.push(end - len..=end);
            next = end - len - 2;
        }
        out
    })
}

fn error(bytes: &[u8]) -> (u64, u64) {
    let e = Frames::new(bytes).last().unwrap().unwrap_err();
    (e.code, e.frame_type)
}

fn one(bytes: &[u8]) -> Frame<'_> {
    let mut frames = Frames::new(bytes);
    let (_, frame) = frames.next().unwrap().unwrap();
    assert!(frames.next().is_none());
    frame
}

#[test]
fn malformed_frames() {
    for (bytes, ty) in [
        (&[0x02, 5, 0, 0, 6][..], types::ACK),   // first range below 0
        (&[0x02, 5, 0, 1, 0, 4, 0], types::ACK), // gap below 0
        (&[0x02, 5, 0, 1, 0, 3, 1], types::ACK), // range below 0
        (&[0x02, 5, 0, 2, 0, 0, 0], types::ACK), // fewer ranges than told
        (&[0x02, 5, 0, 0xff, 255, 255, 255, 255, 255, 255, 255, 0], types::ACK), // 2^62 ranges told
        (&[0x03, 5, 0, 0, 0, 1, 1], types::ACK_ECN), // ECN counts cut
        (&[0x04, 0, 0], types::RESET_STREAM),
        (&[0x06, 0, 2, 1], types::CRYPTO),
        (&[0x06, 0xff, 255, 255, 255, 255, 255, 255, 255, 1, 1], types::CRYPTO), // ends beyond 2^62 - 1
        (&[0x07, 0], types::NEW_TOKEN),                                          // empty
        (&[0x0e, 0, 0xff, 255, 255, 255, 255, 255, 255, 255, 1, 1], 0x0e),
        (&[0x12, 0xd0, 0, 0, 0, 0, 0, 0, 1], types::MAX_STREAMS_BIDI), // 2^60 + 1
        (&[0x17, 0xd0, 0, 0, 0, 0, 0, 0, 1], types::STREAMS_BLOCKED_UNI),
        (&[0x18, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], types::NEW_CONNECTION_ID), // no cid
        (&[0x18, 0, 1, 1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], types::NEW_CONNECTION_ID),
        (&[0x1a, 1, 2, 3, 4, 5, 6, 7], types::PATH_CHALLENGE),
        (&[0x1c, 0, 0, 5, b'x'], types::CONNECTION_CLOSE),
        (&[0x31, 5, 1], types::DATAGRAM_LEN),
        (&[0x20], 0x20),         // unknown
        (&[0x7f, 0xff], 0x3fff), // unknown
        (&[0x40, 0xaf, 1, 1, 1], types::ACK_FREQUENCY),
    ] {
        assert_eq!(error(bytes), (FRAME_ENCODING_ERROR, ty), "{bytes:02x?}");
    }
    assert_eq!(error(&[0x40]).0, FRAME_ENCODING_ERROR);
    // RFC 9000 section 12.4: PING in two bytes.
    assert_eq!(error(&[0x40, 0x01]), (PROTOCOL_VIOLATION, types::PING));
    let mut long_cid = vec![0x18, 0, 0, 21];
    long_cid.extend([1; 40]);
    assert_eq!(error(&long_cid), (FRAME_ENCODING_ERROR, types::NEW_CONNECTION_ID));
    // Nothing comes after an error.
    let mut frames = Frames::new(&[0x01, 0x20, 0x01]);
    assert!(frames.next().unwrap().is_ok() && frames.next().unwrap().is_err() && frames.next().is_none());
    assert!(Frames::new(&[]).next().is_none());
}

#[test]
fn stream_without_length_takes_the_rest() {
    let id = StreamId(4);
    assert_eq!(one(&[0x08, 4, 1, 2]), Frame::Stream { id, offset: 0, fin: false, data: &[1, 2] });
    assert_eq!(one(&[0x0d, 4, 9]), Frame::Stream { id, offset: 9, fin: true, data: &[] });
    assert_eq!(one(&[0x30, 7, 7]), Frame::Datagram(&[7, 7]));
    let mut buf = [0; 16];
    let mut w = Writer::new(&mut buf);
    write_stream_header(&mut w, id, 9, None, true).unwrap();
    assert_eq!(w.written(), [0x0d, 4, 9]);
}

#[test]
fn padding_runs_are_one_item() {
    let items: Vec<_> = Frames::new(&[0, 0, 0, 1, 0]).map(|f| f.unwrap().1).collect();
    assert_eq!(items, [Frame::Padding(3), Frame::Ping, Frame::Padding(1)]);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-19.21
//= type=test
//# Extension frames MUST be congestion controlled and MUST cause an ACK frame to be sent.
#[test]
fn table_of_rfc9000_section_12_4() {
    use types::*;
    let everywhere = [PADDING, PING, CONNECTION_CLOSE];
    let not_zero_rtt = [ACK, ACK_ECN, CRYPTO];
    let one_rtt = [NEW_TOKEN, HANDSHAKE_DONE, PATH_RESPONSE, RETIRE_CONNECTION_ID, ACK_FREQUENCY, IMMEDIATE_ACK];
    for ty in 0..=0x200u64 {
        let levels = [Level::Initial, Level::ZeroRtt, Level::Handshake, Level::OneRtt].map(|l| permitted(ty, l));
        let expected = if everywhere.contains(&ty) {
            [true; 4]
        } else if not_zero_rtt.contains(&ty) {
            [true, false, true, true]
        } else if one_rtt.contains(&ty) {
            [false, false, false, true]
        } else if ty < 0x1f || ty == DATAGRAM || ty == DATAGRAM_LEN || ty == RESET_STREAM_AT {
            [false, true, false, true]
        } else {
            [false; 4]
        };
        assert_eq!(levels, expected, "{ty:#x}");
    }
    for ty in [PADDING, ACK, ACK_ECN, CONNECTION_CLOSE, APPLICATION_CLOSE] {
        assert!(!is_ack_eliciting(ty));
    }
    assert!([PING, CRYPTO, STREAM, DATAGRAM, PATH_RESPONSE, HANDSHAKE_DONE].into_iter().all(is_ack_eliciting));
    assert!([PADDING, PATH_CHALLENGE, PATH_RESPONSE, NEW_CONNECTION_ID].into_iter().all(is_probing));
    assert!(![PING, ACK, STREAM, RETIRE_CONNECTION_ID].into_iter().any(is_probing));
}

#[test]
fn ack_too_large_for_the_packet() {
    let mut buf = [0; 4];
    let mut w = Writer::new(&mut buf);
    assert_eq!(write_ack(&mut w, [0..=0], 0, None), Err(NoRoom));
    assert_eq!(w.position(), 0);
    let mut buf = [0; 7];
    let mut w = Writer::new(&mut buf);
    let ecn = EcnCounts { ect0: 1, ect1: 2, ce: 3 };
    assert_eq!(write_ack(&mut w, [0..=0], 0, Some(ecn)), Err(NoRoom));
    assert_eq!(write_ack(&mut w, [9..=9, 5..=7, 3..=3], 0, None), Ok(2));
    assert_eq!(w.written(), [2, 9, 0, 1, 0, 0, 2]);
    assert_eq!(write_ack(&mut w, [], 0, None), Err(NoRoom));
}

proptest! {
    //= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
    //= type=test
    //# To ensure simple and efficient implementations of frame parsing, a frame type MUST use the shortest possible
    //# encoding.
    #[test]
    fn round_trip(frames in proptest::collection::vec(any_frame(), 1..8)) {
        let mut buf = [0; 2048];
        let mut w = Writer::new(&mut buf);
        let mut expected = Vec::new();
        for f in frames {
            let before = w.position();
            f.write(&mut w).unwrap();
            prop_assert_eq!(w.position() - before, f.encoded_len());
            match (expected.last_mut(), f) {
                // Neighbouring PADDING is read as one run.
                (Some(Frame::Padding(n)), Frame::Padding(m)) => *n += m,
                _ => expected.push(f),
            }
        }
        let got: Vec<_> = Frames::new(w.written()).map(|f| f.unwrap()).collect();
        for (ty, f) in &got {
            prop_assert_eq!(*ty, f.type_id());
        }
        prop_assert_eq!(got.into_iter().map(|(_, f)| f).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_room_changes_nothing(f in any_frame(), room in 0..100usize) {
        let mut buf = [0; 100];
        let room = room % f.encoded_len();
        let mut w = Writer::new(&mut buf[..room]);
        prop_assert_eq!(f.write(&mut w), Err(NoRoom));
        prop_assert_eq!(w.position(), 0);
    }

    #[test]
    fn ack_round_trip(ranges in any_ranges(), delay in number(), with_ecn: bool, room in 30..600usize) {
        let ecn = with_ecn.then_some(EcnCounts { ect0: 70, ect1: 0, ce: 20_000 });
        let mut buf = vec![0; room];
        let mut w = Writer::new(&mut buf);
        let n = write_ack(&mut w, ranges.iter().cloned(), delay, ecn).unwrap();
        prop_assert!((1..=MAX_ACK_RANGES).contains(&n));
        let bytes = w.written().to_vec();
        let Frame::Ack(ack) = one(&bytes) else { panic!("not an ACK") };
        prop_assert_eq!((ack.largest, ack.delay, ack.ecn), (*ranges[0].end(), delay, ecn));
        prop_assert_eq!(ack.range_count(), n as u64);
        prop_assert_eq!(ack.ranges().collect::<Vec<_>>(), &ranges[..n]);
        // Writing the parsed frame gives the same bytes.
        let mut again = vec![0; bytes.len()];
        let mut w = Writer::new(&mut again);
        Frame::Ack(ack).write(&mut w).unwrap();
        prop_assert_eq!(w.written(), &bytes[..]);
        prop_assert_eq!(Frame::Ack(ack).encoded_len(), bytes.len());
        if n < ranges.len().min(MAX_ACK_RANGES) {
            // It stopped for lack of room only: 20 bytes are more than any range takes.
            prop_assert!(room - bytes.len() < 20);
        }
    }

    #[test]
    fn arbitrary_payload_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut items = 0usize;
        for item in Frames::new(&bytes) {
            items += 1;
            if let Ok((_, Frame::Ack(ack))) = item {
                prop_assert_eq!(ack.ranges().count() as u64, ack.range_count());
            }
        }
        prop_assert!(items <= bytes.len());
    }

    #[test]
    fn every_type_with_arbitrary_body(ty in 0u8..0x40, bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut payload = vec![ty];
        payload.extend(&bytes);
        if let Some(Ok((got, frame))) = Frames::new(&payload).next() {
            prop_assert_eq!(got, u64::from(ty));
            let mut buf = [0; 256];
            prop_assert!(frame.write(&mut Writer::new(&mut buf)).is_ok());
        }
    }
}
