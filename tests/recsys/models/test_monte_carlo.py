"""Stars averaged over draws of z: against fresh Monte Carlo, packed, and without a trace in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys.errors import InputError
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.family import FAMILY
from recsys.models.hybrid_vae.monte_carlo import antithetic
from recsys.models.hybrid_vae.scorer import HybridVaeScorer
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from tests.recsys.models.test_ordinal import CONFIG as ORDINAL
from tests.recsys.models.test_time_levels import CONFIG as TIMED
from tests.small_ratings import history_of, training_data

HALF = 1e-3  # stars: a packed member keeps its tables in half precision
DATA = training_data()
CONFIG = replace(TIMED, time="none", samples=6)


def built(config: HybridVaeConfig = CONFIG, epochs: int = 3) -> HybridVaeTrainer:
    trainer = FAMILY.build(config, DATA, epochs=max(epochs, 1), seed=2, device=torch.device("cpu"))
    assert isinstance(trainer, HybridVaeTrainer)
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


def with_draws(trainer: HybridVaeTrainer, draws: np.ndarray | None) -> np.ndarray:
    """Predictions of valid with these (samples, latent) in place of the config's."""
    bottleneck = trainer.predictor().bottleneck
    kept = bottleneck.draws
    bottleneck.draws = None if draws is None else torch.from_numpy(draws)
    stars = trainer.predict(DATA.valid)
    bottleneck.draws = kept
    return stars


def test_draws_come_in_pairs_of_opposite_sign() -> None:
    draws = antithetic(6, 5)
    assert draws.shape == (6, 5)
    np.testing.assert_array_equal(draws[:3], -draws[3:])
    np.testing.assert_array_equal(draws, antithetic(6, 5))


def test_an_average_is_that_of_predictions_with_one_draw_each() -> None:
    trainer = built()
    apart = [with_draws(trainer, draw[None]) for draw in antithetic(6, CONFIG.latent)]
    np.testing.assert_allclose(trainer.predict(DATA.valid), np.mean(apart, axis=0), atol=1e-5)


def test_many_draws_come_near_the_expectation_and_the_mean_of_z_does_not() -> None:
    """The spread is made wide, so that there is an expectation to miss."""
    trainer = built()
    torch.nn.init.constant_(trainer.predictor().bottleneck.log_variance.bias, 3.0)
    random = np.random.default_rng(0)
    truth = with_draws(trainer, random.standard_normal((4000, CONFIG.latent), dtype=np.float32))
    errors = [
        np.abs(with_draws(trainer, draws) - truth).mean()
        for draws in (antithetic(512, CONFIG.latent), antithetic(16, CONFIG.latent), None)
    ]
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.01


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, biases=False, dot_product=0, history="none", normalisation="none"),
        replace(CONFIG, normalisation="batch_recalibrated"),
        replace(ORDINAL, samples=4),
    ],
)
def test_packed_it_answers_the_same_one_by_one_and_together(config: HybridVaeConfig) -> None:
    trainer = built(config)
    scorer = FAMILY.scorer(trainer.export(), lambda user: history_of(DATA.train, user))
    expected, users = trainer.predict(DATA.valid), list(range(0, DATA.train.user_count, 9))
    rows = [np.flatnonzero(DATA.valid.users == user) for user in users]
    assert isinstance(scorer, HybridVaeScorer)
    states = scorer.known_users(users)
    together = scorer.score_many(states, [DATA.valid.items[some] for some in rows])
    for state, some, stars in zip(states, rows, together, strict=True):
        np.testing.assert_allclose(stars, expected[some], atol=HALF)
        np.testing.assert_allclose(scorer.score(state, DATA.valid.items[some]), expected[some], atol=HALF)


def test_training_knows_nothing_of_it() -> None:
    sampled, plain = built(epochs=0), built(replace(CONFIG, samples=0), epochs=0)
    for _ in range(2):
        assert sampled.train_epoch() == plain.train_epoch()
    np.testing.assert_array_equal(with_draws(sampled, None), plain.predict(DATA.valid))
    assert "draws" not in plain.export().arrays
    assert sampled.parameters == plain.parameters
    again = built(epochs=0)
    again.load_state(sampled.state())
    np.testing.assert_array_equal(again.predict(DATA.valid), sampled.predict(DATA.valid))


def test_an_odd_number_is_refused() -> None:
    with pytest.raises(InputError, match=r"samples is 3, expected 0 \(off\) or an even number"):
        replace(CONFIG, samples=3)
