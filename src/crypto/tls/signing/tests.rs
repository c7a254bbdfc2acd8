//! Every kind of key is loaded, and whoever signs, ring verifies.
use super::Keys;
use ring::signature;
use rustls::crypto::{KeyProvider, ring as suites};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::SigningKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use std::sync::Arc;

const P256: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

fn pkcs8(pair: &rcgen::KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()))
}

fn verify(pair: &rcgen::KeyPair, message: &[u8], signed: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, pair.public_key_raw())
        .verify(message, signed)
        .is_ok()
}

fn sign(key: &Arc<dyn SigningKey>, message: &[u8]) -> Vec<u8> {
    key.choose_scheme(&[SignatureScheme::ED25519, P256]).unwrap().sign(message).unwrap()
}

/// The ECPrivateKey of RFC 5915 inside PKCS #8: its OCTET STRING, which for P-256 begins with a SEQUENCE and version 1.
fn sec1_of(pkcs8: &[u8]) -> Vec<u8> {
    let at = pkcs8.windows(5).position(|w| w[0] == 0x30 && w[2..] == [0x02, 0x01, 0x01]).unwrap();
    let len = usize::from(pkcs8[at + 1]) + 2;
    pkcs8[at..at + len].to_vec()
}

#[test]
fn signatures_of_p256_keys_verify_and_differ_each_time() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let der = pair.serialize_der();
    let sec1 = PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(sec1_of(&der)));
    for key in [pkcs8(&pair), sec1] {
        let ours = Keys.load_private_key(key.clone_key()).unwrap();
        let rings = suites::default_provider().key_provider.load_private_key(key).unwrap();
        assert_eq!(ours.public_key(), rings.public_key());
        assert_eq!(ours.algorithm(), SignatureAlgorithm::ECDSA);
        assert!(ours.choose_scheme(&[SignatureScheme::ECDSA_NISTP384_SHA384]).is_none());
        assert_eq!(ours.choose_scheme(&[P256]).unwrap().scheme(), P256);
        // Lengths of DER vary with the leading bits of both numbers.
        for n in 0..256u32 {
            let message = n.to_be_bytes();
            let signed = sign(&ours, &message);
            assert!(verify(&pair, &message, &signed));
            assert!(!verify(&pair, b"another", &signed));
            assert_ne!(signed, sign(&ours, &message), "a signature that repeats has no randomness in it");
        }
    }
}

#[test]
fn it_is_the_faster_code_that_signs_where_it_runs() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let key = Keys.load_private_key(pkcs8(&pair)).unwrap();
    let fast = super::super::exchange::usable();
    assert_eq!(format!("{key:?}") == "P256Key", fast);
}

#[test]
fn other_keys_stay_with_ring() {
    for (algorithm, scheme) in [
        (&rcgen::PKCS_ECDSA_P384_SHA384, SignatureScheme::ECDSA_NISTP384_SHA384),
        (&rcgen::PKCS_ED25519, SignatureScheme::ED25519),
    ] {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let key = Keys.load_private_key(pkcs8(&pair)).unwrap();
        assert_ne!(format!("{key:?}"), "P256Key");
        assert!(key.choose_scheme(&[P256]).is_none());
        assert_eq!(key.choose_scheme(&[scheme]).unwrap().scheme(), scheme);
    }
}

#[test]
fn what_ring_refuses_is_refused() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    // A key with somebody else's public half.
    let (mut der, public) = (pair.serialize_der(), pair.public_key_raw());
    let at = der.windows(public.len()).position(|w| w == public).unwrap();
    der[at..at + public.len()].copy_from_slice(other.public_key_raw());
    assert!(Keys.load_private_key(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der))).is_err());
    assert!(Keys.load_private_key(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(vec![0x30, 0]))).is_err());
}
