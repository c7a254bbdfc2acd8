//! A socket with its connections: datagrams in, datagrams out, timers.
use crate::config;
use bench_core::udp::{RUN, SEGMENTS, Udp};
use bench_core::{Args, Error, Role};
use quiche::{Connection, ConnectionId, Header, RecvInfo};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const CID_LEN: usize = 16;
/// Receive calls between two looks at what the application has to do.
const RUNS: usize = 4;

/// What a stream still has to send, and what it got.
#[derive(Default)]
pub struct Stream {
    pub head: Vec<u8>,
    pub got: u64,
    pub left: u64,
    pub sending: bool,
    /// Its response's header had no room yet.
    pub blocked: bool,
    pub start: Option<Instant>,
}

pub struct Link {
    pub conn: Connection,
    pub http: Option<quiche::h3::Connection>,
    pub streams: HashMap<u64, Stream>,
    pub established: bool,
    pub start: Instant,
    /// The client's next bidirectional stream.
    pub next_stream: u64,
    timer: Option<Instant>,
    to: SocketAddr,
    id: Vec<u8>,
}

pub struct Node {
    udp: Udp,
    local: SocketAddr,
    config: quiche::Config,
    http: Option<quiche::h3::Config>,
    server: bool,
    pub links: HashMap<usize, Link>,
    by_id: HashMap<Vec<u8>, usize>,
    timers: BTreeSet<(Instant, usize)>,
    made: usize,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    payload: usize,
}

impl Node {
    pub fn new(args: &Args) -> Result<Node, Error> {
        let server = matches!(args.role, Role::Server);
        let udp = Udp::new(if server { args.server() } else { args.any() })?;
        Ok(Node {
            local: udp.local()?,
            udp,
            config: config(args)?,
            http: if args.h3 { Some(quiche::h3::Config::new()?) } else { None },
            server,
            links: HashMap::new(),
            by_id: HashMap::new(),
            timers: BTreeSet::new(),
            made: 0,
            inbound: vec![0; 1 << 16],
            outbound: vec![0; RUN],
            payload: args.payload.into(),
        })
    }

