//! RFC 9000 section 9.
use super::*;
use crate::recovery::PathLookup;

const HOME: &str = "198.51.100.7:1000";
const NEW_PORT: &str = "198.51.100.7:1001";
const AWAY: &str = "203.0.113.9:2000";

fn validate(w: &mut World, id: u8) -> PathEvent {
    let data = w.paths.next_challenge(id, w.now).unwrap();
    w.paths.on_path_response(id, data, w.now)
}

/// Gives a path an RTT that can be told from the initial one.
fn measure(w: &mut World, id: u8) -> Duration {
    let now = w.now;
    let rtt = &mut w.paths.recovery(id).unwrap().rtt;
    rtt.update(Duration::from_millis(20), Duration::ZERO, now);
    rtt.smoothed()
}

#[test]
fn a_rebinding_keeps_what_was_learnt() {
    let mut w = world(Side::Server, tuple(HOME));
    let learnt = measure(&mut w, 0);
    w.paths.get_mut(0).unwrap().mtu.on_probe_acked(1451);
    let m = w.speak(&tuple(NEW_PORT), 400).unwrap();
    assert!(m.rebinding && m.validate_new && m.validate_old);
    assert_eq!((m.to, m.tuple), (0, tuple(NEW_PORT)), "the number stays with the recovery state");
    let active = w.paths.active();
    assert_eq!(active.tuple, tuple(NEW_PORT));
    assert_eq!(active.recovery.rtt.smoothed(), learnt);
    assert_eq!(active.mtu(), 1451);
    assert_eq!(active.cid.unwrap().sequence, 0, "the peer kept its ID, so do we");
    assert!(!active.is_validated());
    assert_eq!(w.paths.sendable(0), 1200, "three times what came from there");
    assert_eq!(validate(&mut w, 0), PathEvent::Validated { path: 0, tuple: tuple(NEW_PORT) });
    assert_eq!(w.paths.sendable(0), u64::MAX);
    // The old address does not answer: it goes, and its ID, being shared, is not retired.
    let events = w.wait(SECOND * 10);
    assert_eq!(events, [PathEvent::Failed { path: m.from, tuple: tuple(HOME) }]);
    w.paths.retire_freed(&mut w.cids);
    assert!(w.cids.is_active(0) && !w.cids.wants_to_send());
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.4
//= type=test
//# On confirming a peer's ownership of its new address, an endpoint MUST immediately reset the congestion controller
//# and round-trip time estimator for the new path to initial values (see Appendices A.3 and B.3 of [QUIC-RECOVERY])
//# unless the only change in the peer's address is its port number.
#[test]
fn another_host_starts_from_nothing() {
    let mut w = world(Side::Server, tuple(HOME));
    measure(&mut w, 0);
    let id = w.arrive(&tuple(AWAY), 1200).unwrap();
    let m = w.paths.on_non_probing(id, true, w.now).unwrap();
    assert!(!m.rebinding);
    assert_eq!((m.from, m.to), (0, id));
    assert!(w.paths.bind_cid(&m, false, &mut w.cids));
    let active = w.paths.active();
    assert_eq!(active.cid.unwrap().sequence, 1, "a fresh ID: the move is not linkable");
    assert!(active.recovery.rtt.first_sample().is_none());
    assert_eq!(active.mtu(), 1200);
    assert_eq!(w.paths.sendable(id), 3600);
}

#[test]
fn only_the_highest_number_moves_a_connection_and_only_for_a_server() {
    let mut w = world(Side::Server, tuple(HOME));
    let id = w.arrive(&tuple(AWAY), 1200).unwrap();
    assert_eq!(w.paths.on_non_probing(id, false, w.now), None);
    assert_eq!(w.paths.active_index(), 0);
    assert_eq!(w.paths.on_non_probing(0, true, w.now), None);
    let mut c = world(Side::Client, from_local("10.0.0.1:1", 0));
    let id = c.paths.open(from_local("10.0.0.2:1", 1), c.now).unwrap();
    assert_eq!(c.paths.on_non_probing(id, true, c.now), None);
}

#[test]
fn back_to_the_last_validated_address() {
    let mut w = world(Side::Server, tuple(HOME));
    let m = w.speak(&tuple(AWAY), 1200).unwrap();
    // A second spoofed address before the first is decided: the proved one stays the fallback.
    let again = w.speak(&tuple("203.0.113.77:9"), 1200).unwrap();
    assert_eq!(again.from, m.to);
    assert!(!again.validate_old, "the address that is left was never proved");
    // The home address answers its challenge, the spoofed one does not.
    assert_eq!(validate(&mut w, 0), PathEvent::Validated { path: 0, tuple: tuple(HOME) });
    let events = w.wait(SECOND * 10);
    assert!(events.contains(&PathEvent::Reverted { from: again.to, to: 0, tuple: tuple(HOME) }), "{events:?}");
    assert_eq!(w.paths.active_index(), 0);
    assert_eq!(w.paths.sendable(0), u64::MAX);
    assert!(w.paths.get(again.to).is_none());
}

#[test]
fn the_peer_speaking_from_home_ends_a_spoofed_migration() {
    let mut w = world(Side::Server, tuple(HOME));
    let learnt = measure(&mut w, 0);
    for spoofed in [AWAY, NEW_PORT] {
        w.speak(&tuple(spoofed), 1200).unwrap();
        assert_eq!(w.paths.active().tuple, tuple(spoofed));
        let m = w.speak(&tuple(HOME), 100).unwrap();
        assert!(!m.validate_new, "a validated address is taken at its word");
        assert_eq!(w.paths.active().tuple, tuple(HOME));
        assert_eq!(w.paths.active().recovery.rtt.smoothed(), learnt, "and so is its congestion state");
        assert_eq!(w.paths.sendable(w.paths.active_index()), u64::MAX);
    }
}

#[test]
fn a_silent_home_is_still_better_than_an_address_that_never_answered() {
    // A server must not lose the connection because everything was silent for the time of a validation.
    let mut w = world(Side::Server, tuple(HOME));
    let m = w.speak(&tuple(AWAY), 1200).unwrap();
    assert!(m.validate_old);
    let events: Vec<_> = w.wait(SECOND * 10).into_iter().filter(|e| *e != PathEvent::None).collect();
    assert_eq!(events, [PathEvent::Reverted { from: m.to, to: 0, tuple: tuple(HOME) }]);
    assert!(w.speak(&tuple(AWAY), 1200).is_some(), "and the peer may try again");
}

#[test]
fn the_address_that_alone_was_sent_to_is_proved_by_a_handshake_packet() {
    let mut paths = unproved();
    assert_eq!(paths.on_datagram_received(&tuple(HOME), 1200, START), Some(0));
    assert_eq!(paths.sendable(0), 3600);
    paths.on_handshake_packet();
    assert_eq!(paths.sendable(0), 3600, "nothing was sent that it could answer");
    paths.on_bytes_sent(0, 1200);
    let away = paths.on_datagram_received(&tuple(AWAY), 100, START).unwrap();
    paths.on_handshake_packet();
    assert_eq!(paths.sendable(0), u64::MAX);
    let m = paths.on_early_packet(away, START).unwrap();
    assert_eq!((m.to, m.from, m.tuple), (away, 0, tuple(AWAY)));
    assert_eq!((paths.sendable(away), paths.fallback()), (300, Some(0)), "keys are no proof of an address");
    assert_eq!(paths.open(tuple(NEW_PORT), START), None);
    // Nor are they later.
    paths.on_bytes_sent(away, 300);
    paths.on_handshake_packet();
    assert_eq!(paths.sendable(away), 0);
    assert_eq!(paths.on_early_packet(0, START).map(|m| m.to), Some(0), "and back");
    assert_eq!(paths.fallback(), None);
}

fn unproved() -> PathTable {
    let config = (RecoveryConfig::default(), MtuConfig::default());
    PathTable::new(Side::Server, tuple(HOME), false, &config.0, &config.1, START)
}

#[test]
fn which_of_two_addresses_heard_the_server_nobody_knows() {
    // The same whether the first one is still known or was forgotten meanwhile.
    for forgotten in [false, true] {
        let mut paths = unproved();
        paths.on_datagram_received(&tuple(HOME), 1200, START);
        paths.on_bytes_sent(0, 1200);
        let away = paths.on_datagram_received(&tuple(AWAY), 1200, START).unwrap();
        paths.on_early_packet(away, START).unwrap();
        assert_eq!(paths.fallback(), None);
        paths.on_bytes_sent(away, 1200);
        if forgotten {
            paths.on_deadline(START + SECOND * 60, &mut Pcg::new(1), None);
            assert_eq!(paths.iter().count(), 1);
        }
        paths.on_handshake_packet();
        assert!(paths.iter().all(|p| !p.is_validated()));
        // It is asked until it answers: there is no other to go to.
        paths.on_handshake_confirmed(START);
        let mut rng = Pcg::new(2);
        paths.start_validation(away, &mut rng, START);
        let mut now = START;
        let mut asked = 0;
        while now < START + SECOND * 600 {
            assert_eq!(paths.on_deadline(now, &mut rng, None), []);
            asked += u32::from(paths.next_challenge(away, now).is_some());
            now = now + SECOND / 10;
        }
        assert!((8..14).contains(&asked), "{asked}");
    }
}

#[test]
fn before_confirmation_only_the_clients_side_changes() {
    let mut paths = unproved();
    let other = FourTuple { local: Some("192.0.2.99:443".parse().unwrap()), ..tuple(AWAY) };
    assert_eq!(paths.on_datagram_received(&other, 1200, START), None);
    paths.on_handshake_confirmed(START);
    assert!(paths.on_datagram_received(&other, 1200, START).is_some());
    let mut client = PathTable::new(
        Side::Client,
        from_local("10.0.0.1:1", 0),
        true,
        &RecoveryConfig::default(),
        &MtuConfig::default(),
        START,
    );
    assert_eq!(client.on_datagram_received(&tuple(AWAY), 1200, START), None);
}

#[test]
fn forged_addresses_do_not_push_out_real_ones() {
    let mut w = world(Side::Server, tuple(HOME));
    let real = w.arrive(&tuple(AWAY), 1200).unwrap();
    w.paths.on_path_challenge(real, [1; 8]);
    for n in 1..5000u16 {
        let forged = tuple(&format!("192.0.2.200:{n}"));
        assert!(w.arrive(&forged, 50).is_some());
    }
    assert!(w.paths.get(real).is_some());
    assert_eq!(w.paths.iter().count(), 2, "what never authenticated is not shown");
    // Even authentic packets from everywhere leave no more than the bound, and never remove the active path.
    for n in 1..200u16 {
        let id = w.arrive(&tuple(&format!("192.0.2.200:{n}")), 50).unwrap();
        w.paths.on_authenticated(id);
        assert!(w.paths.iter().count() <= MAX_PATHS);
    }
    assert_eq!(w.paths.active().tuple, tuple(HOME));
}

#[test]
fn a_storm_of_rebindings_does_not_run_out_of_anything() {
    let mut w = world(Side::Server, tuple(HOME));
    let learnt = measure(&mut w, 0);
    for n in 0..600u16 {
        let host = if n % 50 == 49 { format!("203.0.113.{}:7", n / 50) } else { format!("198.51.100.7:{}", 2000 + n) };
        let m = w.speak(&tuple(&host), 1200).unwrap();
        assert_eq!(w.paths.active().tuple, tuple(&host));
        assert!(w.paths.active().cid.is_some(), "the peer keeps its ID, so we have one");
        if n % 3 == 0 {
            assert!(matches!(validate(&mut w, m.to), PathEvent::Validated { .. }));
        }
        w.wait(Duration::from_millis(100));
        w.paths.retire_freed(&mut w.cids);
        while let Some(sequence) = w.cids.pop_retire() {
            w.cids.on_retire_acked(sequence);
        }
        assert!(w.paths.iter().count() <= MAX_PATHS);
        if n < 49 {
            assert_eq!(w.paths.active().recovery.rtt.smoothed(), learnt);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.5
//= type=test
//# An endpoint MUST NOT reuse a connection ID when sending from more than one local address -- for example, when
//# initiating connection migration as described in Section 9.2 or when probing a new network path as described in
//# Section 9.1.
#[test]
fn a_client_probes_then_moves() {
    let home = from_local("10.0.0.1:1000", 0);
    let away = from_local("10.9.9.9:1000", 1);
    let mut w = world(Side::Client, home);
    assert_eq!(w.paths.on_datagram_received(&tuple(AWAY), 1200, w.now), None, "an unknown server address");
    let id = w.paths.open(away, w.now).unwrap();
    assert_eq!(w.paths.open(away, w.now), Some(id));
    assert_eq!(w.paths.cid_for(id, &mut w.cids).unwrap().sequence, 1);
    assert_eq!(w.paths.sendable(id), u64::MAX, "the server has proved itself at its address");
    w.paths.start_validation(id, &mut w.rng, w.now);
    assert!(matches!(validate(&mut w, id), PathEvent::Validated { .. }));
    let m = w.paths.migrate(id, w.now).unwrap();
    assert!(!m.validate_new && !m.validate_old && !m.rebinding);
    assert_eq!(w.paths.migrate(id, w.now), None, "there already");
    // Late packets on the old path still count, for a while.
    w.now = w.now + SECOND;
    assert_eq!(w.arrive(&home, 1200), Some(0));
    assert!(w.wait(SECOND * 10).is_empty());
    assert!(w.paths.get(0).is_none());
    w.paths.retire_freed(&mut w.cids);
    assert_eq!(w.cids.pop_retire(), Some(0));
    assert_eq!(w.arrive(&home, 1200), None);
}

#[test]
fn a_client_moves_at_once_and_its_new_port_keeps_the_congestion_state() {
    let mut w = world(Side::Client, from_local("10.0.0.1:1000", 0));
    let learnt = measure(&mut w, 0);
    let next = from_local("10.0.0.1:1001", 1);
    let id = w.paths.open(next, w.now).unwrap();
    let m = w.paths.migrate(id, w.now).unwrap();
    assert!(m.rebinding && m.validate_new);
    assert!(w.paths.bind_cid(&m, false, &mut w.cids));
    assert_eq!((w.paths.active().tuple, m.to), (next, 0));
    assert_eq!(w.paths.active().recovery.rtt.smoothed(), learnt);
    assert_eq!(w.paths.active().cid.unwrap().sequence, 1, "another local address, another ID");
    w.paths.start_validation(m.to, &mut w.rng, w.now);
    // No answer: back to where it worked.
    let events = w.wait(SECOND * 10);
    assert!(matches!(events[..], [PathEvent::Reverted { .. }]), "{events:?}");
    assert_eq!(w.paths.active().tuple, from_local("10.0.0.1:1000", 0));
}

#[test]
fn a_client_whose_only_path_fails_is_told() {
    let mut w = world(Side::Client, from_local("10.0.0.1:1000", 0));
    let id = w.paths.open(from_local("10.0.0.2:1", 1), w.now).unwrap();
    let m = w.paths.migrate(id, w.now).unwrap();
    w.paths.start_validation(m.to, &mut w.rng, w.now);
    assert!(w.paths.close(m.from), "its socket is gone");
    assert!(!w.paths.close(m.to), "never the active one");
    assert!(matches!(w.wait(SECOND * 10)[..], [PathEvent::NoPath { .. }]));
    assert_eq!(w.paths.active_index(), m.to);
}

#[test]
fn an_unbound_client_socket_may_change_its_address() {
    let unbound = FourTuple { local: None, ..from_local("10.0.0.1:1000", 0) };
    let mut w = world(Side::Client, unbound);
    assert_eq!(w.arrive(&from_local("10.0.0.1:1000", 0), 100), Some(0));
    assert_eq!(w.paths.active().tuple.local, Some("10.0.0.1:1000".parse().unwrap()));
    assert_eq!(w.arrive(&from_local("10.0.0.2:1000", 0), 100), Some(0));
    assert_eq!(w.arrive(&from_local("10.0.0.2:1000", 3), 100), None, "a socket that we never used");
}

#[test]
fn path_numbers_are_not_used_again_soon() {
    let mut w = world(Side::Server, tuple(HOME));
    let mut last = 0;
    for n in 1..1000u16 {
        let id = w.arrive(&tuple(&format!("192.0.2.200:{n}")), 50).unwrap();
        assert_ne!(id, last);
        assert_ne!(id, w.paths.active_index());
        last = id;
    }
}

#[test]
fn preferred_addresses_worth_a_probe() {
    use crate::wire::transport_parameters::PreferredAddress;
    let offer = |v4: &str, v6: Option<&str>| PreferredAddress {
        ipv4: v4.parse().ok(),
        ipv6: v6.and_then(|a| a.parse().ok()),
        cid: cid(1),
        token: token(1),
    };
    let choose = |p: &PreferredAddress, remote: &str| preferred_address::choose(p, &tuple(remote));
    let p = offer("198.51.100.1:443", Some("[2001:db8::1]:444"));
    assert_eq!(choose(&p, "192.0.2.1:443"), Some("198.51.100.1:443".parse().unwrap()));
    assert_eq!(choose(&p, "[2001:db8::9]:443"), Some("[2001:db8::1]:444".parse().unwrap()));
    assert_eq!(choose(&p, "198.51.100.1:443"), None, "there already");
    assert_eq!(choose(&offer("127.0.0.1:22", None), "192.0.2.1:443"), None);
    assert!(choose(&offer("127.0.0.1:22", None), "127.0.0.1:443").is_some());
    assert_eq!(choose(&offer("0.0.0.0:443", None), "192.0.2.1:443"), None);
    assert_eq!(choose(&offer("224.0.0.1:443", None), "192.0.2.1:443"), None);
    assert_eq!(choose(&offer("198.51.100.1:0", None), "192.0.2.1:443"), None);
    assert_eq!(choose(&offer("198.51.100.1:443", None), "[2001:db8::9]:443"), None);
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-9.6.2
//= type=test
//# The server MUST send non- probing packets from its original address until it receives a non- probing packet from the
//# client at its preferred address and until the server has validated the new path.
#[test]
fn a_move_to_another_address_of_ours_waits_for_the_proof() {
    let mut w = world(Side::Server, tuple(HOME));
    let preferred = FourTuple { local: Some("192.0.2.99:443".parse().unwrap()), ..tuple(HOME) };
    let id = w.arrive(&preferred, 1200).unwrap();
    assert_eq!(w.paths.on_non_probing(id, true, w.now), None);
    assert!(w.paths.wants_proof(id));
    w.paths.start_validation(id, &mut w.rng, w.now);
    assert!(!w.paths.wants_proof(id) && w.paths.active_index() == 0);
    assert!(matches!(validate(&mut w, id), PathEvent::Validated { .. }));
    let m = w.paths.on_proof(id, w.now).unwrap();
    assert_eq!((m.to, m.tuple, m.validate_new), (id, preferred, false));
    assert_eq!(w.paths.on_proof(id, w.now), None, "once");
    // A client that speaks from home meanwhile has not moved; one that only probes is not waited for.
    let mut w = world(Side::Server, tuple(HOME));
    let id = w.arrive(&preferred, 1200).unwrap();
    assert_eq!(w.paths.on_non_probing(id, true, w.now), None);
    w.paths.on_spoken_at_home(w.now);
    w.paths.start_validation(id, &mut w.rng, w.now);
    assert!(matches!(validate(&mut w, id), PathEvent::Validated { .. }));
    assert_eq!(w.paths.on_proof(id, w.now), None);
    // Validated before it spoke: at once.
    assert!(w.paths.on_non_probing(id, true, w.now).is_some());
}
