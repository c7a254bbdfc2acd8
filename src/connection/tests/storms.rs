//! Addresses that change while most datagrams are lost: what keeps a connection from falling silent.
use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use super::super::{ConnectionConfig, Event};
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls, tuple};
use crate::base::{Dir, Ecn, Side, Timestamp};
use crate::streams::ReadOk;

const SECOND: Duration = Duration::from_secs(1);
const MOVED: &str = "10.0.0.1:7777";

fn keeping_alive(every: Duration) -> Pair {
    let idle_timeout = Duration::from_secs(300);
    let client = ConnectionConfig { idle_timeout, keep_alive: every, ..config() };
    let server = ConnectionConfig { idle_timeout, ..config() };
    Pair::with(client, server, &client_tls(), server_tls()).connected()
}

/// Everything is lost from now on; the sizes of what the client sends are noted.
fn deafen(p: &mut Pair) -> Rc<RefCell<Vec<usize>>> {
    let sizes = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&sizes);
    p.hook = Box::new(move |side, _, bytes| {
        if side.is_client() {
            notes.borrow_mut().push(bytes.len());
        }
        Fate::Drop
    });
    sizes
}

#[test]
fn keep_alive_does_not_wait_for_the_backoff() {
    let mut p = keeping_alive(SECOND);
    p.run_for(SECOND * 2);
    let sizes = deafen(&mut p);
    p.run_for(SECOND * 100);
    // Probe timeouts alone would be eight or nine, and the last gap nearly a minute.
    assert!(sizes.borrow().len() >= 75, "{} datagrams in 100 s", sizes.borrow().len());
    assert!(p.client.conn.stats().bytes_in_flight <= p.client.conn.stats().congestion_window);
}

/// PINGs that came faster than the probe timer would put it off for ever, and what was lost before them with it.
#[test]
fn keep_alive_does_not_put_off_probes() {
    let mut p = keeping_alive(SECOND / 10);
    p.run_for(SECOND * 2);
    let id = p.start(Side::Client, Dir::Uni);
    let sizes = deafen(&mut p);
    p.client.conn.write(id, &pattern(500)).unwrap();
    p.run_for(SECOND * 10);
    // A PING alone has 29 bytes; after some timeouts in vain data come in small pieces.
    let large = sizes.borrow().iter().filter(|n| **n >= 100).count();
    let timeouts = p.client.conn.stats().pto_count;
    assert!((4..=9).contains(&timeouts), "{timeouts} timeouts, each twice as long as the one before");
    assert!(large > usize::try_from(timeouts).unwrap(), "the data went along: {:?}", sizes.borrow());
}

#[test]
fn probes_in_vain_are_large_enough_for_a_full_answer_and_for_any_path() {
    let mut p = keeping_alive(Duration::ZERO);
    // The search for the MTU is over: datagrams may be larger than 1200 bytes.
    let id = p.start(Side::Client, Dir::Uni);
    assert!(p.transfer(Side::Client, id, &pattern(100_000), SECOND * 10) == pattern(100_000));
    assert!(p.client.conn.stats().mtu > 1200);
    let sizes = deafen(&mut p);
    p.client.conn.ping();
    p.run_for(SECOND * 20);
    let sizes = sizes.borrow();
    assert!(sizes.len() >= 12 && sizes[..5].iter().all(|n| *n < 100), "{sizes:?}");
    assert_eq!(sizes.iter().filter(|n| **n == 1200).count(), 2, "one of each third pair: {sizes:?}");
    // Nor is a probe that carries data larger.
    let mut p = keeping_alive(Duration::ZERO);
    let id = p.start(Side::Client, Dir::Uni);
    assert!(p.transfer(Side::Client, id, &pattern(100_000), SECOND * 10) == pattern(100_000));
    let id = p.start(Side::Client, Dir::Uni);
    let sizes = deafen(&mut p);
    p.client.conn.write(id, &pattern(5000)).unwrap();
    p.run_for(SECOND * 20);
    let sizes = sizes.borrow();
    assert!(sizes.len() > 12 && sizes[..3].iter().all(|n| *n > 1200), "{sizes:?}");
    assert!(sizes[sizes.len() - 6..].iter().all(|n| *n <= 1200), "{sizes:?}");
}

