//! What the application and HTTP/3 may ask of a connection: streams, datagrams, keys, closing, questions.
use core::time::Duration;
use std::sync::Arc;

use super::Connection;
use super::events::{CloseReason, EarlyData};
use super::life::Phase;
use super::stats::Stats;
use crate::base::{ConnectionId, Dir, ResetToken, Side, SpaceId, StreamId, Timestamp, TransportError};
use crate::collections::Chunk;
use crate::streams::pool::SharedSlabs;
use crate::streams::{DatagramError, OpenError, ReadError, ReadOk, StreamCounts, WriteError};

/// Longest token that the endpoint may give for NEW_TOKEN: it must fit into one packet.
const MAX_NEW_TOKEN: usize = 512;

impl Connection {
    /// Fresh connection IDs asked for by `EndpointEvent::NeedCids`.
    pub fn on_new_cids(&mut self, cids: Vec<(ConnectionId, ResetToken)>) {
        for (cid, token) in cids {
            self.local_cids.issue(cid, token);
        }
    }

    /// Server: sends NEW_TOKEN (RFC 9000 section 8.1.3); the answer to `EndpointEvent::NeedToken`.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.7
    //# The token MUST NOT be empty.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.7
    //# Clients MUST NOT send NEW_TOKEN frames.
    pub fn send_new_token(&mut self, token: Vec<u8>) {
        if self.side.is_server() && !token.is_empty() && token.len() <= MAX_NEW_TOKEN {
            self.control.new_token = Some(token.into());
            self.control.new_token_pending = true;
        }
    }

    /// Takes its larger buffers from those that all connections of its worker share.
    pub fn share_slabs(&mut self, shared: Arc<SharedSlabs>) {
        self.streams.share_slabs(shared);
    }

    /// Opens a stream.
    pub fn open(&mut self, dir: Dir) -> Result<StreamId, OpenError> {
        if !self.life.is_open() {
            return Err(OpenError::LimitReached);
        }
        self.streams.open(dir)
    }

    /// The next stream that the peer opened.
    pub fn accept_stream(&mut self, dir: Dir) -> Option<StreamId> {
        self.streams.accept(dir)
    }

