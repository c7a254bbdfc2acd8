//! Tests of two connections in virtual time, through nothing but their public verbs.
mod close;
mod handshake;
mod keys;
mod migration;
mod pair;
mod transfer;
mod version;
mod zero_rtt;
