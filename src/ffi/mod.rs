//! The C ABI: handles, events, buffers, statuses. Translation only: no protocol logic lives here.
//!
//! `include/whimbrel.h` is generated from this room (`tests/header.rs`). Invariants: no call crashes through a bad handle
//! (`handle.rs`); no panic crosses (`error::fence`); no lock is held in the application's code; what failed took nothing.
#![allow(non_camel_case_types, reason = "these names are C names")]
#![allow(clippy::missing_safety_doc, reason = "the contract of an export is its comment in the header, written for C")]
pub mod abi;
mod address;
mod args;
pub mod buf;
mod close_reason;
pub mod config;
mod conn;
pub mod conn_calls;
pub mod core;
pub mod counter_keys;
pub mod counters;
pub mod decision;
pub mod diagnostics;
mod early;
mod endpoint;
pub mod endpoint_calls;
pub mod error;
mod events;
pub mod h3_calls;
pub mod h3_messages;
mod handle;
pub mod handle_calls;
mod hardened;
pub mod library;
mod message;
mod object;
pub mod packet;
pub mod qlog;
pub mod queue;
mod runtime;
pub mod runtime_calls;
mod section;
mod sink;
pub mod status;
mod stream;
pub mod stream_calls;
pub mod tls;
pub mod tls_calls;
mod translate;
mod wake_fd;

/// Models of what the C ABI does not show by itself.
#[cfg(model)]
#[path = "../../tests/models/src/inside.rs"]
pub mod inside;
#[cfg(test)]
mod tests;
