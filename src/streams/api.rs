//! What the application does with streams (RFC 9000 sections 2.4, 3.5 and 4).
//!
//! Calls never wait: a write that finds no room and a read that finds no data say `Blocked`, and one event follows.
//! Invariant: `held` is the sum of what all send buffers hold; whoever was refused room is in `starved`.
use super::event::{OpenError, ReadError, ReadOk, WriteError};
use super::recv::AfterRead;
use super::scheduler::Priority;
use super::table::{Slot, Stream, control, pending};
use super::{Streams, due};
use crate::base::{Dir, StreamId};
use crate::collections::Chunk;

impl Streams {
    /// Opens a stream of ours.
    ///
    /// # Errors
    /// The peer allows no more; `StreamEvent::Available` follows when it does.
    pub fn open(&mut self, dir: Dir) -> Result<StreamId, OpenError> {
        let ids = self.local.of_mut(dir);
        let Some(index) = ids.open() else {
            ids.refused = true;
            // RFC 9000 section 4.6: say so once per limit.
            if ids.report_blocked() {
                self.due |= due::streams_blocked(dir);
            }
            return Err(OpenError::LimitReached);
        };
        let id = StreamId::new(self.side, dir, index);
        let stream = self.make(id);
        let slot = self.table.insert(stream);
        if self.config.stream_window_floor > 0 {
            self.widen(slot);
        }
        Ok(id)
    }

    /// The next stream of the peer that was not accepted yet, in the order of first use.
    pub fn accept(&mut self, dir: Dir) -> Option<StreamId> {
        loop {
            let id = self.incoming.of_mut(dir).pop_front()?;
            if self.table.peek(id).is_some() {
                return Some(id);
            }
        }
    }

    /// Room for one write now, 0 if none.
    fn room(&self, stream: Option<&Stream>) -> Result<u64, WriteError> {
        let send = stream.ok_or(WriteError::Unknown)?.send.as_ref().ok_or(WriteError::Closed)?;
        send.check_writable()?;
        let own = self.send_limit.max(1).saturating_sub(send.buffer.held());
        Ok(own.min(self.config.send_buffer_connection.max(1).saturating_sub(self.held)))
    }

    /// What one write would take now.
    ///
    /// # Errors
    /// Nothing at all may be written.
    pub fn writable_len(&self, id: StreamId) -> Result<u64, WriteError> {
        self.room(self.table.peek(id))
    }

    /// How much of `wanted` is taken; notes who is owed a `Writable`.
    fn admit(&mut self, slot: Slot, wanted: usize) -> Result<usize, WriteError> {
        let room = usize::try_from(self.room(self.table.get(slot))?).unwrap_or(usize::MAX);
        if room < wanted {
            if self.config.send_buffer_connection.max(1).saturating_sub(self.held) <= room as u64 {
                self.full = true;
            }
            if let Some(send) = self.table.get_mut(slot).and_then(|s| s.send.as_mut()) {
                send.starved = true;
            }
            self.starved.push_back(0, slot);
            if room == 0 {
                return Err(WriteError::Blocked);
            }
        }
        Ok(room.min(wanted))
    }

