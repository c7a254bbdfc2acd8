//! Transport parameters: ours built from the configuration, the peer's checked and applied
//! (RFC 9000 sections 7.3, 7.4 and 18.2; RFC 9221 section 3; RFC 9368 section 4).
use core::time::Duration;

use super::Connection;
use super::config::ConnectionConfig;
use super::events::EarlyData;
use crate::base::{ConnectionId, ResetToken, Rng, Side, Timestamp, TransportError, codes::transport};
use crate::wire::{PreferredAddress, TransportParameters};

/// The few values of the peer that are asked for again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// The peer's parameters came (remembered ones do not count).
    pub(super) known: bool,
    pub(super) idle_timeout: Duration,
    pub(super) max_udp_payload: u16,
    pub(super) ack_delay_exponent: u8,
    pub(super) max_ack_delay: Duration,
    /// The peer takes ACK_FREQUENCY and IMMEDIATE_ACK, and cannot delay an acknowledgement by less than this.
    pub(super) min_ack_delay: Option<Duration>,
    pub(super) disable_migration: bool,
    pub(super) active_cid_limit: u64,
    pub(super) max_datagram_frame: u64,
    pub(super) grease_quic_bit: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Self::from(&TransportParameters::default())
    }
}

impl From<&TransportParameters> for Peer {
    fn from(p: &TransportParameters) -> Self {
        Self {
            known: false,
            idle_timeout: Duration::from_millis(p.max_idle_timeout_ms),
            max_udp_payload: u16::try_from(p.max_udp_payload_size).unwrap_or(u16::MAX),
            ack_delay_exponent: p.ack_delay_exponent,
            max_ack_delay: Duration::from_millis(p.max_ack_delay_ms),
            min_ack_delay: p.min_ack_delay_us.map(Duration::from_micros),
            disable_migration: p.disable_active_migration,
            active_cid_limit: p.active_connection_id_limit,
            max_datagram_frame: p.max_datagram_frame_size,
            grease_quic_bit: p.grease_quic_bit,
        }
    }
}

/// Connection IDs that go into our parameters (RFC 9000 section 7.3).
pub(super) struct OwnIds {
    pub(super) scid: ConnectionId,
    /// Server only, like the two below.
    pub(super) odcid: Option<ConnectionId>,
    pub(super) retry_scid: Option<ConnectionId>,
    pub(super) reset_token: Option<ResetToken>,
    pub(super) preferred: Option<(ConnectionId, ResetToken)>,
}

/// Our parameters, encoded.
pub(super) fn own(cfg: &ConnectionConfig, side: Side, version: u32, ids: &OwnIds, rng: &mut dyn Rng) -> Vec<u8> {
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let mut p = TransportParameters {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
        //# The values provided by a peer for these transport parameters MUST match the values that an endpoint used in
        //# the Destination and Source Connection ID fields of Initial packets that it sent (and received, for servers).
        original_destination_connection_id: ids.odcid,
        max_idle_timeout_ms: millis(cfg.idle_timeout).min(MAX_IDLE_MS),
        stateless_reset_token: ids.reset_token,
        max_udp_payload_size: u64::from(cfg.max_udp_payload.max(1200)),
        initial_max_data: cfg.flow.connection_window,
        initial_max_stream_data_bidi_local: cfg.flow.stream_window,
        initial_max_stream_data_bidi_remote: cfg.flow.stream_window,
        initial_max_stream_data_uni: cfg.flow.stream_window,
        initial_max_streams_bidi: cfg.max_streams_bidi,
        initial_max_streams_uni: cfg.max_streams_uni,
        ack_delay_exponent: cfg.ack_delay_exponent.min(20),
        max_ack_delay_ms: millis(cfg.max_ack_delay).min(MAX_ACK_DELAY_MS),
        min_ack_delay_us: cfg.ack_frequency.then(|| u64::try_from(cfg.min_ack_delay().as_micros()).unwrap_or(0)),
        reset_stream_at: true,
        disable_active_migration: cfg.disable_migration,
        //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
        //# The value of the active_connection_id_limit parameter MUST be at least 2.
        active_connection_id_limit: cfg.active_cid_limit.max(2),
        preferred_address: ids.preferred.map(|(cid, token)| PreferredAddress {
            ipv4: cfg.preferred_ipv4,
            ipv6: cfg.preferred_ipv6,
            cid,
            token,
        }),
        initial_source_connection_id: Some(ids.scid),
        //= https://www.rfc-editor.org/rfc/rfc9369#section-4.1
        //# After switching to a negotiated version after a Retry, the server MUST include the relevant
        //# transport parameters to validate that the server sent the Retry and the connection IDs used in the
        //# exchange, as described in Section 7.3 of [QUIC].
        retry_source_connection_id: ids.retry_scid,
        max_datagram_frame_size: cfg.max_datagram_frame,
        grease_quic_bit: cfg.grease_quic_bit,
        ..TransportParameters::default()
    };
    p.version_information = Some(super::version::information(cfg, version, rng));
    // RFC 9000 section 18.1: a reserved parameter now and then keeps peers tolerant.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4
    //# An endpoint MUST NOT send a parameter more than once in a given transport parameters extension.
    let reserved = rng.below(1 << 20).saturating_mul(31).saturating_add(27);
    let mut value = vec![0; usize::try_from(rng.below(8)).unwrap_or(0)];
    rng.fill(&mut value);
    p.unknown.push((reserved, value));
    p.encode(side)
}

