"""Interfaces of a model family: Config and Trainer for training, ModelArtifact and Scorer for inference.

Training may use torch on any device. Inference uses numpy alone, on memory-mapped arrays, so that a serving
process needs no torch and shares its pages; a contract test compares the predictions of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.ranges import Range
from recsys.types import Arrays, FloatArray, IntArray, JsonObject

TRAIN_SAMPLE = 20_000  # ratings that a train loss is estimated on: its root is right within 0.005 stars


@dataclass(frozen=True)
class ModelArtifact:
    """A trained model as arrays: ``settings`` is plain JSON, ``arrays`` needs no pickle.

    Arrays over users have the user row first, over items the item row first.
    """

    family: str
    settings: JsonObject
    arrays: Arrays
    scale: RatingScale


@dataclass(frozen=True)
class History:
    """One user's ratings: ``items`` (n,) rows, ``values`` (n,) stars, oldest first."""

    items: NDArray[np.int32]
    values: NDArray[np.float32]


class Scorer(Protocol):
    """Predicts one user's ratings from the user's state, whatever the family computes once for a user.

    Where a batch of users is cheaper than single ones, a scorer may also have ``known_users(users)``,
    ``fold_in_many(histories, users)`` and ``score_many(states, items)``, which return lists of what the three
    methods below return. A user's result must not depend on the rest of the batch.
    A scorer with a latent may have ``kl(state, items)``, (len(items),) nats, where its ``has_kl`` is true.
    One with a posterior may have ``deviations(state, items)``, (len(items),) stars: the standard deviation
    of each rating around its prediction.
    """

    def known_user(self, user: int) -> Any:
        """The state of a user in the training data.

        Args:
            user: Row.

        Returns:
            The state, for ``score``.
        """

    def fold_in(self, history: History, user: int | None = None) -> Any:
        """The state of a user from their ratings, without training.

        Args:
            history: All their ratings; may be empty.
            user: The row of a trained user whose history has grown since; None for a new user.

        Returns:
            The state, for ``score``.
        """

    def score(self, state: Any, items: IntArray) -> FloatArray:
        """Predicted ratings of one user.

        Args:
            state: The user's, from ``known_user`` or ``fold_in``.
            items: (n,) rows.

        Returns:
            (n,) stars inside the scale.
        """


class Trainer(Protocol):
    """A model in training. The same seed and data give the same numbers on one device.

    A trainer by steps has ``epoch_steps``, the most steps of an epoch; None for all of train.
    ``config`` is read at every step: a recovery may replace it by another of the same shape.
    """

    config: Any

    def train_epoch(self) -> dict[str, float]:
        """Trains for an epoch.

        Returns:
            ``train_loss``, and ``gradient_norm``, ``kl_weight`` and ``learning_rate`` where the family has
            them.
        """

    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        """Predictions in evaluation mode.

        Args:
            ratings: The n pairs; their values are not read. A model with time effects predicts each pair at
                its time, or at the newest training time where pairs have none.

        Returns:
            (n,) stars.
        """

    def latent_statistics(self, ratings: Ratings) -> tuple[float, float]:
        """KL and activity of the latent.

        Args:
            ratings: Pairs to measure on.

        Returns:
            KL (nats, mean over latent dimensions) and share of active dimensions; (0, 1) without a latent.
        """

    def on_validation(self, loss: float) -> None:
        """Callback after each epoch's validation, for plateau schedules.

        Args:
            loss: MSE + 0.01 KL on valid.
        """

    def state(self) -> Arrays:
        """The state of training: weights, optimizer, averages, schedules and random generators, copied."""

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restores a ``state``; training continues exactly.

        Args:
            state: From a trainer of the same config and data.
        """

    def export(self) -> ModelArtifact:
        """The model as it predicts now (averaged weights where it has them)."""

    @property
    def parameters(self) -> int:
        """Number of trainable parameters, every table counted."""


class NoLatent:
    """Mix-in for a ``Trainer`` without a latent or a plateau schedule."""

    def latent_statistics(self, ratings: Ratings) -> tuple[float, float]:
        return 0.0, 1.0

    def on_validation(self, loss: float) -> None:
        pass


def sampled_train_loss(trainer: Trainer, train: Ratings) -> dict[str, float]:
    """What ``train_epoch`` returns for a family without a loss of its own.

    Args:
        trainer: As trained so far.
        train: The training slice, thinned to ``TRAIN_SAMPLE``.

    Returns:
        ``train_loss``: the mean squared error in stars.
    """
    sample = train.thinned(TRAIN_SAMPLE)
    return {"train_loss": float(np.square(trainer.predict(sample) - sample.values).mean())}


def require_two_ratings(family: str, data: TrainingData) -> None:
    """Refuses a training slice that leaves a family nothing to fit.

    Args:
        family: Its name, for the message.
        data: Of the trial.

    Raises:
        InputError: Fewer than two training ratings.
    """
    if len(data.train) < 2:
        raise InputError(
            f"the training slice holds {len(data.train)} ratings, {family} needs 2 or more; use more data"
        )


def with_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """Arrays named ``prefix/name``, for a state inside another one's."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def without_prefix(prefix: str, state: Mapping[str, NDArray[Any]]) -> Arrays:
    """The inverse of ``with_prefix``: the arrays of ``state`` under ``prefix/``, by their names there."""
    start = f"{prefix}/"
    return {name.removeprefix(start): array for name, array in state.items() if name.startswith(start)}


@dataclass(frozen=True)
class ModelFamily:
    """A kind of model: one line in the registry.

    Attributes:
        name: Its key in plans, results and releases.
        config_type: Decorated by ``family_config``; its defaults are the family's.
        build: ``build(config, data, epochs=, seed=, device=)`` makes a Trainer.
        scorer: ``scorer(artifact, histories)`` makes a Scorer; ``histories(user)`` returns the ratings that
            the release keeps of a known user.
        search_ranges: What the search may vary; a function where it follows from the bounds.
        check: Raises InputError where the data does not fit the config.
        require_installed: Raises InputError where a library that training needs is missing.
        unsupported_options: Of the data: the fields that must keep their default on it, and why. A search
            does not draw them.
        restorable_inputs: Of a saved trainer state: the arguments of ``build`` that it already holds.
        uses_gpu: Whether its trainer computes on ``device``; any other gets the CPU and holds no GPU.
        most_epochs: Set where an epoch is a part of a fixed amount of training, so that more epochs would
            only be more validations.
    """

    name: str
    config_type: type[Any]
    build: Callable[..., Trainer]
    scorer: Callable[[ModelArtifact, Callable[[int], History]], Scorer]
    search_ranges: Mapping[str, Range] | Callable[[], Mapping[str, Range]] = field(default_factory=dict)
    check: Callable[[Any, TrainingData], None] | None = None
    require_installed: Callable[[], None] | None = None
    unsupported_options: Callable[[TrainingData], Mapping[str, str]] | None = None
    restorable_inputs: Callable[[Arrays], Mapping[str, Any]] | None = None
    uses_gpu: bool = False
    most_epochs: int | None = None

    @property
    def ranges(self) -> Mapping[str, Range]:
        """What the search may vary, by field."""
        return self.search_ranges() if callable(self.search_ranges) else self.search_ranges

    def forced_defaults(self, data: TrainingData) -> JsonObject:
        """The fields that the data cannot support.

        Args:
            data: Of the search.

        Returns:
            Each field's default, by name.
        """
        names = {} if self.unsupported_options is None else self.unsupported_options(data)
        return {name: getattr(self.config_type(), name) for name in names}
