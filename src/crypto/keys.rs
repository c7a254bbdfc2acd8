//! Keys of one direction and of one level; sealing and opening in place (RFC 9001 sections 5.3 and 5.4).
//!
//! Called by `connection` for every packet: no allocation, no dispatch beyond ring's own. Unmasking does the
//! same work whatever the packet holds (section 9.5), and nothing is learnt from a packet before it opens.
use super::cipher::Cipher;
use super::schedule::{Secret, expand, labels};
use ring::{aead, hkdf};

/// Bytes that protection adds to a payload; the same for all ciphers.
pub const TAG_LEN: usize = 16;
/// RFC 9001 section 5.4.2: the sample is taken as if the packet number had 4 bytes.
const SAMPLE_OFFSET: usize = 4;
const SAMPLE_LEN: usize = 16;
/// The longest key of our ciphers.
const MAX_KEY: usize = 32;
const LONG_FORM: u8 = 0x80;
const LONG_MASK: u8 = 0x0f;
const SHORT_MASK: u8 = 0x1f;

/// The packet did not authenticate: drop it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFailed;

/// Header protection of one direction; it survives key updates (RFC 9001 section 6).
pub(super) struct HeaderKey(aead::quic::HeaderProtectionKey);

/// A header protection key as it is derived, wiped when dropped.
pub(super) struct HeaderKeyBytes([u8; MAX_KEY]);

impl HeaderKeyBytes {
    pub(super) fn derive(cipher: Cipher, version: u32, prk: &hkdf::Prk) -> Self {
        let mut bytes = Self([0; MAX_KEY]);
        let key = bytes.0.get_mut(..cipher.header().key_len()).expect("the longest key has 32 bytes");
        expand(prk, labels(version).hp, key);
        bytes
    }
}

impl Drop for HeaderKeyBytes {
    fn drop(&mut self) {
        self.0 = [0; MAX_KEY];
        core::hint::black_box(&self.0);
    }
}

/// Key and IV of a direction and phase as they are derived, wiped when dropped.
pub(super) struct PacketKeyBytes {
    key: [u8; MAX_KEY],
    iv: [u8; aead::NONCE_LEN],
}

impl PacketKeyBytes {
    pub(super) fn derive(cipher: Cipher, version: u32, prk: &hkdf::Prk) -> Self {
        let labels = labels(version);
        let mut bytes = Self { key: [0; MAX_KEY], iv: [0; aead::NONCE_LEN] };
        let key = bytes.key.get_mut(..cipher.aead().key_len()).expect("the longest key has 32 bytes");
        expand(prk, labels.key, key);
        expand(prk, labels.iv, &mut bytes.iv);
        bytes
    }
}

impl Drop for PacketKeyBytes {
    fn drop(&mut self) {
        self.key = [0; MAX_KEY];
        core::hint::black_box(&self.key);
    }
}

impl HeaderKey {
    /// The form that works, some hundred bytes.
    pub(super) fn expand(cipher: Cipher, bytes: &HeaderKeyBytes) -> Self {
        let algorithm = cipher.header();
        let key = bytes.0.get(..algorithm.key_len()).expect("the longest key has 32 bytes");
        Self(aead::quic::HeaderProtectionKey::new(algorithm, key).expect("the length is the algorithm's own"))
    }

    /// Masks the first byte and the packet number of a sealed packet.
    pub(super) fn mask(&self, packet: &mut [u8], pn_at: usize, pn_len: usize) {
        let Some(mask) = self.mask_of(packet, pn_at) else {
            debug_assert!(false, "a sealed packet is long enough for its sample: builders pad it");
            return;
        };
        let [first_mask, pn_mask @ ..] = mask;
        if let Some(first) = packet.first_mut() {
            *first ^= first_mask & mask_bits(*first);
        }
        for (byte, m) in packet.iter_mut().skip(pn_at).take(pn_len).zip(pn_mask) {
            *byte ^= m;
        }
    }

    /// Removes the mask; length and value of the truncated packet number. `None`: no room for a sample
    /// (RFC 9001 section 5.4.2: discard).
    pub(super) fn unmask(&self, packet: &mut [u8], pn_at: usize) -> Option<(usize, u32)> {
        let [first_mask, pn_mask @ ..] = self.mask_of(packet, pn_at)?;
        let first = packet.first_mut()?;
        *first ^= first_mask & mask_bits(*first);
        let pn_len = usize::from(*first & 3) + 1;
        let mut pn = 0u32;
        for (byte, m) in packet.get_mut(pn_at..)?.iter_mut().take(pn_len).zip(pn_mask) {
            *byte ^= m;
            pn = (pn << 8) | u32::from(*byte);
        }
        Some((pn_len, pn))
    }

    //= https://www.rfc-editor.org/rfc/rfc9001#section-5.4.2
    //# An endpoint MUST discard packets that are not long enough to contain a complete sample.
    fn mask_of(&self, packet: &[u8], pn_at: usize) -> Option<[u8; 5]> {
        let at = pn_at.checked_add(SAMPLE_OFFSET)?;
        let sample = packet.get(at..at.checked_add(SAMPLE_LEN)?)?;
        self.0.new_mask(sample).ok()
    }
}

/// RFC 9001 section 5.4.1: four bits of a long header's first byte are protected, five of a short one's.
const fn mask_bits(first: u8) -> u8 {
    if first & LONG_FORM == 0 { SHORT_MASK } else { LONG_MASK }
}

