"""A small trial of the hybrid VAE on a checkerboard, for the tests of trials."""

from __future__ import annotations

from typing import Any

from recsys.training.trial import Trial
from recsys.training.trial_types import EventKind, TrialSpec
from tests.small_ratings import checkerboard, training_data

DATA = training_data(checkerboard(users=120, items=80))


REPAIRED: dict[str, Any] = {
    "factors": 16,
    "hidden": [32, 16],
    "latent": 8,
    "biases": True,
    "dot_product": 8,
    "history": "ratings",
    "normalisation": "layer",
    "embedding_scale": 0.05,
    "learning_rate": 5e-3,
    "dropout": 0.1,
}


def spec(fields: dict[str, Any], *, epochs: int = 6, **others: Any) -> TrialSpec:
    return TrialSpec(4, "test", "hybrid_vae", {**REPAIRED, **fields}, epochs=epochs, seed=5, **others)


def run(trial: Trial) -> Trial:
    while not trial.finished:
        trial.step()
    return trial


def kinds(trial: Trial) -> list[EventKind]:
    return [event.kind for event in trial.events]
