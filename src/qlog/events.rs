//! The events that a connection records (draft-ietf-quic-qlog-quic-events sections 4 to 7).
use super::frames;
use super::json::Object;
use super::{DropTrigger, Metrics, PacketInfo, Qlog};
use crate::base::{FourTuple, Level, Timestamp};
use crate::wire::transport_parameters::TransportParameters;
use core::time::Duration;

/// `PacketType` of section 8.6.
const fn packet_type(level: Level) -> &'static str {
    match level {
        Level::Initial => "initial",
        Level::ZeroRtt => "0RTT",
        Level::Handshake => "handshake",
        Level::OneRtt => "1RTT",
    }
}

fn tuple(o: &mut Object<'_>, tuple: &FourTuple) {
    let end = |o: &mut Object<'_>, addr: std::net::SocketAddr| {
        let (ip, port) = if addr.is_ipv4() { ("ip_v4", "port_v4") } else { ("ip_v6", "port_v6") };
        o.display(ip, addr.ip());
        o.number(port, u64::from(addr.port()));
    };
    o.object("tuple_local", |l| {
        if let Some(local) = tuple.local {
            end(l, local);
        }
    });
    o.object("tuple_remote", |r| end(r, tuple.remote));
}

fn packet(o: &mut Object<'_>, p: &PacketInfo<'_>) {
    o.object("header", |h| {
        h.text("packet_type", packet_type(p.level));
        h.number("packet_number", p.number);
    });
    o.object("raw", |r| r.number("length", p.len as u64));
    o.objects("frames", |a| frames::write_all(a, p.payload));
}

impl Qlog {
    /// A packet was built; `payload` before encryption.
    pub fn packet_sent(&mut self, now: Timestamp, p: &PacketInfo<'_>) {
        self.event(now, "quic:packet_sent", |d| packet(d, p));
    }

    /// A packet was decrypted.
    pub fn packet_received(&mut self, now: Timestamp, p: &PacketInfo<'_>) {
        self.event(now, "quic:packet_received", |d| packet(d, p));
    }

    /// A packet of `len` bytes was not processed.
    pub fn packet_dropped(&mut self, now: Timestamp, len: usize, trigger: DropTrigger) {
        let trigger = match trigger {
            DropTrigger::Rejected => "rejected",
            DropTrigger::Unsupported => "unsupported",
            DropTrigger::Invalid => "invalid",
            DropTrigger::Duplicate => "duplicate",
            DropTrigger::ConnectionUnknown => "connection_unknown",
            DropTrigger::DecryptionFailure => "decryption_failure",
            DropTrigger::KeyUnavailable => "key_unavailable",
        };
        self.event(now, "quic:packet_dropped", |d| {
            d.object("raw", |r| r.number("length", len as u64));
            d.text("trigger", trigger);
        });
    }

    /// A packet was declared lost (RFC 9002 section 6.1).
    pub fn packet_lost(&mut self, now: Timestamp, level: Level, number: u64) {
        self.event(now, "quic:packet_lost", |d| {
            d.object("header", |h| {
                h.text("packet_type", packet_type(level));
                h.number("packet_number", number);
            });
        });
    }

    /// Transport parameters of one side are known.
    pub fn parameters_set(&mut self, now: Timestamp, ours: bool, p: &TransportParameters) {
        self.event(now, "quic:parameters_set", |d| {
            d.text("initiator", if ours { "local" } else { "remote" });
            for (key, cid) in [
                ("original_destination_connection_id", p.original_destination_connection_id),
                ("initial_source_connection_id", p.initial_source_connection_id),
                ("retry_source_connection_id", p.retry_source_connection_id),
            ] {
                if let Some(cid) = cid {
                    d.display(key, cid);
                }
            }
            d.flag("disable_active_migration", p.disable_active_migration);
            for (key, value) in [
                ("max_idle_timeout", p.max_idle_timeout_ms),
                ("max_udp_payload_size", p.max_udp_payload_size),
                ("ack_delay_exponent", u64::from(p.ack_delay_exponent)),
                ("max_ack_delay", p.max_ack_delay_ms),
                ("active_connection_id_limit", p.active_connection_id_limit),
                ("initial_max_data", p.initial_max_data),
                ("initial_max_stream_data_bidi_local", p.initial_max_stream_data_bidi_local),
                ("initial_max_stream_data_bidi_remote", p.initial_max_stream_data_bidi_remote),
                ("initial_max_stream_data_uni", p.initial_max_stream_data_uni),
                ("initial_max_streams_bidi", p.initial_max_streams_bidi),
                ("initial_max_streams_uni", p.initial_max_streams_uni),
                ("max_datagram_frame_size", p.max_datagram_frame_size),
            ] {
                d.number(key, value);
            }
            d.flag("grease_quic_bit", p.grease_quic_bit);
        });
    }

