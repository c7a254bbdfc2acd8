//! The latency spin bit of the active path (RFC 9000 section 17.4).
//!
//! Invariant: whether the bit spins is drawn anew for every connection ID that we send to; when it does not, it has one
//! random value per connection ID, which tells an observer nothing.
use crate::base::Side;

/// RFC 9000 section 17.4: of this many connection IDs one does not spin, though spinning is on.
const NOT_SPINNING: u64 = 16;

/// State of the bit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spin {
    /// What our next packet shows.
    value: bool,
    /// It follows the peer's.
    on: bool,
    /// One above the highest packet number that came on this path.
    seen: u64,
    /// Path and connection ID that this holds for, as a number; 0: none yet.
    place: u64,
}

impl Spin {
    /// Sending goes to this path and connection ID (its sequence number) from now on: draws anew when either changed.
    pub(super) fn at(&mut self, path: u8, sequence: u64, allowed: bool, random: impl FnOnce() -> u64) {
        let place = (sequence << 8 | u64::from(path)).wrapping_add(1);
        if place == self.place {
            return;
        }
        let random = random();
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
        //# Even when the spin bit is not disabled by the administrator,
        //# endpoints MUST disable their use of the spin bit for a random
        //# selection of at least one in every 16 network paths, or for one in
        //# every 16 connection IDs, in order to ensure that QUIC connections
        //# that disable the spin bit are commonly observed on the network.
        let on = allowed && !(random >> 1).is_multiple_of(NOT_SPINNING);
        // "An endpoint resets the spin value for a network path to 0 when changing the connection ID being used".
        *self = Self { value: !on && random & 1 == 1, on, seen: 0, place };
    }

    /// An authentic 1-RTT packet came: a server shows what the client showed last, a client the opposite.
    pub(super) fn on_received(&mut self, side: Side, pn: u64, bit: bool) {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
        //# An endpoint that does not support this feature MUST disable it, as defined below.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
        //# When the spin bit is disabled, endpoints MAY set the spin bit to any value and MUST ignore any incoming
        //# value.
        if self.on && pn >= self.seen {
            self.seen = pn.saturating_add(1);
            self.value = if side.is_client() { !bit } else { bit };
        }
    }

    pub(super) const fn bit(&self) -> bool {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::Spin;
    use crate::base::{Pcg, Rng, Side};

    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
    //= type=test
    //# Even when the spin bit is not disabled by the administrator,
    //# endpoints MUST disable their use of the spin bit for a random
    //# selection of at least one in every 16 network paths, or for one in
    //# every 16 connection IDs, in order to ensure that QUIC connections
    //# that disable the spin bit are commonly observed on the network.
    #[test]
    fn one_connection_id_in_sixteen_does_not_spin() {
        let mut rng = Pcg::new(5);
        for allowed in [true, false] {
            let mut spin = Spin::default();
            let (mut still, mut ones) = (0, 0);
            for sequence in 0..16_000 {
                spin.at(0, sequence, allowed, || rng.next_u64());
                let before = spin.bit();
                spin.on_received(Side::Client, 7, before);
                still += u32::from(spin.bit() == before);
                ones += u32::from(before);
            }
            if allowed {
                assert!((800..1300).contains(&still), "{still}");
            } else {
                assert_eq!(still, 16_000);
                assert!((7000..9000).contains(&ones), "random, not constant: {ones}");
            }
        }
    }

    #[test]
    fn one_edge_per_round_trip() {
        let (mut client, mut server) = (Spin::default(), Spin::default());
        client.at(0, 0, true, || 2);
        server.at(0, 0, true, || 2);
        let mut shown = Vec::new();
        for round in 0..6 {
            server.on_received(Side::Server, round, client.bit());
            client.on_received(Side::Client, round, server.bit());
            // A late packet changes nothing.
            client.on_received(Side::Client, round.saturating_sub(1), client.bit());
            shown.push(client.bit());
        }
        assert_eq!(shown[1..], [false, true, false, true, false]);
        client.at(0, 0, true, || panic!("nothing changed"));
        client.at(1, 0, true, || 2);
        assert!(!client.bit());
    }
}
