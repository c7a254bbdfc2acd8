//! The timers of one connection: a small table and its minimum.
use core::time::Duration;

use super::Connection;
use super::events::CloseReason;
use super::life::Phase;
use super::transmit::PROBES_IN_VAIN;
use crate::base::time::nanos;
use crate::base::{SpaceId, Timestamp};
use crate::crypto::Answer;
use crate::recovery::{PtoContext, Received, TimeoutAction};

/// Keep-alives between two probes that nobody answers.
const KEEP_ALIVES_PER_PROBE: u32 = 20;
/// Doublings of the probe timeout that slow them down.
const MAX_KEEP_ALIVE_BACKOFF: u32 = 20;

/// What can fire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Timer {
    /// RFC 9000 section 10.1.
    Idle,
    KeepAlive,
    /// Our own patience with a handshake.
    Handshake,
    /// End of closing or draining (RFC 9000 section 10.2).
    Close,
    /// Loss detection or PTO (RFC 9002 section 6).
    Loss,
    /// A delayed acknowledgement (RFC 9000 section 13.2.1).
    Ack,
    /// Path validation, MTU search.
    Path,
    /// Old keys go (RFC 9001 sections 4.9.3 and 6.5).
    Keys,
    /// The pacer lets the next batch go.
    Pacing,
    /// The application has not said whether early data are new.
    EarlyData,
    /// The idle timeout comes near and the peer owes an answer (RFC 9000 section 10.1.2).
    Liveness,
}

const COUNT: usize = 11;

/// When each timer fires; `NEVER` when it is not set.
#[derive(Debug)]
pub(super) struct Timers([Timestamp; COUNT]);

impl Timers {
    pub(super) const fn new() -> Self {
        Self([Timestamp::NEVER; COUNT])
    }

    pub(super) fn set(&mut self, timer: Timer, at: Option<Timestamp>) {
        if let Some(slot) = self.0.get_mut(timer as usize) {
            *slot = at.unwrap_or(Timestamp::NEVER);
        }
    }

    pub(super) fn get(&self, timer: Timer) -> Timestamp {
        self.0.get(timer as usize).copied().unwrap_or(Timestamp::NEVER)
    }

    pub(super) fn clear_all(&mut self) {
        *self = Self::new();
    }

    /// The earliest, when any is set.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.iter().copied().min().filter(|t| *t != Timestamp::NEVER)
    }

    /// Takes `timer` off the table when it is due.
    pub(super) fn fired(&mut self, timer: Timer, now: Timestamp) -> bool {
        let due = self.get(timer) <= now;
        if due {
            self.set(timer, None);
        }
        due
    }
}

impl Connection {
    /// The end of a batch, received or sent: everything that is decided once and not per packet.
    pub(super) fn settle(&mut self, now: Timestamp) {
        if !self.dirty || !self.life.is_open() {
            return;
        }
        self.dirty = false;
        let mut ack = settle_acks(&mut self.data.received, now);
        if let Some(hs) = self.hs.as_mut() {
            ack = ack.min(settle_acks(&mut hs.initial.received, now)).min(settle_acks(&mut hs.handshake.received, now));
        }
        self.timers.set(Timer::Ack, Some(ack));
        self.settle_idle(now);
        self.paths.retire_freed(&mut self.peer_cids);
        let active = self.paths.active();
        let (rtt, validated) = (active.recovery.rtt.smoothed(), active.is_validated());
        self.streams.on_rtt(rtt, now);
        self.streams.on_window(self.paths.active().recovery.round_trip_bytes());
        let context = PtoContext {
            handshake_confirmed: self.life.is_confirmed(),
            peer_completed_validation: self.side.is_server() || self.life.is_confirmed(),
            has_handshake_keys: self.has_keys(SpaceId::Handshake),
            // A challenge that only the window holds fits into what may be sent: the probe timer is to let it go.
            amplification_blocked: self.amplification_blocked && !validated && !self.paths.is_held_by_window(),
            max_ack_delay: self.peer_max_ack_delay(),
            has_spare: self.data.keys.as_ref().is_some_and(|k| k.is_awake()),
        };
        self.settle_ack_frequency(now);
        self.recovery.rearm(now, context, &mut self.paths);
        self.timers.set(Timer::Loss, self.recovery.deadline());
        self.timers.set(Timer::Path, self.paths.deadline());
        self.log_metrics(now);
    }

