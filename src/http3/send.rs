//! Sending messages on a request stream (RFC 9114 sections 4.1 and 7).
//!
//! A section is encoded once into a shared buffer and written in one piece. A DATA frame's header is written
//! only when the stream has room for it and for the payload it promises, so a frame is never left half
//! filled; the payload itself goes to the stream untouched. Only header bytes are ever held back here.
use super::error::H3Error;
use super::event::SectionKind;
use super::fields::{self, Method};
use super::frame::{data_header_len, kind, put_header};
use super::state::Core;
use super::stream::{Sending, Slot};
use super::transport::Transport;
use crate::base::codes::h3;
use crate::collections::Chunk;
use crate::qpack::Field;
use crate::qpack::field_list::LINE_OVERHEAD;
use crate::streams::WriteError;
use crate::wire::varint;

/// Body writes up to this size are copied behind their frame header: one write is cheaper than two.
const SMALL: usize = 1024;
/// Room for a frame header before the section.
const HEADROOM: usize = 9;

/// Where body bytes are.
pub(super) enum Body<'a> {
    Bytes(&'a [u8]),
    Chunk(Chunk),
}

impl Body<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(b) => b.len(),
            Self::Chunk(c) => c.len(),
        }
    }

    /// Without the first `n` bytes.
    fn rest(&self, n: usize) -> Body<'_> {
        match self {
            Self::Bytes(b) => Body::Bytes(b.get(n..).unwrap_or(&[])),
            Self::Chunk(c) => Body::Chunk(c.slice(n, c.len())),
        }
    }

    /// Copies the first `n` bytes behind what is in `out`.
    fn copy_to(&self, n: usize, out: &mut Vec<u8>) -> Result<(), H3Error> {
        let mut copy = |bytes: &[u8]| out.extend_from_slice(bytes.get(..n).unwrap_or(bytes));
        match self {
            Self::Bytes(b) => copy(b),
            Self::Chunk(c) => c.with(copy).map_err(|_| H3Error::Revoked)?,
        }
        Ok(())
    }

    fn write<T: Transport>(&self, conn: &mut T, slot: &Slot, n: usize) -> Result<usize, WriteError> {
        match self {
            Self::Bytes(b) => conn.write(slot.id, b.get(..n).unwrap_or(b)),
            Self::Chunk(c) if c.len() == n => conn.write_chunk(slot.id, c.clone()),
            Self::Chunk(c) => conn.write_chunk(slot.id, c.slice(0, n)),
        }
    }
}

impl Core {
    /// Client: the request section on a fresh stream.
    pub(super) fn send_request<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        fields: &[Field<'_>],
        summary: &fields::Summary,
        fin: bool,
    ) -> Result<(), H3Error> {
        slot.head = summary.method == Method::Head;
        slot.connect = summary.method == Method::Connect;
        slot.send.tunnel = slot.connect;
        slot.send.content_left = summary.content_length.filter(|_| !slot.connect);
        self.send_section(conn, slot, fields, fin, slot.send.content_left)?;
        slot.send.state = if fin { Sending::Ended } else { Sending::Body };
        Ok(())
    }

