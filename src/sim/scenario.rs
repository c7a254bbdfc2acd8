//! What a seed means: the network, the settings of both ends, what is transferred and what goes wrong meanwhile.
use std::time::Duration;

use crate::base::codes::{VERSION_1, VERSION_2};
use crate::base::{Pcg, Rng};
use crate::congestion::Algorithm;
use crate::connection::ConnectionConfig;
use crate::endpoint::RetryPolicy;

use super::aqm::Aqm;
use super::link::{EcnPath, GilbertElliott, LinkConfig};
use super::script::ScriptConfig;
use super::world::Rebind;

/// Something that happens to the client at a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The NAT gives the client another port (or address), and nobody is told.
    Rebind(Rebind),
    /// The client moves to another socket on purpose.
    Migrate { old_path_dies: bool },
    /// The client's network changes under it and it is told.
    Moved,
    /// Nothing gets through in either direction for this long.
    Outage(Duration),
    /// Client or server changes its keys.
    KeyUpdate { by_client: bool },
}

/// Everything that is decided before the start.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub up: LinkConfig,
    pub down: LinkConfig,
    pub client: ConnectionConfig,
    pub server: ConnectionConfig,
    pub retry: RetryPolicy,
    /// Connections one after another; the second one may resume and send early data.
    pub rounds: u32,
    pub early_data: bool,
    /// The server forgets its ticket keys between the rounds: early data is rejected.
    pub server_forgets: bool,
    pub mishaps: Vec<(Duration, Mishap)>,
    /// Mishaps keep this distance.
    pub mishap_gap: Duration,
    /// So many mishaps that the two may lose each other: only correctness is asked for.
    pub storm: bool,
    pub streams_each_side: u32,
    /// Longest message.
    pub longest: u64,
    /// Streams that are reset or stopped half-way are among them.
    pub with_resets: bool,
    pub datagrams: u32,
    /// Give up after this much virtual time.
    pub patience: Duration,
}

impl Scenario {
    /// One connection over a faithful path.
    #[must_use]
    pub fn clean(seed: u64) -> Self {
        let config = ConnectionConfig { handshake_timeout: Duration::from_secs(60), ..ConnectionConfig::default() };
        Self {
            seed,
            up: LinkConfig::clean(),
            down: LinkConfig::clean(),
            client: config.clone(),
            server: config,
            retry: RetryPolicy::Never,
            rounds: 1,
            early_data: false,
            server_forgets: false,
            mishaps: Vec::new(),
            mishap_gap: Duration::from_secs(4),
            storm: false,
            streams_each_side: 4,
            longest: 20_000,
            with_resets: false,
            datagrams: 0,
            patience: Duration::from_secs(600),
        }
    }

    /// What both applications do.
    #[must_use]
    pub fn script(&self) -> ScriptConfig {
        ScriptConfig {
            seed: self.seed,
            streams_each_side: self.streams_each_side,
            longest: self.longest,
            with_resets: self.with_resets,
            datagrams: self.datagrams,
            early_data: self.early_data,
        }
    }

    /// The world of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Pcg::new(seed ^ 0x5ce7_a210);
        let r = &mut rng;
        let mut s = Self::clean(seed);
        s.up = link(r);
        s.down = LinkConfig { delay: s.up.delay, ..link(r) };
        s.client = settings(r);
        s.server = settings(r);
        s.streams_each_side = 1 + r.below(8) as u32;
        s.longest = [100, 3000, 30_000, 120_000][r.below(4) as usize];
        s.with_resets = r.below(3) == 0;
        s.datagrams = if r.below(3) == 0 { r.below(40) as u32 } else { 0 };
        s.retry = if r.below(5) == 0 { RetryPolicy::Always } else { RetryPolicy::Never };
        if r.below(4) == 0 {
            s.rounds = 2;
            s.early_data = r.below(4) != 0;
            s.server_forgets = r.below(3) == 0;
        }
        for _ in 0..[0, 0, 1, 1, 2, 4][r.below(6) as usize] {
            let at = Duration::from_millis(r.below(3000));
            let mishap = match r.below(6) {
                0 | 1 => Mishap::Rebind(rebind(r.below(3) == 0)),
                2 => Mishap::Migrate { old_path_dies: r.below(2) == 0 },
                3 => Mishap::Moved,
                4 => Mishap::Outage(Duration::from_millis(r.below(4000))),
                _ => Mishap::KeyUpdate { by_client: r.below(2) == 0 },
            };
            s.mishaps.push((at, mishap));
        }
        if !s.mishaps.is_empty() {
            // A client that only listens must speak now and then, or nobody finds it behind its NAT again.
            s.client.keep_alive = Duration::from_millis(500);
        }
        s
    }

    /// A seed's world with far more trouble than a connection has to survive.
    #[must_use]
    pub fn storm(seed: u64) -> Self {
        let mut s = Self::from_seed(seed);
        let mut rng = Pcg::new(seed ^ 0x0005_7072);
        let r = &mut rng;
        s.storm = true;
        s.longest = s.longest.max(60_000);
        s.with_resets = r.below(2) == 0;
        s.mishap_gap = Duration::from_millis(r.below(900));
        s.client.keep_alive = Duration::from_millis(100 + r.below(400));
        s.client.idle_timeout = Duration::from_secs(20);
        s.client.active_cid_limit = 4 + r.below(4);
        s.server.active_cid_limit = 4 + r.below(4);
        s.mishaps.clear();
        for _ in 0..4 + r.below(12) {
            let mishap = match r.below(7) {
                0 | 1 => Mishap::Rebind(rebind(r.below(2) == 0)),
                2 | 3 => Mishap::Migrate { old_path_dies: r.below(2) == 0 },
                4 => Mishap::Moved,
                5 => Mishap::Outage(Duration::from_millis(r.below(1500))),
                _ => Mishap::KeyUpdate { by_client: r.below(2) == 0 },
            };
            s.mishaps.push((Duration::from_millis(r.below(6000)), mishap));
        }
        s
    }
}

