//! The C ABI under shuttle: real handles, buffers, streams, queues, callbacks and connections, in random schedules.
//!
//! `WB_SCHEDULES=n` multiplies the number of schedules, `WB_SEED=n` chooses them. A failure prints its schedule; run with the same
//! seed it comes again.
mod buffers;
mod ends;
mod explore;
mod mute;
mod queue;
mod world;
