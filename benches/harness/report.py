"""What people read: the text of a case, the tables of docs/performance.md, and the plots."""
import importlib.util
import pathlib
import statistics

from . import judge

BEGIN, END = "<!-- bench: begin, written by make bench -->", "<!-- bench: end -->"


def number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(values) -> str:
    return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"


def text(case, rows) -> str:
    """A case for the terminal: medians with spread, and our ratio to each peer."""
    out = [f"\n{case}"]
    ours = rows.get("whimbrel")
    for name, runs in rows.items():
        out.append(f"  {name:16} " + "  ".join(f"{key} {spread([r[key] for r in runs])}" for key in runs[0]))
    for name, runs in rows.items():
        if ours is None or runs is ours:
            continue
        ratios = []
        for key in runs[0]:
            theirs, mine = (statistics.median(r[key] for r in some) for some in (runs, ours)) if key in ours[0] else (0, 0)
            if theirs:
                ratios.append(f"{key} {mine / theirs:.2f}")
        out.append(f"  whimbrel / {name}: " + "  ".join(ratios))
    return "\n".join(out)


def case_table(rows) -> list:
    keys = list(next(iter(rows.values()))[0])
    out = ["| | " + " | ".join(keys) + " |", "|-|" + "-:|" * len(keys)]
    for name, runs in rows.items():
        out.append(f"| {name} | " + " | ".join(spread([r[key] for r in runs]) if key in runs[0] else "–" for key in keys) + " |")
    return out


def verdict_table(results) -> list:
    out = ["| figure | must | aim | callbacks | queue |", "|-|-:|-:|-:|-:|"]
    reasons = []
    for figure, must, aim, a, b in judge.verdicts(results):
        out.append(f"| {figure} | {must} | {aim} | {judge.cell(*a)} | {judge.cell(*b)} |")
        if a[0] is None:
            reasons.append(f"{figure}: {a[1]}")
    if reasons:
        out += ["", "Not seen in this run: " + "; ".join(reasons) + "."]
    return out


def markdown(document, table, plots) -> str:
    m, sizes, when = document["machine"], document["sizes"], document["when"]
    loads = [w["load"] for w in when.values()]
    out = [
        BEGIN, "",
        f"{m['cores']} cores of {m['cpu']}, Linux {m['kernel']}, loopback. Medians of interleaved rounds (least–most). **The load average was "
        f"{min(loads):.1f} to {max(loads):.1f}**: other programs ran on the same cores, so only ratios within a case mean anything, and "
        f"percentiles above the 50th show the scheduler as much as the libraries. Bulk {sizes['bulk'] / 1e6:.0f} MB, "
        f"{sizes['requests']:,} requests (raw with 100 in flight three times as many), {sizes['handshakes']:,} handshakes.", "",
    ]
    for peer in document["peers"]:
        family = "" if peer["family"] == "native" else ", Python"
        out.append(f"- **{peer['name']}**{family}{' ' + peer['version'] if peer['version'] else ''}: {peer['settings']}.")
    for name, reason in document["missing"].items():
        out.append(f"- **{name}** was not measured: {reason}.")
    for failure in document["failures"]:
        out.append(f"- A run failed: {failure}.")
    out += ["", "### What it must show", "", *verdict_table(document["results"]), ""]
    for name, rows in document["results"].items():
        out += [f"### {name}", "", f"{when[name]['rounds']} rounds, load average {when[name]['load']:.1f}.", "", *case_table(rows), ""]
    out += [f"![{title}]({path})" for title, path in plots]
    return "\n".join([*out, "", END])


def check(path: pathlib.Path):
    """Ends the program with what to do if `write` could not do its work at the end of a long run."""
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{path}: no place for the bench's tables ({BEGIN})")
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("--write draws plots with matplotlib: install benches/requirements.txt into this Python")


def write(document, table, path: pathlib.Path):
    """Puts tables and plots between the markers of the document."""
    head, rest = path.read_text().split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    from . import plots  # only here: drawing needs a package that measuring does not

    path.write_text(head + markdown(document, table, plots.draw(table, path.parent / "performance")) + tail)
