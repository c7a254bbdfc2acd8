//! Lent memory: pages of their own, filled with a pattern, unreadable from the moment the loan ends.
use core::ffi::c_void;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use whimbrel::ffi::abi::wb_buf;
use whimbrel::ffi::buf::{wb_buf_revoke, wb_buf_view, wb_buf_wrap};
use whimbrel::ffi::status::{WB_E_HANDLE, WB_E_STALE, WB_E_STATE, WB_OK};

/// Ended loans whose pages stay reserved, so that nobody else gets their addresses and hides a late read.
const QUARANTINE: usize = 512;

/// The byte at `offset` of a stream that began with `seed`.
pub const fn pattern(seed: u64, offset: u64) -> u8 {
    (seed.wrapping_add(offset).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Counts what was lent and what came back.
#[derive(Default)]
pub struct Ledger {
    lent: AtomicU64,
    released: AtomicU64,
    ended: Mutex<VecDeque<(usize, usize)>>,
}

impl Ledger {
    fn quarantine(&self, addr: usize, size: usize) {
        // SAFETY: pages of ours that nobody may use any more; a library thread that does ends the process here.
        assert_eq!(unsafe { libc::mprotect(addr as *mut c_void, size, libc::PROT_NONE) }, 0);
        let mut ended = self.ended.lock().expect("nobody panics with it");
        ended.push_back((addr, size));
        if ended.len() > QUARANTINE
            && let Some((addr, size)) = ended.pop_front()
        {
            // SAFETY: as above.
            assert_eq!(unsafe { libc::munmap(addr as *mut c_void, size) }, 0);
        }
    }

    /// Every loan was released exactly once.
    pub fn settled(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.released.load(Ordering::Acquire) < self.lent.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "loans were not released: {} of {}", self.released(), self.lent());
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(self.released(), self.lent(), "a release callback came twice");
    }

    fn released(&self) -> u64 {
        self.released.load(Ordering::Acquire)
    }

    fn lent(&self) -> u64 {
        self.lent.load(Ordering::Acquire)
    }
}

/// One loan. The library's release callback holds a second reference.
pub struct Loan {
    addr: usize,
    size: usize,
    over: AtomicBool,
    released: AtomicBool,
    ledger: Arc<Ledger>,
}

impl Loan {
    /// Lends `len` bytes of the pattern that follows a stream's eight bytes of seed.
    pub fn wrap(ledger: &Arc<Ledger>, seed: u64, len: usize) -> (Arc<Self>, wb_buf) {
        // SAFETY: fresh anonymous pages, checked below.
        let memory = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(core::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        for i in 0..len {
            // SAFETY: inside the mapping.
            unsafe { memory.cast::<u8>().add(i).write(pattern(seed, i as u64 + 8)) };
        }
        let loan = Arc::new(Self {
            addr: memory as usize,
            size: len,
            over: AtomicBool::new(false),
            released: AtomicBool::new(false),
            ledger: Arc::clone(ledger),
        });
        ledger.lent.fetch_add(1, Ordering::AcqRel);
        let mut buf = 0;
        let ctx = Arc::into_raw(Arc::clone(&loan)).cast_mut().cast();
        // SAFETY: `len` readable bytes until `release`, an out parameter of ours.
        assert_eq!(unsafe { wb_buf_wrap(memory, len, Some(release), ctx, &raw mut buf) }, WB_OK);
        (loan, buf)
    }

    fn end(&self) {
        if !self.over.swap(true, Ordering::AcqRel) {
            self.ledger.quarantine(self.addr, self.size);
        }
    }

    /// Revokes, and takes the memory away the moment the call returns.
    pub fn revoke(&self, buf: wb_buf, mode: u32) {
        match wb_buf_revoke(buf, mode) {
            WB_OK => self.end(),
            s => assert!(matches!(s, WB_E_STALE | WB_E_HANDLE | WB_E_STATE), "revoke gives {s}"),
        }
    }
}

unsafe extern "C" fn release(ctx: *mut c_void) {
    // SAFETY: the reference given to `wb_buf_wrap`, handed back once.
    let loan = unsafe { Arc::from_raw(ctx.cast::<Loan>()) };
    assert!(!loan.released.swap(true, Ordering::AcqRel), "a loan was released twice");
    loan.end();
    loan.ledger.released.fetch_add(1, Ordering::AcqRel);
}

/// Sum of a buffer's bytes.
pub fn checksum(buf: wb_buf) -> u64 {
    let (mut data, mut len) = (core::ptr::null(), 0);
    // SAFETY: out parameters of ours.
    assert_eq!(unsafe { wb_buf_view(buf, &raw mut data, &raw mut len) }, WB_OK);
    if len == 0 {
        return 0;
    }
    // SAFETY: the view is valid while the handle is held.
    let bytes = unsafe { core::slice::from_raw_parts(data.cast::<u8>(), len) };
    bytes.iter().fold(len as u64, |sum, b| sum.rotate_left(5) ^ u64::from(*b))
}
