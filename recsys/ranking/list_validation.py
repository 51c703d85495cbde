"""What list trials are judged on: people whose held-out items a good list holds.

A trial fits one config on three quarters of each person's train and valid ratings; NDCG@10 of lists that
should hold the rest ranks it (see list_holdout.py), the mean over several draws where the data is small: one
draw of ML-100K cannot tell blends 0.002 apart. Test has no part in it. Large data is judged on a sample of
whole people. The same ratings and seed give the same people, wherever this is made.
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
from recsys.ranking.list_families import LIST_FAMILIES, to_the_end
from recsys.ranking.list_holdout import HoldoutShape, ListHoldout, hold_out, take_out
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import history_of
from recsys.seeds import derive_seed
from recsys.types import FloatArray, JsonObject

SAMPLE_RATINGS = 800_000  # trials fit on about so many; the blend's members, in the end, on all
SCORE_CELLS = 12_000_000  # (people, items) scores of a ranker that are in memory at a time
MAX_USERS = 3_000  # people judged by: NDCG@10 is then within about 0.01
DRAWS = 3  # quarters held out in turn; one where the data is large
MANY_RATINGS = 300_000
EARLIER = 0.1  # of each person's newest ratings that every further draw of newest quarters leaves out
TIMED_LISTS = 25
EVERYTHING_RATED = "everybody has rated every item, so there is nothing to list but popular items"


@dataclass(frozen=True)
class ListFigures:
    """What a config's lists were worth: NDCG@10 and P@10 on the holdout; ``seconds`` of the fit and the
    lists, ``milliseconds`` a list when people come one by one."""

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
    """Ratings to fit on (``data``), people to judge by (``holdout``), and the share of all ratings that the
    former are."""

    data: ListData
    holdout: ListHoldout
    share: float

    def blocks(self) -> list[slice]:
        """Of the holdout's users, in order: at most SCORE_CELLS scores each."""
        size = max(1, SCORE_CELLS // max(self.data.ratings.item_count, 1))
        return [slice(first, first + size) for first in range(0, max(len(self.holdout.users), 1), size)]


@dataclass(frozen=True, eq=False)
class ListValidation:
    """``draws``, at least one, each judged alike; ``seed`` is that of every fit. ``impossible`` says why no
    list can be judged; "" where one can."""

    draws: tuple[ListDraw, ...]
    seed: int
    impossible: str = ""

    @property
    def data(self) -> ListData:
        """What the first draw fits on."""
        return self.draws[0].data

    @property
    def holdout(self) -> ListHoldout:
        """What the first draw judges by."""
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
        """Cuts ``ratings``.

        Args:
            ratings: All that may be learned from (train and valid); test is not among them.
            shape: Which quarter of a person's ratings judges the trials.
            seed: Of the sample, the holdouts and the fits.
            item_features: (items, columns), or None.
            draws: Quarters held out in turn. Random ones are drawn anew; of newest ones each further draw
                ends EARLIER of a person's ratings before the last. None: by the amount of data.
        """
        sample = _sampled(ratings, np.random.default_rng(derive_seed(seed, "lists", "sample")))
        cut: list[ListDraw] = []
        for number in range(draws or (DRAWS if len(sample) <= MANY_RATINGS else 1)):
            draw_seed = derive_seed(seed, "lists", "holdout", *([number] if number else []))
            part = sample
            if shape == "newest" and number:
                part, _ = take_out(sample, shape=shape, seed=draw_seed, share=EARLIER * number)
            holdout = hold_out(part, shape=shape, seed=draw_seed, most_users=MAX_USERS)
            if cut and not len(holdout.users):
                break
            share = len(holdout.known) / max(len(sample), 1)
            cut.append(ListDraw(ListData(holdout.known, item_features), holdout, share))
        reason = "" if len(cut[0].holdout.users) else "nobody has two ratings, so lists are the popular items"
        if len(ratings) >= ratings.user_count * ratings.item_count:
            reason = EVERYTHING_RATED
        return cls(tuple(cut), seed, reason)

    def judge(self, family: str, config: object) -> ListFigures:
        """Fits ``config`` of ``family`` on every draw and judges its lists: means over the draws."""
        return to_the_end(self.judge_by_epochs(family, config))

    def judge_by_epochs(self, family: str, config: object) -> Generator[float, None, ListFigures]:
        """As ``judge``; of a family that trains by epochs it yields NDCG@10 so far after each of the first
        draw's. The other draws are fitted at once: what is to be ended is ended by then."""
        start = time.perf_counter()
        ndcg, precision, milliseconds = [], [], 0.0
        listed = LIST_FAMILIES[family]
        for number, draw in enumerate(self.draws):
            if listed.by_epochs is not None and not number:
                fitted = listed.for_share(config, draw.share)
                ranker = yield from listed.by_epochs(draw.data, fitted, seed=self._seed_of(family))
            else:
                ranker = self.fit(draw, family, config)
            milliseconds = milliseconds or self.milliseconds(ranker)
            lists = [
                best_of(unseen_scores(ranker, draw.data, draw.holdout.users[block], users_fitted=True), 10)
                for block in draw.blocks()
            ]
            judged = evaluate_lists(np.concatenate(lists), draw.holdout.relevant)
            ndcg.append(judged.ndcg)
            precision.append(judged.precision)
        seconds = time.perf_counter() - start
        return ListFigures(float(np.mean(ndcg)), float(np.mean(precision)), seconds, milliseconds)

    def fit(self, draw: ListDraw, family: str, config: Any) -> Ranker:
        """``config`` of ``family`` on a draw, its regularisation that of so much data."""
        listed = LIST_FAMILIES[family]
        config = listed.for_share(config, draw.share)
        return listed.fit(draw.data, config, seed=self._seed_of(family))

    def _seed_of(self, family: str) -> int:
        return derive_seed(self.seed, "lists", family)

    def milliseconds(self, ranker: Ranker) -> float:
        """Of a list for one person, their vector solved anew: the median of TIMED_LISTS."""
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
    """(len(users), items) scores of what each user has not rated, -inf for what they have.

    Args:
        ranker: Fitted on ``data``, or on a part of it without ``users``.
        data: Their histories.
        users: Rows.
        users_fitted: Whether the ranker was fitted on these users, so that their factors are looked up.
    """
    scale = data.ratings.scale
    histories = [history_of(data.rated, int(user), scale) for user in users]
    rows = [int(user) for user in users] if users_fitted else None
    scores = ranker.scores(histories, users=rows)
    for row, history in enumerate(histories):
        scores[row, history.items] = -np.inf
    return scores


def _sampled(ratings: Ratings, random: np.random.Generator) -> Ratings:
    """Whole people, as many as keep it near SAMPLE_RATINGS, their ratings in one order whatever the rows'."""
    if len(ratings) > SAMPLE_RATINGS:
        counts = np.bincount(ratings.users, minlength=ratings.user_count)
        order = random.permutation(ratings.user_count)
        kept = np.zeros(ratings.user_count, dtype=np.bool_)
        kept[order[np.cumsum(counts[order]) <= SAMPLE_RATINGS]] = True
        ratings = ratings.take(np.flatnonzero(kept[ratings.users]))
    return ratings.take(np.lexsort((ratings.items, ratings.users)))
