//! The server: answers each stream when its end has come.
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
                return push(conn, id, stream, &self.block);
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
    fn on_conn_established(&mut self, _: &mut Connection) {}
    fn on_conn_closed(&mut self, conn: &mut Connection) {
        let gone = conn.index().unwrap_or(0);
        self.streams.retain(|(n, _), _| *n != gone);
    }
    fn on_stream_created(&mut self, _: &mut Connection, _: u64) {}
    fn on_stream_readable(&mut self, conn: &mut Connection, id: u64) {
        let done = self.read(conn, id);
        check(conn, done);
    }
    fn on_stream_writable(&mut self, conn: &mut Connection, id: u64) {
        if let Some(stream) = self.streams.get_mut(&(conn.index().unwrap_or(0), id)) {
            let done = push(conn, id, stream, &self.block);
            check(conn, done);
        }
    }
    fn on_stream_closed(&mut self, conn: &mut Connection, id: u64) {
        self.streams.remove(&(conn.index().unwrap_or(0), id));
    }
    fn on_new_token(&mut self, _: &mut Connection, _: Vec<u8>) {}
}

pub fn serve(args: &Args) -> Result<(), Error> {
    let server = Server { streams: HashMap::new(), block: vec![0x5a; BLOCK].into(), sink: vec![0; 256 << 10] };
    let mut node = Node::new(args, Box::new(server))?;
    say("ready");
    loop {
        node.turn(None)?;
    }
}
