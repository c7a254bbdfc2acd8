//! Connections that share one bottleneck and write as fast as they may.
//!
//! Each flow has hosts of its own; all data pass one link, acknowledgements come back over another one that is wide.
use std::time::Duration;

use whimbrel::base::{Dir, StreamId, Timestamp};
use whimbrel::collections::Chunk;
use whimbrel::congestion::Algorithm;
use whimbrel::connection::{Connection, ConnectionConfig, Event, Stats};
use whimbrel::sim::{App, ConnId, LinkConfig, LinkCounts, LinkId, NodeConfig, NodeId, World, identity};
use whimbrel::streams::StreamEvent;

/// What is written at a time.
const BLOCK: usize = 64 * 1024;

/// Writes for ever, like an application that waits for `Writable` after a write that found no room.
#[derive(Default)]
pub struct Source {
    stream: Option<StreamId>,
    full: bool,
    /// Nothing is written for now.
    pub silent: bool,
}

impl App for Source {
    fn on_event(&mut self, _: &mut Connection, event: &Event, _: Timestamp) {
        if matches!(event, Event::Stream(StreamEvent::Writable { .. })) {
            self.full = false;
        }
    }

    fn work(&mut self, conn: &mut Connection, _: Timestamp) -> bool {
        if !conn.is_established() || self.silent {
            return false;
        }
        let id = match self.stream {
            Some(id) => id,
            None => *self.stream.insert(conn.open(Dir::Uni).expect("the first stream")),
        };
        let mut changed = false;
        while !self.full {
            match conn.write_chunk(id, Chunk::from_static(&[0x5a; BLOCK])) {
                Ok(BLOCK) => changed = true,
                _ => self.full = true,
            }
        }
        changed
    }

    fn is_done(&self) -> bool {
        false
    }

    fn is_waiting(&self) -> bool {
        true
    }
}

/// Reads everything and counts it.
#[derive(Default)]
pub struct Drain {
    stream: Option<StreamId>,
    received: u64,
}

impl App for Drain {
    fn on_event(&mut self, _: &mut Connection, _: &Event, _: Timestamp) {}

    fn work(&mut self, conn: &mut Connection, _: Timestamp) -> bool {
        let before = self.received;
        self.stream = self.stream.or_else(|| conn.accept_stream(Dir::Uni));
        if let Some(id) = self.stream {
            while let Ok((chunk, _)) = conn.read_chunk(id, 1 << 20) {
                if chunk.is_empty() {
                    break;
                }
                self.received += chunk.len() as u64;
            }
        }
        self.received > before
    }

    fn is_done(&self) -> bool {
        false
    }

    fn is_waiting(&self) -> bool {
        true
    }

    fn bytes_read(&self) -> u64 {
        self.received
    }
}

/// What one sender does.
#[derive(Clone, Debug)]
pub struct Flow {
    pub config: ConnectionConfig,
    pub start: Duration,
}

impl Flow {
    pub fn new(congestion: Algorithm) -> Self {
        Self { config: ConnectionConfig { congestion, ..ConnectionConfig::default() }, start: Duration::ZERO }
    }

    pub fn after(self, start: Duration) -> Self {
        Self { start, ..self }
    }
}

/// `mbit` Mbit/s, `ms` there and back, a queue of `percent` of their product.
pub fn bottleneck(mbit: u64, ms: u64, percent: u64) -> LinkConfig {
    let product = mbit * 125 * ms;
    LinkConfig::pipe(mbit * 1_000_000, Duration::from_millis(ms) / 2, (product * percent / 100).max(3000))
}

/// The world.
pub struct Dumbbell {
    pub world: World,
    link: LinkId,
    pairs: Vec<(ConnId, NodeId)>,
}

impl Dumbbell {
    pub fn new(seed: u64, link: LinkConfig, flows: &[Flow]) -> Self {
        let mut world = World::new(seed);
        let back = LinkConfig { delay: link.delay, ..LinkConfig::clean() };
        let link = world.add_link(link);
        let back = world.add_link(back);
        let tls = identity::client(false);
        let mut pairs = Vec::new();
        for (index, flow) in flows.iter().enumerate() {
            let address = std::net::SocketAddr::from(([192, 0, 2, index as u8 + 1], 443));
            let server = world.add_node(NodeConfig { max_segments: 44, ..NodeConfig::server(&[address]) });
            let client = world.add_node(NodeConfig { max_segments: 44, ..NodeConfig::client() });
            world.join(client, server, &[link], &[back]);
            let app = || Box::new(Drain::default()) as Box<dyn App>;
            world.listen(server, identity::server(false), flow.config.clone(), Box::new(app));
            world.run_until(Timestamp::ZERO + Duration::from_secs(1) + flow.start);
            let conn = world.connect(client, server, &tls, flow.config.clone(), Box::new(Source::default()));
            pairs.push((conn, server));
        }
        Self { world, link, pairs }
    }

    fn received(&self) -> Vec<u64> {
        let of = |node: NodeId| self.world.connections(node).first().map(|c| self.world.app::<Drain>(*c).received);
        self.pairs.iter().map(|(_, server)| of(*server).unwrap_or(0)).collect()
    }

    /// Mbit/s of application data of each flow in the next `length`.
    pub fn run(&mut self, length: Duration) -> Vec<f64> {
        let before = self.received();
        self.world.run_for(length);
        let rate = |(after, before): (u64, u64)| (after - before) as f64 * 8e-6 / length.as_secs_f64();
        self.received().into_iter().zip(before).map(rate).collect()
    }

    pub fn link(&self) -> LinkCounts {
        self.world.links[self.link.0].counts
    }

    pub fn link_config(&mut self) -> &mut LinkConfig {
        &mut self.world.links[self.link.0].config
    }

    pub fn sender(&self, index: usize) -> Stats {
        self.world.conn(self.pairs[index].0).expect("running").stats()
    }

    pub fn source(&mut self, index: usize, change: impl FnOnce(&mut Source)) {
        let id = self.pairs[index].0;
        self.world.with_app::<Source, _>(id, change);
    }
}
