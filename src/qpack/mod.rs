//! QPACK field compression (RFC 9204): static and dynamic table, encoder, decoder.
//!
//! Knows nothing of streams or frames: bytes in, bytes and field lists out. Every integer and string of the
//! peer is bounded before memory is spent on it.
pub mod field_list;

pub use field_list::{Field, FieldList, SectionTooLarge};
