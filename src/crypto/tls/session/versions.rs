//! What a handshake has to do with QUIC versions: the server's choice at the ClientHello (RFC 9368 section 2.3), and
//! tickets and tokens, which belong to one version (RFC 9369 section 5).
//!
//! Invariant: a server changes its version once at most, before TLS has read anything.
use super::{Session, name_of};
use crate::base::{Side, TransportError, codes};
use crate::crypto::tls::client_hello;
use crate::crypto::tls::config::ClientTls;
use crate::crypto::tls::session::TlsEvents;
use crate::wire::TransportParameters;
use crate::wire::transport_parameters::set_chosen_version;
use rustls::quic::{Connection, ServerConnection, Version};
use std::sync::Arc;

impl Session {
    /// The first of `versions` for which there is a ticket for this server: the server spoke it last time.
    #[must_use]
    pub fn version_with_ticket(tls: &ClientTls, server_name: &str, versions: &[u32]) -> Option<u32> {
        let name = name_of(server_name).ok()?;
        versions.iter().copied().find(|v| tls.sessions.has_ticket(*v, &name))
    }

    /// A token that this server gave on an earlier connection of this version; it is taken out of the store. Empty:
    /// there is none.
    #[must_use]
    pub fn take_token(tls: &ClientTls, server_name: &str, port: u16, version: u32) -> Vec<u8> {
        let name = name_of(server_name).ok();
        name.and_then(|n| tls.sessions.take_token(version, &n, port)).map_or_else(Vec::new, Vec::from)
    }

    /// Client: keeps a token of a NEW_TOKEN frame for another connection to this server.
    pub fn keep_token(&self, port: u16, token: &[u8]) {
        if let (Some(store), Some(Ok(name))) = (&self.tokens, self.server_name.as_deref().map(name_of)) {
            store.keep_token(self.version, &name, port, token);
        }
    }

    /// Server: moves a client whose first flight allows it to the first of these versions that it allows (RFC 9368
    /// section 2.3).
    pub fn prefer_versions(&mut self, versions: &[u32]) {
        self.preferred = versions.to_vec();
    }

    /// Client: the server chose another version (RFC 9368 section 2.3). Keys made from now on have its labels, and
    /// tickets that come are for it (RFC 9369 section 5).
    pub fn set_version(&mut self, version: u32) {
        self.version = version;
        self.update_digest();
    }

    /// Server, at the first ClientHello: moves on to the version that we want most among those that the client's
    /// first flight is compatible with. rustls takes our parameters when it is made, and has read nothing yet: it is
    /// made again with the Chosen Version in them.
    //= https://www.rfc-editor.org/rfc/rfc9368#section-2.3
    //# if the server is unable to convert the first flight, it MUST abort the handshake.
    pub(super) fn choose_version(&mut self, body: &[u8], ev: &mut dyn TlsEvents) -> Result<(), TransportError> {
        if core::mem::replace(&mut self.hello_seen, true) || self.preferred.is_empty() {
            return Ok(());
        }
        // What is malformed here is refused when the message is read.
        let parameters = client_hello::parse(body).ok().and_then(|hello| hello.transport_parameters);
        let Some(Ok(theirs)) = parameters.map(|p| TransportParameters::decode(p, Side::Client)) else { return Ok(()) };
        let Some(info) = theirs.version_information.filter(|i| i.chosen == self.original) else { return Ok(()) };
        //= https://www.rfc-editor.org/rfc/rfc9368#section-2.3
        //# In order to perform compatible version negotiation, the server MUST select one of these versions
        //# that it (1) supports and (2) knows the client's Chosen Version is compatible with.
        let wanted = self.preferred.iter().copied().find(|v| info.available.contains(v));
        let Some(version) = wanted.filter(|v| *v != self.original && compatible(self.original, *v)) else {
            return Ok(());
        };
        let Some((tls, parameters)) = self.server.as_mut() else { return Ok(()) };
        if !set_chosen_version(parameters, version) {
            return Ok(());
        }
        let connection = ServerConnection::new(Arc::clone(&tls.config), Version::V1, parameters.clone());
        self.tls =
            Connection::Server(connection.map_err(|_| {
                TransportError::new(codes::transport::INTERNAL_ERROR, "the TLS server cannot start again")
            })?);
        self.version = version;
        ev.version(version);
        Ok(())
    }
}

/// RFC 9369 section 4.1: the first flights of versions 1 and 2 can be converted into each other; no other version is
/// known to be compatible with any (RFC 9368 section 2.2).
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.2
//# Implementations MUST NOT assume compatibility between versions unless explicitly specified.
fn compatible(original: u32, version: u32) -> bool {
    let known = [codes::VERSION_1, codes::VERSION_2];
    known.contains(&original) && known.contains(&version)
}
