//! The client's work: events of the connections change its state, the loop around tquic's endpoint looks whether it is done.
use crate::http::{Heard, Http};
use crate::node::{Node, Stream, push};
use bench_core::{Args, BLOCK, Error, Role, result, say, wait};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tquic::h3::Http3Error;
use tquic::{Connection, TransportHandler};

/// Handshakes under way at once when connections are only wanted.
const AT_ONCE: u64 = 50;

#[derive(Default)]
struct Work {
    /// By connection and stream.
    streams: HashMap<(u64, u64), Stream>,
    begun: HashMap<u64, Instant>,
    block: Bytes,
    sink: Vec<u8>,
    http: Option<Http>,
    heard: Vec<Heard>,
    up: u64,
    down: u64,
    /// Streams to be started, times of what has ended, connections that may be opened after one more.
    to_start: u64,
    times: Vec<Duration>,
    to_open: u64,
    /// Connections on which a request waits until the server lets more streams begin.
    delayed: Vec<u64>,
    /// Connections that the loop has to open now.
    dials: u64,
    open: Vec<u64>,
    churn: bool,
    resume: bool,
    session: Option<Vec<u8>>,
    resumed: u64,
    fault: Option<Error>,
}

impl Work {
    fn start(&mut self, conn: &mut Connection) -> Result<(), Error> {
        let n = conn.index().unwrap_or(0);
        let mut stream = Stream { left: self.up, start: Some(Instant::now()), ..Stream::default() };
        let id = if let Some(http) = &mut self.http {
            stream.sending = self.up > 0;
            let id = match http.ask(conn, self.down, self.up > 0) {
                Ok(id) => id,
                Err(e) if is_limit(&e) => return Ok(self.delayed.push(n)),
                Err(e) => return Err(e),
            };
            push(conn, Some(http.of(conn)?), id, &mut stream, &self.block)?;
            id
        } else {
            stream.number = Bytes::copy_from_slice(&self.down.to_be_bytes());
            let id = match conn.stream_bidi_new(0, true) {
                Ok(id) => id,
                Err(tquic::Error::StreamLimitError) => return Ok(self.delayed.push(n)),
                Err(e) => return Err(e.into()),
            };
            push(conn, None, id, &mut stream, &self.block)?;
            id
        };
        self.streams.insert((n, id), stream);
        Ok(())
    }

    fn another(&mut self) {
        if self.to_open > 0 {
            self.to_open -= 1;
            self.dials += 1;
        }
    }

    fn connected(&mut self, conn: &mut Connection) -> Result<(), Error> {
        if conn.is_resumed() && !self.resume {
            return Err("a handshake that should be full was resumed".into());
        }
        self.resumed += u64::from(conn.is_resumed());
        if let Some(http) = &mut self.http {
            http.begin(conn)?;
        }
        if self.churn && self.resume {
            return self.start(conn);
        }
        let n = conn.index().unwrap_or(0);
        if self.churn {
            self.times.push(self.begun.remove(&n).map_or(Duration::ZERO, |t| t.elapsed()));
            conn.close(true, 0, b"")?;
        } else {
            self.open.push(n);
        }
        self.another();
        Ok(())
    }

    fn read(&mut self, conn: &mut Connection, id: u64) -> Result<(), Error> {
        let n = conn.index().unwrap_or(0);
        let stream = self.streams.get_mut(&(n, id)).ok_or("a stream ended twice")?;
        let mut over = false;
        while let Ok((got, fin)) = conn.stream_read(id, &mut self.sink) {
            stream.got += got as u64;
            if fin {
                over = true;
                break;
            }
        }
        if over { self.ended(conn, id) } else { Ok(()) }
    }

    fn hear(&mut self, conn: &mut Connection) -> Result<(), Error> {
        let Some(http) = &mut self.http else { return Ok(()) };
        let n = conn.index().unwrap_or(0);
        let mut all = std::mem::take(&mut self.heard);
        http.hear(conn, &mut self.sink, &mut all)?;
        for heard in all.drain(..) {
            self.streams.get_mut(&(n, heard.id)).ok_or("a stream ended twice")?.got += heard.got;
            if heard.over {
                self.ended(conn, heard.id)?;
            }
        }
        self.heard = all;
        Ok(())
    }

    /// A stream's answer is there.
    fn ended(&mut self, conn: &mut Connection, id: u64) -> Result<(), Error> {
        let n = conn.index().unwrap_or(0);
        let stream = self.streams.get_mut(&(n, id)).ok_or("a stream ended twice")?;
        if stream.got != self.down {
            return Err(format!("{} bytes instead of {}", stream.got, self.down).into());
        }
        let start = stream.start;
        self.streams.remove(&(n, id));
        if let Some(session) = conn.session() {
            self.session = Some(session.to_vec());
        }
        if self.churn {
            self.times.push(self.begun.remove(&n).map_or(Duration::ZERO, |t| t.elapsed()));
            conn.close(true, 0, b"")?;
            self.another();
            return Ok(());
        }
        self.times.push(start.map_or(Duration::ZERO, |t| t.elapsed()));
        if self.to_start > 0 {
            self.to_start -= 1;
            self.start(conn)?;
        }
        Ok(())
    }

    fn keep(&mut self, done: Result<(), Error>) {
        if let Err(e) = done {
            self.fault.get_or_insert(e);
        }
    }
}

