//! Checked 64-bit handles: kind, slot, generation (c-api 4.2). The only way from a number of C to an object.
//!
//! A slot's word holds generation, application references and pins. A call pins the slot with one compare-and-swap,
//! which fails unless the generation fits and references remain; the object cannot go while it is pinned. Whoever
//! brings references and pins to zero takes the object out, moves the generation on and frees the slot.
//! Invariants: a generation is never given out twice in a slot (a slot that would wrap is retired); objects are
//! dropped outside every lock; a table of before a fork is never touched by the child.
use super::abi::{
    WB_KIND_BUF, WB_KIND_CONFIG, WB_KIND_CONN, WB_KIND_DECISION, WB_KIND_ENDPOINT, WB_KIND_PATH, WB_KIND_QUEUE,
    WB_KIND_RUNTIME, WB_KIND_STREAM, WB_KIND_TLS,
};
use super::error::Fail;
use super::status::{WB_E_FORKED, WB_E_HANDLE, WB_E_KIND, WB_E_LIMIT, WB_E_STALE};
use crate::base::sync::{AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering, global};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::OnceLock;

/// Something that C can hold a handle of.
pub(crate) trait Object: Send + Sync + Sized + 'static {
    const KIND: u32;
    /// The application gave up its last reference; the handle is stale already. Called with no lock held.
    fn abandoned(self: &Arc<Self>) {}
    /// The handle is stale and no call that used it is under way any more. Called once, with no lock held.
    fn out_of_reach(&self) {}
}

/// One table per kind; index 0 is not used.
pub(crate) const KINDS: usize = 11;
const _: () = assert!((WB_KIND_DECISION as usize) < KINDS && KINDS <= 16);

const PAGE: usize = if cfg!(model) { 4 } else { 1 << 12 };
const PAGES: usize = if cfg!(model) { 4 } else { 1 << 12 };
/// Freed slots wait until so many others are free, so that stale handles stay in long-dead slots.
const MIN_FREE: usize = if cfg!(model) { 0 } else { 64 };

// Word: generation 32 | references 14 | pins 18.
const PIN: u64 = 1;
const PIN_MASK: u64 = (1 << 18) - 1;
const REF: u64 = 1 << 18;
const REF_MASK: u64 = ((1 << 14) - 1) << 18;
const GENERATION_SHIFT: u32 = 32;

#[cfg_attr(model, derive(Default))]
struct Slot {
    word: AtomicU64,
    object: AtomicPtr<()>,
    /// Generation that the slot was born with; 0 before its first use.
    born: AtomicU32,
}

struct Table {
    /// An array, so that no number of a slot lies beyond it and the compiler knows.
    pages: Box<[AtomicPtr<Slot>; PAGES]>,
    free: Mutex<Free>,
}

struct Free {
    /// Slots that were used before, oldest first.
    list: VecDeque<u32>,
    /// First slot never used.
    next: u32,
}

struct Tables {
    kinds: [Table; KINDS],
    /// Secret of this process that makes generations hard to guess.
    seed: RandomState,
}

global! {
    static TABLES: AtomicPtr<Tables> = AtomicPtr::new(core::ptr::null_mut());
}
global! {
    /// How often this process is the child of a fork that the library saw.
    static EPOCH: AtomicU32 = AtomicU32::new(0);
}

/// Runs in the child of a fork, where only one thread is left: what the parent had is abandoned, not freed, because
/// its locks may be held by threads that do not exist here.
extern "C" fn in_child() {
    EPOCH.fetch_add(1, Ordering::SeqCst);
    super::diagnostics::forget();
    TABLES.store(core::ptr::null_mut(), Ordering::SeqCst);
}

/// Forks between the start of the library and now.
pub(crate) fn epoch() -> u32 {
    EPOCH.load(Ordering::Relaxed)
}

/// From now on the child of a fork is told.
pub(crate) fn prepare() {
    tables();
}

