//! Which streams came as early data, for servers that must not do a thing twice (RFC 8470, RFC 9001 section 9.2).
//!
//! 0-RTT packets may be a replay until the client's Finished has come; from then on the same bytes are known to be its own.
//! Invariant: a connection without 0-RTT keys costs its streams one look at a flag, no lock.
use super::abi::*;
use super::conn::ConnObject;
use super::stream::StreamObject;
use crate::base::Level;
use crate::runtime::Conn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl ConnObject {
    /// Keys of a level were installed.
    pub(super) fn note_early_keys(&self, level: Level) {
        if level == Level::ZeroRtt && self.side().is_server() {
            self.takes_early.store(true, Ordering::Release);
        }
    }

    /// Early data are taken and the client has not completed its handshake.
    pub(super) fn is_unproven(&self, wire: &Arc<Conn>) -> bool {
        self.takes_early.load(Ordering::Acquire) && !wire.inspect(|s| s.connection.was_completed())
    }
}

impl StreamObject {
    /// `WB_EARLY_*`. What was seen once is remembered, because the transport forgets a stream that is over.
    pub(super) fn earliness(&self) -> u32 {
        if !self.conn.takes_early.load(Ordering::Acquire) {
            return WB_EARLY_NO;
        }
        let (early, proven) =
            self.wire.inspect(|s| (s.connection.stream_is_early(self.id), s.connection.was_completed()));
        if early == Some(true) {
            self.early.store(true, Ordering::Release);
        }
        match self.early.load(Ordering::Acquire) {
            false => WB_EARLY_NO,
            true if proven => WB_EARLY_PROVEN,
            true => WB_EARLY_UNPROVEN,
        }
    }

    /// Flag of an event that begins something.
    pub(super) fn early_flag(&self, kind: u16) -> u16 {
        let begins = matches!(kind, WB_EV_STREAM_INCOMING | WB_EV_H3_HEADERS | WB_EV_H3_MESSAGE);
        if begins && self.earliness() == WB_EARLY_UNPROVEN { WB_EVF_EARLY } else { 0 }
    }
}
