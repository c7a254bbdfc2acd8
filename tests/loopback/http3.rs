//! HTTP/3 through the runtime: requests with and without bodies, many at a time, over a moving path.
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use whimbrel::base::StreamId;
use whimbrel::connection::{ConnectionConfig, Event};
use whimbrel::http3::{Field, H3Error, H3Event, Http3Config, SectionKind};
use whimbrel::runtime::{Conn, ConnEvent, ConnectConfig, EndpointOptions, ListenConfig, Sink};
use whimbrel::streams::StreamEvent;

use crate::app::{PATIENCE, pattern, runtime, tls_for};

/// Server: answers `/n` with `n` bytes and tells the length of the request's body in a trailer.
#[derive(Default)]
struct Server {
    streams: Mutex<HashMap<(u64, StreamId), Exchange>>,
}

#[derive(Default)]
struct Exchange {
    total: u64,
    sent: u64,
    received: u64,
    complete: bool,
    responded: bool,
    done: bool,
}

impl Server {
    fn go_on(&self, conn: &Arc<Conn>, id: StreamId, fresh: Option<(u64, bool)>) {
        let mut streams = self.streams.lock().unwrap();
        let x = streams.entry((conn.id(), id)).or_default();
        if let Some((total, complete)) = fresh {
            *x = Exchange { total, complete, ..Exchange::default() };
        }
        if x.done {
            return;
        }
        conn.with(|state, _| {
            let h3 = state.http3.as_mut().expect("attached");
            let c = &mut *state.connection;
            let mut buf = vec![0; 64 << 10];
            while !x.complete {
                match h3.recv_body(c, id, &mut buf) {
                    Ok((n, end)) => {
                        assert!((0..n).all(|i| buf[i] == pattern(x.received + i as u64)));
                        x.received += n as u64;
                        x.complete = end;
                    }
                    Err(H3Error::Blocked) => return,
                    Err(e) => panic!("server body: {e:?}"),
                }
            }
            if !x.responded {
                h3.respond(c, id, &[Field::new(b":status", b"200")], false).expect("respond");
                x.responded = true;
            }
            while x.sent < x.total {
                let n = usize::try_from(x.total - x.sent).unwrap().min(buf.len());
                (0..n).for_each(|i| buf[i] = pattern(x.sent + i as u64));
                match h3.send_body(c, id, &buf[..n], false) {
                    Ok(taken) => x.sent += taken as u64,
                    Err(H3Error::Blocked) => return,
                    Err(e) => panic!("server send: {e:?}"),
                }
            }
            let length = x.received.to_string();
            h3.trailers(c, id, &[Field::new(b"x-received", length.as_bytes())]).expect("trailers");
            x.done = true;
        });
    }
}

impl Sink for Server {
    fn deliver(&self, conn: &Arc<Conn>, events: &mut Vec<ConnEvent>) {
        for event in events.drain(..) {
            match event {
                ConnEvent::Http3(H3Event::Headers { stream, kind: SectionKind::Request, fields, end }) => {
                    let path = fields.value(b":path").expect("path").to_vec();
                    let total = std::str::from_utf8(&path[1..]).unwrap().parse().unwrap();
                    self.go_on(conn, stream, Some((total, end)));
                }
                ConnEvent::Http3(H3Event::Data { stream } | H3Event::Writable { stream }) => {
                    self.go_on(conn, stream, None);
                }
                ConnEvent::Quic(Event::Stream(StreamEvent::Closed { id })) => {
                    self.streams.lock().unwrap().remove(&(conn.id(), id));
                }
                ConnEvent::Quic(Event::Stream(e)) => panic!("HTTP/3 takes this: {e:?}"),
                ConnEvent::Poisoned => panic!("poisoned"),
                _ => {}
            }
        }
    }
}

#[derive(Default, Clone, Debug)]
struct Reply {
    status: Vec<u8>,
    bytes: u64,
    echoed: Option<u64>,
    end: bool,
    upload: u64,
    uploaded: u64,
}

#[derive(Default)]
struct Client {
    replies: Mutex<HashMap<StreamId, Reply>>,
    confirmed: Mutex<bool>,
    changed: Condvar,
}

impl Client {
    fn upload(&self, conn: &Arc<Conn>, id: StreamId) {
        let mut replies = self.replies.lock().unwrap();
        let r = replies.entry(id).or_default();
        if r.uploaded == r.upload {
            return;
        }
        conn.with(|state, _| {
            let h3 = state.http3.as_mut().expect("attached");
            while r.uploaded < r.upload {
                let n = (r.upload - r.uploaded).min(50_000);
                let block: Vec<u8> = (0..n).map(|i| pattern(r.uploaded + i)).collect();
                let fin = r.uploaded + n == r.upload;
                match h3.send_body(&mut *state.connection, id, &block, fin) {
                    Ok(taken) => r.uploaded += taken as u64,
                    Err(H3Error::Blocked) => return,
                    Err(e) => panic!("upload: {e:?}"),
                }
            }
        });
    }

