"""One made-up world, split: what is learned, what is asked at the end, how near to it anyone comes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.data.ratings import Ratings
from recsys.data.split import Split, TrainingData
from recsys.data.splits import make_split, training_data
from recsys.data.synthetic import Synthetic, SyntheticSpec, from_spec, world_of
from recsys.metrics.rating import rmse
from recsys.types import JsonObject
from tests.benchmarks.floor.oracle import infer

PROTOCOL = "random,gate=off"


@dataclass(frozen=True)
class Sample:
    """``floor`` is the rmse on the very ratings of test, in stars, of who knows what to expect of each;
    ``noise_floor``, among the facts, is that of all ratings, without the luck of a sample."""

    spec: SyntheticSpec
    made: Synthetic
    split: Split
    data: TrainingData
    test: Ratings
    floor: float

    @classmethod
    def of(cls, spec: SyntheticSpec) -> Sample:
        made = from_spec(spec)
        split = make_split(made.dataset, PROTOCOL, seed=0)
        test = made.dataset.ratings.take(split.test)
        floor = rmse(made.expected[split.test], test.values)
        return cls(spec, made, split, training_data(made.dataset, split), test, floor)

    def oracle(self, draws: int) -> float:
        """rmse on test of who knows everything but the people, and learns them from train and valid."""
        known = self.data.train.joined(self.data.valid)
        return rmse(infer(world_of(self.spec), known, self.test, draws=draws).expected, self.test.values)

    @property
    def facts(self) -> JsonObject:
        return {
            "data": str(self.spec),
            "sha256": self.made.dataset.sha256,
            "split": self.split.protocol,
            "fingerprint": self.split.fingerprint,
            "noise_floor": self.made.noise_floor,
        }

    def title(self) -> str:
        counts = ", ".join(f"{len(self.split.rows(name)):,} {name}" for name in ("train", "valid", "test"))
        people = len(np.unique(self.test.users))
        return (
            f"nonlinear {self.spec.nonlinear:g}: {counts} ratings, those of test by {people:,} of "
            f"{self.spec.users:,} users, of {self.spec.items:,} items"
        )
