"""Predictions of a packed Bayesian MF, in numpy: known users from samples, new ones by conditional means.

A new user's vector, given one sample of everything else, is a ridge regression on their ratings with the
hierarchical prior of that sample: closed form for a Gaussian output; for the ordinal one, a few rounds of
expectation-maximisation replace each rating by the mean of its truncated latent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri

from recsys.models.base import History, ModelArtifact
from recsys.models.bayes_mf.conditional import MOST, conditional_mean
from recsys.models.bayes_mf.posterior_samples import latent_scores, predictive_deviations, sampled_stars
from recsys.types import FloatArray, IntArray


@dataclass(frozen=True)
class BayesUser:
    """A user's state: ``vectors`` (1, kept, width) and the noise precision of their ratings."""

    vectors: NDArray[np.float32]
    precision: float


class BayesMfScorer:
    """Predicts from thinned posterior samples."""

    def __init__(self, member: ModelArtifact, histories: Callable[[int], History]) -> None:
        settings = member.settings
        self.scale, self.arrays, self.histories = member.scale, member.arrays, histories
        self.levels = np.array(settings["levels"], dtype=np.float64)
        self.centre = float(settings["centre"])
        self.history_columns = int(settings["history_columns"])
        self.new_precision = float(settings["new_user_precision"])

    def known_user(self, user: int) -> BayesUser:
        vectors = self.arrays["users"][user][None].astype(np.float32)
        return BayesUser(vectors, float(self.arrays["user_precisions"][user]))

    def fold_in(self, history: History, user: int | None = None) -> BayesUser:
        if user is not None and same_ratings(history, self.histories(user)):
            return self.known_user(user)
        mean = self._prior_mean(history, user)
        precision = self.new_precision if user is None else float(self.arrays["user_precisions"][user])
        if len(history.items) == 0:
            return BayesUser(mean[None], precision)
        return BayesUser(self._regress(history, mean, precision)[None], precision)

    def score(self, state: BayesUser, items: IntArray) -> FloatArray:
        latent, cutpoints = self._latent(state, items), self.arrays["cutpoints"]
        return self.scale.clip(sampled_stars(*latent, cutpoints, self.levels, self.centre))

    def deviations(self, state: BayesUser, items: IntArray) -> FloatArray:
        """(len(items),) posterior predictive standard deviations, stars."""
        latent, cutpoints = self._latent(state, items), self.arrays["cutpoints"]
        return predictive_deviations(*latent, cutpoints, self.levels).astype(np.float32)

    def _latent(self, state: BayesUser, items: IntArray) -> tuple[NDArray[np.float32], FloatArray]:
        """(len(items), kept) scores and (len(items),) precisions of the noise."""
        scores = latent_scores(state.vectors, self.arrays["items"][items].astype(np.float32))
        return scores, state.precision * self.arrays["item_precisions"][items]

    def _prior_mean(self, history: History, user: int | None) -> NDArray[np.float32]:
        """(kept, width) prior mean of a user with this history (and, if known, side features)."""
        arrays, split = self.arrays, self.history_columns
        mean = arrays["user_centre"]
        if split and len(history.items):
            row = arrays["history_basis"][history.items].sum(axis=0) / np.sqrt(len(history.items))
            mean = mean + row @ arrays["user_maps"][:, :split]
        if user is not None and "user_features" in arrays:
            mean = mean + arrays["user_features"][user] @ arrays["user_maps"][:, split:]
        return np.asarray(mean, dtype=np.float32)

    def _regress(self, history: History, mean: NDArray[np.float32], precision: float) -> NDArray[np.float32]:
        """(kept, width) conditional means in each sample."""
        arrays = self.arrays
        items, values = history.items[-MOST:], history.values[-MOST:].astype(np.float64)
        rated = arrays["items"][items].transpose(1, 0, 2)
        design = rated.astype(np.float64, order="C")  # (kept, n, width)
        offset = design[:, :, -1].copy()
        design[:, :, -1] = 1
        weight = precision * arrays["item_precisions"][items].astype(np.float64)
        prior = arrays["user_precision"].astype(np.float64)
        weighted = design * weight[:, None]
        inverse = inverted(weighted.transpose(0, 2, 1) @ design + prior)
        prior_right = (prior @ mean[:, :, None])[:, :, 0]

        def solve(target: NDArray[np.float64]) -> NDArray[np.float64]:
            right = prior_right[:, None] + (target - offset)[:, None] @ weighted
            return np.asarray((right @ inverse)[:, 0])  # the inverse is symmetric

        vectors = conditional_mean(
            solve,
            mean.astype(np.float64),
            design,
            offset,
            values,
            levels=self.levels,
            centre=self.centre,
            cutpoints=arrays["cutpoints"],
            scale=np.sqrt(weight),
        )
        return np.asarray(vectors, dtype=np.float32)


def inverted(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverses by Cholesky, in half the time of ``numpy.linalg.inv`` for 32 of width 21.

    Args:
        matrices: (kept, width, width), symmetric positive definite.

    Returns:
        (kept, width, width).

    Raises:
        LinAlgError: A matrix is not positive definite.
    """
    inverses = np.empty_like(matrices)
    for index, matrix in enumerate(matrices):
        root, failed = dpotrf(matrix, lower=1)
        if failed:
            raise np.linalg.LinAlgError("a user's precision matrix is not positive definite")
        inverses[index] = dpotri(root, lower=1, overwrite_c=1)[0]
    lower = np.tril(inverses, -1)
    return np.tril(inverses) + lower.transpose(0, 2, 1)


def same_ratings(first: History, second: History) -> bool:
    """Whether two histories hold the same ratings, in any order."""
    if len(first.items) != len(second.items):
        return False
    first_order, second_order = (np.argsort(history.items, kind="stable") for history in (first, second))
    return bool(
        np.array_equal(first.items[first_order], second.items[second_order])
        and np.array_equal(first.values[first_order], second.values[second_order])
    )
