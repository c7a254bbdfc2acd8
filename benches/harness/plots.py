"""The plots of docs/performance.md: bars with matplotlib, one SVG for each family of cases."""
import pathlib

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "whimbrel"  # the same figures give the same file
matplotlib.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot  # noqa: E402

OURS, THEIRS, FLOOR = "#b5532a", "#8a97a5", "#c9c9c9"
#: Title, cases, the stacked figures, file.
PLOTS = (
    ("CPU seconds per gigabyte", ("download, 1 stream", "download, 100 streams", "HTTP/3 download, 1 stream"),
     ("server s/GB", "client s/GB"), "bulk.svg"),
    ("CPU per 1 KiB request, µs", ("raw requests, 100 in flight", "HTTP/3 requests, 100 in flight"),
     ("server us", "client us"), "requests.svg"),
    ("Server CPU per handshake, µs", ("full handshakes, 20 at a time", "resumed handshakes with a request, 4 at a time"),
     ("server us",), "handshakes.svg"),
)


def colour(name: str) -> str:
    return OURS if name.startswith("whimbrel") else FLOOR if name == "pipe" else THEIRS


def draw_one(title, cases, keys, table, path) -> bool:
    cases = [case for case in cases if case in table]
    if not cases:
        return False
    heights = [len(table[case]) for case in cases]
    figure, axes = pyplot.subplots(
        len(cases), 1, figsize=(7.5, 0.32 * sum(heights) + 0.7 * len(cases)), height_ratios=heights, squeeze=False
    )
    for axis, case in zip(axes[:, 0], cases):
        names = list(table[case])[::-1]
        left = [0.0] * len(names)
        for n, key in enumerate(keys):
            values = [table[case][name].get(key, 0.0) for name in names]
            axis.barh(names, values, left=left, color=[colour(name) for name in names], alpha=1 - 0.4 * n)
            left = [a + b for a, b in zip(left, values)]
        for y, total in enumerate(left):
            axis.text(total, y, f" {total:.3g}", va="center", fontsize=8)
        axis.set_title(f"{case}: {title}" + (" (server, then client)" if len(keys) > 1 else ""), fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return True


def draw(table, folder: pathlib.Path) -> list:
    """Draws what the run has; pairs of title and path for the document."""
    folder.mkdir(exist_ok=True)
    return [(title, f"{folder.name}/{file}") for title, cases, keys, file in PLOTS if draw_one(title, cases, keys, table, folder / file)]
