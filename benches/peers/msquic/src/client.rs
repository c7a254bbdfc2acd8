//! The client's work: events on msquic's worker start what comes next, the main thread begins and waits.
use crate::{Outgoing, configuration, open};
use bench_core::{Args, Error, Role, result, say, wait};
use msquic::{
    Addr, BufferRef, Configuration, Connection, ConnectionEvent, ConnectionRef, ConnectionShutdownFlags,
    CredentialConfig, Registration, SendFlags, Status, Stream, StreamEvent, StreamOpenFlags, StreamRef,
    StreamStartFlags, ffi,
};
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by the main thread and all callbacks.
struct Run {
    registration: Registration,
    config: Configuration,
    to: SocketAddr,
    up: u64,
    down: u64,
    state: Mutex<State>,
    tell: Sender<Tell>,
}

/// What callbacks tell the main thread.
enum Tell {
    Done,
    Failed(String),
    /// There is a ticket to resume with.
    Ticket,
    /// Another connection is to be opened: on the worker, setting its parameters would wait for the worker for ever.
    Dial,
}

#[derive(Default)]
struct State {
    to_start: u64,
    to_finish: u64,
    times: Vec<Duration>,
    /// Connections are closed as soon as they are there, or resumed ones as soon as their request is answered.
    churn: bool,
    resume: bool,
    ticket: Option<Vec<u8>>,
    resumed: u64,
    conns: Vec<Arc<Connection>>,
}

fn fail(run: &Run, text: String) {
    let _ = run.tell.send(Tell::Failed(text));
}

fn lock(run: &Run) -> MutexGuard<'_, State> {
    run.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One more operation is over; whether another is to be started. The last one wakes the main thread.
fn next(run: &Run, start: Instant) -> bool {
    let mut state = lock(run);
    state.times.push(start.elapsed());
    state.to_finish -= 1;
    if state.to_finish == 0 {
        let _ = run.tell.send(Tell::Done);
    }
    let more = state.to_start > 0;
    state.to_start -= u64::from(more);
    more
}

fn start_stream(run: &Arc<Run>, conn: &Arc<Connection>) -> Result<(), Status> {
    let (shared, to, start) = (run.clone(), conn.clone(), Instant::now());
    exchange(run, conn, move || {
        if next(&shared, start) {
            start_stream(&shared, &to)?;
        }
        Ok(())
    })
}

/// One stream with its question; `over` hears that the answer is there.
fn exchange(run: &Arc<Run>, conn: &Connection, over: impl Fn() -> Result<(), Status> + 'static) -> Result<(), Status> {
    let head: &'static [u8] = run.down.to_be_bytes().to_vec().leak();
    let ask: &'static [BufferRef; 1] = Box::leak(Box::new([BufferRef::from(head)]));
    let shared = run.clone();
    let (mut got, mut out) = (0, Outgoing::new(run.up));
    let handler = move |stream: StreamRef, ev: StreamEvent| {
        match ev {
            StreamEvent::Receive { total_buffer_length, .. } => got += *total_buffer_length,
            StreamEvent::PeerSendShutdown => {
                if got != shared.down {
                    fail(&shared, format!("{got} bytes instead of {}", shared.down));
                } else {
                    over()?;
                }
            }
            StreamEvent::PeerSendAborted { .. } => fail(&shared, "the peer ended a stream early".into()),
            // SAFETY: the last event of the stream; nobody else closes it.
            StreamEvent::ShutdownComplete { .. } => drop(unsafe { Stream::from_raw(stream.as_raw()) }),
            ev => out.event(&stream, &ev)?,
        }
        Ok(())
    };
    let stream = Stream::open(conn, StreamOpenFlags::NONE, handler)?;
    stream.start(StreamStartFlags::NONE)?;
    let flags = if run.up == 0 { SendFlags::FIN } else { SendFlags::NONE };
    // SAFETY: the bytes live for ever. The context 0 does not count as under way; its completion begins the body.
    unsafe { stream.send(ask, flags, std::ptr::null())? };
    // SAFETY: the handle is closed by the handler's last event.
    let _ = unsafe { stream.into_raw() };
    Ok(())
}

/// The one request of a resumed connection, which ends with it.
fn request(run: &Arc<Run>, conn: &ConnectionRef, start: Instant) -> Result<(), Status> {
    let shared = run.clone();
    // SAFETY: the handle lives until the connection's last event, which comes after those of its streams; this copy is never closed.
    let same = ManuallyDrop::new(unsafe { Connection::from_raw(conn.as_raw()) });
    exchange(run, conn, move || {
        same.shutdown(ConnectionShutdownFlags::NONE, 0);
        if next(&shared, start) {
            let _ = shared.tell.send(Tell::Dial);
        }
        Ok(())
    })
}

