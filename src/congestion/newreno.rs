//! NewReno as RFC 9002 section 7.3 and appendix B describe it.
use super::{AckSample, MIN_DATAGRAM, MINIMUM_WINDOW_DATAGRAMS, initial_window};

/// State of the controller, in bytes.
#[derive(Clone, Debug)]
pub struct NewReno {
    pub(super) window: u64,
    pub(super) ssthresh: u64,
    max_datagram: u64,
    initial_packets: u32,
    /// Acknowledged bytes not yet turned into growth (RFC 3465 section 2.1).
    credit: u64,
    /// Window and threshold before the last congestion event.
    undo: Option<(u64, u64)>,
}

impl NewReno {
    pub(super) fn new(max_datagram: u16, initial_packets: u32) -> Self {
        let max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        Self {
            window: initial_window(max_datagram, initial_packets),
            ssthresh: u64::MAX,
            max_datagram,
            initial_packets,
            credit: 0,
            undo: None,
        }
    }

    fn minimum(&self) -> u64 {
        self.max_datagram * MINIMUM_WINDOW_DATAGRAMS
    }

    pub(super) fn on_ack(&mut self, sample: &AckSample) {
        if sample.app_limited || sample.bytes == 0 {
            return;
        }
        if self.window < self.ssthresh {
            let target = self.window.saturating_add(sample.bytes);
            self.window = target.min(self.ssthresh);
            self.credit = target - self.window;
            return;
        }
        // At most one datagram for each window acknowledged (RFC 9002 section 7.3.3).
        self.credit = self.credit.saturating_add(sample.bytes);
        //= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.3
        //# A sender in congestion avoidance uses an Additive Increase Multiplicative Decrease (AIMD) approach that MUST
        //# limit the increase to the congestion window to at most one maximum datagram size for each congestion window
        //# that is acknowledged.
        while self.credit >= self.window {
            self.credit -= self.window;
            self.window = self.window.saturating_add(self.max_datagram);
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.2
    //# On entering a recovery period, a sender MUST set the slow start threshold to half the value of the congestion
    //# window when loss is detected.
    //= https://www.rfc-editor.org/rfc/rfc9002#section-7.3.2
    //# The congestion window MUST be set to the reduced value of the slow start threshold before exiting the recovery
    //# period.
    pub(super) fn on_congestion_event(&mut self) {
        self.undo = Some((self.window, self.ssthresh));
        self.ssthresh = (self.window / 2).max(self.minimum());
        self.window = self.ssthresh;
        self.credit = 0;
    }

    //= https://www.rfc-editor.org/rfc/rfc9002#section-7.6.2
    //# When persistent congestion is declared, the sender's congestion window MUST be reduced to the minimum congestion
    //# window (kMinimumWindow), similar to a TCP sender's response on an RTO [RFC5681].
    pub(super) fn on_persistent_congestion(&mut self) {
        self.undo = None;
        self.window = self.minimum();
        self.credit = 0;
    }

    pub(super) fn on_spurious_event(&mut self) {
        if let Some((window, ssthresh)) = self.undo.take()
            && self.window < window
        {
            self.window = window;
            self.ssthresh = ssthresh;
        }
    }

    pub(super) fn set_max_datagram(&mut self, max_datagram: u16) {
        let untouched = self.window == initial_window(self.max_datagram, self.initial_packets);
        self.max_datagram = u64::from(max_datagram).max(MIN_DATAGRAM);
        if untouched && self.ssthresh == u64::MAX {
            self.window = initial_window(self.max_datagram, self.initial_packets);
        }
        self.window = self.window.max(self.minimum());
    }
}
