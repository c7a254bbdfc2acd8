//! RFC 9001 section 6 between two ends.
use crate::base::{Timestamp, codes};
use crate::crypto::{Cipher, OneRttKeys, OneRttOpenError, Opened};
use core::time::Duration;

const PTO: Duration = Duration::from_millis(100);

struct Pair {
    a: OneRttKeys,
    b: OneRttKeys,
    now: Timestamp,
}

fn pair() -> Pair {
    let (x, y) = ([1; 32], [2; 32]);
    Pair {
        a: OneRttKeys::new(1, Cipher::Aes128Gcm, &x, &y),
        b: OneRttKeys::new(1, Cipher::Aes128Gcm, &y, &x),
        now: Timestamp(1_000_000_000),
    }
}

fn sealed(keys: &mut OneRttKeys, pn: u64) -> Vec<u8> {
    let mut packet = vec![0x41 | if keys.phase() { 4 } else { 0 }, 7, 7, 7, 7];
    packet.extend_from_slice(&(pn as u16).to_be_bytes());
    packet.extend_from_slice(&[1, 0, 0, 0]);
    packet.extend_from_slice(&[0; 16]);
    keys.protect(&mut packet, 5, 2, pn);
    packet
}

fn open(keys: &mut OneRttKeys, packet: &[u8], now: Timestamp) -> Result<Opened, OneRttOpenError> {
    let mut packet = packet.to_vec();
    let (pn_len, pn) = keys.unmask(&mut packet, 5).unwrap();
    keys.open(&mut packet, 5 + pn_len, u64::from(pn), now, PTO)
}

fn ok(keys: &mut OneRttKeys, packet: &[u8], now: Timestamp) -> bool {
    let opened = open(keys, packet, now).unwrap();
    assert_eq!(opened.len, 4);
    opened.peer_updated
}

fn fatal(result: Result<Opened, OneRttOpenError>) -> u64 {
    match result {
        Err(OneRttOpenError::Fatal(error)) => error.code,
        other => panic!("expected a fatal error, got {other:?}"),
    }
}

impl Pair {
    /// One packet each way, acknowledged.
    fn exchange(&mut self, pn: u64) {
        let p = sealed(&mut self.a, pn);
        ok(&mut self.b, &p, self.now);
        let p = sealed(&mut self.b, pn);
        ok(&mut self.a, &p, self.now);
        self.a.on_packet_acked(pn);
        self.b.on_packet_acked(pn);
    }
}

#[test]
fn both_ends_follow_an_update_many_times() {
    let mut p = pair();
    for round in 0..10u64 {
        p.exchange(round * 4);
        p.now = p.now + PTO * 4;
        let (starter, other) = if round % 2 == 0 { (&mut p.a, &mut p.b) } else { (&mut p.b, &mut p.a) };
        assert!(starter.initiate_update(p.now), "round {round}");
        assert_eq!(starter.generation(), round + 1);
        let packet = sealed(starter, round * 4 + 1);
        assert!(ok(other, &packet, p.now), "the first packet of the phase tells");
        assert_eq!(other.phase(), starter.phase());
        let packet = sealed(starter, round * 4 + 2);
        assert!(!ok(other, &packet, p.now));
        let packet = sealed(other, round * 4 + 2);
        assert!(!ok(starter, &packet, p.now));
    }
}

#[test]
fn no_second_update_before_the_first_is_acknowledged() {
    let mut p = pair();
    assert!(!p.a.initiate_update(p.now), "nothing acknowledged yet");
    p.exchange(0);
    assert!(p.a.initiate_update(p.now));
    assert!(!p.a.initiate_update(p.now));
    p.a.on_packet_acked(0);
    assert!(!p.a.initiate_update(p.now), "an old packet proves nothing about the new phase");
    let packet = sealed(&mut p.a, 1);
    assert!(ok(&mut p.b, &packet, p.now));
    let packet = sealed(&mut p.b, 1);
    ok(&mut p.a, &packet, p.now);
    p.a.on_packet_acked(1);
    assert!(!p.a.initiate_update(p.now), "the old keys are still kept");
    assert_eq!(p.a.deadline(), Some(p.now + PTO * 3));
    assert!(p.a.initiate_update(p.now + PTO * 3));
}

#[test]
fn reordered_packets_open_with_old_keys_until_they_are_discarded() {
    let mut p = pair();
    p.exchange(0);
    let late = sealed(&mut p.a, 1);
    let later = sealed(&mut p.a, 2);
    assert!(p.a.initiate_update(p.now));
    let new = sealed(&mut p.a, 3);
    assert!(ok(&mut p.b, &new, p.now));
    assert!(!ok(&mut p.b, &late, p.now));
    assert_eq!(p.b.deadline(), Some(p.now + PTO * 3));
    assert_eq!(open(&mut p.b, &later, p.now + PTO * 3), Err(OneRttOpenError::Failed));
    assert_eq!(p.b.deadline(), None);
}

