//! Reference-counted bytes, owned by us or lent by the application.
//!
//! The promise that this room keeps: memory that somebody lent us is read only while it is pinned, is
//! never read again once [`Chunk::revoke`] has returned, and its release function runs exactly once, after
//! the last reference. Library memory comes as whole vectors or as [`Slab`]s, which have one writer and
//! any number of readers of the part that is already written.
//!
//! Invariants: (1) a slab never writes below its seal, and views end at or below it, so no byte is both
//! written and shared; (2) `Loan::word` holds a revoked bit and a pin count, foreign bytes are read only
//! between a successful pin and its release. `tests/models` tries out the schedules of all this.
use core::fmt;
use core::ptr::NonNull;
use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

use crate::base::sync::{Arc, AtomicUsize, Ordering, thread_local, wait_a_little};

/// The lender took its memory back: there is nothing to read any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revoked;

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer was revoked by its owner")
    }
}

impl std::error::Error for Revoked {}

/// A range of reference-counted bytes. Cloning and slicing share the memory. `Send + Sync`.
#[derive(Clone)]
pub struct Chunk {
    owner: Owner,
    /// Always within the owner's memory: `offset + len <= owner.capacity()`.
    offset: usize,
    len: usize,
}

#[derive(Clone)]
enum Owner {
    Static(&'static [u8]),
    Heap(Arc<Vec<u8>>),
    Slab(Arc<SlabMemory>),
    Foreign(Arc<Loan>),
}

impl Default for Chunk {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.owner {
            Owner::Static(_) => "static",
            Owner::Heap(_) => "heap",
            Owner::Slab(_) => "slab",
            Owner::Foreign(_) => "foreign",
        };
        write!(f, "Chunk({kind}, {} bytes)", self.len)
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_vec(bytes)
    }
}

impl Chunk {
    /// No bytes, no owner.
    #[must_use]
    pub const fn empty() -> Self {
        Self { owner: Owner::Static(&[]), offset: 0, len: 0 }
    }

