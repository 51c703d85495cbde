"""Thinned posterior samples as arrays, and prediction from them: all that a packed member needs.

Two things make few samples enough (measured, ML-100K: 32 samples lose 0.0005 rmse on 240, as drawn they
lose 0.002). Users enter by their conditional mean given the items instead of by their draw
(Rao-Blackwell), and the scores' mean and spread over samples go through the output's exact Gaussian
integral instead of averaging stars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recsys.models.bayes_mf.observation import expected_stars
from recsys.types import Arrays, FloatArray

if TYPE_CHECKING:
    from recsys.models.bayes_mf.sampler import Sampler

Half = NDArray[np.float16]
Single = NDArray[np.float32]


@dataclass(frozen=True)
class PosteriorSamples:
    """``kept`` samples. Vectors are (rows, kept, factors + 1), the bias last, half precision: their
    rounding is far below the posterior's spread."""

    users: Half
    items: Half
    user_precisions: Single  # (users,) of the noise, mean over samples
    item_precisions: Single  # (items,)
    cutpoints: Single  # (kept, levels - 1)
    user_centre: Single  # (kept, width) prior mean of a user with no history
    user_precision: Single  # (kept, width, width) prior precision of users
    user_maps: Single  # (kept, ranks of all user bases, width)

    def arrays(self) -> Arrays:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class SampleCollector:
    """Gathers samples while the chain runs; with more than ``kept`` offered, an even selection stays."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.stride = 1
        self.offered = 0
        self.draws: list[Arrays] = []

    def offer(self, draw: Arrays) -> None:
        if self.offered % self.stride == 0:
            self.draws.append(draw)
        self.offered += 1
        if len(self.draws) >= 2 * self.kept:
            self.draws, self.stride = self.draws[1::2], self.stride * 2

    def samples(self, last: Arrays) -> PosteriorSamples:
        """Of what was gathered, evenly; of the ``last`` state alone while nothing was."""
        draws = self.draws or [last]
        chosen = np.unique(np.linspace(0, len(draws) - 1, min(self.kept, len(draws))).round().astype(int))
        picked = [draws[number] for number in chosen]

        def stacked(name: str, axis: int = 0) -> NDArray[Any]:
            return np.stack([draw[name] for draw in picked], axis=axis)

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
        arrays: Arrays = {"counts": np.array([self.stride, self.offered])}
        for number, draw in enumerate(self.draws):
            arrays |= {f"{number}/{name}": array for name, array in draw.items()}
        return arrays

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.stride, self.offered = (int(number) for number in state["counts"])
        draws: dict[int, Arrays] = {}
        for key, array in state.items():
            if "/" in key:
                number, name = key.split("/", 1)
                draws.setdefault(int(number), {})[name] = np.array(array)
        self.draws = [draws[number] for number in sorted(draws)]


def draw_of(sampler: Sampler, items_before: Single) -> Arrays:
    """The chain's state as one sample. ``items_before`` are the items' vectors that the users' conditional
    means were taken given."""
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


def scores_of(users: Single, items: Single) -> Single:
    """(n, kept) latent scores of ``users`` (n or 1, kept, width) for ``items`` (n, kept, width)."""
    dot: Single = np.einsum("nsk,nsk->ns", *np.broadcast_arrays(users[..., :-1], items[..., :-1]))
    dot += users[..., -1] + items[..., -1]
    return dot


def stars_of(
    scores: Single, precision: FloatArray, cutpoints: Single, levels: NDArray[np.float64], centre: float
) -> NDArray[np.float64]:
    """(n,) expected stars. ``scores`` (n, kept); ``precision`` (n,) of the noise."""
    mean = scores.mean(axis=1, dtype=np.float64)
    if len(levels) == 0:
        return np.asarray(centre + mean)
    cuts = cutpoints.mean(axis=0, dtype=np.float64)
    return expected_stars(mean, _variance(scores, precision), cuts, levels)


def deviations_of(
    scores: Single, precision: FloatArray, cutpoints: Single, levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) stars: the posterior predictive standard deviation of each rating. Arguments as ``stars_of``."""
    variance = _variance(scores, precision)
    if len(levels):
        mean, cuts = scores.mean(axis=1, dtype=np.float64), cutpoints.mean(axis=0, dtype=np.float64)
        first, second = (expected_stars(mean, variance, cuts, levels**power) for power in (1, 2))
        variance = np.maximum(second - first**2, 0)
    return np.asarray(np.sqrt(variance))


def _variance(scores: Single, precision: FloatArray) -> NDArray[np.float64]:
    """(n,) of a latent score with its noise."""
    return np.asarray(1 / precision.astype(np.float64) + scores.var(axis=1, dtype=np.float64))
