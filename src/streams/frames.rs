//! Frames of the peer that concern streams (RFC 9000 sections 19.4, 19.5, 19.8 to 19.14).
//!
//! Every frame that names a stream goes through `locate`, so that the rules of sections 2.1, 3 and 4.6 about streams
//! that cannot be meant hold for all of them. Frames for closed streams are ignored.
use super::table::{Slot, control, pending};
use super::{Streams, due};
use crate::base::codes::transport::{FRAME_ENCODING_ERROR, STREAM_STATE_ERROR};
use crate::base::{Dir, StreamId, Timestamp, TransportError};
use crate::streams::ids::RemoteState;
use crate::streams::recv::Received;

/// The half of a stream that a frame speaks about, from our side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Send,
    Recv,
}

impl Streams {
    /// Finds the stream that the peer means, and makes it if it is the peer's and new.
    fn locate(&mut self, id: StreamId, half: Half) -> Result<Option<Slot>, TransportError> {
        let ours = id.initiator() == self.side;
        // RFC 9000 sections 19.4, 19.5, 19.8, 19.10, 19.13: wrong direction.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.4
        //# An endpoint that receives a RESET_STREAM frame for a send-only stream MUST terminate the connection with
        //# error STREAM_STATE_ERROR.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.5
        //# An endpoint that receives a STOP_SENDING frame for a receive-only stream MUST terminate the connection with
        //# error STREAM_STATE_ERROR.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.8
        //# An endpoint MUST terminate the connection with error STREAM_STATE_ERROR if it receives a STREAM frame for a
        //# locally initiated stream that has not yet been created, or for a send-only stream.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.10
        //# An endpoint that receives a MAX_STREAM_DATA frame for a receive-only stream MUST terminate the connection
        //# with error STREAM_STATE_ERROR.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-19.13
        //# An endpoint that receives a STREAM_DATA_BLOCKED frame for a send-only stream MUST terminate the connection
        //# with error STREAM_STATE_ERROR.
        if id.dir() == Dir::Uni && ours == (half == Half::Recv) {
            return Err(TransportError::new(STREAM_STATE_ERROR, "frame for a stream of the other direction"));
        }
        if let Some(slot) = self.table.find(id) {
            return Ok(Some(slot));
        }
        if ours {
            // RFC 9000 section 19.8 and others: a stream that only we can open and have not opened.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-19.5
            //# Receiving a STOP_SENDING frame for a locally initiated stream that has not yet been created MUST be
            //# treated as a connection error of type STREAM_STATE_ERROR.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-19.8
            //# An endpoint MUST terminate the connection with error STREAM_STATE_ERROR if it receives a STREAM frame
            //# for a locally initiated stream that has not yet been created, or for a send-only stream.
            //= https://www.rfc-editor.org/rfc/rfc9000#section-19.10
            //# Receiving a MAX_STREAM_DATA frame for a locally initiated stream that has not yet been created MUST be
            //# treated as a connection error of type STREAM_STATE_ERROR.
            return if self.local.of(id.dir()).exists(id.index()) {
                Ok(None)
            } else {
                Err(TransportError::new(STREAM_STATE_ERROR, "frame for a stream that does not exist"))
            };
        }
        match self.remote.of_mut(id.dir()).touch(id)? {
            RemoteState::Known => Ok(None),
            RemoteState::Fresh => {
                let stream = self.make(id);
                let slot = self.table.insert(stream);
                if self.config.stream_window_floor > 0 {
                    self.widen(slot);
                }
                self.remember_incoming(id);
                self.raise(slot, pending::OPENED);
                Ok(Some(slot))
            }
        }
    }

    fn remember_incoming(&mut self, id: StreamId) {
        let alive = self.table.len();
        let Self { incoming, table, .. } = self;
        let queue = incoming.of_mut(id.dir());
        // An application that lives on events never calls `accept`: closed streams must not pile up.
        if queue.len() > 2 * alive + 64 {
            queue.retain(|id| table.peek(*id).is_some());
        }
        queue.push_back(id);
    }

    fn note(&mut self, slot: Slot, received: Received) {
        if received.readable {
            self.raise(slot, pending::READABLE);
            // What can be read keeps the stream alive, and the other half has not changed.
            if !received.reset && !received.renew_connection {
                return;
            }
        }
        if received.reset {
            if let Some(stream) = self.table.get_mut(slot) {
                stream.events &= !pending::READABLE;
            }
            self.raise(slot, pending::RESET);
        }
        if received.renew_connection {
            self.due |= due::MAX_DATA;
        }
        self.settle(slot);
    }

    /// STREAM.
    ///
    /// # Errors
    /// `STREAM_STATE_ERROR`, `STREAM_LIMIT_ERROR`, `FLOW_CONTROL_ERROR`, `FINAL_SIZE_ERROR`, or too many fragments.
    pub fn on_stream(
        &mut self,
        id: StreamId,
        offset: u64,
        data: &[u8],
        fin: bool,
        now: Timestamp,
    ) -> Result<(), TransportError> {
        self.now = now;
        let Some(slot) = self.locate(id, Half::Recv)? else { return Ok(()) };
        let Self { table, window, pool, .. } = self;
        let Some(recv) = table.get_mut(slot).and_then(|s| s.recv.as_mut()) else { return Ok(()) };
        let received = recv.on_stream(offset, data, fin, window, pool, now)?;
        self.note(slot, received);
        Ok(())
    }

    /// A frame that carried stream data came in a 0-RTT packet.
    pub fn on_early(&mut self, id: StreamId) {
        if let Some(stream) = self.table.find(id).and_then(|slot| self.table.get_mut(slot)) {
            stream.early = true;
        }
    }

