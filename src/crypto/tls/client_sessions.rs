//! A client's sessions for resumption, kept per QUIC version and server (RFC 8446 section 4.6.1, RFC 9369 section 5).
//!
//! rustls asks for sessions from inside its calls; which version is meant, the running session tells. A ticket leaves
//! the store when it is used, so that no two connections can be linked by it. Invariant: bounded in servers and in
//! tickets of each; the oldest go first.
use super::secrets::running;
use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::collections::{HashMap, VecDeque};

/// Servers remembered, each version of one counted by itself.
const MAX_SERVERS: usize = 64;
/// Tickets kept per server and version.
const MAX_TICKETS: usize = 8;
/// Address validation tokens kept per server and version, and the longest that is kept.
const MAX_TOKENS: usize = 4;
const MAX_TOKEN_LEN: usize = 1024;

type Key = (u32, ServerName<'static>);

#[derive(Default)]
struct Server {
    /// Address validation tokens (RFC 9000 section 8.1.3) with the port of the server that gave them.
    tokens: VecDeque<(u16, Box<[u8]>)>,
    group: Option<NamedGroup>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

#[derive(Default)]
struct Inner {
    servers: HashMap<Key, Server>,
    /// Keys in the order of their arrival.
    order: VecDeque<Key>,
}

impl Inner {
    fn server(&mut self, key: Key) -> &mut Server {
        if !self.servers.contains_key(&key) {
            self.order.push_back(key.clone());
            if self.order.len() > MAX_SERVERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.servers.remove(&oldest);
            }
        }
        self.servers.entry(key).or_default()
    }
}

/// The store of one client configuration.
#[derive(Default)]
pub(super) struct ClientSessions {
    inner: Mutex<Inner>,
}

impl ClientSessions {
    /// Keeps a token that a server gave on a connection of this version (RFC 9000 section 8.1.3, RFC 9369 section 5).
    pub(super) fn keep_token(&self, version: u32, name: &ServerName<'_>, port: u16, token: &[u8]) {
        if token.len() > MAX_TOKEN_LEN {
            return;
        }
        let mut inner = self.inner.lock();
        let tokens = &mut inner.server((version, name.to_owned())).tokens;
        if tokens.len() >= MAX_TOKENS {
            tokens.pop_front();
        }
        tokens.push_back((port, token.into()));
    }

    /// Takes the newest token out: each is used once, so that it links no two connections (RFC 9000 section 8.1.3).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1.3
    //# A client MUST NOT include a token that is not applicable to the server that it is connecting to, unless the
    //# client has the knowledge that the server that issued the token and the server the client is connecting to are
    //# jointly managing the tokens.
    pub(super) fn take_token(&self, version: u32, name: &ServerName<'_>, port: u16) -> Option<Box<[u8]>> {
        let mut inner = self.inner.lock();
        let tokens = &mut inner.servers.get_mut(&(version, name.to_owned()))?.tokens;
        let at = tokens.iter().rposition(|(p, _)| *p == port)?;
        tokens.remove(at).map(|(_, token)| token)
    }

    /// There is a ticket for connections that start with `version`.
    pub(super) fn has_ticket(&self, version: u32, name: &ServerName<'_>) -> bool {
        self.inner.lock().servers.get(&(version, name.to_owned())).is_some_and(|s| !s.tickets.is_empty())
    }
}

impl std::fmt::Debug for ClientSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientSessions")
    }
}

fn key(name: ServerName<'static>) -> Option<Key> {
    running().map(|(_, version)| (version, name))
}

impl ClientSessionStore for ClientSessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        if let Some(key) = key(name) {
            self.inner.lock().server(key).group = Some(group);
        }
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.inner.lock().servers.get(&key(name.to_owned())?)?.group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        let Some(key) = key(name) else { return };
        let mut inner = self.inner.lock();
        let tickets = &mut inner.server(key).tickets;
        if tickets.len() >= MAX_TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let key = key(name.clone())?;
        self.inner.lock().servers.get_mut(&key)?.tickets.pop_back()
    }
}
