//! Path validation (RFC 9000 section 8.2): our challenges on one path, and the answers that we owe.
//!
//! A challenge is repeated with fresh data no faster than PTOs allow, and given up three PTOs after the start.
//! Answers are bounded and never sent twice: a peer that misses one challenges again.
use crate::base::{Rng, Timestamp};
use core::time::Duration;

/// Data of a PATH_CHALLENGE.
pub type Data = [u8; 8];

/// Challenges of one validation that may still be answered, newest last.
const MAX_OUTSTANDING: usize = 4;
/// Challenges that one validation sends at most, so that a spoofed address gets few (RFC 9000 section 9.3.1).
const MAX_TRIES: u8 = 6;
/// Doublings of the time between challenges; only a peer that goes on speaking gets to hear that many.
const MAX_BACKOFF: u8 = 3;
/// The same where giving up would end the connection.
const MAX_PATIENT_BACKOFF: u8 = 10;
/// Answers owed on one path; beyond it the oldest is dropped (PATH_CHALLENGE floods).
pub const MAX_RESPONSES: usize = 8;
/// RFC 9000 section 8.2.4.
pub const TIMEOUT_PTOS: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    Pending,
    Succeeded,
    Failed,
}

/// What an answer meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Not an answer to any challenge of this path.
    Unknown,
    /// The address is proved, but the challenge was too small to prove the path's MTU: a second one is queued.
    AddressOnly,
    /// The path is validated.
    Complete,
}

/// Validation state of one path.
#[derive(Clone, Debug)]
pub struct Validation {
    state: State,
    /// To be sent now.
    due: Option<Data>,
    /// Prepared for the second challenge that follows a small first one.
    spare: Data,
    outstanding: [Option<(Data, bool)>; MAX_OUTSTANDING],
    tries: u8,
    /// There is nothing to fall back on: no end of its own.
    patient: bool,
    gives_up_at: Timestamp,
    again_at: Timestamp,
    responses: [Data; MAX_RESPONSES],
    responses_len: u8,
}