/// What the server sends to a new address before that is proved.
#[test]
fn the_first_small_packet_from_a_new_address_is_acknowledged() {
    let mut p = keeping_alive(Duration::ZERO);
    p.run_for(SECOND);
    // Full datagrams are lost, and with them every proof of the address.
    p.hook = Box::new(|_, _, bytes| if bytes.len() > 1000 { Fate::Drop } else { Fate::Deliver });
    p.nat[0].1 = MOVED.parse().unwrap();
    let acks = p.client.conn.stats().acks_received;
    p.client.conn.ping();
    p.run_for(SECOND / 5);
    assert!(p.server().saw(|e| matches!(e, Event::Migrated { .. })));
    assert!(!p.server().conn.paths.active().is_validated());
    assert!(p.client.conn.stats().acks_received > acks, "the challenge brings the acknowledgement along");
    // No challenge is due now.
    let acks = p.client.conn.stats().acks_received;
    p.client.conn.ping();
    p.run_for(SECOND / 5);
    assert!(p.client.conn.stats().acks_received > acks, "one fits into the rest of the budget");
    let active = p.server().conn.paths.active();
    assert!(active.bytes_sent <= active.bytes_received * 3);
}

#[test]
fn what_went_to_the_old_address_is_repeated_at_the_new_one() {
    let mut p = keeping_alive(Duration::ZERO);
    p.run_for(SECOND);
    p.nat[0].1 = MOVED.parse().unwrap();
    let id = p.start(Side::Server, Dir::Uni);
    p.server().conn.write(id, b"lost for a minute").unwrap();
    p.run_for(SECOND * 60);
    assert!(p.server().conn.recovery.pto_count() > 5);
    p.client.conn.ping();
    p.run_for(SECOND / 5);
    assert!(p.server().conn.recovery.pto_count() == 0, "the backoff was that of another address");
    let mut buf = [0; 100];
    let ReadOk { len, .. } = p.client.conn.read(id, &mut buf).expect("it is there");
    assert_eq!(&buf[..len], b"lost for a minute");
}

/// RFC 9000 section 8.2.4: giving up is a timer's business, and as long as the client is heard there the address is not
/// the reason for the missing answer.
#[test]
fn a_new_address_is_kept_while_the_client_is_heard_there() {
    let mut p = keeping_alive(SECOND);
    p.run_for(SECOND * 2);
    // PATH_CHALLENGE and PATH_RESPONSE travel in full datagrams: none arrives for ten seconds.
    p.hook = Box::new(|_, _, bytes| if bytes.len() > 1000 { Fate::Drop } else { Fate::Deliver });
    p.nat[0].1 = MOVED.parse().unwrap();
    p.run_for(SECOND * 10);
    let moved = MOVED.parse().unwrap();
    assert_eq!(p.server().conn.path().remote, moved);
    assert!(!p.server().saw(|e| matches!(e, Event::PathFailed { .. })), "nothing was given up");
    p.hook = Box::new(|_, _, _| Fate::Deliver);
    p.run_for(SECOND * 15);
    assert!(p.server().saw(|e| matches!(e, Event::PathValidated { tuple, .. } if tuple.remote == moved)));
}

/// The network dies in the middle of an upload that fills the window: what is in flight counts as lost after some probes in
/// vain, and keep-alives go out between those that follow, within the window. They find the network alive again long before
/// the next probe.
#[test]
fn keep_alive_goes_out_although_the_window_was_full() {
    for keep_alive in [SECOND / 10, SECOND] {
        let mut p = keeping_alive(keep_alive);
        let id = p.start(Side::Client, Dir::Uni);
        let data = pattern(3 << 20);
        let written = p.client.conn.write(id, &data).unwrap();
        p.run_for(SECOND / 20);
        let stats = p.client.conn.stats();
        assert!(stats.bytes_in_flight + 1452 > stats.congestion_window, "{stats:?}");
        let sizes = deafen(&mut p);
        for _ in 0..100 {
            p.run_for(SECOND);
            let stats = p.client.conn.stats();
            let room = stats.congestion_window.max(2400);
            assert!(
                p.client.conn.recovery.pto_count() < 6 || stats.bytes_in_flight <= room,
                "{} of {room}, {:?}",
                stats.bytes_in_flight,
                sizes.borrow()
            );
        }
        let small = sizes.borrow().iter().filter(|n| **n < 200).count();
        assert!(small > 60, "{small} keep-alives and {} datagrams", sizes.borrow().len());
        // The next probe is far away, the next keep-alive is not.
        let timeouts = p.client.conn.stats().pto_count;
        p.hook = Box::new(|_, _, _| Fate::Deliver);
        let back = p.now;
        p.run_until(SECOND * 15, |p| p.client.conn.recovery.pto_count() == 0);
        assert_eq!(p.client.conn.stats().pto_count, timeouts, "no probe had to help: {:?}", p.now.since(back));
        let mut buf = vec![0; 1 << 20];
        let mut got = Vec::new();
        p.run_until(SECOND * 60, |p| {
            while let Ok(ok) = p.server().conn.read(id, &mut buf) {
                got.extend_from_slice(&buf[..ok.len]);
            }
            p.flush();
            got.len() == written
        });
        assert!(got == data[..written]);
    }
}

