//! What a handshake has to do with early data (RFC 9001 section 4.6): what they depend on, what a client remembers, and whether
//! they were taken.
//!
//! Invariant: a server takes them only when everything that the client remembers with its ticket still holds.
use super::{EARLY, InstalledKeys, Session, TlsEvents, no_secret, tickets};
use crate::base::TransportError;
use rustls::quic::Connection;

impl Session {
    /// Server, before anything is received: what else 0-RTT data depends on, such as encoded HTTP/3 settings. A ticket
    /// issued with another context resumes, but its 0-RTT data is rejected (RFC 9114 section 7.2.4.2).
    pub fn early_data_context(&mut self, context: &[u8]) {
        self.early_data_context = context.to_vec();
        self.update_digest();
    }

    /// What the digest is made of has changed.
    pub(super) fn update_digest(&mut self) {
        self.captured.version = self.version;
        self.captured.digest = None;
    }

    /// Server: the digest of what 0-RTT data depends on, for sessions that are stored from now on. Made when it is asked
    /// for: it costs five hashes. Where no early data are taken nothing depends on it, and it is that of nothing: should
    /// such a ticket come to a server that takes some, they are rejected.
    pub(super) fn digest(&mut self) -> Option<[u8; 32]> {
        if self.captured.digest.is_none()
            && let Some((tls, parameters)) = &self.server
        {
            if tls.config.max_early_data_size == 0 {
                self.captured.digest = Some([0; 32]);
                return self.captured.digest;
            }
            // The version of the captured session: while an old ticket is looked at, that is the original one.
            let version = self.captured.version;
            let made = tickets::digest(version, tls.alpn(), parameters, &self.early_data_context);
            self.captured.digest = Some(made);
        }
        self.captured.digest
    }

    /// The server's keys for the client's 0-RTT packets. rustls logs the early secret of every resumption,
    /// but has keys only if it accepts early data.
    pub(super) fn accept_early_data(&mut self, ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        let secret = self.secret(EARLY);
        if self.tls.zero_rtt_keys().is_none() {
            return Ok(());
        }
        let (Some(secret), Some(cipher)) = (secret, self.cipher()) else { return Err(no_secret()) };
        let keys = self.early_direction(cipher, &secret)?;
        ev.install_keys(InstalledKeys::ZeroRtt(keys), cipher);
        Ok(())
    }

    /// Client with 0-RTT keys: the server's transport parameters of last time (RFC 9000 section 7.4.1).
    #[must_use]
    pub fn remembered_parameters(&self) -> Option<Vec<u8>> {
        if self.side.is_server() || self.parameters_told {
            return None;
        }
        let offered = self.early_offered || self.captured.secrets.iter().any(|s| s.label == EARLY);
        self.tls.quic_transport_parameters().filter(|_| offered).map(<[u8]>::to_vec)
    }

    /// Whether 0-RTT was accepted; `None` while that is open, or when it was not offered.
    #[must_use]
    pub fn early_data_accepted(&self) -> Option<bool> {
        if !self.early_offered || !self.parameters_told {
            return None;
        }
        Some(match &self.tls {
            Connection::Client(client) => client.is_early_data_accepted(),
            Connection::Server(server) => server.zero_rtt_keys().is_some(),
        })
    }
}
