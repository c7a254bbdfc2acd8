//! Data: streams both ways, loss, reordering, key updates, datagrams, flow control.
use core::time::Duration;

use super::super::{ConnectionConfig, Event, FlowConfig};
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls, stream_event};
use crate::base::{Dir, Ecn, Pcg, Rng, Side};
use crate::collections::Chunk;
use crate::congestion::Algorithm;
use crate::streams::{DatagramError, DatagramState, StreamEvent};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn echo_in_both_directions() {
    let mut p = Pair::new().connected();
    let id = p.start(Side::Client, Dir::Bi);
    assert_eq!(p.transfer(Side::Client, id, b"ping", LIMIT), b"ping");
    assert!(p.server().saw(|e| stream_event(e) == Some(StreamEvent::Opened { id })));
    assert_eq!(p.transfer(Side::Server, id, b"pong", LIMIT), b"pong");
    p.run_for(Duration::from_millis(200));
    for side in [Side::Client, Side::Server] {
        assert!(p.peer(side).saw(|e| stream_event(e) == Some(StreamEvent::Finished { id })), "{side:?}");
        assert!(p.peer(side).saw(|e| stream_event(e) == Some(StreamEvent::Closed { id })), "{side:?}");
    }
    let id = p.start(Side::Server, Dir::Uni);
    assert_eq!(p.transfer(Side::Server, id, b"one way", LIMIT), b"one way");
}

#[test]
fn a_megabyte_each_way() {
    let mut p = Pair::new().connected();
    let data = pattern(1 << 20);
    for from in [Side::Client, Side::Server] {
        let id = p.start(from, Dir::Bi);
        assert!(p.transfer(from, id, &data, LIMIT) == data);
    }
    assert_eq!(p.client.conn.stats().packets_lost, 0);
    assert!(p.client.conn.stats().largest_batch > 4, "batches form");
    assert!(p.client.conn.stats().mtu > 1400, "the MTU was found");
}

#[test]
fn a_megabyte_with_loss_reordering_and_duplicates() {
    for (seed, algorithm) in [(1, Algorithm::Cubic), (2, Algorithm::NewReno), (3, Algorithm::Cubic)] {
        let cfg = ConnectionConfig { congestion: algorithm, ..config() };
        let mut p = Pair::with(cfg.clone(), cfg, &client_tls(), server_tls()).connected();
        let mut rng = Pcg::new(seed);
        p.hook = Box::new(move |_, _, _| match rng.below(100) {
            0..3 => Fate::Drop,
            3..6 => Fate::Late(Duration::from_millis(7)),
            6..9 => Fate::Twice,
            _ => Fate::Deliver,
        });
        let data = pattern(1 << 20);
        let id = p.start(Side::Server, Dir::Uni);
        assert!(p.transfer(Side::Server, id, &data, LIMIT) == data);
        assert!(p.server().conn.stats().packets_lost > 0);
        assert!(p.client.conn.stats().packets_duplicate > 0);
    }
}

#[test]
fn small_windows_are_opened_again_and_again() {
    let flow = FlowConfig {
        connection_window: 20_000,
        connection_window_max: 20_000,
        stream_window: 10_000,
        stream_window_max: 10_000,
        send_buffer: 50_000,
        send_buffer_max: 0,
    };
    let cfg = ConnectionConfig { flow, ..config() };
    let mut p = Pair::with(cfg.clone(), cfg, &client_tls(), server_tls()).connected();
    let data = pattern(300_000);
    let id = p.start(Side::Client, Dir::Bi);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
}

#[test]
fn without_pacing_too() {
    let cfg = ConnectionConfig { pacing: false, ..config() };
    let mut p = Pair::with(cfg.clone(), cfg, &client_tls(), server_tls()).connected();
    let data = pattern(1 << 20);
    let id = p.start(Side::Client, Dir::Bi);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
}