fn dial(run: &Arc<Run>) -> Result<(), Status> {
    let (shared, start) = (run.clone(), Instant::now());
    let handler = move |conn: ConnectionRef, ev: ConnectionEvent| {
        match ev {
            ConnectionEvent::Connected { session_resumed, .. } => {
                let (churn, resume) = {
                    let mut state = lock(&shared);
                    state.resumed += u64::from(session_resumed);
                    (state.churn, state.churn && state.resume)
                };
                if session_resumed && !resume {
                    fail(&shared, "a handshake that should be full was resumed".into());
                }
                if resume {
                    request(&shared, &conn, start)?;
                    return Ok(());
                }
                if churn {
                    conn.shutdown(ConnectionShutdownFlags::NONE, 0);
                }
                if next(&shared, start) {
                    let _ = shared.tell.send(Tell::Dial);
                }
            }
            ConnectionEvent::ResumptionTicketReceived { resumption_ticket } => {
                lock(&shared).ticket = Some(resumption_ticket.to_vec());
                let _ = shared.tell.send(Tell::Ticket);
            }
            ConnectionEvent::ShutdownInitiatedByTransport { status, .. } => {
                fail(&shared, format!("a connection ended: {status}"))
            }
            ConnectionEvent::ShutdownComplete { .. } if lock(&shared).churn => {
                // SAFETY: the last event of a connection that nobody else holds.
                drop(unsafe { Connection::from_raw(conn.as_raw()) });
            }
            _ => {}
        }
        Ok(())
    };
    let conn = Connection::open(&run.registration, handler)?;
    // All connections share one socket, as other peers' do.
    // SAFETY: a byte, an address and a ticket that outlive the calls, as the parameters want.
    unsafe {
        let on = 1u8;
        msquic::Api::set_param(conn.as_raw(), ffi::QUIC_PARAM_CONN_SHARE_UDP_BINDING, 1, (&raw const on).cast())?;
        let to = Addr::from(run.to);
        let len = size_of::<Addr>() as u32;
        msquic::Api::set_param(conn.as_raw(), ffi::QUIC_PARAM_CONN_REMOTE_ADDRESS, len, (&raw const to).cast())?;
        let ticket = {
            let state = lock(run);
            state.ticket.clone().filter(|_| state.resume)
        };
        if let Some(ticket) = ticket {
            let len = ticket.len() as u32;
            msquic::Api::set_param(conn.as_raw(), ffi::QUIC_PARAM_CONN_RESUMPTION_TICKET, len, ticket.as_ptr().cast())?;
        }
    }
    conn.start(&run.config, "localhost", run.to.port())?;
    let mut state = lock(run);
    if state.churn {
        // SAFETY: closed by the handler's last event.
        let _ = unsafe { conn.into_raw() };
    } else {
        state.conns.push(Arc::new(conn));
    }
    Ok(())
}

/// `count` operations, `together` at a time, begun by `start`; returns when all are done.
fn work(
    run: &Arc<Run>,
    done: &Receiver<Tell>,
    count: u64,
    together: u64,
    start: impl Fn(u64) -> Result<(), Status>,
) -> Result<Vec<Duration>, Error> {
    let together = together.min(count);
    {
        let mut state = lock(run);
        (state.to_start, state.to_finish) = (count - together, count);
        state.times = Vec::with_capacity(count as usize);
    }
    for i in 0..together {
        start(i)?;
    }
    loop {
        match done.recv()? {
            Tell::Done => return Ok(std::mem::take(&mut lock(run).times)),
            Tell::Failed(text) => return Err(text.into()),
            Tell::Dial => dial(run)?,
            Tell::Ticket => {}
        }
    }
}

pub fn drive(args: &Args) -> Result<(), Error> {
    let registration = open()?;
    let config = configuration(args, &registration)?;
    config.load_credential(&CredentialConfig::new_client().set_ca_certificate_file(args.path("ca.pem")))?;
    let (up, down) = match args.role {
        Role::Move { up, down, streams, conns } => (up / streams / conns, down / streams / conns),
        Role::Requests { size, .. } => (0, size),
        _ => (0, 1),
    };
    let (tell, done) = channel();
    let run = Arc::new(Run { registration, config, to: args.server(), up, down, state: Mutex::default(), tell });
    let connect = |count: u64| work(&run, &done, count, 50, |_| dial(&run)).map(drop);
    let conn = |i: u64| {
        let state = lock(&run);
        state.conns[i as usize % state.conns.len()].clone()
    };
    match args.role.clone() {
        Role::Move { streams, conns, .. } => {
            connect(conns)?;
            say("ready");
            wait();
            let start = Instant::now();
            work(&run, &done, streams * conns, streams * conns, |i| start_stream(&run, &conn(i)))?;
            say(&result(start.elapsed(), Vec::new(), ""));
        }
        Role::Requests { count, concurrent, .. } => {
            connect(1)?;
            say("ready");
            wait();
            let start = Instant::now();
            let times = work(&run, &done, count, concurrent, |i| start_stream(&run, &conn(i)))?;
            say(&result(start.elapsed(), times, ""));
        }
        Role::Handshakes { count, kind, concurrent } => {
            connect(1)?;
            let resume = kind == "resumed";
            while resume && lock(&run).ticket.is_none() {
                if let Tell::Failed(text) = done.recv()? {
                    return Err(text.into());
                }
            }
            {
                let mut state = lock(&run);
                (state.churn, state.resume, state.resumed) = (true, resume, 0);
            }
            say("ready");
            wait();
            let start = Instant::now();
            let times = work(&run, &done, count, concurrent, |_| dial(&run))?;
            let more = format!(", \"resumed\": {}", lock(&run).resumed);
            say(&result(start.elapsed(), times, &more));
        }
        Role::Grow { steps } => {
            say("ready");
            let mut have = 0;
            for step in steps {
                wait();
                let start = Instant::now();
                connect(step - have)?;
                have = step;
                say(&result(start.elapsed(), Vec::new(), ""));
            }
        }
        Role::Server => unreachable!("the server is started elsewhere"),
    }
    wait();
    // The library's orderly end is not measured.
    std::process::exit(0)
}
