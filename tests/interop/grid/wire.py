"""Reads what was on the wire: captures of raw IP packets, opened with a key log.

An independent reader: header and packet protection come from aioquic, nothing from us. It follows connections over
Retry, version changes, key updates and new addresses, and gives every QUIC packet with its frames.
"""
import ipaddress
import struct
from dataclasses import dataclass, field

from aioquic.buffer import Buffer
from aioquic.quic.crypto import CryptoContext, CryptoError, INITIAL_CIPHER_SUITE, next_key_phase
from aioquic.quic.crypto import INITIAL_SALT_VERSION_1, INITIAL_SALT_VERSION_2
from aioquic.quic.packet import decode_packet_number
from aioquic.tls import CipherSuite, cipher_suite_hash, hkdf_expand_label, hkdf_extract

V1, V2 = 1, 0x6B3343CF
PORT = 443
KINDS_V1 = ["initial", "0rtt", "handshake", "retry"]
KINDS_V2 = ["retry", "initial", "0rtt", "handshake"]
SUITES = [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256]


@dataclass
class Datagram:
    time: float
    src: tuple
    dst: tuple
    ecn: int
    ipv: int
    data: bytes

    @property
    def from_client(self) -> bool:
        return self.dst[1] == PORT


def datagrams(path):
    """UDP datagrams of a capture file, in order."""
    with open(path, "rb") as f:
        raw = f.read()
    at = 24
    while at + 16 <= len(raw):
        sec, usec, length, _ = struct.unpack_from("=IIII", raw, at)
        at += 16
        p = raw[at : at + length]
        at += length
        if p[0] >> 4 == 4 and p[9] == 17:
            head, ecn, a, b = (p[0] & 15) * 4, p[1] & 3, p[12:16], p[16:20]
        elif p[0] >> 4 == 6 and p[6] == 17:
            head, ecn, a, b = 40, (p[1] >> 4) & 3, p[8:24], p[24:40]
        else:
            continue
        sport, dport, size = struct.unpack_from(">HHH", p, head)
        yield Datagram(
            sec + usec / 1e6, (str(ipaddress.ip_address(a)), sport), (str(ipaddress.ip_address(b)), dport), ecn,
            p[0] >> 4, p[head + 8 : head + size],
        )


@dataclass
class Packet:
    datagram: Datagram
    kind: str
    version: int = 0
    dcid: bytes = b""
    scid: bytes = b""
    token: bytes = b""
    size: int = 0
    number: int = -1
    generation: int = 0
    opened: bool = False
    #: (type, details) of every frame, when it could be opened.
    frames: list = field(default_factory=list)
    conn: "Connection" = None

    @property
    def from_client(self) -> bool:
        return self.datagram.from_client

    def has(self, *types) -> bool:
        return any(t in types for t, _ in self.frames)


