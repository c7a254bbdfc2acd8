//! Frames to the peer, and what became of them.
//!
//! Payload is copied once, from the application's chunk into the packet under construction. Control frames are
//! written with the values of the moment, so a repeated one is never stale. Invariant: a stream in the scheduler's
//! ready lists has something that credit allows, or is taken out of them by the next call.
use core::ops::Range;

use super::send::SendHalf;
use super::table::{Slot, control, pending};
use super::{Streams, due};
use crate::base::{Dir, StreamId};
use crate::recovery::FrameToken;
use crate::wire::frame::{Frame, stream_header_len, write_stream_header};
use crate::wire::writer::Writer;

/// A stream's data is not cut for less than this at the end of a packet that carries something else already.
const MIN_FRAGMENT: usize = 32;

/// What became of a stream's turn.
enum Turn {
    Wrote,
    /// The packet has no room for it.
    Full,
    /// It had nothing to send and stands elsewhere now.
    Nothing,
    /// Its data were taken back by their lender: it was reset.
    Revoked,
}

impl Streams {
    /// Any data that credit allows, or any control frame.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.scheduler.is_ready() || self.wants_control()
    }

    /// Any data that credit allows.
    #[must_use]
    pub fn wants_data(&self) -> bool {
        self.scheduler.is_ready()
    }

    /// Any control frame.
    #[must_use]
    pub fn wants_control(&self) -> bool {
        self.due != 0 || !self.control.is_empty(0)
    }

    /// Writes control frames as long as they fit: RESET_STREAM, STOP_SENDING, MAX_*, *_BLOCKED.
    pub fn write_control(&mut self, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) {
        while self.due != 0 {
            let bit = self.due & self.due.wrapping_neg();
            if let Some((frame, token)) = self.connection_frame(bit)
                && !put(w, tokens, &frame, token)
            {
                return;
            }
            self.due &= !bit;
        }
        while let Some(slot) = self.control.front(0) {
            if !self.write_stream_control(slot, w, tokens) {
                return;
            }
            self.control.remove(slot);
        }
    }

    fn connection_frame(&mut self, bit: u8) -> Option<(Frame<'static>, FrameToken)> {
        let dir = if bit & (due::MAX_STREAMS_BIDI | due::STREAMS_BLOCKED_BIDI) != 0 { Dir::Bi } else { Dir::Uni };
        match bit {
            due::MAX_DATA => {
                let max = self.window.renew(self.now, self.rtt);
                Some((Frame::MaxData(max), FrameToken::MaxData))
            }
            due::DATA_BLOCKED => {
                self.credit.still_blocked().then(|| (Frame::DataBlocked(self.credit.limit()), FrameToken::DataBlocked))
            }
            due::MAX_STREAMS_BIDI | due::MAX_STREAMS_UNI => {
                let max = self.remote.of_mut(dir).renew();
                Some((Frame::MaxStreams { dir, max }, FrameToken::MaxStreams(dir)))
            }
            _ => {
                let ids = self.local.of(dir);
                let frame = Frame::StreamsBlocked { dir, limit: ids.limit() };
                ids.still_blocked().then_some((frame, FrameToken::StreamsBlocked(dir)))
            }
        }
    }

    /// False when the packet is full.
    fn write_stream_control(&mut self, slot: Slot, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) -> bool {
        let Some(id) = self.table.get(slot).map(|s| s.id) else { return true };
        if self.beyond_limit(id) {
            return true; // the bits stay; the stream is queued again when the limit allows it
        }
        loop {
            let Some(stream) = self.table.get_mut(slot) else { return true };
            if stream.control == 0 {
                return true;
            }
            //= https://www.rfc-editor.org/rfc/rfc9000#section-3.3
            //# A sender MUST NOT send any of these frames from a terminal state ("Data Recvd" or "Reset Recvd").
            //= https://www.rfc-editor.org/rfc/rfc9000#section-3.3
            //# A sender MUST NOT send a STREAM or STREAM_DATA_BLOCKED frame for a stream in the "Reset Sent" state or
            //# any terminal state -- that is, after sending a RESET_STREAM frame.
            let bit = stream.control & stream.control.wrapping_neg();
            let frame = match bit {
                control::RESET_STREAM => stream.send.as_ref().and_then(|s| reset_of(id, s)),
                control::STOP_SENDING => {
                    stream.recv.as_ref().and_then(|r| r.stop_frame()).map(|code| Frame::StopSending { id, code })
                }
                control::MAX_STREAM_DATA => stream.recv.as_mut().filter(|r| r.wants_credit()).map(|recv| {
                    let max = recv.window.renew(self.now, self.rtt);
                    // One stream must not be able to use up all of the connection's window.
                    self.window.at_least(recv.window.size() / 2 * 3);
                    Frame::MaxStreamData { id, max }
                }),
                _ => stream
                    .send
                    .as_ref()
                    .filter(|s| s.is_blocked())
                    .map(|s| Frame::StreamDataBlocked { id, limit: s.credit.limit() }),
            };
            let token = match bit {
                control::RESET_STREAM => match frame {
                    Some(Frame::ResetStreamAt { reliable_size: reliable, .. }) => {
                        FrameToken::ResetStreamAt { id, reliable }
                    }
                    _ => FrameToken::ResetStream(id),
                },
                control::STOP_SENDING => FrameToken::StopSending(id),
                control::MAX_STREAM_DATA => FrameToken::MaxStreamData(id),
                _ => FrameToken::StreamDataBlocked(id),
            };
            if let Some(frame) = frame
                && !put(w, tokens, &frame, token)
            {
                return false;
            }
            if let Some(stream) = self.table.get_mut(slot) {
                stream.control &= !bit;
            }
        }
    }

    /// Fills the packet with STREAM frames; true if any was written. Call it last: a frame that ends exactly where the
    /// writer ends has no length field (leave the room for the AEAD tag outside).
    pub fn write_stream_frames(&mut self, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) -> bool {
        let (mut wrote, mut revoked) = (false, false);
        while let Some(slot) = self.scheduler.next() {
            match self.write_stream_frame(slot, w, tokens) {
                Turn::Wrote => wrote = true,
                Turn::Full => break,
                Turn::Nothing => {}
                Turn::Revoked => revoked = true,
            }
        }
        if revoked {
            // Here, because control frames had their turn before, and a packet that stays empty would be the last for now.
            self.write_control(w, tokens);
        }
        wrote
    }

    fn write_stream_frame(&mut self, slot: Slot, w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>) -> Turn {
        //= https://www.rfc-editor.org/rfc/rfc9000#section-4.1
        //# Senders MUST NOT send data in excess of either limit.
        let credit = self.credit.available();
        let Some(stream) = self.table.get_mut(slot) else {
            self.scheduler.remove(slot);
            return Turn::Nothing;
        };
        let id = stream.id;
        let room = w.remaining();
        // At least one byte is asked for, so that a full packet does not look like a stream with nothing to send.
        let Some((range, fin)) = stream.send.as_ref().and_then(|s| s.next_frame(room.max(1), credit)) else {
            self.activate(slot);
            return Turn::Nothing;
        };
        if self.beyond_limit(id) {
            self.scheduler.wait_for_limit(slot);
            return Turn::Nothing;
        }
        let Some((range, len_field, fin)) = fit(id, range, fin, room, tokens.is_empty()) else { return Turn::Full };
        #[cfg(feature = "sim")]
        let (range, len_field, fin) = match range {
            range if self.config.one_byte_frames && range.end - range.start > 1 => {
                (range.start..range.start + 1, true, false)
            }
            range => (range, len_field, fin),
        };
        let len = usize::try_from(range.end - range.start).unwrap_or(0);
        let start = w.position();
        if write_stream_header(w, id, range.start, len_field.then_some(len), fin).is_err() {
            return Turn::Full;
        }
        let Some(send) = self.table.get_mut(slot).and_then(|s| s.send.as_mut()) else { return Turn::Nothing };
        let copied = match w.reserve(len) {
            Ok(dst) => send.buffer.copy_to(range.start, dst),
            Err(_) => {
                w.rewind(start);
                return Turn::Full;
            }
        };
        if copied.is_err() {
            w.rewind(start);
            self.on_revoked(slot);
            return Turn::Revoked;
        }
        tokens.push(FrameToken::Stream { id, offset: range.start, len: u32::try_from(len).unwrap_or(u32::MAX), fin });
        let new = send.on_sent(range, fin);
        let more = send.has_free_data() || send.has_new_data();
        let announce = new > 0 && send.reset_at_frame().is_some();
        self.credit.spend(new);
        self.scheduler.on_sent(slot, len);
        if !more {
            self.rest(slot);
        } else if self.credit.available() == 0 {
            self.activate(slot);
        }
        if announce {
            self.announce_reset(slot);
        }
        Turn::Wrote
    }

    /// RESET_STREAM_AT goes out once everything below its Final Size was sent: then the size is within all limits.
    pub(super) fn announce_reset(&mut self, slot: Slot) {
        if self.table.get(slot).and_then(|s| s.send.as_ref()).is_some_and(|s| s.reset_at_frame().is_some()) {
            self.want(slot, control::RESET_STREAM);
        }
    }

    /// A lender took bytes back that were still to be sent: the stream cannot be completed.
    fn on_revoked(&mut self, slot: Slot) {
        let code = self.config.revoked_code;
        let Self { table, pool, .. } = self;
        let freed = table.get_mut(slot).and_then(|s| s.send.as_mut()).and_then(|s| s.reset(code, pool));
        match freed {
            Some(freed) => {
                self.raise(slot, pending::REVOKED);
                self.after_reset(slot, freed);
            }
            None => self.scheduler.remove(slot),
        }
    }

    /// The packet with this frame was acknowledged. Tokens of other rooms are ignored.
    pub fn on_token_acked(&mut self, token: &FrameToken) {
        match *token {
            FrameToken::Stream { id, offset, len, fin } => {
                let Some(slot) = self.table.find(id) else { return };
                let Self { table, pool, .. } = self;
                let Some(send) = table.get_mut(slot).and_then(|s| s.send.as_mut()) else { return };
                let acked = send.on_acked(offset..offset.saturating_add(u64::from(len)), fin, pool);
                let starved = send.starved;
                if acked.complete {
                    self.raise(slot, pending::FINISHED);
                }
                if acked.complete || acked.reset {
                    self.settle(slot);
                }
                if acked.freed > 0 {
                    if starved {
                        self.feed(slot);
                    }
                    self.release_held(acked.freed);
                }
            }
            FrameToken::ResetStreamAt { id, reliable } => {
                let Some(slot) = self.table.find(id) else { return };
                let Self { table, pool, .. } = self;
                let Some(send) = table.get_mut(slot).and_then(|s| s.send.as_mut()) else { return };
                let freed = send.on_reset_at_acked(reliable, pool);
                self.settle(slot);
                self.release_held(freed);
            }
            FrameToken::ResetStream(id) => {
                let Some(slot) = self.table.find(id) else { return };
                if let Some(send) = self.table.get_mut(slot).and_then(|s| s.send.as_mut()) {
                    send.on_reset_acked();
                }
                self.settle(slot);
            }
            _ => {}
        }
    }

    /// The packet with this frame was lost: whatever of it still matters is sent again (RFC 9000 section 13.3).
    pub fn on_token_lost(&mut self, token: &FrameToken) {
        match *token {
            FrameToken::Stream { id, offset, len, fin } => {
                let Some(slot) = self.table.find(id) else { return };
                let Some(send) = self.table.get_mut(slot).and_then(|s| s.send.as_mut()) else { return };
                if send.on_lost(offset..offset.saturating_add(u64::from(len)), fin) {
                    self.activate(slot);
                }
            }
            FrameToken::ResetStream(id) | FrameToken::ResetStreamAt { id, .. } => {
                self.want_again(id, control::RESET_STREAM);
            }
            FrameToken::StopSending(id) => self.want_again(id, control::STOP_SENDING),
            FrameToken::MaxStreamData(id) => self.want_again(id, control::MAX_STREAM_DATA),
            FrameToken::StreamDataBlocked(id) => self.want_again(id, control::STREAM_DATA_BLOCKED),
            FrameToken::MaxData => self.due |= due::MAX_DATA,
            FrameToken::DataBlocked => self.due |= due::DATA_BLOCKED,
            FrameToken::MaxStreams(dir) => self.due |= due::max_streams(dir),
            FrameToken::StreamsBlocked(dir) => self.due |= due::streams_blocked(dir),
            _ => {}
        }
    }

    /// Whether the frame still makes sense is decided when it is written.
    fn want_again(&mut self, id: StreamId, frame: u8) {
        if let Some(slot) = self.table.find(id) {
            self.want(slot, frame);
        }
    }

    /// `freed` bytes left the send buffers; wakes streams that the connection's limit had stopped.
    pub(super) fn release_held(&mut self, freed: u64) {
        self.held = self.held.saturating_sub(freed);
        if self.full && self.has_connection_room() {
            self.full = false;
            // Streams that are full themselves go to the end of the list again, so one round is enough.
            let mut last = None;
            while let Some(slot) = self.starved.front(0).filter(|s| last != Some(*s)) {
                if !self.feed(slot) {
                    last.get_or_insert(slot);
                    self.starved.remove(slot);
                    self.starved.push_back(0, slot);
                }
            }
        }
    }

    fn has_connection_room(&self) -> bool {
        self.held <= self.config.send_buffer_connection / 4 * 3
    }

    /// Pays the `Writable` that a stream is owed if there is worthwhile room; true if it is owed nothing any more.
    fn feed(&mut self, slot: Slot) -> bool {
        if self.full && !self.has_connection_room() {
            return false;
        }
        let limit = self.send_limit / 2;
        let Some(send) = self.table.get_mut(slot).and_then(|s| s.send.as_mut()) else {
            self.starved.remove(slot);
            return true;
        };
        if !send.starved || !send.is_sending() {
            self.starved.remove(slot);
            return true;
        }
        if send.buffer.held() > limit {
            return false;
        }
        send.starved = false;
        self.starved.remove(slot);
        self.raise(slot, pending::WRITABLE);
        true
    }
}

