//! Why a verb of the runtime failed, each with one clear line of text.
use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::connection::MigrateError;
use crate::crypto::TlsSetupError;
use crate::endpoint::ConnectError;

/// Error of a runtime verb. Nothing has changed when one is returned.
#[derive(Debug)]
pub enum RuntimeError {
    /// Another socket holds the port.
    AddressInUse(SocketAddr),
    /// Ports below 1024 need a privilege.
    PermissionDenied(SocketAddr),
    /// The address is not one of this machine.
    AddressNotAvailable(SocketAddr),
    /// Another failure of the system.
    Io { what: &'static str, source: io::Error },
    /// The TLS settings do not fit together, or the server name is malformed.
    Tls(TlsSetupError),
    /// The connection cannot move now.
    Migrate(MigrateError),
    /// The runtime or the endpoint has been closed.
    Closed,
    /// The verb does not fit the role or state of its object.
    State(&'static str),
    /// Workers still run after the time given.
    Timeout,
    /// The call would wait for the very thread that makes it.
    WouldDeadlock,
    /// The peer's addresses are refused or a limit is reached.
    Refused(&'static str),
}

impl RuntimeError {
    /// Sorts a failure to bind `addr`.
    #[must_use]
    pub(super) fn bind(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse(addr),
            io::ErrorKind::PermissionDenied => Self::PermissionDenied(addr),
            io::ErrorKind::AddrNotAvailable => Self::AddressNotAvailable(addr),
            _ => Self::Io { what: "cannot open a UDP socket", source },
        }
    }

    /// Error number of the system, 0 when none is behind it.
    #[must_use]
    pub fn os_error(&self) -> i32 {
        match self {
            Self::AddressInUse(_) => libc::EADDRINUSE,
            Self::PermissionDenied(_) => libc::EACCES,
            Self::AddressNotAvailable(_) => libc::EADDRNOTAVAIL,
            Self::Io { source, .. } => source.raw_os_error().unwrap_or(0),
            _ => 0,
        }
    }
}

impl From<ConnectError> for RuntimeError {
    fn from(e: ConnectError) -> Self {
        match e {
            ConnectError::TooMany => Self::Refused("cannot connect: the endpoint's connection limit is reached"),
            ConnectError::AddressInUse => Self::Refused("cannot connect: without connection IDs one per peer is all"),
            ConnectError::Tls(e) => Self::Tls(e),
        }
    }
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse(a) => write!(f, "cannot listen on {a}: the port is in use"),
            Self::PermissionDenied(a) => write!(f, "cannot bind {a}: permission denied"),
            Self::AddressNotAvailable(a) => write!(f, "cannot bind {a}: not an address of this machine"),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Tls(e) => write!(f, "TLS settings: {e}"),
            Self::Migrate(MigrateError::NotNow) => f.write_str("cannot migrate: the handshake is not confirmed"),
            Self::Migrate(MigrateError::Forbidden) => f.write_str("cannot migrate: the peer has forbidden it"),
            Self::Migrate(MigrateError::NoConnectionId) => {
                f.write_str("cannot migrate: the peer gave no spare connection ID")
            }
            Self::Migrate(MigrateError::TooManyPaths) => f.write_str("cannot migrate: too many paths"),
            Self::Closed => f.write_str("already closed"),
            Self::State(what) | Self::Refused(what) => f.write_str(what),
            Self::Timeout => f.write_str("workers did not end in time"),
            Self::WouldDeadlock => f.write_str("a worker thread cannot wait for itself"),
        }
    }
}

impl std::error::Error for RuntimeError {}
