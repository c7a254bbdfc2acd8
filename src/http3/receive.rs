//! Receiving messages on a request stream (RFC 9114 sections 4.1 and 7).
//!
//! `pump` moves through frames until body bytes are next or nothing is left; body bytes are never touched
//! here, the application pulls them straight out of the stream. Sections that arrive in one piece, the common
//! case, are decoded where they lie. Invariant: after an error nothing more of the stream is looked at.
use super::error::{Fatal, Fault, H3Error};
use super::event::{H3Event, SectionKind};
use super::fields::{self, Method, Summary};
use super::frame::{Phase, Verdict, judge, kind};
use super::priority;
use super::state::Core;
use super::stream::{Mode, Receiving, Sending, Slot};
use super::transport::Transport;
use crate::base::codes::{h3, qpack};
use crate::collections::Chunk;
use crate::qpack::{Decoded, FieldList, QpackError};
use crate::streams::ReadError;

/// Most that is taken out of a stream before it has been understood.
pub(super) const READ_MAX: usize = 64 * 1024;

impl From<QpackError> for Fault {
    fn from(e: QpackError) -> Self {
        match e {
            QpackError::Decompression(why) => Fatal::new(qpack::DECOMPRESSION_FAILED, why).into(),
            QpackError::EncoderStream(why) => Fatal::new(qpack::ENCODER_STREAM_ERROR, why).into(),
            QpackError::DecoderStream(why) => Fatal::new(qpack::DECODER_STREAM_ERROR, why).into(),
            QpackError::TooLarge => Self::Stream(h3::EXCESSIVE_LOAD, "field section too large"),
        }
    }
}

const fn malformed(why: &'static str) -> Fault {
    Fault::Stream(h3::MESSAGE_ERROR, why)
}

/// RFC 9114 section 7.1.
const CUT_OFF: Fatal = Fatal::new(h3::FRAME_ERROR, "stream ended inside a frame");

