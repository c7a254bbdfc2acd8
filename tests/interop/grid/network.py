"""Two network namespaces with a link between them."""
import os
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
LINK = ROOT / "tests" / "peers" / "link" / "target" / "release" / "grid-link"

CLIENT4, SERVER4, OTHER4 = "192.0.2.2", "198.51.100.1", "198.51.100.2"
CLIENT6, SERVER6, OTHER6 = "2001:db8:1::2", "2001:db8:2::1", "2001:db8:2::2"


class Network:
    """Use as a context manager; everything is gone afterwards."""

    def __init__(self, name, folder, options, seed, v6=False, captures=True):
        self.client, self.server = f"{name}c", f"{name}s"
        self.folder, self.options, self.seed, self.v6 = folder, options, seed, v6
        self.captures = captures
        self.processes = []

    @property
    def host(self):
        return SERVER6 if self.v6 else SERVER4

    @property
    def preferred(self):
        """The server's other address, as an option."""
        return f"[{OTHER6}]:443" if self.v6 else f"{OTHER4}:443"

    @property
    def any(self):
        return "::" if self.v6 else "0.0.0.0"

    def __enter__(self):
        try:
            for ns in (self.client, self.server):
                self.ip(f"netns add {ns}")
            pcaps = ["--client-pcap", self.folder / "client.pcap", "--server-pcap", self.folder / "server.pcap"]
            self.link = self.start(
                None, "link", [LINK, "--client-ns", self.client, "--server-ns", self.server, "--seed", self.seed,
                               *(pcaps if self.captures else []), *self.options])
            self.wait_for_text("link", self.link)
            for ns, v4, v6 in ((self.client, [CLIENT4], [CLIENT6]), (self.server, [SERVER4, OTHER4], [SERVER6, OTHER6])):
                lines = ["link set lo up"]
                lines += [f"addr add {a}/128 dev link0 nodad" for a in v6] if self.v6 else []
                lines += [] if self.v6 else [f"addr add {a}/32 dev link0" for a in v4]
                lines += ["link set link0 up", "route add default dev link0" + (" src " + v4[0] if not self.v6 else "")]
                if self.v6:
                    lines[-1] = f"-6 route add default dev link0 src {v6[0]}"
                for line in lines:
                    self.ip(f"-n {ns} {line}" if not line.startswith("-6") else f"-n {ns} {line}")
        except BaseException:
            self.__exit__()
            raise
        return self

    @staticmethod
    def ip(line):
        done = subprocess.run(["ip", *line.split()], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"ip {line}: {done.stderr.strip()}")

    def start(self, ns, name, argv, env=None):
        argv = [str(a) for a in argv]
        if ns is not None:
            argv = ["ip", "netns", "exec", ns, *argv]
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=self.folder)
        self.processes.append(process)
        return process

    def log(self, name):
        try:
            return (self.folder / f"{name}.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def wait_for_text(self, name, process):
        end = time.monotonic() + 30
        while "ready" not in self.log(name):
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {self.log(name)[-1000:]}")
            if time.monotonic() > end:
                raise RuntimeError(f"{name} is not ready")
            time.sleep(0.02)

    def wait_for_socket(self, name, process):
        """For servers that do not say when they are ready: port 443 is 01BB in the kernel's table."""
        end = time.monotonic() + 30
        while not any(":01BB " in pathlib.Path(f"/proc/{process.pid}/net/{t}").read_text() for t in ("udp", "udp6")):
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {self.log(name)[-1000:]}")
            if time.monotonic() > end:
                raise RuntimeError(f"{name} is not ready")
            time.sleep(0.02)

    def stop(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __exit__(self, *_):
        for process in reversed(self.processes):
            self.stop(process)
        for ns in (self.client, self.server):
            subprocess.run(["ip", "netns", "del", ns], capture_output=True)


def environment(keylog=None):
    env = {k: v for k, v in os.environ.items() if k not in ("SSLKEYLOGFILE", "QLOGDIR")}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "bindings" / "python"), str(pathlib.Path(__file__).parent)])
    env["WHIMBREL_LIBRARY"] = str(ROOT / "build" / "libwhimbrel.so")
    env["PYTHONUNBUFFERED"] = "1"
    if keylog:
        env["SSLKEYLOGFILE"] = str(keylog)
    return env
