//! A client, a server, the interop runner's link between them, and everything that an observer can see.
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use whimbrel::base::codes::{VERSION_1, VERSION_2};
use whimbrel::base::{Ecn, Timestamp};
use whimbrel::connection::{CloseReason, ConnectionConfig};
use whimbrel::crypto::{ClientTls, ServerTls};
use whimbrel::endpoint::{EndpointConfig, RetryPolicy};
use whimbrel::sim::{App, Client, ConnId, LinkConfig, LinkId, NodeConfig, NodeId, Plan, Server, World, identity};
use whimbrel::wire::header::{self, PacketType};

pub const SEED: u64 = 33;
pub const KB: u64 = 1024;
pub const MB: u64 = 1024 * 1024;

/// A packet with a long header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Long {
    pub ty: PacketType,
    pub version: u32,
    pub scid: Vec<u8>,
    pub dcid: Vec<u8>,
    pub token: Vec<u8>,
    pub len: usize,
}

/// A datagram on the wire, as a packet capture shows it.
#[derive(Clone, Debug)]
pub struct Captured {
    pub at: Timestamp,
    pub by_client: bool,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ecn: Ecn,
    pub len: usize,
    pub packets: Vec<Long>,
    /// Bytes after the long headers: a packet with a short header.
    pub short: Vec<u8>,
}

fn dissect(mut bytes: &[u8]) -> (Vec<Long>, Vec<u8>) {
    let mut packets = Vec::new();
    while bytes.first().is_some_and(|b| b & 0x80 != 0) {
        let Ok(h) = header::parse_greased(bytes, 8) else { break };
        packets.push(Long {
            ty: h.ty,
            version: h.version,
            scid: h.scid.as_slice().to_vec(),
            dcid: h.dcid.as_slice().to_vec(),
            // A Retry ends with its integrity tag (RFC 9000 section 17.2.5).
            token: match h.ty {
                PacketType::Retry => bytes[h.pn_offset..bytes.len() - 16].to_vec(),
                _ => h.token.to_vec(),
            },
            len: h.packet_len,
        });
        if h.packet_len == 0 || h.packet_len >= bytes.len() {
            return (packets, Vec::new());
        }
        bytes = &bytes[h.packet_len..];
    }
    (packets, bytes.to_vec())
}

/// A case under way.
pub struct Case {
    pub world: World,
    pub client: NodeId,
    pub server: NodeId,
    pub up: LinkId,
    pub down: LinkId,
    pub config: ConnectionConfig,
    pub tls: Arc<ClientTls>,
    capture: Arc<Mutex<Vec<Captured>>>,
}

/// What a case changes before it starts.
pub struct Setup {
    pub link: LinkConfig,
    pub addresses: Vec<&'static str>,
    pub client_tls: Arc<ClientTls>,
    pub server_tls: Arc<ServerTls>,
    pub server: ConnectionConfig,
    pub client: ConnectionConfig,
    pub retry: RetryPolicy,
    /// What the server's endpoint speaks.
    pub versions: Vec<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        let config = ConnectionConfig { qlog: true, key_events: true, ..ConnectionConfig::default() };
        // 15 ms one-way, 10 Mbit/s, a queue of 25 packets.
        let mut link = LinkConfig::pipe(10_000_000, Duration::from_millis(15), u64::MAX);
        link.queue_packets = 25;
        Self {
            link,
            addresses: vec!["192.0.2.1:443"],
            client_tls: identity::client(true),
            server_tls: identity::server(true),
            server: config.clone(),
            client: config,
            retry: RetryPolicy::Never,
            versions: vec![VERSION_1, VERSION_2],
        }
    }
}

