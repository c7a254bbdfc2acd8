//! What workers tell the application, and the face through which they do it.
//!
//! Contract of [`Sink`]: called on worker threads with no lock held, so every verb may be called
//! from it; serial per connection and in order, whoever caused the events; parallel between
//! connections of different workers. [`ConnEvent::Drained`] is the last event of every connection
//! and comes exactly once.
use std::net::SocketAddr;
use std::sync::Arc;

use super::conn::Conn;
use crate::base::span::Span;
use crate::connection::Event;
use crate::endpoint::LoadNews;
use crate::http3::H3Event;
use crate::streams::StreamEvent;

/// An event of one connection.
#[derive(Debug)]
pub enum ConnEvent {
    /// From the transport. With HTTP/3 attached, stream events go to HTTP/3 instead, but for
    /// `Available` and `Closed`.
    Quic(Event),
    /// From HTTP/3.
    Http3(H3Event),
    /// The network reported that the peer cannot be reached, and nothing came from it yet. A hint:
    /// such reports are not authenticated.
    Unreachable { os_error: i32 },
    /// A defect of the library stopped this connection; nothing more is sent.
    Poisoned,
    /// The connection has gone. The last event.
    Drained,
}

impl ConnEvent {
    /// The application is likely to answer it: there is something to read or room to write, or all has come. A queue counts
    /// again what it is told of these (`ffi/queue/waiting.rs`).
    #[must_use]
    pub const fn asks(&self) -> bool {
        matches!(
            self,
            Self::Quic(
                Event::Stream(StreamEvent::Readable { .. } | StreamEvent::Writable { .. }) | Event::DatagramReceived
            ) | Self::Http3(H3Event::Headers { end: true, .. } | H3Event::Data { .. } | H3Event::Writable { .. })
        )
    }
}

/// An event of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointNotice {
    /// A socket of the endpoint reported an error that is not one datagram's.
    SocketError { local: SocketAddr, os_error: i32 },
    /// A qlog file cannot be written; its connection goes on without.
    LogError { os_error: i32 },
    /// Whether a limit of the endpoint turns clients away has changed. One after the other, the newest last.
    Load(LoadNews),
    /// All connections and sockets have gone. The last notice.
    Closed,
}

/// Names a connection attempt whose decision is put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) part: usize,
    pub(super) number: u64,
}

/// A connection attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingInfo {
    /// For [`super::EndpointHandle::decide`] after [`IncomingDecision::Later`].
    pub ticket: Ticket,
    pub remote: SocketAddr,
    /// The address that the client sent to.
    pub local: Option<SocketAddr>,
    /// The client proved its address with a token (RFC 9000 section 8.1.2).
    pub address_validated: bool,
    /// It answers a Retry and cannot be given another.
    pub was_retried: bool,
}

/// What to do with a connection attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingDecision {
    Accept,
    /// CONNECTION_CLOSE with CONNECTION_REFUSED (RFC 9000 section 5.2.2).
    Refuse,
    /// Make the client prove its address first (RFC 9000 section 8.1.2).
    Retry,
    /// No answer.
    Ignore,
    /// The decision comes with [`super::EndpointHandle::decide`]. Without one the attempt is forgotten after
    /// [`UNDECIDED_LIFETIME`].
    Later,
}

/// An attempt that is decided on later than this is over.
pub const UNDECIDED_LIFETIME: std::time::Duration = crate::endpoint::INCOMING_LIFETIME;

/// See [`Sink::events_at_a_time`].
pub const EVENTS_AT_A_TIME: usize = 64;

/// Size of the parts in which `all` events are handed over, about `some` at a time: parts of one size, because a small rest
/// would cost a datagram of its own. Below three halves of `some`.
#[must_use]
pub const fn part_of(all: usize, some: usize) -> usize {
    let parts = all.saturating_add(some / 2) / if some == 0 { 1 } else { some };
    if parts <= 1 { all } else { all.div_ceil(parts) }
}

/// Where events go. See the file comment for the contract.
pub trait Sink: Send + Sync {
    /// A client wants to connect.
    fn incoming(&self, _endpoint: u64, _info: &IncomingInfo) -> IncomingDecision {
        IncomingDecision::Accept
    }

    /// A connection was accepted; no event of it has been delivered yet.
    fn accepted(&self, _conn: &Arc<Conn>) {}

    /// Events of one connection that are handed over at a time. What the application answers to them leaves before the next
    /// ones are handed over, so that the peer works on the first answers while the last are made.
    fn events_at_a_time(&self, _conn: &Arc<Conn>) -> usize {
        EVENTS_AT_A_TIME
    }

    /// Where that lies which the sink itself reads for an event of the connection.
    fn part(&self, _conn: &Conn) -> Span {
        Span::NONE
    }

    /// Events of one connection, in order. What is left in the vector is thrown away.
    fn deliver(&self, conn: &Arc<Conn>, events: &mut Vec<ConnEvent>);

    /// What a connection has recorded (`ConnectionConfig::qlog`) since the last call, whole records.
    fn log(&self, _conn: &Arc<Conn>, _records: &[u8]) {}

    /// An event of an endpoint.
    fn endpoint(&self, _endpoint: u64, _notice: EndpointNotice) {}
}

#[cfg(test)]
mod tests {
    use super::{EVENTS_AT_A_TIME, part_of};

    #[test]
    fn parts_have_one_size_and_leave_no_small_rest() {
        assert_eq!([part_of(0, 64), part_of(1, 64), part_of(66, 64), part_of(95, 64)], [0, 1, 66, 95]);
        assert_eq!([part_of(96, 64), part_of(105, 64), part_of(130, 64)], [48, 53, 65]);
        for all in 1..2000 {
            for some in [1, 2, 3, EVENTS_AT_A_TIME, 1024] {
                let part = part_of(all, some);
                assert!(part >= 1 && 2 * part < 3 * some + 2, "{all} in {part}");
                let rest = (all - 1) % part + 1;
                assert!(part - rest < all.div_ceil(part), "{all} in {part}, the last {rest}");
            }
        }
        assert_eq!(part_of(7, 0), 1);
    }
}
