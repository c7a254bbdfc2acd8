"""An aioquic HTTP/3 client for the interop tests: runs one scenario, prints one JSON line, exits non-zero on a wrong byte."""
import argparse
import asyncio
import hashlib
import json
import ssl

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

import pattern


class Protocol(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.waiting = {}

    def request(self, method, path, body=None):
        stream_id = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.waiting[stream_id] = (done, {}, hashlib.sha256(), [0])
        self.http.send_headers(
            stream_id,
            [
                (b":method", method.encode()),
                (b":scheme", b"https"),
                (b":authority", b"localhost"),
                (b":path", path.encode()),
                (b"user-agent", b"aioquic"),
            ],
            end_stream=body is None,
        )
        if body is not None:
            self.http.send_data(stream_id, body, end_stream=True)
        self.transmit()
        return done

    def quic_event_received(self, event):
        if isinstance(event, (ConnectionTerminated, StreamReset)):
            for done, *_ in self.waiting.values():
                if not done.done():
                    done.set_exception(RuntimeError(repr(event)))
            return
        for ev in self.http.handle_event(event):
            if not isinstance(ev, (HeadersReceived, DataReceived)) or ev.stream_id not in self.waiting:
                continue
            done, fields, sha, size = self.waiting[ev.stream_id]
            if isinstance(ev, HeadersReceived):
                fields.update(ev.headers)
            else:
                sha.update(ev.data)
                size[0] += len(ev.data)
            if ev.stream_ended and not done.done():
                done.set_result((int(fields[b":status"]), sha.hexdigest(), size[0]))


async def scenario(args, proto, report):
    quic = proto._quic
    if args.scenario == "download":
        status, sha, size = await proto.request("GET", f"/bytes/{args.size}")
        assert (status, sha, size) == (200, pattern.digest(args.size), args.size), (status, sha, size)
    elif args.scenario == "upload":
        done = proto.request("POST", "/hash", pattern.body(args.size))
        status, sha, _ = await done
        expected = hashlib.sha256(pattern.digest(args.size).encode()).hexdigest()
        assert (status, sha) == (200, expected), (status, sha)
    elif args.scenario == "many":
        wanted = [1000 + i for i in range(100)]
        got = await asyncio.gather(*[proto.request("GET", f"/bytes/{n}") for n in wanted])
        assert got == [(200, pattern.digest(n), n) for n in wanted], got
    elif args.scenario == "keyupdate":
        await proto.request("GET", "/bytes/1000")
        quic.request_key_update()
        status, sha, size = await proto.request("GET", f"/bytes/{args.size}")
        assert (status, sha) == (200, pattern.digest(args.size))
    elif args.scenario in ("resume", "small"):
        status, sha, size = await proto.request("GET", "/bytes/5000")
        assert (status, sha) == (200, pattern.digest(5000))
    else:
        raise SystemExit(f"no scenario {args.scenario}")
    report["retry"] = quic._retry_source_connection_id is not None


async def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("scenario")
    ap.add_argument("--port", type=int, required=True)
    ap.add_argument("--ca", required=True)
    ap.add_argument("--size", type=int, default=1 << 20)
    args = ap.parse_args()
    conf = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, server_name="localhost", idle_timeout=60)
    conf.load_verify_locations(args.ca)
    conf.verify_mode = ssl.CERT_REQUIRED
    conf.max_data = conf.max_stream_data = 1 << 24
    report = {"scenario": args.scenario}
    tickets = []

    async def once():
        async with connect(
            "127.0.0.1", args.port, configuration=conf, create_protocol=Protocol,
            session_ticket_handler=tickets.append,
            wait_connected=args.scenario != "resume" or not conf.session_ticket,
        ) as proto:
            await scenario(args, proto, report)
            report["early_accepted"] = proto._quic.tls.early_data_accepted
            report["resumed"] = proto._quic.tls.session_resumed

    await once()
    if args.scenario == "resume":
        assert tickets, "the server gave no ticket"
        conf.session_ticket = tickets[-1]
        await once()
        assert report["resumed"] and report["early_accepted"], report
    print(json.dumps(report))


asyncio.run(main())
