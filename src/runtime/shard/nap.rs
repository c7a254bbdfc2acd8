//! Receive coalescing: a worker to which a distant peer's datagrams drip sleeps a little before it reads the next ones.
//!
//! At 200 Mbit/s a full datagram comes every 60 microseconds. Read one by one, each costs a wake-up, two or three system
//! calls and often an ACK of its own, and on the sender's side the same again for that ACK. Network cards wait with
//! their interrupts for this reason; we know more than they do, namely how long the round trip is. Invariant: nothing
//! waits longer than a tenth of the shortest round trip among the connections that received lately (more rounds of
//! acknowledgements than the eight samples that RFC 9406 section 4.3 wants), nor longer than two milliseconds; a round
//! trip that is short or not known yet forbids it, and doorbell and timers end it.
use core::time::Duration;

use crate::base::Timestamp;

/// Wake-ups in a row that came too close to each other.
const ROW: u32 = 16;
/// The longest nap: what a peer's pacer may let go at once (`congestion/pacer.rs`), so that acknowledgements which are read
/// together, or made of what was, open the window by no more than one burst.
const LONGEST: Duration = Duration::from_millis(2);
/// Shorter naps do not pay for their own timer.
const SHORTEST: Duration = Duration::from_micros(160);
/// A nap is this part of the shortest round trip.
const PART: u32 = 10;
/// Wake-ups come too close to each other when so many fit into a nap.
const CLOSE: u32 = 4;
/// A whole nap has paid when it brought so many datagrams.
const PAYS: u32 = 4;
/// Connections count for as many wake-ups, and until as many more at most.
const EPOCH: u32 = 64;

/// See the file comment.
pub(super) struct Nap {
    /// Datagrams since the last wait.
    fed: u32,
    /// Shortest round trip of those who received them, in this epoch and in the one before.
    shortest: [Duration; 2],
    wakes: u32,
    row: u32,
    last: Timestamp,
    /// The last nap was not cut short.
    whole: bool,
}

impl Nap {
    pub const fn new(now: Timestamp) -> Self {
        Self { fed: 0, shortest: [Duration::MAX; 2], wakes: 0, row: 0, last: now, whole: false }
    }

    /// A connection with this shortest round trip received `datagrams`; zero: it is not known yet.
    pub fn note(&mut self, datagrams: usize, round_trip: Duration) {
        self.fed = self.fed.saturating_add(u32::try_from(datagrams).unwrap_or(u32::MAX));
        let [current, _] = &mut self.shortest;
        *current = round_trip.min(*current);
    }

    /// Nothing is left to do: how long to leave the sockets alone, if at all. `next` is the next timer.
    pub fn wanted(&mut self, now: Timestamp, next: Option<Timestamp>) -> Option<Duration> {
        let fed = core::mem::take(&mut self.fed);
        let whole = core::mem::take(&mut self.whole);
        let [current, before] = self.shortest;
        let time = (current.min(before) / PART).min(LONGEST);
        if whole {
            self.row = if fed >= PAYS { ROW } else { 0 };
        } else if fed > 0 && self.row < ROW {
            self.row = if now.since(self.last) <= time / CLOSE { self.row.saturating_add(1) } else { 0 };
        }
        if fed > 0 {
            self.last = now;
            self.wakes = self.wakes.wrapping_add(1);
            if self.wakes.is_multiple_of(EPOCH) {
                self.shortest = [Duration::MAX, current];
            }
        }
        if self.row < ROW || time < SHORTEST {
            return None;
        }
        let left = next.map_or(Duration::MAX, |at| at.since(now));
        self.whole = left > time;
        // A timer that is about to fire is waited for in the usual way.
        Some(time.min(left)).filter(|t| *t >= SHORTEST / 2)
    }

