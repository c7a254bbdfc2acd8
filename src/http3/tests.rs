//! HTTP/3 against every rule that it keeps: over streams in memory, then over real connections.
mod bodies;
mod control;
mod ends;
mod fields;
mod fuzz;
mod messages;
mod mock;
mod order;
