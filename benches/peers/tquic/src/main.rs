//! tquic under the bench's protocols. tquic leaves sockets to its user, so this is its loop: GSO out, GRO in, one thread.
//!
//! Settings: large windows; its own pacing, controller (BBR) and path MTU discovery by default.
mod client;
mod http;
mod node;
mod server;

use bench_core::{Args, Error, Role};
use clap::Parser;

fn main() -> Result<(), Error> {
    let args = Args::parse();
    match args.role {
        Role::Server => server::serve(&args),
        _ => client::drive(&args),
    }
}
