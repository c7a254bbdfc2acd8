//! HTTP/3 end to end: two endpoints with real packets and TLS over a virtual wire.
use std::collections::BTreeMap;
use std::time::Duration;

use whimbrel::base::codes::{h3, qpack};
use whimbrel::base::{Dir, Side, StreamId, Timestamp};
use whimbrel::collections::Chunk;
use whimbrel::connection::{CloseReason, Connection, ConnectionConfig};
use whimbrel::http3::{Field, FieldList, H3Error, H3Event, Http3, Http3Config, SectionKind};

#[path = "pair/mod.rs"]
mod pair;
use pair::{Fate, Node, Pair, Setup, pattern};

const LIMIT: Duration = Duration::from_secs(60);

const GET: [Field<'static>; 4] = [
    Field::new(b":method", b"GET"),
    Field::new(b":scheme", b"https"),
    Field::new(b":authority", b"localhost"),
    Field::new(b":path", b"/"),
];
const OK: [Field<'static>; 1] = [Field::new(b":status", b"200")];

fn post(length: &str) -> Vec<Field<'_>> {
    let method = Field::new(b":method", b"POST");
    vec![method, GET[1], GET[2], GET[3], Field::new(b"content-length", length.as_bytes())]
}

/// What an application sees of one message.
#[derive(Default)]
struct Message {
    kinds: Vec<SectionKind>,
    first: FieldList,
    trailers: FieldList,
    body: Vec<u8>,
    complete: bool,
    reset: Option<u64>,
}

/// One side: HTTP/3, the messages that came, and what is still to be sent.
struct App {
    h3: Http3,
    messages: BTreeMap<StreamId, Message>,
    sending: BTreeMap<StreamId, (Chunk, bool)>,
    trailers: BTreeMap<StreamId, Vec<Field<'static>>>,
    goaway: Option<u64>,
    settings: bool,
    /// Server: answers every complete request with its own body.
    echo: bool,
    /// Client: told of requests that may be sent elsewhere.
    rejected: usize,
    /// Client: stream credit came after a refusal.
    available: bool,
}

impl App {
    fn new(side: Side, config: Http3Config) -> Self {
        Self {
            h3: Http3::new(side, config),
            messages: BTreeMap::new(),
            sending: BTreeMap::new(),
            trailers: BTreeMap::new(),
            goaway: None,
            settings: false,
            echo: side == Side::Server,
            rejected: 0,
            available: false,
        }
    }

    /// Lets HTTP/3 and then the application act on what happened.
    fn turn(&mut self, node: &mut Node, now: Timestamp) {
        for (key, event) in std::mem::take(&mut node.events) {
            if let Some(conn) = node.connections.get_mut(&key.to_u64()) {
                self.h3.on_event(&mut **conn, &event, now);
            }
        }
        let Some(conn) = node.connections.values_mut().next() else { return };
        while let Some(event) = self.h3.poll_event() {
            self.on(conn, event);
        }
    }

    fn on(&mut self, conn: &mut Connection, event: H3Event) {
        match event {
            H3Event::Headers { stream, kind, fields, end } => {
                let m = self.messages.entry(stream).or_default();
                assert!(!m.complete || kind == SectionKind::Trailers, "nothing comes after the end");
                m.kinds.push(kind);
                m.complete |= end;
                if kind == SectionKind::Trailers {
                    m.trailers = fields;
                } else {
                    m.first = fields;
                }
                self.answer(conn, stream);
            }
            H3Event::Data { stream } => {
                let m = self.messages.entry(stream).or_default();
                let mut buf = [0; 3000];
                loop {
                    match self.h3.recv_body(conn, stream, &mut buf) {
                        Ok((n, end)) => {
                            m.body.extend_from_slice(&buf[..n]);
                            if end {
                                m.complete = true;
                                break;
                            }
                        }
                        Err(H3Error::Blocked | H3Error::Reset(_)) => break,
                        Err(e) => panic!("{e}"),
                    }
                }
                self.answer(conn, stream);
            }
            H3Event::Writable { stream } => self.send(conn, stream),
            H3Event::Reset { stream, code, .. } => {
                self.messages.entry(stream).or_default().reset = Some(code);
                self.rejected += usize::from(code == h3::REQUEST_REJECTED);
            }
            H3Event::Goaway { id } => self.goaway = Some(id),
            H3Event::Settings { .. } => self.settings = true,
            H3Event::RequestsAvailable => self.available = true,
            _ => {}
        }
    }

