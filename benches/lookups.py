#!/usr/bin/env python3
"""Share of handle look-ups in the CPU time of a program that uses the C ABI (benches/lookups.c).

    benches/lookups.py build            perf: samples of the whole process, the kernel included
    benches/lookups.py build callgrind  instructions in user space only, a stricter figure

Look-ups are inlined into the functions of the C ABI. So an address counts as a look-up when anything on its chain of inlined
functions (addr2line -i) is in src/ffi/handle.rs: finding, pinning and letting go, retain, release, insert.
"""
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = {"bulk": {"perf": 4 << 30, "callgrind": 64 << 20}, "pingpong": {"perf": 100_000, "callgrind": 3_000}}
LIBS = ["-lpthread", "-ldl", "-lm", "-lgcc_s", "-lutil", "-lrt"]


def build(folder: pathlib.Path) -> pathlib.Path:
    """At fixed addresses, with the library inside, so that a sampled address is one of the file's."""
    program = folder / "lookups"
    library = ROOT / "target/release/libwhimbrel.a"
    subprocess.run(["cc", "-O2", "-g", "-no-pie", f"-I{ROOT}/include", "-o", program, ROOT / "benches/lookups.c", library, *LIBS],
                   check=True)
    return program


def by_perf(command: list[str]) -> tuple[collections.Counter, int]:
    """Samples by address in the program, and samples elsewhere (kernel, libc)."""
    with tempfile.TemporaryDirectory() as tmp:
        data = f"{tmp}/perf.data"
        subprocess.run(["perf", "record", "-q", "-F", "1999", "-e", "cpu-clock", "-o", data, "--", *command], check=True)
        text = subprocess.run(["perf", "script", "-i", data, "-F", "ip,dso"], check=True, capture_output=True, text=True).stdout
    here, elsewhere = collections.Counter(), 0
    for line in text.splitlines():
        found = re.match(r"\s*([0-9a-f]+) \((.*)\)", line)
        if found and found.group(2) == command[0]:
            here[int(found.group(1), 16)] += 1
        else:
            elsewhere += 1
    return here, elsewhere


def by_callgrind(command: list[str]) -> tuple[collections.Counter, int]:
    """Instructions by address in the program, and instructions elsewhere (libc, loader)."""
    with tempfile.TemporaryDirectory() as tmp:
        out = f"{tmp}/out"
        subprocess.run(["valgrind", "-q", "--tool=callgrind", "--dump-instr=yes", "--compress-pos=no", "--compress-strings=no",
                        f"--callgrind-out-file={out}", *command], check=True, stdout=subprocess.DEVNULL)
        lines = pathlib.Path(out).read_text().splitlines()
    here, elsewhere, inside, call = collections.Counter(), 0, False, False
    for line in lines:
        if line.startswith("ob="):
            inside = line[3:] == command[0]
        elif line.startswith("calls="):
            call = True  # the next line has what the call cost inside, which is counted there
        elif line.startswith("0x"):
            address, _, *cost = line.split()
            if not call:
                n = int(cost[0]) if cost else 0
                if inside:
                    here[int(address, 16)] += n
                else:
                    elsewhere += n
            call = False
    return here, elsewhere


def look_ups(program: pathlib.Path, addresses: list[int]) -> set[int]:
    """Those that belong to the handle table."""
    asked = "".join(f"{a:#x}\n" for a in addresses)
    text = subprocess.run(["addr2line", "-a", "-i", "-e", program], input=asked, check=True, capture_output=True, text=True).stdout
    found, current = set(), 0
    for line in text.splitlines():
        if line.startswith("0x"):
            current = int(line, 16)
        elif "src/ffi/handle.rs" in line:
            found.add(current)
    return found


def main() -> None:
    folder = pathlib.Path(sys.argv[1]).resolve()
    how = sys.argv[2] if len(sys.argv) > 2 else "perf"
    program = build(folder)
    for name, sizes in RUNS.items():
        command = [str(program), str(folder / "certs"), name, str(sizes[how])]
        here, elsewhere = by_perf(command) if how == "perf" else by_callgrind(command)
        total = sum(here.values()) + elsewhere
        handles = look_ups(program, list(here))
        share = sum(here[a] for a in handles) / total
        unit = "samples" if how == "perf" else "instructions"
        print(f"{name}: look-ups {share:.2%} of {total} {unit} ({sum(here.values()) / total:.0%} of them in the library and the program)")


main()
