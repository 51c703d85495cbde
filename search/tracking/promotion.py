"""Does a new release beat the champion? Decided on ``gate``, which neither was trained or tuned on.

A release is remembered with its gate answers: what its ensemble predicted for every gate pair before
any refit. The gate is a fixed share of pairs by hash, so two releases made from a dataset that has grown
in between share the older one's pairs; on the pairs that came later, the champion's own release is asked.
Only ratings after its newest one count there: an older pair could have been in its training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.split import Split
from recsys.errors import InputError
from recsys.io import atomic_path
from recsys.metrics.significance import RESAMPLES, rmse_difference

FEWEST_RATINGS = 200  # fewer cannot resolve a difference of a hundredth of a star
NO_TIME = -1
TAIL_DRAWS, MOST_RESAMPLES = 20, 20_000  # draws beyond either end of the interval; draws in all
SEED = 0
FALSE_PROMOTIONS = 0.05  # at most, of all the releases that ever ask about one champion


@dataclass(frozen=True)
class GateAnswers:
    """Gate pairs with a release's predictions: ``users``, ``items`` (n,) ids; ``given`` and
    ``predicted`` (n,) stars; ``times`` (n,) Unix seconds, -1 where there are none."""

    users: NDArray[np.str_]
    items: NDArray[np.str_]
    times: NDArray[np.int64]
    given: NDArray[np.float32]
    predicted: NDArray[np.float32]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (self.users, self.items, self.times, self.given, self.predicted)}
        if len(lengths) != 1:
            raise ValueError(f"gate answers differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.users)

    def save(self, path: Path) -> Path:
        """One .npz, whole or not at all, no pickle in it."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **self.__dict__)
        return path

    @classmethod
    def load(cls, path: Path) -> GateAnswers:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} holds no gate answers ({type(error).__name__})") from None


def gate_answers(dataset: Dataset, split: Split, predicted: NDArray[np.float32]) -> GateAnswers:
    """``predicted`` (gate rows,) stars in the split's gate order, with the outside world's ids."""
    rows = dataset.ratings.take(split.gate)
    return GateAnswers(
        users=dataset.user_ids[rows.users],
        items=dataset.catalogue.ids[rows.items],
        times=rows.times.astype(np.int64)
        if rows.times is not None
        else np.full(len(rows), NO_TIME, np.int64),
        given=rows.values.astype(np.float32),
        predicted=np.asarray(predicted, dtype=np.float32),
    )


@dataclass(frozen=True)
class Promotion:
    """The verdict. ``difference`` is rmse on gate, stars, new minus champion, with its 95% interval
    (paired bootstrap over users); None where nothing could be compared. ``attempt`` counts the releases that
    have asked about this champion, and the interval has the ``level`` that so many questions need."""

    promoted: bool
    reason: str
    ratings: int = 0
    rmse: float | None = None
    champion_rmse: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    champion: str | None = None
    attempt: int = 1
    level: float = 0.95


Predict = Callable[[NDArray[np.str_], NDArray[np.str_]], NDArray[np.float32]]


def evaluate_promotion(
    new: GateAnswers,
    champion: GateAnswers | None,
    *,
    champion_name: str | None = None,
    predict: Predict | None = None,
    last_timestamp: int | None = None,
    attempt: int = 1,
) -> Promotion:
    """Promoted when the whole interval is below 0, or when there is no champion to beat.

    ``predict(user ids, item ids)`` asks the champion's release about pairs later than its
    ``last_timestamp``; without it only the shared pairs count.
    """
    if len(new) < FEWEST_RATINGS:
        return Promotion(
            False,
            f"the gate slice has {len(new)} ratings, {FEWEST_RATINGS} are needed to judge a release",
            ratings=len(new),
        )
    if champion is None:
        rmse = float(np.sqrt(np.mean((new.predicted - new.given) ** 2)))
        return Promotion(True, "there was no champion to beat", ratings=len(new), rmse=rmse)
    theirs = shared_predictions(new, champion)
    if predict is not None and last_timestamp is not None:
        later = np.isnan(theirs) & (new.times > last_timestamp)
        if later.any():
            theirs[later] = predict(new.users[later], new.items[later])
    both = ~np.isnan(theirs)
    count = int(both.sum())
    if count < FEWEST_RATINGS:
        return Promotion(
            False,
            f"only {count} gate ratings are unseen by both; {FEWEST_RATINGS} are needed",
            ratings=count,
            champion=champion_name,
        )
    given = new.given[both].astype(np.float64)
    mine, others = (new.predicted[both] - given) ** 2, (theirs[both] - given) ** 2
    clusters = np.unique(new.users[both], return_inverse=True)[1]
    level = interval_level(attempt)
    resamples = max(RESAMPLES, math.ceil(TAIL_DRAWS * 2 / (1 - level)))
    difference = rmse_difference(
        mine, others, seed=SEED, clusters=clusters, level=level, resamples=min(resamples, MOST_RESAMPLES)
    )
    words = "beats" if difference.below_zero else "loses to" if difference.low > 0 else "cannot be told from"
    counted = "" if attempt == 1 else f" (attempt {attempt} against it: an interval of {level:.2%})"
    return Promotion(
        promoted=difference.below_zero,
        reason=f"{words} the champion on {count} gate ratings{counted}",
        ratings=count,
        rmse=float(np.sqrt(mine.mean())),
        champion_rmse=float(np.sqrt(others.mean())),
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        champion=champion_name,
        attempt=attempt,
        level=level,
    )


def interval_level(attempt: int) -> float:
    """The level of the interval for the ``attempt``-th release that asks about one champion.

    The chance of a false promotion is spent as FALSE_PROMOTIONS / (k (k + 1)) on the k-th attempt, which sums
    to FALSE_PROMOTIONS however many there are; the first has the usual 95%.
    """
    return 1 - 2 * FALSE_PROMOTIONS / (attempt * (attempt + 1))


def shared_ratings(new: GateAnswers, older: GateAnswers) -> float:
    """The share of the older gate's pairs that the new one has, with the same rating: near 1 where the data
    is the same or has grown, small where it only bears the same name."""
    if not len(older):
        return 0.0
    known = dict(zip(_pairs(new).tolist(), new.given.tolist(), strict=True))
    theirs = zip(_pairs(older).tolist(), older.given.tolist(), strict=True)
    same = [known.get(pair) == given for pair, given in theirs]
    return float(np.mean(same))


def shared_predictions(new: GateAnswers, champion: GateAnswers) -> NDArray[np.float32]:
    """(len(new),) the champion's prediction for each pair of ``new``; NaN where it has none."""
    answers = np.full(len(new), np.nan, dtype=np.float32)
    if not len(champion):
        return answers
    known = _pairs(champion)
    order = np.argsort(known)
    wanted = _pairs(new)
    index = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    hit = known[order[index]] == wanted
    answers[hit] = champion.predicted[order[index[hit]]]
    return answers


def _pairs(answers: GateAnswers) -> NDArray[np.str_]:
    """One text a pair; the separator is in no id that a text file can hold."""
    return np.char.add(np.char.add(answers.users.astype(np.str_), "\x1f"), answers.items.astype(np.str_))