    /// What must hold before a request is given a stream.
    pub(super) fn check_request(&self, fields: &[Field<'_>], fin: bool) -> Result<fields::Summary, H3Error> {
        let summary = fields::check(SectionKind::Request, fields.iter().copied()).map_err(H3Error::Malformed)?;
        if summary.extended && !self.peer.extended_connect {
            // RFC 8441 section 3.
            return Err(H3Error::Malformed(":protocol before the peer's setting allows it"));
        }
        if fin && summary.method != Method::Connect && summary.content_length.is_some_and(|n| n > 0) {
            return Err(H3Error::BodyLength);
        }
        self.check_size(fields)?;
        Ok(summary)
    }

    /// RFC 9114 section 4.2.2.
    fn check_size(&self, fields: &[Field<'_>]) -> Result<(), H3Error> {
        let line = |f: &Field<'_>| f.name.len().saturating_add(f.value.len()).saturating_add(LINE_OVERHEAD);
        let size = fields.iter().map(line).fold(0usize, usize::saturating_add);
        if size as u64 > self.peer.max_field_section_size { Err(H3Error::FieldsTooLarge) } else { Ok(()) }
    }

    /// Server: an interim or the final response section.
    pub(super) fn respond<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        fields: &[Field<'_>],
        fin: bool,
    ) -> Result<(), H3Error> {
        if slot.send.state != Sending::Start {
            return Err(ended(slot));
        }
        let summary = fields::check(SectionKind::Response, fields.iter().copied()).map_err(H3Error::Malformed)?;
        let interim = summary.status < 200;
        if interim && fin {
            return Err(H3Error::Malformed("an interim response cannot be the end"));
        }
        let no_body = slot.head || matches!(summary.status, 204 | 304);
        let tunnel = slot.connect && summary.status < 300;
        let length = summary.content_length.filter(|_| !no_body && !tunnel);
        if fin && length.is_some_and(|n| n > 0) {
            return Err(H3Error::BodyLength);
        }
        self.check_size(fields)?;
        self.ready(conn, slot)?;
        self.send_section(conn, slot, fields, fin, length.filter(|_| !interim))?;
        if !interim {
            slot.send.no_body = no_body;
            slot.send.tunnel = tunnel;
            slot.send.content_left = length;
            slot.send.state = if fin { Sending::Ended } else { Sending::Body };
        }
        Ok(())
    }

    /// The trailer section and the end.
    pub(super) fn trailers<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        fields: &[Field<'_>],
    ) -> Result<(), H3Error> {
        if slot.send.state != Sending::Body {
            return Err(ended(slot));
        }
        if slot.send.tunnel {
            // Section 4.4: only DATA frames.
            return Err(H3Error::WrongState);
        }
        fields::check(SectionKind::Trailers, fields.iter().copied()).map_err(H3Error::Malformed)?;
        if slot.send.content_left.is_some_and(|n| n > 0) || slot.send.frame_left > 0 {
            return Err(H3Error::BodyLength);
        }
        self.check_size(fields)?;
        self.ready(conn, slot)?;
        self.send_section(conn, slot, fields, true, None)?;
        slot.send.state = Sending::Ended;
        Ok(())
    }

    /// Encodes and writes one HEADERS frame, and the end of the stream; `content`: the length of what follows, if it is known.
    pub(super) fn send_section<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        fields: &[Field<'_>],
        fin: bool,
        content: Option<u64>,
    ) -> Result<(), H3Error> {
        let mut buffer = core::mem::take(&mut self.scratch);
        buffer.clear();
        buffer.resize(HEADROOM, 0);
        self.encoder.encode(fields, &mut buffer);
        // The header is as long as its length field: it is put right before the section.
        let length = buffer.len().saturating_sub(HEADROOM) as u64;
        let at = HEADROOM.saturating_sub(1 + varint::len(length));
        let mut header = [0u8; HEADROOM];
        let written = write_header(&mut header, length);
        if let (Some(room), Some(header)) = (buffer.get_mut(at..HEADROOM), header.get(..written)) {
            room.copy_from_slice(header);
        }
        // A whole message of known length gets no more room than it needs. What comes after an interim response or no
        // content-length is not known.
        let more = match content {
            _ if fin => 0,
            Some(n) => usize::try_from(n).unwrap_or(usize::MAX).saturating_add(data_header_len(n)),
            None => usize::MAX,
        };
        let outcome = self.put_expecting(conn, slot, buffer.get(at..).unwrap_or(&[]), more);
        self.scratch = buffer;
        outcome?;
        if fin { self.finish(conn, slot) } else { Ok(()) }
    }

    /// Writes header bytes; what the stream does not take waits in the slot.
    fn put<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, bytes: &[u8]) -> Result<(), H3Error> {
        self.put_expecting(conn, slot, bytes, usize::MAX)
    }

    /// As `put`, when about `more` bytes follow until the end of the stream; `usize::MAX`: nobody knows.
    fn put_expecting<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        bytes: &[u8],
        more: usize,
    ) -> Result<(), H3Error> {
        let taken = if slot.send.pending.is_empty() {
            match conn.write_expecting(slot.id, bytes, more) {
                Ok(n) => n,
                Err(WriteError::Blocked) => 0,
                Err(e) => return Err(cannot_write(slot, e)),
            }
        } else {
            0
        };
        slot.send.pending.extend_from_slice(bytes.get(taken..).unwrap_or(&[]));
        Ok(())
    }

