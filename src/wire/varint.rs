//! Variable-length integers (RFC 9000 section 16): the two high bits of the first byte give the length.

/// Largest value a variable-length integer can hold, 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Bytes that the shortest encoding of `v` takes. Callers keep `v <= MAX`.
#[must_use]
#[inline]
pub const fn len(v: u64) -> usize {
    debug_assert!(v <= MAX);
    match v {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}
