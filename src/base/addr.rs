//! Where a datagram came from or goes to.
use std::net::SocketAddr;

/// Both ends of a network path as one endpoint sees them (RFC 9000 section 9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FourTuple {
    /// Our address: IP from packet information where the system gives it, port of the socket.
    /// `None` until known (a client on an unconnected, unbound socket).
    pub local: Option<SocketAddr>,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Number of the socket in its owner's table; a new socket has a new number.
    pub socket: u32,
}

impl FourTuple {
    /// Same path for the purposes of RFC 9000 section 9: an unknown local address matches any.
    #[must_use]
    pub fn same_path(&self, other: &Self) -> bool {
        self.remote == other.remote
            && self.socket == other.socket
            && match (self.local, other.local) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
    }
}
