//! The encoder (RFC 9204): field lines in, encoded sections out.
//!
//! Uses the static table and literals only, so it needs no state of the peer, never blocks a stream and
//! never waits. The peer's decoder stream is checked all the same: it may cancel streams, but has nothing
//! to acknowledge.
use super::error::QpackError;
use super::field_list::Field;
use super::huffman;
use super::instructions::DecoderInstruction;
use super::prefix_int::{self, Bad};
use super::static_table::{self, Match};

/// Encoding half of QPACK on one connection.
pub struct Encoder {
    huffman: bool,
    /// Start of a decoder instruction that has not arrived in full.
    partial: Vec<u8>,
}

impl Encoder {
    /// `huffman`: code strings that get shorter by it.
    #[must_use]
    pub const fn new(huffman: bool) -> Self {
        Self { huffman, partial: Vec::new() }
    }

    /// Appends the encoded section.
    pub fn encode(&mut self, fields: &[Field<'_>], out: &mut Vec<u8>) {
        // RFC 9204 section 4.5.1: no dynamic references, Base is arbitrary.
        out.extend_from_slice(&[0, 0]);
        for f in fields {
            self.line(f, out);
        }
    }

    fn line(&self, f: &Field<'_>, out: &mut Vec<u8>) {
        // RFC 9204 section 7.1.3: a sensitive value stays a literal, whatever table it is in.
        match static_table::find(f.name, f.value) {
            Some(Match::Full(index)) if !f.sensitive => prefix_int::encode(out, 0xc0, 6, u64::from(index)),
            Some(Match::Full(index) | Match::Name(index)) => {
                let never = if f.sensitive { 0x20 } else { 0 };
                prefix_int::encode(out, 0x50 | never, 4, u64::from(index));
                self.text(f.value, 0, 7, out);
            }
            None => {
                let never = if f.sensitive { 0x10 } else { 0 };
                self.text(f.name, 0x20 | never, 3, out);
                self.text(f.value, 0, 7, out);
            }
        }
    }

    /// A string literal with the length in `prefix` bits and the Huffman flag above them.
    fn text(&self, text: &[u8], flags: u8, prefix: u32, out: &mut Vec<u8>) {
        if self.huffman {
            let len = huffman::encoded_len(text);
            if len < text.len() {
                prefix_int::encode(out, flags | 1 << prefix, prefix, len as u64);
                huffman::encode(text, out);
                return;
            }
        }
        prefix_int::encode(out, flags, prefix, text.len() as u64);
        out.extend_from_slice(text);
    }

    /// Takes bytes of the peer's decoder stream (RFC 9204 section 4.4).
    pub fn on_decoder_stream(&mut self, bytes: &[u8]) -> Result<(), QpackError> {
        self.partial.extend_from_slice(bytes);
        let mut at = 0usize;
        while let Some(rest) = self.partial.get(at..).filter(|r| !r.is_empty()) {
            let (instruction, used) = match DecoderInstruction::parse(rest) {
                Ok(done) => done,
                Err(Bad::Incomplete) => break,
                Err(Bad::TooLarge) => return Err(QpackError::DecoderStream("integer too large")),
            };
            match instruction {
                DecoderInstruction::StreamCancel(_) => {}
                DecoderInstruction::SectionAck(_) => {
                    return Err(QpackError::DecoderStream("acknowledged a section without references"));
                }
                DecoderInstruction::InsertCountIncrement(_) => {
                    return Err(QpackError::DecoderStream("increment of zero or beyond what was inserted"));
                }
            }
            at = at.saturating_add(used);
        }
        self.partial.drain(..at.min(self.partial.len()));
        Ok(())
    }
}
