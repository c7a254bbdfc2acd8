//! HTTP/3 and QPACK (RFC 9114, RFC 9204): cases 35 to 49 and more like them.
//!
//! Stream 0 is the request, 2 the control stream, 6 and 10 the encoder and decoder streams. The answer must be
//! CONNECTION_CLOSE 0x1d within 100 ms, also from a server that has answered the request already.
use std::time::Duration;

use whimbrel::base::codes::{h3, qpack};
use whimbrel::base::{Level, StreamId};
use whimbrel::wire::Frame;

use super::peer::{Got, Peer, frames, stream, varint};
use super::world::{Setup, V1, V2, World, connected_with};

const GENERAL: [u64; 2] = [h3::GENERAL_PROTOCOL_ERROR, h3::INTERNAL_ERROR];
/// `:method GET`, `:scheme https`, `:authority 127.0.0.1`, `:path /` behind an empty prefix.
const SECTION: &[u8] = b"\x00\x00\xd1\xd7\x50\x09127.0.0.1\xc1";

pub fn codes(code: u64) -> Vec<u64> {
    [&[code][..], &GENERAL].concat()
}

/// An HTTP/3 frame.
pub fn frame(ty: u64, body: &[u8]) -> Vec<u8> {
    [varint(ty), varint(body.len() as u64), body.to_vec()].concat()
}

/// A field line with literal name and value.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = if name.len() < 7 { vec![0x20 | name.len() as u8] } else { vec![0x27, (name.len() - 7) as u8] };
    out.extend(name.as_bytes());
    out.push(value.len() as u8);
    out.extend(value.as_bytes());
    out
}

fn headers(section: &[u8]) -> Vec<u8> {
    frame(1, section)
}

/// What a client sends on its four streams, and whether it ends them.
#[derive(Clone)]
struct Client {
    streams: Vec<(u64, Vec<u8>, bool)>,
}

impl Client {
    fn new() -> Self {
        let settings = [vec![0x00], frame(4, &[])].concat();
        Self {
            streams: vec![
                (2, settings, false),
                (6, vec![0x02], false),
                (10, vec![0x03], false),
                (0, headers(SECTION), true),
            ],
        }
    }

    fn of(&mut self, id: u64) -> &mut (u64, Vec<u8>, bool) {
        if !self.streams.iter().any(|s| s.0 == id) {
            self.streams.push((id, Vec::new(), false));
        }
        self.streams.iter_mut().find(|s| s.0 == id).unwrap()
    }

    fn set(mut self, id: u64, bytes: &[u8]) -> Self {
        self.of(id).1 = bytes.to_vec();
        self
    }

    fn add(mut self, id: u64, bytes: &[u8]) -> Self {
        self.of(id).1.extend(bytes);
        self
    }

    fn fin(mut self, id: u64, fin: bool) -> Self {
        self.of(id).2 = fin;
        self
    }

    /// All streams in one packet; each byte in a packet of its own; the request first and answered before the rest.
    fn play(&self, version: u32, way: usize) -> (World, Peer) {
        let (mut world, mut peer) = connected_with(Setup::default(), version);
        let mut streams = self.streams.clone();
        match way {
            0 => {
                let payload: Vec<u8> = streams.iter().flat_map(|s| stream(s.0, 0, &s.1, s.2)).collect();
                world.frames(&mut peer, Level::OneRtt, &payload);
            }
            1 => {
                for (id, bytes, fin) in &streams {
                    for (i, b) in bytes.iter().enumerate() {
                        world.frames(&mut peer, Level::OneRtt, &stream(*id, i as u64, &[*b], false));
                    }
                    if *fin {
                        world.frames(&mut peer, Level::OneRtt, &stream(*id, bytes.len() as u64, b"", true));
                    }
                }
            }
            _ => {
                streams.sort_by_key(|s| s.0);
                for (id, bytes, fin) in &streams {
                    world.frames(&mut peer, Level::OneRtt, &stream(*id, 0, bytes, *fin));
                }
            }
        }
        world.pass(&mut peer, Duration::from_millis(90));
        (world, peer)
    }

    #[track_caller]
    fn closes(&self, section: &str, accepted: &[u64]) {
        for version in [V1, V2] {
            for way in 0..3 {
                let (_, peer) = self.play(version, way);
                peer.expect_app_close(&format!("{section}, way {way}"), accepted);
            }
        }
    }

