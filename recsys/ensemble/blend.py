"""Fit a blend of members to the validation slice, and say honestly how it was chosen.

The method is the one with the lowest error on folds of validation that its weights were not fitted on;
its weights are then fitted again on the whole slice. The simplest wins a tie. A correction comes on top
where it, too, helps on folds that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    """``weights`` (members,), 0 or more. ``held_out`` is each method's rmse, stars, on the folds that its
    weights were not fitted on (empty with one member); "corrected" is that of the chosen one, corrected."""

    method: str
    weights: NDArray[np.float64]
    held_out: dict[str, float]
    correction: Correction | None = None

    @property
    def name(self) -> str:
        return self.method if self.correction is None else f"{self.method}, {CORRECTED}"

    @property
    def error(self) -> float:
        """rmse, stars, on the folds that what was chosen was not fitted on; NaN with one member."""
        chosen = self.method if self.correction is None else CORRECTED
        return self.held_out.get(chosen, float("nan"))

    def predict(self, predictions: FloatArray, validation: Ratings, train: Ratings) -> NDArray[np.float32]:
        """(n,) stars inside the scale, of (members, n) for the pairs of ``validation``.

        ``train`` are the ratings that users and items are known by: what a correction reads."""
        stars = self.sum(predictions)
        if self.correction is not None:
            stars = self.correction.predict(stars, validation, train)
        return np.clip(stars, validation.scale.low, validation.scale.high)

    def sum(self, predictions: FloatArray) -> NDArray[np.float32]:
        """(n,) the weighted ``predictions`` (members, n), neither corrected nor clipped."""
        stars = np.zeros(predictions.shape[1], dtype=np.float32)
        for weight, row in zip(self.weights, predictions, strict=True):
            if weight:
                stars += np.float32(weight) * row
        return stars

    def kl(self, members: Sequence[float]) -> float:
        """The weighted mean of the members' KL, nats."""
        total = float(self.weights.sum())
        return float(self.weights @ np.asarray(members)) / total if total > 0 else 0.0


def fit_corrected(predictions: FloatArray, validation: Ratings, train: Ratings, *, seed: int) -> Blend:
    """``fit_blend`` on the validation slice, with a correction where that helps on held-out folds.

    ``train`` is the slice that the members learned from. Weighted ratings get no correction: its fit does not
    weigh."""
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
    """Weights for ``predictions`` (members, n) of ``targets`` (n,), both of the validation slice.

    Squared errors count by ``weights`` (n,) where given.

    Raises InputError where there are no members, no ratings, or predictions that are not finite."""
    _require_blendable(predictions, targets)
    members, count = predictions.shape
    if members == 1:
        return Blend("mean", np.ones(1), {})
    fold = folds_of(count, seed)
    if weights is not None:
        root = np.sqrt(weights / weights.mean(dtype=np.float64))
        predictions, targets = predictions * root, targets * root
    parts = [
        Moments.of(predictions[:, fold == k], targets[fold == k]) for k in range(FOLDS) if (fold == k).any()
    ]
    total = _sum(parts)
    if len(parts) < 2:
        return Blend("mean", METHODS["mean"](total), {})
    held_out = dict.fromkeys(METHODS, 0.0)
    for k, part in enumerate(parts):
        rest = _sum([other for index, other in enumerate(parts) if index != k])
        for name, fit in METHODS.items():
            held_out[name] += part.mse(fit(rest)) * part.count / count
    method = next(name for name, error in held_out.items() if error <= min(held_out.values()) + TIE)
    return Blend(
        method, METHODS[method](total), {name: float(np.sqrt(error)) for name, error in held_out.items()}
    )


def folds_of(count: int, seed: int) -> NDArray[np.int64]:
    """(count,) the fold of each rating."""
    return np.random.default_rng(derive_seed(seed, "blend")).integers(0, FOLDS, count)


def _sum(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


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
