//! What HTTP/3 tells the application (RFC 9114). One queue per connection, in the order of the wire per stream.
//!
//! The end of a received message is told exactly once: by `end` in [`H3Event::Headers`], or by the second
//! value of `Http3::recv_body` (for which an [`H3Event::Data`] calls). After that, or after
//! [`H3Event::Reset`], no more receive events come for the stream.
use crate::base::StreamId;
use crate::qpack::FieldList;

/// Which field section of a message arrived (RFC 9114 section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionKind {
    /// Server: a new request. The first event of its stream.
    Request,
    /// Client: the final response.
    Response,
    /// Client: an interim response, status 1xx; more follow.
    Informational,
    /// Either side: the section after the body.
    Trailers,
}

/// Events for the application. Ownership of field lists moves with the event; hand them back with
/// `Http3::recycle` to spare the next section its allocations.
#[derive(Debug, PartialEq)]
pub enum H3Event {
    /// The peer's SETTINGS arrived: extended CONNECT may be used if `extended_connect` (RFC 9220).
    Settings { max_field_section_size: u64, extended_connect: bool, h3_datagram: bool },
    /// A valid field section. `end`: the message ends with it, there is no body (left) to read.
    Headers { stream: StreamId, kind: SectionKind, fields: FieldList, end: bool },
    /// Body bytes or the end of the message wait: call `recv_body` until it says blocked or end.
    /// Not repeated until that has happened.
    Data { stream: StreamId },
    /// Everything we sent on the stream, its end included, was acknowledged.
    Finished { stream: StreamId },
    /// The receiving part of the stream ended early with this HTTP/3 error code. `by_peer` false: the peer's
    /// message was malformed or too large and we reset the stream (RFC 9114 section 4.1.2). On a client,
    /// `REQUEST_REJECTED` means that the server did not look at the request: it may be sent again elsewhere.
    Reset { stream: StreamId, code: u64, by_peer: bool },
    /// The peer does not want more of what we send on this stream; `NO_ERROR` from a server means that the
    /// response is complete without the rest of the request (RFC 9114 section 4.1).
    Stopped { stream: StreamId, code: u64 },
    /// A body write that said blocked can go on.
    Writable { stream: StreamId },
    /// The client (re)prioritised a response (RFC 9218); it already acts on our sending order.
    Priority { stream: StreamId, urgency: u8, incremental: bool },
    /// The peer is shutting down. On a client `id` is the first request stream that was not processed;
    /// requests from there on get `Reset` with `REQUEST_REJECTED` and no new ones can be made. May repeat
    /// with a smaller id (RFC 9114 section 5.2).
    Goaway { id: u64 },
    /// The stream is over on all sides, and its end was told: the last event of a request stream. It comes after
    /// the transport's own notice when a field section had to wait for the encoder stream.
    Closed { stream: StreamId },
    /// The peer allows more request streams after a refused `Http3::request`.
    RequestsAvailable,
}
