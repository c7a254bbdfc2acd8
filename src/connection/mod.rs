//! One QUIC connection, both roles: the composition root of the rooms below it.
//!
//! Sans-IO: datagrams, time and randomness come in as arguments, datagrams and events go out.
//! The owner's loop is: `receive` every datagram of a batch, `poll_event` until empty,
//! `transmit` until `None`, arm a timer with `deadline`, call `on_deadline` when it fires.
//! Invariant: only authenticated input changes the state; peer errors end in `close`, never in a panic.
use std::sync::Arc;

use crate::base::{ConnectionId, Dir, Ecn, FourTuple, ResetToken, Rng, Side, StreamId, Timestamp, TransportError};
use crate::collections::Chunk;
use crate::crypto::{ClientTls, ServerTls, TlsSetupError};
use crate::streams::{DatagramError, OpenError, ReadError, ReadOk, StreamsConfig, WriteError};

pub mod config;
pub mod events;
pub mod stats;

pub use config::{ConnectionConfig, FlowConfig};
pub use events::{CloseReason, EarlyData, EndpointEvent, Event};
pub use stats::Stats;

/// Connection IDs that a client starts with.
#[derive(Clone, Copy, Debug)]
pub struct InitialCids {
    /// Ours, from the endpoint's source.
    pub local: ConnectionId,
    /// Random, at least 8 bytes: the first Destination Connection ID (RFC 9000 section 7.2).
    pub remote: ConnectionId,
}

/// What the endpoint knows about an accepted connection.
#[derive(Clone, Copy, Debug)]
pub struct AcceptParams {
    pub version: u32,
    pub tuple: FourTuple,
    /// Destination Connection ID of the client's very first Initial.
    pub odcid: ConnectionId,
    /// Destination Connection ID of the Initial at hand: equal to `odcid` without Retry.
    pub initial_dcid: ConnectionId,
    pub client_scid: ConnectionId,
    pub local_cid: ConnectionId,
    /// Source Connection ID of our Retry packet, when we sent one.
    pub retry_scid: Option<ConnectionId>,
    /// A valid token came with the Initial: no 3x limit (RFC 9000 section 8.1).
    pub address_validated: bool,
    /// Stateless reset token of `local_cid`.
    pub reset_token: ResetToken,
}

/// One call's worth of datagrams for one path: `len` bytes of equal segments (the last may be shorter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub tuple: FourTuple,
    pub ecn: Ecn,
    pub len: usize,
    /// Segment size when there is more than one datagram.
    pub segment: Option<usize>,
}

/// A path as the application sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathInfo {
    pub path: u8,
    pub tuple: FourTuple,
    pub active: bool,
    pub validated: bool,
    pub mtu: u16,
    pub rtt: core::time::Duration,
}

/// Why a migration cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrateError {
    /// Only clients migrate, only after the handshake is confirmed (RFC 9000 section 9).
    NotNow,
    /// The peer sent `disable_active_migration`.
    Forbidden,
    /// The peer gave no unused connection ID (RFC 9000 section 9.5).
    NoConnectionId,
    TooManyPaths,
}

/// One connection.
pub struct Connection {}

impl Connection {
    /// A client's connection; the first `transmit` carries the ClientHello.
    pub fn connect(
        cfg: Arc<ConnectionConfig>,
        tls: &Arc<ClientTls>,
        server_name: &str,
        tuple: FourTuple,
        cids: InitialCids,
        token: Vec<u8>,
        now: Timestamp,
        rng: Box<dyn Rng>,
    ) -> Result<Self, TlsSetupError> {
        todo!()
    }

    /// A server's connection; give it the Initial datagram with `receive`.
    pub fn accept(
        cfg: Arc<ConnectionConfig>,
        tls: &Arc<ServerTls>,
        params: AcceptParams,
        now: Timestamp,
        rng: Box<dyn Rng>,
    ) -> Result<Self, TlsSetupError> {
        todo!()
    }

    /// Takes one whole UDP payload. Never fails: bad packets are dropped, peer errors close the connection.
    pub fn receive(&mut self, tuple: &FourTuple, ecn: Ecn, datagram: &mut [u8], now: Timestamp) {
        todo!()
    }

    /// Writes up to `max_segments` datagrams of one path into `out`; `None`: nothing to send now.
    pub fn transmit(&mut self, now: Timestamp, out: &mut [u8], max_segments: usize) -> Option<Transmit> {
        todo!()
    }

