"""The catalogue of a run with what was set of items through the service since: titles, genres, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Catalogue, Dataset
from recsys.data.feature_encoding import Cells, FeatureColumn, FeatureEncoding, fit_encoding
from recsys.data.item_encoder import ItemEncoder, fit_item_encoder
from recsys.errors import InputError
from recsys.types import JsonObject

WHERE = "items of the event store"


@dataclass(frozen=True)
class MergedItems:
    """``features`` (items, columns) and their ``encoder``; ``misfits`` counts values that are not of the kind
    that their column had in the base: they count as missing."""

    catalogue: Catalogue
    features: NDArray[np.float32] | None
    encoder: ItemEncoder | None
    misfits: int


def unrated_additions(item_ids: NDArray[np.str_], served: Mapping[str, JsonObject]) -> list[str]:
    """Ids of ``served`` that are not among ``item_ids`` and not hidden."""
    known_names = set(item_ids.tolist())
    return [name for name, item in served.items() if name not in known_names and not item["hidden"]]


def merge_items(base: Dataset, item_ids: NDArray[np.str_], served: Mapping[str, JsonObject]) -> MergedItems:
    """The items ``item_ids``, which begin with those of ``base``.

    Where ``served`` sets a title, genres or a feature, that is taken; columns that the base did not have are
    learned from the values there are. A base without an encoder keeps its features, new items have zeros.
    """
    old, new = base.catalogue, len(item_ids) - len(base.catalogue)
    titles, genres = [*old.titles, *[""] * new], [*old.genres, *[()] * new]
    row_of = {name: row for row, name in enumerate(item_ids.tolist())}
    changed = {row_of[name]: item for name, item in served.items() if name in row_of}
    for row, item in changed.items():
        titles[row] = titles[row] if item["title"] is None else item["title"]
        genres[row] = genres[row] if item["genres"] is None else tuple(item["genres"])
    catalogue = Catalogue(ids=item_ids, titles=titles, genres=genres)
    if base.item_encoder is None or (base.item_features is None and base.item_encoder.width):
        return MergedItems(catalogue, padded(base.item_features, new), None, 0)
    changes = {row: item["features"] for row, item in changed.items() if item["features"]}
    before = base.item_encoder.further
    added = _new_columns(before, changes, len(item_ids))
    encoder = fit_item_encoder(titles, genres, FeatureEncoding((*before.columns, *added)))
    features, _ = encoder.encode(titles, genres, {}, where=WHERE)
    start = features.shape[1] - encoder.further.width
    if base.item_features is not None and before.width:
        features[: len(old), start : start + before.width] = base.item_features[:, -before.width :]
    misfits = 0
    for column in encoder.further.columns:
        misfits += _fill(features[:, start : start + column.width], column, changes)
        start += column.width
    return MergedItems(catalogue, features if encoder.width else None, encoder, misfits)


def padded(features: NDArray[np.float32] | None, rows: int) -> NDArray[np.float32] | None:
    """``features`` with ``rows`` rows of zeros behind them."""
    if features is None or not rows:
        return features
    return np.concatenate([features, np.zeros((rows, features.shape[1]), np.float32)])


def _new_columns(
    before: FeatureEncoding, changes: Mapping[int, JsonObject], rows: int
) -> Sequence[FeatureColumn]:
    """Encodings of features that no column of the base holds."""
    known_names = {name for column in before.columns for name in (column.name, *column.parts)}
    names = dict.fromkeys(name for item in changes.values() for name in item if name not in known_names)
    columns: list[FeatureColumn] = []
    for name in names:
        cells: Cells = {name: [changes.get(row, {}).get(name) for row in range(rows)]}
        try:
            columns += fit_encoding(cells, where=WHERE).columns
        except InputError:  # vectors of several widths: no feature
            continue
    return columns


def _fill(block: NDArray[np.float32], column: FeatureColumn, changes: Mapping[int, JsonObject]) -> int:
    """Sets the rows of ``block`` that name ``column``; gives the number of values of another kind."""
    encoding, misfits = FeatureEncoding((column,)), 0
    names = {column.name, *column.parts}
    for row, item in changes.items():
        cells = {name: [value] for name, value in item.items() if name in names}
        if cells:
            try:
                block[row] = encoding.encode(cells, 1, where=WHERE)[0][0]
            except InputError:
                block[row] = 0
                misfits += 1
    return misfits