    fn read(&self, conn: &Arc<Conn>, id: StreamId) {
        let mut buf = vec![0; 64 << 10];
        loop {
            let got = conn.with(|state, _| {
                state.http3.as_mut().expect("attached").recv_body(&mut *state.connection, id, &mut buf)
            });
            let (n, end) = match got {
                Ok(got) => got,
                Err(H3Error::Blocked) => return,
                Err(e) => panic!("client body: {e:?}"),
            };
            let mut replies = self.replies.lock().unwrap();
            let r = replies.entry(id).or_default();
            assert!((0..n).all(|i| buf[i] == pattern(r.bytes + i as u64)), "wrong bytes after {}", r.bytes);
            r.bytes += n as u64;
            r.end |= end;
            self.changed.notify_all();
            if end {
                return;
            }
        }
    }

    fn wait(&self, id: StreamId) -> Reply {
        let limit = Instant::now() + PATIENCE;
        let mut replies = self.replies.lock().unwrap();
        loop {
            match replies.get(&id) {
                Some(r) if r.end && r.echoed.is_some() => return r.clone(),
                other => assert!(Instant::now() < limit, "{id:?}: {other:?}"),
            }
            replies = self.changed.wait_timeout(replies, Duration::from_millis(100)).unwrap().0;
        }
    }
}

impl Sink for Client {
    fn deliver(&self, conn: &Arc<Conn>, events: &mut Vec<ConnEvent>) {
        for event in events.drain(..) {
            match event {
                ConnEvent::Quic(Event::HandshakeConfirmed) => *self.confirmed.lock().unwrap() = true,
                ConnEvent::Http3(H3Event::Headers { stream, kind, fields, end }) => {
                    let mut replies = self.replies.lock().unwrap();
                    let r = replies.entry(stream).or_default();
                    if kind == SectionKind::Trailers {
                        let text = fields.value(b"x-received").expect("trailer");
                        r.echoed = std::str::from_utf8(text).unwrap().parse().ok();
                    } else {
                        r.status = fields.value(b":status").expect("status").to_vec();
                    }
                    r.end |= end;
                    self.changed.notify_all();
                }
                ConnEvent::Http3(H3Event::Data { stream }) => self.read(conn, stream),
                ConnEvent::Http3(H3Event::Writable { stream }) => self.upload(conn, stream),
                ConnEvent::Http3(H3Event::Reset { stream, code, .. }) => panic!("{stream:?} reset with {code:#x}"),
                _ => {}
            }
        }
    }
}

/// Starts request number `n`: what was asked for and what is being sent.
fn ask(app: &Client, conn: &Arc<Conn>, n: u64) -> (StreamId, u64, u64) {
    let (bytes, upload) = (if n == 50 { 16 << 20 } else { n * 1000 }, if n.is_multiple_of(3) { n * 5000 } else { 0 });
    let path = format!("/{bytes}");
    let fields = [
        Field::new(b":method", if upload > 0 { b"POST" } else { b"GET" }),
        Field::new(b":scheme", b"https"),
        Field::new(b":authority", b"localhost"),
        Field::new(b":path", path.as_bytes()),
    ];
    let mut replies = app.replies.lock().unwrap();
    let id = conn
        .with(|state, _| {
            let h3 = state.http3.as_mut().expect("attached");
            h3.request(&mut *state.connection, &fields, upload == 0)
        })
        .expect("request");
    replies.entry(id).or_default().upload = upload;
    drop(replies);
    app.upload(conn, id);
    (id, bytes, upload)
}

#[test]
fn a_hundred_requests_with_bodies_both_ways_over_a_moving_path() {
    let (client_tls, server_tls) = tls_for(b"h3");
    let client_app = Arc::new(Client::default());
    let (server_runtime, client_runtime) = (runtime(2), runtime(1));
    let spread = EndpointOptions { spread: true, ..EndpointOptions::default() };
    let server = server_runtime.endpoint(spread, Arc::new(Server::default())).expect("server");
    let remote = server.bind("127.0.0.1:0".parse().unwrap()).expect("bind");
    let connection = Arc::new(ConnectionConfig::default());
    let http3 = Some(Arc::new(Http3Config::default()));
    server
        .listen(ListenConfig { connection: Arc::clone(&connection), tls: server_tls, http3: http3.clone() })
        .expect("listen");
    let client = client_runtime.endpoint(EndpointOptions::default(), Arc::clone(&client_app) as _).expect("client");
    let conn = client
        .connect(ConnectConfig {
            remote,
            server_name: "localhost".to_owned(),
            connection,
            tls: client_tls,
            http3,
            token: Vec::new(),
            tag: 0,
            local: None,
        })
        .expect("connect");
    let limit = Instant::now() + PATIENCE;
    while !*client_app.confirmed.lock().unwrap() {
        assert!(Instant::now() < limit, "no handshake: {:?}", conn.inspect(|s| s.connection.close_reason().cloned()));
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut asked = Vec::new();
    for n in 0..100 {
        asked.push(ask(&client_app, &conn, n));
        if n % 40 == 20 {
            conn.migrate(None).expect("migrate");
        }
    }
    for (id, bytes, upload) in asked {
        let r = client_app.wait(id);
        assert_eq!((r.status.as_slice(), r.bytes, r.echoed), (&b"200"[..], bytes, Some(upload)));
    }
    assert!(conn.inspect(|s| s.connection.stats()).migrations > 0);
    client_runtime.close();
    server_runtime.close();
    client_runtime.join(PATIENCE).expect("client threads end");
    server_runtime.join(PATIENCE).expect("server threads end");
}
