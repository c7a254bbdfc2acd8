//! State of request streams and the table that finds them (RFC 9114 section 6.1).
//!
//! Slots are used again with their buffers, so a request costs no allocation once the connection is warm.
//! Invariant: a slot lives from the request's first byte until both the transport has closed the stream and
//! the application has been told the end.
use super::frame::{HeaderReader, Phase};
use crate::base::StreamId;
use crate::collections::Chunk;
use rustc_hash::FxHashMap;

/// What the next bytes of the stream are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// A frame header.
    Header,
    /// This much more of a HEADERS payload.
    Section(u64),
    /// The section is here, the table entries that it needs are not (RFC 9204 section 2.1.2).
    Blocked,
    /// This much more of a DATA payload.
    Body(u64),
    /// This much more of a frame that nobody knows.
    Skip(u64),
}

/// How far the receiving part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Receiving {
    Open,
    /// The whole message is here and was valid.
    Ended,
    /// Ended early, with this code.
    Reset(u64),
    /// The application does not want any more.
    Stopped,
}

/// Receiving part.
pub(super) struct Recv {
    pub state: Receiving,
    pub phase: Phase,
    pub mode: Mode,
    pub reader: HeaderReader,
    /// Read from the stream, not yet looked at.
    pub held: Chunk,
    /// `held` is the stream's end.
    pub fin: bool,
    /// Beginning of a section that did not come in one piece, or one that is blocked.
    pub section: Vec<u8>,
    /// Sum of DATA lengths so far, and what it must become (section 4.1.2).
    pub body: u64,
    pub content_length: Option<u64>,
    /// No content whatever the fields say (HEAD, 204, 304).
    pub no_body: bool,
    pub informational: u8,
    /// An `H3Event::Data` is out and the application has not read to `Blocked` yet.
    pub data_told: bool,
    /// The application knows the end of the message.
    pub end_told: bool,
    /// The application has got an event of this stream (or opened it).
    pub known: bool,
}

impl Recv {
    /// Length of the body when all of it that is missing is held, in one frame with the stream's end behind it.
    pub(super) fn whole_body(&self) -> Option<usize> {
        match (self.state, self.mode) {
            (Receiving::Open, Mode::Body(left)) if self.fin && self.held.len() as u64 == left => Some(self.held.len()),
            (Receiving::Ended, _) if !self.end_told => Some(0),
            _ => None,
        }
    }
}

/// How far the sending part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sending {
    /// The request or the final response is still to come.
    Start,
    Body,
    /// The end was given to the stream, or will be after `pending`.
    Ended,
    /// Reset by us or stopped by the peer.
    Dead,
}

/// Sending part.
pub(super) struct Send {
    pub state: Sending,
    /// Bytes that the stream did not take yet: always ahead of body bytes.
    pub pending: Vec<u8>,
    pub pending_at: usize,
    /// The end comes after `pending`.
    pub fin_pending: bool,
    /// Payload that an open DATA frame still promises.
    pub frame_left: u64,
    /// What content-length still promises.
    pub content_left: Option<u64>,
    pub no_body: bool,
    /// Only DATA frames may follow (section 4.4).
    pub tunnel: bool,
    /// A `Writable` event is owed.
    pub blocked: bool,
}

/// One request stream.
pub(super) struct Slot {
    pub id: StreamId,
    pub recv: Recv,
    pub send: Send,
    /// The request's method was HEAD.
    pub head: bool,
    /// The request's method was CONNECT, extended or not.
    pub connect: bool,
    /// A PRIORITY_UPDATE has set the priority: the header field does not (RFC 9218 section 7).
    pub prioritised: bool,
    /// The transport has forgotten the stream.
    pub closed: bool,
}

impl Slot {
    fn new(id: StreamId) -> Self {
        let recv = Recv {
            state: Receiving::Open,
            phase: Phase::Start,
            mode: Mode::Header,
            reader: HeaderReader::default(),
            held: Chunk::empty(),
            fin: false,
            section: Vec::new(),
            body: 0,
            content_length: None,
            no_body: false,
            informational: 0,
            data_told: false,
            end_told: false,
            known: false,
        };
        let send = Send {
            state: Sending::Start,
            pending: Vec::new(),
            pending_at: 0,
            fin_pending: false,
            frame_left: 0,
            content_left: None,
            no_body: false,
            tunnel: false,
            blocked: false,
        };
        Self { id, recv, send, head: false, connect: false, prioritised: false, closed: false }
    }

    /// A fresh slot that keeps the buffers of an old one.
    fn renew(&mut self, id: StreamId) {
        let mut section = core::mem::take(&mut self.recv.section);
        let mut pending = core::mem::take(&mut self.send.pending);
        section.clear();
        section.shrink_to(KEEP);
        pending.clear();
        pending.shrink_to(KEEP);
        *self = Self::new(id);
        self.recv.section = section;
        self.send.pending = pending;
    }

    /// Nothing will come of this slot any more.
    pub(super) fn is_over(&self) -> bool {
        let received = match self.recv.state {
            Receiving::Open => false,
            Receiving::Ended => self.recv.end_told,
            Receiving::Reset(_) | Receiving::Stopped => true,
        };
        self.closed && received
    }
}

/// Buffer memory that an idle slot may keep.
const KEEP: usize = 2048;
/// Idle slots kept for reuse.
const SPARE: usize = 128;

/// All request streams.
#[derive(Default)]
pub(super) struct Table {
    by_id: FxHashMap<u64, u32>,
    slots: Vec<Slot>,
    spare: Vec<u32>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Slot> {
        let n = *self.by_id.get(&id.0)?;
        self.slots.get_mut(n as usize)
    }

    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.by_id.contains_key(&id.0)
    }

    /// A slot for a stream that has none.
    pub(super) fn insert(&mut self, id: StreamId) -> Option<&mut Slot> {
        let n = match self.spare.pop() {
            Some(n) => {
                self.slots.get_mut(n as usize)?.renew(id);
                n
            }
            None => {
                let n = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::new(id));
                n
            }
        };
        self.by_id.insert(id.0, n);
        self.slots.get_mut(n as usize)
    }

    pub(super) fn remove(&mut self, id: StreamId) {
        let Some(n) = self.by_id.remove(&id.0) else { return };
        if let Some(slot) = self.slots.get_mut(n as usize) {
            slot.recv.held = Chunk::empty();
            if self.spare.len() >= SPARE {
                slot.recv.section = Vec::new();
                slot.send.pending = Vec::new();
            }
        }
        self.spare.push(n);
    }

    /// Streams from this one on, for a GOAWAY.
    pub(super) fn ids_from(&self, first: u64) -> Vec<StreamId> {
        let mut ids: Vec<StreamId> = self.by_id.keys().filter(|id| **id >= first).map(|id| StreamId(*id)).collect();
        ids.sort_unstable();
        ids
    }
}
