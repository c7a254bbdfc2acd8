//! What a row of the fault matrix means: one value per dimension, value 0 the benign one.
//!
//! Invariant: a row and a seed say everything; [`Row::build`] draws nothing else from chance.
use std::time::Duration;

use whimbrel::base::codes::{VERSION_1, VERSION_2};
use whimbrel::congestion::Algorithm;
use whimbrel::connection::ConnectionConfig;
use whimbrel::connection::frame_style::FrameStyle;
use whimbrel::endpoint::RetryPolicy;
use whimbrel::sim::{Aqm, EcnPath, GilbertElliott, Job, LinkConfig, Plan, Policer, Replay};

/// Each of the four large streams.
const LARGE: u64 = 64 << 20;
pub const SIX_WEEKS: Duration = Duration::from_secs(6 * 7 * 86_400);

/// Names of the dimensions and of their values.
pub const DIMENSIONS: [(&str, &[&str]); 14] = [
    ("loss_up", &["none", "1 %", "5 %", "10 %", "30 %", "50 %", "bursts"]),
    ("loss_down", &["none", "1 %", "5 %", "10 %", "30 %", "50 %", "bursts"]),
    ("reorder", &["none", "5 %", "25 %"]),
    ("duplicate", &["none", "5 %", "50 %", "one datagram 1000 times"]),
    ("corrupt", &["none", "1 %", "10 %", "truncation"]),
    ("delay", &["50±10 ms", "0.1 ms", "300±200 ms", "2 s", "20 s", "6 weeks"]),
    (
        "bandwidth",
        &["10 Mbit/s, 100", "64 kbit/s, 5", "1 Mbit/s, 1000", "1 Gbit/s, 1000", "10 Gbit/s, 1000", "policer"],
    ),
    ("mtu", &["1452", "1200", "1280", "9000", "black hole"]),
    (
        "address",
        &[
            "steady",
            "port every 10 s",
            "port every 1 s",
            "port every 100 ms",
            "family",
            "in handshake",
            "in key update",
            "at close",
            "family at close",
            "NAT",
        ],
    ),
    ("outage", &["none", "1 s", "10 s", "a sixth of idle", "longer than idle", "six weeks asleep"]),
    ("ecn", &["faithful", "bleached", "all CE", "mangled", "CoDel", "L4S"]),
    (
        "peer",
        &[
            "default",
            "small windows",
            "large windows",
            "NewReno without pacing",
            "greased",
            "chaos CRYPTO",
            "one-byte frames",
            "one-byte writes",
        ],
    ),
    ("workload", &["GET", "1000 × 1 KiB", "bulk", "ping-pong", "datagrams", "resets", "upload", "4 × 64 MiB"]),
    ("keys", &["none", "update", "resumption", "0-RTT", "0-RTT rejected", "Retry", "version 2"]),
];

/// How many values of each dimension meet in the array. Six weeks are left out: nothing with a time of its own (a NAT,
/// an outage, a rebinding) means anything beside them, so they have tests of their own. So are dead times that no
/// connection may survive: they are put into some rows, the others have to come through.
pub fn levels() -> Vec<usize> {
    let apart = |name: &str| match name {
        "delay" => 1,
        "outage" => 2,
        _ => 0,
    };
    DIMENSIONS.iter().map(|(name, values)| values.len() - apart(name)).collect()
}

/// One world of the matrix.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    pub seed: u64,
    pub values: Vec<usize>,
}

impl Row {
    /// A row in which nothing is wrong.
    pub fn benign(seed: u64) -> Self {
        Self { seed, values: vec![0; DIMENSIONS.len()] }
    }

    fn index(name: &str) -> usize {
        DIMENSIONS.iter().position(|d| d.0 == name).unwrap_or_else(|| panic!("no dimension {name}"))
    }

