"""The bench's command line and workload for Python peers; the words are those of benches/peers/core."""
import argparse
import asyncio
import json
import sys
import time

BLOCK = bytes(1 << 20)


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--port", type=int, required=True)
    ap.add_argument("--certs", required=True)
    ap.add_argument("--payload", type=int)
    ap.add_argument("--h3", action="store_true", required=True)
    ap.add_argument("work", nargs="+")
    return ap.parse_args()


def size_of(path: str) -> int:
    return int(path.lstrip("/"))


def turn(line: str) -> None:
    print(line, flush=True)
    sys.stdin.readline()


async def drive(words, fetch) -> None:
    """`fetch(size)` asks for that many bytes and returns how many came."""

    async def one(size):
        got = await fetch(size)
        if got != size:
            raise SystemExit(f"{got} bytes instead of {size}")

    await one(1)
    turn("ready")
    times = []
    start = time.perf_counter()
    if words[0] == "move":
        await one(int(words[2]))
    else:
        count, size, together = map(int, words[1:4])
        left = iter(range(count))

        async def lane():
            for _ in left:
                begin = time.perf_counter()
                await one(size)
                times.append(time.perf_counter() - begin)

        await asyncio.gather(*(lane() for _ in range(together)))
    wall = time.perf_counter() - start
    times.sort()
    at = lambda p: times[min(int(len(times) * p), len(times) - 1)] * 1e6 if times else 0  # noqa: E731
    turn(json.dumps({"wall": wall, "p50": at(0.5), "p99": at(0.99), "p999": at(0.999)}))
