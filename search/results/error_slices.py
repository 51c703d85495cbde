"""Where the error is: by the rating's value, by how much the user has rated, by how popular the item is.

Users and items are grouped by their ratings in train, in powers of two, so that a group means the same
on every dataset; those that train has never seen are a group of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from search.results.schema import ErrorGroup

EDGES = (0, 1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1 << 40)
FEWEST = 20  # ratings in a group: with fewer, its error says nothing
MOST_VALUES = 12


def error_groups(
    ratings: Ratings, predictions: Mapping[str, NDArray[np.float32]], *, train: Ratings
) -> list[ErrorGroup]:
    """Error of every model in every group of ``ratings``; ``predictions`` are (n,) stars by model."""
    if not len(ratings) or not predictions:
        return []
    by_user = np.bincount(train.users, minlength=ratings.user_count)[ratings.users]
    by_item = np.bincount(train.items, minlength=ratings.item_count)[ratings.items]
    return [
        *_grouped("rating", *_rating_bins(ratings.values), ratings.values, predictions),
        *_grouped("activity", *_count_bins(by_user), ratings.values, predictions),
        *_grouped("popularity", *_count_bins(by_item), ratings.values, predictions),
    ]


def _rating_bins(values: NDArray[np.float32]) -> tuple[NDArray[np.intp], list[str]]:
    """Each value its own bin, or twelve even ones on a fine scale."""
    distinct, index = np.unique(values, return_inverse=True)
    if len(distinct) <= MOST_VALUES:
        return index, [f"{value:g}" for value in distinct]
    edges = np.linspace(distinct[0], distinct[-1], MOST_VALUES + 1)
    labels = [f"{low:.3g}-{high:.3g}" for low, high in itertools.pairwise(edges)]
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, MOST_VALUES - 1), labels


def _count_bins(counts: NDArray[np.intp]) -> tuple[NDArray[np.intp], list[str]]:
    labels = []
    for low, above in itertools.pairwise(EDGES):
        labels.append("none" if above == 1 else f"{low}+" if above == EDGES[-1] else f"{low}-{above - 1}")
    return np.searchsorted(EDGES, counts, side="right") - 1, labels


def _grouped(
    by: Literal["rating", "activity", "popularity"],
    bins: NDArray[np.intp],
    labels: list[str],
    values: NDArray[np.float32],
    predictions: Mapping[str, NDArray[np.float32]],
) -> list[ErrorGroup]:
    sizes = np.bincount(bins, minlength=len(labels))
    squares, sums = {}, {}
    for model, predicted in predictions.items():
        difference = predicted.astype(np.float64) - values
        squares[model] = np.bincount(bins, weights=difference**2, minlength=len(labels))
        sums[model] = np.bincount(bins, weights=difference, minlength=len(labels))
    return [
        ErrorGroup(
            by=by,
            group=label,
            order=order,
            ratings=int(sizes[order]),
            rmse={model: float(np.sqrt(squares[model][order] / sizes[order])) for model in predictions},
            bias={model: float(sums[model][order] / sizes[order]) for model in predictions},
        )
        for order, label in enumerate(labels)
        if sizes[order] >= FEWEST
    ]
