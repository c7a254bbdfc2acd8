"""An aioquic HTTP/3 server for the interop tests.

GET /bytes/N answers N bytes of the pattern, POST /hash the SHA-256 of what was sent, POST /echo the body itself.
"""
import argparse
import asyncio
import hashlib
import pathlib

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated

import pattern


class Protocol(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.requests = {}

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        if self.http is None:
            return
        for ev in self.http.handle_event(event):
            if isinstance(ev, HeadersReceived):
                if ev.stream_id not in self.requests:
                    self.requests[ev.stream_id] = (dict(ev.headers), hashlib.sha256(), bytearray())
            elif isinstance(ev, DataReceived):
                fields, sha, kept = self.requests[ev.stream_id]
                sha.update(ev.data)
                if fields[b":path"] == b"/echo":
                    kept += ev.data
            else:
                continue
            if ev.stream_ended:
                self.respond(ev.stream_id)

    def respond(self, stream_id):
        fields, sha, kept = self.requests.pop(stream_id)
        path = fields[b":path"].decode()
        status = b"200"
        if path.startswith("/bytes/"):
            answer = pattern.body(int(path.rsplit("/", 1)[1]))
        elif path == "/hash":
            answer = sha.hexdigest().encode()
        elif path == "/echo":
            answer = bytes(kept)
        else:
            status, answer = b"404", b"not here\n"
        self.http.send_headers(
            stream_id,
            [(b":status", status), (b"content-length", str(len(answer)).encode()), (b"server", b"aioquic")],
        )
        self.http.send_data(stream_id, answer, end_stream=True)
        self.transmit()


class Tickets:
    """Single-process session tickets, so that resumption and 0-RTT can be tried."""

    def __init__(self):
        self.kept = {}

    def add(self, ticket):
        self.kept[ticket.ticket] = ticket

    def pop(self, label):
        return self.kept.pop(label, None)


async def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--cert", required=True)
    ap.add_argument("--key", required=True)
    ap.add_argument("--port", type=int, required=True)
    ap.add_argument("--ready", required=True, help="file to create once the socket is open")
    ap.add_argument("--retry", action="store_true")
    args = ap.parse_args()
    conf = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=False, max_datagram_frame_size=65536)
    conf.load_cert_chain(args.cert, args.key)
    conf.max_data = conf.max_stream_data = 1 << 24
    tickets = Tickets()
    await serve(
        "127.0.0.1",
        args.port,
        configuration=conf,
        create_protocol=Protocol,
        session_ticket_fetcher=tickets.pop,
        session_ticket_handler=tickets.add,
        retry=args.retry,
    )
    pathlib.Path(args.ready).write_text("ready")
    await asyncio.Future()


asyncio.run(main())