fn tables() -> &'static Tables {
    let pointer = TABLES.load(Ordering::Acquire);
    if let Some(tables) = NonNull::new(pointer) {
        // SAFETY: published below, never freed.
        return unsafe { tables.as_ref() };
    }
    make_tables()
}

#[cold]
fn make_tables() -> &'static Tables {
    static HANDLER: OnceLock<()> = OnceLock::new();
    HANDLER.get_or_init(|| {
        // Keys and identities may be made before there is a runtime.
        crate::runtime::random::watch_forks();
        // SAFETY: the handler only stores to atomics; the library cannot be unloaded (nodelete).
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    let table = |_| Table { pages: no_pages(), free: Mutex::new(Free { list: VecDeque::new(), next: 0 }) };
    let fresh = Box::into_raw(Box::new(Tables { kinds: core::array::from_fn(table), seed: RandomState::new() }));
    match TABLES.compare_exchange(core::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: just published, never freed.
        Ok(_) => unsafe { &*fresh },
        Err(winner) => {
            // SAFETY: `fresh` was never shared; `winner` is published and never freed.
            unsafe {
                drop(Box::from_raw(fresh));
                &*winner
            }
        }
    }
}

/// A table's array before its first slot. Not made on the stack: it is large.
fn no_pages() -> Box<[AtomicPtr<Slot>; PAGES]> {
    let pages: Box<[AtomicPtr<Slot>]> = (0..PAGES).map(|_| AtomicPtr::default()).collect();
    let Ok(pages) = pages.try_into() else { unreachable!("so many were collected") };
    pages
}

/// Layout of a handle: kind 4 bits, fork epoch 4 bits, slot 24 bits, generation 32 bits.
const fn compose(kind: u32, epoch: u32, slot: u32, generation: u32) -> u64 {
    (badge(kind, epoch) << BADGE_SHIFT) | ((slot as u64) << 32) | generation as u64
}

/// Where the kind and the fork epoch stand in a handle.
const BADGE_SHIFT: u32 = 56;

/// What all handles of a kind have in common in this process.
const fn badge(kind: u32, epoch: u32) -> u64 {
    ((kind as u64) << 4) | (epoch & 0xf) as u64
}

/// Kind that a handle claims; not checked further.
pub(crate) const fn claimed_kind(handle: u64) -> u32 {
    (handle >> 60) as u32
}

const fn slot_of(handle: u64) -> u32 {
    ((handle >> 32) & 0x00ff_ffff) as u32
}

impl Table {
    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot> {
        let page = self.pages.get(index as usize / PAGE)?.load(Ordering::Acquire);
        let page = NonNull::new(page)?;
        // SAFETY: a published page has PAGE slots and is never freed; the remainder is below PAGE.
        Some(unsafe { page.add(index as usize % PAGE).as_ref() })
    }

    /// A slot that nobody uses, reused only when enough others rest.
    #[inline]
    fn reserve(&self) -> Option<u32> {
        let mut free = self.free.lock();
        if free.list.len() <= MIN_FREE && (free.next as usize) < PAGE * PAGES {
            return self.begin(&mut free);
        }
        free.list.pop_front()
    }

    /// A slot that was never used; there is one left.
    #[cold]
    fn begin(&self, free: &mut Free) -> Option<u32> {
        let index = free.next;
        let page = self.pages.get(index as usize / PAGE)?;
        if page.load(Ordering::Acquire).is_null() {
            page.store(new_page()?.as_ptr(), Ordering::Release);
        }
        free.next += 1;
        Some(index)
    }
}

/// The end of one schedule: no thread is left, and the next one begins with nothing.
#[cfg(model)]
pub(crate) fn clear() {
    let Some(tables) = NonNull::new(TABLES.swap(core::ptr::null_mut(), Ordering::AcqRel)) else { return };
    // SAFETY: made by `make_tables`; by contract nobody uses handles any more.
    let tables = unsafe { Box::from_raw(tables.as_ptr()) };
    for page in tables.kinds.iter().flat_map(|table| table.pages.iter()) {
        if let Some(slots) = NonNull::new(page.load(Ordering::Acquire)) {
            // SAFETY: made by `new_page`; as above.
            drop(unsafe { Box::from_raw(slots.as_ptr().cast::<[Slot; PAGE]>()) });
        }
    }
}

/// `PAGE` unused slots.
#[cfg(not(model))]
fn new_page() -> Option<NonNull<Slot>> {
    let layout = core::alloc::Layout::array::<Slot>(PAGE).ok()?;
    // SAFETY: the layout is not empty; all-zero slots are valid (atomics only).
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }.cast())
}

