"""The issue's table: what must be shown, what is aimed at, and what was seen, through callbacks and through the queue.

A ratio is the median of the ratios of the rounds. What is compared is played within seconds of each other in each round, while the
machine changes over minutes, often by half: of medians, the ratio says which of two machines the middle rounds met.
"""
import dataclasses
import statistics

from .cases import ONE, OURS, RAW

NOT_PEERS = (*OURS, *(f"{us}, {word}" for us in OURS for word in (RAW, ONE)), "pipe")

DOWN, DOWN100 = "download, 1 stream", "download, 100 streams"
UP, UP100 = "upload, 1 stream", "upload, 100 streams"
HTTP, LARGE = "HTTP/3 download, 1 stream", "8952-byte datagrams, 1 stream"
FULL, RAW100, RAW1 = "full handshakes, 20 at a time", "raw requests, 100 in flight", "raw requests, 1 in flight"
HTTP100, IDLE = "HTTP/3 requests, 100 in flight", "idle connections"
PACED, PYTHON_BULK, PYTHON_REQUESTS = "paced 200 Mbit/s, 20 ms", "Python bulk", "Python requests"
BOTH = "both s/GB"


@dataclasses.dataclass(frozen=True)
class Row:
    figure: str
    must: float
    aim: float
    #: The value, from the rounds of all cases and the name of our column.
    seen: callable
    #: Whether more is better.
    more: bool = False


class Missing(Exception):
    """A figure that the run did not bring."""


def rounds(results, case, name, figure):
    """What each round brought."""
    values = [run[figure] for run in results.get(case, {}).get(name, []) if figure in run]
    if not values:
        raise Missing(f"{case}: no {figure} of {name}")
    return values


def own(results, case, us, figure):
    return statistics.median(rounds(results, case, us, figure))


def ratio(ours, theirs):
    """Of rounds where they are paired, else of medians: a round that failed left no figure, nor where it was."""
    pairs = list(zip(ours, theirs)) if len(ours) == len(theirs) else [(statistics.median(ours), statistics.median(theirs))]
    ratios = [a / b for a, b in pairs if b > 0]
    if not ratios:
        raise Missing("nothing to compare with: the other figure is 0")
    return statistics.median(ratios)


def over_best(case, figure, more=False):
    """Over whichever peer comes closest."""

    def value(results, us):
        mine = rounds(results, case, us, figure)
        peers = [name for name, runs in results[case].items() if name not in NOT_PEERS and any(figure in run for run in runs)]
        ratios = [ratio(mine, rounds(results, case, name, figure)) for name in peers]
        if not ratios:
            raise Missing(f"{case}: no peer")
        return min(ratios) if more else max(ratios)

    return value


def over_own(case, figure, base):
    """Over another column of the case."""
    return lambda results, us: ratio(rounds(results, case, us, figure), rounds(results, case, base.format(us), figure))


def connections(results):
    """The numbers of connections in the growth case: few and full."""
    keys = [key for runs in results.get(IDLE, {}).values() for run in runs for key in run if key.startswith("kB each at ")]
    numbers = sorted({int(key.rsplit(" ", 1)[1]) for key in keys})
    if len(numbers) != 2:
        raise Missing("no growth of connections")
    return numbers


def idle(word):
    return lambda results, us: own(results, IDLE, us, f"{word} {connections(results)[1]}")


def growth(word):
    def value(results, us):
        few, full = (rounds(results, IDLE, us, f"{word} {count}") for count in connections(results))
        return ratio(full, few)

    return value


def active(results, us):
    case = next((name for name in results if name.endswith("active connections")), "active connections")
    return over_own(case, "Gbit/s", f"{{}}, {ONE}")(results, us)


