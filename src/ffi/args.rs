//! Checks of raw arguments: every pointer that C hands us goes through one of these.
use super::error::Fail;
use super::status::{WB_E_RANGE, WB_E_UTF8};
use core::ffi::{CStr, c_char, c_void};

/// Most bytes of a text, an array or a buffer. More is a mistake (a negative number cast to `size_t`, a length that was never
/// set): no process has so much memory, 64-bit systems give a process 2^47 addresses.
pub(crate) const MAX_ARGUMENT: usize = isize::MAX as usize >> if usize::BITS == 64 { 17 } else { 0 };

/// A structure that starts with `struct_size` and whose every byte is initialised (explicit padding).
///
/// # Safety
/// `repr(C)`, first field `u32` size, no implicit padding, any byte pattern may be copied out.
pub(crate) unsafe trait Sized32: Copy {}

/// Fills an output struct: the smaller of both sizes, then the size really filled.
///
/// # Safety
/// `out` is null or points to at least `struct_size` writable bytes, the first four being `struct_size`.
pub(crate) unsafe fn fill<T: Sized32>(out: *mut T, value: T) -> Result<(), Fail> {
    let out = non_null(out, "output struct")?;
    // SAFETY: not null and aligned (checked); the caller vouches for four readable bytes.
    let given = unsafe { out.cast::<u32>().read() } as usize;
    if given < 8 {
        return Err(Fail::new(WB_E_RANGE, "struct_size is not set"));
    }
    let size = given.min(size_of::<T>());
    // SAFETY: `size` bytes are writable by the caller's struct_size and readable in `value`.
    unsafe {
        core::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), out.cast::<u8>(), size);
        out.cast::<u32>().write(size as u32);
    }
    Ok(())
}

/// Reads an input struct of a program that may know fewer or more fields: those that it does not know are zero.
///
/// # Safety
/// `given` is null or points to at least `struct_size` readable bytes, the first four being `struct_size`; all zeroes and any
/// other bytes are a valid `T`.
pub(crate) unsafe fn read<T: Sized32>(given: *const T) -> Result<T, Fail> {
    let given = non_null(given.cast_mut(), "input struct")?;
    // SAFETY: not null and aligned (checked); the caller vouches for four readable bytes.
    let size = unsafe { given.cast::<u32>().read() } as usize;
    if size < 8 {
        return Err(Fail::new(WB_E_RANGE, "struct_size is not set"));
    }
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the smaller of both sizes is readable by contract and writable in `value`, which is then a valid T by contract.
    unsafe {
        core::ptr::copy_nonoverlapping(given.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), size.min(size_of::<T>()));
        Ok(value.assume_init())
    }
}

/// Checks in advance that `fill` can fill all of a struct of which parts make no sense.
///
/// # Safety
/// As `fill`.
pub(crate) unsafe fn check_whole<T: Sized32>(out: *mut T) -> Result<(), Fail> {
    let checked = non_null(out, "output struct")?;
    // SAFETY: not null and aligned (checked); the caller vouches for four readable bytes.
    if (unsafe { checked.cast::<u32>().read() } as usize) < size_of::<T>() {
        return Err(Fail::new(WB_E_RANGE, "struct_size is not set, or too small"));
    }
    Ok(())
}

/// Refuses null and misaligned pointers.
#[inline]
pub(crate) fn non_null<T>(pointer: *mut T, what: &'static str) -> Result<*mut T, Fail> {
    if pointer.is_null() {
        return Err(null(what));
    }
    if !pointer.is_aligned() {
        return Err(misaligned(what));
    }
    Ok(pointer)
}

// Texts are made out of line: verbs are short without them.

#[cold]
fn null(what: &'static str) -> Fail {
    Fail::new(super::status::WB_E_INVALID, format!("null pointer: {what}"))
}

#[cold]
fn misaligned(what: &'static str) -> Fail {
    Fail::new(super::status::WB_E_INVALID, format!("misaligned pointer: {what}"))
}

#[cold]
fn out_of_range(what: &'static str) -> Fail {
    Fail::new(WB_E_RANGE, format!("length out of range: {what}"))
}

/// Writes one output value.
///
/// # Safety
/// `out` is null or writable for a `T`.
#[inline]
pub(crate) unsafe fn put<T>(out: *mut T, value: T, what: &'static str) -> Result<(), Fail> {
    let out = non_null(out, what)?;
    // SAFETY: not null, aligned, writable by contract. The old value is plain data and not dropped.
    unsafe { out.write(value) };
    Ok(())
}

/// An input array; null is an empty array when `len` is 0.
///
/// # Safety
/// `pointer` is readable for `len` elements during the call.
#[inline]
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, len: usize, what: &'static str) -> Result<&'a [T], Fail> {
    if len == 0 {
        return Ok(&[]);
    }
    check_len::<T>(len, what)?;
    let pointer = non_null(pointer.cast_mut(), what)?;
    // SAFETY: not null, aligned, length checked against isize, readable by contract.
    Ok(unsafe { core::slice::from_raw_parts(pointer, len) })
}

/// An output array.
///
/// # Safety
/// `pointer` is writable for `len` elements during the call, and nobody else touches it.
#[inline]
pub(crate) unsafe fn slice_mut<'a, T>(pointer: *mut T, len: usize, what: &'static str) -> Result<&'a mut [T], Fail> {
    if len == 0 {
        return Ok(&mut []);
    }
    check_len::<T>(len, what)?;
    let pointer = non_null(pointer, what)?;
    // SAFETY: not null, aligned, length checked against isize, writable by contract.
    Ok(unsafe { core::slice::from_raw_parts_mut(pointer, len) })
}

#[inline]
fn check_len<T>(len: usize, what: &'static str) -> Result<(), Fail> {
    match len.checked_mul(size_of::<T>().max(1)) {
        Some(bytes) if bytes <= MAX_ARGUMENT => Ok(()),
        _ => Err(out_of_range(what)),
    }
}

/// Bytes behind a `void` pointer.
///
/// # Safety
/// As for `slice`.
#[inline]
pub(crate) unsafe fn bytes<'a>(pointer: *const c_void, len: usize, what: &'static str) -> Result<&'a [u8], Fail> {
    // SAFETY: passed on.
    unsafe { slice(pointer.cast::<u8>(), len, what) }
}

/// UTF-8 text by pointer and length. A length of `SIZE_MAX` (`WB_TEXT_Z`) means: terminated by a zero byte.
///
/// # Safety
/// Readable for `len` bytes, or up to its terminator.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, len: usize, what: &'static str) -> Result<&'a str, Fail> {
    let bytes = if len == usize::MAX {
        let pointer = non_null(pointer.cast_mut(), what)?;
        // SAFETY: terminated by contract.
        unsafe { CStr::from_ptr(pointer) }.to_bytes()
    } else {
        // SAFETY: passed on.
        unsafe { slice(pointer.cast::<u8>(), len, what)? }
    };
    core::str::from_utf8(bytes).map_err(|_| Fail::new(WB_E_UTF8, format!("not UTF-8: {what}")))
}
