"""The C examples: what h3_server promises, migration during a download, and a NAT that rebinds behind the client's back."""
import hashlib
import pathlib
import re
import select
import socket
import subprocess
import threading
import time

import pytest

import pattern
from conftest import BUILD, CERTS, environment, free_port, run

BIG = 256 << 20
CA = ["-c", CERTS / "ca.pem"]


@pytest.fixture
def docs(tmp_path):
    d = tmp_path / "docs"
    (d / "sub").mkdir(parents=True)
    (d / "index.html").write_text("<h1>index</h1>")
    (d / "sub" / "index.html").write_text("<h1>sub</h1>")
    (d / "a b.txt").write_text("spaced")
    (d / "digits").write_bytes(b"0123456789")
    (d / "empty").write_bytes(b"")
    (d / "bare").mkdir()
    (tmp_path / "secret").write_text("secret")
    (d / "out").symlink_to(tmp_path / "secret")
    return d


@pytest.fixture
def client(servers, docs):
    import os
    import sys

    from conftest import ROOT

    sys.path.insert(0, str(ROOT / "bindings" / "python"))
    os.environ.setdefault("WHIMBREL_LIBRARY", environment()["WHIMBREL_LIBRARY"])
    import whimbrel

    with whimbrel.Client("localhost", servers.start("h3_server", docs=docs), ca=str(CERTS / "ca.pem")) as c:
        c.log = servers.log_of_last
        yield c


class TestServer:
    def test_index_pages_and_types(self, client):
        r = client.get("/")
        assert (r.status, r.text(), r.headers["content-type"]) == (200, "<h1>index</h1>", "text/html; charset=utf-8")
        r = client.get("/sub")
        assert (r.status, r.headers["location"]) == (301, "/sub/")
        assert client.get("/sub/").text() == "<h1>sub</h1>"
        assert client.get("/bare/").status == 404

    def test_escapes_queries_and_empty_files(self, client):
        assert client.get("/a%20b.txt?x=1").text() == "spaced"
        r = client.get("/empty")
        assert (r.status, r.body, r.headers["content-length"]) == (200, b"", "0")

    def test_head_and_other_methods(self, client):
        r = client.request("HEAD", "/digits")
        assert (r.status, r.body, r.headers["content-length"]) == (200, b"", "10")
        assert client.request("POST", "/digits", body=b"x").status == 405

    @pytest.mark.parametrize("asked, status, body, told", [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
    ])
    def test_ranges(self, client, asked, status, body, told):
        r = client.get("/digits", headers=[("range", asked)])
        assert (r.status, bytes(r.body), r.headers.get("content-range")) == (status, body, told)

    @pytest.mark.parametrize("path", [
        "/../secret", "/sub/../../secret", "/%2e%2e/secret", "/..%2fsecret", "/out", "/%00", "/%zz", "/sub/..%5c..%5csecret",
    ])
    def test_nothing_outside_the_root_is_served(self, client, path):
        r = client.get(path)
        assert r.status in (400, 403, 404) and b"secret" not in bytes(r.body), (r.status, r.body)

    def test_access_log(self, client):
        client.get("/digits")
        deadline = time.monotonic() + 5
        while '"GET /digits HTTP/3" 200 10' not in client.log() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert re.search(r'127\.0\.0\.1:\d+ "GET /digits HTTP/3" 200 10 \d+\.\d+ms', client.log()), client.log()


class TestStart:
    """A server that cannot start says why in one line, with a status of its own."""

    def start(self, *argv):
        done = subprocess.run(
            [str(a) for a in (BUILD / "h3_server", *argv)], capture_output=True, text=True, timeout=20, env=environment()
        )
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.returncode, done.stderr

    def test_statuses(self, servers, docs, tmp_path):
        port = servers.start("h3_server", docs=docs)
        pair = ["-c", CERTS / "cert.pem", "-k", CERTS / "key.pem"]
        (tmp_path / "garbage.pem").write_text("not a key")
        seen = {
            "usage": self.start(*pair),
            "no folder": self.start(*pair, tmp_path / "none"),
            "unreadable key": self.start("-c", CERTS / "cert.pem", "-k", tmp_path / "garbage.pem", docs),
            "port in use": self.start(*pair, "-p", port, docs),
        }
        assert [code for code, _ in seen.values()] == [2, 1, 3, 4], seen
        assert "garbage.pem" in seen["unreadable key"][1] or "key" in seen["unreadable key"][1]
        assert str(port) in seen["port in use"][1], seen


