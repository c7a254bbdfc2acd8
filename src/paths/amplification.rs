//! Anti-amplification budget of one path (RFC 9000 section 8.1 and 9.3.1): towards an address that is not
//! proved, send at most three times the bytes of all datagrams received from it.

/// RFC 9000 section 8.1.
const FACTOR: u64 = 3;

/// How much may be sent to an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    limited: bool,
    received: u64,
    sent: u64,
}

impl Budget {
    /// `validated`: no limit, as for a client towards its server or an address proved by a token.
    #[must_use]
    pub const fn new(validated: bool) -> Self {
        Self { limited: !validated, received: 0, sent: 0 }
    }

    /// A whole datagram that belongs to the connection, including padding and packets that did not open.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
    //# For the purposes of avoiding amplification prior to address validation, servers MUST count all of the payload
    //# bytes received in datagrams that are uniquely attributed to a single connection.
    pub fn on_received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// UDP payload sent.
    pub fn on_sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// The peer proved that it receives at this address.
    pub fn on_validated(&mut self) {
        self.limited = false;
    }

    /// False while the limit applies.
    #[must_use]
    pub const fn is_validated(&self) -> bool {
        !self.limited
    }

    /// Bytes that may be sent now; `u64::MAX` when there is no limit.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-8
    //# Therefore, after receiving packets from an address that is not yet validated, an endpoint MUST limit the amount
    //# of data it sends to the unvalidated address to three times the amount of data received from that address.
    #[must_use]
    pub const fn sendable(&self) -> u64 {
        if self.limited { self.received.saturating_mul(FACTOR).saturating_sub(self.sent) } else { u64::MAX }
    }
}
