"""NDCG@10 of one trial on valid: the second objective, where a plan has it.

Lists are the whole catalogue by predicted rating, items of train left out. Kept beside the trial's
result, so that a resumed run need not rank again.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recsys.data.split import TrainingData
from recsys.io import write_atomic
from recsys.metrics.people_sample import MOST_PEOPLE, sample_interval, sampled_people
from recsys.metrics.ranking import evaluate_lists, pair_matrix, rank_all
from recsys.models.artifact import load_artifact
from recsys.models.registry import family_named
from recsys.release.pack import make_histories
from recsys.types import FloatArray, IntArray, JsonObject

FILE = "lists.json"
SEED = 0  # of the people that are ranked for: the same ones for every trial


def valid_ndcg(folder: Path, data: TrainingData) -> float:
    """NDCG@10 of the member in ``folder``, over users with a rating in valid, or a sample of many (the file
    has its interval)."""
    packed = load_artifact(folder / "member")
    scorer = family_named(packed.family).scorer(packed, make_histories(data.train))
    items = np.arange(data.train.item_count)

    def score(users: IntArray) -> FloatArray:
        rows = [scorer.score(scorer.known_user(int(user)), items).astype(np.float32) for user in users]
        return np.stack(rows)

    everybody, activity = np.unique(data.valid.users, return_counts=True)
    users = sampled_people(everybody, activity, most=MOST_PEOPLE, seed=SEED)
    lists = rank_all(score, users, pair_matrix(data.train))
    judged = evaluate_lists(lists, pair_matrix(data.valid)[users])
    figures: JsonObject = {"ndcg_at_10": judged.ndcg}
    if len(users) < len(everybody):
        interval = sample_interval(judged.by_user["ndcg"], len(everybody))
        figures |= {"list_users": len(users), "list_population": len(everybody), "interval": interval}
    write_atomic(folder / FILE, json.dumps(figures).encode())
    return judged.ndcg


def read_ndcg(folder: Path) -> float | None:
    """The figure that ``valid_ndcg`` left, None where it did not."""
    path = folder / FILE
    return float(json.loads(path.read_text())["ndcg_at_10"]) if path.exists() else None
