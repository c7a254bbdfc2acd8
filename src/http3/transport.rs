//! What HTTP/3 needs of a connection: its stream verbs and nothing else.
//!
//! `Connection` implements this by plain forwarding; unit tests implement it in memory, so that every rule
//! can be tried without packets. The compiler resolves it statically.
use crate::base::{Dir, StreamId, Timestamp};
use crate::collections::Chunk;
use crate::connection::Connection;
use crate::streams::{OpenError, ReadError, ReadOk, WriteError};

/// Stream verbs, with the meaning they have on `connection::Connection`.
pub trait Transport {
    fn open(&mut self, dir: Dir) -> Result<StreamId, OpenError>;
    fn accept_stream(&mut self, dir: Dir) -> Option<StreamId>;
    fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError>;
    fn write_expecting(&mut self, id: StreamId, data: &[u8], more: usize) -> Result<usize, WriteError>;
    fn write_chunk(&mut self, id: StreamId, chunk: Chunk) -> Result<usize, WriteError>;
    fn writable_len(&self, id: StreamId) -> Result<u64, WriteError>;
    fn finish(&mut self, id: StreamId) -> Result<(), WriteError>;
    fn reset(&mut self, id: StreamId, code: u64) -> Result<(), WriteError>;
    fn stop(&mut self, id: StreamId, code: u64) -> Result<(), ReadError>;
    fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<ReadOk, ReadError>;
    fn read_chunk(&mut self, id: StreamId, max: usize) -> Result<(Chunk, bool), ReadError>;
    fn set_priority(&mut self, id: StreamId, urgency: u8, incremental: bool);
    fn close(&mut self, code: u64, reason: &[u8], now: Timestamp);
}

impl Transport for Connection {
    fn open(&mut self, dir: Dir) -> Result<StreamId, OpenError> {
        Self::open(self, dir)
    }

    fn accept_stream(&mut self, dir: Dir) -> Option<StreamId> {
        Self::accept_stream(self, dir)
    }

    fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        Self::write(self, id, data)
    }

    fn write_expecting(&mut self, id: StreamId, data: &[u8], more: usize) -> Result<usize, WriteError> {
        Self::write_expecting(self, id, data, more)
    }

    fn write_chunk(&mut self, id: StreamId, chunk: Chunk) -> Result<usize, WriteError> {
        Self::write_chunk(self, id, chunk)
    }

    fn writable_len(&self, id: StreamId) -> Result<u64, WriteError> {
        Self::writable_len(self, id)
    }

    fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        Self::finish(self, id)
    }

    fn reset(&mut self, id: StreamId, code: u64) -> Result<(), WriteError> {
        Self::reset(self, id, code)
    }

    fn stop(&mut self, id: StreamId, code: u64) -> Result<(), ReadError> {
        Self::stop(self, id, code)
    }

    fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<ReadOk, ReadError> {
        Self::read(self, id, out)
    }

    fn read_chunk(&mut self, id: StreamId, max: usize) -> Result<(Chunk, bool), ReadError> {
        Self::read_chunk(self, id, max)
    }

    fn set_priority(&mut self, id: StreamId, urgency: u8, incremental: bool) {
        Self::set_priority(self, id, urgency, incremental)
    }

    fn close(&mut self, code: u64, reason: &[u8], now: Timestamp) {
        Self::close(self, code, reason, now)
    }
}