    /// Writes what was held back. `Ok(false)`: some still is.
    pub(super) fn flush<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot) -> Result<bool, H3Error> {
        while let Some(rest) = slot.send.pending.get(slot.send.pending_at..).filter(|r| !r.is_empty()) {
            match conn.write(slot.id, rest) {
                Ok(n) if n > 0 => slot.send.pending_at = slot.send.pending_at.saturating_add(n),
                Ok(_) | Err(WriteError::Blocked) => return Ok(false),
                Err(e) => return Err(cannot_write(slot, e)),
            }
        }
        slot.send.pending.clear();
        slot.send.pending_at = 0;
        if slot.send.fin_pending {
            slot.send.fin_pending = false;
            conn.finish(slot.id).map_err(|e| cannot_write(slot, e))?;
        }
        Ok(true)
    }

    /// Nothing is held back, or the caller must wait.
    fn ready<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot) -> Result<(), H3Error> {
        if slot.send.pending.is_empty() || self.flush(conn, slot)? {
            return Ok(());
        }
        slot.send.blocked = true;
        Err(H3Error::Blocked)
    }

    fn finish<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot) -> Result<(), H3Error> {
        if !slot.send.pending.is_empty() {
            slot.send.fin_pending = true;
            return Ok(());
        }
        conn.finish(slot.id).map_err(|e| cannot_write(slot, e))
    }

    /// Body bytes; gives how many were taken.
    pub(super) fn send_body<T: Transport>(
        &mut self,
        conn: &mut T,
        slot: &mut Slot,
        body: &Body<'_>,
        fin: bool,
    ) -> Result<usize, H3Error> {
        if slot.send.state != Sending::Body {
            return Err(ended(slot));
        }
        let len = body.len();
        if slot.send.no_body && len > 0 {
            return Err(H3Error::BodyLength);
        }
        if let Some(left) = slot.send.content_left {
            // Section 4.1.2: what we send must not be malformed either.
            let len = len as u64;
            if len > left || (fin && len < left) {
                return Err(H3Error::BodyLength);
            }
        }
        if fin && slot.send.frame_left > len as u64 {
            return Err(H3Error::BodyLength);
        }
        self.ready(conn, slot)?;
        let mut taken = if slot.send.frame_left > 0 { self.fill_frame(conn, slot, body)? } else { 0 };
        // Goes on until the stream has refused something, for only then will it tell when there is room again.
        while taken < len && slot.send.frame_left == 0 && slot.send.pending.is_empty() {
            let more = if taken == 0 {
                self.open_frame(conn, slot, body)
            } else {
                self.open_frame(conn, slot, &body.rest(taken))
            };
            match more {
                Ok(n) => taken = taken.saturating_add(n),
                Err(H3Error::Blocked) => break,
                Err(e) => return Err(e),
            }
        }
        if let Some(left) = &mut slot.send.content_left {
            *left = left.saturating_sub(taken as u64);
        }
        if taken < len {
            slot.send.blocked = true;
        } else if fin {
            slot.send.state = Sending::Ended;
            self.finish(conn, slot)?;
        }
        Ok(taken)
    }

    /// Starts a DATA frame of what the stream has room for.
    fn open_frame<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, body: &Body<'_>) -> Result<usize, H3Error> {
        let room = conn.writable_len(slot.id).map_err(|e| cannot_write(slot, e))?;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let len = body.len();
        // With no room to speak of one byte goes into the waiting line, so that `Writable` will come.
        let n = room.saturating_sub(data_header_len(len as u64)).min(len).max(1);
        let mut buffer = core::mem::take(&mut self.scratch);
        buffer.clear();
        put_header(&mut buffer, kind::DATA, n as u64);
        if n <= SMALL {
            let outcome = match body.copy_to(n, &mut buffer) {
                Ok(()) => self.put(conn, slot, &buffer),
                Err(e) => Err(e),
            };
            self.scratch = buffer;
            return outcome.map(|()| n);
        }
        let outcome = self.put(conn, slot, &buffer);
        self.scratch = buffer;
        outcome?;
        slot.send.frame_left = n as u64;
        if slot.send.pending.is_empty() { self.fill_frame(conn, slot, body) } else { Ok(0) }
    }

    /// Puts payload into the open DATA frame.
    fn fill_frame<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, body: &Body<'_>) -> Result<usize, H3Error> {
        let n = usize::try_from(slot.send.frame_left).unwrap_or(usize::MAX).min(body.len());
        let taken = match body.write(conn, slot, n) {
            Ok(taken) => taken,
            Err(WriteError::Blocked) => {
                slot.send.blocked = true;
                return Err(H3Error::Blocked);
            }
            Err(e) => return Err(cannot_write(slot, e)),
        };
        slot.send.frame_left = slot.send.frame_left.saturating_sub(taken as u64);
        Ok(taken)
    }

    /// The peer stopped reading, or memory that we were sending was revoked.
    pub(super) fn stop_sending(&mut self, slot: &mut Slot) {
        slot.send.state = Sending::Dead;
        slot.send.pending.clear();
        slot.send.pending_at = 0;
        slot.send.fin_pending = false;
        slot.send.blocked = false;
    }

    /// Ends both directions because the application says so (section 4.1.1).
    pub(super) fn cancel<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, code: u64) {
        // Each fails only where that direction is over already.
        let _ = conn.reset(slot.id, code);
        self.stop_sending(slot);
        self.stop_receiving(conn, slot, code);
    }

    /// The application wants no more of the message.
    pub(super) fn stop_receiving<T: Transport>(&mut self, conn: &mut T, slot: &mut Slot, code: u64) {
        if matches!(slot.recv.state, super::stream::Receiving::Open) {
            let _ = conn.stop(slot.id, code);
        }
        self.drop_receiving(slot, super::stream::Receiving::Stopped);
    }
}

/// The HEADERS frame header as bytes.
fn write_header(out: &mut [u8; HEADROOM], length: u64) -> usize {
    let mut w = crate::wire::Writer::new(out);
    // Nine bytes hold a one-byte type and any length.
    let done = w.varint(kind::HEADERS).and_then(|()| w.varint(length));
    debug_assert!(done.is_ok());
    w.position()
}

fn ended(slot: &Slot) -> H3Error {
    match slot.send.state {
        Sending::Dead => H3Error::Stopped(h3::NO_ERROR),
        _ => H3Error::WrongState,
    }
}

fn cannot_write(slot: &mut Slot, e: WriteError) -> H3Error {
    match e {
        WriteError::Blocked => H3Error::Blocked,
        WriteError::Stopped(code) => {
            slot.send.state = Sending::Dead;
            H3Error::Stopped(code)
        }
        WriteError::Closed => H3Error::WrongState,
        WriteError::Unknown => H3Error::UnknownStream,
    }
}
