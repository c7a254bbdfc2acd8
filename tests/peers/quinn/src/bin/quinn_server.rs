//! quinn + h3 server: GET /bytes/N, POST /hash, POST /echo.
use bytes::{Buf, Bytes};
use clap::Parser;
use quinn_peer::{certs, hex, key, pieces, transport};
use sha2::{Digest, Sha256};
use std::sync::Arc;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    cert: String,
    #[arg(long)]
    key: String,
    #[arg(long)]
    port: u16,
    /// File to create once the socket is open.
    #[arg(long)]
    ready: String,
    #[arg(long)]
    retry: bool,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certs(&args.cert), key(&args.key))
        .expect("identity");
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.max_early_data_size = u32::MAX;
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).expect("suite");
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], args.port).into()).expect("bind");
    std::fs::write(&args.ready, "ready").expect("ready file");
    while let Some(incoming) = endpoint.accept().await {
        if args.retry && !incoming.remote_address_validated() {
            incoming.retry().expect("retry");
            continue;
        }
        tokio::spawn(async move {
            let Ok(connecting) = incoming.accept() else { return };
            let conn = match connecting.into_0rtt() {
                Ok((conn, _)) => conn,
                Err(connecting) => match connecting.await {
                    Ok(conn) => conn,
                    Err(e) => return eprintln!("handshake: {e}"),
                },
            };
            let Ok(mut h3) = h3::server::Connection::<_, Bytes>::new(h3_quinn::Connection::new(conn)).await else { return };
            while let Ok(Some(resolver)) = h3.accept().await {
                tokio::spawn(async move {
                    if let Err(e) = answer(resolver).await {
                        eprintln!("request: {e}");
                    }
                });
            }
        });
    }
}

async fn answer(
    resolver: h3::server::RequestResolver<h3_quinn::Connection, Bytes>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (request, mut stream) = resolver.resolve_request().await?;
    let path = request.uri().path().to_owned();
    let mut hash = Sha256::new();
    let mut kept = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        while data.has_remaining() {
            let piece = data.chunk();
            hash.update(piece);
            if path == "/echo" {
                kept.extend_from_slice(piece);
            }
            let n = piece.len();
            data.advance(n);
        }
    }
    let (status, body) = if let Some(n) = path.strip_prefix("/bytes/") {
        (200, pieces(n.parse()?))
    } else if path == "/hash" {
        (200, vec![Bytes::from(hex(&hash.finalize()))])
    } else if path == "/echo" {
        (200, vec![Bytes::from(kept)])
    } else {
        (404, vec![Bytes::from_static(b"not here\n")])
    };
    let length: usize = body.iter().map(Bytes::len).sum();
    stream
        .send_response(http::Response::builder().status(status).header("content-length", length).body(())?)
        .await?;
    for piece in body {
        stream.send_data(piece).await?;
    }
    stream.finish().await?;
    Ok(())
}
