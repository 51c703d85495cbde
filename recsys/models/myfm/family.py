"""myFM's line in the registry. Only training needs the library; its packed members are arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.base import History, ModelArtifact, ModelFamily, Scorer
from recsys.models.fields import require
from recsys.models.ranges import Categorical, IntRange, Range

if TYPE_CHECKING:
    from recsys.models.myfm.trainer import MyFmTrainer

# pkg_resources is what the library reads its version with; setuptools has it up to 80.
NEEDED = ("myfm", "pkg_resources")


@dataclass(frozen=True)
class MyFmConfig:
    factors: int = 10  # width of each feature's vector
    output: Literal["ordinal", "gaussian"] = "ordinal"  # ordered probit, or stars with Gaussian noise
    histories: bool = True  # what a user rated, and who rated an item, are features
    side_features: bool = True  # demographics, genres and years are features, where the data has them
    iterations: int = 300  # of the library's Gibbs sampler, all in the first epoch
    burn_in: float = 0.2  # share of the iterations that is left out of the average
    kept: int = 32  # samples that predict, thinned evenly from the rest
    patience: int = 1  # epochs without a better valid rmse before the trial stops; the first is all there is

    def __post_init__(self) -> None:
        require(1 <= self.factors <= 256, f"myfm.factors is {self.factors}, expected 1 to 256")
        require(self.iterations >= 2, f"myfm.iterations is {self.iterations}, expected 2 or more")
        require(0 <= self.burn_in < 1, f"myfm.burn_in is {self.burn_in}, expected 0 to below 1")
        require(self.kept >= 1 and self.patience >= 1, "myfm.kept and .patience must be 1 or more")


RANGES: dict[str, Range] = {
    "factors": IntRange(6, 16, 2),
    "output": Categorical({"ordinal": "ordinal", "gaussian": "gaussian"}),
}


def require_library() -> None:
    """Raises InputError where the extra is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the family myfm trains by the library myFM, and {' and '.join(missing)} cannot be imported "
            "here; install the extra: python -m pip install -e '.[myfm]', or leave the family out"
        )


def build(config: MyFmConfig, data: TrainingData, *, epochs: int, seed: int, device: object) -> MyFmTrainer:
    require_library()
    from recsys.models.myfm.trainer import MyFmTrainer

    return MyFmTrainer(config, data, seed=seed)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> Scorer:
    from recsys.models.myfm.scorer import MyFmScorer

    return MyFmScorer(member, histories)


def check(config: MyFmConfig, data: TrainingData) -> None:
    """Raises InputError where the library is missing or there is nothing to sample from."""
    require_library()
    if len(data.train) < 2:
        raise InputError(
            f"the training slice holds {len(data.train)} ratings, myfm needs 2 or more; use more data"
        )


FAMILY = ModelFamily("myfm", MyFmConfig, build, make_scorer, RANGES, check, require_library)
