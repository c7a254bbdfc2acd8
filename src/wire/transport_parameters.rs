//! Transport parameters (RFC 9000 section 18, RFC 9221, RFC 9287, RFC 9368, draft-ietf-quic-ack-frequency).
//!
//! `decode` checks all that can be checked without the connection: bounds, exact lengths, duplicates, and that a
//! client sends none that only servers may. Whether the connection IDs are the right ones is the connection's.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use super::frame::MAX_STREAM_COUNT;
use super::reader::{Reader, Truncated};
use super::varint;
use crate::base::codes::transport::TRANSPORT_PARAMETER_ERROR;
use crate::base::{ConnectionId, ResetToken, Side, TransportError};

/// Parameter numbers.
pub mod id {
    pub const ORIGINAL_DESTINATION_CONNECTION_ID: u64 = 0x00;
    pub const MAX_IDLE_TIMEOUT: u64 = 0x01;
    pub const STATELESS_RESET_TOKEN: u64 = 0x02;
    pub const MAX_UDP_PAYLOAD_SIZE: u64 = 0x03;
    pub const INITIAL_MAX_DATA: u64 = 0x04;
    pub const INITIAL_MAX_STREAM_DATA_BIDI_LOCAL: u64 = 0x05;
    pub const INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: u64 = 0x06;
    pub const INITIAL_MAX_STREAM_DATA_UNI: u64 = 0x07;
    pub const INITIAL_MAX_STREAMS_BIDI: u64 = 0x08;
    pub const INITIAL_MAX_STREAMS_UNI: u64 = 0x09;
    pub const ACK_DELAY_EXPONENT: u64 = 0x0a;
    pub const MAX_ACK_DELAY: u64 = 0x0b;
    pub const DISABLE_ACTIVE_MIGRATION: u64 = 0x0c;
    pub const PREFERRED_ADDRESS: u64 = 0x0d;
    pub const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;
    pub const INITIAL_SOURCE_CONNECTION_ID: u64 = 0x0f;
    pub const RETRY_SOURCE_CONNECTION_ID: u64 = 0x10;
    /// RFC 9368 section 3.
    pub const VERSION_INFORMATION: u64 = 0x11;
    /// draft-ietf-quic-reliable-stream-reset section 3.
    pub const RESET_STREAM_AT: u64 = 0x1d;
    /// RFC 9221 section 3.
    pub const MAX_DATAGRAM_FRAME_SIZE: u64 = 0x20;
    /// RFC 9287 section 3.
    pub const GREASE_QUIC_BIT: u64 = 0x2ab2;
    /// draft-ietf-quic-ack-frequency section 3.
    pub const MIN_ACK_DELAY: u64 = 0xff04_de1b;
}

/// Values of absent parameters (RFC 9000 section 18.2).
pub const DEFAULT_MAX_UDP_PAYLOAD_SIZE: u64 = 65527;
pub const DEFAULT_ACK_DELAY_EXPONENT: u8 = 3;
pub const DEFAULT_MAX_ACK_DELAY_MS: u64 = 25;
pub const DEFAULT_ACTIVE_CONNECTION_ID_LIMIT: u64 = 2;

/// Unknown parameters kept for the application; the rest of a longer list is dropped, so that a peer cannot
/// make a connection hold a whole handshake message of junk.
pub const MAX_UNKNOWN_KEPT: usize = 16;
/// Longest unknown value kept.
pub const MAX_UNKNOWN_LEN: usize = 256;
/// Versions kept of a peer's Available Versions.
pub const MAX_VERSIONS_KEPT: usize = 64;

/// The server's preferred address (RFC 9000 section 18.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PreferredAddress {
    /// `None` when address and port are zero.
    pub ipv4: Option<SocketAddrV4>,
    /// `None` when address and port are zero.
    pub ipv6: Option<SocketAddrV6>,
    /// 1 to 20 bytes, sequence number 1.
    pub cid: ConnectionId,
    pub token: ResetToken,
}

/// version_information (RFC 9368 section 3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionInformation {
    pub chosen: u32,
    pub available: Vec<u32>,
}

