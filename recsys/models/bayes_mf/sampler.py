"""One chain of the Gibbs sampler: noise, priors, all users at once, all items at once.

A user's vector holds factors and, last, the bias: given the items it has a Normal conditional with
precision Lambda + sum w x x', x = (q_i, 1). Rows are solved in blocks (``equations.py``): 0.5 s a sweep on
ML-1M (one core, 32 factors, stars).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.split import TrainingData
from recsys.models.bayes_mf import equations
from recsys.models.bayes_mf.basis import Array, Basis, feature_basis, history_basis
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.observation import Cutpoints, levels_of, row_precisions
from recsys.models.bayes_mf.row_prior import RowPrior
from recsys.seeds import derive_seed
from recsys.threads import one_blas_thread
from recsys.types import Arrays

CHUNK = 4096  # ratings scored at a time: their vectors stay in the cache


@dataclass
class FactorBlock:
    """Users, or items. ``order`` sorts the ratings by this side's row; ``starts`` are its CSR pointers."""

    prior: RowPrior
    vectors: Array
    mean: Array  # conditional mean of ``vectors``, given the other side's
    precisions: Array  # of the noise, one a row
    counts: Array
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]  # the other side's row of each rating


class Sampler:
    """The chain. ``score`` (n,) are the training ratings' latent scores with the vectors as they are."""

    def __init__(self, config: BayesMfConfig, data: TrainingData, *, seed: int) -> None:
        train = data.train
        self.config = config
        self.random = np.random.default_rng(derive_seed(seed, "gibbs"))
        users, items = train.users.astype(np.int64), train.items.astype(np.int64)
        self.values = train.values.astype(np.float64)
        self.levels = levels_of(train.values, config.output)
        self.centre = 0.0
        self.cutpoints: Cutpoints | None = None
        self.precision = 1.0
        if len(self.levels):
            self.cutpoints = Cutpoints(np.searchsorted(self.levels, self.values), len(self.levels))
        else:
            self.centre = float(self.values.mean())
            self.precision = 1.0 / max(float(self.values.var()), 1e-6)
        shape = (train.user_count, train.item_count)
        self.users = self._side(users, items, shape, config.user_history, data.user_features, seed)
        self.items = self._side(items, users, shape[::-1], config.item_history, data.item_features, seed)
        self.score: Array = np.full(len(train), self.centre)

    def _side(
        self,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        shape: tuple[int, int],
        history: bool,
        features: NDArray[np.float32] | None,
        seed: int,
    ) -> FactorBlock:
        counts = np.bincount(rows, minlength=shape[0])
        bases: list[Basis | None] = []
        if history:
            rank = self.config.history_rank
            bases.append(history_basis(rows, columns, shape, rank=rank, seed=derive_seed(seed, "basis")))
        if self.config.side_features and features is not None:
            bases.append(feature_basis(features, counts > 0))
        width = self.config.factors + 1
        order = np.argsort(rows, kind="stable")
        vectors = 0.1 * self.random.standard_normal((shape[0], width))
        return FactorBlock(
            prior=RowPrior(shape[0], width, [basis for basis in bases if basis is not None]),
            vectors=vectors,
            mean=vectors.copy(),
            precisions=np.ones(shape[0]),
            counts=counts.astype(np.float64),
            order=order,
            starts=np.concatenate([[0], np.cumsum(counts)]),
            rows=rows,
            columns=columns[order],
        )

    @one_blas_thread()
    def sweep(self) -> None:
        """Every block once: noise and cutpoints, then users, then items."""
        noise = self._draw_noise()
        target = self.score + noise
        weights = self.precision * self.users.precisions[self.users.rows]
        weights *= self.items.precisions[self.items.rows]
        for side, other in ((self.users, self.items), (self.items, self.users)):
            side.prior.sweep(side.vectors, self.random)
            self._draw(side, other, target - self.centre, weights)
        self.score = self._scores()

    def _draw_noise(self) -> Array:
        """Noise of every rating; also resamples cutpoints and precisions."""
        users, items, config = self.users, self.items, self.config
        precision = users.precisions[users.rows] * items.precisions[items.rows]
        if self.cutpoints is not None:
            scale = np.sqrt(precision)
            self.cutpoints.sweep(self.score, scale, self.random)
            noise = self.cutpoints.noise(self.score, scale, self.random)
        else:
            noise = self.values - self.score
            shape = 1 + 0.5 * len(noise)
            rate = 1 + 0.5 * float(np.sum(np.square(noise) * precision))
            self.precision = self.random.gamma(shape, 1 / rate)
        squared = self.precision * np.square(noise)
        for side, other, prior in ((users, items, config.user_noise), (items, users, config.item_noise)):
            if prior > 0:
                weighted = squared * other.precisions[other.rows]
                side.precisions = row_precisions(weighted, side.rows, side.counts, prior, self.random)
        return noise

    def _draw(self, side: FactorBlock, other: FactorBlock, target: Array, weights: Array) -> None:
        """New vectors of ``side``, all rows, given the other side's."""
        k = self.config.factors
        design = other.vectors.astype(np.float32)
        design[:, k] = 1
        root = np.sqrt(weights[side.order])
        left = root * (target[side.order] - other.vectors[side.columns, k])
        prior = side.prior
        pull = prior.mean @ prior.precision
        for first, last in equations.blocks(side.starts):
            low, high = side.starts[first], side.starts[last]
            precision, sums = equations.grams(
                design,
                side.columns[low:high],
                root[low:high].astype(np.float32),
                left[low:high].astype(np.float32),
                side.starts[first : last + 1] - low,
            )
            precision += prior.precision
            rows = slice(first, last)
            side.mean[rows], side.vectors[rows] = equations.draw(precision, sums + pull[rows], self.random)

    def _scores(self) -> Array:
        k = self.config.factors
        scores: Array = np.full(len(self.values), self.centre)
        for start in range(0, len(scores), CHUNK):
            rows = slice(start, start + CHUNK)
            user = self.users.vectors[self.users.rows[rows]]
            item = self.items.vectors[self.items.rows[rows]]
            scores[rows] += np.einsum("nk,nk->n", user[:, :k], item[:, :k]) + user[:, k] + item[:, k]
        return scores

    def state(self) -> Arrays:
        """All that the chain needs to go on exactly."""
        arrays: Arrays = {"score": self.score.copy(), "precision": np.array([self.precision])}
        if self.cutpoints is not None:
            arrays["cutpoints"] = self.cutpoints.values.copy()
            arrays["cutpoint_step"] = np.array([self.cutpoints.step])
        for name, side in (("users", self.users), ("items", self.items)):
            arrays |= {f"{name}/vectors": side.vectors.copy(), f"{name}/precisions": side.precisions.copy()}
            arrays |= {f"{name}/prior.{key}": array for key, array in side.prior.state().items()}
        return arrays | {"random": random_state(self.random)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.score, self.precision = np.array(state["score"]), float(state["precision"][0])
        if self.cutpoints is not None:
            self.cutpoints.values = np.array(state["cutpoints"])
            self.cutpoints.step = float(state["cutpoint_step"][0])
        for name, side in (("users", self.users), ("items", self.items)):
            side.vectors = np.array(state[f"{name}/vectors"])
            side.precisions = np.array(state[f"{name}/precisions"])
            mark = f"{name}/prior."
            side.prior.load_state(
                {key[len(mark) :]: array for key, array in state.items() if key.startswith(mark)}
            )
        restore_random(self.random, state["random"])


def random_state(random: np.random.Generator) -> NDArray[np.uint64]:
    """(6,) a PCG64 generator's state as plain numbers."""
    state: Any = random.bit_generator.state
    mask, words = (1 << 64) - 1, []
    for number in (state["state"]["state"], state["state"]["inc"]):
        words += [number >> 64, number & mask]
    words += [state["has_uint32"], state["uinteger"]]
    return np.array(words, dtype=np.uint64)


def restore_random(random: np.random.Generator, words: NDArray[Any]) -> None:
    numbers = [int(word) for word in words]
    random.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {
            "state": (numbers[0] << 64) | numbers[1],
            "inc": (numbers[2] << 64) | numbers[3],
        },
        "has_uint32": numbers[4],
        "uinteger": numbers[5],
    }