    /// Takes the vector over without copying.
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self { owner: Owner::Heap(Arc::new(bytes)), offset: 0, len }
    }

    /// Takes the box over without copying.
    #[must_use]
    pub fn from_boxed(bytes: Box<[u8]>) -> Self {
        Self::from_vec(bytes.into_vec())
    }

    /// Bytes of the program itself.
    #[must_use]
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self { owner: Owner::Static(bytes), offset: 0, len: bytes.len() }
    }

    /// A private copy.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self::from_vec(bytes.to_vec())
    }

    /// Borrows memory that is not ours. `release` runs exactly once, after the last clone or slice has gone,
    /// on whatever thread that happens; see [`ReleaseScope`] for keeping it out of locks.
    ///
    /// # Safety
    /// `ptr` must be valid for reads of `len` bytes, which must not change, from now until `release` has begun
    /// to run or [`Chunk::revoke`] (or [`Chunk::revoke_keeping_copy`]) on any of the clones has returned.
    #[must_use]
    pub unsafe fn from_foreign(ptr: *const u8, len: usize, release: Box<dyn FnOnce() + Send>) -> Self {
        let loan = Loan { ptr, len, word: AtomicUsize::new(0), rescued: OnceLock::new(), release: Some(release) };
        Self { owner: Owner::Foreign(Arc::new(loan)), offset: 0, len }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lent by the application (and so revocable).
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        matches!(self.owner, Owner::Foreign(_))
    }

    /// A chunk over `len` bytes from `offset`, sharing the memory. Clipped to what there is.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        let offset = offset.min(self.len);
        let len = len.min(self.len - offset);
        Self { owner: self.owner.clone(), offset: self.offset + offset, len }
    }

    /// Cuts the first `n` bytes off (all when there are fewer) and returns them.
    pub fn split_to(&mut self, n: usize) -> Self {
        let n = n.min(self.len);
        let head = Self { owner: self.owner.clone(), offset: self.offset, len: n };
        self.offset += n;
        self.len -= n;
        head
    }

    /// Drops the first `n` bytes from view.
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len);
        self.offset += n;
        self.len -= n;
    }

    /// Shortens the view to at most `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// Lets `f` see the bytes; foreign memory is pinned meanwhile, so a concurrent [`revoke`](Self::revoke)
    /// waits for `f`: keep it short, and never revoke the same owner from inside.
    ///
    /// # Errors
    /// [`Revoked`] when the lender took its memory back; `f` has not run then.
    pub fn with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R, Revoked> {
        if let Some(bytes) = self.as_slice() {
            return Ok(f(bytes));
        }
        let Owner::Foreign(loan) = &self.owner else { return Err(Revoked) };
        match loan.pin() {
            Some(pin) => Ok(f(pin.bytes(self.offset, self.len))),
            None => match loan.rescued.get() {
                Some(copy) => Ok(f(view(copy, self.offset, self.len))),
                None => Err(Revoked),
            },
        }
    }

    /// Copies `dst.len()` bytes from `offset` of this chunk.
    ///
    /// # Errors
    /// [`Revoked`] as in [`with`](Self::with); `dst` is untouched then.
    ///
    /// # Panics
    /// When the range is not inside the chunk (a caller's mistake, never the peer's).
    pub fn copy_to(&self, offset: usize, dst: &mut [u8]) -> Result<(), Revoked> {
        let n = dst.len();
        assert!(offset <= self.len && n <= self.len - offset, "range outside the chunk");
        self.with(|bytes| dst.copy_from_slice(view(bytes, offset, n)))
    }

    /// A copy of all bytes.
    ///
    /// # Errors
    /// [`Revoked`] as in [`with`](Self::with).
    pub fn to_vec(&self) -> Result<Vec<u8>, Revoked> {
        self.with(<[u8]>::to_vec)
    }

    /// The bytes, when they are ours. `None` for lent memory, which may be read through
    /// [`with`](Self::with) only.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        match &self.owner {
            Owner::Static(bytes) => Some(view(bytes, self.offset, self.len)),
            Owner::Heap(bytes) => Some(view(bytes, self.offset, self.len)),
            Owner::Slab(memory) => Some(memory.sealed_bytes(self.offset, self.len)),
            Owner::Foreign(_) => None,
        }
    }

    /// Ends the loan: once this returns no thread reads the lent memory again. Readers that hold a pin are
    /// waited for (each the time of one copy). Later reads get [`Revoked`]. Does nothing for our own memory.
    /// Must not be called from inside [`with`](Self::with) on the same owner.
    pub fn revoke(&self) {
        if let Owner::Foreign(loan) = &self.owner {
            loan.revoke();
        }
    }

    /// Ends the loan like [`revoke`](Self::revoke), but the bytes are first copied to our memory if anybody
    /// else still refers to them, so that readers never notice. Returns false if the loan had already been
    /// ended without a copy.
    pub fn revoke_keeping_copy(&self) -> bool {
        match &self.owner {
            Owner::Foreign(loan) => {
                // With one reference (ours) nobody is left who could ask for the copy.
                let rescued = Arc::strong_count(loan) == 1 || loan.rescue();
                loan.revoke();
                rescued
            }
            _ => true,
        }
    }

    /// The lender took the memory back and left no copy.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        match &self.owner {
            Owner::Foreign(loan) => loan.word.load(Ordering::Acquire) & REVOKED != 0 && loan.rescued.get().is_none(),
            _ => false,
        }
    }

    /// Both are parts of the same allocation or loan.
    #[must_use]
    pub fn same_owner(&self, other: &Self) -> bool {
        match (&self.owner, &other.owner) {
            (Owner::Static(a), Owner::Static(b)) => core::ptr::eq(*a, *b),
            (Owner::Heap(a), Owner::Heap(b)) => Arc::ptr_eq(a, b),
            (Owner::Slab(a), Owner::Slab(b)) => Arc::ptr_eq(a, b),
            (Owner::Foreign(a), Owner::Foreign(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Gets the slab back for reuse when this was the last reference to it and its writer has gone.
    #[must_use]
    pub fn into_slab(self) -> Option<Slab> {
        match self.owner {
            Owner::Slab(mut memory) => {
                Arc::get_mut(&mut memory)?;
                Some(Slab { memory, sealed: 0 })
            }
            _ => None,
        }
    }
}

/// `bytes[offset..offset + len]`; the caller's invariant makes the range valid.
fn view(bytes: &[u8], offset: usize, len: usize) -> &[u8] {
    bytes.get(offset..offset + len).expect("a chunk lies within its owner")
}

// ---------------------------------------------------------------------------------------------------------
// Lent memory

/// Set in `Loan::word` when the loan has ended.
const REVOKED: usize = 1;
/// One reader in `Loan::word`.
const PIN: usize = 2;

/// Foreign bytes with their release function.
struct Loan {
    ptr: *const u8,
    len: usize,
    /// `REVOKED` bit and pin count (in units of `PIN`). All changes are read-modify-write operations on this one
    /// word, so a pin either comes before the revocation, which then waits for it, or sees the bit and backs off.
    word: AtomicUsize,
    /// Our copy when the lender wanted its memory back but the data to go on.
    rescued: OnceLock<Box<[u8]>>,
    release: Option<Box<dyn FnOnce() + Send>>,
}

// SAFETY: the pointer is only read, between a pin and its release, under the lender's promise (`from_foreign`)
// that the bytes stay valid and unchanged for that long on every thread; the release function is `Send` and is
// called through `&mut self` in `drop` only.
unsafe impl Send for Loan {}
// SAFETY: as above; shared access touches atomics, the `OnceLock` and pinned reads only. `release` is not
// reachable through a shared reference.
unsafe impl Sync for Loan {}

/// Proof that the loan cannot end before this is dropped.
struct Pin<'a>(&'a Loan);

impl Pin<'_> {
    fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        if self.0.len == 0 {
            return &[]; // the lender may have passed a null pointer with no bytes
        }
        // SAFETY: valid for `len` bytes by the promise of `from_foreign`, which holds until the revocation returns;
        // that waits for this pin. The slice borrows the pin.
        let all = unsafe { core::slice::from_raw_parts(self.0.ptr, self.0.len) };
        view(all, offset, len)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // Release: our reads come before the revoker's acquire load that sees the count fall.
        self.0.word.fetch_sub(PIN, Ordering::Release);
    }
}