fn is_limit(e: &Error) -> bool {
    matches!(e.downcast_ref(), Some(Http3Error::TransportError(tquic::Error::StreamLimitError)))
}

/// What tquic calls; the loop has the other end.
struct Handler(Rc<RefCell<Work>>);

impl TransportHandler for Handler {
    fn on_conn_created(&mut self, conn: &mut Connection) {
        self.0.borrow_mut().begun.insert(conn.index().unwrap_or(0), Instant::now());
    }
    fn on_conn_established(&mut self, conn: &mut Connection) {
        let mut work = self.0.borrow_mut();
        let done = work.connected(conn);
        work.keep(done);
    }
    fn on_conn_closed(&mut self, conn: &mut Connection) {
        let mut work = self.0.borrow_mut();
        if let Some(http) = &mut work.http {
            http.end(conn);
        }
        if !work.churn {
            let error = format!("a connection ended: {:?}", conn.peer_error());
            work.keep(Err(error.into()));
        }
    }
    fn on_stream_created(&mut self, _: &mut Connection, _: u64) {}
    fn on_stream_readable(&mut self, conn: &mut Connection, id: u64) {
        let mut work = self.0.borrow_mut();
        let done = if work.http.is_some() { work.hear(conn) } else { work.read(conn, id) };
        work.keep(done);
    }
    fn on_stream_writable(&mut self, conn: &mut Connection, id: u64) {
        let work = &mut *self.0.borrow_mut();
        if let Some(stream) = work.streams.get_mut(&(conn.index().unwrap_or(0), id)) {
            let http = work.http.as_mut().and_then(|http| http.of(conn).ok());
            let done = push(conn, http, id, stream, &work.block);
            work.keep(done);
        }
    }
    fn on_stream_closed(&mut self, conn: &mut Connection, id: u64) {
        if let Some(http) = &mut self.0.borrow_mut().http {
            http.forget(conn, id);
        }
    }
    fn on_new_token(&mut self, _: &mut Connection, _: Vec<u8>) {}
}

struct Run {
    node: Node,
    work: Rc<RefCell<Work>>,
    to: SocketAddr,
}

impl Run {
    /// Runs the loop until enough has happened.
    fn until(&mut self, enough: impl Fn(&Work) -> bool) -> Result<(), Error> {
        loop {
            let (dials, session) = {
                let mut work = self.work.borrow_mut();
                if let Some(fault) = work.fault.take() {
                    return Err(fault);
                }
                if enough(&work) {
                    return Ok(());
                }
                (std::mem::take(&mut work.dials), work.session.clone().filter(|_| work.resume))
            };
            for _ in 0..dials {
                self.node.dial(self.to, session.as_deref())?;
            }
            self.node.turn(Some(Duration::from_millis(100)))?;
            let delayed = std::mem::take(&mut self.work.borrow_mut().delayed);
            for n in delayed {
                let conn = self.node.endpoint.conn_get_mut(n).ok_or("a connection is gone")?;
                self.work.borrow_mut().start(conn)?;
            }
        }
    }

    /// Opens connections, so many at a time.
    fn open(&mut self, count: u64, at_once: u64) {
        let mut work = self.work.borrow_mut();
        (work.dials, work.to_open) = (count.min(at_once), count.saturating_sub(at_once));
    }

    fn open_to(&mut self, want: u64) -> Result<(), Error> {
        let more = want - self.work.borrow().open.len() as u64;
        self.open(more, AT_ONCE);
        self.until(|w| w.open.len() as u64 == want)
    }

    fn exchange(&mut self, count: u64, together: u64) -> Result<(), Error> {
        let open = {
            let mut work = self.work.borrow_mut();
            work.to_start = count - together;
            work.open.clone()
        };
        for i in 0..together {
            let conn = self.node.endpoint.conn_get_mut(open[i as usize % open.len()]).ok_or("a connection is gone")?;
            self.work.borrow_mut().start(conn)?;
        }
        self.until(|w| w.times.len() as u64 == count)
    }

    fn times(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.work.borrow_mut().times)
    }
}

pub fn drive(args: &Args) -> Result<(), Error> {
    let (up, down) = match args.role {
        Role::Move { up, down, streams, conns } => (up / streams / conns, down / streams / conns),
        Role::Requests { size, .. } => (0, size),
        _ => (0, 1),
    };
    let http = args.h3.then(Http::new).transpose()?;
    let (block, sink) = (vec![0x5a; BLOCK].into(), vec![0; 256 << 10]);
    let work = Work { up, down, block, sink, http, ..Work::default() };
    let work = Rc::new(RefCell::new(work));
    let node = Node::new(args, Box::new(Handler(Rc::clone(&work))))?;
    let mut run = Run { node, work, to: args.server() };
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
            say(&result(start.elapsed(), run.times(), ""));
        }
        Role::Handshakes { count, kind, concurrent } => {
            run.open_to(1)?;
            run.exchange(1, 1)?;
            run.times();
            {
                let mut work = run.work.borrow_mut();
                (work.churn, work.resume) = (true, kind == "resumed");
            }
            say("ready");
            wait();
            let start = Instant::now();
            run.open(count, concurrent);
            run.until(|w| w.times.len() as u64 == count)?;
            let more = format!(", \"resumed\": {}", run.work.borrow().resumed);
            say(&result(start.elapsed(), run.times(), &more));
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
