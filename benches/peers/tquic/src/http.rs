//! HTTP/3 by tquic's own module: for each connection its state, and what came of its streams in words that both roles use.
use bench_core::{Error, request};
use std::collections::HashMap;
use tquic::Connection;
use tquic::h3::connection::Http3Connection;
use tquic::h3::{Header, Http3Config, Http3Error, Http3Event, NameValue};

/// What one look at a connection's streams found.
pub struct Heard {
    pub id: u64,
    /// The number in a request's path.
    pub number: Option<u64>,
    /// Bytes of the body that were read.
    pub got: u64,
    /// The peer's side has ended.
    pub over: bool,
}

/// HTTP/3 of all connections of an endpoint, by the endpoint's number for each.
pub struct Http {
    config: Http3Config,
    connections: HashMap<u64, Http3Connection>,
}

impl Http {
    pub fn new() -> Result<Http, Error> {
        Ok(Http { config: Http3Config::new()?, connections: HashMap::new() })
    }

    /// HTTP/3 begins with the connection.
    pub fn begin(&mut self, conn: &mut Connection) -> Result<(), Error> {
        let http = Http3Connection::new_with_quic_conn(conn, &self.config)?;
        self.connections.insert(conn.index().unwrap_or(0), http);
        Ok(())
    }

    pub fn end(&mut self, conn: &Connection) {
        self.connections.remove(&conn.index().unwrap_or(0));
    }

    pub fn forget(&mut self, conn: &Connection, id: u64) {
        if let Some(http) = self.connections.get_mut(&conn.index().unwrap_or(0)) {
            http.stream_destroy(id);
        }
    }

    pub fn of(&mut self, conn: &Connection) -> Result<&mut Http3Connection, Error> {
        self.connections.get_mut(&conn.index().unwrap_or(0)).ok_or_else(|| "no HTTP/3 on this connection".into())
    }

    /// A request for `down` bytes; its body follows if there is one.
    pub fn ask(&mut self, conn: &mut Connection, down: u64, body: bool) -> Result<u64, Error> {
        let http = self.of(conn)?;
        let id = http.stream_new(conn)?;
        let path = format!("/{down}");
        let head = request(&path, body).map(|(name, value)| Header::new(name, value));
        send_head(http, conn, id, &head, !body)?;
        Ok(id)
    }

    /// The head of a response with a body of so many bytes.
    pub fn answer(&mut self, conn: &mut Connection, id: u64, length: u64) -> Result<(), Error> {
        let length = length.to_string();
        let head = [Header::new(b":status", b"200"), Header::new(b"content-length", length.as_bytes())];
        send_head(self.of(conn)?, conn, id, &head, false)
    }

    /// Reads whatever the connection's streams have.
    pub fn hear(&mut self, conn: &mut Connection, sink: &mut [u8], heard: &mut Vec<Heard>) -> Result<(), Error> {
        let http = self.of(conn)?;
        loop {
            match http.poll(conn) {
                Ok((id, Http3Event::Headers { headers, .. })) => {
                    let path = headers.iter().find(|h| h.name() == b":path");
                    let number =
                        path.map(|h| Ok::<_, Error>(std::str::from_utf8(h.value())?[1..].parse()?)).transpose()?;
                    heard.push(Heard { id, number, got: 0, over: false });
                }
                Ok((id, Http3Event::Data)) => {
                    let mut got = 0;
                    while let Ok(n) = http.recv_body(conn, id, sink) {
                        got += n as u64;
                    }
                    heard.push(Heard { id, number: None, got, over: false });
                }
                Ok((id, Http3Event::Finished)) => heard.push(Heard { id, number: None, got: 0, over: true }),
                Ok((id, Http3Event::Reset(code))) => return Err(format!("stream {id} was reset with {code}").into()),
                Ok(_) => {}
                Err(Http3Error::Done) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// tquic keeps a head for which there is no room, and sends it before the body.
fn send_head(
    http: &mut Http3Connection,
    conn: &mut Connection,
    id: u64,
    head: &[Header],
    fin: bool,
) -> Result<(), Error> {
    match http.send_headers(conn, id, head, fin) {
        Ok(()) | Err(Http3Error::StreamBlocked) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
