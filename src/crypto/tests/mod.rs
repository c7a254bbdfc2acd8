//! Packet protection against the RFCs' samples, and the rules of key update and limits.
mod key_update;
mod vectors;

use proptest::prelude::*;

use super::schedule::Secret;
use super::*;
use crate::base::{ConnectionId, Side};
use vectors::{V1, V2, Vectors};

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(core::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn dcid() -> ConnectionId {
    ConnectionId::new(&hex("8394c8f03e515708")).unwrap()
}

fn seals(keys: &DirectionKeys, header: &[u8], payload: &[u8], pn_len: usize, pn: u64, want: &[u8]) {
    let mut packet = [header, payload, &[0; TAG_LEN]].concat();
    keys.protect(&mut packet, header.len() - pn_len, pn_len, pn);
    assert_eq!(packet, want);
}

fn opens(keys: &DirectionKeys, packet: &[u8], header: &[u8], payload: &[u8], pn_len: usize, pn: u64) {
    let mut packet = packet.to_vec();
    let (len, truncated) = keys.unmask(&mut packet, header.len() - pn_len).unwrap();
    assert_eq!(len, pn_len);
    assert_eq!(u64::from(truncated), pn & ((1 << (8 * pn_len)) - 1));
    assert_eq!(&packet[..header.len()], header);
    let plain = keys.open(&mut packet, header.len(), pn).unwrap();
    assert_eq!(&packet[header.len()..header.len() + plain], payload);
}

fn initial(v: &Vectors) {
    let client = initial_keys(v.version, &dcid(), Side::Client);
    let server = initial_keys(v.version, &dcid(), Side::Server);
    let header = hex(v.client_header);
    let mut payload = hex(v.client_crypto);
    payload.resize(1162, 0);
    let packet = hex(v.client_packet);
    assert_eq!(packet.len(), 1200);
    seals(&client.local, &header, &payload, 4, 2, &packet);
    opens(&server.remote, &packet, &header, &payload, 4, 2);
    let (header, payload) = (hex(v.server_header), hex(v.server_payload));
    let packet = hex(v.server_packet);
    seals(&server.local, &header, &payload, 2, 1, &packet);
    opens(&client.remote, &packet, &header, &payload, 2, 1);
    // The secrets of the appendix give the same keys.
    let keys = DirectionKeys::from_secret(Cipher::Aes128Gcm, v.version, &hex(v.client_secret)).unwrap();
    opens(&keys, &hex(v.client_packet), &hex(v.client_header), &[hex(v.client_crypto), vec![0; 917]].concat(), 4, 2);
    let keys = DirectionKeys::from_secret(Cipher::Aes128Gcm, v.version, &hex(v.server_secret)).unwrap();
    opens(&keys, &hex(v.server_packet), &header_of(v), &hex(v.server_payload), 2, 1);
}

fn header_of(v: &Vectors) -> Vec<u8> {
    hex(v.server_header)
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-5.2
//= type=test
//# The HKDF-Expand-Label function defined in TLS 1.3 MUST be used for Initial packets even where the TLS versions
//# offered do not include TLS 1.3.
#[test]
fn initial_packets_of_both_versions() {
    initial(&V1);
    initial(&V2);
}

#[test]
fn keys_of_both_versions() {
    for v in [V1, V2] {
        let secrets = [
            (Cipher::Aes128Gcm, v.client_secret),
            (Cipher::Aes128Gcm, v.server_secret),
            (Cipher::ChaCha20Poly1305, v.chacha_secret),
        ];
        for ((cipher, secret), wanted) in secrets.into_iter().zip(v.keys) {
            let prk = Secret::new(cipher, &hex(secret)).unwrap().prk(cipher);
            let names = super::schedule::labels(v.version);
            for (label, wanted) in [names.key, names.iv, names.hp].into_iter().zip(wanted) {
                let mut out = hex(wanted);
                out.fill(0);
                super::schedule::expand(&prk, label, &mut out);
                assert_eq!(out, hex(wanted), "{}", core::str::from_utf8(label).unwrap());
            }
        }
    }
}

#[test]
fn retry_tags_of_both_versions() {
    for v in [V1, V2] {
        let packet = hex(v.retry);
        let (packet, tag) = packet.split_at(packet.len() - 16);
        assert_eq!(retry_tag(v.version, &dcid(), packet), tag);
        assert_ne!(retry_tag(v.version, &ConnectionId::EMPTY, packet), tag);
    }
}

#[test]
fn chacha20_short_header_of_both_versions() {
    for v in [V1, V2] {
        let keys = DirectionKeys::from_secret(Cipher::ChaCha20Poly1305, v.version, &hex(v.chacha_secret)).unwrap();
        let header = hex("4200bff4");
        seals(&keys, &header, &[1], 3, 654_360_564, &hex(v.chacha_packet));
        opens(&keys, &hex(v.chacha_packet), &header, &[1], 3, 654_360_564);
        let secret = Secret::new(Cipher::ChaCha20Poly1305, &hex(v.chacha_secret)).unwrap();
        let next = secret.next(Cipher::ChaCha20Poly1305, v.version);
        assert_eq!(next.as_slice(), hex(v.chacha_next_secret));
    }
}

#[test]
fn versions_do_not_open_each_other() {
    let v2 = initial_keys(V2.version, &dcid(), Side::Server);
    let mut packet = hex(V1.client_packet);
    let (pn_len, _) = v2.remote.unmask(&mut packet, 18).unwrap();
    assert_eq!(v2.remote.open(&mut packet, 18 + pn_len, 2), Err(OpenFailed));
}

#[test]
fn every_cipher_round_trips_and_refuses_changes() {
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        assert_eq!(Cipher::from_wire_id(cipher.wire_id()), Some(cipher));
        let keys = DirectionKeys::from_secret(cipher, 1, &vec![7; cipher.secret_len()]).unwrap();
        assert!(DirectionKeys::from_secret(cipher, 1, &vec![7; cipher.secret_len() - 1]).is_none());
        for pn_len in 1..=4usize {
            let mut header = vec![0x40 | (pn_len as u8 - 1), 9, 9, 9, 9, 9, 9, 9, 9];
            let pn = 0x0102_0304u64;
            header.extend_from_slice(&(pn as u32).to_be_bytes()[4 - pn_len..]);
            let payload = [0x01; 4];
            let mut packet = [&header[..], &payload, &[0; 16]].concat();
            keys.protect(&mut packet, 9, pn_len, pn);
            opens(&keys, &packet, &header, &payload, pn_len, pn);
            for at in 0..packet.len() {
                let mut bad = packet.clone();
                bad[at] ^= 0x20;
                let Some((len, _)) = keys.unmask(&mut bad, 9) else { panic!("long enough") };
                assert_eq!(keys.open(&mut bad, 9 + len, pn), Err(OpenFailed), "byte {at}");
            }
        }
    }
    assert_eq!(Cipher::from_wire_id(0x1304), None);
}

//= https://www.rfc-editor.org/rfc/rfc9001#section-5.4.2
//= type=test
//# An endpoint MUST discard packets that are not long enough to contain a complete sample.
#[test]
fn short_packets_have_no_sample() {
    let keys = initial_keys(1, &dcid(), Side::Server);
    for len in 0..20 + 18 {
        let mut packet = vec![0xc0; len];
        assert_eq!(keys.remote.unmask(&mut packet, 18), None);
        assert_eq!(keys.remote.open(&mut packet, 40, 0), Err(OpenFailed));
    }
    assert_eq!(keys.remote.unmask(&mut [0; 30], usize::MAX), None);
    assert_eq!(keys.remote.open(&mut [0; 30], usize::MAX, 0), Err(OpenFailed));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
//= type=test
//# The stateless reset token MUST be difficult to guess.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.2
//= type=test
//# The same stateless reset token MUST NOT be used for multiple connection IDs.
#[test]
fn reset_tokens_look_random_and_hang_on_the_secret() {
    let (ours, theirs) = (TokenKey::new(&[3; 32]), TokenKey::new(&[4; 32]));
    let (mut seen, mut ones) = (std::collections::BTreeSet::new(), [0u32; 128]);
    for n in 0..2000u32 {
        // Neighbouring connection IDs of every length.
        let bytes = n.to_be_bytes().repeat(5);
        let cid = ConnectionId::new(&bytes[..4 + (n as usize % 17)]).unwrap();
        let token = ours.reset_token(&cid);
        assert!(seen.insert(token.0), "one token for two connection IDs");
        assert!(token != theirs.reset_token(&cid), "without the secret it cannot be guessed");
        let bits = u128::from_be_bytes(token.0);
        (0..128).for_each(|b| ones[b] += (bits >> b & 1) as u32);
    }
    assert!(ones.iter().all(|n| (800..1200).contains(n)), "{ones:?}");
}

#[test]
fn tokens_open_only_as_they_were_sealed() {
    let key = TokenKey::new(&[3; 32]);
    let sealed = key.seal([9; 12], b"address", b"content");
    assert_eq!(key.open(b"address", &sealed).as_deref(), Some(&b"content"[..]));
    assert_eq!(key.open(b"another", &sealed), None);
    assert_eq!(TokenKey::new(&[4; 32]).open(b"address", &sealed), None);
    for at in 0..sealed.len() {
        let mut bad = sealed.clone();
        bad[at] ^= 1;
        assert_eq!(key.open(b"address", &bad), None);
        assert_eq!(key.open(b"address", &sealed[..at]), None);
    }
    let cid = dcid();
    assert!(key.reset_token(&cid) == TokenKey::new(&[3; 32]).reset_token(&cid));
    assert!(key.reset_token(&cid) != key.reset_token(&ConnectionId::EMPTY));
    assert_ne!(key.hash64(b"a"), key.hash64(b"b"));
    assert_eq!(key.hash64(b"a"), TokenKey::new(&[3; 32]).hash64(b"a"));
}

proptest! {
    #[test]
    fn any_packet_round_trips(
        cipher in prop_oneof![Just(Cipher::Aes128Gcm), Just(Cipher::Aes256Gcm), Just(Cipher::ChaCha20Poly1305)],
        secret: [u8; 32], v2: bool, long: bool, head in proptest::collection::vec(any::<u8>(), 1..60),
        payload in proptest::collection::vec(any::<u8>(), 4..300), pn in 0..(1u64 << 62), pn_len in 1..=4usize,
        wrong: prop::sample::Index,
    ) {
        let version = if v2 { V2.version } else { V1.version };
        let secret = secret.repeat(2);
        let keys = DirectionKeys::from_secret(cipher, version, &secret[..cipher.secret_len()]).unwrap();
        let mut header = head;
        header[0] = header[0] & 0x7c | if long { 0x80 } else { 0 } | (pn_len as u8 - 1);
        let pn_at = header.len();
        header.extend_from_slice(&pn.to_be_bytes()[8 - pn_len..]);
        let plain = [&header[..], &payload, &[0; TAG_LEN]].concat();
        let mut packet = plain.clone();
        keys.protect(&mut packet, pn_at, pn_len, pn);
        let sealed = packet.clone();
        let (len, truncated) = keys.unmask(&mut packet, pn_at).unwrap();
        prop_assert_eq!((len, u64::from(truncated)), (pn_len, pn & ((1 << (8 * pn_len)) - 1)));
        prop_assert_eq!(&packet[..header.len()], &header[..]);
        prop_assert_eq!(keys.open(&mut packet, header.len(), pn).unwrap(), payload.len());
        prop_assert_eq!(&packet[header.len()..header.len() + payload.len()], &payload[..]);
        // Another number, or another bit anywhere: nothing opens.
        let mut packet = sealed.clone();
        keys.unmask(&mut packet, pn_at).unwrap();
        prop_assert!(keys.open(&mut packet, header.len(), pn ^ 1).is_err());
        let mut packet = sealed;
        let at = wrong.index(packet.len());
        packet[at] ^= 1;
        if let Some((len, short)) = keys.unmask(&mut packet, pn_at) {
            let pn = pn >> (8 * len) << (8 * len) | u64::from(short);
            prop_assert!(keys.open(&mut packet, pn_at + len, pn).is_err());
        }
    }

    #[test]
    fn any_token_round_trips(
        secret: [u8; 32], nonce: [u8; 12], aad in proptest::collection::vec(any::<u8>(), 0..80),
        plain in proptest::collection::vec(any::<u8>(), 0..200), wrong: prop::sample::Index,
    ) {
        let key = TokenKey::new(&secret);
        let mut sealed = key.seal(nonce, &aad, &plain);
        prop_assert_eq!(key.open(&aad, &sealed), Some(plain));
        let at = wrong.index(sealed.len());
        sealed[at] ^= 0x80;
        prop_assert_eq!(key.open(&aad, &sealed), None);
    }

    #[test]
    fn arbitrary_tokens_open_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(TokenKey::new(&[1; 32]).open(b"", &bytes), None);
    }
}
