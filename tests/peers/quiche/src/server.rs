//! The server: files by name.
use crate::{Args, DATAGRAM, MAX_BATCH, Failure, PORT, config, random_id, spare_ids};
use quiche::h3::NameValue;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// One connection.
struct Served {
    conn: quiche::Connection,
    h3: Option<quiche::h3::Connection>,
    requests: HashMap<u64, Vec<u8>>,
    answers: HashMap<u64, (Vec<u8>, usize)>,
}

struct Server<'a> {
    args: &'a Args,
    config: quiche::Config,
    socket: UdpSocket,
    local: SocketAddr,
    conns: HashMap<u64, Served>,
    ids: HashMap<Vec<u8>, u64>,
    next: u64,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let mut config = config(args, quiche::PROTOCOL_VERSION)?;
    config.load_cert_chain_from_pem_file(args.get("cert"))?;
    config.load_priv_key_from_pem_file(args.get("key"))?;
    let socket = UdpSocket::bind((args.get("bind").parse::<std::net::IpAddr>()?, PORT))?;
    let local = socket.local_addr()?;
    println!("ready");
    let mut server = Server { args, config, socket, local, conns: HashMap::new(), ids: HashMap::new(), next: 0 };
    let mut buffer = [0; 2048];
    loop {
        let wait = server.conns.values().filter_map(|s| s.conn.timeout()).min();
        let wait = wait.unwrap_or(Duration::from_millis(500)).clamp(Duration::from_millis(1), Duration::from_millis(500));
        server.socket.set_read_timeout(Some(wait))?;
        if let Ok((n, from)) = server.socket.recv_from(&mut buffer) {
            server.datagram(&mut buffer[..n], from)?;
        }
        let keys: Vec<u64> = server.conns.keys().copied().collect();
        for key in keys {
            server.serve(key)?;
        }
    }
}

impl Server<'_> {
    fn datagram(&mut self, bytes: &mut [u8], from: SocketAddr) -> Result<(), Failure> {
        let Ok(header) = quiche::Header::from_slice(bytes, 16) else { return Ok(()) };
        let key = match self.ids.get(header.dcid.as_ref()) {
            Some(key) => *key,
            None => match self.accept(&header, from)? {
                Some(key) => key,
                None => return Ok(()),
            },
        };
        if let Some(served) = self.conns.get_mut(&key) {
            let _ = served.conn.recv(bytes, quiche::RecvInfo { from, to: self.local });
        }
        Ok(())
    }

    fn accept(&mut self, header: &quiche::Header, from: SocketAddr) -> Result<Option<u64>, Failure> {
        let mut out = [0; DATAGRAM];
        if header.ty == quiche::Type::Short {
            return Ok(None);
        }
        // Before the type: other versions number their types otherwise (RFC 8999 section 5.1).
        if !quiche::version_is_supported(header.version) {
            let n = quiche::negotiate_version(&header.scid, &header.dcid, &mut out)?;
            self.socket.send_to(&out[..n], from)?;
            return Ok(None);
        }
        if header.ty != quiche::Type::Initial {
            return Ok(None);
        }
        let token = header.token.as_deref().unwrap_or_default();
        let mut id = random_id();
        let mut odcid = None;
        if self.args.case() == "retry" {
            // A token of a test: a mark, the client's port, the first connection ID.
            let mark = [b"grid".as_slice(), &from.port().to_be_bytes()].concat();
            let Some(first) = token.strip_prefix(mark.as_slice()) else {
                let token = [mark.as_slice(), header.dcid.as_ref()].concat();
                let n = quiche::retry(&header.scid, &header.dcid, &id, &token, header.version, &mut out)?;
                self.socket.send_to(&out[..n], from)?;
                return Ok(None);
            };
            odcid = Some(quiche::ConnectionId::from_vec(first.to_vec()));
            id = header.dcid.clone().into_owned();
        }
        let conn = quiche::accept(&id, odcid.as_ref(), self.local, from, &mut self.config)?;
        let key = self.next;
        self.next += 1;
        self.ids.insert(id.as_ref().to_vec(), key);
        // The client's own choice stays valid until it has heard ours.
        self.ids.insert(header.dcid.as_ref().to_vec(), key);
        self.conns.insert(key, Served { conn, h3: None, requests: HashMap::new(), answers: HashMap::new() });
        Ok(Some(key))
    }

    fn serve(&mut self, key: u64) -> Result<(), Failure> {
        let Some(served) = self.conns.get_mut(&key) else { return Ok(()) };
        if served.conn.timeout().is_some_and(|t| t.is_zero()) {
            served.conn.on_timeout();
        }
        if served.conn.is_established() || served.conn.is_in_early_data() {
            served.work(self.args)?;
        }
        if served.conn.is_established() {
            spare_ids(&mut served.conn, |id| {
                self.ids.insert(id.as_ref().to_vec(), key);
            });
        }
        let mut out = [0; DATAGRAM];
        for _ in 0..MAX_BATCH {
            let Ok((n, info)) = served.conn.send(&mut out) else { break };
            self.socket.send_to(&out[..n], info.to)?;
        }
        if served.conn.is_closed() {
            self.conns.remove(&key);
            self.ids.retain(|_, k| *k != key);
        }
        Ok(())
    }
}

