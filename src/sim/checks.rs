//! What an observer on the wire and at the doors of both ends can hold against the library, step by step.
//!
//! Each invariant is a function of numbers, so that its own tests can show it numbers that are wrong; [`Checked`] counts
//! how often each was asked, so that a world without its checker is noticed.
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::base::Timestamp;
use crate::connection::frame_style::FrameStyle;
use crate::connection::inspect::{CreditView, Inspection, MemoryView, PathView};
use crate::connection::{Connection, ConnectionConfig, Transmit};
use crate::paths::MAX_PATHS;
use crate::paths::local_cids::MAX_ACTIVE;
use crate::streams::StreamsConfig;
use crate::wire::header::{self, PacketType, ProtectedHeader};

/// How often each invariant was held against something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Bytes in flight are the sum of the packets' records.
    pub in_flight: u64,
    /// Credit of one end agrees with itself.
    pub credit: u64,
    /// Credit of both ends agrees.
    pub credit_between: u64,
    /// A batch fits its path.
    pub mtu: u64,
    /// A connection at rest has a deadline, in the future.
    pub deadlines: u64,
    /// A server's datagram stays below three times what it received.
    pub amplification: u64,
    /// Memory follows live data.
    pub memory: u64,
}

impl Checked {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight + other.in_flight,
            credit: self.credit + other.credit,
            credit_between: self.credit_between + other.credit_between,
            mtu: self.mtu + other.mtu,
            deadlines: self.deadlines + other.deadlines,
            amplification: self.amplification + other.amplification,
            memory: self.memory + other.memory,
        }
    }

    /// What every connection that did anything was asked.
    ///
    /// # Panics
    /// When one of the invariants was never looked at.
    pub fn assert_all(&self) {
        let each = [self.in_flight, self.credit, self.mtu, self.deadlines, self.amplification, self.memory];
        assert!(each.iter().all(|n| *n > 0), "an invariant was never looked at: {self:?}");
    }
}

/// RFC 9000 section 8.1: at most three times what an unvalidated address has sent.
#[derive(Debug, Default)]
pub(super) struct Amplification {
    addresses: HashMap<SocketAddr, Budget>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    received: u64,
    sent: u64,
    validated: bool,
}

impl Amplification {
    /// The server received `datagram` from `from`. `answers`: it was sent after something of the server had reached
    /// that address, so it may hold a PATH_RESPONSE (an observer cannot look into 1-RTT packets).
    pub fn on_received(&mut self, from: SocketAddr, datagram: &[u8], intact: bool, answers: bool) {
        let budget = self.addresses.entry(from).or_default();
        budget.received += datagram.len() as u64;
        // Damage hits one byte; other packets of the datagram may be whole.
        let short = datagram.first().is_some_and(|b| b & 0x80 == 0);
        // A Handshake packet shows that its sender has read what the server sent: here, unless nothing ever came here. One
        // from a new address proves nothing there.
        budget.validated |= token(datagram) || (answers && (handshake(datagram) || (intact && short)));
    }

    /// This side speaks to `address` of its own accord.
    pub fn trust(&mut self, address: SocketAddr) {
        self.addresses.entry(address).or_default().validated = true;
    }

    /// The server sends.
    pub fn on_sent(&mut self, to: SocketAddr, len: usize) {
        let budget = self.addresses.entry(to).or_default();
        budget.sent += len as u64;
        assert!(
            budget.validated || budget.sent <= 3 * budget.received,
            "amplification: {} bytes sent to {to}, which sent {} and is not validated",
            budget.sent,
            budget.received,
        );
    }
}

/// A Handshake packet (RFC 9000 section 8.1).
fn handshake(datagram: &[u8]) -> bool {
    any(datagram, |h| h.ty == PacketType::Handshake)
}

/// An Initial with a token (section 8.1.1).
fn token(datagram: &[u8]) -> bool {
    any(datagram, |h| h.ty == PacketType::Initial && !h.token.is_empty())
}

