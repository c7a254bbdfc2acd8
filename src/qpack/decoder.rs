//! The decoder (RFC 9204): field sections and the peer's encoder stream in, field lists and decoder
//! instructions out.
//!
//! A section that needs insertions which have not arrived is reported as blocked; its owner keeps the bytes
//! and tries again when `next_unblocked` names the stream. Invariants: no more streams are blocked than we
//! announced, the table never exceeds what we announced, a list never exceeds its limits.
use super::dynamic_table::DynamicTable;
use super::error::QpackError;
use super::field_list::{Field, FieldList, LINE_OVERHEAD};
use super::huffman::{self, HuffmanError};
use super::instructions::{DecoderInstruction, EncoderInstruction};
use super::prefix_int::{self, Bad, Literal};
use super::static_table;

/// A Huffman code has at most 30 bits for 8 bits of text: no raw string needs more than this times its text.
const HUFFMAN_EXPANSION: usize = 4;

/// Limits on one decoded section (RFC 9114 section 4.2.2; small lines cost more than they weigh).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectionLimits {
    /// Bytes, counted with 32 for each line.
    pub size: usize,
    /// Lines.
    pub lines: usize,
}

/// What became of a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// All lines are in the list.
    Complete,
    /// Insertions are missing: keep the bytes, the stream now counts as blocked.
    Blocked,
}

/// Decoding half of QPACK on one connection.
pub struct Decoder {
    table: DynamicTable,
    /// SETTINGS_QPACK_MAX_TABLE_CAPACITY that we announced.
    max_capacity: usize,
    /// SETTINGS_QPACK_BLOCKED_STREAMS that we announced.
    max_blocked: usize,
    /// Blocked streams and the insert count that each waits for.
    blocked: Vec<(u64, u64)>,
    /// Start of an encoder instruction that has not arrived in full.
    partial: Vec<u8>,
    /// Name and value of the insertion at hand.
    scratch: Vec<u8>,
    /// Decoder instructions to be sent.
    output: Vec<u8>,
    /// The peer's Known Received Count as our instructions make it (RFC 9204 section 2.1.4).
    told: u64,
}

impl Decoder {
    /// A decoder that announced these settings.
    #[must_use]
    pub fn new(max_capacity: usize, max_blocked: usize) -> Self {
        Self {
            table: DynamicTable::new(),
            max_capacity,
            max_blocked,
            blocked: Vec::new(),
            partial: Vec::new(),
            scratch: Vec::new(),
            output: Vec::new(),
            told: 0,
        }
    }

    /// Decoder instructions waiting to be sent; the owner drains what the stream takes.
    pub fn output(&mut self) -> &mut Vec<u8> {
        // RFC 9204 section 2.2.2.3: tell what arrived and no Section Acknowledgment has told yet.
        let inserted = self.table.insert_count();
        if inserted > self.told {
            DecoderInstruction::InsertCountIncrement(inserted - self.told).write(&mut self.output);
            self.told = inserted;
        }
        &mut self.output
    }

    /// Insertions so far.
    #[must_use]
    pub const fn insert_count(&self) -> u64 {
        self.table.insert_count()
    }

    /// Streams that wait for insertions.
    #[must_use]
    pub fn blocked_streams(&self) -> usize {
        self.blocked.len()
    }

    /// Takes bytes of the peer's encoder stream.
    pub fn on_encoder_stream(&mut self, bytes: &[u8]) -> Result<(), QpackError> {
        if self.partial.is_empty() {
            let used = self.run_instructions(bytes)?;
            self.partial.extend_from_slice(bytes.get(used..).unwrap_or(&[]));
            return Ok(());
        }
        let mut joined = core::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let used = self.run_instructions(&joined)?;
        joined.drain(..used);
        self.partial = joined;
        Ok(())
    }

