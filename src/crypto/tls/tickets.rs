//! A server's sessions for resumption and 0-RTT (RFC 8446 sections 4.6.1 and 8, RFC 9001 sections 4.5 and 4.6).
//!
//! Kept here: in process, bounded, every session usable once, which is the replay protection of 0-RTT (RFC 8446 section
//! 8.1). Or, with keys that a fleet of servers shares, sealed into the ticket: rustls asks a store for the session in
//! either case, and the number that it puts into a ticket is exchanged for the sealed session on its way out
//! (`replace_ticket`). Sealed tickets can be used again, so 0-RTT with them needs a store of the application's (section
//! 8.2). Every session goes with a digest of what 0-RTT data depends on; a ticket from other settings still resumes, but
//! its 0-RTT is rejected (RFC 9000 section 7.4.1, RFC 9001 section 4.6.2).
use super::client_hello::EXT_EARLY_DATA;
use super::framing::NEW_SESSION_TICKET;
use super::secrets::{on_ticket, running};
use crate::crypto::{TokenKey, random};
use crate::wire::reader::Reader;
use parking_lot::{Mutex, RwLock};
use ring::digest;
use rustc_hash::FxHashMap;
use rustls::server::StoresServerSessions;
use std::collections::VecDeque;
use std::time::Duration;

/// Sessions kept; the oldest go first. At about 0.5 KB each this is 4 MB.
pub(super) const MAX_SESSIONS: usize = 8192;

/// What a ticket shows of a session that is kept here: random bytes of our own, so a fast hash will do. A peer may look
/// for others and finds none.
type Number = [u8; 32];

struct Stored {
    digest: [u8; 32],
    version: u32,
    value: Vec<u8>,
}

#[derive(Default)]
struct Inner {
    sessions: FxHashMap<Number, Stored>,
    /// Keys in the order of their arrival, taken ones included.
    order: VecDeque<Number>,
}

/// The store of one server configuration.
#[derive(Default)]
pub(super) struct SessionStore {
    inner: Mutex<Inner>,
    /// Keys that servers share, the first seals; none: sessions are kept here. Whoever has the keys can read what a
    /// ticket holds: rotate them, the older stay good for opening as long as they are listed.
    keys: RwLock<Vec<TokenKey>>,
}

/// A ticket as a ClientHello shows it, before TLS has seen it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Issued {
    /// Of the settings under which it was issued.
    pub digest: [u8; 32],
    /// It carries its session, so it can be used again.
    pub sealed: bool,
}

impl SessionStore {
    /// What is known about a ticket of `version`.
    pub(super) fn issued(&self, ticket: &[u8], version: u32) -> Option<Issued> {
        if let Ok(number) = Number::try_from(ticket)
            && let Some(stored) = self.inner.lock().sessions.get(&number)
        {
            return Some(Issued { digest: stored.digest, sealed: false });
        }
        let plain = self.open(ticket, version)?;
        plain.first_chunk().map(|digest| Issued { digest: *digest, sealed: true })
    }

    /// Replaces all keys at once.
    pub(super) fn set_keys(&self, keys: &[[u8; 32]]) {
        let keys = keys.iter().map(TokenKey::new).collect();
        *self.keys.write() = keys;
    }