/// A model checker's atomics are more than their bytes.
#[cfg(model)]
fn new_page() -> Option<NonNull<Slot>> {
    let slots: Box<[Slot; PAGE]> = Box::new(core::array::from_fn(|_| Slot::default()));
    NonNull::new(Box::into_raw(slots).cast())
}

/// Puts an object in the table of its kind with one reference.
pub(crate) fn insert<T: Object>(object: Arc<T>) -> Result<u64, Fail> {
    let tables = tables();
    let table = tables.kinds.get(T::KIND as usize).ok_or_else(too_many)?;
    let index = table.reserve().ok_or_else(too_many)?;
    let slot = table.slot(index).ok_or_else(too_many)?;
    // The word of a free slot keeps the generation that was last given out.
    let mut generation = next_generation((slot.word.load(Ordering::Acquire) >> GENERATION_SHIFT) as u32);
    if slot.born.load(Ordering::Acquire) == 0 {
        let mut hasher = tables.seed.build_hasher();
        hasher.write_u32(T::KIND);
        hasher.write_u32(index);
        generation = (hasher.finish() as u32).max(1);
        slot.born.store(generation, Ordering::Release);
    }
    slot.object.store(Arc::into_raw(object).cast_mut().cast(), Ordering::Release);
    slot.word.store((u64::from(generation) << GENERATION_SHIFT) | REF, Ordering::Release);
    Ok(compose(T::KIND, epoch(), index, generation))
}

const fn next_generation(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 1,
        n => n,
    }
}

#[cold]
fn too_many() -> Fail {
    Fail::new(WB_E_LIMIT, "too many live handles of this kind")
}

/// The slot of a handle that is what it should be, in a few steps; `misplaced` says why another has none.
#[inline]
fn place(handle: u64, kind: u32) -> Option<(&'static Slot, &'static Table)> {
    if handle >> BADGE_SHIFT != badge(kind, epoch()) {
        return None;
    }
    // SAFETY: null, or published by `make_tables` and never freed.
    let tables = unsafe { TABLES.load(Ordering::Acquire).as_ref() }?;
    let table = tables.kinds.get(kind as usize)?;
    Some((table.slot(slot_of(handle))?, table))
}

/// Why `place` knows no slot.
#[cold]
fn misplaced(handle: u64, kind: u32) -> Fail {
    if handle == 0 {
        return Fail::new(WB_E_HANDLE, "the handle is zero");
    }
    let claimed = claimed_kind(handle);
    let born_in = ((handle >> 56) & 0xf) as u32;
    let here = epoch();
    if claimed == 0 || claimed as usize >= KINDS {
        return not_ours();
    }
    if born_in != here & 0xf {
        return if born_in < here || here > 0xf {
            Fail::new(WB_E_FORKED, "the handle was made before this process was forked")
        } else {
            not_ours()
        };
    }
    let slot = tables().kinds.get(claimed as usize).and_then(|table| table.slot(slot_of(handle)));
    match slot.map(|slot| state(slot, handle as u32)) {
        // A live or once live handle of another kind is a mix-up, anything else is made up.
        Some(Found::Live | Found::Gone) if claimed != kind => {
            Fail::new(WB_E_KIND, format!("the handle is a {}, wanted is a {}", kind_name(claimed), kind_name(kind)))
        }
        _ => not_ours(),
    }
}

#[cold]
fn not_ours() -> Fail {
    Fail::new(WB_E_HANDLE, "the handle was never given out by this library")
}