impl Case {
    pub fn new(setup: Setup) -> Self {
        let mut world = World::new(SEED);
        let client = world.add_node(NodeConfig::client());
        let addresses: Vec<SocketAddr> = setup.addresses.iter().map(|a| a.parse().unwrap()).collect();
        let endpoint = EndpointConfig {
            server: true,
            secret: [3; 32],
            retry: setup.retry,
            versions: setup.versions,
            ..Default::default()
        };
        let server = world.add_node(NodeConfig { endpoint, ..NodeConfig::server(&addresses) });
        let (up, down) = (world.add_link(setup.link.clone()), world.add_link(setup.link));
        world.join(client, server, &[up], &[down]);
        world.listen(server, setup.server_tls, setup.server, Box::new(|| Box::new(Server::new(SEED)) as Box<dyn App>));
        let capture = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&capture);
        world.watch(move |d| {
            let (packets, short) = dissect(d.bytes);
            let by_client = d.node == client;
            let (at, from, to, ecn, len) = (d.at, d.from, d.to, d.ecn, d.bytes.len());
            seen.lock().unwrap().push(Captured { at, by_client, from, to, ecn, len, packets, short });
            true
        });
        Self { world, client, server, up, down, config: setup.client, tls: setup.client_tls, capture }
    }

    pub fn plain() -> Self {
        Self::new(Setup::default())
    }

    pub fn capture(&self) -> Vec<Captured> {
        self.capture.lock().unwrap().clone()
    }

    pub fn connect(&mut self, plan: Plan) -> ConnId {
        let plan = Plan { seed: SEED, ..plan };
        let tls = Arc::clone(&self.tls);
        self.world.connect(self.client, self.server, &tls, self.config.clone(), Box::new(Client::new(plan)))
    }

    /// Plays a plan to its end: every byte checked, a clean close, both ends gone.
    pub fn fetch(&mut self, plan: Plan, limit: Duration) -> ConnId {
        let id = self.connect(plan);
        self.finish(id, limit);
        id
    }

    pub fn finish(&mut self, id: ConnId, limit: Duration) {
        assert!(self.world.run_jobs(&[id], limit), "not done in {limit:?}\n{}", self.world.story());
        self.world.act(id, |c, now| c.close(0, b"", now)).expect("it is open");
        assert_eq!(self.world.live(id).closed, Some(CloseReason::Local { code: 0 }));
        let server = self.server;
        let over = |w: &World| w.conn(id).is_none() && w.connections(server).iter().all(|c| w.conn(*c).is_none());
        assert!(self.world.run_while(Duration::from_secs(90), |w| !over(w)), "{}", self.world.story());
        let digests = self.world.live(id).app.digests();
        let theirs: Vec<_> = self.served().iter().map(|s| self.world.live(*s).app.digests()).collect();
        assert!(theirs.iter().any(|d| d.sent == digests.received && d.received == digests.sent), "SHA-256 differs");
    }

    /// The server's connections.
    pub fn served(&self) -> Vec<ConnId> {
        self.world.connections(self.server)
    }

    /// The runner's "handshakes": distinct source connection IDs in Initials of the server.
    pub fn handshakes(&self) -> usize {
        let mut ids: Vec<Vec<u8>> = self.long(false, PacketType::Initial).into_iter().map(|p| p.scid).collect();
        ids.sort();
        ids.dedup();
        ids.len()
    }

    /// Long packets of one side and type, in order.
    pub fn long(&self, by_client: bool, ty: PacketType) -> Vec<Long> {
        let all = self.capture();
        let mine = all.into_iter().filter(|d| d.by_client == by_client);
        mine.flat_map(|d| d.packets).filter(|p| p.ty == ty).collect()
    }

    /// The records of a connection's qlog: time since its start in milliseconds, name, data.
    pub fn qlog(&self, id: ConnId) -> Vec<(f64, String, serde_json::Value)> {
        let text = String::from_utf8(self.world.live(id).qlog.clone()).expect("qlog is UTF-8");
        let records = text.split('\u{1e}').filter(|r| !r.trim().is_empty());
        let parsed = records.map(|r| serde_json::from_str::<serde_json::Value>(r).expect("a qlog record"));
        parsed
            .filter(|r| r.get("name").is_some())
            .map(|r| {
                let name = r["name"].as_str().expect("a name").to_owned();
                (r["time"].as_f64().expect("a time"), name, r["data"].clone())
            })
            .collect()
    }

    /// Frames of one type in the packets that this end sent: time, packet type, frame.
    pub fn sent_frames(&self, id: ConnId, kind: &str) -> Vec<(f64, String, serde_json::Value)> {
        let mut out = Vec::new();
        for (time, name, data) in self.qlog(id) {
            if name != "quic:packet_sent" {
                continue;
            }
            let ty = data["header"]["packet_type"].as_str().unwrap_or_default().to_owned();
            for frame in data["frames"].as_array().into_iter().flatten().filter(|f| f["frame_type"] == kind) {
                out.push((time, ty.clone(), frame.clone()));
            }
        }
        out
    }
}
