//! The server: answers each stream when its end has come.
use crate::node::{Link, Node, Stream, push};
use bench_core::{Args, BLOCK, Error, say};
use quiche::Connection;
use quiche::h3::{Event, Header, NameValue};

pub fn serve(args: &Args) -> Result<(), Error> {
    let mut node = Node::new(args)?;
    let (block, mut sink) = (vec![0x5a; BLOCK], vec![0; 256 << 10]);
    say("ready");
    loop {
        for n in node.wait(None)? {
            let Some(link) = node.links.get_mut(&n) else { continue };
            let work = if link.http.is_some() { http } else { raw };
            if let Err(e) = work(link, &block, &mut sink) {
                eprintln!("a connection was closed: {e}");
                // A client that has gone away or is of no use ends its connection, not the server.
                let _ = link.conn.close(true, 1, b"");
            }
            node.flush(n)?;
        }
    }
}

fn raw(link: &mut Link, block: &[u8], sink: &mut [u8]) -> Result<(), Error> {
    while let Some(id) = link.conn.stream_readable_next() {
        let stream = link.streams.entry(id).or_default();
        while let Ok((n, fin)) = link.conn.stream_recv(id, sink) {
            let missing = 8 - stream.head.len();
            stream.head.extend_from_slice(&sink[..n.min(missing)]);
            if fin {
                stream.left = u64::from_be_bytes(stream.head.as_slice().try_into()?);
                stream.sending = true;
                push(&mut link.conn, None, id, stream, block)?;
                break;
            }
        }
    }
    continue_sending(link, block)
}

/// The response's header, then as much of its body as there is room for.
fn respond(
    conn: &mut Connection,
    h3: &mut quiche::h3::Connection,
    id: u64,
    s: &mut Stream,
    block: &[u8],
) -> Result<(), Error> {
    let length = s.left.to_string();
    let head = [Header::new(b":status", b"200"), Header::new(b"content-length", length.as_bytes())];
    match h3.send_response(conn, id, &head, false) {
        Ok(()) => (s.blocked, s.sending) = (false, true),
        Err(quiche::h3::Error::StreamBlocked) => s.blocked = true,
        Err(e) => return Err(e.into()),
    }
    push(conn, Some(h3), id, s, block)
}

/// Streams that are writable again; those that are done are forgotten.
fn continue_sending(link: &mut Link, block: &[u8]) -> Result<(), Error> {
    let Link { conn, http, streams, .. } = link;
    while let Some(id) = conn.stream_writable_next() {
        match (streams.get_mut(&id), http.as_mut()) {
            (Some(stream), Some(h3)) if stream.blocked => respond(conn, h3, id, stream, block)?,
            (Some(stream), http) => push(conn, http, id, stream, block)?,
            _ => {}
        }
    }
    streams.retain(|id, s| s.sending || s.blocked || !conn.stream_finished(*id));
    Ok(())
}

fn http(link: &mut Link, block: &[u8], sink: &mut [u8]) -> Result<(), Error> {
    let Link { conn, http: Some(h3), streams, .. } = link else { return Ok(()) };
    loop {
        match h3.poll(conn) {
            Ok((id, Event::Headers { list, .. })) => {
                let path = list.iter().find(|h| h.name() == b":path").ok_or("no path")?;
                let left = std::str::from_utf8(path.value())?.trim_start_matches('/').parse()?;
                streams.insert(id, Stream { left, ..Stream::default() });
            }
            Ok((id, Event::Data)) => while h3.recv_body(conn, id, sink).is_ok() {},
            Ok((id, Event::Finished)) => {
                let Some(stream) = streams.get_mut(&id) else { continue };
                respond(conn, h3, id, stream, block)?;
            }
            Ok(_) => {}
            Err(quiche::h3::Error::Done) => break,
            Err(e) => return Err(e.into()),
        }
    }
    continue_sending(link, block)
}
