//! Client and server runtimes over real loopback sockets: the little protocol of these tests.
//!
//! A client opens a bidirectional stream and sends a number; the server answers with that many
//! bytes, a pattern that depends on the position, so that a lost, doubled or displaced byte shows.
mod app;
mod http3;
mod migration;
mod traffic;
