"""Lists against brute force: every formula written out in full, every item rated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.models.base import History
from recsys.release.load import load_release
from recsys.release.loaded_release import Release
from recsys.release.queries import Query, RecommendationList, Rules
from recsys.release.recommender import Recommender
from tests.releases import make_release

ITEMS, USERS = 40, 60


def history(pairs: dict[int, float]) -> History:
    return History(np.array(list(pairs), dtype=np.int32), np.array(list(pairs.values()), dtype=np.float32))


def items_of(answer: RecommendationList) -> list[int]:
    return [entry.item for entry in answer.recommendations]


def corrected(release: Release, known: History, item: int, stars: float) -> float:
    """``stars`` with the correction's formula written out, and clipped."""
    result = release.manifest.rating_blend.correction
    assert result is not None
    rows = [release.histories(row) for row in range(USERS)]
    given = [float(value) for row in rows for value in row.values[row.items == item]]
    total = list(result.alone)
    for side, values in ((result.users, known.values.tolist()), (result.items, given)):
        powers = [sum(values), sum(value**2 for value in values), values.count(5.0), values.count(0.5)]
        mean, square, top, bottom = (
            (own + 5 * everyone) / (len(values) + 5)
            for own, everyone in zip(powers, result.everyone[1:], strict=True)
        )
        profile = [np.log(1 + len(values)), mean, max(square - mean**2, 0) ** 0.5, top, bottom]
        for value, middle, spread, slopes in zip(profile, side.means, side.spreads, side.slopes, strict=True):
            far = min(max((value - middle) / spread, -2.5), 2.5)
            for power in range(3):
                total[power] += far * slopes[power]
    x = (stars - result.centre) / result.spread
    stars += sum(coefficient * x**power for power, coefficient in enumerate(total))
    return float(min(max(stars, 0.5), 5.0))


def brute_force(release: Release, query: Query) -> dict[int, tuple[float, float]]:
    """Score and stars of every item that ``query`` may have, each formula written out in full."""
    known = release.histories(query.user) if query.user is not None else history({})
    if query.history is not None:
        pairs = dict(zip(known.items.tolist(), known.values.tolist(), strict=True))
        pairs |= dict(zip(query.history.items.tolist(), query.history.values.tolist(), strict=True))
        known = history(pairs)
    factors = release.ranker.arrays["factors"].astype(np.float64)
    config = release.ranker.settings["config"]
    given = [release.histories(row).items for row in range(USERS)]
    typical = np.mean([len(items) for items in given if len(items)])  # who has no rating does not count
    rated = len(set(np.concatenate(given).tolist()))
    kept = np.concatenate([release.histories(row).values for row in range(USERS)])
    liked = (1 + (known.values - 0.5) / 4.5) / (1 + (kept.mean() - 0.5) / 4.5)
    pull = (len(known.items) / typical) ** -config["user_damping"] * liked ** config["liking"]
    left = config["unobserved"] * sum(np.outer(row, row) for row in factors)
    right = np.zeros(factors.shape[1])
    for item, weight in zip(known.items, pull, strict=True):
        left += weight * np.outer(factors[item], factors[item])
        right += weight * factors[item]
    left += config["ridge"] * (config["unobserved"] * rated + pull.sum()) * np.eye(len(right))
    ranking = factors @ np.linalg.solve(left, right)
    may = [item for item in range(ITEMS) if item not in known.items]
    best = max(ranking[item] for item in may)
    scored = {}
    for item in may:
        stars = 0.0
        for member in release.members:
            fresh = query.user is None or query.history is not None
            state = (
                member.scorer.fold_in(known, query.user)
                if fresh
                else member.scorer.known_user(query.user or 0)
            )
            stars += member.weight * float(member.scorer.score(state, np.array([item]))[0])
        stars = corrected(release, known, item, stars)
        weights = release.manifest.ranking.weights
        scored[item] = (ranking[item] / best + weights.rating * (stars - 0.5) / 4.5, stars)
    return scored


@pytest.mark.parametrize(
    ("user", "fresh"),
    [(0, None), (5, None), (31, None), (5, {3: 5.0, 20: 1.0}), (31, {3: 5.0}), (None, {3: 5.0, 20: 1.0})],
)
def test_with_every_item_a_candidate_lists_are_those_of_brute_force(
    tmp_path: Path, user: int | None, fresh: dict[int, float] | None
) -> None:
    release = load_release(make_release(tmp_path / "release", candidates=ITEMS, rating_weight=0.7))
    query = Query(user=user, history=history(fresh) if fresh else None, count=ITEMS)
    (answer,) = Recommender(release).recommend([query])
    expected = brute_force(release, query)
    assert set(items_of(answer)) == set(expected)
    for entry in answer.recommendations:
        assert entry.score == pytest.approx(expected[entry.item][0], abs=2e-4)
        assert entry.predicted_rating == pytest.approx(expected[entry.item][1], abs=1e-4)
    scores = [entry.score for entry in answer.recommendations]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("boosts", [{}, {7: 0.3}])
def test_a_short_list_is_the_beginning_of_the_long_one(tmp_path: Path, boosts: dict[int, float]) -> None:
    """Whoever is not looked at closer could not have made the list."""
    rules = Rules(boosts=boosts)
    for weight in (0.05, 0.7, 5.0):
        folder = make_release(tmp_path / f"{weight}", candidates=ITEMS, rating_weight=weight)
        asked = Recommender(load_release(folder))
        for user in range(USERS):
            long, short = (asked.recommend([Query(user=user, count=count)], rules)[0] for count in (ITEMS, 3))
            assert items_of(short) == items_of(long)[:3]
