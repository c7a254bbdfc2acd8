//! Hardened mode: memory that the library has taken back faults where a program still reads it.
//!
//! For finding a use after release in the application (c-api 4.3): buffers, events with their payloads, and received fields
//! live on pages of their own, their end at a page that cannot be touched. Released, the pages lose their content and every right, and their addresses
//! are not used again before `QUARANTINE` others have been released. Off unless `WB_HARDENED=1` is in the environment or a
//! runtime asks for it; then it holds for the process. Invariant: a `Guarded` owns its mapping alone.
use super::abi::wb_event;
use core::ops::Deref;
use core::ptr::NonNull;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Released mappings whose addresses stay dead. Each costs the system an entry of its tables, no memory.
const QUARANTINE: usize = 8192;
/// What C expects of allocated memory.
const ALIGN: usize = 16;

static ASKED: AtomicBool = AtomicBool::new(false);
static DEAD: Mutex<VecDeque<(usize, usize)>> = Mutex::new(VecDeque::new());

/// A runtime asks for it.
pub(crate) fn switch_on() {
    ASKED.store(true, Ordering::Release);
}

pub(crate) fn is_on() -> bool {
    static ENVIRONMENT: OnceLock<bool> = OnceLock::new();
    ASKED.load(Ordering::Acquire)
        || *ENVIRONMENT.get_or_init(|| std::env::var_os("WB_HARDENED").is_some_and(|v| v == "1"))
}

/// Bytes on pages of their own.
pub(crate) struct Guarded {
    base: NonNull<u8>,
    mapped: usize,
    offset: usize,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone; it is written through `pointer` only as its owner allows.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

fn page() -> usize {
    // SAFETY: no arguments that could be wrong.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

impl Guarded {
    /// Zeroed memory; `None` when the system has none.
    pub fn zeroed(len: usize) -> Option<Self> {
        let page = page();
        let body = len.max(1).checked_next_multiple_of(page)?;
        let mapped = body.checked_add(page)?;
        // SAFETY: a fresh anonymous mapping, no file, no fixed address.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(core::ptr::null_mut(), mapped, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return None;
            }
            base
        };
        let base = NonNull::new(base.cast::<u8>())?;
        // SAFETY: the last page of the mapping made above; nobody has a pointer into it.
        unsafe { libc::mprotect(base.as_ptr().wrapping_add(body).cast(), page, libc::PROT_NONE) };
        // The end of the bytes lies at the dead page, but for the alignment.
        let offset = (body - len) / ALIGN * ALIGN;
        Some(Self { base, mapped, offset, len })
    }

    /// A copy of `bytes`.
    pub fn copy(bytes: &[u8]) -> Option<Self> {
        let guarded = Self::zeroed(bytes.len())?;
        // SAFETY: `len` bytes from `pointer` on are mapped, writable and nobody else's.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), guarded.pointer(), bytes.len()) };
        Some(guarded)
    }

    pub fn pointer(&self) -> *mut u8 {
        self.base.as_ptr().wrapping_add(self.offset)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Takes content and rights away while the value still lives: its time is over for whoever has a pointer. The caller
    /// knows that nobody reads it by right any more. False when the system refuses.
    fn kill(&self) -> bool {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: replaces exactly our own mapping by one without content and rights; whoever still has a pointer into it
        // is meant to fault.
        let dead = unsafe { libc::mmap(self.base.as_ptr().cast(), self.mapped, libc::PROT_NONE, flags, -1, 0) };
        dead != libc::MAP_FAILED
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let at = self.base.as_ptr();
        if !self.kill() {
            // SAFETY: our own mapping, given back once.
            unsafe { libc::munmap(at.cast(), self.mapped) };
            return;
        }
        let oldest = {
            let mut all = DEAD.lock();
            all.push_back((at as usize, self.mapped));
            if all.len() > QUARANTINE { all.pop_front() } else { None }
        };
        if let Some((at, mapped)) = oldest {
            // SAFETY: a dead mapping of an earlier drop, taken off the list once.
            unsafe { libc::munmap(at as *mut libc::c_void, mapped) };
        }
    }
}

/// Bytes shown to the application for a while.
pub(crate) enum Shown {
    Plain(Box<[u8]>),
    Guarded(Guarded),
}

impl Shown {
    pub fn new(bytes: Box<[u8]>) -> Self {
        if is_on()
            && let Some(guarded) = Guarded::copy(&bytes)
        {
            return Self::Guarded(guarded);
        }
        Self::Plain(bytes)
    }

    /// Its time is over, though it is not dropped yet: a late read faults from now on.
    pub fn expire(&self) {
        if let Self::Guarded(guarded) = self {
            guarded.kill();
        }
    }
}

/// Events shown to the application until they are dropped.
pub(crate) enum ShownEvents {
    Plain(Box<[wb_event]>),
    Guarded(Guarded),
}

impl ShownEvents {
    pub fn new(events: Box<[wb_event]>) -> Self {
        if is_on() {
            let len = size_of_val(&*events);
            // SAFETY: events are plain numbers and pointers without padding, `len` bytes of them.
            let bytes = unsafe { core::slice::from_raw_parts(events.as_ptr().cast::<u8>(), len) };
            if let Some(guarded) = Guarded::copy(bytes) {
                return Self::Guarded(guarded);
            }
        }
        Self::Plain(events)
    }

    pub fn as_ptr(&self) -> *const wb_event {
        match self {
            Self::Plain(events) => events.as_ptr(),
            // Aligned for anything (`ALIGN`).
            Self::Guarded(guarded) => guarded.pointer().cast_const().cast(),
        }
    }

    pub fn as_mut_ptr(&mut self) -> *mut wb_event {
        match self {
            Self::Plain(events) => events.as_mut_ptr(),
            Self::Guarded(guarded) => guarded.pointer().cast(),
        }
    }
}

impl Deref for Shown {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            // SAFETY: `len` bytes from `pointer` on are mapped, initialised, and nobody writes to what is shown.
            Self::Guarded(g) => unsafe { core::slice::from_raw_parts(g.pointer(), g.len()) },
        }
    }
}
