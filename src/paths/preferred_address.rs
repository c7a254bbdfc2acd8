//! The server's preferred address (RFC 9000 section 9.6): which address a client should probe.
use crate::base::FourTuple;
use crate::wire::transport_parameters::PreferredAddress;
use std::net::SocketAddr;

/// The address of `preferred` that a client can reach from the socket that it uses now: one of the same
/// family. `None` when the server named none, or names the address that is in use anyway.
///
/// The client probes it from `current`'s socket with connection ID 1, and migrates when the path is validated
/// (section 9.6.2). Loopback and unspecified addresses are refused unless the server is on loopback itself,
/// because a server could otherwise point clients at services of their own host (section 21.5.3).
#[must_use]
pub fn choose(preferred: &PreferredAddress, current: &FourTuple) -> Option<SocketAddr> {
    let address = match current.remote {
        SocketAddr::V4(_) => SocketAddr::V4(preferred.ipv4?),
        SocketAddr::V6(_) => SocketAddr::V6(preferred.ipv6?),
    };
    let ip = address.ip();
    if ip.is_unspecified() || ip.is_multicast() || address.port() == 0 {
        return None;
    }
    if ip.is_loopback() && !current.remote.ip().is_loopback() {
        return None;
    }
    (address != current.remote).then_some(address)
}
