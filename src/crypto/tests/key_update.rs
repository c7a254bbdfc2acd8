//! RFC 9001 section 6 between two ends.
use crate::base::{Timestamp, codes};
use crate::crypto::schedule::UPDATES;
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

//= https://www.rfc-editor.org/rfc/rfc9001#section-6.2
//= type=test
//# The endpoint MUST update its send keys to the corresponding key phase in response, as described in Section 6.1.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.2
//= type=test
//# Sending keys MUST be updated before sending an acknowledgment for the packet that was received with updated keys.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.3
//= type=test
//# For this reason, endpoints MUST be able to retain two sets of packet protection keys for receiving packets: the
//# current and the next.
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

//= https://www.rfc-editor.org/rfc/rfc9001#section-6.1
//= type=test
//# An endpoint MUST NOT initiate a subsequent key update unless it has received an acknowledgment for a packet that was
//# sent protected with keys from the current key phase.
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

//= https://www.rfc-editor.org/rfc/rfc9001#section-6.1
//= type=test
//# An endpoint MUST retain old keys until it has successfully unprotected a packet sent using the new keys.
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

//= https://www.rfc-editor.org/rfc/rfc9001#section-6.4
//= type=test
//# An endpoint that successfully removes protection with old keys when newer keys were used for packets with lower
//# packet numbers MUST treat this as a connection error of type KEY_UPDATE_ERROR.
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
fn a_second_update_before_we_sent_anything_in_the_phase_is_an_error() {
    // A peer that takes another's acknowledgements for ours: we send nothing.
    let (mut p, mut rude) = (pair(), pair());
    rude.exchange(0);
    assert!(rude.a.initiate_update(rude.now));
    let first = sealed(&mut rude.a, 1);
    assert!(ok(&mut rude.b, &first, rude.now));
    rude.exchange(2);
    assert!(rude.a.initiate_update(rude.now + PTO * 3));
    let second = sealed(&mut rude.a, 3);
    assert_eq!(open(&mut p.b, &first, p.now), Err(OneRttOpenError::Failed), "the very first packet is lost");
    // The first update waits for the handshake alone (RFC 9001 section 6.1).
    assert!(ok(&mut p.b, &first, p.now));
    assert_eq!(fatal(open(&mut p.b, &second, p.now + PTO * 3)), codes::transport::KEY_UPDATE_ERROR);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-5.5
//= type=test
//# Once an endpoint successfully receives a packet with a given packet number, it MUST discard all packets in the same
//# packet number space with higher packet numbers if they cannot be successfully unprotected with either the same key,
//# or -- if there is a key update -- a subsequent packet protection key; see Section 6.
//= https://www.rfc-editor.org/rfc/rfc9001#section-5.5
//= type=test
//# Similarly, a packet that appears to trigger a key update but cannot be unprotected successfully MUST be discarded.
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

/// What a forged phase bit costs is the same as what any forged packet costs: the first packet finds no keys of the next phase
/// whatever its bit, the second makes them whatever its bit, and the derivation of the next but one waits for an authentic
/// packet.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.3
//= type=test
//# Endpoints responding to an apparent key update MUST NOT generate a timing side-channel signal that might indicate
//# that the Key Phase bit was invalid (see Section 9.5).
#[test]
fn a_forged_phase_derives_no_keys() {
    let forge = |p: &mut Pair, first: u8| {
        let before = UPDATES.get();
        let mut forged = vec![first; 40];
        let (len, _) = p.b.unmask(&mut forged, 5).unwrap();
        forged[0] = first;
        assert_eq!(p.b.open(&mut forged, 5 + len, 1, p.now, PTO), Err(OneRttOpenError::Failed));
        UPDATES.get() - before
    };
    let mut p = pair();
    for [first, second] in [[0x45, 0x41], [0x41, 0x45], [0x45, 0x45], [0x41, 0x41]] {
        p = pair();
        let made = [first, second, 0x45, 0x41].map(|first| forge(&mut p, first));
        assert_eq!(made, [0, 1, 0, 0], "{first:#x}, {second:#x}");
        p.exchange(0);
    }
    assert!(p.a.initiate_update(p.now));
    let packet = sealed(&mut p.a, 1);
    let before = UPDATES.get();
    assert!(ok(&mut p.b, &packet, p.now));
    assert_eq!(UPDATES.get(), before + 2, "once it has opened: one secret for each direction");
}

/// A peer may update as soon as its handshake is confirmed (RFC 9001 section 6.1), so with the first packet that arrives: that
/// one is lost, whatever keys it was sealed with, and the next one opens.
#[test]
fn a_first_packet_of_the_next_phase_is_lost_and_the_second_opens() {
    let mut p = pair();
    let mut packet = vec![0x45, 7, 7, 7, 7, 0, 0, 1, 0, 0, 0];
    packet.extend_from_slice(&[0; 16]);
    p.a.protect(&mut packet, 5, 2, 0);
    assert_eq!(open(&mut p.b, &packet, p.now), Err(OneRttOpenError::Failed), "this phase's keys");
    let mut p = pair();
    sealed(&mut p.a, 0);
    p.a.on_packet_acked(0);
    assert!(p.a.initiate_update(p.now));
    let (first, second) = (sealed(&mut p.a, 1), sealed(&mut p.a, 2));
    assert_eq!(open(&mut p.b, &first, p.now), Err(OneRttOpenError::Failed), "the next phase's keys");
    assert_eq!((p.b.generation(), p.b.phase()), (0, false));
    assert!(open(&mut p.b, &second, p.now).is_ok_and(|opened| opened.peer_updated));
    assert_eq!((p.b.generation(), p.b.phase()), (1, true));
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
//= type=test
//# Endpoints MUST count the number of encrypted packets for each set of keys.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
//= type=test
//# In addition to counting packets sent, endpoints MUST count the number of received packets that fail authentication
//# during the lifetime of a connection.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
//= type=test
//# If the total number of received packets that fail authentication within the connection, across all keys, exceeds the
//# integrity limit for the selected AEAD, the endpoint MUST immediately close the connection with a connection error of
//# type AEAD_LIMIT_REACHED and not process any more packets.
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
