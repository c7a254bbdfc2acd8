//! `wb_buf_*`: bytes with reference counts in both directions.
//!
//! A buffer is a handle on a `Chunk`: the handle's references are the application's, the chunk's clones are the
//! library's; lent memory is released when both are gone.
use super::abi::*;
use super::args;
use super::error::{Fail, fence};
use super::events::user_code;
use super::handle::{self, Object};
use super::hardened::{self, Guarded};
use super::object::{Context, Known, Meta, publish};
use super::status::*;
use crate::base::sync::{AtomicBool, Mutex, Ordering, full_fence};
use crate::collections::Chunk;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use std::sync::Arc;

/// A buffer.
pub(crate) struct BufObject {
    meta: Meta,
    memory: Memory,
}

enum Memory {
    Chunk(Chunk),
    /// Lent by the application; its address for `view`.
    Lent(Chunk, Arc<Loan>, SendPointer),
    /// Written by the application until it is first used.
    Own(Arc<OwnMemory>),
}

/// What the handles and the chunks of one lent memory share.
struct Loan {
    /// Taken by the release, or given back when the loan did not come about.
    context: Mutex<Option<Context>>,
    revoked: AtomicBool,
}

impl Loan {
    fn new(context: Option<Context>) -> Arc<Self> {
        Arc::new(Self { context: Mutex::new(context), revoked: AtomicBool::new(false) })
    }

    fn release(&self) {
        let context = self.context.lock().take();
        // Outside the lock: dropping it calls the application.
        user_code(|| drop(context));
    }

    /// Makes another reference to the lent memory. Either the loan is known to be revoked, or whoever revokes it sees the
    /// reference and keeps a copy for it: the reference comes before the look here, the mark before the count there.
    fn refer<T>(&self, make: impl FnOnce() -> T) -> Result<T, Fail> {
        let made = make();
        full_fence();
        if self.revoked.load(Ordering::Acquire) { Err(revoked()) } else { Ok(made) }
    }

    /// No new reference can be made from here on, but for those that the caller of `refer` has not looked at yet.
    fn mark_revoked(&self) {
        self.revoked.store(true, Ordering::Release);
        full_fence();
    }

    /// The call that lent it fails: nothing was taken.
    fn disown(&self) {
        if let Some(context) = self.context.lock().take() {
            context.forget();
        }
    }
}

/// Address of lent memory; given back to the application by `view`, never read here.
#[derive(Clone, Copy)]
struct SendPointer(*const u8);

// SAFETY: only a number to us; the chunk does the reading.
unsafe impl Send for SendPointer {}
// SAFETY: as above.
unsafe impl Sync for SendPointer {}

/// Library memory that the application fills, or in hardened mode looks at.
enum OwnMemory {
    Heap(Box<[UnsafeCell<u8>]>),
    Guarded(Guarded),
}

// SAFETY: the header's contract: the application writes only before it sends or slices, the library only reads after.
unsafe impl Sync for OwnMemory {}

