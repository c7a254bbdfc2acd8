//! QPACK field compression (RFC 9204): static and dynamic table, encoder, decoder.
//!
//! Knows nothing of streams or frames: bytes in, bytes and field lists out. Every integer and string of the
//! peer is bounded before memory is spent on it.
pub mod decoder;
pub mod dynamic_table;
pub mod encoder;
pub mod error;
pub mod field_list;
pub mod huffman;
mod huffman_table;
pub mod instructions;
pub mod prefix_int;
pub mod static_table;
#[cfg(test)]
mod tests;

pub use decoder::{Decoded, Decoder, SectionLimits};
pub use encoder::Encoder;
pub use error::QpackError;
pub use field_list::{Field, FieldList, SectionTooLarge};