/// Payload protection of one direction in one key phase.
pub(super) struct PacketKey {
    key: aead::LessSafeKey,
    iv: [u8; aead::NONCE_LEN],
}

impl PacketKey {
    /// The form that works, half a kilobyte.
    pub(super) fn expand(cipher: Cipher, bytes: &PacketKeyBytes) -> Self {
        let algorithm = cipher.aead();
        let key = bytes.key.get(..algorithm.key_len()).expect("the longest key has 32 bytes");
        let key = aead::UnboundKey::new(algorithm, key).expect("the length is the algorithm's own");
        Self { key: aead::LessSafeKey::new(key), iv: bytes.iv }
    }

    /// RFC 9001 section 5.3: the packet number, left-padded, XORed into the IV.
    fn nonce(&self, pn: u64) -> aead::Nonce {
        let mut nonce = self.iv;
        for (n, p) in nonce.iter_mut().skip(4).zip(pn.to_be_bytes()) {
            *n ^= p;
        }
        aead::Nonce::assume_unique_for_key(nonce)
    }

    //= https://www.rfc-editor.org/rfc/rfc9001#section-9.5
    //= type=exception
    //= reason=ring takes constant time here and nothing branches on the number; but no test of ours can show it
    //# For the sending of packets, construction and protection of packet payloads and packet numbers MUST be free
    //# from side channels that would reveal the packet number or its encoded size.
    /// Seals `packet[payload_at..len - 16]` and puts the tag into the last 16 bytes.
    pub(super) fn seal(&self, packet: &mut [u8], payload_at: usize, pn: u64) {
        let (header, body) = packet.split_at_mut(payload_at);
        let payload_len = body.len().checked_sub(TAG_LEN).expect("the builder left room for the tag");
        let (payload, tag_room) = body.split_at_mut(payload_len);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(pn), aead::Aad::from(&*header), payload)
            .expect("a datagram is far below the length limit of the AEAD");
        tag_room.copy_from_slice(tag.as_ref());
    }

    pub(super) fn open(&self, packet: &mut [u8], payload_at: usize, pn: u64) -> Result<usize, OpenFailed> {
        let (header, body) = packet.split_at_mut_checked(payload_at).ok_or(OpenFailed)?;
        match self.key.open_in_place(self.nonce(pn), aead::Aad::from(&*header), body) {
            Ok(plain) => Ok(plain.len()),
            Err(ring::error::Unspecified) => Err(OpenFailed),
        }
    }
}

/// Header key and packet key of one direction.
pub struct DirectionKeys {
    header: HeaderKey,
    packet: PacketKey,
}

impl DirectionKeys {
    /// `prk` is made of the traffic secret, once for all three keys: that is two of eight hashes. Boxed where it is made:
    /// keys are moved a few times before they rest, and one direction is small enough for the allocator's fast path.
    pub(super) fn new(cipher: Cipher, version: u32, prk: &hkdf::Prk) -> Box<Self> {
        Self::expand(
            cipher,
            &HeaderKeyBytes::derive(cipher, version, prk),
            &PacketKeyBytes::derive(cipher, version, prk),
        )
    }

    /// The form that works.
    pub(super) fn expand(cipher: Cipher, header: &HeaderKeyBytes, packet: &PacketKeyBytes) -> Box<Self> {
        Box::new(Self { header: HeaderKey::expand(cipher, header), packet: PacketKey::expand(cipher, packet) })
    }

    /// Puts the packet key of another phase into place; the header key stays (RFC 9001 section 6). The old one.
    pub(super) const fn replace_packet(&mut self, packet: PacketKey) -> PacketKey {
        core::mem::replace(&mut self.packet, packet)
    }

    /// Keys of a traffic secret; `None` when the length of the secret is not that of the cipher.
    #[must_use]
    pub fn from_secret(cipher: Cipher, version: u32, secret: &[u8]) -> Option<Box<Self>> {
        Some(Self::new(cipher, version, &Secret::new(cipher, secret)?.prk(cipher)))
    }

    /// Seals `packet` in place: header, payload, and 16 bytes of room for the tag at the end. The payload
    /// starts at `pn_at + pn_len`; payload and packet number together must have at least 4 bytes, so that
    /// there is a sample (RFC 9001 section 5.4.2).
    pub fn protect(&self, packet: &mut [u8], pn_at: usize, pn_len: usize, pn: u64) {
        self.packet.seal(packet, pn_at + pn_len, pn);
        self.header.mask(packet, pn_at, pn_len);
    }

    /// Removes header protection in place; length and value of the truncated packet number, `None` when the
    /// packet is too short for a sample.
    pub fn unmask(&self, packet: &mut [u8], pn_at: usize) -> Option<(usize, u32)> {
        self.header.unmask(packet, pn_at)
    }

    /// Opens an unmasked packet in place; the plain text has the returned length and starts at `payload_at`.
    pub fn open(&self, packet: &mut [u8], payload_at: usize, pn: u64) -> Result<usize, OpenFailed> {
        self.packet.open(packet, payload_at, pn)
    }
}

/// Keys of one encryption level.
pub struct LevelKeys {
    /// Seals what we send.
    pub local: Box<DirectionKeys>,
    /// Opens what the peer sends.
    pub remote: Box<DirectionKeys>,
}
