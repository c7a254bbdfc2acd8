//! Sending: one batch, one system call, no lock held.
use std::net::SocketAddr;
use std::sync::Arc;

use super::Shard;
use super::sockets::Pending;
use crate::base::{Ecn, FourTuple};
use crate::connection::Transmit;
use crate::runtime::counters::SentNow;
use crate::runtime::endpoint::Part;
use crate::runtime::events::EndpointNotice;
use crate::runtime::udp::SendOutcome;

/// What became of a batch, as far as its connection is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It left, or was lost here: recovery cannot tell and need not.
    Done,
    /// The socket is full; the batch is kept.
    Blocked,
    /// The system knows no way to the peer.
    NoRoute(i32),
}

impl Shard {
    /// Sends the first `transmit.len` bytes of the send arena.
    pub(super) fn send_batch(&mut self, transmit: &Transmit) -> Fate {
        if let Some(fate) = self.post(transmit) {
            return fate;
        }
        self.spin.note(transmit.len);
        let number = transmit.tuple.socket;
        if self.sockets.get(number).is_none() {
            // Opened by an application thread a moment ago: its hand-over is in the command list.
            self.take_commands();
        }
        let Some(state) = self.sockets.get_mut(number) else { return Fate::Done };
        let Some(bytes) = self.send_arena.get(..transmit.len) else { return Fate::Done };
        let source = state.source(&transmit.tuple);
        let remote = transmit.tuple.remote;
        let outcome = if state.is_blocked() {
            SendOutcome::Blocked { offset: 0 }
        } else {
            state.socket.send(remote, source, transmit.ecn, bytes, transmit.segment)
        };
        if state.socket.take_renewed() {
            state.watch_again(self.poll.registry(), number);
        }
        match outcome {
            SendOutcome::Sent | SendOutcome::TooBig => Fate::Done,
            SendOutcome::Blocked { offset } => {
                let bytes = bytes.get(offset..).unwrap_or_default().to_vec();
                state.keep(Pending { remote, source, ecn: transmit.ecn, segment: transmit.segment, bytes });
                self.sockets.watch_writable(self.poll.registry(), number);
                Fate::Blocked
            }
            SendOutcome::Failed { os_error } => fate_of(os_error),
        }
    }

    /// Sends one datagram that belongs to no connection; lost when the socket is full.
    pub(super) fn send_reply(&mut self, part: &Part, tuple: &FourTuple, bytes: &[u8]) {
        part.sent.add(&SentNow { datagrams: 1, bytes: bytes.len() as u64, ..SentNow::default() });
        if self.post_reply(tuple, bytes) {
            return;
        }
        if let Some(state) = self.sockets.get_mut(tuple.socket)
            && !state.is_blocked()
        {
            let source = state.source(tuple);
            let _ = state.socket.send(tuple.remote, source, Ecn::NotEct, bytes, None);
        }
    }

    /// A socket takes datagrams again: what it did not take goes first, then its connections.
    pub(super) fn flush_writable(&mut self) {
        for number in self.sockets.take_writable() {
            let Some(state) = self.sockets.get_mut(number) else { continue };
            for batch in state.unblock() {
                let Pending { remote, source, ecn, segment, bytes } = batch;
                if state.is_blocked() {
                    state.keep(Pending { remote, source, ecn, segment, bytes });
                    continue;
                }
                if let SendOutcome::Blocked { offset } = state.socket.send(remote, source, ecn, &bytes, segment) {
                    let left = bytes.get(offset..).unwrap_or_default().to_vec();
                    state.keep(Pending { remote, source, ecn, segment, bytes: left });
                }
            }
            if !state.is_blocked() {
                self.sockets.watch_writable(self.poll.registry(), number);
                self.wake_waiting(number);
            }
        }
    }

    /// Reads what the network reported about a socket's datagrams.
    pub(super) fn read_errors(&mut self) {
        for number in self.sockets.take_failed() {
            let Some(state) = self.sockets.get(number) else { continue };
            let mut errors = Vec::new();
            crate::runtime::udp::drain_errors(state.socket.raw(), &mut errors);
            for e in errors {
                self.on_peer_error(number, Some(e.remote), e.os_error);
            }
        }
    }

    /// An ICMP error about a peer; `remote` is unknown where the system reports it on a connected socket.
    pub(super) fn on_peer_error(&mut self, number: u32, remote: Option<SocketAddr>, os_error: i32) {
        let Some(state) = self.sockets.get(number) else { return };
        if state.endpoint.tells_packet_addresses() {
            // A server waits for its idle timer: such reports are cheap to forge.
            return;
        }
        let (endpoint, part) = (Arc::clone(&state.endpoint), state.part);
        let Some(p) = endpoint.parts.get(part) else { return };
        let conns: Vec<_> = p.core.lock().conns.values().cloned().collect();
        for conn in conns {
            let path = conn.path();
            if path.socket == number && remote.is_none_or(|r| r == path.remote) {
                self.hint_unreachable(&conn, os_error);
            }
        }
    }

    /// A receive call failed for another reason than an empty socket. `true`: the socket itself is at fault, and asking it again
    /// at once would not help. Told from time to time only: such an error stays, and comes again with each datagram.
    pub(super) fn on_receive_error(&mut self, number: u32, error: &std::io::Error) -> bool {
        let os_error = error.raw_os_error().unwrap_or(0);
        if crate::runtime::udp::is_peer_error(error) {
            let connected = self.sockets.get(number).is_some_and(|s| s.socket.is_connected());
            self.read_errors();
            if connected {
                self.on_peer_error(number, None, os_error);
            }
            return false;
        }
        let now = self.now;
        if let Some(state) = self.sockets.get_mut(number)
            && state.complain(now)
        {
            let notice = EndpointNotice::SocketError { local: state.socket.local(), os_error };
            let (sink, id) = (Arc::clone(&state.endpoint.sink), state.endpoint.id);
            sink.endpoint(id, notice);
        }
        true
    }
}

const fn fate_of(os_error: i32) -> Fate {
    match os_error {
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::ECONNREFUSED => Fate::NoRoute(os_error),
        _ => Fate::Done,
    }
}