    fn next_id(&mut self) -> Vec<u8> {
        self.made += 1;
        // Unlike numbers in unlike bytes; the bench has no one who guesses.
        let mut id = vec![0; CID_LEN];
        id[..8].copy_from_slice(&(self.made as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        id[8..].copy_from_slice(&(self.made as u64).to_be_bytes());
        id
    }

    fn keep(&mut self, conn: Connection, to: SocketAddr, id: Vec<u8>) -> usize {
        let n = self.made;
        self.by_id.insert(id.clone(), n);
        let link = Link {
            conn,
            http: None,
            streams: HashMap::new(),
            established: false,
            start: Instant::now(),
            next_stream: 0,
            timer: None,
            to,
            id,
        };
        self.links.insert(n, link);
        n
    }

    /// A new connection of a client.
    pub fn dial(&mut self, to: SocketAddr, session: Option<&[u8]>) -> Result<usize, Error> {
        let id = self.next_id();
        let mut conn =
            quiche::connect(Some("localhost"), &ConnectionId::from_ref(&id), self.local, to, &mut self.config)?;
        if let Some(session) = session {
            conn.set_session(session)?;
        }
        let n = self.keep(conn, to, id);
        self.flush(n)?;
        Ok(n)
    }

    /// The connection that a packet is for; a server makes one for an unknown Initial packet.
    fn route(&mut self, at: usize, end: usize, from: SocketAddr) -> Result<Option<usize>, Error> {
        let Ok(head) = Header::from_slice(&mut self.inbound[at..end], CID_LEN) else { return Ok(None) };
        if let Some(n) = self.by_id.get(head.dcid.as_ref()) {
            return Ok(Some(*n));
        }
        if !self.server || head.ty != quiche::Type::Initial {
            return Ok(None);
        }
        let id = self.next_id();
        let conn = quiche::accept(&ConnectionId::from_ref(&id), None, self.local, from, &mut self.config)?;
        let n = self.keep(conn, from, id);
        // Until the client has our ID, it uses its own choice.
        self.by_id.insert(head.dcid.to_vec(), n);
        Ok(Some(n))
    }

    /// Waits for datagrams or a timer; the connections to which something happened.
    pub fn wait(&mut self, patience: Option<Duration>) -> Result<Vec<usize>, Error> {
        let mut touched = Vec::new();
        let timer = self.timers.first().map(|t| t.0.saturating_duration_since(Instant::now()));
        let timeout = match (timer, patience) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        for turn in 0..RUNS {
            let Some(run) = self.udp.receive(&mut self.inbound)? else {
                if turn == 0 {
                    self.udp.poll(timeout, false, false)?;
                    continue;
                }
                break;
            };
            let mut at = 0;
            while at < run.len {
                let end = (at + run.segment).min(run.len);
                if let Some(n) = self.route(at, end, run.from)?
                    && let Some(link) = self.links.get_mut(&n)
                {
                    // A packet that cannot be used is dropped by the connection.
                    let _ = link.conn.recv(&mut self.inbound[at..end], RecvInfo { from: run.from, to: self.local });
                    if touched.last() != Some(&n) {
                        touched.push(n);
                    }
                }
                at = end;
            }
        }
        let now = Instant::now();
        while let Some(&(at, n)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(link) = self.links.get_mut(&n) {
                link.timer = None;
                link.conn.on_timeout();
                touched.push(n);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for n in &touched {
            self.greet(*n)?;
        }
        Ok(touched)
    }

    /// Whether all connections can take requests.
    pub fn all_greeted(&self) -> bool {
        self.http.is_none() || self.links.values().all(|link| link.http.is_some())
    }

    /// HTTP/3 begins with the connection.
    fn greet(&mut self, n: usize) -> Result<(), Error> {
        if let (Some(config), Some(link)) = (&self.http, self.links.get_mut(&n))
            && link.http.is_none()
            && link.conn.is_established()
        {
            link.http = Some(quiche::h3::Connection::with_transport(&mut link.conn, config)?);
        }
        Ok(())
    }

    /// Sends what a connection has, in runs of equal datagrams; forgets it when it is closed.
    pub fn flush(&mut self, n: usize) -> Result<(), Error> {
        let Some(link) = self.links.get_mut(&n) else { return Ok(()) };
        let most = SEGMENTS.min(RUN / self.payload) * self.payload;
        let (mut len, mut segment, mut count) = (0, 0, 0);
        loop {
            let room = if segment == 0 { self.payload } else { segment };
            let wrote = if len + room > most || count == SEGMENTS {
                0
            } else {
                match link.conn.send(&mut self.outbound[len..len + room]) {
                    Ok((wrote, _)) => wrote,
                    Err(quiche::Error::Done) => 0,
                    Err(e) => return Err(e.into()),
                }
            };
            len += wrote;
            count += 1;
            if segment == 0 {
                segment = wrote;
            }
            if wrote == segment && wrote > 0 {
                continue;
            }
            if len == 0 {
                break;
            }
            while !self.udp.send(&self.outbound[..len], segment, link.to)? {
                self.udp.poll(None, true, false)?;
            }
            (len, segment, count) = (0, 0, 0);
        }
        let timer = link.conn.timeout_instant();
        if timer != link.timer {
            if let Some(old) = link.timer {
                self.timers.remove(&(old, n));
            }
            if let Some(new) = timer {
                self.timers.insert((new, n));
            }
            link.timer = timer;
        }
        if link.conn.is_closed() {
            let id = link.id.clone();
            if let Some(old) = link.timer {
                self.timers.remove(&(old, n));
            }
            self.links.remove(&n);
            self.by_id.remove(&id);
        }
        Ok(())
    }
}

/// Hands over as much of a stream's body as it takes, with FIN at its end.
pub fn push(
    conn: &mut Connection,
    http: Option<&mut quiche::h3::Connection>,
    id: u64,
    s: &mut Stream,
    block: &[u8],
) -> Result<(), Error> {
    let mut http = http;
    while s.sending {
        let n = s.left.min(block.len() as u64) as usize;
        let fin = n as u64 == s.left;
        let sent = match http.as_deref_mut() {
            Some(h3) => {
                h3.send_body(conn, id, &block[..n], fin).map_err(|e| (e == quiche::h3::Error::Done, Error::from(e)))
            }
            None => conn.stream_send(id, &block[..n], fin).map_err(|e| (e == quiche::Error::Done, Error::from(e))),
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err((true, _)) => return Ok(()),
            Err((false, e)) => return Err(e),
        };
        s.left -= sent as u64;
        if fin && sent == n {
            s.sending = false;
        } else if sent < n {
            return Ok(());
        }
    }
    Ok(())
}
