//! How streams of ours come to be: raw ones, alone or with their first bytes, and requests.
//!
//! Invariants: whoever makes one holds the table of streams until it is in there, so that all that is done to it meanwhile is
//! done before its first event; where no raw stream comes of it, nothing was sent and the application's pointer was not taken.
use super::super::abi::wb_destroy_fn;
use super::super::conn::ConnObject;
use super::super::error::Fail;
use super::super::object::Context;
use super::super::status::{WB_E_STATE, WB_E_WOULD_BLOCK};
use super::{Moved, StreamObject, count, h3_fail};
use crate::base::sync::Ordering;
use crate::base::{Dir, codes};
use crate::http3::Field;
use crate::runtime::ConnState;
use core::ffi::c_void;
use std::sync::Arc;

/// What a new stream has from its first moment.
pub(crate) struct First<'a> {
    pub user: *mut c_void,
    pub destroy: wb_destroy_fn,
    pub bytes: &'a [u8],
    pub fin: bool,
}

impl StreamObject {
    /// Opens a raw stream: its handle.
    pub fn open(conn: &Arc<ConnObject>, dir: Dir) -> Result<u64, Fail> {
        Self::open_with(conn, dir, |stream, _| stream.meta.handle())
    }

    /// Opens a raw stream with the application's pointer and sends its first bytes. `tell` gets its handle and what was taken
    /// before anybody else can see the stream; it runs under locks.
    pub fn begin(
        conn: &Arc<ConnObject>,
        dir: Dir,
        first: &First<'_>,
        tell: impl FnOnce(u64, &Moved),
    ) -> Result<Moved, Fail> {
        Self::open_with(conn, dir, |stream, state| {
            // There is none before it, whose destructor would run here.
            stream.meta.set_user(Context::new(first.user, first.destroy));
            let moved = stream.put_first(state, first.bytes, first.fin);
            tell(stream.meta.handle(), &moved);
            moved
        })
    }

    /// Sends on a stream that nobody knows yet. What stops it is told by the next call.
    fn put_first(&self, state: &mut ConnState, bytes: &[u8], fin: bool) -> Moved {
        let (moved, _) = self.put_all(state, bytes, fin);
        count(&self.sent, moved.bytes);
        if moved.fin {
            self.send_ended.store(true, Ordering::Release);
        }
        moved
    }

    /// Opens a raw stream and lets `fill` at it under the connection's lock.
    fn open_with<R>(
        conn: &Arc<ConnObject>,
        dir: Dir,
        fill: impl FnOnce(&Self, &mut ConnState) -> R,
    ) -> Result<R, Fail> {
        // Locked before the connection: events of the new stream wait until it is in the table. And before the choice of an
        // attempt: one that has streams is not given up.
        let mut streams = conn.streams.lock();
        let wire = conn.wire()?;
        let (stream, filled) = wire.act(|state| {
            conn.check_state(state)?;
            if state.http3.is_some() {
                return Err(Fail::new(WB_E_STATE, "streams of an HTTP/3 connection are opened by requests"));
            }
            let id = state
                .connection
                .open(dir)
                .map_err(|_| Fail::new(WB_E_WOULD_BLOCK, "the peer allows no more streams of this kind now"))?;
            // Made under the lock: without a handle the stream is given up before anything of it can be sent.
            let stream = Self::new(conn, Arc::clone(&wire), id, false, false).inspect_err(|_| {
                let _ = state.connection.reset(id, 0);
                let _ = state.connection.stop(id, 0);
            })?;
            let filled = fill(&stream, state);
            Ok((stream, filled))
        })?;
        streams.insert(stream.id, stream);
        Ok(filled)
    }

    /// Sends a request and makes its stream.
    pub fn request(conn: &Arc<ConnObject>, fields: &[Field<'_>], fin: bool) -> Result<Arc<Self>, Fail> {
        let mut streams = conn.streams.lock();
        let wire = conn.wire()?;
        let id = wire.act(|state| {
            conn.check_state(state)?;
            let Some(http3) = state.http3.as_mut() else {
                return Err(Fail::new(WB_E_STATE, "the connection does not speak HTTP/3"));
            };
            http3.request(&mut *state.connection, fields, fin).map_err(|e| h3_fail(&e, conn))
        })?;
        let made = Self::new(conn, wire, id, true, false);
        if let Ok(stream) = &made {
            stream.send_ended.store(fin, Ordering::Release);
            streams.insert(id, Arc::clone(stream));
        } else if let Ok(wire) = conn.wire() {
            wire.act(|state| {
                if let Some(http3) = state.http3.as_mut() {
                    let _ = http3.reset(&mut *state.connection, id, codes::h3::REQUEST_CANCELLED);
                }
            });
        }
        made
    }
}
