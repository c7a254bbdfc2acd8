//! The TLS 1.3 handshake as QUIC carries it (RFC 9001 section 4): bytes of CRYPTO frames in and out, keys out.
mod config;
mod session;

pub use config::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder, TlsSetupError};
pub use session::{InstalledKeys, Session, TlsEvents};