fn rebind(new_address: bool) -> Rebind {
    if new_address { Rebind::Address } else { Rebind::Port }
}

fn link(r: &mut Pcg) -> LinkConfig {
    let mut c = LinkConfig::clean();
    c.rate = [60_000, 250_000, 1_250_000, 12_500_000, 125_000_000][r.below(5) as usize];
    c.delay = Duration::from_micros([100, 2_000, 15_000, 60_000, 200_000][r.below(5) as usize] + r.below(1000));
    c.queue = (c.rate / 5).clamp(15_000, 1 << 20);
    c.jitter = Duration::from_nanos(r.below(c.delay.as_nanos() as u64 / 4 + 1));
    c.mtu = [1200, 1280, 1400, 1472, 1500][r.below(5) as usize];
    let half = c.serialise(c.queue as usize / 2);
    c.aqm = if r.below(2) == 0 { Aqm::Step { threshold: half } } else { Aqm::DropTail };
    c.ecn = if r.below(5) == 0 { EcnPath::Bleach } else { EcnPath::Faithful };
    if r.below(4) == 0 {
        return c; // a good day
    }
    c.loss = [0, 0, 100, 300, 800][r.below(5) as usize];
    if r.below(4) == 0 {
        c.bursts = GilbertElliott { enter: 50, leave: 2000, loss: 8000 };
    }
    c.reorder_time = c.delay * 3;
    c.reorder = [0, 0, 100, 1500][r.below(4) as usize];
    c.duplicate = [0, 0, 100, 500][r.below(4) as usize];
    c.corrupt = [0, 0, 50, 300][r.below(4) as usize];
    c
}

fn settings(r: &mut Pcg) -> ConnectionConfig {
    let mut c = ConnectionConfig {
        idle_timeout: Duration::from_secs(60),
        handshake_timeout: Duration::from_secs(60),
        ..ConnectionConfig::default()
    };
    if r.below(4) == 0 {
        c.versions = vec![VERSION_2, VERSION_1];
    }
    c.congestion = match r.below(8) {
        0 => Algorithm::NewReno,
        1 => Algorithm::Bbr,
        2 => Algorithm::Prague,
        3 => Algorithm::Cubic,
        _ => Algorithm::Adaptive,
    };
    if r.below(3) == 0 {
        // Windows that bite.
        c.flow.stream_window = 1000 + r.below(20_000);
        c.flow.connection_window = 2000 + r.below(30_000);
        c.flow.stream_window_max = 40_000;
        c.flow.connection_window_max = 60_000;
        c.flow.send_buffer = 2000 + r.below(20_000);
    }
    if r.below(3) == 0 {
        c.max_streams_bidi = 1 + r.below(3);
        c.max_streams_uni = 1 + r.below(3);
    }
    c.pacing = r.below(8) != 0;
    c.ecn = r.below(4) != 0;
    c.mtu_ceiling = [1200, 1350, 1472, 1500][r.below(4) as usize];
    c.max_ack_delay = Duration::from_millis([0, 5, 25, 100][r.below(4) as usize]);
    // With two, a change of network while the first RETIRE_CONNECTION_ID is lost leaves the server without an ID to answer
    // with (RFC 9000 section 9.5 forbids to use the old one), and so without a way to ask for more.
    c.active_cid_limit = 3 + r.below(5);
    c.ack_frequency = c.active_cid_limit.is_multiple_of(2);
    c.key_events = true;
    c
}
