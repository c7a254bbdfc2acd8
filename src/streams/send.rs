//! Sending part of a stream: the state machine of RFC 9000 section 3.1 around a send buffer.
//!
//! Invariant: in a reset or terminal state the buffer is empty; `fin_queued` is only set when the application has
//! finished the stream; the final size never changes once it was sent (section 4.5).
use core::ops::Range;

use super::event::WriteError;
use super::flow::SendCredit;
use super::pool::SlabPool;
use super::send_buffer::SendBuffer;

/// States of RFC 9000 figure 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendState {
    Ready,
    Send,
    DataSent,
    ResetSent,
    DataRecvd,
    ResetRecvd,
}

/// Sending part.
#[derive(Debug)]
pub struct SendHalf {
    pub buffer: SendBuffer,
    pub credit: SendCredit,
    state: SendState,
    /// The application will write no more.
    finished: bool,
    /// A FIN must be sent (again).
    pub fin_queued: bool,
    fin_acked: bool,
    /// Code of our RESET_STREAM or RESET_STREAM_AT.
    reset_code: u64,
    /// Reliable Size of our RESET_STREAM_AT (draft-ietf-quic-reliable-stream-reset): up to here bytes are repeated.
    reset_at: Option<u64>,
    /// The peer has the RESET_STREAM_AT with this size.
    reset_at_acked: bool,
    /// Code of the peer's STOP_SENDING.
    stopped: Option<u64>,
    /// A write was refused or cut short: one `Writable` is owed.
    pub starved: bool,
}

/// What the acknowledgement of a STREAM frame changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Acked {
    /// Bytes that left the buffer.
    pub freed: u64,
    /// Everything, FIN included, has arrived.
    pub complete: bool,
    /// Everything that our RESET_STREAM_AT promised has arrived, and it too.
    pub reset: bool,
}