    /// Takes a copy of as much of `data` as there is room for.
    ///
    /// # Errors
    /// [`WriteError::Blocked`] when there is none; after it and after a partial write, one `Writable` follows.
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        self.put(id, data, usize::MAX, false)
    }

    /// As [`write`](Self::write), for bytes after which about `more` will follow and then the stream's end: when all of them
    /// are taken they get no more room than all need. A guess that proves wrong costs room, nothing else.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_expecting(&mut self, id: StreamId, data: &[u8], more: usize) -> Result<usize, WriteError> {
        self.put(id, data, more, false)
    }

    /// As [`write`](Self::write), for the last bytes of a stream: when all of them are taken, it is ended as by
    /// [`finish`](Self::finish), with one look at it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_last(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        self.put(id, data, 0, true)
    }

    fn put(&mut self, id: StreamId, data: &[u8], more: usize, last: bool) -> Result<usize, WriteError> {
        let slot = self.table.find(id).ok_or(WriteError::Unknown)?;
        let len = data.len();
        let n = self.admit(slot, len)?;
        let Self { table, pool, starved, .. } = self;
        if let (Some(send), Some(data)) = (table.get_mut(slot).and_then(|s| s.send.as_mut()), data.get(..n)) {
            if n == len {
                send.buffer.write_expecting(data, more, pool);
                if last {
                    // `admit` has seen that it may end.
                    send.finish()?;
                    if core::mem::take(&mut send.starved) {
                        starved.remove(slot);
                    }
                }
            } else {
                send.buffer.write(data, pool);
            }
        }
        self.held = self.held.saturating_add(n as u64);
        self.activate(slot);
        Ok(n)
    }

    /// Takes `chunk`, or its first part, without copying (short ones are copied). The memory is let go of when the peer
    /// has acknowledged it.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`WriteError::Closed`] for a revoked chunk. Nothing was taken then.
    pub fn write_chunk(&mut self, id: StreamId, chunk: Chunk) -> Result<usize, WriteError> {
        let slot = self.table.find(id).ok_or(WriteError::Unknown)?;
        let n = self.admit(slot, chunk.len())?;
        let part = if n < chunk.len() { chunk.slice(0, n) } else { chunk };
        let Self { table, pool, .. } = self;
        if let Some(send) = table.get_mut(slot).and_then(|s| s.send.as_mut()) {
            send.buffer.write_chunk(part, pool).map_err(|_| WriteError::Closed)?;
        }
        self.held = self.held.saturating_add(n as u64);
        self.activate(slot);
        Ok(n)
    }

    /// Nothing more will be written: a FIN follows the data.
    ///
    /// # Errors
    /// Closed already.
    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        let slot = self.table.find(id).ok_or(WriteError::Unknown)?;
        let send = self.table.get_mut(slot).and_then(|s| s.send.as_mut()).ok_or(WriteError::Closed)?;
        send.finish()?;
        let bare = send.buffer.unsent() == 0;
        if core::mem::take(&mut send.starved) {
            self.starved.remove(slot);
        }
        // With bytes to send it has had its place since they were written, and the FIN goes with the last of them.
        if bare {
            self.activate(slot);
        }
        Ok(())
    }

    /// Gives up sending; unacknowledged data is dropped (RFC 9000 section 3.1). No effect when everything is
    /// acknowledged or the stream was reset before.
    ///
    /// # Errors
    /// No such stream, or it only receives.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-11.2
    //# RESET_STREAM MUST only be instigated by the application protocol that uses QUIC.
    pub fn reset(&mut self, id: StreamId, code: u64) -> Result<(), WriteError> {
        let slot = self.table.find(id).ok_or(WriteError::Unknown)?;
        let Self { table, pool, .. } = self;
        let send = table.get_mut(slot).and_then(|s| s.send.as_mut()).ok_or(WriteError::Closed)?;
        if let Some(freed) = send.reset(code, pool) {
            self.after_reset(slot, freed);
        }
        Ok(())
    }

    /// Gives up sending, but what was written up to `reliable` (an offset) is delivered before the peer's application
    /// hears of the reset (draft-ietf-quic-reliable-stream-reset section 5). A later call may only lower it; no effect
    /// when the stream is over or was reset before. `false`: the peer does not know the extension; nothing was done.
    ///
    /// # Errors
    /// No such stream, or it only receives.
    pub fn reset_at(&mut self, id: StreamId, code: u64, reliable: u64) -> Result<bool, WriteError> {
        let slot = self.table.find(id).ok_or(WriteError::Unknown)?;
        let known = self.peer.reset_at;
        let Self { table, pool, .. } = self;
        let send = table.get_mut(slot).and_then(|s| s.send.as_mut()).ok_or(WriteError::Closed)?;
        if !known {
            return Ok(false);
        }
        if reliable.min(send.buffer.end()) == 0 {
            return self.reset(id, code).map(|()| true);
        }
        let Some(freed) = send.reset_at(code, reliable, pool) else { return Ok(true) };
        self.starved.remove(slot);
        if let Some(stream) = self.table.get_mut(slot) {
            stream.control &= !control::STREAM_DATA_BLOCKED;
        }
        self.announce_reset(slot);
        self.activate(slot);
        self.settle(slot);
        self.release_held(freed);
        Ok(true)
    }

    /// Asks the peer to stop sending and drops what has arrived (RFC 9000 section 3.5).
    ///
    /// # Errors
    /// No such stream, it only sends, or it is read to the end, reset or stopped already.
    pub fn stop(&mut self, id: StreamId, code: u64) -> Result<(), ReadError> {
        let slot = self.table.find(id).ok_or(ReadError::Unknown)?;
        let Self { table, pool, window, .. } = self;
        let stream = table.get_mut(slot).ok_or(ReadError::Unknown)?;
        let recv = stream.recv.as_mut().ok_or(ReadError::Unknown)?;
        let (ask, renew) = recv.stop(code, window, pool)?;
        stream.events &= !(pending::READABLE | pending::RESET);
        if renew {
            self.due |= due::MAX_DATA;
        }
        if ask {
            self.want(slot, control::STOP_SENDING);
        }
        self.settle(slot);
        Ok(())
    }

    /// Checks that `slot` can be read; a reset that is reported here may end the stream.
    fn readable(&mut self, id: StreamId) -> Result<Slot, ReadError> {
        let slot = self.table.find(id).ok_or(ReadError::Unknown)?;
        let recv = self.table.get_mut(slot).and_then(|s| s.recv.as_mut()).ok_or(ReadError::Unknown)?;
        let result = recv.check_readable();
        if result.is_err() {
            self.settle(slot);
        }
        result.map(|()| slot)
    }

    /// Accounts for `n` bytes taken; true at the end of the stream.
    fn after_read(&mut self, slot: Slot, n: usize) -> bool {
        let Self { table, window, pool, .. } = self;
        let Some(stream) = table.get_mut(slot) else { return false };
        let Some(recv) = stream.recv.as_mut() else { return false };
        let AfterRead { fin, reset, renew_stream, renew_connection } = recv.on_read(n as u64, window, pool);
        if recv.data.available() == 0 {
            stream.events &= !pending::READABLE;
        }
        if reset {
            self.raise(slot, pending::RESET);
        }
        if renew_connection {
            self.due |= due::MAX_DATA;
        }
        if renew_stream {
            self.want(slot, control::MAX_STREAM_DATA);
        }
        if fin {
            self.settle(slot);
        }
        fin
    }

    /// Copies bytes in order into `out`.
    ///
    /// # Errors
    /// [`ReadError::Blocked`] when there are none yet.
    pub fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<ReadOk, ReadError> {
        let slot = self.readable(id)?;
        let Self { table, pool, .. } = self;
        let len = table.get_mut(slot).and_then(|s| s.recv.as_mut()).map_or(0, |recv| recv.data.read(out, pool));
        let fin = self.after_read(slot, len);
        Ok(ReadOk { len, fin })
    }

    /// Takes up to `max` bytes in order without copying; `true` with the last ones.
    ///
    /// # Errors
    /// [`ReadError::Blocked`] when there are none yet.
    pub fn read_chunk(&mut self, id: StreamId, max: usize) -> Result<(Chunk, bool), ReadError> {
        let slot = self.readable(id)?;
        let Self { table, pool, .. } = self;
        let chunk = table
            .get_mut(slot)
            .and_then(|s| s.recv.as_mut())
            .map_or_else(Chunk::empty, |recv| recv.data.read_chunk(max, pool));
        let fin = self.after_read(slot, chunk.len());
        Ok((chunk, fin))
    }

    /// The credit of `n` bytes just read is not given to the peer until [`give_back`](Self::give_back).
    pub fn withhold(&mut self, id: StreamId, n: u64) {
        self.window.withhold(n);
        if let Some(recv) = self.table.find(id).and_then(|slot| self.table.get_mut(slot)).and_then(|s| s.recv.as_mut())
        {
            recv.withhold(n);
        }
    }

    /// Gives withheld credit to the peer. A stream that was stopped or reset has given all of its own back already; one that
    /// is gone after its end still owes the connection.
    pub fn give_back(&mut self, id: StreamId, n: u64) {
        let mut n = n;
        if let Some(slot) = self.table.find(id)
            && let Some(recv) = self.table.get_mut(slot).and_then(|s| s.recv.as_mut())
        {
            let (given, renew) = recv.give_back(n);
            n = given;
            if renew {
                self.want(slot, control::MAX_STREAM_DATA);
            }
        }
        if n > 0 && self.window.give_back(n) {
            self.due |= due::MAX_DATA;
        }
    }

    /// Everything written has arrived, ends and resets included.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.held == 0 && !self.table.slots().filter_map(|s| self.table.get(s)).any(Stream::sends_still)
    }

    /// Bytes that `read` would find.
    ///
    /// # Errors
    /// No such stream, or it only sends.
    pub fn readable_len(&self, id: StreamId) -> Result<u64, ReadError> {
        let recv = self.table.peek(id).and_then(|s| s.recv.as_ref()).ok_or(ReadError::Unknown)?;
        Ok(recv.data.available())
    }

    /// RFC 9218 section 4: urgency 0 (first) to 7 (values above count as 7); default 3, incremental.
    pub fn set_priority(&mut self, id: StreamId, urgency: u8, incremental: bool) {
        let Some(slot) = self.table.find(id) else { return };
        let priority = Priority { urgency, incremental };
        if let Some(stream) = self.table.get_mut(slot) {
            stream.priority = priority;
        }
        self.scheduler.change(slot, priority);
    }
}
