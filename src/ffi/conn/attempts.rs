//! A client's way to its peer: resolving a name, and trying its addresses (RFC 8305, "happy eyeballs").
//!
//! Addresses are tried one after the other, a quarter of a second apart or as soon as one has failed; those that were begun go on
//! beside each other. The first with Handshake keys has an answer that only the peer can give (RFC 9001 section 4.1.4 follows): it
//! is the connection from then on. Invariant: the application hears of one attempt at a time, and nothing that it did on one is
//! lost to another: with early data under way there is no race.
use super::super::abi::WB_ORIGIN_SYSTEM;
use super::super::error::Fail;
use super::super::runtime::runtime_fail;
use super::super::sink::{drop_tag, tag_of};
use super::super::status::{WB_E_RESOLVE, WB_E_STATE, WB_E_UNREACHABLE, WB_E_UNSUPPORTED};
use super::{ConnObject, Phase};
use crate::base::codes::transport::CONNECTION_REFUSED;
use crate::base::sync::Ordering;
use crate::base::{Level, Timestamp};
use crate::connection::{CloseReason, Event};
use crate::runtime::{Conn, ConnEvent, ConnectConfig, clock};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// Addresses of one host that are tried at most.
pub(crate) const MAX_TARGETS: usize = 8;

/// RFC 8305 section 5: the Connection Attempt Delay.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Attempts of a client none of whose addresses has answered yet, beside the one that counts.
pub(super) struct Attempts {
    /// Addresses left to try.
    targets: VecDeque<SocketAddr>,
    server_name: String,
    /// They run and have not failed, in the order in which they began.
    rivals: Vec<Arc<Conn>>,
    /// When the latest began.
    last: Timestamp,
}

impl Attempts {
    /// What runs beside the attempt that counts.
    pub(super) fn rivals(&self) -> &[Arc<Conn>] {
        &self.rivals
    }
}

/// RFC 8305 section 4: the families take turns; within each the system's order (RFC 6724).
fn interleave(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut first = VecDeque::new();
    let mut other = VecDeque::new();
    for address in found {
        let of_first = first.front().is_none_or(|f: &SocketAddr| f.is_ipv4() == address.is_ipv4());
        let family = if of_first { &mut first } else { &mut other };
        if !family.contains(&address) {
            family.push_back(address);
        }
    }
    let mut out = VecDeque::new();
    while out.len() < MAX_TARGETS
        && let Some(address) = first.pop_front().or_else(|| other.pop_front())
    {
        out.push_back(address);
        std::mem::swap(&mut first, &mut other);
    }
    out
}