ROWS = [
    Row("bulk, 1 stream: CPU of both ends over the pipe's", 1.6, 1.3, over_own(DOWN, BOTH, "pipe")),
    Row("bulk, 1 stream: CPU over the best peer's", 0.63, 0.55, over_best(DOWN, BOTH)),
    Row("bulk, 1 stream: throughput over the best peer's", 1.5, 1.8, over_best(DOWN, "Gbit/s", True), True),
    Row("bulk over HTTP/3: CPU over own raw QUIC", 1.05, 1.02, over_own(HTTP, BOTH, f"{{}}, {RAW}")),
    Row("download, 100 streams: CPU over own 1 stream", 1.10, 1.03, over_own(DOWN100, BOTH, f"{{}}, {ONE}")),
    Row("upload, 1 stream: CPU over own download", 1.10, 1.03, over_own(UP, BOTH, f"{{}}, {ONE}")),
    Row("upload, 100 streams: CPU over own 1-stream download", 1.10, 1.03, over_own(UP100, BOTH, f"{{}}, {ONE}")),
    Row("8952-byte datagrams: CPU over the best peer's", 0.82, 0.74, over_best(LARGE, BOTH)),
    Row("full handshake: server CPU over the best peer's", 0.8, 0.7, over_best(FULL, "server us")),
    Row("raw requests, 100 in flight: rate over the best peer's", 1.25, 1.6, over_best(RAW100, "per s", True), True),
    Row("HTTP/3 requests: server CPU over the best peer's", 0.76, 0.55, over_best(HTTP100, "server us")),
    Row("raw requests, 100 in flight: 99th percentile over the best", 0.8, 0.6, over_best(RAW100, "p99 us")),
    Row("raw requests, 100 in flight: 99.9th percentile over the best", 0.8, 0.6, over_best(RAW100, "p99.9 us")),
    Row("raw requests, 1 in flight: 99th percentile over the best", 0.8, 0.6, over_best(RAW1, "p99 us")),
    Row("raw requests, 1 in flight: 99.9th percentile over the best", 0.8, 0.6, over_best(RAW1, "p99.9 us")),
    Row("server memory per idle connection, kB", 8, 5, idle("kB each at")),
    Row("memory per connection, full over a tenth", 1.0, 1.0, growth("kB each at")),
    Row("handshake CPU, full over a tenth", 1.1, 1.1, growth("handshake us at")),
    Row("idle CPU with all connections, %", 0.05, 0.05, idle("idle CPU % at")),
    Row("active connections together: throughput over one's", 0.7, 0.85, active, True),
    Row("paced: sender CPU over the best peer's", 0.9, 0.6, over_best(PACED, "server s/GB")),
    Row("paced: client CPU over the best peer's", 0.75, 0.5, over_best(PACED, "client s/GB")),
    Row("Python bulk: bytes over aioquic's", 20, 40, over_best(PYTHON_BULK, "Gbit/s", True), True),
    Row("Python requests: rate over aioquic's", 13, 25, over_best(PYTHON_REQUESTS, "per s", True), True),
]


def met(row, value) -> str:
    reaches = lambda goal: value >= goal if row.more else value <= goal  # noqa: E731
    return "aim" if reaches(row.aim) else "yes" if reaches(row.must) else "no"


def verdicts(results) -> list:
    """For each row of the issue: (figure, must, aim, value and verdict through callbacks, the same through the queue)."""
    lines = []
    for row in ROWS:
        cells = []
        for us in OURS:
            try:
                value = row.seen(results, us)
                cells.append((value, met(row, value)))
            except Missing as e:
                cells.append((None, str(e)))
        word = "at least" if row.more else "at most"
        lines.append((row.figure, f"{word} {row.must:g}", f"{row.aim:g}", *cells))
    return lines


def cell(value, verdict) -> str:
    return "–" if value is None else f"{value:.3g} ({verdict})"


def text(lines) -> str:
    seen = [line for line in lines if line[3][0] is not None or line[4][0] is not None]
    if not seen:
        return ""
    out = ["", f"{'what it must show':62} {'must':>14} {'aim':>6}  {'callbacks':>14} {'queue':>14}"]
    out += [f"{figure:62} {must:>14} {aim:>6}  {cell(*a):>14} {cell(*b):>14}" for figure, must, aim, a, b in seen]
    return "\n".join(out)
