//! Ends: codes seen by the peer, idle timeout, keep-alive, draining, stateless reset, protocol errors.
use core::time::Duration;

use super::super::{CloseReason, ConnectionConfig, Event};
use super::pair::{Fate, Pair, client_tls, config, server_tls, stream_event, tuple};
use crate::base::codes::transport;
use crate::base::{Dir, Ecn, Level, Pcg, ResetToken, Rng, Side, SpaceId, TransportError};
use crate::collections::Chunk;
use crate::recovery::SentPacket;
use crate::streams::StreamEvent;
use crate::wire::{Frame, Writer, packet_number};

#[test]
fn application_close_is_seen_with_code_and_reason() {
    for side in [Side::Client, Side::Server] {
        let mut p = Pair::new().connected();
        let now = p.now;
        p.peer(side).conn.close(0x1234, b"bye", now);
        p.run_for(Duration::from_millis(100));
        assert_eq!(p.peer(side).closed(), Some(&CloseReason::Local { code: 0x1234 }));
        let expected = CloseReason::Peer { code: 0x1234, app: true, frame_type: 0, reason: b"bye"[..].into() };
        assert_eq!(p.peer(side.peer()).closed(), Some(&expected));
        assert!(p.peer(side).conn.open(Dir::Bi).is_err());
        p.run_for(Duration::from_secs(3));
        for s in [Side::Client, Side::Server] {
            assert!(p.peer(s).drained && p.peer(s).conn.is_drained());
            assert_eq!(p.peer(s).events.iter().filter(|e| matches!(e, Event::Closed(_))).count(), 1);
            assert!(matches!(p.peer(s).events.last(), Some(Event::Drained)));
            assert_eq!(p.peer(s).conn.deadline(), None);
        }
    }
}

/// All of it arrives at one moment: stream data, a datagram, what became of ours, and the close. The close is told last.
#[test]
fn last_words_are_told_before_the_close() {
    let mut p = Pair::new().connected();
    let id = p.start(Side::Server, Dir::Uni);
    p.client.conn.datagram_send(Chunk::copy_from(b"ours"), 7).unwrap();
    p.run_for(Duration::from_millis(5));
    let seen = p.client.events.len();
    let now = p.now;
    let server = &mut p.server().conn;
    assert_eq!(server.write(id, b"last words").unwrap(), 10);
    server.finish(id).unwrap();
    server.datagram_send(Chunk::copy_from(b"theirs"), 0).unwrap();
    p.flush();
    p.server().conn.close(3, b"bye", now);
    p.run_for(Duration::from_secs(1));
    let told = &p.client.events[seen..];
    let at = |f: &dyn Fn(&Event) -> bool| told.iter().position(f).unwrap_or_else(|| panic!("{told:?}"));
    let closed = at(&|e| matches!(e, Event::Closed(CloseReason::Peer { code: 3, .. })));
    assert!(at(&|e| matches!(stream_event(e), Some(StreamEvent::Opened { .. }))) < closed);
    assert!(at(&|e| matches!(e, Event::DatagramReceived)) < closed);
    assert!(told[closed + 1..].iter().all(|e| matches!(e, Event::Drained)), "{told:?}");
    assert_eq!(p.client.conn.accept_stream(Dir::Uni), Some(id));
    let mut words = [0; 20];
    let read = p.client.conn.read(id, &mut words).unwrap();
    assert_eq!((&words[..read.len], read.fin), (&b"last words"[..], true));
    assert_eq!(p.client.conn.datagram_recv().as_deref(), Some(&b"theirs"[..]));
}

#[test]
fn transport_close_is_seen_as_such() {
    let mut p = Pair::new().connected();
    let error = TransportError::new(transport::INTERNAL_ERROR, "no room").in_frame(8);
    let now = p.now;
    p.client.conn.close_transport(error, now);
    p.run_for(Duration::from_millis(100));
    let expected =
        CloseReason::Peer { code: transport::INTERNAL_ERROR, app: false, frame_type: 8, reason: b"no room"[..].into() };
    assert_eq!(p.server().closed(), Some(&expected));
}

