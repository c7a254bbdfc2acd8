//! What a connection tells its owner: the application (`Event`) and the endpoint (`EndpointEvent`).
//!
//! Events are pulled, never called back. Payload never travels in them, with the exception of
//! small things that exist once per connection (tokens, reasons, opt-in secrets).
use crate::base::{ConnectionId, FourTuple, Level, ResetToken, TransportError};
use crate::crypto::{Cipher, Question};
use crate::streams::{DatagramState, StreamEvent};

/// Something the application may want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// ALPN and server name are known; on a server also the client's certificates.
    HandshakeData,
    /// Opt-in (`key_events`): packets of this level can be read or written from now on.
    KeysInstalled {
        level: Level,
        cipher: Cipher,
    },
    /// Opt-in (`key_events`): 1-RTT keys changed (RFC 9001 section 6); `phase` counts from 0.
    KeyUpdated {
        by_peer: bool,
        phase: u64,
    },
    /// Opt-in (`secret_events`): a TLS traffic secret under its key log label.
    Secret {
        label: Box<str>,
        secret: Box<[u8]>,
    },
    /// The handshake waits for `Connection::decide`; without an answer it ends by its timeout.
    Decision(Box<Question>),
    /// The TLS handshake is complete. `zero_rtt_accepted` is `None` when 0-RTT was not tried.
    Connected {
        zero_rtt_accepted: Option<bool>,
        resumed: bool,
    },
    /// RFC 9001 section 4.1.2.
    HandshakeConfirmed,
    /// A stream changed.
    Stream(StreamEvent),
    /// `datagram_recv` has something.
    DatagramReceived,
    /// What became of a datagram sent with a tag.
    DatagramState {
        tag: u64,
        state: DatagramState,
    },
    /// The peer was seen at, or we started to test, another address.
    PathNew {
        path: u8,
        tuple: FourTuple,
    },
    PathValidated {
        path: u8,
        tuple: FourTuple,
    },
    PathFailed {
        path: u8,
        tuple: FourTuple,
    },
    /// The connection now sends on this path.
    Migrated {
        path: u8,
        tuple: FourTuple,
        by_peer: bool,
        why: MoveReason,
    },
    /// Client: a token for a later connection to this server (RFC 9000 section 8.1.3).
    NewToken(Box<[u8]>),
    /// The connection is over for the application; sent once, the last event but `Drained`.
    Closed(CloseReason),
    /// Closing or draining has ended; nothing will ever be sent again.
    Drained,
}

/// Why a connection changed its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveReason {
    /// The client's address changed, of its own will or with its network (RFC 9000 section 9).
    Moved,
    /// Only the client's port changed, as NATs do.
    Rebinding,
    /// To the address that the server would rather use (RFC 9000 section 9.6).
    Preferred,
    /// The newer path did not prove itself: back to the last one that had (RFC 9000 section 9.3.2).
    Returned,
}

/// Why a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// `Connection::close` was called.
    Local {
        code: u64,
    },
    /// The peer sent CONNECTION_CLOSE. `app`: frame 0x1d, the code belongs to the application.
    Peer {
        code: u64,
        app: bool,
        frame_type: u64,
        reason: Box<[u8]>,
    },
    /// We found a transport error and told the peer.
    Transport(TransportError),
    IdleTimeout,
    HandshakeTimeout,
    /// RFC 9000 section 10.3.
    StatelessReset,
    /// The server speaks none of our versions; these are the ones that it named.
    VersionMismatch(Box<[u32]>),
    /// No path works any more.
    NoPath,
}

/// Something the endpoint that owns the connection must act on.
#[derive(Clone, Debug)]
pub enum EndpointEvent {
    /// Call `on_new_cids` with this many fresh connection IDs.
    NeedCids(u64),
    /// The peer will not use this connection ID any more: stop routing it.
    RetireCid(ConnectionId),
    /// Datagrams from this address that end in this token reset the connection (RFC 9000 section 10.3.1).
    ResetTokenLearned(FourTuple, ResetToken),
    ResetTokenForgotten(ResetToken),
    /// The handshake is confirmed.
    HandshakeDone,
    /// Server, the client's address is proved: call `send_new_token` with a token for this address and version.
    NeedToken(FourTuple, u32),
    /// Forget the connection.
    Drained,
}

/// Whether early data was used and what became of it (RFC 9001 section 4.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EarlyData {
    /// Not tried.
    None,
    /// Tried, the server has not answered yet.
    Pending,
    Accepted,
    Rejected,
}