impl Loan {
    fn pin(&self) -> Option<Pin<'_>> {
        let before = self.word.fetch_add(PIN, Ordering::Acquire);
        let pin = Pin(self);
        // Dropping the pin on the way out takes our count back without having read anything.
        (before & REVOKED == 0).then_some(pin)
    }

    fn revoke(&self) {
        self.word.fetch_or(REVOKED, Ordering::AcqRel);
        let mut round = 0u32;
        while self.word.load(Ordering::Acquire) >= PIN {
            wait_a_little(round);
            round = round.saturating_add(1);
        }
    }

    /// Makes the private copy; false when the loan has already ended without one.
    fn rescue(&self) -> bool {
        if let Some(pin) = self.pin() {
            self.rescued.get_or_init(|| pin.bytes(0, self.len).into());
        }
        self.rescued.get().is_some()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            run_or_defer(release);
        }
    }
}

type Release = Box<dyn FnOnce() + Send>;

/// What each verb looks at twice, apart from what few need: without a destructor it is had in a few steps.
struct Scopes {
    /// Open on this thread.
    depth: Cell<usize>,
    /// Something waits for the end of the outermost.
    due: Cell<bool>,
}

thread_local! {
    static SCOPES: Scopes = const { Scopes { depth: Cell::new(0), due: Cell::new(false) } };
    static WAITING: RefCell<Vec<Release>> = const { RefCell::new(Vec::new()) };
}

/// While one of these lives, release functions that become due on this thread wait; they run when the outermost
/// scope ends. Open it before taking a lock and let it go after the lock: then no application code runs under it.
pub struct ReleaseScope {
    /// Not `Send`: the scope belongs to its thread.
    _thread: core::marker::PhantomData<*const ()>,
}

