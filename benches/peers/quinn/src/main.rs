//! quinn (and h3 over it) under the bench's protocol.
//!
//! Settings: large windows and socket buffers; the rest as quinn has it (CUBIC, pacing, GSO and GRO, MTU discovery).
mod http;
mod tls;

use bench_core::client::{Client, drive};
use bench_core::{Args, BLOCK, Error, IDLE, Role, STREAMS, WINDOW, say, udp};
use clap::Parser;
use quinn::{Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use tls::CountedSessions;

fn transport(args: &Args) -> Result<Arc<quinn::TransportConfig>, Error> {
    let mut t = quinn::TransportConfig::default();
    t.receive_window(WINDOW.into());
    t.stream_receive_window(WINDOW.into());
    t.send_window(u64::from(WINDOW));
    t.max_concurrent_bidi_streams(STREAMS.into());
    t.max_idle_timeout(Some(IDLE.try_into()?));
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(args.payload.min(MTU_MAX));
    t.mtu_discovery_config(Some(mtu));
    match args.congestion.as_deref() {
        None | Some("cubic") => {}
        Some("bbr") => {
            t.congestion_controller_factory(Arc::new(quinn::congestion::BbrConfig::default()));
        }
        Some(other) => return Err(format!("no controller {other}").into()),
    }
    Ok(Arc::new(t))
}

/// quinn's default upper bound is 1452; larger ones are asked for on the command line.
const MTU_MAX: u16 = 65527;

fn endpoint(args: &Args, server: Option<quinn::ServerConfig>, address: SocketAddr) -> Result<Endpoint, Error> {
    let mut config = quinn::EndpointConfig::default();
    config.max_udp_payload_size(args.payload.max(1472))?;
    Ok(Endpoint::new(config, server, udp::bind(address)?, Arc::new(quinn::TokioRuntime))?)
}

async fn serve(args: &Args) -> Result<(), Error> {
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls::server(args)?)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(transport(args)?);
    let endpoint = endpoint(args, Some(config), args.server())?;
    let block: &'static [u8] = vec![0x5a; BLOCK].leak();
    say("ready");
    while let Some(incoming) = endpoint.accept().await {
        if args.h3 {
            tokio::spawn(http::serve(incoming, block));
        } else {
            tokio::spawn(async move {
                let conn = incoming.await?;
                while let Ok((tx, rx)) = conn.accept_bi().await {
                    tokio::spawn(answer(tx, rx, block));
                }
                Ok::<_, Error>(())
            });
        }
    }
    Ok(())
}

async fn answer(mut tx: quinn::SendStream, mut rx: quinn::RecvStream, block: &'static [u8]) -> Result<(), Error> {
    let mut want = [0; 8];
    rx.read_exact(&mut want).await?;
    while rx.read_chunk(BLOCK, true).await?.is_some() {}
    let mut left = u64::from_be_bytes(want);
    while left > 0 {
        let n = left.min(block.len() as u64) as usize;
        tx.write_all(&block[..n]).await?;
        left -= n as u64;
    }
    tx.finish()?;
    Ok(())
}

struct Raw {
    endpoint: Endpoint,
    resuming: quinn::ClientConfig,
    fresh: quinn::ClientConfig,
    to: SocketAddr,
    sessions: Arc<CountedSessions>,
}

impl Raw {
    fn new(args: &Args) -> Result<Raw, Error> {
        let sessions = Arc::new(CountedSessions::default());
        let config = |resumption| {
            let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls::client(args, resumption)?)?;
            let mut config = quinn::ClientConfig::new(Arc::new(tls));
            config.transport_config(transport(args)?);
            Ok::<_, Error>(config)
        };
        Ok(Raw {
            endpoint: endpoint(args, None, args.any())?,
            resuming: config(rustls::client::Resumption::store(sessions.clone()))?,
            fresh: config(rustls::client::Resumption::disabled())?,
            to: args.server(),
            sessions,
        })
    }

    async fn open(&self, fresh: bool) -> Result<Connection, Error> {
        let config = if fresh { &self.fresh } else { &self.resuming };
        Ok(self.endpoint.connect_with(config.clone(), self.to, "localhost")?.await?)
    }
}

impl Client for Raw {
    type Conn = Connection;

    async fn connect(&self, fresh: bool) -> Result<Connection, Error> {
        self.open(fresh).await
    }

    async fn exchange(conn: &Connection, up: u64, down: u64) -> Result<(), Error> {
        let (mut tx, mut rx) = conn.open_bi().await?;
        tx.write_all(&down.to_be_bytes()).await?;
        let block = vec![0x5a; (up as usize).min(BLOCK)];
        let mut left = up;
        while left > 0 {
            let n = left.min(block.len() as u64) as usize;
            tx.write_all(&block[..n]).await?;
            left -= n as u64;
        }
        tx.finish()?;
        let mut buffer = vec![0; 65536.min(down as usize + 1)];
        let mut got = 0;
        while let Some(n) = rx.read(&mut buffer).await? {
            got += n as u64;
        }
        if got == down { Ok(()) } else { Err(format!("{got} bytes instead of {down}").into()) }
    }

    fn close(conn: Connection) {
        conn.close(0u32.into(), b"");
    }

    fn resumed(&self) -> Option<u64> {
        Some(self.sessions.taken())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    if matches!(args.role, Role::Server) {
        return serve(&args).await;
    }
    let raw = Raw::new(&args)?;
    let set = tokio::task::LocalSet::new();
    if args.h3 { set.run_until(drive(http::Http { raw }, &args)).await } else { set.run_until(drive(raw, &args)).await }
}
