"""Ridge regression of a calibration, kept only if it helps in cross-validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.ensemble.calibration import CUBE, DEGREES, Correction, ProfileEffect, Row, standardised
from recsys.ensemble.profiles import COLUMNS, everyone_of, of_items, of_users
from recsys.types import FloatArray, IntArray

RIDGE = 300.0  # ratings that the prior of a standardised column's coefficient, 0, weighs as much as
CERTAIN = 2.0  # standard errors of the paired gain in squared error
CHUNK = 1 << 18  # ratings of a block of the design
TINY = 1e-9  # a standard deviation below it is replaced by 1
Array = NDArray[np.float64]


def fit_correction(
    stars: FloatArray, validation: Ratings, train: Ratings, fold: IntArray
) -> tuple[Correction | None, float]:
    """Fits a correction of a blend's stars.

    Args:
        stars: (n,) blended predictions of ``validation``.
        validation: The validation slice.
        train: The slice that the members were trained on.
        fold: (n,) the fold of each rating.

    Returns:
        The correction, or None without a significant gain; and its cross-validated rmse, stars.
    """
    design = Design.of(stars, validation, train)
    folds = int(fold.max(initial=0)) + 1
    grams = np.zeros((folds, design.width, design.width))
    crosses = np.zeros((folds, design.width))
    for rows, columns in design.chunks():
        residuals = validation.values[rows] - stars[rows].astype(np.float64)
        for k in range(folds):
            fold_columns = columns[fold[rows] == k]
            grams[k] += fold_columns.T @ fold_columns
            crosses[k] += fold_columns.T @ residuals[fold[rows] == k]
    gram, cross = grams.sum(axis=0), crosses.sum(axis=0)
    held_out = np.stack([solve(gram - grams[k], cross - crosses[k]) for k in range(folds)])
    corrected = np.empty(len(stars))
    for rows, columns in design.chunks():
        corrected[rows] = stars[rows] + np.einsum("nc,nc->n", columns, held_out[fold[rows]])
    low, high = validation.scale.low, validation.scale.high
    after = np.square(corrected.clip(low, high) - validation.values)
    gain = np.square(stars.clip(low, high) - validation.values) - after
    significant = gain.mean() > CERTAIN * gain.std() / np.sqrt(len(gain))
    return (design.correction(solve(gram, cross)) if significant else None), float(np.sqrt(after.mean()))


@dataclass(frozen=True)
class Design:
    """The regression's columns: 1, x, x^2, x^3, then for users and for items their profiles times 1, x, x^2.

    ``x`` (n,) are the blend's standardised stars."""

    x: Array
    users: Table
    items: Table
    everyone: Row
    centre: float
    spread: float

    @classmethod
    def of(cls, stars: FloatArray, validation: Ratings, train: Ratings) -> Design:
        """The design of ``fit_correction``'s arguments."""
        everyone = everyone_of(train)
        centre = float(stars.mean(dtype=np.float64))
        spread = float(stars.std(dtype=np.float64))
        spread = spread if spread > TINY else 1.0
        return cls(
            x=(stars.astype(np.float64) - centre) / spread,
            users=Table.of(of_users(train, everyone), validation.users),
            items=Table.of(of_items(train, everyone), validation.items),
            everyone=tuple(everyone.tolist()),
            centre=centre,
            spread=spread,
        )

    @property
    def width(self) -> int:
        """Columns."""
        return CUBE + 1 + 2 * DEGREES * COLUMNS

    def chunks(self) -> Iterator[tuple[slice, Array]]:
        """Blocks of rows, and their columns (at most CHUNK, width)."""
        for start in range(0, len(self.x), CHUNK):
            rows = slice(start, start + CHUNK)
            powers = self.x[rows, None] ** np.arange(CUBE + 1)
            columns = [powers]
            for side in (self.users, self.items):
                row_profiles = side.profiles[side.rows[rows]]
                columns += [row_profiles * powers[:, power, None] for power in range(DEGREES)]
            yield rows, np.concatenate(columns, axis=1)

    def correction(self, coefficients: Array) -> Correction:
        """The correction with ``coefficients`` (width,) of the columns."""
        alone, slopes = coefficients[: CUBE + 1], coefficients[CUBE + 1 :].reshape(2, DEGREES, COLUMNS)
        return Correction(
            everyone=self.everyone,
            centre=self.centre,
            spread=self.spread,
            alone=tuple(alone.tolist()),
            users=self.users.effect(slopes[0].T),
            items=self.items.effect(slopes[1].T),
        )


@dataclass(frozen=True)
class Table:
    """``profiles`` (n, COLUMNS) of all users or items, standardised over the ``rows`` (ratings,) of the
    validation slice."""

    profiles: Array
    rows: IntArray
    means: Row
    spreads: Row

    @classmethod
    def of(cls, result: Array, rows: IntArray) -> Table:
        """Standardises the profiles ``result`` (n, COLUMNS) over ``rows``."""
        share = np.bincount(rows, minlength=len(result)) / len(rows)
        means = share @ result
        spreads = np.sqrt(share @ np.square(result - means))
        spreads[spreads < TINY] = 1.0
        table = standardised(result, means, spreads)
        return cls(table, rows, tuple(means.tolist()), tuple(spreads.tolist()))

    def effect(self, slopes: Array) -> ProfileEffect:
        """The effect with ``slopes`` (COLUMNS, DEGREES)."""
        return ProfileEffect(self.means, self.spreads, tuple(tuple(row) for row in slopes.tolist()))


def solve(gram: Array, cross: Array) -> Array:
    """Coefficients (width,) of the ridge regression with moments ``gram`` (width, width) and ``cross``."""
    result: Array = np.linalg.solve(gram + RIDGE * np.eye(len(cross)), cross).astype(np.float64)
    return result
