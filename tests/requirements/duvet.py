"""Judges a report of duvet (`make duvet`): each MUST and MUST NOT that duvet itself finds in the specifications has a
citation in the code and one on a test, or an exception. duvet has checked by then that every quotation is in its section.

    duvet.py REPORT.json
"""
import collections
import json
import sys


def unmet(report: dict) -> tuple[collections.Counter, list[str]]:
    """Counts of the MUST sentences by outcome, and a line for each that lacks something."""
    counts, lines = collections.Counter(), []
    for index, status in report["statuses"].items():
        sentence = report["annotations"][int(index)]
        if sentence.get("level") != "MUST":
            continue
        if status.get("exception"):
            counts["exception"] += 1
        elif status.get("citation") and status.get("test"):
            counts["met"] += 1
        else:
            counts["unmet"] += 1
            text = " ".join(sentence.get("comment", "").split())
            lines.append(f"{sentence['target_path']}#{sentence['target_section']}: {text}")
    return counts, lines


def main(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        counts, lines = unmet(json.load(file))
    print("\n".join(lines))
    print(f"duvet: {sum(counts.values())} sentences with MUST: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    if not counts["met"]:
        print("duvet: the report has no met sentence: were the specifications found?", file=sys.stderr)
    return 1 if lines or not counts["met"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
