//! Whether a path may carry ECN marks (RFC 9000 section 13.4.2 and appendix A.4).
//!
//! Invariant: once validation failed the path is never marked again until it is reset.
use crate::base::Ecn;

/// Packets marked before the first verdict (RFC 9000 section 13.4.2: "the first ten outgoing packets").
const TESTING_PACKETS: u32 = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Marking the first packets.
    Testing,
    /// Marked enough, waiting for counts to come back.
    Unknown,
    Capable,
    Failed,
}

/// State of ECN validation on one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EcnState {
    stage: Stage,
    sent: u32,
    lost: u32,
    /// Marks are ECT(1): the controller reacts as RFC 9331 section 4.3 asks.
    scalable: bool,
}

impl EcnState {
    /// `enabled` is false where the socket cannot mark or the application said no.
    #[must_use]
    pub const fn new(enabled: bool, scalable: bool) -> Self {
        Self { stage: if enabled { Stage::Testing } else { Stage::Failed }, sent: 0, lost: 0, scalable }
    }

    #[must_use]
    pub const fn is_scalable(&self) -> bool {
        self.scalable
    }

    /// The mark for the next datagram of this path.
    #[must_use]
    pub const fn mark(&self) -> Ecn {
        match self.stage {
            Stage::Testing | Stage::Capable if self.scalable => Ecn::Ect1,
            Stage::Testing | Stage::Capable => Ecn::Ect0,
            Stage::Unknown | Stage::Failed => Ecn::NotEct,
        }
    }

    #[must_use]
    pub const fn is_capable(&self) -> bool {
        matches!(self.stage, Stage::Capable)
    }

    #[must_use]
    pub const fn is_failed(&self) -> bool {
        matches!(self.stage, Stage::Failed)
    }

    /// A marked packet left.
    pub fn on_sent(&mut self) {
        if matches!(self.stage, Stage::Testing | Stage::Unknown) {
            self.sent = self.sent.saturating_add(1);
            if self.sent >= TESTING_PACKETS {
                self.stage = Stage::Unknown;
            }
        }
    }

    /// Probe timeouts pile up before any verdict: send unmarked for a while (RFC 9000 section 13.4.2: "or for a
    /// period of three PTOs"), so that a path that drops marked packets costs seconds and not the connection.
    pub fn on_repeated_timeout(&mut self) {
        if matches!(self.stage, Stage::Testing) {
            self.stage = Stage::Unknown;
        }
    }

    /// A marked packet was lost: when every marked packet was, the marks are to blame. Returns true on that verdict.
    pub fn on_lost(&mut self) -> bool {
        if !matches!(self.stage, Stage::Testing | Stage::Unknown) {
            return false;
        }
        self.lost = self.lost.saturating_add(1);
        let failed = matches!(self.stage, Stage::Unknown) && self.lost >= self.sent;
        if failed {
            self.stage = Stage::Failed;
        }
        failed
    }

    /// An ACK newly acknowledged marked packets and its counts were plausible.
    pub fn on_validated(&mut self) {
        if matches!(self.stage, Stage::Testing | Stage::Unknown) {
            self.stage = Stage::Capable;
        }
    }

    /// RFC 9000 section 13.4.2.2: on failure the endpoint MUST disable ECN.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.4.2.2
    //# If validation fails, then the endpoint MUST disable ECN.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.4.2.2
    //# Network routing and path elements can change mid-connection; an endpoint MUST disable ECN if validation later
    //# fails.
    pub fn fail(&mut self) {
        self.stage = Stage::Failed;
    }
}