class Connection:
    """One connection of the capture, and its keys."""

    def __init__(self, version: int, odcid: bytes) -> None:
        self.version, self.odcid = version, odcid
        self.server_cids, self.client_cids = {odcid}, set()
        self.initial = {}
        self.random = None
        self.suite = None
        self.streams = {}  # (from client, kind) -> bytes of the TLS stream
        self.holes = {}
        self.keys = {}  # (from client, kind) -> list of contexts, one for each key phase
        self.largest = {}
        self.initial_dcid = odcid
        self.retries = set()  # connection IDs that Retry packets offered
        self.packets = []

    def crypto(self, from_client, kind, offset, data):
        have = self.streams.setdefault((from_client, kind), bytearray())
        holes = self.holes.setdefault((from_client, kind), {})
        holes[offset] = max(data, holes.get(offset, b""), key=len)
        grown = True
        while grown:
            grown = False
            for at in sorted(holes):
                if at <= len(have):
                    piece = holes.pop(at)
                    if at + len(piece) > len(have):
                        have += piece[len(have) - at :]
                    grown = True
                    break

    def messages(self, from_client, kind):
        """Whole TLS handshake messages so far: (type, body)."""
        data, at = bytes(self.streams.get((from_client, kind), b"")), 0
        while at + 4 <= len(data):
            size = int.from_bytes(data[at + 1 : at + 4], "big")
            if at + 4 + size > len(data):
                return
            yield data[at], data[at + 4 : at + 4 + size]
            at += 4 + size

    def hello(self):
        """(random, cipher suites) of the ClientHello."""
        for kind, body in self.messages(True, "initial"):
            if kind == 1:
                b = Buffer(data=body)
                b.pull_bytes(2)
                random = b.pull_bytes(32)
                b.pull_bytes(b.pull_uint8())
                suites = b.pull_bytes(b.pull_uint16())
                return random, [s for (s,) in struct.iter_unpack(">H", suites)]
        return None, []

    def chosen_suite(self):
        for kind, body in self.messages(False, "initial"):
            if kind == 2:
                return CipherSuite(struct.unpack_from(">H", body, 35 + body[34])[0])
        return None

    def parameters(self, from_client):
        """Transport parameters of a side: id -> bytes."""
        kind = "initial" if from_client else "handshake"
        for message, body in self.messages(from_client, kind):
            if message not in (1, 8):
                continue
            b = Buffer(data=body)
            if message == 1:
                b.pull_bytes(34)
                b.pull_bytes(b.pull_uint8())
                b.pull_bytes(b.pull_uint16())
                b.pull_bytes(b.pull_uint8())
            end = b.pull_uint16() + b.tell()
            while b.tell() < end:
                ext, size = b.pull_uint16(), b.pull_uint16()
                value = b.pull_bytes(size)
                if ext == 0x39:
                    p, out = Buffer(data=value), {}
                    while not p.eof():
                        name = p.pull_uint_var()
                        out[name] = p.pull_bytes(p.pull_uint_var())
                    return out
        return {}


def frames(payload: bytes):
    """Every frame of a packet: (type, dict)."""
    b = Buffer(data=payload)
    var = b.pull_uint_var
    out = []
    while not b.eof():
        t = var()
        d = {}
        if t == 0:
            while not b.eof() and payload[b.tell()] == 0:
                b.pull_uint8()
        elif t in (2, 3):
            d["largest"] = var()
            var()
            n = var()
            var()
            for _ in range(2 * n):
                var()
            if t == 3:
                d["ecn"] = (var(), var(), var())
        elif t == 4:
            d = dict(stream=var(), code=var(), size=var())
        elif t == 0x24:
            d = dict(stream=var(), code=var(), size=var(), reliable=var())
        elif t == 5:
            d = dict(stream=var(), code=var())
        elif t == 6:
            offset = var()
            d = dict(offset=offset, data=b.pull_bytes(var()))
        elif t == 7:
            d = dict(token=b.pull_bytes(var()))
        elif 8 <= t <= 15:
            stream = var()
            offset = var() if t & 4 else 0
            length = var() if t & 2 else len(payload) - b.tell()
            b.pull_bytes(length)
            d = dict(stream=stream, offset=offset, length=length, fin=t & 1)
        elif t in (0x10, 0x12, 0x13, 0x14, 0x16, 0x17, 0x19):
            d = dict(value=var())
        elif t in (0x11, 0x15):
            d = dict(stream=var(), value=var())
        elif t == 0x18:
            d = dict(sequence=var(), retire=var())
            d["cid"] = b.pull_bytes(b.pull_uint8())
            b.pull_bytes(16)
        elif t in (0x1A, 0x1B):
            d = dict(data=b.pull_bytes(8))
        elif t in (0x1C, 0x1D):
            d["code"] = var()
            if t == 0x1C:
                var()
            d["reason"] = b.pull_bytes(var())
        elif t in (0x30, 0x31):
            b.pull_bytes(var() if t == 0x31 else len(payload) - b.tell())
        elif t == 0xAF:
            d = dict(sequence=var(), threshold=var(), delay=var(), order=var())
        elif t not in (1, 0x1E, 0x1F):
            d = dict(unknown=True)
            out.append((t, d))
            return out
        out.append((t, d))
    return out


def keylog(*paths):
    """client random -> label -> secret."""
    out = {}
    for path in paths:
        try:
            with open(path) as f:
                for line in f:
                    parts = line.split()
                    if len(parts) == 3 and not line.startswith("#"):
                        out.setdefault(bytes.fromhex(parts[1]), {})[parts[0]] = bytes.fromhex(parts[2])
        except FileNotFoundError:
            pass
    return out


