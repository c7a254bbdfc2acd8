"""Starting the two ends of a run, and reading their clocks and memory at the moments that count."""
import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import tempfile
import time

SERVER_CORE = 0
CLIENT_CORE = (os.cpu_count() or 1) - 1
PATIENCE = float(os.environ.get("WB_BENCH_PATIENCE", "120"))
#: After the client has its last byte the server still gets acknowledgements; they belong to the work.
SETTLE = 0.03


class BenchError(Exception):
    """A run that cannot be counted, said in one line."""


def prepare(core):
    """Runs in the child: a core of its own and, where we may, ahead of what else runs here. Priorities count only within
    a session where the kernel groups by sessions, so the child gets one of its own with a priority of its own."""

    def inside():
        os.sched_setaffinity(0, {core})
        os.setsid()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -15)
            pathlib.Path("/proc/self/autogroup").write_text("-15")

    return inside


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, also those that have ended: the scheduler's nanoseconds."""
    return time.clock_gettime((~pid << 3) | 2)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"no memory figure for process {pid}")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Program:
    """One end: a child process that speaks in lines."""

    def __init__(self, command, core, name):
        self.name = name
        self.errors = tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            preexec_fn=prepare(core),
        )
        self.pid = self.child.pid
        self.pending = b""

    def why(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"

    def line(self, patience: float = PATIENCE) -> str:
        """The next line, or a BenchError with what the program complained about."""
        end = time.monotonic() + patience
        while b"\n" not in self.pending:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                raise BenchError(f"{self.name}: nothing happened for {patience:.0f} s ({self.why()})")
            more = os.read(self.child.stdout.fileno(), 65536)
            if not more:
                self.child.wait()
                raise BenchError(f"{self.name}: ended with {self.child.returncode}: {self.why()}")
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()

    def expect(self, word: str):
        line = self.line()
        if line.strip() != word:
            raise BenchError(f"{self.name}: said {line!r} instead of {word!r}")

    def go(self):
        self.child.stdin.write(b"\n")
        self.child.stdin.flush()

    def result(self) -> dict:
        return json.loads(self.line())

    def wait(self, patience: float = PATIENCE) -> int:
        try:
            return self.child.wait(patience)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name}: not done after {patience:.0f} s ({self.why()})") from None

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(2)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for stream in (self.child.stdin, self.child.stdout, self.errors):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@contextlib.contextmanager
def program(command, core, name):
    p = Program(command, core, name)
    try:
        yield p
    finally:
        p.end()


@contextlib.contextmanager
def pair(server, client, name):
    """A server that is ready and a client that is ready: what is measured starts with `client.go()`."""
    with program(server, SERVER_CORE, f"{name} server") as s:
        s.expect("ready")
        with program(client, CLIENT_CORE, f"{name} client") as c:
            c.expect("ready")
            yield s, c


def measured(server, client) -> dict:
    """One turn of a ready pair: the client's result with the CPU seconds of both ends."""
    before = cpu_seconds(server.pid), cpu_seconds(client.pid)
    client.go()
    result = client.result()
    time.sleep(SETTLE)
    result["server"] = cpu_seconds(server.pid) - before[0]
    result["client"] = cpu_seconds(client.pid) - before[1]
    return result