    /// A malformed message: the stream is reset, or the connection closed.
    #[track_caller]
    fn message_error(&self, section: &str, accepted: &[u64]) {
        for version in [V1, V2] {
            for way in 0..3 {
                let (_, peer) = self.play(version, way);
                let reset = peer.saw(|g| matches!(g, Got::Reset { id: 0, code } if accepted.contains(code)));
                let closed = peer.close().is_some_and(|c| c.app && accepted.contains(&c.code));
                assert!(reset || closed, "{section}, way {way}: {:?}", peer.log);
                assert!(peer.stream_bytes(0).is_empty(), "{section}: a malformed request was answered");
            }
        }
    }

    #[track_caller]
    fn is_fine(&self, section: &str) {
        for way in 0..3 {
            let (_, peer) = self.play(V1, way);
            peer.expect_open(section);
            assert!(!peer.saw(|g| matches!(g, Got::Reset { id: 0, .. })), "{section}, way {way}: {:?}", peer.log);
            assert!(!peer.stream_bytes(0).is_empty(), "{section}, way {way}: no answer");
        }
    }
}

#[test]
fn a_correct_request_is_answered() {
    Client::new().is_fine("4.1");
}

#[test]
fn case_35_data_before_headers_section_4_1() {
    let request = [frame(0, b""), headers(SECTION)].concat();
    Client::new().set(0, &request).closes("4.1", &codes(h3::FRAME_UNEXPECTED));
}

fn with_section(section: &[u8]) -> Client {
    Client::new().set(0, &headers(section))
}

#[test]
fn case_36_duplicate_pseudo_header_section_4_3() {
    with_section(&[SECTION, &[0xd1]].concat()).message_error("4.3", &codes(h3::MESSAGE_ERROR));
}

#[test]
fn case_37_mandatory_pseudo_headers_are_absent_section_4_3_1() {
    let accepted = codes(h3::MESSAGE_ERROR);
    with_section(b"\x00\x00\xd1\xd7\xc1").message_error("4.3.1", &accepted);
    with_section(b"\x00\x00\xd7\x50\x09127.0.0.1\xc1").message_error("4.3.1", &accepted);
    with_section(b"\x00\x00\xd1\x50\x09127.0.0.1\xc1").message_error("4.3.1", &accepted);
    with_section(b"\x00\x00\xd1\xd7\x50\x09127.0.0.1").message_error("4.3.1", &accepted);
    with_section(b"\x00\x00").message_error("4.3.1", &accepted);
}

#[test]
fn case_38_prohibited_pseudo_headers_section_4_3() {
    let section =
        [&b"\x00\x00\xd1\xd7"[..], &literal(":autority", "127.0.0.1"), &[0xc1], &literal(":foo", "bar")].concat();
    with_section(&section).message_error("4.3", &codes(h3::MESSAGE_ERROR));
    // A pseudo-header of responses.
    with_section(&[SECTION, &literal(":status", "200")].concat()).message_error("4.3", &codes(h3::MESSAGE_ERROR));
    with_section(&[SECTION, &literal(":foo", "bar")].concat()).message_error("4.3", &codes(h3::MESSAGE_ERROR));
}

#[test]
fn case_39_pseudo_headers_after_fields_section_4_3() {
    let section =
        [&b"\x00\x00\xd1\xd7"[..], &literal(":autority", "127.0.0.1"), &literal("foo", "bar"), &[0xc1]].concat();
    with_section(&section).message_error("4.3", &codes(h3::MESSAGE_ERROR));
    let section = [&b"\x00\x00\xd1\xd7\x50\x09127.0.0.1"[..], &literal("foo", "bar"), &[0xc1]].concat();
    with_section(&section).message_error("4.3", &codes(h3::MESSAGE_ERROR));
}

#[test]
fn case_40_first_control_frame_is_not_settings_section_6_2_1() {
    let accepted = codes(h3::MISSING_SETTINGS);
    let control = [&[0x00][..], &frame(0x0d, &[1]), &frame(4, &[])].concat();
    Client::new().set(2, &control).closes("6.2.1", &accepted);
    // GOAWAY, a reserved frame, an empty DATA frame.
    for ty in [0x07, 0x21] {
        let control = [&[0x00][..], &frame(ty, &[0]), &frame(4, &[])].concat();
        Client::new().set(2, &control).closes("6.2.1", &accepted);
    }
}

/// The control stream goes on after SETTINGS.
fn control(bytes: &[u8]) -> Client {
    Client::new().add(2, bytes)
}

#[test]
fn case_41_data_on_the_control_stream_section_7_2_1() {
    control(&frame(0, b"")).closes("7.2.1", &codes(h3::FRAME_UNEXPECTED));
}

