//! One TLS handshake.
use super::config::{ClientTls, ServerTls, TlsSetupError};
use crate::base::{Level, TransportError};
use crate::crypto::{Cipher, DirectionKeys, LevelKeys, OneRttKeys};
use std::sync::Arc;

/// Keys that the handshake produced.
pub enum InstalledKeys {
    /// A client seals with them, a server opens with them.
    ZeroRtt(DirectionKeys),
    /// Both directions of the Handshake level.
    Handshake(LevelKeys),
    /// Both directions of the 1-RTT level. A server may seal with them at once, but must not open packets
    /// before `TlsEvents::done` (RFC 9001 section 5.7).
    OneRtt(Box<OneRttKeys>),
}

/// What a handshake reports, in the order in which it happens.
pub trait TlsEvents {
    /// Bytes to send in CRYPTO frames of `level`.
    fn send(&mut self, level: Level, bytes: &[u8]);
    /// Keys to use from now on.
    fn install_keys(&mut self, keys: InstalledKeys, cipher: Cipher);
    /// The peer's transport parameters; authenticated once `done` is called.
    fn notify_extensions(&mut self, peer_parameters: &[u8]);
    /// The handshake is complete (RFC 9001 section 4.1.1).
    fn done(&mut self);
    /// A secret with its NSS label, for those who asked for secrets.
    fn secret(&mut self, label: &str, secret: &[u8]) {
        let _ = (label, secret);
    }
}

/// One TLS handshake and what follows it on the connection.
pub struct Session;

#[allow(unused_variables)]
impl Session {
    pub fn client(
        tls: &Arc<ClientTls>,
        version: u32,
        server_name: &str,
        parameters: Vec<u8>,
    ) -> Result<Self, TlsSetupError> {
        todo!()
    }
    pub fn server(tls: &Arc<ServerTls>, version: u32, parameters: Vec<u8>) -> Result<Self, TlsSetupError> {
        todo!()
    }
    pub fn start(&mut self, ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        todo!()
    }
    pub fn receive(&mut self, level: Level, bytes: &[u8], ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        todo!()
    }
    pub fn set_version(&mut self, version: u32) {
        todo!()
    }
    #[must_use]
    pub fn remembered_parameters(&self) -> Option<Vec<u8>> {
        todo!()
    }
    #[must_use]
    pub fn early_data_accepted(&self) -> Option<bool> {
        todo!()
    }
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        todo!()
    }
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        todo!()
    }
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<Vec<u8>> {
        todo!()
    }
    #[must_use]
    pub fn cipher(&self) -> Option<Cipher> {
        todo!()
    }
    #[must_use]
    pub fn resumed(&self) -> bool {
        todo!()
    }
    #[must_use]
    pub fn is_done(&self) -> bool {
        todo!()
    }
    #[must_use]
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> bool {
        todo!()
    }
}
