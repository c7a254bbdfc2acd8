//! The server: answers each stream when its end has come.
use crate::http::{Heard, Http};
use crate::node::{Node, Stream, push};
use bench_core::{Args, BLOCK, Error, say};
use bytes::Bytes;
use std::collections::HashMap;
use tquic::{Connection, TransportHandler};

struct Server {
    /// By connection and stream.
    streams: HashMap<(u64, u64), Stream>,
    block: Bytes,
    sink: Vec<u8>,
    http: Option<Http>,
    heard: Vec<Heard>,
}

impl Server {
    fn read(&mut self, conn: &mut Connection, id: u64) -> Result<(), Error> {
        let stream = self.streams.entry((conn.index().unwrap_or(0), id)).or_default();
        while let Ok((n, fin)) = conn.stream_read(id, &mut self.sink) {
            let missing = 8 - stream.head.len();
            stream.head.extend_from_slice(&self.sink[..n.min(missing)]);
            if fin {
                stream.left = u64::from_be_bytes(stream.head.as_slice().try_into()?);
                stream.sending = true;
                return push(conn, None, id, stream, &self.block);
            }
        }
        Ok(())
    }

    fn hear(&mut self, conn: &mut Connection) -> Result<(), Error> {
        let Some(http) = &mut self.http else { return Ok(()) };
        let n = conn.index().unwrap_or(0);
        http.hear(conn, &mut self.sink, &mut self.heard)?;
        for heard in self.heard.drain(..) {
            let stream = self.streams.entry((n, heard.id)).or_default();
            stream.left = heard.number.unwrap_or(stream.left);
            if heard.over {
                http.answer(conn, heard.id, stream.left)?;
                stream.sending = true;
                push(conn, Some(http.of(conn)?), heard.id, stream, &self.block)?;
            }
        }
        Ok(())
    }
}

fn check(conn: &mut Connection, done: Result<(), Error>) {
    if let Err(e) = done {
        eprintln!("a connection was closed: {e}");
        // A client that has gone away or is of no use ends its connection, not the server.
        let _ = conn.close(true, 1, b"");
    }
}

impl TransportHandler for Server {
    fn on_conn_created(&mut self, _: &mut Connection) {}
    fn on_conn_established(&mut self, conn: &mut Connection) {
        let done = self.http.as_mut().map_or(Ok(()), |http| http.begin(conn));
        check(conn, done);
    }
    fn on_conn_closed(&mut self, conn: &mut Connection) {
        if let Some(http) = &mut self.http {
            http.end(conn);
        }
        let gone = conn.index().unwrap_or(0);
        self.streams.retain(|(n, _), _| *n != gone);
    }
    fn on_stream_created(&mut self, _: &mut Connection, _: u64) {}
    fn on_stream_readable(&mut self, conn: &mut Connection, id: u64) {
        let done = if self.http.is_some() { self.hear(conn) } else { self.read(conn, id) };
        check(conn, done);
    }
    fn on_stream_writable(&mut self, conn: &mut Connection, id: u64) {
        if let Some(stream) = self.streams.get_mut(&(conn.index().unwrap_or(0), id)) {
            let http = self.http.as_mut().and_then(|http| http.of(conn).ok());
            let done = push(conn, http, id, stream, &self.block);
            check(conn, done);
        }
    }
    fn on_stream_closed(&mut self, conn: &mut Connection, id: u64) {
        self.streams.remove(&(conn.index().unwrap_or(0), id));
        if let Some(http) = &mut self.http {
            http.forget(conn, id);
        }
    }
    fn on_new_token(&mut self, _: &mut Connection, _: Vec<u8>) {}
}

pub fn serve(args: &Args) -> Result<(), Error> {
    let http = args.h3.then(Http::new).transpose()?;
    let (block, sink) = (vec![0x5a; BLOCK].into(), vec![0; 256 << 10]);
    let server = Server { streams: HashMap::new(), block, sink, http, heard: Vec::new() };
    let mut node = Node::new(args, Box::new(server))?;
    say("ready");
    loop {
        node.turn(None)?;
    }
}
