//! A peer that obeys only its test: TLS is real, every packet and frame around it is built by hand.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use whimbrel::base::codes::{VERSION_1, VERSION_2};
use whimbrel::base::{ConnectionId, Level, Side, SpaceId, StreamId, Timestamp};
use whimbrel::crypto::{
    Cipher, ClientTls, DirectionKeys, InstalledKeys, LevelKeys, OneRttKeys, ServerTls, Session, TlsEvents, initial_keys,
};
use whimbrel::wire::frame::{self, write_ack};
use whimbrel::wire::header::{self, finish_long, write_long, write_short};
use whimbrel::wire::{Frame, Frames, LongHeader, PacketType, Writer, packet_number};

/// CRYPTO bytes per packet.
const PIECE: usize = 900;
const TAG: usize = 16;

/// Transport parameters as a list that may be wrong in any way.
#[derive(Clone)]
pub struct Params(pub Vec<(u64, Vec<u8>)>, Vec<u8>);

impl Params {
    /// Those of a well-behaved client; the numbers are those of the tool whose cases these are.
    pub fn client(scid: &ConnectionId) -> Self {
        let versions: Vec<u8> = [VERSION_1, VERSION_2, VERSION_1].iter().flat_map(|v| v.to_be_bytes()).collect();
        let mut p = Self(vec![(0x0f, scid.as_slice().to_vec()), (0x11, versions), (0x2ab2, Vec::new())], Vec::new());
        for (id, value) in [(1, 30_000), (3, 1350), (4, 16_777_216), (5, 262_144), (6, 262_144), (7, 262_144)] {
            p = p.number(id, value);
        }
        p.number(8, 64).number(9, 3).number(0x0e, 5)
    }

    /// Those of a well-behaved server.
    pub fn server(scid: &ConnectionId, odcid: &ConnectionId) -> Self {
        let mut p = Self(vec![(0x0f, scid.as_slice().to_vec()), (0x00, odcid.as_slice().to_vec())], Vec::new());
        for (id, value) in [(1, 30_000), (4, 1 << 20), (5, 1 << 18), (6, 1 << 18), (7, 1 << 18), (8, 100), (9, 100)] {
            p = p.number(id, value);
        }
        p.set(0x02, &[0xcc; 16])
    }

    pub fn without(mut self, id: u64) -> Self {
        self.0.retain(|p| p.0 != id);
        self
    }

    pub fn set(self, id: u64, value: &[u8]) -> Self {
        self.without(id).also(id, value)
    }

    /// Adds without a look at what is there.
    pub fn also(mut self, id: u64, value: &[u8]) -> Self {
        self.0.push((id, value.to_vec()));
        self
    }

    pub fn number(self, id: u64, value: u64) -> Self {
        self.set(id, &varint(value))
    }

    /// Bytes after the last whole parameter.
    pub fn tail(mut self, bytes: &[u8]) -> Self {
        self.1 = bytes.to_vec();
        self
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, value) in &self.0 {
            out.extend(varint(*id));
            out.extend(varint(value.len() as u64));
            out.extend(value);
        }
        out.extend(&self.1);
        out
    }
}

pub fn varint(v: u64) -> Vec<u8> {
    let mut buf = [0; 8];
    let mut w = Writer::new(&mut buf);
    w.varint(v).unwrap();
    w.written().to_vec()
}

/// Bytes of some frames.
pub fn frames(list: &[Frame<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for f in list {
        let mut buf = vec![0; f.encoded_len() + 8];
        let mut w = Writer::new(&mut buf);
        f.write(&mut w).unwrap();
        out.extend_from_slice(w.written());
    }
    out
}

pub fn stream(id: u64, offset: u64, data: &[u8], fin: bool) -> Vec<u8> {
    frames(&[Frame::Stream { id: StreamId(id), offset, fin, data }])
}

pub fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
    frames(&[Frame::Crypto { offset, data }])
}

