//! Prefix integers and string literals (RFC 7541 section 5, RFC 9204 section 4.1).
//!
//! Invariant: a decoded integer is below 2^62, and a string's length is compared with a bound before its
//! bytes are asked for, so a length alone never makes anyone wait for or allocate memory.

/// Largest value that we encode or accept (RFC 9204 section 4.1.1).
pub const MAX: u64 = (1 << 62) - 1;

/// Why no integer or string came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// The bytes end in the middle.
    Incomplete,
    /// More than 62 bits, or a string longer than its bound.
    TooLarge,
}

/// Decodes an integer whose first byte holds `prefix` bits of it (1 to 8). Gives value and bytes used.
pub fn decode(bytes: &[u8], prefix: u32) -> Result<(u64, usize), Bad> {
    let mask = low_bits(prefix);
    let first = bytes.first().ok_or(Bad::Incomplete)? & mask;
    if first < mask {
        return Ok((u64::from(first), 1));
    }
    let mut value = u64::from(mask);
    let mut shift = 0u32;
    for (i, &b) in bytes.iter().enumerate().skip(1) {
        // Nine continuation bytes carry 63 bits; a tenth could only be padding or overflow.
        if shift > 56 {
            return Err(Bad::TooLarge);
        }
        let part = u64::from(b & 0x7f) << shift;
        value = value.checked_add(part).filter(|v| *v <= MAX).ok_or(Bad::TooLarge)?;
        if b & 0x80 == 0 {
            return Ok((value, i.saturating_add(1)));
        }
        shift += 7;
    }
    if shift > 56 { Err(Bad::TooLarge) } else { Err(Bad::Incomplete) }
}

/// Appends `value` with `prefix` bits in the first byte, whose other bits are `flags`.
pub fn encode(out: &mut Vec<u8>, flags: u8, prefix: u32, value: u64) {
    debug_assert!(value <= MAX);
    let mask = low_bits(prefix);
    if value < u64::from(mask) {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask);
    let mut rest = value - u64::from(mask);
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A string literal as it stands in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Literal<'a> {
    pub huffman: bool,
    pub bytes: &'a [u8],
}

/// Decodes a string literal whose length has `prefix` bits in the first byte and whose Huffman flag is the
/// bit above them. `bound`: longest raw encoding that anyone could need here.
pub fn decode_literal(bytes: &[u8], prefix: u32, bound: usize) -> Result<(Literal<'_>, usize), Bad> {
    let (len, used) = decode(bytes, prefix)?;
    let len = usize::try_from(len).ok().filter(|n| *n <= bound).ok_or(Bad::TooLarge)?;
    let huffman = bytes.first().is_some_and(|b| (b >> prefix) & 1 == 1);
    let end = used.checked_add(len).ok_or(Bad::TooLarge)?;
    let bytes = bytes.get(used..end).ok_or(Bad::Incomplete)?;
    Ok((Literal { huffman, bytes }, end))
}

const fn low_bits(n: u32) -> u8 {
    debug_assert!(n >= 1 && n <= 8);
    (u8::MAX) >> (8 - n)
}
