"""Choose a ranker on validation and fit it: what the lists of a release come from.

A ranker is judged as it is used: NDCG@10 over the full catalogue, seen (train) items removed, every
rating of the validation slice relevant. The search is a coordinate descent from good starting values,
``budget`` fits long and without a clock, so the same seed gives the same ranker; large data is searched
on a sample of users. The winner is fitted again on train and valid together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.metrics.ranking import evaluate_lists, pair_matrix, rank_all
from recsys.ranking.als import UNIT, AlsConfig, fit_als
from recsys.ranking.popularity_prior import choose_popularity_prior
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import history_of, rated_matrix
from recsys.seeds import derive_seed
from recsys.types import FloatArray, IntArray, JsonObject
from tests.benchmarks.fixed_ease import MOST_ITEMS, EaseConfig, fit_ease
from tests.benchmarks.fixed_ranker import RankerConfig, join

SAMPLE_RATINGS = 800_000  # the search fits on about so many; the winner on all
BUDGETS = ((300_000, 16), (SAMPLE_RATINGS, 9))  # fits, by the ratings that each costs
EVALUATED_USERS = 3_000
GAIN = 1.01  # less is luck: two close configs differ by so much on a thousand users
EASE_WEIGHTS = (0.25, 0.5, 1.0, 2.0)
EASE_STARTS = (EaseConfig(), EaseConfig(ridge=100.0, user_damping=0.25, dropout=0.3))
# One step each way, in the order in which they help most.
ALS_STEPS: tuple[tuple[str, tuple[float, float]], ...] = (
    ("ridge", (0.6, 1.6)),
    ("unobserved", (0.5, 2.0)),
    ("factors", (0.5, 2.0)),
    ("user_damping", (0.5, 1.6)),
)
Progress = Callable[[str], None]


@dataclass
class Selection:
    """What was tried and what won. ``on_train`` is the winner fitted on (the sample of) train alone."""

    recipe: RankerConfig
    on_train: Ranker
    tried: list[JsonObject] = field(default_factory=list)
    users: int = 0
    newcomers: JsonObject = field(default_factory=dict)  # NDCG by how much popularity counts

    def fit(self, ratings: Ratings, *, seed: int) -> Ranker:
        """The winner on ``ratings``: train and valid, or every slice for a refit."""
        return self.recipe.fit(rated_matrix(ratings), seed=derive_seed(seed, "ranker"), scale=ratings.scale)

    def report(self) -> JsonObject:
        return {
            "family": self.recipe.family,
            "recipe": self.recipe.describe(),
            "selected_by": "ndcg_at_10 on valid",
            "users": self.users,
            "tried": self.tried,
            "newcomers": self.newcomers,
        }


def fit_ranker(
    train: Ratings,
    valid: Ratings,
    *,
    seed: int,
    budget: int | None = None,
    progress: Progress = lambda line: None,
) -> tuple[Ranker, JsonObject]:
    """The best ranker on ``valid``, fitted again on train and valid; and the report of its choice."""
    selection = select_ranker(train, valid, seed=seed, budget=budget, progress=progress)
    return selection.fit(train.joined(valid), seed=seed), selection.report()


def select_ranker(
    train: Ratings,
    valid: Ratings,
    *,
    seed: int,
    budget: int | None = None,
    progress: Progress = lambda line: None,
) -> Selection:
    """At most ``budget`` fits (None: fewer on more data). With no valid ratings, the starting values are
    taken as they are."""
    if budget is None:
        budget = next((fits for most, fits in BUDGETS if len(train) <= most), BUDGETS[-1][1])
    search = _ConfigSearch(train, valid, seed=seed, progress=progress)
    search.measure(RankerConfig())
    few = train.item_count <= MOST_ITEMS
    if few:
        for config in EASE_STARTS[: max(1, budget // 6)]:
            search.measure(RankerConfig(ease=config))
    start = AlsConfig()
    search.measure(RankerConfig(als=start))
    if search.users_with_relevant:
        search.descend(start, budget - len(search.tried))
    als, ease = search.best_part("als"), search.best_part("ease")
    if als and ease:
        for weight in EASE_WEIGHTS:
            search.measure(RankerConfig(als=als.als, ease=ease.ease, ease_weight=weight))
    return search.chosen(start)


class _ConfigSearch:
    """Fitted parts by their config, and the score of every recipe measured."""

    def __init__(self, train: Ratings, valid: Ratings, *, seed: int, progress: Progress) -> None:
        self._seed, self._progress = seed, progress
        random = np.random.default_rng(derive_seed(seed, "ranker", "sample"))
        users = np.unique(valid.users)
        self._users = np.sort(random.permutation(users)[:EVALUATED_USERS]).astype(np.int64)
        self._rated = rated_matrix(_sampled(train, self._users, random))
        self._scale = train.scale
        self._relevant = pair_matrix(valid)[self._users]
        self._parts: dict[Any, Ranker] = {}
        self._scores: dict[RankerConfig, float] = {}
        self.tried: list[JsonObject] = []

    @property
    def users_with_relevant(self) -> int:
        return len(self._users)

    def measure(self, recipe: RankerConfig) -> float:
        """NDCG@10 of ``recipe``, 0 where there is nobody to judge it by."""
        if recipe in self._scores:
            return self._scores[recipe]
        began = time.perf_counter()
        ranker = self.ranker(recipe)
        ndcg = precision = 0.0
        if len(self._users):
            lists = rank_all(lambda users: block_scores(ranker, users, self._rated), self._users, self._rated)
            scores = evaluate_lists(lists, self._relevant)
            ndcg, precision = scores.ndcg, scores.precision
        self._scores[recipe] = ndcg
        seconds = time.perf_counter() - began
        self.tried.append(
            {
                "family": recipe.family,
                "recipe": recipe.describe(),
                "ndcg_at_10": ndcg,
                "precision_at_10": precision,
                "seconds": round(seconds, 3),
            }
        )
        self._progress(f"ranker {recipe.family}: NDCG@10 {ndcg:.4f} on valid ({seconds:.1f} s)")
        return ndcg

    def ranker(self, recipe: RankerConfig) -> Ranker:
        als = ease = None
        if recipe.als is not None:
            if recipe.als not in self._parts:
                self._parts[recipe.als] = fit_als(
                    self._rated, recipe.als, scale=self._scale, seed=derive_seed(self._seed, "ranker")
                )
            als = self._parts[recipe.als]
        if recipe.ease is not None:
            if recipe.ease not in self._parts:
                self._parts[recipe.ease] = fit_ease(self._rated, recipe.ease)
            ease = self._parts[recipe.ease]
        return join(recipe, als, ease, self._rated)

    def descend(self, best: AlsConfig, budget: int) -> None:
        """From ``best``, one dial a time, keeping what helps, until ``budget`` fits or nothing helps."""
        left = budget
        moved = True
        while moved and left > 0:
            moved = False
            for name, factors in ALS_STEPS:
                for tried in _steps(best, name, factors):
                    if left <= 0:
                        return
                    if RankerConfig(als=tried) in self._scores:
                        continue
                    left -= 1
                    if self.measure(RankerConfig(als=tried)) > GAIN * self._scores[RankerConfig(als=best)]:
                        best, moved = tried, True
                        break

    def best_part(self, family: str) -> RankerConfig | None:
        alone = [recipe for recipe in self._scores if recipe.family == family]
        return max(alone, key=self._scores.__getitem__, default=None)

    def chosen(self, start: AlsConfig) -> Selection:
        best = (
            max(self._scores, key=self._scores.__getitem__) if len(self._users) else RankerConfig(als=start)
        )
        report: JsonObject = {}
        if best.family != "popularity" and len(self._users):
            weight, report = choose_popularity_prior(
                self.ranker(best),
                self._users,
                self._rated,
                self._relevant,
                seed=derive_seed(self._seed, "ranker", "newcomers"),
                scale=self._scale,
            )
            best = replace(best, newcomers=weight)
        return Selection(best, self.ranker(best), self.tried, len(self._users), report)


def _steps(config: AlsConfig, name: str, factors: tuple[float, float]) -> Iterator[AlsConfig]:
    for factor in factors:
        value = getattr(config, name) * factor
        yield replace(config, **{name: int(value) if name == "factors" else round(value, 6)})


def _sampled(train: Ratings, users: NDArray[np.int64], random: np.random.Generator) -> Ratings:
    """Ratings of ``users`` and of as many others, whole, as keep it near SAMPLE_RATINGS."""
    if len(train) <= SAMPLE_RATINGS:
        return train
    counts = np.bincount(train.users, minlength=train.user_count)
    order = random.permutation(np.setdiff1d(np.arange(train.user_count), users))
    total = counts[users].sum() + np.cumsum(counts[order])
    kept = np.zeros(train.user_count, dtype=np.bool_)
    kept[users] = True
    kept[order[total <= SAMPLE_RATINGS]] = True
    return train.take(np.flatnonzero(kept[train.users]))


def block_scores(ranker: Ranker, users: IntArray, rated: sp.csr_matrix) -> FloatArray:
    """(len(users), items) scores of users whose history is their row of ``rated``, which training saw."""
    histories = [history_of(rated, int(user), UNIT) for user in users]
    return ranker.scores(histories, users=[int(user) for user in users])
