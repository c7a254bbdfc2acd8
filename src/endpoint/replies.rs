//! Answers that need no connection: Version Negotiation (RFC 9000 section 6), Retry (17.2.5), stateless reset
//! (10.3), and an Initial with CONNECTION_CLOSE. All are smaller than what they answer, and the ones that cost
//! work or could be provoked by spoofed packets are limited in rate.
use super::address_token::{AddressTokens, RetryBinding};
use crate::base::time::nanos;
use crate::base::{ConnectionId, FourTuple, ResetToken, Rng, Timestamp};
use crate::crypto::{LevelKeys, TAG_LEN, TokenKey, retry_tag};
use crate::wire::header::{self, LongHeader, PacketType};
use crate::wire::{Frame, NoRoom, Writer, retry, stateless_reset, version_negotiation};

/// Replies that may be sent at once (RFC 9000 sections 6.1 and 10.3.3 ask for a limit).
const BURST: u64 = 256;
/// Replies per second over time.
const PER_SECOND: u64 = 2048;
/// From here on a stateless reset looks like any short packet (RFC 9000 section 10.3).
const RESET_LEN: usize = 41;
/// Stateless resets vary by this much in length, so that length alone does not tell them.
const RESET_SPREAD: u64 = 12;
/// Largest Retry or close that we make: header with two 20-byte IDs, token, tag.
const MAX_REPLY: usize = 256;

/// One reply in the limiter's unit: a nanosecond then adds `PER_SECOND` of them, with nothing lost to rounding.
const ONE: u64 = 1_000_000_000;

/// Token bucket.
pub(super) struct ReplyLimiter {
    budget: u64,
    filled_at: Timestamp,
}

impl ReplyLimiter {
    pub(super) const fn new() -> Self {
        Self { budget: BURST * ONE, filled_at: Timestamp::ZERO }
    }

    /// Takes one reply from the budget.
    pub(super) fn allow(&mut self, now: Timestamp) -> bool {
        let gained = nanos(now.since(self.filled_at)).saturating_mul(PER_SECOND);
        self.budget = self.budget.saturating_add(gained).min(BURST * ONE);
        self.filled_at = self.filled_at.max(now);
        let left = self.budget.checked_sub(ONE);
        self.budget = left.unwrap_or(self.budget);
        left.is_some()
    }
}

/// A reserved version, to keep clients tolerant of ones they do not know (RFC 9000 sections 6.3 and 15).
fn grease_version(rng: &mut dyn Rng) -> u32 {
    (rng.next_u64() as u32 & 0xf0f0_f0f0) | 0x0a0a_0a0a
}

/// Lists our versions to a client that speaks another. The IDs go back swapped.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//# The server MUST include the value from the Source Connection ID field of the packet it receives in the Destination
//# Connection ID field.
//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.1
//# The value for Source Connection ID MUST be copied from the Destination Connection ID of the received packet, which
//# is initially randomly selected by a client.
//= https://www.rfc-editor.org/rfc/rfc8999#section-6
//# An endpoint MUST include the value from the Source Connection ID field of the packet it receives in the
//# Destination Connection ID field.
//= https://www.rfc-editor.org/rfc/rfc8999#section-6
//# The value for the Source Connection ID field MUST be copied from the Destination Connection ID field of the
//# received packet, which is initially randomly selected by a client.
//= https://www.rfc-editor.org/rfc/rfc9368#section-2.1
//# This packet SHALL include each entry from the server's set of Offered Versions (see Section 5) in a
//# Supported Version field.
pub(super) fn version_negotiation(
    reply: &mut Vec<u8>,
    rng: &mut dyn Rng,
    client_dcid: &[u8],
    client_scid: &[u8],
    versions: &[u32],
) -> Result<(), NoRoom> {
    let grease = grease_version(rng);
    let unused = rng.next_u64() as u8;
    let room = 7 + client_dcid.len() + client_scid.len() + 4 * (versions.len() + 1);
    fill(reply, room, |w| {
        let list = versions.iter().copied().chain([grease]);
        version_negotiation::write(w, unused, client_scid, client_dcid, list)
    })
}

