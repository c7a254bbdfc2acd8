//! Connection IDs that the peer issued (RFC 9000 sections 5.1.1, 5.1.2 and 19.15).
//!
//! Invariant: at most `limit` are kept, at most `MAX_UNACKED_PER_LIMIT * limit` retirements wait for an
//! acknowledgement, and the gaps in the sequence numbers seen are bounded: a peer that issues and retires in
//! a loop while it withholds acknowledgements is cut off (CVE-2024-22189 and its kind).
use crate::base::span::Span;
use crate::base::{ConnectionId, ResetToken, TransportError, codes};
use crate::collections::RangeSet;
use std::collections::VecDeque;

/// Retirements in flight, in multiples of our active_connection_id_limit.
const MAX_UNACKED_PER_LIMIT: u64 = 3;
/// Disjoint ranges of sequence numbers seen: only loss and reordering make any.
const MAX_GAPS: usize = 32;

/// A connection ID of the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerCid {
    /// Sequence number.
    pub sequence: u64,
    /// The ID.
    pub cid: ConnectionId,
}

#[derive(Clone, Copy)]
struct Entry {
    id: PeerCid,
    token: Option<ResetToken>,
    /// Some path sends with it.
    used: bool,
}

/// The store.
pub struct PeerCids {
    entries: Vec<Entry>,
    limit: u64,
    /// Highest Retire Prior To so far.
    retire_prior_to: u64,
    /// Sequence numbers that ever were here.
    seen: RangeSet,
    to_retire: VecDeque<u64>,
    /// RETIRE_CONNECTION_ID frames sent and neither acknowledged nor lost.
    unacked: u64,
    zero_length: bool,
}

impl PeerCids {
    /// `initial` has sequence number 0; `limit` is our active_connection_id_limit (at least 2).
    #[must_use]
    pub fn new(initial: ConnectionId, limit: u64) -> Self {
        let mut seen = RangeSet::new();
        seen.insert(0..1);
        Self {
            entries: vec![Entry { id: PeerCid { sequence: 0, cid: initial }, token: None, used: true }],
            limit: limit.max(2),
            retire_prior_to: 0,
            seen,
            to_retire: VecDeque::new(),
            unacked: 0,
            zero_length: initial.is_empty(),
        }
    }