    /// Recovery figures; written only when they differ from the last ones.
    pub fn metrics_updated(&mut self, now: Timestamp, m: &Metrics) {
        if *m == self.last_metrics {
            return;
        }
        self.last_metrics = *m;
        self.event(now, "quic:recovery_metrics_updated", |d| {
            for (key, nanos) in [
                ("min_rtt", m.min_rtt),
                ("smoothed_rtt", m.smoothed_rtt),
                ("latest_rtt", m.latest_rtt),
                ("rtt_variance", m.rtt_variance),
            ] {
                if nanos > 0 {
                    d.millis(key, Duration::from_nanos(nanos));
                }
            }
            d.number("pto_count", u64::from(m.pto_count));
            d.number("congestion_window", m.congestion_window);
            d.number("bytes_in_flight", m.bytes_in_flight);
            if m.ssthresh != u64::MAX {
                d.number("ssthresh", m.ssthresh);
            }
        });
    }

    /// Keys of a level came into use; `phase` counts 1-RTT key updates, `by_peer` tells who began one.
    pub fn keys_updated(&mut self, now: Timestamp, level: Level, phase: Option<u64>, by_peer: bool) {
        let (client, server) = match level {
            Level::Initial => ("client_initial_secret", "server_initial_secret"),
            Level::ZeroRtt => ("client_0rtt_secret", "client_0rtt_secret"),
            Level::Handshake => ("client_handshake_secret", "server_handshake_secret"),
            Level::OneRtt => ("client_1rtt_secret", "server_1rtt_secret"),
        };
        let trigger = match (phase, by_peer) {
            (None | Some(0), _) => "tls",
            (Some(_), true) => "remote_update",
            (Some(_), false) => "local_update",
        };
        let both = [client, server];
        for key_type in both.iter().take(if client == server { 1 } else { 2 }) {
            self.event(now, "quic:key_updated", |d| {
                d.text("key_type", key_type);
                if let Some(phase) = phase {
                    d.number("key_phase", phase);
                }
                d.text("trigger", trigger);
            });
        }
    }

    /// The connection begins on this path.
    pub fn connection_started(&mut self, now: Timestamp, path: &FourTuple) {
        self.event(now, "quic:connection_started", |d| tuple(d, path));
    }

    /// A step of a migration: one of the `MigrationState` names of section 5.20.
    pub fn migration(&mut self, now: Timestamp, state: &'static str, path: &FourTuple) {
        self.event(now, "quic:migration_state_updated", |d| {
            d.text("new", state);
            tuple(d, path);
        });
    }

    /// The connection ended. `transport` tells transport codes from application codes.
    pub fn connection_closed(
        &mut self,
        now: Timestamp,
        by_peer: bool,
        transport: bool,
        code: u64,
        trigger: &'static str,
        reason: &str,
    ) {
        self.event(now, "quic:connection_closed", |d| {
            d.text("initiator", if by_peer { "remote" } else { "local" });
            if transport {
                d.text("connection_error", &frames::transport_error(code));
            } else {
                d.text("application_error", "unknown");
            }
            d.number("error_code", code);
            d.text("reason", reason);
            d.text("trigger", trigger);
        });
    }
}
