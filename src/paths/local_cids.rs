//! Connection IDs that we issued (RFC 9000 section 5.1.1) and that the peer retires (section 19.16).
//!
//! Invariant: at most `MAX_ACTIVE` are active, and a new one is issued only when the peer retired one or we asked
//! it to (`rotate`, at most as many at a time as the peer keeps), so a flood of RETIRE_CONNECTION_ID costs the peer as many frames and
//! round trips as it costs us.
use crate::base::span::Span;
use crate::base::{ConnectionId, ResetToken, TransportError, codes};
use std::collections::VecDeque;

/// Connection IDs that we keep active however many the peer would take.
pub const MAX_ACTIVE: u64 = 8;

/// A NEW_CONNECTION_ID frame to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewCid {
    /// Sequence number.
    pub sequence: u64,
    /// IDs below are to be retired; never falls.
    pub retire_prior_to: u64,
    /// The ID.
    pub cid: ConnectionId,
    /// Its stateless reset token.
    pub token: ResetToken,
}

#[derive(Clone, Copy)]
struct Entry {
    sequence: u64,
    cid: ConnectionId,
    /// `None` for the one of the handshake, whose token travels as a transport parameter.
    token: Option<ResetToken>,
}

/// What we issued and is still active.
pub struct LocalCids {
    entries: Vec<Entry>,
    next: u64,
    /// Sequence numbers whose frame is to be sent.
    queued: VecDeque<u64>,
    /// Asked for and not yet issued.
    requested: u64,
    retire_prior_to: u64,
    zero_length: bool,
}

impl LocalCids {
    /// `initial` is the Source Connection ID of our handshake packets, sequence number 0. A zero-length one
    /// means that no others are ever issued.
    #[must_use]
    pub fn new(initial: ConnectionId) -> Self {
        Self {
            entries: vec![Entry { sequence: 0, cid: initial, token: None }],
            next: 1,
            queued: VecDeque::new(),
            requested: 0,
            retire_prior_to: 0,
            zero_length: initial.is_empty(),
        }
    }

    /// How many more IDs to ask the endpoint for, given the peer's active_connection_id_limit. Each answer
    /// counts as asked for.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
    //# An endpoint MUST NOT send this frame if it currently requires that its peer send packets with a zero-length
    //# Destination Connection ID.
    pub fn wanted(&mut self, peer_limit: u64) -> u64 {
        if self.zero_length {
            return 0;
        }
        let active = (self.entries.len() - self.rotating()) as u64;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.1
        //# An endpoint MUST NOT provide more connection IDs than the peer's limit.
        let wanted = peer_limit.min(MAX_ACTIVE).saturating_sub(active.saturating_add(self.requested));
        self.requested = self.requested.saturating_add(wanted);
        wanted
    }

    /// Asked to be retired, and still here.
    fn rotating(&self) -> usize {
        self.entries.iter().filter(|e| e.sequence < self.retire_prior_to).count()
    }

    /// The peer holds all the IDs that it may and seems to have none left to answer on a new path (section 9.5), while
    /// what it retires is lost on the way: asks it to give up the oldest one. True: `wanted` has one more to ask for
    /// (section 5.1.1: a frame may exceed the limit if it retires the excess). As often, at most, as the peer keeps IDs:
    /// it takes twice as many retirements before it complains (section 5.1.2), and what it got on a path that is gone by
    /// now has to be replaced all the same.
    pub fn rotate(&mut self, peer_limit: u64) -> bool {
        let mut active = self.entries.iter().map(|e| e.sequence).filter(|s| *s >= self.retire_prior_to);
        let Some(oldest) = active.next().filter(|_| active.next().is_some()) else { return false };
        if self.zero_length || self.requested > 0 || self.rotating() as u64 >= peer_limit.min(MAX_ACTIVE) {
            return false;
        }
        self.retire_prior_to = oldest.saturating_add(1);
        true
    }

    /// The newest ID once more, while the peer has not done what `rotate` asked for: the frame may have been lost on
    /// a path that is gone.
    #[must_use]
    pub fn again(&self) -> Option<NewCid> {
        if self.rotating() == 0 {
            return None;
        }
        let entry = self.entries.last()?;
        let (sequence, cid, retire_prior_to) = (entry.sequence, entry.cid, self.retire_prior_to);
        Some(NewCid { sequence, retire_prior_to, cid, token: entry.token? })
    }

