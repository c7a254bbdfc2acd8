//! What the two quinn peers share: the pattern body and TLS set-up.
use sha2::{Digest, Sha256};
use std::io::BufReader;

/// One block of the pattern; the body repeats it.
pub fn block() -> Vec<u8> {
    (0..65536usize).map(|i| ((i * 7 + (i >> 8) * 13) & 0xff) as u8).collect()
}

/// Calls `f` with pieces that add up to the first `size` bytes of the pattern.
pub fn pieces(size: usize) -> Vec<bytes::Bytes> {
    let block = bytes::Bytes::from(block());
    let mut out = vec![block.clone(); size / block.len()];
    if size % block.len() != 0 {
        out.push(block.slice(..size % block.len()));
    }
    out
}

/// SHA-256 of the first `size` bytes of the pattern.
pub fn digest(size: usize) -> String {
    let mut h = Sha256::new();
    for p in pieces(size) {
        h.update(&p);
    }
    hex(&h.finalize())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Certificates of a PEM file.
pub fn certs(path: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    let file = std::fs::File::open(path).expect("certificate file");
    rustls_pemfile::certs(&mut BufReader::new(file)).collect::<Result<_, _>>().expect("PEM")
}

/// Private key of a PEM file.
pub fn key(path: &str) -> rustls::pki_types::PrivateKeyDer<'static> {
    let file = std::fs::File::open(path).expect("key file");
    rustls_pemfile::private_key(&mut BufReader::new(file)).expect("PEM").expect("a key")
}

/// Windows large enough that flow control is not what is measured.
pub fn transport() -> quinn::TransportConfig {
    let mut t = quinn::TransportConfig::default();
    t.receive_window((16u32 << 20).into());
    t.stream_receive_window((16u32 << 20).into());
    t.max_concurrent_bidi_streams(256u32.into());
    t
}
