//! Whimbrel: QUIC (RFC 9000, 9001, 9002, 9221) and HTTP/3 (RFC 9114, 9204) with a Rust core behind a C ABI.
//!
//! Layers, upper ones may use lower ones, never the reverse (`tests/house.rs` holds this):
//!
//! ```text
//! ffi          C ABI: handles, events, buffers; translation only
//! runtime      threads, sockets, pollers, clock: the only room with system calls
//! http3 qpack  RFC 9114 and 9204 on the public stream API
//! endpoint     routing, address validation, accept
//! connection   composition root of one connection
//! paths streams
//! recovery congestion
//! crypto       RFC 9001, the only user of rustls and ring
//! wire         RFC 8999, RFC 9000 sections 16 to 19
//! collections base
//! ```
//!
//! `sim` (feature `sim`) stands beside `runtime`: a virtual world instead of the system's.
//!
//! Everything below `runtime` is sans-IO: time, randomness and datagrams come in as arguments.
pub mod base;
pub mod collections;
pub mod congestion;
pub mod connection;
pub mod crypto;
pub mod endpoint;
pub mod ffi;
pub mod http3;
pub mod paths;
pub mod qlog;
pub mod qpack;
pub mod recovery;
pub mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
pub mod streams;
pub mod wire;

#[cfg(all(feature = "worker-heap", not(any(feature = "sim", model, test))))]
#[global_allocator]
static HEAP: runtime::WorkerHeap = runtime::WorkerHeap;
