"""Predictions of a packed factorisation. A user's state is (1 + factors,): posterior means of bias and p."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History, ModelArtifact
from recsys.types import FloatArray, IntArray


class MfScorer:
    """Predicts by mean + b_u + b_i + p.q."""

    def __init__(self, member: ModelArtifact) -> None:
        self.scale, self.arrays = member.scale, member.arrays
        self.mean = float(member.settings["mean"])
        self.noise = float(member.settings["noise_variance"])

    def known_user(self, user: int) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self.arrays["user_factors"][user]
        return row

    def fold_in(self, history: History, user: int | None = None) -> NDArray[np.float32]:
        """As ``Scorer.fold_in``, by the training update: a known user's training ratings give their row."""
        items = self.arrays["item_factors"][history.items].astype(np.float64)
        variance = self.arrays["item_variance"][history.items].sum(axis=0)
        residuals = history.values - self.mean - items[:, 0]
        items[:, 0], variance[0] = 1, 0
        gram = items.T @ items / self.noise + np.diag(variance / self.noise + self.arrays["user_precision"])
        return np.linalg.solve(gram, items.T @ residuals / self.noise).astype(np.float32)

    def score(self, state: NDArray[np.float32], items: IntArray) -> FloatArray:
        rows = self.arrays["item_factors"][items]
        return self.scale.clip(self.mean + state[0] + rows[:, 0] + rows[:, 1:] @ state[1:])
