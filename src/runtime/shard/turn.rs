//! A connection's turn: deadline, events, batches out, and what follows from them for its worker.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Shard;
use super::send::Fate;
use crate::base::codes::transport::NO_VIABLE_PATH;
use crate::base::sync::{MutexGuard, Ordering};
use crate::base::{Timestamp, TransportError};
use crate::connection::EndpointEvent;
use crate::endpoint::Answer;
use crate::runtime::clock;
use crate::runtime::conn::{Conn, ConnState, Harvest, PathChange};
use crate::runtime::counters::SentNow;
use crate::runtime::events::{ConnEvent, EndpointNotice, part_of};

/// How a turn ended.
#[derive(Default)]
struct TurnEnd {
    deadline: Option<Timestamp>,
    /// The turn's batches are used up and there is more to send.
    more: bool,
    blocked_at: Option<u32>,
    no_route: Option<i32>,
    drained: bool,
    sent: SentNow,
}

impl Shard {
    /// Gives `conn` its turn. A panic inside stops this connection and no other.
    pub(super) fn turn(&mut self, conn: &Arc<Conn>) {
        let mut harvest = core::mem::take(&mut self.harvest);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.turn_inside(conn, &mut harvest)));
        harvest.clear();
        self.harvest = harvest;
        if outcome.is_err() {
            conn.queued.store(false, Ordering::Release);
            self.poison(conn);
        }
    }

    fn turn_inside(&mut self, conn: &Arc<Conn>, harvest: &mut Harvest) {
        let now = clock::now();
        let mut state = conn.state.lock();
        if state.poisoned || state.gone {
            conn.queued.store(false, Ordering::Release);
            return;
        }
        if state.connection.deadline().is_some_and(|at| at <= now) {
            state.connection.on_deadline(now);
        }
        state.harvest(now, harvest);
        let drained = state.drained;
        let mut end = TurnEnd::default();
        let told = !harvest.events.is_empty();
        if !harvest.events.is_empty() || !harvest.endpoint.is_empty() {
            // Before sending: what the application writes in answer shares a datagram with our ACK, and so do the
            // connection IDs and the token that the endpoint makes.
            self.deliver_in_parts(conn, &mut state, harvest, &mut end);
            if !drained && !harvest.endpoint.is_empty() {
                MutexGuard::unlocked(&mut state, || {
                    for event in harvest.endpoint.drain(..) {
                        self.on_endpoint_event(conn, event);
                    }
                });
            }
        }
        // What was done until now is seen by this turn; whoever acts later queues it again.
        conn.queued.store(false, Ordering::Release);
        if told && self.may_owe(&state) {
            end.deadline = state.connection.deadline();
            self.owing.push(Arc::clone(conn));
        } else {
            self.send_turn(&mut state, harvest, &mut end);
        }
        if self.is_crowded() && state.connection.has_streams() {
            conn.note_parts(&state);
        }
        drop(state);
        self.write_log(conn, harvest);
        if !harvest.events.is_empty() {
            deliver(conn, &mut harvest.events);
        }
        self.after_turn(conn, harvest, &end);
    }

    /// Hands the harvested events over, and in between sends what the application made of them.
    fn deliver_in_parts(
        &mut self,
        conn: &Arc<Conn>,
        state: &mut MutexGuard<'_, ConnState>,
        harvest: &mut Harvest,
        end: &mut TurnEnd,
    ) {
        let most = part_of(harvest.events.len(), conn.endpoint.sink.events_at_a_time(conn)).max(1);
        while !harvest.events.is_empty() {
            if harvest.events.len() <= most {
                core::mem::swap(&mut harvest.part, &mut harvest.events);
            } else {
                harvest.part.extend(harvest.events.drain(..most));
            }
            MutexGuard::unlocked(state, || deliver(conn, &mut harvest.part));
            // Data only: an acknowledgement alone can wait for the turn's end. What a driven worker sends waits to be
            // taken, and no more than a turn's batches may.
            if !harvest.events.is_empty()
                && self.outbox.is_none()
                && end.blocked_at.is_none()
                && !state.poisoned
                && state.connection.has_stream_data()
            {
                self.send_batches(state, 1, end);
            }
        }
    }

    /// The taker that runs this has something to answer and does so before it sleeps again: our acknowledgement can wait that
    /// long for a datagram with data (RFC 9000 section 13.2.1). Nothing else waits.
    fn may_owe(&self, state: &ConnState) -> bool {
        self.for_taker
            && !state.drained
            && !state.poisoned
            && state.connection.is_established()
            && state.connection.is_confirmed()
            && !state.connection.has_stream_data()
    }

    /// Sends up to a turn's batches, and looks at what became of the connection.
    fn send_turn(&mut self, state: &mut MutexGuard<'_, ConnState>, harvest: &mut Harvest, end: &mut TurnEnd) {
        let left = self.batches_per_turn;
        end.more = self.send_batches(state, left, end) == left;
        state.harvest(clock::now(), harvest);
        // A connection that has just finished what was under way says goodbye in its next turn.
        end.more |= state.end_if_retired(clock::now());
        end.deadline = state.connection.deadline();
        end.drained = state.drained;
    }

    /// Sends up to `most` batches; the lock is released for every system call. How many the socket took.
    fn send_batches(&mut self, state: &mut MutexGuard<'_, ConnState>, most: usize, end: &mut TurnEnd) -> usize {
        let number = state.connection.path().socket;
        let mut max_segments = 1;
        if let Some(socket) = self.sockets.get(number) {
            max_segments = socket.socket.max_segments();
            if socket.is_blocked() {
                end.blocked_at = Some(number);
            }
        }
        if let Some(outbox) = &self.outbox {
            max_segments = outbox.max_segments;
        }
        if end.blocked_at.is_some() {
            return 0;
        }
        for sent in 0..most {
            let now = clock::now();
            let Some(transmit) = state.connection.transmit(now, &mut self.send_arena, max_segments) else {
                return sent;
            };
            end.sent.batch(transmit.len, transmit.segment);
            match MutexGuard::unlocked(state, || self.send_batch(&transmit)) {
                Fate::Done => {}
                Fate::Blocked => {
                    end.sent.blocked += 1;
                    end.blocked_at = Some(transmit.tuple.socket);
                    return sent;
                }
                Fate::NoRoute(os_error) => {
                    end.sent.failed += 1;
                    end.no_route = Some(os_error);
                }
            }
        }
        most
    }

    /// Stores what the connection has recorded about itself.
    pub(super) fn write_log(&mut self, conn: &Arc<Conn>, harvest: &mut Harvest) {
        let Some((name, records)) = harvest.log.take() else { return };
        conn.endpoint.sink.log(conn, &records);
        let Some(dir) = conn.endpoint.options.qlog_dir.as_deref() else { return };
        if let Err(e) = self.log_files.append(conn.id(), dir, name, &records) {
            let notice = EndpointNotice::LogError { os_error: e.raw_os_error().unwrap_or(0) };
            conn.endpoint.sink.endpoint(conn.endpoint.id, notice);
        }
    }

    fn after_turn(&mut self, conn: &Arc<Conn>, harvest: &mut Harvest, end: &TurnEnd) {
        if let Some(part) = conn.part().filter(|_| end.sent.datagrams > 0) {
            part.sent.add(&end.sent);
        }
        for change in harvest.paths.drain(..) {
            self.on_path_change(conn, change);
        }
        for event in harvest.endpoint.drain(..) {
            self.on_endpoint_event(conn, event);
        }
        if end.drained {
            self.let_go(conn, false);
            return;
        }
        if let Some(os_error) = end.no_route {
            self.hint_unreachable(conn, os_error);
        }
        self.timers.set(conn, end.deadline);
        if end.more {
            self.touch(conn);
        }
        if let Some(number) = end.blocked_at {
            match self.sockets.get_mut(number) {
                Some(socket) if socket.is_blocked() => socket.wait(conn),
                // Closed or unblocked meanwhile.
                _ => self.touch(conn),
            }
        }
    }

    /// The protocol part of the endpoint answers what a connection asks of it.
    fn on_endpoint_event(&mut self, conn: &Arc<Conn>, event: EndpointEvent) {
        let Some(part) = conn.part() else { return };
        let answer = part.core.lock().endpoint.on_event(conn.key, event, self.now);
        match answer {
            Answer::None => return conn.endpoint.tell_load(),
            Answer::Forgotten => return,
            Answer::Cids(cids) => conn.state.lock().connection.on_new_cids(cids),
            Answer::Token(token) => conn.state.lock().connection.send_new_token(token),
        }
        // There is something new to send.
        self.touch(conn);
    }

    /// Sockets follow the path: the ones left behind are closed after a grace.
    fn on_path_change(&mut self, conn: &Arc<Conn>, change: PathChange) {
        let Some(part) = conn.part() else { return };
        let at = self.now + self.grace;
        let active = conn.path().socket;
        let own = part.core.lock().sockets.of(conn.id());
        for number in own {
            let leave = match change {
                // Numbers grow: a later socket belongs to a later migration, still under way.
                PathChange::Moved(tuple) => number < tuple.socket,
                PathChange::Failed(tuple) => number == tuple.socket && number != active,
            };
            if leave {
                self.sockets.retire(number, at);
            }
        }
    }

    /// The network says that the peer cannot be reached. Believed only while nothing has come from it.
    pub(super) fn hint_unreachable(&mut self, conn: &Arc<Conn>, os_error: i32) {
        {
            let mut state = conn.state.lock();
            let silent = !state.poisoned
                && !state.gone
                && state.connection.side().is_client()
                && state.connection.is_handshaking()
                && state.connection.stats().packets_received == 0;
            if !silent {
                return;
            }
            if conn.endpoint.options.fail_unreachable {
                let now = clock::now();
                state.connection.close_transport(TransportError::new(NO_VIABLE_PATH, "peer unreachable"), now);
            }
        }
        let mut events = vec![ConnEvent::Unreachable { os_error }];
        conn.endpoint.sink.deliver(conn, &mut events);
        self.touch(conn);
    }

    /// A defect: the connection is cut off, its peer finds out by its idle timer.
    pub(super) fn poison(&mut self, conn: &Arc<Conn>) {
        {
            let mut state = conn.state.lock();
            if state.gone {
                return;
            }
            state.poisoned = true;
        }
        self.let_go(conn, true);
    }

    /// Removes a connection from its worker and delivers its last event.
    fn let_go(&mut self, conn: &Arc<Conn>, poisoned: bool) {
        if core::mem::replace(&mut conn.state.lock().gone, true) {
            return;
        }
        self.timers.forget(conn);
        self.log_files.close(conn.id());
        if let Some(part) = conn.part() {
            let own = {
                let mut core = part.core.lock();
                core.endpoint.forget(conn.key);
                core.conns.remove(&conn.key);
                let own = core.sockets.of(conn.id());
                for number in &own {
                    core.sockets.remove(*number);
                }
                own
            };
            for number in own {
                self.sockets.remove(self.poll.registry(), number);
            }
        }
        let mut events = Vec::new();
        if poisoned {
            events.push(ConnEvent::Poisoned);
        }
        events.push(ConnEvent::Drained);
        // A sink that panics has had its warning: the rest of this worker goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| conn.endpoint.sink.deliver(conn, &mut events)));
        let endpoint = Arc::clone(&conn.endpoint);
        endpoint.tell_load();
        self.settle_endpoint(&endpoint, conn.part);
    }
}

fn deliver(conn: &Arc<Conn>, events: &mut Vec<ConnEvent>) {
    clock::hold(|| conn.endpoint.sink.deliver(conn, events));
    events.clear();
}
