"""How sure the figures are: 95% intervals by the paired bootstrap over users (recsys.metrics.significance).

KL is a constant of a model here, so loss moves with MSE alone; every model is drawn with the same
users, so that what is hard for all of them cancels in a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.metrics.rating import LOSS_KL_WEIGHT
from recsys.metrics.significance import RESAMPLES, draw_means, interval, unit_sums
from search.results.schema import MetricInterval, PairedComparison

LEVEL = 0.95
Metric = Literal["loss", "rmse"]
METRICS: tuple[Metric, ...] = ("loss", "rmse")


class Intervals:
    """Figures of several models on one slice. ``predictions`` are (n,) stars by model, ``kl`` nats."""

    def __init__(
        self,
        ratings: Ratings,
        predictions: Mapping[str, NDArray[np.float32]],
        *,
        kl: Mapping[str, float],
        slice_name: str,
        seed: int,
    ) -> None:
        self._slice, self._kl, self._seed = slice_name, kl, seed
        self._users = ratings.users
        self._squares = {
            model: (predicted.astype(np.float64) - ratings.values) ** 2
            for model, predicted in predictions.items()
        }

    def alone(self) -> list[MetricInterval]:
        """Every model's loss and rmse with its interval."""
        intervals = []
        for model, squares in self._squares.items():
            drawn = self._draw(model, model)[:, 0]
            mse = np.asarray(squares.mean())
            for metric in METRICS:
                value = float(self._metric(metric, mse, model))
                ends = interval(value, self._metric(metric, drawn, model), LEVEL)
                intervals.append(
                    MetricInterval(
                        model=model,
                        slice=self._slice,
                        metric=metric,
                        value=value,
                        low=ends.low,
                        high=ends.high,
                    )
                )
        return intervals

    def compare(self, a: str, b: str) -> list[PairedComparison]:
        """Loss and rmse of ``a`` minus those of ``b``."""
        drawn = self._draw(a, b)
        mse = [np.asarray(self._squares[model].mean()) for model in (a, b)]
        intervals = []
        for metric in METRICS:
            value = float(self._metric(metric, mse[0], a) - self._metric(metric, mse[1], b))
            difference = self._metric(metric, drawn[:, 0], a) - self._metric(metric, drawn[:, 1], b)
            ends = interval(value, difference, LEVEL)
            intervals.append(
                PairedComparison(
                    a=a,
                    b=b,
                    slice=self._slice,
                    metric=metric,
                    difference=value,
                    low=ends.low,
                    high=ends.high,
                    better=ends.below_zero,
                )
            )
        return intervals

    def _draw(self, a: str, b: str) -> NDArray[np.float64]:
        """(resamples, 2) mean squared errors of ``a`` and ``b`` on the same drawn users."""
        sums = unit_sums(self._squares[a], self._squares[b], clusters=self._users, seed=self._seed)
        return draw_means(sums, resamples=RESAMPLES, seed=self._seed)

    def _metric(self, metric: Metric, mse: NDArray[np.float64], model: str) -> NDArray[np.float64]:
        return np.sqrt(mse) if metric == "rmse" else mse + LOSS_KL_WEIGHT * self._kl.get(model, 0.0)
