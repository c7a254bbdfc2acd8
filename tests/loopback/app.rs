//! The two sides' applications, written as sinks.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use whimbrel::base::{Dir, StreamId};
use whimbrel::connection::{CloseReason, ConnectionConfig, Event, MoveReason};
use whimbrel::crypto::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};
use whimbrel::runtime::{
    Conn, ConnEvent, ConnectConfig, EndpointHandle, EndpointNotice, EndpointOptions, ListenConfig, Runtime,
    RuntimeConfig, Sink,
};
use whimbrel::streams::{ReadError, StreamEvent, WriteError};

/// Longest wait for anything in these tests.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const ALPN: &[u8] = b"wb-test";

/// Byte number `at` of every answer.
pub fn pattern(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Server: what is still to be sent on a stream.
struct Answer {
    asked: Vec<u8>,
    sent: u64,
    total: Option<u64>,
}

/// The server's application.
#[derive(Default)]
pub struct ServerApp {
    answers: Mutex<HashMap<(u64, StreamId), Answer>>,
    pub accepted: AtomicUsize,
    pub drained: AtomicUsize,
    pub closed_notices: AtomicUsize,
    pub paths: Mutex<Vec<(SocketAddr, bool)>>,
    pub workers: Mutex<Vec<usize>>,
}

impl ServerApp {
    fn on_stream(&self, conn: &Arc<Conn>, id: StreamId) {
        let mut answers = self.answers.lock().unwrap();
        let answer =
            answers.entry((conn.id(), id)).or_insert_with(|| Answer { asked: Vec::new(), sent: 0, total: None });
        conn.with(|state, _| {
            let c = &mut state.connection;
            while answer.total.is_none() {
                let mut buf = [0; 16];
                match c.read(id, &mut buf) {
                    Ok(got) => {
                        answer.asked.extend_from_slice(&buf[..got.len]);
                        if got.fin {
                            let number = answer.asked.as_slice().try_into().expect("eight bytes");
                            answer.total = Some(u64::from_le_bytes(number));
                        }
                    }
                    Err(ReadError::Blocked) => return,
                    Err(e) => panic!("server read: {e:?}"),
                }
            }
            let total = answer.total.unwrap_or(0);
            let mut block = vec![0; 64 << 10];
            while answer.sent < total {
                let n = usize::try_from(total - answer.sent).unwrap().min(block.len());
                for (i, b) in block[..n].iter_mut().enumerate() {
                    *b = pattern(answer.sent + i as u64);
                }
                match c.write(id, &block[..n]) {
                    Ok(taken) => answer.sent += taken as u64,
                    Err(WriteError::Blocked) => return,
                    // The client has gone: its tests know.
                    Err(_) => return,
                }
            }
            let _ = c.finish(id);
        });
    }
}

impl Sink for ServerApp {
    fn accepted(&self, conn: &Arc<Conn>) {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        self.workers.lock().unwrap().push(conn.worker());
    }

    fn deliver(&self, conn: &Arc<Conn>, events: &mut Vec<ConnEvent>) {
        assert!(Runtime::on_worker_thread());
        for event in events.drain(..) {
            match event {
                ConnEvent::Quic(Event::Stream(StreamEvent::Readable { id } | StreamEvent::Writable { id })) => {
                    self.on_stream(conn, id);
                }
                ConnEvent::Quic(Event::Stream(StreamEvent::Closed { id })) => {
                    self.answers.lock().unwrap().remove(&(conn.id(), id));
                }
                ConnEvent::Quic(Event::Migrated { tuple, why, .. }) => {
                    self.paths.lock().unwrap().push((tuple.remote, why == MoveReason::Rebinding));
                }
                ConnEvent::Drained => {
                    self.drained.fetch_add(1, Ordering::SeqCst);
                }
                ConnEvent::Poisoned => panic!("server connection poisoned"),
                _ => {}
            }
        }
    }

    fn endpoint(&self, _: u64, notice: EndpointNotice) {
        if notice == EndpointNotice::Closed {
            self.closed_notices.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// What a client knows about one of its connections.
#[derive(Default, Clone, Debug)]
pub struct Seen {
    pub connected: bool,
    pub confirmed: bool,
    pub bytes: u64,
    pub wrong: Option<u64>,
    pub fins: usize,
    pub validated: Vec<SocketAddr>,
    pub migrated: usize,
    pub path_failed: usize,
    pub unreachable: Option<i32>,
    pub closed: Option<CloseReason>,
    pub drained: bool,
    pub poisoned: bool,
    pub after_drained: usize,
}

/// The client's application: reads and checks answers.
#[derive(Default)]
pub struct ClientApp {
    conns: Mutex<HashMap<u64, Seen>>,
    offsets: Mutex<HashMap<(u64, StreamId), u64>>,
    changed: Condvar,
    pub closed_notices: AtomicUsize,
}

impl ClientApp {
    fn note<R>(&self, conn: &Conn, act: impl FnOnce(&mut Seen) -> R) -> R {
        let mut conns = self.conns.lock().unwrap();
        let result = act(conns.entry(conn.tag()).or_default());
        self.changed.notify_all();
        result
    }

    pub fn seen(&self, tag: u64) -> Seen {
        self.conns.lock().unwrap().get(&tag).cloned().unwrap_or_default()
    }

    /// Waits until `done` holds for connection `tag`.
    pub fn wait(&self, tag: u64, what: &str, done: impl Fn(&Seen) -> bool) -> Seen {
        let end = Instant::now() + PATIENCE;
        let mut conns = self.conns.lock().unwrap();
        loop {
            let seen = conns.entry(tag).or_default();
            if done(seen) {
                return seen.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "connection {tag}: no {what} in time: {seen:?}");
            conns = self.changed.wait_timeout(conns, left).unwrap().0;
        }
    }

    fn read(&self, conn: &Arc<Conn>, id: StreamId) {
        let mut buf = vec![0; 64 << 10];
        loop {
            let got = match conn.with(|state, _| state.connection.read(id, &mut buf)) {
                Ok(got) => got,
                Err(ReadError::Blocked | ReadError::Finished | ReadError::Unknown) => return,
                Err(e) => panic!("client read: {e:?}"),
            };
            let start = {
                let mut offsets = self.offsets.lock().unwrap();
                let at = offsets.entry((conn.id(), id)).or_default();
                *at += got.len as u64;
                *at - got.len as u64
            };
            let wrong = (0..got.len).find(|i| buf[*i] != pattern(start + *i as u64));
            self.note(conn, |seen| {
                seen.bytes += got.len as u64;
                seen.wrong = seen.wrong.or(wrong.map(|i| start + i as u64));
                seen.fins += usize::from(got.fin);
            });
            if got.fin {
                return;
            }
        }
    }
}

impl Sink for ClientApp {
    fn deliver(&self, conn: &Arc<Conn>, events: &mut Vec<ConnEvent>) {
        for event in events.drain(..) {
            if self.seen(conn.tag()).drained {
                self.note(conn, |s| s.after_drained += 1);
            }
            match event {
                ConnEvent::Quic(Event::Connected { .. }) => self.note(conn, |s| s.connected = true),
                ConnEvent::Quic(Event::HandshakeConfirmed) => self.note(conn, |s| s.confirmed = true),
                ConnEvent::Quic(Event::Stream(StreamEvent::Readable { id })) => self.read(conn, id),
                ConnEvent::Quic(Event::PathValidated { tuple, .. }) => {
                    self.note(conn, |s| s.validated.extend(tuple.local));
                }
                ConnEvent::Quic(Event::Migrated { .. }) => self.note(conn, |s| s.migrated += 1),
                ConnEvent::Quic(Event::PathFailed { .. }) => self.note(conn, |s| s.path_failed += 1),
                ConnEvent::Quic(Event::Closed(reason)) => self.note(conn, |s| s.closed = Some(reason)),
                ConnEvent::Unreachable { os_error } => self.note(conn, |s| s.unreachable = Some(os_error)),
                ConnEvent::Poisoned => self.note(conn, |s| s.poisoned = true),
                ConnEvent::Drained => self.note(conn, |s| s.drained = true),
                _ => {}
            }
        }
    }

    fn endpoint(&self, _: u64, notice: EndpointNotice) {
        if notice == EndpointNotice::Closed {
            self.closed_notices.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A throw-away certificate for `localhost`, 127.0.0.1 and ::1.
pub fn tls_for(alpn: &[u8]) -> (Arc<ClientTls>, Arc<ServerTls>) {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    let made = rcgen::generate_simple_self_signed(names).expect("certificate");
    let chain = made.cert.pem();
    let key = made.signing_key.serialize_pem();
    let client = ClientTlsBuilder::new().alpn(vec![alpn.to_vec()]).roots_pem(chain.as_bytes()).build().expect("client");
    let server = ServerTlsBuilder::new()
        .alpn(vec![alpn.to_vec()])
        .identity_pem(chain.as_bytes(), key.as_bytes())
        .build()
        .expect("server");
    (client, server)
}

/// A server and a client, each with its own runtime.
pub struct World {
    pub server_app: Arc<ServerApp>,
    pub client_app: Arc<ClientApp>,
    pub server_runtime: Runtime,
    pub client_runtime: Runtime,
    pub server: EndpointHandle,
    pub client: EndpointHandle,
    pub addr: SocketAddr,
    pub config: Arc<ConnectionConfig>,
    pub client_tls: Arc<ClientTls>,
}

pub fn runtime(workers: usize) -> Runtime {
    Runtime::open(RuntimeConfig { workers, ..RuntimeConfig::default() }).expect("runtime")
}

impl World {
    pub fn new(bind: &str, workers: usize) -> Self {
        Self::with_options(bind, workers, EndpointOptions::default())
    }

    pub fn with_options(bind: &str, workers: usize, options: EndpointOptions) -> Self {
        let (client_tls, server_tls) = tls_for(ALPN);
        let (server_app, client_app) = (Arc::new(ServerApp::default()), Arc::new(ClientApp::default()));
        let (server_runtime, client_runtime) = (runtime(workers), runtime(1));
        let sink: Arc<dyn Sink> = Arc::clone(&server_app) as _;
        let server = server_runtime
            .endpoint(
                EndpointOptions { spread: true, connected_sockets: false, fail_unreachable: false, ..options.clone() },
                sink,
            )
            .expect("server");
        let addr = server.bind(bind.parse().expect("address")).expect("bind");
        // A client that only receives has nothing to say when a rebinding has eaten everything in flight: the
        // server keeps sending to the old port. The keep-alive is what finds the new mapping.
        let config =
            Arc::new(ConnectionConfig { keep_alive: Duration::from_millis(250), ..ConnectionConfig::default() });
        server.listen(ListenConfig { connection: Arc::clone(&config), tls: server_tls, http3: None }).expect("listen");
        let client = client_runtime.endpoint(options, Arc::clone(&client_app) as _).expect("client");
        Self { server_app, client_app, server_runtime, client_runtime, server, client, addr, config, client_tls }
    }

    pub fn connect(&self, tag: u64) -> Arc<Conn> {
        self.connect_to(tag, self.addr)
    }

    pub fn connect_to(&self, tag: u64, remote: SocketAddr) -> Arc<Conn> {
        self.client.connect(self.connect_config(tag, remote)).expect("connect")
    }

    pub fn connect_config(&self, tag: u64, remote: SocketAddr) -> ConnectConfig {
        ConnectConfig {
            remote,
            server_name: "localhost".to_owned(),
            connection: Arc::clone(&self.config),
            tls: Arc::clone(&self.client_tls),
            http3: None,
            token: Vec::new(),
            tag,
            local: None,
        }
    }

    /// Asks for `bytes` on a new stream.
    pub fn ask(&self, conn: &Arc<Conn>, bytes: u64) {
        self.client_app.wait(conn.tag(), "connection", |s| s.connected);
        conn.with(|state, _| {
            let id = state.connection.open(Dir::Bi).expect("open");
            assert_eq!(state.connection.write(id, &bytes.to_le_bytes()), Ok(8));
            state.connection.finish(id).expect("finish");
        });
    }

    /// Ends both runtimes and checks that nothing is left.
    pub fn end(self) {
        self.client_runtime.close();
        self.server_runtime.close();
        self.client_runtime.join(PATIENCE).expect("client threads end");
        self.server_runtime.join(PATIENCE).expect("server threads end");
        let accepted = self.server_app.accepted.load(Ordering::SeqCst);
        assert_eq!(self.server_app.drained.load(Ordering::SeqCst), accepted, "a last event for every connection");
        assert_eq!(self.server_app.closed_notices.load(Ordering::SeqCst), 1);
        assert_eq!(self.client_app.closed_notices.load(Ordering::SeqCst), 1);
        for (tag, seen) in self.client_app.conns.lock().unwrap().iter() {
            assert!(seen.drained, "connection {tag} got no last event");
            assert!(!seen.poisoned, "connection {tag} was poisoned");
            assert_eq!(seen.after_drained, 0, "connection {tag}: events after the last");
        }
    }
}
