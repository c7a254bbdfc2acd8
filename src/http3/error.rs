//! Errors of HTTP/3: what verbs return, and what ends a stream or the connection (RFC 9114 section 8).
use core::fmt;

/// Why a verb did not do what was asked. None of these closes the connection by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum H3Error {
    /// Nothing to read, or no room to write: an event will tell when to try again.
    Blocked,
    /// The peer's limit of request streams is reached; `H3Event::RequestsAvailable` will follow.
    TooManyRequests,
    /// The peer sent GOAWAY, or we did: no new requests on this connection (RFC 9114 section 5.2).
    GoingAway,
    /// The connection is closed or closing.
    Closed,
    /// No such stream, or that part of it has ended.
    UnknownStream,
    /// Out of order: a second final response, a body before the headers, anything after the end.
    WrongState,
    /// The fields break a rule of RFC 9114 section 4.2 or 4.3; nothing was sent.
    Malformed(&'static str),
    /// The section is larger than the peer takes (SETTINGS_MAX_FIELD_SECTION_SIZE); nothing was sent.
    FieldsTooLarge,
    /// The body does not match the content-length that was sent before, or the message may not have a body.
    BodyLength,
    /// The receiving part ended early with this code.
    Reset(u64),
    /// The peer stopped our sending part with this code.
    Stopped(u64),
    /// Memory of the chunk was taken back by its owner while it was being sent.
    Revoked,
}

impl fmt::Display for H3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "malformed message: {why}"),
            Self::Reset(code) => write!(f, "stream reset with {code:#x}"),
            Self::Stopped(code) => write!(f, "stream stopped with {code:#x}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl std::error::Error for H3Error {}

/// A connection error: closes the whole connection with an application code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fatal {
    /// Code of RFC 9114 section 8.1 or RFC 9204 section 6.
    pub code: u64,
    /// For the reason phrase.
    pub reason: &'static str,
}

impl Fatal {
    pub(super) const fn new(code: u64, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

/// What went wrong while reading a request stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Only this stream: reset and stop it (RFC 9114 section 4.1.2).
    Stream(u64, &'static str),
    /// The whole connection.
    Connection(Fatal),
}

impl From<Fatal> for Fault {
    fn from(f: Fatal) -> Self {
        Self::Connection(f)
    }
}
