"""Predictions from packed posterior samples of a factorisation machine, in numpy, without the library.

A known user is a vector in each sample. A new user has the features shared with others (rated items, side
features), and the conditional mean of the one-hot feature's weight and vector given the ratings: the score is
linear in these, with design (q_i + p, 1) where p is the sum over shared features (see ``trainer.py``).
The ordinal output needs a few rounds of expectation-maximisation, as in bayes_mf.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History, ModelArtifact
from recsys.models.bayes_mf.conditional import MOST, conditional_mean
from recsys.models.bayes_mf.posterior_samples import latent_scores, sampled_stars
from recsys.models.bayes_mf.scorer import same_ratings
from recsys.types import FloatArray, IntArray

Array = NDArray[np.float64]


class MyFmScorer:
    """Predicts from samples. A user's state is (1, kept, factors + 1): a vector a sample, the bias last."""

    def __init__(self, member: ModelArtifact, histories: Callable[[int], History]) -> None:
        settings = member.settings
        self.scale, self.arrays, self.histories = member.scale, member.arrays, histories
        self.levels = np.array(settings["levels"], dtype=np.float64)
        self.centre = float(settings["centre"])
        self.uses_history = bool(settings["histories"])

    def known_user(self, user: int) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self.arrays["users"][user][None]
        return row

    def fold_in(self, history: History, user: int | None = None) -> NDArray[np.float32]:
        if user is not None and same_ratings(history, self.histories(user)):
            return self.known_user(user)
        shared = self._shared(history, user)
        prior = self.arrays["prior_mean"].astype(np.float64)
        if len(history.items):
            prior = self._regress(history, shared, prior)
        vectors = shared + prior
        vectors[:, -1] += np.einsum("sk,sk->s", shared[:, :-1], prior[:, :-1])
        return vectors[None].astype(np.float32)

    def score(self, state: NDArray[np.float32], items: IntArray) -> FloatArray:
        scores = latent_scores(state, self.arrays["items"][items])
        return self.scale.clip(
            sampled_stars(scores, np.ones(1), self.arrays["cutpoints"], self.levels, self.centre)
        )

    def _shared(self, history: History, user: int | None) -> Array:
        """(kept, factors + 1) vectors and biases of the features shared with other users."""
        weights = self.arrays["user_weights"]
        kept, features, width = weights.shape
        history_width = len(self.arrays["items"]) if self.uses_history else 0
        total, squares = np.zeros((kept, width)), np.zeros(kept)
        if history_width and len(history.items):
            rows = weights[:, history.items].astype(np.float64)
            total += rows.sum(axis=1) / np.sqrt(len(history.items))
            squares += np.square(rows[:, :, :-1]).sum(axis=(1, 2)) / len(history.items)
        if user is not None and "user_features" in self.arrays and features > history_width:
            user_row = self.arrays["user_features"][user].astype(np.float64)
            rows = weights[:, history_width:].astype(np.float64)
            total += np.einsum("f,sfk->sk", user_row, rows)
            squares += np.einsum("f,sfk->s", np.square(user_row), np.square(rows[:, :, :-1]))
        total[:, -1] += 0.5 * (np.square(total[:, :-1]).sum(axis=1) - squares)
        return total

    def _regress(self, history: History, shared: Array, prior: Array) -> Array:
        """(kept, factors + 1) conditional means of the user's one-hot feature."""
        items, values = history.items[-MOST:], history.values[-MOST:].astype(np.float64)
        rows = self.arrays["items"][items].astype(np.float64).transpose(1, 0, 2)  # (kept, n, width)
        offset = np.einsum("snk,sk->sn", rows[:, :, :-1], shared[:, :-1]) + rows[:, :, -1] + shared[:, -1:]
        design = rows.copy()
        design[:, :, :-1] += shared[:, None, :-1]
        design[:, :, -1] = 1
        precision = self.arrays["prior_precision"].astype(np.float64)
        noise = self.arrays["noise_precision"].astype(np.float64)
        gram = noise[:, None, None] * (design.transpose(0, 2, 1) @ design)
        inverse = np.linalg.inv(gram + precision[:, :, None] * np.eye(precision.shape[1]))

        def solve(target: Array) -> Array:
            right = noise[:, None] * np.einsum("snk,sn->sk", design, target - offset)
            result: Array = np.einsum("skl,sl->sk", inverse, precision * prior + right)
            return result

        return conditional_mean(
            solve,
            prior,
            design,
            offset,
            values,
            levels=self.levels,
            centre=self.centre,
            cutpoints=self.arrays["cutpoints"],
            scale=np.ones_like(offset),
        )
