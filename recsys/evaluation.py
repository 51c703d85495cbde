"""The one evaluation: how good predicted ratings and lists are, for members, ensembles and releases.

Search, benchmarks and tests measure by these functions and no others. A release is judged by the very object
that answers over HTTP: whatever the endpoint serves (blend, candidates, fallbacks) is what is measured.
Every rating of the judged slice is relevant, seen items are never listed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.metrics.beyond_accuracy import coverage, diversity, novelty, popular_share
from recsys.metrics.people_sample import MOST_PEOPLE, sample_interval, sampled_people
from recsys.metrics.ranking import NO_ITEM, Lists, evaluate_lists, pair_matrix
from recsys.metrics.rating import loss, mae, mse, rmse
from recsys.models.base import Scorer
from recsys.release.queries import NO_RULES, Query, Rules
from recsys.release.recommender import Recommender
from recsys.types import BoolArray, FloatArray, IntArray

SAMPLE_SEED = 0  # of the people whose lists are judged: the same ones for every release
Predict = Callable[[int, IntArray], FloatArray]


def scorer_predictor(scorer: Scorer) -> Predict:
    """Stars by one packed model, as a release would have it predict.

    Args:
        scorer: Of a model's artifact.

    Returns:
        ``predict(user, items)``, which gives (len(items),) stars, not clipped to the scale.
    """
    return lambda user, items: scorer.score(scorer.known_user(user), items)


def release_predictor(recommender: Recommender) -> Predict:
    """Stars by the ensemble of a release, as ``scorer_predictor`` gives a member's."""
    return lambda user, items: recommender.predict(Query(user=user), items)


def predict_pairs(predict: Predict, ratings: Ratings) -> NDArray[np.float32]:
    """Predicted stars for pairs, inside the scale.

    Args:
        predict: See ``scorer_predictor``.
        ratings: The pairs; their values are never read.

    Returns:
        (n,) stars inside the scale, in the order of ``ratings``.
    """
    return np.clip(_by_user(predict, ratings), ratings.scale.low, ratings.scale.high)


def scorer_kl(scorer: Scorer, ratings: Ratings, *, most: int = 100_000) -> float | None:
    """KL of a model's latent on pairs, as it predicts them: nats, mean over dimensions and pairs.

    Args:
        scorer: Of a model's artifact.
        ratings: The pairs; their values are never read.
        most: Pairs at most that are read, evenly spaced.

    Returns:
        None where the model has no latent, or the artifact lacks what it takes (an older one; a prior of
        features).
    """
    kl = getattr(scorer, "kl", None)
    if kl is None or not getattr(scorer, "has_kl", False) or not len(ratings):
        return None
    nats = _by_user(lambda user, items: kl(scorer.known_user(user), items), ratings.thinned(most))
    return float(nats.mean(dtype=np.float64))


def _by_user(predict: Predict, ratings: Ratings) -> NDArray[np.float32]:
    """(n,) of ``predict``, asked for one user at a time."""
    values = np.empty(len(ratings), dtype=np.float32)
    order = np.argsort(ratings.users, kind="stable")
    ends = np.flatnonzero(np.diff(ratings.users[order])) + 1
    for rows in np.split(order, ends) if len(order) else []:
        values[rows] = predict(int(ratings.users[rows[0]]), ratings.items[rows])
    return values


def recommend_lists(
    recommender: Recommender, users: IntArray, *, count: int = 10, rules: Rules = NO_RULES
) -> Lists:
    """Top-k lists as the endpoint would serve them.

    Args:
        recommender: Of the release that is judged.
        users: (n,) rows.
        count: Items per list.
        rules: What the deployment does to every list.

    Returns:
        (n, count) item rows, best first, NO_ITEM after the last.
    """
    lists = np.full((len(users), count), NO_ITEM, dtype=np.int32)
    queries = [Query(user=int(user), count=count) for user in users]
    for row, answer in enumerate(recommender.recommend(queries, rules)):
        items = [recommendation.item for recommendation in answer.recommendations]
        lists[row, : len(items)] = items
    return lists


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


