"""aioquic under the bench's protocol over HTTP/3."""
import asyncio
import ssl

import line
from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

WINDOW = 16 << 20


def configuration(client):
    conf = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=client, server_name="localhost" if client else None)
    conf.max_data = conf.max_stream_data = WINDOW
    conf.max_datagram_size = 1472
    conf.idle_timeout = 120
    return conf


class Server(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)

    def quic_event_received(self, event):
        for ev in self.http.handle_event(event):
            if not isinstance(ev, HeadersReceived):
                continue
            size = line.size_of(dict(ev.headers)[b":path"].decode())
            head = [(b":status", b"200"), (b"content-length", str(size).encode())]
            self.http.send_headers(ev.stream_id, head)
            while size > len(line.BLOCK):
                self.http.send_data(ev.stream_id, line.BLOCK, end_stream=False)
                size -= len(line.BLOCK)
            self.http.send_data(ev.stream_id, line.BLOCK[:size], end_stream=True)
            self.transmit()


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.waiting = {}

    def fetch(self, size):
        stream_id = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.waiting[stream_id] = [done, 0]
        head = [
            (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", f"/{size}".encode()),
            (b"user-agent", b"bench"),
        ]
        self.http.send_headers(stream_id, head, end_stream=True)
        self.transmit()
        return done

    def quic_event_received(self, event):
        for ev in self.http.handle_event(event):
            if not isinstance(ev, DataReceived):
                continue
            entry = self.waiting[ev.stream_id]
            entry[1] += len(ev.data)
            if ev.stream_ended:
                del self.waiting[ev.stream_id]
                entry[0].set_result(entry[1])


async def run_server(args):
    conf = configuration(False)
    conf.load_cert_chain(f"{args.certs}/cert.pem", f"{args.certs}/key.pem")
    await serve("127.0.0.1", args.port, configuration=conf, create_protocol=Server)
    print("ready", flush=True)
    await asyncio.Future()


async def drive(args):
    conf = configuration(True)
    conf.load_verify_locations(f"{args.certs}/ca.pem")
    conf.verify_mode = ssl.CERT_REQUIRED
    async with connect("127.0.0.1", args.port, configuration=conf, create_protocol=Client) as proto:
        await line.drive(args.work, proto.fetch)


args = line.arguments()
asyncio.run(run_server(args) if args.work[0] == "server" else drive(args))
