//! The client's work, in the loop of its one socket.
use crate::node::{Link, Node, Stream, push};
use bench_core::{Args, BLOCK, Error, Role, request, result, say, wait};
use quiche::h3::{Event, Header};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Handshakes under way at once when connections are only wanted.
const AT_ONCE: u64 = 50;

struct Run {
    node: Node,
    to: SocketAddr,
    up: u64,
    down: u64,
    block: Vec<u8>,
    sink: Vec<u8>,
    /// Streams to be started, streams or handshakes that have ended, connections to be opened.
    to_start: u64,
    times: Vec<Duration>,
    to_open: u64,
    open: Vec<usize>,
    churn: bool,
    resume: bool,
    session: Option<Vec<u8>>,
    resumed: u64,
    /// Streams that the connection had no room for yet.
    delayed: Vec<usize>,
}

impl Run {
    fn dial(&mut self) -> Result<(), Error> {
        let session = if self.resume { self.session.clone() } else { None };
        self.node.dial(self.to, session.as_deref()).map(drop)
    }

    fn start(&mut self, n: usize) -> Result<(), Error> {
        let link = self.node.links.get_mut(&n).ok_or("a connection is gone")?;
        let Link { conn, http, streams, next_stream, .. } = link;
        let mut stream =
            Stream { left: self.up, sending: self.up > 0, start: Some(Instant::now()), ..Stream::default() };
        let id = if let Some(h3) = http.as_mut() {
            let path = format!("/{}", self.down);
            let head = request(&path, self.up > 0).map(|(name, value)| Header::new(name, value));
            match h3.send_request(conn, &head, self.up == 0) {
                Ok(id) => id,
                Err(quiche::h3::Error::StreamBlocked) => return Ok(self.delayed.push(n)),
                Err(e) => return Err(e.into()),
            }
        } else {
            let id = *next_stream;
            match conn.stream_send(id, &self.down.to_be_bytes(), self.up == 0) {
                Ok(8) => *next_stream += 4,
                Ok(_) => return Err("a head was cut".into()),
                Err(quiche::Error::Done) => return Ok(self.delayed.push(n)),
                Err(e) => return Err(e.into()),
            }
            id
        };
        push(conn, http.as_mut(), id, &mut stream, &self.block)?;
        streams.insert(id, stream);
        Ok(())
    }

    /// What has come for one connection.
    fn look(&mut self, n: usize) -> Result<(), Error> {
        let Some(link) = self.node.links.get_mut(&n) else { return Ok(()) };
        if !link.established && link.conn.is_established() {
            link.established = true;
            self.connected(n)?;
        }
        let Some(link) = self.node.links.get_mut(&n) else { return Ok(()) };
        if link.conn.is_closed() && !self.churn {
            return Err(format!("a connection ended: {:?}", link.conn.peer_error()).into());
        }
        let mut over = Vec::new();
        let Link { conn, http, streams, .. } = link;
        if let Some(h3) = http.as_mut() {
            loop {
                match h3.poll(conn) {
                    Ok((id, Event::Data)) => {
                        while let Ok(got) = h3.recv_body(conn, id, &mut self.sink) {
                            streams.entry(id).or_default().got += got as u64;
                        }
                    }
                    Ok((id, Event::Finished)) => over.push(id),
                    Ok(_) => {}
                    Err(quiche::h3::Error::Done) => break,
                    Err(e) => return Err(e.into()),
                }
            }
        } else {
            while let Some(id) = conn.stream_readable_next() {
                while let Ok((got, fin)) = conn.stream_recv(id, &mut self.sink) {
                    streams.entry(id).or_default().got += got as u64;
                    if fin {
                        over.push(id);
                        break;
                    }
                }
            }
        }
        while let Some(id) = conn.stream_writable_next() {
            if let Some(stream) = streams.get_mut(&id) {
                push(conn, http.as_mut(), id, stream, &self.block)?;
            }
        }
        for id in over {
            self.ended(n, id)?;
        }
        for n in std::mem::take(&mut self.delayed) {
            self.start(n)?;
        }
        Ok(())
    }

    fn connected(&mut self, n: usize) -> Result<(), Error> {
        let link = self.node.links.get_mut(&n).ok_or("a connection is gone")?;
        let resumed = link.conn.is_resumed();
        if resumed && !self.resume {
            return Err("a handshake that should be full was resumed".into());
        }
        self.resumed += u64::from(resumed);
        if self.churn && self.resume {
            return self.start(n);
        }
        if self.churn {
            self.times.push(link.start.elapsed());
            link.conn.close(true, 0, b"")?;
        } else {
            self.open.push(n);
        }
        self.another()
    }

