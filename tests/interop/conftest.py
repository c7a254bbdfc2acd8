"""Shared by the interop tests: certificates, ports, processes."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build"
CERTS = BUILD / "certs"
QUINN = ROOT / "tests" / "peers" / "quinn" / "target" / "release"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment() -> dict:
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "bindings" / "python"), str(HERE)])
    env["WHIMBREL_LIBRARY"] = str(BUILD / ("libwhimbrel.dylib" if sys.platform == "darwin" else "libwhimbrel.so"))
    return env


def tool(name: str) -> str:
    """A program that `make check` has installed; its absence is a failure, never a skip."""
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    assert path, f"{name} is not installed: run `make setup`"
    return path


def run(argv, timeout=120, **kw) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True, errors="replace", timeout=timeout,
        env=environment(), cwd=kw.pop("cwd", HERE), **kw,
    )
    assert done.returncode == 0, (
        f"exit {done.returncode} of {argv}\n--- out\n{done.stdout[-3000:]}\n--- err\n{done.stderr[-3000:]}"
    )
    return done


class Servers:
    """Starts the server of any peer on a free port, and ends it with the test."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.running = []

    def start(self, kind: str, *, retry=False, docs=None) -> int:
        port = free_port()
        ready = self.tmp_path / f"ready-{port}"
        tail = ["--cert", CERTS / "cert.pem", "--key", CERTS / "key.pem", "--port", port, "--ready", ready]
        tail += ["--retry"] if retry else []
        if kind == "ngtcp2":
            ready.write_text("")
            argv = [tool("gtlsserver"), "-q", "--max-dyn-length=128M", "-d", docs or self.tmp_path]
            argv += ["-V"] if retry else []
            argv += ["127.0.0.1", port, CERTS / "key.pem", CERTS / "cert.pem"]
        elif kind == "quinn":
            argv = [QUINN / "quinn_server", *tail]
        elif kind == "h3_server":
            ready.write_text("")
            argv = [BUILD / "h3_server", "-c", CERTS / "cert.pem", "-k", CERTS / "key.pem", "-p", port, docs]
        else:
            argv = [sys.executable, HERE / f"{kind}_server.py", *tail]
        log = open(self.tmp_path / f"{kind}-{port}.log", "w+")
        proc = subprocess.Popen(
            [str(a) for a in argv], stdout=log, stderr=subprocess.STDOUT, env=environment(), cwd=HERE
        )
        self.running.append((proc, log))
        deadline = time.monotonic() + 20
        while not ready.exists() or (kind in ("ngtcp2", "h3_server") and not self.bound(port)):
            assert proc.poll() is None, f"{kind} server ended: {pathlib.Path(log.name).read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{kind} server did not open its socket"
            time.sleep(0.02)
        return port

    @staticmethod
    def bound(port: int) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                return True
            return False

    def log_of_last(self) -> str:
        return pathlib.Path(self.running[-1][1].name).read_text(errors="replace")

    def stop(self):
        for proc, log in self.running:
            proc.terminate()
            try:
                proc.wait(10)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()
            log.close()


@pytest.fixture
def servers(tmp_path):
    s = Servers(tmp_path)
    yield s
    s.stop()
