"""The Python interface in the outside world's ids: answer from a release, train a family on a DataFrame.

Everything here is a thin layer of ids and DataFrames over ``recsys.release`` and ``recsys.models``, which
speak in row numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.readers.columns import Columns
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from recsys.metrics.rating import rmse
from recsys.models.base import History, ModelArtifact
from recsys.models.registry import family_named, make_config
from recsys.release import load
from recsys.release.arrays import IdIndex
from recsys.release.loaded_release import Release
from recsys.release.queries import Query, Recommendation
from recsys.release.recommender import Recommender
from recsys.types import JsonObject

NOTHING_RATED = History(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))


class ReleasedModel:
    """A release that answers by ids. Safe to call from several threads.

    Args:
        release: An opened release; ``load_release`` makes one from a folder.
    """

    def __init__(self, release: Release) -> None:
        self.release = release
        self._recommender = Recommender(release)

    def recommend(
        self,
        user: str | None = None,
        *,
        ratings: Mapping[str, float] | None = None,
        count: int = 10,
        exclude: Sequence[str] = (),
    ) -> pd.DataFrame:
        """The best items for a person, as ``GET /v1/users/USER/recommendations`` answers.

        Args:
            user: A user id. Someone the release does not know gets popular items, or, with ``ratings``, a
                list of their own. None is somebody without an id.
            ratings: Item id -> stars, given after the release was made. They count as seen and are folded in.
            count: Length of the list.
            exclude: Item ids that must not be in it.

        Returns:
            Columns ``item_id``, ``title``, ``score`` and ``predicted_rating`` (stars), best first.

        Raises:
            InputError: An unknown item id, a rating outside the scale, a count below 1.
        """
        query = self._query(user, ratings, count=count, exclude=exclude)
        (answer,) = self._recommender.recommend([query])
        return self._table(answer.recommendations)

    def predict(
        self, user: str | None, items: Sequence[str], *, ratings: Mapping[str, float] | None = None
    ) -> NDArray[np.float32]:
        """Predicted stars of ``items`` for a person.

        Args:
            user: A user id; None, or one that the release does not know, is a stranger.
            items: Item ids.
            ratings: As in ``recommend``.

        Returns:
            (len(items),) stars inside the scale.

        Raises:
            InputError: An unknown item id, or a rating outside the scale.
        """
        return self._recommender.predict(self._query(user, ratings), self._rows(items))

    def predict_interval(
        self, user: str | None, items: Sequence[str], *, ratings: Mapping[str, float] | None = None
    ) -> NDArray[np.float32]:
        """The ends between which ratings of ``items`` lie with the release's confidence (80%).

        Args:
            user: As in ``predict``.
            items: Item ids.
            ratings: As in ``recommend``.

        Returns:
            (len(items), 2) stars, lower and upper ends; NaN where the release carries no intervals.

        Raises:
            InputError: As ``predict``.
        """
        _, ends = self._recommender.predict_interval(self._query(user, ratings), self._rows(items))
        return np.full((len(items), 2), np.nan, np.float32) if ends is None else np.stack(ends, axis=1)

    def similar(self, item: str, *, count: int = 10) -> pd.DataFrame:
        """The items rated alike; ``score`` is the cosine of their vectors. Columns as in ``recommend``."""
        return self._table(self._recommender.similar(int(self._rows([item])[0]), count))

    def _query(
        self,
        user: str | None,
        ratings: Mapping[str, float] | None,
        *,
        count: int = 10,
        exclude: Sequence[str] = (),
    ) -> Query:
        scale = self.release.manifest.dataset.scale
        invalid = [value for value in (ratings or {}).values() if not scale.low <= value <= scale.high]
        if invalid:
            raise InputError(f"a rating of {invalid[0]:g}: expected {scale.low:g} to {scale.high:g} stars")
        history = None
        if ratings:
            values = np.array(list(ratings.values()), dtype=np.float32)
            history = History(self._rows(list(ratings)), values)
        return Query(
            user=None if user is None else self.release.users.row(user),
            history=history,
            count=count,
            exclude=self._rows(exclude) if exclude else None,
        )

    def _rows(self, items: Sequence[str]) -> NDArray[np.int32]:
        return _rows_of(self.release.items.ids, items)

    def _table(self, recommendations: Sequence[Recommendation]) -> pd.DataFrame:
        items = self.release.items
        rows = [
            (str(items.ids.names[entry.item]), items.titles[entry.item], entry.score, entry.predicted_rating)
            for entry in recommendations
        ]
        return pd.DataFrame(rows, columns=["item_id", "title", "score", "predicted_rating"])


def load_release(folder: Path | str, *, verify: bool = True) -> ReleasedModel:
    """Open a release that ``search/breakthrough.py`` made.

    Args:
        folder: ``runs/NAME/release``.
        verify: Check every file's hash and compute the golden lists again; off is faster.

    Raises:
        InputError: The folder is not a whole, unchanged release of a version that this code reads.
    """
    return ReleasedModel(load.load_release(folder, verify=verify))


@dataclass(frozen=True)
class TrainedModel:
    """One trained model and the data it learned from.

    Attributes:
        artifact: Weights and settings as plain arrays.
        dataset: The ratings as they were understood; ``dataset.quality`` says what was left out.
        validation_rmse: Stars, on ``validation_count`` ratings that training did not see.
        epoch: The epoch of the lowest validation error, which ``artifact`` is of; the first is 1.
    """

    artifact: ModelArtifact
    dataset: Dataset
    histories: tuple[History, ...]
    validation_rmse: float
    validation_count: int
    epoch: int

    def predict(self, pairs: pd.DataFrame) -> NDArray[np.float32]:
        """Predicted stars for (user, item) pairs.

        Args:
            pairs: Columns ``user`` and ``item`` with ids. A user that training did not see is a stranger.

        Returns:
            (len(pairs),) stars inside the scale, in the order of ``pairs``.

        Raises:
            InputError: A column is missing, or an item was not in the training data.
        """
        missing = {"user", "item"} - set(pairs.columns)
        if missing:
            raise InputError(f"the pairs have no column {sorted(missing)}; they have {list(pairs.columns)}")
        scorer = family_named(self.artifact.family).scorer(self.artifact, self.histories.__getitem__)
        users = IdIndex.of(self.dataset.user_ids)
        rows = _rows_of(IdIndex.of(self.dataset.catalogue.ids), [str(item) for item in pairs["item"]])
        stars = np.empty(len(pairs), dtype=np.float32)
        for user, indices in pairs.reset_index(drop=True).groupby("user", sort=False).indices.items():
            row = users.row(str(user))
            state = scorer.fold_in(NOTHING_RATED) if row is None else scorer.known_user(row)
            stars[indices] = scorer.score(state, rows[indices])
        return stars.clip(self.artifact.scale.low, self.artifact.scale.high)


def train(
    frame: pd.DataFrame,
    family: str = "bias",
    *,
    config: JsonObject | None = None,
    epochs: int = 20,
    patience: int = 3,
    seed: int = 0,
    columns: Columns | None = None,
    device: str = "cpu",
) -> TrainedModel:
    """Train one model family on a table of ratings; the epoch with the lowest validation error is kept.

    Args:
        frame: One row a rating: user, item, stars, and a timestamp if there is one. Column names are found
            (``user``, ``userId``, ``movieId``, ``stars`` ...), or named by ``columns``.
        family: A name of ``recsys.models.registry.FAMILIES``; all but ``bias`` and ``item_knn`` need the
            extra ``search`` (torch).
        config: Fields of the family's config; what is left out keeps its default.
        epochs: Passes over the training ratings at most.
        patience: Epochs without a lower validation error after which training ends.
        seed: Of the split and of the model.
        columns: The table's column names, where they are not found.
        device: ``cpu`` or ``cuda``.

    Returns:
        The model, trained on a random 80%; 10% are validation, 10% are left untouched.

    Raises:
        InputError: The table, the family's name or a field of ``config`` is not usable.
    """
    dataset = _dataset_of(frame, columns)
    data = training_data(dataset, make_split(dataset, "random,gate=off", seed=seed))
    kind = family_named(family)
    if kind.require_installed is not None:
        kind.require_installed()
    settings = make_config(family, {**kind.forced_defaults(data), **(config or {})})
    if kind.check is not None:
        kind.check(settings, data)
    trainer = kind.build(settings, data, epochs=epochs, seed=seed, device=device)
    best: tuple[float, int, ModelArtifact] | None = None
    for epoch in range(1, epochs + 1):
        trainer.train_epoch()
        error = rmse(trainer.predict(data.valid), data.valid.values)
        trainer.on_validation(error**2)
        if best is None or error < best[0]:
            best = (error, epoch, trainer.export())
        elif epoch - best[1] >= patience:
            break
    if best is None:
        raise InputError(f"epochs is {epochs}: expected at least 1")
    order = np.argsort(data.train.users, kind="stable")
    ends = np.searchsorted(data.train.users[order], np.arange(data.train.user_count + 1))
    histories = tuple(
        History(data.train.items[order[first:last]], data.train.values[order[first:last]])
        for first, last in pairwise(ends)
    )
    return TrainedModel(best[2], dataset, histories, float(best[0]), len(data.valid), best[1])


def _dataset_of(frame: pd.DataFrame, columns: Columns | None) -> Dataset:
    """The table through the same reader, rules and messages as a file of the user's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.parquet"
        frame.to_parquet(path, index=False)
        return load_dataset(str(path), columns=columns, cache=Path(folder) / "cache")


def _rows_of(index: IdIndex, ids: Sequence[str]) -> NDArray[np.int32]:
    """(len(ids),) rows. Raises InputError for an id that is not there."""
    rows = [index.row(name) for name in ids]
    if None in rows:
        unknown = ids[rows.index(None)]
        raise InputError(f"unknown item {unknown!r}: there are {len(index)}, {index.names[0]!r} for one")
    return np.array(rows, dtype=np.int32)