impl ReleaseScope {
    #[must_use = "the scope ends when it is dropped"]
    #[inline]
    pub fn new() -> Self {
        let _ = SCOPES.try_with(|scopes| scopes.depth.set(scopes.depth.get() + 1));
        Self { _thread: core::marker::PhantomData }
    }
}

impl Default for ReleaseScope {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ReleaseScope {
    #[inline]
    fn drop(&mut self) {
        let due = SCOPES.try_with(|scopes| {
            let depth = scopes.depth.get().saturating_sub(1);
            scopes.depth.set(depth);
            depth == 0 && scopes.due.get()
        });
        if due.unwrap_or(false) {
            run_waiting();
        }
    }
}

#[cold]
fn run_waiting() {
    let _ = SCOPES.try_with(|scopes| scopes.due.set(false));
    let waiting = WAITING.try_with(|waiting| core::mem::take(&mut *waiting.borrow_mut()));
    for release in waiting.unwrap_or_default() {
        call(release);
    }
}

fn run_or_defer(release: Release) {
    let mut slot = Some(release);
    // A thread that is being torn down has no list any more: run at once then.
    let _ = SCOPES.try_with(|scopes| {
        if scopes.depth.get() > 0 {
            let _ = WAITING.try_with(|waiting| waiting.borrow_mut().extend(slot.take()));
            scopes.due.set(scopes.due.get() || slot.is_none());
        }
    });
    if let Some(release) = slot {
        call(release);
    }
}

/// A panic in one release function must neither skip the others nor unwind out of a destructor.
fn call(release: Release) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(release));
}

// ---------------------------------------------------------------------------------------------------------
// Library memory with one writer

/// The allocation behind a [`Slab`] and the chunks over it.
struct SlabMemory {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a plain allocation of bytes. Writes come from the one `Slab` (through `&mut`) and stay above its seal,
// reads through chunks stay below the seal that was current when the chunk was made, and the seal only moves
// back when the `Slab` proves that it holds the only reference.
unsafe impl Send for SlabMemory {}
// SAFETY: as above: concurrent accesses are disjoint.
unsafe impl Sync for SlabMemory {}

impl SlabMemory {
    fn new(capacity: usize) -> Self {
        // Zeroed, so that every byte is initialised whatever is written later.
        let start = Box::into_raw(vec![0u8; capacity].into_boxed_slice()).cast::<u8>();
        Self { start: NonNull::new(start).expect("a box is never null"), capacity }
    }

    /// Bytes that were sealed when a chunk over them was made.
    fn sealed_bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(offset <= self.capacity && len <= self.capacity - offset, "a chunk lies within its slab");
        // SAFETY: inside the allocation (checked above), initialised since `new`, and never written again while
        // any chunk refers to it, because the range is below the seal.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr().add(offset), len) }
    }
}

impl Drop for SlabMemory {
    fn drop(&mut self) {
        let whole = core::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.capacity);
        // SAFETY: made by `Box::into_raw` in `new` with this length, freed once, nobody refers to it any more.
        drop(unsafe { Box::from_raw(whole) });
    }
}

/// A buffer with one writer whose finished part can be shared as chunks while the rest is being written.
pub struct Slab {
    memory: Arc<SlabMemory>,
    /// Everything below may be shared with chunks and is never written again.
    sealed: usize,
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} of {} sealed)", self.sealed, self.memory.capacity)
    }
}

