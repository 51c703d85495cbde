"""Answers of a packed Bayesian MF in numpy: known users from their samples, new ones by conditional means.

A new user's vector, given one sample of everything else, is a ridge regression on the ratings they gave
with the hierarchical prior of that sample: closed form for a Gaussian output; for the ordinal one, a few
rounds of expectation-maximisation replace each rating by the mean of its truncated latent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri

from recsys.models.base import History, ModelArtifact
from recsys.models.bayes_mf.conditional import MOST, conditional_mean
from recsys.models.bayes_mf.posterior_samples import deviations_of, scores_of, stars_of
from recsys.types import FloatArray, IntArray


@dataclass(frozen=True)
class BayesUser:
    """``vectors`` (1, kept, width) and the user's noise precision."""

    vectors: NDArray[np.float32]
    precision: float


class BayesMfScorer:
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
        stars = stars_of(*self._latent(state, items), self.arrays["cutpoints"], self.levels, self.centre)
        clipped: FloatArray = np.clip(stars, self.scale.low, self.scale.high).astype(np.float32)
        return clipped

    def deviations(self, state: BayesUser, items: IntArray) -> FloatArray:
        """(len(items),) stars: the posterior predictive standard deviation."""
        spread = deviations_of(*self._latent(state, items), self.arrays["cutpoints"], self.levels)
        return spread.astype(np.float32)

    def _latent(self, state: BayesUser, items: IntArray) -> tuple[NDArray[np.float32], FloatArray]:
        """(len(items), kept) scores and (len(items),) precisions of the noise."""
        scores = scores_of(state.vectors, self.arrays["items"][items].astype(np.float32))
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
        """(kept, width) conditional means, sample by sample in one batch."""
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
        pull = (prior @ mean[:, :, None])[:, :, 0]

        def solve(target: NDArray[np.float64]) -> NDArray[np.float64]:
            right = pull[:, None] + (target - offset)[:, None] @ weighted
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
    """Inverses of symmetric positive definite ``matrices`` (kept, width, width), by Cholesky: half of what
    ``numpy.linalg.inv`` takes for 32 of width 21. Raises LinAlgError where one is not."""
    inverses = np.empty_like(matrices)
    for index, matrix in enumerate(matrices):
        root, failed = dpotrf(matrix, lower=1)
        if failed:
            raise np.linalg.LinAlgError("a user's precision matrix is not positive definite")
        inverses[index] = dpotri(root, lower=1, overwrite_c=1)[0]
    lower = np.tril(inverses, -1)
    return np.tril(inverses) + lower.transpose(0, 2, 1)


def same_ratings(one: History, other: History) -> bool:
    """Whether two histories hold the same ratings, in whatever order."""
    if len(one.items) != len(other.items):
        return False
    mine, theirs = np.argsort(one.items, kind="stable"), np.argsort(other.items, kind="stable")
    return bool(
        np.array_equal(one.items[mine], other.items[theirs])
        and np.array_equal(one.values[mine], other.values[theirs])
    )
