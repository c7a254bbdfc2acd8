//! Fates of our packets: from recovery's tokens back to the rooms that own the frames (RFC 9000 section 13.3).
use super::Connection;
use super::control_frames::Control;
use super::crypto_stream::CryptoStream;
use super::handshake::Handshake;
use super::migration::MtuNews;
use crate::base::{Level, SpaceId, Timestamp};
use crate::crypto::OneRttKeys;
use crate::paths::{LocalCids, PathTable, PeerCids};
use crate::qlog::Qlog;
use crate::recovery::{FrameToken, Received, Recovery, SentPacket, SentSink};
use crate::streams::{Datagrams, Streams};

/// The parts of a connection that want to know.
pub(super) struct Sink<'a> {
    streams: &'a mut Streams,
    datagrams: &'a mut Datagrams,
    control: &'a mut Control,
    local_cids: &'a mut LocalCids,
    peer_cids: &'a mut PeerCids,
    hs: Option<&'a mut Handshake>,
    crypto: &'a mut CryptoStream,
    keys: Option<&'a mut OneRttKeys>,
    received: &'a mut Received,
    mtu: MtuNews,
    qlog: Option<&'a mut Qlog>,
    now: Timestamp,
    lost_packets: u64,
    /// The packets are not lost: their frames go out once more, in a probe (RFC 9002 section 6.2).
    pub(super) probing: bool,
}

impl Sink<'_> {
    fn crypto(&mut self, space: SpaceId) -> Option<&mut CryptoStream> {
        match space {
            SpaceId::Data => Some(self.crypto),
            SpaceId::Initial => self.hs.as_mut().map(|h| &mut h.initial.crypto),
            SpaceId::Handshake => self.hs.as_mut().map(|h| &mut h.handshake.crypto),
        }
    }

    fn received(&mut self, space: SpaceId) -> Option<&mut Received> {
        match space {
            SpaceId::Data => Some(self.received),
            SpaceId::Initial => self.hs.as_mut().map(|h| &mut h.initial.received),
            SpaceId::Handshake => self.hs.as_mut().map(|h| &mut h.handshake.received),
        }
    }
}

impl SentSink for Sink<'_> {
    fn acked(&mut self, space: SpaceId, pn: u64, packet: &SentPacket, tokens: &[FrameToken]) {
        if space == SpaceId::Data {
            if let Some(keys) = self.keys.as_mut() {
                keys.on_packet_acked(pn);
            }
            self.mtu.on_acked(pn, packet);
        }
        for token in tokens {
            match *token {
                FrameToken::Ack { largest } => {
                    if let Some(received) = self.received(space) {
                        received.on_ack_of_ack(largest);
                    }
                }
                FrameToken::Crypto { offset, len } => {
                    if let Some(crypto) = self.crypto(space) {
                        crypto.send.on_acked(offset, u64::from(len));
                    }
                }
                FrameToken::NewToken => self.control.new_token = None,
                FrameToken::AckFrequency { sequence } => {
                    if let Some(f) = &mut self.control.ack_frequency {
                        f.on_acked(sequence);
                    }
                }
                FrameToken::RetireConnectionId(sequence) => self.peer_cids.on_retire_acked(sequence),
                FrameToken::Datagram { .. } => self.datagrams.on_token_acked(token),
                FrameToken::MtuProbe => {
                    self.mtu.probe = Some((packet.path, packet.size, true));
                }
                FrameToken::NewConnectionId(_) | FrameToken::HandshakeDone | FrameToken::Other => {}
                _ => self.streams.on_token_acked(token),
            }
        }
    }

    fn lost(&mut self, space: SpaceId, pn: u64, packet: &SentPacket, tokens: &[FrameToken]) {
        // Also a probe's: a path that swallows large packets shows in timeouts only.
        if !packet.mtu_probe {
            self.mtu.on_lost(pn, packet);
        }
        if !self.probing {
            self.lost_packets = self.lost_packets.saturating_add(1);
            if let Some(q) = self.qlog.as_mut() {
                q.packet_lost(self.now, space_level(space), pn);
            }
        }
        for token in tokens {
            match *token {
                FrameToken::Ack { .. } | FrameToken::Other => {}
                FrameToken::Crypto { offset, len } => {
                    if let Some(crypto) = self.crypto(space) {
                        crypto.send.on_lost(offset, u64::from(len));
                    }
                }
                FrameToken::NewToken => self.control.new_token_pending = true,
                FrameToken::AckFrequency { sequence } => {
                    if let Some(f) = &mut self.control.ack_frequency {
                        f.on_lost(sequence);
                    }
                }
                //= https://www.rfc-editor.org/rfc/rfc9000#section-13.3
                //# The HANDSHAKE_DONE frame MUST be retransmitted until it is acknowledged.
                FrameToken::HandshakeDone => self.control.handshake_done = true,
                FrameToken::NewConnectionId(sequence) => self.local_cids.on_lost(sequence),
                FrameToken::RetireConnectionId(sequence) => self.peer_cids.on_retire_lost(sequence),
                FrameToken::Datagram { .. } if self.probing => {}
                FrameToken::Datagram { .. } => self.datagrams.on_token_lost(token),
                FrameToken::MtuProbe => {
                    self.mtu.probe = Some((packet.path, packet.size, false));
                }
                _ => self.streams.on_token_lost(token),
            }
        }
    }
}

/// The level that a space mostly has, for the log.
const fn space_level(space: SpaceId) -> Level {
    match space {
        SpaceId::Initial => Level::Initial,
        SpaceId::Handshake => Level::Handshake,
        SpaceId::Data => Level::OneRtt,
    }
}

impl Connection {
    /// Runs a verb of recovery that reports fates.
    pub(super) fn with_sink<R>(
        &mut self,
        now: Timestamp,
        f: impl FnOnce(&mut Recovery, &mut PathTable, &mut Sink<'_>) -> R,
    ) -> R {
        let mut sink = Sink {
            streams: &mut self.streams,
            datagrams: &mut self.datagrams,
            control: &mut self.control,
            local_cids: &mut self.local_cids,
            peer_cids: &mut self.peer_cids,
            hs: self.hs.as_deref_mut(),
            crypto: &mut self.data.crypto,
            keys: self.data.keys.as_deref_mut(),
            received: &mut self.data.received,
            mtu: MtuNews::default(),
            qlog: self.qlog.as_deref_mut(),
            now,
            lost_packets: 0,
            probing: false,
        };
        let result = f(&mut self.recovery, &mut self.paths, &mut sink);
        let (mtu, lost) = (sink.mtu, sink.lost_packets);
        self.stats.packets_lost = self.stats.packets_lost.saturating_add(lost);
        self.note_mtu_news(&mtu, now);
        result
    }
}
