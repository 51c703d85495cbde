"""The ladder of list families and their blend, from what ``tests.benchmarks.lists --json`` wrote.

    python -m tests.benchmarks.lists --data ml-100k --json lists.json
    python -m tests.benchmarks.list_ladder lists.json --title "ml-100k, per-user" --out ladder.svg

A table (P and NDCG at the first ``--at``) and a plot: each family's best trial by validation alone, the fixed
recipe, and the searched blend; means over seeds with 95% t intervals, of several files together.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from recsys.types import JsonObject
from tests.benchmarks.dot_plot import MeanInterval, dot_plot

MARGIN = 0.01  # of NDCG beside the outermost dots
WIDEST = 0.1  # of NDCG that the axis spans: a rung far below the others is drawn at its end
NAMES = {"searched": "searched blend", "fixed": "fixed recipe: ALS + EASE"}


def rungs(rows: Sequence[JsonObject], metric: str) -> dict[str, MeanInterval]:
    """Each family, the fixed recipe and the blend, the lowest first.

    Args:
        rows: One a seed.
        metric: As lists.json has it, e.g. ``ndcg_at_10``.
    """
    families = sorted({name for row in rows for name in row["alone"]})
    values = {name: [row["alone"][name][metric] for row in rows if name in row["alone"]] for name in families}
    values |= {shown: [row[name][metric] for row in rows] for name, shown in NAMES.items()}
    made = {name: MeanInterval.of(figures) for name, figures in values.items()}
    return dict(sorted(made.items(), key=lambda rung: rung[1].mean))


def main(words: Sequence[str] | None = None) -> int:
    """Prints the table and writes the plot."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.list_ladder", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("files", nargs="+", type=Path, help="what tests.benchmarks.lists --json wrote")
    made.add_argument("--title", default="lists", help="of the plot")
    made.add_argument("--out", type=Path, help="the plot's file, .svg")
    options = made.parse_args(words)
    rows = [row for path in options.files for row in json.loads(path.read_text()) if "seed" in row]
    k = rows[0]["k"]
    ndcg, precision = rungs(rows, f"ndcg_at_{k}"), rungs(rows, f"precision_at_{k}")
    print(f"| lists | P@{k} | NDCG@{k} |\n|---|---|---|")
    for name, figure in ndcg.items():
        print(f"| {name} | {precision[name]} | {figure} |")
    if options.out:
        means = [figure.mean for figure in ndcg.values()]
        options.out.write_text(
            dot_plot(
                [(name, figure, name in NAMES.values()) for name, figure in ndcg.items()],
                title=options.title,
                caption=f"test NDCG@{k} (higher is better)",
                low=max(min(means) - MARGIN, max(means) - WIDEST),
                high=max(means) + MARGIN,
            )
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
