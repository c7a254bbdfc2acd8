//! Stream identifiers (RFC 9000 section 2.1).
use super::side::Side;

/// Directionality of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Dir {
    Bi,
    Uni,
}

/// A 62-bit stream identifier; the two low bits tell initiator and direction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The `index`-th stream that `initiator` opens in direction `dir`.
    #[must_use]
    pub const fn new(initiator: Side, dir: Dir, index: u64) -> Self {
        Self((index << 2) | ((matches!(dir, Dir::Uni) as u64) << 1) | matches!(initiator, Side::Server) as u64)
    }

    #[must_use]
    pub const fn initiator(self) -> Side {
        if self.0 & 1 == 0 { Side::Client } else { Side::Server }
    }

    #[must_use]
    pub const fn dir(self) -> Dir {
        if self.0 & 2 == 0 { Dir::Bi } else { Dir::Uni }
    }

    /// Which stream of its type this is, from 0.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.0 >> 2
    }
}