    /// Digest and session from a ticket that servers with our keys have sealed.
    fn open(&self, ticket: &[u8], version: u32) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let label = ticket_label(version);
        self.keys.read().iter().find_map(|key| key.open(&label, ticket))
    }

    /// The session as a ticket; `None`: it is kept here.
    fn seal(&self, digest: &[u8; 32], version: u32, value: &[u8]) -> Option<Result<Vec<u8>, TooLong>> {
        let keys = self.keys.read();
        let key = keys.first()?;
        let mut nonce = [0; 12];
        if digest.len() + value.len() + SEAL_OVERHEAD > MAX_TICKET || random::fill(&mut nonce).is_err() {
            return Some(Err(TooLong));
        }
        Some(Ok(key.seal(nonce, &ticket_label(version), &[digest, value].concat())))
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
        let Some((Some(digest), version)) = running() else { return false };
        match self.seal(&digest, version, &value) {
            Some(Ok(sealed)) => return on_ticket(key, sealed),
            Some(Err(TooLong)) => return false,
            None => {}
        }
        let Ok(number) = Number::try_from(key) else { return false };
        let mut inner = self.inner.lock();
        inner.order.push_back(number);
        inner.sessions.insert(number, Stored { digest, version, value });
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
        let version = running().map(|(_, version)| version);
        if let Ok(number) = Number::try_from(key) {
            let mut inner = self.inner.lock();
            if let Some(stored) = inner.sessions.get(&number) {
                // RFC 9369 section 5: a ticket of another version counts as none.
                let usable = version.is_none_or(|v| v == stored.version);
                return if usable { inner.sessions.remove(&number).map(|s| s.value) } else { None };
            }
        }
        self.open(key, version?)?.get(32..).map(<[u8]>::to_vec)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Seconds for which a client may use a sealed ticket (RFC 8446 section 4.6.1 allows seven days).
const TICKET_LIFETIME: u32 = 12 * 3600;
/// Longest sealed ticket: a session with a client's certificates fits, and the ClientHello stays within what servers take.
const MAX_TICKET: usize = 1 << 14;
/// Nonce and tag.
const SEAL_OVERHEAD: usize = 12 + 16;
/// Tells these from other sealed things of the same key.
const TICKET_LABEL: &[u8] = b"whimbrel ticket 2";

/// No ticket is made of such a session.
struct TooLong;

/// RFC 9369 section 5: with the version that the ticket is for, one of another version does not open.
fn ticket_label(version: u32) -> Vec<u8> {
    [TICKET_LABEL, &version.to_be_bytes()].concat()
}

/// For how long an offer of early data must be remembered (RFC 8446 sections 8.2 and 8.3): TLS takes it while the age
/// that the client states is within a minute of the truth, either way; then the clocks of the servers may differ.
pub const EARLY_DATA_WINDOW: Duration = Duration::from_secs(2 * 60 + 10);

/// What stands for one ClientHello with early data in a store of such (RFC 8446 section 8.2): whoever does not know the
/// session cannot make another binder, and every ClientHello of the client's has one of its own.
pub(super) fn offer_key(ticket: &[u8], binder: &[u8]) -> [u8; 32] {
    let mut sum = digest::Context::new(&digest::SHA256);
    for part in [&b"whimbrel early data"[..], ticket, binder] {
        sum.update(&(part.len() as u64).to_be_bytes());
        sum.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(sum.finish().as_ref());
    out
}

/// NewSessionTicket messages (RFC 8446 section 4.6.1) of one flight, with the numbers that rustls has put into them
/// exchanged for what `made` says; without `early`, sealed tickets are no longer good for early data. `None`: the flight
/// is not what rustls writes.
pub(super) fn replace_tickets(flight: &[u8], made: &[(Vec<u8>, Vec<u8>)], early: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(flight.len() + made.iter().map(|(_, sealed)| sealed.len()).sum::<usize>());
    let mut r = Reader::new(flight);
    while !r.is_empty() {
        let kind = r.u8().ok()?;
        let body = sized(&mut r, 3)?;
        match replace_ticket(body, made, early).filter(|_| kind == NEW_SESSION_TICKET) {
            Some(new) => {
                out.push(kind);
                put(&mut out, 3, &new)?;
            }
            None => {
                out.push(kind);
                put(&mut out, 3, body)?;
            }
        }
    }
    Some(out)
}

fn replace_ticket(body: &[u8], made: &[(Vec<u8>, Vec<u8>)], early: bool) -> Option<Vec<u8>> {
    let mut r = Reader::new(body);
    let lifetime = r.u32().ok()?.min(TICKET_LIFETIME);
    let age_add = r.u32().ok()?;
    let nonce = sized(&mut r, 1)?;
    let number = sized(&mut r, 2)?;
    let mut extensions = Reader::new(sized(&mut r, 2)?);
    let (_, sealed) = made.iter().find(|(known, _)| known == number)?;
    let mut kept = Vec::new();
    while !extensions.is_empty() {
        let kind = extensions.u16().ok()?;
        let data = sized(&mut extensions, 2)?;
        if early || kind != EXT_EARLY_DATA {
            kept.extend_from_slice(&kind.to_be_bytes());
            put(&mut kept, 2, data)?;
        }
    }
    let mut out = Vec::with_capacity(body.len() + sealed.len());
    out.extend_from_slice(&lifetime.to_be_bytes());
    out.extend_from_slice(&age_add.to_be_bytes());
    put(&mut out, 1, nonce)?;
    put(&mut out, 2, sealed)?;
    put(&mut out, 2, &kept)?;
    Some(out)
}

/// Bytes behind a length of `width` bytes.
fn sized<'a>(r: &mut Reader<'a>, width: usize) -> Option<&'a [u8]> {
    let len = r.bytes(width).ok()?.iter().fold(0, |len, b| len << 8 | usize::from(*b));
    r.bytes(len).ok()
}

fn put(out: &mut Vec<u8>, width: usize, bytes: &[u8]) -> Option<()> {
    let len = u32::try_from(bytes.len()).ok()?.to_be_bytes();
    let (high, low) = len.split_at_checked(4usize.checked_sub(width)?)?;
    high.iter().all(|b| *b == 0).then_some(())?;
    out.extend_from_slice(low);
    out.extend_from_slice(bytes);
    Some(())
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
