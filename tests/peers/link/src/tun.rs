//! TUN devices in other network namespaces, and the signal that ends the program.
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

static ENDED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    ENDED.store(true, Ordering::Relaxed);
}

/// SIGTERM and SIGINT end the loop instead of the process, so that captures are complete.
pub fn end_on_signal() {
    let handler = on_signal as extern "C" fn(libc::c_int);
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Whether a signal asked for the end.
pub fn ended() -> bool {
    ENDED.load(Ordering::Relaxed)
}

fn named(what: &str) -> io::Error {
    let e = io::Error::last_os_error();
    io::Error::new(e.kind(), format!("{what}: {e}"))
}

/// Makes the device `link0` in a namespace made with `ip netns add`. Without GSO and checksum offload, so that what
/// comes out of it is what would be on a wire.
pub fn open(namespace: &str, mtu: usize) -> io::Result<OwnedFd> {
    let path = format!("/run/netns/{namespace}");
    let ns = File::open(&path).map_err(|e| io::Error::new(e.kind(), format!("{path}: {e}")))?;
    // SAFETY: plain system calls on a live descriptor and terminated text.
    unsafe {
        if libc::setns(ns.as_raw_fd(), libc::CLONE_NEWNET) != 0 {
            return Err(named("setns"));
        }
        let name = CString::new("/dev/net/tun").expect("no zero inside");
        let fd = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC);
        if fd < 0 {
            return Err(named("/dev/net/tun"));
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"link0") {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        if libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &request) != 0 {
            return Err(named("TUNSETIFF"));
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(named("socket"));
        }
        let socket = OwnedFd::from_raw_fd(socket);
        request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU as _, &request) != 0 {
            return Err(named("SIOCSIFMTU"));
        }
        Ok(fd)
    }
}

/// One packet, or `None` when there is none now.
pub fn read(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: the buffer is writable for its length.
    let n = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    match usize::try_from(n) {
        Ok(n) => Ok(Some(n)),
        Err(_) if matches!(io::Error::last_os_error().kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        // The device is not up yet.
        Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::EIO) => Ok(None),
        Err(_) => Err(named("read from the device")),
    }
}

/// Gives a packet to the system behind the device. A full receiver drops it, as a network card would.
pub fn write(fd: &OwnedFd, packet: &[u8]) -> io::Result<()> {
    // SAFETY: the packet is readable for its length.
    let n = unsafe { libc::write(fd.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
    if n < 0 {
        let e = io::Error::last_os_error();
        if !matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EIO | libc::EINVAL | libc::ENOBUFS)) {
            return Err(named("write to the device"));
        }
    }
    Ok(())
}
