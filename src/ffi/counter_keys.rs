//! The keys of `wb_counters`. Totals since the start, unless the comment says otherwise.
/// Keys of `wb_counters`. Totals since the start, unless the comment says otherwise.
/// UDP datagrams that came, whatever became of them.
pub const WB_COUNTER_DATAGRAMS_RECEIVED: u32 = 0;
/// Their payload.
pub const WB_COUNTER_BYTES_RECEIVED: u32 = 1;
/// UDP datagrams given to the system, or to the caller of a core.
pub const WB_COUNTER_DATAGRAMS_SENT: u32 = 2;
/// Their payload.
pub const WB_COUNTER_BYTES_SENT: u32 = 3;
/// Times that a socket had no room for what a connection sent; it is sent later.
pub const WB_COUNTER_SEND_BLOCKED: u32 = 4;
/// Times that the system knew no way to a peer.
pub const WB_COUNTER_SEND_FAILED: u32 = 5;
/// Connections that exist, also those that are closing. No total: it falls, too.
pub const WB_COUNTER_CONNS_NOW: u32 = 6;
/// Connections that clients began and that were let in.
pub const WB_COUNTER_CONNS_ACCEPTED: u32 = 7;
/// Connections that were begun from here, each address of a host by itself.
pub const WB_COUNTER_CONNS_STARTED: u32 = 8;
/// Clients that have not completed their handshake, undecided ones included. No total: it falls, too.
pub const WB_COUNTER_HANDSHAKES_NOW: u32 = 9;
/// Handshakes that were confirmed (RFC 9001 section 4.1.2), of both sides.
pub const WB_COUNTER_HANDSHAKES_DONE: u32 = 10;
/// Connections that ended before that.
pub const WB_COUNTER_HANDSHAKES_FAILED: u32 = 11;
/// Clients that were told CONNECTION_REFUSED or INVALID_TOKEN.
pub const WB_COUNTER_CONNS_REFUSED: u32 = 12;
/// Retry packets sent (RFC 9000 section 8.1.2).
pub const WB_COUNTER_RETRIES_SENT: u32 = 13;
/// Version Negotiation packets sent (section 6).
pub const WB_COUNTER_VERSION_NEGOTIATIONS_SENT: u32 = 14;
/// Stateless resets sent (section 10.3).
pub const WB_COUNTER_RESETS_SENT: u32 = 15;
/// Clients with a Retry token that was not good.
pub const WB_COUNTER_TOKENS_INVALID: u32 = 16;
/// Clients that proved their address with a token of an earlier connection (section 8.1.3).
pub const WB_COUNTER_TOKENS_ACCEPTED: u32 = 17;
/// Datagrams dropped: no QUIC, or too small to be answered in a version that we do not speak.
pub const WB_COUNTER_DROPPED_MALFORMED: u32 = 18;
/// Datagrams dropped: an Initial in less than 1200 bytes (section 14.1).
pub const WB_COUNTER_DROPPED_SMALL_INITIAL: u32 = 19;
/// Datagrams dropped: a first Destination Connection ID below 8 bytes (section 7.2).
pub const WB_COUNTER_DROPPED_SHORT_DCID: u32 = 20;
/// Datagrams dropped: an Initial whose protection does not hold.
pub const WB_COUNTER_DROPPED_NOT_AUTHENTIC: u32 = 21;
/// Datagrams dropped: of no connection that is known.
pub const WB_COUNTER_DROPPED_UNKNOWN: u32 = 22;
/// Datagrams dropped: a bound of the buffers for undecided connections was reached.
pub const WB_COUNTER_DROPPED_FULL: u32 = 23;
/// Datagrams dropped: they would have been answered, but for the rate limit.
pub const WB_COUNTER_DROPPED_RATE_LIMITED: u32 = 24;