    pub(super) fn on_timers(&mut self, now: Timestamp) {
        if self.timers.fired(Timer::Close, now) {
            self.drained();
            return;
        }
        if !self.life.is_open() {
            return;
        }
        if self.timers.fired(Timer::Idle, now) {
            if self.ends_early() {
                self.end_idle(now);
                return;
            }
            // RFC 9000 section 10.1: silently.
            self.end(CloseReason::IdleTimeout, Phase::Drained, now);
            return;
        }
        if self.timers.fired(Timer::Handshake, now) {
            self.end(CloseReason::HandshakeTimeout, Phase::Drained, now);
            return;
        }
        if self.timers.fired(Timer::EarlyData, now) {
            self.decide(Answer::EarlyData(false), now);
        }
        if self.timers.fired(Timer::Liveness, now) {
            self.test_liveness(now);
        }
        if self.timers.fired(Timer::KeepAlive, now) {
            // Again and again while nothing is heard: a PING that is only repeated by PTO is repeated ever more seldom
            // (RFC 9002 section 6.2.1), and a peer that waits at an old address of ours hears nothing in between.
            self.control.ping = true;
            self.recovery.on_keep_alive();
            self.timers.set(Timer::KeepAlive, Some(now + self.keep_alive_interval()));
        }
        if self.timers.fired(Timer::Keys, now) {
            if let Some(hs) = self.hs.as_mut() {
                hs.zero_rtt = None;
                hs.buffered.clear();
            }
            self.shrink_after_handshake();
        }
        if self.timers.fired(Timer::Path, now) {
            let last_hope = self.last_hope();
            for event in self.paths.on_deadline(now, self.rng.as_mut(), last_hope) {
                self.on_path_event(event, now);
            }
        }
        if self.timers.fired(Timer::Loss, now) {
            self.on_loss_timer(now);
        }
        // An acknowledgement that is due and a batch that the pacer releases need nothing but a `transmit`.
        self.timers.fired(Timer::Pacing, now);
        self.timers.fired(Timer::Ack, now);
        self.dirty = true;
        self.settle(now);
    }

    fn on_loss_timer(&mut self, now: Timestamp) {
        let action = self.with_sink(now, |recovery, paths, sink| recovery.on_deadline(now, paths, sink));
        let TimeoutAction::Probe { space, packets } = action else {
            if action == TimeoutAction::Nothing {
                self.trim();
            }
            return;
        };
        self.stats.pto_count = self.stats.pto_count.saturating_add(1);
        self.show_address();
        if self.side.is_client() && self.is_confirmed() && self.recovery.pto_count() >= PROBES_IN_VAIN {
            self.offer_connection_id();
        }
        if space == SpaceId::Data && self.in_vain() {
            self.give_up_old_packets(now);
        }
        self.control.expired = true;
        self.probe(space, packets, now);
        // RFC 9002 section 6.2.4: other spaces with something in flight ride along while both matter.
        for other in [SpaceId::Initial, SpaceId::Handshake, SpaceId::Data] {
            if other != space && self.owes_probe(other) {
                self.probe(other, 1, now);
            }
        }
    }

    /// What is repeated may be NEW_CONNECTION_ID alone, which is a probing frame: a server that hears a client from a new
    /// address would not follow it there (RFC 9000 section 9.1). A PING makes it follow.
    pub(super) fn show_address(&mut self) {
        self.control.ping |= self.side.is_client() && self.data.keys.is_some();
    }

