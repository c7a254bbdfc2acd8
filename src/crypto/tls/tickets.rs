//! A server's sessions for resumption and 0-RTT (RFC 8446 sections 4.6.1 and 8.1, RFC 9001 section 4.5 and 4.6).
//!
//! Either sealed into the ticket with keys that a fleet of servers shares (`FleetTickets`; rustls refuses 0-RTT then,
//! because nothing remembers which tickets were used), or kept here: in process, bounded, every session usable once: that is the replay protection of 0-RTT. Each is stored
//! with a digest of what 0-RTT data depends on; a ticket from other settings still resumes, but its 0-RTT is
//! rejected (RFC 9000 section 7.4.1, RFC 9001 section 4.6.2).
use super::secrets::running;
use crate::crypto::TokenKey;
use crate::wire::reader::Reader;
use parking_lot::{Mutex, RwLock};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::{ProducesTickets, StoresServerSessions};
use std::collections::{HashMap, VecDeque};

/// Sessions kept; the oldest go first. At about 0.5 KB each this is 4 MB.
pub(super) const MAX_SESSIONS: usize = 8192;

struct Stored {
    digest: [u8; 32],
    version: u32,
    value: Vec<u8>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<Vec<u8>, Stored>,
    /// Keys in the order of their arrival, taken ones included.
    order: VecDeque<Vec<u8>>,
}

/// The store of one server configuration.
#[derive(Default)]
pub(super) struct SessionStore {
    inner: Mutex<Inner>,
}

impl SessionStore {
    /// The settings under which a ticket was issued.
    pub(super) fn digest_of(&self, ticket: &[u8]) -> Option<[u8; 32]> {
        self.inner.lock().sessions.get(ticket).map(|s| s.digest)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.inner.lock().sessions.len()
    }
}

impl std::fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionStore")
    }
}

impl StoresServerSessions for SessionStore {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let Some((digest, version)) = running() else { return false };
        let mut inner = self.inner.lock();
        inner.order.push_back(key.clone());
        inner.sessions.insert(key, Stored { digest, version, value });
        while inner.order.len() > MAX_SESSIONS {
            if let Some(oldest) = inner.order.pop_front() {
                inner.sessions.remove(&oldest);
            }
        }
        true
    }

    /// Also removes: nothing is ever resumed twice.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.take(key)
    }

    //= https://www.rfc-editor.org/rfc/rfc9001#section-9.2
    //# Endpoints MUST implement and use the replay protections described in [TLS13], however it is recognized that
    //# these protections are imperfect.
    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut inner = self.inner.lock();
        // RFC 9369 section 5: a ticket of another version counts as none.
        let usable = inner.sessions.get(key).is_some_and(|s| running().is_none_or(|(_, v)| v == s.version));
        if usable { inner.sessions.remove(key).map(|s| s.value) } else { None }
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Sessions sealed into their tickets with keys that several servers share. Whoever has the keys can read what a ticket
/// holds: rotate them, the older stay good for opening as long as they are listed.
#[derive(Default)]
pub(super) struct FleetTickets {
    /// The first seals.
    keys: RwLock<Vec<TokenKey>>,
}

/// Seconds for which a client may use a ticket (RFC 8446 section 4.6.1 allows seven days).
const TICKET_LIFETIME: u32 = 12 * 3600;
/// Tells these from other sealed things of the same key.
const TICKET_LABEL: &[u8] = b"whimbrel ticket 1";

/// RFC 9369 section 5: with the version that the ticket is for, one of another version does not open.
fn ticket_label() -> Vec<u8> {
    let version = running().map_or(0, |(_, version)| version);
    [TICKET_LABEL, &version.to_be_bytes()].concat()
}

impl FleetTickets {
    /// Replaces all keys at once.
    pub(super) fn set(&self, keys: &[[u8; 32]]) {
        let keys = keys.iter().map(TokenKey::new).collect();
        *self.keys.write() = keys;
    }
}

impl std::fmt::Debug for FleetTickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FleetTickets")
    }
}

impl ProducesTickets for FleetTickets {
    fn enabled(&self) -> bool {
        !self.keys.read().is_empty()
    }

    fn lifetime(&self) -> u32 {
        TICKET_LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; 12];
        SystemRandom::new().fill(&mut nonce).ok()?;
        Some(self.keys.read().first()?.seal(nonce, &ticket_label(), plain))
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let label = ticket_label();
        self.keys.read().iter().find_map(|key| key.open(&label, sealed))
    }
}

/// Transport parameters that a client remembers for 0-RTT (RFC 9000 section 7.4.1, RFC 9221 section 3).
//= https://www.rfc-editor.org/rfc/rfc9221#section-3
//# When servers decide to accept 0-RTT data, they MUST send a max_datagram_frame_size transport parameter greater than
//# or equal to the value they sent to the client in the connection where they sent them the NewSessionTicket message.
const REMEMBERED: [u64; 9] = [0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0c, 0x0e, 0x20];

/// Digest of everything that 0-RTT data depends on: version, application protocols, remembered transport
/// parameters, and what the application adds (HTTP/3 settings).
pub(super) fn digest(version: u32, alpn: &[Vec<u8>], parameters: &[u8], context: &[u8]) -> [u8; 32] {
    let mut remembered = Vec::new();
    let mut r = Reader::new(parameters);
    while let (Ok(id), Ok(value)) = (r.varint(), r.varint_bytes()) {
        if REMEMBERED.contains(&id) {
            remembered.push((id, value));
        }
    }
    // The order of parameters means nothing, and may be random.
    remembered.sort_unstable();
    let mut sum = digest::Context::new(&digest::SHA256);
    sum.update(&version.to_be_bytes());
    let mut part = |bytes: &[u8]| {
        sum.update(&(bytes.len() as u64).to_be_bytes());
        sum.update(bytes);
    };
    for protocol in alpn {
        part(protocol);
    }
    part(b"parameters");
    for (id, value) in remembered {
        part(&id.to_be_bytes());
        part(value);
    }
    part(context);
    let mut out = [0; 32];
    out.copy_from_slice(sum.finish().as_ref());
    out
}
