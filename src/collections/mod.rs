//! Containers that several rooms share. Nothing here knows QUIC; every bound is the caller's.
pub mod chunk;

pub use chunk::{Chunk, ReleaseScope, Revoked, Slab};
