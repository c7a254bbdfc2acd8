//! qlog: what a connection did, as JSON text sequences (draft-ietf-quic-qlog-main-schema section 5,
//! draft-ietf-quic-qlog-quic-events), for people and tools that look for the cause of something.
//!
//! Sans-IO like the rest of the core: records collect in memory, and whoever owns the connection takes them
//! with [`Qlog::take`] and stores them outside its lock. A connection without a log pays one branch per packet.
//! Memory is bounded by [`MAX_BUFFERED`]: what does not fit until the next take is counted and told.
mod events;
mod frames;
mod json;

#[cfg(test)]
mod tests;

use crate::base::{ConnectionId, Level, Side, Timestamp};
use json::Object;

/// Most bytes of records that wait to be taken.
pub const MAX_BUFFERED: usize = 1 << 20;

/// RFC 7464 section 2.2: each record begins with a record separator and ends with a line feed.
const RECORD_SEPARATOR: u8 = 0x1e;

/// The log of one connection.
pub struct Qlog {
    out: Vec<u8>,
    reference: Timestamp,
    /// Records that found no room.
    omitted: u64,
    last_metrics: Metrics,
}

/// Recovery figures of the path in use; zero fields are left out of the log.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Metrics {
    /// Nanoseconds.
    pub min_rtt: u64,
    /// Nanoseconds.
    pub smoothed_rtt: u64,
    /// Nanoseconds.
    pub latest_rtt: u64,
    /// Nanoseconds.
    pub rtt_variance: u64,
    pub pto_count: u32,
    /// Bytes.
    pub congestion_window: u64,
    /// Bytes.
    pub bytes_in_flight: u64,
    /// Bytes; `u64::MAX` when still in slow start.
    pub ssthresh: u64,
}

/// Header facts of a packet that is worth a record.
#[derive(Clone, Copy, Debug)]
pub struct PacketInfo<'a> {
    pub level: Level,
    pub number: u64,
    /// Bytes of the whole packet, header and tag included.
    pub len: usize,
    /// Decrypted payload.
    pub payload: &'a [u8],
}

/// Why a packet was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropTrigger {
    Rejected,
    Unsupported,
    Invalid,
    Duplicate,
    ConnectionUnknown,
    DecryptionFailure,
    KeyUnavailable,
}

impl Qlog {
    /// Starts the log of the connection whose first destination connection ID was `odcid`; times in it count
    /// from `now`. `wall_clock` is the same moment in milliseconds since 1970, when the caller knows it.
    #[must_use]
    pub fn new(side: Side, odcid: &ConnectionId, now: Timestamp, wall_clock: Option<u64>) -> Self {
        let mut log =
            Self { out: Vec::with_capacity(4096), reference: now, omitted: 0, last_metrics: Metrics::default() };
        let mut o = log.begin();
        o.text("file_schema", "urn:ietf:params:qlog:file:sequential");
        o.text("serialization_format", "application/qlog+json-seq");
        o.text("title", "whimbrel");
        o.object("trace", |t| {
            t.object("common_fields", |c| {
                c.display("group_id", odcid);
                c.text("time_format", "relative_to_epoch");
                c.object("reference_time", |r| {
                    r.text("clock_type", "monotonic");
                    r.text("epoch", "unknown");
                    if let Some(ms) = wall_clock {
                        r.number("wall_clock_ms", ms);
                    }
                });
            });
            t.object("vantage_point", |v| {
                v.text("name", "whimbrel");
                v.text("type", if side.is_client() { "client" } else { "server" });
            });
            t.texts("event_schemas", &["urn:ietf:params:qlog:events:quic"]);
        });
        o.end();
        log.finish_record();
        log
    }

    /// The moment from which its times count.
    #[must_use]
    pub const fn reference(&self) -> Timestamp {
        self.reference
    }

    /// Everything recorded since the last call.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.out)
    }

    /// True when there is something to take.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.out.is_empty()
    }

    fn begin(&mut self) -> Object<'_> {
        self.out.push(RECORD_SEPARATOR);
        Object::begin(&mut self.out)
    }

    fn finish_record(&mut self) {
        self.out.push(b'\n');
    }

    /// Writes one event, or counts it when the buffer is full.
    fn event(&mut self, now: Timestamp, name: &str, data: impl FnOnce(&mut Object<'_>)) {
        if self.out.len() >= MAX_BUFFERED {
            self.omitted = self.omitted.saturating_add(1);
            return;
        }
        let since = now.since(self.reference);
        let omitted = core::mem::take(&mut self.omitted);
        let mut o = self.begin();
        o.millis("time", since);
        o.text("name", name);
        o.object("data", data);
        if omitted > 0 {
            o.number("records_omitted_before", omitted);
        }
        o.end();
        self.finish_record();
    }
}
