//! Settings that change while the connection lives (RFC 9000 sections 4.1, 4.6, 10.1).
//!
//! What the peer was told in transport parameters is never taken back: credit only grows, by MAX_* frames, and silence is
//! cut short by saying so. Invariant: a connection whose settings were never changed shares its configuration with all
//! others of its endpoint; the first change makes it a copy of its own.
use core::time::Duration;
use std::sync::Arc;

use super::Connection;
use super::timers::Timer;
use crate::base::{Dir, Timestamp};

impl Connection {
    /// PING after this much silence of the peer from now on; zero switches it off.
    pub fn set_keep_alive(&mut self, every: Duration, now: Timestamp) {
        Arc::make_mut(&mut self.cfg).keep_alive = every;
        let at = (!every.is_zero() && self.life.is_open() && self.life.is_complete()).then(|| now + every);
        self.timers.set(Timer::KeepAlive, at);
    }

    /// Ends the connection after this much silence, counted from now at the earliest. The idle timeout that the peer was told
    /// stays; it takes effect again when this one is not shorter. False: `after` is longer than what the peer was told.
    ///
    /// RFC 9000 section 10.1: whoever abandons a connection before the effective timeout commits to an immediate close.
    #[must_use]
    pub fn end_after_silence(&mut self, after: Duration, now: Timestamp) -> bool {
        let told = self.cfg.idle_timeout;
        if !told.is_zero() && (after.is_zero() || after > told) {
            return false;
        }
        let early = if after == told { Duration::ZERO } else { after };
        Arc::make_mut(&mut self.cfg).end_after_silence = early;
        self.idle.restart();
        self.dirty = true;
        self.settle(now);
        true
    }

    /// Lets the peer have more unread bytes on every stream, those that exist and those to come. False: less than before.
    #[must_use]
    pub fn grow_stream_window(&mut self, size: u64) -> bool {
        self.streams.grow_stream_window(size)
    }

    /// Lets the peer have more unread bytes on all streams together. False: less than before.
    #[must_use]
    pub fn grow_connection_window(&mut self, size: u64) -> bool {
        self.streams.grow_connection_window(size)
    }

    /// Lets the peer have more streams open at a time. False: fewer than before.
    #[must_use]
    pub fn allow_streams(&mut self, dir: Dir, count: u64) -> bool {
        self.streams.allow(dir, count)
    }
}
