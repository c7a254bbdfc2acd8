//! A UDP socket with GSO and GRO, for the peers that leave sockets to their user, and for the pipe.
use crate::{Error, SOCKET_BUFFER};
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Most datagrams of one send with segmentation offload, a limit of the kernel.
pub const SEGMENTS: usize = 64;
/// Most bytes of one send or receive.
pub const RUN: usize = 65507;

/// A socket as every peer gets it: large buffers, not connected.
pub fn bind(address: SocketAddr) -> Result<UdpSocket, Error> {
    let s = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    s.bind(&address.into())?;
    // The kernel may clamp these; what it gives is what all peers get.
    let _ = s.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = s.set_send_buffer_size(SOCKET_BUFFER);
    Ok(s.into())
}

/// A non-blocking socket with receive offload on.
pub struct Udp {
    socket: UdpSocket,
}

/// What one receive call brought: `len` bytes in datagrams of `segment` bytes, the last may be shorter.
pub struct Run {
    pub len: usize,
    pub segment: usize,
    pub from: SocketAddr,
}

#[repr(C, align(8))]
struct Control([u8; 64]);

fn address_out(to: SocketAddr) -> libc::sockaddr_in {
    let (ip, port) = match to {
        SocketAddr::V4(a) => (*a.ip(), a.port()),
        SocketAddr::V6(_) => (Ipv4Addr::LOCALHOST, to.port()),
    };
    // SAFETY: all zeros is a valid sockaddr_in.
    let mut a: libc::sockaddr_in = unsafe { zeroed() };
    a.sin_family = libc::AF_INET as libc::sa_family_t;
    a.sin_port = port.to_be();
    a.sin_addr.s_addr = u32::from(ip).to_be();
    a
}

impl Udp {
    pub fn new(address: SocketAddr) -> Result<Udp, Error> {
        let socket = bind(address)?;
        socket.set_nonblocking(true)?;
        let on: libc::c_int = 1;
        // SAFETY: a live descriptor and an int that outlives the call.
        let status = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_GRO,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if status != 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(Udp { socket })
    }

    pub fn local(&self) -> Result<SocketAddr, Error> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends `data` as datagrams of `segment` bytes. `false`: the socket is full now.
    pub fn send(&self, data: &[u8], segment: usize, to: SocketAddr) -> Result<bool, Error> {
        let mut name = address_out(to);
        let mut vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let mut control = Control([0; 64]);
        // SAFETY: all pointers are to locals that outlive the call; the control buffer is aligned and large enough.
        let sent = unsafe {
            let mut m: libc::msghdr = zeroed();
            m.msg_name = (&raw mut name).cast();
            m.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            m.msg_iov = &raw mut vector;
            m.msg_iovlen = 1;
            if data.len() > segment {
                m.msg_control = control.0.as_mut_ptr().cast();
                m.msg_controllen = libc::CMSG_SPACE(2) as usize;
                let c = libc::CMSG_FIRSTHDR(&raw const m);
                (*c).cmsg_level = libc::SOL_UDP;
                (*c).cmsg_type = libc::UDP_SEGMENT;
                (*c).cmsg_len = libc::CMSG_LEN(2) as usize;
                libc::CMSG_DATA(c).cast::<u16>().write_unaligned(segment as u16);
            }
            libc::sendmsg(self.socket.as_raw_fd(), &raw const m, 0)
        };
        if sent >= 0 {
            return Ok(true);
        }
        let e = io::Error::last_os_error();
        if e.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(e.into()) }
    }

    /// One receive call; `None` when nothing is there.
    pub fn receive(&self, into: &mut [u8]) -> Result<Option<Run>, Error> {
        let mut control = Control([0; 64]);
        let mut vector = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        // SAFETY: as in `send`; the kernel writes only into what the lengths allow.
        let (got, segment, name) = unsafe {
            let mut name: libc::sockaddr_in = zeroed();
            let mut m: libc::msghdr = zeroed();
            m.msg_name = (&raw mut name).cast();
            m.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            m.msg_iov = &raw mut vector;
            m.msg_iovlen = 1;
            m.msg_control = control.0.as_mut_ptr().cast();
            m.msg_controllen = control.0.len();
            let got = libc::recvmsg(self.socket.as_raw_fd(), &raw mut m, 0);
            let mut segment = 0;
            let mut c = if got >= 0 { libc::CMSG_FIRSTHDR(&raw const m) } else { std::ptr::null_mut() };
            while !c.is_null() {
                if (*c).cmsg_level == libc::SOL_UDP && (*c).cmsg_type == libc::UDP_GRO {
                    segment = libc::CMSG_DATA(c).cast::<u16>().read_unaligned() as usize;
                }
                c = libc::CMSG_NXTHDR(&raw const m, c);
            }
            (got, segment, name)
        };
        if got < 0 {
            let e = io::Error::last_os_error();
            return if e.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(e.into()) };
        }
        let len = got as usize;
        let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
        let from = SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into();
        Ok(Some(Run { len, segment: if segment == 0 { len.max(1) } else { segment }, from }))
    }

    /// Waits until there is something to read (or to send again), the harness says something, or time is up.
    pub fn poll(&self, timeout: Option<Duration>, writable: bool, stdin: bool) -> Result<(), Error> {
        let events = libc::POLLIN | if writable { libc::POLLOUT } else { 0 };
        let mut fds = [
            libc::pollfd { fd: self.socket.as_raw_fd(), events, revents: 0 },
            libc::pollfd { fd: if stdin { 0 } else { -1 }, events: libc::POLLIN, revents: 0 },
        ];
        let time = timeout.map(|t| libc::timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        let time = time.as_ref().map_or(std::ptr::null(), |t| t as *const libc::timespec);
        // SAFETY: the array and the time outlive the call.
        if unsafe { libc::ppoll(fds.as_mut_ptr(), 2, time, std::ptr::null()) } < 0 {
            let e = io::Error::last_os_error();
            if e.kind() != io::ErrorKind::Interrupted {
                return Err(e.into());
            }
        }
        Ok(())
    }
}
