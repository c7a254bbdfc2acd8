//! quinn under the benchmark's little protocol: a stream carries an 8-byte number N, the answer is N bytes and FIN.
//!
//! `server` runs until it is ended; `client bulk|requests` prints one JSON line with wall and CPU seconds.
use clap::{Parser, Subcommand};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Flow windows and socket buffers of the comparison: large enough that neither is what is measured.
const WINDOW: u32 = 16 << 20;
const SOCKET_BUFFER: usize = 4 << 20;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    certs: String,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    Server,
    /// Download BYTES in all, over STREAMS concurrent streams.
    Bulk { bytes: u64, streams: u64 },
    /// COUNT requests for SIZE bytes, at most CONCURRENT at a time.
    Requests { count: u64, size: u64, concurrent: usize },
    /// COUNT full handshakes, one after the other.
    Handshakes { count: u64 },
}

fn transport() -> Arc<quinn::TransportConfig> {
    let mut t = quinn::TransportConfig::default();
    t.receive_window(WINDOW.into());
    t.stream_receive_window(WINDOW.into());
    t.send_window(u64::from(WINDOW));
    t.max_concurrent_bidi_streams(256u32.into());
    Arc::new(t)
}

fn socket(port: u16) -> Result<UdpSocket, Error> {
    let s = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    s.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    // The kernel may clamp these without SO_*BUFFORCE; what it gives is what both peers get.
    let _ = s.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = s.set_send_buffer_size(SOCKET_BUFFER);
    Ok(s.into())
}

fn endpoint(server: Option<quinn::ServerConfig>, port: u16) -> Result<quinn::Endpoint, Error> {
    let runtime = Arc::new(quinn::TokioRuntime);
    Ok(quinn::Endpoint::new(quinn::EndpointConfig::default(), server, socket(port)?, runtime)?)
}

async fn serve(args: &Args) -> Result<(), Error> {
    let read = |name: &str| std::fs::read(format!("{}/{name}", args.certs));
    let certs = rustls_pemfile::certs(&mut &read("cert.pem")?[..]).collect::<Result<Vec<_>, _>>()?;
    let key = rustls_pemfile::private_key(&mut &read("key.pem")?[..])?.ok_or("no key")?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certs, key)?;
    tls.alpn_protocols = vec![b"bench".to_vec()];
    let mut config =
        quinn::ServerConfig::with_crypto(Arc::new(quinn::crypto::rustls::QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    let endpoint = endpoint(Some(config), args.port)?;
    let zeros: &'static [u8] = vec![0x5a; 1 << 20].leak();
    println!("ready");
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let conn = incoming.await?;
            loop {
                let (mut tx, mut rx) = conn.accept_bi().await?;
                tokio::spawn(async move {
                    let mut want = [0; 8];
                    rx.read_exact(&mut want).await?;
                    let mut left = u64::from_be_bytes(want);
                    while left > 0 {
                        let n = left.min(zeros.len() as u64) as usize;
                        tx.write_all(&zeros[..n]).await?;
                        left -= n as u64;
                    }
                    tx.finish()?;
                    Ok::<_, Error>(())
                });
            }
            #[allow(unreachable_code)]
            Ok::<_, Error>(())
        });
    }
    Ok(())
}

async fn fetch(conn: &quinn::Connection, size: u64) -> Result<(), Error> {
    let (mut tx, mut rx) = conn.open_bi().await?;
    tx.write_all(&size.to_be_bytes()).await?;
    tx.finish()?;
    let mut buf = vec![0; 65536.min(size as usize + 1)];
    let mut got = 0;
    while let Some(n) = rx.read(&mut buf).await? {
        got += n as u64;
    }
    if got == size { Ok(()) } else { Err(format!("{got} bytes instead of {size}").into()) }
}

fn cpu_seconds() -> f64 {
    // SAFETY: getrusage fills the struct we own.
    let usage = unsafe {
        let mut u: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut u);
        u
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn percentile(sorted: &[Duration], p: f64) -> f64 {
    sorted.get(((sorted.len() as f64 * p) as usize).min(sorted.len().saturating_sub(1))).map_or(0.0, |d| d.as_secs_f64() * 1e6)
}

async fn drive(args: &Args) -> Result<(), Error> {
    let ca = std::fs::read(format!("{}/ca.pem", args.certs))?;
    let mut roots = rustls::RootCertStore::empty();
    for cert in rustls_pemfile::certs(&mut &ca[..]) {
        roots.add(cert?)?;
    }
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"bench".to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    let mut endpoint = endpoint(None, 0)?;
    endpoint.set_default_client_config(config);
    let connect = || async { Ok::<_, Error>(endpoint.connect(([127, 0, 0, 1], args.port).into(), "localhost")?.await?) };
    let conn = connect().await?;
    let (cpu, start) = (cpu_seconds(), Instant::now());
    let mut times = Vec::new();
    match args.role {
        Role::Bulk { bytes, streams } => {
            let all: Vec<_> = (0..streams)
                .map(|_| {
                    let conn = conn.clone();
                    tokio::spawn(async move { fetch(&conn, bytes / streams).await })
                })
                .collect();
            for one in all {
                one.await??;
            }
        }
        Role::Requests { count, size, concurrent } => {
            let left = Arc::new(std::sync::atomic::AtomicI64::new(count as i64));
            let all: Vec<_> = (0..concurrent)
                .map(|_| {
                    let (conn, left) = (conn.clone(), left.clone());
                    tokio::spawn(async move {
                        let mut times = Vec::new();
                        while left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) > 0 {
                            let start = Instant::now();
                            fetch(&conn, size).await?;
                            times.push(start.elapsed());
                        }
                        Ok::<_, Error>(times)
                    })
                })
                .collect();
            for one in all {
                times.extend(one.await??);
            }
        }
        Role::Handshakes { count } => {
            for _ in 0..count {
                let start = Instant::now();
                connect().await?.close(0u32.into(), b"");
                times.push(start.elapsed());
            }
        }
        Role::Server => unreachable!(),
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    times.sort();
    println!(
        "{{\"wall\": {wall}, \"cpu\": {cpu}, \"p50\": {}, \"p99\": {}, \"p999\": {}}}",
        percentile(&times, 0.5), percentile(&times, 0.99), percentile(&times, 0.999)
    );
    conn.close(0u32.into(), b"");
    endpoint.wait_idle().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    match args.role {
        Role::Server => serve(&args).await,
        _ => drive(&args).await,
    }
}