impl ConnObject {
    /// Starts connecting to a host name or address; names are resolved on a helper thread.
    pub fn start(self: &Arc<Self>, host: &str, port: u16) -> Result<(), Fail> {
        if host.is_empty() || port == 0 {
            return Err(Fail::invalid("host or port is missing"));
        }
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return self.start_among([SocketAddr::new(ip, port)].into(), bare);
        }
        if self.runtime().core().is_some() {
            return Err(Fail::new(WB_E_UNSUPPORTED, "a core does not resolve names: give it an address"));
        }
        self.take_idle(Phase::Resolving)?;
        let this = Arc::clone(self);
        let host = host.to_owned();
        self.runtime().helper("wb-resolve", move || this.resolve(&host, port)).inspect_err(|_| {
            *self.phase.lock() = Phase::Idle;
        })
    }

    /// Starts connecting to the first of some addresses that answers.
    pub fn start_among(self: &Arc<Self>, targets: VecDeque<SocketAddr>, server_name: &str) -> Result<(), Fail> {
        let race = targets.len() > 1 && self.runtime().core().is_none();
        self.take_idle(Phase::Resolving)?;
        {
            let mut phase = self.phase.lock();
            let result = self.launch(targets, server_name.to_owned(), &mut phase);
            if result.is_err() && matches!(*phase, Phase::Resolving) {
                *phase = Phase::Idle;
            }
            result?;
        }
        if race {
            let this = Arc::clone(self);
            // Without a thread for it the addresses are tried in turn.
            let _ = self.runtime().helper("wb-race", move || this.race());
        }
        Ok(())
    }

    fn take_idle(&self, next: Phase) -> Result<(), Fail> {
        let mut phase = self.phase.lock();
        match *phase {
            Phase::Idle => {
                self.started.store(clock::now().as_nanos(), Ordering::Release);
                *phase = next;
                Ok(())
            }
            Phase::Resolving | Phase::Running { .. } => {
                Err(Fail::new(WB_E_STATE, "the connection was started already"))
            }
            Phase::Over => Err(self.gone()),
        }
    }

    fn resolve(self: &Arc<Self>, host: &str, port: u16) {
        let targets = match (host, port).to_socket_addrs() {
            Ok(found) => interleave(found),
            Err(error) => {
                let mut fail = Fail::new(WB_E_RESOLVE, format!("cannot resolve {host}: {error}"));
                fail.origin = WB_ORIGIN_SYSTEM;
                fail.os_error = error.raw_os_error().unwrap_or(0);
                return self.finish(fail);
            }
        };
        if targets.is_empty() {
            return self.finish(Fail::new(WB_E_RESOLVE, format!("{host} has no address")));
        }
        let result = {
            let mut phase = self.phase.lock();
            if !matches!(*phase, Phase::Resolving) {
                return;
            }
            self.launch(targets, host.to_owned(), &mut phase)
        };
        match result {
            Ok(()) => self.race(),
            Err(fail) => self.finish(fail),
        }
    }

    /// Begins the first attempt. The phase stays locked, so that a worker's first events wait until it is set.
    fn launch(
        self: &Arc<Self>,
        mut targets: VecDeque<SocketAddr>,
        server_name: String,
        phase: &mut Phase,
    ) -> Result<(), Fail> {
        let mut last = Fail::new(WB_E_UNREACHABLE, "no address left to try");
        while let Some(remote) = targets.pop_front() {
            match self.attempt(remote, &server_name) {
                Ok(conn) => {
                    let rest = (!targets.is_empty())
                        .then(|| Box::new(Attempts { targets, server_name, rivals: Vec::new(), last: clock::now() }));
                    *phase = Phase::Running { conn, attempts: rest };
                    return Ok(());
                }
                Err(fail) => last = fail,
            }
        }
        Err(last)
    }

    fn attempt(self: &Arc<Self>, remote: SocketAddr, server_name: &str) -> Result<Arc<Conn>, Fail> {
        let client = self.tls.client()?;
        let handle = self.endpoint.for_client(&self.settings)?;
        let tag = tag_of(self);
        let mut connection = Arc::clone(&self.settings.connection);
        if self.wants_log() {
            Arc::make_mut(&mut connection).qlog = true;
        }
        let wanted = ConnectConfig {
            remote,
            server_name: server_name.to_owned(),
            connection,
            tls: client,
            http3: self.settings.http3.clone(),
            token: Vec::new(),
            tag,
            local: None,
        };
        handle.connect(wanted).map_err(|error| {
            // SAFETY: the runtime refused, so nobody else knows the tag.
            unsafe { drop_tag(tag) };
            let mut fail = runtime_fail(&error);
            fail.text = format!("cannot connect to {remote}: {}", fail.text).into();
            fail
        })
    }

    /// Begins the next attempt beside those that run, if there is an address left. Under the phase's lock.
    fn begin_rival(self: &Arc<Self>, attempts: &mut Attempts) {
        while let Some(remote) = attempts.targets.pop_front() {
            if let Ok(conn) = self.attempt(remote, &attempts.server_name) {
                attempts.rivals.push(conn);
                attempts.last = clock::now();
                return;
            }
        }
    }

    fn is_racing(&self) -> bool {
        matches!(&*self.phase.lock(), Phase::Running { attempts: Some(_), .. })
    }

    /// On a helper thread: begins an attempt whenever the last one has had its time, until one is answered.
    fn race(self: &Arc<Self>) {
        let mut due = clock::now() + ATTEMPT_DELAY;
        while self.runtime().pause(due, || self.is_racing()) {
            if !self.streams.lock().is_empty() {
                return;
            }
            let mut phase = self.phase.lock();
            let Phase::Running { attempts: Some(attempts), .. } = &mut *phase else { return };
            // One that failed may have begun the next in the meantime.
            if clock::now() >= attempts.last + ATTEMPT_DELAY {
                self.begin_rival(attempts);
            }
            if attempts.targets.is_empty() {
                return;
            }
            due = attempts.last + ATTEMPT_DELAY;
        }
    }

    /// An event of an attempt that does not count: true when it counts from now on.
    pub(in crate::ffi) fn on_rival(self: &Arc<Self>, conn: &Arc<Conn>, event: &ConnEvent) -> bool {
        match event {
            ConnEvent::Quic(Event::KeysInstalled { level: Level::Handshake, .. }) => self.settle(conn),
            ConnEvent::Quic(Event::Closed(_)) | ConnEvent::Poisoned => {
                self.drop_rival(conn);
                false
            }
            _ => false,
        }
    }

    /// A rival has failed: the next one begins at once (RFC 8305 section 5).
    fn drop_rival(self: &Arc<Self>, conn: &Arc<Conn>) {
        let mut phase = self.phase.lock();
        if let Phase::Running { attempts: Some(attempts), .. } = &mut *phase
            && let Some(at) = attempts.rivals.iter().position(|r| Arc::ptr_eq(r, conn))
        {
            attempts.rivals.remove(at);
            self.begin_rival(attempts);
        }
    }

    /// The peer has answered this attempt: the others are given up. False: this one is.
    pub(in crate::ffi) fn settle(&self, conn: &Arc<Conn>) -> bool {
        if !self.is_racing() {
            return self.is_current(conn);
        }
        // In this order, as where streams are opened: none is opened on an attempt that is about to be given up.
        let streams = self.streams.lock();
        let mut phase = self.phase.lock();
        let Phase::Running { conn: current, attempts } = &mut *phase else { return false };
        let mut rivals = match attempts.take() {
            Some(attempts) => attempts.rivals,
            None => return Arc::ptr_eq(current, conn),
        };
        let mut wins = true;
        if let Some(at) = rivals.iter().position(|r| Arc::ptr_eq(r, conn)) {
            // Early data of the application are on their way on the other one: that stays.
            wins = streams.is_empty();
            if wins && let Some(rival) = rivals.get_mut(at) {
                std::mem::swap(rival, current);
            }
        }
        drop((phase, streams));
        self.end_attempts(rivals);
        wins
    }

    /// The attempt that counts has failed before anything of it was of use: true when another one counts now.
    pub(super) fn try_next(self: &Arc<Self>, reason: &CloseReason) -> bool {
        let worth = match reason {
            CloseReason::HandshakeTimeout | CloseReason::NoPath | CloseReason::IdleTimeout => true,
            CloseReason::Peer { code, app: false, .. } => *code == CONNECTION_REFUSED,
            CloseReason::Transport(_) => self.unreachable.load(Ordering::Acquire) != 0,
            _ => false,
        };
        if !worth || self.handshake.load(Ordering::Acquire) != 0 {
            return false;
        }
        let streams = self.streams.lock();
        let mut phase = self.phase.lock();
        let Phase::Running { conn, attempts: slot } = &mut *phase else { return false };
        let Some(attempts) = slot.as_mut().filter(|_| streams.is_empty()) else { return false };
        self.begin_rival(attempts);
        if attempts.rivals.is_empty() {
            return false;
        }
        *conn = attempts.rivals.remove(0);
        self.unreachable.store(0, Ordering::Release);
        true
    }

    /// The connection needs no further attempts.
    pub(super) fn give_up_attempts(&self) {
        let attempts = match &mut *self.phase.lock() {
            Phase::Running { attempts, .. } => attempts.take(),
            _ => None,
        };
        if let Some(attempts) = attempts {
            self.end_attempts(attempts.rivals);
        }
    }

    fn end_attempts(&self, rivals: Vec<Arc<Conn>>) {
        for rival in rivals {
            rival.close(0, b"");
        }
        // The thread that would begin the next one.
        self.runtime().note_change();
    }
}

#[cfg(test)]
mod tests;
