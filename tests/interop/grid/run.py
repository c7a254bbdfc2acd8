"""The interop grid: the interop runner's cases against other implementations, over real sockets in network namespaces.

    run.py [--only TEXT]... [--jobs N] [--keep DIR] [--write docs/interop.md]

Every cell is a case with a peer in a role: two namespaces, a userspace link between them (tests/peers/link), one of our
programs and one of the peer's, and a verdict by the files that came and by what was on the wire (criteria.py). Prints
the grid; exit status 1 when a cell is not as expected. Needs root, for namespaces.
"""
import argparse
import concurrent.futures
import filecmp
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import cases
import chain
import criteria
import network
from cases import CASES, EXPECTED_FAILURES, LACKING, PEERS, ROLES

HERE = pathlib.Path(__file__).resolve().parent
ROOT = network.ROOT
CERTS = ROOT / "build" / "certs"
PEER_PROGRAMS = {
    "quinn": ROOT / "tests" / "peers" / "quinn" / "target" / "release" / "quinn_grid",
    "quiche": ROOT / "tests" / "peers" / "quiche" / "target" / "release" / "quiche-peer",
}
GTLS_CHACHA = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305"


def tool(name):
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        raise SystemExit(f"{name} is not installed: run `make setup`")
    return path


class Cell:
    """One run."""

    def __init__(self, case, peer, role, folder, serial):
        self.case, self.peer, self.role, self.folder, self.serial = case, peer, role, folder, serial
        self.alpn = cases.protocol(peer, case)
        self.www, self.out = folder / "www", folder / "out"
        self.names = cases.names(case)
        for f in (self.www, self.out):
            f.mkdir(parents=True)
        for i, (name, size) in enumerate(zip(self.names, case.files)):
            block = bytes((j * 7 + i * 13 + (j >> 8)) & 0xFF for j in range(min(size, 65536)))
            (self.www / name).write_bytes((block * (size // len(block) + 1))[:size])
        (folder / "paths").write_text("\n".join("/" + n for n in self.names) + "\n")
        self.keylog = folder / "keys.log"
        long = case.chain == "long"
        self.ca, self.certificate, self.key = (
            [folder.parent / n for n in ("long-ca.pem", "long.pem", "long-key.pem")]
            if long else [CERTS / n for n in ("ca.pem", "cert.pem", "key.pem")]
        )

    # ------------------------------------------------------------------ programs

    def common(self, side):
        argv = ["--case", self.case.kind, "--alpn", self.alpn]
        if side == "client":
            argv += ["--host", self.net.host, "--ca", self.ca, "--out", self.out, "--paths", self.folder / "paths"]
        else:
            argv += ["--bind", self.net.any, "--cert", self.certificate, "--key", self.key, "--www", self.www]
            if self.case.kind == "connectionmigration":
                argv += ["--preferred", self.net.preferred]
        return argv

    def starts_key_update(self, who):
        """The peer starts it where it can, else we do; the client where both could."""
        able = {"aioquic": True, "quinn": True, "ngtcp2": True, "quiche": False}[self.peer] and self.role == "client"
        return (who == "peer") == able

    def ours(self, side):
        argv = [sys.executable, HERE / "whimbrel_peer.py", side, *self.common(side), "--keylog", self.keylog]
        if side == "client":
            argv += ["--patience", self.case.limit - 5]
        return argv + (["--start"] if self.starts_key_update("us") else [])

    def theirs(self, side):
        if self.peer == "ngtcp2":
            return self.gtls_server() if side == "server" else None
        program = [sys.executable, HERE / "aioquic_peer.py"] if self.peer == "aioquic" else [PEER_PROGRAMS[self.peer]]
        argv = [*program, side, *self.common(side)]
        return argv + (["--start"] if self.starts_key_update("peer") else [])

    def gtls_server(self):
        argv = [tool("gtlsserver"), "-q", "-d", self.www, "--handshake-timeout=120s", "--timeout=180s"]
        argv += ["-V"] if self.case.name == "retry" else []
        if self.case.kind == "connectionmigration":
            argv.append(f"--preferred-ipv{6 if self.case.v6 else 4}-addr={self.net.preferred}")
        return [*argv, "*", 443, self.key, self.certificate]

    def gtls_clients(self):
        """gtlsclient makes one connection; some cases want several."""
        argv = [tool("gtlsclient"), "-q", "--exit-on-all-streams-close", f"--download={self.out}", "--handshake-timeout=120s", "--timeout=180s"]
        case = self.case.name
        kept = [f"--session-file={self.folder / 'session'}", f"--tp-file={self.folder / 'tp'}"]
        uris = [f"https://localhost/{n}" for n in self.names]
        if case == "chacha20":
            argv.append(f"--ciphers={GTLS_CHACHA}")
        if case == "keyupdate":
            argv.append("--key-update=200ms")
        if case == "clientmigration":
            argv.append("--change-local-addr=300ms")
        if case == "versionnegotiation":
            argv.append("--version=0x1a2a3a4a")
        if case in ("transfer", "blackhole"):
            argv += ["--max-data=128K", "--max-stream-data-bidi-local=64K"]
        if case == "resumption":
            argv.append("--disable-early-data")
        where = [self.net.host, 443]
        if case in ("multiconnect", "handshakeloss", "handshakecorruption"):
            return [[*argv, *where, uri] for uri in uris]
        if case in ("resumption", "zerortt"):
            return [[*argv, *kept, *where, uris[0]], [*argv, *kept, *where, *uris[1:]]]
        return [[*argv, *where, *uris]]

    # ------------------------------------------------------------------ run and verdict

    def run(self):
        began = time.monotonic()
        problems = []
        try:
            problems += self.play()
            problems += self.compare()
            problems += criteria.judge(self.case, self.folder, self.keylog, self.role == "client")
        except Exception:
            problems.append(traceback.format_exc(limit=-3))
        return problems, time.monotonic() - began

    def play(self):
        name = f"wb{os.getpid() % 100000:x}-{self.serial}"
        options = [*self.case.link]
        with network.Network(name, self.folder, options, self.serial + 1, self.case.v6) as self.net:
            server_is_ours = self.role == "client"
            argv = self.ours("server") if server_is_ours else self.theirs("server")
            server = self.net.start(self.net.server, "server", argv, network.environment())
            if not server_is_ours and self.peer == "ngtcp2":
                self.net.wait_for_socket("server", server)
            else:
                self.net.wait_for_text("server", server)
            if server_is_ours and self.peer == "ngtcp2":
                clients = self.gtls_clients()
            else:
                clients = [self.theirs("client") if server_is_ours else self.ours("client")]
            end = time.monotonic() + self.case.limit
            problems = []
            for number, argv in enumerate(clients):
                client = self.net.start(self.net.client, f"client{number}", argv, network.environment())
                try:
                    status = client.wait(max(end - time.monotonic(), 0.1))
                except subprocess.TimeoutExpired:
                    problems.append(f"client {number} was not done in {self.case.limit} s")
                    break
                # RFC 9000 section 6.2: who gets Version Negotiation may give up.
                if status != 0 and self.case.name != "versionnegotiation":
                    problems.append(f"client {number} ended with {status}: {self.net.log(f'client{number}')[-600:]}")
                    break
            if server.poll() is not None:
                problems.append(f"the server ended with {server.returncode}")
            self.net.stop(server)
            if "Traceback" in self.net.log("server") or "panicked" in self.net.log("server"):
                problems.append(f"the server failed: {self.net.log('server')[-600:]}")
            self.net.stop(self.net.link)
            return problems

    def compare(self):
        if self.case.name == "versionnegotiation":
            return []  # the connection may end there
        same, different, missing = filecmp.cmpfiles(self.www, self.out, self.names, shallow=False)
        return [f"{len(different)} files differ, {len(missing)} are missing"] if different or missing else []


def work(arguments):
    case, peer, role, base, serial, keep = arguments
    # Nothing here needs much memory: who does is wrong, and must not take the machine down.
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    folder = pathlib.Path(base) / f"{case.name}-{peer}-{role}"
    problems, seconds = Cell(case, peer, role, folder, serial).run()
    if not problems and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return case.name, peer, role, problems, seconds


def expected(cell):
    return EXPECTED_FAILURES.get(cell)


def verdict(cell, problems):
    """(text of the grid, is it as expected)."""
    known = expected(cell)
    if known is None:
        return ("fail", False) if problems else ("pass", True)
    symptom, _ = known
    if not problems:
        return "pass, a failure was expected", False
    return ("peer fails", True) if any(symptom in p for p in problems) else ("fails otherwise than expected", False)


def table(results):
    """The grid as a Markdown table: one column for each peer and role."""
    columns = [(p, r) for p in PEERS for r in ROLES]
    lines = ["| case | " + " | ".join(f"{p} {r}" for p, r in columns) + " |"]
    lines.append("| --- " * (len(columns) + 1) + "|")
    notes = []

    def note(text):
        if text not in notes:
            notes.append(text)
        return notes.index(text) + 1

    for case in CASES:
        row = []
        for p, r in columns:
            cell = (case.name, p, r)
            if cell in LACKING:
                lack = LACKING[cell]
                row.append(f"{'not run' if lack.startswith('not run') else 'lacks it'} ({note(lack)})")
            elif cell in results:
                text = results[cell]
                row.append(text + (f" ({note(EXPECTED_FAILURES[cell][1])})" if text == "peer fails" else ""))
            else:
                row.append("")
        lines.append(f"| {case.name} | " + " | ".join(row) + " |")
    return "\n".join(lines + [""] + [f"{i}. {text}." for i, text in enumerate(notes, 1)])


BEGIN, END = "<!-- grid: written by tests/interop/grid/run.py -->", "<!-- end of grid -->"


def write(path, text):
    """Puts the grid between its markers."""
    page = path.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def check_tools():
    """What is missing fails the run: nothing is skipped."""
    if os.geteuid() != 0:
        raise SystemExit("the grid makes network namespaces: it needs root")
    for name in ("ip", "gtlsclient", "gtlsserver"):
        tool(name)
    for path in (network.LINK, *PEER_PROGRAMS.values(), ROOT / "build" / "libwhimbrel.so", CERTS / "cert.pem"):
        if not path.exists():
            raise SystemExit(f"{path} is missing: run `make lib certs peers`")


def again(cell, base, serial, keep, results):
    """Six cells share two cores, and peers have timers of their own: what was not as expected is played up to twice
    more, alone and over a link with another seed. True when that is as expected; the table says which try it was."""
    return any(once_more(cell, base / f"try{n}", serial + n, keep, results, n) for n in (2, 3))


def once_more(cell, base, serial, keep, results, number):
    name, peer, role = cell
    case = next(c for c in CASES if c.name == name)
    base.mkdir(exist_ok=True)
    chain.write(base)
    _, _, _, problems, seconds = work((case, peer, role, str(base), serial, bool(keep)))
    text, fine = verdict(cell, problems)
    print(f"{text:10} {name:20} {peer:8} {role:7} {seconds:6.1f} s, try {number}", flush=True)
    for problem in problems if not fine else []:
        print("    " + problem.strip().replace("\n", "\n    "), flush=True)
    if fine:
        results[cell] = f"{text}, try {number}"
    return fine


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--only", action="append", default=[], help="CASE, PEER or CASE-PEER-ROLE")
    ap.add_argument("--jobs", type=int, default=6)
    ap.add_argument("--keep", help="folder for the files of every cell")
    ap.add_argument("--write", help="page to put the grid into")
    args = ap.parse_args()
    check_tools()
    base = pathlib.Path(args.keep or tempfile.mkdtemp(prefix="grid-"))
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    chain.write(base)
    wanted = []
    for case in CASES:
        for peer in PEERS:
            for role in ROLES:
                labels = {case.name, peer, f"{case.name}-{peer}", f"{case.name}-{peer}-{role}", f"{peer}-{role}"}
                if (case.name, peer, role) not in LACKING and (not args.only or labels & set(args.only)):
                    wanted.append((case, peer, role))
    # The longest first, so that the end is not one long cell alone.
    wanted.sort(key=lambda w: (-w[0].limit, -sum(w[0].files)))
    results, wrong, began = {}, [], time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(work, (*w, str(base), i, bool(args.keep))) for i, w in enumerate(wanted)]
        for job in concurrent.futures.as_completed(jobs):
            case, peer, role, problems, seconds = job.result()
            text, fine = verdict((case, peer, role), problems)
            results[case, peer, role] = text
            print(f"{text:10} {case:20} {peer:8} {role:7} {seconds:6.1f} s", flush=True)
            if not fine:
                wrong.append((case, peer, role))
            for problem in problems if not fine else problems[:1]:
                print("    " + problem.strip().replace("\n", "\n    "), flush=True)
    wrong = [cell for n, cell in enumerate(wrong) if not again(cell, base, len(wanted) + 3 * n, args.keep, results)]
    text = table(results)
    print(f"\n{text}\n\n{len(results)} cells, {len(wrong)} not as expected, {time.monotonic() - began:.0f} s")
    if args.write and not args.only:
        write(pathlib.Path(args.write), text)
    if not wrong and not args.keep:
        shutil.rmtree(base, ignore_errors=True)
    elif wrong:
        print(f"captures, keys and logs: {base}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
