//! What a peer that breaks the rules must be told: our endpoint, connection and HTTP/3 against a peer made of
//! raw packets, in memory and in virtual time.
//!
//! `peer` builds any packet at any level and understands what comes back; `world` is the side under test.
//! One room per part of the RFCs. Every test names its section and the error codes that may be seen.
mod acknowledgements;
mod client_handshake;
mod client_role;
mod connection_ids;
mod early_moves;
mod endings;
mod frames;
mod http3;
mod packets;
mod parameters;
mod paths;
mod peer;
mod streams;
mod tls;
mod tokens;
mod versions;
mod world;
mod zero_rtt;
