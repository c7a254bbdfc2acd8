//! Network paths of a connection: which addresses it uses, which of them are proved, how big a datagram they
//! carry, and which connection IDs go with them (RFC 9000 sections 5.1, 8, 9 and 14, RFC 8899).
//!
//! Each path owns its loss recovery and congestion state. The number of paths, of unanswered challenges and
//! of connection IDs is bounded by constants here, whatever the peer sends.
pub mod amplification;
pub mod local_cids;
mod migration;
pub mod mtu;
pub mod path;
pub mod peer_cids;
pub mod preferred_address;
pub mod table;
pub mod validation;

pub use amplification::Budget;
pub use local_cids::{LocalCids, NewCid};
pub use migration::Migration;
pub use mtu::{Mtu, MtuConfig};
pub use path::Path;
pub use peer_cids::{PeerCid, PeerCids};
pub use table::{MAX_PATHS, PathEvent, PathTable};
pub use validation::Validation;

#[cfg(test)]
mod tests;
