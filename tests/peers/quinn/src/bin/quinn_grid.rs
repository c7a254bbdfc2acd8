//! quinn as a peer of the interop grid: `quinn_grid client|server --case CASE ...`, hq-interop and HTTP/3.
//!
//! The command line is that of tests/interop/grid/whimbrel_peer.py.
use bytes::{Buf, Bytes};
use clap::Parser;
use quinn_peer::{certs, key};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const PORT: u16 = 443;
/// A draft of version 1: quinn speaks it, we do not.
const OLD_VERSION: u32 = 0xff00_001d;
/// Bytes after which a client moves, or updates its keys.
const UNDER_WAY: usize = 100_000;

#[derive(Parser, Clone)]
struct Args {
    role: String,
    #[arg(long)]
    case: String,
    #[arg(long, default_value = "hq-interop")]
    alpn: String,
    #[arg(long)]
    host: Option<IpAddr>,
    #[arg(long, default_value = "0.0.0.0")]
    bind: IpAddr,
    #[arg(long, default_value = "")]
    ca: String,
    #[arg(long, default_value = "")]
    cert: String,
    #[arg(long, default_value = "")]
    key: String,
    #[arg(long, default_value = "")]
    out: String,
    #[arg(long, default_value = "")]
    www: String,
    #[arg(long, default_value = "")]
    paths: String,
    #[arg(long)]
    preferred: Option<SocketAddr>,
    #[arg(long)]
    start: bool,
}

impl Args {
    fn h3(&self) -> bool {
        self.alpn == "h3"
    }

