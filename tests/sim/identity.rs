//! A throw-away certificate authority and a server certificate, made once per process.
use std::sync::{Arc, OnceLock};

use whimbrel::crypto::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};

/// The name that the certificate is for.
pub const NAME: &str = "sim.test";

struct Pems {
    root: String,
    chain: String,
    key: String,
}

fn pems() -> &'static Pems {
    static PEMS: OnceLock<Pems> = OnceLock::new();
    PEMS.get_or_init(|| {
        // Ed25519: signatures always have the same length, so packets have the same lengths in every run.
        let ca_key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.serial_number = Some(rcgen::SerialNumber::from_slice(&[1; 8]));
        let ca_cert = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        leaf.serial_number = Some(rcgen::SerialNumber::from_slice(&[2; 8]));
        let cert = leaf.signed_by(&key, &issuer).unwrap();
        Pems { root: ca_cert.pem(), chain: cert.pem(), key: key.serialize_pem() }
    })
}

/// A client that remembers sessions; every world has its own.
pub fn client(early_data: bool) -> Arc<ClientTls> {
    ClientTlsBuilder::new()
        .alpn(vec![b"sim".to_vec()])
        .roots_pem(pems().root.as_bytes())
        .early_data(early_data)
        .build()
        .unwrap()
}

/// A server with its own ticket keys.
pub fn server(early_data: bool) -> Arc<ServerTls> {
    ServerTlsBuilder::new()
        .alpn(vec![b"sim".to_vec()])
        .identity_pem(pems().chain.as_bytes(), pems().key.as_bytes())
        .early_data(early_data)
        .build()
        .unwrap()
}
