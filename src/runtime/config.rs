//! Settings of the runtime.
use std::time::Duration;

/// More workers than this cannot be told apart by the shard byte of a connection ID.
pub const MAX_WORKERS: usize = 255;

/// Settings of a [`super::Runtime`].
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// Worker `n` is called `<thread_name>-n`.
    pub thread_name: String,
    /// Wanted socket receive buffer in bytes; the system may give less.
    pub socket_recv_buffer: usize,
    /// Wanted socket send buffer in bytes; the system may give less.
    pub socket_send_buffer: usize,
    /// How long a socket stays open after the path has moved away from it, for packets in flight.
    pub old_socket_grace: Duration,
    /// How long workers wait at shutdown for their last datagrams to leave.
    pub shutdown_linger: Duration,
    /// Batches that one connection may send before the next one has its turn.
    pub batches_per_turn: usize,
    /// How long a worker may watch its sockets before it sleeps, while short waits follow each other; zero: never.
    pub busy_poll: Duration,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            thread_name: "wb-worker".to_owned(),
            socket_recv_buffer: 4 << 20,
            socket_send_buffer: 2 << 20,
            old_socket_grace: Duration::from_secs(1),
            shutdown_linger: Duration::from_millis(250),
            batches_per_turn: 4,
            busy_poll: Duration::from_micros(50),
        }
    }
}

impl RuntimeConfig {
    /// The number of workers to start.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        let wanted = if self.workers == 0 {
            std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
        } else {
            self.workers
        };
        wanted.clamp(1, MAX_WORKERS)
    }
}
