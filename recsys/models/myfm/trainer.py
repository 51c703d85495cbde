"""Training by myFM (Ohtsuki 2020), a Gibbs sampler of Bayesian factorisation machines (Rendle et al. 2011).

Features of a rating are its user (one-hot, rated items, demographics) and its item (one-hot, users who rated
it, genres); score = w0 + w x + sum over pairs of <v_f, v_g> x_f x_g (Rendle 2010, equation 1).
Split by side that is p_u . q_i + b_u + b_i with p = V'x and b = w x + (|p|^2 - sum of x_f^2 |v_f|^2) / 2:
so a sample packs into a vector per user and item, and predicts like a factorisation. The library cannot
resume a chain, so the first epoch runs all of it; later epochs change nothing.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.models.base import ModelArtifact, NoLatent, sampled_train_loss
from recsys.models.bayes_mf.observation import rating_levels
from recsys.models.bayes_mf.posterior_samples import latent_scores, sampled_stars
from recsys.models.myfm.config import MyFmConfig
from recsys.seeds import derive_seed
from recsys.types import Arrays, JsonObject

Array = NDArray[np.float64]
CHUNK = 8192  # pairs of a prediction batch


class FeatureBlock:
    """Features of users or of items: ``block`` (rows, features), ``shapes`` the width of each group."""

    def __init__(self, groups: list[sparse.csr_matrix]) -> None:
        self.block = sparse.hstack(groups).tocsr()
        self.squared = self.block.multiply(self.block).tocsr()
        self.shapes = [group.shape[1] for group in groups]

    def vectors(self, linear: Array, factors: Array) -> Array:
        """Collapses features to a vector per row.

        Args:
            linear: (features,) w of this side.
            factors: (features, factors) v of this side.

        Returns:
            (rows, factors + 1): p, then b.
        """
        p = self.block @ factors
        self_products = self.squared @ np.square(factors).sum(axis=1)
        b = self.block @ linear + 0.5 * (np.square(p).sum(axis=1) - self_products)
        return np.column_stack([p, b])


def feature_blocks(config: MyFmConfig, data: TrainingData) -> tuple[FeatureBlock, FeatureBlock]:
    """Features of every user and of every item: one-hot, then histories and side features where ``config``
    has them on."""
    train = data.train
    shape = (train.user_count, train.item_count)
    rated = sparse.csr_matrix((np.ones(len(train)), (train.users, train.items)), shape=shape)
    sides = []
    for matrix, features in ((rated, data.user_features), (rated.T.tocsr(), data.item_features)):
        groups = [sparse.identity(matrix.shape[0], format="csr")]
        if config.histories:
            counts = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1)
            groups.append(sparse.diags(counts**-0.5) @ matrix)
        if config.side_features and features is not None and features.shape[1]:
            groups.append(sparse.csr_matrix(features.astype(np.float64)))
        sides.append(FeatureBlock(groups))
    return sides[0], sides[1]


class MyFmTrainer(NoLatent):
    """Runs the library's chain on one CPU core. ``arrays`` of the kept samples is empty until it has run."""

    def __init__(self, config: MyFmConfig, data: TrainingData, *, seed: int) -> None:
        self.config, self.train = config, data.train
        self.seed = derive_seed(seed, "myfm") % 2**31
        self.users, self.items = feature_blocks(config, data)
        self.levels = rating_levels(data.train.values, config.output)
        self.mean = float(data.train.values.mean(dtype=np.float64))
        self.centre = 0.0 if len(self.levels) else self.mean
        self.user_features = data.user_features if config.side_features else None
        self.arrays: Arrays = {}

    @property
    def parameters(self) -> int:
        """Parameters of a sample: a weight and a vector for each feature, and the cutpoints."""
        features = int(self.users.block.shape[1] + self.items.block.shape[1])
        return 1 + features * (1 + self.config.factors) + max(len(self.levels) - 1, 0)

    def train_epoch(self) -> dict[str, float]:
        if not self.arrays:
            self.arrays = self._run()
        return sampled_train_loss(self, self.train)

    def _run(self) -> Arrays:
        import myfm

        config, train = self.config, self.train
        kind = myfm.MyFMOrderedProbit if len(self.levels) else myfm.MyFMRegressor
        target: NDArray[Any] = train.values.astype(np.float64) - self.centre
        if len(self.levels):
            target = np.searchsorted(self.levels, train.values)
        burn_in = int(config.iterations * config.burn_in)
        after = config.iterations - burn_in
        kept = set((burn_in + np.linspace(0, after - 1, min(config.kept, after)).round()).astype(int))
        samples: list[Arrays] = []

        def callback(iteration: int, fm: Any, hyper: Any, history: Any) -> tuple[bool, None]:
            if iteration in kept:
                samples.append(self._sample(fm, hyper))
            return False, None

        relations = [
            myfm.RelationBlock(rows.astype(np.int64), side.block)
            for rows, side in ((train.users, self.users), (train.items, self.items))
        ]
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            kind(rank=config.factors, random_seed=self.seed).fit(
                None,
                target,
                X_rel=relations,
                n_iter=config.iterations,
                n_kept_samples=1,
                group_shapes=self.users.shapes + self.items.shapes,
                callback=callback,
            )
        rows = ("users", "items")
        return {
            name: np.stack([sample[name] for sample in samples], axis=1 if name in rows else 0)
            for name in samples[0]
        }

    def _sample(self, fm: Any, hyper: Any) -> Arrays:
        """One posterior sample. Scores and cutpoints are shifted to a mean cutpoint of 0: only their
        difference is identified, and predictions average them separately."""
        users = self.users.block.shape[1]
        w, v = np.array(fm.w), np.array(fm.V).reshape(-1, self.config.factors)
        cuts = np.array(fm.cutpoints[0]) if len(self.levels) else np.zeros(0)
        middle = float(cuts.mean()) if len(cuts) else 0.0
        items = self.items.vectors(w[users:], v[users:])
        items[:, -1] += float(fm.w0) - middle
        user_shape = self.users.shapes[0]
        groups = len(self.users.shapes) + len(self.items.shapes)
        mean_v = np.array(hyper.mu_V).reshape(groups, self.config.factors)[0]
        precision_v = np.array(hyper.lambda_V).reshape(groups, self.config.factors)[0]
        return {
            "users": self.users.vectors(w[:users], v[:users]).astype(np.float32),
            "items": items.astype(np.float32),
            "cutpoints": (cuts - middle).astype(np.float32),
            # The features that users share, and the prior of the one-hot features.
            "user_weights": np.column_stack([v[user_shape:users], w[user_shape:users]]).astype(np.float32),
            "prior_mean": np.append(mean_v, np.array(hyper.mu_w)[0]).astype(np.float32),
            "prior_precision": np.append(precision_v, np.array(hyper.lambda_w)[0]).astype(np.float32),
            "noise_precision": np.array(1.0 if len(self.levels) else hyper.alpha, dtype=np.float32),
        }

    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        stars = np.full(len(ratings), self.mean, dtype=np.float32)
        for start in range(0, len(ratings) if self.arrays else 0, CHUNK):
            rows = slice(start, start + CHUNK)
            scores = latent_scores(
                self.arrays["users"][ratings.users[rows]], self.arrays["items"][ratings.items[rows]]
            )
            stars[rows] = sampled_stars(
                scores, np.ones(1), self.arrays["cutpoints"], self.levels, self.centre
            )
        return ratings.scale.clip(stars)

    def state(self) -> Arrays:
        return {name: array.copy() for name, array in self.arrays.items()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = {name: np.array(array) for name, array in state.items()}

    def export(self) -> ModelArtifact:
        arrays = dict(self.arrays)
        if self.user_features is not None and self.user_features.shape[1]:
            arrays["user_features"] = self.user_features.astype(np.float32)
        settings: JsonObject = {
            **asdict(self.config),
            "centre": self.centre,
            "levels": self.levels.tolist(),
        }
        return ModelArtifact("myfm", settings, arrays, self.train.scale)
