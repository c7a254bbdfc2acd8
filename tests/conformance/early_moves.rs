//! A peer of raw packets that is somewhere else, or pretends to be, before the handshake is confirmed (RFC 9000 sections
//! 8.1, 9.3.1, 9.3.2 and 21.1). What comes from an address and goes there is counted all along.
use std::collections::BTreeMap;
use std::net::SocketAddr;

use whimbrel::base::Level;
use whimbrel::wire::Frame;

use super::peer::{Got, Peer, frames};
use super::world::{EVIL, SECOND, Setup, V1, World, addr, client_with};

const ELSEWHERE: &str = "192.0.2.77:7777";

struct Wire {
    world: World,
    peer: Peer,
    traffic: BTreeMap<SocketAddr, [usize; 2]>,
}

impl Wire {
    fn new() -> Self {
        let (world, peer) = client_with(Setup { http3: false, ..Default::default() }, V1, |p| p);
        Self { world, peer, traffic: BTreeMap::new() }
    }

    fn send(&mut self, from: &str, datagram: &[u8]) {
        self.traffic.entry(addr(from)).or_default()[0] += datagram.len();
        self.world.deliver_from(addr(from), datagram);
        self.world.turn();
    }

    /// The peer reads what came to `places`; whatever goes to an unproved address has its limit.
    fn read(&mut self, places: &[&str]) {
        self.world.turn();
        for (to, datagram) in std::mem::take(&mut self.world.out) {
            let [came, went] = self.traffic.entry(to).or_default();
            *went += datagram.len();
            assert!(to == addr(EVIL) || *went <= *came * 3, "{went} bytes to {to} for {came}");
            if places.iter().any(|p| addr(p) == to) {
                self.peer.receive(&datagram);
            }
        }
    }

    fn pass(&mut self, seconds: u32, places: &[&str]) {
        for _ in 0..seconds * 20 {
            self.world.now = self.world.now + SECOND / 20;
            self.read(places);
        }
    }

    fn confirmed(&self) -> bool {
        self.peer.saw(|g| *g == Got::HandshakeDone)
    }
}

/// Somebody copies every datagram of the client to another source address, and the copies come first: the answers still
/// reach the client, and the other address gets no more than three times what it seemed to send.
//= https://www.rfc-editor.org/rfc/rfc9000#section-8
//= type=test
//# Therefore, after receiving packets from an address that is not yet validated, an endpoint MUST limit the amount of
//# data it sends to the unvalidated address to three times the amount of data received from that address.
#[test]
fn copied_datagrams_section_9_3_2() {
    for copies_first in [true, false] {
        let mut wire = Wire::new();
        let order = if copies_first { [ELSEWHERE, EVIL] } else { [EVIL, ELSEWHERE] };
        for datagram in wire.peer.flush() {
            wire.send(EVIL, &datagram);
        }
        wire.read(&[EVIL]);
        for _ in 0..40 {
            for datagram in wire.peer.flush() {
                for from in order {
                    wire.send(from, &datagram);
                    wire.read(&[EVIL]);
                }
            }
            wire.world.now = wire.world.now + SECOND / 50;
            wire.read(&[EVIL]);
        }
        assert!(wire.peer.done, "the handshake is through: {:?}", wire.peer.log);
        // The server cannot read the original of the last Handshake packet any more, but that of any other packet.
        let ping = wire.peer.packet(Level::OneRtt, &[1, 0, 0, 0, 0]);
        for from in order {
            wire.send(from, &ping);
        }
        wire.pass(2, &[EVIL]);
        assert!(wire.confirmed(), "{:?}", wire.peer.log);
        assert_eq!(wire.world.connection().path().remote, addr(EVIL));
        wire.peer.expect_open("copied datagrams");
    }
}

/// A client that can be heard anywhere and read at one place claims to have moved to its victim's address: neither its
/// keys nor its acknowledgments make the server believe it.
//= https://www.rfc-editor.org/rfc/rfc9000#section-9
//= type=test
//# An endpoint MUST perform path validation (Section 8.2) if it detects any change to a peer's address, unless it has
//# previously validated that address.
#[test]
fn a_claimed_address_section_9_3_1() {
    // The move comes with an Initial packet, with the first Handshake packet, or with the last one.
    for moves_at in 1..4 {
        let mut wire = Wire::new();
        let mut sent = 0;
        for _ in 0..20 {
            for datagram in wire.peer.flush() {
                let from = if sent >= moves_at { ELSEWHERE } else { EVIL };
                wire.send(from, &datagram);
                sent += 1;
            }
            // It reads, or guesses, what was sent to its victim, and acknowledges all of it; but no challenge.
            wire.peer.mute = false;
            wire.read(&[EVIL, ELSEWHERE]);
        }
        assert!(wire.peer.done);
        let asks = [frames(&[Frame::PathChallenge(*b"any data")]), vec![1, 0, 0, 0]].concat();
        for _ in 0..20 {
            let ask = wire.peer.packet(Level::OneRtt, &asks);
            wire.send(ELSEWHERE, &ask);
            wire.pass(1, &[EVIL, ELSEWHERE]);
            for datagram in wire.peer.flush() {
                wire.send(ELSEWHERE, &datagram);
            }
        }
        assert!(wire.peer.saw(|g| matches!(g, Got::PathChallenge(_))), "it was asked");
        let validated =
            wire.world.connection().paths().iter().any(|p| p.validated && p.tuple.remote == addr(ELSEWHERE));
        assert!(!validated, "moved at datagram {moves_at}");
    }
}