    fn transport(&self) -> quinn::TransportConfig {
        let mut t = quinn::TransportConfig::default();
        if self.case == "transfer" || self.case == "blackhole" {
            t.receive_window(131_072u32.into());
            t.stream_receive_window(65_536u32.into());
        }
        t.max_idle_timeout(Some(Duration::from_secs(180).try_into().expect("an idle timeout")));
        t
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

// ---------------------------------------------------------------------------------------------- client

async fn get(conn: quinn::Connection, path: String, out: String, received: Arc<AtomicUsize>) -> Result<(), Failure> {
    let (mut send, mut recv) = conn.open_bi().await?;
    send.write_all(format!("GET {path}\r\n").as_bytes()).await?;
    send.finish()?;
    let mut body = Vec::new();
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        received.fetch_add(chunk.bytes.len(), Ordering::Relaxed);
        body.extend_from_slice(&chunk.bytes);
    }
    std::fs::write(Path::new(&out).join(name(&path)), body)?;
    Ok(())
}

async fn get_h3(conn: quinn::Connection, paths: Vec<String>, out: &str) -> Result<(), Failure> {
    let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(conn)).await?;
    let drive = tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    let all = paths.into_iter().map(|path| {
        let mut sender = sender.clone();
        async move {
            let request = http::Request::get(format!("https://localhost{path}")).body(())?;
            let mut stream = sender.send_request(request).await?;
            stream.finish().await?;
            let status = stream.recv_response().await?.status();
            let mut body = Vec::new();
            while let Some(mut data) = stream.recv_data().await? {
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            if status != 200 {
                return Err(format!("{path}: {status}").into());
            }
            std::fs::write(Path::new(out).join(name(&path)), body)?;
            Ok::<_, Failure>(())
        }
    });
    futures::future::try_join_all(all).await?;
    drop(sender);
    drive.abort();
    Ok(())
}

async fn fetch(args: &Args, endpoint: &quinn::Endpoint, paths: Vec<String>, early: bool) -> Result<(), Failure> {
    let connecting = endpoint.connect((args.host.ok_or("no host")?, PORT).into(), "localhost")?;
    let (conn, accepted) = if early {
        let (conn, accepted) = connecting.into_0rtt().map_err(|_| "no ticket for 0-RTT")?;
        (conn, Some(accepted))
    } else {
        (connecting.await?, None)
    };
    if args.h3() {
        get_h3(conn.clone(), paths, &args.out).await?;
    } else {
        let received = Arc::new(AtomicUsize::new(0));
        let gets = paths.into_iter().map(|p| tokio::spawn(get(conn.clone(), p, args.out.clone(), Arc::clone(&received))));
        let all = futures::future::try_join_all(gets.collect::<Vec<_>>());
        tokio::pin!(all);
        let disturb = args.case == "clientmigration" || (args.case == "keyupdate" && args.start);
        let done = loop {
            tokio::select! {
                done = &mut all => break done?,
                () = tokio::time::sleep(Duration::from_millis(20)), if disturb => {
                    if received.load(Ordering::Relaxed) > UNDER_WAY {
                        if args.case == "keyupdate" {
                            conn.force_key_update();
                        } else {
                            endpoint.rebind(std::net::UdpSocket::bind("0.0.0.0:0")?)?;
                        }
                        break all.await?;
                    }
                }
            }
        };
        done.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    if let Some(accepted) = accepted
        && !accepted.await
    {
        return Err("the server refused the early data".into());
    }
    if args.case == "resumption" || args.case == "zerortt" {
        tokio::time::sleep(Duration::from_millis(500)).await; // for the ticket
    }
    conn.close(if args.h3() { 0x100u32 } else { 0 }.into(), b"");
    endpoint.wait_idle().await;
    Ok(())
}

async fn client(args: Args) -> Result<(), Failure> {
    let mut roots = rustls::RootCertStore::empty();
    for cert in certs(&args.ca) {
        roots.add(cert)?;
    }
    let mut provider = rustls::crypto::ring::default_provider();
    if args.case == "chacha20" {
        provider.cipher_suites.retain(|s| s.suite() == rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    }
    let initial = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|s| s.quic_suite())
        .ok_or("no suite for Initial packets")?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![args.alpn.clone().into_bytes()];
    tls.enable_early_data = args.case == "zerortt";
    let crypto = quinn::crypto::rustls::QuicClientConfig::with_initial(Arc::new(tls), initial)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(args.transport()));
    if args.case == "versionnegotiation" {
        config.version(OLD_VERSION);
    }
    let any: SocketAddr = if args.host.is_some_and(|h| h.is_ipv6()) { "[::]:0" } else { "0.0.0.0:0" }.parse()?;
    let mut endpoint = quinn::Endpoint::client(any)?;
    endpoint.set_default_client_config(config);
    let paths: Vec<String> = std::fs::read_to_string(&args.paths)?.split_whitespace().map(str::to_owned).collect();
    match args.case.as_str() {
        "multiconnect" | "handshakeloss" | "handshakecorruption" => {
            for path in paths {
                fetch(&args, &endpoint, vec![path], false).await?;
            }
        }
        "resumption" | "zerortt" => {
            fetch(&args, &endpoint, paths[..1].to_vec(), false).await?;
            fetch(&args, &endpoint, paths[1..].to_vec(), args.case == "zerortt").await?;
        }
        _ => fetch(&args, &endpoint, paths, false).await?,
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------- server

async fn serve_h3(conn: quinn::Connection, www: String) -> Result<(), Failure> {
    let mut h3 = h3::server::Connection::<_, Bytes>::new(h3_quinn::Connection::new(conn)).await?;
    while let Ok(Some(resolver)) = h3.accept().await {
        let (request, mut stream) = resolver.resolve_request().await?;
        let body = std::fs::read(Path::new(&www).join(name(request.uri().path())))?;
        tokio::spawn(async move {
            let head = http::Response::builder().status(200).header("content-length", body.len()).body(())?;
            stream.send_response(head).await?;
            stream.send_data(Bytes::from(body)).await?;
            stream.finish().await?;
            Ok::<_, Failure>(())
        });
    }
    Ok(())
}

async fn serve(incoming: quinn::Incoming, args: Args) -> Result<(), Failure> {
    let conn = match incoming.accept()?.into_0rtt() {
        Ok((conn, _)) => conn,
        Err(connecting) => connecting.await?,
    };
    if args.h3() {
        return serve_h3(conn, args.www).await;
    }
    while let Ok((mut send, mut recv)) = conn.accept_bi().await {
        let www = args.www.clone();
        tokio::spawn(async move {
            let request = String::from_utf8(recv.read_to_end(4096).await?)?;
            let path = request.split_whitespace().nth(1).ok_or("no path")?;
            send.write_all(&std::fs::read(Path::new(&www).join(name(path)))?).await?;
            send.finish()?;
            Ok::<_, Failure>(())
        });
    }
    Ok(())
}

async fn server(args: Args) -> Result<(), Failure> {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certs(&args.cert), key(&args.key))?;
    tls.alpn_protocols = vec![args.alpn.clone().into_bytes()];
    if args.case == "zerortt" {
        tls.max_early_data_size = u32::MAX;
    }
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(args.transport()));
    match args.preferred {
        Some(SocketAddr::V4(address)) => config.preferred_address_v4(Some(address)),
        Some(SocketAddr::V6(address)) => config.preferred_address_v6(Some(address)),
        None => &mut config,
    };
    let endpoint = quinn::Endpoint::server(config, (args.bind, PORT).into())?;
    println!("ready");
    while let Some(incoming) = endpoint.accept().await {
        if args.case == "retry" && !incoming.remote_address_validated() {
            incoming.retry()?;
            continue;
        }
        let args = args.clone();
        tokio::spawn(async move {
            if let Err(e) = serve(incoming, args).await {
                eprintln!("connection: {e}");
            }
        });
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    match args.role.as_str() {
        "client" => client(args).await,
        "server" => server(args).await,
        _ => Err("client or server?".into()),
    }
}
