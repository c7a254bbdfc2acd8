"""`make bench`: Whimbrel through its C ABI beside quinn, interleaved in one run, medians and ratios.

Server on the first core, client on the last. Claims are ratios from one run: the machine's own speed cancels out.
Shorter or longer by environment: WB_BENCH_ROUNDS, WB_BENCH_BULK (bytes), WB_BENCH_REQUESTS, WB_BENCH_HANDSHAKES;
WB_BENCH_ONLY=word keeps the cases whose name has the word.
"""
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = int(os.environ.get("WB_BENCH_ROUNDS", "5"))
BULK = int(os.environ.get("WB_BENCH_BULK", str(1 << 29)))
REQUESTS = int(os.environ.get("WB_BENCH_REQUESTS", "100000"))
HANDSHAKES = int(os.environ.get("WB_BENCH_HANDSHAKES", "500"))

CASES = {
    "bulk, 1 stream": ["bulk", BULK, 1],
    "bulk, 100 streams": ["bulk", BULK, 100],
    "1 KiB requests, 100 in flight": ["requests", REQUESTS, 1024, 100],
    "1 KiB requests, 1 in flight": ["requests", REQUESTS // 10, 1024, 1],
    "full handshakes, one by one": ["handshakes", HANDSHAKES],
}


def pinned(core: int) -> list:
    """Both ends on a core of their own and, where we may, ahead of what else runs here."""
    words = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
    return [*words, "nice", "-n", "-15"] if hasattr(os, "geteuid") and os.geteuid() == 0 else words


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process: the scheduler's nanoseconds where the system has them."""
    tasks = pathlib.Path(f"/proc/{pid}/task")
    if tasks.exists():
        return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks.iterdir()) / 1e9
    out = subprocess.run(["ps", "-o", "cputime=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    minutes, seconds = out.split(":")[-2:]
    return int(minutes) * 60 + float(seconds)


def measure(command, certs, words) -> dict:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = ["--port", str(port), "--certs", str(certs)]
    last = (os.cpu_count() or 1) - 1
    server = subprocess.Popen([*pinned(0), command, *common, "server"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline().strip() == "ready", f"{command}: the server did not start"
        before = cpu_seconds(server.pid)
        done = subprocess.run(
            [*pinned(last), command, *common, *map(str, words)], stdout=subprocess.PIPE, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command} {words}: exit {done.returncode}"
        time.sleep(0.05)
        return {**json.loads(done.stdout.splitlines()[-1]), "server": cpu_seconds(server.pid) - before}
    finally:
        server.terminate()
        server.wait()


def figures(words, m) -> dict:
    if words[0] == "bulk":
        gb = words[1] / 1e9
        return {"Gbit/s": gb * 8 / m["wall"], "server s/GB": m["server"] / gb, "client s/GB": m["cpu"] / gb,
                "both s/GB": (m["server"] + m["cpu"]) / gb}
    count = words[1]
    return {
        "per s": count / m["wall"], "server us": m["server"] / count * 1e6, "client us": m["cpu"] / count * 1e6,
        "p50 us": m["p50"], "p99 us": m["p99"], "p99.9 us": m["p999"],
    }


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    peers = {
        "whimbrel": str(build / "wb_bench"),
        "quinn": str(HERE / "peers" / "target" / "release" / "quinn_bench"),
    }
    results = {}
    for case, words in CASES.items():
        if os.environ.get("WB_BENCH_ONLY", "") not in case:
            continue
        rows = {name: [] for name in peers}
        for _ in range(ROUNDS):
            for name, command in peers.items():
                rows[name].append(figures(words, measure(command, build / "certs", words)))
        results[case] = rows
        print(f"\n{case}  (median of {ROUNDS}, min..max)")
        medians = {}
        for name, all_rounds in rows.items():
            medians[name] = {k: statistics.median(r[k] for r in all_rounds) for k in all_rounds[0]}
            cells = [
                f"{k} {medians[name][k]:.4g} ({min(r[k] for r in all_rounds):.3g}..{max(r[k] for r in all_rounds):.3g})"
                for k in all_rounds[0]
            ]
            print(f"  {name:10}", "  ".join(cells))
        ratios = [f"{k} {medians['whimbrel'][k] / medians['quinn'][k]:.2f}" for k in medians["quinn"] if medians["quinn"][k]]
        print(f"  {'ratio':10}", "  ".join(ratios))
    (build / "bench.json").write_text(json.dumps(results, indent=1))
    print(f"\nraw figures: {build / 'bench.json'}")


main()
