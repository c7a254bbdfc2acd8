//! The end of a connection (RFC 9000 section 10.2): closing, draining, and CONNECTION_CLOSE at every level
//! that the peer may be able to read.
use super::Connection;
use super::crypto_stream::CryptoStream;
use super::events::{CloseReason, EndpointEvent, Event};
use super::life::Phase;
use super::timers::Timer;
use super::transmit::Transmit;
use crate::base::{Ecn, Level, SpaceId, Timestamp, TransportError, codes::transport};
use crate::wire::frame::write_ack;
use crate::wire::{Frame, Writer};

/// RFC 9000 section 10.2: closing and draining last three PTOs.
const CLOSE_PTOS: u32 = 3;
/// Longest reason phrase sent; all three levels must fit into one datagram.
const MAX_REASON: usize = 200;
/// Answers in the closing state stop growing rarer here.
const MAX_ANSWER_INTERVAL: u32 = 1 << 16;

/// What the peer of a connection that we end early for silence is told.
const IDLE_REASON: &[u8] = b"idle";

/// What our CONNECTION_CLOSE says and when it is said again.
pub(super) struct Closing {
    code: u64,
    /// `None`: an application's close.
    frame_type: Option<u64>,
    reason: Box<[u8]>,
    /// A CONNECTION_CLOSE is to be sent now.
    pending: bool,
    /// RFC 9000 section 10.2.1: answer every packet at first, then ever fewer.
    packets: u32,
    interval: u32,
}

/// Bytes of a client's last flight that fit into the datagram of a close; with a certificate it may be longer.
const MAX_LAST_FLIGHT: usize = 512;
/// Room for the ACK frame beside it.
const MAX_ACK: usize = 64;
/// RFC 9000 section 18.2: of packets before the 1-RTT level.
const DEFAULT_ACK_DELAY_EXPONENT: u32 = 3;

/// What a client that closes still owes the handshake.
struct LastFlight {
    ack: Box<[u8]>,
    offset: u64,
    bytes: Vec<u8>,
}

impl LastFlight {
    fn write(&self, w: &mut Writer<'_>) {
        let _ = w.bytes(&self.ack);
        let _ = Frame::Crypto { offset: self.offset, data: &self.bytes }.write(w);
    }
}

impl Connection {
    /// An error of the transport, found by us.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.3
    //# An endpoint that wishes to communicate a fatal connection error MUST use a CONNECTION_CLOSE frame if it is able.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-11.1
    //# Errors that result in the connection being unusable, such as an obvious violation of protocol semantics or
    //# corruption of state that affects an entire connection, MUST be signaled using a CONNECTION_CLOSE frame (Section
    //# 19.19).
    pub(super) fn fail(&mut self, error: TransportError, now: Timestamp) {
        if !self.life.is_open() {
            return;
        }
        self.closing = Some(Box::new(Closing {
            code: error.code,
            frame_type: Some(error.frame_type),
            reason: error.reason.as_bytes().into(),
            pending: true,
            packets: 0,
            interval: 1,
        }));
        self.end(CloseReason::Transport(error), Phase::Closing, now);
    }

    /// The application's close.
    pub(super) fn close_by_application(&mut self, code: u64, reason: &[u8], now: Timestamp) {
        if !self.life.is_open() {
            return;
        }
        let reason = reason.get(..reason.len().min(MAX_REASON)).unwrap_or(&[]);
        self.closing = Some(Box::new(Closing {
            code,
            frame_type: None,
            reason: reason.into(),
            pending: true,
            packets: 0,
            interval: 1,
        }));
        self.end(CloseReason::Local { code }, Phase::Closing, now);
    }

    /// Silence for as long as we bear it, which is shorter than the idle timeout that the peer knows.
    /// RFC 9000 section 10.1: an endpoint that abandons the connection prior to the effective value closes it immediately.
    pub(super) fn end_idle(&mut self, now: Timestamp) {
        self.closing = Some(Box::new(Closing {
            code: transport::NO_ERROR,
            frame_type: Some(0),
            reason: IDLE_REASON.into(),
            pending: true,
            packets: 0,
            interval: 1,
        }));
        self.end(CloseReason::IdleTimeout, Phase::Closing, now);
    }