/// Largest idle timeout that we send: about 34 years, far from any overflow.
const MAX_IDLE_MS: u64 = 1 << 40;
/// RFC 9000 section 18.2: values of 2^14 and more are invalid.
const MAX_ACK_DELAY_MS: u64 = (1 << 14) - 1;

fn bad(reason: &'static str) -> TransportError {
    TransportError::new(transport::TRANSPORT_PARAMETER_ERROR, reason)
}

impl Connection {
    /// The peer's parameters, out of its TLS handshake.
    pub(super) fn on_peer_parameters(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), TransportError> {
        let p = TransportParameters::decode(bytes, self.side.peer())?;
        self.log_parameters(now, false, &p);
        self.authenticate_ids(&p)?;
        self.check_version(&p)?;
        let token = p.stateless_reset_token;
        self.peer = Peer::from(&p);
        self.peer.known = true;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.1
        //# When sending frames in 0-RTT packets, a client MUST only use remembered transport parameters; importantly,
        //# it MUST NOT use updated values that it learns from the server's updated transport parameters or from frames
        //# received in 1-RTT packets.
        if self.early != EarlyData::Pending {
            // With early data in flight, its fate decides how these are taken: `settle_early_data`.
            self.streams.set_peer_limits(&p);
            self.apply_peer_limits();
        }
        if let Some(token) = token {
            self.learn_initial_reset_token(token);
        }
        if let Some(preferred) = &p.preferred_address {
            // The connection ID counts as sequence number 1 whether or not the address is used (RFC 9000 section 9.6.1).
            self.peer_cids.on_preferred_address(preferred.cid, preferred.token)?;
            self.preferred = Some(Box::new(*preferred));
        }
        if let Some(hs) = self.hs.as_mut() {
            hs.new_parameters = Some(Box::new(p));
        }
        Ok(())
    }

    /// What follows from `self.peer`, remembered or fresh.
    pub(super) fn apply_peer_limits(&mut self) {
        self.datagrams.set_peer_max(self.peer.max_datagram_frame);
        self.paths.set_peer_max_payload(u64::from(self.peer.max_udp_payload));
        self.paths.set_max_ack_delay(self.peer.max_ack_delay);
        self.update_packet_room();
        self.dirty = true;
    }

    /// RFC 9000 section 7.3: the connection IDs of the handshake's headers, now authenticated.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
    //# Endpoints MUST validate that received transport parameters match received connection ID values.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
    //# An endpoint MUST treat the absence of the initial_source_connection_id transport parameter from either endpoint
    //# or the absence of the original_destination_connection_id transport parameter from the server as a connection
    //# error of type TRANSPORT_PARAMETER_ERROR.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-7.3
    //# An endpoint MUST treat the following as a connection error of type TRANSPORT_PARAMETER_ERROR or
    //# PROTOCOL_VIOLATION:
    fn authenticate_ids(&self, p: &TransportParameters) -> Result<(), TransportError> {
        let Some(hs) = self.hs.as_ref() else { return Ok(()) };
        if p.initial_source_connection_id.is_none() || p.initial_source_connection_id != hs.peer_scid {
            return Err(bad("initial_source_connection_id does not match"));
        }
        if self.side.is_server() {
            return Ok(());
        }
        if p.original_destination_connection_id != Some(hs.odcid) {
            return Err(bad("original_destination_connection_id does not match"));
        }
        if p.retry_source_connection_id != hs.retry_scid {
            return Err(bad("retry_source_connection_id does not match"));
        }
        Ok(())
    }
}
