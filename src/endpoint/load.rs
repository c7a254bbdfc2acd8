//! How many connections clients have begun, how many there may be, and whether more are wanted at all (RFC 9000 sections
//! 5.2.2 and 8.1.2): one count for all shards of an endpoint, changed while it runs.
//!
//! Invariant: a place is taken by one atomic step before anything is kept for a client, and given back exactly once, so the
//! limits hold across shards. Whether the endpoint turns clients away is told change by change, by one shard at a time.
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// No limit.
const NONE: usize = usize::MAX;

/// Which limit turns clients away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    Connections,
    Handshakes,
}

/// Limits that can be changed at any time; `None`: there is none but those of [`super::EndpointConfig`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Connections that clients began, undecided ones included.
    pub connections: Option<usize>,
    /// Those of them whose handshake is not confirmed.
    pub handshakes: Option<usize>,
    /// With so many of these, clients prove their address by Retry first; in place of the configured policy.
    pub retry_from: Option<usize>,
}

/// What has changed; see [`Load::next_news`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadNews {
    /// The limit that turns clients away since now; `None`: they are taken again.
    pub full: Option<Full>,
    /// How many there are of what it limits; connections when none does.
    pub count: usize,
}

/// Counts and limits of one endpoint, shared by its shards.
#[derive(Debug)]
pub struct Load {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    max_connections: AtomicUsize,
    max_handshakes: AtomicUsize,
    retry_from: AtomicUsize,
    paused: AtomicBool,
    /// 0, or the limit that turns clients away.
    full: AtomicU32,
    /// The value of `full` that was told last.
    told: AtomicU32,
    /// A shard is telling.
    telling: AtomicBool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            max_connections: AtomicUsize::new(NONE),
            max_handshakes: AtomicUsize::new(NONE),
            retry_from: AtomicUsize::new(NONE),
            paused: AtomicBool::new(false),
            full: AtomicU32::new(0),
            told: AtomicU32::new(0),
            telling: AtomicBool::new(false),
        }
    }
}

const fn number(full: Option<Full>) -> u32 {
    match full {
        None => 0,
        Some(Full::Connections) => 1,
        Some(Full::Handshakes) => 2,
    }
}

const fn named(number: u32) -> Option<Full> {
    match number {
        1 => Some(Full::Connections),
        2 => Some(Full::Handshakes),
        _ => None,
    }
}

/// One more, unless there are `max`.
fn take(count: &AtomicUsize, max: usize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < max).then(|| n.saturating_add(1))).is_ok()
}

fn give(count: &AtomicUsize) {
    let _ = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
}

impl Load {
    /// Replaces the limits. What is there already stays.
    pub fn limit(&self, limits: Limits) {
        self.max_connections.store(limits.connections.unwrap_or(NONE), Ordering::SeqCst);
        self.max_handshakes.store(limits.handshakes.unwrap_or(NONE), Ordering::SeqCst);
        // The largest number means "never", which is not the same as no limit.
        self.retry_from.store(limits.retry_from.map_or(NONE, |n| n.min(NONE - 1)), Ordering::SeqCst);
        self.settle();
    }

    /// Whether clients are refused until further notice (RFC 9000 section 5.2.2).
    pub fn pause(&self, on: bool) {
        self.paused.store(on, Ordering::SeqCst);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// A limit of the endpoint's connections was given: it stands for those of the shards.
    pub(super) fn limits_connections(&self) -> bool {
        self.max_connections.load(Ordering::Relaxed) != NONE
    }

    /// Whether a client has to prove its address, where a limit says so.
    pub(super) fn wants_retry(&self) -> Option<bool> {
        let from = self.retry_from.load(Ordering::Relaxed);
        (from != NONE).then(|| self.handshakes.load(Ordering::Relaxed) >= from)
    }

    /// A client wants a connection: takes a place for it and its handshake. False: there is none.
    pub(super) fn begin(&self) -> bool {
        if !take(&self.handshakes, self.max_handshakes.load(Ordering::SeqCst)) {
            self.note_full(Full::Handshakes);
            return false;
        }
        if !take(&self.connections, self.max_connections.load(Ordering::SeqCst)) {
            give(&self.handshakes);
            self.note_full(Full::Connections);
            return false;
        }
        true
    }

    /// A handshake is confirmed.
    pub(super) fn confirmed(&self) {
        give(&self.handshakes);
        self.settle();
    }

    /// A connection, or what wanted to become one, is gone.
    pub(super) fn gone(&self, handshaking: bool) {
        give(&self.connections);
        if handshaking {
            give(&self.handshakes);
        }
        self.settle();
    }

    fn note_full(&self, full: Full) {
        let _ = self.full.compare_exchange(0, number(Some(full)), Ordering::SeqCst, Ordering::SeqCst);
        // Places may have become free in between, and whoever freed them saw nothing to end.
        self.settle();
    }

    /// Ends the state of being full when an eighth of the limit, and at least one place, is free again: not with each
    /// connection that comes and goes.
    fn settle(&self) {
        let full = self.full.load(Ordering::SeqCst);
        let (count, max) = match named(full) {
            None => return,
            Some(Full::Connections) => (&self.connections, &self.max_connections),
            Some(Full::Handshakes) => (&self.handshakes, &self.max_handshakes),
        };
        let max = max.load(Ordering::SeqCst);
        if count.load(Ordering::SeqCst) <= max.saturating_sub((max / 8).max(1)) {
            let _ = self.full.compare_exchange(full, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Something is to be told. Cheap.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.full.load(Ordering::Relaxed) != self.told.load(Ordering::Relaxed)
    }

    /// What has changed since it was told last. After `Some` the caller tells it and calls `told`, then asks again; until
    /// then nobody else gets any.
    pub fn next_news(&self) -> Option<LoadNews> {
        while self.has_news() {
            if self.telling.swap(true, Ordering::SeqCst) {
                // Who is telling will ask again.
                return None;
            }
            let full = self.full.load(Ordering::SeqCst);
            let before = self.told.swap(full, Ordering::SeqCst);
            if before != full {
                let of = if full == 0 { before } else { full };
                let count = if of == number(Some(Full::Handshakes)) { &self.handshakes } else { &self.connections };
                return Some(LoadNews { full: named(full), count: count.load(Ordering::SeqCst) });
            }
            self.told();
        }
        None
    }

    /// What `next_news` gave was told.
    pub fn told(&self) {
        self.telling.store(false, Ordering::SeqCst);
    }
}
