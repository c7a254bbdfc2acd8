//! HyStart++ (RFC 9406): leaves the first slow start when the delay grows, before the queue overflows.
//!
//! Rounds are told by send times instead of sequence numbers, because one path serves several packet number spaces.
//! Pacing is always on, so L is infinite (section 4.3). Used only until the first congestion event.
use crate::base::Timestamp;
use core::time::Duration;

// RFC 9406 section 4.3.
const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u32 = 8;
const CSS_GROWTH_DIVISOR: u64 = 4;
const CSS_ROUNDS: u32 = 5;

/// State of the modified slow start.
#[derive(Clone, Copy, Debug)]
pub(super) struct HyStart {
    /// A packet sent at or after this time ends the round when it is acknowledged.
    round_end: Timestamp,
    last_min: Duration,
    current_min: Duration,
    samples: u32,
    /// In conservative slow start: the baseline, and rounds still to go.
    css: Option<(Duration, u32)>,
}

/// How the window shall grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Growth {
    By(u64),
    /// As before, and slow start is over.
    ByAndLeave(u64),
}

impl HyStart {
    pub(super) const fn new() -> Self {
        Self { round_end: Timestamp::ZERO, last_min: Duration::MAX, current_min: Duration::MAX, samples: 0, css: None }
    }

    /// True while growth is conservative.
    pub(super) const fn in_css(&self) -> bool {
        self.css.is_some()
    }

    pub(super) fn on_ack(
        &mut self,
        bytes: u64,
        newest_sent_at: Timestamp,
        rtt: Option<Duration>,
        now: Timestamp,
    ) -> Growth {
        let mut rounds_over = false;
        if newest_sent_at >= self.round_end {
            // Everything sent from now on belongs to the next round.
            self.round_end = now;
            self.last_min = self.current_min;
            self.current_min = Duration::MAX;
            self.samples = 0;
            if let Some((_, rounds)) = &mut self.css {
                *rounds = rounds.saturating_sub(1);
                rounds_over = *rounds == 0;
            }
        }
        let growth = if self.css.is_some() { bytes / CSS_GROWTH_DIVISOR } else { bytes };
        if let Some(rtt) = rtt {
            self.current_min = self.current_min.min(rtt);
            self.samples = self.samples.saturating_add(1);
        }
        if rounds_over {
            return Growth::ByAndLeave(growth);
        }
        if self.samples >= N_RTT_SAMPLE && self.current_min != Duration::MAX {
            match self.css {
                None if self.last_min != Duration::MAX => {
                    let threshold = (self.last_min / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
                    if self.current_min >= self.last_min + threshold {
                        self.css = Some((self.current_min, CSS_ROUNDS));
                    }
                }
                // The delay fell again: leaving was a mistake.
                Some((baseline, _)) if self.current_min < baseline => self.css = None,
                _ => {}
            }
        }
        Growth::By(growth)
    }
}