/// A client whose window is full of an upload: nothing that counts may leave.
fn with_a_full_window() -> Pair {
    let mut p = keeping_alive(Duration::ZERO);
    let id = p.start(Side::Client, Dir::Uni);
    p.client.conn.write(id, &pattern(1 << 20)).unwrap();
    p.flush();
    let full = p.client.conn.stats();
    assert!(full.bytes_in_flight + 1200 > full.congestion_window, "{full:?}");
    p
}

/// PATH_CHALLENGE and PATH_RESPONSE keep to the window of their path (RFC 9002 section 7), and are not held for ever: what
/// is in flight is acknowledged or lost, or the probe timer lets them go.
//= https://www.rfc-editor.org/rfc/rfc9002#section-7
//= type=test
//# An endpoint MUST NOT send a packet if it would cause bytes_in_flight (see Appendix B.2) to be larger than the
//# congestion window, unless the packet is sent on a PTO timer expiration (see Section 6.2) or when entering recovery (see
//# Section 7.3.2).
//= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
//= type=test
//# An endpoint MUST NOT delay transmission of a packet containing a PATH_RESPONSE frame unless constrained by congestion
//# control.
#[test]
fn path_frames_keep_to_the_window() {
    for answered in [true, false] {
        let mut p = with_a_full_window();
        let (now, sent) = (p.now, p.client.sent);
        // What the server asks for, without the datagram that asks.
        let path = p.client.conn.paths.active_index();
        p.client.conn.paths.on_path_challenge(path, *b"question");
        p.flush();
        assert_eq!((p.now, p.client.sent), (now, sent), "the window is full");
        if !answered {
            deafen(&mut p);
        }
        let waits = |p: &Pair| p.client.conn.paths.active().validation.wants_response();
        p.run_until(SECOND, |p| !waits(p));
        assert!(!waits(&p), "it was sent in the end");
        assert_eq!(p.client.conn.stats().pto_count, u64::from(!answered), "as soon as there was room, or as a probe");
    }
}

/// The same datagram by datagram: a challenge that the window holds takes one of the probes that an expired timer lets go,
/// one that the window admits takes none, and what tests the peer's liveness without a timer is no such probe.
#[test]
fn a_challenge_beyond_the_window_is_one_of_the_probes() {
    let mut p = with_a_full_window();
    let mut out = vec![0; 1500];
    let (now, path) = (p.now, p.client.conn.paths.active_index());
    let conn = &mut p.client.conn;
    let ask = |conn: &mut super::super::Connection| conn.paths.start_validation(path, conn.rng.as_mut(), now);
    let send = |conn: &mut super::super::Connection, out: &mut [u8]| conn.transmit_path_frames(now, out).map(|t| t.len);
    ask(conn);
    assert_eq!(send(conn, &mut out), None);
    assert!(conn.paths.active().validation.wants_challenge(), "it waits");
    conn.control.probes[2] = 2;
    assert_eq!(send(conn, &mut out), None, "no timer has expired");
    conn.control.expired = true;
    assert_eq!(send(conn, &mut out), Some(1200));
    assert_eq!(conn.control.probes[2], 1);
    ask(conn);
    assert_eq!(send(conn, &mut out), Some(1200));
    ask(conn);
    assert_eq!((send(conn, &mut out), conn.control.probes[2]), (None, 0), "both are used up");
    // Room again: no probe is needed, and none is used.
    conn.control.probes[2] = 2;
    conn.give_up(Timestamp::NEVER, now);
    assert_eq!(send(conn, &mut out), Some(1200));
    assert_eq!(conn.control.probes[2], 2);
}

