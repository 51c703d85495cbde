"""Validation of list trials by held-out ratings.

A trial fits a config to three quarters of each user's train and valid ratings and is ranked by NDCG@10 of its
lists on the rest (``list_holdout.py``). Small data is split several times and the mean counts: a single draw
of ML-100K cannot distinguish blends 0.002 apart. Large data is reduced to a sample of users. Test is never
read. The same ratings and seed give the same users in every process.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.metrics.ranking import best_of, evaluate_lists
from recsys.ranking.list_data import ListData
from recsys.ranking.list_families import LIST_FAMILIES, run_to_end
from recsys.ranking.list_holdout import HoldoutShape, ListHoldout, hold_out, split_off
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import history_of
from recsys.seeds import derive_seed
from recsys.types import FloatArray, JsonObject

SAMPLE_RATINGS = 800_000  # that trials fit to, at most; the blend's members are fitted to all in the end
SCORE_CELLS = 12_000_000  # (users, items) scores of a ranker in memory
MAX_USERS = 3_000  # evaluated users: NDCG@10 is then within about 0.01
DRAWS = 3  # quarters held out in turn; one where the data is large
MANY_RATINGS = 300_000
EARLIER = 0.1  # of each user's newest ratings that every further draw of newest quarters leaves out
TIMED_LISTS = 25
EVERYTHING_RATED = "everybody has rated every item, so there is nothing to list but popular items"


@dataclass(frozen=True)
class ListFigures:
    """Metrics of a config's lists.

    Attributes:
        ndcg: NDCG@10 on the holdout.
        precision: P@10 on the holdout.
        seconds: Of the fits and the lists.
        milliseconds: Of a list for a single user.
    """

    ndcg: float
    precision: float
    seconds: float
    milliseconds: float

    def describe(self) -> JsonObject:
        """As plain JSON, under the names of the metrics."""
        return {
            "ndcg_at_10": self.ndcg,
            "precision_at_10": self.precision,
            "milliseconds_a_list": self.milliseconds,
        }


@dataclass(frozen=True, eq=False)
class ListDraw:
    """A split: ``data`` to fit to, ``holdout`` to evaluate on, and the ``share`` of ratings in ``data``."""

    data: ListData
    holdout: ListHoldout
    share: float

    def blocks(self) -> list[slice]:
        """Slices of the holdout's users with at most SCORE_CELLS scores each."""
        size = max(1, SCORE_CELLS // max(self.data.ratings.item_count, 1))
        return [slice(first, first + size) for first in range(0, max(len(self.holdout.users), 1), size)]


@dataclass(frozen=True, eq=False)
class ListValidation:
    """The splits of a list search.

    Attributes:
        draws: At least one.
        seed: Of every fit.
        impossible: Why no list can be evaluated; "" where it can.
    """

    draws: tuple[ListDraw, ...]
    seed: int
    impossible: str = ""

    @property
    def data(self) -> ListData:
        """The first draw's ratings to fit to."""
        return self.draws[0].data

    @property
    def holdout(self) -> ListHoldout:
        """The first draw's held-out ratings."""
        return self.draws[0].holdout

    @classmethod
    def of(
        cls,
        ratings: Ratings,
        *,
        shape: HoldoutShape,
        seed: int,
        item_features: FloatArray | None = None,
        draws: int | None = None,
    ) -> ListValidation:
        """Splits ratings.

        Args:
            ratings: Train and valid, without test.
            shape: Which quarter of a user's ratings is held out.
            seed: Of the sample, the holdouts and the fits.
            item_features: (items, columns), or None.
            draws: Quarters held out in turn. Random ones are drawn anew; of newest ones each further draw
                ends EARLIER of a user's ratings before the last. None: by the amount of data.

        Returns:
            The splits.
        """
        sample = _sampled(ratings, np.random.default_rng(derive_seed(seed, "lists", "sample")))
        splits: list[ListDraw] = []
        for number in range(draws or (DRAWS if len(sample) <= MANY_RATINGS else 1)):
            draw_seed = derive_seed(seed, "lists", "holdout", *([number] if number else []))
            available = sample
            if shape == "newest" and number:
                available, _ = split_off(sample, shape=shape, seed=draw_seed, share=EARLIER * number)
            holdout = hold_out(available, shape=shape, seed=draw_seed, most_users=MAX_USERS)
            if splits and not len(holdout.users):
                break
            share = len(holdout.known) / max(len(sample), 1)
            splits.append(ListDraw(ListData(holdout.known, item_features), holdout, share))
        reason = (
            "" if len(splits[0].holdout.users) else "nobody has two ratings, so lists are the popular items"
        )
        if len(ratings) >= ratings.user_count * ratings.item_count:
            reason = EVERYTHING_RATED
        return cls(tuple(splits), seed, reason)

    def evaluate(self, family: str, config: object) -> ListFigures:
        """Fits a config on every draw and evaluates its lists.

        Args:
            family: A key of LIST_FAMILIES.
            config: Of the family.

        Returns:
            Means over the draws.
        """
        return run_to_end(self.evaluate_by_epochs(family, config))

    def evaluate_by_epochs(self, family: str, config: object) -> Generator[float, None, ListFigures]:
        """As ``evaluate``, but yields NDCG@10 after each epoch of the first draw, for a family that
        trains by epochs. The other draws are fitted at once: pruning happens on the first."""
        start = time.perf_counter()
        ndcg, precision, milliseconds = [], [], 0.0
        list_family = LIST_FAMILIES[family]
        for number, draw in enumerate(self.draws):
            if list_family.by_epochs is not None and not number:
                scaled = list_family.for_share(config, draw.share)
                ranker = yield from list_family.by_epochs(draw.data, scaled, seed=self._seed_of(family))
            else:
                ranker = self.fit(draw, family, config)
            milliseconds = milliseconds or self.milliseconds(ranker)
            lists = [
                best_of(unseen_scores(ranker, draw.data, draw.holdout.users[block], users_fitted=True), 10)
                for block in draw.blocks()
            ]
            metrics = evaluate_lists(np.concatenate(lists), draw.holdout.relevant)
            ndcg.append(metrics.ndcg)
            precision.append(metrics.precision)
        seconds = time.perf_counter() - start
        return ListFigures(float(np.mean(ndcg)), float(np.mean(precision)), seconds, milliseconds)

    def fit(self, draw: ListDraw, family: str, config: Any) -> Ranker:
        """Fits a config of ``family`` on ``draw``, regularised for the draw's share of ratings."""
        list_family = LIST_FAMILIES[family]
        config = list_family.for_share(config, draw.share)
        return list_family.fit(draw.data, config, seed=self._seed_of(family))

    def _seed_of(self, family: str) -> int:
        return derive_seed(self.seed, "lists", family)

    def milliseconds(self, ranker: Ranker) -> float:
        """Median time of a list for a single user, fold-in included, over TIMED_LISTS users."""
        scale, measured = self.data.ratings.scale, []
        for user in self.holdout.users[:TIMED_LISTS]:
            history = history_of(self.data.rated, int(user), scale)
            start = time.perf_counter()
            best_of(ranker.scores([history]), 10)
            measured.append(1000 * (time.perf_counter() - start))
        return float(np.median(measured)) if measured else 0.0


def unseen_scores(
    ranker: Ranker, data: ListData, users: NDArray[np.int64], *, users_fitted: bool
) -> NDArray[np.float32]:
    """Scores of the items that users have not rated.

    Args:
        ranker: Fitted on ``data``, or on a subset of it without ``users``.
        data: Their histories.
        users: Rows.
        users_fitted: Whether the ranker was fitted on these users, so that their factors are looked up.

    Returns:
        (len(users), items), -inf for rated items.
    """
    scale = data.ratings.scale
    histories = [history_of(data.rated, int(user), scale) for user in users]
    rows = [int(user) for user in users] if users_fitted else None
    scores = ranker.scores(histories, users=rows)
    for row, history in enumerate(histories):
        scores[row, history.items] = -np.inf
    return scores


def _sampled(ratings: Ratings, random: np.random.Generator) -> Ratings:
    """All ratings of random users, at most SAMPLE_RATINGS, in an order that is independent of the rows'."""
    if len(ratings) > SAMPLE_RATINGS:
        counts = np.bincount(ratings.users, minlength=ratings.user_count)
        order = random.permutation(ratings.user_count)
        kept = np.zeros(ratings.user_count, dtype=np.bool_)
        kept[order[np.cumsum(counts[order]) <= SAMPLE_RATINGS]] = True
        ratings = ratings.take(np.flatnonzero(kept[ratings.users]))
    return ratings.take(np.lexsort((ratings.items, ratings.users)))