#[test]
fn packets_of_the_old_phase_open_while_the_peer_has_not_followed() {
    let mut p = pair();
    p.exchange(0);
    assert!(p.a.initiate_update(p.now));
    for pn in 1..5 {
        let packet = sealed(&mut p.b, pn);
        assert!(!ok(&mut p.a, &packet, p.now + PTO * 50));
    }
    assert_eq!(p.a.deadline(), None, "the clock starts with the first packet of the new phase");
}

#[test]
fn newer_keys_on_a_lower_number_are_an_error() {
    // RFC 9001 section 6.4, both ways in which it can show.
    let mut p = pair();
    p.exchange(0);
    let high = sealed(&mut p.a, 9);
    assert!(p.a.initiate_update(p.now));
    let low = sealed(&mut p.a, 5);
    ok(&mut p.b, &high, p.now);
    assert_eq!(fatal(open(&mut p.b, &low, p.now)), codes::transport::KEY_UPDATE_ERROR);

    let mut p = pair();
    p.exchange(0);
    let old = sealed(&mut p.a, 7);
    assert!(p.a.initiate_update(p.now));
    let new = sealed(&mut p.a, 8);
    let low = sealed(&mut p.a, 5);
    assert!(ok(&mut p.b, &new, p.now));
    ok(&mut p.b, &old, p.now);
    assert_eq!(fatal(open(&mut p.b, &low, p.now)), codes::transport::KEY_UPDATE_ERROR);
}

#[test]
fn an_update_before_we_sent_anything_in_the_phase_is_an_error() {
    let mut p = pair();
    let packet = sealed(&mut p.a, 0);
    ok(&mut p.b, &packet, p.now);
    // The peer cannot have an acknowledgement: we sent nothing.
    p.a.on_packet_acked(0);
    assert!(p.a.initiate_update(p.now));
    let packet = sealed(&mut p.a, 1);
    assert_eq!(fatal(open(&mut p.b, &packet, p.now)), codes::transport::KEY_UPDATE_ERROR);
}

#[test]
fn a_forged_phase_changes_nothing() {
    let mut p = pair();
    p.exchange(0);
    for first in [0x45u8, 0x41] {
        let mut forged = vec![first; 40];
        let (len, _) = p.b.unmask(&mut forged, 5).unwrap();
        forged[0] = first;
        let result = p.b.open(&mut forged, 5 + len, 1, p.now, PTO);
        assert_eq!(result, Err(OneRttOpenError::Failed));
    }
    assert_eq!(p.b.generation(), 0);
    p.exchange(1);
}

#[test]
fn limits_of_both_kinds() {
    let mut p = pair();
    p.a.set_limits(10, 3, 6);
    p.b.set_limits(10, 3, 6);
    for pn in 0..6 {
        assert!(!p.a.wants_update());
        sealed(&mut p.a, pn);
    }
    assert!(p.a.wants_update() && !p.a.exhausted());
    for pn in 6..10 {
        sealed(&mut p.a, pn);
    }
    assert!(p.a.exhausted());
    p.a.on_packet_acked(9);
    assert!(p.a.initiate_update(p.now));
    assert!(!p.a.exhausted() && !p.a.wants_update(), "new keys, new count");

    let junk = [0x41; 40];
    assert_eq!(open(&mut p.b, &junk, p.now), Err(OneRttOpenError::Failed));
    assert_eq!(open(&mut p.b, &junk, p.now), Err(OneRttOpenError::Failed));
    assert_eq!(fatal(open(&mut p.b, &junk, p.now)), codes::transport::AEAD_LIMIT_REACHED);

    let mut fresh = pair().a;
    fresh.set_limits(u64::MAX, u64::MAX, u64::MAX);
    assert_eq!(Cipher::Aes128Gcm.confidentiality_limit(), 1 << 23);
    assert!(!fresh.wants_update());
}

#[test]
fn versions_update_with_their_own_labels() {
    let (x, y) = ([1; 48], [2; 48]);
    let mut one = OneRttKeys::new(1, Cipher::Aes256Gcm, &x, &y);
    let mut two = OneRttKeys::new(codes::VERSION_2, Cipher::Aes256Gcm, &x, &y);
    assert_ne!(sealed(&mut one, 1), sealed(&mut two, 1));
}
