"""One split as the peers meet it: train for trying on valid; train and valid for the one look at test.

Answers are judged by the project's own metrics: stars clipped to the scale; lists over the full catalogue
without what is known of a person, every rating of the judged slice relevant. Of ``strong:USERS`` the people
of test are folded in: nothing was learned from them.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from tests.benchmarks.peers.table import COLUMNS

Part = Literal["try", "seed"]  # learned from train, judged on valid; from train and valid, on test
ByPerson = dict[str, list[float]]
LENGTHS = (10, 20, 100)
JUDGED_BY = {"rate": "rmse", "rank": "ndcg_at_10"}


@dataclass(frozen=True, eq=False)
class Judgement:
    """``known`` is learned from, ``asked`` judges, ``histories`` are what is known of the judged people."""

    known: Ratings
    asked: Ratings
    histories: Ratings


class BadAnswer(ValueError):
    """Not the shape that was asked for, or stars that are no numbers."""


class Bench:
    """``problems`` are the files for a peer's process, in ``folder``."""

    def __init__(self, dataset: Dataset, split: Split, task: Task, folder: Path) -> None:
        ratings = dataset.ratings
        train, valid, test = (ratings.take(split.rows(name)) for name in ("train", "valid", "test"))
        self.task = task
        known = train.joined(valid)
        histories = ratings.take(split.fold_in) if len(split.fold_in) else known
        self.judgements: dict[Part, Judgement] = {
            "try": Judgement(train, valid, train),
            "seed": Judgement(known, test, histories),
        }
        self.problems = {
            part: self._problem(dataset, entry).save(folder / f"{part}.npz")
            for part, entry in self.judgements.items()
        }

    def _problem(self, dataset: Dataset, judgement: Judgement) -> Problem:
        known, asked = judgement.known, judgement.asked
        strangers = slice(0) if judgement.histories is known else slice(None)
        pairs = slice(None) if self.task == "rate" else slice(0)
        features = [
            np.zeros((rows, 0), dtype=np.float32) if result is None else np.asarray(result)
            for rows, result in (
                (known.user_count, dataset.user_features),
                (known.item_count, dataset.item_features),
            )
        ]
        return Problem(
            users=known.users,
            items=known.items,
            values=known.values,
            fold_in_users=judgement.histories.users[strangers],
            fold_in_items=judgement.histories.items[strangers],
            fold_in_values=judgement.histories.values[strangers],
            pair_users=asked.users[pairs],
            pair_items=asked.items[pairs],
            counts=np.array([known.user_count, known.item_count]),
            scale=np.array([known.scale.low, known.scale.high]),
            user_features=features[0],
            item_features=features[1],
        )

    def judge(self, part: Part, answer: Array) -> tuple[dict[str, float], ByPerson]:
        """Figures named as in table.COLUMNS, and each NDCG by person (none of stars)."""
        known, asked = self.judgements[part].known, self.judgements[part].asked
        shape = (len(asked),) if self.task == "rate" else (known.user_count, known.item_count)
        if answer.shape != shape:
            raise BadAnswer(f"answered {answer.shape} where {shape} was asked")
        if self.task == "rate":
            if not np.isfinite(answer).all():
                raise BadAnswer("predicted stars that are no finite numbers")
            stars = np.clip(answer, known.scale.low, known.scale.high)
            return {"rmse": rmse(stars, asked.values), "mae": mae(stars, asked.values)}, {}
        seen, relevant = pair_matrix(self.judgements[part].histories), pair_matrix(asked)
        lists = rank_all(lambda rows: answer[rows], np.arange(known.user_count), seen, count=max(LENGTHS))
        judged = [evaluate_lists(lists[:, :count], relevant) for count in LENGTHS]
        figures = {name: value for entry in judged for name, value in entry.figures().items()}
        by_person = {f"ndcg_at_{entry.count}": entry.by_user["ndcg"].tolist() for entry in judged}
        return {name: figures[name] for name in COLUMNS["rank"]}, by_person

    def better(self, one: dict[str, float], other: dict[str, float]) -> bool:
        key = JUDGED_BY[self.task]
        return one[key] < other[key] if self.task == "rate" else one[key] > other[key]
