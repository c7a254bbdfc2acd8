//! Streams and flow control (RFC 9000 sections 2 to 4, 19.4, 19.5, 19.8 to 19.14): cases 1, 2, 16, 17, 19 to 24.
use whimbrel::base::codes::transport::*;
use whimbrel::base::{Dir, Level, StreamId};
use whimbrel::wire::Frame;

use super::peer::{Got, Peer, frames, stream, varint};
use super::world::{ORDERS, Setup, V1, attack, client_with, connected_with, injected};

const EXACT: [u64; 2] = [PROTOCOL_VIOLATION, INTERNAL_ERROR];

fn exact(code: u64) -> Vec<u64> {
    [&[code][..], &EXACT].concat()
}

fn id(n: u64) -> StreamId {
    StreamId(n)
}

/// Case 1: FLOW_CONTROL_ERROR. Trap A: nothing may name stream 0 before CONNECTION_CLOSE.
#[test]
fn case_01_stream_beyond_flow_control_section_4_1() {
    let frame = stream(0, 100_000_000, b"7 bytes", true);
    injected("4.1", &frame, &exact(FLOW_CONTROL_ERROR), 0x0f);
    for order in ORDERS {
        let peer = attack(V1, order, |p| p.packet(Level::OneRtt, &frame));
        let close = peer.log.iter().position(|g| matches!(g, Got::Close(_))).unwrap();
        let names_0 = |g: &Got| {
            matches!(
                g,
                Got::Reset { id: 0, .. }
                    | Got::Stop { id: 0, .. }
                    | Got::Stream { id: 0, .. }
                    | Got::MaxStreamData { id: 0 }
            )
        };
        assert!(!peer.log[..close].iter().any(names_0), "{order:?}: {:?}", peer.log);
    }
}

/// Case 2: STREAM_LIMIT_ERROR.
#[test]
fn case_02_stream_id_beyond_the_limit_section_4_6() {
    injected("4.6", &stream(1_000_000_000, 0, b"7 bytes", true), &exact(STREAM_LIMIT_ERROR), 0x0b);
}

/// Case 16: STREAM_STATE_ERROR.
#[test]
fn case_16_reset_stream_for_a_send_only_stream_section_19_4() {
    let frame = frames(&[Frame::ResetStream { id: id(3), code: 0, final_size: 0 }]);
    injected("19.4", &frame, &exact(STREAM_STATE_ERROR), 0x04);
}

/// Case 17: STREAM_STATE_ERROR.
#[test]
fn case_17_stop_sending_for_a_stream_that_does_not_exist_section_19_5() {
    let frame = frames(&[Frame::StopSending { id: id(101), code: 0 }]);
    injected("19.5", &frame, &exact(STREAM_STATE_ERROR), 0x05);
}

/// Case 19, trap F: STREAM_STATE_ERROR for an empty frame as well.
#[test]
fn case_19_empty_stream_frame_for_a_stream_of_ours_not_yet_open_section_19_8() {
    injected("19.8", &stream(1, 0, b"", false), &exact(STREAM_STATE_ERROR), 0x0a);
}

/// Case 20, trap F.
#[test]
fn case_20_empty_stream_frame_for_a_send_only_stream_section_19_8() {
    injected("19.8", &stream(3, 0, b"", false), &exact(STREAM_STATE_ERROR), 0x0a);
}

/// Case 21.
#[test]
fn case_21_max_stream_data_for_a_stream_that_does_not_exist_section_19_10() {
    let frame = frames(&[Frame::MaxStreamData { id: id(101), max: 1_000_000 }]);
    injected("19.10", &frame, &exact(STREAM_STATE_ERROR), 0x11);
}

/// Case 22.
#[test]
fn case_22_max_stream_data_for_a_receive_only_stream_section_19_10() {
    let frame = frames(&[Frame::MaxStreamData { id: id(2), max: 1_000_000 }]);
    injected("19.10", &frame, &exact(STREAM_STATE_ERROR), 0x11);
}

