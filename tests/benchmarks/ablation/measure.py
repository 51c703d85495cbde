"""One rung with one seed: trained on train, stopped on valid, looked at once on test.

Peers train on the whole training part, so the model is trained once more on train and valid together for
the epochs that valid chose, and that too is looked at once. Nothing is chosen on test. A model that knows
time predicts each rating as of its own; a search's figures are as of now (``recsys.training.epoch_metrics``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.bounds import DataShape, require_safe
from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.metrics.rating import rmse
from recsys.models.base import Trainer
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.optim.device import pick_device
from recsys.models.registry import family_named, make_config
from recsys.seeds import derive_seed
from recsys.types import Arrays
from tests.benchmarks.ablation.rungs import LadderStep


@dataclass(frozen=True)
class Measure:
    """RMSE in stars. ``test`` after training on train alone; ``test_refit`` on train and valid."""

    rung: str
    seed: int
    epochs: int
    valid: float
    test: float
    test_refit: float
    kl: float
    parameters: int
    seconds: float


@dataclass(frozen=True)
class Predictions:
    """(n,) stars: of ``valid`` after training on train alone; of ``test_refit`` on train and valid."""

    valid: NDArray[np.float32]
    test_refit: NDArray[np.float32]


def measure(
    step: LadderStep, data: TrainingData, test: Ratings, *, epochs: int, seed: int, device: str
) -> Measure:
    """``data`` holds train and valid; ``test`` is predicted twice, after all choices are made."""
    return measured(step, data, test, epochs=epochs, seed=seed, device=device)[0]


def measured(
    step: LadderStep, data: TrainingData, test: Ratings, *, epochs: int, seed: int, device: str
) -> tuple[Measure, Predictions]:
    """The same with what was predicted, for a blend of several."""
    started = time.perf_counter()
    trained_seed = derive_seed(seed, "ladder", step.rung.name)
    trainer, best, valid = _stopped(step, data, epochs=epochs, seed=trained_seed, device=device)
    predicted, of_valid = trainer.predict(test), trainer.predict(data.valid)
    kl = trainer.latent_statistics(data.valid)[0]
    parameters = trainer.parameters
    del trainer
    whole = replace(data, train=data.train.joined(data.valid))
    refit = _build(step, whole, epochs=epochs, seed=trained_seed, device=device)
    for _ in range(best):
        refit.train_epoch()
    of_test = refit.predict(test)
    entry = Measure(
        rung=step.rung.name,
        seed=seed,
        epochs=best,
        valid=valid,
        test=rmse(predicted, test.values),
        test_refit=rmse(of_test, test.values),
        kl=kl,
        parameters=parameters,
        seconds=time.perf_counter() - started,
    )
    return entry, Predictions(of_valid, of_test)


def _build(step: LadderStep, data: TrainingData, *, epochs: int, seed: int, device: str) -> Trainer:
    family = family_named(step.rung.family)
    config = make_config(step.rung.family, step.config)
    if isinstance(config, HybridVaeConfig):
        require_safe(config, DataShape.of(data), where=step.rung.name)
    if family.check is not None:
        family.check(config, data)
    return family.build(config, data, epochs=epochs, seed=seed, device=pick_device(device))


def _stopped(
    step: LadderStep, data: TrainingData, *, epochs: int, seed: int, device: str
) -> tuple[Trainer, int, float]:
    """The trainer as it was after its best epoch, that epoch, and its rmse on valid."""
    trainer = _build(step, data, epochs=epochs, seed=seed, device=device)
    if not step.rung.trained:
        return trainer, 0, rmse(trainer.predict(data.valid), data.valid.values)
    patience = make_config(step.rung.family, step.config).patience
    best, least, state = 0, np.inf, Arrays()
    for epoch in range(1, epochs + 1):
        trainer.train_epoch()
        error = rmse(trainer.predict(data.valid), data.valid.values)
        trainer.on_validation(error**2 + 0.01 * trainer.latent_statistics(data.valid)[0])
        if error < least:
            best, least, state = epoch, error, trainer.state()
        elif epoch - best >= patience:
            break
    if state:
        trainer.load_state(state)
    return trainer, best, float(least)
