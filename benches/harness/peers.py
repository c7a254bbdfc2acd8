"""Who is measured: programs, versions, settings, and why somebody is missing."""
import contextlib
import dataclasses
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys

from . import foreign

BENCHES = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = BENCHES / "peers" / "target" / "release"

MOVE, UPLOAD, REQUESTS, FULL, RESUMED, GROW, MANY = "move", "upload", "requests", "full", "resumed", "grow", "many"
NATIVE, PYTHON = "native", "python"
EVERYTHING = frozenset({MOVE, UPLOAD, REQUESTS, FULL, RESUMED, GROW, MANY})


@dataclasses.dataclass(frozen=True)
class Peer:
    """A program with the bench's command line (benches/peers/core)."""

    name: str
    program: pathlib.Path
    #: The package of the workspace, to build it and to know its version.
    package: str = ""
    crate: str = ""
    settings: str = ""
    raw: frozenset = frozenset()
    http: frozenset = frozenset()
    flags: tuple = ()
    #: Largest UDP payload that can be configured.
    payload: int = 1472
    #: Programs are compared within a family.
    family: str = NATIVE
    #: Words before the program.
    prefix: tuple = ()
    #: Runs a case itself, for programs with a command line of their own.
    runner: object = None

    def command(self, build, port, words, flags=()):
        common = ["--port", port, "--certs", build / "certs", *self.flags, *flags]
        return [*self.prefix, self.program, *common, *words]

    def works(self, what: str, http: bool) -> bool:
        return what in (self.http if http else self.raw)


def whimbrel(build: pathlib.Path, name: str, *flags: str) -> Peer:
    return Peer(
        name,
        build / "wb_bench",
        settings="C ABI, one worker, 16 MiB windows, "
        + ("events from a queue on the main thread" if flags else "callbacks on the worker")
        + ", without those of acknowledgements and ends of streams (events.spare); the rest by default (adaptive CUBIC, pacing, GSO, GRO, MTU discovery)",
        raw=EVERYTHING,
        http=EVERYTHING,
        flags=flags,
        payload=65507,
    )


def everyone(build: pathlib.Path) -> list:
    """All peers of the workspace and Whimbrel in its two modes."""
    return [
        Peer("pipe", PROGRAMS / "pipe-bench", "pipe-bench", settings="no protocol: copy, ring AES-128-GCM, GSO, GRO; 1 MiB window",
             raw=frozenset({MOVE}), payload=65507),
        whimbrel(build, "whimbrel"),
        whimbrel(build, "whimbrel, queue", "--queue"),
        Peer("quinn", PROGRAMS / "quinn-bench", "quinn-bench", "quinn",
             "one tokio thread, rustls on ring, 16 MiB windows, 4 MiB socket buffers; the rest by default (CUBIC, pacing, GSO, GRO); "
             "HTTP/3 by h3 and h3-quinn",
             EVERYTHING, EVERYTHING, payload=65507),
        Peer("s2n-quic", PROGRAMS / "s2n-bench", "s2n-bench", "s2n-quic",
             "one tokio thread, s2n-tls on AWS-LC, 16 MiB windows and send buffer, 4 MiB socket buffers; the rest by default "
             "(CUBIC, pacing, GSO, GRO); no HTTP/3 in the crate, resumption only behind an unstable feature",
             EVERYTHING - {RESUMED}, payload=8972),
        Peer("msquic", PROGRAMS / "msquic-bench", "msquic-bench", "msquic",
             "throughput profile, one worker, no send buffering (as much under way as it calls ideal), 16 MiB windows; the rest by "
             "default (CUBIC, pacing, GSO, GRO); tickets as by others; no HTTP/3; not with idle connections, of which each has descriptors of "
             "its own (10,000 are too many)",
             EVERYTHING - {GROW}, payload=8972),
        Peer("quiche", PROGRAMS / "quiche-bench", "quiche-bench", "quiche",
             "its own HTTP/3, BoringSSL, a loop of one thread with GSO and GRO, 16 MiB windows, 1472-byte datagrams, CUBIC; pacing off, "
             "since it needs a socket that sends at given times",
             EVERYTHING, EVERYTHING),
        Peer("tquic", PROGRAMS / "tquic-bench", "tquic-bench", "tquic",
             "BoringSSL, a loop of one thread with GSO and GRO, blocks handed over without a copy, 16 MiB windows, 1472-byte datagrams; "
             "the rest by default (BBR, pacing); its own HTTP/3",
             EVERYTHING, frozenset({MOVE, UPLOAD, REQUESTS})),
        Peer("ngtcp2", pathlib.Path(foreign.SERVER or "gtlsserver"), settings=foreign.SETTINGS, http=frozenset({MOVE, UPLOAD, REQUESTS}),
             runner=foreign.run, crate="ngtcp2"),
        python("whimbrel", "whimbrel_bench.py", "the package of bindings/python as installed: AsyncClient and Server, bulk with views=True"),
        python("aioquic", "aioquic_bench.py", "asyncio, 1472-byte datagrams, 16 MiB windows", "aioquic"),
    ]


def python(name, script, settings, crate="") -> Peer:
    return Peer(name, BENCHES / "python" / script, crate=crate, settings=settings, http=frozenset({MOVE, REQUESTS}), family=PYTHON,
                prefix=(sys.executable,))


def build_peer(package: str) -> str:
    """Builds one program of the workspace; the reason when that fails, else nothing."""
    done = subprocess.run(
        ["cargo", "build", "--release", "--locked", "-p", package], cwd=BENCHES / "peers", capture_output=True, text=True
    )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error", "  CMake Error"))]
    return (lines or done.stderr.strip().splitlines() or ["no reason given"])[0][:200]


def versions() -> dict:
    """What the workspace's lock file has settled on, and what is not a crate."""
    lock = (BENCHES / "peers" / "Cargo.lock").read_text()
    found = dict(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', lock))
    found["ngtcp2"] = foreign.version()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["aioquic"] = importlib.metadata.version("aioquic")
    return found


def described(peer) -> dict:
    return {"name": peer.name, "family": peer.family, "settings": peer.settings, "version": versions().get(peer.crate, "")}


def library_path() -> str:
    """Where cargo has left the shared libraries that peers need."""
    return ":".join(str(path.parent) for path in sorted(PROGRAMS.glob("build/*/out/lib/*.so")))


def available(build: pathlib.Path, only: str, with_build: bool):
    """The peers that can run, and for those that cannot the reason."""
    present, missing = [], {}
    for peer in everyone(build):
        if only and not any(word.strip() and word.strip() in peer.name for word in only.split(",")):
            continue
        reason = ""
        if with_build and peer.package:
            reason = "no cargo" if shutil.which("cargo") is None else build_peer(peer.package)
        if not reason and not peer.program.exists():
            reason = f"{peer.program.name} is not built"
        if reason:
            missing[f"{peer.name} ({peer.family})"] = reason
        else:
            present.append(peer)
    return present, missing
