"""Training of Bayesian MF: an epoch is an even share of the chain's sweeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.models.base import ModelArtifact, NoLatent, sampled_train_loss, with_prefix, without_prefix
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.pair_prediction import PairPrediction
from recsys.models.bayes_mf.posterior_samples import PosteriorSamples, SampleCollector, current_sample
from recsys.models.bayes_mf.sampler import Sampler
from recsys.types import Arrays, JsonObject


class BayesMfTrainer(NoLatent):
    """A Gibbs chain on ``device``. It predicts from the chain's last state until the burn-in is over, then
    from the kept samples."""

    def __init__(
        self, config: BayesMfConfig, data: TrainingData, *, epochs: int, seed: int, device: object
    ) -> None:
        self.config, self.train = config, data.train
        self.sampler = Sampler(
            config, data, seed=seed, device=device if isinstance(device, torch.device) else None
        )
        self.collector = SampleCollector(config.kept)
        self.sweeps_an_epoch = max(1, math.ceil(config.sweeps / max(epochs, 1)))
        self.done = 0
        self._last: Arrays = current_sample(self.sampler, self.sampler.items.vectors)
        self._samples: PosteriorSamples | None = None
        self._prediction: PairPrediction | None = None

    @property
    def parameters(self) -> int:
        """Parameters of a sample: vectors, maps and cutpoints."""
        sides = (self.sampler.users, self.sampler.items)
        maps = sum(drawn.size for side in sides for drawn in side.prior.maps)
        return sum(side.vectors.size for side in sides) + maps + max(len(self.sampler.levels) - 1, 0)

    def train_epoch(self) -> dict[str, float]:
        burn_in = math.floor(self.config.sweeps * self.config.burn_in)
        for _ in range(self.sweeps_an_epoch):
            before = self.sampler.items.vectors.copy()
            self.sampler.sweep()
            self.done += 1
            self._last = current_sample(self.sampler, before)
            if self.done > burn_in:
                self.collector.offer(self._last)
        self._samples = self._prediction = None
        return sampled_train_loss(self, self.train)

    def samples(self) -> PosteriorSamples:
        """What it predicts from now."""
        if self._samples is None:
            self._samples = self.collector.samples(self._last)
        return self._samples

    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        if self._prediction is None:
            sampler = self.sampler
            self._prediction = PairPrediction(
                self.samples(), levels=sampler.levels, centre=sampler.centre, device=sampler.device
            )
        return ratings.scale.clip(self._prediction.stars(ratings.users, ratings.items))

    def state(self) -> Arrays:
        return {
            "done": np.array([self.done]),
            **with_prefix("chain", self.sampler.state()),
            **with_prefix("samples", self.collector.state()),
            **with_prefix("last", self._last),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.done = int(state["done"][0])
        self.sampler.load_state(without_prefix("chain", state))
        self.collector.load_state(without_prefix("samples", state))
        self._last, self._samples, self._prediction = without_prefix("last", state), None, None

    def export(self) -> ModelArtifact:
        bases = self.sampler.users.prior.bases
        history = bases[0] if self.config.user_history and bases else None
        features = [basis for basis in bases if basis is not history]
        counts = self.sampler.users.counts
        arrays = self.samples().arrays()
        rank = 0
        if history is not None:
            rank = len(history.values)
            arrays["history_basis"] = history.right.astype(np.float32)
        if features:
            arrays["user_features"] = (features[0].left * features[0].values).astype(np.float32)
        settings: JsonObject = {
            **asdict(self.config),
            "centre": self.sampler.centre,
            "levels": self.sampler.levels.tolist(),
            "history_columns": rank,
            "new_user_precision": float(arrays["user_precisions"][counts > 0].mean()),
        }
        return ModelArtifact("bayes_mf", settings, arrays, self.train.scale)
