//! The error that ends a connection from the transport's side (RFC 9000 section 11.1).
use core::fmt;

/// A connection error of type 0x1c: `Copy`, no heap, reason known at compile time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransportError {
    /// Wire code (RFC 9000 section 20.1; 0x0100 + alert for TLS).
    pub code: u64,
    /// Frame type that triggered it, 0 when unknown (RFC 9000 section 19.19).
    pub frame_type: u64,
    /// What was wrong, for the reason phrase and the log.
    pub reason: &'static str,
}

impl TransportError {
    /// An error with no frame type.
    #[must_use]
    pub const fn new(code: u64, reason: &'static str) -> Self {
        Self { code, frame_type: 0, reason }
    }

    /// The same error, blamed on a frame type.
    #[must_use]
    pub const fn in_frame(self, frame_type: u64) -> Self {
        Self { frame_type, ..self }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transport error {:#x}: {}", self.code, self.reason)
    }
}

impl std::error::Error for TransportError {}
