//! The client: fetches the paths of a file and stores them.
use crate::{Args, DATAGRAM, MAX_BATCH, Failure, PORT, config, random_id, spare_ids};
use quiche::h3::NameValue;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// RFC 9000 section 15: a version that nobody speaks.
const UNKNOWN_VERSION: u32 = 0x1a2a_3a4a;
/// Bytes after which the connection moves.
const MOVE_AFTER: usize = 100_000;

struct Fetch<'a> {
    args: &'a Args,
    remote: SocketAddr,
    sockets: Vec<UdpSocket>,
    waiting: Vec<String>,
    streams: HashMap<u64, (String, Vec<u8>)>,
    left: usize,
    received: usize,
    h3: Option<quiche::h3::Connection>,
    moved: bool,
}

/// A socket on the address from which the remote one is reached.
fn socket(remote: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = if remote.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }.parse().expect("an address");
    let probe = UdpSocket::bind(any)?;
    probe.connect(remote)?;
    let socket = UdpSocket::bind((probe.local_addr()?.ip(), 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(2)))?;
    Ok(socket)
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let paths: Vec<String> =
        std::fs::read_to_string(args.get("paths"))?.split_whitespace().map(str::to_owned).collect();
    match args.case() {
        "multiconnect" | "handshakeloss" | "handshakecorruption" => {
            for path in paths {
                fetch(args, vec![path], None, Duration::ZERO)?;
            }
        }
        "resumption" | "zerortt" => {
            let session = fetch(args, paths[..1].to_vec(), None, Duration::from_millis(500))?;
            fetch(args, paths[1..].to_vec(), Some(session.ok_or("no ticket came")?), Duration::ZERO)?;
        }
        _ => {
            fetch(args, paths, None, Duration::ZERO)?;
        }
    }
    Ok(())
}

/// One connection. Gives the session for the next one.
fn fetch(args: &Args, paths: Vec<String>, session: Option<Vec<u8>>, settle: Duration) -> Result<Option<Vec<u8>>, Failure> {
    let version = if args.case() == "versionnegotiation" { UNKNOWN_VERSION } else { quiche::PROTOCOL_VERSION };
    let mut c = config(args, version)?;
    c.verify_peer(true);
    c.load_verify_locations_from_file(args.get("ca"))?;
    let remote: SocketAddr = (args.get("host").parse::<std::net::IpAddr>()?, PORT).into();
    let first = socket(remote)?;
    let mut conn = quiche::connect(Some("localhost"), &random_id(), first.local_addr()?, remote, &mut c)?;
    let resumed = session.is_some();
    if let Some(session) = session {
        conn.set_session(&session)?;
    }
    let left = paths.len();
    let mut f = Fetch {
        args,
        remote,
        sockets: vec![first],
        waiting: paths,
        streams: HashMap::new(),
        left,
        received: 0,
        h3: None,
        moved: false,
    };
    f.waiting.reverse();
    f.flush(&mut conn)?;
    let mut over: Option<Instant> = None;
    while !conn.is_closed() {
        f.receive(&mut conn)?;
        if conn.is_established() || conn.is_in_early_data() {
            f.ask(&mut conn)?;
            f.collect(&mut conn)?;
        }
        if conn.is_established() {
            spare_ids(&mut conn, |_| {});
            f.migrate(&mut conn)?;
        }
        if f.left == 0 && conn.is_established() && over.is_none() {
            over = Some(Instant::now() + settle);
        }
        if over.is_some_and(|t| Instant::now() >= t) {
            let _ = conn.close(true, if args.h3() { 0x100 } else { 0 }, b"");
            f.flush(&mut conn)?;
            break;
        }
        f.flush(&mut conn)?;
    }
    if f.left > 0 {
        return Err(format!("{} left: {:?} {:?}", f.left, conn.local_error(), conn.peer_error()).into());
    }
    if resumed && !conn.is_resumed() {
        return Err("the session was not resumed".into());
    }
    Ok(conn.session().map(<[u8]>::to_vec))
}

