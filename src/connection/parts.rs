//! Where the parts of a connection lie that a turn reads, for an owner that wants them at hand in time.
use super::Connection;
use crate::base::span::Span;

impl Connection {
    /// Streams are open: there is something to move.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.streams.has_any()
    }

    /// Names the parts, those that every packet needs first. No more than a dozen and a half, whatever the connection does.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        name(Span::of(self));
        name(Span::room(&self.tokens));
        if let Some(keys) = &self.data.keys {
            keys.parts(name);
        }
        self.data.received.parts(name);
        self.local_cids.parts(name);
        self.peer_cids.parts(name);
        self.paths.parts(name);
        self.recovery.parts(name);
        self.streams.parts(name);
    }
}
