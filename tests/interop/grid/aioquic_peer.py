"""aioquic as a peer of the interop grid, both roles; the same command line as whimbrel_peer.py."""
import argparse
import asyncio
import pathlib
import socket
import ssl

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

PORT = 443
UNKNOWN_VERSION = 0x1A2A3A4A


def configuration(args, is_client):
    conf = QuicConfiguration(alpn_protocols=[args.alpn], is_client=is_client, idle_timeout=180)
    if args.case == "v2":
        conf.supported_versions = [QuicProtocolVersion.VERSION_2, QuicProtocolVersion.VERSION_1]
        if is_client:
            conf.original_version = QuicProtocolVersion.VERSION_1
    elif args.case == "versionnegotiation" and is_client:
        conf.supported_versions = [UNKNOWN_VERSION, QuicProtocolVersion.VERSION_1]
        conf.original_version = UNKNOWN_VERSION
    else:
        conf.supported_versions = [QuicProtocolVersion.VERSION_1]
    if args.case == "chacha20" and is_client:
        conf.cipher_suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
    if is_client and args.case in ("transfer", "blackhole"):
        conf.max_data, conf.max_stream_data = 131072, 65536
    return conf


class Peer(QuicConnectionProtocol):
    """Both protocols, both roles."""

    args = None

    def __init__(self, *a, **kw):
        super().__init__(*a, **kw)
        self.http = H3Connection(self._quic) if self.args.alpn == "h3" else None
        self.bodies, self.done = {}, {}
        self.completed = asyncio.get_running_loop().create_future()
        self.gone = None

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted) and not self.completed.done():
            self.completed.set_result(True)
        elif isinstance(event, ConnectionTerminated):
            self.gone = event
            for done in [self.completed, *self.done.values()]:
                if not done.done():
                    done.set_exception(RuntimeError(repr(event)))
                    done.exception()
        elif self.http is not None:
            for ev in self.http.handle_event(event):
                if isinstance(ev, HeadersReceived):
                    self.received(ev.stream_id, b"", ev.stream_ended, dict(ev.headers))
                elif isinstance(ev, DataReceived):
                    self.received(ev.stream_id, ev.data, ev.stream_ended)
        elif isinstance(event, StreamDataReceived):
            self.received(event.stream_id, event.data, event.end_stream)

    def received(self, stream, data, end, fields=None):
        kept = self.bodies.setdefault(stream, [fields, []])
        kept[1].append(data)
        if not end:
            return
        fields, body = kept[0], b"".join(kept[1])
        if self._quic.configuration.is_client:
            self.done[stream].set_result(body)
            return
        path = fields[b":path"].decode() if fields else body.decode().split()[1]
        answer = (pathlib.Path(self.args.www) / path.rsplit("/", 1)[1]).read_bytes()
        if self.http is not None:
            self.http.send_headers(stream, [(b":status", b"200"), (b"content-length", str(len(answer)).encode())])
            self.http.send_data(stream, answer, end_stream=True)
        else:
            self._quic.send_stream_data(stream, answer, end_stream=True)
        self.transmit()

    async def get(self, path):
        stream = self._quic.get_next_available_stream_id()
        self.done[stream] = asyncio.get_running_loop().create_future()
        if self.http is not None:
            head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path.encode())]
            self.http.send_headers(stream, head, end_stream=True)
        else:
            self._quic.send_stream_data(stream, f"GET {path}\r\n".encode(), end_stream=True)
        self.transmit()
        body = await self.done[stream]
        (pathlib.Path(self.args.out) / path.rsplit("/", 1)[1]).write_bytes(body)

    def received_bytes(self):
        return sum(len(p) for _, pieces in self.bodies.values() for p in pieces)


async def one(args, paths, conf, tickets, early=False):
    """One connection. The socket is ours, so that it can be replaced."""
    loop = asyncio.get_running_loop()
    v6 = ":" in args.host

    def fresh():
        s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("::" if v6 else "0.0.0.0", 0))
        return s

    quic = QuicConnection(configuration=conf, session_ticket_handler=tickets.append)
    transport, peer = await loop.create_datagram_endpoint(lambda: Peer(quic), sock=fresh())
    peer.connect((args.host, PORT, 0, 0) if v6 else (args.host, PORT), transmit=not early)
    if early:
        gets = [asyncio.ensure_future(peer.get(p)) for p in paths]
        await peer.completed
    else:
        await peer.completed
        gets = [asyncio.ensure_future(peer.get(p)) for p in paths]
    all_done = asyncio.gather(*gets)
    if args.case in ("keyupdate", "clientmigration"):
        while peer.received_bytes() < 100_000 and not all_done.done():
            await asyncio.sleep(0.02)
        if args.case == "keyupdate" and args.start:
            quic.request_key_update()
        elif args.case == "clientmigration":
            # aioquic leaves sockets to its application: a new one, and a new connection ID (RFC 9000 section 9.5).
            other, _ = await loop.create_datagram_endpoint(lambda: peer, sock=fresh())
            quic.change_connection_id()
            peer._transport = other
        peer.transmit()
    await all_done
    if args.case in ("resumption", "zerortt", "connectionmigration"):
        await asyncio.sleep(0.5)
    peer.close()
    await peer.wait_closed()
    transport.close()
    return quic


async def client(args):
    paths = pathlib.Path(args.paths).read_text().split()
    conf = configuration(args, True)
    conf.server_name = "localhost"
    conf.load_verify_locations(args.ca)
    conf.verify_mode = ssl.CERT_REQUIRED
    tickets = []
    if args.case in ("multiconnect", "handshakeloss", "handshakecorruption"):
        for path in paths:
            await one(args, [path], conf, tickets)
    elif args.case in ("resumption", "zerortt"):
        await one(args, paths[:1], conf, tickets)
        conf.session_ticket = tickets[-1]
        quic = await one(args, paths[1:], conf, tickets, early=args.case == "zerortt")
        assert quic.tls.session_resumed
        assert args.case != "zerortt" or quic.tls.early_data_accepted
    else:
        await one(args, paths, conf, tickets)


async def server(args):
    conf = configuration(args, False)
    conf.load_cert_chain(args.cert, args.key)
    kept = {}
    # aioquic makes one socket for both families only where IPV6_V6ONLY is off: each case has one family.
    await serve(
        args.bind, PORT, configuration=conf, create_protocol=Peer, session_ticket_fetcher=lambda label: kept.pop(label, None),
        session_ticket_handler=lambda t: kept.__setitem__(t.ticket, t), retry=args.case == "retry",
    )
    print("ready", flush=True)
    await asyncio.Future()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("role", choices=["client", "server"])
    for name in ("case", "host", "ca", "cert", "key", "out", "www", "paths"):
        ap.add_argument(f"--{name}")
    ap.add_argument("--bind", default="0.0.0.0")
    ap.add_argument("--alpn", default="hq-interop")
    ap.add_argument("--start", action="store_true")
    args = ap.parse_args()
    Peer.args = args
    asyncio.run({"client": client, "server": server}[args.role](args))


if __name__ == "__main__":
    main()