    /// Runs whole instructions; gives the bytes used. What is left is shorter than one instruction with
    /// strings at their bounds.
    fn run_instructions(&mut self, bytes: &[u8]) -> Result<usize, QpackError> {
        let bound = self.max_capacity.saturating_mul(HUFFMAN_EXPANSION);
        let mut at = 0usize;
        while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
            let (instruction, used) = match EncoderInstruction::parse(rest, bound) {
                Ok(done) => done,
                Err(Bad::Incomplete) => break,
                Err(Bad::TooLarge) => return Err(QpackError::EncoderStream("integer or string too large")),
            };
            self.run(instruction)?;
            at = at.saturating_add(used);
        }
        Ok(at)
    }

    fn run(&mut self, instruction: EncoderInstruction<'_>) -> Result<(), QpackError> {
        const NO_ENTRY: QpackError = QpackError::EncoderStream("reference to an entry that does not exist");
        self.scratch.clear();
        let (name, value) = match instruction {
            EncoderInstruction::SetCapacity(n) => {
                // RFC 9204 section 4.3.1.
                let n = usize::try_from(n).ok().filter(|n| *n <= self.max_capacity);
                self.table.set_capacity(n.ok_or(QpackError::EncoderStream("capacity above the limit"))?);
                return Ok(());
            }
            EncoderInstruction::InsertStaticName(index, value) => {
                let (name, _) = static_table::get(index).ok_or(NO_ENTRY)?;
                self.scratch.extend_from_slice(name);
                (name.len(), Some(value))
            }
            EncoderInstruction::InsertDynamicName(index, value) => {
                let (name, _) = self.relative(index).and_then(|a| self.table.get(a)).ok_or(NO_ENTRY)?;
                self.scratch.extend_from_slice(name);
                (name.len(), Some(value))
            }
            EncoderInstruction::InsertLiteral(name, value) => {
                self.text(name)?;
                (self.scratch.len(), Some(value))
            }
            EncoderInstruction::Duplicate(index) => {
                let (name, value) = self.relative(index).and_then(|a| self.table.get(a)).ok_or(NO_ENTRY)?;
                self.scratch.extend_from_slice(name);
                self.scratch.extend_from_slice(value);
                (name.len(), None)
            }
        };
        if let Some(value) = value {
            self.text(value)?;
        }
        let (name, value) = self.scratch.split_at_checked(name).ok_or(NO_ENTRY)?;
        // RFC 9204 section 3.2.2: an entry larger than the capacity is an error.
        let inserted = self.table.insert(name, value);
        inserted.map(|_| ()).map_err(|_| QpackError::EncoderStream("entry larger than the table"))
    }

    /// Absolute index; RFC 9204 section 3.2.5: on the encoder stream 0 is the newest entry.
    fn relative(&self, index: u64) -> Option<u64> {
        self.table.insert_count().checked_sub(1)?.checked_sub(index)
    }

    /// Appends the text of a literal to the scratch, which never holds more than the table can.
    fn text(&mut self, literal: Literal<'_>) -> Result<(), QpackError> {
        let room = self.table.capacity().saturating_sub(self.scratch.len());
        append(literal, &mut self.scratch, room).map_err(|e| match e {
            HuffmanError::Invalid => QpackError::EncoderStream("invalid Huffman string"),
            HuffmanError::TooLarge => QpackError::EncoderStream("entry larger than the table"),
        })
    }

    /// Decodes a whole encoded section of `stream` into `out`, which is cleared first.
    pub fn decode(
        &mut self,
        stream: u64,
        section: &[u8],
        limits: SectionLimits,
        out: &mut FieldList,
    ) -> Result<Decoded, QpackError> {
        out.clear();
        let (required, base, at) = self.prefix(section)?;
        if required > self.table.insert_count() {
            self.block(stream, required)?;
            return Ok(Decoded::Blocked);
        }
        let mut rest = section.get(at..).unwrap_or(&[]);
        while !rest.is_empty() {
            // Counted before the line is looked at: the limit holds whatever comes (QPACK expansion attacks).
            if out.len() >= limits.lines || out.section_size().saturating_add(LINE_OVERHEAD) > limits.size {
                return Err(QpackError::TooLarge);
            }
            let used = self.line(rest, required, base, limits.size, out)?;
            rest = rest.get(used..).unwrap_or(&[]);
        }
        if required > 0 {
            // RFC 9204 sections 2.2.2.1 and 4.4.1.
            DecoderInstruction::SectionAck(stream).write(&mut self.output);
            self.told = self.told.max(required);
        }
        Ok(Decoded::Complete)
    }

    /// Required Insert Count, Base and length of the prefix (RFC 9204 section 4.5.1).
    fn prefix(&self, section: &[u8]) -> Result<(u64, u64, usize), QpackError> {
        let (encoded, used) = prefix_int::decode(section, 8).map_err(bad_line)?;
        let required = self.required_insert_count(encoded)?;
        let rest = section.get(used..).unwrap_or(&[]);
        let (delta, more) = prefix_int::decode(rest, 7).map_err(bad_line)?;
        let negative = rest.first().is_some_and(|b| b & 0x80 != 0);
        let base = if negative {
            required.checked_sub(delta).and_then(|b| b.checked_sub(1))
        } else {
            required.checked_add(delta)
        };
        Ok((required, base.ok_or(QpackError::Decompression("base out of range"))?, used.saturating_add(more)))
    }

    /// Undoes the wrap-around (RFC 9204 section 4.5.1.1).
    fn required_insert_count(&self, encoded: u64) -> Result<u64, QpackError> {
        const ERROR: QpackError = QpackError::Decompression("impossible required insert count");
        if encoded == 0 {
            return Ok(0);
        }
        let max_entries = (self.max_capacity / super::dynamic_table::ENTRY_OVERHEAD) as u64;
        let full_range = max_entries.saturating_mul(2);
        if encoded > full_range {
            return Err(ERROR);
        }
        let max_value = self.table.insert_count().saturating_add(max_entries);
        let max_wrapped = max_value.checked_div(full_range).unwrap_or(0).saturating_mul(full_range);
        let mut required = max_wrapped.saturating_add(encoded).saturating_sub(1);
        if required > max_value {
            if required <= full_range {
                return Err(ERROR);
            }
            required = required.saturating_sub(full_range);
        }
        if required == 0 { Err(ERROR) } else { Ok(required) }
    }

    /// Decodes one field line representation (RFC 9204 sections 4.5.2 to 4.5.6); gives its length.
    fn line(
        &self,
        bytes: &[u8],
        required: u64,
        base: u64,
        limit: usize,
        out: &mut FieldList,
    ) -> Result<usize, QpackError> {
        let first = bytes.first().copied().unwrap_or(0);
        if first & 0x80 != 0 {
            let (index, used) = prefix_int::decode(bytes, 6).map_err(bad_line)?;
            let (name, value) =
                if first & 0x40 != 0 { static_entry(index)? } else { self.entry(before(base, index), required)? };
            out.push(Field::new(name, value), limit).map_err(|_| QpackError::TooLarge)?;
            return Ok(used);
        }
        if first & 0xf0 == 0x10 {
            let (index, used) = prefix_int::decode(bytes, 4).map_err(bad_line)?;
            let (name, value) = self.entry(base.checked_add(index), required)?;
            out.push(Field::new(name, value), limit).map_err(|_| QpackError::TooLarge)?;
            return Ok(used);
        }
        let room = limit.saturating_sub(out.section_size()).saturating_sub(LINE_OVERHEAD);
        let at = out.buffer().len();
        let (name_len, used, sensitive) = if first & 0x40 != 0 {
            let (index, used) = prefix_int::decode(bytes, 4).map_err(bad_line)?;
            let (name, _) =
                if first & 0x10 != 0 { static_entry(index)? } else { self.entry(before(base, index), required)? };
            (add_name(name, room, out)?, used, first & 0x20 != 0)
        } else if first & 0x20 != 0 {
            let (name, used) = prefix_int::decode_literal(bytes, 3, usize::MAX).map_err(bad_line)?;
            append(name, out.buffer(), room).map_err(bad_text)?;
            (out.close_name(at), used, first & 0x10 != 0)
        } else {
            let (index, used) = prefix_int::decode(bytes, 3).map_err(bad_line)?;
            let (name, _) = self.entry(base.checked_add(index), required)?;
            (add_name(name, room, out)?, used, first & 0x08 != 0)
        };
        let rest = bytes.get(used..).unwrap_or(&[]);
        let (value, more) = prefix_int::decode_literal(rest, 7, usize::MAX).map_err(bad_line)?;
        append(value, out.buffer(), room.saturating_sub(name_len)).map_err(bad_text)?;
        out.close_line(at, name_len, sensitive).map_err(|_| QpackError::TooLarge)?;
        Ok(used.saturating_add(more))
    }

    /// A dynamic entry that the section may refer to (RFC 9204 section 2.2.3).
    fn entry(&self, absolute: Option<u64>, required: u64) -> Result<(&[u8], &[u8]), QpackError> {
        let found = absolute.filter(|a| *a < required).and_then(|a| self.table.get(a));
        found.ok_or(QpackError::Decompression("reference to an entry that does not exist"))
    }

    fn block(&mut self, stream: u64, required: u64) -> Result<(), QpackError> {
        if self.blocked.iter().any(|(s, _)| *s == stream) {
            return Ok(());
        }
        // RFC 9204 section 2.1.2: counted against our own setting.
        if self.blocked.len() >= self.max_blocked {
            return Err(QpackError::Decompression("more blocked streams than announced"));
        }
        self.blocked.push((stream, required));
        Ok(())
    }

    /// A stream whose section can be decoded now; it no longer counts as blocked.
    pub fn next_unblocked(&mut self) -> Option<u64> {
        let inserted = self.table.insert_count();
        let n = self.blocked.iter().position(|(_, required)| *required <= inserted)?;
        Some(self.blocked.swap_remove(n).0)
    }

    /// Reading of `stream` was given up before its last section (RFC 9204 section 2.2.2.2).
    pub fn cancel(&mut self, stream: u64) {
        self.blocked.retain(|(s, _)| *s != stream);
        // Without a table nothing can refer to it, and the instruction may be left out.
        if self.max_capacity > 0 {
            DecoderInstruction::StreamCancel(stream).write(&mut self.output);
        }
    }
}