    /// When `on_deadline` wants to be called; ask after `transmit` said `None`.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        todo!()
    }

    pub fn on_deadline(&mut self, now: Timestamp) {
        todo!()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    pub fn poll_endpoint_event(&mut self) -> Option<EndpointEvent> {
        todo!()
    }

    /// Fresh connection IDs asked for by `EndpointEvent::NeedCids`.
    pub fn on_new_cids(&mut self, cids: Vec<(ConnectionId, ResetToken)>) {
        todo!()
    }

    /// Server: sends NEW_TOKEN (RFC 9000 section 8.1.3); answer to `EndpointEvent::NeedToken`.
    pub fn send_new_token(&mut self, token: Vec<u8>) {
        todo!()
    }

    pub fn open(&mut self, dir: Dir) -> Result<StreamId, OpenError> {
        todo!()
    }

    pub fn accept_stream(&mut self, dir: Dir) -> Option<StreamId> {
        todo!()
    }

    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        todo!()
    }

    pub fn write_chunk(&mut self, id: StreamId, chunk: Chunk) -> Result<usize, WriteError> {
        todo!()
    }

    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        todo!()
    }

    pub fn reset(&mut self, id: StreamId, code: u64) -> Result<(), WriteError> {
        todo!()
    }

    pub fn stop(&mut self, id: StreamId, code: u64) -> Result<(), ReadError> {
        todo!()
    }

    pub fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<ReadOk, ReadError> {
        todo!()
    }

    pub fn read_chunk(&mut self, id: StreamId, max: usize) -> Result<(Chunk, bool), ReadError> {
        todo!()
    }

    pub fn set_priority(&mut self, id: StreamId, urgency: u8, incremental: bool) {
        todo!()
    }

    pub fn datagram_send(&mut self, data: Chunk, tag: u64) -> Result<(), DatagramError> {
        todo!()
    }

    pub fn datagram_recv(&mut self) -> Option<Vec<u8>> {
        todo!()
    }

    /// Largest payload that `datagram_send` takes now; `None`: the peer takes no datagrams.
    #[must_use]
    pub fn datagram_max_len(&self) -> Option<usize> {
        todo!()
    }

    /// Ends the connection with an application error code (0x1d).
    pub fn close(&mut self, code: u64, reason: &[u8], now: Timestamp) {
        todo!()
    }

    /// Ends the connection with a transport error (0x1c).
    pub fn close_transport(&mut self, error: TransportError, now: Timestamp) {
        todo!()
    }

    /// Sends a PING soon.
    pub fn ping(&mut self) {
        todo!()
    }

    /// Starts a key update (RFC 9001 section 6.1); `false`: not allowed now.
    pub fn key_update(&mut self, now: Timestamp) -> bool {
        todo!()
    }

    /// Client: moves to another local address; sends there once the path is validated.
    pub fn migrate(&mut self, new: FourTuple, now: Timestamp) -> Result<(), MigrateError> {
        todo!()
    }

    /// Client: tests a path without moving to it (RFC 9000 section 9.1).
    pub fn probe_path(&mut self, new: FourTuple, now: Timestamp) -> Result<(), MigrateError> {
        todo!()
    }

    /// The socket below us was replaced without our asking (same paths, new local address).
    pub fn on_local_address_changed(&mut self, new: FourTuple, now: Timestamp) {
        todo!()
    }

    #[must_use]
    pub fn side(&self) -> Side {
        todo!()
    }

    #[must_use]
    pub fn version(&self) -> u32 {
        todo!()
    }

    /// Neither established nor closing.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        todo!()
    }

    /// The TLS handshake is complete and the connection is not closing.
    #[must_use]
    pub fn is_established(&self) -> bool {
        todo!()
    }

    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        todo!()
    }

    /// Closing, draining or drained.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        todo!()
    }

    #[must_use]
    pub fn is_drained(&self) -> bool {
        todo!()
    }

    #[must_use]
    pub fn close_reason(&self) -> Option<&CloseReason> {
        todo!()
    }

    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        todo!()
    }

    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        todo!()
    }

    #[must_use]
    pub fn peer_certificates(&self) -> Vec<Vec<u8>> {
        todo!()
    }

    #[must_use]
    pub fn early_data(&self) -> EarlyData {
        todo!()
    }

    /// Keying material of the TLS exporter (RFC 8446 section 7.5).
    #[must_use]
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> bool {
        todo!()
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        todo!()
    }

    #[must_use]
    pub fn paths(&self) -> Vec<PathInfo> {
        todo!()
    }

    /// The path in use.
    #[must_use]
    pub fn path(&self) -> FourTuple {
        todo!()
    }

    #[must_use]
    pub fn local_cid(&self) -> ConnectionId {
        todo!()
    }

    /// The owner should call `transmit` soon.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        todo!()
    }
}
