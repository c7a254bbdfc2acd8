"""The run: rounds of all peers in turn for each case, then files and the verdict."""
import json
import os
import pathlib
import platform
import resource
import statistics
import sys

from . import cases, judge, peers, processes, report

ROUNDS = cases.number("ROUNDS", 5)


def machine() -> dict:
    cpu = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release()}


def wanted(name: str) -> bool:
    words = [word.strip() for word in os.environ.get("WB_BENCH_ONLY", "").split(",") if word.strip()]
    return not words or any(word in name for word in words)


def play(case, present, build, failures) -> dict:
    """All rounds of a case, its contenders one after the other in each."""
    rows = {}
    for _ in range(min(ROUNDS, case.rounds)):
        for name, peer, part in case.contenders(present):
            try:
                rows.setdefault(name, []).append(cases.run(part, peer, build, name))
            except processes.BenchError as e:
                failures.append(f"{case.name}: {e}")
                print(f"FAILED {failures[-1]}", file=sys.stderr)
    return {name: runs for name, runs in rows.items() if runs}


def medians(runs: list) -> dict:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def merged(old, new) -> dict:
    """Cases of an earlier run stay where the new one did not play them: a case is one run, its peers interleaved."""
    for part in ("results", "when"):
        new[part] = {**old[part], **new[part]}
    new["results"] = {case.name: new["results"][case.name] for case in cases.all_cases() if case.name in new["results"]}
    here = {(p["name"], p["family"]) for p in new["peers"]}
    new["peers"] = [p for p in old["peers"] if (p["name"], p["family"]) not in here] + new["peers"]
    new["failures"] = old["failures"] + new["failures"]
    return new


def main(arguments) -> int:
    if sys.platform != "linux":
        print("make bench needs Linux: it pins processes and reads their CPU clocks", file=sys.stderr)
        return 2
    build = pathlib.Path(arguments[0]).resolve()
    write = pathlib.Path(arguments[2]) if arguments[1:2] == ["--write"] else None
    if write is not None:
        report.check(write)  # before the run, not after it
    with_build = os.environ.get("WB_BENCH_BUILD", "1") != "0"
    present, missing = peers.available(build, os.environ.get("WB_BENCH_PEERS", ""), with_build)
    os.environ["LD_LIBRARY_PATH"] = peers.library_path()
    os.environ["PYTHONPATH"] = str(peers.BENCHES.parent / "bindings" / "python")
    os.environ.setdefault("WHIMBREL_LIBRARY", str(build / "libwhimbrel.so"))
    # A peer may want a socket for each of its connections.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    failures, results, when = [], {}, {}
    for case in cases.all_cases():
        if not wanted(case.name):
            continue
        load = os.getloadavg()[0]
        rows = play(case, present, build, failures)
        if rows:
            results[case.name] = rows
            when[case.name] = {"load": load, "rounds": max(len(runs) for runs in rows.values())}
            print(report.text(case.name, rows), flush=True)
    sizes = {"bulk": cases.BULK, "requests": cases.COUNT, "handshakes": cases.HANDSHAKES, "connections": cases.CONNECTIONS,
             "active": cases.ACTIVE, "paced": cases.PACED}
    document = {
        "machine": machine(), "sizes": sizes, "versions": peers.versions(), "peers": [peers.described(p) for p in present],
        "missing": missing, "failures": failures, "when": when, "results": results,
    }
    if os.environ.get("WB_BENCH_MERGE") and (build / "bench.json").exists():
        document = merged(json.loads((build / "bench.json").read_text()), document)
        results = document["results"]
    (build / "bench.json").write_text(json.dumps(document, indent=1))
    table = {case: {name: medians(runs) for name, runs in rows.items()} for case, rows in results.items()}
    print(judge.text(judge.verdicts(results)))
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    print(f"raw figures: {build / 'bench.json'}")
    if write is not None:
        report.write(document, table, write)
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0
