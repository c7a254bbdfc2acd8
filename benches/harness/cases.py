"""What is measured: each case makes one run of one peer into a few figures."""
import dataclasses
import os
import time

from . import link, processes
from .peers import FULL, GROW, MANY, MOVE, NATIVE, PYTHON, REQUESTS, RESUMED, UPLOAD


def number(name: str, default: int) -> int:
    return int(os.environ.get(f"WB_BENCH_{name}", str(default)))


BULK = number("BULK", 1 << 29)
COUNT = number("REQUESTS", 300_000)
#: Times as many where a hundred are in flight on the fastest: whatever interrupts a program delays all of them, and a thousandth
#: of `COUNT` would be three interruptions.
LONG = 3
HANDSHAKES = number("HANDSHAKES", 1000)
CONNECTIONS = number("CONNECTIONS", 10_000)
ACTIVE = number("ACTIVE", 1000)
IDLE_SECONDS = number("IDLE_SECONDS", 5)
LARGE = 8952
PACED = number("PACED", 60_000_000)
#: Whimbrel's modes.
OURS = ("whimbrel", "whimbrel, queue")
#: Runs of our own programs per round where they are compared with each other.
OWN_RUNS = 3
#: Columns that our own figures are compared with: streams without HTTP/3, and a download by one stream.
RAW, ONE = "raw", "1 stream down"


@dataclasses.dataclass(frozen=True)
class Case:
    """`need` is what a peer must be able to do; `words` the client's work."""

    name: str
    need: str
    words: tuple
    figures: callable
    http: bool = False
    payload: int = 1472
    #: What our own figures are compared with, played in the same round: a word for its column, and what is different.
    beside: tuple = ()
    rounds: int = 1000
    family: str = NATIVE
    #: Over the link instead of loopback.
    paced: bool = False

    def contenders(self, peers):
        """A column's name, the peer and the case that it plays, in the order of a round. Two figures of our own lie closer
        together than two runs of one: where they are compared they alternate, several times in a round."""
        ours, theirs = [], []
        for peer in peers:
            if peer.family != self.family or peer.payload < self.payload or not peer.works(self.need, self.http):
                continue
            own = self.beside and peer.name in OURS
            (ours if own else theirs).append((peer.name, peer, self))
            if own:
                word, changes = self.beside
                ours.append((f"{peer.name}, {word}", peer, dataclasses.replace(self, **changes)))
        return ours * OWN_RUNS + theirs


def commands(case, peer, build):
    port = processes.free_port()
    flags = ["--payload", case.payload, *(["--h3"] if case.http else [])]
    return [peer.command(build, port, words, flags) for words in (["server"], case.words)]


def once(case, peer, build, name) -> dict:
    """One run of a case that has a single measured turn."""
    server, client = commands(case, peer, build)
    with processes.pair(server, client, name) as (s, c):
        return case.figures(case, processes.measured(s, c))


def bulk(case, m) -> dict:
    gb = (case.words[1] + case.words[2]) / 1e9
    server, client = m["server"] / gb, m["client"] / gb
    return {"Gbit/s": gb * 8 / m["wall"], "server s/GB": server, "client s/GB": client, "both s/GB": server + client}


def operations(case, m) -> dict:
    count = case.words[1]
    if case.need == RESUMED and m.get("resumed", count) < 0.85 * count:
        raise processes.BenchError(f"only {m['resumed']} of {count} handshakes resumed a session")
    return {
        "per s": count / m["wall"],
        "server us": m["server"] / count * 1e6,
        "client us": m["client"] / count * 1e6,
        "p50 us": m["p50"],
        "p99 us": m["p99"],
        "p99.9 us": m["p999"],
    }


#: What a sample of handshakes is cut into.
SLICES = 10


