"""Our side of the interop grid, through the C ABI: `hq-interop` (HTTP/0.9 on raw streams) and HTTP/3, both roles.

    whimbrel_peer.py client --case CASE --host ADDRESS --ca F --keylog F --out DIR --paths FILE [--alpn h3]
    whimbrel_peer.py server --case CASE --bind ADDRESS --cert F --key F --keylog F --www DIR [--preferred A:P]...

The client stores what it gets under DIR; exit status 0: everything came. The server runs until SIGTERM.
"""
import argparse
import ctypes
import os
import pathlib
import signal
import socket
import struct
import sys
import time

from whimbrel import _abi
from whimbrel._engine import Engine
from whimbrel._exchange import Receiver, Sender, closed_error
from whimbrel._library import check, lib, new_handle, sized
from whimbrel._messages import field_array, received_fields

PORT = 443
V2 = "0x6b3343cf"
#: Version 2 is wanted, the client begins with 1 (RFC 9368 section 2.3). cases.py leaves the case out without the key.
UPGRADE = {"transport.versions": f"{V2},1", "transport.version": "1"}
#: Windows that a transfer must see opened again and again.
SMALL_WINDOWS = {"transport.stream_window": 65536, "transport.conn_window": 131072}
#: Under 30 % loss timers back off for long: neither handshake nor silence ends a connection soon.
PATIENT = {"transport.handshake_ms": 120000, "transport.max_idle_ms": 180000}


def slow(case: str) -> bool:
    """Cases whose handshake may take longer than the default patience of 10 s."""
    return case.startswith("handshake") or case in ("longrtt", "amplificationlimit")


def sockaddr(host: str, port: int):
    if ":" in host:
        raw = struct.pack("=HHI", socket.AF_INET6, socket.htons(port), 0) + socket.inet_pton(socket.AF_INET6, host)
        raw += struct.pack("=I", 0)
    else:
        raw = struct.pack("=HH", socket.AF_INET, socket.htons(port)) + socket.inet_aton(host) + bytes(8)
    return ctypes.create_string_buffer(raw, len(raw)), len(raw)


def configuration(options) -> int:
    config = new_handle(lib.wb_config_new, _abi.WB_CONFIG_CONN)
    for name, value in options.items():
        line = f"{name}={value}".encode()
        check(lib.wb_config_parse(config, line, len(line)))
    check(lib.wb_config_check(config))
    return config


def tls_object(role: int, args) -> int:
    tls = new_handle(lib.wb_tls_new, role)
    name = _abi.wb_text(args.alpn.encode(), len(args.alpn))
    check(lib.wb_tls_alpn(tls, ctypes.byref(name), 1))
    check(lib.wb_tls_keylog_file(tls, os.fsencode(args.keylog)))
    check(lib.wb_tls_early_data(tls, 1 if args.case == "zerortt" else 0))
    return tls


class Request:
    """One GET under way."""

    def __init__(self, path: str, stream: int) -> None:
        self.path, self.stream = path, stream
        self.receiver = Receiver()
        self.done = False


