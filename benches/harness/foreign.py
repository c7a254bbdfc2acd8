"""ngtcp2's example programs of the distribution: they have their own command line and cannot wait, so whole runs are
measured: CPU and time hold one handshake, the client's also its start."""
import os
import shutil
import subprocess
import time

from . import processes

SERVER = shutil.which("gtlsserver", path=os.environ.get("PATH", "") + ":/usr/sbin")
CLIENT = shutil.which("gtlsclient", path=os.environ.get("PATH", "") + ":/usr/sbin")
WINDOW = 16 << 20
STREAMS = 100
SETTINGS = (
    "Debian's gtlsserver and gtlsclient (GnuTLS), HTTP/3 only, 16 MiB windows, CUBIC, GSO by default; whole runs with one handshake, "
    "so no latencies; its client does without GRO"
)


def version() -> str:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "ngtcp2-server"], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def windows():
    names = ("max-data", "max-stream-data-bidi-local", "max-stream-data-bidi-remote", "max-window", "max-stream-window")
    return [f"--{name}={WINDOW}" for name in names]


def run(case, build, name) -> dict:
    """A download or requests."""
    port = processes.free_port()
    if case.words[0] == "move":
        count, size = case.words[3], case.words[2] // case.words[3]
    else:
        count, size = case.words[1], case.words[2]
    certs = build / "certs"
    server = [SERVER, "-q", f"--max-dyn-length={size}", f"--max-streams-bidi={STREAMS}", *windows(), "127.0.0.1", port,
              certs / "key.pem", certs / "cert.pem"]
    client = [CLIENT, "-q", f"--nstreams={count}", "--exit-on-all-streams-close", *windows(), "127.0.0.1", port,
              f"https://localhost/{size}"]
    with processes.program(server, processes.SERVER_CORE, f"{name} server") as s:
        wait_for_socket(port)
        before = processes.cpu_seconds(s.pid)
        start = time.monotonic()
        c = subprocess.Popen([str(word) for word in client], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             preexec_fn=processes.prepare(processes.CLIENT_CORE))
        status, usage = wait(c, name)
        wall = time.monotonic() - start
        if status != 0:
            raise processes.BenchError(f"{name} client: ended with {status}")
        time.sleep(processes.SETTLE)
        m = {"wall": wall, "server": processes.cpu_seconds(s.pid) - before, "client": usage.ru_utime + usage.ru_stime,
             "p50": 0.0, "p99": 0.0, "p999": 0.0}
    figures = case.figures(case, m)
    return {key: value for key, value in figures.items() if not key.startswith("p") or key == "per s"}


def wait(child, name):
    end = time.monotonic() + processes.PATIENCE
    while time.monotonic() < end:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage
        time.sleep(0.002)
    child.kill()
    raise processes.BenchError(f"{name} client: not done after {processes.PATIENCE:.0f} s")


def wait_for_socket(port):
    wanted = f":{port:04X} "
    for _ in range(500):
        with open("/proc/net/udp") as f:
            if wanted in f.read():
                return
        time.sleep(0.01)
    raise processes.BenchError("ngtcp2 server: no socket")
