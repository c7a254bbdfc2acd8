//! The helm of a worker: a taker that waits for events runs the worker's rounds itself instead of being woken by it.
//!
//! With events from a queue each batch changes threads twice, and the two wait for each other. So a taker that keeps
//! coming back at once asks for the worker's body, sleeps in its poller and does its work; between two takes
//! the body lies in a slot. The worker's thread watches meanwhile. Invariants: the body is with the worker's thread, in
//! the slot, or with one taker. One that lies there from one look to the next goes back to the worker's thread, so protocol
//! and timers never depend on what the application does; so it does when the runtime ends, and when another thread leaves work while
//! the taker is away. Only runtimes with one worker and no callbacks lend it: callbacks run on workers.
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use super::clock;
use super::heap::Keeping;
use super::shard::Shard;
use super::shards::{ShardShared, as_worker};
use crate::base::Timestamp;
use crate::base::sync::{AtomicBool, AtomicU32, AtomicUsize, Condvar, Mutex, Ordering};

/// How often the worker's thread looks after a body that was lent and is in use: at first, and when the taker has come back
/// again and again. Each look interrupts the taker where they share a core, and costs a timer anyhow.
const TICK: Duration = Duration::from_millis(1);
const LONG_TICK: Duration = Duration::from_millis(8);
/// Looks in a row that found the taker coming back, before the next ones are twice as far apart.
const REGULAR: u32 = 16;
/// Fewer moves than this within a tick: the thread need not look again before the next one.
const CALM: u32 = 8;
/// Longest that a taker waits for the worker to finish its round.
const PATIENCE: Duration = Duration::from_millis(5);
/// Stack that a taker needs to have left: a worker's round holds a handshake's arithmetic.
#[cfg(target_os = "linux")]
const STACK: usize = 256 << 10;

/// What lies between a worker's thread and takers.
pub(super) struct Post {
    slot: Mutex<Option<Box<Shard>>>,
    lent: Condvar,
    /// A taker asks for the body.
    wanted: AtomicBool,
    /// The worker's thread is to have it back.
    recalled: AtomicBool,
    /// Counts that a taker took it up (then odd) and put it down.
    moves: AtomicU32,
    /// The worker's thread sleeps without limit, since a taker has the body.
    deep: AtomicBool,
    /// The taker that has put it down; zero while somebody runs it.
    away: AtomicUsize,
    thread: OnceLock<Thread>,
}

/// Until the next look, after so many in a row that found the taker coming back.
fn tick(regular: u32) -> Duration {
    TICK.saturating_mul(1 << (regular / REGULAR).min(31)).min(LONG_TICK)
}

/// Tells threads apart.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.try_with(|here| core::ptr::from_ref(here) as usize).unwrap_or(usize::MAX)
}

impl Post {
    pub(super) fn new() -> Self {
        Self {
            slot: Mutex::new(None),
            lent: Condvar::new(),
            wanted: AtomicBool::new(false),
            recalled: AtomicBool::new(false),
            moves: AtomicU32::new(0),
            deep: AtomicBool::new(false),
            away: AtomicUsize::new(0),
            thread: OnceLock::new(),
        }
    }

    /// Worker: somebody asks for the body.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Worker's thread: lends the body, and returns when it has it back.
    pub(super) fn lend(&self, shared: &ShardShared, body: Box<Shard>) -> Box<Shard> {
        self.thread.get_or_init(std::thread::current);
        self.wanted.store(false, Ordering::SeqCst);
        self.recalled.store(false, Ordering::SeqCst);
        // After that: whoever asks for the end later recalls.
        if shared.must_stop() {
            return body;
        }
        let mut seen = self.moves.load(Ordering::SeqCst);
        *self.slot.lock() = Some(body);
        self.lent.notify_all();
        let (mut calm, mut regular) = (false, 0u32);
        loop {
            if calm && self.lie_deep(seen) {
                std::thread::park();
                regular = 0;
            } else {
                std::thread::park_timeout(tick(regular));
            }
            self.deep.store(false, Ordering::SeqCst);
            let recalled = self.recalled.load(Ordering::SeqCst);
            let moves = self.moves.load(Ordering::SeqCst);
            let steered = moves % 2 == 1;
            if (recalled || (!steered && moves == seen))
                && let Some(body) = self.slot.lock().take()
            {
                self.away.store(0, Ordering::SeqCst);
                return body;
            }
            calm = steered && !recalled && moves.wrapping_sub(seen) < CALM;
            regular = if moves == seen { 0 } else { regular.saturating_add(1) };
            seen = moves;
        }
    }

    /// Nothing has moved since `seen`, and whoever moves next wakes us.
    fn lie_deep(&self, seen: u32) -> bool {
        self.deep.store(true, Ordering::SeqCst);
        self.moves.load(Ordering::SeqCst) == seen
    }