def sha256(path: pathlib.Path) -> str:
    h = hashlib.sha256()
    with path.open("rb") as f:
        while piece := f.read(1 << 20):
            h.update(piece)
    return h.hexdigest()


def test_ten_moves_during_256_mib(servers, docs, tmp_path):
    with (docs / "big").open("wb") as f:
        for _ in range(BIG // len(pattern.BLOCK)):
            f.write(pattern.BLOCK)
    port = servers.start("h3_server", docs=docs)
    done = run([BUILD / "migrate", "-n", 12, "-o", tmp_path / "got", *CA, f"https://localhost:{port}/big"])
    assert sha256(tmp_path / "got") == pattern.digest(BIG)
    assert "path changes   12 of 12, all on one connection" in done.stdout, done.stdout
    time.sleep(0.2)
    log = servers.log_of_last()
    assert log.count('"GET /big HTTP/3" 200') == 1, "one request, so one connection"
    assert log.count("path changed") >= 10, log


class Nat(threading.Thread):
    """A UDP relay that takes a new port towards the server after every so many bytes, and tells nobody."""

    def __init__(self, server_port: int, every: int) -> None:
        super().__init__(daemon=True)
        self.server = ("127.0.0.1", server_port)
        self.inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.inside.bind(("127.0.0.1", 0))
        self.port = self.inside.getsockname()[1]
        self.every = every
        self.rebindings = 0
        self.running = True
        self.outside = self.new_socket()

    def new_socket(self):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.connect(self.server)
        return s

    def run(self):
        client, relayed = None, 0
        while self.running:
            ready, _, _ = select.select([self.inside, self.outside], [], [], 0.05)
            for s in ready:
                try:
                    if s is self.inside:
                        data, client = s.recvfrom(65536)
                        self.outside.send(data)
                    else:
                        data = s.recv(65536)
                        relayed += len(data)
                        self.inside.sendto(data, client)
                except OSError:
                    pass
            if relayed > self.every:
                self.outside.close()
                self.outside = self.new_socket()
                self.rebindings += 1
                relayed = 0


def test_a_nat_rebinds_and_the_client_does_not_know(servers, docs, tmp_path):
    size = 64 << 20
    (docs / "file").write_bytes(pattern.body(size))
    nat = Nat(servers.start("h3_server", docs=docs), every=10 << 20)
    nat.start()
    run([BUILD / "h3_get", *CA, "-o", tmp_path / "got", f"https://localhost:{nat.port}/file"], timeout=120)
    nat.running = False
    assert sha256(tmp_path / "got") == pattern.digest(size)
    assert nat.rebindings >= 5
    assert "NAT rebinding" in servers.log_of_last()
    assert servers.log_of_last().count('"GET /file HTTP/3" 200') == 1


def test_key_log_and_qlog(servers, docs, tmp_path):
    import json

    port = servers.start("h3_server", docs=docs)
    env = {**environment(), "SSLKEYLOGFILE": str(tmp_path / "keys")}
    (tmp_path / "qlog").mkdir()
    done = subprocess.run(
        [str(a) for a in (BUILD / "h3_get", "-v", *CA, "-q", tmp_path / "qlog", f"https://localhost:{port}/digits")],
        capture_output=True, env=env, timeout=30,
    )
    assert done.returncode == 0 and done.stdout == b"0123456789", done
    verbose = done.stderr.decode()
    assert "* connected to" in verbose and "> :method: GET" in verbose and "< :status: 200" in verbose, verbose
    assert "CLIENT_TRAFFIC_SECRET_0 " in (tmp_path / "keys").read_text()
    logs = list((tmp_path / "qlog").iterdir())
    assert len(logs) == 1 and logs[0].suffix == ".sqlog", logs
    records = [json.loads(r) for r in logs[0].read_text().split("\x1e") if r]
    assert records[0]["file_schema"] == "urn:ietf:params:qlog:file:sequential"
    names = {r["name"] for r in records[1:]}
    wanted = {"quic:packet_sent", "quic:packet_received", "quic:parameters_set", "quic:recovery_metrics_updated",
              "quic:key_updated", "quic:connection_closed"}
    assert wanted <= names, wanted - names


def test_progress_is_silent_when_not_on_a_terminal(servers, docs, tmp_path):
    (docs / "file").write_bytes(bytes(1 << 20))
    port = servers.start("h3_server", docs=docs)
    done = run([BUILD / "h3_get", *CA, "-o", tmp_path / "got", f"https://localhost:{port}/file"])
    assert done.stderr == "" and done.stdout == ""
    assert free_port() > 0
