//! h3 over quinn: `GET /N` answers with N bytes, a body that comes along is read to its end first.
use crate::Raw;
use bench_core::client::Client;
use bench_core::{BLOCK, Error};
use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;

pub async fn serve(incoming: quinn::Incoming, block: &'static [u8]) -> Result<(), Error> {
    let conn = incoming.await?;
    let mut h3 = h3::server::builder().build::<_, Bytes>(h3_quinn::Connection::new(conn)).await?;
    while let Ok(Some(resolver)) = h3.accept().await {
        tokio::spawn(async move {
            let (request, mut stream) = resolver.resolve_request().await?;
            while let Some(part) = stream.recv_data().await? {
                drop(part);
            }
            let mut left: u64 = request.uri().path().trim_start_matches('/').parse()?;
            let head = http::Response::builder().header("content-length", left).body(())?;
            stream.send_response(head).await?;
            while left > 0 {
                let n = left.min(block.len() as u64) as usize;
                stream.send_data(Bytes::from_static(&block[..n])).await?;
                left -= n as u64;
            }
            stream.finish().await?;
            Ok::<_, Error>(())
        });
    }
    Ok(())
}

pub struct Http {
    pub raw: Raw,
}

impl Client for Http {
    type Conn = (quinn::Connection, SendRequest<OpenStreams, Bytes>);

    async fn connect(&self, fresh: bool) -> Result<Self::Conn, Error> {
        let conn = self.raw.open(fresh).await?;
        let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(conn.clone())).await?;
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Ok((conn, send))
    }

    async fn exchange(conn: &Self::Conn, up: u64, down: u64) -> Result<(), Error> {
        static ZEROS: [u8; BLOCK] = [0x5a; BLOCK];
        let mut send = conn.1.clone();
        let request = http::Request::builder()
            .method(if up > 0 { "POST" } else { "GET" })
            .uri(format!("https://localhost/{down}"))
            .header("user-agent", "bench")
            .body(())?;
        let mut stream = send.send_request(request).await?;
        let mut left = up;
        while left > 0 {
            let n = left.min(BLOCK as u64) as usize;
            stream.send_data(Bytes::from_static(&ZEROS[..n])).await?;
            left -= n as u64;
        }
        stream.finish().await?;
        stream.recv_response().await?;
        let mut got = 0;
        while let Some(part) = stream.recv_data().await? {
            got += part.remaining() as u64;
        }
        if got == down { Ok(()) } else { Err(format!("{got} bytes instead of {down}").into()) }
    }

    fn close(conn: Self::Conn) {
        conn.0.close(0u32.into(), b"");
    }

    fn resumed(&self) -> Option<u64> {
        self.raw.resumed()
    }
}