#[test]
fn case_42_headers_on_the_control_stream_section_7_2_2() {
    control(&frame(1, b"")).closes("7.2.2", &codes(h3::FRAME_UNEXPECTED));
}

#[test]
fn case_43_second_settings_section_7_2_4() {
    control(&frame(4, b"")).closes("7.2.4", &codes(h3::FRAME_UNEXPECTED));
}

fn settings(list: &[(u64, u64)]) -> Client {
    let body: Vec<u8> = list.iter().flat_map(|(id, v)| [varint(*id), varint(*v)].concat()).collect();
    Client::new().set(2, &[vec![0x00], frame(4, &body)].concat())
}

#[test]
fn case_44_http_2_settings_section_7_2_4_1() {
    let accepted = codes(h3::SETTINGS_ERROR);
    settings(&[(7, 100), (2, 200), (1, 4096), (6, 32768)]).closes("7.2.4.1", &accepted);
    for id in [0x02, 0x03, 0x04, 0x05] {
        settings(&[(id, 0)]).closes("7.2.4.1", &accepted);
    }
    // The same identifier twice: MAY be an error, and is one here.
    settings(&[(6, 100), (6, 100)]).closes("7.2.4", &accepted);
    // Unknown and reserved ones are ignored.
    settings(&[(0x21, 5), (0x1234, 1), (6, 1 << 40), (7, 100), (1, 4096)]).is_fine("7.2.4.1");
}

/// Trap D: the frame type is judged before the body is.
#[test]
fn case_45_cancel_push_on_a_request_stream_section_7_2_3() {
    let request = [frame(3, b""), headers(SECTION)].concat();
    Client::new().set(0, &request).closes("7.2.3", &codes(h3::FRAME_UNEXPECTED));
}

#[test]
fn case_46_static_table_index_beyond_the_end_rfc_9204_section_3_1() {
    with_section(&[SECTION, &[0xff, 0x24]].concat()).closes("RFC 9204 3.1", &codes(qpack::DECOMPRESSION_FAILED));
    // As a name reference.
    with_section(&[SECTION, &[0x5f, 0x54, 1, b'x']].concat())
        .closes("RFC 9204 3.1", &codes(qpack::DECOMPRESSION_FAILED));
}

/// Trap E.
#[test]
fn case_47_dynamic_table_capacity_beyond_the_limit_rfc_9204_section_4_3_1() {
    let accepted = codes(qpack::ENCODER_STREAM_ERROR);
    Client::new().add(6, &[0x3f, 0xe1, 0xc7, 0xaf, 0xa0, 0x25]).closes("RFC 9204 4.3.1", &accepted);
    // 4097, one more than announced; 4096 is allowed.
    Client::new().add(6, &[0x3f, 0xe2, 0x1f]).closes("RFC 9204 4.3.1", &accepted);
    Client::new().add(6, &[0x3f, 0xe1, 0x1f]).is_fine("RFC 9204 4.3.1");
    // A number of more than 62 bits.
    Client::new()
        .add(6, &[0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])
        .closes("RFC 9204 4.1.1", &accepted);
}

#[test]
fn case_48_control_stream_is_closed_section_6_2_1() {
    Client::new().fin(2, true).closes("6.2.1", &codes(h3::CLOSED_CRITICAL_STREAM));
}

#[test]
fn case_49_insert_count_increment_of_0_rfc_9204_section_4_4_3() {
    Client::new().add(10, &[0x00]).closes("RFC 9204 4.4.3", &codes(qpack::DECODER_STREAM_ERROR));
}

#[test]
fn qpack_streams_rfc_9204_sections_4_2_to_4_4() {
    let encoder = codes(qpack::ENCODER_STREAM_ERROR);
    let decoder = codes(qpack::DECODER_STREAM_ERROR);
    // Nothing was inserted: an increment, an acknowledgement of a section without references, Duplicate, a name
    // reference into the empty table, a static name reference beyond the end, an entry larger than the table.
    Client::new().add(10, &[0x05]).closes("4.4.3", &decoder);
    Client::new().add(10, &[0x80]).closes("4.4.1", &decoder);
    Client::new().add(6, &[0x00]).closes("4.3.4", &encoder);
    Client::new().add(6, &[0x80, 0x01, b'x']).closes("4.3.2", &encoder);
    Client::new().add(6, &[0xff, 0x24, 0x01, b'x']).closes("4.3.2", &encoder);
    Client::new().add(6, &[0x41, b'n', 0x01, b'x']).closes("3.2.2", &encoder);
    // A Huffman code that is not one: 30 ones are EOS.
    Client::new().add(6, &[0x3f, 0xe1, 0x1f, 0x64, 0xff, 0xff, 0xff, 0xff, 0x00]).closes("4.1.2", &encoder);
    for id in [6, 10] {
        Client::new().fin(id, true).closes("4.2", &codes(h3::CLOSED_CRITICAL_STREAM));
        let second = Client::new().set(14, &[if id == 6 { 2 } else { 3 }]);
        second.closes("4.2", &codes(h3::STREAM_CREATION_ERROR));
    }
    // Stream Cancellation of a stream without state is allowed.
    Client::new().add(10, &[0x40]).is_fine("4.4.2");
}

