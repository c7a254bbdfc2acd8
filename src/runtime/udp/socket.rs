//! One UDP socket of a worker: made here, read and written in batches.
//!
//! Set-up follows what servers get wrong most often: no SO_REUSEADDR (a second process would bind
//! the same port without an error), IPv6 sockets take IPv6 only, packet information is on so that
//! replies leave from the address that the datagram came to, don't-fragment is on (RFC 9000
//! section 14). A shared port (SO_REUSEPORT) is claimed by a plain bind first, so that a port in
//! use by somebody else is an error here as well.
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{errqueue, steer};
use crate::base::Ecn;
use crate::endpoint::cid_source::ShardMask;

/// Bytes of one receive slot: the longest GRO run.
pub const RECV_SLOT: usize = 65536;
/// Receive slots per call at most, as many as quinn-udp takes.
pub const RECV_SLOTS: usize = 32;
/// Slots of a call while they fill with merged runs: few, so that what they hold stays in the second-level cache.
const FEW_SLOTS: usize = 4;
/// Runs of at most so many bytes, as where nothing merges datagrams, leave room in the cache for all slots.
const SHORT_RUN: usize = 4096;
/// GSO failures in a row after which the socket goes on without.
const GSO_STRIKES: u32 = 3;

/// What a new socket should be like.
#[derive(Clone, Copy)]
pub struct SocketOptions {
    pub recv_buffer: usize,
    pub send_buffer: usize,
    /// Read ICMP errors (clients).
    pub peer_errors: bool,
    /// Let the kernel choose among the sockets of a shared port by connection ID.
    pub steer: Option<ShardMask>,
}

/// One UDP socket.
pub struct UdpSocket {
    io: Socket,
    /// quinn-udp's view; replaced when it has given up GSO for a reason that was not GSO.
    state: UdpSocketState,
    local: SocketAddr,
    connected: Option<SocketAddr>,
    /// What a successor should be like, of a socket that is connected.
    options: Option<SocketOptions>,
    /// The descriptor is another one: the poller has to hear of it.
    renewed: bool,
    /// Slots that the next receive call offers.
    slots: usize,
    gso_strikes: u32,
}

/// What one slot of a receive call holds: `len` bytes, datagrams of `stride` bytes, the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub remote: SocketAddr,
    pub local_ip: Option<std::net::IpAddr>,
    pub ecn: Ecn,
    pub len: usize,
    pub stride: usize,
}

/// What became of one send call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    Sent,
    /// Nothing was sent: from byte `offset` on it can be tried again when the socket is writable.
    Blocked {
        offset: usize,
    },
    /// Some datagram was larger than the interface takes; path MTU discovery learns by its loss.
    TooBig,
    /// Lost here, as if lost on the way.
    Failed {
        os_error: i32,
    },
}

fn open(addr: &SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let ipv6 = addr.is_ipv6();
    let io = Socket::new(Domain::for_address(*addr), Type::DGRAM, Some(Protocol::UDP))?;
    io.set_nonblocking(true)?;
    if ipv6 {
        io.set_only_v6(true)?;
    }
    set_buffer(&io, options.recv_buffer, Buffer::Receive);
    set_buffer(&io, options.send_buffer, Buffer::Send);
    if options.peer_errors {
        errqueue::enable(&io, ipv6)?;
    }
    Ok(io)
}

/// Sockets that do nothing but exist with receive offload on. Linux rewrites its own code, and interrupts every core to
/// do so, when the first such socket of a family appears and when the last one goes; a client that opens a socket per
/// connection would pay that twice for each.
pub struct OffloadKeepers {
    _sockets: Vec<Socket>,
}

