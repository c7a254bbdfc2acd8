//! 1-RTT keys: both directions, key phases and usage limits (RFC 9001 section 6).
//!
//! Both directions change phase together. The keys of the next phase of the receiving side exist before they
//! are needed, so that a flipped phase bit costs no derivation before the packet authenticates (section 9.5): from the
//! second packet on, whatever it is. A peer that updates with its very first packet loses that one. Those of the previous phase stay until three PTOs after the first packet of the new one (section 6.5).
//! Every packet gets exactly one attempt to open, chosen by phase bit and packet number.
//!
//! The expanded keys of a quiet connection go (`sleep`) and come back with its next packet: all that open, whatever
//! packet came, so that the time tells nothing about its phase bit; what seals when something is sent.
use super::cipher::Cipher;
use super::keys::{DirectionKeys, HeaderKeyBytes, OpenFailed, PacketKey, PacketKeyBytes};
use super::schedule::Secret;
use crate::base::span::Span;
use crate::base::{Timestamp, TransportError, codes};
use core::time::Duration;

/// Key phase bit of the first byte of a short header (RFC 9000 section 17.3.1).
pub const KEY_PHASE_BIT: u8 = 0x04;
/// An update is wanted this many packets before the confidentiality limit, so that its acknowledgement can
/// arrive in time (RFC 9001 section 6.6).
const UPDATE_MARGIN: u64 = 1 << 20;
/// RFC 9001 section 6.5: old keys live for three PTOs.
const OLD_KEY_PTOS: u32 = 3;

/// A packet that opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Bytes of plain text.
    pub len: usize,
    /// This packet made the peer's key update known; the keys are switched in both directions.
    pub peer_updated: bool,
    /// It came under keys of the phase before.
    pub old_keys: bool,
}

/// A packet that did not open, or should not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OneRttOpenError {
    /// Drop it silently: not from our peer, damaged, or its keys are gone.
    Failed,
    /// Close the connection.
    Fatal(TransportError),
}

/// Receiving keys of the phase before the current one.
//= https://www.rfc-editor.org/rfc/rfc9001#section-6.1
//# An endpoint MUST retain old keys until it has successfully unprotected a packet sent using the new keys.
struct Previous {
    key: PacketKey,
    /// `None` until a packet of the new phase arrives.
    discard_at: Option<Timestamp>,
    /// Highest packet number that these keys opened.
    highest: Option<u64>,
}

/// Keys as they are derived.
struct Material {
    /// `None` until something is sent: many a server's connection ends before that.
    local: Option<(HeaderKeyBytes, PacketKeyBytes)>,
    remote_header: HeaderKeyBytes,
    remote: PacketKeyBytes,
    /// `None` until the second packet comes.
    next_remote: Option<PacketKeyBytes>,
}

/// Keys that open, in the form that works: ten times as large.
struct Opening {
    current: Box<DirectionKeys>,
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.3
    //# Endpoints responding to an apparent key update MUST NOT generate a timing side-channel signal that might
    //# indicate that the Key Phase bit was invalid (see Section 9.5).
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.3
    //# For this reason, endpoints MUST be able to retain two sets of packet protection keys for receiving packets: the
    //# current and the next.
    next: Option<Box<PacketKey>>,
}

impl Opening {
    #[cold]
    fn new(cipher: Cipher, material: &Material) -> Self {
        Self {
            current: DirectionKeys::expand(cipher, &material.remote_header, &material.remote),
            next: material.next_remote.as_ref().map(|next| Box::new(PacketKey::expand(cipher, next))),
        }
    }
}

/// Keys of both directions at the 1-RTT level.
pub struct OneRttKeys {
    version: u32,
    cipher: Cipher,
    generation: u64,
    local_secret: Secret,
    /// Secret of the receiving keys of the next phase; until there are such keys, of this one.
    remote_secret: Secret,
    material: Material,
    /// `None` while the connection is quiet, and until it sends.
    sealing: Option<Box<DirectionKeys>>,
    /// `None` while the connection is quiet, and until something comes.
    opening: Option<Opening>,
    previous: Option<Box<Previous>>,
    /// Lowest and highest packet numbers that `remote` opened.
    lowest: Option<u64>,
    highest: Option<u64>,
    /// A packet has come.
    tried: bool,
    /// First packet number sealed in this phase.
    first_sent: Option<u64>,
    acknowledged: bool,
    sealed: u64,
    /// Failed opens, over all levels and phases (RFC 9001 section 6.6).
    failed: u64,
    confidentiality_limit: u64,
    integrity_limit: u64,
    update_after: u64,
}

