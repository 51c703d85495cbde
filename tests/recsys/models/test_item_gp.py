"""The item process against regressions written out in float64, and in a world that no dot product holds."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.base import History
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.sampler import Sampler
from recsys.models.item_gp import process
from recsys.models.item_gp import trainer as training
from recsys.models.item_gp.config import ItemGpConfig
from recsys.models.item_gp.family import FAMILY
from recsys.models.item_gp.item_vectors import VectorSums, leading, prior_traits
from recsys.models.item_gp.process import Kernel, regress
from recsys.models.item_gp.trainer import ItemGpTrainer
from recsys.models.registry import make_config
from tests.small_ratings import history_of, training_data

DATA = training_data()


def trained(data: TrainingData = DATA, *, epochs: int = 3, **fields: object) -> ItemGpTrainer:
    config = ItemGpConfig(**({"factors": 3, "rank": 12, "sweeps": 60} | fields))  # type: ignore[arg-type]
    trainer = ItemGpTrainer(config, data, epochs=epochs, seed=1)
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


def rmse(trainer: ItemGpTrainer, data: TrainingData) -> float:
    return float(np.sqrt(np.square(trainer.predict(data.valid) - data.valid.values).mean()))


def test_the_packed_scorer_answers_as_a_process_written_out() -> None:
    member = trained().export()
    scorer, arrays, settings = (
        FAMILY.scorer(member, lambda user: history_of(DATA.train, user)),
        member.arrays,
        member.settings,
    )
    items = np.arange(DATA.train.item_count)
    z = arrays["items"].astype(np.float64)

    def covariance(one: int, other: int) -> float:
        distance = float(np.square(z[one] - z[other]).sum())
        smooth = float(settings["smooth_variance"]) / (1 + distance / (2 * float(settings["squared_length"])))
        return float(z[one] @ z[other]) + smooth

    for user in (0, 9):
        history = history_of(DATA.train, user)
        mean = arrays["prior"].astype(np.float64) @ arrays["traits"][user]
        noise = arrays["user_noise"][user] * arrays["item_noise"][history.items].astype(np.float64)
        rated = history.items.tolist()
        gram = np.array([[covariance(one, other) for other in rated] for one in rated])
        weights = np.linalg.inv(gram + np.diag(noise)) @ (history.values - mean[history.items])
        cross = np.array([[covariance(one, other) for other in rated] for one in items.tolist()])
        expected = np.clip(mean + cross @ weights, member.scale.low, member.scale.high)
        np.testing.assert_allclose(scorer.score(scorer.known_user(user), items), expected, atol=1e-4)
        np.testing.assert_allclose(scorer.score(scorer.fold_in(history, user), items), expected, atol=1e-3)


def test_without_its_smooth_part_it_is_a_ridge_regression_on_the_vectors() -> None:
    random = np.random.default_rng(0)
    vectors, left = (
        random.standard_normal((15, 4)).astype(np.float32),
        random.standard_normal(15).astype(np.float32),
    )
    noise = (0.5 + random.random(15)).astype(np.float32)
    kernel = Kernel(variance=0.0, squared_lengthscale=1.0)
    scaled = vectors / noise[:, None]
    person = np.linalg.solve(scaled.T @ vectors + np.eye(4), scaled.T @ left)
    result = kernel.covariance(vectors, vectors) @ regress(kernel, vectors, left, noise)
    np.testing.assert_allclose(result, vectors @ person, atol=1e-4)


def test_one_samples_sums_are_its_prior_mean_and_covariance() -> None:
    sampler = Sampler(BayesMfConfig(factors=3, output="gaussian"), DATA, seed=2)
    for _ in range(3):
        sampler.sweep()
    sums = VectorSums(sampler, rank=4)
    sums.add(sampler)
    design = np.concatenate([sampler.items.vectors[:, :-1], np.ones((DATA.train.item_count, 1))], axis=1)
    prior = sampler.users.prior
    expected = prior.mean @ design.T + sampler.items.vectors[:, -1] + sampler.centre
    np.testing.assert_allclose(prior_traits(sampler) @ sums.mean().prior.T, expected, atol=1e-4)
    covariance = design @ np.linalg.inv(prior.precision) @ design.T
    np.testing.assert_allclose(sums.columns @ sums.columns.T, covariance, atol=1e-8)


def test_leading_columns_are_those_of_a_singular_value_decomposition() -> None:
    columns = np.random.default_rng(3).standard_normal((20, 9))
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    best = (left[:, :4] * values[:4]) @ (left[:, :4] * values[:4]).T
    result = leading(columns, 4)
    assert result.shape == (20, 4)
    np.testing.assert_allclose(result @ result.T, best, atol=1e-8)


def test_features_are_columns_more_of_the_variance_asked_for() -> None:
    vectors = trained().sums.mean()
    counts = np.bincount(DATA.train.items, minlength=DATA.train.item_count)
    features = np.random.default_rng(4).random((len(counts), 2)).astype(np.float32)
    wider = vectors.with_features(features, counts, 0.5).items.astype(np.float64)
    np.testing.assert_array_equal(wider[:, :-2], vectors.items)
    given = wider[DATA.train.items, -2:]
    np.testing.assert_allclose(given.mean(axis=0), 0, atol=1e-3)
    assert np.square(given).sum(axis=1).mean() == pytest.approx(0.5, rel=1e-2)
    assert vectors.with_features(np.ones_like(features), counts, 0.5) is vectors


def ring(seed: int = 0) -> TrainingData:
    """Each user likes a few places on a ring of items: smooth in place, in no few factors linear."""
    random = np.random.default_rng(seed)
    users, items = 300, 80
    positions = np.arange(items) / items
    liked = random.random((users, 3))
    away = np.abs(positions[None, :, None] - liked[:, None, :])
    near = np.exp(-np.square(np.minimum(away, 1 - away) / 0.07)).max(axis=2)
    stars = np.clip(2 + 2 * near + 0.2 * random.standard_normal(near.shape), 0.5, 5).astype(np.float32)
    given = np.nonzero(random.random(near.shape) < 0.5)
    ratings = Ratings(
        users=given[0].astype(np.int32),
        items=given[1].astype(np.int32),
        values=stars[given],
        times=None,
        scale=RatingScale(0.5, 5),
        user_count=users,
        item_count=items,
    )
    return training_data(ratings)


def test_a_smooth_part_learns_what_few_factors_cannot() -> None:
    data = ring()
    smooth = rmse(trained(data, factors=4, smooth=2.0), data)
    assert smooth < 0.9 * rmse(trained(data, factors=4, smooth=0.0), data)


def test_each_rating_given_brings_a_new_user_closer() -> None:
    data = ring()
    scorer = FAMILY.scorer(trained(data, factors=4).export(), lambda user: history_of(data.train, user))
    errors = []
    for count in (0, 5, 20):
        squares = []
        for user in range(0, 300, 10):
            history, rows = history_of(data.train, user), data.valid.users == user
            state = scorer.fold_in(History(history.items[:count], history.values[:count]))
            squares.append(np.square(scorer.score(state, data.valid.items[rows]) - data.valid.values[rows]))
        errors.append(float(np.concatenate(squares).mean()))
    assert errors[0] > errors[1] > errors[2]


def test_of_a_long_history_the_newest_ratings_are_regressed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LONGEST", 10)
    order, starts = training.newest_by_user(DATA.train)
    counts = np.bincount(DATA.train.users, minlength=DATA.train.user_count)
    np.testing.assert_array_equal(np.diff(starts), np.minimum(counts, 10))
    assert counts.max() > 10
    for user in (0, 5):
        own = order[starts[user] : starts[user + 1]]
        np.testing.assert_array_equal(
            np.sort(DATA.train.items[own]), np.sort(history_of(DATA.train, user).items[-10:])
        )
    assert process.LONGEST > 10


def test_a_rank_that_cannot_hold_the_factors_is_refused() -> None:
    with pytest.raises(InputError, match=r"item_gp.rank is 20, expected more than factors \(20\)"):
        make_config("item_gp", {"rank": 20})
    with pytest.raises(InputError, match=r"item_gp.length is 0.0, expected above 0"):
        make_config("item_gp", {"length": 0.0})


@pytest.mark.parametrize("bad", ["vectors", "noise", "residuals"])
def test_arrays_gone_bad_are_refused(bad: str) -> None:
    """A release whose member raises this falls back to popular items; not-a-number would be listed."""
    given = {
        "vectors": np.ones((3, 2), dtype=np.float32),
        "residuals": np.ones(3, dtype=np.float32),
        "noise": np.ones(3, dtype=np.float32),
    }
    given[bad].flat[0] = np.nan
    with pytest.raises(FloatingPointError, match="3 rated items are not finite"):
        regress(Kernel(variance=1.0, squared_lengthscale=1.0), **given)
