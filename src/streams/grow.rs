//! More credit than was promised at the start, while the connection lives (RFC 9000 sections 4.1 and 4.6).
//!
//! Invariant: credit only grows. A stream that begins later starts with what the transport parameters promised, because
//! that is what the peer knows, and a MAX_STREAM_DATA frame follows at once.
use super::table::{Slot, control};
use super::{Streams, due};
use crate::base::Dir;
use crate::wire::varint;

impl Streams {
    /// Raises the window of all streams, also of those to come. False: smaller than before, nothing was changed.
    #[must_use]
    pub fn grow_stream_window(&mut self, size: u64) -> bool {
        let size = size.min(varint::MAX);
        let c = &mut self.config;
        let promised = c.stream_window_bidi_local.max(c.stream_window_bidi_remote).max(c.stream_window_uni);
        if size < promised.max(c.stream_window_floor) {
            return false;
        }
        c.stream_window_floor = size;
        c.stream_window_max = c.stream_window_max.max(size);
        let slots: Vec<Slot> = self.table.slots().collect();
        for slot in slots {
            self.widen(slot);
        }
        true
    }

    /// Gives a stream the window that streams have now.
    pub(super) fn widen(&mut self, slot: Slot) {
        let floor = self.config.stream_window_floor;
        let Some(recv) = self.table.get_mut(slot).and_then(|s| s.recv.as_mut()) else { return };
        recv.window.grow(floor);
        if recv.wants_credit() && recv.window.could_renew() {
            self.want(slot, control::MAX_STREAM_DATA);
        }
    }

    /// Raises the connection's window. False: smaller than before, nothing was changed.
    #[must_use]
    pub fn grow_connection_window(&mut self, size: u64) -> bool {
        let size = size.min(varint::MAX);
        if size < self.config.connection_window {
            return false;
        }
        self.config.connection_window = size;
        self.window.grow(size);
        if self.window.could_renew() {
            self.due |= due::MAX_DATA;
        }
        true
    }

    /// Raises how many streams the peer may have open at a time. False: fewer than before, nothing was changed.
    #[must_use]
    pub fn allow(&mut self, dir: Dir, count: u64) -> bool {
        let ids = self.remote.of_mut(dir);
        if !ids.allow(count) {
            return false;
        }
        if ids.could_renew() {
            self.due |= due::max_streams(dir);
        }
        true
    }
}