def list_metrics(
    lists: Lists,
    users: IntArray,
    ratings: Ratings,
    *,
    counts: FloatArray | IntArray,
    genres: BoolArray | None = None,
    at: Sequence[int] = (10,),
    population: int | None = None,
) -> dict[str, float]:
    """Quality and character of lists.

    Args:
        lists: (n, longest of ``at`` or more) item rows, best first.
        users: (n,) their user rows.
        ratings: The judged slice; every one of its ratings is relevant.
        counts: (items,) ratings that are known of each item, for novelty and popularity.
        genres: (items, genres) membership, for diversity.
        at: Lengths k that precision, recall, NDCG, MAP, MRR and hit rate are given for.
        population: People that ``users`` are a sample of (``sampled_people``); None where they are all.

    Returns:
        ``precision_at_k`` and so on for each k; ``coverage``, ``novelty`` (bits), ``popular_share`` (of the
        most popular tenth of items) and ``diversity`` at the first k; ``list_users``, the people judged. Of a
        sample also ``list_population`` and the ends of 95% intervals, ``ndcg_at_k_low`` and so on. What has
        no value is left out.
    """
    figures: dict[str, float] = {"list_users": float(len(users))}
    relevant = pair_matrix(ratings)[users]
    for k in at:
        judged = evaluate_lists(lists[:, :k], relevant)
        figures |= judged.figures()
        if population is not None and population > len(users):
            figures["list_population"] = float(population)
            for name in ("precision", "recall", "ndcg", "map"):
                low, high = sample_interval(getattr(judged, f"{name}_by_user"), population)
                figures |= {f"{name}_at_{k}_low": low, f"{name}_at_{k}_high": high}
    first = lists[:, : at[0]]
    whole = np.asarray(counts).astype(np.int64)
    figures["coverage"] = coverage(first, ratings.item_count)
    figures["novelty"] = novelty(first, whole, ratings.user_count)
    figures["popular_share"] = popular_share(first, whole)
    if genres is not None and genres.shape[1]:
        figures["diversity"] = diversity(first, genres.astype(np.float32))
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def evaluate_release(
    recommender: Recommender,
    ratings: Ratings,
    *,
    kl: float = 0.0,
    at: Sequence[int] = (10,),
    rules: Rules = NO_RULES,
    most_people: int = MOST_PEOPLE,
) -> dict[str, float]:
    """All metrics of a release on a slice: those of its predicted ratings and those of its lists.

    Args:
        recommender: What would answer over HTTP.
        ratings: The judged slice, of the release's own users.
        kl: The ensemble's, nats.
        at: Lengths of lists.
        rules: What the deployment does to every list.
        most_people: Lists are judged for so many at most, a sample stratified by activity.

    Returns:
        Figures by name, as results.json has them, and what ``list_metrics`` says of a sample.
    """
    release = recommender.release
    everybody, activity = np.unique(ratings.users, return_counts=True)
    users = sampled_people(everybody, activity, most=most_people, seed=SAMPLE_SEED)
    lists = recommend_lists(recommender, users, count=max(at), rules=rules)
    stars = predict_pairs(release_predictor(recommender), ratings)
    return rating_metrics(stars, ratings, kl=kl) | list_metrics(
        lists,
        users,
        ratings,
        counts=release.popularity.counts,
        genres=release.items.member_of,
        at=at,
        population=len(everybody),
    )


def sample_note(figures: Mapping[str, float]) -> str:
    """What a reader of list figures must know where they are a sample's; "" where they are not.

    Args:
        figures: As ``list_metrics`` gives them, at 10.
    """
    if "list_population" not in figures:
        return ""
    return (
        f"lists judged for {figures['list_users']:,.0f} of {figures['list_population']:,.0f} people, sampled "
        f"by activity: 95% intervals P@10 {figures['precision_at_10_low']:.4f} to "
        f"{figures['precision_at_10_high']:.4f}, NDCG@10 {figures['ndcg_at_10_low']:.4f} to "
        f"{figures['ndcg_at_10_high']:.4f}; coverage is the sample's"
    )
