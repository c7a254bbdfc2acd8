//! Which end of the connection this is.

/// Client or server (RFC 9000 section 1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    #[must_use]
    pub const fn is_client(self) -> bool {
        matches!(self, Self::Client)
    }

    #[must_use]
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Server)
    }

    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}
