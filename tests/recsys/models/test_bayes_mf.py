"""Bayesian MF against hand-written conditionals, scipy's truncated normal, and a floor that is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as stats
import torch

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.base import History
from recsys.models.bayes_mf import basis, pair_prediction, row_groups
from recsys.models.bayes_mf.basis import feature_basis, history_basis
from recsys.models.bayes_mf.conditional import truncated_mean
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.cutpoints import interval_mass, truncated_normal
from recsys.models.bayes_mf.family import build, make_scorer
from recsys.models.bayes_mf.observation import expected_stars, rating_levels
from recsys.models.bayes_mf.posterior_samples import (
    PosteriorSamples,
    latent_scores,
    predictive_deviations,
    sampled_stars,
)
from recsys.models.bayes_mf.sampler import Sampler
from recsys.models.bayes_mf.trainer import BayesMfTrainer

USERS, ITEMS, NOISE = 80, 60, 0.5


def world(seed: int = 0, half_stars: bool = True) -> TrainingData:
    """Two taste factors and biases, noise of half a star, 35% of all pairs rated."""
    random = np.random.default_rng(seed)
    taste, kind = random.standard_normal((USERS, 2)), random.standard_normal((ITEMS, 2))
    clean = 3 + 0.5 * taste @ kind.T + 0.3 * random.standard_normal((USERS, 1))
    stars = clean + NOISE * random.standard_normal(clean.shape)
    if half_stars:
        stars = np.round(stars * 2) / 2
    stars = np.clip(stars, 0.5, 5).astype(np.float32)
    users, items = np.nonzero(random.random(clean.shape) < 0.35)
    ratings = Ratings(
        users=users.astype(np.int32),
        items=items.astype(np.int32),
        values=stars[users, items].astype(np.float32),
        times=None,
        scale=RatingScale(0.5, 5),
        user_count=USERS + 1,  # the last user and item have no rating
        item_count=ITEMS + 1,
    )
    order = random.permutation(len(ratings))
    cut = len(order) // 10
    return TrainingData(
        train=ratings.take(order[cut:]),
        valid=ratings.take(order[:cut]),
        item_features=np.vstack([kind, np.zeros((1, 2))]).astype(np.float32),
    )


def trained(data: TrainingData, epochs: int = 6, **fields: object) -> BayesMfTrainer:
    config = BayesMfConfig(**({"factors": 3, "sweeps": 120, "kept": 16} | fields))  # type: ignore[arg-type]
    trainer = build(config, data, epochs=epochs, seed=1, device=None)
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


def rmse(trainer: BayesMfTrainer, ratings: Ratings) -> float:
    return float(np.sqrt(np.square(trainer.predict(ratings) - ratings.values).mean()))


def histories_of(data: TrainingData, user: int) -> History:
    rows = np.flatnonzero(data.train.users == user)
    return History(data.train.items[rows], data.train.values[rows])


@pytest.mark.parametrize("output", ["ordinal", "gaussian"])
def test_reaches_the_noise_floor(output: str) -> None:
    data = world()
    # Half-star rounding adds 0.5 ** 2 / 12 to the noise; 10% for what 20 ratings a user cannot tell.
    floor = np.sqrt(NOISE**2 + 0.5**2 / 12)
    assert rmse(trained(data, output=output), data.valid) < 1.1 * floor + 0.03


@pytest.mark.parametrize("output", ["ordinal", "gaussian"])
def test_scorer_equals_trainer_and_folds_in(output: str) -> None:
    data = world()
    trainer = trained(data, output=output)
    scorer = make_scorer(trainer.export(), lambda user: histories_of(data, user))
    items = np.arange(ITEMS, dtype=np.int32)
    for user in (0, 7, USERS):
        pairs = Ratings(
            np.full(ITEMS, user, np.int32),
            items,
            np.zeros(ITEMS, np.float32),
            None,
            data.train.scale,
            USERS + 1,
            ITEMS + 1,
        )
        known = scorer.score(scorer.known_user(user), items)
        np.testing.assert_allclose(known, trainer.predict(pairs), atol=1e-5)
        folded = scorer.score(scorer.fold_in(histories_of(data, user)), items)
        assert np.abs(folded - known).mean() < 0.15
        same = scorer.score(scorer.fold_in(histories_of(data, user), user), items)
        np.testing.assert_array_equal(same, known)
    nobody = scorer.score(scorer.fold_in(History(np.zeros(0, np.int32), np.zeros(0, np.float32))), items)
    assert np.all((nobody >= 0.5) & (nobody <= 5))


def test_a_chain_goes_on_exactly_from_its_state() -> None:
    data = world()
    whole = trained(data, epochs=4)
    half = build(whole.config, data, epochs=4, seed=1, device=None)
    half.train_epoch()
    half.train_epoch()
    rest = build(whole.config, data, epochs=4, seed=99, device=None)  # the state brings its seed
    rest.load_state(half.state())
    # Bases are fixed by data and rank; only their randomised sketch depends on the seed, not used this small.
    rest.train_epoch()
    rest.train_epoch()
    np.testing.assert_allclose(rest.predict(data.valid), whole.predict(data.valid), atol=1e-5)


def test_users_are_drawn_from_their_normal_conditional() -> None:
    data = world(half_stars=False)
    sampler = Sampler(BayesMfConfig(factors=2, output="gaussian", user_noise=0, item_noise=0), data, seed=3)
    for _ in range(3):
        sampler.sweep()
    items, prior, train = sampler.items.vectors, sampler.users.prior, data.train
    sampler.precision = 2.0
    sampler._draw(sampler.users, sampler.items, sampler.observed, "users")
    for user in (0, 11, USERS):
        precision, pull = prior.precision.copy(), prior.precision @ prior.mean[user]
        for row in np.flatnonzero(train.users == user):
            x = np.append(items[train.items[row], :2], 1.0)
            precision += 2.0 * np.outer(x, x)
            pull += 2.0 * x * (train.values[row] - sampler.centre - items[train.items[row], 2])
        np.testing.assert_allclose(sampler.users.mean[user], np.linalg.solve(precision, pull), atol=1e-4)


@pytest.mark.parametrize("epochs", [30, 50])
def test_a_chain_is_as_long_whatever_its_epochs(epochs: int) -> None:
    """So a resumed run may plan the rest of its trials with 30 epochs where it had planned 50."""
    trainer = BayesMfTrainer(BayesMfConfig(factors=2), world(), epochs=epochs, seed=0, device=None)
    assert 300 <= trainer.sweeps_an_epoch * epochs < 300 + epochs


def test_scores_are_those_of_the_vectors() -> None:
    data = world()
    sampler = Sampler(BayesMfConfig(factors=2), data, seed=3)
    for _ in range(3):
        sampler.sweep()
    users, items = sampler.users.vectors[data.train.users], sampler.items.vectors[data.train.items]
    expected = np.einsum("nk,nk->n", users[:, :2], items[:, :2]) + users[:, 2] + items[:, 2]
    np.testing.assert_allclose(sampler.state()["score"], expected, atol=1e-4)


def test_expected_stars_is_the_mean_over_draws() -> None:
    random = np.random.default_rng(0)
    levels, cuts = np.array([1.0, 2.0, 4.0]), np.array([-0.4, 0.9])
    latent = 0.3 + np.sqrt(1.7) * random.standard_normal(400_000)
    drawn = levels[np.searchsorted(cuts, latent)].mean()
    got = expected_stars(np.array([0.3]), 1.7, cuts, levels)[0]
    assert got == pytest.approx(drawn, abs=0.01)


def test_deviations_are_the_spread_of_drawn_ratings() -> None:
    """Of the score's samples, the noise and the levels; with Gaussian noise of score and noise alone."""
    random = np.random.default_rng(0)
    levels, cuts = np.array([1.0, 2.0, 4.0]), np.array([[-0.5, 0.8], [-0.3, 1.0]], dtype=np.float32)
    scores = random.normal(0.3, 0.7, (1, 2000)).astype(np.float32)
    latent = random.choice(scores[0], 400_000) + random.standard_normal(400_000) / np.sqrt(0.8)
    drawn = levels[np.searchsorted([-0.4, 0.9], latent)].std()
    assert predictive_deviations(scores, np.array([0.8]), cuts, levels)[0] == pytest.approx(drawn, abs=0.01)
    assert predictive_deviations(scores, np.array([0.8]), cuts, np.zeros(0))[0] == pytest.approx(
        latent.std(), abs=0.01
    )