/// Case 23: FRAME_ENCODING_ERROR; also for unidirectional streams.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.11
//= type=test
//# Receipt of a frame that permits opening of a stream larger than this limit MUST be treated as a connection error of
//# type FRAME_ENCODING_ERROR.
#[test]
fn case_23_max_streams_above_2_60_section_19_11() {
    for (dir, ty) in [(Dir::Bi, 0x12), (Dir::Uni, 0x13)] {
        let frame = frames(&[Frame::MaxStreams { dir, max: (1 << 60) + 1 }]);
        injected("19.11", &frame, &exact(FRAME_ENCODING_ERROR), ty);
    }
}

/// Case 24: FRAME_ENCODING_ERROR or STREAM_LIMIT_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.14
//= type=test
//# Receipt of a frame that encodes a larger stream ID MUST be treated as a connection error of type STREAM_LIMIT_ERROR
//# or FRAME_ENCODING_ERROR.
#[test]
fn case_24_streams_blocked_above_2_60_section_19_14() {
    for (dir, ty) in [(Dir::Bi, 0x16), (Dir::Uni, 0x17)] {
        let frame = frames(&[Frame::StreamsBlocked { dir, limit: (1 << 60) + 1 }]);
        let codes = [FRAME_ENCODING_ERROR, STREAM_LIMIT_ERROR, PROTOCOL_VIOLATION, INTERNAL_ERROR];
        injected("19.14", &frame, &codes, ty);
    }
}

/// Frames one after another, each in a packet of its own, on a raw connection; the last one is the error.
#[track_caller]
fn sequence(section: &str, packets: &[Vec<u8>], code: u64, frame_type: u64) -> Peer {
    let (mut world, mut peer) = connected_with(Setup { http3: false, ..Default::default() }, V1);
    for (i, payload) in packets.iter().enumerate() {
        peer.expect_open(&format!("{section}, before packet {i}"));
        world.frames(&mut peer, Level::OneRtt, payload);
    }
    peer.expect_close(section, &[code], frame_type);
    peer
}

/// RFC 9000 section 4.5: the final size of a stream never changes.
#[test]
fn final_size_violations_section_4_5() {
    let reset = |final_size| frames(&[Frame::ResetStream { id: id(0), code: 9, final_size }]);
    let cases: [(&[Vec<u8>], u64); 8] = [
        // Data beyond the end.
        (&[stream(0, 0, b"abc", true), stream(0, 3, b"d", false)], 0x0e),
        // Another end, higher and lower.
        (&[stream(0, 0, b"abc", true), stream(0, 0, b"abcd", true)], 0x0b),
        (&[stream(0, 0, b"abc", true), stream(0, 0, b"ab", true)], 0x0b),
        // An end below what came.
        (&[stream(0, 10, b"abc", false), stream(0, 5, b"", true)], 0x0f),
        // RESET_STREAM against FIN and data.
        (&[stream(0, 0, b"abc", true), reset(4)], 0x04),
        (&[stream(0, 10, b"abc", false), reset(12)], 0x04),
        (&[reset(5), reset(6)], 0x04),
        (&[reset(5), stream(0, 4, b"ab", false)], 0x0e),
    ];
    for (i, (packets, frame_type)) in cases.iter().enumerate() {
        sequence(&format!("4.5, number {i}"), packets, FINAL_SIZE_ERROR, *frame_type);
    }
}

