//! A deterministic virtual world: two nodes, a bad network between them, and one seed for everything.
//!
//! Virtual time jumps from event to event; nothing sleeps and nothing reads a clock, so an hour of network time costs
//! milliseconds. The same seed plays the same world on every machine. TLS is the real one: its random numbers are the
//! only thing that differs between two runs, and with Ed25519 certificates no length depends on them.
//! Invariants of the protocol are checked from outside after every step (see `checks.rs`).
#![allow(dead_code, reason = "each test program uses its own part of the world")]

pub mod app;
pub mod checks;
pub mod identity;
pub mod link;
pub mod node;
pub mod scenario;
pub mod world;
