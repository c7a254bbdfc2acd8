//! The TLS 1.3 handshake as QUIC carries it (RFC 9001 section 4): bytes of CRYPTO frames in and out, keys out.
//!
//! `asking` and `tape` let the application decide in the middle of a handshake. `config` builds what lives long, `session`
//! runs one handshake, `tickets` keeps sessions for resumption, `secrets` is where rustls tells traffic secrets,
//! `client_hello` checks what rustls does not, `exchange` has the key exchange groups, `signing` the
//! private keys, `unused` what is left out.
mod alerts;
mod asking;
mod client_hello;
mod client_sessions;
mod config;
mod exchange;
mod framing;
mod identities;
mod provider;
mod secrets;
mod session;
mod signatures;
mod signing;
mod summary;
mod tape;
mod tickets;
mod unused;

pub use asking::{Answer, Asks, Question};
pub use client_hello::{ClientHello, peek_client_hello};
pub use config::{ClientTls, ClientTlsBuilder, KeyLogLine, ServerTls, ServerTlsBuilder, TlsSetupError};
pub use session::{InstalledKeys, Session, TlsEvents, late_data};
pub use summary::Summary;

#[cfg(test)]
mod tests;
