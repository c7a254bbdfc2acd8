//! `wb_queue_*`: events in batches for an application with its own loop.
use super::abi::*;
use super::error::fence;
use super::status::wb_status;

/// Makes a queue and attaches it to a runtime: events of the runtime and everything below it for which no callback
/// is registered come here. Its length is bounded because notices of one object merge.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_OS`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_queue_open(runtime: wb_runtime, out: *mut wb_queue) -> wb_status {
    fence(|| {
        let _ = (runtime, out);
        todo!()
    })
}

/// Attaches the queue to a runtime, endpoint or connection in place of what was attached there: events of the object
/// and those below it (unless they have a queue of their own) come here from now on. Queue 0 detaches.
///
/// Ownership: the object keeps the queue. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_KIND` (an object without events of its own). Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_queue_attach(queue: wb_queue, object: wb_handle) -> wb_status {
    fence(|| {
        let _ = (queue, object);
        todo!()
    })
}

/// A descriptor that is readable while the queue is not empty, for poll, epoll, kqueue, select or asyncio. It must only
/// be waited for: `wb_queue_take` reads it.
///
/// Ownership: the descriptor belongs to the queue and is closed with it. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_queue_fd(queue: wb_queue, fd: *mut isize) -> wb_status {
    fence(|| {
        let _ = (queue, fd);
        todo!()
    })
}

/// Takes up to `max` events (at most 1024 at a time). Waits up to `timeout_ns` nanoseconds for the first one (0: not at
/// all, negative: without limit). On success `batch->count` is at least 1; give the batch back with `wb_queue_return`.
///
/// Ownership: the events and what they point to are the library's, readable until the batch is returned.
/// Threads: any but, unless the timeout is 0, not library threads. Blocks: up to the time given.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_WOULD_BLOCK` (empty, timeout 0), `WB_E_TIMEOUT`,
/// `WB_E_WOULD_DEADLOCK`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_queue_take(
    queue: wb_queue,
    batch: *mut wb_batch,
    max: usize,
    timeout_ns: i64,
) -> wb_status {
    fence(|| {
        let _ = (queue, batch, max, timeout_ns);
        todo!()
    })
}

/// Gives a batch back. Objects of the library whose CLOSED event was in it end here.
///
/// Ownership: ends the view of the events. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID` (not a batch of this queue, or returned already). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_queue_return(queue: wb_queue, batch: *mut wb_batch) -> wb_status {
    fence(|| {
        let _ = (queue, batch);
        todo!()
    })
}

/// Makes a taker return with a WAKE event. Several wakes merge.
///
/// Ownership: unchanged. Threads: any, also signal handlers. Blocks: never. Errors: handle errors. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_queue_wake(queue: wb_queue) -> wb_status {
    fence(|| {
        let _ = queue;
        todo!()
    })
}
