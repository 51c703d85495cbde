"""Predictions of a packed item process, in numpy. A fold-in is the regression of training, on the newest
ratings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History, ModelArtifact
from recsys.models.item_gp.process import FOLDED, Kernel, regress
from recsys.types import FloatArray, IntArray

CHUNK = 512  # items of a scoring batch: their covariances fit the CPU's cache


@dataclass(frozen=True)
class GpUser:
    """A user's state. The vectors of ``items`` are read for each score: kept, they would be some hundred
    kilobytes a user.

    Attributes:
        traits: (traits,) of the prior mean.
        items: (n,) rows of the rated items.
        weights: (n,) of the rated items, from ``regress``.
        noise: The user's factor of a rating's noise variance, stars squared.
    """

    traits: NDArray[np.float32]
    items: IntArray
    weights: NDArray[np.float32]
    noise: float


class ItemGpScorer:
    """Predicts by the posterior mean of a user's Gaussian process."""

    def __init__(self, member: ModelArtifact) -> None:
        settings = member.settings
        self.scale, self.arrays = member.scale, member.arrays
        self.kernel = Kernel(float(settings["smooth_variance"]), float(settings["squared_length"]))
        self.new_noise = float(settings["new_user_noise"])

    def known_user(self, user: int) -> GpUser:
        arrays = self.arrays
        rated = slice(int(arrays["starts"][user]), int(arrays["starts"][user + 1]))
        noise = float(arrays["user_noise"][user])
        return GpUser(arrays["traits"][user], arrays["rated"][rated], arrays["weights"][rated], noise)

    def fold_in(self, history: History, user: int | None = None) -> GpUser:
        arrays = self.arrays
        traits = self._traits(history, user)
        items, values = history.items[-FOLDED:], history.values[-FOLDED:]
        residuals = (values - arrays["prior"][items] @ traits).astype(np.float32)
        noise = self.new_noise if user is None else float(arrays["user_noise"][user])
        variances = (noise * arrays["item_noise"][items]).astype(np.float32)
        weights = regress(self.kernel, self._vectors(items), residuals, variances)
        return GpUser(traits, items, weights, noise)

    def score(self, state: GpUser, items: IntArray) -> FloatArray:
        stars = self.arrays["prior"][items] @ state.traits
        rated = self._vectors(state.items)
        for start in range(0, len(items), CHUNK):
            vectors = self._vectors(items[start : start + CHUNK])
            stars[start : start + CHUNK] += self.kernel.covariance(vectors, rated) @ state.weights
        return self.scale.clip(stars)

    def deviations(self, state: GpUser, items: IntArray) -> FloatArray:
        """(len(items),) stars: the standard deviation of the noise alone. The posterior variance of f adds
        little to it (ML-100K), and would need the user's covariance again."""
        noise = np.float32(state.noise) * np.asarray(self.arrays["item_noise"][items], np.float32)
        deviations: FloatArray = np.sqrt(noise)
        return deviations

    def _vectors(self, items: IntArray) -> NDArray[np.float32]:
        return np.asarray(self.arrays["items"][items], dtype=np.float32)

    def _traits(self, history: History, user: int | None) -> NDArray[np.float32]:
        """1, the history's row in its basis, and side features, which are 0, their mean, for a new user."""
        arrays = self.arrays
        traits = np.zeros(arrays["traits"].shape[1], dtype=np.float32)
        traits[0] = 1
        if user is not None:
            traits[:] = arrays["traits"][user]
        if "history_basis" in arrays:
            basis = arrays["history_basis"]
            traits[1 : 1 + basis.shape[1]] = 0
            if len(history.items):
                row = basis[history.items].sum(axis=0) / np.sqrt(len(history.items))
                traits[1 : 1 + basis.shape[1]] = row
        return traits
