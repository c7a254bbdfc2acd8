//! Scenarios with exact times; the world they play in is here, the scenarios are grouped by what they test.
mod ack_policy;
mod congestion_signals;
mod loss;
mod model;
mod timers;

use super::*;
use crate::base::{Ecn, StreamId};
use crate::wire::frame::write_ack;
use crate::wire::{EcnCounts, Frame, Frames, Writer};
use core::ops::RangeInclusive;

const SIZE: u16 = 1200;

fn ms(v: u64) -> Duration {
    Duration::from_millis(v)
}

fn at(v: u64) -> Timestamp {
    Timestamp(v * 1_000_000)
}

impl PathLookup for Vec<PathRecovery> {
    fn recovery(&mut self, path: u8) -> Option<&mut PathRecovery> {
        self.get_mut(usize::from(path))
    }
}

/// Remembers everybody's fate.
#[derive(Default)]
struct Log {
    acked: Vec<(u64, Vec<FrameToken>)>,
    lost: Vec<(u64, Vec<FrameToken>)>,
}

impl SentSink for Log {
    fn acked(&mut self, _: SpaceId, pn: u64, _: &SentPacket, tokens: &[FrameToken]) {
        self.acked.push((pn, tokens.to_vec()));
    }
    fn lost(&mut self, _: SpaceId, pn: u64, _: &SentPacket, tokens: &[FrameToken]) {
        self.lost.push((pn, tokens.to_vec()));
    }
}

impl Log {
    fn lost(&self) -> Vec<u64> {
        self.lost.iter().map(|l| l.0).collect()
    }
}

/// One sender.
struct World {
    recovery: Recovery,
    paths: Vec<PathRecovery>,
    log: Log,
    context: PtoContext,
}

impl World {
    fn with(side: Side, config: &RecoveryConfig) -> Self {
        let context = PtoContext {
            handshake_confirmed: true,
            peer_completed_validation: true,
            has_handshake_keys: true,
            amplification_blocked: false,
            max_ack_delay: ms(25),
            has_spare: false,
        };
        let mut world = Self {
            recovery: Recovery::new(side, 7),
            paths: vec![PathRecovery::new(config, at(0)), PathRecovery::new(config, at(0))],
            log: Log::default(),
            context,
        };
        world.rearm(0);
        world
    }

    fn new() -> Self {
        Self::with(Side::Server, &RecoveryConfig { ecn: false, ..RecoveryConfig::default() })
    }

    /// Handshake not confirmed, nothing validated.
    fn connecting(side: Side) -> Self {
        let mut world = Self::with(side, &RecoveryConfig { ecn: false, ..RecoveryConfig::default() });
        world.context.handshake_confirmed = false;
        world.context.peer_completed_validation = side.is_server();
        world.context.has_handshake_keys = false;
        world.rearm(0);
        world
    }

    fn send_packet(&mut self, space: SpaceId, packet: SentPacket, tokens: &[FrameToken]) -> u64 {
        let pn = self.recovery.next_packet_number(packet.path, space);
        self.recovery.on_sent(space, pn, packet, tokens, &mut self.paths);
        let now = packet.sent_at.0 / 1_000_000;
        self.rearm(now);
        pn
    }

    fn send_in(&mut self, space: SpaceId, now: u64) -> u64 {
        self.send_packet(space, eliciting(now), &[FrameToken::Other])
    }

    fn send(&mut self, now: u64) -> u64 {
        self.send_in(SpaceId::Data, now)
    }

    fn send_many(&mut self, count: usize, now: u64) -> Vec<u64> {
        (0..count).map(|_| self.send(now)).collect()
    }

    fn send_ack_only(&mut self, now: u64) -> u64 {
        let packet = SentPacket { ack_eliciting: false, in_flight: false, ..eliciting(now) };
        self.send_packet(SpaceId::Data, packet, &[FrameToken::Ack { largest: 0 }])
    }

    fn try_ack(
        &mut self,
        space: SpaceId,
        ranges: &[RangeInclusive<u64>],
        ecn: Option<EcnCounts>,
        delay: Duration,
        now: u64,
    ) -> Result<AckOutcome, TransportError> {
        let mut buf = vec![0; 4096];
        let mut w = Writer::new(&mut buf);
        let written = write_ack(&mut w, ranges.iter().cloned(), 0, ecn).expect("fits");
        assert_eq!(written, ranges.len());
        let len = w.position();
        let Some(Ok((_, Frame::Ack(ack)))) = Frames::new(&buf[..len]).next() else { panic!("an ACK frame") };
        let r = self.recovery.on_ack(space, &ack, delay, at(now), &mut self.paths, &mut self.log)?;
        self.rearm(now);
        Ok(r)
    }

    fn ack(&mut self, ranges: &[RangeInclusive<u64>], now: u64) -> AckOutcome {
        self.try_ack(SpaceId::Data, ranges, None, Duration::ZERO, now).expect("valid ACK")
    }

    fn rearm(&mut self, now: u64) {
        self.recovery.rearm(at(now), self.context, &mut self.paths);
    }

    fn deadline_us(&self) -> Option<u64> {
        self.recovery.deadline().map(|t| t.0 / 1000)
    }

    fn fire(&mut self) -> TimeoutAction {
        let deadline = self.recovery.deadline().expect("a timer");
        self.recovery.on_deadline(deadline, &mut self.paths, &mut self.log)
    }

    /// Gives path 0 an RTT of exactly 100 ms: smoothed 100, variation 50.
    fn sampled() -> Self {
        let mut world = Self::new();
        let pn = world.send(0);
        world.ack(&[pn..=pn], 100);
        world
    }
}

fn eliciting(now: u64) -> SentPacket {
    SentPacket { sent_at: at(now), size: SIZE, ack_eliciting: true, in_flight: true, ..SentPacket::default() }
}

fn stream(offset: u64, len: u32) -> FrameToken {
    FrameToken::Stream { id: StreamId(0), offset, len, fin: false }
}
