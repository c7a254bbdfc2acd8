#!/usr/bin/env python3
"""Seeded bugs: each patch beside this file plants one small, plausible bug, and the test that must find it is run on it.

    tests/seeded/run.py            all of them, in a copy of the tree
    tests/seeded/run.py --apply    only whether every patch still applies
    tests/seeded/run.py --quick    that, and those that loom finds: what compiles in seconds
    tests/seeded/run.py 03 11      those whose names begin so

Prints a table: bug, caught by, seconds. Fails when a patch does not apply or compile, when its bug is not found, or when the test
fails for another reason than the bug: what it must say is named below. The copy has target folders of
its own: cargo would take the tests' own builds and the copy's for each other. They begin as copies of those, where there are any,
so that only what a patch touches is compiled.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TREE = ROOT / "target/seeded/tree"
LIMIT = 300

# How a kind of test is built and run; the last word of both is the test's name.
MODELS = ["cargo", "test", "--locked", "--manifest-path", "tests/models/Cargo.toml", "--target-dir", "target/models"]
KINDS = {
    "loom": ([*MODELS, "-p", "whimbrel-loom"], []),
    "shuttle": ([*MODELS, "--test", "all"], []),
    "reaper": (["tests/sanitize.sh", "address", "400"], None),
    "misuse": (["cargo", "test", "--locked", "--test", "misuse"], []),
}

# Patch, kind of test, test, what it says.
BUGS = [
    ("01-generation-unchecked", "loom", "a_stale_handle_never_reaches_a_new_object", "old handle reached Some"),
    ("02-pin-not-atomic", "loom", "look_up_against_release", "panicked"),
    ("03-object-dropped-twice", "loom", "look_up_against_release", "panicked"),
    ("04-retain-after-the-last-release", "loom", "retain_against_release", "panicked"),
    ("05-wrong-ordering", "loom", "a_handle_brings_its_object_along", "panicked"),
    ("06-look-then-pin", "loom", "nobody_reads_after_revoke", "panicked"),
    ("07-revoke-does-not-wait", "loom", "nobody_reads_after_revoke", "panicked"),
    ("08-copy-after-revoke", "loom", "a_kept_copy_is_whole", "a copy was promised"),
    ("09-reference-uncounted-by-revoke", "shuttle", "what_a_send_took", "panicked at tests/all/buffers.rs"),
    ("10-sender-keeps-silent-after-revoke", "shuttle", "no_packet_is_sealed", "no stream arrived"),
    ("11-callback-slips-through-mute", "shuttle", "the_gate_shuts", "after mute has returned|did not wait for a callback"),
    ("12-mute-sleeps-for-ever", "shuttle", "the_gate_shuts", "deadlock"),
    ("13-wake-lost", "shuttle", "a_taker_is_woken", "max_steps|exceeded|deadlock"),
    ("14-second-writable-swallowed", "shuttle", "would_block_is_followed", "max_steps|exceeded|deadlock"),
    ("15-closed-before-the-last-events", "shuttle", "one_closed_after", "after its connection's CLOSED"),
    ("16-event-outlives-its-connection", "reaper", "", "AddressSanitizer"),
    ("17-kind-unchecked", "loom", "kinds_are_told_apart", "passed as a"),
    ("18-fork-told-as-forgery", "misuse", "", "panicked at tests/misuse"),
    ("19-released-before-the-copy", "reaper", "", "AddressSanitizer"),
    ("20-look-up-uncounted", "reaper", "", "AddressSanitizer"),
    ("21-forgery-told-as-stale", "misuse", "", "panicked at tests/misuse"),
    ("22-mute-out-of-time", "shuttle", "the_gate_shuts", "panicked at .*inside.rs"),
]


def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [f for f in listed.stdout.splitlines() if (ROOT / f).is_file() and not f.startswith(("shared/", "tests/seeded/"))]


def refresh(names: list[str]) -> None:
    """Makes the copy like the tree. What is alike keeps its time, so that it is not compiled again."""
    for name in names:
        new, old = ROOT / name, TREE / name
        if not old.is_file() or new.read_bytes() != old.read_bytes():
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(new, old)
            shutil.copymode(new, old)


def begin_with(built: pathlib.Path, ours: pathlib.Path) -> None:
    """Dependencies need not be compiled again; times are kept, which cargo goes by."""
    if built.is_dir() and not ours.exists():
        ours.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(built), str(ours)], check=True)


def apply(patch: str, *flags: str) -> None:
    done = subprocess.run(["git", "apply", *flags, str(HERE / f"{patch}.patch")], cwd=TREE, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"seeded: {patch} does not apply: renew it\n{done.stderr}")


def run(command: list[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT,
                              env={**os.environ, "RUST_BACKTRACE": "0"})
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode(errors="replace") + "\nseeded: no end in time\n"


def main() -> None:
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")]
    known = {b[0] for b in BUGS}
    present = {p.stem for p in HERE.glob("*.patch")}
    if known != present:
        sys.exit(f"seeded: table and patches differ: {sorted(known ^ present)}")
    names = files()
    TREE.mkdir(parents=True, exist_ok=True)
    # A folder of its own for git, so that it takes the copy's paths as they are.
    subprocess.run(["git", "init", "-q"], cwd=TREE, check=True)
    kinds = {b[1] for b in BUGS if not wanted or b[0].startswith(tuple(wanted))}
    kinds &= {"loom"} if "--quick" in sys.argv else set(KINDS)
    for kind in set() if "--apply" in sys.argv else kinds:
        folder = {"reaper": "address", "misuse": "debug"}.get(kind, "models")
        begin_with(ROOT / "target" / folder, TREE / "target" / folder)
    refresh(names)
    for patch in sorted(known):
        apply(patch, "--check")
    if "--apply" in sys.argv:
        print(f"{len(known)} patches apply")
        return
    missed, rows = [], []
    for patch, kind, test, says in BUGS:
        if "--quick" in sys.argv and kind != "loom":
            continue
        if wanted and not patch.startswith(tuple(wanted)):
            continue
        begun = time.time()
        refresh(names)
        apply(patch)
        command, after = KINDS[kind]
        if after is not None:
            code, text = run([*command, "--no-run"])
            if code != 0:
                sys.exit(f"seeded: {patch} does not compile\n{text}")
            command = [*command, "--", test]
        code, text = run(command)
        caught = code != 0 and re.search(says, text) is not None
        rows.append((patch, f"{kind} {test}".strip() if caught else "NOBODY", time.time() - begun))
        print(f"{rows[-1][0]:<38} {rows[-1][1]:<58} {rows[-1][2]:5.0f} s", flush=True)
        if not caught:
            missed.append(patch)
            print("\n".join(line[:200] for line in text.splitlines()[-30:]), flush=True)
    refresh(names)
    total = sum(r[2] for r in rows)
    print(f"{len(rows) - len(missed)} passed, {len(missed)} failed")
    print(f"seeded bugs caught: {len(rows) - len(missed)} of {len(rows)} in {total:.0f} s")
    if missed:
        sys.exit(1)


main()