impl OneRttKeys {
    /// Phase 0 from the two application traffic secrets.
    ///
    /// # Panics
    /// When a secret does not have the length of the cipher's hash; TLS yields no other.
    #[must_use]
    pub fn new(version: u32, cipher: Cipher, local_secret: &[u8], remote_secret: &[u8]) -> Self {
        let local = Secret::new(cipher, local_secret).expect("TLS yields secrets of its hash's length");
        let remote = Secret::new(cipher, remote_secret).expect("TLS yields secrets of its hash's length");
        let remote_prk = remote.prk(cipher);
        let material = Material {
            local: None,
            remote_header: HeaderKeyBytes::derive(cipher, version, &remote_prk),
            remote: PacketKeyBytes::derive(cipher, version, &remote_prk),
            next_remote: None,
        };
        Self {
            version,
            cipher,
            generation: 0,
            material,
            sealing: None,
            opening: None,
            local_secret: local,
            remote_secret: remote,
            previous: None,
            lowest: None,
            highest: None,
            tried: false,
            first_sent: None,
            acknowledged: false,
            sealed: 0,
            failed: 0,
            confidentiality_limit: cipher.confidentiality_limit(),
            integrity_limit: cipher.integrity_limit(),
            update_after: cipher.confidentiality_limit().saturating_sub(UPDATE_MARGIN),
        }
    }

    /// The cipher of this connection.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The key phase bit to put into the first byte of the next packet.
    #[must_use]
    pub const fn phase(&self) -> bool {
        self.generation & 1 == 1
    }

    /// Number of key updates so far.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Lower limits than the cipher's own, and how many packets make an update wanted: for tests and for
    /// those who want fresh keys more often. Values above the cipher's limits have no effect.
    pub fn set_limits(&mut self, confidentiality: u64, integrity: u64, update_after: u64) {
        self.confidentiality_limit = confidentiality.min(self.cipher.confidentiality_limit());
        self.integrity_limit = integrity.min(self.cipher.integrity_limit());
        self.update_after = update_after.min(self.confidentiality_limit);
    }

    /// Seals as `DirectionKeys::protect` does; the caller put `phase()` into the first byte and asked
    /// `exhausted()` before it built the packet.
    pub fn protect(&mut self, packet: &mut [u8], pn_at: usize, pn_len: usize, pn: u64) {
        debug_assert!(!self.exhausted(), "RFC 9001 section 6.6: no packet beyond the confidentiality limit");
        if self.first_sent.is_none() {
            self.first_sent = Some(pn);
        }
        //= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
        //# Endpoints MUST count the number of encrypted packets for each set of keys.
        self.sealed = self.sealed.saturating_add(1);
        if self.sealing.is_none() {
            self.wake_sealing();
        }
        if let Some(keys) = &self.sealing {
            keys.protect(packet, pn_at, pn_len, pn);
        }
    }

    #[cold]
    fn wake_sealing(&mut self) {
        let cipher = self.cipher;
        let (header, packet) = self.local_material();
        self.sealing = Some(DirectionKeys::expand(cipher, header, packet));
    }

    /// The keys that seal as they are derived.
    fn local_material(&mut self) -> &mut (HeaderKeyBytes, PacketKeyBytes) {
        let Self { material, local_secret, cipher, version, .. } = self;
        material.local.get_or_insert_with(|| {
            let prk = local_secret.prk(*cipher);
            (HeaderKeyBytes::derive(*cipher, *version, &prk), PacketKeyBytes::derive(*cipher, *version, &prk))
        })
    }

    /// From the second packet on there are keys of the next phase, for every packet alike.
    #[cold]
    fn derive_next(&mut self) {
        let (cipher, version) = (self.cipher, self.version);
        self.remote_secret = self.remote_secret.next(cipher, version);
        let next = PacketKeyBytes::derive(cipher, version, &self.remote_secret.prk(cipher));
        if let Some(opening) = &mut self.opening {
            opening.next = Some(Box::new(PacketKey::expand(cipher, &next)));
        }
        self.material.next_remote = Some(next);
    }

    /// The keys that open in the form that works.
    #[inline]
    fn opening(&mut self) -> &mut Opening {
        let Self { opening, cipher, material, .. } = self;
        opening.get_or_insert_with(|| Opening::new(*cipher, material))
    }

    /// A packet with this first byte changes nothing about phases: `open` does not ask for the PTO.
    #[must_use]
    pub fn is_steady(&self, first: u8) -> bool {
        self.previous.is_none() && (first & KEY_PHASE_BIT != 0) == self.phase()
    }

