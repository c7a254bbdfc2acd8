//! Where rustls tells traffic secrets: a key log that writes to whichever session runs on this thread.
//!
//! rustls calls its key log from inside `read_hs`, `write_hs` and the constructors. The session puts its own
//! `Captured` in place for the duration of such a call. Invariant: a secret reaches only that session, and
//! the key log lines of the configuration that it belongs to.
use super::asking::Asking;
use super::config::KeyLogLine;
use super::tape::Tape;
use rustls::KeyLog;
use std::cell::RefCell;
use std::fmt;
use std::fmt::Write as _;

/// A secret with its label in the NSS key log format, wiped where it lies when dropped.
#[derive(Clone)]
pub(super) struct Logged {
    pub label: &'static str,
    bytes: [u8; MAX_SECRET],
    len: usize,
}

/// Longest secret of our suites: SHA-384.
const MAX_SECRET: usize = 48;

impl Logged {
    /// `None`: longer than any suite's.
    pub(super) fn new(label: &'static str, secret: &[u8]) -> Option<Self> {
        let mut logged = Self { label, bytes: [0; MAX_SECRET], len: secret.len() };
        logged.bytes.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(logged)
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.bytes.fill(0);
        core::hint::black_box(&self.bytes);
    }
}

/// What the running session sees of one call into rustls.
#[derive(Default)]
pub(super) struct Captured {
    /// All of the handshake so far.
    pub secrets: Vec<Logged>,
    /// Digest of what 0-RTT depends on, for sessions stored during this call (`tickets`).
    pub digest: Option<[u8; 32]>,
    /// Sessions sealed during this call: the number that rustls knows each by, and its ticket.
    pub tickets: Vec<(Vec<u8>, Vec<u8>)>,
    /// Present when the configuration asks its application.
    pub asking: Option<Box<Asking>>,
    /// Version that tickets of this session are used with (RFC 9369 section 5): the original one while an old ticket
    /// is looked at, the negotiated one when new ones are issued or stored.
    pub version: u32,
}

thread_local! {
    static RUNNING: RefCell<Option<Captured>> = const { RefCell::new(None) };
}

/// Runs `call` with `captured` in place, and hands back what it collected.
pub(super) fn capture<R>(captured: &mut Captured, call: impl FnOnce() -> R) -> R {
    RUNNING.with(|running| *running.borrow_mut() = Some(core::mem::take(captured)));
    let result = call();
    *captured = RUNNING.with(|running| running.borrow_mut().take()).unwrap_or_default();
    result
}

/// The questions of the running session, if it has any.
pub(super) fn with_asking<R>(act: impl FnOnce(&mut Asking) -> R) -> Option<R> {
    RUNNING.with(|running| running.borrow_mut().as_mut()?.asking.as_deref_mut().map(act))
}

/// The tape of the running session, if its key is external.
pub(super) fn with_tape<R>(act: impl FnOnce(&mut Tape) -> R) -> Option<R> {
    with_asking(|asking| asking.tape.as_mut().map(act)).flatten()
}

/// The digest, once it is known, and the version of the running session.
pub(super) fn running() -> Option<(Option<[u8; 32]>, u32)> {
    RUNNING.with(|running| running.borrow().as_ref().map(|c| (c.digest, c.version)))
}

/// The running session shows `ticket` to its client instead of `number`; false: no session runs.
pub(super) fn on_ticket(number: Vec<u8>, ticket: Vec<u8>) -> bool {
    RUNNING
        .with(|running| running.borrow_mut().as_mut().map(|captured| captured.tickets.push((number, ticket))).is_some())
}

/// The key log of every configuration.
pub(super) struct Sink {
    lines: Option<KeyLogLine>,
}

impl Sink {
    pub(super) fn new(lines: Option<KeyLogLine>) -> Self {
        Self { lines }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

/// Labels of TLS 1.3 in the NSS key log format, which are those that rustls uses.
pub(super) const EARLY: &str = "CLIENT_EARLY_TRAFFIC_SECRET";
pub(super) const CLIENT_HANDSHAKE: &str = "CLIENT_HANDSHAKE_TRAFFIC_SECRET";
pub(super) const SERVER_HANDSHAKE: &str = "SERVER_HANDSHAKE_TRAFFIC_SECRET";
pub(super) const CLIENT_APPLICATION: &str = "CLIENT_TRAFFIC_SECRET_0";
pub(super) const SERVER_APPLICATION: &str = "SERVER_TRAFFIC_SECRET_0";
pub(super) const EXPORTER: &str = "EXPORTER_SECRET";
const LABELS: [&str; 6] = [EARLY, CLIENT_HANDSHAKE, SERVER_HANDSHAKE, CLIENT_APPLICATION, SERVER_APPLICATION, EXPORTER];

impl KeyLog for Sink {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if let Some(label) = LABELS.iter().find(|known| **known == label) {
            RUNNING.with(|running| {
                if let Some(captured) = running.borrow_mut().as_mut() {
                    if captured.secrets.capacity() == 0 {
                        // Room for a call that runs twice: a list that moves leaves unwiped copies.
                        captured.secrets.reserve(2 * LABELS.len());
                    }
                    captured.secrets.extend(Logged::new(label, secret));
                }
            });
        }
        // A call that runs twice says everything twice.
        let again = with_asking(|asking| {
            let bit = LABELS.iter().position(|known| *known == label).map_or(0, |at| 1u8 << at);
            let again = asking.logged & bit != 0;
            asking.logged |= bit;
            again
        });
        if let Some(lines) = self.lines.as_ref().filter(|_| again != Some(true)) {
            let mut line = String::with_capacity(label.len() + 2 + 2 * (client_random.len() + secret.len()));
            line.push_str(label);
            for part in [client_random, secret] {
                line.push(' ');
                for byte in part {
                    let _ = write!(line, "{byte:02x}");
                }
            }
            lines(&line);
        }
    }
}
