"""The one evaluation: how good predicted ratings and lists are, for members, ensembles and releases.

Search, benchmarks and tests measure by these functions and no others. A release is judged by the very object
that answers over HTTP: whatever the endpoint serves (blend, candidates, fallbacks) is what is measured.
Every rating of the judged slice is relevant, seen items are never listed. People whom nothing was fitted on
(``fold_in`` of a split) are judged as the strangers they are: folded in from ``histories``, by user row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsys.data.ratings import Ratings
from recsys.metrics.beyond_accuracy import (
    coverage,
    diversity,
    novelty,
    popular_share,
    popular_share_of_ratings,
)
from recsys.metrics.people_sample import MOST_PEOPLE, sampled_people
from recsys.metrics.ranking import NO_ITEM, Lists, evaluate_lists, pair_matrix
from recsys.metrics.rating import loss, mae, mse, rmse
from recsys.metrics.significance import ConfidenceInterval, values_of
from recsys.predictions import NO_HISTORIES, Histories, predict_pairs, query_of, release_predictor
from recsys.release.queries import NO_RULES, Rules
from recsys.release.recommender import Recommender
from recsys.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    import torch

SAMPLE_SEED = 0  # of the people whose lists are judged: the same ones for every release


def recommend_lists(
    recommender: Recommender,
    users: IntArray,
    *,
    count: int = 10,
    rules: Rules = NO_RULES,
    histories: Histories = NO_HISTORIES,
    card: torch.device | None = None,
) -> Lists:
    """Top-k lists as the endpoint would serve them.

    Args:
        recommender: Of the release that is judged.
        users: (n,) rows.
        count: Items per list.
        rules: What the deployment does to every list.
        histories: Of those of them who are folded in.
        card: Where lists that are the ranker's own best are made, whole blocks of people at a time. None: as
            requests are answered, which a CPU does in less time (long factors first, the rest seldom).

    Returns:
        (n, count) item rows, best first, NO_ITEM after the last.
    """
    lists = np.full((len(users), count), NO_ITEM, dtype=np.int32)
    rest = np.arange(len(users))
    if card is not None:
        blockwise = _ranked_alone(recommender, users, rules, histories)
        lists[blockwise] = _lists_by_blocks(recommender, users[blockwise], count, card)
        rest = np.flatnonzero(~blockwise)
    queries = [query_of(int(user), histories, count=count) for user in users[rest]]
    for row, answer in zip(rest, recommender.recommend(queries, rules), strict=True):
        items = [recommendation.item for recommendation in answer.recommendations]
        lists[row, : len(items)] = items
    return lists


def _ranked_alone(recommender: Recommender, users: IntArray, rules: Rules, histories: Histories) -> BoolArray:
    """(n,) whose list is the ranker's own best: no stars, no rules and nobody's fallback come into it."""
    release = recommender.release
    has_rules = rules.hidden is not None or bool(rules.boosts) or rules.diversity > 0
    ranker_only = not has_rules and release.manifest.ranking.weights.rating == 0 and release.ranker.folds_in
    has_history = release.histories.ends[users + 1] > release.histories.ends[users]
    return (
        has_history & ranker_only & np.array([int(user) not in histories for user in users], dtype=np.bool_)
    )


def _lists_by_blocks(recommender: Recommender, users: IntArray, count: int, card: torch.device) -> Lists:
    from recsys.ranking.block_lists import BlockLists

    release = recommender.release
    histories = [release.histories(int(user)) for user in users]
    return BlockLists(release.ranker, card).best(histories, users.tolist(), count=count)


def rating_metrics(stars: FloatArray, ratings: Ratings, *, kl: float) -> dict[str, float]:
    """``loss`` (MSE + 0.01 KL), ``rmse`` and ``mae`` in stars, ``kl`` and the number of ``ratings``.

    Args:
        stars: (n,) predictions for ``ratings``, row for row.
        ratings: What was given.
        kl: Nats, mean over latent dimensions; 0 for models without a latent.
    """
    return {
        "loss": loss(mse(stars, ratings.values), kl),
        "rmse": rmse(stars, ratings.values),
        "mae": mae(stars, ratings.values),
        "kl": kl,
        "ratings": float(len(ratings)),
    }


def list_intervals(
    lists: Lists,
    users: IntArray,
    ratings: Ratings,
    *,
    counts: FloatArray | IntArray,
    genres: BoolArray | None = None,
    at: Sequence[int] = (10,),
) -> dict[str, ConfidenceInterval]:
    """Quality and character of lists, each with its 95% interval over people.

    Args:
        lists: (n, longest of ``at`` or more) item rows, best first.
        users: (n,) their user rows.
        ratings: The judged slice; every one of its ratings is relevant.
        counts: (items,) ratings that are known of each item, for novelty and popularity.
        genres: (items, genres) membership, for diversity.
        at: Lengths k that precision, recall, NDCG, MAP, MRR and hit rate are given for.

    Returns:
        ``precision_at_k`` and so on for each k; ``coverage``, ``novelty`` (bits), ``popular_share`` (of the
        most popular tenth of items), ``popular_share_of_ratings`` (the same share of the known ratings, a
        fact without an interval) and ``diversity`` at the first k. What has no value is left out.
    """
    intervals: dict[str, ConfidenceInterval] = {}
    relevant = pair_matrix(ratings)[users]
    for k in at:
        scores = evaluate_lists(lists[:, :k], relevant)
        intervals |= {name: _fact(value) for name, value in scores.figures().items()} | scores.intervals()
    first = lists[:, : at[0]]
    item_counts = np.asarray(counts).astype(np.int64)
    intervals["coverage"] = coverage(first, ratings.item_count)
    intervals["novelty"] = novelty(first, item_counts, ratings.user_count)
    intervals["popular_share"] = popular_share(first, item_counts)
    intervals["popular_share_of_ratings"] = _fact(popular_share_of_ratings(item_counts))
    if genres is not None and genres.shape[1]:
        intervals["diversity"] = diversity(first, genres.astype(np.float32))
    return {name: figure for name, figure in intervals.items() if math.isfinite(figure.value)}


def _fact(value: float) -> ConfidenceInterval:
    return ConfidenceInterval(value, math.nan, math.nan)


@dataclass(frozen=True)
class ReleaseFigures:
    """What a release was worth on a slice: its ``ratings`` and its ``lists``, these for ``people`` of
    ``population``, ``folded_in`` of them as strangers."""

    ratings: dict[str, float]
    lists: dict[str, ConfidenceInterval]
    people: int
    folded_in: int
    population: int

    def values(self) -> dict[str, float]:
        """Figures by name, as results.json has them."""
        return self.ratings | values_of(self.lists) | {"list_users": float(self.people)}

    def sample_note(self) -> str:
        """What a reader must know where lists are a sample's; "" where they are not."""
        if self.people == self.population:
            return ""
        ends = ", ".join(
            f"{name} {self.lists[key].low:.4f} to {self.lists[key].high:.4f}"
            for name, key in (("P@10", "precision_at_10"), ("NDCG@10", "ndcg_at_10"))
        )
        return (
            f"lists judged for {self.people:,} of {self.population:,} people, sampled by activity: 95% "
            f"intervals {ends}; coverage is the sample's"
        )


