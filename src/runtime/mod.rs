//! Threads, sockets, clock and randomness: the only room with system calls.
//!
//! A [`Runtime`] is a set of workers. An [`EndpointHandle`] lives on one or all of them and owns
//! sockets; a [`Conn`] lives on one worker and is driven by it. Applications act on connections
//! from any thread and learn what happened through a [`Sink`].
mod ahead;
pub mod clock;
pub mod config;
pub mod conn;
pub mod counters;
mod directory;
pub mod endpoint;
pub mod error;
pub mod events;
mod heap;
pub mod helm;
pub mod random;
mod shard;
pub mod shards;
pub mod udp;
pub mod wake;
pub mod wheel;

#[cfg(test)]
mod tests;

pub use config::{MAX_WORKERS, RuntimeConfig};
pub use conn::{Conn, ConnState};
pub use endpoint::{ConnectConfig, EndpointHandle, EndpointOptions, ListenConfig};
pub use error::RuntimeError;
pub use events::{ConnEvent, EndpointNotice, IncomingDecision, IncomingInfo, Sink, Ticket, UNDECIDED_LIFETIME};
pub use heap::WorkerHeap;
pub use helm::{Helm, Pace, Wakeup};
pub use random::SystemRng;
pub use shard::{Arrived, Driver, Outgoing, TooSmall};
pub use shards::Runtime;