LABELS = {
    (True, "0rtt"): "CLIENT_EARLY_TRAFFIC_SECRET",
    (True, "handshake"): "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    (False, "handshake"): "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    (True, "1rtt"): "CLIENT_TRAFFIC_SECRET_0",
    (False, "1rtt"): "SERVER_TRAFFIC_SECRET_0",
}


def context(suite, secret, version):
    c = CryptoContext()
    c.setup(cipher_suite=suite, secret=secret, version=version)
    return c


def initial_context(cid, version, from_client):
    salt = INITIAL_SALT_VERSION_2 if version == V2 else INITIAL_SALT_VERSION_1
    algorithm = cipher_suite_hash(INITIAL_CIPHER_SUITE)
    secret = hkdf_extract(algorithm, salt, cid)
    label = b"client in" if from_client else b"server in"
    return context(INITIAL_CIPHER_SUITE, hkdf_expand_label(algorithm, secret, label, b"", 32), version)


def answers_retry(conn, d, kind, dcid):
    """RFC 9000 section 17.2.5.2: of several Retry packets (one for each Initial of a large ClientHello) the client takes
    one; its next Initial shows which, and the keys come from that one (RFC 9001 section 5.2)."""
    return d.from_client and kind == "initial" and dcid in conn.retries and dcid != conn.initial_dcid


