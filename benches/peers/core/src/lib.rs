//! What all peers of the bench share: the command line, the little protocol and how results are printed.
//!
//! Protocol: a stream carries an 8-byte number N, any bytes and FIN; the answer is N bytes and FIN. Over HTTP/3 the
//! number is the path (`/N`) and the bytes are the request's body.
//!
//! A client says `ready` when it is connected, waits for a line, does its work, prints a JSON line and waits for the next
//! line. The harness reads the CPU clocks of both processes at these moments, so set-up and teardown are not measured.
#[cfg(feature = "async")]
pub mod client;
pub mod udp;

use clap::{Parser, Subcommand};
use std::io::{BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Any error of a bench program: it ends the program with one line.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Flow windows of every peer: large enough that they are not what is measured.
pub const WINDOW: u32 = 16 << 20;
/// Streams that a peer may have open at once.
pub const STREAMS: u32 = 256;
/// Socket buffers of every peer.
pub const SOCKET_BUFFER: usize = 4 << 20;
/// Bytes that senders hand over at a time.
pub const BLOCK: usize = 1 << 20;
/// Idle connections stay for the measurement.
pub const IDLE: Duration = Duration::from_secs(600);

#[derive(Parser, Clone)]
pub struct Args {
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    #[arg(long)]
    pub port: u16,
    /// Folder of ca.pem, cert.pem and key.pem.
    #[arg(long)]
    pub certs: String,
    /// Speak HTTP/3 instead of the raw protocol.
    #[arg(long)]
    pub h3: bool,
    /// Largest UDP payload.
    #[arg(long, default_value_t = 1472)]
    pub payload: u16,
    /// Congestion controller, where the peer lets us choose.
    #[arg(long)]
    pub congestion: Option<String>,
    #[command(subcommand)]
    pub role: Role,
}

#[derive(Subcommand, Clone)]
pub enum Role {
    /// Answers until it is ended.
    Server,
    /// Moves UP bytes to the server and DOWN bytes back, in STREAMS streams on each of CONNS connections.
    Move { up: u64, down: u64, streams: u64, conns: u64 },
    /// COUNT requests for SIZE bytes, CONCURRENT at a time on one connection.
    Requests { count: u64, size: u64, concurrent: u64 },
    /// COUNT handshakes, full or resumed, CONCURRENT at a time.
    Handshakes { count: u64, kind: String, concurrent: u64 },
    /// Opens connections up to each STEP in turn and keeps them.
    Grow { steps: Vec<u64> },
}

impl Args {
    pub fn server(&self) -> SocketAddr {
        (self.host, self.port).into()
    }

    /// Any port of ours, to talk to the server from.
    pub fn any(&self) -> SocketAddr {
        (if self.host.is_loopback() { self.host } else { IpAddr::from([0, 0, 0, 0]) }, 0).into()
    }

    /// A file of the certificate folder.
    pub fn pem(&self, name: &str) -> Result<Vec<u8>, Error> {
        Ok(std::fs::read(self.path(name))?)
    }

    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.certs)
    }

    pub fn alpn(&self) -> &'static [u8] {
        if self.h3 { b"h3" } else { b"bench" }
    }
}

/// The header of a request to `path`, for peers whose HTTP/3 takes a list of fields.
pub fn request(path: &str, body: bool) -> [(&[u8], &[u8]); 5] {
    [
        (b":method", if body { b"POST" } else { b"GET" }),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", path.as_bytes()),
        (b"user-agent", b"bench"),
    ]
}

/// Says that we are ready, for a server without waiting.
pub fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Waits for the harness.
pub fn wait() {
    let mut line = String::new();
    let _ = std::io::stdin().lock().read_line(&mut line);
}

/// The result line. Times are of single operations.
pub fn result(wall: Duration, mut times: Vec<Duration>, more: &str) -> String {
    times.sort();
    let at = |p: f64| {
        let i = ((times.len() as f64 * p) as usize).min(times.len().saturating_sub(1));
        times.get(i).map_or(0.0, |d| d.as_secs_f64() * 1e6)
    };
    format!(
        "{{\"wall\": {}, \"p50\": {}, \"p99\": {}, \"p999\": {}{more}}}",
        wall.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999)
    )
}
