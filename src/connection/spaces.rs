//! The three packet number spaces, reached through a path (RFC 9000 section 12.3).
//!
//! Initial and Handshake live in the boxed handshake state and go away with it; the data space
//! stays. Asking for a space by path and id is what lets every path have its own one day.
use super::Connection;
use super::crypto_stream::CryptoStream;
use crate::base::SpaceId;
use crate::crypto::{LevelKeys, OneRttKeys};
use crate::recovery::Received;

/// A space that ends with the handshake.
pub(super) struct EarlySpace {
    /// `None` before the keys exist and after they were discarded.
    pub(super) keys: Option<LevelKeys>,
    /// RFC 9001 section 4.9: keys never come back.
    pub(super) discarded: bool,
    pub(super) received: Received,
    pub(super) crypto: CryptoStream,
}

impl EarlySpace {
    pub(super) fn new(keys: Option<LevelKeys>, received: Received) -> Self {
        Self { keys, discarded: false, received, crypto: CryptoStream::default() }
    }
}

/// The space of 0-RTT and 1-RTT packets.
pub(super) struct DataSpace {
    pub(super) keys: Option<Box<OneRttKeys>>,
    pub(super) received: Received,
    pub(super) crypto: CryptoStream,
}

impl Connection {
    /// What was received in a space of a path. Today all paths share one set of spaces.
    pub(super) fn received(&mut self, _path: u8, space: SpaceId) -> Option<&mut Received> {
        match space {
            SpaceId::Data => Some(&mut self.data.received),
            SpaceId::Initial => self.hs.as_mut().map(|h| &mut h.initial.received),
            SpaceId::Handshake => self.hs.as_mut().map(|h| &mut h.handshake.received),
        }
    }

    pub(super) fn crypto_stream(&mut self, space: SpaceId) -> Option<&mut CryptoStream> {
        match space {
            SpaceId::Data => Some(&mut self.data.crypto),
            SpaceId::Initial => self.hs.as_mut().map(|h| &mut h.initial.crypto),
            SpaceId::Handshake => self.hs.as_mut().map(|h| &mut h.handshake.crypto),
        }
    }

    /// Packets of this space can be sealed.
    pub(super) fn has_keys(&self, space: SpaceId) -> bool {
        match space {
            SpaceId::Data => self.data.keys.is_some(),
            SpaceId::Initial => self.hs.as_ref().is_some_and(|h| h.initial.keys.is_some()),
            SpaceId::Handshake => self.hs.as_ref().is_some_and(|h| h.handshake.keys.is_some()),
        }
    }
}
