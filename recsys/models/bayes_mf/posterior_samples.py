"""Thinned posterior samples as arrays, and prediction from them: a packed member.

Two choices make few samples enough (measured on ML-100K: 32 samples lose 0.0005 rmse against 240; without
these, 0.002). Users have their conditional mean given the items instead of their draw (Rao-Blackwell), and
the scores' mean and variance over samples go through the output's exact Gaussian integral instead of
averaging stars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import with_prefix
from recsys.models.bayes_mf.observation import expected_stars
from recsys.types import Arrays, FloatArray

if TYPE_CHECKING:
    from recsys.models.bayes_mf.sampler import Sampler

Half = NDArray[np.float16]
Single = NDArray[np.float32]


@dataclass(frozen=True)
class PosteriorSamples:
    """``kept`` samples. Vectors are (rows, kept, factors + 1), the bias last, in half precision, whose
    rounding is far below the posterior's standard deviation."""

    users: Half
    items: Half
    user_precisions: Single  # (users,) of the noise, mean over samples
    item_precisions: Single  # (items,)
    cutpoints: Single  # (kept, levels - 1)
    user_centre: Single  # (kept, width) prior mean of a user with no history
    user_precision: Single  # (kept, width, width) prior precision of users
    user_maps: Single  # (kept, ranks of all user bases, width)

    def arrays(self) -> Arrays:
        """By name, as a release packs them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class SampleCollector:
    """Thins the samples of a running chain to ``kept`` to 2 ``kept`` evenly spaced ones."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.stride = 1
        self.offered = 0
        self.draws: list[Arrays] = []

    def offer(self, draw: Arrays) -> None:
        """Adds the chain's next sample, or skips it."""
        if self.offered % self.stride == 0:
            self.draws.append(draw)
        self.offered += 1
        if len(self.draws) >= 2 * self.kept:
            self.draws, self.stride = self.draws[1::2], self.stride * 2

    def samples(self, last: Arrays) -> PosteriorSamples:
        """At most ``kept`` of the samples, evenly spaced; ``last`` alone while there are none."""
        draws = self.draws or [last]
        thinned = np.unique(np.linspace(0, len(draws) - 1, min(self.kept, len(draws))).round().astype(int))

        def stacked(name: str, axis: int = 0) -> NDArray[Any]:
            return np.stack([draws[index][name] for index in thinned], axis=axis)

        return PosteriorSamples(
            users=stacked("users", 1),
            items=stacked("items", 1),
            user_precisions=stacked("user_precisions").mean(axis=0),
            item_precisions=stacked("item_precisions").mean(axis=0),
            cutpoints=stacked("cutpoints"),
            user_centre=stacked("user_centre"),
            user_precision=stacked("user_precision"),
            user_maps=stacked("user_maps"),
        )

    def state(self) -> Arrays:
        """For ``load_state``."""
        arrays: Arrays = {"counts": np.array([self.stride, self.offered])}
        for index, draw in enumerate(self.draws):
            arrays |= with_prefix(str(index), draw)
        return arrays

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restores ``state``."""
        self.stride, self.offered = (int(count) for count in state["counts"])
        draws: dict[int, Arrays] = {}
        for key, array in state.items():
            if "/" in key:
                index, name = key.split("/", 1)
                draws.setdefault(int(index), {})[name] = np.array(array)
        self.draws = [draws[index] for index in sorted(draws)]


def current_sample(sampler: Sampler, items_before: Single) -> Arrays:
    """The chain's state as a sample.

    Args:
        sampler: The chain.
        items_before: (items, width) vectors of the items that the users' conditional means are given.

    Returns:
        The arrays of ``PosteriorSamples`` for this sample.
    """
    prior = sampler.users.prior
    width = len(prior.centre)
    cuts = sampler.cutpoints.values if sampler.cutpoints is not None else np.zeros(0)
    return {
        "users": sampler.users.mean.astype(np.float16),
        "items": items_before.astype(np.float16),
        "user_precisions": (sampler.precision * sampler.users.precisions).astype(np.float32),
        "item_precisions": sampler.items.precisions.astype(np.float32),
        "cutpoints": cuts.astype(np.float32),
        "user_centre": prior.centre.astype(np.float32),
        "user_precision": prior.precision.astype(np.float32),
        "user_maps": np.concatenate([*prior.maps, np.zeros((0, width))]).astype(np.float32),
    }


def latent_scores(users: Single, items: Single) -> Single:
    """Latent scores of pairs in each sample.

    Args:
        users: (n or 1, kept, width) vectors, the bias last.
        items: (n, kept, width) vectors, the bias last.

    Returns:
        (n, kept).
    """
    dot: Single = np.einsum("nsk,nsk->ns", *np.broadcast_arrays(users[..., :-1], items[..., :-1]))
    dot += users[..., -1] + items[..., -1]
    return dot


def sampled_stars(
    scores: Single, precision: FloatArray, cutpoints: Single, levels: NDArray[np.float64], centre: float
) -> NDArray[np.float64]:
    """Expected stars over the samples.

    Args:
        scores: (n, kept) latent scores.
        precision: (n,) of the noise.
        cutpoints: (kept, levels - 1).
        levels: (levels,) stars of an ordinal output; empty for a Gaussian one.
        centre: Of a Gaussian output, stars.

    Returns:
        (n,) stars, not clipped.
    """
    mean = scores.mean(axis=1, dtype=np.float64)
    if len(levels) == 0:
        return np.asarray(centre + mean)
    cuts = cutpoints.mean(axis=0, dtype=np.float64)
    return expected_stars(mean, _variance(scores, precision), cuts, levels)


def predictive_deviations(
    scores: Single, precision: FloatArray, cutpoints: Single, levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) posterior predictive standard deviations, stars. Arguments as ``sampled_stars``."""
    variance = _variance(scores, precision)
    if len(levels):
        mean, cuts = scores.mean(axis=1, dtype=np.float64), cutpoints.mean(axis=0, dtype=np.float64)
        first, second = (expected_stars(mean, variance, cuts, levels**power) for power in (1, 2))
        variance = np.maximum(second - first**2, 0)
    return np.asarray(np.sqrt(variance))


def _variance(scores: Single, precision: FloatArray) -> NDArray[np.float64]:
    """(n,) variance of a latent score with its noise."""
    return np.asarray(1 / precision.astype(np.float64) + scores.var(axis=1, dtype=np.float64))