pub fn new_cid(sequence: u64, retire_prior_to: u64) -> Vec<u8> {
    let mut bytes = [0xab; 8];
    bytes[..8].copy_from_slice(&(sequence + 1000).to_be_bytes());
    let cid = ConnectionId::new(&bytes).unwrap();
    let mut token = [0x77; 16];
    token[..8].copy_from_slice(&sequence.to_be_bytes());
    // By hand, so that impossible values can be written.
    let mut out = varint(0x18);
    out.extend(varint(sequence));
    out.extend(varint(retire_prior_to));
    out.push(cid.len() as u8);
    out.extend_from_slice(cid.as_slice());
    out.extend_from_slice(&token);
    out
}

/// What the side under test said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Close(Close),
    Reset { id: u64, code: u64 },
    Stop { id: u64, code: u64 },
    Stream { id: u64, offset: u64, data: Vec<u8>, fin: bool },
    MaxStreamData { id: u64 },
    NewCid { sequence: u64, cid: ConnectionId },
    Retire(u64),
    NewToken(Vec<u8>),
    PathChallenge([u8; 8]),
    PathResponse([u8; 8]),
    HandshakeDone,
    Ack,
    Other(u64),
}

/// CONNECTION_CLOSE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub level: Level,
    pub app: bool,
    pub code: u64,
    /// Of a transport's close.
    pub frame_type: Option<u64>,
    pub reason: String,
}

/// What the TLS session says.
#[derive(Default)]
struct Said {
    bytes: Vec<(Level, Vec<u8>)>,
    keys: Vec<InstalledKeys>,
    parameters: Option<Vec<u8>>,
    done: bool,
}

impl TlsEvents for Said {
    fn send(&mut self, level: Level, bytes: Vec<u8>) {
        self.bytes.push((level, bytes));
    }

    fn install_keys(&mut self, keys: InstalledKeys, _: Cipher) {
        self.keys.push(keys);
    }

    fn notify_extensions(&mut self, peer_parameters: &[u8]) {
        self.parameters = Some(peer_parameters.to_vec());
    }

    fn done(&mut self) {
        self.done = true;
    }
}

/// How one packet differs from a correct one.
#[derive(Clone, Copy, Default)]
pub struct Shape<'a> {
    /// Bits to flip in the first byte before protection.
    pub flip: u8,
    pub pn: Option<u64>,
    pub pn_len: Option<usize>,
    pub dcid: Option<ConnectionId>,
    pub scid: Option<ConnectionId>,
    pub token: Option<&'a [u8]>,
    pub version: Option<u32>,
    /// Without the frames that go into every packet.
    pub bare: bool,
}

pub struct Peer {
    pub side: Side,
    pub version: u32,
    pub scid: ConnectionId,
    pub dcid: ConnectionId,
    pub token: Vec<u8>,
    session: Box<Session>,
    pub initial: Option<LevelKeys>,
    pub handshake: Option<LevelKeys>,
    pub zero_rtt: Option<Box<DirectionKeys>>,
    pub one_rtt: Option<Box<OneRttKeys>>,
    /// One counter for all spaces.
    pub next_pn: u64,
    /// TLS bytes to be sent; a test may change them.
    pub pending: VecDeque<(Level, Vec<u8>)>,
    pub sent_crypto: [u64; 3],
    incoming: [BTreeMap<u64, Vec<u8>>; 3],
    read_crypto: [u64; 3],
    /// TLS bytes that came, per space.
    pub tls_bytes: [Vec<u8>; 3],
    pub received: [BTreeSet<u64>; 3],
    /// Numbers of ours, per space.
    sent: [BTreeSet<u64>; 3],
    /// Those of them that were acknowledged.
    pub acked: [BTreeSet<u64>; 3],
    /// Packets that came with nothing to acknowledge in them.
    pub silent_packets: usize,
    ack: [bool; 3],
    /// Frames that go first into every packet of a level.
    pub inject: Vec<(Level, Vec<u8>)>,
    pub log: Vec<Got>,
    pub peer_parameters: Option<Vec<u8>>,
    pub done: bool,
    /// TLS of ours failed: what the other side sent was wrong for us.
    pub tls_error: Option<String>,
    pub now: Timestamp,
    /// No acknowledgements, no TLS bytes: the test sends everything.
    pub mute: bool,
    pub stateless: usize,
}

