//! ICMP errors of a UDP socket, read from the kernel's error queue (Linux).
//!
//! An unconnected socket learns from it which peer is unreachable. The news is a hint only: ICMP is
//! not authenticated (RFC 9000 section 14.2.1 for "too big"; section 21.1.1 and RFC 8085 section 5.2 in
//! general), so its reader acts on it only before the first packet of the peer has been seen.
use std::io;
use std::net::SocketAddr;

/// An error that the network reported about datagrams to `remote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerError {
    pub remote: SocketAddr,
    /// `ECONNREFUSED`, `EHOSTUNREACH`, ...
    pub os_error: i32,
}

/// Errors taken per call: the queue is refilled by whoever can send us ICMP.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAX_PER_CALL: usize = 64;

/// Asks the kernel to keep ICMP errors for [`drain_errors`].
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn enable(socket: &socket2::Socket, ipv6: bool) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let (level, name) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    // SAFETY: the option value is a live int of the size we say.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn enable(_: &socket2::Socket, _: bool) -> io::Result<()> {
    Ok(())
}

/// Empties the error queue; errors that came from the network are appended to `out`.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn drain_errors(socket: &socket2::Socket, out: &mut Vec<PeerError>) {
    for _ in 0..MAX_PER_CALL {
        match receive_one(socket) {
            Ok(Some(error)) => out.push(error),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn drain_errors(_: &socket2::Socket, _: &mut Vec<PeerError>) {}

/// Room for one extended error, its offender address and other control messages; 8-byte aligned.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CONTROL_WORDS: usize = 64;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn receive_one(socket: &socket2::Socket) -> io::Result<Option<PeerError>> {
    use std::os::fd::AsRawFd;
    let mut control = [0u64; CONTROL_WORDS];
    let mut payload = [0u8; 1];
    let mut iov = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: `try_init` gives storage and length of a socket address; all buffers named in the
    // header are live and of the lengths given.
    let (os_error, name) = unsafe {
        socket2::SockAddr::try_init(|storage, len| {
            let mut header: libc::msghdr = core::mem::zeroed();
            header.msg_name = storage.cast();
            header.msg_namelen = *len;
            header.msg_iov = &raw mut iov;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control) as _;
            let rc = libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT);
            if rc < 0 {
                return Err(io::Error::last_os_error());
            }
            *len = header.msg_namelen;
            Ok(extended_error(&header))
        })?
    };
    Ok(match (os_error, name.as_socket()) {
        (0, _) | (_, None) => None,
        (os_error, Some(remote)) => Some(PeerError { remote, os_error }),
    })
}

/// The error number of the first extended error that ICMP caused, 0 for none.
///
/// # Safety
/// `header` must be as `recvmsg` left it, with its control buffer alive.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) unsafe fn extended_error(header: &libc::msghdr) -> i32 {
    // SAFETY: the control macros walk the buffer that the kernel filled; `CMSG_DATA` of a message
    // of this level and type holds a `sock_extended_err`, read unaligned.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(m) = message.as_ref() {
            let ours = (m.cmsg_level == libc::IPPROTO_IP && m.cmsg_type == libc::IP_RECVERR)
                || (m.cmsg_level == libc::IPPROTO_IPV6 && m.cmsg_type == libc::IPV6_RECVERR);
            if ours {
                let e: libc::sock_extended_err = core::ptr::read_unaligned(libc::CMSG_DATA(m).cast());
                let from_network = e.ee_origin == libc::SO_EE_ORIGIN_ICMP || e.ee_origin == libc::SO_EE_ORIGIN_ICMP6;
                // "Too big" is the business of DPLPMTUD, which trusts only its own probes.
                //= https://www.rfc-editor.org/rfc/rfc9000#section-14.2.1
                //# An endpoint MUST ignore an ICMP message that claims the PMTU has decreased below QUIC's smallest
                //# allowed maximum datagram size.
                //= https://www.rfc-editor.org/rfc/rfc9000#section-14.2.1
                //# An endpoint MUST NOT increase the PMTU based on ICMP messages; see Item 6 in Section 3 of [DPLPMTUD].
                if from_network && e.ee_errno != libc::EMSGSIZE as u32 {
                    return i32::try_from(e.ee_errno).unwrap_or(0);
                }
            }
            message = libc::CMSG_NXTHDR(header, m);
        }
    }
    0
}