    /// Queues what `again` gives.
    pub fn repeat(&mut self) {
        if let Some(new) = self.again() {
            self.on_lost(new.sequence);
        }
    }

    /// Issues an ID that the endpoint made; its frame is queued.
    pub fn issue(&mut self, cid: ConnectionId, token: ResetToken) -> u64 {
        self.requested = self.requested.saturating_sub(1);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.1
        //# The sequence number on each newly issued connection ID MUST increase by 1.
        let sequence = self.next;
        self.next = self.next.saturating_add(1);
        self.entries.push(Entry { sequence, cid, token: Some(token) });
        self.queued.push_back(sequence);
        sequence
    }

    /// The ID of our preferred_address parameter: sequence number 1, no frame (RFC 9000 section 5.1.1). Only
    /// before any `issue`.
    pub fn issue_preferred(&mut self, cid: ConnectionId, token: ResetToken) {
        debug_assert_eq!(self.next, 1, "the preferred address comes first");
        self.entries.push(Entry { sequence: 1, cid, token: Some(token) });
        self.next = self.next.max(2);
    }

    /// A frame waits to be sent.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The next frame to write.
    pub fn pop_new(&mut self) -> Option<NewCid> {
        while let Some(sequence) = self.queued.pop_front() {
            let Some(entry) = self.entries.iter().find(|e| e.sequence == sequence) else { continue };
            let Some(token) = entry.token else { continue };
            //= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
            //# The value in the Retire Prior To field MUST be less than or equal to the value in the Sequence Number
            //# field.
            let retire_prior_to = self.retire_prior_to.min(sequence);
            return Some(NewCid { sequence, retire_prior_to, cid: entry.cid, token });
        }
        None
    }

    /// The packet with the frame of `sequence` was lost, or the frame did not fit after all.
    pub fn on_lost(&mut self, sequence: u64) {
        let active = self.entries.iter().any(|e| e.sequence == sequence && e.token.is_some());
        if active && !self.queued.contains(&sequence) {
            self.queued.push_back(sequence);
        }
    }

    /// RETIRE_CONNECTION_ID arrived in a packet sent to `packet_dcid`; the ID that is not routed any more.
    pub fn on_retire(
        &mut self,
        sequence: u64,
        packet_dcid: &ConnectionId,
    ) -> Result<Option<ConnectionId>, TransportError> {
        let error = |reason| TransportError::new(codes::transport::PROTOCOL_VIOLATION, reason);
        // RFC 9000 section 19.16, three rules.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.16
        //# An endpoint that provides a zero- length connection ID MUST treat receipt of a RETIRE_CONNECTION_ID frame as
        //# a connection error of type PROTOCOL_VIOLATION.
        if self.zero_length {
            return Err(error("retired a zero-length connection ID"));
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.16
        //# Receipt of a RETIRE_CONNECTION_ID frame containing a sequence number greater than any previously sent to the
        //# peer MUST be treated as a connection error of type PROTOCOL_VIOLATION.
        if sequence >= self.next {
            return Err(error("retired a connection ID that was never issued"));
        }
        let Some(at) = self.entries.iter().position(|e| e.sequence == sequence) else {
            return Ok(None);
        };
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.16
        //# The sequence number specified in a RETIRE_CONNECTION_ID frame MUST NOT refer to the Destination Connection
        //# ID field of the packet in which the frame is contained.
        if self.entries.get(at).is_some_and(|e| e.cid == *packet_dcid) {
            return Err(error("retired the connection ID that the packet was sent to"));
        }
        Ok(Some(self.entries.remove(at).cid))
    }

    /// Where they lie.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        name(Span::of(&*self.entries));
    }

    /// One of ours, still active.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.1
    //# When an endpoint issues a connection ID, it MUST accept packets that carry this connection ID for the duration
    //# of the connection or until its peer invalidates the connection ID via a RETIRE_CONNECTION_ID frame (Section
    //# 19.16).
    #[must_use]
    pub fn contains(&self, cid: &ConnectionId) -> bool {
        self.entries.iter().any(|e| e.cid == *cid)
    }

    /// Sequence number of an active ID.
    #[must_use]
    pub fn sequence_of(&self, cid: &ConnectionId) -> Option<u64> {
        self.entries.iter().find(|e| e.cid == *cid).map(|e| e.sequence)
    }

    /// All active IDs, for the endpoint to forget at the end.
    pub fn iter(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.entries.iter().map(|e| e.cid)
    }
}
