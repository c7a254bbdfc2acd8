//! Instructions of the encoder and decoder streams (RFC 9204 sections 4.3 and 4.4): parse and write.
//!
//! Parsers say `Incomplete` without consuming anything when the bytes end inside an instruction; the caller
//! keeps the few bytes and comes back. Bounds make sure that it is a few.
use super::prefix_int::{self, Bad, Literal};
use super::static_table;

/// From encoder to decoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EncoderInstruction<'a> {
    SetCapacity(u64),
    /// Name from the static table.
    InsertStaticName(u64, Literal<'a>),
    /// Name from the dynamic table, by relative index.
    InsertDynamicName(u64, Literal<'a>),
    InsertLiteral(Literal<'a>, Literal<'a>),
    /// Relative index.
    Duplicate(u64),
}

impl<'a> EncoderInstruction<'a> {
    /// The first instruction in `bytes` and its length. `bound`: longest raw string.
    pub fn parse(bytes: &'a [u8], bound: usize) -> Result<(Self, usize), Bad> {
        let first = *bytes.first().ok_or(Bad::Incomplete)?;
        if first & 0x80 != 0 {
            let (index, used) = prefix_int::decode(bytes, 6)?;
            if first & 0x40 != 0 && static_table::get(index).is_none() {
                // Wrong whatever value follows: no need to wait for it.
                return Err(Bad::TooLarge);
            }
            let rest = bytes.get(used..).unwrap_or(&[]);
            let (value, more) = prefix_int::decode_literal(rest, 7, bound)?;
            let made = if first & 0x40 != 0 {
                Self::InsertStaticName(index, value)
            } else {
                Self::InsertDynamicName(index, value)
            };
            return Ok((made, used.saturating_add(more)));
        }
        if first & 0x40 != 0 {
            let (name, used) = prefix_int::decode_literal(bytes, 5, bound)?;
            let rest = bytes.get(used..).unwrap_or(&[]);
            let (value, more) = prefix_int::decode_literal(rest, 7, bound)?;
            return Ok((Self::InsertLiteral(name, value), used.saturating_add(more)));
        }
        let (n, used) = prefix_int::decode(bytes, 5)?;
        Ok((if first & 0x20 != 0 { Self::SetCapacity(n) } else { Self::Duplicate(n) }, used))
    }
}

/// From decoder to encoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecoderInstruction {
    /// Section of this stream was processed.
    SectionAck(u64),
    /// Reading of this stream was given up.
    StreamCancel(u64),
    /// This many more insertions have arrived.
    InsertCountIncrement(u64),
}

impl DecoderInstruction {
    /// The first instruction in `bytes` and its length.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), Bad> {
        let first = *bytes.first().ok_or(Bad::Incomplete)?;
        let prefix = if first & 0x80 != 0 { 7 } else { 6 };
        let (n, used) = prefix_int::decode(bytes, prefix)?;
        let made = match first >> 6 {
            0 => Self::InsertCountIncrement(n),
            1 => Self::StreamCancel(n),
            _ => Self::SectionAck(n),
        };
        Ok((made, used))
    }

    /// Appends the instruction.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::SectionAck(id) => prefix_int::encode(out, 0x80, 7, id),
            Self::StreamCancel(id) => prefix_int::encode(out, 0x40, 6, id),
            Self::InsertCountIncrement(n) => prefix_int::encode(out, 0, 6, n),
        }
    }
}