#[test]
fn close_during_the_handshake_hides_the_application() {
    // The server closes before the client has Handshake keys to read anything but the Initial.
    let mut p = Pair::new();
    p.run_until(Duration::from_secs(1), |p| p.server.is_some());
    let now = p.now;
    p.server().conn.close(0x55, b"secret", now);
    p.run_for(Duration::from_millis(500));
    match p.client.closed() {
        Some(CloseReason::Peer { code, app, reason, .. }) => {
            assert!(*code == transport::APPLICATION_ERROR && !app && reason.is_empty() || *code == 0x55 && *app);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn client_that_closes_at_once_is_understood() {
    let mut p = Pair::new();
    p.run_until(Duration::from_secs(1), |p| p.server.is_some());
    let now = p.now;
    p.client.conn.close(9, b"never mind", now);
    p.run_for(Duration::from_millis(500));
    assert!(
        matches!(p.server().closed(), Some(CloseReason::Peer { code: transport::APPLICATION_ERROR, app: false, .. })),
        "{:?}",
        p.server().closed()
    );
}

#[test]
fn a_lost_close_is_said_again_but_not_forever() {
    let mut p = Pair::new().connected();
    let sent = p.client.sent;
    p.hook = Box::new(move |from, index, _| if from.is_client() && index == sent { Fate::Drop } else { Fate::Deliver });
    let now = p.now;
    p.client.conn.close(1, b"", now);
    let id = p.server().conn.open(Dir::Bi).unwrap();
    p.server().conn.write(id, b"are you there").unwrap();
    p.run_for(Duration::from_secs(2));
    assert!(matches!(p.server().closed(), Some(CloseReason::Peer { code: 1, app: true, .. })));
}

#[test]
fn answers_while_closing_grow_rare() {
    let mut p = Pair::new().connected();
    p.hook = Box::new(|from, _, _| if from.is_client() { Fate::Drop } else { Fate::Deliver });
    let now = p.now;
    p.client.conn.close(1, b"", now);
    let before = p.client.sent;
    for _ in 0..64 {
        p.server().conn.ping();
        p.flush();
        p.run_for(Duration::from_micros(300));
    }
    p.run_for(Duration::from_millis(20));
    assert!(p.client.sent - before <= 10, "{}", p.client.sent - before);
}

#[test]
fn idle_timeout_is_the_smaller_value_and_silent() {
    let short = ConnectionConfig { idle_timeout: Duration::from_secs(3), ..config() };
    let mut p = Pair::with(short, config(), &client_tls(), server_tls()).connected();
    let sent = p.client.sent;
    p.run_for(Duration::from_secs(2));
    assert!(!p.client.conn.is_closed() && !p.server().conn.is_closed());
    p.run_for(Duration::from_secs(2));
    for side in [Side::Client, Side::Server] {
        assert_eq!(p.peer(side).closed(), Some(&CloseReason::IdleTimeout));
        assert!(p.peer(side).drained);
    }
    assert!(p.client.sent <= sent + 2, "silently");
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-10.1
//= type=test
//# To avoid excessively small idle timeout periods, endpoints MUST increase the idle timeout period to be at least
//# three times the current Probe Timeout (PTO).
#[test]
fn a_tiny_idle_timeout_is_stretched_to_three_probe_timeouts() {
    let hasty = ConnectionConfig { idle_timeout: Duration::from_millis(1), ..config() };
    let mut p = Pair::with(hasty.clone(), hasty, &client_tls(), server_tls());
    p.run_until(Duration::from_secs(1), |p| p.client.conn.is_confirmed());
    p.run_until(Duration::from_secs(1), |p| p.flights.is_empty());
    for side in [Side::Client, Side::Server] {
        let pto = p.peer(side).conn.pto();
        assert!(pto > Duration::from_millis(20));
        let idle = p.peer(side).conn.timers.get(super::super::timers::Timer::Idle);
        assert!(idle > p.now + pto * 2 && idle <= p.now + pto * 3, "{side:?} {pto:?}");
    }
    let pto = p.client.conn.pto();
    p.run_for(pto * 2);
    assert!(!p.client.conn.is_closed() && !p.server().conn.is_closed());
    p.run_for(pto * 10);
    assert_eq!(p.client.closed(), Some(&CloseReason::IdleTimeout));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
//= type=test
//# If the packet number for sending reaches 2^62-1, the sender MUST close the connection without sending a
//# CONNECTION_CLOSE frame or any further packets; an endpoint MAY send a Stateless Reset (Section 10.3) in response to
//# further packets that it receives.
#[test]
fn without_packet_numbers_the_connection_ends_in_silence() {
    for closing in [false, true] {
        let mut p = Pair::new().connected();
        let (now, path) = (p.now, p.client.conn.paths.active_index());
        let last = SentPacket { sent_at: now, size: 40, path, ..SentPacket::default() };
        let conn = &mut p.client.conn;
        // All numbers but the last one, which must not be used, are gone.
        conn.recovery.on_sent(SpaceId::Data, packet_number::MAX - 1, last, &[], &mut conn.paths);
        let sent = p.client.sent;
        if closing {
            p.client.conn.close(1, b"", now);
        }
        p.client.conn.ping();
        p.server().conn.ping();
        p.run_for(Duration::from_secs(3));
        assert_eq!(p.client.sent, sent, "not even a CONNECTION_CLOSE");
        let reason = p.client.closed();
        assert!(closing || matches!(reason, Some(CloseReason::Transport(_))), "{reason:?}");
        assert!(p.client.drained);
    }
}

#[test]
fn keep_alive_holds_the_connection_open() {
    let client =
        ConnectionConfig { idle_timeout: Duration::from_secs(3), keep_alive: Duration::from_secs(1), ..config() };
    let mut p = Pair::with(client, config(), &client_tls(), server_tls()).connected();
    p.run_for(Duration::from_secs(60));
    assert!(!p.client.conn.is_closed() && !p.server().conn.is_closed());
    p.hook = Box::new(|_, _, _| Fate::Drop);
    p.run_for(Duration::from_secs(10));
    assert_eq!(p.client.closed(), Some(&CloseReason::IdleTimeout));
}

#[test]
fn stateless_reset_ends_the_connection() {
    let mut p = Pair::new().connected();
    // The token of the connection ID in use is in the server's parameters.
    let mut rng = Pcg::new(5);
    let mut datagram = vec![0; 60];
    rng.fill(&mut datagram);
    datagram[0] = 0x40 | datagram[0] & 0x3f;
    let local = p.client.conn.local_cid();
    datagram[1..9].copy_from_slice(local.as_slice());
    let (at, now) = (tuple("10.0.0.1:1000", 0), p.now);
    let mut wrong = datagram.clone();
    p.client.conn.receive(&at, Ecn::NotEct, &mut wrong, now);
    assert!(!p.client.conn.is_closed());
    let end = datagram.len() - 16;
    datagram[end..].copy_from_slice(&ResetToken([9; 16]).0);
    p.client.conn.receive(&at, Ecn::NotEct, &mut datagram, now);
    p.flush();
    assert_eq!(p.client.closed(), Some(&CloseReason::StatelessReset));
    p.run_for(Duration::from_secs(5));
    assert!(p.client.drained);
}

/// Sends a 1-RTT packet with these bytes as frames from the client and tells how the server took it.
fn frames_from_client(frames: impl Fn(&mut Writer<'_>)) -> TransportError {
    let mut p = Pair::new().connected();
    let mut buf = vec![0; 1200];
    let now = p.now;
    let path = p.client.conn.paths.active_index();
    let len = p.client.conn.build_plain(Level::OneRtt, path, &mut buf, false, now, |w| frames(w));
    buf.truncate(len);
    let at = crate::base::FourTuple { local: None, remote: "10.0.0.1:1000".parse().unwrap(), socket: 0 };
    p.server().conn.receive(&at, Ecn::NotEct, &mut buf, now);
    p.run_for(Duration::from_millis(200));
    match (p.server().closed().cloned(), p.client.closed().cloned()) {
        (Some(CloseReason::Transport(e)), Some(CloseReason::Peer { code, frame_type, app: false, .. })) => {
            assert_eq!((e.code, e.frame_type), (code, frame_type), "the peer hears the same");
            e
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn protocol_errors_are_blamed_on_their_frames() {
    let cases: [(Frame<'_>, u64, u64); 7] = [
        (Frame::HandshakeDone, transport::PROTOCOL_VIOLATION, 0x1e),
        (Frame::NewToken(b"x"), transport::PROTOCOL_VIOLATION, 0x07),
        (Frame::RetireConnectionId(400), transport::PROTOCOL_VIOLATION, 0x19),
        (Frame::MaxStreamData { id: crate::base::StreamId(2), max: 1 }, transport::STREAM_STATE_ERROR, 0x11),
        (Frame::StopSending { id: crate::base::StreamId(1), code: 0 }, transport::STREAM_STATE_ERROR, 0x05),
        (
            Frame::Stream { id: crate::base::StreamId(4000), offset: 0, fin: false, data: b"x" },
            transport::STREAM_LIMIT_ERROR,
            0x0a,
        ),
        (Frame::Crypto { offset: 1 << 20, data: b"x" }, transport::CRYPTO_BUFFER_EXCEEDED, 0x06),
    ];
    for (frame, code, ty) in cases {
        let error = frames_from_client(|w| frame.write(w).unwrap());
        assert_eq!(error.code, code, "{frame:?} {error}");
        if ty != 0x0a {
            assert_eq!(error.frame_type, ty, "{frame:?}");
        } else {
            assert!((0x08..=0x0f).contains(&error.frame_type));
        }
    }
}

#[test]
fn unknown_frames_and_acks_of_nothing_are_errors() {
    let error = frames_from_client(|w| w.varint(0x3f).unwrap());
    assert_eq!(error.code, transport::FRAME_ENCODING_ERROR);
    let error = frames_from_client(|w| {
        crate::wire::frame::write_ack(w, core::iter::once(9000..=9000), 0, None).unwrap();
    });
    assert_eq!((error.code, error.frame_type), (transport::PROTOCOL_VIOLATION, 0x02));
}

#[test]
fn tls_messages_after_the_handshake_are_unexpected() {
    // KeyUpdate (RFC 9001 section 6): update_not_requested.
    let error = frames_from_client(|w| Frame::Crypto { offset: 0, data: &[24, 0, 0, 1, 0] }.write(w).unwrap());
    assert_eq!(error.code, transport::CRYPTO_ERROR + 10);
}

#[test]
fn empty_packet_is_a_violation() {
    let mut p = Pair::new().connected();
    let (now, path) = (p.now, p.client.conn.paths.active_index());
    // A payload of no bytes needs a packet number of four (RFC 9001 section 5.4.2): write it by hand.
    let pn = p.client.conn.recovery.next_packet_number(path, crate::base::SpaceId::Data);
    let dcid = p.client.conn.peer_cid_of(path).unwrap();
    let mut packet = vec![0; 1 + dcid.len() + 4 + 16];
    let mut w = Writer::new(&mut packet);
    let phase = p.client.conn.data.keys.as_ref().unwrap().phase();
    let pn_at = crate::wire::header::write_short(&mut w, &dcid, false, phase, pn, 4).unwrap();
    p.client.conn.data.keys.as_mut().unwrap().protect(&mut packet, pn_at, 4, pn);
    let at = crate::base::FourTuple { local: None, remote: "10.0.0.1:1000".parse().unwrap(), socket: 0 };
    p.server().conn.receive(&at, Ecn::NotEct, &mut packet, now);
    p.flush();
    assert!(matches!(p.server().closed(), Some(CloseReason::Transport(e)) if e.code == transport::PROTOCOL_VIOLATION));
}

#[test]
fn reserved_bits_are_a_violation() {
    let mut p = Pair::new().connected();
    let path = p.client.conn.paths.active_index();
    let pn = p.client.conn.recovery.next_packet_number(path, crate::base::SpaceId::Data);
    let dcid = p.client.conn.peer_cid_of(path).unwrap();
    let mut packet = vec![0; 1 + dcid.len() + 4 + 1 + 16];
    let mut w = Writer::new(&mut packet);
    let phase = p.client.conn.data.keys.as_ref().unwrap().phase();
    let pn_at = crate::wire::header::write_short(&mut w, &dcid, false, phase, pn, 4).unwrap();
    Frame::Ping.write(&mut w).unwrap();
    packet[0] |= 0x08;
    p.client.conn.data.keys.as_mut().unwrap().protect(&mut packet, pn_at, 4, pn);
    let at = crate::base::FourTuple { local: None, remote: "10.0.0.1:1000".parse().unwrap(), socket: 0 };
    let now = p.now;
    p.server().conn.receive(&at, Ecn::NotEct, &mut packet, now);
    p.flush();
    assert!(matches!(p.server().closed(), Some(CloseReason::Transport(e)) if e.code == transport::PROTOCOL_VIOLATION));
}

#[test]
fn a_client_that_closes_as_soon_as_it_is_connected_completes_the_handshake() {
    let mut p = Pair::new();
    while !p.client.conn.is_established() {
        assert!(p.step());
    }
    // Its Finished has not left yet.
    let now = p.now;
    p.client.conn.close(0x77, b"done", now);
    p.run_for(Duration::from_secs(1));
    assert!(p.server().saw(|e| matches!(e, Event::Connected { .. })));
    let expected = CloseReason::Peer { code: 0x77, app: true, frame_type: 0, reason: b"done"[..].into() };
    assert_eq!(p.server().closed(), Some(&expected));
    // The server has learned the round-trip time: three PTOs are short.
    assert!(p.server().drained && p.client.drained);
}

#[test]
fn a_draining_connection_keeps_what_it_is_asked_about_and_nothing_else() {
    for cut_short in [false, true] {
        let mut p = Pair::new();
        p.run_until(Duration::from_secs(1), |p| p.server.as_ref().is_some_and(|s| cut_short || s.conn.is_confirmed()));
        let now = p.now;
        p.client.conn.close(1, b"", now);
        p.run_until(Duration::from_secs(1), |p| p.server().conn.is_closed());
        let conn = &p.server().conn;
        assert!(!conn.is_drained());
        assert!(conn.hs.is_none() && conn.tls.is_none() && conn.data.keys.is_none());
        assert_eq!(conn.recovery.heap_bytes(), 0);
        assert_eq!(conn.alpn(), Some(&b"test"[..]));
        assert_eq!(conn.server_name(), Some("localhost"));
    }
}
