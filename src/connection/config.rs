//! Settings of a connection, shared by all connections of an endpoint (one `Arc`).
//!
//! Values become transport parameters (RFC 9000 section 18.2) and limits of the rooms below.
//! Invariant: a default configuration is safe for a public server and fast for a bulk download.
use core::net::{SocketAddrV4, SocketAddrV6};
use core::time::Duration;

use crate::base::codes;
use crate::congestion::Algorithm;
use crate::paths::MtuConfig;
use crate::recovery::RecoveryConfig;
use crate::streams::StreamsConfig;

/// Flow-control windows (RFC 9000 section 4). Windows start small and grow with use up to their ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowConfig {
    /// `initial_max_data`.
    pub connection_window: u64,
    /// The connection window never grows beyond this.
    pub connection_window_max: u64,
    /// `initial_max_stream_data_*`.
    pub stream_window: u64,
    /// A stream's window never grows beyond this.
    pub stream_window_max: u64,
    /// Bytes that one stream may hold for sending before `write` reports `Blocked`.
    pub send_buffer: u64,
    /// That limit grows up to this with the path's bandwidth and delay; not above `send_buffer`: it stays.
    pub send_buffer_max: u64,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            connection_window: 1 << 20,
            connection_window_max: 32 << 20,
            stream_window: 512 << 10,
            stream_window_max: 16 << 20,
            send_buffer: 1 << 20,
            send_buffer_max: 16 << 20,
        }
    }
}

/// Everything a connection can be told in advance.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// QUIC versions, most wanted first. A client offers them to the server in this order and takes the first that a
    /// Version Negotiation packet offers (RFC 9368).
    pub versions: Vec<u32>,
    /// Client: the version of the first packet; `None`: the first of `versions`. A ticket of another version goes before
    /// it, because it is good for its own version only (RFC 9369 section 5).
    pub initial_version: Option<u32>,
    /// Server: moves a client to the first of `versions` that the client allows too, within the handshake (RFC 9368
    /// section 2.3); off: the client's choice stands.
    pub choose_version: bool,
    /// RFC 9000 section 10.1; zero switches our side of it off.
    pub idle_timeout: Duration,
    /// The connection is ended, with CONNECTION_CLOSE, after this much silence, which is shorter than what the peer was told;
    /// zero: it is not. Only for connections that live (`Connection::end_after_silence`).
    pub end_after_silence: Duration,
    /// PING after this long without a packet from the peer; zero switches it off.
    pub keep_alive: Duration,
    /// A handshake that takes longer is given up; zero switches it off.
    pub handshake_timeout: Duration,
    /// Server: early data are refused when the application has not said within this time whether they are new.
    pub early_data_patience: Duration,
    /// Server: what else early data depend on, such as HTTP/3's settings. Early data sent with a ticket from another
    /// context are refused; the session resumes.
    pub early_data_context: Vec<u8>,
    pub flow: FlowConfig,
    /// Streams that the peer may have open at a time (RFC 9000 section 4.6).
    pub max_streams_bidi: u64,
    pub max_streams_uni: u64,
    pub congestion: Algorithm,
    /// Off only where something below this library spreads bursts (RFC 9002 section 7.7).
    pub pacing: bool,
    /// Longest that we delay an acknowledgement on purpose (`max_ack_delay`).
    pub max_ack_delay: Duration,
    pub ack_delay_exponent: u8,
    /// Let the peer say how often it wants acknowledgements, and say so to a peer that lets us
    /// (draft-ietf-quic-ack-frequency).
    pub ack_frequency: bool,
    /// Largest UDP payload that we are willing to receive (`max_udp_payload_size`).
    pub max_udp_payload: u16,
    /// UDP payload to start with; at least 1200.
    pub initial_mtu: u16,
    /// Path MTU discovery (RFC 8899) searches up to this; equal to `initial_mtu` switches it off.
    pub mtu_ceiling: u16,
    /// Largest DATAGRAM frame that we receive (RFC 9221); 0 switches datagrams off.
    pub max_datagram_frame: u64,
    /// Bytes of datagrams held in each direction.
    pub datagram_queue: usize,
    /// Connection IDs of the peer that we keep (`active_connection_id_limit`).
    pub active_cid_limit: u64,
    /// Tell the peer not to migrate (`disable_active_migration`).
    pub disable_migration: bool,
    /// Server: addresses, also ours, at which clients should go on after the handshake (`preferred_address`,
    /// RFC 9000 section 9.6).
    pub preferred_ipv4: Option<SocketAddrV4>,
    pub preferred_ipv6: Option<SocketAddrV6>,
    /// RFC 9287.
    pub grease_quic_bit: bool,
    /// Mark packets ECT(0) while the path proves to carry the marks.
    pub ecn: bool,
    /// The spin bit shows observers the round-trip time (RFC 9000 section 17.4), but for one connection ID in 16; off: a
    /// random value per connection ID.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-17.4
    //# Implementations MUST allow administrators of clients and servers to disable the spin bit either globally
    //# or on a per-connection basis.
    pub spin_bit: bool,
    /// Queue `Event::KeysInstalled` and `Event::KeyUpdated`.
    pub key_events: bool,
    /// Queue `Event::Secret` with every TLS traffic secret (for key logs); off unless asked for.
    pub secret_events: bool,
    /// Record what happens (`Connection::take_qlog`).
    pub qlog: bool,
    /// Milliseconds since 1970 at `Timestamp::ZERO`, for the qlog's reference time.
    pub wall_clock_ms_at_zero: Option<u64>,
    /// Write frames as another implementation might: for the virtual world only.
    #[cfg(feature = "sim")]
    pub frame_style: super::frame_style::FrameStyle,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            versions: vec![codes::VERSION_1, codes::VERSION_2],
            initial_version: None,
            choose_version: false,
            idle_timeout: Duration::from_secs(30),
            end_after_silence: Duration::ZERO,
            keep_alive: Duration::ZERO,
            handshake_timeout: Duration::from_secs(10),
            early_data_patience: Duration::from_millis(200),
            early_data_context: Vec::new(),
            flow: FlowConfig::default(),
            max_streams_bidi: 100,
            max_streams_uni: 100,
            congestion: Algorithm::default(),
            pacing: true,
            max_ack_delay: Duration::from_millis(25),
            ack_delay_exponent: 3,
            ack_frequency: false,
            max_udp_payload: 65527,
            initial_mtu: 1200,
            mtu_ceiling: 1472,
            max_datagram_frame: 65535,
            datagram_queue: 1 << 20,
            active_cid_limit: 4,
            disable_migration: false,
            preferred_ipv4: None,
            preferred_ipv6: None,
            grease_quic_bit: true,
            ecn: true,
            spin_bit: false,
            key_events: false,
            secret_events: false,
            qlog: false,
            wall_clock_ms_at_zero: None,
            #[cfg(feature = "sim")]
            frame_style: super::frame_style::FrameStyle::Plain,
        }
    }
}

