use super::*;
use crate::base::{FourTuple, StreamId};
use crate::wire::frame::Frame;
use crate::wire::{TransportParameters, Writer};

fn started() -> Qlog {
    let odcid = ConnectionId::new(&[1, 2, 3, 4]).expect("short");
    Qlog::new(Side::Client, &odcid, Timestamp(5_000_000), Some(42))
}

fn records(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    text.split('\u{1e}')
        .filter(|r| !r.is_empty())
        .map(|r| r.strip_suffix('\n').expect("a line feed ends a record").to_owned())
        .collect()
}

/// Enough of a check that braces, brackets and quotes match outside strings.
fn balanced(record: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (Vec::new(), false, false);
    for c in record.chars() {
        match (in_string, c) {
            (true, _) if escaped => escaped = false,
            (true, '\\') => escaped = true,
            (_, '"') => in_string = !in_string,
            (false, '{' | '[') => depth.push(c),
            (false, '}') if depth.pop() != Some('{') => return false,
            (false, ']') if depth.pop() != Some('[') => return false,
            _ => {}
        }
    }
    depth.is_empty() && !in_string
}

#[test]
fn header_names_schema_and_vantage_point() {
    let mut log = started();
    let all = records(&log.take());
    assert_eq!(all.len(), 1);
    assert!(balanced(&all[0]));
    assert!(all[0].contains("\"file_schema\":\"urn:ietf:params:qlog:file:sequential\""));
    assert!(all[0].contains("\"group_id\":\"01020304\""));
    assert!(all[0].contains("\"type\":\"client\""));
    assert!(!log.has_records());
}

#[test]
fn a_packet_shows_its_frames_and_relative_time() {
    let mut buf = [0; 64];
    let mut w = Writer::new(&mut buf);
    Frame::Ping.write(&mut w).expect("room");
    Frame::Stream { id: StreamId(4), offset: 10, fin: true, data: b"abc" }.write(&mut w).expect("room");
    Frame::ConnectionClose { code: 0x128, frame_type: Some(6), reason: b"a \"quoted\"\nline" }
        .write(&mut w)
        .expect("room");
    let n = w.position();
    let mut log = started();
    let _ = log.take();
    let p = PacketInfo { level: Level::OneRtt, number: 7, len: 99, payload: &buf[..n] };
    log.packet_sent(Timestamp(6_234_000), &p);
    let all = records(&log.take());
    assert!(balanced(&all[0]), "{}", all[0]);
    assert!(all[0].starts_with("{\"time\":1.234,\"name\":\"quic:packet_sent\""), "{}", all[0]);
    assert!(
        all[0]
            .contains("{\"frame_type\":\"stream\",\"stream_id\":4,\"offset\":10,\"fin\":true,\"raw\":{\"length\":3}}")
    );
    assert!(all[0].contains("crypto_error_0x128"));
    assert!(all[0].contains("a \\\"quoted\\\"\\u000aline"));
}

#[test]
fn a_malformed_payload_is_shown_as_unknown_and_ends() {
    let mut log = started();
    let _ = log.take();
    let p = PacketInfo { level: Level::Initial, number: 0, len: 3, payload: &[1, 6, 0xff] };
    log.packet_received(Timestamp(5_000_000), &p);
    let all = records(&log.take());
    assert!(balanced(&all[0]));
    assert!(all[0].contains("\"ping\"") && all[0].contains("\"unknown\""), "{}", all[0]);
}

#[test]
fn every_other_event_is_well_formed() {
    let mut log = started();
    let now = Timestamp(9_000_000);
    let path = FourTuple {
        local: Some("127.0.0.1:1000".parse().expect("address")),
        remote: "[::1]:443".parse().expect("address"),
        socket: 0,
    };
    log.connection_started(now, &path);
    log.parameters_set(now, true, &TransportParameters::default());
    log.packet_lost(now, Level::Handshake, 3);
    log.packet_dropped(now, 40, DropTrigger::DecryptionFailure);
    log.keys_updated(now, Level::OneRtt, Some(1), true);
    log.migration(now, "migration_complete", &path);
    log.connection_closed(now, true, false, 0x100, "application", "bye");
    let m = Metrics { min_rtt: 1_500_000, congestion_window: 12000, ssthresh: u64::MAX, ..Metrics::default() };
    log.metrics_updated(now, &m);
    log.metrics_updated(now, &m);
    let all = records(&log.take());
    assert!(all.iter().all(|r| balanced(r)));
    assert_eq!(all.len(), 1 + 9, "two key records, and equal metrics are written once");
    assert!(all.iter().any(|r| r.contains("\"min_rtt\":1.500") && !r.contains("ssthresh")));
    assert!(all.iter().any(|r| r.contains("\"ip_v6\":\"::1\"")));
}

#[test]
fn a_full_buffer_counts_what_it_leaves_out() {
    let mut log = started();
    while log.out.len() < MAX_BUFFERED {
        log.packet_lost(Timestamp(5_000_000), Level::OneRtt, 1);
    }
    for _ in 0..3 {
        log.packet_lost(Timestamp(5_000_000), Level::OneRtt, 2);
    }
    assert!(log.take().len() < MAX_BUFFERED + 512);
    log.packet_lost(Timestamp(5_000_000), Level::OneRtt, 3);
    assert!(records(&log.take())[0].contains("\"records_omitted_before\":3"));
}