    /// The same with another value of one dimension.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let dim = Self::index(name);
        let found = DIMENSIONS[dim].1.iter().position(|v| *v == value);
        self.values[dim] = found.unwrap_or_else(|| panic!("{name} is never {value}"));
        self
    }

    pub fn get(&self, name: &str) -> &'static str {
        let dim = Self::index(name);
        DIMENSIONS[dim].1[self.values[dim]]
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == value
    }

    /// As code for a named regression.
    pub fn code(&self) -> String {
        let mut code = format!("Row::benign({})", self.seed);
        for (dim, (name, values)) in DIMENSIONS.iter().enumerate() {
            if self.values[dim] != 0 {
                code += &format!(".with({name:?}, {:?})", values[self.values[dim]]);
            }
        }
        if let Some(size) = self.reduced() {
            code += &format!(" /* {size} */");
        }
        code
    }

    /// One-way delay without jitter.
    pub fn delay(&self) -> Duration {
        match self.get("delay") {
            "0.1 ms" => Duration::from_micros(100),
            "300±200 ms" => Duration::from_millis(100),
            "2 s" => Duration::from_secs(2),
            "20 s" => Duration::from_secs(20),
            "6 weeks" => SIX_WEEKS,
            _ => Duration::from_millis(40),
        }
    }

    fn jitter(&self) -> Duration {
        match self.get("delay") {
            "300±200 ms" => Duration::from_millis(400),
            "50±10 ms" => Duration::from_millis(20),
            _ => Duration::ZERO,
        }
    }

    /// A round trip at its slowest, without queues.
    pub fn rtt(&self) -> Duration {
        (self.delay() + self.jitter()) * 2
    }

    fn loss(&self, name: &str) -> (u64, GilbertElliott) {
        let none = GilbertElliott::default();
        match self.get(name) {
            "1 %" => (100, none),
            "5 %" => (500, none),
            "10 %" => (1000, none),
            "30 %" => (3000, none),
            "50 %" => (5000, none),
            "bursts" => (0, GilbertElliott { enter: 200, leave: 2500, loss: 9000 }),
            _ => (0, none),
        }
    }

    /// The worst loss of a round trip, in steps: 0 hardly any, 1 much, 2 very much.
    fn harshness(&self) -> u32 {
        let of = |name| match self.get(name) {
            "30 %" | "50 %" => 2,
            "10 %" | "bursts" => 1,
            _ => 0,
        };
        of("loss_up").max(of("loss_down")).max(u32::from(self.is("corrupt", "10 %")))
    }

    /// A third of all datagrams or more is lost, or nine in ten while a burst lasts: a burst ends after some packets and
    /// not after some time, and may outlive all the probes of a quarter of an hour.
    pub fn is_stormy(&self) -> bool {
        self.harshness() == 2 || self.is("loss_up", "bursts") || self.is("loss_down", "bursts")
    }

    /// Something may keep datagrams back for as long as a Retry token lives.
    pub fn is_troubled(&self) -> bool {
        self.harshness() > 0 || !self.is("outage", "none") || self.rtt() > Duration::from_secs(1)
    }

    pub fn link(&self, loss: &str) -> LinkConfig {
        let (loss, bursts) = self.loss(loss);
        let (bits, packets) = match self.get("bandwidth") {
            "64 kbit/s, 5" => (64_000, 5),
            "1 Mbit/s, 1000" => (1_000_000, 1000),
            "1 Gbit/s, 1000" => (1_000_000_000, 1000),
            "10 Gbit/s, 1000" => (10_000_000_000, 1000),
            _ => (10_000_000, 100),
        };
        let mut c = LinkConfig::pipe(bits, self.delay(), u64::MAX);
        (c.loss, c.bursts, c.jitter, c.queue_packets) = (loss, bursts, self.jitter(), packets);
        c.policer = self.is("bandwidth", "policer").then_some(Policer { rate: 400_000, burst: 8_000 });
        c.reorder = [0, 500, 2500][self.values[Self::index("reorder")]];
        c.reorder_packets = 64;
        c.duplicate = match self.get("duplicate") {
            "5 %" => 500,
            "50 %" => 5000,
            _ => 0,
        };
        let replayed = self.is("duplicate", "one datagram 1000 times");
        let every = Duration::from_millis(3);
        c.replay = replayed.then_some(Replay { nth: self.seed % 12, copies: 1000, every });
        match self.get("corrupt") {
            "1 %" => c.corrupt = 100,
            "10 %" => c.corrupt = 1000,
            "truncation" => c.truncate = 500,
            _ => {}
        }
        c.mtu = match self.get("mtu") {
            "1200" => 1200,
            "1280" => 1280,
            "9000" => 9000,
            _ => 1452,
        };
        match self.get("ecn") {
            "bleached" => c.ecn = EcnPath::Bleach,
            "all CE" => c.ecn = EcnPath::AllCe,
            "mangled" => c.ecn = EcnPath::Mangle,
            "CoDel" => c.aqm = Aqm::codel(),
            "L4S" => c.aqm = Aqm::l4s(),
            _ => {}
        }
        c
    }

    /// How long both ends are patient with silence.
    pub fn idle(&self) -> Duration {
        // Half of all datagrams lost and timers that double: silence of minutes is rare, but honest.
        Duration::from_secs(900).max(self.rtt() * 200)
    }

    pub fn config(&self) -> ConnectionConfig {
        let mut c = ConnectionConfig {
            idle_timeout: self.idle(),
            handshake_timeout: Duration::ZERO,
            grease_quic_bit: self.is("peer", "greased"),
            active_cid_limit: 6,
            ..ConnectionConfig::default()
        };
        if self.is("mtu", "9000") {
            c.mtu_ceiling = 8972;
        }
        // A connection that has nothing to send, or probes ever more seldom, would not notice the end of a long dead time.
        if !self.is("address", "steady") || self.is("outage", "a sixth of idle") {
            c.keep_alive = Duration::from_secs(1).max(self.rtt());
        }
        if let Some(memory) = self.nat_memory() {
            // Later than the answer, and long after the search for the MTU: what the server sends first finds a NAT that has forgotten the way.
            c.keep_alive = memory * 2 + Duration::from_secs(10);
        }
        match self.get("peer") {
            "small windows" => {
                c.flow.stream_window = 3000;
                c.flow.connection_window = 5000;
                c.flow.stream_window_max = 20_000;
                c.flow.connection_window_max = 30_000;
                c.flow.send_buffer = 2500;
                c.max_streams_bidi = 3;
            }
            "large windows" => {
                c.flow.stream_window = 64 << 20;
                c.flow.connection_window = 256 << 20;
                c.flow.stream_window_max = 64 << 20;
                c.flow.connection_window_max = 256 << 20;
                c.flow.send_buffer = 16 << 20;
                c.max_streams_bidi = 100_000;
            }
            "chaos CRYPTO" => c.frame_style = FrameStyle::ChaosCrypto,
            "one-byte frames" => c.frame_style = FrameStyle::OneByte,
            "NewReno without pacing" => {
                c.congestion = Algorithm::NewReno;
                c.pacing = false;
            }
            _ => {}
        }
        if self.is("keys", "version 2") {
            c.versions = vec![VERSION_2, VERSION_1];
        }
        c
    }

    pub fn retry(&self) -> RetryPolicy {
        // A Retry token lives for 15 seconds: nobody brings one back after a longer round trip.
        let wanted = self.is("keys", "Retry") && self.rtt() < Duration::from_secs(10);
        if wanted { RetryPolicy::Always } else { RetryPolicy::Never }
    }

    /// After how long a silence a NAT forgets the client.
    pub fn nat_memory(&self) -> Option<Duration> {
        self.is("address", "NAT").then_some(Duration::from_secs(30).max(self.rtt() * 3))
    }

    /// How long the server waits before each answer, so that addresses change while there is still work to do.
    pub fn thinks(&self) -> Duration {
        match self.get("address") {
            "port every 10 s" => Duration::from_secs(25),
            "port every 1 s" => Duration::from_secs(3),
            "port every 100 ms" => Duration::from_millis(350),
            "family" => self.rtt() * 7 + Duration::from_millis(450),
            "in key update" => self.rtt() * 2,
            "NAT" => self.nat_memory().unwrap_or_default() * 2 + Duration::from_secs(5),
            _ => Duration::ZERO,
        }
    }

    /// The size of four large streams: 64 MiB, but not by frames or writes of one byte, through a window of 30 KB, at less
    /// than a gigabit per second, or where a round trip costs seconds or every third datagram.
    fn large(&self) -> Option<u64> {
        let wide = matches!(self.get("bandwidth"), "1 Gbit/s, 1000" | "10 Gbit/s, 1000");
        let narrow = self.is("bandwidth", "64 kbit/s, 5")
            || self.is("peer", "small windows")
            || self.get("peer").starts_with("one-byte");
        let near = self.harshness() < 2 && self.delay() < Duration::from_secs(1);
        (near && !narrow).then_some(if wide { LARGE } else { LARGE / 32 })
    }

    /// What of the workload's name is not to be taken literally.
    pub fn reduced(&self) -> Option<String> {
        let plan = self.plan();
        let first = plan.jobs.first()?.download;
        match self.get("workload") {
            "1000 × 1 KiB" if plan.jobs.len() < 1000 => Some(format!("{} × 1 KiB", plan.jobs.len())),
            "4 × 64 MiB" if first < LARGE => Some(format!("4 × {first} bytes")),
            _ => None,
        }
    }

    /// Datagrams that the transfer may cost: little where every one of them is dear.
    fn budget(&self) -> u64 {
        let base = [3000, 500, 80][self.harshness() as usize];
        let slow = if matches!(self.get("delay"), "2 s" | "20 s") { 4 } else { 1 };
        let slower = if self.is("bandwidth", "64 kbit/s, 5") { 2 } else { 1 };
        if self.is("delay", "6 weeks") { 20 } else { (base / slow / slower).max(15) }
    }

    /// Most bytes that an application writes at a time; 0: what there is room for.
    pub fn portion(&self) -> usize {
        usize::from(self.is("peer", "one-byte writes"))
    }

    /// Connection IDs as long as they may be, and a chain of certificates that fills several datagrams.
    pub fn is_large(&self) -> bool {
        self.is("peer", "large windows")
    }

    pub fn plan(&self) -> Plan {
        let n = self.budget();
        // A frame of one byte takes five.
        let bytes = n * if self.get("peer").starts_with("one-byte") { 120 } else { 1000 };
        let mut plan = Plan { seed: self.seed, portion: self.portion(), ..Plan::default() };
        plan.early = self.is("keys", "0-RTT") || self.is("keys", "0-RTT rejected");
        match self.get("workload") {
            "1000 × 1 KiB" => {
                let count = if self.harshness() < 2 { 1000 } else { n.min(1000) };
                plan.jobs = vec![Job::get(1024); count as usize];
            }
            "bulk" => plan.jobs = vec![Job { download: bytes / 4, upload: bytes / 40, abandon: false }; 4],
            "ping-pong" => {
                plan.jobs = vec![Job { download: 100, upload: 100, abandon: false }; (n / 20).clamp(3, 40) as usize];
                plan.parallel = 1;
            }
            "datagrams" => {
                plan.jobs = vec![Job::get(bytes / 10)];
                (plan.datagrams, plan.datagram_len) = ((n / 2).min(400) as u32, 900);
            }
            "resets" => {
                let job = |i: u64| Job {
                    download: bytes / 20 * (i % 2),
                    upload: bytes / 20 * ((i + 1) % 2),
                    abandon: !i.is_multiple_of(3),
                };
                plan.jobs = (0..12).map(job).collect();
            }
            "upload" => plan.jobs = vec![Job::put(bytes / 2); 2],
            "4 × 64 MiB" => plan.jobs = vec![Job::get(self.large().unwrap_or(bytes / 4)); 4],
            _ => plan.jobs = vec![Job::get(bytes.min(100_000))],
        }
        plan
    }
}