    /// Some of the stream's data came in 0-RTT packets; `None`: no such stream (any more).
    #[must_use]
    pub fn is_early(&self, id: StreamId) -> Option<bool> {
        self.table.peek(id).map(|stream| stream.early)
    }

    /// RESET_STREAM.
    ///
    /// # Errors
    /// As `on_stream`.
    pub fn on_reset_stream(&mut self, id: StreamId, code: u64, final_size: u64) -> Result<(), TransportError> {
        let Some(slot) = self.locate(id, Half::Recv)? else { return Ok(()) };
        let Self { table, window, pool, now, .. } = self;
        let Some(recv) = table.get_mut(slot).and_then(|s| s.recv.as_mut()) else { return Ok(()) };
        let received = recv.on_reset(code, final_size, window, pool, *now)?;
        self.note(slot, received);
        Ok(())
    }

    /// RESET_STREAM_AT (draft-ietf-quic-reliable-stream-reset section 4).
    ///
    /// # Errors
    /// As `on_stream`; `FRAME_ENCODING_ERROR` for a Reliable Size beyond the Final Size.
    pub fn on_reset_stream_at(
        &mut self,
        id: StreamId,
        code: u64,
        final_size: u64,
        reliable: u64,
    ) -> Result<(), TransportError> {
        if reliable > final_size {
            return Err(TransportError::new(FRAME_ENCODING_ERROR, "reliable size beyond the final size"));
        }
        let Some(slot) = self.locate(id, Half::Recv)? else { return Ok(()) };
        let Self { table, window, pool, now, .. } = self;
        let Some(recv) = table.get_mut(slot).and_then(|s| s.recv.as_mut()) else { return Ok(()) };
        let received = recv.on_reset_at(code, final_size, reliable, window, pool, *now)?;
        self.note(slot, received);
        Ok(())
    }

    /// STOP_SENDING: answered with RESET_STREAM and the same code (RFC 9000 section 3.5).
    ///
    /// # Errors
    /// `STREAM_STATE_ERROR`, `STREAM_LIMIT_ERROR`.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-3.5
    //# An endpoint that receives a STOP_SENDING frame MUST send a RESET_STREAM frame if the stream is in the "Ready" or
    //# "Send" state.
    pub fn on_stop_sending(&mut self, id: StreamId, code: u64) -> Result<(), TransportError> {
        let Some(slot) = self.locate(id, Half::Send)? else { return Ok(()) };
        let Self { table, pool, .. } = self;
        let Some(send) = table.get_mut(slot).and_then(|s| s.send.as_mut()) else { return Ok(()) };
        if let Some(freed) = send.stop(code, pool) {
            self.raise(slot, pending::STOPPED);
            self.after_reset(slot, freed);
        }
        Ok(())
    }

    /// We have abandoned the sending part: RESET_STREAM goes out, the buffer's bytes are free.
    pub(super) fn after_reset(&mut self, slot: Slot, freed: u64) {
        if let Some(stream) = self.table.get_mut(slot) {
            stream.control &= !control::STREAM_DATA_BLOCKED;
        }
        self.want(slot, control::RESET_STREAM);
        self.settle(slot);
        self.release_held(freed);
    }

    /// MAX_DATA.
    pub fn on_max_data(&mut self, max: u64) {
        if self.credit.raise(max) {
            self.due &= !due::DATA_BLOCKED;
            while self.credit.available() > 0
                && let Some(slot) = self.scheduler.pop_waiting_for_credit()
            {
                self.activate(slot);
            }
        }
    }

    /// MAX_STREAM_DATA.
    ///
    /// # Errors
    /// `STREAM_STATE_ERROR`, `STREAM_LIMIT_ERROR`.
    pub fn on_max_stream_data(&mut self, id: StreamId, max: u64) -> Result<(), TransportError> {
        let Some(slot) = self.locate(id, Half::Send)? else { return Ok(()) };
        let Some(stream) = self.table.get_mut(slot) else { return Ok(()) };
        if stream.send.as_mut().is_some_and(|send| send.credit.raise(max)) {
            stream.control &= !control::STREAM_DATA_BLOCKED;
            self.activate(slot);
        }
        Ok(())
    }

    /// MAX_STREAMS; more than 2^60 was refused by the frame reader.
    ///
    /// # Errors
    /// None today.
    pub fn on_max_streams(&mut self, dir: Dir, max: u64) -> Result<(), TransportError> {
        self.raise_stream_limit(dir, max);
        Ok(())
    }

    /// DATA_BLOCKED: credit that was being saved up goes out now.
    pub fn on_data_blocked(&mut self, _limit: u64) {
        if self.window.could_renew() {
            self.due |= due::MAX_DATA;
        }
    }

    /// STREAM_DATA_BLOCKED.
    ///
    /// # Errors
    /// `STREAM_STATE_ERROR`, `STREAM_LIMIT_ERROR`.
    pub fn on_stream_data_blocked(&mut self, id: StreamId, _limit: u64) -> Result<(), TransportError> {
        let Some(slot) = self.locate(id, Half::Recv)? else { return Ok(()) };
        let renew = self
            .table
            .get(slot)
            .and_then(|s| s.recv.as_ref())
            .is_some_and(|recv| recv.wants_credit() && recv.window.could_renew());
        if renew {
            self.want(slot, control::MAX_STREAM_DATA);
        }
        Ok(())
    }

    /// STREAMS_BLOCKED.
    ///
    /// # Errors
    /// None today.
    pub fn on_streams_blocked(&mut self, dir: Dir, _limit: u64) -> Result<(), TransportError> {
        if self.remote.of(dir).could_renew() {
            self.due |= due::max_streams(dir);
        }
        Ok(())
    }
}
