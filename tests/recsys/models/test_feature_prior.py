"""A latent prior centred by genres and demographics: its KL, its cost, that it learns, and who may ask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from recsys.bounds import DataShape, parameter_count
from recsys.errors import InputError
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.family import FAMILY
from recsys.models.hybrid_vae.feature_prior import FeaturePrior, unit_rows
from recsys.models.hybrid_vae.losses import kl_by_dimension
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from tests.small_ratings import history_of, training_data

PLAIN = training_data()
# The checkerboard's tastes: parity of user and item.
PARITY = {
    "user_features": np.eye(2, dtype=np.float32)[np.arange(PLAIN.train.user_count) % 2],
    "item_features": np.eye(3, dtype=np.float32)[np.arange(PLAIN.train.item_count) % 2],
}
DATA = replace(PLAIN, user_features=PARITY["user_features"], item_features=PARITY["item_features"])
CONFIG = HybridVaeConfig(
    factors=8,
    hidden=(16,),
    latent=4,
    normalisation="layer",
    learning_rate=5e-3,
    dropout=0.1,
    kl_weight=0.01,
    latent_prior="features",
)


def built(config: HybridVaeConfig = CONFIG, seed: int = 1) -> HybridVaeTrainer:
    trainer = FAMILY.build(config, DATA, epochs=6, seed=seed, device=torch.device("cpu"))
    assert isinstance(trainer, HybridVaeTrainer)
    return trainer


def test_kl_is_that_between_two_normals() -> None:
    mean, log_variance, prior = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0))
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(prior, 1.0)).mean(dim=0)
    torch.testing.assert_close(kl_by_dimension(mean, log_variance, prior), expected)
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).mean(dim=0)
    torch.testing.assert_close(kl_by_dimension(mean, log_variance), expected)


def test_it_begins_as_the_standard_normal() -> None:
    with_prior, without = built(), built(replace(CONFIG, latent_prior="standard"))
    np.testing.assert_array_equal(with_prior.predict(DATA.valid), without.predict(DATA.valid))
    assert with_prior.latent_statistics(DATA.valid) == without.latent_statistics(DATA.valid)


def test_pairs_of_one_kind_share_their_prior() -> None:
    trainer = built()
    for _ in range(6):
        trainer.train_epoch()
    prior = trainer.network.prior
    assert isinstance(prior, FeaturePrior)
    with torch.no_grad():
        means = prior(torch.tensor([0, 2, 1]), torch.tensor([4, 8, 4]))
    torch.testing.assert_close(means[0], means[1])
    assert float((means[0] - means[2]).abs().max()) > 1e-3


def test_every_number_is_counted() -> None:
    assert built().parameters == parameter_count(CONFIG, DataShape.of(DATA))


def test_packed_it_answers_the_same() -> None:
    trainer = built()
    trainer.train_epoch()
    scorer = FAMILY.scorer(trainer.export(), lambda user: history_of(DATA.train, user))
    valid = DATA.valid
    stars = [
        scorer.score(scorer.known_user(int(user)), np.array([item]))[0]
        for user, item in zip(valid.users[:50], valid.items[:50], strict=True)
    ]
    np.testing.assert_allclose(stars, trainer.predict(valid)[:50], atol=2e-3)


def test_a_film_of_many_genres_weighs_as_one_of_one() -> None:
    rows = unit_rows(np.array([[1, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 0])


def test_without_features_it_is_refused_before_training() -> None:
    assert FAMILY.check is not None
    with pytest.raises(InputError, match="neither genres nor demographics; set latent_prior to standard"):
        FAMILY.check(CONFIG, PLAIN)
    FAMILY.check(CONFIG, DATA)
