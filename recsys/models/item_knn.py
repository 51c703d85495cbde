"""Item-based k-nearest neighbours on the residuals of a bias model (Koren 2008, section 2.2).

r = b_ui + sum over the nearest rated j of s_ij (r_uj - b_uj) / (damping + sum of s_ij), with s_ij the
correlation of residuals shrunk by n_ij / (n_ij + shrinkage), n_ij the common users. Our deviation: an item's
standard deviation is over all its users, not the common ones, which halves the work and makes both sums one
sparse product each. Only the ``kept`` largest positive s_ij of an item are stored, 8 bytes each: 172 MB for
84,000 items, where a dense matrix would need 28 GB. Of very long histories an even sample counts.
Nothing is iterated: the first epoch is all of training, and a user is folded in by their residuals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.models.base import History, ModelArtifact, ModelFamily, NoLatent, sampled_train_loss
from recsys.models.bias import BiasConfig, BiasTrainer
from recsys.models.family_config import family_config, require
from recsys.models.ranges import FloatRange, IntRange, Range
from recsys.types import Arrays, FloatArray, IntArray, JsonObject

ROUNDS = 10  # of the bias model; it converges within five
LONGEST = 512  # ratings of a user that similarities are computed from: the cost is their square
CELLS = 20_000_000  # of a dense block of items x items, or of users x items


@family_config("item_knn")
class ItemKnnConfig:
    """Hyperparameters of item k-nearest neighbours."""

    neighbours: PositiveInt = 40  # nearest rated items that a prediction reads
    kept: int = 256  # neighbours stored of an item
    shrinkage: NonNegativeFloat = 100.0  # common users that the prior "no correlation" weighs as much as
    damping: PositiveFloat = 0.25  # sum of similarities that the prior "no deviation" weighs as much as
    bias_damping: NonNegativeFloat = 5.0  # ratings that "no bias" weighs as much as, of users and of items
    patience: PositiveInt = 1  # epochs without a better valid rmse; only the first trains

    def __post_init__(self) -> None:
        require(
            self.neighbours <= self.kept,
            f"item_knn.neighbours is {self.neighbours}, expected 1 to kept ({self.kept})",
        )


def weighted_deviation(
    residuals: NDArray[np.float32],
    rated: NDArray[np.bool_],
    similarities: NDArray[np.float32],
    *,
    neighbours: int,
    damping: float,
) -> NDArray[np.float32]:
    """Deviations of ratings from the biases: the weighted mean residual of the nearest rated items.

    Args:
        residuals: (n, kept) stars of each pair's candidate neighbours, the most similar first.
        rated: (n, kept) whether the user rated them.
        similarities: (n, kept) of the candidates.
        neighbours: Rated candidates that count, at most.
        damping: Added to the sum of similarities.

    Returns:
        (n,) stars.
    """
    used = rated & (np.cumsum(rated, axis=1, dtype=np.int32) <= neighbours)
    weights = similarities * used
    deviation: NDArray[np.float32] = (weights * residuals).sum(axis=1) / (weights.sum(axis=1) + damping)
    return deviation


def nearest_items(
    matrix: sparse.csr_matrix, *, kept: int, shrinkage: float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Each item's most similar items.

    Args:
        matrix: (users, items) residuals in stars.
        kept: Neighbours of an item, at most.
        shrinkage: Common users that the prior "no correlation" weighs as much as.

    Returns:
        Their rows and similarities, (items, kept) each, nearest first; a similarity of 0 pads.
    """
    items = matrix.shape[1]
    ones = sparse.csr_matrix((np.ones_like(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)
    squares = np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel()
    # One more rating of deviation 1 keeps an item with a single rating from looking exact.
    deviation = np.sqrt((squares + 1) / (np.asarray(ones.sum(axis=0)).ravel() + 1))
    kept = min(kept, items)
    rows = np.zeros((items, kept), dtype=np.int32)
    similarities = np.zeros((items, kept), dtype=np.float32)
    step = max(1, CELLS // items)
    transposed, transposed_ones = matrix.T.tocsr(), ones.T.tocsr()
    for start in range(0, items, step):
        block = slice(start, min(start + step, items))
        diagonal = np.arange(block.stop - start)
        common = (transposed_ones[block] @ ones).toarray()
        dense = (transposed[block] @ matrix).toarray() / np.maximum(common + shrinkage, 1e-9)
        dense /= deviation[block, None] * deviation
        dense[diagonal, diagonal + start] = 0
        dense = np.maximum(dense, 0)
        nearest = np.argpartition(-dense, kept - 1, axis=1)[:, :kept]
        strength = np.take_along_axis(dense, nearest, axis=1)
        order = np.argsort(-strength, axis=1, kind="stable")
        rows[block] = np.take_along_axis(nearest, order, axis=1)
        similarities[block] = np.take_along_axis(strength, order, axis=1)
    return rows, similarities


class ItemKnnTrainer(NoLatent):
    """``rows`` and ``similarities`` (items, kept): each item's neighbours, nearest first."""

    def __init__(
        self, config: ItemKnnConfig, data: TrainingData, *, epochs: int, seed: int, device: object
    ) -> None:
        self.config, self.train = config, data.train
        damping = BiasConfig(user_damping=config.bias_damping, item_damping=config.bias_damping)
        self.bias = BiasTrainer(damping, data, epochs=ROUNDS, seed=seed, device=device)
        kept = min(config.kept, self.train.item_count)
        self.rows = np.zeros((self.train.item_count, kept), dtype=np.int32)
        self.similarities = np.zeros((self.train.item_count, kept), dtype=np.float32)
        self.trained = False

    @property
    def parameters(self) -> int:
        return self.bias.parameters + self.similarities.size

    def train_epoch(self) -> dict[str, float]:
        if not self.trained:
            for _ in range(ROUNDS):
                self.bias.train_epoch()
            self.rows, self.similarities = nearest_items(
                self._residuals(longest=LONGEST), kept=self.config.kept, shrinkage=self.config.shrinkage
            )
            self.trained = True
        return sampled_train_loss(self, self.train)

    def _residuals(self, longest: int | None = None) -> sparse.csr_matrix:
        """(users, items) stars minus the biases, of at most ``longest`` ratings of a user, evenly spaced."""
        train, bias = self.train, self.bias
        residuals = train.values - bias.mean - bias.user_bias[train.users] - bias.item_bias[train.items]
        shape = (train.user_count, train.item_count)
        rows = np.arange(len(train))
        if longest is not None:
            order = np.argsort(train.users, kind="stable")
            counts = np.bincount(train.users, minlength=shape[0])
            index = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
            counts = counts[train.users[order]]
            even = (index * longest) // counts != ((index - 1) * longest) // counts
            rows = order[(counts <= longest) | even]
        values = (residuals[rows].astype(np.float32), (train.users[rows], train.items[rows]))
        return sparse.csr_matrix(values, shape=shape)

    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        stars = self.bias.predict(ratings)
        if not self.trained:
            return stars
        bias, config = self.bias, self.config
        baseline = bias.mean + bias.user_bias[ratings.users] + bias.item_bias[ratings.items]
        matrix = self._residuals()
        rated = sparse.csr_matrix(
            (np.ones(matrix.nnz, dtype=bool), matrix.indices, matrix.indptr), shape=matrix.shape
        )
        order = np.argsort(ratings.users, kind="stable")
        step = max(1, CELLS // (4 * self.similarities.shape[1]))
        most_users = max(1, CELLS // matrix.shape[1])  # whose dense rows are held at once
        start = 0
        while start < len(order):
            chunk = order[start : start + step]
            users, index = np.unique(ratings.users[chunk], return_inverse=True)
            if len(users) > most_users:
                chunk = chunk[: int(np.searchsorted(index, most_users))]
                users, index = users[:most_users], index[: len(chunk)]
            neighbours = self.rows[ratings.items[chunk]]
            deviation = weighted_deviation(
                matrix[users].toarray()[index[:, None], neighbours],
                rated[users].toarray()[index[:, None], neighbours],
                self.similarities[ratings.items[chunk]],
                neighbours=config.neighbours,
                damping=config.damping,
            )
            stars[chunk] = ratings.scale.clip(baseline[chunk] + deviation)
            start += len(chunk)
        return stars

    def state(self) -> Arrays:
        arrays: Arrays = {"trained": np.array([self.trained]), "rows": self.rows.copy()}
        return arrays | {"similarities": self.similarities.copy()} | self.bias.state()

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.trained = bool(state["trained"][0])
        self.rows, self.similarities = np.array(state["rows"]), np.array(state["similarities"])
        self.bias.load_state(state)

    def export(self) -> ModelArtifact:
        arrays: Arrays = {
            "rows": self.rows,
            "similarities": self.similarities,
            "user_bias": self.bias.user_bias.astype(np.float32),
            "item_bias": self.bias.item_bias.astype(np.float32),
        }
        settings: JsonObject = {**asdict(self.config), "mean": self.bias.mean}
        return ModelArtifact("item_knn", settings, arrays, self.train.scale)


@dataclass(frozen=True)
class KnnUser:
    """A user's state: ``bias`` in stars; ``residuals`` (items,) of their ratings, NaN elsewhere."""

    bias: float
    residuals: NDArray[np.float32]


class ItemKnnScorer:
    """Predicts from a packed item-item matrix and a user's residuals."""

    def __init__(self, member: ModelArtifact, histories: Callable[[int], History]) -> None:
        self.scale, self.arrays, self.histories = member.scale, member.arrays, histories
        self.settings = member.settings

    def known_user(self, user: int) -> KnnUser:
        return self._user(self.histories(user), float(self.arrays["user_bias"][user]))

    def fold_in(self, history: History, user: int | None = None) -> KnnUser:
        residuals = history.values - self.settings["mean"] - self.arrays["item_bias"][history.items]
        damping = max(float(self.settings["bias_damping"]), 1e-9)
        return self._user(history, float(residuals.sum() / (len(residuals) + damping)))

    def _user(self, history: History, bias: float) -> KnnUser:
        residuals = np.full(len(self.arrays["item_bias"]), np.nan, dtype=np.float32)
        baseline = self.settings["mean"] + bias + self.arrays["item_bias"][history.items]
        residuals[history.items] = history.values - baseline
        return KnnUser(bias, residuals)

    def score(self, state: KnnUser, items: IntArray) -> FloatArray:
        residuals = state.residuals[self.arrays["rows"][items]]
        deviation = weighted_deviation(
            np.nan_to_num(residuals),
            ~np.isnan(residuals),
            self.arrays["similarities"][items],
            neighbours=int(self.settings["neighbours"]),
            damping=float(self.settings["damping"]),
        )
        return self.scale.clip(
            self.settings["mean"] + state.bias + self.arrays["item_bias"][items] + deviation
        )


RANGES: dict[str, Range] = {
    "shrinkage": FloatRange(20.0, 400.0, log=True),
    "damping": FloatRange(0.1, 2.0, log=True),
    "bias_damping": FloatRange(1.0, 20.0, log=True),
    "neighbours": IntRange(20, 80, 10),
}
FAMILY = ModelFamily("item_knn", ItemKnnConfig, ItemKnnTrainer, ItemKnnScorer, RANGES)
