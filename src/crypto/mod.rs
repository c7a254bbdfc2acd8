//! Packet protection and the TLS handshake (RFC 9001, RFC 9369), the only room that uses rustls and ring.
//!
//! Keys are derived here from traffic secrets, for both versions, so that key update, the opt-in secrets
//! event and SSLKEYLOGFILE have one source. Packets are sealed and opened in place; a failed `open` is a
//! packet to drop, never an error of the connection, until the integrity limit (section 6.6) is reached.
pub mod cipher;
pub mod initial;
pub mod keys;
pub mod one_rtt;
pub mod random;
pub mod retry_tag;
mod schedule;
#[cfg(feature = "sim")]
mod sha256;
pub mod tls;
pub mod token_key;

pub use cipher::Cipher;
pub use initial::{ClientInitial, initial_keys};
pub use keys::{DirectionKeys, LevelKeys, OpenFailed, TAG_LEN};
pub use one_rtt::{OneRttKeys, OneRttOpenError, Opened};
pub use retry_tag::retry_tag;
#[cfg(feature = "sim")]
pub use sha256::Sha256;
pub use tls::{
    Answer, Asks, ClientTls, ClientTlsBuilder, InstalledKeys, Question, ServerTls, ServerTlsBuilder, Session, Summary,
    TlsEvents, TlsSetupError,
};
pub use token_key::TokenKey;

#[cfg(test)]
mod tests;
