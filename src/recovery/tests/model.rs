//! Random networks against RFC 9002's pseudocode over a BTreeMap (appendix A and B), packet by packet.
use super::*;
use crate::base::{Pcg, Rng};
use std::collections::{BTreeMap, BTreeSet};

/// The pseudocode, one path, one space. Thresholds are read from the code under test, because they adapt.
#[derive(Default)]
struct Naive {
    sent: BTreeMap<u64, SentPacket>,
    skipped: BTreeSet<u64>,
    largest: Option<u64>,
    in_flight: u64,
    loss_time: Option<Timestamp>,
}

impl Naive {
    fn ack(&mut self, ranges: &[RangeInclusive<u64>]) -> BTreeSet<u64> {
        let acked: BTreeSet<u64> =
            self.sent.keys().copied().filter(|pn| ranges.iter().any(|r| r.contains(pn))).collect();
        for pn in &acked {
            let packet = self.sent.remove(pn).expect("listed");
            self.in_flight -= u64::from(packet.size);
        }
        self.largest = self.largest.max(ranges.first().map(|r| *r.end()));
        acked
    }

    fn lose(&mut self, now: Timestamp, delay: Duration, threshold: u64) -> BTreeSet<u64> {
        self.loss_time = None;
        let largest = self.largest.expect("after an ACK");
        let mut lost = BTreeSet::new();
        for (pn, packet) in self.sent.range(..=largest) {
            let gap = self.skipped.range(pn..=&largest).count() as u64;
            if packet.sent_at + delay <= now || largest - pn - gap >= threshold {
                lost.insert(*pn);
            } else {
                let at = packet.sent_at + delay;
                self.loss_time = Some(self.loss_time.map_or(at, |t| t.min(at)));
            }
        }
        for pn in &lost {
            let packet = self.sent.remove(pn).expect("listed");
            self.in_flight -= u64::from(packet.size);
        }
        lost
    }
}

/// Everything that a peer received, as descending ranges, newest first and at most sixty.
fn ranges_of(received: &BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
    let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
    for pn in received.iter().rev() {
        let full = ranges.len() == 60;
        match ranges.last_mut() {
            Some(r) if *r.start() == pn + 1 => *r = *pn..=*r.end(),
            _ if full => break,
            _ => ranges.push(*pn..=*pn),
        }
    }
    ranges
}

fn play(seed: u64) {
    let mut rng = Pcg::new(seed);
    let mut w = World::new();
    w.recovery = Recovery::new(Side::Server, seed);
    let mut naive = Naive::default();
    let mut received = BTreeSet::new();
    let (mut acked, mut lost, mut sent) = (0usize, 0usize, 0usize);
    let loss = rng.below(30);
    let mut expected = 0;
    for step in 0..600u64 {
        let now = step * 3;
        for _ in 0..rng.below(6) {
            let pn = w.send_packet(SpaceId::Data, eliciting(now), &[FrameToken::Datagram { tag: sent as u64 }]);
            for skipped in expected..pn {
                naive.skipped.insert(skipped);
            }
            expected = pn + 1;
            naive.sent.insert(pn, eliciting(now));
            naive.in_flight += u64::from(SIZE);
            sent += 1;
            if rng.below(100) >= loss {
                received.insert(pn);
            }
        }
        // The peer reports what came more than some milliseconds ago, now and then.
        if rng.below(3) == 0 {
            let horizon = expected.saturating_sub(rng.below(30));
            let known: BTreeSet<u64> = received.range(..horizon).copied().collect();
            let ranges = ranges_of(&known);
            if ranges.is_empty() {
                continue;
            }
            w.log = Log::default();
            let outcome = w.ack(&ranges, now);
            let got: BTreeSet<u64> = w.log.acked.iter().map(|a| a.0).collect();
            let want = naive.ack(&ranges);
            assert_eq!(got, want, "seed {seed}, step {step}: acknowledged");
            acked += got.len();
            if outcome.newly_acked {
                let want = naive.lose(at(now), w.paths[0].loss_delay(), w.paths[0].packet_threshold());
                assert_eq!(w.log.lost().into_iter().collect::<BTreeSet<_>>(), want, "seed {seed}, step {step}: lost");
                lost += want.len();
            }
        } else if let Some(at_time) = naive.loss_time.filter(|t| *t <= at(now)) {
            assert!(w.recovery.deadline().is_some_and(|d| d == at_time), "seed {seed}, step {step}: timer");
            w.log = Log::default();
            assert_eq!(w.recovery.on_deadline(at(now), &mut w.paths, &mut w.log), TimeoutAction::Lost);
            let want = naive.lose(at(now), w.paths[0].loss_delay(), w.paths[0].packet_threshold());
            assert_eq!(w.log.lost().into_iter().collect::<BTreeSet<_>>(), want, "seed {seed}, step {step}: by time");
            lost += want.len();
            w.rearm(now);
        }
        assert_eq!(w.paths[0].in_flight(), naive.in_flight, "seed {seed}, step {step}");
        let space = &w.recovery.data;
        assert_eq!(space.sent.len(), naive.sent.len(), "seed {seed}, step {step}");
        assert_eq!(space.eliciting as usize, naive.sent.len(), "seed {seed}, step {step}");
        assert_eq!(space.loss_time, naive.loss_time, "seed {seed}, step {step}");
        assert!(w.paths[0].cc.window() >= 2400);
    }
    assert_eq!(acked + lost + naive.sent.len(), sent, "seed {seed}: every packet has one fate");
    assert!(acked > 100, "seed {seed}: the scenario acknowledged {acked}");
}

#[test]
fn agrees_with_the_pseudocode() {
    for seed in 0..200 {
        play(seed);
    }
}
