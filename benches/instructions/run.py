#!/usr/bin/env python3
"""Instructions per packet, request, handshake or idle second in virtual time, against a committed baseline.

    run.py FOLDER [CASE ...]     FOLDER holds `cases` (built from cases.c), `libwhimbrel.so` and `certs`
    WB_BLESS=1 run.py FOLDER     writes the baseline anew

Each case runs under callgrind once per end. What counts is the library's own work: instructions in ring are left out,
because ring picks its code by the processor, and it is not ours to change. A row that costs 3 % more than the baseline
fails; one that costs 3 % less is told, so that the gain is kept by a new baseline.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.txt"
TOLERANCE = 0.03
CASES = {
    "download": "packet",
    "upload": "packet",
    "streams": "packet",
    "h3-download": "packet",
    "small": "request",
    "small-queue": "request",
    "h3-small": "request",
    "handshakes": "handshake",
    "resumed": "handshake",
    "idle": "keep-alive",
}
# ring's assembly, C and Rust halves.
NOT_OURS = re.compile(r"ring_core_|^<?&?ring::|ecp_nistz256|table_select|^_?(aes|gcm|ghash|sha\d+|x25519|p256|bn_|fe_|ge_|LIMBS)")
# Copies in plain loops: `rep movsb` would count one for every byte.
COPIES = "glibc.cpu.hwcaps=-ERMS,-FSRM"


def own_instructions(path):
    """Self costs of every function but ring's, from a callgrind file."""
    names, costs, current, skip = {}, {}, None, False
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("fn="):
            number, _, name = line[3:].partition(" ")
            if name:
                names[number] = name
            current, skip = names[number], False
        elif line.startswith("cfn="):
            number, _, name = line[4:].partition(" ")
            if name:
                names[number] = name
        elif line.startswith("calls="):
            skip = True  # the next line is the callee's cost
        elif line[:1] in "+-*0123456789" and line:
            if not skip:
                costs[current] = costs.get(current, 0) + int(line.split()[1])
            skip = False
    return {name: cost for name, cost in costs.items() if not NOT_OURS.search(name)}


def measure(folder, case, end):
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "callgrind"
        command = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}", "--compress-pos=no",
                   f"--toggle-collect=measured_{end}", str(folder / "cases"), str(folder / "certs"), case]
        environment = dict(os.environ, GLIBC_TUNABLES=COPIES)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        costs = own_instructions(out)
    units = int(done.stdout.split()[0])
    if "-v" in sys.argv:
        print(f"\n{case} {end}: {done.stdout.strip()}")
        for name, cost in sorted(costs.items(), key=lambda c: -c[1])[:60]:
            print(f"  {cost / units:9.1f}  {name[:150]}")
    return sum(costs.values()) / units


def compiler():
    return subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip() or "rustc is not here"


def main():
    arguments = [a for a in sys.argv[1:] if a != "-v"]
    folder = Path(arguments[0]).resolve()
    chosen = arguments[1:] or list(CASES)
    rows = [(case, end) for case in chosen for end in ("server", "client")]
    with concurrent.futures.ThreadPoolExecutor(1 if "-v" in sys.argv else os.cpu_count()) as pool:
        figures = dict(zip(rows, pool.map(lambda row: measure(folder, *row), rows)))
    if os.environ.get("WB_BLESS"):
        text = "# Instructions outside ring, by benches/instructions/run.py; renew with WB_BLESS=1 make instructions.\n"
        text += f"# {compiler()}\n"
        for (case, end), figure in figures.items():
            text += f"{case} {end} {figure:.0f} per {CASES[case]}\n"
        BASELINE.write_text(text)
    lines = [line.split() for line in BASELINE.read_text().splitlines() if not line.startswith("#")]
    baseline = {(line[0], line[1]): float(line[2]) for line in lines}
    worse = 0
    for (case, end), figure in figures.items():
        before = baseline.get((case, end))
        if before is None:
            print(f"{case} {end}: no baseline; run: WB_BLESS=1 make instructions")
            worse += 1
            continue
        ratio = figure / before
        print(f"{case:12} {end}  {figure:9.0f} per {CASES[case]}, baseline {before:9.0f}, {ratio - 1:+.1%}")
        if ratio >= 1 + TOLERANCE:
            print(f"FAILED: {case} {end} costs {figure:.0f} instructions per {CASES[case]}, {before:.0f} in {BASELINE.name} "
                  f"({ratio - 1:+.1%}). If it is meant: WB_BLESS=1 make instructions", file=sys.stderr)
            worse += 1
        elif ratio <= 1 - TOLERANCE:
            print("  better than the baseline: keep it with WB_BLESS=1 make instructions")
    if worse and f"# {compiler()}" not in BASELINE.read_text():
        print(f"The baseline is another compiler's, this is {compiler()}.", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
