"""Whimbrel against aioquic, quinn and ngtcp2, in both roles, byte for byte over loopback."""
import hashlib
import json
import sys

import pytest

import pattern
from conftest import BUILD, CERTS, HERE, QUINN, free_port, run, tool

LARGE = 64 << 20
# aioquic moves about 25 MB/s: the body that both directions carry is the same, the patience is not.
PATIENCE = {"aioquic": 240, "quinn": 60, "ngtcp2": 60}


def whimbrel_client(scenario, port, *more, timeout=60):
    argv = [sys.executable, HERE / "whimbrel_client.py", scenario, "--port", port, "--ca", CERTS / "ca.pem", *more]
    return json.loads(run(argv, timeout=timeout).stdout.splitlines()[-1])


def peer_client(kind, scenario, port, *more, timeout=60):
    tail = [scenario, "--port", port, "--ca", CERTS / "ca.pem", *more]
    argv = [QUINN / "quinn_client", *tail] if kind == "quinn" else [sys.executable, HERE / f"{kind}_client.py", *tail]
    return json.loads(run(argv, timeout=timeout).stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["aioquic", "quinn"])
class TestOurClient:
    def test_64_mib_down(self, servers, kind):
        whimbrel_client("download", servers.start(kind), "--size", LARGE, timeout=PATIENCE[kind])

    def test_64_mib_up(self, servers, kind):
        whimbrel_client("upload", servers.start(kind), "--size", LARGE, timeout=PATIENCE[kind])

    def test_100_concurrent_requests(self, servers, kind):
        whimbrel_client("many", servers.start(kind))

    def test_retry(self, servers, kind):
        assert whimbrel_client("small", servers.start(kind, retry=True))["retry"]

    def test_resumption_with_early_data(self, servers, kind):
        report = whimbrel_client("resume", servers.start(kind))
        assert report["resumed"] and report["early_accepted"]

    def test_key_update(self, servers, kind):
        assert whimbrel_client("keyupdate", servers.start(kind))["key_updates"] >= 1

    def test_migration_during_a_download(self, servers, kind):
        assert whimbrel_client("migrate", servers.start(kind), "--size", 16 << 20, timeout=120)["moves"] >= 3


@pytest.mark.parametrize("kind", ["aioquic", "quinn"])
class TestOurServer:
    def test_64_mib_down(self, servers, kind):
        peer_client(kind, "download", servers.start("whimbrel"), "--size", LARGE, timeout=PATIENCE[kind])

    def test_64_mib_up(self, servers, kind):
        peer_client(kind, "upload", servers.start("whimbrel"), "--size", LARGE, timeout=PATIENCE[kind])

    def test_100_concurrent_requests(self, servers, kind):
        peer_client(kind, "many", servers.start("whimbrel"))

    def test_retry(self, servers, kind):
        report = peer_client(kind, "download", servers.start("whimbrel", retry=True))
        if kind == "aioquic":
            assert report["retry"]

    def test_resumption_with_early_data(self, servers, kind):
        peer_client(kind, "resume", servers.start("whimbrel"))


def test_quinn_client_whose_address_changes(servers):
    peer_client("quinn", "rebind", servers.start("whimbrel"), "--size", LARGE)


def test_aioquic_client_that_updates_keys(servers):
    peer_client("aioquic", "keyupdate", servers.start("whimbrel"))


class TestNgtcp2Server:
    """gtlsserver makes a body of N bytes for GET /N."""

    def test_64_mib_down_is_exact(self, servers, tmp_path):
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "large").write_bytes(pattern.body(LARGE))
        port = servers.start("ngtcp2", docs=tmp_path / "docs")
        run([BUILD / "h3_get", "-c", CERTS / "ca.pem", "-o", tmp_path / "got", f"https://localhost:{port}/large"])
        assert hashlib.sha256((tmp_path / "got").read_bytes()).hexdigest() == pattern.digest(LARGE)

    def test_64_mib_up(self, servers, tmp_path):
        (tmp_path / "index.html").write_text("taken")
        whimbrel_client("upload-only", servers.start("ngtcp2"), "--size", LARGE)

    def test_100_concurrent_requests(self, servers):
        whimbrel_client("many", servers.start("ngtcp2"), "--prefix", "/")

    def test_retry(self, servers):
        assert whimbrel_client("small", servers.start("ngtcp2", retry=True), "--prefix", "/")["retry"]

    def test_resumption_with_early_data(self, servers):
        report = whimbrel_client("resume", servers.start("ngtcp2"), "--prefix", "/")
        assert report["resumed"] and report["early_accepted"]

    def test_migration_during_a_download(self, servers):
        report = whimbrel_client("migrate", servers.start("ngtcp2"), "--prefix", "/", "--size", 32 << 20)
        assert report["moves"] >= 3

    def test_key_update(self, servers):
        assert whimbrel_client("keyupdate", servers.start("ngtcp2"), "--prefix", "/")["key_updates"] >= 1


