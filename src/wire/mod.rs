//! Wire formats: RFC 9000 sections 16 to 19, RFC 8999, RFC 9221, RFC 9287, RFC 9368, RFC 9369 and ACK_FREQUENCY.
//!
//! No state and no allocation (transport parameters excepted, once per connection). Readers are given bytes
//! of a peer and never panic on them; writers are bounded by the slice they are given.
pub mod facts;
pub mod frame;
pub mod header;
pub mod invariants;
pub mod packet_number;
pub mod reader;
pub mod retry;
pub mod stateless_reset;
pub mod transport_parameters;
pub mod varint;
pub mod version_negotiation;
pub mod writer;

#[cfg(test)]
mod tests;

pub use frame::{Ack, EcnCounts, Frame, Frames};
pub use header::{HeaderError, LongHeader, LongMark, PacketType, ProtectedHeader};
pub use reader::{Reader, Truncated};
pub use transport_parameters::{PreferredAddress, TransportParameters, VersionInformation};
pub use writer::{NoRoom, Writer};
