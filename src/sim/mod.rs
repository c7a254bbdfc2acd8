//! The deterministic world: hosts, bad networks, applications and one seed for everything (feature `sim`).
//!
//! Virtual time jumps from event to event; nothing sleeps and nothing reads a clock, so an hour of network time costs
//! milliseconds. The same seed plays the same world on every machine. TLS is the real one: its random numbers are the
//! only thing that differs between two runs, and with Ed25519 certificates no length depends on them.
//! Invariants of the protocol are held after every step (see `checks`). A broken one panics: this room is for tests.
//! `docs/simulation.md` shows how to use it.
pub mod app;
pub mod aqm;
mod checks;
pub mod cover;
pub mod identity;
pub mod link;
pub mod node;
pub mod pattern;
pub mod play;
pub mod scenario;
pub mod script;
pub mod world;

pub use app::{App, Client, Job, Plan, Quiet, Server};
pub use aqm::Aqm;
pub use checks::Checked;
pub use link::{EcnPath, GilbertElliott, Link, LinkConfig, LinkCounts, Policer, Replay};
pub use node::{Live, Node, NodeConfig};
pub use play::{Outcome, play};
pub use scenario::{Mishap, Scenario};
pub use world::{ConnId, LinkId, NodeId, Rebind, Seen, World};

/// The guide's example is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/simulation.md")]
mod guide {}