impl OwnMemory {
    fn pointer(&self) -> *mut u8 {
        match self {
            Self::Heap(bytes) => bytes.as_ptr().cast::<u8>().cast_mut(),
            Self::Guarded(guarded) => guarded.pointer(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.len(),
            Self::Guarded(guarded) => guarded.len(),
        }
    }

    /// The memory as a chunk that keeps it alive.
    fn chunk(self: &Arc<Self>) -> Chunk {
        let keep = Arc::clone(self);
        // SAFETY: the memory lives until the closure that holds it is dropped, which is when the chunk's last reference
        // goes; by contract nobody writes any more.
        unsafe { Chunk::from_foreign(self.pointer(), self.len(), Box::new(move || drop(keep))) }
    }
}

impl Object for BufObject {
    const KIND: u32 = WB_KIND_BUF;
}

impl Known for BufObject {
    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl BufObject {
    fn new(memory: Memory) -> Arc<Self> {
        Arc::new(Self { meta: Meta::default(), memory })
    }

    /// A buffer of library memory for the application.
    pub fn publish(chunk: Chunk) -> Result<u64, Fail> {
        if hardened::is_on()
            && let Some(guarded) = chunk.as_slice().and_then(Guarded::copy)
        {
            return publish(&Self::new(Memory::Own(Arc::new(OwnMemory::Guarded(guarded)))), false);
        }
        publish(&Self::new(Memory::Chunk(chunk)), false)
    }

    /// The bytes, to be sent.
    pub fn chunk(&self) -> Result<Chunk, Fail> {
        match &self.memory {
            Memory::Chunk(chunk) => Ok(chunk.clone()),
            Memory::Lent(chunk, loan, _) => loan.refer(|| chunk.clone()),
            Memory::Own(own) => Ok(own.chunk()),
        }
    }

    fn view(&self) -> Result<(*const u8, usize), Fail> {
        match &self.memory {
            Memory::Chunk(chunk) => {
                let bytes = chunk.as_slice().ok_or_else(revoked)?;
                Ok((bytes.as_ptr(), bytes.len()))
            }
            Memory::Lent(_, loan, _) if loan.revoked.load(Ordering::Acquire) => Err(revoked()),
            Memory::Lent(chunk, _, pointer) => Ok((pointer.0, chunk.len())),
            Memory::Own(own) => Ok((own.pointer(), own.len())),
        }
    }

    fn slice(&self, offset: usize, len: usize) -> Result<Memory, Fail> {
        let (_, have) = self.view()?;
        if offset > have || len > have - offset {
            return Err(Fail::new(WB_E_RANGE, format!("{len} bytes from {offset} on are not in a buffer of {have}")));
        }
        Ok(match &self.memory {
            Memory::Chunk(chunk) => Memory::Chunk(chunk.slice(offset, len)),
            Memory::Lent(chunk, loan, pointer) => {
                let part = loan.refer(|| chunk.slice(offset, len))?;
                Memory::Lent(part, Arc::clone(loan), SendPointer(pointer.0.wrapping_add(offset)))
            }
            Memory::Own(own) => Memory::Lent(
                own.chunk().slice(offset, len),
                Loan::new(None),
                SendPointer(own.pointer().wrapping_add(offset)),
            ),
        })
    }
}

fn revoked() -> Fail {
    Fail::new(WB_E_REVOKED, "the memory of this buffer was revoked")
}

/// Makes a buffer of library memory, zeroed. `*data` (may be null if not wanted) gets the memory, writable until
/// the buffer is first sent or sliced.
///
/// Ownership: `*out` is the caller's; `*data` is valid until its last release. Threads: any. Blocks: never.
/// Errors: `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_NO_MEMORY`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_buf_alloc(size: usize, data: *mut *mut c_void, out: *mut wb_buf) -> wb_status {
    fence(|| {
        args::non_null(out, "buffer")?;
        if size > args::MAX_ARGUMENT {
            return Err(Fail::new(WB_E_RANGE, "size is out of range"));
        }
        let guarded = if hardened::is_on() { Guarded::zeroed(size) } else { None };
        let own = match guarded {
            Some(guarded) => OwnMemory::Guarded(guarded),
            None => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(size).map_err(|_| Fail::new(WB_E_NO_MEMORY, "no memory for the buffer"))?;
                bytes.resize_with(size, || UnsafeCell::new(0u8));
                OwnMemory::Heap(bytes.into_boxed_slice())
            }
        };
        let own = Arc::new(own);
        let pointer = own.pointer();
        let handle = publish(&BufObject::new(Memory::Own(own)), false)?;
        // SAFETY: writable by contract; `out` was checked.
        unsafe {
            if !data.is_null() {
                data.write(pointer.cast());
            }
            args::put(out, handle, "buffer")?;
        }
        Ok(WB_OK)
    })
}

