//! What the congestion window lets out, and what goes out in spite of it (RFC 9002 sections 6.2 and 7).
use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use super::super::{ConnectionConfig, Event};
use super::pair::{Fate, Pair, client_tls, config, pattern, server_tls};
use crate::base::{Dir, Side};
use crate::collections::Chunk;
use crate::congestion::Algorithm;
use crate::streams::DatagramState;

const LIMIT: Duration = Duration::from_secs(20);

/// Everything of the client is lost once its window is full.
fn silenced() -> (Pair, Rc<Cell<bool>>) {
    let mut p = Pair::new().connected();
    let id = p.start(Side::Client, Dir::Uni);
    p.client.conn.write(id, &pattern(200_000)).unwrap();
    let open = Rc::new(Cell::new(false));
    let gate = Rc::clone(&open);
    p.hook = Box::new(move |_, _, _| if gate.get() { Fate::Deliver } else { Fate::Drop });
    p.run_until(LIMIT, |p| {
        let stats = p.client.conn.stats();
        stats.bytes_in_flight + stats.mtu > stats.congestion_window
    });
    (p, open)
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2
//= type=test
//# A PTO timer expiration event does not indicate packet loss and MUST NOT cause prior unacknowledged packets to be
//# marked as lost.
//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.4
//= type=test
//# When a PTO timer expires, a sender MUST send at least one ack- eliciting packet in the packet number space as a
//# probe.
//= https://www.rfc-editor.org/rfc/rfc9002#section-7.5
//= type=test
//# Probe packets MUST NOT be blocked by the congestion controller.
//= https://www.rfc-editor.org/rfc/rfc9002#section-7.5
//= type=test
//# A sender MUST however count these packets as being additionally in flight, since these packets add network load
//# without establishing packet loss.
#[test]
fn probes_leave_a_full_window_and_count() {
    let (mut p, open) = silenced();
    let before = (p.client.conn.stats(), p.client.sent);
    p.run_until(LIMIT, |p| p.client.conn.stats().pto_count > before.0.pto_count);
    p.flush();
    let after = p.client.conn.stats();
    let probes = p.client.sent - before.1;
    assert!((1..=2).contains(&probes), "{probes}");
    assert!(after.bytes_in_flight > before.0.bytes_in_flight, "they count");
    assert!(after.bytes_in_flight > after.congestion_window, "and nothing held them back");
    assert_eq!(after.packets_lost, before.0.packets_lost, "a timeout declares nothing lost");
    // The next ones get through: each elicits an answer, and that ends the trouble.
    open.set(true);
    let acks = after.acks_received;
    p.run_until(LIMIT, |p| p.client.conn.stats().acks_received > acks);
    let now = p.client.conn.stats();
    assert_eq!(now.pto_count, after.pto_count + 1);
    assert!(now.packets_lost > after.packets_lost);
}

/// A datagram is no exception: it waits, and goes when the window lets it.
//= https://www.rfc-editor.org/rfc/rfc9221#section-5.4
//= type=test
//# The sender MUST either delay sending the frame until the controller allows it or drop the frame without sending it
//# (at which point it MAY notify the application).
#[test]
fn datagrams_wait_for_the_window() {
    let (mut p, open) = silenced();
    let (sent, timeouts) = (p.client.sent, p.client.conn.stats().pto_count);
    p.client.conn.datagram_send(Chunk::from_vec(vec![1; 1000]), 9).unwrap();
    p.run_for(p.client.conn.pto() / 2);
    assert_eq!((p.client.sent, p.client.conn.stats().pto_count), (sent, timeouts));
    assert!(p.client.conn.datagrams.wants_to_send());
    open.set(true);
    let acknowledged = |e: &Event| matches!(e, Event::DatagramState { tag: 9, state: DatagramState::Acknowledged });
    p.run_until(LIMIT, |p| p.client.saw(acknowledged));
}

/// A datagram that a timeout finds unacknowledged is not lost for that, and its fate is told once.
#[test]
fn a_timeout_tells_nothing_about_a_datagram() {
    let mut p = Pair::new().connected();
    p.hook = Box::new(|from, _, _| if from.is_server() { Fate::Drop } else { Fate::Deliver });
    p.client.conn.datagram_send(Chunk::from_vec(vec![1; 100]), 7).unwrap();
    let before = p.client.conn.stats().pto_count;
    p.run_until(LIMIT, |p| p.client.conn.stats().pto_count > before);
    p.hook = Box::new(|_, _, _| Fate::Deliver);
    p.run_for(Duration::from_secs(2));
    let fates: Vec<_> =
        p.client.events.iter().filter(|e| matches!(e, Event::DatagramState { tag: 7, .. })).cloned().collect();
    let [Event::DatagramState { state: sent, .. }, Event::DatagramState { state: fate, .. }] = fates[..] else {
        panic!("{fates:?}");
    };
    assert_eq!((sent, fate), (DatagramState::Sent, DatagramState::Acknowledged));
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.4
//= type=test
//# All probe packets sent on a PTO MUST be ack-eliciting.
#[test]
fn a_probe_without_data_is_a_ping() {
    let mut p = Pair::new().connected();
    let (acks, sent) = (p.client.conn.stats().acks_received, p.client.sent);
    // As the timer would ask for it, with nothing outstanding that could be sent again.
    p.client.conn.control.probes[2] = 2;
    p.flush();
    assert_eq!(p.client.sent, sent + 2);
    assert!(p.client.conn.stats().bytes_in_flight > 0);
    p.run_for(Duration::from_millis(100));
    assert!(p.client.conn.stats().acks_received > acks);
    assert_eq!(p.client.conn.stats().bytes_in_flight, 0);
}

//= https://www.rfc-editor.org/rfc/rfc9002#section-7
//= type=test
//# An endpoint MUST NOT send a packet if it would cause bytes_in_flight (see Appendix B.2) to be larger than the
//# congestion window, unless the packet is sent on a PTO timer expiration (see Section 6.2) or when entering recovery
//# (see Section 7.3.2).
#[test]
fn the_window_bounds_what_is_in_flight() {
    for (congestion, seed) in [(Algorithm::Cubic, 0), (Algorithm::NewReno, 1)] {
        for pacing in [true, false] {
            let cfg = ConnectionConfig { congestion, pacing, ..config() };
            let mut p = Pair::with(cfg.clone(), cfg, &client_tls(), server_tls()).connected();
            // Three losses on the way, far from each other.
            let mut n = seed;
            p.hook = Box::new(move |from, _, _| {
                n += u64::from(from.is_client());
                if from.is_client() && [60, 300, 700].contains(&n) { Fate::Drop } else { Fate::Deliver }
            });
            let id = p.start(Side::Client, Dir::Uni);
            let data = pattern(2 << 20);
            let (mut written, mut full) = (0, 0u64);
            let mut sink = vec![0; 1 << 16];
            p.run_until(LIMIT, |p| {
                while written < data.len()
                    && let Ok(n @ 1..) = p.client.conn.write(id, &data[written..])
                {
                    written += n;
                }
                let before = p.client.conn.stats();
                p.flush();
                while p.server().conn.read(id, &mut sink).is_ok_and(|ok| ok.len > 0) {}
                let after = p.client.conn.stats();
                // One datagram more may go when recovery begins (section 7.3.2).
                if after.bytes_in_flight > before.bytes_in_flight {
                    let extra =
                        if p.client.conn.paths.active().recovery.congestion_events() > 0 { after.mtu } else { 0 };
                    let most = after.congestion_window.max(before.bytes_in_flight) + extra;
                    assert!(after.bytes_in_flight <= most, "{} > {most}", after.bytes_in_flight);
                }
                full += u64::from(after.bytes_in_flight + after.mtu > after.congestion_window);
                written == data.len() && after.bytes_in_flight == 0
            });
            assert!(full > 0, "the window was the limit at times");
            assert!(p.client.conn.paths.active().recovery.congestion_events() > 0);
        }
    }
}