impl Validation {
    /// Nothing asked, nothing owed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Idle,
            due: None,
            spare: [0; 8],
            outstanding: [None; MAX_OUTSTANDING],
            tries: 0,
            patient: false,
            gives_up_at: Timestamp::NEVER,
            again_at: Timestamp::NEVER,
            responses: [[0; 8]; MAX_RESPONSES],
            responses_len: 0,
        }
    }

    /// Starts over; `pto` is the larger of the PTO in use and that of an unknown path (RFC 9000 section 8.2.4).
    pub fn start(&mut self, rng: &mut dyn Rng, now: Timestamp, pto: Duration) {
        self.state = State::Pending;
        self.outstanding = [None; MAX_OUTSTANDING];
        self.tries = 0;
        self.patient = false;
        self.gives_up_at = now + pto.saturating_mul(TIMEOUT_PTOS);
        self.again_at = Timestamp::NEVER;
        self.queue(rng);
    }

    /// This validation neither gives up nor runs out of challenges: they become rare, and the anti-amplification limit
    /// bounds them (RFC 9000 section 8.2.4 leaves the time to us; the idle timeout ends the connection).
    pub fn be_patient(&mut self) {
        self.patient = true;
        self.gives_up_at = Timestamp::NEVER;
    }

    /// The congestion window has let no challenge out so far: no answer cannot have been missed. The timer that gives up
    /// starts anew (RFC 9000 section 8.2.4 leaves it to us); a probe timeout at the latest lets the challenge go.
    pub fn on_held(&mut self, now: Timestamp, pto: Duration) {
        if self.is_pending() && self.tries == 0 && now >= self.gives_up_at {
            self.gives_up_at = now + pto.saturating_mul(TIMEOUT_PTOS);
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.1
    //# The endpoint MUST use unpredictable data in every PATH_CHALLENGE frame so that it can associate the peer's
    //# response with the corresponding PATH_CHALLENGE.
    fn queue(&mut self, rng: &mut dyn Rng) {
        let mut data = [0; 8];
        rng.fill(&mut data);
        rng.fill(&mut self.spare);
        self.due = Some(data);
    }

    /// Ends a validation without a result.
    pub fn abandon(&mut self) {
        if self.state == State::Pending {
            self.state = State::Idle;
        }
        self.due = None;
        self.outstanding = [None; MAX_OUTSTANDING];
        self.gives_up_at = Timestamp::NEVER;
        self.again_at = Timestamp::NEVER;
    }

    /// A challenge waits to be sent.
    #[must_use]
    pub const fn wants_challenge(&self) -> bool {
        self.due.is_some()
    }

    /// The challenge to write now. `expanded`: its datagram will have at least 1200 bytes. `pto`: the path's
    /// own, which bounds how soon it is repeated (RFC 9000 section 9.4).
    pub fn next_challenge(&mut self, now: Timestamp, expanded: bool, pto: Duration) -> Option<Data> {
        let data = self.due.take()?;
        self.outstanding.rotate_left(1);
        if let Some(last) = self.outstanding.last_mut() {
            *last = Some((data, expanded));
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-9.4
        //# This timer SHOULD be set as described in Section 6.2.1 of [QUIC-RECOVERY] and MUST NOT be more aggressive.
        let most = if self.patient { MAX_PATIENT_BACKOFF } else { MAX_BACKOFF };
        let backoff = 1u32 << self.tries.min(most);
        self.tries = self.tries.saturating_add(1);
        self.again_at =
            if self.patient || self.tries < MAX_TRIES { now + pto.saturating_mul(backoff) } else { Timestamp::NEVER };
        Some(data)
    }

    /// The peer goes on speaking from the address that is being validated: its answers get lost, not the address. The
    /// timer that gives up starts anew (RFC 9000 section 8.2.4 leaves it to us), and should all challenges be used up,
    /// there is another one. A spoofed address hears no more than it sends for (section 8), and the real peer's next
    /// packet leads away from it (section 9.3).
    pub fn on_heard(&mut self, now: Timestamp, pto: Duration) {
        if !self.is_pending() {
            return;
        }
        self.gives_up_at = self.gives_up_at.max(now + pto.saturating_mul(TIMEOUT_PTOS));
        if self.patient {
            // It is there: ask soon again.
            self.again_at = self.again_at.min(now + pto);
            self.tries = self.tries.min(1);
        }
        if self.due.is_none() && self.again_at == Timestamp::NEVER {
            self.again_at = now + pto;
        }
    }

    /// Challenges sent since the start.
    #[must_use]
    pub const fn tries(&self) -> u8 {
        self.tries
    }

    /// PATH_RESPONSE with `data` arrived, on whatever path (RFC 9000 section 8.2.3).
    pub fn on_response(&mut self, data: Data) -> Answer {
        if self.state != State::Pending {
            return Answer::Unknown;
        }
        let Some((_, expanded)) = self.outstanding.iter().flatten().find(|(sent, _)| *sent == data).copied() else {
            return Answer::Unknown;
        };
        if expanded {
            self.abandon();
            self.state = State::Succeeded;
            return Answer::Complete;
        }
        // RFC 9000 section 8.2.1: a second validation with an expanded datagram proves the MTU.
        self.outstanding = [None; MAX_OUTSTANDING];
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.1
        //# To ensure that the path MTU is large enough, the endpoint MUST perform a second path validation by sending a
        //# PATH_CHALLENGE frame in a datagram of at least 1200 bytes.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.3
        //# However, the endpoint MUST initiate another path validation with an expanded datagram to verify that the
        //# path supports the required MTU.
        self.due = Some(self.spare);
        self.again_at = Timestamp::NEVER;
        Answer::AddressOnly
    }

    /// We owe an answer; the oldest is forgotten when too many are owed.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
    //# On receiving a PATH_CHALLENGE frame, an endpoint MUST respond by echoing the data contained in the
    //# PATH_CHALLENGE frame in a PATH_RESPONSE frame.
    pub fn on_challenge(&mut self, data: Data) {
        if usize::from(self.responses_len) == MAX_RESPONSES {
            self.responses.rotate_left(1);
            self.responses_len -= 1;
        }
        if let Some(slot) = self.responses.get_mut(usize::from(self.responses_len)) {
            *slot = data;
            self.responses_len += 1;
        }
    }

    /// An answer waits to be sent.
    #[must_use]
    pub const fn wants_response(&self) -> bool {
        self.responses_len > 0
    }

    /// The oldest answer that we owe, to be written exactly once (RFC 9000 section 8.2.2).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8.2.2
    //# An endpoint MUST NOT send more than one PATH_RESPONSE frame in response to one PATH_CHALLENGE frame; see Section
    //# 13.3.
    pub fn take_response(&mut self) -> Option<Data> {
        let len = self.responses_len.checked_sub(1)?;
        let data = *self.responses.first()?;
        self.responses.rotate_left(1);
        self.responses_len = len;
        Some(data)
    }

    /// In progress.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending)
    }

    /// Validated by a challenge on this path.
    #[must_use]
    pub const fn is_validated(&self) -> bool {
        matches!(self.state, State::Succeeded)
    }

    /// In progress without an end.
    #[must_use]
    pub const fn is_patient(&self) -> bool {
        self.is_pending() && self.patient
    }

    /// Given up.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// When `on_deadline` has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.is_pending().then(|| self.gives_up_at.min(self.again_at))
    }

    /// Repeats the challenge or gives up; true when it gave up just now.
    pub fn on_deadline(&mut self, now: Timestamp, rng: &mut dyn Rng) -> bool {
        if !self.is_pending() {
            return false;
        }
        if now >= self.gives_up_at {
            self.abandon();
            self.state = State::Failed;
            return true;
        }
        if now >= self.again_at {
            self.again_at = Timestamp::NEVER;
            self.queue(rng);
        }
        false
    }
}

impl Default for Validation {
    fn default() -> Self {
        Self::new()
    }
}