    /// CONNECTION_CLOSE of the peer.
    pub(super) fn on_peer_close(&mut self, code: u64, frame_type: Option<u64>, reason: &[u8], now: Timestamp) {
        let reason = CloseReason::Peer {
            code,
            app: frame_type.is_none(),
            frame_type: frame_type.unwrap_or(0),
            reason: reason.into(),
        };
        // RFC 9000 section 10.2.2: one CONNECTION_CLOSE may be sent before draining; we send none.
        self.end(reason, Phase::Draining, now);
    }

    /// Leaves the open state. `to` is Closing, Draining or Drained.
    pub(super) fn end(&mut self, reason: CloseReason, to: Phase, now: Timestamp) {
        let was_open = self.life.is_open();
        if !self.life.advance(to) {
            return;
        }
        if was_open {
            self.log_closed(now, &reason);
            self.events.push_back(Event::Closed(reason.clone()));
            self.close_reason = Some(Box::new(reason));
        }
        let period = self.pto().saturating_mul(CLOSE_PTOS);
        let already = self.timers.get(Timer::Close);
        self.timers.clear_all();
        match to {
            Phase::Drained => self.drained(),
            _ if already != Timestamp::NEVER => self.timers.set(Timer::Close, Some(already)),
            _ => self.timers.set(Timer::Close, Some(now + period)),
        }
        if to >= Phase::Draining {
            self.closing = None;
        }
        // Nobody will use them: a client that closes right after its handshake never gets the token.
        self.endpoint_events.retain(|e| !matches!(e, EndpointEvent::NeedCids(_) | EndpointEvent::NeedToken(..)));
        self.dirty = false;
    }

    /// Gives back what a connection in the draining state cannot use any more: nearly all of it. It sends nothing and
    /// reads nothing (RFC 9000 section 10.2.2), but lasts three PTOs, seconds if its handshake was cut short.
    pub(super) fn shed(&mut self) {
        self.hs = None;
        if let Some(tls) = self.tls.take() {
            self.summary = Some(Box::new(tls.into_summary()));
        }
        for space in [SpaceId::Initial, SpaceId::Handshake, SpaceId::Data] {
            self.recovery.discard_space(space, &mut self.paths);
        }
        self.recovery.forget_handshake();
        self.data.keys = None;
        self.data.crypto = CryptoStream::default();
        self.tokens = Vec::new();
    }

    /// The peer closed too, after us.
    pub(super) fn drain(&mut self, now: Timestamp) {
        self.end(CloseReason::IdleTimeout, Phase::Draining, now);
    }

    /// The period is over.
    pub(super) fn drained(&mut self) {
        self.life.advance(Phase::Drained);
        self.closing = None;
        self.hs = None;
        self.timers.clear_all();
        self.events.push_back(Event::Drained);
        self.endpoint_events.push_back(EndpointEvent::Drained);
    }

    /// A packet came after our CONNECTION_CLOSE.
    pub(super) fn answer_while_closing(&mut self) {
        let Some(closing) = self.closing.as_mut() else { return };
        closing.packets = closing.packets.saturating_add(1);
        if closing.packets >= closing.interval {
            closing.packets = 0;
            closing.interval = closing.interval.saturating_mul(2).min(MAX_ANSWER_INTERVAL);
            closing.pending = true;
        }
    }

    pub(super) fn wants_close(&self) -> bool {
        self.closing.as_ref().is_some_and(|c| c.pending)
    }

    /// One datagram with CONNECTION_CLOSE at every level that makes sense.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.1
    //# To avoid being used for an amplification attack, such endpoints MUST limit the cumulative size of packets it
    //# sends to three times the cumulative size of the packets that are received and attributed to the connection.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.1
    //# An endpoint in the closing state MUST either discard packets received from an unvalidated address or limit the
    //# cumulative size of packets it sends to an unvalidated address to three times the size of packets it receives
    //# from that address.
    pub(super) fn transmit_close(&mut self, now: Timestamp, out: &mut [u8]) -> Option<Transmit> {
        if !self.wants_close() {
            return None;
        }
        let path = self.paths.active_index();
        let segment = usize::from(self.paths.active().mtu()).min(out.len());
        // RFC 9000 section 8.1 holds here as well.
        if self.paths.sendable(path) < segment as u64 {
            return None;
        }
        let closing = self.closing.take()?;
        let out = out.get_mut(..segment)?;
        let mut len = 0usize;
        let mut padded = false;
        let flight = self.last_flight(now);
        for level in [Level::Initial, Level::Handshake, Level::OneRtt] {
            // With our last flight the server reads 1-RTT packets; before it, a close would end the handshake.
            let early = flight.is_some() && level == Level::Initial;
            if early || !self.close_wanted_at(level) {
                continue;
            }
            let Some(room) = out.get_mut(len..) else { break };
            padded |= level == Level::Initial && self.side.is_client();
            let last = !self.close_wanted_after(level);
            let pad = padded && last;
            let written = self.build_plain(level, path, room, pad, now, |w| match &flight {
                Some(flight) if level == Level::Handshake => flight.write(w),
                _ => write_close(w, level, &closing),
            });
            len = len.saturating_add(written);
        }
        self.closing = Some(closing);
        if let Some(closing) = self.closing.as_mut() {
            closing.pending = false;
        }
        if len == 0 {
            return None;
        }
        Some(self.sent_datagrams(path, len, None, Ecn::NotEct))
    }