/// RFC 9000 section 4.1: stream and connection limits, also by RESET_STREAM and by an end without data.
//= https://www.rfc-editor.org/rfc/rfc9000#section-4.1
//= type=test
//# A receiver MUST close the connection with an error of type FLOW_CONTROL_ERROR if the sender violates the advertised
//# connection or stream data limits; see Section 11 for details on error handling.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.8
//= type=test
//# Receipt of a frame that exceeds this limit MUST be treated as a connection error of type FRAME_ENCODING_ERROR or
//# FLOW_CONTROL_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.9
//= type=test
//# The sum of the final sizes on all streams -- including streams in terminal states -- MUST NOT exceed the value
//# advertised by a receiver.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.9
//= type=test
//# An endpoint MUST terminate a connection with an error of type FLOW_CONTROL_ERROR if it receives more data than the
//# maximum data value that it has sent.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.10
//= type=test
//# An endpoint MUST terminate a connection with an error of type FLOW_CONTROL_ERROR if it receives more data than the
//# largest maximum stream data that it has sent for the affected stream.
#[test]
fn flow_control_violations_section_4_1() {
    let defaults = Setup::default().config.flow;
    let stream_window = defaults.stream_window;
    let reset = |final_size| frames(&[Frame::ResetStream { id: id(0), code: 9, final_size }]);
    // Exactly at the limit is allowed.
    sequence("4.1", &[stream(0, stream_window - 1, b"x", false), stream(0, stream_window, b"y", false)], 3, 0x0e);
    sequence("4.1", &[stream(0, stream_window, b"", false), stream(0, stream_window + 1, b"", true)], 3, 0x0f);
    sequence("4.1", &[reset(stream_window + 1)], FLOW_CONTROL_ERROR, 0x04);
    // Three streams at their limits are more than the connection's window.
    assert!(defaults.connection_window < 3 * stream_window);
    let full = |n: u64| stream(n * 4, stream_window - 1, b"x", false);
    sequence("4.1", &[full(0), full(1), full(2)], FLOW_CONTROL_ERROR, 0x0e);
    let last = frames(&[Frame::ResetStream { id: id(8), code: 9, final_size: stream_window }]);
    sequence("4.1", &[full(0), full(1), last], FLOW_CONTROL_ERROR, 0x04);
    // The largest offset there is.
    sequence("19.8", &[stream(0, (1 << 62) - 2, b"x", false)], FLOW_CONTROL_ERROR, 0x0e);
    let mut over = varint(0x0e);
    over.extend([varint(0), varint((1 << 62) - 1), varint(1), vec![7]].concat());
    let (mut world, mut peer) = connected_with(Setup::default(), V1);
    world.frames(&mut peer, Level::OneRtt, &over);
    peer.expect_close("19.8", &[FRAME_ENCODING_ERROR, FLOW_CONTROL_ERROR], 0x0e);
}

/// RFC 9000 section 4.6: every frame that names a stream opens it, and is bound by the limit.
//= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
//= type=test
//# An endpoint that receives a frame with a stream ID exceeding the limit it has sent MUST treat this as a connection
//# error of type STREAM_LIMIT_ERROR; see Section 11 for details on error handling.
//= https://www.rfc-editor.org/rfc/rfc9000#section-19.11
//= type=test
//# An endpoint MUST terminate a connection with an error of type STREAM_LIMIT_ERROR if a peer opens more streams than
//# was permitted.
#[test]
fn stream_limits_section_4_6() {
    let bidi = Setup::default().config.max_streams_bidi;
    let uni = Setup::default().config.max_streams_uni;
    let over = |dir_bit: u64, limit: u64| id(limit * 4 + dir_bit);
    let last = stream(over(0, bidi - 1).0, 0, b"x", false);
    sequence("4.6", &[last, stream(over(0, bidi).0, 0, b"x", false)], STREAM_LIMIT_ERROR, 0x0a);
    sequence("4.6", &[stream(over(2, uni).0, 0, b"", false)], STREAM_LIMIT_ERROR, 0x0a);
    let code = STREAM_LIMIT_ERROR;
    sequence("4.6", &[frames(&[Frame::StopSending { id: over(0, bidi), code: 0 }])], code, 0x05);
    sequence("4.6", &[frames(&[Frame::MaxStreamData { id: over(0, bidi), max: 1 }])], code, 0x11);
    sequence("4.6", &[frames(&[Frame::StreamDataBlocked { id: over(2, uni), limit: 1 }])], code, 0x15);
    let reset = Frame::ResetStream { id: over(2, uni), code: 0, final_size: 0 };
    sequence("4.6", &[frames(&[reset])], code, 0x04);
}

