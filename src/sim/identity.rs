//! A throw-away certificate authority and server certificates, made once per process.
//!
//! Ed25519: signatures always have the same length, so packets have the same lengths in every run.
use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, PKCS_ED25519, SerialNumber};

use crate::crypto::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};

/// The name that the certificate is for.
pub const NAME: &str = "sim.test";
/// The application protocol of the ready-made pairs.
pub const ALPN: &[u8] = b"sim";

/// Certificates and key as PEM, for builders of one's own.
#[derive(Debug)]
pub struct Pems {
    pub root: String,
    /// Leaf first.
    pub chain: String,
    pub key: String,
}

/// An extension that nobody knows and nobody minds, to make certificates as long as they often are.
fn padding(length: usize) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![4; length])
}

fn authority(name: &str, serial: u8) -> CertificateParams {
    let mut ca = CertificateParams::new(Vec::<String>::new()).expect("no names");
    ca.distinguished_name.push(rcgen::DnType::CommonName, name);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.serial_number = Some(SerialNumber::from_slice(&[serial; 8]));
    ca
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("Ed25519 keys can be made")
}

/// A chain of `length` certificates (leaf, then `length - 1` authorities below the root), each padded by `pad` bytes.
///
/// # Panics
/// Never with a positive length.
#[must_use]
pub fn chain(length: usize, pad: usize) -> Pems {
    let root_key = new_key();
    let root_params = authority("Whimbrel simulation root", 1);
    let root = root_params.self_signed(&root_key).expect("a root").pem();
    let mut issuer = Issuer::new(root_params, root_key);
    let mut middle = Vec::new();
    for i in 1..length {
        let (key, mut params) = (new_key(), authority(&format!("Whimbrel simulation authority {i}"), 1 + i as u8));
        if pad > 0 {
            params.custom_extensions.push(padding(pad));
        }
        middle.push(params.signed_by(&key, &issuer).expect("signed").pem());
        issuer = Issuer::new(params, key);
    }
    let key = new_key();
    let mut leaf = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    leaf.serial_number = Some(SerialNumber::from_slice(&[0x7f; 8]));
    let mut pem = leaf.signed_by(&key, &issuer).expect("signed").pem();
    pem.extend(middle.into_iter().rev());
    Pems { root, chain: pem, key: key.serialize_pem() }
}

/// The certificates that all worlds of this process share.
pub fn pems() -> &'static Pems {
    static PEMS: OnceLock<Pems> = OnceLock::new();
    PEMS.get_or_init(|| chain(1, 0))
}

/// A client that remembers sessions; every world has its own.
///
/// # Panics
/// Never: the certificates are ours.
#[must_use]
pub fn client(early_data: bool) -> Arc<ClientTls> {
    client_for(pems(), early_data)
}

/// A client that trusts this chain's root.
///
/// # Panics
/// When the certificates are not ours and wrong.
#[must_use]
pub fn client_for(pems: &Pems, early_data: bool) -> Arc<ClientTls> {
    let builder = ClientTlsBuilder::new().alpn(vec![ALPN.to_vec()]).roots_pem(pems.root.as_bytes());
    builder.early_data(early_data).build().expect("our own root")
}

/// A server with its own ticket keys.
///
/// # Panics
/// Never: the certificates are ours.
#[must_use]
pub fn server(early_data: bool) -> Arc<ServerTls> {
    server_for(pems(), early_data)
}

/// A server with this chain.
///
/// # Panics
/// When the certificates are not ours and wrong.
#[must_use]
pub fn server_for(pems: &Pems, early_data: bool) -> Arc<ServerTls> {
    let builder = ServerTlsBuilder::new().alpn(vec![ALPN.to_vec()]);
    let builder = builder.identity_pem(pems.chain.as_bytes(), pems.key.as_bytes());
    builder.early_data(early_data).build().expect("our own certificate")
}
