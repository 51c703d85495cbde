"""Blending of members' predictions, with weights fitted to the validation slice.

Of several methods, the one with the lowest cross-validated error is chosen, the simplest on a tie; its
weights are then fitted to the full slice. A correction is added if it lowers the cross-validated error too.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.ensemble.calibration import Correction
from recsys.ensemble.calibration_fit import fit_correction
from recsys.ensemble.moments import Moments
from recsys.ensemble.weights import METHODS
from recsys.errors import InputError
from recsys.seeds import derive_seed
from recsys.types import FloatArray

FOLDS = 5
CORRECTED = "corrected"
TIE = 1e-6  # stars squared: closer than this, the earlier method in METHODS wins


@dataclass(frozen=True)
class Blend:
    """A weighted sum of members and its correction.

    Attributes:
        method: That fitted the weights, a name of ``METHODS``.
        weights: (members,) 0 or more.
        held_out: Cross-validated rmse of each method, stars; "corrected" is the chosen one's with correction.
            Empty with one member.
        correction: None where it did not help.
    """

    method: str
    weights: NDArray[np.float64]
    held_out: dict[str, float]
    correction: Correction | None = None

    @property
    def name(self) -> str:
        """The method, with its correction."""
        return self.method if self.correction is None else f"{self.method}, {CORRECTED}"

    @property
    def error(self) -> float:
        """Cross-validated rmse of the chosen method, stars; NaN with a single member."""
        name = self.method if self.correction is None else CORRECTED
        return self.held_out.get(name, float("nan"))

    def predict(self, predictions: FloatArray, validation: Ratings, train: Ratings) -> NDArray[np.float32]:
        """Blended predictions.

        Args:
            predictions: (members, n) stars.
            validation: The n pairs.
            train: Known ratings of their users and items, which the correction reads.

        Returns:
            (n,) stars inside the scale.
        """
        stars = self.sum(predictions)
        if self.correction is not None:
            stars = self.correction.predict(stars, validation, train)
        return validation.scale.clip(stars)

    def sum(self, predictions: FloatArray) -> NDArray[np.float32]:
        """The weighted sum, neither corrected nor clipped.

        Args:
            predictions: (members, n) stars.

        Returns:
            (n,) stars.
        """
        stars = np.zeros(predictions.shape[1], dtype=np.float32)
        for weight, row in zip(self.weights, predictions, strict=True):
            if weight:
                stars += np.float32(weight) * row
        return stars

    def kl(self, members: Sequence[float]) -> float:
        """The weighted mean of the members' KL.

        Args:
            members: (members,) nats.

        Returns:
            Nats.
        """
        total = float(self.weights.sum())
        return float(self.weights @ np.asarray(members)) / total if total > 0 else 0.0


def fit_corrected(predictions: FloatArray, validation: Ratings, train: Ratings, *, seed: int) -> Blend:
    """``fit_blend`` with a correction, if that lowers the cross-validated error.

    Args:
        predictions: (members, n) of the validation slice.
        validation: The slice. A weighted one gets no correction, whose fit has no weights.
        train: The slice that the members were trained on.
        seed: Of the folds.

    Returns:
        The blend.

    Raises:
        InputError: As ``fit_blend``.
    """
    if validation.weights is not None:
        return fit_blend(predictions, validation.values, seed=seed, weights=validation.weights)
    blend = fit_blend(predictions, validation.values, seed=seed)
    correction, error = fit_correction(
        blend.sum(predictions), validation, train, folds_of(len(validation), seed)
    )
    return replace(blend, correction=correction, held_out=blend.held_out | {CORRECTED: error})


def fit_blend(
    predictions: FloatArray, targets: FloatArray, *, seed: int, weights: FloatArray | None = None
) -> Blend:
    """Chooses a method by cross-validation and fits its weights.

    Args:
        predictions: (members, n) of the validation slice.
        targets: (n,) its ratings.
        seed: Of the folds.
        weights: (n,) of the squared errors; None: equal.

    Returns:
        The blend, without a correction.

    Raises:
        InputError: There are no members, no ratings, or predictions that are not finite.
    """
    _require_blendable(predictions, targets)
    members, count = predictions.shape
    if members == 1:
        return Blend("mean", np.ones(1), {})
    fold = folds_of(count, seed)
    if weights is not None:
        root = np.sqrt(weights / weights.mean(dtype=np.float64))
        predictions, targets = predictions * root, targets * root
    folds = [
        Moments.of(predictions[:, fold == k], targets[fold == k]) for k in range(FOLDS) if (fold == k).any()
    ]
    total = _sum(folds)
    if len(folds) < 2:
        return Blend("mean", METHODS["mean"](total), {})
    held_out = dict.fromkeys(METHODS, 0.0)
    for k, moments in enumerate(folds):
        others = _sum([other for index, other in enumerate(folds) if index != k])
        for name, fit in METHODS.items():
            held_out[name] += moments.mse(fit(others)) * moments.count / count
    method = next(name for name, error in held_out.items() if error <= min(held_out.values()) + TIE)
    return Blend(
        method, METHODS[method](total), {name: float(np.sqrt(error)) for name, error in held_out.items()}
    )


def folds_of(count: int, seed: int) -> NDArray[np.int64]:
    """Assigns ratings to cross-validation folds.

    Args:
        count: Of ratings.
        seed: Of the search.

    Returns:
        (count,) 0 to ``FOLDS`` - 1.
    """
    return np.random.default_rng(derive_seed(seed, "blend")).integers(0, FOLDS, count)


def _sum(folds: Sequence[Moments]) -> Moments:
    return reduce(operator.add, folds)


def _require_blendable(predictions: FloatArray, targets: FloatArray) -> None:
    if predictions.ndim != 2 or predictions.shape[0] == 0 or predictions.shape[1] != len(targets):
        raise InputError(
            f"a blend of predictions {predictions.shape} for {len(targets)} ratings: expected (members, "
            "ratings) with at least one member"
        )
    if len(targets) == 0:
        raise InputError("the validation slice is empty: there is nothing to fit the ensemble to")
    bad = [row for row in range(len(predictions)) if not np.isfinite(predictions[row]).all()]
    if bad:
        raise InputError(f"the predictions of members {bad} are not finite: leave those trials out")
