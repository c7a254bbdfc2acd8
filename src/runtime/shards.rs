//! The workers as a whole: start, stop, join, and the mailboxes between threads.
//!
//! A worker ("shard") owns its sockets, timers and connections; other threads reach it only
//! through its ready list, its command list and the bounded hand-off queue of datagrams that the
//! kernel gave to the wrong worker. Invariant: no thread outlives [`Runtime::join`]'s success.
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock;
use super::config::RuntimeConfig;
use super::conn::Conn;
use super::endpoint::{EndpointHandle, EndpointInner, EndpointOptions, EndpointParts};
use super::error::RuntimeError;
use super::events::{IncomingDecision, Sink, Ticket};
use super::helm::{Helm, Post};
use super::random::SeededRng;
use super::shard::{Driver, Shard};
use super::udp::{SocketOptions, UdpSocket};
use super::wake::Doorbell;
use crate::base::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering};
use crate::base::{Ecn, Timestamp};
use crate::endpoint::cid_source::ShardMask;
use crate::streams::pool::SharedSlabs;

/// Bytes that may wait in one worker's hand-off queue: who can make the kernel pick the wrong
/// worker (a client by choosing connection IDs) must not be able to fill memory.
pub(super) const HANDOFF_BYTES: usize = 4 << 20;

/// Work that another thread gives to a worker.
pub(super) enum Command {
    AddEndpoint { endpoint: Arc<EndpointInner>, part: usize },
    AddSocket { endpoint: Arc<EndpointInner>, part: usize, number: u32, socket: UdpSocket },
    ReplaceSocket { number: u32, socket: UdpSocket },
    CloseSocket { number: u32 },
    CloseEndpoint { id: u64, code: u64, reason: Vec<u8> },
    DrainEndpoint { id: u64, until: Timestamp },
    Decide { endpoint: Arc<EndpointInner>, ticket: Ticket, decision: IncomingDecision },
    TellLoad { id: u64 },
}

/// Datagrams that arrived at the wrong worker.
pub(super) struct Handoff {
    pub endpoint: u64,
    /// What the receiving socket is bound to: the right worker has one like it.
    pub bound: SocketAddr,
    pub local: Option<SocketAddr>,
    pub remote: SocketAddr,
    pub ecn: Ecn,
    pub stride: usize,
    pub bytes: Vec<u8>,
}

/// The bounded queue of [`Handoff`]s.
#[derive(Default)]
pub(super) struct HandoffQueue {
    items: VecDeque<Handoff>,
    bytes: usize,
    /// Runs taken in since the start.
    pub taken: u64,
    /// Runs thrown away because the queue was full.
    pub dropped: u64,
}

impl HandoffQueue {
    /// `false`: full, the datagrams are lost as a network could lose them.
    pub fn push(&mut self, item: Handoff) -> bool {
        let grown = self.bytes.saturating_add(item.bytes.len());
        if grown > HANDOFF_BYTES {
            self.dropped = self.dropped.saturating_add(1);
            return false;
        }
        self.bytes = grown;
        self.taken = self.taken.saturating_add(1);
        self.items.push_back(item);
        true
    }

    /// The oldest one.
    pub fn pop(&mut self) -> Option<Handoff> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(item.bytes.len());
        Some(item)
    }
}

/// What other threads see of a worker.
pub(super) struct ShardShared {
    pub index: usize,
    pub bell: Doorbell,
    /// Where takers find its body.
    pub post: Post,
    pub ready: Mutex<Vec<Arc<Conn>>>,
    pub handoff: Mutex<HandoffQueue>,
    /// Buffers that its connections share.
    pub slabs: Arc<SharedSlabs>,
    commands: Mutex<Vec<Command>>,
    stop: AtomicBool,
    ended: AtomicBool,
    /// Time of the last call that drove this worker; zero for one with a thread.
    driven: AtomicU64,
}

impl ShardShared {
    pub(super) fn new(index: usize, bell: Doorbell) -> Self {
        Self {
            index,
            bell,
            post: Post::new(),
            ready: Mutex::new(Vec::new()),
            handoff: Mutex::default(),
            slabs: Arc::default(),
            commands: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            driven: AtomicU64::new(0),
        }
    }

    /// Leaves a command. `false` after the worker's end: it is dropped, with what it owns.
    pub fn send(&self, command: Command) -> bool {
        let mut commands = self.commands.lock();
        // Under the lock: the worker ends only when it finds the list empty under it.
        if self.ended.load(Ordering::Acquire) {
            return false;
        }
        commands.push(command);
        drop(commands);
        self.ring();
        true
    }

    /// Puts a connection on the ready list; dropped after the worker's end.
    pub fn push_ready(&self, conn: Arc<Conn>) {
        {
            let mut ready = self.ready.lock();
            // The worker's last act empties the list after saying that it has ended.
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            ready.push(conn);
        }
        self.ring();
    }

    /// Something was left for the worker: somebody shall look.
    fn ring(&self) {
        self.bell.ring();
        self.post.rung();
    }

