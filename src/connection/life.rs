//! Where a connection is in its life (RFC 9000 section 10, RFC 9001 section 4.1).
//!
//! Invariant: the phase only ever moves forward.

/// The phases that decide what is received and sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// From the first packet until TLS is complete.
    Handshaking,
    /// TLS is complete on our side.
    Complete,
    /// RFC 9001 section 4.1.2.
    Confirmed,
    /// We sent CONNECTION_CLOSE and answer stray packets with it (RFC 9000 section 10.2.1).
    Closing,
    /// The peer closed: nothing is sent any more (RFC 9000 section 10.2.2).
    Draining,
    /// Over.
    Drained,
}

/// The phase, which only grows, and how far the handshake had come.
#[derive(Debug)]
pub(super) struct Life {
    phase: Phase,
    /// The last phase before closing.
    handshake: Phase,
}

impl Life {
    pub(super) const fn new() -> Self {
        Self { phase: Phase::Handshaking, handshake: Phase::Handshaking }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Moves on; `false` when the connection is already there or beyond.
    pub(super) fn advance(&mut self, to: Phase) -> bool {
        let moved = to > self.phase;
        if moved {
            self.phase = to;
            if to < Phase::Closing {
                self.handshake = to;
            }
        }
        moved
    }

    /// Frames are processed and written.
    pub(super) fn is_open(&self) -> bool {
        self.phase < Phase::Closing
    }

    /// TLS is complete, or was when the connection was closed.
    pub(super) fn is_complete(&self) -> bool {
        self.handshake >= Phase::Complete
    }

    /// The handshake is confirmed, or was when the connection was closed.
    pub(super) fn is_confirmed(&self) -> bool {
        self.handshake >= Phase::Confirmed
    }
}
