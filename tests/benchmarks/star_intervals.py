"""Coverage of the 80% intervals around predicted stars, by known ratings and by doubt.

    python -m tests.benchmarks.star_intervals --data ml-100k --splits folds:u2,folds:u3,folds:u4,folds:u5

Each split fits a Bayesian factorisation and an item process, blends them, calibrates intervals on valid as a
run does, and judges them on test, with and without the members' posteriors. Doubt is the posteriors'
deviation, test cut into fifths of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.splits import make_split, training_data
from recsys.ensemble.blend import fit_blend
from recsys.ensemble.rating_intervals import coverage_by_band, fit_rating_intervals, user_activity
from recsys.models.registry import FAMILIES, make_config
from recsys.types import JsonObject
from search.finalize.evaluator import Evaluator

EPOCHS = 10
FIFTHS = (0.2, 0.4, 0.6, 0.8)
FAMILY_NAMES = ("bayes_mf", "item_gp")


def coverage(dataset: Dataset, protocol: str, *, sweeps: int, seed: int) -> dict[str, JsonObject]:
    """Figures on test of intervals ``with posteriors`` and ``without``: coverage in all, by band of known
    ratings and by fifth of doubt, all shares, and the mean width in stars."""
    split = make_split(dataset, protocol, seed=seed)
    judge, data = Evaluator.of(dataset, split), training_data(dataset, split)
    members = []
    for name in FAMILY_NAMES:
        trainer = FAMILIES[name].build(
            make_config(name, {"sweeps": sweeps}), data, epochs=EPOCHS, seed=seed, device="cpu"
        )
        for _ in range(EPOCHS):
            trainer.train_epoch()
        members.append(trainer.export())
    valid, test = judge.slice("valid"), judge.slice("test")
    on_valid, on_test = (
        np.stack([judge.predict(entry, part) for entry in members]) for part in (valid, test)
    )
    blend = fit_blend(on_valid, valid.values, seed=seed)
    valid_stars = blend.predict(on_valid, valid, data.train)
    test_stars = blend.predict(on_test, test, judge.known_ratings)
    weighed = list(zip(members, blend.weights.tolist(), strict=True))
    doubt, doubt_of_valid = judge.deviations(weighed, test), judge.deviations(weighed, valid)
    assert doubt is not None
    known, activity = user_activity(data.train), user_activity(judge.known_ratings)
    fifth = np.searchsorted(np.quantile(doubt, FIFTHS), doubt)
    result = {}
    for name, spread in (("with posteriors", doubt_of_valid), ("without", None)):
        intervals = fit_rating_intervals(valid_stars, valid, known, deviations=spread)
        assert intervals is not None
        unit = doubt if spread is not None else None
        inside = intervals.covers(test_stars, activity[test.users], test, unit)
        low, high = intervals.ends(test_stars, activity[test.users], test.scale, unit)
        bands = coverage_by_band(intervals, test_stars, test, activity, unit)
        result[name] = {
            "coverage": float(inside.mean()),
            "bands": [band.coverage for band in bands],
            "fifths": [float(inside[fifth == index].mean()) for index in range(len(FIFTHS) + 1)],
            "width": float(np.mean(high - low)),
        }
    return result


def main(words: Sequence[str] | None = None) -> int:
    """Prints a table row a split and way."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.star_intervals", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--data", default="ml-100k", help="as --data of the search (default ml-100k)")
    made.add_argument("--splits", default="folds:u2,folds:u3,folds:u4,folds:u5", help="protocols of splits")
    made.add_argument("--sweeps", type=int, default=100, help="of each chain (default 100)")
    made.add_argument("--seed", type=int, default=0, help="of chains and splits (default 0)")
    options = made.parse_args(words)
    dataset = load_dataset(options.data)
    print(
        "| split | intervals | inside, % | by known ratings | by fifth of doubt | mean width |\n|"
        + "---|" * 6
    )
    for protocol in options.splits.split(","):
        for name, row in coverage(dataset, protocol, sweeps=options.sweeps, seed=options.seed).items():
            bands, fifths = (
                ", ".join(f"{100 * entry:.1f}" for entry in row[key]) for key in ("bands", "fifths")
            )
            inside = f"{100 * row['coverage']:.1f}"
            print(f"| {protocol} | {name} | {inside} | {bands} | {fifths} | {row['width']:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