/// A stateless reset shorter than the datagram that provoked it, so that two endpoints cannot keep each other
/// busy (RFC 9000 section 10.3.3). False when the datagram was too short for that.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
//# An endpoint MUST NOT send a Stateless Reset that is three times or more larger than the packet it receives to avoid
//# being used for amplification.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.3
//# An endpoint MUST ensure that every Stateless Reset that it sends is smaller than the packet that triggered it,
//# unless it maintains state sufficient to prevent looping.
pub(super) fn stateless_reset(reply: &mut Vec<u8>, rng: &mut dyn Rng, token: &ResetToken, trigger_len: usize) -> bool {
    let Some(most) = trigger_len.checked_sub(1) else { return false };
    let wanted = RESET_LEN + usize::try_from(rng.below(RESET_SPREAD)).unwrap_or(0);
    reply.clear();
    reply.resize(wanted.min(most), 0);
    let written = stateless_reset::write(reply, rng, token);
    if !written {
        reply.clear();
    }
    written
}

/// Asks the client to prove its address (RFC 9000 section 8.1.2).
pub(super) struct RetryReply<'a> {
    pub(super) tuple: &'a FourTuple,
    pub(super) version: u32,
    pub(super) odcid: &'a ConnectionId,
    pub(super) client_scid: &'a ConnectionId,
    pub(super) retry_scid: &'a ConnectionId,
    pub(super) unix_ms: u64,
}

//= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
//# If the server sends a Retry packet, it MUST use the original version.
impl RetryReply<'_> {
    pub(super) fn write(&self, reply: &mut Vec<u8>, rng: &mut dyn Rng, key: &TokenKey) -> Result<(), NoRoom> {
        let binding = RetryBinding {
            remote: self.tuple.remote,
            version: self.version,
            client_scid: self.client_scid,
            retry_scid: self.retry_scid,
        };
        let token = AddressTokens::retry(key, rng, &binding, self.odcid, self.unix_ms);
        let unused = rng.next_u64() as u8;
        fill(reply, MAX_REPLY, |w| {
            retry::write_retry(w, self.version, self.client_scid, self.retry_scid, &token, unused)?;
            let tag = retry_tag(self.version, self.odcid, w.written());
            w.bytes(&tag)
        })
    }
}

/// An Initial that only closes: refusal and INVALID_TOKEN. No state is kept (RFC 9000 section 8.1.2).
pub(super) fn initial_close(
    reply: &mut Vec<u8>,
    keys: &LevelKeys,
    version: u32,
    dcid: &ConnectionId,
    scid: &ConnectionId,
    code: u64,
) -> Result<(), NoRoom> {
    let mut mark = None;
    fill(reply, MAX_REPLY, |w| {
        let h = LongHeader { ty: PacketType::Initial, version, dcid, scid, token: &[] };
        mark = Some(header::write_long(w, &h, 0, 1)?);
        Frame::ConnectionClose { code, frame_type: Some(0), reason: &[] }.write(w)?;
        w.skip(TAG_LEN)
    })?;
    let mark = mark.ok_or(NoRoom)?;
    let payload = reply.len().saturating_sub(mark.pn_at.saturating_add(1));
    header::finish_long(reply, mark, payload);
    keys.local.protect(reply, mark.pn_at, 1, 0);
    Ok(())
}

/// Makes `reply` what `write` wrote.
fn fill(
    reply: &mut Vec<u8>,
    room: usize,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<(), NoRoom> {
    reply.clear();
    reply.resize(room, 0);
    let mut w = Writer::new(reply);
    let result = write(&mut w);
    let len = if result.is_ok() { w.position() } else { 0 };
    reply.truncate(len);
    result
}