impl Slab {
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { memory: Arc::new(SlabMemory::new(capacity)), sealed: 0 }
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.capacity
    }

    /// Bytes below this are shared or were declared finished; they cannot be written any more.
    #[must_use]
    pub const fn sealed(&self) -> usize {
        self.sealed
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Panics
    /// When the range is not between the seal and the capacity (a caller's mistake, never the peer's).
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) {
        let capacity = self.memory.capacity;
        assert!(at >= self.sealed && at <= capacity && bytes.len() <= capacity - at, "write outside the open part");
        // SAFETY: inside the allocation and above the seal (checked above), so no chunk's slice covers the range; the
        // only writer is this `Slab`, borrowed mutably; `bytes` cannot overlap, for shared slices end at the seal
        // and `read_at` and `bytes` borrow the slab.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.start.as_ptr().add(at), bytes.len());
        }
    }

    /// Reads without sharing: copies `dst.len()` bytes from `at`.
    ///
    /// # Panics
    /// When the range is outside the slab (a caller's mistake, never the peer's).
    pub fn read_at(&self, at: usize, dst: &mut [u8]) {
        dst.copy_from_slice(self.memory.sealed_bytes(at, dst.len()));
    }

    /// Shares `start..end` and seals everything below `end`. Clipped to the capacity.
    #[must_use]
    pub fn share(&mut self, start: usize, end: usize) -> Chunk {
        let end = end.min(self.memory.capacity);
        let start = start.min(end);
        self.sealed = self.sealed.max(end);
        Chunk { owner: Owner::Slab(Arc::clone(&self.memory)), offset: start, len: end - start }
    }

    /// Makes `chunk` longer by the `n` bytes behind it, if it is a view of this slab that ends where they begin.
    /// Saves a reference count when writes are merged.
    pub fn extend(&mut self, chunk: &mut Chunk, n: usize) -> bool {
        let end = chunk.offset + chunk.len;
        match &chunk.owner {
            Owner::Slab(memory) if Arc::ptr_eq(memory, &self.memory) && n <= memory.capacity - end => {
                chunk.len += n;
                self.sealed = self.sealed.max(end + n);
                true
            }
            _ => false,
        }
    }

    /// Opens the whole slab for writing again, if no chunk refers to it.
    pub fn reset(&mut self) -> bool {
        // `get_mut` succeeds only for the one reference left, and synchronises with the drops of the others.
        if Arc::get_mut(&mut self.memory).is_some() {
            self.sealed = 0;
            true
        } else {
            false
        }
    }
}

/// Lent memory for tests: the lender can scribble over its bytes as a real one may after a revocation.
#[cfg(test)]
pub(crate) mod lender {
    use super::Chunk;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;

    /// Owns leaked bytes, lends them, counts releases.
    pub(crate) struct Lender {
        start: *mut u8,
        len: usize,
        pub(crate) released: Arc<AtomicUsize>,
    }

    impl Lender {
        pub(crate) fn new(bytes: &[u8]) -> Self {
            let len = bytes.len();
            let start = Box::into_raw(bytes.to_vec().into_boxed_slice()).cast::<u8>();
            Self { start, len, released: Arc::new(AtomicUsize::new(0)) }
        }

        pub(crate) fn lend(&self) -> Chunk {
            let released = Arc::clone(&self.released);
            // SAFETY: the allocation lives until `self` is dropped at the end of the test.
            unsafe {
                Chunk::from_foreign(
                    self.start,
                    self.len,
                    Box::new(move || {
                        released.fetch_add(1, Ordering::SeqCst);
                    }),
                )
            }
        }

        /// An empty loan from the null pointer.
        pub(crate) fn lend_nothing(release: Box<dyn FnOnce() + Send>) -> Chunk {
            // SAFETY: no byte is ever read.
            unsafe { Chunk::from_foreign(core::ptr::null(), 0, release) }
        }

        pub(crate) fn released(&self) -> usize {
            self.released.load(Ordering::SeqCst)
        }

        /// Overwrites the bytes; legal only after a revocation or the release.
        pub(crate) fn scribble(&self) {
            // SAFETY: our own allocation; the test has ended the loan before.
            unsafe { core::ptr::write_bytes(self.start, 0xdd, self.len) }
        }
    }

    impl Drop for Lender {
        fn drop(&mut self) {
            // SAFETY: made by `Box::into_raw` with this length.
            drop(unsafe { Box::from_raw(core::ptr::slice_from_raw_parts_mut(self.start, self.len)) });
        }
    }
}

#[cfg(test)]
mod tests;