#[test]
fn hundred_streams_and_new_ones_when_old_ones_end() {
    let mut p = Pair::new().connected();
    for _ in 0..3 {
        let ids: Vec<_> = (0..100).map(|_| p.start(Side::Client, Dir::Bi)).collect();
        assert!(p.client.conn.open(Dir::Bi).is_err(), "the limit holds");
        for id in ids {
            p.client.conn.write(id, &id.0.to_le_bytes()).unwrap();
            p.client.conn.finish(id).unwrap();
        }
        let mut open = 100;
        p.run_until(LIMIT, |p| {
            let server = &mut p.server().conn;
            while let Some(id) = server.accept_stream(Dir::Bi) {
                let mut buf = [0; 16];
                let ok = server.read(id, &mut buf).unwrap();
                assert_eq!(&buf[..ok.len], id.0.to_le_bytes());
                server.finish(id).unwrap();
                open -= 1;
            }
            p.flush();
            open == 0
        });
        p.run_for(Duration::from_millis(200));
        let ids: Vec<_> = p.client.events.drain(..).filter_map(|e| stream_event(&e)).collect();
        for event in ids {
            if let StreamEvent::Readable { id } = event {
                let _ = p.client.conn.read(id, &mut [0; 8]);
            }
        }
        p.run_for(Duration::from_millis(200));
        assert_eq!(p.client.conn.stream_counts().open, 0);
    }
}