    /// A driven worker's time moves on.
    pub(super) fn drive(&self, now: Timestamp) {
        self.driven.store(now.as_nanos().max(1), Ordering::Relaxed);
    }

    /// The time of a driven worker; `None` for one with a thread.
    pub(super) fn driven_at(&self) -> Option<Timestamp> {
        match self.driven.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Timestamp(at)),
        }
    }

    /// Something was left for the worker.
    pub(super) fn has_commands(&self) -> bool {
        !self.commands.lock().is_empty()
    }

    /// Worker: takes all commands, leaving an empty list's capacity behind.
    pub fn take_commands(&self, list: &mut Vec<Command>) {
        let mut commands = self.commands.lock();
        if list.is_empty() {
            core::mem::swap(&mut *commands, list);
        } else {
            list.append(&mut commands);
        }
    }

    /// Asks the worker to end.
    fn request_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.bell.ring();
        self.post.recall();
    }

    /// Worker: whether it has been asked to end.
    pub fn must_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Worker: takes nothing more. `false`: a command has come in, which is to be seen to first.
    pub fn end(&self) -> bool {
        {
            let commands = self.commands.lock();
            if !commands.is_empty() {
                return false;
            }
            self.ended.store(true, Ordering::Release);
        }
        let ready = core::mem::take(&mut *self.ready.lock());
        drop(ready);
        true
    }
}

/// Lets waiters know when the last worker has ended.
pub(super) struct Finish {
    running: Mutex<usize>,
    changed: Condvar,
}

impl Finish {
    fn wait(&self, timeout: Duration) -> bool {
        // A timeout too long for the clock means "for ever".
        let mut running = self.running.lock();
        let until = clock::deadline_in(timeout);
        while *running > 0 {
            match until {
                Some(until) => {
                    if self.changed.wait_until(&mut running, until).timed_out() {
                        return *running == 0;
                    }
                }
                None => self.changed.wait(&mut running),
            }
        }
        true
    }

    pub(super) fn one_less(&self) {
        let mut running = self.running.lock();
        *running = running.saturating_sub(1);
        self.changed.notify_all();
    }
}

thread_local! {
    static IS_WORKER: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

struct RuntimeInner {
    config: RuntimeConfig,
    /// A driven runtime: no threads, no sockets, and its randomness.
    seed: Option<SeededRng>,
    shards: Vec<Arc<ShardShared>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    finish: Arc<Finish>,
    closed: AtomicBool,
    next_socket: Arc<AtomicU32>,
    next_shard: AtomicUsize,
}

/// A set of workers. Clones are handles to the same set; when the last one goes, it closes and
/// waits a little for its threads.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<RuntimeInner>,
}

/// How long a dropped runtime waits for its threads beyond their own linger.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

impl Drop for RuntimeInner {
    fn drop(&mut self) {
        self.close();
        if !Runtime::on_worker_thread() && self.finish.wait(self.config.shutdown_linger.saturating_add(DROP_PATIENCE)) {
            join_all(&self.threads);
        }
    }
}

fn join_all(threads: &Mutex<Vec<JoinHandle<()>>>) {
    let handles = core::mem::take(&mut *threads.lock());
    for handle in handles {
        // A worker catches panics per connection; one that got through has been reported by the hook.
        let _ = handle.join();
    }
}

impl RuntimeInner {
    fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            for shard in &self.shards {
                shard.request_stop();
            }
        }
    }
}

