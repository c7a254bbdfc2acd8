//! Makes a throw-away certificate authority and a server certificate for `localhost`, 127.0.0.1 and ::1.
//!
//! `cargo run --example make_cert -- DIR [NAME...]` writes `ca.pem`, `cert.pem` (leaf, then CA) and `key.pem` into DIR.
//! For tests and demonstrations only: the keys live as long as the folder does.
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::path::Path;
use std::process::ExitCode;

fn make(dir: &Path, extra: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(dir)?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Whimbrel throw-away CA");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;

    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    names.extend_from_slice(extra);
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Browsers refuse leaves that live longer than about a year; ninety days is what public ones have.
    leaf.not_before = time_from_now(-1);
    leaf.not_after = time_from_now(90);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = leaf.signed_by(&key, &ca)?;

    std::fs::write(dir.join("ca.pem"), ca.pem())?;
    std::fs::write(dir.join("cert.pem"), format!("{}{}", cert.pem(), ca.pem()))?;
    std::fs::write(dir.join("key.pem"), key.serialize_pem())?;
    Ok(())
}

fn time_from_now(days: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc() + time::Duration::days(days)
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else {
        eprintln!("usage: make_cert DIR [NAME...]");
        return ExitCode::from(2);
    };
    let extra: Vec<String> = args.collect();
    match make(Path::new(&dir), &extra) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("make_cert: cannot write certificates to {dir}: {e}");
            ExitCode::FAILURE
        }
    }
}