    fn another(&mut self) -> Result<(), Error> {
        if self.to_open > 0 {
            self.to_open -= 1;
            self.dial()?;
        }
        Ok(())
    }

    fn ended(&mut self, n: usize, id: u64) -> Result<(), Error> {
        let link = self.node.links.get_mut(&n).ok_or("a connection is gone")?;
        let stream = link.streams.remove(&id).ok_or("a stream ended twice")?;
        if stream.got != self.down {
            return Err(format!("{} bytes instead of {}", stream.got, self.down).into());
        }
        if let Some(session) = link.conn.session() {
            self.session = Some(session.to_vec());
        }
        if self.churn {
            self.times.push(link.start.elapsed());
            link.conn.close(true, 0, b"")?;
            return self.another();
        }
        self.times.push(stream.start.map_or(Duration::ZERO, |s| s.elapsed()));
        if self.to_start > 0 {
            self.to_start -= 1;
            self.start(n)?;
        }
        Ok(())
    }

    /// Runs the loop until enough has happened.
    fn until(&mut self, enough: impl Fn(&Run) -> bool) -> Result<(), Error> {
        while !enough(self) {
            for n in self.node.wait(Some(Duration::from_millis(100)))? {
                self.look(n)?;
                self.node.flush(n)?;
            }
        }
        Ok(())
    }

    fn open_to(&mut self, want: u64) -> Result<(), Error> {
        let more = want - self.open.len() as u64;
        self.to_open = more.saturating_sub(AT_ONCE);
        for _ in 0..more.min(AT_ONCE) {
            self.dial()?;
        }
        self.until(|r| r.open.len() as u64 == want && r.node.all_greeted())
    }

    fn exchange(&mut self, count: u64, together: u64) -> Result<(), Error> {
        self.to_start = count - together;
        for i in 0..together {
            let n = self.open[i as usize % self.open.len()];
            self.start(n)?;
        }
        for i in 0..self.open.len() {
            self.node.flush(self.open[i])?;
        }
        self.until(|r| r.times.len() as u64 == count)
    }
}

pub fn drive(args: &Args) -> Result<(), Error> {
    let (up, down) = match args.role {
        Role::Move { up, down, streams, conns } => (up / streams / conns, down / streams / conns),
        Role::Requests { size, .. } => (0, size),
        _ => (0, 1),
    };
    let mut run = Run {
        node: Node::new(args)?,
        to: args.server(),
        up,
        down,
        block: vec![0x5a; BLOCK],
        sink: vec![0; 256 << 10],
        to_start: 0,
        times: Vec::new(),
        to_open: 0,
        open: Vec::new(),
        churn: false,
        resume: false,
        session: None,
        resumed: 0,
        delayed: Vec::new(),
    };
    match args.role.clone() {
        Role::Move { streams, conns, .. } => {
            run.open_to(conns)?;
            say("ready");
            wait();
            let start = Instant::now();
            run.exchange(streams * conns, streams * conns)?;
            say(&result(start.elapsed(), Vec::new(), ""));
        }
        Role::Requests { count, concurrent, .. } => {
            run.open_to(1)?;
            say("ready");
            wait();
            let start = Instant::now();
            run.exchange(count, concurrent)?;
            say(&result(start.elapsed(), run.times, ""));
        }
        Role::Handshakes { count, kind, concurrent } => {
            run.open_to(1)?;
            run.exchange(1, 1)?;
            run.times.clear();
            (run.churn, run.resume) = (true, kind == "resumed");
            say("ready");
            wait();
            let start = Instant::now();
            run.to_open = count - concurrent;
            for _ in 0..concurrent {
                run.dial()?;
            }
            run.until(|r| r.times.len() as u64 == count)?;
            let more = format!(", \"resumed\": {}", run.resumed);
            say(&result(start.elapsed(), run.times, &more));
        }
        Role::Grow { steps } => {
            say("ready");
            for step in steps {
                wait();
                let start = Instant::now();
                run.open_to(step)?;
                say(&result(start.elapsed(), Vec::new(), ""));
            }
        }
        Role::Server => unreachable!("the server is started elsewhere"),
    }
    wait();
    Ok(())
}
