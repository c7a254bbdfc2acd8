"""The measuring side of `make bench`: peers, processes, cases, judgement, report. `benches/run.py` is the entrance."""