/// A validation that could not even ask is not over: its time begins when the window lets the challenge go.
#[test]
fn a_validation_does_not_fail_while_the_window_holds_its_challenge() {
    let mut p = with_a_full_window();
    let (now, path) = (p.now, p.client.conn.paths.active_index());
    let conn = &mut p.client.conn;
    conn.paths.start_validation(path, conn.rng.as_mut(), now);
    let end = now + conn.paths.validation_pto() * 3;
    assert!(conn.paths.on_deadline(end, conn.rng.as_mut(), None).is_empty());
    assert!(conn.paths.active().validation.is_pending());
    conn.give_up(Timestamp::NEVER, end);
    assert!(conn.transmit_path_frames(end, &mut vec![0; 1500]).is_some());
    let end = end + conn.paths.validation_pto() * 3;
    assert!(!conn.paths.on_deadline(end, conn.rng.as_mut(), None).is_empty(), "asked, and not answered");
}

/// A side that only receives asks for an acknowledgement now and then (RFC 9000 section 13.2.4), but not beyond the window.
#[test]
fn a_ping_beside_acknowledgements_keeps_to_the_window() {
    for full in [true, false] {
        let mut p = if full { with_a_full_window() } else { keeping_alive(Duration::ZERO) };
        p.run_for(if full { Duration::ZERO } else { SECOND });
        let now = p.now;
        let conn = &mut p.client.conn;
        if full {
            conn.paths.active_mut().recovery.cc.on_persistent_congestion();
        }
        conn.control.acks_unanswered = u8::MAX;
        conn.data.received.on_packet(1 << 20, true, Ecn::NotEct, now);
        conn.data.received.request_immediate();
        conn.data.received.on_batch_end(now);
        let (sent, acks) = (conn.stats().bytes_in_flight, conn.stats().acks_sent);
        assert!(conn.transmit(now, &mut [0; 1500], 1).is_some());
        assert_eq!(conn.stats().acks_sent, acks + 1);
        assert_eq!(conn.stats().bytes_in_flight > sent, !full, "a PING went along: {:?}", conn.stats());
    }
}

/// The client's network changes under it, the new one never answers, and another that was proved before lies idle: there it
/// goes on.
#[test]
fn a_client_whose_path_fails_goes_on_by_one_that_was_proved() {
    let mut p = keeping_alive(Duration::ZERO);
    let refuge = tuple("10.0.9.9:1", 7);
    p.nat.push((refuge, "10.0.9.9:1".parse().unwrap()));
    let now = p.now;
    p.client.conn.probe_path(refuge, now).unwrap();
    p.run_for(SECOND);
    assert!(p.client.saw(|e| matches!(e, Event::PathValidated { tuple, .. } if *tuple == refuge)));
    // The old network is gone, and nothing gets out of the new one.
    p.nat.remove(0);
    let (now, dead) = (p.now, tuple("10.0.8.8:1", 8));
    p.client.conn.on_local_address_changed(dead, now);
    assert_eq!(p.client.conn.path(), dead);
    let id = p.start(Side::Client, Dir::Uni);
    assert!(p.transfer(Side::Client, id, &pattern(50_000), SECOND * 60) == pattern(50_000));
    assert_eq!(p.client.conn.path(), refuge);
}

/// A path that the client is moving to is asked anew when no answer came in time and the path in use is silent, and given
/// up when that works.
#[test]
fn the_only_way_on_is_not_given_up() {
    for dead in [true, false] {
        let mut p = keeping_alive(SECOND);
        p.run_for(SECOND * 2);
        let new = tuple("10.0.9.9:1", 7);
        p.nat.push((new, "10.0.9.9:1".parse().unwrap()));
        let now = p.now;
        p.client.conn.migrate(new, now).unwrap();
        if dead {
            p.nat.remove(0);
        }
        p.hook = Box::new(|_, _, bytes| if bytes.len() > 1000 { Fate::Drop } else { Fate::Deliver });
        p.run_for(SECOND * 10);
        assert_eq!(p.client.saw(|e| matches!(e, Event::PathFailed { .. })), !dead);
        p.hook = Box::new(|_, _, _| Fate::Deliver);
        p.run_for(SECOND * 20);
        assert_eq!(p.client.conn.path() == new, dead);
    }
}
