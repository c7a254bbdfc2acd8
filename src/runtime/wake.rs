//! The doorbell of a worker: rung by application threads when they have left work for it.
//!
//! A ring costs a system call only when the worker really sleeps: the worker announces its sleep,
//! then looks once more for work; a caller leaves work, then looks whether the worker sleeps. Both
//! orders are sequentially consistent, so one of the two sees the other.
use crate::base::sync::{AtomicBool, Mutex, Ordering};
use std::io;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// See the file comment.
pub struct Doorbell {
    waker: mio::Waker,
    asleep: AtomicBool,
    work: AtomicBool,
    /// The sleep is a nap: no poll.
    napping: AtomicBool,
    /// Who naps: the worker's thread, or a taker at the helm.
    napper: Mutex<Option<Thread>>,
}

impl Doorbell {
    /// A bell that ends the polls of `registry`'s poller with `token`.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(registry: &mio::Registry, token: mio::Token) -> io::Result<Self> {
        let waker = mio::Waker::new(registry, token)?;
        Ok(Self {
            waker,
            asleep: AtomicBool::new(false),
            work: AtomicBool::new(false),
            napping: AtomicBool::new(false),
            napper: Mutex::new(None),
        })
    }

    /// There is work. Any thread, after the work was put where the worker finds it.
    pub fn ring(&self) {
        self.work.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            if self.napping.load(Ordering::SeqCst)
                && let Some(napper) = self.napper.lock().as_ref()
            {
                // When the nap is over already, the worker finds the work before it sleeps.
                return napper.unpark();
            }
            // Cannot fail but for a full counter, and then the worker is being woken already.
            let _ = self.waker.wake();
        }
    }

    /// Worker: about to sleep. `false`: work has come in, do not.
    pub fn lie_down(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.work.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Worker: sleeps for `time`, whatever the sockets say. `false`: the bell rang before it was over.
    pub fn nap(&self, time: Duration) -> bool {
        *self.napper.lock() = Some(std::thread::current());
        self.napping.store(true, Ordering::SeqCst);
        let until = Instant::now() + time;
        let mut undisturbed = self.lie_down();
        while undisturbed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // May return for no reason.
            std::thread::park_timeout(left);
            undisturbed = !self.work.load(Ordering::SeqCst);
        }
        self.asleep.store(false, Ordering::SeqCst);
        self.napping.store(false, Ordering::SeqCst);
        undisturbed
    }

    /// Worker: somebody has rung since it got up.
    pub fn has_rung(&self) -> bool {
        self.work.load(Ordering::SeqCst)
    }

    /// Worker: awake again, and about to look for work.
    pub fn get_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        self.work.store(false, Ordering::SeqCst);
    }
}
