//! Path MTU discovery by probing datagrams (RFC 9000 section 14.3, RFC 8899).
//!
//! The search tries the ceiling first, because it nearly always fits, then halves the interval. Lost probes
//! are no congestion signal (the caller records them as probes). A run of lost big packets without any that
//! arrived is a black hole: back to 1200 at once. Sizes are chosen so that the sealed text is a whole number
//! of AES blocks.
use crate::base::Timestamp;
use core::time::Duration;

/// RFC 9000 section 14: every QUIC path carries this (BASE_PLPMTU).
pub const BASE: u16 = 1200;
/// Lost probes of one size before it counts as too big (RFC 8899 section 5.1.2, MAX_PROBES).
const MAX_PROBES: u8 = 3;
/// The search ends when the interval is this small.
const PRECISION: u16 = 24;
/// RFC 8899 section 5.1.1, PMTU_RAISE_TIMER.
const RAISE_INTERVAL: Duration = Duration::from_secs(600);
/// How long after a black hole the search starts again: routes that changed may change back.
const BLACK_HOLE_PAUSE: Duration = Duration::from_secs(60);
/// Big packets lost in a row, none sent since the first of them delivered, that make a black hole (RFC 8899 section 4.3)
/// when they were sent over more than a probe timeout. A queue that overflows loses many at once, but not all for so long.
const BLACK_HOLE_LOSSES: u8 = 6;
/// AES works on blocks of this many bytes.
const BLOCK: u16 = 16;
/// IPv6 headers are this much longer than those of IPv4.
const IPV6_EXTRA: u16 = 20;

/// Settings of the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MtuConfig {
    /// UDP payload to start with, at least 1200.
    pub initial: u16,
    /// Largest UDP payload to try on IPv4; 20 less on IPv6. Not above `initial`: no search.
    pub ceiling: u16,
    /// Header and tag of a typical packet: the rest is a multiple of 16.
    pub overhead: u16,
}

impl Default for MtuConfig {
    fn default() -> Self {
        // Ethernet: 1500 less IPv4 and UDP headers. Short header: flags, 8-byte ID, 2-byte number, tag.
        Self { initial: BASE, ceiling: 1472, overhead: 1 + 8 + 2 + 16 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Configured off.
    Off,
    Searching,
    /// Search over, or paused, until then.
    Settled(Timestamp),
}

/// Discovery state of one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mtu {
    current: u16,
    /// Largest size that may still fit.
    high: u16,
    ceiling: u16,
    overhead: u16,
    state: State,
    in_flight: Option<u16>,
    failures: u8,
    black_hole_losses: u8,
    /// Number of the first of them, and when it was sent.
    black_hole_since: (u64, Timestamp),
    newest_big_delivered: Option<u64>,
}

impl Mtu {
    /// A path whose MTU is not known yet.
    #[must_use]
    pub fn new(config: &MtuConfig, ipv6: bool) -> Self {
        let initial = config.initial.max(BASE);
        let ceiling = if ipv6 { config.ceiling.saturating_sub(IPV6_EXTRA) } else { config.ceiling };
        let mut mtu = Self {
            current: initial,
            high: initial,
            ceiling: initial,
            overhead: config.overhead,
            state: State::Off,
            in_flight: None,
            failures: 0,
            black_hole_losses: 0,
            black_hole_since: (0, Timestamp::ZERO),
            newest_big_delivered: None,
        };
        let ceiling = mtu.aligned(ceiling);
        if ceiling > initial {
            mtu.ceiling = ceiling;
            mtu.high = ceiling;
            mtu.state = State::Searching;
        }
        mtu
    }

    /// UDP payload that the path is taken to carry.
    #[must_use]
    pub const fn current(&self) -> u16 {
        self.current
    }

    /// The size of the probe on its way.
    #[cfg(feature = "sim")]
    #[must_use]
    pub const fn probing(&self) -> Option<u16> {
        self.in_flight
    }

    /// The largest size that this search may reach.
    #[must_use]
    pub const fn ceiling(&self) -> u16 {
        self.ceiling
    }

