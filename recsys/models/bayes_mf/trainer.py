"""Training of Bayesian MF: an epoch is an even part of the chain's sweeps."""

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
from recsys.models.base import TRAIN_SAMPLE, ModelArtifact, NoLatent
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.pair_prediction import PairPrediction
from recsys.models.bayes_mf.posterior_samples import PosteriorSamples, SampleCollector, draw_of
from recsys.models.bayes_mf.sampler import Sampler
from recsys.types import Arrays, JsonObject


class BayesMfTrainer(NoLatent):
    """One chain, on ``device``.

    Until the burn-in is over, prediction uses the chain's last state alone; from then on the kept samples.
    """

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
        self._last: Arrays = draw_of(self.sampler, self.sampler.items.vectors)
        self._samples: PosteriorSamples | None = None
        self._prediction: PairPrediction | None = None

    @property
    def parameters(self) -> int:
        """Numbers of one sample: vectors, maps and cutpoints."""
        sides = (self.sampler.users, self.sampler.items)
        maps = sum(drawn.size for side in sides for drawn in side.prior.maps)
        return sum(side.vectors.size for side in sides) + maps + max(len(self.sampler.levels) - 1, 0)

    def train_epoch(self) -> dict[str, float]:
        burn_in = math.floor(self.config.sweeps * self.config.burn_in)
        for _ in range(self.sweeps_an_epoch):
            before = self.sampler.items.vectors.copy()
            self.sampler.sweep()
            self.done += 1
            self._last = draw_of(self.sampler, before)
            if self.done > burn_in:
                self.collector.offer(self._last)
        self._samples = self._prediction = None
        sample = self.train.thinned(TRAIN_SAMPLE)
        error = self.predict(sample) - sample.values
        return {"train_loss": float(np.square(error).mean())}

    def samples(self) -> PosteriorSamples:
        if self._samples is None:
            self._samples = self.collector.samples(self._last)
        return self._samples

    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        if self._prediction is None:
            sampler = self.sampler
            self._prediction = PairPrediction(
                self.samples(), levels=sampler.levels, centre=sampler.centre, device=sampler.device
            )
        stars = self._prediction.stars(ratings.users, ratings.items)
        return np.clip(stars, ratings.scale.low, ratings.scale.high)

    def state(self) -> Arrays:
        arrays: Arrays = {"done": np.array([self.done])}
        arrays |= {f"chain/{name}": array for name, array in self.sampler.state().items()}
        arrays |= {f"samples/{name}": array for name, array in self.collector.state().items()}
        return arrays | {f"last/{name}": array for name, array in self._last.items()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        def under(mark: str) -> Arrays:
            return {key[len(mark) :]: np.array(array) for key, array in state.items() if key.startswith(mark)}

        self.done = int(state["done"][0])
        self.sampler.load_state(under("chain/"))
        self.collector.load_state(under("samples/"))
        self._last, self._samples, self._prediction = under("last/"), None, None

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
