"""What a model family is: Config + Trainer for learning, a packed member + Scorer for answering.

Learning runs in torch on any device. Answering runs in numpy alone, on memory-mapped arrays, so that
a serving process needs no torch and shares its pages; a contract test holds the two to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.ranges import Range
from recsys.types import Arrays, FloatArray, IntArray, JsonObject

TRAIN_SAMPLE = 20_000  # ratings that a training error is read on: it is right within 0.005 stars


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
    """Predicts one user's ratings. A state is whatever the family computes once for a user.

    Where several users at once are cheaper than one after another, a scorer may also have
    ``known_users(users)``, ``fold_in_many(histories, users)`` and ``score_many(states, items)``: lists
    of what the three methods below give for each. Nobody's answer may depend on who else is asked for.
    One with a latent may have ``kl(state, items)``, (len(items),) nats, where its ``has_kl`` is true.
    One with a posterior may have ``deviations(state, items)``, (len(items),) stars: the standard deviation
    of each rating around its prediction.
    """

    def known_user(self, user: int) -> Any:
        """The state of a user that the model was trained on.

        Args:
            user: Row.
        """

    def fold_in(self, history: History, user: int | None = None) -> Any:
        """The state of a user from their ratings, without training.

        Args:
            history: All their ratings; may be empty.
            user: The row of a trained user whose history has grown since; None: a new user.
        """

    def score(self, state: Any, items: IntArray) -> FloatArray:
        """Predicted ratings of one user.

        Args:
            state: Of the user.
            items: (n,) rows.

        Returns:
            (n,) stars inside the scale.
        """


class Trainer(Protocol):
    """A model being trained. The same seed and data give the same numbers on one device.

    One that is trained by steps has ``epoch_steps``, the most of an epoch, None: all of train.
    ``config`` is read at every step: a contingency may put one of the same shape in its place.
    """

    config: Any

    def train_epoch(self) -> dict[str, float]:
        """Trains one epoch.

        Returns:
            At least ``train_loss``; also ``gradient_norm``, ``kl_weight`` and ``learning_rate`` where the
            family has them.
        """

    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        """Predictions in evaluation mode.

        Args:
            ratings: The n pairs; their values are not read. A model with time effects predicts each at its
                time, or as of the newest training time where they have none.

        Returns:
            (n,) stars.
        """

    def latent_statistics(self, ratings: Ratings) -> tuple[float, float]:
        """The use of the latent.

        Args:
            ratings: Pairs to measure it on.

        Returns:
            KL (nats, mean over latent dimensions), share of active dimensions; (0, 1) without a latent.
        """

    def on_validation(self, loss: float) -> None:
        """Called with the valid loss after each epoch, for plateau schedules.

        Args:
            loss: MSE + 0.01 KL.
        """

    def state(self) -> Arrays:
        """The whole state of training: weights, optimizer, averages, schedules and random state."""

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restores a ``state``; training continues exactly.

        Args:
            state: Of a trainer of the same config and data.
        """

    def export(self) -> ModelArtifact:
        """The model as it predicts now (averaged weights where it has them)."""

    @property
    def parameters(self) -> int:
        """Trainable numbers, every table counted."""


class NoLatent:
    """Default methods of a ``Trainer`` without a latent or a plateau schedule."""

    def latent_statistics(self, ratings: Ratings) -> tuple[float, float]:
        return 0.0, 1.0

    def on_validation(self, loss: float) -> None:
        pass


@dataclass(frozen=True)
class ModelFamily:
    """A kind of model: one line in the registry.

    ``config_type`` is decorated by ``family_config``, its defaults are the family's; ``search_ranges`` are
    what the search may vary (a function where they follow from bounds);
    ``build(config, data, epochs=, seed=, device=)`` makes a Trainer;
    ``scorer(member, histories)`` answers for a packed one, where ``histories(user)`` gives the ratings
    that the release keeps of a known user. ``parameter_count(config, users, items, features)``
    gives the capacity without building. ``check`` raises InputError where ``data`` does not fit;
    ``require_installed`` where a library that training needs is missing. ``unsupported_options(data)``
    names the fields that must keep their default on this data, and why: a search does not draw them.
    ``most_epochs`` is set where an epoch is a part of a fixed amount of training, so that more of them would
    only be more validations.
    ``restorable_inputs(state)`` are the arguments of ``build`` that a saved trainer state already holds.
    ``uses_gpu``: its trainer computes on ``device``; any other is given the CPU and holds no GPU.
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
        """The fields that the data cannot support, at their defaults.

        Args:
            data: Of the search.
        """
        names = {} if self.unsupported_options is None else self.unsupported_options(data)
        return {name: getattr(self.config_type(), name) for name in names}