    /// The worker's thread shall have the body.
    pub(super) fn recall(&self) {
        self.recalled.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// After the bell was rung: nobody looks while a taker is away, unless the ringer is the taker, who will come back.
    pub(super) fn rung(&self) {
        let away = self.away.load(Ordering::SeqCst);
        if away != 0 && away != this_thread() {
            self.recall();
        }
    }

    fn take_up(&self) -> Option<Box<Shard>> {
        if self.recalled.load(Ordering::SeqCst) {
            return None;
        }
        let body = self.slot.lock().take()?;
        self.away.store(0, Ordering::SeqCst);
        self.moves.fetch_add(1, Ordering::SeqCst);
        Some(body)
    }

    fn put_down(&self, body: Box<Shard>) {
        *self.slot.lock() = Some(body);
        self.away.store(this_thread(), Ordering::SeqCst);
        self.moves.fetch_add(1, Ordering::SeqCst);
        if self.recalled.load(Ordering::SeqCst)
            || (self.deep.load(Ordering::SeqCst) && self.deep.swap(false, Ordering::SeqCst))
        {
            self.wake();
        }
    }
}

/// What wakes a taker beside the worker's own sockets and bell.
pub type Wakeup = Arc<dyn AsRawFd + Send + Sync>;

/// A runtime's only worker, for takers to run.
pub struct Helm {
    shared: Arc<ShardShared>,
}

impl Helm {
    pub(super) const fn new(shared: Arc<ShardShared>) -> Self {
        Self { shared }
    }

    /// The body, if the worker lends it; the worker is asked for it when it has it itself. `wakeup` ends sleeps in a round.
    #[must_use]
    pub fn steer(&self, wakeup: &Wakeup) -> Option<Steering> {
        let post = &self.shared.post;
        if self.shared.must_stop() || !has_stack() {
            return None;
        }
        let mut body = post.take_up().or_else(|| self.ask())?;
        if body.welcome(wakeup) {
            return Some(Steering::new(&self.shared, body));
        }
        post.put_down(body);
        post.recall();
        None
    }

    /// Between two parts of a batch: what the taker made of the first leaves before it gets the next, so that the peer has
    /// something to do meanwhile. Nothing is received.
    pub fn answer(&self, may: impl FnOnce() -> bool) {
        let post = &self.shared.post;
        if post.away.load(Ordering::SeqCst) != this_thread() || !self.shared.bell.has_rung() {
            return;
        }
        if let Some(body) = post.take_up() {
            Steering::new(&self.shared, body).answer(may);
        }
    }

    fn ask(&self) -> Option<Box<Shard>> {
        let post = &self.shared.post;
        post.wanted.store(true, Ordering::SeqCst);
        self.shared.bell.ring();
        let until = clock::deadline_in(PATIENCE)?;
        let mut slot = post.slot.lock();
        while slot.is_none() {
            if post.lent.wait_until(&mut slot, until).timed_out() {
                break;
            }
        }
        drop(slot);
        post.wanted.store(false, Ordering::SeqCst);
        post.take_up()
    }

    /// This taker does not come back for now: the worker's thread goes on at once.
    pub fn leave(&self) {
        let post = &self.shared.post;
        if post.away.load(Ordering::SeqCst) != 0 {
            post.recall();
        }
    }
}

/// A taker that runs the worker's rounds; ends with it.
pub struct Steering {
    shared: Arc<ShardShared>,
    body: Option<Box<Shard>>,
    was_worker: bool,
}

impl Steering {
    fn new(shared: &Arc<ShardShared>, body: Box<Shard>) -> Self {
        Keeping::begin_for_taker();
        Self { shared: Arc::clone(shared), body: Some(body), was_worker: as_worker(true) }
    }

    /// Sends what the taker has left to be sent, before anything is received: the peer can begin. As `round`, but does not sleep.
    pub fn answer(&mut self, may: impl FnOnce() -> bool) -> bool {
        let Some(body) = &mut self.body else { return false };
        let goes_on = !self.shared.bell.has_rung() || body.turns_for_taker(may);
        if !goes_on {
            self.shared.post.recall();
        }
        goes_on
    }

    /// Sleeps until something happens or it is `until`, and does what is to be done. `may`: nothing forbids that it is done on
    /// this thread; asked when it is known what there is to do. False: the worker's thread goes on.
    pub fn round(&mut self, until: Timestamp, may: impl FnOnce() -> bool) -> bool {
        let Some(body) = &mut self.body else { return false };
        let goes_on = !self.shared.must_stop()
            && !self.shared.post.recalled.load(Ordering::SeqCst)
            && body.round_for_taker(until, may);
        if !goes_on {
            self.shared.post.recall();
        }
        goes_on
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        as_worker(self.was_worker);
        if let Some(body) = self.body.take() {
            self.shared.post.put_down(body);
        }
    }
}

/// This thread has enough stack left.
#[cfg(target_os = "linux")]
fn has_stack() -> bool {
    thread_local!(static LOWEST: core::cell::Cell<usize> = const { core::cell::Cell::new(0) });
    let lowest = LOWEST.try_with(|lowest| {
        if lowest.get() == 0 {
            lowest.set(lowest_address());
        }
        lowest.get()
    });
    let here = 0u8;
    let here = core::ptr::from_ref(&here) as usize;
    lowest.is_ok_and(|lowest| here.checked_sub(lowest).is_some_and(|left| left >= STACK))
}

/// Elsewhere it is not known, and takers stay takers (`Runtime::helm`).
#[cfg(not(target_os = "linux"))]
const fn has_stack() -> bool {
    false
}

/// Where this thread's stack ends; the highest address when that is not known.
#[cfg(target_os = "linux")]
fn lowest_address() -> usize {
    // SAFETY: a zeroed attribute object is filled by the first call and read and destroyed only when that succeeded.
    unsafe {
        let mut attributes: libc::pthread_attr_t = core::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return usize::MAX;
        }
        let (mut address, mut size) = (core::ptr::null_mut(), 0);
        let known = libc::pthread_attr_getstack(&raw const attributes, &raw mut address, &raw mut size) == 0;
        libc::pthread_attr_destroy(&raw mut attributes);
        if known { address as usize } else { usize::MAX }
    }
}