impl Peer {
    pub fn client(tls: &Arc<ClientTls>, version: u32, edit: impl FnOnce(Params) -> Params) -> Self {
        let scid = ConnectionId::new(b"evilpeer").unwrap();
        let odcid = ConnectionId::new(b"firstdcid").unwrap();
        let mut params = Params::client(&scid);
        if version != VERSION_1 {
            params = params.set(0x11, &[version.to_be_bytes(), version.to_be_bytes()].concat());
        }
        let session = Session::client(tls, version, "localhost", edit(params).encode()).unwrap();
        let mut peer = Self::new(Side::Client, version, scid, odcid, odcid, session);
        peer.run_tls(|session, said| session.start(said));
        peer
    }

    /// Answers the first datagram of a client.
    pub fn server(tls: &Arc<ServerTls>, first: &[u8], edit: impl FnOnce(Params) -> Params) -> Self {
        let head = header::parse(first, 0).unwrap();
        assert_eq!(head.ty, PacketType::Initial);
        let scid = ConnectionId::new(b"evilpeer").unwrap();
        let params = edit(Params::server(&scid, &head.dcid));
        let session = Session::server(tls, head.version, params.encode()).unwrap();
        let mut peer = Self::new(Side::Server, head.version, scid, head.scid, head.dcid, session);
        peer.receive(first);
        peer
    }

    /// The same for a server that says, in its long headers, that it moved on to `version` (RFC 9369 section 4.1).
    pub fn server_in(tls: &Arc<ServerTls>, first: &[u8], version: u32, edit: impl FnOnce(Params) -> Params) -> Self {
        let head = header::parse(first, 0).unwrap();
        let scid = ConnectionId::new(b"evilpeer").unwrap();
        let params = edit(Params::server(&scid, &head.dcid));
        let session = Session::server(tls, version, params.encode()).unwrap();
        let mut peer = Self::new(Side::Server, head.version, scid, head.scid, head.dcid, session);
        peer.receive(first);
        peer.version = version;
        peer.initial = Some(initial_keys(version, &head.dcid, Side::Server));
        peer
    }

    fn new(
        side: Side,
        version: u32,
        scid: ConnectionId,
        dcid: ConnectionId,
        odcid: ConnectionId,
        session: Box<Session>,
    ) -> Self {
        Self {
            side,
            version,
            scid,
            dcid,

            token: Vec::new(),
            session,
            initial: Some(initial_keys(version, &odcid, side)),
            handshake: None,
            zero_rtt: None,
            one_rtt: None,
            next_pn: 0,
            pending: VecDeque::new(),
            sent_crypto: [0; 3],
            incoming: Default::default(),
            read_crypto: [0; 3],
            tls_bytes: Default::default(),
            received: Default::default(),
            sent: Default::default(),
            acked: Default::default(),
            silent_packets: 0,
            ack: [false; 3],
            inject: Vec::new(),
            log: Vec::new(),
            peer_parameters: None,
            done: false,
            tls_error: None,
            now: Timestamp(0),
            mute: false,
            stateless: 0,
        }
    }

