"""The KL of a packed hybrid VAE on any pairs: torch's, for every kind of member that holds what it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recsys.data.ratings import Ratings
from recsys.models.base import ModelArtifact
from recsys.models.bias import BiasConfig, BiasTrainer
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.registry import family_named
from recsys.predictions import scorer_kl
from recsys.release.pack import make_histories
from tests.small_ratings import training_data

DATA = training_data()
SMALL: dict[str, Any] = {"factors": 8, "hidden": (16, 8), "latent": 4, "batch_size": 64}


def packed_kl(member: ModelArtifact, ratings: Ratings, **options: Any) -> float | None:
    scorer = family_named(member.family).scorer(member, make_histories(DATA.train))
    return scorer_kl(scorer, ratings, **options)


def trained(**fields: Any) -> HybridVaeTrainer:
    config = HybridVaeConfig(**{**SMALL, **fields})
    trainer = HybridVaeTrainer(config, DATA, epochs=2, seed=0, device=torch.device("cpu"))
    trainer.train_epoch()
    trainer.train_epoch()
    return trainer


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"normalisation": "layer", "biases": True},
        {"dot_product": 8, "history": "ratings"},
        {"output": "ordinal", "samples": 4, "skip_connections": True},
    ],
    ids=["formula", "layer-norm", "history", "drawn"],
)
def test_it_is_the_networks_on_pairs_that_it_never_saw(fields: dict[str, Any]) -> None:
    trainer = trained(**fields)
    expected, _ = trainer.latent_statistics(DATA.valid)
    packed = packed_kl(trainer.export(), DATA.valid)
    assert packed == pytest.approx(expected, rel=0.02)  # the packed tables are of half precision
    assert expected > 0.01


def test_it_is_not_guessed() -> None:
    artifact = trained().export()
    arrays = {name: array for name, array in artifact.arrays.items() if not name.startswith("log_variance")}
    older = ModelArtifact(artifact.family, artifact.settings, arrays, artifact.scale)
    assert packed_kl(older, DATA.valid) is None
    featured = {**artifact.settings, "latent_prior": "features"}
    prior = ModelArtifact(artifact.family, featured, artifact.arrays, artifact.scale)
    assert packed_kl(prior, DATA.valid) is None
    bias = BiasTrainer(BiasConfig(), DATA, epochs=1, seed=0, device="cpu").export()
    assert packed_kl(bias, DATA.valid) is None


def test_of_many_pairs_an_even_sample_is_read() -> None:
    artifact = trained().export()
    sample = DATA.valid.thinned(50)
    assert packed_kl(artifact, DATA.valid, most=50) == packed_kl(artifact, sample)