def test_truncated_mean_is_scipys() -> None:
    low, high, scale = (
        np.array([-np.inf, -0.3, 1.2]),
        np.array([-1.0, 0.8, np.inf]),
        np.array([1.0, 2.0, 0.5]),
    )
    expected = stats.truncnorm.mean(low * scale, high * scale) / scale
    np.testing.assert_allclose(truncated_mean(low, high, scale), expected, atol=1e-6)


def test_a_basis_is_the_matrix_it_stands_for() -> None:
    data = world()
    train = data.train
    basis = history_basis(train.users, train.items, (USERS + 1, ITEMS + 1), rank=100, seed=0)
    assert basis is not None
    dense = np.zeros((USERS + 1, ITEMS + 1))
    dense[train.users, train.items] = 1
    dense /= np.sqrt(np.maximum(dense.sum(axis=1, keepdims=True), 1))
    np.testing.assert_allclose(basis.left * basis.values @ basis.right.T, dense, atol=1e-6)
    assert feature_basis(np.ones((5, 2), np.float32), np.ones(5, bool)) is None


def test_many_distinct_ratings_are_taken_as_continuous() -> None:
    assert len(rating_levels(np.linspace(0, 1, 200, dtype=np.float32), "ordinal")) == 0
    assert len(rating_levels(np.array([1, 2, 3], np.float32), "ordinal")) == 3