class Download:
    """One connection that fetches some paths."""

    def __init__(self, args, engine: Engine, tls: int, paths, early: bool = False) -> None:
        self.args, self.engine = args, engine
        self.waiting = list(paths)
        self.requests = {}
        self.left = len(self.waiting)
        self.early = early
        self.connected = self.confirmed = self.ticket = False
        self.error = None
        self.moved = self.updated = False
        options = {}
        case = args.case
        if args.alpn != "h3":
            options["http3.enable"] = 0
        if case in ("transfer", "blackhole"):
            options.update(SMALL_WINDOWS)
        if slow(case):
            options.update(PATIENT)
        if case == "v2":
            options.update(UPGRADE)
        if case == "versionnegotiation" or args.version == "2":
            options["transport.version"] = V2
        config = configuration(options)
        self.endpoint = new_handle(lib.wb_endpoint_open, engine.runtime, 0)
        self.conn = new_handle(lib.wb_conn_open, self.endpoint, config, tls)
        engine.listeners[self.conn] = self.on_event
        address, length = sockaddr(args.host, PORT)
        check(lib.wb_conn_start_address(self.conn, address, length, b"localhost", 9))
        lib.wb_handle_release(config)
        if early:
            self.ask()

    def ask(self) -> None:
        out = ctypes.c_uint64()
        while self.waiting:
            path = self.waiting[0]
            if self.args.alpn == "h3":
                items = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
                items.append(("user-agent", "whimbrel-grid"))
                array, keep = field_array(items)
                status = lib.wb_h3_request(self.conn, array, len(keep), _abi.WB_FIN, ctypes.byref(out))
            else:
                status = lib.wb_stream_open(self.conn, _abi.WB_STREAM_BIDI, ctypes.byref(out))
            if status == _abi.WB_E_WOULD_BLOCK or (status == _abi.WB_E_STATE and not self.connected):
                return
            check(status)
            self.waiting.pop(0)
            self.requests[out.value] = Request(path, out.value)
            if self.args.alpn != "h3":
                line = f"GET {path}\r\n".encode()
                taken = ctypes.c_size_t()
                check(lib.wb_stream_send_copy(out.value, line, len(line), _abi.WB_FIN, ctypes.byref(taken)))
                assert taken.value == len(line), "a new stream takes a short request at once"

    def on_event(self, ev) -> None:
        kind = ev.kind
        if kind == _abi.WB_EV_CONNECTED:
            self.connected = True
            if self.args.case == "datagrams":
                for i in range(5):
                    body = f"datagram {i}".encode()
                    check(lib.wb_conn_datagram_send(self.conn, body, len(body), 0))
            self.ask()
        elif kind == _abi.WB_EV_STREAMS_AVAILABLE:
            self.ask()
        elif kind == _abi.WB_EV_CONFIRMED:
            self.confirmed = True
        elif kind == _abi.WB_EV_PATH_VALIDATED or kind == _abi.WB_EV_PATH_MIGRATED:
            print("path", kind, ev.data.decode("utf-8", "replace"))
        elif kind == _abi.WB_EV_CONN_CLOSED:
            self.error = closed_error(self.conn)
        elif ev.stream in self.requests:
            request = self.requests[ev.stream]
            if kind in (_abi.WB_EV_STREAM_READABLE, _abi.WB_EV_H3_HEADERS):
                if kind == _abi.WB_EV_H3_HEADERS:
                    status = dict(received_fields(ev.stream, _abi.WB_SECTION_HEADERS)).get(":status")
                    assert status == "200", f"{request.path}: status {status}"
                request.receiver.resume(ev.stream)
            elif kind == _abi.WB_EV_STREAM_RESET:
                raise SystemExit(f"{request.path}: reset with {ev.a:#x}")
            if request.receiver.fin and not request.done:
                request.done = True
                name = request.path.rsplit("/", 1)[1]
                (pathlib.Path(self.args.out) / name).write_bytes(request.receiver.body())
                self.left -= 1
                lib.wb_handle_release(ev.stream)

    def received(self) -> int:
        return sum(r.receiver.at for r in self.requests.values())

    def disturb(self) -> None:
        """What the case wants in the middle of the transfer."""
        if not self.confirmed or self.received() < 100_000:
            return
        if self.args.case == "keyupdate" and self.args.start and not self.updated:
            check(lib.wb_conn_key_update(self.conn))
            self.updated = True
        if self.args.case == "clientmigration" and not self.moved:
            status = lib.wb_conn_migrate(self.conn, None, 0)
            if status != _abi.WB_E_LIMIT:  # no spare connection ID of the peer yet
                check(status)
                self.moved = True

    def run(self, patience: float, settle: float = 0.0) -> None:
        end = time.monotonic() + patience
        while self.left or not self.confirmed:
            if self.error is not None:
                raise SystemExit(f"the connection ended: {self.error}")
            if time.monotonic() > end:
                raise SystemExit(f"not done in {patience:g} s: {self.left} left, {self.received()} bytes came")
            self.engine.pump(0.02)
            self.disturb()
        settled = time.monotonic() + settle
        while time.monotonic() < settled:
            self.engine.pump(0.02)

    def info(self):
        d = sized(_abi.wb_conn_desc)
        check(lib.wb_conn_info(self.conn, ctypes.byref(d)))
        return d

    def close(self) -> None:
        lib.wb_conn_close(self.conn, 0, None, 0)
        end = time.monotonic() + 5
        while self.error is None and time.monotonic() < end:
            self.engine.pump(0.05)
        self.engine.listeners.pop(self.conn, None)
        lib.wb_handle_release(self.conn)
        lib.wb_handle_release(self.endpoint)


def client(args) -> None:
    paths = pathlib.Path(args.paths).read_text().split()
    engine = Engine()
    tls = tls_object(_abi.WB_ROLE_CLIENT, args)
    check(lib.wb_tls_trust_file(tls, os.fsencode(args.ca)))
    if args.case == "chacha20":
        suite = ctypes.c_uint16(0x1303)
        check(lib.wb_tls_ciphers(tls, ctypes.byref(suite), 1))
    if args.case in ("multiconnect", "handshakeloss", "handshakecorruption"):
        for path in paths:
            one = Download(args, engine, tls, [path])
            one.run(args.patience)
            one.close()
    elif args.case in ("resumption", "zerortt"):
        # rustls tells a ticket's age in whole seconds, and GnuTLS refuses early data when the ticket is younger than
        # told: both connections belong into one second of the clock.
        time.sleep(-time.time() % 1 if time.time() % 1 > 0.15 else 0)
        first = Download(args, engine, tls, paths[:1])
        first.run(args.patience, settle=0.3)  # for the tickets
        first.close()
        second = Download(args, engine, tls, paths[1:], early=args.case == "zerortt")
        second.run(args.patience)
        d = second.info()
        assert d.resumed == 1, "the second connection was not resumed"
        assert args.case != "zerortt" or d.early_data == 1, f"early data: {d.early_data}"
        second.close()
    else:
        one = Download(args, engine, tls, paths)
        one.run(args.patience, settle=1.0 if args.case == "connectionmigration" else 0.0)
        one.close()
    engine.close()


