//! Where something lies in memory: an address and a length, to ask the processor for it (`runtime/ahead.rs`), never to
//! read through.

/// Bytes of a list that its front has.
const FRONT: usize = 128;

/// See the file comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub at: usize,
    pub len: usize,
}

impl Span {
    /// Nowhere.
    pub const NONE: Self = Self { at: 0, len: 0 };

    /// Where a value lies.
    #[must_use]
    pub fn of<T: ?Sized>(value: &T) -> Self {
        Self { at: core::ptr::from_ref(value).addr(), len: size_of_val(value) }
    }

    /// Where a list begins.
    #[must_use]
    pub fn front<T>(list: &[T]) -> Self {
        let all = Self::of(list);
        Self { len: all.len.min(FRONT), ..all }
    }

    /// Where a list will begin that is filled anew each time.
    #[must_use]
    pub fn room<T>(list: &Vec<T>) -> Self {
        let room = list.capacity().saturating_mul(size_of::<T>());
        Self { len: room.min(FRONT), ..Self::of(list.as_slice()) }
    }
}
