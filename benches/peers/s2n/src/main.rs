//! s2n-quic under the bench's protocol, with its default TLS (s2n-tls on AWS-LC).
//!
//! Settings: large windows, send buffer and socket buffers, the MTU as asked; the rest as it comes (GSO, GRO, CUBIC,
//! pacing). It has no HTTP/3 in its crate, and resumption only behind an unstable feature, so neither is measured.
use bench_core::client::{Client, drive};
use bench_core::{Args, BLOCK, Error, IDLE, Role, SOCKET_BUFFER, STREAMS, WINDOW, say};
use bytes::Bytes;
use clap::Parser;
use s2n_quic::connection::Handle;
use s2n_quic::provider::congestion_controller::{Bbr, Cubic};
use s2n_quic::provider::{io, limits::Limits, tls};
use s2n_quic::stream::BidirectionalStream;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// IPv4 and UDP headers: s2n-quic's MTU counts them.
const HEADERS: u16 = 28;

fn limits() -> Result<Limits, Error> {
    Ok(Limits::new()
        .with_data_window(WINDOW.into())?
        .with_bidirectional_local_data_window(WINDOW.into())?
        .with_bidirectional_remote_data_window(WINDOW.into())?
        .with_max_send_buffer_size(WINDOW)?
        .with_max_open_local_bidirectional_streams(STREAMS.into())?
        .with_max_open_remote_bidirectional_streams(STREAMS.into())?
        .with_max_handshake_duration(Duration::from_secs(60))?
        .with_max_idle_timeout(IDLE)?)
}

fn sockets(args: &Args, address: SocketAddr) -> Result<io::Default, Error> {
    let io = io::tokio::Builder::default()
        .with_receive_address(address)?
        .with_send_buffer_size(SOCKET_BUFFER)?
        .with_recv_buffer_size(SOCKET_BUFFER)?
        .with_max_mtu(args.payload.saturating_add(HEADERS))?;
    Ok(io.build()?)
}

async fn serve(args: &Args) -> Result<(), Error> {
    let alpn = String::from_utf8(args.alpn().to_vec())?;
    let (cert, key) = (PathBuf::from(args.path("cert.pem")), PathBuf::from(args.path("key.pem")));
    let tls = tls::default::Server::builder()
        .with_application_protocols([alpn.as_str()].iter())?
        .with_certificate(cert.as_path(), key.as_path())?
        .build()?;
    let builder =
        s2n_quic::Server::builder().with_tls(tls)?.with_io(sockets(args, args.server())?)?.with_limits(limits()?)?;
    let mut server = match args.congestion.as_deref() {
        None | Some("cubic") => builder.with_congestion_controller(Cubic::default())?.start()?,
        Some("bbr") => builder.with_congestion_controller(Bbr::default())?.start()?,
        Some(other) => return Err(format!("no controller {other}").into()),
    };
    let block = Bytes::from(vec![0x5a; BLOCK]);
    say("ready");
    while let Some(mut conn) = server.accept().await {
        let block = block.clone();
        tokio::spawn(async move {
            while let Ok(Some(stream)) = conn.accept_bidirectional_stream().await {
                tokio::spawn(answer(stream, block.clone()));
            }
        });
    }
    Ok(())
}

async fn answer(mut stream: BidirectionalStream, block: Bytes) -> Result<(), Error> {
    let mut head = Vec::with_capacity(8);
    while let Some(part) = stream.receive().await? {
        let missing = 8 - head.len();
        head.extend_from_slice(&part[..missing.min(part.len())]);
    }
    let mut left = u64::from_be_bytes(head.as_slice().try_into()?);
    while left > 0 {
        let n = left.min(block.len() as u64) as usize;
        stream.send(block.slice(..n)).await?;
        left -= n as u64;
    }
    stream.finish()?;
    Ok(())
}

struct Raw {
    client: s2n_quic::Client,
    to: SocketAddr,
}

impl Raw {
    fn new(args: &Args) -> Result<Raw, Error> {
        let alpn = String::from_utf8(args.alpn().to_vec())?;
        let ca = PathBuf::from(args.path("ca.pem"));
        let tls = tls::default::Client::builder()
            .with_application_protocols([alpn.as_str()].iter())?
            .with_certificate(ca.as_path())?
            .build()?;
        let client = s2n_quic::Client::builder()
            .with_tls(tls)?
            .with_io(sockets(args, args.any())?)?
            .with_limits(limits()?)?
            .start()?;
        Ok(Raw { client, to: args.server() })
    }
}

impl Client for Raw {
    type Conn = Handle;

    async fn connect(&self, _fresh: bool) -> Result<Handle, Error> {
        let connect = s2n_quic::client::Connect::new(self.to).with_server_name("localhost");
        let (handle, acceptor) = self.client.connect(connect).await?.split();
        // The server opens no streams; without an acceptor the connection would end with its last stream.
        tokio::spawn(async move {
            let mut acceptor = acceptor;
            while let Ok(Some(_)) = acceptor.accept().await {}
        });
        Ok(handle)
    }

    async fn exchange(conn: &Handle, up: u64, down: u64) -> Result<(), Error> {
        let mut stream = conn.clone().open_bidirectional_stream().await?;
        stream.send(Bytes::copy_from_slice(&down.to_be_bytes())).await?;
        if up > 0 {
            let block = Bytes::from(vec![0x5a; BLOCK]);
            let mut left = up;
            while left > 0 {
                let n = left.min(block.len() as u64) as usize;
                stream.send(block.slice(..n)).await?;
                left -= n as u64;
            }
        }
        stream.finish()?;
        let mut got = 0;
        while let Some(part) = stream.receive().await? {
            got += part.len() as u64;
        }
        if got == down { Ok(()) } else { Err(format!("{got} bytes instead of {down}").into()) }
    }

    fn close(conn: Handle) {
        conn.close(0u32.into());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    if args.h3 {
        return Err("s2n-quic has no HTTP/3".into());
    }
    if matches!(args.role, Role::Server) {
        return serve(&args).await;
    }
    if matches!(&args.role, Role::Handshakes { kind, .. } if kind == "resumed") {
        return Err("s2n-quic resumes sessions only behind an unstable feature".into());
    }
    let raw = Raw::new(&args)?;
    tokio::task::LocalSet::new().run_until(drive(raw, &args)).await
}