def test_bad_fields_are_named() -> None:
    with pytest.raises(InputError, match=r"bayes_mf.factors is 0, expected 1 to 256"):
        BayesMfConfig(factors=0)


@pytest.mark.parametrize("levels", [4, 0])
def test_pairs_are_predicted_on_the_device_as_a_packed_member_predicts_them(
    levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    users, items, kept, width = 30, 20, 5, 4
    cuts = np.sort(random.normal(0, 1, (kept, max(levels - 1, 0))), axis=1).astype(np.float32)
    samples = PosteriorSamples(
        users=random.normal(0, 1, (users, kept, width)).astype(np.float16),
        items=random.normal(0, 1, (items, kept, width)).astype(np.float16),
        user_precisions=random.uniform(0.5, 2, users).astype(np.float32),
        item_precisions=random.uniform(0.5, 2, items).astype(np.float32),
        cutpoints=cuts,
        user_centre=np.zeros((kept, width), np.float32),
        user_precision=np.zeros((kept, width, width), np.float32),
        user_maps=np.zeros((kept, 0, width), np.float32),
    )
    monkeypatch.setitem(pair_prediction.PAIRS, "cpu", 64)
    stars = np.arange(1.0, levels + 1)
    prediction = pair_prediction.PairPrediction(samples, levels=stars, centre=2.5, device=torch.device("cpu"))
    of_users, of_items = random.integers(0, users, 150), random.integers(0, items, 150)
    scores = latent_scores(
        samples.users[of_users].astype(np.float32), samples.items[of_items].astype(np.float32)
    )
    precision = samples.user_precisions[of_users] * samples.item_precisions[of_items]
    expected = sampled_stars(scores, precision, cuts, stars, 2.5)
    np.testing.assert_allclose(prediction.stars(of_users, of_items), expected, atol=1e-5)
    assert prediction.stars(of_users[:0], of_items[:0]).shape == (0,)


@pytest.mark.parametrize("difference", [None, 0.0, 1e-7, 1e-5, 1e-3, 1e-2])
def test_columns_of_one_span_are_made_orthonormal_whether_or_not_cholesky_can(
    difference: float | None,
) -> None:
    """Also where rounding errors decide whether a seventh column, nearly the first, has a pivot at all."""
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        columns = torch.randn(500, 6, generator=random) * torch.tensor([100.0, 30, 10, 1, 0.3, 0.1])
        if difference is not None:
            again = columns[:, :1] * (1 + 1e-7)
            other = 100 * difference * torch.randn(500, 1, generator=random)
            columns = torch.cat([columns, again + other], dim=1)
        result = basis._orthonormal(columns)
        torch.testing.assert_close(result.T @ result, torch.eye(columns.shape[1]), atol=0.05, rtol=0)
        coordinates = torch.linalg.lstsq(result, columns).solution
        torch.testing.assert_close(result @ coordinates, columns, atol=1e-2, rtol=1e-3)


def test_ratings_by_row_keep_their_order() -> None:
    rows = np.random.default_rng(0).integers(0, 40, 3_000)
    np.testing.assert_array_equal(row_groups._stable_order(rows, 50), np.argsort(rows, kind="stable"))
    assert row_groups._stable_order(rows[:0], 50).shape == (0,)


def test_an_interval_at_a_score_is_drawn_from_within() -> None:
    low, high = torch.tensor([0.0, -0.0, -1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    drawn = truncated_normal(low, high, torch.full((4,), 0.5))
    median = stats.norm.ppf((stats.norm.cdf(low) + stats.norm.cdf(high)) / 2)
    np.testing.assert_allclose(drawn, median, atol=1e-6)
    np.testing.assert_allclose(
        interval_mass(low, high), stats.norm.cdf(high) - stats.norm.cdf(low), atol=1e-7
    )
