"""`make bench`: Whimbrel through its C ABI beside its peers, interleaved in one run; medians, spread and ratios.

    run.py BUILD-DIR [--write docs/performance.md]

Server on the first core, client on the last. Claims are ratios from one run: the machine's own speed cancels out.
By environment: WB_BENCH_ROUNDS, WB_BENCH_BULK (bytes), WB_BENCH_REQUESTS, WB_BENCH_HANDSHAKES, WB_BENCH_CONNECTIONS,
WB_BENCH_ACTIVE, WB_BENCH_IDLE_SECONDS; WB_BENCH_ONLY=word,word keeps the cases whose names have one of the words,
WB_BENCH_PEERS=word,word the peers; WB_BENCH_BUILD=0 builds no peers; WB_BENCH_MERGE=1 keeps the cases of build/bench.json that are
not played.
"""
import sys

from harness import main

sys.exit(main.main(sys.argv[1:]))