class Files:
    """The server's side: one answer per stream."""

    def __init__(self, args, engine: Engine) -> None:
        self.args, self.engine = args, engine
        self.receivers, self.senders, self.updated = {}, {}, {}
        engine.default = self.on_event

    def on_event(self, ev) -> None:
        if ev.kind == _abi.WB_EV_CONFIRMED and self.args.case == "keyupdate" and self.args.start:
            self.updated[ev.conn] = False
        if ev.kind == _abi.WB_EV_CONN_CLOSED:
            self.updated.pop(ev.conn, None)
        if ev.kind == _abi.WB_EV_DATAGRAM:
            check(lib.wb_conn_datagram_send(ev.conn, ev.data, len(ev.data), 0))
        if not ev.stream:
            return
        if ev.kind == _abi.WB_EV_H3_HEADERS:
            self.answer(ev.stream, dict(received_fields(ev.stream, _abi.WB_SECTION_HEADERS))[":path"])
        elif ev.kind in (_abi.WB_EV_STREAM_INCOMING, _abi.WB_EV_STREAM_READABLE) and self.args.alpn != "h3":
            receiver = self.receivers.setdefault(ev.stream, Receiver(4096))
            if not receiver.fin:
                receiver.resume(ev.stream)
                if receiver.fin:
                    verb, path = receiver.body().decode().split()
                    assert verb == "GET"
                    self.answer(ev.stream, path)
        elif ev.kind == _abi.WB_EV_STREAM_WRITABLE and ev.stream in self.senders:
            self.senders[ev.stream].resume()
            if self.updated.get(ev.conn) is False:
                check(lib.wb_conn_key_update(ev.conn))
                self.updated[ev.conn] = True
        elif ev.kind == _abi.WB_EV_STREAM_CLOSED:
            self.receivers.pop(ev.stream, None)
            self.senders.pop(ev.stream, None)

    def answer(self, stream: int, path: str) -> None:
        body = (pathlib.Path(self.args.www) / path.rsplit("/", 1)[1]).read_bytes()
        if self.args.alpn == "h3":
            array, keep = field_array([(":status", "200"), ("content-length", str(len(body))), ("server", "whimbrel")])
            check(lib.wb_h3_headers(stream, array, len(keep), 0))
        self.senders[stream] = Sender(stream, body)
        self.senders[stream].resume()


def server(args) -> None:
    options = {"endpoint.retry": 1 if args.case == "retry" else 0}
    if args.alpn != "h3":
        options["http3.enable"] = 0
    if slow(args.case):
        options.update(PATIENT)
    if args.case == "v2":
        options.update(UPGRADE)
    for address in args.preferred:
        options["transport.preferred_ipv6" if "[" in address else "transport.preferred_ipv4"] = address
    engine = Engine()
    Files(args, engine)
    tls = tls_object(_abi.WB_ROLE_SERVER, args)
    check(lib.wb_tls_identity_files(tls, os.fsencode(args.cert), os.fsencode(args.key)))
    config = configuration(options)
    at = args.bind.encode()
    new_handle(lib.wb_server_listen, engine.runtime, config, tls, at, len(at), PORT)
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    print("ready", flush=True)
    while not over:
        engine.pump(0.1)
    engine.close()


def main() -> None:
    ap = argparse.ArgumentParser()
    ap.add_argument("role", choices=["client", "server"])
    ap.add_argument("--case", required=True)
    ap.add_argument("--host")
    ap.add_argument("--bind", default="0.0.0.0")
    ap.add_argument("--alpn", default="hq-interop")
    ap.add_argument("--keylog", required=True)
    ap.add_argument("--ca")
    ap.add_argument("--cert")
    ap.add_argument("--key")
    ap.add_argument("--out")
    ap.add_argument("--www")
    ap.add_argument("--paths")
    ap.add_argument("--patience", type=float, default=60)
    ap.add_argument("--preferred", action="append", default=[])
    ap.add_argument("--version", default="1", help="version that the client begins with")
    ap.add_argument("--start", action="store_true", help="this side starts the key update")
    args = ap.parse_args()
    {"client": client, "server": server}[args.role](args)


if __name__ == "__main__":
    sys.exit(main())