    fn answer(&mut self, conn: &mut Connection, stream: StreamId) {
        if !self.echo || !self.messages[&stream].complete || self.sending.contains_key(&stream) {
            return;
        }
        let m = &self.messages[&stream];
        let length = m.body.len().to_string();
        let fields = [OK[0], Field::new(b"content-length", length.as_bytes())];
        self.h3.respond(conn, stream, &fields, false).unwrap();
        self.sending.insert(stream, (Chunk::copy_from(&m.body), true));
        self.send(conn, stream);
    }

    /// Sends on: body, then trailers or the end.
    fn send(&mut self, conn: &mut Connection, stream: StreamId) {
        let Some((rest, more)) = self.sending.get_mut(&stream) else { return };
        let trailers = self.trailers.get(&stream);
        while *more {
            match self.h3.send_body_chunk(conn, stream, rest.clone(), trailers.is_none()) {
                Ok(n) => {
                    rest.advance(n);
                    *more = !rest.is_empty();
                }
                Err(H3Error::Blocked) => return,
                Err(e) => panic!("{e}"),
            }
        }
        if let Some(fields) = trailers {
            match self.h3.trailers(conn, stream, fields) {
                Ok(()) => drop(self.trailers.remove(&stream)),
                // After `Blocked` the next `Writable` comes back here.
                Err(H3Error::Blocked) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
}

struct Http {
    pair: Pair,
    client: App,
    server: App,
}

impl Http {
    /// Connected, with both SETTINGS exchanged.
    fn with(setup: Setup, client: Http3Config, server: Http3Config) -> Self {
        let mut pair = setup.build();
        pair.connect(Vec::new());
        let (client, server) = (App::new(Side::Client, client), App::new(Side::Server, server));
        let mut http = Self { pair, client, server };
        http.run(|h| h.client.settings && h.server.settings);
        http
    }

    fn new() -> Self {
        Self::with(Setup::default(), Http3Config::default(), Http3Config::default())
    }

    #[track_caller]
    fn run(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.pair.now + LIMIT;
        loop {
            let now = self.pair.now;
            self.client.turn(&mut self.pair.client, now);
            self.server.turn(&mut self.pair.server, now);
            if done(self) {
                return;
            }
            assert!(self.pair.step(), "nothing left to do; {}", self.pair.describe());
            assert!(self.pair.now <= end, "not done in time; {}", self.pair.describe());
        }
    }

    fn get(&mut self) -> StreamId {
        self.client.h3.request(self.pair.client.only(), &GET, true).unwrap()
    }

    fn post(&mut self, body: &[u8], trailers: Option<Vec<Field<'static>>>) -> StreamId {
        let length = body.len().to_string();
        let conn = self.pair.client.only();
        let id = self.client.h3.request(conn, &post(&length), false).unwrap();
        self.client.sending.insert(id, (Chunk::copy_from(body), true));
        if let Some(fields) = trailers {
            self.client.trailers.insert(id, fields);
        }
        self.client.send(conn, id);
        id
    }

    #[track_caller]
    fn until_complete(&mut self, id: StreamId) -> &Message {
        self.run(|h| h.client.messages.get(&id).is_some_and(|m| m.complete));
        &self.client.messages[&id]
    }

    /// Runs until the client hears why the connection was closed.
    #[track_caller]
    fn until_closed(&mut self) -> u64 {
        let mut code = None;
        self.run(|h| {
            for conn in h.pair.client.connections.values() {
                if let Some(CloseReason::Peer { code: c, app: true, .. }) = conn.close_reason() {
                    code = Some(*c);
                }
            }
            code.is_some()
        });
        code.unwrap()
    }
}

#[test]
fn get() {
    let mut http = Http::new();
    let id = http.get();
    let m = http.until_complete(id);
    assert_eq!(m.kinds, [SectionKind::Response]);
    assert_eq!(m.first.value(b":status"), Some(&b"200"[..]));
    assert_eq!(m.first.value(b"content-length"), Some(&b"0"[..]));
    // Streams are forgotten on both sides once everything is acknowledged.
    http.run(|h| h.client.h3.active_requests() + h.server.h3.active_requests() == 0);
}

#[test]
fn post_with_body_and_trailers() {
    let mut http = Http::new();
    let body = pattern(3_000_000);
    let id = http.post(&body, Some(vec![Field::new(b"x-sum", b"abc")]));
    assert!(http.until_complete(id).body == body);
    let request = &http.server.messages[&id];
    assert_eq!(request.kinds, [SectionKind::Request, SectionKind::Trailers]);
    assert_eq!(request.trailers.value(b"x-sum"), Some(&b"abc"[..]));
    assert!(request.body == body);
    http.run(|h| h.client.h3.active_requests() + h.server.h3.active_requests() == 0);
}

#[test]
fn small_windows_and_losses() {
    let mut config = ConnectionConfig::default();
    config.flow.stream_window = 5_000;
    config.flow.stream_window_max = 5_000;
    config.flow.send_buffer = 3_000;
    let mut setup = Setup { server: config.clone(), client: config, ..Setup::default() };
    setup.seed = 7;
    let mut http = Http::with(setup, Http3Config::default(), Http3Config::default());
    let mut n = 0u32;
    http.pair.filter = Box::new(move |_, _, _| {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if n >> 28 == 0 { Fate::Drop } else { Fate::Pass }
    });
    let body = pattern(200_000);
    let ids: Vec<StreamId> = (0..4).map(|_| http.post(&body, None)).collect();
    for id in ids {
        assert!(http.until_complete(id).body == body);
    }
}

#[test]
fn a_hundred_at_once() {
    let mut http = Http::new();
    let ids: Vec<StreamId> = (0..100usize).map(|n| http.post(&pattern(n * 50), None)).collect();
    http.run(|h| ids.iter().all(|id| h.client.messages.get(id).is_some_and(|m| m.complete)));
    for (n, id) in ids.iter().enumerate() {
        assert!(http.client.messages[id].body == pattern(n * 50));
    }
    http.run(|h| h.client.h3.active_requests() + h.server.h3.active_requests() == 0);
}

#[test]
fn requests_beyond_the_stream_limit_wait() {
    let server = ConnectionConfig { max_streams_bidi: 2, ..ConnectionConfig::default() };
    let setup = Setup { server, ..Setup::default() };
    let mut http = Http::with(setup, Http3Config::default(), Http3Config::default());
    let mut answered = Vec::new();
    while answered.len() < 7 {
        match http.client.h3.request(http.pair.client.only(), &GET, true) {
            Ok(id) => answered.push(id),
            Err(H3Error::TooManyRequests) => {
                let last = *answered.last().unwrap();
                http.until_complete(last);
                http.run(|h| std::mem::take(&mut h.client.available));
            }
            Err(e) => panic!("{e}"),
        }
    }
    let last = answered[6];
    http.until_complete(last);
}

#[test]
fn goaway() {
    let mut http = Http::new();
    http.server.echo = false;
    let id = http.get();
    http.run(|h| h.server.messages.contains_key(&id));
    http.server.h3.goaway(http.pair.server.only(), false).unwrap();
    // On its way while the GOAWAY is: not processed, and the client is told that it may send it elsewhere.
    let late = http.get();
    http.run(|h| h.client.goaway == Some(4) && h.client.rejected == 1);
    assert_eq!(http.client.messages[&late].reset, Some(h3::REQUEST_REJECTED));
    assert_eq!(http.client.h3.request(http.pair.client.only(), &GET, true), Err(H3Error::GoingAway));
    assert!(!http.server.messages.contains_key(&late));
    // What came before is still answered.
    http.server.h3.respond(http.pair.server.only(), id, &OK, true).unwrap();
    http.until_complete(id);
    http.run(|h| h.client.h3.is_drained() && h.server.h3.is_drained());
}

#[test]
fn cancelled_and_rejected_requests() {
    let mut http = Http::new();
    http.server.echo = false;
    let (a, b) = (http.get(), http.get());
    http.run(|h| h.server.messages.contains_key(&b));
    http.client.h3.reset(http.pair.client.only(), a, h3::REQUEST_CANCELLED).unwrap();
    http.server.h3.reset(http.pair.server.only(), b, h3::REQUEST_REJECTED).unwrap();
    http.run(|h| h.client.rejected == 1);
    http.run(|h| h.client.h3.active_requests() == 0);
    assert_eq!(http.client.messages[&b].reset, Some(h3::REQUEST_REJECTED));
}

/// Raw bytes of a client without HTTP/3, against a server with it.
struct Raw {
    http: Http,
    streams: Vec<StreamId>,
}

impl Raw {
    /// The client's control stream with empty SETTINGS comes first.
    fn new() -> Self {
        let mut pair = Setup::default().build();
        pair.connect(Vec::new());
        let mut http = Http {
            pair,
            client: App::new(Side::Client, Http3Config::default()),
            server: App::new(Side::Server, Http3Config::default()),
        };
        let end = http.pair.now + LIMIT;
        while !http.pair.client.connections.values().all(|c| c.is_established()) {
            assert!(http.pair.step() && http.pair.now < end);
        }
        // The client's own HTTP/3 sees nothing: it never gets an event.
        http.pair.client.events.clear();
        let mut raw = Self { http, streams: Vec::new() };
        raw.send(Dir::Uni, &[0x00, 0x04, 0x00], false);
        raw
    }

    fn send(&mut self, dir: Dir, bytes: &[u8], fin: bool) -> StreamId {
        let conn = self.http.pair.client.only();
        let id = conn.open(dir).unwrap();
        assert_eq!(conn.write(id, bytes), Ok(bytes.len()));
        if fin {
            conn.finish(id).unwrap();
        }
        self.streams.push(id);
        id
    }

    /// The server's answer to it all.
    #[track_caller]
    fn code(&mut self) -> u64 {
        let end = self.http.pair.now + LIMIT;
        loop {
            let now = self.http.pair.now;
            self.http.server.turn(&mut self.http.pair.server, now);
            let reason = self.http.pair.client.connections.values().find_map(|c| c.close_reason());
            if let Some(CloseReason::Peer { code, app: true, .. }) = reason {
                return *code;
            }
            assert!(self.http.pair.step(), "{}", self.http.pair.describe());
            assert!(self.http.pair.now <= end, "{}", self.http.pair.describe());
        }
    }
}

/// The HTTP/3 and QPACK cases of h3spec: bytes in, connection error out.
#[test]
fn malformed_streams_close_the_connection() {
    let request =
        [0x01, 0x10, 0, 0, 0xd1, 0xd7, 0x50, 0x09, b'1', b'2', b'7', b'.', b'0', b'.', b'0', b'.', b'1', 0xc1];
    let mut bad_index = request.to_vec();
    bad_index[1] += 2;
    bad_index.extend([0xff, 0x24]);
    let cases: Vec<(Dir, Vec<u8>, bool, u64)> = vec![
        (Dir::Bi, vec![0x00, 0x00], false, h3::FRAME_UNEXPECTED),
        (Dir::Bi, vec![0x03, 0x00], false, h3::FRAME_UNEXPECTED),
        (Dir::Bi, vec![0x06, 0x00], false, h3::FRAME_UNEXPECTED),
        (Dir::Bi, bad_index, true, qpack::DECOMPRESSION_FAILED),
        (Dir::Bi, request[..7].to_vec(), true, h3::FRAME_ERROR),
        (Dir::Uni, vec![0x00, 0x04, 0x00], false, h3::STREAM_CREATION_ERROR),
        (Dir::Uni, vec![0x01, 0x00], false, h3::STREAM_CREATION_ERROR),
        (Dir::Uni, vec![0x02, 0x3f, 0xe1, 0xc7, 0xaf, 0xa0, 0x25], false, qpack::ENCODER_STREAM_ERROR),
        (Dir::Uni, vec![0x03, 0x00], false, qpack::DECODER_STREAM_ERROR),
        (Dir::Uni, vec![0x02], true, h3::CLOSED_CRITICAL_STREAM),
    ];
    for (dir, bytes, fin, code) in cases {
        let mut raw = Raw::new();
        raw.send(dir, &bytes, fin);
        assert_eq!(raw.code(), code, "{bytes:02x?}");
    }
    // On the control stream, after SETTINGS.
    for (bytes, code) in [
        (vec![0x00, 0x00], h3::FRAME_UNEXPECTED),
        (vec![0x01, 0x00], h3::FRAME_UNEXPECTED),
        (vec![0x04, 0x00], h3::FRAME_UNEXPECTED),
    ] {
        let mut raw = Raw::new();
        let control = raw.streams[0];
        raw.http.pair.client.only().write(control, &bytes).unwrap();
        assert_eq!(raw.code(), code, "{bytes:02x?}");
    }
    let mut raw = Raw::new();
    let control = raw.streams[0];
    raw.http.pair.client.only().finish(control).unwrap();
    assert_eq!(raw.code(), h3::CLOSED_CRITICAL_STREAM);
}

#[test]
fn a_malformed_request_ends_its_stream_only() {
    let mut raw = Raw::new();
    // :method twice.
    let section = [0x00, 0x00, 0xd1, 0xd7, 0x50, 0x01, b'a', 0xc1, 0xd1];
    let bytes = [&[0x01, section.len() as u8], &section[..]].concat();
    let id = raw.send(Dir::Bi, &bytes, true);
    let end = raw.http.pair.now + LIMIT;
    let code = loop {
        let now = raw.http.pair.now;
        raw.http.server.turn(&mut raw.http.pair.server, now);
        if let Err(whimbrel::streams::ReadError::Reset(code)) = raw.http.pair.client.only().read(id, &mut [0; 10]) {
            break code;
        }
        assert!(raw.http.pair.step() && raw.http.pair.now < end);
    };
    assert_eq!(code, h3::MESSAGE_ERROR);
    assert!(raw.http.pair.client.only().close_reason().is_none());
    assert!(raw.http.server.messages.is_empty());
}

/// A section that needs entries whose encoder stream comes 300 ms later.
#[test]
fn a_blocked_section() {
    let mut raw = Raw::new();
    let section = [0x02, 0x00, 0xd1, 0xd7, 0x50, 0x03, b'a', b'.', b'b', 0x80];
    let id = raw.send(Dir::Bi, &[&[0x01, section.len() as u8], &section[..]].concat(), true);
    let turn = |raw: &mut Raw| {
        let now = raw.http.pair.now;
        raw.http.server.turn(&mut raw.http.pair.server, now);
        assert!(raw.http.pair.step());
    };
    let later = raw.http.pair.now + Duration::from_millis(300);
    while raw.http.pair.now < later {
        turn(&mut raw);
    }
    assert!(raw.http.server.messages.is_empty());
    raw.send(Dir::Uni, &[0x02, 0x3f, 0xe1, 0x1f, 0xc1, 0x05, b'/', b'l', b'a', b't', b'e'], false);
    let end = raw.http.pair.now + LIMIT;
    while !raw.http.server.messages.contains_key(&id) {
        turn(&mut raw);
        assert!(raw.http.pair.now < end);
    }
    assert_eq!(raw.http.server.messages[&id].first.value(b":path"), Some(&b"/late"[..]));
}

/// A client finds errors of its server too.
#[test]
fn a_malformed_response() {
    let mut http = Http::new();
    http.server.echo = false;
    let id = http.get();
    http.run(|h| h.server.messages.contains_key(&id));
    // A DATA frame before any HEADERS, behind the back of the server's HTTP/3.
    http.pair.server.only().write(id, &[0x00, 0x01, b'x']).unwrap();
    http.run(|h| h.client.h3.failure().is_some());
    assert_eq!(http.client.h3.failure().map(|f| f.code), Some(h3::FRAME_UNEXPECTED));
    http.run(|h| {
        let reason = h.pair.server.connections.values().find_map(|c| c.close_reason());
        matches!(reason, Some(CloseReason::Peer { code, app: true, .. }) if *code == h3::FRAME_UNEXPECTED)
    });
}

#[test]
fn closing_in_good_order() {
    let mut http = Http::new();
    let id = http.get();
    http.until_complete(id);
    let now = http.pair.now;
    http.pair.server.only().close(h3::NO_ERROR, b"done", now);
    assert_eq!(http.until_closed(), h3::NO_ERROR);
    http.run(|h| h.client.h3.goaway(h.pair.client.only(), false) == Err(H3Error::Closed));
}