/// Transport parameters of one endpoint; absent ones have their defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportParameters {
    pub original_destination_connection_id: Option<ConnectionId>,
    /// 0 means no timeout.
    pub max_idle_timeout_ms: u64,
    pub stateless_reset_token: Option<ResetToken>,
    pub max_udp_payload_size: u64,
    pub initial_max_data: u64,
    pub initial_max_stream_data_bidi_local: u64,
    pub initial_max_stream_data_bidi_remote: u64,
    pub initial_max_stream_data_uni: u64,
    pub initial_max_streams_bidi: u64,
    pub initial_max_streams_uni: u64,
    pub ack_delay_exponent: u8,
    pub max_ack_delay_ms: u64,
    pub disable_active_migration: bool,
    pub preferred_address: Option<PreferredAddress>,
    pub active_connection_id_limit: u64,
    pub initial_source_connection_id: Option<ConnectionId>,
    pub retry_source_connection_id: Option<ConnectionId>,
    /// 0: DATAGRAM frames are not accepted.
    pub max_datagram_frame_size: u64,
    pub grease_quic_bit: bool,
    /// RESET_STREAM_AT frames are understood.
    pub reset_stream_at: bool,
    pub version_information: Option<VersionInformation>,
    pub min_ack_delay_us: Option<u64>,
    /// Parameters without a field of their own. Written as they are (greasing), kept in part when read.
    pub unknown: Vec<(u64, Vec<u8>)>,
}

impl Default for TransportParameters {
    fn default() -> Self {
        Self {
            original_destination_connection_id: None,
            max_idle_timeout_ms: 0,
            stateless_reset_token: None,
            max_udp_payload_size: DEFAULT_MAX_UDP_PAYLOAD_SIZE,
            initial_max_data: 0,
            initial_max_stream_data_bidi_local: 0,
            initial_max_stream_data_bidi_remote: 0,
            initial_max_stream_data_uni: 0,
            initial_max_streams_bidi: 0,
            initial_max_streams_uni: 0,
            ack_delay_exponent: DEFAULT_ACK_DELAY_EXPONENT,
            max_ack_delay_ms: DEFAULT_MAX_ACK_DELAY_MS,
            disable_active_migration: false,
            preferred_address: None,
            active_connection_id_limit: DEFAULT_ACTIVE_CONNECTION_ID_LIMIT,
            initial_source_connection_id: None,
            retry_source_connection_id: None,
            max_datagram_frame_size: 0,
            grease_quic_bit: false,
            reset_stream_at: false,
            version_information: None,
            min_ack_delay_us: None,
            unknown: Vec::new(),
        }
    }
}

fn short(_: Truncated) -> TransportError {
    refuse("transport parameter is truncated")
}

const fn refuse(reason: &'static str) -> TransportError {
    TransportError::new(TRANSPORT_PARAMETER_ERROR, reason)
}