    /// A client that closes as soon as it is connected has not sent its Finished, or cannot know that it came: it goes with
    /// the close, in place of CONNECTION_CLOSE at the Handshake level. So the server completes the handshake, knows the
    /// round-trip time, and is told the application's code instead of APPLICATION_ERROR.
    fn last_flight(&self, now: Timestamp) -> Option<LastFlight> {
        if !self.side.is_client() || !self.life.is_complete() || self.life.is_confirmed() {
            return None;
        }
        if !self.has_keys(SpaceId::Handshake) || !self.has_keys(SpaceId::Data) {
            return None;
        }
        let space = &self.hs.as_ref()?.handshake;
        let (offset, bytes) = space.crypto.send.unacknowledged(MAX_LAST_FLIGHT)?;
        let mut room = [0; MAX_ACK];
        let mut w = Writer::new(&mut room);
        let delay = u64::try_from(space.received.ack_delay(now).as_micros()).unwrap_or(0) >> DEFAULT_ACK_DELAY_EXPONENT;
        let ack = write_ack(&mut w, space.received.ranges_desc(), delay, space.received.ecn_counts());
        let ack = if ack.is_ok() { w.written().into() } else { Box::default() };
        Some(LastFlight { ack, offset, bytes })
    }

    /// RFC 9000 section 10.2.3: 1-RTT only once the peer surely has the keys, else every level we have.
    //= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.3
    //# After the handshake is confirmed (see Section 4.1.2 of [QUIC-TLS]), an endpoint MUST send any CONNECTION_CLOSE
    //# frames in a 1-RTT packet.
    fn close_wanted_at(&self, level: Level) -> bool {
        let confirmed = self.life.is_confirmed();
        match level {
            Level::OneRtt => {
                self.has_keys(SpaceId::Data) && (confirmed || self.life.is_complete() || self.side.is_server())
            }
            _ => !confirmed && self.has_keys(level.space()),
        }
    }

    fn close_wanted_after(&self, level: Level) -> bool {
        [Level::Handshake, Level::OneRtt].iter().any(|l| *l > level && self.close_wanted_at(*l))
    }
}

/// CONNECTION_CLOSE as `level` may carry it.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.3
//# A CONNECTION_CLOSE of type 0x1d MUST be replaced by a CONNECTION_CLOSE of type 0x1c when sending the frame in
//# Initial or Handshake packets.
//= https://www.rfc-editor.org/rfc/rfc9000#section-10.2.3
//# Endpoints MUST clear the value of the Reason Phrase field and SHOULD use the APPLICATION_ERROR code when converting
//# to a CONNECTION_CLOSE of type 0x1c.
//= https://www.rfc-editor.org/rfc/rfc9000#section-12.5
//# CONNECTION_CLOSE frames signaling application errors (type 0x1d) MUST only appear in the application data packet
//# number space.
fn write_close(w: &mut Writer<'_>, level: Level, closing: &Closing) {
    let app = closing.frame_type.is_none();
    let frame = if app && level != Level::OneRtt {
        // RFC 9000 section 10.2.3: an application's code and reason would be seen by anyone here.
        Frame::ConnectionClose { code: transport::APPLICATION_ERROR, frame_type: Some(0), reason: &[] }
    } else {
        let room = w.remaining().saturating_sub(32);
        let reason = closing.reason.get(..closing.reason.len().min(room).min(MAX_REASON)).unwrap_or(&[]);
        Frame::ConnectionClose { code: closing.code, frame_type: closing.frame_type, reason }
    };
    let _ = frame.write(w);
}