#[cold]
fn stale(kind: u32) -> Fail {
    Fail::new(WB_E_STALE, format!("the {} of this handle is gone", kind_name(kind)))
}

pub(crate) fn kind_name(kind: u32) -> &'static str {
    match kind {
        WB_KIND_RUNTIME => "runtime",
        WB_KIND_CONFIG => "configuration",
        WB_KIND_TLS => "TLS object",
        WB_KIND_ENDPOINT => "endpoint",
        WB_KIND_CONN => "connection",
        WB_KIND_PATH => "path",
        WB_KIND_STREAM => "stream",
        WB_KIND_BUF => "buffer",
        WB_KIND_QUEUE => "queue",
        WB_KIND_DECISION => "decision",
        _ => "nothing",
    }
}

enum Found {
    Live,
    Gone,
    Never,
}

fn state(slot: &Slot, generation: u32) -> Found {
    let born = slot.born.load(Ordering::Acquire);
    let word = slot.word.load(Ordering::Acquire);
    let current = (word >> GENERATION_SHIFT) as u32;
    if born == 0 {
        return Found::Never;
    }
    if generation == current {
        return if word & REF_MASK == 0 { Found::Gone } else { Found::Live };
    }
    if generation.wrapping_sub(born) < current.wrapping_sub(born) { Found::Gone } else { Found::Never }
}

/// An object held by a pin: it and its slot stay until this is dropped.
pub(crate) struct Held<T: Object> {
    slot: &'static Slot,
    table: &'static Table,
    index: u32,
    object: NonNull<T>,
    _object: PhantomData<T>,
}

impl<T: Object> Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the slot's Arc lives while the pin is held.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Object> Held<T> {
    /// Lets `act` have the object as what counts its references, without counting one.
    pub fn with_arc<R>(&self, act: impl FnOnce(&Arc<T>) -> R) -> R {
        // SAFETY: the pointer came from Arc::into_raw, the slot's count is held by the pin for as long as `self` is borrowed, and
        // what is made here is never dropped.
        let object = ManuallyDrop::new(unsafe { Arc::from_raw(self.object.as_ptr()) });
        act(&object)
    }

    /// A reference of its own.
    pub fn arc(&self) -> Arc<T> {
        // SAFETY: the pointer came from Arc::into_raw and the slot's count is held by the pin.
        unsafe {
            Arc::increment_strong_count(self.object.as_ptr());
            Arc::from_raw(self.object.as_ptr())
        }
    }
}

impl<T: Object> Drop for Held<T> {
    #[inline]
    fn drop(&mut self) {
        let before = self.slot.word.fetch_sub(PIN, Ordering::AcqRel);
        if before & (REF_MASK | PIN_MASK) != PIN {
            return;
        }
        self.end(before);
    }
}

impl<T: Object> Held<T> {
    /// It was the last pin and there are no references: nobody else can get in any more, so no exchange is needed.
    #[inline(never)]
    fn end(&self, before: u64) {
        let object = self.slot.object.load(Ordering::Acquire);
        self.slot.object.store(core::ptr::null_mut(), Ordering::Release);
        let next = next_generation((before >> GENERATION_SHIFT) as u32);
        // A slot whose generations are used up is never used again.
        if next != self.slot.born.load(Ordering::Acquire) {
            self.table.free.lock().list.push_back(self.index);
        }
        // SAFETY: taken out of the slot exactly once; it came from Arc::into_raw of the same type.
        let object = unsafe { Arc::from_raw(object.cast::<T>().cast_const()) };
        object.out_of_reach();
    }
}

/// A slot with this word holds what the generation says.
#[inline]
const fn is_live(word: u64, generation: u32) -> bool {
    (word >> GENERATION_SHIFT) as u32 == generation && word & REF_MASK != 0
}

