//! The link of the interop grid: a TUN device in each of two network namespaces, and everything a network does to
//! packets between them: delay, rate with a short queue, bursty loss, corruption, outages, a NAT that rebinds.
//!
//! It works on whole IP packets, so addresses, ECN bits and sizes arrive as they were sent. All chances come from one
//! seed. What each side sent and received at its own device goes to a capture file (raw IP), made for judging by what
//! was on the wire. `ready` is printed when both devices exist; SIGTERM ends it and completes the captures.
mod capture;
mod chance;
mod nat;
mod packet;
mod tun;

use capture::Capture;
use chance::Chance;
use nat::Nat;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Largest IP packet that the devices carry.
const MTU: usize = 1500;

/// What the command line asks for.
struct Options {
    client_ns: String,
    server_ns: String,
    client_pcap: String,
    server_pcap: String,
    seed: u64,
    delay: Duration,
    /// Bits per second.
    rate: u64,
    /// Packets that may wait for the wire.
    queue: usize,
    loss: f64,
    corrupt: f64,
    /// Longest run of packets that meet one fate.
    burst: u32,
    /// The link is dead for `.1` in the end of every `.0`.
    outage: Option<(Duration, Duration)>,
    /// Numbers of the client's datagrams that are lost, counted from 1.
    drop_client: Option<(u64, u64)>,
    /// First rebinding, then one in every period; with a new address too, or only with a new port.
    rebind: Option<(Duration, Duration, bool)>,
}

fn number(name: &str, text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| usage(&format!("{name} wants a number, not {text}")))
}

fn usage(problem: &str) -> ! {
    eprintln!("link: {problem}");
    std::process::exit(2)
}

fn options() -> Options {
    let mut o = Options {
        client_ns: String::new(),
        server_ns: String::new(),
        client_pcap: String::new(),
        server_pcap: String::new(),
        seed: 1,
        delay: Duration::from_millis(15),
        rate: 10_000_000,
        queue: 25,
        loss: 0.0,
        corrupt: 0.0,
        burst: 3,
        outage: None,
        drop_client: None,
        rebind: None,
    };
    let mut args = std::env::args().skip(1);
    let millis = |name: &str, v: &str| Duration::from_millis(number(name, v));
    while let Some(name) = args.next() {
        let Some(v) = args.next() else { usage(&format!("{name} wants a value")) };
        let pair = || v.split_once(',').unwrap_or_else(|| usage(&format!("{name} wants A,B")));
        let share = || v.parse::<f64>().unwrap_or_else(|_| usage(&format!("{name} wants a share")));
        match name.as_str() {
            "--client-ns" => o.client_ns = v,
            "--server-ns" => o.server_ns = v,
            "--client-pcap" => o.client_pcap = v,
            "--server-pcap" => o.server_pcap = v,
            "--seed" => o.seed = number(&name, &v),
            "--delay-ms" => o.delay = millis(&name, &v),
            "--rate" => o.rate = number(&name, &v),
            "--queue" => o.queue = number(&name, &v) as usize,
            "--loss" => o.loss = share(),
            "--corrupt" => o.corrupt = share(),
            "--burst" => o.burst = number(&name, &v) as u32,
            "--outage-ms" => o.outage = Some((millis(&name, pair().0), millis(&name, pair().1))),
            "--drop-client" => o.drop_client = Some((number(&name, pair().0), number(&name, pair().1))),
            "--rebind-port-ms" => o.rebind = Some((millis(&name, pair().0), millis(&name, pair().1), false)),
            "--rebind-addr-ms" => o.rebind = Some((millis(&name, pair().0), millis(&name, pair().1), true)),
            _ => usage(&format!("no option {name}")),
        }
    }
    o
}

/// One direction of the link.
struct Direction {
    /// Packets under way, with the time at which they arrive. Times only rise.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// When the wire is free again.
    free_at: Instant,
    chance: Chance,
    /// Datagrams offered so far.
    seen: u64,
}

impl Direction {
    fn new(seed: u64, o: &Options, now: Instant) -> Self {
        Self { under_way: VecDeque::new(), free_at: now, chance: Chance::new(seed, o.loss, o.corrupt, o.burst), seen: 0 }
    }