impl SendHalf {
    /// `limit`: the peer's initial_max_stream_data for this kind of stream.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let mut credit = SendCredit::default();
        credit.raise(limit);
        Self {
            buffer: SendBuffer::default(),
            credit,
            state: SendState::Ready,
            finished: false,
            fin_queued: false,
            fin_acked: false,
            reset_code: 0,
            reset_at: None,
            reset_at_acked: false,
            stopped: None,
            starved: false,
        }
    }

    #[cfg(test)]
    pub const fn state(&self) -> SendState {
        self.state
    }

    /// Terminal (RFC 9000 section 3.1).
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, SendState::DataRecvd | SendState::ResetRecvd)
    }

    /// STREAM frames may still be sent.
    #[must_use]
    pub const fn is_sending(&self) -> bool {
        matches!(self.state, SendState::Ready | SendState::Send | SendState::DataSent)
    }

    /// Whether the application may write.
    ///
    /// # Errors
    /// Why it may not.
    pub const fn check_writable(&self) -> Result<(), WriteError> {
        match self.stopped {
            Some(code) => Err(WriteError::Stopped(code)),
            //= https://www.rfc-editor.org/rfc/rfc9000#section-4.5
            //# An endpoint MUST NOT send data on a stream at or beyond the final size.
            None if self.finished || !self.is_sending() => Err(WriteError::Closed),
            None => Ok(()),
        }
    }

    /// The application ends the stream.
    ///
    /// # Errors
    /// It is closed already.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.check_writable()?;
        self.finished = true;
        self.fin_queued = true;
        Ok(())
    }

    /// Our end of the stream, or a reset, is on its way and not acknowledged.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        match self.state {
            SendState::DataRecvd | SendState::ResetRecvd => false,
            SendState::ResetSent => true,
            SendState::Ready | SendState::Send | SendState::DataSent => self.finished,
        }
    }

    /// Can send without connection credit: repetitions and a bare FIN.
    #[must_use]
    pub fn has_free_data(&self) -> bool {
        self.is_sending() && (self.buffer.has_lost() || (self.fin_queued && self.buffer.unsent() == 0))
    }

    /// Has new bytes and stream credit for them.
    #[must_use]
    pub const fn has_new_data(&self) -> bool {
        self.is_sending() && self.buffer.unsent() > 0 && self.credit.available() > 0
    }

    /// Has new bytes and no stream credit (RFC 9000 section 4.1: time for STREAM_DATA_BLOCKED).
    #[must_use]
    pub const fn is_blocked(&self) -> bool {
        self.is_sending() && self.buffer.unsent() > 0 && self.credit.available() == 0
    }

    /// The range for the next STREAM frame, at most `room` bytes of which `credit` may be new, and whether the FIN
    /// goes with its end. An empty range is a bare FIN.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-19.10
    //# The data sent on a stream MUST NOT exceed the largest maximum stream data value advertised by the receiver.
    #[must_use]
    pub fn next_frame(&self, room: usize, credit: u64) -> Option<(Range<u64>, bool)> {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-2.2
        //# An endpoint MUST NOT send data on any stream without ensuring that it is within the flow control limits set
        //# by its peer.
        let limit = self.credit.limit().min(self.buffer.sent().saturating_add(credit));
        let end = self.buffer.end();
        match self.buffer.next_range(room, limit) {
            Some(range) => {
                let fin = self.finished && self.reset_at.is_none() && range.end == end;
                Some((range, fin))
            }
            None => (self.fin_queued && self.buffer.unsent() == 0).then_some((end..end, true)),
        }
    }

    /// The frame is in a packet; returns how many of its bytes were new.
    pub fn on_sent(&mut self, range: Range<u64>, fin: bool) -> u64 {
        let before = self.buffer.sent();
        self.buffer.on_sent(range);
        let new = self.buffer.sent() - before;
        self.credit.spend(new);
        if self.state == SendState::Ready {
            self.state = SendState::Send;
        }
        if fin {
            self.fin_queued = false;
            if self.state == SendState::Send {
                self.state = SendState::DataSent;
            }
        }
        new
    }

    /// A STREAM frame was acknowledged.
    pub fn on_acked(&mut self, range: Range<u64>, fin: bool, pool: &mut SlabPool) -> Acked {
        if !self.is_sending() {
            return Acked::default();
        }
        let mut freed = self.buffer.on_acked(range, pool);
        if self.reset_at.is_some() {
            let (reset, dropped) = self.settle_reset_at(pool);
            freed += dropped;
            return Acked { freed, complete: false, reset };
        }
        if fin {
            self.fin_acked = true;
            self.fin_queued = false;
        }
        let complete = self.fin_acked && self.buffer.all_acked();
        if complete {
            self.state = SendState::DataRecvd;
        }
        Acked { freed, complete, reset: false }
    }

    /// A STREAM frame was lost; true if there is something to send again.
    pub fn on_lost(&mut self, range: Range<u64>, fin: bool) -> bool {
        if !self.is_sending() {
            return false;
        }
        // draft-ietf-quic-reliable-stream-reset section 5: what lies beyond the Reliable Size is not sent again.
        self.buffer.on_lost(range.start..range.end.min(self.reset_at.unwrap_or(u64::MAX)));
        if fin && !self.fin_acked && self.reset_at.is_none() {
            self.fin_queued = true;
        }
        self.has_free_data()
    }

    /// Ends the stream abruptly; returns the bytes that left the buffer, or `None` when there is nothing left to
    /// abandon (RFC 9000 section 3.1: from Ready, Send and Data Sent only).
    pub fn reset(&mut self, code: u64, pool: &mut SlabPool) -> Option<u64> {
        if !self.is_sending() {
            return None;
        }
        let freed = self.buffer.discard(pool);
        self.state = SendState::ResetSent;
        // RESET_STREAM_AT may have told the peer another code, which then holds.
        if self.reset_at.take().is_none() {
            self.reset_code = code;
        }
        self.fin_queued = false;
        self.starved = false;
        Some(freed)
    }

    /// Ends the stream abruptly, but delivers its first `reliable` bytes (more than 0, and cut to what was written); a later
    /// call may only lower it. Returns the bytes that left the buffer, or `None` when nothing changed.
    pub fn reset_at(&mut self, code: u64, reliable: u64, pool: &mut SlabPool) -> Option<u64> {
        let reliable = reliable.min(self.buffer.end());
        if !self.is_sending() || self.reset_at.is_some_and(|before| before <= reliable) {
            return None;
        }
        if self.reset_at.is_none() {
            self.reset_code = code;
        }
        self.reset_at = Some(reliable);
        self.reset_at_acked = false;
        self.finished = true;
        self.fin_queued = false;
        self.starved = false;
        let freed = self.buffer.give_up_from(reliable, pool);
        let (_, dropped) = self.settle_reset_at(pool);
        Some(freed.saturating_add(dropped))
    }

    /// Code, Final Size and Reliable Size for RESET_STREAM_AT while it has to be sent; not before every byte below the
    /// Final Size was sent.
    #[must_use]
    pub fn reset_at_frame(&self) -> Option<(u64, u64, u64)> {
        let reliable = self.reset_at.filter(|_| self.is_sending() && !self.reset_at_acked)?;
        (self.buffer.unsent() == 0).then_some((self.reset_code, self.buffer.sent(), reliable))
    }

    /// The peer has a RESET_STREAM_AT; returns the bytes that left the buffer.
    pub fn on_reset_at_acked(&mut self, reliable: u64, pool: &mut SlabPool) -> u64 {
        if self.reset_at == Some(reliable) {
            self.reset_at_acked = true;
        }
        self.settle_reset_at(pool).1
    }

    /// Data Recvd once the smallest RESET_STREAM_AT and all bytes below it are acknowledged (section 5.3 of the draft).
    fn settle_reset_at(&mut self, pool: &mut SlabPool) -> (bool, u64) {
        let over = self.is_sending()
            && self.reset_at_acked
            && self.reset_at.is_some_and(|reliable| self.buffer.acked_to() >= reliable);
        if !over {
            return (false, 0);
        }
        self.state = SendState::DataRecvd;
        (true, self.buffer.discard(pool))
    }

    /// STOP_SENDING arrived (RFC 9000 section 3.5); as `reset`, and remembers who wanted it.
    pub fn stop(&mut self, code: u64, pool: &mut SlabPool) -> Option<u64> {
        let freed = self.reset(code, pool)?;
        self.stopped = Some(code);
        Some(freed)
    }

    /// Code and final size for RESET_STREAM while it has to be sent (RFC 9000 section 19.4).
    //= https://www.rfc-editor.org/rfc/rfc9000#section-13.3
    //# The content of a RESET_STREAM frame MUST NOT change when it is sent again.
    #[must_use]
    pub fn reset_frame(&self) -> Option<(u64, u64)> {
        (self.state == SendState::ResetSent).then_some((self.reset_code, self.buffer.sent()))
    }

    /// The peer has our RESET_STREAM.
    pub fn on_reset_acked(&mut self) {
        if self.state == SendState::ResetSent {
            self.state = SendState::ResetRecvd;
        }
    }

    /// Code of the peer's STOP_SENDING.
    #[must_use]
    pub const fn stop_code(&self) -> Option<u64> {
        self.stopped
    }

    /// Code of our RESET_STREAM.
    #[must_use]
    pub const fn reset_code(&self) -> u64 {
        self.reset_code
    }

    /// 0-RTT was rejected: nothing was sent, nothing is allowed.
    pub fn restart(&mut self) {
        self.buffer.rewind();
        self.credit.restart();
        self.fin_acked = false;
        if self.is_sending() {
            self.state = SendState::Ready;
            self.fin_queued = self.finished && self.reset_at.is_none();
            self.reset_at_acked = false;
        }
    }
}

#[cfg(test)]
mod tests;