    /// Where that lies which every packet needs.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        name(Span::of(self));
        if let Some(sealing) = &self.sealing {
            name(Span::of(&**sealing));
        }
        if let Some(opening) = &self.opening {
            name(Span::of(&*opening.current));
        }
    }

    /// `sleep` would give memory back.
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        self.sealing.is_some() || self.opening.is_some()
    }

    /// Nothing is sent or received for a while: what can be had again from the key bytes goes.
    pub fn sleep(&mut self) {
        self.sealing = None;
        self.opening = None;
    }

    /// Removes header protection, which key updates do not change.
    pub fn unmask(&mut self, packet: &mut [u8], pn_at: usize) -> Option<(usize, u32)> {
        self.opening().current.unmask(packet, pn_at)
    }

    /// Opens an unmasked packet in place, with the keys that its phase bit and packet number ask for.
    pub fn open(
        &mut self,
        packet: &mut [u8],
        payload_at: usize,
        pn: u64,
        now: Timestamp,
        pto: Duration,
    ) -> Result<Opened, OneRttOpenError> {
        self.on_timeout(now);
        if self.material.next_remote.is_none() && self.tried {
            self.derive_next();
        }
        self.tried = true;
        let phase = packet.first().is_some_and(|first| first & KEY_PHASE_BIT != 0);
        let keys = self.keys_for(phase, pn);
        let opened = match keys {
            Keys::Current => self.opening().current.open(packet, payload_at, pn),
            Keys::Next => match self.opening() {
                Opening { next: Some(next), .. } => next.open(packet, payload_at, pn),
                // The very first packet: hardly ever of the next phase, it takes as long as if it were not, and is lost.
                Opening { current, .. } => current.open(packet, payload_at, pn).and(Err(OpenFailed)),
            },
            Keys::Previous => match &self.previous {
                Some(previous) => previous.key.open(packet, payload_at, pn),
                None => Err(OpenFailed),
            },
        };
        let len = match opened {
            Ok(len) => len,
            Err(OpenFailed) => return Err(self.on_forged(1)),
        };
        match keys {
            Keys::Current => self.on_current(pn, now, pto)?,
            Keys::Next => self.on_next(pn, now, pto)?,
            Keys::Previous => {
                if let Some(previous) = &mut self.previous {
                    previous.highest = previous.highest.max(Some(pn));
                }
            }
        }
        Ok(Opened { len, peer_updated: keys == Keys::Next, old_keys: keys == Keys::Previous })
    }

    //= https://www.rfc-editor.org/rfc/rfc9001#section-5.5
    //# Once an endpoint successfully receives a packet with a given packet number, it MUST discard all packets in the
    //# same packet number space with higher packet numbers if they cannot be successfully unprotected with either the
    //# same key, or -- if there is a key update -- a subsequent packet protection key; see Section 6.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-5.5
    //# Similarly, a packet that appears to trigger a key update but cannot be unprotected successfully MUST be
    //# discarded.
    fn keys_for(&self, phase: bool, pn: u64) -> Keys {
        if phase == self.phase() {
            return Keys::Current;
        }
        // RFC 9001 section 6.5: a lower number than any of this phase belongs to the phase before, also
        // every number while we wait for the peer to follow our own update.
        let older = self.lowest.is_none_or(|lowest| pn < lowest);
        if self.previous.is_some() && older { Keys::Previous } else { Keys::Next }
    }

    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.4
    //# An endpoint that successfully removes protection with old keys when newer keys were used for packets with lower
    //# packet numbers MUST treat this as a connection error of type KEY_UPDATE_ERROR.
    fn on_current(&mut self, pn: u64, now: Timestamp, pto: Duration) -> Result<(), OneRttOpenError> {
        if let Some(previous) = &mut self.previous {
            // RFC 9001 section 6.4: old keys on a packet with a higher number than one with newer keys.
            if previous.highest.is_some_and(|highest| pn < highest) {
                return Err(key_update_error("newer keys on a lower packet number"));
            }
            // RFC 9001 section 6.5: the peer has followed; its old packets may be late by three PTOs.
            previous.discard_at.get_or_insert(now + pto.saturating_mul(OLD_KEY_PTOS));
        }
        self.lowest = Some(self.lowest.map_or(pn, |lowest| lowest.min(pn)));
        self.highest = self.highest.max(Some(pn));
        Ok(())
    }

    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.2
    //# The endpoint MUST update its send keys to the corresponding key phase in response, as described in Section 6.1.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.2
    //# Sending keys MUST be updated before sending an acknowledgment for the packet that was received with updated
    //# keys.
    fn on_next(&mut self, pn: u64, now: Timestamp, pto: Duration) -> Result<(), OneRttOpenError> {
        // RFC 9001 section 6.4, as above.
        if self.highest.is_some_and(|highest| pn < highest) {
            return Err(key_update_error("newer keys on a lower packet number"));
        }
        // RFC 9001 section 6.1: for another update the peer must have seen an acknowledgement of its current phase, which only
        // a packet that we sent in this phase can carry (section 6.2). The first one waits for the handshake alone.
        if self.sealed == 0 && self.generation > 0 {
            return Err(key_update_error("key update before the previous one was confirmed"));
        }
        self.rotate();
        if let Some(previous) = &mut self.previous {
            previous.discard_at = Some(now + pto.saturating_mul(OLD_KEY_PTOS));
        }
        self.lowest = Some(pn);
        self.highest = Some(pn);
        Ok(())
    }

    /// Counts packets that did not open, of any level and phase.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
    //# In addition to counting packets sent, endpoints MUST count the number of received packets that fail
    //# authentication during the lifetime of a connection.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.6
    //# If the total number of received packets that fail authentication within the connection, across all keys, exceeds
    //# the integrity limit for the selected AEAD, the endpoint MUST immediately close the connection with a connection
    //# error of type AEAD_LIMIT_REACHED and not process any more packets.
    pub fn on_forged(&mut self, count: u64) -> OneRttOpenError {
        self.failed = self.failed.saturating_add(count);
        // RFC 9001 section 6.6: integrity limit, counted over all keys of the connection.
        if self.failed >= self.integrity_limit {
            let error = TransportError::new(codes::transport::AEAD_LIMIT_REACHED, "too many forged packets");
            return OneRttOpenError::Fatal(error);
        }
        OneRttOpenError::Failed
    }

    /// The peer has acknowledged a packet of the current key phase (RFC 9001 section 6.1).
    #[must_use]
    pub const fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Starts a key update; false when RFC 9001 sections 6.1 and 6.5 do not allow one yet: the current phase
    /// is not acknowledged, or the keys of the phase before are still kept. The caller must have confirmed
    /// the handshake (section 6.1).
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6
    //# Endpoints MUST NOT send a TLS KeyUpdate message.
    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.1
    //# An endpoint MUST NOT initiate a subsequent key update unless it has received an acknowledgment for a packet that
    //# was sent protected with keys from the current key phase.
    pub fn initiate_update(&mut self, now: Timestamp) -> bool {
        self.on_timeout(now);
        if !self.acknowledged || self.previous.is_some() {
            return false;
        }
        self.rotate();
        true
    }

    //= https://www.rfc-editor.org/rfc/rfc9001#section-6.4
    //# Packets with higher packet numbers MUST be protected with either the same or newer packet protection keys than
    //# packets with lower packet numbers.
    fn rotate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        let (cipher, version) = (self.cipher, self.version);
        // The header key is of the first phase, so it has to be there before the secret moves on.
        self.local_material();
        self.local_secret = self.local_secret.next(cipher, version);
        let local = PacketKeyBytes::derive(cipher, version, &self.local_secret.prk(cipher));
        if let Some(keys) = &mut self.sealing {
            keys.replace_packet(PacketKey::expand(cipher, &local));
        }
        self.local_material().1 = local;
        if self.material.next_remote.is_none() {
            self.derive_next();
        }
        let Some(next) = self.material.next_remote.take() else { return };
        let expanded = PacketKey::expand(cipher, &next);
        let key = self.opening().current.replace_packet(expanded);
        self.material.remote = next;
        self.derive_next();
        self.previous = Some(Box::new(Previous { key, discard_at: None, highest: self.highest }));
        self.lowest = None;
        self.highest = None;
        self.first_sent = None;
        self.acknowledged = false;
        self.sealed = 0;
    }

    /// Packet `pn` was sealed with keys of the current phase: a packet under old keys cannot acknowledge it (RFC 9001
    /// section 6.2).
    #[must_use]
    pub fn is_of_this_phase(&self, pn: u64) -> bool {
        self.first_sent.is_some_and(|first| pn >= first)
    }

    /// The peer acknowledged 1-RTT packet `pn`.
    pub fn on_packet_acked(&mut self, pn: u64) {
        if self.first_sent.is_some_and(|first| pn >= first) {
            self.acknowledged = true;
        }
    }

    /// Enough packets are sealed that the next opportunity to update should be taken.
    #[must_use]
    pub const fn wants_update(&self) -> bool {
        self.sealed >= self.update_after
    }

    /// No further packet may be sealed: close with `AEAD_LIMIT_REACHED` (RFC 9001 section 6.6).
    #[must_use]
    pub const fn exhausted(&self) -> bool {
        self.sealed >= self.confidentiality_limit
    }

    /// Packets that may still be sealed in this phase.
    #[must_use]
    pub const fn packets_left(&self) -> u64 {
        self.confidentiality_limit.saturating_sub(self.sealed)
    }

    /// When the previous phase's keys are to be discarded.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.previous.as_ref()?.discard_at
    }

    /// Discards the previous phase's keys when their time is over.
    pub fn on_timeout(&mut self, now: Timestamp) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.previous = None;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Current,
    Next,
    Previous,
}

fn key_update_error(reason: &'static str) -> OneRttOpenError {
    OneRttOpenError::Fatal(TransportError::new(codes::transport::KEY_UPDATE_ERROR, reason))
}
