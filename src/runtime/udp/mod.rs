//! UDP sockets: set-up, batched receive and send with GSO, GRO, ECN and packet information.
//!
//! quinn-udp probes what the system offers and speaks the control messages; this room adds what a
//! QUIC server needs around it: buffer sizes, a port shared by workers, steering by connection ID,
//! the error queue, and a fallback per socket when segmentation offload fails.
mod errqueue;
mod socket;
mod steer;

#[cfg(test)]
mod tests;

pub use errqueue::{PeerError, drain_errors};
pub(super) use socket::is_peer_error;
pub use socket::{
    OffloadKeepers, RECV_SLOT, RECV_SLOTS, Received, SendOutcome, SocketOptions, UdpSocket, bind_group, connect_raw,
};
pub use steer::{Instruction, program};
