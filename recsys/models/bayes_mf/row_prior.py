"""Hierarchical prior of the users' or items' vectors, its mean linear in histories and side features.

p_r ~ N(mu + sum over bases of left_r values G, inverse(Lambda)), Lambda ~ Wishart, and each basis's G
row ~ N(0, inverse(strength Lambda)) with strength ~ Gamma: Bayesian PMF (Salakhutdinov & Mnih 2008) with
the side information of Macau (Simm et al. 2017). All conditional distributions are in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.models.bayes_mf.basis import Array, Basis
from recsys.types import Arrays

# Gamma(1, rate 0.1) on the strength of a basis: weak, mean 10.
STRENGTH_RATE = 0.1


class RowPrior:
    """``mean`` (rows, width) and ``precision`` (width, width), resampled by ``sweep``. Arrays over rows are
    single precision on the device, small ones double precision on the host."""

    def __init__(
        self, rows: int, width: int, bases: Sequence[Basis], device: torch.device = torch.device("cpu")
    ) -> None:
        self.bases = tuple(bases)
        self.centre: Array = np.zeros(width)
        self.precision: Array = 4.0 * np.eye(width)
        self.maps: list[Array] = [np.zeros((len(basis.values), width)) for basis in bases]
        self.strengths: Array = np.ones(len(bases))
        self.rows_mean = torch.zeros(rows, width, device=device)
        self._left = [torch.from_numpy(basis.left).to(device, torch.float32) for basis in bases]

    @property
    def mean(self) -> Array:
        """(rows, width), on the host."""
        return self.rows_mean.cpu().numpy().astype(np.float64)

    def sweep(self, vectors: Tensor, random: np.random.Generator) -> None:
        """Resamples strengths, maps, centre and precision.

        Args:
            vectors: (rows, width) that the prior is given.
            random: Of the draws.
        """
        rows, width = vectors.shape
        # noise @ whiten has covariance inverse(precision).
        whiten = np.linalg.inv(np.linalg.cholesky(self.precision))
        linear = self.rows_mean - self._single(self.centre)
        scatter = np.eye(width)
        freedom = width + rows + 1
        for index, basis in enumerate(self.bases):
            linear -= self._term(index)
            projected = _double(self._left[index].T @ (vectors - linear - self._single(self.centre)))
            weight = np.square(basis.values) + self.strengths[index]
            noise = random.standard_normal(projected.shape) @ whiten
            drawn = (basis.values / weight)[:, None] * projected + noise / np.sqrt(weight)[:, None]
            self.maps[index] = drawn
            size = float(np.sum((drawn @ self.precision) * drawn))
            self.strengths[index] = random.gamma(1 + 0.5 * drawn.size, 1 / (STRENGTH_RATE + 0.5 * size))
            linear += self._term(index)
            scatter += self.strengths[index] * (drawn.T @ drawn)
            freedom += len(drawn)
        residuals = vectors - linear
        noise = random.standard_normal(width) @ whiten / np.sqrt(rows + 1)
        self.centre = _double(residuals.sum(dim=0)) / (rows + 1) + noise
        residuals -= self._single(self.centre)
        scatter += _double(residuals.T @ residuals) + np.outer(self.centre, self.centre)
        self.precision = _wishart(freedom, scatter, random)
        self.rows_mean = self._mean_of_rows()

    def _mean_of_rows(self) -> Tensor:
        """(rows, width), computed from the maps, so that no rounding is carried from sweep to sweep."""
        mean = self._single(self.centre).expand_as(self.rows_mean).clone()
        for index in range(len(self.bases)):
            mean += self._term(index)
        return mean

    def _term(self, index: int) -> Tensor:
        """(rows, width) contribution of a basis to the mean."""
        return self._left[index] @ self._single(self.bases[index].values[:, None] * self.maps[index])

    def _single(self, array: Array) -> Tensor:
        return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(self.rows_mean.device)

    def state(self) -> Arrays:
        """For ``load_state``."""
        arrays: Arrays = {
            "centre": self.centre.copy(),
            "precision": self.precision.copy(),
            "strengths": self.strengths.copy(),
        }
        return arrays | {f"map.{index}": drawn.copy() for index, drawn in enumerate(self.maps)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restores ``state``."""
        self.centre, self.precision = np.array(state["centre"]), np.array(state["precision"])
        self.strengths = np.array(state["strengths"])
        self.maps = [np.array(state[f"map.{index}"]) for index in range(len(self.bases))]
        self.rows_mean = self._mean_of_rows()


def _double(tensor: Tensor) -> Array:
    result: Array = tensor.cpu().numpy().astype(np.float64)
    return result


def _wishart(freedom: int, scatter: Array, random: np.random.Generator) -> Array:
    """A draw of Wishart(freedom, inverse(scatter)), by Bartlett's decomposition."""
    width = len(scatter)
    root = np.linalg.cholesky(np.linalg.inv((scatter + scatter.T) / 2))
    lower = np.tril(random.standard_normal((width, width)), -1)
    lower[np.diag_indices(width)] = np.sqrt(random.chisquare(freedom - np.arange(width)))
    factor = root @ lower
    drawn: Array = factor @ factor.T
    return drawn