impl Runtime {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the system gives no poller or no thread.
    pub fn open(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        super::random::watch_forks();
        let io_error = |source: io::Error| RuntimeError::Io { what: "cannot start a worker", source };
        let count = config.worker_count();
        let finish = Arc::new(Finish { running: Mutex::new(0), changed: Condvar::new() });
        let mut shards = Vec::with_capacity(count);
        let mut bodies = Vec::with_capacity(count);
        for index in 0..count {
            let body = Box::new(Shard::new(index, &config).map_err(io_error)?);
            shards.push(Arc::clone(body.shared()));
            bodies.push(body);
        }
        for body in &mut bodies {
            body.set_peers(shards.clone());
        }
        let inner = RuntimeInner {
            shards,
            threads: Mutex::new(Vec::new()),
            finish: Arc::clone(&finish),
            closed: AtomicBool::new(false),
            next_socket: Arc::new(AtomicU32::new(0)),
            next_shard: AtomicUsize::new(0),
            seed: None,
            config,
        };
        let _masked = SignalMask::block_all();
        for (index, body) in bodies.into_iter().enumerate() {
            let finish = Arc::clone(&finish);
            *finish.running.lock() += 1;
            let thread_finish = Arc::clone(&finish);
            let spawned = std::thread::Builder::new()
                .name(format!("{}-{index}", inner.config.thread_name))
                .spawn(move || run_worker(body, &thread_finish));
            match spawned {
                Ok(handle) => inner.threads.lock().push(handle),
                Err(source) => {
                    finish.one_less();
                    return Err(io_error(source));
                }
            }
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A runtime without threads, sockets, clock and randomness of its own: the caller brings them with `Driver`.
    ///
    /// # Errors
    /// When the system gives no descriptor.
    pub fn driven(config: RuntimeConfig, seed: &[u8; 32], now: Timestamp) -> Result<(Self, Driver), RuntimeError> {
        let io_error = |source: io::Error| RuntimeError::Io { what: "cannot make a core", source };
        let mut body = clock::pinned(now, || Shard::new(usize::MAX, &config)).map_err(io_error)?;
        body.detach();
        body.shared().drive(now);
        let finish = Arc::new(Finish { running: Mutex::new(1), changed: Condvar::new() });
        let inner = RuntimeInner {
            shards: vec![Arc::clone(body.shared())],
            threads: Mutex::new(Vec::new()),
            finish: Arc::clone(&finish),
            closed: AtomicBool::new(false),
            next_socket: Arc::new(AtomicU32::new(0)),
            next_shard: AtomicUsize::new(0),
            seed: Some(SeededRng::new(seed)),
            config,
        };
        Ok((Self { inner: Arc::new(inner) }, Driver::new(body, finish)))
    }

    /// Makes an endpoint without sockets.
    ///
    /// # Errors
    /// When the runtime has been closed.
    pub fn endpoint(&self, mut options: EndpointOptions, sink: Arc<dyn Sink>) -> Result<EndpointHandle, RuntimeError> {
        if self.is_closed() {
            return Err(RuntimeError::Closed);
        }
        let inner = &self.inner;
        // Without sockets nobody reports unreachable peers.
        options.connected_sockets &= inner.seed.is_none();
        let shards = if options.spread {
            inner.shards.clone()
        } else {
            let at = inner.next_shard.fetch_add(1, Ordering::Relaxed).checked_rem(inner.shards.len()).unwrap_or(0);
            inner.shards.get(at).cloned().into_iter().collect()
        };
        let sockets = SocketOptions {
            recv_buffer: inner.config.socket_recv_buffer,
            send_buffer: inner.config.socket_send_buffer,
            peer_errors: !options.spread,
            // The secret may not be there yet: `EndpointInner::new` fills in how.
            steer: (!options.no_kernel_steering).then_some(ShardMask([0; 3])),
        };
        let made = EndpointInner::new(EndpointParts {
            options,
            sockets,
            sink,
            shards,
            seed: inner.seed.clone(),
            next_socket: Arc::clone(&inner.next_socket),
        });
        made.map(EndpointHandle::new).ok_or(RuntimeError::Closed)
    }

    /// Number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner.shards.len()
    }

    /// Runs of datagrams that came to the wrong worker: handed over, and lost because a queue was full.
    #[must_use]
    pub fn handoffs(&self) -> (u64, u64) {
        self.inner.shards.iter().fold((0, 0), |(taken, dropped), shard| {
            let queue = shard.handoff.lock();
            (queue.taken.saturating_add(taken), queue.dropped.saturating_add(dropped))
        })
    }

    /// Begins the end: connections are closed with their last datagram sent, workers end. Never waits.
    pub fn close(&self) {
        self.inner.close();
    }

    /// [`Self::close`] has been called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// Waits until all workers have ended after [`Self::close`].
    ///
    /// # Errors
    /// `Timeout`, or `WouldDeadlock` on a worker thread.
    pub fn join(&self, timeout: Duration) -> Result<(), RuntimeError> {
        if Self::on_worker_thread() {
            return Err(RuntimeError::WouldDeadlock);
        }
        if !self.inner.finish.wait(timeout) {
            return Err(RuntimeError::Timeout);
        }
        join_all(&self.inner.threads);
        Ok(())
    }

    /// Whether the calling thread is a worker of any runtime.
    #[must_use]
    pub fn on_worker_thread() -> bool {
        IS_WORKER.get()
    }

    /// The worker, for takers to run: of a runtime with one.
    #[must_use]
    pub fn helm(&self) -> Option<Helm> {
        match self.inner.shards.as_slice() {
            [only] if cfg!(target_os = "linux") && self.inner.seed.is_none() => Some(Helm::new(Arc::clone(only))),
            _ => None,
        }
    }

    /// The present moment on the clock that connections use.
    #[must_use]
    pub fn now() -> Timestamp {
        clock::now()
    }
}

/// Makes this thread count as a worker, or no longer; what it was before.
pub(super) fn as_worker(worker: bool) -> bool {
    IS_WORKER.replace(worker)
}

fn run_worker(body: Box<Shard>, finish: &Finish) {
    struct Ended<'a>(&'a Finish);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.one_less();
        }
    }
    let ended = Ended(finish);
    IS_WORKER.set(true);
    body.run();
    drop(ended);
}

/// Blocks all signals of this thread while it lives: threads started meanwhile inherit the mask, so
/// that signals go to the application's threads only.
struct SignalMask {
    before: libc::sigset_t,
}

impl SignalMask {
    fn block_all() -> Self {
        // SAFETY: both sets are live locals; a zeroed set is a valid argument to `sigfillset`.
        unsafe {
            let mut all: libc::sigset_t = core::mem::zeroed();
            let mut before: libc::sigset_t = core::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by `pthread_sigmask` on this thread (the type is not Send).
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, core::ptr::null_mut());
        }
    }
}
