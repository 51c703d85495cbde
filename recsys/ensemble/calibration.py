"""Calibration of a blend's stars by the rating profiles of the user and the item.

Feature-weighted linear stacking (Sill, Takacs, Mackey & Lin 2009, arXiv:0911.0460) of a single model, the
blend: its stars are corrected by a quadratic in them, whose three coefficients are a user's term plus an
item's term, linear in their profiles, and by a cubic that all share. So a user who gives only fives, or a
controversial item, has another slope than the average. ``recsys.ensemble.calibration_fit`` fits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.ensemble.profiles import COLUMNS, of_items, of_users, profiles, sums_of_one
from recsys.types import FloatArray

DEGREES = 3  # powers of the blend's stars, 0 1 2, with coefficients by profile
CUBE = 3  # the next power, the same for all
EDGE = 2.5  # standard deviations at which profiles are clipped
Array = NDArray[np.float64]
Row = tuple[float, ...]


@dataclass(frozen=True)
class ProfileEffect:
    """The effect of users' or items' profiles on the correction.

    Attributes:
        means: (COLUMNS,) of the profiles.
        spreads: (COLUMNS,) their standard deviations.
        slopes: (COLUMNS, DEGREES) from standardised profiles to coefficients.
    """

    means: Row
    spreads: Row
    slopes: tuple[Row, ...]

    def coefficients(self, result: Array) -> Array:
        """Coefficients of the correction.

        Args:
            result: (n, COLUMNS) profiles.

        Returns:
            (n, DEGREES).
        """
        means, spreads, slopes = self._arrays
        coefficients: Array = standardised(result, means, spreads) @ slopes
        return coefficients

    @cached_property
    def _arrays(self) -> tuple[Array, Array, Array]:
        return np.asarray(self.means), np.asarray(self.spreads), np.asarray(self.slopes)


@dataclass(frozen=True)
class Correction:
    """A fitted calibration.

    Attributes:
        everyone: (COLUMNS,) sums of the average rating, which profiles are shrunk towards.
        centre: Mean of the blend's stars.
        spread: Standard deviation of the blend's stars.
        alone: (CUBE + 1,) coefficients of the shared cubic.
        users: Effect of users' profiles.
        items: Effect of items' profiles.
    """

    everyone: Row
    centre: float
    spread: float
    alone: Row
    users: ProfileEffect
    items: ProfileEffect

    def __post_init__(self) -> None:
        sides = [(side.means, side.spreads, side.slopes) for side in (self.users, self.items)]
        shapes = [np.shape(each) for each in (self.everyone, self.alone, *sides[0], *sides[1])]
        if shapes != [(COLUMNS,), (CUBE + 1,), *2 * [(COLUMNS,), (COLUMNS,), (COLUMNS, DEGREES)]]:
            raise ValueError(
                f"a correction's numbers have shapes {shapes}, for {COLUMNS} columns of a profile"
            )
        if min(self.spread, *self.users.spreads, *self.items.spreads) <= 0:
            raise ValueError("a correction's spreads must be above 0")
        rows = (self.everyone, self.alone, (self.centre, self.spread), *sides[0], *sides[1])
        if not all(np.isfinite(row).all() for row in rows):
            raise ValueError("a correction's numbers must be finite")

    def of_users(self, ratings: Ratings) -> Array:
        """Every user's coefficients.

        Args:
            ratings: Known ratings.

        Returns:
            (users, DEGREES).
        """
        return self.users.coefficients(of_users(ratings, self._everyone))

    def of_history(self, values: FloatArray, scale: RatingScale) -> Array:
        """The coefficients of one user.

        Args:
            values: (n,) stars of their ratings.
            scale: Of the ratings.

        Returns:
            (DEGREES,).
        """
        profile = profiles(sums_of_one(values, scale), self._everyone)
        coefficients: Array = self.users.coefficients(profile)[0]
        return coefficients

    def of_items(self, ratings: Ratings) -> Array:
        """Every item's coefficients.

        Args:
            ratings: Known ratings.

        Returns:
            (items, DEGREES).
        """
        return self.items.coefficients(of_items(ratings, self._everyone))

    def apply(self, stars: FloatArray, users: FloatArray, items: FloatArray) -> NDArray[np.float32]:
        """Corrects predictions.

        Args:
            stars: (n,) blended predictions.
            users: (n, DEGREES) coefficients of their users, or (DEGREES,) of one user for all.
            items: (n, DEGREES) coefficients of their items.

        Returns:
            (n,) stars, not clipped to the scale.
        """
        x = (stars - self.centre) / self.spread
        constant, linear, quadratic, cubic = self.alone
        coefficients = users + items
        corrected = (
            stars
            + (coefficients[..., 0] + constant)
            + x * (coefficients[..., 1] + linear + x * (coefficients[..., 2] + quadratic + x * cubic))
        )
        return np.asarray(corrected, dtype=np.float32)

    @cached_property
    def _everyone(self) -> Array:
        return np.asarray(self.everyone)

    def predict(self, stars: FloatArray, validation: Ratings, train: Ratings) -> NDArray[np.float32]:
        """Corrects predictions of given pairs.

        Args:
            stars: (n,) blended predictions.
            validation: The n pairs.
            train: Known ratings, which profiles come from.

        Returns:
            (n,) stars, not clipped to the scale.
        """
        return self.apply(
            stars, self.of_users(train)[validation.users], self.of_items(train)[validation.items]
        )


def standardised(result: Array, means: Array, spreads: Array) -> Array:
    """Standardises profiles and limits outliers.

    Args:
        result: (n, COLUMNS) profiles.
        means: (COLUMNS,).
        spreads: (COLUMNS,) standard deviations.

    Returns:
        (n, COLUMNS) standard deviations from the mean, at most EDGE.
    """
    deviations: Array = (result - means) / spreads
    return deviations.clip(-EDGE, EDGE)