impl Served {
    fn work(&mut self, args: &Args) -> Result<(), Failure> {
        if args.h3() {
            return self.work_h3(args);
        }
        let mut buffer = [0; 4096];
        for id in self.conn.readable() {
            while let Ok((n, fin)) = self.conn.stream_recv(id, &mut buffer) {
                let request = self.requests.entry(id).or_default();
                request.extend_from_slice(&buffer[..n]);
                if fin {
                    let line = String::from_utf8(self.requests.remove(&id).unwrap_or_default())?;
                    self.answers.insert(id, (file(args, line.split_whitespace().nth(1).unwrap_or_default())?, 0));
                    break;
                }
            }
        }
        let open: Vec<u64> = self.answers.keys().copied().collect();
        for id in open {
            let Some((body, at)) = self.answers.get_mut(&id) else { continue };
            match self.conn.stream_send(id, &body[*at..], true) {
                Ok(n) => *at += n,
                Err(quiche::Error::Done) => continue,
                Err(_) => *at = body.len(),
            }
            if *at == body.len() {
                self.answers.remove(&id);
            }
        }
        Ok(())
    }

    fn work_h3(&mut self, args: &Args) -> Result<(), Failure> {
        if self.h3.is_none() {
            let made = quiche::h3::Connection::with_transport(&mut self.conn, &quiche::h3::Config::new()?);
            self.h3 = Some(made?);
        }
        let Some(h3) = &mut self.h3 else { return Ok(()) };
        while let Ok((id, event)) = h3.poll(&mut self.conn) {
            if let quiche::h3::Event::Headers { list, .. } = event {
                let path = list.iter().find(|f| f.name() == b":path").map(|f| f.value().to_vec()).unwrap_or_default();
                let body = file(args, &String::from_utf8(path)?)?;
                let length = body.len().to_string();
                let fields = [
                    quiche::h3::Header::new(b":status", b"200"),
                    quiche::h3::Header::new(b"content-length", length.as_bytes()),
                ];
                h3.send_response(&mut self.conn, id, &fields, false)?;
                self.answers.insert(id, (body, 0));
            }
        }
        let open: Vec<u64> = self.answers.keys().copied().collect();
        for id in open {
            let Some((body, at)) = self.answers.get_mut(&id) else { continue };
            match h3.send_body(&mut self.conn, id, &body[*at..], true) {
                Ok(n) => *at += n,
                Err(quiche::h3::Error::Done) => continue,
                Err(_) => *at = body.len(),
            }
            if *at == body.len() {
                self.answers.remove(&id);
            }
        }
        Ok(())
    }
}

fn file(args: &Args, path: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(std::path::Path::new(args.get("www")).join(path.rsplit('/').next().unwrap_or_default()))
}