/// RFC 9204 section 3.2.5: in a section 0 is the entry just before Base.
fn before(base: u64, index: u64) -> Option<u64> {
    base.checked_sub(1)?.checked_sub(index)
}

fn static_entry(index: u64) -> Result<(&'static [u8], &'static [u8]), QpackError> {
    // RFC 9204 section 3.1.
    static_table::get(index).ok_or(QpackError::Decompression("invalid static table index"))
}

fn add_name(name: &[u8], room: usize, out: &mut FieldList) -> Result<usize, QpackError> {
    if name.len() > room {
        return Err(QpackError::TooLarge);
    }
    let at = out.buffer().len();
    out.buffer().extend_from_slice(name);
    Ok(out.close_name(at))
}

fn append(literal: Literal<'_>, out: &mut Vec<u8>, room: usize) -> Result<(), HuffmanError> {
    if literal.huffman {
        return huffman::decode(literal.bytes, out, room);
    }
    if literal.bytes.len() > room {
        return Err(HuffmanError::TooLarge);
    }
    out.extend_from_slice(literal.bytes);
    Ok(())
}

/// A section is at hand in full, so bytes that are missing are an error too.
fn bad_line(bad: Bad) -> QpackError {
    match bad {
        Bad::Incomplete => QpackError::Decompression("section cut off"),
        Bad::TooLarge => QpackError::Decompression("integer too large"),
    }
}

fn bad_text(e: HuffmanError) -> QpackError {
    match e {
        HuffmanError::Invalid => QpackError::Decompression("invalid Huffman string"),
        HuffmanError::TooLarge => QpackError::TooLarge,
    }
}