class TestNgtcp2Client:
    def client(self, port, *more, uris, timeout=60):
        common = ["-q", "--exit-on-all-streams-close", "--no-quic-dump", "--no-http-dump"]
        return run([tool("gtlsclient"), *common, *more, "127.0.0.1", port, *uris], timeout=timeout)

    def uri(self, port, path):
        return f"https://localhost:{port}{path}"

    def test_64_mib_down(self, servers, tmp_path):
        port = servers.start("whimbrel")
        self.client(port, f"--download={tmp_path}", uris=[self.uri(port, f"/bytes/{LARGE}")])
        assert hashlib.sha256((tmp_path / str(LARGE)).read_bytes()).hexdigest() == pattern.digest(LARGE)

    def test_64_mib_up(self, servers, tmp_path):
        port = servers.start("whimbrel")
        (tmp_path / "body").write_bytes(pattern.body(LARGE))
        self.client(
            port, "-m", "POST", "-d", tmp_path / "body", f"--download={tmp_path}", uris=[self.uri(port, "/hash")]
        )
        assert (tmp_path / "hash").read_text() == pattern.digest(LARGE)

    def test_100_concurrent_requests(self, servers, tmp_path):
        port = servers.start("whimbrel")
        self.client(port, f"--download={tmp_path}", "-n", 100, uris=[self.uri(port, f"/bytes/{1000 + i}") for i in range(100)])
        for i in range(100):
            assert (tmp_path / str(1000 + i)).read_bytes() == pattern.body(1000 + i)

    def test_retry(self, servers, tmp_path):
        port = servers.start("whimbrel", retry=True)
        self.client(port, f"--download={tmp_path}", uris=[self.uri(port, "/bytes/5000")])
        assert (tmp_path / "5000").read_bytes() == pattern.body(5000)

    def test_resumption_with_early_data(self, servers, tmp_path):
        port = servers.start("whimbrel")
        files = [f"--session-file={tmp_path / 'session'}", f"--tp-file={tmp_path / 'tp'}"]
        uris = [self.uri(port, "/bytes/5000")]
        self.client(port, *files, f"--download={tmp_path}", uris=uris)
        assert (tmp_path / "session").exists(), "no ticket came"
        (tmp_path / "5000").unlink()
        argv = [tool("gtlsclient"), "--exit-on-all-streams-close", "--no-quic-dump", *files, f"--download={tmp_path}"]
        done = run([*argv, "127.0.0.1", port, *uris])
        log = done.stdout + done.stderr
        assert "0RTT" in log, "the client sent no early data"
        assert "Early data was rejected" not in log and "rejected by server" not in log, log[-2000:]
        assert (tmp_path / "5000").read_bytes() == pattern.body(5000)

    def test_key_update(self, servers, tmp_path):
        port = servers.start("whimbrel")
        self.client(port, "--key-update=1ms", f"--download={tmp_path}", uris=[self.uri(port, f"/bytes/{LARGE}")])
        assert hashlib.sha256((tmp_path / str(LARGE)).read_bytes()).hexdigest() == pattern.digest(LARGE)

    def test_migration(self, servers, tmp_path):
        port = servers.start("whimbrel")
        more = ["--change-local-addr=5ms", f"--download={tmp_path}"]
        self.client(port, *more, uris=[self.uri(port, f"/bytes/{LARGE}")])
        assert hashlib.sha256((tmp_path / str(LARGE)).read_bytes()).hexdigest() == pattern.digest(LARGE)

    def test_nat_rebinding(self, servers, tmp_path):
        """The address changes between handshake and upload. Not under way: a client that only receives would have
        nothing to say from its new address, and gtlsclient 0.12 stops sending for good when the change meets a full
        socket buffer."""
        port = servers.start("whimbrel")
        (tmp_path / "body").write_bytes(pattern.body(LARGE))
        more = ["--change-local-addr=5ms", "--nat-rebinding", "--delay-stream=60ms", "-m", "POST", "-d", tmp_path / "body"]
        self.client(port, *more, f"--download={tmp_path}", uris=[self.uri(port, "/hash")])
        assert (tmp_path / "hash").read_text() == pattern.digest(LARGE)


class TestFailuresAreTold:
    """Each cause gives one clear line and its own exit status (README, h3_get)."""

    def get(self, *argv, timeout=30):
        import subprocess

        from conftest import environment

        done = subprocess.run(
            [str(a) for a in (BUILD / "h3_get", *argv)], capture_output=True, text=True, timeout=timeout, env=environment()
        )
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.returncode, done.stderr

    def test_each_cause_has_its_own_status(self, servers, tmp_path):
        import socket

        ca = ["-c", CERTS / "ca.pem"]
        port = servers.start("whimbrel")
        seen = {
            "wrong URL": self.get(*ca, "http:/nowhere"),
            "unreadable CA": self.get("-c", tmp_path / "none.pem", f"https://localhost:{port}/"),
            "unknown host": self.get(*ca, "https://no-such-host.invalid/"),
            "unreachable": self.get(*ca, "-t", 5, f"https://127.0.0.1:{free_port()}/"),
            "bad certificate": self.get("-c", tmp_path / "other" / "ca.pem", f"https://localhost:{port}/")
            if self.other_ca(tmp_path)
            else None,
            "not found": self.get(*ca, "-f", f"https://localhost:{port}/missing"),
        }
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            seen["not QUIC"] = self.get(*ca, "-t", 2, f"https://127.0.0.1:{silent.getsockname()[1]}/")
        codes = [code for code, _ in seen.values()]
        assert 0 not in codes and len(set(codes)) == len(codes), seen

    @staticmethod
    def other_ca(tmp_path):
        from conftest import ROOT

        maker = next((ROOT / "target").glob("*/examples/make_cert"))
        run([maker, tmp_path / "other"])
        return True