    fn run_tls<E: std::fmt::Debug>(&mut self, f: impl FnOnce(&mut Session, &mut Said) -> Result<(), E>) {
        let mut said = Said::default();
        if let Err(e) = f(&mut self.session, &mut said) {
            self.tls_error = Some(format!("{e:?}"));
        }
        self.pending.extend(said.bytes);
        self.peer_parameters = self.peer_parameters.take().or(said.parameters);
        self.done |= said.done;
        for keys in said.keys {
            match keys {
                InstalledKeys::ZeroRtt(k) => self.zero_rtt = Some(k),
                InstalledKeys::Handshake(k) => self.handshake = Some(k),
                InstalledKeys::OneRtt(k) => self.one_rtt = Some(k),
            }
        }
    }

    /// Highest packet number that came at this level.
    pub fn largest(&self, level: Level) -> u64 {
        self.received[level.space().index()].last().copied().expect("a packet came")
    }

    pub fn resumed(&self) -> bool {
        self.session.resumed()
    }

    // ---- sending ----

    pub fn packet(&mut self, level: Level, payload: &[u8]) -> Vec<u8> {
        self.packet_as(level, payload, Shape::default())
    }

    /// One sealed packet.
    pub fn packet_as(&mut self, level: Level, payload: &[u8], shape: Shape<'_>) -> Vec<u8> {
        let pn = shape.pn.unwrap_or(self.next_pn);
        self.next_pn = self.next_pn.max(pn) + 1;
        self.sent[level.space().index()].insert(pn);
        let pn_len = shape.pn_len.unwrap_or(2);
        let dcid = shape.dcid.unwrap_or(self.dcid);
        let scid = shape.scid.unwrap_or(self.scid);
        let mut buf = vec![0; 70_000];
        let mut w = Writer::new(&mut buf);
        let mut mark = None;
        let pn_at = if level == Level::OneRtt {
            let phase = self.one_rtt.as_ref().expect("1-RTT keys").phase();
            write_short(&mut w, &dcid, false, phase, pn, pn_len).unwrap()
        } else {
            let ty = match level {
                Level::Initial => PacketType::Initial,
                Level::ZeroRtt => PacketType::ZeroRtt,
                _ => PacketType::Handshake,
            };
            let version = shape.version.unwrap_or(self.version);
            let token = if level == Level::Initial { shape.token.unwrap_or(&self.token) } else { &[] };
            let long = LongHeader { ty, version, dcid: &dcid, scid: &scid, token };
            let m = write_long(&mut w, &long, pn, pn_len).unwrap();
            mark = Some(m);
            m.pn_at
        };
        let payload_at = w.position();
        if !shape.bare {
            for (_, bytes) in self.inject.iter().filter(|(l, _)| *l == level) {
                w.bytes(bytes).unwrap();
            }
        }
        w.bytes(payload).unwrap();
        let end = w.position() + TAG;
        let packet = &mut buf[..end];
        if let Some(mark) = mark {
            finish_long(packet, mark, end - payload_at);
        }
        packet[0] ^= shape.flip;
        match level {
            Level::Initial => self.initial.as_ref().unwrap().local.protect(packet, pn_at, pn_len, pn),
            Level::Handshake => {
                self.handshake.as_ref().expect("Handshake keys").local.protect(packet, pn_at, pn_len, pn)
            }
            Level::ZeroRtt => self.zero_rtt.as_ref().expect("0-RTT keys").protect(packet, pn_at, pn_len, pn),
            Level::OneRtt => self.one_rtt.as_mut().unwrap().protect(packet, pn_at, pn_len, pn),
        }
        buf.truncate(end);
        buf
    }

    /// Pads an Initial's frames so that its datagram has `len` bytes at least.
    pub fn padded(&mut self, payload: &[u8], len: usize) -> Vec<u8> {
        let mut payload = payload.to_vec();
        payload.resize(payload.len().max(len.saturating_sub(40)), 0);
        self.packet(Level::Initial, &payload)
    }