    /// Client: the server's choice, out of its first packet or a Retry (RFC 9000 section 7.2).
    pub fn set_initial(&mut self, cid: ConnectionId) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.id.sequence == 0) {
            entry.id.cid = cid;
            self.zero_length = cid.is_empty();
        }
    }

    /// The ID of the handshake with sequence number 0, unless it is retired.
    #[must_use]
    pub fn initial(&self) -> Option<PeerCid> {
        self.entries.iter().find(|e| e.id.sequence == 0).map(|e| e.id)
    }

    /// Client: the server's stateless_reset_token parameter, which belongs to sequence number 0.
    pub fn set_initial_token(&mut self, token: ResetToken) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.id.sequence == 0) {
            entry.token = Some(token);
        }
    }

    /// The peer chose a zero-length ID: all paths use it, none is ever retired.
    #[must_use]
    pub const fn is_zero_length(&self) -> bool {
        self.zero_length
    }

    /// Client: the ID of the server's preferred address has sequence number 1 (RFC 9000 section 5.1.1).
    pub fn on_preferred_address(&mut self, cid: ConnectionId, token: ResetToken) -> Result<(), TransportError> {
        // RFC 9000 section 18.2: a server with a zero-length ID must not send the parameter.
        if self.zero_length {
            let reason = "preferred_address with a zero-length connection ID";
            return Err(TransportError::new(codes::transport::TRANSPORT_PARAMETER_ERROR, reason));
        }
        self.on_new(1, 0, cid, token).map(|_| ())
    }

    /// NEW_CONNECTION_ID. True: IDs in use were retired, paths need others (`PathTable::refresh_cids`).
    pub fn on_new(
        &mut self,
        sequence: u64,
        retire_prior_to: u64,
        cid: ConnectionId,
        token: ResetToken,
    ) -> Result<bool, TransportError> {
        let error = TransportError::new;
        // RFC 9000 section 19.15.
        if self.zero_length {
            return Err(error(codes::transport::PROTOCOL_VIOLATION, "new connection ID for a zero-length one"));
        }
        if retire_prior_to > sequence {
            return Err(error(codes::transport::FRAME_ENCODING_ERROR, "Retire Prior To above the sequence number"));
        }
        for entry in &self.entries {
            let same = entry.id.cid == cid;
            if same != (entry.id.sequence == sequence) || (same && entry.token.is_some_and(|t| t != token)) {
                return Err(error(codes::transport::PROTOCOL_VIOLATION, "connection ID issued twice"));
            }
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
        //# Receipt of the same frame multiple times MUST NOT be treated as a connection error.
        let fresh = self.seen.insert(sequence..sequence.saturating_add(1));
        if self.seen.len() > MAX_GAPS {
            return Err(error(codes::transport::PROTOCOL_VIOLATION, "gaps in connection ID sequence numbers"));
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.2
        //# Upon receipt of an increased Retire Prior To field, the peer MUST stop using the corresponding connection
        //# IDs and retire them with RETIRE_CONNECTION_ID frames before adding the newly provided connection ID to the
        //# set of active connection IDs.
        let retired_used = self.retire_below(retire_prior_to);
        if fresh {
            //= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
            //# An endpoint that receives a NEW_CONNECTION_ID frame with a sequence number smaller than the Retire Prior
            //# To field of a previously received NEW_CONNECTION_ID frame MUST send a corresponding RETIRE_CONNECTION_ID
            //# frame that retires the newly received connection ID, unless it has already done so for that sequence
            //# number.
            if sequence < self.retire_prior_to {
                // RFC 9000 section 19.15: late, and retired before it came.
                self.to_retire.push_back(sequence);
            } else {
                self.entries.push(Entry { id: PeerCid { sequence, cid }, token: Some(token), used: false });
            }
        }
        // RFC 9000 section 5.1.1: counted after retirement.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.1
        //# After processing a NEW_CONNECTION_ID frame and adding and retiring active connection IDs, if the number of
        //# active connection IDs exceeds the value advertised in its active_connection_id_limit transport parameter, an
        //# endpoint MUST close the connection with an error of type CONNECTION_ID_LIMIT_ERROR.
        if self.entries.len() as u64 > self.limit {
            return Err(error(codes::transport::CONNECTION_ID_LIMIT_ERROR, "more connection IDs than we keep"));
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-5.1.2
        //# An endpoint MUST NOT forget a connection ID without retiring it, though it MAY choose to treat having
        //# connection IDs in need of retirement that exceed this limit as a connection error of type
        //# CONNECTION_ID_LIMIT_ERROR.
        if self.pending_retirements() > self.limit.saturating_mul(MAX_UNACKED_PER_LIMIT) {
            return Err(error(codes::transport::CONNECTION_ID_LIMIT_ERROR, "too many retirements in flight"));
        }
        Ok(retired_used)
    }

    fn retire_below(&mut self, retire_prior_to: u64) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
        //# A receiver MUST ignore any Retire Prior To fields that do not increase the largest received Retire Prior To
        //# value.
        if retire_prior_to <= self.retire_prior_to {
            return false;
        }
        self.retire_prior_to = retire_prior_to;
        let mut retired_used = false;
        let to_retire = &mut self.to_retire;
        self.entries.retain(|entry| {
            let keep = entry.id.sequence >= retire_prior_to;
            if !keep {
                to_retire.push_back(entry.id.sequence);
                retired_used |= entry.used;
            }
            keep
        });
        retired_used
    }

    fn pending_retirements(&self) -> u64 {
        self.unacked.saturating_add(self.to_retire.len() as u64)
    }

    /// An ID that no path has used (RFC 9000 section 9.5), now marked as used. A zero-length ID serves every
    /// path.
    pub fn take_unused(&mut self) -> Option<PeerCid> {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.15
        //# An endpoint that is sending packets with a zero-length Destination Connection ID MUST treat receipt of a
        //# NEW_CONNECTION_ID frame as a connection error of type PROTOCOL_VIOLATION.
        if self.zero_length {
            return self.initial();
        }
        let entry = self.entries.iter_mut().filter(|e| !e.used).min_by_key(|e| e.id.sequence)?;
        entry.used = true;
        Some(entry.id)
    }

    /// The ID with this very number if no path has used it: the one of a preferred address is 1.
    pub fn take(&mut self, sequence: u64) -> Option<PeerCid> {
        let entry = self.entries.iter_mut().find(|e| e.id.sequence == sequence && !e.used)?;
        entry.used = true;
        Some(entry.id)
    }

    /// Where they lie.
    pub fn parts(&self, name: &mut impl FnMut(Span)) {
        name(Span::of(&*self.entries));
    }

    /// IDs that no path has used.
    #[must_use]
    pub fn unused(&self) -> usize {
        self.entries.iter().filter(|e| !e.used).count()
    }

    /// Still ours to use.
    #[must_use]
    pub fn is_active(&self, sequence: u64) -> bool {
        self.entries.iter().any(|e| e.id.sequence == sequence)
    }

    /// Retires an ID that no path needs any more.
    pub fn retire(&mut self, sequence: u64) {
        if self.zero_length {
            return;
        }
        if let Some(at) = self.entries.iter().position(|e| e.id.sequence == sequence) {
            self.entries.remove(at);
            self.to_retire.push_back(sequence);
        }
    }

    /// A RETIRE_CONNECTION_ID waits to be sent.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.to_retire.is_empty()
    }

    /// Sequence number of the next RETIRE_CONNECTION_ID to write.
    pub fn pop_retire(&mut self) -> Option<u64> {
        let sequence = self.to_retire.pop_front()?;
        self.unacked = self.unacked.saturating_add(1);
        Some(sequence)
    }

    /// The frame was acknowledged.
    pub fn on_retire_acked(&mut self, _sequence: u64) {
        self.unacked = self.unacked.saturating_sub(1);
    }

    /// The frame was lost: send it again.
    pub fn on_retire_lost(&mut self, sequence: u64) {
        self.unacked = self.unacked.saturating_sub(1);
        if !self.to_retire.contains(&sequence) {
            self.to_retire.push_back(sequence);
        }
    }

    /// A datagram that ends in `token` is a stateless reset by this peer; every token is compared, in
    /// constant time (RFC 9000 section 10.3.1).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
    //# An endpoint MUST NOT check for any stateless reset tokens associated with connection IDs it has not used or for
    //# connection IDs that have been retired.
    #[must_use]
    pub fn is_reset_token(&self, token: &ResetToken) -> bool {
        self.entries.iter().fold(false, |found, e| found | (e.used && e.token.is_some_and(|t| t == *token)))
    }

    /// The reset token of an ID.
    #[must_use]
    pub fn token(&self, sequence: u64) -> Option<ResetToken> {
        self.entries.iter().find(|e| e.id.sequence == sequence)?.token
    }
}
