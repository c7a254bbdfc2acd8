//! Encryption levels and packet number spaces (RFC 9001 section 4, RFC 9000 section 12.3).

/// Encryption level of a packet, in the order in which keys appear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Level {
    Initial,
    ZeroRtt,
    Handshake,
    OneRtt,
}

impl Level {
    /// The packet number space that packets of this level use: 0-RTT and 1-RTT share one.
    #[must_use]
    pub const fn space(self) -> SpaceId {
        match self {
            Self::Initial => SpaceId::Initial,
            Self::Handshake => SpaceId::Handshake,
            Self::ZeroRtt | Self::OneRtt => SpaceId::Data,
        }
    }
}

/// Packet number space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum SpaceId {
    Initial,
    Handshake,
    Data,
}

impl SpaceId {
    /// All spaces in handshake order.
    pub const ALL: [Self; 3] = [Self::Initial, Self::Handshake, Self::Data];

    /// 0, 1, 2.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
