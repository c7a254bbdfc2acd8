//! The lock-free parts under loom: the handle table (`src/ffi/handle.rs`) and lent memory (`src/collections/chunk.rs`).
//!
//! These two stand on memory orderings, which loom tells apart and shuttle does not, and they are small enough to try
//! out all schedules up to a number of preemptions. The files are the library's own, compiled with loom's primitives.
#![allow(dead_code, unused_imports, reason = "the models use a part of what the files offer")]
#![allow(non_camel_case_types, reason = "statuses have C names")]
#![allow(clippy::missing_safety_doc, reason = "the files' own affair")]
pub mod chunk_models;
pub mod handle_models;
mod primitives;

/// What `src/base/sync.rs` offers.
mod base {
    pub(crate) mod sync {
        pub(crate) use crate::primitives::*;
    }
}

/// Forks are not part of these models: what a child forgets then is left out.
mod runtime {
    pub mod random {
        pub fn watch_forks() {}
    }
}

#[path = "."]
mod collections {
    #[path = "../../../../src/collections/chunk.rs"]
    pub(crate) mod chunk;
}

#[path = "."]
mod ffi {
    #[path = "../../../../src/ffi/abi.rs"]
    pub mod abi;
    #[path = "../../../../src/ffi/args.rs"]
    pub(crate) mod args;
    /// As above.
    pub(crate) mod diagnostics {
        pub fn forget() {}
    }
    #[path = "../../../../src/ffi/error.rs"]
    pub mod error;
    #[path = "../../../../src/ffi/handle.rs"]
    pub(crate) mod handle;
    #[path = "../../../../src/ffi/status.rs"]
    pub mod status;
}

/// Tries out all schedules with at most `preemptions` switches away from a thread that could go on; tells how many.
fn explore(name: &str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{name}: {} schedules", count.load(Ordering::Relaxed));
}