#[test]
fn field_sections_rfc_9204_section_4_5() {
    let accepted = codes(qpack::DECOMPRESSION_FAILED);
    // Required Insert Count without a table, references into it, a negative Base, cut sections.
    with_section(&[0xff, 0x00, 0x00, 0xd1]).closes("4.5.1.1", &accepted);
    with_section(&[0xff, 0x02, 0x00, 0xd1]).closes("4.5.1.1", &accepted);
    with_section(&[0x00, 0x00, 0x80]).closes("2.2.3", &accepted);
    with_section(&[0x00, 0x00, 0x10]).closes("2.2.3", &accepted);
    with_section(&[0x00, 0x80, 0xd1]).closes("4.5.1.2", &accepted);
    with_section(b"").closes("4.5.1", &accepted);
    with_section(&[0x00]).closes("4.5.1", &accepted);
    with_section(&SECTION[..8]).closes("4.5", &accepted);
    with_section(&[SECTION, &[0x51, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat())
        .closes("4.1.1", &accepted);
}

#[test]
fn frames_on_the_wrong_stream_section_7_2() {
    let unexpected = codes(h3::FRAME_UNEXPECTED);
    // Request stream: SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID, those of HTTP/2.
    for ty in [0x04, 0x05, 0x07, 0x0d, 0x02, 0x06, 0x08, 0x09] {
        Client::new().set(0, &[frame(ty, b"\0"), headers(SECTION)].concat()).closes("7.2", &unexpected);
        Client::new().add(0, &frame(ty, b"\0")).closes("7.2", &unexpected);
    }
    // Control stream: PUSH_PROMISE, those of HTTP/2.
    for ty in [0x05, 0x02, 0x06, 0x08, 0x09] {
        control(&frame(ty, b"\0")).closes("7.2.8", &unexpected);
    }
    // After the trailers.
    let trailers = headers(b"\x00\x00");
    Client::new().add(0, &[trailers.clone(), frame(0, b"x")].concat()).closes("4.1", &unexpected);
    Client::new().add(0, &[trailers.clone(), trailers].concat()).closes("4.1", &unexpected);
    // Unknown types are ignored everywhere, their content too.
    let unknown = [frame(0x21, b"content"), frame(0xf0800, b""), frame(0x40, &[0; 100])].concat();
    control(&unknown).is_fine("9");
    Client::new().set(0, &[&unknown[..], &headers(SECTION), &unknown].concat()).is_fine("9");
}

#[test]
fn malformed_frames_section_7_1() {
    let accepted = codes(h3::FRAME_ERROR);
    // Content that is too short or too long for its fields.
    control(&frame(0x0d, b"")).closes("7.1", &accepted);
    control(&frame(0x0d, &[1, 1])).closes("7.1", &accepted);
    control(&frame(0x0d, &[0x40])).closes("7.1", &accepted);
    control(&frame(0x07, &[1, 1])).closes("7.1", &accepted);
    // No push was promised: whatever a CANCEL_PUSH names is wrong, and so is one that names nothing.
    control(&frame(0x03, b"")).closes("7.1", &[h3::FRAME_ERROR, h3::ID_ERROR]);
    for body in [&[6][..], &[6, 0x40], &[0x40]] {
        Client::new().set(2, &[vec![0x00], frame(4, body)].concat()).closes("7.1", &codes(h3::FRAME_ERROR));
    }
    // The stream ends inside a frame.
    Client::new().add(0, &[0, 10, 1, 2, 3]).closes("7.1", &accepted);
    Client::new().add(0, &[0]).closes("7.1", &accepted);
    Client::new().set(0, &headers(SECTION)[..10]).closes("7.1", &accepted);
}

#[test]
fn push_ids_sections_7_2_3_to_7_2_7() {
    let id_error = codes(h3::ID_ERROR);
    // MAX_PUSH_ID shrinks; a push that nobody promised is cancelled.
    control(&[frame(0x0d, &[5]), frame(0x0d, &[4])].concat()).closes("7.2.7", &id_error);
    control(&frame(0x03, &[0])).closes("7.2.3", &id_error);
    control(&[frame(0x0d, &[4]), frame(0x0d, &[4]), frame(0x0d, &[5])].concat()).is_fine("7.2.7");
    // GOAWAY grows.
    control(&[frame(0x07, &[5]), frame(0x07, &[6])].concat()).closes("5.2", &id_error);
    // A client opens a push stream.
    Client::new().set(14, &[0x01, 0x00]).closes("6.2.2", &codes(h3::STREAM_CREATION_ERROR));
}

#[test]
fn unidirectional_streams_section_6_2() {
    Client::new().set(14, &[0x00]).closes("6.2.1", &codes(h3::STREAM_CREATION_ERROR));
    // Unknown types do not hurt, whole, cut or empty.
    Client::new().set(14, &[0x21, 1, 2, 3]).is_fine("6.2");
    Client::new().set(14, &[0x40]).fin(14, true).is_fine("6.2");
    Client::new().set(14, &[]).fin(14, true).is_fine("6.2");
}

/// RFC 9114 section 6.2.1: no critical stream may be reset or stopped either.
#[test]
fn critical_streams_are_reset_or_stopped_section_6_2_1() {
    for id in [2, 6, 10] {
        let (mut world, mut peer) = Client::new().play(V1, 0);
        let len = Client::new().of(id).1.len() as u64;
        let reset = Frame::ResetStream { id: StreamId(id), code: 0x10c, final_size: len };
        world.frames(&mut peer, Level::OneRtt, &frames(&[reset]));
        peer.expect_app_close("6.2.1", &codes(h3::CLOSED_CRITICAL_STREAM));
    }
    for id in [3, 7, 11] {
        let (mut world, mut peer) = Client::new().play(V1, 0);
        world.frames(&mut peer, Level::OneRtt, &frames(&[Frame::StopSending { id: StreamId(id), code: 0x10c }]));
        peer.expect_app_close("6.2.1", &codes(h3::CLOSED_CRITICAL_STREAM));
    }
}

#[test]
fn malformed_requests_sections_4_1_to_4_4() {
    let accepted = codes(h3::MESSAGE_ERROR);
    let plus = |lines: &[u8]| with_section(&[SECTION, lines].concat());
    for (name, value) in [
        ("Upper", "x"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("keep-alive", "5"),
        ("proxy-connection", "x"),
        ("te", "gzip"),
        ("na me", "x"),
        ("name:", "x"),
        ("name", "a\nb"),
        ("name", "a\0b"),
        ("name", "a\rb"),
        ("content-length", "x"),
        ("content-length", "-1"),
    ] {
        plus(&literal(name, value)).message_error(&format!("4.2, {name}: {value:?}"), &accepted);
    }
    plus(&literal("", "x")).message_error("4.2, an empty name", &accepted);
    // A body that does not have the length that was told.
    let (_, peer) = plus(&literal("content-length", "5")).play(V1, 0);
    assert!(peer.saw(|g| matches!(g, Got::Reset { id: 0, code: 0x10e })), "{:?}", peer.log);
    let longer = [headers(&[SECTION, &literal("content-length", "3")].concat()), frame(0, b"four")].concat();
    let (_, peer) = Client::new().set(0, &longer).play(V1, 0);
    assert!(peer.saw(|g| matches!(g, Got::Reset { id: 0, code: 0x10e })) || peer.close().is_some_and(|c| c.app));
    plus(&literal("te", "trailers")).is_fine("4.2");
    plus(&literal("content-length", "0")).is_fine("4.1.2");
    // Host and :authority must not contradict each other; two of them neither.
    plus(&literal("host", "other")).message_error("4.3.1", &accepted);
    // CONNECT with a path.
    let connect = [&b"\x00\x00"[..], &literal(":method", "CONNECT"), &literal(":authority", "a:1"), &[0xc1]].concat();
    with_section(&connect).message_error("4.4", &accepted);
}

/// A request that ends before it is whole is not malformed but incomplete.
#[test]
fn incomplete_requests_section_4_1_1() {
    for way in 0..3 {
        let (_, peer) = Client::new().set(0, b"").play(V1, way);
        let code = h3::REQUEST_INCOMPLETE;
        let told = peer.saw(|g| matches!(g, Got::Reset { id: 0, code: c } if *c == code))
            || peer.close().is_some_and(|c| c.app && c.code == code);
        assert!(told, "way {way}: {:?}", peer.log);
    }
}