    /// Copies bytes into the stream's send buffer; how many were taken.
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        self.open_for_writing()?;
        self.streams.write(id, data)
    }

    /// As [`Self::write`], when about `more` bytes follow, and then [`Self::finish`].
    pub fn write_expecting(&mut self, id: StreamId, data: &[u8], more: usize) -> Result<usize, WriteError> {
        self.open_for_writing()?;
        self.streams.write_expecting(id, data, more)
    }

    /// As [`Self::write`], and [`Self::finish`] when all of `data` was taken.
    pub fn write_last(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        self.open_for_writing()?;
        self.streams.write_last(id, data)
    }

    /// As [`Self::write`] without a copy.
    pub fn write_chunk(&mut self, id: StreamId, chunk: Chunk) -> Result<usize, WriteError> {
        self.open_for_writing()?;
        self.streams.write_chunk(id, chunk)
    }

    /// What one write would take now.
    pub fn writable_len(&self, id: StreamId) -> Result<u64, WriteError> {
        self.open_for_writing()?;
        self.streams.writable_len(id)
    }

    /// No more bytes will be written.
    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        self.open_for_writing()?;
        self.streams.finish(id)
    }

    /// Gives up sending (RFC 9000 section 19.4).
    pub fn reset(&mut self, id: StreamId, code: u64) -> Result<(), WriteError> {
        self.open_for_writing()?;
        self.streams.reset(id, code)
    }

    /// Gives up sending, but the first `reliable_size` bytes written are delivered before the peer hears of it
    /// (draft-ietf-quic-reliable-stream-reset). A later call may only lower the size. `false`: the peer does not know
    /// the extension, and nothing was done.
    ///
    /// # Errors
    /// The connection is closed, no such stream, or it only receives.
    pub fn reset_at(&mut self, id: StreamId, code: u64, reliable_size: u64) -> Result<bool, WriteError> {
        self.open_for_writing()?;
        self.streams.reset_at(id, code, reliable_size)
    }

    /// Gives up reading (RFC 9000 section 19.5).
    pub fn stop(&mut self, id: StreamId, code: u64) -> Result<(), ReadError> {
        if !self.life.is_open() {
            return Err(ReadError::Unknown);
        }
        self.streams.stop(id, code)
    }

    /// Copies received bytes out. Works on a closed connection too: what came in order can still be read.
    pub fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<ReadOk, ReadError> {
        self.streams.read(id, out)
    }

    /// The same without a copy; `true` with the last bytes.
    pub fn read_chunk(&mut self, id: StreamId, max: usize) -> Result<(Chunk, bool), ReadError> {
        self.streams.read_chunk(id, max)
    }

    /// The credit of `n` bytes just read stays withheld from the peer.
    pub fn withhold(&mut self, id: StreamId, n: u64) {
        self.streams.withhold(id, n);
    }

    /// Gives withheld credit to the peer (RFC 9000 section 4.2).
    pub fn give_back(&mut self, id: StreamId, n: u64) {
        if self.life.is_open() {
            self.streams.give_back(id, n);
        }
    }

    /// Everything written to streams has arrived, ends included.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.streams.is_flushed()
    }

    /// Bytes that can be read now.
    pub fn readable_len(&self, id: StreamId) -> Result<u64, ReadError> {
        self.streams.readable_len(id)
    }

    /// RFC 9218 section 4: urgency 0 (first) to 7.
    pub fn set_priority(&mut self, id: StreamId, urgency: u8, incremental: bool) {
        self.streams.set_priority(id, urgency, incremental);
    }

    /// How many streams are alive and what they hold.
    #[must_use]
    pub fn stream_counts(&self) -> StreamCounts {
        self.streams.counts()
    }

    /// Queues a DATAGRAM (RFC 9221). A `tag` other than 0 gets an `Event::DatagramState`.
    pub fn datagram_send(&mut self, data: Chunk, tag: u64) -> Result<(), DatagramError> {
        if !self.life.is_open() {
            return Err(DatagramError::Blocked);
        }
        self.datagrams.send(data, tag)
    }

    /// The next received datagram.
    pub fn datagram_recv(&mut self) -> Option<Vec<u8>> {
        self.datagrams.recv()
    }

    /// Largest payload that `datagram_send` takes now; `None`: the peer takes no datagrams.
    #[must_use]
    pub fn datagram_max_len(&self) -> Option<usize> {
        self.datagrams.max_len()
    }

    fn open_for_writing(&self) -> Result<(), WriteError> {
        if self.life.is_open() { Ok(()) } else { Err(WriteError::Closed) }
    }

    /// Ends the connection with an application error code (frame 0x1d).
    pub fn close(&mut self, code: u64, reason: &[u8], now: Timestamp) {
        self.close_by_application(code, reason, now);
    }

    /// Ends the connection with a transport error (frame 0x1c).
    pub fn close_transport(&mut self, error: TransportError, now: Timestamp) {
        self.fail(error, now);
    }

    /// Sends a PING soon.
    pub fn ping(&mut self) {
        self.control.ping = true;
    }

    /// Wants a key update: it starts now (`true`), or before the next packet for which RFC 9001 section 6.1 allows
    /// it. Asking again meanwhile changes nothing.
    pub fn key_update(&mut self, now: Timestamp) -> bool {
        self.control.key_update = self.life.is_open();
        self.start_wanted_key_update(now)
    }

    /// Starts the key update that was asked for, as soon as that is allowed.
    pub(super) fn start_wanted_key_update(&mut self, now: Timestamp) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc9001#section-6.1
        //# An endpoint MUST NOT initiate a key update prior to having confirmed the handshake (Section 4.1.2).
        if !self.control.key_update || !self.life.is_open() || !self.life.is_confirmed() {
            return false;
        }
        let Some(keys) = self.data.keys.as_mut() else { return false };
        if !keys.initiate_update(now) {
            // When something acknowledged in this phase is what is missing, ask for that, once.
            self.control.ping |= !keys.is_acknowledged() && !self.recovery.has_eliciting_in_flight(SpaceId::Data);
            return false;
        }
        let generation = keys.generation();
        self.control.key_update = false;
        self.on_keys_updated(false, generation, now);
        // The peer follows when it sees a packet of the new phase.
        self.control.ping = true;
        true
    }

    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Server: some of this stream's data came in 0-RTT packets, which may be replayed (RFC 9001 section 9.2) as long as
    /// the client has not completed a handshake ([`Self::was_completed`]). `None`: no such stream (any more).
    #[must_use]
    pub fn stream_is_early(&self, id: StreamId) -> Option<bool> {
        self.streams.is_early(id)
    }

    /// The TLS handshake is complete, or was when the connection was closed: the peer is alive.
    #[must_use]
    pub fn was_completed(&self) -> bool {
        self.life.is_complete()
    }

    /// Neither established nor closing.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.life.phase() == Phase::Handshaking
    }

    /// The TLS handshake is complete and the connection is not closing.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.life.is_open() && self.life.is_complete()
    }

    /// RFC 9001 section 4.1.2.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.life.phase() == Phase::Confirmed
    }

    /// Closing, draining or drained.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.life.is_open()
    }

    /// Nothing will ever be sent again.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.life.phase() == Phase::Drained
    }

    #[must_use]
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_deref()
    }

    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.summary.as_ref().map_or_else(|| self.tls.as_ref()?.alpn(), |s| s.alpn())
    }

    /// Server: the name that the client asked for.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.summary.as_ref().map_or_else(|| self.tls.as_ref()?.server_name(), |s| s.server_name())
    }

    /// DER, the end entity first.
    #[must_use]
    pub fn peer_certificates(&self) -> Vec<Vec<u8>> {
        match (&self.summary, &self.tls) {
            (Some(summary), _) => summary.peer_certificates(),
            (None, Some(tls)) => tls.peer_certificates(),
            (None, None) => Vec::new(),
        }
    }

    #[must_use]
    pub const fn early_data(&self) -> EarlyData {
        self.early
    }

    /// The session was resumed from a ticket.
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.summary.as_ref().map_or_else(|| self.tls.as_ref().is_some_and(|t| t.resumed()), |s| s.resumed())
    }

    /// Keying material of the TLS exporter (RFC 8446 section 7.5); `false` before the handshake is complete.
    #[must_use]
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> bool {
        match (&self.summary, &self.tls) {
            (Some(summary), _) => summary.export(label, context, out),
            (None, Some(tls)) => tls.export(label, context, out),
            (None, None) => false,
        }
    }

    /// Counters and a picture of the active path.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let path = self.paths.active();
        let r = &path.recovery;
        Stats {
            rtt_latest: r.rtt.latest(),
            rtt_smoothed: r.rtt.smoothed(),
            rtt_variance: r.rtt.var(),
            rtt_min: r.rtt.min(),
            congestion_window: r.cc.window(),
            bytes_in_flight: r.in_flight(),
            mtu: u64::from(path.mtu()),
            ..self.stats
        }
    }

    /// The shortest round trip of the active path so far, zero before the first sample.
    #[must_use]
    pub fn shortest_round_trip(&self) -> Duration {
        self.paths.active().recovery.rtt.min()
    }

    /// Sequence number 0 of our connection IDs.
    #[must_use]
    pub const fn local_cid(&self) -> ConnectionId {
        self.scid
    }

    /// All connection IDs that the peer may use, for the endpoint to forget at the end.
    pub fn local_cids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.local_cids.iter()
    }

    /// Stream data wait that the peer's flow control lets go.
    #[must_use]
    pub fn has_stream_data(&self) -> bool {
        self.life.is_open() && self.streams.wants_data()
    }

    /// The owner should call `transmit` soon.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        if !self.life.is_open() {
            return self.wants_close();
        }
        self.dirty
            || self.control.has_probes()
            || self.wants_eliciting()
            || self.paths.wants_to_send(self.peer_cids.unused() > 0, self.control.has_expired()).is_some()
    }
}