impl OffloadKeepers {
    /// None where that is not how things are.
    #[must_use]
    pub fn open() -> Self {
        let families = [Domain::IPV4, Domain::IPV6];
        Self { _sockets: families.into_iter().filter_map(offload_keeper).collect() }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn offload_keeper(family: Domain) -> Option<Socket> {
    let io = Socket::new(family, Type::DGRAM, Some(Protocol::UDP)).ok()?;
    let on: libc::c_int = 1;
    // SAFETY: the option value is a live int of the size we say.
    let rc = unsafe {
        libc::setsockopt(
            io.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    (rc == 0).then_some(io)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn offload_keeper(_: Domain) -> Option<Socket> {
    None
}

#[derive(Clone, Copy)]
enum Buffer {
    Receive,
    Send,
}

/// Smallest buffer worth asking for.
const MIN_BUFFER: usize = 64 << 10;

/// As large as the system allows: past its limit with privilege, else clamped (Linux) or halved until taken (BSD).
fn set_buffer(io: &Socket, wanted: usize, which: Buffer) {
    if force_buffer(io, wanted, which) {
        return;
    }
    let mut size = wanted;
    while size >= MIN_BUFFER {
        let done = match which {
            Buffer::Receive => io.set_recv_buffer_size(size),
            Buffer::Send => io.set_send_buffer_size(size),
        };
        if done.is_ok() {
            return;
        }
        size /= 2;
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn force_buffer(io: &Socket, wanted: usize, which: Buffer) -> bool {
    let Ok(size) = libc::c_int::try_from(wanted) else { return false };
    let name = match which {
        Buffer::Receive => libc::SO_RCVBUFFORCE,
        Buffer::Send => libc::SO_SNDBUFFORCE,
    };
    // SAFETY: the option value is a live int of the size we say.
    let rc = unsafe {
        libc::setsockopt(
            io.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    rc == 0
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn force_buffer(_: &Socket, _: usize, _: Buffer) -> bool {
    false
}

/// Binds `count` sockets to one address; more than one share the port and are steered by connection ID.
///
/// # Errors
/// Those of the system; address in use also when another program shares the port.
pub fn bind_group(addr: SocketAddr, count: usize, options: &SocketOptions) -> io::Result<Vec<UdpSocket>> {
    let first = open(&addr, options)?;
    first.bind(&SockAddr::from(addr))?;
    let bound = first.local_addr()?.as_socket().unwrap_or(addr);
    let mut raw = vec![first];
    if count > 1 {
        for s in &raw {
            s.set_reuse_port(true)?;
        }
        while raw.len() < count {
            let next = open(&bound, options)?;
            next.set_reuse_port(true)?;
            next.bind(&SockAddr::from(bound))?;
            raw.push(next);
        }
        if let (Some(mask), Some(s), Ok(n)) = (options.steer, raw.first(), u8::try_from(count)) {
            // Without the program the hand-off queue carries what lands at the wrong worker.
            let _ = steer::attach(s, n, mask);
        }
    }
    raw.into_iter().map(|io| UdpSocket::wrap(io, None)).collect()
}

/// A socket for one peer only: bound to `local`, connected to `remote`.
///
/// # Errors
/// Those of the system.
pub fn connect_raw(local: SocketAddr, remote: SocketAddr, options: &SocketOptions) -> io::Result<UdpSocket> {
    let io = open(&local, options)?;
    io.bind(&SockAddr::from(local))?;
    // Darwin refuses a destination address on a connected socket, and quinn-udp always gives one.
    let connected = cfg!(any(target_os = "linux", target_os = "android"));
    if connected {
        io.connect(&SockAddr::from(remote))?;
    }
    let mut socket = UdpSocket::wrap(io, connected.then_some(remote))?;
    socket.options = Some(*options);
    Ok(socket)
}

impl UdpSocket {
    fn wrap(io: Socket, connected: Option<SocketAddr>) -> io::Result<Self> {
        let local = io.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        //= https://www.rfc-editor.org/rfc/rfc9000#section-14
        //# UDP datagrams MUST NOT be fragmented at the IP layer.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-14
        //# In IPv4 [IPv4], the Don't Fragment (DF) bit MUST be set if possible, to prevent fragmentation on the path.
        let state = UdpSocketState::new((&io).into())?;
        Ok(Self { io, state, local, connected, options: None, renewed: false, slots: FEW_SLOTS, gso_strikes: 0 })
    }

    /// Takes over a socket that the application has bound.
    ///
    /// # Errors
    /// When it is not a bound IP socket.
    pub fn adopt(socket: std::net::UdpSocket, options: &SocketOptions) -> io::Result<Self> {
        let io = Socket::from(socket);
        io.set_nonblocking(true)?;
        set_buffer(&io, options.recv_buffer, Buffer::Receive);
        set_buffer(&io, options.send_buffer, Buffer::Send);
        Self::wrap(io, None)
    }

    /// The bound address.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Talks to one peer only.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// Takes datagrams from every peer from now on: the connection tries another address of its server
    /// (RFC 9000 section 9.6), and the system would keep its answers from a socket that is connected to the first.
    fn disconnect(&mut self) {
        self.connected = None;
        // SAFETY: numbers only, for which zero is valid.
        let mut nobody: libc::sockaddr = unsafe { core::mem::zeroed() };
        nobody.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
        let len = size_of::<libc::sockaddr>() as libc::socklen_t;
        // SAFETY: the address lives through the call and is as long as said.
        let _ = unsafe { libc::connect(self.io.as_raw_fd(), &raw const nobody, len) };
        // Linux (6.18 still) forgets the peer's port and its IPv4 address then, but goes on to compare the IPv6 address of
        // whatever arrives: only another socket hears the rest of the world.
        if self.local.is_ipv6() && self.succeed().is_ok() {
            return;
        }
        // Linux gives a port that it chose itself back with the connection: the same one again. Whoever was quicker
        // has it; then the next send gets another port, as after a NAT's rebinding.
        let _ = self.io.bind(&SockAddr::from(self.local));
        if let Some(bound) = self.io.local_addr().ok().and_then(|a| a.as_socket()) {
            self.local = bound;
        }
    }

    /// Another socket at the same address takes over; what the old one has not read is lost, as on the way.
    fn succeed(&mut self) -> io::Result<()> {
        let Some(options) = self.options else { return Err(io::ErrorKind::Unsupported.into()) };
        let io = open(&self.local, &options)?;
        // A port that the application chose stays with the old socket until that is closed.
        self.io.set_reuse_address(true)?;
        io.set_reuse_address(true)?;
        io.bind(&SockAddr::from(self.local))?;
        self.state = UdpSocketState::new((&io).into())?;
        self.io = io;
        self.renewed = true;
        Ok(())
    }

    /// Whether the descriptor has changed since the last question.
    pub fn take_renewed(&mut self) -> bool {
        core::mem::take(&mut self.renewed)
    }

    /// For the poller.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }

    /// For the error queue.
    #[must_use]
    pub const fn raw(&self) -> &Socket {
        &self.io
    }

    /// Datagrams that one send call may carry: 1 without segmentation offload.
    #[must_use]
    pub fn max_segments(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }

    /// Reads up to [`RECV_SLOTS`] runs into `arena`, slot `i` at `i * RECV_SLOT`: how many, and whether there may be more.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; others are ICMP errors of earlier sends, not of this call.
    pub fn receive(&mut self, arena: &mut [u8], out: &mut [Option<Received>; RECV_SLOTS]) -> io::Result<(usize, bool)> {
        let mut slots: [IoSliceMut<'_>; RECV_SLOTS] = core::array::from_fn(|_| IoSliceMut::new(&mut []));
        for (slot, part) in slots.iter_mut().zip(arena.chunks_exact_mut(RECV_SLOT)).take(self.slots) {
            *slot = IoSliceMut::new(part);
        }
        let mut meta = [RecvMeta::default(); RECV_SLOTS];
        let offered = slots.get_mut(..self.slots).unwrap_or_default();
        let count = self.state.recv((&self.io).into(), offered, &mut meta)?;
        let full = count >= self.slots;
        let bytes: usize = meta.iter().take(count).map(|m| m.len).sum();
        if bytes > count.saturating_mul(SHORT_RUN) {
            self.slots = FEW_SLOTS;
        } else if full {
            self.slots = RECV_SLOTS;
        }
        for (to, m) in out.iter_mut().zip(meta.iter().take(count)) {
            let len = m.len.min(RECV_SLOT);
            *to = Some(Received {
                remote: m.addr,
                local_ip: m.dst_ip,
                ecn: m.ecn.map_or(Ecn::NotEct, |e| Ecn::from_bits(e as u8)),
                len,
                stride: if m.stride == 0 { len } else { m.stride },
            });
        }
        Ok((count, full))
    }

    /// Sends `bytes` as datagrams of `segment` bytes in one call where the system can.
    pub fn send(
        &mut self,
        remote: SocketAddr,
        source: Option<std::net::IpAddr>,
        ecn: Ecn,
        bytes: &[u8],
        segment: Option<usize>,
    ) -> SendOutcome {
        if self.connected.is_some_and(|peer| peer != remote) {
            self.disconnect();
        }
        let segment = segment.filter(|s| *s > 0 && *s < bytes.len());
        let mut transmit = Transmit {
            destination: remote,
            ecn: EcnCodepoint::from_bits(ecn.bits()),
            contents: bytes,
            segment_size: segment,
            src_ip: source,
        };
        let together = segment.is_none() || self.max_segments() > 1;
        if together {
            match self.try_send(&transmit) {
                Ok(()) => {
                    if segment.is_some() {
                        self.gso_strikes = 0;
                    }
                    return SendOutcome::Sent;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return SendOutcome::Blocked { offset: 0 },
                Err(e) if segment.is_none() || !is_offload_failure(&e) => {
                    self.forgive(&e);
                    return failure(&e);
                }
                Err(_) => {}
            }
        }
        // Segment by segment: no offload on this system, or it failed just now.
        let step = segment.unwrap_or(bytes.len()).max(1);
        transmit.segment_size = None;
        let mut outcome = SendOutcome::Sent;
        for (i, part) in bytes.chunks(step).enumerate() {
            transmit.contents = part;
            match self.try_send(&transmit) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return SendOutcome::Blocked { offset: i.saturating_mul(step) };
                }
                Err(e) => {
                    self.forgive(&e);
                    outcome = failure(&e);
                }
            }
        }
        if together {
            // The segments went one by one but not together: after some strikes that is believed.
            // When they did not go alone either, offload is not to blame.
            self.gso_strikes = self.gso_strikes.saturating_add(u32::from(outcome == SendOutcome::Sent));
            if self.gso_strikes < GSO_STRIKES {
                self.renew_state();
            }
        }
        outcome
    }

    /// One call; an ICMP error of an earlier datagram that the kernel reports here is not ours.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.state.try_send((&self.io).into(), transmit) {
            Err(e) if is_peer_error(&e) => self.state.try_send((&self.io).into(), transmit),
            other => other,
        }
    }

    /// quinn-udp answers EINVAL and EIO by giving up GSO and ECN for the socket's life; when the
    /// cause was one datagram (its source address has gone, say) that would punish everybody.
    fn forgive(&mut self, error: &io::Error) {
        if is_offload_failure(error) && self.gso_strikes < GSO_STRIKES {
            self.renew_state();
        }
    }

    fn renew_state(&mut self) {
        if let Ok(fresh) = UdpSocketState::new((&self.io).into()) {
            self.state = fresh;
        }
    }

    /// A plain std socket on the same descriptor, for tests and hand-over; this object still owns it.
    #[must_use]
    pub fn duplicate(&self) -> Option<std::net::UdpSocket> {
        self.io.try_clone().ok().map(Into::into)
    }
}

fn is_offload_failure(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
}

/// Errors that ICMP or the routing table cause, and that say nothing about the socket.
pub(in crate::runtime) fn is_peer_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ECONNRESET)
    )
}

fn failure(error: &io::Error) -> SendOutcome {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => SendOutcome::TooBig,
        Some(os_error) => SendOutcome::Failed { os_error },
        None => SendOutcome::Failed { os_error: 0 },
    }
}
