//! Tests of two connections in virtual time, through nothing but their public verbs.
mod ack_frequency;
mod close;
mod early_moves;
mod grease;
mod handshake;
mod hello_retry;
mod keys;
mod migration;
mod pair;
mod probes;
mod storms;
mod transfer;
mod version;
mod zero_rtt;
