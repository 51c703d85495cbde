"""The sample of train that the gap is read on, and the latent that is read on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.data.synthetic import generate
from recsys.models.hybrid_vae.losses import kl_by_dimension
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.training.epoch_metrics import LEAST_SAMPLE, SAMPLE_SHARE, train_sample
from recsys.training.trial import Trial
from recsys.training.trial_types import TrialSpec

RATINGS = generate(users=300, items=200, ratings=20_000, seed=1).dataset.ratings
DATA = TrainingData(RATINGS, RATINGS.take(np.arange(1500)))


def rmse_of(ratings: Ratings) -> float:
    """Of a model that knows the items' means, and by how much each user is above them."""
    means = np.bincount(RATINGS.items, RATINGS.values) / np.bincount(RATINGS.items).clip(1)
    left = RATINGS.values - means[RATINGS.items]
    above = np.bincount(RATINGS.users, left) / np.bincount(RATINGS.users).clip(1)
    return float(np.sqrt(np.square(ratings.values - means[ratings.items] - above[ratings.users]).mean()))


def test_the_sample_stands_for_train_better_than_rows_at_random() -> None:
    whole = rmse_of(RATINGS)
    even, plain = [], []
    for seed in range(200):
        sample = train_sample(DATA, seed)
        assert len(sample) == LEAST_SAMPLE
        even.append(rmse_of(sample) - whole)
        rows = np.random.default_rng(seed).permutation(len(RATINGS))[:LEAST_SAMPLE]
        plain.append(rmse_of(RATINGS.take(rows)) - whole)
    assert abs(np.mean(even)) < 3 * np.std(even) / np.sqrt(len(even))
    assert np.std(even) < 0.7 * np.std(plain)
    assert np.std(even) < 0.02


def test_the_sample_is_the_same_every_time_and_grows_with_train() -> None:
    first, again = train_sample(DATA, 7), train_sample(DATA, 7)
    np.testing.assert_array_equal(first.users, again.users)
    np.testing.assert_array_equal(first.items, again.items)
    few = TrainingData(RATINGS.take(np.arange(40)), RATINGS.take(np.arange(5)))
    assert len(train_sample(few, 0)) == 40
    many = RATINGS.take(np.arange(LEAST_SAMPLE * SAMPLE_SHARE * 2) % len(RATINGS))
    assert len(train_sample(TrainingData(many, many), 0)) == 2 * LEAST_SAMPLE


@pytest.mark.parametrize("history", ["none", "ratings"])
def test_the_latent_read_while_predicting_is_the_latent(history: str, tmp_path: Path) -> None:
    fields = {"factors": 8, "hidden": [16], "latent": 4, "history": history, "dot_product": 4}
    spec = TrialSpec(0, "latent", "hybrid_vae", fields, epochs=2, seed=0)
    trial = Trial(spec, DATA, folder=tmp_path, device="cpu")
    report = trial.step()
    trainer = trial.trainer
    assert isinstance(trainer, HybridVaeTrainer)
    network = trainer.predictor()
    output = network(trainer._make_pairs(DATA.valid), network.sums(), None)
    by_dimension = kl_by_dimension(output.mean, output.log_variance)
    assert report.kl == pytest.approx(by_dimension.mean().item(), rel=1e-4)
    assert trainer.latent_statistics(trial.sample)[0] != report.kl
    assert trainer.latent_statistics(DATA.valid)[0] == pytest.approx(report.kl, rel=1e-6)