/// What is wrong with a handle whose slot has this word; if nothing is, there is no room for a pin.
#[cold]
fn refusal(slot: &Slot, word: u64, handle: u64) -> Fail {
    let generation = handle as u32;
    if is_live(word, generation) {
        return Fail::new(WB_E_LIMIT, "too many calls on one object at a time");
    }
    match state(slot, generation) {
        Found::Never => not_ours(),
        Found::Live | Found::Gone => stale(claimed_kind(handle)),
    }
}

/// Moves a live slot's word on; `Err`: the word that speaks against it. Both tell the word as it was.
#[inline]
fn exchange(slot: &Slot, generation: u32, after: impl Fn(u64) -> u64) -> Result<u64, u64> {
    let mut word = slot.word.load(Ordering::Acquire);
    loop {
        if !is_live(word, generation) || word & PIN_MASK == PIN_MASK {
            return Err(word);
        }
        match slot.word.compare_exchange_weak(word, after(word), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(word),
            Err(now) => word = now,
        }
    }
}

/// One pin more.
const fn with_pin(word: u64) -> u64 {
    word + PIN
}

/// One reference less. The last one turns into a pin, so that the object stays while it is abandoned.
const fn without_reference(word: u64) -> u64 {
    word - REF + if is_last(word) { PIN } else { 0 }
}

const fn is_last(word: u64) -> bool {
    word & REF_MASK == REF
}

/// The object of a slot in which the caller has a pin, which is given over.
#[inline]
fn pinned<T: Object>(slot: &'static Slot, table: &'static Table, index: u32) -> Result<Held<T>, Fail> {
    match NonNull::new(slot.object.load(Ordering::Acquire).cast::<T>()) {
        Some(object) => Ok(Held { slot, table, index, object, _object: PhantomData }),
        None => Err(pinned_nothing(slot, T::KIND)),
    }
}

/// Cannot happen: a slot with references has an object. Gives the pin back all the same.
#[cold]
fn pinned_nothing(slot: &Slot, kind: u32) -> Fail {
    slot.word.fetch_sub(PIN, Ordering::AcqRel);
    stale(kind)
}

/// Looks a handle up and pins its object.
#[inline]
pub(crate) fn get<T: Object>(handle: u64) -> Result<Held<T>, Fail> {
    let Some((slot, table)) = place(handle, T::KIND) else { return Err(misplaced(handle, T::KIND)) };
    match exchange(slot, handle as u32, with_pin) {
        Ok(_) => pinned(slot, table, slot_of(handle)),
        Err(word) => Err(refusal(slot, word, handle)),
    }
}

/// As `get`, but 0 is "none".
pub(crate) fn get_optional<T: Object>(handle: u64) -> Result<Option<Held<T>>, Fail> {
    if handle == 0 { Ok(None) } else { get(handle).map(Some) }
}

/// One more reference.
pub(crate) fn retain<T: Object>(handle: u64) -> Result<(), Fail> {
    let held = get::<T>(handle)?;
    let mut word = held.slot.word.load(Ordering::Acquire);
    loop {
        if word & REF_MASK == 0 {
            return Err(stale(T::KIND));
        }
        if word & REF_MASK == REF_MASK {
            return Err(Fail::new(WB_E_LIMIT, "too many references to one handle"));
        }
        match held.slot.word.compare_exchange_weak(word, word + REF, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(()),
            Err(now) => word = now,
        }
    }
}

/// One reference less; with the last one the handle goes stale and the object is abandoned.
pub(crate) fn release<T: Object>(handle: u64) -> Result<(), Fail> {
    let Some((slot, table)) = place(handle, T::KIND) else { return Err(misplaced(handle, T::KIND)) };
    let generation = handle as u32;
    let before = exchange(slot, generation, without_reference).map_err(|word| refusal(slot, word, handle))?;
    if is_last(before) {
        let held = pinned::<T>(slot, table, slot_of(handle))?;
        held.with_arc(|object| object.abandoned());
    }
    Ok(())
}

/// References that the application (and, for objects from events, the library) holds.
pub(crate) fn references<T: Object>(held: &Held<T>) -> u32 {
    ((held.slot.word.load(Ordering::Acquire) & REF_MASK) / REF) as u32
}
