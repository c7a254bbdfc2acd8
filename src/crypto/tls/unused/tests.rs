//! What is skipped, and that everything else is what the suite's own derivation gives.
use super::LeanHkdf;
use rustls::crypto::ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
use rustls::crypto::tls13::{Hkdf, OkmBlock};

fn suites() -> [(&'static dyn Hkdf, usize); 2] {
    [(TLS13_AES_128_GCM_SHA256, 32), (TLS13_AES_256_GCM_SHA384, 48)]
        .map(|(suite, len)| (suite.tls13().unwrap().hkdf_provider, len))
}

fn info<'a>(label: &'a [u8], context: &'a [u8]) -> [&'a [u8]; 6] {
    [b"\0\x20", b"\x0c", b"tls13 ", label, b"\0", context]
}

#[test]
fn labels_that_count_are_derived_as_ever() {
    for (plain, len) in suites() {
        let lean = LeanHkdf::new(plain);
        let secret = OkmBlock::new(&[7; 64][..len]);
        let (a, b) = (plain.expander_for_okm(&secret), lean.expander_for_okm(&secret));
        assert_eq!(a.hash_len(), b.hash_len());
        for label in [&b"c hs traffic"[..], b"s ap traffic", b"finished", b"resumption", b"exp master", b"derived"] {
            let info = info(label, b"context");
            assert_eq!(a.expand_block(&info).as_ref(), b.expand_block(&info).as_ref());
            let mut out = [[0; 40]; 2];
            assert!(a.expand_slice(&info, &mut out[0]).is_ok() && b.expand_slice(&info, &mut out[1]).is_ok());
            assert_eq!(out[0], out[1]);
            assert_ne!(out[0], [0; 40]);
        }
        assert_eq!(plain.hmac_sign(&secret, b"m").as_ref(), lean.hmac_sign(&secret, b"m").as_ref());
    }
}

#[test]
fn keys_that_nobody_uses_are_not_derived() {
    for (plain, len) in suites() {
        let lean = LeanHkdf::new(plain).expander_for_okm(&OkmBlock::new(&[7; 64][..len]));
        for label in [&b"quic key"[..], b"quic iv", b"quic hp", b"quic ku", b"key", b"iv"] {
            assert_eq!(lean.expand_block(&info(label, b"")).as_ref(), &[0; 48][..len]);
            let mut out = [1; 12];
            assert!(lean.expand_slice(&info(label, b""), &mut out).is_ok());
            assert_eq!(out, [0; 12]);
        }
    }
}
