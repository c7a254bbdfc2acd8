//! Receiving part of a stream: the state machine of RFC 9000 section 3.2 with the final-size rules of section 4.5.
//!
//! Invariant: connection credit for every byte up to the highest offset (or the final size) is taken once when the
//! peer reaches it and given back once when the application has read it, or we have thrown it away.
use super::event::ReadError;
use super::flow::{Exceeded, ReceiveWindow};
use super::pool::SlabPool;
use super::reassembly::Reassembly;
use crate::base::codes::transport::{
    FINAL_SIZE_ERROR, FLOW_CONTROL_ERROR, FRAME_ENCODING_ERROR, INTERNAL_ERROR, STREAM_STATE_ERROR,
};
use crate::base::{Timestamp, TransportError};
use crate::wire::varint;

/// States of RFC 9000 figure 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecvState {
    Recv,
    SizeKnown,
    DataRecvd,
    DataRead,
    ResetRecvd,
    ResetRead,
}

/// Receiving part.
#[derive(Debug)]
pub struct RecvHalf {
    pub data: Reassembly,
    pub window: ReceiveWindow,
    state: RecvState,
    final_size: Option<u64>,
    /// Code of our STOP_SENDING.
    stopped: Option<u64>,
    /// Code of the peer's RESET_STREAM or RESET_STREAM_AT.
    reset_code: u64,
    /// Smallest Reliable Size of the peer's RESET_STREAM_AT: the reset is told once so much was read.
    reset_at: Option<u64>,
    /// Bytes that were read and whose credit the application holds back.
    withheld: u64,
}

/// What a frame of the peer changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// There is more to read than before, or the end is known to be near.
    pub readable: bool,
    /// Connection credit should be renewed.
    pub renew_connection: bool,
    /// The stream was reset just now and the application does not know yet.
    pub reset: bool,
}

/// What reading changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AfterRead {
    /// The end of the stream is reached.
    pub fin: bool,
    /// All that the peer promised was read: its reset is to be told.
    pub reset: bool,
    pub renew_stream: bool,
    pub renew_connection: bool,
}

const OVER_STREAM: TransportError = TransportError::new(FLOW_CONTROL_ERROR, "stream data beyond the stream's limit");
const OVER_CONNECTION: TransportError =
    TransportError::new(FLOW_CONTROL_ERROR, "stream data beyond the connection's limit");

impl RecvHalf {
    #[must_use]
    pub fn new(window: ReceiveWindow) -> Self {
        Self {
            data: Reassembly::default(),
            window,
            state: RecvState::Recv,
            final_size: None,
            stopped: None,
            reset_code: 0,
            reset_at: None,
            withheld: 0,
        }
    }

    #[cfg(test)]
    pub const fn state(&self) -> RecvState {
        self.state
    }

