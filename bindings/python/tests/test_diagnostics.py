"""Counters, qlog to a function, and the library's messages in ``logging``."""
import asyncio
import collections
import json
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import CERTS, echo

import whimbrel
from whimbrel import _abi, _diagnostics


class Logs:
    """Collects what comes, of any connection, on any thread."""

    def __init__(self):
        self.text = collections.defaultdict(bytes)
        self.ended = []
        self.changed = threading.Condition()

    def __call__(self, connection, data, end):
        with self.changed:
            assert connection not in self.ended
            assert bool(data) or end
            self.text[connection] += data
            if end:
                self.ended.append(connection)
            self.changed.notify_all()

    def wait_for_ends(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ended) >= count, 20), self.ended
        assert len(self.ended) == count

    def records(self, connection):
        parts = self.text[connection].split(b"\x1e")
        assert parts[0] == b"" and all(part.endswith(b"\n") for part in parts[1:])
        return [json.loads(part) for part in parts[1:]]


def names(records):
    return {r["name"].split(":")[-1] for r in records[1:]}


def eventually(what):
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def started():
    return whimbrel.Server(echo, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem")).start()


def test_every_counter_has_a_name_and_says_what_happened(ca):
    with started() as server:
        before = server.counters()
        assert len(before) == 25 and set(before.values()) == {0}
        for name, key in vars(_abi).items():
            if name.startswith("WB_COUNTER_"):
                assert list(before)[key] == name[11:].lower()
        with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
            assert client.post("/echo", body=bytes(100_000)).status == 200

            def counted():
                # What is sent is added a moment later; the handshake may be confirmed after the first answer.
                ours, theirs = client.counters(), server.counters()
                return (
                    ours["conns_started"] >= 1 and ours["conns_accepted"] == 0 and ours["handshakes_done"] == 1
                    and theirs["conns_accepted"] == theirs["conns_now"] == theirs["handshakes_done"] == 1
                    and ours["bytes_sent"] > 100_000 and theirs["bytes_received"] > 100_000
                    and ours["datagrams_sent"] >= theirs["datagrams_received"] > 0
                )

            eventually(counted)
        with pytest.raises(whimbrel.Error):
            client.counters()


def test_the_log_of_a_connection_goes_to_a_function(ca):
    logs, later = Logs(), Logs()
    with started() as server:
        with whimbrel.Client("localhost", server.address[1], ca=ca, qlog=logs) as client:
            assert client.get("/bytes/3").status == 200
            with pytest.raises(whimbrel.Error) as busy:
                client.qlog(later)
            assert busy.value.status == _abi.WB_E_BUSY
        logs.wait_for_ends(1)
        with whimbrel.Client("localhost", server.address[1], ca=ca) as client:
            client.qlog(later)
            assert client.get("/bytes/3").status == 200
        later.wait_for_ends(1)
    records = logs.records(logs.ended[0])
    assert "file_schema" in records[0] and {"connection_started", "packet_sent", "packet_received"} <= names(records)
    records = later.records(later.ended[0])
    assert "file_schema" in records[0] and "packet_sent" in names(records) and "connection_started" not in names(records)
    assert not _diagnostics._sinks


def test_the_logs_of_a_server_go_to_a_function_until_it_is_told_otherwise(ca):
    logs = Logs()
    with started() as server:
        server.qlog(logs)
        for _ in range(2):
            assert whimbrel.get(f"https://localhost:{server.address[1]}/bytes/3", ca=ca).status == 200
        logs.wait_for_ends(2)
        server.qlog(None)
        assert whimbrel.get(f"https://localhost:{server.address[1]}/bytes/3", ca=ca).status == 200
    assert len(logs.text) == 2
    for connection in logs.ended:
        assert {"connection_started", "packet_sent", "packet_received"} <= names(logs.records(connection))
    assert not _diagnostics._sinks


def test_an_event_loop_has_logs_and_counters_too(server, ca):
    logs = Logs()

    async def main():
        async with whimbrel.AsyncClient("localhost", server.address[1], ca=ca, qlog=logs) as client:
            assert (await client.get("/bytes/3")).status == 200
            assert client.counters()["conns_started"] >= 1

    asyncio.run(main())
    logs.wait_for_ends(1)
    assert "packet_sent" in names(logs.records(logs.ended[0]))


def test_a_function_that_fails_is_told_and_harms_nothing(server, ca, caplog):
    def fails(_connection, _data, _end):
        raise RuntimeError("the function's own fault")

    with whimbrel.Client("localhost", server.address[1], ca=ca, qlog=fails) as client:
        assert client.get("/bytes/3").status == 200
    assert any("own fault" in (r.exc_text or "") for r in caplog.records)


def test_messages_reach_logging_at_the_level_that_was_asked_for(server, ca, caplog):
    def heard(name, level, text):
        return any((r.name, r.levelno) == (name, level) and text in r.getMessage() for r in list(caplog.records))

    def talk(**more):
        with whimbrel.Client("localhost", server.address[1], **more) as client:
            client.get("/bytes/3")

    caplog.set_level(logging.DEBUG)
    try:
        whimbrel.log_to(level=logging.WARNING)
        talk(ca=ca)
        with pytest.raises(whimbrel.CertificateError):
            talk()
        eventually(lambda: heard("whimbrel.handshake", logging.WARNING, f"127.0.0.1:{server.address[1]}")
                   or heard("whimbrel.handshake", logging.WARNING, f"[::1]:{server.address[1]}"))
        assert not [r for r in caplog.records if r.name.startswith("whimbrel.") and r.levelno < logging.WARNING]
        # A logger of the program's own, and everything.
        whimbrel.log_to(logging.getLogger("program"), logging.DEBUG)
        talk(ca=ca)
        eventually(lambda: heard("program.connection", logging.DEBUG, "client"))
        whimbrel.log_to(None)
        caplog.clear()
        talk(ca=ca)
        assert not [r for r in caplog.records if r.name.startswith(("whimbrel.", "program."))]
    finally:
        whimbrel.log_to(None)


PROGRAM = """
import logging, os, sys, threading
import whimbrel
logging.basicConfig(level=logging.DEBUG)
whimbrel.log_to(level=logging.DEBUG)
def handler(request):
    return bytes(1 << 20)
server = whimbrel.Server(handler, cert=sys.argv[1], key=sys.argv[2]).start()
server.qlog(lambda connection, data, end: None)
client = whimbrel.Client("localhost", server.address[1], ca=sys.argv[3], qlog=lambda connection, data, end: None).open()
first = client.get("/")
def load():
    while True:
        client.get("/")
threading.Thread(target=load, daemon=True).start()
if sys.argv[4] == "fork":
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print(len(first.body))
"""


@pytest.mark.parametrize("how", ["plain", "fork"])
def test_a_program_ends_while_functions_are_called(ca, how):
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, CERTS / "cert.pem", CERTS / "key.pem", ca, how], timeout=60,
            capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0 and done.stdout == b"1048576\n", done.stderr[-2000:]