    fn ack_frame(&mut self, space: SpaceId) -> Vec<u8> {
        let seen = &self.received[space.index()];
        if !std::mem::take(&mut self.ack[space.index()]) || seen.is_empty() {
            return Vec::new();
        }
        let mut ranges: Vec<std::ops::RangeInclusive<u64>> = Vec::new();
        for pn in seen.iter().rev().copied() {
            match ranges.last_mut() {
                Some(r) if *r.start() == pn + 1 => *r = pn..=*r.end(),
                _ => ranges.push(pn..=pn),
            }
        }
        let mut buf = [0; 600];
        let mut w = Writer::new(&mut buf);
        write_ack(&mut w, ranges, 0, None).unwrap();
        w.written().to_vec()
    }

    /// Takes the next piece of TLS bytes of a level as a CRYPTO frame.
    pub fn crypto_piece(&mut self, level: Level) -> Vec<u8> {
        let Some(at) = self.pending.iter().position(|(l, _)| *l == level) else { return Vec::new() };
        let bytes = &mut self.pending[at].1;
        let rest = bytes.split_off(bytes.len().min(PIECE));
        let piece = std::mem::replace(bytes, rest);
        if self.pending[at].1.is_empty() {
            self.pending.remove(at);
        }
        let offset = &mut self.sent_crypto[level.space().index()];
        let frame = crypto(*offset, &piece);
        *offset += piece.len() as u64;
        frame
    }

    /// Acknowledgements and TLS bytes that wait, as datagrams.
    pub fn flush(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while !self.mute {
            let mut datagram = Vec::new();
            let mut initial = self.ack_frame(SpaceId::Initial);
            initial.extend(self.crypto_piece(Level::Initial));
            if !initial.is_empty() && self.initial.is_some() {
                let packet = self.padded(&initial, 1250);
                out.push(packet);
                continue;
            }
            for level in [Level::Handshake, Level::OneRtt] {
                let has_keys =
                    if level == Level::Handshake { self.handshake.is_some() } else { self.one_rtt.is_some() };
                if !has_keys {
                    continue;
                }
                let mut payload = self.ack_frame(level.space());
                payload.extend(self.crypto_piece(level));
                if !payload.is_empty() {
                    payload.extend([0; 4]);
                    datagram.extend(self.packet(level, &payload));
                }
            }
            if datagram.is_empty() {
                break;
            }
            out.push(datagram);
        }
        out
    }

    // ---- receiving ----

    /// Opens every packet that we have keys for; whoever sent them keeps these rules in every test.
    pub fn receive(&mut self, datagram: &[u8]) {
        let mut bytes = datagram.to_vec();
        let mut at = 0;
        let mut to = None;
        while at < bytes.len() {
            let Ok(head) = header::parse_greased(&bytes[at..], self.scid.len()) else { break };
            let (ty, pn_at, len, scid) = (head.ty, head.pn_offset, head.packet_len, head.scid);
            //= https://www.rfc-editor.org/rfc/rfc9000#section-12.2
            //= type=test
            //# Senders MUST NOT coalesce QUIC packets with different connection IDs into a single UDP datagram.
            assert_eq!(*to.get_or_insert(head.dcid), head.dcid, "one datagram, two connection IDs");
            //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.2
            //= type=test
            //# Initial packets sent by the server MUST set the Token Length field to 0
            assert!(self.side.is_server() || head.token.is_empty(), "a token from a server");
            let packet = &mut bytes[at..at + len];
            at += len;
            let Some(level) = ty.level() else {
                self.stateless += 1;
                continue;
            };
            if self.side.is_client() && level == Level::Initial {
                self.dcid = scid;
            }
            if let Some((pn, payload)) = self.open(level, packet, pn_at) {
                let eliciting = self.on_packet(level, pn, &payload);
                let small = datagram.len() < 1200 && level == Level::Initial;
                //= https://www.rfc-editor.org/rfc/rfc9000#section-14.1
                //= type=test
                //# Similarly, a server MUST expand the payload of all UDP datagrams carrying ack-eliciting Initial
                //# packets to at least the smallest allowed maximum datagram size of 1200 bytes.
                assert!(!small || (self.side.is_client() && !eliciting), "an Initial in {} bytes", datagram.len());
            }
        }
    }

