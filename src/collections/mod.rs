//! Containers that several rooms share. Nothing here knows QUIC; every bound is the caller's.
pub mod block_map;
pub mod chunk;
pub mod range_set;
pub mod short_queue;
pub mod window;

pub use block_map::{BlockMap, Visit};
pub use chunk::{Chunk, ReleaseScope, Revoked, Slab};
pub use range_set::RangeSet;
pub use short_queue::{Rest, ShortQueue};
pub use window::{PnWindow, Seen};
