//! A descriptor that is readable while its flag is up: eventfd on Linux, a pipe elsewhere. Non-blocking, close-on-exec.
use crate::base::sync::{step, wait_a_little};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub(super) struct WakeFd {
    read: OwnedFd,
    /// The other end of a pipe.
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> i32 {
        self.read.as_raw_fd()
    }
}

impl WakeFd {
    #[cfg(target_os = "linux")]
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(Self { read: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn new() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors; the result is checked.
        if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fresh descriptors that nobody else owns.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        for end in [&read, &write] {
            // SAFETY: valid descriptors, plain flag calls.
            unsafe {
                libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
                libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
            }
        }
        Ok(Self { read, write })
    }

    pub fn raw(&self) -> i32 {
        self.read.as_raw_fd()
    }

    /// Makes it readable. Async-signal-safe. A full counter or pipe is readable already.
    pub fn raise(&self) {
        step();
        #[cfg(target_os = "linux")]
        let (fd, bytes) = (self.read.as_raw_fd(), 1u64.to_ne_bytes());
        #[cfg(not(target_os = "linux"))]
        let (fd, bytes) = (self.write.as_raw_fd(), [1u8]);
        // SAFETY: a valid descriptor and buffer.
        unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Makes it unreadable.
    pub fn lower(&self) {
        step();
        let mut sink = [0u8; 64];
        loop {
            // SAFETY: a valid descriptor and buffer.
            let n = unsafe { libc::read(self.read.as_raw_fd(), sink.as_mut_ptr().cast(), sink.len()) };
            // An eventfd is empty after one read; a pipe when less than a buffer came.
            if n < sink.len() as isize {
                return;
            }
        }
    }

    /// Waits until readable; `None` without limit. An interruption by a signal counts as waking.
    pub fn wait(&self, timeout: Option<Duration>) {
        let mut entry = libc::pollfd { fd: self.read.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // Round up, so that the last fraction of a millisecond is not a busy loop.
        let millis = timeout.map_or(-1, |t| i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        // A checker's threads share one real thread, which must not sleep.
        let millis = if cfg!(model) { 0 } else { millis };
        // SAFETY: one valid entry.
        while unsafe { libc::poll(&raw mut entry, 1, millis) } == 0 && cfg!(model) {
            wait_a_little(u32::MAX);
        }
    }
}
