//! Huffman coding of strings (RFC 7541 section 5.2): table-driven both ways.
//!
//! Decoding looks at ten bits at once, which settles every common character; the rare longer codes are
//! found by comparing with the first code of each length. Invariant: output never exceeds the room given.
use super::huffman_table::{EOS, LENGTHS};

/// Not a valid Huffman string, or it is longer than its room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HuffmanError {
    /// EOS inside, padding longer than 7 bits or not all ones (RFC 7541 section 5.2).
    Invalid,
    TooLarge,
}

const LONGEST: usize = 30;
const FAST_BITS: u32 = 10;
/// Characters decoded between two looks at the room: 64 bits have not many more.
const FEW: usize = 8;

struct Tables {
    /// Code of each symbol, low bits.
    codes: [u32; 257],
    /// By the next ten bits: symbol << 4 | length, 0 for codes longer than that.
    fast: [u16; 1 << FAST_BITS],
    /// Symbols in the order of their codes.
    order: [u16; 257],
    /// By length: end of its codes, left-aligned in 32 bits (33 are needed for the last).
    limit: [u64; LONGEST + 1],
    /// By length: first code, and its place in `order`.
    first: [u32; LONGEST + 1],
    place: [u16; LONGEST + 1],
}

static TABLES: Tables = build();

const fn build() -> Tables {
    let mut t = Tables {
        codes: [0; 257],
        fast: [0; 1 << FAST_BITS],
        order: [0; 257],
        limit: [0; LONGEST + 1],
        first: [0; LONGEST + 1],
        place: [0; LONGEST + 1],
    };
    let mut code = 0u32;
    let mut placed = 0usize;
    let mut len = 1usize;
    while len <= LONGEST {
        code <<= 1;
        t.first[len] = code;
        t.place[len] = placed as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == len {
                t.codes[symbol] = code;
                t.order[placed] = symbol as u16;
                if len <= FAST_BITS as usize {
                    let spare = FAST_BITS as usize - len;
                    let mut i = 0;
                    while i < 1 << spare {
                        t.fast[((code as usize) << spare) + i] = (symbol as u16) << 4 | len as u16;
                        i += 1;
                    }
                }
                code += 1;
                placed += 1;
            }
            symbol += 1;
        }
        t.limit[len] = (code as u64) << (32 - len);
        len += 1;
    }
    t
}

/// Length of `text` once encoded.
#[must_use]
pub fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|b| usize::from(LENGTHS[usize::from(*b)])).sum();
    bits.div_ceil(8)
}

/// Appends the encoding of `text`.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut acc = 0u64;
    let mut bits = 0u32;
    for &b in text {
        let len = u32::from(LENGTHS[usize::from(b)]);
        acc = acc << len | u64::from(TABLES.codes[usize::from(b)]);
        bits += len;
        // At most 31 bits wait here and a code adds at most 30: 64 are never exceeded.
        if bits >= 32 {
            bits -= 32;
            out.extend_from_slice(&((acc >> bits) as u32).to_be_bytes());
        }
    }
    while bits >= 8 {
        bits -= 8;
        out.push((acc >> bits) as u8);
    }
    if bits > 0 {
        // Padding is the start of EOS: all ones.
        let pad = 8 - bits;
        out.push((acc << pad) as u8 | ((1u16 << pad) - 1) as u8);
    }
}

/// Appends the decoding of `coded`, at most `room` bytes.
pub fn decode(coded: &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), HuffmanError> {
    // The shortest code has 5 bits.
    out.reserve(room.min(coded.len().saturating_mul(8) / 5 + 1));
    let end = out.len().saturating_add(room);
    let mut input = coded;
    let mut acc = 0u64;
    let mut bits = 0u32;
    loop {
        // Bits below the `bits` that count may be there already: the next bytes bring the same ones again.
        if let Some(&next) = input.first_chunk::<8>() {
            let bytes = (63 - bits) / 8;
            acc |= u64::from_be_bytes(next) >> bits;
            input = input.get(bytes as usize..).unwrap_or(&[]);
            bits += bytes * 8;
        }
        while bits <= 56 {
            let Some((&b, rest)) = input.split_first() else { break };
            acc |= u64::from(b) << (56 - bits);
            input = rest;
            bits += 8;
        }
        // Common characters by the handful: none of them is EOS or longer than what is there.
        let mut few = [0u8; FEW];
        let mut count = 0usize;
        for place in &mut few {
            let entry = TABLES.fast[(acc >> (64 - FAST_BITS)) as usize];
            if entry == 0 || bits < FAST_BITS {
                break;
            }
            *place = (entry >> 4) as u8;
            acc <<= entry & 15;
            bits -= u32::from(entry & 15);
            count += 1;
        }
        if count > 0 {
            if end.saturating_sub(out.len()) < count {
                return Err(HuffmanError::TooLarge);
            }
            out.extend_from_slice(few.get(..count).unwrap_or(&[]));
            continue;
        }
        let entry = TABLES.fast[(acc >> (64 - FAST_BITS)) as usize];
        let (symbol, len) = if entry == 0 { long_code(acc) } else { (entry >> 4, u32::from(entry & 15)) };
        if len > bits {
            break;
        }
        if usize::from(symbol) == EOS {
            return Err(HuffmanError::Invalid);
        }
        if out.len() >= end {
            return Err(HuffmanError::TooLarge);
        }
        out.push(symbol as u8);
        acc <<= len;
        bits -= len;
    }
    // What is left must be padding: fewer than 8 bits, all ones. Bits below are zero.
    let padding = if bits == 0 { 0 } else { u64::MAX << (64 - bits.min(63)) };
    if bits < 8 && acc == padding { Ok(()) } else { Err(HuffmanError::Invalid) }
}

#[cold]
fn long_code(acc: u64) -> (u16, u32) {
    let window = acc >> 32;
    let mut len = FAST_BITS as usize + 1;
    while len < LONGEST && window >= TABLES.limit[len] {
        len += 1;
    }
    let code = (window >> (32 - len)) as u32;
    let nth = code.saturating_sub(TABLES.first[len]) as usize + usize::from(TABLES.place[len]);
    (TABLES.order.get(nth).copied().unwrap_or(EOS as u16), len as u32)
}

/// The code of a symbol, for tests against the RFC's table.
#[cfg(test)]
pub(super) fn code(symbol: usize) -> (u32, u8) {
    (TABLES.codes[symbol], LENGTHS[symbol])
}