/// RFC 9000 sections 19.4, 19.5, 19.10, 19.13: every frame against every kind of stream that it cannot mean.
#[test]
fn stream_state_violations_sections_19_4_to_19_13() {
    let state = STREAM_STATE_ERROR;
    // Server-initiated, not open: bidirectional 1, unidirectional 3.
    for n in [1, 101] {
        sequence("19.4", &[frames(&[Frame::ResetStream { id: id(n), code: 0, final_size: 0 }])], state, 0x04);
        sequence("19.5", &[frames(&[Frame::StopSending { id: id(n), code: 0 }])], state, 0x05);
        sequence("19.8", &[stream(n, 5, b"x", true)], state, 0x0f);
        sequence("19.10", &[frames(&[Frame::MaxStreamData { id: id(n), max: 5 }])], state, 0x11);
        sequence("19.13", &[frames(&[Frame::StreamDataBlocked { id: id(n), limit: 5 }])], state, 0x15);
    }
    sequence("19.5", &[frames(&[Frame::StopSending { id: id(3), code: 0 }])], state, 0x05);
    sequence("19.10", &[frames(&[Frame::MaxStreamData { id: id(3), max: 5 }])], state, 0x11);
    sequence("19.13", &[frames(&[Frame::StreamDataBlocked { id: id(3), limit: 5 }])], state, 0x15);
    // Receive-only for us: client's unidirectional.
    sequence("19.5", &[frames(&[Frame::StopSending { id: id(2), code: 0 }])], state, 0x05);
}

/// Frames that are odd but allowed.
#[test]
fn nothing_wrong() {
    let (mut world, mut peer) = connected_with(Setup { http3: false, ..Default::default() }, V1);
    let last = (1u64 << 62) - 1;
    let odd = [
        stream(0, 0, b"", false),
        stream(0, 0, b"abc", true),
        // The same again, and pieces of it.
        stream(0, 0, b"abc", true),
        stream(0, 1, b"b", false),
        stream(0, 3, b"", true),
        frames(&[Frame::ResetStream { id: id(0), code: last, final_size: 3 }]),
        frames(&[Frame::StopSending { id: id(0), code: last }]),
        frames(&[Frame::MaxStreamData { id: id(0), max: 0 }]),
        frames(&[Frame::MaxStreamData { id: id(4), max: last }]),
        frames(&[Frame::MaxData(last)]),
        frames(&[Frame::MaxData(0)]),
        frames(&[Frame::MaxStreams { dir: Dir::Bi, max: 1 << 60 }]),
        frames(&[Frame::MaxStreams { dir: Dir::Uni, max: 0 }]),
        frames(&[Frame::StreamsBlocked { dir: Dir::Uni, limit: 1 << 60 }]),
        frames(&[Frame::DataBlocked(last)]),
        frames(&[Frame::StreamDataBlocked { id: id(8), limit: last }]),
        frames(&[Frame::PathResponse(*b"nobodyas")]),
        frames(&[Frame::Ping, Frame::Padding(3), Frame::Ping]),
    ];
    for (i, payload) in odd.iter().enumerate() {
        world.frames(&mut peer, Level::OneRtt, payload);
        peer.expect_open(&format!("frame {i}"));
    }
}

/// A stream torn into single bytes with gaps costs bounded memory (RFC 9000 section 21.6 and 21.7).
#[test]
fn fragments_are_bounded_section_21_7() {
    let (mut world, mut peer) = client_with(Setup { http3: false, ..Default::default() }, V1, |p| p);
    world.exchange(&mut peer);
    let mut offset = 1;
    for _ in 0..200 {
        let mut payload = Vec::new();
        for _ in 0..200 {
            payload.extend(stream(0, offset, b"x", false));
            offset += 2;
        }
        world.frames(&mut peer, Level::OneRtt, &payload);
        if peer.close().is_some() {
            break;
        }
    }
    peer.expect_close("21.7", &[INTERNAL_ERROR, FLOW_CONTROL_ERROR, PROTOCOL_VIOLATION], 0x0e);
}