impl TransportParameters {
    /// The extension's content as `side` sends it. Parameters at their default are left out, and so are, for a
    /// client, those that only a server may send.
    #[must_use]
    pub fn encode(&self, side: Side) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let default = Self::default();
        for (id, value, absent) in [
            (id::MAX_IDLE_TIMEOUT, self.max_idle_timeout_ms, 0),
            (id::MAX_UDP_PAYLOAD_SIZE, self.max_udp_payload_size, default.max_udp_payload_size),
            (id::INITIAL_MAX_DATA, self.initial_max_data, 0),
            (id::INITIAL_MAX_STREAM_DATA_BIDI_LOCAL, self.initial_max_stream_data_bidi_local, 0),
            (id::INITIAL_MAX_STREAM_DATA_BIDI_REMOTE, self.initial_max_stream_data_bidi_remote, 0),
            (id::INITIAL_MAX_STREAM_DATA_UNI, self.initial_max_stream_data_uni, 0),
            (id::INITIAL_MAX_STREAMS_BIDI, self.initial_max_streams_bidi, 0),
            (id::INITIAL_MAX_STREAMS_UNI, self.initial_max_streams_uni, 0),
            (id::ACK_DELAY_EXPONENT, u64::from(self.ack_delay_exponent), u64::from(default.ack_delay_exponent)),
            (id::MAX_ACK_DELAY, self.max_ack_delay_ms, default.max_ack_delay_ms),
            (id::ACTIVE_CONNECTION_ID_LIMIT, self.active_connection_id_limit, default.active_connection_id_limit),
            (id::MAX_DATAGRAM_FRAME_SIZE, self.max_datagram_frame_size, 0),
        ] {
            if value != absent {
                put_number(&mut out, id, value);
            }
        }
        if self.disable_active_migration {
            put(&mut out, id::DISABLE_ACTIVE_MIGRATION, &[]);
        }
        if self.grease_quic_bit {
            put(&mut out, id::GREASE_QUIC_BIT, &[]);
        }
        if self.reset_stream_at {
            put(&mut out, id::RESET_STREAM_AT, &[]);
        }
        if let Some(us) = self.min_ack_delay_us {
            put_number(&mut out, id::MIN_ACK_DELAY, us);
        }
        if let Some(cid) = &self.initial_source_connection_id {
            put(&mut out, id::INITIAL_SOURCE_CONNECTION_ID, cid.as_slice());
        }
        if let Some(info) = &self.version_information {
            let versions = core::iter::once(info.chosen).chain(info.available.iter().copied());
            let bytes: Vec<u8> = versions.flat_map(u32::to_be_bytes).collect();
            put(&mut out, id::VERSION_INFORMATION, &bytes);
        }
        //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
        //# A client MUST NOT include any server-only transport parameter: original_destination_connection_id,
        //# preferred_address, retry_source_connection_id, or stateless_reset_token.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
        //# This transport parameter MUST NOT be sent by a client but MAY be sent by a server.
        if side.is_server() {
            self.encode_server_only(&mut out);
        }
        for (id, value) in &self.unknown {
            put(&mut out, *id, value);
        }
        out
    }

    fn encode_server_only(&self, out: &mut Vec<u8>) {
        if let Some(cid) = &self.original_destination_connection_id {
            put(out, id::ORIGINAL_DESTINATION_CONNECTION_ID, cid.as_slice());
        }
        if let Some(token) = &self.stateless_reset_token {
            put(out, id::STATELESS_RESET_TOKEN, &token.0);
        }
        if let Some(cid) = &self.retry_source_connection_id {
            put(out, id::RETRY_SOURCE_CONNECTION_ID, cid.as_slice());
        }
        if let Some(address) = &self.preferred_address {
            let mut bytes = Vec::with_capacity(61);
            let v4 = address.ipv4.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
            bytes.extend_from_slice(&v4.ip().octets());
            bytes.extend_from_slice(&v4.port().to_be_bytes());
            let v6 = address.ipv6.unwrap_or(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
            bytes.extend_from_slice(&v6.ip().octets());
            bytes.extend_from_slice(&v6.port().to_be_bytes());
            bytes.push(address.cid.len() as u8);
            bytes.extend_from_slice(address.cid.as_slice());
            bytes.extend_from_slice(&address.token.0);
            put(out, id::PREFERRED_ADDRESS, &bytes);
        }
    }

    /// Reads the extension as `from` sent it. All errors are TRANSPORT_PARAMETER_ERROR.
    pub fn decode(bytes: &[u8], from: Side) -> Result<Self, TransportError> {
        let mut out = Self::default();
        let mut seen = Vec::with_capacity(24);
        let mut r = Reader::new(bytes);
        while !r.is_empty() {
            let id = r.varint().map_err(short)?;
            let value = r.varint_bytes().map_err(short)?;
            seen.push(id);
            out.set(id, value, from)?;
        }
        // RFC 9000 section 7.4: no parameter more than once, whether we know it or not.
        seen.sort_unstable();
        if seen.windows(2).any(|w| w.first() == w.last()) {
            return Err(refuse("transport parameter sent twice"));
        }
        // ack-frequency section 3; microseconds against milliseconds.
        if out.min_ack_delay_us.is_some_and(|us| us > out.max_ack_delay_ms.saturating_mul(1000)) {
            return Err(refuse("min_ack_delay above max_ack_delay"));
        }
        Ok(out)
    }

    //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4
    //# An endpoint MUST treat receipt of a transport parameter with an invalid value as a connection error of type
    //# TRANSPORT_PARAMETER_ERROR.
    fn set(&mut self, id: u64, value: &[u8], from: Side) -> Result<(), TransportError> {
        // RFC 9000 section 18.2: a client must not include these.
        let server_only = matches!(
            id,
            id::ORIGINAL_DESTINATION_CONNECTION_ID
                | id::STATELESS_RESET_TOKEN
                | id::PREFERRED_ADDRESS
                | id::RETRY_SOURCE_CONNECTION_ID
        );
        //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
        //# A server MUST treat receipt of any of these transport parameters as a connection error of type
        //# TRANSPORT_PARAMETER_ERROR.
        if server_only && from.is_client() {
            return Err(refuse("client sent a server-only transport parameter"));
        }
        match id {
            id::ORIGINAL_DESTINATION_CONNECTION_ID => self.original_destination_connection_id = Some(cid(value)?),
            id::MAX_IDLE_TIMEOUT => self.max_idle_timeout_ms = number(value)?,
            id::STATELESS_RESET_TOKEN => {
                let token = value.try_into().map_err(|_| refuse("stateless_reset_token is not 16 bytes"))?;
                self.stateless_reset_token = Some(ResetToken(token));
            }
            id::MAX_UDP_PAYLOAD_SIZE => {
                self.max_udp_payload_size = at_least(number(value)?, 1200, "max_udp_payload_size below 1200")?;
            }
            id::INITIAL_MAX_DATA => self.initial_max_data = number(value)?,
            id::INITIAL_MAX_STREAM_DATA_BIDI_LOCAL => self.initial_max_stream_data_bidi_local = number(value)?,
            id::INITIAL_MAX_STREAM_DATA_BIDI_REMOTE => self.initial_max_stream_data_bidi_remote = number(value)?,
            id::INITIAL_MAX_STREAM_DATA_UNI => self.initial_max_stream_data_uni = number(value)?,
            //= https://www.rfc-editor.org/rfc/rfc9000#section-4.6
            //# If either is received, the connection MUST be closed immediately with a connection error of type
            //# TRANSPORT_PARAMETER_ERROR if the offending value was received in a transport parameter or of type
            //# FRAME_ENCODING_ERROR if it was received in a frame; see Section 10.2.
            id::INITIAL_MAX_STREAMS_BIDI => {
                self.initial_max_streams_bidi = at_most(number(value)?, MAX_STREAM_COUNT, "max_streams above 2^60")?;
            }
            id::INITIAL_MAX_STREAMS_UNI => {
                self.initial_max_streams_uni = at_most(number(value)?, MAX_STREAM_COUNT, "max_streams above 2^60")?;
            }
            id::ACK_DELAY_EXPONENT => {
                let exponent = at_most(number(value)?, 20, "ack_delay_exponent above 20")?;
                self.ack_delay_exponent = u8::try_from(exponent).unwrap_or(20);
            }
            id::MAX_ACK_DELAY => {
                self.max_ack_delay_ms = at_most(number(value)?, (1 << 14) - 1, "max_ack_delay of 2^14 or more")?;
            }
            id::DISABLE_ACTIVE_MIGRATION => self.disable_active_migration = flag(value)?,
            id::PREFERRED_ADDRESS => self.preferred_address = Some(preferred_address(value)?),
            id::ACTIVE_CONNECTION_ID_LIMIT => {
                //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
                //# An endpoint that receives a value less than 2 MUST close the connection with an error of type
                //# TRANSPORT_PARAMETER_ERROR.
                self.active_connection_id_limit = at_least(number(value)?, 2, "active_connection_id_limit below 2")?;
            }
            id::INITIAL_SOURCE_CONNECTION_ID => self.initial_source_connection_id = Some(cid(value)?),
            id::RETRY_SOURCE_CONNECTION_ID => self.retry_source_connection_id = Some(cid(value)?),
            id::VERSION_INFORMATION => self.version_information = Some(version_information(value, from)?),
            id::MAX_DATAGRAM_FRAME_SIZE => self.max_datagram_frame_size = number(value)?,
            id::GREASE_QUIC_BIT => self.grease_quic_bit = flag(value)?,
            id::RESET_STREAM_AT => self.reset_stream_at = flag(value)?,
            id::MIN_ACK_DELAY => self.min_ack_delay_us = Some(number(value)?),
            _ => {
                // RFC 9000 section 7.4.2: unknown parameters are ignored.
                //= https://www.rfc-editor.org/rfc/rfc9000#section-7.4.2
                //# An endpoint MUST ignore transport parameters that it does not support.
                if self.unknown.len() < MAX_UNKNOWN_KEPT && value.len() <= MAX_UNKNOWN_LEN {
                    self.unknown.push((id, value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, id: u64, value: &[u8]) {
    put_varint(out, id);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn put_number(out: &mut Vec<u8>, id: u64, value: u64) {
    let value = value.min(varint::MAX);
    put_varint(out, id);
    put_varint(out, varint::len(value) as u64);
    put_varint(out, value);
}

fn put_varint(out: &mut Vec<u8>, value: u64) {
    let mut buf = [0; 8];
    let mut w = super::writer::Writer::new(&mut buf);
    if w.varint(value.min(varint::MAX)).is_ok() {
        out.extend_from_slice(w.written());
    }
}

/// The value is one variable-length integer and nothing else.
fn number(value: &[u8]) -> Result<u64, TransportError> {
    let mut r = Reader::new(value);
    let v = r.varint().map_err(short)?;
    if !r.is_empty() {
        return Err(refuse("transport parameter has bytes after its number"));
    }
    Ok(v)
}

fn at_least(v: u64, min: u64, reason: &'static str) -> Result<u64, TransportError> {
    if v < min { Err(refuse(reason)) } else { Ok(v) }
}

fn at_most(v: u64, max: u64, reason: &'static str) -> Result<u64, TransportError> {
    if v > max { Err(refuse(reason)) } else { Ok(v) }
}

/// Present and empty means true (RFC 9000 section 18.2, RFC 9287 section 3).
//= https://www.rfc-editor.org/rfc/rfc9287#section-3
//# The transport parameter is sent with an empty value; an endpoint that understands this transport parameter MUST
//# treat receipt of a non-empty value of the transport parameter as a connection error of type
//# TRANSPORT_PARAMETER_ERROR.
fn flag(value: &[u8]) -> Result<bool, TransportError> {
    if value.is_empty() { Ok(true) } else { Err(refuse("transport parameter must be empty")) }
}

fn cid(value: &[u8]) -> Result<ConnectionId, TransportError> {
    ConnectionId::new(value).ok_or(refuse("connection ID longer than 20 bytes"))
}

fn preferred_address(value: &[u8]) -> Result<PreferredAddress, TransportError> {
    let mut r = Reader::new(value);
    let v4 = SocketAddrV4::new(Ipv4Addr::from(r.fixed::<4>().map_err(short)?), r.u16().map_err(short)?);
    let v6 = SocketAddrV6::new(Ipv6Addr::from(r.fixed::<16>().map_err(short)?), r.u16().map_err(short)?, 0, 0);
    let len = usize::from(r.u8().map_err(short)?);
    let cid = cid(r.bytes(len).map_err(short)?)?;
    // RFC 9000 section 18.2: a zero-length ID here is a TRANSPORT_PARAMETER_ERROR.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-18.2
    //# A client MUST treat a violation of these requirements as a connection error of type TRANSPORT_PARAMETER_ERROR.
    if cid.is_empty() {
        return Err(refuse("preferred_address with a zero-length connection ID"));
    }
    let token = ResetToken(r.fixed().map_err(short)?);
    if !r.is_empty() {
        return Err(refuse("preferred_address has bytes after its token"));
    }
    Ok(PreferredAddress {
        ipv4: (v4.port() != 0 && !v4.ip().is_unspecified()).then_some(v4),
        ipv6: (v6.port() != 0 && !v6.ip().is_unspecified()).then_some(v6),
        cid,
        token,
    })
}

/// Puts `version` as the Chosen Version into our own encoded parameters, whose length stays the same: a server learns
/// only from the ClientHello which version it will choose (RFC 9368 section 2.3). False: there is no Version Information.
pub fn set_chosen_version(encoded: &mut [u8], version: u32) -> bool {
    let mut at = 0usize;
    loop {
        let mut r = Reader::new(encoded.get(at..).unwrap_or(&[]));
        let (Ok(id), Ok(value)) = (r.varint(), r.varint_bytes()) else { return false };
        let len = value.len();
        at = encoded.len().saturating_sub(r.rest().len());
        if id == id::VERSION_INFORMATION {
            let start = at.saturating_sub(len);
            let Some(chosen) = encoded.get_mut(start..start.saturating_add(4)) else { return false };
            chosen.copy_from_slice(&version.to_be_bytes());
            return true;
        }
    }
}

/// RFC 9368 sections 3 and 4.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//# Both endpoints MUST parse their peer's Version Information during the handshake.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//# If that leads to a parsing failure (for example, if it is too short or if its length is not divisible by
//# four), then the endpoint MUST close the connection; if the connection was using QUIC version 1, that
//# connection closure MUST use a transport error of type TRANSPORT_PARAMETER_ERROR.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//# If an endpoint receives a Chosen Version equal to zero, or any Available Version equal to zero, it MUST
//# treat it as a parsing failure.
//= https://www.rfc-editor.org/rfc/rfc9368#section-4
//# If a server receives Version Information where the Chosen Version is not included in Available Versions, it
//# MUST treat it as a parsing failure.
fn version_information(value: &[u8], from: Side) -> Result<VersionInformation, TransportError> {
    let mut r = Reader::new(value);
    let chosen = r.u32().map_err(short)?;
    let mut available = Vec::new();
    let mut lists_chosen = false;
    let mut has_zero = chosen == 0;
    while !r.is_empty() {
        let v = r.u32().map_err(short)?;
        lists_chosen |= v == chosen;
        has_zero |= v == 0;
        if available.len() < MAX_VERSIONS_KEPT {
            available.push(v);
        }
    }
    if has_zero {
        return Err(refuse("version_information names version 0"));
    }
    if from.is_client() && !lists_chosen {
        return Err(refuse("version_information does not list the chosen version"));
    }
    Ok(VersionInformation { chosen, available })
}
