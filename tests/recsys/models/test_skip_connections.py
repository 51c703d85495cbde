"""Skip connections: counted, neutral at the start, used by training, served as trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from recsys.bounds import DataShape, parameter_count, violations
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.family import FAMILY
from recsys.models.registry import make_config
from search.config.template import load_template
from tests.small_ratings import checkerboard, history_of, training_data

DATA = training_data(checkerboard(users=60, items=40))
CPU = torch.device("cpu")
PLAIN = HybridVaeConfig(
    factors=8,
    hidden=(24, 16),
    latent=4,
    normalisation="layer",
    batch_size=64,
    learning_rate=5e-3,
    dropout=0.1,
)
SKIPPED = replace(PLAIN, skip_connections=True)


def test_the_gains_are_counted_and_start_neutral() -> None:
    plain, skipped = (FAMILY.build(config, DATA, epochs=4, seed=2, device=CPU) for config in (PLAIN, SKIPPED))
    shape = DataShape.of(DATA)
    assert skipped.parameters == parameter_count(SKIPPED, shape) == parameter_count(PLAIN, shape) + 40
    np.testing.assert_array_equal(plain.predict(DATA.valid), skipped.predict(DATA.valid))


def test_what_is_trained_is_served() -> None:
    for config in (SKIPPED, replace(SKIPPED, samples=4)):
        trainer = FAMILY.build(config, DATA, epochs=6, seed=2, device=CPU)
        for _ in range(6):
            trainer.train_epoch()
        assert all(
            np.abs(gain).max() > 1e-3
            for name, gain in trainer.state().items()
            if "gains" in name and "network" in name
        )
        scorer = FAMILY.scorer(trainer.export(), lambda user: history_of(DATA.train, user))
        predicted = trainer.predict(DATA.valid)
        for user in range(5):
            rows = np.flatnonzero(DATA.valid.users == user)
            stars = scorer.score(scorer.known_user(user), DATA.valid.items[rows])
            np.testing.assert_allclose(stars, predicted[rows], atol=1e-3)


def test_the_advanced_template_holds_skip_attention_and_hierarchy_inside_the_bounds() -> None:
    template = load_template("hybrid_vae_advanced")
    config = make_config("hybrid_vae", template.config)
    assert (config.skip_connections, config.history, config.latent_prior) == (True, "attended", "features")
    for shape in (
        DataShape(943, 1682, 24, 19),
        DataShape(6040, 3706, 30, 18),
        DataShape(200_948, 84_432, 0, 20),
    ):
        assert violations(config, shape) == []
