"""Items that the release does not have, scored from their features: attribute-to-latent mapping.

Everything that a ranker says is linear in the item, so the ridge regression of ``recsys.ranking.new_items``
can be applied to the scores themselves: with C (columns, items) the regression's map from any figure of the
rated items to coefficients of the features,

    score(person, new item) = features of the new item . C scores(person, items).

C is packed with the encoder that makes the features, so that an item that is added after the release was made
has the score that it would have had as an unrated item of the release.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.feature_encoding import Cells
from recsys.data.item_encoder import ItemEncoder
from recsys.data.ratings import Ratings
from recsys.ranking.new_items import fit_feature_map, with_constant
from recsys.release.files import map_array, save_array
from recsys.release.manifest import ATTRIBUTES
from recsys.types import FloatArray


@dataclass(frozen=True)
class AttributeMap:
    """``encoder`` makes an item's features; ``coefficients`` (1 + columns, items) float32 is C above."""

    encoder: ItemEncoder
    coefficients: NDArray[np.float32]

    def features(
        self, titles: Sequence[str], genres: Sequence[Sequence[str]], cells: Cells, *, where: str
    ) -> NDArray[np.float32]:
        """Features of new items.

        Args:
            titles: (n,).
            genres: (n,) of each item.
            cells: Columns of the table of items.
            where: Its name, for errors.

        Returns:
            (n, 1 + columns), the constant first.

        Raises:
            InputError: A value of another kind than its column's.
        """
        encoded, _ = self.encoder.encode(titles, genres, cells, where=where)
        return with_constant(encoded).astype(np.float32)

    def mapped(self, features: FloatArray, figures: FloatArray) -> NDArray[np.float32]:
        """Values of new items, from those of the release's items.

        Args:
            features: (n, 1 + columns) of the new items.
            figures: (items, ...) of the release's items, e.g. scores or vectors.

        Returns:
            (n, ...).
        """
        return np.asarray(features @ (self.coefficients @ np.asarray(figures, dtype=np.float32)))

    def save(self, folder: Path) -> None:
        """Writes the coefficients.

        Args:
            folder: Of the release.
        """
        save_array(folder / ATTRIBUTES, self.coefficients)

    @classmethod
    def load(cls, folder: Path, encoder: ItemEncoder) -> AttributeMap:
        """Opens the coefficients.

        Args:
            folder: Of the release.
            encoder: Of the manifest.
        """
        return cls(encoder, map_array(folder / ATTRIBUTES))


def attribute_map(dataset: Dataset, known: Ratings, vectors: NDArray[np.float32]) -> AttributeMap | None:
    """The map learned from the rated items of a data set; None where its items have no features.

    Args:
        dataset: Items with features and their encoder.
        known: Ratings that the release keeps.
        vectors: (items, k) of who rated what, which the ridge is chosen by.
    """
    features, encoder = dataset.item_features, dataset.item_encoder
    if features is None or encoder is None or encoder.width != features.shape[1] or not len(known):
        return None
    counts = np.bincount(known.items, minlength=known.item_count)
    learned = fit_feature_map(features, counts, vectors)
    coefficients = np.zeros((encoder.width + 1, known.item_count), dtype=np.float32)
    coefficients[:, learned.items] = learned.inverse @ learned.weighted.T
    return AttributeMap(encoder, coefficients)
