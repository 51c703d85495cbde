"""Figures of a release against plain loops over what it answers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from recsys.data.ratings import Ratings
from recsys.evaluation import _ranked_alone, evaluate_release, recommend_lists
from recsys.predictions import predict_pairs, release_predictor
from recsys.release.load import load_release
from recsys.release.queries import NO_RULES, Query, Rules
from recsys.release.recommender import Recommender
from tests.releases import make_cut, make_dataset, make_release


@pytest.fixture(scope="module")
def test_ratings() -> Ratings:
    dataset = make_dataset()
    return dataset.ratings.take(make_cut(dataset).test)


def test_stars_are_those_of_predict_in_the_order_of_the_ratings(
    recommender: Recommender, test_ratings: Ratings
) -> None:
    stars = predict_pairs(release_predictor(recommender), test_ratings)
    for row in range(len(test_ratings)):
        query, items = Query(user=int(test_ratings.users[row])), test_ratings.items[row : row + 1]
        assert stars[row] == pytest.approx(recommender.predict(query, items)[0], abs=1e-6)


def test_figures_are_those_of_the_lists_that_are_served(
    recommender: Recommender, test_ratings: Ratings
) -> None:
    figures = evaluate_release(recommender, test_ratings, kl=1.0).values()
    precision, ndcg = [], []
    for user in np.unique(test_ratings.users):
        relevant = set(test_ratings.items[test_ratings.users == user].tolist())
        (answer,) = recommender.recommend([Query(user=int(user))])
        hits = [entry.item in relevant for entry in answer.recommendations]
        precision.append(sum(hits) / 10)
        ideal = sum(1 / math.log2(index + 2) for index in range(min(10, len(relevant))))
        ndcg.append(sum(hit / math.log2(index + 2) for index, hit in enumerate(hits)) / ideal)
    assert figures["precision_at_10"] == pytest.approx(np.mean(precision))
    assert figures["ndcg_at_10"] == pytest.approx(np.mean(ndcg))
    error = np.square(
        predict_pairs(release_predictor(recommender), test_ratings) - test_ratings.values
    ).mean()
    assert figures["rmse"] == pytest.approx(math.sqrt(error), rel=1e-5)
    assert figures["loss"] == pytest.approx(error + 0.01 * 1.0, rel=1e-5)
    assert 0 < figures["coverage"] <= 1
    assert {"mrr_at_10", "hit_rate_at_10", "popular_share"} <= set(figures)
    assert {"diversity", "novelty", "map_at_10", "recall_at_10", "mae"} <= set(figures)


def test_shorter_lists_are_the_beginnings_of_longer_ones(
    recommender: Recommender, test_ratings: Ratings
) -> None:
    figures = evaluate_release(recommender, test_ratings, at=(5, 10, 20)).values()
    alone = evaluate_release(recommender, test_ratings, at=(5,)).values()
    assert figures["ndcg_at_5"] == pytest.approx(alone["ndcg_at_5"])
    assert figures["hit_rate_at_5"] <= figures["hit_rate_at_10"] <= figures["hit_rate_at_20"]


def test_every_figure_of_lists_has_its_interval_over_people(
    recommender: Recommender, test_ratings: Ratings
) -> None:
    result = evaluate_release(recommender, test_ratings, at=(10, 20))
    assert result.people == len(np.unique(test_ratings.users))
    assert result.folded_in == 0
    for name, figure in result.lists.items():
        if name != "popular_share_of_ratings":
            assert figure.low <= figure.value <= figure.high, name
    precision = [
        len(
            {entry.item for entry in answer.recommendations}
            & set(test_ratings.items[test_ratings.users == user])
        )
        for user, answer in (
            (user, recommender.recommend([Query(user=int(user), count=20)])[0])
            for user in np.unique(test_ratings.users)
        )
    ]
    expected = student.interval(
        0.95,
        len(precision) - 1,
        np.mean(precision) / 20,
        np.std(precision, ddof=1) / 20 / len(precision) ** 0.5,
    )
    figure = result.lists["precision_at_20"]
    assert (figure.low, figure.high) == pytest.approx(expected)


def test_people_whom_nothing_was_fitted_on_are_folded_in(
    recommender: Recommender, test_ratings: Ratings
) -> None:
    strangers = {
        int(user): recommender.release.histories(int(user)) for user in np.unique(test_ratings.users)[:3]
    }
    lists = recommend_lists(recommender, np.array(list(strangers)), histories=strangers)
    for row, history in enumerate(strangers.values()):
        (answer,) = recommender.recommend([Query(user=None, history=history)])
        assert answer.source == "folded_in"
        assert lists[row].tolist() == [entry.item for entry in answer.recommendations]
    result = evaluate_release(recommender, test_ratings, histories=strangers)
    assert result.folded_in == 3
    assert result.values()["rmse"] != evaluate_release(recommender, test_ratings).values()["rmse"]


def test_lists_by_blocks_are_those_that_are_served(tmp_path: Path, test_ratings: Ratings) -> None:
    recommender = Recommender(load_release(make_release(tmp_path / "release", rating_weight=0.0)))
    assert _ranked_alone(recommender, np.arange(3), NO_RULES, {}).all()
    users = np.arange(len(recommender.release.histories))
    strangers = {3: recommender.release.histories(5)}
    served = recommend_lists(recommender, users, histories=strangers)
    assert np.array_equal(
        recommend_lists(recommender, users, histories=strangers, card=torch.device("cpu")), served
    )
    ruled = Rules(hidden=served[:, 0], diversity=0.3)
    assert np.array_equal(
        recommend_lists(recommender, users, rules=ruled, card=torch.device("cpu")),
        recommend_lists(recommender, users, rules=ruled),
    )
    figures = evaluate_release(recommender, test_ratings, card=torch.device("cpu")).values()
    assert figures == evaluate_release(recommender, test_ratings).values()


def test_of_many_people_a_sample_is_judged_and_says_so(
    recommender: Recommender, test_ratings: Ratings
) -> None:
    whole = evaluate_release(recommender, test_ratings)
    people = len(np.unique(test_ratings.users))
    assert (whole.people, whole.population, whole.sample_note()) == (people, people, "")
    assert whole.values()["list_users"] == people
    sample = evaluate_release(recommender, test_ratings, most_people=people // 2)
    assert (sample.people, sample.population) == (people // 2, people)
    assert sample.ratings == whole.ratings  # stars are judged of everybody
    # The interval is 95%, the test's 1.5 times as wide: half of the people cannot be further off.
    figure = sample.lists["ndcg_at_10"]
    assert abs(figure.value - whole.lists["ndcg_at_10"].value) <= 1.5 * (figure.high - figure.value)
    assert sample.sample_note().startswith(f"lists judged for {people // 2} of {people} people")