/// Lends memory to the library. `release(ctx)` (may be null for memory that lives for ever) is called exactly once,
/// when the last reference is gone: after delivery, reset, loss of the connection or close of the runtime. On failure
/// it is not called.
///
/// Ownership: `*out` is the caller's; the memory stays the caller's, who keeps it unchanged until `release` or
/// `wb_buf_revoke`. Threads: any. Blocks: never. Errors: `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_NO_MEMORY`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_buf_wrap(
    data: *const c_void,
    len: usize,
    release: wb_release_fn,
    ctx: *mut c_void,
    out: *mut wb_buf,
) -> wb_status {
    fence(|| {
        args::non_null(out, "buffer")?;
        if len > args::MAX_ARGUMENT {
            return Err(Fail::new(WB_E_RANGE, "length is out of range"));
        }
        if data.is_null() && len > 0 {
            return Err(Fail::invalid("null pointer: memory"));
        }
        let loan = Loan::new(Some(Context::new(ctx, release)));
        let end = Arc::clone(&loan);
        // SAFETY: the header's contract is that of `from_foreign`.
        let chunk = unsafe { Chunk::from_foreign(data.cast(), len, Box::new(move || end.release())) };
        let object = BufObject::new(Memory::Lent(chunk, Arc::clone(&loan), SendPointer(data.cast())));
        let handle = publish(&object, false).inspect_err(|_| loan.disown())?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "buffer")? };
        Ok(WB_OK)
    })
}

/// Makes a buffer that shares a part of another's memory.
///
/// Ownership: `*out` is the caller's. Threads: any. Blocks: never.
/// Errors: handle errors, `WB_E_INVALID`, `WB_E_RANGE`, `WB_E_REVOKED`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_buf_slice(buf: wb_buf, offset: usize, len: usize, out: *mut wb_buf) -> wb_status {
    fence(|| {
        args::non_null(out, "buffer")?;
        let memory = handle::get::<BufObject>(buf)?.slice(offset, len)?;
        let handle = publish(&BufObject::new(memory), false)?;
        // SAFETY: checked above; writable by contract.
        unsafe { args::put(out, handle, "buffer")? };
        Ok(WB_OK)
    })
}

/// Gives pointer and length of a buffer's bytes.
///
/// Ownership: the memory is readable until the last release (or, lent, as long as its owner keeps it). Threads: any.
/// Blocks: never. Errors: handle errors, `WB_E_INVALID`, `WB_E_REVOKED`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wb_buf_view(buf: wb_buf, data: *mut *const c_void, len: *mut usize) -> wb_status {
    fence(|| {
        args::non_null(data, "pointer")?;
        args::non_null(len, "length")?;
        let (pointer, bytes) = handle::get::<BufObject>(buf)?.view()?;
        // SAFETY: checked above; writable by contract.
        unsafe {
            args::put(data, pointer.cast(), "pointer")?;
            args::put(len, bytes, "length")?;
        }
        Ok(WB_OK)
    })
}

/// Ends a loan now: when it returns success, no library thread will read the lent memory again, and it may be freed or
/// unmapped. What is still to be sent is copied first (`WB_REVOKE_COPY`), or its streams are reset
/// (`WB_REVOKE_RESET`). All slices share the loan. The release callback is still called once, later.
///
/// Ownership: the memory is the caller's alone again. Threads: any, also finalisers. Blocks: for the time in which
/// running readers finish one packet (microseconds). Errors: handle errors, `WB_E_INVALID` (mode), `WB_E_STATE` (not
/// lent memory), `WB_E_NO_MEMORY`. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wb_buf_revoke(buf: wb_buf, mode: u32) -> wb_status {
    fence(|| {
        let buf = handle::get::<BufObject>(buf)?;
        let Memory::Lent(chunk, loan, _) = &buf.memory else {
            return Err(Fail::new(WB_E_STATE, "only lent memory can be revoked"));
        };
        match mode {
            WB_REVOKE_COPY => {
                loan.mark_revoked();
                chunk.revoke_keeping_copy();
            }
            WB_REVOKE_RESET => {
                loan.mark_revoked();
                chunk.revoke();
            }
            _ => return Err(Fail::invalid("unknown revoke mode")),
        }
        Ok(WB_OK)
    })
}
