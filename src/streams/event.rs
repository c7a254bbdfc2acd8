//! What the application hears of its streams, and what its calls can answer.
use core::fmt;

use crate::base::{Dir, StreamId};

/// Something happened to a stream. At most one event per kind and stream waits in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamEvent {
    /// The peer opened it; also to be had from `accept`.
    Opened { id: StreamId },
    /// More bytes, or the end, can be read.
    Readable { id: StreamId },
    /// After `Blocked` or a partial write: there is room again. Once per blockage.
    Writable { id: StreamId },
    /// The peer has acknowledged everything including the end.
    Finished { id: StreamId },
    /// The peer does not want to read any more; a RESET_STREAM with the same code answers (RFC 9000 section 3.5).
    Stopped { id: StreamId, code: u64 },
    /// The peer gave up sending; unread bytes are gone (RFC 9000 section 3.2).
    Reset { id: StreamId, code: u64 },
    /// A lender revoked bytes that were still to be sent: we have reset the stream with `code`.
    Revoked { id: StreamId, code: u64 },
    /// After `LimitReached`: the peer allows more streams of this kind.
    Available { dir: Dir },
    /// Both directions are over. The last event of a stream; its id is unknown from now on.
    Closed { id: StreamId },
}

/// Why a stream cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The peer allows no more at the moment; `Available` tells when it does.
    LimitReached,
}

/// Why bytes cannot be taken for sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// The send buffer is full; exactly one `Writable` follows.
    Blocked,
    /// We have finished or reset the stream, or it only receives.
    Closed,
    /// The peer sent STOP_SENDING with this code.
    Stopped(u64),
    /// No such stream (any more).
    Unknown,
}

/// Bytes read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadOk {
    pub len: usize,
    /// These were the last bytes of the stream.
    pub fin: bool,
}

/// Why nothing can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// Nothing there yet; `Readable` follows.
    Blocked,
    /// The peer reset the stream with this code.
    Reset(u64),
    /// The end has been read already, or we have stopped the stream.
    Finished,
    /// No such stream (any more), or it only sends.
    Unknown,
}

/// Why a datagram is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatagramError {
    /// The peer takes none (RFC 9221 section 3).
    Unsupported,
    /// Longer than `max` bytes, the most that fits now.
    TooLarge { max: usize },
    /// The queue is full.
    Blocked,
}

/// What became of a sent datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatagramState {
    /// It was written into a packet, which leaves now.
    Sent,
    /// The packet that carried it was acknowledged.
    Acknowledged,
    /// The packet that carried it was declared lost (it may have arrived all the same).
    Lost,
    /// Never sent: the path's packets became too small for it.
    Dropped,
}

macro_rules! sentences {
    ($($type:ty { $($pattern:pat => $text:literal),+ $(,)? })+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($pattern => $text),+ })
            }
        }
        impl std::error::Error for $type {}
    )+};
}

sentences! {
    OpenError { Self::LimitReached => "the peer allows no more streams now" }
    WriteError {
        Self::Blocked => "the send buffer is full",
        Self::Closed => "the stream's sending part is closed",
        Self::Stopped(_) => "the peer stopped reading",
        Self::Unknown => "no such stream",
    }
    ReadError {
        Self::Blocked => "nothing to read yet",
        Self::Reset(_) => "the peer reset the stream",
        Self::Finished => "the stream was read to its end",
        Self::Unknown => "no such stream",
    }
    DatagramError {
        Self::Unsupported => "the peer takes no datagrams",
        Self::TooLarge { .. } => "the datagram is too large",
        Self::Blocked => "the datagram queue is full",
    }
}