    /// The doorbell ended the nap.
    pub const fn cut_short(&mut self) {
        self.whole = false;
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Nap, PAYS, ROW};
    use crate::base::Timestamp;
    use core::time::Duration;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    /// A datagram every `gap`, read one by one; when a nap was first wanted, and how long.
    fn drip(nap: &mut Nap, gap: Duration, round_trip: Duration, wakes: u32) -> Option<(u32, Duration)> {
        let mut now = nap.last;
        for i in 0..wakes {
            now = now + gap;
            nap.note(1, round_trip);
            if let Some(time) = nap.wanted(now, None) {
                return Some((i, time));
            }
        }
        None
    }

    #[test]
    fn a_steady_drip_over_a_distance_is_gathered() {
        let mut nap = Nap::new(Timestamp(1));
        let (after, time) = drip(&mut nap, Duration::from_micros(60), ROUND_TRIP, 100).expect("a nap");
        assert!((ROW - 1..=ROW).contains(&after), "{after}");
        assert_eq!(time, LONGEST);
        let mut nap = Nap::new(Timestamp(1));
        let (_, time) = drip(&mut nap, Duration::from_micros(60), Duration::from_millis(8), 100).expect("a nap");
        assert_eq!(time, Duration::from_micros(800), "a tenth of the round trip");
    }

    #[test]
    fn neighbours_strangers_and_seldom_datagrams_are_read_at_once() {
        let fast = Duration::from_micros(60);
        assert_eq!(drip(&mut Nap::new(Timestamp(1)), fast, Duration::from_millis(1), 1000), None, "a near peer");
        assert_eq!(drip(&mut Nap::new(Timestamp(1)), fast, Duration::ZERO, 1000), None, "no sample yet");
        assert_eq!(drip(&mut Nap::new(Timestamp(1)), LONGEST, ROUND_TRIP, 1000), None, "seldom");
    }

    #[test]
    fn a_near_peer_among_distant_ones_ends_the_naps() {
        let mut nap = Nap::new(Timestamp(1));
        drip(&mut nap, Duration::from_micros(60), ROUND_TRIP, 100).expect("a nap");
        nap.note(20, ROUND_TRIP);
        nap.note(1, Duration::from_micros(300));
        assert_eq!(nap.wanted(nap.last + LONGEST, None), None);
        // It is remembered for a while, and forgotten when only others are heard.
        let mut now = nap.last;
        let mut wakes = 0;
        while nap.wanted(now, None).is_none() {
            now = now + Duration::from_micros(60);
            nap.note(1, ROUND_TRIP);
            wakes += 1;
            assert!(wakes < 300, "for ever");
        }
        assert!(wakes >= 64, "{wakes}");
    }

    #[test]
    fn a_nap_that_brings_nothing_is_the_last() {
        let mut nap = Nap::new(Timestamp(1));
        drip(&mut nap, Duration::from_micros(60), ROUND_TRIP, 100).expect("a nap");
        nap.note(PAYS as usize - 1, ROUND_TRIP);
        assert_eq!(nap.wanted(nap.last + LONGEST, None), None, "too few to pay");
        let mut nap = Nap::new(Timestamp(1));
        drip(&mut nap, Duration::from_micros(60), ROUND_TRIP, 100).expect("a nap");
        nap.note(PAYS as usize, ROUND_TRIP);
        assert_eq!(nap.wanted(nap.last + LONGEST, None), Some(LONGEST));
        nap.cut_short();
        assert_eq!(nap.wanted(nap.last, None), Some(LONGEST), "a nap that the doorbell ended proves nothing");
    }

    #[test]
    fn timers_are_not_slept_over() {
        let mut nap = Nap::new(Timestamp(1));
        drip(&mut nap, Duration::from_micros(60), ROUND_TRIP, 100).expect("a nap");
        nap.note(9, ROUND_TRIP);
        let now = nap.last + LONGEST;
        let soon = Duration::from_micros(300);
        assert_eq!(nap.wanted(now, Some(now + soon)), Some(soon));
        nap.note(1, ROUND_TRIP);
        assert_eq!(nap.wanted(now + soon, None), Some(LONGEST), "a short nap need not pay");
        nap.note(9, ROUND_TRIP);
        assert_eq!(nap.wanted(now, Some(now)), None);
    }
}
