//! Containers that several rooms share. Nothing here knows QUIC; every bound is the caller's.
pub mod chunk;
pub mod range_set;

pub use chunk::{Chunk, ReleaseScope, Revoked, Slab};
pub use range_set::RangeSet;
