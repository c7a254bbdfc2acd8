//! quinn + h3 client: runs one scenario of the interop tests and fails on a wrong byte.
use bytes::{Buf, Bytes};
use clap::Parser;
use quinn_peer::{certs, digest, hex, pieces, transport};
use sha2::{Digest, Sha256};
use std::sync::Arc;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

#[derive(Parser)]
struct Args {
    /// download, upload, many, resume or rebind
    scenario: String,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    ca: String,
    #[arg(long, default_value_t = 1 << 20)]
    size: usize,
}

async fn exchange(mut sender: Sender, method: &str, path: String, body: Vec<Bytes>) -> Result<(u16, String, usize), Error> {
    let request = http::Request::builder().method(method).uri(format!("https://localhost{path}")).body(())?;
    let stream = sender.send_request(request).await?;
    let (mut tx, mut rx) = stream.split();
    let upload = tokio::spawn(async move {
        for piece in body {
            tx.send_data(piece).await?;
        }
        tx.finish().await
    });
    let response = rx.recv_response().await?;
    let mut hash = Sha256::new();
    let mut size = 0;
    while let Some(mut data) = rx.recv_data().await? {
        while data.has_remaining() {
            let piece = data.chunk();
            hash.update(piece);
            size += piece.len();
            let n = piece.len();
            data.advance(n);
        }
    }
    upload.await??;
    Ok((response.status().as_u16(), hex(&hash.finalize()), size))
}

async fn scenario(args: &Args, endpoint: &quinn::Endpoint, sender: &Sender) -> Result<(), Error> {
    match args.scenario.as_str() {
        "download" => {
            let got = exchange(sender.clone(), "GET", format!("/bytes/{}", args.size), vec![]).await?;
            assert_eq!(got, (200, digest(args.size), args.size));
        }
        "upload" => {
            let got = exchange(sender.clone(), "POST", "/hash".into(), pieces(args.size)).await?;
            assert_eq!((got.0, got.1), (200, hex(&Sha256::digest(digest(args.size)))));
        }
        "many" => {
            let all = (0..100).map(|i| exchange(sender.clone(), "GET", format!("/bytes/{}", 1000 + i), vec![]));
            for (i, got) in futures::future::try_join_all(all).await?.into_iter().enumerate() {
                assert_eq!(got, (200, digest(1000 + i), 1000 + i));
            }
        }
        "rebind" => {
            let transfer = tokio::spawn(exchange(sender.clone(), "GET", format!("/bytes/{}", args.size), vec![]));
            for _ in 0..3 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0")?)?;
            }
            assert_eq!(transfer.await??, (200, digest(args.size), args.size));
        }
        "resume" => {
            let got = exchange(sender.clone(), "GET", "/bytes/5000".into(), vec![]).await?;
            assert_eq!(got, (200, digest(5000), 5000));
        }
        other => return Err(format!("no scenario {other}").into()),
    }
    Ok(())
}

async fn once(args: &Args, endpoint: &quinn::Endpoint, early: bool) -> Result<(), Error> {
    let connecting = endpoint.connect(([127, 0, 0, 1], args.port).into(), "localhost")?;
    let (conn, accepted) = if early {
        let (conn, accepted) = connecting.into_0rtt().map_err(|_| "no ticket for 0-RTT")?;
        (conn, Some(accepted))
    } else {
        (connecting.await?, None)
    };
    let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(conn.clone())).await?;
    let drive = tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    scenario(args, endpoint, &sender).await?;
    if let Some(accepted) = accepted {
        assert!(accepted.await, "0-RTT was not accepted");
    }
    drop(sender);
    conn.close(0x100u32.into(), b"");
    let _ = drive.await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    let mut roots = rustls::RootCertStore::empty();
    for cert in certs(&args.ca) {
        roots.add(cert)?;
    }
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.enable_early_data = true;
    let mut config = quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into())?;
    endpoint.set_default_client_config(config);
    once(&args, &endpoint, false).await?;
    if args.scenario == "resume" {
        once(&args, &endpoint, true).await?;
    }
    endpoint.wait_idle().await;
    println!("{{\"scenario\": \"{}\", \"ok\": true}}", args.scenario);
    Ok(())
}
