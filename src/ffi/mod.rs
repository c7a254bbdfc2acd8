//! The C ABI: handles, events, buffers, statuses. Translation only: no protocol logic lives here.
//!
//! `include/whimbrel.h` is generated from this room (`tests/header.rs`). Invariants: no call crashes through a bad handle
//! (`handle.rs`); no panic crosses (`error::fence`); no lock is held in the application's code; what failed took nothing.
#![allow(non_camel_case_types, reason = "these names are C names")]
#![allow(clippy::missing_safety_doc, reason = "the contract of an export is its comment in the header, written for C")]
pub mod abi;
mod args;
pub mod buf;
pub mod config;
pub mod conn_calls;
pub mod endpoint_calls;
pub mod error;
pub mod h3_calls;
pub mod handle_calls;
pub mod library;
pub mod queue;
pub mod runtime_calls;
pub mod status;
pub mod stream_calls;
pub mod tls;