    /// Takes a packet in: it is queued to arrive later, perhaps damaged, or it is lost.
    fn offer(&mut self, mut packet: Vec<u8>, o: &Options, now: Instant, dead: bool, dropped: Option<(u64, u64)>) {
        self.seen += 1;
        let fate = self.chance.next();
        let named = dropped.is_some_and(|(from, to)| (from..=to).contains(&self.seen));
        if dead || named || fate.lost {
            return;
        }
        if fate.corrupted {
            packet::corrupt(&mut packet, self.chance.number());
        }
        let on_wire = Duration::from_nanos(packet.len() as u64 * 8 * 1_000_000_000 / o.rate);
        // Packets that wait are those that the wire has not begun to carry.
        let backlog = self.free_at.saturating_duration_since(now);
        let full = on_wire.as_nanos().max(1) * o.queue as u128;
        if backlog.as_nanos() > full.max(o.queue as u128 * MTU as u128 * 8_000_000_000 / u128::from(o.rate)) {
            return;
        }
        self.free_at = self.free_at.max(now) + on_wire;
        self.under_way.push_back((self.free_at + o.delay, packet));
    }
}

/// Waits until a device is readable, or until the deadline.
fn wait(fds: [&OwnedFd; 2], until: Option<Instant>) -> io::Result<()> {
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let left = until.map_or(Duration::from_millis(100), |t| t.saturating_duration_since(Instant::now()));
    let time = libc::timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    // SAFETY: `polled` and `time` live through the call.
    let n = unsafe { libc::ppoll(polled.as_mut_ptr(), 2, &time, std::ptr::null()) };
    if n < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn run(o: &Options) -> io::Result<()> {
    let client = tun::open(&o.client_ns, MTU)?;
    let server = tun::open(&o.server_ns, MTU)?;
    let mut client_pcap = Capture::create(&o.client_pcap)?;
    let mut server_pcap = Capture::create(&o.server_pcap)?;
    println!("ready");
    io::stdout().flush()?;

    let start = Instant::now();
    let mut up = Direction::new(o.seed, o, start);
    let mut down = Direction::new(o.seed ^ 0x5eed_0000_0000, o, start);
    let mut nat = Nat::new();
    // Schedules count from the first datagram, not from the start of the programs.
    let mut first: Option<Instant> = None;
    let mut next_rebind = None;
    let mut buffer = [0u8; MTU + 64];
    while !tun::ended() {
        let due = [up.under_way.front(), down.under_way.front()].into_iter().flatten().map(|p| p.0).min();
        wait([&client, &server], due)?;
        let now = Instant::now();
        let dead = |first: Option<Instant>| match (o.outage, first) {
            (Some((period, length)), Some(first)) => {
                let at = now.duration_since(first).as_micros() % period.as_micros();
                at >= (period - length).as_micros()
            }
            _ => false,
        };
        while let Some(n) = tun::read(&client, &mut buffer)? {
            if !packet::carried(&buffer[..n]) {
                continue;
            }
            client_pcap.record(&buffer[..n])?;
            if first.is_none() {
                first = Some(now);
                next_rebind = o.rebind.map(|(delay, ..)| now + delay);
            }
            up.offer(buffer[..n].to_vec(), o, now, dead(first), o.drop_client);
        }
        while let Some(n) = tun::read(&server, &mut buffer)? {
            if packet::carried(&buffer[..n]) {
                server_pcap.record(&buffer[..n])?;
                down.offer(buffer[..n].to_vec(), o, now, dead(first), None);
            }
        }
        if let (Some(at), Some((_, period, address))) = (next_rebind, o.rebind)
            && now >= at
        {
            nat.rebind(address);
            next_rebind = Some(at + period);
        }
        while up.under_way.front().is_some_and(|p| p.0 <= now) {
            let Some((_, mut packet)) = up.under_way.pop_front() else { break };
            if o.rebind.is_some() {
                nat.outward(&mut packet);
            }
            server_pcap.record(&packet)?;
            tun::write(&server, &packet)?;
        }
        while down.under_way.front().is_some_and(|p| p.0 <= now) {
            let Some((_, mut packet)) = down.under_way.pop_front() else { break };
            if o.rebind.is_some() && !nat.inward(&mut packet) {
                continue; // that binding is gone
            }
            client_pcap.record(&packet)?;
            tun::write(&client, &packet)?;
        }
    }
    client_pcap.finish()?;
    server_pcap.finish()
}

fn main() {
    let o = options();
    tun::end_on_signal();
    if let Err(e) = run(&o) {
        eprintln!("link: {e}");
        std::process::exit(1);
    }
}