#[test]
fn reset_and_stop_are_seen_by_the_peer() {
    let mut p = Pair::new().connected();
    let a = p.start(Side::Client, Dir::Bi);
    p.client.conn.write(a, b"x").unwrap();
    p.run_for(Duration::from_millis(50));
    p.client.conn.reset(a, 77).unwrap();
    p.server().conn.write(a, b"y").unwrap();
    p.client.conn.stop(a, 78).unwrap();
    p.run_for(Duration::from_millis(100));
    assert!(p.server().saw(|e| stream_event(e) == Some(StreamEvent::Reset { id: a, code: 77 })));
    assert!(p.server().saw(|e| stream_event(e) == Some(StreamEvent::Stopped { id: a, code: 78 })));
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-6
//= type=test
//# Endpoints MUST NOT send a TLS KeyUpdate message.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.4
//= type=test
//# Packets with higher packet numbers MUST be protected with either the same or newer packet protection keys than
//# packets with lower packet numbers.
#[test]
fn key_updates_by_either_side_and_in_the_middle_of_data() {
    let mut p = Pair::new().connected();
    let tls_bytes = [Side::Client, Side::Server].map(|s| p.peer(s).conn.data.crypto.send.end());
    for (round, side) in [Side::Client, Side::Server, Side::Client].into_iter().enumerate() {
        let data = pattern(200_000);
        let one = p.start(Side::Client, Dir::Uni);
        // A receiver that only acknowledges has nothing acknowledged in this phase yet.
        p.peer(side).conn.ping();
        p.run_for(Duration::from_millis(100));
        let now = p.now;
        assert!(p.peer(side).conn.key_update(now), "round {round}");
        assert!(p.transfer(Side::Client, one, &data, LIMIT) == data);
        p.run_for(Duration::from_secs(1));
        let generation = round as u64 + 1;
        for s in [Side::Client, Side::Server] {
            assert_eq!(p.peer(s).conn.stats().key_updates, generation);
            let by_peer = s != side;
            assert!(p.peer(s).saw(
                |e| matches!(e, Event::KeyUpdated { by_peer: b, phase } if *b == by_peer && *phase == generation)
            ));
        }
    }
    // The bit in the header says it all: TLS had nothing to send.
    assert_eq!([Side::Client, Side::Server].map(|s| p.peer(s).conn.data.crypto.send.end()), tls_bytes);
}

#[test]
fn datagrams_arrive_and_are_acknowledged() {
    let mut p = Pair::new().connected();
    assert!(p.client.conn.datagram_max_len().unwrap() > 1100);
    for n in 0..20u64 {
        p.client.conn.datagram_send(Chunk::from_vec(vec![n as u8; 500]), n + 1).unwrap();
    }
    p.run_for(Duration::from_millis(300));
    assert!(p.server().saw(|e| matches!(e, Event::DatagramReceived)));
    for n in 0..20 {
        assert_eq!(p.server().conn.datagram_recv().unwrap(), vec![n as u8; 500]);
    }
    for tag in 1..=20 {
        let fates: Vec<_> = (p.client.events.iter())
            .filter_map(|e| {
                if let Event::DatagramState { tag: t, state } = e { (*t == tag).then_some(*state) } else { None }
            })
            .collect();
        assert_eq!(fates, [DatagramState::Sent, DatagramState::Acknowledged], "{tag}");
    }
    let huge = Chunk::from_vec(vec![0; 3000]);
    assert!(matches!(p.client.conn.datagram_send(huge, 0), Err(DatagramError::TooLarge { .. })));
}

//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//= type=test
//# An endpoint MUST NOT send DATAGRAM frames until it has received the max_datagram_frame_size transport parameter with
//# a non-zero value during the handshake (or during a previous handshake if 0-RTT is used).
#[test]
fn datagrams_can_be_refused() {
    let off = ConnectionConfig { max_datagram_frame: 0, ..config() };
    let mut p = Pair::with(config(), off, &client_tls(), server_tls()).connected();
    assert_eq!(p.client.conn.datagram_max_len(), None);
    assert_eq!(p.client.conn.datagram_send(Chunk::from_vec(vec![1]), 0), Err(DatagramError::Unsupported));
}

#[test]
fn ecn_marks_are_validated_and_bleached_ones_given_up() {
    let mut p = Pair::new().connected();
    let data = pattern(100_000);
    let id = p.start(Side::Client, Dir::Bi);
    p.transfer(Side::Client, id, &data, LIMIT);
    let active = p.client.conn.paths.active();
    assert!(active.recovery.ecn.is_capable());
    assert_eq!(active.recovery.ecn.mark(), Ecn::Ect0);
}

#[test]
fn an_mtu_black_hole_is_noticed() {
    let mut p = Pair::new().connected();
    assert!(p.client.conn.stats().mtu > 1400);
    p.hook = Box::new(|_, _, bytes| if bytes.len() > 1300 { Fate::Drop } else { Fate::Deliver });
    let data = pattern(300_000);
    let id = p.start(Side::Client, Dir::Bi);
    assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
    assert!(p.client.conn.stats().mtu <= 1300);
}

#[test]
fn a_receiver_sends_few_acknowledgements() {
    let mut p = Pair::new().connected();
    let before = p.server().conn.stats().datagrams_sent;
    let data = pattern(1 << 20);
    let id = p.start(Side::Client, Dir::Uni);
    p.transfer(Side::Client, id, &data, LIMIT);
    let acks = p.server().conn.stats().datagrams_sent - before;
    let packets = p.client.conn.stats().packets_sent;
    assert!(acks < packets, "{acks} answers to {packets} packets");
}

#[test]
fn the_log_tells_the_story_of_a_connection() {
    let cfg = ConnectionConfig { qlog: true, wall_clock_ms_at_zero: Some(5), ..config() };
    let mut p = Pair::with(cfg.clone(), cfg, &client_tls(), server_tls()).connected();
    let id = p.start(Side::Client, Dir::Bi);
    p.transfer(Side::Client, id, b"hello", LIMIT);
    let now = p.now;
    p.client.conn.close(3, b"done", now);
    p.run_for(Duration::from_millis(100));
    for side in [Side::Client, Side::Server] {
        let text = String::from_utf8(p.peer(side).conn.take_qlog().unwrap()).unwrap();
        for name in ["connection_started", "packet_sent", "packet_received", "parameters_set", "connection_closed"] {
            assert!(text.contains(name), "{side:?} {name}");
        }
        assert!(p.peer(side).conn.take_qlog().is_none());
    }
    assert_eq!(p.client.conn.odcid(), p.server().conn.odcid());
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-5.3
//= type=test
//# An endpoint MUST initiate a key update (Section 6) prior to exceeding any limit set for the AEAD that is in use.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
//= type=test
//# Endpoints MUST initiate a key update before sending more protected packets than the confidentiality limit for the
//# selected AEAD permits.
#[test]
fn keys_are_changed_in_time_without_being_asked() {
    let mut p = Pair::new().connected();
    p.client.conn.data.keys.as_mut().unwrap().set_limits(u64::MAX, u64::MAX, 200);
    let data = pattern(1 << 20);
    for updates in 1..4 {
        let id = p.start(Side::Client, Dir::Uni);
        assert!(p.transfer(Side::Client, id, &data, LIMIT) == data);
        // Old keys stay for three PTOs (RFC 9001 section 6.5) and hold the next update up.
        p.run_for(Duration::from_secs(1));
        assert!(p.client.conn.stats().key_updates >= updates);
        // The newest update is not known to the server before the next packet.
        assert!(p.server().conn.stats().key_updates + 1 >= updates);
    }
    assert!(p.client.closed().is_none() && p.server().closed().is_none());
}