/// Whether a taker comes back so quickly that it should steer.
pub struct Pace {
    /// When it was given events.
    left: Timestamp,
    /// Quick returns in a row, of `row` that are needed.
    quick: u32,
    row: u32,
    /// Above zero: it steers.
    credit: u32,
    hits: u32,
}

/// A taker that needs longer for its events keeps the protocol waiting.
const QUICK: Duration = Duration::from_micros(250);
/// Quick returns before the first try, and after failures at most.
const FIRST_ROW: u32 = 4;
const LONGEST_ROW: u32 = 1024;
/// What a slow return takes away; a quick one adds one.
const MISS: u32 = 4;
const MOST: u32 = 32;
/// Quick returns in a row after which earlier failures are forgotten.
const FORGIVEN: u32 = 256;

impl Default for Pace {
    fn default() -> Self {
        Self { left: Timestamp::ZERO, quick: 0, row: FIRST_ROW, credit: 0, hits: 0 }
    }
}

impl Pace {
    /// The taker goes away with events.
    pub const fn leaves(&mut self, now: Timestamp) {
        self.left = now;
    }

    /// It was to steer when it was here last.
    #[must_use]
    pub const fn steers(&self) -> bool {
        self.credit > 0
    }

    /// It is back and found nothing; whether it should steer.
    pub fn returns(&mut self, now: Timestamp) -> bool {
        let quick = now.since(self.left) <= QUICK;
        if self.credit == 0 {
            self.quick = if quick { self.quick.saturating_add(1) } else { 0 };
            if self.quick >= self.row {
                (self.quick, self.hits, self.credit) = (0, 0, MISS);
            }
        } else if quick {
            self.credit = self.credit.saturating_add(1).min(MOST);
            self.hits = self.hits.saturating_add(1);
            if self.hits >= FORGIVEN {
                self.row = FIRST_ROW;
            }
        } else {
            self.hits = 0;
            self.credit = self.credit.saturating_sub(MISS);
            if self.credit == 0 {
                self.row = self.row.saturating_mul(2).min(LONGEST_ROW);
            }
        }
        self.credit > 0
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_ROW, FORGIVEN, LONG_TICK, LONGEST_ROW, MOST, Pace, QUICK, REGULAR, TICK, tick};
    use crate::base::Timestamp;
    use core::time::Duration;

    /// `times` takes, each `away` after the one before; how many of them steered.
    fn take(pace: &mut Pace, away: Duration, times: u32) -> u32 {
        let mut steered = 0;
        for _ in 0..times {
            let now = Timestamp(1_000_000_000);
            pace.leaves(now);
            steered += u32::from(pace.returns(now + away));
        }
        steered
    }

    #[test]
    fn looks_after_a_taker_that_comes_back_are_ever_further_apart() {
        assert_eq!([tick(0), tick(REGULAR - 1), tick(REGULAR)], [TICK, TICK, TICK * 2]);
        assert!((0..200).all(|n| tick(n) <= tick(n + 1)));
        assert_eq!([tick(200), tick(u32::MAX)], [LONG_TICK; 2]);
    }

    #[test]
    fn who_comes_back_quickly_steers_after_a_few_times() {
        assert_eq!(take(&mut Pace::default(), QUICK, 100), 100 - FIRST_ROW + 1);
        assert_eq!(take(&mut Pace::default(), QUICK * 2, 100), 0);
    }

    #[test]
    fn who_stays_away_steers_ever_more_seldom_until_it_comes_back() {
        let mut pace = Pace::default();
        let mut steered = 0;
        for _ in 0..2000 {
            take(&mut pace, QUICK, FIRST_ROW);
            steered += take(&mut pace, QUICK * 2, 1);
        }
        assert!(steered < 20, "{steered}");
        take(&mut pace, QUICK, LONGEST_ROW + FORGIVEN);
        assert_eq!(pace.row, FIRST_ROW);
        assert_eq!(take(&mut pace, QUICK * 2, MOST), MOST / 4 - 1);
    }
}
