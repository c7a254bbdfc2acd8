//! Counters of one connection; plain numbers, copied out as a whole.
use core::time::Duration;

/// Totals since the start and a picture of the active path.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Stats {
    pub datagrams_received: u64,
    pub datagrams_sent: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub packets_lost: u64,
    /// Packets that could not be opened, parsed or assigned; they change nothing else.
    pub packets_dropped: u64,
    pub packets_duplicate: u64,
    pub acks_received: u64,
    pub acks_sent: u64,
    pub key_updates: u64,
    pub migrations: u64,
    /// Attempts made again in another version (RFC 9368 section 2.1).
    pub version_negotiations: u64,
    pub retries: u64,
    pub pto_count: u64,
    /// Segments handed out in one `transmit`, most so far.
    pub largest_batch: u64,
    pub rtt_latest: Duration,
    pub rtt_smoothed: Duration,
    pub rtt_variance: Duration,
    pub rtt_min: Duration,
    pub congestion_window: u64,
    pub bytes_in_flight: u64,
    pub mtu: u64,
}
