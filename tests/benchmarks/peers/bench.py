"""One split as the peers meet it: train for trying on valid; train and valid for the one look at test.

Answers are judged by the project's own metrics: stars clipped to the scale; lists over the full catalogue
without what was learned from, every rating of the judged slice relevant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.split import Split
from recsys.metrics.ranking import evaluate_lists, pair_matrix, rank_all
from recsys.metrics.rating import mae, rmse
from tests.benchmarks.peers.peer import Task
from tests.benchmarks.peers.problem import Array, Problem

Part = Literal["try", "seed"]  # learned from train, judged on valid; from train and valid, on test
JUDGED_BY = {"rate": "rmse", "rank": "ndcg_at_10"}


class BadAnswer(ValueError):
    """Not the shape that was asked for, or stars that are no numbers."""


class Bench:
    """``problems`` are the files for a peer's process, in ``folder``."""

    def __init__(self, dataset: Dataset, split: Split, task: Task, folder: Path) -> None:
        ratings = dataset.ratings
        train, valid, test = (ratings.take(split.rows(name)) for name in ("train", "valid", "test"))
        self.task = task
        self.slices: dict[Part, tuple[Ratings, Ratings]] = {
            "try": (train, valid),
            "seed": (train.joined(valid), test),
        }
        self.problems = {
            part: self._problem(dataset, *self.slices[part]).save(folder / f"{part}.npz")
            for part in self.slices
        }

    def _problem(self, dataset: Dataset, known: Ratings, asked: Ratings) -> Problem:
        pairs = slice(None) if self.task == "rate" else slice(0)
        features = [
            np.zeros((rows, 0), dtype=np.float32) if found is None else np.asarray(found)
            for rows, found in (
                (known.user_count, dataset.user_features),
                (known.item_count, dataset.item_features),
            )
        ]
        return Problem(
            users=known.users,
            items=known.items,
            values=known.values,
            pair_users=asked.users[pairs],
            pair_items=asked.items[pairs],
            counts=np.array([known.user_count, known.item_count]),
            scale=np.array([known.scale.low, known.scale.high]),
            user_features=features[0],
            item_features=features[1],
        )

    def judge(self, part: Part, answer: Array) -> dict[str, float]:
        """``rmse`` and ``mae`` in stars, or ``precision_at_10`` and ``ndcg_at_10``."""
        known, asked = self.slices[part]
        shape = (len(asked),) if self.task == "rate" else (known.user_count, known.item_count)
        if answer.shape != shape:
            raise BadAnswer(f"answered {answer.shape} where {shape} was asked")
        if self.task == "rate":
            if not np.isfinite(answer).all():
                raise BadAnswer("predicted stars that are no finite numbers")
            stars = np.clip(answer, known.scale.low, known.scale.high)
            return {"rmse": rmse(stars, asked.values), "mae": mae(stars, asked.values)}
        users = np.arange(known.user_count)
        lists = rank_all(lambda rows: answer[rows], users, pair_matrix(known), count=10)
        figures = evaluate_lists(lists, pair_matrix(asked)).figures()
        return {name: figures[name] for name in ("precision_at_10", "ndcg_at_10")}

    def better(self, one: dict[str, float], other: dict[str, float]) -> bool:
        key = JUDGED_BY[self.task]
        return one[key] < other[key] if self.task == "rate" else one[key] > other[key]
