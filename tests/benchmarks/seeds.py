"""The whole run over several seeds: does the best beat the plan's template, and the ensemble the best?

    python -m tests.benchmarks.seeds                                  # seeds 0 to 4, ml-100k, 9 minutes each
    python -m tests.benchmarks.seeds --seeds 0 1 2 --out runs/seeds -- --data ml-100k --max-hours 0.16

Each seed is the plain command with ``--seed N --out OUT/seed-N`` and what stands after ``--``: another
split, other proposals, other weights. A run that is done is not run again and one that was cut off is
resumed, so that the command may be stopped and started at any time. ``--table`` runs nothing and prints
what is there. Test figures; a pair's interval within a seed is the paired bootstrap over users, over the
seeds Student's t.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys.metrics.significance import mean_over_people
from recsys.types import JsonObject
from search.results import read_results

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("template", "best", "ensemble")
PAIRS = (("best", "template"), ("ensemble", "best"), ("ensemble", "template"))
METRICS = ("loss", "rmse")
WIDTH = 28


def run_seed(seed: int, out: Path, options: Sequence[str]) -> int:
    """The exit code of seed ``seed``'s run in ``out``; 0 without running where it is done."""
    command = [sys.executable, str(ROOT / "search" / "breakthrough.py")]
    if is_done(out):
        print(f"seed {seed}: done before, in {out}")
        return 0
    if (out / "plan.yaml").exists():
        command += ["--out", str(out), "--resume"]
    else:
        command += ["--seed", str(seed), "--out", str(out), *options]
    print(f"seed {seed}: {' '.join(command[1:])}", flush=True)
    process = subprocess.Popen(command)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the run's: it ends itself gracefully
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def is_done(out: Path) -> bool:
    """Whether the run in ``out`` came to its end: its plan's, or its budget's."""
    return (out / "results.json").exists() and read_results(out).status != "interrupted"


def table(rows: dict[int, JsonObject]) -> str:
    """Test figures by seed and their mean; then the differences with their intervals."""
    heads = "".join(f"{f'{model} loss / rmse':>{WIDTH}}" for model in MODELS)
    lines = [f"{'test':<6}{heads}{'status':>10}{'trials':>8}{'minutes':>9}"]
    for seed, row in rows.items():
        figures = "".join(f"{two_figures(row[model]['test']):>{WIDTH}}" for model in MODELS)
        ended = sum(row["trials"].values())
        minutes = row["seconds"]["total"] / 60
        lines.append(f"{seed:<6}{figures}{row['status']:>10}{ended:>8}{minutes:>9.1f}")
    means = [
        {name: float(np.mean([row[model]["test"][name] for row in rows.values()])) for name in METRICS}
        for model in MODELS
    ]
    lines += ["mean  " + "".join(f"{two_figures(figures):>{WIDTH}}" for figures in means), ""]
    for metric in METRICS:
        heads = "".join(f"{f'{a} - {b}':>{WIDTH + 4}}" for a, b in PAIRS)
        lines.append(f"{metric:<6}{heads}   (95%; below 0 the first is better)")
        for seed, row in rows.items():
            result = [difference(row, a, b, metric=metric) for a, b in PAIRS]
            cells = [with_ends(entry["difference"], entry["low"], entry["high"]) for entry in result]
            lines.append(f"{seed:<6}" + "".join(f"{cell:>{WIDTH + 4}}" for cell in cells))
        cells = []
        for a, b in PAIRS:
            values = [difference(row, a, b, metric=metric)["difference"] for row in rows.values()]
            mean = mean_over_people(np.array(values))
            cells.append(with_ends(mean.value, mean.low, mean.high))
        lines += ["seeds " + "".join(f"{cell:>{WIDTH + 4}}" for cell in cells), ""]
    return "\n".join(lines).rstrip()


def difference(row: JsonObject, a: str, b: str, *, metric: str) -> JsonObject:
    """``a`` minus ``b`` on test with its bootstrap interval."""
    for result in row["comparisons"]:
        if (result["a"], result["b"], result["slice"], result["metric"]) == (a, b, "test", metric):
            return dict(result)
    raise SystemExit(f"{row['name']} holds no comparison of {a} with {b}: did both come to an end?")


def two_figures(figures: JsonObject) -> str:
    return f"{figures['loss']:.4f} / {figures['rmse']:.4f}"


def with_ends(value: float, low: float, high: float) -> str:
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the first run that failed, else 0. An interrupted run ends the command too."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    index = given.index("--") if "--" in given else len(given)
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    command.add_argument("--out", type=Path, default=Path("runs/seeds"))
    command.add_argument("--table", action="store_true", help="run nothing; print what is there")
    options = command.parse_args(given[:index])
    folders = {seed: options.out / f"seed-{seed}" for seed in options.seeds}
    if not options.table:
        for seed, folder in folders.items():
            code = run_seed(seed, folder, given[index + 1 :])
            if code:
                print(f"seed {seed} ended with {code}; the same command goes on with it")
                return code
    rows = {seed: read_results(folder).model_dump() for seed, folder in folders.items() if is_done(folder)}
    print(table(rows) if rows else f"no run is done under {options.out} yet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