fn any(mut datagram: &[u8], wanted: impl Fn(&ProtectedHeader<'_>) -> bool) -> bool {
    while let Ok(h) = header::parse(datagram, 8) {
        if wanted(&h) {
            return true;
        }
        match datagram.get(h.packet_len..) {
            Some(rest) if h.packet_len > 0 => datagram = rest,
            _ => return false,
        }
    }
    false
}

/// A batch of equal datagrams leaves the connection: none is longer than its path carries, but for an MTU probe, which
/// travels alone (RFC 9000 section 14.4).
pub(super) fn on_transmit(conn: &Connection, config: &ConnectionConfig, sent: &Transmit, checked: &mut Checked) {
    let seen = conn.inspect_path(&sent.tuple);
    mtu(config, seen, sent.segment.unwrap_or(sent.len), sent.len);
    checked.mtu += 1;
}

/// `len` bytes leave in datagrams of `segment`.
fn mtu(config: &ConnectionConfig, path: Option<PathView>, segment: usize, len: usize) {
    let ceiling = usize::from(config.mtu_ceiling.max(1200));
    assert!(segment > 0 && segment <= ceiling, "a datagram of {segment} bytes, the ceiling is {ceiling}");
    let Some(path) = path else { return };
    let probe = path.probing == Some(segment as u16) && len == segment;
    assert!(segment <= usize::from(path.mtu) || probe, "a datagram of {segment} bytes on {path:?}");
}

/// What two rooms of one connection keep independently of each other agrees, and memory follows live data.
pub(super) fn consistent(conn: &Connection, config: &ConnectionConfig, checked: &mut Checked) {
    let i = conn.inspect();
    in_flight(&i.paths);
    credit(&i.credit);
    memory(&i.memory, &i.credit, config);
    (checked.in_flight, checked.credit, checked.memory) =
        (checked.in_flight + 1, checked.credit + 1, checked.memory + 1);
}

fn in_flight(paths: &[PathView]) {
    for path in paths {
        assert_eq!(path.in_flight, path.recorded, "bytes in flight and the records of packets: {path:?}");
    }
}

fn credit(c: &CreditView) {
    assert!(c.consumed <= c.received && c.received <= c.advertised, "credit received: {c:?}");
    assert!(c.advertised - c.consumed <= c.window, "more credit given than there is window: {c:?}");
    assert!(c.sent <= c.send_limit, "sent beyond the credit: {c:?}");
}

/// What the records of packets may keep when nothing is in flight, and for each packet that is.
const RECORDS_AT_REST: usize = 256 << 10;
const PER_RECORD: usize = 16 << 10;

fn memory(m: &MemoryView, c: &CreditView, config: &ConnectionConfig) {
    let room = config.flow.send_buffer.max(StreamsConfig::default().send_buffer_connection) + (1 << 16);
    assert!(m.unsent <= room, "unacknowledged bytes without bound: {m:?}");
    assert!(m.unread <= c.window, "unread bytes beyond the window: {m:?}");
    // Records live in blocks; at worst one packet keeps a block and a spare one. Packets of many frames, which only
    // that style makes (1800 in 9000 bytes), take 64 times as much.
    let frames = if config.frame_style == FrameStyle::OneByte { 64 } else { 1 };
    let records = frames * (RECORDS_AT_REST + m.records * PER_RECORD);
    assert!(m.recovery_bytes <= records, "records of packets without packets: {m:?}");
    // One candidate may stand beside the authenticated paths.
    assert!(
        m.events <= 16 && m.paths <= MAX_PATHS + 1 && m.local_cids <= 2 * MAX_ACTIVE as usize + 2,
        "more than live data needs: {m:?}"
    );
}

/// Credit is conserved between the ends: nobody may send what the other did not allow, and nobody received what the
/// other did not send (RFC 9000 section 4.1).
pub(super) fn agree(one: &Inspection, other: &Inspection) {
    for (from, to) in [(&one.credit, &other.credit), (&other.credit, &one.credit)] {
        assert!(from.send_limit <= to.advertised, "credit out of nothing: {from:?} {to:?}");
        assert!(to.received <= from.sent, "received more than was sent: {from:?} {to:?}");
    }
}

/// After `transmit` has said that there is nothing more to send.
pub(super) fn at_rest(conn: &Connection, config: &ConnectionConfig, now: Timestamp, checked: &mut Checked) {
    deadline(conn.deadline(), now, conn.is_drained() || config.idle_timeout.is_zero());
    checked.deadlines += 1;
    let stats = conn.stats();
    assert!(stats.bytes_in_flight < 1 << 32, "bytes in flight underflowed: {}", stats.bytes_in_flight);
    assert!(stats.congestion_window >= 2 * 1200, "window {} below the minimum", stats.congestion_window);
    assert!(stats.mtu <= u64::from(config.mtu_ceiling.max(1200)), "MTU {} above the ceiling", stats.mtu);
    let counts = conn.stream_counts();
    let window = config.flow.connection_window_max.max(config.flow.connection_window);
    assert!(counts.buffered_received <= window, "{} unread bytes, window {window}", counts.buffered_received);
}

/// `timeless`: it may wait for ever.
fn deadline(deadline: Option<Timestamp>, now: Timestamp, timeless: bool) {
    match deadline {
        Some(at) => assert!(at > now, "a deadline in the past would make a busy loop: {at:?} at {now:?}"),
        None => assert!(timeless, "an open connection without any deadline"),
    }
}
