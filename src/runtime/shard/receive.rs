//! Receiving: GRO runs into the arena, one router lookup and one lock per run of the same connection.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Shard;
use crate::base::span::Span;
use crate::base::{Ecn, FourTuple};
use crate::endpoint::{ConnectionKey, Incoming, Routed};
use crate::runtime::conn::{Conn, ConnState, Names, next_id};
use crate::runtime::{ahead, clock};

use crate::runtime::endpoint::{EndpointInner, Undecided};
use crate::runtime::events::{IncomingDecision, IncomingInfo, Ticket, UNDECIDED_LIFETIME};
use crate::runtime::shards::Handoff;
use crate::runtime::udp::{RECV_SLOT, RECV_SLOTS, Received};

/// Receive calls per socket and round: a flood on one socket must not starve timers and others.
const CALLS_PER_ROUND: usize = 8;
/// Bytes per round, of all sockets together: what the second-level cache holds, so that applications read what has just
/// been decrypted, and the buffers it was in serve the next round.
const BYTES_PER_ROUND: usize = 256 << 10;
/// Hand-overs from other workers taken per round.
const HANDOFFS_PER_ROUND: usize = 64;
/// A call that fills fewer slots than it could has emptied the socket: the next datagram raises a
/// new readiness event. Elsewhere than on Linux a call takes one datagram at most.
const SHORT_MEANS_EMPTY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Datagrams of one path with one ECN mark: what a receive slot holds.
pub(super) struct Run<'a> {
    pub endpoint: &'a Arc<EndpointInner>,
    pub part: usize,
    pub tuple: FourTuple,
    pub ecn: Ecn,
    pub stride: usize,
}

impl Shard {
    /// Reads sockets that may have something, up to a round's bytes. Those that are left come first in the next round, and
    /// one that has more comes last: a client has a socket per connection, and what all of them hold is too much to
    /// read before connections have their turns.
    pub(super) fn receive_all(&mut self) {
        self.flush_writable();
        self.read_errors();
        let mut list = core::mem::take(&mut self.spare_numbers);
        self.sockets.take_readable(&mut list);
        let (mut left, mut read) = (BYTES_PER_ROUND, 0usize);
        while left > 0
            && let Some(&number) = list.get(read)
        {
            read += 1;
            self.sockets.unlist(number);
            if !self.receive_socket(number, &mut left) {
                self.sockets.mark_readable(number);
            }
        }
        list.drain(..read);
        self.spare_numbers = self.sockets.put_back(list);
    }