    fn open(&mut self, level: Level, packet: &mut [u8], pn_at: usize) -> Option<(u64, Vec<u8>)> {
        let expected = self.received[level.space().index()].last().map_or(0, |pn| pn + 1);
        let keys = match level {
            Level::Initial => &self.initial.as_ref()?.remote,
            Level::Handshake => &self.handshake.as_ref()?.remote,
            Level::ZeroRtt => self.zero_rtt.as_ref()?,
            Level::OneRtt => {
                let keys = self.one_rtt.as_mut()?;
                let (pn_len, short) = keys.unmask(packet, pn_at)?;
                let pn = packet_number::expand(short, pn_len, expected);
                let opened = keys.open(packet, pn_at + pn_len, pn, self.now, Duration::from_secs(1)).ok()?;
                return Some((pn, packet[pn_at + pn_len..pn_at + pn_len + opened.len].to_vec()));
            }
        };
        let (pn_len, short) = keys.unmask(packet, pn_at)?;
        let pn = packet_number::expand(short, pn_len, expected);
        let len = keys.open(packet, pn_at + pn_len, pn).ok()?;
        Some((pn, packet[pn_at + pn_len..pn_at + pn_len + len].to_vec()))
    }

    /// True when there is something to acknowledge in it.
    fn on_packet(&mut self, level: Level, pn: u64, payload: &[u8]) -> bool {
        let space = level.space().index();
        // The tests deliver in order, so an old number would be one that was used before.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
        //= type=test
        //# Subsequent packets sent in the same packet number space MUST increase the packet number by at least one.
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.3
        //= type=test
        //# A QUIC endpoint MUST NOT reuse a packet number within the same packet number space in one connection.
        assert!(self.received[space].last().is_none_or(|newest| pn > *newest), "packet number {pn} at {level:?}");
        self.received[space].insert(pn);
        //= https://www.rfc-editor.org/rfc/rfc9000#section-12.4
        //= type=test
        //# The payload of a packet that contains frames MUST contain at least one frame, and MAY contain multiple
        //# frames and multiple frame types.
        assert!(!payload.is_empty(), "a packet without frames");
        let mut eliciting = false;
        for next in Frames::new(payload) {
            let (ty, frame) = next.expect("the side under test sends well-formed frames");
            //= https://www.rfc-editor.org/rfc/rfc9000#section-12.5
            //= type=test
            //# All other frame types MUST only be sent in the application data packet number space.
            assert!(frame::permitted(ty, level), "frame {ty:#x} at {level:?}");
            eliciting |= frame::is_ack_eliciting(ty);
            let got = match frame {
                Frame::Padding(_) => continue,
                Frame::Crypto { offset, data } => {
                    self.ack[space] = true;
                    self.incoming[space].insert(offset, data.to_vec());
                    self.read_tls(level);
                    continue;
                }
                Frame::ConnectionClose { code, frame_type, reason } => {
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    Got::Close(Close { level, app: frame_type.is_none(), code, frame_type, reason })
                }
                Frame::ResetStream { id, code, .. } => Got::Reset { id: id.0, code },
                Frame::StopSending { id, code } => Got::Stop { id: id.0, code },
                Frame::Stream { id, offset, fin, data } => Got::Stream { id: id.0, offset, data: data.to_vec(), fin },
                Frame::MaxStreamData { id, .. } => Got::MaxStreamData { id: id.0 },
                Frame::NewConnectionId { sequence, cid, .. } => Got::NewCid { sequence, cid },
                Frame::RetireConnectionId(sequence) => Got::Retire(sequence),
                Frame::NewToken(token) => Got::NewToken(token.to_vec()),
                Frame::PathChallenge(data) => Got::PathChallenge(data),
                Frame::PathResponse(data) => Got::PathResponse(data),
                Frame::HandshakeDone => Got::HandshakeDone,
                Frame::Ack(ack) => {
                    for pn in ack.ranges().flatten() {
                        //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.6
                        //= type=test
                        //# ACK frames MUST only be carried in a packet that has the same packet number space as the
                        //# packet being acknowledged; see Section 12.1.
                        //= https://www.rfc-editor.org/rfc/rfc9000#section-13.2.6
                        //= type=test
                        //# For instance, packets that are protected with 1-RTT keys MUST be acknowledged in packets
                        //# that are also protected with 1-RTT keys.
                        //= https://www.rfc-editor.org/rfc/rfc9000#section-17.2.3
                        //= type=test
                        //# An acknowledgment for a 1-RTT packet MUST be carried in a 1-RTT packet.
                        assert!(self.sent[space].contains(&pn), "{level:?} acknowledges {pn}, sent elsewhere or never");
                        self.acked[space].insert(pn);
                    }
                    Got::Ack
                }
                _ => Got::Other(ty),
            };
            self.ack[space] |= !matches!(got, Got::Ack | Got::Close(_));
            self.log.push(got);
        }
        self.silent_packets += usize::from(!eliciting);
        eliciting
    }

