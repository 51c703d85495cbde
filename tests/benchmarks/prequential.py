"""Prequential proof on real data: frozen, frozen with fold-in, and retrained as events come; in process.

    python -m tests.benchmarks.prequential --data ml-100k --every 4

The newest 20% of the ratings come in time order. Each is predicted before it is learned, and a list of ten
is made before it, by (frozen) the release of the older 80%, knowing nothing since; (fold-in) the same with
what the person has rated since folded in, as the server does; (loop) as that, trained anew after every
``--retrain`` events on all that came so far, by a fixed recipe (bias and matrix factorisation, an ALS
ranker) in place of a search. Figures are of every ``--every``-th event; the state knows all of them.
Intervals: paired bootstrap over people. In a synthetic world tastes turn by ``drift`` radians over all its
years, so there what can be won by retraining is planted:

    python -m tests.benchmarks.prequential --data synthetic:users=600,items=400,ratings=60000,drift=3
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.data_spec import DataSpec
from recsys.data.dataset import Dataset
from recsys.metrics.significance import mean_difference, rmse_difference
from recsys.release.queries import Query
from recsys.types import JsonObject
from serving.catalogue.rule_set import RuleSet
from serving.engine.served_release import ServedRelease
from tests.releases import make_release

LIKED = 4.0
MEMBERS = ("bias", "mf")
BLOCK = 1_000


@dataclass(frozen=True)
class Replayed:
    """``squared`` errors and ``hits`` (n,) of the measured events, NaN errors where the item was unknown."""

    squared: NDArray[np.float64]
    hits: NDArray[np.float64]


def fitted(folder: Path, dataset: Dataset, rows: NDArray[np.int64]) -> ServedRelease:
    """A release of the fixed recipe on ``rows`` alone."""
    made = make_release(folder, dataset=replace(dataset, ratings=dataset.ratings.take(rows)), members=MEMBERS)
    return ServedRelease(folder.name, made, RuleSet(), verify=False)


def replay(
    served: ServedRelease,
    dataset: Dataset,
    events: NDArray[np.int64],
    measured: NDArray[np.int64],
    *,
    fold_in: bool,
    given: dict[str, dict[str, float]],
) -> list[tuple[float, float]]:
    """(squared error, hit) of each of ``measured`` among ``events`` (rows in time order); ``given`` grows."""
    ratings, wanted, result = dataset.ratings, set(measured.tolist()), []
    for row in events.tolist():
        user, item = str(dataset.user_ids[ratings.users[row]]), str(dataset.catalogue.ids[ratings.items[row]])
        value = float(ratings.values[row])
        if row in wanted:
            known = given.get(user)
            history = served.rows.history(user, known) if fold_in and known else None
            query = Query(user=served.rows.user(user), history=history, count=10)
            listed = served.recommender.recommend([query], served.rules)[0].recommendations
            index = served.rows.item(item)
            hit = index is not None and value >= LIKED and index in {entry.item for entry in listed}
            stars = (
                float(served.recommender.predict(query, served.rows.items([item]))[0])
                if index is not None
                else np.nan
            )
            result.append(((value - stars) ** 2, float(hit)))
        given[user] = {**given.get(user, {}), item: value}
    return result


def run(
    dataset: Dataset, *, every: int, retrain: int, events: int | None
) -> tuple[dict[str, Replayed], NDArray[np.int64]]:
    assert dataset.ratings.times is not None
    order = np.argsort(dataset.ratings.times, kind="stable")
    cut = int(0.8 * len(order))
    past, future = order[:cut], order[cut:][:events]
    measured = future[::every]
    result: dict[str, Replayed] = {}
    with tempfile.TemporaryDirectory() as scratch:
        first = fitted(Path(scratch) / "first", dataset, past)
        for name, fold_in in (("frozen", False), ("fold-in", True)):
            result[name] = _replayed(replay(first, dataset, future, measured, fold_in=fold_in, given={}))
        pairs, given = [], dict[str, dict[str, float]]()
        for start in range(0, len(future), retrain):
            rows = np.concatenate([past, future[:start]])
            served = first if start == 0 else fitted(Path(scratch) / f"after-{start}", dataset, rows)
            block = future[start : start + retrain]
            pairs += replay(
                served, dataset, block, np.intersect1d(block, measured), fold_in=True, given=given
            )
        result["loop"] = _replayed(pairs)
    return result, measured


def _replayed(pairs: list[tuple[float, float]]) -> Replayed:
    squared, hits = zip(*pairs, strict=True)
    return Replayed(np.array(squared), np.array(hits))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.prequential", description=__doc__)
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--retrain", type=int, default=4_000)
    parser.add_argument("--events", type=int, help="only the first so many")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="SVG")
    options = parser.parse_args(arguments)
    dataset = DataSpec(data=options.data).load()
    result, measured = run(dataset, every=options.every, retrain=options.retrain, events=options.events)
    users = dataset.ratings.users[measured]
    block = max(1, BLOCK // options.every)
    rows: list[JsonObject] = []
    print(f"{'events':>8} " + " ".join(f"{name + ' rmse':>14} {'hit rate':>9}" for name in result))
    for end in [*range(block, len(measured) + 1, block)]:
        part, upto = slice(end - block, end), slice(0, end)
        row: JsonObject = {"events": end * options.every}
        for name, got in result.items():
            row |= {
                f"{name} rmse": float(np.sqrt(np.nanmean(got.squared[part]))),
                f"{name} cumulative rmse": float(np.sqrt(np.nanmean(got.squared[upto]))),
                f"{name} hit rate": float(got.hits[part].mean()),
                f"{name} cumulative hit rate": float(got.hits[upto].mean()),
            }
        rows.append(row)
        print(
            f"{row['events']:>8} "
            + " ".join(f"{row[f'{n} rmse']:>14.4f} {row[f'{n} hit rate']:>9.4f}" for n in result)
        )
    for entry, other in (("fold-in", "frozen"), ("loop", "fold-in")):
        both = ~np.isnan(result[entry].squared) & ~np.isnan(result[other].squared)
        pair = rmse_difference(
            result[entry].squared[both],
            result[other].squared[both],
            seed=0,
            clusters=np.unique(users[both], return_inverse=True)[1],
        )
        hits = mean_difference(result[entry].hits, result[other].hits, seed=0, clusters=users)
        words = [f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})" for gain in (pair, hits)]
        print(f"{entry} - {other}: rmse {words[0]}; hit rate {words[1]}")
        rows.append({"pair": f"{entry} - {other}", "rmse": asdict(pair), "hit rate": asdict(hits)})
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    if options.plot:
        draw(options.plot, rows, tuple(result), title=f"{dataset.name}, newest 20% in time order")
    return 0


def draw(path: Path, rows: Sequence[JsonObject], names: Sequence[str], *, title: str) -> None:
    """Cumulative rmse and hit rate over the events, an SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    blocks = [row for row in rows if "events" in row]
    events = [row["events"] for row in blocks]
    for axes, kind in zip(figure.subplots(1, 2), ("rmse", "hit rate"), strict=True):
        for name in names:
            axes.plot(events, [row[f"{name} cumulative {kind}"] for row in blocks], label=name)
        axes.set_title(f"cumulative online {kind}", loc="left", fontsize=10)
        axes.set_xlabel("events")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    raise SystemExit(main())
