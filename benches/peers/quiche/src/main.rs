//! quiche (and its HTTP/3) under the bench's protocol. quiche leaves sockets and time to its user, so this is its loop:
//! GSO out, GRO in, one thread.
//!
//! Settings: large windows; CUBIC by default; its pacing off, since it needs a socket that sends at given times, which
//! loopback has not.
mod client;
mod node;
mod server;

use bench_core::{Args, Error, IDLE, Role, STREAMS, WINDOW};
use clap::Parser;

fn config(args: &Args) -> Result<quiche::Config, Error> {
    let mut c = quiche::Config::new(quiche::PROTOCOL_VERSION)?;
    c.set_application_protos(&[args.alpn()])?;
    c.set_max_idle_timeout(IDLE.as_millis() as u64);
    c.set_max_recv_udp_payload_size(args.payload.into());
    c.set_max_send_udp_payload_size(args.payload.into());
    c.set_initial_max_data(WINDOW.into());
    c.set_initial_max_stream_data_bidi_local(WINDOW.into());
    c.set_initial_max_stream_data_bidi_remote(WINDOW.into());
    c.set_initial_max_stream_data_uni(WINDOW.into());
    c.set_max_connection_window(WINDOW.into());
    c.set_max_stream_window(WINDOW.into());
    c.set_initial_max_streams_bidi(STREAMS.into());
    c.set_initial_max_streams_uni(STREAMS.into());
    c.enable_pacing(false);
    match args.congestion.as_deref() {
        None => {}
        Some(name) => c.set_cc_algorithm_name(name)?,
    }
    if matches!(args.role, Role::Server) {
        c.load_cert_chain_from_pem_file(&args.path("cert.pem"))?;
        c.load_priv_key_from_pem_file(&args.path("key.pem"))?;
    } else {
        c.load_verify_locations_from_file(&args.path("ca.pem"))?;
        c.verify_peer(true);
    }
    Ok(c)
}

fn main() -> Result<(), Error> {
    let args = Args::parse();
    match args.role {
        Role::Server => server::serve(&args),
        _ => client::drive(&args),
    }
}