    fn read_tls(&mut self, level: Level) {
        let space = level.space().index();
        while let Some((at, data)) = self.incoming[space].first_key_value().map(|(k, v)| (*k, v.clone())) {
            let next = self.read_crypto[space];
            if at > next {
                return;
            }
            self.incoming[space].pop_first();
            let skip = usize::try_from(next - at).unwrap();
            if let Some(fresh) = data.get(skip..).filter(|f| !f.is_empty()) {
                self.read_crypto[space] = next + fresh.len() as u64;
                self.tls_bytes[space].extend(fresh);
                self.run_tls(|session, said| session.receive(level, fresh, said));
            }
        }
    }

    // ---- what came ----

    pub fn close(&self) -> Option<&Close> {
        self.log.iter().find_map(|g| match g {
            Got::Close(c) => Some(c),
            _ => None,
        })
    }

    pub fn saw(&self, f: impl Fn(&Got) -> bool) -> bool {
        self.log.iter().any(f)
    }

    /// Bytes of a stream, as far as they came in order.
    pub fn stream_bytes(&self, id: u64) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::new();
        for got in &self.log {
            if let Got::Stream { id: at, offset, data, .. } = got
                && *at == id
                && *offset as usize == out.len()
            {
                out.extend(data);
            }
        }
        out
    }

    /// CONNECTION_CLOSE of the transport with one of these codes, blamed on this frame type.
    #[track_caller]
    pub fn expect_close(&self, section: &str, codes: &[u64], frame_type: u64) {
        let close = self.close().unwrap_or_else(|| panic!("{section}: no CONNECTION_CLOSE; {:?}", self.log));
        assert!(!close.app, "{section}: closed by the application's frame: {close:?}");
        assert!(codes.contains(&close.code), "{section}: wanted one of {codes:x?}, got {close:?}");
        assert_eq!(close.frame_type, Some(frame_type), "{section}: frame type of {close:?}");
        // The application must not be told more than the code: the reason is ours, and not empty.
        assert!(!close.reason.is_empty(), "{section}: {close:?}");
    }

    /// CONNECTION_CLOSE of the application with this code.
    #[track_caller]
    pub fn expect_app_close(&self, section: &str, codes: &[u64]) {
        let close = self.close().unwrap_or_else(|| panic!("{section}: no CONNECTION_CLOSE; {:?}", self.log));
        assert!(close.app && codes.contains(&close.code), "{section}: wanted {codes:x?}, got {close:?}");
    }

    #[track_caller]
    pub fn expect_open(&self, section: &str) {
        assert!(self.close().is_none(), "{section}: {:?}", self.close());
    }
}
