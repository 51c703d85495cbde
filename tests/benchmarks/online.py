"""Whether the endpoint serves what results.json says: the same test users and ratings, asked over HTTP.

    python -m tests.benchmarks.online --run runs/NAME

Starts `python -m serving serve` on the run's release, asks for every test user's list and for every test
rating's prediction, and computes the report's figures from the answers (stars come rounded to 4 decimals).
Exit code 1 where one differs by more than rounding. ``--data`` where the data lies elsewhere by now.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.data.splits import make_split
from recsys.errors import InputError
from recsys.metrics.ranking import NO_ITEM, evaluate_lists, pair_matrix
from recsys.metrics.rating import mse
from search.results.results_file import read_results
from tests.benchmarks.serving.programs import Program
from tests.waiting import free_port

COUNT = 10
PAIRS = 100  # predictions in a request
TRIES = 20  # of a list that a busy machine was late with
AT_MOST = {"rmse": 1e-4, "precision_at_10": 1e-9, "recall_at_10": 1e-9, "ndcg_at_10": 1e-9, "map_at_10": 1e-9}


class Asked:
    """A running service, asked by the outside world's ids."""

    def __init__(self, client: httpx.Client, dataset: Dataset) -> None:
        self._client, self._dataset = client, dataset
        self._rows = {str(name): row for row, name in enumerate(dataset.catalogue.ids)}
        self.late = 0

    def list(self, user: int) -> NDArray[np.int32]:
        """(COUNT,) item rows, NO_ITEM after the last."""
        for _ in range(TRIES):
            answer = self._get(user, "recommendations", count=COUNT)
            if answer["fallback"] is None:
                break
            self.late += 1
        else:
            raise SystemExit(f"user row {user} was answered with popular items {TRIES} times: {answer}")
        result = [self._rows[item["id"]] for item in answer["items"]]
        return np.array(result + [NO_ITEM] * (COUNT - len(result)), dtype=np.int32)

    def stars(self, user: int, items: NDArray[np.int32]) -> list[float]:
        result: list[float] = []
        for first in range(0, len(items), PAIRS):
            names = ",".join(str(self._dataset.catalogue.ids[item]) for item in items[first : first + PAIRS])
            answer = self._get(user, "predictions", items=names)
            result += [entry["predicted_rating"] for entry in answer["predictions"]]
        return result

    def _get(self, user: int, what: str, **query: Any) -> dict[str, Any]:
        name = quote(str(self._dataset.user_ids[user]), safe="")
        answer = self._client.get(f"/v1/users/{name}/{what}", params=query)
        answer.raise_for_status()
        result: dict[str, Any] = answer.json()
        return result


def measured(asked: Asked, test: Ratings) -> dict[str, float]:
    """The report's figures, from answers."""
    users = np.unique(test.users)
    with ThreadPoolExecutor(2) as pool:
        lists = np.stack(list(pool.map(asked.list, users.tolist())))
        order = np.argsort(test.users, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(test.users[order])) + 1)
        rated = pool.map(lambda rows: asked.stars(int(test.users[rows[0]]), test.items[rows]), groups)
        stars = np.empty(len(test))
        for rows, result in zip(groups, rated, strict=True):
            stars[rows] = result
    return {
        "rmse": mse(stars, test.values) ** 0.5,
        **evaluate_lists(lists, pair_matrix(test)[users]).figures(),
    }


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.online",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--run", type=Path, required=True, help="a run's folder: results.json and release/")
    parser.add_argument("--data", help="default: the run's")
    options = parser.parse_args(given)
    results = read_results(options.run)
    if results.recommender is None or results.recommender.test is None:
        raise InputError(f"{options.run} has no figures of its recommender on test")
    dataset = load_dataset(options.data or results.dataset.name)
    split = make_split(dataset, results.split.protocol, seed=results.split.seed)
    if split.fingerprint != results.split.fingerprint:
        raise InputError(f"{dataset.name} gives another split than the run's: name its --data")
    test = dataset.ratings.take(split.test)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "serving", "serve", "--release", str(options.run / "release"), "--port", str(port)]
        with (
            Program([*words, "--events", f"{folder}/events.db"], port),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        ):
            asked = Asked(client, dataset)
            online = measured(asked, test)
    print(f"{options.run}: {len(np.unique(test.users)):,} lists and {len(test):,} predictions over HTTP")
    print(f"{'test':16} {'results.json':>14} {'over HTTP':>14} {'difference':>12}")
    offline, right = results.recommender.test.model_dump(), True
    for name, most in AT_MOST.items():
        difference = online[name] - offline[name]
        right = right and abs(difference) <= most
        print(f"{name:16} {offline[name]:14.8f} {online[name]:14.8f} {difference:12.1e}")
    print(f"lists asked for again because they were late: {asked.late}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