def evaluate_release(
    recommender: Recommender,
    ratings: Ratings,
    *,
    kl: float = 0.0,
    at: Sequence[int] = (10,),
    rules: Rules = NO_RULES,
    histories: Histories = NO_HISTORIES,
    most_people: int = MOST_PEOPLE,
    card: torch.device | None = None,
) -> ReleaseFigures:
    """All metrics of a release on a slice: those of its predicted ratings and those of its lists.

    Args:
        recommender: What would answer over HTTP.
        ratings: The judged slice, of the release's own users.
        kl: The ensemble's, nats.
        at: Lengths of lists.
        rules: What the deployment does to every list.
        histories: Of the judged people whom nothing was fitted on.
        most_people: Lists are judged for so many at most, a sample stratified by activity.
        card: As ``recommend_lists`` has it.
    """
    release = recommender.release
    raters, activity = np.unique(ratings.users, return_counts=True)
    users = sampled_people(raters, activity, most=most_people, seed=SAMPLE_SEED)
    lists = recommend_lists(recommender, users, count=max(at), rules=rules, histories=histories, card=card)
    stars = predict_pairs(release_predictor(recommender, histories), ratings)
    return ReleaseFigures(
        ratings=rating_metrics(stars, ratings, kl=kl),
        lists=list_intervals(
            lists, users, ratings, counts=release.popularity.counts, genres=release.items.member_of, at=at
        ),
        people=len(users),
        folded_in=sum(int(user) in histories for user in users),
        population=len(raters),
    )