impl Fetch<'_> {
    fn receive(&mut self, conn: &mut quiche::Connection) -> Result<(), Failure> {
        let mut buffer = [0; 2048];
        for socket in &self.sockets {
            let to = socket.local_addr()?;
            // A few of each, so that a busy socket does not starve the other.
            for _ in 0..MAX_BATCH / 4 {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else { break };
                let _ = conn.recv(&mut buffer[..n], quiche::RecvInfo { from, to });
                self.flush(conn)?;
            }
        }
        if conn.timeout().is_some_and(|t| t.is_zero()) {
            conn.on_timeout();
        }
        Ok(())
    }

    fn flush(&self, conn: &mut quiche::Connection) -> Result<(), Failure> {
        let mut out = [0; DATAGRAM];
        for _ in 0..MAX_BATCH {
            match conn.send(&mut out) {
                Ok((n, info)) => {
                    let socket = self.sockets.iter().find(|s| s.local_addr().ok() == Some(info.from));
                    socket.ok_or("no such socket")?.send_to(&out[..n], info.to)?;
                }
                Err(quiche::Error::Done) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Sends the requests for which there is credit.
    fn ask(&mut self, conn: &mut quiche::Connection) -> Result<(), Failure> {
        if self.args.h3() && self.h3.is_none() {
            self.h3 = Some(quiche::h3::Connection::with_transport(conn, &quiche::h3::Config::new()?)?);
        }
        while let Some(path) = self.waiting.last() {
            if conn.peer_streams_left_bidi() == 0 {
                return Ok(());
            }
            let id = if let Some(h3) = &mut self.h3 {
                let fields: Vec<_> = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
                    .iter()
                    .map(|(n, v)| quiche::h3::Header::new(n.as_bytes(), v.as_bytes()))
                    .collect();
                match h3.send_request(conn, &fields, true) {
                    Ok(id) => id,
                    Err(quiche::h3::Error::StreamBlocked) => return Ok(()),
                    Err(e) => return Err(e.into()),
                }
            } else {
                let id = self.streams.len() as u64 * 4;
                let line = format!("GET {path}\r\n");
                match conn.stream_send(id, line.as_bytes(), true) {
                    Ok(n) if n == line.len() => id,
                    Err(quiche::Error::StreamLimit | quiche::Error::Done) => return Ok(()),
                    other => return Err(format!("request: {other:?}").into()),
                }
            };
            let path = self.waiting.pop().unwrap_or_default();
            self.streams.insert(id, (path, Vec::new()));
        }
        Ok(())
    }

    fn collect(&mut self, conn: &mut quiche::Connection) -> Result<(), Failure> {
        let mut buffer = vec![0; 65_536];
        if let Some(mut h3) = self.h3.take() {
            loop {
                match h3.poll(conn) {
                    Ok((_, quiche::h3::Event::Headers { list, .. })) => {
                        if !list.iter().any(|f| f.name() == b":status" && f.value() == b"200") {
                            return Err(format!("{list:?}").into());
                        }
                    }
                    Ok((id, quiche::h3::Event::Data)) => {
                        while let Ok(n) = h3.recv_body(conn, id, &mut buffer) {
                            self.take(id, &buffer[..n]);
                        }
                    }
                    Ok((id, quiche::h3::Event::Finished)) => self.store(id)?,
                    Ok((id, quiche::h3::Event::Reset(code))) => return Err(format!("stream {id}: reset {code}").into()),
                    Ok(_) => {}
                    Err(quiche::h3::Error::Done) => break,
                    Err(e) => return Err(e.into()),
                }
            }
            self.h3 = Some(h3);
            return Ok(());
        }
        for id in conn.readable() {
            loop {
                match conn.stream_recv(id, &mut buffer) {
                    Ok((n, fin)) => {
                        self.take(id, &buffer[..n]);
                        if fin {
                            self.store(id)?;
                            break;
                        }
                    }
                    Err(quiche::Error::Done) => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, id: u64, data: &[u8]) {
        self.received += data.len();
        if let Some((_, body)) = self.streams.get_mut(&id) {
            body.extend_from_slice(data);
        }
    }

    fn store(&mut self, id: u64) -> Result<(), Failure> {
        let (path, body) = self.streams.get_mut(&id).ok_or("an answer to nothing")?;
        let name = path.rsplit('/').next().unwrap_or_default();
        std::fs::write(std::path::Path::new(self.args.get("out")).join(name), std::mem::take(body))?;
        self.left -= 1;
        Ok(())
    }

    /// A new socket is probed, and used once its path is validated (RFC 9000 section 9).
    fn migrate(&mut self, conn: &mut quiche::Connection) -> Result<(), Failure> {
        if self.args.case() != "clientmigration" {
            return Ok(());
        }
        if !self.moved && self.received > MOVE_AFTER && conn.available_dcids() > 0 {
            let fresh = socket(self.remote)?;
            conn.probe_path(fresh.local_addr()?, self.remote)?;
            self.sockets.push(fresh);
            self.moved = true;
        }
        while let Some(event) = conn.path_event_next() {
            if let quiche::PathEvent::Validated(local, remote) = event {
                conn.migrate(local, remote)?;
            }
        }
        Ok(())
    }
}
