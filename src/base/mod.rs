//! Ground floor: time, errors, code points, identifiers, randomness. No room below this one.
pub mod addr;
pub mod cid;
pub mod codes;
pub mod ecn;
pub mod error;
pub mod level;
pub mod rng;
pub mod side;
pub mod span;
pub mod stream_id;
pub(crate) mod sync;
pub mod time;

pub use addr::FourTuple;
pub use cid::{ConnectionId, ResetToken};
pub use ecn::Ecn;
pub use error::TransportError;
pub use level::{Level, SpaceId};
pub use rng::{Pcg, Rng};
pub use side::Side;
pub use stream_id::{Dir, StreamId};
pub use time::Timestamp;