class Reader:
    """Goes through a capture. `deep`: opens 1-RTT packets too, else handshakes only."""

    def __init__(self, path, secrets, deep=True):
        self.secrets, self.deep = secrets, deep
        self.connections, self.packets, self.datagrams = [], [], []
        self.by_server_cid, self.by_client_cid, self.by_address = {}, {}, {}
        for datagram in datagrams(path):
            self.datagrams.append(datagram)
            try:
                self.read(datagram)
            except (ValueError, IndexError, struct.error):
                pass  # damaged on the way

    def add(self, packet):
        self.packets.append(packet)
        if packet.conn is not None:
            packet.conn.packets.append(packet)

    def read(self, d):
        at = 0
        while at < len(d.data):
            first = d.data[at]
            if not first & 0x80:
                self.short(d, at)
                return
            b = Buffer(data=d.data[at:])
            b.pull_uint8()
            version = b.pull_uint32()
            dcid = b.pull_bytes(b.pull_uint8())
            scid = b.pull_bytes(b.pull_uint8())
            if version == 0:
                self.add(Packet(d, "vn", 0, dcid, scid, opened=True, conn=self.by_client_cid.get(dcid)))
                return
            kind = (KINDS_V2 if version == V2 else KINDS_V1)[(first >> 4) & 3]
            if kind == "retry":
                token = d.data[at + b.tell() : -16]
                conn = self.connection(d, version, dcid, scid, kind)
                if conn is not None:
                    conn.retries.add(scid)
                    conn.server_cids.add(scid)
                    self.by_server_cid[scid] = conn
                self.add(Packet(d, kind, version, dcid, scid, token, opened=True, conn=conn))
                return
            token = b.pull_bytes(b.pull_uint_var()) if kind == "initial" else b""
            length = b.pull_uint_var()
            pn_at = b.tell()
            raw = d.data[at : at + pn_at + length]
            conn = self.connection(d, version, dcid, scid, kind)
            if conn is not None and answers_retry(conn, d, kind, dcid):
                conn.initial_dcid = dcid
                conn.initial.clear()
            packet = Packet(d, kind, version, dcid, scid, token, len(raw), conn=conn)
            if conn is not None:
                self.open(packet, raw, pn_at)
                if packet.opened:
                    (conn.client_cids if packet.from_client else conn.server_cids).add(scid)
                    (self.by_client_cid if packet.from_client else self.by_server_cid)[scid] = conn
            self.add(packet)
            at += pn_at + length

    def connection(self, d, version, dcid, scid, kind):
        pair = (d.src, d.dst) if d.from_client else (d.dst, d.src)
        if d.from_client:
            conn = self.by_server_cid.get(dcid)
            if conn is None and kind == "initial":
                conn = Connection(version, dcid)
                trial = initial_context(dcid, version, True)
                conn.initial[(True, version)] = trial
                self.connections.append(conn)
                self.by_server_cid[dcid] = conn
            if conn is not None:
                self.by_address[pair] = conn
            return conn
        return (self.by_client_cid.get(dcid) if dcid else None) or self.by_address.get(pair)

    def short(self, d, at):
        raw = d.data[at:]
        if not self.deep:
            self.add(Packet(d, "1rtt", size=len(raw)))
            return
        pair = (d.src, d.dst) if d.from_client else (d.dst, d.src)
        known = self.by_address.get(pair)
        candidates = ([known] if known else []) + [c for c in reversed(self.connections) if c is not known]
        for conn in candidates:
            cids = conn.server_cids if d.from_client else conn.client_cids
            for size in sorted({len(c) for c in cids if c != conn.odcid}, reverse=True):
                packet = Packet(d, "1rtt", conn.version, raw[1 : 1 + size], size=len(raw), conn=conn)
                self.open(packet, raw, 1 + size)
                if packet.opened:
                    if d.from_client:
                        self.by_address[pair] = conn
                    self.add(packet)
                    return
        self.add(Packet(d, "1rtt", size=len(raw), conn=known))

    def contexts(self, packet):
        conn, who = packet.conn, packet.from_client
        if packet.kind == "initial":
            key = (who, packet.version)
            if key not in conn.initial:
                conn.initial[key] = initial_context(conn.initial_dcid, packet.version, who)
            return [conn.initial[key]]
        key = (who, packet.kind)
        if key in conn.keys:
            return conn.keys[key]
        if conn.random is None:
            conn.random = conn.hello()[0]
        secret = self.secrets.get(conn.random, {}).get(LABELS.get(key))
        if secret is None:
            return []
        if packet.kind == "0rtt":
            usable = [s for s in SUITES if len(secret) == (48 if s == CipherSuite.AES_256_GCM_SHA384 else 32)]
            return [context(s, secret, packet.version) for s in usable]
        conn.suite = conn.suite or conn.chosen_suite()
        if conn.suite is None:
            return []
        if packet.kind == "handshake":
            conn.version = packet.version
        conn.keys[key] = [context(conn.suite, secret, conn.version)]
        return conn.keys[key]

    def open(self, packet, raw, pn_at):
        contexts = self.contexts(packet)
        conn, space = packet.conn, (packet.from_client, "1rtt" if packet.kind == "0rtt" else packet.kind)
        tries = list(enumerate(contexts))
        if packet.kind == "1rtt" and contexts:
            tries = [(len(contexts) - 1, contexts[-1])]
        for generation, c in tries:
            try:
                head, number = c.hp.remove(raw, pn_at)
            except CryptoError:
                continue
            number = decode_packet_number(number, ((head[0] & 3) + 1) * 8, conn.largest.get(space, -1) + 1)
            if packet.kind == "1rtt":
                phase = (head[0] >> 2) & 1
                newest = len(contexts) - 1
                if phase == newest & 1:
                    options = [newest]
                else:
                    options = ([newest - 1] if newest else []) + [newest + 1]
            else:
                options = [generation]
            for g in options:
                key = c if packet.kind != "1rtt" else (contexts[g] if g < len(contexts) else next_key_phase(contexts[-1]))
                try:
                    payload = key.aead.decrypt(raw[len(head) :], head, number)
                except CryptoError:
                    continue
                if packet.kind == "1rtt" and g == len(contexts):
                    key.hp = c.hp
                    contexts.append(key)
                packet.opened, packet.number = True, number
                packet.generation = g if packet.kind == "1rtt" else 0
                conn.largest[space] = max(number, conn.largest.get(space, -1))
                packet.frames = frames(payload)
                self.learn(packet)
                return

    def learn(self, packet):
        conn = packet.conn
        for t, d in packet.frames:
            if t == 6:
                conn.crypto(packet.from_client, packet.kind, d["offset"], d["data"])
            elif t == 0x18:
                (conn.client_cids if packet.from_client else conn.server_cids).add(d["cid"])