    /// Terminal, or all we would do is throw the rest away.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        match self.state {
            RecvState::DataRead | RecvState::ResetRead => true,
            RecvState::Recv => false,
            // The final size is accounted for: whatever else arrives changes nothing.
            RecvState::SizeKnown | RecvState::DataRecvd | RecvState::ResetRecvd => self.stopped.is_some(),
        }
    }

    /// Takes the peer's claim that the stream reaches `end` from both windows.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.9
    //# The sum of the final sizes on all streams -- including streams in terminal states -- MUST NOT exceed the value
    //# advertised by a receiver.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.9
    //# An endpoint MUST terminate a connection with an error of type FLOW_CONTROL_ERROR if it receives more data than
    //# the maximum data value that it has sent.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.10
    //# An endpoint MUST terminate a connection with an error of type FLOW_CONTROL_ERROR if it receives more data than
    //# the largest maximum stream data that it has sent for the affected stream.
    fn charge(&mut self, end: u64, connection: &mut ReceiveWindow, now: Timestamp) -> Result<(), TransportError> {
        let more = end.saturating_sub(self.window.received());
        // RFC 9000 section 4.1: both limits hold, for every frame that moves the highest offset.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-4.1
        //# A receiver MUST close the connection with an error of type FLOW_CONTROL_ERROR if the sender violates the
        //# advertised connection or stream data limits; see Section 11 for details on error handling.
        self.window.check(more).map_err(|Exceeded| OVER_STREAM)?;
        connection.check(more).map_err(|Exceeded| OVER_CONNECTION)?;
        self.window.on_received(more, now);
        connection.on_received(more, now);
        Ok(())
    }

    /// Gives back what nobody will read.
    fn drop_unread(&mut self, connection: &mut ReceiveWindow, pool: &mut SlabPool) -> bool {
        self.data.discard(pool);
        self.withheld = 0;
        let unread = self.window.received() - self.window.consumed();
        let _ = self.window.on_consumed(unread);
        unread > 0 && connection.on_consumed(unread)
    }

    /// A STREAM frame.
    ///
    /// # Errors
    /// `FLOW_CONTROL_ERROR`, `FINAL_SIZE_ERROR`, or too many fragments.
    pub fn on_stream(
        &mut self,
        offset: u64,
        data: &[u8],
        fin: bool,
        connection: &mut ReceiveWindow,
        pool: &mut SlabPool,
        now: Timestamp,
    ) -> Result<Received, TransportError> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= varint::MAX).ok_or(
            // RFC 9000 section 19.8: FRAME_ENCODING_ERROR or FLOW_CONTROL_ERROR.
            TransportError::new(FRAME_ENCODING_ERROR, "stream offset beyond 2^62 - 1"),
        )?;
        self.check_final_size(end, fin)?;
        self.charge(end, connection, now)?;
        if fin && self.final_size.is_none() {
            self.final_size = Some(end);
            if self.state == RecvState::Recv {
                self.state = RecvState::SizeKnown;
            }
        }
        if self.stopped.is_some() {
            let renew_connection = self.drop_unread(connection, pool);
            return Ok(Received { renew_connection, ..Received::default() });
        }
        if !matches!(self.state, RecvState::Recv | RecvState::SizeKnown) {
            return Ok(Received::default());
        }
        let mut readable = self
            .data
            .insert(offset, data, pool)
            .map_err(|_| TransportError::new(INTERNAL_ERROR, "stream data in too many fragments"))?;
        // A stream that was reset has no clean end, also when all of it arrived.
        let whole = self.reset_at.is_none() && self.final_size == Some(self.data.ready());
        if self.state == RecvState::SizeKnown && whole {
            self.state = RecvState::DataRecvd;
            readable = true;
        }
        Ok(Received { readable, ..Received::default() })
    }

    /// RFC 9000 section 4.5: the final size is fixed, and nothing lies beyond it.
    fn check_final_size(&self, end: u64, fin: bool) -> Result<(), TransportError> {
        let wrong = match self.final_size {
            Some(size) => end > size || (fin && end != size),
            None => fin && end < self.window.received(),
        };
        if wrong { Err(TransportError::new(FINAL_SIZE_ERROR, "final size of a stream changed")) } else { Ok(()) }
    }

    /// A RESET_STREAM frame.
    ///
    /// # Errors
    /// `FLOW_CONTROL_ERROR` or `FINAL_SIZE_ERROR`.
    pub fn on_reset(
        &mut self,
        code: u64,
        final_size: u64,
        connection: &mut ReceiveWindow,
        pool: &mut SlabPool,
        now: Timestamp,
    ) -> Result<Received, TransportError> {
        self.check_final_size(final_size, true)?;
        self.check_code(code)?;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-4.5
        //# The receiver MUST use the final size of the stream to account for all bytes sent on the stream in its
        //# connection-level flow controller.
        self.charge(final_size, connection, now)?;
        self.final_size = Some(final_size);
        if !matches!(self.state, RecvState::Recv | RecvState::SizeKnown) {
            // All data has arrived (or the stream was reset before): the reset brings no news (section 3.2).
            return Ok(Received::default());
        }
        let renew_connection = self.drop_unread(connection, pool);
        self.reset_code = code;
        let silent = self.stopped.is_some();
        self.state = if silent { RecvState::ResetRead } else { RecvState::ResetRecvd };
        Ok(Received { readable: false, renew_connection, reset: !silent })
    }

    /// draft-ietf-quic-reliable-stream-reset section 5.2: frames that reset a stream again keep its code.
    fn check_code(&self, code: u64) -> Result<(), TransportError> {
        if self.reset_at.is_some() && code != self.reset_code {
            return Err(TransportError::new(STREAM_STATE_ERROR, "error code of a reset changed"));
        }
        Ok(())
    }

    /// A RESET_STREAM_AT frame (draft-ietf-quic-reliable-stream-reset section 5): the stream's first `reliable` bytes
    /// are still delivered, then the application hears of the reset.
    ///
    /// # Errors
    /// `FLOW_CONTROL_ERROR`, `FINAL_SIZE_ERROR`, or `STREAM_STATE_ERROR` for another code than before.
    pub fn on_reset_at(
        &mut self,
        code: u64,
        final_size: u64,
        reliable: u64,
        connection: &mut ReceiveWindow,
        pool: &mut SlabPool,
        now: Timestamp,
    ) -> Result<Received, TransportError> {
        if self.stopped.is_some() {
            return self.on_reset(code, final_size, connection, pool, now);
        }
        self.check_final_size(final_size, true)?;
        self.check_code(code)?;
        self.charge(final_size, connection, now)?;
        self.final_size = Some(final_size);
        let news = self.reset_at.is_none_or(|before| reliable < before);
        if !matches!(self.state, RecvState::Recv | RecvState::SizeKnown) || !news {
            // All data has arrived, it was reset, or reordering brought an older, larger size.
            return Ok(Received::default());
        }
        self.state = RecvState::SizeKnown;
        self.reset_at = Some(reliable);
        self.reset_code = code;
        let (reset, renew_connection) = self.reach_reset(connection, pool);
        Ok(Received { readable: false, renew_connection, reset })
    }

    /// After reading or a smaller Reliable Size: whether the reset is to be told now, and whether to renew the
    /// connection's credit. What lies beyond the Reliable Size is dropped.
    fn reach_reset(&mut self, connection: &mut ReceiveWindow, pool: &mut SlabPool) -> (bool, bool) {
        let reached = self.reset_at.is_some_and(|size| self.data.position() >= size);
        if !reached || !matches!(self.state, RecvState::Recv | RecvState::SizeKnown) {
            return (false, false);
        }
        self.state = RecvState::ResetRecvd;
        (true, self.drop_unread(connection, pool))
    }

    /// The application does not want any more; true if STOP_SENDING must go out (RFC 9000 section 3.5), second
    /// value: renew the connection's credit.
    ///
    /// # Errors
    /// Nothing to stop.
    pub fn stop(
        &mut self,
        code: u64,
        connection: &mut ReceiveWindow,
        pool: &mut SlabPool,
    ) -> Result<(bool, bool), ReadError> {
        if self.stopped.is_some() || matches!(self.state, RecvState::DataRead | RecvState::ResetRead) {
            return Err(ReadError::Finished);
        }
        self.stopped = Some(code);
        let renew = self.drop_unread(connection, pool);
        // With the final size known the peer has nothing left that it could save.
        Ok((self.state == RecvState::Recv, renew))
    }

    /// Code for STOP_SENDING while it is of use.
    #[must_use]
    pub fn stop_frame(&self) -> Option<u64> {
        self.stopped.filter(|_| self.state == RecvState::Recv)
    }

    /// Limit for MAX_STREAM_DATA may be raised: no sense once the size is known or nobody reads.
    #[must_use]
    pub const fn wants_credit(&self) -> bool {
        matches!(self.state, RecvState::Recv) && self.stopped.is_none()
    }

    /// Whether there is something to read.
    ///
    /// # Errors
    /// Why not. A reset is reported once and ends the stream.
    pub fn check_readable(&mut self) -> Result<(), ReadError> {
        match self.state {
            RecvState::DataRead => Err(ReadError::Finished),
            _ if self.stopped.is_some() => Err(ReadError::Finished),
            // Whoever asks after the event was taken must not believe in a clean end.
            RecvState::ResetRead => Err(ReadError::Reset(self.reset_code)),
            RecvState::ResetRecvd => {
                self.state = RecvState::ResetRead;
                Err(ReadError::Reset(self.reset_code))
            }
            RecvState::DataRecvd => Ok(()),
            RecvState::Recv | RecvState::SizeKnown if self.data.available() == 0 => Err(ReadError::Blocked),
            RecvState::Recv | RecvState::SizeKnown => Ok(()),
        }
    }

    /// `n` bytes were taken out of `data`.
    pub fn on_read(&mut self, n: u64, connection: &mut ReceiveWindow, pool: &mut SlabPool) -> AfterRead {
        let renew_stream = self.window.on_consumed(n) && self.wants_credit();
        let mut renew_connection = n > 0 && connection.on_consumed(n);
        let (reset, renew) = self.reach_reset(connection, pool);
        renew_connection |= renew;
        let fin = self.state == RecvState::DataRecvd && self.final_size == Some(self.data.position());
        if fin {
            self.state = RecvState::DataRead;
        }
        AfterRead { fin, reset, renew_stream, renew_connection }
    }

    /// Takes back the credit of `n` bytes that were just read.
    pub fn withhold(&mut self, n: u64) {
        self.withheld = self.withheld.saturating_add(n);
        self.window.withhold(n);
    }

    /// Gives up to `n` bytes of withheld credit back: how many, and whether the stream's credit is to be renewed.
    pub fn give_back(&mut self, n: u64) -> (u64, bool) {
        let n = n.min(self.withheld);
        self.withheld = self.withheld.saturating_sub(n);
        (n, self.window.give_back(n) && self.wants_credit())
    }

    /// Code of the peer's RESET_STREAM.
    #[must_use]
    pub const fn reset_code(&self) -> u64 {
        self.reset_code
    }

    /// The application has heard of the reset.
    pub fn on_reset_reported(&mut self) {
        if self.state == RecvState::ResetRecvd {
            self.state = RecvState::ResetRead;
        }
    }
}

#[cfg(test)]
mod tests;