    /// The peer's max_udp_payload_size (RFC 9000 section 18.2), at least 1200.
    pub fn set_peer_limit(&mut self, limit: u64) {
        let limit = u16::try_from(limit).unwrap_or(u16::MAX).max(BASE);
        self.current = self.current.min(limit);
        self.ceiling = self.ceiling.min(self.aligned(limit).max(self.current));
        self.high = self.high.min(self.ceiling);
        if self.high <= self.current && self.state == State::Searching {
            self.state = State::Off;
        }
    }

    /// The largest size up to `size` whose sealed text is a multiple of the cipher's block.
    fn aligned(&self, size: u16) -> u16 {
        let text = size.saturating_sub(self.overhead);
        size.saturating_sub(text % BLOCK)
    }

    /// The size of a probe to send now. One probe is in flight at a time.
    pub fn next_probe(&mut self, now: Timestamp) -> Option<u16> {
        if self.in_flight.is_some() {
            return None;
        }
        match self.state {
            State::Off => return None,
            State::Settled(until) if now < until => return None,
            State::Settled(_) => {
                self.high = self.ceiling;
                self.failures = 0;
                self.state = State::Searching;
            }
            State::Searching => {}
        }
        let size = self.candidate();
        if size.is_none() {
            self.settle(now, RAISE_INTERVAL);
        }
        size
    }

    fn candidate(&self) -> Option<u16> {
        if self.high == self.ceiling {
            return (self.high > self.current).then_some(self.high);
        }
        if self.high.saturating_sub(self.current) < PRECISION {
            return None;
        }
        let middle = self.current.midpoint(self.high);
        let size = self.aligned(middle.saturating_add(BLOCK / 2));
        (size > self.current && size <= self.high).then_some(size)
    }

    fn settle(&mut self, now: Timestamp, pause: Duration) {
        self.state = State::Settled(now + pause);
    }

    /// The probe that `next_probe` gave the size of is sent.
    pub fn on_probe_sent(&mut self, size: u16) {
        self.in_flight = Some(size);
    }

    /// A probe arrived; true when the MTU grew.
    pub fn on_probe_acked(&mut self, size: u16) -> bool {
        if self.in_flight == Some(size) {
            self.in_flight = None;
            self.failures = 0;
        }
        if size <= self.current || size > self.ceiling {
            return false;
        }
        self.current = size;
        self.high = self.high.max(size);
        self.black_hole_losses = 0;
        true
    }

    /// A probe was lost.
    pub fn on_probe_lost(&mut self, size: u16) {
        if self.in_flight != Some(size) {
            return;
        }
        self.in_flight = None;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= MAX_PROBES {
            self.failures = 0;
            self.high = self.high.min(size.saturating_sub(1));
        }
    }

    /// A packet that was no probe arrived.
    pub fn on_packet_acked(&mut self, pn: u64, size: u16) {
        if size > BASE {
            self.newest_big_delivered = self.newest_big_delivered.max(Some(pn));
            if pn > self.black_hole_since.0 {
                self.black_hole_losses = 0;
            }
        }
    }

    /// A packet that was no probe is lost; true when this proves a black hole and the MTU fell. `pto` is the path's.
    pub fn on_packet_lost(&mut self, pn: u64, size: u16, sent_at: Timestamp, pto: Duration, now: Timestamp) -> bool {
        if size <= BASE || self.current <= BASE || self.newest_big_delivered.is_some_and(|newest| pn < newest) {
            return false;
        }
        if self.black_hole_losses == 0 {
            self.black_hole_since = (pn, sent_at);
        }
        self.black_hole_losses = self.black_hole_losses.saturating_add(1);
        if self.black_hole_losses < BLACK_HOLE_LOSSES || sent_at.since(self.black_hole_since.1) < pto {
            return false;
        }
        self.black_hole_losses = 0;
        self.current = BASE;
        self.in_flight = None;
        if self.ceiling > BASE {
            self.settle(now, BLACK_HOLE_PAUSE);
        }
        true
    }

    /// `next_probe` has something to do: a size to try, or the end of the search to note.
    #[must_use]
    pub fn wants_probe(&self, now: Timestamp) -> bool {
        self.in_flight.is_none()
            && match self.state {
                State::Off => false,
                State::Searching => true,
                State::Settled(until) => now >= until && self.ceiling > self.current,
            }
    }
}