impl Core {
    /// Reads on until body bytes are next, the stream has no more, or something is wrong.
    pub(super) fn pump<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot) -> Result<(), Fault> {
        while slot.recv.state == Receiving::Open {
            match slot.recv.mode {
                Mode::Blocked => return Ok(()),
                Mode::Body(_) if slot.recv.fin && slot.recv.held.is_empty() => return Err(CUT_OFF.into()),
                Mode::Body(_) => {
                    self.tell_data(slot);
                    return Ok(());
                }
                _ => {}
            }
            if !slot.recv.held.is_empty() {
                self.parse(conn, slot)?;
                continue;
            }
            if slot.recv.fin {
                return self.end(slot);
            }
            match conn.read_chunk(slot.id, READ_MAX) {
                Ok((chunk, fin)) => {
                    if chunk.is_empty() && !fin {
                        return Ok(());
                    }
                    slot.recv.held = chunk;
                    slot.recv.fin = fin;
                }
                Err(ReadError::Reset(code)) => {
                    self.on_reset(conn, slot, code);
                    return Ok(());
                }
                Err(ReadError::Blocked | ReadError::Finished | ReadError::Unknown) => return Ok(()),
            }
        }
        Ok(())
    }

    fn tell_data(&mut self, slot: &mut Slot) {
        if !slot.recv.data_told {
            slot.recv.data_told = true;
            self.events.push_back(H3Event::Data { stream: slot.id });
        }
    }

    /// Looks at what is held, up to body bytes.
    fn parse<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot) -> Result<(), Fault> {
        let mut held = core::mem::take(&mut slot.recv.held);
        // Received data is memory of ours.
        let bytes = held.as_slice().unwrap_or(&[]);
        let mut at = 0usize;
        while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
            match slot.recv.mode {
                Mode::Header => {
                    let (used, frame) = slot.recv.reader.feed(rest);
                    at = at.saturating_add(used);
                    if let Some((frame_type, length)) = frame {
                        let last = slot.recv.fin && at >= bytes.len();
                        self.on_frame(conn, slot, frame_type, length, last)?;
                    }
                }
                Mode::Section(left) => {
                    let n = clip(left, rest.len());
                    let part = rest.get(..n).unwrap_or(rest);
                    at = at.saturating_add(n);
                    let last = slot.recv.fin && at >= bytes.len();
                    self.on_section_part(conn, slot, part, left, last)?;
                }
                Mode::Skip(left) => {
                    let n = clip(left, rest.len());
                    at = at.saturating_add(n);
                    slot.recv.mode = match left.saturating_sub(n as u64) {
                        0 => Mode::Header,
                        more => Mode::Skip(more),
                    };
                }
                Mode::Body(_) | Mode::Blocked => break,
            }
        }
        held.advance(at);
        slot.recv.held = if held.is_empty() { Chunk::empty() } else { held };
        Ok(())
    }

    fn on_frame<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        frame_type: u64,
        length: u64,
        last: bool,
    ) -> Result<(), Fault> {
        match judge(frame_type, self.side, slot.recv.phase) {
            Verdict::Refuse(fatal) => return Err(fatal.into()),
            Verdict::Skip => slot.recv.mode = if length == 0 { Mode::Header } else { Mode::Skip(length) },
            Verdict::Accept if frame_type == kind::DATA => {
                // Section 4.1.2: checked before the application sees a byte too many.
                let body = slot.recv.body.checked_add(length).ok_or(malformed("body too long"))?;
                if slot.recv.content_length.is_some_and(|most| body > most) {
                    return Err(malformed("body longer than content-length"));
                }
                if slot.recv.no_body && length > 0 {
                    return Err(malformed("content in a response that has none"));
                }
                slot.recv.body = body;
                slot.recv.mode = if length == 0 { Mode::Header } else { Mode::Body(length) };
            }
            Verdict::Accept => {
                // An encoding is never longer than what it encodes unless somebody wants it to be.
                if length > u64::from(self.config.max_field_section_size) {
                    return Err(Fault::Stream(h3::EXCESSIVE_LOAD, "field section too large"));
                }
                slot.recv.section.clear();
                if length == 0 {
                    return self.on_section(conn, slot, &[], last);
                }
                slot.recv.mode = Mode::Section(length);
            }
        }
        Ok(())
    }

    /// Bytes of a HEADERS payload of which `left` are missing.
    fn on_section_part<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        part: &[u8],
        left: u64,
        last: bool,
    ) -> Result<(), Fault> {
        let left = left.saturating_sub(part.len() as u64);
        if left > 0 {
            slot.recv.section.extend_from_slice(part);
            slot.recv.mode = Mode::Section(left);
            return Ok(());
        }
        slot.recv.mode = Mode::Header;
        if slot.recv.section.is_empty() {
            return self.on_section(conn, slot, part, last);
        }
        let mut section = core::mem::take(&mut slot.recv.section);
        section.extend_from_slice(part);
        let outcome = self.on_section(conn, slot, &section, last);
        if slot.recv.mode != Mode::Blocked {
            section.clear();
            slot.recv.section = section;
        }
        outcome
    }

    /// A whole encoded section; `last`: the stream ends behind it.
    fn on_section<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        section: &[u8],
        last: bool,
    ) -> Result<(), Fault> {
        let mut list = self.new_list();
        match self.decoder.decode(slot.id.0, section, self.limits, &mut list) {
            Ok(Decoded::Complete) => {
                self.note_section(&list);
                self.on_fields(conn, slot, list, last)
            }
            Ok(Decoded::Blocked) => {
                self.recycle(list);
                self.blocked_bytes = self.blocked_bytes.saturating_add(section.len());
                slot.recv.section.clear();
                slot.recv.section.extend_from_slice(section);
                slot.recv.mode = Mode::Blocked;
                if self.blocked_bytes > self.config.max_blocked_bytes as usize {
                    return Err(Fatal::new(h3::EXCESSIVE_LOAD, "too much waits for the encoder stream").into());
                }
                Ok(())
            }
            Err(e) => {
                self.recycle(list);
                Err(e.into())
            }
        }
    }

    /// The encoder stream has brought what the blocked section of this stream needs.
    pub(super) fn unblock<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot) -> Result<(), Fault> {
        if slot.recv.mode != Mode::Blocked {
            return Ok(());
        }
        let mut section = core::mem::take(&mut slot.recv.section);
        self.blocked_bytes = self.blocked_bytes.saturating_sub(section.len());
        slot.recv.mode = Mode::Header;
        let last = slot.recv.fin && slot.recv.held.is_empty();
        self.on_section(conn, slot, &section, last)?;
        if slot.recv.mode != Mode::Blocked {
            section.clear();
            slot.recv.section = section;
        }
        self.pump(conn, slot)
    }

    fn on_fields<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        list: FieldList,
        last: bool,
    ) -> Result<(), Fault> {
        let kind = match (slot.recv.phase, self.side.is_server()) {
            (Phase::Start, true) => SectionKind::Request,
            (Phase::Start, false) => SectionKind::Response,
            _ => SectionKind::Trailers,
        };
        let summary = match fields::check(kind, list.iter()) {
            Ok(summary) => summary,
            Err(why) => {
                self.recycle(list);
                return Err(malformed(why));
            }
        };
        let kind = match kind {
            SectionKind::Request => {
                self.on_request(conn, slot, &summary, &list)?;
                kind
            }
            SectionKind::Trailers => {
                slot.recv.phase = Phase::Trailed;
                kind
            }
            SectionKind::Response | SectionKind::Informational => self.on_response(slot, &summary)?,
        };
        let end = last && kind != SectionKind::Informational;
        if end {
            self.complete(slot)?;
            slot.recv.end_told = true;
        }
        slot.recv.known = true;
        self.events.push_back(H3Event::Headers { stream: slot.id, kind, fields: list, end });
        Ok(())
    }

    fn on_request<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        summary: &Summary,
        list: &FieldList,
    ) -> Result<(), Fault> {
        // RFC 9220 section 3, RFC 8441 section 3: only after we have said that we take it.
        if summary.extended && !self.config.extended_connect {
            return Err(malformed(":protocol without the setting"));
        }
        slot.head = summary.method == Method::Head;
        slot.connect = summary.method == Method::Connect;
        slot.recv.phase = if slot.connect { Phase::Tunnel } else { Phase::Body };
        slot.recv.content_length = summary.content_length.filter(|_| !slot.connect);
        if let Some(field) = summary.priority.and_then(|n| list.get(n)) {
            let p = priority::parse(field.value);
            // RFC 9218 section 7: a PRIORITY_UPDATE that came first wins; it has set `prioritised`.
            if !slot.prioritised {
                conn.set_priority(slot.id, p.urgency, p.incremental);
            }
        }
        Ok(())
    }

    fn on_response(&mut self, slot: &mut Slot, summary: &Summary) -> Result<SectionKind, Fault> {
        if summary.status < 200 {
            slot.recv.informational = slot.recv.informational.saturating_add(1);
            if slot.recv.informational > self.config.max_informational {
                return Err(Fault::Stream(h3::EXCESSIVE_LOAD, "too many interim responses"));
            }
            return Ok(SectionKind::Informational);
        }
        // RFC 9110 section 9.3.6: a tunnel from here on, and content-length means nothing.
        let tunnel = slot.connect && summary.status < 300;
        slot.recv.phase = if tunnel { Phase::Tunnel } else { Phase::Body };
        slot.recv.no_body = slot.head || matches!(summary.status, 204 | 304);
        slot.recv.content_length = summary.content_length.filter(|_| !tunnel && !slot.recv.no_body);
        Ok(SectionKind::Response)
    }

    /// The stream ended cleanly.
    fn end(&mut self, slot: &mut Slot) -> Result<(), Fault> {
        if slot.recv.mode != Mode::Header || !slot.recv.reader.is_idle() {
            return Err(CUT_OFF.into());
        }
        if slot.recv.phase == Phase::Start {
            // Section 4.1: not enough of a request to answer; for a client, no final response.
            let code = if self.side.is_server() { h3::REQUEST_INCOMPLETE } else { h3::MESSAGE_ERROR };
            return Err(Fault::Stream(code, "stream ended before its message"));
        }
        self.complete(slot)?;
        self.tell_data(slot);
        Ok(())
    }

    /// Section 4.1.2, at every way a message can end.
    fn complete(&mut self, slot: &mut Slot) -> Result<(), Fault> {
        if slot.recv.content_length.is_some_and(|length| length != slot.recv.body) {
            return Err(malformed("body shorter than content-length"));
        }
        slot.recv.state = Receiving::Ended;
        self.credit();
        Ok(())
    }

    /// The peer ended its sending part early.
    pub(super) fn on_reset<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, code: u64) {
        if slot.recv.state != Receiving::Open {
            return;
        }
        self.drop_receiving(slot, Receiving::Reset(code));
        if slot.recv.known {
            self.events.push_back(H3Event::Reset { stream: slot.id, code, by_peer: true });
        } else {
            // Section 4.1.1: nobody has looked at the request.
            let _ = conn.reset(slot.id, h3::REQUEST_REJECTED);
            slot.send.state = Sending::Dead;
        }
        self.glitch(conn);
    }

    /// Body bytes into the caller's memory.
    pub(super) fn recv_body<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        out: &mut [u8],
    ) -> Result<(usize, bool), H3Error> {
        let mut n = 0usize;
        loop {
            let left = match self.body_next(conn, slot, n > 0) {
                Ok(Some(left)) => left,
                Ok(None) => return Ok((n, slot.recv.state == Receiving::Ended)),
                // What was read before the error is given out; the next call tells the error.
                Err(_) if n > 0 => return Ok((n, false)),
                Err(e) => return Err(e),
            };
            let room = out.get_mut(n..).unwrap_or(&mut []);
            let most = clip(left, room.len());
            let Some(room) = room.get_mut(..most).filter(|r| !r.is_empty()) else { return Ok((n, false)) };
            let got = if slot.recv.held.is_empty() {
                match conn.read(slot.id, room) {
                    Ok(ok) => {
                        slot.recv.fin |= ok.fin;
                        ok.len
                    }
                    Err(e) => {
                        self.cannot_read(conn, slot, e)?;
                        0
                    }
                }
            } else {
                let got = most.min(slot.recv.held.len());
                let ready = room.get_mut(..got).map(|room| slot.recv.held.copy_to(0, room));
                if ready != Some(Ok(())) {
                    return Err(H3Error::Revoked);
                }
                self.take_held(slot, got);
                got
            };
            if got == 0 && !slot.recv.fin {
                return self.blocked(slot, n);
            }
            n = n.saturating_add(got);
            self.took(conn, slot, left, got)?;
        }
    }

    /// Body bytes as a slice of the stream's memory.
    pub(super) fn recv_body_chunk<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        max: usize,
    ) -> Result<(Chunk, bool), H3Error> {
        let Some(left) = self.body_next(conn, slot, false)? else {
            return Ok((Chunk::empty(), slot.recv.state == Receiving::Ended));
        };
        let most = clip(left, max);
        if most == 0 {
            return Ok((Chunk::empty(), false));
        }
        let chunk = if slot.recv.held.is_empty() {
            match conn.read_chunk(slot.id, most) {
                Ok((chunk, fin)) => {
                    slot.recv.fin |= fin;
                    chunk
                }
                Err(e) => {
                    self.cannot_read(conn, slot, e)?;
                    Chunk::empty()
                }
            }
        } else {
            let chunk = slot.recv.held.split_to(most);
            self.take_held(slot, 0);
            chunk
        };
        if chunk.is_empty() && !slot.recv.fin {
            slot.recv.data_told = false;
            return Err(H3Error::Blocked);
        }
        self.took(conn, slot, left, chunk.len())?;
        if !matches!(slot.recv.mode, Mode::Body(_)) && slot.recv.state == Receiving::Open {
            // The end is often right behind: tell it with the last bytes.
            // An error there is told by the next call.
            let _ = self.body_next(conn, slot, true);
        }
        let end = slot.recv.state == Receiving::Ended;
        slot.recv.end_told |= end;
        Ok((chunk, end))
    }

    /// How many body bytes are next. `None`: the message is over, or (when some were read) there is nothing now.
    fn body_next<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, some: bool) -> Result<Option<u64>, H3Error> {
        if self.failure.is_some() {
            // Nothing more is looked at after an error. After a close in good order what has come can be read.
            return Err(H3Error::Closed);
        }
        if slot.recv.state == Receiving::Open && !matches!(slot.recv.mode, Mode::Body(_)) {
            // The caller is reading: no event is needed for what it is about to get.
            let told = core::mem::replace(&mut slot.recv.data_told, true);
            let outcome = self.pump(conn, slot);
            slot.recv.data_told = told;
            if let Err(fault) = outcome {
                self.fault(conn, slot, fault);
            }
        }
        match (slot.recv.state, slot.recv.mode) {
            (Receiving::Reset(code), _) => Err(H3Error::Reset(code)),
            (Receiving::Stopped, _) => Err(H3Error::WrongState),
            (Receiving::Ended, _) => {
                slot.recv.end_told = true;
                Ok(None)
            }
            (Receiving::Open, Mode::Body(left)) => Ok(Some(left)),
            (Receiving::Open, _) if self.dead => Err(H3Error::Closed),
            (Receiving::Open, _) if slot.recv.phase == Phase::Start => Err(H3Error::WrongState),
            (Receiving::Open, _) if some => Ok(None),
            (Receiving::Open, _) => {
                slot.recv.data_told = false;
                Err(H3Error::Blocked)
            }
        }
    }

    fn blocked(&mut self, slot: &mut Slot, n: usize) -> Result<(usize, bool), H3Error> {
        if n > 0 {
            return Ok((n, false));
        }
        slot.recv.data_told = false;
        Err(H3Error::Blocked)
    }

    fn take_held(&mut self, slot: &mut Slot, n: usize) {
        slot.recv.held.advance(n);
        if slot.recv.held.is_empty() {
            slot.recv.held = Chunk::empty();
        }
    }

    /// `Ok`: nothing there now.
    fn cannot_read<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, e: ReadError) -> Result<(), H3Error> {
        match e {
            ReadError::Blocked => Ok(()),
            ReadError::Reset(code) => {
                self.on_reset(conn, slot, code);
                Err(H3Error::Reset(code))
            }
            ReadError::Finished | ReadError::Unknown => Err(H3Error::UnknownStream),
        }
    }

    /// `got` of the `left` bytes of the DATA frame at hand have gone to the application.
    fn took<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, left: u64, got: usize) -> Result<(), H3Error> {
        let left = left.saturating_sub(got as u64);
        slot.recv.mode = if left == 0 { Mode::Header } else { Mode::Body(left) };
        if left > 0 && slot.recv.fin && slot.recv.held.is_empty() {
            self.fail(conn, CUT_OFF);
            return Err(H3Error::Closed);
        }
        Ok(())
    }
}

fn clip(left: u64, room: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(room)
}
