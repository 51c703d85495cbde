"""How sure the figures are: 95% intervals by a bootstrap over users, paired between models.

Whole users are drawn with replacement, since one person's ratings are alike; every model is drawn with
the same users, so that what is hard for all of them cancels in a difference. KL is a constant of a
model here, so loss moves with MSE alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from search.results.schema import Comparison, Interval

DRAWS = 2000
LEVEL = 0.95
KL_WEIGHT = 0.01
CHUNK = 1 << 22  # weights drawn at a time: 32 MB
Metric = Literal["loss", "rmse"]
METRICS: tuple[Metric, ...] = ("loss", "rmse")


class Bootstrap:
    """Draws of every model's MSE on one slice. ``predictions`` are (n,) stars by model."""

    def __init__(
        self,
        ratings: Ratings,
        predictions: Mapping[str, NDArray[np.float32]],
        *,
        kl: Mapping[str, float],
        slice_name: str,
        seed: int,
    ) -> None:
        self._slice = slice_name
        self._kl = kl
        self._models = list(predictions)
        _, users = np.unique(ratings.users, return_inverse=True)
        counts = np.bincount(users).astype(np.float64)
        columns: list[NDArray[np.float64]] = [counts]
        for model in self._models:
            squares = (predictions[model].astype(np.float64) - ratings.values) ** 2
            columns.append(np.bincount(users, weights=squares).astype(np.float64))
        table = np.stack(columns, axis=1)  # (users, 1 + models)
        self._mse = dict(zip(self._models, table[:, 1:].sum(axis=0) / counts.sum(), strict=True))
        sums = self._draw(table, np.random.default_rng(seed))
        self._draws = dict(zip(self._models, (sums[:, 1:] / sums[:, :1]).T, strict=True))

    @staticmethod
    def _draw(table: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
        """(draws, columns) sums over users drawn with replacement (Poisson weights: the same, and cheap)."""
        block = max(1, CHUNK // len(table))
        parts = []
        for start in range(0, DRAWS, block):
            size = (min(block, DRAWS - start), len(table))
            parts.append(random.poisson(1.0, size).astype(np.float32) @ table)
        sums = np.concatenate(parts)
        return sums[sums[:, 0] > 0]

    def _metric(self, metric: Metric, mse: NDArray[np.float64], model: str) -> NDArray[np.float64]:
        return np.sqrt(mse) if metric == "rmse" else mse + KL_WEIGHT * self._kl.get(model, 0.0)

    def intervals(self) -> list[Interval]:
        """Every model's loss and rmse with its interval."""
        return [
            Interval(
                model=model,
                slice=self._slice,
                metric=metric,
                value=float(self._metric(metric, np.asarray(self._mse[model]), model)),
                **_ends(self._metric(metric, self._draws[model], model)),
            )
            for model in self._models
            for metric in METRICS
        ]

    def compare(self, a: str, b: str) -> list[Comparison]:
        """Loss and rmse of ``a`` minus those of ``b``, on the same drawn users."""
        found = []
        for metric in METRICS:
            value = float(
                self._metric(metric, np.asarray(self._mse[a]), a)
                - self._metric(metric, np.asarray(self._mse[b]), b)
            )
            draws = self._metric(metric, self._draws[a], a) - self._metric(metric, self._draws[b], b)
            ends = _ends(draws)
            found.append(
                Comparison(
                    a=a,
                    b=b,
                    slice=self._slice,
                    metric=metric,
                    difference=value,
                    better=ends["high"] < 0,
                    **ends,
                )
            )
        return found


def _ends(draws: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": float(low), "high": float(high)}