    /// A packet of `space` may help.
    pub(super) fn owes_probe(&mut self, space: SpaceId) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-8.1
        //# Specifically, the client MUST send an Initial packet in a UDP datagram that contains at least 1200 bytes
        //# if it does not have Handshake keys, and otherwise send a Handshake packet.
        let proves_address = space == SpaceId::Handshake && self.side.is_client();
        // Data too: its own timer waits for the confirmation (section 6.2.1), which may wait for our data. A client whose
        // address changed when only the server had confirmed would send Handshake packets that nobody can read any more;
        // a PING at least shows the server the new address.
        let waits = space == SpaceId::Data && (self.side.is_client() || self.wants_data());
        // What was lost may wait for a window that is full of packets which nobody can read without it.
        let crypto_waits = self.crypto_stream(space).is_some_and(|c| c.send.wants_to_send());
        let owed = proves_address || waits || crypto_waits || self.recovery.has_eliciting_in_flight(space);
        owed && self.has_keys(space)
    }

    /// Nobody has answered several probes in a row, neither handshake packets nor an unknown round trip is the reason.
    pub(super) fn in_vain(&self) -> bool {
        let known = || self.paths.active().recovery.rtt.first_sample().is_some();
        self.recovery.pto_count() >= PROBES_IN_VAIN && self.is_confirmed() && known()
    }

    /// What was sent before the last but one expiration will not be acknowledged any more: the probes between are at least
    /// as old as a round trip before their turn comes, however far away the peer is.
    fn give_up_old_packets(&mut self, now: Timestamp) {
        let expired =
            self.pto().saturating_mul(1 << self.recovery.pto_count().saturating_sub(1).min(MAX_KEEP_ALIVE_BACKOFF));
        // A path that is new may be as long as one that was measured.
        let age = expired.max(self.paths.validation_pto());
        let before = Timestamp(now.0.saturating_sub(nanos(age.saturating_add(age / 4))));
        self.give_up(before, now);
    }

    /// Probes were in vain, and now a challenge or an answer waits for a window that is full of what was sent since: the
    /// next probe may be further away than the other end waits for its answer. What is older than an undoubled probe
    /// timeout is given up then.
    pub(super) fn make_room_for_path_frames(&mut self, now: Timestamp) {
        if self.recovery.pto_count() < PROBES_IN_VAIN || !self.is_confirmed() || !self.paths.holds_path_frames() {
            return;
        }
        let age = self.pto().max(self.paths.validation_pto());
        self.give_up(Timestamp(now.0.saturating_sub(nanos(age.saturating_add(age / 4)))), now);
    }

    pub(super) fn give_up(&mut self, before: Timestamp, now: Timestamp) {
        self.with_sink(now, |recovery, paths, sink| recovery.give_up(before, now, paths, sink));
    }

    /// Keep-alives in vain become rarer with the probes, but stay many times as frequent: what they add in flight between
    /// two probes must fit into the least window beside those.
    fn keep_alive_interval(&self) -> Duration {
        let backoff = 1u32 << self.recovery.pto_count().min(MAX_KEEP_ALIVE_BACKOFF);
        self.cfg.keep_alive.max(self.pto().saturating_mul(backoff) / KEEP_ALIVES_PER_PROBE)
    }

    /// The connection went quiet: spare memory goes back (the budget of an idle connection).
    fn trim(&mut self) {
        self.events.shrink_to_fit();
        self.endpoint_events.shrink_to_fit();
        self.tokens = Vec::new();
        self.told_paths.shrink_to_fit();
        self.streams.trim();
        if let Some(keys) = self.data.keys.as_mut() {
            keys.sleep();
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9002#section-6.2.4
    //# When a PTO timer expires, a sender MUST send at least one ack- eliciting packet in the packet number space as a
    //# probe.
    pub(super) fn probe(&mut self, space: SpaceId, packets: u8, now: Timestamp) {
        if !self.has_keys(space) && space != SpaceId::Data {
            return;
        }
        if let Some(probes) = self.control.probes.get_mut(space.index()) {
            *probes = packets;
        }
        // RFC 9002 section 6.2.4: new data when there are any, because what is outstanding may have arrived and only its
        // acknowledgement not; the oldest again as well, because the receiver may wait for nothing else.
        let fresh = space == SpaceId::Data && self.is_confirmed() && self.streams.wants_data();
        let repeated = usize::from(if fresh { packets.div_ceil(2) } else { packets });
        self.with_sink(now, |recovery, _, sink| {
            sink.probing = true;
            recovery.for_probe(space, repeated, sink)
        });
    }
}

/// Decides about acknowledging after a batch; when to look again.
fn settle_acks(received: &mut Received, now: Timestamp) -> Timestamp {
    received.on_batch_end(now);
    received.deadline().unwrap_or(Timestamp::NEVER)
}
