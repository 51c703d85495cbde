"""How every part of a run grows with the data, from 1/64 of ML-32M's shape to all of it, on one plot.

    python -m tests.benchmarks.growth --plot docs/images/growth.svg --json growth.json
    python -m tests.benchmarks.growth --fractions 0.015625 0.125

Seconds of: reading a file of ratings, reading it again from the cache, the split, a training step of the
formula, the Gibbs sampler's start and a sweep of it, a round of ALS, top-10 lists of all users (from a sample
of them), finishing (valid and test predicted by the formula, the model exported), and a checkpoint; and the
largest memory. One process a fraction. ``--json`` keeps what is measured; fractions that are in that file
already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from recsys.data.data_spec import DataSpec
from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.data.splits import make_split, training_data
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.optim.device import pick_device
from tests.benchmarks.gpu import Clock, chain, checkpoint, lists, peak_memory
from tests.benchmarks.step_growth import ratings_of_shape, step_times

FRACTIONS = [1 / 64, 1 / 16, 1 / 4, 1.0]
TRAIN_SHARE = 0.64  # of all ratings; ratings_of_shape counts those of train
MEMORY = "peak memory"  # GB; all else is seconds


def measure(fraction: float, device: torch.device) -> dict[str, float]:
    """Seconds by part, and GB."""
    clock, parts = Clock(device), {}

    def timed(name: str, seconds: float) -> None:
        parts[name] = seconds
        print(f"{fraction:8.4f}  {name:34}{seconds:10.3f}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        source = DataSpec(data=str(write_csv(ratings_of_shape(fraction / TRAIN_SHARE), Path(folder))))
        timed("reading a file", clock.seconds(source.load))
        dataset = source.load()
        timed("reading it again", clock.seconds(source.load))
    timed("split", clock.seconds(lambda: make_split(dataset, "future-holdout", seed=0)))
    split = make_split(dataset, "future-holdout", seed=0)
    data = training_data(dataset, split)
    test = dataset.ratings.take(split.test)
    timed("a step of the formula", step_times(data, {}, ["by row"], steps=5)["by row"].wall / 1000)
    timed("finishing", finishing(data, test, clock))
    for figures in (chain(data, clock), lists(data, clock), checkpoint(data, clock)):
        for figure in figures:
            if figure.unit == "s":
                timed(figure.name, figure.value)
    timed(MEMORY, peak_memory(clock).value)
    return parts


def finishing(data: TrainingData, test: Ratings, clock: Clock) -> float:
    """Seconds to predict valid and test with the formula, and to export it."""
    trainer = HybridVaeTrainer(HybridVaeConfig(), data, epochs=1, seed=0, device=clock.device)
    trainer.network.eval()
    return clock.seconds(lambda: (trainer.predict(data.valid), trainer.predict(test), trainer.export()))


def write_csv(ratings: Ratings, folder: Path) -> Path:
    """The ratings as MovieLens has them."""
    import pyarrow as pa
    from pyarrow import csv

    names = ["userId", "movieId", "rating", "timestamp"]
    table = pa.table([ratings.users, ratings.items, ratings.values, ratings.times], names=names)
    path = folder / "ratings.csv"
    csv.write_csv(table, path)
    return path


def plot(path: Path, rows: dict[float, dict[str, float]], *, title: str) -> None:
    """Every part over the share of the shape, both on logarithmic axes; memory against the right side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    seconds = figure.subplots()
    memory = seconds.twinx()
    fractions = sorted(rows)
    for name in rows[fractions[0]]:
        values = [rows[fraction].get(name, float("nan")) for fraction in fractions]
        axes, style = (memory, "k--") if name == MEMORY else (seconds, "o-")
        axes.plot(fractions, values, style, label=f"{name} (GB, right)" if name == MEMORY else name)
    for axes in (seconds, memory):
        axes.set(xscale="log", yscale="log")
    seconds.set(title=title, xlabel="share of ML-32M's shape", ylabel="seconds")
    seconds.set_xticks(fractions, [f"1/{round(1 / fraction)}" for fraction in fractions], minor=False)
    seconds.set_xticks([], minor=True)
    memory.set_ylabel("GB")
    handles = [*seconds.get_legend_handles_labels()[0], *memory.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside right upper", fontsize="small")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--plot", type=Path, metavar="SVG")
    parser.add_argument("--title", default="Growth of each part of a run")
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.one, pick_device(chosen.device))))
        return
    kept = json.loads(chosen.json.read_text()) if chosen.json and chosen.json.exists() else {}
    for fraction in chosen.fractions:
        if str(fraction) in kept:
            continue
        words = ["-m", "tests.benchmarks.growth", "--one", str(fraction), "--device", chosen.device]
        done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True)
        kept[str(fraction)] = json.loads(done.stdout.splitlines()[-1])
        if chosen.json:
            chosen.json.write_text(json.dumps(kept, indent=1))
    if chosen.plot:
        plot(chosen.plot, {float(fraction): row for fraction, row in kept.items()}, title=chosen.title)


if __name__ == "__main__":
    main()