    /// `true`: the socket is empty. What was read is taken off `left`.
    fn receive_socket(&mut self, number: u32, left: &mut usize) -> bool {
        let mut arena = core::mem::take(&mut self.recv_arena);
        let mut empty = false;
        let crowded = self.is_crowded();
        if crowded && let Some(state) = self.sockets.get(number) {
            // Comes in while the system copies.
            state.ahead.fetch();
        }
        for _ in 0..CALLS_PER_ROUND {
            let mut runs = [None; RECV_SLOTS];
            let Some(state) = self.sockets.get_mut(number) else {
                empty = true;
                break;
            };
            match state.socket.receive(&mut arena, &mut runs) {
                Ok((_, full)) => {
                    let (endpoint, part) = (Arc::clone(&state.endpoint), state.part);
                    let here = state.here();
                    let several = crowded && !state.socket.is_connected();
                    self.now = clock::now();
                    let next = if several { foresee(&endpoint, part, &arena, &runs) } else { NOBODY };
                    fetch_foreseen(&endpoint, part, next.first());
                    for (i, (slot, meta)) in arena.chunks_exact_mut(RECV_SLOT).zip(runs.iter().flatten()).enumerate() {
                        fetch_foreseen(&endpoint, part, next.get(i + 1));
                        if let Some(bytes) = slot.get_mut(..meta.len) {
                            *left = left.saturating_sub(bytes.len());
                            self.spin.note(bytes.len());
                            let tuple = here.tuple(number, meta);
                            let run = Run { endpoint: &endpoint, part, tuple, ecn: meta.ecn, stride: meta.stride };
                            self.take_run(&run, bytes);
                        }
                    }
                    if SHORT_MEANS_EMPTY && !full {
                        empty = true;
                        break;
                    }
                    if *left == 0 {
                        break;
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    empty = true;
                    break;
                }
                Err(e) => {
                    if self.on_receive_error(number, &e) {
                        empty = true;
                        break;
                    }
                }
            }
        }
        self.recv_arena = arena;
        empty
    }

    /// Gives every datagram of a run to its owner.
    pub(super) fn take_run(&mut self, run: &Run<'_>, mut bytes: &mut [u8]) {
        let stride = run.stride.max(1);
        let cid_len = run.endpoint.options.endpoint.cid_len;
        while !bytes.is_empty() {
            let same = leading_same(bytes, stride, cid_len);
            let at = same.saturating_mul(stride).min(bytes.len());
            let (group, rest) = core::mem::take(&mut bytes).split_at_mut(at);
            // A defect in routing costs these datagrams, not the worker.
            let _ = catch_unwind(AssertUnwindSafe(|| self.take_group(run, stride, group)));
            bytes = rest;
        }
    }

    /// Datagrams of one path and one destination connection ID: one lookup, one lock.
    fn take_group(&mut self, run: &Run<'_>, stride: usize, group: &mut [u8]) {
        let Some(part) = run.endpoint.parts.get(run.part) else { return };
        let mut reply = core::mem::take(&mut self.reply);
        reply.clear();
        let now = self.now;
        let first = group.len().min(stride);
        let routed = {
            let mut core = part.core.lock();
            let Some(head) = group.get_mut(..first) else { return };
            let routed = core.endpoint.receive(&run.tuple, run.ecn, head, now, &mut reply);
            let datagrams = if group.len() <= stride { 1 } else { group.len().div_ceil(stride) };
            core.endpoint.count(&routed, datagrams as u64, group.len() as u64);
            match routed {
                Routed::Connection(key) => core.conns.get(&key).map_or(Target::Nobody, |c| Target::Conn(Arc::clone(c))),
                Routed::Incoming(incoming) => Target::Incoming(incoming),
                Routed::Reply => Target::Reply,
                Routed::OtherShard(shard) => Target::Other(shard),
                Routed::Buffered | Routed::Dropped(_) => Target::Nobody,
            }
        };
        match routed {
            Target::Conn(conn) => self.feed(&conn, run, stride, group),
            Target::Incoming(incoming) => self.answer(run, incoming, &mut reply),
            Target::Reply => {
                self.send_reply(part, &run.tuple, &reply);
                run.endpoint.tell_load();
            }
            Target::Other(shard) => hand_off(run, usize::from(shard), stride, group),
            Target::Nobody => {}
        }
        self.reply = reply;
    }

    /// A client wants a connection: the application decides, with no lock held.
    fn answer(&mut self, run: &Run<'_>, incoming: Incoming, reply: &mut Vec<u8>) {
        let decision = if run.endpoint.listen.read().is_some() {
            let info = IncomingInfo {
                ticket: Ticket { part: run.part, number: next_id() },
                remote: run.tuple.remote,
                local: run.tuple.local,
                address_validated: incoming.address_validated(),
                was_retried: incoming.was_retried(),
            };
            let decision = run.endpoint.sink.incoming(run.endpoint.id, &info);
            if decision == IncomingDecision::Later {
                return self.put_off(run, info.ticket.number, incoming);
            }
            decision
        } else {
            IncomingDecision::Refuse
        };
        self.settle_incoming(run.endpoint, run.part, incoming, decision, reply);
        run.endpoint.tell_load();
    }

    /// The decision comes later: until then the protocol part keeps the attempt's datagrams.
    fn put_off(&self, run: &Run<'_>, number: u64, incoming: Incoming) {
        let Some(part) = run.endpoint.parts.get(run.part) else { return };
        let mut core = part.core.lock();
        let now = self.now;
        while core.undecided.front().is_some_and(|u| now.since(u.since) >= UNDECIDED_LIFETIME) {
            core.undecided.pop_front();
        }
        core.undecided.push_back(Undecided { number, since: now, incoming });
    }

    /// A decision that was put off has come.
    pub(super) fn decide(&mut self, endpoint: &Arc<EndpointInner>, ticket: Ticket, decision: IncomingDecision) {
        let Some(part) = endpoint.parts.get(ticket.part) else { return };
        let found = {
            let mut core = part.core.lock();
            let at = core.undecided.iter().position(|u| u.number == ticket.number);
            at.and_then(|at| core.undecided.remove(at))
        };
        let Some(undecided) = found else { return };
        let mut reply = core::mem::take(&mut self.reply);
        reply.clear();
        self.settle_incoming(endpoint, ticket.part, undecided.incoming, decision, &mut reply);
        endpoint.tell_load();
        self.reply = reply;
    }

    fn settle_incoming(
        &mut self,
        endpoint: &Arc<EndpointInner>,
        part_number: usize,
        incoming: Incoming,
        decision: IncomingDecision,
        reply: &mut Vec<u8>,
    ) {
        let Some(part) = endpoint.parts.get(part_number) else { return };
        let listen = endpoint.listen.read().clone();
        let tuple = *incoming.tuple();
        let now = self.now;
        let mut core = part.core.lock();
        let incoming = match (decision, &listen) {
            (IncomingDecision::Ignore | IncomingDecision::Later, _) => return core.endpoint.ignore(incoming),
            (IncomingDecision::Refuse, _) | (_, None) => {
                let answered = core.endpoint.refuse(incoming, now, reply);
                drop(core);
                if answered {
                    self.send_reply(part, &tuple, reply);
                }
                return;
            }
            (IncomingDecision::Accept, _) => incoming,
            (IncomingDecision::Retry, _) => match core.endpoint.retry(incoming, now, reply) {
                None => {
                    drop(core);
                    return self.send_reply(part, &tuple, reply);
                }
                // It has proved its address already.
                Some(incoming) => incoming,
            },
        };
        let Some(listen) = listen else { return };
        let Ok((key, mut connection)) =
            core.endpoint.accept(incoming, Arc::clone(&listen.connection), &listen.tls, now)
        else {
            return;
        };
        connection.share_slabs(Arc::clone(&self.shared.slabs));
        let state = ConnState::new(connection, None, listen.http3.clone());
        let names = Names { id: next_id(), tag: 0 };
        let conn = Arc::new(Conn::new(Arc::clone(endpoint), part_number, key, names, state));
        core.conns.insert(key, Arc::clone(&conn));
        drop(core);
        endpoint.sink.accepted(&conn);
        self.touch(&conn);
    }

    /// Gives datagrams to their connection.
    fn feed(&mut self, conn: &Arc<Conn>, run: &Run<'_>, stride: usize, group: &mut [u8]) {
        let now = self.now;
        let count = group.len().div_ceil(stride);
        let fed = catch_unwind(AssertUnwindSafe(|| {
            let mut state = conn.state.lock();
            if !state.poisoned {
                for datagram in group.chunks_mut(stride) {
                    state.connection.receive(&run.tuple, run.ecn, datagram, now);
                }
            }
            state.connection.shortest_round_trip()
        }));
        match fed {
            Err(_) => self.poison(conn),
            Ok(round_trip) => {
                self.nap.note(count, round_trip);
                if self.is_crowded() {
                    self.sockets.note_parts(run.tuple.socket, conn);
                }
                self.touch(conn);
            }
        }
    }
}

/// Whose datagrams come in each slot, where that changes.
type Foreseen = [Option<ConnectionKey>; RECV_SLOTS];
const NOBODY: Foreseen = [None; RECV_SLOTS];

/// Finds out whose datagrams several runs are, and asks for where the state of each connection lies.
fn foresee(endpoint: &EndpointInner, part: usize, arena: &[u8], runs: &[Option<Received>]) -> Foreseen {
    let mut next = NOBODY;
    let Some(part) = endpoint.parts.get(part).filter(|_| matches!(runs, [_, Some(_), ..])) else { return next };
    let core = part.core.lock();
    let mut last = None;
    for ((slot, run), place) in arena.chunks_exact(RECV_SLOT).zip(runs.iter().flatten()).zip(&mut next) {
        let key = slot.get(..run.len).and_then(|bytes| core.endpoint.foresee(bytes));
        if key != last
            && let Some(conn) = key.and_then(|key| core.conns.get(&key))
        {
            ahead::fetch(Span::of(&**conn));
            *place = key;
        }
        last = key;
    }
    next
}

/// Asks for the state of a connection whose turn to receive is near.
fn fetch_foreseen(endpoint: &EndpointInner, part: usize, next: Option<&Option<ConnectionKey>>) {
    let Some(Some(key)) = next else { return };
    let notes = endpoint.parts.get(part).and_then(|p| p.core.lock().conns.get(key).map(|conn| conn.ahead.notes()));
    if let Some(notes) = notes {
        notes.fetch();
    }
}

enum Target {
    Conn(Arc<Conn>),
    Incoming(Incoming),
    Reply,
    Other(u8),
    Nobody,
}

/// The destination connection ID of a short header packet (RFC 9000 section 17.3.1).
fn short_dcid(datagram: &[u8], cid_len: usize) -> Option<&[u8]> {
    let first = datagram.first()?;
    if first & 0x80 != 0 {
        return None;
    }
    datagram.get(1..cid_len.saturating_add(1))
}

/// How many datagrams from the start share a short header and a destination connection ID.
fn leading_same(bytes: &[u8], stride: usize, cid_len: usize) -> usize {
    let dcid = |d| short_dcid(d, cid_len);
    let mut datagrams = bytes.chunks(stride);
    let Some(first) = datagrams.next().and_then(dcid) else { return 1 };
    datagrams.take_while(|d| dcid(d) == Some(first)).count().saturating_add(1)
}

/// To the worker that the connection ID names.
fn hand_off(run: &Run<'_>, to: usize, stride: usize, group: &[u8]) {
    let Some(here) = run.endpoint.parts.get(run.part) else { return };
    let Some(there) = run.endpoint.parts.get(to) else { return };
    if to == run.part {
        return;
    }
    let bound = here.core.lock().sockets.get(run.tuple.socket).map(|s| s.bound);
    let Some(bound) = bound else { return };
    let item = Handoff {
        endpoint: run.endpoint.id,
        bound,
        local: run.tuple.local,
        remote: run.tuple.remote,
        ecn: run.ecn,
        stride,
        bytes: group.to_vec(),
    };
    if there.shard.handoff.lock().push(item) {
        there.shard.bell.ring();
    }
}

impl Shard {
    /// Takes in what other workers received for us.
    pub(super) fn take_handoffs(&mut self) {
        for _ in 0..HANDOFFS_PER_ROUND {
            let Some(mut item) = self.shared.handoff.lock().pop() else { return };
            let Some(home) = self.homes.iter().find(|h| h.endpoint.id == item.endpoint) else { continue };
            let (endpoint, part) = (Arc::clone(&home.endpoint), home.part);
            let socket = endpoint.parts.get(part).and_then(|p| {
                let core = p.core.lock();
                core.sockets.shared().find(|s| s.bound == item.bound).map(|s| s.number)
            });
            let Some(socket) = socket else { continue };
            let tuple = FourTuple { local: item.local, remote: item.remote, socket };
            let run = Run { endpoint: &endpoint, part, tuple, ecn: item.ecn, stride: item.stride };
            self.take_run(&run, &mut item.bytes);
        }
        // More waits: look again without sleeping.
        self.shared.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::leading_same;

    /// Datagrams of 20 bytes: short headers with the given 8-byte connection IDs, 0 for a long header.
    fn run(ids: &[u8]) -> Vec<u8> {
        let datagram = |id: &u8| {
            let mut d = [*id; 20];
            d[0] = if *id == 0 { 0xc0 } else { 0x40 };
            d
        };
        ids.iter().flat_map(datagram).collect()
    }

    #[test]
    fn a_group_is_what_shares_a_short_headers_connection_id() {
        assert_eq!(leading_same(&run(&[7, 7, 7]), 20, 8), 3);
        assert_eq!(leading_same(&run(&[7, 7, 8, 7]), 20, 8), 2);
        assert_eq!(leading_same(&run(&[7, 0, 7]), 20, 8), 1);
        assert_eq!(leading_same(&run(&[0, 0]), 20, 8), 1, "long headers go one by one");
        assert_eq!(leading_same(&run(&[7, 8]), 20, 0), 2, "without connection IDs the path decides");
    }

    #[test]
    fn short_and_cut_datagrams_end_a_group() {
        let mut bytes = run(&[7, 7]);
        bytes.extend([0x40, 7, 7]);
        assert_eq!(leading_same(&bytes, 20, 8), 2);
        assert_eq!(leading_same(&[0x40, 1], 20, 8), 1);
        assert_eq!(leading_same(&[], 20, 8), 1);
    }
}