impl ConnectionConfig {
    /// A server with this configuration names a preferred address, and needs a connection ID for it.
    #[must_use]
    pub fn has_preferred_address(&self) -> bool {
        self.preferred_ipv4.is_some() || self.preferred_ipv6.is_some()
    }

    pub(super) fn recovery(&self) -> RecoveryConfig {
        RecoveryConfig {
            algorithm: self.congestion,
            max_datagram: self.initial_mtu.max(1200),
            ecn: self.ecn,
            ..RecoveryConfig::default()
        }
    }

    /// What we advertise as min_ack_delay; it MUST NOT be greater than max_ack_delay (draft section 3).
    pub(super) fn min_ack_delay(&self) -> Duration {
        // The parameter has whole milliseconds.
        let max = Duration::from_millis(u64::try_from(self.max_ack_delay.as_millis()).unwrap_or(u64::MAX));
        super::ack_frequency::MIN_ACK_DELAY.min(max)
    }

    pub(super) fn mtu(&self) -> MtuConfig {
        MtuConfig { initial: self.initial_mtu.max(1200), ceiling: self.mtu_ceiling, ..MtuConfig::default() }
    }

    pub(super) fn streams(&self) -> StreamsConfig {
        StreamsConfig {
            stream_window_bidi_local: self.flow.stream_window,
            stream_window_bidi_remote: self.flow.stream_window,
            stream_window_uni: self.flow.stream_window,
            stream_window_max: self.flow.stream_window_max,
            connection_window: self.flow.connection_window,
            connection_window_max: self.flow.connection_window_max,
            max_streams_bidi: self.max_streams_bidi,
            max_streams_uni: self.max_streams_uni,
            send_buffer: self.flow.send_buffer,
            send_buffer_max: self.flow.send_buffer_max,
            #[cfg(feature = "sim")]
            one_byte_frames: self.frame_style == super::frame_style::FrameStyle::OneByte,
            ..StreamsConfig::default()
        }
    }
}