/// RESET_STREAM or RESET_STREAM_AT, while one of them is to be sent.
fn reset_of(id: StreamId, send: &SendHalf) -> Option<Frame<'static>> {
    if let Some((code, final_size)) = send.reset_frame() {
        return Some(Frame::ResetStream { id, code, final_size });
    }
    let (code, final_size, reliable_size) = send.reset_at_frame()?;
    Some(Frame::ResetStreamAt { id, code, final_size, reliable_size })
}

/// Appends a frame and its token; false if it does not fit.
fn put(w: &mut Writer<'_>, tokens: &mut Vec<FrameToken>, frame: &Frame<'_>, token: FrameToken) -> bool {
    let fits = frame.encoded_len() <= w.remaining() && frame.write(w).is_ok();
    if fits {
        tokens.push(token);
    }
    fits
}

/// Shortens a STREAM frame to `room` bytes: (range, with a length field, FIN). `None` if it is not worth a frame.
fn fit(
    id: StreamId,
    range: Range<u64>,
    fin: bool,
    room: usize,
    empty_packet: bool,
) -> Option<(Range<u64>, bool, bool)> {
    let want = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let bare = stream_header_len(id, range.start, 0) - 1;
    let fill = room.checked_sub(bare)?;
    if want == 0 {
        return (fill >= 1).then_some((range, true, fin));
    }
    let (len, len_field) = if want >= fill {
        (fill, false)
    } else {
        // Fits without a length, perhaps not with one; then a few bytes stay behind.
        (want.min(room.checked_sub(stream_header_len(id, range.start, want))?), true)
    };
    if len == 0 || (len < want && len < MIN_FRAGMENT && !empty_packet) {
        return None;
    }
    Some((range.start..range.start.saturating_add(len as u64), len_field, fin && len == want))
}
