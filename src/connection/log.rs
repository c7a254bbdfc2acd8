//! What a connection writes into its qlog, when it has one: one branch per packet when it has not.
use super::Connection;
use super::events::CloseReason;
use super::receive::OpenedPacket;
use crate::base::time::nanos;
use crate::base::{ConnectionId, FourTuple, Level, Timestamp};
use crate::qlog::{DropTrigger, Metrics, PacketInfo, Qlog};
use crate::wire::TransportParameters;

impl Connection {
    /// Begins the log when the configuration asks for one.
    pub(super) fn start_qlog(&mut self, now: Timestamp) {
        if !self.cfg.qlog {
            return;
        }
        // The log wants the moment `now` itself in wall clock time.
        let wall = self.cfg.wall_clock_ms_at_zero.map(|zero| zero.saturating_add(now.as_nanos() / 1_000_000));
        let mut log = Qlog::new(self.side, &self.odcid, now, wall);
        log.connection_started(now, &self.paths.active().tuple);
        self.qlog = Some(Box::new(log));
    }

    /// Everything recorded since the last call; `None` when there is no log or nothing new.
    pub fn take_qlog(&mut self) -> Option<Vec<u8>> {
        self.qlog.as_mut().filter(|q| q.has_records()).map(|q| q.take())
    }

    /// Begins a log in the middle of a connection. When there is one already, gives what such a log begins with.
    #[must_use]
    pub fn attach_qlog(&mut self, now: Timestamp, wall_clock_ms_at_zero: Option<u64>) -> Vec<u8> {
        let reference = self.qlog.as_ref().map_or(now, |log| log.reference());
        let wall = wall_clock_ms_at_zero.map(|zero| zero.saturating_add(reference.as_nanos() / 1_000_000));
        let mut log = Qlog::new(self.side, &self.odcid, reference, wall);
        if self.qlog.is_some() {
            return log.take();
        }
        self.qlog = Some(Box::new(log));
        Vec::new()
    }

    /// The connection records what happens.
    #[must_use]
    pub const fn has_qlog(&self) -> bool {
        self.qlog.is_some()
    }

    /// The client's first Destination Connection ID: the same name on both sides.
    #[must_use]
    pub const fn odcid(&self) -> ConnectionId {
        self.odcid
    }

    pub(super) fn log_received(&mut self, now: Timestamp, packet: &OpenedPacket, len: usize, payload: &[u8]) {
        if let Some(q) = self.qlog.as_mut() {
            q.packet_received(now, &PacketInfo { level: packet.level, number: packet.pn, len, payload });
        }
    }

    pub(super) fn log_sent(&mut self, now: Timestamp, level: Level, number: u64, len: usize, payload: &[u8]) {
        if let Some(q) = self.qlog.as_mut() {
            q.packet_sent(now, &PacketInfo { level, number, len, payload });
        }
    }

    pub(super) fn log_dropped(&mut self, now: Timestamp, len: usize, trigger: DropTrigger) {
        if let Some(q) = self.qlog.as_mut() {
            q.packet_dropped(now, len, trigger);
        }
    }

    pub(super) fn log_parameters(&mut self, now: Timestamp, ours: bool, p: &TransportParameters) {
        if let Some(q) = self.qlog.as_mut() {
            q.parameters_set(now, ours, p);
        }
    }

    pub(super) fn log_keys(&mut self, now: Timestamp, level: Level, phase: Option<u64>, by_peer: bool) {
        if let Some(q) = self.qlog.as_mut() {
            q.keys_updated(now, level, phase, by_peer);
        }
    }

    pub(super) fn log_migration(&mut self, now: Timestamp, state: &'static str, tuple: &FourTuple) {
        if let Some(q) = self.qlog.as_mut() {
            q.migration(now, state, tuple);
        }
    }

    /// Once per batch.
    pub(super) fn log_metrics(&mut self, now: Timestamp) {
        let Some(q) = self.qlog.as_mut() else { return };
        let r = &self.paths.active().recovery;
        let metrics = Metrics {
            min_rtt: nanos(r.rtt.min()),
            smoothed_rtt: nanos(r.rtt.smoothed()),
            latest_rtt: nanos(r.rtt.latest()),
            rtt_variance: nanos(r.rtt.var()),
            pto_count: self.recovery.pto_count(),
            congestion_window: r.cc.window(),
            bytes_in_flight: r.in_flight(),
            ssthresh: r.cc.ssthresh(),
        };
        q.metrics_updated(now, &metrics);
    }

    pub(super) fn log_closed(&mut self, now: Timestamp, reason: &CloseReason) {
        let Some(q) = self.qlog.as_mut() else { return };
        match reason {
            CloseReason::Local { code } => q.connection_closed(now, false, false, *code, "application", ""),
            CloseReason::Peer { code, app, reason, .. } => {
                let text = String::from_utf8_lossy(reason);
                let trigger = if *app { "application" } else { "error" };
                q.connection_closed(now, true, !app, *code, trigger, &text);
            }
            CloseReason::Transport(e) => q.connection_closed(now, false, true, e.code, "error", e.reason),
            CloseReason::IdleTimeout => q.connection_closed(now, false, true, 0, "idle_timeout", ""),
            CloseReason::HandshakeTimeout => q.connection_closed(now, false, true, 0, "handshake_timeout", ""),
            CloseReason::StatelessReset => q.connection_closed(now, true, true, 0, "stateless_reset", ""),
            CloseReason::VersionMismatch(_) => q.connection_closed(now, false, true, 0, "version_mismatch", ""),
            CloseReason::NoPath => q.connection_closed(now, false, true, 0, "aborted", "no path works"),
        }
    }
}
