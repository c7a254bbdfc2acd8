//! quiche as a peer of the interop grid: `quiche-peer client|server --case CASE ...`, hq-interop and HTTP/3.
//!
//! The command line is that of tests/interop/grid/whimbrel_peer.py. quiche leaves sockets and clocks to its application:
//! this one uses blocking sockets with a timeout, one thread, and sends whenever quiche has something to send.
mod client;
mod server;

use std::collections::HashMap;
use std::io::Read;

pub type Failure = Box<dyn std::error::Error>;

/// Largest datagram that we send or take.
pub const DATAGRAM: usize = 1350;
/// Datagrams to send before looking for received ones.
pub const MAX_BATCH: usize = 64;
pub const PORT: u16 = 443;

/// Options of the command line.
pub struct Args {
    values: HashMap<String, String>,
    pub start: bool,
}

impl Args {
    pub fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    pub fn case(&self) -> &str {
        self.get("case")
    }

    pub fn h3(&self) -> bool {
        self.get("alpn") == "h3"
    }
}

/// A random connection ID.
pub fn random_id() -> quiche::ConnectionId<'static> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).expect("random bytes");
    quiche::ConnectionId::from_vec(bytes.to_vec())
}

/// What both roles configure.
pub fn config(args: &Args, version: u32) -> Result<quiche::Config, quiche::Error> {
    let mut c = quiche::Config::new(version)?;
    c.set_application_protos(&[args.get("alpn").as_bytes()])?;
    c.set_max_idle_timeout(180_000);
    c.set_max_recv_udp_payload_size(1500);
    c.set_max_send_udp_payload_size(DATAGRAM);
    let small = args.case() == "transfer" || args.case() == "blackhole";
    c.set_initial_max_data(if small { 131_072 } else { 4 << 20 });
    for set in [
        quiche::Config::set_initial_max_stream_data_bidi_local,
        quiche::Config::set_initial_max_stream_data_bidi_remote,
        quiche::Config::set_initial_max_stream_data_uni,
    ] {
        set(&mut c, if small { 65_536 } else { 1 << 20 });
    }
    c.set_initial_max_streams_bidi(100);
    c.set_initial_max_streams_uni(100);
    c.set_active_connection_id_limit(4);
    if args.case() == "zerortt" {
        c.enable_early_data();
    }
    Ok(c)
}

/// Gives the peer connection IDs for other paths.
pub fn spare_ids(conn: &mut quiche::Connection, mut each: impl FnMut(&quiche::ConnectionId<'static>)) {
    while conn.scids_left() > 0 {
        let id = random_id();
        let token = u128::from_be_bytes(random_id().as_ref().try_into().expect("16 bytes"));
        if conn.new_scid(&id, token, false).is_err() {
            return;
        }
        each(&id);
    }
}

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let role = words.next().unwrap_or_default();
    let mut args = Args { values: HashMap::new(), start: false };
    while let Some(word) = words.next() {
        let name = word.trim_start_matches("--").to_owned();
        if name == "start" {
            args.start = true;
        } else {
            args.values.insert(name, words.next().unwrap_or_default());
        }
    }
    match role.as_str() {
        "client" => client::run(&args),
        "server" => server::run(&args),
        _ => Err("client or server?".into()),
    }
}
