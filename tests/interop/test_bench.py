"""The bench's harness works: Whimbrel and the pipe through a few cases of tiny sizes, judged on form and not on speed."""
import json
import subprocess
import sys

from conftest import BUILD, CERTS, ROOT, environment

BENCHES = ROOT / "benches"
TINY = {
    "WB_BENCH_ROUNDS": "1",
    "WB_BENCH_BULK": "4000000",
    "WB_BENCH_REQUESTS": "1000",
    "WB_BENCH_HANDSHAKES": "40",
    "WB_BENCH_CONNECTIONS": "40",
    "WB_BENCH_ACTIVE": "10",
    "WB_BENCH_PACED": "1000000",
    "WB_BENCH_IDLE_SECONDS": "1",
    "WB_BENCH_BUILD": "0",
    "WB_BENCH_PEERS": "pipe,whimbrel",
}
OURS = ("whimbrel", "whimbrel, queue")
sys.path.insert(0, str(BENCHES))


def play(out, **more) -> subprocess.CompletedProcess:
    argv = [sys.executable, str(BENCHES / "run.py"), str(out)]
    return subprocess.run(argv, env={**environment(), **TINY, **more}, capture_output=True, text=True, timeout=300)


def test_every_case_runs_and_is_judged(tmp_path):
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--quiet", "-p", "pipe-bench"], cwd=BENCHES / "peers", check=True, timeout=600
    )
    (tmp_path / "certs").symlink_to(CERTS)
    (tmp_path / "wb_bench").symlink_to(BUILD / "wb_bench")
    done = play(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads((tmp_path / "bench.json").read_text())
    assert seen["failures"] == [] and seen["missing"] == {}
    for case, rows in seen["results"].items():
        assert set(OURS if "Python" not in case else OURS[:1]) <= set(rows), case
        for name, runs in rows.items():
            # Where two figures of our own are compared, both are played several times.
            compared = any(other.startswith("whimbrel, ") and other not in OURS for other in rows)
            assert len(runs) == (3 if compared and name.startswith("whimbrel") else 1), (case, name)
            assert all(value >= 0 for value in runs[0].values()), (case, name, runs)
    assert len(seen["results"]) == 16
    assert "pipe" in seen["results"]["download, 1 stream"]
    assert "CPU of both ends over the pipe's" in done.stdout


def test_a_run_that_fails_is_said_in_one_line(tmp_path):
    (tmp_path / "certs").mkdir()
    (tmp_path / "wb_bench").symlink_to(BUILD / "wb_bench")
    done = play(tmp_path, WB_BENCH_PEERS="whimbrel", WB_BENCH_ONLY="download, 1 stream")
    assert done.returncode == 1
    assert any(line.startswith("FAILED download, 1 stream: whimbrel server: ended with 1:") for line in done.stderr.splitlines())
    assert json.loads((tmp_path / "bench.json").read_text())["failures"]


def test_a_ratio_is_that_of_rounds_and_the_best_peer_is_the_one_that_comes_closest():
    from harness import judge

    def runs(*rates):
        return [{"per s": rate} for rate in rates]

    # The machine was slow in most of our rounds and in few of theirs, but each round has its own ratio.
    results = {judge.RAW100: {
        "whimbrel": runs(150, 150, 150, 300, 300), "near": runs(100, 100, 100, 200, 200), "far": runs(50, 50, 50, 90, 300),
        "pipe": runs(*[9999] * 5),
    }}
    assert judge.over_best(judge.RAW100, "per s", True)(results, "whimbrel") == 1.5
    assert judge.over_best(judge.RAW100, "per s")(results, "whimbrel") == 3
    # A round that failed leaves no pairs.
    results[judge.RAW100]["near"].pop()
    assert judge.over_best(judge.RAW100, "per s", True)(results, "whimbrel") == 1.5
    assert judge.ratio([1, 2, 3], [0, 1, 1]) == 2.5
    for figure, name in (("p99 us", "whimbrel"), ("per s", "nobody")):
        row = judge.Row("", 1, 1, judge.over_best(judge.RAW100, figure))
        try:
            row.seen(results, name)
        except judge.Missing as missing:
            assert name in str(missing)
        else:
            raise AssertionError("a figure that is not there was judged")