def growth_steps():
    """First connections, a tenth, the full number less a sample of 500 handshakes, and that sample in slices."""
    few, sample = CONNECTIONS // 10, min(500, CONNECTIONS // 20)
    slices = min(SLICES, sample)
    before = CONNECTIONS - sample
    return (1, few, before, *(before + sample * (i + 1) // slices for i in range(slices)))


def idle_figures(server, have, empty) -> dict:
    """Memory per connection and idle CPU of a server whose connections fell quiet."""
    time.sleep(1)
    held = processes.resident(server.pid) - empty
    idle = processes.cpu_seconds(server.pid)
    time.sleep(IDLE_SECONDS)
    idle = processes.cpu_seconds(server.pid) - idle
    memory = {f"kB each at {have}": held / have / 1000} if have > 1 else {}
    return memory | {f"idle CPU % at {have}": idle / IDLE_SECONDS * 100}


def grow(case, peer, build, name) -> dict:
    """Memory, idle CPU and the cost of one more handshake as connections grow. The handshakes at a tenth and at the full
    number are compared with each other, a tenth of a second each: so a second server stays at a tenth, and both take
    theirs slice by slice in turn. With the samples ten seconds apart the ratio of one run was anything from 0.9 to 1.5
    on a build whose paired ratio does not move."""
    first, few, before, *slices = case.words[1:]
    full = slices[-1]
    apart = dataclasses.replace(case, words=("grow", few, *(step - before + few for step in slices)))
    pair = lambda case: processes.pair(*commands(case, peer, build), name)  # noqa: E731
    figures = {}
    with pair(case) as (s, c), pair(apart) as (few_s, few_c):
        empty = processes.resident(s.pid)
        for step in (first, few):
            processes.measured(s, c)
            figures |= idle_figures(s, step, empty)
        processes.measured(s, c)
        processes.measured(few_s, few_c)
        # What connections do as they fall quiet belongs to no handshake of others.
        time.sleep(1 + IDLE_SECONDS)
        used = {few: 0, full: 0}
        turns = [(few, few_s, few_c), (full, s, c)]
        for _ in slices:
            for at, server, client in turns:
                used[at] += processes.measured(server, client)["server"]
            turns.reverse()
        for at, seconds in used.items():
            figures[f"handshake us at {at}"] = seconds / (full - before) * 1e6
        figures |= idle_figures(s, full, empty)
    return figures


def run(case, peer, build, name) -> dict:
    if peer.runner is not None:
        return peer.runner(case, build, name)
    if case.paced:
        return link.run(case, peer, build, name)
    return (grow if case.need == GROW else once)(case, peer, build, name)


def all_cases() -> list:
    down = lambda streams, conns=1: ("move", 0, BULK, streams, conns)  # noqa: E731
    up = lambda streams: ("move", BULK, 8 * streams, streams, 1)  # noqa: E731
    one = (ONE, {"words": down(1)})
    return [
        Case("download, 1 stream", MOVE, down(1), bulk),
        Case("download, 100 streams", UPLOAD, down(100), bulk, beside=one),
        Case("upload, 1 stream", UPLOAD, up(1), bulk, beside=one),
        Case("upload, 100 streams", UPLOAD, up(100), bulk, beside=one),
        Case("HTTP/3 download, 1 stream", MOVE, down(1), bulk, http=True, beside=(RAW, {"http": False})),
        Case("8952-byte datagrams, 1 stream", MOVE, down(1), bulk, payload=LARGE),
        Case("full handshakes, 20 at a time", FULL, ("handshakes", HANDSHAKES, "full", 20), operations),
        Case("resumed handshakes with a request, 4 at a time", RESUMED, ("handshakes", HANDSHAKES, "resumed", 4), operations),
        Case("raw requests, 100 in flight", REQUESTS, ("requests", COUNT * LONG, 1024, 100), operations),
        Case("raw requests, 1 in flight", REQUESTS, ("requests", COUNT // 10, 1024, 1), operations),
        Case("HTTP/3 requests, 100 in flight", REQUESTS, ("requests", COUNT, 1024, 100), operations, http=True),
        # A mebibyte each: with less the case is about slow start alone.
        Case(f"{ACTIVE} active connections", MANY, ("move", 0, ACTIVE << 20, 1, ACTIVE), bulk, beside=one),
        Case("paced 200 Mbit/s, 20 ms", MANY, ("move", 0, PACED, 1, 1), bulk, paced=True),
        Case("Python bulk", MOVE, ("move", 0, BULK // 8, 1, 1), bulk, http=True, family=PYTHON),
        Case("Python requests", REQUESTS, ("requests", COUNT // 10, 1024, 100), operations, http=True, family=PYTHON),
        Case("idle connections", GROW, ("grow", *growth_steps()), None, rounds=number("GROWTHS", 3)),
    ]
