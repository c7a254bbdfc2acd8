"""A path of 200 Mbit/s and 20 ms: two network namespaces over the interop grid's userspace link (tests/peers/link)."""
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

from . import processes
from .peers import BENCHES

ROOT = BENCHES.parent
RATE, DELAY_MS, QUEUE = 200_000_000, 10, 350


def network():
    """The grid's own class; it is imported late, because only this case needs it."""
    sys.path.insert(0, str(ROOT / "tests" / "interop" / "grid"))
    try:
        from network import LINK, SERVER4, Network
    finally:
        sys.path.pop(0)
    if not LINK.exists():
        done = subprocess.run(["cargo", "build", "--release", "--locked"], cwd=LINK.parents[2], capture_output=True, text=True)
        if done.returncode != 0:
            raise processes.BenchError("the link could not be built")
    return Network, SERVER4


def run(case, peer, build, name) -> dict:
    Network, host = network()
    options = ["--rate", RATE, "--delay-ms", DELAY_MS, "--queue", QUEUE]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        try:
            net = stack.enter_context(Network(f"wb{os.getpid()}", pathlib.Path(folder), options, 1, captures=False))
        except (RuntimeError, OSError) as e:
            raise processes.BenchError(f"no network namespaces here: {e}") from None
        flags = ["--host", host, "--payload", case.payload]
        words = [peer.command(build, processes.free_port(), words, flags) for words in (["server"], case.words)]
        words[1][words[1].index("--port") + 1] = words[0][words[0].index("--port") + 1]
        server, client = (["ip", "netns", "exec", ns, *command] for ns, command in zip((net.server, net.client), words))
        s, c = stack.enter_context(processes.pair(server, client, name))
        return case.figures(case, processes.measured(s, c))
